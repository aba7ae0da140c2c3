"""From examples to batches: `batch(step)` is a pure function of the step.

    tokens     int32 [B, L]   a pair, [CLS] A [SEP] B [SEP] (or [CLS] A [SEP] where B is empty), then
                              padding; or a window of the text; or the text or texts of a task, as a pair
    mask       bool  [B, L]   True for real tokens
    segments   int32 [B, L]   0 for [CLS] A [SEP], 1 for B [SEP], 0 for padding and windows
    pair       int32 [B]      the pair's label, see pairs.PAIRS; 0 for windows and tasks
    index      int32 [B]      global example number, the key for every later random choice about the example
    label      [B]            tasks: the example's class or choice, int32, or its score, float32; -1, NaN: unknown
    span       int32 [B, 2]   span tasks: the answer's first and last position; 0, [CLS]: no answer in this window
    impossible bool  [B]      span tasks: the question has no answer, in this window or any other
    token_label int32 [B, L]  token-label tasks: each word's class at its first token, -1 at all others
    documents  int32 [B, L]   windows with `borders` only: the token's document within the row, from 0

If a task's example consists of C choices, or of a pair in both orders (C = 2), `tokens`, `mask` and `segments` are
[B, C, L]. The last [SEP] is GPT-1's _classify_ if the tokenizer has it.

No state is kept between steps: after a restart the step alone determines which examples come next.
Nor does the order depend on how a batch is split over devices, hosts or micro-batches. The global
example number alone identifies the example, so the order continues through phases with other batch sizes.
"""

import dataclasses
import functools
from typing import Any

import grain
import numpy as np

from ssl_jax.data.pairs import PAIRS, pair_index
from ssl_jax.data.rows import gather
from ssl_jax.data.tokens import Store
from ssl_jax.errors import UserError, check_choice
from ssl_jax.tokenization.vocabulary import Vocabulary


def training_batches(data, kind, store, vocabulary, length, batch_size, seed, first_step=0, first_example=0):
    """The `batch(step)` of a training phase.

    Args:
      data: a config's `data` block: `dupe_factor`, `short_seq_prob` and `static_masks` are read for pairs, `borders` for windows.
      kind: one of pairs.PAIRS, 'windows' or 'task'.
      store: the split: a Store, or for a task one of the stores in tasks/features.py.
      vocabulary, length, batch_size, seed, first_step, first_example: see PairBatches.

    Raises:
      UserError: unknown kind, required special tokens are missing, or the split has too little text.
    """
    _check(kind, vocabulary)
    where = dict(seed=seed, first_step=first_step, first_example=first_example)
    if kind == "windows":
        return WindowBatches(store, vocabulary, length, batch_size, borders=data.document_mask, **where)
    if kind == "task":
        return TaskBatches(store, vocabulary, length, batch_size, **where)
    passes = 1 if kind == "single" else data.dupe_factor  # another pass would cut the same pieces
    options = dict(passes=passes, short=data.short_seq_prob, pairs=kind, static=data.static_masks)
    return PairBatches(store, vocabulary, length, batch_size, **options, **where)


def evaluation_batches(data, kind, store, vocabulary, length, batch_size, seed):
    """Each example of a split once: `batch(step)` for step 0 to `steps` - 1.

    Args and errors as in training_batches; `passes` is not read, and windows and tasks need no seed.
    """
    _check(kind, vocabulary)
    if kind == "windows":
        return WindowEvaluation(store, vocabulary, length, batch_size, borders=data.document_mask)
    if kind == "task":
        return TaskEvaluation(store, vocabulary, length, batch_size)
    return PairEvaluation(store, vocabulary, length, batch_size, seed=seed, short=data.short_seq_prob, pairs=kind)


