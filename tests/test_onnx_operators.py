# SPDX-License-Identifier: Apache-2.0
"""Every operator of the reader against onnxruntime, in attribute variants and opsets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from isoform.errors import UnsupportedModel
from isoform.formats.onnx.read import read_onnx
from isoform.network.evaluate import evaluate, evaluate_exact
from isoform.network.primitive import to_primitive
from isoform.numerics.enclosure import Enclosure
from isoform.numerics.exact import Exact
from onnx_models import model_of, run_in_onnxruntime, saved

F = np.float32


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).integers(-8, 9, size=shape) / 4).astype(F)


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One node: `wires` are its operands, each an input (shape of a row) or a constant."""

    kind: str
    wires: dict[str, Any]
    attributes: dict[str, Any] = field(default_factory=dict)
    opsets: tuple[int, ...] = (17,)
    outputs: int = 1
    positive: bool = False
    keep: bool = True  # whether it also reads with all axes kept
    drop: bool = True  # whether it acts row by row


def case(kind: str, wires: dict[str, Any] | None = None, *opsets: int, **rest: Any) -> Case:
    options = {k: rest.pop(k) for k in ("outputs", "positive", "keep", "drop") if k in rest}
    wires = {"x": (2, 3)} if wires is None else wires
    return Case(kind=kind, wires=wires, attributes=rest, opsets=opsets or (17,), **options)


W34, W43 = numbers(3, 4), numbers(4, 3)
IMAGE = {"x": (4, 5, 6)}
PLANE = {"x": (2, 6, 7)}
C = numbers(6, 4, 3, 2, seed=1)
LINE = numbers(6, 2, 3, seed=2)
STAT = {"s": numbers(3), "b": numbers(3, seed=1), "m": numbers(3, seed=2),
        "v": np.abs(numbers(3, seed=3)) + 1}
PAIR = {"x": (2, 3), "y": (2, 3)}

