"""Windows of contexts are those of run_squad.py, and what is predicted comes back in the original characters."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers

from ssl_jax.data import batches
from ssl_jax.errors import UserError
from ssl_jax.evaluators.spans import postprocess
from ssl_jax.tasks import Question, SpanStore, report
from tests.unit.test_batches import PAD, SEPARATOR, START, VOCABULARY


class Numbers:
    """A tokenizer of texts like '5 7 60': a word is its own id."""

    def get_vocab_size(self):
        return VOCABULARY.size

    def encode_batch(self, texts, add_special_tokens):
        assert not add_special_tokens
        found = [list(re.finditer(r"\d+", text)) for text in texts]
        return [SimpleNamespace(ids=[int(m[0]) for m in words], offsets=[m.span() for m in words]) for words in found]

    encode_batch_fast = encode_batch


def make_questions(number=25, longest=40):
    """Random Questions, some without an answer, and as plain lists: question, context, the answer's tokens or None."""
    random = np.random.default_rng(0)
    questions, plain = [], []
    for n in range(number):
        asked, context = (random.integers(10, VOCABULARY.size, random.integers(1, most)) for most in (9, longest))
        first = random.integers(0, len(context))
        last = min(first + random.integers(0, 4), len(context) - 1)
        text = " ".join(map(str, context))
        starts = np.cumsum([0] + [len(str(token)) + 1 for token in context])
        start, end = starts[first], starts[last + 1] - 1
        told = n % 4 > 0
        answer = (start, end) if told else (-1, -1)
        answers = (text[start:end],) if told else ()
        questions.append(Question(" ".join(map(str, asked)), text, *answer, f"q{n}", answers))
        plain.append((asked.tolist(), context.tolist(), (first, last) if told else None))
    return questions, plain


def run_squad_rows(asked, context, answer, length, stride, max_question):
    """Rows (tokens, segments, span) of a question as run_squad.py makes them, one token at a time."""
    asked = asked[:max_question]
    most = length - len(asked) - 3
    windows, start = [], 0
    while start < len(context):
        size = min(len(context) - start, most)
        windows.append((start, size))
        if start + size == len(context):
            break
        start += min(size, stride)
    for start, size in windows:
        tokens = [START, *asked, SEPARATOR, *context[start : start + size], SEPARATOR]
        segments = [0] * (len(asked) + 2) + [1] * (size + 1)
        padding = length - len(tokens)
        span = [0, 0]
        if answer and answer[0] >= start and answer[1] <= start + size - 1:
            span = [place - start + len(asked) + 2 for place in answer]
        yield tokens + [PAD] * padding, segments + [0] * padding, span


