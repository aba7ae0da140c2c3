"""THE loop: it pre-trains whatever the config says. Read it from top to bottom.

The step in words: corrupt the batch; one forward pass makes `out`; the objectives that the config names
make terms of it, those of distillation beside what a teacher made of the same batch; the loss is their
weighted sum, each normalised once over the global batch; gradients; optax. Nothing else knows which paper
is running.
"""

import importlib
import json
import math
import os
import signal
import threading
import time
from pathlib import Path

import filelock
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.experimental import multihost_utils

from ssl_jax import (
    corruption, distill, evaluators, files, flops, logs, runs, source, start, teacher_cache, tokenizers, two_stage,
)  # fmt: skip
from ssl_jax.bounds import check_values
from ssl_jax.checkpoints import EXTENDED, Checkpoints, anywhere, decisive_values, require_same
from ssl_jax.data import batches, tasks, tokens
from ssl_jax.errors import NotFiniteError, UserError
from ssl_jax.losses import task_logits
from ssl_jax.models.model import build_model, dummy_batch, flatten_choices
from ssl_jax.models.neighbours import attend_to_neighbours
from ssl_jax.objectives import OBJECTIVES, OPTIONS, quotient
from ssl_jax.optimizers import build_optimizer, drop_frozen, schedule
from ssl_jax.parallel import build_parallel
from ssl_jax.plan import (
    cadence, check, check_vocabulary, example_kind, make_clock, masks, overview, plan_phases, predictions_per_sequence,
    settle,
)  # fmt: skip
from ssl_jax.seeds import Seeds

# The run's seed is folded with one of these, so that no two uses of randomness share numbers.
INITIALISATION, CORRUPTION, DROPOUT = range(3)


def token_counts(config, prepared, vocabulary):
    """How often each token occurs in the training text, [V]; None where nobody asks."""
    if config.generator.kind != "unigram" and not config.corruption.smoothing:
        return None
    return tokens.Store(prepared, "train").counts(vocabulary.size)


def make_corrupt(config, vocabulary, counts=None):
    """Returns the pure `corrupt(batch)`: what the config hides from the model.

    `counts`: see `token_counts`.
    """
    if not masks(config):
        return corruption.next_tokens if config.model.causal else lambda batch: batch
    key = stream(config.seed, CORRUPTION)

    def corrupt(batch):
        batch = corruption.mask_tokens(batch, vocabulary, key, counts, **config.corruption)
        if config.generator.kind in ("unigram", "uniform"):
            frequency = jnp.zeros(vocabulary.size) if counts is None else jnp.log(jnp.asarray(counts, jnp.float32))
            logits = jnp.broadcast_to(frequency, (*batch["positions"].shape, vocabulary.size))
            batch["replacements"] = corruption.sample(logits, batch["keys"], config.generator.temperature)
        return batch

    return corrupt


def make_forward(config, model, teach=None):
    """Returns the pure `forward(params, batch, rngs, teachers)`: `out`, and the Terms of the objectives with a weight.

    They are a dict by name. `teach(out, batch, teachers)` makes `out['teacher']`, see distill.py; None: none reads it.
    """
    names = [name for name, weight in config.losses.items() if weight]
    options = {name: {key: config[block][key] for key, block in OPTIONS.get(name, {}).items()} for name in names}

    def forward(params, batch, rngs, teachers=()):
        # Here alone: batches are cut over devices and micro-batches by examples.
        batch = flatten_choices(batch)
        out = model.apply({"params": params}, batch, rngs=rngs)
        if teach is not None:
            out["teacher"] = teach(out, batch, teachers)
        return out, {name: OBJECTIVES[name](out, batch, **options[name]) for name in names}

    return forward


def make_terms(config, model, teach=None):
    """Returns the pure `terms(params, batch, rngs, teachers)`, the terms of `make_forward` alone."""
    forward = make_forward(config, model, teach)
    return lambda params, batch, rngs, teachers=(): forward(params, batch, rngs, teachers)[1]


