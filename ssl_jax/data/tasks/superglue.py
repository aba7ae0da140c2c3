"""SuperGLUE (Wang et al. 2019): its .jsonl files, or `super_glue/...` of TensorFlow Datasets, which needs TensorFlow.

Each is read as a text or a pair: WiC's word stands before its first sentence, WSC's pronoun between asterisks in the
text, whose pair is what it might stand for. RTE has another format than GLUE's, and is `superglue_rte`; the
diagnostic sets AX-b and AX-g, which have no training set of their own, are splits of it: their predictions are a model
of RTE's.
"""

import functools

from ssl_jax import files
from ssl_jax.data.tasks import formats
from ssl_jax.data.tasks.examples import Choice, Example
from ssl_jax.data.tasks.glue import ENTAILMENT
from ssl_jax.data.tasks.sets import NEEDED, Set
from ssl_jax.errors import UserError, shown

FALSE_TRUE = ("False", "True")


def _lines(path, split, labels, told, parts):
    """Records with their labels' names; a test set's are not read.

    Args:
      path, split: see Set.
      labels: their names.
      told: the labels as the file has them, str, bool or int, in the order of `labels`.
      parts: (record, where) -> the records that a line is.
    """
    for where, line in files.json_lines(path):
        for record in parts(line, where):
            label = {}
            if split != "test" and "label" in record:
                label["label"] = labels[formats.number_of(record["label"], told, where)]
            elif split in NEEDED:
                raise UserError(f"{where}: no key 'label'")
            yield where, {key: x for key, x in record.items() if key != "label"} | label


def _one(record, where):
    del where
    return (record,)


def _answers(record, where):
    """MultiRC's are a record for each answer, as in TensorFlow Datasets."""
    passage = formats.value(record, "passage", dict, where)
    for question in formats.value(passage, "questions", list, where):
        for answer in formats.value(question, "answers", list, where):
            made = {
                "paragraph": formats.value(passage, "text", str, where),
                "question": formats.value(question, "question", str, where),
                "answer": formats.value(answer, "text", str, where),
                "idx": {
                    name: formats.value(one, "idx", int, where)
                    for name, one in (("paragraph", record), ("question", question), ("answer", answer))
                },
            }
            yield made | ({"label": answer["label"]} if "label" in answer else {})


def _label(record, labels, where):
    return formats.number_of(record["label"], labels, where) if "label" in record else -1


def _pair(record, where, labels, texts):
    yield Example(*texts(functools.partial(formats.value, record, kind=str, where=where), record, where),
                  _label(record, labels, where), _id(record, where))  # fmt: skip


def _id(record, where):
    """The set's number; MultiRC's are PARAGRAPH/QUESTION/ANSWER, AX-g's PAIR/NUMBER."""
    if "idx" not in record:
        return ""
    if isinstance(record["idx"], dict):
        keys = ("paragraph", "question", "answer")
        return "/".join(str(formats.value(record["idx"], key, int, where)) for key in keys)
    number = formats.value(record, "idx", int, where)
    if "pair_id" not in record:
        return str(number)
    pair = formats.value(record, "pair_id", str if isinstance(record["pair_id"], str) else int, where)
    return f"{pair}/{number}"


def _wsc(text, record, where):
    """The pronoun, the span2 of its `target`, is told by its place among the words."""
    target = record.get("target", record)
    words, index = text("text").split(), formats.value(target, "span2_index", int, where)
    if not 0 <= index < len(words):
        raise UserError(f"{where}: span2_index is {shown(index)}, and the text has {len(words)} words")
    words[index] = f"*{words[index]}*"
    return " ".join(words), formats.value(target, "span1_text", str, where)


def _copa(record, where, labels):
    text = functools.partial(formats.value, record, kind=str, where=where)
    asked = formats.number_of(text("question"), ("cause", "effect"), where)
    premise = f"{text('premise')} {('What was the cause?', 'What happened as a result?')[asked]}"
    yield Choice(premise, (text("choice1"), text("choice2")), _label(record, labels, where), _id(record, where))


def _entailment(text, record, *_):
    """RTE's and AX-g's texts, or AX-b's."""
    return (text("sentence1"), text("sentence2")) if "sentence1" in record else (text("premise"), text("hypothesis"))


def _set(name, labels, examples, kind="classification", told=None, parts=_one):
    """A row; `told` and `parts` are for `_lines`, `told` is by default `labels`."""
    return Set(
        kind=kind,
        labels=labels,
        files={"train": "train.jsonl", "heldout": "val.jsonl", "test": "test.jsonl"},
        lines=functools.partial(_lines, labels=labels, told=told or labels, parts=parts),
        examples=examples,
        catalogue={"train": f"super_glue/{name}:train", "heldout": f"super_glue/{name}:validation",
                   "test": f"super_glue/{name}:test"},
        homepage="https://super.gluebenchmark.com/tasks",
    )  # fmt: skip


def _of(texts):
    return functools.partial(_pair, texts=texts)


_RTE = _set("rte", ENTAILMENT, _of(_entailment))

SETS = {
    # The question first: of the two texts the passage is what is cut.
    "boolq": _set("boolq", FALSE_TRUE, _of(lambda text, *_: (text("question"), text("passage"))), told=(False, True)),
    "cb": _set("cb", ("entailment", "contradiction", "neutral"),
               _of(lambda text, *_: (text("premise"), text("hypothesis")))),
    "copa": _set("copa", ("choice1", "choice2"), _copa, "choices", told=(0, 1)),
    "multirc": _set("multirc", FALSE_TRUE,
                    _of(lambda text, *_: (text("paragraph"), f"{text('question')} {text('answer')}")),
                    told=(0, 1), parts=_answers),
    "superglue_rte": _RTE._replace(
        files=_RTE.files | {"ax_b": "AX-b.jsonl", "ax_g": "AX-g.jsonl"},
        catalogue=_RTE.catalogue | {"ax_b": "super_glue/axb:test", "ax_g": "super_glue/axg:test"}),
    "wic": _set("wic", FALSE_TRUE,
                _of(lambda text, *_: (f"{text('word')}: {text('sentence1')}", text("sentence2"))), told=(False, True)),
    "wsc": _set("wsc.fixed", FALSE_TRUE, _of(_wsc), told=(False, True)),
}  # fmt: skip
