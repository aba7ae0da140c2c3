"""TinyBERT's data augmentation: copies of a task's examples with some words replaced (Jiao et al. 2019, Algorithm 1).

In each of N_a copies of a sentence, each word in turn is replaced with probability p_t by one of K candidates, drawn
uniformly. The candidates for a single-piece word are a masked language model's K likeliest words in its place; for a
multi-piece word, its K nearest neighbours among word vectors, by cosine.

    paper      Algorithm 1. The masked sentence is the copy so far, x_m: a prediction sees earlier replacements
               (line 7). As printed, a masked word that is not replaced would stay [MASK] (lines 6, 12); here it
               is restored. Draws come first and only replaced words are predicted, so a word costs p_t N_a
               passes of the model, 8 with the paper's numbers. The K likeliest are whole words.
    release    data_augmentation.py of huawei-noah/Pretrained-Language-Model/TinyBERT. Stop words and words with
               letters other than a to z stay. The masked sentence is the original, followed by itself unmasked as
               a pair's second sentence: one pass per word, for any N_a. Of the K likeliest pieces, those that are
               not whole words are dropped, so there may be fewer. Its N_a is 30 for CoLA, MRPC, RTE and
               STS-B, 20 for SST-2 and QNLI, 10 for MNLI and QQP.

In both, following the release where the paper is silent: a word may be replaced by itself if the model predicts it;
the original comes first, unchanged, and a copy that equals it or an earlier one is dropped.

The paper does not say how pairs are handled. Here both sentences of copy c are augmented, each from its own original
and read by itself. The release augments the first sentences next to the original second one, and then the second
sentences next to the last augmented first one, because it overwrites the row that it reads from.

Words and pieces are the masked model's: words are normalised as by its tokenizer (lower case, if uncased), split at
spaces and, for BERT, at punctuation; with BERT's tokenizer, unknown characters are one piece. The copies keep the
text's white space, with runs collapsed to one space; a space is added where a new word would merge with its
neighbour. A sentence longer than the model's training length is seen through a window around the masked word (the
release leaves the words beyond unchanged).

Each example's random numbers are keyed by (seed, its number). Only the last bits of the model's outputs depend on
batch sizes or the number of devices. All local devices share the model's work; one process does the rest, which took
3 % of the time with the demo's model on two cores (42 microseconds a prediction), 7 % in `release`.
"""

import collections
import dataclasses
import itertools
import re
import time
import unicodedata
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ssl_jax import files
from ssl_jax.errors import UserError, check_choice, cut, shown

VARIANTS = ("paper", "release")
# Examples processed together, and tokens (padding included) per forward pass.
BLOCK = 512
TOKENS = 16_384
SHORTEST = 32  # rows are padded to this many tokens, or 2, 4, ... times as many: one program each
SPACE = "\u2581"  # how Unigram tokenizers write a space

# The release's: NLTK's English list without question words. Those with an apostrophe are never words here.
STOP_WORDS = frozenset(
    """a about above after again against ain all am an and any are aren as at be because been before being below
    between both but by can couldn d did didn do does doesn doing don down during each few for from further had hadn
    has hasn have haven having he her here hers herself him himself his i if in into is isn it its itself just ll
    m ma me mightn more most mustn my myself needn no nor not now o of off on once only or other our ours ourselves
    out over own re s same shan she should shouldn so some such t than that the their theirs them themselves then
    there these they this those through to too under until up ve very was wasn we were weren while will with won
    wouldn y you your yours yourself yourselves""".split()
)


@dataclasses.dataclass
class Counts:
    """Counts of what happened to the words; complete once `augment` is exhausted."""

    examples: int = 0
    examples_out: int = 0
    duplicates: int = 0  # copies dropped
    words: int = 0  # in the originals, as are the next four
    exempt: int = 0  # stop words and the like, never replaced by 'release'
    single_piece: int = 0
    several_pieces: int = 0
    without_vector: int = 0  # of the multi-piece words
    copied: int = 0  # words in all copies
    replaced: int = 0  # of those
    windows: int = 0  # predictions from part of a sentence
    seconds: float = 0.0

    def lines(self):
        """One line of text per count."""
        share = 100 * self.replaced / max(1, self.copied)
        return [
            f"examples in        {self.examples:,}",
            f"examples out       {self.examples_out:,}",
            f"duplicates dropped {self.duplicates:,}",
            f"words              {self.words:,}",
            f"  left alone       {self.exempt:,} (stop words and what is not of letters, in 'release')",
            f"  of one piece     {self.single_piece:,}",
            f"  of several       {self.several_pieces:,}, {self.without_vector:,} of them without a vector: they stay",
            f"replaced           {self.replaced:,}, {share:.1f}% of the copies' words",
            f"seen in a window   {self.windows:,} predictions, in sentences too long for the model",
            f"seconds            {self.seconds:.1f}",
        ]


