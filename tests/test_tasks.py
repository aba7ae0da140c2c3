"""Tasks are read as they are written, cut as BERT cuts them, and go through the one loop."""

import json
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import finetune
from ssl_jax import flops, predict, runs, tokenizers
from ssl_jax import train as loop
from ssl_jax.data import batches, tasks, tokens
from ssl_jax.data.tasks import Example
from ssl_jax.describe import describe
from ssl_jax.errors import UserError
from ssl_jax.models.heads import ClassHead
from ssl_jax.models.model import build_model
from ssl_jax.models.transformer import TransformerConfig
from tests.test_batches import PAD, SEPARATOR, START, VOCABULARY

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
    "a list": ("train", b"[1]", "train.jsonl, line 1: no key 'text'"),
    "unknown label": ("heldout", b'{"text": "a", "label": "ja"}', "heldout.jsonl, line 1: unknown label 'ja'"),
    "text of another type": ("train", b'{"text": 1, "label": "no"}', "line 1: 'text' is not a string"),
    "label of another type": ("train", b'{"text": "a", "label": 1}', "line 1: 'label' is not a string"),
    "second text of another type": ("train", b'{"text": "", "text2": 1, "label": ""}', "'text2' is not a string"),
    "half a pair": ("train", b'{"text": "\\ud800", "label": "no"}', "line 1: half a surrogate pair in 'text'"),
    "Latin-1": ("train", GOOD + b'{"text": "\xe9", "label": "no"}', "train.jsonl, line 2, byte 39: not UTF-8"),
    "empty": ("heldout", b"\n", "no examples in its split 'heldout'"),
    "one label": ("train", GOOD, "has one label, 'no'"),
}


@pytest.mark.parametrize("fault", MALFORMED)
def test_a_malformed_file_is_one_line_with_its_place(fault, jsonl, tmp_path):
    split, content, message = MALFORMED[fault]
    (tmp_path / f"{split}.jsonl").write_bytes(content)
    with pytest.raises(UserError) as told:
        tasks.read(jsonl)
    assert message in str(told.value) and "\n" not in str(told.value)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"task.name": "topic"}, "unknown task.name 'topic'; did you mean 'topics'"),
        ({"task.folder": "/nowhere"}, "there is no file /nowhere/train.jsonl"),
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
    tokenizer = tokenizers.load(prepared / "tokenizer.json")
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
    monkeypatch.setattr(tasks.corpora, "open_corpus", lambda name, root: corpus)
    splits = tasks.read(smoke_config(("data.heldout", 0.5), ("data.max_documents", 0))).splits
    read = splits["train"] + splits["heldout"]
    assert sorted(example.text for example in read) == sorted(texts[:40])
    assert all(example.label == int(example.text[5:]) % 2 for example in read)


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


def test_a_tokenizer_without_separators_is_refused():
    store, _ = make_store(3)
    with pytest.raises(UserError, match=r"'task' examples need \[PAD\], \[CLS\] and \[SEP\]"):
        batches.evaluation_batches(None, "task", store, VOCABULARY._replace(separator=None), 16, 2, 0)


def test_dropout_comes_before_the_classes():
    config = build_model(finetune.get_config("bert-tiny,topics,smoke")).config
    assert isinstance(config, TransformerConfig) and config.dropout == 0.1
    head, pooled = ClassHead(config, 32, dropout=0.1), jnp.ones((50, 32))
    params = {"params": {"dense": {"kernel": jnp.eye(32), "bias": jnp.zeros(32)}}}
    np.testing.assert_array_equal(head.apply(params, pooled), pooled)
    dropped = head.apply(params, pooled, rngs={"dropout": jax.random.key(0)})
    assert 0.05 < float((dropped == 0).mean()) < 0.15
    np.testing.assert_allclose(dropped[dropped > 0], 1 / 0.9, rtol=1e-4)


