"""Which values each key of a config takes: one table. `configs/common.py` has the keys, their defaults and what they mean.

Importing this takes no JAX, so that a config is checked before that is loaded.
"""

import math
import re
from typing import Any, NamedTuple

from ssl_jax import tasks, tokenizers
from ssl_jax.errors import UserError, check_choice, check_entries, is_text, listed, shown
from ssl_jax.models import spec

# Sizes beyond these are no model's, and no tensor of two of them has more elements than a whole number can count.
WIDEST, DEEPEST = 1 << 24, 1 << 12
MOST = (1 << 31) - 1  # steps and the like are counted in int32
STATISTICS = ("mean", "median", "best")  # of several seeds: which one a paper reports


class Bound(NamedTuple):
    """The values of a key.

    Attributes:
      kind: their type: int, float (which whole numbers are, too), bool, str, tuple (of numbers or words, as `entries` has
        it) or re.Pattern, a regular expression.
      low, high: the least and the largest; of a tuple of its entries.
      above, below: whether `low` or `high` itself is left out.
      choices: the only values, of a str.
      entries: the type of a tuple's entries.
      infinite: whether infinity is a value.
    """

    kind: Any
    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    below: bool = False
    choices: tuple = ()
    entries: Any = None
    infinite: bool = False


def whole(low, high=MOST):
    return Bound(int, low, high)


def number(low=-math.inf, high=math.inf, **how):
    return Bound(float, low, high, **how)


def one_of(*choices):
    return Bound(str, choices=choices)


def several(entries, low=-math.inf, high=math.inf):
    return Bound(tuple, low, high, entries=entries)


ABOVE_0 = number(0, above=True)
SHARE = number(0, 1)
DROPOUT = number(0, 1, below=True)
YES_NO, TEXT, REGEX = Bound(bool), Bound(str), Bound(re.Pattern)

