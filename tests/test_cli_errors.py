# SPDX-License-Identifier: Apache-2.0
"""Bad input, bugs and interrupts at the command line: one message, a status, no file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isoform.cli.main import status

# --- status 3, with words and without a traceback -------------------------------------------------


BAD = {
    "inspect absent.onnx": "no such file",
    "inspect broken.onnx": "broken.onnx",
    "inspect broken.npz": "broken.npz",
    "inspect notes.txt": "cannot read a file of type .txt",
    "inspect weights.pt": "torch.nn.Module",
    "inspect .": "cannot read a file",
    "convert a.npz --to affin": "did you mean 'affine'",
    "convert a.npz --by nothing": "there is no converter 'nothing'",
    "convert a.npz --to affine": "no route",
    "convert a.npz": "either --to FORM or --by CONVERTER",
    "convert a.npz --to convolutional --option colour=red": "unknown option 'colour'",
    "convert a.npz --to convolutional --option colour": "KEY=VALUE",
    "convert a.npz --to convolutional --limit parameters=2": "where the limit is 2",
    "convert a.npz --to convolutional --limit units=few": "no number",
    "convert a.npz --to convolutional --limit size=1": "choose units",
    "convert a.npz --to convolutional --horizon 3": "unknown option 'horizon'",
    "convert a.npz --to convolutional --within tiny": "eps is 'tiny'",
    "convert a.npz --to convolutional --on box:1,-1": "the box is empty",
    "convert a.npz --to convolutional --on box:0,1/0,1/0,1": "dimension 3",
    "convert a.npz --to convolutional -o absent/out.onnx": "the folder absent does not exist",
    "convert a.npz --to convolutional -o a.npz": "the source itself",
    "convert a.npz --to convolutional -o out.pt": "pickle",
    "prove a.npz b.npz --on box:2,1": "the box is empty",
    "prove a.npz b.npz --on box:nan,1": "no exact bound",
    "prove a.npz b.npz --on box:0,1e999999999": "the exponent 999999999 is beyond",
    "prove a.npz b.npz --within 1e-999999999": "eps is '1e-999999999'",
    "prove a.npz b.npz --on vnnlib:": "the name of a file is missing",
    "prove a.npz b.npz --on points:pickle.npy": "it is no .npy file",
    "prove a.npz b.npz --on npz:open.npz": "npz:open.npz: ndarray is no exact bound",
    "prove a.npz b.npz --certificate a.npz": "ends in .json",
    "prove a.npz b.npz --certificate absent/c.json": "the folder absent does not exist",
    "convert a.npz --to convolutional --certificate absent/c.json": "absent does not exist",
    "convert a.npz --to convolutional --limit units=-5": "give 0 or more",
    "convert a.npz --to convolutional --limit units=1e400": "`none` takes the bound away",
    "inspect nan.onnx": "nan.onnx: node",
    "prove a.npz b.npz --on box:0,1/0,1/0,1": "dimension 3",
    "prove a.npz b.npz --on points:empty.npy": "holds no points",
    "prove a.npz b.npz --on points:absent.npy": "no such file",
    "prove a.npz b.npz --on vnnlib:absent.vnnlib": "no such file",
    "prove a.npz b.npz --on triangle": "is no domain",
    "prove a.npz wide.npz": "2 and 3 inputs",
    "prove a.npz b.npz --within 1 --same-decision": "not both",
    "prove a.npz b.npz --within -1": "0 or more",
    "prove a.npz b.npz --margin 1": "--margin belongs to --same-decision",
    "prove two.npz two.npz --same-decision --margin -1": "give 0 or more",
    "inspect pipe.onnx": "no regular file",
    "prove a.npz": "Missing argument 'B'. `isoform prove --help` says more",
    "check absent.json": "absent.json",
    "atlas nowhere": "there is no form 'nowhere'",
    "convert a.npz --to convolutional --dtype float16": "float16",
}


def with_nan(data: bytes) -> bytes:
    """An ONNX file whose first matrix holds NaN."""
    import onnx

    model = onnx.load_from_string(data)
    tensor = next(t for t in model.graph.initializer if len(t.dims) == 2)
    weights = onnx.numpy_helper.to_array(tensor).copy()
    weights[0, 0] = np.nan
    tensor.CopyFrom(onnx.numpy_helper.from_array(weights, tensor.name))
    return model.SerializeToString()


@pytest.mark.parametrize("line", BAD)
def test_bad_input_is_status_3_in_words(line: str, run: Any, tmp_path: Path) -> None:
    data = (tmp_path / "controller.onnx").read_bytes()
    (tmp_path / "broken.onnx").write_bytes(data[: len(data) // 2])
    (tmp_path / "broken.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:100])
    (tmp_path / "notes.txt").write_text("no network")
    (tmp_path / "weights.pt").write_bytes(b"\x80")
    np.save(tmp_path / "empty.npy", np.zeros((0, 2)))
    np.savez(tmp_path / "two.npz", W0=np.eye(2))
    os.mkfifo(tmp_path / "pipe.onnx")
    (tmp_path / "pickle.npy").write_bytes(b"\x80\x04N.")
    np.savez(tmp_path / "open.npz", low=np.full(2, -np.inf), high=np.ones(2))
    (tmp_path / "nan.onnx").write_bytes(with_nan(data))
    before = sorted(tmp_path.iterdir())
    found = run(line)
    assert found.code == 3
    assert BAD[line] in found.err
    assert found.err.startswith("isoform: ") and "a bug in" not in found.err
    assert sorted(tmp_path.iterdir()) == before


def test_a_bug_is_one_line_and_a_traceback_only_with_debug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from isoform import api

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("oh")

    monkeypatch.setattr(api, "atlas", fail)
    assert status(["atlas"]) == 3
    _, err = capsys.readouterr()
    assert "a bug in isoform, please report it: RuntimeError: oh" in err
    assert "Traceback" not in err
    assert status(["atlas", "--debug"]) == 3
    assert "Traceback" in capsys.readouterr().err


def test_an_interrupt_is_status_130_and_leaves_nothing(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from isoform.api import delivery

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(delivery, "settle", interrupt)
    before = sorted(tmp_path.iterdir())
    found = run("convert a.npz --to convolutional -o out.onnx")
    assert found.code == 130
    assert sorted(tmp_path.iterdir()) == before


def test_undecided_writes_the_file_with_a_warning_and_no_certificate(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fractions import Fraction

    from isoform.api import delivery
    from isoform.certificate.verdict import Undecided
    from isoform.network.claim import Claim, Equal

    verdict = Undecided(claim=Claim(Equal()), lower=Fraction(0), upper=None, reason="out of time")
    monkeypatch.setattr(delivery, "settle", lambda *_: (verdict, False))
    (tmp_path / "out.onnx.certificate.json").write_text("of an earlier file")
    found = run("convert a.npz --to convolutional -o out.onnx")
    assert found.code == 2
    assert "NOT PROVED" in found.err and "out of time" in found.out
    assert (tmp_path / "out.onnx").is_file()
    assert not (tmp_path / "out.onnx.certificate.json").exists()
