"""A task's tokenised splits, and their rows at a given length: one store per kind of example.

`store.rows(vocabulary, length)` is the split as a model sees it: `len(rows)` rows; `rows(numbers)` with int64 [B] is a
dict of arrays (named in batches.py); `rows.sizes` [N] is the number of tokens each example would take, `rows.limit`
how many fit, and `rows.cut` how many examples are truncated.

GPT-1 (section 3.3) puts a start token before a text, a delimiter between two and an extract token at the end, whose
vector is read. [CLS] and both [SEP] play these roles, in its own tokenizer _start_, _delimiter_ and _classify_: a
causal trunk reads the last real token.
"""

import dataclasses
import functools
import hashlib
import itertools

import numpy as np

from ssl_jax.data.pairs import excess_tokens
from ssl_jax.data.rows import gather
from ssl_jax.errors import UserError, shown
from ssl_jax.tokenization.vocabulary import Vocabulary

BLOCK = 4096  # texts at a time: encodings are many times larger than ids


def _dtype(tokenizer):
    return np.uint16 if tokenizer.get_vocab_size() <= 1 << 16 else np.uint32


def encode(texts, tokenizer):
    """Tokens of all `texts` without special tokens, uint16 or uint32 [tokens]; each text's edges, int64 [N + 1]."""
    made, lengths = [np.zeros(0, _dtype(tokenizer))], [np.zeros(1, np.int64)]
    for first in range(0, len(texts), BLOCK):
        ids = [e.ids for e in tokenizer.encode_batch_fast(texts[first : first + BLOCK], add_special_tokens=False)]
        made.append(np.fromiter(itertools.chain.from_iterable(ids), made[0].dtype))
        lengths.append(np.fromiter(map(len, ids), np.int64))
    return np.concatenate(made), np.cumsum(np.concatenate(lengths))


def encode_with_offsets(texts, tokenizer):
    """As `encode`, and int32 [tokens, 2]: each token's character span in its text."""
    made, offsets, lengths = [np.zeros(0, _dtype(tokenizer))], [np.zeros((0, 2), np.int32)], [np.zeros(1, np.int64)]
    for first in range(0, len(texts), BLOCK):
        encodings = tokenizer.encode_batch(texts[first : first + BLOCK], add_special_tokens=False)
        made += [np.array(encoding.ids, made[0].dtype) for encoding in encodings]
        offsets += [np.array(encoding.offsets, np.int32).reshape(-1, 2) for encoding in encodings]
        lengths.append(np.array([len(encoding.ids) for encoding in encodings], np.int64))
    return np.concatenate(made), np.cumsum(np.concatenate(lengths)), np.concatenate(offsets)


class _Hashed:
    """A store is identified by its arrays, the attributes named in `arrays`."""

    arrays: tuple[str, ...]
    chance = None  # accuracy of always predicting the most frequent label, if examples have one
    notes = ()  # what a run reports about the split, besides counts
    places = ()  # where each example was read from, if from a file

    @property
    def contents(self):
        """The number of `examples`."""
        return {"examples": len(self)}

    def place(self, number):
        return self.places[number] if self.places else f"example {number}"

    @functools.cached_property
    def content_hash(self):
        """SHA-256 of the arrays, hexadecimal."""
        content = hashlib.sha256()
        for name in self.arrays:
            content.update(np.ascontiguousarray(getattr(self, name)).data)
        return content.hexdigest()


@dataclasses.dataclass(frozen=True, eq=False)
class _Rows:
    """A store as rows of a given length: one per example, unless the kind has more."""

    store: _Hashed
    vocabulary: Vocabulary
    length: int

    def __len__(self):
        return len(self.store)

    @property
    def limit(self):
        return self.length

    @property
    def cut(self):
        """Number of examples longer than the limit."""
        return int((self.sizes > self.limit).sum())


class _Labelled(_Hashed):
    @property
    def chance(self):
        if self.labels.dtype.kind != "i" or self.labels.min() < 0:
            return None
        return np.bincount(self.labels).max() / len(self)


