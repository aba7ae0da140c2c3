"""Conversion to and from folders of `transformers` is exact; what cannot be converted is refused with one line."""

import dataclasses
import importlib
import json
import logging
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import safetensors.numpy
import torch
import transformers

from configs import common
from ssl_jax.errors import UserError
from ssl_jax.interop import check, huggingface, tokenizer_files
from ssl_jax.interop.families import FAMILIES
from ssl_jax.models.transformer import TRAINED


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
    return tokenizer_files.read(folder)


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
        edit_config(tmp_path / "theirs", id2label=named)
        assert huggingface.load(tmp_path / "theirs").config.task.labels == ()


def test_a_classifier_without_padding_finds_the_end_of_a_text(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(["nothing", *check.pieces()[1:]]))
    classify = {"losses.clm": 0.0, "losses.classify": 1.0, "model.pooler": "plain", "task.classes": 4}
    run = check.random_run(shrunk("gpt2", "small", **classify), tokenizer_files.read(tmp_path))
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


POSITION = "bert.embeddings.position_embeddings.weight"
BAD = {
    "no-folder": (shutil.rmtree, "there is no config.json"),
    "no-config": (lambda folder: (folder / "config.json").unlink(), "there is no config.json"),
    "config-cut": (cut("config.json"), "config.json is damaged"),
    "config-list": (config_text("[1]"), "config.json is damaged"),
    "t5": (config_with(model_type="t5"), "unknown model_type"),
    "misspelt": (config_with(model_type="brt"), "did you mean 'bert'"),
    "relative": (config_with(position_embedding_type="relative_key"), "position_embedding_type='relative_key'"),
    "decoder": (config_with(is_decoder=True), "is_decoder=True"),
    "silu": (config_with(hidden_act="silu"), "unknown activation 'silu'"),
    "string": (config_with(hidden_size="wide"), "hidden_size='wide'"),
    "negative": (config_with(num_hidden_layers=-3), "num_hidden_layers=-3"),
    "width": (config_with(intermediate_size=53), "is (52, 36), its config asks for (53, 36)"),
    "deeper": (config_with(num_hidden_layers=4), "has no tensor bert.encoder.layer.3.attention.self.query.weight"),
    "shallower": (config_with(num_hidden_layers=2), "no place for tensor bert.encoder.layer.2.attention"),
    "no-weights": (lambda folder: (folder / "model.safetensors").unlink(), "holds no weights"),
    "safetensors-cut": (cut("model.safetensors"), "model.safetensors is damaged"),
    "bin-cut": (cut_bin, "pytorch_model.bin is damaged"),
    "shard-lost": (lose_shard, "is missing, which model.safetensors.index.json names"),
    "index-cut": (damaged_index('{"weight_map": {"a'), "index.json is damaged"),
    "index-empty": (damaged_index("{}"), "index.json is damaged"),
    "index-numbers": (damaged_index('{"weight_map": {"a": 3}}'), "index.json is damaged"),
    "index-wrong": (wrong_index, "has no tensor bert.nowhere.weight"),
    "untied": (tensor("cls.predictions.decoder.weight", lambda _: np.ones((61, 36), np.float32)), "untied tables"),
    "extra": (tensor("bert.extra.weight", lambda _: np.ones(3, np.float32)), "no place for tensor bert.extra.weight"),
    "missing": (tensor(POSITION, lambda x: None), f"has no tensor {POSITION}"),
    "misshapen": (tensor(POSITION, lambda x: x[:, :-1]), f"{POSITION} is (24, 35), its config asks for (24, 36)"),
    "transposed": (tensor("bert.encoder.layer.1.intermediate.dense.weight", np.transpose), "is (36, 52)"),
    "vocabulary": (lambda folder: (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n"), "tokenizer has 2 entries"),
    "no-tokenizer": (lambda folder: (folder / "vocab.txt").unlink(), "tokenizer"),
    "ambiguous": (ambiguous, "its architectures must say what `classifier` is"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_folder_that_is_no_model_of_ours_is_refused(name, copy):
    change, message = BAD[name]
    folder = copy()
    change(folder)
    assert message in refusal(lambda: huggingface.load(folder))


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
    "bands": ("gpt3", "small", {"model.band": 4}, "band 4 and 0"),
    "printed-heads": ("gpt3", "small", {"model.band": 0, "model.head_size": 20}, "head_size 20 and 12"),
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
    "no-segments": ("albert", "base", {"model.segments": 0}, "needs embeddings/segment"),
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
    (name, _, out), = huggingface.save(run, tmp_path / "half", drop=["generator_encoder"]).values()
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
    (tmp_path / "config.json").write_text(json.dumps({"config": common.base().to_dict()}))
    assert not huggingface.is_folder(tmp_path)
    assert huggingface.is_folder(folders("BertForPreTraining"))
    assert huggingface.is_folder(folders("Electra-halves"))


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
