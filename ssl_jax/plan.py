"""What a run will do, as its config alone says: its phases, its clock, its examples, and whether its values fit."""

import functools
import math
import pkgutil
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from ssl_jax import corruption, evaluators
from ssl_jax.data import tasks
from ssl_jax.errors import UserError, check_choice, check_entries
from ssl_jax.objectives import NEED_MASKS, OBJECTIVES, PREDICTS, task_logits
from ssl_jax.optimizers import Clock, step_clock
from ssl_jax.seeds import STATISTICS


class Phase(NamedTuple):
    """Steps `first` to `last`, `last` excluded, with one sequence length and one batch size."""

    first: int
    last: int
    length: int
    batch_size: int
    first_example: int  # examples before it


def plan_phases(config):
    """The run's phases: `phases.shares` of the steps at each of `phases.lengths` (BERT, A.2: .9, .1).

    With `ramp.start` the batch grows over the first `ramp.share` of the run's tokens from that size in steps of
    that size, each for the same number of tokens: linearly in tokens, as GPT-3's (appendix B).

    Raises:
      UserError: they do not fit each other, the positions or the number of steps.
    """
    lengths, shares, ramp = config.phases.lengths, config.phases.shares, config.ramp
    if len(lengths) != len(shares) or not math.isclose(sum(shares), 1):
        raise UserError(
            f"phases.lengths={lengths} needs as many phases.shares, summing to 1; got {shares}"
        )
    if min(lengths) < 5:
        raise UserError(f"phases.lengths={lengths}: a pair of sentences needs 5 tokens, three of them special")
    if max(lengths) > config.model.positions:
        raise UserError(
            f"phases.lengths={lengths}: longer than model.positions={config.model.positions}"
        )
    if ramp.start:
        if len(lengths) > 1 or not 0 < ramp.start < config.batch_size:
            raise UserError(
                f"ramp.start={ramp.start} needs a single one of phases.lengths={lengths} and to be below "
                f"batch_size={config.batch_size}"
            )
        sizes = range(ramp.start, config.batch_size, ramp.start)
        # With E examples in all, E * share / len(sizes) of them come at each size b, in that many / b steps,
        # and E * (1 - share) at the full size: the steps add up to config.steps.
        steps_per_example = [ramp.share / len(sizes) / size for size in sizes]
        steps_per_example.append((1 - ramp.share) / config.batch_size)
        shares = [steps / sum(steps_per_example) for steps in steps_per_example]
        sizes, lengths = [*sizes, config.batch_size], lengths * len(shares)
    else:
        sizes = [config.batch_size] * len(lengths)
    ends = [round(sum(shares[: i + 1]) * config.steps) for i in range(len(shares))]
    phases, examples = [], 0
    for first, last, length, size in zip([0, *ends], ends, lengths, sizes):
        if first < last:
            phases.append(Phase(first, last, length, size, examples))
            examples += (last - first) * size
    return phases


def make_clock(config, phases):
    """What the learning rate's schedule counts in, `optimizer.clock`: 'steps', or 'tokens' seen before a step."""
    check_choice(config.optimizer.clock, ("steps", "tokens"), "optimizer.clock")
    if config.optimizer.clock == "steps":
        return step_clock(config.steps)
    ends = [0, *(phase.last for phase in phases)]
    made = [(phase.last - phase.first) * phase.batch_size * phase.length for phase in phases]
    tokens_at = np.cumsum([0, *made], dtype=np.float64)
    return Clock(float(tokens_at[-1]), lambda step: jnp.interp(step, jnp.array(ends), jnp.array(tokens_at)))


