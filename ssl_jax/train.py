"""THE loop. Read it from top to bottom: a run is opened, its programs compiled, its state restored or initialised; then
every step takes a batch, and now and then logs, evaluates and saves.

What a step computes is in step.py, what a config becomes in experiment.py.
"""

import contextlib
import json
import math
from pathlib import Path

import filelock
import jax
import numpy as np

from ssl_jax import evaluators, experiment, files, flops, footprint, logs, preemption, runs, source, start
from ssl_jax.checkpoints import EXTENDED, Checkpoints, anywhere, require_same
from ssl_jax.data.batches import prefetch
from ssl_jax.errors import NotFiniteError, UserError
from ssl_jax.meter import Meter
from ssl_jax.objectives import quotient
from ssl_jax.plan import cadence, overview
from ssl_jax.population import members as members_of
from ssl_jax.step import initial_state, make_measure, make_predict, make_train_step, restart_sums


def train(config, workdir):
    """Trains `config` in `workdir` to the end; the same command resumes from the newest checkpoint.

    Returns:
      The final held-out metrics by name, as in result.json (on process 0; the others return {}), of several members what
      `logs.conclude` returns; None when SIGTERM stopped the run, which is saved then.

    Raises:
      UserError: see `experiment.open`, `start.start_from`, `Checkpoints.restore`; or the loss is not finite; or another
        process is training in `workdir`, or it holds converted weights. A run that has not begun leaves no `workdir`.
      KeyboardInterrupt: Ctrl-C stopped the run, which is saved, as its message says.
    """
    workdir = Path(workdir)
    require_same(_without_places(json.loads(config.to_json())))
    if runs.is_converted(workdir):
        raise UserError(
            f"{workdir} holds converted weights: start from them with --config.init.run={workdir} and another --workdir"
        )
    if jax.process_index() == 0:
        files.require_creatable(workdir)  # before the corpus is prepared, which may take hours
    with claimed(workdir) as claim:
        return train_members(config, workdir, claim)


@contextlib.contextmanager
def claimed(workdir):
    """Yields `claim()`, which makes and locks a run's folder; one that exists is locked at once.

    The system releases the lock however the process ends.

    Raises:
      UserError: another process is training in it.
    """
    lock = filelock.FileLock(workdir / "lock", timeout=0)

    def claim():
        workdir.mkdir(parents=True, exist_ok=True)
        if jax.process_index() == 0 and not lock.is_locked:
            lock.acquire()

    try:
        if (workdir / "lock").exists():
            claim()
        yield claim
    except filelock.Timeout as error:
        raise UserError(f"another process is training in {workdir}; use another --workdir") from error
    finally:
        lock.release()


def _without_places(values):
    """A config as nested dict of JSON without what may differ from host to host: where data lie."""
    values["data"]["root"] = values["task"]["folder"] = values["task"]["augmented"] = ""
    return values


def train_members(config, workdir, claim):
    """Trains all members together; one by one where the config says so, or where they do not fit in the devices' memory."""
    members = members_of(config)
    if len(members) == 1 or config.run.together:
        try:
            return run(experiment.open(config, workdir), workdir, claim)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            if len(members) == 1:
                raise UserError(
                    "the devices' memory is full: set run.accumulate=2 or more, model.remat=True, or a smaller batch_size"
                ) from error
        what = f"{len(members)} {'members' if config.members else 'seeds'}"
        logs.say(f"{what} do not fit in the devices' memory together: one by one")

    def claim_all():
        claim()
        if jax.process_index() == 0:
            files.write_json(workdir / "config.json", {"config": json.loads(config.to_json()), **logs.provenance()})

    results, failed = [], []
    for member in members:
        folder = workdir / member.name
        try:
            results.append(run(experiment.open(member.config, folder), folder, claim_all))
        except NotFiniteError as error:  # it does not end the others
            logs.say(f"{member.name}: {error}")
            results.append({})
            failed.append(error)
        if results[-1] is None:
            return None
    if len(failed) == len(members):
        raise failed[-1]
    return logs.conclude(workdir, members, results, config)


