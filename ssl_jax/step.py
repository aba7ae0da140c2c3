"""The step as pure functions: corrupt the batch, one forward pass, terms, gradients, update.

One forward pass returns `out`; the objectives that the config names turn it into terms, those of distillation together
with a teacher's outputs for the same batch; the loss is their weighted sum, each normalised once over the global batch.
Nothing here knows which paper is running, on how many devices, or for how many seeds.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from ssl_jax import corruption, two_stage
from ssl_jax.distill import teachers as distill
from ssl_jax.models.model import dummy_batch, flatten_choices
from ssl_jax.models.neighbours import attend_to_neighbours
from ssl_jax.objectives import task_logits, trained
from ssl_jax.optimizers import build_optimizer, clip_on_device, drop_frozen, schedule
from ssl_jax.plan import cadence, make_clock, masks, plan_phases

# The run's seed is folded with one of these, so that no two uses of randomness share numbers.
INITIALISATION, CORRUPTION, DROPOUT = range(3)


def stream(seed, use):
    """The key of one use of randomness in a run."""
    return jax.random.fold_in(jax.random.key(seed), use)


def make_corrupt(config, vocabulary, counts=None):
    """Returns the pure `corrupt(batch)`, which hides from the model what the config says.

    `counts`: how often each token occurs in the training text, [V]; see `experiment.token_counts`.
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
    """Returns the pure `forward(params, batch, rngs, teachers)`: `out`, and name -> Term of the objectives with a weight.

    `teach(out, batch, teachers, rngs)` returns `out['teacher']`, see distill/teachers.py; None where no objective reads it.
    """
    losses = {name: row.bind(config)[0] for name, row in trained(config).items()}

    def forward(params, batch, rngs, teachers=()):
        # Only here: batches are cut over devices and micro-batches by examples.
        batch = flatten_choices(batch)
        out = model.apply({"params": params}, batch, rngs=rngs)
        if teach is not None:
            out["teacher"] = teach(out, batch, teachers, rngs)
        return out, {name: loss(out, batch) for name, loss in losses.items()}

    return forward


def make_terms(config, model, teach=None):
    """Returns the pure `terms(params, batch, rngs, teachers)`, the terms of `make_forward` without `out`."""
    forward = make_forward(config, model, teach)
    return lambda params, batch, rngs, teachers=(): forward(params, batch, rngs, teachers)[1]


def make_weights(config):
    """Returns the pure `weights(batch)`, name -> the weight of the objective's Term, without a forward pass."""
    weights = {name: row.bind(config)[1] for name, row in trained(config).items()}

    def of_batch(batch):
        batch = flatten_choices(batch)
        return {name: weight(batch) for name, weight in weights.items()}

    return of_batch


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

    How the batch is cut changes only the order of float sums: every random choice about an example, dropout included, is
    keyed by the example's number.

    `teachers` are the teachers' parameters, for `teach`. The returned loss is NaN when the loss or a gradient is not finite.
    """
    corrupt, terms = make_corrupt(config, vocabulary, counts), make_terms(config, model, teach)
    weights_of, clock = make_weights(config), make_clock(config, plan_phases(config))
    optimizer, learning_rate = build_optimizer(config.optimizer, clock), schedule(config.optimizer, clock)
    stages, log_every = two_stage.build(config), cadence(config, "log_every")

    def step(state, batch, teachers=(), *, total, shard):
        del shard
        # The same key on every device and in every micro-batch: the examples' numbers tell their masks apart.
        rngs = {"dropout": jax.random.fold_in(stream(state["seed"], DROPOUT), state["step"])}
        stage = stages(state["step"])
        params = stage.begin(state["params"])
        batch = corrupt(batch)
        # Every micro-batch on every device divides by the same global count.
        weights = jax.tree.map(lambda x: jnp.maximum(x, 1.0), total(weights_of(batch)))
        devices = total(1)

        def loss(params, batch):
            batch_terms = terms(params, batch, rngs, teachers)
            value = 0.0
            for name, term in batch_terms.items():
                if config.loss_average == "device":  # the originals' mean of per-core means
                    weight = jnp.maximum(term.weight, 1.0) * devices * config.run.accumulate
                else:
                    weight = weights[name]
                value += stage.weight(name) * term.sum / weight
            return value, sums_of(batch_terms)

        def gradients_of(batch):
            (_, sums), gradients = jax.value_and_grad(loss, has_aux=True)(params, batch)
            return drop_frozen(config.optimizer, gradients), sums

        if config.run.accumulate == 1:
            gradients, sums = gradients_of(batch)
        else:
            shapes = jax.eval_shape(gradients_of, batch)
            (gradients, sums), _ = lax.scan(
                lambda carry, part: (jax.tree.map(jnp.add, carry, gradients_of(part)), None),
                jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes),
                split(batch, config.run.accumulate),
            )
        gradients, sums = total((clip_on_device(config.optimizer, gradients, devices), sums))

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

    The logits [B, ...] are those of all rows of the global batch, in order, on every device; scores are in the units of
    the task's labels.
    """
    corrupt, forward = make_corrupt(config, vocabulary, counts), make_forward(config, model, teach)
    key, scale = task_logits(config), config.task.scale if config.losses.regress else 1.0

    def predict(params, batch, teachers=(), *, total, shard):
        out, terms = forward(params, corrupt(batch), {}, teachers)
        # Each of several choices has a row of its own.
        logits = scale * out[key].reshape(len(batch["index"]), -1)
        return total(sums_of(terms)), every_row(logits, total, shard)

    return predict


