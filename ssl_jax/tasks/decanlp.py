"""decaNLP's sets (McCann et al. 2018, arXiv 1806.08730, section 2) that no other module has, and the names of its ten.

Questions, filters and splits follow salesforce/decaNLP, text/torchtext/datasets/generic.py; each section below is named
after its class there. decaNLP's other two sets are `squad` and `mnli`. Differences:

    mnli      GLUE's files lack the 353 pairs of the dev sets that have no gold label; there the answer to them is '-'
    srl       an answer that is not in its sentence stays as it is; there five such answers are replaced by hand
    mwsc      each pair of brackets is a choice; there one match spans the two of a schema in the test set

`cnn_dm` has all three splits of CNN/DM; `cnn_dailymail` has the test set, for GPT-2's prompts. `srl_2020` is the same task
on the gold questions of Roit et al. 2020: it trains on their dev sets and holds out their test sets.

Folders are laid out as the sets are published, all files of one in its folder:

    iwslt_en_de      train.tags.en-de.en, IWSLT16.TED.tst2013.en-de.en.xml and tst2014, each with its .de; or another year's
    cnn_dm           cnn and dailymail, each with `stories` and, for example, cnn_wayback_training_urls.txt
    sst              train_fine_sent.csv or train_binary_sent.csv, and so on
    srl              wiki1.train.qa, ...
    srl_2020         wikinews.dev.gold.csv, wikinews.dev.sentences.csv, ..., and those of wikipedia
    zre              train.0, dev.0, test.0
    woz_en, woz_de   woz_train_en.json, ...
    wikisql          train.jsonl, train.tables.jsonl, ...
    mwsc             schema.txt
"""

import hashlib
import itertools
import re
import unicodedata
import xml.etree.ElementTree

from ssl_jax import files
from ssl_jax.errors import UserError, cut, shown
from ssl_jax.metrics import SQL_AGGREGATES, SQL_OPERATORS, UNANSWERABLE
from ssl_jax.tasks import formats
from ssl_jax.tasks.base import QA, Dataset, QuestionView, Task, alternatives, as_it_is
from ssl_jax.tasks.formats import LeftOut, checked

# In the order in which its README trains them; a curriculum begins with the first ones.
TEN = ("squad", "iwslt_en_de", "cnn_dm", "mnli", "sst", "srl", "zre", "woz_en", "wikisql", "mwsc")


def _files(pattern):
    return {"train": pattern.format("train"), "heldout": pattern.format("dev"), "test": pattern.format("test")}


# ---- IWSLT
# Lines of train.tags that have one of these, anywhere, are about a talk (translation.py).
TAGS = ("<url", "<keywords", "<talkid", "<description", "<reviewer", "<translator", "<title", "<speaker")


def _iwslt_lines(path, split):
    """`path` is the English file; the German one has its name with .de."""
    del split
    other = path.with_name(re.sub(r"\.en(\.xml)?$", r".de\1", path.name))
    read = _segments if path.suffix == ".xml" else _untagged
    sources, targets = list(read(path)), list(read(other))
    if len(sources) != len(targets):
        raise UserError(f"{path}: {len(sources)} sentences, and {other} has {len(targets)}")
    for (where, source), (_, target) in zip(sources, targets, strict=True):
        yield where, {"source": source, "target": target}


def _untagged(path):
    for number, line in files.read_lines(path):
        if not any(tag in line for tag in TAGS):
            yield f"{path}, line {number}", line.strip()


def _segments(path):
    try:
        segments = xml.etree.ElementTree.fromstring(files.read_bytes(path)).findall("*/doc/seg")
    except (xml.etree.ElementTree.ParseError, LookupError, ValueError) as error:  # its encoding may be the reason
        raise UserError(f"{path}: not XML ({cut(str(error))})") from error
    for number, segment in enumerate(segments, 1):
        yield f"{path}, segment {number}", (segment.text or "").strip()


