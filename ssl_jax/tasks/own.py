"""A task of your own, `jsonl`: labelled texts or text pairs. task.folder has two files, train and heldout.

    train.jsonl, heldout.jsonl    one object per line: {"text": "It rains.", "text2": "It pours.", "label": "yes"}
    train.csv, heldout.csv        the first row names the columns: text,text2,label
    train.tsv, heldout.tsv        the same, tab-separated, without quoting: a text has neither tabs nor line breaks

A run trains on the first and is evaluated on the second, which shares no example with it: every tenth line will do.
If `text2` is missing, null or an empty cell, an example is a single text. A label is text, an integer, true or false,
and is read as its text. The classes are the labels of the training examples, in numerical order if all are integers,
otherwise sorted by name. A flag maps keys and columns with other names; additional ones are ignored:

    --config.task.fields=text=sentence,text2=other,label=gold

Files are UTF-8. Errors for malformed lines name file, line and key; empty lines between JSON lines are ignored.
"""

import json
import math
import pathlib
import re

from ssl_jax import files
from ssl_jax.data import tokens
from ssl_jax.errors import UserError, check_choice, check_entries, listed, shown
from ssl_jax.tasks import formats
from ssl_jax.tasks.base import Example, QuestionView, Read, Task, one_of

KEYS = ("text", "text2", "label")
READERS = {".jsonl": files.json_lines, ".csv": formats.csv_file, ".tsv": formats.tsv}


def read(source):
    """The Read of the files in `source.folder`; `source.fields` maps KEYS to their names there."""
    if not source.folder:
        raise UserError("task.folder is empty: it says where train.jsonl and heldout.jsonl are (or .csv, .tsv)")
    keys, folder = key_names(source.fields), pathlib.Path(source.folder)
    paths = {split: _path(folder, split) for split in tokens.SPLITS}
    rows = {split: list(_rows(path, keys)) for split, path in paths.items()}
    if empty := next((paths[split] for split, found in rows.items() if not found), None):
        raise UserError(f"{empty} has no examples")
    read = Read(class_names({label for *_, label in rows["train"]}), {}, {}, {})
    for split, found in rows.items():
        read.splits[split], read.places[split] = _examples(found, read.labels)
    return read


def read_examples(path, labels):
    """The Examples of a .jsonl file with KEYS and the place of each, two lists; `labels` are the allowed names, None
    for scores.

    Raises:
      UserError: the file is missing, or a line is malformed or has another label (naming file, line and reason).
    """
    return _examples(_rows(pathlib.Path(path), {key: key for key in KEYS}, scores=labels is None), labels)


def write_examples(path, examples, labels):
    """Writes Examples atomically to a .jsonl file that `read_examples` reads.

    Args:
      path: the file.
      examples: an iterable, consumed once.
      labels: the names of the classes; () for scores.
    """
    with files.replacing(path) as file:
        for one in examples:
            pair = {} if one.text2 is None else {"text2": one.text2}
            line = {"text": one.text, **pair, "label": labels[one.label] if labels else one.label}
            file.write(files.json_line(line))


def key_names(given):
    """KEYS -> their names in the files, from a config's `task.fields`, each entry 'OURS=THEIRS'."""
    check_entries(given, str, "task.fields")
    names = {key: key for key in KEYS}
    for entry in given:
        ours, _, theirs = entry.partition("=")
        check_choice(ours, KEYS, "key in task.fields")
        if not theirs:
            raise UserError(f"task.fields has {shown(entry)}: say what the files call it, as in {ours}=NAME")
        names[ours] = theirs
    return names


def class_names(labels):
    """A set of labels in order: numerical if all are integers, otherwise by name."""
    numbers = all(re.fullmatch(r"-?[0-9]{1,18}", label) for label in labels)
    return tuple(sorted(labels, key=lambda label: (int(label) if numbers else 0, label)))


def _path(folder, split):
    names = [f"{split}{suffix}" for suffix in READERS]
    found = [folder / name for name in names if (folder / name).exists()]
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"{folder} has {' and '.join(one.name for one in found)}: leave one of them there")
    others = sorted(one.name for one in folder.iterdir()) if folder.is_dir() else []
    there = f"there is no {names[0]} in {folder}, nor {' or '.join(names[1:])}"
    if others:
        there += f", only: {listed(others, 8)}"
    if split == "train":
        raise UserError(f'{there}; its lines are {{"text": ..., "label": ...}}, of pairs with "text2"')
    raise UserError(
        f"{there}; a run is measured on examples that it is not trained on: rename the file that has them, or move "
        "some lines of the training file there, such as every tenth"
    )


def _rows(path, keys, scores=False):
    """Yields 'PATH, line N', text, text2 or None, and the label: a str, or with `scores` a float."""
    if not path.is_file():
        raise UserError(f'there is no file {path}; its lines are {{"text": ..., "label": ...}}, of pairs with "text2"')
    json_lines = path.suffix not in (".csv", ".tsv")
    for where, record in READERS[path.suffix if not json_lines else ".jsonl"](path):
        text = files.text_of(record, _present(record, "text", keys, where, json_lines), where)
        text2 = None
        if keys["text2"] != "text2" or "text2" in record:
            key = _present(record, "text2", keys, where, json_lines)
            if record[key] is not None and (json_lines or record[key]):
                text2 = files.text_of(record, key, where)
        key = _present(record, "label", keys, where, json_lines)
        yield where, text, text2, _score(record, key, where) if scores else _label(record, key, where)


def _present(record, ours, keys, where, json_lines):
    """The name of one of KEYS in a record. Raises UserError if it is missing."""
    if keys[ours] not in record:
        raise UserError(
            f"{where}: no {'key' if json_lines else 'column'} {shown(keys[ours])}; there are: "
            f"{listed(record) or 'none'}; give its name with --config.task.fields={ours}=NAME"
        )
    return keys[ours]


def _label(record, key, where):
    label = record[key]
    if isinstance(label, (bool, int)):
        return json.dumps(label)
    if not isinstance(label, str) or not label:
        raise UserError(f"{where}: {key!r} is {shown(label)}, and should be text, a whole number, true or false")
    return files.text_of(record, key, where)


def _score(record, key, where):
    try:
        score = float(formats.value(record, key, float, where))
    except OverflowError:  # an integer with hundreds of digits
        score = math.inf
    if not math.isfinite(score):
        raise UserError(f"{where}: the score is {score}, and should be a number")
    return score


def _examples(rows, labels):
    numbers = {name: number for number, name in enumerate(labels or ())}
    examples, places = [], []
    for where, text, text2, label in rows:
        if labels is not None and label not in numbers:
            raise UserError(f"{where}: unknown label {shown(label)}; the training examples have: {listed(labels)}")
        examples.append(Example(text, text2, label if labels is None else numbers[label]))
        places.append(where)
    return examples, places


def _ask(example, labels):
    pair = example.text2 is not None
    return one_of("{text2} -- {labels}?" if pair else "Is this {labels}?")(example, labels)


TASKS = {"jsonl": Task(read, "classification", also=("macro_f1",), question=QuestionView(_ask, "em"))}
