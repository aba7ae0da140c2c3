"""BERT in plain NumPy and jnp, to be read against the paper and the original's files.

Parameters are name -> tensor, one tensor for each layer: `encoder/layers/0/attention/query/kernel` [H, A, D]. The
forward pass is that of one row: tokens [S] make vectors [S, H].
"""

import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np


def of(params, prefix):
    """The parameters under `prefix`, with the rest of their names."""
    return {name.removeprefix(prefix): x for name, x in params.items() if name.startswith(prefix)}


def dense(p, x):
    return x @ p["kernel"] + p["bias"]


def layer_norm(p, x, epsilon=1e-12):
    x = x - x.mean(-1, keepdims=True)
    return x / jnp.sqrt((x**2).mean(-1, keepdims=True) + epsilon) * p["scale"] + p["bias"]


def gelu(x):
    """modeling.py, gelu: the form with tanh."""
    return x * 0.5 * (1 + jnp.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def attention(p, x, visible):
    """modeling.py, attention_layer, one head after the other. `visible` [S, S]: does the row see the column?

    A large finite number hides: a row of padding may see nothing at all, and nobody reads what it makes of that.
    """
    made = p["output/bias"]
    for head in range(p["query/kernel"].shape[1]):
        q, k, v = (x @ p[f"{name}/kernel"][:, head] + p[f"{name}/bias"][head] for name in ("query", "key", "value"))
        scores = jnp.where(visible, q @ k.T / math.sqrt(q.shape[1]), -1e9)
        made = made + jax.nn.softmax(scores) @ v @ p["output/kernel"][head]
    return made


def layer(p, x, visible, gelu=gelu, epsilon=1e-12):
    """modeling.py, transformer_model: the norm after each sum."""
    x = layer_norm(of(p, "attention_norm/"), x + attention(of(p, "attention/"), x, visible), epsilon)
    y = dense(of(p, "ffn/output/"), gelu(dense(of(p, "ffn/inner/"), x)))
    return layer_norm(of(p, "ffn_norm/"), x + y, epsilon)


def embed(p, tokens, segments):
    """modeling.py, embedding_postprocessor."""
    x = p["token"][tokens] + p["segment"][segments] + p["position"][: len(tokens)]
    return layer_norm(of(p, "norm/"), x)


def pooled(p, encoded):
    """modeling.py: the first position, which is [CLS]."""
    return jnp.tanh(dense(of(p, "dense/"), encoded[0]))


def masked_logits(p, x, table, gelu=gelu):
    """run_pretraining.py, get_masked_lm_output: the decoder is the table of tokens."""
    return layer_norm(of(p, "norm/"), gelu(dense(of(p, "dense/"), x))) @ table.T + p["bias"]


def negative_log_likelihood(logits, targets):
    log_p = logits - jax.nn.logsumexp(logits, axis=-1, keepdims=True)
    return -jnp.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0]


def loss(params, batch, layers=2):
    """A.2: "the sum of the mean masked LM likelihood and the mean next sentence prediction likelihood"."""

    def row(tokens, mask, segments, positions, targets, pair):
        x = embed(of(params, "embeddings/"), tokens, segments)
        for number in range(layers):
            x = layer(of(params, f"encoder/layers/{number}/"), x, mask[None, :])
        logits = masked_logits(of(params, "mlm/"), x[positions], params["embeddings/token"])
        next_logits = dense(of(params, "pair/dense/"), pooled(of(params, "pooler/"), x))
        return negative_log_likelihood(logits, targets), negative_log_likelihood(next_logits, pair)

    names = ("tokens", "mask", "segments", "positions", "targets", "pair")
    masked, pair = jax.vmap(row)(*(batch[name] for name in names))
    return (masked * batch["weights"]).sum() / batch["weights"].sum() + pair.mean()


def decayed(params):
    """optimization.py, exclude_from_weight_decay: all but LayerNorm and bias."""
    return {name for name in params if "norm" not in name and "bias" not in name}


def step(params, gradients, m, v, done, rate):
    """optimization.py, create_optimizer: clip by global norm, Adam."""
    del done
    return adam_weight_decay_step(params, clip_by_global_norm(gradients, 1.0), m, v, rate, decayed(params))


def learning_rate(step, peak, steps, warmup_steps):
    """optimization.py, create_optimizer: polynomial decay to 0 over all steps; before the end of the
    warm-up, step / warmup_steps of the peak instead."""
    if step < warmup_steps:
        return peak * step / warmup_steps
    return peak * (1 - step / steps)


def clip_by_global_norm(gradients, limit):
    norm = math.sqrt(sum(float((g.astype(np.float64) ** 2).sum()) for g in gradients.values()))
    return {name: g * limit / max(norm, limit) for name, g in gradients.items()}


def adam_weight_decay_step(params, gradients, m, v, rate, decayed, b1=0.9, b2=0.999, epsilon=1e-6, decay=0.01):
    """optimization.py, AdamWeightDecayOptimizer.apply_gradients: no bias correction, decay inside the step."""
    new = {}
    for name, p in params.items():
        g = gradients[name]
        m[name] = b1 * m[name] + (1 - b1) * g
        v[name] = b2 * v[name] + (1 - b2) * g**2
        update = m[name] / (np.sqrt(v[name]) + epsilon)
        if name in decayed:
            update = update + decay * p
        new[name] = p - rate * update
    return new


def num_to_predict(tokens, probability, limit):
    """create_pretraining_data.py: min(limit, max(1, int(round(tokens * probability)))), in exact fractions.

    `round` of a float64 product; only an exact half could differ between the two, and rounds to even.
    """
    return min(limit, max(1, round(Fraction(str(probability)) * tokens)))
