"""Trains a task at every point of a hyperparameter grid, as papers do, and reports the best one.

    python scripts/grid.py --config configs/finetune.py:bert-base,mrpc --config.init.run=runs/bert-base --grid bert \
        --workdir runs/mrpc

The grids are in GRIDS of configs/finetune.py. Each point is a run of scripts/train.py in WORKDIR/POINT, with the
point's values in place of the config's. The same command resumes where it stopped; finished points are not retrained.
Points are compared by the task's score on the development set, with --config.seeds=N by the paper's own statistic of
it, task.statistic; grid.json has all of them and the best one's name. A point that diverges has no score.
"""

import hashlib
import itertools
import re
from pathlib import Path

from absl import flags

from ssl_jax import command_line

CONFIG = command_line.define_config()
GRID = flags.DEFINE_string("grid", None, "one of GRIDS in configs/finetune.py", required=True)
WORKDIR = command_line.define_path("workdir", None, "the folder of all runs", required=True)


def points(values):
    """Yields each point of a grid (key -> values): its folder and its changes, key -> value."""
    for chosen in itertools.product(*values.values()):
        changes = dict(zip(values, chosen, strict=True))
        name = "_".join(f"{key.rpartition('.')[2]}={spelt(value)}" for key, value in changes.items())
        yield folder_name(name), changes


def spelt(value):
    """A value as spelt in a folder name: 5e-05, 32, True, gelu, 128,512."""
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return ",".join(map(spelt, value)) if isinstance(value, (tuple, list)) else str(value)


def folder_name(name):
    """`name` without characters unsafe in folder names, plus its hash if changed: runs/a and runs-a stay distinct."""
    plain = re.sub(r"[^\w.,=+-]", "-", name)[:100]
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def check(values, config, name):
    """Raises UserError unless grid `name` has tuples of values that are valid for the config's keys."""
    from ssl_jax.config import check_value
    from ssl_jax.errors import UserError, check_choice, shown
    from ssl_jax.options import flat

    config = config.copy_and_resolve_references()
    present = dict(flat(config))
    if not values:
        raise UserError(f"grid {name} has no keys")
    for key, of in values.items():
        check_choice(key, present, f"key of grid {name}")
        if not isinstance(of, (tuple, list)) or not of:
            raise UserError(f"grid {name}: {key} has {shown(of)}, and should have several values in a tuple")
        for value in of:
            try:
                if isinstance(value, bool) != isinstance(present[key], bool) or value is None:
                    raise TypeError
                config.update_from_flattened_dict({key: value})
            except (TypeError, ValueError, OverflowError) as error:
                kind = type(present[key]).__name__
                what = f"grid {name}: {key} cannot be {shown(value)}"
                raise UserError(f"{what}: its values are of type {kind}") from error
            check_value(key, value)
    names = [folder for folder, _ in points(values)]
    if twice := next((folder for folder in names if names.count(folder) > 1), None):
        raise UserError(f"grid {name} has the point {twice} twice")


def measured(result):
    """The score of a run's result; for several seeds their statistic, with mean and sd."""
    if "seeds" not in result:
        return {"score": result["score"]}
    score = result["score"]
    return {"score": score[result["statistic"]], "mean": score["mean"], "sd": score["sd"]}


def search(config, name, workdir):
    """Trains all points of a grid in GRIDS and writes grid.json; returns its contents, or None on SIGTERM.

    Raises:
      UserError: unknown grid, or its values are invalid for the config; the config has no task; all points diverge;
        see `train.train`.
    """
    from configs.finetune import GRIDS
    from ssl_jax import checks, files, logs, source, train
    from ssl_jax.errors import NotFiniteError, UserError, check_choice, listed

    check_choice(name, GRIDS, "grid")
    if "evals" not in config or config.evals.heldout.module != "task":
        raise UserError("a grid is compared by the score of a task: give a config of configs/finetune.py")
    if config.members:
        raise UserError("members and a grid both say which runs there are: leave one of them out")
    check(GRIDS[name], config, name)
    runs = []
    for folder, changes in points(GRIDS[name]):
        point = config.copy_and_resolve_references()
        point.update_from_flattened_dict(changes)
        # Rejects invalid points before the first one trains.
        checks.settle(source.resolve(source.resolve_teacher(point), Path(workdir) / folder))
        runs.append((folder, changes, point))
    tried = []
    for folder, changes, point in runs:
        logs.say(f"--- {folder}")
        try:
            result = train.train(point, Path(workdir) / folder)
        except NotFiniteError as error:
            logs.say(str(error))
            tried.append({"point": folder, "changes": changes, "diverged": str(error)})
            continue
        if result is None:
            return None
        tried.append({"point": folder, "changes": changes, **measured(result)})
    scored = [one for one in tried if "score" in one]
    if not scored:
        raise UserError(f"all {len(tried)} points of grid {name} diverge; the last one: {tried[-1]['diverged']}")
    found = {"grid": name, "best": max(scored, key=lambda one: one["score"])["point"], "points": tried}
    files.write_json(Path(workdir) / "grid.json", found)
    names = {one["point"] for one in tried}
    others = sorted(path.parent.name for path in Path(workdir).glob("*/result.json") if path.parent.name not in names)
    if others:
        logs.say(f"{workdir} has points that the grid no longer has, which are not compared: {listed(others)}")
    return found


def table(found):
    """Lines that show the results of `search`, the best point marked with *."""
    numbers = [name for name in ("score", "mean", "sd") if any(name in one for one in found["points"])]
    width = max(len(one["point"]) for one in found["points"]) + 1
    yield f"{'':{width}}" + "".join(f"{name:>10}" for name in numbers)
    for one in found["points"]:
        mark = "*" * (one["point"] == found["best"])
        told = [f"{one[name]:.4g}" if name in one else "diverged" for name in numbers]
        yield f"{one['point'] + mark:{width}}" + "".join(f"{text:>10}" for text in told)


def main():
    config, lines = command_line.settled()

    from ssl_jax import logs, parallel  # after the flags: typos fail before jax loads

    parallel.initialise()
    for line in lines:
        logs.say(line)
    found = search(config, GRID.value, WORKDIR.value)
    if found is not None:
        print(*table(found), sep="\n")


if __name__ == "__main__":
    command_line.run(main)
