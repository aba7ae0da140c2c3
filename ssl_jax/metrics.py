"""Task metrics: predictions against gold labels, answers or the units of a text. NumPy, no model.

All values are fractions between 0 and 1 (correlations between -1 and 1); papers and servers print percentages. A
task's row in `tasks` names its metrics: those for classes, scores, choices and words are in OF_LABELS and OF_GROUPS;
`squad` and `squad2` are for spans; those for prompts are in OF_ITEMS, those for questions in OF_ANSWERS.
"""

import collections
import itertools
import math
import re
import string

import numpy as np

# scipy.stats, seqeval, sklearn, sacrebleu and rouge_score take seconds to import: each is imported where it is used,
# because checking configs needs the tasks, but not these.

# Metrics that are 0 if every example gets the same prediction, be it a class, a score, no entity or no answer, or if
# all are wrong. In SQuAD 2.0 this concerns the questions with an answer.
ABOVE_ZERO = ("matthews", "pearson", "spearman", "f1", "ner_f1", "has_answer_f1")


def evaluate(task, predictions, labels, split="", groups=()):
    """A task's metrics by name, and `score`.

    Args:
      task: a row of TASKS whose metrics are in OF_LABELS and OF_GROUPS.
      predictions, labels: [N], see the functions.
      split: its name; a diagnostic split has its own metrics.
      groups: [N], which examples belong together, such as the answers to a question; (): unknown, and metrics in
        OF_GROUPS are omitted.
    """
    names, score, values = (*task.score, *task.also), task.score, {}
    if split in task.diagnostics:
        names = task.diagnostics[split]
        score = names[:1]
    for name in names:
        if name in OF_LABELS:
            values[name] = OF_LABELS[name](predictions, labels)
        elif len(groups):
            values[name] = OF_GROUPS[name](predictions, labels, groups)
    return values | {"score": float(np.mean([values[name] for name in score]))}


def accuracy(predictions, labels):
    """Fraction of matches: int [N], [N]; for choices, the index of the chosen one."""
    return float(np.mean([prediction == label for prediction, label in zip(predictions, labels, strict=True)]))


def f1(predictions, labels):
    """F1 of class 1 for binary labels, [N], [N]; 0 if neither side has a 1."""
    from sklearn.metrics import f1_score

    return float(f1_score(labels, predictions, zero_division=0))


def macro_f1(predictions, labels):
    """Mean F1 over the classes that occur on either side, [N], [N]."""
    from sklearn.metrics import f1_score

    return float(f1_score(labels, predictions, average="macro", zero_division=0))


def matthews(predictions, labels):
    """Matthews correlation of classes, [N], [N]; 0 if one side is constant."""
    if _constant(predictions) or _constant(labels):
        return 0.0  # as in scikit-learn, without its warnings
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(labels, predictions))


def best_threshold(scores, labels):
    """The value, half-way between two scores, above which 'label 1' has the highest Matthews correlation: float.

    Args:
      scores: float [N].
      labels: 0 or 1, [N].
    """
    order = np.argsort(scores, kind="stable")
    scores, labels = np.asarray(scores)[order], np.asarray(labels)[order]
    below, positive = np.arange(1, len(scores)), labels.sum()
    missed = np.cumsum(labels)[:-1]  # ones at or below the threshold
    hit, wrong, right = positive - missed, (len(scores) - below) - (positive - missed), below - missed
    spread = below * (len(scores) - below) * positive * (len(scores) - positive)
    scored = (hit * right - wrong * missed) / np.sqrt(np.maximum(spread.astype(float), 1))
    scored[scores[1:] == scores[:-1]] = -2  # equal scores have the same label
    if not len(below) or scored.max() < -1:
        return -math.inf
    best = scored.argmax()
    return float(scores[best : best + 2].mean())


