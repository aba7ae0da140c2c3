"""What several runs that differ only in the seed say together, and whether a run has learned anything.

Two rows of a table are compared seed by seed: the same seeds, so that what a seed does to both cancels. Intervals and
tests are Student's t: at three seeds a percentile bootstrap, drawn from three values, covers 75 % where it says 95 %.
"""

from typing import NamedTuple

import numpy as np

from ssl_jax.lazy import optimize, stats
from ssl_jax.metrics import ABOVE_ZERO
from ssl_jax.objectives import chance_of

LEVEL = 0.95  # of intervals; a test's alpha is what is left


def interval(values, level=LEVEL):
    """Student's t interval for the mean of `values`, [n], as (low, high); None for fewer than two."""
    values = np.asarray(values, float)
    if len(values) < 2:
        return None
    half = stats.t.ppf((1 + level) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


class Comparison(NamedTuple):
    """Two rows of a table with the same seeds.

    Attributes:
      pairs: how many differences there are, one for each seed.
      difference: their mean, `row - reference`.
      spread: their sd; it and all below are None for one pair.
      low, high: the 95 % interval.
      p: of a two-sided paired t-test.
      detectable: the least difference that would be found with a probability of 80 %, at this spread and so many seeds.
    """

    pairs: int
    difference: float
    spread: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    detectable: float | None = None


def compare(row, reference):
    """The `Comparison` of two rows, [n] finite values each, those at one place of one seed."""
    differences = np.asarray(row, float) - np.asarray(reference, float)
    n, mean = len(differences), float(differences.mean())
    if n < 2:
        return Comparison(n, mean)
    spread = float(differences.std(ddof=1))
    p = min(1.0, 2 * _beyond(abs(mean), spread, n))
    return Comparison(n, mean, spread, *interval(differences), p, detectable(spread, n))


def _beyond(mean, spread, n):
    """The p-value of a one-sided t-test: how often `n` values of that sd, and no effect, have a mean of at least `mean`."""
    if spread <= 1e-12 * abs(mean):  # all are the same number, up to rounding
        return 0.5 * (mean == 0) + 1.0 * (mean < 0)
    return float(stats.t.sf(mean / (spread / np.sqrt(n)), n - 1))


def judge(compared, direction, band=0.0):
    """What a `Comparison` says of a claim, if its p is small enough: ('holds' or 'contradicted', p); p is 1 for one pair.

    Args:
      compared: of the claim's two rows.
      direction: 1, the paper claims that `row` is larger; -1, smaller; 0, that they are the same.
      band: for 0, the largest difference that counts as none. It holds by two one-sided tests that the difference lies
        within the band (Schuirmann 1987), and is contradicted by a two-sided test that it lies outside. Only one of the two
        can be wrong, so that the smaller p bounds the error.
    """
    mean, spread, n = compared.difference, compared.spread, compared.pairs
    if spread is None:
        return "holds", 1.0
    if direction:
        return "holds" if mean * direction > 0 else "contradicted", compared.p
    within, outside = equivalence(compared, band), min(1.0, 2 * _beyond(abs(mean) - band, spread, n))
    return ("holds", within) if within <= outside else ("contradicted", outside)


def equivalence(compared, band):
    """The p-value of two one-sided tests that the difference of a `Comparison` of several pairs lies within +-`band`.

    The band is set before the runs. Below 0.05 the 90 % interval of the difference lies inside it.
    """
    mean, spread, n = compared.difference, compared.spread, compared.pairs
    return max(_beyond(band + mean, spread, n), _beyond(band - mean, spread, n))


def verdicts(judged):
    """The verdicts of a table's claims, each as `judge` gives it: [('holds', 'contradicted' or 'not resolved', p)].

    p is adjusted for all claims of the table by `holm`; below 0.05 a claim is resolved.
    """
    adjusted = holm([p for _, p in judged])
    return [(leaning if p < 1 - LEVEL else "not resolved", p) for (leaning, _), p in zip(judged, adjusted, strict=True)]


def power(effect, spread, seeds, alpha=1 - LEVEL):
    """The probability that a two-sided paired t-test over `seeds` finds a mean difference of `effect`.

    `spread` is the sd of the differences.
    """
    if spread == 0:
        return float(effect != 0)
    least = stats.t.ppf(1 - alpha / 2, seeds - 1)
    # t squared is a noncentral F. Where the shift is so large that SciPy has no number, the power is 1.
    found = stats.ncf.sf(least**2, 1, seeds - 1, seeds * (effect / spread) ** 2)
    return float(np.nan_to_num(found, nan=1.0))


def detectable(spread, seeds, share=0.8, alpha=1 - LEVEL):
    """The minimum detectable effect: the least difference that `seeds` seeds find with a probability of `share`."""
    if spread == 0:
        return 0.0
    low, high = 1e-6, 1.0  # in units of the spread
    while power(high, 1.0, seeds, alpha) < share:
        high *= 2
    return float(spread * optimize.brentq(lambda effect: power(effect, 1.0, seeds, alpha) - share, low, high))


def seeds_needed(effect, spread, share=0.8, alpha=1 - LEVEL, most=10_000):
    """How many seeds find a difference of `effect` with a probability of `share`; `most` if so many do not."""
    low, high = 2, 2
    while power(effect, spread, high, alpha) < share:
        if high >= most:
            return most
        low, high = high + 1, min(2 * high, most)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if power(effect, spread, middle, alpha) >= share else (middle + 1, high)
    return low


def holm(ps):
    """p-values of one table, adjusted so that all its verdicts together are wrong with a probability of at most alpha.

    Holm (1979): the k-th smallest of m times m - k + 1, at least what the smaller ones became, at most 1.
    """
    ps = np.asarray(ps, float)
    order = np.argsort(ps)
    adjusted = np.maximum.accumulate(ps[order] * np.arange(len(ps), 0, -1)).clip(max=1)
    made = np.empty(len(ps))
    made[order] = adjusted
    return made.tolist()


def multibootstrap(row, reference, resamples=1000, seed=0):
    """The difference of two rows whose scores vary with the seed of pre-training and with the examples.

    MultiBERTs (Sellam et al. 2022, section 4): seeds and examples are drawn anew, both with replacement, the same for
    both rows. With fewer than eight seeds its intervals are too narrow.

    Args:
      row, reference: [seeds, examples], each example's score, such as 1 for a right answer.
      resamples: draws.
      seed: of the draws.

    Returns:
      The mean difference, its 95 % interval (low, high), and the p-value, twice the share of the draws beyond 0.
    """
    differences = np.asarray(row, float) - np.asarray(reference, float)
    random = np.random.default_rng(seed)
    seeds, examples = differences.shape
    drawn = np.empty(resamples)
    for n in range(resamples):
        # An example that is drawn twice counts twice: weights are as good as copies.
        weights = np.bincount(random.integers(examples, size=examples), minlength=examples)
        drawn[n] = differences[random.integers(seeds, size=seeds)].mean(axis=0) @ weights / examples
    beyond = min((drawn <= 0).mean(), (drawn >= 0).mean())
    return float(differences.mean()), tuple(np.percentile(drawn, [2.5, 97.5]).tolist()), float(min(1, 2 * beyond))


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
      the mean (95 %, see `interval`; None with one finite value), `values` in seed order; for `step`, `chance` and any
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
        made[name] = {
            "mean": float(finite.mean()),
            "sd": float(finite.std(ddof=1)) if len(finite) > 1 else 0.0,
            "median": float(np.median(finite)),
            "best": float(finite.min() if name.endswith("loss") else finite.max()),
            "interval": list(interval(finite) or ()) or None,  # as JSON has it
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
            row = "".join(f"{values[head.rstrip('*')]:>10.4g}" for head in heads)
            chance = made.get(chance_of(name))
            note = "" if chance is None else f"   (chance {chance:.4g})"
            told = "{:.4g} to {:.4g}".format(*values["interval"]) if values["interval"] else "one value"
            lines.append(f"{name:{width}}{row}   {told}{note}")
    failed = ", ".join(map(str, made["failed"])) or "none"
    why = " (not finite, or no better than one answer to every example)" if made["failed"] else ""
    return [
        *lines,
        f"seeds {made['seeds'][0]} to {made['seeds'][-1]}; failed: {failed}{why}; * is what the paper reports",
    ]
