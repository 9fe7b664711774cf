# SPDX-License-Identifier: Apache-2.0
"""Claims about float networks and their quantised files, small ones and real ones."""

from __future__ import annotations

import logging
from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import isoform as iso
from isoform.certificate.basis import interval_range
from isoform.certificate.conclusion import largest
from isoform.certificate.verdict import Proved, Refuted
from isoform.formats.onnx.read import read_onnx
from isoform.network.evaluate import evaluate, evaluate_exact
from isoform.network.network import Network
from isoform.network.primitive import to_primitive
from isoform.numerics.exact import Exact
from isoform.verify.identity import sweep
from onnx_models import F, model_of, node, run_in_onnxruntime, saved
from quantised_models import dense_constants, dense_operators, dense_qdq, far_from_ties

EPS = Fraction(1, 4)  # within which the quantised file is
BOX = iso.Box([Fraction(-1)] * 6, [Fraction(1)] * 6)


def float_model(**other: np.ndarray) -> onnx.ModelProto:
    """The network that `dense_qdq` quantises."""
    held = dense_constants(np.uint8, np.int8, False) | other
    layers = {}
    for k in (0, 1):
        layers[f"w{k}"] = held[f"w{k}"].astype(F) * held[f"sw{k}"]
        layers[f"b{k}"] = held[f"b{k}"].astype(F) * held[f"sb{k}"]
    nodes = [node("Gemm", "x w0 b0", "g"), node("Relu", "g", "r"), node("Gemm", "r w1 b1", "y")]
    return model_of(nodes, {"x": ["N", 6]}, ["y"], layers)


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    return (str(saved(float_model(), tmp_path, "float.onnx")),
            str(saved(dense_qdq(), tmp_path, "quantised.onnx")))


def true_gap(first: str, second: str) -> float:
    """The largest difference seen at random points."""
    x = np.random.default_rng(1).uniform(-1, 1, size=(3000, 6))
    f, g = (evaluate(iso.read(path).network, x) for path in (first, second))
    return float(np.abs(f - g).max())


def test_a_float_network_and_its_quantised_file(files):
    """Saturation included: what is proved is above every difference seen, and near the largest."""
    seen = true_gap(*files)
    verdict = iso.prove(files[1], equal_to=files[0], within=EPS, on=BOX)
    assert isinstance(verdict, Proved)
    assert seen <= float(verdict.upper) <= EPS < 3 * seen
    iso.check(verdict.certificate)
    assert isinstance(iso.prove(files[1], equal_to=files[0], within="0.01", on=BOX), Refuted)
    assert isinstance(iso.prove(files[1], equal_to=files[0], on=BOX), Refuted)


@pytest.mark.parametrize("wrong", [
    {"sh": F(0.5)}, {"zh": np.uint8(200)}, {"sw0": F(0.03)}, {"zy": np.uint8(10)},
    {"sx": F(0.001)},
], ids=lambda wrong: next(iter(wrong)))
def test_a_wrong_scale_or_zero_point_is_seen(wrong, files, tmp_path):
    """Quantised with one number changed: refuted where the right file is proved."""
    broken = saved(dense_qdq(**wrong), tmp_path, "broken.onnx")
    verdict = iso.prove(broken, equal_to=files[0], within=EPS, on=BOX, timeout=5)
    assert isinstance(verdict, Refuted)
    assert verdict.lower > EPS


def test_equal_quantised_files_are_proved_equal(tmp_path):
    """Hidden units in another order; a scale and its weights moved by a power of two."""
    first = saved(dense_operators(), tmp_path, "first.onnx")
    order = np.array([3, 1, 7, 0, 2, 6, 4, 5])
    held = dense_constants(np.uint8, np.int8, False)
    moved = {"w0": held["w0"][:, order], "b0": held["b0"][order], "w1": held["w1"][order]}
    second = saved(dense_operators(**moved), tmp_path, "second.onnx")
    verdict = iso.prove(second, equal_to=first)
    assert isinstance(verdict, Proved) and verdict.upper == 0
    moved["b0"] = moved["b0"] + np.int32([0, 0, 0, 0, 0, 0, 0, 40])
    third = saved(dense_operators(**moved), tmp_path, "third.onnx")
    assert isinstance(iso.prove(third, equal_to=first, on=BOX), Refuted)


