"""Which runs a sweep has, what they are called, and who may run them."""

import json
import math
import os
import subprocess
import sys
import time

import pytest

from configs import albert, bert, finetune
from ssl_jax import files
from ssl_jax.errors import UserError
from ssl_jax.sweeps import launch, ledger, planning, points, search, swept, worker
from ssl_jax.sweeps.tables import Claim, Column, Row, Stage, Table


def tiny(**changes):
    config = bert.get_config("tiny,smoke")
    config.update_from_flattened_dict(changes)
    return config


def one_stage(rows, **how):
    return Table("a sweep", {"run": Stage(tiny())}, rows, **how)


def two_stages(**how):
    pretrain, topics = albert.get_config("demo,smoke"), finetune.get_config("albert-demo,topics,smoke")
    topics.init.run = "@pretrain"
    stages = {"pretrain": Stage(pretrain), "topics": Stage(topics)}
    rows = (Row("none", {"losses.sop": 0.0}), Row("SOP"), Row("higher rate", {"topics/optimizer.learning_rate": 3e-3}))
    columns = (Column("MLM", "pretrain", "mlm_accuracy", 100), Column("topics", "topics", "accuracy", 100))
    return Table("two stages", stages, rows, columns, reference="none", **how)


# ---- Points


def test_points_multiply_pair_up_and_chain():
    rates, sizes = {"rate": (1, 2)}, {"size": (3, 4)}
    assert points.product(rates, sizes) == [
        {"rate": 1, "size": 3},
        {"rate": 1, "size": 4},
        {"rate": 2, "size": 3},
        {"rate": 2, "size": 4},
    ]
    assert points.together({"rate": (1, 2), "size": (3, 4)}) == [{"rate": 1, "size": 3}, {"rate": 2, "size": 4}]
    assert points.chain(rates, [{"rate": 2}, {"rate": 5}]) == [{"rate": 1}, {"rate": 2}, {"rate": 5}]
    assert points.product(points.fixed({"size": 3}), rates) == [{"size": 3, "rate": 1}, {"size": 3, "rate": 2}]
    assert points.one_at_a_time({"rate": 1, "size": 3}, {"rate": (1, 2), "size": (4,)}) == [
        {"rate": 1, "size": 3},
        {"rate": 2, "size": 3},
        {"rate": 1, "size": 4},
    ]
    assert points.only(lambda point: point["rate"] > 1, rates) == [{"rate": 2}]
    assert points.when(lambda point: point["rate"] > 1, {"size": 9}, rates) == [{"rate": 1}, {"rate": 2, "size": 9}]
    with pytest.raises(UserError, match="two factors of a product set rate"):
        points.product(rates, rates)
    with pytest.raises(UserError, match="rate has 2, size has 1"):
        points.together({"rate": (1, 2), "size": (3,)})
    with pytest.raises(UserError, match="several values"):
        points.product({"rate": "fast"})


def test_random_points_are_those_of_their_seed_and_lie_in_their_range():
    distributions = {
        "rate": points.log_uniform(1e-5, 1e-3),
        "size": points.integers(2, 4),
        "act": points.choice("a", "b"),
    }
    drawn = points.sample(300, distributions, seed=1)
    assert drawn == points.sample(300, distributions, seed=1) != points.sample(300, distributions, seed=2)
    assert {point["size"] for point in drawn} == {2, 3, 4} and {point["act"] for point in drawn} == {"a", "b"}
    assert all(1e-5 <= point["rate"] <= 1e-3 for point in drawn)
    # Half of them below the geometric mean, with a standard deviation of sqrt(300) / 2 = 8.7.
    assert abs(sum(point["rate"] < 1e-4 for point in drawn) - 150) < 45


