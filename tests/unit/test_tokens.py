"""Preparing: the same bytes whatever happens on the way, nothing shared between the splits, honest counts."""

import io
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from ml_collections import ConfigDict

from ssl_jax.data import arrays, corpora, pairs, tokens
from ssl_jax.errors import UserError
from ssl_jax.tokenization import files as tokenizer_files
from ssl_jax.tokenization.vocabulary import identity

pytestmark = pytest.mark.slow  # compiles programs, or trains

rng = np.random.default_rng(0)
WORDS = ["".join(rng.choice(list("aeioubdfgklmnprst"), 5)) for _ in range(300)]


def document():
    return " ".join(
        " ".join(rng.choice(WORDS, rng.integers(3, 12))).capitalize() + "." for _ in range(rng.integers(1, 9))
    )


DOCUMENTS = [document() for _ in range(300)]


def config(root, corpus, **options):
    tokenizer = dict(path="", kind="wordpiece", vocab_size=200, lowercase=True, words="bert", add=())
    block = dict(corpus=corpus, root=str(root), tokenizer=tokenizer, max_documents=0, heldout=0.1)
    return ConfigDict(block | options)


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(dict(text=text)) + "\n" for text in DOCUMENTS))
    return f"text:{path}"


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(tokens, "PART_BYTES", 5000)


def content(folder):
    files = [path for path in pathlib.Path(folder).rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def decoded(folder, split):
    """The documents as text: tokens joined by spaces."""
    store, tokenizer = tokens.Store(folder, split), tokenizer_files.load(f"{folder}/tokenizer.json")
    return [
        tokenizer.decode(np.concatenate(store.document(number)).tolist()) for number in range(len(store.documents) - 1)
    ]


def test_passport_and_store_against_plain_counts(corpus, tmp_path):
    path = tmp_path / "b.jsonl"
    extra = ["", "  \n ", DOCUMENTS[7], DOCUMENTS[7].replace(" ", "  "), DOCUMENTS[9], "\u0007"]
    path.write_text("".join(json.dumps(dict(text=text)) + "\n" for text in DOCUMENTS + extra))
    folder = tokens.prepare(config(tmp_path, f"text:{path}"))
    passport = json.loads(pathlib.Path(folder, "data.json").read_text())
    assert passport["documents_read"] == 306
    assert passport["dropped"] == dict(empty=3) and passport["duplicates"] == 3
    assert passport["tokenizer_hash"] == tokenizer_files.fingerprint(f"{folder}/tokenizer.json")
    everything = []
    for split in tokens.SPLITS:
        store, counts = tokens.Store(folder, split), passport["splits"][split]
        everything += decoded(folder, split)
        assert store.tokens.dtype == np.uint16
        assert len(store.tokens) == counts["tokens"] == store.sentences[-1]
        assert len(store.sentences) - 1 == counts["sentences"] == store.documents[-1]
        assert len(store.documents) - 1 == counts["documents"]
        # Each sentence ends with its only full stop.
        stop = tokenizer_files.load(f"{folder}/tokenizer.json").token_to_id(".")
        if split == "train":
            assert np.array_equal(np.flatnonzero(np.asarray(store.tokens) == stop) + 1, store.sentences[1:])
    assert sorted(everything) == sorted(map(str.lower, DOCUMENTS))


def test_same_bytes_alone_by_threads_and_by_processes(corpus, tmp_path, small_parts, monkeypatch):
    folders = [tokens.prepare(config(tmp_path / str(workers), corpus), workers) for workers in (1, 2)]
    monkeypatch.setattr(tokens, "FEW_BYTES", 0)
    folders.append(tokens.prepare(config(tmp_path / "processes", corpus), 2))
    for folder in folders[1:]:
        assert content(folders[0]) == content(folder)
        assert pathlib.Path(folders[0]).name == pathlib.Path(folder).name


def test_same_bytes_whatever_the_size_of_parts(corpus, tmp_path, monkeypatch):
    whole = content(tokens.prepare(config(tmp_path / "whole", corpus)))
    monkeypatch.setattr(tokens, "PART_BYTES", 3000)
    assert content(tokens.prepare(config(tmp_path / "parts", corpus), 1)) == whole


def test_parts_are_small_enough_to_occupy_all_processes(corpus, tmp_path, monkeypatch):
    written, write = [], tokens._write_part
    monkeypatch.setattr(tokens, "SMALLEST_PART", 1000)
    monkeypatch.setattr(tokens, "PARTS", 10)
    monkeypatch.setattr(tokens, "_write_part", lambda path, *where: (written.append(where), write(path, *where)))
    tokens.prepare(config(tmp_path, corpus), 1)
    assert len(written) == 10 or len(written) == 11  # what does not fit into ten
    sizes = [stop - start for start, stop in written]
    assert len(set(sizes[:10])) == 1 and written[0][0] == 0 and written[-1][1] == len(DOCUMENTS)


def test_killed_at_random_and_restarted(corpus, tmp_path, small_parts):
    expected = content(tokens.prepare(config(tmp_path / "calm", corpus), 1))
    program = (
        "import sys; from tests.unit import test_tokens as t; t.tokens.PART_BYTES = 5000\n"
        "write = t.tokens._write_part\n"
        "def slowly(*part):\n"
        "    write(*part); print('part', flush=True); t.time.sleep(.05)\n"
        "t.tokens._write_part = slowly\n"
        "t.tokens.prepare(t.config(sys.argv[1], sys.argv[2]), 1)\n"
    )
    root = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, "-c", program, root, corpus], stdout=subprocess.PIPE)
    for _ in range(4):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    [work] = root.glob("*.incomplete")
    finished = {path: path.stat().st_mtime_ns for path in (work / "parts").glob("*.npz")}
    assert len(finished) >= 4
    folder = tokens.prepare(config(root, corpus), 1)
    assert content(folder) == expected
    assert not list(root.glob("*.incomplete"))


