"""Imports and exports `transformers` folders: config.json, weights, tokenizer. Needs neither `transformers` nor torch.

A folder is loaded as a `runs.Run`, so anything that takes a run takes it: init.run, teacher.runs, generation. Its
heads follow from its tensors and, where several share names, from config.json's `architectures`. Nothing is skipped
silently: a tensor without a place, or a place without a tensor, is an error that names it.

ELECTRA's two halves are two folders there; here, in and out, `discriminator` and `generator` within one.
"""

import dataclasses
import functools
from pathlib import Path

import jax
import numpy as np
from flax import traverse_util

from ssl_jax.config import base
from ssl_jax.errors import UserError, check_choice, cut, listed, shown
from ssl_jax.files import new_folder, write_json
from ssl_jax.interop import names, weights
from ssl_jax.interop.config_files import (
    HALVES,
    entries_of,
    is_model,
    join_configs,
    read_theirs,
    run_config,
    trunk_fields,
)  # fmt: skip
from ssl_jax.interop.families import FAMILIES, activations
from ssl_jax.models.heads import HEADS
from ssl_jax.models.model import build_model, dummy_batch
from ssl_jax.models.spec import GENERATOR, TRAINED
from ssl_jax.models.transformer import TransformerConfig
from ssl_jax.parallel import Replicated
from ssl_jax.runs import Run
from ssl_jax.tokenization import folders
from ssl_jax.tokenization.vocabulary import vocabulary_of

# TinyBERT's projection has its own file, since none of their classes has a place for it.
FIT_FILE = "fit_dense.safetensors"

# Copies of tied tensors that files may hold -> the original; trunk names without the prefix.
COPIES = {
    "bert": {"cls.predictions.decoder.weight": "embeddings.word_embeddings.weight",
             "cls.predictions.decoder.bias": "cls.predictions.bias"},
    "albert": {"predictions.decoder.weight": "embeddings.word_embeddings.weight",
               "predictions.decoder.bias": "predictions.bias"},
    "electra": {"generator_lm_head.weight": "embeddings.word_embeddings.weight"},
    "distilbert": {"vocab_projector.weight": "embeddings.word_embeddings.weight"},
    "openai-gpt": {"lm_head.weight": "tokens_embed.weight"},
    "gpt2": {"lm_head.weight": "wte.weight"},
}  # fmt: skip
# Constants, and names in older files.
CONSTANTS = (".position_ids", ".attn.bias", ".attn.masked_bias")
OLDER = {".gamma": ".weight", ".beta": ".bias"}
PADDED = ("embeddings/token", "mlm/bias")  # parameters with one row per entry
# Our top-level parameters -> head; all others are the trunk's.
HEAD_OF = {row.name: head for head, row in HEADS.items()}


def load(folder, parallel=None, drop=(), padded=False):
    """Reads a folder as a run.

    Table rows after the tokenizer's entries, which pad the table to a multiple of config_files.MULTIPLES, are left out:
    no text has their ids, and the other logits are the same without them.

    Args:
      folder: holds config.json, weights (`weights.read`), a tokenizer (`folders.read`); or HALVES.
      parallel: the parameters come out as its `adopt` takes them; None: on one device.
      drop: their tensors to leave out, by full name or name prefix.
      padded: leave out any number of rows after the tokenizer's entries.

    Raises:
      UserError: unsupported architecture; a file is missing or damaged; a tensor is missing, misshapen, not a weight or
        unexpected; the tokenizer's entries do not match the table's rows.
    """
    folder = Path(folder)
    if not all(is_model(folder / half) for half in HALVES):
        return _load(folder, parallel, drop, padded)
    return join(*(_load(folder / half, parallel, drop, padded) for half in HALVES))._replace(workdir=folder)


def _load(folder, parallel, drop, padded):
    config, tensors, rows, quantised = _open(folder, drop)
    return as_run(folder, config, tensors, rows, names.TORCH, parallel, padded, quantised)


