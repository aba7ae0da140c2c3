"""How fast a run is: tokens and FLOPs per second, MFU, and the time spent waiting for data."""

import time

import jax

from ssl_jax import flops
from ssl_jax.plan import predictions_per_sequence


class Meter:
    """Counts over a window of steps: tokens and FLOPs per second, MFU where the devices' peak is known, data wait."""

    def __init__(self, config, model, devices, teachers=()):
        """
        Args:
          config: the run's.
          model: a `Model`.
          devices: how many there are.
          teachers: models that run forward in each step.
        """
        self.config = config
        self.model = model
        self.teachers = teachers
        self.devices = devices
        self.peak = flops.peak_flops(jax.devices()[0].device_kind, model.config.dtype)
        self.restart()

    def restart(self):
        """Starts a new window: compiling and evaluating are not training."""
        self.start = time.perf_counter()
        self.waited = self.tokens = self.flops = 0

    def timed(self, batches):
        """Yields from `batches`, counting the time that each takes."""
        batches = iter(batches)
        while True:
            start = time.perf_counter()
            try:
                batch = next(batches)
            except StopIteration:
                return
            self.waited += time.perf_counter() - start
            yield batch

    def count(self, batch):
        """Counts a step on this host's rows of a batch, [b, S] or, of several texts an example or several seeds, [b, ..., S]."""
        tokens, length = batch["tokens"].size * jax.process_count(), batch["tokens"].shape[-1]
        predictions, question = predictions_per_sequence(self.config, length), 0
        if "question" in batch:
            predictions, question = batch["answer"].shape[-1] - 1, batch["question"].shape[-1]
        self.tokens += tokens
        self.flops += tokens * flops.flops_per_token(self.model, length, predictions, question)
        for model in self.teachers:  # forward only: 2 of the 6 per weight and token
            self.flops += tokens * flops.flops_per_token(model, length, predictions) / 3

    def values(self):
        """The window's numbers; a new window begins."""
        seconds = time.perf_counter() - self.start
        values = {
            "seconds": seconds,
            "tokens_per_second": self.tokens / seconds,
            "flops_per_second": self.flops / seconds,
            "data_wait": self.waited / seconds,
        }
        if self.peak is not None:
            values["mfu"] = values["flops_per_second"] / (self.devices * self.peak)
        self.restart()
        return values
