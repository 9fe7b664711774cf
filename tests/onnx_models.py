# SPDX-License-Identifier: Apache-2.0
"""Small ONNX models, made on the spot, and what onnxruntime says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

F = np.float32
Sizes = Sequence[int | str | None]


def model_of(
    nodes: Sequence[Any], inputs: Mapping[str, Sizes], outputs: Sequence[str],
    constants: Mapping[str, np.ndarray] | None = None, *, opset: int = 17,
    types: Mapping[str, int] | None = None,
) -> onnx.ModelProto:
    """A model with float inputs (or `types`) and outputs of unknown shape."""
    types = types or {}
    graph = helper.make_graph(
        list(nodes), "g",
        [helper.make_tensor_value_info(n, types.get(n, TensorProto.FLOAT), s)
         for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, types.get(n, TensorProto.FLOAT), None) for n in outputs],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = min(model.ir_version, 10)
    return model


def saved(model: onnx.ModelProto, folder: Path, name: str = "m.onnx") -> Path:
    path = folder / name
    path.write_bytes(model.SerializeToString())
    return path


def run_in_onnxruntime(
    model: onnx.ModelProto, feeds: Mapping[str, np.ndarray]
) -> list[np.ndarray]:
    """All outputs, with the optimisations of the graph off."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return session.run(None, dict(feeds))


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(F)


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def node(kind: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    return helper.make_node(kind, inputs.split(), outputs.split(), **attributes)


def small_net() -> onnx.ModelProto:
    """Convolution, pool, flatten by shape arithmetic, two dense layers."""
    return model_of(
        [
            node("Conv", "x k kb", "c", pads=[1, 1, 1, 1]),
            node("Relu", "c", "r"),
            node("MaxPool", "r", "p", kernel_shape=[2, 2], strides=[2, 2]),
            node("Shape", "p", "s"),
            node("Gather", "s zero", "n"),
            node("Unsqueeze", "n first", "nn"),
            node("Concat", "nn minus", "t", axis=0),
            node("Reshape", "p t", "f"),
            node("Gemm", "f w b", "h", transB=1),
            node("LeakyRelu", "h", "l", alpha=0.1),
            node("MatMul", "l v", "y"),
        ],
        {"x": ["N", 2, 4, 4]}, ["y"],
        {"k": numbers(3, 2, 3, 3), "kb": numbers(3), "w": numbers(5, 12), "b": numbers(5),
         "v": numbers(5, 2), "zero": np.int64(0), "first": ints(0), "minus": ints(-1)},
    )
