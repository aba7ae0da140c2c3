"""Teacher outputs for a run's examples, computed once and cached on disk.

A run identifies every example by its global number and masks it by (seed, number), so a teacher's outputs for a number
never change: the students of a sweep share them, and teacher and student need not fit on a device together. Layout:

    cache.json                the passport: what the outputs were computed from, what is stored and at which precision
    train/                    the examples the run trains on; row n is number n
    eval_heldout/             those of an evaluation on that split
        token_logits.npy      [N, S, K] the K largest in descending order, or all of them, [N, S, V]; and
        token_ids.npy         [N, S, K] their token ids; uint16, or int32 if needed
        token_rest.npy        [N, S] the weight of the others at `teacher.temperature`
        encoded.npy           [N, S, T]
        states.npy            [N, M + 1, S, T]
        scores.npy            [N, M, A, S, S]
        class_logits.npy      [N, C]
        span_logits.npy       [N, S, 2]

Only what the student's losses read is stored; see distill/teachers.py. Work happens in FOLDER.partial; an interrupted
run resumes after the rows already there.
"""

import contextlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import filelock
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from tqdm import tqdm

from ssl_jax.checkpoints import differing_keys, told
from ssl_jax.data import batches
from ssl_jax.distill import teachers as distill
from ssl_jax.errors import UserError, check_choice, cut
from ssl_jax.evaluators import EVALUATORS
from ssl_jax.files import read_json, write_json
from ssl_jax.old_configs import complete
from ssl_jax.plan import masks

FORMAT = 1  # increment when the meaning of the files changes
NOTE_SECONDS = 30  # how often progress is recorded
KEYS = {"format", "layer_maps", "temperature"}  # the keys of a cache's `made_of` that are looked up directly
AXIS = {"states": 1, "scores": 1}  # batch axis in distill/teachers.py's arrays; 0 for all others


class Part(NamedTuple):
    """One set of examples: those trained on, or those of an evaluation."""

    batch: Callable  # `batch(step, rows)` of data/batches.py
    size: int  # examples per batch
    rows: int  # total examples: numbers 0 to rows - 1


def parts(config, kind, phases, examples, stores, vocabulary):
    """The examples for which a run needs teacher outputs: 'train' and, for each evaluated split, 'eval_SPLIT' -> Part.

    Args:
      config: the run's.
      kind, phases, examples, stores, vocabulary: see train.py.

    Raises:
      UserError: the config needs teacher outputs that cannot be cached; an evaluation's split is missing or too small.
    """
    if len(config.phases.lengths) > 1:
        raise UserError(f"a cache of teachers is for one sequence length: phases.lengths={config.phases.lengths}")
    if config.generator.kind != "none":
        raise UserError(
            f"a cache of teachers needs generator.kind=none, not {config.generator.kind}: "
            "what a teacher sees changes as the generator learns"
        )
    if config.teacher.dropout:
        raise UserError("a cache of teachers keeps what they say without dropout: set teacher.dropout=False")
    if config.losses.soft_predictions:
        raise UserError(
            "a cache of teachers keeps logits at all tokens: set losses.soft_predictions=0, soft_targets > 0"
        )
    # The number alone identifies an example, so the first phase's batches continue through a batch ramp.
    seen = phases[-1].first_example + (phases[-1].last - phases[-1].first) * phases[-1].batch_size
    made = {"train": Part(examples[0], phases[0].batch_size, seen)}
    for options in config.evals.values():
        if options.module not in ("mean", "task"):  # it needs no teacher
            continue
        options = EVALUATORS[options.module](**options)
        check_choice(options.split, stores, "split of an evaluation")
        batch = batches.evaluation_batches(
            config.data, kind, stores[options.split], vocabulary, phases[0].length, config.batch_size, config.seed
        )
        last = min(batch.steps, options.max_batches or batch.steps) - 1
        rows = last * config.batch_size + int(batch(last)["mask"].any(-1).sum())  # minus the last batch's padding
        name = f"eval_{options.split}"
        if name not in made or made[name].rows < rows:
            made[name] = Part(batch, config.batch_size, rows)
    return made


