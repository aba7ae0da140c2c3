"""Questions answered in writing: SQuAD 2, CoQA, TriviaQA, Natural Questions, WebQuestions.

Templates are those of GPT-3's appendix G. What its SQuAD 2 has where there is no answer is not shown there; here it is
'unanswerable'. `gpt3` is beam search (section 2.4), `gpt2` greedy (sections 3.5 and 3.8 of GPT-2's paper, whose own
wording of Natural Questions is not published).
"""

import re

from ssl_jax import files
from ssl_jax.data.tasks import formats, squad
from ssl_jax.errors import UserError, cut, listed
from ssl_jax.fewshot import scores
from ssl_jax.fewshot.items import Item, Protocol, Task
from ssl_jax.fewshot.tasks.published import checked, jsonl_lines, reader

_TRIVIA, _WEB = "http://nlp.cs.washington.edu/triviaqa/", "https://nlp.stanford.edu/software/sempre/"
_NATURAL = "https://github.com/google-research-datasets/natural-questions/tree/master/nq_open"


def protocols(item, metrics, max_tokens=32):
    """Of a task that both papers have, or could have."""
    greedy = Protocol("generate", item, metrics, max_tokens=max_tokens)
    return {"gpt2": greedy, "gpt3": greedy._replace(beams=4, length_penalty=0.6)}


def _turns(pairs):
    return "".join(f"Q: {question}\n\nA: {answer}\n\n" for question, answer in pairs)


def _squad2_lines(path, split):
    """With the questions of the same paragraph that come before, and their answers."""
    paragraph, before = None, []
    for where, record in squad.SETS["squad2"].lines(path, split):
        if record["context"] != paragraph:
            paragraph, before = record["context"], []
        yield where, record | {"before": tuple(before)}
        before.append((record["question"], (*record["answers"]["text"], scores.UNANSWERABLE)[0]))


def _squad2(record, where):
    """TensorFlow Datasets' records come one by one, without those before."""
    (question,) = squad.SETS["squad2"].examples(record, where, ())
    yield {"title": record["title"].replace("_", " "), "context": question.context, "question": question.question,
           "before": record.get("before", ()), "answers": question.answers}  # fmt: skip


def _squad2_item(record):
    context = "Title: {title}\n\nBackground: {context}\n\n".format(**record)
    return Item(f"{context}{_turns(record['before'])}Q: {record['question']}\n\nA:",
                (f" {(*record['answers'], scores.UNANSWERABLE)[0]}",), answers=record["answers"])  # fmt: skip


def _coqa_lines(path, split):
    """As TensorFlow Datasets' records, with `additional`, the other people's answers: lists of turns."""
    del split
    for story in formats.value(files.read_json(path), "data", list, str(path)):
        where = f"{path}, story {cut(formats.value(story, 'id', str, str(path)))}"
        made = checked(story, where, story=str, questions=list, answers=list)
        others = formats.value(story, "additional_answers", dict, where) if "additional_answers" in story else {}
        yield where, {
            "story": made["story"],
            "questions": [formats.value(one, "input_text", str, where) for one in made["questions"]],
            "answers": {"input_text": [formats.value(one, "input_text", str, where) for one in made["answers"]]},
            "additional": [[formats.value(one, "input_text", str, where) for one in formats.value(others, key, list, where)]
                           for key in others],
        }


def _coqa(record, where):
    """A record for each question, with those before it and their answers."""
    questions, answers = record["questions"], record["answers"]["input_text"]
    additional = record.get("additional", [])
    if any(len(turns) != len(questions) for turns in (answers, *additional)):
        counts = listed(len(turns) for turns in (answers, *additional))
        raise UserError(f"{where}: {len(questions)} questions, and {counts} answers")
    pairs = list(zip(questions, answers, strict=True))
    for number, (question, answer) in enumerate(pairs):
        yield {"story": record["story"], "before": tuple(pairs[:number]), "question": question,
               "answers": (answer, *(turns[number] for turns in additional))}  # fmt: skip


def _coqa_item(record):
    return Item(f"{record['story']}\n\n{_turns(record['before'])}Q: {record['question']}\n\nA:",
                (f" {record['answers'][0]}",), answers=record["answers"])  # fmt: skip


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


def _natural(record, where):
    made = checked(record, where, question=str, answer=list[str])
    yield _asked(made["question"], made["answer"], where)


def _web_lines(path, split):
    """`targetValue` is a list in LISP: (list (description A) (description "B c"))."""
    del split
    for number, record in enumerate(files.read_json(path, list), 1):
        where = f"{path}, question {number}"
        made = checked(record, where, utterance=str, targetValue=str)
        found = re.findall(r'\(description (?:"([^"]*)"|([^)]*))\)', made["targetValue"])
        yield where, {"question": made["utterance"], "answers": [quoted or plain for quoted, plain in found]}


def _web(record, where):
    yield _asked(record["question"], record["answers"], where)


def _asked(question, answers, where):
    """`answers` without those that are there twice."""
    if not answers:
        raise UserError(f"{where}: no answers")
    question = question.strip().removesuffix("?")
    return {"question": f"{question}?", "answers": tuple(dict.fromkeys(answers))}


def _question(record):
    return Item(f"Q: {record['question']}\n\nA:", (f" {record['answers'][0]}",), answers=record["answers"])


TASKS = {
    "squad2": Task(
        reader("squad2", {"examples": "train-v2.0.json", "heldout": "dev-v2.0.json"}, _squad2_lines, _squad2,
               {"examples": "squad/v2.0:train", "heldout": "squad/v2.0:validation"}, squad.SETS["squad2"].homepage),
        {"gpt3": protocols(_squad2_item, ("squad2",))["gpt3"]}, squad.SETS["squad2"].homepage),
    "coqa": Task(
        reader("coqa", {"examples": "coqa-train-v1.0.json", "heldout": "coqa-dev-v1.0.json"}, _coqa_lines, _coqa,
               {"examples": "coqa:train", "heldout": "coqa:test"}, "https://stanfordnlp.github.io/coqa/"),
        protocols(_coqa_item, ("coqa",)), "https://stanfordnlp.github.io/coqa/"),
    "triviaqa": Task(
        reader("triviaqa", {"examples": "unfiltered-web-train.json", "heldout": "unfiltered-web-dev.json"},
               _trivia_lines, _trivia, {"examples": "trivia_qa/unfiltered.nocontext:train",
                                        "heldout": "trivia_qa/unfiltered.nocontext:validation"}, _TRIVIA),
        {"gpt3": protocols(_question, ("trivia",))["gpt3"]}, _TRIVIA),
    "naturalqs": Task(
        reader("naturalqs", {"examples": "NQ-open.train.jsonl", "heldout": "NQ-open.dev.jsonl"}, jsonl_lines, _natural,
               {"examples": "natural_questions_open:train", "heldout": "natural_questions_open:validation"}, _NATURAL),
        protocols(_question, ("exact",)), _NATURAL),
    "webqs": Task(
        reader("webqs", {"examples": "webquestions.examples.train.json", "heldout": "webquestions.examples.test.json"},
               _web_lines, _web, {"examples": "web_questions:train", "heldout": "web_questions:test"}, _WEB),
        {"gpt3": protocols(_question, ("exact",))["gpt3"]}, _WEB),
}  # fmt: skip
