"""What a task is measured by, on predictions and gold labels: NumPy arrays or lists, no model.

Everything is a share between 0 and 1 (correlations between -1 and 1), where papers and servers print percentages.
METRICS says what belongs to a task, SCORES which of it is the one number that runs are compared by.
"""

import collections
import re
import string

import numpy as np

# scipy.stats, seqeval and sklearn take seconds to import: each is, where it is used.

# GLUE: Wang et al. 2019, Table 1; SuperGLUE: Wang et al. 2019, Table 1. All others are their papers' own.
METRICS = {
    "cola": ("matthews",), "sst2": ("accuracy",), "mrpc": ("f1", "accuracy"), "qqp": ("f1", "accuracy"),
    "stsb": ("pearson", "spearman"), "mnli": ("accuracy",), "qnli": ("accuracy",), "rte": ("accuracy",),
    "wnli": ("accuracy",), "ax": ("matthews",),
    "boolq": ("accuracy",), "cb": ("macro_f1", "accuracy"), "copa": ("accuracy",), "multirc": ("f1a", "exact"),
    "wic": ("accuracy",), "wsc": ("accuracy",), "superglue_rte": ("accuracy",), "ax_b": ("matthews",),
    "ax_g": ("accuracy",),
    "squad": ("exact", "f1"), "squad2": ("exact", "f1", "best_f1"), "conll2003": ("ner_f1",),
    "swag": ("accuracy",), "race": ("accuracy",), "rocstories": ("accuracy",), "imdb": ("accuracy",),
    "ag_news": ("accuracy",), "topics": ("accuracy", "macro_f1"), "jsonl": ("accuracy", "macro_f1"),
}  # fmt: skip
# Where the score is not the mean of all of a task's metrics, as it is in GLUE and SuperGLUE.
SCORES = {"squad": ("f1",), "squad2": ("best_f1",), "topics": ("accuracy",), "jsonl": ("accuracy",)}

# What is 0 where every example is given the same, be it a class, a score, no entity or no answer, or where all of it is
# wrong. Of SQuAD 2.0 those questions count that have an answer.
ABOVE_ZERO = ("matthews", "pearson", "spearman", "f1", "ner_f1", "has_answer_f1")


def evaluate(task, predictions, labels):
    """A task's metrics by name, and `score`; for the tasks whose METRICS are in FUNCTIONS.

    Args:
      task: a key of METRICS.
      predictions, labels: [N], see the functions.
    """
    values = {name: FUNCTIONS[name](predictions, labels) for name in METRICS[task]}
    return values | {"score": score(task, values)}


def score(task, values):
    """The mean of what SCORES names, by default of all of the task's METRICS; `values`: name -> float."""
    return float(np.mean([values[name] for name in SCORES.get(task, METRICS[task])]))


def accuracy(predictions, labels):
    """The share of equal ones: int [N], [N]; of choices, the number of the chosen one."""
    return float(np.mean([made == label for made, label in zip(predictions, labels, strict=True)]))


def f1(predictions, labels):
    """F1 of class 1 of 0 and 1, [N], [N]; 0 where neither side has a 1."""
    from sklearn.metrics import f1_score

    return float(f1_score(labels, predictions, zero_division=0))


def macro_f1(predictions, labels):
    """The mean of the F1 of each class that occurs on either side, [N], [N]."""
    from sklearn.metrics import f1_score

    return float(f1_score(labels, predictions, average="macro", zero_division=0))


def matthews(predictions, labels):
    """Matthews' correlation of classes, [N], [N]; 0 where one side is constant."""
    if _constant(predictions) or _constant(labels):
        return 0.0  # as scikit-learn's, without its warnings
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(labels, predictions))


def gender_parity(predictions, pairs):
    """The share of pairs whose predictions are the same (SuperGLUE's AX-g, whose pairs differ in a pronoun's gender).

    Args:
      predictions, pairs: [N], the pair of each prediction by any name.
    """
    found = {}
    for pair, prediction in zip(pairs, predictions, strict=True):
        found.setdefault(pair, set()).add(prediction)
    return float(np.mean([len(made) == 1 for made in found.values()]))


def pearson(predictions, labels):
    """Pearson's correlation, float [N], [N]; 0 where one side is constant, of which SciPy's is not defined."""
    from scipy.stats import pearsonr

    return 0.0 if _constant(predictions) or _constant(labels) else float(pearsonr(predictions, labels)[0])


def spearman(predictions, labels):
    """Spearman's rank correlation, float [N], [N], ties at their mean rank; constants as in `pearson`."""
    from scipy.stats import spearmanr

    return 0.0 if _constant(predictions) or _constant(labels) else float(spearmanr(predictions, labels)[0])


def _constant(values):
    return np.ptp(np.asarray(values)) == 0


def ner_f1(predictions, labels):
    """F1 of the named entities whose type, first and last word are all right, as CoNLL's script conlleval counts.

    Args:
      predictions, labels: sentences, lists of the words' tags: 'O', 'B-PER', 'I-PER' and so on; IOB1 and IOB2 alike,
        for an I- after another type, after O or at the beginning starts an entity.
    """
    from seqeval.metrics import f1_score

    return float(f1_score(labels, predictions, zero_division=0))


