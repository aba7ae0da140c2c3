"""Configs of old runs, whose config.json and checkpoints have fewer keys than a config has today.

A new key of `configs/common.py` gets a row in ADDED, with what runs did before there was one.
"""

import copy

# key -> what runs without it did; as JSON has it: a list, no tuple.
ADDED = {
    "variant": "",
    "run.checkpoint_minutes": 0.0,
    "run.extend": False,
    "seeds": 1,
    "seeds_together": True,
    "heads": [],
    "generator.heads": 0,
    "generator.ffn_size": 0,
    "corruption.smoothing": 0.0,
    "losses.classify": 0.0,
    "losses.regress": 0.0,
    "losses.choose": 0.0,
    "losses.span": 0.0,
    "losses.joint_span": 0.0,
    "losses.answerable": 0.0,
    "losses.classify_tokens": 0.0,
    "losses.soft_targets": 0.0,
    "losses.soft_predictions": 0.0,
    "losses.cosine": 0.0,
    "losses.embedding": 0.0,
    "losses.hidden": 0.0,
    "losses.attention": 0.0,
    "losses.soft_labels": 0.0,
    "losses.soft_span": 0.0,
    "teacher.runs": [],
    "teacher.layer_map": "uniform",
    "teacher.projection": "two",
    "teacher.hidden_size": 0,
    "teacher.temperature": 1.0,
    "teacher.cache": "",
    "init_from": "",
    "init_layers": [],
    "init_drop": [],
    "init_anew": [],
    "init_rename": [],
    "init_grow": [],
    "init_optimizer": False,
    "data.tokenizer.add": [],
    "task.name": "topics",
    "data.max_examples": 0,
    "task.fields": [],
    "task.folder": "",
    "task.augmented": "",
    "task.epochs": 0.0,
    "task.classes": 0,
    "task.labels": [],
    "task.inputs": "bert",
    "task.orders": 1,
    "task.scale": 1.0,
    "task.stride": 128,
    "task.max_question": 64,
    "task.n_best": 20,
    "task.max_answer": 30,
    "task.activation": "none",
    "task.bias": True,
    "task.statistic": "median",
    "task.dropout": -1.0,
    "task.share_dropout": False,
    "task.features": "",
    "task.lstm": 0,
    "task.lstm_size": 768,
    "optimizer.clip_by": "global",
    "optimizer.layer_decay": 1.0,
    "optimizer.layer_decay_gap": 0,
    "optimizer.rates": [],
    "optimizer.frozen": "",
    "optimizer.unfreeze": 0.0,
}
# (key, an old value, what it is called today)
RENAMED = (("model.pooler", False, "none"), ("model.pooler", True, "tanh"))


def complete(saved, like=None):
    """An old config with the keys of ADDED that it lacks, and today's words for its values.

    Args:
      saved: nested dict, as JSON has it; it is left as it is.
      like: nested dict of today's keys, of which there may be fewer: only these are added. None: all are.
    """
    completed = copy.deepcopy(saved)
    for name, value in ADDED.items():
        *blocks, key = name.split(".")
        if like is None or key in _block(like, blocks):
            _block(completed, blocks, create=True).setdefault(key, copy.copy(value))
    for name, old, new in RENAMED:
        *blocks, key = name.split(".")
        block = _block(completed, blocks)
        if block.get(key) is old:
            block[key] = new
    return completed


def _block(values, names, create=False):
    """The dict under these keys; {} where there is none, or something else, as in a damaged file."""
    for name in names:
        values = values.setdefault(name, {}) if create else values.get(name, {})
        if not isinstance(values, dict):
            return {}
    return values