def gender_parity(predictions, labels, pairs):
    """Fraction of pairs with equal predictions (SuperGLUE's AX-g, whose pairs differ in a pronoun's gender).

    Args:
      predictions, labels, pairs: [N], the pair of each prediction, by any name; labels are unused.
    """
    del labels
    predicted = {}
    for pair, prediction in zip(pairs, predictions, strict=True):
        predicted.setdefault(pair, set()).add(prediction)
    return float(np.mean([len(values) == 1 for values in predicted.values()]))


def all_right(predictions, labels, questions):
    """Fraction of questions with all answers judged correctly (MultiRC's exact match in SuperGLUE)."""
    _, numbers = np.unique(questions, return_inverse=True)
    wrong = np.bincount(numbers, np.asarray(predictions) != np.asarray(labels))
    return float((wrong == 0).mean())


def pearson(predictions, labels):
    """Pearson correlation, float [N], [N]; 0 if one side is constant, where SciPy's is undefined."""
    from scipy.stats import pearsonr

    return 0.0 if _constant(predictions) or _constant(labels) else float(pearsonr(predictions, labels)[0])


def spearman(predictions, labels):
    """Spearman rank correlation, float [N], [N], ties get their mean rank; constants as in `pearson`."""
    from scipy.stats import spearmanr

    return 0.0 if _constant(predictions) or _constant(labels) else float(spearmanr(predictions, labels)[0])


def _constant(values):
    return np.ptp(np.asarray(values)) == 0


def ner_f1(predictions, labels):
    """F1 of named entities, correct if type, first and last word all match, as counted by CoNLL's script conlleval.

    Args:
      predictions, labels: sentences, lists of the words' tags: 'O', 'B-PER', 'I-PER' and so on; IOB1 or IOB2, since
        an I- after another type, after O or at the beginning starts an entity.
    """
    from seqeval.metrics import f1_score

    return float(f1_score(labels, predictions, zero_division=0))


# f(predictions, labels). `f1a` is MultiRC's F1 over all answers (Khashabi et al. 2018, section 5).
OF_LABELS = {"accuracy": accuracy, "f1": f1, "macro_f1": macro_f1, "matthews": matthews, "pearson": pearson,
             "spearman": spearman, "ner_f1": ner_f1, "f1a": f1}  # fmt: skip
# f(predictions, labels, groups).
OF_GROUPS = {"exact": all_right, "gender_parity": gender_parity}


# ---- Answers in a text
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise_answer(text):
    """An answer as compared by SQuAD's scripts: lower case, no ASCII punctuation, no articles, single spaces."""
    text = text.lower().translate(_NO_PUNCTUATION)
    return " ".join(re.sub(r"\b(?:an?|the)\b", " ", text).split())


def answer_f1(answer, gold):
    """F1 of the words shared by two texts, with multiplicity; 0 if there are none."""
    words, golds = (normalise_answer(text).split() for text in (answer, gold))
    shared = (collections.Counter(words) & collections.Counter(golds)).total()
    return 2 * shared / (len(words) + len(golds)) if shared else 0.0


def squad(answers, golds):
    """SQuAD 1.1's metrics (Rajpurkar et al. 2016, section 6.1; evaluate-v1.1.py).

    Args:
      answers: question -> text.
      golds: question -> its gold texts, one or more; each question is in `answers`.

    Returns:
      `exact` and `f1`, means over questions of the best score among their golds; `score`, which is `f1`.
    """
    values = {
        "exact": np.mean([max(_exact(answers[name], gold) for gold in texts) for name, texts in golds.items()]),
        "f1": np.mean([max(answer_f1(answers[name], gold) for gold in texts) for name, texts in golds.items()]),
    }
    values = {name: float(value) for name, value in values.items()}
    return values | {"score": values["f1"]}


