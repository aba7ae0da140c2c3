"""decaNLP's sets are read as they are published, every task is asked in words, and answers are measured by its metrics."""

import hashlib
import itertools
import json
import random

import pytest
import sacrebleu

from ssl_jax import metrics, tasks
from ssl_jax.errors import UserError
from ssl_jax.tasks import QA, Example, Words, datasets, decanlp
from ssl_jax.tasks.base import Source
from tests.reference import decanlp_metrics as reference
from tests.unit.test_prompted_tasks import ASKED as PROMPTED_FILES
from tests.unit.test_task_files import SETS


@pytest.fixture
def reading(tmp_path):
    """`reading(name, files, splits)`: the Read of a task's questions, whose files, path -> text, are written first."""

    def read(name, files, splits=()):
        for path, content in files.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(content if isinstance(content, bytes) else content.encode())
        return tasks.read_questions(name, Source(str(tmp_path)), splits)

    return read


def three(pattern, contents, parts=("train", "dev", "test")):
    return {pattern.format(part): content for part, content in zip(parts, contents, strict=True)}


def json_lines(*records):
    return "".join(json.dumps(record) + "\n" for record in records)


def segments(*texts):
    inside = "".join(f'<seg id="{n}"> {text} </seg>\n' for n, text in enumerate(texts, 1))
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<mteval><srcset><doc docid="7">{inside}</doc></srcset></mteval>'


TALK = "<url>http://a</url>\n<keywords>b</keywords>\n{}<reviewer></reviewer>\n"
URLS = {part: [f"http://{part}/{n}" for n in range(2)] for part in ("training", "validation", "test")}


def stories():
    """Of each split one of CNN's, one of the Daily Mail's, and one that is lost."""
    files = {}
    for source in ("cnn", "dailymail"):
        for part, urls in URLS.items():
            urls = urls if source == "cnn" else [f"{urls[0]}/mail"]
            files[f"{source}/{source}_wayback_{part}_urls.txt"] = "".join(f"{url}\n" for url in urls)
            name = hashlib.sha1(urls[0].encode()).hexdigest()
            files[f"{source}/stories/{name}.story"] = STORY.format(source=source, part=part)
    return files


STORY = "({source}) -- It rained\n\nIn {part}\xa0it \u201cpoured\u201d\n\n@highlight\n\nRain fell\n\n@highlight\n\nIt is over!\n"
ROLES = """WIKI1_0\t2
Mr. Smith 's cat did n't eat the `` $ 5 '' fish , -LRB- it said -RRB- .
3\teat\t2
What\tdid\t_\tn't\teat\tsomething\t_\t?\tmr. Smith's cat ### the cat
Who said _ something ? It

WIKI1_1\t1
12 men ran away then .
2\tran\t1
Who ran _ ? 12 men

"""
ROLE_ANSWERS = [
    QA("What did n't eat something?", "", ("Mr. Smith's cat", "the cat")),
    QA("Who said something?", "", ("it",)),
    QA("Who ran?", "12 men ran away then.", ("12 men",)),
]
CAT = "Mr. Smith's cat didn't eat the $5 fish, (it said)."
ROLE_ANSWERS[:2] = [one._replace(context=CAT) for one in ROLE_ANSWERS[:2]]
ROLE_ANSWERS[0] = ROLE_ANSWERS[0]._replace(question="What didn't eat something?")
GOLD = "qasrl_id,verb_idx,question,answer\nw:1,1,Who ran?,Ann~!~the men\nw:1,1,When?,`` now\n"
SENTENCES = "qasrl_id,tokens,sentence\nw:1,x,\"Ann , and the men , ran `` now '' .\"\n"


def turn(transcript, acts=(), inform=(), request=()):
    state = [{"slots": [list(slot)], "act": "inform"} for slot in inform] + [{"slots": [["slot", one]], "act": "request"}
                                                                            for one in request]  # fmt: skip
    return {"transcript": transcript, "system_acts": list(acts), "belief_state": state, "turn_label": []}