@pytest.mark.parametrize("length, stride", [(12, 3), (16, 128), (64, 8)])
def test_windows_are_those_of_run_squad(length, stride):
    questions, plain = make_questions()
    store = SpanStore(questions, Numbers(), stride, max_question=6)
    expected = [row for one in plain for row in run_squad_rows(*one, length, stride, 6)]
    evaluation = batches.TaskEvaluation(store, VOCABULARY, length, 7)
    made = [evaluation(step) for step in range(evaluation.steps)]
    assert len(evaluation.examples) == len(expected) and evaluation.steps == -(-len(expected) // 7)
    whole = {name: np.concatenate([batch[name] for batch in made]) for name in made[0]}
    for name, rows in zip(("tokens", "segments", "span"), zip(*expected, strict=True), strict=True):
        assert whole[name][: len(rows)].tolist() == list(rows), name
    # Of a question, and not of a window that has not its answer.
    expected_impossible = [answer is None for asked, context, answer in plain
                           for _ in run_squad_rows(asked, context, answer, length, stride, 6)]  # fmt: skip
    assert whole["impossible"][: len(expected)].tolist() == expected_impossible
    assert (whole["mask"][: len(expected)] == (whole["tokens"][: len(expected)] != PAD)).all()
    assert not whole["mask"][len(expected) :].any()
    assert evaluation.examples.cut == sum(len(asked) > 6 for asked, *_ in plain) > 0
    assert {whole[name].dtype for name in ("tokens", "segments", "span")} == {np.dtype(np.int32)}


def test_training_sees_every_window_once_an_epoch():
    store = SpanStore(make_questions()[0], Numbers(), 3, max_question=6)
    batch = batches.TaskBatches(store, VOCABULARY, 12, 1, seed=0)
    windows = len(batch.examples.windows)
    assert windows > len(store)
    seen = [batch(step)["tokens"].tobytes() for step in range(windows)]
    assert sorted(seen) == sorted(batch.examples(np.array([n]))["tokens"].tobytes() for n in range(windows))
    assert [batch(step)["tokens"].tobytes() for step in range(windows, 2 * windows)] != seen


def test_a_question_that_leaves_no_room_is_refused():
    store = SpanStore(make_questions()[0], Numbers(), 3, max_question=64)
    with pytest.raises(UserError, match="has 64: questions of task.max_question=64 tokens leave no room"):
        store.rows(VOCABULARY, 64)


def test_what_is_wrong_or_cut_is_told_with_its_place():
    questions = [Question("5 6", "7 8", 0, 1, "q0", ("7",)), Question("5 6 7 8", "9", 0, 1, "q1", ("9",))]
    places = ["f, question q0", "f, question q1"]
    store = SpanStore(questions, Numbers(), 3, max_question=3, places=places)
    assert list(report({"train": store}, VOCABULARY, {16})) == [
        "train: 2 examples, 1 cut to the length of 3 (the first: f, question q1, 4 tokens)"
    ]
    questions[1] = Question("5", "9 x", 2, 3, "q1", ("x",))
    with pytest.raises(UserError, match="^f, question q1: the tokenizer makes no token of its answer 'x'$"):
        SpanStore(questions, Numbers(), 3, max_question=3, places=places)


def brute_force(starts, ends, plain, questions, length, stride, max_question, max_answer):
    """The best span of each question by trying all of them: id -> text, score, the least score of no answer."""
    window, found = 0, {}
    for (asked, context, _), question in zip(plain, questions, strict=True):
        asked, best, null = asked[:max_question], (-np.inf, None), np.inf
        for tokens, *_ in run_squad_rows(asked, context, None, length, stride, max_question):
            start, end = starts[window], ends[window]
            null = min(null, start[0] + end[0])
            first, stop = len(asked) + 2, len(tokens) - tokens[::-1].index(SEPARATOR) - 1
            for i in range(first, stop):
                for j in range(i, min(i + max_answer, stop)):
                    best = max(best, (start[i] + end[j], " ".join(map(str, tokens[i : j + 1]))))
            window += 1
        found[question.id] = best, null
    return found


@pytest.mark.parametrize("max_answer", [1, 4])
def test_the_best_span_of_all_windows_is_the_answer(max_answer):
    questions, plain = make_questions()
    rows = SpanStore(questions, Numbers(), 3, max_question=6).rows(VOCABULARY, 14)
    starts, ends = np.random.default_rng(1).normal(size=(2, len(rows), 14)) * 3
    expected = brute_force(starts, ends, plain, questions, 14, 3, 6, max_answer)
    made = postprocess(starts, ends, rows, max_answer=max_answer)
    assert made.keys() == expected.keys()
    for name, ((score, text), null) in expected.items():
        assert made[name].text == text
        assert made[name].na_prob == pytest.approx(1 / (1 + np.exp(score - null)))
    # Of the first windows alone: the questions that have theirs among them.
    last = int(np.flatnonzero(rows.windows[:, 0] == 4)[1])
    assert list(postprocess(starts[:last], ends[:last], rows, max_answer=max_answer).items()) == list(made.items())[:4]
    fewer = postprocess(starts, ends, rows, n_best=1, max_answer=max_answer)
    assert "" in {answer.text for answer in fewer.values()}  # the best start is after the best end
    assert all(answer.na_prob == 1 for answer in fewer.values() if not answer.text)


def wordpiece():
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "anna", "ota", "met", "bob", "##by", "“", "”", "a", ".", "who", "?"]
    tokenizer = tokenizers.Tokenizer(models.WordPiece({piece: n for n, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    return tokenizer


def metaspace():
    pieces = ["▁Anna", "▁“", "A", "”", "▁Ō", "ta", "▁met", "▁Bob", "by", ".", "▁Who", "?", "<unk>"]
    tokenizer = tokenizers.Tokenizer(models.Unigram([(piece, 0.0) for piece in pieces], unk_id=len(pieces) - 1))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return tokenizer


def byte_level():
    tokenizer = tokenizers.Tokenizer(models.BPE({x: n for n, x in enumerate(pre_tokenizers.ByteLevel.alphabet())}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer


@pytest.mark.parametrize("answer", ["Anna", "A", "Ōta", "Bobby", "“A”\u00a0Ōta  met", "met Bobby."])
@pytest.mark.parametrize("make", [wordpiece, metaspace, byte_level])
def test_answers_come_back_in_the_original_characters(make, answer):
    context = "Anna “A”\u00a0Ōta  met Bobby."
    start = context.rindex(answer)
    question = Question("Who?", context, start, start + len(answer), "q", (answer,))
    rows = SpanStore([question], make(), 128, 8).rows(VOCABULARY, 64)
    first, last = rows(np.array([0]))["span"][0]
    starts, ends = np.zeros((2, 1, 64))
    starts[0, first], ends[0, last] = 9, 9
    assert postprocess(starts, ends, rows, max_answer=60)["q"].text == answer
    assert 0 < first <= last
