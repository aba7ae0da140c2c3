"""What a teacher said once is what it would say again; a cache of anything else is refused."""

import functools
import json
import runpy
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from scipy import special

from configs import bert, distilbert, electra, finetune, tinybert
from ssl_jax import experiment, tasks, train
from ssl_jax.checkpoints import Checkpoints
from ssl_jax.data import tokens
from ssl_jax.distill import cache as teacher_cache
from ssl_jax.errors import UserError
from ssl_jax.evaluators import Mean, Programs
from ssl_jax.evaluators.mean import Evaluator
from ssl_jax.load import load_run
from ssl_jax.meter import Meter
from ssl_jax.models.model import build_model
from ssl_jax.objectives import OBJECTIVES
from ssl_jax.step import initial_params, initial_state, make_measure, make_train_step

EVERYTHING = ("encoded", "scores", "states", "token_logits")
LOSSES = ("soft_targets", "cosine", "embedding", "hidden", "attention")


@functools.cache
def script(root):
    """scripts/cache_teacher.py; a process defines its flags once, however often the tests' world is made."""
    return runpy.run_path(str(root / "scripts/cache_teacher.py"))


def write_run(workdir, config, change=lambda x: 5 * x):
    """A run that ended at once; its initial parameters are changed: larger, for opinions that differ."""
    config = tasks.resolve(config)
    prepared = Path(tokens.prepare(config.data))
    workdir.mkdir()
    (workdir / "config.json").write_text(json.dumps({"config": json.loads(config.to_json())}))
    shutil.copy(prepared / "tokenizer.json", workdir)
    save(workdir, jax.tree.map(change, jax.jit(lambda: initial_params(build_model(config), config.seed))()))
    return str(workdir)


def save(workdir, params):
    checkpoints = Checkpoints(workdir, {}, 1)
    checkpoints.save(1, {"params": params, "step": np.int32(1)})
    checkpoints.wait()
    checkpoints.close()


class World:
    """A teacher, its caches, and configs of a student that learns everything from it."""

    def __init__(self, root, data_root, folder):
        self.data_root, self.folder = data_root, folder
        self.cache = script(root)["cache"]
        self.teacher = write_run(folder / "teacher", self.config(bert.get_config("tiny,smoke")))
        self.whole, self.short = str(folder / "whole"), str(folder / "short")
        self.cache(self.student(), self.whole, 0, "float32")
        self.kept = self.cache(self.student(), self.short, 200, "float16")["kept"]

    def config(self, config, *changes):
        config.data.root = self.data_root
        config.update_from_flattened_dict(dict(changes))
        return config

    def student(self, *changes):
        config = distilbert.get_config("base,smoke")
        config.update(
            dict(steps=4, run=dict(evaluate_every=4, checkpoint_every=2, log_every=4), init=dict(run="", layers=()))
        )
        config.update(dict(batch_size=8, run=dict(accumulate=2), losses={name: 1.0 for name in LOSSES}))
        config.update(dict(phases=dict(lengths=(16,)), model=dict(layers=1), parallel=dict(devices=2)))
        config.teacher.update(runs=(self.teacher,), hidden_size=32)
        config.evals.heldout.max_batches = 2
        return self.config(config, *changes)

    def cached(self, *changes, cache=None):
        return self.student(("teacher.cache", cache or self.whole), *changes)


@pytest.fixture(scope="module")
def world(root, data_root, tmp_path_factory):
    return World(root, data_root, tmp_path_factory.mktemp("world"))


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def arrays(folder, part):
    return {path.stem: np.load(path) for path in Path(folder, part).iterdir()}


class Opened(Exception):
    """A run has opened its cache."""


def opened_by(config, workdir):
    """The cache as a run of this config opens it, and the examples that it is asked about."""
    original = teacher_cache.open_cache

    def stop(config, made_of, parts):
        raise Opened(original(config, made_of, parts), parts)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Opened) as caught:
        patch.setattr(teacher_cache, "open_cache", stop)
        train.train(config, workdir)
    return caught.value.args


def trained_beside(config):
    """The state after step 1, the last parameters and held-out metrics, with the teacher beside the student."""
    exp = experiment.open(config)
    devices = exp.devices
    state = devices.create(lambda: initial_state(exp.config, exp.model, exp.vocabulary))
    step = devices.compile(make_train_step(*exp.pure), donate=True)
    for number in range(config.steps):
        state, _ = step(state, devices.put_batch(exp.batch(number)), exp.teachers)
        if number == 0:
            first = devices.plain(state)
    measure = devices.compile(make_measure(*exp.pure))
    programs = Programs(lambda params, batch: measure(params, batch, exp.teachers))
    evaluator = Evaluator(exp, programs, Mean(max_batches=2))
    return first, devices.plain(state["params"]), dict(evaluator.run(state["params"], 16))


