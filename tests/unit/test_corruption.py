"""Masking: counts, rates and exceptions of the originals, keyed by the example alone; replaced tokens."""

import collections
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import albert as albert_config
from configs import electra as electra_config
from ssl_jax import corruption
from ssl_jax.corruption import mask_tokens, prediction_counts
from ssl_jax.errors import UserError
from ssl_jax.plan import predictions_per_sequence
from tests.reference import albert, electra
from tests.reference import bert as reference

pytestmark = pytest.mark.slow  # compiles programs, or trains

UNKNOWN, START, SEPARATOR, MASK, SIZE = 1, 2, 3, 4, 1000
OPTIONS = dict(rate=0.15, mask=0.8, random=0.1, max_predictions=0, unit="token", max_ngram=3, with_replacement=False)


class Vocabulary(NamedTuple):
    size: int = SIZE
    unknown: int = UNKNOWN
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


def corrupt(batch, seed=0, counts=None, **options):
    options = OPTIONS | options

    def function(batch):
        out = mask_tokens(batch, Vocabulary(), jax.random.key(seed), counts, **options)
        return out | {"keys": jax.random.key_data(out["keys"])}

    return jax.tree.map(np.asarray, jax.jit(function)(batch))


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


@pytest.mark.parametrize("size, flags, most, count", [
    ("small", {}, 19, 19), ("base", {}, 79, 77), ("large", {}, 130, 128),
    ("small", {"corruption.rate": 0.25}, 32, 32), ("base", {"corruption.rate": 0.5}, 258, 256),
    ("small", {"corruption.max_predictions": 7}, 7, 7),
])  # fmt: skip
def test_electras_rate_alone_moves_its_number_of_predictions(size, flags, most, count):
    """configure_pretraining.py: int((mask_prob + .005) * max_seq_length); .255 * 128 = 32.64, .505 * 512 = 258.56."""
    config = electra_config.get_config(size)
    config.update_from_flattened_dict(flags)
    options = {name: config.corruption[name] for name in ("rate", "max_predictions", "with_replacement")}
    (length,) = config.phases.lengths
    assert corruption.limit(length, **options) == most
    assert predictions_per_sequence(config, length) == max(prediction_counts(length, **options)) == count


def test_each_row_predicts_as_many_tokens_as_the_rule_says(large):
    batch, out = large
    expected = [reference.num_to_predict(int(n), 0.15, 64) for n in batch["mask"].sum(1)]
    # Short rows can have fewer candidates than the rule asks for, never here: 4 tokens have one.
    np.testing.assert_array_equal(out["weights"].sum(1), expected)


def test_special_tokens_and_padding_are_never_chosen_and_targets_are_the_originals(large):
    batch, out = large
    chosen = chosen_of(out, 64)
    assert not chosen[~batch["mask"] | np.isin(batch["tokens"], (START, SEPARATOR))].any()
    np.testing.assert_array_equal(out["targets"], np.take_along_axis(batch["tokens"], out["positions"], axis=1))
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


@pytest.mark.parametrize("options", [{}, {"unit": "ngram"}, {"with_replacement": True}])
def test_the_same_key_and_number_give_the_same_masks_in_any_company(options):
    batch = make_batch(8, 32)
    whole = corrupt(batch, **options)
    shuffled = [5, 2, 7, 0]
    part = corrupt({name: value[shuffled] for name, value in batch.items()}, **options)
    for name in ("tokens", "positions", "targets", "weights", "original", "keys"):
        np.testing.assert_array_equal(part[name], whole[name][shuffled])


def test_another_number_or_another_key_give_other_masks():
    batch = make_batch(8, 32)
    assert (chosen_of(corrupt(batch), 32) != chosen_of(corrupt(batch, seed=1), 32)).any()
    later = batch | {"index": batch["index"] + 8}
    assert (chosen_of(corrupt(batch), 32) != chosen_of(corrupt(later), 32)).any()


