"""The run or model a config starts from, judged by the two configs: what is taken from it, and what does not fit.

`ssl_jax/start.py` takes its parameters. Importing this module does not load JAX, so mismatches are rejected first.
"""

import contextlib
import dataclasses
from pathlib import Path

from ml_collections import ConfigDict

from ssl_jax.errors import UserError, check_choice, listed, shown
from ssl_jax.files import read_json, unsealed
from ssl_jax.interop import config_files
from ssl_jax.models.spec import TRAINED, Trunk
from ssl_jax.old_configs import complete
from ssl_jax.options import flat
from ssl_jax.tokenization import files as tokenizer_files
from ssl_jax.tokenization.vocabulary import identity

# Key in the config.json and checkpoint of a converted run, see `runs.save_run`.
CONVERTED = "converted_from"
WRITTEN_AGAIN = "the command that made the run writes it again"
# Parameters that each entry of `init.grow` allows to have more rows than the source's.
GROWING = {
    "positions": ("embeddings/position", "generator_embeddings/position"),
    "vocabulary": (
        "embeddings/token", "generator_embeddings/token",
        "mlm/bias", "generator_mlm/bias", "restored/bias", "copied/tokens/bias",
    ),
}  # fmt: skip
GROWN = {"positions": "max_positions", "vocabulary": "vocab_size"}  # the trunk fields that count their rows
# Entry of `init.drop` and `init.fresh`: every part outside TRUNK in which the two models differ.
HEADS = "heads"
TRUNK = ("embeddings", "encoder")
# Trunk fields that the parameters determine.
SHOWN = (
    "layers", "hidden_size", "heads", "head_size", "ffn_size", "embedding_size", "vocab_size", "max_positions", "type_vocab_size",
    "embedding_norm", "final_norm", "lstm",
)  # fmt: skip
# What a config takes from its source besides the trunk: the generator's shape and how the tokenizer is trained.
GENERATOR = ("size", "layers", "heads", "ffn_size", "tying")
TOKENIZER = ("kind", "vocab_size", "words", "lowercase")
TAKEN = (
    *(f"model.{field.name}" for field in dataclasses.fields(Trunk) if field.name not in TRAINED),
    "model.dropped_sublayers",  # where it drops, not how much
    "model.neighbours",
    *(f"generator.{name}" for name in GENERATOR),
    *(f"data.tokenizer.{name}" for name in TOKENIZER),
    "phases.lengths",
    "init.drop",
    "init.fresh",
)


def adopt(config, given, workdir=None):
    """The config with the values its source determines, and log lines listing them.

    If `init.run` itself was given, by a flag or by the caller, and `init.layers` selects no layers, the source
    determines everything that affects what the trunk computes: `model` except spec.TRAINED, the tokenizer, and for
    ELECTRA the generator's shape. Sequences are capped at its positions. Heads that only one of the two has start from
    initial values or are left out; the pooler is the source's if this model has one. Explicitly given values take
    precedence. Otherwise the config is unchanged: a recipe's own `init.run`, a student's teacher, `init.layers`.

    A resumed run keeps what it took at its start.

    Args:
      config: a run's, not yet resolved.
      given: explicitly set keys, such as 'init.run' and 'model.layers', or whole blocks of keys.
      workdir: the run's folder.

    Raises:
      UserError: the source holds no run, or does not fit what was given.
    """
    if not is_within("init.run", given) or config.init.run in ("", "none", "teacher") or config.init.layers:
        return config, []
    _check_there(config, workdir)
    before = _begun(config, workdir)
    taken = _of_run(before) if before else _of_source(config, read_config(config.init.run), given)
    made = config.copy_and_resolve_references()
    made.update_from_flattened_dict({key: value for key, value in taken.items() if not is_within(key, given)})
    made = resolve(made, workdir)
    was, now = dict(flat(config)), dict(flat(made))
    changed = [
        key for key in now if now[key] != was[key] and key not in ("init.drop", "init.fresh", "model.neighbours")
    ]
    told = ", ".join(f"{key}={_told(now[key])}" for key in changed)
    return made, [f"taken from {config.init.run}: {told}; flags for these come first"] if told else []


def is_within(key, names):
    """Whether a key, 'model.layers', is one of `names` or lies in a block listed there."""
    parts = key.split(".")
    return any(".".join(parts[:size]) in names for size in range(1, len(parts) + 1))


def steps_in(workdir):
    """The steps of a run's checkpoints, newest first."""
    folder = Path(workdir) / "checkpoints"
    return sorted((int(path.name) for path in folder.glob("*") if path.name.isdecimal()), reverse=True)


def saved_config(checkpoint):
    """The config saved with a checkpoint, see `checkpoints.decisive_values`.

    Args:
      checkpoint: its folder.

    Raises:
      UserError: it cannot be read.
    """
    path = checkpoint / "config" / "metadata"  # where Orbax puts it
    return unsealed(read_json(path), path)


