"""The one Transformer: embeddings, attention, block, stack. Every paper is a setting of its fields.

Shapes: B examples, S positions, H hidden size, A heads, D = H / A, E embedding size, V vocabulary.
Dropout is on exactly when `apply` is given a 'dropout' rng; there is no train flag.
"""

import dataclasses
import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from ssl_jax.errors import UserError, check_choice

# 'gelu' is the exact erf form, 'gelu_tanh' the approximation. Google's BERT code has the tanh form,
# `transformers` calls the erf form "gelu" and uses it for BERT; they differ by up to 4.7e-4.
ACTIVATIONS = {
    "gelu": functools.partial(jax.nn.gelu, approximate=False),
    "gelu_tanh": functools.partial(jax.nn.gelu, approximate=True),
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
}


def dense_product(x, kernel, dimension_numbers, precision=None, **_):
    """`lax.dot_general` for dense layers: contracts the last axes of `x` with the first of `kernel`.

    What differs is the backward pass. JAX's rule makes the kernel's gradient transposed, and on a CPU XLA
    then writes the incoming gradient a second time, transposed, with the activation's derivative computed
    anew at every strided step. As x^T g of two matrices it takes 77 ms instead of 136 for the gradient of a
    feed-forward network (16 x 128 tokens, 256 to 1024, tanh GELU, two cores).
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


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
    """What a trunk is; `config.model` holds the same fields."""

    vocab_size: int
    layers: int
    hidden_size: int
    heads: int
    ffn_size: int  # 0: four times the hidden size
    embedding_size: int  # 0: the hidden size; otherwise the sum of embeddings is projected to it
    positions: int  # the longest sequence
    segments: int  # rows of the segment table; 0: none
    causal: bool  # each position sees itself and what is before it
    norm: str  # 'post': LN(x + f(x)), the original; 'pre': x + f(LN(x))
    embedding_norm: bool
    final_norm: bool
    norm_epsilon: float
    activation: str
    pooler: bool  # tanh(dense(first position)), read by pair heads
    dropout: float  # after the embeddings and after each sub-layer
    attention_dropout: float  # on the attention probabilities
    initializer_range: float  # sd of the normal, cut at two sd, that matrices start from
    embedding_range: float  # the same for the tables; 0: as the matrices
    neighbours: tuple[int, ...]  # offsets that layer 0's heads attend to at the start (neighbours.py); (): none
    dtype: str  # of the computation; parameters, norms and softmax are float32
    scan: bool  # compile one layer and loop over it, or unroll all layers
    remat: bool  # recompute a layer in the backward pass instead of keeping it

    def __post_init__(self):
        object.__setattr__(self, "ffn_size", self.ffn_size or 4 * self.hidden_size)
        object.__setattr__(self, "embedding_size", self.embedding_size or self.hidden_size)
        object.__setattr__(self, "embedding_range", self.embedding_range or self.initializer_range)
        check_choice(self.activation, ACTIVATIONS, "model.activation")
        check_choice(self.norm, ("post", "pre"), "model.norm")
        check_choice(self.dtype, ("float32", "bfloat16"), "model.dtype")
        if self.heads < 1 or self.hidden_size % self.heads:
            raise UserError(
                f"model.hidden_size={self.hidden_size} is not divisible by model.heads={self.heads}"
            )

    @property
    def kernel_init(self):
        # BERT's create_initializer: sd 0.02 before cutting at two sd, 0.0176 after. jax's
        # truncated_normal does the same; variance_scaling would correct for the cut.
        return nn.initializers.truncated_normal(self.initializer_range)

    def dense(self, features, name=None, axis=-1):
        return nn.DenseGeneral(
            features,
            axis=axis,
            dtype=self.dtype,
            kernel_init=self.kernel_init,
            dot_general=dense_product,
            name=name,
        )

    def layer_norm(self, name=None):
        # Two-pass variance: with an epsilon of 1e-12 the one-pass form loses the digits that the
        # originals keep. Statistics are float32 whatever the dtype.
        return nn.LayerNorm(
            epsilon=self.norm_epsilon, dtype=self.dtype, use_fast_variance=False, name=name
        )


class Dropout(nn.Module):
    """Inverted dropout that draws 16 random bits an element instead of 32.

    Half of the random numbers cost half of the time on a CPU, where they dominate a small step. The
    rate is met to 2**-17 and the scale uses the rate that was met, so the mean is exact.
    """

    rate: float

    @nn.compact
    def __call__(self, x):
        if self.rate == 0 or not self.has_rng("dropout"):
            return x
        kept = round((1 - self.rate) * 2**16)
        pairs = jax.random.bits(self.make_rng("dropout"), (-(-x.size // 2),), jnp.uint32)
        bits = lax.bitcast_convert_type(pairs, jnp.uint16).reshape(-1)[: x.size].reshape(x.shape)
        return jnp.where(bits < kept, x * jnp.asarray(2**16 / kept, x.dtype), jnp.zeros_like(x))


class Embeddings(nn.Module):
    """Sum of token, position and segment embeddings, norm, dropout: tokens [B, S] to [B, S, H]."""

    config: TransformerConfig

    def setup(self):
        config = self.config
        width = config.embedding_size
        start = nn.initializers.truncated_normal(config.embedding_range)
        self.token = self.param("token", start, (config.vocab_size, width))
        self.position = self.param("position", start, (config.positions, width))
        if config.segments:
            self.segment = self.param("segment", start, (config.segments, width))
        if config.embedding_norm:
            self.norm = config.layer_norm()
        if width != config.hidden_size:
            self.projection = config.dense(config.hidden_size)
        self.drop = Dropout(config.dropout)

    def __call__(self, tokens, segments):
        x = jnp.take(self.token, tokens, axis=0)
        # Positions by slicing and segments by a product: a gather's gradient is a scatter-add, and
        # hundreds of rows that meet in two are its worst case.
        x += self.position[: tokens.shape[1]]
        if self.config.segments:
            x += jax.nn.one_hot(segments, self.config.segments, dtype=x.dtype) @ self.segment
        if self.config.embedding_norm:
            x = self.norm(x)
        x = self.drop(x.astype(self.config.dtype))
        if self.config.embedding_size != self.config.hidden_size:
            x = self.projection(x)
        return x


class Attention(nn.Module):
    """Multi-head attention over `x` [B, S, H] where `allowed` [B or 1, 1, S, S] is true.

    Returns the output [B, S, H] and the scores before mask and softmax [B, A, S, S], float32.
    """

    config: TransformerConfig

    @nn.compact
    def __call__(self, x, allowed):
        config = self.config
        head_size = config.hidden_size // config.heads
        query, key, value = (
            config.dense((config.heads, head_size), name)(x) for name in ("query", "key", "value")
        )
        scores = jnp.einsum(
            "bqad,bkad->baqk", query, key, preferred_element_type=jnp.float32
        ) * head_size**-0.5
        probabilities = jax.nn.softmax(jnp.where(allowed, scores, -1e9))
        probabilities = Dropout(config.attention_dropout)(probabilities.astype(config.dtype))
        mixed = jnp.einsum("baqk,bkad->bqad", probabilities, value)
        return config.dense(config.hidden_size, "output", axis=(-2, -1))(mixed), scores


class FeedForward(nn.Module):
    """dense, activation, dense: [B, S, H] to the same."""

    config: TransformerConfig

    @nn.compact
    def __call__(self, x):
        x = self.config.dense(self.config.ffn_size, "inner")(x)
        x = ACTIVATIONS[self.config.activation](x)
        return self.config.dense(self.config.hidden_size, "output")(x)


class Block(nn.Module):
    """One layer: attention, then the feed-forward network, each with its residual and norm."""

    config: TransformerConfig

    @nn.compact
    def __call__(self, x, allowed):
        config = self.config
        scores = None
        for name in ("attention", "ffn"):
            norm = config.layer_norm(f"{name}_norm")
            y = x if config.norm == "post" else norm(x)
            if name == "attention":
                y, scores = Attention(config, name=name)(y, allowed)
            else:
                y = FeedForward(config, name=name)(y)
            x = x + Dropout(config.dropout)(y)
            if config.norm == "post":
                x = norm(x)
        return x, {"hidden": x, "scores": scores}


class Transformer(nn.Module):
    """Embeddings and a stack of blocks whose parameters are stacked on a leading layer axis.

    `scan` and unrolled layers share that layout, so a checkpoint fits both.
    """

    config: TransformerConfig

    def setup(self):
        config = self.config
        self.embeddings = Embeddings(config)
        block = nn.remat(Block, prevent_cse=not config.scan) if config.remat else Block
        self.layers = nn.scan(
            block,
            variable_axes={"params": 0},
            split_rngs={"params": True, "dropout": True},
            in_axes=nn.broadcast,
            length=config.layers,
            unroll=1 if config.scan else config.layers,
        )(config)
        if config.final_norm:
            self.final_norm = config.layer_norm()

    def __call__(self, batch):
        """Runs the trunk.

        Args:
          batch: `tokens`, `mask` (true for real tokens) and, with a segment table, `segments`, each [B, S].

        Returns:
          A dict: `embedded` [B, S, H]; `layers` with `hidden` [layers, B, S, H] and `scores`
          [layers, B, A, S, S]; `encoded` [B, S, H]. What nobody reads, XLA prunes.
        """
        tokens = batch["tokens"]
        length = tokens.shape[1]
        if length > self.config.positions:
            raise UserError(
                f"sequences of {length} tokens do not fit model.positions={self.config.positions}"
            )
        allowed = batch["mask"][:, None, None, :].astype(bool)
        if self.config.causal:
            allowed &= jnp.tril(jnp.ones((length, length), bool))
        embedded = self.embeddings(tokens, batch.get("segments"))
        encoded, layers = self.layers(embedded, allowed)
        if self.config.final_norm:
            encoded = self.final_norm(encoded)
        return {"embedded": embedded, "layers": layers, "encoded": encoded}
