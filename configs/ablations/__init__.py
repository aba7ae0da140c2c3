"""The papers' ablation tables as sweeps: which runs each row takes, what is measured, and what was published.

    .venv/bin/python scripts/sweep.py --config configs/ablations/albert.py:table5,mini --workdir runs/albert-5

A variant is TABLE[,SCALE]. At the scale `paper` a table is the paper's own, with its data in place of the demo's:

    paper    the paper's sizes, steps, batches and tasks
    small    one GPU, about an hour: miniatures, batches of 256 x 128 tokens
    mini     two CPU cores, at most an hour with all seeds: the demos' sizes (configs/demos.py) on the demo corpus
    smoke    everything in a minute or two, to see that it runs: 20 steps a stage, 2 seeds

Only `paper` has the papers' tasks; at the other scales every model is fine-tuned on `topics`, which needs no files, and
what pre-training measures on held-out text is a column, too. A row has the paper's name at every scale; widths and depths
become smaller in proportion.

published.csv has the published numbers: `status` says how sure each is: 'read' in the paper or in released files, 'derived'
from other numbers, 'one-transcription' where a second copy was looked for and had none, 'memory' where the source could not be
read again.
"""

import csv
import functools
import importlib
import re
from pathlib import Path

from ml_collections import ConfigDict

from configs import fewshot, finetune
from ssl_jax.errors import check_choice
from ssl_jax.sweeps.tables import Column, Stage

SCALES = ("paper", "small", "mini", "smoke")
UNITS = {"": 1.0, "K": 1e3, "k": 1e3, "M": 1e6, "B": 1e9}
# Of pre-training on one GPU: what the miniatures' configs have from their papers is for larger batches or longer runs.
SMALL = {
    "batch_size": 256,
    "phases.lengths": (128,),
    "phases.shares": (1.0,),
    "model.max_positions": 128,
    "model.dtype": "bfloat16",
    "optimizer.warmup": 0.05,
}
# Of fine-tuning there: Turc et al. 2019 (arXiv 1908.08962, section 4) choose among 5e-5 to 3e-4 for these sizes.
SMALL_TUNED = {"model.dtype": "bfloat16", "optimizer.learning_rate": 1e-4}


def choose(variant, tables):
    """The Table of 'TABLE[,SCALE]': `tables` is {name: function of the scale}.

    Raises:
      UserError: unknown table or scale, with the closest match.
    """
    name, _, scale = variant.partition(",")
    scale = scale or "paper"
    check_choice(name, tables, "table")
    check_choice(scale, SCALES, "scale")
    return tables[name](scale)


def blocks(table):
    """The configs of a table's stages, a block for each, whose keys flags set: --config.pretrain.steps=100."""
    return ConfigDict({name: stage.config for name, stage in table.stages.items()})


@functools.cache
def _lines():
    with Path(__file__).with_name("published.csv").open(encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))


def published(table):
    """The numbers of a table in published.csv: {row: {column: {'text': as printed, 'value': float, 'status': str}}}.

    `value` is the first number of the text, '88.6/81.5' or '110M'; a text without one has none.
    """
    found = {}
    for line in _lines():
        if line["table"] == table:
            text = line["value"]
            number = re.match(r"(-?\d+(?:\.\d+)?(?:e-?\d+)?)([KkMB]?)(?![\d.])", text)
            value = {"value": float(number[1]) * UNITS[number[2]]} if number else {}
            found.setdefault(line["row"], {})[line["column"]] = {"text": text, **value, "status": line["status"]}
    check_choice(table, {line["table"] for line in _lines()}, "table of published.csv")
    return found


def source(table):
    """Where a table of published.csv is from."""
    return next(line["source"] for line in _lines() if line["table"] == table)


def model(paper, size, scale, small="small", mini="demo", suffixes="", at=None):
    """The config of configs/PAPER.py for a scale.

    Args:
      paper: its module's name.
      size: the paper's own; `small` and `mini` are the sizes for those scales.
      scale: of SCALES.
      suffixes: of the variant, ',intermediate,mnli'.
      at: {scale: {key: value}} of what else differs from the paper there.
    """
    variant = {"paper": size, "small": small, "mini": mini, "smoke": size}[scale] + suffixes
    config = importlib.import_module(f"configs.{paper}").get_config(variant + ",smoke" * (scale == "smoke"))
    shared = {}
    if scale == "small":
        shared = SMALL_TUNED if config.data.examples == "task" else SMALL
    elif scale == "smoke":
        shared = {"task.epochs": 0.0}  # by steps
    config.update_from_flattened_dict(shared | (at or {}).get(scale, {}))
    return config


def tuned(paper, size, scale, tasks, small="small", mini="demo", suffixes="", source="@pretrain", at=None):
    """{task: Stage} of fine-tuning with the paper's recipe (configs/finetune.py); args as `model`'s, and

    Args:
      tasks: the paper's, of TASKS; at the other scales `topics` takes their place.
      suffixes: of the variant, ',bilstm'.
      source: the run to start from.
    """
    stages = {}
    for task in tasks if scale == "paper" else ("topics",):
        variant = {"paper": size, "small": small, "mini": mini, "smoke": size}[scale]
        config = finetune.get_config(f"{paper}-{variant},{task}{suffixes}" + ",smoke" * (scale == "smoke"))
        config.update_from_flattened_dict((SMALL_TUNED if scale == "small" else {}) | (at or {}).get(scale, {}))
        config.init.run = source
        stages[task] = Stage(config)
    return stages


def asked(scale, suite, runs="@pretrain", at=None):
    """The Stage of a zero- or few-shot evaluation (configs/fewshot.py): `suite` at the paper's scale, else the demo's."""
    config = fewshot.get_config(suite if scale == "paper" else "demo")
    config.runs = (runs,)
    if scale == "smoke":
        config.update(dict(shots=(0, 1), seeds=1, limit=4, overlap=False))
    config.update((at or {}).get(scale, {}))
    return Stage(config, kind="evaluate")


# ---- Columns


def percent(name, stage, metric="accuracy", **more):
    """A Column of a share that is printed in percent."""
    return Column(name, stage, metric, scale=100.0, **more)


def mean_of(name, parts, **more):
    """A Column that is the mean of others."""
    return Column(name, average_of=tuple(parts), **more)


def masked(stage="pretrain", loss="mlm"):
    """Columns of what pre-training measures on held-out text."""
    return (
        percent(f"{loss} accuracy", stage, f"{loss}_accuracy"),
        Column(f"{loss} loss", stage, f"{loss}_loss", higher=False),
    )


TOPICS = percent("topics", "topics")
