"""A finished run, ours or a model of `transformers`, as something to start from, to learn from or to ask."""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from ssl_jax import files, tokenizers
from ssl_jax.checkpoints import Checkpoints, fingerprint
from ssl_jax.errors import UserError
from ssl_jax.models.model import Model, build_model, dummy_batch
from ssl_jax.old_configs import complete
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
        """Equal where the same text has the same ids; see `tokenizers.identity`."""
        return tokenizers.identity(self.tokenizer)

    @property
    def params_hash(self):
        """Changes with any bit of the parameters; hexadecimal."""
        return hashlib.sha256(fingerprint(self.params).tobytes()).hexdigest()


def read_config(workdir):
    """The resolved config of a run, or of a folder of `transformers`, see `interop.huggingface.read_config`.

    Raises:
      UserError: the folder holds neither.
    """
    from ssl_jax.interop import huggingface  # which makes runs

    if huggingface.is_folder(workdir):
        return huggingface.read_config(workdir)
    path = Path(workdir) / "config.json"
    if not path.exists():
        raise UserError(f"{workdir} holds no run: there is no config.json; train one with scripts/train.py")
    return ConfigDict(complete(json.loads(path.read_text())["config"]))


def is_converted(workdir):
    """Whether a folder holds no run of ours: it is one of `transformers`, or its config.json says what it was made from."""
    from ssl_jax.interop import huggingface

    path = Path(workdir) / "config.json"
    return huggingface.is_folder(workdir) or path.exists() and "converted_from" in json.loads(path.read_text())


def is_there(workdir):
    """Whether a folder holds a run of ours or a model of `transformers`."""
    from ssl_jax.interop import huggingface

    return (Path(workdir) / "config.json").exists() or huggingface.is_folder(workdir)


def tokenizer_path(workdir):
    """What `data.tokenizer.path` is for the tokenizer of a run, or of a folder of `transformers`."""
    from ssl_jax.interop import huggingface

    workdir = Path(workdir)
    if huggingface.is_folder(workdir):
        # ELECTRA's halves have the same.
        return workdir if (workdir / "config.json").exists() else workdir / huggingface.HALVES[0]
    return workdir / "tokenizer.json"


def load_run(workdir, parallel=None):
    """Reads a run's folder: its config, its tokenizer, the parameters of its newest checkpoint.

    Args:
      workdir: the run's folder, or one of `transformers`, see `interop.huggingface.load`.
      parallel: the parameters are as its `adopt` takes them; None: on one device.

    Raises:
      UserError: the folder holds no run, or no checkpoint that can be read.
    """
    from ssl_jax.interop import huggingface

    if huggingface.is_folder(workdir):
        return huggingface.load(workdir, parallel)
    config = read_config(workdir)
    tokenizer = tokenizers.load(Path(workdir) / "tokenizer.json")
    model = build_model(config)
    shapes = jax.eval_shape(model.init, jax.random.key(0), dummy_batch(model.orders))["params"]
    parallel = parallel or Replicated(jax.local_devices()[:1])
    checkpoints = Checkpoints(workdir, None, config.keep_checkpoints)
    state = checkpoints.restore({"params": parallel.like(shapes)})
    checkpoints.close()
    if state is None:
        raise UserError(f"{workdir} holds no checkpoint yet")
    vocabulary = tokenizers.vocabulary(tokenizer)
    step = None if is_converted(workdir) else checkpoints.restored
    return Run(Path(workdir), config, model, state["params"], tokenizer, vocabulary, step)


def save_run(run, workdir, source):
    """Writes weights that came from elsewhere as a run's folder, at once or not at all.

    Args:
      run: a `Run`.
      workdir: new, or empty.
      source: where the weights came from; `converted_from` in config.json.
    """
    from ssl_jax import logs  # which imports torch where it is, for TensorBoard's sake

    with files.new_folder(workdir) as folder:
        tokenizers.save(run.tokenizer, folder / "tokenizer.json")
        content = {"config": json.loads(run.config.to_json()), "converted_from": str(source)}
        files.write_json(folder / "config.json", content | logs.provenance())
        checkpoints = Checkpoints(folder, {"converted_from": str(source)}, keep=1)
        checkpoints.save(0, {"params": run.params})
        checkpoints.wait()
        checkpoints.close()
