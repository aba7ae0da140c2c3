"""What a model says about a split of a task: from its rows' logits to predictions, metrics and files, in NumPy.

A pure function for each kind of logits, `f(task, split, rows, logits) -> Decision`:

    task    a run's config.task; name, labels, n_best and max_answer are read
    split   its name
    rows    the split at the length of the logits, see data/tasks/stores.py
    logits  float [N, ...], of the first N rows, all numbers of a row side by side
"""

from typing import NamedTuple

import numpy as np

from ssl_jax import metrics, submissions
from ssl_jax.data.tasks.spans import choose_candidates, postprocess
from ssl_jax.errors import UserError


class Decision(NamedTuple):
    """Of a split.

    Attributes:
      values: metric -> float, `score` among them, with an accuracy its `chance`, the share of the most frequent label; None where the split has examples without a label, as a test set.
      files: name -> text, the predictions.
    """

    values: dict | None
    files: dict


def decide(task, split, rows, logits, name):
    """The Decision of a task: by its own function, if it has one, or that of its logits, whose key of `out` is `name`.

    Raises:
      UserError: see `answered`.
    """
    own = BY_TASK.get(task.name) or BY_LOGITS[name]
    return own(task, split, rows, logits)


def classes(task, split, rows, logits):
    """Of a class or choice its number, of a score itself."""
    predictions, labels = largest(logits), rows.store.labels[: len(logits)]
    files = submissions.classes(task.name, split, predictions, task.labels)
    if not (labels >= 0).all():
        return Decision(None, files)
    measured = split if split in metrics.METRICS else task.name  # diagnostic sets have a metric of their own
    values = metrics.evaluate(measured, predictions, labels)
    if "accuracy" in values:
        values["chance"] = float(np.bincount(labels).max() / len(labels))
    return Decision(values, files)


def largest(logits):
    """The number of the largest logit, [N, C] to int [N]; of one logit, a score, itself, [N, 1] to float [N]."""
    return logits[:, 0] if logits.shape[1] == 1 else logits.argmax(-1)


def superglue_rte(task, split, rows, logits):
    """As `classes`; of AX-g `gender_parity`, too, where its ids are PAIR/NUMBER."""
    values, files = classes(task, split, rows, logits)
    if split == "ax_g" and values is not None:
        pairs = [name.rpartition("/")[0] for name in rows.store.ids[: len(logits)]]
        if all(pairs):
            values |= {"gender_parity": metrics.gender_parity(largest(logits), pairs)}
    return Decision(values, files)


def multirc(task, split, rows, logits):
    """Of each answer whether it is right; they are measured by question, and the test set's file has a line for each
    paragraph. Ids are PARAGRAPH/QUESTION/ANSWER."""
    ids, labels = rows.store.ids[: len(logits)], rows.store.labels[: len(logits)]
    predictions = largest(logits)
    if split == "test":
        places = [tuple(map(int, name.split("/"))) for name in ids]
        files = {"MultiRC.jsonl": submissions.multirc(predictions, places)}
    else:
        files = submissions.classes(task.name, split, predictions, task.labels)
    if not (labels >= 0).all():
        return Decision(None, files)
    return Decision(metrics.multirc(predictions, labels, [name.rpartition("/")[0] for name in ids]), files)


def spans(task, split, rows, logits):
    """Of each question the span with the best sum of two logits (BERT, section 4.2)."""
    starts, ends = np.moveaxis(logits.reshape(len(logits), rows.length, 2), -1, 0)
    return answered(task, split, rows, logits, postprocess(starts, ends, rows, task.n_best, task.max_answer))


def candidates(task, split, rows, logits):
    """Of each question the likeliest of the spans that the model itself proposes (ELECTRA, section 3.1)."""
    found = choose_candidates(logits.reshape(len(logits), -1, 3), rows, task.max_answer)
    return answered(task, split, rows, logits, found)


def answered(task, split, rows, logits, answers):
    """Of each question its Answer, the best span of all its windows, or of SQuAD 2.0 none where that is likelier.

    SQuAD 2.0's `score` is what BERT reports (section 4.3): F1 at the threshold that is best on this split, `best_f1`.
    `exact` and `f1` are those at a probability of 0.5, where no answer is as likely as one. The file of answers
    withholds those above `best_f1_threshold`; the probabilities are in a second one, as evaluate-v2.0.py takes them.

    Raises:
      UserError: there is no question all of whose windows are among the rows.
    """
    if not answers:
        raise UserError(
            f"{len(logits)} windows of split {split!r} are not all of any question's: set max_batches of its "
            "evaluation higher, or to 0"
        )
    texts, na_probs = ({name: one[place] for name, one in answers.items()} for place in range(2))
    golds = dict(zip(answers, rows.store.golds))  # in the order of the questions, as far as the rows go
    if task.name == "squad":
        return Decision(metrics.squad(texts, golds), {f"predictions-{split}.json": submissions.squad(texts)})
    values = metrics.squad2(texts, golds, na_probs, threshold=0.5)
    kept = {name: "" if na_probs[name] > values["best_f1_threshold"] else text for name, text in texts.items()}
    files = {f"predictions-{split}.json": kept, f"na_probs-{split}.json": na_probs}
    return Decision(values, {name: submissions.squad(content) for name, content in files.items()})


def words(task, split, rows, logits):
    """Of each word the label at its first token (BERT, section 5.3).

    Words beyond the length and those of which the tokenizer makes no token count as 'O', so that entities in them are
    missed and not left out.
    """
    store, outside = rows.store, task.labels.index("O")
    predicted = []
    for first, best in zip(store.first, logits.reshape(len(logits), rows.length, -1).argmax(-1)):
        read = (first >= 0) & (first < rows.length - 2)
        numbers = np.where(read, best[np.where(read, 1 + first, 0)], outside)  # after [CLS]
        predicted.append([task.labels[number] for number in numbers])
    gold = [[task.labels[number] for number in labels] for labels in store.golds[: len(logits)]]
    files = {f"predictions-{split}.txt": submissions.conll(store.words[: len(logits)], gold, predicted)}
    return Decision(metrics.evaluate(task.name, predicted, gold), files)


BY_LOGITS = {
    "class_logits": classes, "choice_logit": classes, "span_logits": spans, "span_candidates": candidates,
    "token_class_logits": words,
}  # fmt: skip
BY_TASK = {"multirc": multirc, "superglue_rte": superglue_rte}
