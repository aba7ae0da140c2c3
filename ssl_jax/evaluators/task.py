"""A task's own metrics on a split, and its predictions as a file in the run's folder."""

import jax
import numpy as np

from ssl_jax import metrics, submissions
from ssl_jax.evaluators import mean


class Evaluator(mean.Evaluator):
    """Walks over a split once; one pass of the model gives what `mean` reports, and the logits of every example.

    Args and errors are those of mean.Evaluator; `setting` has `predict`.
    """

    def __init__(self, setting, *, split, max_batches):
        super().__init__(setting, split=split, max_batches=max_batches)
        self.predict = setting.predict
        self.task, self.split, self.labels = setting.config.task, split, setting.stores[split].labels

    def run(self, params, length, folder):
        """Yields (name, value): what `mean` does, the task's `metrics.METRICS`, and `score`.

        Of a split with examples without a label (below 0, or NaN), such as a test set, it yields nothing. Writes the
        predictions, see `submissions.write`; those of the evaluation before are replaced.
        """
        measured, logits = [], []
        for batch in self.batches(length):
            sums, made = self.predict(params, batch)
            measured.append(sums)
            logits.append(self.parallel.read(made))
        predictions = decide(np.concatenate(logits)[: len(self.labels)])  # less what fills up the last batch
        if jax.process_index() == 0:
            submissions.write(folder, self.task.name, self.split, predictions, self.task.labels)
        labels = self.labels[: len(predictions)]
        if (labels >= 0).all():
            yield from self.means(measured)
            yield from metrics.evaluate(self.task.name, predictions, labels).items()


def decide(logits):
    """The number of the largest logit, [N, C] to int [N]; of one logit, a score, itself, [N, 1] to float [N]."""
    return logits[:, 0] if logits.shape[1] == 1 else logits.argmax(-1)
