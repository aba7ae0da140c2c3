"""Published sets for evaluation: rows of data/tasks/sets.py whose examples are records for protocols.

Split 'heldout' is what is asked; 'examples', which a folder need not have for zero-shot evaluation, is what solved
examples are drawn from.
"""

import functools

from ssl_jax import files
from ssl_jax.data.tasks import formats, sets


def reader(name, paths, lines, records, catalogue, homepage):
    """A Task's `read`.

    Args:
      name: of the task, for messages.
      paths, lines, catalogue, homepage: see sets.Set.
      records: (record, where) -> yields the records that protocols read.
    """

    def examples(record, where, labels):
        del labels
        return records(record, where)

    row = sets.Set("choices", (), paths, lines, examples, catalogue, homepage)
    return functools.partial(_read, name=name, row=row)


def of_row(name, row):
    """A Task's `read`: the examples of a set that is fine-tuned on, too."""
    return functools.partial(_read, name=name, row=row)


def _read(source, name, row):
    read = sets.read_from(name, row, source.folder, source.root)
    for split, notes in read.notes.items():
        for note in notes:
            print(f"{name}, {split}: {note}")
    return {"train": read.splits.get("examples", []), "test": read.splits["heldout"]}


def jsonl_lines(path, split):
    """Of a file of JSON lines."""
    del split
    return files.json_lines(path)


def checked(record, where, **kinds):
    """{key: record[key]}, each of its kind. Raises UserError, telling `where`: one is missing or of another kind."""
    return {key: formats.value(record, key, kind, where) for key, kind in kinds.items()}
