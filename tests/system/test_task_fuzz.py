"""Whatever a task's files hold, they are read, or refused in one short line that names one of them."""

import contextlib
import io
import json
import math
import random
import shutil
import time

import numpy as np
import pytest

from ssl_jax import metrics, tasks
from ssl_jax.errors import UserError
from ssl_jax.tasks import augmentation
from ssl_jax.tasks.base import Item, Source
from tests.unit.test_prompted_tasks import ASKED
from tests.unit.test_questions import NEW
from tests.unit.test_task_files import SETS

LONGEST = 700  # characters of a message, less the paths in it
OWN = {
    "jsonl": {f"{split}.jsonl": '{"text": "a", "text2": null, "label": "no"}\n{"text": "b", "text2": "c", "label": 1}\n'
              for split in ("train", "heldout")},
    "jsonl csv": {f"{split}.csv": 'text,label\n"a ""b"", c",no\nd,yes\n' for split in ("train", "heldout")},
    "jsonl tsv": {f"{split}.tsv": 'text\ttext2\tlabel\na "b\tc\t2\nd\te\t10\n' for split in ("train", "heldout")},
}  # fmt: skip
FINE_TUNED = OWN | {name: content for name, (content, *_) in SETS.items()}
FEW_SHOT = {f"{task} {prompt}": content for (task, prompt), (content, _) in ASKED.items()}
IN_WORDS = {name: content for name, (content, *_) in NEW.items()}

MARKS = [b"\xef\xbb\xbf", b"\xff\xfe", b"\xc2\x85", b"\xe2\x80\xa8", b"\x0b", b"\x0c", b"\r", b"\r\n", b"\n", b"\n\n", b"\x00",
         b"\t", b'"', b'""', b",", b"\\", b"\xff", b"\xed\xa0\x80", b"{", b"}", b"[", b"]", b"-1", b"9" * 5000, b"NaN",
         b"[" * 100_000, b"x" * 200_000, b" ", b"<a>", b"&lol;"]  # fmt: skip
CELLS = ["", "0", "1", "-1", "2", "5", "1e3", "nan", "inf", "-", "yes", "x" * 200_000, '"', '"a', 'a"b', "a\x85b\u2028c\x0bd", "é" * 9,
         "9" * 5000, "\\", "true", "None", "１"]  # fmt: skip
VALUES = ["null", "true", "false", "0", "1", "-1", "2", "1.0", "0.5", "NaN", "-Infinity", "1e999", "9" * 400, "9" * 5000, '""', '"x"',
          '"1"', '"A"', '"a\\tb\\nc"', '"\\ud800"', json.dumps("y" * 100_000), "[]", "[[]]", '["a"]', "{}", '{"a": {"b": 1}}',
          "[" * 800 + "]" * 800, "[" * 100_000, json.dumps("é\x85\u2028\x0b"), '"\\u0000"']  # fmt: skip


def change_bytes(rng, content):
    """Content with bytes lost, doubled, changed, put in or read in another encoding."""
    place, size = rng.randrange(len(content) + 1), rng.choice((1, 3, 20))
    kind = rng.randrange(7)
    if kind == 0:
        return content[:place] + content[place + size :]
    if kind == 1:
        return content[:place] + content[place : place + size] * rng.choice((2, 3)) + content[place + size :]
    if kind == 2:
        return content[:place] + bytes(rng.randrange(256) for _ in range(size)) + content[place + size :]
    if kind == 3:
        return content[:place]
    if kind == 4:
        text = content.decode("utf-8", "replace")
        return text.encode(rng.choice(("utf-16", "utf-32", "utf-16-le", "latin-1", "utf-8-sig", "cp1252")), "replace")
    return content[:place] + rng.choice(MARKS) + content[place:]


