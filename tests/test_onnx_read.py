# SPDX-License-Identifier: Apache-2.0
"""Reading ONNX files: batches, folded shapes, refusals, hostile files, the real networks."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from isoform.errors import FormatError, IsoformError, TooLarge, UnsupportedModel
from isoform.formats.onnx.read import read_onnx
from isoform.network.evaluate import evaluate
from isoform.network.linear_map import Conv, Csr, Dense, Gather
from isoform.network.model import Loaded
from isoform.network.operators import Linear, Relu
from isoform.network.primitive import to_primitive
from isoform.network.size import measure
from isoform.numerics.exact import Exact
from onnx_models import model_of, run_in_onnxruntime, saved

F = np.float32
NO_BATCH = ("dropout_training_mode_true.onnx",)


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


# --- refusals -------------------------------------------------------------------------------------


def test_every_unsupported_node_is_listed(tmp_path):
    model = model_of(
        [node("NonZero", "x", "a"), node("Cast", "x", "b", to=TensorProto.INT32),
         node("Pow", "x e", "c"), helper.make_node("Foo", ["x"], ["d"], domain="com.acme"),
         node("Cast", "x", "f", to=TensorProto.FLOAT16), node("Relu", "a", "g"),
         node("GridSample", "x g", "h"), node("LSTM", "x w r", "i")],
        {"x": ["N", 3]}, ["b", "c", "d", "f", "g", "h", "i"],
        {"e": F(0.3), "w": numbers(3), "r": numbers(3)},
    )
    with pytest.raises(UnsupportedModel) as refusal:
        read_onnx(saved(model, tmp_path))
    text = str(refusal.value)
    for part in ("NonZero", "int32", "0.3", "com.acme", "float16", "GridSample", "recurrent"):
        assert part in text
    assert len(refusal.value.reasons) == 7


def test_control_flow_is_refused(tmp_path):
    branch = helper.make_graph([node("Relu", "x", "o")], "b", [],
                               [helper.make_tensor_value_info("o", TensorProto.FLOAT, None)])
    model = model_of([node("If", "c", "y", then_branch=branch, else_branch=branch)],
                     {"x": ["N", 3]}, ["y"], {"c": np.bool_(True)})
    with pytest.raises(UnsupportedModel, match="control flow"):
        read_onnx(saved(model, tmp_path))


def test_training_mode_is_refused(tmp_path):
    model = model_of([node("BatchNormalization", "x s s s s", "y m v", training_mode=1)],
                     {"x": ["N", 3]}, ["y"], {"s": np.ones(3, F)}, opset=15)
    with pytest.raises(UnsupportedModel, match="training mode"):
        read_onnx(saved(model, tmp_path))


def bad_models() -> list[tuple[str, onnx.ModelProto, type[IsoformError], str]]:
    relu = [node("Relu", "x", "y")]
    x = {"x": ["N", 3]}
    twice = model_of([*relu, node("Abs", "x", "y")], x, ["y"])
    cycle = model_of([node("Add", "x b", "a"), node("Relu", "a", "b")], x, ["b"])
    lying = model_of([node("Add", "x b", "y")], x, ["y"], {"b": numbers(3)})
    lying.graph.initializer[0].dims[0] = 5
    huge = model_of([node("Add", "x b", "y")], x, ["y"], {"b": numbers(3)})
    huge.graph.initializer[0].dims[0] = 10**12
    twin = model_of([node("Add", "x b", "y")], x, ["y"], {"b": numbers(3)})
    twin.graph.initializer.append(twin.graph.initializer[0])
    empty = onnx.ModelProto(ir_version=8)
    old, new = model_of(relu, x, ["y"]), model_of(relu, x, ["y"])
    old.opset_import[0].version, new.opset_import[0].version = 6, 999
    return [
        ("twice", twice, FormatError, "made twice"),
        ("cycle", cycle, FormatError, "cycle"),
        ("lying", lying, FormatError, "holds 12 bytes, not 20"),
        ("huge", huge, TooLarge, "more than"),
        ("twin", twin, FormatError, "given twice"),
        ("empty", empty, FormatError, "no graph"),
        ("old", old, UnsupportedModel, "opset 6"),
        ("new", new, UnsupportedModel, "opset 999"),
        ("missing", model_of([node("Add", "x b", "y")], x, ["y"]), FormatError, "nobody makes"),
        ("output", model_of(relu, x, ["z"]), FormatError, "made by no node"),
        ("constant", model_of([node("Relu", "b", "y")], {}, ["y"], {"b": numbers(3)}),
         FormatError, "no inputs"),
        ("nan", model_of([node("Add", "x b", "y")], x, ["y"], {"b": np.array([np.nan] * 3, F)}),
         FormatError, "NaN or infinity"),
        ("infinite", model_of([node("Gemm", "x w", "y")], x, ["y"],
                              {"w": np.full((3, 2), np.inf, F)}), FormatError, "NaN or infinity"),
        ("rank", model_of([node("Conv", "x w", "y")], x, ["y"], {"w": numbers(1, 1, 3, 3)}),
         FormatError, "node 'y' .Conv."),
        ("shape", model_of([node("MatMul", "x w", "y")], x, ["y"], {"w": numbers(4, 2)}),
         FormatError, r"shapes \(3,\) and \(4, 2\)"),
        ("inner", model_of(relu, {"x": ["N", "T", 3]}, ["y"]), UnsupportedModel, "axis 1"),
        ("big", model_of([node("ConstantOfShape", "s", "c"), node("Add", "x c", "y")], x, ["y"],
                         {"s": ints(10**6, 10**6)}), TooLarge, "more than"),
        ("expand", model_of([node("Expand", "x s", "y")], x, ["y"], {"s": ints(1, 2**40)}),
         TooLarge, "more than"),
        ("tile", model_of([node("Tile", "x s", "y")], x, ["y"], {"s": ints(1, 2**40)}),
         TooLarge, "more than"),
        ("pad", model_of([node("Pad", "x s", "y")], x, ["y"], {"s": ints(0, 2**40, 0, 0)}),
         TooLarge, "more than"),
        ("range", model_of([node("Range", "a b c", "r"), node("Add", "x r", "y")], x, ["y"],
                           {"a": F(0), "b": F(1e30), "c": F(1)}), TooLarge, "more than"),
        ("outer", model_of([node("Add", "c d", "e"), node("Add", "x e", "y")], x, ["y"],
                           {"c": numbers(10**4, 1), "d": numbers(1, 10**4)}), TooLarge, "more"),
        ("wide", model_of([node("Gemm", "x w", "y")], {"x": ["N", 10**12]}, ["y"],
                          {"w": numbers(3, 2)}), TooLarge, "more than"),
        ("attribute", model_of([node("Relu", "x", "y", alpha=1.0)], x, ["y"]), FormatError,
         "'alpha' does not exist"),
        ("operands", model_of([node("Relu", "x x", "y")], x, ["y"]), FormatError, "2 operands"),
        ("types", model_of([node("Add", "x b", "y")], x, ["y"], {"b": ints(1, 2, 3)}),
         FormatError, "tensor.int64. beside"),
        ("zero", model_of([node("Div", "x b", "y")], x, ["y"], {"b": F(0)}), FormatError, "zero"),
        ("variance", model_of([node("BatchNormalization", "x s s s v", "y")], x, ["y"],
                              {"s": np.ones(3, F), "v": -np.ones(3, F)}), FormatError, "root"),
        ("nothing", model_of(relu, {"x": ["N", 0]}, ["y"]), FormatError, "length 0"),
    ]


@pytest.mark.parametrize(("model", "error", "text"), [b[1:] for b in bad_models()],
                         ids=[b[0] for b in bad_models()])
def test_bad_models_are_refused(tmp_path, model, error, text):
    with pytest.raises(error, match=text):
        read_onnx(saved(model, tmp_path))


@pytest.mark.parametrize("content", [b"", b"\x00", b"no model at all", b"\x08\x08" * 40])
def test_files_that_are_no_models_are_refused(tmp_path, content):
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(FormatError):
        read_onnx(path)


def test_missing_files_and_folders_are_refused(tmp_path):
    for path in (tmp_path / "none.onnx", tmp_path):
        with pytest.raises(FormatError, match="cannot be read"):
            read_onnx(path)


def outside(location: str, **said: str) -> onnx.ModelProto:
    """A model whose bias lies in another file."""
    model = model_of([node("Add", "x b", "y")], {"x": ["N", 3]}, ["y"], {"b": numbers(3)})
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **said}.items():
        tensor.external_data.add(key=key, value=value)
    return model


def test_external_data_inside_the_folder_is_read(tmp_path):
    (tmp_path / "w.bin").write_bytes(b"1234" + numbers(3).tobytes())
    loaded = read_onnx(saved(outside("w.bin", offset="4", length="12"), tmp_path))
    (made,) = loaded.network.nodes
    assert np.array_equal(made.operator.bias, numbers(3))
    assert any("beside the model" in note for note in loaded.reading)


@pytest.mark.parametrize(("location", "said"), [
    ("../w.bin", {}), ("sub/../../w.bin", {}), ("", {}), ("link.bin", {}), ("none.bin", {}),
    ("short.bin", {}), ("w.bin", {"offset": "1"}), ("w.bin", {"offset": "-4"}),
    ("w.bin", {"length": "8"}), ("w.bin", {"offset": "x"}), ("C:\\w.bin", {}), (".", {}),
    ("ABSOLUTE", {}), ("w\0.bin", {}),
])
def test_external_data_elsewhere_is_refused(tmp_path, location, said):
    home = tmp_path / "home"
    home.mkdir()
    for place in (tmp_path / "w.bin", home / "w.bin"):
        place.write_bytes(numbers(3).tobytes())
    (home / "short.bin").write_bytes(b"12345678")
    (home / "link.bin").symlink_to(tmp_path / "w.bin")
    location = str(tmp_path / "w.bin") if location == "ABSOLUTE" else location
    with pytest.raises(FormatError):
        read_onnx(saved(outside(location, **said), home))


# --- fuzzing --------------------------------------------------------------------------------------


def seeds() -> list[bytes]:
    attention = model_of(
        [node("MatMul", "x q", "a"), node("Transpose", "x", "t", perm=[0, 2, 1]),
         node("MatMul", "a t", "s"), node("Softmax", "s", "p"), node("MatMul", "p x", "o"),
         node("LayerNormalization", "o g", "n"), node("Split", "n", "u v", axis=2),
         node("Max", "u v", "m"), node("ReduceMean", "m", "y", axes=[1], keepdims=0),
         node("ArgMax", "y", "i", axis=1)],
        {"x": [1, 3, 4]}, ["y", "i"], {"q": numbers(4, 4), "g": numbers(4)},
        types={"i": TensorProto.INT64},
    )
    plain = model_of(
        [node("Clip", "x lo hi", "a"), node("BatchNormalization", "a s s s s", "b"),
         node("Where", "m b a", "c"), node("Pad", "c p", "d"), node("Slice", "d st en ax", "e"),
         node("Pow", "e two", "f"), node("Concat", "e f", "g", axis=1),
         node("Gather", "g i", "h", axis=1), node("Div", "h k", "y")],
        {"x": ["N", 3]}, ["y"],
        {"lo": F(-1), "hi": F(1), "s": np.ones(3, F), "m": np.array([True, False, True]),
         "p": ints(0, 1, 0, 1), "st": ints(1), "en": ints(5), "ax": ints(1), "two": F(2),
         "i": ints(0, 3, 5), "k": np.array([1, 2, 3], F)},
    )
    return [m.SerializeToString() for m in (small_net(), attention, plain)]


def mutated_bytes(content: bytes, rng: random.Random) -> bytes:
    """A few bytes flipped, cut out, doubled or replaced."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(max(1, len(data)))
        match rng.randrange(5):
            case 0:
                data[at] = rng.randrange(256)
            case 1:
                data[at] ^= 1 << rng.randrange(8)
            case 2:
                del data[at : at + rng.randint(1, 8)]
            case 3:
                data[at:at] = data[at : at + rng.randint(1, 16)]
            case 4:
                data[at:at] = bytes(rng.randrange(256) for _ in range(rng.randint(1, 4)))
        if rng.random() < 0.05:
            del data[at:]
        if not data:
            break
    return bytes(data)


