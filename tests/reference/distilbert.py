"""DistilBERT in plain NumPy and jnp, to be read against sections 2 and 3, and distiller.py and train.py.

Names and shapes are those of reference/bert.py; `teacher` are the parameters of a deeper model, which sees what the
student sees.
"""

import jax
import jax.numpy as jnp

from tests.reference import bert, electra, gpt2

TEMPERATURE = 2


def divergence(ours, theirs):
    """distiller.py: KL(teacher || student) of the softened distributions, times T^2."""
    p, q = jax.nn.softmax(theirs / TEMPERATURE), jax.nn.softmax(ours / TEMPERATURE)
    return TEMPERATURE**2 * (p * (jnp.log(p) - jnp.log(q))).sum(-1)


def cosine(x, y):
    return (x * y).sum(-1) / jnp.sqrt((x**2).sum(-1) * (y**2).sum(-1))


def total(batch, divergences, cosines, language_model):
    """The README's weights; the teacher is compared at all tokens but padding, masked or not."""
    mean = lambda x: (x * batch["mask"]).sum() / batch["mask"].sum()  # noqa: E731
    return 5 * mean(divergences) + 2 * language_model + mean(1 - cosines)


def loss(params, batch, teacher, ours=1, theirs=2):
    """Section 3: the student has neither token types nor a pooler. BERT is the teacher."""

    def row(tokens, mask, segments, positions, targets):
        x = params["embeddings/token"][tokens] + params["embeddings/position"][: len(tokens)]
        x = bert.layer_norm(bert.of(params, "embeddings/norm/"), x)
        for number in range(ours):
            x = bert.layer(bert.of(params, f"encoder/layers/{number}/"), x, mask[None, :], electra.gelu)
        y = bert.embed(bert.of(teacher, "embeddings/"), tokens, segments)
        for number in range(theirs):
            y = bert.layer(bert.of(teacher, f"encoder/layers/{number}/"), y, mask[None, :])
        logits = bert.masked_logits(bert.of(params, "mlm/"), x, params["embeddings/token"], electra.gelu)
        soft = divergence(logits, bert.masked_logits(bert.of(teacher, "mlm/"), y, teacher["embeddings/token"]))
        return soft, cosine(x, y), bert.negative_log_likelihood(logits[positions], targets)

    names = ("tokens", "mask", "segments", "positions", "targets")
    soft, cosines, masked = jax.vmap(row)(*(batch[name] for name in names))
    return total(batch, soft, cosines, (masked * batch["weights"]).sum() / batch["weights"].sum())


def causal_loss(params, batch, teacher, ours=1, theirs=2):
    """DistilGPT-2: the language model reads on, and the states compared are those after the last norm."""

    def read(p, tokens, mask, layers):
        x = p["embeddings/token"][tokens] + p["embeddings/position"][: len(tokens)]
        visible = jnp.tri(len(tokens), dtype=bool) & mask[None, :]
        for number in range(layers):
            x = gpt2.layer(bert.of(p, f"encoder/layers/{number}/"), x, visible)
        x = bert.layer_norm(bert.of(p, "encoder/final_norm/"), x, 1e-5)
        return x, x @ p["embeddings/token"].T

    def row(tokens, mask):
        (x, logits), (y, their_logits) = read(params, tokens, mask, ours), read(teacher, tokens, mask, theirs)
        asked = mask[:-1] & mask[1:]
        next_token = bert.negative_log_likelihood(logits[:-1], tokens[1:]) * asked
        return divergence(logits, their_logits), cosine(x, y), next_token, asked

    soft, cosines, next_token, asked = jax.vmap(row)(batch["tokens"], batch["mask"])
    return total(batch, soft, cosines, next_token.sum() / asked.sum())


def learning_rate(step, peak, steps, warmup_steps):
    """train.py: linear up, and from the peak linear down to 0 at the end."""
    if step < warmup_steps:
        return peak * step / warmup_steps
    return peak * (steps - step) / (steps - warmup_steps)


def clip(gradients):
    return bert.clip_by_global_norm(gradients, 5.0)


def step(params, gradients, m, v, done, rate):
    """train.py: AdamW, nothing decays."""
    return gpt2.adamw_step(params, clip(gradients), m, v, done, rate, set(), b2=0.98, epsilon=1e-6)
