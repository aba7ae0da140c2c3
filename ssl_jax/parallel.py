"""One pure step on many devices: replicated under pmap, or sharded by jit over a mesh.

Both classes share one interface, so the training loop does not know which one it has:

  rows(batch_size)    the rows of the global batch that this host produces
  put_batch(batch)    those rows, on the devices
  create(function)    the state that `function()` returns, on the devices
  plain(state)        the state as saved: every array once, in its own shape
  like(shapes)        where Orbax should restore such a plain state
  adopt(plain)        a restored plain state, on the devices
  place_shapes(shapes), place_batch_shapes(shapes)
                      the shapes of a plain state or a global batch as `compile`'s function takes them on the devices
  compile(function)   `function(state, batch, ..., total, shard)` on all devices; `total` sums over them and
                      `shard()` identifies each; further arguments are laid out like the state
  read(x)             an array that is identical on all devices, as a NumPy array
"""

import contextlib
import dataclasses
import functools
import glob
import math
import os
import re
import subprocess
import sys
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
import zstandard

from ssl_jax.errors import UserError, cut
from ssl_jax.lazy import jax, lax, sharding
from ssl_jax.optimizers import path_name
from ssl_jax.options import check, one_of, option, whole

# Mesh axes of a parameter, by its name's suffix; the first axis of a layer's parameters is the layer. `tensor` shards
# attention heads and the inner width of the feed-forward network, `fsdp` the hidden size (Shoeybi et al. 2019,
# section 3). Everything else is replicated.
RULES = (
    (r"attention/(query|key|value)/kernel$", (None, "fsdp", "tensor", None)),
    (r"attention/(query|key|value)/bias$", (None, "tensor", None)),
    (r"attention/output/kernel$", (None, "tensor", None, "fsdp")),
    (r"ffn/inner/kernel$", (None, "fsdp", "tensor")),
    (r"ffn/inner/bias$", (None, "tensor")),
    (r"ffn/output/kernel$", (None, "tensor", "fsdp")),
    (r"embeddings/(token|position)$", ("tensor", "fsdp")),
)


@dataclasses.dataclass(frozen=True)
class Parallel:
    """How a run is cut over devices: nothing that changes what is computed."""

    BLOCK = "parallel"

    mode: str = option("pmap", one_of("pmap", "mesh"), "'pmap' replicates; 'mesh' shards parameters by fsdp and tensor")
    devices: int = option(0, whole(0), "how many devices; 0: all")
    fsdp: int = option(1, whole(1), "into how many pieces parameters are cut by their width")
    tensor: int = option(1, whole(1), "into how many pieces attention heads and feed-forward networks are cut")


MESH_AXES = ("data", "fsdp", "tensor")
BATCH_AXES = MESH_AXES[:2]  # that examples are cut over, in batches and in activations


def by_examples(x):
    """Activations [B, ...] cut by examples over the mesh whose program is being traced; unchanged where there is none.

    Without it XLA cuts them as the parameters they meet are cut, by width: every device would then hold all examples'
    activations (GPT-3 175B on 32 x 8: 1,364 GB of them, see docs/scaling.md).
    """
    mesh = sharding.get_abstract_mesh()
    if not {*BATCH_AXES} <= {*mesh.axis_names} or len(x) % math.prod(mesh.shape[axis] for axis in BATCH_AXES):
        return x
    return lax.with_sharding_constraint(x, sharding.PartitionSpec(BATCH_AXES))


# Markers in stderr: the distributed runtime's when another process is gone, and ours after saying why we stop.
_FATAL, _DONE = "JAX distributed service detected fatal errors", "ssl_jax: nothing more to say"
GONE = (
    "another process of this run is gone, or cannot be reached: its own last line says why; start all of them again, "
    "and the run resumes from its newest checkpoint"
)