def test_values_are_read_from_a_command_line():
    argv, texts = swept.take(
        ["sweep.py", "--sweep.seed=0:3", "--config", "c.py", "--sweep.optimizer.learning_rate=1e-4,3e-4"]
    )
    assert argv == ["sweep.py", "--config", "c.py"]
    assert swept.read(texts) == points.product({"seed": (0, 1, 2)}, {"optimizer.learning_rate": (1e-4, 3e-4)})
    assert swept.read(
        {"init.layers": "0,1|0", "model.scan": "True,false", "model.share": "all,none"}
    ) == points.product({"init.layers": ((0, 1), (0,)), "model.scan": (True, False), "model.share": ("all", "none")})
    drawn = swept.read({"optimizer.learning_rate": "log_uniform(1e-5,1e-3)", "model.layers": "2,4"}, samples=3)
    assert [point["model.layers"] for point in drawn] == [2, 2, 2, 4, 4, 4]
    for texts, message in (
        ({"model.layrs": "1"}, "no such config key"),
        ({"model.layers": "few"}, "not of its type, int"),
        ({"model.layers": ""}, "no values"),
        ({"optimizer.learning_rate": "uniform(0,1)"}, "--samples says"),
    ):
        with pytest.raises(UserError, match=message):
            swept.read(texts)


def test_a_search_finds_the_best_rate_and_its_folder_is_all_it_knows(tmp_path):
    distributions = {"optimizer.learning_rate": points.log_uniform(1e-6, 1e-1), "batch_size": points.choice(4, 8)}

    def score(changes):  # the smallest at 1e-3
        return abs(math.log10(changes["optimizer.learning_rate"]) + 3)

    before = []
    for _ in range(15):
        proposed = search.propose(before, distributions, 2, maximise=False, seed=0)
        assert proposed == search.propose(list(before), distributions, 2, maximise=False, seed=0)
        before += [(changes, score(changes)) for changes in proposed]
    drawn = points.sample(30, distributions, seed=0)
    assert min(value for _, value in before) < 0.2
    late = [value for _, value in before[20:]]
    assert sum(late) / len(late) < sum(map(score, drawn)) / 30  # it looks where it is good
    # Of a sweep's folder: the mean over seeds; a run that failed has no value, one that is not final does not count.
    rows = tuple(Row(f"rate {rate:g}", {"optimizer.learning_rate": rate}) for rate in (1e-3, 2e-3, 4e-3))
    planned = planning.plan(one_stage(rows, seeds=2))
    launch.write(tmp_path, planned, "a.py")
    for (row, _, seed), name in planned.cells.items():
        folder = ledger.folder_of(tmp_path, name)
        state = {"rate 0.001": "done", "rate 0.002": "failed", "rate 0.004": "queued"}[row]
        ledger.write_status(folder, state=state)
        files.write_json(folder / "result.json", {"step": 3, "loss": 2.0 + seed})
    assert search.tried(tmp_path, "loss") == [
        ({"optimizer.learning_rate": 1e-3}, 2.5),
        ({"optimizer.learning_rate": 2e-3}, None),
    ]
    assert search.tried(tmp_path, "loss", "best")[0][1] == 2.0
    with pytest.raises(UserError, match="has no 'score', only step, loss"):
        search.tried(tmp_path, "score")
    assert search.tried(tmp_path / "new", "loss") == []


# ---- Plans


def test_runs_are_shared_between_rows_that_need_the_same():
    table = two_stages(seeds=2)
    planned = planning.plan(table)
    assert len(planned.runs) == 10  # two pre-trainings and three fine-tunings, of two seeds
    shared = planned.runs[planned.cells["SOP", "pretrain", 0]]
    assert shared.rows == ("SOP", "higher rate") and shared.seeds == (0,)
    fine = planned.runs[planned.cells["higher rate", "topics", 1]]
    assert fine.needs == (planned.cells["SOP", "pretrain", 1],)
    assert fine.config.init.run == f"runs/{fine.needs[0]}" and fine.config.optimizer.learning_rate == 3e-3
    # The shape is the source's, as with --config.init.run on a command line.
    assert fine.settled.model.to_dict() | {"pooler": ""} == shared.settled.model.to_dict() | {"pooler": ""}
    told = "\n".join(planning.lines(planned, 1e9))
    assert "none: losses.sop=0" in told and "(shared with SOP)" in told and "2 runs" in told


