"""The words of GPT-1's released code: ftfy mends a text, rules separate signs, spaCy splits it, then words are lower-cased.

`text_utils.py` in openai/finetune-transformer-lm. Its spaCy was 2.0 with the model `en`, of which only the tokenizer ran;
here it is `spacy.blank("en")`, the rules of today's version.

The library's tokenizer gets the words with spaces between them, and splits at these. A pattern with MARK in its comment
says so in tokenizer.json, so that whoever loads the file splits texts as it was trained.
"""

import importlib
import re

import tokenizers
from tokenizers import models, normalizers, pre_tokenizers

from ssl_jax.errors import UserError

WORDS = ("bert", "spacy")  # the values of data.tokenizer.words
MARK = "(?#words of ftfy and spaCy)"
_ASCII = str.maketrans({"\u2014": "-", "\u2013": "-", "\u2015": "-", "\u2026": "...", "\u00b4": "'"})
# A run of one of these is a word; the original's pattern lists a backslash, too, which Python reads as a plus.
_SIGNS = re.compile(r"([-~!\";?+,()/*\[\]{}|_])\1*")


def standardised(text):
    """Signs apart and as in ASCII, and white space as one space or one line break between spaces (`text_standardize`)."""
    text = _SIGNS.sub(r" \g<0> ", text.translate(_ASCII))
    return re.sub(r"[^\S\n]+", " ", re.sub(r"\s*\n\s*", " \n ", text)).strip()


def make_join():
    """Returns `join(text)`: the words of a text with a space between two; a line break is a word.

    Raises:
      UserError: ftfy or spaCy is not installed.
    """
    try:
        fix, blank = importlib.import_module("ftfy").fix_text, importlib.import_module("spacy").blank
    except ImportError as error:
        raise UserError(
            "data.tokenizer.words=spacy splits texts with ftfy and spaCy: pip install 'ssl_jax[gpt1]', or set "
            f"data.tokenizer.words=bert ({error})"
        ) from error
    split = blank("en")
    split.max_length = 1 << 62  # a bound for its models; the rules take any length

    def join(text):
        # spaCy keeps the space behind a line break with it.
        return " ".join(token.text.strip(" ") for token in split(standardised(fix(text))))

    return join


def split_at_words(tokenizer, lowercase):
    """Sets a plain tokenizer up for the output of `make_join`, and returns it."""
    tokenizer.normalizer = normalizers.Lowercase() if lowercase else None
    tokenizer.pre_tokenizer = pre_tokenizers.Split(tokenizers.Regex(f"{MARK} "), "removed")
    return tokenizer


def wrapped(tokenizer):
    """A tokenizer as its file says: in a WordTokenizer if its words are ftfy's and spaCy's."""
    return WordTokenizer(tokenizer) if MARK in str(tokenizer.pre_tokenizer) else tokenizer


def with_words(tokenizer, words, lowercase):
    """A tokenizer with the words of `data.tokenizer.words`.

    Raises:
      UserError: 'spacy' for another kind than GPT-1's; see `make_join`.
    """
    if words == "bert" or isinstance(tokenizer, WordTokenizer):
        return tokenizer
    if getattr(tokenizer.model, "end_of_word_suffix", None) != "</w>" or not isinstance(tokenizer.model, models.BPE):
        raise UserError("data.tokenizer.words=spacy is for GPT-1's kind of tokenizer, whose pieces end words with </w>")
    return WordTokenizer(split_at_words(tokenizer, lowercase))


class WordTokenizer:
    """A tokenizers.Tokenizer that reads texts through `make_join`; all else is the tokenizer's own."""

    def __init__(self, tokenizer):
        self.__dict__.update(_tokenizer=tokenizer, _join=make_join())

    def __getattr__(self, name):
        return getattr(self._tokenizer, name)

    def __setattr__(self, name, value):
        setattr(self._tokenizer, name, value)

    def encode(self, text, **options):
        return self._tokenizer.encode(self._join(text), **options)

    def encode_batch_fast(self, texts, **options):
        return self._tokenizer.encode_batch_fast([self._join(text) for text in texts], **options)

    def encode_batch(self, texts, **options):
        """Raises UserError: only this method is asked for the places of tokens, which are lost."""
        raise UserError(
            "data.tokenizer.words=spacy changes texts, so that a token's place in its text is unknown, which spans and "
            "labels of words need: set data.tokenizer.words=bert"
        )
