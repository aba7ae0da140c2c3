"""SuperGLUE (Wang et al. 2019): its .jsonl files, or `super_glue/...` of TensorFlow Datasets, which needs TensorFlow.

Each is read as a text or a pair: WiC's word stands before its first sentence, WSC's pronoun between asterisks in the
text, whose pair is what it might stand for. RTE is GLUE's.
"""

import functools

from ssl_jax.data.tasks import files
from ssl_jax.data.tasks.examples import Choice, Example
from ssl_jax.data.tasks.sets import Set
from ssl_jax.errors import UserError

FALSE_TRUE = ("False", "True")


def _lines(path, split):
    """Records with their labels' names; MultiRC's are a line for each answer, as in TensorFlow Datasets."""
    for where, record in files.jsonl(path):
        many = isinstance(record, dict) and isinstance(record.get("passage"), dict)
        for one in _answers(record, where) if many else (record,):
            if split == "test":
                one = {key: x for key, x in one.items() if key != "label"}
            elif "label" not in one:
                raise UserError(f"{where}: no key 'label'")
            yield where, one


def _answers(record, where):
    passage = files.value(record, "passage", dict, where)
    for question in files.value(passage, "questions", list, where):
        for answer in files.value(question, "answers", list, where):
            made = {
                "paragraph": files.value(passage, "text", str, where),
                "question": files.value(question, "question", str, where),
                "answer": files.value(answer, "text", str, where),
                "idx": {
                    name: files.value(one, "idx", int, where)
                    for name, one in (("paragraph", record), ("question", question), ("answer", answer))
                },
            }
            yield made | ({"label": answer["label"]} if "label" in answer else {})


def _label(record, labels, where):
    """False and True, or 0 and 1, are numbers; other labels are told by name."""
    if "label" not in record:
        return -1
    label = record["label"]
    if isinstance(label, bool | int) and label in (0, 1):
        return int(label)
    return files.number_of(label, labels, where)


def _pair(record, where, labels, texts):
    yield Example(*texts(functools.partial(files.value, record, kind=str, where=where), record, where),
                  _label(record, labels, where), _id(record))  # fmt: skip


def _id(record):
    """The set's number; MultiRC's are PARAGRAPH/QUESTION/ANSWER."""
    idx = record.get("idx", "")
    return "/".join(str(idx[key]) for key in ("paragraph", "question", "answer")) if isinstance(idx, dict) else str(idx)


def _wsc(text, record, where):
    """The pronoun, the span2 of its `target`, is told by its place among the words."""
    target = record.get("target", record)
    words, index = text("text").split(), files.value(target, "span2_index", int, where)
    if not 0 <= index < len(words):
        raise UserError(f"{where}: span2_index is {index}, and the text has {len(words)} words")
    words[index] = f"*{words[index]}*"
    return " ".join(words), files.value(target, "span1_text", str, where)


def _copa(record, where, labels):
    text = functools.partial(files.value, record, kind=str, where=where)
    asked = files.number_of(text("question"), ("cause", "effect"), where)
    premise = f"{text('premise')} {('What was the cause?', 'What happened as a result?')[asked]}"
    yield Choice(premise, (text("choice1"), text("choice2")), _label(record, labels, where), _id(record))


def _set(name, labels, examples, kind="classification"):
    return Set(
        kind=kind,
        labels=labels,
        files={"train": "train.jsonl", "heldout": "val.jsonl", "test": "test.jsonl"},
        lines=_lines,
        examples=examples,
        catalogue={"train": f"super_glue/{name}:train", "heldout": f"super_glue/{name}:validation",
                   "test": f"super_glue/{name}:test"},
        homepage="https://super.gluebenchmark.com/tasks",
    )  # fmt: skip


def _of(texts):
    return functools.partial(_pair, texts=texts)


SETS = {
    # The question first: of the two texts the passage is what is cut.
    "boolq": _set("boolq", FALSE_TRUE, _of(lambda text, *_: (text("question"), text("passage")))),
    "cb": _set("cb", ("entailment", "contradiction", "neutral"),
               _of(lambda text, *_: (text("premise"), text("hypothesis")))),
    "copa": _set("copa", ("choice1", "choice2"), _copa, "choices"),
    "multirc": _set("multirc", FALSE_TRUE,
                    _of(lambda text, *_: (text("paragraph"), f"{text('question')} {text('answer')}"))),
    "wic": _set("wic", FALSE_TRUE,
                _of(lambda text, *_: (f"{text('word')}: {text('sentence1')}", text("sentence2")))),
    "wsc": _set("wsc.fixed", FALSE_TRUE, _of(_wsc)),
}  # fmt: skip
