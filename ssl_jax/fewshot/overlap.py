"""Which items of a test set are in a run's training text: n-grams of words in common (GPT-3, appendix C).

There, n is the 5th percentile of the lengths in a set, from 8 to 13 words, and an item with one n-gram in common is
dirty. Here n is 13 throughout, and an item that is shorter is compared as a whole, from 8 words on; still shorter ones
are never called dirty, for that would be chance.
"""

import re

import numpy as np

from ssl_jax.data import corpora, tokens

SIZE, LEAST = 13, 8
WORD = re.compile(r"[^\W_]+")


def training_texts(data):
    """Yields the texts that a run's `data` block lets it train on: all documents but the held-out ones.

    Raises:
      UserError: the corpus is not there.
    """
    corpus = corpora.open_corpus(data.corpus, data.root)
    for number in range(min(len(corpus), data.max_documents or len(corpus))):
        text = corpus[number]["text"]
        if not tokens.is_heldout(tokens.content_hash(text)[None], data.heldout)[0]:
            yield text


def words_of(text):
    """Lower-case words, without punctuation."""
    return WORD.findall(text.lower())


def dirty(items, texts):
    """Which items share an n-gram with any of the texts.

    Args:
      items: N str.
      texts: any iterable of str, read once.

    Returns:
      bool [N].
    """
    wanted, found = {}, np.zeros(len(items), bool)  # size -> n-gram -> items
    for number, item in enumerate(items):
        words = words_of(item)
        size = min(SIZE, len(words))
        if size >= LEAST:
            for gram in _grams(words, size):
                wanted.setdefault(size, {}).setdefault(gram, []).append(number)
    for text in texts:
        words = words_of(text)
        for size, grams in wanted.items():
            for gram in _grams(words, size):
                if gram in grams:
                    found[grams[gram]] = True
    return found


def _grams(words, size):
    return zip(*(words[start:] for start in range(size)))
