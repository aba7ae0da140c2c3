"""Sentence pairs follow BERT's rules, and batch(step) is a pure function of the step."""

import collections
import itertools
import os
import random

import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import albert, bert, electra
from ssl_jax.data import batches, pairs, processes
from ssl_jax.errors import UserError
from ssl_jax.tokenization.vocabulary import Vocabulary
from tests.reference.nsp_pairs import document_pairs
from tests.reference.segments import document_examples

START, SEPARATOR, PAD = 2, 3, 0
VOCABULARY = Vocabulary(60000, PAD, 1, START, SEPARATOR, 4, np.arange(60000) < 5, np.ones(60000, bool), SEPARATOR)


class FakeStore:
    """Documents of sentences in which token i is the number i + 5, so a token tells where it stands."""

    def __init__(self, path, documents):
        lengths = [length for document in documents for length in document]
        self.path = path
        self.tokens = np.arange(5, 5 + sum(lengths)).astype(np.uint16)
        self.sentences = np.cumsum([0, *lengths])
        self.documents = np.cumsum([0, *map(len, documents)])


@pytest.fixture
def store(tmp_path):
    rng = random.Random(0)
    documents = [[rng.randint(1, 30) for _ in range(rng.randint(1, 12))] for _ in range(400)]
    return FakeStore(tmp_path, documents)


def spans(store, index):
    """Per example: the document of A and of B, and whether A's and B's tokens are inside one document."""
    index = np.asarray(index, int)
    edges = store.sentences[store.documents]
    a, b = (np.searchsorted(edges, index[:, column], "right") - 1 for column in (0, 2))
    inside = (index[:, 1] <= edges[a + 1]) & (index[:, 3] <= edges[b + 1])
    return a, b, inside


def test_spans_lie_in_documents_and_fit(store):
    index = np.asarray(pairs.pair_index(store, "nsp", 32, 0.1, 0, 5), int)
    a, b, inside = spans(store, index)
    assert inside.all()
    lengths = index[:, 1] - index[:, 0], index[:, 3] - index[:, 2]
    assert lengths[0].min() >= 1 and lengths[1].min() >= 1
    assert (lengths[0] + lengths[1]).max() == 29
    random_next = index[:, 4] == 1
    assert (a[random_next] != b[random_next]).all()
    assert (a[~random_next] == b[~random_next]).all()
    # True pairs: B starts after A, and nothing but truncation lies between.
    assert (index[~random_next, 2] >= index[~random_next, 1]).all()


def test_more_than_half_are_random_because_single_sentences_always_are(tmp_path):
    one_sentence = FakeStore(tmp_path / "one", [[5]] * 50)
    one_sentence.path.mkdir()
    assert (pairs.pair_index(one_sentence, "nsp", 32, 0, 0, 4)[:, 4] == 1).all()
    two = FakeStore(tmp_path / "two", [[5, 5]] * 2000)
    two.path.mkdir()
    index = np.asarray(pairs.pair_index(two, "nsp", 32, 0, 0, 1), int)
    # Half of the documents give (1, 2) as a true pair; in the other half sentence 2 is put back, and is
    # then alone: random. So two of three examples are random.
    assert abs((index[:, 4] == 1).mean() - 2 / 3) < 0.02
    chunk_starts = index[:, 0] % 10
    assert set(chunk_starts[index[:, 4] == 0]) == {0} and set(chunk_starts) == {0, 5}


def test_every_sentence_is_used(store):
    """What is not used as A or as a true B is put back: each sentence is in some chunk's pair."""
    index = np.asarray(pairs.pair_index(store, "nsp", 4096, 0, 3, 1), int)
    used = np.zeros(len(store.tokens), int)
    for a_start, a_end, b_start, b_end, label in index:
        used[a_start:a_end] += 1
        if not label:
            used[b_start:b_end] += 1
    assert (used == 1).all()


