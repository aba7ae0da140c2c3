"""Four virtual CPU devices, one compilation cache and one prepared corpus for all tests; programs shared in a module.

The processes that tests start get the same through their environment.
"""

import contextlib
import gc
import importlib
import importlib.metadata
import io
import json
import os
import pickle
import runpy
import subprocess
import sys
import tempfile
import threading
import warnings
from pathlib import Path
from unittest import mock

from ssl_jax import devices  # loads no JAX

# The tests' programs are tiny: compiling them is what takes time, which the flags set here halve twice.
devices.use_virtual(4)
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(tempfile.gettempdir()) / "ssl_jax-tests-xla"))
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_TRACEBACK_IN_LOCATIONS_LIMIT"] = "0"
# Tracing makes many objects that live: looking through them for garbage less often saves a tenth of the time.
gc.set_threshold(100_000, 50, 50)
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # as ssl_jax/command_line.py; importing jax here sets another
# Two workers on two cores: libraries that start a thread per core only get in each other's way.
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["OMP_NUM_THREADS"] = "1"

# What torch's CUDA build brings along and TensorFlow each have an LLVM: in one process the second one crashes.
sys.modules["triton"] = None

import filelock  # noqa: E402
import jax  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
from absl import app, flags  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--update-golden", action="store_true", help="rewrite the files of tests/golden")


@pytest.fixture(scope="session")
def root():
    """The repository."""
    return Path(__file__).parent.parent


@pytest.fixture(scope="session")
def data_root(tmp_path_factory, worker_id):
    """Where prepared corpora live, shared by the workers of this test run."""
    base = tmp_path_factory.getbasetemp()
    return str((base if worker_id == "master" else base.parent) / "data")


@pytest.fixture(autouse=True, scope="module")
def shared_programs(request):
    """Runs of one module with equal configs share their compiled programs, which are pure functions of the config.

    The next module begins without them: a worker that kept all of the suite's would need 15 GB.
    """
    from ssl_jax import parallel, step, train
    from ssl_jax.models.model import Model

    patch, made = pytest.MonkeyPatch(), {}

    def once(key, make):
        if key not in made:
            made[key] = make()
        return made[key]

    def replace(name, shared):
        for module in (train, request.module):
            if hasattr(module, name):
                patch.setattr(module, name, shared)

    def key_of(name, config, model, *more):
        values = json.loads(config.to_json())
        # What step.py does not read: when a run saves and evaluates, and on which devices.
        values["run"] = {name: values["run"][name] for name in ("accumulate", "log_every", "logit_pieces")}
        del values["evals"], values["parallel"]
        # One test has an older `sums_of`.
        return name, json.dumps(values), model, pickle.dumps(more), step.sums_of

    def share_functions(name):
        make = getattr(step, name)

        def shared(config, model, vocabulary, counts=None, teach=None):
            if teach is not None or config.seeds > 1 or config.members:  # traced for one member
                return make(config, model, vocabulary, counts, teach)
            key = key_of(name, config, model, vocabulary, counts)
            return once(key, lambda: make(config, model, vocabulary, counts))

        replace(name, shared)

    def share_beginning():
        """A model's initialisation and a run's initial state are traced once in a module."""
        init, make = Model.init, step.initial_state

        def shared_init(model, key, batch):
            return once(("init", model), lambda: jax.jit(lambda *inputs: init(model, *inputs)))(key, batch)

        def shared_state(config, model, vocabulary, seed=None):
            if isinstance(seed, jax.core.Tracer):  # several seeds together
                return make(config, model, vocabulary, seed)
            key = key_of("initial_state", config, model, vocabulary, seed)
            return once(key, lambda: jax.jit(lambda: make(config, model, vocabulary, seed)))()

        patch.setattr(Model, "init", shared_init)
        replace("initial_state", shared_state)

    def share_programs(kind, devices):
        compile_for = kind.compile

        def shared(self, function, donate=False):
            return once((function, devices(self), donate), lambda: compile_for(self, function, donate))

        patch.setattr(kind, "compile", shared)

    for name in ("make_train_step", "make_measure", "make_predict"):
        share_functions(name)
    share_beginning()
    share_programs(parallel.Replicated, lambda self: tuple(self.devices))
    share_programs(parallel.Sharded, lambda self: self.mesh)
    yield
    patch.undo()
    jax.clear_caches()


