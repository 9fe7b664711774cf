# SPDX-License-Identifier: Apache-2.0
"""The command line: texts as in tests/golden, JSON keys, exit statuses, and no traceback ever.

A golden file that is missing is written by the test, which then fails once: delete the file to make
it anew, and look at it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

GOLDEN = Path(__file__).parent / "golden"


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


VERDICT = {"verdict", "claim", "arithmetic", "grade", "lower", "upper", "lower_at", "upper_at",
           "reason", "witness", "seconds"}
SIZE = {"depth", "width", "units", "parameters", "nonzeros", "flops", "bytes"}
MODEL = {"path", "sha256", "form"} | SIZE


def test_json_of_prove(run: Any) -> None:
    found = run("prove a.npz b.npz --on box:-1,1 --json")
    assert found.code == 1
    record = found.json
    assert set(record) == VERDICT | {"source", "target", "certificate", "note", "rounding_errors",
                                     "parting", "measured"}
    assert record["note"] is None
    assert set(record["source"]) == MODEL and set(record["target"]) == MODEL
    assert record["verdict"] == "refuted" and record["arithmetic"] == "reals"
    assert set(record["witness"]) == {"point", "exact", "source", "target", "output", "difference"}
    assert record["witness"]["source"] != record["witness"]["target"]


def test_numbers_beyond_the_largest_double_are_null(run: Any) -> None:
    """JSON has no infinity; the point is there as rationals."""
    line = "prove a.npz b.npz --on box:1e400,2e400 --timeout 5"
    assert run(line).code == 1
    found = run(f"{line} --json")
    record = json.loads(found.out, parse_constant=pytest.fail)
    assert found.code == 1 and record["verdict"] == "refuted"
    assert record["witness"]["point"] == [None, None] and record["upper"] is None
    assert all(Fraction(x) >= 10**400 for x in record["witness"]["exact"])


def test_margins_and_borders_of_prove(run: Any, tmp_path: Path) -> None:
    weights = np.array([[1, -2], [0.5, 1]], dtype=np.float32)
    np.savez(tmp_path / "two.npz", W0=weights)
    np.savez(tmp_path / "near.npz", W0=weights + np.float32(2**-10))
    assert run("convert two.npz --to affine -o two.onnx --no-prove").code == 0
    line = "prove two.npz near.npz --on box:-1,1 --same-decision"
    assert run(f"{line} --margin 0.01").code == 0
    data = json.loads(run("prove two.npz two.onnx --json").out)
    assert data["verdict"] == "proved" and data["note"] is None
    import onnx

    model = onnx.load(tmp_path / "two.onnx")
    for given in (*model.graph.node, ):
        given.output[:] = ["scores" if name == "output" else name for name in given.output]
    model.graph.output[0].name = "scores"
    onnx.save(model, tmp_path / "renamed.onnx")
    found = run("prove two.npz renamed.onnx")
    assert found.code == 0 and "outputs output [2] and scores [2]" in found.out


def test_no_certificate_of_an_undecided_claim(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from isoform import api
    from isoform.certificate.verdict import Undecided
    from isoform.network.claim import Claim, Equal

    verdict = Undecided(claim=Claim(Equal()), lower=Fraction(0), upper=None, reason="test")
    monkeypatch.setattr(api, "prove", lambda *_, **__: verdict)
    found = run("prove a.npz b.npz --certificate none.json")
    assert found.code == 2 and "none.json was not written" in found.err
    assert not (tmp_path / "none.json").exists()


def test_names_that_are_no_unicode(run: Any, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.onnx")
    try:
        shutil.copy(tmp_path / "adapter.onnx", tmp_path / name)
    except OSError:
        pytest.skip("this file system takes no such names")
    assert run(f"convert {name} --to affine -o out.onnx --json").code == 0
    assert run(f"convert adapter.onnx --to affine -o o{name} --json").code == 0


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