# A part that is * stands for any name. What one value means for another one `plan.check` and `spec.Trunk` say.
BOUNDS = {
    "variant": TEXT,
    "seed": whole(0, (1 << 32) - 1),
    "seeds": whole(1),
    "seeds_together": YES_NO,
    "steps": whole(1),
    "batch_size": whole(1),
    "accumulate": whole(1),
    "phases.lengths": several(int, 1, WIDEST),
    "phases.shares": several(float, 0, 1),
    "ramp.start": whole(0),
    "ramp.share": SHARE,
    "model.vocab_size": whole(1, WIDEST),
    "model.layers": whole(1, DEEPEST),
    "model.hidden_size": whole(1, WIDEST),
    "model.heads": whole(1, WIDEST),
    "model.head_size": whole(0, WIDEST),
    "model.ffn_size": whole(0, WIDEST),
    "model.embedding_size": whole(0, WIDEST),
    "model.positions": whole(1, WIDEST),
    "model.segments": whole(0, WIDEST),
    "model.causal": YES_NO,
    "model.band": whole(0),
    "model.share": one_of(*spec.CHOICES["share"]),
    "model.share_groups": whole(1, DEEPEST),
    "model.norm": one_of(*spec.CHOICES["norm"]),
    "model.embedding_norm": YES_NO,
    "model.final_norm": YES_NO,
    "model.norm_epsilon": number(0),
    "model.activation": one_of(*spec.CHOICES["activation"]),
    "model.pooler": one_of(*spec.CHOICES["pooler"]),
    "model.dropout": DROPOUT,
    "model.attention_dropout": DROPOUT,
    "model.dropped_embeddings": one_of(*spec.CHOICES["dropped_embeddings"]),
    "model.predict_positions": YES_NO,
    "model.initializer": one_of(*spec.CHOICES["initializer"]),
    "model.initializer_range": number(0),
    "model.embedding_range": number(0),
    "model.position_range": number(0),
    "model.residual_scale": YES_NO,
    "model.projection_initializer": one_of(*spec.CHOICES["projection_initializer"]),
    "model.neighbours": several(int, -WIDEST, WIDEST),
    "model.dtype": one_of(*spec.CHOICES["dtype"]),
    "model.scan": YES_NO,
    "model.remat": YES_NO,
    "generator.kind": one_of(*spec.GENERATORS),
    "generator.size": number(0, 1 << 10, above=True),
    "generator.layers": number(0, 1 << 10, above=True),
    "generator.heads": whole(0, WIDEST),
    "generator.ffn_size": whole(0, WIDEST),
    "generator.tying": one_of(*spec.TYINGS),
    "generator.temperature": ABOVE_0,
    "generator.average_duplicates": YES_NO,
    "generator.first_stage": SHARE,
    "losses.*": number(0),
    "heads": several(str),
    "teacher.runs": several(str),
    "teacher.layer_map": TEXT,
    "teacher.projection": one_of(*spec.PROJECTIONS),
    "teacher.hidden_size": whole(0, WIDEST),
    "teacher.temperature": ABOVE_0,
    "teacher.cache": TEXT,
    "init_from": TEXT,
    "init_layers": several(int, 0, DEEPEST),
    "init_drop": several(str),
    "init_anew": several(str),
    "init_rename": several(str),
    "init_grow": several(str),
    "init_optimizer": YES_NO,
    "loss_average": one_of("global", "device"),
    "corruption.rate": SHARE,
    "corruption.mask": SHARE,
    "corruption.random": SHARE,
    "corruption.max_predictions": whole(0),
    "corruption.unit": one_of("token", "word", "ngram"),
    "corruption.max_ngram": whole(1, WIDEST),
    "corruption.with_replacement": YES_NO,
    "corruption.smoothing": number(0),
    "data.corpus": TEXT,
    "data.root": TEXT,
    "data.tokenizer.path": TEXT,
    "data.tokenizer.kind": one_of(*tokenizers.KINDS),
    "data.tokenizer.vocab_size": whole(1, WIDEST),
    "data.tokenizer.lowercase": YES_NO,
    "data.tokenizer.add": several(str),
    "data.max_documents": whole(0),
    "data.max_examples": whole(0),
    "data.heldout": SHARE,
    "data.examples": one_of("pairs", "single", "windows", "task"),
    "data.short": SHARE,
    "data.passes": whole(1),
    "data.borders": YES_NO,
    "task.name": TEXT,
    "task.folder": TEXT,
    "task.fields": several(str),
    "task.augmented": TEXT,
    "task.epochs": number(0),
    "task.classes": whole(0, WIDEST),
    "task.labels": several(str),
    "task.inputs": one_of(*tasks.INPUTS),
    "task.orders": whole(1, 2),
    "task.scale": ABOVE_0,
    "task.stride": whole(1),
    "task.max_question": whole(1),
    "task.n_best": whole(1),
    "task.max_answer": whole(1),
    "task.activation": one_of(*spec.ACTIVATIONS),
    "task.bias": YES_NO,
    "task.statistic": one_of(*STATISTICS),
    "task.dropout": number(high=1, below=True),
    "task.share_dropout": YES_NO,
    "task.features": one_of(*spec.FEATURES),
    "task.lstm": whole(0, DEEPEST),
    "task.lstm_size": whole(1, WIDEST),
    "optimizer.name": one_of("bert_adam", "gpt1_adam", "adamw", "lamb"),
    "optimizer.learning_rate": number(0),
    "optimizer.schedule": one_of("linear", "linear_warmed", "linear_peaked", "cosine", "constant"),
    "optimizer.clock": one_of("steps", "tokens"),
    "optimizer.warmup": SHARE,
    "optimizer.decay_until": number(0, 1, above=True),
    "optimizer.floor": SHARE,
    "optimizer.b1": number(0, 1, below=True),
    "optimizer.b2": number(0, 1, below=True),
    "optimizer.epsilon": ABOVE_0,
    "optimizer.weight_decay": number(0),
    "optimizer.no_decay": REGEX,
    "optimizer.clip": number(0, above=True, infinite=True),
    "optimizer.clip_by": one_of("global", "tensor"),
    "optimizer.layer_decay": SHARE,
    "optimizer.layer_decay_gap": whole(0, DEEPEST),
    "optimizer.rates": several(str),
    "optimizer.frozen": REGEX,
    "optimizer.unfreeze": SHARE,
    "evals.*.module": TEXT,
    "evals.*.split": TEXT,
    "evals.*.max_batches": whole(0),
    "evals.*.at_end": YES_NO,
    "parallel.mode": one_of("pmap", "mesh"),
    "parallel.devices": whole(0),
    "parallel.fsdp": whole(1),
    "parallel.tensor": whole(1),
    "log_every": whole(0),
    "evaluate_every": whole(0),
    "checkpoint_every": whole(0),
    "keep_checkpoints": whole(1),
    "run.checkpoint_minutes": number(0),
    "run.extend": YES_NO,
}


