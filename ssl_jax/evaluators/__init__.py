"""What watches a run: a module each, whose `Evaluator(exp, programs, **options).run(params, length, folder)` yields metrics.

It may write files in `folder`, the run's, or that of one of its seeds. One that is `at_end` runs only after the last step.
"""

import importlib
from typing import Callable, NamedTuple


class Programs(NamedTuple):
    """The compiled functions that evaluators call, both on the batches of `exp.devices`.

    Attributes:
      measure: `measure(params, batch)`: name -> (sum, weight) over the global batch.
      predict: `predict(params, batch)`: the same, and the logits of a task, see `step.make_predict`.
    """

    measure: Callable
    predict: Callable | None = None


def from_config(exp, programs):
    """name -> evaluator: the module of this package that each entry of `config.evals` names."""
    found = {}
    for name, options in exp.config.evals.items():
        module = importlib.import_module(f"ssl_jax.evaluators.{options.module}")
        found[name] = module.Evaluator(exp, programs, **{key: value for key, value in options.items() if key != "module"})
    return found
