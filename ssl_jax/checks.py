"""Checks across a config's options, and values derived from its tokenizer file.

Importing this module does not load JAX, so a config is checked before that.
"""

import dataclasses

from ssl_jax import evaluators, population, source, tasks, trackers
from ssl_jax.config import check_values
from ssl_jax.data import questions
from ssl_jax.distill.matching import check_teachers
from ssl_jax.errors import UserError, check_choice, listed
from ssl_jax.models.spec import model_fields
from ssl_jax.objectives import OBJECTIVES, task_logits, trained
from ssl_jax.optimizers import rate_rules, schedule
from ssl_jax.options import check_bound
from ssl_jax.plan import check_stages, example_kind, make_clock, masks, plan_phases
from ssl_jax.tokenization import files as tokenizer_files
from ssl_jax.tokenization.train import untrained
from ssl_jax.tokenization.vocabulary import vocabulary_of


def from_source(config, given, workdir=None, start=True):
    """The config with what it takes from the run or model that it starts from, and log lines that list it.

    Args:
      config: a run's.
      given: the keys set explicitly, as flags are; they come before what the source says.
      workdir: the run's folder, if any.
      start: whether the source must exist; otherwise only one that is given must.

    Raises:
      UserError: a value is out of bounds, or does not fit the source, or the source is missing.
    """
    check_values(config)
    config, lines = source.adopt(config, given, workdir)
    if start:
        check_teachers(config)
        config = source.resolve(source.resolve_teacher(config), workdir)
    return config, lines


def settle(config, given=()):
    """The config with its vocabulary size set to the tokenizer's, after all checks that need only the config.

    Args:
      config: a run's; it already has the tokenizer of the run or model it starts from, see `source.resolve`.
      given: the keys set explicitly, as flags are.

    Raises:
      UserError: a value is out of bounds, values are inconsistent, or the tokenizer cannot be read.
    """
    check_values(config)
    config = _settle_vocabulary(config, given)
    if config.data.examples == "questions":
        for key, decides in {"batch_size": "questions.tokens", "phases.lengths": "questions.lengths"}.items():
            if key in given:
                raise UserError(f"{key}: batches of questions differ in size, and {decides} decides: leave it out")
        questions.settle(config)
    # What all members agree on decides what the run is.
    config.update_from_flattened_dict(population.members(config)[0].changes)
    if "steps" in given and "task.epochs" not in given:
        config.task.epochs = 0.0  # the recipe's value would override the number of steps
    example_kind(config)
    check(config, plan_phases(config))
    return config


def _settle_vocabulary(config, given):
    """The config with the `vocab_size` of its tokenizer file, or with one that can be trained."""
    config, options = config.copy_and_resolve_references(), config.data.tokenizer
    if not options.path:
        if config.model.vocab_size != options.vocab_size:
            raise UserError(
                f"model.vocab_size={config.model.vocab_size} and data.tokenizer.vocab_size={options.vocab_size} are one "
                "number: set data.tokenizer.vocab_size, which decides"
            )
        tokenizer = untrained(options.kind, options.lowercase, options.add)
        if options.vocab_size < tokenizer.get_vocab_size():
            raise UserError(
                f"data.tokenizer.vocab_size={options.vocab_size}: a {options.kind} tokenizer has "
                f"{tokenizer.get_vocab_size()} pieces before it has learned any"
            )
        check_tokens(config, vocabulary_of(tokenizer))
        return config
    tokenizer = tokenizer_files.load_extended(options)
    vocabulary = vocabulary_of(tokenizer)
    for key in ("data.tokenizer.vocab_size", "model.vocab_size"):
        if key in given and options.vocab_size != vocabulary.size:
            raise UserError(
                f"{key}={options.vocab_size}, but {options.path} has {vocabulary.size} pieces, and decides: leave it out"
            )
    config.data.tokenizer.vocab_size = config.model.vocab_size = vocabulary.size
    check_tokens(config, vocabulary)
    return config


def check_vocabulary(config, vocabulary):
    """Raises UserError if the model or the masking cannot work with the tokenizer."""
    if vocabulary.size != config.model.vocab_size:
        raise UserError(
            f"model.vocab_size={config.model.vocab_size}, but the tokenizer has {vocabulary.size} entries; "
            f"set data.tokenizer.vocab_size={vocabulary.size}, which model.vocab_size follows"
        )
    check_tokens(config, vocabulary)


def check_tokens(config, vocabulary):
    """Raises UserError if a tokenizer lacks special tokens that the config's examples need."""
    needed = ("mask",) if masks(config) else ()
    if config.data.examples not in ("windows", "questions") or config.losses.answer or config.losses.span:
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