def test_training_goes_on_from_a_cache_as_it_would_beside_the_teacher(world, tmp_path, monkeypatch):
    first, expected, heldout = trained_beside(world.student())
    meter, counted = Meter, []

    def from_step_1(*arguments, **options):
        checkpoints = Checkpoints(*arguments, **options)
        checkpoints.save(1, first)
        checkpoints.wait()
        return checkpoints

    monkeypatch.setattr(train, "Meter", lambda *arguments: counted.append(arguments[3]) or meter(*arguments))
    monkeypatch.setattr(train, "Checkpoints", from_step_1)
    result = train.train(world.cached(), tmp_path / "run")
    assert counted == [[]]  # no teacher whose FLOPs would be the run's
    params = jax.tree.map(np.asarray, load_run(tmp_path / "run").params)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), params, expected)
    assert {f"{name}_loss" for name in LOSSES} < heldout.keys() == result.keys() - {"step"}
    for name, value in heldout.items():
        assert result[name] == pytest.approx(value, rel=1e-5), name
    # Where the cache lies decides nothing, how precise it is does.
    Path(world.whole).rename(tmp_path / "moved")
    assert train.train(world.cached(cache=str(tmp_path / "moved")), tmp_path / "run") == result
    (tmp_path / "moved").rename(world.whole)
    with pytest.raises(UserError, match="another config: teacher.cache.dtype: float16 was float32, teacher.cache.top"):
        train.train(world.cached(cache=world.short), tmp_path / "run")


