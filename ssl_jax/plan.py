"""What a run will do, from its config only: phases, clock, examples, and whether its values are consistent.

Importing this module does not load JAX, so a config is checked before that.
"""

import dataclasses
import math
from typing import NamedTuple

import numpy as np

from ssl_jax import tasks
from ssl_jax.corruption import prediction_counts
from ssl_jax.data import questions
from ssl_jax.errors import UserError, check_choice
from ssl_jax.lazy import jnp
from ssl_jax.objectives import loss_of, trained
from ssl_jax.optimizers import Clock, step_clock, warmup_of
from ssl_jax.options import BOOL, DEEPEST, SHARE, TEXT, WIDEST, number, option, several, whole

MOST_SIZES = 1_000  # of a growing batch; each is a phase


@dataclasses.dataclass(frozen=True)
class Phases:
    """The sequence lengths, and the share of the steps at each."""

    BLOCK = "phases"

    lengths: tuple = option((512,), several(int, 1, WIDEST), "sequence lengths, and the share of the steps at each")
    shares: tuple = option((1.0,), several(float, 0, 1), "sequence lengths, and the share of the steps at each")


@dataclasses.dataclass(frozen=True)
class Ramp:
    """The batch grows from `start` over a share of the tokens."""

    BLOCK = "ramp"

    start: int = option(0, whole(0), "the batch grows from `start` over this share of the tokens; 0: no ramp")
    share: float = option(0.0, SHARE, "the batch grows from `start` over this share of the tokens; 0: no ramp")


@dataclasses.dataclass(frozen=True)
class Init:
    """Where the initial parameters come from; source.py and start.py read it."""

    BLOCK = "init"

    run: str = option(
        "", TEXT, "a finished run to start from; 'teacher': the first of teacher.runs; 'none' as '': none"
    )
    step: int = option(
        0, whole(0), "its checkpoint of this step, as long as it keeps it (run.keep_checkpoints); 0: the newest"
    )
    layers: tuple = option(
        (), several(int, 0, DEEPEST), "which of its layers, from 0, are the first ones here; (): all of them"
    )
    drop: tuple = option(
        (), several(str), "its parameters that are left out, by name or part: 'pair', 'embeddings/segment'"
    )
    fresh: tuple = option((), several(str), "parameters that start from initial values, whatever the source has")
    rename: tuple = option((), several(str), "its parameters with another name here: 'generator_encoder=encoder'")
    grow: tuple = option((), several(str), "what may have more rows here than there: 'positions', 'vocabulary'")
    optimizer: bool = option(False, BOOL, "True: its optimizer's state and step, too: this run continues that one")


@dataclasses.dataclass(frozen=True)
class Run:
    """What may change from one start of a run to the next."""

    BLOCK = "run"

    accumulate: int = option(1, whole(1), "micro-batches per step: less memory, the same numbers")
    logit_pieces: int = option(
        0, whole(0), "in how many pieces logits over the vocabulary are computed; 0: in 8 where they take over 256 MiB"
    )
    together: bool = option(True, BOOL, "False: one after the other, as where they do not fit in memory together")
    log_every: int = option(0, whole(0), "steps between lines of metrics; 0: 20 in all, but at least every 100 steps")
    evaluate_every: int = option(0, whole(0), "steps between evaluations; 0: 4 in all, but at least every 10,000 steps")
    checkpoint_every: int = option(
        0, whole(0), "steps between checkpoints; 0: 4 in all, but at least every 1,000 steps"
    )
    checkpoint_minutes: float = option(
        10.0, number(0), "at least this often there is a checkpoint, whatever checkpoint_every; 0: not so"
    )
    trackers: tuple = option(
        ("tensorboard",),
        several(str),
        "where metrics go besides the run's files: tensorboard, wandb, mlflow (trackers.py)",
    )
    reference: str = option(
        "", TEXT, "file of reference curves (health.py): a metric that leaves their band says so; '': none"
    )
    keep_checkpoints: int = option(3, whole(1), "how many are kept, the newest")
    extend: bool = option(
        False, BOOL, "True: a run of other `steps` continues to these, with its optimizer and order of examples"
    )


class Phase(NamedTuple):
    """Steps `first` to `last` (exclusive) with one sequence length and one batch size."""

    first: int
    last: int
    length: int
    batch_size: int
    first_example: int  # examples before it


