"""Tokenizers in folders of `transformers` and of the original releases, read; and written for `transformers`.

A folder of Hugging Face's names a tokenizer class in tokenizer_config.json, or else implies one in config.json. The
class reads only the pieces from the vocabulary files (`classes`): how text is normalised and split depends on the class
and on tokenizer_config.json, whatever tokenizer.json says. PreTrainedTokenizerFast, and a folder that names no class, read
tokenizer.json as it is. tokenizer_config.json also adds tokens and gives them roles; without `added_tokens_decoder`, so
do special_tokens_map.json, added_tokens.json and tokenizer.json.
"""

import json
import re
from pathlib import Path
from typing import NamedTuple

import tokenizers
from tokenizers import AddedToken, processors

from ssl_jax.errors import UserError
from ssl_jax.files import of_kind, parse_json, read_text, replacing
from ssl_jax.tokenization.checks import checked, for_plain_text, refused
from ssl_jax.tokenization.classes import (
    BPE_FILES,
    FILES,
    KINDS,
    as_class,
    as_json,
    build,
    flag,
    kind_of,
    parse_merges,
    read_classic,
    read_optional,
)
from ssl_jax.tokenization.vocabulary import identity, pieces_by_id, stored_roles, vocabulary_of, with_roles

# Files and keys with the number of pieces that the model knows: Hugging Face, google-research, OpenAI.
MODEL_CONFIGS = {
    "config.json": "vocab_size",
    "bert_config.json": "vocab_size",
    "albert_config.json": "vocab_size",
    "hparams.json": "n_vocab",
}
# Hugging Face's names of roles, in the order in which their tokens are added -> fields of Vocabulary.
ROLES = {
    "bos_token": "start_of_text",
    "eos_token": "end_of_text",
    "unk_token": "unknown",
    "sep_token": "separator",
    "pad_token": "pad",
    "cls_token": "start",
    "mask_token": "mask",
}