class TaskStore(_Labelled):
    """One tokenised split of single texts or pairs, with classes or scores.

    Attributes:
      tokens: uint16 or uint32 [tokens], all texts, no special tokens.
      edges: int64 [2 N + 1]; example n is tokens[edges[2 n]:edges[2 n + 1]] and, from there to
        edges[2 n + 2], its second text, empty if missing.
      labels: int32 [N], float32 for regression.
      ids: the set's id of each example.
      orders: 2 if pairs are shown in both orders, else 1.
    """

    arrays = ("tokens", "edges", "labels")

    def __init__(self, examples, tokenizer, label_dtype=np.int32, orders=1, places=()):
        """Tokenises a list of Examples."""
        self.orders, self.places = orders, places
        self.tokens, self.edges = encode([text or "" for example in examples for text in example[:2]], tokenizer)
        self.labels = np.array([example.label for example in examples], label_dtype)
        self.ids = [example.id for example in examples]

    def __len__(self):
        return len(self.labels)

    def rows(self, vocabulary, length):
        return TextRows(self, vocabulary, length)


class TextRows(_Rows):
    """[CLS] text [SEP], cut at its end; or [CLS] text [SEP] second text [SEP], where tokens are removed one by one
    from the end of the longer text (BERT's run_classifier.py).

    With two orders, also a row of the same tokens with the second text before the first (GPT-1, section 3.3,
    similarity): [B, 2, L].
    """

    @functools.cached_property
    def sizes(self):
        edges = self.store.edges
        return edges[2::2] - edges[:-1:2] + _special(edges[2::2] - edges[1::2])

    def __call__(self, numbers):
        edges = self.store.edges
        first, second, end = (edges[2 * numbers + place] for place in range(3))
        spans = _cut_pairs(first, second, second, end, self.length)
        if self.store.orders == 1:
            made = gather(self.store.tokens, spans, self.vocabulary, self.length)
        else:
            both = np.stack([spans, spans[:, [2, 3, 0, 1]]], axis=1)
            made = _gather_several(self.store.tokens, both, self.vocabulary, self.length)
        return made | {"label": self.store.labels[numbers]}


def _gather_several(tokens, spans, vocabulary, length):
    """As `gather`, with several rows per example: spans [B, C, 4], arrays [B, C, L]."""
    made = gather(tokens, spans.reshape(-1, 4), vocabulary, length)
    return {name: x.reshape(*spans.shape[:2], length) for name, x in made.items()}


def _special(second_length):
    """The number of special tokens."""
    return np.where(second_length > 0, 3, 2)


def _cut_pairs(first, first_end, second, second_end, length):
    """Spans [N, 4] for `gather`: start and end of two texts, truncated as in run_classifier.py."""
    sizes = first_end - first, second_end - second
    first_cut, second_cut = excess_tokens(*sizes, length - _special(sizes[1]))
    return np.stack([first, first_end - first_cut, second, second_end - second_cut], axis=1)


