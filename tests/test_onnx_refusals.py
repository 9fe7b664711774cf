# SPDX-License-Identifier: Apache-2.0
"""What the ONNX reader refuses, and how it says so: parts, damage, hostile files."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from isoform.errors import FormatError, IsoformError, TooLarge, UnsupportedModel
from isoform.formats.onnx.read import read_onnx
from onnx_models import ints, model_of, node, numbers, saved

F = np.float32


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
