"""Any objective as a validation metric: the training objectives, averaged over held-out text."""

import functools

from ssl_jax.data import batches
from ssl_jax.data.questions import QuestionEvaluation
from ssl_jax.errors import check_choice
from ssl_jax.objectives import OBJECTIVES, quotient


def split_examples(exp, options, batch_size):
    """{length: batches of the split of `options`, `evaluators.Mean`}, for each length of the run; errors as Evaluator."""
    check_choice(options.split, exp.stores, "split of an evaluation")
    if exp.kind == "questions":
        return {exp.phases[0].length: QuestionEvaluation(exp.stores[options.split], batch_size)}
    data, kind, store = exp.config.data, options.pairs or exp.kind, exp.stores[options.split]
    return {
        length: batches.evaluation_batches(data, kind, store, exp.vocabulary, length, batch_size, exp.config.seed)
        for length in {phase.length for phase in exp.phases}
    }


class Evaluator:
    """Walks over a split in order, each example once, masked alike every time."""

    def __init__(self, exp, programs, options):
        """
        Args:
          exp: an `Experiment`.
          programs: `Programs`.
          options: `evaluators.Mean`.

        Raises:
          UserError: no such split, or the split has too little text.
        """
        config = exp.config
        self.examples = split_examples(exp, options, config.batch_size)
        self.programs = programs
        self.losses = {name: weight for name, weight in config.losses.items() if weight}
        self.devices = exp.devices
        self.rows = self.devices.rows(config.batch_size)
        self.max_batches, self.at_end = options.max_batches, options.at_end
        trained = (name for name in self.losses if OBJECTIVES[name].pairs) if options.pairs else ()
        self.asked = next(iter(trained), "")  # the loss whose head is asked about `pairs`
        self.attach = functools.partial(exp.attach, f"eval_{options.split}")

    def run(self, params, length, folder=None):
        """Yields (name, mean) for `loss`, the weighted sum of all objectives, and for each metric; writes nothing.

        Of chosen `pairs` also `pair_accuracy` and `pair_chance`, by whichever loss their head was trained.
        """
        del folder
        yield from self.means(self.programs.measure(params, batch) for batch in self.batches(length))

    def batches(self, length):
        """Yields the split's batches, on the devices."""
        examples = self.examples[length]
        for number in range(min(examples.steps, self.max_batches or examples.steps)):
            yield self.devices.put_batch(self.attach(examples(number, self.rows)))

    def means(self, measured):
        """As `run`, from what `measure` returned for each batch."""
        totals = {}
        for sums in measured:
            for name, pair in sums.items():
                old = totals.get(name, (0.0, 0.0))
                totals[name] = tuple(a + self.devices.read(b) for a, b in zip(old, pair, strict=True))
        means = {name: quotient(*pair) for name, pair in totals.items()}
        yield "loss", sum(weight * means[f"{name}_loss"] for name, weight in self.losses.items())
        yield from means.items()
        if self.asked:
            yield from ((f"pair_{name}", means[f"{self.asked}_{name}"]) for name in ("accuracy", "chance"))
