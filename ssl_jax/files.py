"""All file access: writes are all-or-nothing, and input is either read or rejected with a one-line error.

All text is UTF-8, with or without a byte order mark. No reader lets a parser's exception through, and none reads a
whole file before checking its size.
"""

import bz2
import codecs
import collections
import contextlib
import csv
import functools
import hashlib
import io
import json
import lzma
import os
import shutil
import zlib
from pathlib import Path

import zstandard

from ssl_jax.errors import UserError, cut, shown

LARGEST = 1 << 30  # bytes of a file read as a whole
LONGEST_LINE = 64 << 20  # bytes per line of a file read line by line
DIGESTED = 64 << 20  # bytes of files that are hashed in full
SEAL = "sha256"  # key of a JSON object's hash, see `sealed`

OTHER_ENCODINGS = {
    codecs.BOM_UTF32_LE: "UTF-32",  # before UTF-16, whose mark is a prefix of it
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def expanded(path):
    """A Path with a leading `~` or `~NAME` replaced by the home folder.

    Raises:
      UserError: there is no user NAME.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(f"{path}: {error}") from error


def printed(path):
    """A path formatted for a message: on one line, whatever bytes its name has."""
    return cut(os.fspath(path), 300)


def digests(paths):
    """Identifies files by their contents without reading a terabyte: SHA-256 of each, in hexadecimal.

    If the files exceed DIGESTED bytes in total, only the size and the first, middle and last 64 KiB count: different
    files differ there, but a changed byte in between goes unnoticed.

    Raises:
      OSError: a file is missing or cannot be read.
    """
    sizes = [os.path.getsize(path) for path in paths]
    return [_digest(path, size, sum(sizes) <= DIGESTED) for path, size in zip(paths, sizes, strict=True)]


def _digest(path, size, whole, block=1 << 16):
    with open(path, "rb", buffering=0) as file:
        if whole:
            return hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha256(str(size).encode())
        for start in sorted({0, max(0, size - block) // 2, max(0, size - block)}):
            file.seek(start)
            digest.update(file.read(block))
        return digest.hexdigest()


def read_bytes(path, largest=LARGEST):
    """A file's content.

    Raises:
      UserError: the file is missing, not a regular file, or has more than `largest` bytes.
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
    """A file's lines, joined by line breaks; errors as for `read_bytes` and `decoded_lines`."""
    content = read_bytes(path, largest)
    if content.isascii() and b"\r" not in content and b"\0" not in content[:2]:
        return content.decode().removesuffix("\n")  # the same, without a look at each line
    return "\n".join(line for _, line in decoded_lines(path, io.BytesIO(content), largest))


def read_lines(path):
    """Yields (number from 1, line without its end) of a file of any size.

    Raises:
      UserError: the file is missing, or as for `decoded_lines`.
    """
    path = _file(path)
    with open(path, "rb") as file:
        yield from decoded_lines(path, file)


def decoded_lines(path, file, longest=LONGEST_LINE):
    """Yields (number from 1, line without its end) of a binary file.

    Raises:
      UserError: bytes that are not UTF-8, with `path`, line and byte; a line of more than `longest` bytes.
    """
    start = 0
    for number, line in enumerate(iter(functools.partial(file.readline, longest + 1), b""), 1):
        if len(line) > longest:
            raise UserError(f"{path}, line {number}: more than {longest:,} bytes without a line break")
        if number == 1:
            for mark, encoding in OTHER_ENCODINGS.items():
                if line.startswith(mark):
                    raise UserError(f"{path} is {encoding}; convert it to UTF-8, for example with iconv")
            if b"\0" in line[:2]:  # UTF-16 without a mark
                raise UserError(
                    f"{path} begins with a NUL: if it is UTF-16, convert it to UTF-8, for example with iconv"
                )
            if line.startswith(codecs.BOM_UTF8):
                line, start = line[len(codecs.BOM_UTF8) :], len(codecs.BOM_UTF8)
        try:
            yield number, line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise UserError(
                f"{path}, line {number}, byte {start + error.start}: not UTF-8 "
                f"({line[error.start : error.start + 1]!r}); convert the file, for example with iconv"
            ) from error
        start += len(line)


def _without_repeats(pairs):
    """A JSON object; rejects duplicate keys, for which a parser would silently drop one value."""
    made = dict(pairs)
    if len(made) < len(pairs):
        ((key, _),) = collections.Counter(key for key, _ in pairs).most_common(1)
        raise UserError(f"the key {shown(key)} is there twice")
    return made


_DECODER = json.JSONDecoder(object_pairs_hook=_without_repeats)


COMPRESSIONS = ("", ".gz", ".bz2", ".xz", ".zst")
# Input per call: zstandard does not bound its output, but a kilobyte expands to at most 32 MB per call.
_INPUT = {".zst": 1 << 10}
_OUTPUT = 1 << 20  # maximum output bytes of any other call
_XZ_MEMORY = 256 << 20  # `xz -9` needs 65 MB; a header may ask for 4 GB


@contextlib.contextmanager
def decompressed(path, compression):
    """Opens a file as a buffered binary stream, in bounded memory whatever the compression ratio.

    The output matches `gzip -dc`, `bzip2 -dc`, `xz -dc` and `zstd -dc`, with several members, streams or frames
    concatenated; what they reject, an empty file included, is rejected. Zeros after the end of a .bz2 are padding,
    for which bzip2 only warns.

    Args:
      path: of the file.
      compression: one of COMPRESSIONS.

    Raises:
      UserError: while reading the stream: the file is damaged, truncated, or has trailing data.
    """
    with open(path, "rb") as file:
        if not compression:
            yield file
        else:
            yield io.BufferedReader(_Pieces(_decompress(path, file, compression)), 1 << 17)


class _Pieces(io.RawIOBase):
    """An iterator of bytes as a raw stream."""

    def __init__(self, pieces):
        self.pieces, self.rest = filter(None, pieces), memoryview(b"")

    def readable(self):
        return True

    def readinto(self, buffer):
        self.rest = self.rest or memoryview(next(self.pieces, b""))
        size = min(len(buffer), len(self.rest))
        buffer[:size], self.rest = self.rest[:size], self.rest[size:]
        return size


def _decompress(path, file, compression):
    """Yields the content of all streams of a compressed file, in pieces of bounded size."""
    start, bound = {
        ".gz": (functools.partial(zlib.decompressobj, wbits=31), (_OUTPUT,)),
        ".bz2": (bz2.BZ2Decompressor, (_OUTPUT,)),
        ".xz": (functools.partial(lzma.LZMADecompressor, lzma.FORMAT_XZ, memlimit=_XZ_MEMORY), (_OUTPUT,)),
        ".zst": (lambda: zstandard.ZstdDecompressor().decompressobj(), ()),
    }[compression]
    read = functools.partial(file.read, _INPUT.get(compression, 1 << 17))
    try:
        data = read()
        if not data:
            raise EOFError("it is empty")
        while data:
            stream = start()
            while not stream.eof:
                piece = stream.decompress(data, *bound)
                yield piece
                # zlib and zstandard hand back unused input, the others keep it.
                data = stream.unused_data if stream.eof else getattr(stream, "unconsumed_tail", b"")
                if not (data or piece or stream.eof):
                    data = read()
                    if not data:
                        raise EOFError("it ends within a stream")
            data = _after_padding(data or read(), read, compression)
    except (EOFError, OSError, zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # from the disk; bz2's have no errno
        raise UserError(f"{printed(path)}: damaged or cut-off {compression} file ({error})") from error


def _after_padding(data, read, compression):
    """The bytes of the next stream; zeros are skipped if the format allows them, and b"" marks the end of the file."""
    zeros = 0
    while data.startswith(b"\0"):
        padded, data = len(data), data.lstrip(b"\0")
        zeros += padded - len(data)
        data = data or read()
    if zeros and (compression == ".zst" or compression == ".xz" and zeros % 4 or compression != ".xz" and data):
        raise EOFError(f"{zeros} zero bytes after the end of a stream")
    return data


def parse_json(text, where, numbered=False):
    """The value of a JSON str.

    Args:
      text: the JSON.
      where: prefix of error messages.
      numbered: whether errors also give the line within `text`.

    Raises:
      UserError: it is not JSON, is nested too deeply, or has a number of thousands of digits or a duplicate key.
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
    except ValueError as error:  # Python's limit on the digits of an integer
        raise UserError(f"{where}: a number with too many digits to be read") from error


def read_json(path, kind=dict, largest=LARGEST):
    """The value of type `kind` in a JSON file.

    Raises:
      UserError: it cannot be read, is not JSON, or holds another type.
    """
    return of_kind(parse_json(read_text(path, largest), path, numbered=True), kind, path)


def json_lines(path, lines=None, kind=dict):
    """Yields (where, value): 'PATH, line N' and the value of type `kind` on each line of JSON; empty lines are skipped.

    Args:
      path: of the file.
      lines: the output of `decoded_lines`; None: `read_lines(path)`.
      kind: dict or list; object: anything.

    Raises:
      UserError: a line is not UTF-8, not JSON, or of another type.
    """
    for number, line in read_lines(path) if lines is None else lines:
        if line.strip():
            where = f"{path}, line {number}"
            yield where, of_kind(parse_json(line, where), kind, where)


def of_kind(value, kind, where):
    """`value`, if it is of type `kind`; otherwise raises UserError naming `where`."""
    if not isinstance(value, kind):
        try:
            told = cut(json.dumps(value), 40)
        except RecursionError:  # it could be read but is too deep to be written
            told = shown(value)
        raise UserError(f"{where}: {told} is no JSON {'object' if kind is dict else 'list'}")
    return value


def logged_lines(path):
    """The lines of a .jsonl file that are objects with a step and a split, with newline, and the number of bad lines.

    A last line without a newline was left by a process killed while writing it; it does not count.
    """
    if not Path(path).exists():
        return [], 0
    lines = [line for line in Path(path).read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    good = [line.decode() for line in lines if _is_logged(line)]
    return good, len(lines) - len(good)


def _is_logged(line):
    try:
        content = parse_json(line.decode(), "")
    except (UserError, UnicodeDecodeError):
        return False
    return isinstance(content, dict) and type(content.get("step")) is int and isinstance(content.get("split"), str)


def json_line(value):
    """A value as one line of a JSON Lines file, bytes; characters that some readers treat as line ends are escaped."""
    line = json.dumps(value, ensure_ascii=False)  # already escapes all such ASCII characters
    return line.translate({0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"}).encode() + b"\n"


def text_of(record, key, where):
    """The str `record[key]`.

    Raises:
      UserError: naming `where`: the key is missing, or its value is not text that UTF-8 can encode.
    """
    try:
        text = record[key]
    except (KeyError, TypeError) as error:
        raise UserError(f"{where}: no key {key!r}") from error
    if not isinstance(text, str):
        raise UserError(f"{where}: {key!r} is not a string")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(f"{where}: half a surrogate pair in {key!r} ({error.reason})") from error
    return text


def sealed(value):
    """A JSON object with a hash of its content, which `unsealed` checks."""
    return {**value, SEAL: _hash(value)}


def unsealed(value, where):
    """The object that was `sealed`; one from before hashes existed is returned unchanged.

    Raises:
      UserError: its content does not match the hash.
    """
    content = {key: part for key, part in value.items() if key != SEAL}
    if value.get(SEAL, _hash(content)) != _hash(content):
        raise UserError(f"{where} is damaged: its content has another hash than was saved with it")
    return content


def _hash(value):
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def write_json(path, value):
    """Writes a JSON file, whole or not at all."""
    with replacing(path) as file:
        file.write((json.dumps(value, indent=2) + "\n").encode())


def write_csv(path, rows, fields=None):
    """Writes dicts with the same keys as a table, whole or not at all; `fields`: the keys, where there may be no rows."""
    text = io.StringIO()
    table = csv.DictWriter(text, fields or rows[0])
    table.writeheader()
    table.writerows(rows)
    with replacing(path) as file:
        file.write(text.getvalue().encode())


@contextlib.contextmanager
def replacing(path):
    """Opens a binary file that becomes `path` only if the block ends without an exception.

    A process killed in the block leaves `path` unchanged (and a `.partial` file, which the next attempt overwrites).
    One writer at a time: callers hold a lock or write to their own names.
    """
    partial = f"{os.fspath(path)}.partial"
    try:
        with naming(path):
            with open(partial, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(partial)
        raise


@contextlib.contextmanager
def naming(path):
    """Adds `path` to any OSError in the block that names no file, such as a full disk's."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error


def require_creatable(path):
    """Raises OSError, naming the folder, unless `path` is a folder or can be created; leaves nothing behind."""
    path = Path(path)
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(OSError):  # another process put something there
        for folder in missing:
            folder.rmdir()


def require_new(path):
    """Raises UserError if `path` exists, unless it is an empty folder."""
    if Path(path).is_file() or Path(path).is_dir() and any(Path(path).iterdir()):
        raise UserError(f"{path} exists already: give another folder, or remove it")


@contextlib.contextmanager
def new_folder(path):
    """Yields a folder to fill, which becomes `path` only if the block ends without an exception.

    Raises:
      UserError: as for `require_new`.
    """
    require_new(path)
    path = Path(path)
    partial = path.with_name(f"{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        os.replace(partial, path)  # also replaces an empty folder
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
