"""What zero-, one- and few-shot evaluation asks of a model: items, made by protocols from a task's records.

Nothing here knows of a model: a protocol says what text is read, what is scored and how, and what is reported.
"""

from collections.abc import Callable
from typing import NamedTuple

KINDS = ("choices", "cloze", "perplexity", "generate")
NORMALISATIONS = ("sum", "tokens", "characters", "unconditional")


class Source(NamedTuple):
    """Where a task's records are.

    Attributes:
      folder: of the set's own files; '': TensorFlow Datasets' in ROOT/tfds, or what the task makes itself.
      root, heldout, max_documents: of a run's `data` block; the last two say which articles of the demo corpus the
        run has not been trained on.
    """

    folder: str = ""
    root: str = "data"
    heldout: float = 0.02
    max_documents: int = 0


class Item(NamedTuple):
    """One thing to ask.

    Attributes:
      context: what is read first, without a blank at its end; '' is the beginning of a text.
      targets: what may follow, each with its leading blank or line break: of 'choices' all of them, of other kinds
        one; of 'generate' it is what a solved example shows.
      gold: the number of the right choice; with one target and `scores.referent`, whether that is right, 1 or 0.
      contexts: where the choice stands in what is read first and one target follows all: a context for each choice
        (partial scoring, Trinh and Le 2018, arXiv 1806.02847); else ().
      answers: all texts that are right ('generate'); () with a task that has questions without an answer.
      units: how many words, bytes or characters the target had in the original text ('perplexity').
    """

    context: str
    targets: tuple[str, ...]
    gold: int = 0
    contexts: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    units: int = 0

    @property
    def pairs(self):
        """(context, target) of each choice, a list."""
        if self.contexts:
            return [(context, self.targets[0]) for context in self.contexts]
        return [(self.context, target) for target in self.targets]


def solved(item):
    """An item with its right target, of several: the text of an example that is shown."""
    return "".join(item.pairs[item.gold if len(item.pairs) > 1 else 0])


class Protocol(NamedTuple):
    """How a task is asked and scored.

    Attributes:
      kind: 'choices': the choice with the highest score, see `normalise`; 'cloze': the target's log-probability, and
        whether each of its tokens is the likeliest; 'perplexity': the target's log-probability for each of its
        original units; 'generate': a text is written and compared with `answers`.
      item: record -> Item.
      metrics: keys of scores.METRICS.
      shown: Item -> the text of a solved example.
      separator: between the examples, and between the last one and the item.
      description: stands once before everything.
      normalise: of 'choices', what log P(target | context) is divided by: 'sum': nothing; 'tokens': the target's
        tokens (GPT-3, section 2.4); 'characters': its characters without the leading blank; 'unconditional': less
        log P(target | answer_context) (GPT-3, section 2.4).
      answer_context: of 'unconditional'; 'Answer:' or 'A:'.
      last_token: of 'cloze', only the target's last token is scored.
      unit: of 'perplexity': 'word', 'byte' or 'character', told in the metric's name (`evaluation.measure`).
      max_tokens, beams, length_penalty, top_k: of 'generate': how many tokens at most, and how they are chosen: by
        beam search with `beams` above 1; else drawn from the `top_k` likeliest, of which 1 is greedy.
      stop: of 'generate', strings; the text ends before the first that is in it.
      finish: of 'generate', made of the text before it is compared.
      stop_words: of 'generate', a text that is one of them is passed over for the next likeliest, see
        scores.first_content_word.
    """

    kind: str
    item: Callable
    metrics: tuple[str, ...]
    shown: Callable = solved
    separator: str = "\n\n"
    description: str = ""
    normalise: str = "sum"
    answer_context: str = ""
    last_token: bool = False
    unit: str = ""
    max_tokens: int = 0
    beams: int = 1
    length_penalty: float = 0.0
    top_k: int = 1
    stop: tuple[str, ...] = ("\n",)
    finish: Callable = str.strip
    stop_words: frozenset[str] = frozenset()


class Task(NamedTuple):
    """A row of TASKS.

    Attributes:
      read: Source -> {'train': records that examples are drawn from, 'test': records that are asked}, lists. Raises
        UserError: it is not there, with how to get it; a line is malformed (naming file, line and reason).
      protocols: name -> Protocol; the name says whose it is.
      homepage: where the files come from; '': made here.
    """

    read: Callable
    protocols: dict[str, Protocol]
    homepage: str = ""
