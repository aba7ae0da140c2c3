"""Initializes a run from another's parameters in one strict merge: every tensor fits, or the config lists it.

A parameter is named by its path, 'embeddings/position'; a listed name covers everything under it. A generator's heads
are named 'generator_mlm' and 'generator_baseline', so they are never mistaken for the trunk's.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax import labels
from ssl_jax.data.questions import word_vectors
from ssl_jax.errors import UserError
from ssl_jax.load import load_run
from ssl_jax.models.spec import GENERATOR_HEADS, TRAINED
from ssl_jax.models.transformer import group_of
from ssl_jax.old_configs import complete
from ssl_jax.optimizers import path_name, schedule
from ssl_jax.plan import make_clock, plan_phases, taken_until
from ssl_jax.runs import load_state
from ssl_jax.source import GROWING, HEADS, SHOWN, TRUNK, differing, tokenizer_path
from ssl_jax.tokenization.vocabulary import identity


def begin(exp, create):
    """The state at the start of a run, on the devices, and log lines describing what it starts from.

    This is step 0 with the parameters of `init.run`, if set, in place of the initial ones, and with word vectors from
    files, if questions have any; with `init.optimizer` also
    its step and optimizer state.

    Args:
      exp: an `Experiment`.
      create: makes the initial state.

    Raises:
      UserError: the source has a different vocabulary; see `start_from`, `check_pieces`, `take_optimizer`.
    """
    config, devices, population = exp.config, exp.devices, exp.population
    state = devices.create(create)
    vectors = word_vectors(config, exp.tokenizer) if exp.kind == "questions" else None
    if vectors is not None:
        # In place of the initial ones, as in a checkpoint.
        state = devices.adopt(population.change(devices.plain(state), lambda params: params | {"vectors": vectors}))
    if not config.init.run:
        return state, []
    run = load_run(config.init.run, devices, config.init.step)
    if "vocabulary" in config.init.grow:
        check_pieces(run, exp.tokenizer)
    elif run.tokenizer_hash != identity(exp.tokenizer):
        raise UserError(
            f"init.run: {run.workdir} has another vocabulary; set data.tokenizer.path={tokenizer_path(run.workdir)}"
        )
    lines = []

    def start(params):
        started, lines[:] = start_from(params, exp.model, run, config)
        return started

    plain = population.change(devices.plain(state), start)
    clock = make_clock(config, exp.phases)
    optimizers = (member.config.optimizer for member in population.members)
    rates = dict.fromkeys(learning_rates(schedule(optimizer, clock), config.steps) for optimizer in optimizers)
    if not config.init.optimizer:
        return devices.adopt(plain), [*lines, *how_read(run), step_origin(run, config.steps), *rates]
    taken, line = take_optimizer(config, population.states(plain)[0]["optimizer"], run, devices)
    taken = jax.tree.map(
        lambda x, like: np.broadcast_to(x, like.shape).astype(like.dtype), taken, {key: plain[key] for key in taken}
    )
    return devices.adopt(plain | taken), [*lines, *how_read(run), line, *rates]


def check_pieces(run, tokenizer):
    """Raises UserError, naming the first mismatch, unless a run's pieces have the same ids in `tokenizer`."""
    ours, theirs = (x.get_vocab(with_added_tokens=True) for x in (tokenizer, run.tokenizer))
    for piece in sorted(theirs, key=theirs.get):
        if ours.get(piece) != theirs[piece]:
            here = f"id {ours[piece]}" if piece in ours else "not there"
            raise UserError(
                f"init.grow: {piece!r} is id {theirs[piece]} in {run.workdir} and {here} in this run's tokenizer; "
                "data.tokenizer.path needs one that has all of its pieces at their ids, and new ones after them"
            )


