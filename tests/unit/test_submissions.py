"""Predictions are texts as servers and scripts take them."""

import csv
import json

import numpy as np
import pytest

from ssl_jax import tasks
from ssl_jax.evaluators import submissions

NLI = ("entailment", "neutral", "contradiction")
FILES = {
    "cola": ("cola", "test", [1, 0], ("unacceptable", "acceptable"), "CoLA.tsv", "0\t1\n1\t0\n"),
    "sst2": ("sst2", "test", [1, 0], ("negative", "positive"), "SST-2.tsv", "0\t1\n1\t0\n"),
    "mrpc": ("mrpc", "test", [1], ("not_equivalent", "equivalent"), "MRPC.tsv", "0\t1\n"),
    "qqp": ("qqp", "test", [1], ("not_duplicate", "duplicate"), "QQP.tsv", "0\t1\n"),
    "wnli": ("wnli", "test", [0], ("not_entailment", "entailment"), "WNLI.tsv", "0\t0\n"),
    "stsb": ("stsb", "test", np.float32([3.25, -0.5, 5.5]), (), "STS-B.tsv", "0\t3.25\n1\t0\n2\t5\n"),
    "mnli": ("mnli", "test", [2, 0], NLI, "MNLI-m.tsv", "0\tcontradiction\n1\tentailment\n"),
    "mnli-mm": ("mnli", "test_mismatched", [1], NLI, "MNLI-mm.tsv", "0\tneutral\n"),
    "ax": ("mnli", "ax", [1], NLI, "AX.tsv", "0\tneutral\n"),
    "qnli": ("qnli", "test", [0], ("entailment", "not_entailment"), "QNLI.tsv", "0\tentailment\n"),
    "rte": ("rte", "test", [1], ("entailment", "not_entailment"), "RTE.tsv", "0\tnot_entailment\n"),
    "heldout": ("cola", "heldout", [1], ("unacceptable", "acceptable"), "predictions-heldout.tsv", "0\tacceptable\n"),
    "heldout-scores": ("stsb", "heldout", np.float32([-0.5]), (), "predictions-heldout.tsv", "0\t-0.5\n"),
    "choices": ("swag", "heldout", np.array([3, 0]), (), "predictions-heldout.tsv", "0\t3\n1\t0\n"),
    "unicode": ("jsonl", "test", [0], ("größer",), "predictions-test.tsv", "0\tgrößer\n"),
    "boolq": ("boolq", "test", [1, 0], ("False", "True"), "BoolQ.jsonl", ["true", "false"]),
    "wic": ("wic", "test", [0], ("False", "True"), "WiC.jsonl", ["false"]),
    "wsc": ("wsc", "test", [0, 1], ("False", "True"), "WSC.jsonl", ["False", "True"]),
    "cb": ("cb", "test", [1], ("entailment", "contradiction", "neutral"), "CB.jsonl", ["contradiction"]),
    "superglue_rte": ("superglue_rte", "test", [1], ("entailment", "not_entailment"), "RTE.jsonl", ["not_entailment"]),
    "ax_b": ("superglue_rte", "ax_b", [0, 1], ("entailment", "not_entailment"), "AX-b.jsonl",
             ["entailment", "not_entailment"]),
    "ax_g": ("superglue_rte", "ax_g", [0], ("entailment", "not_entailment"), "AX-g.jsonl", ["entailment"]),
    "copa": ("copa", "test", np.array([1, 0]), (), "COPA.jsonl", [1, 0]),
}  # fmt: skip


@pytest.mark.parametrize("case", FILES)
def test_files_are_as_the_servers_take_them(case, tmp_path):
    *given, file, expected = FILES[case]
    submissions.save(tmp_path, submissions.classes(*given))
    if file.endswith(".tsv"):
        expected = "index\tprediction\n" + expected
    else:
        expected = "".join(json.dumps({"idx": n, "label": label}) + "\n" for n, label in enumerate(expected))
    assert (tmp_path / file).read_bytes() == expected.encode()
    assert [path.name for path in tmp_path.iterdir()] == [file]


@pytest.mark.parametrize("label", ["a\tb", "a\nb", "a\rb", 'say "no"', '"', "a\r\nb\t", " a ", "a\u2028b\x85", "a,b"])
def test_any_label_reads_back(label, tmp_path):
    submissions.save(tmp_path, submissions.classes("jsonl", "heldout", [0, 1, 0], (label, "no"), golds=[1, 1, 0]))
    path = tmp_path / "predictions-heldout.tsv"
    expected = [["index", "prediction", "label"], ["0", label, "no"], ["1", "no", "no"], ["2", label, label]]
    with open(path, newline="", encoding="utf-8") as file:
        assert list(csv.reader(file, "excel-tab")) == expected
    # And what is written as an example is read again, by whoever ends lines where str.splitlines does.
    path, made = tmp_path / "more.jsonl", [tasks.Example(label, f"{label}!", 0), tasks.Example("a", None, 1)]
    tasks.write_examples(path, made, (label, "no"))
    assert tasks.read_examples(path, (label, "no"))[0] == made
    assert [json.loads(line)["label"] for line in path.read_text(encoding="utf-8").splitlines()] == [label, "no"]


def test_multirc_has_a_line_for_each_paragraph():
    ids = ["0/0/0", "0/0/1", "0/1/2", "4/9/30"]
    (text,) = submissions.classes("multirc", "test", np.array([1, 0, 1, 1]), ("False", "True"), ids).values()
    assert text == (
        '{"idx": 0, "passage": {"questions": [{"idx": 0, "answers": [{"idx": 0, "label": 1}, {"idx": 1, "label": 0}]}, '
        '{"idx": 1, "answers": [{"idx": 2, "label": 1}]}]}}\n'
        '{"idx": 4, "passage": {"questions": [{"idx": 9, "answers": [{"idx": 30, "label": 1}]}]}}\n'
    )


def test_squads_file_is_its_answers(tmp_path):
    answers = {"5733be28": "Ärzte", "56ddde6b": ""}
    submissions.save(tmp_path, {"answers.json": submissions.squad(answers)})
    text = (tmp_path / "answers.json").read_text(encoding="utf-8")
    assert json.loads(text) == answers and "Ärzte" in text


def test_conlls_lines_are_word_gold_and_predicted():
    words, gold, predicted = [("EU", "a"), ("Bonn",)], [["B-ORG", "O"], ["I-LOC"]], [["O", "O"], ["I-LOC"]]
    assert submissions.conll(words, gold, predicted) == "EU B-ORG O\na O O\n\nBonn I-LOC I-LOC\n\n"
