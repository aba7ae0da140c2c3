"""Checks and settings that every tokenizer passes before use: ids are exact, and special tokens in text stay text."""

import contextlib
import json
import re

import tokenizers
from tokenizers import models, pre_tokenizers

from ssl_jax.errors import UserError
from ssl_jax.tokenization.vocabulary import pieces_by_id

# Letters of many scripts, signs, and a few that hardly any vocabulary has: what cannot encode this encodes no text.
_PROBE = "Abc d\u00e9f, 12.5% \u4e2d\u6587 \u0434\u043e\u043c \u2603 \U0001f600 \u16a0\u16b1 \U00010330 \t\n x"


def checked(tokenizer, where):
    """A tokenizer from elsewhere, set `for_plain_text`, after every check that needs no text.

    Raises:
      UserError: its ids have gaps or depend on chance, or it cannot encode; `where` says which tokenizer it is.
    """
    pieces_by_id(tokenizer, f"{where}: the tokenizer")
    # BPE's and SentencePiece's options that segment a word differently each time.
    chance = {name: getattr(tokenizer.model, name, None) for name in ("dropout", "alpha", "nbest_size")}
    for name, value in chance.items():
        if value:
            raise UserError(f"{where}: {name}={value} of its model makes ids depend on chance: set it to null")
    with refused(f"{where}: the tokenizer cannot encode text"):
        tokenizer = for_plain_text(tokenizer)
        tokenizer.encode(_PROBE, add_special_tokens=False)
    return tokenizer


def for_plain_text(tokenizer):
    """Sets any tokenizer up as ours are, and returns it.

    A '[SEP]' in the text is text: only our code places special tokens.
    """
    tokenizer.encode_special_tokens = True
    # Files from elsewhere may enable these; truncation and padding are done where batches are built.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if isinstance(tokenizer.model, models.Unigram):
        _keep_special_pieces_apart(tokenizer)
    return tokenizer


def _keep_special_pieces_apart(tokenizer):
    """Splits words after the first letter of a special token's name, unless text already cannot spell one.

    A unigram model has special tokens among its pieces, and they are the likeliest of all; SentencePiece itself does
    not look for them in text.
    """
    special = [token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special]
    unknown = json.loads(tokenizer.to_str())["model"]["unk_id"]
    spelt = (
        tokenizer.token_to_id(name) in tokenizer.encode(name, add_special_tokens=False).ids
        for name in special
        if tokenizer.token_to_id(name) != unknown
    )
    if any(spelt):
        names = "|".join(f"{re.escape(name[0])}(?={re.escape(name[1:])})" for name in special)
        cut = pre_tokenizers.Split(tokenizers.Regex(names), "merged_with_previous")
        steps = [tokenizer.pre_tokenizer] * (tokenizer.pre_tokenizer is not None)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*steps, cut])


@contextlib.contextmanager
def refused(where):
    """Turns whatever the `tokenizers` library raises in the block into a UserError: `where` and its first line."""
    try:
        yield
    except (UserError, KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # the library raises nothing narrower, and its panics are not Exceptions
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{where}: {reason if len(reason) <= 200 else reason[:200] + '...'}") from error
