"""The report of a sweep: its numbers against arithmetic by hand, from folders as workers leave them."""

import csv
import dataclasses
import json
import math

import numpy as np
import pytest

from ssl_jax import files
from ssl_jax.errors import UserError
from ssl_jax.reports import curves, measure, study, text
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
    cell = lambda printed: {"text": printed, "value": float(printed.split("/")[0]), "status": "read"}
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


def report(folder, allow_unequal=False):
    """The `Measured` of a sweep's folder, and table.csv, claims.csv and seeds.csv as lists of dicts."""
    measured = measure.measure(study.read([folder]), allow_unequal)
    text.write(measured, folder / "report")
    read = lambda name: list(csv.DictReader((folder / "report" / name).read_text().splitlines()))
    return measured, *map(read, ("table.csv", "claims.csv", "seeds.csv"))


def results_of(values, stage="run", metric="accuracy"):
    """`write_sweep`'s results of {row: a number for each seed, or a state}."""
    return {
        (row, stage, seed): {metric: value} if isinstance(value, float) else value
        for row, own in values.items()
        for seed, value in enumerate(own)
    }


ACCURACY = Column("acc", "run", "accuracy", scale=100)
A, B = (0.5, 0.6, 0.7), (0.6, 0.8, 0.85)  # of seeds 0 to 2; B - A is 10, 20 and 15 points
T2 = 4.302653  # Student's t at two degrees of freedom, 97.5 %


def test_a_table_is_arithmetic(tmp_path):
    columns = (ACCURACY, dataclasses.replace(ACCURACY, name="best", statistic="best", part=1))
    published = {"A": {"acc": "81.5", "best": "80/70.25"}, "B": {"acc": "84.0", "best": "81/71.5"}}
    write_sweep(tmp_path, results_of({"A": A, "B": B}), columns, stages=("run",), reference="A", published=published)
    measured, table, _, seeds = report(tmp_path)
    a, a_best, b, b_best = [{key: number(value) for key, value in row.items()} for row in table]
    assert (a["row"], a["column"], a["n"], a["seeds"], b["runs"]) == (
        "A",
        "acc",
        3,
        3,
        "run_B_seed=0 run_B_seed=1 run_B_seed=2",
    )
    assert a["mean"] == pytest.approx(60) and b["mean"] == pytest.approx(75)
    half = T2 * 10 / math.sqrt(3)
    assert (a["low"], a["high"]) == pytest.approx((60 - half, 60 + half), rel=1e-6)
    assert a["difference"] == "" and b["reference"] == "A" and b["pairs"] == 3
    half = T2 * 5 / math.sqrt(3)
    assert b["difference"] == pytest.approx(15)
    assert (b["difference_low"], b["difference_high"]) == pytest.approx((15 - half, 15 + half), rel=1e-6)
    t = 15 / (5 / math.sqrt(3))
    assert b["difference_p"] == pytest.approx(
        1 - t / math.sqrt(t * t + 2)
    )  # the t distribution of two degrees of freedom
    assert (a["published_value"], b["published_difference"]) == (81.5, 2.5)
    assert (a_best["published_value"], b_best["published_difference"]) == (70.25, 1.25)
    assert (b_best["statistic"], b_best["statistic_value"]) == ("best", pytest.approx(85))
    assert measured.digits == {"acc": 2, "best": 3}  # one more than printed
    assert [(row["row"], row["seed"], float(row["value"]), row["run"], row["state"]) for row in seeds][3:5] == [
        ("A", "0", 50.0, "run_A_seed=0", "done"), ("A", "1", 60.0, "run_A_seed=1", "done"),
    ]  # fmt: skip
    assert (a["parameters"], a["flops"], a["tokens"]) == (4e6, 2.4e14, 1e7)


