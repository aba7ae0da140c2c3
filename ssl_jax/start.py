"""Starts a run from the parameters of another, in one strict merge: every tensor fits, or the config lists it.

A parameter is called by its path, 'embeddings/position'; a listed name stands for all that lies under it. The heads
that belong to a generator are called 'generator_mlm' and 'generator_baseline': they never pass for a trunk's own.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax import labels
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
    """The state at the start of a run, on the devices, and lines that say what it starts from.

    That is step 0 with the parameters of `init_from`, if there is one, in place of the initial ones; with
    `init_optimizer` also its step and its optimizer's state.

    Args:
      exp: an `Experiment`.
      create: makes the initial state.

    Raises:
      UserError: the source has another vocabulary; see `start_from`, `check_pieces`, `take_optimizer`.
    """
    config, devices, seeds = exp.config, exp.devices, exp.seeds
    state = devices.create(create)
    if not config.init_from:
        return state, []
    run = load_run(config.init_from, devices)
    if "vocabulary" in config.init_grow:
        check_pieces(run, exp.tokenizer)
    elif run.tokenizer_hash != identity(exp.tokenizer):
        raise UserError(
            f"init_from: {run.workdir} has another vocabulary; set data.tokenizer.path={tokenizer_path(run.workdir)}"
        )
    lines = []

    def start(params):
        started, lines[:] = start_from(params, exp.model, run, config)
        return started

    plain = seeds.change(devices.plain(state), start)
    rates = learning_rates(schedule(config.optimizer, make_clock(config, exp.phases)), config.steps)
    if not config.init_optimizer:
        return devices.adopt(plain), [*lines, *how_read(run), step_origin(run, config.steps), rates]
    taken, line = take_optimizer(config, seeds.states(plain)[0]["optimizer"], run, devices)
    taken = jax.tree.map(
        lambda x, like: np.broadcast_to(x, like.shape).astype(like.dtype), taken, {key: plain[key] for key in taken}
    )
    return devices.adopt(plain | taken), [*lines, *how_read(run), line, rates]


def check_pieces(run, tokenizer):
    """Raises UserError, naming the first that has not, unless a run's pieces have the same ids in `tokenizer`."""
    ours, theirs = (x.get_vocab(with_added_tokens=True) for x in (tokenizer, run.tokenizer))
    for piece in sorted(theirs, key=theirs.get):
        if ours.get(piece) != theirs[piece]:
            here = f"id {ours[piece]}" if piece in ours else "not there"
            raise UserError(
                f"init_grow: {piece!r} is id {theirs[piece]} in {run.workdir} and {here} in this run's tokenizer; "
                "data.tokenizer.path needs one that has all of its pieces at their ids, and new ones after them"
            )


