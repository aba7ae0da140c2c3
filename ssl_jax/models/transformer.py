"""A single Transformer for every paper: embeddings, attention, block, stack. The papers differ only in its config.

Shapes: B examples, S positions (T including those of a cache), H hidden size, A heads, D head size, E embedding
size, V vocabulary, L layers.
Dropout is on if and only if `apply` is given a 'dropout' rng; there is no train flag.
"""

import functools
import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.random import threefry2x32_p

from ssl_jax.errors import UserError
from ssl_jax.models.spec import Trunk
from ssl_jax.models.visibility import visible, within_documents
from ssl_jax.parallel import by_examples
from ssl_jax.varying import each, largest

# 'gelu' is the exact erf form, 'gelu_tanh' the approximation. Google's BERT code uses the tanh form;
# `transformers` calls the erf form "gelu" and uses it for BERT. They differ by up to 4.7e-4.
ACTIVATIONS = {
    "gelu": functools.partial(jax.nn.gelu, approximate=False),
    "gelu_tanh": functools.partial(jax.nn.gelu, approximate=True),
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "none": lambda x: x,
}


def dense_product(x, kernel, dimension_numbers, precision=None, **_):
    """`lax.dot_general` for dense layers: contracts the last axes of `x` with the first axes of `kernel`.

    Only the backward pass differs. JAX's rule computes the kernel's gradient transposed, and on CPU XLA
    then writes the incoming gradient a second time, transposed, recomputing the activation's derivative
    at every strided step. Computed as a matrix product x^T g, the gradient of a feed-forward network takes
    77 ms instead of 136 (16 x 128 tokens, 256 to 1024, tanh GELU, two cores).
    """
    (axes, kernel_axes), batch_axes = dimension_numbers
    assert tuple(axes) == tuple(range(x.ndim - len(axes), x.ndim))
    assert tuple(kernel_axes) == tuple(range(len(axes))) and batch_axes == ((), ())
    width = math.prod(kernel.shape[: len(axes)])
    rows = matrix_product(x.reshape(-1, width), kernel.reshape(width, -1), precision)
    return rows.reshape(*x.shape[: x.ndim - len(axes)], *kernel.shape[len(axes) :])


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def matrix_product(x, kernel, precision):
    """[M, K] times [K, N]."""
    return jnp.dot(x, kernel, precision=precision)


def _matrix_product_forward(x, kernel, precision):
    return jnp.dot(x, kernel, precision=precision), (x, kernel)


def _matrix_product_backward(precision, saved, gradient):
    x, kernel = saved
    return jnp.dot(gradient, kernel.T, precision=precision), jnp.dot(x.T, gradient, precision=precision)


matrix_product.defvjp(_matrix_product_forward, _matrix_product_backward)


def group_of(layer, groups, layers):
    """Index of the group a layer belongs to; groups are contiguous (albert/modeling.py). `layer`: int or int array."""
    return layer * groups // layers


class TransformerConfig(Trunk):
    """A `spec.Trunk` that builds its layers."""

    def initial(self, sd):
        # BERT's create_initializer: sd 0.02 before truncation at two sd, 0.0176 after. jax's
        # truncated_normal does the same; variance_scaling would correct for the truncation.
        return getattr(nn.initializers, self.initializer)(sd)

    def dense(self, features, name=None, axis=-1, kernel_init=None, bias=True):
        return nn.DenseGeneral(
            features,
            axis=axis,
            use_bias=bias,
            dtype=self.dtype,
            kernel_init=kernel_init or self.initial(self.initializer_range),
            dot_general=dense_product,
            name=name,
        )

    def initial_by(self, name):
        """What a kernel starts from, by one of spec.INITIALIZERS."""
        return nn.initializers.glorot_uniform() if name == "glorot_uniform" else self.initial(self.initializer_range)

    def residual(self, features, name, axis=-1):
        """The dense layer that ends a sub-layer (GPT-2, section 2.3: 1/sqrt(N) for N residual layers)."""
        scale = (2 * self.layers) ** -0.5 if self.residual_scale else 1.0
        return self.dense(features, name, axis, self.initial(self.initializer_range * scale))

    def layer_norm(self, name=None):
        # Two-pass variance: with an epsilon of 1e-12 the one-pass form loses digits that the
        # originals keep. Statistics are float32 regardless of dtype.
        return nn.LayerNorm(epsilon=self.norm_epsilon, dtype=self.dtype, use_fast_variance=False, name=name)


