"""What a report is about, read from folders: the rows, columns and runs of a sweep, or of any runs beside each other."""

import dataclasses
import json
from pathlib import Path
from typing import NamedTuple

from ssl_jax import files, source
from ssl_jax.errors import UserError
from ssl_jax.options import flat
from ssl_jax.sweeps import ledger
from ssl_jax.sweeps.tables import Claim, Column, Row

FINAL = (*ledger.FINAL, "excluded")
LONGEST_NAME = 60  # of a row that is named by what its config has and others have not


class Run(NamedTuple):
    """A run's place in a study, and what its folder holds.

    Attributes:
      name: of the run, as in seeds.csv.
      folder: Path.
      stage, kind, rows, seeds, needs: as in sweep.json; see `sweeps.tables`.
      parameters, flops, tokens, steps: of its training; 0: not known.
      status: status.json, its `state` as the run's neighbours and its lease make it; 'excluded' if somebody excluded it.
      result: result.json; {} if it is not there, or the run is not done.
      about: versions, devices and commit, from config.json.
      data: what its held-out data are, see `heldout_data`.
    """

    name: str
    folder: Path
    stage: str
    kind: str
    rows: tuple
    seeds: tuple
    needs: tuple
    parameters: int
    flops: float
    tokens: int
    steps: int
    status: dict
    result: dict
    about: dict
    data: dict

    @property
    def state(self):
        return self.status["state"]

    @property
    def commit(self):
        """Of the code that finished it, or of what config.json has."""
        return self.status.get("commit") or self.about.get("commit", "")


class Study(NamedTuple):
    """What a report is about.

    Attributes:
      title, hypothesis, source: see `sweeps.tables.Table`.
      command: what the sweep was made with; '' if no sweep made the runs.
      reference: the row that differences are taken from; '': none.
      rows: of `sweeps.tables.Row`, `published` a dict by column.
      columns: of `sweeps.tables.Column`.
      claims: of `sweeps.tables.Claim`.
      stages: names, in their order.
      runs: name -> `Run`.
      notes: lines on what was found.
    """

    title: str
    hypothesis: str
    source: str
    command: str
    reference: str
    rows: tuple
    columns: tuple
    claims: tuple
    stages: tuple
    runs: dict
    notes: tuple = ()

    @property
    def finished(self):
        """Whether no run will change any more."""
        return all(run.state in FINAL for run in self.runs.values())

    def closure(self, names):
        """The names of runs and of all that they need, in order."""
        found, waiting = {}, list(names)
        while waiting:
            name = waiting.pop()
            if name not in found:
                found[name] = None
                waiting += [other for other in self.runs[name].needs if other in self.runs]
        return [name for name in self.runs if name in found]


def is_sweep(folder):
    return (Path(folder) / "sweep.json").exists()


def read(folders):
    """The `Study` of one sweep's folder, or of folders of runs.

    Raises:
      UserError: a sweep is among several folders; a folder holds no run; a file is damaged.
    """
    sweeps = [folder for folder in folders if is_sweep(folder)]
    if sweeps and len(folders) > 1:
        raise UserError(f"{sweeps[0]} is a sweep, which has a report of its own: name it alone, or folders of runs")
    return read_sweep(folders[0]) if sweeps else read_folders(folders)


# ---- A sweep