def test_points_are_decided_exactly(files):
    points = iso.FiniteSet(Exact.of(np.random.default_rng(2).integers(-8, 9, (40, 6)) / 8))
    verdict = iso.prove(files[1], equal_to=files[0], within=2, on=points)
    exact = [evaluate_exact(iso.read(path).network, points.points.T) for path in files]
    assert verdict.upper == (exact[1] - exact[0]).max_abs()
    assert isinstance(iso.prove(files[1], equal_to=files[0], within=verdict.upper, on=points),
                      Proved)
    tighter = verdict.upper * Fraction(999, 1000)
    assert isinstance(iso.prove(files[1], equal_to=files[0], within=tighter, on=points), Refuted)


def test_the_command_line(run, files):
    proved = run(f"prove {files[0]} {files[1]} --on box:-1,1 --within 5 --certificate c.json")
    assert proved.code == 0 and "proved" in proved.out
    assert run("check c.json").code == 0
    refuted = run(f"prove {files[0]} {files[1]} --on box:-1,1 --within 0.01 --json")
    assert refuted.code == 1
    decided = run(f"prove {files[0]} {files[1]} --on box:-1,1 --same-decision --margin 9")
    assert decided.code == 0
    assert run(f"prove {files[0]} {files[1]} --on box:-1,1 --same-decision --json").code == 1


def test_a_quantised_file_is_written_and_read(files, tmp_path):
    model = iso.read(files[1])
    for name in ("again.onnx", "again.npz"):
        iso.write(model.network, tmp_path / name)
        assert isinstance(iso.prove(tmp_path / name, equal_to=model), Proved)


# --- real networks --------------------------------------------------------------------------------

REAL = ["feedforward/fc1.onnx", "feedforward/fc2.onnx", "feedforward/KJ_TinyTaxiNet.onnx",
        "feedforward/mnist2x10.onnx", "feedforward/mnist5x20_leaky_relu.onnx",
        "convolutional/conv_mp1.onnx", "acasxu/ACASXU_run2a_3_3_batch_2000.onnx"]


def quantised_file(source: Path, target: Path, operators: bool) -> list[int]:
    """Written by onnxruntime's own quantiser, calibrated at random points of [0, 1]. Returns the
    shape of the input, a row of it."""
    quantisation = pytest.importorskip("onnxruntime.quantization")
    (given,) = [entry for entry in onnx.load(source).graph.input
                if entry.name not in {t.name for t in onnx.load(source).graph.initializer}]
    shape = [axis.dim_value or 1 for axis in given.type.tensor_type.shape.dim]
    rng = np.random.default_rng(0)
    points = [{given.name: rng.uniform(size=shape).astype(F)} for _ in range(16)]

    class Reader(quantisation.CalibrationDataReader):
        def get_next(self) -> dict[str, np.ndarray] | None:
            return points.pop() if points else None

    logging.disable(logging.WARNING)
    try:
        quantisation.quantize_static(
            source, target, Reader(), reduce_range=True,
            quant_format=quantisation.QuantFormat.QOperator if operators
            else quantisation.QuantFormat.QDQ,
        )
    finally:
        logging.disable(logging.NOTSET)
    return [given.name, *shape]


