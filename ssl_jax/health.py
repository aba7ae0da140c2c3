"""Whether a run goes as its recipe went before: its curves beside the bands of earlier runs, `run.reference`.

A reference is a JSON file of a few runs that differ in the seed alone (`scripts/report.py RUN ... --reference FILE`). A metric
that leaves its band says so at once: gradients that grow, a replaced-token detector that finds nothing, a pair loss at chance.
"""

import json
from pathlib import Path

import numpy as np

from ssl_jax import files, source
from ssl_jax.errors import UserError, listed
from ssl_jax.lazy import stats
from ssl_jax.options import flat

# A new seed's value lies in the band with this probability, by Student's t for a further observation; a run has hundreds of
# values. The band is at least FLOOR of the mean wide on each side: what five seeds agree on to the last digit may differ a
# little on other hardware.
LEVEL = 0.999
FLOOR = 0.02
# What may differ between a reference and a run.
FREE = ("variant", "seed", "seeds", "members", "run.", "parallel.", "data.root", "init.run", "teacher.runs", "evals.")


def reference(folders):
    """The content of a reference file: the config of several runs, and the bands of their curves.

    Raises:
      UserError: fewer than three runs, their configs differ in more than the seed, or they logged other steps.
    """
    if len(folders) < 3:
        raise UserError(f"a reference is made of three runs or more, that differ in the seed; here are {len(folders)}")
    configs = [_compared(source.read_values(folder)) for folder in folders]
    for folder, config in zip(folders, configs, strict=True):
        if differing := _differing(configs[0], config):
            raise UserError(f"{folder} is of another recipe than {folders[0]}: {listed(differing, 5)}")
    lines = [
        {(x["step"], x["split"]): x for x in map(json.loads, files.logged_lines(Path(f) / "metrics.jsonl")[0])}
        for f in folders
    ]
    for folder, own in zip(folders, lines, strict=True):
        if own.keys() != lines[0].keys() or not own:
            raise UserError(
                f"{folder} logged other steps than {folders[0]}; finish the runs, with the same run.log_every"
            )
    bands = {}
    for step, split in lines[0]:
        for name in lines[0][step, split]:
            if name not in ("step", "split", "learning_rate"):
                values = [own[step, split].get(name, np.nan) for own in lines]
                bands.setdefault(f"{split}/{name}", []).append([step, *(float(f"{edge:.6g}") for edge in band(values))])
    return {"runs": len(folders), "config": configs[0], "bands": bands}


def band(values):
    """The edges, [..., 2], between which a further value lies with a probability of LEVEL: `values` is [..., n]."""
    values = np.asarray(values, float)
    mean, n = values.mean(-1), values.shape[-1]
    reach = stats.t.ppf((1 + LEVEL) / 2, n - 1) * values.std(-1, ddof=1) * np.sqrt(1 + 1 / n)
    reach = np.maximum(reach, FLOOR * abs(mean))
    return np.stack([mean - reach, mean + reach], axis=-1)


def _compared(values):
    """What of a config, nested dict of JSON, a run and its reference have in common."""
    return {key: value for key, value in flat(values) if not key.startswith(FREE)}


def _differing(one, other):
    return [
        f"{key} {one.get(key)} and {other.get(key)}"
        for key in one.keys() | other.keys()
        if one.get(key) != other.get(key)
    ]


class Health:
    """Compares what a run logs with a reference."""

    def __init__(self, path, config):
        """
        Args:
          path: of the reference file.
          config: the run's.

        Raises:
          UserError: the file is no reference.
        """
        content = files.read_json(path)
        if not isinstance(content.get("bands"), dict) or not isinstance(content.get("config"), dict):
            raise UserError(
                f"run.reference: {path} is no reference; scripts/report.py RUN ... --reference FILE makes one"
            )
        self.path, self.bands, self.outside = path, content["bands"], set()
        self.differing = _differing(content["config"], _compared(json.loads(config.to_json())))

    def start(self):
        """Lines for a run that starts: what it does otherwise than its reference."""
        if self.differing:
            yield f"run.reference: {self.path} is of another recipe: {listed(self.differing, 5)}"

    def check(self, step, split, values):
        """Yields a line for each metric that leaves its band, or is back in it.

        Args:
          step: of the line of metrics.
          split: its split.
          values: name -> float.
        """
        for name, value in values.items():
            band = self.bands.get(f"{split}/{name}")
            if band is None:
                continue
            steps, lows, highs = np.array(band, float).T
            if not steps[0] <= step <= steps[-1]:
                continue
            low, high = np.interp(step, steps, lows), np.interp(step, steps, highs)
            inside, key = low <= value <= high, f"{split}/{name}"
            if not inside and key not in self.outside:
                self.outside.add(key)
                yield f"step {step:,}: {key} {value:.4g} is outside the band of {self.path}, {low:.4g} to {high:.4g}"
            elif inside and key in self.outside:
                self.outside.remove(key)
                yield f"step {step:,}: {key} {value:.4g} is back in its band"