ENTRYWISE = [
    case("Add", PAIR, 7, 13, 14), case("Add", {"x": (2, 3), "c": W34[:, 0]}),
    case("Add", {"c": numbers(1, 1, 2, 3), "x": (2, 3)}, drop=False),
    case("Add", {"x": (2, 1, 3), "y": (1, 4, 3)}), case("Add", {"x": (1, 3), "c": numbers(4, 1)}),
    case("Sub", PAIR, 7, 14), case("Sub", {"x": (3,), "c": numbers(1, 3)}),
    case("Sub", {"c": numbers(3), "x": (2, 3)}),
    case("Mul", PAIR, 7, 14), case("Mul", {"x": (3,), "c": numbers(3)}),
    case("Mul", {"x": (3,), "c": F(0.1)}),
    case("Div", PAIR, 7, 14, positive=True), case("Div", {"x": (3,), "c": numbers(3) + F(9.3)}),
    case("Div", {"c": numbers(3), "x": (2, 3)}, positive=True),
    case("Neg", None, 7, 13), case("Abs", None, 7, 13), case("Relu", None, 7, 13, 14, 22),
    case("Round", None, 11, 22),
    case("Sqrt", None, 7, positive=True), case("Exp", None, 7), case("Sin", None, 7),
    case("Log", None, 7, positive=True), case("Reciprocal", None, 7, positive=True),
    case("Cos", None, 7), case("Tanh", None, 7), case("Sigmoid", None, 7), case("Erf", None, 9),
    case("Softplus", None, 7), case("Softsign", None, 7), case("Sign", None, 9, 13),
    *(case("Pow", {"x": (3,), "e": F(e)}, 7, 13, 15, positive=True)
      for e in (2, 3, 0.5, -1, -0.5, 1.5, 0, 1)),
    case("Pow", {"x": (3,), "e": np.int64(2)}, 13),
    case("LeakyRelu", None, 7, 16), case("LeakyRelu", None, 7, alpha=0.3),
    case("PRelu", {"x": (2, 3), "s": numbers(3)}, 7, 9, 16),
    case("PRelu", {"x": (2, 3), "s": numbers(2, 1)}),
    case("Clip", None, 7, min=-0.5, max=1.0), case("Clip", None, 7, max=1.0),
    case("Clip", {"x": (5,), "l": F(-0.5), "h": F(1)}, 11, 12, 13),
    case("Clip", {"x": (5,), "l": F(0)}, 11), case("Clip", {"x": (5,)}, 13),
    case("Clip", {"x": (5,), "l": F(2), "h": F(1)}, 13),
    case("Clip", {"x": (5,), "l": F(-np.inf), "h": F(1)}, 13),
    case("HardSigmoid", None, 7), case("HardSigmoid", None, 7, alpha=0.5, beta=0.1),
    case("HardSwish", None, 14), case("Gelu", None, 20),
    case("Gelu", None, 20, approximate="tanh"),
    case("Elu", None, 7), case("Elu", None, 7, alpha=0.5), case("Selu", None, 7),
    case("Celu", None, 12, alpha=2.0), case("ThresholdedRelu", None, 10, alpha=0.5),
    case("Mish", None, 18),
    case("Max", {"x": (3,), "y": (3,), "c": numbers(3)}, 8, 13),
    case("Max", {"x": (3,), "c": F(0)}), case("Max", {"x": (1, 3), "c": numbers(2, 1)}),
    case("Min", {"x": (3,), "y": (3,), "c": numbers(3)}, 8, 13),
    case("Max", {"x": (3,)}), case("Min", {"c": F(0.5), "x": (3,)}),
    case("Sum", {"x": (3,), "y": (3,), "c": numbers(3)}, 8, 13),
    case("Mean", {"x": (3,), "y": (3,), "c": numbers(3)}, 8, 13),
    case("Identity"), case("Dropout", None, 7, 10, 12, 13),
    case("Dropout", {"x": (3,), "r": F(0.5), "t": np.bool_(False)}, 12),
    case("Cast", None, to=TensorProto.DOUBLE), case("Cast", None, to=TensorProto.FLOAT),
    *(case(kind, PAIR) for kind in ("Greater", "Less", "Equal", "GreaterOrEqual", "LessOrEqual")),
    case("Greater", {"x": (3,), "c": F(0.5)}, 7, 9, 13),
    case("Less", {"c": numbers(3), "x": (2, 3)}),
    case("Where", {"m": np.array([True, False, True]), "x": (2, 3), "y": (2, 3)}, 9, 16),
    case("Where", {"m": np.array([True, False, True]), "x": (2, 3), "c": F(7)}),
    case("Where", {"m": np.array([[True], [False]]), "c": numbers(3), "x": (1, 3)}),
]

