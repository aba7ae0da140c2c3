"""Matches classes by name: models number the same classes differently, so classifier rows move by name, not number."""

import re

import jax
import numpy as np

from ssl_jax.errors import UserError, listed
from ssl_jax.optimizers import path_name

# The heads with a row per class; choice and span heads have none.
CLASSIFIERS = ("classifier", "token_classes")


def of_run(config):
    """The names of a run's classes in row order, a tuple of str; () if they have no names."""
    names = tuple(config.task.get("labels", ()))
    return names if len(names) == config.task.classes else ()


def match(theirs, ours, whose, hint):
    """Finds the row of a source's classifier for each class of a task.

    Names match if they are equal or, failing that, equal up to case and to the separator (space, '_' or '-') between
    words: 'ENTAILMENT' is 'entailment', 'not entailment' is 'not_entailment', 'B-PER' is 'b_per' and not 'B-PERS'.
    Every name must have exactly one match.

    'LABEL_3' and '3' are numbers, not names, and LABEL_0, LABEL_1, ... in order count as no names at all. If one side
    has numbers or no names, the other's names are taken in the order of the numbers, which cannot be checked; if both
    have numbers, they must be the same.

    Args:
      theirs: the source's names in row order; () if it has none.
      ours: the task's names, as many as the source has rows.
      whose: the source's name in messages.
      hint: the end of the error message.

    Returns:
      A tuple with the source's row for each of `ours`; and a line that says which rows moved or that no names could
      be compared, '' if the names are the same in the same order.

    Raises:
      UserError: the names differ; the message has both lists.
    """
    for spelt in (str, _plain):
        wanted, rows = [spelt(name) for name in ours], {spelt(name): row for row, name in enumerate(theirs)}
        if len(rows) == len(theirs) == len(set(wanted)) and rows.keys() == set(wanted):
            order = tuple(rows[name] for name in wanted)
            moved = [f"{ours[place]} is row {row}" for place, row in enumerate(order) if place != row]
            return order, f"{whose}: rows of its classes are taken by name: {listed(moved, 8)}" if moved else ""
    if all(name == f"LABEL_{row}" for row, name in enumerate(theirs)):
        theirs = ()
    numbers, wanted = _numbers(theirs), _numbers(ours)
    if theirs and (bool(numbers) == bool(wanted)):  # names that differ, or numbers
        raise UserError(f"{whose} has the classes {_told(theirs, ours)}, and this task {_told(ours, theirs)}: {hint}")
    # Each side in the order of its numbers; a side with names is unchanged.
    rows, places = (np.argsort(given) if given else range(len(ours)) for given in (numbers, wanted))
    order = [0] * len(ours)
    for row, place in zip(rows, places, strict=True):
        order[place] = int(row)
    pairs = listed([f"{ours[place]} is row {order[place]}" for place in places], 8)
    nameless = "the task's classes are numbers" if theirs and not numbers else "its classes have no names"
    return tuple(order), f"{whose}: {nameless}, so rows are taken by number, unchecked: {pairs}"


def reorder(params, order):
    """Reorders the rows of classifiers, kernel [..., C] and bias [C]; `params` is a tree, or a dict by path."""
    if list(order) == sorted(order):
        return params
    order = np.array(order)

    def moved(path, x):
        return x[..., order] if path_name(path).split("/")[0] in CLASSIFIERS else x

    return jax.tree_util.tree_map_with_path(moved, params)


def _plain(name):
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def _numbers(names):
    """The names as numbers, in order; [] unless all are distinct numbers."""
    found = [re.fullmatch(r"(?:label[\s_-]*)?(\d{1,9})", name.strip(), re.IGNORECASE) for name in names]
    numbers = [int(one[1]) for one in found if one]
    return numbers if len(set(numbers)) == len(names) else []


def _told(names, others):
    """Formats names for a message; if there are many, those missing from the others come first."""
    if len(names) > 10:
        known = {_plain(name) for name in others}
        names = sorted(names, key=lambda name: _plain(name) in known)
    return listed(names, 10)
