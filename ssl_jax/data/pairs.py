"""Sentence pairs, stored as an index of examples, five integers each, instead of copied tokens."""

import functools
import os

import filelock
import numpy as np

from ssl_jax import files
from ssl_jax.data import processes, tokens
from ssl_jax.data.arrays import ArrayWriter, CheckedArray
from ssl_jax.data.progress import progress
from ssl_jax.errors import UserError, check_choice

FORMAT = 1  # part of every index's name: raise it when the examples change
# Documents are processed in blocks of this many, each with its own random numbers.
BLOCK = 4096
SHORTEST = 10  # tokens of a single text
# Fewer tokens, over all passes, are walked by this process before others have started.
ALONE = 1 << 25


def next_sentence_pairs(sentences, documents, first, last, length, short, rng, wrong="random"):
    """BERT's next-sentence pairs of documents first to last (create_pretraining_data.py).

    Each document gets a target length: length - 3, or with probability `short` one drawn uniformly from 2
    to that. Its sentences fill a chunk until it reaches the target or the document ends. The first
    1 to n - 1 of the chunk's n sentences are A. B is the rest (label 0) or, with probability 1/2 and
    always when n is 1, sentences from a random position in another document up to the target (label 1);
    then the rest is put back for the next chunk. Pairs longer than length - 3 lose tokens one by one
    from the longer side, from its front or back with equal probability.

    One difference: the original redraws the other document up to ten times until it differs; here it is
    drawn from the others directly.

    All documents of the block advance together, one chunk at a time, so that numpy does the work.

    Args:
      sentences, documents: the store's offsets, int64.
      first, last: the block of documents.
      length: of an example with its three special tokens.
      short: probability.
      rng: numpy Generator.
      wrong: how a pair is made wrong: 'random', B is drawn elsewhere; 'exchanged', A and B are exchanged if the chunk
        has two sentences, and B is drawn elsewhere if it has one; 'never', all labels are 0, and B of a single sentence
        is empty.

    Returns:
      int64 [N, 6]: A's start and end, B's start and end (offsets into the store's tokens), label, whether the chunk had
      only one sentence; in document order.
    """
    assert wrong in ("random", "exchanged", "never")
    most, count = length - 3, len(documents) - 1
    document = np.arange(first, last)
    start, end = documents[first:last], documents[first + 1 : last + 1]
    target = np.where(rng.random(len(document)) < short, rng.integers(2, most + 1, len(document)), most)
    never = np.zeros(len(document), bool)
    pairs, starts = [], []
    while len(document):
        # The chunk is sentences start to stop; A is start to middle.
        stop = _reach(sentences, start, target, end)
        size = stop - start
        alone = size == 1
        middle = start + rng.integers(1, np.maximum(size, 2))
        a_start, a_end = sentences[start], sentences[middle]
        label = random = never[: len(document)]
        b_first, b_last = middle, stop
        if wrong != "never":
            label = alone | (rng.random(len(document)) < 0.5)
            random = alone if wrong == "exchanged" else label
            other = rng.integers(0, count - 1, len(document))
            other += other >= document
            other_end = documents[other + 1]
            other_start = rng.integers(documents[other], other_end)
            b_first = np.where(random, other_start, middle)
            b_last = np.where(random, _reach(sentences, other_start, target - (a_end - a_start), other_end), stop)

        a, b = (a_start, a_end), (sentences[b_first], sentences[b_last])
        if wrong == "exchanged":
            exchanged = label & ~random
            a, b = np.where(exchanged, b, a), np.where(exchanged, a, b)
        pairs.append((*_truncate(a, b, most, rng), label, alone))
        starts.append(start)

        start = np.where(random, middle, stop)
        going = start < end
        if not going.all():
            document, start, end, target = document[going], start[going], end[going], target[going]
    order = np.argsort(np.concatenate(starts))
    return np.stack([np.concatenate(column)[order] for column in zip(*pairs, strict=True)], axis=1)


