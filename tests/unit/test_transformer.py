"""What the trunk may see, and that its ways of computing are one model."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.errors import UserError
from ssl_jax.models.model import Model
from ssl_jax.models.neighbours import attend_to_neighbours
from ssl_jax.models.transformer import Attention, Block, Dropout, FeedForward, Transformer, TransformerConfig
from tests.reference.transformers_bert import model_config

pytestmark = pytest.mark.slow  # compiles programs, or trains

LENGTH = 11


def make(reads=(), **changes):
    """A model, random parameters far from their initial values, and one batch of three rows."""
    model = Model(TransformerConfig(**model_config(**changes)), reads)
    random = np.random.default_rng(0)
    batch = dict(
        tokens=random.integers(0, 61, (3, LENGTH)),
        mask=np.ones((3, LENGTH), bool),
        segments=random.integers(0, 2, (3, LENGTH)),
        index=np.arange(3, dtype=np.int32),
    )

    def draw(path, leaf):
        return np.float32(random.normal(path[-1].key == "scale", 0.1, leaf.shape))

    shapes = jax.eval_shape(model.init, jax.random.key(0), batch)["params"]
    return model, jax.tree_util.tree_map_with_path(draw, shapes), batch


@functools.partial(jax.jit, static_argnums=0)
def apply(model, params, batch, rngs=None):
    return model.apply({"params": params}, batch, rngs=rngs)


@functools.partial(jax.jit, static_argnums=0)
def influence(model, params, batch):
    """[S, S]: how far position i of the first row's output depends on the embedding of position j."""

    def encode(embedded):
        return Transformer(model.config).apply({"params": params["encoder"]}, embedded, batch)["encoded"][0]

    jacobian = jax.jacobian(encode)(apply(model, params, batch)["embedded"])[:, :, 0]
    return jnp.abs(jacobian).sum((1, 3))


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_a_causal_trunk_sees_itself_and_the_past_alone(norm):
    seen = influence(*make(causal=True, norm=norm))
    assert (seen[~np.tri(LENGTH, dtype=bool)] == 0).all()
    assert (seen[np.tri(LENGTH, dtype=bool)] > 0).all()


def test_a_bidirectional_trunk_sees_everything():
    assert (influence(*make()) > 0).all()


def test_every_second_layer_sees_its_band_alone_and_the_others_the_whole_past():
    model, params, batch = make(causal=True, norm="pre", layers=4, local_window=3)
    query, column = np.indices((LENGTH, LENGTH))
    for layer in range(4):
        # With the other layers' attention at zero, what reaches a position came through this one.
        output = params["encoder"]["layers"]["attention"]["output"]
        alone = output | {"kernel": output["kernel"] * (np.arange(4) == layer)[:, None, None, None]}
        attention = params["encoder"]["layers"]["attention"] | {"output": alone}
        layers = params["encoder"]["layers"] | {"attention": attention}
        seen = influence(model, params | {"encoder": {"layers": layers}}, batch) > 0
        past = query - column if layer % 2 else np.minimum(query - column, 0)
        np.testing.assert_array_equal(seen, (column <= query) & (past < 3))