def _translation(record, where):
    del where
    yield QA("Translate from English to German", record["source"], (record["target"],))


def _iwslt_files(part):
    return tuple(f"IWSLT{year}.TED.{part}.en-de.en.xml" for year in (16, 17, 15))


# ---- Summarization
SENTENCE_ENDS = (".", "!", "?", "'", "`", '"', "\u2019", "\u201d", ")")


def _story_lines(path, split):
    """The stories whose URLs are in `path` and in its sibling of the Daily Mail, named by their SHA-1."""
    part = path.name.split("_")[2]
    for source in ("cnn", "dailymail"):
        folder = path.parent.parent / source
        for number, url in files.read_lines(folder / f"{source}_wayback_{part}_urls.txt"):
            name = hashlib.sha1(url.strip().encode()).hexdigest()
            where, story = f"{path}, line {number}", folder / "stories" / f"{name}.story"
            if not story.is_file():
                yield f"{where}, {story}", LeftOut("stories that are not there")
            else:
                yield str(story), _story(story)


def _story(path):
    """The lines before the first '@highlight' and those after it without the marks, each with a full stop."""
    lines = [line.strip() for _, line in files.read_lines(path)]
    lines = [line if line.endswith(SENTENCE_ENDS) else f"{line}." for line in lines if line]
    marks = [number for number, line in enumerate(lines) if line.startswith("@highlight")]
    first = marks[0] if marks else len(lines)
    highlights = [line for line in lines[first:] if not line.startswith("@highlight")]
    return {"article": " ".join(lines[:first]), "highlights": "\n".join(highlights)}


def _summary(record, where):
    """TensorFlow Datasets has a highlight a line, too, with full stops."""
    texts = checked(record, where, article=str, highlights=str)
    article, highlights = (unicodedata.normalize("NFKC", " ".join(text.split("\n"))) for text in texts.values())
    yield QA("What is the summary?", article, (highlights,))


# ---- SST
def _sentiment_lines(path, split):
    """Five classes, whose middle is neutral, or two; both from 0."""
    del split
    fine = ("negative", "negative", "", "positive", "positive")
    answers = fine if "fine" in path.name else ("negative", "positive")
    labels = tuple(map(str, range(len(answers))))
    for where, record in formats.csv_file(path):
        label = formats.number_of(formats.column(record, "label", where), labels, where)
        yield where, {"sentence": formats.column(record, "sentence", where), "label": answers[label]}


def _sentiment(record, where):
    del where
    if record["label"]:
        yield QA("Is this review negative or positive?", record["sentence"], (record["label"],))
    else:
        yield LeftOut("neutral sentences")


# ---- SRL
_SPELT = {"-LRB-": "(", "-RRB-": ")", "-LAB-": "<", "-RAB-": ">", "-AMP-": "&", "%pw": " "}
_JOINED_LEFT = (".", ",", ";", "!", "?", ":", ")", "'ll", "n't ", "%", "'t", "'s", "'m", "'d", "'re")
_JOINED_RIGHT = ("(", "$")
_DROPPED = ("``", "`", "''", "\u201c", "\u201d", " '")


def detokenised(text):
    """A text of the Penn Treebank's tokens as people write it, without quotation marks (SRL.clean)."""
    text = " ".join(text.split())
    for token, spelt in _SPELT.items():
        text = text.replace(token, spelt)
    for token in _JOINED_LEFT:
        text = text.replace(f" {token}", token)
    for token in _JOINED_RIGHT:
        text = text.replace(f"{token} ", token)
    text = text.replace(" - ", "-")
    for token in _DROPPED:
        text = text.replace(token, "")
    return " ".join(text.split())


def _cased(answer, sentence):
    """An answer as the sentence has it: with another first letter, or in lower case."""
    cases = (answer, answer[:1].lower() + answer[1:], answer[:1].upper() + answer[1:], answer.lower())
    return next((one for one in cases if one in sentence), answer)


