"""Training curves of a study: what each stage logged against the step, for each seed and their mean, thinned to be shown."""

import json
import math
from typing import NamedTuple

import numpy as np

from ssl_jax import files

MOST = 6  # curves of a stage
POINTS = 12_000  # of all curves together: about 0.4 MB of the page
LEAST, LONGEST = 12, 120  # points of a line


class Curve(NamedTuple):
    """A metric against the step.

    Attributes:
      stage, split, metric: which.
      seeds: of (row, run, [(step, value), ...]); [] where there are too many to be shown.
      means: of (row, [(step, value), ...]), at steps that all of a row's runs have.
    """

    stage: str
    split: str
    metric: str
    seeds: list
    means: list


def curves(study):
    """The `Curve`s of a `Study`: the losses, and what the columns report where a run logs it."""
    logged = {name: _logged(run) for name, run in study.runs.items() if run.kind == "train" and run.state != "excluded"}
    found = []
    for stage in study.stages:
        names = [name for name in logged if study.runs[name].stage == stage]
        for split, metric in _metrics(study, stage):
            lines = {name: logged[name][split, metric] for name in names if (split, metric) in logged[name]}
            if lines:
                found.append((stage, split, metric, lines))
    count = sum(len(lines) * 2 for *_, lines in found)
    size = min(LONGEST, POINTS // max(1, count))
    return [_curve(study, *one, max(size, LEAST), size >= LEAST) for one in found]


def _metrics(study, stage):
    """(split, name) of what is drawn of a stage: the losses, then what columns report."""
    wanted = [("train", "loss"), ("heldout", "loss")]
    for column in study.columns:
        if column.stage == stage and column.metric:
            split, slash, name = column.metric.rpartition("/")
            wanted.append((split if slash else "heldout", name))
    return list(dict.fromkeys(wanted))[:MOST]


def _logged(run):
    """(split, name) -> {step: value} of a run's metrics.jsonl, the finite ones."""
    lines, _ = files.logged_lines(run.folder / "metrics.jsonl")
    found = {}
    for line in map(json.loads, lines):
        for name, value in line.items():
            if name not in ("step", "split") and isinstance(value, int | float) and math.isfinite(value):
                found.setdefault((line["split"], name), {})[line["step"]] = value
    return found


def _curve(study, stage, split, metric, lines, size, with_seeds):
    seeds, means = [], []
    for row in study.rows:
        own = {name: line for name, line in lines.items() if row.name in study.runs[name].rows}
        steps = thinned(sorted({step for line in own.values() for step in line}), size)
        if with_seeds:
            seeds += [
                (row.name, name, [(step, line[step]) for step in steps if step in line]) for name, line in own.items()
            ]
        # One that failed ends early, and would end the others' mean.
        lasting = [line for name, line in own.items() if study.runs[name].state != "failed"]
        common = [step for step in steps if lasting and all(step in line for line in lasting)]
        means.append((row.name, [(step, float(np.mean([line[step] for line in lasting]))) for step in common]))
    return Curve(stage, split, metric, seeds, means)


def thinned(steps, size):
    """At most about `size` of the sorted steps, the first and the last among them; half evenly, half denser at the start."""
    if len(steps) <= size:
        return steps
    last = len(steps) - 1
    evenly, early = np.linspace(0, last, size - size // 2), np.geomspace(1, last + 1, size // 2) - 1
    return [steps[at] for at in sorted({round(at) for at in [*evenly, *early]})]