@pytest.mark.parametrize("operators", [False, True], ids=["pairs", "operators"])
@pytest.mark.parametrize("name", REAL)
def test_files_of_onnxruntimes_quantiser(name, operators, models, tmp_path):
    target = tmp_path / "quantised.onnx"
    given, *shape = quantised_file(models / name, target, operators)
    network = read_onnx(target).network
    x = np.random.default_rng(5).uniform(size=(30, *shape)).astype(F)
    flat = x.reshape(30, -1)
    clear = far_from_ties(network, flat)
    assert clear.sum() >= 5
    model = onnx.load(target)
    want = np.array([
        np.concatenate([y.reshape(-1) for y in run_in_onnxruntime(model, {given: row})])
        for row in x[clear][:8]
    ])
    got = evaluate(network, flat[clear][:8].astype(np.float64))
    np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-6)


IMAGES = ["convolutional/conv_mp1.onnx", "feedforward/mnist2x10.onnx"]


def near_a_point(source: Path, target: Path) -> tuple[Network, Network, iso.Box, float]:
    """A network and its quantised file, a small box and the largest difference at random points."""
    quantised_file(source, target, operators=True)
    networks = [to_primitive(read_onnx(path).network) for path in (source, target)]
    n = networks[0].dimension
    centre = np.random.default_rng(0).integers(0, 256, size=n) / 256
    x = centre + np.random.default_rng(1).uniform(-1, 1, size=(50, n)) / 512
    first, second = (evaluate(network, x) for network in networks)
    box = iso.Box(centre - 1 / 512, centre + 1 / 512)
    return *networks, box, float(np.abs(second - first).max())


@pytest.mark.parametrize("name", IMAGES)
def test_a_sweep_of_a_real_network_near_a_point(name, models, tmp_path):
    """The certified difference is above what is seen, and no more than twenty times it."""
    source, target, box, gap = near_a_point(models / name, tmp_path / "quantised.onnx")
    found = sweep(source, target, box, near=True)
    rest = found.difference
    known = interval_range(rest.rows, found.basis)
    assert gap <= float(largest(known, rest.radius)) < 20 * gap


@pytest.mark.slow
@pytest.mark.parametrize("name", IMAGES)
def test_a_real_network_is_proved_near_a_point(name, models, tmp_path):
    """Within sixteen times the largest difference at random points of the box."""
    source, target, box, gap = near_a_point(models / name, tmp_path / "quantised.onnx")
    verdict = iso.prove(target, equal_to=source, within=Fraction(16 * gap), on=box)
    assert isinstance(verdict, Proved)
    assert gap <= float(verdict.upper)


def with_short_weights(source: Path, target: Path) -> onnx.ModelProto:
    """Every float32 initialiser as float16, cast to float32 in the graph; the float32 file with
    the same numbers is returned."""
    short, plain = onnx.load(source), onnx.load(source)
    casts = []
    for graph, half in ((short.graph, True), (plain.graph, False)):
        for tensor in graph.initializer:
            if tensor.data_type != TensorProto.FLOAT:
                continue
            array, name = numpy_helper.to_array(tensor).astype(np.float16), tensor.name
            if not half:
                tensor.CopyFrom(numpy_helper.from_array(array.astype(F), name))
                continue
            tensor.CopyFrom(numpy_helper.from_array(array, f"{name}/half"))
            casts.append(helper.make_node("Cast", [f"{name}/half"], [name], to=TensorProto.FLOAT))
        listed = {tensor.name for tensor in graph.initializer}
        kept = [entry for entry in graph.input if entry.name not in listed
                and f"{entry.name}/half" not in listed]
        del graph.input[:]
        graph.input.extend(kept)
    nodes = [*casts, *short.graph.node]
    del short.graph.node[:]
    short.graph.node.extend(nodes)
    target.write_bytes(short.SerializeToString())
    return plain


@pytest.mark.parametrize("name", [
    "acasxu/ACASXU_run2a_1_1_batch_2000.onnx", "feedforward/mnist2x10.onnx", "feedforward/fc1.onnx",
])
def test_weights_in_float16_are_read_exactly(name, models, tmp_path):
    plain = with_short_weights(models / name, tmp_path / "short.onnx")
    expected = read_onnx(saved(plain, tmp_path, "plain.onnx")).network
    assert read_onnx(tmp_path / "short.onnx").network == expected
