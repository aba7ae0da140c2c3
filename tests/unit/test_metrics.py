"""Metrics are those of scikit-learn, SciPy and the benchmarks' own scripts."""

import string
import warnings

import numpy as np
import pytest
import scipy.stats
import seqeval.metrics
import sklearn.metrics

from ssl_jax import metrics, tasks
from tests.reference import squad as reference

RANDOM = np.random.default_rng(0)
TWO, TWO_GOLD = RANDOM.integers(0, 2, (2, 50))
FIVE, FIVE_GOLD = RANDOM.integers(0, 5, (2, 50))
GRADES = RANDOM.integers(0, 6, 50)  # with ties
SCORES = GRADES + RANDOM.normal(size=50).round(1)


@pytest.mark.parametrize(
    "name, predictions, labels, expected",
    [
        ("accuracy", FIVE, FIVE_GOLD, (FIVE == FIVE_GOLD).mean()),
        ("f1", TWO, TWO_GOLD, 2 * (TWO & TWO_GOLD).sum() / (TWO.sum() + TWO_GOLD.sum())),
        ("macro_f1", FIVE, FIVE_GOLD, sklearn.metrics.f1_score(FIVE_GOLD, FIVE, average=None).mean()),
        ("matthews", FIVE, FIVE_GOLD, sklearn.metrics.matthews_corrcoef(FIVE_GOLD, FIVE)),
        ("matthews", TWO, TWO_GOLD, np.corrcoef(TWO, TWO_GOLD)[0, 1]),  # the phi coefficient
        ("pearson", SCORES, GRADES, np.corrcoef(SCORES, GRADES)[0, 1]),
        ("spearman", SCORES, GRADES, np.corrcoef(*map(scipy.stats.rankdata, (SCORES, GRADES)))[0, 1]),
    ],
    ids=["accuracy", "f1", "macro-f1", "matthews-5", "matthews-2", "pearson", "spearman"],
)
def test_numbers_are_the_libraries(name, predictions, labels, expected):
    assert metrics.OF_LABELS[name](predictions, labels) == pytest.approx(expected, abs=1e-12)
    assert metrics.OF_LABELS[name](list(predictions), list(labels)) == pytest.approx(expected, abs=1e-12)


CONSTANT = {
    "f1-no-ones": ("f1", [0, 0], [0, 0], 0),
    "f1-none-right": ("f1", [1, 0], [0, 1], 0),
    "f1-all-ones": ("f1", [1, 1], [1, 1], 1),
    "macro-f1-only-classes-that-occur": ("macro_f1", [2, 2, 0], [2, 2, 2], 0.4),  # of 0.8 and 0
    "matthews-constant-predictions": ("matthews", [1, 1, 1], [0, 1, 1], 0),
    "matthews-constant-labels": ("matthews", [0, 1, 1], [1, 1, 1], 0),
    "matthews-both": ("matthews", [1, 1], [1, 1], 0),
    "pearson-constant-predictions": ("pearson", [0.5, 0.5, 0.5], [1.0, 2.0, 3.0], 0),
    "pearson-constant-labels": ("pearson", [1.0, 2.0], [3.0, 3.0], 0),
    "pearson-one": ("pearson", [1.0], [3.0], 0),
    "spearman-constant": ("spearman", [0.5, 0.5, 0.5], [1.0, 2.0, 3.0], 0),
    "spearman-reversed": ("spearman", [1.0, 10.0, 100.0], [3.0, 2.0, 1.0], -1),
}


@pytest.mark.parametrize("case", CONSTANT)
def test_edges_are_defined_and_quiet(case):
    name, predictions, labels, expected = CONSTANT[case]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert metrics.OF_LABELS[name](predictions, labels) == pytest.approx(expected)


def test_what_is_not_a_number_stays_so():
    for metric in (metrics.pearson, metrics.spearman):
        assert np.isnan(metric([1.0, np.nan], [1.0, 2.0]))


def chunks(tags):
    """(type, first, after last) of the entities of a sentence, by the rules of conlleval for IOB1 and IOB2."""
    found, start, before = [], None, ("O", "")
    for place, tag in enumerate([*tags, "O"]):
        now = tuple(tag.split("-")) if "-" in tag else ("O", "")
        goes_on = before[0] != "O" and now[0] == "I" and now[1] == before[1]
        if start is not None and not goes_on:
            found.append((before[1], start, place))
            start = None
        if now[0] != "O" and not goes_on:
            start = place
        before = now
    return set(found)


