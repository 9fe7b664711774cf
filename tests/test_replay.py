# SPDX-License-Identifier: Apache-2.0
"""Replaying ONNX files in onnxruntime: batches, fixed axes, refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from isoform.errors import FormatError, Refused
from isoform.formats.onnx.write import write_onnx
from isoform.formats.replay import run_onnx, runtime_version
from isoform.network.evaluate import evaluate
from isoform.network.linear_map import Conv, Dense
from isoform.network.model import Signature, Tensor
from isoform.network.network import Builder, Network
from isoform.network.operators import Linear

RNG = np.random.default_rng(7)


def affine() -> Network:
    b = Builder((3,))
    return b.build(b.linear(Dense(RNG.normal(size=(2, 3)).astype(np.float32)), 0))


def points(network: Network, count: int = 5) -> np.ndarray:
    return RNG.normal(size=(count, network.dimension)).astype(np.float32)


def test_kernels_that_onnxruntime_lacks(tmp_path: Path) -> None:
    """A float64 convolution is valid ONNX, but not for onnxruntime's CPU provider."""
    from onnx.reference import ReferenceEvaluator

    b = Builder((1, 4))
    conv = Conv(kernel=RNG.normal(size=(1, 1, 2)), space=(4,), strides=(1,), pads=((0, 0),),
                dilations=(1,))
    network = b.build(b.add(Linear((conv,)), (0,), (1, 3)))
    path = tmp_path / "m.onnx"
    write_onnx(network, path, signature=Signature(
        inputs=(Tensor("input", (1, 4), "float64"),), outputs=(Tensor("y", (1, 3), "float64"),)
    ))
    x = points(network).astype(np.float64)
    with pytest.raises(Refused, match="no CPU kernel"):
        run_onnx(path, x)
    (y,) = ReferenceEvaluator(onnx.load(path)).run(None, {"input": x.reshape(5, 1, 4)})
    assert np.allclose(y.reshape(5, -1), evaluate(network, x), rtol=1e-12)


@pytest.mark.parametrize("batch", ["N", 2, 3, None])
def test_any_batch_axis(batch: str | int | None, tmp_path: Path) -> None:
    network = affine()
    signature = Signature(
        inputs=(Tensor("x", (3,)),), outputs=(Tensor("y", (2,)),), batch=batch
    )
    write_onnx(network, tmp_path / "m.onnx", signature=signature)
    for count in (1, 4, 5):
        x = points(network, count)
        assert np.allclose(run_onnx(tmp_path / "m.onnx", x), evaluate(network, x), atol=1e-5)
    assert run_onnx(tmp_path / "m.onnx", np.zeros((0, 3), np.float32)).shape == (0, 2)


def test_a_file_that_knows_one_row_only(tmp_path: Path) -> None:
    """A reshape to (1, 3) behind a symbolic batch."""
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [1, 3])
    node = helper.make_node("Reshape", ["x", "shape"], ["y"])
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])], [shape],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "m.onnx")
    x = RNG.normal(size=(4, 3)).astype(np.float32)
    assert np.array_equal(run_onnx(tmp_path / "m.onnx", x), x)


def test_replay_refuses_what_does_not_fit(tmp_path: Path) -> None:
    assert runtime_version().startswith("onnxruntime ")
    write_onnx(affine(), tmp_path / "m.onnx")
    with pytest.raises(Refused, match="4 entries"):
        run_onnx(tmp_path / "m.onnx", np.zeros((1, 4)))
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(FormatError, match="does not run"):
        run_onnx(tmp_path / "bad.onnx", np.zeros((1, 3)))
