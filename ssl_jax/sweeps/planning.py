"""What a sweep will run: every row's runs with their configs, names and costs, and what is shared. Nothing is launched.

The same runs are written to the sweep's folder by ledger.py. A run is known by a readable name of what its row changes and
six digits of a hash of all that decides its numbers; a run that several rows need is there once.
"""

import contextlib
import hashlib
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from ssl_jax import checks, files, footprint, source
from ssl_jax.checkpoints import decisive_values
from ssl_jax.command_line import PATHS
from ssl_jax.config import check_value
from ssl_jax.describe import describe
from ssl_jax.errors import UserError, check_choice, listed, shown
from ssl_jax.flops import peak_flops
from ssl_jax.models.model import build_model
from ssl_jax.old_configs import complete
from ssl_jax.options import flat
from ssl_jax.population import varies
from ssl_jax.statistics import detectable
from ssl_jax.sweeps.tables import Table

RUNS = "runs"  # folder of the runs in that of the sweep; references are relative to the latter, so that it can be moved
# Parts of a model whose parameters papers count: neither heads nor a generator.
COUNTED = ("embeddings", "encoder", "pooler")
# What does not decide an evaluation's numbers; for training this is `checkpoints.FREE_KEYS` and where data lie.
FREE_OF_EVALUATIONS = ("folder", "batch_size")


class Run(NamedTuple):
    """A run of a sweep.

    Attributes:
      name: of its folder.
      stage, kind: see `tables.Stage`.
      rows, seeds: names of the rows and the seeds that use it.
      needs: names of the runs that come first.
      config: as written in the table, with its references: what it starts from has not been taken from its source yet.
      given: the keys that its row, its stage or a flag set, which come before what a source says.
      changes: of its row that it depends on, {key: value}: its own and those of the runs that it needs.
      settled: the config as it will run, as far as it is known now; None for an evaluation.
      parameters: as papers count them, of trunk and pooler, without heads and generators; 0 for an evaluation.
      flops, tokens, steps: of the training (PaLM's count); 0 for an evaluation.
      memory: of the training, in bytes, an estimate, see `_memory`.
      unknown: why costs are not known, '' if they are: the files of its task are missing.
    """

    name: str
    stage: str
    kind: str
    rows: tuple
    seeds: tuple
    needs: tuple
    config: Any
    given: tuple
    changes: dict
    settled: Any
    parameters: int
    flops: float
    tokens: int
    steps: int
    memory: float
    unknown: str


class Plan(NamedTuple):
    """A sweep with its runs.

    Attributes:
      table: its `Table`.
      runs: name -> `Run`, each after those it needs.
      seeds: of each row.
      cells: (row, stage, seed) -> name of a run.
    """

    table: Table
    runs: dict
    seeds: tuple
    cells: dict


def plan(table, previous=None):
    """The `Plan` of a `Table`.

    Args:
      table: its stages' configs may have relative paths: of the current folder.
      previous: (row, stage, seed) -> (name, `made_of`), of the sweep's folder: a run
        that is still the same keeps its name, also where a new option has been added since.

    Raises:
      UserError: rows that cannot be built, each with its reason.
    """
    here = os.getcwd()
    base = next(iter(table.stages.values())).config
    first = base.seed
    seeds = tuple(range(first, first + table.seeds))
    runs, cells, names, problems, costs = {}, {}, {}, {}, {}
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for row in table.rows:
            try:
                stages = _stages(table, row)
                for seed in seeds:
                    for stage in stages:
                        own = first if stage_of(table, row, stage).share_seed else seed
                        run = _run(table, row, stage, own, runs, cells, names, here, costs, previous or {})
                        if run.name not in runs and run.settled is not None:
                            write_config(Path(RUNS) / run.name, run)
                        before = runs.get(run.name, run)
                        runs[run.name] = run._replace(
                            rows=_with(before.rows, row.name), seeds=_with(before.seeds, seed), changes=before.changes
                        )
                        cells[row.name, stage, seed] = run.name
            except UserError as error:
                problems[row.name] = str(error)
    if problems:
        told = "; ".join(f"row {shown(name)}: {reason}" for name, reason in problems.items())
        raise UserError(f"{table.title}: nothing is started: {told}")
    return Plan(table, runs, seeds, cells)


def _with(names, name):
    return names if name in names else (*names, name)


def write_config(folder, run):
    """Writes the config of a run that has not begun, which later stages read for the shape of what they start from."""
    folder.mkdir(parents=True, exist_ok=True)
    files.write_json(folder / "config.json", {"config": json.loads(run.settled.to_json())})


def _stages(table, row):
    """The stages that a row needs: those of the columns, and those that they refer to."""
    wanted = {column.stage for column in table.columns if column.stage} or {list(table.stages)[-1]}
    for name in reversed(table.stages):
        if name in wanted:
            wanted |= set(references(_changed(table, row, name)[0]))
    return [name for name in table.stages if name in wanted]