def newest_config(workdir):
    """The config saved with the newest checkpoint whose config can be read, see `saved_config`, or {}."""
    for step in steps_in(workdir):
        with contextlib.suppress(UserError):
            return saved_config(Path(workdir) / "checkpoints" / str(step))
    return {}


def _begun(config, workdir):
    """The config of the run checkpointed in `workdir` if it started from the same source, or None."""
    if workdir is None or not steps_in(workdir) or not is_there(workdir):
        return None
    before = read_config(workdir)
    return before if before.get("init.run") == config.init.run else None


def _of_run(before):
    """What a run took from its source at its start: key -> value."""
    values = dict(flat(before))
    return {key: tuple(values[key]) if isinstance(values[key], list) else values[key] for key in TAKEN if key in values}


def _of_source(config, source, given):
    """What a new run takes from its source: key -> value."""
    model = source.model
    if model.causal != config.model.causal and not is_within("model.causal", given):
        reads = "one token after the other (causal)" if model.causal else "all of a text at once"
        raise UserError(
            f"init.run: {config.init.run} reads {reads}, and this config does not: choose the config of a paper that "
            f"does, or say so with --config.model.causal={model.causal}"
        )
    values = {key: model[key[6:]] for key in TAKEN if key.startswith("model.") and key[6:] in model}
    # The pooler is taken only if this model has one too.
    if "none" in (config.model.pooler, model.pooler) or "pooler" in config.init.drop:
        values["model.pooler"] = config.model.pooler
    values["model.neighbours"] = ()  # these start from initial values
    if config.generator.kind == source.generator.kind == "transformer":
        values |= {f"generator.{name}": source.generator[name] for name in GENERATOR}
    if not is_converted(config.init.run):
        values |= {f"data.tokenizer.{name}": source.data.tokenizer[name] for name in TOKENIZER}
    values["phases.lengths"] = tuple(min(length, model.max_positions) for length in config.phases.lengths)
    if config.init.optimizer:  # optimizer state covers all parameters or none
        return values
    values["init.drop"] = (*config.init.drop, HEADS)
    values["init.fresh"] = (*(name for name in config.init.fresh if name != "pooler"), HEADS)
    return values


def _told(value):
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _check_there(config, workdir):
    """Raises UserError unless the source, or `workdir`, holds a run."""
    if not any(is_there(folder) for folder in (config.init.run, workdir) if folder):
        raise UserError(
            f"init.run: {config.init.run} holds no run; train it first, name another one with --config.init.run=RUN, "
            "or start from scratch with --config.init.run=none"
        )


def is_theirs(folder):
    """Whether a folder is in `transformers` format; a run of ours with a damaged config.json is not."""
    return not (Path(folder) / "checkpoints").exists() and config_files.is_folder(folder)


def is_there(folder):
    """Whether a folder holds a run of ours or a `transformers` model."""
    return (Path(folder) / "config.json").exists() or is_theirs(folder)


def is_converted(folder):
    """Whether a folder holds no run of ours: it is a `transformers` folder, or its config.json names its origin."""
    return is_theirs(folder) or CONVERTED in read_json(Path(folder) / "config.json")


def read_values(folder):
    """The config in a run's config.json, as a nested dict of JSON with all current keys.

    Raises:
      UserError: the file is missing or cannot be read.
    """
    path = Path(folder) / "config.json"
    if not path.exists():
        raise UserError(f"{folder} holds no run: there is no config.json; train one with scripts/train.py")
    try:
        values = read_json(path).get("config")
    except UserError as error:
        raise UserError(f"{error}; {WRITTEN_AGAIN}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} has no config; {WRITTEN_AGAIN}")
    return complete(values)


def read_config(folder):
    """The config of a run's or `transformers` folder, from its config.json; `read_config` compares it with the
    checkpoints.

    For `transformers` the vocabulary size is the table's row count: only the tokenizer says which rows are padding.

    Raises:
      UserError: the folder holds neither, or its contents are damaged.
    """
    return config_files.read_config(folder, padded=True) if is_theirs(folder) else ConfigDict(read_values(folder))


def tokenizer_path(folder):
    """The value of `data.tokenizer.path` for the tokenizer of a run or a `transformers` folder."""
    folder = Path(folder)
    if is_theirs(folder):
        # ELECTRA's halves share one tokenizer.
        return folder if (folder / "config.json").exists() else folder / config_files.HALVES[0]
    return folder / "tokenizer.json"


def resolve_teacher(config):
    """The config with `teacher.hidden_size` taken from its runs, and 'teacher' in `init.run` replaced by the folder.

    Raises:
      UserError: `init.run` needs a teacher; a folder holds no run.
    """
    folders = config.teacher.runs
    if config.init.run == "teacher" and not folders:
        raise UserError("init.run='teacher' needs a teacher: set teacher.runs, or init.run='' for a random start")
    config = config.copy_and_resolve_references()
    if folders:
        config.teacher.hidden_size = read_config(folders[0]).model.hidden_size
    if config.init.run == "teacher":
        config.init.run = folders[0]
    return config


