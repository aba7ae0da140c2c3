"""Tasks are read as they are written, cut as BERT cuts them, and go through the one loop."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import finetune
from ssl_jax import command_line, corruption, flops, objectives, predict, tasks
from ssl_jax import train as loop
from ssl_jax.checks import check, check_vocabulary
from ssl_jax.config import check_values
from ssl_jax.data import batches, corpora, tokens
from ssl_jax.describe import describe
from ssl_jax.errors import UserError
from ssl_jax.experiment import make_fingerprint
from ssl_jax.load import load_run
from ssl_jax.models.heads import ClassHead, Seen, SpanHead
from ssl_jax.models.model import build_model, dummy_batch, flatten_choices
from ssl_jax.models.transformer import TransformerConfig
from ssl_jax.plan import example_kind, masks, plan_phases, predictions_per_sequence
from ssl_jax.step import initial_params, make_corrupt
from ssl_jax.tasks import Choice, Example, Words
from ssl_jax.tokenization import files as tokenizer_files
from tests.unit.test_batches import PAD, SEPARATOR, START, VOCABULARY

pytestmark = pytest.mark.slow  # compiles programs, or trains

LINES = {
    "train": [
        {"text": "A fine day.", "label": "yes"},
        {"text": "Rain “again”", "text2": "and\nagain", "label": "no"},
        {"text": "Snow", "text2": None, "label": "maybe"},
    ],
    "heldout": [{"text": "Sun", "label": "no"}],
}


def write_lines(path, lines):
    path.write_text("\n\n".join(json.dumps(line) for line in lines))


@pytest.fixture
def jsonl(tmp_path, smoke_config):
    """A config of the task that LINES are."""
    for split, lines in LINES.items():
        write_lines(tmp_path / f"{split}.jsonl", lines)
    return smoke_config(("data.examples", "task"), ("task.name", "jsonl"), ("task.folder", str(tmp_path)))


def test_lines_of_json_are_read_with_labels_by_name(jsonl):
    task = tasks.read(jsonl)
    assert task.labels == ("maybe", "no", "yes")
    assert task.splits == {
        "train": [
            Example("A fine day.", None, 2), Example("Rain “again”", "and\nagain", 1), Example("Snow", None, 0)
        ],
        "heldout": [Example("Sun", None, 1)],
    }  # fmt: skip


def test_what_is_written_is_read_again_and_takes_the_place_of_the_training_examples(jsonl, tmp_path):
    made = [Example("Wind", "", 1), *tasks.read(jsonl).splits["train"]]
    jsonl.task.augmented = str(tmp_path / "more.jsonl")
    tasks.write_examples(jsonl.task.augmented, iter(made), ("maybe", "no", "yes"))
    assert tasks.read(jsonl).splits == {"train": made, "heldout": [Example("Sun", None, 1)]}
    with pytest.raises(IndexError):  # a label that has no name, after a line was written
        tasks.write_examples(jsonl.task.augmented, [made[0], Example("", None, 3)], ("maybe", "no", "yes"))
    assert tasks.read(jsonl).splits["train"] == made and not list(tmp_path.glob("*.partial"))
    write_lines(tmp_path / "more.jsonl", [{"text": "Fog", "label": "perhaps"}])
    with pytest.raises(UserError, match="line 1: unknown label 'perhaps'; the training examples have: maybe, no, yes"):
        tasks.read(jsonl)


GOOD = b'{"text": "a", "label": "no"}\n'
MALFORMED = {
    "not JSON": ("train", GOOD + b"text,label\n", "train.jsonl, line 2: not JSON"),
    "no text": ("train", b'{"label": "no"}', "train.jsonl, line 1: no key 'text'"),
    "no label": ("heldout", GOOD + b'\n{"text": "a"}', "heldout.jsonl, line 3: no key 'label'"),
    "a list": ("train", b"[1]", "train.jsonl, line 1: [1] is no JSON object"),
    "unknown label": ("heldout", b'{"text": "a", "label": "ja"}', "heldout.jsonl, line 1: unknown label 'ja'"),
    "text of another type": ("train", b'{"text": 1, "label": "no"}', "line 1: 'text' is not a string"),
    "label of another type": (
        "train",
        b'{"text": "a", "label": 1.0}',
        "line 1: 'label' is 1.0, and should be text, a whole",
    ),
    "a label that is null": ("train", b'{"text": "a", "label": null}', "line 1: 'label' is None, and should be"),
    "a label without text": ("train", b'{"text": "a", "label": ""}', "line 1: 'label' is '', and should be"),
    "a key twice": (
        "train",
        b'{"text": "a", "label": "no", "label": "yes"}',
        "train.jsonl, line 1: the key 'label' is there twice",
    ),
    "a long label": (
        "heldout",
        b'{"text": "a", "label": "' + b"x" * 100_000 + b'"}',
        "xxx'; the training examples have: maybe, no",
    ),
    "a long key": ("train", b'{"' + b"x" * 100_000 + b'": "a"}', "there are: xxx"),
    "a deep text": (
        "train",
        b'{"text": ' + b"[" * 900 + b"]" * 900 + b"}",
        "train.jsonl, line 1: 'text' is not a string",
    ),
    "second text of another type": ("train", b'{"text": "", "text2": 1, "label": ""}', "'text2' is not a string"),
    "half a pair": ("train", b'{"text": "\\ud800", "label": "no"}', "line 1: half a surrogate pair in 'text'"),
    "Latin-1": ("train", GOOD + b'{"text": "\xe9", "label": "no"}', "train.jsonl, line 2, byte 39: not UTF-8"),
    "empty": ("heldout", b"\n", "heldout.jsonl has no examples"),
    "one label": ("train", GOOD, "has one label, 'no'"),
}


@pytest.mark.parametrize("fault", MALFORMED)
def test_a_malformed_file_is_one_line_with_its_place(fault, jsonl, tmp_path):
    split, content, message = MALFORMED[fault]
    (tmp_path / f"{split}.jsonl").write_bytes(content)
    with pytest.raises(UserError) as told:
        tasks.read(jsonl)
    assert message in str(told.value) and "\n" not in str(told.value) and len(str(told.value)) < 800


OWN = {
    "integers in JSON": (
        ".jsonl", '{"text": "a", "label": %s}\n', (10, 9, -1, 2), ("-1", "2", "9", "10")),
    "integers in words": (".jsonl", '{"text": "a", "label": "%s"}\n', (10, 9, 2), ("2", "9", "10")),
    "some integers": (".jsonl", '{"text": "a", "label": %s}\n', (10, 9, '"b"'), ("10", "9", "b")),
    "booleans": (".jsonl", '{"text": "a", "label": %s}\n', ("true", "false"), ("false", "true")),
    "cells": (".csv", "%s,a\n", ("1.5", 10, 9), ("1.5", "10", "9")),
    "quoted cells": (".csv", '"%s",a\n', ("no, never", 'a ""b""', "c\td"), ('a "b"', "c\td", "no, never")),
    "cells between tabs": (".tsv", "%s\ta\n", (3, 20, 1), ("1", "3", "20")),
    "cells with quotes and line breaks that are text": (".tsv", "%s\ta\n", ('"a', "b\x85c\u2028", "\x0b"), ("\x0b", '"a', "b\x85c\u2028")),
}  # fmt: skip


@pytest.mark.parametrize("case", OWN)
def test_labels_are_texts_or_numbers_in_their_order(case, tmp_path, smoke_config):
    suffix, line, given, labels = OWN[case]
    header = {".csv": "label,text\n", ".tsv": "label\ttext\r\n"}.get(suffix, "")
    for split in ("train", "heldout"):
        content = "\ufeff" + header + "".join(line % label for label in given)
        (tmp_path / f"{split}{suffix}").write_bytes(content.encode())
    config = smoke_config(("data.examples", "task"), ("task.name", "jsonl"), ("task.folder", str(tmp_path)))
    read = tasks.read(config)
    assert read.labels == labels
    spelt = {".jsonl": lambda label: label.strip('"'), ".csv": lambda label: label.replace('""', '"'), ".tsv": str}[
        suffix
    ]
    assert [read.labels[one.label] for one in read.splits["heldout"]] == [spelt(str(label)) for label in given]
    assert {one[:2] for one in read.splits["train"]} == {("a", None)}


def test_fields_of_other_names_are_told_by_a_flag(jsonl, tmp_path):
    for split in ("train", "heldout"):
        (tmp_path / f"{split}.jsonl").unlink()
        lines = "sentence\tother\tgold\tid\na\t\tyes\t7\nb\tc\tno\t8\n"
        (tmp_path / f"{split}.tsv").write_text(lines)
    with pytest.raises(UserError, match="train.tsv, line 2: no column 'text'; there are: sentence, other, gold, id; give its "
                                        "name with --config.task.fields=text=NAME"):  # fmt: skip
        tasks.read(jsonl)
    flag = command_line._ListParser()
    jsonl.task.fields = flag.parse("text=sentence,text2=other,label=gold")
    assert tasks.read(jsonl).splits["heldout"] == [Example("a", None, 1), Example("b", "c", 0)]
    # What augments is ours, with our names.
    jsonl.task.augmented = str(tmp_path / "more.jsonl")
    tasks.write_examples(jsonl.task.augmented, [Example("d", None, 1)], ("no", "yes"))
    assert tasks.read(jsonl).splits["train"] == [Example("d", None, 1)]
    jsonl.task.augmented = ""
    for fields, message in [
        ("txt=sentence", "unknown key in task.fields 'txt'; did you mean 'text'"),
        ("text", "task.fields has 'text': say what the files call it, as in text=NAME"),
        (
            "text=sentence,text2=othr,label=gold",
            "line 2: no column 'othr'; there are: sentence, other, gold, id; give its",
        ),
    ]:
        jsonl.task.fields = flag.parse(fields)
        with pytest.raises(UserError, match=message):
            tasks.read(jsonl)
    jsonl.task.update(name="rte", fields=("text=a",))
    with pytest.raises(UserError, match="task.fields is for task 'jsonl': the files of 'rte' have fields of their own"):
        tasks.read(jsonl)


def test_a_missing_split_says_what_to_do(jsonl, tmp_path):
    (tmp_path / "heldout.jsonl").rename(tmp_path / "dev.jsonl")
    with pytest.raises(UserError) as told:
        tasks.read(jsonl)
    assert str(told.value) == (
        f"there is no heldout.jsonl in {tmp_path}, nor heldout.csv or heldout.tsv, only: dev.jsonl, train.jsonl; a run is "
        "measured on examples that it is not trained on: rename the file that has them, or move some lines of the training "
        "file there, such as every tenth"
    )
    (tmp_path / "dev.jsonl").rename(tmp_path / "heldout.jsonl")
    (tmp_path / "heldout.csv").write_text("text,label\na,no\n")
    with pytest.raises(UserError, match="has heldout.jsonl and heldout.csv: leave one of them there"):
        tasks.read(jsonl)


def test_a_sample_of_the_training_examples_depends_on_nothing_but_their_texts(jsonl, tmp_path):
    numbers = np.arange(40)

    def read(most, order=numbers, seed=0):
        lines = [{"text": f"number {n}", "label": str(n % 4)} for n in order]
        write_lines(tmp_path / "train.jsonl", lines)
        write_lines(tmp_path / "heldout.jsonl", [{"text": "Sun", "label": "3"}] * 9)
        jsonl.update_from_flattened_dict({"data.max_examples": most, "seed": seed})
        return tasks.read(jsonl)

    whole, ten, four = read(0), read(10), read(4)
    assert [len(one.splits["train"]) for one in (whole, ten, four)] == [40, 10, 4]
    assert ten.splits["train"] == [one for one in whole.splits["train"] if one in ten.splits["train"]]
    assert set(four.splits["train"]) < set(ten.splits["train"]) and len(ten.splits["heldout"]) == 9
    assert set(read(10, numbers[::-1], seed=7).splits["train"]) == set(ten.splits["train"])
    # Not the first ones: a file may be sorted by its labels.
    assert ten.splits["train"] != whole.splits["train"][:10] and len({one.label for one in ten.splits["train"]}) == 4
    places = dict(zip(whole.splits["train"], whole.places["train"], strict=True))
    assert ten.places["train"] == [places[one] for one in ten.splits["train"]]
    assert ten.notes["train"] == ["a sample of 40, chosen by a hash of their texts"] and whole.notes == {}
    assert read(40).splits == read(100).splits == whole.splits
    jsonl.task.inputs, jsonl.task.epochs, jsonl.batch_size = "bert", 3.0, 5
    read(10)
    assert tasks.resolve(jsonl).steps == 6
    for changes, message in (
        ({"data.max_examples": -1}, "data.max_examples=-1: at least 0"),
        ({"data.max_examples": 5, "data.examples": "pairs"}, "data.max_documents is of a corpus"),
    ):
        jsonl.update_from_flattened_dict(changes)
        with pytest.raises(UserError, match=message):
            tasks.resolve(jsonl)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"task.name": "topic"}, "unknown task.name 'topic'; did you mean 'topics'"),
        ({"task.folder": ""}, "task.folder is empty: it says where train.jsonl and heldout.jsonl are"),
        (
            {"task.folder": "/nowhere"},
            r'no train.jsonl in /nowhere, nor train.csv or train.tsv; its lines are {"text": ',
        ),
        ({"task.augmented": "/nowhere.jsonl"}, "there is no file /nowhere.jsonl"),
        ({"task.name": "topics", "data.heldout": 0.0}, "no examples in its split 'heldout'"),
    ],
)
def test_what_is_not_there_is_refused(changes, message, jsonl):
    jsonl.update_from_flattened_dict(changes)
    with pytest.raises(UserError, match=message):
        tasks.read(jsonl)


def test_topics_hold_out_what_pre_training_holds_out(smoke_config):
    config = smoke_config()  # a config that pre-trains
    prepared = Path(tokens.prepare(config.data))
    tokenizer = tokenizer_files.load(prepared / "tokenizer.json")
    task = tasks.read(config)
    for split, examples in task.splits.items():
        store = tokens.Store(prepared, split)
        assert len(store.documents) - 1 == len(examples)
        for number, example in enumerate(examples):
            ids = tokenizer.encode(example.text, add_special_tokens=False).ids
            assert np.concatenate(store.document(number)).tolist() == ids
    labels = [example.label for example in task.splits["train"]]
    assert len(task.labels) == 12 and set(labels) == set(range(12))
    assert all(example.text2 is None for example in task.splits["train"])


def test_topics_have_no_text_twice_and_none_without_text(monkeypatch, smoke_config):
    class Corpus(list):
        features = {"topic": SimpleNamespace(names=["a", "b"])}

    texts = [f"text {number % 40}" + " " * (number // 40) for number in range(60)] + [" \n"]
    corpus = Corpus({"text": text, "topic": number % 2} for number, text in enumerate(texts))
    monkeypatch.setattr(corpora, "open_corpus", lambda name, root: corpus)
    splits = tasks.read(smoke_config(("data.heldout", 0.5), ("data.max_documents", 0))).splits
    read = splits["train"] + splits["heldout"]
    assert sorted(example.text for example in read) == sorted(texts[:40])
    assert all(example.label == int(example.text[5:]) % 2 for example in read)


def test_a_run_tells_where_what_is_cut_or_left_out_is(tmp_path, smoke_config):
    header = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n"
    row = "9\t1\t2\t{}\t{}\t1\n".format
    train, dev = (tmp_path / f"{name}.tsv" for name in ("train", "dev"))
    train.write_text(header + row("7 7", "8 8") + "9\t1\n" + row("7 " * 5, "8 " * 4) + row("7 " * 9, "8 " * 9))
    dev.write_text(header + row("7 7 7", "8 8 8 8"))  # with three special tokens just 10
    config = smoke_config(("data.examples", "task"), ("task.name", "qqp"), ("task.folder", str(tmp_path)))
    lines = list(tasks.report(tasks.open_stores(config, Numbers()), VOCABULARY, {10, 21}))
    assert lines == [
        f"train: 3 examples, 2 cut to the length of 10 (the first: {train}, line 4, 12 tokens), "
        f"left out: 1 lines with too few columns (the first: {train}, line 3), "
        "none labelled not_duplicate",
        "heldout: 1 examples, none labelled not_duplicate",
    ]
    config.task.inputs = "doubled"
    assert tasks.read(config).places["train"] == [f"{train}, line {number}" for number in (2, 4, 5)] * 2
    config.task.augmented = str(tmp_path / "more.jsonl")
    lines = [{"text": "7", "label": "duplicate"}, {"text": "7", "text2": "8", "label": "duplicate"}]
    write_lines(tmp_path / "more.jsonl", lines)
    read, more = tasks.read(config), tmp_path / "more.jsonl"
    assert read.places["train"] == [f"{more}, line {number}" for number in (1, 3, 3)] and read.notes == {"heldout": []}


def test_the_config_is_resolved_in_a_copy(jsonl):
    jsonl.task.epochs = 8.0
    jsonl.lock()
    resolved = tasks.resolve(jsonl)
    assert resolved.task.labels == ("maybe", "no", "yes")
    assert (resolved.task.classes, resolved.steps) == (3, 3)  # 8 passes over 3 examples are 3 batches of 8
    assert (jsonl.task.classes, jsonl.steps) == (0, 20) and resolved.is_locked
    jsonl.task.epochs = 0.01
    assert tasks.resolve(jsonl).steps == 1
    jsonl.task.epochs = 0.0
    assert tasks.resolve(jsonl).steps == 20
    jsonl.data.examples = "pairs"
    assert tasks.resolve(jsonl) is jsonl


class Numbers:
    """A tokenizer of texts like '5 7 60': a word is its own id."""

    def get_vocab_size(self):
        return VOCABULARY.size

    def encode_batch_fast(self, texts, add_special_tokens):
        assert not add_special_tokens
        return [SimpleNamespace(ids=[int(word) for word in text.split()]) for text in texts]


def make_store(number=23, seed=0, pairs=True):
    """A TaskStore of so many examples, and its texts as lists of tokens."""
    rng = np.random.default_rng(seed)
    texts = []
    for n in range(number):
        kinds = (rng.integers(1, 30), 0 if n % 3 or not pairs else rng.integers(1, 30))
        texts.append([list(map(int, rng.integers(5, VOCABULARY.size, size))) for size in kinds])
    spell = [" ".join(map(str, text)) for pair in texts for text in pair]
    examples = [Example(a, b or None, n % 4) for n, (a, b) in enumerate(zip(spell[::2], spell[1::2], strict=True))]
    return tasks.TaskStore(examples, Numbers()), texts


def run_classifier_row(a, b, length):
    """Tokens and segments of an example as BERT's run_classifier.py makes them, one token at a time."""
    a, b = list(a), list(b)
    if b:
        while len(a) + len(b) > length - 3:
            (a if len(a) > len(b) else b).pop()
    else:
        a = a[: length - 2]
    row, segments = [START, *a, SEPARATOR], [0] * (len(a) + 2)
    if b:
        row, segments = [*row, *b, SEPARATOR], [*segments, *[1] * (len(b) + 1)]
    padding = length - len(row)
    return row + [PAD] * padding, [1] * len(row) + [0] * padding, segments + [0] * padding