class WordVectors:
    """Words and their directions, for nearest neighbours by cosine.

    Attributes:
      words: list of N str.
      directions: float32 [N, D], vectors of length 1.
      number: word -> row.
    """

    def __init__(self, words, vectors):
        """Takes N distinct words and their vectors [N, D]; zero vectors, which have no direction, are dropped."""
        vectors = np.asarray(vectors, np.float32)
        norms = np.linalg.norm(vectors, axis=1)
        self.words = [word for word, norm in zip(words, norms, strict=True) if norm]
        self.directions = vectors[norms > 0] / norms[norms > 0, None]
        self.number = {word: number for number, word in enumerate(self.words)}

    def neighbours(self, words, count, block=64):
        """Each word's `count` nearest neighbours, nearest first, without itself; none for a word without a vector.

        Ties go to the first in the file.

        Returns:
          A list of lists of str, one per word.
        """
        count = min(count, len(self.words) - 1)
        found = [[] for _ in words]
        known = [place for place, word in enumerate(words) if word in self.number]
        for places in _batched(known, block):
            rows = [self.number[words[place]] for place in places]
            cosines = self.directions[rows] @ self.directions.T
            cosines[np.arange(len(rows)), rows] = -np.inf
            for place, row in zip(places, cosines, strict=True):
                least = np.partition(row, len(row) - count)[len(row) - count] if count else np.inf
                nearest = np.flatnonzero(row >= least)
                nearest = nearest[np.argsort(-row[nearest], kind="stable")][:count]
                found[place] = [self.words[number] for number in nearest]
        return found


def read_vectors(path, most=100_000):
    """Reads word vectors in GloVe's text format: on each line a word and its D numbers, separated by single spaces.

    Args:
      path: the file, UTF-8.
      most: read only the first `most` words, the most frequent ones (default: the release's number); 0: all.

    Returns:
      WordVectors. For a repeated word, the first vector is used.

    Raises:
      UserError: the file is missing or empty, or a line (named) is not UTF-8, has no word, a different width from the
        first one, or a value that is not a finite number.
    """
    rows = {}
    width = None
    for number, line in itertools.islice(files.read_lines(path), most or None):
        width = width or max(1, len(line.split(" ")) - 1)
        word, vector = _read_vector(f"{path}, line {number}", line, width)
        rows.setdefault(word, vector)
    if not rows:
        raise UserError(f"{path} is empty: it should have a word and its vector on each line, as GloVe's files do")
    return WordVectors(list(rows), np.stack(list(rows.values())))


def _read_vector(where, line, width):
    fields = line.split(" ")
    # Some of GloVe's words contain spaces: '. . .'. A number after such a space belongs to a longer vector.
    word, numbers = " ".join(fields[:-width]), fields[-width:]
    if not word or re.search(r" [-+]?\.?\d\S*$", word):
        raise UserError(f"{where}: a word and {width} numbers, as on the first line, should be here, not {shown(line)}")
    try:
        vector = np.array(numbers, np.float32)
    except ValueError as error:
        raise UserError(f"{where}: not a vector of numbers ({cut(str(error))})") from error
    if not np.isfinite(vector).all():
        raise UserError(f"{where}: the vector of {shown(word)} has a number that is not finite")
    return word, vector


class Sentence(NamedTuple):
    """A text split into words: `gaps` (str) before them, the `words` themselves, and their `pieces` (lists of ids)."""

    gaps: list[str]
    words: list[str]
    pieces: list[list[int]]


