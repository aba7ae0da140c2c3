"""The documentation's commands, keys and links exist: README.md, docs/ and the docstrings of configs/."""

import ast
import re
import shlex
from pathlib import Path

import pytest

from configs import fewshot
from configs.ablations import albert
from ssl_jax import checks, tasks
from ssl_jax import config as schema
from ssl_jax.command_line import _names
from ssl_jax.models.model import build_model
from tests.system.test_configs import parsed

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("configs/[a-z]*.py")])
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
ASSIGNMENT = re.compile(r'(\w+)=(?:"([^"]*)"|(\$\(.*\)|\S*))')
OVERRIDE = re.compile(r"--config\.([\w.]+)")
DEFINITION = re.compile(r"(?:DEFINE_\w+|define_path|define_seconds)\(\s*\"(\w+)\"")


def blocks(page):
    """The shell commands of a page: what is fenced in Markdown, and what is indented in a config's docstring."""
    text = page.read_text()
    if page.suffix == ".md":
        return [block for language, block in BLOCK.findall(text) if language in ("", "sh", "bash")]
    doc = ast.get_docstring(ast.parse(text)) or ""
    parts = re.split(r"\n(?=\S)", doc)
    return [part for part in parts if re.search(r"^    (?:\.venv|make|TRAIN)", part, re.MULTILINE)]


def commands(block):
    """The commands of a block, lists of words: variables are replaced, '...' is the last command written in full."""
    variables, full = {}, []
    joined = re.sub(r"\\\n\s*", " ", block)
    joined = re.sub(r'="[^"]*"', lambda value: value[0].replace("\n", " "), joined)  # a value may be of several lines
    for line in map(str.strip, joined.split("\n")):
        assigned = ASSIGNMENT.fullmatch(line)
        if assigned:
            name, quoted, plain = assigned.groups()
            variables[name] = quoted if quoted is not None else re.sub(r"^\$\(.*\)$", "OUTPUT", plain)
            continue
        for name in sorted(variables, key=len, reverse=True):
            line = line.replace(f"${name}", variables[name])
        if not re.match(r"(\.venv/bin/python|make|\.\.\.) ", line):
            continue
        first, *words = shlex.split(line, comments=True)
        if first != "...":
            full = [first, *words]
            yield full
            continue
        # Its own config takes the place of the one before.
        at = full.index("--config") if "--config" in words and "--config" in full else len(full)
        yield [*full[:at], *full[at + 2 :], *words]


BY_MAKE = {"scripts/bench.py", "scripts/bench_data.py", "scripts/demo.py"}
ALL = sorted({tuple(words) for page in PAGES for block in blocks(page) for words in commands(block)})
SCRIPTS = [words[1:] for words in ALL if words[0] == ".venv/bin/python" and words[1] != "-m"]


def test_commands_are_collected_from_every_kind_of_page():
    """A page whose commands are not seen would pass all other tests."""
    assert len(SCRIPTS) > 90
    assert {words[0] for words in SCRIPTS} >= {f"scripts/{path.name}" for path in ROOT.glob("scripts/*.py")} - BY_MAKE
    block = """
        A=".venv/bin/python x.py --config c.py"
        B=$(echo 1)
        no command
        $A:v --k=$B \\
            --l   # why
        ... --config d.py
        ... --m
    """
    common = [".venv/bin/python", "x.py"]
    assert list(commands(block)) == [
        [*common, "--config", "c.py:v", "--k=OUTPUT", "--l"],
        [*common, "--k=OUTPUT", "--l", "--config", "d.py"],
        [*common, "--config", "c.py:v", "--k=OUTPUT", "--l", "--m"],
    ]


def values(words):
    """The flags of a command as pairs (name, value), None without one, and the words that are no flags."""
    found, plain, words = [], [], list(words)
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            plain.append(word)
            continue
        name, equals, value = word[2:].partition("=")
        if not equals:
            value = words.pop(0) if words and not words[0].startswith("--") else None
        found.append((name, value))
    return found, plain


