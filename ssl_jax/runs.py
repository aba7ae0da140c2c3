"""The folder of a run: its config, its tokenizer and its checkpoints, written and read. `load` reads any folder."""

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
    told,
)  # fmt: skip
from ssl_jax.errors import UserError
from ssl_jax.models.model import Model, build_model, dummy_batch
from ssl_jax.old_configs import complete
from ssl_jax.parallel import Replicated
from ssl_jax.population import members
from ssl_jax.source import CONVERTED, WRITTEN_AGAIN, read_values
from ssl_jax.tokenization import files as tokenizer_files
from ssl_jax.tokenization.vocabulary import Vocabulary, identity, vocabulary_of


class Run(NamedTuple):
    """A finished run, or a model read as one, to start from, to distil, to evaluate.

    Attributes:
      workdir: the folder that it was read from.
      config: resolved.
      model, params: the `Model`, and its parameters where `parallel` put them.
      tokenizer: tokenizers.Tokenizer.
      vocabulary: the tokenizer's.
      step: after which the parameters were saved; None if that is not known.
      notes: lines on how the parameters were read, for a run that starts from them.
      renamed: "theirs -> ours" for each kind of tensor of a model in another library's names.
    """

    workdir: Path
    config: ConfigDict
    model: Model
    params: Any
    tokenizer: Any
    vocabulary: Vocabulary
    step: int | None = None
    notes: tuple[str, ...] = ()
    renamed: tuple[str, ...] = ()

    @property
    def tokenizer_hash(self):
        """Equal for two runs if any text has the same ids in both; see `tokenization.vocabulary.identity`."""
        return identity(self.tokenizer)

    @property
    def params_hash(self):
        """Changes with any bit of the parameters; hexadecimal."""
        return hashlib.sha256(fingerprint(self.params).tobytes()).hexdigest()


def read_config(workdir):
    """The resolved config of a run.

    Raises:
      UserError: the folder holds no run, or its config.json is damaged or does not match the checkpoints.
    """
    values, saved = read_values(workdir), source.newest_config(workdir)
    saved = saved.get("config", {}) if CONVERTED in saved else saved
    saved = decisive_values(complete(saved, like=saved))
    differing = differing_keys(saved, _restricted(decisive_values(values), saved))
    differing = {name: line for name, line in differing.items() if not name.startswith(_FILLED_IN)}
    if differing:
        path = Path(workdir) / "config.json"
        what = f"{path} is not what the run was saved with: {told(differing)}"
        raise UserError(f"{what}; put it back, or {WRITTEN_AGAIN}")
    return ConfigDict(values)


# Keys of a checkpoint's config whose values are not in config.json.
_FILLED_IN = ("prepared", "init.run", "teacher.runs", "teacher.cache")


def _restricted(values, saved):
    """The values of a nested dict whose keys are also in `saved`."""
    return {
        key: _restricted(value, saved[key]) if isinstance(value, dict) and isinstance(saved[key], dict) else value
        for key, value in values.items()
        if key in saved
    }


def is_converted(workdir):
    """As `source.is_converted`, but if config.json is damaged the checkpoints decide."""
    with contextlib.suppress(UserError):
        return source.is_converted(workdir)
    return CONVERTED in source.newest_config(workdir)


def load_tokenizer(workdir):
    """The tokenizer of a run.

    Raises:
      UserError: it cannot be read, or is not the one that the run was saved with.
    """
    path, saved = Path(workdir) / "tokenizer.json", source.newest_config(workdir)
    tokenizer = tokenizer_files.load(path)
    expected = saved.get("prepared", saved).get("tokenizer_hash")
    if expected not in (None, tokenizer_files.fingerprint(path)):
        raise UserError(f"{path} is not what the run was saved with: its hash differs; put it back, or {WRITTEN_AGAIN}")
    return tokenizer


def _with_scores(config):
    """The config of a model that shows its attention, and reads rows that are padded on the left."""
    config = config.copy_and_resolve_references()
    config.model.attention = "plain"
    return config


