# SPDX-License-Identifier: Apache-2.0
"""The rules of the house on single files: length, first lines, names, no paths of a machine."""

from __future__ import annotations

import ast
import re
import subprocess

import pytest

from source_tree import FILES, PYTHON_FILES, ROOT, relative, tree

LONG_FILES = {  # between 400 and 650 lines, each with a reason
    "tests/test_certificate.py",  # every forgery beside the file that it forges
}
LONGEST_FILE, HARD_LIMIT, LONGEST_FUNCTION = 400, 650, 60


def test_files_are_short() -> None:
    lines = {relative(path): len(path.read_text().splitlines()) for path in PYTHON_FILES}
    limits = {name: HARD_LIMIT if name in LONG_FILES else LONGEST_FILE for name in lines}
    assert {name: n for name, n in lines.items() if n > limits[name]} == {}


def test_no_exception_outlives_its_need() -> None:
    for name in LONG_FILES:
        assert len((ROOT / name).read_text().splitlines()) > LONGEST_FILE, name


def test_functions_are_short() -> None:
    lengths = {
        f"{relative(path)}: {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path in PYTHON_FILES for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: n for name, n in lengths.items() if n > LONGEST_FUNCTION} == {}


def test_the_licence_stands_first() -> None:
    licence = "# SPDX-License-Identifier: Apache-2.0"
    firsts = {relative(path): path.read_text().splitlines()[:1] for path in PYTHON_FILES}
    assert [name for name, first in firsts.items() if first != [licence]] == []


def test_modules_say_what_they_are() -> None:
    written = [path for path in PYTHON_FILES if path.name != "__init__.py" or tree(path).body]
    assert [relative(path) for path in written if not ast.get_docstring(tree(path))] == []
    assert [
        relative(path) for path in PYTHON_FILES if path.name != "__init__.py"
        and not any(isinstance(n, ast.ImportFrom) and n.module == "__future__"
                    for n in tree(path).body)
    ] == []


def test_no_underscore_modules() -> None:
    names = [path.stem for path in FILES if path.stem not in ("__init__", "__main__")]
    assert not [name for name in names if name.startswith("_")]


def test_words_that_say_nothing_name_nothing() -> None:
    vague = re.compile(r"(?i)manager|helper|utils|engine|magic")
    for path in FILES:
        assert not vague.search(path.stem), path
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                assert not vague.search(node.name), f"{relative(path)}: {node.name}"


def test_public_functions_name_their_arguments() -> None:
    for path in FILES:
        for node in tree(path).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                assert node.args.kwarg is None, f"{relative(path)}: {node.name} takes any keyword"


def test_no_machine_path_is_tracked() -> None:
    """The separators are spelled so that this file is not its own finding."""
    places = re.compile(r"(^|[^A-Za-z0-9_.])[/](work|root|farm|home[/]\w+|tmp[/]\w+)[/]?\b", re.M)
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path.suffix in (".png", ".onnx", ".npz", ".gz", ".npy") or not path.is_file():
            continue
        found = places.search(path.read_text())
        assert found is None, f"{name}: {found and found.group(0)!r}"
