"""SQuAD 1.1 and 2.0 (Rajpurkar et al. 2016, 2018): their .json files, or `squad/...` of TensorFlow Datasets."""

from ssl_jax import files
from ssl_jax.data.tasks import formats
from ssl_jax.data.tasks.examples import Question
from ssl_jax.data.tasks.sets import Set
from ssl_jax.errors import UserError, cut, shown


def _lines(path, split):
    """A record for each question; `where` is the file and the question's id, by which it is answered."""
    del split
    known = set()
    for a, article in enumerate(formats.value(files.read_json(path), "data", list, path), 1):
        where = f"{path}, article {a}"
        paragraphs = formats.value(article, "paragraphs", list, where)
        title = formats.value(article, "title", str, where) if "title" in article else ""
        for p, paragraph in enumerate(paragraphs, 1):
            where = f"{path}, article {a}, paragraph {p}"
            context = formats.value(paragraph, "context", str, where)
            for q, question in enumerate(formats.value(paragraph, "qas", list, where), 1):
                place = f"article {a}, paragraph {p}, question {q}"
                id = formats.value(question, "id", str, f"{path}, {place}")
                where = f"{path}, question {cut(id)}"
                if id in known:
                    raise UserError(f"{where}: a second question has this id, {place}")
                known.add(id)
                answers = formats.value(question, "answers", list, where)
                types = {"text": str, "answer_start": int}
                told = {key: [formats.value(one, key, kind, where) for one in answers] for key, kind in types.items()}
                yield where, question | {"title": title, "context": context, "answers": told}


def _question(record, where, labels):
    """Training is on the first of several answers; 2.0 says `is_impossible` where there is none."""
    del labels
    context, texts = record["context"], tuple(record["answers"]["text"])
    impossible = "is_impossible" in record and formats.value(record, "is_impossible", bool, where)
    if bool(texts) == impossible:
        raise UserError(f"{where}: {len(texts)} answers, where is_impossible is {impossible}")
    for text, start in zip(texts, record["answers"]["answer_start"], strict=True):
        if start < 0 or not text or context[start : start + len(text)] != text:
            raise UserError(f"{where}: the answer {shown(text)} is not at character {shown(start)} of its context")
    start, end = -1, -1
    if texts:
        start = record["answers"]["answer_start"][0]
        end = start + len(texts[0])
    yield Question(formats.value(record, "question", str, where), context, start, end, record["id"], texts)


def _set(version):
    return Set(
        kind="spans",
        labels=(),
        files={"train": f"train-v{version}.json", "heldout": f"dev-v{version}.json"},
        lines=_lines,
        examples=_question,
        catalogue={"train": f"squad/v{version}:train", "heldout": f"squad/v{version}:validation"},
        homepage="https://rajpurkar.github.io/SQuAD-explorer/",
    )


SETS = {"squad": _set("1.1"), "squad2": _set("2.0")}