@pytest.mark.parametrize("length", [5, 6, 20, 64])
def test_rows_are_cut_as_run_classifier_cuts_them(length):
    store, texts = make_store(60)
    evaluation = batches.TaskEvaluation(store, VOCABULARY, length, 60)
    batch = evaluation(0)
    for n, (a, b) in enumerate(texts):
        row = [batch[name][n].tolist() for name in ("tokens", "mask", "segments")]
        assert row == list(map(list, run_classifier_row(a, b, length))), (a, b)
    assert batch["label"].tolist() == [n % 4 for n in range(60)] and not batch["pair"].any()
    assert {name: array.dtype for name, array in batch.items()} == {
        "tokens": np.int32, "mask": bool, "segments": np.int32, "pair": np.int32, "index": np.int32, "label": np.int32
    }  # fmt: skip


def test_texts_are_tokenised_in_blocks_without_a_trace():
    store, texts = make_store(5000)  # more than one block
    assert store.tokens.dtype == np.uint16 and len(store) == 5000
    assert np.split(store.tokens, store.edges[1:-1])[-2].tolist() == texts[-1][0]
    assert store.tokens.tolist() == [token for pair in texts for text in pair for token in text]
    again, _ = make_store(5000)
    other, _ = make_store(5000, seed=1)
    assert store.content_hash == again.content_hash != other.content_hash
    again.labels[0] += 1
    again.__dict__.pop("content_hash")
    assert store.content_hash != again.content_hash


