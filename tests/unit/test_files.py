"""What a user hands in is read, or refused in one line that says where; what is written is whole."""

import codecs
import errno
import os
import stat

import pytest

from ssl_jax import files
from ssl_jax.errors import UserError


def write(path, content):
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_a_byte_order_mark_is_no_text_and_a_fault_is_at_its_place_in_the_file(tmp_path, mark):
    path = write(tmp_path / "a.txt", mark + "é\r\n{}\n".encode())
    assert list(files.read_lines(path)) == [(1, "é"), (2, "{}")]
    path = write(tmp_path / "a.txt", mark + b"ab\xff\n")
    with pytest.raises(UserError, match=rf"a.txt, line 1, byte {len(mark) + 2}: not UTF-8 \(b'\\xff'\)"):
        files.read_text(path)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_another_encoding_is_named(tmp_path, encoding):
    path = write(tmp_path / "a.json", "\ufeff{}".encode(encoding))
    with pytest.raises(UserError, match=f"a.json is {encoding[:6].upper()}"):
        files.read_json(path)


@pytest.mark.parametrize(
    "content, told",
    [
        (b"{", "line 1: not JSON"),
        (b"{}\n}", "line 2: not JSON"),
        (b"[]", r"a.json: \[\] is no JSON object"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": ' + b"1" * 5_000 + b"}", "too many digits"),
        (b"", "line 1: not JSON"),
        (b'{"a": 1, "b": {"c": 1, "d": 2, "c": 3}}', r"a.json: the key 'c' is there twice"),
        (b"[" * 900 + b"]" * 900, r"a.json: \[\[\[.* is no JSON object"),
        ("{}".encode("utf-16-le"), "begins with a NUL: if it is UTF-16"),
        (b'"' + b"x" * 90 + b'"', r"a.json: \"x{39}\.\.\. is no JSON object"),
    ],
)
def test_json_that_cannot_be_read_is_one_line(tmp_path, content, told):
    with pytest.raises(UserError, match=told) as raised:
        files.read_json(write(tmp_path / "a.json", content))
    assert str(tmp_path / "a.json") in str(raised.value) and "\n" not in str(raised.value)


def test_lines_of_json_name_the_line(tmp_path):
    path = write(tmp_path / "a.jsonl", b'{"a": 1}\n\n{"a": 2}\n[3]\n')
    lines = files.json_lines(path)
    assert [next(lines), next(lines)] == [(f"{path}, line 1", {"a": 1}), (f"{path}, line 3", {"a": 2})]
    with pytest.raises(UserError, match=r"a.jsonl, line 4: \[3\] is no JSON object"):
        next(lines)


def test_what_is_too_large_or_no_file_is_refused_before_it_is_read(tmp_path):
    path = write(tmp_path / "a.json", b"{}")
    os.truncate(path, files.LARGEST + 1)  # without taking up the space
    for read, told in ((path, "bytes: at most"), (tmp_path, "is a folder"), (tmp_path / "b", "does not exist")):
        with pytest.raises(UserError, match=told):
            files.read_json(read)


def test_what_is_written_is_whole_and_has_the_usual_permissions(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        files.write_json(path, {"a": object()})
    assert files.read_json(path) == {"a": 1} and os.listdir(tmp_path) == ["a.json"]
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


def test_a_full_disk_names_the_file_that_was_to_be_written(tmp_path):
    with pytest.raises(OSError, match="a.json") as error, files.replacing(tmp_path / "a.json"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as a write says it
    assert error.value.filename == str(tmp_path / "a.json") and not list(tmp_path.iterdir())


def test_a_line_of_any_length_is_refused_with_its_place_before_all_of_it_is_read(tmp_path):
    path = write(tmp_path / "a.txt", b"short\n")
    os.truncate(path, 1 << 28)  # zeros, without taking up the space
    with pytest.raises(UserError, match="a.txt, line 2: more than 67,108,864 bytes without a line break"):
        list(files.read_lines(path))


def test_whether_a_folder_can_be_made_is_found_out_without_leaving_one(tmp_path):
    files.require_creatable(tmp_path / "a" / "b")
    assert not list(tmp_path.iterdir())
    (tmp_path / "a").mkdir()
    files.require_creatable(tmp_path / "a" / "b")
    files.require_creatable(tmp_path / "a")
    assert list(tmp_path.rglob("*")) == [tmp_path / "a"]
    (tmp_path / "file").touch()
    with pytest.raises(OSError) as error:
        files.require_creatable(tmp_path / "file" / "run")
    assert error.value.filename.startswith(str(tmp_path / "file"))