def stage_of(table, row, name):
    """The `Stage` of a row."""
    return row.stages.get(name) or table.stages[name]


def _changed(table, row, stage):
    """A stage's config with what the row changes there, and {key: value} of that."""
    config = stage_of(table, row, stage).config.copy_and_resolve_references()
    changes = {}
    for name, value in row.changes.items():
        where, slash, key = name.partition("/")
        if (where in (stage, "*")) if slash else stage == next(iter(table.stages)):
            changes[key if slash else name] = value
    for key, value in changes.items():
        _set(config, key, value)
    return config, changes


def _set(config, key, value):
    """Sets a key of a config; an evaluation, evals.NAME.KEY, may be new."""
    *blocks, last = key.split(".")
    if blocks[:1] == ["evals"] and len(blocks) == 2:
        with config.unlocked():
            if blocks[1] not in config.evals:
                config.evals[blocks[1]] = dict(module="mean")
            config.evals[blocks[1]][last] = value
        return
    present = dict(flat(config))
    check_choice(key, present, "config key")
    if isinstance(present[key], tuple | list) and isinstance(value, list):
        value = tuple(value)
    try:
        if isinstance(value, bool) != isinstance(present[key], bool) or value is None:
            raise TypeError
        config.update_from_flattened_dict({key: value})
    except (TypeError, ValueError, OverflowError) as error:
        kind = type(present[key]).__name__
        raise UserError(f"{key} cannot be {shown(value)}: its values are of type {kind}") from error
    check_value(key, value)


def references(config):
    """The stages that a config's values refer to, '@NAME'."""
    found = []
    for _, value in flat(config):
        for entry in value if isinstance(value, tuple | list) else (value,):
            if isinstance(entry, str) and entry.startswith("@"):
                found.append(entry[1:].partition("/")[0])
    return list(dict.fromkeys(found))


def _resolved(config, replace):
    """The config with `replace(text)` for every text in it."""
    for key, value in list(flat(config)):
        if isinstance(value, str):
            new = replace(key, value)
        elif isinstance(value, tuple | list) and any(isinstance(entry, str) for entry in value):
            new = tuple(replace(key, entry) if isinstance(entry, str) else entry for entry in value)
        else:
            continue
        if new != value:
            config.update_from_flattened_dict({key: new})
    return config


def _run(table, row, stage, seed, runs, cells, names, here, costs, previous):
    """The `Run` of a row, stage and seed; earlier ones are in `runs`, by row, stage and seed in `cells`, and by what
    decides their numbers in `names`.
    """
    about = stage_of(table, row, stage)
    config, changes = _changed(table, row, stage)
    needs = []

    def replace(key, text):
        if not text.startswith("@"):
            return _absolute(key, text, here)
        name, slash, rest = text[1:].partition("/")
        check_choice(name, table.stages, f"stage that {key} of stage {stage} refers to")
        if (row.name, name, seed) not in cells:
            raise UserError(f"stage {stage} refers to {name}, which comes after it")
        needed = cells[row.name, name, seed]
        needs.append(needed)
        return f"{RUNS}/{needed}{slash}{rest}"

    config = _resolved(config, replace)
    config.seed = seed
    given = tuple(dict.fromkeys([*about.given, *changes, *(["init.run"] if _starts(config) else [])]))
    settled, cost = None, (0, 0.0, 0, 0, 0.0, "")
    if about.kind == "train":
        settled, config, given, cost = _settled(config, given, about, costs)
    for needed in needs:
        changes = runs[needed].changes | changes
    values = made_of(about.kind, config)
    text = json.dumps(values, sort_keys=True)
    if text not in names:
        was = previous.get((row.name, stage, seed))
        same = was and was[1]["kind"] == about.kind and _completed(was[1]) == values
        names[text] = was[0] if same else _name(stage, changes, seed, text, names.values())
    name, needs = names[text], tuple(dict.fromkeys(needs))
    return Run(name, stage, about.kind, (), (), needs, config, given, changes, settled, *cost)


def _starts(config):
    """Whether a config starts from a run of the sweep, whose shape it then has."""
    return "init" in config and config.init.run.startswith(f"{RUNS}/")


def _absolute(key, text, here):
    """A relative path of the folder that the table was read in, for keys that hold paths."""
    if key not in PATHS or not text or text in ("none", "teacher"):
        return text
    kind = "text:" if text.startswith("text:") else ""
    if key == "data.corpus" and not kind:
        return text
    return kind + os.path.join(here, os.path.expanduser(text.removeprefix(kind)))


