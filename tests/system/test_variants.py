"""Every size and every way of sharing has the parameters that the papers' shapes make, part by part."""

import csv
import functools
import importlib
import math
import operator
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from ssl_jax.models.model import build_model
from tests.system.test_configs import ADDED

# Exact counts derived from the papers' shapes, without this code.
FIGURES = list(csv.DictReader((Path(__file__).parents[1] / "figures/variants.csv").open()))


@functools.cache
def parameter_shapes(paper, variant, overrides):
    config = importlib.import_module(f"configs.{paper}").get_config(variant)
    for override in overrides.split():
        name, value = override.split("=")
        config.model[name] = type(config.model[name])(value)
    row = jax.ShapeDtypeStruct((1, 8), jnp.int32)
    batch = dict(tokens=row, segments=row, mask=row, positions=row)
    return jax.eval_shape(build_model(config).init, jax.random.key(0), batch)["params"]


def count(shapes, part):
    """Parameters of a sum of parts: 'embeddings.token + encoder', or 'all'."""
    names = list(shapes) if part == "all" else part.split(" + ")
    trees = [functools.reduce(operator.getitem, name.split("."), shapes) for name in names]
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(trees))


@pytest.mark.parametrize("row", FIGURES, ids=lambda row: " ".join(filter(None, list(row.values())[:4])))
def test_parameters_equal_the_papers_shapes(row):
    shapes = parameter_shapes(row["paper"], row["config"], row["overrides"])
    assert count(shapes, row["part"]) == int(row["parameters"])


@pytest.mark.parametrize("paper", ["gpt1", "gpt2", "gpt3", "albert", "electra", "distilbert", "tinybert"])
def test_every_size_has_its_figure(paper):
    sizes = {row["config"] for row in FIGURES if row["paper"] == paper and not row["overrides"]}
    assert sizes >= set(importlib.import_module(f"configs.{paper}").SIZES) - {"demo", "few"} - set(ADDED[paper])


@pytest.mark.parametrize("size, heads", [("small", 1), ("base", 4), ("large", 4)])
def test_electras_generators_have_heads_of_64(size, heads):
    shapes = parameter_shapes("electra", size, "")
    kernel = shapes["generator_encoder"]["layers"]["attention"]["query"]["kernel"]
    assert kernel.shape[-2:] == (heads, 64)
