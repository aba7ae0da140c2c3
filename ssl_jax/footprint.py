"""What training a config takes of each device, by formula: bytes by part, traffic between devices, time; and cuts that fit.

Parameters and the optimizer's state are counted from the real state's shapes and `parallel.RULES`. Activations are an
estimate by the terms of Korthikanti et al. 2022 (arXiv 2205.05198, section 4), with coefficients of this model as XLA
compiles it (tests/unit/test_footprint.py compares them with compiled programs). Nothing is allocated or compiled:
`program.py` compiles the step itself.
"""

import dataclasses
import functools
import json
import math
import resource
import statistics
import sys
from pathlib import Path
from typing import NamedTuple

import jax

from ssl_jax import devices, files, flops, source
from ssl_jax.checks import check
from ssl_jax.describe import describe, parameter_shapes
from ssl_jax.errors import UserError
from ssl_jax.models import heads
from ssl_jax.models.decoding import pieces_by_size
from ssl_jax.models.model import build_model
from ssl_jax.objectives import taught, trained
from ssl_jax.optimizers import build_optimizer, path_name
from ssl_jax.parallel import abstract, check_cut
from ssl_jax.plan import make_clock, plan_phases, predictions_per_sequence
from ssl_jax.population import members

SHARE = 0.9  # of a device's memory that a plan may use: the rest is for fragments, evaluations and the runtime


class Cut(NamedTuple):
    """How a run is cut over devices: `parallel` and `run.accumulate` of its config.

    Attributes:
      mode: 'pmap' replicates the state, 'mesh' cuts it.
      devices: how many there are.
      fsdp, tensor: see `parallel.RULES`; 1 under pmap.
      accumulate: micro-batches a step.
    """

    mode: str
    devices: int
    fsdp: int = 1
    tensor: int = 1
    accumulate: int = 1

    @property
    def batch_shards(self):
        """Into how many pieces examples are cut: as of parallel.py's classes."""
        return self.devices // self.tensor


class Footprint(NamedTuple):
    """Bytes on each device in a step of training.

    Attributes:
      parameters, optimizer: of the state, exact.
      gradients: float32, twice: what has been summed and what is added, or the updates.
      gathered: under fsdp, the whole weights of a layer and of the tables, and their gradients before they are cut.
      batch: of examples.
      activations: what the layers keep for the backward pass, and the largest layer's own work.
      logits: over the vocabulary, and their gradient.
      teachers: their parameters, and what a layer of theirs works with.
    """

    parameters: float
    gradients: float
    optimizer: float
    gathered: float
    batch: float
    activations: float
    logits: float
    teachers: float

    @property
    def total(self):
        return sum(self)


def cut_of(config, count):
    """The `Cut` of a config on `count` devices.

    Raises:
      UserError: the devices cannot be cut so.
    """
    own = config.parallel
    if count < 1:
        raise UserError(f"--devices={count}: at least 1")
    check_cut(own, count)
    return Cut(own.mode, count, own.fsdp, own.tensor, config.run.accumulate)


def state_shapes(config, model):
    """`params` and `optimizer` of `step.initial_state` as `jax.ShapeDtypeStruct`s."""
    params = parameter_shapes(model)
    optimizer = build_optimizer(config.optimizer, make_clock(config, plan_phases(config)))
    return {"params": params, "optimizer": jax.eval_shape(optimizer.init, params)}


