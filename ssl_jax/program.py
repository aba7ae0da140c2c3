"""The program of a training step, compiled ahead of time for devices that need not be there: nothing is allocated.

It is the step that `train.py` runs, from the same functions, for this many virtual CPU devices. So its structure is
that of the real program (what is cut, what is gathered, what is kept), but not its every byte: XLA's CPU compiler
computes bfloat16 in float32, has no fused attention, and writes a reduce-scatter as an all-reduce.
"""

import collections
import math
import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.distill import teachers as distill
from ssl_jax.distill.matching import check_teachers
from ssl_jax.errors import UserError
from ssl_jax.footprint import teacher_models
from ssl_jax.models.model import build_model
from ssl_jax.objectives import taught
from ssl_jax.parallel import build_parallel
from ssl_jax.plan import example_kind
from ssl_jax.population import Population
from ssl_jax.step import initial_params, initial_state, make_train_step
from ssl_jax.tasks import TASKS
from ssl_jax.tokenization import files as tokenizer_files
from ssl_jax.tokenization.train import untrained
from ssl_jax.tokenization.vocabulary import vocabulary_of


class Program(NamedTuple):
    """What XLA says of a compiled step, on each device.

    Attributes:
      argument, output, alias, temp: bytes of what goes in, of what comes out, of what of that is the same memory, and of
        all else (`compiled.memory_analysis`).
      collectives: from `collectives`.
      known: whether every loop with collectives says how often it runs.
      scanned: whether layers were looped over though the config unrolls them, see `compile_step`.
    """

    argument: int
    output: int
    alias: int
    temp: int
    collectives: dict
    known: bool
    scanned: bool

    @property
    def total(self):
        """Bytes in use at the peak."""
        return self.argument + self.output - self.alias + self.temp


class Collective(NamedTuple):
    """All collectives of one kind over groups of one size, of a step, on each device.

    Attributes:
      count: how many run.
      size: bytes of the arrays, whole: gathered, or before they are scattered.
      sent: bytes that a device sends in a ring, see `footprint.Traffic`.
    """

    count: int
    size: float
    sent: float


def batch_shapes(config, phase):
    """The arrays of a global batch as `jax.ShapeDtypeStruct`s, see data/batches.py.

    Args:
      config: a run's, resolved.
      phase: a `plan.Phase`.
    """
    kind, of_task = example_kind(config), ""
    if kind == "task":
        of_task = TASKS[config.task.name].kind
    rows, length = (phase.batch_size,), (phase.length,)
    texts = (config.task.classes,) if of_task == "choices" else (2,) * (kind == "task" and config.task.orders == 2)
    arrays = {
        "tokens": (rows + texts + length, np.int32),
        "mask": (rows + texts + length, np.bool_),
        "segments": (rows + texts + length, np.int32),
        "pair": (rows, np.int32),
        "index": (rows, np.int32),
    }
    if kind == "windows" and config.data.document_mask:
        arrays["documents"] = (rows + length, np.int32)
    arrays |= {
        "": {},
        "classification": {"label": (rows, np.int32)},
        "choices": {"label": (rows, np.int32)},
        "regression": {"label": (rows, np.float32)},
        "spans": {"span": ((*rows, 2), np.int32), "impossible": (rows, np.bool_)},
        "token_labels": {"token_label": (rows + length, np.int32)},
    }[of_task]
    return {name: jax.ShapeDtypeStruct(*array) for name, array in arrays.items()}


def vocabulary(config):
    """A `Vocabulary` of a config's size: of its tokenizer file, or of one to be trained."""
    options, size = config.data.tokenizer, config.model.vocab_size
    made = (
        tokenizer_files.load_extended(options)
        if options.path
        else untrained(options.kind, options.lowercase, options.add)
    )
    found = vocabulary_of(made)

    def grown(flags):
        return np.concatenate([flags, np.zeros(size - len(flags), bool)])

    flags = {name: grown(getattr(found, name)) for name in ("special", "starts_word", "starts_split")}
    return found._replace(size=size, **flags)


