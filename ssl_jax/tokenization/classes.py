"""Tokenizer classes of `transformers`: which are supported, and what each builds from its vocabulary files.

vocab.txt                               WordPiece: BERT, ELECTRA, DistilBERT, TinyBERT
vocab.json, merges.txt                  BPE: GPT-2's bytes, or GPT-1's letters if pieces end in </w>;
encoder.json, vocab.bpe                 the same as OpenAI published GPT-2's, and
encoder_bpe_40000.json, vocab_40000.bpe GPT-1's
spiece.model, or the only *.model       ALBERT's SentencePiece unigram
"""

import base64
import json
import re

import numpy as np
import tokenizers
from google.protobuf.message import DecodeError
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers

from ssl_jax.errors import UserError
from ssl_jax.files import read_bytes, read_json, read_lines, read_text
from ssl_jax.tokenization.checks import refused
from ssl_jax.tokenization.vocabulary import identity

BPE_FILES = (
    ("vocab.json", "merges.txt"),
    ("encoder.json", "vocab.bpe"),
    ("encoder_bpe_40000.json", "vocab_40000.bpe"),
)
_ROBERTA = dict(bos_token="<s>", eos_token="</s>", unk_token="<unk>", sep_token="</s>", pad_token="<pad>",
                cls_token="<s>", mask_token="<mask>")  # fmt: skip
