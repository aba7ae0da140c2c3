"""The published sets are read as they are published, and what is malformed is told in one line."""

import json
import math

import pytest

from ssl_jax import tasks
from ssl_jax.errors import UserError
from ssl_jax.tasks import Choice, Example, Question, Words


@pytest.fixture
def reading(tmp_path, smoke_config):
    """`reading(name, files)`: the Read of a task whose files, path -> text or bytes, are written first."""

    def read(name, files):
        for path, content in files.items():
            path = tmp_path / path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        changes = {"data.examples": "task", "task.name": name, "task.folder": str(tmp_path)}
        return tasks.read(smoke_config(*changes.items()))

    return read


def table(*rows):
    return "".join("\t".join(row.split("|")) + "\n" for row in rows)


def json_lines(*records):
    return "".join(json.dumps(record) + "\n" for record in records)


def question(number, answers, **more):
    return {"id": f"q{number}", "question": "Who?", "answers": answers} | more


def squad(*questions, context="Anna “A” Ōta met Bob."):
    return json.dumps(
        {"version": "1.1", "data": [{"title": "T", "paragraphs": [{"context": context, "qas": questions}]}]}
    )


def passage(number, **changes):
    record = {"id": f"high{number}.txt", "article": "One. Two.", "questions": ["It is _ .", "What is it?"],
              "options": [["a", "b", "c", "d"], ["e", "f", "g", "h"]], "answers": ["B", "D"]}  # fmt: skip
    return json.dumps(record | changes)


def multirc(labels):
    answers = [{"text": f"answer {n}", "idx": n} | ({} if label is None else {"label": label})
               for n, label in enumerate(labels)]  # fmt: skip
    return {"idx": 3, "passage": {"text": "Text.", "questions": [{"question": "Why?", "idx": 5, "answers": answers}]}}


def snli(*pairs):
    return json_lines(*({"sentence1": one, "sentence2": other, "gold_label": label, "pairID": "7"}
                        for one, other, label in pairs))  # fmt: skip


MNLI_HEADER = "index|promptID|sentence1|sentence2|label1|gold_label"
STS_HEADER = "index|genre|filename|year|old_index|source1|source2|sentence1|sentence2|score"
STORY_HEADER = ",".join(["InputStoryid", *(f"InputSentence{n}" for n in range(1, 5)), "RandomFifthSentenceQuiz1",
                         "RandomFifthSentenceQuiz2", "AnswerRightEnding"])  # fmt: skip
CONLL = "-DOCSTART- -X- -X- O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\n\nBonn NNP B-NP I-LOC\n"
EU_BONN = (("EU", "rejects"), ("Bonn",))

