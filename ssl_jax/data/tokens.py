"""From text to memory-mapped token ids: prepared once, shared by every objective and every run.

A prepared folder is named by a hash of everything in the config that decides its bytes:

    tokenizer.json            the tokenizer, trained on the training documents or copied, with its added pieces
    data.json                 the passport: source, hashes, counts; see below
    train/, heldout/          arrays, each followed by its checksums; see arrays.py
        tokens.npy            token ids of all sentences, no special tokens; uint16, or uint32 if needed
        sentences.npy         int64 [sentences + 1]; sentence s is tokens[sentences[s]:sentences[s + 1]]
        documents.npy         int64 [documents + 1]; document d is sentences documents[d] to documents[d + 1]
        pairsF-KIND-....npy   an index of examples, written when a run first needs it; see pairs.py

The passport records `documents_read`, how many were `duplicates` or `dropped`, and in `splits` the `documents`,
`sentences` and `tokens` of each; `source` says where the text comes from and what was `left_out`; `pairs` gives the
number of `examples` in each index and the share of each label. Damage in the folder is detected before the data is
used.

Work happens in FOLDER.incomplete, part by part; an interrupted preparation resumes with the parts already
written. The bytes depend neither on interruptions nor on the number of processes. Memory holds the tokens of
one part (at most about 16 MB of text) per process, and one byte per document: whether it is a duplicate.

With a tokenizer that preserves spaces (byte level), decoding a document's tokens restores the document,
every space and line break included (lowercased if trained that way); with others, whitespace around
sentences is lost, as in BERT.
"""

import array
import contextlib
import dataclasses
import hashlib
import importlib.metadata
import itertools
import json
import os
import pathlib
import re
import shutil
import zipfile

import filelock
import numpy as np
import sentencex

from ssl_jax import files
from ssl_jax.data import processes
from ssl_jax.data.arrays import ArrayWriter, CheckedArray
from ssl_jax.data.progress import progress, say
from ssl_jax.errors import UserError
from ssl_jax.files import replacing
from ssl_jax.options import BOOL, SHARE, TEXT, block, one_of, option, whole
from ssl_jax.tokenization import files as tokenizer_files
from ssl_jax.tokenization.train import TokenizerOptions, train_tokenizer
from ssl_jax.tokenization.vocabulary import identity, keeps_spaces, stored_roles

FORMAT = 3  # part of every folder's name: raise it when the bytes change
# Of text; smaller corpora are cut into PARTS, so that the last ones occupy all processes, but none below SMALLEST_PART.
PART_BYTES, PARTS, SMALLEST_PART = 16 << 20, 256, 1 << 20
FEW_BYTES = 32 << 20  # encoded before processes would have been worth their start
# A vocabulary hardly changes after this many documents (they come in random order), and the table of
# word counts would keep growing.
TOKENIZER_DOCUMENTS = 200_000
SPLITS = ("train", "heldout")
ARRAYS = ("tokens", "sentences", "documents")
# Characters: the tokenizers library needs about 100 bytes for each one it processes.
ENCODED_AT_ONCE = LONGEST_SENTENCE = 1 << 20
# Apostrophes times characters of a paragraph passed to sentencex whole: a few seconds of work.
PARAGRAPH_COST, PARAGRAPH_WINDOW = 1 << 34, 1 << 17
SPACE = re.compile(r"(?<=\S)\s")  # the first of a run of spaces


@dataclasses.dataclass(frozen=True)
class Data:
    """The corpus and how it is cut into examples."""

    BLOCK = "data"

    corpus: str = option("demo", TEXT, "'demo', 'text:FOLDER', or a TensorFlow Datasets name")
    root: str = option("data", TEXT, "prepared corpora live in this folder, one folder each")
    max_documents: int = option(0, whole(0), "use the first so many documents; 0: all")
    max_examples: int = option(
        0, whole(0), "use so many of a task's training examples, chosen by a hash of their texts; 0: all"
    )
    heldout: float = option(0.02, SHARE, "share of the documents, chosen by a hash of their text, never trained on")
    examples: str = option(
        "pairs",
        one_of("pairs", "single", "windows", "task", "questions"),
        "'single' texts, 'windows' of the running text, a 'task', or tasks as 'questions'; of 'pairs' the losses say which",
    )
    unlabelled: str = option(
        "adjacent",
        one_of("adjacent", "segments", "nsp"),
        "pairs without a loss on them: 'adjacent', cut as BERT's and ALBERT's; 'segments', packed as ELECTRA's; 'nsp', BERT's",
    )
    short_seq_prob: float = option(0.1, SHARE, "share of documents cut to shorter pairs")
    dupe_factor: int = option(10, whole(1), "walks over the corpus, each with new pairs")
    static_masks: bool = option(
        False, BOOL, "an example of a walk has the same masks in every epoch, as if they were stored with it"
    )
    document_mask: bool = option(False, BOOL, "attention in windows stops at the borders of documents")
    tokenizer: TokenizerOptions = block(TokenizerOptions)


