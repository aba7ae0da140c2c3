"""Supervised tasks: examples of one of five kinds, with labels. A task is a row of TASKS.

    topics    the topic of an article of the demo corpus; what is held out is what pre-training with the same
              data.heldout and data.max_documents holds out, so that no pre-trained model has seen it
    jsonl     a task of your own: texts or pairs with labels in train.jsonl and heldout.jsonl (or .csv, .tsv) in
              task.folder, see own.py

All others are published sets, read from their own files in task.folder, or, without a folder, from data.root/tfds,
where TensorFlow Datasets put them. Their dev set is the split 'heldout' (MNLI's second one
'heldout_mismatched'); 'test' is there where it was published. What there is besides 'train' and 'heldout' is decided
when the run ends.

    glue.py        cola sst2 mrpc stsb qqp mnli qnli rte wnli; ax is a split of mnli
    superglue.py   boolq cb copa multirc wic wsc superglue_rte; ax_b and ax_g are splits of superglue_rte
    squad.py       squad squad2
    choices.py     swag race rocstories
    conll.py       conll2003
    reviews.py     imdb ag_news
"""

import functools
import hashlib
import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ssl_jax.data import tokens
from ssl_jax.data.tasks import choices, conll, glue, own, reviews, sets, squad, superglue
from ssl_jax.data.tasks.examples import KINDS, Choice, Example, Question, Read, Words
from ssl_jax.data.tasks.options import INPUTS
from ssl_jax.data.tasks.own import read_examples, write_examples
from ssl_jax.data.tasks.stores import ChoiceStore, SpanStore, TaskStore, WordStore
from ssl_jax.errors import UserError, check_choice, listed, shown

__all__ = ["INPUTS", "KINDS", "SIMILARITY", "TASKS", "Choice", "ChoiceStore", "Example", "Question", "Read",
           "SpanStore", "Task", "TaskStore", "WordStore", "Words", "open_stores", "orders", "read", "read_articles",
           "read_examples", "report", "resolve", "write_examples"]  # fmt: skip

# Whose two texts have no order.
SIMILARITY = {"mrpc", "stsb", "qqp"}


class Task(NamedTuple):
    """A row of TASKS: one of KINDS, and `read(config) -> Read` of a run's config."""

    kind: str
    read: Callable


def read_articles(root, heldout, max_documents):
    """The articles of the demo corpus on the side where pre-training has them.

    Args:
      root, heldout, max_documents: a config's `data` has them.

    Returns:
      The names of the topics, and 'train' and 'heldout' -> list of dict with `text`, `title`, `description` and
      `topic`, the number of a name; without empty articles, and each text once.
    """
    from ssl_jax.data import corpora  # which loads TFDS: a config is checked without

    corpus = corpora.open_corpus("demo", root)
    documents = list(itertools.islice(corpus, max_documents or None))
    hashes = np.stack([tokens.content_hash(document["text"]) for document in documents])
    duplicate, held_out = tokens.find_duplicates(hashes), tokens.is_heldout(hashes, heldout)
    splits = {split: [] for split in tokens.SPLITS}
    for document, again, held in zip(documents, duplicate, held_out, strict=True):
        if document["text"].strip() and not again:
            splits["heldout" if held else "train"].append(document)
    return tuple(corpus.features["topic"].names), splits


def _read_topics(config):
    topics, splits = read_articles(config.data.root, config.data.heldout, config.data.max_documents)
    examples = {split: [Example(one["text"], None, one["topic"]) for one in found] for split, found in splits.items()}
    return Read(topics, examples, {}, {})


TASKS = {"topics": Task("classification", _read_topics), "jsonl": Task("classification", own.read)}
for _family in (glue, superglue, squad, choices, conll, reviews):
    for _name, _row in _family.SETS.items():
        TASKS[_name] = Task(_row.kind, functools.partial(sets.read, _name, _row))


def read(config):
    """Reads the task that a config's `task` block asks for.

    Args:
      config: of `task`, `name`, `folder`, `fields`, `augmented` and `inputs` are read; of `data`, `max_examples` and
        what the task asks for.

    Raises:
      UserError: unknown task or inputs; a file is missing; a line is malformed (naming file, line and reason); a split
        has no examples, or all of them one label; there are augmented examples of something else than texts with
        a class or score; there are no pairs to double; `fields` are given for a task that has its own.
    """
    options = config.task
    check_choice(options.name, TASKS, "task.name")
    check_choice(options.inputs, INPUTS, "task.inputs")
    row = TASKS[options.name]
    if options.fields and options.name != "jsonl":
        raise UserError(f"task.fields is for task 'jsonl': the files of {options.name!r} have fields of their own")
    if config.data.max_examples < 0:
        raise UserError(f"data.max_examples={config.data.max_examples}: at least 0, which is all")
    task = row.read(config)
    if options.augmented:
        if KINDS[row.kind] is not Example:
            raise UserError(f"task.augmented is for texts with a class or score: task {options.name!r} has {row.kind}")
        task.splits["train"], task.places["train"] = read_examples(options.augmented, task.labels or None)
        task.notes.pop("train", None)  # of the examples whose place these take
    if 0 < config.data.max_examples < len(task.splits["train"]):
        _take_sample(task, config.data.max_examples)
    if options.inputs == "doubled":
        train, places = task.splits["train"], task.places.get("train", [])
        pairs = [n for n, one in enumerate(train) if isinstance(one, Example) and one.text2 is not None]
        if not pairs:
            raise UserError(f"task.inputs=doubled swaps the texts of pairs, and task {options.name!r} has none")
        train += [train[n]._replace(text=train[n].text2, text2=train[n].text) for n in pairs]
        places += [places[n] for n in pairs]
    for split, examples in task.splits.items():
        if not examples:
            raise UserError(
                f"task {options.name!r} has no examples in its split {split!r}; see task.folder, task.augmented, "
                "data.heldout and data.max_documents"
            )
    if row.kind not in ("regression", "spans") and len(task.labels) < 2:
        raise UserError(f"task {options.name!r} has one label, {shown(task.labels[0])}: nothing to tell apart")
    return task


