"""Checkpoints under the names of Google's TF1 code give the logits of `transformers`' models with the same numbers."""

import importlib
import json
import os
import shutil
import sys

import jax
import numpy as np
import pytest
import torch
import transformers
from flax import traverse_util
from sentencepiece import sentencepiece_model_pb2

from ssl_jax.errors import UserError
from ssl_jax.interop import google

VOCAB, POSITIONS, LAYERS = 43, 19, 3
TABLES = dict(vocab_size=VOCAB, max_position_embeddings=POSITIONS, type_vocab_size=3)
# Heads of 12 and 13; of ELECTRA, where the code says how wide they are, 65 and 70.
BERT = TABLES | dict(hidden_size=36, num_hidden_layers=LAYERS, num_attention_heads=3, intermediate_size=52)
ALBERT = TABLES | dict(embedding_size=10, hidden_size=39, num_hidden_layers=LAYERS, num_attention_heads=3,
                       intermediate_size=50, num_hidden_groups=2, inner_group_num=1)  # fmt: skip
ELECTRA = TABLES | dict(embedding_size=11, hidden_size=130, num_hidden_layers=LAYERS, num_attention_heads=2,
                        intermediate_size=53)  # fmt: skip
GENERATOR = ELECTRA | dict(hidden_size=70, num_hidden_layers=2, num_attention_heads=1, intermediate_size=31)


@pytest.fixture(scope="module")
def tensorflow():
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
    return importlib.import_module("tensorflow")


def randomise(model):
    """Every parameter another random number: starts of zero and one would hide what is mixed up."""
    random = np.random.default_rng(0)
    with torch.no_grad():
        for x in model.parameters():
            x.copy_(torch.tensor(random.normal(0, 0.2, x.shape)))
    return model.eval()


def bert():
    return randomise(transformers.BertForPreTraining(transformers.BertConfig(**BERT, hidden_act="gelu_new")))


def albert():
    return randomise(transformers.AlbertForPreTraining(transformers.AlbertConfig(**ALBERT, hidden_act="gelu_new")))


def electra():
    """Discriminator and generator, with the same embeddings."""
    discriminator = randomise(transformers.ElectraForPreTraining(transformers.ElectraConfig(**ELECTRA)))
    generator = randomise(transformers.ElectraForMaskedLM(transformers.ElectraConfig(**GENERATOR)))
    generator.electra.embeddings.load_state_dict(discriminator.electra.embeddings.state_dict())
    return discriminator, generator


def numbers(model):
    return {name: x.numpy().astype(np.float32) for name, x in model.state_dict().items()}


def dense(weights, ours, name):
    return {f"{name}/kernel": weights[f"{ours}.weight"].T, f"{name}/bias": weights[f"{ours}.bias"]}


def norm(weights, ours, name):
    return {f"{name}/gamma": weights[f"{ours}.weight"], f"{name}/beta": weights[f"{ours}.bias"]}


def logits(weights, ours, name):
    return {f"{name}output_weights": weights[f"{ours}.weight"], f"{name}output_bias": weights[f"{ours}.bias"]}


def tables(weights, ours, name):
    made = {f"{name}/{table}_embeddings": weights[f"{ours}.{table}_embeddings.weight"]
            for table in ("word", "position", "token_type")}  # fmt: skip
    return made | norm(weights, f"{ours}.LayerNorm", f"{name}/LayerNorm")


def bert_layers(weights, ours, name, layers):
    made = {}
    for i in range(layers):
        for part in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
                     "intermediate.dense", "output.dense"):  # fmt: skip
            made |= dense(weights, f"{ours}.{i}.{part}", f"{name}/layer_{i}/{part.replace('.', '/')}")
        for part in ("attention.output", "output"):
            place = f"{name}/layer_{i}/{part.replace('.', '/')}"
            made |= norm(weights, f"{ours}.{i}.{part}.LayerNorm", f"{place}/LayerNorm")
    return made


def bert_variables(weights):
    made = tables(weights, "bert.embeddings", "bert/embeddings")
    made |= bert_layers(weights, "bert.encoder.layer", "bert/encoder", LAYERS)
    made |= dense(weights, "bert.pooler.dense", "bert/pooler/dense")
    made |= dense(weights, "cls.predictions.transform.dense", "cls/predictions/transform/dense")
    made |= norm(weights, "cls.predictions.transform.LayerNorm", "cls/predictions/transform/LayerNorm")
    made |= {"cls/predictions/output_bias": weights["cls.predictions.bias"]}
    return made | logits(weights, "cls.seq_relationship", "cls/seq_relationship/")


