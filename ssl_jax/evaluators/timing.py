"""How long the forward pass takes: DistilBERT's Table 3 (a pass over STS-B, batch 1), TinyBERT's speed-ups."""

import time

import jax
import numpy as np

from ssl_jax.evaluators.mean import split_examples
from ssl_jax.models.model import flatten_choices
from ssl_jax.objectives import task_logits


class Evaluator:
    """Reads a split on one device, one batch after the other, and times the model alone.

    Batches are padded to the run's length, as shapes are static; preparing and copying them is not timed, nor is
    compiling. A task's logits are computed; without a task, the trunk's last states.
    """

    def __init__(self, exp, programs, options):
        """
        Args:
          exp: an `Experiment`.
          programs: unused: the batch size is another one.
          options: `evaluators.Timing`.

        Raises:
          UserError: no such split, or the split has too little text.
        """
        self.plain, self.options, self.at_end = exp.devices.plain, options, options.at_end
        self.examples = split_examples(exp, options, options.batch_size)
        read = task_logits(exp.config) or "encoded"
        self.forward = jax.jit(lambda params, batch: exp.model.apply({"params": params}, flatten_choices(batch))[read])

    def run(self, params, length, folder=None):
        """Yields medians: `seconds_per_pass` over the passes, `milliseconds_per_batch` over all batches."""
        del folder
        device, examples = jax.local_devices()[0], self.examples[length]
        params = jax.device_put(self.plain(params), device)
        count = min(examples.steps, self.options.max_batches or examples.steps)
        jax.block_until_ready(self.forward(params, jax.device_put(examples(0), device)))
        seconds = np.zeros((self.options.passes, count))
        for one_pass in seconds:
            for number in range(count):
                batch = jax.block_until_ready(jax.device_put(examples(number), device))
                start = time.perf_counter()
                jax.block_until_ready(self.forward(params, batch))
                one_pass[number] = time.perf_counter() - start
        yield "seconds_per_pass", float(np.median(seconds.sum(axis=1)))
        yield "milliseconds_per_batch", float(1000 * np.median(seconds))