def example_kind(config):
    """What an example is: 'windows' of the text, 'single' texts, one of a 'task', or pairs of the kind that the losses
    ask for.

    Without a loss on pairs they are 'segments', two neighbouring ones without a label, as ELECTRA packs them.

    Raises:
      UserError: the losses ask for two kinds, or for pairs or classes where there are none.
    """
    check_choice(config.data.examples, ("pairs", "single", "windows", "task"), "data.examples")
    asked = [name for name in ("nsp", "sop") if config.losses[name]]
    if len(asked) > 1:
        raise UserError("losses.nsp and losses.sop label the same pairs in two ways: set one of them to 0")
    for name, (kind, needs) in NEED_TASKS.items():
        if not config.losses[name]:
            continue
        if config.data.examples != "task":
            raise UserError(f"losses.{name} needs {needs} of a task: set data.examples=task, or its weight to 0")
        check_choice(config.task.name, tasks.TASKS, "task.name")
        there = tasks.TASKS[config.task.name].kind
        if there != kind:
            raise UserError(
                f"losses.{name} needs {needs}, and task.name={config.task.name} is of {there}: set "
                f"losses.{tasks.LOSSES[there]} in its place"
            )
    if config.data.examples != "pairs" and asked:
        raise UserError(f"losses.{asked[0]} needs sentence pairs: set data.examples=pairs")
    if config.data.examples == "windows":
        return "windows"
    if config.data.borders:
        raise UserError("data.borders is about windows, which hold several documents: set data.examples=windows")
    if config.data.examples in ("single", "task"):
        return config.data.examples
    return asked[0] if asked else "segments"


# The losses on what a task's examples are labelled with: their kind, and what the loss reads of them.
NEED_TASKS = {
    "classify": ("classification", "the classes"),
    "soft_labels": ("classification", "the classes"),
    "regress": ("regression", "the scores"),
    "choose": ("choices", "the choices"),
    "span": ("spans", "the spans"),
    "soft_span": ("spans", "the spans"),
    "joint_span": ("spans", "the spans"),
    "answerable": ("spans", "the questions"),
    "classify_tokens": ("token_labels", "the labelled words"),
}

AT_LEAST = {
    1: ("steps", "batch_size", "accumulate", "log_every", "evaluate_every", "checkpoint_every",
        "keep_checkpoints", "seeds", "model.layers", "model.heads", "model.positions", "data.passes",
        "corruption.max_ngram", "task.stride", "task.max_question", "task.n_best", "task.max_answer", "task.lstm_size"),
    0: ("seed", "data.max_documents", "corruption.max_predictions", "optimizer.weight_decay", "ramp.start",
        "model.band", "task.epochs", "task.lstm", "corruption.smoothing", "optimizer.layer_decay_gap"),
}  # fmt: skip
SHARES = ("model.dropout", "model.attention_dropout", "corruption.rate", "corruption.mask", "corruption.random",
          "data.short", "data.heldout", "optimizer.warmup", "optimizer.floor", "optimizer.decay_until",
          "optimizer.layer_decay", "optimizer.unfreeze", "ramp.share", "generator.first_stage")  # fmt: skip


# Of lists, what their entries are: on a command line 64 is a number, and '64' a word.
ENTRIES = {
    str: ("teacher.runs", "init_drop", "init_anew", "init_rename", "init_grow", "heads", "data.tokenizer.add",
          "optimizer.rates"),
    int: ("phases.lengths", "init_layers", "model.neighbours"),
    float: ("phases.shares",),
}  # fmt: skip


def value_of(config, name):
    """A config's value by its name, 'model.layers'."""
    return functools.reduce(lambda block, key: block[key], name.split("."), config)


def check_lists(config):
    """Raises UserError for entries of lists that are of another type than ENTRIES has."""
    for kind, names in ENTRIES.items():
        for name in names:
            check_entries(value_of(config, name), kind, name)