# Kinds of tokenizer classes: the library's name for their model, and their special tokens unless a file names others.
KINDS = {
    "bert": ("WordPiece", dict(unk_token="[UNK]", sep_token="[SEP]", pad_token="[PAD]", cls_token="[CLS]",
                               mask_token="[MASK]")),
    "albert": ("Unigram", dict(bos_token="[CLS]", eos_token="[SEP]", unk_token="<unk>", sep_token="[SEP]",
                               pad_token="<pad>", cls_token="[CLS]", mask_token="[MASK]")),
    "gpt2": ("BPE", dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")),
    "openai-gpt": ("BPE", dict(unk_token="<unk>")),
    "roberta": ("BPE", _ROBERTA),
    "xlm-roberta": ("Unigram", _ROBERTA),
    "as it is": ("", {}),  # tokenizer.json alone decides
}  # fmt: skip
# The classes of `transformers`, without their "Fast".
CLASSES = {
    "BertTokenizer": "bert",
    "DistilBertTokenizer": "bert",
    "ElectraTokenizer": "bert",
    "ConvBertTokenizer": "bert",
    "MobileBertTokenizer": "bert",
    "SqueezeBertTokenizer": "bert",
    "LayoutLMTokenizer": "bert",
    "AlbertTokenizer": "albert",
    "GPT2Tokenizer": "gpt2",
    "OpenAIGPTTokenizer": "openai-gpt",
    "RobertaTokenizer": "roberta",
    "XLMRobertaTokenizer": "xlm-roberta",
    "PreTrainedTokenizer": "as it is",
    "TokenizersBackend": "as it is",
}
SUPPORTED = "BertTokenizer, AlbertTokenizer, GPT2Tokenizer, OpenAIGPTTokenizer, RobertaTokenizer, XLMRobertaTokenizer"
# `model_type` of config.json -> kind, for folders that name no class.
MODEL_TYPES = {kind: kind for kind in KINDS if kind != "as it is"} | {"distilbert": "bert", "electra": "bert"}
# The files that the classes read if there is no tokenizer.json.
FILES = {
    "bert": "vocab.txt",
    "albert": "spiece.model",
    "gpt2": "vocab.json + merges.txt",
    "openai-gpt": "vocab.json + merges.txt",
    "roberta": "vocab.json + merges.txt",
    "xlm-roberta": "none",
}
# Keys of tokenizer_config.json that would override the folder's other files.
UNSUPPORTED = ("vocab", "merges", "init_inputs", "tokenizer_object", "gguf_file", "fix_mistral_regex")
# White space that the library strips from the end of a line of vocab.txt.
BLANKS = " \t\v\f\r\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))


def kind_of(folder, options, config):
    """Which of KINDS a folder's tokenizer is, or None if no file says.

    Args:
      folder: a Path.
      options, config: contents of tokenizer_config.json and config.json; {} if absent.

    Raises:
      UserError: a tokenizer that is not supported, or a name that is not a string.
    """
    path, own = folder / "tokenizer_config.json", options.get("auto_map")
    if own and not (isinstance(own, dict) and not own.get("AutoTokenizer")):
        raise UserError(f"{path}: auto_map: its tokenizer is custom code, which is not run")
    for key in UNSUPPORTED:
        if options.get(key):
            raise UserError(f"{path}: {key} is not read: the pieces come from the folder's other files")
    versions = options.get("fast_tokenizer_files") or []
    if not isinstance(versions, list) or not set(map(str, versions)) <= {"tokenizer.json"}:
        raise UserError(f"{path}: fast_tokenizer_files={as_json(versions)} is not read, only tokenizer.json is")
    name = _name(path, options, "tokenizer_class")
    # Both keys of config.json are checked even if another decides, because the rest of that file is read too.
    second, model_type = (_name(folder / "config.json", config, key) for key in ("tokenizer_class", "model_type"))
    if not name:
        path, name = folder / "config.json", second
    if not name and not model_type:
        return None
    table, key = (CLASSES, name) if name else (MODEL_TYPES, model_type)
    kind = table.get(key.removesuffix("Fast"))
    if kind is None:
        what = as_json(name) if name else f"that of model_type={as_json(model_type)}"
        hint = ""
        if (folder / "tokenizer.json").exists():
            hint = "; tokenizer_class=PreTrainedTokenizerFast in tokenizer_config.json reads tokenizer.json as it is"
        raise UserError(f"{path}: its tokenizer is {what}, which is not supported (these are: {SUPPORTED}){hint}")
    return kind


def as_class(folder, kind, description, options, model_type):
    """A tokenizer.json's content as a class reads it: the file's pieces, with the steps before them rebuilt.

    Args:
      folder, options: as for `build`.
      kind: one of KINDS other than "as it is".
      description: the content of tokenizer.json.
      model_type: that of config.json, or None.

    Raises:
      UserError: the class has another type of model; or `transformers` may read the file as it is (it does for some
        model types that are not ours), with a different result.
    """
    path, model = folder / "tokenizer.json", description["model"]
    if model["type"] != KINDS[kind][0]:
        raise UserError(
            f"{path} holds a {model['type']} model, but the folder's tokenizer class reads its pieces as "
            f"{KINDS[kind][0]}; PreTrainedTokenizerFast as tokenizer_class in tokenizer_config.json reads it as it is"
        )
    normalizer = description["normalizer"] or {}
    steps = normalizer.get("normalizers", [normalizer])
    charsmaps = (step["precompiled_charsmap"] for step in steps if step.get("type") == "Precompiled")
    charsmap = base64.b64decode(next(charsmaps, ""))
    pieces = dict(model, unk_id={"albert": 1, "xlm-roberta": 3}.get(kind), max_input_chars_per_word=100)
    with refused(f"{path}: its class cannot read its pieces"):
        built = json.loads(build(folder, kind, pieces, options, charsmap).to_str())
    rebuilt = {name: _or_equivalent(description[name], built[name]) for name in ("normalizer", "pre_tokenizer")}
    # An option that is off may be absent, null, "" or false.
    rebuilt["model"] = {
        key: value if model.get(key) or value else model.get(key) for key, value in built["model"].items()
    }
    rebuilt["decoder"] = description["decoder"] or built["decoder"]
    rebuilt = description | rebuilt
    if model_type and model_type not in MODEL_TYPES:
        as_is, as_read = (
            tokenizers.Tokenizer.from_str(json.dumps(content | {"added_tokens": []}))
            for content in (description, rebuilt)
        )
        if identity(as_is) != identity(as_read):
            raise UserError(
                f"{path} and the folder's tokenizer class disagree, and which of them applies to "
                f"model_type={as_json(model_type)} is not known"
            )
    return rebuilt | {"added_tokens": []}


def _or_equivalent(step, wanted):
    """`step` if it treats text as `wanted` does, otherwise `wanted`."""

    def decisive(step):
        step = dict(step or {})
        step.pop("trim_offsets", None)
        # Of ALBERT's, this one makes no difference: the next step splits at any number of spaces.
        steps = [inner for inner in step.get("normalizers", []) if inner.get("pattern") != {"Regex": " {2,}"}]
        return step | ({"normalizers": steps} if steps else {})

    return step if decisive(step) == decisive(wanted) else wanted


def build(folder, kind, model, options, charsmap=b""):
    """The tokenizer that a class builds from pieces.

    Args:
      folder: a Path, for messages.
      kind: one of KINDS other than "as it is".
      model: `vocab`, and whatever else this kind of model needs, as in tokenizer.json.
      options: of the class, as in tokenizer_config.json; of tokens, AddedTokens or None.
      charsmap: SentencePiece's table for normalising characters, from its model.
    """

    def option(key, default):
        return flag(options, key, default, folder)

    unknown = options.get("unk_token", KINDS[kind][1]["unk_token"])
    unknown = unknown.content if isinstance(unknown, AddedToken) else str(unknown)
    if kind == "bert":
        letters = model["max_input_chars_per_word"]
        built = models.WordPiece(model["vocab"], unk_token=unknown, max_input_chars_per_word=letters)
        normalizer = normalizers.BertNormalizer(
            lowercase=option("do_lower_case", True),
            strip_accents=option("strip_accents", None),
            handle_chinese_chars=option("tokenize_chinese_chars", True),
        )
        splitter, decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    elif kind == "openai-gpt":
        merges = [tuple(pair) for pair in model["merges"]]
        built = models.BPE(model["vocab"], merges, unk_token=unknown, end_of_word_suffix="</w>")
        normalizer = normalizers.BertNormalizer(lowercase=True)
        splitter, decoder = pre_tokenizers.BertPreTokenizer(), decoders.BPEDecoder(suffix="</w>")
    elif kind in ("gpt2", "roberta"):
        built, normalizer = models.BPE(model["vocab"], [tuple(pair) for pair in model["merges"]]), None
        splitter = pre_tokenizers.ByteLevel(add_prefix_space=option("add_prefix_space", False))
        decoder = decoders.ByteLevel()
    else:
        built = models.Unigram([tuple(pair) for pair in model["vocab"]], unk_id=model["unk_id"])
        normalizer = normalizers.Precompiled(charsmap) if charsmap else None
        if kind == "albert":
            steps = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
            steps += [normalizers.NFKD(), normalizers.StripAccents()] * (not option("keep_accents", False))
            steps += [normalizers.Lowercase()] * option("do_lower_case", True)
            normalizer = normalizers.Sequence(steps + [normalizer] * bool(charsmap))
        space = "always" if option("add_prefix_space", True) else "never"
        metaspace = pre_tokenizers.Metaspace(prepend_scheme=space)
        splitter = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), metaspace])
        decoder = decoders.Metaspace(prepend_scheme=space)
    tokenizer = tokenizers.Tokenizer(built)
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer, tokenizer.decoder = splitter, decoder
    return tokenizer