def plan_phases(config):
    """The run's phases: `phases.shares` of the steps at each of `phases.lengths` (BERT, A.2: .9, .1).

    With `ramp.start` the batch grows over the first `ramp.share` of the run's tokens, from that size in increments of
    that size, each for the same number of tokens: linearly in tokens, like GPT-3's (appendix B).

    Raises:
      UserError: they are inconsistent with each other, the positions or the number of steps.
    """
    lengths, shares, ramp = config.phases.lengths, config.phases.shares, config.ramp
    if len(lengths) != len(shares) or not math.isclose(sum(shares), 1):
        raise UserError(f"phases.lengths={lengths} needs as many phases.shares, summing to 1; got {shares}")
    if min(lengths) < 5:
        raise UserError(f"phases.lengths={lengths}: a pair of sentences needs 5 tokens, three of them special")
    if max(lengths) > config.model.max_positions:
        raise UserError(f"phases.lengths={lengths}: longer than model.max_positions={config.model.max_positions}")
    if ramp.start:
        if len(lengths) > 1 or not 0 < ramp.start < config.batch_size:
            raise UserError(
                f"ramp.start={ramp.start} needs a single one of phases.lengths={lengths} and to be below "
                f"batch_size={config.batch_size}"
            )
        sizes = range(ramp.start, config.batch_size, ramp.start)
        if len(sizes) > MOST_SIZES:
            raise UserError(
                f"ramp.start={ramp.start} takes {len(sizes):,} steps up to batch_size={config.batch_size:,}: "
                f"at most {MOST_SIZES:,}"
            )
        # Of E examples in total, E * share / len(sizes) come at each size b, in that number / b steps, and
        # E * (1 - share) at the full size: the steps add up to config.steps.
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


def taken_until(phases, step):
    """The phases up to `step`, excluding it."""
    return [phase._replace(last=min(phase.last, step)) for phase in phases if phase.first < step]


# Default intervals for logging, evaluation and checkpoints: at most this many steps, at least this many per run.
CADENCES = {"log_every": (100, 20), "evaluate_every": (10_000, 4), "checkpoint_every": (1_000, 4)}