def test_training_sees_each_example_once_an_epoch_whatever_the_step_it_starts_from():
    store, texts = make_store(24)
    make = lambda **phase: batches.TaskBatches(store, VOCABULARY, 64, 8, seed=3, **phase)  # noqa: E731
    batch = make()
    first = {tuple(text[0]): n for n, text in enumerate(texts)}

    def drawn(batch):
        return [first[tuple(row[1 : row.tolist().index(SEPARATOR)])] for row in batch["tokens"]]

    epochs = [sum((drawn(batch(3 * epoch + step)) for step in range(3)), []) for epoch in range(2)]
    assert all(sorted(epoch) == list(range(24)) for epoch in epochs) and epochs[0] != epochs[1] != sorted(epochs[1])
    for step in (5, 0, 4):  # in any order, in parts, by a new object, in a later phase
        whole, later = batch(step), make(first_step=2, first_example=16)
        assert whole["index"].tolist() == list(range(8 * step, 8 * step + 8))
        assert whole["label"].tolist() == [store.labels[n] for n in drawn(whole)]
        for other in (make()(step), *([later(step)] if step >= 2 else [])):
            jax.tree.map(np.testing.assert_array_equal, whole, other)
        part = batch(step, slice(2, 5))
        jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[2:5], b), whole, part)


