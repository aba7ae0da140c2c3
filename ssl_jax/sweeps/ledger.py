"""The folder of a sweep: what is planned, and where each run stands. A run's own folder is the truth; nothing else is.

W/sweep.json            the table, its runs and what they need; written by whoever launches
W/runs/NAME/point.json  what the run is to do: its config, and the keys that were given
W/runs/NAME/status.json how far it is: `state`, `reason`, `attempts`, ... written by whoever has the lease
W/together/...          runs that train as one program, until each is moved to its own folder
W/runs/NAME/lease       held by the process that trains, renewed while it lives

Importing this loads no JAX: a worker looks around before it starts one.
"""

import contextlib
import datetime
import hashlib
import logging
import os
import socket
import threading
import time
from pathlib import Path

from flufl.lock import Lock, NotLockedError, TimeOutError

from ssl_jax import files
from ssl_jax.errors import UserError, listed

# A process that is killed leaves its lease behind: LEASE seconds and the library's 10 for clocks that differ later
# another one may take it. It is renewed four times as often as it ends.
LEASE = 10
SLACK = 10
# A run that dies so often without saying why (out of memory, a broken node) is not tried again.
MOST_LOSSES = 5
FINAL = ("done", "failed", "dependency failed")
STATES = ("queued", "running", "done", "failed", "preempted", "lost", "dependency failed")
logging.getLogger("flufl.lock").setLevel(logging.CRITICAL)  # a lease that another one has is no error


def is_sweep(workdir):
    """Whether a folder holds a sweep."""
    return (Path(workdir) / "sweep.json").exists()


def read(workdir):
    """The content of a sweep's sweep.json.

    Raises:
      UserError: the folder holds no sweep, or the file is damaged.
    """
    path = Path(workdir) / "sweep.json"
    if not is_sweep(workdir):
        raise UserError(f"{workdir} holds no sweep: there is no sweep.json; scripts/sweep.py makes one")
    sweep = files.read_json(path)
    if not isinstance(sweep.get("runs"), dict):
        raise UserError(f"{path} has no runs; the command that made the sweep writes it again")
    return sweep


def folder_of(workdir, name):
    return Path(workdir) / "runs" / name


def together_folder(workdir, names):
    """Where runs that train as one program do so, until each has its own folder."""
    digits = hashlib.sha256("\n".join(names).encode()).hexdigest()[:12]
    return Path(workdir) / "together" / digits


def status(workdir, name):
    """A run's status: what its status.json says, or 'lost' if it says 'running' and nobody holds its lease."""
    folder = folder_of(workdir, name)
    try:
        content = files.read_json(folder / "status.json")
    except UserError:  # none, or damaged: it is run
        content = {}
    if content.get("state") not in STATES:
        content["state"] = "queued"
    if content["state"] == "running" and not is_held(folder):
        content["state"] = "lost"
    return content


def statuses(workdir, runs):
    """Name -> status of all runs of a sweep; one that needs a run that failed is 'dependency failed'.

    Args:
      workdir: the sweep's folder.
      runs: of its sweep.json, each after those it needs.
    """
    found = {}
    for name, run in runs.items():
        own = status(workdir, name)
        bad = [other for other in run["needs"] if found[other]["state"] in ("failed", "dependency failed")]
        if bad and own["state"] != "done":
            own = {**own, "state": "dependency failed", "reason": f"needs {listed(bad, 3)}"}
        found[name] = own
    return found


def counts(found):
    """'3 done, 1 running, 2 queued' of `statuses`."""
    states = [own["state"] for own in found.values()]
    return ", ".join(f"{states.count(state)} {state}" for state in STATES if state in states)


def is_held(folder):
    """Whether somebody holds the lease of a run's folder."""
    try:
        return (folder / "lease").stat().st_mtime + SLACK > time.time()
    except FileNotFoundError:
        return False


def write_status(folder, **values):
    """Changes some values of a run's status.json."""
    try:
        before = files.read_json(folder / "status.json")
    except UserError:
        before = {}
    files.write_json(folder / "status.json", {**before, **values})


@contextlib.contextmanager
def lease(folder, patience=0):
    """Holds the lease of a run's folder, or of a sweep's while it is written; yields whether it could be had.

    A thread renews it. If it was lost (this process stood still for too long, and another one took over), the process ends
    at once, so that a run is never trained twice.
    """
    lock = Lock(str(folder / "lease"), lifetime=LEASE)
    expired = (folder / "lease").exists() and not is_held(folder)
    try:
        lock.lock(timeout=max(patience, 5 if expired else 0))
        if expired:
            # Two that took over at once may both think they have it for a moment; the library's later look decides.
            time.sleep(3)
            lock.refresh()
    except (TimeOutError, NotLockedError):
        yield False
        return
    stop = threading.Event()

    def renew():
        while not stop.wait(LEASE / 4):
            try:
                lock.refresh()
            except (NotLockedError, OSError) as error:
                print(f"the lease of {folder} is lost ({error}): this process ends", flush=True)
                os._exit(os.EX_TEMPFAIL)

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield True
    finally:
        stop.set()
        thread.join()
        with contextlib.suppress(NotLockedError):
            lock.unlock()


def worker():
    """Who runs it: 'host:pid'."""
    return f"{socket.gethostname()}:{os.getpid()}"


def now():
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def ready(workdir, runs):
    """Names of the runs that can start now, those that were begun first, and whether any is not final.

    Raises:
      UserError: see `read`.
    """
    found = statuses(workdir, runs)
    able = [
        name
        for name, run in runs.items()
        if found[name]["state"] in ("queued", "preempted", "lost")
        and all(found[other]["state"] == "done" for other in run["needs"])
    ]
    begun = [name for name in able if found[name].get("attempts")]
    return [*begun, *(name for name in able if name not in begun)], any(
        own["state"] not in FINAL for own in found.values()
    )