class Store:
    """One split of a prepared folder, memory-mapped.

    Attributes:
      tokens: uint16 or uint32 [tokens], a CheckedArray like the others.
      sentences: int64 [sentences + 1], offsets into tokens.
      documents: int64 [documents + 1], offsets into sentences (in units of sentences).
      path: the split's folder.
      passport: dict, data.json.
    """

    def __init__(self, folder, split):
        """Opens FOLDER/split; `folder` comes from `prepare`.

        Raises:
          UserError: not a prepared folder, or its files are not those that were written. A damaged value is detected
            on first read.
        """
        self.path = pathlib.Path(folder) / split
        self.passport = read_passport(folder)
        self.tokens, self.sentences, self.documents = (
            CheckedArray(self.path / f"{name}.npy", self.passport["arrays"][f"{split}/{name}"]) for name in ARRAYS
        )

    def document(self, number):
        """The sentences of a document: a list of arrays of token ids."""
        first, last = self.documents[number], self.documents[number + 1]
        offsets = self.sentences[first : last + 1]
        return [self.tokens[start:end] for start, end in itertools.pairwise(offsets)]

    @property
    def contents(self):
        """Numbers of `documents`, `sentences` and `tokens`."""
        return self.passport["splits"][self.path.name]

    def counts(self, vocab_size, block=1 << 24):
        """How often each token occurs: int64 [vocab_size]; memory for `block` tokens."""
        total = np.zeros(vocab_size, np.int64)
        for start in range(0, len(self.tokens), block):
            total += np.bincount(self.tokens[start : start + block], minlength=vocab_size)
        return total


def read_passport(folder):
    """The dict in a prepared folder's data.json.

    Raises:
      UserError: not a prepared folder, or one from another version; data.json is damaged.
    """
    path = pathlib.Path(folder) / "data.json"
    if not path.exists():
        raise UserError(f"{folder} is not a prepared corpus (no {path})")
    passport = files.read_json(path)
    if passport.get("format") != FORMAT:
        raise UserError(f"{folder} was prepared by another version (its data.json has no format {FORMAT})")
    checksum = passport.pop("checksum", None)
    if checksum != _checksum(passport):
        raise UserError(f"{path} was changed or damaged; remove {folder}, and it is prepared again")
    return passport


def write_passport(folder, passport):
    """Writes data.json."""
    files.write_json(pathlib.Path(folder) / "data.json", passport | {"checksum": _checksum(passport)})


def add_to_passport(folder, key, name, value):
    """Sets data.json's [key][name] to `value`; safe to call from several processes at once."""
    with filelock.FileLock(pathlib.Path(folder) / "data.lock"):
        passport = read_passport(folder)
        passport.setdefault(key, {})[name] = value
        write_passport(folder, passport)


def _checksum(passport):
    return hashlib.sha256(json.dumps(passport, sort_keys=True).encode()).hexdigest()


