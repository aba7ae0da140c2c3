"""Turns the logits of a task's split into predictions, metrics and files, in NumPy.

One pure function per kind of logits, `f(task, split, rows, logits) -> Decision`:

    task    a run's config.task; name, labels, n_best and max_answer are read
    split   its name
    rows    the split at the length of the logits, see tasks/features.py
    logits  float [N, ...], for the first N rows, each row's numbers flattened into one axis
"""

from typing import NamedTuple

import numpy as np

from ssl_jax import metrics
from ssl_jax.errors import UserError
from ssl_jax.evaluators import submissions
from ssl_jax.evaluators.spans import choose_candidates, postprocess
from ssl_jax.tasks import TASKS


class Decision(NamedTuple):
    """A split's predictions and metrics.

    Attributes:
      values: metric -> float, `score` among them; with an accuracy also its `chance`, the most frequent label's share.
        None if the split has unlabelled examples, as a test set does.
      files: name -> text, the predictions.
    """

    values: dict | None
    files: dict


def decide(task, split, rows, logits, name):
    """The Decision for a task whose logits are `out[name]`.

    Raises:
      UserError: see `answered`.
    """
    return BY_LOGITS[name](task, split, rows, logits)


def classes(task, split, rows, logits):
    """The index of a class or choice; a score itself. Answers to a question, and pairs, are also scored as groups."""
    predictions, labels = largest(logits), rows.store.labels[: len(logits)]
    ids = getattr(rows.store, "ids", ())[: len(logits)]
    known = bool((labels >= 0).all())
    files = submissions.classes(task.name, split, predictions, task.labels, ids, labels if known else ())
    if not known:
        return Decision(None, files)
    groups = [name.rpartition("/")[0] for name in ids]  # MultiRC's ids are QUESTION/ANSWER, AX-g's PAIR/NUMBER
    values = metrics.evaluate(TASKS[task.name], predictions, labels, split, groups if all(groups) else ())
    if "accuracy" in values:
        values["chance"] = float(np.bincount(labels).max() / len(labels))
    return Decision(values, files)


def largest(logits):
    """Argmax over logits, [N, C] to int [N]; a single logit, a score, is returned itself, [N, 1] to float [N]."""
    return logits[:, 0] if logits.shape[1] == 1 else logits.argmax(-1)


def spans(task, split, rows, logits):
    """Each question's span with the highest sum of two logits (BERT, section 4.2)."""
    starts, ends = np.moveaxis(logits.reshape(len(logits), rows.length, 2), -1, 0)
    return answered(task, split, rows, logits, postprocess(starts, ends, rows, task.n_best, task.max_answer))


def candidates(task, split, rows, logits):
    """Each question's likeliest span among those the model proposes (ELECTRA, section 3.1)."""
    found = choose_candidates(logits.reshape(len(logits), -1, 3), rows, task.max_answer)
    return answered(task, split, rows, logits, found)


def answered(task, split, rows, logits, answers):
    """Each question's Answer, the best span over all its windows, or in SQuAD 2.0 none if that is likelier.

    SQuAD 2.0's `score` is what BERT reports (section 4.3): F1 at the best threshold on this split, `best_f1`. `exact`
    and `f1` use a probability of 0.5, where no answer is as likely as one. The file of answers withholds those above
    `best_f1_threshold`; the probabilities are in a second file, in the format of evaluate-v2.0.py.

    Raises:
      UserError: no question has all of its windows among the rows.
    """
    if not answers:
        raise UserError(
            f"{len(logits)} windows of split {split!r} are not all of any question's: set max_batches of its "
            "evaluation higher, or to 0"
        )
    texts, na_probs = ({name: one[place] for name, one in answers.items()} for place in range(2))
    golds = dict(zip(answers, rows.store.golds))  # in question order, as many as the rows have
    if "best_f1" not in TASKS[task.name].score:  # every question has an answer
        return Decision(metrics.squad(texts, golds), {f"predictions-{split}.json": submissions.squad(texts)})
    values = metrics.squad2(texts, golds, na_probs, threshold=0.5)
    kept = {name: "" if na_probs[name] > values["best_f1_threshold"] else text for name, text in texts.items()}
    files = {f"predictions-{split}.json": kept, f"na_probs-{split}.json": na_probs}
    return Decision(values, {name: submissions.squad(content) for name, content in files.items()})


def words(task, split, rows, logits):
    """Each word's label at its first token (BERT, section 5.3).

    Words beyond the length and those without a token count as 'O', so entities in them are missed, not ignored.
    """
    store, outside = rows.store, task.labels.index("O")
    predicted, before = [], rows.before(np.arange(len(logits)))
    for first, best, skipped in zip(store.first, logits.reshape(len(logits), rows.length, -1).argmax(-1), before):
        read = (first >= 0) & (first < rows.length - 2)
        numbers = np.where(read, best[np.where(read, 1 + skipped + first, 0)], outside)  # after [CLS] and its document
        predicted.append([task.labels[number] for number in numbers])
    gold = [[task.labels[number] for number in labels] for labels in store.golds[: len(logits)]]
    files = {f"predictions-{split}.txt": submissions.conll(store.words[: len(logits)], gold, predicted)}
    return Decision(metrics.evaluate(TASKS[task.name], predicted, gold), files)


BY_LOGITS = {
    "class_logits": classes, "choice_logit": classes, "span_logits": spans, "span_candidates": candidates,
    "token_class_logits": words,
}  # fmt: skip
