"""Several processes of one run: what stops one of them stops all, each with one line; the compilation cache after a kill."""

import os
import re
import signal
import socket
import subprocess
import sys
import warnings
import zlib

import pytest
import zstandard

from ssl_jax import parallel

# A process of two, which sums over both of them until it is killed or the other one is gone.
TOGETHER = """
import sys, time
from ssl_jax import command_line
address, index = sys.argv.pop(1), int(sys.argv.pop(1))
def main():
    import numpy as np
    from jax.experimental import multihost_utils
    from ssl_jax import checkpoints, parallel
    parallel.initialise(address, 2, index)
    checkpoints.require_same({"steps": 20})
    print("together", flush=True)
    while True:
        multihost_utils.process_allgather(np.ones(3))
        time.sleep(0.05)
command_line.run(main)
"""


def free_address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def start(*arguments):
    environment = os.environ | {"XLA_FLAGS": os.environ["XLA_FLAGS"].replace("count=4", "count=1")}
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(processes):
    """The (stdout, stderr) of each."""
    try:
        return [process.communicate(timeout=120) for process in processes]
    finally:
        for process in processes:  # one that waits for the other would wait for ever
            process.kill()


@pytest.mark.parametrize("victim", [0, 1])
def test_when_a_process_is_killed_the_other_one_says_so_in_a_line(victim):
    address = free_address()
    processes = [start("-c", TOGETHER, address, index) for index in range(2)]
    try:
        for process in processes:
            assert "together\n" in process.stdout
        processes[victim].send_signal(signal.SIGKILL)
    finally:
        outputs = finish(processes)
    assert processes[1 - victim].returncode not in (0, None)
    assert outputs[1 - victim][1] == f"error: {parallel.GONE}\n"


def test_hosts_with_different_configs_stop_each_other_with_the_keys(root, data_root, tmp_path):
    address = free_address()
    differing = [[], ["--config.optimizer.learning_rate=0.5", "--config.seed=3", f"--config.data.root={data_root}/"]]
    processes = [
        start(
            root / "scripts/train.py", f"--config={root}/configs/bert.py:tiny,smoke", f"--config.data.root={data_root}",
            f"--workdir={tmp_path}/run", f"--coordinator={address}", "--process_count=2", f"--process_index={index}", *flags,
        )
        for index, flags in enumerate(differing)
    ]  # fmt: skip
    line = (
        "error: process 1 has another config than process 0: optimizer.learning_rate: 0.5 was 0.001, seed: 3 was 0; "
        "start the same command on every host\n"
    )
    assert [error for _, error in finish(processes)] == [line, line]
    assert all(process.returncode != 0 for process in processes) and not (tmp_path / "run").exists()


def test_programs_that_were_cut_off_in_the_cache_are_removed(tmp_path, monkeypatch, recwarn):
    whole = [zstandard.ZstdCompressor().compress(bytes(1000)), zlib.compress(bytes(1000))]
    entries = {
        "jit_f-1-cache": whole[0], "jit_f-2-cache": whole[0][:-4], "jit_f-3-cache": b"", "jit_f-4-cache": whole[1],
        "jit_f-5-cache": whole[1][:-4], "jit_g-1-cache": whole[0][:-4],
    }  # fmt: skip
    for name, content in entries.items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.setattr(parallel, "cache_folder", lambda: tmp_path)
    with warnings.catch_warnings():
        parallel.heal_cache()
        warnings.warn("Error reading persistent compilation cache entry for 'jit_f': ZstdError: what", stacklevel=1)
    assert {path.name for path in tmp_path.iterdir()} == {"jit_f-1-cache", "jit_f-4-cache", "jit_g-1-cache"}
    assert not recwarn.list


CUT_OFF = """
import os, pathlib, sys
import jax
folder = pathlib.Path(sys.argv[1])
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
from ssl_jax import parallel
jax.config.update("jax_compilation_cache_dir", str(folder))
parallel.initialise()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
def call():
    jax.clear_caches()
    jax.jit(lambda x: x * 2 + 1)(3.0)
    return {path: parallel.is_whole(path.read_bytes()) for path in folder.glob("*-cache")}
before = call()
for path in before:
    os.truncate(path, path.stat().st_size // 2)
print(before == call(), set(before.values()))
"""


def test_jax_writes_a_program_again_that_was_cut_off(tmp_path):
    process = start("-c", CUT_OFF, tmp_path)
    [(output, errors)] = finish([process])
    assert output == "True {True}\n", errors
    assert not re.search("persistent compilation cache", errors)
