"""An evaluation from its config: runs x tasks x protocols x shots x draws, its files and its figures."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np

from ssl_jax import logs, runs
from ssl_jax.data.files import replacing
from ssl_jax.errors import UserError, check_choice
from ssl_jax.fewshot import evaluation, figures, models, overlap
from ssl_jax.fewshot.items import Source, solved
from ssl_jax.fewshot.tasks import TASKS


def chosen(config):
    """(task, protocol) names of `config.tasks`, whose entries are 'TASK' (all its protocols) or 'TASK:PROTOCOL'.

    Raises:
      UserError: no such task or protocol.
    """
    made = []
    for entry in _entries(config.tasks):
        task, _, protocol = entry.partition(":")
        check_choice(task, TASKS, "task in tasks")
        if protocol:
            check_choice(protocol, TASKS[task].protocols, f"protocol of task {task!r} in tasks")
        made += [(task, name) for name in ([protocol] if protocol else TASKS[task].protocols)]
    if not made:
        raise UserError(f"tasks is empty: name some, as in --config.tasks=topic,title; there are {', '.join(TASKS)}")
    return made


def _entries(values):
    """On a command line several arrive as one string: 'a,b'."""
    return [part for value in values for part in value.split(",") if part]


def check(config):
    """Raises UserError for values that are out of bounds."""
    if not _entries(config.runs):
        raise UserError("runs is empty: name finished runs, as in --config.runs=runs/a,runs/b")
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
    run = runs.load_run(_entries(config.runs)[0])
    for task, name in chosen(config):
        protocol, splits = TASKS[task].protocols[name], TASKS[task].read(source(config, task, run.config.data))
        for shots in _shots(config, protocol):
            options = dict(shots=shots, seed=config.seed, limit=count, too_long=config.too_long)
            asked = evaluation.compose(run, protocol, splits, **options)
            for number, one in enumerate(asked):
                title = f"{task} ({name}), item {number}, {one.shown} examples"
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
    loaded = [runs.load_run(folder) for folder in _entries(config.runs)]
    for run in loaded:  # before anything is computed
        for task, name in pairs:
            protocol = TASKS[task].protocols[name]
            models.scorer(run) if protocol.kind in ("choices", "cloze") else models.require_causal(run)
    shutil.rmtree(workdir / "answers", ignore_errors=True)
    (workdir / "answers").mkdir(parents=True)
    rows = [row for run in loaded for row in _evaluate_run(config, run, pairs, workdir / "answers", say)]
    logs.write_json(
        workdir / "results.json", {"config": json.loads(config.to_json()), **logs.provenance(), "rows": rows}
    )
    entries = figures.summarise(rows)
    figures.write_csv(workdir / "results.csv", rows)
    figures.write_csv(workdir / "summary.csv", entries)
    for name in figures.draw(workdir, entries):
        say(f"drawn: {workdir / name}")
    return entries


def _evaluate_run(config, run, pairs, folder, say):
    """Yields a row for each metric of everything that one run is asked."""
    parameters = sum(x.size for x in jax.tree.leaves(run.params))
    read = {task: TASKS[task].read(source(config, task, run.config.data)) for task in dict.fromkeys(t for t, _ in pairs)}
    records = {task: splits["test"][: config.limit or None] for task, splits in read.items()}
    # The training text is gone through once, for all that is asked.
    items = (TASKS[task].protocols[name].item(record) for task, name in pairs for record in records[task])
    overlaps = _overlaps(config, run, items)
    for task, name in pairs:
        protocol = TASKS[task].protocols[name]
        for shots, seed in _draws(config, protocol):
            asked, answered = _ask(config, run, task, protocol, read[task], shots, seed)
            where = str(run.workdir).strip("/").replace("/", "_")
            _write_answers(folder / f"{where}-{task}-{name}-{shots}-{seed}.jsonl", asked, answered)
            shown = float(np.mean([one.shown for one in asked]))
            values, share, clean = evaluation.measure(protocol, answered), None, {}
            if overlaps is not None:
                dirty = np.array([overlaps[solved(item)] for item in answered.items])
                share, clean = float(dirty.mean()), evaluation.measure(protocol, answered, ~dirty)
            told = [f"{run.workdir}  {task} ({name})  {shown:.3g} examples, draw {seed}  {len(asked)} items"]
            told[0] += f", {len(records[task]) - len(asked)} too long" * (len(asked) < len(records[task]))
            told += [f"{metric} {value:.4g}" for metric, value in values.items()]
            told += [] if share is None else [f"(overlap with the training text: {share:.1%})"]
            say("  ".join(told))
            for metric, value in values.items():
                yield {
                    "run": str(run.workdir), "parameters": parameters, "task": task, "protocol": name, "shots": shots,
                    "shown": shown, "seed": seed, "items": len(asked), "metric": metric, "value": value,
                    "chance": _chance(protocol, answered.items), "overlap": share, "clean_value": clean.get(metric),
                }  # fmt: skip


def _draws(config, protocol):
    """(shots, seed) of everything that is asked; without examples there is nothing to draw."""
    for shots in _shots(config, protocol):
        for seed in range(config.seed, config.seed + (config.seeds if shots else 1)):
            yield shots, seed


def _ask(config, run, task, protocol, splits, shots, seed):
    options = dict(shots=shots, seed=seed, limit=config.limit, too_long=config.too_long)
    asked = evaluation.compose(run, protocol, splits, **options)
    if not asked:
        raise UserError(f"no item of {task} fits the {run.model.config.positions} positions of {run.workdir}")
    options = dict(batch_size=config.batch_size, window=config.window, stride=config.stride, seed=seed)
    return asked, evaluation.answer(run, protocol, asked, **options)


def _overlaps(config, run, items):
    """Whether each solved item is in the run's training text, by its text; None where nobody asks, or that is not known."""
    if not config.overlap or runs.is_converted(run.workdir):
        return None
    texts = list(dict.fromkeys(map(solved, items)))
    return dict(zip(texts, overlap.dirty(texts, overlap.training_texts(run.config.data)), strict=True))


def _chance(protocol, items):
    """The accuracy of guessing, where there are choices."""
    return float(np.mean([1 / len(item.pairs) for item in items])) if protocol.kind == "choices" else None


def _write_answers(path, asked, answered):
    with replacing(path) as file:
        for one, prediction in zip(asked, answered.predictions, strict=True):
            line = {"prompt": one.pairs[0][0], "targets": [target for _, target in one.pairs], "gold": one.item.gold}
            if one.item.contexts:
                line["prompts"] = [context for context, _ in one.pairs]
            if one.item.answers:
                line["answers"] = list(one.item.answers)
            file.write(json.dumps(line | {"prediction": prediction}, ensure_ascii=False).encode() + b"\n")
