"""Entry point of every script: parses flags; errors give one clear line and a non-zero exit code."""

import ast
import dataclasses
import difflib
import logging
import os
import re
import sys
import textwrap
import threading
import traceback
import warnings
from pathlib import Path

from absl import app, flags
from absl import logging as absl_logging
from ml_collections import ConfigDict, config_flags
from ml_collections.config_flags import tuple_parser
from ml_collections.config_flags.config_flags import ConfigFileFlagParser

from ssl_jax import synonyms
from ssl_jax.errors import UserError, cut, is_text, shown

# Scripts and configs run from a clone that is not installed: `from configs import ...` needs its folder on the path.
_CLONE = Path(getattr(sys.modules["__main__"], "__file__", None) or ".").resolve().parent.parent
if (_CLONE / "configs").is_dir() and str(_CLONE) not in sys.path:
    sys.path.append(str(_CLONE))

flags.disclaim_key_flags()  # flags defined through this module belong to the script

# Config keys that hold paths, in which ~ is a home folder.
PATHS = (
    "data.corpus", "data.root", "data.tokenizer.path", "task.folder", "task.augmented", "init.run", "teacher.runs",
    "teacher.cache", "run.reference", "runs", "folder",
)  # fmt: skip
OVERRIDE = re.compile(r"--?(?:no)?config\.(.+?)(?:=(.*))?", re.DOTALL)
EVALUATION = re.compile(r"--?config\.evals\.(\w+)\.(\w+)=(.*)", re.DOTALL)


class _ListParser(tuple_parser.TupleParser):
    """Parses several values on a command line: Python's, as in 1,2 or 'a','b', or plain words, as in runs/a,/tmp/b."""

    def parse(self, argument):
        if isinstance(argument, str) and argument[:1] not in tuple("([{'\""):
            try:
                ast.literal_eval(argument)
            except (SyntaxError, ValueError, MemoryError, RecursionError):
                return tuple(word.strip() for word in argument.split(",") if word.strip())
        try:
            return super().parse(argument)
        except (MemoryError, RecursionError) as error:
            raise ValueError("several values are needed, as in 1,2") from error


class _Parser(flags.ArgumentParser):
    """A flag type whose errors say what is needed; `read(str)` raises ValueError for invalid input."""

    def __init__(self, read, needed):
        self.read, self.needed = read, needed
        self.syntactic_help = ""

    def parse(self, argument):
        if not isinstance(argument, str):
            return argument
        try:
            return self.read(argument)
        except (ValueError, OverflowError) as error:
            raise ValueError(f"{self.needed} is needed") from error

    def flag_type(self):
        return self.needed


def _read_whole(text):
    """'1000', '1_000' or '1e3' as an int."""
    try:
        return int(text)
    except ValueError:
        if not float(text).is_integer():
            raise
        return int(float(text))


def _read_bool(text):
    known = {"true": True, "t": True, "1": True, "yes": True, "false": False, "f": False, "0": False, "no": False}
    if text.lower() not in known:
        raise ValueError
    return known[text.lower()]


config_flags.register_flag_parser_for_type(tuple, _ListParser())
config_flags.register_flag_parser_for_type(int, _Parser(_read_whole, "a whole number"))
config_flags.register_flag_parser_for_type(float, _Parser(float, "a number"))
config_flags.register_flag_parser_for_type(bool, _Parser(_read_bool, "True or False"))


def define_config(required=True):
    """Defines `--config FILE.py:variant` with its `--config.key=value` overrides; returns the flag."""
    holder = config_flags.DEFINE_config_file(
        "config", None, "a config file and its variant, for example configs/bert.py:tiny"
    )
    flags.FLAGS["config"].needed = required
    return holder


def define_path(name, default, help_text, **options):
    """Defines a flag whose value is a path, in which ~ is a home folder; returns the flag."""
    parser = _Parser(_path, "a path")
    return flags.DEFINE(parser, name, default, help_text, serializer=flags.ArgumentSerializer(), **options)


def define_seconds(name, bare, help_text):
    """Defines a flag --NAME[=SECONDS], 0 if it is not given and `bare` if it has no value; returns the flag."""
    words = {"true": float(bare), "false": 0.0}  # as absl spells --NAME and --noNAME
    parser = _Parser(lambda text: words[text] if text in words else _positive(text), "a number of seconds above 0")
    flag = flags.Flag(parser, flags.ArgumentSerializer(), name, 0.0, help_text, boolean=True)
    return flags.DEFINE_flag(flag)


def _positive(text):
    if not float(text) > 0:
        raise ValueError
    return float(text)


def _path(text):
    if not text:  # as from an unset variable; the current folder is '.'
        raise ValueError
    return expanded(text)


