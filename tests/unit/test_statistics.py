"""What is said of several runs together."""

import functools

import numpy as np
import pytest
from scipy import stats

from ssl_jax import metrics, statistics, tasks


def test_a_summary_is_arithmetic():
    results = [dict(step=7, loss=loss, accuracy=accuracy, chance=0.25, span_chance=0.5) for loss, accuracy in
               ((1.0, 0.5), (3.0, 0.25), (2.0, 0.75), (np.nan, 0.125))]  # fmt: skip
    made = statistics.summary(results, range(4), "median")
    assert (
        made["step"] == 7
        and (made["chance"], made["span_chance"]) == (0.25, 0.5)
        and made["seeds"] == [0, 1, 2, 3]
        and made["failed"] == [1, 3]
    )
    accuracy, loss = made["accuracy"], made["loss"]
    assert (accuracy["mean"], accuracy["median"], accuracy["best"]) == (0.40625, 0.375, 0.75)
    assert accuracy["sd"] == pytest.approx(np.sqrt(np.var([0.5, 0.25, 0.75, 0.125]) * 4 / 3))
    assert (loss["best"], loss["values"]) == (1.0, [1.0, 3.0, 2.0, None])
    # t at three degrees of freedom, 3.182, times sd / 2.
    half = 3.182446 * accuracy["sd"] / 2
    assert accuracy["interval"] == pytest.approx([0.40625 - half, 0.40625 + half], rel=1e-5)
    lines = statistics.table(made)
    assert "median*" in lines[0] and "failed: 1, 3" in lines[-1]
    assert [line.split()[0] for line in lines if line.endswith("(chance 0.25)")] == ["accuracy"]


# A task; what is right, what always the same gets for it, and what learned something.
CONSTANT = {
    "cola": ([0, 1, 1, 0], [1, 1, 1, 1], [0, 1, 1, 1]),
    "stsb": ([0.0, 5.0, 2.5], [2.0, 2.0, 2.0], [1.0, 2.0, 2.0]),
    "conll2003": ([["B-LOC", "O"], ["O", "B-PER"]], [["O", "O"]] * 2, [["B-LOC", "O"], ["B-PER", "O"]]),
    "squad": ({1: ["the river"], 2: ["rome"]}, {1: "", 2: ""}, {1: "a river bank", 2: ""}),
    "squad2": ({1: ["the river"], 2: [], 3: []}, {1: "", 2: "", 3: ""}, {1: "river bank", 2: "", 3: "no"}),
}


@pytest.mark.parametrize("task", CONSTANT)
def test_who_says_always_the_same_has_failed(task):
    gold, *answers = CONSTANT[task]
    measure = {"squad": metrics.squad, "squad2": metrics.squad2}.get(
        task, functools.partial(metrics.evaluate, tasks.TASKS[task])
    )
    results = [dict(step=1, loss=0.5, **measure(answer, gold)) for answer in answers]
    assert statistics.summary(results, range(2), "median")["failed"] == [0]
    assert "one answer to every example" in statistics.learned_nothing(results[0]) and not statistics.learned_nothing(
        results[1]
    )


def test_who_is_right_no_more_often_than_the_most_frequent_label_has_learned_nothing():
    values = dict(step=1, loss=0.5, accuracy=0.5, chance=0.5)
    reason = "accuracy is 0.5, and with the most frequent label for every example 0.5"
    assert statistics.learned_nothing(values) == reason
    assert not statistics.learned_nothing(values | dict(accuracy=0.51)) and not statistics.learned_nothing(
        dict(accuracy=0.5)
    )
    # F1 of the one class that is always given is above 0.
    assert statistics.learned_nothing(values | dict(f1=0.67)) == reason
    assert statistics.summary([values | {"learned_nothing": reason}] * 2, range(2), "mean")["failed"] == [0, 1]


def test_the_same_numbers_have_no_spread():
    made = statistics.summary([dict(step=1, accuracy=0.5)] * 3, range(3), "mean")
    assert made["accuracy"] == dict(mean=0.5, sd=0.0, median=0.5, best=0.5, interval=[0.5, 0.5], values=[0.5] * 3)
    assert made["failed"] == []


def test_a_run_that_was_not_finite_counts_as_failed():
    good = dict(step=7, loss=1.0, accuracy=0.5, chance=0.25, learned_nothing="why")
    lost, kept = statistics.completed([{}, good])
    assert kept == good and lost.pop("loss") != lost and lost.keys() == {"step", "accuracy", "chance"}
    made = statistics.summary(statistics.completed([{}, good | dict(accuracy=0.75)]), (3, 4), "mean")
    assert made["failed"] == [3] and made["accuracy"]["values"] == [None, 0.75] and made["chance"] == 0.25


A, B = [0.61, 0.64, 0.60, 0.66, 0.63], [0.60, 0.61, 0.60, 0.62, 0.60]


def test_rows_are_compared_seed_by_seed():
    made, other = statistics.compare(A, B), stats.ttest_rel(A, B)
    assert made.pairs == 5 and made.difference == pytest.approx(0.022) and made.p == pytest.approx(other.pvalue)
    assert made.spread == pytest.approx(np.std(np.subtract(A, B), ddof=1))
    assert (made.low, made.high) == pytest.approx(other.confidence_interval(0.95), rel=1e-9)
    # Unpaired it would not be found: seeds differ more than rows.
    assert made.p < 0.05 < statistics.compare(A, sorted(B, reverse=True)).p
    assert statistics.compare([0.6], [0.5]) == (1, pytest.approx(0.1), None, None, None, None, None)
    assert statistics.compare([1, 2], [0, 1])[1:6] == (1, 0, 1, 1, 0) and statistics.compare([1, 2], [1, 2]).p == 1
    # Differences of 0.1 that rounding makes unlike have no spread either.
    assert statistics.compare([0.3, 0.4, 0.8], [0.2, 0.3, 0.7]).p == 0


