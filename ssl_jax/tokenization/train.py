"""Trains the papers' subword tokenizers with the `tokenizers` library. The same texts give the same bytes.

    wordpiece   BERT: BERT's normaliser (lower-casing also strips accents) and word splitter; ## marks pieces inside a
                word; [PAD] [UNK] [CLS] [SEP] [MASK] are ids 0 to 4
    unigram     ALBERT: NFKC, lower-casing; a metaspace marks pieces that start a word; <pad> <unk> [CLS] [SEP] [MASK]
                are ids 0 to 4
    byte_bpe    GPT-2: pieces of bytes, so nothing is unknown; <|endoftext|> is the last id
    gpt1_bpe    GPT-1: BERT's word splitter, or its release's (words.py); </w> marks pieces that end a word; <unk> is id 0
    words       decaNLP: whole words, and punctuation one mark at a time with the spaces around it, so that a text can be
                put together again; the most frequent words come first; [PAD] [UNK] [CLS] [SEP] are ids 0 to 3

GPT-1's fine-tuning appends _start_, _delimiter_ and _classify_ to the pieces (`vocabulary.add_pieces`).

SentencePiece trains `unigram`: the library's own trainer sums floats over words in the order of a hash table with
random keys, so that its pieces near the cut-off differ from run to run.
"""

import collections
import dataclasses
import functools
import io
import itertools
import json
import re
import sys

import sentencepiece
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from ssl_jax.errors import UserError, check_choice
from ssl_jax.options import BOOL, TEXT, WIDEST, one_of, option, several, whole
from ssl_jax.tokenization.checks import for_plain_text
from ssl_jax.tokenization.vocabulary import add_pieces
from ssl_jax.tokenization.words import WORDS, WordTokenizer, make_join, split_at_words

# Characters beyond this share of the text are unknown; a rare character is not worth an embedding.
COVERAGE = 0.9999

# Longer words are left out of training: the library's time grows with the square of a word's length.
LONGEST_WORD = 2000  # letters
LONGEST_UNIGRAM_WORD = 4192  # bytes of UTF-8; SentencePiece's own limit

# A longer word covers all of at least one span of this length that starts at a multiple of it.
_SPAN = LONGEST_WORD // 2
# Neither BERT's nor GPT-2's splitter lets a word contain one of these.
_SEPARATORS = " \\t\\r\\n" + re.escape(
    "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~\u2014\u2018\u2019\u201c\u201d\u2026"
    "\u3001\u3002\u300c\u300d\uff01\uff08\uff09\uff0c\uff1a\uff1b\uff1f"
)
_LETTERS = re.compile(f"[^{_SEPARATORS}]{{{_SPAN}}}")
# GPT-2's words may also be runs of signs or of blanks.
_SIGNS_OR_BLANKS = re.compile(rf"(?:[^\w\s]|_){{{_SPAN}}}|\s{{{_SPAN}}}")


def _wordpiece(lowercase):
    # 200 letters: as in the original's tokenization.py; longer words are [UNK].
    tokenizer = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=200))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def _unigram(lowercase):
    tokenizer = tokenizers.Tokenizer(models.Unigram())
    # Unlike in the other kinds, special tokens are pieces of the model: text must not be able to spell one.
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


def _words(lowercase):
    """As revtok, decaNLP's splitter: words have a space between them unless a mark says otherwise."""
    tokenizer = tokenizers.Tokenizer(models.WordLevel(unk_token="[UNK]"))
    spaces = [normalizers.Replace(tokenizers.Regex(r"\s+"), " "), normalizers.Strip()]
    tokenizer.normalizer = normalizers.Sequence([*spaces, *[normalizers.Lowercase()] * lowercase])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(r"(?<=\w) (?=\w)"), "removed"),
            pre_tokenizers.Metaspace(prepend_scheme="never", split=False),
            pre_tokenizers.Split(tokenizers.Regex(r"\u2581?[^\w\u2581]\u2581?"), "isolated"),
        ]
    )
    # "a", ",\u2581", "b" are joined to "a ,\u2581 b", then to "a,\u2581b", then to "a, b".
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.WordPiece(prefix="\0", cleanup=False),
            decoders.Fuse(),
            decoders.Replace(tokenizers.Regex(r"(?<=\W) | (?=\W)"), ""),
            decoders.Replace("\u2581", " "),
        ]
    )
    return tokenizer


