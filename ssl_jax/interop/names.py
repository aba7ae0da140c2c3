"""Maps tensor names in `transformers` and in Google's checkpoints to ours, in both directions.

A family is a list of rows, for its trunk and each of its heads. A row gives their name of a module, our name and the
kernel layout:

    linear   a dense layer whose kernel is stored transposed, [out, in], as in torch
    conv     a dense layer with kernel [in, out], as in ours, TensorFlow's and the GPTs' Conv1D
    norm     a layer norm
    table    an embedding table
    vector   only a bias
    matrix   only a kernel, stored transposed

`{}` in their name is the number of a layer or layer group, which is our leading axis. Several of our names can map to
one of their dense layers: the GPTs' query, key and value.
"""

import itertools
from typing import NamedTuple

import numpy as np

from ssl_jax.errors import UserError, listed, shown
from ssl_jax.interop.weights import refuse_kinds


class Row(NamedTuple):
    """One module: their name, our name or names, and its kind."""

    theirs: str
    ours: str | tuple[str, ...]
    kind: str


class Style(NamedTuple):
    """Suffixes of a module's tensors, for a dense layer, a norm and a table."""

    kernel: str
    bias: str
    scale: str
    offset: str
    table: str


TORCH = Style(".weight", ".bias", ".weight", ".bias", ".weight")
TENSORFLOW = Style("/kernel", "/bias", "/gamma", "/beta", "")


class Tensor(NamedTuple):
    """One of their tensors.

    Attributes:
      name: theirs.
      ours: our leaves that it holds, concatenated along the last axis (in our layout).
      index: into our leading axis; None: ours has none.
      transposed: whether theirs is [out, in].
    """

    name: str
    ours: tuple[str, ...]
    index: int | None
    transposed: bool


def stacked(name):
    """Whether our leaf has a leading axis of layers, or of states (`fit`)."""
    return "/layers/" in name or name.startswith("fit/")


def tensors(rows, shapes, style):
    """All tensors that `rows` define for our parameter tree.

    Args:
      rows: Rows; those whose module our tree lacks are ignored.
      shapes: our leaf -> shape.
      style: a Style.

    Raises:
      UserError: one of our leaves has no place in any row.
    """
    made, placed = [], set()
    for row in rows:
        for leaf, suffix, transposed in _leaves(row, style):
            ours = tuple(f"{name}{leaf}" for name in _modules(row))
            if ours[0] not in shapes:
                continue
            placed |= set(ours)
            indices = range(shapes[ours[0]][0]) if stacked(ours[0]) else [None]
            for index in indices:
                name = f"{row.theirs}{suffix}"
                made.append(Tensor(name if index is None else name.format(index), ours, index, transposed))
    homeless = sorted(shapes.keys() - placed)
    if homeless:
        raise UserError(f"there is no place for {some(homeless)}")
    return made


def lacking(rows, params):
    """Our leaves that `rows` have a place for and `params` (names) lack."""
    made = [f"{name}{leaf}" for row in rows for leaf, _, _ in _leaves(row, TORCH) for name in _modules(row)]
    return [name for name in made if name not in params]


def _modules(row):
    return (row.ours,) if isinstance(row.ours, str) else row.ours


def _leaves(row, style):
    """(Our leaf, their suffix, whether it is transposed) for each tensor of a row."""
    if row.kind == "norm":
        return [("/scale", style.scale, False), ("/bias", style.offset, False)]
    if row.kind == "table":
        return [("", style.table, False)]
    if row.kind in ("vector", "matrix"):
        return [("", "", row.kind == "matrix")]
    return [("/kernel", style.kernel, row.kind == "linear"), ("/bias", style.bias, False)]


def of_row(row):
    """The names of a row's tensors in `transformers`."""
    return [f"{row.theirs}{suffix}" for _, suffix, _ in _leaves(row, TORCH)]


def some(names):
    """The first of several names, and the number of others."""
    return listed(names, 1)


def _matrix(leaf, shape):
    """The shape of a leaf with heads and head size merged into one axis: [in, out], [out]; others unchanged."""
    if leaf.endswith("/kernel") and len(shape) == 3:
        first, last = shape[0], shape[-1]
        return (first * shape[1], last) if leaf.endswith("attention/output/kernel") else (first, shape[1] * last)
    if leaf.endswith("/bias") and len(shape) == 2:
        return (shape[0] * shape[1],)
    return shape


def _own_shape(tensor, shapes):
    """The shapes of a tensor's leaves without their leading axis."""
    return [shapes[leaf] if tensor.index is None else shapes[leaf][1:] for leaf in tensor.ours]