@pytest.fixture(autouse=True)
def undrawn(request, monkeypatch):
    """Curves are drawn in test_logs.py and by the runs that are processes of their own: they take as long as a tiny run's steps."""
    from ssl_jax import logs

    if request.module.__name__ != "tests.unit.test_logs":
        monkeypatch.setattr(logs, "_draw_curves", lambda workdir, lines: None)


@pytest.fixture
def smoke_config(data_root):
    """`smoke_config(("steps", 3), ...)`: a config on the shared corpus, by default BERT's smoke, with changes."""

    def make(*changes, paper="bert", variant="tiny,smoke"):
        config = importlib.import_module(f"configs.{paper}").get_config(variant)
        config.data.root = data_root
        config.update_from_flattened_dict(dict(changes))
        return config

    return make


@pytest.fixture
def mock_sets(monkeypatch):
    """`with mock_sets(n)`: TensorFlow Datasets' sets are there, with n random examples in each split."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.testing import mocking

    monkeypatch.setattr(tfds.core.DatasetBuilder, "is_prepared", lambda builder: True)
    # TFDS gives its mock of a file this function as if it were a method.
    several = mocking._getitems
    monkeypatch.setattr(mocking, "_getitems", lambda keys, generator: several(None, keys, generator))
    return lambda number: tfds.testing.mock_data(num_examples=number)


def run_here(command):
    """What `subprocess.run` returns of [Python, script, *words], run in this process, where JAX is loaded already.

    For scripts that start no training: those change settings of JAX.
    """
    python, script, *words = map(str, command)
    # As files of a process are: `command_line.run` sets how they encode.
    output, errors = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    app.define_help_flags()  # once in a process
    before, code = set(flags.FLAGS), 0
    with contextlib.ExitStack() as stack:
        for owner, name in ((threading, "excepthook"), (sys, "unraisablehook")):
            stack.enter_context(mock.patch.object(owner, name, getattr(owner, name)))
        for context in (
            mock.patch.object(sys, "argv", [script, *words]),
            mock.patch.dict(os.environ),
            warnings.catch_warnings(),
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(errors),
        ):
            stack.enter_context(context)
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as exit_:
            code = exit_.code or 0
        finally:
            for name in set(flags.FLAGS) - before:  # the next script has its own
                delattr(flags.FLAGS, name)
            flags.FLAGS.unparse_flags()
    texts = (file.buffer.getvalue().decode() for file in (output, errors))
    return subprocess.CompletedProcess([python, script, *words], code, *texts)


def command(root, data_root, workdir, *arguments):
    return [
        sys.executable,
        str(root / "scripts/train.py"),
        f"--config={root}/configs/bert.py:tiny,smoke",
        f"--config.data.root={data_root}",
        "--config.run.checkpoint_every=3",
        f"--workdir={workdir}",
        *arguments,
    ]


def final_params(workdir):
    return jax.tree.map(np.asarray, importlib.import_module("ssl_jax.load").load_run(workdir).params)


def assert_same_run(workdir, quiet):
    """Metrics and final parameters equal those of the quiet run bit for bit."""
    assert (workdir / "metrics.jsonl").read_text() == (quiet / "metrics.jsonl").read_text()
    assert (workdir / "result.json").read_text() == (quiet / "result.json").read_text()
    jax.tree.map(np.testing.assert_array_equal, final_params(workdir), final_params(quiet))


@pytest.fixture(scope="session")
def quiet(root, data_root):
    """A run that nothing happened to, started as a user starts it, for the workers of this test run."""
    workdir = Path(data_root).parent / "quiet"
    with filelock.FileLock(f"{workdir}.lock"):
        if not (workdir / "stdout").exists():
            done = subprocess.run(command(root, data_root, workdir), capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            (workdir / "stdout").write_text(done.stdout)
    return workdir


@pytest.fixture
def finished(quiet, tmp_path):
    """A copy of the quiet run to harm."""
    subprocess.run(["cp", "-r", f"{quiet}/.", tmp_path], check=True)
    return tmp_path
