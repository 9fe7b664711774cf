# SPDX-License-Identifier: Apache-2.0
"""Mutated ONNX files raise nothing but our own errors."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from isoform.errors import IsoformError
from isoform.formats.onnx.read import read_onnx
from isoform.network.primitive import to_primitive
from onnx_models import ints, model_of, node, numbers, small_net
from quantised_models import conv_operators, dense_operators, dense_qdq

F = np.float32


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


def quantised_seeds() -> list[bytes]:
    models = (dense_qdq(channels=True), dense_operators(), conv_operators(channels=True))
    return [m.SerializeToString() for m in models]


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


@pytest.mark.parametrize(("make", "least"), [(seeds, 10), (quantised_seeds, 1)])
@pytest.mark.parametrize("change", [mutated_bytes, mutated_model])
def test_mutated_files_raise_nothing_but_our_errors(tmp_path, change, make, least):
    rng = random.Random(20240229)
    path = tmp_path / "m.onnx"
    held = make()
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
    assert read > least