def their_shape(tensor, shapes):
    """The shape that their tensor must have."""
    made = [_matrix(leaf, shape) for leaf, shape in zip(tensor.ours, _own_shape(tensor, shapes), strict=True)]
    whole = (*made[0][:-1], sum(shape[-1] for shape in made))
    return whole[::-1] if tensor.transposed else whole


def to_theirs(params, rows, style):
    """Converts our leaves, name -> array, to theirs: name -> NumPy array."""
    shapes = {name: np.shape(x) for name, x in params.items()}
    made = {}
    for tensor in tensors(rows, shapes, style):
        parts = [np.asarray(params[leaf] if tensor.index is None else params[leaf][tensor.index])
                 for leaf in tensor.ours]  # fmt: skip
        parts = [part.reshape(_matrix(leaf, part.shape)) for leaf, part in zip(tensor.ours, parts, strict=True)]
        whole = np.concatenate(parts, -1)
        made[tensor.name] = np.ascontiguousarray(whole.T if tensor.transposed else whole)
    return made


def to_ours(weights, rows, style, shapes, where):
    """Converts theirs, name -> array, to our leaves: name -> NumPy array, float32.

    Args:
      weights: converted tensors are removed from it.
      shapes: our leaf -> required shape.
      where: what to call the weights in messages.

    Raises:
      UserError: a tensor is missing, has the wrong shape, or holds integers or a non-finite number.
    """
    wanted = tensors(rows, shapes, style)
    missing = [tensor.name for tensor in wanted if tensor.name not in weights]
    if missing:
        raise UserError(f"{where} has no tensor {some(missing)}")
    for tensor in wanted:  # before allocating what a config asks for
        shape, needed = weights[tensor.name].shape, their_shape(tensor, shapes)
        if shape != needed:
            raise UserError(f"{where}: {tensor.name} is {shown(shape)}, its config asks for {needed}")
    kinds = {tensor.name: weights[tensor.name].dtype for tensor in wanted}
    refuse_kinds({name: x.name for name, x in kinds.items() if x.kind != "f" and x.name != "bfloat16"}, where)
    made = {name: np.empty(shape, np.float32) for name, shape in shapes.items()}
    for tensor in wanted:
        with np.errstate(over="ignore"):  # a float64 beyond float32's range
            whole = np.asarray(weights.pop(tensor.name), np.float32)
        if not np.isfinite(whole).all():
            raise UserError(f"{where}: {tensor.name} has numbers that are not finite (NaN or infinite)")
        own = _own_shape(tensor, shapes)
        whole = whole.T if tensor.transposed else whole
        widths = [_matrix(leaf, shape)[-1] for leaf, shape in zip(tensor.ours, own, strict=True)]
        ends = list(itertools.accumulate(widths))
        for leaf, shape, part in zip(tensor.ours, own, np.split(whole, ends[:-1], axis=-1), strict=True):
            made[leaf][... if tensor.index is None else tensor.index] = part.reshape(shape)
    return made


def renamed(rows, shapes, style):
    """Lines that describe the mapping, layers grouped: 'theirs -> ours'."""
    first = [tensor for tensor in tensors(rows, shapes, style) if not tensor.index]
    template = {}
    for row in rows:
        for _, suffix, _ in _leaves(row, style):
            template[f"{row.theirs}{suffix}".format(0)] = f"{row.theirs}{suffix}".format("*")
    return [f"{template[tensor.name]} -> {', '.join(tensor.ours)}" for tensor in first]


def _dense(pairs, kind="linear"):
    return [Row(theirs, ours, kind) for theirs, ours in pairs.items()]


def _layers(pattern, rows):
    """Rows of one layer: theirs within `pattern`, ours within the stacked layers."""
    within = "encoder/layers/{}".format
    made = []
    for row in rows:
        ours = within(row.ours) if isinstance(row.ours, str) else tuple(map(within, row.ours))
        made.append(Row(pattern + row.theirs, ours, row.kind))
    return made


def _tables(token, position, segment, norm):
    """The embeddings' rows; None: the family has no such module."""
    names = {"embeddings/token": token, "embeddings/position": position, "embeddings/segment": segment}
    made = [Row(theirs, ours, "table") for ours, theirs in names.items() if theirs]
    return made + ([Row(norm, "embeddings/norm", "norm")] if norm else [])