def test_a_teacher_is_one_run_for_all_seeds():
    table = two_stages(seeds=3)
    stages = {name: Stage(stage.config, share_seed=name == "pretrain") for name, stage in table.stages.items()}
    planned = planning.plan(Table("t", stages, table.rows[:1], table.columns, seeds=3))
    assert [run.seeds for run in planned.runs.values()] == [(0, 1, 2), (0,), (1,), (2,)]


def test_a_name_follows_what_decides_the_numbers_and_nothing_else():
    def names(**changes):
        table = Table("t", {"run": Stage(tiny(**changes))}, (Row("a", {"model.layers": 1}),))
        return list(planning.plan(table).runs)

    (name,) = names()
    assert name.startswith("run_layers=1_seed=0-")
    free = {
        "run.accumulate": 2,
        "run.log_every": 3,
        "run.checkpoint_every": 4,
        "parallel.devices": 1,
        "data.root": "/elsewhere",
        "variant": "another",
    }
    for key, value in free.items():
        assert names(**{key: value}) == [name], key
    for key, value in {
        "batch_size": 4,
        "model.dropout": 0.2,
        "optimizer.b2": 0.9,
        "steps": 30,
        "data.heldout": 0.2,
    }.items():
        assert names(**{key: value}) != [name], key


def test_rows_that_cannot_be_built_are_named_and_nothing_starts(tmp_path):
    rows = (
        Row("fine"),
        Row("three heads", {"model.heads": 3}),
        Row("typo", {"model.layrs": 2}),
        Row("text", {"steps": "many"}),
    )
    with pytest.raises(
        UserError, match="nothing is started.*'three heads'.*'typo'.*model.layers.*'text'.*type int"
    ) as error:
        planning.plan(one_stage(rows))
    assert "'fine'" not in str(error.value)


def test_a_budget_of_flops_decides_the_steps():
    stages = {"run": Stage(tiny(), flops=3e9)}
    rows = (Row("two layers"), Row("four layers", {"model.layers": 4}))
    two, four = planning.plan(Table("t", stages, rows)).runs.values()
    assert two.steps > four.steps and "steps" in two.given
    for run in (two, four):
        assert 3e9 * (1 - 2 / run.steps) < run.flops <= 3e9 * (1 + 1e-9)
    with pytest.raises(UserError, match="one step costs"):
        planning.plan(Table("t", {"run": Stage(tiny(), flops=1e3)}, rows))


def test_a_table_refuses_names_that_are_not_there():
    row, column = Row("a"), Column("x", "run", "loss")
    for how, message in (
        (dict(rows=(row, row)), "row a is there twice"),
        (dict(rows=()), "at least one row"),
        (dict(columns=(Column("x", "ran", "loss"),)), "unknown stage 'ran'"),
        (dict(columns=(Column("x", average_of=("y",)),)), "unknown column 'y'"),
        (dict(reference="b"), "unknown reference row"),
        (dict(columns=(column,), claims=(Claim("a", "b", "x", 1),)), "unknown row of a claim"),
        (dict(columns=(column,), claims=(Claim("a", "a", "x", 0),)), "needs a band"),
    ):
        with pytest.raises(UserError, match=message):
            one_stage(how.pop("rows", (row,)), **how)


def test_runs_that_may_be_one_program_are_found():
    rows = (
        Row("a", {"optimizer.learning_rate": 1e-3}),
        Row("b", {"optimizer.learning_rate": 2e-3}),
        Row("no NSP", {"losses.nsp": 0.0}),
        Row("four layers", {"model.layers": 4}),
    )
    planned = planning.plan(one_stage(rows, seeds=2))

    def names(row):
        return [planned.cells[row, "run", seed] for seed in (0, 1)]

    groups = planning.together(planned, list(planned.runs))
    # Another seed or rate is the same program; a loss that is left out and another depth are not.
    assert groups == [names("a") + names("b"), names("no NSP"), names("four layers")]
    config = planning.with_members([planned.runs[name].settled for name in groups[0]])
    assert config.members[1] == "optimizer.learning_rate=0.001 seed=1" and len(config.members) == 4
    # Fine-tunings of one pre-training at other rates, but not those of different ones, which start from different runs.
    planned = planning.plan(two_stages(seeds=2))
    groups = planning.together(planned, list(planned.runs))
    tuned = [group for group in groups if planned.runs[group[0]].stage == "topics"]
    assert tuned == [[planned.cells[row, "topics", seed] for row in ("SOP", "higher rate")] for seed in (0, 1)]