DIALOGUES = [
    {"dialogue_idx": 7, "dialogue": [
        turn("Thai  food?", inform=[("food", "thai")]),
        turn("North. The phone?", ["area", ["price range", "cheap"]], [("area", "north"), ("food", "thai")], ["phone", "address"]),
        turn("Rather Greek.", [], [("food", "greek"), ("area", "north")]),
        turn("Thanks.", inform=[("food", "greek"), ("area", "north")]),
        turn(" ")]},
    {"dialogue_idx": 8, "dialogue": [turn("Phone?", request=["phone"])]},
]  # fmt: skip
CHANGE = "What is the change in state?"
TURNS = [
    QA(CHANGE, context, (answer,), gold={"dialogue": dialogue, "turn": number})
    for context, answer, dialogue, number in (
        ("Thai food?", "food: thai;", "1", 0),
        ("area, price range: cheap -- North. The phone?", "area: north; phone, address", "1", 1),
        ("Rather Greek.", "food: greek;", "1", 2),
        ("Thanks.", "None", "1", 3),
        ("Phone?", "; phone", "2", 0),
    )
]
HEADER = ["Name", "Year built", "Score"]
TABLE = {"id": "1-1", "header": HEADER, "types": [], "rows": [["Abbey", "1900", 3]]}
QUERIES = json_lines({"phase": 1, "table_id": "1-1", "question": "Who is oldest?",
                      "sql": {"sel": 1, "agg": 2, "conds": [[0, 0, "Abbey  Road"], [2, 1, 3.5]]}},
                     {"phase": 1, "table_id": "1-1", "question": "Names?", "sql": {"sel": 0, "agg": 0, "conds": []}})  # fmt: skip
KEYWORDS = (
    "The table has columns Name, Year built, Score and key words MAX, MIN, COUNT, SUM, AVG, =, >, <, OP, SELECT, WHERE, AND, "
    "COL, TABLE, CAPTION, PAGE, SECTION, OP, COND, QUESTION, AGG, AGGOPS, CONDOPS-- "
)
SQL = "What is the translation from English to SQL?"
SQL_QAS = [
    QA(SQL, f"{KEYWORDS}Who is oldest?", ("SELECT MIN Year built FROM table WHERE Name = Abbey Road AND Score > 3.5",),
       gold={"header": HEADER, "sql": {"sel": 1, "agg": 2, "conds": [[0, 0, "Abbey  Road"], [2, 1, 3.5]]}}),
    QA(SQL, f"{KEYWORDS}Names?", ("SELECT Name FROM table",), gold={"header": HEADER, "sql": {"sel": 0, "agg": 0, "conds": []}}),
]  # fmt: skip
SCHEMAS = "\n\n".join(f"It{n} [fell/rose] and [was/is] up. \nWhat{n} [fell/rose]?\nA b/C{n}" for n in range(132)) + "\n"


def schema(number, side):
    words, answer = (("fell", "was"), ("rose", "is"))[side], ("A b", f"C{number}")[side]
    return QA(f"What{number} {words[0]}? A b or C{number}?", f"It{number} {words[0]} and {words[1]} up.", (answer,))


def summary(source, part):
    return QA(
        "What is the summary?", f"({source}) -- It rained. In {part} it \u201cpoured\u201d", ("Rain fell. It is over!",)
    )


def relations(sentence):
    return f"born\tWhere was XXX born?\tBob\t{sentence}\nborn\tWhere was XXX born?\tEve\tIt is.\tRome\tthe city\n"


