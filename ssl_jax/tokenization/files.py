"""Tokenizer files: a tokenizer.json, or a model's folder. `load` is the one place that reads either."""

import hashlib
import os

import tokenizers

from ssl_jax.errors import UserError
from ssl_jax.files import read_text, replacing
from ssl_jax.tokenization import folders, words
from ssl_jax.tokenization.checks import checked, refused
from ssl_jax.tokenization.vocabulary import add_pieces


def load(path):
    """Reads a tokenizer.json, from here or elsewhere, or the tokenizer of a model's folder.

    Raises:
      UserError: there is no such file, or no tokenizer that can be used; for folders see `folders.read`.
    """
    if os.path.isdir(path):
        return folders.read(path)
    if not os.path.isfile(path):
        raise UserError(f"no tokenizer file {path}; scripts/train_tokenizer.py trains one")
    with refused(f"{path} is not a tokenizer.json"):
        tokenizer = tokenizers.Tokenizer.from_str(read_text(path))
    return words.wrapped(checked(tokenizer, path))


def load_extended(options):
    """The tokenizer at `options.path`, of TokenizerOptions, with the words and added pieces that they ask for."""
    return add_pieces(words.with_words(load(options.path), options.words, options.lowercase), options.add)


def save(tokenizer, path):
    """Writes `path` (tokenizer.json) atomically."""
    with replacing(path) as file:
        file.write(tokenizer.to_str(pretty=True).encode())


def fingerprint(path):
    """SHA-256 of a tokenizer file, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
