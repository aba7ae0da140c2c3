"""Search by ask and tell: Optuna proposes points, the sweep's folder has what they gave. For tuning, not for a paper's table.

The folder is the truth: the study is made anew from its finished runs before each proposal, so a search can be stopped and
continued anywhere.
"""

import math

import numpy as np

from ssl_jax import files
from ssl_jax.errors import UserError
from ssl_jax.sweeps import ledger

STATISTICS = {"mean": np.mean, "median": np.median}


def tried(workdir, metric, statistic="mean"):
    """(changes, value) of the rows of a sweep whose runs are final, value None where no run is done.

    Args:
      workdir: the sweep's folder.
      metric: of result.json.
      statistic: of its values over seeds: 'mean', 'median' or 'best', the largest (of a loss the smallest).

    Raises:
      UserError: a finished run has no such metric.
    """
    if not ledger.is_sweep(workdir):
        return []
    sweep = ledger.read(workdir)
    found = ledger.statuses(workdir, sweep["runs"])
    tried = []
    for row in sweep["rows"]:
        names = [name for name, run in sweep["runs"].items() if row["name"] in run["rows"]]
        values = [_measured(workdir, name, metric) for name in names if found[name]["state"] == "done"]
        if all(found[name]["state"] in ledger.FINAL for name in names):
            best = np.min if metric.endswith("loss") else np.max
            value = float(STATISTICS.get(statistic, best)(values)) if values else None
            tried.append((row["changes"], value))
    return tried


def _measured(workdir, name, metric):
    path = ledger.folder_of(workdir, name) / "result.json"
    result = files.read_json(path)
    value = result.get(metric)
    if not isinstance(value, int | float):
        raise UserError(f"{path} has no {metric!r}, only {', '.join(result)}: --metric names one of these")
    return float(value)


def propose(before, distributions, count, maximise, seed):
    """`count` new points, by the tree-structured Parzen estimator (Bergstra et al. 2011).

    Args:
      before: from `tried`.
      distributions: {key: `points.Distribution`}.
      count: of points.
      maximise: whether more is better.
      seed: of the estimator; with the number of points tried it decides what is proposed.

    Raises:
      UserError: Optuna is missing.
    """
    try:
        import optuna
    except ImportError as error:
        raise UserError("--search needs Optuna: pip install 'ssl_jax[optuna]'") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    kinds = {key: _kind(optuna.distributions, own) for key, own in distributions.items()}
    study = optuna.create_study(
        direction="maximize" if maximise else "minimize",
        # The constant liar: points that are asked for at once stay apart.
        sampler=optuna.samplers.TPESampler(seed=seed + len(before), constant_liar=True),
    )
    for changes, value in before:
        fits = value is not None and math.isfinite(value) and changes.keys() == kinds.keys()
        state = optuna.trial.TrialState.COMPLETE if fits else optuna.trial.TrialState.FAIL
        values = dict(value=value) if fits else {}
        study.add_trial(
            optuna.trial.create_trial(params=dict(changes), distributions=kinds, state=state, **values)
            if changes.keys() == kinds.keys()
            else optuna.trial.create_trial(state=state)
        )
    return [study.ask(kinds).params for _ in range(count)]


def _kind(kinds, own):
    if own.kind == "choice":
        return kinds.CategoricalDistribution(own.choices)
    if own.kind == "integers":
        return kinds.IntDistribution(own.low, own.high)
    return kinds.FloatDistribution(own.low, own.high, log=own.kind == "log_uniform")