def as_run(folder, config, tensors, rows, style, parallel, padded, quantised=False):
    """Builds a run from a folder's tensors, each of which must have a place, and its tokenizer.

    Args:
      folder: a Path.
      config: a run's.
      tensors: theirs, name -> array; emptied.
      rows: `names.Row`s that map the tensors to ours.
      style: a `names.Style`.
      parallel, padded: as in `load`, as are the errors.
      quantised: whether the config declares the tensors quantised.
    """
    shapes = _shapes(_model(config, folder))
    flat = {name: leaf.shape for name, leaf in traverse_util.flatten_dict(shapes, sep="/").items()}
    where = f"{folder} (quantised, as its quantization_config says)" if quantised else str(folder)
    made = names.to_ours(tensors, rows, style, flat, where)
    if tensors:
        hint = "" if quantised else "; --drop leaves out what it names"
        raise UserError(f"{where}: there is no place for tensor {names.some(sorted(tensors))}{hint}")
    tokenizer = folders.with_ends(folders.read(folder), folder)
    vocabulary = vocabulary_of(tokenizer)
    notes = []
    surplus = config.model.vocab_size - entries_of(config.model.vocab_size, vocabulary.size, folder, padded)
    if surplus:
        notes.append(
            f"left out: {surplus:,} rows behind the tokenizer's {vocabulary.size:,} entries, which pad the table to "
            f"{config.model.vocab_size:,}: no text has their ids"
        )
        for name in (name for name in PADDED if name in made):
            made[name] = made[name][: vocabulary.size]
        for counted in (config.model, config.data.tokenizer):
            counted.vocab_size = vocabulary.size
    model = _model(config, folder)
    like = (parallel or Replicated(jax.local_devices()[:1])).like(_shapes(model))
    params = jax.tree.map(
        lambda like, x: jax.device_put(x, like.sharding), like, traverse_util.unflatten_dict(made, sep="/")
    )
    renamed = tuple(names.renamed(rows, flat, style))
    return Run(folder, config, model, params, tokenizer, vocabulary, notes=tuple(notes), renamed=renamed)


def _model(config, folder):
    try:
        return build_model(config)
    except UserError as error:  # incompatible sizes
        raise UserError(f"{folder}: {error}") from error


def looped(model):
    """A model that compiles one layer and loops over it, with the same parameters."""
    generator = model.generator
    if generator is not None:
        generator = dataclasses.replace(generator, trunk=dataclasses.replace(generator.trunk, scan=True))
    return model.clone(config=dataclasses.replace(model.config, scan=True), generator=generator)


@functools.cache
def _shapes(model):
    return jax.eval_shape(looped(model).init, jax.random.key(0), dummy_batch(model.orders))["params"]


def _open(folder, drop):
    """A folder's config as ours, its tensors by their newest names, the rows that map them to ours, and whether its
    config declares them quantised."""
    theirs, family = read_theirs(folder)
    trunk = trunk_fields(theirs, family, activations(family), folder / "config.json")
    tensors = weights.read(folder)
    if (folder / FIT_FILE).exists():
        fit = weights.read_file(folder / FIT_FILE)
        if fit.keys() & tensors.keys():
            raise UserError(f"{folder / FIT_FILE} has {names.some(sorted(fit.keys() & tensors.keys()))} once more")
        tensors |= fit
    tensors = _by_newest_names(tensors, drop, folder)
    _check_prefix(tensors, family, folder)
    prefix = f"{names.PREFIXES[family]}."
    prefix = prefix if any(name.startswith(prefix) for name in tensors) else ""
    copies = [copy for copy in COPIES[family] if copy in tensors]
    _remove_copies(tensors, family, prefix, folder)

    heads = _heads(tensors, family, theirs, folder)
    heads = _check_tied(theirs, family, heads, copies, folder)
    _check_activation(family, heads, trunk["activation"])
    if family == "albert" and trunk["embedding_size"] == trunk["hidden_size"]:
        _remove_identity(tensors, f"{prefix}encoder.embedding_hidden_mapping_in", folder)
    pooled = bool({"classes", "choice", "pair"} & set(heads))
    if family in ("bert", "albert"):
        pooled = pooled or any(name.startswith(f"{prefix}pooler.") for name in tensors)
    config = run_config(trunk | {"pooler": FAMILIES[family].pooler if pooled else "none"}, heads)
    _read_classes(config, heads, tensors, family, theirs, folder)
    rows = _rows(family, heads, prefix)
    for kind, (row,) in names.FIT.items():
        kernel = tensors.get(f"{row.theirs.format(0)}.weight")
        if kernel is not None:
            config.heads += ("fit",)
            config.teacher.update(projection=kind, hidden_size=len(kernel) if kernel.ndim else 0)
            rows.append(row)
    return config, tensors, rows, bool(theirs.get("quantization_config"))


