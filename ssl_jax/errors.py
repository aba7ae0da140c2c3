"""The one exception that means: the user can mend this."""

import difflib


class UserError(Exception):
    """Bad input or a fault outside the program, told in one line: what is wrong, where, what to do.

    The command line prints the line and exits with 1, without a traceback; every other exception
    is a bug of ours and keeps its traceback.
    """


class NotFiniteError(UserError):
    """A loss, gradient or metric of a run is not finite: other values of its hyperparameters may do."""


def check_entries(values, kind, what):
    """Raises UserError unless all of `values`, a tuple, are of type `kind`: str, int or float, which ints are, too."""
    kinds = (int, float) if kind is float else (kind,)
    wrong = next((one for one in values if type(one) not in kinds), None)
    if wrong is not None:
        named = {str: "words, as in a,b or '3',", int: "whole numbers", float: "numbers"}[kind]
        raise UserError(f"{what}={tuple(values)}: {wrong!r} is none of the {named} that it takes")


def check_choice(name, choices, what):
    """Raises UserError, with the near match and all the choices, unless `name` is one of `choices`."""
    if name in choices:
        return
    near = difflib.get_close_matches(str(name), choices, 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise UserError(f"unknown {what} {name!r}; {hint}there are: {', '.join(choices)}")
