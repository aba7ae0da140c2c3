"""A run is held beside the curves of earlier runs of its recipe."""

import json

import numpy as np
import pytest
from scipy import stats

from ssl_jax import files, health, logs
from ssl_jax.config import base
from ssl_jax.errors import UserError
from ssl_jax.population import members


def leave_run(folder, seed, curve, **changes):
    """A run's folder: its config, and `curve(step)` as held-out loss."""
    config = base()
    config.update_from_flattened_dict({"seed": seed, **changes})
    folder.mkdir()
    files.write_json(folder / "config.json", {"config": json.loads(config.to_json())})
    lines = [{"step": step, "split": "heldout", "loss": curve(step), "learning_rate": 1.0} for step in (10, 20, 30)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture
def runs(tmp_path):
    return [
        leave_run(tmp_path / str(seed), seed, lambda step, seed=seed: 5 - step / 10 + seed / 10) for seed in range(4)
    ]


def test_the_band_is_where_a_further_seed_lies_in_999_of_1000_cases(runs):
    made = health.reference(runs)
    values = 4 + np.arange(4) / 10
    reach = stats.t.ppf(0.9995, 3) * values.std(ddof=1) * np.sqrt(1 + 1 / 4)
    assert list(made["bands"]) == ["heldout/loss"] and made["runs"] == 4  # the rate is no measurement
    step, *edges = made["bands"]["heldout/loss"][0]
    assert step == 10 and edges == pytest.approx([values.mean() - reach, values.mean() + reach], rel=1e-4)
    # By simulation: of four and a fifth from one normal distribution, the fifth is outside once in a thousand.
    draws = np.random.default_rng(0).normal(100, 50, (20_000, 5))
    edges = health.band(draws[:, :4])
    outside = (draws[:, 4] < edges[:, 0]) | (draws[:, 4] > edges[:, 1])
    assert 8 <= outside.sum() <= 36  # 20 expected, four standard deviations
    assert health.band([1.0, 1.0, 1.0]) == pytest.approx([0.98, 1.02])


def test_a_run_that_leaves_the_band_says_so_once_and_when_it_is_back(runs, tmp_path, capfd):
    path = tmp_path / "reference.json"
    files.write_json(path, health.reference(runs))
    config = base()
    config.run.reference = str(path)
    log = logs.Log(tmp_path / "run", 0, 40, members(config))
    for step, loss in (
        (10, 4.1),
        (15, 90.0),
        (20, 80.0),
        (30, 2.1),
        (40, 99.0),
    ):  # between steps, and beyond the last one
        log.metrics(step, "heldout", {"loss": [loss]})
    log.close()
    told = [line for line in capfd.readouterr().out.splitlines() if "band" in line]
    assert [line.split(" is ")[0] for line in told] == ["step 15: heldout/loss 90", "step 30: heldout/loss 2.1"]
    assert f"outside the band of {path}" in told[0] and "back in its band" in told[1]


def test_a_run_of_another_recipe_is_told_at_its_start(runs, tmp_path, capfd):
    path = tmp_path / "reference.json"
    files.write_json(path, health.reference(runs))
    config = base()
    config.update_from_flattened_dict({"run.reference": str(path), "model.layers": 3, "seed": 9, "run.log_every": 7})
    logs.Log(tmp_path / "run", 0, 40, members(config)).close()
    (line,) = [line for line in capfd.readouterr().out.splitlines() if line.startswith("run.reference")]
    assert line.endswith("is of another recipe: model.layers 12 and 3")


def test_what_is_no_reference_is_refused(runs, tmp_path):
    with pytest.raises(UserError, match="three runs or more"):
        health.reference(runs[:2])
    other = leave_run(tmp_path / "other", 9, float, **{"optimizer.learning_rate": 1.0})
    with pytest.raises(UserError, match="of another recipe than .*optimizer.learning_rate"):
        health.reference([*runs, other])
    (runs[1] / "metrics.jsonl").write_text("")
    with pytest.raises(UserError, match="logged other steps"):
        health.reference(runs)
    path = tmp_path / "no.json"
    files.write_json(path, {})
    with pytest.raises(UserError, match="is no reference"):
        health.Health(path, base())