# ---- The ledger


@pytest.fixture
def sweep(tmp_path):
    table = two_stages()
    planned = planning.plan(table)
    launch.write(tmp_path, planned, "a.py:b")
    return tmp_path, planned


def test_what_was_planned_before_is_kept_and_what_differs_is_told(sweep):
    workdir, planned = sweep
    again = planning.plan(two_stages(), launch.previous(workdir))
    assert list(again.runs) == list(planned.runs)
    assert launch.write(workdir, again, "a.py:b") == [
        f"{len(again.runs)} runs, 0 of them new: {len(again.runs)} queued"
    ]
    # More seeds or rows are only more runs.
    more = planning.plan(two_stages(seeds=2), launch.previous(workdir))
    assert f"{len(planned.runs)} of them new" in launch.write(workdir, more, "a.py:b")[-1]
    table = two_stages(seeds=2)
    table.stages["pretrain"].config.optimizer.b2 = 0.5
    changed = planning.plan(table, launch.previous(workdir))
    with pytest.raises(UserError, match="planned otherwise.*optimizer.b2: 0.98 -> 0.5.*--replan"):
        launch.write(workdir, changed, "a.py:b")
    lines = launch.write(workdir, changed, "a.py:b", replan=True)
    assert any("optimizer.b2: 0.98 -> 0.5" in line for line in lines)
    for name in planned.runs:  # nothing is removed
        assert (workdir / "runs" / name / "point.json").exists()


def test_an_option_that_was_added_since_does_not_make_another_run(sweep):
    workdir, planned = sweep
    old = f"{next(iter(planned.runs))}-old"  # without the option the hash was another one
    first = workdir / "runs" / next(iter(planned.runs))
    before = worker._settled(files.read_json(first / "point.json"), first)
    text = (workdir / "sweep.json").read_text().replace(f'"{first.name}"', f'"{old}"')
    (workdir / "sweep.json").write_text(text)
    folder = first.rename(first.with_name(old))
    point = files.read_json(folder / "point.json")
    del point["config"]["data"]["static_masks"]
    files.write_json(folder / "point.json", point)
    again = planning.plan(two_stages(), launch.previous(workdir))
    assert old in again.runs and first.name not in again.runs
    assert worker._settled(point, folder) == before
    # One that is not at its default would be another run.
    table = two_stages()
    table.stages["pretrain"].config.data.static_masks = True
    assert old not in planning.plan(table, launch.previous(workdir)).runs


def test_states_are_those_of_the_folders(sweep):
    workdir, planned = sweep
    runs = ledger.read(workdir)["runs"]
    first, *others = runs

    def state(name):
        return ledger.statuses(workdir, runs)[name]["state"]

    needing = [name for name in others if first in runs[name]["needs"]]
    assert needing and {own["state"] for own in ledger.statuses(workdir, runs).values()} == {"queued"}
    assert first in ledger.ready(workdir, runs)[0] and not set(needing) & set(ledger.ready(workdir, runs)[0])
    folder = ledger.folder_of(workdir, first)
    with ledger.lease(folder) as mine:
        assert mine
        ledger.write_status(folder, state="running")
        assert state(first) == "running"
    assert state(first) == "lost"  # nobody holds it
    ledger.write_status(folder, state="failed", reason="diverged")
    assert state(needing[0]) == "dependency failed"
    assert launch._requeue(folder) and state(first) == state(needing[0]) == "queued"
    ledger.write_status(folder, state="done")
    assert set(needing) <= set(ledger.ready(workdir, runs)[0])
    assert list(launch._other_commits(ledger.statuses(workdir, runs).values())) == []
    ledger.write_status(folder, commit="0123456789abcdef")
    (line,) = launch._other_commits(ledger.statuses(workdir, runs).values())
    assert line.startswith("1 finished runs are kept that are of commit 0123456789ab; this is ")
    (folder / "status.json").write_text("{")  # cut off by a full disk: it is looked at again
    assert state(first) == "queued"


