"""What an example of a task is, by kind; `label` is the number of a class or choice, -1 where nobody tells it."""

from typing import NamedTuple


class Example(NamedTuple):
    """One text, or a pair of them, and the number of its label; of a regression its score, NaN where it is not told."""

    text: str
    text2: str | None
    label: int | float
    id: str = ""  # what the set calls it, where that is not its place in the file


class Choice(NamedTuple):
    """A text, what may follow it, and the number of what does.

    Where something is asked on the text, `choices` are the answers with the `question`, each behind it or in its blank,
    and `answers` the same alone. A row has the one or the other, see `stores.ChoiceRows`.
    """

    text: str
    choices: tuple[str, ...]
    label: int
    id: str = ""
    question: str = ""
    answers: tuple[str, ...] = ()


class Question(NamedTuple):
    """A question on a context.

    `start` and `end` are the first answer's characters, context[start:end]; -1 where there is none. `answers` are the
    texts of all that are right, () where the context does not tell.
    """

    question: str
    context: str
    start: int
    end: int
    id: str
    answers: tuple[str, ...]


class Words(NamedTuple):
    """The words of a sentence and the number of each one's label."""

    words: tuple[str, ...]
    labels: tuple[int, ...]


class Read(NamedTuple):
    """A task's examples.

    Attributes:
      labels: the names of the classes.
      splits: 'train', 'heldout' and what else there is -> examples.
      places: split -> where each of its examples was read, 'PATH, line N'; splits that are in no file are not there.
      notes: split -> what else a run has to tell of it: what was left out.
    """

    labels: tuple[str, ...]
    splits: dict[str, list]
    places: dict[str, list[str]]
    notes: dict[str, list[str]]


# kind -> what its examples are. 'classification' is of one text or of a pair.
KINDS = {
    "classification": Example, "regression": Example, "choices": Choice, "spans": Question, "token_labels": Words,
}  # fmt: skip