def two_segments(sentences, documents, first, last, length, short, rng):
    """ELECTRA's examples of documents first to last, without labels (build_pretraining_dataset.py).

    Each example gets a target length: `length`, or with probability `short` (the original: 0.05) one
    drawn uniformly from 5 to that. Sentences are taken until they reach the target or the document
    ends. With probability 0.1 all of them are A and B is empty. Otherwise A gets sentences while it
    stays shorter than half of (target - 3), but at least one; the sentence with which A would reach
    that goes to A or B with equal probability, and all later ones to B. A is truncated to length - 2
    tokens, and B to what A leaves of length - 3: the rest of the text is not used.

    Two differences. In the original, a sentence after B's first one still goes to A if it is short
    enough, so A may have gaps; here both are spans of the text. And the original's first example of a
    file is never a short one.

    Args and return value are those of next_sentence_pairs without the last column, int64 [N, 5]; the label is 0, and an
    empty B starts where it ends.
    """
    start, end = documents[first:last], documents[first + 1 : last + 1]
    examples = []
    while len(start):
        size = len(start)
        target = np.where(rng.random(size) < short, rng.integers(5, length + 1, size), length)
        stop = _reach(sentences, start, target, end)
        # A includes the sentence with which it reaches half, which may go to B if A has another one.
        half = (target - 3) // 2
        middle = _reach(sentences, start, half, stop)
        reached = sentences[middle] - sentences[start] >= half
        middle -= reached & (middle > start + 1) & (rng.random(size) < 0.5)
        middle = np.where(rng.random(size) < 0.1, stop, middle)

        a_start, b_start = sentences[start], sentences[middle]
        a_end = np.minimum(b_start, a_start + length - 2)
        room = np.maximum(length - 3 - (a_end - a_start), 0)
        b_end = np.minimum(sentences[stop], b_start + room)
        examples.append(np.stack([a_start, a_end, b_start, b_end, np.zeros_like(start)], axis=1))

        going = stop < end
        start, end = stop[going], end[going]
    examples = np.concatenate(examples)
    return examples[np.argsort(examples[:, 0])]


