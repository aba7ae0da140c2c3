"""Every task as questions (decaNLP): from questions, contexts and answers to batches, with a bounded set of shapes.

What a row is depends on what answers, which the loss says, see FORMS:

    answer   MQAN, from words: `tokens`, `mask` [B, C] are the context, `question`, `question_mask` [B, Q], and `answer`,
             `answer_mask` [B, A + 1] start, the answer, end. Words outside the vocabulary are V, V + 1, ... within an
             example, so that they can be copied
    clm      a causal trunk: question, context, 'A:', answer, end in one row of L tokens; `answered` [B, L] is True at the
             answer and the end, which alone are trained
    span     an encoder: [CLS] question [SEP] context [SEP]; `span` [B, 2], the first and the last token of the answer in the
             context, or else in the question, where classes stand

Also `index` [B], as in batches.py. Rows are padded to one of a few lengths, and a batch has about `questions.tokens` tokens:
rows x max(context, 5 x answer) for MQAN (util.py, batch_fn, of salesforce/decaNLP 043ab56), rows x length for the others. Every
shape is compiled once.
"""

import dataclasses
import functools
import hashlib
import itertools
import json
import re
from typing import Any, NamedTuple

import numpy as np
from tokenizers import models

from ssl_jax.data import vectors
from ssl_jax.data.mixture import Order, phases, probabilities
from ssl_jax.errors import UserError, check_choice
from ssl_jax.objectives import trained
from ssl_jax.options import BOOL, TEXT, WIDEST, option, several, whole

BLOCK = 4096  # examples that are tokenised at a time
ANSWER_COST = 5  # a word of an answer costs as many tokens of the budget: arguments.py and util.py


@dataclasses.dataclass(frozen=True)
class Questions:
    """Tasks as questions; read where data.examples is 'questions'."""

    BLOCK = "questions"

    tasks: tuple = option((), several(str), "tasks.ASKED, in the order of a round: squad,sst,woz_en")
    folders: tuple = option(
        (),
        several(str),
        "'squad=FOLDER', where a task's own files are; of others TensorFlow Datasets, in data.root/tfds",
    )
    lengths: tuple = option(
        (32, 64, 128, 256, 400),
        several(int, 8, WIDEST),
        "tokens of a context, or of a row, that rows are padded to; what is longer is left out, or cut (CNN/DM)",
    )
    question_lengths: tuple = option(
        (16, 32, 64, 128, 400),
        several(int, 1, WIDEST),
        "the same of questions, for losses.answer; longer ones are left out",
    )
    max_answer: int = option(50, whole(1, WIDEST), "tokens of an answer; examples with more are left out")
    keep_long: bool = option(
        False, BOOL, "True: held-out contexts that are too long are cut, and long answers kept, instead of left out"
    )
    tokens: int = option(9000, whole(1), "of a batch, an answer's counting five times for losses.answer")
    multiple: int = option(8, whole(1), "rows of a batch are a multiple of this; so is devices x run.accumulate")
    vectors: tuple = option(
        (), several(str), "files of word vectors, as GloVe's, that MQAN reads side by side; (): vectors are trained"
    )
    characters: str = option("", TEXT, "file of vectors of character n-grams, before those of words; '': none")
    max_heldout: int = option(
        0, whole(0), "use so many of a task's held-out examples, those of a dialogue together, chosen by a hash; 0: all"
    )


class Shape(NamedTuple):
    """Of a batch's rows: `length` tokens, for losses.answer also `question` tokens and an `answer` with its start."""

    length: int
    question: int = 0
    answer: int = 0


