"""Predictions as text, in the formats of the benchmarks' servers and scripts, and as files."""

import json
import re
from pathlib import Path

import numpy as np

from ssl_jax.files import replacing
from ssl_jax.tasks import TASKS


def save(folder, files):
    """Writes files, name -> text; each is written atomically."""
    for name, text in files.items():
        with replacing(Path(folder) / name) as file:
            file.write(text.encode())


def classes(task, split, predictions, labels, ids=(), golds=()):
    """The predictions of a split in its server's format, or for other splits as predictions-SPLIT.tsv.

    Args:
      task, split: names.
      predictions: [N], in the split's order: class indices, or float32 scores.
      labels: the names of the classes, in the set's order; () if there are none: choices, scores.
      ids: [N], the set's ids of its examples; used by the formats that have them.
      golds: [N], as predictions, the right ones, or () if they are not known; a server's format has none.

    Returns:
      dict, the file's name -> its text.
    """
    served = TASKS[task].submission.get(split)
    if served is None:
        named = [[labels[number] for number in own] if labels else own for own in (predictions, golds)]
        return {f"predictions-{split}.tsv": tsv(*named)}
    if served.bounds:
        predictions = np.clip(predictions, *served.bounds)
    names = served.labels or labels
    if names:
        predictions = [names[number] for number in predictions]
    return {served.file: FORMATS[served.format or served.file.rpartition(".")[2]](predictions, ids)}


def tsv(predictions, golds=()):
    """A header (index and prediction) and a line per prediction: GLUE's format. Predictions are str, int or float.

    With `golds`, the right ones, there is a third column, label.
    GLUE's labels need no quoting. One with a tab, a line break or a quotation mark is quoted as Python's csv
    (`excel-tab`) and pandas (`sep="\\t"`) read it.
    """
    known = len(golds) > 0
    lines = ["\t".join(("index", "prediction", "label")[: 2 + known])]
    for index, prediction in enumerate(predictions):
        lines.append("\t".join([str(index), _cell(prediction), *([_cell(golds[index])] if known else [])]))
    return "".join(f"{line}\n" for line in lines)


def _cell(value):
    cell = f"{value:.6g}" if isinstance(value, (float, np.floating)) else str(value)
    return '"{}"'.format(cell.replace('"', '""')) if re.search('[\t\r\n"]', cell) else cell


def jsonl(predictions, ids=()):
    """A line {"idx": 0, "label": ...} per prediction: SuperGLUE's format. Predictions are str or int."""
    del ids
    return "".join(json.dumps({"idx": index, "label": one}) + "\n" for index, one in enumerate(predictions))


def paragraphs(predictions, ids):
    """MultiRC's own .jsonl for SuperGLUE's server: a line per paragraph.

    Args:
      predictions: [N], 1 for a right answer.
      ids: [N], PARAGRAPH/QUESTION/ANSWER, str (`idx` in the set's files).
    """
    grouped = {}
    for name, label in zip(ids, predictions, strict=True):
        paragraph, question, answer = map(int, name.split("/"))
        grouped.setdefault(paragraph, {}).setdefault(question, []).append({"idx": answer, "label": int(label)})
    lines = []
    for paragraph, questions in grouped.items():
        judged = [{"idx": question, "answers": answers} for question, answers in questions.items()]
        lines.append(json.dumps({"idx": paragraph, "passage": {"questions": judged}}) + "\n")
    return "".join(lines)


# f(predictions, ids) -> text.
FORMATS = {"tsv": lambda predictions, ids: tsv(predictions), "jsonl": jsonl, "paragraphs": paragraphs}


def squad(values):
    """SQuAD's predictions: one JSON object, question -> text, '' for no answer; or -> probability of no answer."""
    return json.dumps(values, ensure_ascii=False) + "\n"


def conll(words, gold, predicted):
    """The input of CoNLL's script conlleval: a line `word gold predicted` per word, an empty one after each sentence.

    Args:
      words, gold, predicted: sentences, lists of str: the words, and their tags.
    """
    sentences = (zip(*sentence, strict=True) for sentence in zip(words, gold, predicted, strict=True))
    return "".join("".join(f"{' '.join(word)}\n" for word in sentence) + "\n" for sentence in sentences)
