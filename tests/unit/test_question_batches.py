"""Questions as rows: every example once an epoch, few shapes, words that can be copied."""

import collections

import numpy as np
import pytest
from ml_collections import ConfigDict

from ssl_jax.config import base
from ssl_jax.data import questions
from ssl_jax.tasks import QA
from ssl_jax.tokenization.train import train_tokenizer
from ssl_jax.tokenization.vocabulary import vocabulary_of

WORDS = [f"w{number}" for number in range(80)]
SIZES = {"long": 90, "short": 7}


def examples(count, seed):
    """Answers are words of the context, or of the question, or a word that is in neither."""
    random = np.random.default_rng(seed)
    found = []
    for number in range(count):
        context = random.choice(WORDS, random.integers(1, 40)).tolist()
        answer = [" ".join(context[: random.integers(1, 4)]), "bad", "nowhere"][number % 3]
        found.append(QA("Is it good or bad?", " ".join(context), (answer,), str(number)))
    return found


def options(**changes):
    sizes = dict(lengths=(16, 32, 64), question_lengths=(8, 16), tokens=512, multiple=4, max_answer=10)
    return ConfigDict(base().questions.to_dict() | sizes | changes)


@pytest.fixture(scope="module")
def tokenizer():
    texts = [text for qa in examples(200, 5) for text in (qa.question, qa.context, *qa.answers)]
    return train_tokenizer("words", [*texts, "A : \n"], 70, True)  # some words are unknown


def split_of(tokenizer, loss, **changes):
    form = questions.FORMS[loss](options(**changes), tokenizer, vocabulary_of(tokenizer))
    sets = {name: examples(count, seed) for seed, (name, count) in enumerate(SIZES.items())}
    return questions.Split(form, {name: questions.Store(qas, form) for name, qas in sets.items()})


def batches_of(split, steps=60, seed=0):
    most = questions.most_rows(split.form.options)
    return questions.QuestionBatches(split, base().mixture, steps, seed, most)


def read(batch):
    """The rows as tuples, without padding ones."""
    names = [name for name in batch if name not in ("index", "pair")]
    return [tuple(batch[name][row].tobytes() for name in names) for row in np.flatnonzero(batch["mask"].any(-1))]


@pytest.mark.parametrize("loss", questions.FORMS)
def test_each_example_comes_once_an_epoch(tokenizer, loss):
    split, alone = split_of(tokenizer, loss), collections.Counter()
    for name in SIZES:
        one = questions.Split(split.form, {name: split[name]})
        batches, most = batches_of(one), questions.most_rows(split.form.options)
        evaluation = questions.QuestionEvaluation(one, most)
        every = collections.Counter(row for step in range(evaluation.steps) for row in read(evaluation(step)))
        assert sum(every.values()) == len(split[name]) > 0
        for epoch in range(2):
            first = epoch * evaluation.steps
            steps = range(first, first + evaluation.steps)
            assert collections.Counter(row for step in steps for row in read(batches(step))) == every
        alone += every
    together = questions.QuestionEvaluation(split, most)
    assert alone == collections.Counter(row for step in range(together.steps) for row in read(together(step)))


@pytest.mark.parametrize("loss", questions.FORMS)
def test_a_batch_is_of_one_task_has_one_of_few_shapes_and_keeps_to_the_budget(tokenizer, loss):
    split = split_of(tokenizer, loss)
    batches, shapes = batches_of(split), set()
    for step in range(60):
        batch = batches(step)
        rows, length = batch["tokens"].shape
        assert length in (16, 32, 64) and rows % 4 == 0 and rows * length <= 512
        shapes.add(tuple(x.shape for x in batch.values()))
    assert len(shapes) <= 3 * 3  # of each length as many rows as fit, or a half, or a quarter