def resolve(config, workdir=None):
    """The config with `init.run` 'none' replaced by '', and the source's tokenizer if it names none.

    The source is `init.run`, or else the first teacher. If it was trained on the same documents with the same kind of
    tokenizer, this run would train that same tokenizer: the config stays unchanged, and both share a prepared corpus.
    `data.tokenizer.add` extends the source's tokenizer; if nothing is added and `init.grow` has 'vocabulary', the run
    trains its own, larger one.

    Args:
      config: the output of `resolve_teacher`.
      workdir: the run's folder, which has the tokenizer if the run is resumed and its source is gone.

    Raises:
      UserError: an entry is invalid; the source holds no run.
    """
    config = config.copy_and_resolve_references()
    if config.init.run == "none":
        config.init.run = ""
    if config.init.run:
        _check_there(config, workdir)
    for name in config.init.grow:
        check_choice(name, GROWING, "table in init.grow")
    for entry in config.init.rename:
        if entry.count("=") != 1 or not all(entry.split("=")):
            raise UserError(
                f"init.rename: {shown(entry)} is not of the form theirs=ours, as in generator_encoder=encoder"
            )
    source = config.init.run or next(iter(config.teacher.runs), "")
    larger = "vocabulary" in config.init.grow and not config.data.tokenizer.add
    if not source or config.data.tokenizer.path or larger:
        return config
    folder = next((folder for folder in (source, workdir) if folder and is_there(folder)), source)
    if is_converted(folder) or _tokenizer_of(read_config(folder).data) != _tokenizer_of(config.data):
        config.data.tokenizer.path = str(tokenizer_path(folder))
    return config


def _tokenizer_of(data):
    """The values of a config's `data` block that determine the tokenizer it trains."""
    # JSON turns tuples into lists; a config.json written before `add` existed lacks it.
    options = data.tokenizer.to_dict()
    return data.corpus, data.max_documents, data.heldout, options | {"add": tuple(options.get("add", ()))}


def check_fit(config, workdir=None):
    """Raises UserError, naming the differences, if the two configs show that a run cannot start from its source.

    That is: a different vocabulary, or a trunk of another shape that no list covers. `start.start_from` finds what only
    the weights show.

    Args:
      config: the output of `resolve` and `checks.settle`.
      workdir: the run's folder; if it holds a checkpoint, no source is needed.
    """
    if not config.init.run or workdir is not None and steps_in(workdir):
        return
    grows, path = "vocabulary" in config.init.grow, config.data.tokenizer.path
    where, source = config.init.run, read_config(config.init.run)
    words = config.data.tokenizer.words
    if words != "bert" == source.data.tokenizer.words and not is_converted(where):
        raise UserError(
            f"init.run: {where} was trained with data.tokenizer.words=bert: set --config.data.tokenizer.words=bert, or "
            f"start from a run with {words}"
        )
    same = path == str(tokenizer_path(where)) and not config.data.tokenizer.add
    if path and not grows and not same:
        theirs = tokenizer_files.load(tokenizer_path(where))
        if identity(tokenizer_files.load(path)) != identity(theirs):
            raise UserError(
                f"init.run: {where} has another vocabulary; set data.tokenizer.path={tokenizer_path(where)}"
            )
    parts = {name.split("/")[0] for name in (*config.init.drop, *config.init.fresh)}
    if config.init.rename or parts & set(TRUNK):
        return  # `start.start_from` reports any leftovers
    fields = [field.name for field in dataclasses.fields(Trunk)]
    ours, theirs = (Trunk(**{name: model[name] for name in fields}) for model in (config.model, source.model))
    grown = {GROWN[name] for name in config.init.grow}
    unlike = [
        name
        for name in differing(ours, theirs)
        if not (name == "vocab_size" and same)
        and not (name in grown and getattr(ours, name) > getattr(theirs, name))
        and not (name == "layers" and (config.init.layers or ours.shares_as(theirs)))
    ]
    if unlike:
        told = listed((f"model.{name}={getattr(theirs, name)}" for name in unlike), 4)
        here = listed((f"{getattr(ours, name)}" for name in unlike), 4)
        layers = "; or say which of its layers with init.layers" if "layers" in unlike else ""
        grow = "; or let the table grow with init.grow=positions" if ours.max_positions > theirs.max_positions else ""
        raise UserError(
            f"init.run: {where} has {told}, and this config {here}: leave that to it, with --config.init.run as a flag "
            f"and none for what differs{layers}{grow}"
        )


def differing(ours, theirs):
    """The SHOWN fields in which two trunks differ; a size derived from another field counts as part of that field."""
    follows = {
        "head_size": lambda trunk: trunk.hidden_size // trunk.heads,
        "ffn_size": lambda trunk: 4 * trunk.hidden_size,
        "embedding_size": lambda trunk: trunk.hidden_size,
    }

    def own(trunk, name):
        value = getattr(trunk, name)
        return None if name in follows and value == follows[name](trunk) else value

    return [
        name for name in SHOWN if getattr(ours, name) != getattr(theirs, name) and own(ours, name) != own(theirs, name)
    ]