def every_row(x, total, shard):
    """The rows of all devices, [devices * b, ...] in the order of the global batch, from this device's [b, ...]."""
    rows = jnp.zeros((total(1), *x.shape), x.dtype).at[shard()].set(x)
    return total(rows).reshape(-1, *x.shape[1:])


def initial_params(model, seed):
    """The parameters at step 0, from a seed."""
    params = model.init(stream(seed, INITIALISATION), dummy_batch(model.orders))["params"]
    if model.config.neighbours:
        params = attend_to_neighbours(params, model.config)
    generator = model.generator
    if generator is not None and generator.trunk.neighbours and generator.tying != "all":
        tables = "embeddings" if generator.tying == "embeddings" else "generator_embeddings"
        params = attend_to_neighbours(params, generator.trunk, "generator_encoder", tables)
    return params


def initial_state(config, model, vocabulary, seed=None):
    """Step 0 of a seed, by default the config's: parameters, optimizer state, and zeros for the sums of metrics."""
    seed = config.seed if seed is None else seed
    params = initial_params(model, seed)
    # Names and shapes of the sums do not depend on the teacher.
    counts = jnp.ones(vocabulary.size) if config.corruption.frequency_smoothing else None
    measure = make_measure(config, model, vocabulary, counts, distill.own_outputs)
    # The shapes of label counts do depend on the number of choices.
    batch = dummy_batch(config.task.classes if config.losses.choose else model.orders)
    sums = jax.eval_shape(lambda: measure(params, batch, total=lambda x: x, shard=None))
    own = {name: (jnp.zeros(()), jnp.zeros(())) for name in ("loss", "gradient_norm", "learning_rate")}
    optimizer = build_optimizer(config.optimizer, make_clock(config, plan_phases(config)))
    return {
        "seed": jnp.asarray(seed, jnp.uint32),
        "step": jnp.zeros((), jnp.int32),
        "params": params,
        "optimizer": optimizer.init(params),
        "sums": jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), sums) | own,
    }


def restart_sums(state, step, config):
    """A restored plain state, and lines: if `run.log_every` has changed, the sums of metrics restart from 0.

    Some of the summed steps may be in an earlier line already. A line of metrics then covers the steps since the line
    before it, or since the run was resumed.
    """
    counted, log_every = float(np.max(np.asarray(state["sums"]["loss"][1]))), cadence(config, "log_every")
    if counted == (step - 1) % log_every + 1 or step == config.steps:
        return state, []
    state = state | {"sums": jax.tree.map(jnp.zeros_like, state["sums"])}
    first = min(step + log_every - step % log_every, config.steps)
    return state, [f"the means of metrics restart: the line of step {first} covers steps {step + 1} to {first}"]
