"""The published files' formats: each function yields (where, record), 'PATH, line N' and a dict.

Whatever is malformed is a UserError that names the file, the line and the reason; only empty lines are skipped, where
the format has them. What a set leaves out on purpose is a LeftOut in the place of its record.
"""

import collections
import csv
import os
import pathlib
import re
import typing

from ssl_jax import files
from ssl_jax.errors import UserError, listed, shown

csv.field_size_limit(files.LARGEST)  # the module's own limit is 128 KiB, less than some articles have
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


class LeftOut(typing.NamedTuple):
    """In the place of a record that is not read, but counted by `reason` and reported (see datasets.py)."""

    reason: str  # in the plural: 'lines with too few columns'


def tsv(path, header=None, leave_out_short=False):
    """Lines of cells between tabs. There is no quoting: a quotation mark is one (GLUE).

    A line ends at a line feed, which a carriage return may precede; whatever else Unicode calls a line break is text.

    Args:
      path: the file's.
      header: names of the columns; None: they are in the first line.
      leave_out_short: lines that have fewer cells than the header are LeftOut.

    Raises:
      UserError: a line has more or fewer cells than the header; the header names a column twice.
    """
    rows = ((f"{path}, line {n}", line.split("\t")) for n, line in files.read_lines(path))
    return _records(path, rows, header, leave_out_short)


def csv_file(path, header=None):
    """Cells between commas, in quotation marks if need be, `header` as in `tsv`.

    Raises:
      UserError: a quotation never ends, or something follows it; else as `tsv`.
    """
    return _records(path, _csv_rows(path), header)


def _csv_rows(path):
    reader, start = csv.reader((f"{line}\n" for _, line in files.read_lines(path)), strict=True), 1
    try:
        for row in reader:
            if row:
                yield f"{path}, line {start}", row
            start = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{path}, line {start}: {error} (up to line {reader.line_num}): mend its quotes") from error


def _records(path, rows, header, leave_out_short=False):
    for where, cells in rows:
        if header is None:
            header = cells
            counts = collections.Counter(header)
            if twice := next((name for name in counts if name and counts[name] > 1), None):
                raise UserError(f"{where}: the column {shown(twice)} is there twice")
        elif leave_out_short and len(cells) < len(header):
            yield where, LeftOut("lines with too few columns")
        elif len(cells) != len(header):
            raise UserError(f"{where}: {len(cells)} columns, and there should be {len(header)}: {listed(header)}")
        else:
            yield where, dict(zip(header, cells, strict=True))
    if header is None:
        raise UserError(f"{path}, line 1: the file is empty; its first line names the columns")


def below(folder, suffix):
    """The files below a folder whose names end in `suffix`, sorted; where something else is, LeftOut.

    Links are followed, and each folder is read once.

    Raises:
      UserError: no such folder, or no such file in it.
    """
    if not os.path.isdir(folder):
        raise UserError(f"there is no folder {folder}")
    paths, entered = [], set()
    for place, folders, names in os.walk(folder, onerror=_raise, followlinks=True):
        if (real := os.path.realpath(place)) in entered:
            folders.clear()  # links may lead in circles
            continue
        entered.add(real)
        folders.sort()
        paths += [pathlib.Path(place, name) for name in names]
    paths.sort()
    if not any(one.name.endswith(suffix) and one.is_file() for one in paths):
        raise UserError(f"there is no {suffix} file in {folder}")
    for one in paths:
        if one.name.endswith(suffix):
            yield str(one), one if one.is_file() else LeftOut("links that lead nowhere")
        else:
            yield str(one), LeftOut(f"files that do not end in {suffix}")


def _raise(error):
    raise error


def column(record, name, where):
    """A cell. Raises UserError, naming `where`: there is no such column."""
    if name not in record:
        raise UserError(f"{where}: no column {name!r}; there are: {listed(record)}")
    return record[name]


def number(text, where):
    """The float that a cell spells. Raises UserError, naming `where`: it is no number."""
    if not NUMBER.fullmatch(text):
        raise UserError(f"{where}: the score {shown(text)} is no number")
    return float(text)


def value(record, key, kind, where):
    """`record[key]`, of type `kind`; list[str], list[list[str]]: so is each item. A whole number is a float, too.

    Raises:
      UserError: naming `where`: it is missing, or of another type.
    """
    if not isinstance(record, dict):
        raise UserError(f"{where}: no key {key!r} in {shown(record)}")
    if key not in record:
        raise UserError(f"{where}: no key {key!r}; there are: {listed(record) or 'none'}")
    if items := typing.get_args(kind):
        found = enumerate(value(record, key, list, where))
        return [value({(name := f"{key}[{n}]"): one}, name, *items, where) for n, one in found]
    if kind is str:
        return files.text_of(record, key, where)
    # True is an int, too, but no number.
    types = (int, float) if kind is float else kind
    if not isinstance(record[key], types) or kind in (int, float) and isinstance(record[key], bool):
        raise UserError(f"{where}: {key!r} is {shown(record[key])}, and should be of type {kind.__name__}")
    return record[key]


def checked(record, where, **kinds):
    """{key: record[key]}, each of its kind. Raises UserError, naming `where`: one is missing or of another kind."""
    return {key: value(record, key, kind, where) for key, kind in kinds.items()}


def number_of(name, names, where):
    """The place of a label among `names`, which are str, bool or int.

    Raises:
      UserError: naming `where`: it is none of them.
    """
    for number, one in enumerate(names):
        if type(one) is type(name) and one == name:  # True and 1.0 are equal to 1, and other labels
            return number
    raise UserError(f"{where}: unknown label {shown(name)}; there are: {listed(names)}")