# task -> its files; the labels; what its splits hold.
SETS = {
    "cola": (
        {"train.tsv": table('gj04|1||"A quote.', "gj04|0|*|Them sail."), "dev.tsv": table("l|1||Fine."),
         "test.tsv": table("index|sentence", "0|Who?")},
        ("unacceptable", "acceptable"),
        {"train": [Example('"A quote.', None, 1), Example("Them sail.", None, 0)], "heldout": [Example("Fine.", None, 1)],
         "test": [Example("Who?", None, -1)]},
    ),
    "sst2": (
        {"train.tsv": table("sentence|label", "a fine film |1"), "dev.tsv": table("sentence|label", "dull|0")},
        ("negative", "positive"),
        {"train": [Example("a fine film ", None, 1)], "heldout": [Example("dull", None, 0)]},
    ),
    "mrpc": (
        {"train.tsv": b"\xef\xbb\xbf" + table("Quality|#1 ID|#2 ID|#1 String|#2 String", "1|7|8|A.|B.").encode(),
         "dev.tsv": table("Quality|#1 ID|#2 ID|#1 String|#2 String", "0|7|8|C.|D."),
         "test.tsv": table("index|#1 ID|#2 ID|#1 String|#2 String", "0|7|8|E.|F.")},
        ("not_equivalent", "equivalent"),
        {"train": [Example("A.", "B.", 1)], "heldout": [Example("C.", "D.", 0)], "test": [Example("E.", "F.", -1)]},
    ),
    "stsb": (
        {"train.tsv": table(STS_HEADER, "0|g|f|2012|1|n|n|A.|B.|5.000"),
         "dev.tsv": table(STS_HEADER, "0|g|f|2012|1|n|n|A.|B.|2.75")},
        (),
        {"train": [Example("A.", "B.", 5.0)], "heldout": [Example("A.", "B.", 2.75)]},
    ),
    "qqp": (
        {f"{name}.tsv": table("id|qid1|qid2|question1|question2|is_duplicate", "9|1|2|A?|B?|1") for name in ("train", "dev")},
        ("not_duplicate", "duplicate"),
        {"train": [Example("A?", "B?", 1)], "heldout": [Example("A?", "B?", 1)]},
    ),
    "mnli": (
        {"train.tsv": table(MNLI_HEADER, "0|p|A.|B.|neutral|neutral", "1|p|A.|B.|neutral|contradiction"),
         "dev_matched.tsv": table(MNLI_HEADER, "0|p|C.|D.|neutral|entailment"),
         "dev_mismatched.tsv": table(MNLI_HEADER, "0|p|E.|F.|neutral|neutral"),
         "test_mismatched.tsv": table("index|promptID|sentence1|sentence2", "0|p|G.|H."),
         "diagnostic.tsv": table("index|sentence1|sentence2", "0|I.|J.")},
        ("entailment", "neutral", "contradiction"),
        {"train": [Example("A.", "B.", 1), Example("A.", "B.", 2)], "heldout": [Example("C.", "D.", 0)],
         "heldout_mismatched": [Example("E.", "F.", 1)], "test_mismatched": [Example("G.", "H.", -1)],
         "ax": [Example("I.", "J.", -1)]},
    ),
    "qnli": (
        {f"{name}.tsv": table("index|question|sentence|label", "0|A?|B.|not_entailment") for name in ("train", "dev")},
        ("entailment", "not_entailment"),
        {"train": [Example("A?", "B.", 1)], "heldout": [Example("A?", "B.", 1)]},
    ),
    "wnli": (
        {f"{name}.tsv": table("index|sentence1|sentence2|label", "0|A.|B.|1") for name in ("train", "dev")},
        ("not_entailment", "entailment"),
        {"train": [Example("A.", "B.", 1)], "heldout": [Example("A.", "B.", 1)]},
    ),
    "boolq": (
        {"train.jsonl": json_lines({"question": "is it", "passage": "It is.", "idx": 0, "label": True}),
         "val.jsonl": json_lines({"question": "is it", "passage": "No.", "idx": 4, "label": False}),
         "test.jsonl": json_lines({"question": "is it", "passage": "No.", "idx": 0})},
        ("False", "True"),
        {"train": [Example("is it", "It is.", 1, "0")], "heldout": [Example("is it", "No.", 0, "4")],
         "test": [Example("is it", "No.", -1, "0")]},
    ),
    "cb": (
        {f"{name}.jsonl": json_lines({"premise": "A", "hypothesis": "B", "label": "neutral", "idx": 0})
         for name in ("train", "val")},
        ("entailment", "contradiction", "neutral"),
        {"train": [Example("A", "B", 2, "0")], "heldout": [Example("A", "B", 2, "0")]},
    ),
    "copa": (
        {"train.jsonl": json_lines({"premise": "It fell.", "choice1": "A.", "choice2": "B.", "question": "cause",
                                    "label": 1, "idx": 0}),
         "val.jsonl": json_lines({"premise": "It fell.", "choice1": "A.", "choice2": "B.", "question": "effect",
                                  "label": 0, "idx": 1})},
        ("choice1", "choice2"),
        {"train": [Choice("It fell. What was the cause?", ("A.", "B."), 1, "0")],
         "heldout": [Choice("It fell. What happened as a result?", ("A.", "B."), 0, "1")]},
    ),
    "multirc": (
        {"train.jsonl": json_lines(multirc([0, 1])), "val.jsonl": json_lines(multirc([1])),
         "test.jsonl": json_lines(multirc([None]))},
        ("False", "True"),
        {"train": [Example("Text.", "Why? answer 0", 0, "3/5/0"), Example("Text.", "Why? answer 1", 1, "3/5/1")],
         "heldout": [Example("Text.", "Why? answer 0", 1, "3/5/0")], "test": [Example("Text.", "Why? answer 0", -1, "3/5/0")]},
    ),
    "superglue_rte": (
        {f"{name}.jsonl": json_lines({"premise": "A", "hypothesis": "B", "label": "not_entailment", "idx": 7})
         for name in ("train", "val")}
        | {"test.jsonl": json_lines({"premise": "C", "hypothesis": "D", "idx": 0}),
           "AX-b.jsonl": json_lines({"sentence1": "E", "sentence2": "F", "label": "entailment", "logic": "", "idx": 3}),
           "AX-g.jsonl": json_lines({"premise": "G", "hypothesis": "H", "label": "entailment", "pair_id": 55, "idx": 4},
                                    {"premise": "I", "hypothesis": "H", "pair_id": 55, "idx": 5})},
        ("entailment", "not_entailment"),
        {"train": [Example("A", "B", 1, "7")], "heldout": [Example("A", "B", 1, "7")],
         "test": [Example("C", "D", -1, "0")], "ax_b": [Example("E", "F", 0, "3")],
         "ax_g": [Example("G", "H", 0, "55/4"), Example("I", "H", -1, "55/5")]},
    ),
    "wic": (
        {f"{name}.jsonl": json_lines({"word": "bank", "sentence1": "A bank.", "sentence2": "The bank.", "label": True})
         for name in ("train", "val")},
        ("False", "True"),
        {split: [Example("bank: A bank.", "The bank.", 1)] for split in ("train", "heldout")},
    ),
    "wsc": (
        {f"{name}.jsonl": json_lines({"text": "Mark told Pete lies, and he knew.", "idx": 2, "label": False, "target": {
            "span1_text": "Mark", "span1_index": 0, "span2_text": "he", "span2_index": 5}}) for name in ("train", "val")},
        ("False", "True"),
        {split: [Example("Mark told Pete lies, and *he* knew.", "Mark", 0, "2")] for split in ("train", "heldout")},
    ),
    "snli": (
        {f"snli_1.0_{split}.jsonl": snli(("A.", "B.", label), ("C.", "D.", "entailment"))
         for split, label in (("train", "neutral"), ("dev", "contradiction"), ("test", "neutral"))},
        ("entailment", "neutral", "contradiction"),
        {split: [Example("A.", "B.", label), Example("C.", "D.", 0)]
         for split, label in (("train", 1), ("heldout", 2), ("test", 1))},
    ),
    "scitail": (
        {"scitail_1.0_train.tsv": table('A "quote.|B.|entails', "A.|B.|neutral"),
         "scitail_1.0_dev.txt": snli(("A.", "B.", "neutral"), ("C.", "D.", "entailment"))},
        ("entails", "neutral"),
        {"train": [Example('A "quote.', "B.", 0), Example("A.", "B.", 1)],
         "heldout": [Example("A.", "B.", 1), Example("C.", "D.", 0)]},
    ),
    "squad": (
        {"train-v1.1.json": squad(question(1, [{"text": "Ōta", "answer_start": 9}, {"text": "Bob", "answer_start": 17}])),
         "dev-v1.1.json": squad(question(2, [{"text": "Bob", "answer_start": 17}]))},
        (),
        {"train": [Question("Who?", "Anna “A” Ōta met Bob.", 9, 12, "q1", ("Ōta", "Bob"))],
         "heldout": [Question("Who?", "Anna “A” Ōta met Bob.", 17, 20, "q2", ("Bob",))]},
    ),
    "squad2": (
        {"train-v2.0.json": squad(question(1, [{"text": "Anna", "answer_start": 0}], is_impossible=False)),
         "dev-v2.0.json": squad(question(2, [], is_impossible=True, plausible_answers=[]))},
        (),
        {"train": [Question("Who?", "Anna “A” Ōta met Bob.", 0, 4, "q1", ("Anna",))],
         "heldout": [Question("Who?", "Anna “A” Ōta met Bob.", -1, -1, "q2", ())]},
    ),
    "swag": (
        {"train.csv": ',video-id,sent1,sent2,ending0,ending1,ending2,ending3,label\n0,v,"He sits, calm.",He,a,b,c,"d ""e""",3\n',
         "val.csv": ",video-id,sent1,sent2,ending0,ending1,ending2,ending3,label\n0,v,A.,He,a,b,c,d,0\n",
         "test.csv": ",video-id,sent1,sent2,ending0,ending1,ending2,ending3\n0,v,A.,He,a,b,c,d\n"},
        ("0", "1", "2", "3"),
        {"train": [Choice("He sits, calm.", ("He a", "He b", "He c", 'He d "e"'), 3, "", "He",
                          ("a", "b", "c", 'd "e"'))],
         "heldout": [Choice("A.", ("He a", "He b", "He c", "He d"), 0, "", "He", tuple("abcd"))],
         "test": [Choice("A.", ("He a", "He b", "He c", "He d"), -1, "", "He", tuple("abcd"))]},
    ),
    "race": (
        {"train/high/2.txt": passage(2), "train/middle/1.txt": passage(1, id="middle1.txt", questions=["Q?"],
                                                                        options=[["a", "b", "c", "d"]], answers=["A"]),
         "dev/high/3.txt": passage(3, questions=["Q?"], options=[["a", "b", "c", "d"]], answers=["C"])},
        ("A", "B", "C", "D"),
        {"train": [Choice("One. Two.", ("It is a .", "It is b .", "It is c .", "It is d ."), 1, "high2.txt/0",
                          "It is _ .", tuple("abcd")),
                   Choice("One. Two.", tuple(f"What is it? {x}" for x in "efgh"), 3, "high2.txt/1",
                          "What is it?", tuple("efgh")),
                   Choice("One. Two.", tuple(f"Q? {x}" for x in "abcd"), 0, "middle1.txt/0", "Q?", tuple("abcd"))],
         "heldout": [Choice("One. Two.", tuple(f"Q? {x}" for x in "abcd"), 2, "high3.txt/0", "Q?", tuple("abcd"))]},
    ),
    "rocstories of 2018": (
        {f"cloze_test_{name}.csv": f'{STORY_HEADER}\ni,A.,B.,"C, c.",D.,E.,F.,2\n'
         for name in ("val__winter2018-cloze_test_ALL_val - 1 - 1", "test__spring2016")},
        ("1", "2"),
        {split: [Choice("A. B. C, c. D.", ("E.", "F."), 1)] for split in ("train", "heldout")},
    ),
    "rocstories": (
        {"cloze_test_val__spring2016 - cloze_test_ALL_val.csv": f'{STORY_HEADER}\ni,A.,B.,"C, c.",D.,E.,F.,2\n',
         "cloze_test_test__spring2016 - cloze_test_ALL_test.csv": f"{STORY_HEADER}\ni,G.,H.,I.,J.,K.,L.,1\n",
         "cloze_test_test__winter2018-cloze_test_ALL_test - 1.csv":
             f"{STORY_HEADER.removesuffix(',AnswerRightEnding')}\ni,M.,N.,O.,P.,Q.,R.\n"},
        ("1", "2"),
        {"train": [Choice("A. B. C, c. D.", ("E.", "F."), 1)], "heldout": [Choice("G. H. I. J.", ("K.", "L."), 0)],
         "test": [Choice("M. N. O. P.", ("Q.", "R."), -1)]},
    ),
    "conll2003": (
        {"eng.train": CONLL, "valid.txt": CONLL[:40], "eng.testb": f"{CONLL}\n-DOCSTART- -X- O O\n\nx NN O O\n"},
        ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-MISC", "I-MISC"),
        {"train": [Words(("EU", "rejects"), (3, 0), EU_BONN, 0), Words(("Bonn",), (6,), EU_BONN, 1)],
         "heldout": [Words(("EU",), (3,), (("EU",),), 0)],
         "test": [Words(("EU", "rejects"), (3, 0), EU_BONN, 0), Words(("Bonn",), (6,), EU_BONN, 1), Words(("x",), (0,), (("x",),), 0)]},
    ),
    "imdb": (
        {"train/pos/0_9.txt": "Fine.<br />Yes.\n", "train/neg/0_1.txt": "Dull.", "test/neg/1_2.txt": "No.",
         "test/pos/0_8.txt": "Yes."},
        ("neg", "pos"),
        {"train": [Example("Dull.", None, 0), Example("Fine.<br />Yes.", None, 1)],
         "heldout": [Example("No.", None, 0), Example("Yes.", None, 1)]},
    ),
    "ag_news": (
        {"train.csv": '"3","Title","Wall St.\\Two, ""three"""\n"1","A","B\nC"\n', "test.csv": '"4","A","B"\n'},
        ("World", "Sports", "Business", "Sci/Tech"),
        {"train": [Example('Title Wall St. Two, "three"', None, 2), Example("A B\nC", None, 0)],
         "heldout": [Example("A B", None, 3)]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SETS)
def test_published_files_are_read(name, reading):
    files, labels, splits = SETS[name]
    read = reading(name.partition(" ")[0], files)
    assert read[:2] == (labels, splits)
    # Where an example was is known, and nothing was left out.
    assert all(len(read.places[split]) == len(examples) for split, examples in splits.items())
    assert read.notes == {split: [] for split in splits}


QUESTIONS = "id|qid1|qid2|question1|question2|is_duplicate"


def test_what_a_set_leaves_out_is_counted(reading, tmp_path):
    lines = table(QUESTIONS, "9|1|2|A?|B?|1", "9|1|2", "8|1|2|C?|D?|0", "", "7|1|2|E?|F?|1")
    read = reading("qqp", SETS["qqp"][0] | {"train.tsv": lines})
    assert read.splits["train"] == [Example("A?", "B?", 1), Example("C?", "D?", 0), Example("E?", "F?", 1)]
    assert read.places["train"] == [f"{tmp_path / 'train.tsv'}, line {number}" for number in (2, 4, 6)]
    where = tmp_path / "train.tsv, line 3"
    assert read.notes == {"train": [f"left out: 2 lines with too few columns (the first: {where})"], "heldout": []}
    for split in ("dev", "test"):  # of which every line is answered
        with pytest.raises(UserError, match=f"{split}.tsv, line 3: 3 columns"):
            reading("qqp", SETS["qqp"][0] | {f"{split}.tsv": lines})
    dev = "snli_1.0_dev.jsonl"
    read = reading(*bad("snli", dev, snli(("A.", "B.", "-"), ("C.", "D.", "neutral"), ("E.", "F.", "-"))))
    assert read.splits["heldout"] == [Example("C.", "D.", 1)]
    assert read.places["heldout"] == [f"{tmp_path / dev}, line 2"]
    where = f"{tmp_path / dev}, line 1"
    assert read.notes["heldout"] == [f"left out: 2 pairs without a gold label (the first: {where})"]
    read, where = reading(*bad("race", "dev/high/3.json", passage(3))), tmp_path / "dev/high/3.json"
    assert read.notes["heldout"] == [f"left out: 1 files that do not end in .txt (the first: {where})"]
    name, files = bad("imdb", "train/neg/0_1.html", "Dull.")
    read, where = reading(name, files), tmp_path / "train/neg/0_1.html"
    assert read.splits == SETS["imdb"][2]
    assert read.notes["train"] == [f"left out: 1 files that do not end in .txt (the first: {where})"]


def bad(name, path, content):
    """A task's files with another content of one."""
    return name, SETS[name][0] | {path: content}


FAULTS = {
    "too few columns": (*bad("cola", "train.tsv", table("gj|1||Fine.", "gj|1|Fine.")), "train.tsv, line 2: 3 columns"),
    "a tab too many": (*bad("sst2", "dev.tsv", table("sentence|label", "a|b|1")), "dev.tsv, line 2: 3 columns"),
    "no label column": (*bad("qnli", "train.tsv", table("index|question|sentence", "0|A|B")),
                        "train.tsv, line 2: no column 'label'"),
    "unknown class": (*bad("mnli", "dev_matched.tsv", table(MNLI_HEADER, "0|p|A.|B.|-|-")),
                      "dev_matched.tsv, line 2: unknown label '-'; there are: entailment, neutral, contradiction"),
    "a column too many where lines break off": (*bad("qqp", "train.tsv", table(QUESTIONS, "9|1|2|A?|B?|1|")),
                                                "train.tsv, line 2: 7 columns"),
    "unknown number": (*bad("qqp", "train.tsv", table(QUESTIONS, "9|1|2|A?|B?|2")),
                       "train.tsv, line 2: unknown label '2'; there are: 0, 1"),
    "no number": (*bad("stsb", "train.tsv", table(STS_HEADER, "0|g|f|2|1|n|n|A.|B.|x")), "line 2: the score 'x' is no number"),
    "score out of range": (*bad("stsb", "dev.tsv", table(STS_HEADER, "0|g|f|2|1|n|n|A.|B.|-1")), "'-1' is not between 0 and 5"),
    "a class of SNLI's": (*bad("scitail", "scitail_1.0_dev.txt", snli(("A.", "B.", "contradiction"))),
                          "scitail_1.0_dev.txt, line 1: unknown label 'contradiction'; there are: entails, neutral"),
    "a folder": ("sst2", {"train.tsv/a": "", "dev.tsv": ""}, "train.tsv is a folder, and should be a file"),
    "empty file": (*bad("sst2", "dev.tsv", ""), "dev.tsv, line 1: the file is empty"),
    "Latin-1": (*bad("sst2", "train.tsv", b"sentence\tlabel\ncaf\xe9\t1\n"), "train.tsv, line 2, byte 18: not UTF-8"),
    "UTF-16": (*bad("sst2", "train.tsv", "\ufeffsentence\tlabel\n".encode("utf-16-le")), "train.tsv is UTF-16"),
    "a column twice": (*bad("sst2", "train.tsv", table("label|sentence|label", "1|a|0")), "line 1: the column 'label' is there twice"),
    "a long header": (*bad("sst2", "dev.tsv", table("x" * 100_000, "a")), "line 2: no column 'sentence'; there are: xxx"),
    "many columns": (*bad("sst2", "dev.tsv", table("|".join(f"c{n}" for n in range(90_000)), "a")),
                     "1 columns, and there should be 90000: c0, c1, "),
    "a number in other digits": (*bad("stsb", "dev.tsv", table(STS_HEADER, "0|g|f|2|1|n|n|A.|B.|\uff11")), "is no number"),
    "a score with an underscore": (*bad("stsb", "dev.tsv", table(STS_HEADER, "0|g|f|2|1|n|n|A.|B.|0_1")), "'0_1' is no number"),
    "a score of 5,000 digits": (*bad("stsb", "dev.tsv", table(STS_HEADER, f"0|g|f|2|1|n|n|A.|B.|{'9' * 5000}")),
                                "99' is not between 0 and 5"),
    "a score that is not finite": (*bad("stsb", "dev.tsv", table(STS_HEADER, "0|g|f|2|1|n|n|A.|B.|nan")), "'nan' is no number"),
    "a text of 5,000 digits": (*bad("cb", "val.jsonl", '{"premise": ' + "9" * 5000), "val.jsonl, line 1: a number with too many digits"),
    "a line of 5,000 digits": (*bad("copa", "val.jsonl", "9" * 5000), "val.jsonl, line 1: a number with too many digits"),
    "a deep line": (*bad("superglue_rte", "AX-b.jsonl", "[" * 100_000), "AX-b.jsonl, line 1: JSON nested too deeply"),
    "a pair's number of another type": (
        *bad("superglue_rte", "AX-g.jsonl", json_lines({"premise": "", "hypothesis": "", "pair_id": {"a": 1}, "idx": 1})),
        "AX-g.jsonl, line 1: 'pair_id' is {'a': 1}, and should be of type int"),
    "a long id": (*bad("squad", "dev-v1.1.json", squad({"question": "Who?", "id": "i\n" * 9000})), "question i\\ni\\n"),
    "a place of a thousand digits": (
        *bad("squad", "dev-v1.1.json", squad(question(2, [{"text": "Bob", "answer_start": 10**1000}]))), "is not at character 1000"),
    "a passage's id of another type": (*bad("race", "dev/high/3.txt", passage(3, id=["x"])), "3.txt: 'id' is not a string"),
    "a quote that never ends": (*bad("ag_news", "train.csv", '"1","A","B"\n"2","C","D\n'),
                                "train.csv, line 2: unexpected end of data (up to line 2): mend its quotes"),
    "text after a quote": (*bad("ag_news", "train.csv", '"2","C"x,"D"\n'), "train.csv, line 1: "),
    "no JSON": (*bad("boolq", "val.jsonl", "question\n"), "val.jsonl, line 1: not JSON"),
    "null": (*bad("boolq", "train.jsonl", "null\n"), "train.jsonl, line 1: null is no JSON object"),
    "a number": (*bad("copa", "val.jsonl", "\n5\n"), "val.jsonl, line 2: 5 is no JSON object"),
    "a list": (*bad("multirc", "val.jsonl", "[1]\n"), "val.jsonl, line 1: [1] is no JSON object"),
    "an answer without its passage": (
        *bad("multirc", "val.jsonl", json_lines({"paragraph": "", "question": "", "answer": "", "label": 1})),
        "val.jsonl, line 1: no key 'passage'"),
    "a part of a number": (*bad("boolq", "val.jsonl", json_lines({"question": "", "passage": "", "label": True,
                                                                  "idx": {"question": 1, "answer": 2}})),
                           "val.jsonl, line 1: no key 'paragraph'"),
    "a number in letters": (
        *bad("boolq", "val.jsonl", json_lines({"question": "", "passage": "", "label": True, "idx": "1"})),
        "'idx' is '1', and should be of type int"),
    **{f"{label!r} of {name}": (
        *bad(name, "val.jsonl", json_lines(json.loads(SETS[name][0]["val.jsonl"]) | {"label": label})),
        f"val.jsonl, line 1: unknown label {label!r}; there are: {known}")
       for name, known, labels in (
           ("cb", "entailment, contradiction, neutral", (True, 1)), ("boolq", "False, True", (1, "True")),
           ("copa", "0, 1", (True, "choice1")), ("superglue_rte", "entailment, not_entailment", (0, "neutral")))
       for label in labels},
    "1.0 of multirc": (*bad("multirc", "val.jsonl", json_lines(multirc([1.0]))), "unknown label 1.0; there are: 0, 1"),
    "no label": (*bad("boolq", "val.jsonl", json_lines({"question": "", "passage": ""})), "line 1: no key 'label'"),
    "a label of another type": (*bad("wic", "val.jsonl", json_lines({"word": "", "sentence1": "", "sentence2": "", "label": 2})),
                                "line 1: unknown label 2; there are: False, True"),
    "a pronoun beyond the text": (*bad("wsc", "val.jsonl", json_lines({"text": "a", "label": True, "target": {
        "span1_text": "a", "span2_index": 1, "span2_text": "he"}})), "line 1: span2_index is 1, and the text has 1 words"),
    "a passage without questions": (*bad("multirc", "val.jsonl", json_lines({"passage": {"text": ""}})), "no key 'questions'"),
    "a passage without a number": (*bad("multirc", "test.jsonl", json_lines(multirc([None]) | {"idx": None})),
                                   "test.jsonl, line 1: 'idx' is None, and should be of type int"),
    "an answer that is elsewhere": (*bad("squad", "dev-v1.1.json", squad(question(2, [{"text": "Bob", "answer_start": 16}]))),
                                    "dev-v1.1.json, question q2: the answer 'Bob' is not at character 16"),
    "an answer before its context": (
        *bad("squad", "dev-v1.1.json", squad(question(2, [{"text": "Bob", "answer_start": -4}]))),
        "dev-v1.1.json, question q2: the answer 'Bob' is not at character -4"),
    "a question without an id": (*bad("squad", "dev-v1.1.json", squad({"question": "Who?"})),
                                 "dev-v1.1.json, article 1, paragraph 1, question 1: no key 'id'"),
    "a paragraph without questions": (*bad("squad", "dev-v1.1.json", json.dumps({"data": [
        {"paragraphs": []}, {"paragraphs": [{"context": ""}]}]})), "article 2, paragraph 1: no key 'qas'"),
    "an article of another type": (*bad("squad", "dev-v1.1.json", '{"data": [1]}'), "article 1: no key 'paragraphs'"),
    "two questions of an id": (
        *bad("squad", "dev-v1.1.json", squad(*[question(2, [{"text": "Bob", "answer_start": 17}])] * 2)),
        "dev-v1.1.json, question q2: a second question has this id, article 1, paragraph 1, question 2"),
    "an answer that is said to be possible": (
        *bad("squad2", "train-v2.0.json", squad(
            question(1, [{"text": "Anna", "answer_start": 0}], is_impossible="false"))),
        "question q1: 'is_impossible' is 'false', and should be of type bool"),
    "an empty answer": (*bad("squad", "dev-v1.1.json", squad(question(2, [{"text": "", "answer_start": 1}]))),
                        "question q2: the answer '' is not at character 1"),
    "no answer in 1.1": (*bad("squad", "dev-v1.1.json", squad(question(2, []))), "question q2: 0 answers"),
    "an answer to what is impossible": (
        *bad("squad2", "train-v2.0.json", squad(question(1, [{"text": "Anna", "answer_start": 0}], is_impossible=True))),
        "question q1: 1 answers, where is_impossible is True"),
    "JSON cut off": (*bad("squad", "dev-v1.1.json", squad()[:-9]), "dev-v1.1.json, line 1: not JSON"),
    "five options": (*bad("race", "dev/high/3.txt", passage(3, options=[list("abcd"), list("abcde")])),
                     "3.txt, question 2: 5 options, and there should be 4"),
    "an answer for each question": (*bad("race", "dev/high/3.txt", passage(3, answers=["A"])), "3.txt: 2 questions, 2 options and 1"),
    "a question of another type": (*bad("race", "dev/high/3.txt", passage(3, questions=["Q?", 5])),
                                   "3.txt: 'questions[1]' is not a string"),
    "options in one word": (*bad("race", "dev/high/3.txt", passage(3, options=["abcd", "efgh"])),
                            "3.txt: 'options[0]' is 'abcd', and should be of type list"),
    "an option of another type": (*bad("race", "dev/high/3.txt",
                                       passage(3, options=[list("abcd"), ["e", "f", "g", 8]])),
                                  "3.txt: 'options[1][3]' is not a string"),
    "a list of passages": (*bad("race", "dev/high/3.txt", f"[{passage(3)}]"), "3.txt: [{"),
    "reviews of one label": ("imdb", {"train/pos/0_9.txt": "Fine.", "train/neg.txt": ""}, "there is no folder "),
    "reviews of one label held out": (
        "imdb", {path: text for path, text in SETS["imdb"][0].items() if "test/pos" not in path}, "test/pos"),
    "a review's place without reviews": (
        "imdb", {path.replace("pos/0_9.txt", "pos/0_9"): text for path, text in SETS["imdb"][0].items()},
        "there is no .txt file in "),
    "three columns": (*bad("conll2003", "eng.train", "EU NNP O\n"), "eng.train, line 1: 3 columns, and there should be 4"),
    "unknown entity": (*bad("conll2003", "eng.train", "EU NNP B-NP B-GPE\n"), "eng.train, line 1: unknown label 'B-GPE'"),
    "no right ending": (*bad("rocstories", "cloze_test_val__spring2016.csv",
                             f"{STORY_HEADER.removesuffix(',AnswerRightEnding')}\ni,A.,B.,C.,D.,E.,F.\n"),
                        "line 2: no column 'AnswerRightEnding'"),
    "a third ending": (*bad("rocstories", "cloze_test_val__spring2016.csv", f"{STORY_HEADER}\ni,A.,B.,C.,D.,E.,F.,3\n"),
                       "line 2: unknown label '3'; there are: 1, 2"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_malformed_is_one_line_with_its_place(fault, reading):
    name, files, message = FAULTS[fault]
    with pytest.raises(UserError) as told:
        reading(name, files)
    assert message in str(told.value) and "\n" not in str(told.value) and len(str(told.value)) < 800


ODD = "a\x85b\u2028c\u2029d\x0be\x0cf\x1cg\xa0h"  # what Unicode, and str.splitlines, calls line breaks, and a space


def test_lines_and_words_end_where_their_formats_say(reading):
    news = f'"1","{ODD}","B"\r\n"2",C,"{"D" * 200_000}"\r\n'
    for name, files, texts in (
        ("sst2", {f"{split}.tsv": f"sentence\tlabel\r\n{ODD}\t1\r\n" for split in ("train", "dev")}, [ODD]),
        ("ag_news", {f"{split}.csv": news for split in ("train", "test")}, [f"{ODD} B", f"C {'D' * 200_000}"]),
        ("boolq", {f"{split}.jsonl": f'{{"question": "{ODD}", "passage": "", "label": true}}\n'.replace("\x0b", "").replace("\x0c", "")
                   .replace("\x1c", "") for split in ("train", "val")}, [ODD.translate(dict.fromkeys((11, 12, 28)))]),
        ("imdb", {f"{split}/{side}/1.txt": ODD for split in ("train", "test") for side in ("pos", "neg")}, [ODD] * 2),
    ):  # fmt: skip
        assert [one.text for one in reading(name, files).splits["train"]] == texts, name
    read = reading(
        "conll2003", {f"{split}.txt": f"{ODD}\tNNP B-NP  B-PER\n \nb NN O O\n" for split in ("train", "valid")}
    )
    assert read.splits["heldout"] == [Words((ODD,), (1,)), Words(("b",), (0,))]


def test_links_are_followed_and_each_folder_is_read_once(reading, tmp_path):
    files = {path.replace("train", "elsewhere"): text for path, text in SETS["imdb"][0].items()}
    (tmp_path / "train").mkdir()
    for side in ("pos", "neg"):
        (tmp_path / "train" / side).symlink_to(tmp_path / "elsewhere" / side)
    (tmp_path / "elsewhere/neg").mkdir(parents=True)
    (tmp_path / "elsewhere/neg/again").symlink_to(tmp_path / "elsewhere/neg")
    (tmp_path / "elsewhere/neg/lost.txt").symlink_to(tmp_path / "nowhere")
    read = reading("imdb", files)
    assert read.splits == SETS["imdb"][2]
    assert read.notes["train"] == [
        f"left out: 1 links that lead nowhere (the first: {tmp_path / 'train/neg/lost.txt'})"
    ]


def test_what_is_not_there_is_told_with_how_to_get_it(reading, smoke_config, tmp_path):
    with pytest.raises(UserError, match=r"there is no \S+dev.tsv, but train.tsv; get the files from https://gluebench"):
        reading("rte", {"train.tsv": "index\tsentence1\tsentence2\tlabel\n0\ta\tb\tentailment\n"})
    config = smoke_config(("task.name", "mrpc"), ("data.root", str(tmp_path / "data")))
    with pytest.raises(UserError, match="glue/mrpc is not in .*run: tfds build glue/mrpc --data_dir="):
        tasks.read(config)
    config.task.name = "swag"
    with pytest.raises(UserError, match="'swag' is read from files: set task.folder; get them from https"):
        tasks.read(config)
    with pytest.raises(UserError, match="task.augmented is for texts with a class or score: task 'squad' has spans"):
        config.task.update(name="squad", folder=str(tmp_path), augmented="more.jsonl")
        for split in ("train", "dev"):
            (tmp_path / f"{split}-v1.1.json").write_text(squad(question(1, [{"text": "Anna", "answer_start": 0}])))
        tasks.read(config)


@pytest.mark.parametrize("name", ["cola", "stsb", "mnli", "squad2", "conll2003", "race", "ag_news", "snli", "scitail"])
def test_tensorflow_datasets_are_read_by_name(name, smoke_config, monkeypatch, mock_sets):
    """Records of the right types and random content, as `tfds.testing` makes them."""
    if name in ("cola", "squad2", "race", "conll2003"):  # random answers are in no context, random words have spaces
        monkeypatch.setattr(tasks.datasets, "_plain", lambda record, plain=tasks.datasets._plain: mend(plain(record)))
    config = smoke_config(("task.name", name))
    with mock_sets(8):
        task = tasks.read(config)
    if name == "race":  # three questions to each of 2 x 8 passages
        assert all(len(examples) == 48 for examples in task.splits.values())
    else:
        assert all(len(examples) == 8 for examples in task.splits.values())
    assert {type(one) for examples in task.splits.values() for one in examples} == {tasks.KINDS[tasks.TASKS[name].kind]}
    if name == "cola":
        assert {one.label for one in task.splits["test"]} == {-1}
    if name == "mnli":
        assert list(task.splits) == ["train", "heldout", "heldout_mismatched", "test", "test_mismatched", "ax"]
        assert {one.label for one in task.splits["train"]} <= {0, 1, 2}


def mend(record):
    """A mocked record made whole, if it is one of SQuAD, RACE or CoNLL; of CoLA, with a label that nobody tells."""
    if not isinstance(record, dict):
        return record
    if "sentence" in record:
        record["label"] = -1
    if "ner" in record:
        record["tokens"] = ["word"] * len(record["tokens"])
    if "plausible_answers" in record:
        record |= {"is_impossible": False, "answers": {"text": [record["context"][:3]], "answer_start": [0]}}
    if "options" in record:
        record |= {"questions": ["Q?"] * 3, "options": [list("abcd")] * 3, "answers": list("ABC")}
    return record


def test_scores_that_nobody_tells_are_nan():
    (one,) = tasks.TASKS["stsb"].example({"sentence1": "a", "sentence2": "b", "label": -1.0}, "", ())
    assert math.isnan(one.label)
