"""GPT-2 in plain NumPy and jnp, to be read against section 2.3 and src/model.py.

The paper does not say how it was trained: that is appendix B of GPT-3's, but for the end of the cosine. Names and
shapes are those of reference/bert.py.
"""

import math

import numpy as np

from tests.reference import bert, gpt1


def layer(p, x, visible):
    """src/model.py, block: the norm at the input of each sub-layer."""
    x = x + bert.attention(bert.of(p, "attention/"), bert.layer_norm(bert.of(p, "attention_norm/"), x, 1e-5), visible)
    y = bert.dense(bert.of(p, "ffn/inner/"), bert.layer_norm(bert.of(p, "ffn_norm/"), x, 1e-5))
    return x + bert.dense(bert.of(p, "ffn/output/"), bert.gelu(y))


def loss(params, batch, layers=2):
    """src/model.py, model: a norm after the last layer."""

    def encode(x, visible):
        for number in range(layers):
            x = layer(bert.of(params, f"encoder/layers/{number}/"), x, visible)
        return bert.layer_norm(bert.of(params, "encoder/final_norm/"), x, 1e-5)

    return gpt1.next_token_loss(params, batch, encode)


def learning_rate(now, peak, end, warmup):
    """Linear up to `warmup`, a cosine to 10 % at `end`, 10 % from there; all counted alike."""
    if now <= warmup:
        return peak * now / warmup
    return peak * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * min(now / end, 1))))


def adamw_step(params, gradients, m, v, done, rate, decayed, b1=0.9, b2=0.95, epsilon=1e-8, decay=0.1):
    """Adam with corrected moments (Kingma and Ba 2014, algorithm 1), decay beside it (Loshchilov and Hutter 2017)."""
    new = {}
    for name, p in params.items():
        g = gradients[name]
        m[name] = b1 * m[name] + (1 - b1) * g
        v[name] = b2 * v[name] + (1 - b2) * g**2
        update = m[name] / (1 - b1 ** (done + 1)) / (np.sqrt(v[name] / (1 - b2 ** (done + 1))) + epsilon)
        if name in decayed:
            update = update + decay * p
        new[name] = p - rate * update
    return new


def step(params, gradients, m, v, done, rate):
    return adamw_step(params, bert.clip_by_global_norm(gradients, 1.0), m, v, done, rate, bert.decayed(params))
