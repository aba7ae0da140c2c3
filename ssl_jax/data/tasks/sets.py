"""Published sets: a row says what a set is, in its own files and in TensorFlow Datasets, whichever there is."""

import pathlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ssl_jax import files
from ssl_jax.data.tasks.examples import Read
from ssl_jax.data.tasks.formats import LeftOut
from ssl_jax.errors import UserError, listed

NEEDED = ("train", "heldout")


class Set(NamedTuple):
    """A published set.

    Attributes:
      kind: one of KINDS.
      labels: names of the classes or of the choices, in the order of TensorFlow Datasets; () where there are none.
      files: split -> where it is in the folder, a path or several, of which the first that is there counts; splits
        besides NEEDED may be missing.
      lines: (path, split) -> yields (where, record); records are as in TensorFlow Datasets, but for labels, which are
        names, and not there where nobody tells them. A LeftOut in the place of a record is counted, and told by a run.
      examples: (record, where, labels) -> yields examples of its kind.
      catalogue: split -> 'NAME:SPLIT' of TensorFlow Datasets, several with + between them; {}: it is not there.
      homepage: where the files come from.
    """

    kind: str
    labels: tuple[str, ...]
    files: dict
    lines: Callable
    examples: Callable
    catalogue: dict
    homepage: str


def read(name, row, config):
    """The Read of a set: `read_from` a config's `task.folder` and `data.root`."""
    return read_from(name, row, config.task.folder, config.data.root)


def read_from(name, row, folder, root):
    """The Read of a set, from the files in `folder`, or, where that is empty, from ROOT/tfds.

    Raises:
      UserError: it is not there, with how to get it; a split has no examples; a line is malformed.
    """
    if folder:
        records = _of_folder(name, row, pathlib.Path(folder))
    else:
        records = _of_catalogue(name, row, files.expanded(root) / "tfds")
    made = Read(row.labels, {}, {}, {})
    for split, origin, found in records:
        examples, places, left_out = [], [], {}
        for where, record in found:
            if isinstance(record, LeftOut):
                left_out.setdefault(record.reason, []).append(where)
                continue
            examples += row.examples(record, where, row.labels)
            places += [where] * (len(examples) - len(places))
        if not examples:
            raise UserError(f"task {name!r}: {origin} has no examples")
        made.splits[split], made.places[split] = examples, places
        made.notes[split] = [
            f"left out: {len(wheres):,} {reason} (the first: {wheres[0]})" for reason, wheres in left_out.items()
        ]
    return made


def _of_folder(name, row, folder):
    """Yields each split, its file or folder, and its records with where they are."""
    for split, names in row.files.items():
        names = (names,) if isinstance(names, str) else names
        path = next((folder / one for one in names if (folder / one).exists()), None)
        if path is not None:
            yield split, path, row.lines(path, split)
        elif split in NEEDED:
            there = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
            raise UserError(
                f"task {name!r}: there is no {folder / names[0]}"
                + (f", but {listed(there, 8)}" if there else "")
                + f"; get the files from {row.homepage}"
            )


def _of_catalogue(name, row, folder):
    if not row.catalogue:
        raise UserError(f"task {name!r} is read from files: set task.folder; get them from {row.homepage}")
    for split, parts in row.catalogue.items():
        yield split, parts, (
            (f"{part}, record {number}", record)
            for part in parts.split("+")
            for number, record in enumerate(_open(name, row, part, folder))
        )


def _open(name, row, part, folder):
    """Yields the records of 'NAME:SPLIT', with text as str and labels by name."""
    import tensorflow_datasets as tfds
    import tensorflow_datasets.text  # noqa: F401  registers the catalogue's names

    from ssl_jax.data import corpora  # which loads TFDS, too: a config is checked without

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
            f"installed), or set task.folder to its files, from {row.homepage}"
        )
    with corpora.quietly():
        source = builder.as_data_source(split=split)
    features = builder.info.features
    names = getattr(features["label"], "names", None) if "label" in features else None
    for record in corpora.read_in_bulk(source, builder.data_dir, 0, len(source)):
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
