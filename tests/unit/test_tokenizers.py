"""Tokenizers: the papers' layouts, the same bytes every time, and clear refusals."""

import io
import itertools
import json
import subprocess
import sys

import numpy as np
import pytest
import sentencepiece
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from ssl_jax.errors import UserError
from ssl_jax.tokenization import files as tokenizer_files
from ssl_jax.tokenization.checks import for_plain_text
from ssl_jax.tokenization.train import _LETTERS, _SIGNS_OR_BLANKS, KINDS, LONGEST_WORD, _Bounded, train_tokenizer
from ssl_jax.tokenization.vocabulary import identity, keeps_spaces, vocabulary_of

WORDS = ["".join(letters) for letters in itertools.product("kst", "aeiou", "lmnr", "aeiou", "dz")]
TEXTS = [" ".join(WORDS[start : start + 30]) + ". Ünder the Sea!" for start in range(0, 600, 7)]


@pytest.mark.parametrize(
    "kind, first, last",
    [
        ("wordpiece", ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], None),
        ("unigram", ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"], None),
        ("byte_bpe", [], "<|endoftext|>"),
        ("gpt1_bpe", ["<unk>"], None),
    ],
)
def test_size_and_special_tokens(kind, first, last):
    size = 300 if kind == "byte_bpe" else 90
    tokenizer = train_tokenizer(kind, TEXTS, size, True)
    assert tokenizer.get_vocab_size() == size
    assert [tokenizer.id_to_token(number) for number in range(len(first))] == first
    if last:
        assert tokenizer.id_to_token(size - 1) == last
    vocabulary = vocabulary_of(tokenizer)
    assert vocabulary.size == size == len(vocabulary.special) == len(vocabulary.starts_word)
    assert vocabulary.end_of_text == (size - 1 if last else vocabulary.separator)  # GPT-1 has neither
    assert keeps_spaces(tokenizer) == (kind == "byte_bpe")
    assert tokenizer.decode(np.flatnonzero(vocabulary.special).tolist()) == ""
    # Text that spells a special token stays text.
    for special in first + [last] * bool(last):
        ids = np.array(tokenizer.encode(f"kala {special} kala", add_special_tokens=False).ids)
        assert not vocabulary.special[ids].any()


def test_wordpiece_lower_cases_and_strips_accents():
    tokenizer = train_tokenizer("wordpiece", TEXTS, 90, True)
    assert tokenizer.encode("ÜNDER").tokens == tokenizer.encode("under").tokens
    cased = train_tokenizer("wordpiece", TEXTS, 90, False)
    assert cased.encode("Ünder").tokens != cased.encode("under").tokens


@pytest.mark.parametrize("kind", ["wordpiece", "unigram", "byte_bpe"])
def test_word_starts_count_the_words(kind):
    tokenizer = train_tokenizer(kind, TEXTS, 300 if kind == "byte_bpe" else 90, True)
    vocabulary = vocabulary_of(tokenizer)
    ids = tokenizer.encode(" kalad tirez sonud", add_special_tokens=False).ids
    assert len(ids) > 3 and vocabulary.starts_word[ids].sum() == 3


def test_words_are_split_where_alberts_release_splits_them():
    """create_pretraining_data.py, _is_start_piece_sp, with --spm_model_file; otherwise _is_start_piece_bert."""
    begin = "\u2581the \u2581 <unk> . , ( $ \u20ac ' = 3 14 9, a1 \u00fc \u00fcber na\u00efve \u4e2d don't".split()
    go_on = "s ing S The .. s. ), e-mail".split()
    pieces = ["<unk>", *(piece for piece in [*begin, *go_on] if piece != "<unk>")]
    vocabulary = vocabulary_of(Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], 0)))
    assert [pieces[n] for n in np.flatnonzero(~vocabulary.starts_split)] == go_on
    assert {pieces[n] for n in np.flatnonzero(vocabulary.starts_word)} == {"\u2581the", "\u2581"}
    wordpiece = vocabulary_of(train_tokenizer("wordpiece", TEXTS, 90, True))
    np.testing.assert_array_equal(wordpiece.starts_split, wordpiece.starts_word)


def test_byte_bpe_loses_nothing():
    tokenizer = train_tokenizer("byte_bpe", TEXTS, 300, False)
    text = "Größe \u2603  two spaces\n<|endoftext|>"
    assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


