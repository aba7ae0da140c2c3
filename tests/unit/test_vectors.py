"""Word vectors from files, next to a reader of a few lines that keeps a whole file."""

import bz2
import gzip
import lzma

import numpy as np
import pytest
import zstandard

from ssl_jax.data import vectors
from ssl_jax.errors import UserError

GLOVE = "the 0.5 -1 2e-1\n. . . 1 2 3\ncat 4 5 6\nthe 7 8 9\n"
FASTTEXT = "3 2\nthe 1 2 \ncat 3 4 \ndog 5 6 \n"
CHARACTERS = "2gram-#BEGIN#c 1 0\n2gram-at 0 1\n3gram-cat 5 5\n4gram-cat#END# 2 3\n2gram-ca 1 1\n4gram-#BEGIN#the 8 8\n2gram-<u 9 9\n"


@pytest.fixture
def folder(tmp_path):
    for name, text in (("glove.txt", GLOVE), ("wiki.vec", FASTTEXT), ("characters.txt", CHARACTERS)):
        (tmp_path / name).write_text(text)
    return tmp_path


def plain(words, path, characters=False):
    """As torchtext's Vectors and CharNGram: a dict of a file, then one word after the other."""
    rows = [line.split() for line in path.read_text().splitlines()]
    width = max(len(row) for row in rows) - 1 if not path.name.startswith("glove") else 3
    known = {" ".join(row[:-width]): np.array(row[-width:], float) for row in rows if len(row) > 2}
    table = []
    for word in words:
        vector = known.get(word, np.zeros(width))
        if characters:
            letters = ["#BEGIN#", *word, "#END#"]
            grams = [(n, letters[i : i + n]) for n in (2, 3, 4) for i in range(len(letters) - n + 1)]
            own = [known[key] for n, gram in grams if (key := f"{n}gram-{''.join(gram)}") in known and word != "<unk>"]
            vector = sum(own) / len(own) if own else np.zeros(width)
        table.append(vector)
    return np.array(table)


WORDS = ["<unk>", "the", "cat", ". . .", "nowhere", " dog "]


def test_characters_come_first_and_what_has_no_vector_has_zeros(folder):
    paths = [folder / "glove.txt", folder / "wiki.vec"]
    table = vectors.table(WORDS, paths, folder / "characters.txt")
    words = [word.strip() for word in WORDS]
    expected = [plain(words, folder / "characters.txt", characters=True), *(plain(words, path) for path in paths)]
    np.testing.assert_allclose(table, np.concatenate(expected, 1), rtol=1e-6)
    assert table.dtype == np.float32 and table.shape == (6, vectors.width(paths, folder / "characters.txt")) == (6, 7)
    # cat: #BEGIN#c, ca, at, cat and cat#END#; of a word that is there twice the last vector counts.
    np.testing.assert_allclose(table[2], [9 / 5, 10 / 5, 4, 5, 6, 3, 4], rtol=1e-6)
    np.testing.assert_allclose(table[1], [8, 8, 7, 8, 9, 1, 2], rtol=1e-6)
    assert not table[0].any() and not table[4].any()


PACKED = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: zstandard.ZstdCompressor().compress(data),
}


@pytest.mark.parametrize("suffix", PACKED)
def test_compressed_files_are_read(suffix, tmp_path):
    path = tmp_path / f"glove.txt{suffix}"
    path.write_bytes(PACKED[suffix](GLOVE.encode()))
    np.testing.assert_array_equal(vectors.table(["cat"], [path]), [[4, 5, 6]])


def test_words_that_are_not_utf8_are_skipped(tmp_path):
    path = tmp_path / "glove.txt"
    path.write_bytes(b"\xff\xfe 1 2\ncat 3 4\nna\xc3\xafve\xc2\xa0word 5 6\n")
    np.testing.assert_array_equal(vectors.table(["cat", "naïve\xa0word"], [path]), [[3, 4], [5, 6]])


def test_the_table_is_kept_until_words_or_files_change(folder, monkeypatch):
    path, cache = folder / "glove.txt", folder / "cache"
    first = vectors.table(WORDS, [path], cache=cache)
    with monkeypatch.context() as patch:
        patch.setattr(vectors, "_read", None)
        np.testing.assert_array_equal(vectors.table(WORDS, [path], cache=cache), first)
    (kept,) = cache.glob("*.npy")
    kept.write_bytes(kept.read_bytes()[:-4])  # damaged: it is read from the files
    np.testing.assert_array_equal(vectors.table(WORDS, [path], cache=cache), first)
    assert len(vectors.table(WORDS[:2], [path], cache=cache)) == 2
    path.write_text(GLOVE.replace("4 5 6", "4 5 7"))
    assert vectors.table(WORDS, [path], cache=cache)[2, 2] == 7


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "is empty: it should have a word and its vector"),
        ("the 1 2\ncat 1 2 3\n", "line 2: a word and 2 numbers should be here, as on the first line, not 'cat 1 2 3'"),
        ("the 1 2\ncat 1\n", "line 2: a word and 2 numbers should be here, as on the first line, not 'cat 1'"),
        ("the\n", "line 1: a word and 1 numbers"),
        ("the 1 2\ncat 1 x\n", "line 2: not a vector of numbers"),
        ("the 1 2\ncat 1 nan\n", "line 2: a number is not finite"),
        ("dog 1 2\n", "has a vector for none of the words of the vocabulary"),
    ],
)
def test_what_is_no_file_of_vectors_is_refused_with_its_line(text, message, tmp_path):
    path = tmp_path / "glove.txt"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        vectors.table(["the", "cat"] if "dog" not in text else ["cat"], [path])
    assert str(path) in str(caught.value)


def test_missing_files_are_refused(tmp_path):
    with pytest.raises(UserError, match="nowhere does not exist"):
        vectors.width([tmp_path / "nowhere"])
    with pytest.raises(UserError, match="need a file of words or of character n-grams"):
        vectors.width([])
