"""ELECTRA's two-stage training (section 3.2, Figure 3 right), an alternative to training both trunks jointly.

First only the generator is trained, as a masked language model. Then the discriminator starts from the
generator's weights and is trained to detect its samples, while the generator is frozen.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ssl_jax.plan import check_stages

GENERATOR = ("generator_embeddings", "generator_encoder", "mlm")
GENERATOR_LOSSES = ("mlm",)


class Stage(NamedTuple):
    """What a step does differently: `begin(params)`, `weight(loss)`, `trained(updates)`."""

    begin: Callable[[Any], Any]
    weight: Callable[[str], Any]
    trained: Callable[[Any], Any]


def build(config):
    """Returns `stages(step) -> Stage`; without `generator.first_stage`, everything is trained jointly.

    Raises:
      UserError: see `plan.check_stages`.
    """
    first = check_stages(config)
    if not first:
        return lambda step: Stage(lambda params: params, config.losses.get, lambda updates: updates)

    def stages(step):
        second = step >= first

        def begin(params):
            def start(name):
                return jax.tree.map(
                    lambda old, new: jnp.where(step == first, new, old), params[name], params[f"generator_{name}"]
                )

            return params | {name: start(name) for name in ("embeddings", "encoder")}

        def weight(loss):
            return config.losses[loss] * jnp.where(second, loss not in GENERATOR_LOSSES, loss in GENERATOR_LOSSES)

        def trained(updates):
            return {
                name: jax.tree.map(lambda u: jnp.where(second == (name not in GENERATOR), u, 0), tree)  # noqa: B023
                for name, tree in updates.items()
            }

        return Stage(begin, weight, trained)

    return stages