def test_finished_parts_are_kept(corpus, tmp_path, small_parts, monkeypatch):
    write, written = tokens._write_part, []

    def fails_at_the_fifth(path, *rest):
        if len(written) == 4:
            raise OSError(28, "No space left on device")
        written.append(path)
        write(path, *rest)

    monkeypatch.setattr(tokens, "_write_part", fails_at_the_fifth)
    with pytest.raises(OSError, match="No space left on device") as error:
        tokens.prepare(config(tmp_path, corpus), 1)
    assert error.value.filename
    before = list(written)
    monkeypatch.setattr(tokens, "_write_part", lambda *part: (written.append(part[0]), write(*part)))
    tokens.prepare(config(tmp_path, corpus), 1)
    assert len(set(written)) == len(written) > len(before) == 4


def test_second_call_returns_at_once(corpus, tmp_path, monkeypatch):
    folder = tokens.prepare(config(tmp_path, corpus))
    monkeypatch.setattr(tokens, "_prepare", None)
    assert tokens.prepare(config(tmp_path, corpus)) == folder


def test_many_processes_ask_at_once(corpus, tmp_path):
    program = "import sys; from tests.unit import test_tokens as t;print(t.tokens.prepare(t.config(sys.argv[1], sys.argv[2])))"
    command = [sys.executable, "-c", program, tmp_path / "root", corpus]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(3)]
    assert len({process.communicate()[0] for process in processes}) == 1
    assert [process.returncode for process in processes] == [0, 0, 0]


def test_other_choices_make_other_folders(corpus, tmp_path):
    base = config(tmp_path, corpus)
    other_tokenizer = dict(base.tokenizer, vocab_size=201)
    changed = [dict(heldout=0.2), dict(max_documents=250), dict(tokenizer=other_tokenizer)]
    changed += [dict(tokenizer=dict(other_tokenizer, add=("[A]",)))]
    folders = [tokens.prepare(config(tmp_path, corpus, **change)) for change in [{}, *changed]]
    assert len(set(folders)) == 5
    assert tokens.Store(folders[2], "train").passport["documents_read"] == 250
    # What only batches read does not prepare anew.
    assert tokens.prepare(config(tmp_path, corpus, dupe_factor=3, short_seq_prob=0.5)) == folders[0]