@pytest.mark.parametrize("options", [{}, {"unit": "word"}, {"unit": "ngram"}, {"with_replacement": True}])
def test_a_row_of_padding_or_of_special_tokens_predicts_nothing(options):
    batch = make_batch(3, 16)
    batch["mask"][1] = False
    batch["tokens"][2] = SEPARATOR
    out = corrupt(batch, **options)
    np.testing.assert_array_equal(out["weights"].sum(1) > 0, [True, False, False])
    np.testing.assert_array_equal(out["tokens"][1:], batch["tokens"][1:])


def test_max_predictions_caps_the_count():
    assert corrupt(make_batch(4, 64), max_predictions=3)["positions"].shape == (4, 3)


def test_rare_tokens_are_drawn_more_often_as_one_draw_after_the_other_draws_them():
    """distiller.py, prepare_batch_mlm: multinomial without replacement, in proportion to 1 / count ** 0.7."""
    rows = 8000
    tokens = np.array([START, 10, 11, 12, UNKNOWN, 13, 14, 15, 16, SEPARATOR, 0, 0])
    counts = np.zeros(SIZE, int)  # what the text never had counts as once
    counts[10:16] = 1, 2, 5, 20, 100, 3000
    counts[UNKNOWN] = 1
    batch = dict(tokens=np.tile(tokens, (rows, 1)), mask=np.tile(np.arange(12) < 10, (rows, 1)), index=np.arange(rows))
    out = corrupt(batch, counts=counts, rate=0.3, frequency_smoothing=0.7)
    assert (out["weights"].sum(1) == 3).all() and out["positions"].shape[0] == rows
    weight = {place: max(counts[tokens[place]], 1) ** -0.7 for place in (1, 2, 3, 5, 6, 7, 8)}
    expected = collections.Counter()
    for draws in itertools.permutations(weight, 3):
        share, left = 1.0, sum(weight.values())
        for place in draws:
            share, left = share * weight[place] / left, left - weight[place]
        expected[tuple(sorted(draws))] += share
    made = collections.Counter(map(tuple, out["positions"][:, :3].tolist()))
    assert set(made) <= set(expected)  # neither special tokens nor the unknown one
    common = {drawn for drawn, share in expected.items() if share * rows > 5}
    square = sum((made[drawn] - expected[drawn] * rows) ** 2 / (expected[drawn] * rows) for drawn in common)
    # Chi-square of 20 to 35 sets: 80 or more once in 10,000 times.
    assert 20 < len(common) <= 35 and square < 80


def test_smoothing_of_equal_counts_is_none_and_changes_no_number_of_predictions(large):
    batch, out = large
    same = corrupt(batch, counts=np.full(SIZE, 7), frequency_smoothing=0.7)
    jax.tree.map(np.testing.assert_array_equal, same, out)
    other = corrupt(batch, counts=np.arange(SIZE), frequency_smoothing=0.7)
    np.testing.assert_array_equal(other["weights"], out["weights"])
    assert other["targets"][other["weights"] > 0].mean() < out["targets"][out["weights"] > 0].mean() - 50


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
    out = corrupt(batch, unit="word")
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
    plain = mask_tokens(batch, Whole(), key, **OPTIONS)
    whole = mask_tokens(batch, Whole(), key, **OPTIONS | {"unit": "word"})
    assert (plain.pop("keys") == whole.pop("keys")).all()
    jax.tree.map(np.testing.assert_array_equal, plain, whole)


def test_words_begin_where_the_config_says():
    class Split(NamedTuple):
        size: int = SIZE
        unknown: int = UNKNOWN
        mask: int = MASK
        special: np.ndarray = Vocabulary().special
        starts_word: np.ndarray = np.arange(SIZE) % 5 != 0
        starts_split: np.ndarray = Vocabulary().starts_word

    batch, key = make_batch(8, 64), jax.random.key(0)
    expected = corrupt(batch, unit="ngram")
    made, marked = (mask_tokens(batch, Split(), key, **OPTIONS | dict(unit="ngram", words=words)) for words in
                    ("split", "marked"))  # fmt: skip
    for name in ("tokens", "positions", "weights"):
        np.testing.assert_array_equal(made[name], expected[name])
    assert (np.asarray(marked["tokens"]) != expected["tokens"]).any()
    assert albert_config.get_config("base,release").corruption.words == "split"


