"""Choices: SWAG, RACE, StoryCloze to fine-tune on; Winograd schemas, definite pronouns (Rahman and Ng 2012), Winogrande,
HellaSwag, StoryCloze, PIQA, ARC, OpenBookQA, RACE, ANLI, SAT analogies to ask. COPA is in superglue.py.

To fine-tune on, the question is part of each choice, not of the context: a context that is too long loses its end, and
must not lose the question (ALBERT's race_utils.py does the same). GPT-1, section 3.3, puts the question after the
context, whose beginning is then cut: that takes the question and the answers without it.

Prompts `gpt3` are those of GPT-3's appendix G; `lm_eval` those of lm-evaluation-harness, by characters its `acc_norm`.
`gpt1` are the heuristics of GPT-1's section 5 (Figure 2, right), by the mean log-probability of a token: of RACE's
answers behind the passage and the question as they are, of what follows the noun in the pronoun's place; nothing says
how texts are joined, which is a space here as in fine-tuning. HellaSwag's `characters` is GPT-3's text by characters:
the harness takes each sentence to end from two fields of the files, and its capitals differ in some. ANLI's round stands
twice before its premise, as in figures G.2, G.7 and G.10; these do not show whether a space or a line break comes before
the answer: here it is a space.
"""

import functools
import itertools
import re
import xml.etree.ElementTree

from ssl_jax import files
from ssl_jax.errors import UserError, cut, listed, shown
from ssl_jax.tasks import formats
from ssl_jax.tasks.base import Choice, Dataset, Item, Prompt, QuestionView, Task, choose, end, one_of, pick
from ssl_jax.tasks.formats import checked

_prompt, _CONTEXT = functools.partial(Prompt, "choices"), end("{context}")


def _asked(question, context="{text}", key="choices"):
    return QuestionView(pick(question, context, key), "em")


_NEXT = _asked("What comes next?")
_BLANK = _asked("What is in the blank?", "{before} _{after}", "options")


def _gold(label, count, where):
    """The number of a choice, from a number or its digits."""
    if str(label) not in map(str, range(count)):
        raise UserError(f"{where}: the label is {shown(label)}, and should be from 0 to {count - 1}")
    return int(label)


# ---- SWAG
SWAG_LABELS = ("0", "1", "2", "3")


def _swag(record, where, labels):
    """The first sentence, and the beginning of the second with each ending (BERT, section 4.4)."""
    text, start, *ends = (formats.column(record, name, where)
                          for name in ("sent1", "sent2", *(f"ending{label}" for label in labels)))  # fmt: skip
    label = formats.number_of(record["label"], labels, where) if "label" in record else -1
    choices = tuple(f"{start} {ending}".strip() for ending in ends)
    yield Choice(text, choices, label, question=start, answers=tuple(ends))


def _swag_lines(path, split):
    for where, record in formats.csv_file(path):
        if split != "test":
            formats.column(record, "label", where)
        yield where, record


# ---- RACE
RACE_LABELS = ("A", "B", "C", "D")


def _race_lines(path, split):
    """`middle` and `high`, or either: folders of .txt files with JSON of one passage each."""
    del split
    for where, file in formats.below(path, ".txt"):
        yield where, file if isinstance(file, formats.LeftOut) else files.read_json(file)


def _race_questions(record, where):
    """The passage, and its (question, options, letter of the right one), a list."""
    passage = formats.value(record, "article", str, where)
    columns = checked(record, where, questions=list[str], options=list[list[str]], answers=list[str]).values()
    if len(set(map(len, columns))) > 1:
        questions, options, answers = map(len, columns)
        raise UserError(f"{where}: {questions} questions, {options} options and {answers} answers")
    return passage, list(zip(*columns, strict=True))


