"""Sweeps as a user runs them: killed, started twice, stopped, moved; each ends as an undisturbed one."""

import contextlib
import functools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest

from ssl_jax import files
from ssl_jax.sweeps import launch, ledger
from tests.conftest import run_here

# For hangs: each run takes about ten seconds where nothing else runs.
pytestmark = pytest.mark.timeout(1800)

TABLE = """
from configs import bert, finetune
from ml_collections import ConfigDict
from ssl_jax.sweeps.tables import Claim, Column, Row, Stage, Table


def get_sweep(variant="one"):
    config = bert.get_config("tiny,smoke")
    config.update_from_flattened_dict({"steps": 8, "phases.lengths": (32,), "phases.shares": (1.0,), "model.layers": 1})
    config.run.update(log_every=2, evaluate_every=4, checkpoint_every=2)
    tune = finetune.get_config("bert-tiny,topics,smoke")
    tune.init.run = "@pretrain"
    tune.steps = 4
    rates = (1e-3, 2e-3, 4e-3, 8e-3)[: {"one": 1, "two": 2, "four": 4}[variant]]
    rows = tuple(Row(f"rate {rate:g}", {"optimizer.learning_rate": rate}) for rate in rates)
    columns = (Column("MLM", "pretrain", "mlm_accuracy", 100), Column("topics", "topics", "accuracy", 100))
    claims = (Claim("rate 0.002", "rate 0.001", "MLM", 1),) if len(rows) > 1 else ()
    return Table("rates", {"pretrain": Stage(config), "topics": Stage(tune)}, rows, columns, "rate 0.001", claims, seeds=2)


def get_config(variant="one"):
    return ConfigDict({name: stage.config for name, stage in get_sweep(variant).stages.items()})
"""


@pytest.fixture(scope="module")
def command(root, data_root, tmp_path_factory):
    """The words of scripts/sweep.py on a small table: one row, two stages, two seeds, four runs."""
    path = tmp_path_factory.mktemp("table") / "rates.py"
    path.write_text(TABLE)
    return [sys.executable, str(root / "scripts/sweep.py"), "--config", f"{path}:one", f"--root={data_root}"]


