"""What measures a run: `Evaluator(exp, programs, options).run(params, length, folder)` of a module yields metrics.

`config.evals` names modules and their options: `--config.evals.speed.module=timing --config.evals.speed.batch_size=8`. An
evaluator may write files in `folder`, the run's, or that of one of its seeds. One that is `at_end` runs only after the last step.

    mean             the training objectives, averaged over a split
    task             a fine-tuned task's own metrics: postprocess and spans decide, submissions writes
    fewshot          a task asked without training: prompts composes; evaluate.py asks finished runs, and contamination
                     says how much of the answers they may have read
    answers          tasks as questions: what is answered, and their metrics
    timing           how long the forward pass takes
"""

import dataclasses
import importlib
from collections.abc import Callable
from typing import NamedTuple

from ssl_jax.options import BOOL, TEXT, one_of, option, several, whole

FIT = -1  # few-shot: as many examples as fit, at most 100
PAPER = -2  # as many as the task has in GPT-3's Table H.1, or as fit


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What every evaluation has."""

    module: str = option("mean", TEXT, "one of EVALUATORS: 'mean', 'task', 'fewshot', 'answers', 'timing'")
    at_end: bool = option(False, BOOL, "True: only after the last step")


@dataclasses.dataclass(frozen=True)
class Mean(Evaluation):
    """All losses and their metrics, averaged over a split."""

    split: str = option("heldout", TEXT, "what is measured: 'heldout', 'train', or a task's other splits")
    max_batches: int = option(0, whole(0), "measure so many batches; 0: all")
    pairs: str = option("", one_of("", "nsp", "sop"), "sentence pairs of this kind; '': as those that are trained on")


@dataclasses.dataclass(frozen=True)
class Task(Mean):
    """Those of a fine-tuned task, its own metrics, and its predictions as files."""


@dataclasses.dataclass(frozen=True)
class FewShot(Evaluation):
    """The metrics of a prompted task, on which the model was not trained."""

    task: str = option("", TEXT, "one of tasks.PROMPTED")
    prompt: str = option("", TEXT, "one of the task's prompts; '': the first")
    shots: int = option(
        0, whole(PAPER), "solved examples before each item; -1: as many as fit, at most 100; -2: GPT-3's K of the task"
    )
    seed: int = option(0, whole(0), "which examples are drawn, and what is sampled")
    limit: int = option(0, whole(0), "only the first so many items; 0: all")
    too_long: str = option("refuse", one_of("refuse", "leave_out"), "items that do not fit even without examples")
    batch_size: int = option(16, whole(1), "rows that run together")
    window: int = option(0, whole(0), "of perplexity: tokens that are read at once; 0: the run's positions")
    stride: int = option(0, whole(0), "of perplexity: new tokens of each window; 0: all of it")
    folder: str = option("", TEXT, "of the set's own files; '': TensorFlow Datasets', below data.root")


@dataclasses.dataclass(frozen=True)
class Answers(Mean):
    """Metrics of tasks that are asked as questions, and the answers as files."""

    tasks: tuple = option((), several(str), "others than those trained on, which is zero-shot; (): those trained on")
    folders: tuple = option((), several(str), "of these, as questions.folders")
    beams: int = option(1, whole(1, 64), "1: the likeliest word at each step, as decaNLP; above: a beam search")
    max_length: int = option(100, whole(1), "the most tokens of an answer")


@dataclasses.dataclass(frozen=True)
class Timing(Mean):
    """How long the forward pass over a split takes: warm, on one device, the median of several passes."""

    at_end: bool = option(True, BOOL, "True: only after the last step")
    batch_size: int = option(1, whole(1), "examples that run together: DistilBERT's Table 3 has 1")
    passes: int = option(3, whole(1), "how often the split is read")


# module -> its options. Here, because configs are checked without JAX.
EVALUATORS = {"mean": Mean, "task": Task, "fewshot": FewShot, "answers": Answers, "timing": Timing}


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
    for name, values in exp.config.evals.items():
        module = importlib.import_module(f"ssl_jax.evaluators.{values.module}")
        found[name] = module.Evaluator(exp, programs, EVALUATORS[values.module](**values))
    return found
