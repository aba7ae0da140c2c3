"""Any objective as a validation metric: the training objectives, averaged over held-out text."""

import functools

from ssl_jax.data import batches
from ssl_jax.errors import check_choice
from ssl_jax.objectives import quotient


class Evaluator:
    """Walks over a split in order, each example once, masked alike every time."""

    def __init__(self, measure, config, kind, parallel, vocabulary, stores, lengths, attach, *, split, max_batches):
        """
        Args:
          measure: compiled `measure(params, batch)`, name -> (sum, weight) over the global batch.
          config: the run's config.
          kind: of examples, see `batches.evaluation_batches`.
          parallel: where the batches go.
          vocabulary: the tokenizer's.
          stores: split -> its store, see `train.open_stores`.
          lengths: the sequence lengths at which it will run.
          attach: `attach(part, batch)` adds what a cache has of the teachers, see teacher_cache.py.
          split: one of `stores`: 'heldout' or 'train'.
          max_batches: stop after so many batches; 0: the whole split.

        Raises:
          UserError: no such split, or the split has too little text.
        """
        check_choice(split, stores, "split of an evaluation")
        self.measure = measure
        self.losses = {name: weight for name, weight in config.losses.items() if weight}
        self.parallel = parallel
        self.rows = parallel.rows(config.batch_size)
        self.max_batches = max_batches
        self.attach = functools.partial(attach, f"eval_{split}")
        self.examples = {
            length: batches.evaluation_batches(
                config.data, kind, stores[split], vocabulary, length, config.batch_size, config.seed
            )
            for length in lengths
        }

    def run(self, params, length):
        """Yields (name, mean) for `loss`, the weighted sum of all objectives, and for each metric."""
        examples = self.examples[length]
        totals = {}
        for number in range(min(examples.steps, self.max_batches or examples.steps)):
            sums = self.measure(params, self.parallel.put_batch(self.attach(examples(number, self.rows))))
            for name, pair in sums.items():
                old = totals.get(name, (0.0, 0.0))
                totals[name] = tuple(a + self.parallel.read(b) for a, b in zip(old, pair, strict=True))
        means = {name: quotient(*pair) for name, pair in totals.items()}
        yield "loss", sum(weight * means[f"{name}_loss"] for name, weight in self.losses.items())
        yield from means.items()