def change_lines(rng, content):
    """Content with lines lost, doubled, moved, empty, or ended otherwise."""
    lines = content.split(b"\n")
    place, kind = rng.randrange(len(lines)), rng.randrange(7)
    if kind == 0:
        del lines[place]
    elif kind == 1:
        lines.insert(place, lines[place])
    elif kind == 2:
        lines.insert(place, rng.choice((b"", b" ", b"\t", b"null", b"[1]", b"5", b'"a"', b"{}")))
    elif kind == 3:
        rng.shuffle(lines)
    return rng.choice((b"\n", b"\n", b"\r\n", b"\r", b"\x85"))[: None if kind > 3 else 1].join(lines)


def change_cell(rng, content):
    """A table with another cell; between tabs or commas, as if there were no quotes."""
    between = "\t" if b"\t" in content else ","
    lines = [line.split(between) for line in content.decode("utf-8", "replace").split("\n")]
    line = rng.choice(lines)
    place, kind = rng.randrange(len(line)), rng.randrange(5)
    if kind == 0:
        del line[place]
    elif kind == 1:
        line.insert(place, rng.choice(line))
    else:
        line[place] = rng.choice(CELLS)
    return "\n".join(between.join(line) for line in lines).encode()


def change_json(rng, content):
    """JSON, a whole or in lines, with another value at one place, or with a key lost, renamed, doubled or new."""
    with contextlib.suppress(ValueError, RecursionError):
        return _with_change(rng, json.loads(content)).encode()
    lines = content.split(b"\n")
    place = rng.randrange(len(lines))
    with contextlib.suppress(ValueError, RecursionError):
        lines[place] = _with_change(rng, json.loads(lines[place])).encode()
    return b"\n".join(lines)


def _with_change(rng, value):
    places = []

    def walk(value):
        for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
            places.append((value, key))
            walk(value[key])

    walk(value)
    new = rng.choice(VALUES)
    if not places or rng.random() < 0.05:
        return new
    inside, key = rng.choice(places)
    kind = rng.randrange(8)
    if kind == 0:
        del inside[key]
    elif kind == 1 and isinstance(inside, dict):
        inside[f"{key}2"] = inside.pop(key)
    elif kind == 2 and isinstance(inside, list):
        inside.append(inside[key])
    elif kind == 3 and isinstance(inside, dict):
        inside["KEY"] = "VALUE"
        return json.dumps(value).replace('"KEY"', json.dumps(key)).replace('"VALUE"', new)
    else:
        inside[key] = "VALUE"
    return json.dumps(value).replace('"VALUE"', new)


def change_file(rng, folder, path):
    """A file that is empty, lost, a folder, or a link."""
    path.unlink()
    kind = rng.randrange(5)
    if kind == 0:
        path.write_bytes(b"")
    elif kind == 1:
        path.mkdir()
    elif kind == 2:
        path.symlink_to(folder / "nowhere")
    elif kind == 3:
        path.symlink_to(folder)


