"""Tasks, for fine-tuning and for prompting. TASKS has a row for each, see base.Task; each family is a module.

    articles.py    topics topic title titles descriptions, from the demo corpus
    own.py         jsonl: your own labelled texts or pairs, in task.folder
    glue.py        cola sst2 mrpc stsb qqp mnli qnli rte wnli; ax is a split of mnli
    superglue.py   boolq cb copa multirc record wic wsc superglue_rte; ax_b and ax_g are splits of superglue_rte
    entailment.py  snli scitail
    squad.py       squad squad2
    choices.py     swag race rocstories winograd winogrande dprd hellaswag piqa arc_easy arc_challenge openbookqa race_middle
                   race_high anli_r1 anli_r2 anli_r3 sat_analogies
    conll.py       conll2003
    reviews.py     imdb ag_news
    generated.py   2D+ 2D- 3D+ 3D- 4D+ 4D- 5D+ 5D- 2Dx 1DC CL A1 A2 RI RW
    language.py    lambada cbt_cn cbt_ne wikitext2 wikitext103 ptb 1bw enwik8 text8
    questions.py   coqa quac drop triviaqa triviaqa_unfiltered naturalqs webqs
    writing.py     en_fr fr_en en_de de_en en_ro ro_en cnn_dailymail
    decanlp.py     iwslt_en_de cnn_dm sst srl srl_2020 zre woz_en woz_de wikisql mwsc; with squad and mnli decaNLP's ten
    composed.py    dialogue pronouns phrases_en_de phrases_de_en, written for decaNLP's demo

A row with a `kind` can be fine-tuned on, one with `prompts` prompted, one with a `question` asked in words. Published
sets are read from their own files in a folder or, without one, from ROOT/tfds, where TensorFlow Datasets put them. Their
dev set is the split 'heldout' (MNLI's second one 'heldout_mismatched', part of 'heldout' where it is asked in words); 'test'
is present if it was published. At its end, a run also predicts every split other than 'train' and 'heldout'.

Importing this loads neither JAX nor TFDS, so configs can be checked without them.
"""

import functools
import hashlib
from typing import Any, NamedTuple

import numpy as np

from ssl_jax.data import tokens
from ssl_jax.data.questions import Split, Store, check_vocabulary, folders_of, form_of
from ssl_jax.errors import UserError, check_choice, listed, shown
from ssl_jax.tasks import (
    articles,
    choices,
    composed,
    conll,
    datasets,
    decanlp,
    entailment,
    generated,
    glue,
    language,
    own,
    questions,
    reviews,
    squad,
    superglue,
    writing,
)  # fmt: skip
from ssl_jax.tasks.base import KINDS, QA, Choice, Example, Question, Read, Source, Task, Words
from ssl_jax.tasks.decanlp import TEN
from ssl_jax.tasks.features import ChoiceStore, SpanStore, TaskStore, WordStore
from ssl_jax.tasks.options import INPUTS
from ssl_jax.tasks.own import read_examples, write_examples
from ssl_jax.tokenization import files as tokenizer_files
from ssl_jax.tokenization.vocabulary import vocabulary_of

__all__ = ["ASKED", "FINE_TUNED", "INPUTS", "KINDS", "PROMPTED", "QA", "TASKS", "TEN", "Choice", "ChoiceStore", "Example",
           "Question", "Read", "SpanStore", "Task", "TaskStore", "WordStore", "Words", "open_questions", "open_stores",
           "orders", "read", "read_examples", "read_questions", "records", "report", "resolve", "source_of",
           "store_questions", "training_texts", "write_examples"]  # fmt: skip

TASKS = {}
for _family in (
    articles, own, glue, superglue, entailment, squad, choices, conll, reviews, generated, language, questions, writing, decanlp,
    composed,
):  # fmt: skip
    TASKS |= _family.TASKS
FINE_TUNED = {name: row for name, row in TASKS.items() if row.kind}
PROMPTED = {name: row for name, row in TASKS.items() if row.prompts}
ASKED = {name: row for name, row in TASKS.items() if row.question}


def source_of(config, folder=""):
    """The Source of a run's corpus, and of `folder`."""
    return Source(folder, config.data.root, config.data.heldout, config.data.max_documents)


def records(name, source):
    """'train' and 'heldout' -> records for a task's prompts, see `datasets.records`."""
    return datasets.records(name, TASKS[name], source)