def _race(record, where, labels):
    """The passage, and each question with each answer in the place of its blank, or after it.

    The question without an answer keeps its blank.
    """
    passage, questions = _race_questions(record, where)
    names = (formats.value(record, key, str, where) for key in ("id", "example_id") if key in record)
    name = next(names, where)
    for number, (question, choices, answer) in enumerate(questions):
        here = f"{where}, question {number + 1}"
        if len(choices) != len(labels):
            raise UserError(f"{here}: {len(choices)} options, and there should be {len(labels)}")
        blank = "_" in question
        texts = tuple(question.replace("_", one) if blank else f"{question} {one}" for one in choices)
        label, id = formats.number_of(answer, labels, here), f"{name}/{number}"
        yield Choice(passage, texts, label, id, question, tuple(choices))


def _race_record(record, where):
    """Each question with those before it in the passage and their answers."""
    passage, questions = _race_questions(record, where)
    before = ""
    for number, (question, choices, letter) in enumerate(questions, 1):
        gold = formats.number_of(letter, RACE_LABELS, f"{where}, question {number}")
        if gold >= len(choices):
            raise UserError(f"{where}, question {number}: {len(choices)} options, and {letter} is right")
        yield {"article": passage.strip(), "before": before, "question": question, "choices": choices, "gold": gold}
        before += f"Q: {question}\n\nA: {choices[gold]}\n\n"


def _race_data(files, *levels):
    tfds = {split: "+".join(f"race/{level}:{path.split('/')[0]}" for level in levels) for split, path in files.items()}
    return Dataset(files, _race_lines, tfds, "https://www.cs.cmu.edu/~glai1/data/race/")


def _race_asked(level):
    """One level, of which GPT-3 reports the test set."""
    item = end("Article:\n{article}\n\n{before}Q: {question}\n\nA:")
    return Task(
        _race_data({"train": f"train/{level}", "heldout": f"test/{level}"}, level),
        record=_race_record, prompts={"gpt3": _prompt(item, normalise="unconditional", answer_context="A:"),
                                      "tokens": _prompt(item, normalise="tokens"),
                                      "gpt1": _prompt(end("{article} {question}"), normalise="tokens")}, shots=10,
        question=_asked("{question}", "{article}"),
    )  # fmt: skip


# ---- StoryCloze
STORY = tuple(f"InputSentence{number}" for number in range(1, 5))
ENDINGS = ("RandomFifthSentenceQuiz1", "RandomFifthSentenceQuiz2")


def _story_lines(path, split):
    """As `context`, `endings` and `label`, which is 1 or 2; -1 in a test set."""
    for where, record in formats.csv_file(path):
        context, ends = ([formats.column(record, name, where) for name in names] for names in (STORY, ENDINGS))
        label = -1 if split == "test" else formats.column(record, "AnswerRightEnding", where)
        yield where, {"context": " ".join(context), "endings": ends, "label": label}


def _story(record, where, labels):
    # TensorFlow Datasets has numbers, and -1 where they are unpublished.
    label = -1 if record["label"] == -1 else formats.number_of(str(record["label"]), labels, where)
    yield Choice(record["context"], tuple(record["endings"]), label)


# ---- Winograd schemas
SCHEMAS = 273


def _schema_lines(path, split):
    """The first 273 of WSCollection.xml, the set that is reported; as in TensorFlow Datasets' wsc273."""
    del split
    try:
        schemas = xml.etree.ElementTree.fromstring(files.read_bytes(path)).findall("schema")
    except (xml.etree.ElementTree.ParseError, LookupError, ValueError) as error:  # its encoding may be the reason
        raise UserError(f"{path}: not XML ({cut(str(error))})") from error
    for number, schema in enumerate(schemas[:SCHEMAS], 1):
        where = f"{path}, schema {number}"
        before, pronoun, after = (_element(schema, f"text/{name}", where) for name in ("txt1", "pron", "txt2"))
        options = [" ".join((one.text or "").split()) for one in schema.findall("answers/answer")]
        letter = _element(schema, "correctAnswer", where)[:1]
        if len(options) != 2 or letter not in ("A", "B"):
            raise UserError(f"{where}: {len(options)} answers, {shown(letter)} is right; two are needed, A or B")
        text = f"{before} {pronoun}{'' if len(after) == 1 else ' '}{after}"
        yield where, {"text": text, "pronoun_start": len(before) + 1, "pronoun_text": pronoun,
                      "option1": options[0], "option2": options[1], "label": "AB".index(letter)}  # fmt: skip