AXES = [
    case("Flatten", {"x": (2, 3, 4)}, 9, 13), case("Flatten", {"x": (2, 3)}, 11, axis=-2),
    case("Flatten", {"x": (2, 3)}, axis=0, drop=False),
    case("Flatten", {"x": (2, 3)}, axis=2, drop=False),
    case("Reshape", {"x": (2, 6), "s": ints(-1, 3, 4)}, 7, 13, 14),
    case("Reshape", {"x": (2, 6), "s": ints(0, -1)}),
    case("Reshape", {"x": (6,), "s": ints(0, 2, 3)}),
    case("Reshape", {"x": (2, 6), "s": ints(-1)}, drop=False),
    case("Squeeze", {"x": (1, 3, 1)}, 7, 11, axes=[1]),
    case("Squeeze", {"x": (1, 3, 1), "a": ints(1, -1)}, 13),
    case("Squeeze", {"x": (1, 3, 1)}, 13, drop=False),
    case("Unsqueeze", None, 7, 11, axes=[1, 3]),
    case("Unsqueeze", {"x": (2, 3), "a": ints(-1)}, 13),
    case("Unsqueeze", {"x": (2, 3), "a": ints(0)}, 13, drop=False),
    case("Transpose", {"x": (2, 3, 4)}, 7, 13, perm=[0, 3, 1, 2]),
    case("Transpose", {"x": (3,)}, drop=False),
    case("Concat", PAIR, 7, 13, axis=1), case("Concat", PAIR, axis=-1),
    case("Concat", {"x": (2, 3), "z": (2, 1)}, axis=2), case("Concat", PAIR, axis=0, drop=False),
    case("Slice", {"x": (4, 5)}, 7, starts=[1, -3], ends=[3, 2147483647], axes=[1, 2]),
    case("Slice", {"x": (4, 5), "s": ints(0, 3), "e": ints(2**40, -100), "a": ints(0, 2),
                   "t": ints(1, -2)}, 10, 11, 13),
    case("Slice", {"x": (4, 5), "s": ints(-2), "e": ints(9), "a": ints(-1)}, 10),
    case("Slice", {"x": (4, 5), "s": ints(-100, 99), "e": ints(-100, -3), "a": ints(1, 2),
                   "t": ints(-1, -1)}, 13),
    case("Slice", {"x": (4, 5), "s": ints(0), "e": ints(1)}, 13, drop=False),
    case("Split", {"x": (2, 6)}, 7, 11, axis=2, split=[1, 5], outputs=2),
    case("Split", {"x": (2, 6)}, 7, 13, axis=-1, outputs=3),
    case("Split", {"x": (2, 6), "s": ints(4, 2)}, 13, 18, axis=2, outputs=2),
    case("Split", {"x": (2, 5)}, 18, axis=2, num_outputs=2, outputs=2),
    case("Split", {"x": (2, 6)}, 18, axis=2, num_outputs=3, outputs=3),
    case("Gather", {"x": (4, 3), "i": ints(2, 0, -1)}, 7, 13, axis=1),
    case("Gather", {"x": (4, 3), "i": np.array([[0, 1], [2, 2]])}, axis=2),
    case("Gather", {"x": (4, 3), "i": np.int64(1)}, axis=1),
    case("Gather", {"x": (4, 3), "i": np.int64(0)}, axis=0, drop=False),
    case("Pad", {"x": (2, 3)}, 7, pads=[0, 1, 0, 0, 2, 1], value=0.5),
    case("Pad", {"x": (2, 3), "p": ints(0, 1, 0, 0, 2, 1)}, 11, 13, 18),
    case("Pad", {"x": (2, 3), "p": ints(0, 1, 0, 0, 2, 1), "c": F(0.5)}, 11, 19),
    case("Pad", {"x": (2, 4), "p": ints(0, 0, 2, 0, 0, -1)}, 13, mode="edge"),
    case("Pad", {"x": (2, 4), "p": ints(0, 0, 2, 0, 1, 1)}, 13, mode="reflect"),
    case("Pad", {"x": (2, 4), "p": ints(2, -1), "c": F(0), "a": ints(2)}, 18),
    case("Expand", {"x": (1, 3), "s": ints(1, 4, 1)}, 8, 13),
    case("Expand", {"x": (1, 3), "s": ints(2, 1, 4, 3)}, drop=False),
    case("Tile", {"x": (2, 3), "r": ints(1, 2, 2)}, 7, 13),
    case("DepthToSpace", {"x": (8, 2, 3)}, 11, 13, blocksize=2),
    case("DepthToSpace", {"x": (8, 2, 3)}, 13, blocksize=2, mode="CRD"),
    case("SpaceToDepth", {"x": (2, 4, 6)}, 7, 13, blocksize=2),
]

