"""What is read of a run's folder is what the run wrote, or a line says what it is not; runs that go on otherwise."""

import json
import os
import random
import shutil
import signal
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax import files, logs, plan, start
from ssl_jax import train as loop
from ssl_jax.checkpoints import Checkpoints
from ssl_jax.config import base
from ssl_jax.errors import UserError
from ssl_jax.load import load_run
from ssl_jax.parallel import Replicated
from ssl_jax.population import Population
from ssl_jax.preemption import Watch
from ssl_jax.step import restart_sums, stream
from ssl_jax.train import train
from tests.conftest import assert_same_run, final_params

UNCHANGED = ("run.checkpoint_every", 3)


def remove_checkpoints(workdir, *steps):
    for step in steps:
        shutil.rmtree(workdir / f"checkpoints/{step}")


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def change_config(workdir, change):
    path = workdir / "config.json"
    content = json.loads(path.read_text())
    change(content["config"])
    path.write_text(json.dumps(content))


def test_a_checkpoint_in_the_folder_of_another_step_is_not_taken_for_it(finished, quiet, smoke_config, capfd):
    remove_checkpoints(finished, 20)
    shutil.copytree(finished / "checkpoints/18", finished / "checkpoints/20")
    assert load_run(finished).step == 18
    train(smoke_config(UNCHANGED), finished)
    output = capfd.readouterr()
    assert f"damaged checkpoint {finished}/checkpoints/20 skipped: it is of step 18" in output.err
    assert "resumed at step 18 of 20" in output.out
    assert_same_run(finished, quiet)
    assert load_run(finished).step == 20


@pytest.mark.parametrize(
    "change, told",
    [
        (lambda config: config["model"].update(heads=4), "model.heads: 4 was 2"),
        (lambda config: config["model"].update(activation="relu"), "model.activation: relu was gelu_tanh"),
        (lambda config: config["model"].update(norm="pre"), "model.norm: pre was post"),
        (lambda config: config["model"].update(causal=True), "model.causal: True was False"),
        (lambda config: config["model"].pop("layers"), "model.layers: not set was 2"),
        (lambda config: config.update(model=7), "model: 7 was {"),
        (
            lambda config: config["data"]["tokenizer"].update(lowercase=False),
            "data.tokenizer.lowercase: False was True",
        ),
    ],
)
def test_a_config_that_a_run_was_not_saved_with_is_refused(change, told, finished):
    change_config(finished, change)
    with pytest.raises(UserError) as error:
        load_run(finished)
    assert f"config.json is not what the run was saved with: {told}" in str(error.value)
    assert "remove" not in str(error.value) and len(str(error.value)) < 400


DAMAGED_JSON = {
    "empty": b"",
    "cut off": b'{"config": {"model": {"hea',
    "a list": b"[]",
    "no config": b'{"config": 3}',
    "another key": b'{"confih": {}}',
    "not UTF-8": b"\xff\xfe\x00",
    "a number of 5,000 digits": b'{"config": ' + b"7" * 5000 + b"}",
    "nested deeply": b"[" * 100_000,
}


@pytest.mark.parametrize("damage", DAMAGED_JSON)
def test_a_damaged_config_json_is_one_line_and_the_run_writes_it_again(damage, finished, quiet, smoke_config):
    (finished / "config.json").write_bytes(DAMAGED_JSON[damage])
    with pytest.raises(UserError, match="config.json.*; the command that made the run writes it again") as error:
        load_run(finished)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400
    if damage in ("empty", "another key"):
        train(smoke_config(UNCHANGED), finished)
        assert_same_run(finished, quiet)


def test_another_tokenizer_than_the_runs_is_refused(finished):
    path = finished / "tokenizer.json"
    path.write_text(path.read_text().replace('"the"', '"teh"'))
    with pytest.raises(UserError, match="tokenizer.json is not what the run was saved with"):
        load_run(finished)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:300]),
        lambda path: path.write_bytes(path.read_bytes().replace(b"loss", b"l\xffss", 1)),
        lambda path: path.write_bytes(path.read_bytes().replace(b'"step": 5', b'"step": 6')),
        lambda path: path.write_bytes(b"[1]\n{}\nnull\n" + path.read_bytes()),
    ],
)
def test_lost_and_damaged_metrics_are_restored_from_the_checkpoint(damage, finished, quiet, smoke_config, capfd):
    damage(finished / "metrics.jsonl")
    train(smoke_config(UNCHANGED), finished)
    assert_same_run(finished, quiet)
    assert f"{finished}/metrics.jsonl" in capfd.readouterr().out