def test_a_band_as_long_as_the_text_is_full_attention():
    model, params, batch = make(causal=True)
    full, whole, narrower = (
        apply(Model(TransformerConfig(**model_config(causal=True, local_window=band)), ()), params, batch)["encoded"]
        for band in (0, LENGTH, LENGTH - 1)
    )
    # Equal to rounding: the compiler need not sum alike in two programs.
    np.testing.assert_allclose(full, whole, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(full[:, :-1], narrower[:, :-1], rtol=1e-5, atol=1e-6)
    assert (np.abs(full[:, -1] - narrower[:, -1]).max(-1) > 1e-4).all()  # it alone has all before it


@pytest.mark.parametrize("causal", [True, False])
def test_attention_stops_at_the_borders_of_documents(causal):
    model, params, batch = make(causal=causal, layers=2)
    numbers = np.repeat([0, 1, 2], (4, 6, 1))
    batch["documents"] = np.tile(numbers, (3, 1))
    seen = (numbers[:, None] == numbers) & (np.tri(LENGTH, dtype=bool) | (not causal))
    np.testing.assert_array_equal(influence(model, params, batch) > 0, seen)


def test_a_document_among_others_is_encoded_as_if_it_were_alone_at_its_place():
    model, params, batch = make(causal=True)
    numbers = np.repeat([0, 1, 2], (4, 6, 1))
    batch["documents"] = np.stack([numbers, np.zeros_like(numbers), numbers])
    alone = {name: batch[name][:, 4:10] for name in ("tokens", "mask", "segments")}
    alone["position_ids"] = np.tile(np.arange(4, 10), (3, 1))
    together, alone = (apply(model, params, b)["encoded"] for b in (batch, alone))
    np.testing.assert_allclose(together[::2, 4:10], alone[::2], rtol=1e-5, atol=1e-5)
    assert np.abs(together[1, 4:10] - alone[1]).max() > 1e-3  # this row is one document


def test_causality_holds_from_the_tokens_on():
    model, params, batch = make(causal=True)
    other = batch | {"tokens": np.concatenate([batch["tokens"][:, :6], (batch["tokens"][:, 6:] + 1) % 61], 1)}
    one, two = (apply(model, params, b)["encoded"] for b in (batch, other))
    np.testing.assert_array_equal(one[:, :6], two[:, :6])
    assert (np.abs(one[:, 6:] - two[:, 6:]).max(-1) > 1e-3).all()


def test_padding_changes_nothing():
    model, params, batch = make(reads=("mlm", "pair"))
    batch["mask"][:, 7:] = False
    short = {name: value[:, :7] if value.ndim > 1 else value for name, value in batch.items()}
    noise = batch | {"tokens": np.where(batch["mask"], batch["tokens"], 9)}
    expected = apply(model, params, short)
    for padded in (batch, noise):
        out = apply(model, params, padded)
        np.testing.assert_allclose(out["mlm_logits"][:, :7], expected["mlm_logits"], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(out["pair_logits"], expected["pair_logits"], rtol=1e-5, atol=1e-5)


@functools.partial(jax.jit, static_argnums=0)
def gradients(model, params, batch):
    return jax.grad(lambda params: (apply(model, params, batch)["encoded"] ** 2).sum())(params)


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


@pytest.mark.parametrize(
    "changes",
    [
        dict(),
        dict(causal=True),
        dict(causal=True, local_window=3, layers=4),
        dict(causal=True, local_window=3, scan=True),
    ],
    ids=["both ways", "causal", "bands", "bands, scan"],
)
@pytest.mark.parametrize("documents", [False, True])
def test_fused_attention_has_the_values_and_gradients_of_the_plain_one(changes, documents):
    model, params, batch = make(**changes)
    batch["mask"][1, 7:] = batch["mask"][2] = False  # padding, and a row that fills up a batch
    if documents:
        batch["documents"] = np.tile(np.repeat([0, 1], (4, 7)), (3, 1))
    fused = Model(TransformerConfig(**model_config(attention="fused", attention_dropout=0.0, **changes)), ())

    @functools.partial(jax.jit, static_argnums=0)
    def real(model, params):
        out = model.apply({"params": params}, batch)
        states = jnp.where(batch["mask"][..., None], out["encoded"], 0)
        return (states**2).sum(), states

    ((_, expected), wanted), ((_, states), gradient) = (
        jax.value_and_grad(real, 1, has_aux=True)(each, params) for each in (model, fused)
    )
    np.testing.assert_allclose(states, expected, rtol=1e-4, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), gradient, wanted)
    assert "scores" in apply(model, params, batch)["layers"] and "scores" not in apply(fused, params, batch)["layers"]


def test_the_unrolled_stack_is_a_loop_over_single_blocks():
    model, params, batch = make()
    x = apply(model, params, batch)["embedded"]
    allowed = batch["mask"][:, None, None, :]
    for layer in range(model.config.layers):
        one = jax.tree.map(lambda p: p[layer], params["encoder"]["layers"])  # noqa: B023
        x, _ = Block(model.config).apply({"params": one}, x, allowed)
    np.testing.assert_allclose(apply(model, params, batch)["encoded"], x, rtol=1e-5, atol=1e-5)


class Reused(nn.Module):
    """Post-norm layers in a Python loop; to share is to call the same module again.

    Attributes:
      sets: for each part of a layer, which of its sets of parameters each layer takes.
    """

    config: TransformerConfig
    sets: dict

    @nn.compact
    def __call__(self, x, allowed):
        def modules(part, make):
            made = {number: make(f"{part}_{number}") for number in set(self.sets[part])}
            return [made[number] for number in self.sets[part]]

        config = self.config
        each = zip(
            modules("attention", lambda name: Attention(config, name=name)),
            modules("attention_norm", lambda name: nn.LayerNorm(epsilon=config.norm_epsilon, name=name)),
            modules("ffn", lambda name: FeedForward(config, name=name)),
            modules("ffn_norm", lambda name: nn.LayerNorm(epsilon=config.norm_epsilon, name=name)),
            strict=True,
        )
        for attention, attention_norm, ffn, ffn_norm in each:
            x = attention_norm(x + attention(x, allowed)[0])
            x = ffn_norm(x + ffn(x))
        return x


# The parts of a layer that each way of sharing is about.
PARTS = {
    "none": (),
    "attention": ("attention", "attention_norm"),
    "ffn": ("ffn", "ffn_norm"),
    "all": ("attention", "attention_norm", "ffn", "ffn_norm"),
}


@pytest.mark.parametrize("share, groups", [("none", 1), *((share, n) for share in list(PARTS)[1:] for n in (1, 2))])
def test_layers_that_share_are_one_module_called_again(share, groups):
    model, params, batch = make(share=share, share_groups=groups)
    tree = params["encoder"]["layers"]
    x = np.random.default_rng(0).normal(size=(3, LENGTH, 36)).astype(np.float32)
    sets = {part: ((0, 0, 0), (0, 0, 1))[groups - 1] if part in PARTS[share] else (0, 1, 2) for part in tree}
    apart = {
        f"{part}_{number}": jax.tree.map(lambda p: p[number], tree[part])  # noqa: B023
        for part in tree
        for number in set(sets[part])
    }
    assert all(len(leaf) == len(set(sets[part])) for part in tree for leaf in jax.tree.leaves(tree[part]))

    def loop(apart):
        encoded = Reused(model.config, sets).apply({"params": apart}, x, batch["mask"][:, None, None, :])
        return (encoded**2).sum(), encoded

    # Without jit, whose compilation takes longer than all of it.
    (_, expected), by_loop = jax.value_and_grad(loop, has_aux=True)(apart)
    for scan in (False, True):
        config = TransformerConfig(**model_config(share=share, share_groups=groups, scan=scan))

        def stack(tree, config=config):
            encoded = Transformer(config).apply({"params": {"layers": tree}}, x, batch)["encoded"]
            return (encoded**2).sum(), encoded

        (_, encoded), by_stack = jax.jit(jax.value_and_grad(stack, has_aux=True))(tree)
        np.testing.assert_allclose(encoded, expected, rtol=1e-5, atol=1e-5)
        for name, gradient in by_loop.items():
            part, number = name.rsplit("_", 1)
            mine = jax.tree.map(lambda p: p[int(number)], by_stack[part])  # noqa: B023
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), mine, gradient)