def test_entities_count_as_conlleval_counts_them():
    tags = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    sides = RANDOM.choice(tags, (2, 40, 5)).tolist()
    predicted, gold = ([(n, *chunk) for n, tags in enumerate(side) for chunk in chunks(tags)] for side in sides)
    right = len(set(predicted) & set(gold))
    assert right and metrics.ner_f1(*sides) == pytest.approx(2 * right / (len(predicted) + len(gold)))
    assert metrics.ner_f1(*sides) == seqeval.metrics.f1_score(sides[1], sides[0], average="micro")


ENTITIES = {
    "iob1": (["I-PER", "I-PER", "O"], ["B-PER", "I-PER", "O"], 1),
    "iob1-neighbours": (["I-PER", "B-PER"], ["B-PER", "B-PER"], 1),
    "one-word-short": (["B-PER", "O", "O"], ["B-PER", "I-PER", "O"], 0),
    "other-type": (["B-PER", "I-PER"], ["B-LOC", "I-LOC"], 0),
    "half": (["B-PER", "O", "B-LOC"], ["B-PER", "O", "O"], 2 / 3),
    "type-changes-inside": (["B-PER", "I-LOC"], ["B-PER", "B-LOC"], 1),
    "nothing": (["O", "O"], ["O", "O"], 0),
}


@pytest.mark.parametrize("case", ENTITIES)
def test_spans_of_entities(case):
    predicted, gold, expected = ENTITIES[case]
    assert metrics.ner_f1([predicted], [gold]) == pytest.approx(expected)


NORMALISED = {
    "case-and-articles": ("The  Cat, an animal", "cat animal"),
    "only-articles": ("A the an.", ""),
    "articles-within-words": ("Theatre ran; another", "theatre ran another"),
    "article-beside-a-hyphen": ("a-b the-c", "ab thec"),
    "article-beside-a-dash": ("the–end", "–end"),  # an en dash is no ASCII punctuation
    "unicode": ("Ärzte “the” ÉCOLE №5", "ärzte “ ” école №5"),
    "white-space": ("\tone\n two\u00a0three ", "one two three"),
    "underline": ("the_end", "theend"),
    "numbers": ("$1,000.50", "100050"),
    "nothing": ("", ""),
}


@pytest.mark.parametrize("case", NORMALISED)
def test_answers_are_normalised_as_the_official_script_does(case):
    text, expected = NORMALISED[case]
    assert metrics.normalise_answer(text) == reference.normalise(text) == expected


GOLDS = {
    "exact": ["The cat"],
    "best-of-several": ["dog", "a black cat", "cat sat"],
    "partly": ["black cat on the mat"],
    "nothing-shared": ["dog"],
    "repeated": ["cat cat cat"],
    "empty-answer": ["cat"],
    "only-articles": ["the"],
    "articles-and-more": ["the", "dog"],
}
ANSWERS = {name: "cat" for name in GOLDS} | {"repeated": "cat cat", "empty-answer": "", "only-articles": "a"}
NONE = {"none-right": "", "none-wrong": "cat", "none-article": "the"}
GOLDS2, ANSWERS2 = GOLDS | {name: [] for name in NONE}, ANSWERS | NONE
SURE = dict(zip(GOLDS2, [0.1, 0.3, 0.9, 0.2, 0.3, 0.5, 0.4, 0.35, 0.8, 0.3, 1.5], strict=True))


def test_answers_are_scored_as_the_official_script_of_1_1_does():
    exact, f1 = reference.version1(ANSWERS, GOLDS)
    assert metrics.squad(ANSWERS, GOLDS) == pytest.approx({"exact": exact, "f1": f1, "score": f1})
    one = metrics.squad({"q": "a black cat"}, {"q": ["dog", "cat"]})
    assert one == pytest.approx({"exact": 0, "f1": 2 / 3, "score": 2 / 3})


@pytest.mark.parametrize("name", GOLDS2)
def test_each_answer_scores_as_in_2_0(name):
    golds, answers = {name: GOLDS2[name]}, {name: ANSWERS2[name]}
    ((exact, f1),) = reference.raw_scores(answers, golds).values()
    part = "has_answer" if golds[name] else "no_answer"
    expected = {"exact": exact, "f1": f1, f"{part}_exact": exact, f"{part}_f1": f1, "score": f1}
    assert metrics.squad2(answers, golds) == pytest.approx(expected)


def generated(seed):
    """Answers, golds and probabilities at random, with ties."""
    rng = np.random.default_rng(seed)
    words = ["a", "the", "cat", "Dog", "x-y", "é", ",", "an"]

    def text(least):
        return " ".join(rng.choice(words, rng.integers(least, 5)))

    golds = {str(n): [text(1) for _ in range(rng.integers(0, 3))] for n in range(30)}
    answers = {name: text(0) for name in golds}
    return answers, golds, {name: float(rng.integers(0, 6)) / 5 for name in rng.permutation(list(golds))}