def read_classic(folder, kind, options):
    """The tokenizer of a folder without tokenizer.json, and which of KINDS it is; or None.

    Args:
      folder, options: as for `build`.
      kind: one of KINDS, whose files are read; None: the first that is there.

    Raises:
      UserError: a file is damaged or of another kind.
    """
    if kind in (None, "bert") and (folder / "vocab.txt").exists():
        return _read_wordpiece(folder, kind, options), "bert"
    if kind in (None, "gpt2", "openai-gpt", "roberta"):
        for names in BPE_FILES:
            vocab_path, merges_path = (folder / name for name in names)
            if vocab_path.exists() and merges_path.exists():
                return _read_bpe(folder, kind, options, vocab_path, merges_path)
    if kind in (None, "albert"):
        # `transformers` prefers the first name.
        paths = [folder / name for name in ("tokenizer.model", "spiece.model") if (folder / name).exists()][:1]
        paths = paths or sorted(folder.glob("*.model"))
        if len(paths) > 1:
            raise UserError(f"{folder} has {len(paths)} files *.model: keep one, or rename it spiece.model")
        if paths:
            return _read_sentencepiece(folder, kind, options, paths[0]), "albert"
    return None


def _read_wordpiece(folder, kind, options):
    path, vocab = folder / "vocab.txt", []
    for _, line in read_lines(path):
        vocab.append(line.rstrip(BLANKS) or line.rstrip(" \t"))  # a piece may be a blank
    while vocab and not vocab[-1]:
        vocab.pop()
    first = {}
    for number, piece in enumerate(vocab, 1):
        if first.setdefault(piece, number) != number:
            raise UserError(f"{path}: line {number} repeats {piece[:60]!r} of line {first[piece]}")
    unknown = options.get("unk_token", AddedToken("[UNK]"))
    if unknown is None or unknown.content not in first:
        raise UserError(f"{path} has no {unknown.content if unknown else 'unk_token'}: not a vocabulary like BERT's")
    if any(piece.startswith("\u2581") for piece in vocab) and not any(piece.startswith("##") for piece in vocab):
        raise UserError(f"{path} marks beginnings of words with \u2581, not continuations with ##: unlike BERT's")
    # The original allows longer words than Hugging Face, and nothing in its folder says whether case matters.
    original = (folder / "bert_config.json").exists() or any(folder.glob("*.index"))
    letters = 100
    if original and kind is None and not (folder / "tokenizer_config.json").exists():
        letters, cased = 200, any(piece != piece.lower() for piece in vocab if not re.fullmatch(r"\[.*\]", piece))
        options = {"do_lower_case": not cased} | options
    model = dict(vocab={piece: number for number, piece in enumerate(vocab)}, max_input_chars_per_word=letters)
    return build(folder, "bert", model, options)


