"""A finished run as something to start from, to learn from or to ask."""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from ssl_jax import tokenizers
from ssl_jax.checkpoints import Checkpoints, fingerprint
from ssl_jax.errors import UserError
from ssl_jax.models.model import Model, build_model, dummy_batch
from ssl_jax.parallel import Replicated


class Run(NamedTuple):
    """What `load_run` gives."""

    workdir: Path
    config: ConfigDict
    model: Model
    params: Any
    tokenizer: Any
    vocabulary: tokenizers.Vocabulary
    step: int | None = None  # after which the parameters were saved; None: not known
    notes: tuple[str, ...] = ()  # lines on how they were read, for who starts from them

    @property
    def tokenizer_hash(self):
        """Of the tokenizer's file, as in a prepared corpus' passport."""
        return tokenizers.fingerprint(self.workdir / "tokenizer.json")

    @property
    def params_hash(self):
        """Changes with any bit of the parameters; hexadecimal."""
        return hashlib.sha256(np.asarray(fingerprint(self.params)).tobytes()).hexdigest()


def read_config(workdir):
    """The resolved config of a run.

    Raises:
      UserError: the folder holds no run.
    """
    path = Path(workdir) / "config.json"
    if not path.exists():
        raise UserError(f"{workdir} holds no run: there is no config.json; train one with scripts/train.py")
    return ConfigDict(json.loads(path.read_text())["config"])


def is_converted(workdir):
    """Whether a folder holds converted weights and no run of ours: its config.json says what they were made from."""
    path = Path(workdir) / "config.json"
    return path.exists() and "converted_from" in json.loads(path.read_text())


def load_run(workdir, parallel=None):
    """Reads a run's folder: its config, its tokenizer, the parameters of its newest checkpoint.

    Args:
      workdir: the run's folder.
      parallel: the parameters are as its `adopt` takes them; None: on one device.

    Raises:
      UserError: the folder holds no run, or no checkpoint that can be read.
    """
    config = read_config(workdir)
    tokenizer = tokenizers.load(Path(workdir) / "tokenizer.json")
    model = build_model(config)
    shapes = jax.eval_shape(model.init, jax.random.key(0), dummy_batch())["params"]
    parallel = parallel or Replicated(jax.local_devices()[:1])
    checkpoints = Checkpoints(workdir, None, config.keep_checkpoints)
    state = checkpoints.restore({"params": parallel.like(shapes)})
    checkpoints.close()
    if state is None:
        raise UserError(f"{workdir} holds no checkpoint yet")
    vocabulary = tokenizers.vocabulary(tokenizer)
    step = None if is_converted(workdir) else checkpoints.restored
    return Run(Path(workdir), config, model, state["params"], tokenizer, vocabulary, step)
