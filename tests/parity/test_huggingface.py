"""Conversion to and from folders of `transformers` is exact; what cannot be converted is refused with one line."""

import dataclasses
import importlib
import json
import logging
import os
import pickle
import re
import runpy
import shutil
import stat
import subprocess
import sys
import time
import warnings
import zipfile
from pathlib import Path

import jax
import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
import transformers

from ssl_jax.config import base
from ssl_jax.errors import UserError
from ssl_jax.interop import check, config_files, huggingface
from ssl_jax.interop.families import FAMILIES
from ssl_jax.models import transformer
from ssl_jax.models.spec import TRAINED
from ssl_jax.tokenization import folders as tokenizer_folders


def assert_equal_trees(one, other):
    """Same structure, shapes and bits."""
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, one, other)


def refusal(call):
    """The message of a UserError, which is one line."""
    with pytest.raises(UserError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500, message
    return message


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vocabulary")
    check.write_vocabulary(folder)
    return tokenizer_folders.read(folder)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """`folders(label)`: one of check.FOLDERS, written once; not to be changed."""
    root = tmp_path_factory.mktemp("folders")

    def get(label):
        if not (root / label).exists():
            check.FOLDERS[label](root / label)
        return root / label

    return get


@pytest.fixture
def copy(folders, tmp_path):
    """`copy(label)`: the same to change as one likes."""

    def get(label="BertForPreTraining"):
        return Path(shutil.copytree(folders(label), tmp_path / label))

    return get


def edit_config(folder, remove=(), **changes):
    path = folder / "config.json"
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in content.items() if key not in remove}))


def read_tensors(folder):
    return safetensors.numpy.load_file(folder / "model.safetensors")


