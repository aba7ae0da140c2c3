"""Evaluates finished runs from a config: runs x tasks x prompts x shots x draws, with result files and figures."""

import dataclasses
import functools
import json
import shutil
from pathlib import Path

import jax
import numpy as np

from ssl_jax import files, logs, metrics, runs, tasks
from ssl_jax.errors import UserError, check_choice, check_entries
from ssl_jax.evaluators import FIT, PAPER, FewShot, contamination, fewshot
from ssl_jax.load import load_run
from ssl_jax.options import check_bound, whole
from ssl_jax.reports import fewshot as figures
from ssl_jax.tasks import PROMPTED
from ssl_jax.tasks.base import solved

# The options of an evaluation that the config has for all tasks.
SHARED = ("seed", "limit", "too_long", "batch_size", "window", "stride")


def chosen(config):
    """(task, prompt) names of `config.tasks`, whose entries are 'TASK' (all its prompts) or 'TASK:PROMPT'.

    Raises:
      UserError: unknown task or prompt.
    """
    pairs = []
    for entry in config.tasks:
        task, _, prompt = entry.partition(":")
        check_choice(task, PROMPTED, "task in tasks")
        if prompt:
            check_choice(prompt, PROMPTED[task].prompts, f"prompt of task {task!r} in tasks")
        pairs += [(task, name) for name in ([prompt] if prompt else PROMPTED[task].prompts)]
    if not pairs:
        raise UserError(f"tasks is empty: name some, as in --config.tasks=topic,title; there are {', '.join(PROMPTED)}")
    return pairs


def check(config):
    """Raises UserError for values that are out of bounds."""
    if not config.runs:
        raise UserError("runs is empty: name finished runs, as in --config.runs=runs/a,runs/b")
    for name, kind in (("runs", str), ("tasks", str), ("shots", int)):
        check_entries(config[name], kind, name)
    if not config.shots or min(config.shots) < PAPER:
        raise UserError(
            f"shots={config.shots}: numbers of examples, -1 for as many as fit, -2 for GPT-3's of each task"
        )
    check_choice(config.average, figures.AVERAGES, "average")
    check_bound("seeds", config.seeds, whole(1))
    for field in _fields():
        check_bound(field.name, config[field.name], field.metadata["bound"])


def _fields():
    """The fields of FewShot that the config has, the same for all tasks."""
    return [field for field in dataclasses.fields(FewShot) if field.name in SHARED]


def _evaluator(config, run, read, task, name):
    """The Evaluator of a task's `_source`; `read`: like `tasks.records`."""
    source = _source(config, run, task)
    options = FewShot(task=task, prompt=name, **{field.name: config[field.name] for field in _fields()})
    try:
        return fewshot.Evaluator(run, None, options, records=read(task, source))
    except UserError as error:
        raise UserError(f"{run.workdir}: {error}") from error


def _source(config, run, task):
    """FOLDER/TASK if present, else the run's `data` paths."""
    folder = Path(config.folder) / task
    return tasks.source_of(run.config, str(folder) if config.folder and folder.is_dir() else "")


def prompts(config, count):
    """Yields (title, prompt, targets) for the first items of each task, prompt and number of shots, for the first run.

    These are exactly what the model reads.
    """
    check(config)
    run = load_run(config.runs[0])
    for task, name in chosen(config):
        evaluator = _evaluator(config, run, tasks.records, task, name)
        for shots in _shots(config, evaluator.prompt):
            for number, one in enumerate(evaluator.compose(shots, limit=count)):
                title = f"{task} ({name}), item {number}, {told_shots(task, one.shown, one.shown)}"
                for context, targets in _by_context(one.pairs).items():
                    yield title, context, targets


def _by_context(pairs):
    targets = {}
    for context, target in pairs:
        targets.setdefault(context, []).append(target)
    return targets


def _shots(config, prompt):
    return (0,) if prompt.kind in fewshot.WHOLE else tuple(config.shots)