def bound_of(name):
    """The Bound of a key, 'model.layers'; None where BOUNDS has none."""
    first, last = name.split(".")[0], name.rsplit(".")[-1]
    patterns = (name, f"{first}.*", f"{first}.*.{last}")
    return next((BOUNDS[pattern] for pattern in patterns if pattern in BOUNDS), None)


def flat(config, prefix=""):
    """Yields (key, value) of all values of a config, blocks within blocks: 'model.layers', 12."""
    for name, value in config.items():
        if hasattr(value, "items"):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def check_values(config):
    """Raises UserError, naming the key, unless a config has all keys, each with a value of its type and within its bounds."""
    values = dict(flat(config))
    missing = [name for name in BOUNDS if "*" not in name and name not in values]
    if missing:
        raise UserError(f"the config has no {listed(missing, 3)}: begin it with configs.common.base()")
    for name, value in values.items():
        check_value(name, value)


def check_value(name, value):
    """Raises UserError, naming the key, unless a value is of its key's type and within its bounds."""
    bound, where = bound_of(name), f"{name}={shown(value)}"
    if bound is None:
        return
    if bound.kind is tuple:
        if not isinstance(value, tuple | list):
            raise UserError(f"{where}: several values are needed, as in 1,2")
        check_entries(value, bound.entries, name)
        for entry in value if bound.entries is str else ():
            _check_text(name, entry)
        for entry in value if bound.entries in (int, float) else ():
            _check_number(where, entry, bound)
    elif bound.kind in (bool, str, re.Pattern):
        kind = bool if bound.kind is bool else str
        if not isinstance(value, kind):
            raise UserError(f"{where}: {'True or False' if kind is bool else 'a word'} is needed")
        if kind is str:
            _check_text(name, value)
        if bound.choices:
            check_choice(value, bound.choices, name)
        if bound.kind is re.Pattern:
            check_regex(name, value)
    elif not isinstance(value, int if bound.kind is int else (int, float)) or isinstance(value, bool):
        raise UserError(f"{where}: a {'whole ' if bound.kind is int else ''}number is needed")
    else:
        _check_number(where, value, bound)


def _check_text(name, value):
    """Raises UserError if UTF-8 cannot spell a word."""
    if not is_text(value):
        raise UserError(f"{name}={shown(value)}: it has bytes that are not UTF-8")


def check_regex(name, pattern):
    """Raises UserError unless `pattern` is a regular expression."""
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise UserError(f"{name}: {shown(pattern)} is no regular expression: {error}") from error


def _check_number(where, value, bound):
    low, high = bound.low, bound.high
    try:
        size = abs(float(value))
    except OverflowError:  # a whole number of hundreds of digits
        size = math.nan
    if math.isnan(size) or math.isinf(size) and not bound.infinite:
        raise UserError(f"{where}: a finite number is needed")
    if value < low or bound.above and value == low or value > high or bound.below and value == high:
        share = (low, high) == (0, 1)
        if share:
            more = " and is above 0" if bound.above else " and is below 1" if bound.below else ""
            raise UserError(f"{where}: a share lies between 0 and 1{more}")
        if value > low:
            raise UserError(f"{where}: {'below' if bound.below else 'at most'} {high:,}")
        raise UserError(f"{where}: {'above' if bound.above else 'at least'} {low:,}")
