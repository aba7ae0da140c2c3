"""Which source gives the batch of a step."""

import numpy as np
import pytest
from ml_collections import ConfigDict

from ssl_jax.config import base
from ssl_jax.data import mixture
from ssl_jax.errors import UserError

NAMES, SIZES = ("a", "b", "c"), (10, 20, 70)


def options(**changes):
    return ConfigDict(base().mixture.to_dict() | changes)


def order(steps=60, seed=0, **changes):
    return mixture.Order(NAMES, SIZES, options(**changes), steps, seed)


def test_a_round_robin_takes_turns():
    assert order(7).source.tolist() == [0, 1, 2, 0, 1, 2, 0]


@pytest.mark.parametrize(
    "schedule, expected",
    [
        (("0.5:b",), "bbbbbabcab"),
        (("3:b", "2:c+a"), "bbbcaabcab"),
        (("0.2:a", "0.3:b+c"), "aabcbabcab"),
        (("10:c",), "cccccccccc"),
    ],
)
def test_a_schedule_begins_with_some(schedule, expected):
    assert "".join(NAMES[n] for n in order(10, schedule=schedule).source) == expected


@pytest.mark.parametrize("changes", [{}, {"sampling": "proportional"}, {"schedule": ("0.3:c+b",)}])
def test_numbers_count_the_batches_before(changes):
    made, seen = order(500, **changes), [0, 0, 0]
    for source, number in zip(made.source, made.number, strict=True):
        assert number == seen[source]
        seen[source] += 1


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({"sampling": "proportional"}, np.array(SIZES) / 100),
        ({"sampling": "proportional", "temperature": 2.0}, np.sqrt(SIZES) / np.sqrt(SIZES).sum()),
        ({"sampling": "weights", "weights": (1.0, 0.0, 3.0)}, np.array([0.25, 0, 0.75])),
    ],
)
def test_shares_of_random_sources(changes, expected):
    steps = 40_000
    counts = np.bincount(order(steps, **changes).source, minlength=3)
    sd = np.sqrt(steps * expected * (1 - expected))
    assert (abs(counts - steps * expected) <= 5 * sd).all()  # five sd of a binomial; exactly 0 where the weight is


def test_extreme_temperatures_and_weights_stay_finite():
    assert {*order(50, sampling="proportional", temperature=1e-3).source} == {2}
    assert {*order(200, sampling="weights", weights=(1e308, 1e308, 0.0)).source} == {0, 1}


def test_a_phase_at_random_draws_its_own_sources_alone():
    made = order(400, sampling="proportional", schedule=("200:a+b",))
    assert {*made.source[:200]} == {0, 1} and 2 in made.source[200:]


def test_seeds_differ_and_a_longer_run_begins_the_same():
    long, short = order(300, sampling="proportional"), order(100, sampling="proportional")
    assert (long.source[:100] == short.source).all()
    assert (order(300, 1, sampling="proportional").source != long.source).any()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"schedule": ("b",)}, "STEPS:NAME"),
        ({"schedule": ("0.5:d",)}, "'d'"),
        ({"schedule": ("1.5:b",)}, "share below 1"),
        ({"schedule": ("0:b",)}, "share below 1"),
        ({"schedule": ("inf:b",)}, "share below 1"),
        ({"schedule": ("50:a", "11:b")}, "61 steps"),
        ({"sampling": "weights", "weights": (1.0,)}, "one for each of 3"),
        ({"sampling": "weights", "weights": (0.0, 0.0, 0.0)}, "one for each of 3"),
        ({"sampling": "weights", "weights": (1.0, 0.0, 0.0), "schedule": ("9:b+c",)}, "b and c are all 0"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        order(**changes)
