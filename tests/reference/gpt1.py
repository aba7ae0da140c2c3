"""GPT-1's Adam and schedules in plain NumPy, to be read against opt.py of openai/finetune-transformer-lm."""

import math

import numpy as np


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