def read_sweep(folder):
    """The `Study` of a sweep's folder, finished or not.

    Raises:
      UserError: sweep.json is damaged.
    """
    folder = Path(folder)
    content = ledger.read(folder)
    try:
        columns = tuple(_made(Column, values) for values in content["columns"])
        planned = content["runs"]
        states = _statuses(folder, planned)
        runs = {
            name: _run(
                ledger.folder_of(folder, name),
                states[name],
                name=name,
                **{key: tuple(run[key]) for key in ("rows", "seeds", "needs")},
                **{key: run[key] for key in ("stage", "kind", "parameters", "flops", "tokens", "steps")},
            )
            for name, run in planned.items()
        }
        return Study(
            title=content["title"],
            hypothesis=content["hypothesis"],
            source=content["source"],
            command=content["config"],
            reference=content["reference"],
            rows=tuple(Row(row["name"], row["changes"], row["published"]) for row in content["rows"]),
            columns=columns or columns_of(runs.values(), content["stages"][-1]),
            claims=tuple(_made(Claim, values) for values in content["claims"]),
            stages=tuple(content["stages"]),
            runs=runs,
        )
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        told = f"no {error}" if isinstance(error, KeyError) else error
        raise UserError(
            f"{folder}/sweep.json is no sweep's: {told}; the command that made the sweep writes it again"
        ) from error


def _made(kind, values):
    """A dataclass from JSON, in which tuples are lists; fields that it does not have yet are left out."""
    known = {field.name for field in dataclasses.fields(kind)}
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return kind(**{name: value for name, value in values.items() if name in known})


def _statuses(folder, planned):
    """Name -> status of each run, see `ledger.statuses`; one that is done, and that somebody excluded, is 'excluded'."""
    found = ledger.statuses(folder, planned)
    for own in found.values():
        if own["state"] == "done" and own.get("excluded"):
            own |= {"state": "excluded", "reason": own["excluded"]}
    return found


def _read(path):
    """The content of a JSON file; {} if it is missing or damaged."""
    try:
        return files.read_json(path)
    except UserError:
        return {}


def _run(folder, status, kind, **about):
    own = _read(folder / ("config.json" if kind == "train" else "results.json"))
    result = _read(folder / "result.json") if status["state"] in ("done", "excluded") else {}
    return Run(
        folder=folder,
        kind=kind,
        status=status,
        result=result,
        about={key: own[key] for key in ("commit", "python", "versions", "devices") if key in own},
        data=heldout_data(folder, own) if result else {},
        **about,
    )


def columns_of(runs, stage):
    """A `Column` for every number in the results of a stage, in the order of their first appearance."""
    names = dict.fromkeys(name for run in runs if run.stage == stage for name in numbers(run.result))
    return tuple(Column(name, stage, name, higher=not name.endswith(("loss", "perplexity"))) for name in names)


def numbers(result):
    """The measurements in a result: name -> number."""
    return {
        name: value
        for name, value in result.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and name != "step"
    }


def heldout_data(folder, about):
    """What identifies the data that a run was measured on, as far as its folder says; {} if it does not.

    `text`: a hash of the corpus and the share of it that is held out; `tokenizer`: a hash; `task`: hashes of the examples,
    tokenized, of each split but that for training; `items`: of an evaluation, how many of each task were asked.

    Args:
      folder: the run's.
      about: its config.json, or an evaluation's results.json.
    """
    if "rows" in about:
        rows = about["rows"]
        return {"items": {"{task}:{prompt}/{shots}".format(**row): row["items"] for row in rows}}
    saved = source.newest_config(folder)
    prepared = saved.get("prepared", {})
    if "task" in prepared:
        splits = {split: value for split, value in prepared["task"].items() if split != "train"}
        return {"tokenizer": prepared.get("tokenizer_hash"), "task": splits}
    if "content_hash" in prepared:
        text = [prepared["content_hash"], saved.get("data", {}).get("heldout")]
        return {"tokenizer": prepared.get("tokenizer_hash"), "text": text}
    return {}


def unlike(data, other):
    """In what two outputs of `heldout_data` differ, '' if in nothing that could be seen.

    With different tokenizers the same task has different tokens, so that its examples cannot be compared; its accuracy can.
    """
    if not data or not other:
        return ""
    for kind, told in (("text", "held-out text"), ("task", "held-out examples"), ("items", "items")):
        if (kind in data) != (kind in other):
            return "kind of data"
        if kind in data and data[kind] != other[kind]:
            return "" if kind == "task" and data["tokenizer"] != other["tokenizer"] else told
    return "tokenizer" if "text" in data and data["tokenizer"] != other["tokenizer"] else ""


