"""Several fine-tuned runs decide a task together: their predictions are averaged.

BERT's Table 2 has an ensemble of seven, ALBERT's leaderboards have more: it averages the models' predictions, and on
SQuAD the scores of a span that several models propose, and those of "no answer" (section 4.9). BERT does not say how.
"""

from typing import NamedTuple

import jax
import numpy as np

from ssl_jax import experiment
from ssl_jax.errors import UserError
from ssl_jax.evaluators import Programs, Task, postprocess, submissions, task
from ssl_jax.load import load_run
from ssl_jax.objectives import OBJECTIVES, loss_of
from ssl_jax.step import make_measure, make_predict
from ssl_jax.tasks import TASKS


class Voter(NamedTuple):
    """What one run says of a split.

    Attributes:
      task: its `config.task`.
      rows: the split in its tokens, see tasks/features.py.
      logits: float [N, ...], see `step.make_predict`.
      name: of the logits, 'class_logits'.
      tokenizer: the hash of its tokenizer.
    """

    task: object
    rows: object
    logits: np.ndarray
    name: str
    tokenizer: str


def decide(folders, split, workdir, batch_size=32):
    """Asks each run, writes the ensemble's predictions to `workdir` as a run writes its own.

    Args:
      folders: of at least two runs, fine-tuned on one task; our folders.
      split: 'heldout', or another of the task's.

    Returns:
      {folder: metrics of that run} and the ensemble's under 'ensemble'; {} for a split without labels.

    Raises:
      UserError: a folder holds no fine-tuned run, its task's files have moved, or the runs do not answer one question.
    """
    if len(folders) < 2:
        raise UserError("an ensemble has at least two runs")
    voters = {folder: _ask(folder, split, batch_size) for folder in folders}
    first, *others = voters.values()
    for folder, voter in voters.items():
        _require_same(folders[0], first, folder, voter)
    logits = AVERAGES[first.name]([voter.logits for voter in voters.values()], len(first.task.labels))
    values, files = postprocess.decide(first.task, split, first.rows, logits, first.name)
    submissions.save(workdir, files)
    if values is None:
        return {}
    alone = {
        folder: postprocess.decide(voter.task, split, voter.rows, voter.logits, voter.name).values
        for folder, voter in voters.items()
    }
    return alone | {"ensemble": values}


def _ask(folder, split, batch_size):
    run = load_run(folder)
    config = run.config.copy_and_resolve_references()
    if config.data.examples != "task":
        raise UserError(f"{folder} was not fine-tuned: an ensemble decides a task")
    # Only the answers are of interest: no teacher, and one loss that reads them.
    trained = [name for name, weight in config.losses.items() if weight and OBJECTIVES[name].answers]
    own = [name for name in trained if not OBJECTIVES[name].teacher] or [loss_of(TASKS[config.task.name].kind)]
    with config.unlocked():
        config.losses = {name: float(name in own) for name in config.losses}
        config.init.run, config.teacher.runs, config.teacher.cache, config.task.augmented = "", (), "", ""
        config.seeds, config.members, config.batch_size, config.ramp.start = 1, (), batch_size, 0
        config.run.accumulate, config.parallel.devices, config.evals = 1, 1, {}
    exp = experiment.open(config)
    exp = exp._replace(model=run.model)
    programs = Programs(*(exp.devices.compile(make(*exp.pure)) for make in (make_measure, make_predict)))
    evaluator, length = task.Evaluator(exp, programs, Task(split=split)), exp.phases[-1].length
    _, logits = evaluator.read(exp.devices.adopt(run.params), length)
    return Voter(exp.config.task, evaluator.examples[length].examples, logits, evaluator.logits, run.tokenizer_hash)


def _require_same(first_folder, first, folder, voter):
    """Raises UserError unless two runs answer the same questions in the same way."""
    for what, own, other in (
        ("task", first.task.name, voter.task.name),
        ("classes", tuple(first.task.labels), tuple(voter.task.labels)),
        ("answers", first.name, voter.name),
    ):
        if own != other:
            raise UserError(f"{folder} has other {what} than {first_folder}: {other} and {own}")
    by_token = first.name in ("span_logits", "span_candidates", "token_class_logits")
    if by_token and (first.tokenizer != voter.tokenizer or first.logits.shape[0] != voter.logits.shape[0]):
        raise UserError(
            f"{folder} has another tokenizer or length than {first_folder}: their tokens cannot be compared"
        )
    if len(first.rows.store) != len(voter.rows.store):
        raise UserError(f"{folder} has {len(voter.rows.store)} examples, {first_folder} {len(first.rows.store)}")


def by_probability(logits, classes):
    """The logarithm of the mean probabilities; the mean of scores, [N, 1]."""
    del classes
    if logits[0].shape[1] == 1:
        return np.mean(logits, axis=0)
    return np.log(np.mean([jax.nn.softmax(own, axis=-1) for own in logits], axis=0))


def by_token(logits, classes):
    """As `by_probability`, at each token: [N, L * C]."""
    flat = [own.reshape(-1, classes) for own in logits]
    return by_probability(flat, classes).reshape(logits[0].shape)


def by_score(logits, classes):
    """The mean: a span's score is the sum of two logits, so it is the mean of the models' scores."""
    del classes
    return np.mean(logits, axis=0)


def by_candidate(logits, classes):
    """The union of the proposed spans, each with the mean score of the models that propose it: [N, K * 3].

    Row 0 of [K, 3], "no answer", is the mean of all.
    """
    del classes
    tables = [own.reshape(len(own), -1, 3) for own in logits]
    made = []
    for proposals in zip(*tables, strict=True):
        scores = {}
        for first, last, score in np.concatenate([own[1:] for own in proposals]).tolist():
            scores.setdefault((first, last), []).append(score)
        spans = [(*span, np.mean(own)) for span, own in scores.items()]
        made.append([(0, 0, np.mean([own[0, 2] for own in proposals])), *spans])
    most = max(map(len, made))
    return np.array([rows + [(0, 0, -np.inf)] * (most - len(rows)) for rows in made]).reshape(len(made), -1)


AVERAGES = {
    "class_logits": by_probability,
    "choice_logit": by_probability,
    "token_class_logits": by_token,
    "span_logits": by_score,
    "span_candidates": by_candidate,
}