def test_truncation_takes_from_the_longer_side_at_both_ends():
    rng = np.random.default_rng(0)
    size = 4000
    a = np.zeros(size, int), np.full(size, 10)
    b = np.full(size, 100), np.full(size, 130)
    a_start, a_end, b_start, b_end = pairs._truncate(a, b, 15, rng)
    # 25 tokens too many: 20 from B until both have 10, then B, A, B, A, B.
    assert set(a_end - a_start) == {8} and set(b_end - b_start) == {7}
    assert abs((b_start - 100).mean() - 11.5) < 0.2 and abs(a_start.mean() - 1) < 0.1
    assert abs(np.var(b_start) - 23 / 4) < 0.6


def test_statistics_equal_the_plain_loop(store):
    length, short, passes = 40, 0.3, 12
    index = np.asarray(pairs.pair_index(store, "nsp", length, short, 0, passes), int)
    documents = [
        [list(range(s, e)) for s, e in itertools.pairwise(store.sentences[first : last + 1])]
        for first, last in itertools.pairwise(store.documents)
    ]
    rng = random.Random(1)
    plain = [
        pair
        for _ in range(passes)
        for number in range(len(documents))
        for pair in document_pairs(documents, number, length, short, rng)
    ]
    label = np.array([label for _, _, label, _ in plain])
    lengths = np.array([(len(a), len(b)) for a, b, _, _ in plain])
    starts = np.array([(a[0], b[0]) for a, b, _, _ in plain])
    ours = index[:, [1, 3]] - index[:, [0, 2]]
    # Within about four standard errors of the means.
    assert abs(len(index) / len(plain) - 1) < 0.02
    assert abs(index[:, 4].mean() - label.mean()) < 0.012
    for side in (0, 1):
        for chosen in (0, 1):
            mine, theirs = ours[index[:, 4] == chosen, side], lengths[label == chosen, side]
            assert abs(mine.mean() - theirs.mean()) < 0.35
            assert abs(mine.std() - theirs.std()) < 0.35
        # Share of pairs whose side starts inside a sentence: cut at the front.
        cut = ~np.isin(index[:, 2 * side], store.sentences)
        assert abs(cut.mean() - (~np.isin(starts[:, side], store.sentences)).mean()) < 0.015
    total = ours.sum(axis=1)
    for size in (10, 20, 30, 36):
        assert abs((total <= size).mean() - (lengths.sum(axis=1) <= size).mean()) < 0.015


@pytest.mark.parametrize("kind", ["nsp", "sop", "adjacent", "segments"])
def test_every_example_is_as_likely_as_in_the_plain_loop(tmp_path, kind):
    """Small documents, each many times: the possible examples are few enough to be counted one by one."""
    length, short, copies = 14, 0.4, 4000
    store = FakeStore(tmp_path, [[3, 2, 4, 1], [7], [2, 6, 1, 4, 12, 2, 5], [15, 1], [8, 7], [2, 2]] * copies)
    period = len(store.tokens) // copies
    index = np.array(pairs.pair_index(store, kind, length, short, 0, 1)).astype(int)
    documents = [
        [list(range(s, e)) for s, e in itertools.pairwise(store.sentences[first : last + 1])]
        for first, last in itertools.pairwise(store.documents)
    ]
    rng, plain = random.Random(0), []
    for number, document in enumerate(documents):
        if kind == "segments":
            examples = [(a, b, 0) for a, b in document_examples(document, length, short, rng)]
        else:
            made = document_pairs(documents, number, length, short, rng, kind == "sop", kind == "adjacent")
            examples = [example[:3] for example in made]
        # Places are counted within the group of documents; where an empty B stands does not matter.
        for a, b, label in examples:
            plain.append((a[0] % period, len(a), b[0] % period if b else 0, len(b), label))
    a_start, a_end, b_start, b_end, label = index.T
    empty = b_start == b_end
    columns = a_start % period, a_end - a_start, np.where(empty, 0, b_start % period), b_end - b_start, label
    ours, theirs = collections.Counter(zip(*map(np.ndarray.tolist, columns))), collections.Counter(plain)
    for example in ours | theirs:
        difference, total = ours[example] - theirs[example], ours[example] + theirs[example]
        assert abs(difference) < 4 * np.sqrt(total) + 4, example
    # Examples are in the order of the text, documents do not mix, and B of another one is always 1.
    a, b, inside = spans(store, index[~empty])
    assert inside.all() and (np.diff(a) >= 0).all() and (label[~empty][a != b] == 1).all()
    assert empty.any() == (kind in ("segments", "adjacent"))
    assert label.any() == (kind in ("nsp", "sop"))


