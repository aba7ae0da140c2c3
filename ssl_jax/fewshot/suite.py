"""An evaluation from its config: runs x tasks x protocols x shots x draws, its files and its figures."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np

from ssl_jax import files, logs, runs
from ssl_jax.errors import UserError, check_choice, check_entries
from ssl_jax.fewshot import evaluation, figures, overlap, scores
from ssl_jax.fewshot.items import Source, solved
from ssl_jax.fewshot.tasks import TASKS
from ssl_jax.load import load_run


def chosen(config):
    """(task, protocol) names of `config.tasks`, whose entries are 'TASK' (all its protocols) or 'TASK:PROTOCOL'.

    Raises:
      UserError: no such task or protocol.
    """
    made = []
    for entry in config.tasks:
        task, _, protocol = entry.partition(":")
        check_choice(task, TASKS, "task in tasks")
        if protocol:
            check_choice(protocol, TASKS[task].protocols, f"protocol of task {task!r} in tasks")
        made += [(task, name) for name in ([protocol] if protocol else TASKS[task].protocols)]
    if not made:
        raise UserError(f"tasks is empty: name some, as in --config.tasks=topic,title; there are {', '.join(TASKS)}")
    return made


def check(config):
    """Raises UserError for values that are out of bounds."""
    if not config.runs:
        raise UserError("runs is empty: name finished runs, as in --config.runs=runs/a,runs/b")
    for name, kind in (("runs", str), ("tasks", str), ("shots", int)):
        check_entries(config[name], kind, name)
    if not config.shots or min(config.shots) < evaluation.FIT:
        raise UserError(f"shots={config.shots}: numbers of examples, -1 for as many as fit")
    for name, least in (("seeds", 1), ("seed", 0), ("limit", 0), ("batch_size", 1), ("window", 0), ("stride", 0)):
        if config[name] < least:
            raise UserError(f"{name}={config[name]}: at least {least}")
    check_choice(config.too_long, ("refuse", "leave_out"), "too_long")


def source(config, task, data):
    """Where a task's records are: FOLDER/TASK, where that is there, or what `Source` says of other places."""
    folder = Path(config.folder) / task
    own = str(folder) if config.folder and folder.is_dir() else ""
    return Source(own, data.root, data.heldout, data.max_documents)


def prompts(config, count):
    """Yields (title, prompt, targets) of the first items of each task, protocol and number of shots, for the first run.

    What is yielded is what the model reads, to the letter.
    """
    check(config)
    run = load_run(config.runs[0])
    for task, name in chosen(config):
        splits = TASKS[task].read(source(config, task, run.config.data))
        for shots in _shots(config, TASKS[task].protocols[name]):
            asked = _compose(config, run, task, name, splits, shots, config.seed, count)
            for number, one in enumerate(asked):
                title = f"{task} ({name}), item {number}, {told_shots(one.shown, one.shown)}"
                for context, targets in _by_context(one.pairs).items():
                    yield title, context, targets


def _by_context(pairs):
    made = {}
    for context, target in pairs:
        made.setdefault(context, []).append(target)
    return made


def _shots(config, protocol):
    return (0,) if protocol.kind == "perplexity" else tuple(config.shots)


def evaluate(config, workdir, say=print):
    """Evaluates, and writes what was found in `workdir`:

    results.json     the config, versions, and the rows: one for each run, task, protocol, shots, draw and metric
    results.csv      the rows; summary.csv the means over draws with their intervals, which the figures show
    answers/         a .jsonl for each run, task, protocol, shots and draw: what the model read and answered
    shots.png, parameters.png     see figures.draw

    What cannot be asked is told before anything is computed, and what was found before a fault is there.

    Args:
      config: of configs/fewshot.py.
      workdir: a folder; what an earlier evaluation left there is replaced.
      say: takes a line for each result.

    Returns:
      The entries of `figures.summarise`.

    Raises:
      UserError: a run, a task's files, a protocol or a head is not there; a prompt does not fit.
    """
    check(config)
    pairs, workdir = chosen(config), Path(workdir)
    loaded = [load_run(folder) for folder in config.runs]
    read, sources = {}, [{task: source(config, task, run.config.data) for task, _ in pairs} for run in loaded]
    for run, of in zip(loaded, sources, strict=True):
        if _knows_its_text(config, run):
            next(overlap.training_texts(run.config.data), None)
        for task, name in pairs:
            evaluation.require(run, TASKS[task].protocols[name])
            if (task, of[task]) not in read:
                read[task, of[task]] = TASKS[task].read(of[task])
            if not _compose(config, run, task, name, read[task, of[task]], 0, config.seed, config.limit):
                raise UserError(f"no item of {task} fits the {run.model.config.positions} positions of {run.workdir}")
            for shots in _shots(config, TASKS[task].protocols[name]):  # the first item tells whether there are so many
                _compose(config, run, task, name, read[task, of[task]], shots, config.seed, 1)
    shutil.rmtree(workdir / "answers", ignore_errors=True)
    (workdir / "answers").mkdir(parents=True)
    for name in figures.NAMES:
        (workdir / name).unlink(missing_ok=True)
    rows, about = [], {"config": json.loads(config.to_json()), **logs.provenance()}
    try:
        for run, name, of in zip(loaded, _file_names(loaded), sources, strict=True):
            splits = {task: read[task, where] for task, where in of.items()}
            for made in _evaluate_run(config, run, pairs, splits, workdir / "answers" / name, say):
                rows += made
                files.write_json(workdir / "results.json", {**about, "rows": rows})
                figures.write_csv(workdir / "results.csv", rows)
    finally:
        # Once: the intervals of all rows anew for each of them would take longer than the questions.
        if rows:
            entries = figures.summarise(rows)
            figures.write_csv(workdir / "summary.csv", entries)
    for name in figures.draw(workdir, entries):
        say(f"drawn: {workdir / name}")
    return entries


