"""Folders of `transformers`, mutated at random: each is read as what `transformers` reads, or refused in one line."""

import json
import random
import resource
import struct
import time

import ml_dtypes
import numpy as np
import pytest
import torch

from ssl_jax.errors import UserError
from ssl_jax.interop import check, huggingface

BASES = (
    "BertForPreTraining",
    "BertForSequenceClassification",
    "AlbertForMaskedLM",
    "ElectraForTokenClassification",
    "ElectraForPreTraining",
    "DistilBertForMaskedLM",
    "OpenAIGPTLMHeadModel",
    "GPT2LMHeadModel",
    "GPT2DoubleHeadsModel",
)
KINDS = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "I64": np.int64,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
    "C64": np.complex64,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
}
ODD = (
    0,
    -1,
    1,
    2,
    3,
    4,
    6,
    12,
    35,
    61,
    64,
    1 << 20,
    1 << 31,
    1 << 70,
    10**4000,
    1.0,
    0.5,
    -0.0,
    1e-5,
    1e39,
    float("nan"),
    float("inf"),
    True,
    False,
    None,
    "",
    "36",
    "gelu",
    "gelu_new",
    "relu",
    "silu",
    "x" * 100_000,
    "a\nb",
    [],
    [3],
    ["bert"],
    {},
    {"a": 1},
)
KEYS = (
    "is_decoder",
    "add_cross_attention",
    "tie_word_embeddings",
    "position_embedding_type",
    "architectures",
    "id2label",
    "label2id",
    "num_labels",
    "pad_token_id",
    "quantization_config",
    "summary_type",
    "n_inner",
    "embedding_size",
    "dtype",
    "num_hidden_groups",
    "inner_group_num",
    "scale_attn_weights",
    "scale_attn_by_inverse_layer_idx",
    "hidden_act",
    "pruned_heads",
    "chunk_size_feed_forward",
    "reorder_and_upcast_attn",
    "classifier_dropout",
    "problem_type",
)


class Folder:
    """A model's folder in memory: its config, its tensors, and what is done to their files."""

    def __init__(self, path):
        self.config = json.loads((path / "config.json").read_text())
        model = check.huggingface.weights.read(path)
        self.tensors = {name: x for name, x in model.items()}
        self.text = lambda text: text  # of config.json
        self.header = lambda header: header  # of model.safetensors
        self.bytes = lambda content: content
        self.shards, self.index, self.bin = 1, lambda index: index, False

    def write(self, path):
        path.mkdir()
        check.write_vocabulary(path)
        (path / "config.json").write_bytes(self.text(json.dumps(self.config).encode()))
        if self.bin:
            tensors = {name: torch.tensor(np.asarray(x, np.float32)) for name, x in self.tensors.items()}
            torch.save(self.bin(tensors), path / "pytorch_model.bin")
            file = path / "pytorch_model.bin"
            file.write_bytes(self.bytes(file.read_bytes()))
            return
        if self.shards == 1:
            (path / "model.safetensors").write_bytes(self.bytes(self.packed(self.tensors)))
            return
        where = {}
        for number in range(self.shards):
            part = dict(list(self.tensors.items())[number :: self.shards])
            where |= dict.fromkeys(part, f"model-{number}.safetensors")
            (path / f"model-{number}.safetensors").write_bytes(self.bytes(self.packed(part)))
        (path / "model.safetensors.index.json").write_text(
            json.dumps(self.index({"metadata": {}, "weight_map": where}))
        )

    def packed(self, tensors):
        header, data = {"__metadata__": {"format": "pt"}}, b""
        kinds = {np.dtype(kind): name for name, kind in KINDS.items()}
        for name, x in tensors.items():
            raw = np.ascontiguousarray(x).tobytes()
            offsets = [len(data), len(data) + len(raw)]
            header[name] = {"dtype": kinds[x.dtype], "shape": list(x.shape), "data_offsets": offsets}
            data += raw
        text = self.header(header)
        text = text if isinstance(text, bytes) else json.dumps(text).encode()
        return struct.pack("<Q", len(text)) + text + data


def flipped(content, rng, most=1 << 62):
    content = bytearray(content)
    for _ in range(rng.choice((1, 3))):
        if content:
            content[rng.randrange(min(len(content), most))] = rng.randrange(256)
    return bytes(content)