def write_tensors(folder, tensors):
    safetensors.numpy.save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def as_bin(folder):
    """The folder's weights as torch's own format."""
    tensors = {name: torch.tensor(x) for name, x in read_tensors(folder).items()}
    torch.save(tensors, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize("label", check.FOLDERS)
def test_their_folders_there_and_back(label, folders):
    found = check.compare(folders(label))
    assert found.equal
    assert max(found.inward, found.outward) < 1e-5
    # Every class by its own name, with its own heads.
    named = {name: heads for facts in FAMILIES.values() for heads, name in facts.classes.items()}
    if label in named:
        assert found.name == label and sorted(found.heads) == list(named[label])


def shrunk(paper, variant, **changes):
    """A paper's config with check.SIZES."""
    config = importlib.import_module(f"configs.{paper}").get_config(variant)
    sizes = {name: size for name, size in check.SIZES.items() if name != "embedding_size"}
    config.model.update(sizes, head_size=0, embedding_size=20 if config.model.embedding_size else 0)
    config.update_from_flattened_dict(changes)
    return config


OURS = {
    "bert": ("bert", "base", {}),
    "albert": ("albert", "base", {}),
    "electra": ("electra", "small", {}),
    "electra-tied": ("electra", "base", {"generator.tying": "all", "generator.size": 1.0}),
    "distilbert": ("distilbert", "base", {}),
    "tinybert-two": ("tinybert", "4-312", {}),
    "tinybert-one": ("tinybert", "4-312,release", {}),
    "tinybert-each": ("tinybert", "4-312", {"teacher.projection": "each"}),
    "gpt1": ("gpt1", "base", {"model.ffn_size": 0}),
    "gpt2": ("gpt2", "small", {}),
    "finetuned": ("finetune", "bert-base,topics", {"task.classes": 4}),
}


def computed(config):
    """The fields that decide what a trunk computes."""
    return {name: x for name, x in dataclasses.asdict(config).items() if name not in TRAINED | {"predict_positions"}}


@pytest.mark.parametrize("label", OURS)
def test_our_runs_there_and_back(label, tokenizer, tmp_path):
    paper, variant, changes = OURS[label]
    run = check.random_run(shrunk(paper, variant, **changes), tokenizer)
    huggingface.save(run, tmp_path / "theirs")
    again = huggingface.load(tmp_path / "theirs")
    given, got = dict(run.params), dict(again.params)
    if label == "tinybert-two":
        # The same projections, spelt out for every state.
        fit, spelt = given.pop("fit"), got.pop("fit")
        np.testing.assert_array_equal(spelt["kernel"], fit["kernel"][np.array([0, 1, 1, 1])])
        assert not spelt["bias"].any()
    if label == "electra-tied":
        # There the generator's trunk is a file of its own.
        assert_equal_trees(got.pop("generator_encoder"), given["encoder"])
    # The same parameters of the same trunk make the same logits.
    assert_equal_trees(given, got)
    assert computed(again.model.config) == computed(run.model.config)
    assert again.tokenizer_hash == run.tokenizer_hash

    found = check.compare(tmp_path / "theirs")
    assert found.equal
    assert max(found.inward, found.outward) < 1e-5


# Models, each with its heads; BERT's dropouts are in the places of the other encoders'.
LOGITS = {"class_logits": "logits", "mlm_logits": "logits", "pair_logits": "seq_relationship_logits"}  # ours: theirs
DROPPED = {
    "bert": ("bert", "base", {}),
    "bert-classes": ("finetune", "bert-base,topics", {"task.classes": 4}),
    "distilbert": ("distilbert", "base", {}),
    "distilbert-classes": ("finetune", "distilbert-base,topics,release", {"task.classes": 4}),
    "distilbert-spans": ("finetune", "distilbert-base,squad", {}),
}


@pytest.mark.parametrize("label", DROPPED)
def test_dropout_is_where_theirs_is_and_has_its_rate(label, tokenizer, tmp_path, monkeypatch):
    """In both, a dropout at a rate p multiplies by 1 + p instead: logits agree only if all dropouts do."""
    paper, variant, changes = DROPPED[label]
    changes = changes | {"model.dropout": 0.3, "model.attention_dropout": 0.15}
    run = check.random_run(shrunk(paper, variant, **changes), tokenizer)
    huggingface.save(run, tmp_path / "theirs")
    (name,) = json.loads((tmp_path / "theirs/config.json").read_text())["architectures"]
    monkeypatch.setattr(transformer.Dropout, "__call__", lambda self, x, index: x * (1 + self.rate))
    monkeypatch.setattr(torch.nn.functional, "dropout", lambda x, p, training, inplace=False: x * (1 + p * training))
    model = getattr(transformers, name).from_pretrained(tmp_path / "theirs", attn_implementation="eager").train()
    batch = check._text(run, run.vocabulary.pad, 5, 24)
    inputs = dict(input_ids=batch["tokens"], attention_mask=batch["mask"].astype(int))
    if run.model.config.type_vocab_size:
        inputs["token_type_ids"] = batch["segments"]
    with torch.no_grad():
        out = model(**{key: torch.tensor(x) for key, x in inputs.items()}, output_hidden_states=True)
    theirs = {key: torch.stack([x] if isinstance(x, torch.Tensor) else x).numpy() for key, x in out.items()}
    # Theirs loaded as a run drops in the same places, too.
    for trunk in (run.model.config, huggingface.load(tmp_path / "theirs").model.config):
        made = run.model.clone(config=trunk).apply({"params": run.params}, batch)
        pairs = [(made["layers"]["hidden"], theirs["hidden_states"][1:])]
        pairs += [(made[mine][None], theirs[key]) for mine, key in LOGITS.items() if mine in made and key in theirs]
        if "span_logits" in made:
            pairs.append((made["span_logits"][None], np.stack([theirs["start_logits"], theirs["end_logits"]], -1)))
        assert len(pairs) > 1
        for mine, their in pairs:
            at = (slice(None), batch["mask"]) if mine.shape[2:3] == batch["mask"].shape[1:] else ...
            np.testing.assert_allclose(np.asarray(mine)[at], their[at], rtol=1e-4, atol=1e-4)


# What the run calls its four classes, and what their config.json does.
UNNAMED = tuple(f"LABEL_{n}" for n in range(4))
NAMED = {
    "named": (("no", "yes", "ja", "nein"), ("no", "yes", "ja", "nein")),
    "unnamed": ((), UNNAMED),
    "two-names": (("no", "yes"), UNNAMED),
}


@pytest.mark.parametrize("case", NAMED)
def test_classes_keep_their_names(case, tokenizer, tmp_path):
    ours, theirs = NAMED[case]
    changes = {"task.classes": 4, "task.labels": ours}
    run = check.random_run(shrunk("finetune", "bert-base,topics", **changes), tokenizer)
    huggingface.save(run, tmp_path / "theirs")
    written = json.loads((tmp_path / "theirs/config.json").read_text())
    assert written["id2label"] == {str(n): name for n, name in enumerate(theirs)}
    assert written["label2id"] == {name: n for n, name in enumerate(theirs)}
    assert huggingface.load(tmp_path / "theirs").config.task.labels == theirs
    for named in (None, {"0": "no"}, {str(n + 1): "no" for n in range(4)}, ["no"] * 4):
        edit_config(tmp_path / "theirs", id2label=named, label2id=named)
        assert huggingface.load(tmp_path / "theirs").config.task.labels == ()
    # One of the two is enough, and both must say the same.
    edit_config(tmp_path / "theirs", remove=["id2label"], label2id={"c": 2, "a": 0, "d": 3, "b": 1})
    assert huggingface.load(tmp_path / "theirs").config.task.labels == ("a", "b", "c", "d")
    edit_config(tmp_path / "theirs", id2label=dict(enumerate("bacd")))
    assert "has the classes b, a, c, d and label2id a, b, c, d" in refusal(
        lambda: huggingface.load(tmp_path / "theirs")
    )


def test_classes_that_do_not_exclude_each_other_are_refused_and_may_be_left_out(tokenizer, tmp_path):
    changes = {"task.classes": 3, "task.labels": ("toxic", "rude", "threat")}
    run = check.random_run(shrunk("finetune", "bert-base,topics", **changes), tokenizer)
    huggingface.save(run, tmp_path / "theirs")
    edit_config(tmp_path / "theirs", problem_type="single_label_classification")
    assert huggingface.load(tmp_path / "theirs").config.task.labels == ("toxic", "rude", "threat")
    edit_config(tmp_path / "theirs", problem_type="multi_label_classification")
    message = refusal(lambda: huggingface.load(tmp_path / "theirs"))
    assert "config.json: problem_type='multi_label_classification': its classes do not exclude each other" in message
    left_out = re.search(r"--drop=(\S+)", message)[1]
    assert "classifier" not in huggingface.load(tmp_path / "theirs", drop=[left_out]).params


def test_scores_are_written_in_their_own_units(tokenizer, tmp_path):
    """ELECTRA's release divides STS-B's by five; transformers knows of no such thing."""
    changes = {"task.classes": 1, "task.scale": 5.0, "losses.classify": 0.0, "losses.regress": 1.0}
    run = check.random_run(shrunk("finetune", "bert-base,topics", **changes), tokenizer)
    huggingface.save(run, tmp_path / "theirs")
    again = huggingface.load(tmp_path / "theirs").params
    for part, x in run.params["classifier"]["dense"].items():
        np.testing.assert_array_equal(again["classifier"]["dense"][part], 5 * x)
    assert_equal_trees(again["pooler"], run.params["pooler"])


def test_a_classifier_without_padding_finds_the_end_of_a_text(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(["nothing", *check.pieces()[1:]]))
    classify = {"losses.clm": 0.0, "losses.classify": 1.0, "model.pooler": "plain", "task.classes": 4}
    run = check.random_run(shrunk("gpt2", "small", **classify), tokenizer_folders.read(tmp_path))
    assert run.vocabulary.pad is None
    # A bias of 0 is none.
    run.params["classifier"]["dense"]["bias"] *= 0
    huggingface.save(run, tmp_path / "theirs")
    assert json.loads((tmp_path / "theirs/config.json").read_text())["pad_token_id"] == run.vocabulary.end_of_text


@pytest.mark.parametrize("label", ["BertForPreTraining", "AlbertForMaskedLM", "GPT2LMHeadModel"])
def test_transformers_has_nothing_to_say_about_what_we_write(label, folders, tmp_path, caplog, monkeypatch):
    huggingface.save(huggingface.load(folders(label)), tmp_path / "ours")
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    with caplog.at_level(logging.WARNING, "transformers"):
        getattr(transformers, label).from_pretrained(tmp_path / "ours")
    assert not caplog.messages


def shards(folder):
    model = transformers.BertForPreTraining.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="40KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 1


def bin_shards(folder):
    tensors = {name: torch.tensor(x) for name, x in read_tensors(folder).items()}
    (folder / "model.safetensors").unlink()
    where = {name: f"pytorch_model-{number % 2}.bin" for number, name in enumerate(sorted(tensors))}
    for file in set(where.values()):
        torch.save({name: x for name, x in tensors.items() if where[name] == file}, folder / file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": where}))


def old_names(folder):
    def old(name):
        if "LayerNorm" not in name:
            return name
        return name.replace(".weight", ".gamma").replace(".bias", ".beta")

    write_tensors(folder, {old(name): x for name, x in read_tensors(folder).items()})


def with_copies(folder):
    tensors = read_tensors(folder)
    tensors["cls.predictions.decoder.weight"] = tensors["bert.embeddings.word_embeddings.weight"]
    tensors["cls.predictions.decoder.bias"] = tensors["cls.predictions.bias"]
    tensors["bert.embeddings.position_ids"] = np.arange(24)[None]
    write_tensors(folder, tensors)


def copies_alone(folder):
    tensors = read_tensors(folder)
    tensors["cls.predictions.decoder.weight"] = tensors.pop("bert.embeddings.word_embeddings.weight")
    write_tensors(folder, tensors)


def without_prefix(folder):
    tensors = {name.removeprefix("transformer."): x for name, x in read_tensors(folder).items()}
    for number in range(check.SIZES["layers"]):
        tensors[f"h.{number}.attn.bias"] = np.tri(24, dtype=np.float32)[None, None]
    write_tensors(folder, tensors)


def without_architectures(folder):
    edit_config(folder, remove=["architectures"])


def without_defaults(folder):
    content = json.loads((folder / "config.json").read_text())
    defaults = transformers.AutoConfig.for_model(content["model_type"]).to_dict()
    edit_config(folder, remove=[key for key in content if key != "model_type" and content[key] == defaults.get(key)])


SPELLINGS = {
    "shards": (shards, "BertForPreTraining"),
    "bin": (as_bin, "BertForPreTraining"),
    "bin-shards": (bin_shards, "BertForPreTraining"),
    "gamma-beta": (old_names, "BertForPreTraining"),
    "copies": (with_copies, "BertForPreTraining"),
    "copies-alone": (copies_alone, "BertForPreTraining"),
    "gpt2-of-the-hub": (without_prefix, "GPT2LMHeadModel"),
    "openai-gpt-of-the-hub": (without_prefix, "OpenAIGPTLMHeadModel"),
    "no-architectures": (without_architectures, "BertForPreTraining"),
    "defaults-bert": (without_defaults, "BertForPreTraining"),
    "defaults-albert": (without_defaults, "AlbertForPreTraining"),
    "defaults-electra": (without_defaults, "ElectraForPreTraining"),
    "defaults-distilbert": (without_defaults, "DistilBertForMaskedLM"),
    "defaults-openai-gpt": (without_defaults, "OpenAIGPTLMHeadModel"),
    "defaults-gpt2": (without_defaults, "GPT2LMHeadModel"),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_the_same_model_spelt_otherwise(spelling, folders, copy):
    change, label = SPELLINGS[spelling]
    folder = copy(label)
    change(folder)
    expected, run = huggingface.load(folders(label)), huggingface.load(folder)
    assert run.model == expected.model
    assert_equal_trees(run.params, expected.params)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
@pytest.mark.parametrize("file", ["safetensors", "bin"])
def test_half_precision_is_read_as_float32(kind, file, folders, copy):
    folder = copy()
    transformers.BertForPreTraining.from_pretrained(folder).to(kind).save_pretrained(folder)
    if file == "bin":
        torch.save(transformers.BertForPreTraining.from_pretrained(folder).state_dict(), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    expected = huggingface.load(folders("BertForPreTraining"))
    params = huggingface.load(folder).params
    rounded = jax.tree.map(lambda x: torch.tensor(np.array(x)).to(kind).float().numpy(), expected.params)
    assert_equal_trees(jax.tree.map(np.asarray, params), rounded)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_missing_key_stands_for_the_default_of_transformers(family):
    facts, theirs = FAMILIES[family], transformers.AutoConfig.for_model(family)
    for key, default in facts.fields.values():
        assert getattr(theirs, key) == default, key
    for key, value in facts.needs.items():
        assert getattr(theirs, key, value) == value, key
    assert all(hasattr(theirs, key) for key in facts.dropouts)


def test_neither_way_imports_torch_or_transformers(folders, tmp_path, root):
    code = (
        "import sys; from ssl_jax.interop import huggingface; "
        f"huggingface.save(huggingface.load({str(folders('Electra-halves'))!r}), {str(tmp_path / 'out')!r}); "
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "[]"
    assert (tmp_path / "out/generator/model.safetensors").exists()


class Intruder:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_with_code_is_not_run(copy, tmp_path):
    folder = copy()
    as_bin(folder)
    # As torch's zip file, and as a plain pickle.
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"x": Intruder(tmp_path / "intruded")}))
    assert "could run code" in refusal(lambda: huggingface.load(folder))
    torch.save({"x": Intruder(tmp_path / "intruded")}, folder / "pytorch_model.bin")
    assert "could run code" in refusal(lambda: huggingface.load(folder))
    assert not (tmp_path / "intruded").exists()
    # The same file, believed.
    torch.load(folder / "pytorch_model.bin", weights_only=False)
    assert (tmp_path / "intruded").exists()


def cut(name):
    def change(folder):
        path = folder / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return change


def cut_bin(folder):
    as_bin(folder)
    cut("pytorch_model.bin")(folder)


def lose_shard(folder):
    shards(folder)
    sorted(folder.glob("model-*.safetensors"))[1].unlink()


def damaged_index(content):
    def change(folder):
        shards(folder)
        (folder / "model.safetensors.index.json").write_text(content)

    return change


def wrong_index(folder):
    shards(folder)
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    first = min(index["weight_map"].values())
    index["weight_map"]["bert.nowhere.weight"] = first
    path.write_text(json.dumps(index))


def config_text(text):
    return lambda folder: (folder / "config.json").write_text(text)


def config_with(**changes):
    return lambda folder: edit_config(folder, **changes)


def tensor(name, change):
    """Replaces a tensor by what `change` makes of it; None: removes it."""

    def edit(folder):
        tensors = read_tensors(folder)
        made = change(tensors.pop(name, None))
        write_tensors(folder, tensors | ({} if made is None else {name: np.ascontiguousarray(made)}))

    return edit


def ambiguous(folder):
    check.random_model("bert", "BertForTokenClassification").save_pretrained(folder)
    without_architectures(folder)


def same_in_two_shards(folder):
    shards(folder)
    one, other = sorted(folder.glob("model-*.safetensors"))[:2]
    whole = [safetensors.numpy.load_file(path) for path in (one, other)]
    safetensors.numpy.save_file(whole[1] | {"cls.predictions.bias": np.ones(3, np.float32)}, other)
    safetensors.numpy.save_file(whole[0] | {"cls.predictions.bias": np.ones(3, np.float32)}, one)


def prefixed(prefix):
    def change(folder):
        write_tensors(folder, {prefix + name: x for name, x in read_tensors(folder).items()})

    return change


def matrices(kind):
    """Casts all matrices, to a dtype of NumPy's or torch's."""

    def change(folder):
        tensors = {name: torch.tensor(x) for name, x in read_tensors(folder).items()}
        kind_of_torch = kind if isinstance(kind, torch.dtype) else getattr(torch, np.dtype(kind).name)
        tensors = {name: x.to(kind_of_torch) if x.ndim == 2 else x for name, x in tensors.items()}
        safetensors.torch.save_file(tensors, folder / "model.safetensors")

    return change


def quantised(folder):
    matrices(np.int8)(folder)
    edit_config(folder, quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True})


def scaled(folder):
    tensor("bert.encoder.SCB", lambda _: np.ones(3, np.float32))(folder)
    edit_config(folder, quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True})


