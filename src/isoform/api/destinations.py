# SPDX-License-Identifier: Apache-2.0
"""Where files go: refused before any work where that cannot be, and whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from isoform.certificate.certificate import save
from isoform.certificate.verdict import Proved, Verdict
from isoform.errors import Refused
from isoform.forms.model import Model

WRITABLE = (".onnx", ".npz")


def check_destination(path: str | os.PathLike[str], model: Model) -> Path:
    """The destination as a path. Refused before any work where it cannot be written."""
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in (".pt", ".pth"):
        raise Refused(f"{path}: isoform writes no {suffix} (it would be a pickle); write .onnx, or "
                      ".npz and load the arrays into a module")
    if suffix not in WRITABLE:
        raise Refused(f"{path}: cannot write a file of type {suffix or '(none)'}; isoform writes "
                      f"{' and '.join(WRITABLE)}")
    check_folder(path)
    if path.exists() and os.path.exists(model.origin) and os.path.samefile(path, model.origin):
        raise Refused(f"{path} is the source itself; a proof needs both files, choose another name")
    return path


def check_certificate_path(path: str | os.PathLike[str]) -> Path:
    """The place of a certificate. Refused where it would write over something else: a name that
    does not end in .json, or whose large arrays (`<stem>.bin`) would replace a foreign file."""
    path = Path(path)
    if path.suffix.lower() != ".json":
        raise Refused(f"{path}: a certificate's name ends in .json, so that it never takes the "
                      "place of a model")
    check_folder(path)
    arrays = path.with_suffix(".bin")
    if arrays.exists() and not path.exists():
        raise Refused(f"{path}: its large arrays would go to {arrays}, which is another file; "
                      "choose another name")
    return path


def certificate_path(path: Path, asked: str | os.PathLike[str] | None) -> Path:
    """Where the certificate of the file `path` goes: as asked for, else beside it."""
    if asked is not None:
        return check_certificate_path(asked)
    return check_certificate_path(path.with_name(path.name + ".certificate.json"))


def check_folder(path: Path) -> None:
    """Refused where a file of that name cannot be made."""
    if not path.parent.is_dir():
        raise Refused(f"the folder {path.parent} does not exist; create it first")
    if path.is_dir():
        raise Refused(f"{path} is a folder; give a file name")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise Refused(f"the folder {path.parent} may not be written to; choose another")


@contextmanager
def draft_of(path: Path) -> Iterator[Path]:
    """A path of the same name in a temporary folder beside `path`; what was written there is put in
    place at the end, and on any error or interrupt nothing is."""
    room = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield room / path.name
        for item in sorted(room.iterdir(), key=lambda item: item.name == path.name):
            os.replace(item, path.parent / item.name)  # external data first, the model last
    finally:
        shutil.rmtree(room, ignore_errors=True)


def keep_certificate(verdict: Verdict | None, path: Path) -> Path | None:
    """Save the certificate of a proof; a certificate of an earlier file under that name goes."""
    if isinstance(verdict, Proved):
        save(verdict.certificate, path)
        return path
    if path.exists():
        path.unlink()
        path.with_suffix(".bin").unlink(missing_ok=True)  # its large arrays
    return None