def test_byte_level_behind_another_step_keeps_spaces_but_not_with_one_put_in_front():
    tokenizer = train_tokenizer("byte_bpe", TEXTS, 300, False)
    for in_front in (False, True):
        last = pre_tokenizers.ByteLevel(add_prefix_space=in_front, use_regex=False)
        for steps in (last, pre_tokenizers.Sequence([pre_tokenizers.Digits(), last])):
            tokenizer.pre_tokenizer = steps
            assert keeps_spaces(tokenizer) != in_front


@pytest.mark.parametrize("kind", ["wordpiece", "unigram", "byte_bpe", "gpt1_bpe"])
def test_same_bytes_in_every_process(kind):
    """The library keeps words in hash tables with a random key for each process."""
    program = (
        "import hashlib; from ssl_jax.tokenization.train import train_tokenizer; from tests.unit.test_tokenizers import TEXTS;"
        f"tokenizer = train_tokenizer({kind!r}, TEXTS, {120 if kind == 'unigram' else 350}, True);"
        "print(hashlib.sha256(tokenizer.to_str().encode()).hexdigest())"
    )
    runs = [subprocess.run([sys.executable, "-c", program], capture_output=True, check=True) for _ in "ab"]
    assert runs[0].stdout == runs[1].stdout and len(runs[0].stdout) == 65


def test_unigram_has_the_pieces_of_sentencepiece_and_cuts_like_it():
    trained = io.BytesIO()
    lines = [text.lower() for text in TEXTS]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=trained,
        vocab_size=120,
        num_threads=1,
        bos_id=-1,
        eos_id=-1,
        pad_id=0,
        unk_id=1,
        control_symbols=["[CLS]", "[SEP]", "[MASK]"],
        minloglevel=2,
    )
    expected = sentencepiece.SentencePieceProcessor(model_proto=trained.getvalue())
    tokenizer = train_tokenizer("unigram", TEXTS, 120, True)
    pieces = [tokenizer.id_to_token(number) for number in range(120)]
    assert pieces == [expected.id_to_piece(number) for number in range(120)]
    for text in lines + ["kala\u2603lad tirez, sonud", "Sea!sea", "x"]:
        assert tokenizer.encode(text).ids == expected.encode(text.lower())


def test_rare_characters_are_unknown():
    texts = ["abc " * 20000 + "\u03b1"]
    tokenizer = train_tokenizer("wordpiece", texts, 5 + 3 + 2 + 2, True)
    ids = tokenizer.encode("\u03b1 abc", add_special_tokens=False).ids
    assert ids[0] == vocabulary_of(tokenizer).unknown != ids[1]


@pytest.mark.parametrize(
    "kind, size, message",
    [
        ("wordpiece", 100_000, "gives at most"),
        ("wordpiece", 20, "gives at least"),
        ("unigram", 100_000, "gives at most"),
        ("unigram", 20, "gives at least 2"),
        ("byte_bpe", 100, "gives at least"),
        ("gpt1_bpe", 100_000, "gives at most"),
        ("word_piece", 90, "did you mean 'wordpiece'"),
    ],
)
def test_sizes_out_of_reach(kind, size, message):
    with pytest.raises(UserError, match=message) as error:
        train_tokenizer(kind, TEXTS, size, True)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["wordpiece", "unigram", "byte_bpe", "gpt1_bpe"])
def test_words_of_endless_length_are_left_out_of_the_training_and_told(kind, capsys):
    """The trainers' time grows with the square of a word's length: one of a million letters would take hours."""
    size = {"unigram": 120, "byte_bpe": 300}.get(kind, 90)
    expected = train_tokenizer(kind, TEXTS, size, True).to_str()
    assert capsys.readouterr().err == ""
    endless = ["kst" * 70_000, "z" * 5000]
    found = train_tokenizer(kind, [*TEXTS, *endless, endless[1]], size, True).to_str()
    bound = "4,192 bytes" if kind == "unigram" else "2,000 letters"
    assert found == expected
    assert capsys.readouterr().err == f"left out of the tokenizer's training: 2 words of more than {bound}\n"


