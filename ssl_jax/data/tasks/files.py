"""The published files' formats: each function yields (where, record), 'PATH, line N' and a dict.

What is malformed is a UserError that names the file, the line and the reason; nothing is passed over but empty lines
where the format has them.
"""

import csv
import json

from ssl_jax.data import corpora
from ssl_jax.errors import UserError


def lines_of(path):
    """Yields (number from 1, line without its end) of a file of UTF-8.

    Raises:
      UserError: other bytes.
    """
    with open(path, "rb") as file:
        yield from corpora.decoded_lines(path, file)


def text_of(path):
    """A file's text. Raises UserError: it is not UTF-8."""
    return "\n".join(line for _, line in lines_of(path))


def tsv(path, header=None):
    """Lines of cells between tabs. There is no quoting: a quotation mark is one (GLUE).

    Args:
      path: of the file.
      header: names of the columns; None: the first line has them.

    Raises:
      UserError: a line has more or fewer cells than the header.
    """
    return _records(path, ((f"{path}, line {n}", line.split("\t")) for n, line in lines_of(path)), header)


def csv_file(path, header=None):
    """Cells between commas, in quotation marks if need be, `header` as in `tsv`.

    Raises:
      UserError: a quotation never ends, or something follows it; a row has more or fewer cells than the header.
    """
    return _records(path, _csv_rows(path), header)


def _csv_rows(path):
    reader, start = csv.reader((f"{line}\n" for _, line in lines_of(path)), strict=True), 1
    try:
        for row in reader:
            if row:
                yield f"{path}, line {start}", row
            start = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{path}, line {start}: {error} (up to line {reader.line_num}): mend its quotes") from error


def _records(path, rows, header):
    for where, cells in rows:
        if header is None:
            header = cells
        elif len(cells) != len(header):
            raise UserError(f"{where}: {len(cells)} columns, and there should be {len(header)}: {', '.join(header)}")
        else:
            yield where, dict(zip(header, cells, strict=True))
    if header is None:
        raise UserError(f"{path}, line 1: the file is empty; its first line names the columns")


def jsonl(path):
    """Lines of JSON. Raises UserError: a line is something else."""
    return corpora.json_lines(path, lines_of(path))


def json_file(path):
    """What a file of JSON holds. Raises UserError: it is something else."""
    try:
        return json.loads(text_of(path))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {error.lineno}: not JSON ({error.msg})") from error


def column(record, name, where):
    """A cell. Raises UserError, telling `where`: there is no such column."""
    if name not in record:
        raise UserError(f"{where}: no column {name!r}; there are: {', '.join(record)}")
    return record[name]


def value(record, key, kind, where):
    """`record[key]`, of type `kind`.

    Raises:
      UserError: telling `where`: there is none, or it is of another type.
    """
    if kind is str:
        return corpora.text_of(record, key, where)
    if not isinstance(record, dict) or key not in record:
        raise UserError(f"{where}: no key {key!r}")
    # True is an int, too, but no number.
    if not isinstance(record[key], kind) or kind is int and isinstance(record[key], bool):
        raise UserError(f"{where}: {key!r} is {record[key]!r}, and should be of type {kind.__name__}")
    return record[key]


def number_of(name, names, where):
    """The place of a label's name among `names`.

    Raises:
      UserError: telling `where`: it is none of them.
    """
    if name not in names:
        raise UserError(f"{where}: unknown label {name!r}; there are: {', '.join(names)}")
    return names.index(name)
