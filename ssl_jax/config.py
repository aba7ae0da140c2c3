"""The config: every option of the package, assembled from the blocks beside their readers.

A paper's config (configs/) starts from `base()` and changes what its methods section is about. Importing this takes no JAX,
so that a config is checked before that is loaded.
"""

import dataclasses
import functools
import math
import re

from ml_collections import ConfigDict

from ssl_jax import evaluators, plan
from ssl_jax.corruption import Corruption
from ssl_jax.data.mixture import Mixture
from ssl_jax.data.questions import Questions
from ssl_jax.data.tokens import Data
from ssl_jax.distill.matching import Teacher
from ssl_jax.errors import UserError, listed
from ssl_jax.models.spec import GeneratorOptions, MqanOptions, Trunk
from ssl_jax.objectives import Losses
from ssl_jax.optimizers import Optimizer
from ssl_jax.options import TEXT, block, check_bound, flat, one_of, option, several, whole
from ssl_jax.parallel import Parallel
from ssl_jax.tasks.options import TaskOptions


@dataclasses.dataclass(frozen=True)
class Config:
    """All options: those of no block, and the blocks."""

    variant: str = option("", TEXT, "which config this is, filled in: 'bert:base,smoke'")
    seed: int = option(
        0, whole(0, (1 << 32) - 1), "of the initial values, the order of the examples, the masks and dropout"
    )
    seeds: int = option(1, whole(1), "so many, from `seed` on, are trained together (population.py)")
    members: tuple = option(
        (),
        several(str),
        "runs trained together, by what each sets: 'seed=1 optimizer.learning_rate=3e-4'; (): by `seeds`",
    )
    steps: int = option(100_000, whole(1), "how many updates; phases and decay are shares of them")
    batch_size: int = option(256, whole(1), "sequences, or a task's examples, that an update sees, over all devices")
    heads: tuple = option((), several(str), "of models/heads.py, besides those that the losses read")
    loss_average: str = option("global", one_of("global", "device"), "'device': the originals' mean of per-core means")
    run: plan.Run = block(plan.Run)
    init: plan.Init = block(plan.Init)
    phases: plan.Phases = block(plan.Phases)
    ramp: plan.Ramp = block(plan.Ramp)
    model: Trunk = block(Trunk)
    generator: GeneratorOptions = block(GeneratorOptions)
    mqan: MqanOptions = block(MqanOptions)
    losses: Losses = block(Losses)
    teacher: Teacher = block(Teacher)
    corruption: Corruption = block(Corruption)
    data: Data = block(Data)
    task: TaskOptions = block(TaskOptions)
    questions: Questions = block(Questions)
    mixture: Mixture = block(Mixture)
    optimizer: Optimizer = block(Optimizer)
    evals: dict = block(evaluators.Mean)  # by name; those of other modules have options of their own
    parallel: Parallel = block(Parallel)


def base():
    """A ConfigDict with all options at their defaults."""
    values = _defaults(Config)
    del values["evals"]["at_end"], values["evals"]["pairs"]  # options that an evaluation may have
    config = ConfigDict(values | {"evals": {"heldout": values["evals"]}})
    # One number with two names: whoever sets one of them sets both.
    config.model.vocab_size = config.data.tokenizer.get_ref("vocab_size")
    return config


def _defaults(kind):
    return {
        field.name: field.default if "bound" in field.metadata else _defaults(field.metadata["block"])
        for field in dataclasses.fields(kind)
    }


def _fields(kind=Config, prefix=""):
    """Yields (key, field) of all options and blocks; those of an evaluation are 'evals.*.split'."""
    for field in dataclasses.fields(kind):
        key = f"{prefix}{field.name}"
        yield key, field
        if key == "evals":
            for row in evaluators.EVALUATORS.values():
                yield from _fields(row, "evals.*.")
        elif "block" in field.metadata:
            yield from _fields(field.metadata["block"], f"{key}.")


