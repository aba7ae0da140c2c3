"""Save, find and verify a run's states with Orbax: asynchronous, atomic, the newest readable one wins."""

import contextlib
import re
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax import lax
from jax.experimental import multihost_utils

from ssl_jax.errors import UserError
from ssl_jax.old_configs import complete


def fingerprint(tree):
    """One number per array that changes with any of its bits: [leaves] uint32.

    The sum, modulo 2**32, of every element's bits times an odd number made from its index, mixed. An odd factor has
    an inverse and so has the mixing, so no change of a single element can cancel; without the mixing an even number
    of changed signs would. Integer sums do not depend on their order, so the numbers are the same on one device, on a
    mesh and after a restart.
    """
    # One after the other: on virtual devices of a CPU, sums of sharded arrays that are in flight together can each wait
    # for a thread that another one holds, and XLA ends the process.
    return np.array([jax.device_get(_sum_of_bits(x)) for x in jax.tree.leaves(tree)], np.uint32)


@jax.jit  # for each array: they have few shapes, so little is compiled
def _sum_of_bits(x):
    bits = lax.bitcast_convert_type(x, {2: jnp.uint16, 4: jnp.uint32}[x.dtype.itemsize])
    index = jnp.zeros(x.shape, jnp.uint32)
    for axis, size in enumerate(x.shape):
        index = index * jnp.uint32(size) + lax.broadcasted_iota(jnp.uint32, x.shape, axis)
    product = bits.astype(jnp.uint32) * (2 * index + 1)
    mixed = (product ^ (product >> 15)) * jnp.uint32(0x9E3779B1)
    return jnp.sum(mixed ^ (mixed >> 13), dtype=jnp.uint32)


class Checkpoints:
    """The checkpoints of one run, in `<workdir>/checkpoints/<step>/`."""

    def __init__(self, workdir, config, keep):
        """
        Args:
          workdir: the run's folder.
          config: a JSON-able dict of everything that decides the run's numbers; saved with each state. None:
            read only, whatever the config was.
          keep: how many of the newest checkpoints stay on disk.
        """
        self.folder = Path(workdir).absolute() / "checkpoints"
        self.config = config
        self.restored = None  # the step of what `restore` gave
        writes = config is not None
        self.manager = ocp.CheckpointManager(
            self.folder,
            item_names=("state", "fingerprint", "config"),
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

    def save(self, step, state):
        """Starts to write `state`, a tree of arrays; a step that is already there stays as it is.

        Raises:
          UserError: this or an earlier save could not be written (a full disk, a folder that is gone).
        """
        if step in self.manager.all_steps():
            return
        with self._told():
            self.manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.PyTreeSave(state),
                    fingerprint=ocp.args.PyTreeSave(fingerprints(state)),
                    config=ocp.args.JsonSave(self.config),
                ),
            )

    def wait(self):
        """Returns when everything is on disk.

        Raises:
          UserError: as `save`.
        """
        with self._told():
            self.manager.wait_until_finished()

    def close(self):
        self.manager.close()

    @contextlib.contextmanager
    def _told(self):
        try:
            yield
        except Exception as error:  # Orbax and tensorstore raise what they like, also from their threads.
            raise UserError(f"cannot save a checkpoint in {self.folder}: {_reason(error)}") from error

    def restore(self, like):
        """The newest state that can be read, or None when there is none at all.

        A checkpoint that cannot be read or whose fingerprint differs is named on stderr, and the one before it
        is tried. Once one is found, those that were passed over are set aside as `<step>.damaged`.

        Args:
          like: a dict of trees of `jax.ShapeDtypeStruct`, with shardings on a mesh. Of what was saved, only the
            keys that it has are read.

        Raises:
          UserError: a readable checkpoint is of another config (the line holds the differing keys), or
            there are checkpoints and none is readable.
        """
        damaged = []
        for step in sorted(self.manager.all_steps(), reverse=True):
            state = None
            try:
                state = self._read(step, like)
            except (UserError, MemoryError, PermissionError):
                raise
            except Exception as error:  # Orbax, tensorstore and JSON each fail in their own way.
                print(f"damaged checkpoint {self.folder / str(step)} skipped: {_reason(error)}", file=sys.stderr)
            if _on_all_hosts(state is not None):
                if self.config is not None:
                    self._set_aside(damaged)
                self.restored = step
                return state
            damaged.append(step)
        if damaged:
            raise UserError(
                f"no checkpoint in {self.folder} can be read; remove the folder to start the run anew"
            )
        return None

    def _read(self, step, like):
        config = self.manager.restore(step, args=ocp.args.Composite(config=ocp.args.JsonRestore()))["config"]
        current = config if self.config is None else self.config
        differing = differing_keys(complete(config, current), current)
        if differing:
            raise UserError(
                f"{self.folder / str(step)} is of another config: {', '.join(differing)}; "
                "use another --workdir or the config that it was made with"
            )
        shapes = {key: np.zeros(len(jax.tree.leaves(tree)), np.uint32) for key, tree in like.items()}
        restored = self.manager.restore(
            step, args=ocp.args.Composite(state=_part(like), fingerprint=_part(shapes))
        )
        state, saved = restored["state"], restored["fingerprint"]
        if not all(map(_is_array, jax.tree.leaves(state.get("sums", {})))):
            # Of before one of the metrics was there: all of them start again, at the next line of metrics at the latest.
            state["sums"] = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), like["sums"])
            del saved["sums"]
        made = fingerprints({key: state[key] for key in saved})
        if not all(np.array_equal(made[key], saved[key]) for key in made):
            raise ValueError("its numbers are not those that were saved")
        return state

    def _set_aside(self, steps):
        for step in steps if jax.process_index() == 0 else ():
            path = self.folder / str(step)
            earlier = len(list(self.folder.glob(f"{step}.damaged*")))
            path.rename(path.with_name(f"{step}.damaged" + (f"-{earlier}" if earlier else "")))
        if steps:
            multihost_utils.sync_global_devices("damaged checkpoints set aside")
            self.manager.reload()


def _is_array(x):
    """Whether Orbax has read a leaf: what a checkpoint lacks it leaves as it was asked for."""
    return not isinstance(x, jax.ShapeDtypeStruct)


def _on_all_hosts(flag):
    """Whether the flag is true on every host."""
    return bool(np.all(multihost_utils.process_allgather(np.asarray(flag))))


def _reason(error):
    """The system's own words at the end of tensorstore's long lines, or else the first line."""
    words = re.search(r": ([^:]+) \[os_error_code", str(error))
    return words.group(1) if words else (str(error) or repr(error)).splitlines()[0][:200]


def fingerprints(state):
    """The fingerprint of each of a state's trees: key -> [leaves] uint32."""
    return {key: fingerprint(tree) for key, tree in state.items()}


def _part(like):
    """Reads what `like` names of a saved dict."""
    arguments = ocp.checkpoint_utils.construct_restore_args(like)
    return ocp.args.PyTreeRestore(like, restore_args=arguments, partial_restore=True)


def differing_keys(saved, current, prefix=""):
    """['optimizer.learning_rate: 0.001 was 0.0001', ...]: the leaves in which two nested dicts differ."""
    lines = []
    for key in sorted(saved.keys() | current.keys()):
        old, new = saved.get(key), current.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            lines += differing_keys(old, new, f"{prefix}{key}.")
        elif old != new:
            lines.append(f"{prefix}{key}: {new} was {old}")
    return lines