@pytest.mark.parametrize("paper", finetune.PAPERS)
def test_every_papers_model_can_be_tuned(paper, data_root):
    config = finetune.get_config(f"{paper}-demo,topics,smoke")
    config.data.root = data_root
    language = ("clm",) if config.model.causal else ()  # GPT-1's auxiliary objective (section 3.2)
    assert {name: weight for name, weight in config.losses.items() if weight} == {"classify": 1.0} | dict.fromkeys(language, 0.5)
    assert loop.example_kind(config) == "task" and not loop.masks(config)
    assert (config.teacher.runs, config.init_from, config.init_layers) == ((), "", ())
    phases = loop.plan_phases(config)
    assert [(phase.first, phase.last, phase.length, phase.batch_size) for phase in phases] == [(0, 20, 64, 8)]
    model = build_model(tasks.resolve(config))
    assert (model.heads, model.classes, model.generator) == (("classes", *language), (12, "none", True), None)
    # The trunk, the language model, and per sequence the pooler and the classes.
    plain = flops.flops_per_token(model.clone(heads=language), 64, 0)
    assert flops.flops_per_token(model, 64, 0) == pytest.approx(plain + 6 * 12 * 32 / 64)


def test_a_rate_of_zero_leaves_the_batch_as_it_is(smoke_config):
    config = smoke_config(("corruption.rate", 0.0), ("losses.mlm", 0.0))
    batch = loop.dummy_batch()
    assert loop.make_corrupt(config, VOCABULARY)(batch) is batch
    assert loop.predictions_per_sequence(config, 64) == 0
    config.model.vocab_size = VOCABULARY.size
    loop.check_vocabulary(config, VOCABULARY._replace(mask=None))
    config.corruption.rate = 0.15
    with pytest.raises(UserError, match="no token for mask"):
        loop.check_vocabulary(config, VOCABULARY._replace(mask=None))


def test_a_task_is_learned_through_the_real_entry_point(data_root, tmp_path):
    words = {"city": ["london", "paris", "rome"], "number": ["one", "seven", "three"]}
    lines = [{"text": f"it is {word} .", "label": label} for label in words for word in words[label]]
    write_lines(tmp_path / "train.jsonl", lines)
    write_lines(tmp_path / "heldout.jsonl", lines[::2])  # three lines of a batch of four
    config = finetune.get_config("bert-tiny,jsonl,smoke")
    changes = {"task.folder": str(tmp_path), "data.root": data_root, "task.epochs": 20.0, "batch_size": 4}
    changes |= {"optimizer.learning_rate": 1e-2, "evaluate_every": 100, "log_every": 15}
    changes |= {"model.layers": 1, "model.dropout": 0.0, "model.attention_dropout": 0.0}
    config.update_from_flattened_dict(changes)
    result = loop.train(config, tmp_path / "run")
    assert result["step"] == 30 and result["classify_accuracy"] == 1 and result["loss"] == result["classify_loss"] < 0.3
    assert result["accuracy"] == result["macro_f1"] == result["score"] == 1
    written = (tmp_path / "run/predictions-heldout.tsv").read_text()
    assert written == "index\tprediction\n0\tcity\n1\tcity\n2\tnumber\n"
    run = runs.load_run(tmp_path / "run")
    assert (run.config.task.classes, list(run.config.task.labels), run.config.steps) == (2, ["city", "number"], 30)
    batch = predict.one_example(run.vocabulary, run.tokenizer.encode("it is rome .", add_special_tokens=False).ids)
    logits = run.model.apply({"params": run.params}, batch)["class_logits"]
    assert logits.shape == (1, 2) and logits[0, 0] > logits[0, 1]
    assert describe(config)["parts"]["classifier"] == 32 * 2 + 2

    # Other examples are another run; where they lie is not.
    prepared = Path(tokens.prepare(config.data))
    decide = lambda: loop.decisive(config, prepared, loop.open_stores(config, "task", prepared))  # noqa: E731
    before = decide()
    config.task.augmented = str(tmp_path / "more.jsonl")
    write_lines(tmp_path / "more.jsonl", lines)
    assert decide() == before
    write_lines(tmp_path / "more.jsonl", lines[1:])
    assert decide() != before
