"""GPT-1's release splits texts with ftfy and spaCy: with stand-ins for both, and with themselves where they are installed."""

import itertools
import re
import sys
from types import SimpleNamespace

import pytest

from configs import gpt1
from ssl_jax.errors import UserError
from ssl_jax.tokenization import files as tokenizer_files
from ssl_jax.tokenization import words
from ssl_jax.tokenization.train import train_tokenizer
from ssl_jax.tokenization.vocabulary import identity

TEXTS = ["It's a test\u2014don't stop!!\n\n Caf\u00e9 U.K. \u2026", "The caf\u00e9 is \u00fcber (there)."] * 3
TEXTS += ["".join(letters) for letters in itertools.product("kst", "aeiou", "lmnr", "aeiou")]


def split(text):
    """As spaCy: white space other than single spaces is a token, with the spaces behind it; n't and 's are words."""
    parts = re.findall(r"\s*\n\s?|[^\s']+(?=n't)|n't|'\w+|[^\s']+", text)
    return [SimpleNamespace(text=part.lstrip(" ")) for part in parts]


@pytest.fixture
def stand_ins(monkeypatch):
    monkeypatch.setitem(
        sys.modules, "ftfy", SimpleNamespace(fix_text=lambda text: text.replace("\u00c3\u00a9", "\u00e9"))
    )
    monkeypatch.setitem(sys.modules, "spacy", SimpleNamespace(blank=lambda name: Splitter() if name == "en" else None))


class Splitter:
    def __call__(self, text):
        return split(text)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a\u2014b \u2026 \u00b4t", "a - b ... 't"),
        ("wait!!  really?! (yes)", "wait !! really ? ! ( yes )"),
        ("one.\n \n\ttwo\u00a0three", "one. \n two three"),
        ("a\\b +1", "a\\b + 1"),  # a backslash stays, see _SIGNS
        ("  x_y  ", "x _ y"),
    ],
)
def test_texts_are_standardised_as_in_the_release(text, expected):
    assert words.standardised(text) == expected


def test_words_are_mended_split_and_joined(stand_ins):
    join = words.make_join()
    assert join("Don't stop!!\n\nCaf\u00c3\u00a9") == "Do n't stop !! \n Caf\u00e9"


def check(tokenizer, tmp_path):
    """Accents stay, case goes, n't and a line break are words; a file of it is read as it was trained."""
    ids = lambda tokenizer, text: tokenizer.encode(text, add_special_tokens=False).ids  # noqa: E731
    pieces = [tokenizer.id_to_token(number) for number in ids(tokenizer, "Don't\nCAF\u00c9")]
    told = "".join(pieces).replace("</w>", " ").split(" ")[:-1]
    assert told == ["do", "n't", "\n", "caf\u00e9"]
    tokenizer_files.save(tokenizer, tmp_path / "tokenizer.json")
    read = tokenizer_files.load(tmp_path / "tokenizer.json")
    assert isinstance(read, words.WordTokenizer) and identity(read) == identity(tokenizer)
    for text in TEXTS:
        assert (
            ids(read, text) == ids(tokenizer, text) == read.encode_batch_fast([text], add_special_tokens=False)[0].ids
        )
        assert 0 not in ids(read, text)  # nothing is unknown
    with pytest.raises(UserError, match="a token's place in its text is unknown, .* set data.tokenizer.words=bert"):
        read.encode_batch(["x"])
    plain = train_tokenizer("gpt1_bpe", TEXTS, 90, True)
    assert identity(plain) != identity(tokenizer)
    # OpenAI's own pieces, or any of GPT-1's kind, take these words, too.
    tokenizer_files.save(plain, tmp_path / "plain.json")
    options = SimpleNamespace(path=str(tmp_path / "plain.json"), words="spacy", lowercase=True, add=("_start_",))
    extended = tokenizer_files.load_extended(options)
    assert isinstance(extended, words.WordTokenizer) and extended.token_to_id("_start_") == plain.get_vocab_size()
    options.words = "bert"
    assert not isinstance(tokenizer_files.load_extended(options), words.WordTokenizer)


def test_a_tokenizer_is_trained_and_read_with_these_words(stand_ins, tmp_path):
    check(train_tokenizer("gpt1_bpe", TEXTS, 90, True, words="spacy"), tmp_path)


def test_spacys_own_words(tmp_path):
    for name in ("ftfy", "spacy"):
        pytest.importorskip(name)
    join = words.make_join()
    assert (
        join("Mr. O\u2019Neil\u00e2\u20ac\u2122s in the U.K., isn't he?\nYes")
        == "Mr. O'Neil 's in the U.K. , is n't he ? \n Yes"
    )
    check(train_tokenizer("gpt1_bpe", TEXTS, 90, True, words="spacy"), tmp_path)


def test_what_cannot_have_these_words_is_one_line(stand_ins, monkeypatch, tmp_path):
    with pytest.raises(UserError, match="words=spacy is for data.tokenizer.kind=gpt1_bpe, not wordpiece"):
        train_tokenizer("wordpiece", TEXTS, 90, True, words="spacy")
    with pytest.raises(UserError, match="words=spacy is for GPT-1's kind of tokenizer"):
        words.with_words(train_tokenizer("wordpiece", TEXTS, 90, True), "spacy", True)
    tokenizer_files.save(train_tokenizer("gpt1_bpe", TEXTS, 90, True, words="spacy"), tmp_path / "tokenizer.json")
    monkeypatch.setitem(sys.modules, "spacy", None)  # not installed
    for attempt in (
        lambda: train_tokenizer("gpt1_bpe", TEXTS, 90, True, words="spacy"),
        lambda: tokenizer_files.load(tmp_path / "tokenizer.json"),
    ):
        with pytest.raises(UserError, match=r"pip install 'ssl_jax\[gpt1\]', or set data.tokenizer.words=bert") as told:
            attempt()
        assert "\n" not in str(told.value)


def test_the_release_has_them():
    assert [gpt1.get_config(name).data.tokenizer.words for name in ("base", "base,release")] == ["bert", "spacy"]