def prepare(data, workers=None):
    """Prepares the corpus described by a config's `data` block, unless that was done before.

    Any number of processes may call this at the same time, on one host or a shared file system: one
    prepares and the others wait.

    Args:
      data: `corpus`, `root`, `tokenizer` (`path`, `kind`, `vocab_size`, `lowercase`, `add`),
        `max_documents` and `heldout` are read.
      workers: processes; default: one per core. A one-part corpus needs none.

    Returns:
      The folder, str.

    Raises:
      UserError: the corpus or tokenizer is unavailable, or there is nothing to train on.
      OSError: the disk is full, the root read-only, ...
    """
    from ssl_jax.data.corpora import open_corpus  # which loads TFDS: a config is checked without

    corpus = open_corpus(data.corpus, data.root)
    key = dict(
        format=FORMAT,
        corpus=corpus.identity,
        tokenizer=_tokenizer_identity(data.tokenizer),
        max_documents=data.max_documents,
        heldout=data.heldout,
    )
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]
    folder = files.expanded(data.root) / f"{corpus.short_name}-{digest}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            with _alone(folder):
                if not folder.exists():
                    _prepare(data, corpus, folder, workers or os.cpu_count())
        except OSError as error:
            # A failed write carries no file name: say where.
            raise OSError(error.errno, error.strerror or str(error), error.filename or str(folder)) from error
    _check_tokenizer(folder)
    return str(folder)


def prepare_tokenizer(data, texts, source):
    """A folder with only a tokenizer, trained on `texts` unless `data.tokenizer.path` names one, and its passport.

    Args:
      data: `root` and `tokenizer` are read.
      texts: list of str.
      source: what the texts are, for the passport.

    Returns:
      The folder, a Path.

    Raises:
      UserError: the tokenizer is not there, or cannot be learned from these texts.
    """
    content = hashlib.sha256()
    for text in texts:
        content.update(f"{len(text)}:{text}".encode("utf-8", "backslashreplace"))
    key = [FORMAT, content.hexdigest(), _tokenizer_identity(data.tokenizer)]
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]
    folder, options = files.expanded(data.root) / f"questions-{digest}", data.tokenizer
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _alone(folder):
            if not folder.exists():
                work = folder.with_name(folder.name + ".incomplete")
                work.mkdir(exist_ok=True)
                tokenizer = (
                    tokenizer_files.load_extended(options)
                    if options.path
                    else train_tokenizer(
                        options.kind, texts, options.vocab_size, options.lowercase, options.add, options.words
                    )
                )
                tokenizer_files.save(tokenizer, work / "tokenizer.json")
                write_passport(
                    work,
                    dict(
                        format=FORMAT,
                        source=source,
                        content_hash=content.hexdigest(),
                        tokenizer_hash=tokenizer_files.fingerprint(work / "tokenizer.json"),
                    ),
                )
                os.rename(work, folder)
    _check_tokenizer(folder)
    return folder


def _check_tokenizer(folder):
    """Raises UserError unless a prepared folder has the tokenizer that it was prepared with."""
    tokenizer = folder / "tokenizer.json"
    if not tokenizer.exists() or tokenizer_files.fingerprint(tokenizer) != read_passport(folder)["tokenizer_hash"]:
        raise UserError(f"{tokenizer} is missing or damaged; remove {folder}, and it is prepared again")


