"""A config made concrete: its plan, data, model and teachers. Every error that the user can fix is raised here."""

import bisect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from ssl_jax import source, tasks
from ssl_jax.checkpoints import decisive_values, require_same
from ssl_jax.checks import check, check_vocabulary, settle
from ssl_jax.config import check_values
from ssl_jax.data import batches, tokens
from ssl_jax.data.questions import QuestionBatches
from ssl_jax.distill import cache as teacher_cache
from ssl_jax.distill import teachers as distill
from ssl_jax.errors import UserError
from ssl_jax.models.model import Model, build_model
from ssl_jax.parallel import build_parallel
from ssl_jax.plan import example_kind, plan_phases
from ssl_jax.population import Population
from ssl_jax.tokenization import files as tokenizer_files
from ssl_jax.tokenization.vocabulary import Vocabulary, identity, vocabulary_of


class Experiment(NamedTuple):
    """What `open` returns.

    Attributes:
      config: resolved: with what its source, its tokenizer and its task decide.
      kind: of examples, see `plan.example_kind`.
      phases: list of `plan.Phase`.
      devices: a `parallel.Replicated` or `parallel.Sharded`.
      population: a `Population`, the members of `config`.
      model: a `Model`.
      prepared: Path of the prepared corpus.
      tokenizer, vocabulary: of the run.
      counts: how often each token occurs in the training text, [V]; None where nothing reads it.
      stores: split -> store of what batches are made of.
      examples: for each phase `batch(step, rows)`, the rows of the global batch of a step.
      teachers: the teachers' parameters, on the devices; [] with a cache.
      teacher_models: their models.
      teach: returns `out['teacher']`, see distill/teachers.py; None without teachers.
      attach: `attach(part, batch)` adds a teacher cache's rows to a batch, see distill/cache.py.
      fingerprint: all that decides the run's numbers, as a JSON-able dict.
    """

    config: ConfigDict
    kind: str
    phases: list
    devices: Any
    population: Population
    model: Model
    prepared: Path
    tokenizer: Any
    vocabulary: Vocabulary
    counts: Any
    stores: dict
    examples: list
    teachers: list
    teacher_models: list
    teach: Callable | None
    attach: Callable
    fingerprint: dict

    @property
    def pure(self):
        """The arguments of step.py's functions."""
        return self.config, self.model, self.vocabulary, self.counts, self.teach

    def of(self, config):
        """This experiment for a config of one of its members, or for that of all of them (`population.varied`)."""
        return self if config is self.config else self._replace(config=config, model=build_model(config))

    def phase(self, step):
        """The `plan.Phase` of a step."""
        return self.phases[self._number(step)]

    def batch(self, step):
        """This host's rows of the global batch of a step: a pure function of the step, so that the step is the cursor."""
        number = self._number(step)
        return self.attach("train", self.examples[number](step, self.devices.rows(self.phases[number].batch_size)))

    def notes(self):
        """Lines on what the data are, for a run that starts."""
        lengths = {phase.length for phase in self.phases}
        if self.kind == "questions":
            return [line for split, store in self.stores.items() for line in store.report(split)]
        return list(tasks.report(self.stores, self.vocabulary, lengths)) if self.kind == "task" else []

    def _number(self, step):
        return bisect.bisect_right(self.phases, step, key=lambda phase: phase.first) - 1


