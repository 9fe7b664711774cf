# SPDX-License-Identifier: Apache-2.0
"""What is written as ONNX computes the network, reads back as it, and is whole or absent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from example_networks import NETWORKS, RNG, dense, random
from isoform.errors import Refused, TooLarge
from isoform.formats.onnx.read import read_onnx
from isoform.formats.onnx.write import write_onnx
from isoform.formats.replay import run_onnx
from isoform.network.evaluate import evaluate, evaluate_exact
from isoform.network.linear_map import Csr, Dense
from isoform.network.model import Signature, Tensor
from isoform.network.network import Builder, Network
from isoform.network.primitive import to_primitive
from isoform.network.rounding import needs_rounding, rounded, split, with_constants
from isoform.numerics.enclosure import Enclosure
from isoform.numerics.exact import Exact


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
    "chosen", "quantise to 16 bits",
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


@pytest.mark.parametrize("opset", [12, 99])
def test_opsets_that_are_not_written(opset: int, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=f"opset {opset} cannot"):
        write_onnx(dense(), tmp_path / "m.onnx", opset=opset)


@pytest.mark.parametrize("opset", [13, 18, 22])
def test_other_opsets(opset: int, tmp_path: Path) -> None:
    for name in ("convolutional", "reduce max", "hard swish", "layer normalization", "gelu"):
        write_onnx(rounded(NETWORKS[name], np.float32), tmp_path / "m.onnx", opset=opset)
        x = points(NETWORKS[name])
        assert np.allclose(run_onnx(tmp_path / "m.onnx", x), evaluate(NETWORKS[name], x), atol=1e-4)


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