def run(exp, workdir, claim):
    """Trains an opened `Experiment` in `workdir`, see `train`; `claim()` makes the folder."""
    config, devices, population = exp.config, exp.devices, exp.population

    # ---- Compiled programs; teachers' parameters are arguments, not constants
    def with_teachers(program):
        return lambda params, batch: program(params, batch, exp.teachers)

    train_step = population.compile(lambda config: make_train_step(*exp.of(config).pure))
    measures, predicts = (
        map(with_teachers, population.compile_each(lambda config, make=make: make(*exp.of(config).pure)))
        for make in (make_measure, make_predict)
    )
    evals = [
        evaluators.from_config(exp.of(member.config), evaluators.Programs(measure, predict))
        for member, measure, predict in zip(population.members, measures, predicts, strict=True)
    ]

    # ---- State: resumed, or started from init.run, or initial
    # Jitted, so that it is traced once, for its shapes and for the state.
    create = jax.jit(population.begin(lambda seed: initial_state(config, exp.model, exp.vocabulary, seed)))
    # What does not fit is refused before there is a folder.
    state, origin = (None, []) if source.steps_in(workdir) else start.begin(exp, create)
    claim()
    checkpoints = Checkpoints(
        workdir, exp.fingerprint, config.run.keep_checkpoints, free=EXTENDED if config.run.extend else ()
    )
    shapes = jax.eval_shape(create)
    restored = checkpoints.restore(devices.like(shapes))
    if restored is not None:
        origin = start.extension(config, checkpoints.restored_config, checkpoints.restored)
        restored, lines = restart_sums(restored, checkpoints.restored, config)
        state, origin = devices.adopt(restored), origin + lines
    elif state is None:
        state, origin = start.begin(exp, create)
    first = int(population.read(state["step"])[0])
    runs.write_description(config, workdir, exp.prepared)

    # ---- What it says and writes
    log = logs.Log(workdir, first, config.steps, population.members, checkpoints.restored_log())
    parameters = flops.count_parameters(shapes["params"]) // len(population.members)
    meter = Meter(config, exp.model, devices.device_count, exp.teacher_models)

    def evaluate(done, length, last):
        for name, evaluator in evals[0].items():  # all members have the same
            if evaluator.at_end and not last:
                continue
            log.doing(f"evaluating {name}")
            each = zip(evals, population.params(state), log.folders, strict=True)
            values = [dict(own[name].run(params, length, folder)) for own, params, folder in each]
            if not any(all(map(math.isfinite, own.values())) for own in values):
                raise NotFiniteError(f"{name} metrics after step {done} are not finite: {values[0]}")
            if values[0]:  # a test set has none
                log.metrics(done, name, {key: [own[key] for own in values] for key in values[0]})
        log.draw_curves(last)

    log_every, evaluate_every, checkpoint_every = (
        cadence(config, name) for name in ("log_every", "evaluate_every", "checkpoint_every")
    )

    # ---- The loop: batch(step) is pure, so the step is the cursor
    loss = None
    with contextlib.closing(checkpoints), contextlib.closing(log), preemption.Watch() as watch:
        announce(exp, workdir, parameters, first, [*origin, *exp.notes()], resumed=restored is not None)
        for step, batch in meter.timed(prefetch(exp.batch, first, config.steps)):
            previous, phase, done = loss, exp.phase(step), step + 1
            state, loss = train_step(state, devices.put_batch(batch), exp.teachers)
            # One step behind, so that the device always has the next one to do.
            losses = require_finite(previous, step, population, checkpoints)
            meter.count(batch)
            log.advance(losses)

            last, stopping = done == config.steps, watch.requested(done)
            if step in (first, phase.first):
                devices.read(loss)
                footprint.write_seen(exp, workdir, phase, shapes)
                meter.restart()  # compiling is not training
            if last or done % log_every == 0:
                require_finite(loss, done, population, checkpoints)
                sums = {name: zip(*map(population.read, pair), strict=True) for name, pair in state["sums"].items()}
                log.training(
                    done, {name: [quotient(*own) for own in pairs] for name, pairs in sums.items()}, meter.values()
                )
            if last or done % evaluate_every == 0:
                evaluate(done, phase.length, last)
                meter.restart()
            late = checkpoints.late(done, config.run.checkpoint_minutes)
            if last or stopping or late or done % checkpoint_every == 0:
                require_finite(loss, done, population, checkpoints)
                checkpoints.save(done, devices.plain(state), log.content())
            if stopping and not last:
                checkpoints.wait()
                watch.leave(f"step {done} of {config.steps} is saved in {checkpoints.folder}; the same command resumes")
                return None

        # ---- Results
        if first == config.steps and anywhere(log.lacks(config.steps, "heldout")):
            # The run was shortened to a step without an evaluation, or its line was lost.
            evaluate(config.steps, exp.phases[-1].length, True)
        checkpoints.wait()
        runs.write_members(exp, workdir, state, log.content())
        results = log.results(exp.stores["heldout"].chance if exp.kind == "task" else None)
        return logs.conclude(workdir, population.members, results, config)


def announce(exp, workdir, parameters, first, origin, resumed):
    """Says what the run will do, before anything is compiled; `origin`, lines that say what it starts from."""
    for line in origin:
        logs.say(line)
    if first == exp.config.steps:
        logs.say(f"{workdir} is finished: it has no step left to do")
        return
    kinds = [jax.devices()[0].device_kind] * exp.devices.device_count
    for line in overview(exp.config, workdir, parameters, kinds, exp.stores["train"].contents):
        logs.say(line)
    logs.say(f"{'resumed' if resumed else 'started'} at step {first} of {exp.config.steps}; compiling")


def require_finite(loss, done, population, checkpoints):
    """Raises NotFiniteError, with the last good checkpoint, when no member's loss of step `done` (None: none yet) is finite.

    Steps are counted as in the metrics: `done` steps have been taken.

    Returns:
      Each member's loss, [N]; None before the first step.
    """
    losses = None if loss is None else population.read(loss)
    if losses is None or np.isfinite(losses).any():
        return losses
    newest = checkpoints.newest()
    raise NotFiniteError(
        f"the loss or a gradient is not finite at step {done}; last good checkpoint: {newest or 'none yet'}; "
        "try a lower optimizer.learning_rate or a longer optimizer.warmup"
    )
