"""Runs many runs: a published table of configs/ablations, or any config over values of its keys.

    python scripts/sweep.py --config configs/ablations/albert.py:table5,mini --workdir runs/table5 --plan
    python scripts/sweep.py --config configs/ablations/albert.py:table5,mini --workdir runs/table5 --workers 2
    python scripts/sweep.py --config configs/bert.py:tiny --sweep.optimizer.learning_rate=1e-4,3e-4 --sweep.seed=0:5 \
        --workdir runs/rates --workers 2
    python scripts/sweep.py --config configs/finetune.py:bert-base,mrpc --sweep bert --workdir runs/mrpc --workers 1
    python scripts/sweep.py --config configs/bert.py:tiny --sweep.optimizer.learning_rate='log_uniform(1e-5,1e-2)' \
        --search 20 --workdir runs/search --workers 2                              # Optuna chooses
    python scripts/sweep.py --workdir runs/table5                                  # how it stands
    python -m ssl_jax.sweeps.worker runs/table5                                    # one more worker, on any machine

--plan launches nothing. The same command goes on with what is missing or has failed. Workers go on when the terminal is
closed; --stop lets them save and end. Stages of a table are blocks: --config.pretrain.data.corpus=text:BOOKS. With several
random values, as --sweep.optimizer.learning_rate='log_uniform(1e-5,1e-3)', --samples says how many points are drawn.
scripts/report.py WORKDIR shows the results, also of an unfinished sweep.
"""

import dataclasses
import importlib.util
import json
import sys
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from ssl_jax import command_line
from ssl_jax.errors import UserError, check_choice
from ssl_jax.sweeps import points, swept

CONFIG = command_line.define_config(required=False)
WORKDIR = command_line.define_path("workdir", None, "the folder of the sweep", required=True)
SWEEP = flags.DEFINE_string("sweep", None, "one of SWEEPS in the config file")
SAMPLES = flags.DEFINE_integer("samples", 0, "points to draw from random values", lower_bound=0)
SEEDS = flags.DEFINE_integer("seeds", 0, "seeds of each row; 0: as the table says, or 1", lower_bound=0)
SEARCH = flags.DEFINE_integer(
    "search", 0, "let Optuna choose so many points from the values of --sweep.KEY", lower_bound=0
)
METRIC = flags.DEFINE_string(
    "metric",
    "",
    "of result.json, for the best row: the smallest loss or the largest score; default: score of a task, or loss",
)
ROOT = command_line.define_path("root", None, "data.root of all stages: where prepared corpora go")
SETS = command_line.define_path("sets", None, "the published sets' own files, in a folder for each task")
PLAN = flags.DEFINE_bool("plan", False, "say what would run, and do nothing else")
RATE = flags.DEFINE_float(
    "flops_per_second", 0.0, "of a worker, for time estimates; 0: that of the sweep's finished runs", lower_bound=0
)
REPLAN = flags.DEFINE_bool("replan", False, "plan a sweep as its config is now, although it was planned otherwise")
TOGETHER = flags.DEFINE_bool(
    "together", False, "train runs that differ only in the seed or other numbers as one program"
)
WORKERS = flags.DEFINE_integer("workers", 0, "start so many workers, detached from the terminal", lower_bound=0)
WAIT = flags.DEFINE_bool("wait", True, "with --workers: say how it stands until all is done")
SLURM = flags.DEFINE_string("slurm", None, "submit the workers to Slurm, with submitit's options, as JSON")
STOP = flags.DEFINE_bool("stop", False, "let all workers save their runs and end")
EXCLUDE = flags.DEFINE_string("exclude", None, "RUN:REASON: leave a finished run out of the report, and say why")


def table_of(flag, texts, found=None):
    """The `Table` of --config and the other flags.

    Args:
      flag: of --config.
      texts: of --sweep.KEY=VALUES.
      found: the points, instead of those that the flags name.
    """
    from ssl_jax.sweeps.tables import Stage, Table

    path, _, variant = flag.config_filename.partition(":")
    module = load(path)
    if hasattr(module, "get_sweep"):
        if texts or SWEEP.value:
            raise UserError(f"{path} has the rows of its tables: --sweep is for configs of one run")
        table = module.get_sweep(*[variant] * bool(variant))
        given = config_flags.get_override_values(flag)
        own = {
            name: tuple(key.partition(".")[2] for key in given if key.startswith(f"{name}.")) for name in table.stages
        }
        stages = {
            name: dataclasses.replace(stage, config=flag.value[name], given=(*stage.given, *own[name]))
            for name, stage in table.stages.items()
        }
        rows = tuple(dataclasses.replace(row, stages=own_stages(row, stages)) for row in table.rows)
        table = dataclasses.replace(table, rows=rows)
    else:
        rows, base, count = rows_of(module, path, texts, flag.value, found)
        stages = {"run": Stage(base, given=tuple(config_flags.get_override_values(flag)))}
        table = Table(f"{flag.config_filename}, a sweep", stages, rows, seeds=count)
    for stage in (*stages.values(), *(stage for row in table.rows for stage in row.stages.values())):
        place(stage)
    return dataclasses.replace(table, stages=stages, seeds=SEEDS.value or table.seeds)