def read(folder):
    """The tokenizer of a model's folder, Hugging Face's or the original release's.

    Ids are those of `transformers`' tokenizer of the same files, except for

        a token with a role (ROLES) that a text spells, which is text here. `split_special_tokens=True` does the same
        there, but still reads ALBERT's '<pad>' and '<unk>' as tokens, and '[MASK]' where case matters
        a spiece.model without a tokenizer.json: as in ALBERT's training, and in the tokenizer.json that Hugging Face
        derived from it, a digit and a comma are never one piece, and user-defined symbols stay inside words
        a token that only its class asks for, without a piece and without a row in the model's table: left out here,
        or refused if other tokens are added after it
        a folder whose class only the model's type implies, without that class's files: another vocabulary in the
        folder is read, where theirs starts an empty one

    and those of google-research/bert's tokenization.py, except for a capital sigma that ends a word (here it becomes
    the small sigma used inside words), private-use letters (dropped here), 256 ideographs (U+2B820 to U+2B91F stay
    together here) and signs and marks newer than Unicode 8.

    Args:
      folder: a path; the files that come first in the tables of `classes` are read.

    Returns:
      tokenizers.Tokenizer, which neither truncates nor pads and has the roles of its tokens, see
      `vocabulary.vocabulary_of`.

    Raises:
      UserError: there is no such folder, no tokenizer in it, or one of an unsupported class; a file is damaged, or two
        do not fit together.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"no folder {folder}")
    options, config = (read_optional(folder / name) for name in ("tokenizer_config.json", "config.json"))
    kind, path = kind_of(folder, options, config), folder / "tokenizer.json"
    if path.exists():
        kind, text = kind or "as it is", read_text(path)
        with refused(f"{path} is not a tokenizer.json"):
            description = json.loads(tokenizers.Tokenizer.from_str(text).to_str())
        settings = _settings(folder, options, parse_json(text, path, numbered=True))
        if kind != "as it is":
            description = as_class(folder, kind, description, settings.options, config.get("model_type"))
        names = KINDS[kind][1]
    else:
        settings = _settings(folder, options, {})
        if kind == "as it is":
            kind = None  # these classes have no files of their own
        found = read_classic(folder, kind, settings.options)
        if found is None and not (options.get("tokenizer_class") or config.get("tokenizer_class")):
            # The model's type does not rule out another vocabulary in the folder: Chinese ALBERTs have BERT's.
            kind, found = None, read_classic(folder, None, settings.options)
        if found is None:
            raise UserError(
                f"{folder} holds no tokenizer: none of tokenizer.json, vocab.txt, "
                f"{', '.join(' + '.join(names) for names in BPE_FILES)}, spiece.model"
                + (f"; the class that it names reads {FILES[kind]}" if kind else "")
            )
        tokenizer, guessed = found
        description, names = json.loads(tokenizer.to_str()), KINDS[guessed][1]
        if kind is None:  # an original release has no tokens besides its pieces
            names = {role: name for role, name in names.items() if tokenizer.token_to_id(name) is not None}
    return _with_tokens(folder, description, settings, names)


def with_ends(tokenizer, folder):
    """Stores in a tokenizer the ids that end text in `transformers`' generate, and returns it.

    They come from the model's generation_config.json, or else config.json; otherwise it is the tokenizer's end of text.

    Raises:
      UserError: `eos_token_id` is neither a token id nor a list of them.
    """
    ids = _eos_ids(Path(folder))
    known = vocabulary_of(tokenizer)
    ends = [number for number in ids or [] if number < known.size]
    if ids is None or tuple(ends) == known.ends:
        return tokenizer
    return with_roles(tokenizer, stored_roles(tokenizer) | {"ends": ends})


def _eos_ids(folder):
    """The ids that end a text according to the model's configs, or None."""
    for name in ("generation_config.json", "config.json"):
        value = read_optional(folder / name).get("eos_token_id")
        if value is not None:
            ids = value if isinstance(value, list) else [value]
            if any(type(number) is not int for number in ids):
                where = f"{folder / name}: eos_token_id={as_json(value)}"
                raise UserError(f"{where} is neither a token id nor a list of them")
            return [number for number in ids if number >= 0]
    return None


class Settings(NamedTuple):
    """A folder's options for its tokenizer's class, and its tokens.

    Attributes:
      options: of the class; for the keys in ROLES, AddedTokens or None.
      added: AddedTokens, in the order of their ids.
      further: AddedTokens whose roles are not among ROLES.
    """

    options: dict
    added: list
    further: list