def test_evaluation_shows_each_example_once_and_fills_up_with_padding():
    store, texts = make_store(21)
    evaluation = batches.TaskEvaluation(store, VOCABULARY, 64, 8)
    assert evaluation.steps == 3
    whole = jax.tree.map(lambda *parts: np.concatenate(parts), *map(evaluation, range(3)))
    assert whole["index"].tolist() == list(range(24))
    assert whole["mask"].any(1).tolist() == [True] * 21 + [False] * 3
    assert whole["tokens"][:21].tolist() == [run_classifier_row(a, b, 64)[0] for a, b in texts]
    for name in ("tokens", "mask", "segments", "label"):
        assert not whole[name][21:].any()  # PAD is 0
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[13:16], b), whole, evaluation(1, slice(5, 8)))


def test_scores_are_kept_as_they_are():
    examples = [Example("5 6", "7", 2.75), Example("8", None, float("nan"))]
    store = tasks.TaskStore(examples, Numbers(), np.float32)
    label = batches.TaskEvaluation(store, VOCABULARY, 8, 4)(0)["label"]
    assert label.dtype == np.float32 and label[0] == 2.75 and np.isnan(label[1]) and not label[2:].any()
    mask = np.array([[True], [True], [True], [False]])
    term = objectives.regress({"class_logits": jnp.full((4, 1), 3.0)}, {"label": label, "mask": mask})
    assert (float(term.sum), float(term.weight)) == (0.25**2 + 3.0**2, 2)  # NaN counts for nothing