def test_exchanged_pairs_stand_in_reverse(store):
    index = np.asarray(pairs.pair_index(store, "sop", 64, 0.1, 0, 5), int)
    a, b, inside = spans(store, index)
    assert inside.all()
    a_start, a_end, b_start, b_end, label = index.T
    same = a == b
    assert (a_end <= b_start)[same & (label == 0)].all() and (b_end <= a_start)[same & (label == 1)].all()
    assert abs(label[same].mean() - 0.5) < 0.03 and (label[~same] == 1).all()


def test_random_documents_are_uniform(tmp_path):
    """Uniform over documents, not over sentences: a long document is not drawn more often."""
    store = FakeStore(tmp_path, [[9] * 20] + [[9]] * 9)
    index = pairs.pair_index(store, "nsp", 16, 0, 0, 200)
    a, b, _ = spans(store, index)
    drawn = b[(index[:, 4] == 1) & (a == 5)]
    assert abs((drawn == 0).mean() - 1 / 9) < 0.1
    assert set(drawn) == set(range(10)) - {5}


def test_index_depends_on_seed_and_pass_but_not_on_the_run(store, tmp_path):
    index = np.array(pairs.pair_index(store, "nsp", 32, 0.1, 0, 2))
    path = next(tmp_path.glob("*.npy"))
    first = path.read_bytes()
    path.unlink()
    pairs.pair_index(store, "nsp", 32, 0.1, 0, 2)
    assert path.read_bytes() == first
    one_pass = np.array(pairs.pair_index(store, "nsp", 32, 0.1, 0, 1))
    assert np.array_equal(index[: len(one_pass)], one_pass)
    assert not np.array_equal(index[-len(one_pass) :], one_pass)
    other = pairs.pair_index(store, "nsp", 32, 0.1, 1, 1)
    assert other.shape != one_pass.shape or not np.array_equal(other, one_pass)