def start_from(params, model, run, config):
    """Replaces initial parameters with a run's.

    Layers are stacked, so selecting some is an index: DistilBERT starts from layers 0, 2, 4, 7, 9, 11 of its teacher
    (extract_distilbert.py). With fewer than the model has, they are its first ones, and the others keep their initial
    values (GPT-1, Figure 2, left). A classifier's rows are reordered to match the task's classes, see `labels.match`; a
    regression's are scaled to this run's `task.scale`.

    Args:
      params: the initial parameters.
      model: the `Model` they belong to.
      run: a `runs.Run`.
      config: resolved; uses `init.layers`, which of the run's layers to take, from 0, (): all; `init.drop`, names of
        its parameters to leave out; `init.rename`, 'theirs=ours' for the rest; `init.fresh`, names of ours that keep
        their initial values regardless; `init.grow`, tables that may have more rows than its, whose rows come first;
        and `task`. In `init.drop` and `init.fresh`, 'heads' means every part outside the trunk where the models differ.

    Returns:
      The parameters, and log lines listing what was taken, renamed, grown, initialized from scratch and left out, and
      how else the two models differ.

    Raises:
      UserError: an unlisted tensor is missing, left over or has a different shape; the layers do not fit; class names
        differ.
    """
    ours, theirs = _named(params, model), _named(run.params, run.model)
    origin = _renamed(run.workdir, theirs, config)
    given = {name: theirs[old] for name, old in origin.items() if not _within(name, config.init.fresh)}
    trunk = run.model.config
    if any(_within(origin[name], ("generator_encoder",)) for name in given if _within(name, ("encoder",))):
        trunk = run.model.generator.trunk
    given |= choose_layers(model.config, run.workdir, trunk, given, config.init.layers, ours)
    parts = {_part(name) for name in ours} | set(TRUNK)
    if HEADS in config.init.drop:
        given = {name: y for name, y in given.items() if _part(name) in parts}
    anew = tuple(config.init.fresh)
    if HEADS in config.init.fresh:
        fits = lambda name: (
            name in given
            and (  # noqa: E731
                given[name].shape == ours[name].shape
                or _growing(name, given[name], ours[name], trunk) in config.init.grow
            )
        )
        anew += tuple({_part(name) for name in ours if not fits(name)} - set(TRUNK))
        given = {name: y for name, y in given.items() if not _within(name, anew)}

    taken, grown, missing, misshapen = {}, [], [], {}
    for name, x in ours.items():
        if name not in given:
            missing += [] if _within(name, anew) else [name]
            continue
        y = given[name]
        growing = _growing(name, y, x, trunk)
        if x.shape == y.shape:
            taken[name] = y
        elif growing in config.init.grow:
            taken[name] = jnp.asarray(x).at[: len(y)].set(y)
            grown.append(f"{name} {len(y):,} -> {len(x):,} rows")
        else:
            misshapen[name] = growing
    extra = [origin[name] for name in given if name not in ours]
    problems = []
    if missing:
        problems.append(f"{run.workdir} has no {_first(missing, ours)}")
    if misshapen:
        name, *more = misshapen
        shapes = f"{given[name].shape} in {run.workdir}, and {ours[name].shape} here"
        problems.append(f"{name} is {shapes}{_more(more)}")
    if extra:
        problems.append(f"{run.workdir} has {_first(extra, theirs)}, and this model has not")
    if problems:
        # The trunk gets no exceptions: the two models must agree on it.
        unlike = [*missing, *(name for name, growing in misshapen.items() if not growing)]
        lists = {
            "fresh": _whole([name for name in unlike if _part(name) not in TRUNK], ours),
            "grow": sorted({growing for growing in misshapen.values() if growing}),
            "drop": _whole([name for name in extra if _part(name) not in TRUNK], theirs),
        }
        flags = " ".join(
            f"--config.init.{key}={','.join([*config.init[key], *names])}" for key, names in lists.items() if names
        )
        hint = f"let the models agree, or allow it with {flags}"
        if any(_part(name) in TRUNK for name in (*unlike, *extra)):
            fields = differing(model.config, trunk)
            agree = " ".join(f"--config.model.{name}={getattr(trunk, name)}" for name in fields)
            hint = f"let the models agree{' with ' * bool(agree)}{agree}" + f", and allow the rest with {flags}" * bool(
                flags
            )
        raise UserError(f"init.run: {'; '.join(problems)}; {hint}")

    taken, classes = _classes_by_name(taken, run, config)
    chosen = _whole(taken, ours)
    if config.init.layers:
        layers = f" (layers {', '.join(map(str, config.init.layers))})"
        chosen = [name + layers * (name in ("encoder", "encoder/layers")) for name in chosen]
    renames = (entry.split("=") for entry in config.init.rename)
    told = {
        "renamed": [f"{old} -> {new}" for old, new in renames if any(_within(origin[name], (old,)) for name in taken)],
        "grown": grown,
        "anew": _whole(ours.keys() - taken.keys(), ours),
        "left out": _whole(theirs.keys() - {origin[name] for name in taken}, theirs),
    }
    if 0 < len(config.init.layers) < model.config.layers:
        told["anew"].append(f"encoder (layers from {len(config.init.layers)} on)")
    line = f"starts from {run.workdir}: {', '.join(chosen) or 'nothing'}"
    line += "".join(f"; {what}: {', '.join(names)}" for what, names in told.items() if names)
    started = jax.tree_util.tree_map_with_path(lambda path, x: taken.get(_owned(path_name(path), model), x), params)
    return started, [line, *classes, *_differences(model.config, trunk)]