def test_half_precision_and_the_largest_logits_are_near_what_the_teacher_said(world, tmp_path):
    whole, short = arrays(world.whole, "train"), arrays(world.short, "train")
    assert sorted(whole) == sorted(EVERYTHING) and short.keys() - whole.keys() == {"token_ids", "token_rest"}
    assert whole["token_logits"].shape == (32, 16, 512) and short["token_logits"].shape == (32, 16, 200)
    assert whole["states"].shape == (32, 2, 16, 32) and whole["scores"].shape == (32, 1, 2, 16, 16)
    assert short["token_ids"].dtype == np.uint16
    for name in ("encoded", "states", "scores"):
        np.testing.assert_allclose(short[name], whole[name], rtol=2**-11, atol=2**-24)
    ids = short["token_ids"].astype(int)
    np.testing.assert_allclose(short["token_logits"], np.take_along_axis(whole["token_logits"], ids, -1), rtol=2**-11)
    assert all(len(set(row)) == 200 for row in ids[0])
    left_out = np.ma.array(whole["token_logits"], mask=np.zeros(whole["token_logits"].shape, bool))
    np.put_along_axis(left_out.mask, ids, True, -1)
    assert (left_out.max(-1) <= short["token_logits"].min(-1) + 1e-2).all()

    # The stated precision: over both parts, at the temperature of 2, padding left out.
    _, parts = opened_by(world.cached(), tmp_path)
    assert {name: (part.size, part.rows) for name, part in parts.items()} == {"train": (8, 32), "eval_heldout": (8, 16)}
    shares = []
    for name, part in parts.items():
        mask = np.concatenate([part.batch(step)["mask"] for step in range(part.rows // part.size)])
        p = np.exp(arrays(world.whole, name)["token_logits"].astype(np.float64) / 2)
        p /= p.sum(-1, keepdims=True)
        shares.append(np.take_along_axis(p, arrays(world.short, name)["token_ids"].astype(int), -1).sum(-1)[mask])
    shares = np.concatenate(shares)
    assert world.kept == pytest.approx({"mean": shares.mean(), "least": shares.min(), "temperature": 2}, rel=1e-4)
    assert 0.4 < world.kept["least"] < world.kept["mean"] < 1

    # What the loss makes of it: a divergence in which all the tokens that are not kept are one.
    batch = parts["train"].batch(1)
    student = np.random.default_rng(0).normal(0, 1, (8, 16, 512)).astype(np.float32)
    opened = teacher_cache.Cache({"train": short}, {})
    teacher = teacher_cache.teach({}, opened.attach("train", batch), [])
    assert {name: str(x.dtype) for name, x in teacher.items() if x.dtype != np.float32} == {"token_ids": "int32"}
    term = OBJECTIVES["soft_targets"].loss({"token_logits": student, "teacher": teacher}, batch, temperature=2.0)
    ids = ids[8:16]
    kept = [
        np.take_along_axis(special.softmax(x.astype(np.float64) / 2, axis=-1), ids, -1)
        for x in (whole["token_logits"][8:16], student)
    ]
    theirs, ours = (np.concatenate([p, 1 - p.sum(-1, keepdims=True)], -1) for p in kept)
    expected = 4 * (theirs * np.log(theirs / ours)).sum(-1)[batch["mask"]]
    np.testing.assert_allclose(term.sum, expected.sum(), rtol=1e-3)
    likeliest = whole["token_logits"][8:16].argmax(-1) == student.argmax(-1)
    assert term.metrics["agreement"][0] == likeliest[batch["mask"]].sum()


STALE = {
    "seed": ((("seed", 1),), "seed: 1 was 0"),
    "mask rate": ((("corruption.rate", 0.4),), "corruption.rate: 0.4 was 0.15"),
    "length": ((("phases.lengths", (32,)),), "length: 32 was 16"),
    "short texts": ((("data.short_seq_prob", 0.5),), "data.short_seq_prob: 0.5 was 0.1"),
    "held-out share": ((("data.heldout", 0.2),), "data.heldout: 0.2 was 0.1"),
    "documents": ((("data.max_documents", 250),), "data.max_documents: 250 was 300, .*prepared.content_hash: "),
    "kind of examples": ((("data.examples", "pairs"),), "data.examples: pairs was single, kind: adjacent was single"),
    "no masks": (
        (("corruption.rate", 0.0), ("losses.mlm", 0.0)),
        "corruption.rate: 0.0 was 0.15, masked: False was True",
    ),
    "layer map": ((("teacher.layer_map", "bottom"),), r"layer_maps: \[\[1\]\] was \[\[2\]\]"),
}


@pytest.mark.parametrize("name", STALE)
def test_a_stale_cache_is_one_line(name, world, tmp_path):
    changes, message = STALE[name]
    # The vocabulary of the teacher, whatever the text is.
    changes += (("data.tokenizer.path", f"{world.teacher}/tokenizer.json"),)
    line = rf"teacher.cache={world.whole} is stale: .*{message}.*; make it anew with scripts/cache_teacher.py"
    with pytest.raises(UserError, match=line):
        train.train(world.cached(*changes), tmp_path)


def test_another_teacher_and_another_corpus_make_a_cache_stale(world, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(world.teacher, other, ignore=shutil.ignore_patterns("checkpoints"))
    save(other, jax.tree.map(lambda x: 1.5 * x, load_run(world.teacher).params))
    for teachers in ((str(other),), (world.teacher, world.teacher)):
        with pytest.raises(UserError, match=r"is stale: .*teachers: \['[0-9a-f]{30}.* was \['[0-9a-f]{30}.*; make"):
            train.train(world.cached(("teacher.runs", teachers)), tmp_path / "run")
    shutil.copytree(world.whole, tmp_path / "cache")
    for key in ("content_hash", "tokenizer_hash"):
        content = json.loads(Path(world.whole, "cache.json").read_text())
        content["made_of"]["prepared"][key] = "of another time"
        (tmp_path / "cache/cache.json").write_text(json.dumps(content))
        with pytest.raises(
            UserError, match=rf"is stale: prepared.{key}: [0-9a-f]*\.\.\. was of another time; make it anew"
        ):
            train.train(world.cached(cache=str(tmp_path / "cache")), tmp_path / "run")


def test_what_decides_no_output_leaves_a_cache_good(world, tmp_path):
    # Fewer steps of another batch, another student with fewer losses, other temperature: the numbers mean the same.
    config = world.cached(
        ("steps", 2), ("batch_size", 16), ("run.accumulate", 1), ("model.layers", 2), ("losses.attention", 0.0),
        ("losses.hidden", 0.0), ("losses.embedding", 0.0), ("teacher.temperature", 1.0),
        ("evals.heldout.max_batches", 1), ("teacher.layer_map", "bottom"),
    )  # fmt: skip
    opened, _ = opened_by(config, tmp_path)
    assert {part: sorted(of) for part, of in opened.arrays.items()} == dict.fromkeys(
        ("train", "eval_heldout"), ["encoded", "token_logits"]
    )
    batch = opened.attach("train", {"index": np.array([17, 3])})
    np.testing.assert_array_equal(batch["teacher"]["encoded"], arrays(world.whole, "train")["encoded"][[17, 3]])


def test_what_is_missing_or_broken_is_one_line(world, tmp_path):
    def refused(message, *changes, cache=None):
        with pytest.raises(UserError, match=message):
            train.train(world.cached(*changes, cache=cache), tmp_path / "run")

    refused("has 32 rows in train, and this run needs 40; make it anew", ("steps", 5))
    refused("has 16 rows in eval_heldout, and this run needs 24", ("evals.heldout.max_batches", 3))
    refused("has no eval_train/encoded, eval_train/scores, .*losses read", ("evals.heldout.split", "train"))
    refused("there is no .*cache.json; make it with scripts/cache_teacher.py", cache=str(tmp_path / "nowhere"))
    refused("for one sequence length", ("phases.lengths", (16, 32)), ("phases.shares", (0.5, 0.5)))
    refused("keeps what they say without dropout: set teacher.dropout=False", ("teacher.dropout", True))
    nothing = [(f"losses.{name}", 0.0) for name in LOSSES]
    refused("teacher.cache is read by no loss", *nothing)
    refused("losses.attention compares with a teacher: set teacher.runs", ("teacher.runs", ()))
    with pytest.raises(UserError, match="there is nothing to cache"):
        world.cache(world.student(("teacher.runs", ()), *nothing), tmp_path / "none", 0, "float32")

    config = world.config(
        electra.get_config("small,smoke"), ("phases.lengths", (16,)), ("losses.cosine", 1.0), ("model.hidden_size", 32),
        ("teacher.runs", (world.teacher,)), ("teacher.cache", world.whole),
    )  # fmt: skip
    with pytest.raises(UserError, match="needs generator.kind=none, not transformer: what a teacher sees changes"):
        train.train(config, tmp_path / "run")

    shutil.copytree(world.whole, tmp_path / "cache")
    path = tmp_path / "cache/eval_heldout/encoded.npy"
    whole = path.read_bytes()
    for content, message in (
        (whole[:-1], "encoded.npy cannot be read: .*; make it anew"),
        (b"", "encoded.npy cannot be read: .*; make it anew"),
        (None, "encoded.npy cannot be read: .*; make it anew"),
        ((tmp_path / "cache/eval_heldout/states.npy").read_bytes(), "not the array that cache.json tells of: shape"),
        (Path(world.short, "eval_heldout/encoded.npy").read_bytes(), "tells of: dtype: float16 was float32; make"),
    ):
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        refused(message, cache=str(tmp_path / "cache"))
        path.write_bytes(whole)
    path, whole = tmp_path / "cache/cache.json", json.loads((tmp_path / "cache/cache.json").read_text())
    for content, message in (
        ("{", r"cache.json, line 1: not JSON \(.*\); make it anew"),
        ("[" * 100_000, "cache.json: JSON nested too deeply to be read; make it anew"),
        ("[1]", r"cache.json: \[1\] is no JSON object; make it anew"),
        *((json.dumps(whole | change), "cache.json does not say what the cache was made of; make it anew")
          for change in ({"made_of": None}, {"made_of": {}}, {"arrays": [1]}, {"arrays": {"train": 3}}, {"precision": {}})),
        (json.dumps(whole | {"arrays": {part: dict.fromkeys(of, 7) for part, of in whole["arrays"].items()}}),
         "tells of: it tells nothing; make it anew"),
    ):  # fmt: skip
        path.write_text(content)
        refused(message, cache=str(tmp_path / "cache"))


class Plain:
    """What write_cache asks of the devices, where NumPy makes the rows."""

    put_batch = staticmethod(lambda batch: batch)
    compile = staticmethod(lambda function: function)


def write(folder, made=lambda index: index.astype(np.float16)):
    """A cache of two parts of 20 and 6 examples, in batches of 8, in pieces of 4."""

    def batch(step, rows):
        index = (8 * step + np.arange(8))[rows]
        return {"index": index, "mask": index[:, None] + np.arange(2) != 5}  # one token is padding

    def rows(params, batch):
        index = batch["index"]
        kept = np.where(batch["mask"], 0.5 + index[:, None] / 100, 0)
        return {"encoded": made(index)[:, None, None], "token_ids": index.astype(np.uint16)[:, None], "kept": kept}

    parts = {name: teacher_cache.Part(batch, 8, count) for name, count in (("train", 20), ("eval_heldout", 6))}
    identity = {"made_of": {"seed": 0}, "precision": {"top_k": 1, "dtype": "float16"}, "temperature": 2.0}
    return teacher_cache.write_cache(folder, identity, parts, rows, Plain, None, 2)


def test_what_was_interrupted_leaves_no_folder_and_goes_on(tmp_path, monkeypatch):
    write(tmp_path / "quiet")
    quiet = files(tmp_path / "quiet")
    shares = [0.5 + n / 100 for count in (20, 6) for n in range(count) for token in range(2) if n + token != 5]
    kept = json.loads(quiet["cache.json"])["kept"]
    assert kept == pytest.approx({"mean": np.mean(shares), "least": 0.5, "temperature": 2})
    assert np.load(tmp_path / "quiet/train/encoded.npy")[:, 0, 0].tolist() == list(range(20))

    noted, note = [], teacher_cache._note

    def note_and_stop(partial, state, *rest):
        note(partial, state, *rest)
        noted.append(dict(state["done"]))
        if len(noted) in (3, 7):
            raise KeyboardInterrupt

    monkeypatch.setattr(teacher_cache, "NOTE_SECONDS", -1)
    monkeypatch.setattr(teacher_cache, "_note", note_and_stop)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "cache")
        assert not (tmp_path / "cache").exists()
        # What came after the last note is written again.
        with open(tmp_path / "cache.partial/train/encoded.npy", "r+b") as file:
            file.seek(128 + 2 * noted[-1]["train"])
            file.write(b"half a row"[: 2 * (20 - noted[-1]["train"])])
    write(tmp_path / "cache")
    assert [done["train"] for done in noted] == [4, 8, 12, 16, 20, 20, 20]
    assert files(tmp_path / "cache") == quiet and not (tmp_path / "cache.partial").exists()
    with pytest.raises(UserError, match="is there already: remove it"):
        write(tmp_path / "cache")
    # Of another cache nothing is used.
    (tmp_path / "cache").rename(tmp_path / "cache.partial")
    (tmp_path / "cache.partial/progress.json").write_text(json.dumps({"identity": {}, "done": {"train": 20}}))
    write(tmp_path / "cache")
    assert files(tmp_path / "cache") == quiet


def test_what_half_precision_cannot_hold_is_refused(tmp_path):
    message = "encoded of .* not finite as float16: use --dtype float32"
    with np.errstate(over="ignore"), pytest.raises(UserError, match=message):
        write(tmp_path / "cache", lambda index: (1e4 * index).astype(np.float16))
    assert not (tmp_path / "cache").exists()


def test_classes_of_a_task(world, tmp_path):
    lines = [{"text": f"number {number} of them", "label": str(number % 3)} for number in range(11)]
    for split, part in dict(train=lines, heldout=lines[:5]).items():
        (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, part)))
    changes = {"task.name": "jsonl", "task.folder": str(tmp_path), "task.epochs": 2.0, "batch_size": 4}
    changes |= {"data.examples": "task", "phases.lengths": (16,), "corruption.rate": 0.0, "parallel.devices": 2}
    tuned = finetune.get_config("bert-tiny,jsonl,smoke")
    teacher = write_run(tmp_path / "teacher", world.config(tuned, *changes.items()))
    config = world.config(tinybert.get_config("4-312,prediction,smoke"), *changes.items(), ("teacher.runs", (teacher,)))
    config.parallel.mode = "mesh"
    world.cache(config, tmp_path / "cache", 64, "float32")
    config.teacher.cache = str(tmp_path / "cache")
    opened, parts = opened_by(config, tmp_path / "run")
    assert {part: {name: x.shape for name, x in of.items()} for part, of in opened.arrays.items()} == {
        "train": {"class_logits": (20, 3)}, "eval_heldout": {"class_logits": (5, 3)}
    }  # fmt: skip
    # Two passes over eleven examples are five whole batches: of the same text the same was said.
    said = {}
    for batch in map(parts["train"].batch, range(5)):
        for row, logits in zip(batch["tokens"], opened.attach("train", batch)["teacher"]["class_logits"], strict=True):
            said.setdefault(row.tobytes(), []).append(logits)
    assert len(said) == 11 and all(np.ptp(rows, axis=0).max() < 1e-5 for rows in said.values())
    assert len({rows[0].tobytes() for rows in said.values()}) == 11
    # The held-out examples' last batch is filled up with rows that there are not.
    assert opened.attach("eval_heldout", {"index": np.arange(4, 8)})["teacher"]["class_logits"].shape == (4, 3)
    lines[0]["text"] = "another text"
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(UserError, match="is stale: prepared.task.train: "):
        train.train(config, tmp_path / "run")