def _bert_trunk(separator, kind):
    """The trunk of BERT, also used by ELECTRA; their names without the model prefix."""
    names = {
        "attention.self.query": "attention/query",
        "attention.self.key": "attention/key",
        "attention.self.value": "attention/value",
        "attention.output.dense": "attention/output",
        "intermediate.dense": "ffn/inner",
        "output.dense": "ffn/output",
    }
    layer = _dense(names, kind)
    layer += [Row("attention.output.LayerNorm", "attention_norm", "norm"), Row("output.LayerNorm", "ffn_norm", "norm")]
    tables = _tables(*(f"embeddings.{name}_embeddings" for name in ("word", "position", "token_type")),
                     "embeddings.LayerNorm")  # fmt: skip
    number = "encoder.layer.{}." if separator == "." else "encoder.layer_{}."
    rows = tables + _layers(number, layer)
    return [Row(row.theirs.replace(".", separator), row.ours, row.kind) for row in rows]


def _gpt_layer():
    names = {
        "attn.c_attn": tuple(f"attention/{name}" for name in ("query", "key", "value")),
        "attn.c_proj": "attention/output",
        "mlp.c_fc": "ffn/inner",
        "mlp.c_proj": "ffn/output",
    }
    return [*_dense(names, "conv"), Row("ln_1", "attention_norm", "norm"), Row("ln_2", "ffn_norm", "norm")]


def _albert_layer():
    names = {
        "attention.query": "attention/query",
        "attention.key": "attention/key",
        "attention.value": "attention/value",
        "attention.dense": "attention/output",
        "ffn": "ffn/inner",
        "ffn_output": "ffn/output",
    }
    norms = [Row("attention.LayerNorm", "attention_norm", "norm"), Row("full_layer_layer_norm", "ffn_norm", "norm")]
    return _dense(names) + norms


def _distilbert_layer():
    names = {
        "attention.q_lin": "attention/query",
        "attention.k_lin": "attention/key",
        "attention.v_lin": "attention/value",
        "attention.out_lin": "attention/output",
        "ffn.lin1": "ffn/inner",
        "ffn.lin2": "ffn/output",
    }
    norms = [Row("sa_layer_norm", "attention_norm", "norm"), Row("output_layer_norm", "ffn_norm", "norm")]
    return _dense(names) + norms


def _mlm(dense, norm, bias, kind="linear"):
    """The masked-token head, from the names of its parts."""
    return [Row(dense, "mlm/dense", kind), Row(norm, "mlm/norm", "norm"), Row(bias, "mlm/bias", "vector")]


# The trunk of each `model_type` of `transformers`, without the prefix that models with heads add.
TRUNKS = {
    "bert": [*_bert_trunk(".", "linear"), Row("pooler.dense", "pooler/dense", "linear")],
    "albert": [
        *_tables(*(f"embeddings.{name}_embeddings" for name in ("word", "position", "token_type")),
                 "embeddings.LayerNorm"),
        Row("encoder.embedding_hidden_mapping_in", "encoder/projection", "linear"),
        *_layers("encoder.albert_layer_groups.{}.albert_layers.0.", _albert_layer()),
        Row("pooler", "pooler/dense", "linear"),
    ],
    "electra": [*_bert_trunk(".", "linear"), Row("embeddings_project", "encoder/projection", "linear")],
    "distilbert": [
        *_tables("embeddings.word_embeddings", "embeddings.position_embeddings", None, "embeddings.LayerNorm"),
        *_layers("transformer.layer.{}.", _distilbert_layer()),
    ],
    "openai-gpt": [*_tables("tokens_embed", "positions_embed", None, None), *_layers("h.{}.", _gpt_layer())],
    "gpt2": [*_tables("wte", "wpe", None, None), *_layers("h.{}.", _gpt_layer()),
             Row("ln_f", "encoder/final_norm", "norm")],  # fmt: skip
}  # fmt: skip
PREFIXES = {"bert": "bert", "albert": "albert", "electra": "electra", "distilbert": "distilbert",
            "openai-gpt": "transformer", "gpt2": "transformer"}  # fmt: skip

_CLASSIFIERS = {
    "classes": [Row("classifier", "classifier/dense", "linear")],
    "choice": [Row("classifier", "choice/dense", "linear")],
    "token_classes": [Row("classifier", "token_classes/dense", "linear")],
    "span": [Row("qa_outputs", "span/dense", "linear")],
}
_GPT_HEADS = {
    "clm": [],
    "classes": [Row("score.weight", "classifier/dense/kernel", "matrix")],
    "choice": [Row("multiple_choice_head.summary", "choice/dense", "linear")],
}
# TinyBERT's projection: released both as one layer for all states and as one per state.
FIT = {"one": [Row("fit_dense", "fit", "linear")], "each": [Row("fit_denses.{}", "fit", "linear")]}