def own_stages(row, stages):
    """A row's own stages with what flags have set for the stages of their names."""
    from ssl_jax.options import flat

    made = {}
    for name, stage in row.stages.items():
        config, values = stage.config.copy_and_resolve_references(), dict(flat(stages[name].config))
        given = stages[name].given
        config.update_from_flattened_dict({key: values[key] for key in given})
        made[name] = dataclasses.replace(stage, config=config, given=(*stage.given, *given))
    return made


def rows_of(module, path, texts, base, found):
    """The rows of a config of one run, its base config, and how many seeds each row has; see `table_of`."""
    from ssl_jax.sweeps.planning import spelt
    from ssl_jax.sweeps.tables import Row

    if base.get("members") or base.get("seeds", 1) > 1:
        raise UserError("members and seeds of a config train together: give a sweep --sweep.seed=0:5 or --seeds=5")
    base = base.copy_and_resolve_references()
    texts, count = dict(texts), 1
    if "seed" in texts:
        seeds = [point["seed"] for point in swept.read({"seed": texts.pop("seed")})]
        if seeds != list(range(seeds[0], seeds[0] + len(seeds))):
            raise UserError("--sweep.seed: seeds follow each other, as in --sweep.seed=0:5")
        base.seed, count = seeds[0], len(seeds)
    if found is None:
        found = [{}]
        if SWEEP.value:
            known = getattr(module, "SWEEPS", {})
            check_choice(SWEEP.value, known, f"sweep of {path}")
            found = known[SWEEP.value]
        if texts:
            found = points.product(found, swept.read(texts, SAMPLES.value, base.seed))
        elif SAMPLES.value:
            raise UserError("--samples is of random values, which --sweep.KEY gives")
    keys = {key for point in found for key in point}
    short = {key: key.rpartition(".")[2] for key in keys}
    if len(set(short.values())) < len(keys):  # model.layers and init.layers
        short = {key: key for key in keys}

    def name(point):
        return ", ".join(f"{short[key]}={spelt(value)}" for key, value in point.items()) or "the config"

    return tuple(Row(name(point), point) for point in found), base, count


def place(stage):
    """Puts --root and --sets into a stage's config."""
    config = stage.config
    if ROOT.value and "data" in config:
        config.data.root = ROOT.value
    if SETS.value and stage.kind == "evaluate":
        config.folder = SETS.value
    elif SETS.value and config.data.examples == "task":
        folder = Path(SETS.value) / config.task.name
        if folder.is_dir():
            config.task.folder = str(folder)