def sums_of(terms):
    """Terms as name -> (sum, weight): `mlm_loss`, `mlm_accuracy` and so on."""
    sums = {}
    for name, term in terms.items():
        sums[f"{name}_loss"] = (term.sum, term.weight)
        sums |= {f"{name}_{metric}": value for metric, value in term.metrics.items()}
    return sums


def split(batch, parts):
    """[B, ...] to [parts, B / parts, ...]: every parts-th row, so that a device's rows stay on it."""
    return jax.tree.map(lambda x: x.reshape(-1, parts, *x.shape[1:]).swapaxes(0, 1), batch)


def make_train_step(config, model, vocabulary, counts=None, teach=None):
    """Returns the pure `step(state, batch, teachers, total, shard) -> (state, loss)`; see parallel.py for the last two.

    How the batch is cut decides nothing but the order of float sums: every random choice about an example, dropout
    included, is keyed by its number.

    `teachers` are the teachers' parameters, for `teach`. The returned loss is NaN when the loss or a gradient is not finite.
    """
    corrupt, terms = make_corrupt(config, vocabulary, counts), make_terms(config, model, teach)
    clock = make_clock(config, plan_phases(config))
    optimizer, learning_rate = build_optimizer(config.optimizer, clock), schedule(config.optimizer, clock)
    stages, log_every = two_stage.build(config), cadence(config, "log_every")

    def step(state, batch, teachers=(), *, total, shard):
        del shard
        # The same on every device and in every micro-batch: the examples' numbers tell their masks apart.
        rngs = {"dropout": jax.random.fold_in(stream(state["seed"], DROPOUT), state["step"])}
        stage = stages(state["step"])
        params = stage.begin(state["params"])
        batch = corrupt(batch)
        # Weights depend on the batch alone: XLA prunes the model from this pass, and every micro-batch on
        # every device divides by the same global count.
        weights = {name: term.weight for name, term in terms(params, batch, {}, teachers).items()}
        weights = jax.tree.map(lambda x: jnp.maximum(x, 1.0), total(weights))
        devices = total(1)

        def loss(params, batch):
            made = terms(params, batch, rngs, teachers)
            value = 0.0
            for name, term in made.items():
                if config.loss_average == "device":  # the originals' mean of per-core means
                    weight = jnp.maximum(term.weight, 1.0) * devices * config.accumulate
                else:
                    weight = weights[name]
                value += stage.weight(name) * term.sum / weight
            return value, sums_of(made)

        def gradients_of(batch):
            (_, sums), gradients = jax.value_and_grad(loss, has_aux=True)(params, batch)
            return drop_frozen(config.optimizer, gradients), sums

        if config.accumulate == 1:
            made = gradients_of(batch)
        else:
            shapes = jax.eval_shape(gradients_of, batch)
            made, _ = lax.scan(
                lambda made, part: (jax.tree.map(jnp.add, made, gradients_of(part)), None),
                jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes),
                split(batch, config.accumulate),
            )
        gradients, sums = total(made)

        value = sum(stage.weight(name) * sums[f"{name}_loss"][0] / weights[name] for name in weights)
        norm = optax.global_norm(gradients)
        updates, optimizer_state = optimizer.update(gradients, state["optimizer"], params)
        sums |= {
            "loss": (value, 1.0),
            "gradient_norm": (norm, 1.0),
            "learning_rate": (learning_rate(state["step"]), 1.0),
        }
        keep = state["step"] % log_every != 0  # after a line of metrics the sums start again
        state = {
            "seed": state["seed"],
            "step": state["step"] + 1,
            "params": optax.apply_updates(params, stage.trained(updates)),
            "optimizer": optimizer_state,
            "sums": jax.tree.map(lambda old, new: old * keep + new, state["sums"], sums),
        }
        return state, jnp.where(jnp.isfinite(norm), value, jnp.nan)

    return step