def _settled(config, given, about, costs):
    """A training config as it will run, with the number of steps that its budget allows, and its costs."""
    settled, _ = checks.from_source(config, given)
    if settled.data.tokenizer.path.startswith(f"{RUNS}/"):
        settled.data.tokenizer.path = ""  # of a run to come, whose vocabulary has the size that was taken
    settled = checks.settle(settled, given)
    if about.flops:
        steps = _affordable(settled, about.flops)
        config.steps = settled.steps = steps
        given = (*given, "steps")
    cost = _cost(settled, costs)
    return settled, config, given, cost


def _affordable(config, flops):
    """How many steps cost at most `flops`; at least 1."""
    per_step = describe(config)["flops"]["training"]["palm"] / config.steps
    if per_step > flops:
        raise UserError(f"one step costs {per_step:.3g} FLOPs, more than the budget of {flops:.3g}")
    return int(flops / per_step)


def _cost(config, costs):
    """(parameters, flops, tokens, steps, memory, why not known) of a training config; `costs` remembers those of other seeds."""
    values = json.loads(config.to_json())
    values["seed"] = 0
    key = re.sub(rf'"{RUNS}/[^"]*"', '""', json.dumps(values))
    if key not in costs:
        try:
            about = describe(config)
        except UserError as error:
            if config.data.examples != "task":
                raise
            costs[key] = (0, 0.0, 0, 0, 0.0, str(error))
        else:
            flops = about["flops"]["training"]["palm"]
            memory = _memory(ConfigDict(about["config"]))
            parameters = sum(count for part, count in about["parts"].items() if part.split(".")[0] in COUNTED)
            costs[key] = (parameters, flops, about["tokens"], about["config"]["steps"], memory, "")
    return costs[key]


def _memory(config):
    """Bytes that training takes on one device, see `footprint.estimate`, 0 if not known; `config`: with what its task tells."""
    if config.model.network == "mqan":
        return 0.0
    model = build_model(config)
    there = all(map(source.is_there, config.teacher.runs))
    teachers = footprint.teacher_models(config) if there else []
    cut, shapes = footprint.Cut("pmap", 1, accumulate=config.run.accumulate), footprint.state_shapes(config, model)
    return footprint.estimate(config, model, cut, footprint.largest(config), shapes, teachers).total


def made_of(kind, config):
    """What decides a run's numbers: nested dict of JSON."""
    values = json.loads(config.to_json())
    if kind == "evaluate":
        return {"kind": kind, **{key: value for key, value in values.items() if key not in FREE_OF_EVALUATIONS}}
    values = decisive_values(values)
    corpus = values["data"]["corpus"]
    if corpus.startswith("text:"):  # the folder may be moved; whether its text is the same is seen by its hash
        values["data"]["corpus"] = f"text:{os.path.basename(corpus)}"
    return {"kind": kind, **values}


def _completed(values):
    """`made_of` of an earlier version of the package with the options that have been added since, at their defaults."""
    if values["kind"] == "evaluate":
        return values
    rest = {key: value for key, value in values.items() if key != "kind"}
    return {"kind": values["kind"], **decisive_values(complete(rest, like=None))}


def difference(before, now):
    """Lines 'key: old -> new' on what `made_of` gave before and gives now; other names of runs of the sweep do not count."""
    old, new = dict(flat(_completed(before))), dict(flat(now))
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key) and not _within(old.get(key)) & _within(new.get(key)):
            yield f"{key}: {shown(old.get(key))} -> {shown(new.get(key))}"


def _within(value):
    """Whether a value refers to runs of the sweep."""
    entries = value if isinstance(value, list) else [value]
    return bool(entries) and all(isinstance(entry, str) and entry.startswith(f"{RUNS}/") for entry in entries)


def _name(stage, changes, seed, text, taken):
    """'pretrain_sop=0_seed=1-1a2b3c'; `text` is what is hashed, and names that others have are not given again."""
    # Evaluations are left out: they are long, and the rest says more.
    named = {key: value for key, value in changes.items() if not key.startswith("evals.")}
    words = [f"{key.rpartition('.')[2].rpartition('/')[2]}={spelt(value)}" for key, value in named.items()]
    plain = re.sub(r"[^\w.,=+-]", "-", "_".join([stage, *words]))[:90]
    digits = hashlib.sha256(text.encode()).hexdigest()
    name = f"{plain}_seed={seed}-{digits[:6]}"
    return name if name not in taken else f"{name}{digits[6:12]}"


def spelt(value):
    """A value as spelt in a folder name: 5e-05, 32, True, gelu, 128,512."""
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return ",".join(map(spelt, value)) if isinstance(value, (tuple, list)) else str(value)


