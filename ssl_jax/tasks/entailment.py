"""Entailment outside GLUE, of GPT-1's Table 2: SNLI (Bowman et al. 2015) and SciTail (Khot et al. 2018).

SNLI's files are snli_1.0_train.jsonl and its siblings, SciTail's scitail_1.0_train.tsv or scitail_1.0_train.txt (JSON
lines), in one folder; or `snli` and `sci_tail` of TensorFlow Datasets. Their test sets have labels; GPT-1 reports them.
"""

from ssl_jax import files
from ssl_jax.tasks import formats
from ssl_jax.tasks.base import Dataset, Example, Task, entailed

SNLI = ("entailment", "neutral", "contradiction")
SCITAIL = ("entails", "neutral")


def _json_lines(path):
    for where, line in files.json_lines(path):
        texts = formats.checked(line, where, sentence1=str, sentence2=str, gold_label=str)
        yield where, {"premise": texts["sentence1"], "hypothesis": texts["sentence2"], "label": texts["gold_label"]}


def _snli_lines(path, split):
    """The label '-' is no label, as TensorFlow Datasets' -1: annotators did not agree."""
    del split
    for where, record in _json_lines(path):
        if record["label"] == "-":
            del record["label"]
        yield where, record


def _scitail_lines(path, split):
    """Lines between tabs, without a header; JSON calls the first class as SNLI does."""
    del split
    if path.suffix == ".tsv":
        yield from formats.tsv(path, ("premise", "hypothesis", "label"))
        return
    for where, record in _json_lines(path):
        yield where, record | {"label": record["label"].replace("entailment", "entails")}


def _pair(record, where, labels):
    if "label" in record:
        yield Example(record["premise"], record["hypothesis"], formats.number_of(record["label"], labels, where))
    else:
        yield formats.LeftOut("pairs without a gold label")


def _task(name, labels, read, suffixes, tfds, homepage):
    files = {split: tuple(f"{name}_{part}{suffix}" for suffix in suffixes)
             for split, part in (("train", "train"), ("heldout", "dev"), ("test", "test"))}  # fmt: skip
    tfds = {split: f"{tfds}:{part}" for split, part in zip(files, ("train", "validation", "test"))}
    return Task(
        Dataset(files, read, tfds, homepage), "classification", labels, _pair, question=entailed(*SNLI[: len(labels)])
    )


TASKS = {
    "snli": _task("snli_1.0", SNLI, _snli_lines, (".jsonl",), "snli", "https://nlp.stanford.edu/projects/snli/"),
    "scitail": _task("scitail_1.0", SCITAIL, _scitail_lines, (".tsv", ".txt"), "sci_tail",
                     "https://allenai.org/data/scitail"),
}  # fmt: skip