def read_questions(name, source, splits=()):
    """The Read of a task's questions, whose splits are lists of QA, see `datasets.questions`.

    Raises:
      UserError: the task is unknown or is not asked in words; see `datasets.questions`.
    """
    check_choice(name, ASKED, "task that is asked in words")
    try:
        return datasets.questions(name, TASKS[name], source, splits)
    except UserError as error:
        raise UserError(str(error).replace("task.folder", f"questions.folders={name}=FOLDER")) from error


def training_texts(name, source):
    """The texts of a set's own training split, see `datasets.training_texts`."""
    return datasets.training_texts(name, TASKS[name], source)


def read(config):
    """Reads the task named in a config's `task` block.

    Args:
      config: `name`, `folder`, `fields`, `augmented` and `inputs` of `task` are read; `max_examples` of `data` and
        whatever the task needs.

    Raises:
      UserError: unknown task or inputs; a file is missing; a line is malformed (naming file, line and reason); a split
        has no examples, or only one label; `augmented` for examples that are not texts with a class or score; no pairs
        to double; `fields` for a task whose files have fixed ones.
    """
    options = config.task
    check_choice(options.name, FINE_TUNED, "task.name")
    check_choice(options.inputs, INPUTS, "task.inputs")
    row = TASKS[options.name]
    if options.fields and options.name != "jsonl":
        raise UserError(f"task.fields is for task 'jsonl': the files of {options.name!r} have fields of their own")
    if config.data.max_examples < 0:
        raise UserError(f"data.max_examples={config.data.max_examples}: at least 0, which is all")
    source = source_of(config, options.folder)._replace(fields=options.fields)
    task = datasets.read(options.name, row, source)
    if options.augmented:
        if KINDS[row.kind] is not Example:
            raise UserError(f"task.augmented is for texts with a class or score: task {options.name!r} has {row.kind}")
        task.splits["train"], task.places["train"] = read_examples(options.augmented, task.labels or None)
        task.notes.pop("train", None)  # about the examples replaced by these
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


def _take_sample(task, size, split="train"):
    """Keeps `size` of a split's examples, those whose texts have the smallest hashes; 0: all.

    A smaller sample is a subset of a larger one, and neither seeds nor file order change it. The first examples would
    not do: some sets are sorted by label.
    """
    examples, places = task.splits[split], task.places.get(split)
    if not 0 < size < len(examples):
        return
    # The first two fields of each kind: texts, pairs, a text and its choices, a question and its context, words.
    # Of a dialogue its number: its turns belong together.
    texts = [
        one.gold["dialogue"] if isinstance(one, QA) and "dialogue" in (one.gold or ()) else one[:2] for one in examples
    ]
    hashes = [hashlib.sha256(repr(text).encode("utf-8", "backslashreplace")).digest() for text in texts]
    kept = sorted(sorted(range(len(examples)), key=hashes.__getitem__)[:size])
    task.splits[split] = [examples[n] for n in kept]
    if places:
        task.places[split] = [places[n] for n in kept]
    note = f"a sample of {len(examples):,}, chosen by a hash of their texts"
    task.notes[split] = [*task.notes.get(split, ()), note]


def orders(config):
    """Number of orders in which a config's task shows an example's texts: 2 for unordered pairs as in GPT-1, else 1."""
    return 2 if config.task.inputs == "gpt1" and TASKS[config.task.name].unordered else 1


def resolve(config):
    """The config with the values only the task can supply: `task.classes` (1 for regression), `task.labels`,
    `task.orders`, `steps` if `task.epochs` is given, and, if held-out examples are decided, an evaluation after the
    last step for each further split, by its name. An epoch of spans counts questions, not windows (run_squad.py).

    Returns:
      A copy; `config` itself if data.examples is not 'task'.

    Raises:
      UserError: see `read`.
    """
    if config.data.examples != "task":
        if config.data.max_examples and config.data.examples != "questions":
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
        config.steps = max(1, int(len(task.splits["train"]) / config.batch_size * config.task.epochs))
    if any(options.module == "task" for options in config.evals.values()):
        further = [split for split in task.splits if split not in (*tokens.SPLITS, *config.evals)]
        with config.unlocked():
            for split in further:
                config.evals[split] = dict(module="task", split=split, max_batches=0, at_end=True)
    return config