def _check_activation(family, heads, activation):
    if family == "electra" and "mlm" in heads and activation != "gelu":
        raise UserError(f"the generator's head of transformers' electra has erf GELU, this trunk {activation}")


def _by_newest_names(tensors, drop, folder):
    """Tensors by their current names, without constants and those named in `drop`."""
    made = {}
    for name, x in tensors.items():
        newest = next((name.removesuffix(old) + new for old, new in OLDER.items() if name.endswith(old)), name)
        if newest.endswith(CONSTANTS) or dropped(newest, drop):
            continue
        if newest in made:
            raise UserError(f"{folder} has {cut(newest)} twice, once by its older name")
        made[newest] = x
    return made


def _check_prefix(tensors, family, folder):
    """Raises UserError if all tensors share a prefix that is foreign to the family."""
    first = {name.split(".")[0] for name in tensors}
    rows = [*names.TRUNKS[family], *(row for rows in names.HEADS[family].values() for row in rows)]
    known = {names.PREFIXES[family], *(row.theirs.split(".")[0] for row in rows)}
    if len(tensors) > 1 and len(first) == 1 and not first & known:
        raise UserError(
            f"{folder}: the names of all its tensors begin with {shown(first.pop() + '.')}, which is no part of a "
            f"{family}: DataParallel puts 'module.' before them and torch.compile '_orig_mod.'; have the model within "
            "saved, or its tensors renamed"
        )


def _check_tied(theirs, family, heads, copies, folder):
    """The heads of a model, checking that its token logits use its table: without such logits, untied tables are fine.

    Args:
      copies: those of COPIES that the folder has.

    Raises:
      UserError: tables are untied, and the folder lacks the logits' own.
    """
    tied = theirs.get("tie_word_embeddings", True)
    if not isinstance(tied, bool):
        raise UserError(f"{folder / 'config.json'}: tie_word_embeddings={shown(tied)} is neither true nor false")
    lacking = [copy for copy in COPIES[family] if copy not in copies]
    if tied or not lacking or not {"mlm", "clm"} & set(heads):
        return heads
    known = FAMILIES[family].classes.values()
    if heads == ("clm",) and not set(theirs.get("architectures") or ()) & set(known):
        return ()
    raise UserError(
        f"{folder}: its config.json has tie_word_embeddings=false, and there is no tensor {names.some(lacking)}"
    )


def dropped(name, drop):
    """Whether `drop` contains a tensor's name or its leading scopes."""
    return any(name == start or name.startswith((f"{start}.", f"{start}/")) for start in drop)


def _remove_copies(tensors, family, prefix, folder):
    """Removes copies of tied tensors; if only the copy exists, it takes the original's name."""
    trunk = {f"{row.theirs}.weight" for row in names.TRUNKS[family]}
    for copy, original in COPIES[family].items():
        original = prefix + original if original in trunk else original
        if copy in tensors:
            x = tensors.pop(copy)
            if not np.array_equal(tensors.setdefault(original, x), x):
                raise UserError(f"{folder}: {copy} is not {original}: untied tables are no model of ours")