def squad2(answers, golds, na_probs=None, threshold=1.0):
    """SQuAD 2.0's metrics (Rajpurkar et al. 2018; evaluate-v2.0.py).

    Args:
      answers: question -> text; '' is no answer.
      golds: question -> its gold texts; none if there is no answer. Each question is in `answers`.
      na_probs: question of `golds` -> float, the confidence that there is no answer; None: unknown.
      threshold: an answer whose `na_probs` is above it counts as none.

    Returns:
      `exact` and `f1`; over only the questions with and without an answer, if there are any, `has_answer_exact`,
      `has_answer_f1`, `no_answer_exact`, `no_answer_f1`; with `na_probs` `best_exact`, `best_exact_threshold`,
      `best_f1`, `best_f1_threshold`: the best value over thresholds, and that threshold; `score`, which is
      `best_f1` (BERT, section 4.3), or `f1` without `na_probs`.
    """
    raw = {"exact": {}, "f1": {}}
    for name, texts in golds.items():
        # Golds with only articles and punctuation count as none.
        texts = [text for text in texts if normalise_answer(text)] or [""]
        raw["exact"][name] = max(_exact(answers[name], text) for text in texts)
        raw["f1"][name] = max(answer_f1(answers[name], text) for text in texts)
        if texts == [""]:  # no words on either side count as equal
            raw["f1"][name] = raw["exact"][name]
    values = {}
    for metric, scores in raw.items():
        final = dict(scores)
        for name in na_probs or ():
            if na_probs[name] > threshold:
                final[name] = float(not golds[name])  # withheld: correct if there is no answer
        values[metric] = float(np.mean(list(final.values())))
        for part, has_answer in (("has_answer", True), ("no_answer", False)):
            chosen = [value for name, value in final.items() if bool(golds[name]) == has_answer]
            if chosen:
                values[f"{part}_{metric}"] = float(np.mean(chosen))
        if na_probs:
            best, where = _best_threshold(scores, answers, golds, na_probs)
            values |= {f"best_{metric}": best, f"best_{metric}_threshold": where}
    return values | {"score": values.get("best_f1", values["f1"])}


def _exact(answer, gold):
    return float(normalise_answer(answer) == normalise_answer(gold))


def _best_threshold(scores, answers, golds, na_probs):
    """The best mean score over thresholds on `na_probs`, and the lowest such threshold.

    Starting from the threshold below which nothing is answered, questions are answered one by one, surest first. Equal
    probabilities are also taken one by one, in the order of `na_probs`, as in the original.
    """
    order = sorted(na_probs, key=na_probs.get)
    gains = [scores[name] if golds[name] else -float(bool(answers[name])) for name in order]
    totals = np.cumsum([sum(not texts for texts in golds.values()), *gains])
    best = int(totals.argmax())
    return float(totals[best] / len(scores)), float([0.0, *(na_probs[name] for name in order)][best])


# ---- Items of prompts (tasks.base.Item), [N] each. A prediction is, for 'choices', the index of the chosen one; for
# 'cloze', 0 if each token of the target is the likeliest, else -1; for 'generate', the finished text; for perplexity
# and bits, the target's log-likelihood in nats.
def of_items(names, predictions, items):
    """Metrics by name: dict of float; compound metrics such as 'rouge' under their components' names.

    Args:
      names: keys of OF_ITEMS.
      predictions: [N], see above.
      items: the N Items.
    """
    values = {}
    for name in names:
        value = OF_ITEMS[name](predictions, items)
        values |= value if isinstance(value, dict) else {name: value}
    return values


def _of_golds(function):
    return lambda predictions, items: function(predictions, [item.gold for item in items])


def match(predictions, items):
    """Fraction of texts that exactly equal one of the answers (GPT-3, sections 3.9.1 and 3.9.2)."""
    return float(np.mean([text in item.answers for text, item in zip(predictions, items, strict=True)]))


def exact(predictions, items):
    """Fraction of texts that equal one of the answers up to case, punctuation and articles (SQuAD's EM)."""
    return _mean_best(lambda text, gold: normalise_answer(text) == normalise_answer(gold),
                      predictions, items)  # fmt: skip


def _mean_best(compare, predictions, items):
    pairs = zip(predictions, items, strict=True)
    return float(np.mean([max(compare(text, gold) for gold in item.answers) for text, item in pairs]))