def test_lost_timings_are_named(finished, smoke_config, capfd):
    path = finished / "timings.jsonl"
    rows = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(rows[0] + b"\xff\n" + rows[3])
    train(smoke_config(UNCHANGED), finished)
    assert f"{path} has lost its lines of 2 steps, from 10 to 15" in capfd.readouterr().out
    assert path.read_bytes() == rows[0] + rows[3]


def test_a_checkpoint_from_before_logs_were_saved_keeps_what_is_readable(finished, smoke_config, capfd):
    shutil.rmtree(finished / "checkpoints/20/log")
    path = finished / "metrics.jsonl"
    rows = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(rows[0] + b"{}\n" + b"".join(rows[1:]))
    result = json.loads((finished / "result.json").read_text())
    assert train(smoke_config(UNCHANGED), finished) == result
    assert f"{path}: 1 damaged lines are dropped" in capfd.readouterr().out
    assert path.read_bytes() == b"".join(rows)
    path.unlink()  # and with it what was held out, which is measured again
    assert train(smoke_config(UNCHANGED), finished) == result
    assert f"{path} has no lines: what was measured up to step 20 is lost" in capfd.readouterr().out


@pytest.mark.parametrize(
    "step, log_every, told",
    [
        (20, 15, None),
        (15, 5, None),
        (15, 15, "the line of step 20 covers steps 16 to 20"),
        (20, 10, None),
        (15, 2, "step 16 covers steps 16 to 16"),
        (13, 5, None),
    ],
)
def test_sums_of_another_cadence_start_again(smoke_config, step, log_every, told):
    """Step 20 is the last one: no line comes after it."""
    counted = {15: 5, 20: 10, 13: 3}[step]
    state = {
        "params": 1,
        "sums": {"loss": (np.float32([7.0]), np.float32([counted])), "other": (np.ones(2), np.ones(2))},
    }
    begun, lines = restart_sums(state, step, smoke_config(("steps", 20), ("run.log_every", log_every)))
    assert (told is None) == (not lines) and begun["params"] == 1
    if told:
        assert told in lines[0] and not any(np.any(x) for x in jax.tree.leaves(begun["sums"]))
    else:
        assert begun is state


def test_a_run_is_extended_and_its_lines_are_not_mixed(finished, smoke_config, capfd):
    """From step 15 of 20 to 22 steps, with another log_every: phases that leave the first 15 steps as they were."""
    remove_checkpoints(finished, 18, 20)
    params = final_params(finished)
    longer = [
        UNCHANGED,
        ("steps", 22),
        ("phases.lengths", (32,)),
        ("phases.shares", (1.0,)),
        ("run.log_every", 2),
        ("run.keep_checkpoints", 4),
    ]
    with pytest.raises(UserError, match="steps: 22 was 20; continue to these with --config.run.extend=True, or"):
        train(smoke_config(*longer), finished)
    train(smoke_config(*longer, ("run.extend", True)), finished)
    output = capfd.readouterr().out
    assert "resumed at step 15 of 22" in output
    # Linear from 1e-3: 1 - 15 / 20 of it were left, and 1 - 15 / 22 are.
    assert "extended from 20 to 22 steps at step 15: its learning rate was 0.00025, is 0.000318" in output
    assert "the means of metrics restart: the line of step 16 covers steps 16 to 16" in output
    rows = [line for line in lines_of(finished / "metrics.jsonl") if line["split"] == "train"]
    assert [row["step"] for row in rows] == [5, 10, 15, 16, 18, 20, 22]
    rate = lambda *steps: np.mean([1e-3 * (1 - (step - 1) / 22) for step in steps])  # noqa: E731
    np.testing.assert_allclose([row["learning_rate"] for row in rows[3:5]], [rate(16), rate(17, 18)], rtol=1e-5)
    assert any(np.any(x != y) for x, y in zip(jax.tree.leaves(params), jax.tree.leaves(final_params(finished))))

    remove_checkpoints(finished, 18, 21, 22)  # 15 is of 20 steps
    result = json.loads((finished / "result.json").read_text())
    assert train(smoke_config(*longer), finished) == result  # the flag is not needed again
    with pytest.raises(UserError, match="steps: 20 was 22"):
        train(smoke_config(UNCHANGED), finished)
    with pytest.raises(UserError, match="these steps are taken already; set steps to 22 or more"):
        train(smoke_config(UNCHANGED, ("steps", 21), ("run.extend", True), *longer[2:]), finished)


