"""Maps the logits of all windows back to answers in the original text.

For BERT, sections 4.2 and 4.3 and run_squad.py; for ELECTRA, section 3.1 and finetune/qa/qa_metrics.py.
"""

from typing import NamedTuple

import numpy as np


class Answer(NamedTuple):
    """The best span of a question and the probability that there is no answer.

    If every question in the set has an answer, it is `text`; SQuAD 2.0 expects an empty text if `na_prob` is above a
    threshold; 0.5 is where [CLS] scores as much as the span, or ELECTRA's classifier is undecided.
    """

    text: str
    na_prob: float


def postprocess(starts, ends, rows, n_best=20, max_answer=30):
    """The answer to every question of a split.

    In each window, the `n_best` start and end positions of the context are combined; of all spans of at most
    `max_answer` tokens, over all windows, the one with the largest sum of logits wins. No answer scores the sum at
    [CLS], in the window where that is lowest; `na_prob` is the logistic function of its margin over the best span.

    A span in two windows counts with the better of its scores, as in later code; run_squad.py reads it only in the
    window with the most context around it.

    Args:
      starts, ends: float [W, L], the logits of `rows`, in order; only the first W if there are more rows.
      rows: the split's SpanRows.
      n_best, max_answer: int > 0.

    Returns:
      dict, id -> Answer, in order, for the questions all of whose windows are included. Texts are exact substrings of
      the contexts, without surrounding white space; '' with 1.0 if no span is possible.
    """

    def combined(window, context):
        start, end = (np.asarray(x[window], np.float64) for x in (starts, ends))
        likeliest = (context[np.argsort(-x[context], kind="stable")[:n_best]] for x in (start, end))
        firsts, lasts = (x.ravel() for x in np.meshgrid(*likeliest, indexing="ij"))
        return firsts, lasts, start[firsts] + end[lasts], start[0] + end[0]

    best = _best_spans(combined, len(starts), rows, max_answer)
    return {name: Answer(text, _logistic(null - score)) for name, (text, score, null) in best.items()}


def choose_candidates(candidates, rows, max_answer=30):
    """The answer to every question of a split, from the output of `heads.JointSpanHead` for each window.

    As `postprocess`, except that a window's spans are its candidates, and that `na_prob` depends only on the lowest
    logit of no answer, not on the best span's score or whether one exists.

    Args:
      candidates: float [W, 1 + N, 3], `span_candidates` of `rows`, in order; only the first W if there are more.
      rows, max_answer: as for `postprocess`.
    """

    def proposed(window, context):
        del context
        positions, scores = candidates[window, 1:, :2].astype(np.int64), candidates[window, :, 2]
        return *positions.T, scores[1:], scores[0]

    best = _best_spans(proposed, len(candidates), rows, max_answer)
    return {name: Answer(text, _logistic(null)) for name, (text, _, null) in best.items()}


def _best_spans(read, number, rows, max_answer):
    """id -> text, score, lowest score of no answer, for the questions whose windows are all among the first `number`.

    `read(window, context)` returns first positions, last positions and scores, all [N], and the score of no answer;
    `context` [C] are the positions of the window's context. Spans that leave it, end before they begin or have more
    than `max_answer` tokens are invalid. If none is left, the text is '' and its score -inf.
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
