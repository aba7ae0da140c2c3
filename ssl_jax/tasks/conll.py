"""CoNLL-2003's named entities (Tjong Kim Sang and De Meulder 2003): its columns, or `conll2003` of TensorFlow Datasets.

A document, which -DOCSTART- begins, is what `task.context=document` reads around a sentence (BERT, section 5.3);
TensorFlow Datasets' records do not say where one begins. Labels are read as they are, IOB1 in the shared task's own
files, IOB2 in later ones.
"""

import re

from ssl_jax import files
from ssl_jax.errors import UserError, shown
from ssl_jax.tasks import formats
from ssl_jax.tasks.base import QA, Dataset, QuestionView, Task, Words

LABELS = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-MISC", "I-MISC")


def _lines(path, split):
    """A record per sentence, with those of its document if the file has documents."""
    del split
    document, known = [], False
    for where, record in _sentences(path):
        if record is not None:
            document.append((where, record))
            continue
        yield from _together(document, known)
        document, known = [], True
    yield from _together(document, known)


def _together(document, known):
    words = tuple(tuple(record["tokens"]) for _, record in document)
    for place, (where, record) in enumerate(document):
        yield where, record | ({"document": words, "place": place} if known else {})


def _sentences(path):
    """A record per sentence, of lines of word, part of speech, chunk and entity up to an empty one; None where a document
    begins."""
    words, labels, where = [], [], None
    for number, line in files.read_lines(path):
        cells = re.findall(r"[^ \t]+", line)  # other white space is part of words
        if not cells or cells[0] == "-DOCSTART-":
            if words:
                yield where, {"tokens": words, "ner": labels}
            words, labels = [], []
            if cells:
                yield f"{path}, line {number}", None
            continue
        where = f"{path}, line {number}"
        if len(cells) != 4:
            raise UserError(f"{where}: {len(cells)} columns, and there should be 4: word, part of speech, chunk, label")
        words.append(cells[0])
        labels.append(formats.number_of(cells[3], LABELS, where))
    if words:
        yield where, {"tokens": words, "ner": labels}


def _sentence(record, where, labels):
    del labels
    words = tuple(record["tokens"])
    # Predictions are written as lines of columns again.
    if not all(re.fullmatch(r"[^ \t\r\n]+", word) for word in words):
        raise UserError(f"{where}: {shown(words)}: a word is empty or has a space in it")
    yield Words(words, tuple(record["ner"]), record.get("document", ()), record.get("place", 0))


NAMES = {"PER": "person", "ORG": "organization", "LOC": "location", "MISC": "miscellaneous"}


def _ask(sentence, labels):
    """'EU -- organization; Bonn -- location', or 'None', as decaNLP asks for OntoNotes' entities (generic.py: OntoNotesNER)."""
    entities, before = [], "O"
    for word, number in zip(sentence.words, sentence.labels, strict=True):
        begin, _, name = labels[number].partition("-")
        if begin == "B" or begin == "I" and name != before[2:]:
            entities.append(([word], NAMES[name]))
        elif begin == "I":
            entities[-1][0].append(word)
        before = labels[number]
    answer = "; ".join(f"{' '.join(words)} -- {name}" for words, name in entities)
    return QA("What are the tags for all entities?", " ".join(sentence.words), (answer or "None",))


TASKS = {
    "conll2003": Task(
        Dataset({"train": ("eng.train", "train.txt"), "heldout": ("eng.testa", "valid.txt"),
                 "test": ("eng.testb", "test.txt")}, _lines,
                {"train": "conll2003:train", "heldout": "conll2003:dev", "test": "conll2003:test"},
                "https://www.clips.uantwerpen.be/conll2003/ner/"),
        "token_labels", LABELS, _sentence, score=("ner_f1",), question=QuestionView(_ask, "em", ("nf1",)),
    ),
}  # fmt: skip