@pytest.mark.parametrize("max_ngram", [1, 3, 4])
def test_ngrams_are_those_of_a_plain_loop_over_the_same_random_numbers(max_ngram):
    rows, length = 300, 48
    batch = make_batch(rows, length, seed=max_ngram)
    random = np.random.default_rng(0)
    score, draws = random.random((2, rows, length)).astype(np.float32)
    candidate = batch["mask"] & ~Vocabulary().special[batch["tokens"]]
    counts = random.integers(1, 20, rows)
    out = jax.vmap(lambda *row: corruption.choose_words(*row, max_ngram))(
        candidate, Vocabulary().starts_word[batch["tokens"]], counts, np.where(candidate, score, 2.0), draws
    )
    unfilled = 0
    for row in range(rows):
        words = words_of(batch["tokens"][row], batch["mask"][row])
        firsts = [word[0] for word in words]

        def draw(start, probabilities, row=row, firsts=firsts):
            return int((draws[row, firsts[start]] >= np.cumsum(probabilities)[:-1]).sum())

        order = np.argsort(score[row, firsts])
        expected = albert.choose_ngrams(words, counts[row], order, draw, max_ngram)
        assert set(np.flatnonzero(out[row])) == expected
        unfilled += len(expected) < min(counts[row], candidate[row].sum())
    assert 0 < unfilled < rows / 4  # budgets that no word fits any more are among the cases


@pytest.mark.parametrize("start, expected", [(10, (6 / 11, 3 / 11, 2 / 11)), (62, (2 / 3, 1 / 3, 0)), (63, (1, 0, 0))])
def test_ngrams_have_1_2_or_3_words_with_6_3_and_2_elevenths(start, expected):
    # Words of one token; the starts that take what the first leaves of the budget of 3 are far away.
    draws = np.random.default_rng(0).random((20000, 64)).astype(np.float32)
    score = np.full(64, 0.9)
    score[[start, 20, 30, 40]] = 0.1, 0.2, 0.3, 0.4
    every = np.ones(64, bool)
    out = jax.vmap(lambda draws: corruption.choose_words(every, every, 3, score, draws, 3))(draws)
    assert (out.sum(1) == 3).all() and out[:, start].all()
    sizes = np.asarray(out[:, start : start + 3].sum(1))
    # sd of a frequency of 20,000: at most .0035; four of them.
    np.testing.assert_allclose([(sizes == n).mean() for n in (1, 2, 3)], expected, atol=0.014)


def test_ngrams_of_one_word_are_whole_words_and_longer_ones_are_drawn_by_the_step():
    batch = make_batch(200, 64)
    words, single, several = (
        corrupt(batch, unit=unit, max_ngram=n) for unit, n in (("word", 3), ("ngram", 1), ("ngram", 3))
    )
    jax.tree.map(np.testing.assert_array_equal, words, single)
    budgets = [reference.num_to_predict(int(n), 0.15, 64) for n in batch["mask"].sum(1)]
    taken = several["weights"].sum(1)
    assert (taken <= budgets).all() and taken.sum() > 0.95 * sum(budgets)
    apart, together = (chosen_of(out, 64) for out in (single, several))
    assert (together[:, 1:] & together[:, :-1]).sum() > 1.2 * (apart[:, 1:] & apart[:, :-1]).sum()


def test_drawing_with_replacement_is_the_originals_loop_over_the_same_random_numbers():
    rows, length, draws = 200, 24, 8
    batch = make_batch(rows, length)
    random = np.random.default_rng(0)
    places, coins = random.random((2, rows, draws)).astype(np.float32)
    candidate = batch["mask"] & ~Vocabulary().special[batch["tokens"]]
    counts = random.integers(0, draws + 1, rows)
    positions, weights, kinds = jax.vmap(corruption.draw_positions)(candidate, counts, places, coins)
    twice = 0
    for row in range(rows):
        tokens = batch["tokens"][row]
        shown, drawn = electra.mask_row(
            tokens, np.flatnonzero(candidate[row]), counts[row], places[row], coins[row], MASK, 0.85
        )
        assert list(positions[row]) == drawn + [0] * (draws - len(drawn))
        assert list(weights[row]) == [1.0] * len(drawn) + [0.0] * (draws - len(drawn))
        np.testing.assert_array_equal(np.where(kinds[row] < 0.85, MASK, tokens), shown)
        np.testing.assert_array_equal(np.flatnonzero(kinds[row] < 1), sorted(set(drawn)))
        twice += len(drawn) - len(set(drawn))
    assert twice > 50