def _file_names(loaded):
    """What the files of each run's answers begin with; no two are the same."""
    names = [str(run.workdir).strip("/").replace("/", "_")[-180:] for run in loaded]
    return [name if names.count(name) == 1 else f"{name}-{number}" for number, name in enumerate(names)]


def _evaluate_run(config, run, pairs, splits, prefix, say):
    """Yields, for each protocol, number of shots and draw that one run is asked, a row for each metric.

    Its answers are written as PREFIX-TASK-PROTOCOL-SHOTS-SEED.jsonl.
    """
    parameters = sum(x.size for x in jax.tree.leaves(run.params))
    records = {task: found["test"][: config.limit or None] for task, found in splits.items()}
    overlaps = _overlaps(config, run, pairs, records)
    for task, name in pairs:
        protocol = TASKS[task].protocols[name]
        for shots, seed in _draws(config, protocol):
            asked = _compose(config, run, task, name, splits[task], shots, seed, config.limit)
            options = dict(batch_size=config.batch_size, window=config.window, stride=config.stride, seed=seed)
            answered = evaluation.answer(run, protocol, asked, **options)
            _write_answers(f"{prefix}-{task}-{name}-{shots}-{seed}.jsonl", asked, answered)
            shown = float(np.mean([one.shown for one in asked]))
            values, share, clean = evaluation.measure(protocol, answered), None, {}
            if overlaps is not None:
                counts = np.array([overlaps[task, name][solved(item)] for item in answered.items])
                dirty, whole = counts[:, 0] > 0, protocol.kind == "perplexity"
                share = float(counts[:, 0].sum() / max(counts[:, 1].sum(), 1) if whole else dirty.mean())
                clean = evaluation.measure(protocol, answered, ~dirty)
            told = [f"{run.workdir}  {task} ({name})  {told_shots(shots, shown)}, draw {seed}  {len(asked)} items"]
            told[0] += f", {len(records[task]) - len(asked)} too long" * (len(asked) < len(records[task]))
            told += [f"{_metric(run, metric)} {value:.4g}" for metric, value in values.items()]
            if share is not None:
                told.append(f"({share:.1%} of {'n-grams' if whole else 'items'} in common with the training text)")
            say("  ".join(told))
            yield [
                {
                    "run": str(run.workdir), "parameters": parameters, "task": task, "protocol": name, "shots": shots,
                    "shown": shown, "seed": seed, "items": len(asked), "metric": _metric(run, metric), "value": value,
                    "chance": _chance(protocol, answered.items) if metric == "accuracy" else None,
                    "overlap": share, "clean_value": clean.get(metric),
                } for metric, value in values.items()
            ]  # fmt: skip


def told_shots(shots, shown):
    """How many examples there were, of those that were asked for: '1 example, 0.8 fit'."""
    if shots == evaluation.FIT:
        return f"as many examples as fit, {shown:.3g}"
    asked = f"{shots} example{'s' * (shots != 1)}"
    return asked if shown == shots else f"{asked}, {shown:.3g} fit"


def _metric(run, name):
    """A metric's name; those of an encoder's pseudo-log-likelihoods are none of a language model's (Salazar et al.)."""
    pseudo = name in scores.OF_LOG_LIKELIHOODS and "clm" not in run.model.heads
    return f"pseudo_{name}" if pseudo else name


def _draws(config, protocol):
    """(shots, seed) of everything that is asked; without examples there is nothing to draw."""
    for shots in _shots(config, protocol):
        for seed in range(config.seed, config.seed + (config.seeds if shots else 1)):
            yield shots, seed


def _compose(config, run, task, name, splits, shots, seed, limit):
    """`evaluation.compose`, whose faults name the task."""
    try:
        options = dict(shots=shots, seed=seed, limit=limit, too_long=config.too_long)
        return evaluation.compose(run, TASKS[task].protocols[name], splits, **options)
    except UserError as error:
        raise UserError(f"{task} ({name}): {error}") from error


def _knows_its_text(config, run):
    return config.overlap and not runs.is_converted(run.workdir)


def _overlaps(config, run, pairs, records):
    """(task, protocol) -> solved item -> `overlap.common`; None where nobody asks, or the training text is not known.

    That text is gone through once, for all that is asked.
    """
    if not _knows_its_text(config, run):
        return None
    items = {(task, name): [TASKS[task].protocols[name].item(record) for record in records[task]] for task, name in pairs}
    texts = {pair: list(dict.fromkeys(map(solved, of))) for pair, of in items.items()}
    found = overlap.common(texts.values(), overlap.training_texts(run.config.data))
    return {pair: dict(zip(of, counts, strict=True)) for (pair, of), counts in zip(texts.items(), found, strict=True)}


def _chance(protocol, items):
    """The accuracy of guessing, where there are choices."""
    return float(np.mean([1 / len(item.pairs) for item in items])) if protocol.kind == "choices" else None


def _write_answers(path, asked, answered):
    with files.replacing(path) as file:
        for one, prediction in zip(asked, answered.predictions, strict=True):
            line = {"prompt": one.pairs[0][0], "targets": [target for _, target in one.pairs], "gold": one.item.gold}
            if one.item.contexts:
                line["prompts"] = [context for context, _ in one.pairs]
            if one.item.answers:
                line["answers"] = list(one.item.answers)
            file.write(files.json_line(line | {"prediction": prediction}))
