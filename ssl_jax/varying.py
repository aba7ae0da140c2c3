"""A number of a config that differs between the members of a population (population.py)."""

import operator

import numpy as np

from ssl_jax.errors import UserError
from ssl_jax.lazy import jnp


class Varying:
    """One number for each member, computed with as if it were one number.

    With Python's numbers each member's result is Python's own, as in a run of its own; with an array, the number is
    that of the member whose step is traced. Where Python decides something by it, all members must agree.
    """

    __array_ufunc__ = None  # NumPy's arrays leave an operator to this class

    def __init__(self, key, values, member=None):
        """
        Args:
          key: of the config, 'optimizer.warmup'.
          values: each member's number; also lists, of one length.
          member: [] int32, traced: whose step it is. None: no array is computed.
        """
        self.key, self.values, self.member = key, list(values), member

    def __jax_array__(self):
        return jnp.asarray(np.array(self.values))[self.member]

    def __bool__(self):
        first, *others = map(bool, self.values)
        if any(other != first for other in others):
            raise UserError(
                f"members: {self.key} switches something on for some of them and off for others, so they are no "
                "one program: run them apart"
            )
        return first


def _add_operator(name, reflected):
    function = getattr(operator, name)

    def forward(self, other):
        if isinstance(other, Varying):
            pairs = zip(self.values, other.values, strict=True)
            return Varying(self.key, [function(x, y) for x, y in pairs], self.member)
        if isinstance(other, int | float):
            return Varying(self.key, [function(x, other) for x in self.values], self.member)
        return function(self.__jax_array__(), other)

    def backward(self, other):
        if isinstance(other, int | float):
            return Varying(self.key, [function(other, x) for x in self.values], self.member)
        return function(other, self.__jax_array__())

    setattr(Varying, f"__{name}__", forward)
    if reflected:
        setattr(Varying, f"__r{name}__", backward)


for _name in ("add", "sub", "mul", "truediv", "pow"):
    _add_operator(_name, reflected=True)
for _name in ("lt", "gt", "le", "ge"):  # each is another one's reflection
    _add_operator(_name, reflected=False)


def each(function, x):
    """`function(x)`, or of a `Varying` one with `function` of each member's number."""
    return Varying(x.key, map(function, x.values), x.member) if isinstance(x, Varying) else function(x)


def largest(x):
    """The largest of all members' numbers, which is what shapes are made for; `x` itself if it is one number."""
    return max(x.values) if isinstance(x, Varying) else x
