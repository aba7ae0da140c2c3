"""Several runs behind one interface: the members of a population, trained by one program.

Members differ in their seed, or in other numbers that decide neither shapes nor what is computed (VARYING). The state
has a leading member axis and the step is mapped over it (`vmap`), with a config whose differing numbers are a `Varying`:
each member gives the same run as it would on its own. One member has neither axis nor `Varying`: its program is that of
its config.
"""

import fnmatch
import functools
from typing import Any, NamedTuple

import numpy as np

from ssl_jax.config import options
from ssl_jax.errors import UserError, listed, shown
from ssl_jax.lazy import jax, jnp
from ssl_jax.parallel import Replicated
from ssl_jax.varying import Varying

# What members may differ in. All others decide shapes, which data there are, or the program.
VARYING = (
    "seed",
    "losses.*",
    "model.dropout",
    "model.attention_dropout",
    "corruption.rate",
    "corruption.mask",
    "corruption.random",
    "generator.temperature",
    "teacher.temperature",
    "optimizer.learning_rate",
    "optimizer.warmup",
    "optimizer.decay_until",
    "optimizer.end_lr_ratio",
    "optimizer.epsilon",
    "optimizer.weight_decay",
    "optimizer.grad_clip_norm",
)


class Member(NamedTuple):
    """One of a config's runs.

    Attributes:
      name: of its folder in the run's folder, 'seed-3'; '' if it is the only one.
      changes: what it sets, {'seed': 3}.
      config: its own: that of the same run on its own.
    """

    name: str
    changes: dict
    config: Any


def members(config):
    """A config's runs, a list of `Member`: `members` or `seeds` of them, or one.

    Raises:
      UserError: they are malformed, equal, or set different keys, or keys that are not in VARYING.
    """
    if not config.members:
        if config.seeds <= 1:
            return [Member("", {}, config)]
        return [_member(config, {"seed": config.seed + number}) for number in range(config.seeds)]
    if config.seeds > 1:
        raise UserError(f"members and seeds={config.seeds}: set one of them; a member may have a seed, as in 'seed=1'")
    changes = [_parsed(text) for text in config.members]
    if len(changes) == 1:
        raise UserError("members: one member is a run of its own: set its values in the config")
    for text, own in zip(config.members, changes, strict=True):
        if own.keys() != changes[0].keys():
            raise UserError(
                f"members: {shown(text)} does not set what {shown(config.members[0])} sets: {listed(changes[0])}"
            )
        if changes.count(own) > 1:
            raise UserError(f"members: {shown(text)} is there twice")
    return [_member(config, own) for own in changes]


def varies(key):
    """Whether members may differ in a config key."""
    return any(fnmatch.fnmatch(key, pattern) for pattern in VARYING)


def _parsed(text):
    """'seed=1 optimizer.learning_rate=3e-4' as {'seed': 1, 'optimizer.learning_rate': 0.0003}."""
    changes = {}
    for entry in text.split():
        key, _, value = entry.partition("=")
        if key in options() and not varies(key):
            raise UserError(
                f"members: {key} cannot differ between runs that train together, only {listed(VARYING, len(VARYING))}; "
                "run them apart"
            )
        try:
            changes[key] = options()[key].metadata["bound"].kind(value)
        except (KeyError, ValueError) as error:
            raise UserError(
                f"members: {shown(entry)} is not KEY=NUMBER, as in 'seed=1 optimizer.learning_rate=3e-4'"
            ) from error
    return changes


def _member(config, changes):
    own = config.copy_and_resolve_references()
    own.update_from_flattened_dict({**changes, "seeds": 1, "members": ()})
    return Member("_".join(f"{key}-{value}" for key, value in sorted(changes.items())), changes, own)


