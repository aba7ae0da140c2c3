"""Sentence pairs: an index of examples, five integers each, instead of copies of tokens."""

import filelock
import numpy as np

from ssl_jax.data.files import ArrayWriter, replacing
from ssl_jax.errors import UserError, check_choice

FORMAT = 1  # part of every index's name: raise it when the examples change
# Documents are handled in blocks of this many, each with random numbers of its own.
BLOCK = 4096


def next_sentence_pairs(sentences, documents, first, last, length, short, rng):
    """BERT's next-sentence pairs of documents first to last (create_pretraining_data.py).

    A document gets a target length: length - 3, or with probability `short` a uniform one from 2 to
    that. Its sentences fill a chunk until it has the target's tokens or the document ends. The first
    1 to n - 1 of the chunk's n sentences are A. B is the rest (label 0), or, with probability 1/2 and
    always when n is 1, sentences from a random place of another document up to the target (label 1);
    then the rest is put back for the next chunk. Pairs longer than length - 3 lose tokens one by one
    from the longer side, at its front or back with equal chance.

    One difference: the original draws the other document up to ten times until it is another one, here
    it is drawn among the others.

    All documents of the block advance together, one chunk at a time, so that numpy does the work.

    Args:
      sentences, documents: the store's offsets, int64.
      first, last: the block of documents.
      length: of an example with its three special tokens.
      short: probability.
      rng: numpy Generator.

    Returns:
      int64 [N, 5]: A's start and end, B's start and end (offsets into the store's tokens), label; in
      the order of the documents.
    """
    most, count = length - 3, len(documents) - 1
    document = np.arange(first, last)
    start, end = documents[first:last], documents[first + 1 : last + 1]
    target = np.where(rng.random(len(document)) < short, rng.integers(2, most + 1, len(document)), most)
    pairs, starts = [], []
    while len(document):
        # The chunk is sentences start to stop; A is start to middle.
        stop = _reach(sentences, start, target, end)
        alone = stop - start == 1
        middle = start + np.where(alone, 1, rng.integers(1, np.maximum(stop - start, 2)))
        random = alone | (rng.random(len(document)) < 0.5)

        other = rng.integers(0, count - 1, len(document))
        other += other >= document
        other_end = documents[other + 1]
        other_start = rng.integers(documents[other], other_end)
        room = target - (sentences[middle] - sentences[start])
        b_first = np.where(random, other_start, middle)
        b_last = np.where(random, _reach(sentences, other_start, room, other_end), stop)

        a = sentences[start], sentences[middle]
        b = sentences[b_first], sentences[b_last]
        pairs.append(np.stack([*_truncate(a, b, most, rng), random], axis=1))
        starts.append(start)

        start = np.where(random, middle, stop)
        going = start < end
        document, start, end, target = document[going], start[going], end[going], target[going]
    order = np.argsort(np.concatenate(starts))
    return np.concatenate(pairs)[order]


def _reach(sentences, start, tokens, end):
    """The first sentence boundary `tokens` or more after `start`, at least one sentence, at most `end`."""
    return np.clip(np.searchsorted(sentences, sentences[start] + tokens), start + 1, end)


def _truncate(a, b, most, rng):
    """truncate_seq_pair for arrays of spans: returns the four cut offsets."""
    (a_start, a_end), (b_start, b_end) = a, b
    a_length, b_length = a_end - a_start, b_end - b_start
    excess = np.maximum(a_length + b_length - most, 0)
    # The longer side first, until both are equal; then in turn, B first.
    a_more = np.clip(a_length - b_length, 0, excess)
    b_more = np.clip(b_length - a_length, 0, excess)
    rest = excess - a_more - b_more
    a_cut, b_cut = a_more + rest // 2, b_more + (rest + 1) // 2
    # Each token goes from the front or the back by a coin of its own.
    a_front, b_front = rng.binomial(a_cut, 0.5), rng.binomial(b_cut, 0.5)
    return a_start + a_front, a_end - a_cut + a_front, b_start + b_front, b_end - b_cut + b_front


PAIRS = dict(nsp=next_sentence_pairs)


def pair_index(store, kind, length, short, seed, passes):
    """The examples of a split, made on first use and kept beside its tokens.

    The same arguments give the same bytes: every block of documents draws from a generator keyed by
    (seed, pass, length, block).

    Args:
      store: a Store.
      kind: one of PAIRS.
      length, short: see next_sentence_pairs.
      seed: int >= 0.
      passes: walks over the documents, each with new pairs, one after the other in the index.

    Returns:
      uint32 or int64 [N, 5], memory-mapped: A's start and end, B's start and end, label.

    Raises:
      UserError: unknown kind, no room for two sentences, or fewer than two documents.
    """
    check_choice(kind, PAIRS, "kind of pairs")
    if length < 5:
        raise UserError(f"sentence pairs need a length of 5 or more (three are special tokens), not {length}")
    documents = len(store.documents) - 1
    if documents < 2:
        raise UserError(
            f"{store.path} has {documents} documents, and sentence pairs need a second one to draw random "
            "sentences from; use a larger corpus, another heldout share or another end of documents"
        )
    path = store.path / f"pairs{FORMAT}-{kind}-{length}-{short}-{seed}-{passes}.npy"
    if not path.exists():
        with filelock.FileLock(f"{path}.lock"):
            if not path.exists():
                _write(path, store, PAIRS[kind], length, short, seed, passes)
    return np.load(path, mmap_mode="r")


def _write(path, store, make_pairs, length, short, seed, passes):
    dtype = np.uint32 if len(store.tokens) < 1 << 32 else np.int64
    documents = len(store.documents) - 1
    with replacing(path) as file:
        array = ArrayWriter(file, dtype, [5])
        for number in range(passes):
            for block, first in enumerate(range(0, documents, BLOCK)):
                key = np.random.SeedSequence([seed, number, length, block])
                rng = np.random.Generator(np.random.Philox(key))
                last = min(first + BLOCK, documents)
                array.append(make_pairs(store.sentences, store.documents, first, last, length, short, rng))
        array.finish()
