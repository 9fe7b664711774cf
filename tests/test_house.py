# SPDX-License-Identifier: Apache-2.0
"""The rules of the house: which room may import which, no cycles, a checker that stands alone.

Imports are read from the syntax trees, those inside functions and under TYPE_CHECKING included.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from source_tree import (
    FILES,
    MODULES,
    PACKAGE,
    imports,
    module_name,
    own_imports,
    relative,
    room,
    tree,
)

COMMON = {"errors", "version", "text"}
ROOMS: dict[str, set[str]] = {
    "numerics": set(),
    "network": {"numerics"},
    "algebra": {"network", "numerics"},
    "assemble": {"network", "numerics"},
    "forms": {"algebra", "network", "numerics"},
    "formats": {"assemble", "network", "numerics"},
    "bounds": {"network", "numerics"},
    "regions": {"bounds", "network", "numerics"},
    "certificate": {"network", "numerics"},
    "converters": {"algebra", "forms", "bounds", "regions", "network", "numerics"},
    "verify": {"certificate", "regions", "bounds", "network", "numerics"},
    "plan": {"converters", "forms", "network", "numerics"},
    "report": {"certificate", "regions", "forms", "network", "numerics"},
    "cli": {"api", "report", "network"},
    "studies": {"api", "report"},
    "errors": set(),
    "version": set(),
    "text": set(),
}
EVERYTHING = {*ROOMS, "api"}
ROOMS["api"] = EVERYTHING - {"cli"}
ROOMS["__init__"] = {"api", "forms", "network", "numerics", "certificate"}
ROOMS["__main__"] = {"cli"}

# What a room must not import from outside, however lazily.
FOREIGN: dict[str, set[str]] = {
    "network": {"torch", "onnx", "onnxruntime", "sklearn"},
    "forms": {"torch", "onnx", "onnxruntime", "sklearn"},
    "converters": {"torch", "onnx", "onnxruntime", "sklearn"},
    "certificate": {"torch", "onnx", "onnxruntime", "sklearn", "highspy", "scipy", "numba"},
    "plan": {"torch", "onnx", "onnxruntime", "sklearn"},
}
FRAMEWORKS = {"onnx", "onnxruntime", "torch", "sklearn"}

# Forward references between types that describe each other; nothing else may look upwards.
TYPES_ONLY = {
    ("isoform.network.operators", "isoform.network.network"),  # the cell of a Scan
}

# --- the table of rooms -----------------------------------------------------------------------


def broken_imports(path: Path) -> Iterator[str]:
    """Imports of a file that its room may not make."""
    here = module_name(path)
    mine = room(here)
    for name in own_imports(path):
        theirs = room(name)
        if theirs == mine or theirs in COMMON or theirs in ROOMS[mine]:
            continue
        if name == "isoform" and mine in ("cli", "studies", "__main__"):
            continue
        yield f"{here} imports {name}"


def test_rooms_import_only_what_they_may() -> None:
    assert [finding for path in FILES for finding in broken_imports(path)] == []


def test_the_public_names_come_from_rooms_that_the_package_may_import() -> None:
    """`__init__` imports by name, when a name is first used; its table counts as imports."""
    import isoform

    assert {room(name) for name in isoform.PUBLIC.values()} - COMMON <= ROOMS["__init__"]


def test_nothing_else_is_imported_by_name() -> None:
    dynamic = re.compile(r"import_module\(|__import__\(|importlib")
    users = [relative(path) for path in FILES if dynamic.search(path.read_text())]
    assert users in ([], ["src/isoform/__init__.py"])


def test_every_room_has_its_line_in_the_table() -> None:
    assert {room(name) for name in MODULES} <= set(ROOMS)


def test_no_foreign_library_where_it_does_not_belong() -> None:
    findings = [
        f"{name} imports {used}" for name, path in MODULES.items() for used in imports(path)
        if used.split(".")[0] in FOREIGN.get(room(name), set())
    ]
    assert findings == []


def test_a_converter_imports_no_other_converter() -> None:
    shared = {"isoform.converters", "isoform.converters.converter"}
    for name, path in MODULES.items():
        if room(name) == "converters" and name not in shared | {"isoform.converters.catalogue"}:
            others = [i for i in own_imports(path) if room(i) == "converters" and i not in shared]
            assert not others, f"{name} imports {others}"


def test_a_format_imports_no_other_format_and_one_framework() -> None:
    def kind(name: str) -> str:
        return name.split(".")[2] if name.count(".") > 1 else ""

    frameworks: dict[str, set[str]] = {}
    for name, path in MODULES.items():
        if room(name) != "formats":
            continue
        others = [i for i in own_imports(path) if room(i) == "formats" and kind(i) != kind(name)]
        assert not others, f"{name} imports {others}"
        used = {i.split(".")[0] for i in imports(path)} & FRAMEWORKS
        frameworks.setdefault(kind(name), set()).update(used)
    for name, used in frameworks.items():
        assert len(used) <= 1 or used == {"onnx", "onnxruntime"}, f"{name} uses {used}"


def test_only_the_command_line_and_the_package_import_the_api() -> None:
    users = {
        room(name) for name, path in MODULES.items()
        if any(room(used) == "api" for used in own_imports(path))
    }
    assert users <= {"cli", "studies", "__init__", "api"}


# --- cycles -----------------------------------------------------------------------------------


def test_no_import_cycles_even_inside_functions() -> None:
    """Importing a module runs its package's `__init__`, but that edge is left out: `__init__`
    re-exports, and a cycle through it would show in the files that it names."""
    graph = {
        name: [
            target for target in own_imports(path)
            if target != name and (name, target) not in TYPES_ONLY
        ]
        for name, path in MODULES.items()
    }
    assert cycle(graph) == []


def cycle(graph: dict[str, list[str]]) -> list[str]:
    """Some cycle of a directed graph, or nothing."""
    done: set[str] = set()
    for start in graph:
        path: list[str] = []
        stack = [(start, iter(graph[start]))] if start not in done else []
        path += [start] if stack else []
        while stack:
            name, rest = stack[-1]
            target = next((t for t in rest if t in graph and t not in done), None)
            if target is None:
                done.add(name)
                path.pop()
                stack.pop()
            elif target in path:
                return [*path[path.index(target):], target]
            else:
                path.append(target)
                stack.append((target, iter(graph[target])))
    return []


def test_the_search_for_cycles_finds_one() -> None:
    assert cycle({"a": ["b"], "b": ["c"], "c": ["b"], "d": []}) == ["b", "c", "b"]
    assert cycle({"a": ["b", "c"], "b": ["c"], "c": []}) == []


def test_exceptions_for_types_are_needed_and_never_run() -> None:
    for user, used in TYPES_ONLY:
        assert used in guarded(MODULES[user])
        assert used not in [i for i in run_time_imports(MODULES[user])]


def guarded(path: Path) -> list[str]:
    """Imports under `if TYPE_CHECKING`."""
    found = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            found += [str(n.module) for n in node.body if isinstance(n, ast.ImportFrom)]
    return found


def run_time_imports(path: Path) -> list[str]:
    inside = {
        id(n) for node in ast.walk(tree(path))
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for n in node.body
    }
    return [
        str(n.module) for n in ast.walk(tree(path))
        if isinstance(n, ast.ImportFrom) and id(n) not in inside
    ]


# --- the trusted kernel -----------------------------------------------------------------------


def closure(start: list[str]) -> set[str]:
    """Everything of ours that these modules import, directly or not."""
    found: set[str] = set()
    waiting = list(start)
    while waiting:
        name = waiting.pop()
        if name in found or name not in MODULES:
            continue
        found.add(name)
        waiting += own_imports(MODULES[name])
    return found


CERTIFICATE = [name for name in MODULES if room(name) == "certificate"]


def test_the_checker_reaches_nothing_that_searches() -> None:
    reached = {room(name) for name in closure(CERTIFICATE)}
    assert reached <= {"certificate", "network", "numerics"} | COMMON


def test_the_checker_loads_no_solver() -> None:
    """In a fresh process, not only by the look of the imports."""
    loaded = loaded_by("import isoform.certificate.check")
    heavy = {"highspy", "scipy.optimize", "numba", "onnx", "onnxruntime", "torch", "sklearn"}
    assert not loaded & heavy
    rooms = {name.split(".")[1] for name in loaded if name.startswith("isoform.")}
    assert rooms <= {"certificate", "network", "numerics"} | COMMON


def test_the_checker_can_be_read_in_one_sitting() -> None:
    lines = {path.stem: len(path.read_text().splitlines())
             for path in (PACKAGE / "certificate").glob("*.py")}
    assert sum(lines.pop(name) for name in ("check", "evidence", "certificate")) <= 800
    assert max(lines.values()) <= 320, lines


# --- the catalogue --------------------------------------------------------------------------


def test_every_converter_is_in_the_catalogue() -> None:
    """One file, one line: nothing can be forgotten."""
    from isoform.converters.catalogue import CATALOGUE

    listed = {converter.rewrite.__module__ for converter in CATALOGUE}
    written = {
        name for name in MODULES
        if room(name) == "converters"
        and name not in ("isoform.converters", "isoform.converters.converter",
                         "isoform.converters.catalogue")
    }
    assert listed == written
    names = [converter.name for converter in CATALOGUE]
    assert len(set(names)) == len(names)
    assert {name.split(".")[-1] for name in written} == set(names)


# --- what an import costs ---------------------------------------------------------------------


def loaded_by(statement: str) -> set[str]:
    """Names of the modules that a fresh interpreter has after a statement."""
    script = f"{statement}\nimport sys\nprint('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines())


@pytest.mark.parametrize("statement", ["import isoform", "import isoform.cli.main"])
def test_heavy_libraries_wait_until_they_are_used(statement: str) -> None:
    heavy = {"onnx", "onnxruntime", "torch", "scipy", "matplotlib", "numba", "sklearn", "highspy"}
    assert not loaded_by(statement) & heavy
