"""Several seeds of one run, trained together, and their summary statistics.

A seed determines the initial values, the order of the examples and the dropout. With several, the state has a leading
seed axis and the step is mapped over it (`vmap`): each seed gives the same run as it would on its own.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.errors import UserError
from ssl_jax.metrics import ABOVE_ZERO
from ssl_jax.objectives import chance_of
from ssl_jax.parallel import Replicated

RESAMPLES = 10_000  # of the bootstrap


class Seeds:
    """The seeds `first` to `first + count - 1` of a run, on the devices of a `parallel`. One seed has no seed axis."""

    def __init__(self, parallel, first, count):
        """
        Raises:
          UserError: several seeds and `parallel` shards parameters by their names' axes.
        """
        self.parallel, self.seeds = parallel, range(first, first + count)
        self.several = count > 1
        if self.several and not isinstance(parallel, Replicated):
            raise UserError(f"seeds={count} train together by parallel.mode=pmap; over a mesh run them one by one")

    def examples(self, make):
        """`batch(step, rows)` for all N seeds, arrays [B, N, ...]; `make(seed)` returns that of one seed."""
        own = [make(seed) for seed in self.seeds]
        if not self.several:
            return own[0]
        return lambda step, rows=slice(None): jax.tree.map(
            lambda *parts: np.stack(parts, axis=1), *(batch(step, rows) for batch in own)
        )

    def compile(self, step):
        """Compiles `step(state, batch, teachers)` for all seeds; the state is donated."""
        if not self.several:
            return self.parallel.compile(step, donate=True)

        def mapped(state, batch, teachers, **how):
            return jax.vmap(lambda state, batch: step(state, batch, teachers, **how), in_axes=(0, 1))(state, batch)

        return self.parallel.compile(mapped, donate=True)

    def begin(self, create):
        """Returns the function that creates the state, from `create(seed)`."""
        if not self.several:
            return lambda: create(self.seeds[0])
        return lambda: jax.vmap(create)(jnp.array(self.seeds))

    def change(self, plain, function):
        """A plain state with each seed's parameters replaced by `function(params)`."""
        if not self.several:
            return plain | {"params": function(plain["params"])}
        own = [function(jax.tree.map(lambda x: x[i], plain["params"])) for i in range(len(self.seeds))]  # noqa: B023
        return plain | {"params": jax.tree.map(lambda *parts: np.stack(parts), *own)}

    def read(self, x):
        """The step's output, one entry per seed: [N, ...]."""
        x = self.parallel.read(x)
        return x if self.several else x[None]

    def params(self, state):
        """Yields each seed's parameters, on the devices."""
        if not self.several:
            yield state["params"]
            return
        for i in range(len(self.seeds)):
            yield self._take(state["params"], self.parallel.adopt(np.int32(i)))

    @functools.cached_property
    def _take(self):
        # Compiled once per run: every evaluation needs each seed's parameters.
        return self.parallel.compile(lambda params, i, **_: jax.tree.map(lambda x: x[i], params))

    def states(self, plain):
        """Each seed's plain state."""
        if not self.several:
            return [plain]
        return [jax.tree.map(lambda x: x[i], plain) for i in range(len(self.seeds))]  # noqa: B023


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