def _cut_contexts(context, context_end, answer, answer_end, length):
    """Spans [N, 4] for `gather` that cut contexts on the left: the question is at the end.

    If both together are too long, an answer of more than half the room is cut at its end: in GPT-1's released code
    (train.py) half is a field's share.
    """
    sizes, room = (context_end - context, answer_end - answer), length - 3
    answer_size = np.minimum(sizes[1], np.maximum(room // 2, room - sizes[0]))
    context_size = np.minimum(sizes[0], room - answer_size)
    return np.stack([context_end - context_size, context_end, answer, answer + answer_size], axis=1)


class ChoiceStore(_Labelled):
    """One tokenised split of choices.

    Attributes:
      tokens: as TaskStore's.
      edges: int64 [N (C + 1) + 1]: each example's text and its C choices, in sequence.
      labels: int32 [N].
      inputs: 'bert': the question is part of the choices; 'gpt1': it is the end of the text.
    """

    arrays = ("tokens", "edges", "labels")

    def __init__(self, examples, tokenizer, choices, inputs="bert", places=()):
        """Tokenises a list of Choices, each with `choices` of them."""
        self.choices, self.inputs, self.places = choices, inputs, places
        texts = [text for example in examples for text in _context_and_choices(example, inputs)]
        self.tokens, self.edges = encode(texts, tokenizer)
        self.labels = np.array([example.label for example in examples], np.int32)

    def __len__(self):
        return len(self.labels)

    def rows(self, vocabulary, length):
        return ChoiceRows(self, vocabulary, length)


def _context_and_choices(example, inputs):
    if inputs != "gpt1" or not example.question:
        return example.text, *example.choices
    return f"{example.text} {example.question}", *example.answers


class ChoiceRows(_Rows):
    """[CLS] text [SEP] choice [SEP] for each choice: [B, C, L].

    With 'bert' inputs a question is part of each answer (BERT, section 4.4), and rows are cut like pairs. With 'gpt1'
    it follows the text (GPT-1, section 3.3), which is cut on the left if both do not fit.
    """

    @functools.cached_property
    def sizes(self):
        """Size of the text with its longest choice."""
        first, text_end, second, end = self._edges(np.arange(len(self)))
        return (text_end - first + end - second + _special(end - second)).max(-1)

    def _edges(self, numbers):
        """Start and end of text and choice, each [B, C]."""
        edges, choices = self.store.edges, self.store.choices
        text = (numbers * (choices + 1))[:, None] + np.zeros(choices, np.int64)
        choice = text + 1 + np.arange(choices)
        return edges[text], edges[text + 1], edges[choice], edges[choice + 1]

    def __call__(self, numbers):
        cut = _cut_contexts if self.store.inputs == "gpt1" else _cut_pairs
        spans = cut(*(x.reshape(-1) for x in self._edges(numbers)), self.length)
        spans = spans.reshape(len(numbers), -1, 4)
        made = _gather_several(self.store.tokens, spans, self.vocabulary, self.length)
        return made | {"label": self.store.labels[numbers]}


class SpanStore(_Hashed):
    """One tokenised split of questions about contexts; a context shared by several questions is stored once.

    Attributes:
      questions, question_edges: tokens of all questions; int64 [N + 1].
      contexts, context_edges, offsets: tokens of all contexts; int64 [M + 1]; int32 [tokens, 2], each token's
        character span in its context.
      context: int64 [N]: the context of each question.
      answers: int64 [N, 2]: the answer's first and last token in its context; -1 if there is none.
      ids, golds, texts: each question's id and the texts of all its answers; each context's text.
    """

    arrays = ("questions", "question_edges", "contexts", "context_edges", "context", "answers")

    def __init__(self, examples, tokenizer, stride, max_question, places=()):
        """Tokenises a list of Questions; stride and max_question: see SpanRows.

        Raises:
          UserError: an answer has no token.
        """
        self.stride, self.max_question, self.places = stride, max_question, places
        number = {}
        self.context = np.array([number.setdefault(one.context, len(number)) for one in examples], np.int64)
        self.ids, self.golds, self.texts = [one.id for one in examples], [one.answers for one in examples], list(number)
        self.questions, self.question_edges = encode([one.question.strip() for one in examples], tokenizer)
        self.contexts, self.context_edges, self.offsets = encode_with_offsets(self.texts, tokenizer)
        self.answers = np.full((len(examples), 2), -1, np.int64)
        for n, one in enumerate(examples):
            if one.start < 0:
                continue
            span = slice(*self.context_edges[self.context[n] :][:2])
            starts, ends = self.offsets[span].T
            inside = np.flatnonzero((ends > one.start) & (starts < one.end))
            if not len(inside):
                raise UserError(f"{self.place(n)}: the tokenizer makes no token of its answer {shown(one.answers[0])}")
            self.answers[n] = inside[0], inside[-1]

    def __len__(self):
        return len(self.ids)

    def rows(self, vocabulary, length):
        return SpanRows(self, vocabulary, length)


@dataclasses.dataclass(frozen=True, eq=False)  # again, for its __post_init__
class SpanRows(_Rows):
    """[CLS] question [SEP] window of the context [SEP] (BERT, section 4.2; run_squad.py).

    The question is cut at `max_question` tokens. A context that does not fit becomes several windows, each `stride`
    tokens after the previous one. `span` is the answer's position, 0 (at [CLS]) if the window lacks part of it or
    there is no answer (section 4.3). `impossible` says that there is none, equally in all windows of a question.
    """

    def __post_init__(self):
        if self.length < self.store.max_question + 4:
            raise UserError(
                f"phases.lengths has {self.length}: questions of task.max_question={self.store.max_question} tokens "
                "leave no room for a context"
            )
        self.windows

    @functools.cached_property
    def windows(self):
        """int64 [W, 4]: for each window its question, that question's number of tokens, its first token and the one
        after its last in the context. Windows of a question are adjacent."""
        store = self.store
        question = np.minimum(np.diff(store.question_edges), store.max_question)
        tokens = np.diff(store.context_edges)[store.context]
        room = self.length - 3 - question
        step = np.minimum(store.stride, room)
        count = 1 + np.maximum(-(-(tokens - room) // step), 0)
        number = np.repeat(np.arange(len(store)), count)
        start = (np.arange(len(number)) - np.repeat(np.cumsum(count) - count, count)) * step[number]
        end = np.minimum(start + room[number], tokens[number])
        return np.stack([number, question[number], start, end], axis=1)

    def __len__(self):
        return len(self.windows)

    @property
    def limit(self):
        return self.store.max_question

    @property
    def sizes(self):
        """Sizes of the questions: contexts are not cut, but spread over windows."""
        return np.diff(self.store.question_edges)

    def __call__(self, numbers):
        store = self.store
        question, size, start, end = self.windows[numbers].T
        column = np.arange(self.length)
        in_question = (column > 0) & (column <= size[:, None])
        place = column - (size[:, None] + 2)  # in the window
        in_context = (place >= 0) & (place < (end - start)[:, None])
        asked = _at(store.questions, store.question_edges[question][:, None] + column - 1)
        first = store.context_edges[store.context[question]] + start
        read = _at(store.contexts, first[:, None] + place)
        last = (size + 2 + end - start)[:, None]
        tokens = np.where(in_question, asked, np.where(in_context, read, self.vocabulary.filler)).astype(np.int32)
        tokens[(column == size[:, None] + 1) | (column == last)] = self.vocabulary.separator
        tokens[:, 0] = self.vocabulary.start
        mask = column <= last
        segments = (mask & (place >= 0)).astype(np.int32)
        answer = store.answers[question]
        whole = (answer[:, 0] >= start) & (answer[:, 1] < end)
        span = np.where(whole[:, None], answer - start[:, None] + size[:, None] + 2, 0).astype(np.int32)
        return dict(tokens=tokens, mask=mask, segments=segments, span=span, impossible=answer[:, 0] < 0)


def _at(tokens, places):
    """An array's values at these places; arbitrary where out of bounds."""
    return np.take(tokens, places, mode="clip") if len(tokens) else np.zeros(places.shape, tokens.dtype)


class WordStore(_Hashed):
    """One tokenised split of sentences with a label for each word.

    Words are joined by spaces, so they are tokenised like running text.

    Attributes:
      tokens: as TaskStore's.
      edges: int64 [N + 1].
      labels: int32 [tokens]: a word's label at its first token, -1 at its others (BERT, section 5.3).
      words, golds: each sentence's words, and the number of each one's label.
      first: for each sentence int64 [words], the index of each word's first token; -1 if it has none.
      lost: number of words that get no token.
      documents: the tokens of all documents, as `tokens`; () where rows have sentences alone.
      around: int64 [N, 4]: where in `documents` the sentence's document begins, the sentence begins and ends, and the
        document ends.
    """

    arrays = ("tokens", "edges", "labels")

    def __init__(self, examples, tokenizer, context="sentence", places=()):
        """Tokenises a list of Words; `context`: see WordRows.

        Raises:
          UserError: no documents are known.
        """
        self.places, self.documents = places, ()
        if context == "document":
            self._read_documents(examples, tokenizer)
            self.arrays = (*self.arrays, "documents", "around")
        texts = [" ".join(example.words) for example in examples]
        self.tokens, self.edges, offsets = encode_with_offsets(texts, tokenizer)
        self.labels = np.full(len(self.tokens), -1, np.int32)
        self.words, self.golds = [example.words for example in examples], [example.labels for example in examples]
        self.first = [np.full(len(example.words), -1) for example in examples]
        for n, example in enumerate(examples):
            span = slice(*self.edges[n : n + 2])
            ends = np.cumsum([len(word) + 1 for word in example.words]) - 1
            # The word that contains a token's last character; some tokens include the space before it.
            word = np.searchsorted(ends, offsets[span, 1])
            words, first = np.unique(word, return_index=True)
            self.labels[span.start + first] = np.array(example.labels, np.int32)[words]
            self.first[n][words] = first
        self.lost = sum(int((first < 0).sum()) for first in self.first)
        if self.lost:
            self.notes = (f"{self.lost:,} labels of words that the tokenizer makes no token of",)

    def _read_documents(self, examples, tokenizer):
        alone = next((n for n, example in enumerate(examples) if not example.document), None)
        if alone is not None:
            raise UserError(
                f"{self.place(alone)}: task.context=document, and no -DOCSTART- says where its document begins: read the "
                "set's own files with task.folder, or set task.context=sentence"
            )
        # The sentences of a document share one tuple.
        first, sentences = {}, []
        for example in examples:
            if id(example.document) not in first:
                first[id(example.document)] = len(sentences)
                sentences += [" ".join(words) for words in example.document]
        self.documents, edges = encode(sentences, tokenizer)
        starts = np.array([first[id(example.document)] for example in examples], np.int64)
        own = starts + [example.place for example in examples]
        ends = starts + [len(example.document) for example in examples]
        self.around = np.stack([edges[starts], edges[own], edges[own + 1], edges[ends]], axis=1)

    def __len__(self):
        return len(self.edges) - 1

    def rows(self, vocabulary, length):
        return WordRows(self, vocabulary, length)


class WordRows(_Rows):
    """[CLS] words [SEP], cut at the end, with `token_label`.

    With documents the rest of the row is filled with the tokens before and after the sentence in its document, equally
    many if there are so many, without labels (BERT, section 5.3: "the maximal document context").
    """

    @property
    def sizes(self):
        return np.diff(self.store.edges) + 2

    def before(self, numbers):
        """The number of tokens of the document before each sentence in its row, int64 [B]."""
        return self._spans(numbers)[1]

    def _spans(self, numbers):
        """Each sentence's number of tokens in its row, and those of its document before and after it."""
        size = np.minimum(np.diff(self.store.edges)[numbers], self.length - 2)
        if not len(self.store.documents):
            return size, np.zeros_like(size), np.zeros_like(size)
        first, start, end, last = self.store.around[numbers].T
        room = self.length - 2 - size
        before = np.minimum(start - first, np.maximum(room // 2, room - (last - end)))
        return size, before, np.minimum(last - end, room - before)

    def __call__(self, numbers):
        store, (size, before, after) = self.store, self._spans(numbers)
        start = store.edges[numbers]
        tokens, own = (store.documents, store.around[numbers, 1]) if len(store.documents) else (store.tokens, start)
        end = own + size + after
        made = gather(tokens, np.stack([own - before, end, end, end], axis=1), self.vocabulary, self.length)
        place = np.arange(self.length) - 1 - before[:, None]
        labels = _at(store.labels, start[:, None] + place)
        inside = (place >= 0) & (place < size[:, None])
        return made | {"token_label": np.where(inside, labels, -1).astype(np.int32)}
