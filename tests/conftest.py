"""Four virtual CPU devices, one compilation cache and one prepared corpus for all tests.

The processes that tests start get the same through their environment.
"""

import importlib
import importlib.metadata
import os
import sys
import tempfile
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"
# The tests' programs are tiny: compiling them is what takes time, and level 0 halves it.
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0"
if importlib.metadata.version("jaxlib").startswith("0.9."):
    # Halves it again; XLA aborts on flags that it does not know, and later versions may have dropped these.
    os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(tempfile.gettempdir()) / "ssl_jax-tests-xla"))
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # as ssl_jax/command_line.py; importing jax here sets another
# Two workers on two cores: libraries that start a thread per core only get in each other's way.
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["OMP_NUM_THREADS"] = "1"

# What torch's CUDA build brings along and TensorFlow each have an LLVM: in one process the second one crashes.
sys.modules["triton"] = None

import pytest  # noqa: E402


@pytest.fixture(scope="session")
def root():
    """The repository."""
    return Path(__file__).parent.parent


@pytest.fixture(scope="session")
def data_root(tmp_path_factory, worker_id):
    """Where prepared corpora live, shared by the workers of this test run."""
    base = tmp_path_factory.getbasetemp()
    return str((base if worker_id == "master" else base.parent) / "data")


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