def _role_lines(path, split):
    """Blocks between empty lines: WIKI1_ and numbers; the sentence; lines of a verb's place, the verb and how many
    questions follow; these, each of words, blanks (_), ? and its answers, between ###."""
    del split
    sentence = None
    for number, line in files.read_lines(path):
        where, words = f"{path}, line {number}", line.split()
        if not words:
            sentence = None
        elif "WIKI1" in words[0].split("_")[0] or re.fullmatch(r"\d+", words[0]) and len(words) <= 3:
            continue
        elif sentence is None:
            sentence = detokenised(line)
        else:
            question, *answers = " ".join(words).split("?")
            if len(answers) != 1:
                raise UserError(
                    f"{where}: a question and its answers have one question mark, and here are {len(answers)}"
                )
            question = detokenised(f"{question.replace(' _', '')}?")
            yield where, {"sentence": sentence, "question": question, "answers": answers[0].split("###")}


def _gold_lines(path, split):
    """Roit et al.'s tables of all domains in the folder; answers are spans between ~!~."""
    del split
    for table in sorted(path.parent.glob(path.name.replace("wikinews", "*"))):
        rows = formats.csv_file(table.with_name(table.name.replace(".gold.", ".sentences.")))
        sentences = {
            formats.column(row, "qasrl_id", where): formats.column(row, "sentence", where) for where, row in rows
        }
        for where, row in formats.csv_file(table):
            id, question, answer = (formats.column(row, name, where) for name in ("qasrl_id", "question", "answer"))
            if id not in sentences:
                raise UserError(f"{where}: there is no sentence {shown(id)}")
            yield where, {"sentence": detokenised(sentences[id]), "question": question, "answers": answer.split("~!~")}


def _role(record, where):
    del where
    answers = tuple(_cased(detokenised(one), record["sentence"]) for one in record["answers"])
    yield QA(record["question"], record["sentence"], answers)


# ---- ZeroShotRE
def _relation_lines(path, split):
    """Lines of relation, question, subject, sentence and any number of answers, between tabs."""
    del split
    for number, line in files.read_lines(path):
        where, cells = f"{path}, line {number}", line.split("\t")
        if len(cells) < 4:
            raise UserError(f"{where}: {len(cells)} columns, and there should be at least 4: relation, question, subject, "
                            "sentence")  # fmt: skip
        yield where, cells


def _relation(record, where):
    """XXX in the question is the subject; several answers are one text."""
    del where
    _, question, subject, sentence, *answers = record
    yield QA(question.replace("XXX", subject), sentence, (", ".join(answers) or UNANSWERABLE,))


# ---- WOZ
def _turn_lines(path, split):
    """A record per turn, with the state before it."""
    del split
    for number, dialogue in enumerate(files.read_json(path, list), 1):
        before = []
        turns = formats.value(dialogue, "dialogue", list, f"{path}, dialogue {number}")
        for place, turn in enumerate(turns):
            where = f"{path}, dialogue {number}, turn {place + 1}"
            informed, requested = [], []
            for item in formats.value(turn, "belief_state", list, where):
                slots = formats.value(item, "slots", list[list[str]], where) if "slots" in item else []
                if any(len(slot) != 2 for slot in slots):
                    raise UserError(f"{where}: {shown(slots)} are no pairs of slot and value")
                if slots and formats.value(item, "act", str, where) == "inform":
                    informed += slots
                else:
                    requested += [value for _, value in slots]
            yield where, {"acts": formats.value(turn, "system_acts", list, where),
                          "transcript": formats.value(turn, "transcript", str, where),
                          "changed": [slot for slot in informed if slot not in before], "requested": requested,
                          "gold": {"dialogue": str(number), "turn": place}}  # fmt: skip
            before = informed


