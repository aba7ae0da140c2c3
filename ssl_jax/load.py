"""Reads any folder as a run: one of ours, or a model of `transformers`."""

from ssl_jax import files, runs
from ssl_jax.errors import UserError
from ssl_jax.interop import config_files, huggingface
from ssl_jax.source import is_theirs


def load_run(workdir, parallel=None, step=0):
    """Reads a folder as a `runs.Run`: its config, its tokenizer, its parameters.

    Args:
      workdir: a run's folder, see `runs.load`, or one of `transformers`, see `interop.huggingface.load`.
      parallel: the parameters are as its `adopt` takes them; None: on one device.
      step: of the checkpoint of a run of ours; 0: the newest.

    Raises:
      UserError: the folder holds neither, several seeds of a run, no readable checkpoint, or files that are damaged or
        belong to another run.
    """
    workdir = files.expanded(workdir)
    if not is_theirs(workdir):
        return runs.load(workdir, parallel, step)
    if step:
        raise UserError(f"{workdir} is of transformers, and has no checkpoint of step {step}")
    return huggingface.load(workdir, parallel)


def read_config(workdir):
    """The resolved config of a run, see `runs.read_config`, or of a folder of `transformers`, see `config_files`.

    Raises:
      UserError: the folder holds neither, or its config.json is damaged or does not match the checkpoints.
    """
    return config_files.read_config(workdir) if is_theirs(workdir) else runs.read_config(workdir)
