"""Points of a sweep: lists of {config key: value}, made by functions that take such lists and return them.

product({"optimizer.learning_rate": (1e-4, 3e-4)}, {"batch_size": (16, 32)})      # 4 points
together({"model.layers": (2, 4), "model.hidden_size": (128, 256)})               # 2: the first of each, the second ...
one_at_a_time({"model.layers": 4, "seed": 0}, {"model.layers": (2, 8)})           # the defaults, then 2, then 8
only(lambda point: point["batch_size"] > 16, product(...))                        # conditions are Python
"""

import itertools
import math
import random as python_random
from typing import NamedTuple

from ssl_jax.errors import UserError, shown


def _points(part):
    """A list of points from one, or from {key: values}, which is their product."""
    if not isinstance(part, dict):
        return list(part)
    for key, values in part.items():
        if isinstance(values, str) or not hasattr(values, "__iter__") or not len(values):
            raise UserError(f"sweep: {key} has {shown(values)}, and should have several values in a tuple")
    return [dict(zip(part, chosen, strict=True)) for chosen in itertools.product(*part.values())]


def product(*parts):
    """Every combination of points, the last part's changing fastest.

    Args:
      parts: lists of points, or {key: values}.

    Raises:
      UserError: two parts set the same key, or values are not several.
    """
    made = [{}]
    for part in map(_points, parts):
        for key in set().union(*made) & set().union(*part):
            raise UserError(f"sweep: two factors of a product set {key}")
        made = [one | other for one in made for other in part]
    return made


def together(values):
    """The first value of each key, the second of each, ...: `values` is {key: values}, of one length."""
    if len({len(own) for own in values.values()}) != 1:
        told = ", ".join(f"{key} has {len(own)}" for key, own in values.items())
        raise UserError(f"sweep: keys that change together need as many values each: {told}")
    return [dict(zip(values, chosen, strict=True)) for chosen in zip(*values.values(), strict=True)]


def chain(*parts):
    """The points of the first part, then those of the second, ...; a point that is there already is not repeated."""
    made = []
    for point in itertools.chain(*map(_points, parts)):
        if point not in made:
            made.append(point)
    return made


def fixed(values):
    """One point, to be a factor of a product."""
    return [dict(values)]


def one_at_a_time(defaults, values):
    """The defaults, and each value of each key with all other keys at their defaults."""
    return chain([dict(defaults)], [defaults | {key: value} for key, own in values.items() for value in own])


def only(condition, points):
    """The points for which `condition(point)` holds."""
    return [point for point in _points(points) if condition(point)]


def when(condition, changes, points):
    """The points, with `changes` to those for which `condition(point)` holds."""
    return [point | (changes if condition(point) else {}) for point in _points(points)]


class Distribution(NamedTuple):
    """Random values of a key.

    Attributes:
      kind: 'uniform', 'log_uniform', 'integers' or 'choice'.
      low, high: of numbers, both included.
      choices: the values of a choice.
    """

    kind: str
    low: float = 0.0
    high: float = 0.0
    choices: tuple = ()

    def draw(self, generator):
        if self.kind == "choice":
            return generator.choice(self.choices)
        if self.kind == "integers":
            return generator.randint(self.low, self.high)
        if self.kind == "log_uniform":
            return math.exp(generator.uniform(math.log(self.low), math.log(self.high)))
        return generator.uniform(self.low, self.high)


def uniform(low, high):
    return Distribution("uniform", low, high)


def log_uniform(low, high):
    """Uniform in the logarithm: as many draws between 1e-5 and 1e-4 as between 1e-4 and 1e-3."""
    if not 0 < low <= high:
        raise UserError(f"sweep: log_uniform({low:g},{high:g}) needs numbers above 0, the smaller one first")
    return Distribution("log_uniform", low, high)


def integers(low, high):
    """Whole numbers from `low` to `high`, both included."""
    return Distribution("integers", low, high)


def choice(*values):
    return Distribution("choice", choices=values)


def sample(count, distributions, seed=0):
    """`count` random points from {key: `Distribution`}; the same for the same seed."""
    generator = python_random.Random(seed)
    return [{key: one.draw(generator) for key, one in distributions.items()} for _ in range(count)]