def single_texts(sentences, documents, first, last, length, short, rng):
    """DistilBERT's examples of documents first to last: [CLS] text [SEP] (lm_seqs_dataset.py).

    A document's tokens are cut into pieces of length - 2. Pieces of fewer than 10 tokens are dropped, as the
    original drops sequences of 11 or fewer with their special tokens.

    Two differences. The original counts [CLS] and [SEP] when it cuts, so the first piece of a long text is one token
    shorter; and it drops sequences in which half or more of the tokens are unknown.

    Args and return value as in two_segments; `short` and `rng` are not read, B is always empty.
    """
    del short, rng
    starts, ends = sentences[documents[first:last]], sentences[documents[first + 1 : last + 1]]
    pieces = -(-(ends - starts) // (length - 2))
    # Each piece is number j of its document.
    document = np.repeat(np.arange(len(starts)), pieces)
    j = np.arange(len(document)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    start = starts[document] + j * (length - 2)
    end = np.minimum(start + length - 2, ends[document])
    kept = end - start >= SHORTEST
    start, end = start[kept], end[kept]
    return np.stack([start, end, end, end, np.zeros_like(start)], axis=1)


def _reach(sentences, start, tokens, end):
    """The first sentence boundary `tokens` or more after `start`, at least one sentence, at most `end`."""
    reached = np.searchsorted(sentences, sentences[start] + tokens)
    return np.minimum(np.maximum(reached, start + 1), end)


def _truncate(a, b, most, rng):
    """truncate_seq_pair for arrays of spans: returns the four cut offsets."""
    (a_start, a_end), (b_start, b_end) = a, b
    a_cut, b_cut = excess_tokens(a_end - a_start, b_end - b_start, most)
    # A separate coin flip per token decides between front and back.
    a_front, b_front = rng.binomial(a_cut, 0.5), rng.binomial(b_cut, 0.5)
    return a_start + a_front, a_end - a_cut + a_front, b_start + b_front, b_end - b_cut + b_front


def excess_tokens(a_length, b_length, most):
    """How many tokens A and B lose, one by one from the longer side, until they total `most`: int [N] each."""
    excess = np.maximum(a_length + b_length - most, 0)
    # The longer side first, until both are equal; then alternately, B first.
    a_more = np.minimum(np.maximum(a_length - b_length, 0), excess)
    b_more = np.minimum(np.maximum(b_length - a_length, 0), excess)
    rest = excess - a_more - b_more
    return a_more + rest // 2, b_more + (rest + 1) // 2


PAIRS = dict(
    nsp=next_sentence_pairs,
    # ALBERT's sentence order (its create_pretraining_data.py): label 1 if A and B are exchanged, and for a
    # lone sentence, which has nothing to be exchanged with and gets a B from another document.
    sop=functools.partial(next_sentence_pairs, wrong="exchanged"),
    # Without a loss on them: what BERT's and ALBERT's builders cut but for the labels, and ELECTRA's packing.
    adjacent=functools.partial(next_sentence_pairs, wrong="never"),
    segments=two_segments,
    single=single_texts,
)


# What the labels 0 and 1 mean.
LABELS = dict(nsp=("next", "random"), sop=("in_order", "exchanged_or_random"))


def pair_index(store, kind, length, short, seed, passes, workers=None):
    """The examples of a split, built on first use and stored next to its tokens.

    The same arguments give the same bytes, whatever the number of workers: every block of documents draws from a generator
    keyed by (seed, pass, length, block). Memory holds a few blocks' examples per worker. The folder's passport then records
    in `pairs` the number of `examples` and the share of each of the LABELS and of `single_sentence`: one-sentence chunks,
    which always get a random B and label 1.

    Args:
      store: a Store.
      kind: one of PAIRS.
      length, short: see next_sentence_pairs and two_segments.
      seed: int >= 0.
      passes: walks over the documents, each with new pairs, in sequence in the index.
      workers: processes; default: one per core, or this one for less work than starting them is.

    Returns:
      A CheckedArray, uint32 or int64 [N, 5]: A's start and end, B's start and end, label.

    Raises:
      UserError: unknown kind, no room for two sentences, no examples, too few documents (`nsp` and `sop` draw from a
        second one), or the index is damaged.
    """
    check_choice(kind, PAIRS, "kind of pairs")
    if length < 5:
        raise UserError(f"sentence pairs need a length of 5 or more (three are special tokens), not {length}")
    documents, needed = len(store.documents) - 1, 2 if kind in LABELS else 1
    if documents < needed:
        raise UserError(
            f"{store.path} has {documents} document{'s' * (documents != 1)}, and {kind!r} examples need {needed} "
            "(random sentences come from a second one); use a larger corpus, another share of held-out ones, "
            "data.heldout, or another end of documents"
        )
    path = store.path / f"pairs{FORMAT}-{kind}-{length}-{short}-{seed}-{passes}.npy"
    # Written last: an index without a record was interrupted.
    record = path.with_suffix(".json")
    if not (record.exists() and path.exists()):
        with filelock.FileLock(f"{path}.lock"):
            if not (record.exists() and path.exists()):
                if workers is None:
                    workers = os.cpu_count() if len(store.tokens) * passes > ALONE else 1
                files.write_json(record, _write(path, store, kind, length, short, seed, passes, workers))
    return CheckedArray(path, files.read_json(record))


def _write(path, store, kind, length, short, seed, passes, workers):
    """Writes an index and returns its record."""
    count = len(store.documents) - 1
    # Reads, and so checks, both in full. They are memory maps: the processes share the system's copy.
    offsets = np.asarray(store.sentences), np.asarray(store.documents)
    dtype = np.uint32 if len(store.tokens) < 1 << 32 else np.int64
    blocks = [
        (block, first, min(first + BLOCK, count), kind, length, short, (seed, number), dtype)
        for number in range(passes)
        for block, first in enumerate(range(0, count, BLOCK))
    ]
    workers = max(min(workers, len(blocks)), 1)
    made = processes.in_order(_block, blocks, workers, _open, *(offsets if workers == 1 else _paths(store)))
    what = f"{kind} examples of {length} tokens for {path.parent.name}, {passes} x {count:,} documents in"
    labels, single = np.zeros(2, np.int64), 0
    with files.replacing(path) as file:
        array = ArrayWriter(file, dtype, [5])
        for examples, alone in progress(made, what, "blocks", len(blocks), patience=1):
            array.append(examples)
            labels += np.bincount(examples[:, 4], minlength=2)
            single += alone
        if not array.length:
            raise UserError(
                f"{path.parent} has no {kind!r} examples: no document has {SHORTEST} tokens or more; use longer texts"
            )
        record = array.finish()
    told = dict(examples=array.length)
    if kind in LABELS:
        told |= dict(zip(LABELS[kind], (labels / array.length).round(4).tolist(), strict=True))
        told["single_sentence"] = round(single / array.length, 4)
    if (path.parent.parent / "data.json").exists():
        tokens.add_to_passport(path.parent.parent, "pairs", f"{path.parent.name}/{path.stem}", told)
    return record


def _paths(store):
    return [store.path / f"{name}.npy" for name in ("sentences", "documents")]


def _open(*offsets):
    """Sets the offsets of sentences and documents for this process: arrays, or files that were checked before."""
    global _offsets
    _offsets = [array if isinstance(array, np.ndarray) else np.load(array, mmap_mode="r") for array in offsets]


def _block(block, first, last, kind, length, short, key, dtype):
    """The examples of documents first to last, [N, 5], and how many of them are single sentences."""
    seed, number = key
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, number, length, block])))
    examples = PAIRS[kind](*_offsets, first, last, length, short, rng)
    return examples[:, :5].astype(dtype), int(examples[:, 5:].sum())
