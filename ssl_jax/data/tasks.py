"""Supervised tasks: texts, or pairs of texts, with a label. A task is a row of TASKS.

    topics    the topic of an article of the demo corpus; what is held out is what pre-training with the same
              data.heldout and data.max_documents holds out, so that no pre-trained model has seen it
    jsonl     train.jsonl and heldout.jsonl in task.folder. A line is {"text": str, "text2": str, "label": str};
              text2 is there for pairs alone. The labels are those of train.jsonl, sorted by name
"""

import functools
import hashlib
import itertools
import json
import pathlib
from typing import Callable, NamedTuple

import numpy as np

from ssl_jax.data import corpora, tokens
from ssl_jax.data.files import replacing
from ssl_jax.errors import UserError, check_choice


class Example(NamedTuple):
    """One text, or a pair of them, and the number of its label; None where it is not known, as in a test set."""

    text: str
    text2: str | None
    label: int | None


class Read(NamedTuple):
    """A task's examples: `labels` are the names of the classes, `splits` 'train' and 'heldout', lists of Examples."""

    labels: tuple[str, ...]
    splits: dict[str, list[Example]]


class Task(NamedTuple):
    """A row of TASKS: `read(config) -> Read` of a run's config."""

    read: Callable


def _read_topics(config):
    corpus = corpora.open_corpus("demo", config.data.root)
    documents = [corpus[number] for number in range(min(len(corpus), config.data.max_documents or len(corpus)))]
    hashes = np.stack([tokens.content_hash(document["text"]) for document in documents])
    duplicate, heldout = tokens.find_duplicates(hashes), tokens.is_heldout(hashes, config.data.heldout)
    splits = {split: [] for split in tokens.SPLITS}
    for document, again, held in zip(documents, duplicate, heldout, strict=True):
        if document["text"].strip() and not again:
            splits["heldout" if held else "train"].append(Example(document["text"], None, document["topic"]))
    return Read(tuple(corpus.features["topic"].names), splits)


def _read_jsonl(config):
    paths = {split: pathlib.Path(config.task.folder) / f"{split}.jsonl" for split in tokens.SPLITS}
    labels = tuple(sorted({label for *_, label in _lines(paths["train"])}))
    return Read(labels, {split: read_examples(path, labels) for split, path in paths.items()})


TASKS = {"topics": Task(_read_topics), "jsonl": Task(_read_jsonl)}


def read(config):
    """Reads the task that a config's `task` block asks for.

    Args:
      config: of `task`, `name`, `folder` and `augmented` are read; of `data`, what the task asks for.

    Raises:
      UserError: unknown task; a file is missing; a line is malformed (naming file, line and reason); a split has
        no examples, or all of them one label.
    """
    options = config.task
    check_choice(options.name, TASKS, "task.name")
    task = TASKS[options.name].read(config)
    if options.augmented:
        task.splits["train"] = read_examples(options.augmented, task.labels)
    for split, examples in task.splits.items():
        if not examples:
            raise UserError(
                f"task {options.name!r} has no examples in its split {split!r}; see task.folder, task.augmented, "
                "data.heldout and data.max_documents"
            )
    if len(task.labels) < 2:
        raise UserError(f"task {options.name!r} has one label, {task.labels[0]!r}: nothing to tell apart")
    return task


def resolve(config):
    """The config with what only the task's examples tell: `task.classes`, `task.labels`, and `steps` of `task.epochs`.

    Returns:
      A copy; `config` itself where data.examples is not 'task'.

    Raises:
      UserError: see `read`.
    """
    if config.data.examples != "task":
        return config
    task = read(config)
    config = config.copy_and_resolve_references()
    config.task.update(classes=len(task.labels), labels=task.labels)
    if config.task.epochs > 0:
        config.steps = max(1, round(config.task.epochs * len(task.splits["train"]) / config.batch_size))
    return config


def read_examples(path, labels):
    """The Examples of a .jsonl file, a list; `labels` are the names that it may use.

    Raises:
      UserError: there is no such file, or a line is malformed or has another label (naming file, line and reason).
    """
    numbers = {name: number for number, name in enumerate(labels)}
    examples = []
    for where, text, text2, label in _lines(path):
        if label not in numbers:
            raise UserError(f"{where}: unknown label {label!r}; the training examples have: {', '.join(labels)}")
        examples.append(Example(text, text2, numbers[label]))
    return examples


def _lines(path):
    """Yields 'PATH, line N', text, text2 or None, and the label's name."""
    if not pathlib.Path(path).is_file():
        raise UserError(f"there is no file {path}; a task's lines are JSON with text, text2 for pairs, and label")
    with open(path, "rb") as file:
        for where, record in corpora.json_lines(path, corpora.decoded_lines(path, file)):
            text, label = (corpora.text_of(record, key, where) for key in ("text", "label"))
            text2 = None if record.get("text2") is None else corpora.text_of(record, "text2", where)
            yield where, text, text2, label


def write_examples(path, examples, labels):
    """Writes Examples to a .jsonl file that `read_examples` reads: whole or not at all.

    Args:
      path: of the file.
      examples: any iterable of them, used once.
      labels: the names of the classes.
    """
    with replacing(path) as file:
        for text, text2, label in examples:
            pair = {} if text2 is None else {"text2": text2}
            line = {"text": text, **pair, "label": labels[label]}
            file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")


class TaskStore:
    """One split of a task in tokens.

    Attributes:
      tokens: uint16 or uint32 [tokens], of all texts, no special tokens.
      edges: int64 [2 N + 1]; example n is tokens[edges[2 n]:edges[2 n + 1]] and, from there to
        edges[2 n + 2], its second text, empty where there is none.
      labels: int32 [N]; -1 where it is not known.
    """

    def __init__(self, examples, tokenizer):
        """Tokenises a list of Examples."""
        dtype = np.uint16 if tokenizer.get_vocab_size() <= 1 << 16 else np.uint32
        made, lengths = [np.zeros(0, dtype)], [np.zeros(1, np.int64)]
        for first in range(0, len(examples), 4096):  # encodings are many times as large as ids
            texts = [text or "" for example in examples[first : first + 4096] for text in example[:2]]
            ids = [encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
            made.append(np.fromiter(itertools.chain.from_iterable(ids), dtype))
            lengths.append(np.fromiter(map(len, ids), np.int64))
        self.tokens = np.concatenate(made)
        self.edges = np.cumsum(np.concatenate(lengths))
        self.labels = np.array([-1 if example.label is None else example.label for example in examples], np.int32)

    def __len__(self):
        return len(self.labels)

    @property
    def chance(self):
        """The accuracy of always giving the most frequent label; None where labels are numbers or not known."""
        if self.labels.dtype.kind != "i" or self.labels.min() < 0:
            return None
        return np.bincount(self.labels).max() / len(self)

    @functools.cached_property
    def content_hash(self):
        """SHA-256 of the arrays, hexadecimal."""
        content = hashlib.sha256()
        for array in (self.tokens, self.edges, self.labels):
            content.update(array.data)
        return content.hexdigest()


def open_stores(config, tokenizer):
    """The splits of a config's task in tokens: 'train' and 'heldout' -> TaskStore. Errors: see `read`."""
    return {split: TaskStore(examples, tokenizer) for split, examples in read(config).splits.items()}