def open_stores(config, tokenizer):
    """The tokenised splits of a config's task: 'train', 'heldout', ... -> the store of its kind.

    Raises:
      UserError: see `read`, SpanStore and WordStore.
    """
    task, options, kind = read(config), config.task, TASKS[config.task.name].kind
    store = {
        "classification": functools.partial(TaskStore, orders=orders(config)),
        "regression": functools.partial(TaskStore, label_dtype=np.float32, orders=orders(config)),
        "choices": functools.partial(ChoiceStore, choices=len(task.labels), inputs=options.inputs),
        "spans": functools.partial(SpanStore, stride=options.stride, max_question=options.max_question),
        "token_labels": functools.partial(WordStore, context=options.context),
    }[kind]
    stores = {}
    for split, examples in task.splits.items():
        stores[split] = store(examples, tokenizer, places=task.places.get(split, ()))
        stores[split].notes += tuple(task.notes.get(split, ()))
        if kind == "classification":
            present = {one.label for one in examples}
            absent = [name for number, name in enumerate(task.labels) if number not in present]
            if absent and present != {-1}:  # a test set's labels are unpublished
                stores[split].notes += (f"none labelled {listed(absent)}",)
    return stores


class Asked(NamedTuple):
    """Several tasks as questions.

    Attributes:
      config: with the size of the vocabulary.
      prepared: Path of the folder with the tokenizer.
      stores: split -> data.questions.Split.
    """

    config: Any
    prepared: Any
    stores: dict


def open_questions(config):
    """Reads and tokenises the tasks of a config's `questions`: an Asked.

    A tokenizer that is trained reads all splits, as decaNLP's vocabulary does (train.py): words of held-out texts have
    vectors, too.

    Raises:
      UserError: see `read_questions`; no example of a task is left; the tokenizer cannot be trained.
    """
    options, form = config.questions, form_of(config)
    # An evaluation of other tasks reads its own.
    asked = {one.split for one in config.evals.values() if "split" in one and not one.get("tasks", ())}
    splits = ("train", *sorted({"heldout", *asked} - {"train"}))
    reads = read_asked(config, options.tasks, folders_of(options), splits)
    texts = [
        text
        for read in reads.values()
        for split in splits
        for qa in read.splits[split]
        for text in (qa.context, qa.question, *qa.answers[:1])
    ]
    prepared = tokens.prepare_tokenizer(config.data, texts, {"name": f"questions of {', '.join(options.tasks)}"})
    tokenizer = tokenizer_files.load(prepared / "tokenizer.json")
    config = config.copy_and_resolve_references()
    config.data.tokenizer.vocab_size = config.model.vocab_size = tokenizer.get_vocab_size()
    form = form(options, tokenizer, vocabulary_of(tokenizer))
    check_vocabulary(form, tokenizer)
    return Asked(config, prepared, {split: store_questions(reads, split, form) for split in splits})


def read_asked(config, names, folders, splits):
    """task -> Read of these splits of several tasks, with as many examples as the config allows; errors as `read_questions`.

    Args:
      config: a run's.
      names: of the tasks.
      folders: task -> folder of its files.
      splits: names.
    """
    reads = {}
    for name in names:
        reads[name] = read_questions(name, source_of(config, folders.get(name, "")), splits)
        for split in splits:
            if split not in reads[name].splits:
                raise UserError(
                    f"task {name!r} has no questions of split {split!r} by itself: they are part of 'heldout'"
                )
            most = config.data.max_examples if split == "train" else config.questions.max_heldout
            _take_sample(reads[name], most, split)
    return reads


def store_questions(reads, split, form):
    """The data.questions.Split of a split of tasks, task -> Read, for a form of their rows.

    Raises:
      UserError: no example of a task is left.
    """
    stores = {}
    for name, read in reads.items():
        long = split != "train" and form.options.keep_long
        stores[name] = Store(read.splits[split], form, long, TASKS[name].question.cut)
        if not len(stores[name]):
            left_out = ", ".join(stores[name].notes)
            raise UserError(f"task {name!r} has no examples left in its split {split!r}: {left_out}")
        stores[name].notes += read.notes.get(split, ())
    return Split(form, stores)


def report(stores, vocabulary, lengths):
    """Yields a line for each of a task's splits: its number of examples, how many do not fit rows of these lengths,
    the first such one and its tokens, and the split's notes."""
    for split, store in stores.items():
        parts = [f"{split}: {len(store):,} examples"]
        for length in sorted(lengths):
            rows = store.rows(vocabulary, length)
            if len(rows) != len(store):
                parts.append(f"{len(rows):,} windows of {length} tokens")
            if rows.cut:
                first = int((rows.sizes > rows.limit).argmax())
                place = f"the first: {store.place(first)}, {rows.sizes[first]:,} tokens"
                parts.append(f"{rows.cut:,} cut to the length of {rows.limit} ({place})")
        yield ", ".join([*parts, *store.notes])
