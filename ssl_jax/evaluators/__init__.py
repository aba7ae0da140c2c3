"""What measures a run: `Evaluator(exp, programs, **options).run(params, length, folder)` of a module yields metrics.

It may write files in `folder`, the run's, or that of one of its seeds. One that is `at_end` runs only after the last
step.

    mean             the training objectives, averaged over a split
    task             a fine-tuned task's own metrics: postprocess and spans decide, submissions writes
    fewshot          a task asked without training: prompts composes; evaluate.py asks finished runs, and contamination
                     says how much of the answers they may have read
"""

import dataclasses
import importlib
from collections.abc import Callable
from typing import NamedTuple

from ssl_jax.options import BOOL, TEXT, one_of, option, whole


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What measures a run: a module of this package and its options."""

    BLOCK = "evals.*"

    module: str = option("mean", TEXT, "'mean' of all losses, or of a task its own metrics, 'task'")
    split: str = option("heldout", TEXT, "what is measured: 'heldout', 'train', or a task's other splits")
    pairs: str = option(
        "", one_of("", "nsp", "sop"), "module 'mean': sentence pairs of this kind; '': of those that are trained on"
    )
    at_end: bool = option(False, BOOL, "True: only after the last step")
    max_batches: int = option(0, whole(0), "measure so many batches; 0: all")


# module -> the options that an entry of `config.evals` must have and may have. Here, because configs are checked
# without JAX.
SPLIT = ("split", "max_batches"), ("at_end",)
EVALUATORS = {
    "mean": (SPLIT[0], ("at_end", "pairs")),
    "task": SPLIT,
    "fewshot": (("task",), ("prompt", "shots", "seed", "limit", "too_long", "batch_size", "window", "stride", "folder",
                            "at_end")),
}  # fmt: skip


class Programs(NamedTuple):
    """The compiled functions that evaluators call, both on batches of `exp.devices`.

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
        options = {key: value for key, value in options.items() if key != "module"}
        found[name] = module.Evaluator(exp, programs, **options)
    return found
