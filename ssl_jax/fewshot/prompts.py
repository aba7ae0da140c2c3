"""Prompts: which solved examples are shown before an item, and the text that they make together."""

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
      seed, number: what the choice is keyed by: of the run, and the item's place in the test set.
      at_most: take fewer where there are fewer, but one at least.

    Returns:
      List of records.

    Raises:
      UserError: there are not so many.
    """
    if not shots:
        return []
    order = np.random.default_rng([seed, number]).permutation(len(train))
    drawn = list(itertools.islice((train[i] for i in order if train[i] != record), shots))
    if len(drawn) < (1 if at_most else shots):
        asked = "as many examples as fit" if at_most else f"{shots} examples"
        raise UserError(f"{asked} are to be shown, and there are {len(drawn)} to draw from: show fewer, or none")
    return drawn


def compose(protocol, shots, context):
    """The text that is read before a target.

    Args:
      protocol: a Protocol.
      shots: Items to show solved, in this order.
      context: the item's; of one with `contexts`, a choice's.
    """
    return protocol.description + protocol.separator.join([*map(protocol.shown, shots), context])


def fit(compose_text, count_tokens, room, shots):
    """As many of the examples as there is room for, the last ones.

    Args:
      compose_text: list of examples -> text.
      count_tokens: text -> int.
      room: the tokens that the text may have: those that fit the model, less the target's.
      shots: the examples, a list.

    Returns:
      A list, the end of `shots`.

    Raises:
      UserError: the text is too long without examples, too.
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
