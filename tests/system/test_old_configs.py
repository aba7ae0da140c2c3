"""Runs and checkpoints from before some keys of a config were there."""

import json
import subprocess

import pytest

from ssl_jax import files, old_configs, step
from ssl_jax.config import base
from ssl_jax.errors import UserError
from ssl_jax.load import load_run
from ssl_jax.train import train

# The keys of the first configs whose runs can still be read.


def flat(values, prefix=""):
    """Nested dicts as {'model.layers': 2, ...}."""
    made = {}
    for key, value in values.items():
        made |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return made


def nested(values):
    made = {}
    for name, value in values.items():
        *blocks, key = name.split(".")
        block = made
        for part in blocks:
            block = block.setdefault(part, {})
        block[key] = value
    return made


def as_first(config):
    """Without the keys that were added since, by their first names."""
    first = {new: old for old, new in old_configs.RENAMED.items()}
    return nested(
        {first.get(name, name): value for name, value in flat(config).items() if name not in old_configs.ADDED}
    )


def test_every_key_was_there_from_the_first_or_was_added():
    today = flat(json.loads(base().to_json()))
    assert old_configs.FIRST | old_configs.ADDED.keys() == today.keys()
    assert not old_configs.FIRST & old_configs.ADDED.keys()
    differing = {name for name, value in old_configs.ADDED.items() if today[name] != value}
    assert differing == {"run.checkpoint_minutes", "data.unlabelled"}
    assert not old_configs.RENAMED.keys() & today.keys() and set(old_configs.RENAMED.values()) <= today.keys()


def test_only_missing_keys_are_added():
    saved = {"seed": 3, "task": {"name": "rte"}, "teacher": 5}
    completed = old_configs.complete(saved)
    assert completed["seed"] == 3 and completed["teacher"] == 5 and completed["data"]["tokenizer"]["add"] == []
    assert completed["task"]["name"] == "rte" and completed["task"]["n_best"] == 20
    assert saved == {"seed": 3, "task": {"name": "rte"}, "teacher": 5}
    assert [old_configs.complete({"model": {"pooler": one}})["model"]["pooler"] for one in (True, False, "relu")] == [
        "tanh", "none", "relu",
    ]  # fmt: skip
    like = {"task": {"n_best": 7}, "seeds": 2}
    assert old_configs.complete(saved, like) == {**saved, "seeds": 1, "task": {"name": "rte", "n_best": 20}}


@pytest.fixture
def old_run(smoke_config, tmp_path):
    """The folder of a run of four steps as it was when no key had been added, and its config as it is today."""
    unread = [("task.lstm_size", 768), ("task.stride", 128), ("task.max_question", 64)]  # which `smoke` shrinks
    config = smoke_config(("steps", 4), ("run.checkpoint_every", 2), ("parallel.devices", 1), *unread)
    train(config, tmp_path)
    paths = [tmp_path / "config.json", *tmp_path.glob("checkpoints/*/config/metadata")]
    assert len(paths) == 3
    for path in paths:
        content = json.loads(path.read_text())
        content.pop(files.SEAL, None)  # which came later, too
        old = as_first(content.get("config", content))
        path.write_text(json.dumps({**content, "config": old} if "config" in content else old))
    return tmp_path, config


def test_an_old_run_is_read_and_resumed(old_run, capfd):
    workdir, config = old_run
    assert load_run(workdir).model.config.layers == 2
    subprocess.run(["rm", "-r", workdir / "checkpoints/4"], check=True)
    metrics = (workdir / "metrics.jsonl").read_text()
    train(config, workdir)
    assert "resumed at step 2 of 4" in capfd.readouterr().out
    assert (workdir / "metrics.jsonl").read_text() == metrics


def test_a_run_that_did_not_sum_all_of_todays_metrics_is_resumed(smoke_config, tmp_path, monkeypatch, capfd):
    """Its held-out loss is that of a run that nothing happened to; its sums start again where it is resumed.

    Not bit for bit: another metric is another program, whose rounding Adam makes as large as its rate where the gradient
    is zero, as a key's bias has it.
    """
    config = smoke_config(("steps", 4), ("run.log_every", 4), ("run.checkpoint_every", 2), ("parallel.devices", 1))
    sums_of = step.sums_of

    def fewer(terms):
        return {name: pair for name, pair in sums_of(terms).items() if not name.endswith("chance")}

    with monkeypatch.context() as old:
        old.setattr(step, "sums_of", fewer)
        train(config, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    expected = lines[-1]["loss"]
    assert "nsp_accuracy" in lines[0] and "nsp_chance" not in lines[0]
    subprocess.run(["rm", "-r", tmp_path / "checkpoints/4"], check=True)
    capfd.readouterr()
    train(config, tmp_path)
    assert "resumed at step 2 of 4" in capfd.readouterr().out
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["loss"] == pytest.approx(expected, rel=1e-5)
    assert 0.5 <= lines[0]["nsp_chance"] <= 1 and 0.5 <= lines[-1]["nsp_chance"] <= 1


def test_an_old_run_is_refused_where_a_new_key_stands_at_another_value(old_run):
    workdir, config = old_run
    config.optimizer.layer_decay = 0.9
    with pytest.raises(UserError, match="of another config: optimizer.layer_decay: 0.9 was 1.0;"):
        train(config, workdir)
