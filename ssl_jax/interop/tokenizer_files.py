"""Tokenizers in others' files: read from Hugging Face's and the originals' folders, written for `transformers`.

    tokenizer.json                          the `tokenizers` library's, any model
    vocab.txt                               WordPiece: BERT, ELECTRA, DistilBERT, TinyBERT
    vocab.json, merges.txt                  BPE: GPT-2's bytes, or GPT-1's letters where pieces end in </w>;
    encoder.json, vocab.bpe                 the same as OpenAI published GPT-2's, and
    encoder_bpe_40000.json, vocab_40000.bpe GPT-1's
    spiece.model, or the only *.model       ALBERT's SentencePiece unigram

Only tokenizer.json says everything. What the others leave open is in tokenizer_config.json or, without it, what
the originals' code does.
"""

import json
import re
from pathlib import Path

import numpy as np
import tokenizers
from google.protobuf.message import DecodeError
from sentencepiece import sentencepiece_model_pb2
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from ssl_jax.files import replacing
from ssl_jax.errors import UserError
from ssl_jax.tokenizers import for_plain_text, identity, load, vocabulary

BPE_FILES = (
    ("vocab.json", "merges.txt"),
    ("encoder.json", "vocab.bpe"),
    ("encoder_bpe_40000.json", "vocab_40000.bpe"),
)
# Where a model's folder tells how many pieces the model knows; Hugging Face, google-research, OpenAI.
MODEL_CONFIGS = {
    "config.json": "vocab_size",
    "bert_config.json": "vocab_size",
    "albert_config.json": "vocab_size",
    "hparams.json": "n_vocab",
}