def test_batches_are_a_function_of_the_step_whoever_asks(tokenizer):
    split = split_of(tokenizer, "answer")
    batches, again = batches_of(split), batches_of(split)
    most = questions.most_rows(split.form.options)
    for step in (50, 3, 17, 0):
        whole = again(step)
        for name, x in batches(step).items():
            np.testing.assert_array_equal(x, whole[name])
        hosts = [batches(step, slice(first, first + most // 4)) for first in range(0, most, most // 4)]
        for name, x in whole.items():
            np.testing.assert_array_equal(np.concatenate([host[name] for host in hosts]), x)
    numbers = np.concatenate([batches(step)["index"] for step in range(60)])
    assert len({*numbers.tolist()}) == len(numbers)
    other = batches_of(split, seed=1)
    assert any(read(other(step)) != read(batches(step)) for step in range(2))


def test_a_word_that_is_not_known_has_one_id_in_all_parts_and_comes_out_whole(tokenizer):
    form = questions.FORMS["answer"](options(), tokenizer, vocabulary_of(tokenizer))
    size = tokenizer.get_vocab_size()
    qa = QA("Where is Zanzibar, or Qo\u02bfrg\u02bbon?", "w1 Zanzibar (w2) xyzzy zanzibar", ("xyzzy Zanzibar",))
    store = questions.Store([qa], form)
    (cut,) = questions.evaluation_cuts(store, form.options)
    batch = questions.one_batch(store, form, cut)
    unknown = store.unknown[0]
    assert unknown == ["zanzibar", "xyzzy", "where", "qo\u02bfrg\u02bbon"][: len(unknown)] or {"zanzibar", "xyzzy"} <= {
        *unknown
    }
    word = {name: size + number for number, name in enumerate(unknown)}
    context = batch["tokens"][0][batch["mask"][0]].tolist()
    assert context.count(word["zanzibar"]) == 2 and context.count(word["xyzzy"]) == 1
    assert word["zanzibar"] in batch["question"][0].tolist()
    answer = batch["answer"][0][batch["answer_mask"][0]].tolist()
    assert answer == [form.vocabulary.start, word["xyzzy"], word["zanzibar"], form.vocabulary.separator]
    assert form.words.decode(answer[1:-1], unknown) == "xyzzy zanzibar"
    assert form.words.decode(context, unknown) == qa.context.lower()


def test_a_causal_trunk_is_trained_on_the_answer_and_its_end_alone(tokenizer):
    split = split_of(tokenizer, "clm")
    batches, vocabulary = batches_of(split), vocabulary_of(tokenizer)
    for step in range(10):
        batch = batches(step)
        for row in np.flatnonzero(batch["mask"].any(-1)):
            answered = batch["tokens"][row][batch["answered"][row]].tolist()
            assert answered[-1] == vocabulary.end_of_text and len(answered) > 1
            # They are the last ones.
            assert batch["tokens"][row][batch["mask"][row]].tolist()[-len(answered) :] == answered


def test_an_encoder_points_into_the_context_or_else_at_the_last_words_of_the_question(tokenizer):
    split = split_of(tokenizer, "span")
    assert any("neither" in note for note in split["long"].notes)  # 'nowhere'
    store, form = split["long"], split.form
    for cut in questions.evaluation_cuts(store, form.options):
        batch = questions.one_batch(store, form, cut)
        for row, number in enumerate(cut.numbers):
            first, last = batch["span"][row]
            qa, text = store.qas[number], batch["tokens"][row, first : last + 1].tolist()
            wanted = tokenizer.encode(qa.answers[0], add_special_tokens=False).ids
            assert text == wanted
            assert batch["segments"][row, first] == (qa.answers[0] != "bad")


def test_an_encoder_points_at_whole_words_and_answers_in_their_own_spelling(tokenizer):
    form = questions.FORMS["span"](options(), tokenizer, vocabulary_of(tokenizer))
    texts = {
        "Yesterday I know nothing. No, she said": "no",  # not of 'know'
        "\u0130\u0130\u0130 met Ann there": "Ann",  # lower case has another length
        "a Mid-Priced  place (44,000 w1)": "mid-priced",
        "w1 w2 44,000 w3": "44,000",
    }
    qas = [QA("yes or no?", text, (answer,)) for text, answer in texts.items()]
    qas.append(QA("yes or no?", "yesterday", ("yes",)))  # it stands in the question alone
    store = questions.Store(qas, form)
    read = []
    for number, qa in enumerate(store.qas):
        asked = len(tokenizer.encode(qa.question, add_special_tokens=False).ids)
        read.append(form.text(qa, *store.spans[number].tolist(), asked).strip(" ,"))
    assert read == ["No", "Ann", "Mid-Priced", "44,000", "yes"]


def test_what_is_not_answered_is_not_trained_on_by_any(tokenizer):
    for loss in questions.FORMS:
        form = questions.FORMS[loss](options(), tokenizer, vocabulary_of(tokenizer))
        store = questions.Store([QA("good?", "w1", ()), QA("good?", "w1", (" ",)), QA("good?", "w1", ("w1",))], form)
        assert len(store) == 1 and store.notes == ["left out: 2 without an answer"]


def test_an_evaluation_takes_turns(tokenizer):
    evaluation = questions.QuestionEvaluation(split_of(tokenizer, "answer"), 8)
    assert {task for task, _ in evaluation.cuts[:2]} == {*SIZES}


@pytest.mark.parametrize("loss", questions.FORMS)
def test_what_is_too_long_is_left_out_and_counted_or_cut(tokenizer, loss):
    form = questions.FORMS[loss](options(lengths=(16, 32)), tokenizer, vocabulary_of(tokenizer))
    qas = [
        QA("good or bad?", " ".join(WORDS[:5]), ("w1",)),
        QA("good or bad?", " ".join(["w1", *WORDS]), ("w1",)),
        QA("good or bad?", " ".join(WORDS[:15]), (" ".join(WORDS[:12]),)),
        QA("good or bad?", "w1", ("",)),
    ]
    plain = questions.Store(qas, form)
    assert len(plain) == 1 and sum(int(note.split()[2]) for note in plain.notes) == 3
    cut = questions.Store(qas, form, cut=True)
    assert [qa.context[:8] for qa in cut.qas] == ["w0 w1 w2", "w1 w0 w1"]
    assert any("1 contexts cut" in note for note in cut.notes)
    if loss != "span":  # which needs an answer's place
        assert len(questions.Store(qas, form, keep_long=True)) == 4


def test_answers_that_cost_more_than_their_context_need_a_longer_row(tokenizer):
    form = questions.FORMS["answer"](options(), tokenizer, vocabulary_of(tokenizer))
    shape = form.shape([[5] * 10, [5] * 3, [5] * 6])
    assert shape == questions.Shape(32, 8, 6 + 2)  # 5 x 6 words cost 30; 32 / 5 is 6, and start and end
