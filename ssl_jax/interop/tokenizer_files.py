"""Tokenizers in others' files: read from Hugging Face's and the originals' folders, written for `transformers`.

    tokenizer.json                          the `tokenizers` library's, any model
    vocab.txt                               WordPiece: BERT, ELECTRA, DistilBERT, TinyBERT
    vocab.json, merges.txt                  BPE: GPT-2's bytes, or GPT-1's letters where pieces end in </w>;
    encoder.json, vocab.bpe                 the same as OpenAI published GPT-2's, and
    encoder_bpe_40000.json, vocab_40000.bpe GPT-1's
    spiece.model, or the only *.model       ALBERT's SentencePiece unigram

A folder of Hugging Face's names a tokenizer class, in tokenizer_config.json or else by what config.json says. Its class
takes the pieces alone from these files: how text is normalised and split is the class's and tokenizer_config.json's
matter, whatever tokenizer.json says. PreTrainedTokenizerFast, and a folder that names no class, take tokenizer.json as
it is. Tokens are added, and given their roles, by tokenizer_config.json, or where it has no `added_tokens_decoder` by
special_tokens_map.json, added_tokens.json and tokenizer.json too.
"""

import base64
import json
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tokenizers
from google.protobuf.message import DecodeError
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors

from ssl_jax.errors import UserError
from ssl_jax.files import of_kind, parse_json, read_bytes, read_json, read_lines, read_text, replacing
from ssl_jax.tokenizers import checked, for_plain_text, identity, pieces, refused, roles, vocabulary, with_roles

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
# What Hugging Face calls tokens with a role, in the order in which they are added -> fields of our Vocabulary.
ROLES = {
    "bos_token": "start_of_text",
    "eos_token": "end_of_text",
    "unk_token": "unknown",
    "sep_token": "separator",
    "pad_token": "pad",
    "cls_token": "start",
    "mask_token": "mask",
}
_ROBERTA = dict(bos_token="<s>", eos_token="</s>", unk_token="<unk>", sep_token="</s>", pad_token="<pad>",
                cls_token="<s>", mask_token="<mask>")  # fmt: skip