def albert_variables(weights):
    made = tables(weights, "albert.embeddings", "bert/embeddings")
    made |= dense(weights, "albert.encoder.embedding_hidden_mapping_in", "bert/encoder/embedding_hidden_mapping_in")
    for i in range(2):
        ours = f"albert.encoder.albert_layer_groups.{i}.albert_layers.0"
        name = f"bert/encoder/transformer/group_{i}/inner_group_0"
        for part in ("query", "key", "value"):
            made |= dense(weights, f"{ours}.attention.{part}", f"{name}/attention_1/self/{part}")
        made |= dense(weights, f"{ours}.attention.dense", f"{name}/attention_1/output/dense")
        made |= norm(weights, f"{ours}.attention.LayerNorm", f"{name}/LayerNorm")
        made |= dense(weights, f"{ours}.ffn", f"{name}/ffn_1/intermediate/dense")
        made |= dense(weights, f"{ours}.ffn_output", f"{name}/ffn_1/intermediate/output/dense")
        made |= norm(weights, f"{ours}.full_layer_layer_norm", f"{name}/LayerNorm_1")
    made |= dense(weights, "albert.pooler", "bert/pooler/dense")
    made |= dense(weights, "predictions.dense", "cls/predictions/transform/dense")
    made |= norm(weights, "predictions.LayerNorm", "cls/predictions/transform/LayerNorm")
    made |= {"cls/predictions/output_bias": weights["predictions.bias"]}
    return made | logits(weights, "sop_classifier.classifier", "cls/seq_relationship/")


def electra_variables(discriminator, generator):
    made = tables(discriminator, "electra.embeddings", "electra/embeddings")
    for weights, name, layers in ((discriminator, "electra", LAYERS), (generator, "generator", 2)):
        made |= dense(weights, "electra.embeddings_project", f"{name}/embeddings_project")
        made |= bert_layers(weights, "electra.encoder.layer", f"{name}/encoder", layers)
    made |= dense(discriminator, "discriminator_predictions.dense", "discriminator_predictions/dense")
    made |= dense(discriminator, "discriminator_predictions.dense_prediction", "discriminator_predictions/dense_1")
    made |= dense(generator, "generator_predictions.dense", "generator_predictions/dense")
    made |= norm(generator, "generator_predictions.LayerNorm", "generator_predictions/LayerNorm")
    return made | {"generator_predictions/output_bias": generator["generator_lm_head.bias"]}


def write(tensorflow, folder, variables, config=None, name="model.ckpt", slots=("adam_m", "adam_v")):
    """A folder of theirs: variables, their slots and a counter; a vocabulary, config = {file: content}."""
    folder.mkdir(exist_ok=True)
    rest = {f"{name}/{slot}": np.full_like(x, 7) for name, x in variables.items() for slot in slots}
    rest |= {"global_step": np.int64(1000), "signal_early_stopping/STOP": np.bool_(False)}
    everything = {key: np.array(x, order="C") for key, x in (variables | rest).items()}
    tensorflow.raw_ops.SaveV2(
        prefix=str(folder / name),
        tensor_names=list(everything),
        shape_and_slices=[""] * len(everything),
        tensors=list(everything.values()),
    )
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + [chr(ord("a") + i) for i in range(26)]
    pieces += [f"##{i}" for i in range(VOCAB - len(pieces))]
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in pieces))
    for file, content in (config or {}).items():
        (folder / file).write_text(json.dumps(content))
    return folder


def text(segments=3):
    random = np.random.default_rng(1)
    mask = np.arange(13) < np.array([[13], [6], [9]])
    tokens = random.integers(0, VOCAB, (3, 13))
    return dict(tokens=tokens, mask=mask.astype(np.int32), segments=random.integers(0, segments, (3, 13)),
                pair=np.zeros(3, np.int32), index=np.arange(3))  # fmt: skip


