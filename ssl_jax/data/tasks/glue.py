"""GLUE (Wang et al. 2018): its .tsv files, or `glue/...` of TensorFlow Datasets.

Classes are numbered as in TensorFlow Datasets. BERT's run_classifier.py numbers MNLI's contradiction, entailment,
neutral: weights that were fine-tuned by it have their classes in that order.

The diagnostic set AX, which has no training set of its own, is a split of MNLI: its predictions are a model of MNLI's.
"""

import functools
import math

from ssl_jax.data.tasks import formats
from ssl_jax.data.tasks.examples import Example
from ssl_jax.data.tasks.sets import Set
from ssl_jax.errors import UserError, shown

FILES = {"train": "train.tsv", "heldout": "dev.tsv", "test": "test.tsv"}
ENTAILMENT = ("entailment", "not_entailment")
LABELLED = ("train", "heldout", "heldout_mismatched")


def _lines(path, split, columns, label, spelt, header, leave_out_short):
    """Records of a file.

    Args:
      path, split: see Set.
      columns: feature -> column.
      label: the labels' column, which test sets have not.
      spelt: label as it is in the file -> its name; {}: as it is.
      header: of a labelled file that does not name its columns.
      leave_out_short: see `formats.tsv`; of the training examples alone.
    """
    labelled = split in LABELLED
    # Of a test set every line is answered, by its number.
    for where, cells in formats.tsv(path, header if labelled else None, leave_out_short and split == "train"):
        if isinstance(cells, formats.LeftOut):
            yield where, cells
            continue
        record = {feature: formats.column(cells, column, where) for feature, column in columns.items()}
        if labelled:
            told = formats.column(cells, label, where)
            if spelt:
                formats.number_of(told, tuple(spelt), where)
            record["label"] = spelt.get(told, told)
        yield where, record


def _example(record, where, labels, features):
    text, text2 = (*(record[feature] for feature in features), None)[:2]
    label = formats.number_of(record["label"], labels, where) if "label" in record else -1
    yield Example(text, text2, label)


def _similarity(record, where, labels):
    """Of STS-B, whose score lies between 0 and 5; TensorFlow Datasets has -1 where it is not told."""
    del labels
    label = record.get("label", -1)
    score = formats.number(label, where) if isinstance(label, str) else label
    if not (0 <= score <= 5 or score == -1 and not isinstance(label, str)):
        raise UserError(f"{where}: the score {shown(label)} is not between 0 and 5")
    yield Example(record["sentence1"], record["sentence2"], math.nan if score < 0 else score)


def _set(name, columns, labels, spelt=(), label="label", header=None, paths=FILES, catalogue=None,
         leave_out_short=False):  # fmt: skip
    """A row; `spelt` are the labels as the files have them, in the order of `labels`."""
    spelt = dict(zip(spelt, labels, strict=True)) if spelt else {}
    return Set(
        kind="classification" if labels else "regression",
        labels=labels,
        files=paths,
        lines=functools.partial(_lines, columns=columns, label=label, spelt=spelt, header=header,
                                leave_out_short=leave_out_short),
        examples=functools.partial(_example, features=tuple(columns)) if labels else _similarity,
        catalogue=catalogue or {s: f"glue/{name}:{n}" for s, n in zip(FILES, ("train", "validation", "test"))},
        homepage="https://gluebenchmark.com/tasks",
    )  # fmt: skip


def _pair(one, other):
    return {one: one, other: other}


SENTENCES = _pair("sentence1", "sentence2")
BINARY = ("0", "1")

SETS = {
    "cola": _set("cola", {"sentence": "sentence"}, ("unacceptable", "acceptable"), BINARY,
                 header=("source", "label", "star", "sentence")),
    "sst2": _set("sst2", {"sentence": "sentence"}, ("negative", "positive"), BINARY),
    "mrpc": _set("mrpc", {"sentence1": "#1 String", "sentence2": "#2 String"}, ("not_equivalent", "equivalent"),
                 BINARY, label="Quality"),
    "stsb": _set("stsb", SENTENCES, (), label="score"),
    # As it is published its train.tsv has lines that break off (nyu-mll/GLUE-baselines, issue 5); TensorFlow Datasets
    # leaves them out, too.
    "qqp": _set("qqp", _pair("question1", "question2"), ("not_duplicate", "duplicate"), BINARY, label="is_duplicate",
                leave_out_short=True),
    "mnli": _set("mnli", {"premise": "sentence1", "hypothesis": "sentence2"},
                 ("entailment", "neutral", "contradiction"), label="gold_label",
                 paths={"train": "train.tsv", "heldout": "dev_matched.tsv", "heldout_mismatched": "dev_mismatched.tsv",
                        "test": "test_matched.tsv", "test_mismatched": "test_mismatched.tsv",
                        "ax": ("diagnostic.tsv", "AX.tsv")},
                 catalogue={"train": "glue/mnli:train", "heldout": "glue/mnli:validation_matched",
                            "heldout_mismatched": "glue/mnli:validation_mismatched", "test": "glue/mnli:test_matched",
                            "test_mismatched": "glue/mnli:test_mismatched", "ax": "glue/ax:test"}),
    "qnli": _set("qnli", _pair("question", "sentence"), ENTAILMENT),
    "rte": _set("rte", SENTENCES, ENTAILMENT),
    "wnli": _set("wnli", SENTENCES, ("not_entailment", "entailment"), BINARY),
}  # fmt: skip
