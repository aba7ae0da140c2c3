"""Arrays on disk that are larger than memory: written row by row, memory-mapped, and checked as they are read.

Each file is a .npy file followed by a checksum for every 64 KiB of the array, which NumPy ignores. The writer keeps a
hash of the checksums, the file's `record`. A reader verifies a block when it first reads from it: opening costs
nothing, however large the array, and no damaged value is ever returned.
"""

import hashlib
import io
import math
import zlib
from pathlib import Path

import numpy as np

from ssl_jax.errors import UserError

BLOCK = 1 << 16  # bytes; a power of two


class ArrayWriter:
    """A file that grows row by row, for arrays whose length is not known in advance."""

    def __init__(self, file, dtype, row=()):
        """Starts an array [0, *row] in `file`, open for binary writing."""
        self.file, self.dtype, self.row, self.length = file, np.dtype(dtype), tuple(row), 0
        self.checksums, self.filled = [], BLOCK  # of blocks started, and bytes in the last one
        file.write(_header(self.dtype, (0, *self.row)))

    def append(self, rows):
        """Adds `rows` [N, *row]; the values must fit the dtype."""
        rows = np.ascontiguousarray(rows, self.dtype)
        data = memoryview(rows.reshape(-1).view(np.uint8))
        self.file.write(data)
        while data:
            if self.filled == BLOCK:
                self.checksums.append(0)
                self.filled = 0
            part = data[: BLOCK - self.filled]
            self.checksums[-1] = zlib.crc32(part, self.checksums[-1])
            self.filled += len(part)
            data = data[len(part) :]
        self.length += len(rows)

    def finish(self):
        """Completes the file; returns its record, which `CheckedArray` needs: a JSON-able dict."""
        checksums = np.array(self.checksums, "<u4").tobytes()
        self.file.write(checksums)
        self.file.seek(0)
        shape = (self.length, *self.row)
        # NumPy pads the header, so its size stays the same as the first axis grows.
        self.file.write(_header(self.dtype, shape))
        return dict(dtype=self.dtype.str, shape=shape, sha256=hashlib.sha256(checksums).hexdigest())


def _header(dtype, shape):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, dict(descr=dtype.str, fortran_order=False, shape=shape))
    return header.getvalue()


class CheckedArray:
    """A memory-mapped array that checks each block on first read.

    Index rows by integers, integer arrays or slices, and their columns; `np.asarray` checks and returns all of it.

    Attributes:
      path, dtype, shape: of the array.
    """

    def __init__(self, path, record):
        """Opens a file written by an ArrayWriter; `record` is what its `finish` returned.

        Raises:
          UserError: the file is missing, or is a different one, e.g. truncated.
        """
        self.path = Path(path)
        if not self.path.is_file():
            raise UserError(f"{path} is missing{_REMEDY}")
        try:
            self.dtype, self.shape, sha256 = np.dtype(record["dtype"]), tuple(record["shape"]), record["sha256"]
            header, self._row = _header(self.dtype, self.shape), self.dtype.itemsize * math.prod(self.shape[1:])
            size = self._row * self.shape[0]
            blocks = -(-size // BLOCK)
        except (KeyError, TypeError, ValueError, SyntaxError, IndexError) as error:
            raise UserError(f"{path}: what is recorded of it is damaged{_REMEDY}") from error
        checksums = None
        if self.path.stat().st_size == len(header) + size + 4 * blocks:
            with open(path, "rb") as file:
                if file.read(len(header)) == header:
                    file.seek(len(header) + size)
                    checksums = file.read()
        if checksums is None or hashlib.sha256(checksums).hexdigest() != sha256:
            raise UserError(f"{path} is cut off, damaged or another file{_REMEDY}")
        self._array = np.memmap(path, self.dtype, "r", len(header), self.shape)
        self._checksums, self._unread = np.frombuffer(checksums, "<u4"), np.ones(blocks, bool)

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, rows):
        if self._unread.any():
            self._check(rows)
        return self._array[rows]

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self[:], dtype, copy=copy)

    def _check(self, rows):
        """Verifies the checksums of the blocks that hold these rows."""
        rows = rows[0] if isinstance(rows, tuple) else rows
        if isinstance(rows, slice):
            start, stop, _ = rows.indices(len(self))
            blocks = np.arange(start * self._row // BLOCK, -(-stop * self._row // BLOCK) if stop > start else 0)
        else:
            first = np.asarray(rows, np.int64).reshape(-1) * self._row
            first[first < 0] += len(self) * self._row
            blocks = np.concatenate([first // BLOCK, (first + self._row - 1) // BLOCK])
        data = memoryview(self._array.reshape(-1).view(np.uint8))
        for block in np.unique(blocks[self._unread[blocks]]).tolist():
            if zlib.crc32(data[block * BLOCK : (block + 1) * BLOCK]) != self._checksums[block]:
                raise UserError(f"{self.path} is damaged (in its block {block} of {BLOCK:,} bytes){_REMEDY}")
            self._unread[block] = False


_REMEDY = ": remove the folder that it is in, and it is prepared again"
