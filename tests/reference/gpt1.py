"""GPT-1 in plain NumPy and jnp, to be read against the paper, and train.py and opt.py of finetune-transformer-lm.

Names and shapes are those of reference/bert.py.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from tests.reference import bert


def next_token_loss(params, batch, encode):
    """Section 3.1: the mean over the tokens that have a successor; logits from the table of tokens, no bias.

    `encode(x, visible)`: the trunk; each position sees itself and what is before it.
    """

    def row(tokens, mask):
        length = len(tokens)
        x = params["embeddings/token"][tokens] + params["embeddings/position"][:length]
        visible = jnp.arange(length)[None, :] <= jnp.arange(length)[:, None]
        logits = encode(x, visible & mask[None, :]) @ params["embeddings/token"].T
        asked = mask[:-1] & mask[1:]
        return bert.negative_log_likelihood(logits[:-1], tokens[1:]) * asked, asked

    losses, asked = jax.vmap(row)(batch["tokens"], batch["mask"])
    return losses.sum() / asked.sum()


def loss(params, batch, layers=2):
    """train.py, block: the norm after each sum; none after the last layer."""

    def encode(x, visible):
        for number in range(layers):
            x = bert.layer(bert.of(params, f"encoder/layers/{number}/"), x, visible, epsilon=1e-5)
        return x

    return next_token_loss(params, batch, encode)


def learning_rate(step, peak, steps, warmup_steps):
    """Section 4.1."""
    return peak * warmup_cosine(step / steps, warmup_steps / steps)


def step(params, gradients, m, v, done, rate):
    """opt.py, adam: clip by global norm; section 4.1: all decay but biases and gains."""
    return adam_step(params, bert.clip_by_global_norm(gradients, 1.0), m, v, done, rate, bert.decayed(params))


def warmup_cosine(x, warmup):
    """The share of the peak at the share x of the run. At x == warmup the warm-up still holds."""
    return x / warmup if x <= warmup else 0.5 * (1 + math.cos(math.pi * x))


def warmup_constant(x, warmup):
    return x / warmup if x <= warmup else 1.0


def adam_step(params, gradients, m, v, done, rate, decayed, b1=0.9, b2=0.999, epsilon=1e-8, decay=0.01):
    """opt.py, adam: `done` steps lie before this one, `rate` is the peak times the schedule."""
    t = done + 1
    corrected = rate * math.sqrt(1 - b2**t) / (1 - b1**t)
    new = {}
    for name, p in params.items():
        g = gradients[name]
        m[name] = b1 * m[name] + (1 - b1) * g
        v[name] = b2 * v[name] + (1 - b2) * g * g
        update = m[name] / (np.sqrt(v[name]) + epsilon)
        if name in decayed:
            update = update + decay * p
        new[name] = p - corrected * update
    return new
