"""A task's own metrics on a split, and its predictions as a file in the run's folder."""

import jax
import numpy as np

from ssl_jax.evaluators import mean, postprocess, submissions
from ssl_jax.objectives import task_logits


class Evaluator(mean.Evaluator):
    """Walks over a split once; one pass of the model gives what `mean` reports, and the logits of every example.

    Args and errors are those of mean.Evaluator; `programs` has `predict`.
    """

    def __init__(self, exp, programs, options):
        super().__init__(exp, programs, options)
        self.task, self.split = exp.config.task, options.split
        self.logits = task_logits(exp.config)

    def read(self, params, length):
        """What `measure` returned for each batch, and the logits of the split's rows, [N, ...]."""
        measured, logits = [], []
        for batch in self.batches(length):
            sums, batch_logits = self.programs.predict(params, batch)
            measured.append(sums)
            logits.append(self.devices.read(batch_logits))
        rows = self.examples[length].examples
        return measured, np.concatenate(logits)[: len(rows)]  # without what fills up the last batch

    def run(self, params, length, folder):
        """Yields (name, value): what `mean` does, the task's own metrics, and `score`, see postprocess.py.

        Of a split with examples without a label, such as a test set, it yields nothing. Writes the predictions; those
        of the evaluation before are replaced.
        """
        measured, logits = self.read(params, length)
        rows = self.examples[length].examples
        values, files = postprocess.decide(self.task, self.split, rows, logits, self.logits)
        if jax.process_index() == 0:
            submissions.save(folder, files)
        if values is not None:
            yield from self.means(measured)
            yield from values.items()
