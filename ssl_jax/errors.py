"""The one exception that means: the user can mend this."""

import difflib


class UserError(Exception):
    """Bad input or a fault outside the program, told in one line: what is wrong, where, what to do.

    The command line prints the line and exits with 1, without a traceback; every other exception
    is a bug of ours and keeps its traceback.
    """


def check_choice(name, choices, what):
    """Raises UserError, with the near match and all the choices, unless `name` is one of `choices`."""
    if name in choices:
        return
    near = difflib.get_close_matches(str(name), choices, 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise UserError(f"unknown {what} {name!r}; {hint}there are: {', '.join(choices)}")