FUNCTIONS = {"accuracy": accuracy, "f1": f1, "macro_f1": macro_f1, "matthews": matthews, "pearson": pearson,
             "spearman": spearman, "ner_f1": ner_f1}  # fmt: skip


def multirc(predictions, labels, questions):
    """MultiRC's metrics (Khashabi et al. 2018, section 5): `f1a` over all answers, `exact` over questions.

    Args:
      predictions, labels: int [N], 1 for a right answer.
      questions: [N], the question of each answer.

    Returns:
      `f1a`; `exact`, the share of questions all of whose answers are judged right (SuperGLUE's EM); `score`.
    """
    _, numbers = np.unique(questions, return_inverse=True)
    wrong = np.bincount(numbers, np.asarray(predictions) != np.asarray(labels))
    values = {"f1a": f1(predictions, labels), "exact": float((wrong == 0).mean())}
    return values | {"score": score("multirc", values)}


_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise_answer(text):
    """An answer as SQuAD's scripts compare it: lower case, no ASCII punctuation, no articles, single spaces."""
    text = text.lower().translate(_NO_PUNCTUATION)
    return " ".join(re.sub(r"\b(?:an?|the)\b", " ", text).split())


def answer_f1(answer, gold):
    """F1 of the words that two texts share, each as often as it is in both; 0 where there are none."""
    words, golds = (normalise_answer(text).split() for text in (answer, gold))
    shared = (collections.Counter(words) & collections.Counter(golds)).total()
    return 2 * shared / (len(words) + len(golds)) if shared else 0.0


def squad(answers, golds):
    """SQuAD 1.1's metrics (Rajpurkar et al. 2016, section 6.1; evaluate-v1.1.py).

    Args:
      answers: question -> text.
      golds: question -> its gold texts, one or more; each question is in `answers`.

    Returns:
      `exact` and `f1`, means over the questions of the best of their golds; `score`.
    """
    values = {
        "exact": np.mean([max(_exact(answers[name], gold) for gold in texts) for name, texts in golds.items()]),
        "f1": np.mean([max(answer_f1(answers[name], gold) for gold in texts) for name, texts in golds.items()]),
    }
    values = {name: float(value) for name, value in values.items()}
    return values | {"score": score("squad", values)}


def squad2(answers, golds, na_probs=None, threshold=1.0):
    """SQuAD 2.0's metrics (Rajpurkar et al. 2018; evaluate-v2.0.py).

    Args:
      answers: question -> text; '' is no answer.
      golds: question -> its gold texts; none where there is no answer. Each question is in `answers`.
      na_probs: question of `golds` -> float, how sure it is that there is no answer; None: not known.
      threshold: an answer whose `na_probs` is above it counts as none.

    Returns:
      `exact` and `f1`; of the questions with and without an answer alone, where there are such, `has_answer_exact`,
      `has_answer_f1`, `no_answer_exact`, `no_answer_f1`; with `na_probs` `best_exact`, `best_exact_threshold`,
      `best_f1`, `best_f1_threshold`: the best that a threshold would give, and that threshold; `score`, `best_f1`
      (BERT, section 4.3), without `na_probs` `f1`.
    """
    raw = {"exact": {}, "f1": {}}
    for name, texts in golds.items():
        # Golds of articles and punctuation alone count as none.
        texts = [text for text in texts if normalise_answer(text)] or [""]
        raw["exact"][name] = max(_exact(answers[name], text) for text in texts)
        raw["f1"][name] = max(answer_f1(answers[name], text) for text in texts)
        if texts == [""]:  # no words on either side are the same words
            raw["f1"][name] = raw["exact"][name]
    values = {}
    for metric, scores in raw.items():
        final = dict(scores)
        for name in na_probs or ():
            if na_probs[name] > threshold:
                final[name] = float(not golds[name])  # withheld: right where there is no answer
        values[metric] = float(np.mean(list(final.values())))
        for part, has_answer in (("has_answer", True), ("no_answer", False)):
            chosen = [value for name, value in final.items() if bool(golds[name]) == has_answer]
            if chosen:
                values[f"{part}_{metric}"] = float(np.mean(chosen))
        if na_probs:
            best, where = _best_threshold(scores, answers, golds, na_probs)
            values |= {f"best_{metric}": best, f"best_{metric}_threshold": where}
    return values | {"score": score("squad2", {"best_f1": values["f1"]} | values)}


def _exact(answer, gold):
    return float(normalise_answer(answer) == normalise_answer(gold))


def _best_threshold(scores, answers, golds, na_probs):
    """The best mean score of any threshold on `na_probs`, and the lowest such threshold.

    From the threshold below which nothing is answered, questions are answered one by one, the surest first. Equal
    probabilities count one by one too, in the order of `na_probs`, as in the original.
    """
    order = sorted(na_probs, key=na_probs.get)
    gains = [scores[name] if golds[name] else -float(bool(answers[name])) for name in order]
    totals = np.cumsum([sum(not texts for texts in golds.values()), *gains])
    best = int(totals.argmax())
    return float(totals[best] / len(scores)), float([0.0, *(na_probs[name] for name in order)][best])