def _element(schema, path, where):
    element = schema.find(path)
    if element is None or not (element.text or "").strip():
        raise UserError(f"{where}: no {path}")
    return " ".join(element.text.split())


def _schema(record, where):
    """`before` and `after` the pronoun; the two `options` in its place, with the article's capital as the pronoun's."""
    start, pronoun = record["pronoun_start"], record["pronoun_text"]
    options = [_cased(record[key], pronoun) for key in ("option1", "option2")]
    yield {"before": record["text"][:start].rstrip(), "after": record["text"][start + len(pronoun) :],
           "options": options, "gold": _gold(record["label"], 2, where)}  # fmt: skip


_ARTICLES = ("a", "an", "the", "my", "his", "her", "their")


def _cased(option, pronoun):
    """An option as it would stand in the pronoun's place: its article is capitalised if the pronoun is."""
    first, space, rest = option.partition(" ")
    if first.lower() in _ARTICLES:
        first = first.lower() if pronoun[0].islower() else first.capitalize()
    return f"{first}{space}{rest}"


def _full(record):
    """P(option and what follows | what is before), Trinh and Le's full scoring."""
    return Item(record["before"], tuple(f" {option}{record['after']}" for option in record["options"]), record["gold"])


def _partial(record):
    """P(what follows | what is before with the option), their partial scoring (GPT-3, figure G.13)."""
    contexts = tuple(f"{record['before']} {option}".strip() for option in record["options"])
    return Item("", (record["after"],), record["gold"], contexts)


# ---- Winogrande
def _blank_lines(path, split):
    """As TensorFlow Datasets' records: `answer` is `label`."""
    del split
    for where, record in files.json_lines(path):
        yield where, record | {"label": formats.value(record, "answer", str, where)}


def _blank(record, where):
    texts = checked(record, where, sentence=str, option1=str, option2=str)
    before, blank, after = texts["sentence"].partition("_")
    if not blank or not after.strip():
        raise UserError(f"{where}: the sentence has no _ to fill, or nothing after it to score")
    yield {"before": before.rstrip(), "after": after, "options": [texts["option1"], texts["option2"]],
           "gold": formats.number_of(record["label"], ("1", "2"), where)}  # fmt: skip


# ---- ANLI
ENTAILED = ("e", "c", "n")


def _anli(record, where):
    texts = checked(record, where, context=str, hypothesis=str)
    yield texts | {"gold": formats.number_of(formats.value(record, "label", str, where), ENTAILED, where)}


def _anli_task(number):
    item = choose(f"anli {number}: anli {number}: {{context}}\nQuestion: {{hypothesis}} True, False, or Neither?",
                  " True", " False", " Neither")  # fmt: skip
    data = Dataset(
        {"train": "train.jsonl", "heldout": "test.jsonl"}, lambda path, split: files.json_lines(path),
        {"train": f"anli/r{number}:train", "heldout": f"anli/r{number}:test"}, "https://github.com/facebookresearch/anli",
    )  # fmt: skip
    question = one_of('Hypothesis: "{hypothesis}" -- {labels}?', 'Premise: "{context}"',
                      ("entailment", "contradiction", "neutral"))  # fmt: skip
    return Task(data, record=_anli, prompts={"gpt3": _prompt(item)}, shots=50, question=QuestionView(question, "em"))


# ---- SAT analogies
SAT_LETTERS = ("a", "b", "c", "d", "e")


def _sat_lines(path, split):
    """Blocks between empty lines: their source, the pair, five others, and the letter of the right one.

    A pair is two words and their parts of speech, as in 'lull trust v:n'; lines that begin with # are comments.
    """
    del split
    lines = [(number, line.strip()) for number, line in files.read_lines(path) if not line.startswith("#")]
    for filled, block in itertools.groupby(lines, lambda one: bool(one[1])):
        block = list(block)
        if filled:
            where = f"{path}, line {block[0][0]}"
            if len(block) != 8:
                raise UserError(f"{where}: a question of {len(block)} lines, and there should be 8")
            yield where, {"lines": [line for _, line in block]}


