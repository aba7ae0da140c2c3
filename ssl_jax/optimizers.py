"""Optimizers and schedules as in the original code: optax components plus what optax lacks.

Parameters are selected by name, never by number of dimensions: biases of stacked layers are matrices.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ssl_jax.errors import UserError, shown
from ssl_jax.lazy import jax, jnp, optax
from ssl_jax.options import ABOVE_0, DEEPEST, REGEX, SHARE, check, check_regex, number, one_of, option, several, whole
from ssl_jax.varying import each


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """From gradients to updates, see `build_optimizer`."""

    BLOCK = "optimizer"

    name: str = option(
        "bert_adam",
        one_of("bert_adam", "gpt1_adam", "adamw", "lamb"),
        "'bert_adam', 'gpt1_adam', 'adamw' or 'lamb', see build_optimizer",
    )
    learning_rate: float = option(1e-4, number(0), "at the peak")
    schedule: str = option(
        "linear",
        one_of("linear", "linear_warmed", "linear_peaked", "cosine", "constant", "inverse_sqrt"),
        "'linear', 'linear_warmed', 'linear_peaked', 'cosine', 'constant' or 'inverse_sqrt'",
    )
    clock: str = option("steps", one_of("steps", "tokens"), "what the schedule counts: 'steps' or 'tokens'")
    warmup: float = option(
        0.01, number(0), "up to 1 a share of the clock's total; above 1 so many of its units, steps or tokens"
    )
    decay_until: float = option(1.0, number(0, 1, above=True), "share at which the decay ends")
    end_lr_ratio: float = option(0.0, SHARE, "share of the learning rate that is left when the decay ends")
    b1: float = option(0.9, number(0, 1, below=True), "how much of the first moment is kept from one step to the next")
    b2: float = option(
        0.999, number(0, 1, below=True), "how much of the second moment is kept from one step to the next"
    )
    epsilon: float = option(1e-6, ABOVE_0, "added to the second moment's root")
    weight_decay: float = option(0.01, number(0), "times the rate, of every parameter but those of no_decay")
    no_decay: str = option(r"norm|bias", REGEX, "regex of the names of parameters without decay")
    grad_clip_norm: float = option(1.0, number(0, above=True, infinite=True), "the largest norm of the gradients")
    grad_clip_by: str = option(
        "global",
        one_of("global", "tensor", "device"),
        "by the norm of all gradients, of each 'tensor', or of each 'device'",
    )
    layer_decay: float = option(
        1.0, SHARE, "a level's rate as a share of that of the level above it; the head has the whole"
    )
    layer_decay_gap: int = option(
        0, whole(0, DEEPEST), "levels counted between head and top layer though nothing is there"
    )
    lr_multipliers: tuple = option(
        (), several(str), "'REGEX=MULTIPLIER' of the rate, the first that matches: '^classifier=10'"
    )
    frozen: str = option("", REGEX, "regex of what does not move at all")
    unfreeze: float = option(
        0.0, SHARE, "share of the run after which the next level down starts to move; 0: all move at once"
    )


def path_name(path):
    """('encoder', 'layers', 'attention', 'query', 'kernel') as 'encoder/layers/attention/query/kernel'."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


class Clock(NamedTuple):
    """The unit of a schedule: steps or tokens.

    `total` is the length of the run, `now(step)` how much of it precedes a step. An integer `total`
    counts whole units.
    """

    total: float
    now: Callable


def step_clock(steps):
    """A clock that counts steps."""
    return Clock(int(steps), lambda step: step)


def warmup_of(config, clock):
    """How long the warm-up is, in the clock's units."""
    return each(lambda warmup: float(warmup if warmup > 1 else warmup * clock.total), config.warmup)


