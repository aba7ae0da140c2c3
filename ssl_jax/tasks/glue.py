"""GLUE (Wang et al. 2018): its .tsv files, or `glue/...` of TensorFlow Datasets. Metrics are those of its Table 1.

Classes are numbered as in TensorFlow Datasets. BERT's run_classifier.py numbers MNLI's contradiction, entailment,
neutral: weights fine-tuned with it have their classes in that order.

Prompts `gpt1` are GPT-1's (section 5, "Zero-shot Behaviors"; Figure 2, right). CoLA's threshold, which the paper leaves
open, is the best one on the training examples.

The diagnostic set AX, which has no training set of its own, is a split of MNLI: a model of MNLI predicts it.
"""

import functools
import math

from ssl_jax.errors import UserError, shown
from ssl_jax.tasks import formats
from ssl_jax.tasks.base import Dataset, Example, Item, Prompt, QuestionView, Submission, Task, choose, entailed, one_of

FILES = {"train": "train.tsv", "heldout": "dev.tsv", "test": "test.tsv"}
ENTAILMENT = ("entailment", "not_entailment")
LABELLED = ("train", "heldout", "heldout_mismatched")


def _lines(path, split, columns, label, spelt, header, leave_out_short):
    """Records of a file.

    Args:
      path, split: see `Dataset.read`.
      columns: feature -> column.
      label: the labels' column, which test sets do not have.
      spelt: label as it is in the file -> its name; {}: as it is.
      header: of a labelled file that does not name its columns.
      leave_out_short: see `formats.tsv`; only among the training examples.
    """
    labelled = split in LABELLED
    # Every line of a test set is answered, by its number.
    for where, cells in formats.tsv(path, header if labelled else None, leave_out_short and split == "train"):
        if isinstance(cells, formats.LeftOut):
            yield where, cells
            continue
        record = {feature: formats.column(cells, column, where) for feature, column in columns.items()}
        if labelled:
            name = formats.column(cells, label, where)
            if spelt:
                formats.number_of(name, tuple(spelt), where)
            record["label"] = spelt.get(name, name)
        yield where, record


def _example(record, where, labels, features):
    text, text2 = (*(record[feature] for feature in features), None)[:2]
    label = formats.number_of(record["label"], labels, where) if "label" in record else -1
    yield Example(text, text2, label)


def _similarity(record, where, labels):
    """STS-B's score is between 0 and 5; TensorFlow Datasets has -1 where it is unpublished."""
    del labels
    label = record.get("label", -1)
    score = formats.number(label, where) if isinstance(label, str) else label
    if not (0 <= score <= 5 or score == -1 and not isinstance(label, str)):
        raise UserError(f"{where}: the score {shown(label)} is not between 0 and 5")
    yield Example(record["sentence1"], record["sentence2"], math.nan if score < 0 else score)


def _task(name, columns, labels, submission, spelt=(), label="label", header=None, files=FILES, tfds=None,
          leave_out_short=False, **more):  # fmt: skip
    """A row; `spelt` are the labels as the files have them, in the order of `labels`; `more` as in Task."""
    spelt = dict(zip(spelt, labels, strict=True)) if spelt else {}
    read = functools.partial(_lines, columns=columns, label=label, spelt=spelt, header=header,
                             leave_out_short=leave_out_short)  # fmt: skip
    tfds = tfds or {split: f"glue/{name}:{n}" for split, n in zip(FILES, ("train", "validation", "test"))}
    return Task(
        Dataset(files, read, tfds, "https://gluebenchmark.com/tasks"),
        kind="classification" if labels else "regression",
        labels=labels,
        example=functools.partial(_example, features=tuple(columns)) if labels else _similarity,
        submission=submission if isinstance(submission, dict) else {"test": submission},
        **more,
    )


def _acceptable(example):
    return Item("", (example.text.strip(),), example.label)


def _very(example):
    return Item(f"{example.text.strip()} very", (" negative", " positive"), example.label)