def _remove_identity(tensors, name, folder):
    """Removes ALBERT's projection if tables are as wide as the trunk: there ours, like Google's code, has none."""
    kernel, bias = (tensors.pop(f"{name}.{part}", None) for part in ("weight", "bias"))
    square = kernel is not None and bias is not None and kernel.ndim == 2 and kernel.shape[0] == kernel.shape[1]
    if not square or not np.array_equal(kernel, np.eye(len(kernel))) or bias.any():
        raise UserError(
            f"{folder}: {name} is no identity; with embedding_size = hidden_size our trunk has no projection"
        )


def _heads(tensors, family, theirs, folder):
    """The heads whose tensors are present, sorted; if only part of a head is, `as_run` reports the rest missing."""
    known = names.HEADS[family]
    there = {row for rows in known.values() for row in rows if any(name in tensors for name in names.of_row(row))}
    found = {head for head, rows in known.items() if rows and there.issuperset(rows)}
    unclaimed = there - {row for head in found for row in known[head]}
    found |= {head for head, rows in known.items() if unclaimed & set(rows)}
    alike = found & {"classes", "choice", "token_classes"}
    if len(alike) > 1:
        by_class = {name: heads for heads, name in FAMILIES[family].classes.items()}
        named = {head for name in theirs.get("architectures") or () for head in by_class.get(name, ())} & alike
        if len(named) != 1:
            possible = sorted(name for name, heads in by_class.items() if alike & set(heads))
            raise UserError(
                f"{folder / 'config.json'}: its architectures must say what `classifier` is, one of "
                f"{', '.join(possible)}"
            )
        found = found - alike | named
    if "clm" in known and not found & {"classes", "token_classes", "span"}:
        found.add("clm")  # its decoder is the table
    return tuple(sorted(found))


def _read_classes(config, heads, tensors, family, theirs, folder):
    """Sets in the config the number of classes, their names, and whether they have a bias."""
    for head in {"classes", "token_classes"} & set(heads):
        row = names.HEADS[family][head][-1]
        logits = tensors.get(names.of_row(row)[0])
        classes = len(logits) if logits is not None and logits.ndim else 0
        if not classes:
            raise UserError(f"{folder} has no tensor {names.of_row(row)[0]} with a row for each class")
        kind = theirs.get("problem_type")
        if classes > 1 and kind not in (None, "single_label_classification"):
            raise UserError(
                f"{folder / 'config.json'}: problem_type={shown(kind)}: its classes do not exclude each other, as all of "
                f"ours do; scripts/convert.py from_hf --drop={names.of_row(row)[0].split('.')[0]} leaves them out"
            )
        labels = _label_names(theirs, classes, folder)
        config.task.update(classes=classes, bias=row.kind != "matrix", labels=labels)


def _label_names(theirs, classes, folder):
    """A config.json's names for this many classes, in order; () if it does not name exactly those."""
    numbers, by_number, by_name = range(classes), theirs.get("id2label"), theirs.get("label2id")
    named = [(), ()]
    if isinstance(by_number, dict) and by_number.keys() == {str(number) for number in numbers}:
        named[0] = tuple(str(by_number[str(number)]) for number in numbers)
    if isinstance(by_name, dict) and all(type(number) is int for number in by_name.values()):
        if sorted(by_name.values()) == list(numbers):
            named[1] = tuple(sorted(by_name, key=by_name.get))
    if all(named) and named[0] != named[1] and set(named[0]) == set(named[1]):
        raise UserError(
            f"{folder / 'config.json'}: id2label has the classes {listed(named[0], 8)} and label2id "
            f"{listed(named[1], 8)}: which of them is right?"
        )
    return named[1] if by_number is None else named[0]


def _rows(family, heads, prefix):
    trunk = [row._replace(theirs=prefix + row.theirs) for row in names.TRUNKS[family]]
    return trunk + [row for head in heads for row in names.HEADS[family].get(head, ())]


