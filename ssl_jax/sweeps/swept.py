"""The values of a sweep on a command line: --sweep.optimizer.learning_rate=1e-4,3e-4 --sweep.seed=0:5."""

import re

from ssl_jax.config import bound_of
from ssl_jax.errors import UserError, shown
from ssl_jax.sweeps import points

FLAG = re.compile(r"--?sweep\.(.+?)=(.*)", re.DOTALL)
DISTRIBUTIONS = {"uniform": points.uniform, "log_uniform": points.log_uniform, "integers": points.integers}


def take(argv):
    """The words of a command without those of `--sweep.KEY=VALUES`, and {key: text of the values}."""
    found = {word: FLAG.fullmatch(word) for word in argv[1:]}
    texts = {}
    for match in filter(None, found.values()):
        key, text = match.groups()
        texts[key] = text
    return [argv[0], *(word for word in argv[1:] if not found[word])], texts


def read(texts, samples=0, seed=0):
    """The points of {key: text}: the product of all that are lists, times `samples` random draws of distributions.

    Args:
      texts: '1e-4,3e-4'; of a key that is itself several values, '0,1|0,1,2'; of whole numbers also '0:5', as Python's
        range; or 'log_uniform(1e-5,1e-3)', uniform(...), integers(...).
      samples: how many points the distributions give.
      seed: of the draws.

    Raises:
      UserError: a key is unknown, or its values are not of its type.
    """
    lists, distributions = split(texts)
    if distributions and not samples:
        raise UserError(f"--sweep.{next(iter(distributions))} is random: --samples says how many points to draw")
    if samples and not distributions:
        raise UserError("--samples is of random values, as in --sweep.optimizer.learning_rate='log_uniform(1e-5,1e-3)'")
    factors = [lists] + ([points.sample(samples, distributions, seed)] if distributions else [])
    return points.product(*factors)


def split(texts):
    """{key: text} as {key: values} of the lists and {key: `points.Distribution`}; errors as for `read`."""
    lists, distributions = {}, {}
    for key, text in texts.items():
        bound = bound_of(key)
        if bound is None:
            raise UserError(f"--sweep.{key}: there is no such config key; --help lists all")
        drawn = re.fullmatch(r"(\w+)\((.+),(.+)\)", text)
        if drawn and drawn[1] in DISTRIBUTIONS:
            low, high = (_value(key, bound.kind, part) for part in drawn.groups()[1:])
            distributions[key] = DISTRIBUTIONS[drawn[1]](low, high)
        else:
            lists[key] = _values(key, bound, text)
    return lists, distributions


def _values(key, bound, text):
    if bound.kind is tuple:
        return tuple(
            tuple(_value(key, bound.entries, word) for word in part.split(",") if word) for part in text.split("|")
        )
    span = re.fullmatch(r"(\d+):(\d+)(?::(\d+))?", text)
    if bound.kind is int and span:
        found = tuple(range(*(int(part) for part in span.groups() if part)))
    else:
        found = tuple(_value(key, bound.kind, word) for word in text.split(",") if word)
    if not found:
        raise UserError(f"--sweep.{key}={shown(text)}: no values")
    return found


def _value(key, kind, word):
    word = word.strip()
    try:
        if kind is bool:
            return {"true": True, "false": False}[word.lower()]
        return kind(word) if kind in (int, float) else word
    except (KeyError, ValueError, OverflowError) as error:
        raise UserError(f"--sweep.{key}: {shown(word)} is not of its type, {kind.__name__}") from error
