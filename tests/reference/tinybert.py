"""TinyBERT in plain NumPy and jnp, to be read against section 3 and TinyBERT/ of Pretrained-Language-Model.

Names and shapes are those of reference/bert.py; `teacher` are the parameters of a deeper and wider BERT.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from tests.reference import bert, distilbert, electra


def attention_scores(p, x):
    """Equation 1, A = Q K^T / sqrt(d_k), before mask and softmax: [heads, S, S]."""
    made = []
    for head in range(p["query/kernel"].shape[1]):
        q, k = (x @ p[f"{name}/kernel"][:, head] + p[f"{name}/bias"][head] for name in ("query", "key"))
        made.append(q @ k.T / math.sqrt(q.shape[1]))
    return jnp.stack(made)


def read(p, tokens, mask, segments, layers, gelu):
    """The embeddings and each layer's states, and each layer's scores."""
    states, scores = [bert.embed(bert.of(p, "embeddings/"), tokens, segments)], []
    for number in range(layers):
        here = bert.of(p, f"encoder/layers/{number}/")
        scores.append(attention_scores(bert.of(here, "attention/"), states[-1]))
        states.append(bert.layer(here, states[-1], mask[None, :], gelu))
    return states, scores


def project(params, state, number):
    """Equations 8 and 9: W_e for the embeddings, W_h for every layer."""
    return state @ params["fit/kernel"][min(number, 1)]


def release_project(params, state, number):
    """transformer/modeling.py: one dense layer, fit_dense, for all."""
    del number
    return state @ params["fit/kernel"][0] + params["fit/bias"][0]


def loss(params, batch, teacher, ours=2, theirs=4, project=project):
    """Equations 6 to 9 and 11 without the prediction layer: g(m) = m N / M, all of a weight of 1.

    Means are taken over real tokens, and of scores over pairs of them.
    """

    def row(tokens, mask, segments):
        states, scores = read(params, tokens, mask, segments, ours, electra.gelu)
        their_states, their_scores = read(teacher, tokens, mask, segments, theirs, bert.gelu)
        by_token, by_pair = 0, 0
        for m in range(ours + 1):
            by_token += ((project(params, states[m], m) - their_states[m * theirs // ours]) ** 2).mean(-1)
        for m in range(1, ours + 1):
            by_pair += ((scores[m - 1] - their_scores[m * theirs // ours - 1]) ** 2).mean(0)
        pairs = mask[:, None] & mask[None, :]
        return by_token * mask, by_pair * pairs, pairs

    by_token, by_pair, pairs = jax.vmap(row)(batch["tokens"], batch["mask"], batch["segments"])
    return by_token.sum() / batch["mask"].sum() + by_pair.sum() / pairs.sum()


def release_loss(params, batch, teacher):
    """general_distill.py: MSELoss over all positions; scores, with -10000 added to those of padding, are 0 up to -100."""

    def row(tokens, mask, segments):
        states, scores = read(params, tokens, mask, segments, 1, electra.gelu)
        their_states, their_scores = read(teacher, tokens, mask, segments, 2, bert.gelu)
        total = sum(((release_project(params, states[m], m) - their_states[2 * m]) ** 2).mean() for m in range(2))
        ours, theirs = (x + jnp.where(mask, 0, -10000)[None, None, :] for x in (scores[0], their_scores[1]))
        ours, theirs = (jnp.where(x <= -1e2, 0, x) for x in (ours, theirs))
        return total + ((ours - theirs) ** 2).mean()

    return jax.vmap(row)(batch["tokens"], batch["mask"], batch["segments"]).mean()


def prediction_loss(params, batch, teacher, ours=1, theirs=2):
    """Equation 10 at t = 1. In the released code the student's classes are read from ReLU(pooled), and the mean is over
    all logits (transformer/modeling.py, task_distill.py)."""

    def logits(p, tokens, mask, segments, layers, gelu, activation):
        states, _ = read(p, tokens, mask, segments, layers, gelu)
        return bert.dense(bert.of(p, "classifier/dense/"), activation(bert.pooled(bert.of(p, "pooler/"), states[-1])))

    def row(*texts):
        z = logits(params, *texts, ours, electra.gelu, lambda x: jnp.maximum(x, 0))
        target = jax.nn.softmax(logits(teacher, *texts, theirs, bert.gelu, lambda x: x))
        return -(target * (z - jax.nn.logsumexp(z))).mean()

    return jax.vmap(row)(batch["tokens"], batch["mask"], batch["segments"]).mean()


learning_rate, step = bert.learning_rate, bert.step  # section 4.2: as BERT's

release_learning_rate = distilbert.learning_rate  # optimization.py, warmup_linear


def release_clip(gradients):
    """optimization.py, BertAdam.step: clip_grad_norm_ of each parameter alone."""
    norms = {name: math.sqrt((g.astype(np.float64) ** 2).sum()) for name, g in gradients.items()}
    return {name: g * min(1.0, 1 / (norms[name] + 1e-6)) for name, g in gradients.items()}


def release_step(params, gradients, m, v, done, rate):
    del done
    return bert.adam_weight_decay_step(params, release_clip(gradients), m, v, rate, bert.decayed(params))