def join(discriminator, generator):
    """Joins a run of each half into one ELECTRA run.

    Raises:
      UserError: a half lacks its head, or the two do not match.
    """
    config = join_configs(discriminator.config, generator.config)
    for half, run, head in ((0, discriminator, "replaced"), (1, generator, "mlm")):
        if head not in run.model.heads:
            raise UserError(f"{run.workdir} is no {HALVES[half]}: it has no head {head}")
    if discriminator.tokenizer_hash != generator.tokenizer_hash:
        raise UserError(f"{discriminator.workdir} and {generator.workdir} have different vocabularies")
    model, own = build_model(config), generator.model.config
    differing = _differing(model.generator.trunk, own)
    if differing:
        raise UserError(f"{generator.workdir} does not fit {discriminator.workdir}: {differing}")
    tables = [run.params["embeddings"] for run in (discriminator, generator)]
    same = jax.tree.map(lambda x, y: x.shape == y.shape and bool((x == y).all()), *tables)
    apart = [name for name, equal in traverse_util.flatten_dict(same, sep="/").items() if not equal]
    if apart:
        raise UserError(
            f"{generator.workdir} and {discriminator.workdir} do not share their embeddings: {names.some(apart)} differ"
        )
    params = dict(discriminator.params)
    params |= {"generator_encoder": generator.params["encoder"], "mlm": generator.params["mlm"]}

    def of_both(*lines):
        return tuple(f"{half}: {line}" for half, own in zip(HALVES, lines, strict=True) for line in own)

    notes, renamed = of_both(discriminator.notes, generator.notes), of_both(discriminator.renamed, generator.renamed)
    return discriminator._replace(config=config, model=model, params=params, notes=notes, renamed=renamed)


def _differing(ours, theirs):
    """'layers 3 and 4, ...': the fields that make two trunks compute different things."""
    fields = [
        field.name
        for field in dataclasses.fields(TransformerConfig)
        if field.name not in TRAINED | {"predict_positions"}
    ]
    pairs = [(name, getattr(ours, name), getattr(theirs, name)) for name in fields]
    return ", ".join(f"{name} {mine} and {yours}" for name, mine, yours in pairs if mine != yours)


def save(run, folder, drop=(), family=""):
    """Writes a run as a `transformers` folder, atomically; ELECTRA's as HALVES.

    Args:
      run: a `runs.Run`.
      folder: new, or empty.
      drop: our parameters to leave out, by full path or path prefix.
      family: one of FAMILIES; '': inferred from the trunk.

    Returns:
      {folder within `folder`: (class, number of tensors, what was left out)}

    Raises:
      UserError: none of their classes computes what the run does, or has its heads.
    """
    if run.model.config.lstm:
        raise UserError("transformers has no LSTM language model (model.lstm)")
    params = traverse_util.flatten_dict(jax.tree.map(np.asarray, run.params), sep="/")
    out = sorted(name for name in params if dropped(name, drop))
    params = {name: x for name, x in params.items() if name not in out}
    halves = {"": (run.model.config, params)}
    if run.model.generator is not None:
        mine = {name: x for name, x in params.items() if name.split("/")[0] not in GENERATOR}
        if {name.split("/")[0] for name in out} & set(GENERATOR) - {"baseline"}:
            # A generator needs all of its parts.
            halves[""] = (run.model.config, mine)
            out = sorted({*out, *params} - mine.keys())
        else:
            halves = {HALVES[0]: (run.model.config, mine), HALVES[1]: (run.model.generator.trunk, _generator(params))}
    with new_folder(folder) as partial:
        made = {}
        for name, (trunk, own) in halves.items():
            (partial / name).mkdir(exist_ok=True)
            causal = {"clm"} if "clm" in run.model.heads and not dropped("clm", drop) else set()
            kind = family or ("electra" if name else _family(trunk, own))
            made[name] = (*_save(run, trunk, own, causal, kind, partial / name), out)
    return made


