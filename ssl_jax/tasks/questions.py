"""Questions answered in writing: CoQA, QuAC, DROP, TriviaQA, Natural Questions, WebQuestions. SQuAD 2 is in squad.py.

Prompts are those of GPT-3's appendix G. `gpt3` is beam search (section 2.4), `gpt2` greedy (sections 3.5 and 3.8 of
GPT-2's paper, whose own wording of Natural Questions is not published).

The appendix shows QuAC's first question of a dialogue only: here those before it and their answers come between, as in
its figures of CoQA and SQuAD, and the answer where there is none is the set's own, CANNOTANSWER. DROP's answers of several
spans are shown with commas.

`triviaqa` is the wiki split (GPT-3, Table 3.3; its dev set, as in Table H.1, for the test set's answers are unpublished),
`triviaqa_unfiltered` all questions, which TensorFlow Datasets has, too.
"""

import re

from ssl_jax import files
from ssl_jax.errors import UserError, cut, listed
from ssl_jax.metrics import CANNOT_ANSWER, UNANSWERABLE
from ssl_jax.tasks import formats
from ssl_jax.tasks.base import QA, Dataset, Item, Prompt, QuestionView, Task, answered, write
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


def _quac_lines(path, split):
    """As TensorFlow Datasets' records, with the questions of the dialogue `before` it and their answers."""
    del split
    for number, section in enumerate(formats.value(files.read_json(path), "data", list, str(path)), 1):
        where = f"{path}, dialogue {number}"
        titles = checked(section, where, title=str, section_title=str)
        for paragraph in formats.value(section, "paragraphs", list, where):
            context, before = formats.value(paragraph, "context", str, where), ""
            for question in formats.value(paragraph, "qas", list, where):
                texts = [formats.value(one, "text", str, where)
                         for one in formats.value(question, "answers", list, where)]  # fmt: skip
                asked = formats.value(question, "question", str, where)
                found = {"context": context, "question": asked, "answers": {"text": texts}, "before": before}
                yield where, titles | found
                before += f"Q: {asked}\n\nA: {(*texts, CANNOT_ANSWER)[0]}\n\n"


def _quac(record, where):
    """Contexts end with CANNOTANSWER, which figure G.25 does not show."""
    texts = checked(record, where, title=str, section_title=str, context=str, question=str)
    answers = record["answers"]["text"]
    if not answers:
        raise UserError(f"{where}: no answers")
    context = texts["context"].strip().removesuffix(CANNOT_ANSWER).rstrip()
    yield texts | {"context": context, "before": record.get("before", ""), "answers": tuple(answers)}


def _drop_lines(path, split):
    """Passages by name, each with its questions; an answer is a number, spans or a date."""
    del split
    for name, passage in files.read_json(path, dict).items():
        where = f"{path}, passage {cut(name)}"
        text = formats.value(passage, "passage", str, where)
        for pair in formats.value(passage, "qa_pairs", list, where):
            validated = formats.value(pair, "validated_answers", list, where) if "validated_answers" in pair else []
            yield where, {"passage": text, "question": formats.value(pair, "question", str, where),
                          "answer": _spans(formats.value(pair, "answer", dict, where), where),
                          "validated_answers": [_spans(one, where) for one in validated]}  # fmt: skip


def _spans(answer, where):
    """The first that is there of number, spans and date, tuple of str."""
    answer = formats.value({"answer": answer}, "answer", dict, where)
    if answer.get("number") not in ("", None):
        return (str(answer["number"]),)
    if answer.get("spans"):
        return tuple(formats.value(answer, "spans", list[str], where))
    date = formats.value(answer, "date", dict, where)
    return (" ".join(str(date[part]) for part in ("day", "month", "year") if date.get(part)),)


def _drop(record, where):
    """TensorFlow Datasets has each answer as one text."""
    answers = [(one,) if isinstance(one, str) else one for one in (record["answer"], *record["validated_answers"])]
    answers = tuple(dict.fromkeys(one for one in answers if any(text.strip() for text in one)))
    if not answers:
        raise UserError(f"{where}: no answers")
    yield checked(record, where, passage=str, question=str) | {"answers": answers}


def _drop_item(record):
    context = "Passage: {passage}\nQuestion: {question}\nAnswer:".format(**record)
    return Item(context, (f" {', '.join(record['answers'][0])}",), answers=record["answers"])


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