def test_masking_with_replacement_has_electras_rates():
    # 128 tokens, 125 candidates, 19 draws: 125 (1 - (1 - 1/125)^19) = 17.69 distinct ones.
    rows = 4000
    batch = {name: np.repeat(value, rows, 0) for name, value in make_batch(1, 128).items()}
    batch["index"] = np.arange(rows)
    out = corrupt(batch, mask=0.85, random=0.0, with_replacement=True)
    assert out["positions"].shape == (rows, 19) and out["weights"].all()
    np.testing.assert_array_equal(out["targets"], np.take_along_axis(batch["tokens"], out["positions"], 1))
    chosen = chosen_of(out, 128)
    assert not chosen[:, [0, 64, 127]].any()
    assert chosen.sum(1).mean() == pytest.approx(125 * (1 - (1 - 1 / 125) ** 19), abs=0.08)  # sd 1.07 / 63
    # Uniform: sd of a frequency sqrt(.1415 * .8585 / 4000) = .0055; five of them.
    assert np.abs(np.delete(chosen.mean(0), [0, 64, 127]) - (1 - (1 - 1 / 125) ** 19)).max() < 0.0276
    # Of positions drawn d times a share 1 - .15^d shows [MASK], the others themselves: 66,000 and 4,400.
    times = np.stack([np.bincount(row, minlength=128) for row in out["positions"]])
    for d, error in ((1, 0.007), (2, 0.012)):
        assert (out["tokens"] == MASK)[times == d].mean() == pytest.approx(1 - 0.15**d, abs=error)
    kept = out["tokens"] != MASK
    np.testing.assert_array_equal(out["tokens"][kept], batch["tokens"][kept])


def test_the_tokens_before_masking_are_kept():
    batch = make_batch(4, 32)
    out = corrupt(batch)
    np.testing.assert_array_equal(out["original"], batch["tokens"])
    assert (out["tokens"] != batch["tokens"]).any()


def test_every_row_has_its_own_key_which_made_none_of_the_masking():
    batch = make_batch(64, 32)
    keys = jax.random.wrap_key_data(corrupt(batch)["keys"])
    made = [np.asarray(jax.random.key_data(keys))]
    for index in batch["index"]:
        row = jax.random.fold_in(jax.random.key(0), index)
        # Order, kind, token and n-gram.
        made.append(np.asarray(jax.random.key_data(jax.random.split(row, 5)))[:4])
        made.append(np.asarray(jax.random.key_data(row))[None])
    assert len(np.unique(np.concatenate(made), axis=0)) == 64 * 6


@pytest.mark.parametrize(
    "options, line",
    [
        ({"unit": "wrod"}, "unknown corruption.unit 'wrod'; did you mean 'word'?"),
        ({"unit": "word", "with_replacement": True}, "needs corruption.unit='token', not 'word'"),
        ({"unit": "ngram", "max_ngram": 0}, "corruption.max_ngram=0: at least 1"),
        ({"unit": "word", "frequency_smoothing": 0.7}, "corruption.frequency_smoothing needs corruption.unit='token'"),
        (
            {"with_replacement": True, "frequency_smoothing": 0.7},
            "corruption.frequency_smoothing needs .* with_replacement=False",
        ),
    ],
)
def test_options_that_do_not_fit_are_refused(options, line):
    with pytest.raises(UserError, match=line):
        corrupt(make_batch(2, 16), **options)