def evaluate(config, workdir, say=print):
    """Evaluates and writes the results to `workdir`:

    results.json     the config, versions and rows: one per run, task, prompt, shots, draw and metric
    results.csv      the rows; summary.csv the means over draws with their intervals, which the figures show
    answers/         a .jsonl per run, task, prompt, shots and draw: what the model read and answered
    shots.png, parameters.png     see figures.draw

    Invalid requests raise before anything is computed; after a later error the results so far are kept.

    Args:
      config: from configs/fewshot.py.
      workdir: a folder; results of an earlier evaluation there are replaced.
      say: called with a line per result.

    Returns:
      The entries of `figures.summarise`.

    Raises:
      UserError: a run, a task's files, a prompt or a head is missing; a prompt does not fit.
    """
    check(config)
    pairs, workdir = chosen(config), Path(workdir)
    loaded = [load_run(folder) for folder in config.runs]
    read = functools.cache(tasks.records)  # once for all runs and prompts with the same records
    own = functools.cache(_own_overlap)
    evaluators = []
    for run in loaded:
        if _knows_its_text(config, run):
            next(contamination.training_texts(run.config.data), None)
        evaluators.append([_evaluator(config, run, read, task, name) for task, name in pairs])
        for one in evaluators[-1]:
            for shots in _shots(config, one.prompt):  # the first item shows whether there are enough examples
                one.compose(shots, limit=1)
    shutil.rmtree(workdir / "answers", ignore_errors=True)
    (workdir / "answers").mkdir(parents=True)
    for name in figures.NAMES:
        (workdir / name).unlink(missing_ok=True)
    rows, about = [], {"config": json.loads(config.to_json()), **logs.provenance()}
    try:
        for run, name, asking in zip(loaded, _file_names(loaded), evaluators, strict=True):
            for more in _evaluate_run(config, run, asking, workdir / "answers" / name, say, own):
                rows += more
                files.write_json(workdir / "results.json", {**about, "rows": rows})
                files.write_csv(workdir / "results.csv", rows)
        if config.average:
            rows += figures.averages(rows, config.average)
            files.write_json(workdir / "results.json", {**about, "rows": rows})
            files.write_csv(workdir / "results.csv", rows)
    finally:
        # Once: recomputing all intervals after every row would take longer than the evaluation.
        if rows:
            entries = figures.summarise(rows)
            files.write_csv(workdir / "summary.csv", entries)
    for name in figures.draw(workdir, entries):
        say(f"drawn: {workdir / name}")
    return entries


def _file_names(loaded):
    """Unique prefixes for the files of each run's answers."""
    names = [str(run.workdir).strip("/").replace("/", "_")[-180:] for run in loaded]
    return [name if names.count(name) == 1 else f"{name}-{number}" for number, name in enumerate(names)]


def _evaluate_run(config, run, evaluators, prefix, say, own_overlap):
    """Yields a row per metric for each prompt, number of shots and draw of one run; `own_overlap`: like `_own_overlap`.

    Its answers are written as PREFIX-TASK-PROMPT-SHOTS-SEED.jsonl.
    """
    parameters = sum(x.size for x in jax.tree.leaves(run.params))
    overlaps = _overlaps(config, run, evaluators)
    for one in evaluators:
        available = len(one.records["heldout"][: config.limit or None])
        whole, own = one.prompt.kind == "perplexity", None
        if config.overlap and whole:
            own = own_overlap(one.task, _source(config, run, one.task), config.limit)
        for shots, seed in _draws(config, one.prompt):
            asked = one.compose(shots, seed)
            answered = one.answer(run.params, asked, seed)
            _write_answers(f"{prefix}-{one.task}-{one.name}-{shots}-{seed}.jsonl", asked, answered)
            shown = float(np.mean([item.shown for item in asked]))
            values, share, clean = fewshot.measure(one.prompt, answered), None, {}
            if overlaps is not None:
                counts = np.array([overlaps[one.task, one.name][solved(item)] for item in answered.items])
                dirty = counts[:, 0] > 0
                share = contamination.share(counts) if whole else float(dirty.mean())
                clean = fewshot.measure(one.prompt, answered, ~dirty)
            parts = [f"{run.workdir}  {one.task} ({one.name})  {told_shots(one.task, shots, shown)}, draw {seed}"]
            parts[0] += f"  {len(asked)} items" + f", {available - len(asked)} too long" * (len(asked) < available)
            parts += [f"{_metric(run, metric)} {value:.4g}" for metric, value in values.items()]
            if share is not None:
                parts.append(f"({share:.1%} of {'n-grams' if whole else 'items'} in common with the training text)")
            if own is not None:
                parts.append(f"({own:.2%} of n-grams in common with the set's own training text)")
            say("  ".join(parts))
            yield [
                {
                    "run": str(run.workdir), "parameters": parameters, "task": one.task, "prompt": one.name,
                    "shots": shots, "shown": shown, "seed": seed, "items": len(asked), "metric": _metric(run, metric),
                    "value": value, "chance": _chance(one.prompt, answered.items) if metric == "accuracy" else None,
                    "overlap": share, "own_overlap": own, "clean_value": clean.get(metric),
                } for metric, value in values.items()
            ]  # fmt: skip


