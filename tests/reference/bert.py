"""BERT's optimizer and masking count in plain NumPy and Python, to be read against the original's files."""

import math
from fractions import Fraction

import numpy as np


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