def schedule(config, clock):
    """The learning rate as a function of the step.

    With t = now, T = total, w = `warmup` * T, or `warmup` itself above 1:

        linear         t / w before w, then 1 - x. BERT, ALBERT (optimization.py): the decay counts from
                       step 0, which leaves a small drop at w; of a share, int(w).
        linear_warmed  (1 - x) * min(1, t / w). ELECTRA (model/optimization.py).
        linear_peaked  t / w up to w, then linear from 1 to 0 at x = 1: (1 - x) / (1 - x at w). DistilBERT
                       (transformers' get_linear_schedule_with_warmup), TinyBERT's code (optimization.py).
        cosine         t / w up to w, then (1 + cos(pi x)) / 2. GPT-1 (opt.py, warmup_cosine), GPT-3.
        constant       t / w up to w, then 1; neither ends nor falls (opt.py, warmup_constant).
        inverse_sqrt   min(i / w, sqrt(w / i)) with i = t + 1; w at least 1. Vaswani et al. 2017, section 5.3; decaNLP
                       (train.py, get_learning_rate), whose rate at the peak is 1 / sqrt(d w). It has no end.

    x = t / (decay_until * T), at most 1, and decays end at e = `end_lr_ratio`: e + (1 - e) * decay.
    The originals have decay_until 1 and end_lr_ratio 0; GPT-3 (appendix B) decays to a tenth over 260 of 300
    billion tokens. With warm-up the first step has a rate of 0, but for inverse_sqrt, as in the originals.

    Args:
      config: `schedule`, `learning_rate` (the peak), `warmup`, `end_lr_ratio` (share of the
        peak), `decay_until` (share of the total).
      clock: a `Clock`.

    Raises:
      UserError: an unknown schedule, an `end_lr_ratio` that is not a share, a `decay_until` that is not above 0.
    """
    check(Optimizer, config, "schedule", "end_lr_ratio", "decay_until")
    # Python floats, because token counts overflow int32.
    end, warmup = each(float, config.decay_until * clock.total), warmup_of(config, clock)
    if config.schedule == "linear" and isinstance(clock.total, int):
        warmup = each(lambda x: float(int(x)), warmup)
    warms = bool(warmup)

    def rate(step):
        now = clock.now(step)
        if config.schedule == "inverse_sqrt":
            peak, count = each(lambda x: max(x, 1.0), warmup), now + 1.0
            return config.learning_rate * jnp.minimum(count / peak, jnp.sqrt(peak / count))
        done = jnp.minimum(now / end, 1)
        left = (1 + jnp.cos(jnp.pi * done)) / 2 if config.schedule == "cosine" else 1 - done
        if config.schedule == "linear_peaked":
            left = left / each(lambda x: max(x, 1e-9), 1 - warmup / end)
        share = config.end_lr_ratio + (1 - config.end_lr_ratio) * left
        if config.schedule == "constant":
            share = jnp.ones_like(done)
        warming = jnp.minimum(now / warmup, 1) if warms else 1.0
        if config.schedule == "linear_warmed":
            return config.learning_rate * warming * share
        # At w itself BERT has left the warm-up; GPT-1 has not, and peaks there.
        warm = now <= warmup if config.schedule == "cosine" else now < warmup
        return config.learning_rate * jnp.where(warm, warming, share)

    return rate


class AdamMoments(NamedTuple):
    """First and second moments, each a tree like the parameters."""

    mean: optax.Updates
    square: optax.Updates


def scale_by_bert_adam(b1, b2, epsilon):
    """Adam without bias correction, m / (sqrt(v) + epsilon) (bert/optimization.py, AdamWeightDecayOptimizer).

    `optax.adam` corrects the bias: its first step is sqrt(1 - b2) / (1 - b1) = 0.316 times as large.
    """

    def init(params):
        return AdamMoments(*(jax.tree.map(jnp.zeros_like, params) for _ in range(2)))

    def update(gradients, moments, params=None):
        del params
        mean = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, moments.mean, gradients)
        square = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, moments.square, gradients)
        updates = jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + epsilon), mean, square)
        return updates, AdamMoments(mean, square)

    return optax.GradientTransformation(init, update)


def decayed(params, no_decay):
    """A tree of booleans: true where the regex `no_decay` matches no part of the parameter's name."""
    return jax.tree_util.tree_map_with_path(lambda path, _: re.search(no_decay, path_name(path)) is None, params)


