"""BERT's Adam and schedule against a NumPy statement of the original, and parameters chosen by name."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from configs import bert
from ssl_jax.errors import UserError
from ssl_jax.models.model import build_model
from ssl_jax.optimizers import build_optimizer, decayed, path_name, scale_by_bert_adam, schedule
from ssl_jax.train import initial_params
from tests.reference import bert as reference

STEPS = 20


def options(**changes):
    return ConfigDict(
        dict(
            learning_rate=0.3, schedule="linear", warmup=0.2, b1=0.9, b2=0.999, epsilon=1e-6, weight_decay=0.01,
            no_decay="norm|bias", clip=1.0,
        )
        | changes
    )  # fmt: skip


def test_ten_steps_equal_the_originals_adam_clip_decay_and_schedule():
    random = np.random.default_rng(0)
    shapes = {"dense/kernel": (3, 4), "dense/bias": (4,), "norm/scale": (4,), "token": (5, 3)}
    params = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    m = {name: np.zeros(shape) for name, shape in shapes.items()}
    v = {name: np.zeros(shape) for name, shape in shapes.items()}
    ours = {name: jnp.asarray(value) for name, value in params.items()}
    optimizer = build_optimizer(options(), STEPS)
    state = optimizer.init(ours)
    for step in range(10):
        # Every other gradient is longer than 1 and is clipped.
        scale = 3.0 if step % 2 else 0.05
        gradients = {name: (scale * random.normal(size=s)).astype(np.float32) for name, s in shapes.items()}
        updates, state = optimizer.update(gradients, state, ours)
        ours = optax.apply_updates(ours, updates)
        params = reference.adam_weight_decay_step(
            params,
            reference.clip_by_global_norm(gradients, 1.0),
            m,
            v,
            reference.learning_rate(step, 0.3, STEPS, warmup_steps=4),
            decayed={"dense/kernel", "token"},
        )
        for name in shapes:
            np.testing.assert_allclose(ours[name], params[name], rtol=2e-5, atol=1e-6)


def test_the_first_step_is_one_over_0_316_of_optax_adam():
    # m / sqrt(v) = (1 - b1) / sqrt(1 - b2) = 3.162 without bias correction, 1 with it.
    gradient = jnp.asarray([0.5, -2.0])
    ours, _ = (adam := scale_by_bert_adam(0.9, 0.999, 1e-6)).update(gradient, adam.init(gradient))
    theirs, _ = (adam := optax.scale_by_adam(0.9, 0.999, 1e-8)).update(gradient, adam.init(gradient))
    np.testing.assert_allclose(ours / theirs, 0.1 / np.sqrt(0.001), rtol=1e-4)


def test_schedule_starts_at_zero_drops_at_the_end_of_the_warm_up_and_ends_at_zero():
    rate = schedule(options(), STEPS)
    expected = [reference.learning_rate(step, 0.3, STEPS, 4) for step in range(STEPS + 1)]
    np.testing.assert_allclose([rate(step) for step in range(STEPS + 1)], expected, rtol=1e-6, atol=1e-9)
    assert rate(0) == 0 and rate(STEPS) == 0
    assert float(rate(4)) == pytest.approx(0.3 * (1 - 4 / 20))  # not the peak: decay counts from step 0


def test_an_unknown_schedule_is_refused_with_the_choices():
    with pytest.raises(UserError, match="unknown optimizer.schedule 'linaer'; did you mean 'linear'"):
        schedule(options(schedule="linaer"), STEPS)


def test_decay_reaches_matrices_and_tables_and_neither_norms_nor_biases():
    config = bert.get_config("tiny")
    params = jax.eval_shape(lambda: initial_params(config, build_model(config)))
    chosen = {}
    jax.tree_util.tree_map_with_path(
        lambda path, flag: chosen.__setitem__(path_name(path), flag), decayed(params, config.optimizer.no_decay)
    )
    assert {name for name, flag in chosen.items() if flag} == {
        *(f"encoder/embeddings/{name}" for name in ("token", "position", "segment")),
        *(f"encoder/layers/attention/{name}/kernel" for name in ("query", "key", "value", "output")),
        *(f"encoder/layers/ffn/{name}/kernel" for name in ("inner", "output")),
        *(f"{name}/dense/kernel" for name in ("pooler", "mlm", "pair")),
    }
