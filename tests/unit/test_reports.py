"""The report of a sweep: its numbers against arithmetic by hand, from folders as workers leave them."""

import csv
import dataclasses
import json
import math

import numpy as np
import pytest

from ssl_jax import files
from ssl_jax.reports import measure, study, text
from ssl_jax.sweeps.tables import Claim, Column

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def write_sweep(folder, results, columns, claims=(), stages=("pretrain", "mnli"), reference="", published=None, **more):
    """The folder of a sweep as scripts/sweep.py and its workers leave it.

    Args:
      folder: Path.
      results: (row, stage, seed) -> result.json, or the `state` of a run without one; of a seed that is a tuple, several
        seeds share the run.
      published: row -> column -> printed text.
      more: of sweep.json's runs and files by (row, stage, seed): `status`, `data`, `curves`.
    """
    rows = list(dict.fromkeys(row for row, _, _ in results))
    names = {key: f"{key[1]}_{key[0]}_seed={key[2]}".replace(" ", "").replace("/", "-") for key in results}
    runs = {}
    for (row, stage, seed), result in results.items():
        seeds = list(seed) if isinstance(seed, tuple) else [seed]
        before = stages[: stages.index(stage)]
        needs = [
            name for key, name in names.items()
            if key[0] == row and key[1] in before[-1:] and set(seeds) & set(key[2] if isinstance(key[2], tuple) else (key[2],))
        ]  # fmt: skip
        name = names[row, stage, seed]
        size = 4_000_000 * (1 + rows.index(row))
        runs[name] = {
            "stage": stage, "kind": "train", "rows": [row], "seeds": seeds, "needs": needs, "parameters": size,
            "flops": 6.0 * size * 1e7, "tokens": 10_000_000, "steps": 1000,
        }  # fmt: skip
        place = folder / "runs" / name
        place.mkdir(parents=True)
        done = isinstance(result, dict)
        status = {"state": "done" if done else result, "attempts": 1, "seconds": 61.5, "commit": COMMIT}
        files.write_json(place / "status.json", status | more.get("status", {}).get((row, stage, seed), {}))
        about = {"python": "3.11.2", "versions": {"jax": "0.9.2"}, "devices": ["cpu"], "commit": COMMIT}
        files.write_json(place / "config.json", {"config": {}, **about})
        if done:
            files.write_json(place / "result.json", {"step": 1000, **result})
        for split, values in more.get("curves", {}).get((row, stage, seed), {}).items():
            with open(place / "metrics.jsonl", "a") as lines:
                lines.writelines(json.dumps({"step": step, "split": split, **own}) + "\n" for step, own in values)
        if data := more.get("data", {}).get((row, stage)):
            checkpoint = place / "checkpoints" / "1000" / "config"
            checkpoint.mkdir(parents=True)
            files.write_json(checkpoint / "metadata", files.sealed({"prepared": data, "data": {"heldout": 0.01}}))
    cell = lambda text: {"text": text, "value": float(text.split("/")[0].replace(",", "")), "status": "read"}
    files.write_json(folder / "sweep.json", {
        "title": more.get("title", "A table"), "hypothesis": more.get("hypothesis", ""), "source": more.get("source", ""),
        "config": "configs/ablations/a.py:table", "reference": reference,
        "rows": [
            {"name": row, "changes": {"losses.sop": rows.index(row)},
             "published": {name: cell(printed) for name, printed in (published or {}).get(row, {}).items()}}
            for row in rows
        ],
        "columns": [dataclasses.asdict(column) for column in columns],
        "claims": [dataclasses.asdict(claim) for claim in claims],
        "seeds": sorted({seed for run in runs.values() for seed in run["seeds"]}), "stages": list(stages), "runs": runs,
    })  # fmt: skip
    return folder


