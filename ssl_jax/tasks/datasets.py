"""Reads a task's rows: a published set from its own files or from TensorFlow Datasets, or whatever else `data` is."""

import functools
import pathlib

import numpy as np

from ssl_jax import files
from ssl_jax.errors import UserError, listed
from ssl_jax.tasks.base import Dataset, Read
from ssl_jax.tasks.formats import LeftOut


def read(name, row, source):
    """The Read of a task that is fine-tuned on, from `source.folder`, or, where that is empty, from ROOT/tfds.

    Raises:
      UserError: a set is not there, with how to get it; a split has no examples; a line is malformed.
    """
    if not isinstance(row.data, Dataset):
        return row.data(source)
    return _read(name, row, source, functools.partial(row.example, labels=row.labels), needed=("train", "heldout"))


def records(name, row, source):
    """'train', which solved examples are drawn from, and 'heldout', which is asked -> lists of what the prompts read.

    A folder need not have 'train': that is enough for zero-shot evaluation. Errors are those of `read`.
    """
    if not isinstance(row.data, Dataset):
        return row.data(source)
    view = row.record or functools.partial(row.example, labels=row.labels)
    found = _read(name, row, source, view, needed=("heldout",), splits=("train", "heldout"))
    for split, notes in found.notes.items():
        for note in notes:
            print(f"{name}, {split}: {note}")
    return {"train": found.splits.get("train", []), "heldout": found.splits["heldout"]}


def questions(name, row, source, splits=()):
    """The Read of a task's QAs; its labels are ().

    Args:
      name, row, source: see `read`.
      splits: these, and no others; (): all that are there, among them 'train' and 'heldout'.

    Raises:
      UserError: see `read`; a split of `splits` is not there.
    """
    view = row.question
    wanted = [part for split in splits or ("train", "heldout")
              for part in (view.heldout if split == "heldout" else (split,))]  # fmt: skip
    if isinstance(row.data, Dataset):
        parts, labels = _parts(name, row.data, source, wanted, wanted if splits else None), row.labels
        examples = functools.partial(row.example, labels=labels) if row.example else row.record
    else:
        data = row.data(source)
        data = data if isinstance(data, Read) else Read((), data, {}, {})
        parts, labels = _of_read(data, wanted if splits else data.splits), data.labels
        examples = _itself
    found = _gather(name, (), parts, lambda record, where: (_ask(view, one, labels) for one in examples(record, where)))
    if missing := next((split for split in wanted if split not in found.splits), None):
        raise UserError(f"task {name!r} has no split {missing!r}; there are: {listed(found.splits)}")
    if len(view.heldout) > 1 and "heldout" in found.splits:
        for of_split in (found.splits, found.places, found.notes):
            of_split["heldout"] = [one for part in view.heldout for one in of_split.pop(part)]
    return found


def _of_read(data, splits):
    """The parts of a Read."""
    for split, examples in data.splits.items():
        if split in splits:
            places = data.places.get(split) or [f"{split}, example {number}" for number in range(1, len(examples) + 1)]
            yield split, f"its split {split!r}", zip(places, examples, strict=True)


def _itself(record, where):
    del where
    yield record


def _ask(view, one, labels):
    """The QA of an example; LeftOut where a model would have nothing to read or to write (decaNLP's util.py)."""
    if isinstance(one, LeftOut):
        return one
    qa = view.ask(one, labels)
    if isinstance(qa, LeftOut) or all(text.strip() for text in (qa.question, qa.context, *qa.answers)):
        return qa
    return LeftOut("with an empty question, context or answer")


def training_texts(name, row, source):
    """The texts that a set's own models are trained on, read as they are asked for: str, or iterables of the parts of one;
    None where there are none, or the folder does not have them."""
    if not isinstance(row.data, Dataset) or "training" not in {**row.data.files, **row.data.tfds}:
        return None
    parts = _parts(name, row.data, source, (), ("training",))
    found = next((records for _, _, records in parts), None)
    return found and (record["text"] for _, record in found)


