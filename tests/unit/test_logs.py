"""What a line of metrics and the curves show."""

import matplotlib.figure
import pytest

from ssl_jax import checks, logs
from ssl_jax.config import base
from ssl_jax.errors import UserError
from ssl_jax.population import members


def test_an_accuracy_is_shown_with_its_chance_beside_it(tmp_path, capfd):
    values = {"nsp_chance": 0.68, "nsp_accuracy": 0.74, "loss": 2.0, "all_tokens_chosen_accuracy": 0.3,
              "all_tokens_chosen_chance": 0.1, "rtd_replaced": 0.1}  # fmt: skip
    config = base()
    config.seeds, config.seed = 2, 4
    log = logs.Log(tmp_path, 0, 10, members(config))
    log.metrics(
        3, "heldout", {name: [value, 1.5 * value if name == "loss" else value] for name, value in values.items()}
    )
    log.close()
    assert capfd.readouterr().out.splitlines() == [
        "step 3  heldout  loss 2.5 (2 to 3)  all_tokens_chosen_accuracy 0.3 (0.3 to 0.3; chance 0.1)  "
        "nsp_accuracy 0.74 (0.74 to 0.74; chance 0.68)  rtd_replaced 0.1 (0.1 to 0.1)"
    ]
    # In the files it is a metric of its own.
    assert '"nsp_accuracy": 0.74, "nsp_chance": 0.68' in (tmp_path / "seed-4" / "metrics.jsonl").read_text()


def test_curves_have_chance_in_the_panel_of_its_accuracy(tmp_path, monkeypatch):
    drawn = {}

    def look(figure, file, **options):
        for axis in figure.axes:
            if axis.get_visible():
                drawn[axis.get_title()] = [(line.get_label(), list(line.get_ydata())) for line in axis.get_lines()]

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", look)
    log = logs.Log(tmp_path, 0, 10)
    for step, accuracy in ((5, 0.7), (10, 0.8)):
        log.metrics(step, "heldout", {"loss": [2.0], "nsp_accuracy": [accuracy], "nsp_chance": [0.6]})
    log.draw_curves()
    log.close()
    assert drawn == {
        "loss": [("heldout", [2.0, 2.0])],
        "nsp accuracy": [("heldout", [0.7, 0.8]), ("heldout, by chance", [0.6, 0.6])],
    }


def logged(folder, first, trackers, values):
    """Logs one line each for a list of (step, loss)."""
    config = base()
    config.run.trackers = trackers
    log = logs.Log(folder, first, 10, members(config))
    for step, loss in values:
        log.metrics(step, "heldout", {"loss": [loss]})
    log.close()


def test_a_run_is_tracked_offline_by_wandb_and_known_again_when_it_resumes(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    logged(tmp_path, 0, ("wandb",), [(1, 3.0), (2, 2.5)])
    logged(tmp_path, 1, ("wandb",), [(2, 2.5), (3, 2.25)])
    known = (tmp_path / "wandb" / "id").read_text()
    parts = sorted((tmp_path / "wandb").glob(f"offline-run-*-{known}/run-{known}.wandb"))
    assert parts and not (tmp_path / "events").exists()
    assert b"heldout/loss" in parts[0].read_bytes() and b"model.layers" in parts[0].read_bytes()


def test_mlflow_has_a_run_with_its_options_and_metrics(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    logged(tmp_path, 0, ("mlflow",), [(1, 3.0), (2, 2.5)])
    logged(tmp_path, 2, ("mlflow",), [(3, 2.25)])
    client = mlflow.tracking.MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("ssl_jax").experiment_id
    (run,) = client.search_runs([experiment])
    assert [(one.step, one.value) for one in client.get_metric_history(run.info.run_id, "heldout/loss")] == [
        (1, 3.0),
        (2, 2.5),
        (3, 2.25),
    ]
    assert run.data.params["optimizer.learning_rate"] and run.info.status == "FINISHED"


def test_a_tracker_that_is_unknown_or_not_installed_is_refused_in_a_line(monkeypatch):
    with pytest.raises(UserError, match="unknown tracker in run.trackers 'wandbb'; did you mean 'wandb'"):
        checks.trackers.check(("wandbb",))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="mlflow is not installed: pip install 'ssl_jax.mlflow.'"):
        checks.trackers.check(("tensorboard", "mlflow"))
