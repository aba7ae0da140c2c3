"""Which span an encoder answers with, and where a written answer ends."""

import jax
import numpy as np
import pytest

from ssl_jax.inference.answers import likeliest_span


def plain(logits, question, context, longest):
    """Of [CLS] question [SEP] context [SEP], one pair after the other."""
    best = None
    for first, size in ((1, question), (question + 2, context)):
        for start in range(first, first + size):
            for end in range(start, min(start + longest, first + size)):
                score = logits[start, 0] + logits[end, 1]
                if best is None or score > best[0]:
                    best = score, start, end
    return best[1:]


@pytest.mark.parametrize("longest", [1, 3, 20])
def test_the_likeliest_span_lies_in_the_question_or_in_the_context(longest):
    random, size = np.random.default_rng(0), 16
    lengths = [(question, context) for question in (1, 4, 9) for context in (1, 4)]
    logits = random.normal(0, 3, (len(lengths), size, 2)).astype(np.float32)
    logits[:, 0] += 20  # [CLS] and padding would be the likeliest
    logits[:, -1] += 20
    column = np.arange(size)
    mask = np.stack([column < question + context + 3 for question, context in lengths])
    segments = np.stack([(column > question + 1) & (column < question + context + 3) for question, context in lengths])
    found = jax.jit(likeliest_span, static_argnums=3)(logits, mask, segments.astype(np.int32), longest)
    expected = [plain(one, *own, longest) for one, own in zip(logits, lengths, strict=True)]
    np.testing.assert_array_equal(found, expected)