@pytest.mark.parametrize("length", [6, 16, 64])
def test_each_choice_is_a_row_cut_as_a_pair_is(length):
    random = np.random.default_rng(0)
    texts = [[random.integers(5, VOCABULARY.size, random.integers(1, 20)).tolist() for _ in range(4)] for _ in range(9)]
    spelt = [[" ".join(map(str, text)) for text in one] for one in texts]
    examples = [Choice(one[0], tuple(one[1:]), n % 3) for n, one in enumerate(spelt)]
    evaluation = batches.TaskEvaluation(tasks.ChoiceStore(examples, Numbers(), 3), VOCABULARY, length, 4)
    whole = jax.tree.map(lambda *parts: np.concatenate(parts), *map(evaluation, range(evaluation.steps)))
    assert whole["tokens"].shape == whole["mask"].shape == whole["segments"].shape == (12, 3, length)
    assert whole["label"].tolist() == [*(n % 3 for n in range(9)), 0, 0, 0] and not whole["mask"][9:].any()
    long = set()
    for n, (first, *choices) in enumerate(texts):
        for c, choice in enumerate(choices):
            row = [whole[name][n, c].tolist() for name in ("tokens", "mask", "segments")]
            assert row == list(map(list, run_classifier_row(first, choice, length)))
            long |= {n} if len(first) + len(choice) > length - 3 else set()
    assert evaluation.examples.cut == len(long)


