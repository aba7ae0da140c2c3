"""What answers to items are measured by. Shares are between 0 and 1, where papers print percentages.

METRICS are functions of predictions and their Items, [N] each. A prediction is of 'choices' the number of the chosen
one, of 'cloze' 0 where each token of the target is the likeliest and -1 elsewhere, of 'generate' the finished text, of
'perplexity', and for that metric of 'cloze', the target's log-likelihood in nats.
"""

import math
import re
import string

import numpy as np
from rouge_score import rouge_scorer
from sacrebleu.metrics import BLEU

from ssl_jax import metrics
from ssl_jax.data import tokens


def evaluate(names, predictions, items):
    """Metrics by name: dict of float; those that are several, such as 'rouge', under their own names.

    Args:
      names: keys of METRICS.
      predictions: [N], see the module's docstring.
      items: the N Items.
    """
    values = {}
    for name in names:
        value = METRICS[name](predictions, items)
        values |= value if isinstance(value, dict) else {name: value}
    return values


def accuracy(predictions, items):
    """The share of right choices; of 'cloze', of targets that greedy decoding would write."""
    return metrics.accuracy(predictions, [item.gold for item in items])


def macro_f1(predictions, items):
    """The mean of each class's F1, where choices are classes (SuperGLUE's CB)."""
    return metrics.macro_f1(predictions, [item.gold for item in items])


def match(predictions, items):
    """The share of texts that are one of the answers to the letter (GPT-3, sections 3.9.1 and 3.9.2)."""
    return float(np.mean([text in item.answers for text, item in zip(predictions, items, strict=True)]))


def exact(predictions, items):
    """The share of texts that are one of the answers but for case, punctuation and articles (SQuAD's EM)."""
    return _mean_best(lambda text, gold: metrics.normalise_answer(text) == metrics.normalise_answer(gold),
                      predictions, items)  # fmt: skip


def f1(predictions, items):
    """The mean F1 of words with the best answer (SQuAD's)."""
    return _mean_best(metrics.answer_f1, predictions, items)


def _mean_best(compare, predictions, items):
    pairs = zip(predictions, items, strict=True)
    return float(np.mean([max(compare(text, gold) for gold in item.answers) for text, item in pairs]))


# Other quotation marks than ASCII's are punctuation to it, too.
_TRIVIA_PUNCTUATION = str.maketrans(dict.fromkeys(string.punctuation + "‘’´`_", " "))


def normalise_trivia(text):
    """An answer as TriviaQA's script compares it: as SQuAD's, but punctuation becomes blanks."""
    return metrics.normalise_answer(text.translate(_TRIVIA_PUNCTUATION))


def trivia(predictions, items):
    """TriviaQA's EM: the share of texts that are one of the aliases (Joshi et al. 2017, section 6.1)."""
    return _mean_best(lambda text, gold: normalise_trivia(text) == normalise_trivia(gold), predictions, items)


def squad2(predictions, items):
    """SQuAD 2.0's `exact`, `f1` and what else metrics.squad2 tells; the text UNANSWERABLE is no answer."""
    answers = {n: "" if metrics.normalise_answer(text) == UNANSWERABLE else text for n, text in enumerate(predictions)}
    return metrics.squad2(answers, {number: item.answers for number, item in enumerate(items)})


# What GPT-3 was given for questions without an answer is not told.
UNANSWERABLE = "unanswerable"


def coqa(predictions, items):
    """CoQA's mean F1 (Reddy et al. 2019, section 5.1).

    With several answers, each is left out once, the best F1 with the others is taken, and their mean: so people are
    measured, one of whom has to be left out.
    """
    return float(np.mean([_leave_one_out(text, item.answers) for text, item in zip(predictions, items, strict=True)]))


def _leave_one_out(text, answers):
    values = [_word_f1(text, answer) for answer in answers]
    if len(values) == 1:
        return values[0]
    return np.mean([max(values[:out] + values[out + 1 :]) for out in range(len(values))])


def _word_f1(text, answer):
    """`metrics.answer_f1`, but 1 where neither side has a word."""
    if not metrics.normalise_answer(text) and not metrics.normalise_answer(answer):
        return 1.0
    return metrics.answer_f1(text, answer)


def referent(predictions, items):
    """WSC's accuracy: whether the written noun is the asked one is compared with the label, `gold` 1 or 0."""
    same = [metrics.normalise_answer(text) == metrics.normalise_answer(item.answers[0])
            for text, item in zip(predictions, items, strict=True)]  # fmt: skip
    return metrics.accuracy(np.asarray(same, int), [item.gold for item in items])


def bleu(predictions, items):
    """BLEU of the whole corpus by sacrebleu (13a, cased), between 0 and 1; an item has one reference.

    GPT-3 reports multi-bleu.perl's in its tables and sacrebleu's in its appendix H.
    """
    return BLEU().corpus_score(list(predictions), [[item.answers[0] for item in items]]).score / 100


def rouge(predictions, items):
    """Mean F1 of ROUGE-1, ROUGE-2 and ROUGE-L with stemming, and their mean (GPT-2, Table 4): dict.

    L is the summary-level one, over sentences in lines, as CNN/DM's papers have it.
    """
    names = {"rouge1": "rouge1", "rouge2": "rouge2", "rougeL": "rougeLsum"}
    scorer = rouge_scorer.RougeScorer(list(names.values()), use_stemmer=True)
    scores = [scorer.score(item.answers[0], text) for text, item in zip(predictions, items, strict=True)]
    values = {name: float(np.mean([score[key].fmeasure for score in scores])) for name, key in names.items()}
    return values | {"rouge_average": float(np.mean(list(values.values())))}


def perplexity(log_likelihoods, items):
    """exp of minus the mean log-likelihood (in nats) of an original unit: float."""
    return math.exp(-_per_unit(log_likelihoods, items))


def bits(log_likelihoods, items):
    """Bits for each original byte (enwik8) or character (text8)."""
    return -_per_unit(log_likelihoods, items) / math.log(2)


def _per_unit(log_likelihoods, items):
    return float(np.sum(log_likelihoods)) / sum(item.units for item in items)


METRICS = {"accuracy": accuracy, "macro_f1": macro_f1, "match": match, "exact": exact, "f1": f1, "trivia": trivia,
           "squad2": squad2, "coqa": coqa, "referent": referent, "bleu": bleu, "rouge": rouge,
           "perplexity": perplexity, "bits": bits}  # fmt: skip
# Those that are functions of log-likelihoods, also where a protocol has predictions besides.
OF_LOG_LIKELIHOODS = {"perplexity", "bits"}


def first_sentences(text, count):
    """The first sentences of a text, each in a line (GPT-2, section 3.6, has the first 3)."""
    return "\n".join(tokens.split_sentences(text)[:count])


def first_word(text):
    """The first word of a text, without the punctuation after it."""
    words = text.split()
    return re.sub(r"[^\w]+$", "", words[0]) if words else ""


def first_content_word(words, stop_words):
    """The first of words, likeliest first, that is no stop word; the likeliest where all are (GPT-2, section 3.3).

    Args:
      words: list of str, not empty.
      stop_words: set of str in lower case.
    """
    return next((word for word in words if word and word.lower() not in stop_words), words[0])