def _classes_by_name(taken, run, config):
    """A source's parameters (name -> tensor) with classes in the task's order, and log lines about it."""
    rows = [name for name in taken if _within(name, labels.CLASSIFIERS)]
    if not rows:
        return taken, []
    if config.losses.regress:
        factor = run.config.task.get("scale", 1.0) / config.task.scale
        line = f"{run.workdir}: its scores are multiplied by {factor:g}, as task.scale says here"
        return taken | {name: factor * taken[name] for name in rows if factor != 1}, [line] if factor != 1 else []
    if not config.task.labels:  # a head no task reads
        return taken, []
    fresh = [name for name in labels.CLASSIFIERS if any(_within(row, (name,)) for row in rows)]
    hint = f"rename them, or start them anew with --config.init.fresh={','.join([*config.init.fresh, *fresh])}"
    order, line = labels.match(labels.of_run(run.config), config.task.labels, f"init.run: {run.workdir}", hint)
    return labels.reorder(taken, order), [line] if line else []


def _renamed(where, names, config):
    """Our name for each source parameter that is kept: {ours: theirs}."""
    renames, origin = [entry.split("=") for entry in config.init.rename], {}
    for name in names:
        if _within(name, config.init.drop):
            continue
        new = next((ours + name[len(theirs) :] for theirs, ours in renames if _within(name, (theirs,))), name)
        if new in origin:
            raise UserError(
                f"init.rename: {origin[new]} and {name} of {where} would both be {new}; add one of them to init.drop"
            )
        origin[new] = name
    return origin


def _differences(ours, theirs):
    """A log line, if any, naming the fields that affect computation and differ between two trunks."""
    shown = {*SHOWN} - ({"layers"} if ours.shares_as(theirs) else set())
    fields = (name for name in vars(ours) if name not in shown | TRAINED)
    values = ((name, getattr(ours, name), getattr(theirs, name)) for name in fields)
    told = [
        f"{name} {here}, there {there}"
        for name, here, there in values
        # The parameters already show whether there is a pooler.
        if here != there and (name != "pooler" or "none" not in (here, there))
    ]
    return [f"runs otherwise: {'; '.join(told)}"] if told else []


