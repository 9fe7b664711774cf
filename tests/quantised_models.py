# SPDX-License-Identifier: Apache-2.0
"""Small quantised ONNX models in both forms, and their comparison with onnxruntime.

Weights stay within 7 bits: on processors without the newer integer instructions, onnxruntime adds
pairs of products of 8 bits in int16, which then saturate; this is no property of the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper

from isoform.network.evaluate import evaluate_exact, trace
from isoform.network.network import Network
from isoform.network.operators import Round
from isoform.network.primitive import to_primitive
from isoform.numerics.exact import Exact
from onnx_models import F, model_of, node, run_in_onnxruntime

NEAR = 1e-4  # steps from a tie within which a runtime's float arithmetic may round the other way
CONTRIB = helper.make_opsetid("com.microsoft", 1)


def with_contrib(model: onnx.ModelProto) -> onnx.ModelProto:
    model.opset_import.append(CONTRIB)
    return model


def contrib(kind: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    """A node of onnxruntime's own domain; '-' leaves an operand out."""
    names = ["" if name == "-" else name for name in inputs.split()]
    return helper.make_node(kind, names, outputs.split(), domain="com.microsoft", **attributes)


def small_integers(*shape: int, seed: int, dtype: Any = np.int8) -> np.ndarray:
    low, high = (-60, 61) if np.dtype(dtype).kind == "i" else (68, 189)
    return np.random.default_rng(seed).integers(low, high, size=shape).astype(dtype)


def dense_constants(act: Any, weight: Any, channels: bool) -> dict[str, np.ndarray]:
    """6 -> 8 -> 4, with scales of weights for every output where `channels`."""
    scale = [F(0.021), F(0.017)]
    if channels:
        scale = [np.linspace(0.01, 0.03, n).astype(F) for n in (8, 4)]
    middle = 3 if np.dtype(act).kind == "i" else 129
    point = 0 if np.dtype(weight).kind == "i" else 128
    points = [np.full(np.shape(s), point, weight) for s in scale]
    found: dict[str, np.ndarray] = {
        "sx": F(0.0125), "zx": act(middle), "sh": F(0.043), "zh": act(middle - 2), "sy": F(0.11),
        "zy": act(middle + 1),
    }
    rng = np.random.default_rng(4)
    for k, (rows, columns) in enumerate([(6, 8), (8, 4)]):
        found |= {
            f"w{k}": small_integers(rows, columns, seed=k, dtype=weight), f"sw{k}": scale[k],
            f"zw{k}": points[k],
            f"b{k}": rng.integers(-900, 900, size=columns).astype(np.int32),
            f"sb{k}": np.asarray(scale[k] * found["sx" if k == 0 else "sh"]),
        }
    return found


def dense_qdq(act: Any = np.uint8, weight: Any = np.int8, channels: bool = False,
              relu: bool = True, **other: np.ndarray) -> onnx.ModelProto:
    """Gemm layers between QuantizeLinear and DequantizeLinear; `other` replaces constants."""
    nodes = [node("QuantizeLinear", "x sx zx", "qx"), node("DequantizeLinear", "qx sx zx", "dx")]
    for k, (source, name, out) in enumerate([("dx", "sh zh", "h"), ("dh", "sy zy", "y")]):
        last = f"g{k}"
        nodes += [
            node("DequantizeLinear", f"w{k} sw{k} zw{k}", f"dw{k}", axis=1),
            node("DequantizeLinear", f"b{k} sb{k}", f"db{k}", axis=0),
            node("Gemm", f"{source} dw{k} db{k}", last),
        ]
        if k == 0 and relu:
            nodes.append(node("Relu", last, "r"))
            last = "r"
        nodes += [node("QuantizeLinear", f"{last} {name}", f"q{out}"),
                  node("DequantizeLinear", f"q{out} {name}", "dh" if k == 0 else "y")]
    constants = dense_constants(act, weight, channels) | other
    return model_of(nodes, {"x": ["N", 6]}, ["y"], constants)


def dense_operators(act: Any = np.uint8, weight: Any = np.int8, channels: bool = False,
                    **other: np.ndarray) -> onnx.ModelProto:
    """QGemm with bias, then QLinearMatMul, between QuantizeLinear and DequantizeLinear."""
    nodes = [
        node("QuantizeLinear", "x sx zx", "qx"),
        contrib("QGemm", "qx sx zx w0 sw0 zw0 b0 sh zh", "qh"),
        node("QLinearMatMul", "qh sh zh w1 sw1 zw1 sy zy", "qy"),
        node("DequantizeLinear", "qy sy zy", "y"),
    ]
    constants = dense_constants(act, weight, channels) | other
    return with_contrib(model_of(nodes, {"x": ["N", 6]}, ["y"], constants))


