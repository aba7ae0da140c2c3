"""A finished run, ours or a model of `transformers`, as something to start from, to learn from or to ask."""

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from ssl_jax import files, logs, source
from ssl_jax.checkpoints import (
    Checkpoints,
    check_shapes,
    decisive_values,
    differing_keys,
    fingerprint,
    saved_config,
    told,
)  # fmt: skip
from ssl_jax.errors import UserError
from ssl_jax.interop import config_files
from ssl_jax.models.model import Model, build_model, dummy_batch
from ssl_jax.old_configs import complete
from ssl_jax.parallel import Replicated
from ssl_jax.source import CONVERTED, WRITTEN_AGAIN, is_theirs, read_values
from ssl_jax.tokenization import files as tokenizer_files
from ssl_jax.tokenization.vocabulary import Vocabulary, identity, vocabulary_of


class Run(NamedTuple):
    """What `load_run` gives."""

    workdir: Path
    config: ConfigDict
    model: Model
    params: Any
    tokenizer: Any
    vocabulary: Vocabulary
    step: int | None = None  # after which the parameters were saved; None: not known
    notes: tuple[str, ...] = ()  # lines on how they were read, for who starts from them
    renamed: tuple[str, ...] = ()  # "theirs -> ours" for each tensor of a model in another library's names

    @property
    def tokenizer_hash(self):
        """Equal where the same text has the same ids; see `tokenization.vocabulary.identity`."""
        return identity(self.tokenizer)

    @property
    def params_hash(self):
        """Changes with any bit of the parameters; hexadecimal."""
        return hashlib.sha256(fingerprint(self.params).tobytes()).hexdigest()


def read_config(workdir):
    """The resolved config of a run, or of a folder of `transformers`, see `interop.config_files.read_config`.

    Raises:
      UserError: the folder holds neither, or its config.json is damaged or another one than the run was saved with.
    """
    if is_theirs(workdir):
        return config_files.read_config(workdir)
    values, saved = read_values(workdir), _newest_config(workdir)
    saved = saved.get("config", {}) if CONVERTED in saved else saved
    saved = decisive_values(complete(saved, like=saved))
    differing = differing_keys(saved, _restricted(decisive_values(values), saved))
    differing = {name: line for name, line in differing.items() if not name.startswith(_FILLED_IN)}
    if differing:
        path = Path(workdir) / "config.json"
        raise UserError(f"{path} is not what the run was saved with: {told(differing)}; put it back, or {WRITTEN_AGAIN}")
    return ConfigDict(values)


# Of what a checkpoint was saved with, what config.json cannot tell.
_FILLED_IN = ("prepared", "init_from", "teacher.runs", "teacher.cache")


def _newest_config(workdir):
    """What the newest checkpoint with a readable config was saved with; {}: there is none."""
    for step in source.steps_in(workdir):
        with contextlib.suppress(UserError):
            return saved_config(Path(workdir) / "checkpoints" / str(step))
    return {}


def _restricted(values, saved):
    """Of nested dicts, those values whose keys `saved` has, too."""
    return {
        key: _restricted(value, saved[key]) if isinstance(value, dict) and isinstance(saved[key], dict) else value
        for key, value in values.items()
        if key in saved
    }


def is_converted(workdir):
    """Whether a folder holds no run of ours, as `source.is_converted`; if config.json is damaged a checkpoint says so."""
    with contextlib.suppress(UserError):
        return source.is_converted(workdir)
    return CONVERTED in _newest_config(workdir)


def load_tokenizer(workdir):
    """The tokenizer of a run.

    Raises:
      UserError: it cannot be read, or is another one than the run was saved with.
    """
    path, saved = Path(workdir) / "tokenizer.json", _newest_config(workdir)
    tokenizer = tokenizer_files.load(path)
    expected = saved.get("prepared", saved).get("tokenizer_hash")
    if expected not in (None, tokenizer_files.fingerprint(path)):
        raise UserError(f"{path} is not what the run was saved with: its hash is another one; put it back, or {WRITTEN_AGAIN}")
    return tokenizer