def passport(config, fingerprint, kind, models):
    """Everything that determines a teacher's output for a number, as a JSON-able dict.

    Args:
      config: the run's.
      fingerprint: its `experiment.make_fingerprint`.
      kind: of examples, see `plan.example_kind`.
      models: the teachers'.
    """
    keys = ("examples", "short_seq_prob", "dupe_factor", "document_mask", "max_documents", "heldout")
    return {
        "format": FORMAT,
        "teachers": fingerprint["teacher"]["runs"],
        "layer_maps": distill.layer_maps(config, models),
        "prepared": fingerprint["prepared"],
        "seed": config.seed,
        "length": config.phases.lengths[0],
        "kind": kind,
        "masked": masks(config),
        "data": {key: config.data[key] for key in keys},
        "corruption": fingerprint["corruption"],
        "temperature": config.teacher.temperature,
    }


class Cache(NamedTuple):
    """An open cache: `arrays`, part -> name -> memory-mapped rows, and `precision`, its 'top_k' and 'dtype'."""

    arrays: dict
    precision: dict

    def attach(self, part, batch):
        """The batch with `teacher`, name -> [B, ...]: the rows of its examples, copied from disk."""
        # Padding rows in an evaluation's last batch have no example and zero weight.
        rows = {name: x[np.minimum(batch["index"], len(x) - 1)] for name, x in self.arrays[part].items()}
        return batch | {"teacher": rows}


def attach_nothing(part, batch):
    """Replaces `Cache.attach` if there is no cache."""
    del part
    return batch


def teach(out, batch, params, rngs=None):
    """Like the `teach` of `distill.make_teach`, from the rows that `Cache.attach` put into the batch."""
    del out, params, rngs
    made = {name: jnp.moveaxis(x.astype(jnp.float32), 0, AXIS.get(name, 0)) for name, x in batch["teacher"].items()}
    if "token_ids" in made:
        made["token_ids"] = batch["teacher"]["token_ids"].astype(jnp.int32)
    return made


def open_cache(config, expected, needed):
    """Opens `config.teacher.cache` for a run.

    Args:
      config: the run's.
      expected: its `passport`.
      needed: its `parts`.

    Returns:
      A Cache of what the losses read.

    Raises:
      UserError: the cache is missing; it is stale (the message lists the differing keys); required arrays or rows are
        missing; a file cannot be read or does not match cache.json.
    """
    folder, names = Path(config.teacher.cache), distill.taught(config)
    where, anew = f"teacher.cache={folder}", "make it anew with scripts/cache_teacher.py"
    if not (folder / "cache.json").is_file():
        raise UserError(f"{where}: there is no {folder / 'cache.json'}; make it with scripts/cache_teacher.py")
    try:
        saved = read_json(folder / "cache.json")
    except UserError as error:
        raise UserError(f"{error}; {anew}") from error
    made_of, stored, precision = (saved.get(key) for key in ("made_of", "arrays", "precision"))
    whole = all(isinstance(part, dict) for part in (made_of, stored, precision)) and "top_k" in precision
    if not whole or not all(isinstance(arrays, dict) for arrays in stored.values()) or not KEYS <= made_of.keys():
        raise UserError(f"{folder / 'cache.json'} does not say what the cache was made of; {anew}")
    if expected["layer_maps"] is None:  # this student's losses do not need them
        expected = expected | {"layer_maps": made_of["layer_maps"]}
    if not precision["top_k"]:  # all logits are stored, so any temperature works
        expected = expected | {"temperature": made_of["temperature"]}
    missing = [f"{part}/{name}" for part in needed for name in names if name not in stored.get(part, ())]
    if made_of["format"] == FORMAT and missing:
        raise UserError(f"{where} has no {', '.join(missing)}, which this run's losses read; {anew}")
    differing = differing_keys(complete(made_of, expected), expected)
    if differing:
        raise UserError(f"{where} is stale: {told(differing)}; {anew}")
    arrays = {}
    for part, (_, _, rows) in needed.items():
        short = ("token_ids", "token_rest") if "token_ids" in stored[part] and "token_logits" in names else ()
        read = [*names, *short]
        arrays[part] = {name: _load(folder / part / f"{name}.npy", stored[part][name], anew) for name in read}
        there = min(map(len, arrays[part].values()))
        if there < rows:
            raise UserError(f"{where} has {there} rows in {part}, and this run needs {rows}; {anew}")
    return Cache(arrays, precision)


