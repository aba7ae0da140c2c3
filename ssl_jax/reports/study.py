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


def read(folders):
    """The `Study` of one sweep's folder, or of folders of runs.

    Raises:
      UserError: a sweep is among several folders; a folder holds no run; a file is damaged.
    """
    sweeps = [folder for folder in folders if ledger.is_sweep(folder)]
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
    """The measurements in a result, without levels of chance: name -> number."""
    return {
        name: value
        for name, value in result.items()
        if isinstance(value, int | float)
        and not isinstance(value, bool)
        and name != "step"
        and not name.endswith("chance")
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

    found = [member for folder in folders for member in _members(Path(folder))]
    places = [member.folder.resolve() for member in found]
    for member in found:
        if places.count(member.folder.resolve()) > 1:
            raise UserError(f"{member.folder} is named twice")
    configs = [
        {key: value for key, value in flat(decisive_values(member.values)) if key not in ("seed", "seeds", "members")}
        for member in found
    ]
    every = dict.fromkeys(key for config in configs for key in config)
    keys = [key for key in every if any(config.get(key) != configs[0].get(key) for config in configs)]
    changes = [{key: config[key] for key in keys if key in config} for config in configs]
    names = _row_names(found, changes)
    rows = {name: Row(name, own) for name, own in zip(names, changes, strict=True)}
    costs = {name: _cost(found[names.index(name)].values) for name in rows}
    runs = {}
    for member, name in zip(found, names, strict=True):
        status = {"state": "done"}
        if not (member.folder / "result.json").exists():
            status = {"state": "unfinished", "reason": _so_far(member.folder, member.values["steps"])}
        runs[str(member.folder)] = _run(
            member.folder,
            status,
            name=str(member.folder),
            stage="run",
            kind="train",
            rows=(name,),
            seeds=(member.values["seed"],),
            needs=(),
            steps=member.values["steps"],
            **costs[name],
        )
    title = f"{len(runs)} runs" if len(runs) > 1 else next(iter(runs))
    return Study(title, "", "", "", "", tuple(rows.values()), columns_of(runs.values(), "run"), (), ("run",), runs)


class _Member(NamedTuple):
    """A run: its folder, its config's values, and the folder that was named, which may hold several."""

    folder: Path
    values: dict
    named: Path


def _members(folder):
    """The `_Member`s of a folder: its run, or those that trained together in it."""
    values = source.read_values(folder)
    if values["seeds"] <= 1 and not values["members"]:
        return [_Member(folder, values, folder)]
    from ml_collections import ConfigDict

    from ssl_jax.population import members  # takes JAX

    return [
        _Member(folder / member.name, json.loads(member.config.to_json()), folder)
        for member in members(ConfigDict(values))
    ]


def _cost(values):
    """Parameters, FLOPs and tokens of a config's training; 0 where they cannot be told, as without the files of its task."""
    from ssl_jax.describe import describe
    from ssl_jax.sweeps.worker import config_of

    try:
        about = describe(config_of(values))
    except (UserError, OSError):
        return {"parameters": 0, "flops": 0.0, "tokens": 0}
    flops = about["flops"]["training"]["palm"]
    return {"parameters": about["parameters"], "flops": flops, "tokens": about["tokens"]}


def _row_names(found, changes):
    """A name for the row of each run: what its config has and others have not, or the named folder if that is long.

    Runs of one config and one seed, as before and after a change to the code, are rows of their own, named by their folders.
    """
    texts = [", ".join(f"{key}={_spelt(value)}" for key, value in own.items()) for own in changes]
    keys = [(text, member.values["seed"]) for text, member in zip(texts, found, strict=True)]
    repeated = {key[0] for key in keys if keys.count(key) > 1}
    firsts = {}
    for member, text in zip(found, texts, strict=True):
        firsts.setdefault(text, str(member.named))
    short = lambda text: text and len(text) <= LONGEST_NAME and not repeated
    names = {text: text if short(text) else name for text, name in firsts.items()}
    if len(set(names.values())) < len(names):  # members of one folder that differ in more than their seed
        names = {text: text for text in names}
    return [str(member.named) if text in repeated else names[text] for member, text in zip(found, texts, strict=True)]


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