def together(planned, names):
    """Which of the runs may train as one program: those of a stage that start from the same and differ only in VARYING keys.

    Args:
      planned: a `Plan`.
      names: of the runs to look at.

    Returns:
      A list of lists of names, each of two or more.
    """
    groups = {}
    for name in names:
        run = planned.runs[name]
        if run.kind == "train":
            values = dict(flat(made_of(run.kind, run.config)))
            # A number that is 0 switches something off, and is then another program.
            key = {key: bool(value) if varies(key) and key != "seed" else value for key, value in values.items()}
            key.pop("seed")
            groups.setdefault((run.stage, run.needs, json.dumps(key, sort_keys=True)), []).append(name)
    return [group for group in groups.values() if len(group) > 1 and _is_one_program(planned, group)]


def member_changes(configs):
    """For each of several configs that may train together, {key: value} of the VARYING keys in which they differ."""
    values = [{key: value for key, value in flat(config) if varies(key)} for config in configs]
    differing = [key for key in values[0] if len({own[key] for own in values}) > 1]
    return [{key: own[key] for key in differing} for own in values]


def with_members(configs):
    """One config that trains several together, `config.members`."""
    config = configs[0].copy_and_resolve_references()
    changes = member_changes(configs)
    config.members = tuple(" ".join(f"{key}={value!r}" for key, value in own.items()) for own in changes)
    return config


def _is_one_program(planned, group):
    try:
        checks.settle(with_members([planned.runs[name].settled for name in group]))
    except UserError:
        return False
    return True


def lines(planned, rate=0.0):
    """Lines that say what a plan will run: every row with its changed keys, runs and costs, and what is shared.

    Args:
      planned: a `Plan`.
      rate: FLOP/s of a worker, to estimate the time; 0: not known.
    """
    table, runs = planned.table, planned.runs
    yield f"{table.title}: {len(table.rows)} rows, {len(planned.seeds)} seeds, {len(runs)} runs"
    for row in table.rows:
        told = ", ".join(f"{key}={spelt(value)}" for key, value in row.changes.items()) or "as in the config"
        yield f"{row.name}: {told}"
        for stage in table.stages:
            names = list(
                dict.fromkeys(
                    planned.cells[row.name, stage, seed]
                    for seed in planned.seeds
                    if (row.name, stage, seed) in planned.cells
                )
            )
            if names:
                count = f"{len(names)} run{'s' * (len(names) > 1)}"
                yield f"  {stage:14} {_costs(runs[names[0]], rate)}, {count}{_shared(runs, names, row.name)}"
    yield f"in all {_total(runs.values(), rate)}"
    yield from _findings(table, len(planned.seeds))
    missing = dict.fromkeys(run.unknown for run in runs.values() if run.unknown)
    for reason in missing:
        yield f"not counted: {reason}"


def _findings(table, seeds):
    """Lines on what the claims of a table need: the published differences, and what so many seeds can find."""
    if table.claims:
        least = f"{detectable(1.0, seeds):.3g} times the spread over seeds" if seeds > 1 else "nothing with one seed"
        yield f"{seeds} seeds find, with a probability of 80 %, differences from {least} on"
    columns = {column.name: column for column in table.columns}
    cells = {row.name: table.published.get(row.published or row.name) for row in table.rows}
    for claim in table.claims:
        relation = {1: "above", -1: "below", 0: f"within {claim.band:g} of"}[claim.direction]
        row, reference = (columns[claim.column].number(cells[name]) for name in (claim.row, claim.reference))
        told = "" if None in (row, reference) else f"; published: {row:g} and {reference:g}"
        yield f"  claim: {claim.row} {relation} {claim.reference}, {claim.column}{told}"


def _costs(run, rate):
    if run.kind == "evaluate":
        return "evaluation"
    if run.unknown:
        return "cost not known"
    time = f", {duration(run.flops / rate)}" if rate else ""
    return (
        f"{run.parameters:,} parameters, {run.steps:,} steps, {run.tokens:.3g} tokens, {run.flops:.3g} FLOPs, "
        f"about {max(run.memory, 1e6) / 1e9:.2g} GB{time} each"
    )


def _shared(runs, names, row):
    others = list(dict.fromkeys(other for name in names for other in runs[name].rows if other != row))
    return f" (shared with {listed(others, 6)})" if others else ""


def expected_rate():
    """FLOP/s of a worker with one device before any run has been timed: 40 % of its peak; 0 where that is not known."""
    return 0.4 * (peak_flops(jax.devices()[0].device_kind, "bfloat16") or 0.0)


def _total(runs, rate):
    flops = sum(run.flops for run in runs)
    return f"{flops:.3g} FLOPs" + (f", {duration(flops / rate)} of one worker" if rate else "")


def duration(seconds):
    """'45 s', '12 min', '3.4 h', '21 days'."""
    for size, unit, digits in ((86_400 * 2, "days", 86_400), (3_600 * 2, "h", 3_600), (120, "min", 60)):
        if seconds >= size:
            value = seconds / digits
            return f"{value:.3g} {unit}"
    return f"{seconds:.0f} s"