def test_heads_may_have_any_size():
    config = TransformerConfig(**model_config(heads=5, head_size=7, layers=1))  # 36 is no multiple of 5
    params = jax.tree.map(lambda p: p[0], make(heads=5, head_size=7, layers=1)[1]["encoder"]["layers"]["attention"])
    x = np.random.default_rng(0).normal(size=(2, 6, 36)).astype(np.float32)
    got, made = jax.jit(Attention(config).apply)({"params": params}, x, np.tri(6, dtype=bool)[None, None])
    query, key, value = (
        np.einsum("bsh,had->basd", x, params[name]["kernel"]) + params[name]["bias"][:, None]
        for name in ("query", "key", "value")
    )
    scores = query @ key.swapaxes(-1, -2) / np.sqrt(7)
    np.testing.assert_allclose(made["scores"], scores, rtol=1e-4, atol=1e-5)
    shares = np.exp(np.where(np.tri(6), scores, -np.inf))
    mixed = shares / shares.sum(-1, keepdims=True) @ value
    expected = np.einsum("basd,adh->bsh", mixed, params["output"]["kernel"]) + params["output"]["bias"]
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


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
    shapes = jax.eval_shape(half.init, jax.random.key(0), batch)
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(shapes))
    expected = apply(model, params, batch)["mlm_logits"]
    error = np.abs(out["mlm_logits"] - expected)
    # bfloat16 keeps 8 bits: 2**-8 of the logits' spread, over a few layers.
    assert 0 < error.mean() < 0.03 * expected.std()


def drop(x, index, seed=0, rate=0.1, **fields):
    return np.asarray(Dropout(rate, **fields).apply({}, x, index, rngs={"dropout": jax.random.key(seed)}))