def expanded(path):
    """A path, or a corpus text:FOLDER, with ~ replaced by a home folder; applied to each element of a tuple."""
    if isinstance(path, tuple | list):
        return tuple(expanded(one) for one in path)
    if not isinstance(path, str):
        return path
    kind = "text:" if path.startswith("text:") else ""
    return kind + os.path.expanduser(path.removeprefix(kind))


def settled(workdir=None, start=True):
    """The config of `--config` as its run will use it, with all config-only checks done before JAX is loaded.

    Args:
      workdir: the run's folder, if any.
      start: whether the run or model it starts from must exist; otherwise only one named by a flag must.

    Returns:
      The config, with what it takes from its source (`source.adopt`), and log lines listing that.

    Raises:
      UserError: a value is out of bounds, values are inconsistent with each other or the source, or the source is
        missing.
    """
    from ssl_jax import checks, source  # takes half a second, which scripts without a config avoid

    flag = flags.FLAGS["config"]
    config, given = flag.value, config_flags.get_override_values(flag)
    numbers = {key: given[key] for key in ("model.vocab_size", "data.tokenizer.vocab_size") if key in given}
    if len(set(numbers.values())) > 1:
        told = " and ".join(f"--config.{key}={value}" for key, value in numbers.items())
        raise UserError(f"{told} are one number: set data.tokenizer.vocab_size alone")
    config, lines = checks.from_source(config, given, workdir, start)
    config = checks.settle(config, given)
    if start or lines:
        source.check_fit(config, workdir)
    return config, lines


def run(main, usage=None):
    """Parses the command line, calls `main()` and exits; user errors become one line on stderr.

    With `usage`, lines listing what is available, main gets the non-flag words: `main(*words)`.
    """
    absl_logging.set_verbosity(absl_logging.FATAL)
    # XLA logs long errors saying that a cached CPU program was tuned for this very machine.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Report a full disk once, by what could not be saved: not for every cached program, nor with the
    # tracebacks of the threads and tasks that were writing.
    warnings.filterwarnings("ignore", "Error writing persistent compilation cache")
    sys.stdout.reconfigure(errors="backslashreplace")  # like stderr: file names may be bytes that are not text
    threading.excepthook = sys.unraisablehook = lambda arguments: None
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    app.define_help_flags()
    try:
        for word in sys.argv[1:]:
            if not is_text(word):
                raise flags.Error(f"{shown(word)} has bytes that are not UTF-8")
        sys.argv = _config_first(sys.argv)
        if any(argument in ("--help", "-help", "-h", "--helpshort", "--helpfull") for argument in sys.argv[1:]):
            print(_help())
            raise SystemExit(0)
        given = _config_file(sys.argv)[0] is not None
        if "config" in flags.FLAGS and getattr(flags.FLAGS["config"], "needed", True) and not given:
            raise flags.Error("--config is missing: a config file and its variant, as in --config configs/bert.py:tiny")
        sys.argv, evaluations = _without_evaluations(sys.argv)
        _check_keys(sys.argv)
        rest = [expanded(word) for word in flags.FLAGS(sys.argv)[1:]]
        if usage and not rest:
            raise flags.Error(f"what is to be done? {usage}")
        if rest and not usage:
            raise flags.Error(f"{shown(rest[0])} is not a flag; flags begin with --, as in --config.steps=100")
        if "config" in flags.FLAGS and given:
            _add_evaluations(flags.FLAGS["config"].value, evaluations)
            _check_config(flags.FLAGS["config"])
    except Exception as error:  # from absl, ml_collections or a config file
        _exit(2, _flag_message(error))
    try:
        main(*rest)
    except UserError as error:
        _exit(1, str(error))
    except OSError as error:
        # Full disk, read-only folder, missing file: the system's own message and the path.
        if error.errno is None:
            raise
        _exit(1, f"{error.strerror}: {error.filename}" if error.filename else error.strerror)
    except KeyboardInterrupt as error:
        _exit(130, f"interrupted: {error}" if str(error) else "interrupted")
    except Exception as error:
        parallel = _processes()
        if parallel is not None and parallel.is_one_of_several():  # a normal exit would wait for the others
            gone = parallel.is_gone(error)
            if not gone:
                traceback.print_exc()
            parallel.leave(1, gone)
        raise


def _config_file(argv):
    """The position of --config in a command and the number of words it takes; (None, 0) if absent."""
    for at, argument in enumerate(argv):
        if argument == "--":
            break
        if re.match(r"--?config=", argument):
            return at, 1
        if argument in ("--config", "-config") and at + 1 < len(argv):
            return at, 2
    return None, 0


def _config_first(argv):
    """A command with --config moved to the front, as its keys require: users may give flags in any order."""
    at, words = _config_file(argv)
    return argv if at is None else [argv[0], *argv[at : at + words], *argv[1:at], *argv[at + words :]]


