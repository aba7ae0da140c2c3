"""What a run will do, as its config alone says: its phases, its clock, its examples, and whether its values fit.

Importing this takes no JAX, so that a config is checked before that is loaded.
"""

import math
from typing import NamedTuple

import numpy as np

from ssl_jax import evaluators, tasks, tokenizers
from ssl_jax.bounds import check_regex, check_value, check_values
from ssl_jax.errors import UserError, check_choice, listed, shown
from ssl_jax.models.spec import model_fields
from ssl_jax.objectives import OBJECTIVES, loss_of, task_logits, trained

MOST_SIZES = 1_000  # of a batch that grows; each is a phase


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
        if len(sizes) > MOST_SIZES:
            raise UserError(
                f"ramp.start={ramp.start} takes {len(sizes):,} steps up to batch_size={config.batch_size:,}: at most {MOST_SIZES:,}"
            )
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


def taken_until(phases, step):
    """The phases of the steps before `step`."""
    return [phase._replace(last=min(phase.last, step)) for phase in phases if phase.first < step]


# How often a run logs, evaluates and is saved where the config leaves it open: steps, at most, and parts of the run.
CADENCES = {"log_every": (100, 20), "evaluate_every": (10_000, 4), "checkpoint_every": (1_000, 4)}


def cadence(config, name):
    """Every how many steps a run does what `name` says, 'log_every': as the config has it, or by the run's length (0)."""
    most, parts = CADENCES[name]
    return config[name] or min(most, -(-config.steps // parts))


def make_clock(config, phases):
    """What the learning rate's schedule counts in, `optimizer.clock`: 'steps', or 'tokens' seen before a step."""
    import jax.numpy as jnp

    from ssl_jax.optimizers import Clock, step_clock

    if config.optimizer.clock == "steps":
        return step_clock(config.steps)
    ends = [0, *(phase.last for phase in phases)]
    made = [(phase.last - phase.first) * phase.batch_size * phase.length for phase in phases]
    tokens_at = np.cumsum([0, *made], dtype=np.float64)
    return Clock(float(tokens_at[-1]), lambda step: jnp.interp(step, jnp.array(ends), jnp.array(tokens_at)))


def example_kind(config):
    """What an example is: 'windows' of the text, 'single' texts, one of a 'task', or pairs of the losses' kind.

    Without a loss on pairs they are 'segments', two neighbouring ones without a label, as ELECTRA packs them.

    Raises:
      UserError: the losses ask for two kinds, or for pairs or classes where there are none.
    """
    losses = trained(config)
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
    if config.data.examples != "pairs" and asked:
        raise UserError(f"losses.{asked[0]} needs sentence pairs: set data.examples=pairs")
    if config.data.examples == "windows":
        return "windows"
    if config.data.borders:
        raise UserError("data.borders is about windows, which hold several documents: set data.examples=windows")
    if config.data.examples in ("single", "task"):
        return config.data.examples
    return asked[0] if asked else "segments"


def check(config, phases, parallel=None):
    """Raises UserError for values that do not fit each other; `parallel`: the devices that they must fit, too.

    `bounds.check_values` has looked at each of them by itself.
    """
    if config.corruption.mask + config.corruption.random > 1:
        raise UserError("corruption.mask and corruption.random are shares of the same tokens: at most 1 together")
    pieces = config.accumulate * (1 if parallel is None else parallel.batch_shards)
    for phase in phases:
        if phase.batch_size % pieces:
            name = "batch_size" if phase.batch_size == config.batch_size else "a batch of ramp.start's"
            cut = f"accumulate={config.accumulate}"
            cut = cut if parallel is None else f"{parallel.batch_shards} devices x {cut} = {pieces}"
            raise UserError(f"{name}={phase.batch_size} is not divisible by {cut}")
    if config.seed + config.seeds > 1 << 32:
        raise UserError(f"seed={config.seed} and {config.seeds - 1} seeds after it: the last is {(1 << 32) - 1}")
    if config.seeds > 1 and config.data.examples != "task":
        raise UserError(f"seeds={config.seeds} of a task train together; of pre-training run them one by one: set seed")
    if config.loss_average == "device" and config.parallel.mode != "pmap":
        raise UserError("loss_average='device' needs parallel.mode='pmap': a mesh sees one global batch")
    _check_losses(config)
    _check_corruption(config)
    rate_rules(config.optimizer)
    check_stages(config)
    several = "losses.choose" if config.losses.choose else "task.inputs=gpt1" if config.task.orders > 1 else ""
    if several and masks(config):
        raise UserError(f"{several} reads several texts of an example as they are: set corruption.rate=0")
    if several and config.teacher.cache:
        has = "choices have several" if config.losses.choose else "a pair in both orders is two (task.inputs=gpt1)"
        raise UserError(f"teacher.cache keeps what teachers say of one text of an example: {has}")
    for name, options in config.evals.items():
        _check_evaluation(config, name, options)
    model_fields(config)


def _check_losses(config):
    losses = trained(config)
    if not losses:
        raise UserError("all losses have weight 0: nothing to train")
    masked = [name for name, row in losses.items() if row.masks]
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


def _check_corruption(config):
    """As corruption.mask_tokens, before anything is masked."""
    options = config.corruption
    if masks(config) and options.with_replacement and options.unit != "token":
        raise UserError(f"corruption.with_replacement needs corruption.unit='token', not {options.unit!r}")
    if masks(config) and options.smoothing and (options.unit != "token" or options.with_replacement):
        raise UserError("corruption.smoothing needs corruption.unit='token' and with_replacement=False")


def _check_evaluation(config, name, options):
    check_choice(options.get("module", ""), evaluators.EVALUATORS, f"module of evals.{name}")
    needs, more = evaluators.EVALUATORS[options.module]
    takes = {"module", *needs, *more}
    for keys, what in (({*needs} - {*options}, "has no"), ({*options} - takes, "has an unknown key")):
        if keys:
            raise UserError(f"evals.{name} {what} {listed(sorted(keys))}; it takes {listed(sorted(takes))}")
    if options.module == "fewshot":
        check_choice(options.task, tasks.PROMPTED, f"task of evals.{name}")
        if options.get("prompt"):
            check_choice(options.prompt, tasks.PROMPTED[options.task].prompts, f"prompt of evals.{name}")
    if options.module == "task" and task_logits(config) is None:
        known = ", ".join(name for name, row in OBJECTIVES.items() if row.answers)
        raise UserError(f"evals.{name}.module=task needs a loss on a task's labels ({known}): set module=mean")


def check_stages(config):
    """Returns how many steps train the generator alone, `generator.first_stage` of all, see two_stage.py.

    Raises:
      UserError: the discriminator cannot start from the generator's weights, or the generator is not trained.
    """
    first = round(config.generator.first_stage * config.steps)
    if not first:
        return 0
    generator, model = config.generator, config.model
    same = generator.size == 1 and generator.layers == 1 and model.embedding_size in (0, model.hidden_size)
    if generator.kind != "transformer" or generator.tying != "none" or not same or model.heads != max(
        1, model.hidden_size // 64
    ):
        raise UserError(
            "generator.first_stage: the discriminator starts from the generator's weights, which needs "
            "generator.kind=transformer, tying=none, size=1, layers=1, model.embedding_size=0 and heads of 64"
        )
    if not config.losses.mlm:
        raise UserError("generator.first_stage: the first stage trains losses.mlm, which has weight 0")
    return first


def rate_rules(optimizer):
    """(key, regex, multiplier) of `optimizer.frozen` and of each entry of `rates`: the first that matches counts.

    Raises:
      UserError: an entry of `rates` is not of its form, or a regex is none.
    """
    rules = [("optimizer.frozen", optimizer.frozen, 0.0)] if optimizer.frozen else []
    for entry in optimizer.rates:
        pattern, _, multiplier = entry.rpartition("=")
        try:
            multiplier = float(multiplier)
        except ValueError:
            multiplier = -1.0
        if not pattern or not 0 <= multiplier < math.inf:
            raise UserError(
                f"optimizer.rates: {shown(entry)} is not REGEX=MULTIPLIER with a number of 0 or more, as ^classifier=10"
            )
        rules.append(("optimizer.rates", pattern, multiplier))
    for key, pattern, _ in rules:
        check_regex(key, pattern)
    return rules


def check_teachers(config):
    """Raises UserError for a loss without a teacher, a teacher without a loss, or a temperature that is none."""
    check_value("teacher.temperature", config.teacher.temperature)
    asking = [name for name, row in trained(config).items() if row.teacher]
    folders = config.teacher.runs
    if asking and not folders:
        raise UserError(f"losses.{asking[0]} compares with a teacher: set teacher.runs, a tuple of finished runs' folders")
    if config.teacher.cache and not asking:
        raise UserError("teacher.cache is read by no loss: give losses.soft_targets or another of them a weight")
    if folders and not asking and config.init_from not in ("teacher", *folders):
        raise UserError("teacher.runs is read by no loss: give losses.soft_targets or another of them a weight")


def overview(config, workdir, parameters, devices, counts):
    """Lines that say, before the first step, what a run will do; a name and what it is on each, in two columns.

    Args:
      config: a run's, resolved.
      workdir: its folder.
      parameters: how many the model has.
      devices: what each is called, str.
      counts: of what is trained on: `documents`, `sentences` and `tokens` as data.json has them, or a task's `examples`.
    """
    phases = plan_phases(config)
    seen = sum((phase.last - phase.first) * phase.batch_size for phase in phases)
    tokens = sum((phase.last - phase.first) * phase.batch_size * phase.length for phase in phases)
    batches = list(dict.fromkeys(f"{phase.batch_size:,} x {phase.length} tokens" for phase in phases))
    shape = batches[0] if len(batches) == 1 else f"{batches[0]} to {batches[-1]}"
    if config.data.examples == "task":
        source = f"task {config.task.name}: {counts['examples']:,} examples"
        epochs = seen / counts["examples"]
    else:
        told = ", ".join(f"{counts[name]:,} {name}" for name in ("documents", "sentences", "tokens"))
        source = f"{config.data.corpus}: {told}"
        epochs = tokens / max(counts["tokens"], 1)
    seeds = "" if config.seeds == 1 else f" to {config.seed + config.seeds - 1}"
    tokenizer = config.data.tokenizer
    made = tokenizer.path or f"{tokenizer.kind} of the corpus"
    lines = {
        "config": config.variant or "no name",
        "parameters": f"{parameters:,}",
        "devices": ", ".join(f"{devices.count(kind)} x {kind}" for kind in dict.fromkeys(devices)),
        "training data": source,
        "tokenizer": f"{made}, {config.model.vocab_size:,} pieces",
        "length": f"{config.steps:,} steps of {shape}: {tokens:,} tokens, {epochs:,.3g} epochs",
        "starts from": config.init_from or f"random values, seed {config.seed}{seeds}",
        "folder": str(workdir),
    }
    return [f"{name:<13}  {text}" for name, text in lines.items()]


def settle(config, given=()):
    """The config with the one size of its vocabulary, the tokenizer's; all that it says by itself has been checked.

    Args:
      config: a run's; of the run or model that it starts from it has the tokenizer, see `source.resolve`.
      given: the keys that were set on purpose, as flags are.

    Raises:
      UserError: a value is out of bounds, values do not fit each other, or the tokenizer cannot be read.
    """
    check_values(config)
    config = _settle_vocabulary(config, given)
    if "steps" in given and "task.epochs" not in given:
        config.task.epochs = 0.0  # a recipe's, which would decide the number of steps
    example_kind(config)
    check(config, plan_phases(config))
    return config


def _settle_vocabulary(config, given):
    """The config with a `vocab_size` as its tokenizer's file says, or with one that can be trained."""
    config, options = config.copy_and_resolve_references(), config.data.tokenizer
    if not options.path:
        if config.model.vocab_size != options.vocab_size:
            raise UserError(
                f"model.vocab_size={config.model.vocab_size} and data.tokenizer.vocab_size={options.vocab_size} are one "
                "number: set data.tokenizer.vocab_size, which decides"
            )
        tokenizer = tokenizers.untrained(options.kind, options.lowercase, options.add)
        if options.vocab_size < tokenizer.get_vocab_size():
            raise UserError(
                f"data.tokenizer.vocab_size={options.vocab_size}: a {options.kind} tokenizer has "
                f"{tokenizer.get_vocab_size()} pieces before it has learned any"
            )
        check_tokens(config, tokenizers.vocabulary(tokenizer))
        return config
    tokenizer = tokenizers.add_pieces(tokenizers.load(options.path), options.add)
    vocabulary = tokenizers.vocabulary(tokenizer)
    for key in ("data.tokenizer.vocab_size", "model.vocab_size"):
        if key in given and options.vocab_size != vocabulary.size:
            raise UserError(
                f"{key}={options.vocab_size}, but {options.path} has {vocabulary.size} pieces, and decides: leave it out"
            )
    config.data.tokenizer.vocab_size = config.model.vocab_size = vocabulary.size
    check_tokens(config, vocabulary)
    return config


def check_vocabulary(config, vocabulary):
    """Raises UserError when the model or the masking cannot work with the tokenizer."""
    if vocabulary.size != config.model.vocab_size:
        raise UserError(
            f"model.vocab_size={config.model.vocab_size}, but the tokenizer has {vocabulary.size} entries; "
            f"set data.tokenizer.vocab_size={vocabulary.size}, which model.vocab_size follows"
        )
    check_tokens(config, vocabulary)


def check_tokens(config, vocabulary):
    """Raises UserError when a tokenizer has not the special tokens that the config's examples need."""
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
    asked = any(row.masks for row in trained(config).values())
    return config.corruption.rate > 0 and not config.losses.clm and (asked or not config.model.causal)


def predictions_per_sequence(config, length):
    """How many tokens of a full sequence the objectives predict, at most."""
    if not masks(config):
        return length - 1 if config.losses.clm or config.losses.soft_predictions else 0
    return predictions(length, config.corruption.rate, config.corruption.max_predictions)


def predictions(tokens, rate, most):
    """How many of so many real tokens, specials included, are predicted: a share of them, 1 at least, `most` at most.

    min(max_predictions_per_seq, max(1, round(tokens * rate))) in create_pretraining_data.py. `most` 0 sets no cap.
    """
    count = min(max(1, round(rate * tokens)), tokens)
    return min(count, most or count)