def test_dropout_needs_its_rng_keeps_the_mean_and_meets_the_rate():
    x, index = jnp.ones((301, 7, 33)), np.arange(301)  # 231 elements an example: the last block of four is not full
    np.testing.assert_array_equal(Dropout(0.1).apply({}, x, None), x)
    out = drop(x, index)
    assert (out == 0).mean() == pytest.approx(0.1, abs=0.006)  # 69,531 draws: sd .0011
    assert out.mean() == pytest.approx(1, abs=0.007)
    np.testing.assert_allclose(np.unique(out), [0, 1 / 0.9], rtol=1e-4)
    # Independent masks agree on .9 ** 2 + .1 ** 2 = .82 of the elements.
    assert (out == drop(x, index, seed=1)).mean() == pytest.approx(0.82, abs=0.01)


def test_the_mask_of_an_example_is_its_own_wherever_it_stands():
    x, index = jnp.ones((8, 5, 13)), np.array([3, 0, 2**31 - 1, -(2**31), 7, 1, 4, 2], np.int32)
    whole, order = drop(x, index), np.array([4, 0, 6])
    np.testing.assert_array_equal(drop(x[order], index[order]), whole[order])
    assert len(np.unique(whole.reshape(8, -1), axis=0)) == 8


def test_the_rows_of_an_example_have_masks_of_their_own_or_share_one():
    x, index = jnp.ones((6, 40)), np.array([5, 9])  # three choices each
    own, shared = drop(x, index, rate=0.5), drop(x, index, rate=0.5, shared=3)
    assert len(np.unique(own, axis=0)) == 6 and len(np.unique(shared, axis=0)) == 2
    assert (shared.reshape(2, 3, 40) == shared.reshape(2, 3, 40)[:, :1]).all()
    np.testing.assert_array_equal(drop(x[3:], index[1:], rate=0.5), own[3:])


def correlation(*masks):
    return np.corrcoef([np.ravel(mask) for mask in masks])[~np.eye(len(masks), dtype=bool)]


def test_masks_of_examples_and_of_their_elements_are_independent():
    masks = drop(jnp.ones((64, 40, 50)), 1000 + np.arange(64)) == 0
    # 2,000 draws each: correlations have an sd of .022; the largest of 2,016 pairs is expected near 3.5 sd.
    between = correlation(*masks)
    assert abs(between.mean()) < 0.003 and np.abs(between).max() < 5 * 0.022 and 0.02 < between.std() < 0.025
    elements = masks.reshape(64, -1)
    for lag in (1, 2, 3, 4, 50):  # four neighbours come from one block of bits; 128,000 draws: sd .0028
        assert abs(correlation(elements[:, lag:], elements[:, :-lag])[0]) < 5 * 0.0028
    rates = elements.mean(1)
    assert rates.std() == pytest.approx(np.sqrt(0.09 / 2000), rel=0.4)