KINDS = dict(wordpiece=_wordpiece, unigram=_unigram, byte_bpe=_byte_bpe, gpt1_bpe=_gpt1_bpe, words=_words)
# The special tokens of each kind; byte_bpe also starts with the 256 bytes.
SPECIALS = dict(
    wordpiece=("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    unigram=("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"),
    byte_bpe=("<|endoftext|>",),
    gpt1_bpe=("<unk>",),
    words=("[PAD]", "[UNK]", "[CLS]", "[SEP]"),
)


@dataclasses.dataclass(frozen=True)
class TokenizerOptions:
    """The tokenizer: one that is there, or one trained on the corpus."""

    BLOCK = "data.tokenizer"

    path: str = option(
        "", TEXT, "a tokenizer.json, or a model's folder, to use as it is; empty: train one on the corpus"
    )
    kind: str = option(
        "wordpiece", one_of(*KINDS), "what is trained: 'wordpiece', 'unigram', 'byte_bpe', 'gpt1_bpe' or 'words'"
    )
    vocab_size: int = option(
        30522, whole(1, WIDEST), "how many pieces it has, and the model's table has rows; of `path` what is there"
    )
    words: str = option(
        "bert",
        one_of(*WORDS),
        "of 'gpt1_bpe': BERT's splitter, or GPT-1's release's, 'spacy', which ssl_jax[gpt1] installs",
    )
    lowercase: bool = option(True, BOOL, "whether 'A' and 'a' are the same")
    add: tuple = option((), several(str), "special tokens put at its end, which vocab_size counts")


def untrained(kind, lowercase, add=()):
    """A tokenizer as from `train_tokenizer`, but with only the pieces that it has whatever the training text."""
    tokenizer = KINDS[kind](lowercase)
    pieces = sorted(pre_tokenizers.ByteLevel.alphabet()) if kind == "byte_bpe" else []
    tokenizer.add_tokens(pieces)
    return add_pieces(add_pieces(tokenizer, SPECIALS[kind]), add)


def train_tokenizer(kind, texts, vocab_size, lowercase, add=(), words="bert"):
    """Learns a vocabulary of exactly `vocab_size` pieces, including special tokens and those of `add`; of words at most.

    Args:
      kind: one of KINDS.
      texts: strings; a list, or anything that can be iterated twice. Only word counts stay in memory.
      vocab_size: int.
      lowercase: whether 'A' and 'a' are the same.
      add: special tokens to append, see `vocabulary.add_pieces`.
      words: 'bert', or 'spacy' for the kind gpt1_bpe, see words.py.

    Words of more than LONGEST_WORD letters (unigram: LONGEST_UNIGRAM_WORD bytes) are left out; their number is printed
    to stderr.

    Raises:
      UserError: unknown kind; the texts have too few words, or too many characters, for this size.
    """
    check_choice(kind, KINDS, "kind of tokenizer")
    tokenizer, learned = KINDS[kind](lowercase), vocab_size - len(add)
    left_out = set()
    if words == "spacy":
        if kind != "gpt1_bpe":
            raise UserError(f"data.tokenizer.words=spacy is for data.tokenizer.kind=gpt1_bpe, not {kind}")
        tokenizer, texts = split_at_words(tokenizer, lowercase), _Joined(texts)
    if kind != "unigram":
        patterns = (_LETTERS, _SIGNS_OR_BLANKS) if kind == "byte_bpe" else (_LETTERS,)
        texts = _Bounded(texts, tokenizer, patterns, left_out)
    if kind == "wordpiece":
        tokenizer = _train_pairs(trainers.WordPieceTrainer, tokenizer, texts, learned, SPECIALS[kind])
    elif kind == "gpt1_bpe":
        trainer = functools.partial(trainers.BpeTrainer, end_of_word_suffix="</w>")
        tokenizer = _train_pairs(trainer, tokenizer, texts, learned, SPECIALS[kind])
    elif kind == "words":
        trainer = trainers.WordLevelTrainer(vocab_size=learned, special_tokens=[*SPECIALS[kind]], show_progress=False)
        tokenizer.train_from_iterator(texts, trainer)
    elif kind == "byte_bpe":
        # One fewer, because <|endoftext|> comes last in GPT-2.
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=learned - 1, initial_alphabet=alphabet, show_progress=False)
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
    if kind != "words" or tokenizer.get_vocab_size() == len(SPECIALS[kind]):
        _require_size(kind, vocab_size, tokenizer.get_vocab_size())
    tokenizer = for_plain_text(tokenizer)
    return WordTokenizer(tokenizer) if words == "spacy" else tokenizer