class Words:
    """Words of texts and back: ids of a tokenizer, and of an example's words that it does not know."""

    def __init__(self, tokenizer, vocabulary, copies):
        """`copies`: whether words that are not known are numbered."""
        self.tokenizer, self.size = tokenizer, vocabulary.size
        self.unknown = vocabulary.unknown if copies else None

    def encode(self, examples):
        """Yields for each example, a list of texts, the ids of each text and the unknown words, from id `size` on."""
        for first in range(0, len(examples), BLOCK):
            block = examples[first : first + BLOCK]
            texts = [text for example in block for text in example]
            encoded = iter(self.tokenizer.encode_batch_fast(texts, add_special_tokens=False))
            for example in block:
                yield self._numbered(example, [next(encoded).ids for _ in example])

    def _numbered(self, texts, encoded):
        numbers = {}
        for text, ids in zip(texts, encoded, strict=True):
            if self.unknown is None or self.unknown not in ids:
                continue
            for place, word in enumerate(self.split(text)):
                if ids[place] == self.unknown:
                    ids[place] = numbers.setdefault(word, self.size + len(numbers))
        return encoded, list(numbers)

    def split(self, text):
        """The pieces that a word tokenizer looks up."""
        normal = self.tokenizer.normalizer.normalize_str(text)
        return [piece for piece, _ in self.tokenizer.pre_tokenizer.pre_tokenize_str(normal)]

    def decode(self, ids, unknown):
        """The text of ids, some of which may be of `unknown` words."""
        if max(ids, default=0) < self.size:
            return self.tokenizer.decode(ids, skip_special_tokens=False)
        pieces = [self.tokenizer.id_to_token(n) if n < self.size else unknown[n - self.size] for n in ids]
        return self.tokenizer.decoder.decode(pieces)


class Store:
    """One split of one task, tokenised.

    Attributes:
      qas: the examples that are kept, a list of `tasks.QA`.
      tokens, edges: uint32 [tokens], and int64 [3 N + 1]: of each example the context, the question, the answer.
      shapes, shape: list of `Shape`; int16 [N], which of them an example has.
      unknown: example -> its words outside the vocabulary, from id `vocabulary.size` on.
      spans: int32 [N, 2], for the form that reads them.
      notes: what was left out, or cut.
    """

    def __init__(self, qas, form, keep_long=False, cut=False):
        """Tokenises `qas` for a form of FORMS; `keep_long`, `cut`: see `questions.keep_long` and `tasks.QuestionView`."""
        self.qas, self.unknown, self.notes, left_out, shortened = [], {}, [], {}, 0
        tokens, lengths, spans, shapes, numbers = [], [], [], {}, []
        for qa, (parts, unknown) in zip(qas, form.words.encode(list(map(form.texts, qas))), strict=True):
            if keep_long:  # it is not trained on
                parts[2] = parts[2][: form.longest]
            room = form.room(parts)
            long = 0 < room < len(parts[0]) and (cut or keep_long)
            if long:
                parts[0] = parts[0][:room]
            unanswered = not keep_long and not (*qa.answers, "")[0].strip()
            reason = "without an answer" if unanswered else form.refuses(parts)
            span = None if reason else form.find(qa, parts)
            if span is None:
                reason = reason or "with an answer that is neither in the context nor in the question"
                left_out[reason] = left_out.get(reason, 0) + 1
                continue
            shortened += long
            if unknown:
                self.unknown[len(self.qas)] = unknown
            self.qas.append(qa)
            spans.append(span)
            numbers.append(shapes.setdefault(form.shape(parts), len(shapes)))
            tokens += parts
            lengths += map(len, parts)
        self.tokens = np.fromiter(itertools.chain.from_iterable(tokens), np.uint32)
        self.edges = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.array(lengths, np.int64))])
        self.shapes, self.shape = list(shapes), np.array(numbers, np.int16)
        self.spans = np.array(spans, np.int32).reshape(-1, 2)
        if shortened:
            self.notes.append(f"{shortened:,} contexts cut")
        self.notes += [f"left out: {count:,} {reason}" for reason, count in sorted(left_out.items())]

    def __len__(self):
        return len(self.qas)

    @functools.cached_property
    def content_hash(self):
        """SHA-256 of the examples as they are read, hexadecimal."""
        content = hashlib.sha256()
        for array in (self.tokens, self.edges, self.spans, self.shape):
            content.update(np.ascontiguousarray(array).data)
        return content.hexdigest()

    def ids(self, number, part):
        """Part 0, 1 or 2 of an example, the context, the question or the answer: ids, a list."""
        start, end = self.edges[3 * number + part :][:2]
        return self.tokens[start:end].tolist()

    def part(self, numbers, part, length):
        """Part 0, 1 or 2 of examples [B]: ids int32 [B, length], 0 behind the end, and mask."""
        first = self.edges[3 * numbers + part]
        mask = np.arange(length) < (self.edges[3 * numbers + part + 1] - first)[:, None]
        place = np.where(mask, first[:, None] + np.arange(length), 0)
        return np.where(mask, self.tokens[place], 0).astype(np.int32), mask