SUMS = [
    *(case(kind, {"x": (2, 3, 4)}, *opsets, axes=[1, 3])
      for kind, opsets in (("ReduceSum", (7, 11)), ("ReduceMean", (7, 13)), ("ReduceMax", (7, 13)),
                           ("ReduceMin", (7, 13)), ("ReduceL1", (13,)), ("ReduceSumSquare", (13,)),
                           ("ReduceLogSumExp", (13,)))),
    case("ReduceL2", None, 13, axes=[2], positive=True),
    case("ReduceLogSum", None, 13, axes=[2], positive=True),
    *(case(kind, {"x": (2, 3, 4), "a": ints(-1, 2)}, 18, keepdims=0)
      for kind in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1")),
    case("ReduceSum", None, 13, keepdims=0, drop=False),
    case("ReduceSum", {"x": (2, 3), "a": ints(1)}, 13), case("ReduceMean", {"x": (3,)}, drop=False),
    case("ReduceSum", None, 13, noop_with_empty_axes=1),
    case("ReduceMean", {"x": (2, 3), "a": ints(1, 2)}, 18, keepdims=0),
    *(case(kind, {"x": (4, 3)}, 7, 11, 13, axis=1) for kind in ("ArgMax", "ArgMin")),
    case("ArgMax", {"x": (4, 3)}, 12, 13, axis=2, keepdims=0, select_last_index=1),
    case("ArgMin", {"x": (4, 3)}, 12, axis=-2, keepdims=0, select_last_index=1),
    case("ArgMax", {"x": (4, 3)}, 11, drop=False),
    case("Softmax", {"x": (2, 3)}, 7, 11, 13), case("Softmax", {"x": (2, 3)}, 7, 11, 13, axis=2),
    case("Softmax", {"x": (2, 3)}, 13, axis=1), case("Softmax", {"x": (3,)}, 7, 11, 13),
    case("Softmax", {"x": (2, 3)}, 7, 13, axis=0, drop=False),
    case("LogSoftmax", {"x": (2, 3)}, 7, 13), case("LogSoftmax", {"x": (2, 3)}, 13, axis=1),
    case("LayerNormalization", {"x": (2, 3), "s": numbers(3), "b": numbers(3)}),
    case("LayerNormalization", {"x": (2, 3), "s": numbers(2, 3)}, axis=1, epsilon=0.01),
    case("InstanceNormalization", {"x": (3, 4), "s": numbers(3), "b": numbers(3)}),
    case("BatchNormalization", {"x": (3, 2, 2), **STAT}, 7, 9, 14, 15),
    case("BatchNormalization", {"x": (3,), **STAT}, 9, epsilon=0.1),
]

PRODUCTS = [
    case("MatMul", {"x": (3,), "w": W34}, 7, 9, 13), case("MatMul", {"x": (2, 3), "w": W34}),
    case("MatMul", {"x": (5, 2, 3), "w": W34}), case("MatMul", {"x": (3,), "w": numbers(3)}),
    case("MatMul", {"w": W43, "x": (3, 2)}), case("MatMul", {"w": W43, "x": (3, 1)}),
    case("MatMul", {"w": numbers(3), "x": (3, 2)}),
    case("MatMul", {"x": (2, 4, 3), "w": numbers(2, 3, 5)}),
    case("MatMul", {"x": (4, 3), "w": numbers(1, 3, 5)}),
    case("MatMul", {"x": (1, 4, 3), "w": numbers(2, 3, 5)}),
    case("MatMul", {"w": numbers(2, 5, 4), "x": (1, 4, 3)}),
    case("MatMul", {"x": (2, 3), "w": numbers(2, 1, 3, 4)}, drop=False),
    case("MatMul", {"x": (2, 3), "z": (3, 4)}), case("MatMul", {"x": (2, 4, 3), "z": (1, 3, 2)}),
    case("Gemm", {"x": (3,), "w": W34, "b": numbers(4)}, 7, 9, 11, 13),
    case("Gemm", {"x": (3,), "w": W43, "b": F(0.5)}, 9, transB=1, alpha=0.5, beta=2.0),
    case("Gemm", {"x": (3,), "w": W34, "b": numbers(1, 4)}, 11, alpha=0.1, beta=0.3),
    case("Gemm", {"x": (3,), "w": W34}, 11),
    case("Gemm", {"w": W43, "x": (2,)}, drop=False, transA=1, transB=1, keep=False),
    case("Conv", {**IMAGE, "w": C}, 7, 11, 22), case("Conv", {**IMAGE, "w": C, "b": numbers(6)}),
    case("Conv", {**IMAGE, "w": C}, kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 2, 1],
         dilations=[1, 2]),
    *(case("Conv", {**IMAGE, "w": C}, auto_pad=mode, strides=[2, 3])
      for mode in ("SAME_UPPER", "SAME_LOWER", "VALID")),
    case("Conv", {**IMAGE, "w": numbers(6, 2, 3, 2), "b": numbers(6)}, group=2),
    case("Conv", {**IMAGE, "w": numbers(4, 1, 3, 2)}, group=4, pads=[1, 1, 1, 1]),
    case("Conv", {"x": (4, 9), "w": LINE}, group=2, strides=[2], pads=[1, 0]),
    case("Conv", {"x": (2, 3, 4, 5), "w": numbers(3, 2, 2, 2, 2)}),
    case("ConvTranspose", {"x": (6, 3, 4), "w": numbers(6, 2, 3, 2)}, 7, 11, keep=False),
    case("ConvTranspose", {"x": (6, 3, 4), "w": numbers(6, 2, 3, 2), "b": numbers(4)}, group=2,
         strides=[2, 3], pads=[1, 0, 0, 1], dilations=[2, 1], output_padding=[1, 2], keep=False),
    case("ConvTranspose", {"x": (6, 3, 4), "w": numbers(6, 2, 3, 2)}, strides=[2, 2],
         output_shape=[7, 8], keep=False),
    *(case("ConvTranspose", {"x": (6, 3, 4), "w": numbers(6, 2, 3, 3)}, strides=[2, 2],
           auto_pad=mode, keep=False) for mode in ("SAME_UPPER", "SAME_LOWER", "VALID")),
    case("ConvTranspose", {"x": (2, 5), "w": numbers(2, 3, 3)}, strides=[2], keep=False),
]

