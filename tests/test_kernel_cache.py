# SPDX-License-Identifier: Apache-2.0
"""Compiled kernels are kept per state of all kernel files."""

from __future__ import annotations

import ast
import os
import time
from importlib import import_module
from pathlib import Path

import numba
import pytest
from numba.core.dispatcher import Dispatcher

from isoform.regions import kernel as kernels
from source_tree import PACKAGE


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A room of two kernel files, one of which calls the other, and one file without kernels."""
    (tmp_path / "callee.py").write_text("@kernel\ndef one():\n    return 1\n")
    (tmp_path / "caller.py").write_text("@kernel\ndef two():\n    return one() + 1\n")
    (tmp_path / "plain.py").write_text("x = 1\n")
    monkeypatch.setattr(kernels, "ROOM", tmp_path)
    kernels.folder.cache_clear()
    yield tmp_path
    kernels.folder.cache_clear()


def test_any_kernel_file_changes_the_folder(room: Path) -> None:
    before = Path(kernels.folder(""))
    assert before.is_dir() and before.parent.parent == room
    (room / "plain.py").write_text("x = 2\n")
    kernels.folder.cache_clear()
    assert Path(kernels.folder("")) == before
    (room / "callee.py").write_text("@kernel\ndef one():\n    return 2\n")
    kernels.folder.cache_clear()
    after = Path(kernels.folder(""))
    assert after != before and after.is_dir() and before.is_dir()


def test_old_folders_are_removed(room: Path) -> None:
    """A young one is left, for another program may be using it."""
    old, young = (room / "__pycache__" / f"{kernels.PREFIX}{name}" for name in ("old", "young"))
    for path in (old, young):
        path.mkdir(parents=True)
    long_ago = time.time() - 2 * kernels.KEPT
    os.utime(old, (long_ago, long_ago))
    assert Path(kernels.folder("")).is_dir()
    assert young.is_dir() and not old.exists()


def test_folder_chosen_for_numba_is_respected(room: Path) -> None:
    chosen = room / "chosen"
    assert Path(kernels.folder(str(chosen))).parent == chosen


def test_what_is_kept_is_known(room: Path) -> None:
    assert not kernels.kept("caller.two")
    place = Path(kernels.folder("" if numba.config.CACHE_DIR == "" else numba.config.CACHE_DIR))
    (place / "room").mkdir()
    (place / "room" / "caller.two-2.py311.nbi").touch()
    assert kernels.kept("caller.two") and not kernels.kept("callee.one")


def test_setting_of_numba_is_left_alone(room: Path) -> None:
    before = numba.config.CACHE_DIR
    doubled = kernels.kernel(lambda x: 2 * x)
    assert doubled(3) == 6 and before == numba.config.CACHE_DIR


def test_no_kernel_goes_round_the_decorator() -> None:
    """Every file that compiles does so through `kernel`."""
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text()
        if path.name != "kernel.py":
            assert "njit" not in text and "numba.jit" not in text, path


def test_python_takes_no_kernel_without_an_entry() -> None:
    """A kernel compiled for other kernels alone would crash where Python calls it."""
    taken, closed = 0, 0
    for path in (PACKAGE / "regions").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ImportFrom) or "isoform.regions" not in (node.module or ""):
                continue
            source = import_module(str(node.module))
            for alias in node.names:
                held = getattr(source, alias.name, None)
                if not isinstance(held, Dispatcher):
                    continue
                inner = bool(held.targetoptions.get("no_cpython_wrapper"))
                closed += inner
                taken += "@kernel" not in path.read_text()
                assert "@kernel" in path.read_text() or not inner, (path.name, alias.name)
    assert taken > 3 and closed > 3
