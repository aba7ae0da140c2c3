"""Choices: Winograd schemas, HellaSwag, StoryCloze, PIQA, ARC, OpenBookQA, RACE, COPA.

Templates `gpt3` are those of GPT-3's appendix G; `lm_eval` those of lm-evaluation-harness, by characters its
`acc_norm`. HellaSwag's `characters` is GPT-3's text by characters: the harness takes each sentence to end from two fields
of the files, and its capitals differ in some. COPA's 'so' is ours, the appendix shows a cause alone.
"""

import functools
import re
import xml.etree.ElementTree

from ssl_jax import files
from ssl_jax.data.tasks import choices, formats, superglue
from ssl_jax.errors import UserError, cut, listed, shown
from ssl_jax.fewshot.items import Item, Protocol, Task
from ssl_jax.fewshot.tasks import published
from ssl_jax.fewshot.tasks.published import checked, reader

SCHEMAS = 273


def _protocol(item, normalise="sum", **more):
    return Protocol("choices", item, ("accuracy",), normalise=normalise, **more)


def _gold(label, count, where):
    """A number of a choice, from a number or its digits."""
    if str(label) not in map(str, range(count)):
        raise UserError(f"{where}: the label is {shown(label)}, and should be from 0 to {count - 1}")
    return int(label)


def _schema_lines(path, split):
    """The first 273 of WSCollection.xml, the set that is reported; as in TensorFlow Datasets' wsc273."""
    del split
    try:
        schemas = xml.etree.ElementTree.fromstring(files.read_bytes(path)).findall("schema")
    except (xml.etree.ElementTree.ParseError, LookupError, ValueError) as error:  # its encoding may be the reason
        raise UserError(f"{path}: not XML ({cut(str(error))})") from error
    for number, schema in enumerate(schemas[:SCHEMAS], 1):
        where = f"{path}, schema {number}"
        before, pronoun, after = (_element(schema, f"text/{name}", where) for name in ("txt1", "pron", "txt2"))
        options = [" ".join((one.text or "").split()) for one in schema.findall("answers/answer")]
        letter = _element(schema, "correctAnswer", where)[:1]
        if len(options) != 2 or letter not in ("A", "B"):
            raise UserError(f"{where}: {len(options)} answers, of which {shown(letter)} is right; two are needed, A or B")
        text = f"{before} {pronoun}{'' if len(after) == 1 else ' '}{after}"
        yield where, {"text": text, "pronoun_start": len(before) + 1, "pronoun_text": pronoun,
                      "option1": options[0], "option2": options[1], "label": "AB".index(letter)}  # fmt: skip


def _element(schema, path, where):
    element = schema.find(path)
    if element is None or not (element.text or "").strip():
        raise UserError(f"{where}: no {path}")
    return " ".join(element.text.split())


def _schema(record, where):
    """`before` and `after` the pronoun; the two `options` in its place, with a small article where it is small."""
    start, pronoun = record["pronoun_start"], record["pronoun_text"]
    options = [_cased(record[key], pronoun) for key in ("option1", "option2")]
    yield {"before": record["text"][:start].rstrip(), "after": record["text"][start + len(pronoun) :],
           "options": options, "gold": _gold(record["label"], 2, where)}  # fmt: skip


_ARTICLES = ("a", "an", "the", "my", "his", "her", "their")


def _cased(option, pronoun):
    """An option as it would stand in the pronoun's place: its article is small or capital as the pronoun is."""
    first, blank, rest = option.partition(" ")
    if first.lower() in _ARTICLES:
        first = first.lower() if pronoun[0].islower() else first.capitalize()
    return f"{first}{blank}{rest}"


def _full(record):
    """P(option and what follows | what is before), Trinh and Le's full scoring."""
    return Item(record["before"], tuple(f" {option}{record['after']}" for option in record["options"]), record["gold"])


def _partial(record):
    """P(what follows | what is before with the option), their partial scoring (GPT-3, figure G.13)."""
    contexts = tuple(f"{record['before']} {option}".strip() for option in record["options"])
    return Item("", (record["after"],), record["gold"], contexts)


def _hellaswag_lines(path, split):
    """As TensorFlow Datasets' records: `ctx` is `context`."""
    del split
    for where, record in files.json_lines(path):
        made = checked(record, where, ctx=str, endings=list[str], activity_label=str)
        yield where, {"context": made.pop("ctx"), **made, "label": formats.value(record, "label", int, where)}