def test_a_run_is_not_extended_where_what_it_has_seen_would_be_other_examples(finished, smoke_config):
    with pytest.raises(
        UserError, match="steps 0 to 18 had sequences of 32 in batches of 8, and would have been steps 0 to 20"
    ):
        train(smoke_config(UNCHANGED, ("steps", 40), ("run.extend", True)), finished)
    config = smoke_config(("steps", 30), ("generator.first_stage", 0.5))
    saved = json.loads(config.to_json()) | {"steps": 20}
    with pytest.raises(UserError, match="generator.first_stage would end at another step"):
        start.extension(config, saved, 12)


def test_a_run_that_takes_the_optimizer_too_is_the_one_that_went_on(finished, quiet, smoke_config, tmp_path, capfd):
    remove_checkpoints(finished, 18, 20)
    workdir = finished / "other"
    source = os.path.relpath(finished)  # Orbax reads absolute paths alone
    changes = [UNCHANGED, ("init.run", source), ("init.optimizer", True)]
    train(smoke_config(*changes), workdir)
    output = capfd.readouterr().out
    assert (
        f"goes on from step 15 of {source} to step 20, with its optimizer's state; the learning rate was 0.00025"
        in output
    )
    assert "started at step 15 of 20" in output
    jax.tree.map(np.testing.assert_array_equal, final_params(workdir), final_params(quiet))
    assert lines_of(workdir / "metrics.jsonl") == lines_of(quiet / "metrics.jsonl")[-2:]

    for change, message in [
        (("optimizer.name", "gpt1_adam"), "was trained with optimizer.name=bert_adam, not gpt1_adam"),
        (("optimizer.lr_multipliers", ("embeddings=2",)), "is of other parameters or another optimizer"),
        (("steps", 15), "is at step 15 already: set steps above that"),
        (("init.drop", ("pair",)), r"set init.drop=\(\) or init.optimizer=False"),
    ]:
        if change[0] == "init.drop":
            changes = [*changes, ("init.fresh", ("pair",))]
        with pytest.raises(UserError, match=message):
            train(smoke_config(*changes, change), finished / "refused")
        assert not (finished / "refused").exists()


def test_how_often_follows_the_length_of_a_run(smoke_config):
    names = ("log_every", "evaluate_every", "checkpoint_every")
    cadences = lambda config: [plan.cadence(config, name) for name in names]  # noqa: E731
    config = smoke_config(*((f"run.{name}", 0) for name in names))
    for steps, expected in [
        (1, [1, 1, 1]), (6, [1, 2, 2]), (20, [1, 5, 5]), (75, [4, 19, 19]), (200, [10, 50, 50]), (1_000_000, [100, 10_000, 1_000]),
    ]:  # fmt: skip
        config.steps = steps
        assert cadences(config) == expected
    assert cadences(smoke_config()) == [5, 10, 5]  # as they are given


def test_a_run_is_saved_at_least_every_so_many_minutes(finished, quiet, smoke_config):
    remove_checkpoints(finished, 18, 20)
    train(smoke_config(("run.checkpoint_every", 1000), ("run.checkpoint_minutes", 1e-9)), finished)
    assert {path.name for path in (finished / "checkpoints").iterdir()} == {"18", "19", "20"}
    assert_same_run(finished, quiet)
    checkpoints = Checkpoints(finished / "other", {}, 1)
    assert not checkpoints.late(1, 10)
    checkpoints.saved_at -= 601
    assert checkpoints.late(1, 10) and not checkpoints.late(1, 0)
    checkpoints.close()


def test_ctrl_c_saves_and_says_what_is_kept(finished, quiet, smoke_config, monkeypatch, capfd):
    remove_checkpoints(finished, 18, 20)
    real = loop.require_finite

    def press(loss, done, *more):
        if done == 17:
            signal.raise_signal(signal.SIGINT)
        real(loss, done, *more)

    monkeypatch.setattr(loop, "require_finite", press)
    with pytest.raises(KeyboardInterrupt, match="step 18 of 20 is saved in .*/checkpoints; the same command resumes"):
        train(smoke_config(("run.checkpoint_every", 1000)), finished)
    monkeypatch.undo()
    assert (
        "Ctrl-C: saving after this step, or after a running evaluation; once more stops at once"
        in capfd.readouterr().err
    )
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    train(smoke_config(("run.checkpoint_every", 1000)), finished)
    assert "resumed at step 18 of 20" in capfd.readouterr().out
    assert_same_run(finished, quiet)


