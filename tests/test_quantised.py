# SPDX-License-Identifier: Apache-2.0
"""Quantised ONNX files: their exact values are those of onnxruntime, away from ties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from isoform.errors import FormatError, UnsupportedModel
from isoform.formats.onnx.read import read_onnx
from isoform.network.evaluate import evaluate, evaluate_exact
from isoform.network.network import Network
from isoform.network.operators import Quantize
from isoform.numerics.enclosure import Enclosure
from isoform.numerics.exact import Exact
from onnx_models import F, ints, model_of, node, numbers, run_in_onnxruntime, saved
from quantised_models import (
    agrees,
    batch,
    contrib,
    conv_operators,
    conv_qdq,
    dense_operators,
    dense_qdq,
    far_from_ties,
    step_model,
    with_contrib,
)

BYTES = [np.uint8, np.int8]


def read(model, folder) -> Network:
    return read_onnx(saved(model, folder)).network


@pytest.mark.parametrize("act", BYTES)
@pytest.mark.parametrize("weight", BYTES)
@pytest.mark.parametrize("channels", [False, True])
@pytest.mark.parametrize("relu", [False, True])
def test_dense_layers_between_quantise_and_dequantise(act, weight, channels, relu, tmp_path):
    model = dense_qdq(act, weight, channels, relu)
    agrees(read(model, tmp_path), model, batch(60, 6, size=2), 40)


@pytest.mark.parametrize("act", BYTES)
@pytest.mark.parametrize("channels", [False, True])
def test_dense_operators_on_integers(act, channels, tmp_path):
    model = dense_operators(act, np.int8, channels)
    agrees(read(model, tmp_path), model, batch(60, 6, size=2), 40)


@pytest.mark.parametrize("act", BYTES)
@pytest.mark.parametrize("channels", [False, True])
@pytest.mark.parametrize("build", [conv_qdq, conv_operators])
def test_convolutions(build, act, channels, tmp_path):
    model = build(act, channels)
    agrees(read(model, tmp_path), model, batch(30, 2, 6, 6), 15)


SCALES = {"sx": F(0.03), "zx": np.uint8(120), "sv": F(0.02), "sy": F(0.0371), "zy": np.uint8(99)}


@pytest.mark.parametrize("kind", ["QLinearAdd", "QLinearMul", "QLinearLeakyRelu"])
def test_operators_of_onnxruntime(kind, tmp_path):
    attributes = {"alpha": 0.2} if kind == "QLinearLeakyRelu" else {}
    model = step_model(kind, SCALES, **attributes)
    agrees(read(model, tmp_path), model, batch(60, 4, size=4), 40)


@pytest.mark.parametrize(("kind", "attributes"), [
    ("QLinearSigmoid", {}), ("QLinearSoftmax", {"axis": -1, "opset": 13}),
])
def test_smooth_functions_of_integers_are_enclosed(kind, attributes, tmp_path):
    constants = SCALES | {"sy": F(1 / 256), "zy": np.uint8(0)}
    model = step_model(kind, constants, **attributes)
    x = batch(40, 4, size=3)
    (want,) = run_in_onnxruntime(model, {"x": x})
    made = evaluate_exact(read(model, tmp_path), Exact.of(x.T.astype(np.float64)))
    assert isinstance(made, Enclosure)
    np.testing.assert_allclose(made.low.to_float().T, want, atol=1 / 256 + 1e-6)
    assert np.mean(np.abs(made.low.to_float().T - want) < 1e-6) > 0.9
    assert (made.width.to_float() == 0).mean() > 0.9  # rounding decides a narrow enclosure


def test_pools_and_concatenations_of_integers(tmp_path):
    nodes = [
        node("QuantizeLinear", "x sx zx", "q"),
        contrib("QLinearAveragePool", "q sx zx sy zy", "p", kernel_shape=[2, 2], strides=[2, 2]),
        contrib("QLinearConcat", "sy zx q sx zx q sx zx", "c", axis=1),
        node("DequantizeLinear", "p sy zy", "y"), node("DequantizeLinear", "c sy zx", "z"),
    ]
    model = with_contrib(model_of(nodes, {"x": ["N", 2, 4, 4]}, ["y", "z"], SCALES))
    agrees(read(model, tmp_path), model, batch(40, 2, 4, 4), 20)


def test_products_in_int32(tmp_path):
    nodes = [
        node("QuantizeLinear", "x sx zx", "q"), node("MatMulInteger", "q w zx zw", "i"),
        node("Cast", "i", "f", to=TensorProto.FLOAT), node("Mul", "f s", "y"),
        node("QuantizeLinear", "image sx zx", "r"), node("ConvInteger", "r k zx zk", "c"),
        node("Cast", "c", "z", to=TensorProto.FLOAT),
    ]
    constants = SCALES | {
        "w": np.arange(12, dtype=np.int8).reshape(4, 3) * np.int8(4), "zw": np.int8(5),
        "s": F(0.01), "k": np.arange(18, dtype=np.uint8).reshape(1, 2, 3, 3), "zk": np.uint8(3),
    }
    model = model_of(nodes, {"x": ["N", 4], "image": ["N", 2, 4, 4]}, ["y", "z"], constants)
    network = read(model, tmp_path)
    feeds = {"x": batch(5, 4), "image": batch(5, 2, 4, 4, seed=1)}
    want = np.concatenate([y.reshape(5, -1) for y in run_in_onnxruntime(model, feeds)], axis=1)
    flat = np.concatenate([feeds[name].reshape(5, -1) for name in feeds], axis=1)
    np.testing.assert_allclose(evaluate(network, flat.astype(np.float64)), want, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16])
def test_constants_are_folded_as_onnxruntime_does(dtype, tmp_path):
    """Quantised, dequantised, by channel, with and without zero points, and added to the input."""
    nodes = [
        node("QuantizeLinear", "c s z", "q", axis=0),
        node("DequantizeLinear", "q s z", "d", axis=0),
        node("QuantizeLinear", "c t", "p"), node("DequantizeLinear", "p t", "e"),
        node("Add", "x d", "u"), node("Add", "u e", "y"),
    ]
    constants = {
        "c": numbers(3, 50) * F(40), "s": F([0.1, 0.37, 1.3]), "z": np.array([0, 3, 5], dtype),
        "t": F(0.0371),
    }
    model = model_of(nodes, {"x": ["N", 3, 50]}, ["y"], constants, opset=21)
    x = np.zeros((1, 3, 50), F)
    network = read(model, tmp_path)
    want = run_in_onnxruntime(model, {"x": x})[0].reshape(1, -1)
    sums = evaluate(network, x.reshape(1, -1).astype(np.float64)).astype(F)
    np.testing.assert_allclose(sums, want, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
def test_sixteen_bits(dtype, tmp_path):
    nodes = [node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s z", "y")]
    model = model_of(nodes, {"x": ["N", 5]}, ["y"], {"s": F(0.0007), "z": dtype(1001)}, opset=21)
    agrees(read(model, tmp_path), model, batch(60, 5, size=40), 50)


@given(st.lists(st.integers(-1200, 1200), min_size=1, max_size=6), st.integers(0, 255))
@settings(deadline=None, max_examples=30)
def test_ties_and_saturation(tmp_path_factory, halves, point):
    """At multiples of 1/2 with the scale 1, onnxruntime's floats are exact: ties included."""
    nodes = [node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s z", "y")]
    model = model_of(nodes, {"x": ["N", len(halves)]}, ["y"], {"s": F(1), "z": np.uint8(point)})
    x = (np.array([halves]) / 2).astype(F)
    network = read(model, tmp_path_factory.mktemp("m"))
    made = evaluate_exact(network, Exact.of(x.T.astype(np.float64)))
    assert np.array_equal(made.to_float().T, run_in_onnxruntime(model, {"x": x})[0])


def test_scales_for_each_channel_of_an_input(tmp_path):
    nodes = [node("QuantizeLinear", "x s z", "q", axis=1),
             node("DequantizeLinear", "q s z", "y", axis=1)]
    constants = {"s": F([0.02, 0.3]), "z": np.array([3, 200], np.uint8)}
    model = model_of(nodes, {"x": ["N", 2, 4]}, ["y"], constants)
    agrees(read(model, tmp_path), model, batch(40, 2, 4, size=3), 30)


def test_the_reading_says_what_was_taken(tmp_path):
    loaded = read_onnx(saved(dense_qdq(), tmp_path))
    assert any("half to even with saturation" in note for note in loaded.reading)
    assert not loaded.network.continuous


@pytest.mark.parametrize("name", ["half", "bfloat"])
def test_short_weights_are_exact_numbers(name, tmp_path):
    """float16 and bfloat16 weights, cast to float32 in the graph, mean what they hold."""
    import ml_dtypes

    weight = numbers(3, 2).astype(np.float16 if name == "half" else ml_dtypes.bfloat16)
    nodes = [node("Cast", "w", "f", to=TensorProto.FLOAT), node("MatMul", "x f", "y")]
    model = model_of(nodes, {"x": ["N", 3]}, ["y"], {"w": weight})
    made = evaluate_exact(read(model, tmp_path), Exact.of(np.eye(3)))
    assert made == Exact.of(weight.astype(np.float64)).T


def test_wide_casts_of_activations_change_nothing(tmp_path):
    nodes = [node("Cast", "x", "d", to=TensorProto.DOUBLE), node("Mul", "d w", "y")]
    model = model_of(nodes, {"x": ["N", 3]}, ["y"], {"w": numbers(3).astype(np.float64)},
                     types={"y": TensorProto.DOUBLE})
    agrees(read(model, tmp_path), model, batch(5, 3), 5)


X = {"x": ["N", 4]}
Q = [node("QuantizeLinear", "x s z", "q")]
BYTE = {"s": F(0.1), "z": np.uint8(3)}
REFUSALS = {
    "dynamic": ([node("DynamicQuantizeLinear", "x", "q s z")], {}, "q", "calibration data"),
    "half": ([node("Cast", "x", "y", to=TensorProto.FLOAT16)], {}, "y",
             "computed float32 to float16 rounds every number"),
    "computed scale": ([node("ReduceMax", "x", "m", axes=[1]),
                        node("QuantizeLinear", "x m z", "q")], BYTE, "q", "scale is computed"),
    "wraps": ([*Q, node("Add", "q q", "y")], BYTE, "y", "wraps around"),
    "blocks": ([node("QuantizeLinear", "x t", "q", block_size=2)], {"t": numbers(1, 2)}, "q",
               "blocks"),
    "floor": ([node("Floor", "x", "y")], {}, "y", "down or up"),
    "fused": ([contrib("FusedGemm", "x w", "y")], {"w": numbers(4, 2)}, "y",
              "own domain 'com.microsoft' without a rule"),
    "trunc": ([node("Cast", "x", "y", to=TensorProto.INT8)], {}, "y", "changes numbers"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_is_not_taken_is_named(name, tmp_path):
    nodes, constants, output, text = REFUSALS[name]
    opset = 21 if name == "blocks" else 17
    model = with_contrib(model_of(nodes, X, [output], constants, opset=opset))
    with pytest.raises(UnsupportedModel, match=text) as refusal:
        read_onnx(saved(model, tmp_path))
    assert refusal.value.reasons


def test_sums_that_leave_int32_are_refused(tmp_path):
    weights = np.full((70_000, 1), 127, np.int8)
    nodes = [node("QuantizeLinear", "x s z", "q"), node("MatMulInteger", "q w", "y")]
    model = model_of(nodes, {"x": ["N", 70_000]}, ["y"], BYTE | {"w": weights},
                     types={"y": TensorProto.INT32})
    with pytest.raises(UnsupportedModel, match="may leave int32"):
        read_onnx(saved(model, tmp_path))


def test_biases_near_the_end_of_int32_are_refused(tmp_path):
    bias = np.full(8, -(2**31), np.int32)
    with pytest.raises(UnsupportedModel, match="may leave int32"):
        read_onnx(saved(dense_operators(b0=bias), tmp_path))


BAD = {
    "zero scale": ({"s": F(0), "z": np.uint8(0)}, "scale"),
    "infinite scale": ({"s": F(np.inf), "z": np.uint8(0)}, "NaN or infinity"),
    "scales of an axis": ({"s": F([1, 2, 3]), "z": np.zeros(3, np.uint8)}, "axis of length"),
}


@pytest.mark.parametrize("name", BAD)
def test_damaged_quantisation_is_refused(name, tmp_path):
    constants, text = BAD[name]
    model = model_of([node("QuantizeLinear", "x s z", "q")], X, ["q"], constants)
    with pytest.raises(FormatError, match=text):
        read_onnx(saved(model, tmp_path))


def test_a_zero_point_of_another_type_is_refused(tmp_path):
    nodes = [*Q, node("DequantizeLinear", "q s p", "y")]
    model = model_of(nodes, X, ["y"], BYTE | {"p": np.int8(3)})
    with pytest.raises(FormatError, match="operand 2"):
        read_onnx(saved(model, tmp_path))


def test_reshapes_of_integers_are_free(tmp_path):
    nodes = [*Q, node("Reshape", "q t", "r"), node("Transpose", "r", "u", perm=[0, 2, 1]),
             node("DequantizeLinear", "u s z", "y")]
    model = model_of(nodes, X, ["y"], BYTE | {"t": ints(-1, 2, 2)})
    agrees(read(model, tmp_path), model, batch(20, 4, size=5), 15)


def pairs(kind: str, pool: bool, **other: np.ndarray):
    """Quantised, dequantised, moved, quantised again and so on; without the inner pair if asked."""
    inner = [node("QuantizeLinear", "m t y", "r"), node("DequantizeLinear", "r t y", "e")]
    moved = node("MaxPool", "d", "p", kernel_shape=[2, 2]) if pool else node("Relu", "d", "p")
    nodes = [
        node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s z", "d"), moved,
        node("Transpose", "p", "u", perm=[0, 1, 3, 2]), node("Concat", "u u", "m", axis=1),
        *(inner if kind == "inner" else [node("Identity", "m", "e")]), node("Mul", "e w", "o"),
    ]
    constants = {"s": F(0.1), "z": np.uint8(3), "t": F(0.1), "y": np.uint8(3), "w": F(3)}
    return model_of(nodes, {"x": ["N", 2, 3, 3]}, ["o"], constants | other)


def test_a_pair_with_the_same_numbers_changes_nothing(tmp_path):
    """Around a pool, a transposition and a concatenation; other numbers do change something."""
    with_pair, without = (read(pairs(kind, True), tmp_path) for kind in ("inner", "none"))
    count = [sum(isinstance(n.operator, Quantize) for n in network.nodes)
             for network in (with_pair, without)]
    assert count == [1, 1]
    x = Exact.of(batch(18, 40, size=9).astype(np.float64))
    assert evaluate_exact(with_pair, x) == evaluate_exact(without, x)
    agrees(with_pair, pairs("inner", True), batch(40, 2, 3, 3, size=9), 30)
    others = {"t": F(0.2), "y": np.uint8(4), "w": F(3)}
    for name in ("t", "y"):
        model = pairs("inner", True, **{name: others[name]})
        changed = read(model, tmp_path)
        assert sum(isinstance(n.operator, Quantize) for n in changed.nodes) == 2
        agrees(changed, model, batch(40, 2, 3, 3, size=9), 0)
    kept = read(pairs("inner", False), tmp_path)  # a ReLU is looked through by nobody
    assert sum(isinstance(n.operator, Quantize) for n in kept.nodes) == 2


def test_a_narrower_type_saturates_again(tmp_path):
    """Bytes are no signed bytes: 200 stays in the first type and is cut in the second."""
    nodes = [node("QuantizeLinear", "x s a", "q"), node("DequantizeLinear", "q s a", "d"),
             node("QuantizeLinear", "d s b", "r"), node("DequantizeLinear", "r s b", "y")]
    model = model_of(nodes, X, ["y"], {"s": F(1), "a": np.uint8(0), "b": np.int8(0)})
    network = read(model, tmp_path)
    assert evaluate_exact(network, Exact.of([200, 100, -5, 300])).fractions() == [127, 100, 0, 127]


def test_integers_at_the_border(tmp_path):
    """A file that takes and gives bytes."""
    nodes = [node("QLinearMatMul", "x sx zx w sw zw sy zy", "y")]
    constants = {"sx": F(0.02), "zx": np.uint8(7), "w": numbers(4, 3).astype(np.int8) * np.int8(9),
                 "sw": F(0.03), "zw": np.int8(1), "sy": F(0.0117), "zy": np.uint8(100)}
    types = {"x": TensorProto.UINT8, "y": TensorProto.UINT8}
    model = model_of(nodes, X, ["y"], constants, types=types)
    network = read(model, tmp_path)
    x = np.random.default_rng(0).integers(0, 256, size=(50, 4)).astype(np.uint8)
    clear = far_from_ties(network, x)
    (want,) = run_in_onnxruntime(model, {"x": x})
    assert clear.sum() > 40
    assert np.array_equal(evaluate(network, x.astype(np.float64))[clear], want[clear])