@pytest.mark.parametrize(
    "printed, part, scale, found, digits",
    [
        ("88.6/81.55", 1, 100, 81.55, 3),
        ("82.8 (test) / 82.3 dev", 1, 100, 82.3, 2),
        ("84.25", 1, 100, None, 2),
        ("110M", 0, 1, 110e6, 0),  # of parameters
        ("greedy", 0, 100, None, 2),
    ],
)
def test_a_published_cell_is_shown_as_printed_and_read_as_a_number(tmp_path, printed, part, scale, found, digits):
    column = Column("x", "run", "parameters" if scale == 1 else "accuracy", scale=scale, part=part)
    write_sweep(tmp_path, results_of({"A": A}), (column,), stages=("run",), published={"A": {"x": "1"}})
    content = files.read_json(tmp_path / "sweep.json")
    value = {} if printed == "greedy" else {"value": 110e6 if printed == "110M" else 88.6}  # the first number
    content["rows"][0]["published"]["x"] = {"text": printed, "status": "derived", **value}
    files.write_json(tmp_path / "sweep.json", content)
    measured, (row,), *_ = report(tmp_path)
    assert row["published"] == printed and row["published_value"] == ("" if found is None else str(found))
    assert measured.digits == {"x": digits}
    assert any(f"{printed} (derived)" in line for line in text.terminal(measured))


def number(value):
    try:
        return float(value)
    except ValueError:
        return value


def test_all_claims_of_a_table_are_adjusted_together(tmp_path):
    p = 1 - math.sqrt(27 / 29)  # of a t of sqrt(27)
    above, below, same = (Claim("B", "A", "acc", 1), Claim("B", "A", "acc", -1), Claim("B", "A", "acc", 0, band=14.9))
    for claims, verdicts, adjusted in (
        ([above], ["holds"], [p]),
        ([below], ["contradicted"], [p]),
        ([above, below], ["not resolved"] * 2, [2 * p] * 2),
        ([same], ["not resolved"], None),
        ([dataclasses.replace(same, band=40.0)], ["holds"], None),
        ([dataclasses.replace(same, band=0.01)], ["contradicted"], None),
    ):
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        write_sweep(folder, results_of({"A": A, "B": B}), (ACCURACY,), claims, stages=("run",), reference="A")
        _, table, found, _ = report(folder)
        assert [row["verdict"] for row in found] == verdicts
        assert table[1]["verdict"] == "; ".join(verdicts)
        if adjusted:
            assert [float(row["p_adjusted"]) for row in found] == pytest.approx(adjusted)
            assert [float(row["p"]) for row in found] == pytest.approx([p] * len(claims))


def test_a_published_difference_needs_as_many_seeds_as_its_spread_says(tmp_path):
    published = {"A": {"acc": "80"}, "B": {"acc": "85"}}
    claims = (Claim("B", "A", "acc", 1), Claim("A", "B", "acc", -1))
    write_sweep(tmp_path, results_of({"A": A, "B": B}), (ACCURACY,), claims, stages=("run",), published=published)
    one, other = report(tmp_path)[2]
    # A difference of one sd: ten seeds (G*Power 3.1); at three seeds 3.26 sds are found.
    assert one["seeds_needed"] == other["seeds_needed"] == "10" and float(one["detectable"]) == pytest.approx(
        5 * 3.26, abs=0.05
    )
    assert (float(one["published_difference"]), float(other["published_difference"])) == (5, -5)


def test_one_seed_resolves_nothing(tmp_path):
    write_sweep(tmp_path, results_of({"A": A[:1], "B": B[:1]}), (ACCURACY,), [Claim("B", "A", "acc", 1)], ("run",), "A")
    measured, table, claims, _ = report(tmp_path)
    assert table[1]["n"] == table[1]["pairs"] == "1" and float(table[1]["difference"]) == pytest.approx(10)
    assert [table[1][key] for key in ("low", "high", "difference_low", "difference_p", "detectable")] == [""] * 5
    assert claims[0]["verdict"] == "not resolved" and claims[0]["seeds_needed"] == ""
    assert "one pair of seeds, which has no interval" in " ".join(" ".join(text.terminal(measured)).split())


def test_a_run_that_seeds_share_is_one_value(tmp_path):
    """A row with one run for all seeds: one value, and one difference, whatever the other row has."""
    results = {("A", "run", (0, 1, 2)): {"accuracy": 0.5}, **results_of({"B": B})}
    write_sweep(tmp_path, results, (ACCURACY,), [Claim("B", "A", "acc", 1)], ("run",), "A")
    _, (a, b), (claim,), seeds = report(tmp_path)
    assert (a["n"], a["seeds"], a["low"], b["n"]) == ("1", "3", "", "3")
    assert b["pairs"] == "1" and float(b["difference"]) == pytest.approx(25) and b["difference_low"] == ""
    assert claim["verdict"] == "not resolved"
    assert [(row["seed"], row["run"]) for row in seeds if row["row"] == "A"] == [
        (str(n), "run_A_seed=(0,1,2)") for n in range(3)
    ]


