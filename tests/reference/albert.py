"""ALBERT's LAMB and n-gram masking in plain NumPy and Python, to be read against the original's files."""

import math

import numpy as np


def lamb_step(params, gradients, m, v, rate, excluded, b1=0.9, b2=0.999, epsilon=1e-6, decay=0.01):
    """lamb_optimizer.py, apply_gradients: Adam without bias correction; then decay and the trust ratio, both
    only for what is not excluded. `params` holds one entry per tensor of the original: none is stacked."""
    new = {}
    for name, p in params.items():
        g = gradients[name]
        m[name] = b1 * m[name] + (1 - b1) * g
        v[name] = b2 * v[name] + (1 - b2) * g**2
        update = m[name] / (np.sqrt(v[name]) + epsilon)
        ratio = 1.0
        if name not in excluded:
            update = update + decay * p
            lengths = math.sqrt((p**2).sum()), math.sqrt((update**2).sum())
            if min(lengths) > 0:
                ratio = lengths[0] / lengths[1]
        new[name] = p - rate * ratio * update
    return new


def choose_ngrams(words, budget, order, draw, max_ngram):
    """create_pretraining_data.py, create_masked_lm_predictions: returns the set of chosen positions.

    words: lists of positions, without [CLS] and [SEP]; order: the starts as they are visited;
    draw(start, probabilities): the index of one of them. The probabilities are section 4.1's, over the
    n-grams that end inside the list; the original lists max_ngram of them everywhere, cut at the end.
    """
    chosen = set()
    for start in order:
        if len(chosen) >= budget:
            break
        longest = min(max_ngram, len(words) - start)
        weights = np.array([1 / n for n in range(1, longest + 1)])
        n = 1 + draw(start, weights / weights.sum())
        while n > 0:
            ngram = [position for word in words[start : start + n] for position in word]
            if len(chosen) + len(ngram) <= budget:
                break
            n -= 1
        if n == 0 or chosen & set(ngram):
            continue
        chosen |= set(ngram)
    return chosen
