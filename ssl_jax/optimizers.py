"""From gradients to updates, as the originals did it: parts of optax plus what optax does not have.

Parameters are chosen by name, never by number of dimensions: biases of stacked layers are matrices.
"""

import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from ssl_jax.errors import check_choice


def path_name(path):
    """('encoder', 'layers', 'attention', 'query', 'kernel') as 'encoder/layers/attention/query/kernel'."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def schedule(config, steps):
    """The learning rate as a function of the step.

    `linear` is BERT's (optimization.py): the decay to 0 counts from step 0, and the warm-up takes its
    place until it ends, which leaves a small drop there. Step 0 has a rate of 0.

    Args:
      config: `schedule`, `learning_rate`, `warmup` (share of the steps).
      steps: length of the run.
    """
    check_choice(config.schedule, ("linear",), "optimizer.schedule")
    warmup_steps = round(config.warmup * steps)

    def rate(step):
        warming = step / max(warmup_steps, 1)
        decaying = 1 - step / steps
        return config.learning_rate * jnp.where(step < warmup_steps, warming, jnp.maximum(decaying, 0))

    return rate


class AdamMoments(NamedTuple):
    """First and second moments, each a tree like the parameters."""

    mean: optax.Updates
    square: optax.Updates


def scale_by_bert_adam(b1, b2, epsilon):
    """Adam without bias correction, m / (sqrt(v) + epsilon) (bert/optimization.py, AdamWeightDecayOptimizer).

    `optax.adam` corrects the bias: its first step is sqrt(1 - b2) / (1 - b1) = 0.316 times as large.
    """

    def init(params):
        return AdamMoments(*(jax.tree.map(jnp.zeros_like, params) for _ in range(2)))

    def update(gradients, moments, params=None):
        del params
        mean = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, moments.mean, gradients)
        square = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, moments.square, gradients)
        updates = jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + epsilon), mean, square)
        return updates, AdamMoments(mean, square)

    return optax.GradientTransformation(init, update)


def decayed(params, no_decay):
    """A tree of booleans: true where no part of the parameter's name matches the regex `no_decay`."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: re.search(no_decay, path_name(path)) is None, params
    )


def build_optimizer(config, steps):
    """Clip by global norm, Adam, decay by name, learning rate: in the order of BERT's optimization.py."""
    return optax.chain(
        optax.clip_by_global_norm(config.clip),
        scale_by_bert_adam(config.b1, config.b2, config.epsilon),
        optax.add_decayed_weights(config.weight_decay, lambda params: decayed(params, config.no_decay)),
        optax.scale_by_learning_rate(schedule(config, steps)),
    )
