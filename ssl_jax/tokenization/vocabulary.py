"""What other code needs to know about a tokenizer: its pieces, the roles of its special tokens, its identity."""

import hashlib
import json
import string
from typing import NamedTuple

import numpy as np
from tokenizers import models, processors

from ssl_jax.errors import UserError

# Of English and of its punctuation, as ALBERT's release lists them: without ' < = >, which it treats as foreign letters.
LETTERS, MARKS = {*string.ascii_lowercase}, {*string.punctuation} - {*"'<=>"}
# Names of entries in a tokenizer's post-processor that hold roles, see `with_roles`.
_ROLE = "role:"


class Vocabulary(NamedTuple):
    """Ids and roles, as batches and masking need them.

    Attributes:
      size: number of ids.
      pad, unknown, start, separator, mask: ids of [PAD], [UNK], [CLS], [SEP], [MASK], whatever this tokenizer calls
        them (GPT-1 has _start_ and _delimiter_; `with_roles` may assign others); None if there is no such token.
      special: bool [size]; pad, start, separator, extract, mask and end of text: never chosen for prediction.
        Unknown words may be chosen, as in BERT's create_pretraining_data.py.
      starts_word: bool [size]; False for pieces that continue a word. All True if single pieces do not show this
        (GPT-1 marks the ends of words).
      extract: id of the token that ends a row and whose vector the heads of a causal trunk read: GPT-1's _classify_, in
        other tokenizers the separator.
      end_of_text: id that ends a document in running text, <|endoftext|> or [SEP]; None if there is neither (GPT-1).
      start_of_text: id that begins running text; `end_of_text` unless `with_roles` assigned another.
      ends: ids that end generated text; `end_of_text` unless `with_roles` assigned others.
      starts_split: bool [size]; as `starts_word`, but of a unigram tokenizer what begins a word in ALBERT's release
        (create_pretraining_data.py, _is_start_piece_sp): also a single one of MARKS, and pieces with anything that is
        neither a to z nor one of MARKS.
    """

    size: int
    pad: int | None
    unknown: int | None
    start: int | None
    separator: int | None
    mask: int | None
    special: np.ndarray
    starts_word: np.ndarray
    extract: int | None
    end_of_text: int | None = None
    start_of_text: int | None = None
    ends: tuple[int, ...] = ()
    starts_split: np.ndarray | None = None

    @property
    def filler(self):
        """The id written at padded positions: `pad`, or 0 if there is none, as in GPT-1's released code (train.py).

        Padding is masked, so no real token sees this id.
        """
        return 0 if self.pad is None else self.pad


def vocabulary_of(tokenizer):
    """The Vocabulary of a tokenizer: roles as `with_roles` stored them, otherwise by the names that papers use.

    Raises:
      UserError: its ids are not 0, 1, 2, ... without gaps.
    """
    by_id, stored, model = pieces_by_id(tokenizer), stored_roles(tokenizer), tokenizer.model
    ids, size = {piece: number for number, piece in enumerate(by_id)}, len(by_id)

    def role(name, *names):
        if name in stored:
            return stored[name][0]
        return next((ids[name] for name in names if name in ids), None)

    pad = role("pad", "[PAD]", "<pad>")
    start = role("start", "[CLS]", "_start_")
    separator = role("separator", "[SEP]", "_delimiter_")
    mask = role("mask", "[MASK]", "<mask>")
    end_of_text = role("end_of_text", "<|endoftext|>", "[SEP]")
    if end_of_text is None and "separator" in stored:
        end_of_text = separator
    extract = role("extract", "_classify_")
    extract = separator if extract is None else extract
    start_of_text = role("start_of_text")
    special = np.zeros(size, bool)
    known = (pad, start, separator, extract, mask, end_of_text, start_of_text)
    special[[number for number in known if number is not None]] = True
    prefix = getattr(model, "continuing_subword_prefix", None)  # of BPE and WordPiece
    if prefix:
        starts = [not piece.startswith(prefix) for piece in by_id]
    elif isinstance(model, models.Unigram):
        starts = [piece.startswith("\u2581") for piece in by_id]
        # \u2581 is none of these, nor is the < of <unk>.
        split = [piece in MARKS or not {*piece.lower()} <= LETTERS | MARKS for piece in by_id]
    elif isinstance(model, models.BPE) and not model.end_of_word_suffix:
        # A space belongs to the next word, and so does a line break; byte level writes them as G and C with a dot.
        starts = [piece.startswith(("\u0120", "\u010a", "\u2581")) for piece in by_id]
    else:
        starts = [True] * size
    if not isinstance(model, models.Unigram):
        split = starts
    return Vocabulary(
        size=size,
        pad=pad,
        unknown=role("unknown", getattr(model, "unk_token", None), "[UNK]", "<unk>"),
        start=start,
        separator=separator,
        mask=mask,
        special=special,
        starts_word=np.array(starts) | special,
        starts_split=np.array(split) | special,
        extract=extract,
        end_of_text=end_of_text,
        start_of_text=end_of_text if start_of_text is None else start_of_text,
        ends=tuple(stored.get("ends", [end_of_text] if end_of_text is not None else [])),
    )


