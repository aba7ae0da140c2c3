"""Initialisation that makes attention look at neighbouring tokens from step 0.

A small model sits on the unigram plateau until its attention has learned that adjacent positions matter;
from random parameters that can take longer than a demo lasts. Here the first layer's heads start where
such a model ends up. All parameters are then trained as usual. None of the papers does this.
"""

import jax.numpy as jnp

from ssl_jax.errors import UserError

SHARPNESS = 1.5  # scale of the first layer's queries and keys; 1.5 and 2.5 trained alike, 1.0 was too soft
LOUDNESS = 2.0  # scale of positions relative to tokens; below that the heads match tokens instead


def attend_to_neighbours(params, config, trunk="encoder", embeddings="embeddings"):
    """Makes head i of layer 0 of a trunk attend `config.neighbours[i]` positions away.

    Positions become sinusoids, two columns per frequency, with each head's columns spanning all frequencies. The
    query of layer 0 is the identity; its key rotates every pair of columns by the head's offset, so that the
    key of position p looks like position p - offset.

    Args:
      params: those of `Model`; layers stacked.
      config: `TransformerConfig`.
      trunk, embeddings: their names in `params`.

    Returns:
      New params, with `position` and layer 0 of the query and key kernels replaced.

    Raises:
      UserError: not exactly one offset per head, or shapes that cannot hold the construction.
    """
    heads, hidden = config.heads, config.hidden_size
    if len(config.neighbours) != heads:
        raise UserError(f"model.neighbours={config.neighbours} needs one offset for each of {heads} heads")
    if config.embedding_size != hidden or heads * config.head_size != hidden or config.head_size % 2:
        raise UserError("model.neighbours needs embeddings and heads as wide as the trunk and an even head size")
    # Periods from 3 to 60 positions.
    frequencies = 2.0 / 20.0 ** (jnp.arange(hidden // 2) / (hidden // 2))
    frequencies = frequencies.reshape(-1, heads).T  # [heads, pairs]: each head spans the whole range
    angles = jnp.arange(config.max_positions)[:, None, None] * frequencies
    table = jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1).reshape(config.max_positions, hidden)
    table *= LOUDNESS * config.embedding_range * jnp.sqrt(2.0)  # a sinusoid's mean square is a half

    turn = frequencies * jnp.asarray(config.neighbours)[:, None]
    cos, sin = jnp.cos(turn).ravel(), jnp.sin(turn).ravel()
    even = jnp.arange(0, hidden, 2)
    key = jnp.zeros((hidden, hidden)).at[even, even].set(cos).at[even + 1, even + 1].set(cos)
    key = key.at[even + 1, even].set(-sin).at[even, even + 1].set(sin)

    encoder = params[trunk]
    attention = dict(encoder["layers"]["attention"])
    for name, kernel in (("query", jnp.eye(hidden)), ("key", key)):
        stacked = attention[name]["kernel"]
        first = SHARPNESS * kernel.reshape(stacked.shape[1:])
        attention[name] = attention[name] | {"kernel": stacked.at[0].set(first)}
    layers = encoder["layers"] | {"attention": attention}
    tables = params[embeddings] | {"position": table}
    return params | {trunk: encoder | {"layers": layers}, embeddings: tables}
