"""From text to memory-mapped token ids: prepared once, shared by every objective and every run.

A prepared folder is named by a hash of everything in the config that decides its bytes:

    tokenizer.json            the tokenizer, trained on the training documents or copied, and what is added to it
    data.json                 the passport: source, hashes, counts
    train/, heldout/
        tokens.npy            token ids of all sentences, no special tokens; uint16, or uint32 if needed
        sentences.npy         int64 [sentences + 1]; sentence s is tokens[sentences[s]:sentences[s + 1]]
        documents.npy         int64 [documents + 1]; document d is sentences documents[d] to documents[d + 1]

Work is done in FOLDER.incomplete, part by part; what was interrupted goes on with the parts that are
there. The bytes depend neither on interruptions nor on the number of processes. Memory holds one part
(about 16 MB of text) per process, and one byte for each document: whether it is a duplicate.

With a tokenizer that keeps spaces (byte level), decoding a document's tokens gives the document back,
every space and line break included (in lower case if so trained); with others, white space around
sentences is lost, as in BERT.
"""

import concurrent.futures
import contextlib
import hashlib
import importlib.metadata
import itertools
import json
import multiprocessing
import os
import pathlib
import shutil
import sys
import threading

import filelock
import numpy as np
import sentencex
import tqdm

from ssl_jax import tokenizers
from ssl_jax.data.corpora import open_corpus
from ssl_jax.files import ArrayWriter, replacing
from ssl_jax.errors import UserError

FORMAT = 2  # part of every folder's name: raise it when the bytes change
PART_BYTES = 16 << 20
# A vocabulary hardly changes after so many documents (they come in random order), and the table of
# word counts would grow for ever.
TOKENIZER_DOCUMENTS = 200_000
SPLITS = ("train", "heldout")


class Store:
    """One split of a prepared folder, memory-mapped.

    Attributes:
      tokens: uint16 or uint32 [tokens].
      sentences: int64 [sentences + 1], offsets into tokens.
      documents: int64 [documents + 1], offsets into sentences (counted in sentences).
      path: the split's folder.
      passport: dict, data.json.
    """

    def __init__(self, folder, split):
        """Opens FOLDER/split; `folder` comes from `prepare`.

        Raises:
          UserError: not a prepared folder.
        """
        self.path = pathlib.Path(folder) / split
        try:
            self.passport = json.loads((pathlib.Path(folder) / "data.json").read_text())
            self.tokens, self.sentences, self.documents = (
                np.load(self.path / f"{name}.npy", mmap_mode="r")
                for name in ("tokens", "sentences", "documents")
            )
        except FileNotFoundError as error:
            raise UserError(f"{folder} is not a prepared corpus (no {error.filename})") from error

    def document(self, number):
        """The sentences of a document: a list of arrays of token ids."""
        first, last = self.documents[number], self.documents[number + 1]
        offsets = self.sentences[first : last + 1]
        return [self.tokens[start:end] for start, end in itertools.pairwise(offsets)]

    def counts(self, vocab_size, block=1 << 24):
        """How often each token occurs: int64 [vocab_size], in memory for `block` tokens."""
        total = np.zeros(vocab_size, np.int64)
        for start in range(0, len(self.tokens), block):
            total += np.bincount(self.tokens[start : start + block], minlength=vocab_size)
        return total


