"""A config in numbers, from shapes alone: nothing is allocated, whatever the size."""

import functools
import json

import jax

from ssl_jax import flops, tasks
from ssl_jax.checks import settle
from ssl_jax.models.model import build_model
from ssl_jax.plan import plan_phases, predictions_per_sequence
from ssl_jax.step import initial_params


@functools.lru_cache(maxsize=64)  # the rows of a sweep have few shapes
def parameter_shapes(model):
    """The parameter tree of a `Model` as `jax.ShapeDtypeStruct`s."""
    return jax.eval_shape(lambda: initial_params(model, seed=0))


def describe(config):
    """A JSON-able dict.

    Returns:
      `config`, with what its task tells (`tasks.resolve`); `parts`, parameters by part of the model; `parameters`
      in all; `phases`, for each sequence length its steps, `tokens_per_step`, `predictions` per sequence and
      training `flops_per_token`; `tokens` in all; `flops`, see `flops.of_run`.
    """
    config = tasks.resolve(settle(config))
    model = build_model(config)
    shapes = parameter_shapes(model)
    parts = {}
    for part, tree in shapes.items():
        # The trunk is nearly all of a model: its own parts are worth a line each.
        whole = part in ("encoder", "generator_encoder")
        inner = {f"{part}.{name}": branch for name, branch in tree.items()} if whole else {part: tree}
        parts |= {name: flops.count_parameters(branch) for name, branch in inner.items()}
    planned = plan_phases(config)
    phases = []
    for phase in planned:
        predictions = predictions_per_sequence(config, phase.length)
        phases.append(
            {
                **phase._asdict(),
                "tokens_per_step": phase.batch_size * phase.length,
                "predictions": predictions,
                "flops_per_token": flops.flops_per_token(model, phase.length, predictions),
            }
        )
    parameters = flops.count_parameters(shapes)
    predictions = [phase["predictions"] for phase in phases]
    return {
        "config": json.loads(config.to_json()),
        "parts": parts,
        "parameters": parameters,
        "phases": phases,
        "tokens": sum((phase["last"] - phase["first"]) * phase["tokens_per_step"] for phase in phases),
        "flops": flops.of_run(config, model, parameters, planned, predictions),
    }