NUMBERS = (0, 1, -1, 2, 3, 7, 13, 2**31 - 1, -(2**31), 2**40, 2**62, -(2**62))


def mutate_attribute(attribute: Any, rng: random.Random) -> None:
    kinds = onnx.AttributeProto
    match attribute.type:
        case kinds.INT:
            attribute.i = rng.choice(NUMBERS)
        case kinds.FLOAT:
            attribute.f = rng.choice((0.0, -1.0, 1e38, float("nan"), float("inf")))
        case kinds.INTS:
            held = list(attribute.ints)
            changed = [rng.choice(NUMBERS) if rng.random() < 0.4 else n for n in held]
            del attribute.ints[:]
            attribute.ints.extend(changed[: rng.randint(0, len(held) + 1)])
        case _:
            attribute.type = rng.randrange(12)


def mutate_tensor(tensor: Any, rng: random.Random) -> None:
    """A size, the type, or a number of a tensor."""
    match rng.randrange(3):
        case 0 if tensor.dims:
            tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(NUMBERS)
        case 1:
            tensor.data_type = rng.randrange(-1, 26)
        case 2:
            held = numpy_helper.to_array(tensor).copy()
            odd = rng.choice((0, 1, -1, 5, np.nan, np.inf, 1e30, 2**40))
            with np.errstate(all="ignore"):
                held.reshape(-1)[:1] = np.asarray(odd).astype(held.dtype)
            tensor.raw_data = held.tobytes()