@pytest.fixture(autouse=True, scope="module")
def impatient():
    """A launcher in this process looks ten times as often whether all is done."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "watch", functools.partial(launch.watch, poll=0.5))
        yield


def sweep(command, *words, ok=True, start=run_here):
    """What scripts/sweep.py prints: in this process, or in one of its own. Its workers are processes of their own."""
    done = start([*command, *map(str, words)])
    assert (done.returncode == 0) == ok, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def undisturbed(command, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("undisturbed")
    own = functools.partial(subprocess.run, capture_output=True, text=True)
    printed = sweep(command, "--workdir", workdir, "--workers", 1, start=own)
    assert "4 runs, 4 of them new: 4 queued" in printed and "4 done" in printed
    return workdir


def numbers(workdir):
    """What each run measured, byte for byte."""
    found = {}
    for folder in sorted((workdir / "runs").iterdir()):
        found[folder.name] = [(folder / name).read_bytes() for name in ("metrics.jsonl", "result.json")]
    return found


def states(workdir):
    return {name: own["state"] for name, own in ledger.statuses(workdir, ledger.read(workdir)["runs"]).items()}


def workers(workdir):
    """The processes that run a sweep: workers and attempts."""
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if "ssl_jax.sweeps.worker" in words and str(workdir) in words:
            found.append(process)
    return found


@pytest.fixture(autouse=True, scope="module")
def no_worker_is_left(tmp_path_factory):
    yield
    base = str(tmp_path_factory.getbasetemp())
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if "ssl_jax.sweeps.worker" in process.cmdline() and base in " ".join(process.cmdline()):
                process.kill()


def kill(processes):
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue


def outlast(workdir):
    """Lets the leases of the dead run out, as they do in 20 seconds."""
    for lease in workdir.glob("runs/*/lease"):
        os.utime(lease, (time.time() - 60,) * 2)


def test_killed_at_random_and_launched_twice_it_ends_like_an_undisturbed_one(command, undisturbed, tmp_path):
    launched = [*command, "--workdir", tmp_path, "--workers", 1, "--nowait"]
    launchers = [
        subprocess.Popen([*map(str, launched)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(2)
    ]
    for launcher in launchers:
        printed = launcher.communicate()[0].decode()
        assert launcher.returncode == 0, printed
    chance = random.Random(int.from_bytes(os.urandom(4), "little"))
    for _ in range(2):
        time.sleep(chance.uniform(2, 12))
        kill(workers(tmp_path))
        while workers(tmp_path):
            time.sleep(0.1)
        assert "running" not in {state for state in states(tmp_path).values() if not held(tmp_path)}
        outlast(tmp_path)
        sweep(command, "--workdir", tmp_path, "--workers", 2, "--nowait")
    sweep(command, "--workdir", tmp_path, "--workers", 1)
    assert set(states(tmp_path).values()) == {"done"}
    assert numbers(tmp_path) == numbers(undisturbed)
    for name in ledger.read(tmp_path)["runs"]:
        own = ledger.status(tmp_path, name)
        # Each attempt but the last died: none ran twice at once, or again after it was done.
        assert own["attempts"] == 1 + own["losses"] + own.get("preemptions", 0)


def held(workdir):
    return any(ledger.is_held(folder) for folder in (workdir / "runs").iterdir())


def test_workers_go_on_without_the_terminal_stop_when_told_and_go_on_in_another_place(command, undisturbed, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    launcher = subprocess.Popen(
        [*command, "--workdir", str(here), "--workers", "1"], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    for line in launcher.stdout:
        if "running" in line:
            break
    os.killpg(launcher.pid, signal.SIGHUP)  # as when the terminal is closed
    launcher.wait()
    assert workers(here)
    while "done" not in states(here).values():
        time.sleep(0.3)
    assert "save their runs" in sweep(command[:2], "--workdir", here, "--stop")
    while workers(here):
        time.sleep(0.3)
    assert not {"running", "lost", "failed"} & set(states(here).values())
    assert "queued" in sweep(command[:2], "--workdir", here)
    shutil.move(here, there)
    sweep(command, "--workdir", there, "--workers", 2)
    assert numbers(there) == numbers(undisturbed)


def test_a_run_that_is_interrupted_again_and_again_says_so(command, tmp_path):
    sweep(command, "--workdir", tmp_path)
    name = next(iter(ledger.read(tmp_path)["runs"]))
    process = subprocess.Popen([sys.executable, "-m", "ssl_jax.sweeps.worker", str(tmp_path), name])
    while ledger.status(tmp_path, name)["state"] != "running":
        time.sleep(0.05)
    while process.poll() is None:
        process.send_signal(signal.SIGTERM)
        time.sleep(0.02)
    own = ledger.status(tmp_path, name)
    assert own["state"] == "preempted" and own["preemptions"] == 1
    # Or by the last of them, when Python had ended but for its own clearing up.
    assert process.returncode in (0, -signal.SIGTERM)


def test_a_run_that_fails_is_told_does_not_end_the_others_and_is_run_again(command, undisturbed, tmp_path):
    shutil.copytree(undisturbed, tmp_path, dirs_exist_ok=True)
    runs = ledger.read(tmp_path)["runs"]
    name = next(iter(runs))
    point = ledger.folder_of(tmp_path, name) / "point.json"
    content = files.read_json(point)
    (needing,) = (other for other, run in runs.items() if name in run["needs"])
    for own in (name, needing):  # these two are run again, the others are done
        folder = ledger.folder_of(tmp_path, own)
        planned = (folder / "point.json").read_bytes()
        shutil.rmtree(folder)
        folder.mkdir()
        (folder / "point.json").write_bytes(planned)
    rate = content["config"]["optimizer"]["learning_rate"]
    content["config"]["optimizer"]["learning_rate"] = 1e30  # diverges
    files.write_json(point, content)
    worker = subprocess.run(
        [sys.executable, "-m", "ssl_jax.sweeps.worker", str(tmp_path)], capture_output=True, text=True
    )
    assert worker.returncode == 0, worker.stderr
    found = states(tmp_path)
    assert found.pop(name) == "failed" and found.pop(needing) == "dependency failed" and set(found.values()) == {"done"}
    printed = sweep(command[:2], "--workdir", tmp_path)
    assert f"{name}: diverged: " in printed and f"{needing}: needs {name}" in printed and "2 done, 1 failed" in printed
    content["config"]["optimizer"]["learning_rate"] = rate
    files.write_json(point, content)
    printed = sweep(command, "--workdir", tmp_path, "--workers", 1)
    assert f"failed before and queued again: {name}" in printed and "4 done" in printed
    assert ledger.status(tmp_path, name)["attempts"] == 2 and ledger.status(tmp_path, needing)["attempts"] == 1


def test_a_plan_says_what_would_run_and_launches_nothing(command, tmp_path):
    command = [word.replace(":one", ":two") for word in command]
    printed = sweep(command, "--workdir", tmp_path / "w", "--plan")
    assert "rates: 2 rows, 2 seeds, 8 runs" in printed and "rate 0.002: optimizer.learning_rate=0.002" in printed
    assert "claim: rate 0.002 above rate 0.001, MLM" in printed and "in all" in printed
    assert not (tmp_path / "w").exists()
    printed = sweep(command, "--config.pretrain.model.heads=3", "--workdir", tmp_path / "w", "--workers", 1, ok=False)
    assert "row 'rate 0.001'" in printed and not (tmp_path / "w").exists()
    assert "no sweep" in sweep(command[:2], "--workdir", tmp_path, ok=False)
    assert "unknown config key pretrain.model.layrs" in sweep(
        command, "--config.pretrain.model.layrs=3", "--workdir", tmp_path / "w", ok=False
    )


def test_any_config_is_swept_from_the_command_line(root, data_root, tmp_path):
    command = [sys.executable, str(root / "scripts/sweep.py"), "--config", str(root / "configs/bert.py:tiny,smoke")]
    words = [
        "--sweep.optimizer.learning_rate=1e-3,2e-3",
        "--sweep.seed=3:5",
        f"--root={data_root}",
        "--config.model.layers=1",
    ]
    printed = sweep(command, *words, "--workdir", tmp_path)
    assert "2 rows, 2 seeds, 4 runs" in printed and "nothing runs yet" in printed
    content = json.loads((tmp_path / "sweep.json").read_text())
    assert content["seeds"] == [3, 4] and [row["changes"] for row in content["rows"]] == [
        {"optimizer.learning_rate": 1e-3},
        {"optimizer.learning_rate": 2e-3},
    ]
    name = next(iter(content["runs"]))
    config = json.loads((tmp_path / "runs" / name / "config.json").read_text())["config"]
    assert config["model"]["layers"] == 1 and config["data"]["root"] == data_root
    assert "left out of the report: it was tried by hand" in sweep(
        command[:2], "--workdir", tmp_path, f"--exclude={name}:it was tried by hand"
    )
    assert ledger.status(tmp_path, name)["excluded"] == "it was tried by hand"


def test_runs_that_train_as_one_program_have_folders_of_their_own_and_one_that_diverges_fails_alone(
    root, data_root, tmp_path
):
    command = [sys.executable, str(root / "scripts/sweep.py"), "--config", str(root / "configs/bert.py:tiny,smoke")]
    words = ["--config.model.layers=1", "--config.steps=8", f"--root={data_root}", "--config.phases.lengths=32,"]
    words += ["--config.phases.shares=1.0,", "--sweep.optimizer.learning_rate=1e-3,1e30"]
    alone, both = tmp_path / "alone", tmp_path / "both"
    sweep(command, *words, "--workdir", alone, "--workers", 1, ok=False)
    printed = sweep(command, *words, "--workdir", both, "--workers", 1, "--together", ok=False)
    assert "2 of them train together, in 1 programs" in printed
    assert states(alone) == states(both) and sorted(states(both).values()) == ["done", "failed"]
    name = next(name for name, state in states(both).items() if state == "done")
    ours, theirs = (files.read_json(workdir / "runs" / name / "result.json") for workdir in (both, alone))
    assert ours == pytest.approx(theirs, rel=1e-4)
    config = [files.read_json(workdir / "runs" / name / "config.json")["config"] for workdir in (both, alone)]
    assert config[0] == config[1]
    assert list((both / "runs" / name / "checkpoints").iterdir()) and not list((both / "together").iterdir())
