"""Files that appear whole or not at all, and arrays written piece by piece."""

import contextlib
import os
import shutil
from pathlib import Path

import numpy as np

from ssl_jax.errors import UserError


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
