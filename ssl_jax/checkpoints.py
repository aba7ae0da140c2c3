"""Saves, finds and verifies a run's states with Orbax: asynchronous, atomic, the newest readable one wins."""

import contextlib
import hashlib
import json
import logging
import re
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import multihost_utils

# Both emit warnings on import and in use that users of a run cannot act on.
logging.getLogger("absl").addFilter(
    lambda record: record.levelno >= logging.ERROR or not re.search(r"[/\\](grain|orbax)[/\\]", record.pathname)
)
import orbax.checkpoint as ocp  # noqa: E402

from ssl_jax import files
from ssl_jax.errors import UserError, cut, listed
from ssl_jax.objectives import OBJECTIVES
from ssl_jax.old_configs import complete
from ssl_jax.source import CONVERTED, is_within, saved_config

# A checkpoint may be resumed with different values of these: they do not affect which examples are seen, how they are
# masked or what is optimized.
FREE_KEYS = ("run", "parallel", "variant")
# What run.extend may change: the length of a run, and the keys that assign examples to steps.
EXTENDED = ("steps", "task.epochs", "phases", "ramp")


class OtherConfigError(UserError):
    """A checkpoint is intact but belongs to another config."""


def fingerprint(tree):
    """One hash per array that changes with any of its bits: [leaves] uint32.

    The sum, modulo 2**32, of every element's bits times an odd number derived from its index, mixed. The odd factor and
    the mixing are both invertible, so a change to a single element cannot cancel; without the mixing an even number of
    flipped signs would. Integer sums do not depend on order, so the hashes are the same on one device, on a mesh and
    after a restart.
    """
    # In sequence: on a CPU's virtual devices, concurrent sums of sharded arrays can deadlock, each waiting for a thread
    # another one holds, and XLA ends the process.
    return np.array([_sum_on_host(x) if _is_small(x) else _sum_on_device(x) for x in jax.tree.leaves(tree)], np.uint32)


def _is_small(x):
    """Whether an array is added up sooner than a program for its shape is compiled."""
    return x.size <= 1 << 20 and (not isinstance(x, jax.Array) or x.is_fully_addressable)


def _sum_on_host(x):
    bits = np.asarray(x).reshape(-1).view(np.dtype(f"uint{8 * x.dtype.itemsize}"))
    return _sum_of_bits(np, bits, np.arange(x.size, dtype=np.uint32))


@jax.jit
def _sum_on_device(x):
    bits = lax.bitcast_convert_type(x, {2: jnp.uint16, 4: jnp.uint32}[x.dtype.itemsize])
    index = jnp.zeros(x.shape, jnp.uint32)
    for axis, size in enumerate(x.shape):
        index = index * jnp.uint32(size) + lax.broadcasted_iota(jnp.uint32, x.shape, axis)
    return _sum_of_bits(jnp, bits, index)


def _sum_of_bits(numpy, bits, index):
    product = bits.astype(numpy.uint32) * (2 * index + 1)
    mixed = (product ^ (product >> 15)) * numpy.uint32(0x9E3779B1)
    return numpy.sum(mixed ^ (mixed >> 13), dtype=numpy.uint32)