def of_config(folder, rng):
    key = rng.choice([*folder.config, *KEYS])
    kind = rng.randrange(4)
    if kind == 0:
        folder.config.pop(key, None)
    elif kind == 1 and isinstance(folder.config.get(key), int | float):
        folder.config[key] = folder.config[key] * rng.choice((2, -1, 3, 1 / 3)) + rng.choice((0, 1))
    else:
        folder.config[key] = rng.choice(ODD)


def of_text(folder, rng):
    garbage = (
        b"",
        b"[]",
        b"null",
        b"3",
        b"{",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"\xff\xfe{}",
        b'{"model_type": "bert"}',
    )
    change = rng.choice(
        (
            lambda text: flipped(text, rng),
            lambda text: text[: rng.randrange(len(text))],
            lambda text: rng.choice(garbage),
            lambda text: b"\xef\xbb\xbf" + text,
            lambda text: text.decode().encode("utf-16"),
        )
    )
    folder.text = change


def of_tensor(folder, rng):
    name = rng.choice(list(folder.tensors))
    x = folder.tensors.pop(name)
    size = 1 if not x.size else rng.randrange(x.size)

    def poisoned(value):
        flat = np.array(x, np.float32).ravel()
        flat[size : size + 1] = value
        return {name: flat.reshape(x.shape)}

    change = rng.choice(
        (
            lambda: {},
            lambda: {name: x.T},
            lambda: {name: x[:-1] if x.ndim else x},
            lambda: {name: x[..., None]},
            lambda: {name: x.reshape(-1)},
            lambda: {name: x[:0] if x.ndim else x},
            lambda: {name: np.float32(0) + np.zeros((), np.float32)},
            lambda: {name: np.concatenate([x, x])} if x.ndim else {},
            lambda: poisoned(np.nan),
            lambda: poisoned(np.inf),
            lambda: {f"module.{name}": x},
            lambda: {name.replace(".", "_", 1): x},
            lambda: {name + rng.choice("\n\x00.é") * 3: x},
            lambda: {name: x, "bert." + name: x},
            lambda: {name: x, rng.choice(["a", "x" * 100_000, "cls.a.weight", "h.0.attn.bias"]): x},
            lambda: {name.replace("weight", "gamma").replace("bias", "beta"): x},
            lambda: {name: x, name.replace("weight", "gamma").replace("bias", "beta"): x},
            lambda: {name.replace(".0.", ".7."): x},
            lambda: {name: x * 2},
            lambda: {name: x * 1e30},
            *(lambda kind=kind: {name: x.astype(kind)} for kind in KINDS.values()),
        )
    )
    with np.errstate(all="ignore"):
        folder.tensors |= change()


def of_all_tensors(folder, rng):
    kind = rng.choice(list(KINDS.values()))
    prefix = rng.choice(("module.", "_orig_mod.", "model.", "bert."))
    change = rng.choice(
        (
            lambda: {prefix + name: x for name, x in folder.tensors.items()},
            lambda: {name.split(".", 1)[-1]: x for name, x in folder.tensors.items()},
            lambda: {name: x.astype(kind) for name, x in folder.tensors.items()},
            lambda: {name: x.astype(kind) if x.ndim > 1 else x for name, x in folder.tensors.items()},
            lambda: {
                name: np.pad(x, [(0, 3), *[(0, 0)] * (x.ndim - 1)]) if len(x) == 61 else x
                for name, x in folder.tensors.items()
            },
            dict,
        )
    )
    with np.errstate(all="ignore"):
        folder.tensors = change()
    if any(len(x) == 64 for x in folder.tensors.values() if x.ndim):
        folder.config["vocab_size"] = 64


def of_file(folder, rng):
    change = rng.choice(
        (
            lambda x: x[: rng.randrange(len(x))],
            lambda x: flipped(x, rng),
            lambda x: flipped(x, rng, 2000),
            lambda x: x + b"1",
            lambda x: b"",
            lambda x: struct.pack("<Q", rng.choice((0, 1 << 27, 1 << 62))) + x[8:],
        )
    )
    folder.bytes = change