def compare(run, batch, their_logits, states=None):
    """Ours of a batch beside theirs, by the names of `out`; `states`: theirs after each layer."""
    out = jax.jit(run.model.apply)({"params": run.params}, batch)
    real = batch["mask"].astype(bool)
    for name, theirs in their_logits.items():
        ours, theirs = np.asarray(out[name]), theirs.detach().numpy()
        if ours.shape[:2] == real.shape:
            ours, theirs = ours[real], theirs[real]
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5, err_msg=name)
    if states is not None:
        ours = np.asarray(out["layers"]["hidden"])[:, real]
        np.testing.assert_allclose(ours, np.stack([x.detach().numpy()[real] for x in states[1:]]), rtol=1e-4, atol=1e-5)


def inputs(batch):
    named = dict(input_ids=batch["tokens"], attention_mask=batch["mask"], token_type_ids=batch["segments"])
    return {name: torch.tensor(x) for name, x in named.items()} | {"output_hidden_states": True}


@pytest.fixture(scope="module")
def bert_folder(tensorflow, tmp_path_factory):
    theirs = bert()
    config = BERT | dict(hidden_act="gelu", hidden_dropout_prob=0.1, directionality="bidi")
    folder, variables = tmp_path_factory.mktemp("bert"), bert_variables(numbers(theirs))
    slots = ("AdamWeightDecayOptimizer", "LAMB_1")
    return write(tensorflow, folder, variables, {"bert_config.json": config}, "bert_model.ckpt", slots)


def test_bert(bert_folder):
    run, batch, theirs = google.load(bert_folder), text(), bert()
    out = theirs(**inputs(batch))
    made = {"mlm_logits": out.prediction_logits, "pair_logits": out.seq_relationship_logits}
    compare(run, batch, made, out.hidden_states)
    assert run.model.heads == ("mlm", "pair") and run.config.model.activation == "gelu_tanh"
    assert "cls/seq_relationship/output_weights -> pair/dense/kernel" in run.renamed
    names = len(bert_variables(numbers(theirs)))
    assert run.notes[-1] == f"left out: {2 * names + 2} slots of the optimizer and counters"


def test_albert(tensorflow, tmp_path):
    theirs, batch = albert(), text()
    config = ALBERT | dict(hidden_act="gelu", net_structure_type=0, down_scale_factor=1)
    folder = write(tensorflow, tmp_path, albert_variables(numbers(theirs)), {"albert_config.json": config})
    (folder / "vocab.txt").unlink()
    proto, kinds = sentencepiece_model_pb2.ModelProto(), sentencepiece_model_pb2.ModelProto.SentencePiece
    for number, piece in enumerate(["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"] + [chr(97 + i) for i in range(38)]):
        kind = kinds.UNKNOWN if number == 1 else kinds.CONTROL if number < 5 else kinds.NORMAL
        proto.pieces.add(piece=piece, score=-number, type=kind)
    (folder / "30k-clean.model").write_bytes(proto.SerializeToString())
    run = google.load(folder)
    out = theirs(**inputs(batch))
    compare(run, batch, {"mlm_logits": out.prediction_logits, "pair_logits": out.sop_logits}, out.hidden_states)
    (folder / "albert_config.json").write_text(json.dumps(config | {"net_structure_type": 1}))
    with pytest.raises(UserError, match="albert_config.json: net_structure_type=1 is no model of ours"):
        google.load(folder)


def test_electra(tensorflow, tmp_path):
    """Both halves as one run; without the generator, the discriminator alone."""
    discriminator, generator = electra()
    variables = electra_variables(numbers(discriminator), numbers(generator))
    folder = write(tensorflow, tmp_path, variables, name="model.ckpt-1000000")
    batch = text()
    run = google.load(folder)
    assert run.config.generator.heads == 1 and run.config.model.heads == 2 and run.config.model.activation == "gelu"
    seen = discriminator(**inputs(batch))
    made = {"replaced_logit": seen.logits, "mlm_logits": generator(**inputs(batch)).logits}
    compare(run, batch, made, seen.hidden_states)
    # Google's tokenizer takes words of up to 200 letters.
    for letters, pieces in ((200, ["a"] + ["##0"] * 199), (201, ["[UNK]"])):
        assert run.tokenizer.encode("a" + "0" * (letters - 1)).tokens == pieces
    alone = google.load(folder, drop=["generator", "generator_predictions"])
    assert alone.model.heads == ("replaced",) and alone.model.generator is None
    ours, both = (traverse_util.flatten_dict(x.params, sep="/") for x in (alone, run))
    for name, x in ours.items():
        np.testing.assert_array_equal(x, both[name], err_msg=name)