class Dropout(nn.Module):
    """Inverted dropout; an example's mask depends on its index, not on the device or batch it is computed in.

    The random bits are a function of the rng (the run's seed and the step), the module's place in the model, the
    example's index, and the element within the example. So a batch can be split over devices, hosts and
    micro-batches without changing any mask. Threefry is such a function (Salmon et al. 2011): it encrypts counters,
    here (example, element / 4), and each block of 64 bits serves four elements. That is a quarter of the blocks that
    `jax.random.bits` would encrypt at 32 bits per element; on CPU they dominate a small step. The rate is matched
    to within 2**-17 and the scale uses the actual rate, so the mean is exact.
    """

    rate: float  # or a `Varying`
    shared: int = 1  # this many consecutive rows share a mask

    @nn.compact
    def __call__(self, x, index):
        """
        Args:
          x: [R, ...], each example's R / B rows consecutive.
          index: int32 [B], the examples' indices; None without a 'dropout' rng.
        """
        if largest(self.rate) == 0 or not self.has_rng("dropout"):
            return x
        kept = each(lambda rate: round((1 - rate) * 2**16), self.rate)
        size = x.size // self.shared // len(index)
        shape = (len(index), -(-size // 4))
        key = jax.random.bits(self.make_rng("dropout"), (2,), jnp.uint32)
        example = lax.bitcast_convert_type(jnp.asarray(index, jnp.int32), jnp.uint32)
        counters = lax.broadcast_in_dim(example, shape, (0,)), lax.broadcasted_iota(jnp.uint32, shape, 1)
        words = jnp.stack(threefry2x32_p.bind(key[0], key[1], *counters), axis=-1)
        bits = lax.bitcast_convert_type(words, jnp.uint16).reshape(len(index), -1)[:, :size]
        bits = bits.reshape(len(x) // self.shared, *x.shape[1:]).repeat(self.shared, axis=0)
        return jnp.where(bits < kept, x * jnp.asarray(2**16 / kept, x.dtype), jnp.zeros_like(x))


class Embeddings(nn.Module):
    """Sum of token, position and segment embeddings, then norm and dropout."""

    config: TransformerConfig

    def setup(self):
        config = self.config
        width = config.embedding_size
        start = config.initial(config.embedding_range)
        self.token = self.param("token", start, (config.vocab_size, width))
        self.position = self.param("position", config.initial(config.position_range), (config.max_positions, width))
        if config.type_vocab_size:
            self.segment = self.param("segment", start, (config.type_vocab_size, width))
        if config.embedding_norm:
            self.norm = config.layer_norm()
        self.drop = Dropout(config.dropout)

    def __call__(self, batch):
        """Looks up `batch['tokens']` [B, S].

        Returns:
          The embeddings [B, S, E] and the table [V, E] for the output logits (with `predict_positions`,
          followed by the rows of the position table).
        """
        config, tokens, index = self.config, batch["tokens"], batch.get("index")
        if tokens.shape[1] > config.max_positions:
            raise UserError(
                f"sequences of {tokens.shape[1]} tokens do not fit model.max_positions={config.max_positions}"
            )
        token, position = self.token, self.position
        if config.dropped_embeddings == "tables":
            # Not per example: one mask for the whole step, as on each device of the release (GPT-1, train.py).
            token, position = (self.drop(table, jnp.zeros(1, jnp.int32)) for table in (token, position))
        x = jnp.take(token, tokens, axis=0)
        # Positions by slicing and segments by a matrix product: a gather's gradient is a scatter-add, and
        # hundreds of rows colliding in two are its worst case.
        if "position_ids" in batch:
            x += jnp.take(position, batch["position_ids"], axis=0)
        else:
            x += position[: tokens.shape[1]]
        if config.type_vocab_size:
            x += jax.nn.one_hot(batch["segments"], config.type_vocab_size, dtype=x.dtype) @ self.segment
        if config.embedding_norm:
            x = self.norm(x)
        x = x.astype(config.dtype)
        if config.dropped_embeddings == "sum":
            x = self.drop(x, index)
        return x, jnp.concatenate([token, position]) if config.predict_positions else token


class Sight(NamedTuple):
    """Which tokens see which, as a fused kernel takes it: `visible` without its [S, S] arrays.

    Attributes:
      lengths: int32 [B], each row's real tokens, which come first.
      documents: bool [B, 1, S, S], true within a document; None: a row is one.
      banded: bool [], whether the layer sees only the last `config.local_window` columns.
    """

    lengths: Any
    documents: Any
    banded: Any


def fused_attention(config, query, key, value, sight):
    """Softmax(query key^T / sqrt(D)) value without dropout, each [B, S, A, D]; cuDNN's kernel where there is one.

    cuDNN's takes bfloat16, and skips what padding, causality and a band hide; a mask of documents it reads as an [S, S]
    bias. Elsewhere XLA computes the same from the same arguments.
    """
    kernel = "cudnn" if jax.default_backend() == "gpu" and query.dtype == jnp.bfloat16 else "xla"

    def attend(window):
        return jax.nn.dot_product_attention(
            query,
            key,
            value,
            mask=sight.documents,
            is_causal=config.causal,
            key_value_seq_lengths=jnp.maximum(sight.lengths, 1),  # a row that fills up a batch sees something, too
            local_window_size=window,
            implementation=kernel,
        )

    if not config.local_window:
        return attend(None)
    return lax.cond(sight.banded, lambda: attend((config.local_window - 1, 0)), lambda: attend(None))


class Attention(nn.Module):
    """Multi-head attention over `x` [B, S, H] where `allowed` [B or 1, 1, S, T] is true; `index`: see `Dropout`.

    Where `allowed` is a `Sight`, see `fused_attention`; there are no `scores` then.

    With a cache (`key`, `value` [B, T, A, D] and `start`), the keys and values of the S positions are
    written into it starting at column `start`, and attention covers all T columns; without one, T = S.

    Returns the output [B, S, H] and a dict: float32 `scores` [B, A, S, T] before mask and softmax, and
    `key`, `value` [B, T, A, D].
    """

    config: TransformerConfig

    @nn.compact
    def __call__(self, x, allowed, cache=None, index=None):
        config = self.config
        query, key, value = (
            config.dense((config.heads, config.head_size), name)(x) for name in ("query", "key", "value")
        )
        if cache is not None:
            key, value = (
                lax.dynamic_update_slice_in_dim(cache[name], new, cache["start"], axis=1)
                for name, new in (("key", key), ("value", value))
            )
        made = {"key": key, "value": value}
        residual = config.residual(config.hidden_size, "output", axis=(-2, -1))
        if isinstance(allowed, Sight):
            return residual(fused_attention(config, query, key, value, allowed)), made
        scores = jnp.einsum("bqad,bkad->baqk", query, key, preferred_element_type=jnp.float32) * config.head_size**-0.5
        probabilities = jax.nn.softmax(jnp.where(allowed, scores, -1e9))
        probabilities = Dropout(config.attention_dropout)(probabilities.astype(config.dtype), index)
        mixed = jnp.einsum("baqk,bkad->bqad", probabilities, value)
        return residual(mixed), {"scores": scores, **made}


class FeedForward(nn.Module):
    """Dense, activation, dense: [B, S, H] to [B, S, H]."""

    config: TransformerConfig

    @nn.compact
    def __call__(self, x):
        x = self.config.dense(self.config.ffn_size, "inner")(x)
        x = ACTIVATIONS[self.config.activation](x)
        return self.config.residual(self.config.hidden_size, "output")(x)


class Block(nn.Module):
    """One layer: attention, then the feed-forward network, each with its residual and norm; `index`: see `Dropout`."""

    config: TransformerConfig

    @nn.compact
    def __call__(self, x, allowed, cache=None, index=None):
        config = self.config
        made = {}
        for name in ("attention", "ffn"):
            norm = config.layer_norm(f"{name}_norm")
            y = x if config.norm == "post" else norm(x)
            if name == "attention":
                y, made = Attention(config, name=name)(y, allowed, cache, index)
            else:
                y = FeedForward(config, name=name)(y)
            dropped = config.dropped_sublayers in ("both", name)
            x = x + Dropout(config.dropout if dropped else 0.0)(y, index)
            if config.norm == "post":
                x = norm(x)
        return x, {"hidden": x, **made}


class Transformer(nn.Module):
    """A stack of blocks: one `Block` module, applied once per layer.

    ALBERT's sharing is this reuse of the module: all layers of a group apply the same `Block` with the same shared
    parameters. It does not use Flax's lifted scan (`nn.scan`), which cannot share some parts of a block and stack
    others, nor select a group's parameters by layer index.

    Parameters are stacked on a leading axis, with one entry per layer or, for shared parts, per group of layers.
    `scan` and unrolled layers have the same parameters, so a checkpoint fits both.
    """

    config: TransformerConfig

    @nn.compact
    def __call__(self, embedded, batch, cache=None):
        """Runs the trunk.

        Args:
          embedded: [B, S, E].
          batch: see `visible`; with dropout also `index`, see `Dropout`.
          cache: earlier positions: `key`, `value` [L, B, T, A, D], and `start`, the column of the first
            of these S positions; None if there are none.

        Returns:
          A dict: `embedded` [B, S, H]; `layers` with `hidden` [L, B, S, H], `scores` [L, B, A, S, T], `key`
          and `value` [L, B, T, A, D]; `encoded` [B, S, H]. XLA prunes unused outputs. Fused attention has no `scores`.
        """
        config = self.config
        x = embedded
        if config.embedding_size != config.hidden_size:
            start = config.initial_by(config.projection_initializer)
            x = config.dense(config.hidden_size, "projection", kernel_init=start)(x)
        x = by_examples(x)
        projected, start = x, None if cache is None else cache["start"]
        fused = config.attention == "fused" and cache is None
        if fused:
            lengths, documents = batch["mask"].astype(jnp.int32).sum(1), within_documents(batch)
        else:
            allowed = visible(batch, config.causal, config.local_window, 0 if cache is None else start)
        block = Block(config, parent=None)

        def begin(key):
            keys = jax.random.split(key, config.layers)
            layers = jax.vmap(lambda key: block.init(key, x[:1, :1], jnp.ones((1, 1, 1, 1), bool))["params"])(keys)
            return {part: jax.tree.map(lambda p: p[: config.sets(part)], layers[part]) for part in layers}

        if self.has_variable("params", "layers"):
            # `param` would trace `begin` again to compare shapes.
            params = self.get_variable("params", "layers")
        else:
            params = self.param("layers", begin)
        own = {part: tree for part, tree in params.items() if config.sets(part) == config.layers}
        shared = {part: tree for part, tree in params.items() if part not in own}
        if config.share_groups == 1:
            shared = jax.tree.map(lambda p: p[0], shared)
        dropout_key = self.make_rng("dropout") if self.has_rng("dropout") else None

        def layer(x, at):
            common = shared
            if config.share_groups > 1:
                common = jax.tree.map(lambda p: p[at["group"]], shared)
            rngs = {} if dropout_key is None else {"dropout": jax.random.fold_in(dropout_key, at["number"])}
            past = None if cache is None else at["past"] | {"start": start}
            seen = Sight(lengths, documents, at["banded"]) if fused else allowed[at["banded"].astype(int)]
            x, made = block.apply({"params": at["own"] | common}, x, seen, past, batch.get("index"), rngs=rngs)
            return by_examples(x), made

        number = jnp.arange(config.layers)
        each = {
            "number": number,
            "group": group_of(number, config.share_groups, config.layers),
            "banded": (number % 2 == 1) & (config.local_window > 0),
            "own": own,
            "past": {} if cache is None else {name: cache[name] for name in ("key", "value")},
        }
        if config.remat:
            layer = jax.checkpoint(layer, prevent_cse=not config.scan)
        x, layers = lax.scan(layer, x, each, unroll=1 if config.scan else config.layers)
        if config.final_norm:
            x = config.layer_norm("final_norm")(x)
        return {"embedded": projected, "layers": layers, "encoded": x}