# TriviaQA's script also treats non-ASCII quotation marks as punctuation.
_TRIVIA_PUNCTUATION = str.maketrans(dict.fromkeys(string.punctuation + "‘’´`_", " "))


def normalise_trivia(text):
    """An answer as compared by TriviaQA's script: like SQuAD's, but punctuation becomes spaces."""
    return normalise_answer(text.translate(_TRIVIA_PUNCTUATION))


def trivia(predictions, items):
    """TriviaQA's EM: fraction of texts that equal one of the aliases (Joshi et al. 2017, section 6.1)."""
    return _mean_best(lambda text, gold: normalise_trivia(text) == normalise_trivia(gold), predictions, items)


def squad2_texts(predictions, items):
    """`squad2` of texts, where UNANSWERABLE is no answer: dict."""
    answers = {n: "" if normalise_answer(text) == UNANSWERABLE else text for n, text in enumerate(predictions)}
    return squad2(answers, {number: item.answers for number, item in enumerate(items)})


# GPT-3's text for unanswerable questions is not published.
UNANSWERABLE = "unanswerable"


def coqa(predictions, items):
    """CoQA's mean F1 (Reddy et al. 2019, section 5.1).

    With several answers, each is left out once and the best F1 against the others is taken; the result is their mean.
    Human performance is measured this way, which requires leaving one human out.
    """
    return float(np.mean([_leave_one_out(text, item.answers) for text, item in zip(predictions, items, strict=True)]))


def _leave_one_out(text, answers):
    values = [_word_f1(text, answer) for answer in answers]
    if len(values) == 1:
        return values[0]
    return np.mean([max(values[:out] + values[out + 1 :]) for out in range(len(values))])


def _word_f1(text, answer):
    """`answer_f1`, but 1 if neither side has a word."""
    if not normalise_answer(text) and not normalise_answer(answer):
        return 1.0
    return answer_f1(text, answer)


# QuAC's text for what its passage does not say.
CANNOT_ANSWER = "CANNOTANSWER"


def quac(predictions, items):
    """QuAC's mean F1 (Choi et al. 2018, section 5.1; scorer.py): several answers are left out in turn, as in `coqa`.

    Where at least as many annotators saw no answer as saw one, there is none. Questions whose annotators agree by less
    than an F1 of 0.4 do not count.

    Returns:
      The mean; NaN if no question counts.
    """
    values = []
    for text, item in zip(predictions, items, strict=True):
        spans = [answer for answer in item.answers if answer != CANNOT_ANSWER]
        golds = spans if 2 * len(spans) > len(item.answers) else [CANNOT_ANSWER]
        others = [golds[:place] + golds[place + 1 :] for place in range(len(golds))]
        agreed = [max(_word_f1(gold, other) for other in rest or [gold])
                  for gold, rest in zip(golds, others, strict=True)]  # fmt: skip
        if np.mean(agreed) >= 0.4:
            values.append(_leave_one_out(text, golds))
    return float(np.mean(values)) if values else math.nan


def drop(predictions, items):
    """DROP's mean F1 (Dua et al. 2019, section 5.1; drop_eval.py): the best over the validated answers, each a tuple of
    spans that a text, which is one, is compared with; each value is rounded to two places, as there."""
    pairs = zip(predictions, items, strict=True)
    return float(np.mean([max(_spans_f1(text, spans) for spans in item.answers) for text, item in pairs]))


def _spans_f1(text, spans):
    """The best F1 of words as sets with one of the spans, over the number of spans.

    A span with numbers, of which the text has none, is worth 0.
    """
    words, golds = _drop_words(text), [_drop_words(span) for span in spans]
    values = [0.0]
    for gold in golds:
        numbers = set(filter(_is_number, gold))
        if not numbers or numbers & words:
            shared, total = len(words & gold), len(words) + len(gold)
            # As there, two sides without words are equal.
            values.append(2 * shared / total if total else 1.0)
    return round(max(values) / len(golds), 2)