@pytest.mark.parametrize("tying", ["all", "none"])
def test_electra_tying(tensorflow, tmp_path, tying):
    """The halves as the same trunk, or with tables of the generator's own (run_pretraining.py, untied_generator)."""
    discriminator, generator = electra()
    if tying == "all":
        generator = randomise(transformers.ElectraForMaskedLM(transformers.ElectraConfig(**ELECTRA)))
        generator.electra.load_state_dict(discriminator.electra.state_dict())
    else:
        own = transformers.ElectraConfig(**GENERATOR | dict(embedding_size=GENERATOR["hidden_size"]))
        generator = randomise(transformers.ElectraForMaskedLM(own))
    weights = numbers(generator)
    variables = electra_variables(numbers(discriminator), weights | numbers(electra()[1]) | weights)
    if tying == "all":
        variables = {name: x for name, x in variables.items() if not name.startswith("generator/")}
    else:
        variables |= tables(weights, "electra.embeddings", "generator/embeddings")
        variables = {name: x for name, x in variables.items() if not name.startswith("generator/embeddings_project")}
    folder = write(tensorflow, tmp_path, variables)
    run, batch = google.load(folder), text()
    assert run.config.generator.tying == tying
    compare(run, batch, {"replaced_logit": discriminator(**inputs(batch)).logits,
                         "mlm_logits": generator(**inputs(batch)).logits})  # fmt: skip


def test_fine_tuned(tensorflow, tmp_path):
    """Classes of run_classifier.py beside spans of run_squad.py."""
    weights, random = numbers(bert()), np.random.default_rng(2)
    variables = {name: x for name, x in bert_variables(weights).items() if not name.startswith("cls/")}
    classes, span = ([random.normal(size=shape).astype(np.float32) for shape in ((n, 36), (n,))] for n in (4, 2))
    variables |= dict(zip(("output_weights", "output_bias", "cls/squad/output_weights", "cls/squad/output_bias"),
                          classes + span, strict=True))  # fmt: skip
    folder = write(tensorflow, tmp_path, variables, {"bert_config.json": BERT | {"hidden_act": "relu"}})
    run = google.load(folder)
    theirs = bert().bert
    for layer in theirs.encoder.layer:
        layer.intermediate.intermediate_act_fn = torch.nn.ReLU()
    batch = text()
    out = theirs(**inputs(batch))
    (rows, row), (ends, end) = (map(torch.tensor, pair) for pair in (classes, span))
    made = {"class_logits": out.pooler_output @ rows.T + row, "span_logits": out.last_hidden_state @ ends.T + end}
    compare(run, batch, made)
    assert run.model.heads == ("classes", "span") and run.config.task.classes == 4


def change(folder, **changes):
    path = folder / "bert_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def drop_lines(folder):
    lines = (folder / "vocab.txt").read_text().splitlines(keepends=True)
    (folder / "vocab.txt").write_text("".join(lines[:-2]))


def copy_checkpoint(folder, state=None):
    for path in sorted(folder.glob("bert_model.ckpt.*")):
        shutil.copy(path, folder / path.name.replace("bert_model", "another"))
    if state:
        (folder / "checkpoint").write_text(state)