def _settings(folder, options, description):
    """The Settings of a folder, assembled in the same order as by `transformers` (`_from_pretrained`).

    Args:
      folder: a Path.
      options: the content of tokenizer_config.json.
      description: the content of tokenizer.json, {} if there is none.
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
        for key, value in read_optional(path).items():
            if key == extra and isinstance(value, list):
                before = of_kind(options.get(extra) or [], list, f"{path}: {extra}")
                value = before + [token for token in value if token not in before]
            elif key != extra and isinstance(value, dict):
                value = _token(value, path, special=True)
            options[key] = value
        take_named()
        extras = of_kind(options.get(extra) or [], list, f"{path}: {extra}")
        special = [options.get(role) for role in ROLES] + extras
        special = {getattr(token, "content", token) for token in special if isinstance(token, str | AddedToken)}
        path = folder / "added_tokens.json"
        for content, number in read_optional(path).items():
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
    """The keys that name a token of type `kind` with a role that is not among ROLES."""
    keys = (key for key, value in options.items() if isinstance(value, kind))
    return [key for key in keys if key.endswith("_token") and key not in ROLES]


def _number(value, path):
    if type(value) is int or isinstance(value, str) and re.fullmatch("[0-9]{1,10}", value):
        return int(value)
    raise UserError(f"{path}: {as_json(value)} is not a token id")


def _token(value, path, **flags):
    """An AddedToken from a token in the file at `path`, a name or an object, and from `flags`."""
    kinds = dict(content=str, single_word=bool, lstrip=bool, rstrip=bool, normalized=bool, special=bool)
    if isinstance(value, AddedToken):
        return value
    if isinstance(value, str):
        return AddedToken(value, special=True)
    if isinstance(value, dict):
        fields = {key: item for key, item in value.items() if key != "__type"} | flags
        if "content" in fields and all(type(item) is kinds.get(key) for key, item in fields.items()):
            return AddedToken(**fields)
    raise UserError(f"{path}: {as_json(value)} is not a token")


def _with_tokens(folder, description, settings, names):
    """The tokenizer of a tokenizer.json's content, with the tokens that its folder adds and all roles.

    Args:
      folder: a Path.
      description: the content of tokenizer.json.
      settings: from `_settings`.
      names: the class's tokens unless a file names others, role -> name.
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
    pieces_by_id(tokenizer, f"{folder}: the tokenizer")
    known = vocabulary_of(tokenizer)
    ids = {ROLES[role]: tokenizer.token_to_id(token.content) for role, token in named.items()}
    ids = {role: number for role, number in ids.items() if number is not None}
    if "end_of_text" not in ids and known.end_of_text is None:
        ids |= {"end_of_text": number for number in (_eos_ids(folder) or [])[:1] if number < known.size}
    ends = ids.get("end_of_text", known.end_of_text)
    if ids.get("unknown") == ends:
        ids.pop("unknown", None)  # GPT-2's class names one, but it never occurs
    if ids.get("start_of_text") in (ends, ids.get("start")):
        ids.pop("start_of_text", None)
    roles = {role: [number] for role, number in ids.items() if number != getattr(known, role)}
    tokenizer = with_roles(tokenizer, roles)
    known = vocabulary_of(tokenizer)
    description = json.loads(tokenizer.to_str())
    for token in description["added_tokens"]:
        # Only our code places tokens with a role; other tokens enter a text only by being written in it.
        has_role = any(token["id"] == getattr(known, role) for role in (*ROLES.values(), "extract"))
        token["special"] = has_role or token["special"] and flag(options, "split_special_tokens", False, folder)
    return checked(tokenizers.Tokenizer.from_str(json.dumps(description)), folder)


def _with_rows(folder, own, tokens, optional):
    """Those of `tokens` for which the model's table has rows.

    Args:
      folder: a Path; its configs may say how many rows there are.
      own: the tokenizer's pieces.
      tokens: AddedTokens, to be added.
      optional: names that only the tokenizer's class asks for, not a file: left out if there are too few rows and no
        other token comes after them.

    Raises:
      UserError: there are too few rows for the other tokens.
    """
    for name, key in MODEL_CONFIGS.items():
        rows = read_optional(folder / name).get(key)
        if rows is None:
            continue
        if type(rows) is not int:
            raise UserError(f"{folder / name}: {key}={as_json(rows)} is not a number of pieces")
        new = [name for name in dict.fromkeys(token.content for token in tokens) if name not in own]
        kept = [name for name in new if name not in optional]
        if len(own) + len(new) > rows and new[: len(kept)] == kept:  # otherwise ids of other tokens would shift
            tokens, new = [token for token in tokens if token.content not in optional], kept
        if len(own) + len(new) > rows:
            added = f", to which its files and its class add {as_json(sorted(new))}," if new else ""
            raise UserError(
                f"{folder}: the tokenizer has {len(own)} pieces{added} and {name} {key}={rows}; they belong to "
                "different models"
            )
    return tokens