# Where nothing is read, the question is the context: a model that copies and attends needs one.
_CLOSED_BOOK = QuestionView(answered("What is the answer?", "{question}", "answers"), "nem", ("nf1",))


def _quac_asked(record, labels):
    """CANNOTANSWER is decaNLP's 'unanswerable'."""
    qa = answered("{question}", "{title} - {section_title} {context} {before}", "answers")(record, labels)
    return qa._replace(answers=tuple(UNANSWERABLE if one == CANNOT_ANSWER else one for one in qa.answers))


def _drop_asked(record, labels):
    del labels
    return QA(record["question"], record["passage"], tuple(", ".join(spans) for spans in record["answers"]))


def _trivia_task(name, tfds=(), **more):
    data = Dataset({"train": f"{name}-train.json", "heldout": f"{name}-dev.json"}, _trivia_lines, dict(tfds),
                   "http://nlp.cs.washington.edu/triviaqa/")  # fmt: skip
    return Task(data, record=_trivia, question=_CLOSED_BOOK, **more)


def _prompts(item, metric, names=("gpt2", "gpt3")):
    greedy = Prompt("generate", item, (metric,), max_tokens=32)
    prompts = {"gpt2": greedy, "gpt3": greedy._replace(beams=4, length_penalty=0.6)}
    return {name: prompts[name] for name in names}


NATURAL = _prompts(_QUESTION, "exact")
NATURAL["gpt2"] = NATURAL["gpt2"]._replace(confident=0.01)

TASKS = {
    "coqa": Task(
        Dataset({"train": "coqa-train-v1.0.json", "heldout": "coqa-dev-v1.0.json"}, _coqa_lines,
                {"train": "coqa:train", "heldout": "coqa:test"}, "https://stanfordnlp.github.io/coqa/"),
        record=_coqa, prompts=_prompts(write("{story}\n\n{before}Q: {question}\n\nA:", "answers"), "coqa"), shots=5,
        question=QuestionView(answered("{question}", "{story} {before}", "answers"), "nf1")),
    "quac": Task(
        Dataset({"train": "train_v0.2.json", "heldout": "val_v0.2.json"}, _quac_lines,
                {"train": "quac:train", "heldout": "quac:validation"}, "https://quac.ai"),
        record=_quac, prompts=_prompts(write("TITLE: {title} - {section_title}\nPARAGRAPH: {context}\n\n{before}"
                                             "Q: {question}\n\nA:", "answers"), "quac", ["gpt3"]), shots=5,
        question=QuestionView(_quac_asked, "nf1")),
    "drop": Task(
        Dataset({"train": "drop_dataset_train.json", "heldout": "drop_dataset_dev.json"}, _drop_lines,
                {"train": "drop:train", "heldout": "drop:dev"}, "https://allenai.org/data/drop"),
        record=_drop, prompts=_prompts(_drop_item, "drop", ["gpt3"]), shots=20,
        question=QuestionView(_drop_asked, "nf1", ("nem",))),
    "triviaqa": _trivia_task("wikipedia", prompts=_prompts(_QUESTION, "trivia", ["gpt3"]), shots=64),
    "triviaqa_unfiltered": _trivia_task(
        "unfiltered-web", {"train": "trivia_qa/unfiltered.nocontext:train",
                           "heldout": "trivia_qa/unfiltered.nocontext:validation"},
        prompts={"unfiltered": _prompts(_QUESTION, "trivia")["gpt3"]}),
    # The 1 % of questions that GPT-2 is most confident of (section 3.8).
    "naturalqs": Task(
        Dataset({"train": "NQ-open.train.jsonl", "heldout": "NQ-open.dev.jsonl"}, _natural_lines,
                {"train": "natural_questions_open:train", "heldout": "natural_questions_open:validation"},
                "https://github.com/google-research-datasets/natural-questions/tree/master/nq_open"),
        record=_natural, prompts=NATURAL, shots=64, question=_CLOSED_BOOK),
    "webqs": Task(
        Dataset({"train": "webquestions.examples.train.json", "heldout": "webquestions.examples.test.json"}, _web_lines,
                {"train": "web_questions:train", "heldout": "web_questions:test"},
                "https://nlp.stanford.edu/software/sempre/"),
        record=_web, prompts=_prompts(_QUESTION, "exact", ["gpt3"]), shots=64, question=_CLOSED_BOOK),
}  # fmt: skip