def row_keys(rows):
    return jax.vmap(lambda row: jax.random.fold_in(jax.random.key(0), row))(jnp.arange(rows))


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_samples_have_the_probabilities_of_the_softmax(temperature):
    logits = np.log([0.5, 0.3, 0.15, 0.05])
    expected = np.exp(logits / temperature) / np.exp(logits / temperature).sum()
    drawn = corruption.sample(jnp.broadcast_to(logits, (500, 40, 4)), row_keys(500), temperature)
    assert drawn.shape == (500, 40) and drawn.dtype == jnp.int32
    # sd of a frequency of 20,000: at most .0035; four of them.
    np.testing.assert_allclose(np.bincount(drawn.ravel()) / 20000, expected, atol=0.014)
    # Positions of one row are independent: p_0 of the neighbours of a 0 are 0.
    after = np.asarray(drawn[:, 1:])[np.asarray(drawn[:, :-1]) == 0]
    assert (after == 0).mean() == pytest.approx(expected[0], abs=0.02)


def test_samples_depend_on_the_rows_key_alone_and_are_drawn_in_float32():
    keys = row_keys(8)
    # Rounded to bfloat16 the logits are the same numbers in both, and the noise must be too.
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(8, 50, 300)), jnp.bfloat16)
    whole = corruption.sample(logits, keys, 0.7)
    np.testing.assert_array_equal(whole, corruption.sample(logits.astype(jnp.float32), keys, 0.7))
    shuffled = np.asarray([5, 2, 7])
    np.testing.assert_array_equal(corruption.sample(logits[shuffled], keys[shuffled], 0.7), whole[shuffled])
    assert (whole[0] != corruption.sample(logits[:1], keys[1:2], 0.7)[0]).any()


def test_replaced_tokens_are_those_of_a_plain_loop():
    rows, length, draws = 100, 12, 8
    random = np.random.default_rng(0)
    original, samples = (random.integers(2**24 - 1000, 2**24, (rows, n)) for n in (length, draws))
    positions = random.integers(1, length, (rows, draws))
    weights = (np.arange(draws) < random.integers(0, draws + 1, rows)[:, None]).astype(np.float32)
    first = corruption.replace(original, positions, weights, samples)
    mean = corruption.replace(original, positions, weights, samples, average_duplicates=True)
    assert first.dtype == mean.dtype == jnp.int32
    for row in range(rows):
        count = int(weights[row].sum())
        drawn, values = list(positions[row, :count]), [int(sample) for sample in samples[row, :count]]
        expected = list(original[row])
        for position, value in reversed(list(zip(drawn, values, strict=True))):  # the first is written last
            expected[position] = value
        assert list(first[row]) == expected
        assert list(mean[row]) == electra.scatter_update(original[row], drawn, values)
    assert (first != mean).any()


@pytest.mark.parametrize("documents", [False, True])
def test_every_token_is_asked_for_its_successor_in_its_document(documents):
    random = np.random.default_rng(0)
    tokens = random.integers(5, SIZE, (6, 10))
    real = random.random((6, 10)) < 0.8  # holes too, for pairs of which one side is padding
    batch = dict(tokens=tokens, mask=real)
    if documents:
        batch["documents"] = np.cumsum(random.random((6, 10)) < 0.3, axis=1)
    out = corruption.next_tokens(batch)
    assert out["weights"].dtype == jnp.float32 and out["targets"].dtype == jnp.int32
    for row in range(6):
        for place in range(10):
            asked = place < 9 and real[row, place] and real[row, place + 1]
            if asked and documents:
                asked = batch["documents"][row, place] == batch["documents"][row, place + 1]
            assert out["weights"][row, place] == float(asked)
            assert out["targets"][row, place] == (tokens[row, place + 1] if place < 9 else 0)
    np.testing.assert_array_equal(out["tokens"], tokens)
    np.testing.assert_array_equal(out["original"], tokens)


@pytest.mark.parametrize("levels", [2, 5, 1 << 20])  # with so few values, most scores are equal to others
def test_lowest_and_chosen_first_are_what_stable_sorts_say(levels):
    random = np.random.default_rng(levels)
    for _ in range(30):
        score = random.integers(0, levels, 37).astype(np.float32)
        score[random.random(37) < 0.2] = np.inf
        count = random.integers(0, 38)
        rank = np.argsort(np.argsort(score, kind="stable"), kind="stable")
        assert np.array_equal(corruption.lowest(score, count), rank < count)
        chosen = random.random(37) < 0.3
        assert np.array_equal(corruption.chosen_first(chosen), np.argsort(~chosen, kind="stable"))