def write(tokenizer, folder, positions, segments=True):
    """Writes files from which `transformers.AutoTokenizer` gives the same ids.

    tokenizer.json holds everything, and tokenizer_config.json names the class that reads it as it is, so nothing is
    rebuilt whatever model type the folder's config.json has. If there are [CLS] and [SEP], they are put around a text
    (`[CLS] A [SEP]`, `[CLS] A [SEP] B [SEP]`; the last one is the vocabulary's `extract`); otherwise nothing is added.
    vocab.txt, or vocab.json and merges.txt, are also written if together with tokenizer_config.json they give the same
    tokenizer. (`BertTokenizer`, if it is named explicitly, reads words of more than 100 letters as unknown, ours of
    more than 200.) There is no spiece.model: SentencePiece's normalisation is neither ours nor that of `transformers`.

    One difference remains: a '[SEP]' in a text is text here and a token there, unless theirs is called with
    `split_special_tokens=True`.

    Args:
      tokenizer: tokenizers.Tokenizer.
      folder: a path; created if absent.
      positions: int, the longest text with its special tokens.
      segments: whether the model reads token_type_ids (DistilBERT does not).

    Raises:
      UserError: the tokenizer's ids have gaps.
    """
    known, description = vocabulary_of(tokenizer), json.loads(tokenizer.to_str())
    # One token for both, as some files have it for GPT-2's, is not put around a text.
    framed = known.start is not None and known.separator not in (None, known.start)
    tokens = {role: getattr(known, field) for role, field in ROLES.items()}
    if description["model"]["type"] == "Unigram" and "end_of_text" not in stored_roles(tokenizer):
        tokens |= dict(bos_token=known.start, eos_token=known.separator)
    elif framed and known.end_of_text == known.separator:
        tokens |= dict(bos_token=None, eos_token=None)  # BERT has no tokens of its own for these
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
    """Options on letters and spaces in tokenizer_config.json, for the classes that read them."""
    normalizer = description["normalizer"] or {}
    steps = {step["type"]: step for step in normalizer.get("normalizers", [normalizer]) if step}
    bert = steps.get("BertNormalizer", {})
    options = dict(do_lower_case="Lowercase" in steps or bert.get("lowercase", False))
    if bert:
        options |= dict(strip_accents=bert["strip_accents"], tokenize_chinese_chars=bert["handle_chinese_chars"])
    if description["model"]["type"] == "Unigram":
        options["keep_accents"] = "StripAccents" not in steps
    if (description["pre_tokenizer"] or {}).get("type") == "ByteLevel":
        options["add_prefix_space"] = description["pre_tokenizer"]["add_prefix_space"]
    return options


def _complete(tokenizer, tokens, last):
    """A copy that has the special tokens and puts them around texts, and neither truncates nor pads.

    `last` is the id that ends a text; None: nothing is put around it.
    """
    copy = for_plain_text(tokenizers.Tokenizer.from_str(tokenizer.to_str()))
    # In the order of their ids, because a new one gets the next id.
    copy.add_special_tokens(sorted(set(tokens.values()), key=copy.token_to_id))
    description = json.loads(copy.to_str())
    for token in description["added_tokens"]:
        # A word includes the space before it, so the [MASK] in its place absorbs that space, as in theirs.
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
    """vocab.txt, or vocab.json and merges.txt: name -> text; {} if they would give another tokenizer."""
    model = description["model"]
    ids = tokenizer.get_vocab(with_added_tokens=True)
    by_id = sorted(ids, key=ids.get)
    files, rebuilt, folder = {}, None, Path()
    bert = model["type"] == "WordPiece" and "tokenize_chinese_chars" in config
    if bert and not any("\n" in piece for piece in by_id):
        files = {"vocab.txt": "".join(f"{piece}\n" for piece in by_id)}
        rebuilt = build(folder, "bert", model | {"vocab": ids}, config)
    elif model["type"] == "BPE":
        merges = "".join(f"{left} {right}\n" for left, right in model["merges"])
        files = {
            "vocab.json": json.dumps({piece: ids[piece] for piece in by_id}, ensure_ascii=False),
            "merges.txt": f"#version: 0.2\n{merges}",
        }
        kind = "openai-gpt" if any(piece.endswith("</w>") for piece in by_id) else "gpt2"
        try:
            with refused(folder):
                model = dict(vocab=ids, merges=parse_merges(files["merges.txt"], folder))
                rebuilt = build(folder, kind, model, config)
        except UserError:
            return {}
    return files if rebuilt and identity(for_plain_text(rebuilt)) == identity(tokenizer) else {}
