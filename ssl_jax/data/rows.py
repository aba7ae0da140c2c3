"""Rows of tokens from spans of a split's tokens: the last step for every kind of example."""

import numpy as np


def gather(tokens, spans, vocabulary, length):
    """Rows [CLS] A [SEP] B [SEP], or [CLS] A [SEP] where B is empty, then padding.

    The last [SEP] is the vocabulary's `extract`, a different token in GPT-1's.

    Args:
      tokens: the split's, [tokens].
      spans: int64 [B, 4]: A's start and end, B's start and end in `tokens`.
      vocabulary: the tokenizer's, with start and separator.
      length: L; the spans must leave room for the special tokens.

    Returns:
      A dict: `tokens` int32, `mask` bool, `segments` int32, all [B, L].
    """
    a_start, a_end, b_start, b_end = spans.astype(np.int64).T[:, :, None]
    column = np.arange(length)
    first_separator = 1 + a_end - a_start
    last_separator = first_separator + np.where(b_start < b_end, 1 + b_end - b_start, 0)
    in_b = column > first_separator
    mask = column <= last_separator
    # Each column's source; special tokens and padding are overwritten below.
    source = np.where(in_b, b_start - first_separator - 1, a_start - 1) + column
    tokens = tokens if len(tokens) else np.zeros(1, np.int32)  # all texts may be empty
    gathered = tokens[np.clip(source, 0, len(tokens) - 1)].astype(np.int32)
    gathered[:, 0] = vocabulary.start
    gathered[column == first_separator] = vocabulary.separator
    gathered[column == last_separator] = vocabulary.extract
    gathered[~mask] = vocabulary.filler
    return dict(tokens=gathered, mask=mask, segments=(in_b & mask).astype(np.int32))
