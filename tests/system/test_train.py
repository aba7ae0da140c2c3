"""The real entry point, killed, stopped, resumed and damaged: the numbers are those of a quiet run."""

import json
import os
import random
import re
import signal
import subprocess
import time
from pathlib import Path

import filelock
import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from ssl_jax.data import batches, tokens
from ssl_jax.errors import UserError
from ssl_jax.load import load_run
from ssl_jax.tokenization import files as tokenizer_files
from ssl_jax.tokenization.vocabulary import vocabulary_of
from ssl_jax.train import train
from tests.conftest import assert_same_run, command, final_params


def start_and_wait_for(sign, arguments):
    """Starts a run and returns its process when it has printed a line that begins with `sign`."""
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    for line in process.stdout:
        if line.startswith(sign):
            return process
    raise AssertionError(f"the run ended before it printed {sign!r}")


def heldout_pairs(config):
    """The labels of all held-out pairs at the length of the run's last phase."""
    prepared = Path(tokens.prepare(config.data))
    vocabulary = vocabulary_of(tokenizer_files.load(prepared / "tokenizer.json"))
    length, store = config.phases.lengths[-1], tokens.Store(prepared, "heldout")
    examples = batches.evaluation_batches(config.data, "nsp", store, vocabulary, length, config.batch_size, config.seed)
    made = [examples(number) for number in range(examples.steps)]
    return np.concatenate([batch["pair"][batch["mask"].any(-1)] for batch in made])


