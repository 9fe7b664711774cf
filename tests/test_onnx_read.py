# SPDX-License-Identifier: Apache-2.0
"""Reading ONNX files: the real networks, batches, folded shapes, what graphs become."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from isoform.errors import UnsupportedModel
from isoform.formats.onnx.read import read_onnx
from isoform.network.evaluate import evaluate
from isoform.network.linear_map import Conv, Csr, Dense, Gather
from isoform.network.model import Loaded
from isoform.network.operators import Linear, Relu
from isoform.network.primitive import to_primitive
from isoform.network.size import measure
from isoform.numerics.exact import Exact
from onnx_models import ints, model_of, node, numbers, run_in_onnxruntime, saved, small_net

F = np.float32
NO_BATCH = ("dropout_training_mode_true.onnx",)


def agree(loaded: Loaded, model: onnx.ModelProto, rows: int, seed: int = 0) -> None:
    """Floats of the network against onnxruntime, a batch of rows at once."""
    rng = np.random.default_rng(seed)
    dropped = loaded.signature.batch is not None
    count = rows if dropped else 1
    x = rng.normal(size=(count, loaded.network.dimension)).astype(F)
    feeds, start = {}, 0
    for tensor in loaded.signature.inputs:
        size = int(np.prod(tensor.shape, dtype=int))
        shape = (count, *tensor.shape) if dropped else tensor.shape
        feeds[tensor.name] = x[:, start : start + size].reshape(shape).astype(tensor.dtype)
        start += size
    expected = run_in_onnxruntime(model, feeds)
    for array, tensor in zip(expected, loaded.signature.outputs, strict=True):
        assert array.shape == ((count, *tensor.shape) if dropped else tensor.shape)
    together = np.concatenate([a.reshape(count, -1) for a in expected], axis=1)
    got = evaluate(loaded.network, x.astype(np.float64))
    scale = max(1.0, float(np.abs(together).max(initial=0)))
    np.testing.assert_allclose(got, together, rtol=1e-5, atol=1e-5 * scale)


def with_symbolic_rows(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model with the leading axis of its inputs left open."""
    opened = onnx.ModelProto.FromString(model.SerializeToString())
    held = {tensor.name for tensor in opened.graph.initializer}
    for entry in (*opened.graph.input, *opened.graph.output):
        if entry.name not in held:
            entry.type.tensor_type.shape.dim[0].dim_param = "rows"
    del opened.graph.value_info[:]
    return opened


# --- real files -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "folder", ["acasxu", "attention", "convolutional", "feedforward", "operators"]
)
def test_real_networks_evaluate_like_onnxruntime(models: Path, folder: str) -> None:
    paths = [path for path in sorted((models / folder).glob("*.onnx")) if path.name not in NO_BATCH]
    assert paths
    for path in paths:
        model = onnx.load(path)
        loaded = read_onnx(path)
        rows = loaded.signature.batch if isinstance(loaded.signature.batch, int) else 4
        for seed in range(3):
            agree(loaded, model, rows, seed)
        if isinstance(loaded.signature.batch, int):
            agree(loaded, with_symbolic_rows(model), 5)
            kept = read_onnx(path, batch="keep")
            assert kept.signature.batch is None
            agree(kept, model, 1)
        assert loaded.digest == hashlib.sha256(path.read_bytes()).hexdigest()


def test_dense_networks_read_as_plain_layers(models: Path) -> None:
    loaded = read_onnx(models / "acasxu" / "ACASXU_run2a_1_1_batch_2000.onnx")
    kinds = [type(n.operator) for n in to_primitive(loaded.network).nodes]
    assert kinds == [Linear, Relu] * 6 + [Linear]
    size = measure(loaded.network)
    assert (size.depth, size.width, size.units) == (6, 50, 300)
    assert loaded.signature.batch == 1 and loaded.opset == 8


def test_an_axis_that_can_only_be_one_is_kept(models: Path) -> None:
    loaded = read_onnx(models / "feedforward" / "fc2.onnx")
    assert loaded.signature.batch is None
    assert "length 1" in loaded.reading[0]


def test_recurrent_and_training_nodes_are_refused_by_name(models: Path) -> None:
    for kind in ("LSTM", "GRU"):
        with pytest.raises(UnsupportedModel, match=f"{kind}.*recurrent") as refusal:
            read_onnx(models / "recurrent" / f"MNIST_{kind}15net.onnx")
        assert len(refusal.value.reasons) == 2
    with pytest.raises(UnsupportedModel, match="training mode"):
        read_onnx(models / "operators" / "dropout_training_mode_true.onnx")


# --- batches --------------------------------------------------------------------------------------


def test_shapes_with_a_symbolic_batch_are_folded(tmp_path: Path) -> None:
    model = small_net()
    loaded = read_onnx(saved(model, tmp_path))
    assert loaded.signature.batch == "N" and loaded.reading == ("batch axis 'N' dropped",)
    agree(loaded, model, 3)
    with pytest.raises(UnsupportedModel, match="no fixed length"):
        read_onnx(saved(model, tmp_path), batch="keep")