POOLS = [
    *(case(kind, PLANE, kernel_shape=[2, 3], **rest)
      for kind in ("MaxPool", "AveragePool")
      for rest in ({}, {"strides": [2, 2]}, {"strides": [2, 2], "pads": [1, 1, 0, 2]},
                   {"strides": [2, 3], "ceil_mode": 1}, {"strides": [3, 3], "ceil_mode": 1,
                                                         "pads": [1, 1, 1, 1]},
                   {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
                   {"auto_pad": "SAME_LOWER", "strides": [2, 2]}, {"auto_pad": "VALID"})),
    case("MaxPool", PLANE, 10, 12, 22, kernel_shape=[2, 2], dilations=[2, 3]),
    case("MaxPool", {"x": (2, 7)}, 8, 11, kernel_shape=[3], strides=[2]),
    case("AveragePool", PLANE, 19, kernel_shape=[2, 2], dilations=[2, 1]),
    case("AveragePool", PLANE, 7, 11, 19, kernel_shape=[3, 3], pads=[1, 1, 1, 1],
         count_include_pad=1),
    case("AveragePool", PLANE, 19, 22, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2],
         ceil_mode=1, count_include_pad=1),
    case("AveragePool", PLANE, 19, 22, kernel_shape=[2, 2], strides=[3, 3], pads=[0, 0, 1, 0],
         ceil_mode=1, count_include_pad=1),
    case("GlobalAveragePool", PLANE, 7), case("GlobalMaxPool", PLANE, 7),
    case("GlobalAveragePool", {"x": (2, 5)}),
]

CASES = [(case, opset) for case in [*ENTRYWISE, *AXES, *SUMS, *PRODUCTS, *POOLS]
         for opset in case.opsets]
NAMES = [f"{i}-{case.kind}-{opset}" for i, (case, opset) in enumerate(CASES)]