def make_measure(config, model, vocabulary, counts=None, teach=None):
    """Returns the pure `measure(params, batch, teachers, total, shard)`: the same objectives, without dropout."""
    corrupt, terms = make_corrupt(config, vocabulary, counts), make_terms(config, model, teach)

    def measure(params, batch, teachers=(), *, total, shard):
        del shard
        return total(sums_of(terms(params, corrupt(batch), {}, teachers)))

    return measure


def make_predict(config, model, vocabulary, counts=None, teach=None):
    """Returns the pure `predict(params, batch, teachers, total, shard)`: `measure`'s sums, and a task's logits.

    The logits [B, ...] are those of all rows of the global batch, in their order, on every device; scores are in the
    units of the task's labels.
    """
    corrupt, forward = make_corrupt(config, vocabulary, counts), make_forward(config, model, teach)
    logits, scale = task_logits(config), config.task.scale if config.losses.regress else 1.0

    def predict(params, batch, teachers=(), *, total, shard):
        out, terms = forward(params, corrupt(batch), {}, teachers)
        # Of choices each has a row of its own.
        made = scale * out[logits].reshape(len(batch["index"]), -1)
        return total(sums_of(terms)), every_row(made, total, shard)

    return predict


def every_row(x, total, shard):
    """This device's rows [b, ...] beside all others', [devices * b, ...], where they were in the global batch."""
    rows = jnp.zeros((total(1), *x.shape), x.dtype).at[shard()].set(x)
    return total(rows).reshape(-1, *x.shape[1:])


def stream(seed, use):
    """The key of one use of randomness in a run."""
    return jax.random.fold_in(jax.random.key(seed), use)


def initial_params(config, model, seed=None):
    """The parameters at step 0, from a seed, by default the config's."""
    seed = config.seed if seed is None else seed
    params = model.init(stream(seed, INITIALISATION), dummy_batch(model.orders))["params"]
    if model.config.neighbours:
        params = attend_to_neighbours(params, model.config)
    generator = model.generator
    if generator is not None and generator.trunk.neighbours and generator.tying != "all":
        tables = "embeddings" if generator.tying == "embeddings" else "generator_embeddings"
        params = attend_to_neighbours(params, generator.trunk, "generator_encoder", tables)
    return params


def initial_state(config, model, vocabulary, seed=None):
    """Step 0 of a seed, by default the config's: parameters, optimizer state, and the sums since the last line, all 0."""
    seed = config.seed if seed is None else seed
    params = initial_params(config, model, seed)
    # Names and shapes of the sums do not depend on the teacher.
    counts = jnp.ones(vocabulary.size) if config.corruption.smoothing else None
    measure = make_measure(config, model, vocabulary, counts, distill.own_outputs)
    # Those of the shares of labels do depend on how many choices there are.
    batch = dummy_batch(config.task.classes if config.losses.choose else model.orders)
    sums = jax.eval_shape(lambda: measure(params, batch, total=lambda x: x, shard=None))
    alone = {name: (jnp.zeros(()), jnp.zeros(())) for name in ("loss", "gradient_norm", "learning_rate")}
    optimizer = build_optimizer(config.optimizer, make_clock(config, plan_phases(config)))
    return {
        "seed": jnp.asarray(seed, jnp.uint32),
        "step": jnp.zeros((), jnp.int32),
        "params": params,
        "optimizer": optimizer.init(params),
        "sums": jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), sums) | alone,
    }


def build_evaluators(setting):
    """name -> evaluator: the module of ssl_jax.evaluators that each entry of `config.evals` names."""
    made = {}
    for name, options in setting.config.evals.items():
        module = importlib.import_module(f"ssl_jax.evaluators.{options.module}")
        made[name] = module.Evaluator(setting, **{key: value for key, value in options.items() if key != "module"})
    return made


