"""Scores by their definitions, and against the libraries that papers use."""

import math

import numpy as np
import pytest
import sacrebleu
from rouge_score import rouge_scorer

from ssl_jax import metrics
from ssl_jax.evaluators import fewshot
from ssl_jax.tasks import language, writing
from ssl_jax.tasks.base import Item


def items(*answers, golds=None):
    golds = golds or [0] * len(answers)
    return [Item("", ("",), gold, answers=answer) for answer, gold in zip(answers, golds, strict=True)]


def test_choices():
    asked = items((), (), (), (), golds=[0, 1, 1, 2])
    assert metrics.of_items(("accuracy", "macro_f1"), [0, 1, 0, 2], asked) == pytest.approx(
        {"accuracy": 0.75, "macro_f1": (2 / 3 + 2 / 3 + 1) / 3}
    )


def test_arithmetic_is_compared_to_the_letter():
    assert metrics.match(["-3", "3", "13"], items(("-3",), ("-3",), ("12", "13"))) == pytest.approx(2 / 3)


def test_answers_are_compared_with_the_best_of_several():
    asked = items(("Della Reese", "Reese"), ("the school of arts",))
    assert metrics.exact(["reese.", "a school"], asked) == 0.5
    pairs = [("della", "Della Reese"), ("della", "Reese"), ("school of", "the school of arts")]
    assert [metrics.answer_f1(*pair) for pair in pairs] == pytest.approx([2 / 3, 0, 4 / 5])


def test_trivia_qa_takes_punctuation_for_blanks():
    asked = items(("R.Mutt",), ("don’t",))
    assert metrics.trivia(["r mutt", "don t"], asked) == 1
    assert metrics.exact(["r mutt", "don t"], asked) == 0


def test_squad2_takes_a_word_for_no_answer():
    values = metrics.of_items(("squad2",), ["Unanswerable.", "unanswerable", "Bob"], items((), ("Anna",), ("Bob",)))
    assert values["exact"] == pytest.approx(2 / 3)
    assert (values["no_answer_exact"], values["has_answer_exact"]) == (1, 0.5)


def test_coqa_leaves_each_answer_out_once():
    # Against b, c: 0 and 2/3; against a, c: 1 and 2/3; against a, b: 1 and 0.
    (asked,) = items(("white", "red", "white cat"))
    assert metrics.coqa(["white"], [asked]) == pytest.approx((2 / 3 + 1 + 1) / 3)
    assert metrics.coqa(["white dog", "the"], items(("white",), ("a",))) == pytest.approx((2 / 3 + 1) / 2)


def test_wsc_compares_the_noun_and_then_the_label():
    asked = items(("mark",), ("mark",), ("mark",), ("mark",), golds=[1, 1, 0, 0])
    assert metrics.referent(["Mark", "mark", "mark.", "pete"], asked) == 0.75
    assert metrics.referent(["pete", "pete", "pete", "pete"], asked) == 0.5


def test_quac_leaves_answers_out_and_questions_whose_annotators_disagree():
    asked = items(("Bob ran", "Bob"), ("CANNOTANSWER", "Bob"), ("Bob", "Bob", "CANNOTANSWER"), ("a b c", "d e f"))
    # Bob against each of two: 1 and 2/3, left out in turn; as many say that there is none; two of three do not; the
    # last two have nothing in common and do not count.
    assert metrics.quac(["Bob", "CANNOTANSWER", "Bob", "d e f"], asked) == pytest.approx((5 / 6 + 1 + 1) / 3)
    assert metrics.quac(["ran", "Bob", "CANNOTANSWER", ""], asked) == pytest.approx((1 / 3 + 0 + 0) / 3)
    assert math.isnan(metrics.quac(["d"], asked[-1:]))


def test_drop_is_its_own_scripts():
    reference = pytest.importorskip("lm_eval.tasks.drop.utils")
    spans = [
        ("4",),
        ("4 yards", "Bob Ray"),
        ("1,000",),
        ("the May-day 1625",),
        ("the",),
        ("No. 7", "5.50"),
        ("Ann", "Bo"),
    ]
    texts = ["4", "4.0 yards", "Bob", "1000 men", "may day", "", "an", "7", "5.5", "Ann and Bo", "Bob Ray 4"]
    for text in texts:
        for one, other in zip(spans, spans[1:] + spans[:1], strict=True):
            expected = max(reference.get_metrics(text, gold)[1] for gold in (one, other))
            assert metrics.drop([text], items((one, other))) == pytest.approx(expected), (text, one, other)


def test_records_entities_are_compared_by_what_they_say():
    asked = [Item("", ("", "", ""), 1, answers=("the Bob", "Ann Lee"), texts=("Eve", "Bob", "Lee"))] * 3
    assert metrics.of_items(("chosen_exact", "chosen_f1"), [0, 1, 2], asked) == pytest.approx(
        {"chosen_exact": 1 / 3, "chosen_f1": (0 + 1 + 2 / 3) / 3}
    )


def test_multircs_questions_are_right_if_all_answers_are():
    asked = [Item("", ("", ""), gold, group=group) for gold, group in [(1, "a"), (0, "a"), (1, "b")]]
    values = metrics.of_items(("all_right", "f1a"), [1, 1, 1], asked)
    assert values == pytest.approx({"all_right": 1 / 2, "f1a": 2 * 2 / (3 + 2)})


def test_bleu_is_sacrebleus_and_the_papers_formula():
    texts = ["the cat sat on the mat today", "no way"]
    asked = items(("the cat sat on a mat today",), ("no way at all",))
    expected = sacrebleu.corpus_bleu(texts, [[item.answers[0] for item in asked]]).score / 100
    assert metrics.bleu(texts, asked) == pytest.approx(expected)
    # Clipped n-grams of the corpus: 6 + 2 of 9, 4 + 1 of 7, 2 of 5, 1 of 4; nine words where eleven are asked for.
    precision = math.exp(np.mean(np.log([8 / 9, 5 / 7, 2 / 5, 1 / 4])))
    assert expected == pytest.approx(precision * math.exp(1 - 11 / 9))


def test_rouge_is_the_librarys_and_the_definition():
    texts, asked = ["the gunmen\npolice killed"], items(("police kill\nthe gunman",))
    values = metrics.of_items(("rouge",), texts, asked)
    library = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeLsum"], use_stemmer=True)
    expected = library.score(asked[0].answers[0], texts[0])
    assert values["rougeL"] == expected["rougeLsum"].fmeasure
    # Shared by stems: police, kill, the; police kill; in order within the lines that fit best: police kill, the.
    assert [values[f"rouge{n}"] for n in "12L"] == pytest.approx([3 / 4, 1 / 3, 3 / 4])
    assert values["rouge_average"] == pytest.approx(np.mean([values[f"rouge{n}"] for n in "12L"]))


def test_perplexity_is_for_each_original_unit():
    asked = [Item("", ("",), units=3), Item("", ("",), units=1)]
    likelihoods = [-3 * math.log(8), -math.log(2)]
    assert metrics.perplexity(likelihoods, asked) == pytest.approx((8**3 * 2) ** (1 / 4))
    assert metrics.bits(likelihoods, asked) == pytest.approx(10 / 4)


def test_what_counts_of_a_text():
    assert writing.first_sentences(" One is. Two are.\nThree. Four.", 3) == "One is.\nTwo are.\nThree."
    assert [language.first_word(text) for text in (" don't, he", "", " \n")] == ["don't", "", ""]
    assert fewshot.first_content_word(["The", "", "ham", "bread"], {"the"}) == "ham"
    assert fewshot.first_content_word(["the", "a"], {"the", "a"}) == "the"