INDEX, DATA, CONFIG = "bert_model.ckpt.index", "bert_model.ckpt.data-00000-of-00001", "bert_config.json"
BROKEN = {
    "no checkpoint": (lambda folder: (folder / INDEX).unlink(), "holds no checkpoint of TensorFlow"),
    "no data": (lambda folder: (folder / DATA).unlink(), f"bert_model.ckpt is damaged or incomplete: .*{DATA}"),
    "data cut short": (lambda folder: os.truncate(folder / DATA, 999), "bert_model.ckpt is damaged or incomplete"),
    "index cut short": (lambda folder: os.truncate(folder / INDEX, 99), "bert_model.ckpt is damaged or incomplete"),
    "no config": (lambda folder: (folder / CONFIG).unlink(), "neither albert_config.json nor bert_config.json"),
    "config damaged": (lambda folder: (folder / CONFIG).write_text("{"), "bert_config.json, line 1: not JSON"),
    "activation": (lambda folder: change(folder, hidden_act="swish"), "unknown hidden_act in .*bert_config.json 'swish'"),
    "list": (lambda folder: (folder / CONFIG).write_text("[]"), r"bert_config.json: \[\] is no JSON object"),
    "size": (lambda folder: change(folder, hidden_size=True), "bert_config.json: hidden_size=True is no whole number"),
    "wider": (lambda folder: change(folder, intermediate_size=53), r"is \(36, 52\), its config asks for \(36, 53\)"),
    "deeper": (lambda folder: change(folder, num_hidden_layers=4), "has no tensor bert/encoder/layer_3/"),
    "shallower": (lambda folder: change(folder, num_hidden_layers=2), "no place for tensor bert/encoder/layer_2/"),
    "no vocabulary": (lambda folder: (folder / "vocab.txt").unlink(), "holds no tokenizer"),
    "vocabulary": (drop_lines, "its tokenizer has 41 entries and its model's table 43"),
    "two": (copy_checkpoint, "2 checkpoints and no file `checkpoint`.*: another.ckpt, bert_model.ckpt"),
    "two, another named": (lambda folder: copy_checkpoint(folder, 'model_checkpoint_path: "gone"\n'), "2 checkpoints"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_refused(bert_folder, tmp_path, case):
    folder = shutil.copytree(bert_folder, tmp_path / "copy")
    break_it, message = BROKEN[case]
    break_it(folder)
    with pytest.raises(UserError, match=message) as caught:
        google.load(folder)
    assert "\n" not in str(caught.value)


def test_what_is_no_weight_is_refused(tensorflow, tmp_path):
    variables = bert_variables(numbers(bert()))
    name = "bert/embeddings/position_embeddings"
    for number, (x, message) in enumerate((
        (variables[name].astype(np.int8), f"{name} is int8; weights are float32"),
        (np.full_like(variables[name], np.nan), f"{name} has numbers that are not finite"),
        (variables[name][0], f"{name} is .*, its config asks for"),
    )):  # fmt: skip
        folder = write(tensorflow, tmp_path / str(number), variables | {name: x}, {"bert_config.json": BERT})
        with pytest.raises(UserError, match=message):
            google.load(folder)


def test_named_checkpoint(bert_folder, tmp_path):
    """Of several the one that `checkpoint` names, wherever that was."""
    folder = shutil.copytree(bert_folder, tmp_path / "copy")
    copy_checkpoint(folder, 'model_checkpoint_path: "gs://bucket/bert_model.ckpt"\n')
    (folder / "another.ckpt.index").write_bytes(b"")
    assert google.load(folder).model.heads == ("mlm", "pair")


def test_unknown_tensors(tensorflow, tmp_path):
    """Named, and left out if asked; a trunk without its pooler has none; a missing tensor is named."""
    variables = bert_variables(numbers(bert()))
    variables = {name: x for name, x in variables.items() if not name.startswith(("cls/", "bert/pooler/"))}
    more = {"bert/adapter/kernel": np.ones((2, 3), np.float32), "crf/transitions": np.ones((5, 5), np.float32)}
    folder = write(tensorflow, tmp_path, variables | more, {"bert_config.json": BERT})
    with pytest.raises(UserError, match="no place for tensor bert/adapter/kernel and 1 more; --drop leaves out"):
        google.load(folder)
    run = google.load(folder, drop=["bert/adapter", "crf/transitions"])
    assert run.model.heads == () and run.config.model.pooler == "none"
    with pytest.raises(UserError, match="has no tensor bert/encoder/layer_1/output/dense/bias"):
        google.load(folder, drop=["bert/adapter", "crf", "bert/encoder/layer_1/output/dense/bias"])


def test_objects_of_tensorflow_2(tensorflow, tmp_path):
    variables = {"model/kernel/.ATTRIBUTES/VARIABLE_VALUE": np.ones(3, np.float32),
                 "_CHECKPOINTABLE_OBJECT_GRAPH": np.array(b"graph")}  # fmt: skip
    folder = write(tensorflow, tmp_path, variables, {"bert_config.json": BERT}, slots=())
    with pytest.raises(UserError, match="holds objects of TensorFlow 2"):
        google.load(folder)


def test_without_tensorflow(bert_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(UserError, match=r"takes TensorFlow: pip install ssl_jax\[google\]"):
        google.load(bert_folder)