def header_of(text):
    """The weights' file with another header."""

    def change(folder):
        path = folder / "model.safetensors"
        content = path.read_bytes()
        size = int.from_bytes(content[:8], "little")
        made = text if isinstance(text, bytes) else json.dumps(text(json.loads(content[8 : 8 + size]))).encode()
        path.write_bytes(len(made).to_bytes(8, "little") + made + content[8 + size :])

    return change


def header(name, **changes):
    return header_of(lambda content: content | {name: content[name] | changes})


def one_number_of_many_axes(folder):
    tensor("a", lambda _: np.ones(1, np.float32))(folder)
    header("a", shape=[1] * 100)(folder)


def bin_of(change):
    """The folder's weights as torch's own format, each changed."""

    def write(folder):
        tensors = {name: torch.tensor(x) for name, x in read_tensors(folder).items()}
        with warnings.catch_warnings(action="ignore"):  # about kinds that torch will drop
            torch.save({name: change(x) for name, x in tensors.items()}, folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()

    return write


def nested_bin(folder):
    as_bin(folder)
    path = folder / "pytorch_model.bin"
    torch.save({"model": torch.load(path), "epoch": 3, "optimizer": {}}, path)


def zip_bomb(folder):
    as_bin(folder)
    path = folder / "pytorch_model.bin"
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, x in content.items():
            archive.writestr(name, bytes(1 << 20) if "/data/" in name else x)


POSITION = "bert.embeddings.position_embeddings.weight"
BAD = {
    "no-folder": (shutil.rmtree, "there is no config.json"),
    "no-config": (lambda folder: (folder / "config.json").unlink(), "there is no config.json"),
    "config-cut": (cut("config.json"), "config.json, line"),
    "config-list": (config_text("[1]"), "config.json: [1] is no JSON object"),
    "config-nested": (config_text("[" * 100_000), "config.json: JSON nested too deeply"),
    "config-digits": (config_text('{"model_type": %s}' % ("1" * 5000)), "config.json: a number with too many digits"),
    "config-utf16": (
        lambda folder: (folder / "config.json").write_bytes("{}".encode("utf-16")), "is UTF-16; convert it"
    ),
    "type-list": (config_with(model_type=["bert"]), "config.json: model_type=['bert'] is no name"),
    "type-missing": (lambda folder: edit_config(folder, remove=["model_type"]), "model_type=None is no name"),
    "architectures": (config_with(architectures=[3]), "architectures=[3] is no list of names"),
    "t5": (config_with(model_type="t5"), "unknown model_type"),
    "misspelt": (config_with(model_type="brt"), "did you mean 'bert'"),
    "relative": (config_with(position_embedding_type="relative_key"), "position_embedding_type='relative_key'"),
    "decoder": (config_with(is_decoder=True), "is_decoder=True"),
    "silu": (config_with(hidden_act="silu"), "config.json 'silu'; there are: gelu, gelu_new"),
    "indivisible": (config_with(num_attention_heads=5), "hidden_size=36 is not divisible by num_attention_heads=5"),
    "untied-head": (
        config_with(tie_word_embeddings=False), "word_embeddings=false, and there is no tensor cls.predictions.decoder"
    ),
    "tied-how": (config_with(tie_word_embeddings="yes"), "tie_word_embeddings='yes' is neither true nor false"),
    "width": (config_with(intermediate_size=53), "is (52, 36), its config asks for (53, 36)"),
    "deeper": (config_with(num_hidden_layers=4), "has no tensor bert.encoder.layer.3.attention.self.query.weight"),
    "shallower": (config_with(num_hidden_layers=2), "no place for tensor bert.encoder.layer.2.attention"),
    "no-weights": (lambda folder: (folder / "model.safetensors").unlink(), "holds no weights"),
    "safetensors-cut": (cut("model.safetensors"), "model.safetensors is damaged"),
    "bin-cut": (cut_bin, "pytorch_model.bin is damaged"),
    "shard-lost": (lose_shard, "is missing, which model.safetensors.index.json names"),
    "index-cut": (damaged_index('{"weight_map": {"a'), "index.json, line 1: not JSON"),
    "index-list": (damaged_index("[]"), "index.json: [] is no JSON object"),
    "index-elsewhere": (
        damaged_index('{"weight_map": {"a": "../config.json"}}'), "names '../config.json': shards are files"
    ),
    "index-itself": (
        damaged_index('{"weight_map": {"a": "config.json"}}'), "config.json is damaged or no safetensors file"
    ),
    "shards-alike": (same_in_two_shards, "has cls.predictions.bias, and so has another shard"),
    "index-empty": (damaged_index("{}"), "index.json is damaged"),
    "index-numbers": (damaged_index('{"weight_map": {"a": 3}}'), "index.json is damaged"),
    "index-wrong": (wrong_index, "has no tensor bert.nowhere.weight"),
    "untied": (tensor("cls.predictions.decoder.weight", lambda _: np.ones((61, 36), np.float32)), "untied tables"),
    "extra": (tensor("bert.extra.weight", lambda _: np.ones(3, np.float32)), "no place for tensor bert.extra.weight"),
    "missing": (tensor(POSITION, lambda x: None), f"has no tensor {POSITION}"),
    "missing-bias": (tensor("cls.predictions.bias", lambda x: None), "has no tensor cls.predictions.bias"),
    "missing-pooler": (tensor("bert.pooler.dense.weight", lambda x: None), "has no tensor bert.pooler.dense.weight"),
    "part-of-a-head": (tensor("qa_outputs.bias", lambda _: np.ones(2, np.float32)), "has no tensor qa_outputs.weight"),
    "two-names": (
        tensor("bert.embeddings.LayerNorm.gamma", lambda _: np.ones(36, np.float32)),
        "has bert.embeddings.LayerNorm.weight twice, once by its older name",
    ),
    "data-parallel": (prefixed("module."), "begin with 'module.', which is no part of a bert"),
    "compiled": (prefixed("_orig_mod."), "begin with '_orig_mod.', which is no part of a bert"),
    "long-name": (tensor("a\n" + "b" * 10_000, lambda _: np.ones(3, np.float32)), r"no place for tensor a\nbbb"),
    "fit-again": (
        lambda folder: shutil.copy(folder / "model.safetensors", folder / huggingface.FIT_FILE),
        "fit_dense.safetensors has bert.embeddings.LayerNorm.bias and 61 more once more",
    ),
    "nan": (tensor(POSITION, lambda x: np.where(x > 0, x, np.nan)), f"{POSITION} has numbers that are not finite"),
    "infinite": (
        tensor("cls.seq_relationship.bias", lambda x: np.full_like(x, -np.inf)),
        "cls.seq_relationship.bias has numbers that are not finite",
    ),
    "beyond-float32": (
        tensor(POSITION, lambda x: x.astype(np.float64) * 1e300), f"{POSITION} has numbers that are not"
    ),
    "int8": (matrices(np.int8), "bert.embeddings.word_embeddings.weight and 23 more are int8; weights are float32"),
    "int64": (matrices(np.int64), "23 more are int64"),
    "uint8": (matrices(np.uint8), "23 more are uint8"),
    "bool": (tensor(POSITION, lambda x: x > 0), f"{POSITION} is bool; weights are float32, float16 or bfloat16"),
    "complex": (tensor(POSITION, lambda x: x.astype(np.complex64)), f"{POSITION} is C64; weights are float32"),
    "float8": (matrices(torch.float8_e4m3fn), "and 23 more are F8_E4M3; weights are float32"),
    "quantised": (
        quantised, "(quantised, as its quantization_config says): bert.embeddings.word_embeddings.weight and 23 more"
    ),
    "scales": (scaled, "(quantised, as its quantization_config says): there is no place for tensor bert.encoder.SCB"),
    "header-lies": (header(POSITION, shape=[25, 36]), "model.safetensors is damaged or no safetensors file"),
    "header-huge": (header(POSITION, shape=[1 << 40, 1 << 40]), "model.safetensors is damaged or no safetensors file"),
    "header-empty": (header(POSITION, shape=[0, 1 << 62], data_offsets=[0, 0]), "model.safetensors is damaged or no"),
    "header-axes": (one_number_of_many_axes, "model.safetensors is damaged or no safetensors file: maximum supported"),
    "header-deep": (header_of(b"[" * 100_000), "model.safetensors is damaged or no safetensors file"),
    "header-long": (
        lambda folder: (folder / "model.safetensors").write_bytes(b"\xff" * 16), "is damaged or no safetensors"
    ),
    "bin-float8": (bin_of(lambda x: x.to(torch.float8_e5m2)), "61 more are torch.float8_e5m2; weights are float32"),
    "bin-complex": (bin_of(lambda x: x.to(torch.complex64)), "61 more are torch.complex64; weights are float32"),
    "bin-sparse": (bin_of(torch.Tensor.to_sparse), "61 more are sparse (torch.sparse_coo)"),
    "bin-meta": (bin_of(lambda x: x.to("meta")), "61 more are without values (meta)"),
    "bin-quantised": (
        bin_of(lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8)), "61 more are quantised (torch.qint8)"
    ),
    "bin-int8": (bin_of(lambda x: x.to(torch.int8)), "61 more are int8; weights are float32"),
    "bin-claims": (bin_of(lambda x: torch.zeros(1).half().expand(1 << 30)), "its tensors claim 133,143,986,176 bytes"),
    "bin-nested": (
        nested_bin, "it is not a model's state_dict; have model, optimizer of it saved as a file of its own"
    ),
    "bin-bomb": (zip_bomb, "it claims to hold more than its"),
    "misshapen": (tensor(POSITION, lambda x: x[:, :-1]), f"{POSITION} is (24, 35), its config asks for (24, 36)"),
    "transposed": (tensor("bert.encoder.layer.1.intermediate.dense.weight", np.transpose), "is (36, 52)"),
    "vocabulary": (lambda folder: (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n"), "tokenizer has 5 entries"),
    "no-tokenizer": (lambda folder: (folder / "vocab.txt").unlink(), "tokenizer"),
    "ambiguous": (ambiguous, "its architectures must say what `classifier` is"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_folder_that_is_no_model_of_ours_is_refused(name, copy):
    change, message = BAD[name]
    folder = copy()
    change(folder)
    assert message in refusal(lambda: huggingface.load(folder))


# What a size in config.json may not be.
NO_SIZES = (0, -1, -(10**30), 1 << 70, 10**4000, True, False, None, "36", "", 36.0, float("nan"), [36], {"a": 1})
NO_SHARES = (-0.1, 1.5, float("nan"), float("inf"), 1e300, True, None, "0.1", [0.1], {})


@pytest.mark.parametrize("family", FAMILIES)
def test_values_that_no_config_has_are_refused_before_anything_is_read(family, tmp_path):
    for key, default in FAMILIES[family].fields.values():
        for value in NO_SIZES if isinstance(default, int) or default is None else NO_SHARES:
            if (key, value) == ("n_inner", None):  # four times the width
                continue
            value = 3 if isinstance(default, str) and value == "0.1" else value
            (tmp_path / "config.json").write_text(json.dumps({"model_type": family, key: value}))
            message = refusal(lambda: huggingface.load(tmp_path))
            kind = {str: "no name", float: "no number from 0 to 1"}.get(type(default), "no whole number from 1 to")
            assert f"config.json: {key}=" in message and kind in message, (key, value)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"hidden_size": 999_999}, "is (61, 36), its config asks for (61, 999999)"),
        ({"num_hidden_layers": 4096}, "has no tensor bert.encoder.layer.3.attention.self.query.weight and"),
        ({"vocab_size": 1 << 24}, "is (61, 36), its config asks for (16777216, 36)"),
        ({"intermediate_size": 1 << 24, "hidden_size": 3 << 20}, "is (61, 36), its config asks for (61, 3145728)"),
    ],
    ids=["width", "layers", "vocabulary", "both"],
)
def test_nothing_is_allocated_for_sizes_that_the_file_does_not_have(changes, message, copy, monkeypatch):
    folder = copy()
    edit_config(folder, **changes)
    made = []
    monkeypatch.setattr(np, "empty", lambda *arguments, **_: made.append(arguments))
    start = time.perf_counter()
    assert message in refusal(lambda: huggingface.load(folder))
    assert not made and time.perf_counter() - start < 10