def bytes_of(tree, cut):
    """Bytes that a state's arrays take on each device.

    Args:
      tree: of arrays or their shapes, with the names of a state.
      cut: a `Cut`.
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    if cut.mode == "pmap":
        return sum(math.prod(x.shape) * x.dtype.itemsize for _, x in leaves)
    where = abstract(cut.devices, cut.fsdp, cut.tensor).sharding
    return sum(math.prod(where(path, x).shard_shape(x.shape)) * x.dtype.itemsize for path, x in leaves)


def teacher_models(config):
    """The models of `teacher.runs`, by their configs; [] where no loss reads them, or their outputs are cached."""
    if not taught(config) or config.teacher.cache:
        return []
    return [build_model(source.read_config(folder)) for folder in config.teacher.runs]


def estimate(config, model, cut, phase, shapes, teachers=()):
    """The `Footprint` of a step.

    Args:
      config: a run's, settled.
      model: its `Model`.
      cut: a `Cut`.
      phase: a `plan.Phase`.
      shapes: from `state_shapes`.
      teachers: from `teacher_models`.

    Raises:
      UserError: the model is an `Mqan`.
    """
    if model.config.network == "mqan":
        raise UserError(
            "what model.network=mqan takes of a device is not estimated: run a few steps, and see how it fits"
        )
    trunk, together = model.config, len(members(config)) if config.run.together else 1
    width = 4 if trunk.dtype == "float32" else 2
    per_example = config.task.classes if config.losses.choose else model.orders
    rows = phase.batch_size * per_example / (cut.batch_shards * cut.accumulate)
    tokens = rows * phase.length
    parameters = bytes_of(shapes["params"], cut)
    trunks = [trunk] if model.generator is None else [trunk, model.generator.trunk]
    kept = sum(_kept(one, phase.length, cut.tensor, width, "scores" in taught(config)) for one in trunks)
    working = max(_working(one, phase.length, cut.tensor, width) for one in trunks)
    teaching = [
        bytes_of(parameter_shapes(own), cut) + tokens * _working(own.config, phase.length, cut.tensor, width)
        for own in teachers
    ]
    predictions = predictions_per_sequence(config, phase.length)
    made = _logits(model, phase.length, predictions, cut.tensor) * (1 + len(teachers))
    if model.generator is None and "copied" not in model.heads:  # whose logits are needed all at once
        # pmap traces a device's own logits, a mesh all of them; half of `made` is their gradient.
        traced = tokens * made / 2 * (1 if cut.mode == "pmap" else cut.batch_shards)
        made /= config.run.logit_pieces or pieces_by_size(traced)
    # tokens, segments and the index in 4 bytes, the mask in 1
    batch = phase.batch_size / cut.batch_shards * (per_example * phase.length * 9 + 8)
    return Footprint(
        parameters=together * parameters,
        gradients=together * 2 * parameters,
        optimizer=together * bytes_of(shapes["optimizer"], cut),
        gathered=_gathered(shapes["params"], cut, width),
        batch=together * batch,
        activations=together * tokens * (kept + working),
        logits=together * tokens * made,
        teachers=sum(teaching),
    )


def _core(trunk, length, tensor, width):
    """Bytes per token of what attention keeps of its [A, S, S] numbers: the softmax in float32, and after dropout."""
    if trunk.attention == "fused":  # which keeps the sums of each row alone
        return 4 * trunk.heads / _fits(trunk.heads, tensor)
    dropped = 1 if trunk.attention_dropout else 0
    return trunk.heads / _fits(trunk.heads, tensor) * length * (6 + width + dropped)


def _fits(size, pieces):
    """Into how many of `pieces` an axis is cut: one that does not divide stays whole."""
    return pieces if size % pieces == 0 else 1


def _layer(trunk, length, tensor, width):
    """Bytes per token that one layer keeps for its backward pass.

    Per token in numbers of `dtype`: 4 widths of attention (query, key, value, output), 9 hidden sizes (inputs, sums and
    norms), 3 of the inner width (before, inside and after the activation). A loop over layers (`model.scan`) keeps each
    term of the activation's derivative, twice as many, and two hidden sizes more: XLA cannot fuse across its iterations.
    """
    hidden = trunk.hidden_size
    if trunk.lstm:  # gates, cell and state of every step, and their gradients
        return (12 * trunk.lstm + 4 * hidden) * width
    attention = trunk.heads * trunk.head_size / _fits(trunk.heads, tensor)
    inner = trunk.ffn_size / _fits(trunk.ffn_size, tensor)
    numbers = 4 * attention + (11 if trunk.scan else 9) * hidden + (6 if trunk.scan else 3) * inner
    masks = 2 * hidden if trunk.dropout else 0
    return numbers * width + masks + _core(trunk, length, tensor, width)


def _kept(trunk, length, tensor, width, scores):
    """Bytes per token that all layers keep; `scores`: also attention's, which a teacher's are compared with."""
    a_layer = trunk.hidden_size * width if trunk.remat else _layer(trunk, length, tensor, width)
    if scores and not trunk.lstm:
        a_layer += 8 * trunk.heads / _fits(trunk.heads, tensor) * length
    return trunk.layers * a_layer


def _working(trunk, length, tensor, width):
    """Bytes per token of one layer's backward pass, besides what is kept: its largest sub-layer's.

    With `remat` it also recomputes that sub-layer: 4 inner widths (or the widths of attention) and 3 hidden sizes, and of
    attention's [A, S, S] numbers the softmax and its gradient in float32, and what is dropped; else the gradients alone.
    """
    if trunk.lstm:
        return 4 * trunk.lstm * width
    pairs = trunk.heads / _fits(trunk.heads, tensor) * length * (trunk.attention == "plain")
    inner = trunk.ffn_size / _fits(trunk.ffn_size, tensor)
    if not trunk.remat:
        return max(8 * pairs, 2 * inner * width)
    attention = 4 * trunk.heads * trunk.head_size / _fits(trunk.heads, tensor)
    return max(4 * inner * width, attention * width + (8 + width) * pairs) + 3 * trunk.hidden_size * width


def _logits(model, length, predictions, tensor):
    """Bytes per token of logits over the vocabulary and their gradient, float32 both."""
    sizes = heads.Sizes(length, predictions / length, 0, 0)
    built = (heads.HEADS[name].build(model) for name in model.heads)
    decoded = sum(head.decoded(sizes) for head in built if hasattr(head, "decoded"))
    rows = model.config.vocab_size + model.config.predict_positions * model.config.max_positions
    return 2 * 4 * decoded * rows / _fits(model.config.vocab_size, tensor)


def _gathered(params, cut, width):
    """Bytes of the weights of one layer and of the tables, whole over fsdp: in `dtype`, and their gradient in float32."""
    if cut.fsdp == 1:
        return 0.0
    whole = cut._replace(fsdp=1, devices=cut.devices // cut.fsdp)
    layers, rest = [], []
    for path, x in jax.tree_util.tree_leaves_with_path(params):
        (layers if "layers" in path_name(path).split("/") else rest).append((path, x))
    where = abstract(whole.devices, 1, cut.tensor).sharding
    one_layer = sum(math.prod(where(path, x).shard_shape(x.shape)) / x.shape[0] for path, x in layers)
    others = sum(math.prod(where(path, x).shard_shape(x.shape)) for path, x in rest)
    return (one_layer + others) * (width + 4)


# ---- Traffic


class Traffic(NamedTuple):
    """One kind of collective in a step, on paper.

    Attributes:
      name: what it does.
      axis: the mesh axis that it runs over.
      count: how many a step.
      size: bytes of the whole array, all of them together.
      span: how many devices a group lies within, those of the axes inside it included: `tensor` is the innermost.
      sent: bytes that each device sends in a ring: (n - 1) / n of the array to gather or to scatter it, twice that to
        reduce it to all (Patarasuk and Yuan 2009).
    """

    name: str
    axis: str
    count: int
    size: float
    span: int
    sent: float


def traffic(config, model, cut, phase, shapes):
    """The collectives of a step, on paper: a list of `Traffic`, [] on one device. Arguments as of `estimate`.

    Over `data` (all devices under pmap) gradients are all-reduced in float32: once under pmap; on a mesh, where XLA
    reduces each micro-batch's, once for each. Over `fsdp` the weights are gathered in `dtype` for the forward pass and
    for the backward pass, once more where it recomputes a layer, and gradients are reduce-scattered, in each micro-batch.
    Over `tensor` each layer all-reduces its activations twice in the forward pass and twice in the backward pass
    (Shoeybi et al. 2019, section 3), twice more where it recomputes them.
    """
    trunk = model.config
    width = 4 if trunk.dtype == "float32" else 2
    parts, found = cut.accumulate, []
    over = {"data": cut.batch_shards // cut.fsdp, "fsdp": cut.fsdp, "tensor": cut.tensor}

    def add(name, axis, count, size, ways):
        n = over[axis]
        if n > 1:
            span = {"tensor": cut.tensor, "fsdp": cut.tensor * cut.fsdp, "data": cut.devices}[axis]
            found.append(Traffic(name, axis, count, count * size, span, count * size * ways * (n - 1) / n))

    times = 1 if cut.mode == "pmap" else parts
    add("all-reduce of gradients", "data", times, bytes_of(shapes["params"], cut), 2)
    # On a device the arrays are those of its tensor piece, whole over fsdp.
    weights = bytes_of(shapes["params"], cut._replace(fsdp=1, devices=cut.devices // cut.fsdp))
    gathers = 3 if trunk.remat else 2
    add("all-gather of weights", "fsdp", gathers * parts, weights * width / 4, 1)
    add("reduce-scatter of gradients", "fsdp", parts, weights, 1)
    rows = phase.batch_size * model.orders / (cut.batch_shards * parts)
    activations = rows * phase.length * trunk.hidden_size * width
    reduces = (6 if trunk.remat else 4) * trunk.layers
    add("all-reduce of activations", "tensor", reduces * parts, activations, 2)
    return found


# ---- Time, and what fits


def seconds_of(total_flops, count, peak, mfu):
    """Seconds that FLOPs take on `count` devices of `peak` FLOP/s at an MFU, or None without a peak."""
    return None if peak is None else total_flops / (count * peak * mfu)


def fits(footprint, memory):
    """Whether a `Footprint` is within SHARE of a device's memory, in bytes."""
    return footprint.total <= SHARE * memory