def _hellaswag(record, where):
    """Without WikiHow's marks of titles and steps, in [ ]; the sentence to end begins with a capital (figure G.9)."""
    context, endings = _unmarked(record["context"]), [_unmarked(ending) for ending in record["endings"]]
    before, stop, start = context.rpartition(". ")
    yield {"context": f"{record['activity_label']}: {before}{stop}{start[:1].upper()}{start[1:]}", "choices": endings,
           "gold": _gold(record["label"], len(endings), where)}  # fmt: skip


def _unmarked(text):
    return " ".join(re.sub(r"\[.*?\]", "", text.replace(" [title]", ". ")).split())


def _endings(record, template="{context}"):
    """A context, and each choice after it, without the blanks that a set may have at their ends."""
    context = template.format(**record).rstrip()
    return Item(context, tuple(f" {choice.strip()}" for choice in record["choices"]), record["gold"])


def _piqa_lines(path, split):
    """The labels are in the file NAME-labels.lst beside NAME.jsonl, a line each."""
    del split
    labels_path = path.with_name(f"{path.stem}-labels.lst")
    if not labels_path.is_file():
        raise UserError(f"there is no file {labels_path} with the labels of {path}")
    lines = files.read_lines(labels_path)
    labels = [_gold(line.strip(), 2, f"{labels_path}, line {number}") for number, line in lines]
    records = list(files.json_lines(path))
    if len(labels) != len(records):
        raise UserError(f"{labels_path}, line {len(labels)}: {len(labels)} labels for {len(records)} lines of {path}")
    for (where, record), label in zip(records, labels, strict=True):
        yield where, record | {"label": label}


def _piqa(record, where):
    made = checked(record, where, goal=str, sol1=str, sol2=str)
    yield {"context": made["goal"], "choices": [made["sol1"], made["sol2"]], "gold": _gold(record["label"], 2, where)}


def _questions_lines(path, split):
    """ARC's and OpenBookQA's: `question` has a `stem` and `choices`, each a `label` and a `text`."""
    del split
    for where, record in files.json_lines(path):
        asked = formats.value(record, "question", dict, where)
        found = formats.value(asked, "choices", list, where)
        yield where, {
            "question": formats.value(asked, "stem", str, where),
            "choices": {key: [formats.value(one, key, str, where) for one in found] for key in ("text", "label")},
            "answerKey": formats.value(record, "answerKey", str, where),
        }


def _arc(record, where):
    """Of TensorFlow Datasets labels and key are the numbers of letters."""
    labels, key = record["choices"]["label"], record["answerKey"]
    if key not in labels:
        raise UserError(f"{where}: the key {shown(key)} is not among the labels {listed(labels)}")
    yield {"context": record["question"], "choices": record["choices"]["text"], "gold": labels.index(key)}


def _openbook(record, where):
    """TensorFlow Datasets has the choices as choice_A to choice_D."""
    if isinstance(record["question"], dict):
        asked = record["question"]
        found = [asked[f"choice_{letter}"] for letter in "ABCD"]
        record = {"question": asked["stem"], "choices": {"text": found, "label": [0, 1, 2, 3]},
                  "answerKey": record["answerKey"]}  # fmt: skip
    return _arc(record, where)


def _race_lines(path, split):
    """A level's folder of .txt files."""
    return choices.SETS["race"].lines(path, split)


def _race(record, where):
    """A record for each question, with those before it in the passage and their answers."""
    article = formats.value(record, "article", str, where).strip()
    kinds = {"questions": list[str], "options": list[list[str]], "answers": list[str]}
    questions, options, answers = (formats.value(record, key, kind, where) for key, kind in kinds.items())
    if not len(questions) == len(options) == len(answers):
        raise UserError(f"{where}: {len(questions)} questions, {len(options)} options and {len(answers)} answers")
    before = ""
    for number, (question, found, letter) in enumerate(zip(questions, options, answers, strict=True), 1):
        gold = formats.number_of(letter, ("A", "B", "C", "D"), f"{where}, question {number}")
        if gold >= len(found):
            raise UserError(f"{where}, question {number}: {len(found)} options, and {letter} is right")
        yield {"article": article, "before": before, "question": question, "choices": found, "gold": gold}
        before += f"Q: {question}\n\nA: {found[gold]}\n\n"


def _race_task(level):
    paths = {"examples": f"train/{level}", "heldout": f"test/{level}"}
    catalogue = {"examples": f"race/{level}:train", "heldout": f"race/{level}:test"}
    homepage = choices.SETS["race"].homepage
    item = functools.partial(_endings, template="Article:\n{article}\n\n{before}Q: {question}\n\nA:")
    return Task(reader(f"race_{level}", paths, _race_lines, _race, catalogue, homepage),
                {"gpt3": _protocol(item, "unconditional", answer_context="A:"), "tokens": _protocol(item, "tokens")},
                homepage)  # fmt: skip


