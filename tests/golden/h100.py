"""Compiles a training step for an H100 that is not there, and prints what the program holds as JSON.

    python tests/golden/h100.py PAPER:VARIANT BATCH LENGTH [KEY=VALUE ...]

It needs jax-cuda12-plugin of jax's version and nothing else of CUDA; a process of its own, with the platforms as they are.
"""

import ast
import collections
import functools
import importlib
import json
import os
import re
import sys

os.environ |= {"JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1", "XLA_FLAGS": "--xla_gpu_autotune_level=0"}
os.environ.pop("JAX_PLATFORMS", None)

import jax  # noqa: E402
import numpy as np  # noqa: E402
from jax._src.cudnn import fused_attention_stablehlo as cudnn  # noqa: E402
from jax.experimental import topologies  # noqa: E402
from jax.sharding import SingleDeviceSharding  # noqa: E402

from ssl_jax.models.model import build_model  # noqa: E402
from ssl_jax.step import initial_state, make_train_step  # noqa: E402
from ssl_jax.tokenization.vocabulary import Vocabulary  # noqa: E402

# An H100 SXM as CUDA describes it: compute capability 9.0 (CUDA C++ Programming Guide, "Compute Capabilities"), 132
# processors, 80 GB at 3.35 TB/s, 50 MB of L2 (nvidia-tensor-core-gpu-datasheet).
DEVICE = """
gpu_device_info {
  cuda_compute_capability { major: 9 } core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98
  threads_per_warp: 32 threads_per_block_limit: 1024 threads_per_core_limit: 2048
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  shared_memory_per_block: 49152 shared_memory_per_block_optin: 232448 shared_memory_per_core: 233472
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  l2_cache_size: 52428800 memory_bandwidth: 3352320000000 device_memory_size: 84978434048
}
platform_name: "CUDA" dnn_version_info { major: 9 minor: 8 } device_description_str: "NVIDIA H100 80GB HBM3"
"""


def main(name, batch_size, length, *changes):
    # What asks the libraries of a GPU, which are not here.
    cudnn.check_cudnn_version, cudnn.check_compute_capability = lambda: 90800, lambda *capability: True
    device = topologies.get_topology_desc(platform="cuda", target_config=DEVICE, topology="1x1x1").devices[0]
    here = SingleDeviceSharding(device)
    jax.default_backend = lambda: "gpu"

    def place(tree):
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), tree)

    paper, variant = name.split(":")
    config = importlib.import_module(f"configs.{paper}").get_config(variant)
    given = {key: ast.literal_eval(value) for key, value in (change.split("=", 1) for change in changes)}
    config.update_from_flattened_dict({"model.dtype": "bfloat16", **given})
    size = config.model.vocab_size
    special = np.arange(size) < 5
    vocabulary = Vocabulary(size, 0, 1, 2, 3, 4, special, ~special, 3)
    model = build_model(config)
    step = make_train_step(config, model, vocabulary, np.ones(size))
    step = functools.partial(step, total=lambda x: x, shard=lambda: 0)
    rows = np.zeros((int(batch_size), int(length)), np.int32)
    batch = {name: rows for name in ("tokens", "mask", "segments")} | {name: rows[:, 0] for name in ("pair", "index")}
    state = jax.eval_shape(lambda: initial_state(config, model, vocabulary))
    compiled = jax.jit(step, donate_argnums=0).lower(place(state), place(batch), ()).compile()
    calls = collections.Counter(re.findall(r'custom_call_target="([^"]+)"', compiled.as_text()))
    memory = compiled.memory_analysis()
    print(
        json.dumps(
            {
                "temporaries": memory.temp_size_in_bytes,
                "arguments": memory.argument_size_in_bytes,
                "aliased": memory.alias_size_in_bytes,
                "attention": {name: number for name, number in sorted(calls.items()) if "fmha" in name},
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