def conv_constants(act: Any, channels: bool) -> dict[str, np.ndarray]:
    scale = np.linspace(0.01, 0.03, 4).astype(F) if channels else F(0.021)
    middle = 3 if np.dtype(act).kind == "i" else 129
    return {
        "sx": F(0.0125), "zx": act(middle), "k": small_integers(4, 2, 3, 3, seed=2), "sk": scale,
        "zk": np.zeros(np.shape(scale), np.int8), "sb": np.asarray(scale * F(0.0125)),
        "b": np.random.default_rng(4).integers(-900, 900, size=4).astype(np.int32),
        "sh": F(0.043), "zh": act(middle - 3),
    }


def conv_qdq(act: Any = np.uint8, channels: bool = False) -> onnx.ModelProto:
    nodes = [
        node("QuantizeLinear", "x sx zx", "qx"), node("DequantizeLinear", "qx sx zx", "dx"),
        node("DequantizeLinear", "k sk zk", "dk", axis=0),
        node("DequantizeLinear", "b sb", "db", axis=0),
        node("Conv", "dx dk db", "c", pads=[1, 1, 1, 1]), node("Relu", "c", "r"),
        node("QuantizeLinear", "r sh zh", "qh"),
        node("MaxPool", "qh", "p", kernel_shape=[2, 2], strides=[2, 2]),
        node("DequantizeLinear", "p sh zh", "y"),
    ]
    return model_of(nodes, {"x": ["N", 2, 6, 6]}, ["y"], conv_constants(act, channels))


def conv_operators(act: Any = np.uint8, channels: bool = False) -> onnx.ModelProto:
    """QLinearConv with padding and bias, a pool of integers, a mean over space."""
    nodes = [
        node("QuantizeLinear", "x sx zx", "qx"),
        node("QLinearConv", "qx sx zx k sk zk sh zh b", "qh", pads=[1, 1, 1, 1]),
        node("MaxPool", "qh", "p", kernel_shape=[2, 2], strides=[2, 2]),
        contrib("QLinearGlobalAveragePool", "p sh zh sh zh", "m"),
        node("DequantizeLinear", "p sh zh", "y"), node("DequantizeLinear", "m sh zh", "z"),
    ]
    model = model_of(nodes, {"x": ["N", 2, 6, 6]}, ["y", "z"], conv_constants(act, channels))
    return with_contrib(model)


def step_model(kind: str, constants: Mapping[str, np.ndarray], **attributes: Any) -> Any:
    """One operator on a quantised input of 4 entries (or 2 such inputs)."""
    pair = kind in ("QLinearAdd", "QLinearMul")
    nodes = [node("QuantizeLinear", "x sx zx", "qx")]
    if pair:
        nodes.append(node("QuantizeLinear", "x sv zx", "qv"))
        nodes.append(contrib(kind, "qx sx zx qv sv zx sy zy", "qy"))
    else:
        nodes.append(contrib(kind, "qx sx zx sy zy", "qy", **attributes))
    nodes.append(node("DequantizeLinear", "qy sy zy", "y"))
    return with_contrib(model_of(nodes, {"x": ["N", 4]}, ["y"], constants))


# --- comparison ---------------------------------------------------------------------------------


def far_from_ties(network: Network, x: np.ndarray) -> np.ndarray:
    """Whether every number that the network rounds is away from a tie, for each point."""
    primitive = to_primitive(network)
    values = trace(primitive, x.astype(np.float64))
    clear = np.ones(len(x), dtype=bool)
    for made in primitive.nodes:
        if isinstance(made.operator, Round):
            rounded = values[made.operands[0]]
            clear &= (np.abs(rounded - np.floor(rounded) - 0.5) > NEAR).all(axis=1)
    return clear


def agrees(network: Network, model: onnx.ModelProto, x: np.ndarray, least: int) -> None:
    """The network's exact values are onnxruntime's at all points that are far from ties, and there
    are at least so many. x: (batch, *shape)."""
    flat = x.reshape(len(x), -1)
    clear = far_from_ties(network, flat)
    assert clear.sum() >= least
    found = run_in_onnxruntime(model, {"x": x})
    want = np.concatenate([y.reshape(len(x), -1) for y in found], axis=1)[clear]
    got = evaluate_exact(network, Exact.of(flat[clear].T.astype(np.float64)))
    assert isinstance(got, Exact)
    np.testing.assert_allclose(got.to_float().T, want, rtol=2e-6, atol=2e-6)


def batch(*shape: int, size: float = 1.0, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).uniform(-size, size, size=shape)).astype(np.float32)
