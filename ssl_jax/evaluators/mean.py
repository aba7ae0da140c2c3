"""Any objective as a validation metric: the training objectives, averaged over held-out text."""

from ssl_jax.data import batches, tokens


class Evaluator:
    """Walks over a split in order, each example once, masked alike every time."""

    def __init__(self, measure, config, parallel, vocabulary, prepared, *, split, max_batches):
        """
        Args:
          measure: compiled `measure(params, batch)`, name -> (sum, weight) over the global batch.
          config: the run's config.
          parallel: where the batches go.
          vocabulary: the tokenizer's.
          prepared: the prepared corpus.
          split: 'heldout' or 'train'.
          max_batches: stop after so many batches; 0: the whole split.
        """
        self.measure = measure
        self.config = config
        self.parallel = parallel
        self.vocabulary = vocabulary
        self.store = tokens.Store(prepared, split)
        self.max_batches = max_batches

    def run(self, params, length):
        """Yields (name, mean) for `loss`, the weighted sum of all objectives, and for each metric."""
        config = self.config
        examples = batches.PairEvaluation(
            self.store,
            self.vocabulary,
            length,
            config.batch_size,
            seed=config.seed,
            short=config.data.short,
            pairs=config.data.pairs,
        )
        count = min(examples.steps, self.max_batches or examples.steps)
        rows = self.parallel.rows(config.batch_size)
        totals = {}
        for number in range(count):
            sums = self.measure(params, self.parallel.put_batch(examples(number, rows)))
            for name, pair in sums.items():
                old = totals.get(name, (0.0, 0.0))
                totals[name] = tuple(a + self.parallel.read(b) for a, b in zip(old, pair, strict=True))
        means = {name: total / weight for name, (total, weight) in totals.items()}
        losses = config.losses.items()
        yield "loss", sum(weight * means[f"{name}_loss"] for name, weight in losses if weight)
        yield from means.items()