def decisive(config, prepared, stores, teachers=()):
    """What decides the run's numbers, as a JSON-able dict: the config's `decisive_values`, the data's and teachers' hashes."""
    values = json.loads(config.to_json())
    values["teacher"] |= {"runs": [run.params_hash for run in teachers], "cache": ""}
    if config.init_from in config.teacher.runs:
        values["init_from"] = "teacher"
    passport = tokens.read_passport(prepared)
    hashes = {name: passport[name] for name in ("content_hash", "tokenizer_hash")}
    if config.data.examples == "task":
        hashes["task"] = {split: store.content_hash for split, store in stores.items()}
    return decisive_values(values) | {"prepared": hashes}


def train(config, workdir):
    """Runs `config` in `workdir`, from its newest checkpoint if there is one, to the end.

    Returns:
      The final held-out metrics by name, as in result.json (on process 0; the others return {}), with several seeds a
      `seeds.summary` of theirs; None when SIGTERM stopped the run, which is saved then.

    Raises:
      UserError: see `tasks.read`, `plan_phases`, `check`, `Checkpoints.restore`; or the loss is not finite; or another
        process is training in `workdir`, or it holds converted weights; or hosts have different configs. Unless it was
        there before, there is no `workdir` then, but for a run that has begun.
      KeyboardInterrupt: Ctrl-C stopped the run, which is saved, as its message says.
    """
    workdir = Path(workdir)
    require_same(_without_places(json.loads(config.to_json())))
    if runs.is_converted(workdir):
        raise UserError(
            f"{workdir} holds converted weights: start from them with --config.init_from={workdir} and another --workdir"
        )
    if jax.process_index() == 0:
        files.require_creatable(workdir)  # before the corpus is prepared, which may take hours
    # The system lets go of it however the process ends.
    lock = filelock.FileLock(workdir / "lock", timeout=0)

    def claim():
        workdir.mkdir(parents=True, exist_ok=True)
        if jax.process_index() == 0 and not lock.is_locked:
            lock.acquire()

    try:
        if (workdir / "lock").exists():
            claim()
        return _train_seeds(config, workdir, claim)
    except filelock.Timeout as error:
        raise UserError(f"another process is training in {workdir}; use another --workdir") from error
    finally:
        lock.release()


def _without_places(values):
    """A config as nested dict of JSON without what may differ from host to host: where data lie."""
    values["data"]["root"] = values["task"]["folder"] = values["task"]["augmented"] = ""
    return values


def _train_seeds(config, workdir, claim):
    """`_train` of all seeds together; one by one where they are asked for so, or do not fit in the devices' memory."""
    if config.seeds <= 1 or config.seeds_together:
        try:
            return _train(config, workdir, claim)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            if config.seeds <= 1:
                raise UserError(
                    "the devices' memory is full: set accumulate=2 or more, model.remat=True, or a smaller batch_size"
                ) from error
        logs.say(f"{config.seeds} seeds do not fit in the devices' memory together: one by one")
    seeds = range(config.seed, config.seed + config.seeds)

    def claim_all():
        claim()
        if jax.process_index() == 0:
            files.write_json(workdir / "config.json", {"config": json.loads(config.to_json()), **logs.provenance()})

    results = []
    for seed in seeds:
        alone = config.copy_and_resolve_references()
        alone.update(dict(seed=seed, seeds=1))
        results.append(_train(alone, logs.seed_folder(workdir, seed), claim_all))
        if results[-1] is None:
            return None
    return logs.write_summary(workdir, results, seeds, config.task.statistic)


