"""Sets of choices: COPA's are in superglue.py.

What is asked stands with each choice, not with the context: a context that is too long loses its end, and must not lose
the question (ALBERT's race_utils.py does the same). GPT-1, section 3.3, puts the question after the context, whose
beginning is then what is lost: for that it is told beside the answers alone, too.
"""

from ssl_jax import files
from ssl_jax.data.tasks import formats
from ssl_jax.data.tasks.examples import Choice
from ssl_jax.data.tasks.sets import Set
from ssl_jax.errors import UserError

SWAG_LABELS = ("0", "1", "2", "3")


def _swag(record, where, labels):
    """The first sentence, and the beginning of the second with each ending (BERT, section 4.4)."""
    text, start, *endings = (formats.column(record, name, where)
                             for name in ("sent1", "sent2", *(f"ending{label}" for label in labels)))  # fmt: skip
    label = formats.number_of(record["label"], labels, where) if "label" in record else -1
    choices = tuple(f"{start} {ending}".strip() for ending in endings)
    yield Choice(text, choices, label, question=start, answers=tuple(endings))


def _swag_lines(path, split):
    for where, record in formats.csv_file(path):
        if split != "test":
            formats.column(record, "label", where)
        yield where, record


def _race_lines(path, split):
    """Of `middle` and `high`, or either: folders of .txt files with JSON of one passage each."""
    del split
    for where, one in formats.below(path, ".txt"):
        yield where, one if isinstance(one, formats.LeftOut) else files.read_json(one)


def _race(record, where, labels):
    """The passage, and each question with each answer in the place of its blank, or after it.

    Of the question alone the blank stays.
    """
    passage = formats.value(record, "article", str, where)
    kinds = {"questions": list[str], "options": list[list[str]], "answers": list[str]}
    questions, options, answers = (formats.value(record, key, kind, where) for key, kind in kinds.items())
    if not len(questions) == len(options) == len(answers):
        raise UserError(f"{where}: {len(questions)} questions, {len(options)} options and {len(answers)} answers")
    names = (formats.value(record, key, str, where) for key in ("id", "example_id") if key in record)
    name = next(names, where)
    for number, (question, choices, answer) in enumerate(zip(questions, options, answers, strict=True)):
        here = f"{where}, question {number + 1}"
        if len(choices) != len(labels):
            raise UserError(f"{here}: {len(choices)} options, and there should be {len(labels)}")
        blank = "_" in question
        texts = tuple(question.replace("_", one) if blank else f"{question} {one}" for one in choices)
        label, id = formats.number_of(answer, labels, here), f"{name}/{number}"
        yield Choice(passage, texts, label, id, question, tuple(choices))


STORY = tuple(f"InputSentence{number}" for number in range(1, 5))
ENDINGS = ("RandomFifthSentenceQuiz1", "RandomFifthSentenceQuiz2")


def _story_lines(path, split):
    """As `context`, `endings` and `label`, which is 1 or 2; -1 in a test set."""
    for where, record in formats.csv_file(path):
        context, endings = ([formats.column(record, name, where) for name in names] for names in (STORY, ENDINGS))
        label = -1 if split == "test" else formats.column(record, "AnswerRightEnding", where)
        yield where, {"context": " ".join(context), "endings": endings, "label": label}


def _story(record, where, labels):
    # TensorFlow Datasets has numbers, and -1 where nobody tells.
    label = -1 if record["label"] == -1 else formats.number_of(str(record["label"]), labels, where)
    yield Choice(record["context"], tuple(record["endings"]), label)


def _levels(split):
    return "+".join(f"race/{level}:{split}" for level in ("middle", "high"))


SETS = {
    "swag": Set("choices", SWAG_LABELS, {"train": "train.csv", "heldout": "val.csv", "test": "test.csv"}, _swag_lines,
                _swag, {}, "https://github.com/rowanz/swagaf"),
    "race": Set("choices", ("A", "B", "C", "D"), {"train": "train", "heldout": "dev", "test": "test"}, _race_lines,
                _race, {"train": _levels("train"), "heldout": _levels("dev"), "test": _levels("test")},
                "https://www.cs.cmu.edu/~glai1/data/race/"),
    # Its validation set is what is trained on: the training stories have no wrong endings (GPT-1, section 4.2). What is
    # held out is the test set of 2016, for nobody tells the labels of 2018's. Files are named as they are sent, or as
    # TensorFlow Datasets wants them.
    "rocstories": Set("choices", ("1", "2"),
                      {"train": ("cloze_test_val__spring2016.csv",
                                 "cloze_test_val__spring2016 - cloze_test_ALL_val.csv",
                                 "cloze_test_val__winter2018-cloze_test_ALL_val - 1 - 1.csv",
                                 "cloze_test_val__winter2018.csv"),
                       "heldout": ("cloze_test_test__spring2016.csv",
                                   "cloze_test_test__spring2016 - cloze_test_ALL_test.csv"),
                       "test": ("cloze_test_test__winter2018-cloze_test_ALL_test - 1.csv",
                                "cloze_test_test__winter2018.csv")}, _story_lines, _story,
                      {"train": "story_cloze/2016:validation", "heldout": "story_cloze/2016:test"},
                      "https://cs.rochester.edu/nlp/rocstories/"),
}  # fmt: skip
