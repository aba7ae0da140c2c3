"""The tasks of decaNLP's demo: what they answer, beside what was written by hand; what is held out; what a guess scores."""

import collections

import numpy as np
import pytest

from ssl_jax import metrics, tasks
from ssl_jax.tasks import articles, composed
from ssl_jax.tasks.base import Source
from tests.reference import composed as reference

GRAMMARS = (composed.dialogues, composed.pronouns, composed.phrases)


def asked(name):
    return tasks.read_questions(name, Source()).splits


@pytest.mark.parametrize("grammar", GRAMMARS)
def test_examples_are_the_same_each_time(grammar, monkeypatch):
    monkeypatch.setattr(composed, "SIZES", {"train": 300, "heldout": 20})
    first, second = (composed.examples.__wrapped__(grammar) for _ in range(2))
    assert first == second
    assert {split: len(qas) for split, qas in first.items()} == composed.SIZES


@pytest.mark.parametrize("name", composed.TASKS)
def test_sizes_and_no_example_twice(name):
    splits = asked(name)
    assert {split: len(qas) for split, qas in splits.items()} == composed.SIZES
    if name != "dialogue":  # whose turns are short; its dialogues are compared below
        contexts = {split: {qa.context + qa.question for qa in qas} for split, qas in splits.items()}
        assert {split: len(texts) for split, texts in contexts.items()} == composed.SIZES
        assert not contexts["train"] & contexts["heldout"]


@pytest.mark.parametrize("name", composed.TASKS)
def test_held_out_words_are_those_of_training(name):
    splits = asked(name)
    words = {split: {word for qa in qas for text in (qa.context, qa.question, *qa.answers) for word in text.lower().split()}
             for split, qas in splits.items()}  # fmt: skip
    assert words["heldout"] <= words["train"]


@pytest.mark.parametrize("name", composed.TASKS)
def test_the_most_frequent_answer_scores_next_to_nothing(name):
    splits = asked(name)
    [(guess, _)] = collections.Counter(qa.answers[0] for qa in splits["train"]).most_common(1)
    score = metrics.OF_ANSWERS[tasks.ASKED[name].question.metric]
    heldout = splits["heldout"]
    assert score([guess] * len(heldout), heldout) < 0.05
    assert score([qa.answers[0] for qa in heldout], heldout) == pytest.approx(1)


# ---- Dialogues
def dialogues(split):
    """Dialogue -> its QAs."""
    found = collections.defaultdict(list)
    for qa in asked("dialogue")[split]:
        found[qa.gold["dialogue"]].append(qa)
    return found


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_a_slow_reader_finds_the_same_changes(split):
    for qa in asked("dialogue")[split][:3000]:
        assert (qa.context, reference.change_in_state(qa.context)) == (qa.context, qa.answers[0])


def test_turns_are_in_order_and_dialogues_in_one_split():
    train, heldout = dialogues("train"), dialogues("heldout")
    for found in (train, heldout):
        for qas in found.values():
            assert [qa.gold["turn"] for qa in qas] == list(range(len(qas)))
    assert not train.keys() & heldout.keys()
    texts = [{" ".join(qa.context for qa in qas) for qas in found.values()} for found in (train, heldout)]
    assert not texts[0] & texts[1]


def goals(qas):
    """The (food, area) of the states of a dialogue."""
    state = {}
    for qa in qas:
        state |= dict(pair.split(": ") for pair in qa.answers[0].partition(";")[0].split(", ") if ": " in pair)
        yield state.get("food"), state.get("area")


def test_some_held_out_dialogues_combine_what_training_never_does():
    trained = {pair for qas in dialogues("train").values() for pair in goals(qas)}
    unseen = [any(pair not in trained for pair in goals(qas)) for qas in dialogues("heldout").values()]
    assert 0.3 < np.mean(unseen) < 0.7
    values = {value for pair in trained for value in pair}
    assert {*composed.FOODS, *composed.AREAS} <= values


def test_every_seventh_turn_or_so_changes_nothing():
    none = [qa.answers == ("None",) for qa in asked("dialogue")["train"]]
    assert 0.1 < np.mean(none) < 0.25


# ---- Pronouns
def parts(qa):
    """The sentence with A and B for its nouns; A's noun, B's; the two in the question's order."""
    _, _, pair = qa.question.partition("? ")
    named = pair.removesuffix("?").split(" or ")
    lower = qa.context[0].lower() + qa.context[1:] if named[0].startswith("the ") else qa.context
    a, b = sorted(named, key=lambda noun: lower.index(noun))
    return lower.replace(a, "A").replace(b, "B"), (a, b), named


def test_pronouns_mean_whom_they_mean():
    found = collections.defaultdict(set)
    for qa in asked("pronouns")["train"]:
        sentence, nouns, _ = parts(qa)
        found[sentence].add("AB"[nouns.index(qa.answers[0])])
    assert {sentence: found[sentence] for sentence in reference.SCHEMAS} == {
        sentence: {noun} for sentence, noun in reference.SCHEMAS.items()
    }
    assert all(len(nouns) == 1 for nouns in found.values())