@pytest.mark.parametrize("threshold", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(
    "data", [(ANSWERS2, GOLDS2, SURE), *map(generated, range(3))], ids=["edges", "random-0", "random-1", "random-2"]
)
def test_2_0_with_and_without_answer_and_the_best_thresholds(data, threshold):
    answers, golds, na_probs = data
    found = metrics.squad2(answers, golds, na_probs, threshold)
    both = reference.raw_scores(answers, golds)
    for place, metric in enumerate(("exact", "f1")):
        raw = {name: pair[place] for name, pair in both.items()}
        final = reference.at_threshold(raw, golds, na_probs, threshold)
        has, none = ([name for name in golds if bool(golds[name]) == answered] for answered in (True, False))
        for part, questions in {"": golds, "has_answer_": has, "no_answer_": none}.items():
            assert found.pop(part + metric) == pytest.approx(sum(final[q] for q in questions) / len(questions)), part
        best, where = reference.best(raw, answers, golds, na_probs)
        assert found.pop(f"best_{metric}") == pytest.approx(best)
        assert found.pop(f"best_{metric}_threshold") == where
    assert found == {
        "score": pytest.approx(reference.best({q: f1 for q, (_, f1) in both.items()}, answers, golds, na_probs)[0])
    }


def test_the_best_threshold_is_the_lowest_of_equals_and_0_where_none_helps():
    golds, answers = {"a": ["x"], "b": [], "c": ["y"]}, {"a": "x", "b": "z", "c": "y"}
    best = metrics.squad2(answers, golds, {"a": 0.2, "b": 0.5, "c": 0.7})
    assert (best["best_exact"], best["best_exact_threshold"]) == (pytest.approx(2 / 3), 0.2)
    worse = metrics.squad2(dict.fromkeys(golds, "wrong"), golds, {"a": 0.2, "b": 0.5, "c": 0.7})
    assert (worse["best_f1"], worse["best_f1_threshold"]) == (pytest.approx(1 / 3), 0.0)


def test_punctuation_is_all_of_asciis():
    assert metrics.normalise_answer(string.punctuation) == ""


def test_multirc_counts_answers_and_whole_questions():
    questions, labels, predictions = [3, 3, 7, 7, 3, 9], [1, 0, 1, 1, 0, 0], [1, 0, 1, 0, 0, 0]
    f1a = 2 * 2 / (2 + 3)
    expected = {"f1a": f1a, "exact": 2 / 3, "score": (f1a + 2 / 3) / 2}
    assert metrics.evaluate(tasks.TASKS["multirc"], predictions, labels, groups=questions) == pytest.approx(expected)


def test_a_tasks_score_is_one_number():
    values = metrics.evaluate(tasks.TASKS["mrpc"], TWO, TWO_GOLD)
    assert list(values) == ["f1", "accuracy", "score"]
    assert values["score"] == pytest.approx((values["f1"] + values["accuracy"]) / 2)
    values = metrics.evaluate(tasks.TASKS["topics"], FIVE, FIVE_GOLD)
    assert values["score"] == values["accuracy"] != values["macro_f1"]
    answers, golds = {"a": "x", "b": "y"}, {"a": ["x"], "b": []}
    values = metrics.squad2(answers, golds, {"a": 0.2, "b": 0.7})
    assert values["score"] == values["best_f1"] == 1 != values["f1"]


def test_every_task_has_its_metrics():
    for name, row in tasks.FINE_TUNED.items():
        names = {*row.score, *row.also, *(one for several in row.diagnostics.values() for one in several)}
        if row.kind == "spans":
            assert row.score and names <= {"exact", "f1", "best_f1"}
        else:
            assert row.score and names <= {*metrics.OF_LABELS, *metrics.OF_GROUPS}, name
            # Groups count towards the score only where every example has one.
            scored = {*row.score, *(several[0] for several in row.diagnostics.values())}
            assert name == "multirc" or not scored & {*metrics.OF_GROUPS}, name


@pytest.mark.parametrize("seed", range(5))
def test_the_best_threshold_has_the_highest_correlation_of_all(seed):
    random = np.random.default_rng(seed)
    scores, labels = random.integers(0, 12, 30) / 4, random.integers(0, 2, 30)  # some are equal
    found = metrics.best_threshold(scores, labels)
    tried = {
        cut: sklearn.metrics.matthews_corrcoef(labels, scores > cut) for cut in np.append(np.unique(scores) + 0.1, -1)
    }
    assert sklearn.metrics.matthews_corrcoef(labels, scores > found) == pytest.approx(max(tried.values()))
    assert metrics.best_threshold(np.ones(4), np.array([0, 1, 1, 1])) == -np.inf  # nothing to tell apart