@functools.cache
def options():
    """The fields of all options by key, {'model.layers': dataclasses.Field}."""
    return {key: field for key, field in _fields() if "bound" in field.metadata}


@functools.cache
def docs():
    """What each option and block of `base()` is for: {'model.layers': str}."""
    found = {"evals.heldout": "the one that result.json is about"}
    for key, field in _fields():
        kind = field.metadata.get("block")
        found[key.replace("*", "heldout")] = kind.__doc__.splitlines()[0].rstrip(".") if kind else field.metadata["doc"]
    return found


def bound_of(key):
    """The Bound of a key, 'model.layers'; None if there is no such option."""
    first, last = key.split(".")[0], key.rsplit(".")[-1]
    field = options().get(key) or options().get(f"{first}.*.{last}")
    return field and field.metadata["bound"]


def check_values(config):
    """Raises UserError, naming the key, unless a config has all keys, each with a value of its type and within its bounds."""
    values = dict(flat(config))
    missing = [name for name in options() if "*" not in name and name not in values]
    if missing:
        raise UserError(f"the config has no {listed(missing, 3)}: begin it with ssl_jax.config.base()")
    for name, value in values.items():
        check_value(name, value)


def check_value(name, value):
    """Raises UserError, naming the key, unless a value is of its key's type and within its bounds."""
    bound = bound_of(name)
    if bound is not None:
        check_bound(name, value, bound)


def changed(config):
    """The options of a config that are not at their defaults: {'model.layers': 2}; the variant's name is not one."""
    defaults = dict(flat(base()))
    plain = lambda value: list(value) if isinstance(value, tuple) else value  # noqa: E731, as JSON has it
    return {
        key: value for key, value in flat(config) if key != "variant" and plain(defaults.get(key, ...)) != plain(value)
    }


def values_of(bound):
    """What a Bound allows, in words: 'a share', '1 or more'."""
    if bound.choices:
        return ", ".join(repr(choice) for choice in bound.choices)
    if bound.kind is tuple:
        return {int: "whole numbers", float: "numbers", str: "words"}[bound.entries]
    if bound.kind in (bool, str, re.Pattern):
        return {bool: "True, False", str: "text", re.Pattern: "a regex"}[bound.kind]
    if (bound.low, bound.high) == (0, 1):
        return "0 to 1" + ", not 0" * bound.above + ", not 1" * bound.below
    kind = "whole, " if bound.kind is int else ""
    if bound.low == -math.inf:
        return f"{kind}{'below' if bound.below else 'at most'} {bound.high:g}"
    return f"{kind}{'above' if bound.above else 'at least'} {bound.low:g}"


def _sections():
    """Yields (title, [(key, field)]) of docs/config.md."""
    blocks = {}
    for key, field in options().items():
        blocks.setdefault(key.rpartition(".")[0], []).append((key, field))
    for name, fields in blocks.items():
        if name == "evals.*":
            for module, row in evaluators.EVALUATORS.items():
                told = [(f"evals.NAME.{field.name}", field) for field in dataclasses.fields(row)]
                yield f"evals.NAME with module={module}: {row.__doc__.rstrip('.')}", told[1:]
        else:
            yield (f"{name}: {docs()[name]}".replace("`", "") if name else "Of the run as a whole"), fields


def markdown():
    """docs/config.md: every option with its default, its values and what it is for."""
    lines = [
        "# Options",
        "",
        "Each is a flag: `--config.KEY=VALUE`. Generated from the dataclasses beside the readers of the options;",
    ]
    lines += ["`pytest tests/golden/test_golden.py --update-golden` rewrites it.", ""]
    for title, fields in _sections():
        lines += ["", f"## {title}", "", "| key | default | values | |", "|---|---|---|---|"]
        for key, field in fields:
            text = [f"`{key}`", f"`{field.default!r}`", values_of(field.metadata["bound"]), field.metadata["doc"]]
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in text) + " |")
    return "\n".join(lines) + "\n"