def lower_step(config, phase):
    """The training step of a phase, lowered for all of this process's devices.

    Args:
      config: a run's, resolved.
      phase: a `plan.Phase`.

    Raises:
      UserError: the config does not fit the devices, or a loss has no teacher.
    """
    check_teachers(config)
    devices = build_parallel(config.parallel)
    population, model, words = Population(devices, config), build_model(config), vocabulary(config)
    models = teacher_models(config)
    if taught(config) and not models:
        raise UserError("teacher.cache: the outputs of a cached teacher are not planned for; leave the cache out")
    teach = distill.make_teach(config, models) if models else None
    counts = (
        jnp.ones(words.size) if config.generator.kind == "unigram" or config.corruption.frequency_smoothing else None
    )
    step = population.compile(
        lambda own: make_train_step(own, model if own is config else build_model(own), words, counts, teach)
    )
    state = jax.eval_shape(population.begin(lambda seed: initial_state(config, model, words, seed)))
    teachers = [jax.eval_shape(lambda own=own: initial_params(own, seed=0)) for own in models]
    batch = batch_shapes(config, phase)
    if population.several:
        several = len(population.members)
        batch = {name: jax.ShapeDtypeStruct((len(x), several, *x.shape[1:]), x.dtype) for name, x in batch.items()}
    place = devices.place_shapes
    return step.lower(place(state), devices.place_batch_shapes(batch), place(teachers))


def compile_step(config, phase):
    """Compiles the training step of a phase: a `Program`.

    XLA's CPU compiler undoes `model.remat` of unrolled layers, which other compilers keep apart: those are compiled as a
    loop, which has the same parameters.
    """
    scanned = config.model.remat and not config.model.scan
    if scanned:
        config = config.copy_and_resolve_references()
        config.model.scan = True
    compiled = lower_step(config, phase).compile()
    memory = compiled.memory_analysis()
    found, known = collectives(compiled.as_text(), len(jax.devices()))
    sizes = (getattr(memory, f"{name}_size_in_bytes") for name in ("argument", "output", "alias", "temp"))
    return Program(*sizes, found, known, scanned)


# ---- The text of a compiled program

BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "s64": 8, "u64": 8, "f64": 8}
KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_COLLECTIVE = re.compile(rf" = (.*?) ({'|'.join(KINDS)})\(")
_SHAPE = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\]")
_CALLED = re.compile(r"(body|calls|to_apply|condition|true_computation|false_computation)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')


def collectives(text, devices):
    """The collectives that a step runs on each device, from the text of its compiled program.

    Args:
      text: `compiled.as_text()`.
      devices: how many there are.

    Returns:
      {(kind, n): Collective}, n the number of devices that take part together; and whether all loops with collectives
      say how often they run: one that does not is counted once.
    """
    computations, entry, lines = {}, None, None
    for line in text.splitlines():
        begun = _COMPUTATION.match(line)
        if begun:
            lines = computations[begun[2]] = []
            entry = begun[2] if begun[1] else entry
        elif lines is not None:
            lines.append(line)
    made, unknown = {}, []

    def of(name):
        if name not in made:
            made[name] = collections.Counter()  # no computation calls itself
            made[name] = sum((in_line(line) for line in computations.get(name, ())), collections.Counter())
        return made[name]

    def in_line(line):
        found = collections.Counter()
        own = _COLLECTIVE.search(line)
        if own:
            n = _group(line, devices)
            size = sum(map(_size, _SHAPE.findall(own[1]))) * (n if own[2] == "reduce-scatter" else 1)
            ways = {"all-reduce": 2 * (n - 1) / n, "collective-permute": 1}.get(own[2], (n - 1) / n)
            if n > 1:
                found.update({(own[2], n, "count"): 1, (own[2], n, "size"): size, (own[2], n, "sent"): size * ways})
            return found
        called = [name for _, name in _CALLED.findall(line)]
        for names in _BRANCHES.findall(line):
            called += re.findall(r"[\w.\-]+", names)
        for name in called:
            found.update(of(name))
        if " while(" in line and found:
            trips = _TRIPS.search(line)
            if not trips:
                unknown.append(line)
            found = collections.Counter({key: value * int(trips[1] if trips else 1) for key, value in found.items()})
        return found

    total = of(entry)
    keys = dict.fromkeys((kind, n) for kind, n, _ in total)
    ordered = sorted(keys, key=lambda key: (KINDS.index(key[0]), key[1]))
    return {key: Collective(*(total[(*key, field)] for field in Collective._fields)) for key in ordered}, not unknown


def _size(shape):
    kind, numbers = shape
    return BYTES.get(kind, 4) * math.prod(int(number) for number in numbers.split(",") if number)


def _group(line, devices):
    """How many devices take part together: of replica_groups=[8,32]<=[256] 32, of {{0,1},{2,3}} 2, of {} all."""
    iota = re.search(r"replica_groups=\[\d+,(\d+)\]", line)
    if iota:
        return int(iota[1])
    listed = re.search(r"replica_groups=\{\{([\d,]+)\}", line)
    if listed:
        return len(listed[1].split(","))
    return devices