def start_from(params, model, run, config):
    """Puts a run's parameters in the place of initial ones.

    With stacked layers a choice of them is an index: DistilBERT's start is layers 0, 2, 4, 7, 9, 11 of its teacher
    (extract_distilbert.py). A classifier's rows are put in the order of the task's classes, see `labels.match`, and
    those of a regression are scaled to this run's `task.scale`.

    Args:
      params: the initial parameters.
      model: the `Model` that they are of.
      run: a `runs.Run`.
      config: has, resolved, `init_layers`, which of its layers, from 0, (): all; `init_drop`, names of its that are
        left out; `init_rename`, 'theirs=ours' of all others; `init_anew`, names of ours that keep their initial
        values, whatever it has; `init_grow`, tables that may have more rows than its, whose rows come first; and
        `task`. In the first two lists 'heads' stands for all parts but the trunk that the two models do not have alike.

    Returns:
      The parameters, and lines that say what was taken, renamed, grown, starts anew and was left out, and in what else
      the two models differ.

    Raises:
      UserError: a tensor is missing, left over or of another shape, and not listed; the layers do not fit; classes
        have other names.
    """
    ours, theirs = _named(params, model), _named(run.params, run.model)
    origin = _renamed(run.workdir, theirs, config)
    given = {name: theirs[old] for name, old in origin.items() if not _within(name, config.init_anew)}
    trunk = run.model.config
    if any(_within(origin[name], ("generator_encoder",)) for name in given if _within(name, ("encoder",))):
        trunk = run.model.generator.trunk
    given |= choose_layers(model.config, run.workdir, trunk, given, config.init_layers)
    parts = {_part(name) for name in ours} | set(TRUNK)
    if HEADS in config.init_drop:
        given = {name: y for name, y in given.items() if _part(name) in parts}
    anew = tuple(config.init_anew)
    if HEADS in config.init_anew:
        fits = lambda name: (
            name in given
            and (  # noqa: E731
                given[name].shape == ours[name].shape
                or _growing(name, given[name], ours[name], trunk) in config.init_grow
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
        elif growing in config.init_grow:
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
        # Of a trunk nothing is left to chance: what differs there is for the two models to agree on.
        unlike = [*missing, *(name for name, growing in misshapen.items() if not growing)]
        lists = {
            "init_anew": _whole([name for name in unlike if _part(name) not in TRUNK], ours),
            "init_grow": sorted({growing for growing in misshapen.values() if growing}),
            "init_drop": _whole([name for name in extra if _part(name) not in TRUNK], theirs),
        }
        flags = " ".join(f"--config.{key}={','.join([*config[key], *names])}" for key, names in lists.items() if names)
        hint = f"let the models agree, or allow it with {flags}"
        if any(_part(name) in TRUNK for name in (*unlike, *extra)):
            fields = differing(model.config, trunk)
            agree = " ".join(f"--config.model.{name}={getattr(trunk, name)}" for name in fields)
            hint = f"let the models agree{' with ' * bool(agree)}{agree}" + f", and allow the rest with {flags}" * bool(
                flags
            )
        raise UserError(f"init_from: {'; '.join(problems)}; {hint}")

    taken, classes = _classes_by_name(taken, run, config)
    chosen = _whole(taken, ours)
    if config.init_layers:
        layers = f" (layers {', '.join(map(str, config.init_layers))})"
        chosen = [name + layers * (name in ("encoder", "encoder/layers")) for name in chosen]
    renames = (entry.split("=") for entry in config.init_rename)
    told = {
        "renamed": [f"{old} -> {new}" for old, new in renames if any(_within(origin[name], (old,)) for name in taken)],
        "grown": grown,
        "anew": _whole(ours.keys() - taken.keys(), ours),
        "left out": _whole(theirs.keys() - {origin[name] for name in taken}, theirs),
    }
    line = f"starts from {run.workdir}: {', '.join(chosen) or 'nothing'}"
    line += "".join(f"; {what}: {', '.join(names)}" for what, names in told.items() if names)
    started = jax.tree_util.tree_map_with_path(lambda path, x: taken.get(_owned(path_name(path), model), x), params)
    return started, [line, *classes, *_differences(model.config, trunk)]


def _classes_by_name(taken, run, config):
    """A source's parameters (name -> tensor) with its classes in the order of the task's, and lines that say so."""
    rows = [name for name in taken if _within(name, labels.CLASSIFIERS)]
    if not rows:
        return taken, []
    if config.losses.regress:
        factor = run.config.task.get("scale", 1.0) / config.task.scale
        line = f"{run.workdir}: its scores are multiplied by {factor:g}, as task.scale says here"
        return taken | {name: factor * taken[name] for name in rows if factor != 1}, [line] if factor != 1 else []
    if not config.task.labels:  # a head that no task reads
        return taken, []
    fresh = [name for name in labels.CLASSIFIERS if any(_within(row, (name,)) for row in rows)]
    hint = f"rename them, or start them anew with --config.init_anew={','.join([*config.init_anew, *fresh])}"
    order, line = labels.match(labels.of_run(run.config), config.task.labels, f"init_from: {run.workdir}", hint)
    return labels.reorder(taken, order), [line] if line else []


def _renamed(where, names, config):
    """Our name for each of a source's parameters that is not left out: {ours: theirs}."""
    renames, origin = [entry.split("=") for entry in config.init_rename], {}
    for name in names:
        if _within(name, config.init_drop):
            continue
        new = next((ours + name[len(theirs) :] for theirs, ours in renames if _within(name, (theirs,))), name)
        if new in origin:
            raise UserError(
                f"init_rename: {origin[new]} and {name} of {where} would both be {new}; add one of them to init_drop"
            )
        origin[new] = name
    return origin


def _differences(ours, theirs):
    """Nothing, or a line: in which fields two trunks differ that decide what they compute."""
    fields = (name for name in vars(ours) if name not in {*SHOWN} | TRAINED)
    values = ((name, getattr(ours, name), getattr(theirs, name)) for name in fields)
    told = [
        f"{name} {here}, there {there}"
        for name, here, there in values
        # Whether there is a pooler its parameters show.
        if here != there and (name != "pooler" or "none" not in (here, there))
    ]
    return [f"runs otherwise: {'; '.join(told)}"] if told else []


def choose_layers(config, where, source, given, layers):
    """The parameters of a trunk's layers as a trunk of `config` has them: of `layers`, one set for each.

    Args:
      config: of our trunk.
      where: the folder that theirs is from.
      source: of their trunk.
      given: name -> tensor; 'encoder/layers/...' are read.
      layers: which of theirs; (): all.
    """
    stacked = {name: x for name, x in given.items() if _within(name, ("encoder/layers",))}
    if not stacked:
        return {}
    if not layers:
        if source.layers != config.layers:
            raise UserError(
                f"init_from: {where} has {source.layers} layers and model.layers={config.layers}; "
                "say which of them with init_layers"
            )
        layers = range(source.layers)
    elif config.share != "none":
        raise UserError(f"init_layers={tuple(layers)} choose a set for each layer, which needs model.share=none")
    if len(layers) != config.layers or not all(0 <= layer < source.layers for layer in layers):
        raise UserError(
            f"init_layers={tuple(layers)}: model.layers={config.layers} needs as many, from 0 to {source.layers - 1}"
        )
    made = {}
    for name, x in stacked.items():
        part = name.split("/")[2]
        # Shared parameters: the set of the layer's group.
        sets = source.sets(part)
        if sets == config.sets(part) and sets < source.layers:
            made[name] = x
        else:
            made[name] = jnp.asarray(x)[np.array([group_of(layer, sets, source.layers) for layer in layers])]
    return made


def how_read(run):
    """Lines on how the parameters of `init_from` were read, see `runs.Run`."""
    if not run.renamed:
        return list(run.notes)
    return [
        f"renamed: {len(run.renamed)} kinds of tensors, such as {run.renamed[0]}; convert.py prints all",
        *run.notes,
    ]


def step_origin(run, steps):
    """A line: which step this is, and which one the parameters are from."""
    saved = "has no step" if run.step is None else f"was saved after step {run.step:,}"
    return f"step 0 of {steps:,} here; {run.workdir} {saved}, no optimizer state is taken"


def learning_rates(rate, steps):
    """A line with a schedule's rates at the start, at its peak, half-way and at the end.

    Args:
      rate: what `optimizers.schedule` gives.
      steps: of the run.
    """
    rates = np.asarray(rate(jnp.arange(steps + 1)))
    at = sorted({0, int(rates.argmax()), steps // 2, steps})
    return "learning rate: " + ", ".join(f"{rates[step]:.3g} at step {step:,}" for step in at)


def extension(config, saved, step):
    """Lines on how a run of another length goes on to that of `config`, see run.extend; [] where it is the same.

    Args:
      config: the run's, resolved.
      saved: nested dict of JSON, the config of the checkpoint that was restored.
      step: of that checkpoint.

    Raises:
      UserError: steps that were taken would have other examples, or train another part.
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
    """The state of `init_from`'s optimizer and its step, in the place of those at step 0.

    Args:
      config: of the run that starts; `init_optimizer` is set.
      ours: a plain optimizer's state, of this run's optimizer and parameters.
      run: the `runs.Run` of `init_from`.
      parallel: where it is read to.

    Returns:
      A dict with `optimizer` and `step`, plain, and a line that says what was taken.

    Raises:
      UserError: the run has none, or one of another optimizer or of other parameters; it has as many steps as this run.
    """
    where = f"init_optimizer: {run.workdir}"
    changed = [name for name in ("init_layers", "init_drop", "init_anew", "init_rename", "init_grow") if config[name]]
    if changed:
        raise UserError(f"{where} is continued with all that it has: set {changed[0]}=() or init_optimizer=False")
    if run.step is None:
        raise UserError(f"{where} has no optimizer's state, but converted weights: set init_optimizer=False")
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
    """A parameter's name, which tells whose head it is of."""
    return f"generator_{name}" if model.generator is not None and _within(name, GENERATOR_HEADS) else name


def _part(name):
    """The top of a parameter's name: which part of the model it is of."""
    return name.split("/")[0]


def _within(name, prefixes):
    """Whether a name is one of `prefixes`, or lies under one."""
    return any(f"{name}/".startswith(f"{prefix}/") for prefix in prefixes)


def _growing(name, theirs, ours, trunk):
    """Which entry of `init_grow` lets a tensor have more rows; None: none does."""
    if len(theirs) >= len(ours) or theirs.shape[1:] != ours.shape[1:]:
        return None
    # A head's bias that counts positions, too (`predict_positions`), has them behind the vocabulary: it cannot grow.
    rows = {"positions": len(theirs), "vocabulary": trunk.vocab_size}
    return next((table for table, names in GROWING.items() if name in names and len(theirs) == rows[table]), None)


def _whole(names, everything):
    """The shortest prefixes, in order, that stand for `names` and for nothing else of `everything`."""

    def prefixes(name):
        parts = name.split("/")
        return ["/".join(parts[: i + 1]) for i in range(len(parts))]

    others = {prefix for name in everything if name not in names for prefix in prefixes(name)}
    return sorted({next(prefix for prefix in prefixes(name) if prefix not in others) for name in names})


def _first(names, everything):
    """The first of `names`, by its part where all of that is among them, and how many there are beside it."""
    first = names[0].split("/")[0]
    if first not in _whole(names, everything):
        first = names[0]
    rest = [name for name in names if not _within(name, (first,))]
    return (first if "/" in first else f"part {first}") + _more(rest)


def _more(names):
    return f" (and {len(names)} more)" if names else ""