def cadence(config, name):
    """The interval in steps that `run.NAME`, 'log_every', sets: the config's, or derived from the run's length if 0."""
    most, parts = CADENCES[name]
    return config.run[name] or min(most, -(-config.steps // parts))


def make_clock(config, phases):
    """The learning rate schedule's unit, `optimizer.clock`: 'steps', or 'tokens' seen before a step."""
    if config.optimizer.clock == "steps":
        return step_clock(config.steps)
    ends = [0, *(phase.last for phase in phases)]
    made = [(phase.last - phase.first) * phase.batch_size * phase.length for phase in phases]
    tokens_at = np.cumsum([0, *made], dtype=np.float64)
    return Clock(float(tokens_at[-1]), lambda step: jnp.interp(step, jnp.array(ends), jnp.array(tokens_at)))


def example_kind(config):
    """The kind of example: 'windows' of text, 'single' texts, a 'task' example, 'questions', or pairs of the kind the losses
    need.

    Without a loss on pairs these are of the kind that `data.unlabelled` names.

    Raises:
      UserError: the losses need two kinds, or pairs or classes that the examples lack.
    """
    losses = trained(config)
    if config.data.examples == "questions":
        questions.check(config)
        return "questions"
    asked = [row.pairs for row in losses.values() if row.pairs]
    if len(asked) > 1:
        raise UserError("losses.nsp and losses.sop label the same pairs in two ways: set one of them to 0")
    for name, row in losses.items():
        if not row.task:
            continue
        if config.data.examples != "task":
            raise UserError(f"losses.{name} needs a task of {row.task}: set data.examples=task, or its weight to 0")
        check_choice(config.task.name, tasks.FINE_TUNED, "task.name")
        kind = tasks.TASKS[config.task.name].kind
        if kind != row.task:
            raise UserError(
                f"losses.{name} needs a task of {row.task}, and task.name={config.task.name} is one of {kind}: set "
                f"losses.{loss_of(kind)} instead"
            )
    if asked and config.data.examples != "pairs":
        raise UserError(f"losses.{asked[0]} needs sentence pairs: set data.examples=pairs")
    if config.data.examples == "windows":
        return "windows"
    if config.data.document_mask:
        raise UserError("data.document_mask is about windows, which hold several documents: set data.examples=windows")
    if config.data.examples in ("single", "task"):
        return config.data.examples
    return asked[0] if asked else config.data.unlabelled


def check_stages(config):
    """Returns the number of steps that train only the generator, `generator.first_stage` of all, see two_stage.py.

    Raises:
      UserError: the discriminator cannot start from the generator's weights, or the generator is not trained.
    """
    first = round(config.generator.first_stage * config.steps)
    if not first:
        return 0
    generator, model = config.generator, config.model
    same = generator.size == 1 and generator.layers == 1 and model.embedding_size in (0, model.hidden_size)
    if (
        generator.kind != "transformer"
        or generator.tying != "none"
        or not same
        or model.heads != max(1, model.hidden_size // 64)
    ):
        raise UserError(
            "generator.first_stage: the discriminator starts from the generator's weights, which needs "
            "generator.kind=transformer, tying=none, size=1, layers=1, model.embedding_size=0 and heads of 64"
        )
    if not config.losses.mlm:
        raise UserError("generator.first_stage: the first stage trains losses.mlm, which has weight 0")
    return first


def overview(config, workdir, parameters, devices, counts):
    """Lines printed before the first step that summarize a run, a name and its value on each, in two columns.

    Args:
      config: a run's, resolved.
      workdir: its folder.
      parameters: the model's parameter count.
      devices: name of each device, str.
      counts: of the training data: `documents`, `sentences` and `tokens` from data.json, a task's `examples`, or each task's.
    """
    phases = plan_phases(config)
    seen = sum((phase.last - phase.first) * phase.batch_size for phase in phases)
    tokens = sum((phase.last - phase.first) * phase.batch_size * phase.length for phase in phases)
    batches = list(dict.fromkeys(f"{phase.batch_size:,} x {phase.length} tokens" for phase in phases))
    shape = batches[0] if len(batches) == 1 else f"{batches[0]} to {batches[-1]}"
    length = f"{config.steps:,} steps of {shape}: {tokens:,} tokens"
    if config.data.examples == "questions":
        source = "questions of " + ", ".join(f"{name} ({count:,})" for name, count in counts.items())
        length = f"{config.steps:,} steps of about {config.questions.tokens:,} tokens, each of one task"
    elif config.data.examples == "task":
        source = f"task {config.task.name}: {counts['examples']:,} examples"
        length += f", {seen / counts['examples']:,.3g} epochs"
    else:
        told = ", ".join(f"{counts[name]:,} {name}" for name in ("documents", "sentences", "tokens"))
        source = f"{config.data.corpus}: {told}"
        length += f", {tokens / max(counts['tokens'], 1):,.3g} epochs"
    seeds = "" if config.seeds == 1 else f" to {config.seed + config.seeds - 1}"
    together = {"members": "; ".join(config.members)} if config.members else {}
    tokenizer = config.data.tokenizer
    made = tokenizer.path or f"{tokenizer.kind} of the corpus"
    lines = {
        "config": config.variant or "no name",
        "parameters": f"{parameters:,}",
        "devices": ", ".join(f"{devices.count(kind)} x {kind}" for kind in dict.fromkeys(devices)),
        "training data": source,
        "tokenizer": f"{made}, {config.model.vocab_size:,} pieces",
        "length": length,
        "starts from": config.init.run or f"random values, seed {config.seed}{seeds}",
        **together,
        "folder": str(workdir),
    }
    clock = make_clock(config, phases)
    warmup = warmup_of(config.optimizer, clock)
    if warmup > clock.total:
        lines["warm-up"] = (
            f"{warmup:,.0f} {config.optimizer.clock}, longer than the run: the learning rate only reaches "
            f"{clock.total / warmup:.2g} of {config.optimizer.learning_rate:g}; --config.optimizer.warmup=0.01 is a share"
        )
    return [f"{name:<13}  {text}" for name, text in lines.items()]


def masks(config):
    """Whether tokens are masked: not for a causal language model, nor at a rate of 0."""
    asked = any(row.masks for row in trained(config).values())
    return config.corruption.rate > 0 and not config.losses.clm and (asked or not config.model.causal)


def predictions_per_sequence(config, length):
    """The maximum number of tokens of a full sequence that the objectives predict; of an answer to a question its words."""
    if config.losses.answer:
        return questions.longest_answer(config.questions, length) + 1  # and its end
    if not masks(config):
        return length - 1 if config.losses.clm or config.losses.soft_predictions else 0
    options = config.corruption
    return prediction_counts(length, options.rate, options.max_predictions, options.with_replacement)[-1]