def _check(kind, vocabulary):
    check_choice(kind, (*PAIRS, "windows", "task"), "kind of examples")
    if kind != "windows" and None in (vocabulary.start, vocabulary.separator):
        raise UserError(
            f"{kind!r} examples need [CLS] and [SEP], and this tokenizer does not have both of them; "
            "'wordpiece' and 'unigram' tokenizers do, a folder names its own in tokenizer_config.json (cls_token, "
            "sep_token), to others data.tokenizer.add adds _start_ and _delimiter_"
        )


@dataclasses.dataclass(frozen=True, eq=False)
class PairBatches:
    """Shuffled batches of sentence pairs for training, epoch after epoch.

    Attributes:
      store: the split.
      vocabulary: of the store's tokenizer.
      length: L, special tokens included.
      batch_size: B, over all devices and hosts.
      seed: for pairs and order; int >= 0.
      passes: walks over the corpus that make up one epoch.
      short: share of documents cut to shorter examples.
      pairs: one of pairs.PAIRS.
      static: whether `index` is the example's number in the index of pairs, so that each epoch repeats its masks, and not
        the number of examples before it.
      first_step, first_example: where this training phase begins: its first step, and the number of
        examples before it. The data order continues from there.
    """

    store: Store
    vocabulary: Vocabulary
    length: int
    batch_size: int
    seed: int
    passes: int
    short: float
    pairs: str = "nsp"
    static: bool = False
    first_step: int = 0
    first_example: int = 0

    def __post_init__(self):
        self.examples  # raise errors now, not in a background thread

    @functools.cached_property
    def examples(self):
        """The index of pairs, [N, 5]."""
        return pair_index(self.store, self.pairs, self.length, self.short, self.seed, self.passes)

    def __call__(self, step, rows=slice(None)):
        """The batch of a step; `rows` selects a host's part of the global batch."""
        number = _numbers(self, step, rows)
        drawn = _drawn(number, len(self.examples), self.seed)
        return _gather(self, self.examples[drawn], np.array(drawn) if self.static else number)


def _numbers(batches, step, rows):
    """Global example numbers of the rows of a training step, int64."""
    before = batches.first_example + (step - batches.first_step) * batches.batch_size
    return before + np.arange(batches.batch_size)[rows]


def _drawn(numbers, size, seed):
    """The examples, 0 .. size - 1, at these positions of the infinite order: a list."""
    return [_shuffled(number, size, seed) for number in numbers.tolist()]


def _shuffled(position, size, seed):
    """The example at a position: a new permutation of 0 .. size - 1 each epoch, stateless."""
    epoch, position = divmod(position, size)
    # The constant separates epoch 1 of seed 0 from epoch 0 of seed 1.
    epoch_seed = (seed * 0x9E3779B1 + epoch) % (1 << 32)
    return grain.experimental.index_shuffle(position, max_index=size - 1, seed=epoch_seed, rounds=4)