def load_run(workdir, parallel=None):
    """Reads a run's folder: its config, its tokenizer, the parameters of its newest checkpoint.

    Args:
      workdir: the run's folder, or one of `transformers`, see `interop.huggingface.load`.
      parallel: the parameters are as its `adopt` takes them; None: on one device.

    Raises:
      UserError: the folder holds no run, several seeds of one, no checkpoint that can be read, or files that are damaged or
        of another run.
    """
    from ssl_jax.interop import huggingface

    workdir = files.expanded(workdir)
    if is_theirs(workdir):
        return huggingface.load(workdir, parallel)
    config = read_config(workdir)
    if config.seeds > 1:
        raise UserError(f"{workdir} holds {config.seeds} seeds of a run: name one of them, as in {workdir}/seed-{config.seed}")
    tokenizer = load_tokenizer(workdir)
    model = build_model(config)
    shapes = {"params": jax.eval_shape(model.init, jax.random.key(0), dummy_batch(model.orders))["params"]}
    converted = is_converted(workdir)
    if not converted:
        shapes["step"] = jax.ShapeDtypeStruct((), jnp.int32)
    parallel = parallel or Replicated(jax.local_devices()[:1])
    checkpoints = Checkpoints(workdir, None, keep=1)
    state = checkpoints.restore(parallel.like(shapes))
    checkpoints.close()
    if state is None:
        raise UserError(f"{workdir} holds no checkpoint yet")
    vocabulary = vocabulary_of(tokenizer)
    step = None if converted else checkpoints.restored
    return Run(Path(workdir), config, model, state["params"], tokenizer, vocabulary, step)


def load_state(run, like):
    """More of the state from which a run's parameters were read, as `Checkpoints.restore` gives it.

    Raises:
      UserError: what is saved has other names or shapes than `like`, or cannot be read.
    """
    checkpoint = Path(run.workdir) / "checkpoints" / str(run.step)
    check_shapes(checkpoint, like)
    checkpoints = Checkpoints(run.workdir, None, keep=1)
    state = checkpoints.restore(like)
    checkpoints.close()
    if checkpoints.restored != run.step:
        raise UserError(f"{checkpoint} cannot be read any more")
    return state


def save_run(run, workdir, origin):
    """Writes weights that came from elsewhere as a run's folder, at once or not at all.

    Args:
      run: a `Run`.
      workdir: new, or empty.
      origin: where the weights came from; `converted_from` in config.json.
    """
    with files.new_folder(workdir) as folder:
        tokenizer_files.save(run.tokenizer, folder / "tokenizer.json")
        content = {"config": json.loads(run.config.to_json()), CONVERTED: str(origin)}
        files.write_json(folder / "config.json", content | logs.provenance())
        made = {CONVERTED: str(origin), "tokenizer_hash": tokenizer_files.fingerprint(folder / "tokenizer.json")}
        checkpoints = Checkpoints(folder, made | {"config": content["config"]}, keep=1)
        checkpoints.save(0, {"params": run.params})
        checkpoints.wait()
        checkpoints.close()


def write_description(config, workdir, prepared):
    """Writes config.json and tokenizer.json of a run that starts or resumes; removes the result of an earlier end."""
    if jax.process_index() == 0:
        files.write_json(workdir / "config.json", {"config": json.loads(config.to_json()), **logs.provenance()})
        with files.replacing(workdir / "tokenizer.json") as file:
            file.write((prepared / "tokenizer.json").read_bytes())
    (workdir / "result.json").unlink(missing_ok=True)


def write_seeds(exp, workdir, states, log):
    """Leaves the folder of each seed of a run as if it had been trained alone.

    Args:
      exp: an `Experiment`, at its end.
      workdir: the run's folder.
      states: the final plain state of each seed.
      log: what `Log.content` returned.
    """
    for number, (seed, state) in enumerate(zip(exp.seeds.seeds, states, strict=True)):
        config, alone = exp.config.copy_and_resolve_references(), dict(seed=seed, seeds=1)
        config.update(alone)
        folder = logs.seed_folder(workdir, seed)
        write_description(config, folder, exp.prepared)
        checkpoints = Checkpoints(folder, exp.fingerprint | alone, config.keep_checkpoints)
        checkpoints.save(config.steps, state, {name: texts[number : number + 1] for name, texts in log.items()})
        checkpoints.wait()
        checkpoints.close()
