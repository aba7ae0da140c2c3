"""The one exception that means: the user can mend this."""

import difflib
import reprlib


class UserError(Exception):
    """Bad input or a fault outside the program, told in one line: what is wrong, where, what to do.

    The command line prints the line and exits with 1, without a traceback; every other exception
    is a bug of ours and keeps its traceback.
    """

    def __str__(self):
        """The line; line breaks and the like, which names of files may have, escaped."""
        return _on_one_line(super().__str__())


class NotFiniteError(UserError):
    """A loss, gradient or metric of a run is not finite: other values of its hyperparameters may do."""


_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxlong = _REPR.maxother = 60
_REPR.maxlevel, _REPR.maxlist, _REPR.maxtuple, _REPR.maxdict = 3, 4, 4, 4


def shown(value):
    """A value as part of a message, as Python spells it: on one line and short, whatever it holds."""
    return cut(_REPR.repr(value), 200)


def cut(text, most=60):
    """A text as part of a message: at most `most` of its characters, line breaks and the like escaped."""
    start = _on_one_line(text[: most + 1])
    return start if len(start) <= most else f"{start[:most]}..."


def _on_one_line(text):
    return "".join(x if x.isprintable() else x.encode("unicode_escape").decode() for x in text)


def is_text(word):
    """Whether UTF-8 can spell a word: Python keeps other bytes, of arguments and names of files, as lone surrogates."""
    return word.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in word)


def listed(names, most=20):
    """'a, b, c and 7 more': at most `most` of several names, and some 400 characters, as part of a message."""
    names = list(names)
    told = [cut(str(name)) for name in names[:most]]
    while sum(map(len, told)) > 400:
        told.pop()
    return ", ".join(told) + (f" and {len(names) - len(told)} more" if len(names) > len(told) else "")


def check_entries(values, kind, what):
    """Raises UserError unless all of `values`, a tuple, are of type `kind`: str, int or float, which ints are, too."""
    kinds = (int, float) if kind is float else (kind,)
    wrong = next((one for one in values if type(one) not in kinds), None)
    if wrong is not None:
        named = {str: "words, as in a,b or '3',", int: "whole numbers", float: "numbers"}[kind]
        raise UserError(f"{what}={shown(tuple(values))}: {shown(wrong)} is none of the {named} that it takes")


def check_choice(name, choices, what):
    """Raises UserError, with the near match and all the choices, unless `name` is one of `choices`."""
    if name in choices:
        return
    near = difflib.get_close_matches(str(name), choices, 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise UserError(f"unknown {what} {shown(name)}; {hint}there are: {listed(choices, 60)}")