@dataclasses.dataclass(frozen=True, eq=False)
class PairEvaluation:
    """Each example of a split once, in order; `batch(step)` for step 0 to `steps` - 1.

    The last batch is filled up with padding rows (mask all False, pair 0). Attributes as in
    PairBatches; one pass over the documents.
    """

    store: Store
    vocabulary: Vocabulary
    length: int
    batch_size: int
    seed: int
    short: float
    pairs: str = "nsp"

    def __post_init__(self):
        self.examples

    @functools.cached_property
    def examples(self):
        """The index of pairs, [N, 5]."""
        return pair_index(self.store, self.pairs, self.length, self.short, self.seed, passes=1)

    @property
    def steps(self):
        """Number of batches."""
        return -(-len(self.examples) // self.batch_size)

    def __call__(self, step, rows=slice(None)):
        """The batch of a step; `rows` selects a host's part of the global batch."""
        position = step * self.batch_size + np.arange(self.batch_size)[rows]
        real = position < len(self.examples)
        examples = self.examples[np.where(real, position, 0)]
        return _blank(self, _gather(self, examples, position), ~real)


def _blank(batches, batch, rows):
    """The batch with `rows`, bool [B], replaced by padding."""
    for name in batch.keys() - {"index"}:
        batch[name][rows] = batches.vocabulary.filler if name == "tokens" else 0
    return batch


def _gather(batches, examples, index):
    """Builds the arrays of a batch from rows of a pair index [B, 5] and example numbers [B]."""
    made = gather(batches.store.tokens, examples[:, :4], batches.vocabulary, batches.length)
    return made | {"pair": examples[:, 4].astype(np.int32), "index": _index(index)}


def _index(numbers):
    """Example numbers as int32: wraps after 2**32 examples, so numbers are distinct for that long."""
    return numbers.astype(np.int32)


@dataclasses.dataclass(frozen=True, eq=False)
class TaskBatches:
    """Shuffled batches of a task's examples for training, epoch after epoch.

    Attributes as in PairBatches; the store's kind decides what a row is and how it is cut (tasks/features.py).
    """

    store: Any
    vocabulary: Vocabulary
    length: int
    batch_size: int
    seed: int
    first_step: int = 0
    first_example: int = 0

    def __post_init__(self):
        self.examples

    @functools.cached_property
    def examples(self):
        """The split at this length: `len(examples)`, and `examples(numbers)` is a dict of arrays."""
        return self.store.rows(self.vocabulary, self.length)

    def __call__(self, step, rows=slice(None)):
        """The batch of a step; `rows` selects a host's part of the global batch."""
        number = _numbers(self, step, rows)
        return _label(self, np.array(_drawn(number, len(self.examples), self.seed)), number)


@dataclasses.dataclass(frozen=True, eq=False)
class TaskEvaluation:
    """Each example of a task's split once, in order; `batch(step)` for step 0 to `steps` - 1.

    The last batch is filled up with padding rows (mask all False, labels 0). Attributes as in TaskBatches.
    """

    store: Any
    vocabulary: Vocabulary
    length: int
    batch_size: int

    def __post_init__(self):
        self.examples

    @functools.cached_property
    def examples(self):
        """The split at this length, see TaskBatches."""
        return self.store.rows(self.vocabulary, self.length)

    @property
    def steps(self):
        """Number of batches."""
        return -(-len(self.examples) // self.batch_size)

    def __call__(self, step, rows=slice(None)):
        """The batch of a step; `rows` selects a host's part of the global batch."""
        position = step * self.batch_size + np.arange(self.batch_size)[rows]
        real = position < len(self.examples)
        return _blank(self, _label(self, np.where(real, position, 0), position), ~real)


def _label(batches, examples, index):
    """Builds the arrays of a batch from a task's examples, by number [B], and global example numbers [B]."""
    return batches.examples(examples) | {"pair": np.zeros(len(index), np.int32), "index": _index(index)}


class _Stream:
    """A split as one stream of tokens: the documents in order, each followed by its end.

    The end is the vocabulary's end of text; without one, nothing is inserted.
    `len` is the number of tokens. Memory holds 8 bytes per document.
    """

    def __init__(self, store, vocabulary):
        self.end = vocabulary.end_of_text
        self.extra = int(self.end is not None)
        self.tokens = store.tokens
        # Document d is stream[edges[d]:edges[d + 1]], its end included.
        edges = np.asarray(store.sentences[np.asarray(store.documents)])
        self.edges = edges + self.extra * np.arange(len(edges))

    def __len__(self):
        return int(self.edges[-1])

    def read(self, position):
        """Tokens, int32, and their document numbers, int64, at positions [...]; both shaped like `position`.

        Values at positions beyond the end of the stream are arbitrary.
        """
        document = np.minimum(np.searchsorted(self.edges, position, "right"), len(self.edges) - 1) - 1
        # Each earlier document inserted one end.
        source = np.minimum(position - self.extra * document, len(self.tokens) - 1)
        tokens = self.tokens[source].astype(np.int32)
        if self.extra:
            tokens[position == self.edges[document + 1] - 1] = self.end
        return tokens, document


def _open_stream(batches, needed):
    if batches.length < 2:
        raise UserError(f"windows need a length of 2 or more, a token and its next one, not {batches.length}")
    stream = _Stream(batches.store, batches.vocabulary)
    if len(stream) < needed:
        raise UserError(
            f"{batches.store.path} has {len(stream)} tokens, and one window needs {needed}; use a larger "
            "corpus, another heldout share or a shorter length"
        )
    return stream


@dataclasses.dataclass(frozen=True, eq=False)
class WindowBatches:
    """Shuffled windows of text for training, epoch after epoch.

    Window w is the L tokens of the stream starting at w * (L - 1): neighbours share one token, so every token
    but the stream's first is a next-token target once per epoch. The last, short window is dropped.
    This follows GPT-3 (appendix B): windows are always full, an end-of-text token separates documents,
    and attention does not stop there.

    Attributes:
      store, vocabulary, length, batch_size, seed, first_step, first_example: as in PairBatches.
      borders: whether batches contain `documents`, so that attention can stop at document ends. The
        token that ends a document belongs to it.
    """

    store: Store
    vocabulary: Vocabulary
    length: int
    batch_size: int
    seed: int
    borders: bool = False
    first_step: int = 0
    first_example: int = 0

    def __post_init__(self):
        self.stream  # raise errors now, not in a background thread

    @functools.cached_property
    def stream(self):
        """The split's tokens as one stream."""
        return _open_stream(self, needed=self.length)

    @property
    def windows(self):
        """Number of windows per epoch."""
        return (len(self.stream) - 1) // (self.length - 1)

    def __call__(self, step, rows=slice(None)):
        """The batch of a step; `rows` selects a host's part of the global batch."""
        number = _numbers(self, step, rows)
        return _read(self, np.array(_drawn(number, self.windows, self.seed)), number)


@dataclasses.dataclass(frozen=True, eq=False)
class WindowEvaluation:
    """Each window of a split once, in order; `batch(step)` for step 0 to `steps` - 1.

    Attributes as in WindowBatches. The last window may be short, and the last batch is filled up with
    empty rows, where mask is False.
    """

    store: Store
    vocabulary: Vocabulary
    length: int
    batch_size: int
    borders: bool = False

    def __post_init__(self):
        self.stream

    @functools.cached_property
    def stream(self):
        """The split's tokens as one stream."""
        return _open_stream(self, needed=2)

    @property
    def windows(self):
        """Number of windows, the short one included."""
        return -(-(len(self.stream) - 1) // (self.length - 1))

    @property
    def steps(self):
        """Number of batches."""
        return -(-self.windows // self.batch_size)

    def __call__(self, step, rows=slice(None)):
        """The batch of a step; `rows` selects a host's part of the global batch."""
        number = step * self.batch_size + np.arange(self.batch_size)[rows]
        return _read(self, number, number)


def _read(batches, window, index):
    """Builds the arrays of a batch from window numbers [B] and example numbers [B]."""
    position = window[:, None] * (batches.length - 1) + np.arange(batches.length)
    tokens, documents = batches.stream.read(position)
    mask = (position < len(batches.stream)) & (window < batches.windows)[:, None]
    tokens[~mask] = batches.vocabulary.filler
    batch = dict(
        tokens=tokens,
        mask=mask,
        segments=np.zeros_like(tokens),
        pair=np.zeros(len(window), np.int32),
        index=index.astype(np.int32),
    )
    if batches.borders:
        batch["documents"] = np.where(mask, documents - documents[:, :1], 0).astype(np.int32)
    return batch


def prefetch(batch, first_step, last_step, ahead=8):
    """Yields (step, batch(step)) for first_step <= step < last_step, computed ahead in threads.

    Args:
      batch: a function of the step.
      first_step, last_step: the range.
      ahead: how many batches are kept ready.

    Raises:
      Whatever batch(step) raises.
    """
    steps = grain.MapDataset.range(first_step, last_step)
    options = grain.ReadOptions(num_threads=2, prefetch_buffer_size=ahead)
    yield from steps.map(lambda step: (int(step), batch(int(step)))).to_iter_dataset(options)
