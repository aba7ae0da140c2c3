"""Predictions as texts, in the formats that the benchmarks' servers and scripts take, and as files."""

import json
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ssl_jax.files import replacing


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
    ("mnli", "ax"): Served("AX.tsv"),
    ("boolq", "test"): Served("BoolQ.jsonl", WORDS),
    ("cb", "test"): Served("CB.jsonl"),
    ("copa", "test"): Served("COPA.jsonl", NUMBERS),
    ("superglue_rte", "test"): Served("RTE.jsonl"),
    ("superglue_rte", "ax_b"): Served("AX-b.jsonl"),
    ("superglue_rte", "ax_g"): Served("AX-g.jsonl"),
    ("wic", "test"): Served("WiC.jsonl", WORDS),
    ("wsc", "test"): Served("WSC.jsonl", ("False", "True")),
}


def save(folder, files):
    """Writes files, name -> text; each appears whole or not at all."""
    for name, text in files.items():
        with replacing(Path(folder) / name) as file:
            file.write(text.encode())


def classes(task, split, predictions, labels):
    """The predictions of a split as its server takes them, of any other split as predictions-SPLIT.tsv.

    Args:
      task, split: names.
      predictions: [N], in the split's order: numbers of classes, or float32 scores.
      labels: the names of the classes, in the set's order; () where there are none: choices, scores.

    Returns:
      dict, the file's name -> its text.
    """
    served = SERVED.get((task, split), Served(f"predictions-{split}.tsv"))
    if (task, split) == ("stsb", "test"):
        predictions = np.clip(predictions, 0, 5)  # what the annotators could say
    names = served.labels or labels
    if names:
        predictions = [names[number] for number in predictions]
    return {served.file: (jsonl if served.file.endswith(".jsonl") else tsv)(predictions)}


def tsv(predictions):
    """A header, index and prediction, and a line for each: GLUE's format. Predictions are str, int or float.

    GLUE's labels need no quoting. One with a tab, a line break or a quotation mark is quoted as Python's csv
    (`excel-tab`) and pandas (`sep="\\t"`) read it.
    """
    lines = ["index\tprediction\n"]
    for index, prediction in enumerate(predictions):
        cell = f"{prediction:.6g}" if isinstance(prediction, (float, np.floating)) else str(prediction)
        if re.search('[\t\r\n"]', cell):
            cell = '"{}"'.format(cell.replace('"', '""'))
        lines.append(f"{index}\t{cell}\n")
    return "".join(lines)


def jsonl(predictions):
    """A line {"idx": 0, "label": ...} for each: SuperGLUE's format. Predictions are str or int."""
    return "".join(json.dumps({"idx": index, "label": one}) + "\n" for index, one in enumerate(predictions))


def multirc(predictions, places):
    """MultiRC's own .jsonl for SuperGLUE's server: a line for each paragraph.

    Args:
      predictions: [N], 1 for a right answer.
      places: [N, 3], the numbers of paragraph, question and answer (`idx` in the set's files).
    """
    paragraphs = {}
    for (paragraph, question, answer), label in zip(places, predictions, strict=True):
        answers = paragraphs.setdefault(int(paragraph), {}).setdefault(int(question), [])
        answers.append({"idx": int(answer), "label": int(label)})
    lines = []
    for paragraph, questions in paragraphs.items():
        made = [{"idx": question, "answers": answers} for question, answers in questions.items()]
        lines.append(json.dumps({"idx": paragraph, "passage": {"questions": made}}) + "\n")
    return "".join(lines)


def squad(values):
    """SQuAD's predictions: one JSON object, question -> text, '' for no answer; or -> the probability of none."""
    return json.dumps(values, ensure_ascii=False) + "\n"


def conll(words, gold, predicted):
    """What CoNLL's script conlleval reads: a line `word gold predicted` for each word, an empty one after a sentence.

    Args:
      words, gold, predicted: sentences, lists of str: the words, and their tags on both sides.
    """
    sentences = (zip(*sentence, strict=True) for sentence in zip(words, gold, predicted, strict=True))
    return "".join("".join(f"{' '.join(word)}\n" for word in sentence) + "\n" for sentence in sentences)