@contextlib.contextmanager
def _alone(folder):
    """Holds the folder's lock; waits, and says so, while another process prepares the folder."""
    lock = filelock.FileLock(f"{folder}.lock")
    try:
        lock.acquire(timeout=1)
    except filelock.Timeout:
        say(f"waiting for another process, which prepares {folder}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _tokenizer_identity(options):
    if not options.path:
        kind = [options.kind] if options.words == "bert" else [options.kind, options.words]
        return [*kind, options.vocab_size, options.lowercase, *options.add]
    there = tokenizer_files.load(options.path).get_vocab_size()
    tokenizer = tokenizer_files.load_extended(options)
    size = tokenizer.get_vocab_size()
    if size != options.vocab_size:
        more = f" and data.tokenizer.add puts {size - there} more to them" if size > there else ""
        raise UserError(
            f"{options.path} has {there} pieces{more}, but the config's vocabulary has "
            f"{options.vocab_size}; set --config.data.tokenizer.vocab_size={size}"
        )
    if options.add or os.path.isdir(options.path) or options.words != "bert":
        roles = stored_roles(tokenizer)
        return [identity(tokenizer), roles] if roles else identity(tokenizer)
    return tokenizer_files.fingerprint(options.path)


def _prepare(data, corpus, folder, workers):
    work = folder.with_name(folder.name + ".incomplete")
    if not (work / "data.json").exists():
        size = min(len(corpus), data.max_documents or len(corpus))
        for line in corpus.source.get("left_out", ()):
            say(line)
        tokenizer_path = work / "tokenizer.json"
        if not tokenizer_path.exists():
            options = data.tokenizer
            tokenizer = tokenizer_files.load_extended(options) if options.path else train_on(corpus, data)
            (work / "parts").mkdir(parents=True, exist_ok=True)
            tokenizer_files.save(tokenizer, tokenizer_path)
        part_bytes = min(max(corpus.bytes // PARTS, SMALLEST_PART), PART_BYTES)
        per_part = max(1, part_bytes * len(corpus) // max(1, corpus.bytes))
        parts = [
            (work / "parts" / f"{start}-{min(start + per_part, size)}.npz", start, min(start + per_part, size))
            for start in range(0, size, per_part)
        ]
        missing = [part for part in parts if not part[0].exists()]
        _write_parts(missing, data, corpus, tokenizer_path, workers)
        counts = _merge(work, [path for path, _, _ in parts], data)
        if not counts["splits"]["train"]["documents"]:
            shutil.rmtree(work)
            raise UserError(
                f"corpus {data.corpus!r} leaves nothing to train on: {counts['documents_read']} documents, "
                f"of which {counts['dropped']['empty']} empty and {counts['duplicates']} duplicates; "
                f"--config.data.heldout={data.heldout}"
            )
        passport = dict(
            format=FORMAT,
            source=corpus.source,
            corpus=data.corpus,
            tokenizer_hash=tokenizer_files.fingerprint(tokenizer_path),
            made_with={name: importlib.metadata.version(name) for name in ("tokenizers", "sentencepiece", "sentencex")},
            **counts,
        )
        write_passport(work, passport)
    shutil.rmtree(work / "parts", ignore_errors=True)
    os.rename(work, folder)


def train_on(corpus, data):
    """A tokenizer trained on the documents that are not held out, as a config's `data` block specifies."""
    options, texts = data.tokenizer, _TrainingTexts(corpus, data)
    say(f"training the tokenizer ({options.kind}, {options.vocab_size:,} pieces) on {texts.size:,} documents")
    return train_tokenizer(options.kind, texts, options.vocab_size, options.lowercase, options.add, options.words)


class _TrainingTexts:
    """Texts that are not held out, the longest in pieces; can be iterated repeatedly."""

    def __init__(self, corpus, data):
        self.corpus, self.heldout = corpus, data.heldout
        self.size = min(len(corpus), data.max_documents or len(corpus), TOKENIZER_DOCUMENTS)

    def __iter__(self):
        texts = self.corpus.texts(0, self.size)
        for text in progress(texts, "training the tokenizer", "documents", self.size, announced=True):
            if not is_heldout(content_hash(text)[None], self.heldout)[0]:
                yield from cut_at_spaces(text, ENCODED_AT_ONCE)


def cut_at_spaces(text, size):
    """Yields pieces that concatenate to the text, each cut at the first space after `size` characters."""
    start = 0
    while len(text) - start > size and (space := SPACE.search(text, start + size)):
        yield text[start : space.start()]
        start = space.start()
    yield text[start:]


def content_hash(text):
    """A 128-bit hash of a text as uint64 [2]; ignores differences in spaces and line breaks."""
    digest, between = hashlib.blake2b(digest_size=16), b""
    for piece in cut_at_spaces(text, ENCODED_AT_ONCE):
        if words := " ".join(piece.split()):
            digest.update(between + words.encode())
            between = b" "
    return np.frombuffer(digest.digest(), "<u8")


def is_heldout(hashes, share):
    """Whether texts are in the held-out `share`: bool [N] from hashes [N, 2]; equal texts land on the same side."""
    return (hashes[:, 0] >> np.uint64(11)) * 2.0**-53 < share


def split_sentences(text):
    """The sentences of a document: list of str. Line breaks and LONGEST_SENTENCE characters also end a sentence."""
    sentences = []
    for paragraph in text.split("\n"):
        for sentence in map(str.strip, _segment(paragraph)):
            while len(sentence) > LONGEST_SENTENCE:
                space = sentence.rfind(" ", 0, LONGEST_SENTENCE)
                end = LONGEST_SENTENCE if space < 0 else space
                sentences.append(sentence[:end].rstrip())
                sentence = sentence[end:].lstrip()
            if sentence:
                sentences.append(sentence)
    return sentences


def _segment(paragraph):
    """Yields sentencex's sentences; a paragraph that would take it minutes is passed in windows."""
    start, window = 0, PARAGRAPH_WINDOW
    # From each apostrophe, sentencex scans to the paragraph's end for another one.
    if paragraph.count("'") * len(paragraph) > PARAGRAPH_COST:
        while len(paragraph) - start > window:
            sentences = sentencex.segment("en", paragraph[start : start + window])
            whole = sentences[:-1] or sentences  # the last one may be incomplete
            yield from whole
            start += sum(map(len, whole))
    yield from sentencex.segment("en", paragraph[start:])


def slice_sentences(text):
    """The sentences of a document as slices that concatenate to it: list of str, empty if all is whitespace.

    Whitespace goes to the front of the following sentence, as in GPT-2's word splitter; at the end of the
    document it stays with the last sentence.
    """
    ends = [0]
    for sentence in split_sentences(text):
        ends.append(text.index(sentence, ends[-1]) + len(sentence))
    ends[-1] = len(text)
    return [text[start:end] for start, end in itertools.pairwise(ends)]


def _write_parts(parts, data, corpus, tokenizer_path, workers):
    """Writes the missing part files."""
    documents = sum(stop - start for _, start, stop in parts)
    what = data.corpus, data.root, tokenizer_path, corpus.identity
    # One of two threads splits a part into sentences while the tokenizers library, on all cores, encodes the other's.
    few = corpus.bytes < FEW_BYTES
    workers = max(min(workers, len(parts), 2 if few else workers), 1)
    written = processes.in_order(_write_part, parts, workers, _open, *what, threads=few)
    for _ in progress(written, f"encoding {documents:,} documents in", "parts", len(parts)):
        pass


def _open(corpus_name, root, tokenizer_path, identity=None):
    """Opens what every part in this process needs, once; the corpus must still have this identity."""
    global _opened
    from ssl_jax.data.corpora import open_corpus  # which loads TFDS: a config is checked without

    corpus = open_corpus(corpus_name, root)
    if identity not in (None, corpus.identity):
        raise UserError(f"corpus {corpus_name!r} changed while it was prepared: run the same command again")
    len(corpus)  # opens it, here and not in several threads, as stdout is redirected meanwhile
    _opened = corpus, tokenizer_files.load(tokenizer_path)


def _write_part(path, start, stop):
    """Documents start to stop as one .npz: tokens, lengths of sentences, sizes of documents, hashes."""
    corpus, tokenizer = _opened
    cut = slice_sentences if keeps_spaces(tokenizer) else split_sentences
    dtype = np.uint16 if tokenizer.get_vocab_size() <= 1 << 16 else np.uint32
    # Arrays throughout: a Python object per document for a million short ones takes more memory than their text.
    tokens, lengths = [np.zeros(0, dtype)], array.array("I")
    cuts, hashes = array.array("Q"), bytearray()  # of each document
    waiting, characters = [], 0

    def encode():  # in small groups: encodings are many times larger than ids
        encodings = tokenizer.encode_batch_fast(waiting, add_special_tokens=False)
        lengths.extend(map(len, encodings))
        ids = itertools.chain.from_iterable(encoding.ids for encoding in encodings)
        tokens.append(np.fromiter(ids, dtype))
        waiting.clear()

    for text in corpus.texts(start, stop):
        sentences = cut(text)
        hashes += content_hash(text).tobytes()
        cuts.append(len(sentences))
        for sentence in sentences:
            waiting.append(sentence)
            characters += len(sentence)
            if len(waiting) == 4096 or characters >= ENCODED_AT_ONCE:
                encode()
                characters = 0
    encode()
    lengths, cuts = np.array(lengths, np.uint32), np.array(cuts, np.int64)
    kept = lengths > 0
    with replacing(path) as file:
        np.savez(
            file,
            tokens=np.concatenate(tokens),
            lengths=lengths[kept],
            sizes=np.bincount(np.repeat(np.arange(len(cuts)), cuts)[kept], minlength=len(cuts)),
            hashes=np.frombuffer(hashes, "<u8").reshape(-1, 2),
        )


def _read_part(path, *names):
    """The named arrays of a part."""
    try:
        with np.load(path) as part:
            return [part[name] for name in names]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is damaged ({error}); remove it and run the same command again") from error


def _merge(work, parts, data):
    """Streams the parts into the two splits, dropping duplicates; returns the passport's counts."""
    with replacing(work / "parts" / "hashes") as file:
        for path in parts:
            file.write(_read_part(path, "hashes")[0].tobytes())
    hashes = np.memmap(work / "parts" / "hashes", np.uint64, "r").reshape(-1, 2)
    duplicate = find_duplicates(hashes)
    content, done, empty, duplicates = hashlib.sha256(), 0, 0, 0
    with contextlib.ExitStack() as stack:
        dtype = _read_part(parts[0], "tokens")[0].dtype
        splits = {split: _SplitWriter(work / split, dtype, stack) for split in SPLITS}
        for path in progress(parts, "joining", "parts", len(parts), announced=len(parts) == 1):
            tokens, lengths, sizes, part_hashes = _read_part(path, "tokens", "lengths", "sizes", "hashes")
            repeated = duplicate[done : done + len(sizes)] & (sizes > 0)
            heldout = is_heldout(part_hashes, data.heldout)
            for split, chosen in (("train", ~heldout), ("heldout", heldout)):
                chosen = chosen & ~repeated & (sizes > 0)
                of_sentences = np.repeat(chosen, sizes)
                of_tokens = np.repeat(of_sentences, lengths)
                splits[split].append(tokens[of_tokens], lengths[of_sentences], sizes[chosen])
            content.update(part_hashes.tobytes())
            empty += int((sizes == 0).sum())
            duplicates += int(repeated.sum())
            done += len(sizes)
        records = {f"{split}/{name}": record
                   for split, writer in splits.items() for name, record in writer.finish().items()}  # fmt: skip
    return dict(
        content_hash=content.hexdigest(),
        documents_read=done,
        dropped=dict(empty=empty),
        duplicates=duplicates,
        splits={split: writer.counts() for split, writer in splits.items()},
        arrays=records,
    )


class _SplitWriter:
    """The three arrays of one split, written as documents arrive."""

    def __init__(self, folder, dtype, stack):
        folder.mkdir(exist_ok=True)
        self.tokens, self.sentences, self.documents = (
            ArrayWriter(stack.enter_context(replacing(folder / f"{name}.npy")), kind)
            for name, kind in zip(ARRAYS, (dtype, np.int64, np.int64), strict=True)
        )
        self.sentences.append([0])
        self.documents.append([0])

    def append(self, tokens, lengths, sizes):
        self.documents.append(self.sentences.length - 1 + np.cumsum(sizes))
        self.sentences.append(self.tokens.length + np.cumsum(lengths, dtype=np.int64))
        self.tokens.append(tokens)

    def finish(self):
        """Completes the files; returns the record of each."""
        return {name: getattr(self, name).finish() for name in ARRAYS}

    def counts(self):
        return dict(
            documents=self.documents.length - 1,
            sentences=self.sentences.length - 1,
            tokens=self.tokens.length,
        )


def find_duplicates(hashes, bucket_size=1 << 22):
    """Which rows repeat an earlier one: bool [N] from uint64 [N, 2]; memory for about `bucket_size` rows.

    Rows are compared bucket by bucket, where a bucket holds the rows with the same remainder; `hashes`
    may be a memory map and is read once per bucket.
    """
    duplicate = np.zeros(len(hashes), bool)
    buckets = np.uint64(-(-len(hashes) // bucket_size))
    for bucket in range(int(buckets)):
        numbers = np.concatenate(
            [
                first + np.flatnonzero(hashes[first : first + bucket_size, 1] % buckets == bucket)
                for first in range(0, len(hashes), bucket_size)
            ]
        )
        # Stable sort: the first of equal rows stays first and is kept.
        order = numbers[np.lexsort(hashes[numbers].T)]
        duplicate[order[1:]] = (hashes[order[1:]] == hashes[order[:-1]]).all(axis=1)
    return duplicate
