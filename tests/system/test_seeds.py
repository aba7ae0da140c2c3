"""Several seeds in one run: each is the run that it would be alone; what is said of them together."""

import functools
import itertools
import json
import shutil

import jax
import numpy as np
import pytest

from configs import finetune
from ssl_jax import checks, metrics, population, statistics, tasks
from ssl_jax.errors import UserError
from ssl_jax.load import load_run
from ssl_jax.train import train


@pytest.fixture(scope="module")
def config(data_root):
    config = finetune.get_config("bert-tiny,topics,smoke")
    config.data.root = data_root
    config.update_from_flattened_dict(
        {"steps": 6, "evaluate_every": 3, "log_every": 3, "checkpoint_every": 3, "model.dropout": 0.1,
         "evals.heldout.max_batches": 2, "parallel.devices": 2}
    )  # fmt: skip
    return config


@pytest.fixture(scope="module")
def together(config, tmp_path_factory):
    """Seeds 3, 4 and 5 in one run: its folder and what it returned."""
    workdir = tmp_path_factory.mktemp("together")
    config = config.copy_and_resolve_references()
    config.update(dict(seed=3, seeds=3))
    return workdir, train(config, workdir)


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_seeds_that_do_not_fit_in_memory_run_alone_and_each_is_the_same(
    config, together, tmp_path, monkeypatch, capsys
):
    compile_step = population.Population.compile

    def full(self, step):
        if self.several:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes")
        return compile_step(self, step)

    monkeypatch.setattr(population.Population, "compile", full)
    config = config.copy_and_resolve_references()
    config.update(dict(seed=4, seeds=2))
    made = train(config, tmp_path)
    assert "2 seeds do not fit in the devices' memory together: one by one" in capsys.readouterr().out
    assert made == json.loads((tmp_path / "result.json").read_text())
    assert made["loss"]["values"] == pytest.approx(together[1]["loss"]["values"][1:], rel=1e-4)
    assert made["chance"] == together[1]["chance"] and made["seeds"] == [4, 5]
    for name in ("seed-4", "seed-5"):
        for mine, alone in zip(lines(together[0] / name), lines(tmp_path / name), strict=True):
            assert mine.keys() == alone.keys()
            values = [[line[name] for name in alone if name != "split"] for line in (mine, alone)]
            np.testing.assert_allclose(*values, rtol=1e-4)
        mine, alone = load_run(together[0] / name), load_run(tmp_path / name)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=2e-5), mine.params, alone.params)
        assert mine.config.to_dict() == alone.config.to_dict() and mine.step == alone.step
    # Asked for one by one, the same command finds the runs finished; so does one seed's in its folder.
    config.seeds_together = False
    assert train(config, tmp_path) == made
    config.update(dict(seed=5, seeds=1, seeds_together=True))
    workdir = together[0] / "seed-5"
    assert train(config, workdir) == json.loads((workdir / "result.json").read_text())


def test_one_run_that_does_not_fit_in_memory_is_told_what_to_do(config, tmp_path, monkeypatch):
    def full(self, step):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes")

    monkeypatch.setattr(population.Population, "compile", full)
    with pytest.raises(UserError, match="memory is full: set accumulate=2"):
        train(config, tmp_path)


def test_seeds_differ_and_the_result_holds_all_of_them(together):
    workdir, made = together
    assert made == json.loads((workdir / "result.json").read_text())
    own = [json.loads((workdir / f"seed-{seed}/result.json").read_text()) for seed in (3, 4, 5)]
    assert made["seeds"] == [3, 4, 5]
    assert made["loss"]["values"] == [values["loss"] for values in own]
    assert len(set(made["loss"]["values"])) == 3


def test_several_seeds_go_on_where_they_stopped(config, together, tmp_path):
    config = config.copy_and_resolve_references()
    config.update(dict(seed=3, seeds=3))
    workdir = shutil.copytree(together[0], tmp_path / "run")
    shutil.rmtree(workdir / "checkpoints/6")
    assert train(config, workdir) == together[1]


def test_all_seeds_start_from_the_same_run_with_heads_of_their_own(config, together, tmp_path):
    source = together[0] / "seed-4"
    config = config.copy_and_resolve_references()
    config.update(dict(init_from=str(source), seeds=2, steps=1))
    config.optimizer.update(warmup=1.0)  # the first step's learning rate is 0
    train(config, tmp_path)
    source, *own = (load_run(folder).params for folder in (source, tmp_path / "seed-0", tmp_path / "seed-1"))
    for params in own:
        jax.tree.map(np.testing.assert_array_equal, params["encoder"], source["encoder"])
    kernels = [params["classifier"]["dense"]["kernel"] for params in (source, *own)]
    assert all((x != y).any() for x, y in itertools.combinations(kernels, 2))