class Proposal(NamedTuple):
    """A cut that keeps the global batch.

    Attributes:
      cut, footprint: what it is, and what it takes.
      flags: {'parallel.fsdp': 32}, of scripts/train.py.
      notes: lines on what it changes of the recipe.
    """

    cut: Cut
    footprint: Footprint
    flags: dict
    notes: tuple


def propose(config, model, count, device, shapes, teachers=()):
    """The cheapest cut of a config that fits, or None.

    It is the first in this order: `tensor` within the devices that an interconnect joins; the recipe's growing batch, or
    else one that begins at the fewest examples that can be cut so; without rematerialisation; least `tensor`, fewest
    micro-batches, least `fsdp`; pmap before a mesh.

    Args:
      config: a run's, settled.
      model: its `Model`.
      count: of devices.
      device: a `devices.Device`.
      shapes, teachers: as of `estimate`.
    """
    found = []
    for cut in _cuts(config, model, count):
        own, ramp = config, _ramp(config, cut)
        if ramp != config.ramp.start:
            own = config.copy_and_resolve_references()
            own.ramp.start = ramp
        # No ramp at all is the largest change.
        changed = 0 if own is config else ramp or config.batch_size
        for remat in (False,) if model.config.lstm else (False, True):
            order = (
                cut.tensor > device.linked,
                changed,
                remat,
                cut.tensor,
                cut.accumulate,
                cut.fsdp,
                cut.mode == "mesh",
            )
            found.append((order, cut, own, remat))
    for _, cut, own, remat in sorted(found, key=lambda one: one[0]):
        changed = _with_remat(model, remat)
        phase = largest(own)
        footprint = estimate(own, changed, cut, phase, shapes, teachers)
        if fits(footprint, device.memory):
            flags, notes = _flags(config, own, cut, remat)
            return Proposal(cut, footprint, flags, notes)
    return None


