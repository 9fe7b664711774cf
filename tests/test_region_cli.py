# SPDX-License-Identifier: Apache-2.0
"""`isoform regions` at the command line: texts, JSON, pictures, bad input, budgets and Ctrl-C.

Golden texts as in test_cli.py: a file that is missing is written by the test, which then fails.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onnx_models

GOLDEN = Path(__file__).parent / "golden" / "regions"
HERE = "regions quantised.npz --on box:-1,1"
PICTURE = b"\x89PNG\r\n\x1a\n"


def quantised(path: Path, seed: int = 23) -> None:
    """A 2-8-6-1 network of halves, in which many walls coincide (that of docs/regions.md)."""
    random = np.random.default_rng(seed)
    arrays = {}
    for i, (m, n) in enumerate(((8, 2), (6, 8), (1, 6))):
        arrays[f"W{i}"] = np.round(2 * random.standard_normal((m, n))) / 2
        arrays[f"b{i}"] = np.round(2 * random.standard_normal(m)) / 2
    np.savez(path, **arrays)


@pytest.fixture
def here(run: Any, tmp_path: Path) -> Any:
    """The command line in a folder with networks and points."""
    quantised(tmp_path / "quantised.npz")
    quantised(tmp_path / "other.npz", seed=2)
    for name, point in {"p": [-1, -1], "q": [1, -1], "r": [-1, 1], "s": [0, 0], "far": [9, 0],
                        "three": [0, 0, 0], "nan": [np.nan, 0], "words": ["a", "b"]}.items():
        np.save(tmp_path / f"{name}.npy", np.array(point))
    return run


def read_regions(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


# --- golden texts -------------------------------------------------------------------------------


CASES = {
    "activation": HERE,
    "connected": f"{HERE} --kind connected",
    "affine": f"{HERE} --kind affine",
    "everywhere": "regions quantised.npz --on everywhere",
    "slice": "regions quantised.npz --on box:0,1/0,0.5 --slice p.npy,q.npy,r.npy",
    "line": "regions quantised.npz --on box:0,1 --slice p.npy,r.npy",
    "count": f"{HERE} --count --audit 1",
    "without_proof": f"{HERE} --no-prove",
    "at": f"{HERE} --at 0.5,0.3",
    "at_a_wall": f"{HERE} --at 0,0",
    "at_in_a_slice": "regions quantised.npz --on box:0,1 --slice p.npy,q.npy,r.npy --at 0.25,0.6",
    "along": f"{HERE} --along -1,-1/1,1",
    "estimate": f"{HERE} --estimate",
    "budget": f"{HERE} --budget regions=20 --workers 1",
    "budget_with_a_store": f"{HERE} --budget regions=20 --workers 1 --store new.db",
    "written": f"{HERE} -o list.npz --certificate count.json",
    "no_interior": "regions quantised.npz --on box:0,0",
    "no_plane": "regions wide.npz --on box:0,1 -o cube.png",
    "equal_points": f"{HERE} --slice p.npy,p.npy,q.npy",
}


def normalised(text: str) -> str:
    """Without what depends on clock and machine, and on how the search goes about it."""
    text = re.sub(r"\d+\.\d\d s\b", "S s", text)
    text = re.sub(r"[\d.]+ linear programmes a region", "L linear programmes a region", text)
    text = re.sub(r"\d+ exact decisions?", "D exact decisions", text)
    text = re.sub(r"\d+ of \d+ subtrees", "T of T subtrees", text)
    return re.sub(r"\b\d+ (recorded )?steps?\b", r"N \1steps", text)


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str, here: Any) -> None:
    ran = here(CASES[name])
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


WHERE = {"form", "units", "domain", "dimension", "slice"}


def test_json_of_a_count(here: Any) -> None:
    record = here(f"{HERE} --kind affine --json").json
    assert set(record) == WHERE | {
        "regions", "kind", "complete", "activation", "stopped", "bounds", "verdict", "claim",
        "arithmetic", "grade", "steps", "programs", "decided", "seconds", "checking_seconds",
        "audited", "certificate", "output", "store",
    }
    assert (record["regions"], record["activation"], record["kind"]) == (42, 75, "affine")
    assert record["verdict"] == "proved" and record["claim"].startswith("exactly 75 activation")
    assert record["slice"] is None and record["domain"] == "Box([-1, 1]^2)"
    assert all(set(b) == {"name", "side", "value", "source", "why"} for b in record["bounds"])


def test_json_of_a_slice_has_its_points(here: Any) -> None:
    record = here("regions quantised.npz --on box:0,1 --slice p.npy,q.npy,r.npy --json").json
    assert record["slice"] == [[-1, -1], [1, -1], [-1, 1]]
    assert record["regions"] == 75  # the same square in other coordinates


def test_json_of_an_unfinished_count(here: Any) -> None:
    ran = here(f"{HERE} --budget regions=20 --workers 1 --json")
    assert ran.code == 2
    assert not ran.json["complete"] and "20 regions" in ran.json["stopped"]
    assert 20 <= ran.json["activation"] < 75
    assert ran.json["verdict"] is None and ran.json["claim"].startswith("at least")


def test_json_of_a_region_and_of_a_segment(here: Any) -> None:
    record = here(f"{HERE} --at 0.5,0.3 --json").json
    assert set(record) == WHERE | {"kind", "pattern", "active", "point", "affine", "facets",
                                   "touching"}
    assert record["point"] == [0.5, 0.3] and record["touching"] == []
    record = here(f"{HERE} --along p.npy,s.npy --json").json
    assert set(record) == WHERE | {"kind", "pieces"}
    assert record["pieces"][0]["from"] == 0 and record["pieces"][-1]["to"] == 1


def test_json_of_an_estimate(here: Any) -> None:
    record = here(f"{HERE} --estimate --budget seconds=1 --json").json
    assert set(record) == WHERE | {"estimate", "low", "high", "exact", "kind", "found", "trusted",
                                   "method", "seconds"}
    assert record["exact"] and record["estimate"] == 75


# --- files --------------------------------------------------------------------------------------


def test_files_of_a_count(here: Any, tmp_path: Path) -> None:
    assert here(f"{HERE} -o plane.png").code == 0
    assert (tmp_path / "plane.png").read_bytes().startswith(PICTURE)
    assert here(f"{HERE} -o list.npz --certificate count.json").code == 0
    listed = read_regions(tmp_path / "list.npz")
    assert len(np.unique(listed["patterns"], axis=0)) == 75
    assert here("check count.json --source quantised.npz").code == 0
    assert here("check count.json --source other.npz").code == 1


def test_the_certificate_of_a_slice_is_not_about_the_file(here: Any) -> None:
    """A slice is another function, even one through as many points as there are inputs."""
    line = "regions quantised.npz --on box:0,1 --slice p.npy,q.npy,r.npy --certificate cut.json"
    assert here(line).code == 0
    assert here("check cut.json").code == 0
    assert here("check cut.json --source quantised.npz").code == 1


@pytest.mark.parametrize("more", [
    "--kind connected", "--kind affine", "--slice p.npy,q.npy,r.npy",
    "--budget regions=20 --workers 1",
])
def test_pictures(more: str, here: Any, tmp_path: Path) -> None:
    assert here(f"{HERE} {more} -o plane.png").code in (0, 2)
    assert (tmp_path / "plane.png").read_bytes().startswith(PICTURE)


# --- bad input: status 3, one message, no file ----------------------------------------------------


ON = "--on box:-1,1"
BAD = {
    "regions quantised.npz": "Missing option '--on'",
    f"regions absent.npz {ON}": "absent.npz: no such file",
    f"regions holed.npz {ON}": "holed.npz: W0 holds NaN or infinity",
    f"regions smooth.onnx {ON}": "sigmoid is not piecewise linear",
    "regions quantised.npz --on box:1,-1": "the box is empty",
    "regions quantised.npz --on box:0,1/2,2": "the domain is flat: input 1 is 2",
    "regions quantised.npz --on box:0,1/0,1/0,1": "dimension 3, the network takes 2",
    "regions quantised.npz --on box:nan,1": "no exact bound",
    "regions quantised.npz --on triangle": "is no domain",
    "regions quantised.npz --on binary": "full-dimensional sets",
    "regions quantised.npz --on points:p.npy": "full-dimensional sets",
    "regions quantised.npz --on ball:nan.npy,1": "NaN or infinity",
    f"{HERE} --kind convex": "'convex' is not one of",
    f"{HERE} --slice p.npy": "two points or more",
    f"{HERE} --slice p.npy,q.npy,p.npy": "linearly dependent",
    f"{HERE} --slice p.npy,s.npy,q.npy,r.npy": "linearly dependent",
    f"{HERE} --slice three.npy,p.npy": "points of 2 and 3 numbers",
    f"{HERE} --slice three.npy,three.npy": "have 3 numbers, the network takes 2 inputs",
    f"{HERE} --slice nan.npy,p.npy": "nan.npy holds NaN",
    f"{HERE} --slice absent.npy,p.npy": "absent.npy: no such file",
    f"{HERE}/-1,1 --slice p.npy,q.npy": "the slice through 2 points has 1",
    f"{HERE} --at 0.5": "a point of 1 number; the network takes 2 inputs",
    f"{HERE} --at 0.5,x": "'x' is no exact bound",
    f"{HERE} --at 2,0": "outside the domain: input 0 is 2",
    f"{HERE} --at nan.npy": "nan.npy holds NaN",
    f"{HERE} --at words.npy": "words.npy holds <U1, not numbers",
    f"{HERE} --at notes.npy": "no readable .npy array",
    f"{HERE} --along p.npy": "are no two points",
    f"{HERE} --along 0,0/0,0": "the ends of the segment are equal",
    f"{HERE} --along p.npy,far.npy": "outside the domain",
    f"{HERE} --along p.npy,three.npy": "points of 2 and 3 numbers",
    f"{HERE} --budget hours=3": "--budget hours=3: give regions=N",
    f"{HERE} --budget seconds": "--budget seconds: give",
    f"{HERE} --budget seconds=-1": "positive number",
    f"{HERE} --budget seconds=nan": "positive number",
    f"{HERE} --budget regions=0.5": "positive number",
    f"{HERE} --budget bytes=inf": "positive number",
    f"{HERE} --workers 0": "0 is not in the range",
    f"{HERE} --workers 2 --cluster there:1": "--workers and --cluster exclude each other",
    f"{HERE} --audit 0.5": "--audit goes with --count",
    f"{HERE} --count --audit 2": "2.0 is not in the range",
    f"{HERE} --count --estimate": "--count and --estimate exclude each other",
    f"{HERE} --count --kind affine": "--count and --kind exclude each other",
    f"{HERE} --count --store s.db": "--count and --store exclude each other",
    f"{HERE} --at 0,0 -o r.png": "--at and -o exclude each other",
    f"{HERE} --estimate --budget regions=3": "--estimate takes --budget seconds=S",
    f"{HERE} --certificate c.json --no-prove": "--certificate and --no-prove exclude each other",
    f"{HERE} --certificate c.txt": "ends in .json",
    f"{HERE} --certificate absent/c.json": "the folder absent does not exist",
    f"{HERE} -o r.jpg": "written as .png (a picture), .npz or .parquet",
    f"{HERE} -o absent/r.png": "the folder absent does not exist",
    f"{HERE} -o a.npz/r.png": "the folder a.npz does not exist",
    "regions wide.npz --on box:0,1 -o r.png": "has 3 dimensions",
    "regions quantised.npz --on everywhere -o r.png": "has no bound",
    f"{HERE} --slice p.npy,q.npy -o r.png": "has 1 dimension",
    "regions quantised.npz --on everywhere --estimate": "a bounded domain",
    f"{HERE} --store absent/s.db": "no folder absent",
    f"{HERE} --store notes.npy": "damaged, or no store of regions",
    f"{HERE} --store torn.db": "damaged, or no store of regions",
    f"{HERE} --store others.db": "another network",
    "regions other.npz --on box:0,1 --store others.db": "another domain",
    "regions other.npz --on box:-1,1 --store others.db --certificate c.json": "token streams",
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A store of the regions of other.npz on [-1, 1]^2."""
    import isoform as iso

    folder = tmp_path_factory.mktemp("store")
    quantised(folder / "other.npz", seed=2)
    iso.regions(folder / "other.npz", on="box:-1,1", store=folder / "s.db", workers=1)
    return (folder / "s.db").read_bytes()


