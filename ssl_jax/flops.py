"""Arithmetic of a run: parameters by part, FLOPs per token, the peak of a device."""

import time

import jax
import jax.numpy as jnp
import numpy as np

# Dense bf16 peaks in FLOP/s, from the makers' data sheets. An unknown device, a CPU for one, is measured.
PEAKS = {
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H200": 989e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA A100-SXM4-40GB": 312e12,
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5p": 459e12,
    "TPU v6 lite": 918e12,
}


def count_parameters(params):
    """Parameters in all."""
    return sum(int(np.prod(x.shape)) for x in jax.tree.leaves(params))


def flops_per_token(config, length, predictions):
    """Training FLOPs per token of BERT-like models, matrix products alone.

    6 per matmul weight and token (2 forward, 4 backward) plus attention's 12 * layers * hidden * length
    (PaLM, appendix B; not halved for causal models, nothing for rematerialisation). The masked-LM head
    runs at `predictions` of `length` positions, the pooler and the pair head at one.

    Args:
      config: a `TransformerConfig`.
      length: tokens in a sequence.
      predictions: masked positions in a sequence.
    """
    hidden, embedding = config.hidden_size, config.embedding_size
    layer = 4 * hidden**2 + 2 * hidden * config.ffn_size
    projection = embedding * hidden if embedding != hidden else 0
    weights = config.layers * layer + projection
    weights += (hidden * embedding + embedding * config.vocab_size) * predictions / length
    weights += (hidden**2 + 2 * hidden) / length if config.pooler else 0
    return 6 * weights + 12 * config.layers * hidden * length


def peak_flops(dtype, devices):
    """The peak of so many devices together, in FLOP/s: from PEAKS, or a measured matrix product."""
    peak = PEAKS.get(jax.devices()[0].device_kind)
    return devices * peak if peak else _measured_peak(dtype)


def _measured_peak(dtype, size=1024, repeats=5):
    """Virtual CPU devices share the cores, so one product measures all of them."""
    x = jnp.ones((size, size), dtype)
    product = jax.jit(jnp.dot)
    product(x, x).block_until_ready()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        product(x, x).block_until_ready()
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / min(seconds)