def _take_sample(task, size):
    """Leaves `size` of the training examples, those whose texts have the smallest hashes.

    A smaller sample is a part of a larger one, and neither seeds nor the order of the file change it. The first
    examples would not do: some sets are sorted by label.
    """
    examples, places = task.splits["train"], task.places.get("train")
    # The first two fields of each kind: texts, pairs, a text and its choices, a question and its context, words.
    hashes = [hashlib.sha256(repr(one[:2]).encode("utf-8", "backslashreplace")).digest() for one in examples]
    kept = sorted(sorted(range(len(examples)), key=hashes.__getitem__)[:size])
    task.splits["train"] = [examples[n] for n in kept]
    if places:
        task.places["train"] = [places[n] for n in kept]
    note = f"a sample of {len(examples):,}, chosen by a hash of their texts"
    task.notes["train"] = [*task.notes.get("train", ()), note]


def orders(config):
    """How many orders a config's task shows an example's texts in: 2, pairs of SIMILARITY as GPT-1 reads them, or 1."""
    return 2 if config.task.inputs == "gpt1" and config.task.name in SIMILARITY else 1


def resolve(config):
    """The config with what only the task tells: `task.classes`, of a regression 1, `task.labels`, `task.orders`, `steps`
    where `task.epochs` is given, and, where held-out examples are decided, an evaluation after the last step of each
    split besides them and those trained on, by its name. An epoch of spans is as many rows as there are questions, not
    windows (run_squad.py).

    Returns:
      A copy; `config` itself where data.examples is not 'task'.

    Raises:
      UserError: see `read`.
    """
    if config.data.examples != "task":
        if config.data.max_examples:
            raise UserError(
                f"data.max_examples={config.data.max_examples} is of a task's examples; data.max_documents is of a "
                "corpus"
            )
        return config
    task = read(config)
    config = config.copy_and_resolve_references()
    classes = 1 if TASKS[config.task.name].kind == "regression" else len(task.labels)
    config.task.update(classes=classes, labels=task.labels, orders=orders(config))
    if config.task.epochs > 0:
        config.steps = max(1, round(config.task.epochs * len(task.splits["train"]) / config.batch_size))
    if any(options.module == "task" for options in config.evals.values()):
        further = [split for split in task.splits if split not in (*tokens.SPLITS, *config.evals)]
        with config.unlocked():
            for split in further:
                config.evals[split] = dict(module="task", split=split, max_batches=0, at_end=True)
    return config


def open_stores(config, tokenizer):
    """The splits of a config's task in tokens: 'train', 'heldout', ... -> the store of its kind.

    Raises:
      UserError: see `read` and SpanStore.
    """
    task, options, kind = read(config), config.task, TASKS[config.task.name].kind
    make = {
        "classification": functools.partial(TaskStore, orders=orders(config)),
        "regression": functools.partial(TaskStore, label_dtype=np.float32, orders=orders(config)),
        "choices": functools.partial(ChoiceStore, choices=len(task.labels), inputs=options.inputs),
        "spans": functools.partial(SpanStore, stride=options.stride, max_question=options.max_question),
        "token_labels": WordStore,
    }[kind]
    stores = {}
    for split, examples in task.splits.items():
        stores[split] = make(examples, tokenizer, places=task.places.get(split, ()))
        stores[split].notes += tuple(task.notes.get(split, ()))
        if kind == "classification":
            there = {one.label for one in examples}
            absent = [name for number, name in enumerate(task.labels) if number not in there]
            if absent and there != {-1}:  # a test set's labels are not told
                stores[split].notes += (f"none labelled {listed(absent)}",)
    return stores


def report(stores, vocabulary, lengths):
    """Yields a line for each of a task's splits: its examples, how many of them do not fit into rows of these lengths,
    with the first one and its tokens, and the split's notes."""
    for split, store in stores.items():
        told = [f"{split}: {len(store):,} examples"]
        for length in sorted(lengths):
            rows = store.rows(vocabulary, length)
            if len(rows) != len(store):
                told.append(f"{len(rows):,} windows of {length} tokens")
            if rows.cut:
                first = int((rows.sizes > rows.limit).argmax())
                of = f"the first: {store.place(first)}, {rows.sizes[first]:,} tokens"
                told.append(f"{rows.cut:,} cut to the length of {rows.limit} ({of})")
        yield ", ".join([*told, *store.notes])