def _load(path, stored, anew):
    try:
        array = np.load(path, mmap_mode="r")
    except Exception as error:  # NumPy parses the header as Python and raises arbitrary errors
        reason = (str(error) or repr(error)).splitlines()[0]
        raise UserError(f"{path} cannot be read: {cut(reason, 200)}; {anew}") from error
    there = {"dtype": array.dtype.name, "shape": list(array.shape)}
    if there != stored:
        differing = told(differing_keys(stored, there)) if isinstance(stored, dict) else "it tells nothing"
        raise UserError(f"{path} is not the array that cache.json tells of: {differing}; {anew}")
    return array


def make_rows(config, corrupt, teach, top_k, dtype):
    """Returns the pure `rows(params, batch, total, shard)`: the values stored for each example, name -> [B, ...].

    With top_k logits also `kept` [B, S] float32: the share of the teacher's probability they cover at
    `teacher.temperature`.

    Args:
      config: the run's.
      corrupt: see `train.make_corrupt`.
      teach: see `distill.make_teach`; `params` are its teachers'.
      top_k: number of logits per token; 0: all.
      dtype: 'float16' or 'float32'.
    """
    temperature = config.teacher.temperature

    def rows(params, batch, *, total, shard):
        del total, shard
        made, extra = teach({}, corrupt(batch), params), {}
        made.pop("token_decoding", None)  # of which these are the logits
        if top_k and "token_logits" in made:
            logits = made["token_logits"]
            made["token_logits"], ids = lax.top_k(logits, top_k)
            everything, part = (jax.nn.logsumexp(x / temperature, axis=-1) for x in (logits, made["token_logits"]))
            small = logits.shape[-1] <= 1 << 16
            extra = {"token_ids": ids.astype(jnp.uint16 if small else jnp.int32), "kept": jnp.exp(part - everything)}
            # log(e^everything - e^part); float32 resolves no less than 6e-8 of the whole.
            left = jnp.maximum(-jnp.expm1(part - everything), 6e-8)
            made["token_rest"] = everything + jnp.log(left)
        return {name: jnp.moveaxis(x.astype(dtype), AXIS.get(name, 0), 0) for name, x in made.items()} | extra

    return rows