# The heads of each model type. A head's own layer before the classes, if any, is our pooler.
HEADS = {
    "bert": {
        "mlm": _mlm("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm", "cls.predictions.bias"),
        "pair": [Row("cls.seq_relationship", "pair/dense", "linear")],
        **_CLASSIFIERS,
    },
    "albert": {
        "mlm": _mlm("predictions.dense", "predictions.LayerNorm", "predictions.bias"),
        "pair": [Row("sop_classifier.classifier", "pair/dense", "linear")],
        **_CLASSIFIERS,
    },
    "electra": {
        "mlm": _mlm("generator_predictions.dense", "generator_predictions.LayerNorm", "generator_lm_head.bias"),
        "replaced": [
            Row("discriminator_predictions.dense", "replaced/dense", "linear"),
            Row("discriminator_predictions.dense_prediction", "replaced/logit", "linear"),
        ],
        **_CLASSIFIERS,
        "classes": [
            Row("classifier.dense", "pooler/dense", "linear"),
            Row("classifier.out_proj", "classifier/dense", "linear"),
        ],
        "choice": [Row("sequence_summary.summary", "pooler/dense", "linear"), *_CLASSIFIERS["choice"]],
    },
    "distilbert": {
        "mlm": _mlm("vocab_transform", "vocab_layer_norm", "vocab_projector.bias"),
        **_CLASSIFIERS,
        "classes": [Row("pre_classifier", "pooler/dense", "linear"), *_CLASSIFIERS["classes"]],
        "choice": [Row("pre_classifier", "pooler/dense", "linear"), *_CLASSIFIERS["choice"]],
    },
    "openai-gpt": _GPT_HEADS,
    "gpt2": {**_GPT_HEADS, "token_classes": _CLASSIFIERS["token_classes"], "span": _CLASSIFIERS["span"]},
}


def _google_albert_layer():
    names = {
        "attention_1/self/query": "attention/query",
        "attention_1/self/key": "attention/key",
        "attention_1/self/value": "attention/value",
        "attention_1/output/dense": "attention/output",
        "ffn_1/intermediate/dense": "ffn/inner",
        "ffn_1/intermediate/output/dense": "ffn/output",
    }
    return _dense(names, "conv") + [Row("LayerNorm", "attention_norm", "norm"), Row("LayerNorm_1", "ffn_norm", "norm")]


def _within(scope, rows, ours=""):
    return [Row(f"{scope}/{row.theirs}", f"{ours}{row.ours}", row.kind) for row in rows]


# Google's variables: modeling.py of google-research's bert, albert and electra. ELECTRA's generator has only what it
# does not share with the discriminator.
_GOOGLE_ELECTRA = [*_bert_trunk("/", "conv"), Row("embeddings_project", "encoder/projection", "conv")]
_GOOGLE_POOLER = Row("pooler/dense", "pooler/dense", "conv")
GOOGLE_TRUNKS = {
    "bert": _within("bert", [*_bert_trunk("/", "conv"), _GOOGLE_POOLER]),
    "albert": _within("bert", [
        *_tables(*(f"embeddings/{name}_embeddings" for name in ("word", "position", "token_type")),
                 "embeddings/LayerNorm"),
        Row("encoder/embedding_hidden_mapping_in", "encoder/projection", "conv"),
        *_layers("encoder/transformer/group_{}/inner_group_0/", _google_albert_layer()),
        _GOOGLE_POOLER,
    ]),
    "electra": _within("electra", _GOOGLE_ELECTRA) + _within("generator", _GOOGLE_ELECTRA, "generator_"),
}  # fmt: skip


def _google_logits(scope, ours):
    """Logits whose kernel is its own variable, [classes, in]."""
    return [
        Row(f"{scope}output_weights", f"{ours}/kernel", "matrix"),
        Row(f"{scope}output_bias", f"{ours}/bias", "vector"),
    ]


# run_pretraining.py, run_classifier.py and run_squad.py.
_GOOGLE_HEADS = {
    "mlm": _mlm(
        "cls/predictions/transform/dense", "cls/predictions/transform/LayerNorm", "cls/predictions/output_bias", "conv"
    ),
    "pair": _google_logits("cls/seq_relationship/", "pair/dense"),
    "classes": _google_logits("", "classifier/dense"),
    "span": _google_logits("cls/squad/", "span/dense"),
}
GOOGLE_HEADS = {
    "bert": _GOOGLE_HEADS,
    "albert": _GOOGLE_HEADS,
    "electra": {
        "mlm": _mlm(
            "generator_predictions/dense",
            "generator_predictions/LayerNorm",
            "generator_predictions/output_bias",
            "conv",
        ),
        "replaced": [
            Row("discriminator_predictions/dense", "replaced/dense", "conv"),
            Row("discriminator_predictions/dense_1", "replaced/logit", "conv"),
        ],
    },
}