def _drop_words(text):
    words = [word if _is_number(word) else word.translate(_NO_PUNCTUATION) for word in re.split(" |-", text.lower())]
    words = [str(float(word)) if _is_number(word) else re.sub(r"\b(?:an?|the)\b", " ", word) for word in words]
    return set(" ".join(words).split())


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


def _by_text(compare):
    """Of chosen `texts`, the best comparison with the correct ones."""

    def metric(predictions, items):
        return _mean_best(compare, [item.texts[n] for n, item in zip(predictions, items, strict=True)], items)

    return metric


def _by_group(predictions, items):
    return all_right(predictions, [item.gold for item in items], [item.group for item in items])


def referent(predictions, items):
    """WSC's accuracy: whether the generated noun is the one in question is compared with the label, `gold` 1 or 0."""
    same = [normalise_answer(text) == normalise_answer(item.answers[0])
            for text, item in zip(predictions, items, strict=True)]  # fmt: skip
    return accuracy(np.asarray(same, int), [item.gold for item in items])


def bleu(predictions, items):
    """Corpus BLEU by sacrebleu (13a, cased), between 0 and 1; one reference per item.

    GPT-3 reports multi-bleu.perl's in its tables and sacrebleu's in its appendix H.
    """
    from sacrebleu.metrics import BLEU

    return BLEU().corpus_score(list(predictions), [[item.answers[0] for item in items]]).score / 100


def rouge(predictions, items):
    """Mean F1 of ROUGE-1, ROUGE-2 and ROUGE-L with stemming, and their mean (GPT-2, Table 4): dict.

    L is summary-level, with one sentence per line, as in the CNN/DM papers.
    """
    from rouge_score import rouge_scorer

    names = {"rouge1": "rouge1", "rouge2": "rouge2", "rougeL": "rougeLsum"}
    scorer = rouge_scorer.RougeScorer(list(names.values()), use_stemmer=True)
    scores = [scorer.score(item.answers[0], text) for text, item in zip(predictions, items, strict=True)]
    values = {name: float(np.mean([score[key].fmeasure for score in scores])) for name, key in names.items()}
    return values | {"rouge_average": float(np.mean(list(values.values())))}


def perplexity(log_likelihoods, items):
    """exp of minus the mean log-likelihood (nats) per original unit: float."""
    return math.exp(-_per_unit(log_likelihoods, items))


def bits(log_likelihoods, items):
    """Bits per original byte (enwik8) or character (text8)."""
    return -_per_unit(log_likelihoods, items) / math.log(2)


def _per_unit(log_likelihoods, items):
    return float(np.sum(log_likelihoods)) / sum(item.units for item in items)


# f(predictions, items).
OF_ITEMS = {"accuracy": _of_golds(accuracy), "macro_f1": _of_golds(macro_f1), "matthews": _of_golds(matthews),
            "match": match, "exact": exact,
            "trivia": trivia, "squad2": squad2_texts, "coqa": coqa, "quac": quac, "drop": drop, "referent": referent,
            "bleu": bleu, "rouge": rouge, "perplexity": perplexity, "bits": bits,
            # MultiRC's, of a question's answers and of all; ReCoRD's, of the chosen entity (Zhang et al. 2018, section 5.3).
            "all_right": _by_group, "f1a": _of_golds(f1), "chosen_exact": _by_text(_exact),
            "chosen_f1": _by_text(answer_f1)}  # fmt: skip
# Those that are accuracies, which GPT-3's figure 1.3 averages.
ACCURACIES = {"accuracy", "match", "exact", "trivia", "referent", "all_right", "chosen_exact"}
# Functions of log-likelihoods, even if a prompt also has other predictions.
OF_LOG_LIKELIHOODS = {"perplexity", "bits"}


