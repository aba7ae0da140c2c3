"""Task definitions: data, examples, metrics, submission formats, and prompts for evaluation without training.

Nothing here depends on a model.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from ssl_jax.metrics import UNANSWERABLE


# ---- Examples to fine-tune on; `label` is the index of a class or choice, -1 if unpublished
class Example(NamedTuple):
    """One text or a pair, and the index of its label; for regression its score, NaN if unpublished."""

    text: str
    text2: str | None
    label: int | float
    id: str = ""  # the set's id, if other than its place in the file


class Choice(NamedTuple):
    """A text, its possible continuations, and the index of the right one.

    If a question is asked about the text, `choices` are the answers with the `question`, after it or in its blank,
    and `answers` are the answers without it. A row uses one or the other, see `features.ChoiceRows`.
    """

    text: str
    choices: tuple[str, ...]
    label: int
    id: str = ""
    question: str = ""
    answers: tuple[str, ...] = ()


class Question(NamedTuple):
    """A question about a context.

    `start` and `end` are the characters of the first answer, context[start:end]; -1 if the context has no answer.
    `answers` are all correct texts, () if it has none.
    """

    question: str
    context: str
    start: int
    end: int
    id: str
    answers: tuple[str, ...]


class Words(NamedTuple):
    """The words of a sentence and the index of each one's label; the sentences of its document, if the set has
    documents, and its place among them."""

    words: tuple[str, ...]
    labels: tuple[int, ...]
    document: tuple[tuple[str, ...], ...] = ()
    place: int = 0


class QA(NamedTuple):
    """A question about a context, answered in words (decaNLP, McCann et al. 2018, section 2).

    Attributes:
      question, context: texts; neither is empty.
      answers: all correct texts, of which the first is trained on; () if unpublished.
      id: the set's id, if it has one.
      gold: what a metric reads besides `answers`, of JSON's types: a dialogue's turn, a query's logical form.
    """

    question: str
    context: str
    answers: tuple[str, ...]
    id: str = ""
    gold: Any = None


# kind -> type of its examples. 'classification' takes single texts and pairs.
KINDS = {
    "classification": Example, "regression": Example, "choices": Choice, "spans": Question, "token_labels": Words,
}  # fmt: skip


class Read(NamedTuple):
    """A task's examples.

    Attributes:
      labels: the names of the classes.
      splits: 'train', 'heldout' and any other published split -> examples.
      places: split -> where each example was read from, 'PATH, line N'; without splits that are not in a file.
      notes: split -> what a run should report about it, such as omitted examples.
    """

    labels: tuple[str, ...]
    splits: dict[str, list]
    places: dict[str, list[str]]
    notes: dict[str, list[str]]


# ---- Prompts: the same sets, without training
class Item(NamedTuple):
    """One evaluation item.

    Attributes:
      context: the text read first, without trailing space; '' is the beginning of a text.
      targets: possible continuations, each with its leading space or line break: all choices for 'choices', else one;
        for 'generate', what a solved example shows.
      gold: the index of the right choice, or the class of 'threshold'; for metrics.referent whether the target is right, 1 or 0.
      contexts: if the choice is part of the context and one target follows all of them: a context for each choice
        (partial scoring, Trinh and Le 2018, arXiv 1806.02847); else ().
      answers: all correct texts ('generate'), those of DROP tuples of spans; () for unanswerable questions in tasks that
        have them. For 'choices' all correct ones of `texts`, or what the prompt's `shown` shows.
      texts: for choices that are compared as texts, what each says, of which several may be correct; else ().
      group: what the item is a part of, such as the question whose answers are judged one by one.
      units: number of words, bytes or characters of the target in the original text ('perplexity').
    """

    context: str
    targets: tuple[str, ...]
    gold: int = 0
    contexts: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    group: str = ""
    units: int = 0

    @property
    def pairs(self):
        """List of each choice's (context, target)."""
        if self.contexts:
            return [(context, self.targets[0]) for context in self.contexts]
        return [(self.context, target) for target in self.targets]


def solved(item):
    """An item followed by its right target: the text of a solved example."""
    return "".join(item.pairs[item.gold if len(item.pairs) > 1 else 0])


# Most prompts are a template filled with a record's fields: a dict's keys, or an example's attributes.
def choose(template, *choices):
    """record -> Item with the same choices for all; `gold`, or else `label`, is the index of the right one."""

    def item(record):
        fields = _fields(record)
        return Item(template.format(**fields), choices, _gold(fields))

    return item


def end(template):
    """record -> Item whose choices, from the record, end the template's text; both without stray spaces."""

    def item(record):
        fields = _fields(record)
        targets = tuple(f" {choice.strip()}" for choice in fields["choices"])
        return Item(template.format(**fields).rstrip(), targets, _gold(fields))

    return item


