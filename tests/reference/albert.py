"""ALBERT in plain NumPy and jnp, to be read against the paper and the original's files.

Names and shapes are those of reference/bert.py; layers that share have one tensor, under the number of its set.
"""

import math

import jax
import numpy as np

from tests.reference import bert


def loss(params, batch, layers=2, shared=("attention", "ffn"), groups=1):
    """Section 3.1: narrow tables projected to the trunk's width, the same layer L times, MLM and SOP.

    `shared`: the parts that layers of a group have in common; the rest is each layer's own (Table 4).
    """
    trunk = bert.of(params, "encoder/layers/")

    def of_layer(number):
        group = int(number / layers * groups)  # modeling.py, transformer_model
        made = {}
        for part in ("attention", "ffn"):
            here = f"{group if part in shared else number}/"
            made |= {name: x for name, x in bert.of(trunk, here).items() if name.startswith(part)}
        return made

    def row(tokens, mask, segments, positions, targets, pair):
        x = bert.embed(bert.of(params, "embeddings/"), tokens, segments)
        x = bert.dense(bert.of(params, "encoder/projection/"), x)  # embedding_hidden_mapping_in
        for number in range(layers):
            x = bert.layer(of_layer(number), x, mask[None, :])
        logits = bert.masked_logits(bert.of(params, "mlm/"), x[positions], params["embeddings/token"])
        order_logits = bert.dense(bert.of(params, "pair/dense/"), bert.pooled(bert.of(params, "pooler/"), x))
        return bert.negative_log_likelihood(logits, targets), bert.negative_log_likelihood(order_logits, pair)

    names = ("tokens", "mask", "segments", "positions", "targets", "pair")
    masked, order = jax.vmap(row)(*(batch[name] for name in names))
    return (masked * batch["weights"]).sum() / batch["weights"].sum() + order.mean()


learning_rate = bert.learning_rate  # optimization.py, create_optimizer


def step(params, gradients, m, v, done, rate):
    """optimization.py, create_optimizer: BERT's clip and exclusions, LAMB."""
    del done
    excluded = set(params) - bert.decayed(params)
    return lamb_step(params, bert.clip_by_global_norm(gradients, 1.0), m, v, rate, excluded)


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
