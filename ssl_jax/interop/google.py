"""Imports Google's TF1 checkpoints of BERT, ALBERT and ELECTRA. Reading them needs TensorFlow (extra `google`).

A folder is one of their releases: a checkpoint, bert_config.json or albert_config.json, vocab.txt or a *.model. It is
loaded as a `runs.Run`, as strictly as `transformers` folders (huggingface.py). Training state that belongs to no model
is left out; two rules identify it, as no parameter of these models is named below another or is a scalar:

    slots       tensors named below another, whatever the optimizer: .../kernel/adam_m, .../kernel/LAMB_1
    counters    scalars: global_step, signal_early_stopping/STOP, beta1_power, good_steps

ELECTRA's releases have no config. Sizes come from its tensors, and everything else from its code:
erf GELU, heads 64 wide, at least one (util/training_utils.py, get_bert_config; run_pretraining.py,
get_generator_config).
"""

import os
import re
from pathlib import Path, PurePosixPath

from ssl_jax.errors import UserError, cut, shown
from ssl_jax.files import read_json
from ssl_jax.interop import names
from ssl_jax.interop.families import ACTIVATIONS, FAMILIES, GOOGLE_ACTIVATIONS
from ssl_jax.interop.huggingface import as_run, dropped, join_configs, run_config, trunk_fields

CONFIGS = {"albert": "albert_config.json", "bert": "bert_config.json"}
# What the published code computes, whatever their configs say.
NEEDS = {"bert": {}, "albert": dict(inner_group_num=1, net_structure_type=0)}


def load(folder, parallel=None, drop=(), padded=False):
    """Reads a folder as a run; if both of ELECTRA's halves are present, as one run with a generator.

    Args:
      folder: holds one checkpoint (X.index, X.data-...), or several and a file `checkpoint` that names one of them.
      parallel: the parameters come out as its `adopt` takes them; None: on one device.
      drop: their tensors to leave out, by full name or leading scopes.
      padded: see `huggingface.load`.

    Raises:
      UserError: TensorFlow, the checkpoint or part of it, config or vocabulary is missing or damaged; a tensor is
        missing, misshapen, not a weight or unexpected; the tokenizer's entries do not match the table's rows.
    """
    folder = Path(folder)
    tensors, slots = _read(_find(folder), drop)
    electra = any(name.startswith("electra/") for name in tensors)
    found = [family for family, file in CONFIGS.items() if (folder / file).exists()]
    if not electra and not found:
        raise UserError(f"{folder} holds neither {' nor '.join(CONFIGS.values())}, and its tensors are not ELECTRA's")
    family = "electra" if electra else found[0]
    known = names.GOOGLE_HEADS[family]
    heads = tuple(sorted(head for head, rows in known.items()
                         if any(name.startswith(row.theirs) for row in rows for name in tensors)))  # fmt: skip
    config = _electra_config(tensors, heads, folder) if electra else _config(folder, family, heads, tensors)
    rows = names.GOOGLE_TRUNKS[family] + [row for head in heads for row in known[head]]
    run = as_run(folder, config, tensors, rows, names.TENSORFLOW, parallel, padded)
    return run._replace(notes=(*run.notes, f"left out: {slots} slots of the optimizer and counters"))


def _find(folder):
    """A folder's checkpoint, as a path without .index."""
    found = sorted(path.with_suffix("") for path in folder.glob("*.index"))
    if len(found) == 1:
        return found[0]
    if not found:
        raise UserError(f"{folder} holds no checkpoint of TensorFlow: there is no file *.index")
    state = folder / "checkpoint"
    text = state.read_text(errors="replace") if state.exists() else ""
    named = re.search(r'^model_checkpoint_path: *"(.*)"', text, re.MULTILINE)
    # The folder has usually been moved since training.
    chosen = named and folder / PurePosixPath(named[1]).name
    if chosen not in found:
        raise UserError(
            f"{folder} holds {len(found)} checkpoints and no file `checkpoint` that names one of them: "
            f"{', '.join(path.name for path in found)}"
        )
    return chosen


