"""Logits over a vocabulary, all at once or for some positions at a time: losses that are sums need not hold all of them."""

from __future__ import annotations

from typing import Any, NamedTuple

from ssl_jax.lazy import jax, jnp, lax  # the rows of objectives are read before JAX is loaded
from ssl_jax.parallel import by_examples

# Float32 logits of more bytes than this are computed in `PIECES` pieces, unless the config says in how many: of GPT-2's
# 50,257 tokens for more than 1,335 positions on a device.
LARGE = 2**28
PIECES = 8


class Decoding(NamedTuple):
    """What a decoder multiplies. Its logits [B, P, V] are x times the table, transposed, plus the bias; float32.

    Attributes:
      x: [B, P, E], in the dtype of the computation.
      table: [V, E].
      bias: [V]; None if there is none.
    """

    x: Any
    table: Any
    bias: Any = None

    def logits(self):
        logits = decode(self.x.reshape(-1, self.x.shape[-1]), self.table.astype(self.x.dtype))
        logits = logits.reshape(*self.x.shape[:-1], -1)
        return logits if self.bias is None else logits + self.bias


def decode(x, table):
    """[M, E] times [V, E] transposed, float32.

    As in `transformer.dense_product`, only the backward pass differs from JAX's own: the table's gradient is
    computed as x^T g, so that a loss over the vocabulary is not computed a second time, transposed. With soft targets
    at 1,024 tokens, E 128, V 4,096, two busy cores, head and loss together take 97 ms instead of 256.
    """

    @jax.custom_vjp
    def product(x, table):
        return jnp.einsum("me,ve->mv", x, table, preferred_element_type=jnp.float32)

    def backward(saved, gradient):
        x, table = saved
        gradient = gradient.astype(x.dtype)
        return jnp.dot(gradient, table), jnp.dot(x.T, gradient).T

    product.defvjp(lambda x, table: (product(x, table), (x, table)), backward)
    return product(x, table)


def pieces_of(decoding, pieces):
    """In how many pieces logits are computed: `pieces`, or by their size if that is 0."""
    (batch, positions), rows = decoding.x.shape[:2], len(decoding.table)
    return min(pieces or pieces_by_size(4 * batch * positions * rows), positions)


def pieces_by_size(size):
    """In how many pieces float32 logits of so many bytes are computed where the config does not say."""
    return PIECES if size > LARGE else 1


def summed(function, decoding, rows, shared=(), pieces=0):
    """The value and by-products of `function(logits, rows, shared)`, which are sums over positions, piece by piece.

    With several pieces no more than the logits of one exist at a time, and their gradient is computed with them: it is
    the same number of products as for all at once. Positions are cut, not examples, so that a batch stays on its devices.

    Args:
      function: returns a scalar, and a tree of arrays without gradients; closes over no traced value.
      decoding: a `Decoding` with x [B, P, E].
      rows: a tree of arrays [B, P, ...], which get no gradient. 0 everywhere, one must make its position count nothing.
      shared: a tree of arrays that every position reads, without gradient.
      pieces: how many, see `pieces_of`.

    Returns:
      The scalar, and the by-products.
    """
    pieces = pieces_of(decoding, pieces)
    if pieces == 1:
        return function(decoding.logits(), rows, shared)
    shared = jax.tree.map(jnp.asarray, shared)  # a member's own number among them
    batch, positions = decoding.x.shape[:2]
    each = -(-positions // pieces)

    def cut(x):
        """[B, P, ...] to [pieces, B, P / pieces, ...]; zeros fill up the last one."""
        x = jnp.pad(x, [(0, 0), (0, each * pieces - positions), *[(0, 0)] * (x.ndim - 2)])
        return x.reshape(batch, pieces, each, *x.shape[2:]).swapaxes(0, 1)

    def scan(step, x, rows):
        """Adds up the first of what `step` returns for each piece, and stacks the second."""
        cuts = jax.tree.map(cut, (x, rows))
        shapes = jax.eval_shape(lambda cuts: step(*jax.tree.map(lambda x: x[0], cuts))[0], cuts)
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

        def body(sums, piece):
            made, stacked = step(*jax.tree.map(by_examples, piece))
            return jax.tree.map(jnp.add, sums, made), stacked

        return lax.scan(body, zeros, cuts)

    @jax.custom_vjp
    def whole(decoding, rows, shared):
        def step(x, rows):
            return function(decoding._replace(x=x).logits(), rows, shared), ()

        return scan(step, decoding.x, rows)[0]

    def forward(decoding, rows, shared):
        def step(x, rows):
            def of(decoding):
                return function(decoding.logits(), rows, shared)

            made, gradient = jax.value_and_grad(of, has_aux=True)(decoding._replace(x=x))
            return (made, gradient[1:]), gradient.x

        (made, of_tables), of_x = scan(step, decoding.x, rows)
        of_x = of_x.swapaxes(0, 1).reshape(batch, each * pieces, -1)[:, :positions]
        return made, Decoding(of_x, *of_tables)

    def backward(gradient, cotangents):
        return jax.tree.map(lambda x: (cotangents[0] * x).astype(x.dtype), gradient), None, None

    whole.defvjp(forward, backward)
    return whole(decoding, rows, shared)