# Kinds of tokenizer classes: what the library calls their model, and their tokens where no file names others.
KINDS = {
    "bert": ("WordPiece", dict(unk_token="[UNK]", sep_token="[SEP]", pad_token="[PAD]", cls_token="[CLS]",
                               mask_token="[MASK]")),
    "albert": ("Unigram", dict(bos_token="[CLS]", eos_token="[SEP]", unk_token="<unk>", sep_token="[SEP]",
                               pad_token="<pad>", cls_token="[CLS]", mask_token="[MASK]")),
    "gpt2": ("BPE", dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")),
    "openai-gpt": ("BPE", dict(unk_token="<unk>")),
    "roberta": ("BPE", _ROBERTA),
    "xlm-roberta": ("Unigram", _ROBERTA),
    "as it is": ("", {}),  # tokenizer.json says everything
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
READ = "BertTokenizer, AlbertTokenizer, GPT2Tokenizer, OpenAIGPTTokenizer, RobertaTokenizer, XLMRobertaTokenizer"
# `model_type` of config.json, of folders that name no class.
MODEL_TYPES = {kind: kind for kind in KINDS if kind != "as it is"} | {"distilbert": "bert", "electra": "bert"}
# What the classes read where there is no tokenizer.json.
FILES = {
    "bert": "vocab.txt",
    "albert": "spiece.model",
    "gpt2": "vocab.json + merges.txt",
    "openai-gpt": "vocab.json + merges.txt",
    "roberta": "vocab.json + merges.txt",
    "xlm-roberta": "none",
}
# Keys of tokenizer_config.json that would replace what the folder's other files say.
NOT_READ = ("vocab", "merges", "init_inputs", "tokenizer_object", "gguf_file", "fix_mistral_regex")
# White space that the library cuts off a line of vocab.txt.
BLANKS = " \t\v\f\r\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))


def read(folder):
    """The tokenizer of a model's folder, Hugging Face's or the original's.

    Ids are those of `transformers`' tokenizer of the same files, but for

        a token with a role (ROLES) that a text spells, which is text here: `split_special_tokens=True` there, which
        still takes ALBERT's '<pad>' and '<unk>' for tokens, and '[MASK]' where case matters
        a spiece.model without a tokenizer.json: as ALBERT was trained, and as in the tokenizer.json that Hugging Face
        made of it, a digit and a comma are never one piece and user-defined symbols stay inside words
        a token that only its class asks for, without a piece and without a row in the model's table: left out here,
        or refused if other tokens are added after it
        a folder of whose class only the model's type tells, and that has none of its files: another vocabulary that is
        there is read, where theirs begins an empty one

    and those of google-research/bert's tokenization.py, but for a capital sigma that ends a word (ours becomes the
    small one of a word's inside), letters for private use (dropped here), 256 ideographs (U+2B820 to U+2B91F stay
    together here) and signs and marks that are younger than Unicode 8.

    Args:
      folder: a path; its first files in this module's table are read.

    Returns:
      tokenizers.Tokenizer, which neither cuts nor fills and knows the roles of its tokens, see `tokenizers.vocabulary`.

    Raises:
      UserError: no such folder, no tokenizer in it, or one of another class; a file is broken, or two do not fit
        together.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"no folder {folder}")
    options, config = (_read_optional(folder / name) for name in ("tokenizer_config.json", "config.json"))
    kind, path = _kind(folder, options, config), folder / "tokenizer.json"
    if path.exists():
        kind, text = kind or "as it is", read_text(path)
        with refused(f"{path} is not a tokenizer.json"):
            description = json.loads(tokenizers.Tokenizer.from_str(text).to_str())
        settings = _settings(folder, options, parse_json(text, path, numbered=True))
        if kind != "as it is":
            description = _as_class(folder, kind, description, settings.options, config.get("model_type"))
        names = KINDS[kind][1]
    else:
        settings = _settings(folder, options, {})
        if kind == "as it is":
            kind = None  # such a class has no files of its own
        found = _read_classic(folder, kind, settings.options)
        if found is None and not (options.get("tokenizer_class") or config.get("tokenizer_class")):
            # The model's type is no reason to pass over the one vocabulary there is: Chinese ALBERTs have BERT's.
            kind, found = None, _read_classic(folder, None, settings.options)
        if found is None:
            raise UserError(
                f"{folder} holds no tokenizer: none of tokenizer.json, vocab.txt, "
                f"{', '.join(' + '.join(names) for names in BPE_FILES)}, spiece.model"
                + (f", of which the class that it names reads {FILES[kind]}" if kind else "")
            )
        tokenizer, guessed = found
        description, names = json.loads(tokenizer.to_str()), KINDS[guessed][1]
        if kind is None:  # its originals have no more tokens than pieces
            names = {role: name for role, name in names.items() if tokenizer.token_to_id(name) is not None}
    return _with_tokens(folder, description, settings, names)


def with_ends(tokenizer, folder):
    """Stores in the tokenizer of a model's folder what ends a text for `transformers`' generate, and returns it.

    That is in generation_config.json, or else in config.json; where neither says, the tokenizer's own end of text.

    Raises:
      UserError: `eos_token_id` is no token id and no list of them.
    """
    ids = _eos_ids(Path(folder))
    known = vocabulary(tokenizer)
    ends = [number for number in ids or [] if number < known.size]
    if ids is None or tuple(ends) == known.ends:
        return tokenizer
    return with_roles(tokenizer, roles(tokenizer) | {"ends": ends})


def _eos_ids(folder):
    """The ids that end a text, as a model's configs have them, or None."""
    for name in ("generation_config.json", "config.json"):
        value = _read_optional(folder / name).get("eos_token_id")
        if value is not None:
            ids = value if isinstance(value, list) else [value]
            if any(type(number) is not int for number in ids):
                raise UserError(f"{folder / name}: eos_token_id={_shown(value)} is no token id and no list of them")
            return [number for number in ids if number >= 0]
    return None


def _read_optional(path):
    return read_json(path) if path.exists() else {}


def _name(path, values, key):
    """What a file says of a key, None or a name.

    Raises:
      UserError: it is something else.
    """
    value = values.get(key)
    if value is not None and not (value and isinstance(value, str)):
        raise UserError(f"{path}: {key}={_shown(value)} is no name")
    return value


def _shown(value):
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _kind(folder, options, config):
    """Which of KINDS a folder's tokenizer is; None: no file says."""
    path, own = folder / "tokenizer_config.json", options.get("auto_map")
    if own and not (isinstance(own, dict) and not own.get("AutoTokenizer")):
        raise UserError(f"{path}: auto_map: its tokenizer is code of its own, which is not run")
    for key in NOT_READ:
        if options.get(key):
            raise UserError(f"{path}: {key} is not read: the pieces are those of the folder's other files")
    versions = options.get("fast_tokenizer_files") or []
    if not isinstance(versions, list) or not set(map(str, versions)) <= {"tokenizer.json"}:
        raise UserError(f"{path}: fast_tokenizer_files={_shown(versions)} is not read, only tokenizer.json is")
    name = _name(path, options, "tokenizer_class")
    # Both of config.json are looked at whatever decides: the rest of it is read, too.
    second, model_type = (_name(folder / "config.json", config, key) for key in ("tokenizer_class", "model_type"))
    if not name:
        path, name = folder / "config.json", second
    if not name and not model_type:
        return None
    table, key = (CLASSES, name) if name else (MODEL_TYPES, model_type)
    kind = table.get(key.removesuffix("Fast"))
    if kind is None:
        what = _shown(name) if name else f"that of model_type={_shown(model_type)}"
        hint = ""
        if (folder / "tokenizer.json").exists():
            hint = "; tokenizer_class=PreTrainedTokenizerFast in tokenizer_config.json reads tokenizer.json as it is"
        raise UserError(f"{path}: its tokenizer is {what}, none of those that are read ({READ}){hint}")
    return kind


class Settings(NamedTuple):
    """What a folder's files say of its tokenizer's class and of tokens.

    Attributes:
      options: of the class; of the keys in ROLES, AddedTokens or None.
      added: AddedTokens, in the order of their ids.
      further: AddedTokens whose roles are none of ours.
    """

    options: dict
    added: list
    further: list


def _settings(folder, options, description):
    """The Settings of a folder, put together in the way and order of `transformers` (`_from_pretrained`).

    Args:
      folder: a Path.
      options: what tokenizer_config.json holds.
      description: what tokenizer.json holds, {} if there is none.
    """
    extra, older = "extra_special_tokens", "additional_special_tokens"
    path, options, added = folder / "tokenizer_config.json", dict(options), {}
    if older in options and not options.get(extra):
        options[extra] = options.pop(older)
    named = {key: options.pop(key) for key in _further(options, str)}

    def take_named():
        if isinstance(options.get(extra), dict):
            named.update(options.pop(extra))

    take_named()
    if "added_tokens_decoder" in options:
        tokens = of_kind(options["added_tokens_decoder"], dict, f"{path}: added_tokens_decoder")
        added = {_number(number, path): _token(token, path) for number, token in tokens.items()}
    else:
        path = folder / "special_tokens_map.json"
        for key, value in _read_optional(path).items():
            if key == extra and isinstance(value, list):
                there = of_kind(options.get(extra) or [], list, f"{path}: {extra}")
                value = there + [token for token in value if token not in there]
            elif key != extra and isinstance(value, dict):
                value = _token(value, path, special=True)
            options[key] = value
        take_named()
        extras = of_kind(options.get(extra) or [], list, f"{path}: {extra}")
        special = [options.get(role) for role in ROLES] + extras
        special = {getattr(token, "content", token) for token in special if isinstance(token, str | AddedToken)}
        path = folder / "added_tokens.json"
        for content, number in _read_optional(path).items():
            known = content in special
            added[_number(number, path)] = AddedToken(content, normalized=not known, special=known)
        path = folder / "tokenizer.json"
        for token in of_kind(description.get("added_tokens") or [], list, f"{path}: added_tokens"):
            token = dict(of_kind(token, dict, f"{path}: added_tokens"))
            number = _number(token.pop("id", None), path)
            added[number] = _token(token, path)
    path = folder / "tokenizer_config.json"
    options |= {role: _token(options[role], path) for role in ROLES if options.get(role) is not None}
    named = {key: options[key] for key in _further(options, str | AddedToken)} | named
    extras = of_kind(options.get(extra if extra in options else older) or [], list, f"{path}: {extra}")
    further = [_token(token, path) for token in [*named.values(), *extras]]
    return Settings(options, [added[number] for number in sorted(added)], further)


def _further(options, kind):
    """The keys that name a token of type `kind` with a role that is none of ours."""
    return [key for key, value in options.items() if key.endswith("_token") and key not in ROLES and isinstance(value, kind)]


def _number(value, path):
    if type(value) is int or isinstance(value, str) and re.fullmatch("[0-9]{1,10}", value):
        return int(value)
    raise UserError(f"{path}: {_shown(value)} is no token id")


def _token(value, path, **flags):
    """An AddedToken from what a file at `path` says of a token, its name or an object, and from `flags`."""
    kinds = dict(content=str, single_word=bool, lstrip=bool, rstrip=bool, normalized=bool, special=bool)
    if isinstance(value, AddedToken):
        return value
    if isinstance(value, str):
        return AddedToken(value, special=True)
    if isinstance(value, dict):
        fields = {key: item for key, item in value.items() if key != "__type"} | flags
        if "content" in fields and all(type(item) is kinds.get(key) for key, item in fields.items()):
            return AddedToken(**fields)
    raise UserError(f"{path}: {_shown(value)} is no token")


def _flag(options, key, default, folder):
    """The value of a key that is true or false, or like its default None."""
    value = options.get(key, default)
    if type(value) is not bool and value is not default:
        raise UserError(f"{folder / 'tokenizer_config.json'}: {key}={_shown(value)} must be true or false")
    return value


def _as_class(folder, kind, description, options, model_type):
    """A tokenizer.json's content as a class takes it: its pieces, and the steps before them anew.

    Raises:
      UserError: the class has another model, or `transformers` may take the file as it is (it does so for some of the
        model types that are none of ours) and that is something else.
    """
    path, model = folder / "tokenizer.json", description["model"]
    if model["type"] != KINDS[kind][0]:
        raise UserError(
            f"{path} holds a {model['type']} model, and the folder's tokenizer class takes its pieces for those of "
            f"{KINDS[kind][0]}; tokenizer_class=PreTrainedTokenizerFast in tokenizer_config.json reads the file as it is"
        )
    normalizer = description["normalizer"] or {}
    steps = normalizer.get("normalizers", [normalizer])
    charsmap = next((base64.b64decode(step["precompiled_charsmap"]) for step in steps if step.get("type") == "Precompiled"), b"")
    taken = dict(model, unk_id={"albert": 1, "xlm-roberta": 3}.get(kind), max_input_chars_per_word=100)
    with refused(f"{path}: its class cannot take its pieces"):
        built = json.loads(_build(folder, kind, taken, options, charsmap).to_str())
    made = {name: _or_alike(description[name], built[name]) for name in ("normalizer", "pre_tokenizer")}
    # What is off may be left out, null, "" or false.
    made["model"] = {key: value if model.get(key) or value else model.get(key) for key, value in built["model"].items()}
    made["decoder"] = description["decoder"] or built["decoder"]
    made = description | made
    if model_type and model_type not in MODEL_TYPES:
        pair = [tokenizers.Tokenizer.from_str(json.dumps(one | {"added_tokens": []})) for one in (description, made)]
        if identity(pair[0]) != identity(pair[1]):
            raise UserError(
                f"{path} says something else than the folder's tokenizer class, and which of them counts for "
                f"model_type={_shown(model_type)} is not known here"
            )
    return made | {"added_tokens": []}


def _or_alike(step, wanted):
    """`step`, if text goes through it as through `wanted`."""

    def decisive(step):
        step = dict(step or {})
        step.pop("trim_offsets", None)
        # Of ALBERT's: what follows splits at any number of spaces.
        steps = [one for one in step.get("normalizers", []) if one.get("pattern") != {"Regex": " {2,}"}]
        return step | ({"normalizers": steps} if steps else {})

    return step if decisive(step) == decisive(wanted) else wanted


def _build(folder, kind, model, options, charsmap=b""):
    """The tokenizer that a class makes of pieces.

    Args:
      folder, kind, options: as in `read`.
      model: `vocab` and what else a model of KINDS takes, as in tokenizer.json.
      charsmap: how SentencePiece normalises characters, from its model.
    """

    def flag(key, default):
        return _flag(options, key, default, folder)

    unknown = options.get("unk_token", KINDS[kind][1]["unk_token"])
    unknown = unknown.content if isinstance(unknown, AddedToken) else str(unknown)
    if kind == "bert":
        letters = model["max_input_chars_per_word"]
        made = models.WordPiece(model["vocab"], unk_token=unknown, max_input_chars_per_word=letters)
        normalizer = normalizers.BertNormalizer(
            lowercase=flag("do_lower_case", True),
            strip_accents=flag("strip_accents", None),
            handle_chinese_chars=flag("tokenize_chinese_chars", True),
        )
        splitter, decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    elif kind == "openai-gpt":
        merges = [tuple(pair) for pair in model["merges"]]
        made = models.BPE(model["vocab"], merges, unk_token=unknown, end_of_word_suffix="</w>")
        normalizer = normalizers.BertNormalizer(lowercase=True)
        splitter, decoder = pre_tokenizers.BertPreTokenizer(), decoders.BPEDecoder(suffix="</w>")
    elif kind in ("gpt2", "roberta"):
        made, normalizer = models.BPE(model["vocab"], [tuple(pair) for pair in model["merges"]]), None
        splitter = pre_tokenizers.ByteLevel(add_prefix_space=flag("add_prefix_space", False))
        decoder = decoders.ByteLevel()
    else:
        made = models.Unigram([tuple(pair) for pair in model["vocab"]], unk_id=model["unk_id"])
        normalizer = normalizers.Precompiled(charsmap) if charsmap else None
        if kind == "albert":
            steps = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
            steps += [normalizers.NFKD(), normalizers.StripAccents()] * (not flag("keep_accents", False))
            steps += [normalizers.Lowercase()] * flag("do_lower_case", True)
            normalizer = normalizers.Sequence(steps + [normalizer] * bool(charsmap))
        space = "always" if flag("add_prefix_space", True) else "never"
        metaspace = pre_tokenizers.Metaspace(prepend_scheme=space)
        splitter = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), metaspace])
        decoder = decoders.Metaspace(prepend_scheme=space)
    tokenizer = tokenizers.Tokenizer(made)
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer, tokenizer.decoder = splitter, decoder
    return tokenizer


