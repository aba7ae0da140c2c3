"""Several seeds or other members in one run: each is the run that it would be alone."""

import itertools
import json
import shutil

import jax
import numpy as np
import pytest

from configs import bert, finetune
from ssl_jax import checks, ensemble, experiment, population
from ssl_jax.data.batches import evaluation_batches
from ssl_jax.errors import UserError
from ssl_jax.load import load_run
from ssl_jax.train import train


@pytest.fixture(scope="module")
def config(data_root):
    config = finetune.get_config("bert-tiny,topics,smoke")
    config.data.root = data_root
    config.update_from_flattened_dict(
        {"steps": 6, "run.evaluate_every": 3, "run.log_every": 3, "run.checkpoint_every": 3, "model.dropout": 0.1,
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
    config.run.together = False
    assert train(config, tmp_path) == made
    config.update(dict(seed=5, seeds=1, run=dict(together=True)))
    workdir = together[0] / "seed-5"
    assert train(config, workdir) == json.loads((workdir / "result.json").read_text())


def test_seeds_decide_together(config, together, tmp_path):
    """What the mean of their probabilities says; alone, each says what its own do."""
    folders = [str(together[0] / f"seed-{seed}") for seed in (3, 4, 5)]
    made = ensemble.decide(folders, "heldout", tmp_path)
    exp = experiment.open(config)
    batches = evaluation_batches(
        exp.config.data, "task", exp.stores["heldout"], exp.vocabulary, exp.phases[0].length, 64, 0
    )
    labels, runs = exp.stores["heldout"].labels, [load_run(folder) for folder in folders]

    @jax.jit
    def probabilities(params, batch):
        return jax.nn.softmax(runs[0].model.apply({"params": params}, batch)["class_logits"])

    said = [
        np.concatenate([probabilities(run.params, batches(n)) for n in range(batches.steps)])[: len(labels)]
        for run in runs
    ]
    for folder, own in zip(folders, said, strict=True):
        assert made[folder]["accuracy"] == (own.argmax(1) == labels).mean()
    best = np.mean(said, axis=0).argmax(1)
    assert made["ensemble"]["accuracy"] == (best == labels).mean()
    names = [line.split("\t")[1] for line in (tmp_path / "predictions-heldout.tsv").read_text().splitlines()[1:]]
    assert names == [exp.config.task.labels[number] for number in best]
    with pytest.raises(UserError, match="at least two runs"):
        ensemble.decide(folders[:1], "heldout", tmp_path)


def test_one_run_that_does_not_fit_in_memory_is_told_what_to_do(config, tmp_path, monkeypatch):
    def full(self, step):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes")

    monkeypatch.setattr(population.Population, "compile", full)
    with pytest.raises(UserError, match="memory is full: set run.accumulate=2"):
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
    config.update(dict(init=dict(run=str(source)), seeds=2, steps=1))
    config.optimizer.update(warmup=1.0)  # the first step's learning rate is 0
    train(config, tmp_path)
    source, *own = (load_run(folder).params for folder in (source, tmp_path / "seed-0", tmp_path / "seed-1"))
    for params in own:
        jax.tree.map(np.testing.assert_array_equal, params["encoder"], source["encoder"])
    kernels = [params["classifier"]["dense"]["kernel"] for params in (source, *own)]
    assert all((x != y).any() for x, y in itertools.combinations(kernels, 2))


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


@pytest.fixture(scope="module")
def swept(data_root, tmp_path_factory):
    """Three members of a pre-training run, the last of which diverges: the config, the folder and what it returned."""
    workdir = tmp_path_factory.mktemp("swept")
    config = bert.get_config("tiny,smoke")
    config.data.root = data_root
    config.update_from_flattened_dict(
        {"steps": 4, "run.evaluate_every": 2, "run.log_every": 2, "run.checkpoint_every": 2, "model.layers": 1,
         "evals.heldout.max_batches": 1, "parallel.devices": 1, "seed": 7}
    )  # fmt: skip
    config.members = tuple(
        f"seed={seed} optimizer.learning_rate={rate} corruption.rate={share}"
        for seed, rate, share in ((1, 1e-3, 0.15), (2, 1e-2, 0.4), (1, 1e38, 0.15))
    )
    return config, workdir, train(config, workdir)


def test_members_of_pre_training_have_folders_as_if_each_had_trained_alone(swept, tmp_path, capsys):
    config, workdir, made = swept
    apart = config.copy_and_resolve_references()
    apart.run.together = False
    alone = train(apart, tmp_path)
    assert "_optimizer.learning_rate-1e+38_seed-1: the loss or a gradient is not finite" in capsys.readouterr().out
    np.testing.assert_equal(json.loads((workdir / "result.json").read_text()), made)
    *good, bad = made["members"]
    assert good == [f"corruption.rate-{share}_optimizer.learning_rate-{rate}_seed-{seed}"
                    for seed, rate, share in ((1, 0.001, 0.15), (2, 0.01, 0.4))]  # fmt: skip
    assert alone["members"].keys() == made["members"].keys() and alone["step"] == made["step"] == 4
    assert all(np.isnan(one["members"][bad]["loss"]) for one in (made, alone))
    for name in good:
        assert made["members"][name] == json.loads((workdir / name / "result.json").read_text())
        for mine, other in zip(lines(workdir / name), lines(tmp_path / name), strict=True):
            assert mine.keys() == other.keys()
            values = [[line[key] for key in other if key != "split"] for line in (mine, other)]
            np.testing.assert_allclose(*values, rtol=1e-4)
        mine, other = load_run(workdir / name), load_run(tmp_path / name)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=2e-5), mine.params, other.params)
        mine.config.run.together = False
        assert mine.config.to_dict() == other.config.to_dict()
    # A member's folder is that of a run: the same command finds it finished.
    [member] = [member for member in population.members(config) if member.name == good[1]]
    assert train(member.config, workdir / good[1]) == made["members"][good[1]]
    with pytest.raises(UserError, match="holds 3 members of a run: name one of them, as in .*/corruption.rate-0.15_"):
        load_run(workdir)


def test_members_go_on_where_they_stopped_and_are_no_others(swept, tmp_path):
    config, workdir, made = swept
    workdir = shutil.copytree(workdir, tmp_path / "run")
    shutil.rmtree(workdir / "checkpoints/4")
    resumed = train(config, workdir)
    np.testing.assert_equal(resumed, made)
    config = config.copy_and_resolve_references()
    config.members = config.members[:2]
    with pytest.raises(UserError, match="is of another config: members: "):
        train(config, workdir)
