"""Every training signal once, as a pure function `f(out, batch) -> Term`.

Float32, no parameters, no rng, no config. A term is a sum and a weight, never a mean: the one mean is
taken over the global batch (parallel.py), so the loss does not depend on how the batch is cut. The
weight depends on the batch alone.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Term(NamedTuple):
    """One objective on one part of a batch.

    Attributes:
      sum: [] float32, summed over the examples (or tokens) that count.
      weight: [] float32, how many count.
      metrics: name -> (sum, weight), reported as the quotient of their totals.
    """

    sum: jax.Array
    weight: jax.Array
    metrics: dict


def cross_entropy(logits, targets):
    """-log softmax(logits)[target] in float32: [..., V], [...] to [...]."""
    logits = logits.astype(jnp.float32)
    chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return jax.nn.logsumexp(logits, axis=-1) - chosen


def _classify(logits, targets, weights):
    weights = weights.astype(jnp.float32)
    correct = (logits.argmax(-1) == targets) * weights
    return Term(
        (cross_entropy(logits, targets) * weights).sum(),
        weights.sum(),
        {"accuracy": (correct.sum(), weights.sum())},
    )


def mlm(out, batch):
    """Masked language modelling (BERT, section 3.1): cross-entropy at the chosen positions.

    Reads `out['mlm_logits']` [B, P, V], `batch['targets']` and `batch['weights']` [B, P].
    """
    return _classify(out["mlm_logits"], batch["targets"], batch["weights"])


def pair(out, batch):
    """Which kind of sentence pair (BERT's NSP: 0 next, 1 random): cross-entropy over two classes.

    Reads `out['pair_logits']` [B, 2], `batch['pair']` [B]. Rows without a real token do not count.
    """
    return _classify(out["pair_logits"], batch["pair"], batch["mask"].any(-1))


OBJECTIVES = {"mlm": mlm, "nsp": pair}
HEADS = {"mlm": "mlm", "nsp": "pair"}  # the head that each objective reads
