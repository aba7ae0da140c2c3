"""What several runs that differ only in the seed say together, and whether a run has learned anything."""

import numpy as np

from ssl_jax.metrics import ABOVE_ZERO
from ssl_jax.objectives import chance_of

RESAMPLES = 10_000  # of the bootstrap


def completed(results):
    """Results, name -> value, with those that are {} as the others are: NaN for all that was measured."""
    like = next(filter(None, results))
    lost = {name: x if name == "step" or name.endswith("chance") else np.nan for name, x in like.items()}
    lost.pop("learned_nothing", None)
    return [values or lost for values in results]


def summary(results, seeds, statistic):
    """Summarises several runs that differ only in the seed.

    Args:
      results: for each run, name -> value; `chance`, if present, is the accuracy of always predicting the most frequent
        label; `learned_nothing`, a string, is ignored.
      seeds: the runs' seeds.
      statistic: what the paper reports, see `task.statistic`.

    Returns:
      By name, `mean`, `sd` (sample sd, n - 1), `median`, `best` (the largest; for losses the smallest), `interval` for
      the mean (95 %, percentiles of a bootstrap over the seeds), `values` in seed order; for `step`, `chance` and any
      other name ending in `chance`, the number itself: all seeds are evaluated on the same examples.
      `seeds`; `failed`, the seeds with a non-finite value or which `learned_nothing`; `statistic`. Failed seeds count
      everywhere except where a value is not finite.
    """
    results = [{name: x for name, x in values.items() if name != "learned_nothing"} for values in results]
    made = {"step": results[0]["step"], "seeds": list(seeds), "statistic": statistic}
    made |= {name: value for name, value in results[0].items() if name.endswith("chance")}
    made["failed"] = [seed for seed, values in zip(seeds, results, strict=True) if _failed(values)]
    for name in [name for name in results[0] if name != "step" and name not in made]:
        values = np.array([values[name] for values in results], float)
        finite = values[np.isfinite(values)]
        if not len(finite):
            continue
        draws = np.random.default_rng(0).choice(finite, (RESAMPLES, len(finite))).mean(axis=1)
        made[name] = {
            "mean": float(finite.mean()),
            "sd": float(finite.std(ddof=1)) if len(finite) > 1 else 0.0,
            "median": float(np.median(finite)),
            "best": float(finite.min() if name.endswith("loss") else finite.max()),
            "interval": [float(x) for x in np.percentile(draws, [2.5, 97.5])],
            "values": [float(x) if np.isfinite(x) else None for x in values],
        }
    return made


def _failed(values):
    return not np.isfinite(list(values.values())).all() or bool(learned_nothing(values))


def learned_nothing(values):
    """Why a task's result, name -> value, is no better than a constant answer; '' if it is better.

    Accuracy is compared with `chance`, that of the most frequent label, if present; metrics.ABOVE_ZERO with 0.
    """
    for name in ABOVE_ZERO:
        if values.get(name, 1) <= 0:
            return f"{name} is {values[name]:.4g}, as with one answer to every example"
    name = next((name for name in ("accuracy", "classify_accuracy") if name in values), None)
    if name and values[name] <= values.get("chance", -1):
        return (
            f"{name} is {values[name]:.4g}, and with the most frequent label for every example {values['chance']:.4g}"
        )
    return ""


def table(made):
    """Formats a `summary` as lines: a row per metric, with the statistic that the paper reports marked with *."""
    statistic = made["statistic"]
    heads = [name + "*" * (name == statistic) for name in ("mean", "sd", "median", "best")]
    width = max(24, *(len(name) for name in made))  # names for further splits are long
    lines = [f"{'':{width}}" + "".join(f"{head:>10}" for head in heads) + "   95 % of the mean"]
    for name, values in made.items():
        if isinstance(values, dict):
            low, high = values["interval"]
            row = "".join(f"{values[head.rstrip('*')]:>10.4g}" for head in heads)
            chance = made.get(chance_of(name))
            note = "" if chance is None else f"   (chance {chance:.4g})"
            lines.append(f"{name:{width}}{row}   {low:.4g} to {high:.4g}{note}")
    failed = ", ".join(map(str, made["failed"])) or "none"
    why = " (not finite, or no better than one answer to every example)" if made["failed"] else ""
    return [
        *lines,
        f"seeds {made['seeds'][0]} to {made['seeds'][-1]}; failed: {failed}{why}; * is what the paper reports",
    ]