def _read(path, drop):
    """A checkpoint's tensors, name -> NumPy array, and the number of slots and counters it also has."""
    # Nothing is computed, but the library would print how it computes.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    try:
        import tensorflow as tf
    except ImportError as error:
        raise UserError(f"reading {path} takes TensorFlow: pip install ssl_jax[google]") from error
    try:
        reader = tf.train.load_checkpoint(str(path))
        shapes = reader.get_variable_to_shape_map()
        if "_CHECKPOINTABLE_OBJECT_GRAPH" in shapes:
            raise UserError(f"{path} holds objects of TensorFlow 2, not the variables of Google's TF1 code")
        slots = {name for name, shape in shapes.items() if not shape or _is_below(name, shapes)}
        wanted = sorted(name for name in shapes.keys() - slots if not dropped(name, drop))
        return {name: reader.get_tensor(name) for name in wanted}, len(slots)
    except (tf.errors.OpError, IndexError) as error:  # the latter for a file that ends too early
        raise UserError(f"{path} is damaged or incomplete: {cut(str(error).splitlines()[0], 200)}") from error


def _is_below(name, shapes):
    return any(str(parent) in shapes for parent in PurePosixPath(name).parents)


def _config(folder, family, heads, tensors):
    """BERT's or ALBERT's config, for a run with the heads."""
    path = folder / CONFIGS[family]
    theirs = read_json(path)
    for key, value in NEEDS[family].items():
        if theirs.get(key, value) != value:
            raise UserError(f"{path}: {key}={shown(theirs[key])} is no model of ours, only {value!r} is")
    trunk = trunk_fields({"hidden_act": "gelu"} | theirs, family, GOOGLE_ACTIVATIONS, path)
    pooled = {"pair", "classes"} & set(heads) or any(name.startswith("bert/pooler/") for name in tensors)
    config = run_config(trunk | {"pooler": FAMILIES[family].pooler if pooled else "none"}, heads)
    if "classes" in heads and "output_weights" in tensors:
        config.task.classes = _shape(tensors, "output_weights", 2, folder)[0]
    return config


def _electra_config(tensors, heads, folder):
    """ELECTRA's config, for a run with both halves or the one that is present."""
    trunk = _electra_trunk(tensors, "electra", "electra", folder)
    if set(heads) != {"mlm", "replaced"}:
        return run_config(trunk, heads)
    tying, own = "all", trunk
    if any(name.startswith("generator/") for name in tensors):
        tying = "none" if any(name.startswith("generator/embeddings/") for name in tensors) else "embeddings"
        own = _electra_trunk(tensors, "generator", "generator" if tying == "none" else "electra", folder)
    config = join_configs(run_config(trunk, ("replaced",)), run_config(own, ("mlm",)))
    config.generator.tying = tying
    return config


def _electra_trunk(tensors, scope, tables, folder):
    """Fields of `config.model`, inferred from the tensors of `scope` and `tables`."""

    vocabulary, width = _shape(tensors, f"{tables}/embeddings/word_embeddings", 2, folder)
    hidden, ffn = _shape(tensors, f"{scope}/encoder/layer_0/intermediate/dense/kernel", 2, folder)
    positions, segments = (
        _shape(tensors, f"{tables}/embeddings/{name}_embeddings", 2, folder)[0] for name in ("position", "token_type")
    )
    numbers = [re.match(rf"{scope}/encoder/layer_(\d+)/", name) for name in tensors]
    theirs = dict(
        vocab_size=vocabulary,
        embedding_size=width,
        max_position_embeddings=positions,
        type_vocab_size=segments,
        hidden_size=hidden,
        intermediate_size=ffn,
        num_hidden_layers=1 + max(int(number[1]) for number in numbers if number),
        num_attention_heads=max(1, hidden // 64),
    )
    return trunk_fields(theirs, "electra", ACTIVATIONS, folder)


def _shape(tensors, name, axes, folder):
    """The shape of a tensor that must exist and have this many axes."""
    if name not in tensors:
        raise UserError(f"{folder} has no tensor {name}")
    if tensors[name].ndim != axes:
        raise UserError(f"{folder}: {name} is {tensors[name].shape}, it should have {axes} axes")
    return tensors[name].shape
