"""Which examples are shown, the text they make to the letter, and what is left out where room is short."""

import pytest

from ssl_jax.errors import UserError
from ssl_jax.evaluators import prompts
from ssl_jax.tasks.base import Item, Prompt, solved

TRAIN = [{"n": n} for n in range(20)]
PROMPT = Prompt("choices", None, ("accuracy",), description="Name it.\n", separator="\n==\n")
SHOTS = [Item("a b:", (" no", " yes"), 1), Item("", (" runs.",), 1, ("The cat", "The dog"))]


def test_examples_are_distinct_and_keyed_by_seed_and_number():
    drawn = [prompts.draw(TRAIN, None, 5, seed, number) for seed, number in ((0, 0), (0, 0), (0, 1), (1, 0))]
    assert drawn[0] == drawn[1] and drawn[0] != drawn[2] and drawn[0] != drawn[3]
    assert all(len({one["n"] for one in some}) == 5 for some in drawn)
    assert prompts.draw(TRAIN, None, 3, 0, 0) == drawn[0][:3]
    assert prompts.draw(TRAIN, None, 0, 0, 0) == []


def test_an_item_is_never_its_own_example():
    for number, record in enumerate(TRAIN):
        drawn = prompts.draw(TRAIN, dict(record), 19, 0, number)
        assert sorted(one["n"] for one in drawn) == [n for n in range(20) if n != record["n"]]
    with pytest.raises(UserError, match="20 examples are to be shown, and there are 19 to draw from"):
        prompts.draw(TRAIN, TRAIN[3], 20, 0, 0)


def test_every_example_is_as_likely():
    counts = [sum(one["n"] == n for number in range(2000) for one in prompts.draw(TRAIN, None, 5, 7, number))
              for n in range(20)]  # fmt: skip
    assert sum(counts) == 10_000 and all(abs(count - 500) < 5 * (500 * 0.75) ** 0.5 for count in counts)


def test_the_text_to_the_letter():
    assert prompts.compose(PROMPT, [], "x:") == "Name it.\nx:"
    assert prompts.compose(PROMPT, SHOTS, "x:") == "Name it.\na b: yes\n==\nThe dog runs.\n==\nx:"
    shouted = PROMPT._replace(shown=lambda item: solved(item).upper())
    assert prompts.compose(shouted, SHOTS[:1], "x:") == "Name it.\nA B: YES\n==\nx:"


def test_pairs_of_a_context_and_a_target():
    assert SHOTS[0].pairs == [("a b:", " no"), ("a b:", " yes")]
    assert SHOTS[1].pairs == [("The cat", " runs."), ("The dog", " runs.")]


@pytest.mark.parametrize(("room", "kept"), [(99, 4), (15, 4), (14, 3), (6, 1), (5, 0), (3, 0)])
def test_examples_are_left_out_from_the_front(room, kept):
    shots = ["a b c"] * 3 + ["d e f"]

    def text(some):
        return " ".join(["x y z", *some])

    assert prompts.fit(text, lambda words: len(words.split()), room, shots) == shots[4 - kept :]


def test_a_prompt_that_is_too_long_alone_says_by_how_much():
    with pytest.raises(UserError, match="has 5 tokens without any example, and there is room for 3: 2 too many"):
        prompts.fit(lambda some: " ".join(["a b c d e", *some]), lambda text: len(text.split()), 3, ["f"])