class Checkpoints:
    """The checkpoints of one run, in `<workdir>/checkpoints/<step>/`."""

    def __init__(self, workdir, config, keep, free=()):
        """
        Args:
          workdir: the run's folder.
          config: the values that determine the run's results, see `decisive_values`, as a JSON-able dict; saved with
            each state. None: read-only, whatever the config was.
          keep: how many of the newest checkpoints to keep on disk.
          free: names of keys, or of blocks of keys, in which a restored checkpoint may differ from `config`.
        """
        self.folder = Path(workdir).absolute() / "checkpoints"
        self.config, self.free = config, free
        self.restored = self.restored_config = None  # step and config of the checkpoint `restore` read
        self.saved_at = time.monotonic()
        writes = config is not None
        self.manager = ocp.CheckpointManager(
            self.folder,
            item_names=("state", "fingerprint", "config", "log"),
            options=ocp.CheckpointManagerOptions(
                max_to_keep=keep,
                enable_async_checkpointing=True,
                create=writes,
                read_only=not writes,
                cleanup_tmp_directories=writes,
            ),
        )

    def newest(self):
        """The folder of the newest finished checkpoint, or None."""
        self.wait()
        step = self.manager.latest_step()
        return None if step is None else self.folder / str(step)

    def save(self, step, state, log=None):
        """Starts writing `state`, a tree of arrays; a step that already exists is left unchanged.

        `log` is a JSON-able dict of what the run has logged so far.

        Raises:
          UserError: this or an earlier save failed (full disk, missing folder).
        """
        if step in self.manager.all_steps():
            return
        with self._told():
            self.manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.PyTreeSave(state),
                    fingerprint=ocp.args.PyTreeSave(fingerprints(state)),
                    config=ocp.args.JsonSave(files.sealed(self.config)),
                    log=ocp.args.JsonSave(files.sealed(log or {})),
                ),
            )
        self.saved_at = time.monotonic()

    def late(self, step, minutes):
        """Whether the last save, or the start, was at least `minutes` ago; 0 minutes: never.

        Multiple hosts use the first one's clock, every tenth step: agreeing makes them wait for each other.
        """
        late = bool(minutes) and time.monotonic() - self.saved_at >= 60 * minutes
        if jax.process_count() == 1:
            return late
        return bool(minutes) and step % 10 == 0 and bool(multihost_utils.broadcast_one_to_all(np.asarray(late)))

    def wait(self):
        """Blocks until everything is on disk.

        Raises:
          UserError: as for `save`.
        """
        with self._told():
            self.manager.wait_until_finished()

    def close(self):
        self.manager.close()

    @contextlib.contextmanager
    def _told(self):
        try:
            yield
        except Exception as error:  # Orbax and tensorstore raise arbitrary types, also from their threads.
            raise UserError(f"cannot save a checkpoint in {self.folder}: {_reason(error)}") from error

    def restore(self, like, step=0):
        """The newest readable state, or that of a step, or None if there are no checkpoints.

        A checkpoint that cannot be read, whose fingerprint differs or whose step does not match its folder is named on
        stderr, and the previous one is tried. Once one is readable, those skipped are renamed to `<step>.damaged`.

        Args:
          like: a dict of trees of `jax.ShapeDtypeStruct`, with shardings on a mesh. Only its keys are read from what
            was saved.
          step: of the checkpoint; 0: the newest.

        Raises:
          UserError: none is of `step`; a readable checkpoint belongs to another config (the message lists the differing
            keys), or checkpoints exist but none is readable.
        """
        damaged, steps = {}, sorted(self.manager.all_steps(), reverse=True)
        if step and step not in steps:
            raise UserError(
                f"{self.folder} has no checkpoint of step {step}, only of {listed(reversed(steps)) or 'none'}; "
                "run.keep_checkpoints says how many a run keeps"
            )
        if step:
            steps = [step]
        for step in steps:
            state = None
            try:
                config = saved_config(self.folder / str(step))
                self._check_config(step, config)
                state = self._read(step, like, config)
            except (OtherConfigError, MemoryError, PermissionError):
                raise
            except Exception as error:  # Orbax, tensorstore and JSON each raise their own exceptions.
                damaged[step] = _reason(error)
                print(f"damaged checkpoint {self.folder / str(step)} skipped: {damaged[step]}", file=sys.stderr)
            if _on_all_hosts(state is not None):
                if self.config is not None:
                    self._set_aside(list(damaged))
                self.restored, self.restored_config = step, config
                return state
            damaged.setdefault(step, "another host cannot read it")
        if damaged:
            newest = max(damaged)
            raise UserError(
                f"no checkpoint in {self.folder} can be read (of {newest}: {damaged[newest]}); if none can be repaired, "
                "another --workdir starts from step 0"
            )
        return None

    def restored_log(self):
        """What the run had logged by the restored step, see `save`; None: unknown or nothing restored."""
        return None if self.restored is None else saved_log(self.folder / str(self.restored))

    def _check_config(self, step, saved):
        if CONVERTED in saved:
            if self.config is not None:
                raise OtherConfigError(f"{self.folder.parent} holds converted weights: use another --workdir")
            return
        if self.config is None:
            return
        differing = differing_keys(decisive_values(complete(saved, self.config)), decisive_values(self.config))
        differing = {name: line for name, line in differing.items() if not is_within(name, self.free)}
        if differing:
            extend = "continue to these with --config.run.extend=True, or "
            raise OtherConfigError(
                f"{self.folder / str(step)} is of another config: {told(differing)}; "
                f"{extend if all(is_within(name, EXTENDED) for name in differing) else ''}"
                "use another --workdir or the config that it was made with"
            )

    def _read(self, step, like, config):
        shapes = {key: np.zeros(len(jax.tree.leaves(tree)), np.uint32) for key, tree in like.items()}
        restored = self.manager.restore(step, args=ocp.args.Composite(state=_part(like), fingerprint=_part(shapes)))
        state, saved = restored["state"], restored["fingerprint"]
        missing = {key for key, tree in state.items() if not all(map(_is_array, jax.tree.leaves(tree)))}
        if missing - {"seed", "sums"}:
            raise ValueError(f"it has no {listed(sorted(missing))} of this model's names and shapes")
        if "seed" in missing:  # saved before several seeds were trained together
            state["seed"] = np.asarray(config["seed"], like["seed"].dtype)
        if "sums" in missing:  # saved before one of the metrics existed: reset all of them
            state["sums"] = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), like["sums"])
        made = fingerprints({key: tree for key, tree in state.items() if key not in missing})
        if not all(np.array_equal(made[key], saved[key]) for key in made):
            raise ValueError("its numbers are not those that were saved")
        inside = np.unique(np.asarray(jax.device_get(state["step"]))) if "step" in state else [step]
        if list(inside) != [step]:
            raise ValueError(f"it is of step {listed(inside)}")
        return state

    def _set_aside(self, steps):
        for step in steps if jax.process_index() == 0 else ():
            path = self.folder / str(step)
            earlier = len(list(self.folder.glob(f"{step}.damaged*")))
            path.rename(path.with_name(f"{step}.damaged" + (f"-{earlier}" if earlier else "")))
        if steps:
            multihost_utils.sync_global_devices("damaged checkpoints set aside")
            self.manager.reload()


