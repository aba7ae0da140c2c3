"""Every paper's recipe, shrunk, through the real entry point; and every objective from every corpus of examples."""

import json

import jax
import numpy as np
import pytest

from configs import albert, bert, electra, gpt1, gpt2, gpt3
from ssl_jax.errors import UserError
from ssl_jax.train import train

PAPERS = {"bert": bert, "gpt1": gpt1, "gpt2": gpt2, "gpt3": gpt3, "albert": albert, "electra": electra}


def different_smokes():
    """(paper, variant) of the sizes whose smoke configs differ in more than the names of their sizes."""
    seen, chosen = set(), []
    for paper, module in PAPERS.items():
        for size in module.SIZES:
            config = module.get_config(f"{size},smoke")
            if config.to_json() not in seen and size != "demo":
                seen.add(config.to_json())
                chosen.append((paper, size))
    return chosen


@pytest.mark.parametrize("mode", ["pmap", "mesh"])
@pytest.mark.parametrize("paper, size", different_smokes())
def test_every_smoke_trains_in_both_modes(paper, size, mode, smoke_config, tmp_path):
    sizes = dict(fsdp=2, tensor=2) if mode == "mesh" else {}
    changes = [("parallel.mode", mode), *((f"parallel.{name}", n) for name, n in sizes.items())]
    config = smoke_config(("steps", 4), ("evaluate_every", 4), ("log_every", 2), *changes, paper=paper, variant=f"{size},smoke")
    result = train(config, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 4]
    for name, weight in config.losses.items():
        assert (f"{name}_loss" in result) == bool(weight)
    assert result["loss"] == pytest.approx(sum(w * result[f"{n}_loss"] for n, w in config.losses.items() if w))
    assert result["loss"] < 1.5 * sum(config.losses.values()) * np.log(512)