def test_fine_tunings_of_one_pre_training_are_several_values_and_the_reader_is_told(tmp_path):
    results = {("A", "pretrain", (0, 1, 2)): {"loss": 1.0}, **results_of({"A": A}, "mnli")}
    write_sweep(tmp_path, results, (Column("acc", "mnli", "accuracy"),))
    measured, (a,), *_ = report(tmp_path)
    assert a["n"] == "3" and a["low"]
    assert measured.notes == (
        "mnli: seeds of a row share their run of pretrain; intervals leave out what another one would change",
    )
    # Its training and that of what it starts from.
    assert float(a["flops"]) == 2 * 2.4e14 and float(a["parameters"]) == 4e6


def test_failed_excluded_and_missing_runs_are_counted_and_named(tmp_path):
    """They leave their pairs, and nothing else."""
    c = (0.1, float("nan"), 0.3)
    values = {"A": (*A, 0.9, 0.9), "B": (*B, "failed", 0.1), "C": (*c, "queued", "running")}
    status = {
        ("B", "run", 3): {"reason": "diverged at step 7"},
        ("B", "run", 4): {"excluded": "a broken node"},
        ("C", "run", 4): {"worker": "host:1"},  # that nobody holds the lease of
    }
    claims = [Claim("B", "A", "acc", 1), Claim("C", "B", "acc", -1)]
    write_sweep(tmp_path, results_of(values), (ACCURACY,), claims, ("run",), "A", status=status)
    measured, table, found, seeds = report(tmp_path)
    a, b, c = table
    assert (a["n"], b["n"], c["n"], b["seeds"]) == ("5", "3", "2", "5")
    assert b["pairs"] == "3" and float(b["difference"]) == pytest.approx(15)
    assert (
        b["lost"] == "seed 3: failed; seed 4: excluded"
        and c["lost"] == "seed 1: not finite; seed 3: queued; seed 4: lost"
    )
    assert [row["unpaired"] for row in found] == ["3 4", "1 3 4"]
    assert sum(row["value"] == "" for row in seeds) == 5
    lines = "\n".join(text.terminal(measured))
    assert text.states(measured.study) == "11 of 15 runs done, 1 failed, 1 excluded, 1 queued, 1 lost"
    assert "run_B_seed=3: failed: diverged at step 7" in lines and "run_B_seed=4: excluded: a broken node" in lines
    assert "so far" in lines and not measured.study.finished
    assert "3 of 5" in lines and "not paired: seed 3, 4" in " ".join(lines.split())
    assert "| run_B_seed=4 | excluded | a broken node |" in (tmp_path / "report/report.md").read_text()


def test_a_run_whose_lease_is_held_is_running(tmp_path):
    write_sweep(tmp_path, results_of({"A": (0.5, "running")}), (ACCURACY,), stages=("run",))
    (tmp_path / "runs/run_A_seed=1/lease").touch()
    assert text.states(study.read([tmp_path])) == "1 of 2 runs done, 1 running"


def test_averages_are_of_seeds_that_have_all_parts(tmp_path):
    results = {
        **results_of({"A": A, "B": B}, "mnli"),
        **results_of({"A": (0.1, 0.2, 0.3), "B": (0.2, "failed", 0.4)}, "sst"),
    }
    columns = (Column("m", "mnli", "accuracy"), Column("s", "sst", "accuracy"), Column("avg", average_of=("m", "s")))
    write_sweep(tmp_path, results, columns, stages=("mnli", "sst"), reference="A")
    _, table, _, seeds = report(tmp_path)
    averages = {row["row"]: row for row in table if row["column"] == "avg"}
    assert float(averages["A"]["mean"]) == pytest.approx((0.6 + 0.2) / 2)
    assert (averages["B"]["n"], averages["B"]["pairs"]) == ("2", "2")
    assert float(averages["B"]["mean"]) == pytest.approx((0.4 + 0.625) / 2)
    assert float(averages["B"]["difference"]) == pytest.approx(((0.4 - 0.3) + (0.625 - 0.5)) / 2)
    assert averages["A"]["runs"].split()[:2] == ["mnli_A_seed=0", "sst_A_seed=0"]


