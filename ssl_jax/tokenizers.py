"""Sub-word tokenizers of the papers, run by the `tokenizers` library.

    wordpiece   BERT: BERT's normaliser (lower-casing also strips accents) and word splitter, ## marks
                pieces inside a word; [PAD] [UNK] [CLS] [SEP] [MASK] are ids 0 to 4
    unigram     ALBERT: NFKC, lower-casing, a metaspace marks pieces that start a word;
                <pad> <unk> [CLS] [SEP] [MASK] are ids 0 to 4
    byte_bpe    GPT-2: pieces of bytes, nothing is unknown; <|endoftext|> is the last id
    gpt1_bpe    GPT-1: BERT's word splitter, </w> marks pieces that end a word; <unk> is id 0

GPT-1's fine-tuning adds _start_, _delimiter_ and _classify_ behind its pieces (`add_pieces`).

The same texts give the same bytes. For that, `unigram` is trained by SentencePiece: the library's own
trainer sums floats over its words in the order of a hash table with random keys, so its pieces near the
cut differ from run to run.
"""

import collections
import contextlib
import dataclasses
import functools
import hashlib
import io
import itertools
import json
import os
import re
import sys
from typing import NamedTuple

import numpy as np
import sentencepiece
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from ssl_jax.errors import UserError, check_choice
from ssl_jax.files import read_text, replacing
from ssl_jax.options import BOOL, TEXT, WIDEST, one_of, option, several, whole

# Characters beyond this share of the text are unknown; a rare character is not worth an embedding.
COVERAGE = 0.9999

# Longer words are left out of the training: the library's time grows with the square of a word's length.
LONGEST_WORD = 2000  # letters
LONGEST_UNIGRAM_WORD = 4192  # bytes of UTF-8; SentencePiece itself leaves out longer ones

# A longer word covers all of some span that starts at a multiple of this.
_SPAN = LONGEST_WORD // 2
# Neither BERT's nor GPT-2's splitter has words that reach across one of these.
_SEPARATORS = " \\t\\r\\n" + re.escape(
    "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~\u2014\u2018\u2019\u201c\u201d\u2026"
    "\u3001\u3002\u300c\u300d\uff01\uff08\uff09\uff0c\uff1a\uff1b\uff1f"
)
_LETTERS = re.compile(f"[^{_SEPARATORS}]{{{_SPAN}}}")
# GPT-2's words are also lines of signs and blanks.
_SIGNS_OR_BLANKS = re.compile(rf"(?:[^\w\s]|_){{{_SPAN}}}|\s{{{_SPAN}}}")

# Letters of many scripts, signs and a few that hardly any vocabulary has: what cannot encode this encodes no text.
_PROBE = "Abc d\u00e9f, 12.5% \u4e2d\u6587 \u0434\u043e\u043c \u2603 \U0001f600 \u16a0\u16b1 \U00010330 \t\n x"

# Names of entries in a tokenizer's post-processor that hold roles, see `with_roles`.
_ROLE = "role:"


def _wordpiece(lowercase):
    # 200 letters: as in the original's tokenization.py; longer words are [UNK].
    tokenizer = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=200))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def _unigram(lowercase):
    tokenizer = tokenizers.Tokenizer(models.Unigram())
    # Unlike the other kinds, this one knows special tokens as pieces: none may be spelt by the text.
    spelt = normalizers.Replace(tokenizers.Regex(r"<(pad|unk)>|\[(CLS|SEP|MASK)\]"), " ")
    steps = [normalizers.NFKC()] + [normalizers.Lowercase()] * lowercase + [spelt]
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer


def _byte_bpe(lowercase):
    tokenizer = tokenizers.Tokenizer(models.BPE())
    if lowercase:
        tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _gpt1_bpe(lowercase):
    tokenizer = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.BPEDecoder(suffix="</w>")
    return tokenizer