def _train(config, workdir, claim):
    """`train` of seeds that train together. `claim()` makes the folder, once nothing that the config says can be wrong."""
    check_values(config)
    # What the configs alone say comes first, then what a task's files do.
    config = settle(source.resolve(source.resolve_teacher(config), workdir))
    source.check_fit(config, workdir)
    config.run.extend = config.run.extend or was_extended(config, workdir)
    parallel = build_parallel(config.parallel)
    config = tasks.resolve(config)
    phases, kind = plan_phases(config), example_kind(config)
    check(config, phases, parallel)
    seeds = Seeds(parallel, config.seed, config.seeds)
    model = build_model(config)

    prepared = Path(tokens.prepare(config.data))
    tokenizer = tokenizers.load(prepared / "tokenizer.json")
    vocabulary = tokenizers.vocabulary(tokenizer)
    check_vocabulary(config, vocabulary)
    counts = token_counts(config, prepared, vocabulary)
    stores = open_stores(config, kind, prepared)
    examples = training_examples(config, kind, phases, stores["train"], vocabulary, seeds.examples)
    teaching = distill.load_teachers(config, tokenizers.identity(tokenizer), parallel)
    decided = decisive(config, prepared, stores, teaching)
    require_same(decided)
    teach = distill.make_teach(config, teaching) if teaching else None
    attach = teacher_cache.attach_nothing
    if config.teacher.cache:
        needed = teacher_cache.parts(config, kind, phases, examples, stores, vocabulary)
        made_of = teacher_cache.passport(config, decided, kind, masks(config), teaching)
        cache = teacher_cache.open_cache(config, made_of, needed)
        decided["teacher"]["cache"] = cache.precision
        # The teachers were read for their hashes: let them go before the student is made.
        teach, attach, teaching = teacher_cache.teach, cache.attach, []
    teachers = [parallel.adopt(run.params) for run in teaching]
    programs = [make(config, model, vocabulary, counts, teach) for make in (make_measure, make_predict)]
    compiled = map(parallel.compile, programs)
    measure, predict = (lambda params, batch, run=run: run(params, batch, teachers) for run in compiled)
    train_step = seeds.compile(make_train_step(config, model, vocabulary, counts, teach))
    lengths = {phase.length for phase in phases}
    watched = build_evaluators(
        evaluators.Setting(config, kind, parallel, vocabulary, stores, lengths, attach, measure, predict)
    )

    # Jitted, so that it is traced once, for its shapes and for the state.
    create = jax.jit(seeds.begin(lambda seed: initial_state(config, model, vocabulary, seed)))

    def begin():
        state = parallel.create(create)
        if not config.init_from:
            return state, []
        state, lines = start_state(config, model, state, tokenizer, seeds)
        return state, [*lines, start.learning_rates(schedule(config.optimizer, make_clock(config, phases)), config.steps)]

    state, origin = (None, []) if source.steps_in(workdir) else begin()
    claim()
    checkpoints = Checkpoints(workdir, decided, config.keep_checkpoints, free=EXTENDED if config.run.extend else ())
    shapes = jax.eval_shape(create)
    restored = checkpoints.restore(parallel.like(shapes))
    if restored is not None:
        origin = start.extension(config, checkpoints.restored_config, checkpoints.restored)
        restored, lines = begin_sums(restored, checkpoints.restored, config)
        state, origin = parallel.adopt(restored), origin + lines
    elif state is None:
        state, origin = begin()
    first_step = int(seeds.read(state["step"])[0])
    describe_run(config, workdir, prepared)

    if kind == "task":
        origin += tasks.report(stores, vocabulary, lengths)
    log = logs.Log(workdir, first_step, config.steps, seeds.seeds, checkpoints.restored_log())
    meter = Meter(config, model, parallel.device_count, [run.model for run in teaching])
    feed = batches_from(first_step, phases, examples, parallel, attach)
    log_every, evaluate_every, checkpoint_every = (
        cadence(config, name) for name in ("log_every", "evaluate_every", "checkpoint_every")
    )

    def evaluate(done, length, last):
        for name, evaluator in watched.items():
            if evaluator.at_end and not last:
                continue
            log.doing(f"evaluating {name}")
            pairs = zip(seeds.params(state), log.folders, strict=True)
            found = [dict(evaluator.run(params, length, folder)) for params, folder in pairs]
            if not any(all(map(math.isfinite, values.values())) for values in found):
                raise NotFiniteError(f"{name} metrics after step {done} are not finite: {found[0]}")
            if found[0]:  # a test set has none
                log.metrics(done, name, {key: [values[key] for values in found] for key in found[0]})
        log.draw_curves()

    stop = StopRequest()
    for line in origin:
        logs.say(line)
    if first_step < config.steps:
        trained_on, parameters = stores["train"], flops.count_parameters(shapes["params"]) // config.seeds
        counted = {"examples": len(trained_on)} if kind == "task" else trained_on.passport["splits"]["train"]
        devices = [jax.devices()[0].device_kind] * parallel.device_count
        for line in overview(config, workdir, parameters, devices, counted):
            logs.say(line)
        logs.say(f"{'started' if restored is None else 'resumed'} at step {first_step} of {config.steps}; compiling")
    else:
        logs.say(f"{workdir} is finished: it has no step left to do")
    loss = None
    try:
        for step in range(first_step, config.steps):
            phase, batch = meter.wait(feed)
            previous = loss
            state, loss = train_step(state, parallel.put_batch(batch), teachers)
            # One step behind, so that the device always has the next one to do.
            losses = require_finite(previous, step, seeds, checkpoints)
            meter.count(phase, math.prod(batch["tokens"].shape[1:-1]))
            log.advance(losses)

            done = step + 1
            last = done == config.steps
            stopping = stop.requested(done)
            if step in (first_step, phase.first):
                parallel.read(loss)
                meter.restart()  # compiling is not training
            if last or done % log_every == 0:
                require_finite(loss, done, seeds, checkpoints)
                sums = {name: zip(*map(seeds.read, pair), strict=True) for name, pair in state["sums"].items()}
                values = {name: [quotient(*pair) for pair in pairs] for name, pairs in sums.items()}
                log.training(done, values, meter.values())
            if last or done % evaluate_every == 0:
                evaluate(done, phase.length, last)
                meter.restart()
            late = checkpoints.late(done, config.run.checkpoint_minutes)
            if last or stopping or late or done % checkpoint_every == 0:
                require_finite(loss, done, seeds, checkpoints)
                checkpoints.save(done, parallel.plain(state), log.content())
            if stopping and not last:
                checkpoints.wait()
                stop.leave(f"step {done} of {config.steps} is saved in {checkpoints.folder}; the same command resumes")
                return None
        if first_step == config.steps and anywhere(log.lacks(config.steps, "heldout")):
            # It was shortened to a step without an evaluation, or that was lost.
            evaluate(config.steps, phases[-1].length, True)
        checkpoints.wait()
        if seeds.several:
            states = seeds.states(parallel.plain(state))
            write_runs(config, workdir, prepared, decided, seeds.seeds, states, log.content())
        results = log.results(stores["heldout"].chance if kind == "task" else None)
        if seeds.several:
            return logs.write_summary(workdir, results, seeds.seeds, config.task.statistic)
        logs.say(f"finished at step {config.steps}: {logs.shown(results[0])}")
        return results[0]
    finally:
        stop.restore()
        log.close()
        checkpoints.close()