def test_a_second_ctrl_c_is_the_systems(capfd):
    with Watch() as watch:
        assert not watch.requested(1)
        signal.raise_signal(signal.SIGINT)
        assert watch.requested(1) and signal.getsignal(signal.SIGINT) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    told = []

    def watch_elsewhere():  # where no handler can be set, a run is trained all the same
        with Watch() as watch:
            told.append(watch.requested(1))

    thread = threading.Thread(target=watch_elsewhere)
    thread.start()
    thread.join()
    assert told == [False] and capfd.readouterr().err


@pytest.mark.parametrize("first, count", [(2**31 - 1, 2), (2**32 - 2, 2), (2**31, 1), (2**32 - 1, 1)])
def test_seeds_up_to_32_bits_are_those_of_the_examples(first, count):
    config = base()
    config.update(dict(seed=first, seeds=count))
    create = Population(Replicated(jax.local_devices()[:1]), config).begin(
        lambda seed: {"seed": jnp.asarray(seed, jnp.uint32), "key": jax.random.key_data(stream(seed, 1))}
    )
    state = jax.jit(create)()
    assert np.atleast_1d(state["seed"]).tolist() == list(range(first, first + count))
    expected = [
        jax.random.key_data(jax.random.fold_in(jax.random.key(seed), 1)) for seed in range(first, first + count)
    ]
    np.testing.assert_array_equal(np.reshape(state["key"], (count, -1)), expected)


@pytest.mark.parametrize("seed", [{"seed": np.int32(7)}, {}])
def test_checkpoints_of_before_have_signed_seeds_or_none(seed, tmp_path):
    saved = {"step": np.int32(3), "params": {"a": np.arange(4.0, dtype=np.float32)}}
    checkpoints = Checkpoints(tmp_path, {"seed": 7}, 1)
    checkpoints.save(3, saved | seed)
    checkpoints.wait()
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), saved | {"seed": np.uint32(0)})
    state = checkpoints.restore(Replicated(jax.local_devices()[:1]).like(like))
    checkpoints.close()
    assert int(state["seed"]) == 7 and state["seed"].dtype == np.uint32
    np.testing.assert_array_equal(state["params"]["a"], saved["params"]["a"])


def test_a_folder_of_several_seeds_says_which_folder_to_name(finished):
    change_config(finished, lambda config: config.update(seeds=3))
    shutil.rmtree(finished / "checkpoints")
    with pytest.raises(UserError, match="holds 3 seeds of a run: name one of them, as in .*/seed-0"):
        load_run(finished)


def test_a_full_disk_names_the_file(tmp_path):
    log = logs.Log(tmp_path, 0, 10)
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(OSError) as error:
        log.metrics(1, "heldout", {"loss": [1.0]})
    assert error.value.filename == str(tmp_path / "metrics.jsonl")
    with pytest.raises(OSError) as error, files.replacing(tmp_path / "curves.png"):
        raise OSError(28, "No space left on device")
    assert error.value.filename == str(tmp_path / "curves.png")
    log.close()


# ---- Damages at random


def damage(workdir, rng):
    """Harms a file of a run, or swaps it with another of the run's; returns what was done."""
    paths = sorted(path for path in workdir.rglob("*") if path.is_file() and "events" not in path.parts)
    path, kind = rng.choice(paths), rng.choice(["truncated", "flipped", "deleted", "swapped", "garbage"])
    content = path.read_bytes()
    if kind == "truncated":
        path.write_bytes(content[: rng.randrange(len(content) + 1)])
    elif kind == "flipped" and content:
        place = rng.randrange(len(content))
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :])
    elif kind == "swapped":
        path.write_bytes(rng.choice(paths).read_bytes())
    elif kind == "garbage":
        path.write_bytes(rng.randbytes(200))
    else:
        path.unlink()
    return f"{kind} {path.relative_to(workdir)}"


def test_who_reads_a_run_hears_no_warnings_of_its_libraries(quiet, monkeypatch, caplog):
    monkeypatch.setenv("HOME", str(quiet.parent))
    assert load_run(f"~/{quiet.name}").step == 20
    assert not [record for record in caplog.records if record.name == "absl"]


def test_damages_at_random_give_the_runs_own_numbers_or_a_line(quiet, tmp_path):
    truth = {}
    for step in (20, 18, 15):
        truth[step] = load_run(quiet).params_hash if step == 20 else None
    rng, began = random.Random(5), time.monotonic()
    for number in range(12):
        workdir = tmp_path / str(number)
        shutil.copytree(quiet, workdir)
        done = damage(workdir, rng)
        try:
            run = load_run(workdir)
        except UserError as error:
            assert "\n" not in str(error) and len(str(error)) < 600, done
        else:
            assert run.step in truth and truth[run.step] in (None, run.params_hash), done
        if time.monotonic() - began > 30:  # a slow machine
            break
