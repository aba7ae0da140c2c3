"""What the trunk may see, and that its ways of computing are one model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.errors import UserError
from ssl_jax.models.model import Model
from ssl_jax.models.neighbours import attend_to_neighbours
from ssl_jax.models.transformer import Dropout, Transformer, TransformerConfig
from tests.reference.transformers_bert import model_config

LENGTH = 11


def make(reads=(), **changes):
    """A model, its parameters moved off their initial values, and one batch of three rows."""
    model = Model(TransformerConfig(**model_config(**changes)), reads)
    random = np.random.default_rng(0)
    batch = dict(
        tokens=random.integers(0, 61, (3, LENGTH)),
        mask=np.ones((3, LENGTH), bool),
        segments=random.integers(0, 2, (3, LENGTH)),
    )
    params = jax.jit(model.init)(jax.random.key(0), batch)["params"]
    return model, jax.tree.map(lambda x: x + 0.1 * random.normal(size=x.shape).astype(x.dtype), params), batch


def apply(model, params, batch):
    return jax.jit(model.apply)({"params": params}, batch)


def influence(model, params, batch):
    """[S, S]: how far position i of the output depends on the embedding of position j."""

    def encode(embedded):
        return Transformer(model.config).apply({"params": params["encoder"]}, embedded, batch)["encoded"][0]

    embedded = apply(model, params, batch)["embedded"]
    jacobian = jax.jit(jax.jacobian(encode))(embedded)[:, :, 0]
    return np.abs(jacobian).sum((1, 3))


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_a_causal_trunk_sees_itself_and_the_past_alone(norm):
    seen = influence(*make(causal=True, norm=norm))
    assert (seen[~np.tri(LENGTH, dtype=bool)] == 0).all()
    assert (seen[np.tri(LENGTH, dtype=bool)] > 0).all()


def test_a_bidirectional_trunk_sees_everything():
    assert (influence(*make()) > 0).all()


def test_causality_holds_from_the_tokens_on():
    model, params, batch = make(causal=True)
    other = batch | {"tokens": np.concatenate([batch["tokens"][:, :6], (batch["tokens"][:, 6:] + 1) % 61], 1)}
    one, two = (apply(model, params, b)["encoded"] for b in (batch, other))
    np.testing.assert_array_equal(one[:, :6], two[:, :6])
    assert (np.abs(one[:, 6:] - two[:, 6:]).max(-1) > 1e-3).all()


def test_padding_changes_nothing():
    model, params, batch = make(reads=("mlm", "pair"))
    batch["mask"][:, 7:] = False
    short = {name: value[:, :7] for name, value in batch.items()}
    noise = batch | {"tokens": np.where(batch["mask"], batch["tokens"], 9)}
    expected = apply(model, params, short)
    for padded in (batch, noise):
        out = apply(model, params, padded)
        np.testing.assert_allclose(out["mlm_logits"][:, :7], expected["mlm_logits"], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(out["pair_logits"], expected["pair_logits"], rtol=1e-5, atol=1e-5)


def gradients(model, params, batch):
    def loss(params):
        return (apply(model, params, batch)["encoded"] ** 2).sum()

    return jax.jit(jax.grad(loss))(params)


@pytest.mark.parametrize("changes", [dict(scan=True), dict(remat=True), dict(scan=True, remat=True)])
def test_scan_and_remat_give_the_loops_values_and_gradients(changes):
    model, params, batch = make()
    other = Model(TransformerConfig(**model_config(**changes)), ())
    expected, got = (apply(m, params, batch) for m in (model, other))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), got, expected)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4),
        gradients(other, params, batch),
        gradients(model, params, batch),
    )


def test_the_unrolled_stack_is_a_loop_over_single_blocks():
    from ssl_jax.models.transformer import Block

    model, params, batch = make()
    x = apply(model, params, batch)["embedded"]
    allowed = batch["mask"][:, None, None, :]
    for layer in range(model.config.layers):
        one = jax.tree.map(lambda p: p[layer], params["encoder"]["layers"])  # noqa: B023
        x, _ = Block(model.config).apply({"params": one}, x, allowed)
    np.testing.assert_allclose(apply(model, params, batch)["encoded"], x, rtol=1e-5, atol=1e-5)


def saved_products(**changes):
    """How many matrix products the gradient's program holds: rematerialisation adds the forward ones."""
    model, params, batch = make(**changes)
    return str(jax.make_jaxpr(lambda p: gradients(model, p, batch))(params)).count("dot_general")


