"""Options beside their readers: a frozen dataclass for each block of a config, its fields made by `option`.

`ssl_jax/config.py` assembles the config from the blocks. Importing this, or a module with a block, takes no JAX, so that a
config is checked before that is loaded.
"""

import dataclasses
import math
import re
from typing import Any, NamedTuple

from ssl_jax.errors import UserError, check_choice, check_entries, is_text, shown
from ssl_jax.varying import each

# Larger sizes are no model's; and no tensor of two of them has more elements than an int64 can count.
WIDEST, DEEPEST = 1 << 24, 1 << 12
MOST = (1 << 31) - 1  # steps and the like are counted in int32


class Bound(NamedTuple):
    """The values of an option.

    Attributes:
      kind: their type: int, float (which includes whole numbers), bool, str, tuple (of numbers or words, see `entries`) or
        re.Pattern, a regular expression.
      low, high: the least and the largest; of a tuple, of its entries.
      above, below: whether `low` or `high` itself is excluded.
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
BOOL, TEXT, REGEX = Bound(bool), Bound(str), Bound(re.Pattern)


def option(default, bound, doc):
    """A field of a block: its default, its `Bound`, and the line that `--help` and docs/config.md have."""
    return dataclasses.field(default=default, metadata=dict(bound=bound, doc=doc))


def block(kind):
    """A field that is itself a block; the first line of its docstring says what it is for."""
    return dataclasses.field(default_factory=kind, metadata=dict(block=kind))


def flat(config, prefix=""):
    """Yields (key, value) of all values of a config, blocks within blocks: 'model.layers', 12."""
    for name, value in config.items():
        if hasattr(value, "items"):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def check(kind, values, *names):
    """Raises UserError, naming the option, unless these of a block's values are within their bounds.

    Args:
      kind: the block's class; `kind.BLOCK` is its name in a config.
      values: has them as attributes.
      names: of the options.
    """
    bounds = {field.name: field.metadata["bound"] for field in dataclasses.fields(kind)}
    for name in names:
        each(lambda value, name=name: check_bound(f"{kind.BLOCK}.{name}", value, bounds[name]), getattr(values, name))


def check_bound(name, value, bound):
    """Raises UserError, naming the option, unless a value is of its type and within its bounds."""
    if bound.kind is tuple:
        if not isinstance(value, tuple | list):
            raise UserError(f"{name}={shown(value)}: several values are needed, as in 1,2")
        check_entries(value, bound.entries, name)
        for entry in value if bound.entries is str else ():
            _check_text(name, entry)
        for entry in value if bound.entries in (int, float) else ():
            _check_number(name, value, entry, bound)
    elif bound.kind in (bool, str, re.Pattern):
        kind = bool if bound.kind is bool else str
        if not isinstance(value, kind):
            raise UserError(f"{name}={shown(value)}: {'True or False' if kind is bool else 'a word'} is needed")
        if kind is str:
            _check_text(name, value)
        if bound.choices:
            check_choice(value, bound.choices, name)
        if bound.kind is re.Pattern:
            check_regex(name, value)
    elif not isinstance(value, int if bound.kind is int else (int, float)) or isinstance(value, bool):
        raise UserError(f"{name}={shown(value)}: a {'whole ' if bound.kind is int else ''}number is needed")
    else:
        _check_number(name, value, value, bound)


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


def _check_number(name, given, value, bound):
    """Raises UserError, naming the option and what it was `given`, unless a number is within its bounds."""
    low, high = bound.low, bound.high
    try:
        size = abs(float(value))
    except OverflowError:  # a whole number of hundreds of digits
        size = math.nan
    if math.isnan(size) or math.isinf(size) and not bound.infinite:
        raise UserError(f"{name}={shown(given)}: a finite number is needed")
    if value < low or bound.above and value == low or value > high or bound.below and value == high:
        share = (low, high) == (0, 1)
        if share:
            more = " and is above 0" if bound.above else " and is below 1" if bound.below else ""
            raise UserError(f"{name}={shown(given)}: a share lies between 0 and 1{more}")
        if value > low:
            raise UserError(f"{name}={shown(given)}: {'below' if bound.below else 'at most'} {high:,}")
        raise UserError(f"{name}={shown(given)}: {'above' if bound.above else 'at least'} {low:,}")