class _Form:
    """What a row is; `parts` are the ids of an example's context, question and answer, three lists."""

    loss = ""
    around = 0  # tokens of a row besides context, question and answer
    copies = False  # whether words outside the vocabulary have ids of their own

    def __init__(self, options, tokenizer, vocabulary):
        """`options`: a config's `questions` block."""
        self.options, self.vocabulary = options, vocabulary
        self.words = Words(tokenizer, vocabulary, self.copies)
        self.most, self.longest = max(options.lengths), options.max_answer

    def texts(self, qa):
        """The texts of the parts."""
        return [qa.context, qa.question, (*qa.answers, "")[0]]

    def room(self, parts):
        """How many tokens of context a row holds."""
        return self.most - len(parts[1]) - self.around

    def refuses(self, parts):
        """Why an example is left out, '' if it is not."""
        context, _, answer = parts
        if len(context) > self.room(parts):
            return f"of more than {self.most} tokens"
        if len(answer) > self.longest:
            return f"with an answer of more than {self.longest} tokens"
        return ""

    def find(self, qa, parts):
        """The span that is trained: (first, last); None where there is none. Only `Chosen` has one."""
        del qa, parts
        return 0, 0

    def shape(self, parts):
        """The `Shape` of an example's row."""
        return Shape(_least(self.options.lengths, sum(map(len, parts)) + self.around))

    def rows(self, store, numbers, shape):
        """The arrays of examples [B] of a store, which have this shape."""
        raise NotImplementedError


class Pointer(_Form):
    """Rows of MQAN."""

    loss = "answer"
    copies = True

    def __init__(self, options, tokenizer, vocabulary):
        super().__init__(options, tokenizer, vocabulary)
        self.longest = longest_answer(options, self.most)

    def room(self, parts):
        return self.most

    def refuses(self, parts):
        context, question, _ = parts
        if not context or not question:
            return "without a context or a question"
        if len(question) > max(self.options.question_lengths):
            return f"with a question of more than {max(self.options.question_lengths)} tokens"
        return super().refuses(parts)

    def shape(self, parts):
        context, question, answer = map(len, parts)
        # The room of an answer follows from the length: as many words as cost that much.
        length = _least(self.options.lengths, max(context, ANSWER_COST * answer))
        words = longest_answer(self.options, length)
        return Shape(length, _least(self.options.question_lengths, question), words + 2)

    def rows(self, store, numbers, shape):
        tokens, mask = store.part(numbers, 0, shape.length)
        question, question_mask = store.part(numbers, 1, shape.question)
        words, real = store.part(numbers, 2, shape.answer - 2)
        answer, size = np.zeros((len(numbers), shape.answer), np.int32), real.sum(1)
        answer[:, 0], answer[:, 1:-1] = self.vocabulary.start, words
        answer[np.arange(len(numbers)), size + 1] = self.vocabulary.separator
        answer_mask = np.arange(shape.answer) < size[:, None] + 2
        return dict(
            tokens=tokens,
            mask=mask,
            question=question,
            question_mask=question_mask,
            answer=answer,
            answer_mask=answer_mask,
        )


class Written(_Form):
    """Rows of a causal trunk: question, line break, context, line break, 'A:', answer, end."""

    loss = "clm"

    def __init__(self, options, tokenizer, vocabulary):
        super().__init__(options, tokenizer, vocabulary)
        self.lead = tokenizer.encode("\nA:", add_special_tokens=False).ids
        self.around = len(self.lead) + 1

    def texts(self, qa):
        context, question, answer = super().texts(qa)
        return [context, f"{question}\n", f" {answer}"]

    def room(self, parts):
        return super().room(parts) - len(parts[2])

    def prompt(self, store, number):
        """The tokens of an example before its answer, a list."""
        return [*store.ids(number, 1), *store.ids(number, 0), *self.lead]

    def rows(self, store, numbers, shape):
        tokens = np.full((len(numbers), shape.length), self.vocabulary.filler, np.int32)
        mask, answered = np.zeros(tokens.shape, bool), np.zeros(tokens.shape, bool)
        for row, number in enumerate(numbers.tolist()):
            read = self.prompt(store, number)
            text = [*read, *store.ids(number, 2), self.vocabulary.ends[0]]
            tokens[row, : len(text)], mask[row, : len(text)], answered[row, len(read) : len(text)] = text, True, True
        return dict(tokens=tokens, mask=mask, segments=np.zeros_like(tokens), answered=answered)