def of_header(folder, rng):
    def change(header):
        name = rng.choice([name for name in header if name != "__metadata__"] or ["a"])
        entry = header.setdefault(name, {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]})
        what = rng.randrange(6)
        if what == 0:
            entry["shape"] = rng.choice(
                ([0], [], [1 << 40, 1 << 40], [0, 1 << 62], [-1], [10**30], [1] * 100, "36", None, [36.0], [True])
            )
        elif what == 1:
            entry["dtype"] = rng.choice(("F64", "F16", "F4", "F6_E2M3", "X", None, 3))
        elif what == 2:
            entry["data_offsets"] = rng.choice(([0, 1 << 60], [4, 0], [], None, [0, 0], [-4, 0]))
        elif what == 3:
            header[rng.choice(["b", "x" * 50_000])] = dict(entry)
        elif what == 4:
            header["__metadata__"] = rng.choice(({"format": 3}, [], {"format": "tf"}, None))
        else:
            return rng.choice(
                (b"", b"{}", b"[" * 50_000, b'{"a":' * 50_000, b"\xff" * 20, json.dumps(header).encode()[:-5])
            )
        return header

    folder.header = change


def of_shards(folder, rng):
    folder.shards = rng.choice((2, 3))

    def change(index):
        where = index["weight_map"]
        name = rng.choice(list(where) or ["a"])
        what = rng.randrange(7)
        if what == 0:
            where[name] = rng.choice(
                (
                    "../model.safetensors",
                    "/etc/passwd",
                    "config.json",
                    "",
                    ".",
                    "model-9.safetensors",
                    3,
                    None,
                    ["a"],
                    "a\x00b",
                )
            )
        elif what == 1:
            where["a"] = "model-0.safetensors"
        elif what == 2:
            where.pop(name, None)
        elif what == 3:
            index["weight_map"] = rng.choice(({}, [], None, "model-0.safetensors"))
        elif what == 4:
            return rng.choice(([], {}, None, 3))
        elif what == 5:
            where[name] = "model-1.safetensors"
        return index

    folder.index = change


def of_bin(folder, rng):
    first = next(iter(folder.tensors), "a")
    folder.bin = rng.choice(
        (
            lambda x: x,
            lambda x: {"state_dict": x},
            list,
            lambda x: {n: torch.nn.Parameter(t) for n, t in x.items()},
            lambda x: {n: t.to_sparse() if t.ndim == 2 else t for n, t in x.items()},
            lambda x: x | {first: torch.zeros(1).half().expand(1 << 33)},
            lambda x: {n: t.to("meta") for n, t in x.items()},
            lambda x: {n: t.to(torch.float8_e5m2) for n, t in x.items()},
            lambda x: x | {3: torch.ones(2)},
            lambda x: x | {first: 3},
            lambda x: {n: t.to(torch.complex64) for n, t in x.items()},
        )
    )


MUTATIONS = (
    (of_config,) * 6 + (of_tensor,) * 4 + (of_all_tensors, of_header, of_header, of_file, of_shards, of_text, of_bin)
)


def mutated(base, seed):
    """A copy of a Folder, changed at random once to three times."""
    rng = random.Random(seed)
    folder = Folder.__new__(Folder)
    folder.__dict__ |= base.__dict__ | {"config": dict(base.config), "tensors": dict(base.tensors)}
    done = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        change = rng.choice(MUTATIONS)
        if folder.tensors or change is of_config:
            change(folder, rng)
            done.append(change.__name__)
    return folder, done


def attempt(path):
    """What comes of a folder: a run, or the line that refuses it; anything else fails."""
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    try:
        found = huggingface.load(path)
    except UserError as error:
        found = str(error)
        assert "\n" not in found and len(found) < 700, found
    assert time.perf_counter() - start < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kB
    return found


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    root = tmp_path_factory.mktemp("bases")
    made = {}
    for label in BASES[:1] + BASES[-2:-1]:
        check.FOLDERS[label](root / label)
        made[label] = Folder(root / label)
    return made


def test_any_folder_is_read_or_refused_in_one_line(bases, tmp_path):
    read = 0
    for seed in range(60):
        folder, done = mutated(bases[list(bases)[seed % len(bases)]], seed)
        folder.write(tmp_path / str(seed))
        found = attempt(tmp_path / str(seed))
        read += not isinstance(found, str)
    assert 5 < read < 50  # the mutations are neither too gentle nor too rough