def test_a_claim_holds_is_contradicted_or_is_not_resolved():
    made = statistics.compare(A, B)
    assert statistics.judge(made, 1) == ("holds", made.p) and statistics.judge(made, -1) == ("contradicted", made.p)
    # One seed says nothing, whatever the difference.
    assert statistics.verdicts([statistics.judge(statistics.compare([9], [0]), 1)]) == [("not resolved", 1)]
    assert statistics.verdicts([("holds", made.p)]) == [("holds", made.p)]
    # Among as many claims as make 0.05 of it, it is no longer resolved.
    several = statistics.verdicts([("holds", made.p)] + [("holds", 0.9)] * int(0.05 / made.p))
    assert several[0][0] == "not resolved" and several[0][1] > 0.05 > made.p
    # The same: within the band, outside it, or neither.
    assert [statistics.judge(made, 0, band)[0] for band in (1, 0.001)] == ["holds", "contradicted"]
    found = [statistics.verdicts([statistics.judge(made, 0, band)])[0][0] for band in (1, 0.022, 1e-6)]
    assert found == ["holds", "not resolved", "contradicted"]
    assert statistics.judge(made, 0, 1e-9)[1] == pytest.approx(made.p, rel=1e-4)


def test_a_claim_at_the_edge_of_its_band_is_wrong_as_seldom_as_it_says():
    random, found = np.random.default_rng(0), []
    for differences in random.normal(1.0, 1.0, (4000, 5)):  # a true difference of just the band
        found += statistics.verdicts([statistics.judge(statistics.compare(differences, np.zeros(5)), 0, 1.0)])
    shares = [np.mean([verdict == name for verdict, _ in found]) for name in ("holds", "contradicted")]
    assert max(shares) < 0.05 + 0.014  # four standard errors


def test_an_interval_covers_what_it_says_where_a_bootstrap_does_not():
    random, covered, percentile = np.random.default_rng(0), 0, 0
    for sample in random.normal(size=(2000, 3)):
        low, high = statistics.interval(sample)
        covered += low <= 0 <= high
        drawn = random.choice(sample, (200, 3)).mean(axis=1)
        percentile += np.percentile(drawn, 2.5) <= 0 <= np.percentile(drawn, 97.5)
    # Four standard errors of a share of .95 in 2,000 are .0195.
    assert abs(covered / 2000 - 0.95) < 0.0195 and 0.7 < percentile / 2000 < 0.8
    assert statistics.interval([1.0]) is None


@pytest.mark.parametrize("seeds, expected", [(3, 3.26), (5, 1.68), (10, 1.00), (20, 0.66)])
def test_the_detectable_effect_is_that_of_tables_of_power(seeds, expected):
    """In sds: Cohen's d of a paired t-test at .05, two-sided, with a power of .8 (G*Power 3.1)."""
    assert statistics.detectable(1.0, seeds) == pytest.approx(expected, abs=0.01)
    assert statistics.detectable(2.5, seeds) == pytest.approx(2.5 * statistics.detectable(1.0, seeds))
    assert statistics.seeds_needed(statistics.detectable(1.0, seeds) + 1e-9, 1.0) == seeds
    random = np.random.default_rng(0)
    found = random.normal(statistics.detectable(1.0, seeds), size=(4000, seeds))
    assert (stats.ttest_1samp(found, 0, axis=1).pvalue < 0.05).mean() == pytest.approx(0.8, abs=0.026)  # 4 se


def test_equivalence_is_the_90_percent_interval_within_the_band():
    low, high = stats.ttest_rel(A, B).confidence_interval(0.9)
    edge, made = max(abs(low), abs(high)), statistics.compare(A, B)
    assert statistics.equivalence(made, edge * 1.001) < 0.05 < statistics.equivalence(made, edge * 0.999)
    assert statistics.equivalence(statistics.compare([1, 2], [1, 2]), 0.1) == 0
    assert statistics.equivalence(statistics.compare([2, 3], [1, 2]), 0.1) == 1


def test_holm_by_hand():
    # .01 * 4, .02 * 3, .03 * 2 and .04 * 1, none below the one before.
    assert statistics.holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert statistics.holm([0.5, 0.6]) == [1, 1] and statistics.holm([]) == []


def test_the_multi_bootstrap_covers_seeds_and_examples():
    """Ten seeds and 100 examples, both random: intervals of either alone would miss the truth far more often."""
    random, covered = np.random.default_rng(0), 0
    for n in range(200):
        by_seed, by_example = random.normal(0, 0.3, (10, 1)), random.normal(0, 2, (1, 100))
        differences = by_seed + by_example + random.normal(0, 1, (10, 100))
        mean, (low, high), p = statistics.multibootstrap(differences, np.zeros((10, 100)), 200, n)
        assert mean == pytest.approx(differences.mean()) and low < mean < high
        covered += low <= 0 <= high
    assert 0.86 <= covered / 200 <= 0.98
    assert statistics.multibootstrap(np.ones((8, 5)), np.zeros((8, 5)))[1:] == ((1, 1), 0)
