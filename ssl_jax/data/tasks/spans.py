"""From the logits of all windows back to answers in the original text (BERT, sections 4.2 and 4.3; run_squad.py)."""

from typing import NamedTuple

import numpy as np


class Answer(NamedTuple):
    """The best span of a question and the probability that there is no answer.

    A set in which every question has one wants `text`; SQuAD 2.0 an empty text where `na_prob` is above a threshold,
    0.5 being where [CLS] scores as much as the span.
    """

    text: str
    na_prob: float


def postprocess(starts, ends, rows, n_best=20, max_answer=30):
    """The answer to every question of a split.

    In each window the `n_best` positions of the context by either logit are combined; of the spans of at most
    `max_answer` tokens the one with the largest sum of logits is taken, over all windows. No answer scores what [CLS]
    has, in the window where that is least; `na_prob` is the logistic function of how much more that is.

    A span within two windows counts with the better of its scores, as in later code; run_squad.py reads it in the
    window that shows most around it alone.

    Args:
      starts, ends: float [W, L], the logits of `rows`, in order; of the first W if there are more.
      rows: the split's SpanRows.
      n_best, max_answer: int > 0.

    Returns:
      dict, id -> Answer, of the questions all of whose windows are there, in their order. Texts are pieces of the
      contexts, characters as they are there, without white space around them; '' with 1.0 where no span is possible.
    """
    store, length = rows.store, np.asarray(starts).shape[1]
    best, null = {}, np.full(len(store), np.inf)
    for window, (question, size, first, stop) in enumerate(rows.windows[: len(starts)].tolist()):
        start, end = (np.asarray(x[window], np.float64) for x in (starts, ends))
        null[question] = min(null[question], start[0] + end[0])
        context = np.arange(size + 2, min(size + 2 + stop - first, length))
        s, e = (context[np.argsort(-x[context], kind="stable")[:n_best]] for x in (start, end))
        scores = start[s][:, None] + end[e]
        tokens = 1 + e - s[:, None]
        scores[(tokens < 1) | (tokens > max_answer)] = -np.inf
        if not scores.size or scores.max() == -np.inf:
            continue
        i, j = np.unravel_index(scores.argmax(), scores.shape)
        if question not in best or scores[i, j] > best[question][0]:
            shift = first - size - 2  # from a position to a token of the context
            best[question] = scores[i, j], s[i] + shift, e[j] + shift
    whole = rows.windows[len(starts), 0] if len(starts) < len(rows) else len(store)
    return {name: _answer(store, n, best.get(n), null[n]) for n, name in enumerate(store.ids[:whole])}


def _answer(store, question, best, null):
    if best is None:
        return Answer("", 1.0)
    score, first, last = best
    context = store.context[question]
    offsets = store.offsets[store.context_edges[context] :]
    text = store.texts[context][offsets[first, 0] : offsets[last, 1]].strip()
    return Answer(text, float(1 / (1 + np.exp(np.clip(score - null, -500, 500)))))