def told_shots(task, shots, shown):
    """Number of examples requested and shown: '1 example, 0.8 fit'."""
    if shots == FIT:
        return f"as many examples as fit, {shown:.3g}"
    if task == figures.AVERAGE and shots == PAPER:
        return f"the paper's examples, {shown:.3g} fit"
    number = PROMPTED[task].shots if shots == PAPER else shots
    asked = ("the paper's " if shots == PAPER else "") + f"{number} example{'s' * (number != 1)}"
    return asked if shown == number else f"{asked}, {shown:.3g} fit"


def _metric(run, name):
    """A metric's name; an encoder's pseudo-log-likelihoods are not those of a language model (Salazar et al.)."""
    pseudo = name in metrics.OF_LOG_LIKELIHOODS and "clm" not in run.model.heads
    return f"pseudo_{name}" if pseudo else name


def _draws(config, prompt):
    """All (shots, seed) to evaluate; with zero shots there is nothing to draw."""
    for shots in _shots(config, prompt):
        for seed in range(config.seed, config.seed + (config.seeds if shots else 1)):
            yield shots, seed


def _knows_its_text(config, run):
    return config.overlap and not runs.is_converted(run.workdir)


def _items(config, evaluator):
    """All items, including those that are too long."""
    return [evaluator.prompt.item(record) for record in evaluator.records["heldout"][: config.limit or None]]


def _overlaps(config, run, evaluators):
    """(task, prompt) -> solved item -> `contamination.common`; None if not requested, or the training text is unknown.

    That text is read once for all evaluators.
    """
    if not _knows_its_text(config, run):
        return None
    texts = [list(dict.fromkeys(map(solved, _items(config, one)))) for one in evaluators]
    sizes = [contamination.GPT2 if one.prompt.kind == "perplexity" else None for one in evaluators]
    found = contamination.common(texts, contamination.training_texts(run.config.data), sizes)
    pairs = [(one.task, one.name) for one in evaluators]
    return {pair: dict(zip(of, counts, strict=True)) for pair, of, counts in zip(pairs, texts, found, strict=True)}


def _own_overlap(task, source, limit):
    """The share of a set's 8-grams, as it is written, that its own training split has, too (GPT-2, Table 6); None if that
    is not there."""
    texts = tasks.training_texts(task, source)
    if texts is None:
        return None
    items = [record["text"] for record in tasks.records(task, source)["heldout"][: limit or None]]
    return contamination.share(*contamination.common([items], texts, [contamination.GPT2]))


def _chance(prompt, items):
    """The accuracy of random guessing, for choices."""
    return float(np.mean([1 / len(item.pairs) for item in items])) if prompt.kind == "choices" else None


def _write_answers(path, asked, answered):
    with files.replacing(path) as file:
        for one, prediction in zip(asked, answered.predictions, strict=True):
            line = {"prompt": one.pairs[0][0], "targets": [target for _, target in one.pairs], "gold": one.item.gold}
            if one.item.contexts:
                line["prompts"] = [context for context, _ in one.pairs]
            if one.item.answers:
                line["answers"] = list(one.item.answers)
            file.write(files.json_line(line | {"prediction": prediction}))