def check(config, phases, parallel):
    """Raises UserError for values that are out of bounds or do not fit each other."""
    values = {name: value_of(config, name) for names in (*AT_LEAST.values(), SHARES) for name in names}
    for least, names in AT_LEAST.items():
        for name in names:
            if values[name] < least:
                raise UserError(f"{name}={values[name]}: at least {least}")
    for name in SHARES:
        if not 0 <= values[name] <= 1 or name.endswith("dropout") and values[name] == 1:
            raise UserError(f"{name}={values[name]}: a share lies between 0 and 1")
    if config.corruption.mask + config.corruption.random > 1:
        raise UserError("corruption.mask and corruption.random are shares of the same tokens: at most 1 together")
    if config.task.dropout >= 1:
        raise UserError(f"task.dropout={config.task.dropout}: a share below 1, or below 0 for that of the model")
    if config.optimizer.clip <= 0:
        raise UserError(f"optimizer.clip={config.optimizer.clip}: a norm above 0")
    pieces = parallel.batch_shards * config.accumulate
    for phase in phases:
        if phase.batch_size % pieces:
            name = "batch_size" if phase.batch_size == config.batch_size else "a batch of ramp.start's"
            raise UserError(
                f"{name}={phase.batch_size} is not divisible by {parallel.batch_shards} devices x "
                f"accumulate={config.accumulate} = {pieces}"
            )
    if config.seeds > 1 and config.data.examples != "task":
        raise UserError(f"seeds={config.seeds} of a task train together; of pre-training run them one by one: set seed")
    if config.generator.temperature <= 0:
        raise UserError(f"generator.temperature={config.generator.temperature}: above 0")
    check_choice(config.loss_average, ("global", "device"), "loss_average")
    if config.loss_average == "device" and config.parallel.mode != "pmap":
        raise UserError("loss_average='device' needs parallel.mode='pmap': a mesh sees one global batch")
    for name in config.losses:
        check_choice(name, OBJECTIVES, "objective in losses")
    if not any(config.losses.values()):
        raise UserError("all losses have weight 0: nothing to train")
    masked = [name for name, weight in config.losses.items() if weight and name in NEED_MASKS]
    if config.losses.soft_predictions and not config.model.causal:
        masked.append("soft_predictions")
    if masked and not config.corruption.rate:
        raise UserError(f"losses.{masked[0]} asks for hidden tokens: set corruption.rate above 0, or its weight to 0")
    if config.losses.answerable and not config.losses.joint_span:
        raise UserError("losses.answerable goes with losses.joint_span, whose answers it withholds: set both or neither")
    if config.losses.joint_span and config.task.name == "squad2" and not config.losses.answerable:
        raise UserError(
            "losses.joint_span answers every question, and task.name=squad2 has some without: set losses.answerable=0.5"
        )
    check_choice(config.task.statistic, STATISTICS, "task.statistic")
    if config.task.scale <= 0:
        raise UserError(f"task.scale={config.task.scale}: above 0")
    several = "losses.choose" if config.losses.choose else "task.inputs=gpt1" if config.task.orders > 1 else ""
    if several and masks(config):
        raise UserError(f"{several} reads several texts of an example as they are: set corruption.rate=0")
    if several and config.teacher.cache:
        has = "choices have several" if config.losses.choose else "a pair in both orders is two (task.inputs=gpt1)"
        raise UserError(f"teacher.cache keeps what teachers say of one text of an example: {has}")
    for name, options in config.evals.items():
        modules = [module.name for module in pkgutil.iter_modules(evaluators.__path__)]
        check_choice(options.module, modules, f"module of evals.{name}")
        if options.module == "task" and task_logits(config) is None:
            raise UserError(
                f"evals.{name}.module=task needs a loss on a task's labels ({', '.join(PREDICTS)}): set module=mean"
            )


def check_vocabulary(config, vocabulary):
    """Raises UserError when the model or the masking cannot work with the tokenizer."""
    if vocabulary.size != config.model.vocab_size:
        raise UserError(
            f"model.vocab_size={config.model.vocab_size}, but the tokenizer has {vocabulary.size} entries; "
            "set model.vocab_size and data.tokenizer.vocab_size to the same number"
        )
    needed = ("mask",) if masks(config) else ()
    if config.data.examples != "windows":
        needed += ("start", "separator")
    missing = [name for name in needed if getattr(vocabulary, name) is None]
    if missing:
        raise UserError(
            f"the tokenizer has no token for {', '.join(missing)}, which masking, sentence pairs and tasks need; "
            + (
                "name the one that it has in its folder's tokenizer_config.json (cls_token, sep_token, mask_token)"
                if config.data.tokenizer.path
                else "use data.tokenizer.kind=wordpiece or unigram"
            )
            + ", or data.tokenizer.add as GPT-1 does (configs/finetune.py)"
        )


def masks(config):
    """Whether tokens are hidden from the model: not from one that reads the text on, nor at a rate of 0."""
    asked = any(config.losses[name] for name in NEED_MASKS)
    return config.corruption.rate > 0 and not config.losses.clm and (asked or not config.model.causal)


def predictions_per_sequence(config, length):
    """How many tokens of a full sequence the objectives predict, at most."""
    if not masks(config):
        return length - 1 if config.losses.clm or config.losses.soft_predictions else 0
    return max(corruption.prediction_counts(length, config.corruption.rate, config.corruption.max_predictions))