class Chosen(_Form):
    """Rows of an encoder that points at the answer: [CLS] question [SEP] context [SEP]."""

    loss = "span"
    around = 3

    def shape(self, parts):
        return super().shape([*parts[:2], []])

    def find(self, qa, parts):
        """The answer's place in the context, or else in the question, whose last words are the classes."""
        if not qa.answers:
            return 0, 0
        answer = re.escape(qa.answers[0].strip())
        # Whole words; as they are written, before any other case.
        patterns = [re.compile(rf"(?<!\w){answer}(?!\w)", case) for case in (re.NOFLAG, re.IGNORECASE)]
        places = (qa.context, 0, len(parts[1]) + 2, len(parts[0])), (qa.question, -1, 1, len(parts[1]))
        for text, which, first, size in places:
            found = next((spans for pattern in patterns if (spans := [*pattern.finditer(text)])), ())
            if not found:
                continue
            start, end = found[which].span()
            offsets = self.words.tokenizer.encode(text, add_special_tokens=False).offsets[:size]
            inside = [n for n, (a, b) in enumerate(offsets) if b > start and a < end]
            if inside and offsets[inside[-1]][1] >= end:  # not where the context was cut
                return first + inside[0], first + inside[-1]
        return None

    def text(self, qa, first, last, asked):
        """A span of a row as it is written in its text; `asked`: how many tokens the question has."""
        text, before = (qa.question, 1) if first <= asked else (qa.context, asked + 2)
        offsets = self.words.tokenizer.encode(text, add_special_tokens=False).offsets
        return text[offsets[first - before][0] : offsets[last - before][1]]

    def rows(self, store, numbers, shape):
        (question, asked), (context, real) = (store.part(numbers, part, shape.length) for part in (1, 0))
        column, first = np.arange(shape.length), asked.sum(1)[:, None] + 1
        last = first + real.sum(1)[:, None] + 1
        in_context, mask = column > first, column <= last
        shifted = np.take_along_axis(context, (column - first - 1).clip(0), 1)
        tokens = np.where(in_context, shifted, question[:, (column - 1).clip(0)])
        tokens[:, 0] = self.vocabulary.start
        tokens[column == first], tokens[column == last] = self.vocabulary.separator, self.vocabulary.extract
        tokens[~mask] = self.vocabulary.filler
        segments = (in_context & mask).astype(np.int32)
        impossible = np.zeros(len(numbers), bool)
        return dict(tokens=tokens, mask=mask, segments=segments, span=store.spans[numbers], impossible=impossible)