def saved_log(checkpoint):
    """What a run had logged when a checkpoint was saved; None if the copy is missing or damaged."""
    path = checkpoint / "log" / "metadata"
    try:
        return files.unsealed(files.read_json(path), path)
    except UserError:
        return None


def check_shapes(checkpoint, like):
    """Raises UserError unless under the keys of `like`, a dict of trees, a checkpoint has the same arrays and shapes.

    Args:
      checkpoint: its folder.
      like: a part of a state, with arrays or `jax.ShapeDtypeStruct` as leaves.
    """
    state = Path(checkpoint).absolute() / "state"  # given a relative path, Orbax silently reads nothing
    try:
        metadata = ocp.Checkpointer(ocp.PyTreeCheckpointHandler()).metadata(state).item_metadata.tree
    except Exception as error:  # Orbax and JSON each raise their own exceptions.
        raise UserError(f"{checkpoint} cannot be read: {_reason(error)}") from error
    there, here = (
        {jax.tree_util.keystr(path, simple=True, separator="/"): list(x.shape) for path, x in leaves}
        for leaves in map(jax.tree_util.tree_leaves_with_path, ({key: metadata.get(key) for key in like}, like))
    )
    differing = differing_keys(there, here)
    if differing:
        raise UserError(f"{checkpoint} is of other parameters or another optimizer: {told(differing)}")