# ---- Any runs


def read_folders(folders):
    """The `Study` of folders of runs: a row for each config, its seeds are replicates.

    The members of a run that trained several (`seeds=3`) are runs of their own.

    Raises:
      UserError: a folder holds no run, or is named twice.
    """
    from ssl_jax.checkpoints import decisive_values  # takes JAX

    found = []
    for folder in map(Path, folders):
        found += _members(folder)
    places = [folder.resolve() for folder, _ in found]
    for folder, place in zip(found, places, strict=True):
        if places.count(place) > 1:
            raise UserError(f"{folder[0]} is named twice")
    configs = [
        {key: value for key, value in flat(decisive_values(values)) if key not in ("seed", "seeds", "members")}
        for _, values in found
    ]
    keys = [
        key
        for key in dict.fromkeys(key for config in configs for key in config)
        if any(config.get(key) != configs[0].get(key) for config in configs)
    ]
    chosen = [{key: config[key] for key in keys if key in config} for config in configs]
    names = _row_names([folder for folder, _ in found], chosen, [values["seed"] for _, values in found])
    runs, notes = {}, []
    for (folder, values), name in zip(found, names, strict=True):
        run = _run(
            folder,
            {"state": "done" if (folder / "result.json").exists() else "unfinished"},
            name=str(folder),
            stage="run",
            kind="train",
            rows=(name,),
            seeds=(values["seed"],),
            needs=(),
            parameters=0,
            flops=0.0,
            tokens=0,
            steps=values["steps"],
        )
        if run.state != "done":
            run.status["reason"] = _so_far(folder, values["steps"])
            notes.append(f"{folder} has no result: {run.status['reason']}")
        runs[run.name] = run
    rows = {name: Row(name, changes) for name, changes in zip(names, chosen, strict=True)}
    return Study(
        title=f"{len(runs)} runs" if len(runs) > 1 else str(found[0][0]),
        hypothesis="",
        source="",
        command="",
        reference="",
        rows=tuple(rows.values()),
        columns=columns_of(runs.values(), "run"),
        claims=(),
        stages=("run",),
        runs=runs,
        notes=tuple(notes),
    )


def _members(folder):
    """Yields (folder, config values) of a run, or of each of the runs that trained together in it."""
    values = source.read_values(folder)
    if values["seeds"] <= 1 and not values["members"]:
        yield folder, values
        return
    from ml_collections import ConfigDict

    from ssl_jax.population import members  # takes JAX

    for member in members(ConfigDict(values)):
        yield folder / member.name, json.loads(member.config.to_json())


def _row_names(folders, changes, seeds):
    """A name for the row of each run: what its config has and others have not, or a folder if that is long.

    Runs of one config and one seed, as before and after a change to the code, are rows of their own, named by their folders.
    """
    texts = [", ".join(f"{key}={_spelt(value)}" for key, value in own.items()) for own in changes]
    keys = [(text, seed) for text, seed in zip(texts, seeds, strict=True)]
    repeated = {text for text, seed in keys if keys.count((text, seed)) > 1}
    names, firsts = [], {}
    for folder, text in zip(folders, texts, strict=True):
        first = firsts.setdefault(text, str(folder))
        names.append(str(folder) if text in repeated else first if len(text) > LONGEST_NAME or not text else text)
    return names


def _spelt(value):
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _so_far(folder, steps):
    """The last held-out line of a run without a result, in words."""
    lines, _ = files.logged_lines(folder / "metrics.jsonl")
    heldout = [line for line in map(json.loads, lines) if line["split"] == "heldout"]
    if not heldout:
        return "no held-out line yet"
    told = "  ".join(f"{name} {value:.4g}" for name, value in numbers(heldout[-1]).items())
    return f"last held-out line, step {heldout[-1]['step']:,} of {steps:,}: {told}"
