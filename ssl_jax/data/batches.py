"""From examples to batches: `batch(step)` is a pure function of the step.

    tokens    int32 [B, L]   [CLS] A [SEP] B [SEP], then padding
    mask      bool  [B, L]   True for real tokens
    segments  int32 [B, L]   0 for [CLS] A [SEP], 1 for B [SEP], 0 for padding
    pair      int32 [B]      the pair's label: 1 if B is random, 0 if it follows A
    index     int32 [B]      global example number, the key of every later random choice about it

Nothing is remembered between steps: after a restart the step alone says which examples come next.
Neither does the order depend on how a batch is cut over devices, hosts or micro-batches.
"""

import dataclasses
import functools

import grain
import numpy as np

from ssl_jax.data.pairs import pair_index
from ssl_jax.data.tokens import Store
from ssl_jax.tokenizers import Vocabulary


@dataclasses.dataclass(frozen=True, eq=False)
class PairBatches:
    """Shuffled batches of sentence pairs for training, epoch after epoch.

    Attributes:
      store: the split.
      vocabulary: of the store's tokenizer.
      length: L, special tokens included.
      batch_size: B, over all devices and hosts.
      seed: of pairs and order; int >= 0.
      passes: walks over the corpus that make the examples of one epoch.
      short: share of documents cut to shorter examples.
      pairs: one of pairs.PAIRS.
      first_step, first_example: where this phase of the training begins: its first step, and the
        number of examples before it, so that example numbers never repeat within a run.
    """

    store: Store
    vocabulary: Vocabulary
    length: int
    batch_size: int
    seed: int
    passes: int
    short: float
    pairs: str = "nsp"
    first_step: int = 0
    first_example: int = 0

    def __post_init__(self):
        self.examples  # faults come out now and not in a background thread

    @functools.cached_property
    def examples(self):
        """The index of pairs, [N, 5]."""
        return pair_index(self.store, self.pairs, self.length, self.short, self.seed, self.passes)

    def __call__(self, step, rows=slice(None)):
        """The batch of a step; `rows` selects a host's part of the global batch."""
        position = (step - self.first_step) * self.batch_size + np.arange(self.batch_size)[rows]
        chosen = [_shuffled(number, len(self.examples), self.seed) for number in position.tolist()]
        return _gather(self, self.examples[chosen], self.first_example + position)


def _shuffled(position, size, seed):
    """The example at a position: a new permutation of 0 .. size - 1 in each epoch, without state."""
    epoch, position = divmod(position, size)
    # The constant keeps epoch 1 of seed 0 apart from epoch 0 of seed 1.
    epoch_seed = (seed * 0x9E3779B1 + epoch) % (1 << 32)
    return grain.experimental.index_shuffle(position, max_index=size - 1, seed=epoch_seed, rounds=4)


@dataclasses.dataclass(frozen=True, eq=False)
class PairEvaluation:
    """Each example of a split once, in order; `batch(step)` for step 0 to `steps` - 1.

    The last batch is filled up with rows of padding (mask all False, pair 0). Attributes as in
    PairBatches; one walk over the documents.
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
        batch = _gather(self, examples, position)
        for name in ("mask", "segments", "pair"):
            batch[name][~real] = 0
        batch["tokens"][~real] = self.vocabulary.pad
        return batch


def _gather(batches, examples, index):
    """Builds the arrays of a batch from rows of a pair index [B, 5] and example numbers [B]."""
    vocabulary, tokens = batches.vocabulary, batches.store.tokens
    a_start, a_end, b_start, b_end, label = examples.astype(np.int64).T[:, :, None]
    column = np.arange(batches.length)
    first_separator = 1 + a_end - a_start
    last_separator = first_separator + 1 + b_end - b_start
    in_b = column > first_separator
    mask = column <= last_separator
    # Where each column comes from; those of special tokens and padding are overwritten below.
    source = np.where(in_b, b_start - first_separator - 1, a_start - 1) + column
    gathered = tokens[np.clip(source, 0, len(tokens) - 1)].astype(np.int32)
    gathered[:, 0] = vocabulary.start
    gathered[(column == first_separator) | (column == last_separator)] = vocabulary.separator
    gathered[~mask] = vocabulary.pad
    return dict(
        tokens=gathered,
        mask=mask,
        segments=(in_b & mask).astype(np.int32),
        pair=label[:, 0].astype(np.int32),
        # Wraps after 2**32 examples, which stay apart from each other for that long.
        index=index.astype(np.int32),
    )


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
