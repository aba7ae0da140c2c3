"""What a model must beat: guesses that know how frequent each token is, and nothing of the sentence."""

import jax
import numpy as np

from ssl_jax import experiment, step
from ssl_jax.data import batches, tokens


def unigram(config):
    """The baselines of predicting tokens, on the targets of a walk over all held-out text.

    Returns:
      `baseline_accuracy`: how often the target is the most frequent token of the training text.
      `unigram_loss`: the targets' cross-entropy in nats under the training text's token frequencies, with
      one added to each count.
    """
    exp = experiment.open(config)
    config, vocabulary = exp.config, exp.vocabulary
    training = tokens.Store(exp.prepared, "train").counts(vocabulary.size)
    corrupt = jax.jit(step.make_corrupt(config, vocabulary, training))
    examples = batches.evaluation_batches(
        config.data, exp.kind, exp.stores["heldout"], vocabulary, exp.phases[-1].length, config.batch_size, config.seed
    )
    targets = np.zeros(vocabulary.size)
    for number in range(examples.steps):
        batch = corrupt(examples(number))
        targets += np.bincount(
            np.ravel(batch["targets"]), weights=np.ravel(batch["weights"]), minlength=vocabulary.size
        )
    frequency = (training + 1) / (training + 1).sum()
    return {
        "baseline_accuracy": float(targets[training.argmax()] / targets.sum()),
        "unigram_loss": float(-(targets * np.log(frequency)).sum() / targets.sum()),
    }