def load(workdir, parallel=None, step=0):
    """Reads a run's folder: its config, its tokenizer, the parameters of its newest checkpoint, or of that of a step.

    Args:
      workdir: the run's folder.
      parallel: the parameters are as its `adopt` takes them; None: on one device.
      step: of the checkpoint; 0: the newest.

    Raises:
      UserError: the folder holds no run, several members of one, no readable checkpoint, or files that are damaged or
        belong to another run.
    """
    config = read_config(workdir)
    own = members(config)
    if len(own) > 1:
        what = f"{config.seeds} seeds" if config.seeds > 1 else f"{len(own)} members"
        raise UserError(f"{workdir} holds {what} of a run: name one of them, as in {workdir}/{own[0].name}")
    tokenizer = load_tokenizer(workdir)
    model = build_model(_with_scores(config))
    shapes = {"params": jax.eval_shape(model.init, jax.random.key(0), dummy_batch(model.orders))["params"]}
    converted = is_converted(workdir)
    if not converted:
        shapes["step"] = jax.ShapeDtypeStruct((), jnp.int32)
    parallel = parallel or Replicated(jax.local_devices()[:1])
    checkpoints = Checkpoints(workdir, None, keep=1)
    state = checkpoints.restore(parallel.like(shapes), step)
    checkpoints.close()
    if state is None:
        raise UserError(f"{workdir} holds no checkpoint yet")
    vocabulary = vocabulary_of(tokenizer)
    step = None if converted else checkpoints.restored
    return Run(Path(workdir), config, model, state["params"], tokenizer, vocabulary, step)


def load_state(run, like):
    """More of the checkpoint from which a run's parameters were read, as from `Checkpoints.restore`.

    Raises:
      UserError: the names or shapes in the checkpoint differ from those of `like`, or it cannot be read.
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
    """Writes weights from elsewhere as a run's folder, atomically.

    Args:
      run: a `Run`.
      workdir: new, or empty.
      origin: the source of the weights; `converted_from` in config.json.
    """
    with files.new_folder(workdir) as folder:
        tokenizer_files.save(run.tokenizer, folder / "tokenizer.json")
        content = {"config": json.loads(run.config.to_json()), CONVERTED: str(origin)}
        files.write_json(folder / "config.json", content | logs.provenance())
        saved_with = {CONVERTED: str(origin), "tokenizer_hash": tokenizer_files.fingerprint(folder / "tokenizer.json")}
        checkpoints = Checkpoints(folder, saved_with | {"config": content["config"]}, keep=1)
        checkpoints.save(0, {"params": run.params})
        checkpoints.wait()
        checkpoints.close()


def write_description(config, workdir, prepared):
    """Writes config.json and tokenizer.json of a run that starts or resumes; removes an earlier result."""
    if jax.process_index() == 0:
        files.write_json(workdir / "config.json", {"config": json.loads(config.to_json()), **logs.provenance()})
        with files.replacing(workdir / "tokenizer.json") as file:
            file.write((prepared / "tokenizer.json").read_bytes())
    (workdir / "result.json").unlink(missing_ok=True)


def write_members(exp, workdir, state, log):
    """Writes the folder of each member of a run, as if it had been trained by itself; of one alone the folder is there.

    Args:
      exp: a finished `Experiment`.
      workdir: the run's folder.
      state: the final state, on the devices.
      log: from `Log.content`.
    """
    if not exp.population.several:
        return
    states = exp.population.states(exp.devices.plain(state))
    for number, (member, own) in enumerate(zip(exp.population.members, states, strict=True)):
        folder = workdir / member.name
        write_description(member.config, folder, exp.prepared)
        single = ConfigDict(exp.fingerprint)
        single.update_from_flattened_dict({**member.changes, "seeds": 1, "members": []})
        checkpoints = Checkpoints(folder, json.loads(single.to_json()), member.config.run.keep_checkpoints)
        checkpoints.save(member.config.steps, own, {name: texts[number : number + 1] for name, texts in log.items()})
        checkpoints.wait()
        checkpoints.close()