def test_a_model_s_folder_gives_its_tokenizer(corpus, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    tokenizer = tokens.train_on(corpora.open_corpus(corpus, str(tmp_path)), config(tmp_path, corpus))
    tokenizer_files.save(tokenizer, folder / "tokenizer.json")
    asked = config(tmp_path, corpus)
    asked.tokenizer.path = str(folder)
    prepared = tokens.prepare(asked)
    used = tokenizer_files.load(f"{prepared}/tokenizer.json")
    assert identity(used) == identity(tokenizer)
    (folder / "config.json").write_text("{}")  # nothing that ids depend on
    assert tokens.prepare(asked) == prepared
    other = tokens.train_on(corpora.open_corpus(corpus, str(tmp_path)), config(tmp_path, corpus, heldout=0.6))
    tokenizer_files.save(other, folder / "tokenizer.json")
    assert tokens.prepare(asked) != prepared


def test_held_out_documents_are_disjoint_and_chosen_by_content(corpus, tmp_path):
    folder = tokens.prepare(config(tmp_path, corpus))
    train, heldout = (set(decoded(folder, split)) for split in tokens.SPLITS)
    assert not train & heldout and len(train) + len(heldout) == 300
    assert 15 < len(heldout) < 50
    # The same documents in another file, twice each and in another order: the same side.
    path = tmp_path / "other.jsonl"
    path.write_text("".join(json.dumps(dict(text=text)) + "\n" for text in DOCUMENTS[::-1] * 2))
    again = tokens.prepare(config(tmp_path, f"text:{path}"))
    assert set(decoded(again, "heldout")) == heldout and set(decoded(again, "train")) == train


def test_held_out_documents_do_not_teach_the_tokenizer(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(dict(text=text)) + "\n" for text in DOCUMENTS))
    data = config(tmp_path, f"text:{path}", heldout=0.5)
    seen = list(tokens._TrainingTexts(corpora.open_corpus(data.corpus, data.root), data))
    hashes = np.stack([tokens.content_hash(text) for text in seen])
    assert 100 < len(seen) < 200 and not tokens.is_heldout(hashes, 0.5).any()


def test_duplicates_in_small_buckets():
    generator = np.random.default_rng(1)
    hashes = generator.integers(0, 1 << 63, (50, 2), np.uint64)[generator.integers(0, 50, 200)]
    seen, expected = set(), []
    for row in map(tuple, hashes.tolist()):
        expected.append(row in seen)
        seen.add(row)
    for size in (1, 7, 64, 1000):
        assert tokens.find_duplicates(hashes, size).tolist() == expected


def test_sentences():
    text = "Dr. Smith paid $3.5 million to J. R. Ewing. Why? Nobody knows\nA new line begins.  \n\n"
    assert tokens.split_sentences(text) == [
        "Dr. Smith paid $3.5 million to J. R. Ewing.",
        "Why?",
        "Nobody knows",
        "A new line begins.",
    ]


ODD_TEXTS = [
    "  Two spaces first.  And two between.\n\nA paragraph, then\ta tab. \u00a0No break! \r\nWhy?\n\n\n",
    "No full stop\n \n  indented: x =  1\n\tmore",
    "  \n\t ",
    "Caf\u00e9 \u2603! \u201cQuoted.\u201d It's (here).   ",
]


@pytest.mark.parametrize("number", range(len(ODD_TEXTS)))
def test_slices_join_to_the_document(number):
    text = ODD_TEXTS[number]
    slices = tokens.slice_sentences(text)
    assert "".join(slices) == (text if text.strip() else "")
    assert [sentence.strip() for sentence in slices] == tokens.split_sentences(text)
    # White space stands in front; only the document's last may end a sentence.
    assert all(sentence == sentence.rstrip() for sentence in slices[:-1])