def test_choices_of_one_text_stay_together():
    """However a batch is cut, the loss is over an example's own choices."""
    mask = np.arange(4) < np.array([[4, 2, 3], [1, 4, 2]])[..., None]
    batch = {"tokens": np.arange(24).reshape(2, 3, 4), "mask": mask, "label": np.array([2, -1])}
    flat = flatten_choices(batch)
    assert flat["tokens"].tolist() == np.arange(24).reshape(6, 4).tolist() and flat["label"] is batch["label"]
    assert flatten_choices(flat) is flat
    logits = np.array([1.0, 2.0, 4.0, 9.0, 9.0, 9.0])
    term = objectives.choose({"choice_logit": jnp.array(logits)}, flat)
    assert float(term.weight) == 1  # nobody tells the second's label
    assert float(term.sum) == pytest.approx(np.log(np.exp(logits[:3]).sum()) - 4)
    told = corruption.next_tokens(batch)
    assert told["weights"].sum() == (mask.sum(-1) - 1).sum()
    for name in ("targets", "weights"):  # the same as row by row
        np.testing.assert_array_equal(flatten_choices(told)[name], corruption.next_tokens(flat)[name])


class Halves(Numbers):
    """Of words in letters, too: the first two, then all others; of '-' nothing."""

    def encode_batch(self, texts, add_special_tokens):
        parts = [[m.span() for m in re.finditer(r"(?<!\S)\w{1,2}|(?<=\w)\w+", text)] for text in texts]
        return [SimpleNamespace(ids=[5 + end - start for start, end in spans], offsets=spans) for spans in parts]

    encode_batch_fast = encode_batch


def test_a_words_first_token_has_its_label():
    examples = [Words(("Angela", "-", "of", "Bonn"), (1, 2, 0, 3)), Words(("x",), (4,))]
    store = tasks.WordStore(examples, Halves())
    assert store.lost == 1 and len(store) == 2 and [first.tolist() for first in store.first] == [[0, -1, 2, 3], [0]]
    batch = batches.TaskEvaluation(store, VOCABULARY, 8, 3)(0)
    assert batch["tokens"][:2].tolist() == [
        [START, 7, 9, 7, 7, 7, SEPARATOR, PAD], [START, 6, SEPARATOR, *[PAD] * 5],
    ]  # fmt: skip
    assert batch["token_label"][:2].tolist() == [[-1, 1, -1, 0, 3, -1, -1, -1], [-1, 4, *[-1] * 6]]
    out = {"token_class_logits": jnp.zeros((3, 8, 5))}
    assert float(objectives.classify_tokens(out, batch).weight) == 4  # the row that fills up has none
    short = batches.TaskEvaluation(store, VOCABULARY, 5, 2)
    assert short(0)["token_label"][0].tolist() == [-1, 1, -1, 0, -1] and short.examples.cut == 1
    assert list(tasks.report({"train": store}, VOCABULARY, {8, 5})) == [
        "train: 2 examples, 1 cut to the length of 5 (the first: example 0, 7 tokens), 1 labels of words that the "
        "tokenizer makes no token of",
    ]


def test_words_are_read_in_their_document():
    """BERT, section 5.3: as much of the document as fits, equally on both sides; only the sentence has labels."""
    documents = (("A", "bcd"), ("efgh",), ("ij", "kl")), (("m",),)
    examples = [Words(words, tuple(range(1, 1 + len(words))), document, place)
                for document in documents for place, words in enumerate(document)]  # fmt: skip
    a, b, c, m = ([one.ids for one in Halves().encode_batch([" ".join(one.words)], False)][0] for one in examples)
    labels = {1: [1, -1], 2: [1, 2], 3: [1], 0: [1, 2, -1]}  # of tokens
    order, parts = (1, 2, 3, 0), ((a, b, c), (a + b, c, []), ([], m, []), ([], a, b + c))
    store = tasks.WordStore([examples[n] for n in order], Halves(), context="document")  # a sample, in another order
    for length in range(3, 14):
        rows = store.rows(VOCABULARY, length)
        made, before = rows(np.arange(4)), rows.before(np.arange(4))
        for n, (left, own, right) in enumerate(parts):
            row, own_labels, skipped = own[: length - 2], labels[order[n]][: length - 2], 0
            while len(row) < length - 2 and (left or right):  # one from each side in turn
                if right:
                    row, right = row + right[:1], right[1:]
                if left and len(row) < length - 2:
                    row, left, skipped = left[-1:] + row, left[:-1], skipped + 1
            row = [START, *row, SEPARATOR]
            assert made["tokens"][n].tolist() == row + [PAD] * (length - len(row))
            assert made["mask"][n].sum() == len(row) and before[n] == skipped
            told = [-1] * (1 + skipped) + own_labels
            assert made["token_label"][n].tolist() == told + [-1] * (length - len(told))
    with pytest.raises(UserError, match="example 1: task.context=document, and no -DOCSTART- .* task.context=sentence"):
        tasks.WordStore([examples[0], Words(("x",), (1,))], Halves(), context="document")


