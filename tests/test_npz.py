# SPDX-License-Identifier: Apache-2.0
"""`.npz`: layer lists, lossless networks, exact tensors, hostile archives."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isoform.errors import FormatError, TooLarge, UnsupportedModel
from isoform.formats.npz import read_npz, read_npz_arrays, write_network, write_npz
from isoform.network.evaluate import evaluate
from isoform.network.linear_map import Conv, Csr, Dense, Gather
from isoform.network.model import Signature, Tensor
from isoform.network.network import Builder, Network
from isoform.network.operators import (
    BatchNormalization,
    Clip,
    Concat,
    Linear,
    MaxPool,
    Opaque,
    PRelu,
    Relu,
    Scan,
    Select,
    Step,
)
from isoform.network.size import measure
from isoform.numerics.exact import Exact


def rich_network() -> Network:
    """Shaped inputs, every linear map, surface operators, exact constants, a scan."""
    rng = np.random.default_rng(3)
    third = Exact.of([[Fraction(1, 3), Fraction(10**30)], [Fraction(-7, 2), Fraction(0)]])
    b = Builder((2, 4), (2,))
    conv = Conv(kernel=rng.normal(size=(2, 2, 3)), space=(4,), strides=(1,), pads=((1, 1),),
                dilations=(1,))
    value = b.add(Linear((conv,), Exact.of([Fraction(1, 5)] * 8)), (0,), (2, 4))
    pool = MaxPool(size=(2,), strides=(2,), pads=((0, 0),), dilations=(1,))
    value = b.add(pool, (value,), (2, 2))
    norm = BatchNormalization(scale=rng.normal(size=2), shift=rng.normal(size=2).astype(np.float32),
                              mean=rng.normal(size=2), variance=np.ones(2), epsilon=1e-5)
    value = b.add(norm, (value,), (2, 2))
    value = b.add(PRelu(Exact.of([[Fraction(1, 9)]])), (value,), (2, 2))
    value = b.add(Clip(-0.0, None), (value,), (2, 2))
    value = b.add(Select(np.array([3, 0], dtype=np.int32)), (value,), (2,))
    csr = Csr(starts=np.array([0, 0, 2]), columns=np.array([0, 1]),
              values=Exact.of([Fraction(1, 3), Fraction(2)]), inputs=2)
    gather = Gather(indices=np.array([-1, 0]), scale=None, inputs=2)
    value = b.add(Linear((csr, gather, Dense(third))), (value, 1, 1), (2,))
    cell = Builder((3,))
    step = cell.add(Step(), (cell.linear(Dense(rng.normal(size=(2, 3))), 0),), 2)
    scan = Scan(cell.build(step), state=1, horizon=2)
    start = b.linear((), (), np.zeros(1))
    states = b.add(scan, (start, b.add(Concat(), (value, 1), 4)), 3)
    return b.build(b.add(Opaque("softmax", 3), (states,), 3), value)


def test_a_network_comes_back(tmp_path: Path) -> None:
    network = rich_network()
    signature = Signature(
        inputs=(Tensor("a", (2, 4), "float64"), Tensor("b", (2,), "float64")),
        outputs=(Tensor("c", (3,)), Tensor("d", (2,))), batch=7,
    )
    write_network(network, tmp_path / "n.npz", signature)
    loaded = read_npz(tmp_path / "n.npz")
    assert loaded.network == network
    assert loaded.signature == signature
    first = (tmp_path / "n.npz").read_bytes()
    write_network(network, tmp_path / "n.npz", signature)
    assert (tmp_path / "n.npz").read_bytes() == first


def test_a_symbolic_horizon_comes_back(tmp_path: Path) -> None:
    cell = Builder((2,))
    inner = cell.build(cell.add(Relu(), (cell.linear(Dense(np.ones((2, 2))), 0),), 2))
    b = Builder((1,))
    start = b.linear((), (), np.zeros(1))
    network = b.build(b.add(Scan(inner, 1, None), (start, 0), 1))
    write_network(network, tmp_path / "n.npz")
    assert read_npz(tmp_path / "n.npz").network == network


def test_shared_arrays_are_stored_once(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).normal(size=(50, 50))
    b = Builder((50,))
    network = b.build(b.linear(Dense(weight), b.linear(Dense(weight), 0)))
    write_network(network, tmp_path / "n.npz")
    assert measure(read_npz(tmp_path / "n.npz").network).parameters == 2500


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(-(2**200), 2**200), max_size=6), st.integers(1, 2**100),
    st.sampled_from(["<f4", "<f8", "<i8", "|b1"]),
)
def test_arrays_come_back(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[int], below: int, dtype: str
) -> None:
    path = tmp_path_factory.mktemp("npz") / "a.npz"
    numerator = np.empty(len(numbers), dtype=object)
    numerator[:] = numbers
    arrays = {
        "x": Exact(numerator, below), "x.y": np.arange(6).reshape(2, 3).astype(dtype),
        "empty": np.zeros((0, 3), dtype), "form": "feed-forward",
        "scalar": Exact.of(Fraction(1, 7)),
    }
    write_npz(arrays, path)
    back = read_npz_arrays(path)
    assert list(back) == list(arrays)
    assert back["x"] == arrays["x"] and back["x"].denominator == below  # type: ignore[union-attr]
    assert back["scalar"] == arrays["scalar"]
    for name in ("x.y", "empty"):
        assert back[name].dtype == arrays[name].dtype  # type: ignore[union-attr]
        assert np.array_equal(back[name], arrays[name])  # type: ignore[arg-type]
    assert str(back["form"]) == "feed-forward"


def test_names_may_not_clash(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="clashes"):
        write_npz({"a": Exact.of([1]), "a.numerator": np.zeros(1)}, tmp_path / "a.npz")
    with pytest.raises(ValueError, match="object"):
        write_npz({"a": np.array([None])}, tmp_path / "a.npz")
    assert list(tmp_path.iterdir()) == []


def test_layer_lists(tmp_path: Path) -> None:
    w0, b0 = np.array([[1.0, -1.0], [0.5, 2.0]], np.float32), np.array([0.25, -1.0], np.float32)
    w1 = np.array([[1.0, -1.0]], np.float32)
    np.savez(tmp_path / "l.npz", W0=w0, b0=b0, W1=w1)
    loaded = read_npz(tmp_path / "l.npz")
    x = np.array([[1.0, 2.0], [-1.0, 0.5]], np.float32)
    assert np.array_equal(evaluate(loaded.network, x), np.maximum(x @ w0.T + b0, 0) @ w1.T)
    assert loaded.signature.inputs == (Tensor("input", (2,), "float32"),)
    assert loaded.network.nodes[2].operator.bias is None  # type: ignore[union-attr]
    assert "ReLU between" in loaded.reading[0]
    assert loaded.digest is not None and len(loaded.digest) == 64


def test_the_benchmark_networks(models: Path) -> None:
    folder = models.parent / "bench"
    if not folder.is_dir():
        pytest.skip("no benchmark networks")
    for path in sorted(folder.glob("*/*.npz")):
        network = read_npz(path).network
        arrays = np.load(path, allow_pickle=False)
        count = sum(name.startswith("W") for name in arrays.files)
        x = y = np.random.default_rng(0).normal(size=(3, network.dimension))
        for i in range(count):
            y = y @ arrays[f"W{i}"].T.astype(float) + arrays[f"b{i}"]
            y = np.maximum(y, 0) if i + 1 < count else y
        assert np.allclose(evaluate(network, x), y)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"W0": np.ones((2, 2)), "W2": np.ones((2, 2))}, "W0, W2"),
        ({"b0": np.ones(2)}, "weights are missing"),
        ({"W0": np.ones((2, 2)), "x": np.ones(2)}, "'x'"),
        ({"W0": np.ones(2)}, "shape"),
        ({"W0": np.ones((2, 2)), "b0": np.ones(3)}, "b0 has shape"),
        ({"W0": np.ones((2, 2)), "b1": np.ones(3)}, "bias without"),
        ({"W0": np.ones((2, 2)), "W1": np.ones((2, 3))}, "W1 takes 3"),
        ({"W0": np.full((1, 1), np.nan)}, "NaN"),
    ],
)
def test_damaged_layer_lists(arrays: dict, message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "l.npz", **arrays)
    with pytest.raises(FormatError, match=message):
        read_npz(tmp_path / "l.npz")


def test_another_form_is_named(tmp_path: Path) -> None:
    write_npz({"form": "tensor-train", "cores": np.ones(2)}, tmp_path / "f.npz")
    with pytest.raises(UnsupportedModel, match="'tensor-train'"):
        read_npz(tmp_path / "f.npz")


def archive(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return path


def npy(array: np.ndarray, pickled: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=pickled)
    return buffer.getvalue()


class Explosive:
    """Raises when unpickled."""

    def __reduce__(self) -> tuple:
        return (exec, ("raise SystemExit('executed')",))


def test_hostile_archives(tmp_path: Path) -> None:
    path = tmp_path / "h.npz"
    archive(path, a=npy(np.array([Explosive()], dtype=object), pickled=True))
    with pytest.raises(FormatError, match="not plain numbers"):
        read_npz_arrays(path)
    archive(path, a=npy(np.zeros(10_000_000)))
    assert path.stat().st_size < 100_000
    with pytest.raises(TooLarge, match="80,000"):
        read_npz_arrays(path, limit_bytes=1_000_000)
    archive(path, a=npy(np.zeros(4)).replace(b"(4,)", b"(9,)"))
    with pytest.raises(FormatError, match="promises"):
        read_npz_arrays(path)
    archive(path, a=npy(np.zeros(4)).replace(b"(4,), ", b"(-4,),"))
    with pytest.raises(FormatError):
        read_npz_arrays(path)
    archive(path, a=pickle.dumps(Explosive()))
    with pytest.raises(FormatError):
        read_npz_arrays(path)
    path.write_bytes(b"PK no archive")
    with pytest.raises(FormatError, match="no readable"):
        read_npz_arrays(path)
    archive(path, **{"a.numerator": npy(np.zeros(1, np.int64)),
                     "a.denominator": npy(np.zeros(1, np.uint8))})
    with pytest.raises(FormatError, match="denominator 0"):
        read_npz_arrays(path)
    archive(path, **{"a.numerator": npy(np.zeros(1, np.int64))})
    with pytest.raises(FormatError, match="no denominator"):
        read_npz_arrays(path)


def test_a_cut_archive(tmp_path: Path) -> None:
    write_network(rich_network(), tmp_path / "n.npz")
    whole = (tmp_path / "n.npz").read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(40):
        broken = bytearray(whole)
        for at in rng.integers(0, len(whole), 8):
            broken[at] ^= int(rng.integers(1, 256))
        (tmp_path / "n.npz").write_bytes(bytes(broken[: int(rng.integers(1, len(whole) + 1))]))
        with pytest.raises((FormatError, TooLarge, UnsupportedModel)):
            read_npz(tmp_path / "n.npz")


def described() -> dict:
    weight = ["Dense", {"weight": ["constant", "w"]}]
    linear = ["Linear", {"maps": ["tuple", [weight]], "bias": None}]
    return {"inputs": [[2]], "outputs": [1],
            "nodes": [{"operator": linear, "operands": [0], "shape": [2]}]}


def changed_in(path: list, value: object) -> dict:
    network = described()
    place = network
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return network


@pytest.mark.parametrize(
    "network",
    [
        changed_in(["inputs"], [[3]]),
        changed_in(["inputs"], 5),
        changed_in(["outputs"], [7]),
        changed_in(["nodes", 0, "operands"], [1]),
        changed_in(["nodes", 0, "operands"], [True]),
        changed_in(["nodes", 0, "shape"], [-2]),
        changed_in(["nodes", 0, "shape"], [3]),
        changed_in(["nodes", 0, "operator"], ["Path", {}]),
        changed_in(["nodes", 0, "operator"], ["Relu", {"x": 1}]),
        changed_in(["nodes", 0, "operator"], ["Dense", {"weight": ["constant", "w"]}]),
        changed_in(["nodes", 0, "operator", 1, "bias"], ["constant", "nowhere"]),
        changed_in(["nodes", 0, "operator", 1, "maps", 1, 0, 1, "weight"], 3),
        [[]],
    ],
)
def test_networks_that_do_not_fit(network: object, tmp_path: Path) -> None:
    text = json.dumps(network)
    write_npz({"form": "network", "network": text, "w": np.ones((2, 2))}, tmp_path / "n.npz")
    with pytest.raises(FormatError, match="no network"):
        read_npz(tmp_path / "n.npz")


def test_deep_nesting_is_no_crash(tmp_path: Path) -> None:
    deep = "[" * 100_000 + "]" * 100_000
    write_npz({"form": "network", "network": deep}, tmp_path / "n.npz")
    with pytest.raises(FormatError):
        read_npz(tmp_path / "n.npz")
