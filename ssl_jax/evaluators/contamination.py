"""How much of a test set is in a run's training text: n-grams of words in common (GPT-3, appendix C).

n is the 5th percentile of the lengths in a set, from 8 to 13 words; an item with one n-gram in common is dirty. A
shorter item is compared as a whole, from 8 words on; still shorter ones are never called dirty, because that would be
chance.

For whole texts, which are few, the share of their 8-grams is reported instead, in the run's training text and in the set's
own: GPT-2's Table 6 (section 4), whose words are these, too, lower-case and alphanumeric. Its Bloom filters hold the
training text's 8-grams, at most one of 10^8 false ones among them; here the test set's are held and the training text is
read past them, which leaves none.
"""

import itertools
import re

import numpy as np

from ssl_jax.data import corpora, tokens

LEAST, MOST = 8, 13
GPT2 = 8  # words of its n-grams
STRETCH = 100_000  # words of a training text that are held at once
WORD = re.compile(r"[^\W_]+")


def training_texts(data):
    """Yields the texts that a run's `data` block lets it train on: all documents except the held-out ones.

    Raises:
      UserError: the corpus is not there.
    """
    corpus = corpora.open_corpus(data.corpus, data.root)
    for text in corpus.texts(0, min(len(corpus), data.max_documents or len(corpus))):
        if not tokens.is_heldout(tokens.content_hash(text)[None], data.heldout)[0]:
            yield text


def words_of(text):
    """Lower-case words, without punctuation."""
    return WORD.findall(text.lower())


def common(sets, texts, sizes=()):
    """How many n-grams of each item are in any of the texts.

    Args:
      sets: lists of items, str, each with its own n.
      texts: any iterable of str, or of iterables of the parts of one text, read once for all of them.
      sizes: each set's n; None, or (): as above.

    Returns:
      For each set int [N, 2]: how many of each item's n-grams are in a text, and how many it has.
    """
    sets = [[words_of(item) for item in items] for items in sets]
    sizes = [given or _size([len(words) for words in items])
             for items, given in itertools.zip_longest(sets, sizes)]  # fmt: skip
    wanted = {}  # size -> n-gram -> whether a text has it
    for items, size in zip(sets, sizes, strict=True):
        for words in items:
            if grams := dict.fromkeys(_grams(words, size), False):
                wanted.setdefault(min(size, len(words)), {}).update(grams)
    for words in itertools.chain.from_iterable(map(_stretches, texts)):
        for size, grams in wanted.items():
            for gram in zip(*(words[start:] for start in range(size))):
                if gram in grams:
                    grams[gram] = True

    def count(words, size):
        found = [wanted[min(size, len(words))][gram] for gram in _grams(words, size)]
        return sum(found), len(found)

    return [np.array([count(words, size) for words in items], int).reshape(-1, 2)
            for items, size in zip(sets, sizes, strict=True)]  # fmt: skip


def share(counts):
    """The share of a set's n-grams that are in common, of `common`'s int [N, 2]; 0 if there are none."""
    return float(counts[:, 0].sum() / max(counts[:, 1].sum(), 1))


def _stretches(text):
    """Yields a text's words in lists, each with the last words of the one before, so that no n-gram is cut."""
    parts = [text] if isinstance(text, str) else text
    found = (match.group() for part in parts for match in WORD.finditer(part.lower()))
    words = list(itertools.islice(found, STRETCH))
    while words:
        yield words
        more = list(itertools.islice(found, STRETCH))
        words = more and words[1 - MOST :] + more


def _size(lengths):
    """The n of a set."""
    return int(np.clip(np.percentile(lengths, 5), LEAST, MOST)) if lengths else MOST


def _grams(words, size):
    """An item's n-grams; a shorter item as a whole; () of one that is too short."""
    size = min(size, len(words))
    return zip(*(words[start:] for start in range(size))) if size >= LEAST else ()