def test_a_run_leaves_what_the_readme_promises(quiet, root):
    config = json.loads((quiet / "config.json").read_text())
    assert config["config"]["model"]["hidden_size"] == 32
    assert {"jax", "flax", "optax", "orbax-checkpoint"} <= config["versions"].keys()
    head = subprocess.run(["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    assert config["commit"].rstrip("+") == head.stdout.strip()
    assert (quiet / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert list((quiet / "events").glob("events.out.tfevents.*"))
    assert {path.name for path in (quiet / "checkpoints").iterdir()} == {"15", "18", "20"}

    lines = [json.loads(line) for line in (quiet / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["split"] == "train"] == [5, 10, 15, 20]
    heldout = [line for line in lines if line["split"] == "heldout"]
    assert [line["step"] for line in heldout] == [10, 20]
    result = json.loads((quiet / "result.json").read_text())
    assert result == {name: value for name, value in heldout[-1].items() if name != "split"}
    assert result["loss"] == pytest.approx(result["mlm_loss"] + result["nsp_loss"])
    assert heldout[1]["mlm_loss"] < heldout[0]["mlm_loss"] < np.log(512) + 0.1  # below a uniform guess
    # What always giving the most frequent label gets on the very pairs that were measured.
    pairs = heldout_pairs(ConfigDict(config["config"]))
    assert heldout[1]["nsp_chance"] == pytest.approx(np.bincount(pairs).max() / len(pairs))
    shown = [line for line in (quiet / "stdout").read_text().splitlines() if line.startswith("step 20  heldout")]
    assert f"  nsp_accuracy {result['nsp_accuracy']:.4g} (chance {result['nsp_chance']:.4g})  nsp_loss" in shown[0]
    assert f"  mlm_accuracy {result['mlm_accuracy']:.4g} (chance {result['mlm_chance']:.4g})  mlm_loss" in shown[0]

    timings = [json.loads(line) for line in (quiet / "timings.jsonl").read_text().splitlines()]
    assert all(line["tokens_per_second"] > 0 and line["flops_per_second"] > 0 for line in timings)
    assert not any("mfu" in line for line in timings)  # of a CPU nobody knows the peak
    assert all(0 <= line["data_wait"] < 1 for line in timings)


def test_kill_9_at_random_moments_changes_no_bit(quiet, root, data_root, tmp_path):
    arguments = command(root, data_root, tmp_path)
    for sign in ("started", "step 10  heldout"):
        process = start_and_wait_for(sign, arguments)
        time.sleep(random.uniform(0, 0.3))
        process.kill()
        process.wait()
    with open(tmp_path / "metrics.jsonl", "a") as lines:
        lines.write('{"step": 11, "split": "tr')  # what a kill in the middle of a write leaves
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "resumed at step" in done.stdout
    assert_same_run(tmp_path, quiet)


def test_sigterm_saves_exits_with_0_and_the_same_command_goes_on(quiet, root, data_root, tmp_path):
    arguments = command(root, data_root, tmp_path)
    process = start_and_wait_for("started", arguments)  # the first step is being compiled
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert not (tmp_path / "result.json").exists()
    saved = output.split("SIGTERM: step ")[1].split()[0]
    assert (tmp_path / "checkpoints" / saved).exists() and int(saved) < 20
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert f"resumed at step {saved} of 20" in done.stdout, done.stderr
    assert_same_run(tmp_path, quiet)


def largest_file(folder):
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def truncate(checkpoint):
    os.truncate(largest_file(checkpoint), 100)


def flip_a_bit(checkpoint):
    path = largest_file(checkpoint)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def remove_metadata(checkpoint):
    for path in (checkpoint / "state").iterdir():
        if path.is_file():
            path.unlink()


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, remove_metadata])
def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_is_used(damage, finished, quiet, smoke_config, capfd):
    damage(finished / "checkpoints/20")
    train(smoke_config(("run.checkpoint_every", 3)), finished)
    output = capfd.readouterr()
    assert f"damaged checkpoint {finished}/checkpoints/20 skipped" in output.err
    assert "resumed at step 18 of 20" in output.out
    assert_same_run(finished, quiet)
    assert (finished / "checkpoints/20.damaged").exists()
    damage(finished / "checkpoints/20")  # a second time, with the first one's remains beside it
    train(smoke_config(("run.checkpoint_every", 3)), finished)
    assert_same_run(finished, quiet)


def test_no_readable_checkpoint_is_an_error(finished, smoke_config):
    for step in (15, 18, 20):
        truncate(finished / f"checkpoints/{step}")
    with pytest.raises(UserError, match="no checkpoint in .* can be read"):
        train(smoke_config(("run.checkpoint_every", 3)), finished)
    # Perhaps it was the program or the disk that was at fault: they are still there.
    assert {path.name for path in (finished / "checkpoints").iterdir()} == {"15", "18", "20"}


def test_asking_a_run_changes_nothing_in_it(finished):
    truncate(finished / "checkpoints/20")
    before = sorted(path.name for path in finished.rglob("*"))
    assert load_run(finished).config.steps == 20
    assert sorted(path.name for path in finished.rglob("*")) == before


def test_a_corpus_that_changed_is_refused_on_resume(finished, smoke_config, tmp_path_factory):
    config = smoke_config()
    text = tmp_path_factory.mktemp("text") / "a.txt"
    text.write_text("\n\n".join(f"Document {n} speaks of {n}.\nIt ends." for n in range(400)))
    path = tokens.prepare(config.data) + "/tokenizer.json"
    changes = [("data.corpus", f"text:{text.parent}"), ("data.tokenizer.path", path), ("steps", 4)]
    workdir = finished / "other"
    train(smoke_config(*changes), workdir)
    text.write_text(text.read_text().replace("speaks", "tells"))
    with pytest.raises(UserError, match="prepared.content_hash: .* was "):
        train(smoke_config(*changes), workdir)


def test_a_checkpoint_of_another_config_is_refused_with_the_differing_keys(finished, smoke_config):
    changes = [("optimizer.learning_rate", 5e-4), ("seed", 1)]
    with pytest.raises(UserError, match="optimizer.learning_rate: 0.0005 was 0.001, seed: 1 was 0"):
        train(smoke_config(*changes), finished)
    assert (finished / "result.json").exists()  # and nothing of the old run is lost


def test_a_finished_run_says_its_result_again(finished, smoke_config, capfd):
    before = (finished / "metrics.jsonl").read_text()
    result = train(smoke_config(), finished)
    assert result == json.loads((finished / "result.json").read_text())
    assert (finished / "metrics.jsonl").read_text() == before
    first, second = capfd.readouterr().out.splitlines()
    assert first == f"{finished} is finished: it has no step left to do"
    assert second.startswith(f"finished at step 20: loss {result['loss']:.4g}") and "nsp_accuracy" in second


def test_two_runs_in_one_folder_are_refused(finished, smoke_config):
    with filelock.FileLock(finished / "lock"), pytest.raises(UserError, match="another process is training"):
        train(smoke_config(), finished)


def test_a_loss_that_is_not_finite_stops_with_the_step_and_the_last_good_checkpoint(smoke_config, tmp_path):
    config = smoke_config(("optimizer.learning_rate", 1e30), ("run.checkpoint_every", 1))
    with pytest.raises(UserError) as told:
        train(config, tmp_path)
    step, newest = re.search(r"not finite at step (\d+); last good checkpoint: (\S+);", str(told.value)).groups()
    steps = [int(path.name) for path in (tmp_path / "checkpoints").iterdir() if path.name.isdigit()]
    assert newest == str(tmp_path / "checkpoints" / str(max(steps))) and max(steps) < int(step)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(final_params(tmp_path)))


def test_phases_change_the_length_inside_one_run(smoke_config, tmp_path):
    from ssl_jax.plan import plan_phases

    config = smoke_config()
    assert [tuple(phase) for phase in plan_phases(config)] == [(0, 18, 32, 8, 0), (18, 20, 64, 8, 144)]
    config.phases.shares = (0.5, 0.4)
    with pytest.raises(UserError, match="phases.shares, summing to 1"):
        plan_phases(config)
