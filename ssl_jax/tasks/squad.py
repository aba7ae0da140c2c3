"""SQuAD 1.1 and 2.0 (Rajpurkar et al. 2016, 2018): their .json files, or `squad/...` of TensorFlow Datasets.

The prompt is that of GPT-3's appendix G, which does not show what it has where there is no answer: here that is
'unanswerable'.
"""

from ssl_jax import files
from ssl_jax.errors import UserError, cut, shown
from ssl_jax.metrics import UNANSWERABLE
from ssl_jax.tasks import formats
from ssl_jax.tasks.base import QA, Dataset, Item, Prompt, Question, QuestionView, Task


def _lines(path, split):
    """A record per question, with those of the same paragraph `before` it; `where` is the file and the question's id,
    by which it is answered."""
    del split
    known, read, before = set(), None, ""
    for a, article in enumerate(formats.value(files.read_json(path), "data", list, path), 1):
        where = f"{path}, article {a}"
        paragraphs = formats.value(article, "paragraphs", list, where)
        title = formats.value(article, "title", str, where) if "title" in article else ""
        for p, paragraph in enumerate(paragraphs, 1):
            where = f"{path}, article {a}, paragraph {p}"
            context = formats.value(paragraph, "context", str, where)
            if context != read:
                read, before = context, ""
            for q, question in enumerate(formats.value(paragraph, "qas", list, where), 1):
                place = f"article {a}, paragraph {p}, question {q}"
                id = formats.value(question, "id", str, f"{path}, {place}")
                where = f"{path}, question {cut(id)}"
                if id in known:
                    raise UserError(f"{where}: a second question has this id, {place}")
                known.add(id)
                answers = formats.value(question, "answers", list, where)
                types = {"text": str, "answer_start": int}
                spans = {key: [formats.value(one, key, kind, where) for one in answers] for key, kind in types.items()}
                found = {"title": title, "context": context, "answers": spans, "before": before}
                yield where, question | found
                before += f"Q: {question['question']}\n\nA: {(*spans['text'], UNANSWERABLE)[0]}\n\n"


def _question(record, where, labels):
    """The first of several answers is the one to train on; in 2.0 `is_impossible` says that there is none."""
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


def _record(record, where):
    """TensorFlow Datasets' records come one by one, without those before them."""
    (question,) = _question(record, where, ())
    yield {"title": record["title"].replace("_", " "), "context": question.context, "question": question.question,
           "before": record.get("before", ""), "answers": question.answers}  # fmt: skip


def _item(record):
    context = "Title: {title}\n\nBackground: {context}\n\n{before}Q: {question}\n\nA:".format(**record)
    return Item(context, (f" {(*record['answers'], UNANSWERABLE)[0]}",), answers=record["answers"])


def _ask(question, labels):
    """As decaNLP's, whose SQuAD 2.0 has 'unanswerable', too."""
    del labels
    answers = question.answers or (UNANSWERABLE,)
    return QA(" ".join(question.question.split()), question.context, answers, question.id)


def _task(version, **more):
    data = Dataset(
        files={"train": f"train-v{version}.json", "heldout": f"dev-v{version}.json"},
        read=_lines,
        tfds={"train": f"squad/v{version}:train", "heldout": f"squad/v{version}:validation"},
        homepage="https://rajpurkar.github.io/SQuAD-explorer/",
    )
    return Task(data, "spans", (), _question, question=QuestionView(_ask, "nf1", ("nem",)), **more)


PROMPT = Prompt("generate", _item, ("squad2",), max_tokens=32, beams=4, length_penalty=0.6)

TASKS = {
    "squad": _task("1.1", score=("f1",), also=("exact",)),
    # `best_f1`: at the threshold that is best on the split (BERT, section 4.3).
    "squad2": _task("2.0", score=("best_f1",), also=("exact", "f1"), record=_record,
                    prompts={"gpt3": PROMPT}, shots=16),
}  # fmt: skip