def pieces_by_id(tokenizer, what="the tokenizer"):
    """Pieces in the order of their ids, added tokens included: list of str.

    Raises:
      UserError: the ids are not 0, 1, 2, ... without gaps; the message names the tokenizer as `what`.
    """
    ids = tokenizer.get_vocab(with_added_tokens=True)
    if not ids:
        raise UserError(f"{what} has no pieces")
    by_id = sorted(ids, key=ids.get)
    if [ids[piece] for piece in by_id] != list(range(len(ids))):
        raise UserError(
            f"{what}'s {len(ids)} ids have gaps or repeat: they are not 0 to {len(ids) - 1} (the largest is "
            f"{max(ids.values())})"
        )
    return by_id


def add_pieces(tokenizer, pieces):
    """Appends special tokens to a tokenizer, with ids after its last one, and returns it.

    A piece that is already there keeps its id, so adding the same pieces twice changes nothing.
    """
    tokenizer.add_special_tokens(list(pieces))
    return tokenizer


def with_roles(tokenizer, roles):
    """Stores the roles of tokens in a tokenizer, so that its file has them too, and returns it.

    `vocabulary_of` prefers these to names. They are kept in the library's post-processor: its table of special tokens
    may hold more than its template puts around a text, so text is encoded as before.

    Args:
      tokenizer: tokenizers.Tokenizer.
      roles: name of a field of Vocabulary -> list of ids; {} stores nothing.
    """
    if not roles:
        return tokenizer
    special = [
        dict(id=f"{_ROLE}{role}", ids=ids, tokens=[tokenizer.id_to_token(number) for number in ids])
        for role, ids in roles.items()
    ]
    before = tokenizer.post_processor
    if isinstance(before, processors.TemplateProcessing):
        state = json.loads(before.__getstate__())
        state["special_tokens"] |= {entry["id"]: entry for entry in special}
        before.__setstate__(json.dumps(state).encode())
        tokenizer.post_processor = before
    else:
        template = processors.TemplateProcessing(single="$A", pair="$A $B:1", special_tokens=special)
        tokenizer.post_processor = template if before is None else processors.Sequence([before, template])
    return tokenizer


def stored_roles(tokenizer):
    """The roles that `with_roles` stored: name of a field of Vocabulary -> list of ids."""
    if tokenizer.post_processor is None:
        return {}
    state = json.loads(tokenizer.post_processor.__getstate__())
    return {
        name.removeprefix(_ROLE): entry["ids"]
        for processor in state.get("processors", [state])
        for name, entry in processor.get("special_tokens", {}).items()
        if name.startswith(_ROLE)
    }


def identity(tokenizer):
    """SHA-256, hexadecimal, of everything that decides which ids a text has.

    Equal for a tokenizer and any copy of it in another file format. Where special tokens go, how ids become text and
    how batches are padded do not count.
    """
    description = json.loads(tokenizer.to_str())
    model = description["model"]
    decisive = dict(
        pieces=tokenizer.get_vocab(with_added_tokens=True),
        # A special token counts by its id, whether it is one of the model's pieces or was added; options that are
        # off may be absent.
        model={key: value for key, value in model.items() if key != "vocab" and value not in (None, False, "")},
        # Scores are float32 by nature; the library's JSON reader may lose a double's last bit.
        scores=[float(np.float32(score)) for _, score in model["vocab"]] if model["type"] == "Unigram" else None,
        # Matched in text before anything else.
        added=[token for token in description["added_tokens"] if not token["special"]],
        normalizer=description["normalizer"],
        pre_tokenizer=description["pre_tokenizer"],
    )
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def keeps_spaces(tokenizer):
    """Whether decoding restores every space and line break: byte level, without a space put in front."""
    pre_tokenizer = json.loads(tokenizer.to_str())["pre_tokenizer"] or {}
    steps = pre_tokenizer.get("pretokenizers", [pre_tokenizer])
    return any(step.get("type") == "ByteLevel" and not step["add_prefix_space"] for step in steps)
