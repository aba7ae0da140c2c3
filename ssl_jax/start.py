"""Starts a run from the parameters of another: its trunk whole or some of its layers, and the heads it has too."""

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.errors import UserError
from ssl_jax.optimizers import path_name

TRUNK = ("embeddings", "encoder")
# ELECTRA's generator: its trunk, and the heads that are as wide as it is.
GENERATOR = ("generator_embeddings", "generator_encoder", "mlm", "baseline")


def start_from(params, model, run, layers):
    """Puts a run's parameters in the place of initial ones.

    With stacked layers a choice of them is an index: DistilBERT's start is layers 0, 2, 4, 7, 9, 11 of its teacher
    (extract_distilbert.py); embeddings and heads come whole.

    Args:
      params: the initial parameters.
      model: the `Model` that they are of.
      run: a `runs.Run`.
      layers: which of its layers, from 0; (): all.

    Returns:
      The parameters, and one line that says what was taken, what starts anew and what was left out.

    Raises:
      UserError: a part of the trunk is not there or of another shape, or the layers do not fit.
    """
    theirs = dict(run.params)
    if run.model.generator is not None:
        theirs = {part: tree for part, tree in theirs.items() if part not in GENERATOR}
    theirs["encoder"] = theirs["encoder"] | {"layers": choose_layers(model.config, run, layers)}
    given = dict(_named(theirs))
    anew = sorted(part for part in params if part not in theirs)

    def take(path, x):
        name = path_name(path)
        if name.split("/")[0] in anew:
            return x
        if name not in given:
            raise UserError(f"init_from: {run.workdir} has no {name}")
        y = given.pop(name)
        if x.shape != y.shape:
            raise UserError(f"init_from: {name} is {y.shape} in {run.workdir}, and {x.shape} here")
        return y

    started = jax.tree_util.tree_map_with_path(take, params)
    chosen = f"encoder (layers {', '.join(map(str, layers))})" if layers else "encoder"
    taken = [chosen if part == "encoder" else part for part in sorted(set(params) - set(anew))]
    line = f"starts from {run.workdir}: {', '.join(taken)}"
    line += f"; anew: {', '.join(anew)}" if anew else ""
    return started, line + (f"; left out: {', '.join(_whole(given, theirs))}" if given else "")


def choose_layers(config, run, layers):
    """The parameters of a run's layers as a trunk of `config` has them: of `layers`, one set for each."""
    source, tree = run.model.config, run.params["encoder"]["layers"]
    if not layers:
        if source.layers != config.layers:
            raise UserError(
                f"init_from: {run.workdir} has {source.layers} layers and model.layers={config.layers}; "
                "say which of them with init_layers"
            )
        layers = range(source.layers)
    elif config.share != "none":
        raise UserError(f"init_layers={tuple(layers)} choose a set for each layer, which needs model.share=none")
    if len(layers) != config.layers or not all(0 <= layer < source.layers for layer in layers):
        raise UserError(
            f"init_layers={tuple(layers)}: model.layers={config.layers} needs as many, from 0 to {source.layers - 1}"
        )
    made = {}
    for part, branch in tree.items():
        # Shared parameters: the set of the layer's group.
        sets = source.sets(part)
        if sets == config.sets(part) and sets < source.layers:
            made[part] = branch
            continue
        at = np.array([layer * sets // source.layers for layer in layers])
        made[part] = jax.tree.map(lambda p: jnp.asarray(p)[at], branch)  # noqa: B023
    return made


def _named(tree):
    return [(path_name(path), x) for path, x in jax.tree_util.tree_leaves_with_path(tree)]


def _whole(names, tree):
    """Parts of which every tensor is in `names`, by the part's name alone; the others by their own."""
    made = []
    for part, branch in tree.items():
        own = [f"{part}/{name}" if name else part for name, _ in _named(branch)]
        made += [part] if all(name in names for name in own) else [name for name in own if name in names]
    return made