def test_parameters_in_a_bin_are_read(folders, copy):
    folder = copy()
    bin_of(torch.nn.Parameter)(folder)
    assert_equal_trees(huggingface.load(folder).params, huggingface.load(folders("BertForPreTraining")).params)


@pytest.mark.parametrize("label", ["BertModel", "BertForSequenceClassification", "GPT2ForSequenceClassification"])
def test_without_logits_of_tokens_there_is_nothing_to_tie(label, folders, copy):
    folder = copy(label)
    edit_config(folder, tie_word_embeddings=False)
    expected, run = huggingface.load(folders(label)), huggingface.load(folder)
    assert run.model == expected.model
    assert_equal_trees(run.params, expected.params)


def test_untied_tables_that_are_equal_are_tied(folders, copy):
    folder = copy()
    with_copies(folder)
    edit_config(folder, tie_word_embeddings=False)
    assert_equal_trees(huggingface.load(folder).params, huggingface.load(folders("BertForPreTraining")).params)


def test_an_untied_trunk_of_a_gpt_has_no_head(folders, copy):
    folder = copy("GPT2LMHeadModel")
    edit_config(folder, tie_word_embeddings=False)
    assert "there is no tensor lm_head.weight" in refusal(lambda: huggingface.load(folder))
    edit_config(folder, architectures=["GPT2Model"])
    run = huggingface.load(folder)
    assert run.model.heads == ()
    assert_equal_trees(run.params, huggingface.load(folders("GPT2LMHeadModel")).params)


