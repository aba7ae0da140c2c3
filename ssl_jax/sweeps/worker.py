"""Runs a sweep's runs, one after the other, until none is left: on this machine or on any that sees the folder.

    python -m ssl_jax.sweeps.worker W

Each run is a process of its own (`attempt`), which holds the run's lease; so the memory of one is free for the next, and one
that dies takes nothing with it.
"""

import contextlib
import importlib
import math
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

from ssl_jax import command_line, files
from ssl_jax.errors import NotFiniteError, UserError
from ssl_jax.sweeps import ledger

POLL = 2.0  # seconds between looks at the folder while nothing can be started
COMMAND = (sys.executable, "-m", "ssl_jax.sweeps.worker")
TAKEN = 3  # exit code of an attempt whose run another process has


def work(workdir):
    """Runs what can be run until every run is final; SIGTERM and Ctrl-C let the current one save itself.

    Returns:
      Whether it went on to the end.

    Raises:
      UserError: see `ledger.read`.
    """
    signals = []

    def stopping():
        return bool(signals) or (Path(workdir) / "stop").exists()  # the latter: scripts/sweep.py --stop

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: signals.append(number))
    while not stopping():
        names, unfinished = ledger.ready(workdir, ledger.read(workdir)["runs"])
        if not unfinished:
            return True
        for name in names:
            with open(ledger.folder_of(workdir, name) / "log.txt", "ab") as log:
                child = subprocess.Popen([*COMMAND, workdir, name], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
                stopped = False
                while child.poll() is None:
                    if not stopped and stopping():
                        child.send_signal(signal.SIGTERM)
                        stopped = True
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        child.wait(POLL)
            # It could not even write its state: the disk is full, or it was killed.
            if child.returncode not in (0, TAKEN) and not stopped:
                time.sleep(10 * POLL)
            if child.returncode != TAKEN or stopped:
                break  # look again: others may be ready now
        else:
            time.sleep(POLL)
    return False


def attempt(workdir, name):
    """Runs one run of a sweep in this process, if its lease is free and it is not final.

    Returns:
      The exit code: 0; TAKEN if there was nothing to do. A run that fails says so in its status.json and exits with 0: the
      others go on.
    """
    interruptible = _Interruptible()
    os.chdir(workdir)
    sweep = ledger.read(".")
    names = next((group for group in sweep.get("together", []) if name in group), [name])
    folders = {name: ledger.folder_of(".", name) for name in names}
    with contextlib.ExitStack() as leases:
        if not all(leases.enter_context(ledger.lease(folder)) for folder in folders.values()):
            return TAKEN
        able, _ = ledger.ready(".", sweep["runs"])
        before = {name: ledger.status(".", name) for name in names}
        # The leases are ours, so that a run that was killed looks like one that is running.
        todo = [name for name in names if before[name]["state"] == "running" or name in able]
        if name not in todo:
            return TAKEN
        for own in todo:
            died = before[own]["state"] == "running"
            before[own]["losses"] = before[own].get("losses", 0) + died
            before[own]["attempts"] = before[own].get("attempts", 0) + 1
        losses = before[name]["losses"]
        begun = {"worker": ledger.worker(), "started": ledger.now()}
        for own in todo:
            counted = {key: before[own][key] for key in ("losses", "attempts")}
            ledger.write_status(folders[own], state="running", reason="", **begun, **counted)
        # JAX, NumPy and TFDS. Signals wait meanwhile: a library that one interrupts while it loads crashes, or fails for good.
        for module in ("ssl_jax.train", "ssl_jax.data.corpora"):
            importlib.import_module(module)
        if losses >= ledger.MOST_LOSSES:
            reason = f"died {losses} times without a reason; {folders[name]}/log.txt may have one"
            outcomes, seconds = {own: {"state": "failed", "reason": reason} for own in todo}, 0.0
        else:
            start = time.monotonic()
            try:
                with interruptible:
                    outcomes = _run({own: folders[own] for own in todo})
            except KeyboardInterrupt:
                outcomes = {own: {"state": "preempted", "reason": "interrupted"} for own in todo}
            seconds = (time.monotonic() - start) / len(todo)
        for own, outcome in outcomes.items():
            if outcome["state"] == "preempted":
                outcome["preemptions"] = before[own].get("preemptions", 0) + 1
            spent = before[own].get("seconds", 0.0) + seconds
            ledger.write_status(folders[own], seconds=round(spent, 1), **outcome)
    return 0


class _Interruptible:
    """A context whose body the first SIGTERM or Ctrl-C ends with KeyboardInterrupt; elsewhere they wait for it.

    They may come at any moment, and more than once: what is written outside the body is written whole. A training handles
    them itself while it runs (`preemption.Watch`).
    """

    def __init__(self):
        self.came = self.inside = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def __enter__(self):
        self.inside = True
        if self.came:
            raise KeyboardInterrupt

    def __exit__(self, *error):
        self.inside = False

    def _note(self, number, frame):
        del number, frame
        first, self.came = not self.came, True
        if first and self.inside:
            raise KeyboardInterrupt


def _run(folders):
    """Does what point.json says in the folders of one run, or of several that train together.

    Args:
      folders: name -> folder.

    Returns:
      For each name, the new values of status.json.
    """
    from ssl_jax import logs, parallel  # loads JAX

    def all_of(**values):
        return {name: dict(values) for name in folders}

    try:
        points = {name: files.read_json(folder / "point.json") for name, folder in folders.items()}
        parallel.initialise()
        commit = logs.provenance()["commit"]
        (name, folder), *others = folders.items()
        if others:
            diverged = _train_together(points, folders)
        elif points[name]["kind"] == "evaluate":
            diverged = _evaluate(points[name], folder)
        else:
            diverged = _train(points[name], folder)
    except NotFiniteError as error:
        return all_of(state="failed", reason=f"diverged: {error}")
    except (UserError, OSError) as error:
        print(f"error: {error}", flush=True)
        return all_of(state="failed", reason=str(error))
    except Exception as error:  # one run that fails does not end the others
        traceback.print_exc()
        sys.stderr.flush()
        return all_of(state="failed", reason=f"{type(error).__name__}: {error}".splitlines()[0][:500])
    if diverged is None:
        return all_of(state="preempted", reason="SIGTERM")
    outcomes = all_of(state="done", reason="", commit=commit)
    return outcomes | {name: {"state": "failed", "reason": "diverged"} for name in diverged}


def _settled(point, folder):
    """The config of a training as it will run."""
    from ssl_jax import checks
    from ssl_jax.old_configs import complete

    given = tuple(point["given"])
    # It may have been planned before an option was added.
    config, lines = checks.from_source(config_of(complete(point["config"])), given, folder)
    for line in lines:
        print(line, flush=True)
    return checks.settle(config, given)


def _train(point, folder):
    """Trains a run; None if it was stopped, otherwise []: none has diverged."""
    from ssl_jax import train

    return None if train.train(_settled(point, folder), folder) is None else []


def _train_together(points, folders):
    """Trains runs as one program and gives each its folder; None if it was stopped, otherwise names of those that diverged."""
    from ssl_jax import population, train
    from ssl_jax.sweeps import planning

    whole = ledger.together_folder(".", list(folders))
    config = planning.with_members([_settled(points[name], folder) for name, folder in folders.items()])
    if train.train(config, whole) is None:
        return None
    diverged = []
    for (name, folder), member in zip(folders.items(), population.members(config), strict=True):
        path = whole / member.name / "result.json"
        result = files.read_json(path) if path.exists() else {"loss": math.nan}
        if not all(math.isfinite(value) for value in result.values() if isinstance(value, float)):
            diverged.append(name)
        for path in (whole / member.name).iterdir():
            if path.is_dir():
                shutil.rmtree(folder / path.name, ignore_errors=True)
            os.replace(path, folder / path.name)
    shutil.rmtree(whole)
    return diverged


def _evaluate(point, folder):
    """Evaluates what a run refers to; []: none has diverged."""
    from ssl_jax import evaluate

    entries = evaluate.evaluate(config_of(point["config"]), folder)
    files.write_json(folder / "result.json", results(entries))
    return []


def results(entries):
    """{'TASK:PROMPT/SHOTS/METRIC': value} of `evaluate.evaluate`'s entries, the mean over the draws."""
    return {"{task}:{prompt}/{shots}/{metric}".format(**entry): entry["value"] for entry in entries}


def config_of(values):
    """A ConfigDict from its JSON, where lists are tuples."""
    from ml_collections import ConfigDict

    def plain(value):
        if isinstance(value, dict):
            return {key: plain(entry) for key, entry in value.items()}
        return tuple(plain(entry) for entry in value) if isinstance(value, list) else value

    return ConfigDict(plain(values))


def main(workdir, name=None):
    """The worker's command; with the name of a run, an attempt at it."""
    if name is not None:
        raise SystemExit(attempt(workdir, name))
    work(workdir)


if __name__ == "__main__":
    command_line.run(main, usage="the folder of a sweep")