def _sat(record, where):
    _, *pairs, letter = record["lines"]
    if short := next((pair for pair in pairs if len(pair.split()) < 2), None):
        raise UserError(f"{where}: {shown(short)} is no pair of words")
    first, *choices = ("{} is to {}".format(*pair.split()) for pair in pairs)
    yield {"context": f"{first} as", "choices": choices, "gold": formats.number_of(letter, SAT_LETTERS, where)}


_REST = _prompt(_partial, normalise="tokens")


# ---- Definite pronouns
def _pronoun_lines(path, split):
    """As TensorFlow Datasets' records: lines of sentence, pronoun, both candidates, the right one; then an empty line."""
    del split
    lines = [(number, line.strip()) for number, line in files.read_lines(path)]
    while lines and not lines[-1][1]:
        lines.pop()
    for start in range(0, len(lines), 5):
        where, block = f"{path}, line {lines[start][0]}", [line for _, line in lines[start : start + 5]]
        if len(block) < 4 or not all(block[:4]) or any(block[4:]):
            raise UserError(
                f"{where}: four lines, of sentence, pronoun, candidates and answer, and an empty one are due"
            )
        sentence, pronoun, candidates, answer = block[:4]
        candidates = [one.strip() for one in candidates.split(",")]
        if len(candidates) != 2 or answer not in candidates:
            raise UserError(f"{where}: {shown(answer)} is right of {listed(candidates)}; one of two candidates is due")
        yield where, {"sentence": sentence, "pronoun": pronoun, "candidates": candidates,
                      "label": candidates.index(answer)}  # fmt: skip


def _pronoun(record, where):
    """As a Winograd schema. Of a pronoun that is there more than once the first one is meant (the set's README)."""
    sentence, pronoun = record["sentence"], record["pronoun"]
    found = re.search(rf"\b{re.escape(pronoun)}\b", sentence) or re.search(
        rf"\b{re.escape(pronoun)}\b", sentence, re.IGNORECASE
    )
    if found is None:
        raise UserError(f"{where}: the pronoun {shown(pronoun)} is not in {shown(sentence)}")
    yield from _schema({"text": sentence, "pronoun_start": found.start(), "pronoun_text": found[0],
                        "option1": record["candidates"][0], "option2": record["candidates"][1],
                        "label": record["label"]}, where)  # fmt: skip


# ---- HellaSwag
def _hellaswag_lines(path, split):
    """As TensorFlow Datasets' records: `ctx` is `context`."""
    del split
    for where, record in files.json_lines(path):
        texts = checked(record, where, ctx=str, endings=list[str], activity_label=str)
        yield where, {"context": texts.pop("ctx"), **texts, "label": formats.value(record, "label", int, where)}


def _hellaswag(record, where):
    """Without WikiHow's marks of titles and steps, in [ ]; the sentence to end begins with a capital (figure G.9)."""
    context, choices = _unmarked(record["context"]), [_unmarked(ending) for ending in record["endings"]]
    before, stop, start = context.rpartition(". ")
    yield {"context": f"{record['activity_label']}: {before}{stop}{start[:1].upper()}{start[1:]}", "choices": choices,
           "gold": _gold(record["label"], len(choices), where)}  # fmt: skip


def _unmarked(text):
    return " ".join(re.sub(r"\[.*?\]", "", text.replace(" [title]", ". ")).split())


# ---- PIQA
def _piqa_lines(path, split):
    """The labels are in the file NAME-labels.lst next to NAME.jsonl, one a line."""
    del split
    labels_path = path.with_name(f"{path.stem}-labels.lst")
    if not labels_path.is_file():
        raise UserError(f"there is no file {labels_path} with the labels of {path}")
    lines = files.read_lines(labels_path)
    labels = [_gold(line.strip(), 2, f"{labels_path}, line {number}") for number, line in lines]
    records = list(files.json_lines(path))
    if len(labels) != len(records):
        raise UserError(f"{labels_path}, line {len(labels)}: {len(labels)} labels for {len(records)} lines of {path}")
    for (where, record), label in zip(records, labels, strict=True):
        yield where, record | {"label": label}


