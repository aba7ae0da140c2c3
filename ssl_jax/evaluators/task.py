"""A task's own metrics on a split, and its predictions as a file in the run's folder."""

import jax
import numpy as np

from ssl_jax import decisions, submissions
from ssl_jax.evaluators import mean
from ssl_jax.losses import task_logits


class Evaluator(mean.Evaluator):
    """Walks over a split once; one pass of the model gives what `mean` reports, and the logits of every example.

    Args and errors are those of mean.Evaluator; `setting` has `predict`.
    """

    def __init__(self, setting, *, split, **options):
        super().__init__(setting, split=split, **options)
        self.predict, self.task, self.split = setting.predict, setting.config.task, split
        self.logits = task_logits(setting.config)

    def run(self, params, length, folder):
        """Yields (name, value): what `mean` does, the task's own metrics, and `score`, see decisions.py.

        Of a split with examples without a label, such as a test set, it yields nothing. Writes the predictions; those
        of the evaluation before are replaced.
        """
        measured, logits = [], []
        for batch in self.batches(length):
            sums, made = self.predict(params, batch)
            measured.append(sums)
            logits.append(self.parallel.read(made))
        rows = self.examples[length].examples
        logits = np.concatenate(logits)[: len(rows)]  # less what fills up the last batch
        values, files = decisions.decide(self.task, self.split, rows, logits, self.logits)
        if jax.process_index() == 0:
            submissions.save(folder, files)
        if values is not None:
            yield from self.means(measured)
            yield from values.items()
