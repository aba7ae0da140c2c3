"""scripts/plan.py as a user starts it."""

import contextlib
import json
import os
import subprocess
import sys

import pytest

from ssl_jax import experiment, program
from tests.conftest import run_here

SMOKE = "--config=configs/bert.py:tiny,smoke"


def command(root, *arguments):
    return [sys.executable, str(root / "scripts/plan.py"), *arguments]


def plan(root, *arguments):
    with contextlib.chdir(root):
        return run_here(command(root, *arguments))


def test_an_exact_plan_has_the_program_beside_the_estimate(root):
    """On more devices than this process has: they are virtual ones of its own."""
    mesh = ("--config.parallel.mode=mesh", "--config.parallel.fsdp=2", "--config.parallel.tensor=2")
    environment = {name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "JAX_PLATFORMS")}
    done = subprocess.run(
        command(root, SMOKE, "--devices=8", "--device=h100", "--exact", "--json", *mesh),
        capture_output=True, text=True, check=False, cwd=root, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    program, parts = made["program"], made["bytes"]
    assert made["cut"] == {"mode": "mesh", "devices": 8, "fsdp": 2, "tensor": 2, "accumulate": 1, "remat": False}
    assert parts["parameters"] + parts["optimizer"] == pytest.approx(program["argument"], rel=0.05)
    assert program["total"] == program["argument"] + program["output"] - program["alias"] + program["temp"]
    assert program["gap"] == pytest.approx(parts["total"] / program["total"] - 1)
    assert {one["devices"] for one in program["collectives"]} == {2, 4, 8}
    assert made["device_hours"] == pytest.approx(8 * made["seconds"] / 3600)


def test_what_does_not_fit_is_told_with_flags_that_do(root):
    done = plan(root, "--config=configs/gpt3.py:175b", "--devices=256", "--device=h100")
    assert done.returncode == 0, done.stderr
    lines = dict(line.strip().split(maxsplit=1) for line in done.stdout.splitlines() if line.startswith("  "))
    assert "174,604,259,328" in done.stdout
    again = plan(root, "--config=configs/gpt3.py:175b", "--devices=256", "--device=h100", *lines["flags"].split())
    assert "does not fit" in done.stdout and "proposed" in done.stdout
    assert ": fits" in again.stdout and "proposed" not in again.stdout and "refused" not in again.stdout


def test_a_run_tells_what_it_took_beside_the_estimate(quiet, root):
    seen = json.loads((quiet / "memory.json").read_text())
    assert seen["measured"]["of"] == "process"  # a CPU does not say what a device has in use
    assert seen["measured"]["bytes"] > seen["predicted"]["total"] * seen["cut"]["devices"] > 0
    done = plan(root, f"--run={quiet}")
    assert done.returncode == 0, done.stderr
    assert "predicted" in done.stdout and "the peak resident size of the process" in done.stdout
    assert "FLOP/s, the median of its timings" in done.stdout


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([SMOKE, "--device=h10"], "unknown device 'h10'; did you mean 'h100'"),
        ([SMOKE, "--devices=0"], "--devices=0: at least 1"),
        ([SMOKE, "--mfu=0"], "--mfu=0: above 0"),
        (
            [SMOKE, "--devices=6", "--config.parallel.mode=mesh", "--config.parallel.fsdp=4"],
            "6 devices are not divisible",
        ),
        ([SMOKE, "--devices=3", "--exact"], "--exact: batch_size=8 is not divisible by 3 devices"),
        ([], "--config or --run is missing"),
        (["--run=nowhere"], "nowhere holds no run"),
    ],
)
def test_bad_input_gets_one_clear_line(arguments, message, root):
    done = plan(root, *arguments)
    assert done.returncode and message in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "paper, changes",
    [("bert", {}), ("gpt2", {}), ("gpt2", {"data.document_mask": True}), ("electra", {})],
    ids=["pairs", "windows", "borders", "single"],
)
def test_the_batch_that_is_planned_for_is_the_runs(paper, changes, smoke_config):
    exp = experiment.open(smoke_config(*changes.items(), paper=paper))
    planned = program.batch_shapes(exp.config, exp.phases[0])
    batch = exp.batch(0)
    assert {name: (x.shape, x.dtype) for name, x in batch.items()} == {
        name: (x.shape, x.dtype) for name, x in planned.items()
    }