# ---- Texts that answer questions (tasks.base.QA, each with answers), [N] each: decaNLP's metrics (McCann et al. 2018,
# section 2), as its metrics.py has them. There texts are in lower case and joined from tokens before they are compared;
# here case and white space do not count.
def nf1(predictions, qas):
    """Mean F1 of words up to case, punctuation and articles, with the best of the answers (computeF1)."""
    return _mean_best(answer_f1, predictions, qas)


def em(predictions, qas):
    """Fraction of texts that equal one of the answers (computeEM)."""
    return _mean_best(lambda text, gold: _plain(text) == _plain(gold), predictions, qas)


def _plain(text):
    return " ".join(text.lower().split())


def bleu_uncased(predictions, qas):
    """Corpus BLEU by sacrebleu (13a) in lower case, with all answers as references (computeBLEU)."""
    from sacrebleu.metrics import BLEU

    references = list(itertools.zip_longest(*(qa.answers for qa in qas)))
    return BLEU(lowercase=True).corpus_score(list(predictions), references).score / 100


def rouge_sentences(predictions, qas):
    """Mean of the mean F1 of ROUGE-1, ROUGE-2 and ROUGE-L with stemming, beside the first answer (computeROUGE).

    L is summary-level; sentences end at each full stop (split_sentences). The original runs ROUGE-1.5.5, which rounds each
    value to five places.
    """
    from rouge_score import rouge_scorer

    scorer = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeLsum"], use_stemmer=True)
    scores = [scorer.score(_by_sentence(qa.answers[0]), _by_sentence(text))
              for text, qa in zip(predictions, qas, strict=True)]  # fmt: skip
    return float(np.mean([value.fmeasure for score in scores for value in score.values()]))


def _by_sentence(text):
    return "\n".join(" ".join(sentence.split()) for sentence in text.split("."))


def corpus_f1(predictions, qas):
    """F1 of the questions that have an answer and of those that get one (computeCF1; Levy et al. 2017, section 5).

    An answer is right if it has the words of all correct ones together, as a set, without `the`, `a`, `an` and `and`. A text
    without words counts as an answer, `unanswerable` as none.
    """
    texts = [_bag(text) for text in predictions]
    golds = [frozenset().union(*map(_bag, qa.answers)) for qa in qas]
    none = {UNANSWERABLE}
    right = sum(text == gold != none for text, gold in zip(texts, golds, strict=True))
    given, due = (sum(one != none for one in side) for side in (texts, golds))
    return 2 * right / (given + due) if right else 0.0


def _bag(text):
    return frozenset(normalise_answer(text).split()) - {"and"}


def joint_goal_em(predictions, qas):
    """Fraction of turns after which all goals of the dialogue so far are right (computeDialogue): WOZ's part of the decaScore.

    A text is a turn's change, as in 'food: thai, area: north; phone': goals that are new or other; requests. `gold` has
    the `dialogue`, any name, and the `turn`, its number.
    """
    right, dialogues = [], {}
    for text, qa in sorted(zip(predictions, qas, strict=True), key=lambda pair: pair[1].gold["turn"]):
        goals = dialogues.setdefault(qa.gold["dialogue"], ({}, {}))
        for known, changed in zip(goals, (text, qa.answers[0]), strict=True):
            known |= _change(changed)[0]
        right.append(goals[0] == goals[1])
    return float(np.mean(right))


def turn_goal_em(predictions, qas):
    """Fraction of turns whose changed goals are right (computeDialogue)."""
    return _mean_change(0, predictions, qas)


def turn_request_em(predictions, qas):
    """Fraction of turns whose requests are right, in their order (computeDialogue). There, a text without a semicolon,
    such as 'None', has other requests than a text with nothing after it."""
    return _mean_change(1, predictions, qas)


def _mean_change(part, predictions, qas):
    pairs = zip(predictions, qas, strict=True)
    return float(np.mean([_change(text)[part] == _change(qa.answers[0])[part] for text, qa in pairs]))


