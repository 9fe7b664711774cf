# SPDX-License-Identifier: Apache-2.0
"""How kernels are compiled and kept: `@kernel` in place of numba's decorator.

numba keeps compiled functions on disk and looks only at the file of each function: where a function
of another file that was compiled into it changes, the old machine code stays in use. Kernels decide
what is proved, so their cache has a folder of its own for every state of all kernel files.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba import njit

ROOM = Path(__file__).parent
PREFIX = "isoform-kernels-"
DIGITS = 16  # of the digest
KEPT = 86_400.0  # seconds for which a folder of another state is left alone


def kernel(
    function: Callable[..., Any] | None = None, *, inner: bool = False, inline: bool = False,
    forceinline: bool = False, error_model: str = "python",
) -> Any:
    """Compile a function with numba and keep it; the last two options are numba's.

    inner: only kernels call it, so it gets no entry from Python, which takes long to compile where
    there are many arguments; to call it from Python crashes. inline: it becomes part of its callers
    before they are compiled, and is not compiled alone: otherwise every level of calls compiles all
    that is below it once more.
    """
    options: dict[str, Any] = {
        "inline": "always" if inline else "never", "forceinline": forceinline,
        "no_cpython_wrapper": inner, "no_cfunc_wrapper": inner, "error_model": error_model,
    }

    def compiled(kernel: Callable[..., Any]) -> Any:
        settings: Any = numba.config
        chosen = settings.CACHE_DIR
        settings.CACHE_DIR = folder(chosen)
        try:
            return njit(cache=True, **options)(kernel)
        finally:
            settings.CACHE_DIR = chosen

    return compiled if function is None else compiled(function)


@cache
def folder(chosen: str) -> str:
    """The folder of this state of the kernels, in the one that the user has chosen for numba, else
    beside the sources, else with the user's caches; "" where none can be written. Old folders of
    other states beside it are removed; a young one may be in use by another program."""
    name = f"{PREFIX}{digest()}"
    places = [Path(chosen)] if chosen else [ROOM / "__pycache__", user_cache()]
    for place in places:
        with suppress(OSError):
            (place / name).mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=place / name):
                pass
            for other in place.glob(f"{PREFIX}*"):
                if other.name != name and time.time() - other.stat().st_mtime > KEPT:
                    shutil.rmtree(other, ignore_errors=True)
            return str(place / name)
    return ""


def kept(name: str) -> bool:
    """Whether a kernel, given as file.function, was compiled before and need not be again."""
    settings: Any = numba.config
    place = folder(settings.CACHE_DIR)
    return bool(place) and any(Path(place).rglob(f"{name}-*.nbi"))


def user_cache() -> Path:
    """The user's folder for caches."""
    given = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(given) if given else Path.home() / ".cache") / "isoform"


def digest() -> str:
    """Of all files of this room that hold kernels, and of numba's version."""
    found = hashlib.sha256(numba.__version__.encode())
    for path in sorted(ROOM.glob("*.py")):
        text = path.read_bytes()
        if b"@kernel" in text:
            found.update(path.name.encode() + b"\0" + text)
    return found.hexdigest()[:DIGITS]