def test_byte_level_gives_documents_back(tmp_path):
    typical = [text.replace(". ", ".\n\n", 1).replace(". ", ".  ", 1) for text in DOCUMENTS[:40]]
    texts = typical + ODD_TEXTS
    path = tmp_path / "b.jsonl"
    path.write_text("".join(json.dumps(dict(text=text)) + "\n" for text in texts))
    options = dict(path="", kind="byte_bpe", vocab_size=300, lowercase=False, words="bert", add=())
    folder = tokens.prepare(config(tmp_path, f"text:{path}", tokenizer=options, heldout=0.0))
    store, tokenizer = tokens.Store(folder, "train"), tokenizer_files.load(f"{folder}/tokenizer.json")
    count = len(store.documents) - 1
    documents = [np.concatenate(store.document(number)).tolist() for number in range(count)]
    decoded_texts = [tokenizer.decode(ids) for ids in documents]
    assert sorted(decoded_texts) == sorted(text for text in texts if text.strip())
    assert len(store.sentences) - 1 > 2 * count
    # Sentence by sentence or all at once: the same tokens.
    assert documents == [tokenizer.encode(text, add_special_tokens=False).ids for text in decoded_texts]


def test_large_vocabularies_need_four_bytes(corpus, tmp_path):
    plain = tokens.prepare(config(tmp_path, corpus))
    big = json.loads(pathlib.Path(plain, "tokenizer.json").read_text())
    size = (1 << 16) + 1
    big["model"]["vocab"].update({f"unused{number}": number for number in range(200, size)})
    path = tmp_path / "big.json"
    path.write_text(json.dumps(big))
    options = dict(path=str(path), kind="", vocab_size=size, lowercase=True, words="bert", add=())
    folder = tokens.prepare(config(tmp_path, corpus, tokenizer=options))
    store = tokens.Store(folder, "train")
    assert store.tokens.dtype == np.uint32
    assert np.array_equal(store.tokens, tokens.Store(plain, "train").tokens)


@pytest.mark.parametrize(
    "options, lines, message",
    [
        ({}, ["", " "], "(vocabulary of 200 is out of reach|leaves nothing to train on)"),
        (
            dict(
                heldout=1.0,
                tokenizer=dict(path="TOKENIZER", kind="", vocab_size=200, lowercase=True, words="bert", add=()),
            ),
            DOCUMENTS,
            "leaves nothing to train on: 300 documents",
        ),
        (
            dict(tokenizer=dict(path="TOKENIZER", kind="", vocab_size=30522, lowercase=True, words="bert", add=())),
            DOCUMENTS,
            "has 200 pieces, but the config's vocabulary has 30522",
        ),
        (
            dict(tokenizer=dict(path="none.json", kind="", vocab_size=200, lowercase=True, words="bert", add=())),
            DOCUMENTS,
            "no tokenizer file none.json",
        ),
        (
            dict(tokenizer=dict(path="", kind="wordpiece", vocab_size=10**6, lowercase=True, words="bert", add=())),
            DOCUMENTS,
            "out of reach",
        ),
    ],
)
def test_bad_input_is_refused_and_leaves_nothing(corpus, tmp_path, options, lines, message):
    made = tokens.prepare(config(tmp_path, corpus))
    options = json.loads(json.dumps(options).replace("TOKENIZER", f"{made}/tokenizer.json"))
    path = tmp_path / "bad.jsonl"
    path.write_text("".join(json.dumps(dict(text=text)) + "\n" for text in lines))
    with pytest.raises(UserError, match=message) as error:
        tokens.prepare(config(tmp_path / "root", f"text:{path}", **options))
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "root").glob("bad-*[!k]"))  # a .lock may stay


def test_unwritable_root(corpus, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError) as error:
        tokens.prepare(config(tmp_path / "file" / "root", corpus))
    assert error.value.errno and "file" in str(error.value.filename)


def test_full_disk_leaves_no_finished_folder(corpus, tmp_path):
    """A limit on the size of files stands for the full disk."""
    program = (
        "import resource, sys; from tests.unit import test_tokens as t\n"
        "t.corpora.open_corpus(sys.argv[2], sys.argv[1])[0]\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
        "try: t.tokens.prepare(t.config(sys.argv[1], sys.argv[2]))\n"
        "except OSError as error: print(error.errno, error.filename)\n"
    )
    root = tmp_path / "root"
    command = [sys.executable, "-c", program, root, corpus]
    number, filename = subprocess.run(command, capture_output=True, check=True, text=True).stdout.split()
    assert int(number) == 27 and filename.startswith(str(root))
    assert not list(root.glob("a-" + 12 * "?")) and not list(root.rglob("*.partial"))
    tokens.prepare(config(root, corpus))
    assert len(list(root.glob("a-" + 12 * "?"))) == 1


