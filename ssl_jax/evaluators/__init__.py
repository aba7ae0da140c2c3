"""What watches a run: a module each, whose `Evaluator(setting, **options).run(params, length, folder)` yields metrics.

It may write files in `folder`, the run's, or that of one of its seeds. One that is `at_end` is run after the last step
alone.
"""

from typing import Any, Callable, NamedTuple


class Setting(NamedTuple):
    """What evaluators have from the run, see train.py.

    Attributes:
      config: the run's.
      kind: of examples, see `batches.evaluation_batches`.
      parallel: where the batches go.
      vocabulary: the tokenizer's.
      stores: split -> its store, see `train.open_stores`.
      lengths: the sequence lengths at which evaluators will run.
      attach: `attach(part, batch)` adds what a cache has of the teachers, see teacher_cache.py.
      measure: compiled `measure(params, batch)`, name -> (sum, weight) over the global batch.
      predict: compiled `predict(params, batch)`, what `measure` gives, and the logits of a task, see
        `train.make_predict`; None where nobody asks.
    """

    config: Any
    kind: str
    parallel: Any
    vocabulary: Any
    stores: dict
    lengths: Any
    attach: Callable
    measure: Callable
    predict: Callable | None = None