def test_a_fixed_axis_is_kept_where_rows_mix(tmp_path: Path) -> None:
    model = model_of([node("Softmax", "x", "y", axis=0)], {"x": [3, 2]}, ["y"], opset=13)
    loaded = read_onnx(saved(model, tmp_path))
    assert loaded.signature.batch is None and "softmax along the batch" in loaded.reading[0]
    agree(loaded, model, 1)


def test_rows_of_a_symbolic_batch_may_not_mix(tmp_path: Path) -> None:
    model = model_of(
        [node("Softmax", "x", "a", axis=0), node("Transpose", "a", "b"),
         node("Transpose", "x", "c", perm=[1, 0]), node("Relu", "c", "d")],
        {"x": ["N", 2]}, ["b", "d"], opset=13,
    )
    with pytest.raises(UnsupportedModel) as refusal:
        read_onnx(saved(model, tmp_path))
    assert len(refusal.value.reasons) == 2
    assert all("not row by row" in reason for reason in refusal.value.reasons)


@pytest.mark.parametrize(("leads", "batch"), [
    (("N", "N"), "N"), ((2, 2), 2), ((2, 1), None), (("unk__3", "unk__9"), "unk__3"),
    ((None, None), "N"), (("unk__3", "B"), "B"),
])
def test_the_batch_is_the_leading_axis_of_all_inputs(tmp_path, leads, batch):
    model = model_of([node("Add", "x z", "y")], {"x": [leads[0], 3], "z": [leads[1], 3]}, ["y"])
    loaded = read_onnx(saved(model, tmp_path))
    assert loaded.signature.batch == batch
    if batch is None or isinstance(batch, int):
        agree(loaded, model, 2)


@pytest.mark.parametrize("leads", [("N", "M"), ("N", 1), (3, None)])
def test_different_leading_axes_are_refused(tmp_path, leads):
    model = model_of([node("Add", "x z", "y")], {"x": [leads[0], 3], "z": [leads[1], 3]}, ["y"])
    with pytest.raises(UnsupportedModel, match="leading axes"):
        read_onnx(saved(model, tmp_path))


def test_constants_in_the_shape_of_the_batch_are_rows(tmp_path):
    model = model_of(
        [node("Shape", "x", "s", end=1), node("Concat", "s five", "t", axis=0),
         node("ConstantOfShape", "t", "c", value=numpy_helper.from_array(np.array([0.5], F))),
         node("Concat", "x c", "j", axis=1), node("Expand", "row t2", "e"),
         node("Concat", "s one", "t2", axis=0), node("Mul", "j e", "y"), node("Size", "x", "z"),
         node("Cast", "z", "u", to=TensorProto.FLOAT), node("Mul", "u x", "v")],
        {"x": ["N", 2]}, ["y"],
        {"five": ints(5), "one": ints(1), "row": np.array([[2.0]], F)},
    )
    loaded = read_onnx(saved(model, tmp_path))
    agree(loaded, model, 3)
    model.graph.output[0].name = "v"
    with pytest.raises(UnsupportedModel, match="depends on the number of rows|no equal rows"):
        read_onnx(saved(model, tmp_path))


@pytest.mark.parametrize("constants", [
    {"w": numbers(3, 3)},  # one row of factors for each of three rows
    {"w": numbers(2, 1, 3)},
])
def test_constants_with_a_leading_axis_mix_rows(tmp_path, constants):
    model = model_of([node("Mul", "x w", "y")], {"x": ["N", 3]}, ["y"], constants)
    with pytest.raises(UnsupportedModel, match="not row by row"):
        read_onnx(saved(model, tmp_path))


# --- graphs ---------------------------------------------------------------------------------------


def test_logic_and_comparisons(tmp_path):
    model = model_of(
        [node("Greater", "x zero", "p"), node("Less", "x z", "q"), node("And", "p q", "a"),
         node("Or", "p q", "o"), node("Xor", "p q", "e"), node("Not", "e", "n"),
         node("And", "n mask", "m"), node("Where", "a x z", "w"), node("Where", "o one x", "v"),
         node("Where", "e one zero", "u"), node("Cast", "m", "c", to=TensorProto.FLOAT),
         node("Add", "w v", "s"), node("Add", "s u", "t"), node("Add", "t c", "y")],
        {"x": ["N", 3], "z": ["N", 3]}, ["y"],
        {"zero": F(0), "one": F(1), "mask": np.array([True, True, False])},
    )
    loaded = read_onnx(saved(model, tmp_path))
    assert not loaded.network.continuous
    agree(loaded, model, 20)


