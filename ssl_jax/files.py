"""Every file goes through here: what we write appears whole or not at all, what we are given is read or refused in a line.

All text is UTF-8, with or without a byte order mark. No reader lets a parser's exception through, and none reads a whole
file before it has looked at its size.
"""

import bz2
import codecs
import collections
import contextlib
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

LARGEST = 1 << 30  # bytes of a file that is read as a whole
LONGEST_LINE = 64 << 20  # bytes of a line of a file that is read line by line
DIGESTED = 64 << 20  # bytes of files that are identified by all of their contents
SEAL = "sha256"  # key of a JSON object's hash, see `sealed`

OTHER_ENCODINGS = {
    codecs.BOM_UTF32_LE: "UTF-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def expanded(path):
    """A Path, `~` and `~NAME` at its start replaced by the home folder.

    Raises:
      UserError: nobody is called NAME.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(f"{path}: {error}") from error


def printed(path):
    """A path as part of a message: on one line, whatever bytes its name has."""
    return cut(os.fspath(path), 300)


def digests(paths):
    """What identifies files by their contents, without reading a terabyte: SHA-256 of each, in hexadecimal.

    Of files with more than DIGESTED bytes together, only the size and the first, middle and last 64 KiB count: other
    files differ there, a changed byte in between does not show.

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
    return "\n".join(line for _, line in decoded_lines(path, io.BytesIO(read_bytes(path, largest)), largest))


def read_lines(path):
    """Yields (number from 1, line without its end) of a file of any size.

    Raises:
      UserError: there is no such file, or as `decoded_lines`.
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
            if b"\0" in line[:2]:  # without its mark
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
    """An object of JSON; a key that is there twice has two values, of which a parser drops one silently."""
    made = dict(pairs)
    if len(made) < len(pairs):
        ((key, _),) = collections.Counter(key for key, _ in pairs).most_common(1)
        raise UserError(f"the key {shown(key)} is there twice")
    return made


_DECODER = json.JSONDecoder(object_pairs_hook=_without_repeats)


COMPRESSIONS = ("", ".gz", ".bz2", ".xz", ".zst")
# Input per call: a call of zstandard's, which has no bound on its output, turns a kilobyte into at most 32 MB.
_INPUT = {".zst": 1 << 10}
_OUTPUT = 1 << 20  # bytes that any other call gives at most
_XZ_MEMORY = 256 << 20  # `xz -9` needs 65 MB; a header may ask for 4 GB


@contextlib.contextmanager
def decompressed(path, compression):
    """Opens a file as a buffered binary stream, in bounded memory however much a few bytes expand to.

    What `gzip -dc`, `bzip2 -dc`, `xz -dc` and `zstd -dc` give is given, several members, streams or frames one after
    the other; what they complain of, an empty file included, is refused. Zeros behind the end of a .bz2 are padding,
    of which bzip2 only warns.

    Args:
      path: of the file.
      compression: one of COMPRESSIONS.

    Raises:
      UserError: while the stream is read: the file is damaged, cut off, or has something else after its end.
    """
    with open(path, "rb") as file:
        if not compression:
            yield file
        else:
            yield io.BufferedReader(_Pieces(_decompress(path, file, compression)), 1 << 17)


class _Pieces(io.RawIOBase):
    """The bytes of an iterator of bytes, as a raw stream."""

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
                # zlib and zstandard hand back what they did not use, the others keep it.
                data = stream.unused_data if stream.eof else getattr(stream, "unconsumed_tail", b"")
                if not (data or piece or stream.eof):
                    data = read()
                    if not data:
                        raise EOFError("it ends within a stream")
            data = _after_padding(data or read(), read, compression)
    except (EOFError, OSError, zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the disk; bz2 raises one without a number
        raise UserError(f"{printed(path)}: damaged or cut-off {compression} file ({error})") from error


def _after_padding(data, read, compression):
    """The bytes of the next stream; zeros are skipped where the format has them, and b"" ends the file."""
    zeros = 0
    while data.startswith(b"\0"):
        padded, data = len(data), data.lstrip(b"\0")
        zeros += padded - len(data)
        data = data or read()
    if zeros and (compression == ".zst" or compression == ".xz" and zeros % 4 or compression != ".xz" and data):
        raise EOFError(f"{zeros} zero bytes after the end of a stream")
    return data


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


def text_of(record, key, where):
    """The str `record[key]`.

    Raises:
      UserError: telling `where`: there is no such key, or it is not text that UTF-8 can spell.
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
    """A JSON object together with the hash of its content, which `unsealed` compares."""
    return {**value, SEAL: _hash(value)}


def unsealed(value, where):
    """What was `sealed`, or an object from before there were hashes as it is.

    Raises:
      UserError: its content is another one.
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


@contextlib.contextmanager
def replacing(path):
    """Opens a binary file that becomes `path` only when the block ends without an exception.

    A process killed in the block leaves `path` as it was (and a `.partial` file, which the next
    attempt overwrites). One writer at a time: callers hold a lock or write names of their own.
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
    """An OSError in the block that names no file, as that of a full disk, names `path`."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error


def require_creatable(path):
    """Raises OSError, which names the folder, unless `path` is a folder or can become one; leaves nothing behind."""
    path = Path(path)
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(OSError):  # another process put something there
        for folder in missing:
            folder.rmdir()


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
