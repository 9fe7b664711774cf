# SPDX-License-Identifier: Apache-2.0
"""What is written as ONNX computes the network, reads back as it, and is whole or absent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from isoform.errors import Refused, TooLarge
from isoform.formats.onnx.read import read_onnx
from isoform.formats.onnx.write import write_onnx
from isoform.formats.replay import run_onnx
from isoform.network.evaluate import evaluate, evaluate_exact
from isoform.network.linear_map import Conv, Csr, Dense, Gather
from isoform.network.model import Signature, Tensor
from isoform.network.network import Builder, Network, Shape
from isoform.network.operators import (
    Abs,
    ArgExtreme,
    BatchNormalization,
    Clip,
    Compare,
    Concat,
    Divide,
    Gelu,
    HardSigmoid,
    HardSwish,
    LayerNormalization,
    LeakyRelu,
    Linear,
    MatMul,
    Maximum,
    MaxPool,
    Minimum,
    Opaque,
    Power,
    PRelu,
    Product,
    ReduceMax,
    Relu,
    Scan,
    Select,
    Softmax,
    Step,
    Where,
)
from isoform.network.primitive import to_primitive
from isoform.network.rounding import needs_rounding, rounded, split, with_constants
from isoform.numerics.enclosure import Enclosure
from isoform.numerics.exact import Exact

RNG = np.random.default_rng(7)


def random(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def one(operator: object, *inputs: Shape, to: Shape) -> Network:
    """A network of one operator."""
    b = Builder(*inputs)
    return b.build(b.add(operator, range(len(inputs)), to))  # type: ignore[arg-type]


def dense() -> Network:
    b = Builder((3,))
    value = b.linear(Dense(random(5, 3)), 0, random(5))
    value = b.add(Relu(), (value,), 5)
    return b.build(b.linear(Dense(random(2, 5)), value))


def convolutional() -> Network:
    b = Builder((2, 6, 5))
    conv = Conv(kernel=random(4, 1, 3, 2), space=(6, 5), strides=(2, 1), pads=((1, 0), (0, 1)),
                dilations=(1, 2), groups=2)
    bias = np.repeat(random(4), int(np.prod(conv.space_out)))
    value = b.add(Linear((conv,), bias), (0,), (4, *conv.space_out))
    value = b.add(Relu(), (value,), (4, *conv.space_out))
    value = b.add(MaxPool(size=(2, 2), strides=(1, 2), pads=((0, 1), (0, 0)), dilations=(1, 1)),
                  (value,), (4, 3, 2))
    norm = BatchNormalization(scale=random(4), shift=random(4), mean=random(4),
                              variance=np.abs(random(4)) + 1, epsilon=float(np.float32(1e-5)))
    value = b.add(norm, (value,), (4, 3, 2))
    return b.build(b.add(Linear((Dense(random(3, 24)),), random(3)), (value,), (3,)))


def position_bias() -> Network:
    """A convolution whose bias is no number a channel."""
    b = Builder((1, 4))
    conv = Conv(kernel=random(1, 1, 2), space=(4,), strides=(1,), pads=((0, 0),), dilations=(1,))
    return b.build(b.add(Linear((conv,), random(3)), (0,), (1, 3)))


def several_maps() -> Network:
    b = Builder((4,))
    hidden = b.add(Relu(), (b.linear(Dense(random(4, 4)), 0),), 4)
    csr = Csr(starts=np.array([0, 1, 1, 3, 4]), columns=np.array([2, 0, 3, 1]), values=random(4),
              inputs=4)
    same = Gather(indices=np.arange(4), scale=None, inputs=4)
    return b.build(b.linear((same, Dense(random(4, 4)), csr), (0, hidden, hidden), random(4)))


def gathers() -> Network:
    b = Builder((4,))
    scaled = b.linear(Gather(indices=np.arange(4), scale=random(4), inputs=4), 0, random(4))
    holes = b.linear(Gather(indices=np.array([3, -1, 0]), scale=None, inputs=4), scaled)
    spread = b.linear(Gather(indices=np.array([2, 0, -1, 1]), scale=random(4), inputs=3), holes)
    return b.build(b.add(Select(np.array([3, 1, 1])), (spread,), 3))


def constant_operand() -> Network:
    b = Builder((2,))
    constant = b.linear((), (), random(3))
    return b.build(b.add(Concat(), (0, constant), 5))


def selects() -> Network:
    b = Builder((2, 3, 2))
    turned = np.arange(12).reshape(2, 3, 2).transpose(1, 0, 2)
    value = b.add(Select(turned.ravel()), (0,), (3, 2, 2))
    value = b.add(Select(np.arange(1, 11, 3)), (value,), (2, 2))
    return b.build(b.add(Concat(axis=1), (value, value), (2, 4)))


def scan() -> Network:
    cell = Builder((5,))
    mixed = cell.linear(Dense(random(4, 5)), 0, random(4))
    inner = cell.build(cell.add(Relu(), (mixed,), 4))
    b = Builder((9,))
    start = b.linear((), (), np.zeros(2, np.float32))
    return b.build(b.add(Scan(inner, 2, 3), (start, 0), 8))


def attention() -> Network:
    b = Builder((4, 3), (2, 3, 4))
    value = b.add(MatMul(), (0, 1), (2, 4, 4))
    value = b.add(Softmax(axis=2), (value,), (2, 4, 4))
    vector = b.add(Select(np.arange(4)), (value,), (4,))
    return b.build(b.add(MatMul(), (value, vector), (2, 4)))


def chosen() -> Network:
    b = Builder((3,), (3,))
    truth = b.add(Compare("<"), (0, 1), (3,))
    value = b.add(Where(), (truth, 0, 1), (3,))
    factor = b.add(Step(), (value,), (3,))
    return b.build(b.add(Where(), (factor, truth, value), (3,)))


NETWORKS = {
    "dense": dense(), "convolutional": convolutional(), "position bias": position_bias(),
    "several maps": several_maps(), "gathers": gathers(), "constant operand": constant_operand(),
    "selects": selects(), "scan": scan(), "attention": attention(), "chosen": chosen(),
    "relu": one(Relu(), (2, 3), to=(2, 3)),
    "step": one(Step(), (3,), to=(3,)),
    "product": one(Product(), (3,), (3,), to=(3,)),
    "leaky relu": one(LeakyRelu(0.25), (3,), to=(3,)),
    "leaky relu, no float32": one(LeakyRelu(0.1), (3,), to=(3,)),
    "prelu": one(PRelu(random(2, 1)), (2, 3), to=(2, 3)),
    "clip": one(Clip(-0.5, 0.75), (3,), to=(3,)),
    "clip above": one(Clip(None, 0.75), (3,), to=(3,)),
    "clip below": one(Clip(0.0, None), (3,), to=(3,)),
    "hard sigmoid": one(HardSigmoid(0.25, 0.5), (3,), to=(3,)),
    "hard sigmoid, no float32": one(HardSigmoid(0.2, 0.5), (3,), to=(3,)),
    "hard swish": one(HardSwish(), (3,), to=(3,)),
    "abs": one(Abs(), (3,), to=(3,)),
    "maximum": one(Maximum(), (3,), (3,), (3,), to=(3,)),
    "minimum": one(Minimum(), (3,), (3,), to=(3,)),
    "max pool ceil": one(
        MaxPool(size=(2,), strides=(2,), pads=((0, 0),), dilations=(1,), ceil=True),
        (2, 5), to=(2, 3),
    ),
    "reduce max": one(ReduceMax((1,), True), (2, 3), to=(2, 1)),
    "argmax": one(ArgExtreme(0, True, False, True), (2, 3), to=(3,)),
    "argmin": one(ArgExtreme(1, False, True), (2, 3), to=(2, 1)),
    "divide": one(Divide(), (3,), (3,), to=(3,)),
    "power": one(Power(2.0), (3,), to=(3,)),
    "softmax": one(Softmax(0), (3, 2), to=(3, 2)),
    "softmax groups": one(Opaque("softmax", 3), (6,), to=(6,)),
    "softmax whole": one(Opaque("softmax", 6), (6,), to=(6,)),
    "gelu": one(Gelu(), (3,), to=(3,)),
    "gelu tanh": one(Gelu(tanh=True), (3,), to=(3,)),
    "layer normalization": one(
        LayerNormalization(axis=1, scale=random(3), shift=random(3),
                           epsilon=float(np.float32(1e-5))),
        (2, 3), to=(2, 3),
    ),
    "layer normalization, bare": one(
        LayerNormalization(axis=0, scale=None, shift=None, epsilon=0.0), (2, 3), to=(2, 3)
    ),
    **{
        name: one(Opaque(name), (3,), to=(3,))
        for name in ("exp", "reciprocal", "tanh", "sigmoid", "erf", "softplus", "sin", "cos")
    },
}


def points(network: Network, count: int = 5) -> np.ndarray:
    return RNG.normal(size=(count, network.dimension)).astype(np.float32)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("batch", ["N", 2, None])
def test_onnxruntime_computes_the_network(name: str, batch: str | int | None, tmp_path: Path):
    network = rounded(NETWORKS[name], np.float32)
    default = Signature.of(network)
    signature = Signature(inputs=default.inputs, outputs=default.outputs, batch=batch)
    path = tmp_path / "model.onnx"
    write_onnx(network, path, signature=signature)
    x = points(network)
    assert np.allclose(run_onnx(path, x), evaluate(network, x), rtol=1e-4, atol=1e-5)
    onnx.checker.check_model(onnx.load(path), full_check=True)


OTHER_GRAPH = {  # one node of ours is several of ONNX: equal as functions, not node by node
    "several maps", "gathers", "constant operand", "selects", "scan", "layer normalization, bare",
    "chosen",
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("batch", ["N", 2, None])
def test_it_reads_back(name: str, batch: str | int | None, tmp_path: Path) -> None:
    """read(write(n)) lowers to what n lowers to."""
    network = rounded(NETWORKS[name], np.float32)
    default = Signature.of(network)
    signature = Signature(inputs=default.inputs, outputs=default.outputs, batch=batch)
    write_onnx(network, tmp_path / "m.onnx", signature=signature)
    loaded = read_onnx(tmp_path / "m.onnx", batch="keep" if batch is None else "drop")
    assert loaded.signature == signature
    if name not in OTHER_GRAPH:
        assert to_primitive(loaded.network) == to_primitive(network)
    same_values(loaded.network, network)


def same_values(left: Network, right: Network) -> None:
    """Equal exact values (or enclosures that meet) at a few small integers."""
    x = Exact.of(np.random.default_rng(0).integers(-4, 5, (left.dimension, 6)) * 2 + 1)
    a, b = evaluate_exact(left, x), evaluate_exact(right, x)
    if isinstance(a, Exact) and isinstance(b, Exact):
        assert a == b
        return
    a, b = Enclosure.of(a), Enclosure.of(b)
    assert np.all((a.high - b.low).sign() >= 0) and np.all((b.high - a.low).sign() >= 0)


@pytest.mark.parametrize("name", ["dense", "position bias", "several maps", "gathers", "scan"])
def test_a_split_network_reads_back_equal(name: str, tmp_path: Path) -> None:
    """Constants that are no float32 come back exactly, through sums of float32 in the file."""
    rng = np.random.default_rng(1)
    network = with_constants(
        NETWORKS[name], lambda _, c: c + rng.normal(size=c.shape) if c.size > 1 else c
    )
    assert needs_rounding(network, np.float32) > 0
    write_onnx(split(network, np.float32), tmp_path / "m.onnx")
    same_values(read_onnx(tmp_path / "m.onnx").network, network)


@pytest.mark.parametrize("name", ["dense", "several maps", "gathers", "leaky relu, no float32"])
def test_double_precision(name: str, tmp_path: Path) -> None:
    network = rounded(NETWORKS[name], np.float64)
    write_onnx(network, tmp_path / "m.onnx", signature=double(network))
    x = points(network).astype(np.float64)
    assert np.allclose(run_onnx(tmp_path / "m.onnx", x), evaluate(network, x), rtol=1e-12)


def double(network: Network) -> Signature:
    default = Signature.of(network)
    inputs = tuple(Tensor(t.name, t.shape, "float64") for t in default.inputs)
    outputs = tuple(Tensor(t.name, t.shape, "float64") for t in default.outputs)
    return Signature(inputs=inputs, outputs=outputs)


def test_the_signature_is_restored(tmp_path: Path) -> None:
    """Two shaped inputs and two outputs around a flat network."""
    b = Builder((7,))
    network = b.build(b.linear(Dense(random(5, 7)), 0, random(5)))
    signature = Signature(
        inputs=(Tensor("image", (1, 2, 2)), Tensor("speed", (3,))),
        outputs=(Tensor("where", (2, 2)), Tensor("class", (1,), "int64")),
        batch="batch",
    )
    write_onnx(network, tmp_path / "m.onnx", signature=signature, comment="made for a test")
    model = onnx.load(tmp_path / "m.onnx")
    assert model.doc_string == "made for a test"
    shapes = {
        v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in [*model.graph.input, *model.graph.output]
    }
    assert shapes == {"image": ["batch", 1, 2, 2], "speed": ["batch", 3],
                      "where": ["batch", 2, 2], "class": ["batch", 1]}
    x = points(network)
    expected = evaluate(network, x)
    expected[:, 4] = np.trunc(expected[:, 4])
    assert np.allclose(run_onnx(tmp_path / "m.onnx", x), expected, rtol=1e-4, atol=1e-5)


def test_names_are_readable(tmp_path: Path) -> None:
    write_onnx(dense(), tmp_path / "m.onnx")
    graph = onnx.load(tmp_path / "m.onnx").graph
    assert [node.name for node in graph.node] == ["layer1/Gemm", "layer1/Relu", "layer2/Gemm"]
    names = [tensor.name for tensor in graph.initializer]
    assert names == ["layer1.weight", "layer1.bias", "layer2.weight"]
    assert [node.output[0] for node in graph.node][-1] == "output"


def test_a_split_network_is_written(tmp_path: Path) -> None:
    b = Builder((3,))
    network = b.build(b.linear(Dense(RNG.normal(size=(2, 3))), 0, RNG.normal(size=2)))
    write_onnx(split(network, np.float32), tmp_path / "m.onnx")
    kinds = [node.op_type for node in onnx.load(tmp_path / "m.onnx").graph.node]
    assert kinds.count("Gemm") >= 2 and "Add" in kinds


def test_an_output_that_is_an_input(tmp_path: Path) -> None:
    b = Builder((3,))
    network = b.build(0)
    write_onnx(network, tmp_path / "m.onnx")
    x = points(network)
    assert np.array_equal(run_onnx(tmp_path / "m.onnx", x), x.astype(np.float64))
    twice = Network(((3,),), network.nodes, (0, 0))
    write_onnx(twice, tmp_path / "twice.onnx")
    assert run_onnx(tmp_path / "twice.onnx", x).shape == (5, 6)


def test_constants_must_be_floats_of_the_file(tmp_path: Path) -> None:
    b = Builder((1,))
    network = b.build(b.linear(Dense(np.array([[0.1]])), 0))
    with pytest.raises(Refused, match=r"layer1.weight holds numbers that are no float32"):
        write_onnx(network, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []
    b = Builder((1,))
    write_onnx(b.build(b.linear(Dense(Exact.of([[3]])), 0)), tmp_path / "m.onnx")


def test_a_large_csr_is_refused_before_it_is_made(tmp_path: Path) -> None:
    n = 200_000
    csr = Csr(starts=np.zeros(n + 1, np.int64), columns=np.zeros(0, np.int64),
              values=np.zeros(0, np.float32), inputs=n)
    b = Builder((n,))
    with pytest.raises(TooLarge, match="160,000,000,000 bytes"):
        write_onnx(b.build(b.linear(csr, 0)), tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_external_data(tmp_path: Path) -> None:
    b = Builder((64,))
    network = b.build(b.linear(Dense(random(64, 64)), 0, random(64)))
    write_onnx(network, tmp_path / "m.onnx", external_above=1000)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["m.onnx", "m.onnx.data"]
    assert (tmp_path / "m.onnx").stat().st_size < 2000
    x = points(network)
    assert np.allclose(run_onnx(tmp_path / "m.onnx", x), evaluate(network, x), atol=1e-4)


def test_nothing_is_left_on_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.onnx").write_bytes(b"before")

    def broken(source: object, target: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.replace", broken)
    with pytest.raises(OSError, match="no space"):
        write_onnx(dense(), tmp_path / "m.onnx")
    assert [file.name for file in tmp_path.iterdir()] == ["m.onnx"]
    assert (tmp_path / "m.onnx").read_bytes() == b"before"


@pytest.mark.parametrize(
    ("signature", "message"),
    [
        (Signature(inputs=(Tensor("x", (4,)),), outputs=(Tensor("y", (2,)),)), "4 inputs and 2"),
        (Signature(inputs=(Tensor("x", (3,)),), outputs=(Tensor("x", (2,)),)), "different names"),
        (Signature(inputs=(Tensor("x", (3,), "string"),), outputs=(Tensor("y", (2,)),)), "dtype"),
    ],
)
def test_wrong_signatures(signature: Signature, message: str, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=message):
        write_onnx(dense(), tmp_path / "m.onnx", signature=signature)
