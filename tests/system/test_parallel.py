"""The same global batch gives the same losses however it is cut."""

import json
import os
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from ssl_jax.errors import UserError
from ssl_jax.parallel import build_parallel
from ssl_jax.train import train

STEPS = 6
SHORT = [
    ("steps", STEPS),
    ("phases.lengths", (32,)),
    ("phases.shares", (1.0,)),
    ("run.log_every", 1),
    ("optimizer.warmup", 0.0),
    ("run.checkpoint_every", 2),
]
ONE = [("parallel.devices", 1)]
MESH = ("parallel.mode", "mesh")
CUTS = {
    "pmap 4": [("parallel.devices", 4)],
    "pmap 2, accumulate 4": [("parallel.devices", 2), ("run.accumulate", 4)],
    "mesh 1": [MESH, ("parallel.devices", 1)],
    "mesh 4": [MESH, ("parallel.devices", 4)],
    "mesh 2, accumulate 4": [MESH, ("parallel.devices", 2), ("run.accumulate", 4)],
    "mesh fsdp 2 x tensor 2": [MESH, ("parallel.fsdp", 2), ("parallel.tensor", 2)],
}


def losses(workdir):
    """[lines, metrics] of metrics.jsonl: all losses, and what accuracies are by chance."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return np.array([[value for name, value in line.items() if name.endswith(("loss", "chance"))] for line in lines])


@pytest.fixture(scope="session")
def one_device(data_root, tmp_path_factory):
    """The losses of six steps on one device, with the folder of the run."""
    from configs import bert

    config = bert.get_config("tiny,smoke")
    config.data.root = data_root
    config.update_from_flattened_dict(dict(SHORT + ONE))
    workdir = tmp_path_factory.mktemp("one")
    train(config, workdir)
    return losses(workdir), workdir


@pytest.mark.parametrize("cut", CUTS)
def test_devices_modes_and_accumulation_change_no_loss(cut, one_device, smoke_config, tmp_path):
    train(smoke_config(*SHORT, *CUTS[cut]), tmp_path)
    np.testing.assert_allclose(losses(tmp_path), one_device[0], rtol=1e-5)


@pytest.mark.parametrize("mode", ["pmap", "mesh"])
def test_two_processes_change_no_loss(mode, one_device, root, data_root, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environment = os.environ | {"XLA_FLAGS": os.environ["XLA_FLAGS"].replace("count=4", "count=2")}
    overrides = [f"--config.{name}={value!r}".replace("'", "") for name, value in [*SHORT, ("parallel.mode", mode)]]
    processes = [
        subprocess.Popen(
            [
                sys.executable,
                str(root / "scripts/train.py"),
                f"--config={root}/configs/bert.py:tiny,smoke",
                f"--config.data.root={data_root}",
                *overrides,
                f"--workdir={tmp_path}",
                f"--coordinator={address}",
                "--process_count=2",
                f"--process_index={index}",
            ],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=240)[0] for process in processes]
    finally:
        for process in processes:  # one that waits for the other would wait for ever
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)
    np.testing.assert_allclose(losses(tmp_path), one_device[0], rtol=1e-5)
    assert (tmp_path / "checkpoints" / str(STEPS)).exists()


@pytest.mark.parametrize("cut", ["pmap 4", "mesh fsdp 2 x tensor 2"])
def test_a_run_goes_on_elsewhere_with_the_same_examples(cut, one_device, smoke_config, tmp_path, capfd):
    subprocess.run(["cp", "-r", f"{one_device[1]}/.", tmp_path], check=True)
    subprocess.run(["rm", "-r", tmp_path / "checkpoints" / "6", tmp_path / "checkpoints" / "4"], check=True)
    train(smoke_config(*SHORT, *CUTS[cut]), tmp_path)
    assert "resumed at step 2 of 6" in capfd.readouterr().out
    np.testing.assert_allclose(losses(tmp_path), one_device[0], rtol=1e-5)


def test_a_sharded_run_goes_on_on_one_device(one_device, smoke_config, tmp_path, capfd):
    train(smoke_config(*SHORT, *CUTS["mesh fsdp 2 x tensor 2"]), tmp_path)
    subprocess.run(["rm", "-r", tmp_path / "checkpoints" / "6", tmp_path / "checkpoints" / "4"], check=True)
    train(smoke_config(*SHORT, *ONE), tmp_path)
    assert "resumed at step 2 of 6" in capfd.readouterr().out
    np.testing.assert_allclose(losses(tmp_path), one_device[0], rtol=1e-5)


def test_a_mesh_has_no_per_core_means(smoke_config, tmp_path):
    with pytest.raises(UserError, match="loss_average='device' needs parallel.mode='pmap'"):
        train(smoke_config(MESH, ("loss_average", "device")), tmp_path)


def test_parameters_are_sharded_by_name(smoke_config):
    config = smoke_config(MESH, ("parallel.fsdp", 2), ("parallel.tensor", 2))
    parallel = build_parallel(config.parallel)

    def where(name, *shape):
        keys = tuple(jax.tree_util.DictKey(part) for part in name.split("/"))
        return tuple(parallel.sharding(keys, jax.ShapeDtypeStruct(shape, np.float32)).spec)

    assert where("encoder/layers/attention/query/kernel", 2, 32, 2, 16) == (None, "fsdp", "tensor")
    assert where("encoder/layers/ffn/output/kernel", 2, 128, 32) == (None, "tensor", "fsdp")
    assert where("encoder/embeddings/token", 511, 32) == (None, "fsdp")  # 511 is odd: not cut
    assert where("encoder/layers/ffn_norm/scale", 2, 32) == ()


@pytest.mark.parametrize(
    "changes, message",
    [
        ([("batch_size", 6)], "batch_size=6 is not divisible by 4 devices x run.accumulate=1 = 4"),
        ([("run.accumulate", 3)], "batch_size=8 is not divisible by run.accumulate=3$"),
        ([("parallel.devices", -1)], "parallel.devices=-1: at least 0"),
        ([MESH, ("parallel.fsdp", 0)], "parallel.fsdp=0: at least 1"),
        ([("parallel.devices", 5)], "parallel.devices=5, but this run has 4"),
        ([("parallel.fsdp", 2)], "need parallel.mode='mesh'"),
        ([MESH, ("parallel.fsdp", 3)], "4 devices are not divisible by parallel.fsdp=3"),
        ([("parallel.mode", "pmp")], "unknown parallel.mode 'pmp'; did you mean 'pmap'"),
    ],
)
def test_cuts_that_do_not_fit_are_refused(changes, message, smoke_config, tmp_path):
    with pytest.raises(UserError, match=message):
        train(smoke_config(*changes), tmp_path)
