"""Figures as in the GPT-3 paper from an evaluation's rows: score against examples shown, and against parameters."""

import matplotlib
import numpy as np
from matplotlib import pyplot as plt

from ssl_jax import metrics
from ssl_jax.files import replacing
from ssl_jax.statistics import interval

NAMES = ("shots.png", "parameters.png")
SETTINGS = ("zero", "one", "few")
# Which metrics an average over tasks has: all, as in SuperGLUE's, where a task of two counts by their mean (GPT-3, Table
# 3.8), or accuracies, as in GPT-3's figure 1.3. That has 42 tasks; Table H.1 has 41 accuracies and SQuAD's exact match.
AVERAGE = "average"
AVERAGES = {"": None, "metrics": lambda metric: True, "accuracies": metrics.ACCURACIES.__contains__}


def setting(shots):
    """'zero', 'one' or 'few'."""
    return SETTINGS[min(shots, 2)] if shots >= 0 else "few"


def summarise(rows):
    """One entry per run, task, prompt, number of shots and metric, in order.

    Args:
      rows: dicts with `run`, `parameters`, `task`, `prompt`, `shots`, `shown`, `seed`, `metric`, `value`, `chance`;
        rows that differ only in the seed are different draws of examples.

    Returns:
      Dicts with the same keys except `seed`; `value` the mean, `low` and `high` its 95 % interval over the draws
      (`statistics.interval`), `seeds` their number. With one draw both are the mean.
    """
    keys, groups = ("run", "parameters", "task", "prompt", "shots", "metric"), {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    entries = []
    for key, group in groups.items():
        values = np.array([row["value"] for row in group])
        low, high = interval(values) or (values[0], values[0])
        entries.append(
            dict(zip(keys, key, strict=True))
            | {"shown": float(np.mean([row["shown"] for row in group])), "chance": group[0]["chance"]}
            | {"value": float(values.mean()), "low": float(low), "high": float(high), "seeds": len(values)}
        )
    return entries


def averages(rows, which):
    """Rows of `which` average over a run's tasks, for each number of shots and draw; task AVERAGE, the prompt is `which`.

    Each task and prompt counts once, by the mean of those of its metrics that the average has.
    """
    groups = {}
    for row in rows:
        if AVERAGES[which](row["metric"]):
            groups.setdefault((row["run"], row["shots"], row["seed"]), {}).setdefault(
                (row["task"], row["prompt"]), []
            ).append(row)
    found = []
    for tasks in groups.values():
        firsts = [group[0] for group in tasks.values()]
        value = float(np.mean([np.mean([one["value"] for one in group]) for group in tasks.values()]))
        found.append(
            firsts[0] | {"task": AVERAGE, "prompt": which, "metric": "average", "value": value}
            | {"shown": float(np.mean([one["shown"] for one in firsts])), "items": sum(one["items"] for one in firsts)}
            | {"chance": None, "overlap": None, "own_overlap": None, "clean_value": None}
        )  # fmt: skip
    return found


def draw(folder, entries):
    """Plots entries of `summarise` as shots.png and parameters.png in a folder, one panel per task and prompt.

    In the first, lines are runs, as in GPT-3's figure 1.2; in the second, drawn only for several runs, they are zero,
    one and few shots, as in its figure 3.1 and others. Panels show the first metric. Shaded areas are the intervals.

    Returns:
      The names of the files written.
    """
    panels = {}
    for entry in entries:
        panels.setdefault((entry["task"], entry["prompt"]), []).append(entry)
    panels = {
        f"{task} ({prompt})": [one for one in group if one["metric"] == group[0]["metric"]]
        for (task, prompt), group in panels.items()
    }
    by_shots, by_parameters = NAMES
    kinds = {by_shots: (_against_shots, any(len({e["shots"] for e in group}) > 1 for group in panels.values()))}
    kinds[by_parameters] = (_against_parameters, len({entry["run"] for entry in entries}) > 1)
    written = []
    for name, (against, wanted) in kinds.items():
        if wanted:
            _figure(f"{folder}/{name}", panels, against)
            written.append(name)
    return written


def _figure(path, panels, against):
    with matplotlib.rc_context({"font.size": 9}):
        columns = min(3, len(panels))
        rows = -(-len(panels) // columns)
        figure, grid = plt.subplots(rows, columns, figsize=(4.6 * columns, 3.5 * rows), squeeze=False)
        for axes, (title, group) in zip(grid.flat, panels.items(), strict=False):
            against(axes, group)
            chance = group[0]["chance"]
            if chance is not None and group[0]["metric"] == "accuracy":
                axes.axhline(chance, color="grey", linestyle=":", linewidth=1, label="guessing")
            axes.set(title=title, ylabel=group[0]["metric"])
            axes.legend(fontsize=8)
        for axes in grid.flat[len(panels) :]:
            axes.set_axis_off()
        figure.tight_layout()
        with replacing(path) as file:
            figure.savefig(file, format="png", dpi=120)
        plt.close(figure)


def _line(axes, x, entries, label):
    order = np.argsort(x)
    x, entries = [x[i] for i in order], [entries[i] for i in order]
    (line,) = axes.plot(x, [one["value"] for one in entries], marker="o", markersize=4, label=label)
    axes.fill_between(
        x, [one["low"] for one in entries], [one["high"] for one in entries], alpha=0.2, color=line.get_color()
    )


def _against_shots(axes, group):
    for run in dict.fromkeys(one["run"] for one in sorted(group, key=lambda one: one["parameters"])):
        own = [one for one in group if one["run"] == run]
        _line(axes, [one["shown"] for one in own], own, f"{own[0]['parameters'] / 1e6:.3g} M parameters")
    axes.set(xlabel="examples in context (K)")


def _against_parameters(axes, group):
    # If several numbers of shots exceed one, the largest.
    few = max(one["shown"] for one in group)
    for name in SETTINGS:
        own = [one for one in group if setting(one["shots"]) == name]
        if name == "few":
            most = {one["run"]: max(e["shown"] for e in own if e["run"] == one["run"]) for one in own}
            own = [one for one in own if one["shown"] == most[one["run"]]]
        if own:
            label = f"few-shot (K up to {few:.3g})" if name == "few" else f"{name}-shot"
            _line(axes, [one["parameters"] for one in own], own, label)
    axes.set(xlabel="parameters", xscale="log")