def describe_run(config, workdir, prepared):
    """Writes what a run's folder says from its start; what it says at its end is removed."""
    if jax.process_index() == 0:
        files.write_json(workdir / "config.json", {"config": json.loads(config.to_json()), **logs.provenance()})
        with files.replacing(workdir / "tokenizer.json") as file:
            file.write((prepared / "tokenizer.json").read_bytes())
    (workdir / "result.json").unlink(missing_ok=True)


def was_extended(config, workdir):
    """Whether a run was extended to this length before: its checkpoints may still be of the old one."""
    try:
        values = source.read_values(workdir)
    except UserError:  # it has begun nothing, or is damaged
        return False
    current = json.loads(config.to_json())
    return values.get("run", {}).get("extend") is True and all(values.get(key) == current[key] for key in ("steps", "phases", "ramp"))


def begin_sums(state, step, config):
    """A restored plain state, and lines: of another `log_every` than the config's the sums since the last line begin again.

    Some of their steps may be in a line of metrics already. So a line is of the steps since the one before it, or since the
    run was resumed.
    """
    counted, log_every = float(np.max(np.asarray(state["sums"]["loss"][1]))), cadence(config, "log_every")
    if counted == (step - 1) % log_every + 1 or step == config.steps:
        return state, []
    state = state | {"sums": jax.tree.map(jnp.zeros_like, state["sums"])}
    first = min(step + log_every - step % log_every, config.steps)
    return state, [f"the means of metrics begin again: the line of step {first} is of steps {step + 1} to {first}"]