def write(template, key):
    """record -> Item answered by the record's `key`: a text, or several, of which the first is shown."""

    def item(record):
        fields = _fields(record)
        answers = (fields[key],) if isinstance(fields[key], str) else fields[key]
        return Item(template.format(**fields), (f" {answers[0]}",), answers=answers)

    return item


def _fields(record):
    return record if isinstance(record, dict) else record._asdict()


def _gold(fields):
    return fields["gold"] if "gold" in fields else fields["label"]


PROMPT_KINDS = ("choices", "cloze", "perplexity", "threshold", "generate")
NORMALISATIONS = ("sum", "tokens", "characters", "unconditional")


class Prompt(NamedTuple):
    """How a task is prompted and scored: what text is read, what is scored and how, and what is reported.

    Attributes:
      kind: one of PROMPT_KINDS. 'choices': the choice with the highest score, see `normalise`; 'cloze': the target's
        log-probability, and whether each of its tokens is the likeliest; 'perplexity': the target's log-probability
        per original unit; 'threshold': class 1 if the mean log-probability of the target's tokens is above a threshold,
        the best on the training examples by Matthews correlation; 'generate': a text is generated and compared with `answers`.
      item: record -> Item, by `choose`, `end` or `write` if a template suffices.
      metrics: keys of metrics.OF_ITEMS.
      shown: Item -> the text of a solved example.
      shows: record -> whether it may be a solved example.
      same: the same examples are drawn for all items.
      separator: between the examples, and between the last one and the item.
      description: appears once, before everything.
      normalise: for 'choices', what log P(target | context) is divided by: 'sum': nothing; 'tokens': the target's
        tokens (GPT-3, section 2.4); 'characters': its characters without the leading space; 'unconditional': minus
        log P(target | answer_context) (GPT-3, section 2.4).
      answer_context: for 'unconditional'; 'Answer:' or 'A:'.
      last_token: for 'cloze', score only the target's last token.
      unit: for 'perplexity', 'word', 'byte' or 'character', part of the metric's name (`fewshot.measure`).
      max_tokens, beams, length_penalty, top_k: for 'generate', the maximum number of tokens, and the decoding: beam
        search if `beams` is above 1, else sampling from the `top_k` likeliest; 1 is greedy.
      stop: for 'generate', stop strings; the text ends before the first one.
      finish: for 'generate', applied to the text before it is compared.
      stop_words: for 'generate', a text that is one of them is skipped for the next likeliest, see
        `fewshot.first_content_word`.
      baselines: for 'generate', name -> f(item, rng) -> a text that no model wrote, measured beside the score.
      confident: for 'generate', the share of the items, those with the likeliest texts, that is also measured by itself;
        0: none.
    """

    kind: str
    item: Callable
    metrics: tuple[str, ...] = ("accuracy",)
    shown: Callable = solved
    shows: Callable | None = None
    same: bool = False
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
    baselines: dict[str, Callable] = {}
    confident: float = 0.0


# ---- Questions: the same sets, each example a QA. Templates are filled as those of prompts.
def as_it_is(qa, labels):
    """The view of a row whose records are QAs."""
    del labels
    return qa


def answered(question, context, key):
    """The view of examples whose `key` has the correct answer, or several, of which none is 'unanswerable'."""

    def ask(example, labels):
        del labels
        fields = _fields(example)
        answers = (fields[key],) if isinstance(fields[key], str) else tuple(fields[key])
        return QA(
            question.format(**fields),
            context.format(**fields).strip(),
            answers or (UNANSWERABLE,),
            fields.get("id", ""),
        )

    return ask


def one_of(question, context="{text}", names=()):
    """The view of examples with a label, whose answer is its name; {labels} in the question lists all names.

    Args:
      question, context: templates.
      names: names of the labels in words; (): as they are, without underscores.
    """

    def ask(example, labels):
        fields = _fields(example)
        words = names or tuple(label.replace("_", " ") for label in labels)
        label = _gold(fields)
        return QA(question.format(labels=alternatives(words), **fields), context.format(**fields),
                  () if label < 0 else (words[label],), fields.get("id", ""))  # fmt: skip

    return ask


def pick(question, context="{text}", key="choices"):
    """The view of examples with choices of their own, in `key`, which the question lists after its own words."""

    def ask(example, labels):
        del labels
        fields = _fields(example)
        choices = tuple(choice.strip() for choice in fields[key])
        label = _gold(fields)
        return QA(f"{question.format(**fields).strip()} {alternatives(choices)}?", context.format(**fields).strip(),
                  () if label < 0 else (choices[label],), fields.get("id", ""))  # fmt: skip

    return ask