def write(rng, folder, content):
    """Writes a task's files, path -> str or bytes, one of them with one to three changes."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    chosen, kinds = rng.choice(sorted(content)), (change_bytes, change_lines, change_cell, change_json, change_json)
    for name, text in content.items():
        path, text = folder / name, text if isinstance(text, bytes) else text.encode()
        path.parent.mkdir(parents=True, exist_ok=True)
        if name == chosen:
            for _ in range(rng.choice((1, 1, 1, 2, 3))):
                text = rng.choice(kinds)(rng, text)
        path.write_bytes(text)
    if rng.random() < 0.05:
        change_file(rng, folder, folder / chosen)


def check(read, folder):
    """What `read()` gives, or the message that it refuses with; asserts that this is short and says where."""
    start = time.perf_counter()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return read(), None
    except UserError as error:
        message = str(error)
        assert "\n" not in message and len(message.replace(str(folder), "")) < LONGEST, message[:2000]
        assert str(folder) in message or "task 'jsonl' has" in message or "no examples in" in message, message
        return None, message
    finally:
        assert time.perf_counter() - start < 10


def read_fine_tuned(config, name, folder):
    config.task.update(name=name, folder=str(folder))
    read = tasks.read(config)
    kind = tasks.TASKS[name].kind
    for split, examples in read.splits.items():
        assert examples and len(read.places[split]) == len(examples)
        for one in examples:
            assert type(one) is tasks.KINDS[kind]
            if kind == "classification":
                assert type(one.label) is int and -1 <= one.label < len(read.labels) and type(one.text) is str
            elif kind == "regression":
                assert type(one.label) in (int, float) and (0 <= one.label <= 5 or math.isnan(one.label))
            elif kind == "spans":
                assert one.start == -1 or one.context[one.start : one.end] == one.answers[0] != ""
            elif kind == "choices":
                assert len(one.choices) == len(read.labels) and type(one.label) is int
    return read


def read_few_shot(name, folder):
    read = tasks.records(name, Source(str(folder)))
    for records in read.values():
        for record in records:
            for prompt in tasks.PROMPTED[name].prompts.values():
                item = prompt.item(record)
                assert type(item) is Item and item.targets and all(type(text) is str for text in item.targets)
    return read


def read_in_words(name, folder):
    read = tasks.read_questions(name, Source(str(folder)), ("train", "heldout"))
    view = tasks.ASKED[name].question
    for split, qas in read.splits.items():
        assert qas and len(read.places[split]) == len(qas)
        assert all(type(text) is str and text.strip() for qa in qas for text in (qa.question, qa.context, *qa.answers))
        for metric in (view.metric, *view.also):
            assert 0 <= metrics.OF_ANSWERS[metric]([qa.answers[0] for qa in qas], qas) <= 1 + 1e-9
    return read


@pytest.mark.parametrize("part", ["fine-tuned", "few-shot", "in words"])
def test_fuzzed_files_are_read_or_refused_in_a_line(part, tmp_path, smoke_config):
    rng, config, read_some = random.Random(7), smoke_config(("data.examples", "task")), 0
    sources = {"fine-tuned": FINE_TUNED, "few-shot": FEW_SHOT, "in words": IN_WORDS}[part]
    for name, content in sources.items():
        folder, task = tmp_path / "task", name.split(" ")[0]
        for _ in range(8 if part == "few-shot" else 20):
            write(rng, folder, content)
            if part == "fine-tuned":
                read, _ = check(lambda task=task, folder=folder: read_fine_tuned(config, task, folder), folder)
            elif part == "few-shot":
                read, _ = check(lambda task=task, folder=folder: read_few_shot(task, folder), folder)
            else:
                read, _ = check(lambda task=task, folder=folder: read_in_words(task, folder), folder)
            read_some += read is not None
    assert read_some > len(sources)


def test_fuzzed_files_of_augmentation_are_read_or_refused_in_a_line(tmp_path):
    rng, folder, read_some = random.Random(7), tmp_path / "task", 0
    scores = "".join(json.dumps({"text": "a", "text2": "b", "label": score}) + "\n" for score in (0, 2.5, 5))
    for name, content, read in (
        ("vectors.txt", "the 1 2 3\n. . . -1e3 .5 0\ncat\x85 0 0 0\n", augmentation.read_vectors),
        ("classes.jsonl", OWN["jsonl"]["train.jsonl"], lambda path: tasks.read_examples(path, ("no", "1"))),
        ("scores.jsonl", scores, lambda path: tasks.read_examples(path, None)),
    ):
        for _ in range(100):
            write(rng, folder, {name: content})
            found, _ = check(lambda read=read, path=folder / name: read(path), folder)
            read_some += found is not None
            if found is not None and name == "vectors.txt":
                assert np.isfinite(found.directions).all() and len(found.words) == len(found.directions)
            elif found is not None:
                assert all(math.isfinite(one.label) and type(one.text) is str for one in found[0])
    assert read_some > 30
