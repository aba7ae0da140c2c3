"""Every file goes through here: what we write appears whole or not at all, what we are given is read or refused in a line.

All text is UTF-8, with or without a byte order mark. No reader lets a parser's exception through, and none reads a whole
file before it has looked at its size.
"""

import codecs
import collections
import contextlib
import io
import json
import os
import shutil
from pathlib import Path

import numpy as np

from ssl_jax.errors import UserError, cut, shown

LARGEST = 1 << 30  # bytes of a file that is read as a whole

OTHER_ENCODINGS = {
    codecs.BOM_UTF32_LE: "UTF-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def read_bytes(path, largest=LARGEST):
    """A file's content.

    Raises:
      UserError: there is no such file, it is not a regular one, or it has more than `largest` bytes.
    """
    path = _file(path)
    size = path.stat().st_size
    if size > largest:
        raise UserError(f"{path} has {size:,} bytes: at most {largest:,} are read")
    return path.read_bytes()


def _file(path):
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder, and should be a file")
    if not path.is_file():
        raise UserError(f"{path} {'is no regular file' if path.exists() else 'does not exist'}")
    return path


def read_text(path, largest=LARGEST):
    """A file's lines, joined by line breaks; errors as `read_bytes` and `decoded_lines`."""
    return "\n".join(line for _, line in decoded_lines(path, io.BytesIO(read_bytes(path, largest))))


def read_lines(path):
    """Yields (number from 1, line without its end) of a file of any size.

    Raises:
      UserError: there is no such file, or as `decoded_lines`.
    """
    path = _file(path)
    with open(path, "rb") as file:
        yield from decoded_lines(path, file)


def decoded_lines(path, file):
    """Yields (number from 1, line without its end) of a binary file, or of anything else that yields lines of bytes.

    Raises:
      UserError: bytes that are not UTF-8, with `path`, line and byte.
    """
    start = 0
    for number, line in enumerate(file, 1):
        if number == 1:
            for mark, encoding in OTHER_ENCODINGS.items():
                if line.startswith(mark):
                    raise UserError(f"{path} is {encoding}; convert it to UTF-8, for example with iconv")
            if b"\0" in line[:2]:  # without its mark
                raise UserError(f"{path} begins with a NUL: if it is UTF-16, convert it to UTF-8, for example with iconv")
            if line.startswith(codecs.BOM_UTF8):
                line, start = line[len(codecs.BOM_UTF8) :], len(codecs.BOM_UTF8)
        try:
            yield number, line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise UserError(
                f"{path}, line {number}, byte {start + error.start}: not UTF-8 "
                f"({line[error.start:error.start + 1]!r}); convert the file, for example with iconv"
            ) from error
        start += len(line)


def _without_repeats(pairs):
    """An object of JSON; a key that is there twice has two values, of which a parser drops one silently."""
    made = dict(pairs)
    if len(made) < len(pairs):
        ((key, _),) = collections.Counter(key for key, _ in pairs).most_common(1)
        raise UserError(f"the key {shown(key)} is there twice")
    return made


_DECODER = json.JSONDecoder(object_pairs_hook=_without_repeats)


def parse_json(text, where, numbered=False):
    """The value that a str of JSON holds.

    Args:
      text: the JSON.
      where: what errors begin with.
      numbered: errors also give the line within `text`.

    Raises:
      UserError: it is not JSON, is nested too deeply, or has a number of thousands of digits or a key twice.
    """
    try:
        return _DECODER.decode(text)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    except json.JSONDecodeError as error:
        line = f", line {error.lineno}" if numbered else ""
        raise UserError(f"{where}{line}: not JSON ({error.msg})") from error
    except RecursionError as error:
        raise UserError(f"{where}: JSON nested too deeply to be read") from error
    except ValueError as error:  # Python's bound on the digits of a whole number
        raise UserError(f"{where}: a number with too many digits to be read") from error


def read_json(path, kind=dict, largest=LARGEST):
    """The value of type `kind` that a JSON file holds.

    Raises:
      UserError: it cannot be read, is not JSON, or holds another type.
    """
    return of_kind(parse_json(read_text(path, largest), path, numbered=True), kind, path)


def json_lines(path, lines=None, kind=dict):
    """Yields (where, value): 'PATH, line N' and the value of type `kind` on each line of JSON; empty ones are passed over.

    Args:
      path: of the file.
      lines: what `decoded_lines` yields; None: `read_lines(path)`.
      kind: dict or list; object: anything.

    Raises:
      UserError: a line is not UTF-8, not JSON, or of another type.
    """
    for number, line in read_lines(path) if lines is None else lines:
        if line.strip():
            where = f"{path}, line {number}"
            yield where, of_kind(parse_json(line, where), kind, where)


def of_kind(value, kind, where):
    """`value`, if it is of type `kind`; otherwise raises UserError, telling `where`."""
    if not isinstance(value, kind):
        try:
            told = cut(json.dumps(value), 40)
        except RecursionError:  # it was read, and is too deep to be written
            told = shown(value)
        raise UserError(f"{where}: {told} is no JSON {'object' if kind is dict else 'list'}")
    return value


def json_line(value):
    """A value as a line of a file of JSON lines, bytes; what some readers take for the end of a line is escaped."""
    line = json.dumps(value, ensure_ascii=False)  # which escapes all such characters of ASCII
    return line.translate({0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"}).encode() + b"\n"


def write_json(path, value):
    """Writes a JSON file, whole or not at all."""
    with replacing(path) as file:
        file.write((json.dumps(value, indent=2) + "\n").encode())


@contextlib.contextmanager
def replacing(path):
    """Opens a binary file that becomes `path` only when the block ends without an exception.

    A process killed in the block leaves `path` as it was (and a `.partial` file, which the next
    attempt overwrites). One writer at a time: callers hold a lock or write names of their own.
    """
    partial = f"{os.fspath(path)}.partial"
    try:
        with open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(partial)
        raise


def require_new(path):
    """Raises UserError if there is something at `path`; an empty folder is nothing."""
    if Path(path).is_file() or Path(path).is_dir() and any(Path(path).iterdir()):
        raise UserError(f"{path} exists already: give another folder, or remove it")


@contextlib.contextmanager
def new_folder(path):
    """Gives a folder to fill, which becomes `path` only when the block ends without an exception.

    Raises:
      UserError: as `require_new`.
    """
    require_new(path)
    path = Path(path)
    partial = path.with_name(f"{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        os.replace(partial, path)  # takes the place of an empty folder, too
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


class ArrayWriter:
    """A .npy file that grows by rows, for arrays larger than memory whose length is not yet known."""

    def __init__(self, file, dtype, row=()):
        """Starts the array [0, *row] in `file`, which is open for binary writing."""
        self.file, self.dtype, self.row, self.length = file, np.dtype(dtype), tuple(row), 0
        self._header()

    def append(self, rows):
        """Adds `rows` [N, *row]; the values must fit the dtype."""
        self.file.write(np.ascontiguousarray(rows, self.dtype).data)
        self.length += len(rows)

    def finish(self):
        """Writes the final length into the header."""
        self.file.seek(0)
        self._header()

    def _header(self):
        # numpy pads the header so that it keeps its size while the first axis grows.
        header = dict(descr=self.dtype.str, fortran_order=False, shape=(self.length, *self.row))
        np.lib.format.write_array_header_1_0(self.file, header)
