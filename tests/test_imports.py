"""Arrows point down: no module imports one that imports it, none imports configs, and configs are checked without JAX."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "ssl_jax"


def module_of(path):
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def imports_of(path):
    """The names of all modules that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_no_module_imports_one_that_imports_it():
    paths = {module_of(path): path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem != "__init__"}
    graph = {name: {other for other in imports_of(path) if other in paths} - {name} for name, path in paths.items()}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_the_package_does_not_import_configs():
    assert not [path for path in PACKAGE.rglob("*.py") for name in imports_of(path) if name.split(".")[0] == "configs"]


def test_configs_are_checked_without_jax(root):
    code = (
        "import sys; from configs import bert; from ssl_jax import checks; checks.settle(bert.get_config('tiny,smoke')); "
        "assert not {'jax', 'optax', 'orbax', 'grain', 'tensorflow_datasets'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True)
