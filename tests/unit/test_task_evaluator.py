"""A task's metrics are those of the logits of all its examples, however they are cut over batches and devices."""

import time
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics

from configs import finetune
from ssl_jax.data import batches
from ssl_jax.evaluators import Mean, Programs, Timing, mean, task, timing
from ssl_jax.models.model import build_model
from ssl_jax.parallel import build_parallel
from ssl_jax.step import every_row, initial_params, make_measure, make_predict
from ssl_jax.tasks import Example, TaskStore
from tests.unit.test_batches import VOCABULARY
from tests.unit.test_tasks import Numbers, make_store

pytestmark = pytest.mark.slow  # compiles programs, or trains

LABELS = ("north", "east", "south", "west")
NUMBER, LENGTH = 23, 16  # of examples: five batches of four, and three more


@pytest.fixture(scope="module")
def world():
    """A config, a model with random parameters, a split of NUMBER examples, and the logits of all of them at once."""
    config = finetune.get_config("bert-tiny,jsonl,smoke")
    config.update(dict(batch_size=4, task=dict(classes=len(LABELS), labels=LABELS), phases=dict(lengths=(LENGTH,))))
    config.model.update(layers=1, vocab_size=VOCABULARY.size)
    model, (store, _) = build_model(config), make_store(NUMBER)
    # Large ones, or all logits would be nearly those of the bias.
    params = jax.jit(lambda: jax.tree.map(lambda x: 20 * x, initial_params(model, config.seed)))()
    batch = batches.TaskEvaluation(store, VOCABULARY, LENGTH, NUMBER)(0)
    logits = jax.jit(lambda params: model.apply({"params": params}, batch)["class_logits"])(params)
    assert len(np.unique(logits.argmax(-1))) > 1
    return config, model, params, store, np.asarray(logits)


def unlabelled(store):
    """The same texts without labels."""
    texts = [" ".join(map(str, store.tokens[a:b])) for a, b in zip(store.edges, store.edges[1:])]
    return TaskStore([Example(*pair, -1) for pair in zip(texts[::2], texts[1::2], strict=True)], Numbers())


def build(world, **parallel):
    """A function that makes evaluators of a split of the world, and the parameters where they run."""
    config, model, params, store, _ = world
    config = config.copy_and_resolve_references()
    config.parallel.update(parallel)
    devices = build_parallel(config.parallel)
    measure, predict = (devices.compile(make(config, model, VOCABULARY)) for make in (make_measure, make_predict))
    stores = {"heldout": store, "test": unlabelled(store)}
    exp = SimpleNamespace(
        config=config, model=model, kind="task", phases=[SimpleNamespace(length=LENGTH)], devices=devices, vocabulary=VOCABULARY,
        stores=stores, attach=lambda part, batch: batch,
    )  # fmt: skip

    def made(module, split="heldout", most=0, options=None):
        return module.Evaluator(exp, Programs(measure, predict), options or Mean(split=split, max_batches=most))

    return made, devices.adopt(params)


def lines(*columns):
    rows = zip(*(list(map(str, own)) for own in columns), strict=True)
    head = "\t".join(("index", "prediction", "label")[: 1 + len(columns)])
    return "".join(f"{line}\n" for line in [head, *("\t".join([str(n), *row]) for n, row in enumerate(rows))])


CUTS = {
    "one": dict(devices=1),
    "two": dict(devices=2),
    "four-sharded": dict(mode="mesh", fsdp=2, tensor=2),
}


@pytest.mark.parametrize("cut", CUTS)
def test_metrics_are_scikit_learns_on_all_examples_however_cut(cut, world, tmp_path):
    *_, store, logits = world
    made, params = build(world, **CUTS[cut])
    found = dict(made(task).run(params, LENGTH, tmp_path))
    guess = logits.argmax(-1)
    assert found["accuracy"] == found["score"] == sklearn.metrics.accuracy_score(store.labels, guess) < 1
    assert found["macro_f1"] == sklearn.metrics.f1_score(store.labels, guess, average="macro", zero_division=0)
    right = [LABELS[n] for n in store.labels]
    assert (tmp_path / "predictions-heldout.tsv").read_text() == lines([LABELS[n] for n in guess], right)
    # What a mean of the objectives says is there too, from the same pass.
    assert found["classify_accuracy"] == pytest.approx(found["accuracy"]) and found["loss"] == found["classify_loss"]
    assert found["classify_chance"] == pytest.approx(found["chance"]) and found["chance"] == store.chance
    expected = sklearn.metrics.log_loss(store.labels, jax.nn.softmax(logits), labels=range(4))
    assert found["loss"] == pytest.approx(expected, rel=1e-4)
    if cut == "two":
        assert dict(made(mean).run(params, LENGTH, tmp_path)) == pytest.approx(
            {name: value for name, value in found.items() if name not in ("accuracy", "chance", "macro_f1", "score")}
        )
        # A test set has predictions alone.
        assert list(made(task, "test").run(params, LENGTH, tmp_path)) == []
        assert (tmp_path / "predictions-test.tsv").read_text() == lines([LABELS[n] for n in guess])
        # As far as it goes.
        found = dict(made(task, most=2).run(params, LENGTH, tmp_path))
        assert found["accuracy"] == (store.labels == guess)[:8].mean()
        assert found["chance"] == np.bincount(store.labels[:8]).max() / 8
        assert (tmp_path / "predictions-heldout.tsv").read_text() == lines([LABELS[n] for n in guess[:8]], right[:8])


def test_timing_reads_a_split_several_times_and_reports_medians(world, monkeypatch):
    *_, store, _ = world
    made, params = build(world, devices=2)
    evaluator = made(timing, options=Timing(batch_size=4, passes=3, max_batches=2))
    # The clock is read before and after each forward pass: batches take 1 and 2, 3 and 30, 5 and 6 seconds.
    clock = iter(np.cumsum([1, 1, 1, 2, 1, 3, 1, 30, 1, 5, 1, 6]).tolist())
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    read, forward = [], evaluator.forward
    monkeypatch.setattr(evaluator, "forward", lambda *given: read.append(given[1]["index"]) or forward(*given))
    assert dict(evaluator.run(params, LENGTH)) == {"seconds_per_pass": 11.0, "milliseconds_per_batch": 4000.0}
    assert next(clock, None) is None and len(read) == 1 + 6  # one to warm up
    np.testing.assert_array_equal(read[1:], [[0, 1, 2, 3], [4, 5, 6, 7]] * 3)


def test_rows_keep_their_places_on_every_device():
    x = np.arange(8 * 3, dtype=np.float32).reshape(8, 3)
    for options in ({"devices": 4}, {"devices": 4, "mode": "mesh"}):
        config = finetune.get_config("bert-tiny,jsonl,smoke").parallel
        config.update(options)
        devices = build_parallel(config)
        rows = devices.compile(lambda state, batch, total, shard: every_row(batch + state, total, shard))
        found = rows(devices.adopt(jnp.ones(())), devices.put_batch(x))
        assert all((np.asarray(shard.data).reshape(8, 3) == x + 1).all() for shard in found.addressable_shards)