@pytest.mark.parametrize(
    "task, changes, message",
    [
        ("stsb", {"losses.classify": 1.0}, "classify needs a task of classification, and task.name=stsb is one of regression: set losses.regress"),
        ("squad", {"losses.choose": 1.0}, "choose needs a task of choices, and task.name=squad is one of spans: set losses.span"),
        ("copa", {"data.examples": "pairs"}, "losses.choose needs a task of choices: set data.examples=task"),
        ("copa", {"corruption.rate": 0.15, "losses.mlm": 1.0}, "choose reads several texts .* set corruption.rate=0"),
        ("copa", {"teacher.cache": "x"}, "teacher.cache keeps .* choices have several"),
        ("squad2", {"losses.answerable": 0.5}, "losses.answerable goes with losses.joint_span"),
        ("squad2", {"losses.span": 0.0, "losses.joint_span": 1.0}, "squad2 has some without: set losses.answerable"),
        ("mnli", {"losses.answerable": 0.5}, "answerable needs a task of spans, .* of classification: set losses."),
        ("squad", {"task.stride": 0}, "task.stride=0: at least 1"),
        ("squad", {"task.max_answer": 0}, "task.max_answer=0: at least 1"),
        ("squad", {"task.n_best": 0}, "task.n_best=0: at least 1"),
    ],
)  # fmt: skip
def test_a_loss_asks_for_its_kind_of_task(task, changes, message):
    config = finetune.get_config(f"bert-tiny,{task},smoke")
    config.update_from_flattened_dict(changes)
    with pytest.raises(UserError, match=message) as told:
        check_values(config)
        example_kind(config)
        check(config, plan_phases(config), SimpleNamespace(batch_shards=1))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("task", ["mnli", "stsb", "copa", "squad", "conll2003"])
def test_every_kind_has_its_head(task):
    config = finetune.get_config(f"bert-tiny,{task},smoke")
    config.task.classes = 3
    kind = tasks.TASKS[task].kind
    head = {"mnli": "classes", "stsb": "classes", "copa": "choice", "squad": "span", "conll2003": "token_classes"}[task]
    assert [name for name, weight in config.losses.items() if weight] == [objectives.loss_of(kind)]
    assert example_kind(config) == "task" and build_model(config).heads == (head,)
    params = jax.eval_shape(lambda: initial_params(build_model(config), config.seed))
    own = {"embeddings", "encoder", {"classes": "classifier"}.get(head, head)}
    assert set(params) == own | ({"pooler"} if task in ("mnli", "stsb", "copa") else set())
    # 'features' are there where heads read several layers.
    assert set(config.init.fresh) - {"features"} <= set(params) and not set(config.init.drop) & set(params)


def test_a_tokenizer_without_separators_is_refused():
    store, _ = make_store(3)
    with pytest.raises(UserError, match=r"'task' examples need \[CLS\] and \[SEP\]"):
        batches.evaluation_batches(None, "task", store, VOCABULARY._replace(separator=None), 16, 2, 0)


@pytest.mark.parametrize("kind", ["classes", "spans"])
def test_dropout_comes_before_the_classes(kind):
    config = build_model(finetune.get_config("bert-base,topics,smoke")).config
    assert isinstance(config, TransformerConfig) and config.dropout == 0.1
    if kind == "classes":
        head, x, name = ClassHead(config, 32, dropout=0.1), jnp.ones((50, 32)), "class_logits"
        seen = Seen({"index": np.arange(50)}, {}, pooled=x)
    else:
        head, x, name = SpanHead(config, dropout=0.1), jnp.ones((50, 16, 2)), "span_logits"
        seen = Seen({"index": np.arange(50)}, {}, features=x)
    params = {"params": {"dense": {"kernel": jnp.eye(x.shape[-1]), "bias": jnp.zeros(x.shape[-1])}}}
    np.testing.assert_array_equal(head.apply(params, seen)[name], x)
    dropped = head.apply(params, seen, rngs={"dropout": jax.random.key(0)})[name]
    assert 0.05 < float((dropped == 0).mean()) < 0.15
    np.testing.assert_allclose(dropped[dropped > 0], 1 / 0.9, rtol=1e-4)