def _with_tokens(folder, description, settings, names):
    """The tokenizer of a tokenizer.json's content, with the tokens that its folder adds and the roles of all.

    Args:
      folder, settings: as `_settings` takes and gives.
      description: that content.
      names: of the class, role -> token where no file names another.
    """
    options = settings.options
    names = {role: name for role, name in names.items() if role not in options}
    named = {role: AddedToken(name, special=True) for role, name in names.items()} | options
    named = {role: named[role] for role in ROLES if named.get(role) is not None}
    with refused(f"{folder}: its tokenizer cannot be built"):
        tokenizer = tokenizers.Tokenizer.from_str(json.dumps(description))
        own = tokenizer.get_vocab(with_added_tokens=True).keys()
        listed = [token.content for token in [*tokenizer.get_added_tokens_decoder().values(), *settings.added]]
        others = [token for token in [*named.values(), *settings.further] if token.content not in listed]
        adding = _with_rows(folder, own, settings.added + others, set(names.values()) - set(listed))
        tokenizer.add_tokens(adding)
    pieces(tokenizer, f"{folder}: the tokenizer")
    known = vocabulary(tokenizer)
    ids = {ROLES[role]: tokenizer.token_to_id(token.content) for role, token in named.items()}
    ids = {role: number for role, number in ids.items() if number is not None}
    if "end_of_text" not in ids and known.end_of_text is None:
        ids |= {"end_of_text": number for number in (_eos_ids(folder) or [])[:1] if number < known.size}
    ends = ids.get("end_of_text", known.end_of_text)
    if ids.get("unknown") == ends:
        ids.pop("unknown", None)  # GPT-2's class names one, but no text has it
    if ids.get("start_of_text") in (ends, ids.get("start")):
        ids.pop("start_of_text", None)
    tokenizer = with_roles(tokenizer, {role: [number] for role, number in ids.items() if number != getattr(known, role)})
    known = vocabulary(tokenizer)
    description = json.loads(tokenizer.to_str())
    for token in description["added_tokens"]:
        # Only we place tokens with a role; others have no way into a text but by being written there.
        has_role = any(token["id"] == getattr(known, role) for role in (*ROLES.values(), "extract"))
        token["special"] = has_role or token["special"] and _flag(options, "split_special_tokens", False, folder)
    return checked(tokenizers.Tokenizer.from_str(json.dumps(description)), folder)


