"""Converts config.json of `transformers` folders to our configs. Neither importing this nor reading one loads JAX."""

from pathlib import Path

from ml_collections import ConfigDict

from ssl_jax.config import base
from ssl_jax.errors import UserError, check_choice, shown
from ssl_jax.files import read_json
from ssl_jax.interop import weights
from ssl_jax.interop.families import FAMILIES, activations
from ssl_jax.tokenization import folders
from ssl_jax.tokenization.vocabulary import vocabulary_of

HALVES = ("discriminator", "generator")
# Tables are padded after the tokenizer's entries to a multiple of one of these, for speed.
MULTIPLES = (8, 16, 32, 64, 128)
# No model has sizes beyond these; the number of elements of a tensor with two such sizes is still representable.
LARGEST = {"layers": 1 << 12} | dict.fromkeys(
    (
        "vocab_size",
        "hidden_size",
        "heads",
        "ffn_size",
        "embedding_size",
        "max_positions",
        "type_vocab_size",
        "share_groups",
    ),
    1 << 24,
)
# The loss that trains a head, if any.
LOSSES = {"mlm": "mlm", "clm": "clm", "classes": "classify"}
# Names of a pooler's tensors, see `names.HEADS`.
POOLERS = {
    "bert": ("pooler",), "albert": ("pooler",), "electra": ("classifier.dense", "sequence_summary.summary"),
    "distilbert": ("pre_classifier",),
}  # fmt: skip


def is_folder(path):
    """Whether a folder holds one of their models, or both halves of ELECTRA."""
    path = Path(path)
    return is_model(path) or all(is_model(path / half) for half in HALVES)


def is_model(folder):
    try:
        content = read_json(folder / "config.json")
    except (OSError, UserError):
        return False
    # A run's config.json nests the run's config under one key.
    return "config" not in content


def read_config(folder, padded=False):
    """A folder's config as a run config, without heads except the pooler; errors as in `huggingface.load`.

    For both halves of ELECTRA it includes the generator. With `padded` the vocabulary has as many entries as the table
    has rows, and the tokenizer, which is slow to load, is not read.
    """
    folder = Path(folder)
    if not is_model(folder):
        return join_configs(*(read_config(folder / half, padded) for half in HALVES))
    theirs, family = read_theirs(folder)
    trunk = trunk_fields(theirs, family, activations(family), folder / "config.json")
    rows = trunk["vocab_size"]
    size = rows if padded else entries_of(rows, vocabulary_of(folders.read(folder)).size, folder)
    named = [f".{name}" for name in weights.names(folder)]
    pooled = any(f".{pooler}." in name for name in named for pooler in POOLERS.get(family, ()))
    pooler = FAMILIES[family].pooler if pooled else "none"
    return run_config(trunk | {"vocab_size": size, "pooler": pooler}, ())


def entries_of(rows, entries, folder, padded=False):
    """How many of a table's rows are the tokenizer's entries: all, or all but the padding; errors as in `load`."""
    multiple = any(rows == -(-entries // size) * size for size in MULTIPLES)
    if rows == entries or rows > entries and (multiple or padded):
        return entries
    hint = ", or the table is padded, and scripts/convert.py from_hf --padded leaves out the rows behind them"
    raise UserError(
        f"{folder}: its tokenizer has {entries} entries and its model's table {rows}: they belong to different models"
        f"{hint if rows > entries else ''}"
    )


def read_theirs(folder):
    """A folder's config.json and its model type."""
    path = folder / "config.json"
    if not path.is_file():
        raise UserError(f"{folder} holds no model of transformers: there is no config.json")
    theirs = read_json(path)
    family, classes = theirs.get("model_type"), theirs.get("architectures")
    if not isinstance(family, str):
        raise UserError(f"{path}: model_type={shown(family)} is no name")
    check_choice(family, FAMILIES, f"model_type in {path}")
    if classes is not None and not (isinstance(classes, list) and all(isinstance(name, str) for name in classes)):
        raise UserError(f"{path}: architectures={shown(classes)} is no list of names")
    for key, value in FAMILIES[family].needs.items():
        if theirs.get(key, value) != value:
            raise UserError(f"{path}: {key}={shown(theirs[key])} is no model of ours, only {value!r} is")
    return theirs, family


def trunk_fields(theirs, family, known, where):
    """Fields of `config.model` determined by a config.json.

    Args:
      known: their activations -> ours.
      where: the path of the config, or where it was read from.

    Raises:
      UserError: a value has the wrong type, is out of bounds, or conflicts with another one.
    """
    facts, made = FAMILIES[family], {}
    for ours, (key, default) in facts.fields.items():
        value = theirs.get(key, default)
        wrong = f"{where}: {key}={shown(value)} is"
        if value is None and default is None:  # n_inner
            made[ours] = 0
        elif isinstance(default, str):
            if not isinstance(value, str):
                raise UserError(f"{wrong} no name")
            check_choice(value, known, f"{key} in {where}")
            made[ours] = known[value]
        elif isinstance(default, float):
            if type(value) not in (int, float) or not 0 <= value <= 1:  # excludes NaN
                raise UserError(f"{wrong} no number from 0 to 1")
            made[ours] = float(value)
        else:
            if type(value) is not int or not 1 <= value <= LARGEST[ours]:
                raise UserError(f"{wrong} no whole number from 1 to {LARGEST[ours]:,}")
            made[ours] = value
    sizes = [f"{facts.fields[name][0]}={made[name]}" for name in ("hidden_size", "heads")]
    if made["hidden_size"] % made["heads"]:
        raise UserError(f"{where}: {' is not divisible by '.join(sizes)}")
    return made | facts.trunk


def run_config(trunk, heads):
    """A run's config with the trunk and heads, and everything else as in `config.base`."""
    config = base()
    config.model.update(trunk)
    losses = LOSSES | {"pair": "nsp" if config.model.share == "none" else "sop"}
    config.losses.update({losses[head]: 1.0 for head in heads if head in losses})
    config.heads = tuple(head for head in heads if head not in losses)
    config.phases.lengths = (config.model.max_positions,)
    config.task.name = ""
    config.data.tokenizer.vocab_size = config.model.vocab_size
    return config


def join_configs(discriminator, generator):
    """ELECTRA's config from those of its halves."""
    config, own = ConfigDict(discriminator), generator.model
    config.heads = tuple(head for head in config.heads if head != "replaced")
    config.losses.update(mlm=1.0, rtd=50.0)
    config.generator.update(
        kind="transformer",
        size=own.hidden_size / config.model.hidden_size,
        layers=own.layers / config.model.layers,
        heads=own.heads,
        ffn_size=own.ffn_size,
    )
    return config
