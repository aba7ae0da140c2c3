"""Terms are sums and weights: their parts add up, and what does not count changes nothing."""

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax import objectives


def example(rows=6, predictions=5, size=11):
    random = np.random.default_rng(0)
    out = {
        "mlm_logits": jnp.asarray(random.normal(size=(rows, predictions, size)) * 3),
        "pair_logits": jnp.asarray(random.normal(size=(rows, 2))),
    }
    batch = {
        "targets": random.integers(0, size, (rows, predictions)),
        "weights": random.integers(0, 2, (rows, predictions)).astype(np.float32),
        "pair": random.integers(0, 2, rows),
        "mask": np.ones((rows, 4), bool),
    }
    batch["mask"][-1] = False  # a row that fills up a batch
    return out, batch


def test_masked_lm_is_the_mean_negative_log_probability_of_the_targets():
    out, batch = example()
    term = objectives.mlm(out, batch)
    losses, correct = [], []
    for row, place in np.argwhere(batch["weights"]):
        logits = np.asarray(out["mlm_logits"][row, place], np.float64)
        probabilities = np.exp(logits) / np.exp(logits).sum()
        losses.append(-np.log(probabilities[batch["targets"][row, place]]))
        correct.append(logits.argmax() == batch["targets"][row, place])
    np.testing.assert_allclose(term.sum / term.weight, np.mean(losses), rtol=1e-5)
    total, weight = term.metrics["accuracy"]
    np.testing.assert_allclose(total / weight, np.mean(correct))
    assert weight == term.weight == len(losses)


def test_rows_of_padding_do_not_count_in_the_pair_loss():
    out, batch = example()
    whole = objectives.pair(out, batch)
    real = objectives.pair({"pair_logits": out["pair_logits"][:-1]}, {k: v[:-1] for k, v in batch.items()})
    jax.tree.map(np.testing.assert_allclose, whole, real)
    assert whole.weight == 5


def test_the_parts_of_a_batch_add_up_to_the_whole():
    out, batch = example()
    for objective in objectives.OBJECTIVES.values():
        whole = objective(out, batch)
        parts = [
            objective({k: v[rows] for k, v in out.items()}, {k: v[rows] for k, v in batch.items()})
            for rows in (slice(0, 1), slice(1, 6))
        ]
        jax.tree.map(lambda a, b, c: np.testing.assert_allclose(a + b, c, rtol=1e-5), *parts, whole)


def test_cross_entropy_survives_large_logits():
    logits = jnp.asarray([[1e4, 0.0, -1e4]])
    np.testing.assert_allclose(objectives.cross_entropy(logits, jnp.asarray([0])), 0, atol=1e-6)
    np.testing.assert_allclose(objectives.cross_entropy(logits, jnp.asarray([1])), 1e4)
    half = objectives.cross_entropy(logits.astype(jnp.bfloat16), jnp.asarray([0]))
    assert half.dtype == jnp.float32