def _read(name, row, source, view, needed, splits=None):
    """A Read of what `view(record, where)` yields of each record; `splits`: only these."""
    return _gather(name, row.labels, _parts(name, row.data, source, needed, splits), view)


def _parts(name, data, source, needed, splits):
    """Yields each split, where it is, and its (where, record) pairs."""
    if source.folder:
        return _of_folder(name, data, pathlib.Path(source.folder), needed, splits)
    return _of_tfds(name, data, files.expanded(source.root) / "tfds", splits)


def _gather(name, labels, parts, view):
    read = Read(labels, {}, {}, {})
    for split, origin, found in parts:
        examples, places, left_out = [], [], {}
        for where, record in found:
            for one in [record] if isinstance(record, LeftOut) else view(record, where):
                if isinstance(one, LeftOut):
                    left_out.setdefault(one.reason, []).append(where)
                else:
                    examples.append(one)
                    places.append(where)
        if not examples:
            raise UserError(f"task {name!r}: {origin} has no examples")
        read.splits[split], read.places[split] = examples, places
        read.notes[split] = [
            f"left out: {len(wheres):,} {reason} (the first: {wheres[0]})" for reason, wheres in left_out.items()
        ]
    return read


def _of_folder(name, data, folder, needed, splits):
    """Yields each split, its file or folder, and its records with where they are."""
    for split, names in data.files.items():
        if splits and split not in splits:
            continue
        names = (names,) if isinstance(names, str) else names
        path = next((folder / one for one in names if (folder / one).exists()), None)
        if path is not None:
            yield split, path, data.read(path, split)
        elif split in needed:
            others = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
            raise UserError(
                f"task {name!r}: there is no {folder / names[0]}"
                + (f", but {listed(others, 8)}" if others else "")
                + f"; get the files from {data.homepage}"
            )


def _of_tfds(name, data, folder, splits):
    if not data.tfds:
        raise UserError(f"task {name!r} is read from files: set task.folder; get them from {data.homepage}")
    for split, parts in data.tfds.items():
        if splits and split not in splits:
            continue
        yield (
            split,
            parts,
            (
                (f"{part}, record {number}", record)
                for part in parts.split("+")
                for number, record in enumerate(_open(name, data, part, folder))
            ),
        )


def _open(name, data, part, folder):
    """Yields the records of 'NAME:SPLIT', with text as str and labels by name."""
    # Here, because loading TFDS takes seconds: configs are checked without it.
    import tensorflow_datasets as tfds
    import tensorflow_datasets.text  # noqa: F401  registers the catalogue's names

    from ssl_jax.data import corpora  # loads TFDS, too

    set_name, split = part.split(":", 1)
    build = f"tfds build {set_name} --data_dir={folder} --file_format=array_record"
    try:
        with corpora.quietly():
            builder = tfds.builder(set_name, data_dir=folder, file_format="array_record")
            ready = builder.is_prepared()
    except ImportError as error:
        needed = error.name or error
        raise UserError(f"task {name!r}: TensorFlow Datasets reads {set_name} with {needed}: pip install it") from error
    if not ready:
        raise UserError(
            f"task {name!r}: {set_name} is not in {folder}; where there is a network run: {build} (with tensorflow "
            f"installed), or set task.folder to its files, from {data.homepage}"
        )
    with corpora.quietly():
        rows = builder.as_data_source(split=split)
    features = builder.info.features
    names = getattr(features["label"], "names", None) if "label" in features else None
    for record in corpora.read_in_bulk(rows, builder.data_dir, 0, len(rows)):
        record = _plain(record)
        if isinstance(record.get("label"), int) and names:
            number = record.pop("label")
            if number >= 0:
                record["label"] = names[number]
        yield record


def _plain(x):
    """Bytes as str, arrays as lists, NumPy's scalars as Python's."""
    if isinstance(x, bytes):
        return x.decode("utf-8")
    if isinstance(x, np.ndarray | np.generic):
        return _plain(x.tolist())
    if isinstance(x, dict):
        return {key: _plain(value) for key, value in x.items()}
    if isinstance(x, list | tuple):
        return [_plain(value) for value in x]
    return x