def split_words(run, text):
    """The Sentence of a text, as the run's tokenizer sees it.

    A word begins at a word-initial piece, and before and after punctuation.
    """
    tokenizer, starts_word = run.tokenizer, run.vocabulary.starts_word
    if tokenizer.normalizer is not None:
        text = tokenizer.normalizer.normalize_str(text)
    text = " ".join(text.split())
    encoding = tokenizer.encode(text, add_special_tokens=False)
    spans, pieces = [], []
    lone_space = after_mark = False
    for token, name, (start, end) in zip(encoding.ids, encoding.tokens, encoding.offsets, strict=True):
        mark = not any(map(_in_words, text[start:end]))
        if lone_space:  # it belongs to the word that begins here
            spans[-1] = (start, end)
            pieces[-1].append(token)
        elif not pieces or starts_word[token] or mark or after_mark:
            spans.append((start, end))
            pieces.append([token])
        else:
            spans[-1] = (spans[-1][0], end)
            pieces[-1].append(token)
        lone_space, after_mark = name == SPACE, mark
    words = [text[start:end].lstrip() for start, end in spans]
    starts = [end - len(word) for word, (_, end) in zip(words, spans, strict=True)]
    gaps = [text[end:start] for (_, end), start in zip([(0, 0), *spans], starts)]
    return Sentence(gaps, words, pieces)


def join_words(sentence, words):
    """The text of a Sentence with these `words` in place of its own."""
    text = ""
    for gap, old, word, before in zip(sentence.gaps, sentence.words, words, [("", ""), *zip(sentence.words, words)]):
        changed = old != word or before[0] != before[1]
        grown = changed and not gap and text and _in_words(text[-1]) and _in_words(word[0])
        text += (" " if grown else gap) + word
    return text


def _in_words(character):
    return unicodedata.category(character)[0] in "LMN"


def _batched(items, size):
    return [items[first : first + size] for first in range(0, len(items), size)]


