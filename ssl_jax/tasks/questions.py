"""Questions answered in writing: CoQA, TriviaQA, Natural Questions, WebQuestions. SQuAD 2 is in squad.py.

Prompts are those of GPT-3's appendix G. `gpt3` is beam search (section 2.4), `gpt2` greedy (sections 3.5 and 3.8 of
GPT-2's paper, whose own wording of Natural Questions is not published).
"""

import re

from ssl_jax import files
from ssl_jax.errors import UserError, cut, listed
from ssl_jax.tasks import formats
from ssl_jax.tasks.base import Dataset, Prompt, Task, write
from ssl_jax.tasks.formats import checked


def _coqa_lines(path, split):
    """As TensorFlow Datasets' records, with `additional`, the other people's answers: lists of turns."""
    del split
    for story in formats.value(files.read_json(path), "data", list, str(path)):
        where = f"{path}, story {cut(formats.value(story, 'id', str, str(path)))}"
        parts = checked(story, where, story=str, questions=list, answers=list)
        others = formats.value(story, "additional_answers", dict, where) if "additional_answers" in story else {}

        def texts(turns, where=where):
            return [formats.value(turn, "input_text", str, where) for turn in turns]

        yield (
            where,
            {
                "story": parts["story"],
                "questions": texts(parts["questions"]),
                "answers": {"input_text": texts(parts["answers"])},
                "additional": [texts(formats.value(others, key, list, where)) for key in others],
            },
        )


def _coqa(record, where):
    """A record per question, with those before it and their answers."""
    questions, answers = record["questions"], record["answers"]["input_text"]
    additional = record.get("additional", [])
    if any(len(turns) != len(questions) for turns in (answers, *additional)):
        counts = listed(len(turns) for turns in (answers, *additional))
        raise UserError(f"{where}: {len(questions)} questions, and {counts} answers")
    before = ""
    for question, *all_answers in zip(questions, answers, *additional, strict=True):
        yield {"story": record["story"], "before": before, "question": question, "answers": tuple(all_answers)}
        before += f"Q: {question}\n\nA: {all_answers[0]}\n\n"


def _trivia_lines(path, split):
    """As TensorFlow Datasets' records."""
    del split
    for number, record in enumerate(formats.value(files.read_json(path), "Data", list, str(path)), 1):
        where = f"{path}, question {number}"
        answer = formats.value(record, "Answer", dict, where)
        yield where, {
            "question": formats.value(record, "Question", str, where),
            "answer": {"value": formats.value(answer, "Value", str, where),
                       "aliases": formats.value(answer, "Aliases", list[str], where)},
        }  # fmt: skip


def _trivia(record, where):
    answer = record["answer"]
    yield _asked(record["question"], [answer["value"], *answer["aliases"]], where)


def _natural_lines(path, split):
    del split
    return files.json_lines(path)


def _natural(record, where):
    yield _asked(*checked(record, where, question=str, answer=list[str]).values(), where)


def _web_lines(path, split):
    """`targetValue` is a list in LISP: (list (description A) (description "B c"))."""
    del split
    for number, record in enumerate(files.read_json(path, list), 1):
        where = f"{path}, question {number}"
        question, value = checked(record, where, utterance=str, targetValue=str).values()
        found = re.findall(r'\(description (?:"([^"]*)"|([^)]*))\)', value)
        yield where, {"question": question, "answers": [quoted or plain for quoted, plain in found]}


def _web(record, where):
    yield _asked(record["question"], record["answers"], where)


def _asked(question, answers, where):
    """`answers` without duplicates."""
    if not answers:
        raise UserError(f"{where}: no answers")
    question = question.strip().removesuffix("?")
    return {"question": f"{question}?", "answers": tuple(dict.fromkeys(answers))}


_QUESTION = write("Q: {question}\n\nA:", "answers")


def _prompts(item, metric, names=("gpt2", "gpt3")):
    greedy = Prompt("generate", item, (metric,), max_tokens=32)
    prompts = {"gpt2": greedy, "gpt3": greedy._replace(beams=4, length_penalty=0.6)}
    return {name: prompts[name] for name in names}


TASKS = {
    "coqa": Task(
        Dataset({"train": "coqa-train-v1.0.json", "heldout": "coqa-dev-v1.0.json"}, _coqa_lines,
                {"train": "coqa:train", "heldout": "coqa:test"}, "https://stanfordnlp.github.io/coqa/"),
        record=_coqa, prompts=_prompts(write("{story}\n\n{before}Q: {question}\n\nA:", "answers"), "coqa")),
    "triviaqa": Task(
        Dataset({"train": "unfiltered-web-train.json", "heldout": "unfiltered-web-dev.json"}, _trivia_lines,
                {"train": "trivia_qa/unfiltered.nocontext:train",
                 "heldout": "trivia_qa/unfiltered.nocontext:validation"}, "http://nlp.cs.washington.edu/triviaqa/"),
        record=_trivia, prompts=_prompts(_QUESTION, "trivia", ["gpt3"])),
    "naturalqs": Task(
        Dataset({"train": "NQ-open.train.jsonl", "heldout": "NQ-open.dev.jsonl"}, _natural_lines,
                {"train": "natural_questions_open:train", "heldout": "natural_questions_open:validation"},
                "https://github.com/google-research-datasets/natural-questions/tree/master/nq_open"),
        record=_natural, prompts=_prompts(_QUESTION, "exact")),
    "webqs": Task(
        Dataset({"train": "webquestions.examples.train.json", "heldout": "webquestions.examples.test.json"}, _web_lines,
                {"train": "web_questions:train", "heldout": "web_questions:test"},
                "https://nlp.stanford.edu/software/sempre/"),
        record=_web, prompts=_prompts(_QUESTION, "exact", ["gpt3"])),
}  # fmt: skip
