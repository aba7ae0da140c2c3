"""Masking: counts, rates and exceptions of create_pretraining_data.py, keyed by the example alone."""

from typing import NamedTuple

import jax
import numpy as np
import pytest

from ssl_jax.corruption import mask_tokens, prediction_counts
from tests.reference import bert as reference

START, SEPARATOR, MASK, SIZE = 2, 3, 4, 1000


class Vocabulary(NamedTuple):
    size: int = SIZE
    start: int = START
    separator: int = SEPARATOR
    mask: int = MASK
    special: np.ndarray = np.isin(np.arange(SIZE), (0, START, SEPARATOR, MASK))
    starts_word: np.ndarray = np.arange(SIZE) % 3 != 0  # a third of the tokens continue a word


def make_batch(rows, length, seed=0, first=0):
    random = np.random.default_rng(seed)
    tokens = random.integers(5, SIZE, (rows, length))
    real = random.integers(4, length + 1, rows)
    real[0] = length
    for row, count in enumerate(real):
        tokens[row, 0], tokens[row, count // 2], tokens[row, count - 1] = START, SEPARATOR, SEPARATOR
    mask = np.arange(length) < real[:, None]
    return dict(tokens=np.where(mask, tokens, 0), mask=mask, index=first + np.arange(rows))


def corrupt(batch, seed=0, **options):
    options = dict(rate=0.15, mask=0.8, random=0.1, max_predictions=0, whole_word=False) | options
    function = jax.jit(lambda batch: mask_tokens(batch, Vocabulary(), jax.random.key(seed), **options))
    return jax.tree.map(np.asarray, function(batch))


def chosen_of(out, length):
    """[B, S] booleans from positions and weights."""
    chosen = np.zeros((len(out["positions"]), length), bool)
    for row, (positions, weights) in enumerate(zip(out["positions"], out["weights"], strict=True)):
        chosen[row, positions[weights > 0]] = True
    return chosen


@pytest.fixture(scope="module")
def large():
    batch = make_batch(4000, 64)
    return batch, corrupt(batch)


@pytest.mark.parametrize("rate", [0.15, 0.25, 0.3, 0.5])
def test_the_table_of_counts_is_the_originals_rule(rate):
    table = prediction_counts(512, rate, 77)
    assert table[1:] == [min(reference.num_to_predict(n, rate, 77), n) for n in range(1, 513)]
    assert table[0] == 0


def test_each_row_predicts_as_many_tokens_as_the_rule_says(large):
    batch, out = large
    expected = [reference.num_to_predict(int(n), 0.15, 64) for n in batch["mask"].sum(1)]
    # Short rows can have fewer candidates than the rule asks for, never here: 4 tokens have one.
    np.testing.assert_array_equal(out["weights"].sum(1), expected)


def test_special_tokens_and_padding_are_never_chosen_and_targets_are_the_originals(large):
    batch, out = large
    chosen = chosen_of(out, 64)
    assert not chosen[~batch["mask"] | np.isin(batch["tokens"], (START, SEPARATOR))].any()
    np.testing.assert_array_equal(
        out["targets"], np.take_along_axis(batch["tokens"], out["positions"], axis=1)
    )
    np.testing.assert_array_equal(out["tokens"][~chosen], batch["tokens"][~chosen])


def test_positions_are_distinct_and_uniform(large):
    batch, out = large
    full = batch["mask"].sum(1) == 64
    chosen = chosen_of(out, 64)
    assert (chosen.sum(1) == out["weights"].sum(1)).all()
    # 61 candidates in a full row, 10 chosen.
    again = corrupt(make_batch(1, 64) | {"index": np.arange(1)}, seed=1)
    rows = {name: np.repeat(value, 3000, 0) for name, value in make_batch(1, 64).items()}
    rows["index"] = np.arange(3000)
    frequency = chosen_of(corrupt(rows), 64).mean(0)[1:-1]
    frequency = np.delete(frequency, 64 // 2 - 1)
    assert full.any() and again["weights"].sum() == 10
    # sd of a frequency: sqrt(.164 * .836 / 3000) = .0068; five of them.
    assert np.abs(frequency - 10 / 61).max() < 0.034


@pytest.mark.parametrize("mask, random", [(0.8, 0.1), (0.0, 1.0), (0.8, 0.0), (0.3, 0.3)])
def test_what_is_shown_at_a_chosen_position_has_the_rates_of_the_config(mask, random):
    batch = make_batch(4000, 64)
    out = corrupt(batch, mask=mask, random=random)
    chosen = chosen_of(out, 64)
    shown, original = out["tokens"][chosen], batch["tokens"][chosen]
    masked, kept = (shown == MASK).mean(), (shown == original).mean()
    # 25,000 choices: sd of a rate is at most .0032.
    assert masked == pytest.approx(mask + random / SIZE, abs=0.013)
    assert kept == pytest.approx(1 - mask - random + random / SIZE, abs=0.013)
    drawn = shown[(shown != MASK) & (shown != original)]
    if random:
        # From the whole vocabulary, special tokens included: mean of 0..999, sd 289.
        assert drawn.mean() == pytest.approx(499.5, abs=5 * 289 / np.sqrt(len(drawn)))
        assert (drawn < 5).any()


def test_the_same_key_and_number_give_the_same_masks_in_any_company():
    batch = make_batch(8, 32)
    whole = corrupt(batch)
    shuffled = [5, 2, 7, 0]
    part = corrupt({name: value[shuffled] for name, value in batch.items()})
    for name in ("tokens", "positions", "targets", "weights"):
        np.testing.assert_array_equal(part[name], whole[name][shuffled])


def test_another_number_or_another_key_give_other_masks():
    batch = make_batch(8, 32)
    assert (chosen_of(corrupt(batch), 32) != chosen_of(corrupt(batch, seed=1), 32)).any()
    later = batch | {"index": batch["index"] + 8}
    assert (chosen_of(corrupt(batch), 32) != chosen_of(corrupt(later), 32)).any()


def test_a_row_of_padding_predicts_nothing():
    batch = make_batch(2, 16)
    batch["mask"][1] = False
    assert corrupt(batch)["weights"][1].sum() == 0


def test_max_predictions_caps_the_count():
    assert corrupt(make_batch(4, 64), max_predictions=3)["positions"].shape == (4, 3)


def words_of(tokens, mask):
    """Lists of positions: a word is a token that starts one and the continuations behind it."""
    words = []
    for position, token in enumerate(tokens):
        if not mask[position] or token in (START, SEPARATOR):
            words.append(None)
        elif words and words[-1] is not None and not Vocabulary().starts_word[token]:
            words[-1].append(position)
        else:
            words.append([position])
    return [word for word in words if word]


def test_whole_words_are_chosen_or_left_whole_inside_the_count():
    batch = make_batch(300, 64)
    out = corrupt(batch, whole_word=True)
    chosen = chosen_of(out, 64)
    short_of_it = 0
    for row in range(300):
        words = words_of(batch["tokens"][row], batch["mask"][row])
        left = [word for word in words if not chosen[row, word].any()]
        assert all(chosen[row, word].all() for word in words if word not in left)
        budget = reference.num_to_predict(int(batch["mask"][row].sum()), 0.15, 64)
        room = budget - chosen[row].sum()
        assert room >= 0
        # A word was passed over only because it did not fit, so what is left is longer than the room.
        assert room == 0 or min(map(len, left)) > room
        short_of_it += room
    assert short_of_it / 300 < 0.5


def test_whole_words_of_one_piece_are_plain_masking_in_rate():
    class Whole(NamedTuple):
        size: int = SIZE
        start: int = START
        separator: int = SEPARATOR
        mask: int = MASK
        special: np.ndarray = Vocabulary().special
        starts_word: np.ndarray = np.ones(SIZE, bool)

    batch = make_batch(8, 32)
    key = jax.random.key(0)
    options = dict(rate=0.15, mask=0.8, random=0.1, max_predictions=0)
    plain = mask_tokens(batch, Whole(), key, whole_word=False, **options)
    whole = mask_tokens(batch, Whole(), key, whole_word=True, **options)
    jax.tree.map(np.testing.assert_array_equal, plain, whole)