@pytest.mark.parametrize("kind", pairs.PAIRS)
def test_the_index_is_the_same_for_any_number_of_workers(store, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(pairs, "BLOCK", 60)  # seven blocks, the last one of 40 documents
    for name in ("sentences", "documents"):
        np.save(tmp_path / f"{name}.npy", getattr(store, name))
    made = []
    for workers in (1, 3):
        index = pairs.pair_index(store, kind, 32, 0.1, 0, 2, workers)
        made.append(index.path.read_bytes())
        index.path.unlink()
    assert made[0] == made[1]
    monkeypatch.setattr(pairs, "ALONE", 0)  # so large that all cores are used without being asked for
    assert pairs.pair_index(store, kind, 32, 0.1, 0, 2).path.read_bytes() == made[0]


def test_blocks_that_wait_are_few(monkeypatch):
    """Tasks are drawn as results are: never more than the processes and what may wait for them."""
    drawn = 0

    def tasks():
        nonlocal drawn
        for number in range(100):
            drawn += 1
            yield (number,)

    for done, result in enumerate(processes.in_order(abs, tasks(), 2, os.getpid), 1):
        assert result == done - 1 and drawn - done < 2 * processes.WAITING
    assert done == 100


@pytest.mark.parametrize(
    "documents, length, kind, message",
    [
        ([[5, 5]], 32, "nsp", "second one"),
        ([[5, 5]], 32, "sop", "second one"),
        ([], 32, "segments", "'segments' examples need 1"),
        ([], 32, "adjacent", "'adjacent' examples need 1"),
        ([[5, 5]] * 3, 4, "nsp", "length of 5 or more"),
        ([[5, 5]] * 3, 32, "nps", "did you mean 'nsp'"),
    ],
)
def test_impossible_pairs_are_refused(tmp_path, documents, length, kind, message):
    with pytest.raises(UserError, match=message):
        pairs.pair_index(FakeStore(tmp_path, documents), kind, length, 0.1, 0, 1)


@pytest.mark.parametrize("kind", ["segments", "adjacent"])
def test_one_document_is_enough_without_a_label(tmp_path, kind):
    index = pairs.pair_index(FakeStore(tmp_path, [[5, 5]]), kind, 16, 0, 0, 1)
    assert index[0, 0] == 0 and index[0, 3] == 10


@pytest.mark.parametrize("length", [12, 16, 64])
def test_single_texts_are_the_pieces_of_a_plain_loop(tmp_path, length):
    """lm_seqs_dataset.py: long texts are cut, what has 11 tokens or fewer with [CLS] and [SEP] is dropped."""
    rng = random.Random(0)
    store = FakeStore(tmp_path, [[rng.randint(1, 9) for _ in range(rng.randint(1, 30))] for _ in range(100)])
    expected = []
    for first, last in itertools.pairwise(store.sentences[store.documents]):
        text = store.tokens[first:last].tolist()
        for at in range(0, len(text), length - 2):
            sequence = [START, *text[at : at + length - 2], SEPARATOR]
            if len(sequence) > 11:
                expected.append(sequence)
    index = pairs.pair_index(store, "single", length, 0.5, 0, 1)
    assert len(index) == len(expected) > 30
    data = ConfigDict(dict(short_seq_prob=0.5, dupe_factor=3, static_masks=False, document_mask=False))
    evaluation = batches.evaluation_batches(data, "single", store, VOCABULARY, length, len(index), 0)
    batch = evaluation(0)
    made = [tokens[real].tolist() for tokens, real in zip(batch["tokens"], batch["mask"], strict=True)]
    assert made == expected and not batch["segments"].any() and not batch["pair"].any()
    # In training each of them once an epoch: another pass would give the same ones.
    training = batches.training_batches(data, "single", store, VOCABULARY, length, len(index), 0)
    assert sorted(row[real].tolist() for row, real in zip(training(1)["tokens"], training(1)["mask"])) == sorted(
        expected
    )


def make_batches(store, **options):
    options = dict(length=32, batch_size=16, seed=0, passes=2, short=0.1) | options
    return batches.PairBatches(store, VOCABULARY, **options)


def test_layout(store):
    batch = make_batches(store)
    out = batch(3)
    assert {name: (array.dtype.name, array.shape) for name, array in out.items()} == dict(
        tokens=("int32", (16, 32)),
        mask=("bool", (16, 32)),
        segments=("int32", (16, 32)),
        pair=("int32", (16,)),
        index=("int32", (16,)),
    )
    table = {tuple(row[:4]): row[4] for row in np.asarray(batch.examples, int).tolist()}
    for row in range(16):
        tokens, segments = out["tokens"][row], out["segments"][row]
        size = out["mask"][row].sum()
        assert out["mask"][row, :size].all() and (tokens[size:] == PAD).all() and not segments[size:].any()
        first, last = np.flatnonzero(tokens == SEPARATOR)
        assert tokens[0] == START and last == size - 1
        a, b = tokens[1:first] - 5, tokens[first + 1 : last] - 5
        assert (np.diff(a) == 1).all() and (np.diff(b) == 1).all()
        assert table[a[0], a[-1] + 1, b[0], b[-1] + 1] == out["pair"][row]
        assert (segments[: first + 1] == 0).all() and (segments[first + 1 : size] == 1).all()


def test_an_empty_second_segment_leaves_one_separator(tmp_path):
    store = FakeStore(tmp_path, [[4], [3, 9], [30]] * 200)
    options = dict(length=16, batch_size=64, seed=0, short=0.1, pairs="segments")
    batch = batches.PairEvaluation(store, VOCABULARY, **options)
    singles = 0
    for step in range(batch.steps):
        out = batch(step)
        size = len(batch.examples) - 64 * step  # of the last batch's rows, some are padding
        rows = zip(out["index"][:size], out["tokens"], out["mask"], out["segments"])
        for number, tokens, mask, segments in rows:
            a_start, a_end, b_start, b_end, label = batch.examples[number].astype(int)
            expected = [START, *range(a_start + 5, a_end + 5), SEPARATOR]
            in_a = len(expected)
            if b_start < b_end:
                expected += [*range(b_start + 5, b_end + 5), SEPARATOR]
            singles += b_start == b_end
            rest = 16 - len(expected)
            assert tokens.tolist() == expected + [PAD] * rest
            assert mask.tolist() == [True] * len(expected) + [False] * rest
            assert segments.tolist() == [0] * in_a + [1] * (len(expected) - in_a) + [0] * rest
    assert 400 < singles < len(batch.examples)


def test_pure_function_of_the_step(store):
    one, two = make_batches(store), make_batches(store)
    two(0)
    two(7)
    for name, array in one(5).items():
        assert np.array_equal(array, two(5)[name])
    halves = one(5, slice(0, 8)), one(5, slice(8, 16))
    for name, array in one(5).items():
        assert np.array_equal(array, np.concatenate([half[name] for half in halves]))
    # Twice the batch in half the steps is the same order.
    large = make_batches(store, batch_size=32)(2)
    assert np.array_equal(large["tokens"], np.concatenate([one(4)["tokens"], one(5)["tokens"]]))
    assert not np.array_equal(one(5)["tokens"], make_batches(store, seed=1)(5)["tokens"])


def test_each_epoch_holds_every_example_once_in_a_new_order(store):
    size = len(make_batches(store).examples)
    order = np.array([batches._shuffled(position, size, 0) for position in range(2 * size)])
    first, second = order[:size], order[size:]
    for epoch in (first, second):
        assert np.array_equal(np.sort(epoch), np.arange(size))
    assert (first == second).mean() < 0.02 and (first == np.arange(size)).mean() < 0.02


@pytest.mark.parametrize("static", [False, True])
def test_static_masks_are_those_of_the_example_in_every_epoch(store, static):
    """`index` keys the masks: with BERT's tfrecords the n-th copy of a text has the same in each epoch."""
    made = make_batches(store, batch_size=1, passes=3, static=static)
    size, keys = len(made.examples), ([], [])
    for epoch in range(2):
        for step in range(epoch * size, (epoch + 1) * size):
            batch = made(step)
            assert batch["tokens"][0].tolist() == made(step)["tokens"][0].tolist()
            keys[epoch].append((int(batch["index"][0]), batch["tokens"][0].tobytes()))
    assert len({number for number, _ in keys[0]}) == size  # each copy has masks of its own
    assert (set(keys[0]) == set(keys[1])) == static and keys[0] != keys[1]
    assert static or not {number for number, _ in keys[0]} & {number for number, _ in keys[1]}


def test_the_releases_keep_their_data():
    """create_pretraining_data.py writes masks, dupe_factor of them; build_pretraining_dataset.py pairs, once."""
    for module, variant, static, copies in (
        (bert, "base", True, 10),
        (albert, "base", True, 40),
        (electra, "small", False, 1),
    ):
        data, paper = (module.get_config(f"{variant}{suffix}").data for suffix in (",release", ""))
        assert (data.static_masks, data.dupe_factor) == (static, copies) and not paper.static_masks


def test_phases_go_on_in_the_order_with_another_batch_size(store):
    one = make_batches(store)
    # Steps 0 to 2 of 16 examples, then steps of 8: step 4 has the examples 56 to 63.
    phase = make_batches(store, batch_size=8, first_step=3, first_example=48)
    assert phase(4)["index"].tolist() == list(range(56, 64))
    assert np.array_equal(phase(4)["tokens"], one(3)["tokens"][8:])


def test_evaluation_sees_each_example_once(store):
    batch = batches.PairEvaluation(store, VOCABULARY, length=32, batch_size=64, seed=0, short=0.1)
    outs = [batch(step) for step in range(batch.steps)]
    together = {name: np.concatenate([out[name] for out in outs]) for name in outs[0]}
    real = together["mask"].any(axis=1)
    size = len(batch.examples)
    assert size % 64 and real.sum() == size and real[:size].all()
    assert np.array_equal(together["index"], np.arange(64 * batch.steps))
    assert (together["tokens"][~real] == PAD).all() and not together["segments"][~real].any()
    assert np.array_equal(together["pair"][:size], batch.examples[:, 4])
    assert not together["pair"][size:].any()
    assert np.array_equal(together["tokens"][:size, 1] - 5, batch.examples[:, 0])


END = 59_999
GPT = VOCABULARY._replace(pad=None, unknown=None, start=None, separator=None, mask=None, end_of_text=END)


def plain_windows(store, end, length):
    """Every window, the short one included: lists of tokens and of the documents they belong to."""
    stream, owners = [], []
    for number in range(len(store.documents) - 1):
        first, last = (int(store.sentences[store.documents[n]]) for n in (number, number + 1))
        text = store.tokens[first:last].tolist() + [end] * (end is not None)
        stream += text
        owners += [number] * len(text)
    starts = range(0, len(stream) - 1, length - 1)
    windows = [stream[start : start + length] for start in starts]
    return windows, [[n - owners[start] for n in owners[start : start + length]] for start in starts]


@pytest.mark.parametrize(
    "vocabulary, end",
    [
        pytest.param(GPT, END, id="end-of-text"),
        pytest.param(VOCABULARY._replace(end_of_text=SEPARATOR), SEPARATOR, id="separator"),
        pytest.param(GPT._replace(end_of_text=None), None, id="nothing"),
    ],
)
@pytest.mark.parametrize("length", [2, 9, 64])
def test_windows_equal_the_plain_loop(tmp_path, vocabulary, end, length):
    # With an end after each, 505 tokens: windows of each length use all of them up. Without, 497: some do.
    store = FakeStore(tmp_path, [[3, 1, 4], [1], [5, 9, 2], [1], [1], [60, 374], [8, 9, 7, 9], [3]])
    windows, owners = plain_windows(store, end, length)
    batch = batches.WindowEvaluation(store, vocabulary, length, batch_size=4, borders=True)
    assert batch.steps == -(-len(windows) // 4)
    outs = [batch(step) for step in range(batch.steps)]
    together = {name: np.concatenate([out[name] for out in outs]) for name in outs[0]}
    assert {name: array.dtype.name for name, array in together.items()} == dict(
        tokens="int32", mask="bool", segments="int32", pair="int32", index="int32", documents="int32"
    )
    for name in ("tokens", "mask", "segments", "documents"):
        assert together[name].shape == (4 * batch.steps, length)
    empty = [[]] * (4 * batch.steps - len(windows))
    for row, (tokens, documents) in enumerate(zip(windows + empty, owners + empty, strict=True)):
        rest = [0] * (length - len(tokens))
        assert together["tokens"][row].tolist() == tokens + rest
        assert together["documents"][row].tolist() == documents + rest
        assert together["mask"][row].tolist() == [True] * len(tokens) + [False] * len(rest)
    assert not together["segments"].any() and not together["pair"].any()
    assert np.array_equal(together["index"], np.arange(4 * batch.steps))
    # Training: the full windows, each once an epoch, in a new order each time.
    full = sorted(window for window in windows if len(window) == length)
    epochs = batches.WindowBatches(store, vocabulary, length, batch_size=len(full), seed=0)
    orders = [epochs(step)["tokens"].tolist() for step in (0, 1)]
    assert sorted(orders[0]) == sorted(orders[1]) == full
    assert len(full) < 9 or full != orders[0] != orders[1]
    assert "documents" not in epochs(0) and epochs(0)["mask"].all()


def test_each_token_but_the_first_is_a_target_once(store):
    batch = batches.WindowEvaluation(store, GPT, 32, batch_size=16)
    outs = [batch(step) for step in range(batch.steps)]
    targets = np.concatenate([out["tokens"][:, 1:][out["mask"][:, 1:]] for out in outs])
    assert (targets == END).sum() == len(store.documents) - 1
    assert np.array_equal(targets[targets != END], store.tokens[1:])


def test_windows_go_on_through_phases_and_are_cut_by_rows(store):
    one = batches.WindowBatches(store, GPT, 32, 16, seed=3, borders=True)
    phase = batches.WindowBatches(store, GPT, 32, 64, seed=3, first_step=10, first_example=32)
    large = phase(11)
    assert large["index"].tolist() == list(range(96, 160))
    assert np.array_equal(large["tokens"], np.concatenate([one(step)["tokens"] for step in (6, 7, 8, 9)]))
    for name, array in one(5).items():
        assert np.array_equal(array, np.concatenate([one(5, slice(0, 8))[name], one(5, slice(8, 16))[name]]))
    other_seed = batches.WindowBatches(store, GPT, 32, 16, seed=4)
    assert not np.array_equal(one(5)["tokens"], other_seed(5)["tokens"])


def test_kinds_of_examples_come_from_the_data_block(store):
    data = ConfigDict(dict(short_seq_prob=0.2, dupe_factor=3, static_masks=False, document_mask=True))
    for kind in pairs.PAIRS:
        training = batches.training_batches(data, kind, store, VOCABULARY, 32, 16, 5, 2, 40)
        passes = 1 if kind == "single" else 3  # all of its passes would be the same
        expected = make_batches(store, pairs=kind, short=0.2, passes=passes, seed=5, first_step=2, first_example=40)
        assert np.array_equal(training(9)["tokens"], expected(9)["tokens"])
        evaluation = batches.evaluation_batches(data, kind, store, VOCABULARY, 32, 16, 5)
        expected = batches.PairEvaluation(store, VOCABULARY, 32, 16, seed=5, short=0.2, pairs=kind)
        assert np.array_equal(evaluation(1)["tokens"], expected(1)["tokens"])
    training = batches.training_batches(data, "windows", store, GPT, 32, 16, 5, 2, 40)
    expected = batches.WindowBatches(store, GPT, 32, 16, 5, True, 2, 40)
    evaluation = batches.evaluation_batches(data, "windows", store, GPT, 32, 16, 5)
    assert np.array_equal(training(9)["tokens"], expected(9)["tokens"])
    assert evaluation.steps > 1 and "documents" in training(9) and "documents" in evaluation(0)


@pytest.mark.parametrize(
    "kind, vocabulary, length, message",
    [
        ("window", GPT, 8, "unknown kind of examples 'window'; did you mean 'windows'"),
        ("windows", GPT, 1, "length of 2 or more"),
        ("nsp", GPT, 8, r"'nsp' examples need \[CLS\] and \[SEP\]"),
    ],
)
@pytest.mark.parametrize("split", ["training", "evaluation"])
def test_impossible_examples_are_refused(store, split, kind, vocabulary, length, message):
    make = getattr(batches, f"{split}_batches")
    data = ConfigDict(dict(short_seq_prob=0.2, dupe_factor=3, static_masks=False, document_mask=False))
    with pytest.raises(UserError, match=message) as error:
        make(data, kind, store, vocabulary, length, 4, 0)
    assert "\n" not in str(error.value)


def test_too_little_text_for_one_window(tmp_path):
    store = FakeStore(tmp_path, [[6, 5], [3]])
    assert batches.WindowBatches(store, GPT, 16, 2, 0).windows == 1
    with pytest.raises(UserError, match="has 16 tokens, and one window needs 17; use a larger corpus"):
        batches.WindowBatches(store, GPT, 17, 2, 0)
    assert batches.WindowEvaluation(store, GPT, 17, 2).windows == 1
    with pytest.raises(UserError, match="has 0 tokens, and one window needs 2"):
        batches.WindowEvaluation(FakeStore(tmp_path, []), GPT, 17, 2)


def test_prefetch_keeps_the_order_and_passes_exceptions_on(store):
    batch = make_batches(store)
    seen = list(batches.prefetch(batch, 4, 12))
    assert [step for step, _ in seen] == list(range(4, 12))
    assert np.array_equal(seen[3][1]["tokens"], batch(7)["tokens"])

    def fails(step):
        if step == 2:
            raise UserError("no such row")
        return step

    steps = batches.prefetch(fails, 0, 5)
    assert [next(steps)[0], next(steps)[0]] == [0, 1]
    with pytest.raises(UserError, match="no such row"):
        next(steps)
