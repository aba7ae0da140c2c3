"""Parameter counts, FLOPs per token and peak FLOP/s of devices."""

import jax
import numpy as np

from ssl_jax import devices
from ssl_jax.models import heads, mqan


def count_parameters(params):
    """Total number of parameters."""
    return sum(int(np.prod(x.shape)) for x in jax.tree.leaves(params))


def flops_per_token(model, length, predictions, question=0):
    """Training FLOPs per token, matmuls only.

    6 per matmul weight and token (2 forward, 4 backward) plus attention's 12 * layers * width * length
    (PaLM, appendix B; not halved for causal models, nothing for rematerialisation; a layer with a local window
    attends to that many positions). Heads on the chosen tokens
    run at `predictions` of `length` positions, the pooler and the heads on its output at one.

    Args:
      model: a `Model`, or an `Mqan`: `length` are an example's words of context, `predictions` those of its answer.
      length: tokens per sequence.
      predictions: chosen positions per sequence.
      question: words of an `Mqan`'s question.
    """
    if isinstance(model, mqan.Mqan):
        return 6 * mqan.forward_products(model.config, model.options, length, question, predictions) / length
    config, reading = model.config, model.options.reading
    trunks = [config] if model.generator is None else [config, model.generator.trunk]
    features = heads.feature_size(config, *reading)
    pooled = features if config.pooler == "plain" else config.hidden_size
    pooler = 0 if config.pooler in ("none", "plain") else features * config.hidden_size / length
    sizes = heads.Sizes(length, predictions / length, features, pooled)
    tops = pooler + heads.lstm_weights(config, *reading)
    tops += sum(heads.HEADS[name].build(model).weights(sizes) for name in model.heads)
    return sum(map(_trunk, trunks, [length] * len(trunks))) + 6 * tops


def _trunk(config, length):
    hidden, width = config.hidden_size, config.heads * config.head_size
    if config.lstm:  # four gates from the input and the last state, and the projection
        return 6 * (4 * config.lstm * (hidden + config.lstm) + config.lstm * hidden)
    layer = 4 * hidden * width + 2 * hidden * config.ffn_size
    projection = config.embedding_size * hidden if config.embedding_size != hidden else 0
    local = config.layers // 2 if config.local_window else 0  # every second layer, from the second on
    attended = (config.layers - local) * length + local * min(config.local_window, length)
    return 6 * (config.layers * layer + projection) + 12 * width * attended


def of_run(config, model, parameters, phases, predictions):
    """FLOPs of a whole run by three conventions, and of reading one sequence of the longest phase by two.

    Args:
      config: a run's.
      model: its `Model`.
      parameters: how many it has.
      phases: `plan.plan_phases(config)`.
      predictions: for each phase, the chosen positions per sequence.

    Returns:
      `training`: `palm`, see `flops_per_token`; `electra`, see `electra_forward`, of which training is twice as much,
      one for each direction; `6nd`, 6 * parameters * tokens (GPT-3, Table D.1). `inference`: `palm`, a third of
      training a token; `electra`, the trunk with a classifier of two dense layers (its Table 1). An `Mqan` has no `electra`.
    """
    if isinstance(model, mqan.Mqan):
        return _of_mqan(model, parameters, phases, predictions)
    training = {"palm": 0, "electra": 0, "6nd": 0}
    for phase, chosen in zip(phases, predictions, strict=True):
        sequences = (phase.last - phase.first) * phase.batch_size
        training["palm"] += sequences * phase.length * flops_per_token(model, phase.length, chosen)
        training["6nd"] += sequences * phase.length * 6 * parameters
        forward = electra_forward(model.config, phase.length, _top(model))
        if model.generator is not None:
            forward += electra_forward(model.generator.trunk, phase.length, "mlm")
        training["electra"] += sequences * 2 * forward
    longest = max(phase.length for phase in phases)
    return {
        "training": training,
        "inference": {
            "palm": longest * flops_per_token(model.clone(generator=None, heads=()), longest, 0) / 3,
            "electra": electra_forward(model.config, longest, "class"),
        },
    }


def _of_mqan(model, parameters, phases, predictions):
    training = {"palm": 0, "6nd": 0}
    for phase, chosen in zip(phases, predictions, strict=True):
        tokens = (phase.last - phase.first) * phase.batch_size * phase.length
        training["palm"] += tokens * flops_per_token(model, phase.length, chosen)
        training["6nd"] += tokens * 6 * parameters
    longest, chosen = max((phase.length, chosen) for phase, chosen in zip(phases, predictions, strict=True))
    return {"training": training, "inference": {"palm": longest * flops_per_token(model, longest, chosen) / 3}}


def _top(model):
    if "clm" in model.heads:
        return "clm"
    return "mlm" if "mlm" in model.heads and model.generator is None else "class"


def electra_forward(config, length, top):
    """FLOPs of a forward pass over one sequence as google-research/electra counts them (flops_computation.py).

    A multiplication and an addition are two; looking up an embedding is a product with the whole table; norms,
    softmaxes, GELU and dropout count by element.

    Args:
      config: a `TransformerConfig`.
      length: tokens of the sequence.
      top: 'mlm', a softmax over the vocabulary at 15.625 % of the positions (80 of 512); 'clm', at all of them;
        'class', a dense layer and one logit at each position (replaced tokens; its classifier, too).
    """
    dropout, norm, gelu, softmax = 4, 5, 8, 5  # per element
    h, e, s, v, inner = config.hidden_size, config.embedding_size, length, config.vocab_size, config.ffn_size
    width = config.heads * config.head_size
    block = 3 * (2 * h + 1) * width + 2 * width * s + (softmax + dropout + 1) * s * config.heads + 2 * h * s
    block += (2 * h + 1 + dropout + 1) * h + norm  # the code counts this norm once, not by element
    block += (2 * h + gelu + 1) * inner + (2 * inner + 1 + dropout + 1 + norm) * h
    inputs = 2 * e * v + 2 * e * (s + 2) + (2 + norm + dropout) * e + ((2 * e + 1) * h if e != h else 0)
    if top == "class":
        out = (2 * h + 1 + gelu) * h + 2 * h
    else:
        share = 1.0 if top == "clm" else 0.15625
        out = share * (2 * e * v + (2 * h + 1 + gelu + norm) * e + (softmax + 2) * v)
    return s * (config.layers * block + inputs + out)


def peak_flops(kind, dtype):
    """Peak FLOP/s of one device, or None if unknown.

    Args:
      kind: JAX's name for the device, `jax.Device.device_kind`.
      dtype: of the computation, 'float32' or 'bfloat16'.
    """
    return devices.peak(devices.by_kind(kind), dtype)