def _read_bpe(folder, kind, options, vocab_path, merges_path):
    """A BPE tokenizer, of letters or of bytes, and which of KINDS it is."""
    vocab, merges = read_json(vocab_path), parse_merges(read_text(merges_path), merges_path)
    if kind is None:
        kind = "openai-gpt" if any(piece.endswith("</w>") for piece in vocab) else "gpt2"
    if kind == "openai-gpt" and "<unk>" not in vocab:
        raise UserError(f"{vocab_path} has no <unk>: not a vocabulary like GPT-1's")
    missing = set() if kind == "openai-gpt" else set(pre_tokenizers.ByteLevel.alphabet()) - vocab.keys()
    if missing:
        raise UserError(f"{vocab_path} lacks {len(missing)} of the 256 bytes: not a vocabulary like GPT-2's")
    with refused(f"{vocab_path} and its merges do not fit together"):
        if any(type(number) is not int for number in vocab.values()):
            raise TypeError("an id is not an integer")
        return build(folder, kind, dict(vocab=vocab, merges=merges), options), kind


def parse_merges(text, path):
    merges = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.startswith("#version"):
            continue
        pair = line.split(" ")
        if len(pair) != 2:
            raise UserError(f"{path}: line {number} is not a pair of pieces: {as_json(line)}")
        merges.append(tuple(pair))
    return merges


def _read_sentencepiece(folder, kind, options, path):
    """ALBERT's tokenizer, as google-research/albert's tokenization.py prepares text for SentencePiece."""
    proto = sentencepiece_model_pb2.ModelProto()
    try:
        proto.ParseFromString(read_bytes(path))
    except DecodeError as error:
        raise UserError(f"{path} is not a SentencePiece model: {error}") from error
    kinds = sentencepiece_model_pb2.ModelProto.SentencePiece
    unknown = [number for number, piece in enumerate(proto.pieces) if piece.type == kinds.UNKNOWN]
    if proto.trainer_spec.model_type != proto.trainer_spec.UNIGRAM or len(unknown) != 1:
        raise UserError(f"{path} is not a SentencePiece unigram model like ALBERT's")
    if kind is not None and unknown != [1]:
        raise UserError(f"{path}: its unknown piece has id {unknown[0]}, but the folder's tokenizer class expects 1")
    vocab = [(piece.piece, _score(piece)) for piece in proto.pieces]
    special = [piece.piece for piece in proto.pieces if piece.type in (kinds.UNKNOWN, kinds.CONTROL)]
    with refused(f"{path} cannot be read"):
        model = dict(vocab=vocab, unk_id=unknown[0])
        tokenizer = build(folder, "albert", model, options, proto.normalizer_spec.precompiled_charsmap)
        tokenizer.add_special_tokens(special)
    return tokenizer


def _score(piece):
    # The original splits "9," again, into "9" and ","; with so low a score the word is split there at once.
    joins_comma = piece.piece[-1:] == "," and piece.piece[-2:-1].isdigit()
    return float(np.float32(piece.score - 100 * joins_comma))


def flag(options, key, default, folder):
    """The value of a key of tokenizer_config.json: true or false, or None if that is its default."""
    value = options.get(key, default)
    if type(value) is not bool and value is not default:
        raise UserError(f"{folder / 'tokenizer_config.json'}: {key}={as_json(value)} must be true or false")
    return value


def read_optional(path):
    """The content of a JSON file, {} if there is none."""
    return read_json(path) if path.exists() else {}


def _name(path, values, key):
    """The name that a file has for a key, or None.

    Raises:
      UserError: the value is something else.
    """
    value = values.get(key)
    if value is not None and not (value and isinstance(value, str)):
        raise UserError(f"{path}: {key}={as_json(value)} is not a name")
    return value


def as_json(value):
    """A value in a message: JSON, at most 60 characters of it."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:60]}..."