def check(config, phases, parallel=None):
    """Raises UserError for inconsistent values; `parallel`: the devices they must fit as well.

    `config.check_values` has already checked each value individually.
    """
    trackers.check(config.run.trackers)
    if config.seed + config.seeds > 1 << 32:
        raise UserError(f"seed={config.seed} and {config.seeds - 1} seeds after it: the last is {(1 << 32) - 1}")
    members = population.members(config)
    if len(members) > 1:
        if config.teacher.cache:
            told = f"seeds={config.seeds}" if config.seeds > 1 else "members"
            raise UserError(f"{told}: teacher.cache has the examples of one seed, in its order: run them one by one")
        for member in members:
            check_values(member.config)
            check(member.config, phases, parallel)
        # Each is in order; now what is decided for all of them at once.
        config = population.varied(config, members)
        schedule(config.optimizer, make_clock(config, phases))
    if config.corruption.mask + config.corruption.random > 1:
        raise UserError("corruption.mask and corruption.random are shares of the same tokens: at most 1 together")
    pieces = config.run.accumulate * (1 if parallel is None else parallel.batch_shards)
    if config.data.examples == "questions" and config.questions.multiple % pieces:
        raise UserError(
            f"questions.multiple={config.questions.multiple}: rows of a batch are cut into {pieces} pieces, which it is to divide"
        )
    for phase in phases:
        if phase.batch_size % pieces:
            name = "batch_size" if phase.batch_size == config.batch_size else "a batch of ramp.start's"
            cut = f"run.accumulate={config.run.accumulate}"
            cut = cut if parallel is None else f"{parallel.batch_shards} devices x {cut} = {pieces}"
            raise UserError(f"{name}={phase.batch_size} is not divisible by {cut}")
    by_device = {"loss_average": config.loss_average, "optimizer.grad_clip_by": config.optimizer.grad_clip_by}
    for key, value in by_device.items():
        if value == "device" and config.parallel.mode != "pmap":
            raise UserError(f"{key}='device' needs parallel.mode='pmap': a mesh sees one global batch")
    if config.model.lstm and config.data.document_mask:
        raise UserError("data.document_mask masks attention, and model.lstm has none: set data.document_mask=False")
    if config.data.static_masks and config.data.examples not in ("pairs", "single"):
        raise UserError(f"data.static_masks is about pairs and single texts, not data.examples={config.data.examples}")
    if config.data.static_masks and config.teacher.cache:
        raise UserError(
            "teacher.cache has a row for each example of the training, data.static_masks repeats them: no cache"
        )
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
    if config.losses.patience and (config.model.causal or config.model.layers < 2):
        raise UserError(
            "losses.patience reads [CLS] in every layer but the last: it needs model.causal=False and model.layers=2 or more"
        )
    if config.losses.answerable and not config.losses.joint_span:
        raise UserError(
            "losses.answerable goes with losses.joint_span, whose answers it withholds: set both or neither"
        )
    if config.losses.joint_span and config.task.name == "squad2" and not config.losses.answerable:
        raise UserError(
            "losses.joint_span answers every question, and task.name=squad2 has some without: set losses.answerable=0.5"
        )


def _check_corruption(config):
    """The checks of corruption.mask_tokens, before anything is masked."""
    options = config.corruption
    if masks(config) and options.with_replacement and options.unit != "token":
        raise UserError(f"corruption.with_replacement needs corruption.unit='token', not {options.unit!r}")
    if masks(config) and options.frequency_smoothing and (options.unit != "token" or options.with_replacement):
        raise UserError("corruption.frequency_smoothing needs corruption.unit='token' and with_replacement=False")


def _asked(config, options):
    """The tasks of an evaluation of answers."""
    return options.get("tasks", ()) or config.questions.tasks


def _check_evaluation(config, name, options):
    check_choice(options.get("module", ""), evaluators.EVALUATORS, f"module of evals.{name}")
    bounds = {
        field.name: field.metadata["bound"] for field in dataclasses.fields(evaluators.EVALUATORS[options.module])
    }
    unknown = options.keys() - bounds.keys()
    if unknown:
        raise UserError(f"evals.{name} has an unknown key {listed(sorted(unknown))}; it takes {listed(sorted(bounds))}")
    for key, value in options.items():
        check_bound(f"evals.{name}.{key}", value, bounds[key])
    if options.get("pairs"):
        if not any(row.pairs for row in trained(config).values()):
            raise UserError(f"evals.{name}.pairs={options.pairs} asks a head of pairs: set losses.nsp or losses.sop")
        if config.teacher.cache:
            raise UserError(f"evals.{name}.pairs={options.pairs}: teacher.cache has not read these pairs")
    if options.module == "fewshot":
        task, prompt = options.get("task", ""), options.get("prompt", "")
        check_choice(task, tasks.PROMPTED, f"task of evals.{name}")
        if prompt:
            check_choice(prompt, tasks.PROMPTED[task].prompts, f"prompt of evals.{name}")
    if options.module == "answers":
        if config.data.examples != "questions":
            raise UserError(f"evals.{name}.module=answers is of data.examples=questions: set module=mean")
        for task in options.get("tasks", ()):
            check_choice(task, tasks.ASKED, f"task of evals.{name}")
        if options.get("folders", ()) and not options.get("tasks", ()):
            raise UserError(f"evals.{name}.folders are of evals.{name}.tasks; questions.folders of those trained on")
        for other, more in config.evals.items():
            files = [(one.get("module"), one.get("split", "heldout")) for one in (more, options)]
            if other < name and files[0] == files[1] and {*_asked(config, more)} & {*_asked(config, options)}:
                raise UserError(
                    f"evals.{other} and evals.{name} would write the same answers: give them other tasks or splits"
                )
    if options.module == "timing" and config.model.network == "mqan":
        raise UserError(f"evals.{name}.module=timing reads the trunk of a Transformer, not MQAN")
    if options.module == "task" and task_logits(config) is None:
        known = ", ".join(name for name, row in OBJECTIVES.items() if row.answers)
        raise UserError(f"evals.{name}.module=task needs a loss on a task's labels ({known}): set module=mean")