def test_no_place_and_no_words_give_a_pronoun_away():
    first, first_asked, by_cause, by_clause = [], [], collections.defaultdict(list), collections.defaultdict(list)
    for qa in asked("pronouns")["train"]:
        sentence, nouns, named = parts(qa)
        clause, _, cause = sentence.partition(" because ")
        right = qa.answers[0] == nouns[0]
        first.append(right)
        first_asked.append(qa.answers[0] == named[0])
        by_cause[cause].append(right)
        by_clause[clause].append(right)
    assert np.mean(first) == pytest.approx(0.5, abs=0.02)
    assert np.mean(first_asked) == pytest.approx(0.5, abs=0.02)
    for shares in (by_cause, by_clause):
        assert all(0.35 < np.mean(rights) < 0.65 for rights in shares.values()), {
            k: np.mean(v) for k, v in shares.items()
        }


def test_held_out_pairs_of_nouns_are_new():
    pairs = {split: {frozenset(parts(qa)[1]) for qa in qas} for split, qas in asked("pronouns").items()}
    assert not pairs["train"] & pairs["heldout"]
    nouns = {split: {noun for pair in found for noun in pair} for split, found in pairs.items()}
    assert nouns["heldout"] <= nouns["train"]


# ---- German
def phrase(text, accusative=False):
    """(English, German), and whether it is in the plural, of 'the/old/man' or a pronoun."""
    for english, german, plural in composed.PRONOUNS:
        if text == english:
            return (english, german), plural
    determiner, adjective, noun = text.split("/")
    [(row, plural)] = [
        (row, row[1] == noun) for row in composed.PERSONS + composed.BEASTS + composed.THINGS if noun in row[:2]
    ]
    [first] = [one for one in composed.DETERMINERS if one[plural] == determiner]
    pair = next((pair for pair in composed.OF_LIVING + composed.OF_THINGS if pair[0] == adjective), None)
    return composed.noun_phrase(first, pair, row, plural, accusative), plural


@pytest.mark.parametrize("spec", reference.TRANSLATIONS, ids=lambda spec: spec[-2])
def test_german_is_what_a_speaker_says(spec):
    subject, verb, thing, tense, adverb, order, english, german = spec
    [verb] = {row for row in composed.WITH_LIVING + composed.WITH_THINGS if row[0] == verb}
    [adverb] = [pair for pair in composed.TENSES[tense][-1] if pair[0] == adverb]
    subject, plural = phrase(subject)
    assert composed.clause(subject, plural, verb, phrase(thing, True)[0], tense, adverb, order) == (english, german)


def test_both_directions_have_the_same_sentences():
    for one, other in zip(asked("phrases_en_de")["train"], asked("phrases_de_en")["train"], strict=True):
        assert (one.context, *one.answers) == (*other.answers, other.context)
        assert one.context[-1] == one.answers[0][-1]


def test_a_german_verb_is_second_unless_it_asks():
    finite = {form for row in composed.WITH_LIVING + composed.WITH_THINGS for form in row[3:5]}
    finite |= {"hat", "haben", "kann", "können", "muss", "müssen", "soll", "sollen", "will", "wollen"}
    for qa in asked("phrases_en_de")["train"]:
        first = qa.answers[0].split()[0].lower()
        assert (first in finite) == qa.context.endswith("?"), qa


# ---- Articles
ARTICLES = [
    ("Mercury (planet)", "Mercury is the first planet from the Sun. It is small.", "First planet from the Sun"),
    ("Chess piece", "A chess piece is an item that is moved on a board.", "Item of a game (since 600)"),
    ("Ring", "Rings are worn on fingers.", ""),
    ("C++", "In computing, C++ is a language.", "A b c d e f g h i"),
]


def test_titles_and_descriptions_are_those_of_the_articles(monkeypatch):
    found = [dict(text=text, title=title, description=description, topic=0) for title, text, description in ARTICLES]
    monkeypatch.setattr(articles, "read_articles", lambda source: (("Arts",), {"train": found, "heldout": found[:1]}))
    titles, descriptions = (tasks.read_questions(name, Source()) for name in ("titles", "descriptions"))
    assert [(qa.context, qa.answers) for qa in titles.splits["train"]] == [
        ("Mercury is the first planet from the Sun.", ("Mercury",)),
        ("A chess piece is an item that is moved on a board.", ("chess piece",)),
        ("In computing, C++ is a language.", ("C++",)),
    ]
    assert titles.notes["train"] == [
        "left out: 1 articles whose title is not in their first sentence (the first: train, example 3)"
    ]
    assert [qa.answers for qa in descriptions.splits["train"]] == [("First planet from the Sun",), ("Item of a game",)]
    assert descriptions.notes["train"] == [
        "left out: 2 articles without a description of at most 8 words (the first: train, example 3)"
    ]