def _generator(params):
    """ELECTRA's generator as a standalone model; without its own tables or trunk it gets the discriminator's."""
    made = {}
    for part in ("embeddings", "encoder"):
        own = {name: x for name, x in params.items() if name.startswith(f"generator_{part}/")}
        shared = {name: x for name, x in params.items() if name.startswith(f"{part}/")}
        made |= {name.removeprefix("generator_"): x for name, x in own.items()} or shared
    return made | {name: x for name, x in params.items() if name.split("/")[0] in ("mlm", "baseline")}


def _family(trunk, params):
    if trunk.causal:
        return "gpt2" if trunk.norm == "pre" else "openai-gpt"
    if any(name.startswith("replaced/") for name in params) or trunk.pooler == "gelu":
        return "electra"
    if trunk.share != "none":
        return "albert"
    if trunk.embedding_size != trunk.hidden_size:
        return "electra"
    return "bert" if trunk.type_vocab_size else "distilbert"


def _save(run, trunk, params, heads, family, folder):
    """Writes one model; returns its class and the number of tensors."""
    check_choice(family, FAMILIES, "family")
    facts = FAMILIES[family]
    heads = heads | {HEAD_OF[name.split("/")[0]] for name in params if name.split("/")[0] in HEAD_OF} - {"fit"}
    if trunk.causal and not heads:
        heads = {"clm"}
    name = facts.classes.get(tuple(sorted(heads)))
    if name is None:
        raise UserError(
            f"transformers has no {family} with the heads {', '.join(sorted(heads)) or '(none)'}: "
            "leave some out with --drop"
        )
    pooled = bool(heads & {"pair", "classes", "choice"})
    if "pooler/dense/kernel" not in params and not (pooled and trunk.pooler == "plain"):
        trunk = dataclasses.replace(trunk, pooler="none")
    _check_activation(family, heads, trunk.activation)
    options = run.model.options
    if heads & {"classes", "choice"} and options.activation != "none":
        raise UserError(f"transformers' {name} has no {options.activation} before its classes (task.activation)")
    if options.features or options.lstm:
        below = f"task.features={options.features!r} and task.lstm={options.lstm}"
        raise UserError(f"transformers' {name} has no {below} below its head")
    if "classes" in heads and run.model.orders > 1:
        raise UserError(f"transformers' {name} reads a pair in one order, this run in both (task.inputs=gpt1)")
    fit = {leaf: x for leaf, x in params.items() if leaf.startswith("fit/")}
    rest = {leaf: x for leaf, x in params.items() if leaf not in fit}
    if run.config.losses.get("regress", 0):
        # Theirs predicts the score, ours the score divided by `task.scale`.
        scale = run.config.task.get("scale", 1.0)
        rest = {leaf: x * np.float32(scale) if leaf.startswith("classifier/") else x for leaf, x in rest.items()}
    if family == "albert" and trunk.embedding_size == trunk.hidden_size:
        rest["encoder/projection/kernel"] = np.eye(trunk.hidden_size, dtype=np.float32)
        rest["encoder/projection/bias"] = np.zeros(trunk.hidden_size, np.float32)
    if "classes" in heads and facts.pooler == "plain" and not rest.get("classifier/dense/bias", np.ones(1)).any():
        del rest["classifier/dense/bias"]
    rows = _rows(family, sorted(heads), f"{names.PREFIXES[family]}." if heads else "")
    if heads and not pooled:
        # Their classes with heads that need no pooler have none.
        rows = [row for row in rows if row.ours != "pooler/dense"]
    # The config decides which parts a class may lack.
    has = {"pooler/": trunk.pooler != "none", "encoder/projection/": trunk.embedding_size != trunk.hidden_size}
    absent = tuple(part for part, there in has.items() if not there)
    lacking = [leaf for leaf in names.lacking(rows, rest) if not leaf.startswith(absent)]
    if lacking:
        raise UserError(f"transformers' {name} needs {names.some(lacking)}, which the run does not have")
    theirs = _their_config(run, trunk, heads, family, name)
    _check_same(trunk, theirs, pooled, family)
    try:
        tensors = names.to_theirs(rest, rows, names.TORCH)
    except UserError as error:
        raise UserError(f"in transformers' {name} {error}; --drop leaves out what it names") from error
    write_json(folder / "config.json", theirs)
    weights.write(tensors, folder / "model.safetensors")
    if fit:
        _save_fit(fit, trunk.layers, folder)
    folders.write(run.tokenizer, folder, trunk.max_positions, bool(trunk.type_vocab_size))
    return name, len(tensors) + len(fit)