KINDS = dict(wordpiece=_wordpiece, unigram=_unigram, byte_bpe=_byte_bpe, gpt1_bpe=_gpt1_bpe)
# What each kind has before it learns anything; of byte_bpe the 256 bytes, too.
SPECIALS = dict(
    wordpiece=("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    unigram=("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"),
    byte_bpe=("<|endoftext|>",),
    gpt1_bpe=("<unk>",),
)


def untrained(kind, lowercase, add=()):
    """A tokenizer as `train_tokenizer` makes it, with the pieces that it has whatever it is trained on."""
    tokenizer = KINDS[kind](lowercase)
    pieces = sorted(pre_tokenizers.ByteLevel.alphabet()) if kind == "byte_bpe" else []
    tokenizer.add_tokens(pieces)
    return add_pieces(add_pieces(tokenizer, SPECIALS[kind]), add)


def train_tokenizer(kind, texts, vocab_size, lowercase, add=()):
    """Learns a vocabulary of exactly `vocab_size` pieces, special tokens and those of `add` included.

    Args:
      kind: one of KINDS.
      texts: str after str; a list, or anything that can be iterated twice. Only counts of words stay
        in memory.
      vocab_size: int.
      lowercase: whether 'A' and 'a' are the same.
      add: see `add_pieces`.

    Words of more than LONGEST_WORD letters are left out; how many there were is printed to stderr.

    Raises:
      UserError: unknown kind; the texts have too few words, or too many characters, for the size.
    """
    check_choice(kind, KINDS, "kind of tokenizer")
    tokenizer, learned = KINDS[kind](lowercase), vocab_size - len(add)
    left_out = set()
    if kind != "unigram":
        patterns = (_LETTERS, _SIGNS_OR_BLANKS) if kind == "byte_bpe" else (_LETTERS,)
        texts = _Bounded(texts, tokenizer, patterns, left_out)
    if kind == "wordpiece":
        tokenizer = _train_pairs(trainers.WordPieceTrainer, tokenizer, texts, learned, SPECIALS[kind])
    elif kind == "gpt1_bpe":
        trainer = functools.partial(trainers.BpeTrainer, end_of_word_suffix="</w>")
        tokenizer = _train_pairs(trainer, tokenizer, texts, learned, SPECIALS[kind])
    elif kind == "byte_bpe":
        # One less: GPT-2 has <|endoftext|> last.
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=learned - 1, initial_alphabet=alphabet, show_progress=False
        )
        tokenizer.train_from_iterator(texts, trainer)
        add_pieces(tokenizer, SPECIALS[kind])
    else:
        _train_unigram(tokenizer, texts, vocab_size, len(add), left_out)
    if left_out:
        print(
            f"left out of the tokenizer's training: {len(left_out):,} word{'s' * (len(left_out) > 1)} of more than "
            + (f"{LONGEST_UNIGRAM_WORD:,} bytes" if kind == "unigram" else f"{LONGEST_WORD:,} letters"),
            file=sys.stderr,
        )
    add_pieces(tokenizer, add)
    _require_size(kind, vocab_size, tokenizer.get_vocab_size())
    return for_plain_text(tokenizer)


class _Bounded:
    """Texts without the words that are too long for a trainer; can be iterated again."""

    def __init__(self, texts, tokenizer, patterns, left_out):
        """Looks where one of `patterns` covers a span of a text. `left_out`, a set, gets a hash of each long word."""
        self.texts, self.patterns, self.left_out = texts, patterns, left_out
        # Asked for in advance: the library locks a tokenizer that it trains.
        self.normalizer, self.pre_tokenizer = tokenizer.normalizer, tokenizer.pre_tokenizer

    def __iter__(self):
        for text in self.texts:
            starts = range(0, len(text) - LONGEST_WORD + _SPAN, _SPAN)
            if any(pattern.match(text, start) for start in starts for pattern in self.patterns):
                yield from self._without_long_words(text)
            else:
                yield text

    def _without_long_words(self, text):
        """Yields what stands before, between and behind the long words of a text, normalised."""
        if self.normalizer is not None:
            text = self.normalizer.normalize_str(text)
        start = 0
        for _, (first, end) in self.pre_tokenizer.pre_tokenize_str(text):
            if end - first > LONGEST_WORD:
                self.left_out.add(hash(text[first:end]))
                yield text[start:first]
                start = end
        yield text[start:]


def add_pieces(tokenizer, pieces):
    """Adds special tokens to a tokenizer, with the ids after its last one, and returns it.

    A piece that it has already keeps its id, so that adding the same ones again changes nothing.
    """
    tokenizer.add_special_tokens(list(pieces))
    return tokenizer