def prepare(data, workers=None):
    """Prepares the corpus that a config's `data` block asks for, unless that was done before.

    Any number of processes may call this at the same time, on one host or a shared file system: one
    prepares and the others wait.

    Args:
      data: `corpus`, `root`, `tokenizer` (`path`, `kind`, `vocab_size`, `lowercase`, `add`),
        `max_documents` and `heldout` are read.
      workers: processes; default: one per core. A corpus of one part needs none.

    Returns:
      The folder, str.

    Raises:
      UserError: the corpus or tokenizer cannot be had, or there is nothing to train on.
      OSError: the disk is full, the root read-only, ...
    """
    corpus = open_corpus(data.corpus, data.root)
    identity = dict(
        format=FORMAT,
        corpus=corpus.identity,
        tokenizer=_tokenizer_identity(data.tokenizer),
        max_documents=data.max_documents,
        heldout=data.heldout,
    )
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
    folder = pathlib.Path(data.root) / f"{corpus.short_name}-{digest}"
    if folder.exists():
        return str(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(f"{folder}.lock"):
            if not folder.exists():
                _prepare(data, corpus, folder, workers or os.cpu_count())
    except OSError as error:
        # Without a name when a write fails: say where.
        raise OSError(error.errno, error.strerror or str(error), error.filename or str(folder)) from error
    return str(folder)


def _tokenizer_identity(options):
    if not options.path:
        return [options.kind, options.vocab_size, options.lowercase, *options.add]
    tokenizer = tokenizers.load(options.path)
    there = tokenizer.get_vocab_size()
    size = tokenizers.add_pieces(tokenizer, options.add).get_vocab_size()
    if size != options.vocab_size:
        more = f" and data.tokenizer.add puts {size - there} more to them" if size > there else ""
        raise UserError(
            f"{options.path} has {there} pieces{more}, but the config's vocabulary has "
            f"{options.vocab_size}; set --config.data.tokenizer.vocab_size={size}"
        )
    if options.add or os.path.isdir(options.path):
        return tokenizers.identity(tokenizer)
    return tokenizers.fingerprint(options.path)


def _prepare(data, corpus, folder, workers):
    work = folder.with_name(folder.name + ".incomplete")
    if not (work / "data.json").exists():
        size = min(len(corpus), data.max_documents or len(corpus))
        tokenizer_path = work / "tokenizer.json"
        if not tokenizer_path.exists():
            path, add = data.tokenizer.path, data.tokenizer.add
            tokenizer = tokenizers.add_pieces(tokenizers.load(path), add) if path else train_on(corpus, data)
            (work / "parts").mkdir(parents=True, exist_ok=True)
            tokenizers.save(tokenizer, tokenizer_path)
        per_part = max(1, PART_BYTES * len(corpus) // max(1, corpus.bytes))
        parts = [
            (work / "parts" / f"{start}-{min(start + per_part, size)}.npz", start, min(start + per_part, size))
            for start in range(0, size, per_part)
        ]
        missing = [part for part in parts if not part[0].exists()]
        _write_parts(missing, data, tokenizer_path, workers)
        counts = _merge(work, [path for path, _, _ in parts], data)
        if not counts["splits"]["train"]["documents"]:
            shutil.rmtree(work)
            raise UserError(
                f"corpus {data.corpus!r} leaves nothing to train on: {counts['documents_read']} documents, "
                f"of which {counts['dropped']['empty']} empty and {counts['duplicates']} duplicates; "
                f"--config.data.heldout={data.heldout}"
            )
        passport = dict(
            source=corpus.source,
            corpus=data.corpus,
            tokenizer_hash=tokenizers.fingerprint(tokenizer_path),
            made_with={
                name: importlib.metadata.version(name) for name in ("tokenizers", "sentencepiece", "sentencex")
            },
            **counts,
        )
        with replacing(work / "data.json") as file:
            file.write(json.dumps(passport, indent=2).encode())
    shutil.rmtree(work / "parts", ignore_errors=True)
    os.rename(work, folder)


def train_on(corpus, data):
    """A tokenizer trained on the documents that are not held out, as a config's `data` block asks."""
    options, texts = data.tokenizer, _TrainingTexts(corpus, data)
    return tokenizers.train_tokenizer(options.kind, texts, options.vocab_size, options.lowercase, options.add)


class _TrainingTexts:
    """Texts that are not held out; can be iterated again."""

    def __init__(self, corpus, data):
        self.corpus, self.heldout = corpus, data.heldout
        self.size = min(len(corpus), data.max_documents or len(corpus), TOKENIZER_DOCUMENTS)

    def __iter__(self):
        for number in range(self.size):
            text = self.corpus[number]["text"]
            if not is_heldout(content_hash(text)[None], self.heldout)[0]:
                yield text


def content_hash(text):
    """128 bits of a text as uint64 [2]; spaces and line breaks do not matter."""
    digest = hashlib.blake2b(" ".join(text.split()).encode(), digest_size=16).digest()
    return np.frombuffer(digest, "<u8")


def is_heldout(hashes, share):
    """Whether texts are in the held-out `share`: bool [N] from hashes [N, 2]; equal texts fall on the same side."""
    return (hashes[:, 0] >> np.uint64(11)) * 2.0**-53 < share


def split_sentences(text):
    """The sentences of a document: list of str. A line break ends a sentence, too."""
    sentences = []
    for paragraph in text.split("\n"):
        sentences += filter(None, map(str.strip, sentencex.segment("en", paragraph)))
    return sentences


def slice_sentences(text):
    """The sentences of a document as slices that join to it: list of str, empty if all is white space.

    White space goes to the front of the sentence that follows it, as GPT-2's word splitter does with
    words; at the end of the document it stays with the last sentence.
    """
    ends = [0]
    for sentence in split_sentences(text):
        ends.append(text.index(sentence, ends[-1]) + len(sentence))
    ends[-1] = len(text)
    return [text[start:end] for start, end in itertools.pairwise(ends)]


def _write_parts(parts, data, tokenizer_path, workers):
    """Writes the missing part files, here if there is one, else in a pool of processes."""
    what = data.corpus, data.root, tokenizer_path
    if len(parts) <= 1 or workers == 1:
        _open(*what)
        for part in _progress(parts, len(parts)):
            _write_part(*part)
        return
    # Spawned, not forked: the caller may have started JAX, whose threads do not survive a fork.
    pool = concurrent.futures.ProcessPoolExecutor(
        min(workers, len(parts)), multiprocessing.get_context("spawn"), _start_worker, what
    )
    with pool:
        futures = [pool.submit(_write_part, *part) for part in parts]
        try:
            for future in _progress(concurrent.futures.as_completed(futures), len(parts)):
                future.result()
        except concurrent.futures.process.BrokenProcessPool as error:
            raise UserError(
                "a process that prepared the corpus was killed (out of memory?); run the same command "
                "again: finished parts are kept"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _progress(parts, total):
    # One line a minute where nobody watches, nothing for small corpora.
    interactive = sys.stderr.isatty()
    return tqdm.tqdm(
        parts, "preparing", total, ascii=not interactive, mininterval=0.1 if interactive else 60,
        unit="part", disable=total <= 1,
    )


def _start_worker(*what):
    # The pool has a process per core already.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"

    def end_with_parent():
        multiprocessing.parent_process().join()
        os._exit(1)

    # A pool's processes wait for work for ever when their parent is killed.
    threading.Thread(target=end_with_parent, daemon=True).start()
    _open(*what)


def _open(corpus_name, root, tokenizer_path):
    """What every part of this process needs, opened once."""
    global _opened
    _opened = open_corpus(corpus_name, root), tokenizers.load(tokenizer_path)


def _write_part(path, start, stop):
    """Documents start to stop as one .npz: tokens, lengths of sentences, sizes of documents, hashes."""
    corpus, tokenizer = _opened
    texts = [corpus[number]["text"] for number in range(start, stop)]
    cut = slice_sentences if tokenizers.keeps_spaces(tokenizer) else split_sentences
    sentences, owners = [], []
    for owner, text in enumerate(texts):
        split = cut(text)
        sentences += split
        owners += [owner] * len(split)
    dtype = np.uint16 if tokenizer.get_vocab_size() <= 1 << 16 else np.uint32
    tokens, lengths = [np.zeros(0, dtype)], []
    for first in range(0, len(sentences), 4096):  # encodings are many times as large as ids
        batch = sentences[first : first + 4096]
        for encoding in tokenizer.encode_batch_fast(batch, add_special_tokens=False):
            ids = encoding.ids
            lengths.append(len(ids))
            tokens.append(np.array(ids, dtype))
    lengths, owners = np.array(lengths, np.uint32), np.array(owners, np.int64)
    kept = lengths > 0
    with replacing(path) as file:
        np.savez(
            file,
            tokens=np.concatenate(tokens),
            lengths=lengths[kept],
            sizes=np.bincount(owners[kept], minlength=len(texts)),
            hashes=np.stack([content_hash(text) for text in texts]),
        )


def _merge(work, parts, data):
    """Streams the parts into the two splits, without duplicates; returns the passport's counts."""
    with replacing(work / "parts" / "hashes") as file:
        for path in parts:
            file.write(np.load(path)["hashes"].tobytes())
    hashes = np.memmap(work / "parts" / "hashes", np.uint64, "r").reshape(-1, 2)
    duplicate = find_duplicates(hashes)
    content, done, empty, duplicates = hashlib.sha256(), 0, 0, 0
    with contextlib.ExitStack() as files:
        dtype = np.load(parts[0])["tokens"].dtype
        splits = {split: _SplitWriter(work / split, dtype, files) for split in SPLITS}
        for path in parts:
            part = np.load(path)
            tokens, lengths, sizes, part_hashes = (
                part[name] for name in ("tokens", "lengths", "sizes", "hashes")
            )
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
        counts = {split: writer.finish() for split, writer in splits.items()}
    return dict(
        content_hash=content.hexdigest(),
        documents_read=done,
        dropped=dict(empty=empty),
        duplicates=duplicates,
        splits=counts,
    )


class _SplitWriter:
    """The three arrays of one split, written as documents come."""

    def __init__(self, folder, dtype, files):
        folder.mkdir(exist_ok=True)
        self.tokens, self.sentences, self.documents = (
            ArrayWriter(files.enter_context(replacing(folder / f"{name}.npy")), kind)
            for name, kind in (("tokens", dtype), ("sentences", np.int64), ("documents", np.int64))
        )
        self.sentences.append([0])
        self.documents.append([0])

    def append(self, tokens, lengths, sizes):
        self.documents.append(self.sentences.length - 1 + np.cumsum(sizes))
        self.sentences.append(self.tokens.length + np.cumsum(lengths, dtype=np.int64))
        self.tokens.append(tokens)

    def finish(self):
        for array in (self.tokens, self.sentences, self.documents):
            array.finish()
        return dict(
            documents=self.documents.length - 1,
            sentences=self.sentences.length - 1,
            tokens=self.tokens.length,
        )


def find_duplicates(hashes, bucket_size=1 << 22):
    """Which rows were there before: bool [N] from uint64 [N, 2], in memory for about `bucket_size` rows.

    Rows are compared bucket by bucket, a bucket being the rows with the same remainder; `hashes` may
    be a memory map and is read once per bucket.
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
        # Stable, so the first of equal rows comes first and is kept.
        order = numbers[np.lexsort(hashes[numbers].T)]
        duplicate[order[1:]] = (hashes[order[1:]] == hashes[order[:-1]]).all(axis=1)
    return duplicate