def choose_layers(config, where, source, given, layers, initial):
    """A trunk's layer parameters laid out for a trunk of `config`: one set for each of `layers`, then initial ones.

    Args:
      config: our trunk's.
      where: the folder their trunk comes from.
      source: their trunk's config.
      given: name -> tensor; 'encoder/layers/...' are read.
      layers: which of theirs; (): all. Where all layers share, depths may differ.
      initial: name -> our trunk's initial tensor.
    """
    stacked = {name: x for name, x in given.items() if _within(name, ("encoder/layers",))}
    if not stacked:
        return {}
    if not layers and config.shares_as(source):
        return stacked
    if not layers:
        if source.layers != config.layers:
            raise UserError(
                f"init.run: {where} has {source.layers} layers and model.layers={config.layers}; "
                "say which of them with init.layers"
            )
        layers = range(source.layers)
    elif config.share != "none":
        raise UserError(f"init.layers={tuple(layers)} choose a set for each layer, which needs model.share=none")
    if len(layers) > config.layers or not all(0 <= layer < source.layers for layer in layers):
        raise UserError(
            f"init.layers={tuple(layers)}: model.layers={config.layers} takes at most as many, from 0 to "
            f"{source.layers - 1}"
        )
    made = {}
    for name, x in stacked.items():
        part = name.split("/")[2]
        # Shared parameters: take the set of the layer's group.
        sets = source.sets(part)
        if sets == config.sets(part) and sets < source.layers:
            made[name] = x
            continue
        made[name] = jnp.asarray(x)[np.array([group_of(layer, sets, source.layers) for layer in layers])]
        if name in initial and initial[name].shape[1:] == x.shape[1:]:
            made[name] = jnp.concatenate([made[name], initial[name][len(layers) :]])
    return made


def how_read(run):
    """Log lines on how the parameters of `init.run` were read, see `runs.Run`."""
    if not run.renamed:
        return list(run.notes)
    return [
        f"renamed: {len(run.renamed)} kinds of tensors, such as {run.renamed[0]}; convert.py prints all",
        *run.notes,
    ]


def step_origin(run, steps):
    """A log line giving the current step and the step the parameters come from."""
    saved = "has no step" if run.step is None else f"was saved after step {run.step:,}"
    return f"step 0 of {steps:,} here; {run.workdir} {saved}, no optimizer state is taken"


def learning_rates(rate, steps):
    """A log line with a schedule's rates at the start, peak, halfway point and end.

    Args:
      rate: the output of `optimizers.schedule`.
      steps: the run's.
    """
    rates = np.asarray(rate(jnp.arange(steps + 1)))
    at = sorted({0, int(rates.argmax()), steps // 2, steps})
    return "learning rate: " + ", ".join(f"{rates[step]:.3g} at step {step:,}" for step in at)


def extension(config, saved, step):
    """Log lines on how a run of a different length continues to that of `config`, see run.extend; [] if unchanged.

    Args:
      config: the run's, resolved.
      saved: nested dict of JSON, the config of the restored checkpoint.
      step: of that checkpoint.

    Raises:
      UserError: steps already taken would have had other examples, or trained another part.
    """
    saved = complete(saved)
    old = config.copy_and_resolve_references()
    old.update(dict(steps=saved["steps"], ramp=saved["ramp"]))
    old.phases.update({name: tuple(values) for name, values in saved["phases"].items()})
    phases = plan_phases(config)
    if (old.steps, plan_phases(old)) == (config.steps, phases):
        return []
    where = f"run.extend, from steps={old.steps} to steps={config.steps} at step {step}"
    if config.steps < step:
        raise UserError(f"{where}: these steps are taken already; set steps to {step} or more")
    seen, planned = (taken_until(plan, step) for plan in (plan_phases(old), phases))
    for was, would_be in itertools.zip_longest(seen, planned):
        if was != would_be:
            raise UserError(
                f"{where}: {_examples(was)}, and would have been {_examples(would_be)}; set phases.lengths and "
                "phases.shares, or ramp, so that the steps taken have what they had"
            )
    stages = {min(step, round(config.generator.first_stage * steps)) for steps in (old.steps, config.steps)}
    if len(stages) > 1:
        raise UserError(f"{where}: generator.first_stage would end at another step; set it to another share")
    was, is_now = (schedule(one.optimizer, make_clock(one, plan_phases(one))) for one in (old, config))
    line = (
        f"extended from {old.steps:,} to {config.steps:,} steps at step {step:,}: its learning rate was "
        f"{float(was(step)):.3g}, is {float(is_now(step)):.3g}, at the end {float(is_now(config.steps)):.3g}"
    )
    if config.optimizer.unfreeze:
        line += "; optimizer.unfreeze is a share of the new steps"
    return [line]


def _examples(phase):
    if phase is None:
        return "nothing"
    return f"steps {phase.first} to {phase.last} had sequences of {phase.length} in batches of {phase.batch_size}"


def take_optimizer(config, ours, run, parallel):
    """The optimizer state and step of `init.run`, replacing those at step 0.

    Args:
      config: of the run that starts; `init.optimizer` is set.
      ours: plain optimizer state for this run's optimizer and parameters.
      run: the `runs.Run` of `init.run`.
      parallel: the devices to read it to.

    Returns:
      A dict with `optimizer` and `step`, plain, and a log line describing what was taken.

    Raises:
      UserError: the run has no optimizer state, or that of another optimizer or other parameters; it is already at
        this run's last step.
    """
    where = f"init.optimizer: {run.workdir}"
    changed = [f"init.{name}" for name in ("layers", "drop", "fresh", "rename", "grow") if config.init[name]]
    if changed:
        raise UserError(f"{where} is continued with all that it has: set {changed[0]}=() or init.optimizer=False")
    if run.step is None:
        raise UserError(f"{where} has no optimizer's state, but converted weights: set init.optimizer=False")
    if run.config.optimizer.name != config.optimizer.name:
        raise UserError(
            f"{where} was trained with optimizer.name={run.config.optimizer.name}, not {config.optimizer.name}"
        )
    if run.step >= config.steps:
        raise UserError(f"{where} is at step {run.step} already: set steps above that, which count from its first one")
    shapes = {"optimizer": ours, "step": np.int32(0)}
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), shapes)
    taken = load_state(run, parallel.like(shapes))
    rates = [
        float(schedule(one.optimizer, make_clock(one, plan_phases(one)))(run.step)) for one in (run.config, config)
    ]
    line = (
        f"goes on from step {run.step:,} of {run.workdir} to step {config.steps:,}, with its optimizer's state; the "
        f"learning rate was {rates[0]:.3g} there, is {rates[1]:.3g}"
    )
    return taken, line