def varied(config, members, member=None):
    """A config with a `Varying` wherever its members differ.

    Args:
      config: of all of them.
      members: its members.
      member: [] int32, traced: whose config it is. None: no array is computed with it.
    """
    config = config.copy_and_resolve_references()
    for key in members[0].changes:
        values = [own.changes[key] for own in members]
        if len(set(values)) == 1:
            continue
        value = Varying(key, values, member)
        if key == "seed":  # of 32 bits without a sign
            value = None if member is None else jnp.asarray(np.array(values, np.uint32))[member]
        if value is not None:
            with config.ignore_type():
                config.update_from_flattened_dict({key: value})
    return config


class Population:
    """The members of a config, on the devices of a `parallel`. One member has no member axis."""

    def __init__(self, parallel, config):
        """
        Raises:
          UserError: several members and `parallel` shards parameters by their names' axes; see `members`.
        """
        self.parallel, self.config, self.members = parallel, config, members(config)
        self.several = len(self.members) > 1
        if self.several and not isinstance(parallel, Replicated):
            told = f"seeds={config.seeds}" if config.seeds > 1 else f"{len(self.members)} members"
            raise UserError(f"{told} train together by parallel.mode=pmap; over a mesh run them one by one")

    def examples(self, make):
        """`batch(step, rows)` for all N members, arrays [B, N, ...]; `make(seed)` returns that of one seed."""
        seeds = [member.config.seed for member in self.members]
        own = {seed: make(seed) for seed in dict.fromkeys(seeds)}
        if not self.several:
            return own[seeds[0]]

        def batch(step, rows=slice(None)):
            parts = {seed: own[seed](step, rows) for seed in own}
            return jax.tree.map(lambda *x: np.stack(x, axis=1), *(parts[seed] for seed in seeds))

        return batch

    def compile(self, make):
        """Compiles `make(config)`, a `step(state, batch, teachers)`, for all members; the state is donated."""
        if not self.several:
            return self.parallel.compile(make(self.config), donate=True)

        def step(state, batch, teachers, **how):
            def own(state, batch, member):
                return make(varied(self.config, self.members, member))(state, batch, teachers, **how)

            return jax.vmap(own, in_axes=(0, 1, 0))(state, batch, jnp.arange(len(self.members)))

        return self.parallel.compile(step, donate=True)

    def compile_each(self, make):
        """Compiles `make(config)`, a function of one member's (params, batch, teachers): a list, one for each member."""
        if not self.several:
            return [self.parallel.compile(make(self.config))]

        def function(params, batch, teachers, member, **how):
            return make(varied(self.config, self.members, member))(params, batch, teachers, **how)

        compiled = self.parallel.compile(function)
        return [lambda *inputs, at=at: compiled(*inputs, at) for at in self._numbers]

    @functools.cached_property
    def _numbers(self):
        return [self.parallel.adopt(np.int32(number)) for number in range(len(self.members))]

    def begin(self, create):
        """Returns the function that creates the state, from `create(seed)`."""
        if not self.several:
            return lambda: create(self.config.seed)
        return lambda: jax.vmap(create)(jnp.asarray(np.array([own.config.seed for own in self.members], np.uint32)))

    def change(self, plain, function):
        """A plain state with each member's parameters replaced by `function(params)`."""
        if not self.several:
            return plain | {"params": function(plain["params"])}
        own = [function(state["params"]) for state in self.states(plain)]
        return plain | {"params": jax.tree.map(lambda *parts: np.stack(parts), *own)}

    def read(self, x):
        """The step's output, one entry per member: [N, ...]."""
        x = self.parallel.read(x)
        return x if self.several else x[None]

    def params(self, state):
        """Yields each member's parameters, on the devices."""
        if not self.several:
            yield state["params"]
            return
        for number in self._numbers:
            yield self._take(state["params"], number)

    @functools.cached_property
    def _take(self):
        # Compiled once per run: every evaluation needs each member's parameters.
        return self.parallel.compile(lambda params, i, **_: jax.tree.map(lambda x: x[i], params))

    def states(self, plain):
        """Each member's plain state."""
        if not self.several:
            return [plain]
        return [jax.tree.map(lambda x: x[i], plain) for i in range(len(self.members))]  # noqa: B023
