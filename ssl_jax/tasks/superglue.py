"""SuperGLUE (Wang et al. 2019): its .jsonl files, or `super_glue/...` of TensorFlow Datasets, which needs TensorFlow.
Metrics are those of its Table 1.

Each is read as a text or a pair: WiC's word stands before its first sentence, WSC's pronoun between asterisks in the
text, whose pair is what it might stand for. RTE has another format than GLUE's, and is `superglue_rte`; the
diagnostic sets AX-b and AX-g, which have no training set of their own, are splits of it: a model of RTE predicts them.

Prompts are those of GPT-3's appendix G. Classes are words of one or two tokens, so nothing is normalised. RTE is asked
as GLUE's `rte`. COPA's 'so' is ours: the appendix only shows a cause. MultiRC judges answers one by one, and an example is a
question with all of its answers, which is how K counts there (figure G.15); TensorFlow Datasets has answers one by one,
so its examples are single ones. Whether the paper's questions of one passage share it, its figure does not show: here each has
its own. ReCoRD, which is only asked, chooses among the passage's entities (figure G.6).
"""

import functools

from ssl_jax import files
from ssl_jax.errors import UserError, shown
from ssl_jax.tasks import formats
from ssl_jax.tasks.base import (
    Choice,
    Dataset,
    Example,
    Item,
    Prompt,
    QuestionView,
    Submission,
    Task,
    answered,
    choose,
    end,
    entailed,
    one_of,
    pick,
)
from ssl_jax.tasks.glue import ENTAILMENT

FALSE_TRUE, WORDS, CHOICES = ("False", "True"), ("false", "true"), ("choice1", "choice2")


# ---- Records
def _lines(path, split, labels, spelt, parts):
    """Records with their labels' names; a test set's are not read.

    Args:
      path, split: see `Dataset.read`.
      labels: their names.
      spelt: the labels as the file has them, str, bool or int, in the order of `labels`.
      parts: (record, where) -> the records that a line is.
    """
    for where, line in files.json_lines(path):
        for record in parts(line, where):
            label = {}
            if split != "test" and "label" in record:
                label["label"] = labels[formats.number_of(record["label"], spelt, where)]
            elif split in ("train", "heldout"):
                raise UserError(f"{where}: no key 'label'")
            yield where, {key: x for key, x in record.items() if key != "label"} | label


def _whole(record, where):
    del where
    return (record,)


def _answers(record, where):
    """MultiRC has a record per answer, as in TensorFlow Datasets."""
    passage = formats.value(record, "passage", dict, where)
    for question in formats.value(passage, "questions", list, where):
        for answer in formats.value(question, "answers", list, where):
            judged = {
                "paragraph": formats.value(passage, "text", str, where),
                "question": formats.value(question, "question", str, where),
                "answer": formats.value(answer, "text", str, where),
                "idx": {
                    name: formats.value(part, "idx", int, where)
                    for name, part in (("paragraph", record), ("question", question), ("answer", answer))
                },
            }
            yield judged | ({"label": answer["label"]} if "label" in answer else {})


def _record_lines(path, split):
    """ReCoRD as TensorFlow Datasets has it: a record per query; places are characters, the last one included."""
    del split
    for where, line in files.json_lines(path):
        passage = formats.value(line, "passage", dict, where)
        text = formats.value(passage, "text", str, where)
        places = [formats.checked(one, where, start=int, end=int).values()
                  for one in formats.value(passage, "entities", list, where)]  # fmt: skip
        entities = list(dict.fromkeys(text[start : end + 1] for start, end in places))
        for query in formats.value(line, "qas", list, where):
            answers = [formats.value(one, "text", str, where) for one in formats.value(query, "answers", list, where)]
            yield where, {"passage": text, "query": formats.value(query, "query", str, where), "entities": entities,
                          "answers": answers}  # fmt: skip


# ---- Examples
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
    """The pronoun, the span2 of its `target`, is given by its place among the words."""
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


# ---- Prompts
BOOLQ = choose("{text2}\nquestion: {text}?\nanswer:", " no", " yes")
WIC = choose("{sentence1}\n{sentence2}\nquestion: Is the word '{word}' used in the same way in the two sentences "
             "above?\nanswer:", " no", " yes")  # fmt: skip


def _cb_item(example):
    hypothesis = example.text2.strip().removesuffix(".")
    return Item(f"{example.text.strip()}\nquestion: {hypothesis}. true, false, or neither?\nanswer:",
                (" true", " false", " neither"), example.label)  # fmt: skip