def test_masks_of_places_in_a_layer_of_layers_and_of_steps_are_independent():
    """Layers that add 1 and no more: what a layer adds to its input shows the masks of its two dropouts."""
    model, params, batch = make(norm="pre", layers=4, hidden_size=48, heads=3, dropout=0.25)
    layers = jax.tree.map(np.zeros_like, params["encoder"]["layers"])
    layers["attention"]["output"]["bias"] += 1
    layers["ffn"]["output"]["bias"] += 2
    params["encoder"]["layers"] = layers
    masks = []
    for seed in range(2):  # of a step
        out = apply(model, params, batch, {"dropout": jax.random.key(seed)})
        states = np.concatenate([out["embedded"][None], out["layers"]["hidden"]])
        added = np.rint(np.diff(states, axis=0) * 0.75).astype(int)
        assert set(np.unique(added)) == {0, 1, 2, 3}
        masks += [mask for layer in added for mask in (layer % 2, layer // 2)]
    assert np.mean(masks) == pytest.approx(0.75, abs=0.02)
    # 1,584 draws each: sd .025, 120 pairs.
    assert np.abs(correlation(*masks)).max() < 4.5 * 0.025


def test_initial_values_are_the_originals():
    config = TransformerConfig(**model_config(vocab_size=4000, hidden_size=48, layers=2))
    params = jax.jit(Model(config, ("mlm",)).init)(jax.random.key(0), make()[2])["params"]
    token = params["embeddings"]["token"]
    # A normal of sd .02 cut at two sd has sd .02 * .8796 = .0176.
    assert np.abs(token).max() <= 0.04 and token.std() == pytest.approx(0.0176, rel=0.01)
    query = params["encoder"]["layers"]["attention"]["query"]
    assert query["kernel"].std() == pytest.approx(0.0176, rel=0.05) and (query["bias"] == 0).all()
    assert (query["kernel"][0] != query["kernel"][1]).any()  # each layer draws its own


def test_initial_values_of_the_gpts():
    fields = model_config(
        vocab_size=4000, max_positions=2000, embedding_size=40, hidden_size=64, heads=4, ffn_size=0, layers=8,
        initializer="normal", residual_scale=True, position_range=0.01, projection_initializer="glorot_uniform",
    )  # fmt: skip
    params = jax.jit(Model(TransformerConfig(**fields), ()).init)(jax.random.key(0), make()[2])["params"]
    tables, layers = params["embeddings"], params["encoder"]["layers"]
    assert np.abs(tables["token"]).max() > 0.06  # of 160,000 draws, uncut, some are beyond three sd
    assert tables["token"].std() == pytest.approx(0.02, rel=0.02)
    assert tables["position"].std() == pytest.approx(0.01, rel=0.02)
    for part, layer in (("attention", "query"), ("attention", "key"), ("attention", "value"), ("ffn", "inner")):
        assert layers[part][layer]["kernel"].std() == pytest.approx(0.02, rel=0.03)
    for part in ("attention", "ffn"):  # two residual layers in each of 8: 1 / sqrt(16)
        assert layers[part]["output"]["kernel"].std() == pytest.approx(0.02 / 4, rel=0.03)
    bound = np.sqrt(6 / (40 + 64))
    projection = np.abs(params["encoder"]["projection"]["kernel"])
    assert 0.99 * bound < projection.max() <= bound and projection.mean() == pytest.approx(bound / 2, rel=0.05)


def plain_gpt(**changes):
    """`make` with embeddings that are a token's row and a position's, and with tokens that come back."""
    model, params, batch = make(
        reads=("clm",), causal=True, type_vocab_size=0, embedding_norm=False, pooler="none", **changes
    )
    batch["tokens"] %= 6
    return model, params, batch


@pytest.mark.parametrize("dropped", ["tables", "sum"])
def test_dropout_on_the_tables_drops_the_same_entries_wherever_a_token_is(dropped):
    model, params, batch = plain_gpt(dropout=0.5, dropped_embeddings=dropped)
    params["embeddings"]["position"] *= 0
    out = apply(model, params, batch, {"dropout": jax.random.key(0)})
    same = []
    for token in np.unique(batch["tokens"]):
        rows = np.asarray(out["embedded"][batch["tokens"] == token])
        whole = 2 * params["embeddings"]["token"][token]
        np.testing.assert_allclose(rows, np.where(rows == 0, 0, whole), rtol=1e-5)
        assert 0.2 < (rows == 0).mean() < 0.8
        same.append((rows == rows[0]).all())
        # Logits are over the dropped table, or over the whole one.
        table = rows[0] if dropped == "tables" else whole / 2
        np.testing.assert_allclose(out["clm_logits"][..., token], out["encoded"] @ table, rtol=1e-4, atol=1e-5)
    assert all(same) if dropped == "tables" else not any(same)


def test_positions_may_compete_in_the_logits():
    model, params, batch = plain_gpt(predict_positions=True)
    out = apply(model, params, batch)
    expected = apply(plain_gpt()[0], params, batch)["clm_logits"]
    np.testing.assert_allclose(out["clm_logits"][..., :61], expected, rtol=1e-5, atol=1e-6)
    rows = out["encoded"] @ params["embeddings"]["position"].T
    np.testing.assert_allclose(out["clm_logits"][..., 61:], rows, rtol=1e-4, atol=1e-5)


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
        (dict(max_positions=4), "sequences of 11 tokens do not fit model.max_positions=4"),
        (dict(local_window=3), "model.local_window is a band of the past: it needs model.causal=True"),
        (dict(attention="fused", attention_dropout=0.1), "model.attention=fused has no dropout on the attention prob"),
        (dict(share_groups=4), "model.share_groups=4 of 3 layers: from 1 to all of them"),
    ],
)
def test_models_that_cannot_be_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        make(**changes)
