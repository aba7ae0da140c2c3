"""Writes a sweep's folder and starts workers: on this machine, detached from the terminal, or as a Slurm array."""

import dataclasses
import glob
import json
import os
import statistics
import subprocess
import time
from pathlib import Path

from ssl_jax import files, logs
from ssl_jax.errors import UserError, listed
from ssl_jax.sweeps import ledger, planning, worker


def previous(workdir):
    """(row, stage, seed) -> (name, `planning.made_of`) of the sweep in a folder; {} if there is none yet."""
    if not ledger.is_sweep(workdir):
        return {}
    found = {}
    for name, run in ledger.read(workdir)["runs"].items():
        point = files.read_json(ledger.folder_of(workdir, name) / "point.json")
        values = planning.made_of(point["kind"], worker.config_of(point["config"]))
        found |= {(row, run["stage"], seed): (name, values) for row in run["rows"] for seed in run["seeds"]}
    return found


def rate(workdir):
    """FLOP/s of the runs of a sweep that are done, their median, compiling and evaluating included; 0 before there is one."""
    if not ledger.is_sweep(workdir):
        return 0.0
    runs = ledger.read(workdir)["runs"]
    found = {name: ledger.status(workdir, name) for name in runs}
    rates = [
        runs[name]["flops"] / own["seconds"]
        for name, own in found.items()
        if own["state"] == "done" and own.get("seconds")
    ]
    return statistics.median(rates or [0.0])


def write(workdir, planned, command, replan=False, together=False):
    """Writes a plan into its folder; runs that are there keep what they have done, failed ones are queued again.

    Args:
      workdir: the sweep's folder; new, or that of the same sweep.
      planned: a `planning.Plan` of `previous(workdir)`.
      command: what it was asked for with, for the report.
      replan: whether runs may be others than those planned before.
      together: whether new runs that can be one program train as one.

    Returns:
      Lines that say what is new, what is kept and what is queued again.

    Raises:
      UserError: a run's config is not what was planned before, and `replan` is False; somebody else is writing.
    """
    workdir = Path(workdir)
    (workdir / planning.RUNS).mkdir(parents=True, exist_ok=True)
    with ledger.lease(workdir, patience=60) as mine:
        if not mine:
            raise UserError(f"another launcher is writing {workdir}; the same command can be given again")
        lines = list(_changes(workdir, planned, replan))
        (workdir / "stop").unlink(missing_ok=True)
        new = [name for name in planned.runs if not (ledger.folder_of(workdir, name) / "point.json").exists()]
        for name in new:
            _write_run(workdir, planned.runs[name])
        again = [name for name in planned.runs if name not in new and _requeue(ledger.folder_of(workdir, name))]
        groups = _groups(workdir, planned, new if together else [])
        files.write_json(workdir / "sweep.json", content(planned, command) | {"together": groups})
    found = ledger.statuses(workdir, ledger.read(workdir)["runs"])
    lines.append(f"{len(planned.runs)} runs, {len(new)} of them new: {ledger.counts(found)}")
    if groups:
        lines.append(f"{sum(map(len, groups))} of them train together, in {len(groups)} programs")
    lines += _other_commits(found.values())
    if again:
        lines.append(f"failed before and queued again: {listed(again, 5)}")
    return lines


def _changes(workdir, planned, replan):
    """Yields lines on the runs that are not what was planned before; raises UserError unless `replan`."""
    lines = []
    for cell, (name, values) in previous(workdir).items():
        now = planned.cells.get(cell)
        if now is None:
            lines.append("row {}, {}, seed {}: no longer planned".format(*cell))
        elif now != name:
            run = planned.runs[now]
            differing = list(planning.difference(values, planning.made_of(run.kind, run.config)))
            if differing:  # what it starts from differs otherwise, and is there itself
                lines.append("row {}, {}, seed {}: ".format(*cell) + listed(differing, 5))
    if lines and not replan:
        raise UserError(
            f"{workdir} was planned otherwise, {len(lines)} runs: {'; '.join(lines[:3])}"
            f"{f'; and {len(lines) - 3} more' * (len(lines) > 3)}. --replan plans it as it is now and keeps the old folders; "
            "another --workdir keeps both"
        )
    yield from lines


def _groups(workdir, planned, new):
    """Lists of runs that train together: those of before, and those among the new ones."""
    before = ledger.read(workdir).get("together", []) if ledger.is_sweep(workdir) else []
    kept = [group for group in before if all(name in planned.runs for name in group)]
    return kept + planning.together(planned, new)


def _other_commits(found):
    """Lines on finished runs of other versions of the code."""
    now = logs.provenance()["commit"]
    others = [own["commit"] for own in found if own["state"] == "done" and own.get("commit") and own["commit"] != now]
    for commit in dict.fromkeys(others):
        yield f"{others.count(commit)} finished runs are kept that are of commit {commit[:12]}; this is {now[:12] or 'not known'}"


def _write_run(workdir, run):
    folder = ledger.folder_of(workdir, run.name)
    folder.mkdir(parents=True, exist_ok=True)
    if run.settled is not None:
        planning.write_config(folder, run)
    ledger.write_status(folder, state="queued", attempts=0)
    point = {"kind": run.kind, "given": run.given, "config": json.loads(run.config.to_json())}
    files.write_json(folder / "point.json", point)  # last: with it the run is there


def _requeue(folder):
    """Queues a run again that failed; whether it did."""
    try:
        if files.read_json(folder / "status.json").get("state") != "failed":
            return False
    except UserError:  # damaged: it counts as queued
        return False
    with ledger.lease(folder) as mine:
        if mine:
            ledger.write_status(folder, state="queued", losses=0)
        return mine