def _copa_record(record, where):
    """The premise continues with 'because' or 'so', and the choice in lower case."""
    texts = formats.checked(record, where, premise=str, choice1=str, choice2=str, question=str)
    link = ("because", "so")[formats.number_of(texts["question"], ("cause", "effect"), where)]
    choices = [texts[key][:1].lower() + texts[key][1:] for key in ("choice1", "choice2")]
    yield {"context": f"{texts['premise'].strip().removesuffix('.')} {link}", "choices": choices,
           "gold": formats.number_of(record["label"], CHOICES, where)}  # fmt: skip


def _wic_record(record, where):
    yield formats.checked(record, where, word=str, sentence1=str, sentence2=str) | {
        "gold": formats.number_of(record["label"], FALSE_TRUE, where)
    }


def _wsc_record(record, where):
    (example,) = _pair(record, where, FALSE_TRUE, _wsc)
    target = record.get("target", record)
    yield {"text": example.text, "pronoun": formats.value(target, "span2_text", str, where), "noun": example.text2,
           "gold": example.label}  # fmt: skip


def _wsc_item(record):
    noun = record["noun"].lower()
    return Item("Passage: {text}\nQuestion: In the passage above, what does the pronoun \"*{pronoun}*\" refer to?\n"
                "Answer:".format(**record), (f" {noun}",), record["gold"], answers=(noun,))  # fmt: skip


def _multirc_lines(record, where):
    """`_answers`, each with `solved`, the question's answers as they are shown, and whether it is the first."""
    answers = list(_answers(record, where))
    questions = {}
    for one in answers:
        questions.setdefault(one["idx"]["question"], []).append(one)
    for group in questions.values():
        for number, one in enumerate(group):
            yield one | {"siblings": group, "first": number == 0}


def _multirc_record(record, where):
    (example,) = _pair(record, where, FALSE_TRUE, lambda text, *_: (text("paragraph"), text("question")))
    texts = [formats.value(one, "answer", str, where) for one in record.get("siblings", [record])]
    golds = [one.get("label") in (1, "True") for one in record.get("siblings", [record])]
    yield {"paragraph": example.text, "question": example.text2, "answer": record["answer"], "gold": example.label,
           "group": example.id.rpartition("/")[0], "first": record.get("first", True),
           "solved": tuple(f"\n- [{gold}] {text}" for gold, text in zip(golds, texts, strict=True))}  # fmt: skip


def _multirc_item(record):
    return Item("{paragraph}\n\n{question}".format(**record),
                tuple(f"\n- [{judged}] {record['answer']}" for judged in FALSE_TRUE), record["gold"],
                answers=record["solved"], group=record["group"])  # fmt: skip


MULTIRC_PROMPT = Prompt(
    "choices", _multirc_item, ("all_right", "f1a"), shown=lambda item: item.context + "".join(item.answers),
    shows=lambda record: record["first"], same=True, description="READING COMPREHENSION ANSWER KEY\n\n",
)  # fmt: skip


def _record_record(record, where):
    texts = formats.checked(record, where, passage=str, query=str, entities=list[str], answers=list[str])
    gold = next((n for n, entity in enumerate(texts["entities"]) if entity in texts["answers"]), None)
    if gold is None or "@placeholder" not in texts["query"]:
        raise UserError(f"{where}: no answer is among the entities, or the query has no @placeholder")
    yield texts | {"gold": gold}


def _record_item(record):
    """The passage's highlights and the query as its last one are points of a list."""
    passage = record["passage"].strip().replace("\n@highlight\n", "\n- ")
    targets = tuple(f"\n- {record['query'].replace('@placeholder', entity)}" for entity in record["entities"])
    return Item(passage, targets, record["gold"], answers=tuple(record["answers"]), texts=tuple(record["entities"]))


# The noun is written and compared with the one in question; solved examples are those where that is right, the same
# for all items, as MultiRC's are (section 3.7).
WSC_PROMPT = Prompt(
    "generate", _wsc_item, ("referent",), shows=lambda record: record["gold"], separator="\n=====\n",
    description=(
        "Final Exam with Answer Key\nInstructions: Please carefully read the following passages. For each passage, you "
        "must identify which noun the pronoun marked in *bold* refers to.\n=====\n"
    ), max_tokens=16, beams=4, length_penalty=0.6, same=True,
)  # fmt: skip