def _require_size(kind, asked, size):
    if size != asked:
        raise UserError(
            f"a {kind} vocabulary of {asked} is out of reach: this corpus gives "
            f"{'at least' if size > asked else 'at most'} {size} pieces; set "
            f"--config.data.tokenizer.vocab_size={size}"
        )


def _train_unigram(tokenizer, texts, vocab_size, added, left_out):
    """Gives the tokenizer SentencePiece's pieces and scores, trained on our words: all but so many of `vocab_size`.

    Words come normalised and counted, so that memory holds no text; one thread, so that sums of floats
    have one order. `left_out`, a set, gets a hash of each word that is too long.
    """
    counts = collections.Counter()
    normalizer = tokenizer.normalizer
    for text in texts:
        counts.update(normalizer.normalize_str(text).split())
    for word in [word for word in counts if len(word.encode()) > LONGEST_UNIGRAM_WORD]:
        left_out.add(hash(word))
        del counts[word]
    trained = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(f"{word}\t{count}" for word, count in counts.items()),
            input_format="tsv",
            model_writer=trained,
            model_type="unigram",
            vocab_size=vocab_size - added,
            hard_vocab_limit=False,  # fewer pieces are our caller's matter
            num_threads=1,
            normalization_rule_name="identity",
            character_coverage=0.99995,  # google-research/albert, README's command
            pad_id=0,
            pad_piece="<pad>",
            unk_id=1,
            bos_id=-1,
            eos_id=-1,
            control_symbols=["[CLS]", "[SEP]", "[MASK]"],
            minloglevel=2,
        )
    except RuntimeError as error:
        least = re.search(r"smaller than required_chars\. \d+ vs (\d+)", str(error))
        if least:
            _require_size("unigram", vocab_size, int(least[1]) + added)
        raise UserError(f"this corpus gives no unigram vocabulary (too few words?): {error}") from error
    model = sentencepiece.SentencePieceProcessor(model_proto=trained.getvalue())
    pieces = [(model.id_to_piece(number), model.get_score(number)) for number in range(len(model))]
    tokenizer.model = models.Unigram(pieces, unk_id=1)
    tokenizer.add_special_tokens([piece for piece, _ in pieces[:5]])


