"""SQuAD 1.1 and 2.0 (Rajpurkar et al. 2016, 2018): their .json files, or `squad/...` of TensorFlow Datasets."""

from ssl_jax.data.tasks import files
from ssl_jax.data.tasks.examples import Question
from ssl_jax.data.tasks.sets import Set
from ssl_jax.errors import UserError


def _lines(path, split):
    """A record for each question; `where` is the file and the question's id."""
    del split
    content = files.json_file(path)
    for article in files.value(content, "data", list, str(path)):
        for paragraph in files.value(article, "paragraphs", list, str(path)):
            context = files.value(paragraph, "context", str, str(path))
            for question in files.value(paragraph, "qas", list, str(path)):
                where = f"{path}, question {files.value(question, 'id', str, str(path))}"
                answers = files.value(question, "answers", list, where)
                types = {"text": str, "answer_start": int}
                told = {key: [files.value(one, key, kind, where) for one in answers] for key, kind in types.items()}
                yield where, question | {"title": article.get("title", ""), "context": context, "answers": told}


def _question(record, where, labels):
    """Training is on the first of several answers; 2.0 says `is_impossible` where there is none."""
    del labels
    context, texts = record["context"], tuple(record["answers"]["text"])
    impossible = record.get("is_impossible", False)
    if bool(texts) == impossible:
        raise UserError(f"{where}: {len(texts)} answers, where is_impossible is {impossible}")
    for text, start in zip(texts, record["answers"]["answer_start"], strict=True):
        if not text or context[start : start + len(text)] != text:
            raise UserError(f"{where}: the answer {text!r} is not at character {start} of its context")
    start, end = -1, -1
    if texts:
        start = record["answers"]["answer_start"][0]
        end = start + len(texts[0])
    yield Question(files.value(record, "question", str, where), context, start, end, record["id"], texts)


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