def test_not_a_store(tmp_path):
    with pytest.raises(UserError, match="is not a prepared corpus"):
        tokens.Store(tmp_path, "train")


def test_workers_end_with_their_parent(corpus, tmp_path):
    """A pool's processes would wait for ever after kill -9 of the process that started them."""
    folder = tokens.prepare(config(tmp_path, corpus))
    path = tmp_path / "program.py"
    path.write_text(
        "import concurrent.futures, multiprocessing, os, sys, time\n"
        "from ssl_jax.data import processes, tokens\n"
        "if __name__ == '__main__':\n"
        "    spawn = multiprocessing.get_context('spawn')\n"
        "    what = tokens._open, *sys.argv[1:]\n"
        "    pool = concurrent.futures.ProcessPoolExecutor(1, spawn, processes.begin, what)\n"
        "    print(pool.submit(os.getpid).result(), flush=True)\n"
        "    time.sleep(60)\n"
    )
    command = [sys.executable, path, corpus, tmp_path, f"{folder}/tokenizer.json"]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE)
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    for _ in range(100):
        # A process without a reaper stays as a zombie; its command line is then empty.
        try:
            if not pathlib.Path(f"/proc/{worker}/cmdline").read_bytes():
                return
        except (FileNotFoundError, ProcessLookupError):
            return
        time.sleep(0.05)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("the worker outlived its parent")


def test_every_damage_of_a_prepared_folder_is_noticed(corpus, tmp_path):
    """A flipped byte, a cut, something appended, another file's bytes, a pickle, nothing: one line, no wrong number."""
    data = config(tmp_path, corpus)
    folder = pathlib.Path(tokens.prepare(data))
    stores = {split: tokens.Store(folder, split) for split in tokens.SPLITS}
    pairs.pair_index(stores["train"], "nsp", 16, 0.1, 0, 1)
    expected = {split: [np.array(getattr(store, name)) for name in tokens.ARRAYS] for split, store in stores.items()}
    index = np.array(pairs.pair_index(stores["train"], "nsp", 16, 0.1, 0, 1))
    pickled = io.BytesIO()
    np.save(pickled, np.array([{}], object), allow_pickle=True)
    generator, whole = np.random.default_rng(0), content(folder)
    names = [name for name in whole if not name.endswith(".lock")]

    def read():
        tokens.prepare(data)
        for split in tokens.SPLITS:
            store = tokens.Store(folder, split)
            for name, values in zip(tokens.ARRAYS, expected[split], strict=True):
                assert np.array_equal(np.asarray(getattr(store, name)), values)  # array_equal would swallow the error
        again = pairs.pair_index(tokens.Store(folder, "train"), "nsp", 16, 0.1, 0, 1)
        assert np.array_equal(np.asarray(again), index)

    read()
    noticed = 0
    for name in names:
        path, good = folder / name, whole[name]
        damages = [b"", good[: len(good) // 2], good[:-1], good + b"x", pickled.getvalue(), b"[" * 100_000, b"1" * 5000]
        damages += [next(other for key, other in whole.items() if key != name and key.endswith(path.suffix))]
        damages += [None]
        for place in generator.integers(0, len(good), 8):
            flipped = bytearray(good)
            flipped[place] ^= 1 << int(generator.integers(8))
            damages.append(bytes(flipped))
        for damage in damages:
            path.unlink() if damage is None else path.write_bytes(damage)
            try:
                read()  # what can be computed again is: a missing index
            except UserError as error:
                noticed += 1
                assert "\n" not in str(error) and len(str(error)) < 700 and str(folder) in str(error)
            path.write_bytes(good)
    read()
    assert noticed > 14 * len(names)


def test_values_are_checked_when_they_are_first_read(tmp_path):
    path = tmp_path / "a.npy"
    values = np.arange(3 * arrays.BLOCK, dtype=np.uint16).reshape(-1, 3)  # rows lie across the ends of blocks
    with open(path, "wb") as file:
        writer = arrays.ArrayWriter(file, np.uint16, [3])
        for part in np.array_split(values, 7):
            writer.append(part)
        record = json.loads(json.dumps(writer.finish()))
    assert np.array_equal(np.load(path), values)  # any reader of .npy files reads it
    whole = arrays.CheckedArray(path, record)
    assert np.array_equal(whole, values) and np.array_equal(whole[[5, -1]], values[[5, -1]])
    data = bytearray(path.read_bytes())
    data[-4 * 6 - 1] ^= 1  # the last value's: behind it are the six blocks' checksums
    path.write_bytes(data)
    damaged = arrays.CheckedArray(path, record)
    assert np.array_equal(damaged[:1000], values[:1000]) and np.array_equal(damaged[7], values[7])
    for rows in (-1, slice(1000, None), np.array([[0, len(values) - 1]]), (slice(None), 0)):
        with pytest.raises(UserError, match=r"a.npy is damaged \(in its block 5 of"):
            damaged[rows]


def test_the_passport_says_the_share_of_each_label(tmp_path):
    """Documents of one sentence alone make pairs that are always random."""
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(dict(text=text)) + "\n" for text in DOCUMENTS))
    folder = tokens.prepare(config(tmp_path, f"text:{path}"))
    store = tokens.Store(folder, "train")
    for kind, names in pairs.LABELS.items():
        index = np.array(pairs.pair_index(store, kind, 64, 0.1, 0, 2))
        told = tokens.read_passport(folder)["pairs"][f"train/pairs{pairs.FORMAT}-{kind}-64-0.1-0-2"]
        assert told["examples"] == len(index)
        shares = [(index[:, 4] == label).mean() for label in (0, 1)]
        assert [told[name] for name in names] == pytest.approx(shares, abs=1e-4)
        assert 0 < told["single_sentence"] < told[names[1]] < 1


