"""The one exception for errors that the user can fix."""

import difflib
import reprlib


class UserError(Exception):
    """Bad input or an external failure, reported in one line: what is wrong, where, and what to do.

    The command line prints the line and exits with 1, without a traceback; any other exception
    is our bug and keeps its traceback.
    """

    def __str__(self):
        """The line, with line breaks and the like, which file names may contain, escaped."""
        return _on_one_line(super().__str__())


class NotFiniteError(UserError):
    """A loss, gradient or metric of a run is not finite; other hyperparameters may work."""


_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxlong = _REPR.maxother = 60
_REPR.maxlevel, _REPR.maxlist, _REPR.maxtuple, _REPR.maxdict = 3, 4, 4, 4


def shown(value):
    """A value's repr formatted for a message: on one line and short, whatever it holds."""
    return cut(_REPR.repr(value), 200)


def cut(text, most=60):
    """A text formatted for a message: at most `most` characters, with line breaks and the like escaped."""
    start = _on_one_line(text[: most + 1])
    return start if len(start) <= most else f"{start[:most]}..."


def _on_one_line(text):
    return "".join(x if x.isprintable() else x.encode("unicode_escape").decode() for x in text)


def is_text(word):
    """Whether UTF-8 can encode a word: Python keeps other bytes in arguments and file names as lone surrogates."""
    return word.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in word)


def listed(names, most=20):
    """'a, b, c and 7 more', for a message: at most `most` names and about 400 characters."""
    names = list(names)
    told = [cut(str(name)) for name in names[:most]]
    while len(", ".join(told)) > 400:
        told.pop()
    return ", ".join(told) + (f" and {len(names) - len(told)} more" if len(names) > len(told) else "")


def check_entries(values, kind, what):
    """Raises UserError unless all of `values`, a tuple, are of type `kind`: str, int or float (ints count as float)."""
    kinds = (int, float) if kind is float else (kind,)
    wrong = next((one for one in values if type(one) not in kinds), None)
    if wrong is not None:
        named = {str: "words, as in a,b or '3',", int: "whole numbers", float: "numbers"}[kind]
        raise UserError(f"{what}={shown(tuple(values))}: {shown(wrong)} is none of the {named} that it takes")


def check_choice(name, choices, what):
    """Raises UserError, with the closest match and all choices, unless `name` is one of `choices`."""
    if name in choices:
        return
    near = difflib.get_close_matches(str(name), choices, 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise UserError(f"unknown {what} {shown(name)}; {hint}there are: {listed(choices, 60)}")