@pytest.mark.parametrize("label", ["BertForMaskedLM", "GPT2LMHeadModel"])
def test_rows_that_pad_the_table_are_left_out(label, folders, tmp_path):
    model = getattr(transformers, label).from_pretrained(folders(label))
    model.resize_token_embeddings(61, pad_to_multiple_of=64)
    model.save_pretrained(tmp_path)
    check.write_vocabulary(tmp_path)
    run, expected = huggingface.load(tmp_path), huggingface.load(folders(label))
    assert run.notes[-1] == (
        "left out: 3 rows behind the tokenizer's 61 entries, which pad the table to 64: no text has their ids"
    )
    assert run.model == expected.model and run.config.data.tokenizer.vocab_size == 61
    assert_equal_trees(run.params, expected.params)
    assert config_files.read_config(tmp_path).model.vocab_size == 61
    found = check.compare(tmp_path)  # with theirs, cut to the tokenizer's entries
    assert found.equal and max(found.inward, found.outward) < 1e-5


def test_more_rows_than_a_multiple_are_left_out_if_asked(folders, copy):
    folder = copy("DistilBertForMaskedLM")
    model = transformers.DistilBertForMaskedLM.from_pretrained(folder)
    model.resize_token_embeddings(1024)
    model.save_pretrained(folder)
    for read in (huggingface.load, config_files.read_config):
        message = refusal(lambda: read(folder))  # noqa: B023
        assert "61 entries and its model's table 1024: " in message and "from_hf --padded leaves out" in message
    run = huggingface.load(folder, padded=True)
    assert "963 rows behind" in run.notes[-1]
    assert_equal_trees(run.params, huggingface.load(folders("DistilBertForMaskedLM")).params)