def mutated_model(content: bytes, rng: random.Random) -> bytes:
    """A few parts of the graph changed: operators, wires, attributes, sizes, numbers, types."""
    model = onnx.ModelProto.FromString(content)
    graph = model.graph
    names = [n for made in graph.node for n in (*made.input, *made.output)]
    kinds = ["Relu", "Add", "Conv", "Gemm", "Squeeze", "Reshape", "Expand", "Tile", "Softmax",
             "Cast", "Loop", "Range", "ConstantOfShape", "Flatten", "MaxPool", "NoSuch", "Size"]
    for _ in range(rng.randint(1, 3)):
        made = rng.choice(graph.node)
        match rng.randrange(7):
            case 0:
                made.op_type = rng.choice(kinds)
            case 1 if made.input:
                made.input[rng.randrange(len(made.input))] = rng.choice([*names, "", "?"])
            case 2 if made.output:
                made.output[rng.randrange(len(made.output))] = rng.choice([*names, ""])
            case 3 if made.attribute:
                mutate_attribute(rng.choice(made.attribute), rng)
            case 4:
                mutate_tensor(rng.choice(graph.initializer), rng)
            case 5:
                sizes = graph.input[0].type.tensor_type.shape.dim
                sizes[rng.randrange(len(sizes))].dim_value = rng.choice(NUMBERS)
            case 6:
                model.opset_import[0].version = rng.randrange(5, 30)
    return model.SerializeToString()


@pytest.mark.parametrize("change", [mutated_bytes, mutated_model])
def test_mutated_files_raise_nothing_but_our_errors(tmp_path, change):
    rng = random.Random(20240229)
    path = tmp_path / "m.onnx"
    held = seeds()
    read = 0
    for _ in range(300):
        content = rng.choice(held)
        try:
            path.write_bytes(change(content, rng))
        except (ValueError, TypeError, KeyError):
            continue  # the change itself was impossible
        try:
            loaded = read_onnx(path)
            to_primitive(loaded.network)
            read += 1
        except IsoformError as error:
            assert str(error)
    assert read > 10
