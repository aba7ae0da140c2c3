"""How every script starts: flags in, one clear line and a non-zero exit code when something is wrong."""

import ast
import logging
import os
import sys
import threading
import traceback
import warnings

from absl import app, flags
from absl import logging as absl_logging
from ml_collections import config_flags
from ml_collections.config_flags import tuple_parser

from ssl_jax.errors import UserError, cut


class _ListParser(tuple_parser.TupleParser):
    """What several values are on a command line: Python's, as in 1,2 or 'a','b', or plain words, as in runs/a,/tmp/b."""

    def parse(self, argument):
        if isinstance(argument, str) and argument[:1] not in tuple("([{'\""):
            try:
                ast.literal_eval(argument)
            except (SyntaxError, ValueError):
                return tuple(word.strip() for word in argument.split(",") if word.strip())
        return super().parse(argument)


config_flags.register_flag_parser_for_type(tuple, _ListParser())


def define_config(default=None):
    """Defines `--config FILE.py:variant` with its `--config.key=value` overrides; returns the flag."""
    return config_flags.DEFINE_config_file(
        "config", default, "a config file and its variant, for example configs/bert.py:tiny"
    )


def run(main, usage=None):
    """Parses the command line, calls `main()` and exits; users' errors become one line on stderr.

    With `usage`, lines that say what there is, main gets the words that are no flags: `main(*words)`.
    """
    absl_logging.set_verbosity(absl_logging.FATAL)
    # XLA reports at length, as errors, that a cached CPU program was tuned for this very machine.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # A full disk is told once, by what could not be saved: not for every cached program, nor with the
    # tracebacks of the threads and tasks that were writing.
    warnings.filterwarnings("ignore", "Error writing persistent compilation cache")
    threading.excepthook = sys.unraisablehook = lambda arguments: None
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    _require_config()
    app.define_help_flags()
    try:
        rest = flags.FLAGS(sys.argv)[1:]
        if usage and not rest:
            raise flags.Error(f"what is to be done? {usage}")
        if rest and not usage:
            raise flags.Error(f"{rest[0]!r} is not a flag; flags begin with --, as in --config.steps=100")
        if "config" in flags.FLAGS:
            _ = flags.FLAGS["config"].value.is_locked  # what is wrong with a file is told on first use
    except Exception as error:  # absl's, ml_collections' and whatever a config file raises
        _exit(2, _flag_message(error))
    try:
        main(*rest)
    except UserError as error:
        _exit(1, str(error))
    except OSError as error:
        # A full disk, a read-only folder, a file that is missing: the system's own words and the path.
        if error.errno is None:
            raise
        _exit(1, f"{error.strerror}: {error.filename}" if error.filename else error.strerror)
    except KeyboardInterrupt as error:
        _exit(130, f"interrupted: {error}" if str(error) else "interrupted")
    except Exception as error:
        parallel = sys.modules.get("ssl_jax.parallel")
        if parallel is not None and parallel.is_one_of_several():  # leaving as usual, it would wait for the others
            gone = parallel.is_gone(error)
            if not gone:
                traceback.print_exc()
            parallel.leave(1, gone)
        raise


def _require_config():
    if "config" in flags.FLAGS and flags.FLAGS["config"].default is None:
        flags.mark_flag_as_required("config")


def _flag_message(error):
    """The lines that absl and ml_collections spread over several, as one."""
    lines = [line.strip() for line in str(error).replace("\\n", "\n").splitlines() if line.strip()]
    if isinstance(error, AttributeError) and lines[0].startswith(("'", '"')):
        # ml_collections quotes twice: '\'stps\'\nDid you mean "steps" instead of "stps"?'
        return "unknown config key " + "; ".join(line.strip("\"'\\") for line in lines)
    if isinstance(error, OSError):
        # ml_collections lists the places where it looked: the first is the file as it was given.
        return "cannot read the config file " + next((x for x in lines[1:] if "Attempted" not in x), lines[0])
    # A config file's own error arrives as a whole traceback in one string: its last line is the message.
    message = lines[-1].split("UserError: ")[-1] if lines else repr(error)
    known = isinstance(error, (flags.Error, UserError, ValueError))
    return message if known else f"the config file fails: {type(error).__name__}: {message}"


def _exit(code, message):
    print(f"error: {cut(message, 2000)}", file=sys.stderr)
    parallel = sys.modules.get("ssl_jax.parallel")  # where JAX is not loaded yet, there is one process
    if parallel is not None:
        parallel.leave(code)
    raise SystemExit(code)