def test_sentences_of_any_length_are_cut(monkeypatch):
    text = "Word after word without an end " * 50
    monkeypatch.setattr(tokens, "LONGEST_SENTENCE", 100)
    cut = tokens.split_sentences(text)
    assert max(map(len, cut)) <= 100 and " ".join(cut) == text.strip()
    assert "".join(tokens.slice_sentences(text)) == text
    assert [len(piece) for piece in tokens.split_sentences("x" * 250)] == [100, 100, 50]
    # A paragraph full of apostrophes, which sentencex needs a minute for, goes there in windows.
    monkeypatch.setattr(tokens, "PARAGRAPH_COST", 1000)
    monkeypatch.setattr(tokens, "PARAGRAPH_WINDOW", 60)
    text = "It's 'so'. It isn't! " * 30
    assert "".join(tokens.slice_sentences(text)) == text


def test_hashes_of_long_texts_do_not_depend_on_pieces(monkeypatch):
    text = "  many   words\n" * 100 + "end"
    expected = tokens.content_hash(text)
    monkeypatch.setattr(tokens, "ENCODED_AT_ONCE", 7)
    assert np.array_equal(tokens.content_hash(text), expected)
    assert "".join(tokens.cut_at_spaces(text, 7)) == text


def test_no_example_at_all_is_one_line(tmp_path, corpus):
    path = tmp_path / "short.jsonl"
    path.write_text("".join(json.dumps(dict(text=f"w{number}")) + "\n" for number in range(60)))
    made = tokens.prepare(config(tmp_path, corpus))
    options = dict(path=f"{made}/tokenizer.json", kind="", vocab_size=200, lowercase=True, words="bert", add=())
    store = tokens.Store(tokens.prepare(config(tmp_path, f"text:{path}", tokenizer=options)), "train")
    with pytest.raises(UserError, match="has no 'single' examples: no document has 10 tokens or more"):
        pairs.pair_index(store, "single", 64, 0.1, 0, 1)


def test_stages_are_told(corpus, tmp_path, capsys):
    tokens.prepare(config(tmp_path, corpus))
    assert capsys.readouterr().err.splitlines()[-2:] == [
        "preparing: training the tokenizer (wordpiece, 200 pieces) on 300 documents",
        "preparing: encoding 300 documents in 1 parts",
    ]