def write_cache(folder, identity, parts, rows, parallel, params, pieces):
    """Writes a cache: `folder` appears whole or not at all, and an interrupted write resumes.

    Args:
      folder: where to write it; must not exist yet.
      identity: `made_of`, the run's `passport`; `precision`, `top_k` and `dtype`; `temperature`, at which kept
        probability is reported; `names`, the output of `distill.taught`.
      parts: see `parts`.
      rows: the output of `make_rows`.
      parallel, params: the devices, and the teachers' parameters on them.
      pieces: number of pieces a batch is computed in, to save memory.

    Returns:
      The content of cache.json: `made_of`, `precision`; `arrays`, part -> name -> `dtype` and `shape`; `kept`, the
      `mean` and `least` share of the teacher's probability at non-padding tokens, and the `temperature`; None without
      top_k.

    Raises:
      UserError: `folder` exists, or another process is writing it; a value is not finite in this dtype.
      OSError: the disk is full, ...
    """
    folder = Path(folder)
    partial = folder.with_name(folder.name + ".partial")
    folder.parent.mkdir(parents=True, exist_ok=True)
    compiled = parallel.compile(rows)

    def compute(batch):
        placed = parallel.put_batch(batch)
        axes = placed["index"].ndim  # batch axes: devices and rows under pmap
        return {name: _merged(x, axes) for name, x in compiled(params, placed).items()}

    try:
        with filelock.FileLock(f"{folder}.lock", timeout=0):
            if folder.exists():
                raise UserError(f"{folder} is there already: remove it, or name another folder")
            sizes = {name: part.size // pieces for name, part in parts.items()}
            rows_of = {name: part.rows for name, part in parts.items()}
            state = _begin(partial, identity | {"rows": rows_of, "sizes": sizes})
            for name, part in parts.items():
                _write_part(partial, state, name, part, sizes[name], compute)
            probability, tokens, least = state["kept"]
            content = {key: identity[key] for key in ("made_of", "precision")}
            content |= {"arrays": state["arrays"], "kept": None}
            if tokens:
                kept = {"mean": probability / tokens, "least": least, "temperature": identity["temperature"]}
                content["kept"] = kept
            write_json(partial / "cache.json", content)
            (partial / "progress.json").unlink()
            os.rename(partial, folder)
            return content
    except filelock.Timeout as error:
        raise UserError(f"another process is writing {folder}") from error


def _merged(x, axes):
    """[..., *row] with `axes` batch axes, as a NumPy array [B, *row]."""
    x = np.asarray(x)
    return x.reshape(-1, *x.shape[axes:])


def _begin(partial, identity):
    """The content of progress.json if it belongs to this very cache; anything else on disk is deleted."""
    # kept: sum of the shares, number of tokens, least share.
    nothing = {"identity": identity, "done": {}, "arrays": {}, "kept": [0.0, 0, 1.0]}
    with contextlib.suppress(UserError):
        state = read_json(partial / "progress.json")
        same = state.keys() == nothing.keys() and isinstance(state["identity"], dict)
        if same and not differing_keys(complete(state["identity"], identity), identity):
            return state
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    return nothing


def _write_part(partial, state, name, part, size, compute):
    """Writes the rows of a part not yet on disk, `size` at a time, and records progress in `state`."""
    first, last = (-(-rows // size) for rows in (state["done"].get(name, 0), part.rows))
    (partial / name).mkdir(exist_ok=True)
    files, noted = {}, time.monotonic()

    def piece(number):
        step, start = divmod(number * size, part.size)
        return part.batch(step, slice(start, start + size))

    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(tqdm(desc=name, total=part.rows, initial=first * size, unit="example"))
        for number, batch in batches.prefetch(piece, first, last):
            start, stop = number * size, min((number + 1) * size, part.rows)
            made = {key: x[: stop - start] for key, x in compute(batch).items()}
            if "kept" in made:
                shares = made.pop("kept")[batch["mask"][: stop - start]].astype(np.float64)
                probability, tokens, least = state["kept"]
                least = min(least, float(shares.min()))
                state["kept"] = [probability + float(shares.sum()), tokens + shares.size, least]
            for key, x in made.items():
                if not np.isfinite(x).all():
                    raise UserError(f"{key} of examples {start} on is not finite as {x.dtype}: use --dtype float32")
                if key not in files:
                    shape = (part.rows, *x.shape[1:])
                    state["arrays"].setdefault(name, {})[key] = {"dtype": x.dtype.name, "shape": list(shape)}
                    files[key] = stack.enter_context(_open(partial / name / f"{key}.npy", x.dtype, shape, start))
                files[key].write(np.ascontiguousarray(x).data)
            bar.update(stop - start)
            if stop == part.rows or time.monotonic() - noted > NOTE_SECONDS:
                state["done"][name] = stop
                _note(partial, state, files.values())
                noted = time.monotonic()


def _note(partial, state, files):
    """Writes progress.json once the rows it records are on disk."""
    for file in files:
        file.flush()
        os.fsync(file.fileno())
    write_json(partial / "progress.json", state)


def _open(path, dtype, shape, start):
    """A .npy file of this shape, opened for writing at row `start`."""
    # Not memory-mapped: a full disk would silently kill the process.
    file = open(path, "r+b" if start else "wb")  # noqa: SIM115
    np.lib.format.write_array_header_1_0(file, dict(descr=dtype.str, fortran_order=False, shape=shape))
    file.seek(start * dtype.itemsize * int(np.prod(shape[1:], dtype=np.int64)), os.SEEK_CUR)
    return file