class _Joined:
    """Texts as `words.make_join` leaves them; can be iterated repeatedly."""

    def __init__(self, texts):
        self.texts, self.join = texts, make_join()

    def __iter__(self):
        return map(self.join, self.texts)


class _Bounded:
    """Texts without the words that are too long for a trainer; can be iterated repeatedly."""

    def __init__(self, texts, tokenizer, patterns, left_out):
        """Looks for long words where a span matches one of `patterns`, and adds a hash of each to `left_out`, a set."""
        self.texts, self.patterns, self.left_out = texts, patterns, left_out
        # Read now, because the library locks a tokenizer while it trains it.
        self.normalizer, self.pre_tokenizer = tokenizer.normalizer, tokenizer.pre_tokenizer

    def __iter__(self):
        for text in self.texts:
            starts = range(0, len(text) - LONGEST_WORD + _SPAN, _SPAN)
            if any(pattern.match(text, start) for start in starts for pattern in self.patterns):
                yield from self._without_long_words(text)
            else:
                yield text

    def _without_long_words(self, text):
        """Yields the normalised text before, between and after its long words."""
        if self.normalizer is not None:
            text = self.normalizer.normalize_str(text)
        start = 0
        for _, (first, end) in self.pre_tokenizer.pre_tokenize_str(text):
            if end - first > LONGEST_WORD:
                self.left_out.add(hash(text[first:end]))
                yield text[start:first]
                start = end
        yield text[start:]


def _require_size(kind, wanted, size):
    if size != wanted:
        raise UserError(
            f"a {kind} vocabulary of {wanted} is out of reach: this corpus gives "
            f"{'at least' if size > wanted else 'at most'} {size} pieces; set "
            f"--config.data.tokenizer.vocab_size={size}"
        )


def _train_unigram(tokenizer, texts, vocab_size, added, left_out):
    """Gives the tokenizer SentencePiece's pieces and scores: `vocab_size` less `added`.

    SentencePiece gets normalised words with counts, so memory holds no text, and one thread, so sums of floats have one
    order. Hashes of words that are too long are added to `left_out`, a set.
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
            hard_vocab_limit=False,  # the caller checks the size
            num_threads=1,
            normalization_rule_name="identity",
            character_coverage=0.99995,  # the command in google-research/albert's README
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

    The library numbers marked characters (##a, a</w>) in the order of a hash table with random keys, and breaks ties
    between equal counts by number, so two runs differ. A first training without merges therefore collects the
    characters, and a second one gets them in sorted order, as if they were special tokens.
    """
    counts = collections.Counter()
    normalizer = tokenizer.normalizer  # read now, because the library locks a tokenizer while it trains it

    def counted():
        for text in texts:
            counts.update(normalizer.normalize_str(text) if normalizer else text)
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