@pytest.mark.parametrize("line", BAD)
def test_bad_input_is_status_3_in_words(
    line: str, here: Any, tmp_path: Path, store: bytes
) -> None:
    holed = {"W0": np.array([[1.0, np.nan]]), "W1": np.ones((1, 1))}
    np.savez(tmp_path / "holed.npz", **holed)
    onnx_models.saved(onnx_models.model_of(
        [onnx_models.node("Sigmoid", "x", "y")], {"x": (None, 2)}, ("y",)
    ), tmp_path, "smooth.onnx")
    (tmp_path / "notes.npy").write_text("no array at all " * 40)
    (tmp_path / "others.db").write_bytes(store)
    (tmp_path / "torn.db").write_bytes(store[: len(store) // 2])
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    ran = here(line)
    assert ran.code == 3
    assert BAD[line] in ran.err
    assert ran.err.startswith("isoform: ") and "a bug in" not in ran.err
    assert ran.out == ""
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_folder_that_may_not_be_written_to(
    here: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused before the search. (Root may write anywhere, so the system's answer is replaced.)"""
    import os

    from isoform.regions import enumeration

    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(enumeration, "enumerate_regions", lambda *_, **__: pytest.fail("searched"))
    for name in ("plane.png", "list.npz"):
        ran = here(f"{HERE} -o {name}")
        assert ran.code == 3 and "may not be written to" in ran.err


# --- budgets, stores, Ctrl-C ----------------------------------------------------------------------


def test_a_store_goes_on_to_the_same_list(here: Any, tmp_path: Path) -> None:
    assert here(f"{HERE} -o whole.npz").code == 0
    line = f"{HERE} --store kept.db --budget regions=20 --workers 1 --json"
    counts = [here(line)]
    while counts[-1].code == 2 and len(counts) < 9:
        counts.append(here(line))
    found = [ran.json["regions"] for ran in counts]
    assert counts[-1].code == 0 and found[-1] == 75
    assert len(found) > 2 and found == sorted(set(found))
    assert here(f"{HERE} --store kept.db -o resumed.npz").code == 0
    whole, resumed = (read_regions(tmp_path / name) for name in ("whole.npz", "resumed.npz"))
    assert set(whole) == set(resumed)
    for name in whole:
        assert np.array_equal(whole[name], resumed[name]), name


def test_an_interrupt_keeps_what_was_found(tmp_path: Path) -> None:
    """A real SIGINT to a real process, with a network that it could never finish."""
    random = np.random.default_rng(0)
    sizes = ((40, 6), (40, 40), (1, 40))
    np.savez(tmp_path / "large.npz",
             **{f"W{i}": random.standard_normal(size) for i, size in enumerate(sizes)},
             **{f"b{i}": random.standard_normal(m) for i, (m, _) in enumerate(sizes)})
    line = [sys.executable, "-m", "isoform", "regions", "large.npz", "--on", "box:-1,1", "--store",
            "kept.db", "--json"]
    with subprocess.Popen([*line, "--workers", "1"], cwd=tmp_path, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + 120  # kernels may have to be compiled first
        while time.monotonic() < until and not has_regions(tmp_path / "kept.db"):
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err == ("stopped: interrupted; what was found is a lower bound; "
                   "the same command goes on\n")
    record = json.loads(out)
    assert record["stopped"] == "interrupted" and not record["complete"]
    again = subprocess.run([*line, "--workers", "1", "--budget", "regions=1000"], cwd=tmp_path,
                           capture_output=True, text=True)
    assert again.returncode == 2, again.stderr
    assert json.loads(again.stdout)["regions"] >= record["regions"] + 1000
    assert {path.name for path in tmp_path.iterdir()} == {"large.npz", "kept.db"}


def has_regions(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 200_000