def load(path):
    """A config file as a module."""
    spec = importlib.util.spec_from_file_location("config_of_sweep", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main():
    workdir = Path(WORKDIR.value)
    if STOP.value:
        from ssl_jax.sweeps import launch

        launch.stop(workdir)
        print("all workers save their runs and end")
    elif EXCLUDE.value is not None:
        exclude(workdir, EXCLUDE.value)
    elif CONFIG.value and SEARCH.value:
        search(workdir)
    elif CONFIG.value:
        run(workdir)
    else:
        stand(workdir)


def run(workdir):
    """Plans, and launches what the flags say."""
    from ssl_jax.sweeps import launch, planning

    table = table_of(flags.FLAGS["config"], TEXTS)
    planned = planning.plan(table, launch.previous(workdir))
    print(*planning.lines(planned, RATE.value or launch.rate(workdir) or planning.expected_rate()), sep="\n")
    if PLAN.value:
        return
    unknown = next((run for run in planned.runs.values() if run.unknown), None)
    if unknown:
        raise UserError(f"row {unknown.rows[0]}, {unknown.stage}: {unknown.unknown}")
    say(*launch.write(workdir, planned, flags.FLAGS["config"].config_filename, REPLAN.value, TOGETHER.value))
    if SLURM.value is not None:
        jobs = launch.submit(workdir, WORKERS.value or 1, read_options(SLURM.value))
        print(f"submitted: {', '.join(jobs)}")
    elif WORKERS.value:
        started = launch.start(workdir, WORKERS.value)
        say(f"{len(started)} workers have started; they go on without this terminal, and --stop ends them")
        if WAIT.value and not launch.watch(workdir, started, say):
            raise UserError(f"not all runs are done; the same command goes on, {workdir}/runs/NAME/log.txt say why")
        if WAIT.value and "run" in table.stages and len(table.rows) > 1:
            say_best(workdir)
    else:
        print(f"nothing runs yet: --workers N starts workers here, or python -m ssl_jax.sweeps.worker {workdir}")


def say(*lines):
    print(*lines, sep="\n", flush=True)


def search(workdir):
    """Lets Optuna choose points, as many at a time as there are workers, and runs them."""
    from ssl_jax.sweeps import launch, ledger, planning
    from ssl_jax.sweeps import search as searching

    flag, texts = flags.FLAGS["config"], {key: text for key, text in TEXTS.items() if key != "seed"}
    lists, distributions = swept.split(texts)
    distributions |= {key: points.choice(*values) for key, values in lists.items()}
    if not distributions or SAMPLES.value or not WORKERS.value:
        raise UserError(
            "--search needs values to choose from, --sweep.KEY=VALUES, and --workers; --samples is for random points"
        )
    metric, statistic = measured(flag.value)
    while True:
        before = searching.tried(workdir, metric, statistic)
        found = [row["changes"] for row in ledger.read(workdir)["rows"]] if ledger.is_sweep(workdir) else []
        if len(before) == len(found):  # nothing is left to run
            more = min(WORKERS.value, SEARCH.value - len(found))
            if more <= 0:
                break
            found += searching.propose(before, distributions, more, not metric.endswith("loss"), flag.value.seed)
        planned = planning.plan(table_of(flag, TEXTS, found), launch.previous(workdir))
        say(*launch.write(workdir, planned, flag.config_filename, REPLAN.value))
        if not launch.watch(workdir, launch.start(workdir, WORKERS.value), say) and stopped(workdir):
            return
    say_best(workdir)


def measured(config):
    """What the rows of a config of one run are compared by: a metric of result.json, and its statistic over seeds."""
    if METRIC.value:
        return METRIC.value, "mean"
    if config.evals.heldout.module == "task":
        return "score", config.task.statistic
    return "loss", "mean"


def say_best(workdir):
    """Says which row is the best, and the flags that make it."""
    from ssl_jax.sweeps import planning, search

    metric, statistic = measured(flags.FLAGS["config"].value)
    scored = [(value, changes) for changes, value in search.tried(workdir, metric, statistic) if value is not None]
    if not scored:
        raise UserError("no row has a result: all runs failed")
    value, changes = (min if metric.endswith("loss") else max)(scored, key=lambda one: one[0])
    told = " ".join(f"--config.{key}={planning.spelt(own)}" for key, own in changes.items())
    say(f"best of {len(scored)}: {metric} {value:.4g} ({statistic} over seeds) with {told}")


def stopped(workdir):
    """Whether runs are left: the workers were stopped, or died."""
    from ssl_jax.sweeps import ledger

    return any(
        own["state"] not in ledger.FINAL for own in ledger.statuses(workdir, ledger.read(workdir)["runs"]).values()
    )


def read_options(text):
    """--slurm as a dict."""
    try:
        options = json.loads(text or "{}")
    except json.JSONDecodeError as error:
        raise UserError(f'--slurm is not JSON ({error.msg}): as in \'{{"slurm_partition": "gpu"}}\'') from error
    if not isinstance(options, dict):
        raise UserError('--slurm is a JSON object, as in \'{"slurm_partition": "gpu"}\'')
    return options


def stand(workdir):
    """Prints how a sweep stands."""
    from ssl_jax.sweeps import ledger

    sweep = ledger.read(workdir)
    found = ledger.statuses(workdir, sweep["runs"])
    print(f"{sweep['title']}: {ledger.counts(found)}")
    for name, own in found.items():
        if own["state"] != "done":
            print(f"  {own['state']:18} {name}" + (f": {own['reason']}" if own.get("reason") else ""))


def exclude(workdir, text):
    """Marks a run as left out of the report."""
    from ssl_jax.sweeps import ledger

    name, _, reason = text.partition(":")
    check_choice(name, ledger.read(workdir)["runs"], "run")
    if not reason:
        raise UserError("--exclude=RUN:REASON: say why the run is left out")
    ledger.write_status(ledger.folder_of(workdir, name), excluded=reason)
    print(f"{name} is left out of the report: {reason}")


if __name__ == "__main__":
    sys.argv, TEXTS = swept.take(sys.argv)
    command_line.run(main)