def _with_rows(folder, own, tokens, asked):
    """Those of `tokens` to add that the model's table has rows for.

    Args:
      folder: whose configs may say how many rows there are.
      own: the pieces that the tokenizer has.
      tokens: AddedTokens.
      asked: of their names those that the tokenizer's class asks for, and no file: left out if there are too few rows
        and no other token comes after them.

    Raises:
      UserError: there are too few rows for the others.
    """
    for name, key in MODEL_CONFIGS.items():
        rows = _read_optional(folder / name).get(key)
        if rows is None:
            continue
        if type(rows) is not int:
            raise UserError(f"{folder / name}: {key}={_shown(rows)} is no number of pieces")
        new = [name for name in dict.fromkeys(token.content for token in tokens) if name not in own]
        kept = [name for name in new if name not in asked]
        if len(own) + len(new) > rows and new[: len(kept)] == kept:  # else the ids of others would move
            tokens, new = [token for token in tokens if token.content not in asked], kept
        if len(own) + len(new) > rows:
            added = f", to which its files and its class add {_shown(sorted(new))}," if new else ""
            raise UserError(
                f"{folder}: the tokenizer has {len(own)} pieces{added} and {name} {key}={rows}; they are of different models"
            )
    return tokens


def _read_classic(folder, kind, options):
    """The tokenizer of a folder without tokenizer.json and which of KINDS it is, or None; arguments as for `_build`."""
    if kind in (None, "bert") and (folder / "vocab.txt").exists():
        return _read_wordpiece(folder, kind, options), "bert"
    if kind in (None, "gpt2", "openai-gpt", "roberta"):
        for names in BPE_FILES:
            vocab_path, merges_path = (folder / name for name in names)
            if vocab_path.exists() and merges_path.exists():
                return _read_bpe(folder, kind, options, vocab_path, merges_path)
    if kind in (None, "albert"):
        # `transformers` prefers the first name.
        found = [folder / name for name in ("tokenizer.model", "spiece.model") if (folder / name).exists()][:1]
        found = found or sorted(folder.glob("*.model"))
        if len(found) > 1:
            raise UserError(f"{folder} has {len(found)} files *.model: keep one, or call it spiece.model")
        if found:
            return _read_sentencepiece(folder, kind, options, found[0]), "albert"
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
        raise UserError(f"{path} has no {unknown.content if unknown else 'unk_token'}: not a vocabulary of BERT's kind")
    if any(piece.startswith("\u2581") for piece in vocab) and not any(piece.startswith("##") for piece in vocab):
        raise UserError(f"{path} marks beginnings of words with \u2581, not continuations with ##: not of BERT's kind")
    # The original takes longer words than Hugging Face; and nothing in its folder says whether case matters.
    original = (folder / "bert_config.json").exists() or any(folder.glob("*.index"))
    letters = 100
    if original and kind is None and not (folder / "tokenizer_config.json").exists():
        letters, cased = 200, any(piece != piece.lower() for piece in vocab if not re.fullmatch(r"\[.*\]", piece))
        options = {"do_lower_case": not cased} | options
    model = dict(vocab={piece: number for number, piece in enumerate(vocab)}, max_input_chars_per_word=letters)
    return _build(folder, "bert", model, options)