def _load(argv):
    """The config a command names, without overrides; None if it names none or it cannot be read."""
    at, words = _config_file(argv)
    if at is None or "config" not in flags.FLAGS:
        return None
    path = argv[at + 1] if words == 2 else argv[at].partition("=")[2]
    try:
        config = ConfigFileFlagParser("config").parse(path)
        return config if isinstance(config, ConfigDict) else None
    except Exception:  # absl reads it again and reports the error
        return None


def _names(config, prefix=""):
    """All keys of a config and their values, including blocks: {'model': ..., 'model.layers': 12}."""
    names = {}
    for name, value in config.items():
        names[f"{prefix}{name}"] = value
        if isinstance(value, ConfigDict):
            names |= _names(value, f"{prefix}{name}.")
    return names


def _without_evaluations(argv):
    """A command without the flags of evaluations that the config does not have yet, and [(name, key, value)] of these.

    `--config.evals.speed.module=timing` adds one; absl only sets keys that are there.
    """
    found = {word: EVALUATION.fullmatch(word) for word in argv[1:] if EVALUATION.fullmatch(word)}
    names = _names(_load(argv) or {}) if found else {}
    if "evals" not in names:
        return argv, []
    new = {word: match.groups() for word, match in found.items() if "evals.{}.{}".format(*match.groups()) not in names}
    return [word for word in argv if word not in new], list(new.values())


def _add_evaluations(config, evaluations):
    """Adds the values of `_without_evaluations`, each of its option's type; an evaluation without a module is 'mean'."""
    if not evaluations:
        return
    from ssl_jax.evaluators import EVALUATORS, Evaluation

    with config.unlocked():
        for name, key, value in sorted(evaluations, key=lambda one: one[1] != "module"):
            if name not in config.evals:
                config.evals[name] = dict(module="mean")
            options = config.evals[name]
            fields = {field.name: field for field in dataclasses.fields(EVALUATORS.get(options.module, Evaluation))}
            kind = fields[key].metadata["bound"].kind if key in fields else str
            if kind is bool:  # what is no such word is refused by checks.settle
                value = {"true": True, "false": False}.get(value.lower(), value)
            elif kind is int and re.fullmatch(r"-?\d{1,18}", value):
                value = int(value)
            elif kind is tuple:
                value = _ListParser().parse(value)
            options[key] = value


def _check_keys(argv):
    """Raises flags.Error for a key that the config does not have, with the nearest ones."""
    found = [match for match in map(OVERRIDE.fullmatch, argv[1:]) if match]
    names = _names(_load(argv) or {}) if found else {}
    for key, value in (match.groups() for match in found if names):
        if key not in names:
            raise flags.Error(f"unknown config key {cut(key)}{_hint(key, names)}")
        if isinstance(names[key], ConfigDict) and not (value or "").startswith("{"):
            raise flags.Error(
                f"config key {key} is a block: set its keys, as --config.{key}.{next(iter(names[key]))}=..."
            )


def near(name, keys):
    """The keys a name may mean: a former name, a synonym, those with the same last part, or those with similar spelling."""
    if synonyms.RENAMED.get(name) in keys:
        return [synonyms.RENAMED[name]]
    plain = re.sub("[-_]", "", name.rpartition(".")[2].lower())
    other = synonyms.KEYS.get(plain)
    if other in keys or other and other.startswith("--"):
        return [other]
    last = {key: re.sub("[-_]", "", key.rpartition(".")[2]) for key in keys}
    same = [key for key in keys if last[key] == plain]
    if same:
        # Keys of the named block first, then the model's, then others.
        block = name.partition(".")[0]
        return sorted(same, key=lambda key: (key.partition(".")[0] != block, not key.startswith("model."), key))[:3]
    whole = difflib.get_close_matches(name, keys, 1, 0.75)
    if whole and difflib.SequenceMatcher(None, last[whole[0]], plain).ratio() > 0.6:
        return whole
    known = {**{word: key for word, key in synonyms.KEYS.items() if key in keys}, **{last[key]: key for key in keys}}
    return [known[word] for word in difflib.get_close_matches(plain, known, 1, 0.75)]


def _hint(name, names):
    """'; did you mean --config.optimizer.warmup (share of the clock's total)?'"""
    found = near(name, list(names))
    if not found:
        return "; --help lists all keys"
    told = [key if key.startswith("--") else f"--config.{key}" for key in found]
    doc = _docs().get(found[0], "")
    return f"; did you mean {' or '.join(told)}{f' ({doc})' * bool(doc)}?"


def _docs():
    """What each key is for."""
    from ssl_jax import config as schema

    return schema.docs()


