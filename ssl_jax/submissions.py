"""Predictions as files, in the formats that the benchmarks' servers take; each appears whole or not at all."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ssl_jax.data.files import replacing


class Served(NamedTuple):
    """The file that a benchmark's server wants of a task's test set."""

    file: str
    labels: tuple | None = None  # what the classes are called there, in the set's order; None: as in the set


NUMBERS, WORDS = (0, 1), ("false", "true")
# (task, split) -> file. GLUE and SuperGLUE: their sites' FAQ, and where that leaves it open the writers of
# nyu-mll/jiant (evaluate.py), whose files the servers took.
SERVED = {
    ("cola", "test"): Served("CoLA.tsv", NUMBERS),
    ("sst2", "test"): Served("SST-2.tsv", NUMBERS),
    ("mrpc", "test"): Served("MRPC.tsv", NUMBERS),
    ("stsb", "test"): Served("STS-B.tsv"),
    ("mnli", "test"): Served("MNLI-m.tsv"),
    ("mnli", "test_mismatched"): Served("MNLI-mm.tsv"),
    ("qnli", "test"): Served("QNLI.tsv"),
    ("qqp", "test"): Served("QQP.tsv", NUMBERS),
    ("rte", "test"): Served("RTE.tsv"),
    ("wnli", "test"): Served("WNLI.tsv", NUMBERS),
    ("ax", "test"): Served("AX.tsv"),
    ("boolq", "test"): Served("BoolQ.jsonl", WORDS),
    ("cb", "test"): Served("CB.jsonl"),
    ("copa", "test"): Served("COPA.jsonl", NUMBERS),
    ("wic", "test"): Served("WiC.jsonl", WORDS),
    ("wsc", "test"): Served("WSC.jsonl", ("False", "True")),
}


def write(folder, task, split, predictions, labels):
    """Writes the predictions of a split as its server takes them, of any other split as predictions-SPLIT.tsv.

    Args:
      folder: where.
      task, split: names.
      predictions: [N], in the split's order: numbers of classes, or float32 scores.
      labels: the names of the classes, in the set's order; () where there are none: choices, scores.

    Returns:
      The file's Path.
    """
    served = SERVED.get((task, split), Served(f"predictions-{split}.tsv"))
    path = Path(folder) / served.file
    if (task, split) == ("stsb", "test"):
        predictions = np.clip(predictions, 0, 5)  # what the annotators could say
    names = served.labels or labels
    if names:
        predictions = [names[number] for number in predictions]
    (write_jsonl if path.suffix == ".jsonl" else write_tsv)(path, predictions)
    return path


def write_tsv(path, predictions):
    """A header, index and prediction, and a line for each: GLUE's format. Predictions are str, int or float."""
    with replacing(path) as file:
        file.write(b"index\tprediction\n")
        for index, prediction in enumerate(predictions):
            shown = f"{prediction:.6g}" if isinstance(prediction, (float, np.floating)) else prediction
            file.write(f"{index}\t{shown}\n".encode())


def write_jsonl(path, predictions):
    """A line {"idx": 0, "label": ...} for each: SuperGLUE's format. Predictions are str or int."""
    with replacing(path) as file:
        for index, prediction in enumerate(predictions):
            file.write(json.dumps({"idx": index, "label": prediction}).encode() + b"\n")


def write_multirc(path, predictions, places):
    """MultiRC's own .jsonl for SuperGLUE's server: a line for each paragraph.

    Args:
      path: of the file.
      predictions: [N], 1 for a right answer.
      places: [N, 3], the numbers of paragraph, question and answer (`idx` in the set's files).
    """
    paragraphs = {}
    for (paragraph, question, answer), label in zip(places, predictions, strict=True):
        answers = paragraphs.setdefault(int(paragraph), {}).setdefault(int(question), [])
        answers.append({"idx": int(answer), "label": int(label)})
    with replacing(path) as file:
        for paragraph, questions in paragraphs.items():
            made = [{"idx": question, "answers": answers} for question, answers in questions.items()]
            file.write(json.dumps({"idx": paragraph, "passage": {"questions": made}}).encode() + b"\n")


def write_squad(path, answers):
    """SQuAD's predictions: one JSON object, question -> text, '' for no answer."""
    with replacing(path) as file:
        file.write(json.dumps(answers, ensure_ascii=False).encode() + b"\n")