def _turn(record, where):
    """'food: thai, area: north; phone' of 'food -- Thai, please.', which the system's acts begin."""
    acts = []
    for act in record["acts"]:
        acts.append(act if isinstance(act, str) else ": ".join(formats.value({"act": act}, "act", list[str], where)))
    context = " ".join(f"{', '.join(acts)}{' -- ' if acts else ''}{record['transcript']}".split())
    answer = change(record["changed"], record["requested"])
    yield QA("What is the change in state?", context, (answer,), gold=record["gold"])


def change(goals, requests):
    """A turn's change in words, which metrics.joint_goal_em reads: of (slot, value) and names, 'food: thai; phone'."""
    answer = f"{', '.join(f'{slot}: {value}' for slot, value in goals)}; {', '.join(requests)}".strip()
    return "None" if answer == ";" else answer


def _woz(language):
    parts = {"train": "train", "heldout": "validate", "test": "test"}
    data = Dataset({split: f"woz_{part}_{language}.json" for split, part in parts.items()}, _turn_lines, {},
                   "https://github.com/nmrksic/neural-belief-tracker/tree/master/data/woz")  # fmt: skip
    return Task(
        data, record=_turn, question=QuestionView(as_it_is, "joint_goal_em", ("turn_request_em", "turn_goal_em", "em"))
    )


# ---- WikiSQL
_KEYWORDS = ("SELECT", "WHERE", "AND", "COL", "TABLE", "CAPTION", "PAGE", "SECTION", "OP", "COND", "QUESTION", "AGG",
             "AGGOPS", "CONDOPS")  # fmt: skip


def _query_lines(path, split):
    """With the `header` of a query's table."""
    del split
    tables = path.with_name(f"{path.stem}.tables.jsonl")
    headers = {}
    for where, table in files.json_lines(tables):
        headers[formats.value(table, "id", str, where)] = formats.value(table, "header", list[str], where)
    for where, record in files.json_lines(path):
        table = formats.value(record, "table_id", str, where)
        if table not in headers:
            raise UserError(f"{where}: there is no table {shown(table)} in {tables}")
        yield where, record | {"header": headers[table]}


def _query(record, where):
    parts = checked(record, where, question=str, sql=dict, header=list)
    sql, header = checked(parts["sql"], where, sel=int, agg=int, conds=list), parts["header"]
    if not all(
        isinstance(one, list) and len(one) == 3 and isinstance(one[2], str | int | float) for one in sql["conds"]
    ):
        raise UserError(f"{where}: {shown(sql['conds'])} are no lists of column, operator and value")
    for name, among, *numbers in (("column", header, sql["sel"], *(one[0] for one in sql["conds"])),
                                  ("aggregate", SQL_AGGREGATES, sql["agg"]),
                                  ("operator", SQL_OPERATORS, *(one[1] for one in sql["conds"]))):  # fmt: skip
        for number in numbers:
            if type(number) is not int or not 0 <= number < len(among):
                raise UserError(f"{where}: {name} {shown(number)}, and there are {len(among)}, from 0")
    conditions = " AND ".join(
        f"{header[column]} {SQL_OPERATORS[operator]} {value}" for column, operator, value in sql["conds"]
    )
    query = f"SELECT {SQL_AGGREGATES[sql['agg']]} {header[sql['sel']]} FROM table{' WHERE ' if conditions else ''}{conditions}"
    words = ", ".join(SQL_AGGREGATES[1:] + SQL_OPERATORS + _KEYWORDS)
    context = f"The table has columns {', '.join(header)} and key words {words}-- {parts['question']}"
    yield QA("What is the translation from English to SQL?", context, (" ".join(query.split()),),
             gold={"sql": sql, "header": header})  # fmt: skip


# ---- WinogradSchema
TRAINED, HELD_OUT, SCHEMAS = 80, 82, 131  # questions, questions, schemas