@pytest.mark.parametrize("words", SCRIPTS, ids=lambda words: " ".join(words)[:100])
def test_the_script_its_config_and_its_flags_exist(words, monkeypatch):
    script, *rest = words
    source = (ROOT / script).read_text()
    found, plain = values(rest)
    own = {name: value for name, value in found if not name.startswith(("config.", "sweep."))}
    if "cli_evaluate" in source:  # EleutherAI's own flags
        return
    defined = set(DEFINITION.findall(source)) | ({"config"} if "define_config(" in source else set())
    assert own.keys() <= defined, f"{script} defines {sorted(defined)}"
    if plain and script not in ("scripts/ensemble.py", "scripts/report.py"):  # whose words are folders
        assert f'"{plain[0]}": ' in source, f"{script} has no command {plain[0]}"
    if "config" not in own:
        return
    assert "$" not in own["config"]
    path = f"--config={ROOT}/{own['config']}"
    config = parsed(monkeypatch, path, *(f"--{name}={value}" for name, value in found if name.startswith("config.")))
    if "losses" in config:
        schema.check_values(config)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_key_that_a_page_names_exists(page):
    """In the text, too: `--config.KEY`."""
    known = _names(schema.base()).keys() | fewshot.get_config().keys()
    known |= _names(albert.get_config("table5")).keys()  # a sweep's stages are blocks
    named = {key.rstrip(".") for key in OVERRIDE.findall(page.read_text())}
    named = {key for key in named if key == key.lower()}  # KEY and losses.NAME stand for any
    assert {key for key in named if not key.startswith("evals.")} <= known
    assert all(schema.bound_of(key) for key in named if key.startswith("evals."))  # of any name


def test_what_make_is_given_exists():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([\w-]+):(?!=)", makefile, re.MULTILINE))
    variables = set(re.findall(r"^(\w+) \?=", makefile, re.MULTILINE))
    made = [words[1:] for words in ALL if words[0] == "make"]
    assert made
    for target, *rest in made:
        assert target in targets
        for name, _, value in (word.partition("=") for word in rest):
            assert name in variables
            assert name != "PAPER" or (ROOT / f"configs/{value}.py").exists()


def anchors(page):
    """What GitHub calls a page's headings."""
    headings = re.findall(r"^#+ (.*)$", BLOCK.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [p for p in PAGES if p.suffix == ".md"], ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = re.sub(r"`[^`\n]*`", "", BLOCK.sub("", page.read_text()))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith("http"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_index_has_every_page():
    readme = (ROOT / "README.md").read_text()
    for page in ROOT.glob("docs/*.md"):
        assert f"(docs/{page.name})" in readme, page.name
    howto = (ROOT / "docs/howto/README.md").read_text()
    for page in ROOT.glob("docs/howto/[a-z]*.md"):
        assert f"({page.name})" in howto, page.name


def test_every_test_that_a_page_names_exists():
    named = {
        name for page in PAGES for name in re.findall(r"(?:\btests/)?(?:\b\w+/)?\btest_\w+\.py\b", page.read_text())
    }
    assert named and not {name for name in named if not list((ROOT / "tests").rglob(name.removeprefix("tests/")))}


def test_every_module_that_a_page_names_exists():
    named = {
        path for page in PAGES for path in re.findall(r"\b(?:ssl_jax|configs|scripts)/[\w/]+\.py\b", page.read_text())
    }
    named -= {"configs/NAME.py", "configs/PAPER.py", "configs/ablations/PAPER.py"}
    assert named and not {path for path in named if not (ROOT / path).exists()}


ROWS = [
    tuple(words[1:])
    for block in blocks(ROOT / "docs/ablations.md")
    for words in commands(block)
    if words[1] == "scripts/train.py"
]


@pytest.mark.parametrize("words", ROWS, ids=lambda words: " ".join(words[2:])[:100])
def test_every_row_of_the_papers_tables_fits_itself(words, monkeypatch):
    """Whatever a config says of itself is in order; what it starts from is made up by whoever runs it."""
    found, _ = values(words[1:])
    config = next(value for name, value in found if name == "config")
    flags = [f"--{name}={value or ''}" for name, value in found if name.startswith("config.")]
    config = parsed(monkeypatch, f"--config={ROOT}/{config}", *flags)
    if config.data.examples == "task":
        with config.unlocked():
            config.task.classes = 1 if tasks.TASKS[config.task.name].kind == "regression" else 3
    build_model(checks.settle(config))