def write_runs(config, workdir, prepared, decided, seeds, states, log):
    """Leaves each seed's folder as if it had been trained alone."""
    for number, (seed, state) in enumerate(zip(seeds, states, strict=True)):
        config = config.copy_and_resolve_references()
        config.update(dict(seed=seed, seeds=1))
        describe_run(config, logs.seed_folder(workdir, seed), prepared)
        alone = decided | dict(seed=seed, seeds=1)
        checkpoints = Checkpoints(logs.seed_folder(workdir, seed), alone, config.keep_checkpoints)
        checkpoints.save(config.steps, state, {name: texts[number : number + 1] for name, texts in log.items()})
        checkpoints.wait()
        checkpoints.close()


def start_state(config, model, state, tokenizer, seeds):
    """Step 0 with the parameters of `init_from` in place of the initial ones, and lines that say which.

    With `init_optimizer` it is the step of `init_from`, with its optimizer's state, too.

    Raises:
      UserError: it has another vocabulary; see `start.start_from`, `start.check_pieces`, `start.take_optimizer`.
    """
    parallel = seeds.parallel
    run = runs.load_run(config.init_from, parallel)
    if "vocabulary" in config.init_grow:
        start.check_pieces(run, tokenizer)
    elif run.tokenizer_hash != tokenizers.identity(tokenizer):
        raise UserError(
            f"init_from: {run.workdir} has another vocabulary; set data.tokenizer.path={source.tokenizer_path(run.workdir)}"
        )
    lines = []

    def begin(params):
        started, lines[:] = start.start_from(params, model, run, config)
        return started

    plain = seeds.change(parallel.plain(state), begin)
    if not config.init_optimizer:
        return parallel.adopt(plain), [*lines, *start.how_read(run), start.step_origin(run, config.steps)]
    taken, line = start.take_optimizer(config, seeds.states(plain)[0]["optimizer"], run, parallel)
    taken = jax.tree.map(lambda x, like: np.broadcast_to(x, like.shape).astype(like.dtype), taken, {key: plain[key] for key in taken})
    return parallel.adopt(plain | taken), [*lines, *start.how_read(run), line]


def open_stores(config, kind, prepared):
    """What the batches are made from, by split: the prepared corpus, or a task's examples in its tokens."""
    if kind == "task":
        return tasks.open_stores(config, tokenizers.load(prepared / "tokenizer.json"))
    return {split: tokens.Store(prepared, split) for split in tokens.SPLITS}


def training_examples(config, kind, phases, store, vocabulary, together=None):
    """The `batch(step)` of each phase, of the config's seed. What is wrong with any is told before the first step.

    `together(make)` puts those of several seeds together, see `seeds.Seeds.examples`.
    """
    together = together or (lambda make: make(config.seed))

    def of_phase(phase):
        return lambda seed: batches.training_batches(
            config.data,
            kind,
            store,
            vocabulary,
            phase.length,
            phase.batch_size,
            seed,
            first_step=phase.first,
            first_example=phase.first_example,
        )

    return [together(of_phase(phase)) for phase in phases]