def is_stacked(path):
    """Whether a parameter's first axis is layers, so that each slice is one tensor in the original."""
    return "layers" in path_name(path).split("/")


def scale_by_trust_ratio(no_decay):
    """LAMB's trust ratio: each tensor's update times ||parameter|| / ||update||, or 1 where a norm is 0.

    ALBERT's lamb_optimizer.py: parameters without decay have a ratio of 1. Tensors are those of the original:
    each slice of parameters stacked on a leading axis (with a part `layers` in their name) has its own
    ratio. `optax.scale_by_trust_ratio` would take one norm over the stack.
    """

    def update(updates, state, params):
        def scale(path, update, param):
            name = path_name(path)
            if re.search(no_decay, name):
                return update
            axes = tuple(range(is_stacked(path), param.ndim))
            size, length = (jnp.sqrt(jnp.sum(x * x, axes, keepdims=True)) for x in (param, update))
            return update * jnp.where((size > 0) & (length > 0), size / jnp.where(length > 0, length, 1), 1)

        return jax.tree_util.tree_map_with_path(scale, updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def clip_on_device(config, gradients, devices):
    """What each device adds to the sum: the gradients of its own mean loss, clipped by their norm.

    As BERT, ALBERT and ELECTRA were pre-trained (optimization.py: `clip_by_global_norm`, then CrossShardOptimizer sums).
    The sum is `devices` times as large as a mean, which Adam without bias correction divides out again, but for epsilon.

    Args:
      config: the optimizer's; without grad_clip_by='device' the gradients are returned as they are.
      gradients: a device's share of those of the mean over all `devices`.
    """
    if config.grad_clip_by != "device":
        return gradients
    own = jax.tree.map(lambda x: x * devices, gradients)
    return optax.clip_by_global_norm(config.grad_clip_norm).update(own, optax.EmptyState())[0]


def clip_by_tensor_norm(most):
    """Clips each gradient tensor's norm to `most`; each layer of a stack is its own tensor.

    As in TinyBERT's BertAdam (optimization.py: clip_grad_norm_ on each parameter).
    """

    def clip(path, gradient):
        axes = tuple(range(is_stacked(path), gradient.ndim))
        norm = jnp.sqrt(jnp.sum(jnp.square(gradient), axis=axes, keepdims=True))
        return gradient * jnp.minimum(1.0, most / (norm + 1e-6))  # torch's epsilon

    def update(gradients, state, params=None):
        del params
        return jax.tree_util.tree_map_with_path(clip, gradients), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def levels(params):
    """How far below a task's head each parameter lies, by name.

    Heads are at level 0, the top layer at 1, the lowest of L layers at L; at L + 1 are the embeddings and, as in
    ELECTRA (model/optimization.py), the projection after them. The final norm goes with the top layer, whose output
    it scales; so does the pooler: it is not a head, since pre-training has trained it, and reads the same output.
    Parameters shared by several layers are at the level of the topmost. If layers share everything, as in ALBERT,
    the sets count as layers. ELECTRA's two trunks are counted separately.

    Args:
      params: `Model`'s, or a tree with the same names and shapes.

    Returns:
      name -> int array that broadcasts against the parameter: [sets, 1, ...] for stacked layers, [] for all others.
    """
    leaves, depth = jax.tree_util.tree_leaves_with_path(params), {}
    for path, x in leaves:
        if is_stacked(path):
            trunk = path_name(path).split("/")[0]
            depth[trunk] = max(depth.get(trunk, 0), x.shape[0])
    made = {}
    for path, x in leaves:
        name = path_name(path)
        part, *rest = name.split("/")
        layers = depth.get(part.replace("embeddings", "encoder"), 0)
        if is_stacked(path):
            sets = x.shape[0]
            topmost = -(-layers * np.arange(1, sets + 1) // sets)  # layer of each set, from 1
            made[name] = (layers + 1 - topmost).reshape(-1, *[1] * (x.ndim - 1))
        elif part.endswith("embeddings") or part.endswith("encoder") and rest[0] == "projection":
            made[name] = np.array(layers + 1)
        else:
            made[name] = np.array(int(part.endswith("encoder") or part == "pooler"))
    return made


def _spellings(path, x):
    """The names of each tensor in a parameter; a layer of a stack also has a name with its number."""
    name = path_name(path)
    if not is_stacked(path):
        return [(name,)]
    return [(name, name.replace("layers/", f"layers/{number}/", 1)) for number in range(x.shape[0])]


def factors(config, params):
    """The learning-rate multiplier of each parameter; 0 means frozen.

    A task's head has the schedule's rate; k levels below, the rate is layer_decay^k times that (ELECTRA, section 3
    and Table 7). The released code counts one level too many between the head and the top layer (layer_decay_gap 1),
    where there once was a pooler: its top layer has layer_decay^2.

    Args:
      config: `layer_decay`, `layer_decay_gap`; `frozen`, a regex, and `rates`, 'REGEX=MULTIPLIER' each, which are
        searched for in names such as 'encoder/layers/ffn/inner/kernel' and 'encoder/layers/3/ffn/inner/kernel'.
      params: as for `levels`.

    Returns:
      name -> float64 array, with the shapes of `levels`.

    Raises:
      UserError: a regex is invalid or matches no parameter, a multiplier is invalid, or everything is frozen.
    """
    rules = rate_rules(config)
    leaves = jax.tree_util.tree_leaves_with_path(params)
    called = {path_name(path): _spellings(path, x) for path, x in leaves}
    for key, pattern, _ in rules:
        if not any(re.search(pattern, name) for tensors in called.values() for names in tensors for name in names):
            parts = ", ".join(dict.fromkeys(name.split("/")[0] for name in called))
            raise UserError(f"{key}: {pattern!r} matches no parameter; their names begin with {parts}")

    def given(names):
        matching = (m for _, pattern, m in rules if any(re.search(pattern, name) for name in names))
        return next(matching, 1.0)

    made = {}
    for name, level in levels(params).items():
        below = level + config.layer_decay_gap * (level > 0)
        made[name] = np.array([given(names) for names in called[name]]).reshape(level.shape) * config.layer_decay**below
    if rules and not any(factor.any() for factor in made.values()):
        raise UserError(
            "optimizer.frozen and optimizer.lr_multipliers freeze every parameter: nothing would be trained"
        )
    return made


def drop_frozen(config, gradients):
    """Zeroes the gradients of frozen parameters: they count in no norm, and XLA prunes the unused computation."""
    if not config.frozen and not config.lr_multipliers:
        return gradients
    moving = factors(config, gradients)
    return jax.tree_util.tree_map_with_path(
        lambda path, gradient: jnp.where(moving[path_name(path)] > 0, gradient, 0), gradients
    )


def scale_by_part(config, clock):
    """Multiplies each parameter's update by its factor (`factors`), or by 0 until it is unfrozen (`unfreeze`).

    Gradual unfreezing (Howard and Ruder 2018, section 3.3): the heads move from the start, level k below them
    after the fraction k * unfreeze of the run, the embeddings last.

    Raises:
      UserError: at `init`: from `factors`, or if the run ends before all levels move.
    """

    def init(params):
        moving, level = factors(config, params), levels(params)
        lowest = max(int((level[name] * (factor > 0)).max()) for name, factor in moving.items())
        if config.unfreeze * lowest >= 1:
            raise UserError(
                f"optimizer.unfreeze={config.unfreeze}: {lowest} levels lie below the head, so that the lowest would "
                f"never move; set it below {1 / lowest:.3g}, or name what shall not move in optimizer.frozen"
            )
        return optax.ScaleByScheduleState(jnp.zeros((), jnp.int32))

    def update(updates, state, params=None):
        del params
        given, level, now = factors(config, updates), levels(updates), clock.now(state.count)

        def scale(path, update):
            factor, start = given[path_name(path)], level[path_name(path)] * config.unfreeze * clock.total
            if isinstance(clock.total, int):
                start = np.round(start)
            if config.unfreeze:
                factor = jnp.where(now >= start, factor, 0.0)
            return update * jnp.asarray(factor, update.dtype)

        updates = jax.tree_util.tree_map_with_path(scale, updates)
        return updates, optax.ScaleByScheduleState(state.count + 1)

    return optax.GradientTransformation(init, update)


def rate_rules(optimizer):
    """(key, regex, multiplier) for `optimizer.frozen` and each entry of `rates`; the first match applies.

    Raises:
      UserError: an entry of `rates` is malformed, or a regex is invalid.
    """
    rules = [("optimizer.frozen", optimizer.frozen, 0.0)] if optimizer.frozen else []
    for entry in optimizer.lr_multipliers:
        pattern, _, multiplier = entry.rpartition("=")
        try:
            multiplier = float(multiplier)
        except ValueError:
            multiplier = -1.0
        if not pattern or not 0 <= multiplier < math.inf:
            raise UserError(
                f"optimizer.lr_multipliers: {shown(entry)} is not REGEX=MULTIPLIER with a number of 0 or more, as ^classifier=10"
            )
        rules.append(("optimizer.lr_multipliers", pattern, multiplier))
    for key, pattern, _ in rules:
        check_regex(key, pattern)
    return rules


def build_optimizer(config, clock):
    """Clip by global norm (or per tensor), Adam, decay by name, learning rate: in the order of BERT's
    optimization.py.

    With r = m / (sqrt(v) + epsilon), p the parameter, d its `weight_decay` (0 for names matching `no_decay`) and
    the schedule's rate, a step is

        bert_adam  rate (r + d p). BERT, ELECTRA: no bias correction.
        gpt1_adam  rate c (r + d p), c = sqrt(1 - b2^t) / (1 - b1^t) with t = 1 at the first step. GPT-1's
                   opt.py: the correction is a factor on the rate, so it scales decay but not epsilon.
        adamw      optax's: m and v are corrected, before epsilon; decay is not scaled. GPT-3.
        lamb       rate (r + d p) ||p|| / ||r + d p||, no bias correction. ALBERT, `scale_by_trust_ratio`.

    If parts of the model have their own rates (`scale_by_part`), these scale the whole step, decay included. Frozen
    parameters do not count in the clipping norm, as in the originals, which do not compute their gradients. Layers
    yet to be unfrozen do count, and their moments are updated meanwhile: without bias correction, a layer whose Adam
    started at unfreezing would take steps of up to 6 times its rate, in mid-run, without a warm-up.

    Args:
      config: `name`, `grad_clip_norm`, `grad_clip_by`, `b1`, `b2`, `epsilon`, `weight_decay`, `no_decay` (a regex), what
        `schedule` reads, and per part `layer_decay`, `layer_decay_gap`, `lr_multipliers`, `frozen` and `unfreeze`.
      clock: a `Clock`.

    Raises:
      UserError: an unknown `name`; from `schedule`; at `init`, which sees the parameters, from `scale_by_part`.
    """
    check(Optimizer, config, "name", "grad_clip_by")
    make_adam = optax.scale_by_adam if config.name == "adamw" else scale_by_bert_adam
    rate = planned = schedule(config, clock)
    if config.name == "gpt1_adam":

        def rate(step):
            t = jnp.asarray(step + 1, jnp.float32)
            return planned(step) * jnp.sqrt(1 - config.b2**t) / (1 - config.b1**t)

    # By device they are clipped before they are summed, see clip_on_device.
    clip = {"global": optax.clip_by_global_norm, "tensor": clip_by_tensor_norm, "device": lambda _: optax.identity()}
    by_part = config.layer_decay != 1 or config.lr_multipliers or config.frozen or config.unfreeze
    return optax.chain(
        *([optax.stateless(lambda gradients, _: drop_frozen(config, gradients))] if by_part else []),
        clip[config.grad_clip_by](config.grad_clip_norm),
        make_adam(config.b1, config.b2, config.epsilon),
        optax.add_decayed_weights(config.weight_decay, lambda params: decayed(params, config.no_decay)),
        *([scale_by_trust_ratio(config.no_decay)] if config.name == "lamb" else []),
        optax.scale_by_learning_rate(rate),
        *([scale_by_part(config, clock)] if by_part else []),
    )