class MaskedModel:
    """A run's masked language model: candidates for many masked words at once."""

    def __init__(self, run, candidates, variant):
        """`run` from `load.load_run`; see `augment` for the errors."""
        vocabulary, tokenizer = run.vocabulary, run.tokenizer
        if "mlm" not in run.model.heads or vocabulary.mask is None:
            raise UserError("the run has no masked language model: it was trained without losses.mlm")
        if not 1 <= candidates <= vocabulary.size:
            raise UserError(f"candidates={candidates}: from 1 to the {vocabulary.size} pieces of the run's vocabulary")
        devices = jax.local_devices()
        mesh = Mesh(np.array(devices), ("rows",))
        self.rows_over_devices = NamedSharding(mesh, PartitionSpec("rows"))
        self.devices, self.vocabulary = len(devices), vocabulary
        self.params = jax.device_put(run.params, NamedSharding(mesh, PartitionSpec()))
        self.longest = max(run.config.phases.lengths)
        self.pairs = variant == "release"
        self.second_segment = min(1, max(0, run.model.config.type_vocab_size - 1))
        # Special tokens start words, but are not words.
        self.words = [tokenizer.id_to_token(token).removeprefix(SPACE) for token in range(vocabulary.size)]
        whole = vocabulary.starts_word & ~vocabulary.special & np.array([word != "" for word in self.words])
        if vocabulary.unknown is not None:
            whole[vocabulary.unknown] = False

        @jax.jit
        def likeliest(params, batch):
            logits = run.model.apply({"params": params}, batch)["mlm_logits"][:, 0].astype(jnp.float32)
            _, tokens = lax.top_k(logits if self.pairs else jnp.where(whole, logits, -jnp.inf), candidates)
            return tokens, jnp.asarray(whole)[tokens]

        self.likeliest = likeliest
        self.pieces = {self.words[token]: [int(token)] for token in np.flatnonzero(whole)}

    def __call__(self, masked):
        """The candidates for masked words.

        Args:
          masked: list of (a sentence's token ids, one list per word; the index of the masked word).

        Returns:
          A list of lists of words, likeliest first, and the number of sentences seen through a window.
        """
        laid = [self._lay_out(*one) for one in masked]
        by_length = collections.defaultdict(list)
        for place, (ids, _, _, _) in enumerate(laid):
            length = SHORTEST
            while length < len(ids):
                length *= 2
            by_length[min(length, self.longest)].append(place)
        made = []
        for length, places in by_length.items():
            for some in _batched(places, self._rows(length)):
                # All are dispatched to the device before waiting for the first result.
                made.append((some, self.likeliest(self.params, self._batch([laid[place] for place in some], length))))
        found = [None] * len(laid)
        for some, answer in made:
            for place, tokens, whole in zip(some, *(np.asarray(x).tolist() for x in answer)):
                found[place] = [self.words[token] for token, usable in zip(tokens, whole) if usable]
        return found, sum(windowed for *_, windowed in laid)

    def _rows(self, length):
        """Rows per batch: the same number for each device."""
        return max(1, TOKENS // length // self.devices) * self.devices

    def _lay_out(self, pieces, number):
        """Token ids with special tokens, masked position, start of the second segment, and whether it was cut."""
        vocabulary = self.vocabulary
        before, after = _flat(pieces[:number]), _flat(pieces[number + 1 :])
        room, place = self.longest - 2, len(before)
        masked = [*before, vocabulary.mask, *after]
        first = min(max(0, place - room // 2), max(0, len(masked) - room))
        ids = [vocabulary.start, *masked[first : first + room], vocabulary.separator]
        second = len(ids)
        if self.pairs:
            ids = [*ids, *_flat(pieces), vocabulary.separator][: self.longest]
        return ids, 1 + place - first, second, len(masked) > room

    def _batch(self, laid, length):
        rows = self._rows(length)
        batch = {name: np.zeros((rows, length), np.int32) for name in ("tokens", "mask", "segments")}
        batch["positions"] = np.zeros((rows, 1), np.int32)
        batch["mask"][len(laid) :, 0] = 1  # empty rows must not divide by zero
        for row, (ids, place, second, _) in enumerate(laid):
            batch["tokens"][row, : len(ids)] = ids
            batch["mask"][row, : len(ids)] = 1
            batch["segments"][row, second : len(ids)] = self.second_segment
            batch["positions"][row] = place
        return jax.device_put(batch, self.rows_over_devices)


def _flat(pieces):
    return list(itertools.chain.from_iterable(pieces))


class Copy(NamedTuple):
    """A sentence being augmented; `todo` are the words still to replace, (index, uniform draw)."""

    sentence: Sentence
    words: list[str]
    pieces: list[list[int]]
    todo: collections.deque


@dataclasses.dataclass
class Augmenter:
    """Runs `augment` block by block."""

    run: Any
    vectors: WordVectors | None
    copies: int
    threshold: float
    candidates: int
    seed: int
    variant: str

    def __post_init__(self):
        self.counts = Counts()
        self.model = MaskedModel(self.run, self.candidates, self.variant)
        self.neighbours = {}  # multi-piece word -> candidates
        self.pieces = dict(self.model.pieces)  # candidate -> its token ids

    def augmented(self, examples):
        """Yields the examples, each followed by its copies."""
        start, examples = time.perf_counter(), iter(examples)
        while block := list(itertools.islice(examples, BLOCK)):
            yield from self.augment_block(block)
            self.counts.seconds = time.perf_counter() - start

    def augment_block(self, block):
        """As `augmented`, for a list of the next examples."""
        split = [
            [split_words(self.run, text) for text in (example.text, example.text2) if text is not None]
            for example in block
        ]
        self.look_up(list(itertools.chain.from_iterable(split)))
        made = [self.draw(number, sentences) for number, sentences in enumerate(split, self.counts.examples)]
        every = [copy for copies in made for pair in copies for copy in pair]
        if self.variant == "paper":
            self.fill_one_by_one(every)
        else:
            self.fill_at_once(every)
        for example, sentences, copies in zip(block, split, made, strict=True):
            seen = {tuple(join_words(sentence, sentence.words) for sentence in sentences)}
            self.counts.examples += 1
            self.counts.examples_out += 1
            yield example
            for pair in copies:
                texts = tuple(join_words(copy.sentence, copy.words) for copy in pair)
                if texts in seen:
                    self.counts.duplicates += 1
                    continue
                seen.add(texts)
                self.counts.examples_out += 1
                yield example._replace(**dict(zip(("text", "text2"), texts)))

    def look_up(self, sentences):
        """Looks up the neighbours of all multi-piece words and updates the counts."""
        words = [one for sentence in sentences for one in zip(sentence.words, sentence.pieces, strict=True)]
        open_words = [(word, pieces) for word, pieces in words if not self.exempt(word)]
        several = [word for word, pieces in open_words if len(pieces) > 1]
        new = sorted(set(several) - self.neighbours.keys())
        found = self.vectors.neighbours(new, self.candidates) if self.vectors is not None else [[] for _ in new]
        self.neighbours.update(zip(new, found, strict=True))
        for word in set(itertools.chain.from_iterable(found)) - self.pieces.keys():
            self.pieces[word] = self.run.tokenizer.encode(word, add_special_tokens=False).ids
        self.counts.words += len(words)
        self.counts.exempt += len(words) - len(open_words)
        self.counts.single_piece += len(open_words) - len(several)
        self.counts.several_pieces += len(several)
        self.counts.without_vector += sum(not self.neighbours[word] for word in several)
        self.counts.copied += len(words) * self.copies

    def exempt(self, word):
        """Whether the variant never replaces this word."""
        if self.variant == "paper":
            return False
        return word.lower() in STOP_WORDS or not re.fullmatch("[a-z]+", word.lower())

    def draw(self, number, sentences):
        """The copies of example `number`, one Copy per sentence, with the words to replace drawn."""
        length = sum(len(sentence.words) for sentence in sentences)
        # Every word has its own draws, so that without vectors, say, the other words' draws stay the same.
        chances, draws = np.random.default_rng([self.seed, number]).random((2, self.copies, length))
        copies, first = [[] for _ in chances], 0
        for sentence in sentences:
            words = zip(sentence.words, sentence.pieces, strict=True)
            stays = [self.exempt(word) or len(pieces) > 1 and not self.neighbours[word] for word, pieces in words]
            last = first + len(stays)
            for pair, chance, draw in zip(copies, chances[:, first:last], draws[:, first:last], strict=True):
                chosen = np.flatnonzero((chance < self.threshold) & ~np.array(stays, bool))
                todo = collections.deque(zip(chosen.tolist(), draw[chosen].tolist(), strict=True))
                pair.append(Copy(sentence, list(sentence.words), list(sentence.pieces), todo))
            first = last
        return copies

    def fill_one_by_one(self, copies):
        """Each prediction sees the current copy (Algorithm 1); copies advance together, one prediction at a time."""
        while True:
            for copy in copies:
                while copy.todo and len(copy.pieces[copy.todo[0][0]]) > 1:
                    self.replace(copy, self.neighbours[copy.words[copy.todo[0][0]]])
            copies = [copy for copy in copies if copy.todo]
            if not copies:
                return
            found = self.predict([(copy.pieces, copy.todo[0][0]) for copy in copies])
            for copy, candidates in zip(copies, found, strict=True):
                self.replace(copy, candidates)

    def fill_at_once(self, copies):
        """Every prediction sees the original (the release)."""
        asked = {}
        for copy in copies:
            pieces = copy.sentence.pieces
            asked |= {(id(pieces), place): (pieces, place) for place, _ in copy.todo if len(pieces[place]) == 1}
        found = dict(zip(asked, self.predict(list(asked.values())), strict=True))
        for copy in copies:
            while copy.todo:
                place = copy.todo[0][0]
                candidates = found.get((id(copy.sentence.pieces), place))
                self.replace(copy, self.neighbours[copy.words[place]] if candidates is None else candidates)

    def predict(self, masked):
        """The masked model's candidates for each (pieces of a sentence, index of the masked word)."""
        found, windows = self.model(masked)
        self.counts.windows += windows
        return found

    def replace(self, copy, candidates):
        """Replaces the copy's next word with the drawn candidate; without candidates it stays."""
        place, draw = copy.todo.popleft()
        if candidates:
            word = candidates[int(draw * len(candidates))]
            copy.words[place], copy.pieces[place] = word, self.pieces[word]
            self.counts.replaced += 1


def augment(examples, run, vectors=None, *, copies=20, threshold=0.4, candidates=15, seed=0, variant="paper"):
    """Augments a task's training examples; see the module's docstring.

    Args:
      examples: any iterable of `tasks.Example`, or of other NamedTuples with `text` and `text2` (None: no pair).
      run: `load.load_run` of a run with a masked language model (for ELECTRA, the generator).
      vectors: WordVectors; None: multi-piece words stay.
      copies: N_a, per example, before duplicates are dropped.
      threshold: p_t, the probability that a word is replaced.
      candidates: K.
      seed: for the random draws.
      variant: 'paper' or 'release'.

    Returns:
      An iterator over the examples, each followed by its copies, which keep its other fields; and Counts, complete
      when the iterator is exhausted.

    Raises:
      UserError: a value is out of range, or the run has no masked language model.
    """
    check_choice(variant, VARIANTS, "variant")
    if copies < 1:
        raise UserError(f"copies={copies}: at least 1")
    if not 0 <= threshold <= 1:
        raise UserError(f"threshold={threshold}: a probability lies between 0 and 1")
    if seed < 0:
        raise UserError(f"seed={seed}: at least 0")
    augmenter = Augmenter(run, vectors, copies, threshold, candidates, seed, variant)
    return augmenter.augmented(examples), augmenter.counts