def realistic(folder, seeds=5, failed=True):
    """A sweep to look at: ALBERT's Table 5 in small, three rows, two stages."""
    random = np.random.default_rng(0)
    truth = {"None": (52.3, 61.0, 46.2), "NSP": (53.1, 61.9, 46.6), "SOP": (84.4, 64.1, 48.0)}
    results, curves = {}, {}
    for row, (sop, mnli, squad) in truth.items():
        for seed in range(seeds):
            noise = random.normal(0, 1, 4)
            results[row, "pretrain", seed] = {
                "loss": 6.1 + 0.03 * noise[0], "mlm_accuracy": 0.21 + 0.002 * noise[0], "sop/sop_accuracy": (sop + noise[1]) / 100,
            }  # fmt: skip
            results[row, "mnli", seed] = {
                "loss": 0.91, "accuracy": (mnli + 0.6 * noise[2]) / 100, "f1": (squad + 1.5 * noise[3]) / 100, "chance": 0.35
            }  # fmt: skip
            for stage, high, low, last in (("pretrain", 10.3, 6.1, sop / 100), ("mnli", 1.1, 0.91, mnli / 100)):
                steps = range(20, 1001, 20)
                loss = lambda step: low + (high - low) * math.exp(-step / 150) + random.normal(0, 0.02)
                score = lambda step: last * (1 - math.exp(-step / 200)) + random.normal(0, 0.004)
                train = [(step, {"loss": loss(step), "gradient_norm": 1.0}) for step in steps]
                heldout = [
                    (step, {"loss": loss(step), "mlm_accuracy" if stage == "pretrain" else "accuracy": score(step)})
                    for step in steps
                ]
                curves[row, stage, seed] = {"train": train, "heldout": heldout}
    status = {}
    if failed:
        results["NSP", "pretrain", 4] = results["NSP", "mnli", 4] = "failed"
        status["NSP", "pretrain", 4] = {
            "reason": "diverged: the loss or a gradient is not finite at step 420",
            "attempts": 2,
        }
        results["SOP", "mnli", 3] = "preempted"
        status["None", "mnli", 2] = {"excluded": "the node's clock was wrong", "commit": "feedbeef" * 5}
    columns = (
        Column("SOP accuracy", "pretrain", "sop/sop_accuracy", scale=100),
        Column("MNLI", "mnli", "accuracy", scale=100),
        Column("SQuAD 2.0 F1", "mnli", "f1", scale=100, statistic="median"),
        Column("Avg", average_of=("MNLI", "SQuAD 2.0 F1")),
    )
    claims = (
        Claim("SOP", "None", "SOP accuracy", 1, text="Sentence order is learned only when it is trained"),
        Claim("SOP", "None", "MNLI", 1, text="Sentence order helps natural language inference"),
        Claim("NSP", "None", "MNLI", 0, band=1.0, text="Next-sentence prediction does not help"),
        Claim("SOP", "NSP", "Avg", 1),
        Claim("NSP", "SOP", "SQuAD 2.0 F1", 1, text="A claim that is wrong"),
    )
    published = {
        "None": {"SOP accuracy": "53.3", "MNLI": "81.5", "SQuAD 2.0 F1": "78.1/75.3", "Avg": "79.0"},
        "NSP": {"SOP accuracy": "52.0", "MNLI": "81.6", "SQuAD 2.0 F1": "77.2/74.6", "Avg": "79.2"},
        "SOP": {"SOP accuracy": "86.5", "MNLI": "82.0", "SQuAD 2.0 F1": "80.0/77.1", "Avg": "80.1"},
    }
    return write_sweep(
        folder, results, columns, claims, reference="None", published=published, status=status, curves=curves,
        title="ALBERT, Table 5: sentence order",
        source="Lan et al. 2019, arXiv:1909.11942v6, Table 5",
        hypothesis="Without a loss on the order of sentences, and with BERT's next-sentence prediction, a model cannot tell "
        "their order; with it, it can, and tasks on pairs of sentences improve by about a point. The corpus is 1/1000 of "
        "the paper's, so that scores are lower and differences should have the same sign.",
    )  # fmt: skip
