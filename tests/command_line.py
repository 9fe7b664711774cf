# SPDX-License-Identifier: Apache-2.0
"""The command line, run in the process of a test."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isoform.cli.demo import MODELS
from isoform.cli.main import status


@dataclass(frozen=True, slots=True)
class Ran:
    """Exit status and both streams."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """Standard output as exactly one object."""
        return json.loads(self.out)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """The command line, in a folder that holds the demonstration's networks and two tiny ones."""
    for path in MODELS.glob("*.onnx"):
        shutil.copy(path, tmp_path)
    for name, last in (("a.npz", 1.0), ("b.npz", 1.25)):
        np.savez(tmp_path / name, W0=np.array([[1, -2], [0.5, 1]], dtype=np.float32),
                 b0=np.array([0, 1], dtype=np.float32),
                 W1=np.array([[1, last]], dtype=np.float32), b1=np.zeros(1, dtype=np.float32))
    np.savez(tmp_path / "wide.npz", W0=np.ones((2, 3), dtype=np.float32))
    monkeypatch.chdir(tmp_path)

    def call(line: str) -> Ran:
        code = status(line.split())
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return Ran(code, out, err)

    return call
