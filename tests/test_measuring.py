# SPDX-License-Identifier: Apache-2.0
"""What the files of a refuted claim give at its witness: measured beside the verdict, which never
depends on it."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

import isoform as iso
from isoform import api
from isoform.api import Measurement, NotMeasured, measurement_of
from isoform.api.measuring import apart, listed, nearest, plain, preferred
from isoform.errors import FormatError, Refused
from isoform.formats.onnx.write import write_onnx
from isoform.formats.replay import run_onnx
from isoform.network.linear_map import Conv, Dense
from isoform.network.model import Signature, Tensor
from isoform.network.network import Builder, Network
from isoform.network.operators import Linear, Relu
from isoform.numerics.exact import Exact, exact_fractions
from onnx_models import model_of, saved
from vnnlib_texts import box, declared, monotone, same, two

F = np.float32
RUNTIME = f"onnxruntime {onnxruntime.__version__}"
SEVENTH = exact_fractions([Fraction(1, 7)], (1,))
RUN = "isoform.api.measuring.run_onnx"


def small(last: float, outputs: int = 1) -> Network:
    """relu(x0 - 2 x1) + last relu(x0/2 + x1 + 1), once an output with other signs."""
    b = Builder((2,))
    hidden = b.linear(Dense(np.array([[1, -2], [0.5, 1]], F)), 0, np.array([0, 1], F))
    fired = b.add(Relu(), (hidden,), 2)
    rows = [[1, last]] + [[-1, 1.125 + i] for i in range(outputs - 1)]
    return b.build(b.linear(Dense(np.array(rows, F)), fired))


def written(
    path: Path, last: float, outputs: int = 1, dtype: str = "float32", batch: Any = "N"
) -> Path:
    signature = Signature(
        inputs=(Tensor("x", (2,), dtype),), outputs=(Tensor("y", (outputs,), dtype),), batch=batch
    )
    write_onnx(small(last, outputs), path, signature=signature)
    return path


@pytest.fixture
def pair(tmp_path: Path) -> tuple[str, str]:
    """Two files with two outputs that differ in the first."""
    return (str(written(tmp_path / "f.onnx", 1, 2)), str(written(tmp_path / "g.onnx", 1.25, 2)))


def measure(a: Any, b: Any, **asked: Any) -> Any:
    """The measurement of a claim about two models, refuted."""
    source, target = api.read(a), api.read(b)
    verdict = api.prove(target, equal_to=source, **asked)
    assert isinstance(verdict, iso.Refuted)
    return measurement_of(api.answer_of(source, target, verdict))


def strict(text: str) -> dict[str, Any]:
    """JSON without the constants that are none."""
    return json.loads(text, parse_constant=pytest.fail)


# --- what is measured -----------------------------------------------------------------------------


def test_a_pair_of_files(pair: tuple[str, str]) -> None:
    found = measure(*pair, on="box:-1,1")
    assert isinstance(found, Measurement) and found.runtime == RUNTIME and found.rounded == ""
    for file, outputs in zip(pair, (found.source, found.target), strict=True):
        assert np.array_equal(outputs, run_onnx(file, found.point[None, :])[0])
    source, target = found.pair()
    assert str(found) == (f"output 0: {source:g} and {target:g}, {target - source:g} apart, at "
                          f"that point ({RUNTIME}; no claim)")
    record = found.record()
    assert record["source"] == found.source.tolist() and record["rounded"] is None
    assert set(record) == {"runtime", "point", "rounded", "source", "target"}


def test_a_point_that_is_no_float32(pair: tuple[str, str]) -> None:
    """1/10 is none; both files are given the nearest."""
    found = measure(*pair, on="box:0.1,0.1")
    assert found.rounded == "float32" and "at that point rounded to float32 (" in str(found)
    assert found.point.tolist() == [float(F(0.1))] * 2
    assert np.array_equal(found.target, run_onnx(pair[1], np.full((1, 2), 0.1))[0])


def test_files_of_two_types_are_given_one_point(tmp_path: Path) -> None:
    wide = written(tmp_path / "d.onnx", 1, dtype="float64")
    narrow = written(tmp_path / "f.onnx", 1.25)
    for source, target in ((wide, narrow), (narrow, wide)):
        found = measure(source, target, on="box:0.1,0.1")
        assert found.rounded == "float32" and found.point.tolist() == [float(F(0.1))] * 2
    wider = written(tmp_path / "e.onnx", 1.25, dtype="float64")
    found = measure(wide, wider, on="box:0.1,0.1")
    assert found.rounded == "float64" and found.point.tolist() == [0.1] * 2


def test_a_point_beyond_the_type(pair: tuple[str, str]) -> None:
    found = measure(*pair, on="box:1e39,2e39")
    assert isinstance(found, NotMeasured) and "is beyond the numbers of float32" in found.reason


def test_numbers_nearest_to_exact_ones() -> None:
    halves = exact_fractions([Fraction(5, 2), Fraction(7, 2), Fraction(-1, 3)], (3,))
    assert nearest(halves, "int8").tolist() == [2, 4, 0]
    assert nearest(SEVENTH, "float16").tolist() == [float(np.float16(1 / 7))]
    for value, dtype in ((200, "int8"), (2, "bool"), (10**400, "float64"), (70000, "float16")):
        with pytest.raises(Refused, match=f"beyond the numbers of {dtype}"):
            nearest(exact_fractions([value], (1,)), dtype)


@pytest.mark.parametrize("batch", ["N", 1, 4])
def test_batches(batch: Any, tmp_path: Path) -> None:
    first = written(tmp_path / "f.onnx", 1)
    found = measure(first, written(tmp_path / "b.onnx", 1.25, batch=batch), on="box:0.25,0.25")
    assert found.point.shape == (2,)
    assert (found.source.tolist(), found.target.tolist()) == ([1.375], [1.71875])


def test_a_batch_that_is_kept(tmp_path: Path, run: Any) -> None:
    for name, last in (("f.onnx", 1), ("g.onnx", 1.25)):
        written(tmp_path / name, last, 2, batch=3)
    record = run("prove f.onnx g.onnx --on box:0.25,0.25 --batch keep --json").json["measured"]
    assert record["point"] == [0.25] * 6 and record["source"] == [1.375, 1.546875] * 3
    assert record["target"] == [1.71875, 1.546875] * 3


def test_several_inputs_of_several_types(tmp_path: Path) -> None:
    """x + k, with k of integers: its part of the point is rounded to them."""
    def file(name: str, factor: float) -> Path:
        nodes = [helper.make_node("Cast", ["k"], ["c"], to=TensorProto.FLOAT),
                 helper.make_node("Mul", ["x", "factor"], ["scaled"]),
                 helper.make_node("Add", ["scaled", "c"], ["y"])]
        model = model_of(
            nodes, {"k": [1, 2], "x": [1, 2]}, ["y"], {"factor": F([factor])},
            types={"k": TensorProto.INT64},
        )
        return saved(model, tmp_path, name)

    found = measure(file("f.onnx", 1), file("g.onnx", 2), on="box:1.75,2/1.75,2/0.75,1/0.1,0.1")
    assert isinstance(found, Measurement), str(found)
    assert found.rounded in ("int64 and float32", "float32 and int64")
    assert found.point[:2].tolist() == [2, 2] and found.point[3] == float(F(0.1))
    assert np.array_equal(found.source, F(found.point[2:]) + F(2))


def test_decisions(pair: tuple[str, str], run: Any) -> None:
    line = "prove f.onnx g.onnx --on box:-1,1 --same-decision"
    found = run(line)
    assert found.code == 1
    assert "measured            source prefers output 1, target output 0, at that" in found.out
    record = run(f"{line} --json").json["measured"]
    assert np.argmax(record["source"]) == 1 and np.argmax(record["target"]) == 0


def test_properties(run: Any, tmp_path: Path) -> None:
    written(tmp_path / "f.onnx", 1, 12)
    Path("p.vnnlib").write_text(
        "(vnnlib-version <2.0>)" + declared("f", "XY", (1, 2), (1, 12)) + box("X", 2, 0, 0.25)
        + "(assert (>= Y[0,0] 0))")
    ran = run("prove f.onnx --property p.vnnlib")
    row = next(line for line in ran.out.splitlines() if line.startswith("measured"))
    assert ran.code == 1 and row.split(None, 1)[1].startswith("output (")
    assert row.count(", ") == 10 and ", ...) at that point" in row
    record = run("prove f.onnx --property p.vnnlib --json").json
    assert record["measured"]["source"] == record["measured"]["target"]
    assert len(record["measured"]["source"]) == 12
    assert np.allclose(record["measured"]["source"], record["witness"]["source"])
    answer = iso.prove_property("f.onnx", "p.vnnlib")
    assert str(measurement_of(answer)) == row.split(None, 1)[1]


def test_queries_about_two_networks(run: Any, tmp_path: Path) -> None:
    for name, last in (("f.onnx", 1), ("g.onnx", 1.25)):
        written(tmp_path / name, last)
    Path("q.vnnlib").write_text(
        two() + box("X", 2, 0, 1) + same(2)
        + "(assert (> (- V[0,0] Y[0,0]) 0.375))(assert (> V[0,0] 2))")
    for line in ("f.onnx g.onnx", "--network g=g.onnx --network f=f.onnx"):
        record = run(f"prove {line} --property q.vnnlib --json").json
        seen = record["measured"]
        assert np.allclose([seen["source"], seen["target"]],
                           [record["witness"]["source"], record["witness"]["target"]])
    assert "source (" in run("prove f.onnx g.onnx --property q.vnnlib").out


def test_two_points_of_one_network(run: Any, tmp_path: Path) -> None:
    """The claim is about a joint network; each copy of the file is given its own inputs."""
    written(tmp_path / "f.onnx", 1)
    Path("q.vnnlib").write_text(monotone(2, at=1))
    record = run("prove f.onnx --property q.vnnlib --json").json
    assert len(record["witness"]["point"]) == 3 == len(record["measured"]["point"])
    assert np.allclose(record["measured"]["source"], record["witness"]["source"])
    assert record["measured"]["source"][0] != record["measured"]["source"][1]


# --- where nothing is measured --------------------------------------------------------------------


@pytest.mark.parametrize("line", [
    "a.npz b.npz --on box:-1,1", "a.npz g.onnx --on box:-1,1", "g.onnx a.npz --on box:-1,1",
    "g.onnx g.onnx", "f.onnx g.onnx --within 2 --on box:-1,1",
])
def test_only_refuted_claims_about_onnx_files(line: str, run: Any, tmp_path: Path) -> None:
    for name, last in (("f.onnx", 1), ("g.onnx", 1.25)):
        written(tmp_path / name, last)
    ran = run(f"prove {line}")
    assert ran.code == ("npz" in line) and "measured" not in ran.out
    assert run(f"prove {line} --json").json["measured"] is None


def test_networks_in_memory_are_no_files(tmp_path: Path) -> None:
    assert measure(written(tmp_path / "f.onnx", 1), small(1.25), on="box:-1,1") is None


def test_a_kernel_that_the_runtime_lacks(run: Any, tmp_path: Path) -> None:
    for name, weight in (("f.onnx", 1.0), ("g.onnx", 2.0)):
        b = Builder((1, 4))
        conv = Conv(kernel=np.full((1, 1, 2), weight), space=(4,), strides=(1,), pads=((0, 0),),
                    dilations=(1,))
        network = b.build(b.add(Linear((conv,)), (0,), (1, 3)))
        write_onnx(network, tmp_path / name, signature=Signature(
            inputs=(Tensor("x", (1, 4), "float64"),), outputs=(Tensor("y", (1, 3), "float64"),)
        ))
    ran = run("prove f.onnx g.onnx --on box:-1,1")
    assert ran.code == 1 and "measured            nothing: onnxruntime has no CPU kernel" in ran.out
    record = run("prove f.onnx g.onnx --on box:-1,1 --json").json
    assert list(record["measured"]) == ["reason"] and "\n" not in record["measured"]["reason"]


def test_a_file_that_is_not_the_one_that_was_read(pair: tuple[str, str]) -> None:
    source, target = map(api.read, pair)
    answer = api.answer_of(source, target, api.prove(target, equal_to=source, on="box:-1,1"))
    written(Path(pair[1]), 3, 2)
    assert str(measurement_of(answer)).endswith("g.onnx has changed since it was read")
    Path(pair[1]).unlink()
    assert str(measurement_of(answer)).startswith("nothing: FileNotFoundError: ")


# --- the verdict rests on none of it --------------------------------------------------------------


def failing(error: BaseException) -> Callable[..., Any]:
    def fail(*_: Any) -> Any:
        raise error

    return fail


CORRUPTED: dict[str, Callable[..., Any]] = {
    "refused": failing(Refused("no kernel\nfor this\nnode")),
    "format": failing(FormatError("x" * 5000)),
    "memory": failing(MemoryError()),
    "not installed": failing(ImportError("no onnxruntime")),
    "anything": failing(RuntimeError("internal")),
    "interrupted": failing(KeyboardInterrupt()),
    "all the same": lambda path, x: np.zeros((1, 2)),
    "not finite": lambda path, x: np.array([[np.nan, np.inf]]),
    "too few": lambda path, x: np.zeros((1, 1)),
    "none": lambda path, x: None,
    "text": lambda path, x: np.array([["a", "b"]]),
}


@pytest.mark.parametrize("goal", ["", "--within 0.1", "--same-decision"])
def test_no_measurement_changes_a_verdict(
    goal: str, pair: tuple[str, str], run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a runtime does: the same record but for one key, the same status, a certificate."""
    prove, verdicts = api.prove, []

    def kept(*args: Any, **asked: Any) -> Any:
        verdicts.append(prove(*args, **asked))
        return verdicts[0]

    monkeypatch.setattr(api, "prove", kept)
    line = f"prove f.onnx g.onnx --on box:-1,1 {goal}"
    true = strict(run(f"{line} --json --certificate found.json").out)
    measured = true.pop("measured")
    assert true["verdict"] == "refuted" and set(measured) > {"source", "target"}
    monkeypatch.setattr(api, "prove", lambda *_, **__: verdicts[0])  # searches for nothing again
    for how, runtime in CORRUPTED.items():
        monkeypatch.setattr(RUN, runtime)
        ran = run(f"{line} --json --certificate found.json")
        record = strict(ran.out)
        assert ran.code == 1 and record.pop("measured") != measured and record == true, how
        text = run(line)
        (row,) = [row for row in text.out.splitlines() if row.startswith("measured ")]
        assert text.code == 1 and len(row) < 260, how
        assert run("check found.json --source f.onnx --target g.onnx").code == 0


def test_no_constants_that_json_lacks() -> None:
    values = np.array([np.nan, np.inf, -np.inf, 0.5])
    assert plain(values) == ["NaN", "Infinity", "-Infinity", 0.5]
    assert strict(json.dumps(plain(values))) == plain(values)


def test_outputs_in_words() -> None:
    assert apart(0.5, 0.5) == "0.5 and 0.5, the same,"
    assert apart(1.0, 1.0 + 2.0**-40) == "1 and 1.0000000000009095, 9.09e-13 apart,"
    assert apart(np.inf, 1.0) == "inf and 1" and apart(np.nan, np.nan) == "nan and nan"
    assert preferred(np.array([1.0, 3.0, 3.0])) == "outputs 1, 2 alike"
    assert preferred(np.array([1.0, np.nan])) == "none (NaN)"
    assert preferred(np.zeros(20)) == "outputs 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ... alike"
    assert listed(np.array([0.1, np.inf])) == "(0.1, inf)"
    assert Exact.of(nearest(SEVENTH, "float64")) != SEVENTH