def build(case: Case, opset: int, lead: int | str) -> Any:
    outputs = [f"out{k}" for k in range(case.outputs)]
    node = helper.make_node(case.kind, list(case.wires), outputs, **case.attributes)
    inputs = {n: [lead, *w] for n, w in case.wires.items() if isinstance(w, tuple)}
    constants = {n: np.asarray(w) for n, w in case.wires.items() if not isinstance(w, tuple)}
    types = {}
    kinds = ("Greater", "Less", "Equal", "GreaterOrEqual", "LessOrEqual")
    if case.kind in kinds:
        types["out0"] = TensorProto.BOOL
    if case.kind in ("ArgMax", "ArgMin"):
        types["out0"] = TensorProto.INT64
    if case.attributes.get("to") == TensorProto.DOUBLE:
        types["out0"] = TensorProto.DOUBLE
    return model_of([node], inputs, outputs, constants, opset=opset, types=types)


def compare(loaded: Any, model: Any, rows: int, positive: bool) -> None:
    """Floats and exact numbers of the network against onnxruntime, on a few points."""
    rng = np.random.default_rng(5)
    dropped = loaded.signature.batch is not None
    feeds, flat = {}, []
    for tensor in loaded.signature.inputs:
        shape = (rows, *tensor.shape) if dropped else tensor.shape
        x = (rng.integers(-12, 13, size=shape) / 4).astype(F)
        feeds[tensor.name] = np.abs(x) + F(0.25) if positive else x
        flat.append(feeds[tensor.name].reshape(rows if dropped else 1, -1))
    expected = run_in_onnxruntime(model, feeds)
    for array, tensor in zip(expected, loaded.signature.outputs, strict=True):
        assert array.shape == ((rows, *tensor.shape) if dropped else tensor.shape)
        assert array.dtype.name == tensor.dtype
    together = np.concatenate([a.reshape(rows if dropped else 1, -1) for a in expected], axis=1)
    points = np.concatenate(flat, axis=1).astype(np.float64)
    got = evaluate(loaded.network, points)
    np.testing.assert_allclose(got, together, rtol=1e-5, atol=2e-6)
    value = evaluate_exact(loaded.network, Exact.of(points.T.copy()))
    middle = value.low if isinstance(value, Enclosure) else value
    np.testing.assert_allclose(middle.to_float().T, got, rtol=1e-9, atol=1e-9)
    assert to_primitive(loaded.network).is_primitive


@pytest.mark.parametrize(("case", "opset"), CASES, ids=NAMES)
def test_operator_with_a_symbolic_batch(case, opset, tmp_path):
    model = build(case, opset, "rows")
    path = saved(model, tmp_path)
    if not case.drop:
        try:
            assert "fit no other" in read_onnx(path).reading[0]
        except UnsupportedModel as refusal:
            assert all("not row by row" in reason for reason in refusal.reasons)
        return
    loaded = read_onnx(path)
    assert loaded.signature.batch == "rows"
    compare(loaded, model, 3, case.positive)


@pytest.mark.parametrize(("case", "opset"), [c for c in CASES if c[0].keep],
                         ids=[n for n, c in zip(NAMES, CASES, strict=True) if c[0].keep])
def test_operator_with_all_axes(case, opset, tmp_path):
    model = build(case, opset, 2)
    loaded = read_onnx(saved(model, tmp_path), batch="keep")
    assert loaded.signature.batch is None
    compare(loaded, model, 2, case.positive)


@pytest.mark.parametrize(("case", "opset"), CASES, ids=NAMES)
def test_operator_with_one_fixed_row(case, opset, tmp_path):
    if case.kind == "Gemm" and case.attributes.get("transA"):
        pytest.skip("fits two rows only")
    model = build(case, opset, 1)
    loaded = read_onnx(saved(model, tmp_path))
    compare(loaded, model, 1, case.positive)


def test_the_table_covers_every_rule():
    from isoform.formats.onnx.read import RULES
    from isoform.formats.onnx.rules_quantised import QUANTISED

    elsewhere = {"Constant", "ConstantOfShape", "Shape", "Size", "Range", "CumSum", "CastLike",
                 "Mod", "Floor", "Ceil", "Not", "And", "Or", "Xor", "Swish", *QUANTISED}
    assert set(RULES) == {case.kind for case, _ in CASES} | elsewhere