@pytest.mark.parametrize("length, kept", [(LONGEST_WORD, True), (LONGEST_WORD + 1, False)])
@pytest.mark.parametrize("place", [0, 1, 999, 1000, 1500])
def test_what_stands_around_a_long_word_stays(length, kept, place):
    for kind, letter in (("byte_bpe", "x"), ("byte_bpe", "="), ("wordpiece", "x")):
        left_out, patterns = set(), (_LETTERS, _SIGNS_OR_BLANKS)
        before = "ab\n" * (place // 3) + "\n" * (place % 3)  # a space would belong to the word
        text = f"{before}{letter * length}\nbehind it"
        made = list(_Bounded([text], KINDS[kind](False), patterns, left_out))
        assert len(left_out) == (not kept)
        assert "".join(made).split() == [word for word in text.split() if kept or len(word) < length]


def test_no_text():
    for kind in KINDS:
        with pytest.raises(UserError):
            train_tokenizer(kind, [], 500, True)


def same(tokenizer, change):
    """Whether a tokenizer and its copy, with its description changed, have one identity."""
    description = json.loads(tokenizer.to_str())
    change(description)
    copy = for_plain_text(Tokenizer.from_str(json.dumps(description)))
    return identity(copy) == identity(tokenizer)


def swap(pieces, one, other):
    pieces[one], pieces[other] = pieces[other], pieces[one]


@pytest.mark.parametrize("kind", ["wordpiece", "unigram", "byte_bpe", "gpt1_bpe"])
def test_identity_is_of_what_decides_the_ids(kind):
    tokenizer = train_tokenizer(kind, TEXTS, 300 if kind == "byte_bpe" else 120, True)
    template = processors.TemplateProcessing(single="$A $A", special_tokens=[])
    post_processor = json.loads(template.__getstate__())
    assert same(tokenizer, lambda other: None)
    assert same(tokenizer, lambda other: other.update(post_processor=post_processor, decoder=None))
    assert same(tokenizer, lambda other: other["added_tokens"][0].update(lstrip=True, normalized=True))
    assert not same(tokenizer, lambda other: other.update(normalizer=None))
    assert not same(tokenizer, lambda other: other.update(pre_tokenizer=None))
    assert not same(tokenizer, lambda other: other["added_tokens"][0].update(special=False))
    if kind == "unigram":
        assert not same(tokenizer, lambda other: swap(other["model"]["vocab"], 60, 61))
        assert not same(tokenizer, lambda other: other["model"]["vocab"][60].__setitem__(1, -3.0))
    else:
        assert not same(tokenizer, lambda other: swap(other["model"]["vocab"], "s", "t"))
    if kind == "wordpiece":
        assert not same(tokenizer, lambda other: other["model"].update(max_input_chars_per_word=100))
    if kind.endswith("bpe"):
        assert not same(tokenizer, lambda other: other["model"]["merges"].reverse())
        # As in files that `transformers` wrote.
        assert same(tokenizer, lambda other: other["model"].update(continuing_subword_prefix=""))


def test_unigram_of_others_reads_special_tokens_as_text():
    """Their pieces are the likeliest of all, and no step of ours keeps text from spelling them."""
    ours = train_tokenizer("unigram", TEXTS, 120, True)
    assert json.loads(ours.to_str())["pre_tokenizer"]["type"] == "Metaspace"  # ours need no cut
    description = json.loads(ours.to_str())
    description["normalizer"] = None
    theirs = Tokenizer.from_str(json.dumps(description))
    texts = ["kala<pad>", "[MASK]", "kala [SEP] tere"]
    spelt = [set(theirs.encode(text).ids) & {0, 2, 3, 4} for text in texts]
    assert all(spelt)
    for_plain_text(theirs)
    once = theirs.to_str()
    assert not any(set(theirs.encode(text).ids) & {0, 2, 3, 4} for text in texts)
    assert for_plain_text(theirs).to_str() == once


def test_a_folder_is_a_tokenizer(tmp_path):
    tokenizer = train_tokenizer("wordpiece", TEXTS, 90, True)
    (tmp_path / "vocab.txt").write_text("".join(f"{tokenizer.id_to_token(number)}\n" for number in range(90)))
    (tmp_path / "bert_config.json").write_text("{}")
    assert identity(tokenizer_files.load(tmp_path)) == identity(tokenizer)


def test_files(tmp_path):
    tokenizer = train_tokenizer("wordpiece", TEXTS, 90, True)
    path = tmp_path / "tokenizer.json"
    # Files of others may cut and fill; here both would silently lose text.
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding()
    tokenizer_files.save(tokenizer, path)
    loaded = tokenizer_files.load(path)
    assert len(loaded.encode("kala mino tere sonu kala").ids) > 4
    assert not loaded.encode("[SEP]").ids == [3]
    with pytest.raises(UserError, match="no tokenizer file"):
        tokenizer_files.load(tmp_path / "none.json")
    path.write_text(path.read_text()[:1000])
    with pytest.raises(UserError, match="not a tokenizer.json") as error:
        tokenizer_files.load(path)
    assert "\n" not in str(error.value)