def _schema_lines(path, split):
    """Three lines a schema and an empty one: a sentence, a question, both with [this/that], and the two answers.

    It has the two questions of each, of which the first 80 are to train on and the last 100 to test on. The file's last
    schema is the 132nd, and the original reads 131.
    """
    lines = ((f"{path}, line {number}", line.strip()) for number, line in files.read_lines(path))
    blocks = [list(block) for filled, block in itertools.groupby(lines, lambda one: bool(one[1])) if filled]
    questions = []
    for block in blocks[:SCHEMAS]:
        where, texts = block[0][0], [line for _, line in block]
        if len(texts) != 3 or texts[2].count("/") != 1:
            raise UserError(f"{where}: a schema has a sentence, a question and two answers with / between them")
        answers = tuple(one.strip() for one in texts[2].split("/"))
        for side in (0, 1):
            texts_here = [_side(text, side, where) for text in texts[:2]]
            questions.append((where, (*texts_here, answers, side)))
    splits = {"train": questions[:TRAINED], "heldout": questions[TRAINED:][:HELD_OUT],
              "test": questions[TRAINED + HELD_OUT :]}  # fmt: skip
    return iter(splits[split])


def _side(text, side, where):
    def choose(found):
        sides = found[1].split("/")
        if len(sides) != 2:
            raise UserError(f"{where}: {shown(found[0])} is no [this/that]")
        return sides[side]

    return re.sub(r"\[(.*?)\]", choose, text)


def _schema(record, where):
    del where
    sentence, question, answers, right = record
    yield QA(f"{question} {alternatives(answers)}?", sentence, (answers[right],))


# ---- Rows
TASKS = {
    "iwslt_en_de": Task(
        Dataset({"train": "train.tags.en-de.en", "heldout": _iwslt_files("tst2013"), "test": _iwslt_files("tst2014")},
                _iwslt_lines, {}, "https://wit3.fbk.eu/2016-01"),
        record=_translation, question=QuestionView(as_it_is, "bleu")),
    "cnn_dm": Task(
        Dataset({split: f"cnn/cnn_wayback_{part}_urls.txt"
                 for split, part in (("train", "training"), ("heldout", "validation"), ("test", "test"))},
                _story_lines, {"train": "cnn_dailymail:train", "heldout": "cnn_dailymail:validation",
                               "test": "cnn_dailymail:test"}, "https://github.com/abisee/cnn-dailymail"),
        record=_summary, question=QuestionView(as_it_is, "rouge", cut=True)),
    "sst": Task(
        Dataset({split: (f"{part}_binary_sent.csv", f"{part}_fine_sent.csv") for split, part in _files("{}").items()},
                _sentiment_lines, {}, "https://github.com/openai/generating-reviews-discovering-sentiment"),
        record=_sentiment, question=QuestionView(as_it_is, "em")),
    "srl": Task(
        Dataset(_files("wiki1.{}.qa"), _role_lines, {}, "https://dada.cs.washington.edu/qasrl/"),
        record=_role, question=QuestionView(as_it_is, "nf1", ("nem",))),
    "srl_2020": Task(
        Dataset({"train": "wikinews.dev.gold.csv", "heldout": "wikinews.test.gold.csv"}, _gold_lines, {},
                "https://github.com/plroit/qasrl-gs"),
        record=_role, question=QuestionView(as_it_is, "nf1", ("nem",))),
    "zre": Task(
        Dataset(_files("{}.0"), _relation_lines, {}, "http://nlp.cs.washington.edu/zeroshot/"),
        record=_relation, question=QuestionView(as_it_is, "corpus_f1")),
    "woz_en": _woz("en"),
    "woz_de": _woz("de"),
    "wikisql": Task(
        Dataset(_files("{}.jsonl"), _query_lines, {}, "https://github.com/salesforce/WikiSQL"),
        record=_query, question=QuestionView(as_it_is, "lfem", ("lfem_unordered", "em"))),
    "mwsc": Task(
        Dataset(dict.fromkeys(("train", "heldout", "test"), "schema.txt"), _schema_lines, {},
                "https://github.com/salesforce/decaNLP/tree/master/local_data"),
        record=_schema, question=QuestionView(as_it_is, "em")),
}  # fmt: skip