def _read_bpe(folder, kind, options, vocab_path, merges_path):
    """A tokenizer of pairs, of letters or bytes, and which of KINDS it is."""
    vocab, merges = read_json(vocab_path), _parse_merges(read_text(merges_path), merges_path)
    if kind is None:
        kind = "openai-gpt" if any(piece.endswith("</w>") for piece in vocab) else "gpt2"
    if kind == "openai-gpt" and "<unk>" not in vocab:
        raise UserError(f"{vocab_path} has no <unk>: not a vocabulary of GPT-1's kind")
    missing = set() if kind == "openai-gpt" else set(pre_tokenizers.ByteLevel.alphabet()) - vocab.keys()
    if missing:
        raise UserError(f"{vocab_path} lacks {len(missing)} of the 256 bytes: not a vocabulary of GPT-2's kind")
    with refused(f"{vocab_path} and its merges do not fit together"):
        if any(type(number) is not int for number in vocab.values()):
            raise TypeError("an id is no whole number")
        return _build(folder, kind, dict(vocab=vocab, merges=merges), options), kind


def _parse_merges(text, path):
    merges = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.startswith("#version"):
            continue
        pair = line.split(" ")
        if len(pair) != 2:
            raise UserError(f"{path}: line {number} is not a pair of pieces: {_shown(line)}")
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
        raise UserError(f"{path} is not a SentencePiece unigram model of ALBERT's kind")
    if kind is not None and unknown != [1]:
        raise UserError(f"{path}: its unknown piece has id {unknown[0]}, and the class that the folder names takes 1 for it")
    vocab = [(piece.piece, _score(piece)) for piece in proto.pieces]
    special = [piece.piece for piece in proto.pieces if piece.type in (kinds.UNKNOWN, kinds.CONTROL)]
    with refused(f"{path} cannot be read"):
        model = dict(vocab=vocab, unk_id=unknown[0])
        tokenizer = _build(folder, "albert", model, options, proto.normalizer_spec.precompiled_charsmap)
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
    # One token in both places, as some name GPT-2's, is put around no text.
    framed = known.start is not None and known.separator not in (None, known.start)
    tokens = {role: getattr(known, field) for role, field in ROLES.items()}
    if description["model"]["type"] == "Unigram" and "end_of_text" not in roles(tokenizer):
        tokens |= dict(bos_token=known.start, eos_token=known.separator)
    elif framed and known.end_of_text == known.separator:
        tokens |= dict(bos_token=None, eos_token=None)  # BERT's have none of their own
    if not framed and known.unknown is None:
        tokens["unk_token"] = known.end_of_text
    tokens = {role: tokenizer.id_to_token(number) for role, number in tokens.items() if number is not None}
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
    by_id = sorted(ids, key=ids.get)
    files, again, folder = {}, None, Path()
    if model["type"] == "WordPiece" and "tokenize_chinese_chars" in config and not any("\n" in piece for piece in by_id):
        files = {"vocab.txt": "".join(f"{piece}\n" for piece in by_id)}
        again = _build(folder, "bert", model | {"vocab": ids}, config)
    elif model["type"] == "BPE":
        merges = "".join(f"{left} {right}\n" for left, right in model["merges"])
        files = {
            "vocab.json": json.dumps({piece: ids[piece] for piece in by_id}, ensure_ascii=False),
            "merges.txt": f"#version: 0.2\n{merges}",
        }
        kind = "openai-gpt" if any(piece.endswith("</w>") for piece in by_id) else "gpt2"
        try:
            with refused(folder):
                model = dict(vocab=ids, merges=_parse_merges(files["merges.txt"], folder))
                again = _build(folder, kind, model, config)
        except UserError:
            return {}
    return files if again and identity(for_plain_text(again)) == identity(tokenizer) else {}