@pytest.mark.parametrize("paper", finetune.PAPERS)
def test_every_papers_model_can_be_tuned(paper, data_root):
    config = finetune.get_config(f"{paper}-demo,topics,smoke")
    config.data.root = data_root
    language = ("clm",) if config.model.causal else ()  # GPT-1's auxiliary objective (section 3.2)
    assert {name: weight for name, weight in config.losses.items() if weight} == {"classify": 1.0} | dict.fromkeys(
        language, 0.5
    )
    assert example_kind(config) == "task" and not masks(config)
    assert (config.teacher.runs, config.init.run, config.init.layers) == ((), "", ())
    phases = plan_phases(config)
    assert [(phase.first, phase.last, phase.length, phase.batch_size) for phase in phases] == [(0, 20, 64, 8)]
    model = build_model(tasks.resolve(config))
    assert (model.heads, model.options.classes, model.options.activation, model.generator) == (
        ("classes", *language),
        12,
        "none",
        None,
    )
    # The trunk, the language model, and per sequence the pooler and the classes.
    plain = flops.flops_per_token(model.clone(heads=language), 64, 0)
    assert flops.flops_per_token(model, 64, 0) == pytest.approx(plain + 6 * 12 * 32 / 64)


def test_a_rate_of_zero_leaves_the_batch_as_it_is(smoke_config):
    config = smoke_config(("corruption.rate", 0.0), ("losses.mlm", 0.0))
    batch = dummy_batch()
    assert make_corrupt(config, VOCABULARY)(batch) is batch
    assert predictions_per_sequence(config, 64) == 0
    config.model.vocab_size = VOCABULARY.size
    check_vocabulary(config, VOCABULARY._replace(mask=None))
    config.corruption.rate = 0.15
    with pytest.raises(UserError, match="no token for mask"):
        check_vocabulary(config, VOCABULARY._replace(mask=None))


def test_a_task_is_learned_through_the_real_entry_point(data_root, tmp_path):
    words = {"city": ["london", "paris", "rome"], "number": ["one", "seven", "three"]}
    lines = [{"text": f"it is {word} .", "label": label} for label in words for word in words[label]]
    write_lines(tmp_path / "train.jsonl", lines)
    write_lines(tmp_path / "heldout.jsonl", lines[::2])  # three lines of a batch of four
    config = finetune.get_config("bert-tiny,jsonl,smoke")
    changes = {"task.folder": str(tmp_path), "data.root": data_root, "task.epochs": 20.0, "batch_size": 4}
    changes |= {"optimizer.learning_rate": 1e-2, "run.evaluate_every": 100, "run.log_every": 15}
    changes |= {"model.layers": 1, "model.dropout": 0.0, "model.attention_dropout": 0.0}
    config.update_from_flattened_dict(changes)
    result = loop.train(config, tmp_path / "run")
    assert result["step"] == 30 and result["classify_accuracy"] == 1 and result["loss"] == result["classify_loss"] < 0.3
    assert result["accuracy"] == result["macro_f1"] == result["score"] == 1
    written = (tmp_path / "run/predictions-heldout.tsv").read_text()
    assert written == "index\tprediction\tlabel\n0\tcity\tcity\n1\tcity\tcity\n2\tnumber\tnumber\n"
    run = load_run(tmp_path / "run")
    assert (run.config.task.classes, list(run.config.task.labels), run.config.steps) == (2, ["city", "number"], 30)
    batch = predict.one_example(run.vocabulary, run.tokenizer.encode("it is rome .", add_special_tokens=False).ids)
    logits = run.model.apply({"params": run.params}, batch)["class_logits"]
    assert logits.shape == (1, 2) and logits[0, 0] > logits[0, 1]
    assert describe(config)["parts"]["classifier"] == 32 * 2 + 2

    # Other examples are another run; where they lie is not.
    prepared = Path(tokens.prepare(config.data))
    decide = lambda: make_fingerprint(config, prepared, tasks.open_stores(config, run.tokenizer))  # noqa: E731
    before = decide()
    config.task.augmented = str(tmp_path / "more.jsonl")
    write_lines(tmp_path / "more.jsonl", lines)
    assert decide() == before
    write_lines(tmp_path / "more.jsonl", lines[1:])
    assert decide() != before


def test_choices_are_learned_through_the_real_entry_point(data_root, tmp_path):
    """On two devices and in two micro-batches: an example's choices are never parted."""
    words = ["london", "paris", "rome"], ["one", "seven", "three"]
    lines = []
    for pair in zip(*words, strict=True):
        for label in (0, 1):
            first, second = pair if label == 0 else pair[::-1]
            line = {"premise": "it is a city .", "question": "cause", "choice1": first, "choice2": second}
            lines.append(line | {"label": label})
    for name in ("train", "val"):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    config = finetune.get_config("bert-tiny,copa,smoke")
    changes = {"task.folder": str(tmp_path), "data.root": data_root, "batch_size": 4, "steps": 40, "run.accumulate": 2}
    changes |= {"optimizer.learning_rate": 1e-2, "run.evaluate_every": 100, "run.log_every": 15, "parallel.devices": 2}
    changes |= {"model.layers": 1, "model.dropout": 0.0, "model.attention_dropout": 0.0, "phases.lengths": (32,)}
    config.update_from_flattened_dict(changes)
    result = loop.train(config, tmp_path / "run")
    assert result["choose_accuracy"] == 1 and result["loss"] == result["choose_loss"] < 0.3