@functools.lru_cache(maxsize=8)
def _with_remat(model, remat):
    generator = model.generator
    if generator is not None:
        generator = dataclasses.replace(generator, trunk=dataclasses.replace(generator.trunk, remat=remat))
    return model.clone(config=dataclasses.replace(model.config, remat=remat), generator=generator)


def largest(config):
    """The phase of a run with the most memory: the most tokens a step, then the longest."""
    return max(plan_phases(config), key=lambda phase: (phase.batch_size * phase.length, phase.length))


def divisors(number):
    """The divisors of a number, ascending."""
    low = [n for n in range(1, math.isqrt(number) + 1) if number % n == 0]
    return sorted({*low, *(number // n for n in low)})


def _cuts(config, model, count):
    """Yields every `Cut` whose axes divide what they cut, and whose pieces divide the global batch."""
    by_device = "device" in (config.loss_average, config.optimizer.grad_clip_by)
    only_pmap = by_device or len(members(config)) > 1
    trunks = [model.config] if model.generator is None else [model.config, model.generator.trunk]
    for tensor in divisors(count):
        if tensor > 1 and (only_pmap or any(one.heads % tensor or one.ffn_size % tensor for one in trunks)):
            continue
        shards = count // tensor
        if config.batch_size % shards:
            continue
        for accumulate in divisors(config.batch_size // shards):
            for fsdp in divisors(shards):
                if fsdp > 1 and (only_pmap or any(one.hidden_size % fsdp for one in trunks)):
                    continue
                mode = "pmap" if tensor == fsdp == 1 else "mesh"
                yield Cut(mode, count, fsdp, tensor, accumulate)


def _ramp(config, cut):
    """`ramp.start` with which every batch of a run can be cut so: the config's, or the next larger; 0: without a ramp."""
    pieces, start = cut.batch_shards * cut.accumulate, config.ramp.start
    divided = pieces * -(-start // pieces)
    return divided if divided < config.batch_size else 0


def _flags(config, own, cut, remat):
    """The flags of a `Proposal`, only those that differ from the config, and its notes."""
    wanted = {
        "parallel.mode": cut.mode,
        "parallel.fsdp": cut.fsdp,
        "parallel.tensor": cut.tensor,
        "run.accumulate": cut.accumulate,
        "model.remat": remat,
    }
    notes = []
    if own.ramp.start != config.ramp.start:
        tokens, before = (_tokens(one) for one in (own, config))
        steps = round(config.steps * before / tokens)
        wanted |= {"ramp.start": own.ramp.start, "steps": steps}
        begins = f"begins at {own.ramp.start:,} sequences" if own.ramp.start else "does not grow"
        notes.append(
            f"the batch {begins}, because {config.ramp.start:,} cannot be cut into {cut.batch_shards * cut.accumulate:,} pieces: "
            f"another recipe, of as many tokens in {steps:,} steps"
        )
    present = {key: _value(config, key) for key in wanted}
    return {key: value for key, value in wanted.items() if value != present[key]}, tuple(notes)


def _value(config, key):
    for part in key.split("."):
        config = config[part]
    return config


def _tokens(config):
    return sum((phase.last - phase.first) * phase.batch_size * phase.length for phase in plan_phases(config))


# ---- A plan, and how it turned out


def plan(config, count, device, mfu, always=False):
    """What a run takes on `count` devices: a JSON-able dict.

    Args:
      config: a run's, settled; with what its task tells.
      count: of devices.
      device: a `devices.Device`.
      mfu: the share of the devices' peak that the run is thought to reach.
      always: propose a cut although the config's own fits.

    Returns:
      `parameters`; `tokens` and `flops` of the run; `flops_per_token`, `length` and `batch_size` of its `largest` phase, to
      which all bytes belong; `cut`; `bytes` on each device by part, and `total`; `memory` of a device; `fits`, within
      `share` of it; `refused`, why the run would not begin so, '' if it would; `divides`, whether batch and model can be cut
      over so many devices at all; `untaught`, a loss whose teacher is not named, and so not counted, or ''; `traffic`, see
      `Traffic`; `seconds` and `device_hours` at `mfu`, None where the peak is not known; `proposal`, None if the config's
      own cut fits or none does.

    Raises:
      UserError: the devices cannot be cut so.
    """
    about, model, cut = describe(config), build_model(config), cut_of(config, count)
    phase, shapes, teachers = largest(config), state_shapes(config, model), teacher_models(config)
    footprint = estimate(config, model, cut, phase, shapes, teachers)
    refused = _refused(config, cut)
    fit = fits(footprint, device.memory) and not refused
    total = about["flops"]["training"]["palm"]
    seconds = seconds_of(total, count, devices.peak(device, config.model.dtype), mfu)
    made = {
        "variant": config.variant,
        "device": device.name,
        "devices": count,
        "dtype": config.model.dtype,
        "parameters": about["parameters"],
        "tokens": about["tokens"],
        "flops": total,
        "flops_per_token": flops.flops_per_token(model, phase.length, predictions_per_sequence(config, phase.length)),
        "length": phase.length,
        "batch_size": phase.batch_size,
        "mfu": mfu,
        "seconds": seconds,
        "device_hours": seconds and seconds * count / 3600,
        "memory": device.memory,
        "share": SHARE,
        **_cut_plan(config, model, cut, phase, shapes, footprint, device),
        "fits": fit,
        "refused": refused,
        "untaught": "" if teachers or config.teacher.cache else next(_taught_losses(config), ""),
        "divides": next(_cuts(config, model, count), None) is not None,
        "proposal": None,
    }
    if not fit or always:
        proposal = propose(config, model, count, device, shapes, teachers)
        if proposal is not None:
            changed = _with_remat(model, proposal.flags.get("model.remat", config.model.remat))
            own = _cut_plan(config, changed, proposal.cut, phase, shapes, proposal.footprint, device)
            made["proposal"] = {**own, "flags": proposal.flags, "notes": list(proposal.notes)}
    return made


def _taught_losses(config):
    """Yields the losses that compare with a teacher."""
    return (name for name, row in trained(config).items() if row.teacher)


def _cut_plan(config, model, cut, phase, shapes, footprint, device):
    """The part of a `plan` that is about one cut."""

    def seconds(one):  # data sheets count both directions; beyond the interconnect is a network that they do not know
        return one.sent / (device.link / 2) if device.link and one.span <= device.linked else None

    return {
        "cut": {**cut._asdict(), "remat": model.config.remat},
        "bytes": {**footprint._asdict(), "total": footprint.total},
        "traffic": [{**one._asdict(), "seconds": seconds(one)} for one in traffic(config, model, cut, phase, shapes)],
    }


def _refused(config, cut):
    """Why a run that is cut so would be refused, '' if it would not."""
    try:
        check(config, plan_phases(config), cut)
    except UserError as error:
        return str(error)
    return ""


SEEN = "memory.json"  # in a run's folder


def write_seen(exp, workdir, phase, shapes):
    """Writes what the first step of a phase took of a device, beside the estimate, into a run's folder.

    `measured` is the most that a `device` had in use since the process began (`peak_bytes_in_use`), where its backend says
    so; on a CPU it is the `process`'s peak resident size, which is another thing: it has all devices, JAX and the batches.

    Args:
      exp: the run's `Experiment`.
      workdir: its folder.
      phase: a `plan.Phase`.
      shapes: of the state, with an axis of members if there are several.
    """
    if jax.process_index() != 0 or exp.model.config.network == "mqan":  # which has no estimate
        return
    own = {name: shapes[name] for name in ("params", "optimizer")}
    if exp.population.several:
        own = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), own)
    cut = cut_of(exp.config, exp.devices.device_count)
    footprint = estimate(exp.config, exp.model, cut, phase, own, exp.teacher_models)
    peaks = [(device.memory_stats() or {}).get("peak_bytes_in_use") for device in jax.local_devices()]
    if None in peaks:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        measured = {"of": "process", "bytes": peak}
    else:
        measured = {"of": "device", "bytes": max(peaks)}
    content = {
        "device": jax.devices()[0].device_kind,
        "cut": cut._asdict(),
        "length": phase.length,
        "batch_size": phase.batch_size,
        "predicted": {**footprint._asdict(), "total": footprint.total},
        "measured": measured,
    }
    files.write_json(Path(workdir) / SEEN, content)


def seen(workdir):
    """What a run took, beside its plan: a JSON-able dict.

    Returns:
      The content of its memory.json; `flops_per_second`, the median of its lines of timings, of all devices together,
      None before the first; `mfu`, None where the peak is not known.

    Raises:
      UserError: the folder holds no run, or one that has not taken a step since this is written.
    """
    config, path = source.read_config(workdir), Path(workdir) / SEEN
    if not path.exists():
        raise UserError(f"{workdir} has no {SEEN}: a run writes it after its first step")
    content = files.read_json(path)
    lines = map(json.loads, files.logged_lines(Path(workdir) / "timings.jsonl")[0])
    rates = [line["flops_per_second"] for line in lines]
    rate = statistics.median(rates) if rates else None
    peak = devices.peak(devices.by_kind(content["device"]), config.model.dtype)
    mfu = rate / (peak * content["cut"]["devices"]) if rate and peak else None
    return {**content, "variant": config.variant, "flops_per_second": rate, "mfu": mfu}