def test_published_differences_are_taken_as_they_are(tmp_path):
    column = dataclasses.replace(ACCURACY, difference=True)
    published = {"A": {"acc": "99"}, "B": {"acc": "-1.5"}, "C": {"acc": "+0.5"}}
    claims = [Claim("C", "B", "acc", 1)]
    write_sweep(tmp_path, results_of({"A": A, "B": B, "C": A}), (column,), claims, ("run",), "A", published=published)
    _, table, (claim,), _ = report(tmp_path)
    assert [row["published_difference"] for row in table] == ["", "-1.5", "0.5"]
    assert float(claim["published_difference"]) == 2


def test_parameters_are_counted_not_measured(tmp_path):
    column = Column("size", "run", "parameters", scale=1e-6)
    write_sweep(
        tmp_path,
        results_of({"A": ("queued", "queued"), "B": ("queued", "failed")}),
        (column,),
        stages=("run",),
        reference="A",
    )
    _, (a, b), *_ = report(tmp_path)
    assert (
        (float(a["mean"]), a["n"], a["low"]) == (4, "1", "") and float(b["difference"]) == 4 and b["difference_p"] == ""
    )


def test_without_columns_every_number_of_the_last_stage_is_one(tmp_path):
    results = {
        ("A", "pretrain", 0): {"loss": 3.0},
        ("A", "mnli", 0): {"loss": 1.0, "f1": 0.5, "chance": 0.3, "learned_nothing": "x"},
    }
    write_sweep(tmp_path, results, ())
    measured, table, *_ = report(tmp_path)
    assert [(row["column"], float(row["mean"])) for row in table] == [("loss", 1), ("f1", 0.5)]
    assert measured.notes == ("mnli_A_seed=0 learned nothing: x; it counts",)


TEXT = {"content_hash": "a", "tokenizer_hash": "t"}
TASK = {**TEXT, "task": {"train": "1", "heldout": "2"}}


@pytest.mark.parametrize(
    "one, other, told",
    [
        (TEXT, TEXT | {"content_hash": "b"}, "another held-out text"),
        (TEXT, TEXT | {"tokenizer_hash": "u"}, "another tokenizer"),
        (TASK, {**TASK, "task": {"train": "1", "heldout": "3"}}, "another held-out examples"),
        (TEXT, TASK, "another kind of data"),
        (
            TASK,
            {**TASK, "task": {"train": "9", "heldout": "2"}},
            "",
        ),  # trained on other examples: that is the row's point
        (TASK, {"content_hash": "b", "tokenizer_hash": "u", "task": {"heldout": "4"}}, ""),  # nobody can tell
        (TEXT, None, ""),
    ],
)
def test_rows_that_were_measured_on_other_data_are_refused_or_marked(tmp_path, one, other, told):
    data = {("A", "run"): one, ("B", "run"): other}
    write_sweep(tmp_path, results_of({"A": A, "B": B}), (ACCURACY,), stages=("run",), reference="A", data=data)
    if not told:
        assert not report(tmp_path)[0].notes
        return
    with pytest.raises(UserError, match=f"^run: B measured with {told} than A .*run_B_seed=0.*--allow_unequal"):
        report(tmp_path)
    measured, table, *_ = report(tmp_path, allow_unequal=True)
    assert "not comparable" in measured.notes[0] and [row["unequal_data"] for row in table] == ["", "True"]
    assert any(line.split()[:1] == ["B*"] for line in text.terminal(measured))


def test_runs_of_different_commits_are_told(tmp_path):
    status = {("A", "run", 2): {"commit": "f" * 40}}
    write_sweep(tmp_path, results_of({"A": A}), (ACCURACY,), stages=("run",), status=status)
    measured, *_ = report(tmp_path)
    assert measured.notes == ("the runs are of different commits: 2 of 0123456789ab, 1 of ffffffffffff",)
    assert dict(text.provenance(measured.study))["commits"] == f"{COMMIT} (2 runs), {'f' * 40} (1 run)"