def batches_from(first_step, phases, examples, parallel, attach):
    """Yields (phase, this host's rows of the batch) from `first_step` on, computed ahead.

    `attach(part, batch)` adds what a cache has of the teachers, see teacher_cache.py.
    """
    for phase, batch in zip(phases, examples, strict=True):
        steps, rows = (max(phase.first, first_step), phase.last), parallel.rows(phase.batch_size)
        for _, made in batches.prefetch(lambda step: attach("train", batch(step, rows)), *steps):  # noqa: B023
            yield phase, made


def require_finite(loss, done, seeds, checkpoints):
    """Raises NotFiniteError, with the last good checkpoint, when no seed's loss of step `done` (None: none yet) is finite.

    Steps are counted as in the metrics: `done` steps have been taken.

    Returns:
      Each seed's loss, [N]; None before the first step.
    """
    losses = None if loss is None else seeds.read(loss)
    if losses is None or np.isfinite(losses).any():
        return losses
    newest = checkpoints.newest()
    raise NotFiniteError(
        f"the loss or a gradient is not finite at step {done}; last good checkpoint: {newest or 'none yet'}; "
        "try a lower optimizer.learning_rate or a longer optimizer.warmup"
    )


class StopRequest:
    """Whether SIGTERM or Ctrl-C came; on several hosts, all of them agree on the step (JAX's preemption service).

    The first Ctrl-C lets the run save itself, a second one ends the process at once.
    """

    def __init__(self):
        self.came, self.several, self.before = None, jax.process_count() > 1, {}
        if threading.current_thread() is threading.main_thread():  # no other one may
            numbers = (signal.SIGINT,) if self.several else (signal.SIGINT, signal.SIGTERM)
            self.before = {number: signal.signal(number, self._note) for number in numbers}

    def _note(self, number, frame):
        del frame
        self.came = signal.Signals(number)
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            # Not print: this may be in the middle of one.
            os.write(2, b"\nCtrl-C: saving after this step, or after a running evaluation; once more stops at once\n")
            if self.several:
                os.kill(os.getpid(), signal.SIGTERM)  # which JAX tells the other hosts

    def restore(self):
        """From here on the signals do what they did before."""
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def requested(self, step):
        if self.several:
            return multihost_utils.reached_preemption_sync_point(step)
        return self.came is not None

    def leave(self, line):
        """Says what is kept; after Ctrl-C it is for the caller to stop, too."""
        if self.came == signal.SIGINT:
            raise KeyboardInterrupt(line)
        logs.say(f"SIGTERM: {line}")


class Meter:
    """Tokens and FLOPs per second, MFU where the devices' peak is known, and the share of time spent waiting for data."""

    def __init__(self, config, model, devices, teachers=()):
        self.config = config
        self.model = model
        self.teachers = teachers
        self.devices = devices
        self.peak = flops.peak_flops(jax.devices()[0].device_kind, model.config.dtype)
        self.restart()

    def restart(self):
        """Starts a new window: what an evaluation took is nobody's training time."""
        self.start = time.perf_counter()
        self.waited = self.tokens = self.flops = 0

    def wait(self, examples):
        """The next of `examples`, with the time that it took."""
        start = time.perf_counter()
        example = next(examples)
        self.waited += time.perf_counter() - start
        return example

    def count(self, phase, texts):
        """Counts one step, in which an example is so many texts: several choices or orders, for several seeds."""
        predictions = predictions_per_sequence(self.config, phase.length)
        made = phase.batch_size * texts * phase.length
        self.tokens += made
        self.flops += made * flops.flops_per_token(self.model, phase.length, predictions)
        for model in self.teachers:  # forward alone: 2 of the 6 a weight and token
            self.flops += made * flops.flops_per_token(model, phase.length, predictions) / 3

    def values(self):
        """The window's numbers; a new window begins."""
        seconds = time.perf_counter() - self.start
        values = {
            "seconds": seconds,
            "tokens_per_second": self.tokens / seconds,
            "flops_per_second": self.flops / seconds,
            "data_wait": self.waited / seconds,
        }
        if self.peak is not None:
            values["mfu"] = values["flops_per_second"] / (self.devices * self.peak)
        self.restart()
        return values