def _change(text):
    """The goals, dict, and requests, list or None, of a turn; whatever is malformed is no goal."""
    text = _plain(text)
    if text == ";" or text.count(";") != 1:
        return {}, None
    goals, requests = ([one.strip() for one in half.split(",")] for half in text.split(";"))
    pairs = [one.split(":") for one in goals]
    return {pair[0].strip(): pair[1].strip() for pair in pairs if len(pair) == 2}, requests


def lfem(predictions, qas):
    """Fraction of queries whose logical form is right, conditions in their order (computeLFEM): WikiSQL's part of the
    decaScore.

    `gold` has the table's `header`, list of str, and `sql`: `sel`, a column, `agg`, a place in SQL_AGGREGATES, and `conds`,
    lists of a column, a place in SQL_OPERATORS and a value.
    """
    return _mean_form(predictions, qas, list)


def lfem_unordered(predictions, qas):
    """`lfem`, conditions in any order (WikiSQL's lib/query.py, without `ordered`)."""
    return _mean_form(predictions, qas, set)


def _mean_form(predictions, qas, conditions):
    def right(text, qa):
        form, sql = logical_form(text, qa.gold["header"]), qa.gold["sql"]
        conds = [(column, operator, str(value).lower()) for column, operator, value in sql["conds"]]
        return form is not None and (*form[:2], conditions(form[2])) == (sql["sel"], sql["agg"], conditions(conds))

    return float(np.mean([right(text, qa) for text, qa in zip(predictions, qas, strict=True)]))


SQL_AGGREGATES, SQL_OPERATORS = ("", "MAX", "MIN", "COUNT", "SUM", "AVG"), ("=", ">", "<", "OP")


def logical_form(text, header):
    """What a query such as 'select max age from table where name = bob' says of a table (to_lf).

    Names of columns are matched whole, longer ones first, and may contain keywords; of equal ones the last counts, and of
    one that is there twice in a row the first.

    Args:
      text: str.
      header: names of the columns, list of str.

    Returns:
      The column, None if there is none of that name; the place of its aggregate; list of (column, place of the operator,
      value), with values in lower case. None if the text is no query.
    """
    names, operators = [name.lower() for name in header], [name.lower() for name in SQL_OPERATORS]
    columns = {name: number for number, name in enumerate(names)}
    select, _, where = _plain(text).partition("where")
    selected, aggregate = " ".join(select.split()[1:-2]), 0
    if selected not in columns:
        first, _, selected = selected.partition(" ")
        if first.upper() not in SQL_AGGREGATES[1:]:
            return None
        aggregate = SQL_AGGREGATES.index(first.upper())
    # Text is in lower case, so what has capitals is ours.
    where = f" {where} "
    for number, name in sorted(enumerate(names), key=lambda one: -len(one[1])):
        where = where.replace(f" {name} ", f" C{number} ")
    words = [f"O{operators.index(word)}" if word in operators else word for word in where.split()]
    parts = [part for part in re.split(r"(C\d+ O\d+)", " ".join(words)) if part.strip()]
    spelt, conditions = {"C": names, "O": operators}, []
    for start, value in itertools.zip_longest(parts[::2], parts[1::2], fillvalue=""):
        found = re.fullmatch(r"C(\d+) O(\d+)", start)
        if not found or not value:
            return None
        words = value.split()
        words = words[:-1] if words[-1] == "and" else words
        words = [spelt[word[0]][int(word[1:])] if word[0] in spelt else word for word in words]
        conditions.append((int(found[1]), int(found[2]), " ".join(words)))
    return columns.get(selected), aggregate, conditions


def decascore(values):
    """The sum over tasks of their metrics in per cent, of which decaNLP has ten (predict.py)."""
    return 100 * sum(values)


# f(predictions, qas).
OF_ANSWERS = {"nf1": nf1, "em": em, "nem": exact, "bleu": bleu_uncased, "rouge": rouge_sentences, "corpus_f1": corpus_f1,
              "joint_goal_em": joint_goal_em, "turn_goal_em": turn_goal_em, "turn_request_em": turn_request_em,
              "lfem": lfem, "lfem_unordered": lfem_unordered}  # fmt: skip
