# SPDX-License-Identifier: Apache-2.0
"""The source files, their syntax trees and their imports, for the tests of the house."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src"
PACKAGE = SOURCE / "isoform"
FILES = sorted(PACKAGE.rglob("*.py"))
PYTHON_FILES = FILES + [
    path for room in ("tests", "benchmarks", "examples", "docs")
    for path in sorted((ROOT / room).rglob("*.py"))
]


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


def module_name(path: Path) -> str:
    parts = list(path.relative_to(SOURCE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


def room(module: str) -> str:
    """The room of a module: the first name below the package."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


@cache
def imports(path: Path) -> tuple[str, ...]:
    """Modules that a file imports, wherever in the file; `from isoform.a import b` is `isoform.a.b`
    where that is a module."""
    found: list[str] = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.append(full if full in MODULES else str(node.module))
    return tuple(dict.fromkeys(found))


def own_imports(path: Path) -> list[str]:
    return [name for name in imports(path) if name.split(".")[0] == "isoform"]


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()