@pytest.mark.parametrize("scan", [True, False])
def test_remat_is_really_on(scan):
    assert saved_products(remat=True, scan=scan) > saved_products(remat=False, scan=scan)


def test_bfloat16_computes_near_float32_with_float32_parameters():
    model, params, batch = make(reads=("mlm",))
    half, _, _ = make(reads=("mlm",), dtype="bfloat16")
    out = apply(half, params, batch)
    assert out["encoded"].dtype == jnp.bfloat16 and out["mlm_logits"].dtype == jnp.float32
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(half.init(jax.random.key(0), batch)))
    expected = apply(model, params, batch)["mlm_logits"]
    error = np.abs(out["mlm_logits"] - expected)
    # bfloat16 keeps 8 bits: 2**-8 of the logits' spread, over a few layers.
    assert 0 < error.mean() < 0.03 * expected.std()


def test_dropout_needs_its_rng_keeps_the_mean_and_meets_the_rate():
    x = jnp.ones((301, 7, 33))  # an odd size: the last pair of random halves is used by half
    out = Dropout(0.1).apply({}, x, rngs={"dropout": jax.random.key(0)})
    np.testing.assert_array_equal(Dropout(0.1).apply({}, x), x)
    assert float((out == 0).mean()) == pytest.approx(0.1, abs=0.006)  # 69,531 draws: sd .0011
    assert float(out.mean()) == pytest.approx(1, abs=0.007)
    np.testing.assert_allclose(np.unique(out), [0, 1 / 0.9], rtol=1e-4)
    again = Dropout(0.1).apply({}, x, rngs={"dropout": jax.random.key(1)})
    # Independent masks agree on .9 ** 2 + .1 ** 2 = .82 of the elements.
    assert float((out == again).mean()) == pytest.approx(0.82, abs=0.01)


def test_initial_values_are_the_originals():
    config = TransformerConfig(**model_config(vocab_size=4000, hidden_size=48, layers=2))
    params = jax.jit(Model(config, ("mlm",)).init)(jax.random.key(0), make()[2])["params"]
    token = params["embeddings"]["token"]
    # A normal of sd .02 cut at two sd has sd .02 * .8796 = .0176.
    assert np.abs(token).max() <= 0.04 and token.std() == pytest.approx(0.0176, rel=0.01)
    query = params["encoder"]["layers"]["attention"]["query"]
    assert query["kernel"].std() == pytest.approx(0.0176, rel=0.05) and (query["bias"] == 0).all()
    assert (query["kernel"][0] != query["kernel"][1]).any()  # each layer draws its own


def test_heads_that_start_at_neighbours_attend_to_them():
    offsets = (-1, 1, -2)
    config = TransformerConfig(
        **model_config(neighbours=offsets, norm="pre", hidden_size=96, heads=3, initializer_range=0.1)
    )
    model, batch = Model(config, ()), make()[2]
    batch["tokens"] = batch["segments"] = np.zeros_like(batch["tokens"])  # positions alone tell them apart
    params = attend_to_neighbours(jax.jit(model.init)(jax.random.key(0), batch)["params"], config)
    scores = np.asarray(apply(model, params, batch)["layers"]["scores"])[0].mean(0)  # layer 0: [heads, S, S]
    for head, offset in enumerate(offsets):
        for query in range(2, LENGTH - 2):
            assert scores[head, query].argmax() == query + offset


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(heads=5), "model.hidden_size=36 is not divisible by model.heads=5"),
        (dict(activation="geluu"), "unknown model.activation 'geluu'; did you mean 'gelu'"),
        (dict(norm="mid"), "unknown model.norm 'mid'"),
        (dict(positions=4), "sequences of 11 tokens do not fit model.positions=4"),
    ],
)
def test_models_that_cannot_be_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        make(**changes)