def content(planned, command):
    """sweep.json of a plan: what ledger.py and the report read."""
    table = planned.table
    return {
        "title": table.title,
        "hypothesis": table.hypothesis,
        "source": table.source,
        "config": command,
        "reference": table.reference,
        "rows": [
            {"name": row.name, "changes": row.changes, "published": table.published.get(row.published or row.name, {})}
            for row in table.rows
        ],
        "columns": [dataclasses.asdict(column) for column in table.columns],
        "claims": [dataclasses.asdict(claim) for claim in table.claims],
        "seeds": list(planned.seeds),
        "stages": list(table.stages),
        "runs": {name: {key: getattr(run, key) for key in RUN} for name, run in planned.runs.items()},
    }


RUN = ("stage", "kind", "rows", "seeds", "needs", "parameters", "flops", "tokens", "steps")


# ---- Workers on this machine


def gpus():
    """The GPUs that this machine lends to a process, as CUDA_VISIBLE_DEVICES names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name]
    return [str(number) for number in range(len(glob.glob("/dev/nvidia[0-9]*")))]


def places(count, devices, cores):
    """For each of `count` workers, its environment and its CPU cores.

    Workers are spread evenly over the GPUs, and those on one GPU share its memory; without GPUs they share out the cores.

    Args:
      count: of workers.
      devices: names of GPUs.
      cores: numbers of CPU cores.
    """
    if devices:
        found = []
        for number in range(count):
            device = number % len(devices)
            sharing = len(range(device, count, len(devices)))
            memory = {"XLA_PYTHON_CLIENT_MEM_FRACTION": f"{0.9 / sharing:.3f}"} if sharing > 1 else {}
            found.append(({"CUDA_VISIBLE_DEVICES": devices[device], **memory}, cores))
        return found
    shares = [cores[number * len(cores) // count : (number + 1) * len(cores) // count] for number in range(count)]
    return [({}, share or cores) for share in shares]


def start(workdir, count):
    """Starts `count` workers that go on when this process, or its terminal, ends.

    Returns:
      Their processes. They write to files in W/workers.
    """
    workdir = Path(workdir).absolute()
    (workdir / "workers").mkdir(exist_ok=True)
    started = []
    for environment, cores in places(count, gpus(), sorted(os.sched_getaffinity(0))):
        with open(workdir / "workers" / f"{time.time_ns()}.log", "wb") as log:
            process = subprocess.Popen(
                [*worker.COMMAND, str(workdir)],
                env={**os.environ, **environment},
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        os.sched_setaffinity(process.pid, cores)
        started.append(process)
    return started


def stop(workdir):
    """Lets all workers of a sweep, on any machine, save their runs and end; launching again takes it back."""
    ledger.read(workdir)
    with files.replacing(Path(workdir) / "stop") as file:
        file.write(b"")


def watch(workdir, started, say, poll=5.0):
    """Says how the sweep stands whenever that changes, until all runs are final.

    Args:
      workdir: the sweep's folder.
      started: the workers' processes; if all have ended before the runs, that is said and it returns.
      say: called with a line.
      poll: seconds between looks.

    Returns:
      Whether all runs are done.
    """
    before = {}
    while True:
        found = ledger.statuses(workdir, ledger.read(workdir)["runs"])
        for name, own in found.items():
            if own["state"] != before.get(name, {}).get("state", "queued"):
                reason = f": {own['reason']}" if own.get("reason") else ""
                say(f"{name}  {own['state']}{reason}")
        if before != found:
            say(f"{ledger.counts(found)}")
        before = found
        if all(own["state"] in ledger.FINAL for own in found.values()):
            return all(own["state"] == "done" for own in found.values())
        if started and all(process.poll() is not None for process in started):
            say(f"the workers have ended; {workdir}/workers has their output")
            return False
        time.sleep(poll)


# ---- Slurm


class Job:
    """A worker as a Slurm job. When Slurm preempts it, or its time is over, it saves its run and is queued again."""

    def __init__(self, workdir):
        self.workdir, self.process = str(workdir), None

    def __call__(self):
        self.process = subprocess.Popen([*worker.COMMAND, self.workdir])
        if code := self.process.wait():
            raise RuntimeError(f"the worker ended with {code}")

    def checkpoint(self):
        """Called by submitit before the job ends; what is returned is submitted again."""
        import submitit

        if self.process is not None:
            self.process.terminate()
            self.process.wait()
        return submitit.helpers.DelayedSubmission(Job(self.workdir))


def submit(workdir, count, options):
    """Submits `count` workers as one Slurm array.

    Args:
      workdir: the sweep's folder, which all nodes see.
      count: of workers.
      options: of submitit's `update_parameters`: {'slurm_partition': 'gpu', 'gpus_per_node': 1, 'timeout_min': 240}.

    Returns:
      The jobs' ids.

    Raises:
      UserError: submitit is missing, or refuses the options.
    """
    try:
        import submitit
    except ImportError as error:
        raise UserError("Slurm jobs need submitit: pip install 'ssl_jax[slurm]'") from error
    executor = submitit.AutoExecutor(folder=Path(workdir).absolute() / "slurm", cluster="slurm")
    try:
        executor.update_parameters(**options)
    except (NameError, TypeError, ValueError) as error:
        raise UserError(f"--slurm: {error}") from error
    with executor.batch():
        jobs = [executor.submit(Job(Path(workdir).absolute())) for _ in range(count)]
    return [job.job_id for job in jobs]