def open(config, workdir=None):  # noqa: A001
    """Makes a config concrete; the corpus is prepared if it is not yet.

    Args:
      config: a run's.
      workdir: the run's folder, which says how a run that is resumed began.

    Returns:
      An `Experiment`.

    Raises:
      UserError: a value is out of bounds, values do not fit each other, the tokenizer, the devices or the files of a
        task, teachers do not fit the student, a cache is stale, or hosts have different configs.
    """
    # What only takes the configs comes first, then what takes a task's files.
    check_values(config)
    config = settle(source.resolve(source.resolve_teacher(config), workdir))
    source.check_fit(config, workdir)
    config.run.extend = config.run.extend or was_extended(config, workdir)
    devices = build_parallel(config.parallel)
    config = tasks.resolve(config)
    asked = tasks.open_questions(config) if config.data.examples == "questions" else None
    config = asked.config if asked else config
    phases, kind = plan_phases(config), example_kind(config)
    check(config, phases, devices)
    population = Population(devices, config)
    model = build_model(config)

    prepared = asked.prepared if asked else Path(tokens.prepare(config.data))
    tokenizer = tokenizer_files.load(prepared / "tokenizer.json")
    vocabulary = vocabulary_of(tokenizer)
    check_vocabulary(config, vocabulary)
    counts = token_counts(config, prepared, vocabulary)
    if asked:
        stores = asked.stores
    elif kind == "task":
        stores = tasks.open_stores(config, tokenizer)
    else:
        stores = {split: tokens.Store(prepared, split) for split in tokens.SPLITS}
    examples = [
        population.examples(lambda seed, phase=phase: _examples(config, kind, stores["train"], vocabulary, phase, seed))
        for phase in phases
    ]

    runs = distill.load_teachers(config, identity(tokenizer), devices)
    fingerprint = make_fingerprint(config, prepared, stores, [run.params_hash for run in runs])
    require_same(fingerprint)
    teach, attach = (
        distill.make_teach(config, [run.model for run in runs]) if runs else None,
        teacher_cache.attach_nothing,
    )
    if config.teacher.cache:
        needed = teacher_cache.parts(config, kind, phases, examples, stores, vocabulary)
        made_of = teacher_cache.passport(config, fingerprint, kind, [run.model for run in runs])
        cache = teacher_cache.open_cache(config, made_of, needed)
        fingerprint["teacher"]["cache"] = cache.precision
        # The teachers were read for their hashes: free them before the student takes memory.
        teach, attach, runs = teacher_cache.teach, cache.attach, []
    teachers, teacher_models = [devices.adopt(run.params) for run in runs], [run.model for run in runs]
    return Experiment(
        config, kind, phases, devices, population, model, prepared, tokenizer, vocabulary, counts, stores, examples, teachers,
        teacher_models, teach, attach, fingerprint,
    )  # fmt: skip


def token_counts(config, prepared, vocabulary):
    """How often each token occurs in the training text, [V]; None where nothing reads it."""
    if config.generator.kind != "unigram" and not config.corruption.frequency_smoothing:
        return None
    return tokens.Store(prepared, "train").counts(vocabulary.size)


def _examples(config, kind, store, vocabulary, phase, seed):
    if kind == "questions":
        return QuestionBatches(store, config.mixture, config.steps, seed, phase.batch_size)
    return batches.training_batches(
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


def make_fingerprint(config, prepared, stores, teacher_hashes=()):
    """What decides a run's numbers, as a JSON-able dict: the config's `decisive_values`, hashes of data and teachers."""
    values = json.loads(config.to_json())
    values["teacher"] |= {"runs": list(teacher_hashes), "cache": ""}
    if config.init.run in config.teacher.runs:
        values["init"]["run"] = "teacher"
    passport = tokens.read_passport(prepared)
    hashes = {name: passport[name] for name in ("content_hash", "tokenizer_hash")}
    if config.data.examples in ("task", "questions"):
        hashes["task"] = {split: store.content_hash for split, store in stores.items()}
    return decisive_values(values) | {"prepared": hashes}


def was_extended(config, workdir):
    """Whether a run was extended to this length before: its checkpoints may still be of the old one."""
    if workdir is None:
        return False
    try:
        values = source.read_values(workdir)
    except UserError:  # it has not begun, or is damaged
        return False
    current = json.loads(config.to_json())
    return values.get("run", {}).get("extend") is True and all(
        values.get(key) == current[key] for key in ("steps", "phases", "ramp")
    )
