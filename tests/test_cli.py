# SPDX-License-Identifier: Apache-2.0
"""The command line: texts as in tests/golden, JSON keys, exit statuses, and no traceback ever.

A golden file that is missing is written by the test, which then fails once: delete the file to make
it anew, and look at it.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isoform.cli.demo import MODELS
from isoform.cli.main import status

GOLDEN = Path(__file__).parent / "golden"


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


# --- golden texts -------------------------------------------------------------------------------


CASES = {
    "inspect_controller": "inspect controller.onnx --on box:-1,1",
    "inspect_layers": "inspect a.npz",
    "convert_dry_run": "convert controller.onnx --to feed-forward --on box:-1,1 --dry-run",
    "convert_on_a_box": "convert controller.onnx --to feed-forward --on box:-1,1 -o out.onnx",
    "convert_everywhere": "convert adapter.onnx --to affine -o out.onnx",
    "convert_exact": "convert adapter.onnx --to affine --exact -o out.onnx",
    "convert_to_nowhere": "convert a.npz --to convolutional",
    "convert_without_proof": "convert a.npz --to convolutional --no-prove -o out.onnx",
    "prove_equal": "prove a.npz a.npz",
    "prove_refuted": "prove a.npz b.npz --on box:-1,1",
    "prove_within": "prove a.npz b.npz --on box:-1,1 --within 2",
    "prove_same_decision_of_one_output": "prove a.npz b.npz --same-decision",
    "atlas_recurrent": "atlas recurrent feed-forward",
    "atlas_route": "atlas layered affine",
    "atlas_unknown": "atlas recurent",
    "usage_two_goals": "convert a.npz --to affine --by merge_units",
    "usage_no_verb": "transmogrify a.npz",
}


def normalised(text: str) -> str:
    """Without what depends on clock, versions and machine."""
    text = re.sub(r"(seconds +)[\d.]+", r"\1S", text)
    text = re.sub(r"\d+\.\d\d s\b", "S s", text)
    text = re.sub(r"[\d,]+ bytes,", "N bytes,", text)
    text = re.sub(r"deviation [\d.e+-]+", "deviation D", text)
    return re.sub(r"outputs up to [\d.e+-]+", "outputs up to D", text)


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str, run: Any) -> None:
    ran = run(CASES[name])
    text = normalised(
        f"$ isoform {CASES[name]}\n{ran.out}--- standard error\n{ran.err}--- status {ran.code}\n"
    )
    path = GOLDEN / f"{name}.txt"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        pytest.fail(f"{path} was written; look at it and run again")
    assert text == path.read_text()


def test_every_golden_file_has_its_case() -> None:
    assert {path.stem for path in GOLDEN.glob("*.txt")} == set(CASES)


# --- JSON ---------------------------------------------------------------------------------------


VERDICT = {"verdict", "claim", "arithmetic", "grade", "lower", "upper", "reason", "witness",
           "seconds"}
SIZE = {"depth", "width", "units", "parameters", "nonzeros", "flops", "bytes"}
MODEL = {"path", "sha256", "form"} | SIZE


def test_json_of_prove(run: Any) -> None:
    found = run("prove a.npz b.npz --on box:-1,1 --json")
    assert found.code == 1
    record = found.json
    assert set(record) == VERDICT | {"source", "target", "certificate"}
    assert set(record["source"]) == MODEL and set(record["target"]) == MODEL
    assert record["verdict"] == "refuted" and record["arithmetic"] == "reals"
    assert set(record["witness"]) == {"point", "exact", "source", "target", "output", "difference"}
    assert record["witness"]["source"] != record["witness"]["target"]


def test_json_of_convert(run: Any) -> None:
    found = run("convert controller.onnx --to feed-forward --on box:-1,1 -o out.onnx --json")
    assert found.code == 0
    record = found.json
    assert set(record) == VERDICT | {
        "to", "domain", "promise", "source", "plan", "rejected", "trace", "target", "output",
        "bytes", "dtype", "rounded", "exact", "about", "deviation", "deviation_points",
        "certificate",
    }
    assert record["verdict"] == "proved" and record["upper"] < 1e-5
    assert record["target"]["path"] == "out.onnx" and record["deviation"] < 1e-4
    assert set(record["plan"][0]) == {"converter", "promise", "prediction"}
    assert Path(record["certificate"]).is_file()


def test_json_of_convert_has_the_same_verdict_keys_without_a_file(run: Any) -> None:
    for more in ("", " --no-prove"):
        record = run(f"convert a.npz --to convolutional --json{more}").json
        assert VERDICT | {"output", "deviation", "certificate", "target"} <= set(record)
    assert record["verdict"] is None


def test_json_of_check(run: Any) -> None:
    run("convert a.npz --to convolutional -o out.onnx")
    found = run("check out.onnx.certificate.json --source a.npz --target out.onnx --json")
    assert found.code == 0
    assert set(found.json) == {"accepted", "verdict", "claim", "statement", "arithmetic", "grade",
                               "upper", "compared", "certificate", "seconds"}
    assert found.json["accepted"] and found.json["compared"]
    rejected = run("check out.onnx.certificate.json --source b.npz --json")
    assert rejected.code == 1
    assert rejected.json["accepted"] is False and rejected.json["item"] == "source"


def test_json_of_inspect_and_atlas(run: Any) -> None:
    record = run("inspect controller.onnx --on box:-1,1 --json").json
    assert set(record) == {"source", "inputs", "outputs", "batch", "opset", "reading", "why_not",
                           "operators", "continuous", "constants", "stable"}
    stable = record["stable"]
    assert stable["active"] + stable["dead"] + stable["mixed"] == 128
    record = run("atlas --json").json
    assert set(record) == {"from", "to", "route", "edges", "missing"}
    assert set(record["edges"][0]) == {"from", "to", "kind", "by", "promise", "reference"}


def test_json_of_an_error_is_one_object(run: Any) -> None:
    found = run("inspect absent.onnx --json")
    assert found.code == 3
    assert found.json == {"error": {"kind": "FileNotFoundError",
                                    "message": "absent.onnx: no such file"}}


# --- certificates -------------------------------------------------------------------------------


def test_a_changed_certificate_is_rejected_with_status_1(run: Any, tmp_path: Path) -> None:
    run("prove a.npz a.npz --certificate proof.json")
    assert run("check proof.json --source a.npz --target a.npz").code == 0
    text = (tmp_path / "proof.json").read_text()
    (tmp_path / "proof.json").write_text(text.replace('"equal"', '"within"', 1))
    found = run("check proof.json")
    assert found.code == 1 and "REJECTED" in found.out


def test_a_refutation_has_a_certificate_too(run: Any) -> None:
    assert run("prove a.npz b.npz --certificate no.json").code == 1
    found = run("check no.json --source a.npz --target b.npz")
    assert found.code == 0 and "do not satisfy" in found.out


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


# --- the installed command, help, demo ------------------------------------------------------------


def test_version_and_help_in_a_fresh_process() -> None:
    done = subprocess.run([sys.executable, "-m", "isoform", "--version"], capture_output=True,
                          text=True, check=True)
    assert re.fullmatch(r"isoform \d+\.\d+\.\d+\S*\n", done.stdout)
    code = ("import sys\nfrom isoform.cli.main import status\nstatus(['--help'])\n"
            "print([m for m in ('numpy', 'flint', 'onnx', 'scipy') if m in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")
    for verb in ("inspect", "convert", "prove", "check", "atlas", "demo"):
        assert verb in done.stdout


def test_demo(run: Any, tmp_path: Path) -> None:
    found = run("demo -o kept --json")
    assert found.code == 0
    verdicts = [scene["verdict"] for scene in found.json["scenes"]]
    assert verdicts == ["proved", "proved", "proved", "refuted"]
    assert all(scene["accepted"] for scene in found.json["scenes"][:3])
    assert len(list((tmp_path / "kept").glob("*.onnx"))) == 3


# --- real networks --------------------------------------------------------------------------------


REAL = {
    "feedforward/fc2.onnx --to affine --on box:0,1": "within",
    "feedforward/fc2.onnx --to affine --exact": "equal",
    "feedforward/oneInput_twoBranches.onnx --to feed-forward --on box:-1,1": "equal",
    "feedforward/KJ_TinyTaxiNet.onnx --to feed-forward --on box:0,1": "equal",
    "feedforward/linear2-3_bn1-linear3-1.onnx --to affine --on box:-1,1": "within",
    "convolutional/conv_mp1.onnx --to feed-forward --on box:0,1": "equal",
    "acasxu/ACASXU_run2a_1_1_batch_2000.onnx --to convolutional": "equal",
}


@pytest.mark.parametrize("line", REAL)
def test_real_networks_are_converted_and_proved(line: str, run: Any, models: Path) -> None:
    found = run(f"convert {models}/{line} -o out.onnx --json")
    assert found.code == 0
    assert found.json["claim"].startswith(REAL[line])
    assert found.json["upper"] < 1e-6
    source = f"{models}/{line.split()[0]}"
    checked = run(f"check out.onnx.certificate.json --source {source} --target out.onnx --json")
    assert checked.code == 0 and checked.json["compared"]
