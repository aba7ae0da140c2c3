"""Five steps of decaNLP's recipe (its release's train.py) are those of a plain statement, with an optimizer of its own."""

import functools

import jax
import numpy as np
import optax
import pytest

from ssl_jax import config as schema
from ssl_jax.optimizers import build_optimizer, step_clock
from tests.reference import mqan as plain
from tests.unit.test_mqan import EXTRA, build, flat, make_batch, make_examples, parameters

STEPS, WIDTH, WARMUP = 5, 4000, 3  # a width whose rates, up to 0.009, suit parameters of size 1
SEEDS = (1, 2)  # of the batches, in turn


def recipe():
    """Adam without decay, 1 / sqrt(width) * min(1 / sqrt(i), i / warmup^1.5), gradients clipped to a norm of 1."""
    config = schema.base().optimizer
    config.update(name="adamw", b1=0.9, b2=0.98, epsilon=1e-9, weight_decay=0.0, grad_clip_norm=1.0)
    config.update(schedule="inverse_sqrt", warmup=float(WARMUP), learning_rate=(WIDTH * WARMUP) ** -0.5)
    return config


@pytest.mark.parametrize("row", [0, 3])
def test_five_steps_are_those_of_a_plain_statement(row):
    """Loss, gradients and parameters. The statement is in float64, and its word vectors are no parameters."""
    model, optimizer = build(row), build_optimizer(recipe(), step_clock(100))
    params = parameters(model, 0.3)
    state, theirs = optimizer.init(params), flat(params)
    vectors = theirs.pop("vectors")
    m, v = ({name: np.zeros_like(x) for name, x in theirs.items()} for _ in range(2))
    examples = [make_examples(seed=seed) for seed in SEEDS]

    @jax.jit
    def step(params, state, batch):
        def loss(params):
            words = batch["answer_mask"][:, 1:]
            return -(model.apply({"params": params}, batch)["answer_log_probs"] * words).sum() / words.sum()

        value, gradients = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(gradients, state, params)
        return value, gradients, optax.apply_updates(params, updates), state

    def statement(examples, params):
        return plain.loss(params | {"vectors": vectors}, examples, row=row, extra=EXTRA)

    statements = [jax.jit(jax.value_and_grad(functools.partial(statement, one))) for one in examples]
    for done in range(STEPS):
        turn = done % len(SEEDS)
        loss, gradients, params, state = step(params, state, make_batch(examples[turn], longer=turn))
        with jax.enable_x64(True):
            expected, expected_gradients = jax.tree.map(np.asarray, statements[turn](theirs))
        np.testing.assert_allclose(loss, expected, rtol=2e-5)
        found = flat(gradients)
        assert not found["vectors"].any()
        most = max(abs(g).max() for g in expected_gradients.values())
        if done == 0:
            for name, g in expected_gradients.items():
                np.testing.assert_allclose(found[name], g, rtol=1e-4, atol=1e-5 * most, err_msg=name)
        theirs = plain.adam_step(theirs, expected_gradients, m, v, done, plain.learning_rate(done, WIDTH, WARMUP))
    ends, moved = flat(params), sum(plain.learning_rate(done, WIDTH, WARMUP) for done in range(STEPS))
    np.testing.assert_array_equal(ends.pop("vectors"), np.asarray(parameters(model, 0.3)["vectors"], np.float64))
    for name, p in theirs.items():
        # Adam divides a gradient by its size: where that is near float32's rounding, a step is rounded as much.
        small = np.sqrt(v[name]) < 1e-4 * most
        assert (abs(ends[name] - p)[small] <= moved).all(), name
        np.testing.assert_allclose(ends[name][~small], p[~small], rtol=0, atol=1e-3 * moved, err_msg=name)
