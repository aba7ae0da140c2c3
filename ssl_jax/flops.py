"""Arithmetic of a run: parameters by part, FLOPs per token, the peak of a device."""

import time

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.models.heads import SPAN_HIDDEN, feature_size

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


def flops_per_token(model, length, predictions):
    """Training FLOPs per token, matrix products alone.

    6 per matmul weight and token (2 forward, 4 backward) plus attention's 12 * layers * width * length
    (PaLM, appendix B; not halved for causal models, nothing for rematerialisation). Heads on the chosen tokens
    run at `predictions` of `length` positions, the pooler and the heads on its vector at one.

    Args:
      model: a `Model`.
      length: tokens in a sequence.
      predictions: chosen positions in a sequence.
    """
    config, chosen = model.config, predictions / length
    trunks = [config] if model.generator is None else [config, model.generator.trunk]
    hidden, features = config.hidden_size, feature_size(config, *model.reading)
    pooled = features if config.pooler == "plain" else hidden
    heads = {
        "mlm": _decoder(trunks[-1], dense=True) * chosen,
        "restored": _decoder(config, dense=True) * chosen,
        "copied": _decoder(config, dense=True) + hidden,
        "clm": _decoder(config, dense=config.embedding_size != hidden),
        "replaced": hidden**2 + hidden,
        "pair": 2 * pooled / length,
        "classes": model.classes[0] * pooled / length / model.orders,
        "choice": pooled / length,
        "token_classes": model.classes[0] * features,
        "span": 2 * features,
        "joint_span": _joint_span(features, model.spans[1], length),
        "baseline": trunks[-1].hidden_size * chosen,
        "tokens": _decoder(config, dense=not config.causal or config.embedding_size != hidden),
        "fit": 0 if model.projection[0] == "none" else (config.layers + 1) * hidden * model.projection[1],
    }
    pooler = 0 if config.pooler in ("none", "plain") else features * hidden / length
    tops = pooler + _lstm(config, *model.reading) + sum(heads[name] for name in model.heads)
    return sum(map(_trunk, trunks, [length] * len(trunks))) + 6 * tops


def _joint_span(features, answerable, length):
    """The logits and what is made of every possible end; once in a sequence, of the start, and the answerability."""
    once = features * SPAN_HIDDEN + answerable * (2 * features + 1) * SPAN_HIDDEN
    return features + (features + 1) * SPAN_HIDDEN + once / length


def _lstm(config, kind, layers, size):
    """The weights of all bidirectional LSTMs: four gates of each direction, from the input and from the last state."""
    widths = [feature_size(config, kind, 0, 0), *[2 * size] * (layers - 1)][:layers]
    return sum(2 * 4 * size * (width + size) for width in widths)


def _trunk(config, length):
    hidden, width = config.hidden_size, config.heads * config.head_size
    layer = 4 * hidden * width + 2 * hidden * config.ffn_size
    projection = config.embedding_size * hidden if config.embedding_size != hidden else 0
    return 6 * (config.layers * layer + projection) + 12 * config.layers * width * length


def _decoder(config, dense):
    return config.embedding_size * (config.vocab_size + dense * config.hidden_size)


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
