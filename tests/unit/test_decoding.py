"""Logits over the vocabulary piece by piece: the same losses, metrics and gradients, in less memory."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax import objectives
from ssl_jax.models import decoding
from ssl_jax.models.decoding import Decoding
from ssl_jax.varying import Varying

pytestmark = pytest.mark.slow
B, P, E, V = 4, 10, 6, 23


def made(seed, bias=False, dtype=jnp.float32):
    x, table, row = jax.random.split(jax.random.key(seed), 3)
    x = jax.random.normal(x, (B, P, E)).astype(dtype)
    return Decoding(x, jax.random.normal(table, (V, E)), jax.random.normal(row, (V,)) if bias else None)


def batch():
    random = np.random.default_rng(0)
    weights = random.integers(0, 2, (B, P)).astype(np.float32)
    weights[-1] = 0  # a row that fills up a batch
    targets = random.integers(0, V, (B, P))
    return {"targets": targets, "weights": weights, "mask": weights > 0, "tokens": targets}


def mean_of_sequences(out, batch, **pieces):
    return objectives.clm(out, batch, language_mean="sequences", **pieces)


def distilled(out, batch, **pieces):
    return objectives.soft_targets(out, batch, temperature=2.0, **pieces)


LOSSES = {
    "mlm": ("mlm", objectives.mlm, {}),
    "clm": ("clm", objectives.clm, {}),
    "clm, mean of sequences": ("clm", mean_of_sequences, {}),
    "replaced mlm": ("restored", objectives.replaced_mlm, {}),
    "soft targets of a teacher": ("token", distilled, {"token_decoding": made(1, bias=True)}),
    "soft targets of a cache": (
        "token",
        distilled,
        {
            "token_logits": -jnp.sort(-made(1).logits())[..., :3],
            "token_ids": jnp.argsort(-made(1).logits())[..., :3],
            "token_rest": jax.nn.logsumexp(-jnp.sort(-made(1).logits() / 2)[..., 3:], axis=-1),
        },
    ),
}


@pytest.mark.parametrize("pieces", [2, 3, 100])  # 3 does not divide 10, 100 is more than there are positions
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_by_pieces_is_the_loss_of_all_logits(name, pieces):
    key, loss, teacher = LOSSES[name]

    def value(decoded, **pieces):
        term = loss({f"{key}_decoding": decoded, "teacher": teacher}, batch(), **pieces)
        return 3 * term.sum, term

    def of_logits(decoded):
        term = loss({f"{key}_logits": decoded.logits(), "teacher": teacher}, batch())
        return 3 * term.sum, term

    decoded = made(0, bias="mlm" in name)
    (_, expected), gradient = jax.value_and_grad(of_logits, has_aux=True)(decoded)
    for how in (functools.partial(value, logit_pieces=pieces), value):
        (_, term), own = jax.jit(jax.value_and_grad(how, has_aux=True))(decoded)
        jax.tree.map(
            lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-5, atol=1e-5), (term, own), (expected, gradient)
        )
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-5, atol=1e-5), how(decoded)[1], expected)


def test_members_that_train_together_each_have_their_own_loss():
    tables = jnp.stack([made(seed).table for seed in (0, 5)])

    def loss(table, pieces):
        return objectives.clm({"clm_decoding": made(0)._replace(table=table)}, batch(), logit_pieces=pieces).sum

    whole, cut = (jax.vmap(jax.grad(functools.partial(loss, pieces=pieces)))(tables) for pieces in (1, 4))
    np.testing.assert_allclose(cut, whole, rtol=1e-5, atol=1e-5)

    def distilled(member, pieces):
        temperature = Varying("teacher.temperature", [1.0, 3.0], member)
        out = {"token_decoding": made(0), "teacher": {"token_decoding": made(1)}}
        return objectives.soft_targets(out, batch(), temperature=temperature, logit_pieces=pieces).sum

    whole, cut = (jax.vmap(functools.partial(distilled, pieces=pieces))(np.arange(2)) for pieces in (1, 4))
    np.testing.assert_allclose(cut, whole, rtol=1e-5)
    assert whole[0] != whole[1]


def test_in_bfloat16_the_gradient_of_the_table_is_summed_in_float32():
    def loss(decoded, pieces):
        return objectives.clm({"clm_decoding": decoded}, batch(), logit_pieces=pieces).sum

    exact = jax.grad(loss)(made(0), 1)
    own = jax.grad(loss)(made(0, dtype=jnp.bfloat16), 5)
    assert own.x.dtype == jnp.bfloat16 and own.table.dtype == jnp.float32
    np.testing.assert_allclose(own.table, exact.table, atol=0.02 * np.abs(exact.table).max())


def test_a_loss_that_is_not_finite_stays_so():
    decoded = made(0)
    decoded = decoded._replace(x=decoded.x.at[0, 0].set(jnp.nan))
    assert np.isnan(objectives.clm({"clm_decoding": decoded}, batch(), logit_pieces=2).sum)


def test_pieces_follow_from_the_size_of_the_logits():
    few = Decoding(np.zeros((8, 128, 1)), np.zeros((50_257, 1)))
    many = few._replace(x=np.zeros((8, 256, 1)))  # 412 MB
    assert decoding.pieces_of(few, 0) == 1 and decoding.pieces_of(many, 0) == decoding.PIECES
    assert decoding.pieces_of(few, 5) == 5 and decoding.pieces_of(few._replace(x=np.zeros((8, 3, 1))), 5) == 3


def test_pieces_take_less_memory():
    shapes = Decoding(jnp.zeros((8, 64, 16)), jnp.zeros((4096, 16)))
    targets = {"targets": np.zeros((8, 64), int), "weights": np.ones((8, 64), np.float32)}

    def temporary(pieces):
        def loss(decoded):
            return objectives.clm({"clm_decoding": decoded}, targets, logit_pieces=pieces).sum

        return jax.jit(jax.grad(loss)).lower(shapes).compile().memory_analysis().temp_size_in_bytes

    logits = 4 * 8 * 64 * 4096
    assert temporary(1) >= logits and temporary(8) < logits / 2