def initialise(coordinator=None, process_count=None, process_index=None):
    """Joins the other processes, if any, and enables the persistent compilation cache.

    Call it before anything touches a device. `coordinator` is HOST:PORT, 'auto' to let JAX detect it, or None for a
    single process. The cache is in JAX_COMPILATION_CACHE_DIR, by default ~/.cache/ssl_jax/xla.

    Raises:
      UserError: only some of the three are given; the other processes do not join.
    """
    given = [process_count is not None, process_index is not None]
    if coordinator not in (None, "auto") and not all(given) or coordinator in (None, "auto") and any(given):
        raise UserError(
            "several processes need all of --coordinator HOST:PORT, --process_count and --process_index, "
            "or --coordinator auto alone"
        )
    if not jax.config.jax_compilation_cache_dir:
        jax.config.update("jax_compilation_cache_dir", os.path.expanduser("~/.cache/ssl_jax/xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    heal_cache()
    if coordinator is None:
        return
    _filter_stderr()
    try:
        if coordinator == "auto":
            jax.distributed.initialize()
        else:
            jax.distributed.initialize(coordinator, process_count, process_index)
    except (ValueError, RuntimeError) as error:
        raise UserError(f"the processes do not come together: {cut(str(error).splitlines()[0], 200)}") from error


def cache_folder():
    """Where JAX caches compiled programs across processes."""
    return Path(jax.config.jax_compilation_cache_dir)


def heal_cache():
    """Removes unreadable programs from the persistent compilation cache as soon as one fails to load.

    A process killed while writing one leaves a partial file. JAX reports it as a warning, compiles the program, and
    does not replace the existing file: every later start would compile it again.
    """
    shown = warnings.showwarning

    def heal(message, *where, **how):
        failed = re.match(r"Error reading persistent compilation cache entry for '(.*?)': ", str(message))
        if not failed:
            return shown(message, *where, **how)
        # A file is named by program name and hash; the warning has the name, or both.
        for path in cache_folder().glob(f"{glob.escape(failed.group(1))}*-cache"):
            with contextlib.suppress(OSError):
                if not is_whole(path.read_bytes()):
                    path.unlink()

    warnings.filterwarnings("always", "Error reading persistent compilation cache")
    warnings.showwarning = heal


def is_whole(content):
    """Whether an entry of the compilation cache can be decompressed."""
    try:
        if content.startswith(zstandard.FRAME_HEADER):
            zstandard.ZstdDecompressor().decompress(content)
        else:  # JAX's second choice
            zlib.decompress(content)
    except (zstandard.ZstdError, zlib.error):
        return False
    return True


def _filter_stderr():
    """Reduces the runtime's output when another process is gone, some 20 lines of C++, to one line.

    C++ writes to file descriptor 2, which becomes a pipe into a filter. Python keeps writing to the original target.
    """
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    code = f"""
import sys
for line in sys.stdin:
    if {_DONE!r} in line:
        break
    if {_FATAL!r} in line:
        sys.stderr.write({f"error: {GONE}"!r} + chr(10))
        break
    if not line.startswith("[Gloo]"):
        sys.stderr.write(line)
        sys.stderr.flush()
for line in sys.stdin:
    pass
"""
    # In its own session: Ctrl-C is meant for this process, which may still have output.
    filtering = subprocess.Popen([sys.executable, "-S", "-c", code], stdin=subprocess.PIPE, start_new_session=True)
    os.dup2(filtering.stdin.fileno(), 2)


def is_one_of_several():
    """Whether this process has joined others."""
    return jax.distributed.is_initialized()


def is_gone(error):
    """Whether an exception in one of several processes means that another one is gone."""
    words = (
        "Gloo",
        "NCCL",
        "coordination",
        "Connection closed",
        "Socket closed",
        "UNAVAILABLE",
        "heartbeat",
        "Barrier",
    )
    return any(word in str(error) for word in words)


def leave(code, gone=False):
    """Ends one of several processes once it has said why, without waiting for the others, which may be waiting for it.

    `gone`: it ends because another one did; this prints that.
    """
    if not is_one_of_several():
        return
    sys.stdout.flush()
    if gone:
        os.write(2, f"{_FATAL}\n".encode())  # once, should the distributed runtime notice at the same time
    os.write(2, f"{_DONE}\n".encode())
    time.sleep(1)  # lets others that stop for the same reason say so
    os._exit(code)


def build_parallel(config):
    """Builds the class for `config.mode`, 'pmap' or 'mesh'; `config.devices` 0 uses all devices.

    Raises:
      UserError: an unknown mode, more devices than available, or sizes that do not divide the device count.
    """
    check(Parallel, config, "mode", "devices", "fsdp", "tensor")
    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    if config.devices:
        if jax.process_count() > 1:
            raise UserError("parallel.devices is for one process; several use all their devices")
        if config.devices > len(devices):
            raise UserError(f"parallel.devices={config.devices}, but this run has {len(devices)}")
        devices = devices[: config.devices]
    check_cut(config, len(devices))
    if config.mode == "pmap":
        return Replicated(devices)
    shape = (-1, config.fsdp, config.tensor)
    return Sharded(sharding.Mesh(np.array(devices).reshape(shape), MESH_AXES))


def check_cut(config, count):
    """Raises UserError unless `count` devices can be cut as the `parallel` block of a config says."""
    if config.mode == "pmap":
        if config.fsdp * config.tensor != 1:
            raise UserError("parallel.fsdp and parallel.tensor need parallel.mode='mesh'; pmap replicates")
    elif count % (config.fsdp * config.tensor):
        raise UserError(
            f"{count} devices are not divisible by parallel.fsdp={config.fsdp} x parallel.tensor={config.tensor}"
        )


def abstract(count, fsdp, tensor):
    """A `Sharded` over a mesh of `count` devices that need not be there: it tells how arrays are cut."""
    return Sharded(sharding.AbstractMesh((count // (fsdp * tensor), fsdp, tensor), MESH_AXES))


@functools.cache
def _replicate(devices):
    """The program that puts arrays [devices, ...] on their devices; one for all callers, so it is traced once."""
    # Same axis name as in `compile`: with another one, the step would be compiled first for these arrays and then
    # again for its own results.
    return jax.pmap(lambda x: x, axis_name="device", devices=devices)


class Replicated:
    """pmap: every device holds all parameters and a part of the batch."""

    def __init__(self, devices):
        self.devices = devices
        self.local = [device for device in devices if device.process_index == jax.process_index()]
        self.batch_shards = self.device_count = len(devices)

    def rows(self, batch_size):
        per_device = batch_size // len(self.devices)
        first = self.devices.index(self.local[0])
        return slice(first * per_device, (first + len(self.local)) * per_device)

    def put_batch(self, batch):
        return jax.tree.map(lambda x: x.reshape(len(self.local), -1, *x.shape[1:]), batch)

    def create(self, function):
        return self.adopt(jax.jit(function)())

    def plain(self, state):
        # x[0] would gather from every device. The copy matters: on a CPU a view would pin the buffer
        # that the next step wants to reuse.
        return jax.tree.map(lambda x: np.array(x.addressable_data(0)).reshape(x.shape[1:]), state)

    def like(self, shapes):
        where = sharding.SingleDeviceSharding(self.local[0])
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), shapes)

    def adopt(self, plain):
        def stack(x):
            return np.broadcast_to(x, (len(self.local), *np.shape(x)))

        return _replicate(tuple(self.devices))(jax.tree.map(stack, plain))

    def place_shapes(self, shapes):
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct((len(self.local), *x.shape), x.dtype), shapes)

    def place_batch_shapes(self, shapes):
        def cut(x):
            return jax.ShapeDtypeStruct((len(self.local), x.shape[0] // len(self.local), *x.shape[1:]), x.dtype)

        return jax.tree.map(cut, shapes)

    def read(self, x):
        return np.asarray(x.addressable_data(0))[0]

    def compile(self, function, donate=False):
        mapped = functools.partial(
            function,
            total=functools.partial(lax.psum, axis_name="device"),
            shard=functools.partial(lax.axis_index, "device"),
        )
        return jax.pmap(mapped, axis_name="device", devices=self.devices, donate_argnums=(0,) if donate else ())


class Sharded:
    """jit over a mesh with axes data, fsdp and tensor; the batch is sharded over data and fsdp."""

    def __init__(self, mesh):
        self.mesh = mesh
        self.batch_sharding = sharding.NamedSharding(mesh, sharding.PartitionSpec(BATCH_AXES))
        self.batch_shards = mesh.shape["data"] * mesh.shape["fsdp"]
        self.device_count = mesh.size

    def rows(self, batch_size):
        parts = self.batch_sharding.addressable_devices_indices_map((batch_size,)).values()
        bounds = [part[0].indices(batch_size) for part in parts]
        return slice(min(start for start, _, _ in bounds), max(stop for _, stop, _ in bounds))

    def put_batch(self, batch):
        return jax.tree.map(lambda x: jax.make_array_from_process_local_data(self.batch_sharding, x), batch)

    def sharding(self, path, x):
        """The sharding of one array of the state, by its name; an axis that does not divide stays whole."""
        name = path_name(path)
        for pattern, axes in RULES:
            if re.search(pattern, name):
                fitting = [
                    axis if axis and size % self.mesh.shape[axis] == 0 else None
                    for axis, size in zip(axes, x.shape, strict=True)
                ]
                while fitting and fitting[-1] is None:
                    fitting.pop()  # as jit writes its output specs: equal specs compile once
                return sharding.NamedSharding(self.mesh, sharding.PartitionSpec(*fitting))
        return sharding.NamedSharding(self.mesh, sharding.PartitionSpec())

    def create(self, function):
        shardings = jax.tree_util.tree_map_with_path(self.sharding, jax.eval_shape(function))
        return jax.jit(function, out_shardings=shardings)()

    def plain(self, state):
        return state

    def like(self, shapes):
        def place(path, x):
            return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=self.sharding(path, x))

        return jax.tree_util.tree_map_with_path(place, shapes)

    def place_shapes(self, shapes):
        return self.like(shapes)

    def place_batch_shapes(self, shapes):
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=self.batch_sharding), shapes)

    def adopt(self, plain):
        return jax.tree_util.tree_map_with_path(lambda path, x: jax.device_put(x, self.sharding(path, x)), plain)

    def read(self, x):
        return np.asarray(x.addressable_data(0))

    def compile(self, function, donate=False):
        def whole(*arguments):
            with sharding.use_abstract_mesh(self.mesh.abstract_mesh):
                made = function(*arguments, total=lambda x: x, shard=lambda: 0)
            # Outputs keep the sharding of the inputs; otherwise the next step would be recompiled.
            return jax.tree_util.tree_map_with_path(
                lambda path, x: lax.with_sharding_constraint(x, self.sharding(path, x)), made
            )

        return jax.jit(whole, donate_argnums=(0,) if donate else ())