# name -> its files; what its splits hold; the notes of its training split.
NEW = {
    "iwslt_en_de": (
        {"train.tags.en-de.en": TALK.format("Good day. \n\nYes\n"), "train.tags.en-de.de": TALK.format("Guten Tag.\nWas\nJa\n"),
         "IWSLT16.TED.tst2013.en-de.en.xml": segments("A &amp; b"), "IWSLT16.TED.tst2013.en-de.de.xml": segments("A und b"),
         "IWSLT17.TED.tst2014.en-de.en.xml": segments("c"), "IWSLT17.TED.tst2014.en-de.de.xml": segments("d")},
        {"train": [QA("Translate from English to German", "Good day.", ("Guten Tag.",)),
                   QA("Translate from English to German", "Yes", ("Ja",))],
         "heldout": [QA("Translate from English to German", "A & b", ("A und b",))],
         "test": [QA("Translate from English to German", "c", ("d",))]},
        "left out: 1 with an empty question, context or answer (the first: {folder}/train.tags.en-de.en, line 4)",
    ),
    "cnn_dm": (
        stories(),
        {split: [summary(source, part) for source in ("cnn", "dailymail")] for split, part in
         (("train", "training"), ("heldout", "validation"), ("test", "test"))},
        "left out: 1 stories that are not there (the first: {folder}/cnn/cnn_wayback_training_urls.txt, line 2, {folder}/cnn/stories/"
        f"{hashlib.sha1(URLS['training'][1].encode()).hexdigest()}.story)",
    ),
    "sst": (
        {"train_fine_sent.csv": 'label,sentence\n4,"A ""b"", c"\n2,So so\n0,No\n', "dev_fine_sent.csv": "label,sentence\n1,Hm\n",
         "test_binary_sent.csv": "label,sentence\n1,Well\n"},
        {"train": [QA("Is this review negative or positive?", 'A "b", c', ("positive",)),
                   QA("Is this review negative or positive?", "No", ("negative",))],
         "heldout": [QA("Is this review negative or positive?", "Hm", ("negative",))],
         "test": [QA("Is this review negative or positive?", "Well", ("positive",))]},
        "left out: 1 neutral sentences (the first: {folder}/train_fine_sent.csv, line 3)",
    ),
    "srl": (three("wiki1.{}.qa", [ROLES] * 3), dict.fromkeys(("train", "heldout", "test"), ROLE_ANSWERS), None),
    "srl_2020": (
        {f"{domain}.{part}.{table}.csv": {"gold": GOLD, "sentences": SENTENCES}[table]
         for domain in ("wikinews", "wikipedia") for part in ("dev", "test") for table in ("gold", "sentences")},
        dict.fromkeys(("train", "heldout"), 2 * [QA("Who ran?", "Ann, and the men, ran now .", ("Ann", "the men")),
                                                 QA("When?", "Ann, and the men, ran now .", ("now",))]),
        None,
    ),
    "zre": (
        three("{}.0", [relations("A."), relations("B."), relations("C.")]),
        {split: [QA("Where was Bob born?", sentence, ("unanswerable",)),
                 QA("Where was Eve born?", "It is.", ("Rome, the city",))]
         for split, sentence in (("train", "A."), ("heldout", "B."), ("test", "C."))},
        None,
    ),
    "woz_en": (
        three("woz_{}_en.json", [json.dumps(DIALOGUES)] * 3, ("train", "validate", "test")),
        dict.fromkeys(("train", "heldout", "test"), TURNS),
        "left out: 1 with an empty question, context or answer (the first: {folder}/woz_train_en.json, dialogue 1, turn 5)",
    ),
    "woz_de": (
        three("woz_{}_de.json", [json.dumps(DIALOGUES[1:])] * 3, ("train", "validate", "test")),
        dict.fromkeys(("train", "heldout", "test"), [TURNS[-1]._replace(gold={"dialogue": "1", "turn": 0})]),
        None,
    ),
    "wikisql": (
        three("{}.jsonl", [QUERIES] * 3) | three("{}.tables.jsonl", [json_lines(TABLE)] * 3),
        dict.fromkeys(("train", "heldout", "test"), SQL_QAS),
        None,
    ),
    "mwsc": (
        {"schema.txt": SCHEMAS},
        {split: [schema(n, side) for n in range(start, end) for side in (0, 1)]
         for split, start, end in (("train", 0, 40), ("heldout", 40, 81), ("test", 81, 131))},
        None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NEW)
def test_decanlps_sets_are_read_as_they_are_published(name, reading, tmp_path):
    files, splits, note = NEW[name]
    read = reading(name, files)
    assert read.splits == splits and read.labels == ()
    assert read.notes["train"] == ([note.format(folder=tmp_path)] if note else [])
    assert {split: len(places) for split, places in read.places.items()} == {
        split: len(one) for split, one in splits.items()
    }
    assert json.loads(json.dumps(read.splits)) is not None  # `gold` too
    only = reading(name, {}, ("heldout",))
    assert only.splits == {"heldout": splits["heldout"]}
    if name == "mwsc":
        assert [len(splits[split]) for split in ("train", "heldout", "test")] == [80, 82, 100]


FAULTS = {
    "columns": ("zre", "train.0", "a\tb\n", r"train.0, line 1: 2 columns, and there should be at least 4: relation, question, su"),
    "labels": ("sst", "dev_fine_sent.csv", "label,sentence\n5,a\n", "dev_fine_sent.csv, line 2: unknown label '5'; there are: 0, "),
    "marks": ("srl", "wiki1.dev.qa", "WIKI1_0\t1\nIt ran.\n1\tran\t1\nWho ? It ? no\n", r"wiki1.dev.qa, line 4: .* and here are 2"),
    "a lost sentence": ("srl_2020", "wikinews.dev.gold.csv", GOLD.replace("w:1", "w:2"), "gold.csv, line 2: there is no sentence 'w:2'"),
    "slots": ("woz_en", "woz_train_en.json", json.dumps([{"dialogue": [turn("a", inform=[("food",)])]}]),
              r"dialogue 1, turn 1: \[\['food'\]\] are no pairs"),
    "acts": ("woz_en", "woz_train_en.json", json.dumps([{"dialogue": [turn("a", [3])]}]), "dialogue 1, turn 1: 'act' is 3, and should"),
    "no table": ("wikisql", "dev.tables.jsonl", "", r"dev.jsonl, line 1: there is no table '1-1' in \S+dev.tables.jsonl"),
    "a column": ("wikisql", "dev.tables.jsonl", json_lines(TABLE | {"header": ["a"]}), "dev.jsonl, line 1: column 1, and there are 1"),
    "an operator": ("wikisql", "dev.jsonl", QUERIES.replace("[0, 0", "[0, 4"), "dev.jsonl, line 1: operator 4, and there are 4, from"),
    "an aggregate": ("wikisql", "dev.jsonl", QUERIES.replace('"agg": 2', '"agg": 6'), "line 1: aggregate 6, and there are 6"),
    "conditions": ("wikisql", "dev.jsonl", QUERIES.replace("[0, 0, ", "[0, "), "line 1: .* are no lists of column, operator and"),
    "sides": ("mwsc", "schema.txt", "It [a].\nWhat?\nb/c\n", r"schema.txt, line 1: '\[a\]' is no \[this/that\]"),
    "lines": ("mwsc", "schema.txt", "It [a/b].\nWhat?\n", "schema.txt, line 1: a schema has a sentence, a question and two"),
    "answers": ("mwsc", "schema.txt", "It [a/b].\nWhat?\nc\n", "schema.txt, line 1: a schema has a sentence, a question and two"),
    "sentences": ("iwslt_en_de", "train.tags.en-de.de", "Ja\n", r"train.tags.en-de.en: 3 sentences, and \S+train.tags.en-de.de has 1"),
    "XML": ("iwslt_en_de", "IWSLT16.TED.tst2013.en-de.de.xml", "<a>", "tst2013.en-de.de.xml: not XML"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_malformed_is_a_line_with_its_place(fault, reading):
    name, path, content, message = FAULTS[fault]
    with pytest.raises(UserError, match=message) as told:
        reading(name, NEW[name][0] | {path: content})
    assert "\n" not in str(told.value)


def test_what_is_not_there_is_told_with_how_to_get_it(reading, tmp_path):
    with pytest.raises(
        UserError, match=r"there is no \S+dev.0, but train.0; get the files from http://nlp.cs.washington.edu/zeroshot"
    ):
        reading("zre", {"train.0": relations("A.")})
    assert list(reading("zre", {}, ("train",)).splits) == ["train"]
    for message in ("cnn_wayback_training_urls.txt", "dailymail_wayback_validation_urls.txt"):
        for path, content in stories().items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(content)
        (tmp_path / message.split("_")[0] / message).unlink()
        with pytest.raises(UserError, match=message):
            reading("cnn_dm", {})
    with pytest.raises(
        UserError,
        match="'mwsc' is read from files: set questions.folders=mwsc=FOLDER; get them from https://github.com/salesforce",
    ):
        tasks.read_questions("mwsc", Source())
    with pytest.raises(UserError, match="unknown task that is asked in words 'stsb'"):
        tasks.read_questions("stsb", Source())
    with pytest.raises(UserError, match="task '2D.' has no split 'test'; there are: "):
        tasks.read_questions("2D+", Source(), ("test",))


def test_multinli_is_held_out_in_and_out_of_domain(reading):
    read = reading("mnli", SETS["mnli"][0])
    assert list(read.splits) == ["train", "test_mismatched", "ax", "heldout"]
    assert read.splits["heldout"] == [
        QA('Hypothesis: "D." -- entailment, neutral, or contradiction?', 'Premise: "C."', ("entailment",)),
        QA('Hypothesis: "F." -- entailment, neutral, or contradiction?', 'Premise: "E."', ("neutral",)),
    ]
    assert [place.rpartition("/")[2] for place in read.places["heldout"]] == [
        "dev_matched.tsv, line 2",
        "dev_mismatched.tsv, line 2",
    ]
    assert {one.answers for one in read.splits["ax"]} == {()}  # unpublished
    assert len(reading("mnli", {}, ("heldout",)).splits["heldout"]) == 2


def test_every_row_names_its_metrics_and_ten_make_decanlp():
    for name, row in tasks.ASKED.items():
        assert {row.question.metric, *row.question.also} <= set(metrics.OF_ANSWERS), name
        assert row.example or row.record or not isinstance(row.data, datasets.Dataset), name
    assert [tasks.ASKED[name].question.metric for name in tasks.TEN] == [
        "nf1", "bleu", "rouge", "em", "em", "nf1", "corpus_f1", "joint_goal_em", "lfem", "em"
    ]  # fmt: skip
    assert [name for name, row in tasks.ASKED.items() if row.question.cut] == ["topics", "imdb", "cnn_dm"]


# ---- The other rows
FILES = {name: files for (name, _), (files, _) in PROMPTED_FILES.items()} | {
    name: files for name, (files, *_) in SETS.items()
}
NLI = "entailment, neutral, or contradiction?"
# name -> the first held-out question, context and answers.
VIEWS = {
    "cola": ("Is this sentence unacceptable or acceptable?", "Fine.", ("acceptable",)),
    "sst2": ("Is this review negative or positive?", "dull", ("negative",)),
    "mrpc": ('Sentence: "D." -- not equivalent or equivalent?', 'Sentence: "C."', ("not equivalent",)),
    "qqp": ('Question: "B?" -- not duplicate or duplicate?', 'Question: "A?"', ("duplicate",)),
    "qnli": ('Question: "A?" -- entailment or not entailment?', 'Sentence: "B."', ("not entailment",)),
    "rte": ('Hypothesis: "Is it." -- entailment or not entailment?', 'Premise: "It is."', ("not entailment",)),
    "boolq": ("is it? -- no or yes?", "No.", ("no",)),
    "cb": ('Hypothesis: "B" -- entailment, contradiction, or neutral?', 'Premise: "A"', ("neutral",)),
    "copa": ("Which of these? A. or B.?", "It fell. What happened as a result?", ("A.",)),
    "multirc": ("Why? answer 0 -- no or yes?", "Text.", ("yes",)),
    "record": ("It is @placeholder.", "Anna met Bob.\n@highlight\nShe left.\n@highlight\nBob stayed.", ("Anna",)),
    "wic": ('Sentence: "The bank." -- another meaning or the same meaning?', "bank: A bank.", ("the same meaning",)),
    "wsc": ("Does the word between asterisks stand for Mark, no or yes?", "Mark told Pete lies, and *he* knew.", ("no",)),
    "snli": (f'Hypothesis: "B." -- {NLI}', 'Premise: "A."', ("contradiction",)),
    "scitail": ('Hypothesis: "B." -- entailment or neutral?', 'Premise: "A."', ("neutral",)),
    "squad2": ("Who?", "Anna \u201cA\u201d \u014cta met Bob.", ("unanswerable",)),
    "swag": ("What comes next? a, b, c, or d?", "A. He", ("a",)),
    "race": ("Q? a, b, c, or d?", "One. Two.", ("c",)),
    "rocstories": ("What comes next? K. or L.?", "G. H. I. J.", ("K.",)),
    "winogrande": ("What is in the blank? fruits or roots?", "Johnny likes fruits, not roots, because the _ are sweet.", ("fruits",)),
    "anli_r1": ('Hypothesis: "It was." -- entailment, contradiction, or neutral?', 'Premise: "It is."', ("neutral",)),
    "arc_easy": ("Which answer is right? a, b c, or d?", "Which?", ("b c",)),
    "race_middle": ("It is _ . a, b, c, or d?", "One.", ("b",)),
    "conll2003": ("What are the tags for all entities?", "EU", ("EU -- organization",)),
    "imdb": ("Is this review negative or positive?", "No.", ("negative",)),
    "ag_news": ("Is the topic World, Sports, Business, or Sci/Tech?", "A B", ("Sci/Tech",)),
    "2D+": ("What is the answer?", "Q: What is 98 plus 45?\n\nA:", ("143",)),
    "RW": ("What is the answer?", "asinoc =", ("casino",)),
    "coqa": ("Who?", "Anna met Bob.", ("Anna", "Anna met")),
    "quac": ("Who?", "Anna - Life Anna met Bob.", ("Bob",)),
    "drop": ("How many?", "Bob ran 4 yards.", ("4", "4 yards, Bob")),
    "triviaqa": ("What is the answer?", "Who painted it?", ("Duchamp", "duchamp")),
    "en_ro": ("Translate from English to Romanian", "No.", ("Nu.",)),
}  # fmt: skip


@pytest.mark.parametrize("name", VIEWS)
def test_other_tasks_are_asked_in_words(name, reading):
    question, context, answers = VIEWS[name]
    assert reading(name, FILES[name], ("heldout",)).splits["heldout"][0][:3] == (question, context, answers)


def test_a_task_of_your_own_lists_the_labels_that_its_files_have(reading, tmp_path):
    lines = json_lines({"text": "a", "text2": "b", "label": "no"}, {"text": "c", "label": 1}, {"text": " ", "label": 1})
    read = reading("jsonl", {"train.jsonl": lines, "heldout.jsonl": lines})
    assert read.splits["train"] == [QA("b -- 1 or no?", "a", ("no",)), QA("Is this 1 or no?", "c", ("1",))]
    assert read.places["train"] == [f"{tmp_path}/train.jsonl, line {number}" for number in (1, 2)]
    assert read.notes["train"] == [
        f"left out: 1 with an empty question, context or answer (the first: {tmp_path}/train.jsonl, line 3)"
    ]
    topic = tasks.ASKED["topics"].question.ask(Example("Rain.", None, 1), ("Arts", "Weather"))
    assert topic == QA("Is the topic Arts or Weather?", "Rain.", ("Weather",))


def test_entities_are_named_one_by_one():
    row = tasks.ASKED["conll2003"]
    for tags, answer in (
        ("B-PER I-PER O B-LOC", "Ann Lee -- person; Bonn -- location"),
        ("I-PER B-PER O I-LOC", "Ann -- person; Lee -- person; Bonn -- location"),  # IOB1
        ("I-PER I-ORG I-ORG I-MISC", "Ann -- person; Lee in -- organization; Bonn -- miscellaneous"),
        ("O O O O", "None"),
    ):
        labels = tuple(row.labels.index(tag) for tag in tags.split())
        qa = row.question.ask(Words(("Ann", "Lee", "in", "Bonn"), labels), row.labels)
        assert qa[1:3] == ("Ann Lee in Bonn", (answer,))


@pytest.mark.parametrize("name", ["cnn_dm", "mnli", "cola", "en_de", "naturalqs", "imdb"])
def test_tensorflow_datasets_are_asked_in_words(name, mock_sets, monkeypatch):
    """Records of the right types and random content, as `tfds.testing` makes them."""
    plain = datasets._plain

    def mend(record):
        record = plain(record)
        return {key: value or "a" if isinstance(value, str) else value for key, value in record.items()} if (
            isinstance(record, dict)) else record  # fmt: skip

    monkeypatch.setattr(datasets, "_plain", mend)
    with mock_sets(4):
        read = tasks.read_questions(name, Source())
    assert len(read.splits["train"]) == 4 and len(read.splits["heldout"]) == (8 if name == "mnli" else 4)
    assert all(type(qa) is QA for qas in read.splits.values() for qa in qas)


# ---- Metrics
WORDS = ["the", "a", "Cat", "cat", "and", "unanswerable", "dog,", "an", "x.", "Unanswerable!"]


def some(rng, words, most=4):
    return " ".join(rng.choice(words) for _ in range(rng.randint(1, most)))


@pytest.mark.parametrize("seed", range(3))
def test_words_are_compared_by_their_definitions(seed):
    rng = random.Random(seed)
    for _ in range(100):
        size = rng.randint(1, 6)
        texts = [some(rng, WORDS) for _ in range(size)]
        answers = [tuple(some(rng, WORDS) for _ in range(rng.randint(1, 2))) for _ in range(size)]
        qas = [QA("q", "c", one) for one in answers]
        assert metrics.OF_ANSWERS["nf1"](texts, qas) == pytest.approx(reference.nf1(texts, answers))
        assert metrics.OF_ANSWERS["em"](texts, qas) == pytest.approx(reference.em(texts, answers))
        assert metrics.OF_ANSWERS["corpus_f1"](texts, qas) == pytest.approx(reference.corpus_f1(texts, answers))


def test_relations_count_those_that_have_an_answer_and_those_that_get_one():
    qas = [QA("q", "c", (answer,)) for answer in ("Rome", "unanswerable", "Bonn and Ulm", "unanswerable")]
    # One of three given is right, and one of two that are due.
    assert metrics.corpus_f1(["rome.", "x", "Bonn", "unanswerable"], qas) == pytest.approx(
        2 * (1 / 3) * (1 / 2) / (1 / 3 + 1 / 2)
    )
    assert metrics.corpus_f1(["", "Unanswerable", "the Ulm, Bonn", "unanswerable"], qas) == pytest.approx(1 / 2)
    assert metrics.corpus_f1(["unanswerable"] * 4, qas) == 0


def test_translations_are_compared_in_lower_case():
    texts, golds = ["The cat sat on the mat today", "no way"], ["the Cat sat on a mat today", "No way at all"]
    qas = [QA("q", "c", (gold,)) for gold in golds]
    value = metrics.OF_ANSWERS["bleu"](texts, qas)
    assert value == pytest.approx(reference.bleu(texts, [(gold,) for gold in golds]))
    assert value == pytest.approx(sacrebleu.corpus_bleu(texts, [golds], lowercase=True).score / 100)
    assert value > sacrebleu.corpus_bleu(texts, [golds]).score / 100 + 0.05
    several = [QA("q", "c", ("the cat sat", "The cat sat on the mat today")), qas[1]._replace(answers=("no way",))]
    assert metrics.OF_ANSWERS["bleu"](texts, several) == pytest.approx(1)


@pytest.mark.parametrize("seed", range(3))
def test_summaries_are_compared_by_sentences_that_end_at_full_stops(seed):
    rng = random.Random(seed)
    for _ in range(100):
        text, gold = (some(rng, ["ox", "sun", "dim", "it", "ox.", "sun."], 9) for _ in range(2))
        value = metrics.OF_ANSWERS["rouge"]([text, gold], [QA("q", "c", (gold,))] * 2)
        assert value == pytest.approx((reference.rouge(text, gold) + reference.rouge(gold, gold)) / 2)


def test_hand_counted_rouge():
    # Words: 4 of 4 and 4. Pairs: none of 3 and 3. In the order of sentences: `sun it` and `dim ox` each give one word at least.
    value = metrics.OF_ANSWERS["rouge"](["Sun it. Dim ox."], [QA("q", "c", ("it sun. ox dim",))])
    assert value == pytest.approx((1 + 0 + 2 / 4) / 3)


GOALS = ["food: thai", "area: north", "food: greek", "area", "a: b: c", ""]
REQUESTS = ["; phone", "; phone, address", ";", "", "; address, phone", "; ;"]


@pytest.mark.parametrize("seed", range(3))
def test_dialogues_are_right_as_long_as_all_goals_so_far_are(seed):
    rng = random.Random(seed)
    for _ in range(100):
        turns = [(name, number) for name in "ab" for number in range(rng.randint(1, 4))]
        rng.shuffle(turns)

        def text():
            return rng.choice(["None", ", ".join(rng.sample(GOALS, 2)) + rng.choice(REQUESTS)])

        answers = [text() for _ in turns]
        texts = [answer if rng.random() < 0.6 else text() for answer in answers]
        qas = [QA("q", "c", (answer,), gold={"dialogue": name, "turn": number})
               for answer, (name, number) in zip(answers, turns, strict=True)]  # fmt: skip
        names = ("joint_goal_em", "turn_request_em", "turn_goal_em")
        values = [metrics.OF_ANSWERS[name](texts, qas) for name in names]
        assert values == pytest.approx(reference.dialogue(texts, answers, turns)), (texts, answers, turns)


def test_a_goal_that_is_wrong_once_stays_wrong_until_it_changes():
    texts = ["food: thai;", "area: south; phone", "none", "area: east;", "; phone"]
    answers = ["food: thai;", "area: north; phone", "None", "area: east;", ";"]
    turns = [("a", 0), ("a", 1), ("a", 2), ("a", 3), ("b", 0)]
    qas = [QA("q", "c", (answer,), gold=dict(zip(("dialogue", "turn"), turn, strict=True)))
           for answer, turn in zip(answers, turns, strict=True)]  # fmt: skip
    order = [3, 0, 4, 2, 1]
    texts, qas = [texts[n] for n in order], [qas[n] for n in order]
    assert metrics.joint_goal_em(texts, qas) == pytest.approx(3 / 5)  # 0, 3 and b
    assert metrics.turn_goal_em(texts, qas) == pytest.approx(4 / 5)
    assert metrics.turn_request_em(texts, qas) == pytest.approx(4 / 5)


COLUMNS = ["Name", "Year", "Year built", "No", "of", "Max age"]
SQL_WORDS = ["year", "built", "and", "=", ">", "op", "max", "bob", "5", "no", "name", "age", "of", "where"]


def spell(sql, header):
    """A query in words, as decaNLP's Query spells it."""
    text = f"select {metrics.SQL_AGGREGATES[sql['agg']]} {header[sql['sel']]} from table"
    conditions = [
        f"{header[column]} {metrics.SQL_OPERATORS[operator]} {value}" for column, operator, value in sql["conds"]
    ]
    return " ".join((text + (" where " + " and ".join(conditions) if conditions else "")).lower().split())


@pytest.mark.parametrize("seed", range(3))
def test_queries_are_read_word_by_word(seed):
    rng, right = random.Random(seed), 0
    for _ in range(400):
        header = rng.sample(COLUMNS, rng.randint(1, 6))
        sql = {"sel": rng.randrange(len(header)), "agg": rng.randrange(6),
               "conds": [[rng.randrange(len(header)), rng.randrange(4), rng.choice(["Bob", 5, 1.5, "a and b", "x = 3"])]
                         for _ in range(rng.randint(0, 3))]}  # fmt: skip
        words = spell(sql, header).split()
        for _ in range(rng.choice((0, 0, 1, 2))):
            place = rng.randrange(len(words))
            words[place : place + rng.randint(0, 1)] = rng.choice(([], [rng.choice(SQL_WORDS)]))
            words = words or ["select"]
        text = " ".join(words)
        if words.count("where") > 1 or any(one == other for one, other in itertools.pairwise(words)):
            continue  # what the original makes of these is chance
        form = reference.logical_form(text, header)
        assert metrics.logical_form(text, header) == form, (text, header)
        qa = QA("q", "c", ("",), gold={"sql": sql, "header": header})
        conds = [(column, operator, str(value).lower()) for column, operator, value in sql["conds"]]
        same = form is not None and form[:2] == (sql["sel"], sql["agg"])
        assert metrics.lfem([text], [qa]) == (same and form[2] == conds)
        assert metrics.lfem_unordered([text], [qa]) == (same and set(form[2]) == set(conds))
        right += metrics.lfem([text], [qa])
    assert right > 100


def test_queries_differ_by_the_order_of_conditions_only_where_it_counts():
    sql = {"sel": 1, "agg": 2, "conds": [[0, 0, "Abbey Road"], [2, 1, 3.5]]}
    qa = QA("q", "c", ("",), gold={"sql": sql, "header": HEADER})
    texts = [
        "select min year built from table where name = abbey road and score > 3.5",
        "select min year built from table where score > 3.5 and name = abbey road",
        "SELECT MIN Year built FROM table WHERE Name = Abbey Road AND Score > 3.5",
        "select min year from table where name = abbey road and score > 3.5",
        "select min year built from table where name = abbey road and score >",
        "select min year built from table where name = abbey road",
        "where",
        "",
    ]
    assert [metrics.lfem([text], [qa]) for text in texts] == [1, 0, 1, 0, 0, 0, 0, 0]
    assert [metrics.lfem_unordered([text], [qa]) for text in texts] == [1, 1, 1, 0, 0, 0, 0, 0]


def test_the_decascore_is_the_sum_in_per_cent():
    assert metrics.decascore([0.5, 0.25]) == 75


def test_tokens_of_the_treebank_become_text():
    text = "`` He 's n't ( here ) , '' they said - 5 % of $ 3 ! -LAB- a -RAB- 'll 's"
    assert decanlp.detokenised(text) == "He'sn't (here), they said-5% of $3! < a >'ll's"