def _piqa(record, where):
    texts = checked(record, where, goal=str, sol1=str, sol2=str)
    choices = [texts["sol1"], texts["sol2"]]
    yield {"context": texts["goal"], "choices": choices, "gold": _gold(record["label"], 2, where)}


# ---- ARC and OpenBookQA
def _science_lines(path, split):
    """`question` has a `stem` and `choices`, each a `label` and a `text`."""
    del split
    for where, record in files.json_lines(path):
        question = formats.value(record, "question", dict, where)
        choices = formats.value(question, "choices", list, where)
        yield (
            where,
            {
                "question": formats.value(question, "stem", str, where),
                "choices": {key: [formats.value(one, key, str, where) for one in choices] for key in ("text", "label")},
                "answerKey": formats.value(record, "answerKey", str, where),
            },
        )


def _arc(record, where):
    """In TensorFlow Datasets labels and key are the numbers of letters."""
    labels, key = record["choices"]["label"], record["answerKey"]
    if key not in labels:
        raise UserError(f"{where}: the key {shown(key)} is not among the labels {listed(labels)}")
    yield {"context": record["question"], "choices": record["choices"]["text"], "gold": labels.index(key)}


def _openbook(record, where):
    """TensorFlow Datasets has the choices as choice_A to choice_D."""
    if isinstance(record["question"], dict):
        question = record["question"]
        choices = {"text": [question[f"choice_{letter}"] for letter in "ABCD"], "label": [0, 1, 2, 3]}
        record = {"question": question["stem"], "choices": choices, "answerKey": record["answerKey"]}
    return _arc(record, where)


_ANSWER = end("Question: {context}\nAnswer:")
_BY_ANSWER = {"normalise": "unconditional", "answer_context": "Answer:"}


_SCIENCE = _asked("Which answer is right?", "{context}")


def _arc_task(name):
    data = Dataset(
        {"train": f"{name}-Train.jsonl", "heldout": f"{name}-Test.jsonl"}, _science_lines,
        {"train": f"ai2_arc/{name}:train", "heldout": f"ai2_arc/{name}:test"}, "https://allenai.org/data/arc",
    )  # fmt: skip
    prompts = {"gpt3": _prompt(_ANSWER, **_BY_ANSWER), "lm_eval": _prompt(_ANSWER, normalise="characters")}
    return Task(data, record=_arc, prompts=prompts, shots=50, question=_SCIENCE)