def test_a_damaged_sweep_is_one_line(tmp_path):
    write_sweep(tmp_path, results_of({"A": A}), (ACCURACY,), stages=("run",))
    content = files.read_json(tmp_path / "sweep.json")
    for key in content:
        files.write_json(tmp_path / "sweep.json", {name: value for name, value in content.items() if name != key})
        if key == "seeds":  # the runs have them
            continue
        with pytest.raises(UserError, match="sweep.json"):
            study.read([tmp_path])


# ---- Curves


def test_a_mean_curve_is_of_all_seeds_and_failed_runs_do_not_end_it(tmp_path):
    lines = lambda values: {"heldout": [(step, {"loss": value}) for step, value in values]}
    curve = {
        ("A", "run", 0): lines([(1, 4.0), (2, 2.0), (3, 1.0)]),
        ("A", "run", 1): lines([(1, 6.0), (2, 4.0)]),
        ("A", "run", 2): lines([(1, 9.0), (2, float("nan"))]),
    }
    write_sweep(tmp_path, results_of({"A": (0.5, "running", "failed")}), (ACCURACY,), stages=("run",), curves=curve)
    (found,) = curves.curves(study.read([tmp_path]))
    assert (found.stage, found.split, found.metric) == ("run", "heldout", "loss")
    assert found.means == [("A", [(1, 5.0), (2, 3.0)])]  # the second seed has not come to step 3
    assert found.seeds[0] == ("A", "run_A_seed=0", [(1, 4.0), (2, 2.0), (3, 1.0)])
    assert found.seeds[2] == ("A", "run_A_seed=2", [(1, 9.0)])


def test_long_curves_are_thinned():
    steps = list(range(10, 100_001, 10))
    kept = curves.thinned(steps, 100)
    assert 80 < len(kept) <= 100 and kept[0] == 10 and kept[-1] == 100_000 and kept == sorted(set(kept))
    assert sum(step <= 10_000 for step in kept) > 30 and max(np.diff(kept)) <= 2_100
    assert curves.thinned(steps[:50], 100) == steps[:50]


def test_eight_seeds_are_compared_over_seeds_and_examples(tmp_path):
    """MultiBERTs' bootstrap, from the predictions that runs leave beside the labels."""
    seeds, count, random = 8, 200, np.random.default_rng(0)
    results, answers = {}, {}
    for row, share in (("a", 0.6), ("b", 0.8)):
        for seed in range(seeds):
            results[row, "pretrain", seed] = {"loss": 1.0}
            answers[row, seed] = random.random(count) < share
            results[row, "mnli", seed] = {"accuracy": float(answers[row, seed].mean())}
    column = Column("MNLI", "mnli", "accuracy", scale=100.0)
    folder = write_sweep(tmp_path, results, [column], [Claim("b", "a", "MNLI", 1)])

    def leave(row, seed, right):
        lines = [f"{n}\t{'yes' if one else 'no'}\tyes\n" for n, one in enumerate(right)]
        path = folder / "runs" / f"mnli_{row}_seed={seed}" / "predictions-heldout.tsv"
        path.write_text("index\tprediction\tlabel\n" + "".join(lines))

    def verdict():
        return measure.measure(study.read([folder])).verdicts[0]

    assert verdict().over_examples is None  # no predictions
    for (row, seed), right in answers.items():
        leave(row, seed, right)
    difference, (low, high), p, examples = verdict().over_examples
    expected = 100 * np.mean([answers["b", seed].mean() - answers["a", seed].mean() for seed in range(seeds)])
    assert difference == pytest.approx(expected) and low < expected < high and p < 0.05 and examples == count
    # Answers here are independent, with a variance of 0.24 + 0.16 in a pair's difference: drawing seeds and examples each has
    # that of the mean of 1,600, and both together again, so that the interval is 2 * 1.96 * sqrt(3 * 0.4 / 1600) = 10.7 wide.
    assert 7 < high - low < 14
    assert "over seeds and 200 examples" in text.claim_numbers(verdict(), 1)
    leave("b", 3, answers["b", 3][::-1] ^ (np.arange(count) == 0))  # not what its result.json says
    assert verdict().over_examples is None
