"""Arrows point down: no module imports one that imports it, none imports configs, and configs are checked without JAX."""

import ast
import graphlib
import os
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "ssl_jax"


def module_of(path):
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in PACKAGE.rglob("*.py")}


def imports_of(path):
    """The modules that a file imports, inside functions too; a package only where the name is not one of its modules."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in MODULES else node.module


def test_no_module_imports_one_that_imports_it():
    graph = {name: {other for other in imports_of(path) if other in MODULES} for name, path in MODULES.items()}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_the_package_does_not_import_configs():
    assert not [path for path in PACKAGE.rglob("*.py") for name in imports_of(path) if name.split(".")[0] == "configs"]


def test_configs_are_checked_without_jax(root):
    code = (
        "import sys; from configs import bert; from ssl_jax import checks; checks.settle(bert.get_config('tiny,smoke')); "
        "assert not {'jax', 'optax', 'orbax', 'grain', 'tensorflow_datasets'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True)


def test_scripts_find_their_configs_where_only_the_package_is_installed(root, tmp_path):
    """As from a clone whose environment has no `configs`: nothing but the script puts the clone's folder on the path."""
    (tmp_path / "ssl_jax").symlink_to(root / "ssl_jax")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    for script in sorted((root / "scripts").glob("*.py")):
        code = (
            "import runpy, sys; "
            "sys.meta_path = [finder for finder in sys.meta_path if not finder.__module__.startswith('__editable__')]; "
            f"sys.argv = [{str(script)!r}, '--help']; runpy.run_path({str(script)!r}, run_name='__main__')"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{script.name}: {done.stderr[-300:]}"