def _is_array(x):
    """Whether Orbax has read a leaf: it returns what a checkpoint lacks as requested."""
    return not isinstance(x, jax.ShapeDtypeStruct)


def _on_all_hosts(flag):
    """Whether the flag is true on every host."""
    return bool(np.all(multihost_utils.process_allgather(np.asarray(flag))))


def anywhere(flag):
    """Whether the flag is true on any host."""
    return bool(np.any(multihost_utils.process_allgather(np.asarray(flag))))


def require_same(values):
    """Raises UserError on all hosts, with the differing keys, unless they have the same nested dict of JSON."""
    if jax.process_count() == 1:
        return
    text = np.frombuffer(json.dumps(values, sort_keys=True).encode(), np.uint8)
    digest = np.frombuffer(hashlib.sha256(text).digest(), np.uint8)
    digests, sizes = (multihost_utils.process_allgather(x) for x in (digest, np.asarray(text.size)))
    other = next((number for number, one in enumerate(digests) if not np.array_equal(one, digests[0])), None)
    if other is None:
        return
    texts = multihost_utils.process_allgather(np.pad(text, (0, int(sizes.max()) - text.size), constant_values=ord(" ")))
    first, theirs = (json.loads(texts[number].tobytes()) for number in (0, other))
    raise UserError(
        f"process {other} has another config than process 0: {told(differing_keys(first, theirs))}; "
        "start the same command on every host"
    )


def _reason(error):
    """The system's error message at the end of tensorstore's long lines, or else the first line."""
    words = re.search(r": ([^:]+) \[os_error_code", str(error))
    if words:
        return words.group(1)
    return (str(error) or repr(error)).splitlines()[0].split(" See full TensorStore details")[0][:200]


def fingerprints(state):
    """The fingerprint of each of a state's trees: key -> [leaves] uint32."""
    return {key: fingerprint(tree) for key, tree in state.items()}


def _part(like):
    """Arguments to read only what `like` names from a saved dict."""
    arguments = ocp.checkpoint_utils.construct_restore_args(like)
    return ocp.args.PyTreeRestore(like, restore_args=arguments, partial_restore=True)


def decisive_values(values):
    """The values of a config, a nested dict of JSON, that determine a run's results.

    Leaves out FREE_KEYS, data locations and keys that are not read.
    """
    dropped = {*FREE_KEYS, "data.root", "task.folder", "task.augmented"}
    source, teacher = (isinstance(block, dict) and block for block in (values.get("init"), values.get("teacher")))
    if not (source and source.get("run")):
        dropped.add("init")
    if source and source.get("run") or teacher and teacher.get("runs"):
        dropped.add("data.tokenizer.path")  # may be theirs (source.resolve); only its hash matters
    if any(row.pairs and values.get("losses", {}).get(name) for name, row in OBJECTIVES.items()):
        dropped.add("data.unlabelled")  # all pairs have a label
    return _without(dropped, values)


def _without(names, values, prefix=""):
    return {
        key: _without(names, value, f"{prefix}{key}.") if isinstance(value, dict) else value
        for key, value in values.items()
        if prefix + key not in names
    }


def differing_keys(saved, current, prefix=""):
    """The leaves that differ between two nested dicts.

    For example 'optimizer.learning_rate' -> 'optimizer.learning_rate: 0.001 was 0.0001'.
    """
    lines = {}
    for key in sorted(saved.keys() | current.keys()):
        name, old, new = f"{prefix}{key}", saved.get(key), current.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            lines |= differing_keys(old, new, f"{name}.")
        elif old != new:
            lines[name] = f"{name}: {_told(new)} was {_told(old)}"
    return lines


def _told(value):
    return "not set" if value is None else cut(str(value), 40) or "''"


def told(differing, most=6):
    """The output of `differing_keys`, formatted for a message."""
    more = f" and {len(differing) - most} more" if len(differing) > most else ""
    return ", ".join(list(differing.values())[:most]) + more
