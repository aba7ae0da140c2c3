"""Which solved examples are shown before an item, and the text they are together."""

import bisect
import itertools

import numpy as np

from ssl_jax.errors import UserError


def draw(train, record, shots, seed, number, at_most=False):
    """Examples to show before an item, drawn without replacement; fewer shots are the first ones of more.

    Args:
      train: list of records to draw from; the item's own may be among them and is never drawn (GPT-3, section 2.4,
        draws the Winograd schemas' examples from the test set itself).
      record: the item's.
      shots: how many.
      seed, number: what the choice is keyed by: the draw's, and the item's place in the split.
      at_most: take fewer where there are fewer, but at least one.

    Returns:
      List of records.

    Raises:
      UserError: there are too few.
    """
    if not shots:
        return []
    order = np.random.default_rng([seed, number]).permutation(len(train))
    drawn = list(itertools.islice((train[i] for i in order if train[i] != record), shots))
    if len(drawn) < (1 if at_most else shots):
        asked = "as many examples as fit" if at_most else f"{shots} examples"
        raise UserError(f"{asked} are to be shown, and there are {len(drawn)} to draw from: show fewer, or none")
    return drawn


def compose(prompt, shots, context):
    """The text that is read before a target.

    Args:
      prompt: a Prompt.
      shots: Items to show solved, in this order.
      context: the item's, or with `contexts` a choice's.
    """
    return prompt.description + prompt.separator.join([*map(prompt.shown, shots), context])


def fit(compose_text, count_tokens, room, shots):
    """The last examples, as many as fit.

    Args:
      compose_text: list of examples -> text.
      count_tokens: text -> int.
      room: how many tokens the text may have: those that fit the model, less the target's.
      shots: the examples, a list.

    Returns:
      A list, the end of `shots`.

    Raises:
      UserError: the text is too long even without examples.
    """

    def fits(dropped):
        return count_tokens(compose_text(shots[dropped:])) <= room

    dropped = bisect.bisect_left(range(len(shots) + 1), True, key=fits)
    if dropped > len(shots):
        length = count_tokens(compose_text([]))
        raise UserError(
            f"a prompt has {length} tokens without any example, and there is room for {room}: {length - room} too "
            "many; take a model of more positions"
        )
    return shots[dropped:]