def _train_pairs(make_trainer, tokenizer, texts, vocab_size, specials):
    """Trains a tokenizer that merges pairs and marks the beginnings or ends of words.

    The library numbers marked characters (##a, a</w>) in the order in which a hash table with random
    keys holds the words, and equal counts are resolved by number: two runs differ. So a first
    training, without merges, finds the characters, and the second gets them as if they were special
    tokens, in sorted order.
    """
    counts = collections.Counter()
    normalizer = tokenizer.normalizer  # asked for in advance: the library locks a tokenizer that it trains

    def counted():
        for text in texts:
            counts.update(normalizer.normalize_str(text))
            yield text

    tokenizer.train_from_iterator(counted(), make_trainer(vocab_size=0, show_progress=False))
    pieces = tokenizer.get_vocab()
    characters = sorted(pieces.keys() & counts.keys(), key=lambda character: (-counts[character], character))
    total = sum(counts[character] for character in characters)
    before = itertools.accumulate((counts[character] for character in characters), initial=0)
    kept = {character for character, seen in zip(characters, before) if seen < COVERAGE * total}
    marked = {piece for piece in pieces if piece.removeprefix("##").removesuffix("</w>") in kept} - kept
    first = [*specials, *sorted(kept), *sorted(marked)]
    trainer = make_trainer(
        vocab_size=vocab_size,
        special_tokens=first,
        initial_alphabet=sorted(kept),
        limit_alphabet=len(kept),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    description = json.loads(tokenizer.to_str())
    description["added_tokens"] = description["added_tokens"][: len(specials)]
    return tokenizers.Tokenizer.from_str(json.dumps(description))


def for_plain_text(tokenizer):
    """Sets a tokenizer, anybody's, as all of ours are, and returns it.

    A '[SEP]' written in the text is text: only we place special tokens.
    """
    tokenizer.encode_special_tokens = True
    # Files of others may ask for these; cutting and filling is the batches' work.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if isinstance(tokenizer.model, models.Unigram):
        _keep_special_pieces_apart(tokenizer)
    return tokenizer


def _keep_special_pieces_apart(tokenizer):
    """Cuts words behind the first letter of a special token's name, unless no text can spell one already.

    A unigram model has special tokens among its pieces, the likeliest of all; SentencePiece itself does not
    look for them in text.
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


def save(tokenizer, path):
    """Writes `path` (tokenizer.json) at once or not at all."""
    with replacing(path) as file:
        file.write(tokenizer.to_str(pretty=True).encode())


def load(path):
    """Reads a tokenizer.json, ours or anybody's, or the tokenizer of a model's folder.

    Raises:
      UserError: no such file, or not a tokenizer that can be used; see `interop.tokenizer_files.read`.
    """
    if os.path.isdir(path):
        from ssl_jax.interop import tokenizer_files  # it imports this module

        return tokenizer_files.read(path)
    if not os.path.isfile(path):
        raise UserError(f"no tokenizer file {path}; scripts/train_tokenizer.py makes one")
    with refused(f"{path} is not a tokenizer.json"):
        tokenizer = tokenizers.Tokenizer.from_str(read_text(path))
    return checked(tokenizer, path)


@contextlib.contextmanager
def refused(where):
    """Turns what the `tokenizers` library raises in the block into a UserError: `where` and the first line of it."""
    try:
        yield
    except (UserError, KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # the library raises nothing narrower, and its panics are no Exception
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{where}: {reason if len(reason) <= 200 else reason[:200] + '...'}") from error


def checked(tokenizer, where):
    """A tokenizer of others, set `for_plain_text`, after all that can be known of it before there is text.

    Raises:
      UserError: its ids have gaps, depend on chance, or it cannot encode; `where` says whose it is.
    """
    pieces(tokenizer, f"{where}: the tokenizer")
    # SentencePiece's and BPE's ways of cutting a word in another way each time.
    chance = {name: getattr(tokenizer.model, name, None) for name in ("dropout", "alpha", "nbest_size")}
    for name, value in chance.items():
        if value:
            raise UserError(f"{where}: {name}={value} of its model makes ids depend on chance: set it to null")
    with refused(f"{where}: the tokenizer cannot encode text"):
        tokenizer = for_plain_text(tokenizer)
        tokenizer.encode(_PROBE, add_special_tokens=False)
    return tokenizer


def fingerprint(path):
    """SHA-256 of a tokenizer file, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def identity(tokenizer):
    """SHA-256, hexadecimal, of what decides the ids of a text.

    Equal for a tokenizer and its copy from any file that says the same; where special tokens go, how ids
    become text and how batches are filled does not count.
    """
    description = json.loads(tokenizer.to_str())
    model = description["model"]
    decisive = dict(
        pieces=tokenizer.get_vocab(with_added_tokens=True),
        # A special token's place, among the pieces or added to them, is told by its id alone; what is off is left out.
        model={key: value for key, value in model.items() if key != "vocab" and value not in (None, False, "")},
        # Scores are float32 by nature; the library's reader of JSON may miss a double's last bit.
        scores=[float(np.float32(score)) for _, score in model["vocab"]] if model["type"] == "Unigram" else None,
        # Looked for in text before anything else.
        added=[token for token in description["added_tokens"] if not token["special"]],
        normalizer=description["normalizer"],
        pre_tokenizer=description["pre_tokenizer"],
    )
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def keeps_spaces(tokenizer):
    """Whether decoding gives every space and line break back: byte level, and no space put in front."""
    pre_tokenizer = json.loads(tokenizer.to_str())["pre_tokenizer"] or {}
    steps = pre_tokenizer.get("pretokenizers", [pre_tokenizer])
    return any(step.get("type") == "ByteLevel" and not step["add_prefix_space"] for step in steps)


def with_roles(tokenizer, roles):
    """Stores what some tokens are for in a tokenizer, whose file then says so, and returns it.

    `vocabulary` believes this before it goes by names. The place is the library's post-processor, whose table of
    special tokens may hold more than its template puts around a text: text is encoded as before.

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


def roles(tokenizer):
    """What `with_roles` has stored: name of a field of Vocabulary -> list of ids."""
    if tokenizer.post_processor is None:
        return {}
    state = json.loads(tokenizer.post_processor.__getstate__())
    return {
        name.removeprefix(_ROLE): entry["ids"]
        for processor in state.get("processors", [state])
        for name, entry in processor.get("special_tokens", {}).items()
        if name.startswith(_ROLE)
    }


class Vocabulary(NamedTuple):
    """What batches and masking must know of a tokenizer.

    Attributes:
      size: number of ids.
      pad, unknown, start, separator, mask: ids of [PAD], [UNK], [CLS], [SEP], [MASK], whatever they
        are called here (GPT-1's _start_ and _delimiter_, or as `with_roles` was told); None where the tokenizer has
        no such token.
      special: bool [size]; pad, start, separator, extract, mask and end of text: never chosen for prediction.
        Unknown words may be chosen, as in BERT's create_pretraining_data.py.
      starts_word: bool [size]; False for pieces that continue a word. All True where single pieces do
        not tell (GPT-1 marks the ends of words).
      extract: id of what ends a row, whose vector a causal trunk's heads read: GPT-1's _classify_, in other
        tokenizers the separator.
      end_of_text: id of what ends a document in running text, <|endoftext|> or [SEP]; None where there is
        neither (GPT-1).
      start_of_text: id of what running text begins with; `end_of_text` unless `with_roles` was told another.
      ends: ids that end a text that the model writes; `end_of_text` unless `with_roles` was told others.
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

    @property
    def filler(self):
        """The id in the place of padding: `pad`, or where there is none 0, as in GPT-1's released code (train.py).

        Padding is masked, so that no real token sees which id it has.
        """
        return 0 if self.pad is None else self.pad


def pieces(tokenizer, what="the tokenizer"):
    """Pieces by id, those that were added included: list of str.

    Raises:
      UserError: the ids are not 0, 1, 2, ... without gaps; `what` has them.
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


def vocabulary(tokenizer):
    """The Vocabulary of a tokenizer: roles as `with_roles` stored them, or else by the names that papers use.

    Raises:
      UserError: its ids are not 0, 1, 2, ... without gaps.
    """
    by_id, stored, model = pieces(tokenizer), roles(tokenizer), tokenizer.model
    ids, size = {piece: number for number, piece in enumerate(by_id)}, len(by_id)

    def role(name, *names):
        if name in stored:
            return stored[name][0]
        return next((ids[name] for name in names if name in ids), None)

    pad, start, separator = role("pad", "[PAD]", "<pad>"), role("start", "[CLS]", "_start_"), role("separator", "[SEP]", "_delimiter_")
    mask, end_of_text = role("mask", "[MASK]", "<mask>"), role("end_of_text", "<|endoftext|>", "[SEP]")
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
    elif isinstance(model, models.BPE) and not model.end_of_word_suffix:
        # A space belongs to the next word, and so does a line break; byte level writes them as G and C with a dot.
        starts = [piece.startswith(("\u0120", "\u010a", "\u2581")) for piece in by_id]
    else:
        starts = [True] * size
    return Vocabulary(
        size=size,
        pad=pad,
        unknown=role("unknown", getattr(model, "unk_token", None), "[UNK]", "<unk>"),
        start=start,
        separator=separator,
        mask=mask,
        special=special,
        starts_word=np.array(starts) | special,
        extract=extract,
        end_of_text=end_of_text,
        start_of_text=end_of_text if start_of_text is None else start_of_text,
        ends=tuple(stored.get("ends", [end_of_text] if end_of_text is not None else [])),
    )


@dataclasses.dataclass(frozen=True)
class TokenizerOptions:
    """The tokenizer: one that is there, or one trained on the corpus."""

    BLOCK = "data.tokenizer"

    path: str = option(
        "", TEXT, "a tokenizer.json, or a model's folder, to use as it is; empty: train one on the corpus"
    )
    kind: str = option(
        "wordpiece", one_of(*KINDS), "what is trained: 'wordpiece', 'unigram', 'byte_bpe' or 'gpt1_bpe'"
    )
    vocab_size: int = option(
        30522, whole(1, WIDEST), "how many pieces it has, and the model's table has rows; of `path` what is there"
    )
    lowercase: bool = option(True, BOOL, "whether 'A' and 'a' are the same")
    add: tuple = option((), several(str), "special tokens put at its end, which vocab_size counts")