def _copa(record, where, labels):
    """The premise goes on with 'because' or 'so', and the choice in small letters."""
    made = checked(record, where, premise=str, choice1=str, choice2=str, question=str)
    link = ("because", "so")[formats.number_of(made["question"], ("cause", "effect"), where)]
    found = [made[key][:1].lower() + made[key][1:] for key in ("choice1", "choice2")]
    yield {"context": f"{made['premise'].strip().removesuffix('.')} {link}", "choices": found,
           "gold": formats.number_of(record["label"], labels, where)}  # fmt: skip


def labelled(row):
    """A row without its test set, whose labels nobody tells; those trained on are 'examples', which need not be there."""

    def of(splits):
        return {"examples": splits["train"], "heldout": splits["heldout"]} if splits else {}

    def lines(path, split):
        return row.lines(path, "train" if split == "examples" else split)

    return row._replace(files=of(row.files), catalogue=of(row.catalogue), lines=lines)


def _story(choice):
    return _endings({"context": choice.text, "choices": choice.choices, "gold": choice.label})


def _arc_task(name, set_name):
    paths = {"examples": f"{set_name}-Train.jsonl", "heldout": f"{set_name}-Test.jsonl"}
    catalogue = {"examples": f"ai2_arc/{set_name}:train", "heldout": f"ai2_arc/{set_name}:test"}
    homepage = "https://allenai.org/data/arc"
    item = functools.partial(_endings, template="Question: {context}\nAnswer:")
    return Task(reader(name, paths, _questions_lines, _arc, catalogue, homepage),
                {"gpt3": _protocol(item, "unconditional", answer_context="Answer:"),
                 "lm_eval": _protocol(item, "characters")}, homepage)  # fmt: skip


_WINOGRAD = "https://cs.nyu.edu/~davise/papers/WinogradSchemas/WS.html"
_HELLASWAG = "https://github.com/rowanz/hellaswag/tree/master/data"
_PIQA = "https://yonatanbisk.com/piqa/"
_OPENBOOK = "https://allenai.org/data/open-book-qa"
_LM_EVAL_PIQA = functools.partial(_endings, template="Question: {context}\nAnswer:")

TASKS = {
    "winograd": Task(
        reader("winograd", {"examples": "WSCollection.xml", "heldout": "WSCollection.xml"}, _schema_lines, _schema,
               {"examples": "wsc273:test", "heldout": "wsc273:test"}, _WINOGRAD),
        {"full": _protocol(_full), "gpt3": _protocol(_partial)}, _WINOGRAD),
    "hellaswag": Task(
        reader("hellaswag", {"examples": "hellaswag_train.jsonl", "heldout": "hellaswag_val.jsonl"}, _hellaswag_lines,
               _hellaswag, {"examples": "hellaswag:train", "heldout": "hellaswag:validation"}, _HELLASWAG),
        {"gpt3": _protocol(_endings, "tokens"), "characters": _protocol(_endings, "characters")}, _HELLASWAG),
    "storycloze": Task(published.of_row("storycloze", labelled(choices.SETS["rocstories"])),
                       {"gpt3": _protocol(_story, "tokens")}, choices.SETS["rocstories"].homepage),
    "piqa": Task(
        reader("piqa", {"examples": "train.jsonl", "heldout": ("valid.jsonl", "dev.jsonl")}, _piqa_lines, _piqa,
               {"examples": "piqa:train", "heldout": "piqa:validation"}, _PIQA),
        {"gpt3": _protocol(_endings, "tokens"), "lm_eval": _protocol(_LM_EVAL_PIQA, "characters")}, _PIQA),
    "arc_easy": _arc_task("arc_easy", "ARC-Easy"),
    "arc_challenge": _arc_task("arc_challenge", "ARC-Challenge"),
    "openbookqa": Task(
        reader("openbookqa", {"examples": "train.jsonl", "heldout": "test.jsonl"}, _questions_lines, _openbook,
               {"examples": "openbookqa:train", "heldout": "openbookqa:test"}, _OPENBOOK),
        {"gpt3": _protocol(_endings, "unconditional", answer_context="Answer:"),
         "lm_eval": _protocol(_endings, "characters")}, _OPENBOOK),
    "race_middle": _race_task("middle"),
    "race_high": _race_task("high"),
    "copa": Task(published.of_row("copa", labelled(superglue.SETS["copa"])._replace(examples=_copa)),
                 {"gpt3": _protocol(_endings, "tokens")}, superglue.SETS["copa"].homepage),
}  # fmt: skip
