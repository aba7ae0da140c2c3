"""Word vectors from files: a table for a vocabulary, from GloVe's or fastText's words and from character n-grams.

Both are text: on each line a word and its numbers, between single spaces. A first line of two whole numbers is fastText's
header. Character n-grams are those of Hashimoto et al. 2017 as torchtext reads them (CharNGram): the keys are '2gram-#BEGIN#t',
'3gram-the' and so on, and a word's vector is the mean of its known n-grams of two to four characters.
As in decaNLP's release (train.py; text/torchtext/vocab.py), character n-grams come before words, what has no vector has zeros,
and a word that is not UTF-8 is skipped.
"""

import contextlib
import functools
import hashlib
import itertools
import json
from pathlib import Path

import numpy as np
from filelock import FileLock

from ssl_jax import files
from ssl_jax.errors import UserError, cut, shown

LONGEST_LINE = 1 << 20  # bytes; a longer one is cut, and then no vector
SIZES = (2, 3, 4)  # of character n-grams


def table(words, paths, characters="", cache=None):
    """The vectors of words, float32 [V, D]: those of their character n-grams, then of each file; zeros where there is none.

    Args:
      words: of the vocabulary, in the order of their ids; white space around them does not count.
      paths: of the files of word vectors, plain or compressed (`files.COMPRESSIONS`).
      characters: of the file of character n-grams; '': none.
      cache: a folder that keeps the table, by the words and the contents of the files (`files.digests`); None: none.

    Raises:
      UserError: there is no file; one is missing or empty; a line, named, is no word with as many numbers as the first line
        has, or one of the numbers that are read is none; a file has a vector for none of the words.
    """
    words = [word.strip() for word in words]
    width(paths, characters)
    if cache is None:
        return _read(words, paths, characters)
    content = json.dumps([words, files.digests([*paths, *filter(None, [characters])]), bool(characters)])
    path = Path(cache, f"vectors-{hashlib.sha256(content.encode()).hexdigest()[:16]}.npy")
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        with contextlib.suppress(OSError, ValueError, EOFError):  # missing or damaged: it is read from the files
            return np.load(path)
        rows = _read(words, paths, characters)
        with files.replacing(path) as file:
            np.save(file, rows)
    return rows


def width(paths, characters=""):
    """D, the width of `table`, from the first line of each file; errors as for `table`."""
    if not paths and not characters:
        raise UserError("word vectors need a file of words or of character n-grams")
    return sum(_width(path) for path in [*filter(None, [characters]), *paths])


def _read(words, paths, characters):
    parts = [_of_characters(words, characters)] if characters else []
    for path in paths:
        found = _find(path, words)
        zeros = np.zeros(_width(path), np.float32)
        parts.append(np.stack([found.get(word, zeros) for word in words]))
    return np.concatenate(parts, axis=1)


def _of_characters(words, path):
    """float32 [V, D]: the mean of each word's known n-grams."""
    grams = {word: [] if word == "<unk>" else ngrams(word) for word in words}
    found = _find(path, itertools.chain.from_iterable(grams.values()))
    rows = np.zeros((len(words), _width(path)), np.float32)
    for row, word in zip(rows, words, strict=True):
        if known := [found[gram] for gram in grams[word] if gram in found]:
            row[:] = np.mean(known, axis=0)
    return rows


def ngrams(word):
    """The keys of a word's n-grams: 'at' has 2gram-#BEGIN#a, 2gram-at, 2gram-t#END#, 3gram-#BEGIN#at and so on."""
    letters = ["#BEGIN#", *word, "#END#"]
    return [
        f"{size}gram-{''.join(letters[start : start + size])}"
        for size in SIZES
        for start in range(len(letters) - size + 1)
    ]


def _find(path, words):
    """{word: float32 [D]} of those of `words` that a file has; of a word that is there twice the last one, as in the release.

    Only the numbers of these words are read: of other lines only how many there are.
    """
    width, wanted, found = _width(path), {word.encode(): word for word in words}, {}
    for number, line in _lines(path):
        word = line.partition(b" ")[0]
        if line.count(b" ") != width:
            word = _word(path, number, line, width)
        if word in wanted:
            found[wanted[word]] = _numbers(path, number, line, width)
    if not found:
        raise UserError(f"{path} has a vector for none of the words of the vocabulary")
    return found


def _word(path, number, line, width):
    """The word of a line; some of GloVe's contain spaces: '. . .'. A number after such a space is one too many."""
    fields = line.split(b" ")
    word = b" ".join(fields[:-width])
    if not word or _is_number(fields[-width - 1]) and len(fields) > width + 1:
        where = f"{path}, line {number}"
        text = shown(cut(line.decode(errors="replace")))
        raise UserError(f"{where}: a word and {width} numbers should be here, as on the first line, not {text}")
    return word


def _is_number(field):
    try:
        float(field)
    except ValueError:
        return False
    return any(48 <= byte < 58 for byte in field)  # 'nan' is a word, too


def _numbers(path, number, line, width):
    try:
        vector = np.array([float(field) for field in line.split(b" ")[-width:]], np.float32)
    except ValueError as error:
        raise UserError(f"{path}, line {number}: not a vector of numbers ({cut(str(error))})") from error
    if not np.isfinite(vector).all():
        raise UserError(f"{path}, line {number}: a number is not finite")
    return vector


def _width(path):
    """How many numbers a file's first word has."""
    for number, line in _lines(path):
        width = line.count(b" ")
        if not width or not line.partition(b" ")[0]:
            _word(path, number, line, max(1, width))
        _numbers(path, number, line, width)
        return width
    raise UserError(f"{path} is empty: it should have a word and its vector on each line")


def _lines(path):
    """Yields (number from 1, bytes without the end) of a file's lines, but for fastText's header."""
    if not Path(path).is_file():
        raise UserError(f"{path} {'is no regular file' if Path(path).exists() else 'does not exist'}")
    suffix = Path(path).suffix
    with files.decompressed(path, suffix if suffix in files.COMPRESSIONS else "") as file:
        for number, line in enumerate(iter(functools.partial(file.readline, LONGEST_LINE), b""), 1):
            line = line.rstrip(b" \r\n")
            if number > 1 or not _is_header(line):
                yield number, line


def _is_header(line):
    fields = line.split(b" ")
    return len(fields) == 2 and all(field.isdigit() for field in fields)
