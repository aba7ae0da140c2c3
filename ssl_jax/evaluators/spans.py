"""From the logits of all windows back to answers in the original text.

BERT's, sections 4.2 and 4.3 and run_squad.py; ELECTRA's, section 3.1 and finetune/qa/qa_metrics.py.
"""

from typing import NamedTuple

import numpy as np


class Answer(NamedTuple):
    """The best span of a question and the probability that there is no answer.

    In a set where every question has one, that is `text`; SQuAD 2.0 wants an empty text where `na_prob` is above a
    threshold, 0.5 being where [CLS] scores as much as the span, or ELECTRA's classifier is undecided.
    """

    text: str
    na_prob: float


def postprocess(starts, ends, rows, n_best=20, max_answer=30):
    """The answer to every question of a split.

    In each window the `n_best` positions of the context by either logit are combined; of the spans of at most
    `max_answer` tokens the one with the largest sum of logits is taken, over all windows. No answer scores what [CLS]
    has, in the window where that is least; `na_prob` is the logistic function of how much more that is.

    A span within two windows counts with the better of its scores, as in later code; run_squad.py only reads it in the
    window that shows most around it.

    Args:
      starts, ends: float [W, L], the logits of `rows`, in order; of the first W if there are more.
      rows: the split's SpanRows.
      n_best, max_answer: int > 0.

    Returns:
      dict, id -> Answer, of the questions all of whose windows are there, in their order. Texts are pieces of the
      contexts, characters as they are there, without white space around them; '' with 1.0 where no span is possible.
    """

    def combined(window, context):
        start, end = (np.asarray(x[window], np.float64) for x in (starts, ends))
        likeliest = (context[np.argsort(-x[context], kind="stable")[:n_best]] for x in (start, end))
        firsts, lasts = (x.ravel() for x in np.meshgrid(*likeliest, indexing="ij"))
        return firsts, lasts, start[firsts] + end[lasts], start[0] + end[0]

    best = _best_spans(combined, len(starts), rows, max_answer)
    return {name: Answer(text, _logistic(null - score)) for name, (text, score, null) in best.items()}


def choose_candidates(candidates, rows, max_answer=30):
    """The answer to every question of a split, from what `heads.JointSpanHead` has of each window.

    As `postprocess`, except that a window's spans are its candidates, and that `na_prob` only depends on the least
    logit of no answer: how likely the best span is does not count, nor whether there is one.

    Args:
      candidates: float [W, 1 + N, 3], `span_candidates` of `rows`, in order; of the first W if there are more.
      rows, max_answer: as for `postprocess`.
    """

    def proposed(window, context):
        del context
        positions, scores = candidates[window, 1:, :2].astype(np.int64), candidates[window, :, 2]
        return *positions.T, scores[1:], scores[0]

    best = _best_spans(proposed, len(candidates), rows, max_answer)
    return {name: Answer(text, _logistic(null)) for name, (text, _, null) in best.items()}


def _best_spans(read, number, rows, max_answer):
    """id -> text, score, the least score of no answer, of the questions whose windows are all among the first `number`.

    `read(window, context)` gives first positions, last positions and scores, all [N], and the score of no answer;
    `context` [C] are the positions of the window's context. Spans that leave it, end before they begin or have more
    than `max_answer` tokens do not count. Where none is left the text is '' and its score -inf.
    """
    store = rows.store
    best, null = {}, np.full(len(store), np.inf)
    for window, (question, size, first, stop) in enumerate(rows.windows[:number].tolist()):
        begin, end = size + 2, size + 2 + stop - first  # of the context in the window
        firsts, lasts, scores, no_answer = read(window, np.arange(begin, end))
        null[question] = min(null[question], no_answer)
        tokens = 1 + lasts - firsts
        allowed = (firsts >= begin) & (lasts < end) & (tokens >= 1) & (tokens <= max_answer)
        if not allowed.any():
            continue
        place = np.where(allowed, scores, -np.inf).argmax()
        if question not in best or scores[place] > best[question][0]:
            shift = first - begin  # from a position to a token of the context
            best[question] = scores[place], firsts[place] + shift, lasts[place] + shift
    whole = rows.windows[number, 0] if number < len(rows) else len(store)
    answers = {}
    for question, name in enumerate(store.ids[:whole]):
        score, *tokens = best.get(question, (-np.inf,))
        answers[name] = _text(store, question, *tokens) if tokens else "", score, null[question]
    return answers


def _text(store, question, first, last):
    context = store.context[question]
    offsets = store.offsets[store.context_edges[context] :]
    return store.texts[context][offsets[first, 0] : offsets[last, 1]].strip()


def _logistic(x):
    return float(1 / (1 + np.exp(-np.clip(x, -500, 500))))