def test_files_have_the_usual_permissions(folders, tmp_path):
    run = huggingface.load(folders("TinyBERT-one"))
    for mask in (0o022, 0o027):
        before = os.umask(mask)
        try:
            huggingface.save(run, tmp_path / str(mask))
        finally:
            os.umask(before)
        for path in (tmp_path / str(mask)).iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask, path


def test_a_full_disk_names_the_file(folders, tmp_path, root):
    # No file may grow beyond 64 KiB: the system refuses the write as it does on a full disk.
    code = (
        "import resource, signal; from ssl_jax.interop import huggingface; from ssl_jax.errors import UserError\n"
        f"run = huggingface.load({str(folders('BertForPreTraining'))!r})\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))\n"
        f"try: huggingface.save(run, {str(tmp_path / 'out')!r})\nexcept UserError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == f"cannot write {tmp_path}/out.partial/model.safetensors: File too large"
    assert not list(tmp_path.iterdir())


def test_classes_without_names_get_them(folders, root):
    name_classes = runpy.run_path(str(root / "scripts/convert.py"))["name_classes"]
    run = huggingface.load(folders("BertForSequenceClassification"))
    assert run.config.task.labels == tuple(f"LABEL_{n}" for n in range(5))
    for names, message in (("ab", "a, b: .* has 5 classes"), ("abcdd", "each needs its own name")):
        assert re.search(message, refusal(lambda: name_classes(run, list(names))))  # noqa: B023
    name_classes(run, list("abcde"))
    assert run.config.task.labels == tuple("abcde")
    assert "is for classes without names" in refusal(lambda: name_classes(run, list("edcba")))


def test_drop_leaves_out_what_has_no_place(folders, copy):
    folder = copy()
    tensor("bert.extra.weight", lambda _: np.ones(3, np.float32))(folder)
    run = huggingface.load(folder, drop=["bert.extra"])
    assert_equal_trees(run.params, huggingface.load(folders("BertForPreTraining")).params)


def test_halves_that_do_not_belong_together_are_refused(copy):
    folder = copy("Electra-halves")
    path = folder / "generator"
    tensor("electra.embeddings.position_embeddings.weight", lambda x: x + 1)(path)
    assert "do not share their embeddings: position differ" in refusal(lambda: huggingface.load(folder))


# What no class of theirs has: (paper, variant, changes), and what is said.
NONE_HAS = {
    "bands": ("gpt3", "small", {"model.local_window": 4}, "local_window 4 and 0"),
    "printed-heads": ("gpt3", "small", {"model.local_window": 0, "model.head_size": 20}, "head_size 20 and 12"),
    "shared-attention": ("albert", "base", {"model.share": "attention"}, "share attention and all"),
    "pre-norm": ("bert", "base", {"model.norm": "pre"}, "norm pre and post"),
    "no-activation": ("bert", "base", {"model.activation": "none"}, "has no activation none"),
    "all-tokens": ("electra", "small", {"losses.rtd": 0.0, "losses.all_tokens": 1.0}, "with the heads copied"),
    "restored": ("electra", "small", {"losses.rtd": 0.0, "losses.replaced_mlm": 1.0}, "with the heads restored"),
    "joint-span": ("finetune", "electra-small,squad2", {}, "with the heads joint_span"),
    "adversarial": ("electra", "small", {"losses.mlm": 0.0, "losses.adversarial": 1.0}, "with the heads baseline, mlm"),
    "relu": ("finetune", "bert-base,topics", {"task.classes": 4, "task.activation": "relu"}, "no relu before"),
    "no-bias": ("finetune", "bert-base,topics", {"task.classes": 4, "task.bias": False}, "needs classifier/dense/bias"),
    "gpt-bias": (
        "gpt2", "small", {"losses.clm": 0.0, "losses.classify": 1.0, "model.pooler": "plain", "task.classes": 4},
        "no place for classifier/dense/bias",
    ),
    "no-segments": ("albert", "base", {"model.type_vocab_size": 0}, "needs embeddings/segment"),
    "unread-pooler": ("bert", "base", {"losses.nsp": 0.0}, "no place for pooler/dense/bias and 1 more"),
}  # fmt: skip


@pytest.mark.parametrize("name", NONE_HAS)
def test_a_run_that_no_class_of_theirs_has_is_refused(name, tokenizer, tmp_path):
    paper, variant, changes, message = NONE_HAS[name]
    run = check.random_run(shrunk(paper, variant, **changes), tokenizer)
    assert message in refusal(lambda: huggingface.save(run, tmp_path / "theirs"))
    assert not list(tmp_path.iterdir())


def test_what_is_dropped_is_not_written(tokenizer, tmp_path):
    run = check.random_run(shrunk("bert", "base"), tokenizer)
    made = huggingface.save(run, tmp_path / "masked", drop=["pair", "pooler"])
    out = ["pair/dense/bias", "pair/dense/kernel", "pooler/dense/bias", "pooler/dense/kernel"]
    assert made == {"": ("BertForMaskedLM", 58, out)}
    assert huggingface.load(tmp_path / "masked").model.heads == ("mlm",)


def test_what_their_class_needs_cannot_be_dropped(tokenizer, tmp_path):
    run = check.random_run(shrunk("bert", "base"), tokenizer)
    wanted = {
        "mlm/norm": "needs mlm/norm/scale and 1 more",
        "embeddings/segment": "needs embeddings/segment",
        "pooler": "pooler none and tanh",
    }
    for drop, message in wanted.items():
        assert message in refusal(lambda: huggingface.save(run, tmp_path / "theirs", drop=[drop]))  # noqa: B023
    assert not list(tmp_path.iterdir())


def test_a_discriminator_without_its_generator_is_one_folder(tokenizer, tmp_path):
    run = check.random_run(shrunk("electra", "small"), tokenizer)
    ((name, _, out),) = huggingface.save(run, tmp_path / "half", drop=["generator_encoder"]).values()
    assert name == "ElectraForPreTraining" and "mlm/bias" in out
    params = huggingface.load(tmp_path / "half").params
    assert_equal_trees(params, {part: run.params[part] for part in params})


def test_an_existing_folder_is_left_alone(folders, tmp_path):
    run = huggingface.load(folders("BertForPreTraining"))
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/file").write_text("kept")
    assert "exists already" in refusal(lambda: huggingface.save(run, tmp_path / "precious"))
    assert [path.name for path in tmp_path.rglob("*")] == ["precious", "file"]


def test_a_run_of_ours_is_no_folder_of_theirs(folders, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"config": base().to_dict()}))
    assert not config_files.is_folder(tmp_path)
    assert config_files.is_folder(folders("BertForPreTraining"))
    assert config_files.is_folder(folders("Electra-halves"))


def test_the_table_has_a_row_for_each():
    found = check.Comparison("bert", "BertModel", (), 55, 32448, False, 1.2e-6, 3e-7)
    row = "| mine | bert | BertModel | hidden states | 55 | 32,448 | **different** | 1.2e-06 | 3.0e-07 |"
    assert check.table([("mine", found)])[2:] == [row]


def test_without_torch_what_needs_it_says_so(copy, monkeypatch):
    folder = copy()
    as_bin(folder)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "install torch" in refusal(lambda: huggingface.load(folder))
    assert "needs torch" in refusal(lambda: check.compare(folder))