def alternatives(words):
    """'a or b'; 'a, b, or c', as decaNLP asks for MultiNLI's labels."""
    *first, last = words
    return f"{', '.join(first)}{',' if len(first) > 1 else ''} or {last}" if first else last


class QuestionView(NamedTuple):
    """How a task is asked in words, and what its answers are measured by.

    Attributes:
      ask: (what `example` yields, or `record` in a row without it; labels) -> a QA, or a LeftOut.
      metric: a key of metrics.OF_ANSWERS; in decaNLP, the task's part of the decaScore.
      also: further ones.
      cut: contexts that are too long are cut, not left out (decaNLP's util.py: CNN/DM and IMDb).
      heldout: the row's splits that together are 'heldout'.
    """

    ask: Callable
    metric: str
    also: tuple[str, ...] = ()
    cut: bool = False
    heldout: tuple[str, ...] = ("heldout",)


def entailed(*names):
    """The view of a premise and a hypothesis, as decaNLP asks (generic.py: MultiNLI, SNLI); `names` as in `one_of`."""
    return QuestionView(one_of('Hypothesis: "{text2}" -- {labels}?', 'Premise: "{text}"', names), "em")


# ---- The row
class Source(NamedTuple):
    """Where a task's records come from.

    Attributes:
      folder: the set's own files; '': TensorFlow Datasets in ROOT/tfds, or what the task generates itself.
      root, heldout, max_documents: as in a config's `data`; the last two determine which articles of the demo corpus
        a run was not trained on.
      fields: names of the keys in the files of task 'jsonl', as in a config's `task`.
    """

    folder: str = ""
    root: str = "data"
    heldout: float = 0.02
    max_documents: int = 0
    fields: tuple[str, ...] = ()


class Dataset(NamedTuple):
    """A published set: its own files, and the same data in TensorFlow Datasets.

    Splits are 'train', 'heldout' (the dev set, or whatever is usually reported), 'test' and any others of the set.

    Attributes:
      files: split -> its path in the folder, or several alternatives. 'training' is what a text that is scored as a whole
        has n-grams in common with; its `text` may be parts, an iterable of str.
      read: (path, split) -> yields (where, record). Records are as in TensorFlow Datasets, except that labels are
        names, and missing if unpublished. A LeftOut in place of a record is counted and reported.
      tfds: split -> 'NAME:SPLIT' in TensorFlow Datasets, several joined by +; {}: not available there.
      homepage: where the files come from.
    """

    files: dict
    read: Callable
    tfds: dict
    homepage: str


class Submission(NamedTuple):
    """The file that a benchmark's server accepts for a split.

    GLUE and SuperGLUE: their sites' FAQ, and where that leaves it open the writers of nyu-mll/jiant (evaluate.py),
    whose files the servers accepted.
    """

    file: str
    labels: tuple | None = None  # the server's class names, in the set's order; None: as in the set
    bounds: tuple | None = None  # scores are clipped to these
    format: str = ""  # a key of submissions.FORMATS; '': the file's suffix


class Task(NamedTuple):
    """A row of TASKS: everything about one task. With a `kind` it can be fine-tuned on, with `prompts` prompted, with a
    `question` asked in words.

    Attributes:
      data: a Dataset; or, for data without published files, f(Source) -> a Read or, if there are only prompts, 'train'
        and 'heldout' -> records.
      kind: one of KINDS; '': not fine-tuned on.
      labels: names of the classes or choices, in the order of TensorFlow Datasets; () if there are none.
      example: (record, where, labels) -> yields examples of the kind, or a LeftOut.
      score: metrics whose mean is the single number runs are compared by.
      also: further metrics.
      diagnostics: split -> its metrics, the first of which is its score, if they differ from the task's.
      submission: split -> Submission.
      unordered: whether a pair's two texts have no order (GPT-1, section 3.3; `double_unordered` in ELECTRA's release).
      record: (record, where) -> yields the prompts' records, or, in a row that is only asked, its QAs or a LeftOut; None:
        the examples.
      prompts: name -> Prompt; the name says where it comes from.
      shots: how many examples GPT-3's few-shot setting shows, the K of its Table H.1; 0: the task is not in it.
      question: its QuestionView; None: it is not asked in words.
    """

    data: Dataset | Callable
    kind: str = ""
    labels: tuple[str, ...] = ()
    example: Callable | None = None
    score: tuple[str, ...] = ("accuracy",)
    also: tuple[str, ...] = ()
    diagnostics: dict = {}
    submission: dict = {}
    unordered: bool = False
    record: Callable | None = None
    prompts: dict[str, Prompt] = {}
    shots: int = 0
    question: QuestionView | None = None