# ---- Rows
TASKS = {
    "swag": Task(
        Dataset({"train": "train.csv", "heldout": "val.csv", "test": "test.csv"}, _swag_lines, {},
                "https://github.com/rowanz/swagaf"),
        "choices", SWAG_LABELS, _swag, question=_asked("What comes next?", "{text} {question}", "answers")),
    "race": Task(
        _race_data({"train": "train", "heldout": "dev", "test": "test"}, "middle", "high"),
        "choices", RACE_LABELS, _race, question=_asked("{question}", "{text}", "answers")),
    # The validation set is what is trained on: the training stories have no wrong endings (GPT-1, section 4.2). The
    # test set of 2016 is held out, because the labels of 2018's are unpublished. Files are named as they are sent, or
    # as TensorFlow Datasets wants them.
    "rocstories": Task(
        Dataset({"train": ("cloze_test_val__spring2016.csv",
                           "cloze_test_val__spring2016 - cloze_test_ALL_val.csv",
                           "cloze_test_val__winter2018-cloze_test_ALL_val - 1 - 1.csv",
                           "cloze_test_val__winter2018.csv"),
                 "heldout": ("cloze_test_test__spring2016.csv",
                             "cloze_test_test__spring2016 - cloze_test_ALL_test.csv"),
                 "test": ("cloze_test_test__winter2018-cloze_test_ALL_test - 1.csv",
                          "cloze_test_test__winter2018.csv")}, _story_lines,
                {"train": "story_cloze/2016:validation", "heldout": "story_cloze/2016:test"},
                "https://cs.rochester.edu/nlp/rocstories/"),
        "choices", ("1", "2"), _story, prompts={"gpt3": _prompt(end("{text}"), normalise="tokens")}, shots=70,
        question=_NEXT),
    "winograd": Task(
        Dataset({"train": "WSCollection.xml", "heldout": "WSCollection.xml"}, _schema_lines,
                {"train": "wsc273:test", "heldout": "wsc273:test"},
                "https://cs.nyu.edu/~davise/papers/WinogradSchemas/WS.html"),
        record=_schema, prompts={"full": _prompt(_full), "gpt3": _prompt(_partial), "gpt1": _REST}, shots=7,
        question=_BLANK),
    # The test set is held out.
    "dprd": Task(
        Dataset({"train": "train.c.txt", "heldout": "test.c.txt"}, _pronoun_lines,
                {"train": "definite_pronoun_resolution:train", "heldout": "definite_pronoun_resolution:test"},
                "https://www.hlt.utdallas.edu/~vince/data/emnlp12/"),
        record=_pronoun, prompts={"gpt1": _REST}, question=_BLANK),
    "winogrande": Task(
        Dataset({"train": "train_xl.jsonl", "heldout": "dev.jsonl"}, _blank_lines,
                {"train": "winogrande:train_xl", "heldout": "winogrande:validation"}, "https://winogrande.allenai.org"),
        record=_blank, prompts={"gpt3": _prompt(_partial)}, shots=50, question=_BLANK),
    # There is no training set: examples are other questions.
    "sat_analogies": Task(
        Dataset({"train": "SAT-package-V3.txt", "heldout": "SAT-package-V3.txt"}, _sat_lines, {},
                "https://aclweb.org/aclwiki/SAT_Analogy_Questions_(State_of_the_art)"),
        record=_sat, prompts={"gpt3": _prompt(_CONTEXT, normalise="tokens")}, shots=20,
        question=_asked("Which is alike?", "{context}")),
    "anli_r1": _anli_task(1),
    "anli_r2": _anli_task(2),
    "anli_r3": _anli_task(3),
    "hellaswag": Task(
        Dataset({"train": "hellaswag_train.jsonl", "heldout": "hellaswag_val.jsonl"}, _hellaswag_lines,
                {"train": "hellaswag:train", "heldout": "hellaswag:validation"},
                "https://github.com/rowanz/hellaswag/tree/master/data"),
        record=_hellaswag, prompts={"gpt3": _prompt(_CONTEXT, normalise="tokens"),
                                    "characters": _prompt(_CONTEXT, normalise="characters")}, shots=20,
        question=_asked("What comes next?", "{context}")),
    "piqa": Task(
        Dataset({"train": "train.jsonl", "heldout": ("valid.jsonl", "dev.jsonl")}, _piqa_lines,
                {"train": "piqa:train", "heldout": "piqa:validation"}, "https://yonatanbisk.com/piqa/"),
        record=_piqa, prompts={"gpt3": _prompt(_CONTEXT, normalise="tokens"),
                               "lm_eval": _prompt(_ANSWER, normalise="characters")}, shots=50,
        question=_SCIENCE),
    "arc_easy": _arc_task("ARC-Easy"),
    "arc_challenge": _arc_task("ARC-Challenge"),
    "openbookqa": Task(
        Dataset({"train": "train.jsonl", "heldout": "test.jsonl"}, _science_lines,
                {"train": "openbookqa:train", "heldout": "openbookqa:test"}, "https://allenai.org/data/open-book-qa"),
        record=_openbook, prompts={"gpt3": _prompt(_CONTEXT, **_BY_ANSWER),
                                   "lm_eval": _prompt(_CONTEXT, normalise="characters")}, shots=100,
        question=_SCIENCE),
    "race_middle": _race_asked("middle"),
    "race_high": _race_asked("high"),
}  # fmt: skip
