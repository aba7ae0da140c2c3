"""Tokenized text becomes text as people write it, and comes back to the letter whatever it is."""

import random

import pytest

from ssl_jax.tasks import detokenizers

# Set, line as published, as people write it. Two blanks stand before a word that is left as it is.
LINES = [
    ("WIKITEXT", " = Robert Boulter = ", "= Robert Boulter ="),
    ("WIKITEXT", " = = = Plot = = = ", "=== Plot ==="),
    ("WIKITEXT", " ", ""),
    ("WIKITEXT", "", "  "),
    ("WIKITEXT", " a guest @-@ starring role , of 1 @,@ 234 @.@ 5 km . ", "a guest-starring role, of 1,234.5 km."),
    ("WIKITEXT", " He didn 't say \" yes \" ( or no ) to the U.S. Army 's <unk> ; $ 5 . ",
     "He didn't say \"yes\" (or no) to the U.S. Army's <unk>; $5."),
    ("WIKITEXT", " no - one , 3-4 ", "no - one,  3-4"),
    ("WIKITEXT", " a @-@ b-c ", "a  @-@  b-c"),
    ("WIKITEXT", "no frame", "no frame "),
    ("PTB", " no it was n't ms. haag 's N <unk> ", "no it wasn't ms. haag's N <unk>"),
    ("ONE_BILLION_WORDS", '" I \'m not sure , " he said in the U.S. on Monday .',
     '"I\'m not sure," he said in the U.S. on Monday.'),
    ("ONE_BILLION_WORDS", "The players ' union -- they did n't ( yet ) .", "The players' union -- they didn't (yet)."),
    ("LAMBADA", "`` i do n't know , '' he said . `` why ? ''", '"i don\'t know," he said. "why?"'),
    ("CBT", "`` Well , '' -LRB- she was n't sure -RRB- `` it 's a XXXXX ! ''",
     '"Well," (she wasn\'t sure) "it\'s a XXXXX!"'),
    ("CBT", "a ( b", "a  ( b"),
]  # fmt: skip
NAMES = ["WIKITEXT", "PTB", "ONE_BILLION_WORDS", "LAMBADA", "CBT"]
WORDS = ["a", "b-c", "@-@", "@,@", "1", "2.5", '"', "``", "''", "'s", "n't", "'", "don't", "(", ")", "(a", "-LRB-", "",
         ".", ",", "U.S.", "end.", "mr.", "=", "==", "$5", "%", "<unk>", 'a"', '"b', "-", "--", "é"]  # fmt: skip


@pytest.mark.parametrize(("name", "line", "written"), LINES, ids=[f"{name}-{n}" for n, (name, *_) in enumerate(LINES)])
def test_a_line_as_people_write_it(name, line, written):
    detokenizer = getattr(detokenizers, name)
    assert detokenizer.detokenise(line) == written
    assert detokenizer.retokenise(written) == line


@pytest.mark.parametrize("name", NAMES)
def test_any_line_comes_back(name):
    draw, detokenizer = random.Random(0), getattr(detokenizers, name)
    for _ in range(5000):
        text = " ".join(draw.choices(WORDS, k=draw.randrange(7)))
        text = draw.choice([text, f" {text} ", f"{text}\n{text}"])
        assert detokenizer.retokenise(detokenizer.detokenise(text)) == text


def test_words_are_those_of_the_original_with_the_ends_of_lines():
    assert detokenizers.count_words(" no it was n't \n so \n") == 7
    assert detokenizers.count_words("one") == detokenizers.count_words("one\n") == 2
    assert detokenizers.count_words(" \n = A = \n \n") == 6