def _check_config(flag):
    """Raises a config file's own error, or UserError if the config is not one of ours; expands its paths."""
    config = flag.value
    _ = (
        config.is_locked if not isinstance(config, dict | None) else None
    )  # a config file's error is raised on first use
    where = cut(flag.config_filename, 200)
    if not isinstance(config, ConfigDict):
        raise UserError(f"get_config() of {where} gives {type(config).__name__}: begin with ssl_jax.config.base()")
    names = _names(config)
    if "losses" in names:
        from ssl_jax import config as schema

        known = _names(schema.base())
        for name in names:
            if name not in known and not name.startswith("evals."):
                raise UserError(f"{where} has an unknown key {cut(name)}{_hint(name, known)}")
        if "variant" in names and not config.variant:
            config.variant = flag.config_filename
    for name in PATHS:
        *blocks, key = name.split(".")
        block = config
        for part in blocks:
            block = block.get(part, {})
        if isinstance(block.get(key), str | tuple | list):
            block[key] = expanded(block[key])


def _help():
    """A script's purpose and flags, and with --config all keys with their values and meanings."""
    script = sys.modules["__main__"]
    lines = [(script.__doc__ or "").strip(), "", "flags:"]
    for flag in flags.FLAGS.get_key_flags_for_module(sys.argv[0]):
        default = (
            "" if flag.default in (None, "", []) or flag.name == "config" else f" (default: {flag.default_as_str})"
        )
        lines += _entry(f"--{flag.name}", f"{flag.help}{default}")
    if "config" in flags.FLAGS:
        lines += _help_on_keys()
    return "\n".join(lines)


def _help_on_keys():
    config = _load(sys.argv)
    at, words = _config_file(sys.argv)
    of = "ssl_jax/config.py" if config is None else sys.argv[at + words - 1].removeprefix("--config=")
    from ssl_jax import config as schema

    names = _names(schema.base() if config is None else config)
    lines = ["", f"keys of the config, each a flag --config.KEY=VALUE, here with the values of {of}:"]
    docs = _docs()
    for name, value in names.items():
        if isinstance(value, ConfigDict):
            lines += ["", f"  {name}{f': {docs[name]}' * bool(docs.get(name))}"]
        else:
            told = ",".join(map(str, value)) if isinstance(value, tuple | list) else value
            lines += _entry(f"{name}={told}", docs.get(name, ""))
    return lines


def _entry(name, text):
    """Lines with a name and, in a column next to it, its meaning."""
    column = textwrap.wrap(text, 78) or [""]
    first = [f"  {name:<38}  {column[0]}".rstrip()] if len(name) <= 38 else [f"  {name}", " " * 42 + column[0]]
    return first + [" " * 42 + line for line in column[1:]]


def _flag_message(error):
    """The multi-line messages of absl and ml_collections as one line."""
    lines = [line.strip() for line in str(error).replace("\\n", "\n").splitlines() if line.strip()]
    if isinstance(error, flags.UnrecognizedFlagError):
        name = error.flagname.split("=")[0]
        keys = _names(_load(sys.argv) or {})
        hint = near(name, list(keys)) if keys else []
        other = difflib.get_close_matches(name, list(flags.FLAGS), 1, 0.75)
        told = [f"--{word}" for word in other] or [key if key.startswith("--") else f"--config.{key}" for key in hint]
        return f"Unknown command line flag {cut(name)!r}" + "".join(f"; did you mean {one}?" for one in told[:1])
    if isinstance(error, OSError):
        return _file_message(next((x for x in lines[1:] if "Attempted" not in x), lines[0]))
    if missing := re.fullmatch(r"flag --(\w+)=None: .*", " ".join(lines)):
        return f"--{missing[1]} is missing"
    # A config file's own error arrives as a whole traceback in one string: its last line is the message.
    message = lines[-1].split("UserError: ")[-1] if lines else repr(error)
    known = isinstance(error, (flags.Error, UserError, ValueError))
    return message if known else f"the config file fails: {type(error).__name__}: {message}"


def _file_message(path):
    """The message for an unreadable config file: ml_collections lists where it looked, the given path first."""
    if Path(path).exists():
        return f"cannot read the config file {path}"
    names = [str(one) for one in Path(path).parent.glob("*.py")]
    found = difflib.get_close_matches(path, names, 1)
    ours = Path(__file__).parent.parent / path
    if not found and ours.is_file():
        found = [str(ours)]
    return f"cannot read the config file {path}: there is none" + "".join(f"; did you mean {one}?" for one in found)


def _processes():
    """parallel.py, or None if JAX is not loaded, so there is only one process."""
    return sys.modules.get("ssl_jax.parallel") if "jax" in sys.modules else None


def _exit(code, message):
    # absl repeats values in full.
    message = re.sub(r"\S{400,}", lambda word: cut(word[0], 200), message)
    print(f"error: {cut(message, 1000)}", file=sys.stderr)
    parallel = _processes()
    if parallel is not None:
        parallel.leave(code)
    raise SystemExit(code)