def read(folder):
    """The tokenizer of a model's folder, Hugging Face's or the original's.

    Ids are those of `transformers`' tokenizer of the same files, but for

        a special token that a text spells, which is text here: `split_special_tokens=True` there, which still takes
        ALBERT's '<pad>' and '<unk>' for tokens, and '[MASK]' where case matters
        a spiece.model without a tokenizer.json: as ALBERT was trained, and as in the tokenizer.json that Hugging Face
        made of it, a digit and a comma are never one piece and user-defined symbols stay inside words

    and those of google-research/bert's tokenization.py, but for a capital sigma that ends a word (ours becomes the
    small one of a word's inside), letters for private use (dropped here), 256 ideographs (U+2B820 to U+2B91F stay
    together here) and signs and marks that are younger than Unicode 8.

    Args:
      folder: a path; its first files in this module's table are read.

    Returns:
      tokenizers.Tokenizer, which neither cuts nor fills.

    Raises:
      UserError: no such folder, no tokenizer in it; a file is broken, or two do not fit together.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"no folder {folder}")
    path = folder / "tokenizer.json"
    tokenizer = load(path) if path.exists() else for_plain_text(_read_classic(folder))
    for name, key in MODEL_CONFIGS.items():
        rows = _read_json(folder / name).get(key) if (folder / name).exists() else None
        if rows is not None and rows < tokenizer.get_vocab_size():
            raise UserError(
                f"{folder}: the tokenizer has {tokenizer.get_vocab_size()} pieces and {name} {key}={rows}; they are "
                "of different models"
            )
    return tokenizer


def _read_classic(folder):
    config = folder / "tokenizer_config.json"
    options = _read_json(config) if config.exists() else {}
    if (folder / "vocab.txt").exists():
        return _read_wordpiece(folder, options)
    for names in BPE_FILES:
        vocab_path, merges_path = (folder / name for name in names)
        if vocab_path.exists() and merges_path.exists():
            pieces, merges = _read_json(vocab_path), _parse_merges(_read_text(merges_path), merges_path)
            return _bpe(pieces, merges, options.get("add_prefix_space", False), vocab_path)
    found = [folder / "spiece.model"] if (folder / "spiece.model").exists() else sorted(folder.glob("*.model"))
    if len(found) > 1:
        raise UserError(f"{folder} has {len(found)} files *.model: keep one, or call it spiece.model")
    if not found:
        raise UserError(
            f"{folder} holds no tokenizer: none of tokenizer.json, vocab.txt, "
            f"{', '.join(' + '.join(names) for names in BPE_FILES)}, spiece.model"
        )
    return _read_sentencepiece(found[0], options.get("do_lower_case", True), options.get("keep_accents", False))


def _read_text(path):
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text: {error}") from error


def _read_json(path):
    try:
        content = json.loads(_read_text(path))
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold a JSON object, not a {type(content).__name__}")
    return content


def _read_wordpiece(folder, options):
    path = folder / "vocab.txt"
    # Spaces beyond ASCII's are left alone: a piece may be one.
    pieces = [line.rstrip(" \t\r") for line in _read_text(path).rstrip(" \t\r\n").split("\n")]
    first = {}
    for number, piece in enumerate(pieces, 1):
        if first.setdefault(piece, number) != number:
            raise UserError(f"{path}: line {number} repeats {piece!r} of line {first[piece]}")
    if "[UNK]" not in first:
        raise UserError(f"{path} has no [UNK]: not a vocabulary of BERT's kind")
    # The original takes longer words than Hugging Face; and nothing in its folder says whether case matters.
    original = (folder / "bert_config.json").exists() or any(folder.glob("*.index"))
    google = original and not options
    cased = any(piece != piece.lower() for piece in pieces if not re.fullmatch(r"\[.*\]", piece))
    return _wordpiece(
        pieces,
        lowercase=options.get("do_lower_case", not (google and cased)),
        strip_accents=options.get("strip_accents"),
        chinese=options.get("tokenize_chinese_chars", True),
        letters=200 if google else 100,
    )


def _wordpiece(pieces, lowercase, strip_accents, chinese, letters):
    ids = {piece: number for number, piece in enumerate(pieces)}
    model = models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=letters)
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(
        lowercase=lowercase, strip_accents=strip_accents, handle_chinese_chars=chinese
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    specials = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
    tokenizer.add_special_tokens(sorted(specials & ids.keys(), key=ids.get))
    return tokenizer


def _parse_merges(text, path):
    merges = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.startswith("#version"):
            continue
        pair = line.rstrip("\r").split(" ")
        if len(pair) != 2:
            raise UserError(f"{path}: line {number} is not a pair of pieces: {line!r}")
        merges.append(tuple(pair))
    return merges


def _bpe(pieces, merges, prefix_space, path):
    by_letters = any(piece.endswith("</w>") for piece in pieces)
    if by_letters and "<unk>" not in pieces:
        raise UserError(f"{path} has no <unk>: not a vocabulary of GPT-1's kind")
    missing = set() if by_letters else set(pre_tokenizers.ByteLevel.alphabet()) - pieces.keys()
    if missing:
        raise UserError(f"{path} lacks {len(missing)} of the 256 bytes: not a vocabulary of GPT-2's kind")
    marks = dict(unk_token="<unk>", end_of_word_suffix="</w>") if by_letters else {}
    try:
        tokenizer = tokenizers.Tokenizer(models.BPE(pieces, merges, **marks))
    except Exception as error:  # the library raises nothing narrower
        raise UserError(f"{path} and its merges do not fit together: {error}".splitlines()[0]) from error
    if by_letters:
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.BPEDecoder(suffix="</w>")
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
        tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([piece for piece in ("<unk>", "<|endoftext|>") if piece in pieces])
    return tokenizer


def _read_sentencepiece(path, lowercase, keep_accents):
    """ALBERT's tokenizer, as google-research/albert's tokenization.py prepares text for SentencePiece."""
    proto = sentencepiece_model_pb2.ModelProto()
    try:
        proto.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise UserError(f"{path} is not a SentencePiece model: {error}") from error
    kinds = sentencepiece_model_pb2.ModelProto.SentencePiece
    pieces = [(piece.piece, _score(piece)) for piece in proto.pieces]
    unknown = [number for number, piece in enumerate(proto.pieces) if piece.type == kinds.UNKNOWN]
    if proto.trainer_spec.model_type != proto.trainer_spec.UNIGRAM or len(unknown) != 1:
        raise UserError(f"{path} is not a SentencePiece unigram model of ALBERT's kind")
    charsmap = proto.normalizer_spec.precompiled_charsmap
    try:
        tokenizer = tokenizers.Tokenizer(models.Unigram(pieces, unk_id=unknown[0]))
        normalized = [normalizers.Precompiled(charsmap)] if charsmap else []
    except Exception as error:  # the library raises nothing narrower
        raise UserError(f"{path} cannot be read: {error}".splitlines()[0]) from error
    steps = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
    if not keep_accents:
        steps += [normalizers.NFKD(), normalizers.StripAccents()]
    if lowercase:
        steps.append(normalizers.Lowercase())
    tokenizer.normalizer = normalizers.Sequence(steps + normalized)
    split = [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(split)
    tokenizer.decoder = decoders.Metaspace()
    special = [piece.piece for piece in proto.pieces if piece.type in (kinds.UNKNOWN, kinds.CONTROL)]
    tokenizer.add_special_tokens(special)
    return tokenizer


def _score(piece):
    # The original cuts "9," again, into "9" and ",": so low a score that the word is cut there at once.
    joins_comma = piece.piece[-1:] == "," and piece.piece[-2:-1].isdigit()
    return float(np.float32(piece.score - 100 * joins_comma))


def write(tokenizer, folder, positions, segments=True):
    """Writes files with which `transformers.AutoTokenizer` gives the same ids.

    tokenizer.json says everything, and tokenizer_config.json names the class that takes it as it is; so whatever
    model type a config.json in the folder has, nothing is rebuilt. Where there are [CLS] and [SEP], they are put
    around a text (`[CLS] A [SEP]`, `[CLS] A [SEP] B [SEP]`; the last one is the vocabulary's `extract`); else nothing
    is added. Also written: vocab.txt, or vocab.json and merges.txt, where with tokenizer_config.json they say the same.
    (`BertTokenizer`, asked for by name, takes words of more than 100 letters for unknown, ours of more than 200.) No
    spiece.model: SentencePiece's normalisation is not ours, nor that of `transformers`.

    One difference is left: a '[SEP]' written in a text is text for us and the token for theirs, unless they are
    asked with `split_special_tokens=True`.

    Args:
      tokenizer: tokenizers.Tokenizer.
      folder: a path; made if it is not there.
      positions: int, the longest text with its special tokens.
      segments: whether the model reads token_type_ids (DistilBERT does not).

    Raises:
      UserError: the tokenizer's ids have gaps.
    """
    known, description = vocabulary(tokenizer), json.loads(tokenizer.to_str())
    framed = known.start is not None and known.separator is not None
    tokens = dict(cls=known.start, sep=known.separator, pad=known.pad, mask=known.mask, unk=known.unknown)
    if description["model"]["type"] == "Unigram":
        tokens |= dict(bos=known.start, eos=known.separator)
    elif not framed:
        tokens |= dict(bos=known.end_of_text, eos=known.end_of_text)
        tokens["unk"] = known.end_of_text if known.unknown is None else known.unknown
    tokens = {
        f"{role}_token": tokenizer.id_to_token(number) for role, number in tokens.items() if number is not None
    }
    config = tokens | _normalization(description)
    config |= dict(
        tokenizer_class="PreTrainedTokenizerFast",
        model_max_length=positions,
        model_input_names=["input_ids"] + ["token_type_ids"] * (framed and segments) + ["attention_mask"],
        clean_up_tokenization_spaces=False,
    )
    files = {
        "tokenizer.json": _complete(tokenizer, tokens, known.extract if framed else None).to_str(pretty=True),
        "tokenizer_config.json": json.dumps(config, indent=2),
        "special_tokens_map.json": json.dumps(tokens, indent=2),
    }
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, text in (files | _classic_files(tokenizer, description, config)).items():
        with replacing(Path(folder) / name) as file:
            file.write(text.encode())


def _normalization(description):
    """What tokenizer_config.json tells about letters, for the classes that read it."""
    normalizer = description["normalizer"] or {}
    steps = {step["type"]: step for step in normalizer.get("normalizers", [normalizer]) if step}
    bert = steps.get("BertNormalizer", {})
    told = dict(do_lower_case="Lowercase" in steps or bert.get("lowercase", False))
    if bert:
        told |= dict(strip_accents=bert["strip_accents"], tokenize_chinese_chars=bert["handle_chinese_chars"])
    if description["model"]["type"] == "Unigram":
        told["keep_accents"] = "StripAccents" not in steps
    if (description["pre_tokenizer"] or {}).get("type") == "ByteLevel":
        told["add_prefix_space"] = description["pre_tokenizer"]["add_prefix_space"]
    return told


def _complete(tokenizer, tokens, last):
    """A copy that knows the special tokens and where they go, and neither cuts nor fills.

    `last` is the id of what ends a text; None: nothing is put around it.
    """
    copy = for_plain_text(tokenizers.Tokenizer.from_str(tokenizer.to_str()))
    # In the order of their ids: a new one would get the next.
    copy.add_special_tokens(sorted(set(tokens.values()), key=copy.token_to_id))
    description = json.loads(copy.to_str())
    for token in description["added_tokens"]:
        # A word begins with its space: one that [MASK] stands for takes the space along, as in theirs.
        if token["content"] == tokens.get("mask_token") and description["model"]["type"] == "Unigram":
            token["lstrip"] = True
    description["post_processor"] = None
    copy = tokenizers.Tokenizer.from_str(json.dumps(description))
    if last is not None:
        start, middle, end = tokens["cls_token"], tokens["sep_token"], copy.id_to_token(last)
        copy.post_processor = processors.TemplateProcessing(
            single=f"{start} $A {end}",
            pair=f"{start} $A {middle} $B:1 {end}:1",
            special_tokens=[(token, copy.token_to_id(token)) for token in sorted({start, middle, end})],
        )
    return copy


def _classic_files(tokenizer, description, config):
    """vocab.txt, or vocab.json and merges.txt, as text by name; {} where they would give another tokenizer."""
    model = description["model"]
    ids = tokenizer.get_vocab(with_added_tokens=True)
    pieces = sorted(ids, key=ids.get)
    files, again = {}, None
    if model["type"] == "WordPiece" and "tokenize_chinese_chars" in config:
        files = {"vocab.txt": "".join(f"{piece}\n" for piece in pieces)}
        again = _wordpiece(
            pieces,
            config["do_lower_case"],
            config["strip_accents"],
            config["tokenize_chinese_chars"],
            model["max_input_chars_per_word"],
        )
    elif model["type"] == "BPE":
        merges = "".join(f"{left} {right}\n" for left, right in model["merges"])
        files = {
            "vocab.json": json.dumps({piece: ids[piece] for piece in pieces}, ensure_ascii=False),
            "merges.txt": f"#version: 0.2\n{merges}",
        }
        try:
            again = _bpe(ids, _parse_merges(files["merges.txt"], ""), config.get("add_prefix_space", False), "")
        except UserError:
            return {}
    return files if again and identity(for_plain_text(again)) == identity(tokenizer) else {}