def test_constant_arithmetic_is_folded_like_numpy(tmp_path):
    model = model_of(
        [node("Constant", "", "c", value_floats=[0.1, 0.2, 0.3]), node("Mul", "c c", "cc"),
         node("Constant", "", "i", value_ints=[7, -7, 9]), node("Div", "i two", "j"),
         node("Mod", "i two", "k"), node("Add", "j k", "l"), node("Range", "zero three one", "r"),
         node("Add", "l r", "m"), node("Cast", "m", "f", to=TensorProto.FLOAT),
         node("CastLike", "j", "g", ), node("Floor", "cc", "fl"), node("Ceil", "cc", "ce"),
         node("Round", "cc", "ro"), node("CumSum", "cc axis", "cu"),
         node("Sum", "cc f fl ce ro cu", "all"), node("Mul", "x all", "y")],
        {"x": ["N", 3]}, ["y"],
        {"two": ints(2), "zero": np.int64(0), "three": np.int64(3), "one": np.int64(1),
         "axis": np.int64(0)},
    )
    del model.graph.node[9]
    loaded = read_onnx(saved(model, tmp_path))
    agree(loaded, model, 3)
    (made,) = loaded.network.nodes
    assert made.operator.maps[0].scale.dtype == F


def test_transpositions_meet_and_cancel(tmp_path):
    model = model_of(
        [node("Transpose", "x", "a", perm=[0, 2, 3, 1]), node("Relu", "a", "b"),
         node("Add", "b bias", "c"), node("Transpose", "c", "d", perm=[0, 3, 1, 2]),
         node("Relu", "d", "y")],
        {"x": ["N", 2, 3, 3]}, ["y"], {"bias": numbers(2)},
    )
    loaded = read_onnx(saved(model, tmp_path))
    assert [type(n.operator) for n in loaded.network.nodes] == [Relu, Linear, Relu]
    agree(loaded, model, 3)


def test_weights_keep_their_structure_and_their_bits(tmp_path):
    weight = numbers(3, 4)
    model = model_of(
        [node("MatMul", "x w", "a"), node("Add", "a b", "c"), node("Flatten", "c", "d"),
         node("Gemm", "d v e", "y", transB=1)],
        {"x": ["N", 2, 3]}, ["y"],
        {"w": weight, "b": numbers(4), "v": numbers(5, 8), "e": numbers(5)},
    )
    first, last = read_onnx(saved(model, tmp_path)).network.nodes[-3::2]
    (conv,), (dense,) = first.operator.maps, last.operator.maps
    assert isinstance(conv, Conv) and np.array_equal(conv.kernel[:, :, 0], weight.T)
    assert isinstance(dense, Dense) and np.array_equal(dense.weight, numbers(5, 8))
    assert first.operator.bias is not None and dense.weight.dtype == F


def test_averages_are_exact_rationals(tmp_path):
    model = model_of([node("AveragePool", "x", "a", kernel_shape=[3, 3]),
                      node("Div", "a three", "y")], {"x": ["N", 1, 3, 3]}, ["y"], {"three": F(3)})
    loaded = read_onnx(saved(model, tmp_path))
    kernel = loaded.network.nodes[0].operator.maps[0].kernel
    assert isinstance(kernel, Exact) and str(kernel.fractions()[0]) == "1/9"
    assert str(loaded.network.nodes[1].operator.maps[0].scale.fractions()[0]) == "1/3"
    assert "division by a constant is multiplication by the exact rational" in loaded.reading


def test_initialisers_among_the_inputs_are_constants(tmp_path):
    model = model_of([node("Add", "x b", "y")], {"x": ["N", 3], "b": [3]}, ["y"],
                     {"b": numbers(3)}, opset=8)
    loaded = read_onnx(saved(model, tmp_path))
    assert [t.name for t in loaded.signature.inputs] == ["x"]


def test_dead_nodes_are_not_read(tmp_path):
    model = model_of([node("Relu", "x", "y"), node("NonZero", "x", "z")], {"x": ["N", 3]}, ["y"])
    assert len(read_onnx(saved(model, tmp_path)).network.nodes) == 1


def test_nodes_out_of_order_are_sorted(tmp_path):
    model = model_of([node("Abs", "r", "y"), node("Relu", "x", "r")], {"x": ["N", 3]}, ["y"])
    assert len(read_onnx(saved(model, tmp_path)).network.nodes) == 2


def test_depthwise_and_transposed_convolutions_have_their_maps(tmp_path):
    model = model_of([node("ConvTranspose", "x k", "y", strides=[2, 2])],
                     {"x": ["N", 2, 3, 3]}, ["y"], {"k": numbers(2, 1, 2, 2)})
    (made,) = read_onnx(saved(model, tmp_path)).network.nodes
    assert isinstance(made.operator.maps[0], Csr)


def test_padding_with_zeros_is_one_gather(tmp_path):
    model = model_of([node("Pad", "x p", "y")], {"x": ["N", 2]}, ["y"], {"p": ints(0, 1, 0, 1)})
    (made,) = read_onnx(saved(model, tmp_path)).network.nodes
    (part,) = made.operator.maps
    assert isinstance(part, Gather) and part.indices.tolist() == [-1, 0, 1, -1]