def longest_answer(options, length):
    """The most words of an answer in MQAN's rows of a length: as many as cost that much."""
    return min(options.max_answer, max(1, length // ANSWER_COST))


def _least(lengths, size):
    return min((length for length in lengths if length >= size), default=max(lengths))


# The loss that is trained -> what rows are.
FORMS = {form.loss: form for form in (Pointer, Written, Chosen)}


class Split(dict):
    """task -> Store of one split, in the order of `questions.tasks`, all of the same `form`."""

    def __init__(self, form, stores):
        super().__init__(stores)
        self.form = form

    @property
    def contents(self):
        """task -> number of examples."""
        return {name: len(store) for name, store in self.items()}

    @property
    def content_hash(self):
        """SHA-256 of all tasks' examples, hexadecimal."""
        hashes = [(name, store.content_hash) for name, store in self.items()]
        return hashlib.sha256(json.dumps(hashes).encode()).hexdigest()

    def report(self, split):
        """Lines on what was left out of each task, or cut."""
        return [f"{split}, {name}: {len(store):,} examples, {', '.join(store.notes)}" for name, store in self.items()
                if store.notes]  # fmt: skip


def most_rows(options):
    """The most rows that a batch has: those of the shortest length."""
    return rows_of(options, min(options.lengths))


def rows_of(options, length):
    """The rows of a batch of this length, a multiple of `questions.multiple`."""
    return max(1, options.tokens // length // options.multiple) * options.multiple


class Cut(NamedTuple):
    """What is in a batch: its shape, its rows, and the examples [N] that fill the first N of them."""

    shape: Shape
    rows: int
    numbers: np.ndarray


def cut(store, options, numbers):
    """The batches of examples `numbers` [N] of a store, in their order within each shape: a list of Cut."""
    made = []
    for place, shape in enumerate(store.shapes):
        own = numbers[store.shape[numbers] == place]
        most = rows_of(options, shape.length)
        count = -(-len(own) // most)
        for part in range(count):
            taken = own[part * len(own) // count : (part + 1) * len(own) // count]
            rows = most
            while rows // 2 >= len(taken) and rows % (2 * options.multiple) == 0:  # few shapes, little padding
                rows //= 2
            made.append(Cut(shape, rows, taken))
    return made


def evaluation_cuts(store, options):
    """As `cut`, of all examples in their order."""
    return cut(store, options, np.arange(len(store)))


def one_batch(store, form, cut, first=0, part=slice(None)):
    """The batch of a Cut; `first`: the number of its first row; `part`: which of its rows."""
    _, rows, numbers = cut
    padded = np.full(rows, numbers[0])  # of the same shape; the rest is blanked below
    padded[: len(numbers)] = numbers
    real = (np.arange(rows) < len(numbers))[part]
    batch = form.rows(store, padded[part], cut.shape)
    for name, x in batch.items():
        x[~real] = form.vocabulary.filler if name == "tokens" else 0
    index = (first + np.arange(rows)[part]).astype(np.int32)
    return batch | {"pair": np.zeros(len(index), np.int32), "index": index}


def _of_host(store, form, cut, step, rows, batch_size):
    """A host's part of a step's batch, as large as its slice `rows` is of `batch_size` rows."""
    first, last, _ = rows.indices(batch_size)
    part = slice(first * cut.rows // batch_size, last * cut.rows // batch_size)
    return one_batch(store, form, cut, step * most_rows(form.options), part)


@dataclasses.dataclass(frozen=True, eq=False)
class QuestionBatches:
    """Shuffled batches for training: of one task each, whose turn it is by the mixture; every task epoch after epoch.

    Attributes:
      split: a Split.
      mixture: a config's block.
      steps, seed: of the run.
      batch_size: the rows that hosts' slices are of.
    """

    split: Split
    mixture: Any
    steps: int
    seed: int
    batch_size: int

    def __post_init__(self):
        self.order  # raise errors now, not in a background thread

    @functools.cached_property
    def order(self):
        sizes = [len(store) for store in self.split.values()]
        return Order(tuple(self.split), sizes, self.mixture, self.steps, self.seed)

    @functools.cached_property
    def _epochs(self):
        # Of some tasks at once, as in a round robin, and of two epochs where threads are around the border of one.
        return functools.lru_cache(2 * len(self.split) + 2)(self._epoch)

    def _epoch(self, task, epoch):
        """The batches of an epoch of a task, in their order."""
        store, draw = self.split[task], np.random.default_rng([self.seed, [*self.split].index(task), epoch])
        batches = cut(store, self.split.form.options, draw.permutation(len(store)))
        return [batches[n] for n in draw.permutation(len(batches))]

    @functools.cached_property
    def _counts(self):
        return {task: len(evaluation_cuts(store, self.split.form.options)) for task, store in self.split.items()}

    def __call__(self, step, rows=slice(None)):
        """The batch of a step; `rows`, a slice of `batch_size`, selects a host's part of it."""
        task = [*self.split][self.order.source[step]]
        epoch, number = divmod(int(self.order.number[step]), self._counts[task])
        taken = self._epochs(task, epoch)[number]
        return _of_host(self.split[task], self.split.form, taken, step, rows, self.batch_size)


@dataclasses.dataclass(frozen=True, eq=False)
class QuestionEvaluation:
    """Each example of a split once; `batch(step)` for step 0 to `steps` - 1. Attributes as above."""

    split: Split
    batch_size: int

    @functools.cached_property
    def cuts(self):
        """List of (task, Cut), a batch of each task in turn, so that the first few are of all tasks."""
        options = self.split.form.options
        of_tasks = ([(task, taken) for taken in evaluation_cuts(store, options)] for task, store in self.split.items())
        return [one for turn in itertools.zip_longest(*of_tasks) for one in turn if one]

    @property
    def steps(self):
        return len(self.cuts)

    def __call__(self, step, rows=slice(None)):
        """The batch of a step; `rows`, a slice of `batch_size`, selects a host's part of it."""
        task, taken = self.cuts[step]
        return _of_host(self.split[task], self.split.form, taken, step, rows, self.batch_size)


def form_of(config):
    """The form of FORMS of a config's rows: a class.

    Raises:
      UserError: none of its losses, or more than one, reads questions; the model is not of this form.
    """
    losses = [*trained(config)]
    if len(losses) != 1 or losses[0] not in FORMS:
        raise UserError(
            f"data.examples=questions needs one loss of {', '.join(FORMS)}, and losses has {', '.join(losses) or 'none'}"
        )
    return FORMS[losses[0]]


def settle(config):
    """Sets, in a config of questions, what its `questions` decide: batch size, length, and the width of word vectors."""
    options = config.questions
    for name in ("lengths", "question_lengths"):
        if not options[name]:
            raise UserError(f"questions.{name} needs a length")
    config.batch_size = rows_of(options, max(options.lengths))  # shorter rows are more
    config.phases.lengths, config.phases.shares = (max(options.lengths),), (1.0,)
    if options.vectors or options.characters:
        config.mqan.vector_size = vectors.width(options.vectors, options.characters)
    else:
        config.mqan.vectors_frozen = False


def word_vectors(config, tokenizer):
    """The table of a vocabulary's word vectors, float32 [V, D]; None where there are no files.

    Raises:
      UserError: see `vectors.table`.
    """
    options = config.questions
    if not options.vectors and not options.characters:
        return None
    words = [tokenizer.id_to_token(number).replace("\u2581", " ") for number in range(tokenizer.get_vocab_size())]
    return vectors.table(words, options.vectors, options.characters, cache=config.data.root)


def check(config):
    """Raises UserError unless a config's questions, mixture and model fit together; reads no data."""
    options, form = config.questions, form_of(config)
    if not options.tasks:
        raise UserError("data.examples=questions: name the tasks, as in questions.tasks=squad,sst")
    if len({*options.tasks}) < len(options.tasks):
        raise UserError(
            f"questions.tasks={tuple(options.tasks)}: each task once; mixture.weights says how often it comes"
        )
    folders_of(options)
    probabilities([1] * len(options.tasks), config.mixture)
    phases(tuple(options.tasks), config.mixture.schedule, config.steps)
    if options.tokens < options.multiple * max(options.lengths):
        raise UserError(
            f"questions.tokens={options.tokens:,} has no room for questions.multiple={options.multiple} rows of "
            f"{max(options.lengths)} tokens, the longest of questions.lengths"
        )
    if form is not Pointer and (options.vectors or options.characters):
        raise UserError("questions.vectors and questions.characters are MQAN's: set losses.answer, or leave them out")
    if config.init.run and (options.vectors or options.characters):
        raise UserError(
            "init.run has the word vectors of its run: leave questions.vectors and questions.characters out"
        )
    if config.mqan.cove:
        raise UserError("mqan.cove: batches have no context vectors; from Python the model takes them (models/mqan.py)")
    if (form is Pointer) != (config.model.network == "mqan"):
        raise UserError("losses.answer and model.network=mqan go together: set both, or losses.clm or losses.span")
    if form is Pointer and (config.data.tokenizer.kind != "words" and not config.data.tokenizer.path):
        raise UserError("losses.answer copies words: set data.tokenizer.kind=words")
    if config.seeds > 1 or config.members:
        if config.run.together:
            raise UserError("batches of questions differ in shape from seed to seed: set run.together=False")


def check_vocabulary(form, tokenizer):
    """Raises UserError unless a form's answers can be written with a tokenizer: MQAN's are words behind four with a role."""
    roles = (form.vocabulary.pad, form.vocabulary.unknown, form.vocabulary.start, form.vocabulary.separator)
    if isinstance(form, Pointer) and (not isinstance(tokenizer.model, models.WordLevel) or roles != (0, 1, 2, 3)):
        raise UserError(
            "data.tokenizer.path: losses.answer copies words, and needs a tokenizer of data.tokenizer.kind=words"
        )
    if isinstance(form, Written) and not form.vocabulary.ends:
        raise UserError("the tokenizer has no token that ends a text, as answers do: use data.tokenizer.kind=byte_bpe")


def folders_of(options):
    """task -> folder, of a block with `tasks` and `folders`.

    Raises:
      UserError: an entry is malformed, or names no task of `questions.tasks`.
    """
    found = {}
    for entry in options.folders:
        name, equals, folder = entry.partition("=")
        if not equals or not folder:
            raise UserError(f"folders of questions: {entry!r} is not of the form TASK=FOLDER, as in squad=data/squad")
        check_choice(name, options.tasks, "task in folders of questions")
        found[name] = folder
    return found