HOLD = """
import sys, time
from pathlib import Path
from ssl_jax.sweeps import ledger
ledger.LEASE, ledger.SLACK = 2, 10
with ledger.lease(Path(sys.argv[1])) as mine:
    print(mine, flush=True)
    time.sleep(60 * mine)
"""


def hold(folder):
    return subprocess.Popen([sys.executable, "-c", HOLD, folder], stdout=subprocess.PIPE, text=True)


def test_a_lease_is_held_by_one_process_and_taken_over_when_it_is_killed(tmp_path):
    first = hold(tmp_path)
    try:
        assert first.stdout.readline() == "True\n"
        second = hold(tmp_path)
        assert second.communicate()[0] == "False\n" and ledger.is_held(tmp_path)
        first.kill()
        first.wait()
        while ledger.is_held(tmp_path):
            time.sleep(0.2)
        third = hold(tmp_path)
        assert third.stdout.readline() == "True\n"
        third.kill()
        third.wait()
    finally:
        first.kill()


def test_a_process_that_stood_still_and_lost_its_lease_ends(tmp_path):
    first = hold(tmp_path)
    assert first.stdout.readline() == "True\n"
    (tmp_path / "lease").unlink()  # as one that took over does first
    assert first.wait(30) == os.EX_TEMPFAIL
    assert "is lost" in first.stdout.read()


def test_a_run_that_dies_again_and_again_is_given_up(sweep, monkeypatch):
    workdir, planned = sweep
    name = next(iter(planned.runs))
    folder = ledger.folder_of(workdir, name)
    monkeypatch.setattr(worker, "_run", lambda folder: pytest.fail("it is run once more"))
    ledger.write_status(folder, state="running", attempts=5, losses=ledger.MOST_LOSSES - 1)
    monkeypatch.chdir(workdir)
    assert worker.attempt(workdir, name) == 0
    content = files.read_json(folder / "status.json")
    assert content["state"] == "failed" and "died 5 times" in content["reason"] and content["attempts"] == 6


def test_workers_share_out_gpus_and_cores():
    assert launch.places(2, [], [0, 1, 2, 3]) == [({}, [0, 1]), ({}, [2, 3])]
    assert launch.places(3, [], [0]) == [({}, [0])] * 3
    assert [place[0] for place in launch.places(3, ["0", "1"], [0])] == [
        {"CUDA_VISIBLE_DEVICES": "0", "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.450"},
        {"CUDA_VISIBLE_DEVICES": "1"},
        {"CUDA_VISIBLE_DEVICES": "0", "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.450"},
    ]


def test_durations_are_told_in_words():
    assert [planning.duration(x) for x in (45, 600, 7200 * 2, 86400 * 9)] == ["45 s", "10 min", "4 h", "9 days"]
    assert not math.isnan(planning.expected_rate())


def test_a_point_on_disk_is_the_config_that_was_planned(sweep):
    workdir, planned = sweep
    for name, run in planned.runs.items():
        point = files.read_json(ledger.folder_of(workdir, name) / "point.json")
        assert worker.config_of(point["config"]) == run.config
        assert json.loads(run.config.to_json()) == point["config"]


def test_a_published_number_is_the_parsed_value_or_the_columns_part_of_the_text():
    cells = {"params": {"text": "110M", "value": 110e6}, "SQuAD": {"text": "88.6/81.5", "value": 88.6}}
    column = Column("parameters", published="params")
    assert column.number(cells) == 110e6 and column.cell(cells)["text"] == "110M"
    assert Column("SQuAD", part=1).number(cells) == 81.5 and Column("SQuAD").number(cells) == 88.6
    assert Column("SQuAD", part=2).number(cells) is None
    assert Column("RACE").number(cells) is None and Column("SQuAD").number(None) is None