def test_a_summary_is_arithmetic():
    results = [dict(step=7, loss=loss, accuracy=accuracy, chance=0.25, span_chance=0.5) for loss, accuracy in
               ((1.0, 0.5), (3.0, 0.25), (2.0, 0.75), (np.nan, 0.125))]  # fmt: skip
    made = statistics.summary(results, range(4), "median")
    assert (
        made["step"] == 7
        and (made["chance"], made["span_chance"]) == (0.25, 0.5)
        and made["seeds"] == [0, 1, 2, 3]
        and made["failed"] == [1, 3]
    )
    accuracy, loss = made["accuracy"], made["loss"]
    assert (accuracy["mean"], accuracy["median"], accuracy["best"]) == (0.40625, 0.375, 0.75)
    assert accuracy["sd"] == pytest.approx(np.sqrt(np.var([0.5, 0.25, 0.75, 0.125]) * 4 / 3))
    assert (loss["best"], loss["values"]) == (1.0, [1.0, 3.0, 2.0, None])
    low, high = accuracy["interval"]
    assert 0.125 < low < accuracy["mean"] < high < 0.75
    lines = statistics.table(made)
    assert "median*" in lines[0] and "failed: 1, 3" in lines[-1]
    assert [line.split()[0] for line in lines if line.endswith("(chance 0.25)")] == ["accuracy"]


# A task; what is right, what always the same gets for it, and what learned something.
CONSTANT = {
    "cola": ([0, 1, 1, 0], [1, 1, 1, 1], [0, 1, 1, 1]),
    "stsb": ([0.0, 5.0, 2.5], [2.0, 2.0, 2.0], [1.0, 2.0, 2.0]),
    "conll2003": ([["B-LOC", "O"], ["O", "B-PER"]], [["O", "O"]] * 2, [["B-LOC", "O"], ["B-PER", "O"]]),
    "squad": ({1: ["the river"], 2: ["rome"]}, {1: "", 2: ""}, {1: "a river bank", 2: ""}),
    "squad2": ({1: ["the river"], 2: [], 3: []}, {1: "", 2: "", 3: ""}, {1: "river bank", 2: "", 3: "no"}),
}


@pytest.mark.parametrize("task", CONSTANT)
def test_who_says_always_the_same_has_failed(task):
    gold, *answers = CONSTANT[task]
    measure = {"squad": metrics.squad, "squad2": metrics.squad2}.get(
        task, functools.partial(metrics.evaluate, tasks.TASKS[task])
    )
    results = [dict(step=1, loss=0.5, **measure(answer, gold)) for answer in answers]
    assert statistics.summary(results, range(2), "median")["failed"] == [0]
    assert "one answer to every example" in statistics.learned_nothing(results[0]) and not statistics.learned_nothing(results[1])


def test_who_is_right_no_more_often_than_the_most_frequent_label_has_learned_nothing():
    values = dict(step=1, loss=0.5, accuracy=0.5, chance=0.5)
    reason = "accuracy is 0.5, and with the most frequent label for every example 0.5"
    assert statistics.learned_nothing(values) == reason
    assert not statistics.learned_nothing(values | dict(accuracy=0.51)) and not statistics.learned_nothing(dict(accuracy=0.5))
    # F1 of the one class that is always given is above 0.
    assert statistics.learned_nothing(values | dict(f1=0.67)) == reason
    assert statistics.summary([values | {"learned_nothing": reason}] * 2, range(2), "mean")["failed"] == [0, 1]


def test_the_same_numbers_have_no_spread():
    made = statistics.summary([dict(step=1, accuracy=0.5)] * 3, range(3), "mean")
    assert made["accuracy"] == dict(mean=0.5, sd=0.0, median=0.5, best=0.5, interval=[0.5, 0.5], values=[0.5] * 3)
    assert made["failed"] == []


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"parallel.mode": "mesh"}, "seeds=3 train together by parallel.mode=pmap"),
        ({"seeds": 0}, "seeds=0: at least 1"),
    ],
)  # fmt: skip
def test_what_cannot_train_together_is_refused(config, changes, message, tmp_path):
    config = config.copy_and_resolve_references()
    config.update_from_flattened_dict({"seeds": 3} | changes)
    with pytest.raises(UserError, match=message):
        train(config, tmp_path)


def test_a_teachers_cache_is_of_one_seed():
    """Another seed has other examples under the same numbers."""
    config = finetune.get_config("bert-tiny,topics,smoke")
    config.update(dict(seeds=2, teacher=dict(runs=("a",), cache="b"), losses=dict(soft_labels=1.0)))
    with pytest.raises(UserError, match="seeds=2: teacher.cache has the examples of one seed"):
        checks.settle(config)
    config.seeds = 1
    checks.settle(config)
