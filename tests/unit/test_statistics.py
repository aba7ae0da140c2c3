"""What is said of several runs together."""

import functools

import numpy as np
import pytest

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
    low, high = accuracy["interval"]
    assert 0.125 < low < accuracy["mean"] < high < 0.75
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
