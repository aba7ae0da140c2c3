"""Where a run's metrics go besides its own files: TRACKERS, chosen by `run.trackers`. Nothing leaves the machine unless asked.

A tracker is made with a run's folder, its config and the step it begins at, and has `log(step, split, values)` and `close()`.
"""

import functools
import importlib.util
import os
import sys
import time
import uuid

from ssl_jax import files
from ssl_jax.errors import UserError, check_choice
from ssl_jax.options import flat


class TensorBoard:
    """Event files in FOLDER/events."""

    def __init__(self, folder, config, first_step):
        del config
        self.folder = folder / "events"
        self.folder.mkdir(parents=True, exist_ok=True)
        with files.naming(self.folder):
            self.events = tensorboard().event_file_writer.EventsWriter(str(self.folder / "events"))
            # Makes TensorBoard drop what an earlier process wrote after this step.
            session = tensorboard().proto.event_pb2.SessionLog
            self._write(first_step + 1, session_log=session(status=session.START))
            self.events.flush()

    def log(self, step, split, values):
        with files.naming(self.folder):
            for name, value in values.items():
                self._write(step, summary=tensorboard().summary.scalar(f"{split}/{name}", value))
            self.events.flush()

    def close(self):
        with files.naming(self.folder):
            self.events.close()

    def _write(self, step, **content):
        # In this thread, unlike SummaryWriter: an error is raised where it happens.
        self.events.write_event(tensorboard().proto.event_pb2.Event(wall_time=time.time(), step=step, **content))


class WandB:
    """Weights & Biases, offline in FOLDER/wandb unless WANDB_MODE says otherwise; `wandb sync` uploads such a run."""

    def __init__(self, folder, config, first_step):
        del first_step  # a step that is logged again after a resume has the same values
        os.environ.setdefault("WANDB_SILENT", "true")
        import wandb

        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "ssl_jax"),
            name=folder.name,
            id=_identity(folder / "wandb" / "id"),
            dir=str(folder),
            mode=os.environ.get("WANDB_MODE", "offline"),
            resume="allow",
            reinit="create_new",  # several members are several runs
            config=dict(flat(config)),
        )
        self.run.define_metric("*", step_metric="step")

    def log(self, step, split, values):
        self.run.log({"step": step, **{f"{split}/{name}": value for name, value in values.items()}})

    def close(self):
        self.run.finish()


class MLflow:
    """MLflow, in FOLDER/mlflow.db unless MLFLOW_TRACKING_URI names a server."""

    def __init__(self, folder, config, first_step):
        del first_step
        import mlflow

        place = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(folder / 'mlflow.db').absolute()}"
        self.client = mlflow.tracking.MlflowClient(tracking_uri=place)
        self.entities, name = mlflow.entities, os.environ.get("MLFLOW_EXPERIMENT_NAME", "ssl_jax")
        experiment = self.client.get_experiment_by_name(name)
        experiment = experiment.experiment_id if experiment else self.client.create_experiment(name)
        known = _identity(folder / "mlflow.id")
        before = self.client.search_runs([experiment], f"tags.ssl_jax = '{known}'")
        if before:
            self.run = before[0].info.run_id
            self.client.update_run(self.run, "RUNNING")
        else:
            made = self.client.create_run(experiment, run_name=folder.name, tags={"ssl_jax": known})
            self.run = made.info.run_id
            parameters = [self.entities.Param(key, str(value)[:6000]) for key, value in flat(config)]
            for start in range(0, len(parameters), 100):  # at most so many at once
                self.client.log_batch(self.run, params=parameters[start : start + 100])

    def log(self, step, split, values):
        now = int(time.time() * 1000)
        metrics = [self.entities.Metric(f"{split}/{name}", value, now, step) for name, value in values.items()]
        self.client.log_batch(self.run, metrics=metrics)

    def close(self):
        self.client.set_terminated(self.run)


TRACKERS = {"tensorboard": TensorBoard, "wandb": WandB, "mlflow": MLflow}


def check(names):
    """Raises UserError unless all trackers are known and installed."""
    for name in names:
        check_choice(name, TRACKERS, "tracker in run.trackers")
        if name != "tensorboard" and importlib.util.find_spec(name) is None:
            raise UserError(f"run.trackers: {name} is not installed: pip install 'ssl_jax[{name}]', or leave it out")


def _identity(path):
    """The name by which a tracker knows a run again that is resumed, kept in a file."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(path) as file:
            file.write(uuid.uuid4().hex[:16].encode())
    return path.read_text().strip()


@functools.cache
def tensorboard():
    """tensorboardX, without torch: it would import torch if installed, adding seconds to each start."""
    hidden = sys.modules.get("torch") is None
    if hidden:
        sys.modules["torch"] = None
    try:
        import tensorboardX
        import tensorboardX.event_file_writer
        import tensorboardX.proto.event_pb2
        import tensorboardX.summary
    finally:
        if hidden:
            del sys.modules["torch"]
    return tensorboardX