# ---- Rows
def _task(name, labels, example, submission, spelt=None, parts=_whole, further=(), **more):
    """A row.

    Args:
      spelt, parts: for `_lines`; `spelt` is by default `labels`.
      further: (split, its file, its name in TensorFlow Datasets) of diagnostic sets, submitted under the file's name.
      name, labels, example, submission, **more: as in Task; the name is that of TensorFlow Datasets.
    """
    files, tfds, submissions = {}, {}, {"test": submission}
    for split, file, part in (("train", "train", "train"), ("heldout", "val", "validation"), ("test", "test", "test")):
        files[split], tfds[split] = f"{file}.jsonl", f"super_glue/{name}:{part}"
    for split, file, part in further:
        files[split], tfds[split] = f"{file}.jsonl", f"super_glue/{part}:test"
        submissions[split] = Submission(f"{file}.jsonl")
    read = functools.partial(_lines, labels=labels, spelt=spelt or labels, parts=parts)
    return Task(Dataset(files, read, tfds, "https://super.gluebenchmark.com/tasks"), labels=labels, example=example,
                submission=submissions, shots=32 if "prompts" in more else 0,
                **({"kind": "classification"} | more))  # fmt: skip


def _asked(question, names=(), context="{text}"):
    return QuestionView(one_of(question, context, names), "em")


def _of(texts):
    return functools.partial(_pair, texts=texts)


TASKS = {
    # The question first: of the two texts the passage is the one to cut.
    "boolq": _task("boolq", FALSE_TRUE, _of(lambda text, *_: (text("question"), text("passage"))),
                   Submission("BoolQ.jsonl", WORDS), spelt=(False, True),
                   prompts={"gpt3": Prompt("choices", BOOLQ)},
                   question=_asked("{text}? -- {labels}?", ("no", "yes"), "{text2}")),
    "cb": _task("cb", ("entailment", "contradiction", "neutral"),
                _of(lambda text, *_: (text("premise"), text("hypothesis"))), Submission("CB.jsonl"),
                score=("macro_f1", "accuracy"),
                prompts={"gpt3": Prompt("choices", _cb_item, ("accuracy", "macro_f1"))}, question=entailed()),
    "copa": _task("copa", CHOICES, _copa, Submission("COPA.jsonl", (0, 1)), spelt=(0, 1),
                  kind="choices", record=_copa_record,
                  prompts={"gpt3": Prompt("choices", end("{context}"), normalise="tokens")},
                  question=QuestionView(pick("Which of these?"), "em")),
    "multirc": _task("multirc", FALSE_TRUE,
                     _of(lambda text, *_: (text("paragraph"), f"{text('question')} {text('answer')}")),
                     Submission("MultiRC.jsonl", (0, 1), format="paragraphs"), spelt=(0, 1), parts=_multirc_lines,
                     score=("f1a", "exact"), record=_multirc_record, prompts={"gpt3": MULTIRC_PROMPT},
                     question=_asked("{text2} -- {labels}?", ("no", "yes"))),
    "record": Task(Dataset({"train": "train.jsonl", "heldout": "val.jsonl"}, _record_lines,
                           {"train": "super_glue/record:train", "heldout": "super_glue/record:validation"},
                           "https://super.gluebenchmark.com/tasks"), record=_record_record,
                   prompts={"gpt3": Prompt("choices", _record_item, ("chosen_exact", "chosen_f1"), normalise="tokens")},
                   shots=32, question=QuestionView(answered("{query}", "{passage}", "answers"), "nf1", ("nem",))),
    "superglue_rte": _task("rte", ENTAILMENT, _of(_entailment), Submission("RTE.jsonl"),
                           further=(("ax_b", "AX-b", "axb"), ("ax_g", "AX-g", "axg")),
                           diagnostics={"ax_b": ("matthews",), "ax_g": ("accuracy", "gender_parity")}, question=entailed()),
    "wic": _task("wic", FALSE_TRUE,
                 _of(lambda text, *_: (f"{text('word')}: {text('sentence1')}", text("sentence2"))),
                 Submission("WiC.jsonl", WORDS), spelt=(False, True), record=_wic_record,
                 prompts={"gpt3": Prompt("choices", WIC)},
                 question=_asked('Sentence: "{text2}" -- {labels}?', ("another meaning", "the same meaning"))),
    "wsc": _task("wsc.fixed", FALSE_TRUE, _of(_wsc), Submission("WSC.jsonl", FALSE_TRUE), spelt=(False, True),
                 record=_wsc_record, prompts={"gpt3": WSC_PROMPT},
                 question=_asked("Does the word between asterisks stand for {text2}, {labels}?", ("no", "yes"))),
}  # fmt: skip