def _asked(question, context="{text}"):
    return QuestionView(one_of(question, context), "em")


def _pair(one, other):
    return {one: one, other: other}


SENTENCES = _pair("sentence1", "sentence2")
BINARY, NUMBERS = ("0", "1"), (0, 1)


TASKS = {
    "cola": _task("cola", {"sentence": "sentence"}, ("unacceptable", "acceptable"), Submission("CoLA.tsv", NUMBERS),
                  BINARY, header=("source", "label", "star", "sentence"), score=("matthews",),
                  prompts={"gpt1": Prompt("threshold", _acceptable, ("matthews", "accuracy"))},
                  question=_asked("Is this sentence {labels}?")),
    "sst2": _task("sst2", {"sentence": "sentence"}, ("negative", "positive"), Submission("SST-2.tsv", NUMBERS), BINARY,
                  prompts={"gpt1": Prompt("choices", _very)}, question=_asked("Is this review {labels}?")),
    "mrpc": _task("mrpc", {"sentence1": "#1 String", "sentence2": "#2 String"}, ("not_equivalent", "equivalent"),
                  Submission("MRPC.tsv", NUMBERS), BINARY, label="Quality", score=("f1", "accuracy"), unordered=True,
                  question=_asked('Sentence: "{text2}" -- {labels}?', 'Sentence: "{text}"')),
    # Annotators could give 0 to 5.
    "stsb": _task("stsb", SENTENCES, (), Submission("STS-B.tsv", bounds=(0, 5)), label="score",
                  score=("pearson", "spearman"), unordered=True),
    # As published, train.tsv has truncated lines (nyu-mll/GLUE-baselines, issue 5); TensorFlow Datasets leaves them
    # out, too.
    "qqp": _task("qqp", _pair("question1", "question2"), ("not_duplicate", "duplicate"), Submission("QQP.tsv", NUMBERS),
                 BINARY, label="is_duplicate", leave_out_short=True, score=("f1", "accuracy"), unordered=True,
                 question=_asked('Question: "{text2}" -- {labels}?', 'Question: "{text}"')),
    "mnli": _task("mnli", {"premise": "sentence1", "hypothesis": "sentence2"},
                  ("entailment", "neutral", "contradiction"),
                  {"test": Submission("MNLI-m.tsv"), "test_mismatched": Submission("MNLI-mm.tsv"),
                   "ax": Submission("AX.tsv")},
                  label="gold_label", diagnostics={"ax": ("matthews",)},
                  files={"train": "train.tsv", "heldout": "dev_matched.tsv", "heldout_mismatched": "dev_mismatched.tsv",
                         "test": "test_matched.tsv", "test_mismatched": "test_mismatched.tsv",
                         "ax": ("diagnostic.tsv", "AX.tsv")},
                  tfds={"train": "glue/mnli:train", "heldout": "glue/mnli:validation_matched",
                        "heldout_mismatched": "glue/mnli:validation_mismatched", "test": "glue/mnli:test_matched",
                        "test_mismatched": "glue/mnli:test_mismatched", "ax": "glue/ax:test"},
                  # decaNLP's multinli.in.out is evaluated on both dev sets.
                  question=entailed()._replace(heldout=("heldout", "heldout_mismatched"))),
    "qnli": _task("qnli", _pair("question", "sentence"), ENTAILMENT, Submission("QNLI.tsv"),
                  question=_asked('Question: "{text}" -- {labels}?', 'Sentence: "{text2}"')),
    "rte": _task("rte", SENTENCES, ENTAILMENT, Submission("RTE.tsv"),
                 prompts={"gpt3": Prompt("choices", choose("{text}\nquestion: {text2} True or False?\nanswer:",
                                                           " True", " False"))}, shots=32,
                 question=entailed()),
    "wnli": _task("wnli", SENTENCES, ("not_entailment", "entailment"), Submission("WNLI.tsv", NUMBERS), BINARY,
                  question=entailed()),
}  # fmt: skip
