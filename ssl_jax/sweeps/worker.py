"""Runs a sweep's runs, one after the other, until none is left: on this machine or on any that sees the folder.

    python -m ssl_jax.sweeps.worker W

Each run is a process of its own (`attempt`), which holds the run's lease; so the memory of one is free for the next, and one
that dies takes nothing with it.
"""

import contextlib
import os
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
    stopped, child = [], None

    def stop(number, frame):
        del frame
        stopped.append(number)
        if child is not None and child.poll() is None:
            child.send_signal(signal.SIGTERM)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    while not stopped and not stopping(workdir):
        names, unfinished = ledger.ready(workdir, ledger.read(workdir)["runs"])
        if not unfinished:
            return True
        for name in names:
            with open(ledger.folder_of(workdir, name) / "log.txt", "ab") as log:
                # A process group of its own: Ctrl-C reaches it through `stop` alone.
                child = subprocess.Popen(
                    [*COMMAND, workdir, name], stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
                )
                while child.poll() is None:
                    if stopping(workdir):
                        child.send_signal(signal.SIGTERM)
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        child.wait(POLL)
            if child.returncode != TAKEN:
                break  # look again: others may be ready now
        else:
            time.sleep(POLL)
    return False


def stopping(workdir):
    """Whether all workers of a sweep are to stop: scripts/sweep.py --stop."""
    return (Path(workdir) / "stop").exists()


def attempt(workdir, name):
    """Runs one run of a sweep in this process, if its lease is free and it is not final.

    Returns:
      The exit code: 0; TAKEN if there was nothing to do. A run that fails says so in its status.json and exits with 0: the
      others go on.
    """
    # Until the training itself waits for it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.chdir(workdir)
    folder = ledger.folder_of(".", name)
    with ledger.lease(folder) as mine:
        if not mine:
            return TAKEN
        names, _ = ledger.ready(".", ledger.read(".")["runs"])
        before = ledger.status(".", name)
        # The lease is ours, so that a run that was killed looks like one that is running.
        if before["state"] != "running" and name not in names:
            return TAKEN
        losses = before.get("losses", 0) + (before["state"] == "running")
        attempts = before.get("attempts", 0) + 1
        begun = {"worker": ledger.worker(), "started": ledger.now(), "attempts": attempts, "losses": losses}
        if losses >= ledger.MOST_LOSSES:
            reason = f"died {losses} times without a reason; {folder}/log.txt may have one"
            ledger.write_status(folder, state="failed", reason=reason, **begun)
            return 0
        start = time.monotonic()
        ledger.write_status(folder, state="running", reason="", **begun)
        outcome = _run(folder)
        seconds = before.get("seconds", 0.0) + time.monotonic() - start
        if outcome["state"] == "preempted":
            outcome["preemptions"] = before.get("preemptions", 0) + 1
        ledger.write_status(folder, seconds=round(seconds, 1), **outcome)
    return 0


def _run(folder):
    """Does what point.json says; returns the new values of status.json."""
    from ssl_jax import logs, parallel  # loads JAX

    try:
        point = files.read_json(folder / "point.json")
        parallel.initialise()
        commit = logs.provenance()["commit"]
        done = {"train": _train, "evaluate": _evaluate}[point["kind"]](point, folder)
    except NotFiniteError as error:
        return {"state": "failed", "reason": f"diverged: {error}"}
    except (UserError, OSError) as error:
        print(f"error: {error}", flush=True)
        return {"state": "failed", "reason": str(error)}
    except KeyboardInterrupt:
        return {"state": "preempted", "reason": "Ctrl-C"}
    except Exception as error:  # one run that fails does not end the others
        traceback.print_exc()
        sys.stderr.flush()
        return {"state": "failed", "reason": f"{type(error).__name__}: {error}".splitlines()[0][:500]}
    if not done:
        return {"state": "preempted", "reason": "SIGTERM"}
    return {"state": "done", "reason": "", "commit": commit}


def _train(point, folder):
    from ssl_jax import checks, train

    given = tuple(point["given"])
    config, lines = checks.from_source(config_of(point["config"]), given, folder)
    for line in lines:
        print(line, flush=True)
    return train.train(checks.settle(config, given), folder) is not None


def _evaluate(point, folder):
    from ssl_jax import evaluate

    entries = evaluate.evaluate(config_of(point["config"]), folder)
    files.write_json(folder / "result.json", results(entries))
    return True


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