def _named(params, model):
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {_owned(path_name(path), model): x for path, x in leaves}


def _owned(name, model):
    """A parameter's name, prefixed with generator_ for a generator's head."""
    return f"generator_{name}" if model.generator is not None and _within(name, GENERATOR_HEADS) else name


def _part(name):
    """The first component of a parameter's name: the part of the model it belongs to."""
    return name.split("/")[0]


def _within(name, prefixes):
    """Whether a name is one of `prefixes`, or lies under one."""
    return any(f"{name}/".startswith(f"{prefix}/") for prefix in prefixes)


def _growing(name, theirs, ours, trunk):
    """The entry of `init.grow` that lets a tensor have more rows, or None."""
    if len(theirs) >= len(ours) or theirs.shape[1:] != ours.shape[1:]:
        return None
    # A head's bias that includes positions (`predict_positions`) has them after the vocabulary, so it cannot grow.
    rows = {"positions": len(theirs), "vocabulary": trunk.vocab_size}
    return next((table for table, names in GROWING.items() if name in names and len(theirs) == rows[table]), None)


def _whole(names, everything):
    """The shortest prefixes, in order, that cover `names` and nothing else in `everything`."""

    def prefixes(name):
        parts = name.split("/")
        return ["/".join(parts[: i + 1]) for i in range(len(parts))]

    others = {prefix for name in everything if name not in names for prefix in prefixes(name)}
    return sorted({next(prefix for prefix in prefixes(name) if prefix not in others) for name in names})


def _first(names, everything):
    """The first of `names`, or its whole part if all of that is included, plus the number of others."""
    first = names[0].split("/")[0]
    if first not in _whole(names, everything):
        first = names[0]
    rest = [name for name in names if not _within(name, (first,))]
    return (first if "/" in first else f"part {first}") + _more(rest)


def _more(names):
    return f" (and {len(names)} more)" if names else ""
