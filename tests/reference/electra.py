"""ELECTRA in plain NumPy, jnp and Python, to be read against the paper and the original's files.

Names and shapes are those of reference/bert.py.
"""

import jax
import jax.numpy as jnp

from tests.reference import bert


def gelu(x):
    """model/modeling.py, gelu: the form with the error function, not BERT's."""
    return x * 0.5 * (1 + jax.scipy.special.erf(x / jnp.sqrt(2.0)))


def encode(params, trunk, tokens, mask, segments, layers):
    """Generator and discriminator: the same tables and norm (section 3.2), each its own projection and layers."""
    x = bert.embed(bert.of(params, "embeddings/"), tokens, segments)
    x = bert.dense(bert.of(params, f"{trunk}/projection/"), x)  # embeddings_project
    for number in range(layers):
        x = bert.layer(bert.of(params, f"{trunk}/layers/{number}/"), x, mask[None, :], gelu)
    return x


def generator(params, batch, layers=2):
    """The vectors and logits at the positions drawn, [B, P, H] and [B, P, V]."""

    def row(tokens, mask, segments, positions):
        x = encode(params, "generator_encoder", tokens, mask, segments, layers)[positions]
        return x, bert.masked_logits(bert.of(params, "mlm/"), x, params["embeddings/token"], gelu)

    return jax.vmap(row)(*(batch[name] for name in ("tokens", "mask", "segments", "positions")))


def surprise(params, batch, samples, layers=2):
    """-log of the probability that the discriminator gives to the truth at each token, and the tokens: [B, S]."""

    def row(original, mask, segments, positions, weights, samples):
        shown = original
        for i in reversed(range(len(positions))):  # of several draws of one position the first is seen
            shown = jnp.where(weights[i] > 0, shown.at[positions[i]].set(samples[i]), shown)
        x = encode(params, "encoder", shown, mask, segments, layers)
        x = gelu(bert.dense(bert.of(params, "replaced/dense/"), x))
        p_original = jax.nn.sigmoid(-bert.dense(bert.of(params, "replaced/logit/"), x)[:, 0])
        # A sample that happens to be the token itself counts as real.
        return -jnp.where(shown == original, jnp.log(p_original), jnp.log(1 - p_original)), shown

    names = ("original", "mask", "segments", "positions", "weights")
    return jax.vmap(row)(*(batch[name] for name in names), samples)


def loss(params, batch, sample):
    """Section 2, with appendix A's lambda. `sample(logits)` draws a token at each position, [B, P]."""
    _, logits = generator(params, batch)
    masked = bert.negative_log_likelihood(logits, batch["targets"]) * batch["weights"]
    surprises, _ = surprise(params, batch, jax.lax.stop_gradient(sample(logits)))
    detected = (surprises * batch["mask"]).sum() / batch["mask"].sum()
    return masked.sum() / batch["weights"].sum() + 50 * detected


def adversarial_loss(params, batch, sample):
    """Appendix F: the generator is paid R, the discriminator's loss at its sample, and learns by REINFORCE with the
    baseline b = -log of what is expected of the discriminator, which learns from what it gave."""
    x, logits = generator(params, batch)
    samples = jax.lax.stop_gradient(sample(logits))
    surprises, shown = surprise(params, batch, samples)
    judged = jnp.take_along_axis(shown, batch["positions"], axis=1)  # not the second sample of a position
    reward = jax.lax.stop_gradient(jnp.take_along_axis(surprises, batch["positions"], axis=1))
    expected = jax.nn.sigmoid(bert.dense(bert.of(params, "baseline/dense/"), jax.lax.stop_gradient(x))[..., 0])
    baseline = -jnp.log(jax.lax.stop_gradient(expected))
    policy = (reward - baseline) * bert.negative_log_likelihood(logits, judged)
    given = jnp.exp(-reward)
    fit = -given * jnp.log(expected) - (1 - given) * jnp.log(1 - expected)
    detected = (surprises * batch["mask"]).sum() / batch["mask"].sum()
    return ((policy + fit) * batch["weights"]).sum() / batch["weights"].sum() + 50 * detected


step = bert.step  # model/optimization.py, create_optimizer: the clip and the Adam are BERT's


def learning_rate(step, peak, steps, warmup_steps):
    """model/optimization.py, create_optimizer: the decayed rate, times the warm-up's share up to 1."""
    return peak * (1 - step / steps) * min(1, step / warmup_steps)


def mask_row(tokens, candidates, count, places, coins, mask_token, mask_share):
    """pretrain_helpers.py, mask: one row; returns what is shown and the positions drawn, in that order.

    places, coins: one uniform number per draw. A draw says [MASK] or nothing: another one's [MASK] stays.
    """
    shown, drawn = list(tokens), []
    for place, coin in list(zip(places, coins))[:count]:
        drawn.append(candidates[int(place * len(candidates))])
        if coin < mask_share:
            shown[drawn[-1]] = mask_token
    return shown, drawn


def scatter_update(tokens, positions, updates):
    """pretrain_helpers.py, scatter_update: one row. Position 0 is never written, and a position drawn more
    than once gets the sum of its updates divided by their number, rounded down."""
    new = list(tokens)
    for position in set(positions) - {0}:
        values = [update for where, update in zip(positions, updates) if where == position]
        new[position] = sum(values) // len(values)
    return new