def _save_fit(fit, layers, folder):
    if "fit/bias" not in fit:
        # Two matrices, the embeddings' and the layers': equivalent to one per state.
        kernel = fit["fit/kernel"][np.minimum(np.arange(layers + 1), 1)]
        fit = {"fit/kernel": kernel, "fit/bias": np.zeros(kernel[:, 0].shape, np.float32)}
    kind = "one" if len(fit["fit/kernel"]) == 1 else "each"
    made = names.to_theirs(fit, names.FIT[kind], names.TORCH)
    weights.write(made, folder / FIT_FILE)


def _their_config(run, trunk, heads, family, name):
    facts, vocabulary = FAMILIES[family], run.vocabulary
    made = {"architectures": [name], "model_type": family, "dtype": "float32"}
    spelt = {ours: theirs for theirs, ours in reversed(activations(family).items())}
    for ours, (key, _) in facts.fields.items():
        value = getattr(trunk, ours)
        if ours == "activation":
            if value not in spelt:
                raise UserError(f"transformers' {family} has no activation {value}")
            value = spelt[value]
        if ours == "share_groups" and trunk.share == "none":
            value = trunk.layers
        made[key] = value
    head = run.model.options.dropout if heads - {"mlm", "clm", "pair", "replaced"} else trunk.dropout
    made |= {key: trunk.dropout if key == "embd_pdrop" else head for key in facts.dropouts}
    made["pad_token_id"] = vocabulary.pad
    if trunk.causal:
        ends = list(vocabulary.ends)
        made |= {
            "bos_token_id": vocabulary.start_of_text,
            "eos_token_id": ends if len(ends) > 1 else (ends or [None])[0],
        }
        if vocabulary.pad is None and "classes" in heads:
            made["pad_token_id"] = vocabulary.end_of_text  # their classifier uses the last token before it
    if family == "albert":
        made |= {"bos_token_id": vocabulary.start, "eos_token_id": vocabulary.separator}
    if heads & {"classes", "token_classes"}:
        labels = run.config.task.labels
        if len(labels) != run.model.options.classes:  # unnamed: their default
            labels = [f"LABEL_{number}" for number in range(run.model.options.classes)]
        made |= {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}
    return made


def _check_same(trunk, theirs, pooled, family):
    """Raises UserError unless the config.json to be written reads back as the same trunk."""
    facts = FAMILIES[family]
    if family == "albert" and trunk.share == "none":
        trunk = dataclasses.replace(trunk, share="all", share_groups=trunk.layers)
    # A pooler that no head reads does not affect what the trunk computes: if it has no place, its tensors raise that.
    pooled = pooled or family in ("bert", "albert") and trunk.pooler != "none"
    read = dataclasses.replace(_as_trunk(theirs, family), pooler=facts.pooler if pooled else "none")
    differing = _differing(trunk, read)
    if differing:
        raise UserError(f"transformers' {family} computes something else (ours, theirs): {differing}")


def _as_trunk(theirs, family):
    """The trunk described by a config.json, as a TransformerConfig."""
    config = base()
    config.model.update(trunk_fields(theirs, family, activations(family), "this run"))
    fields = {field.name for field in dataclasses.fields(TransformerConfig)}
    return TransformerConfig(**{name: config.model[name] for name in fields})
