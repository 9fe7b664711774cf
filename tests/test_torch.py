# SPDX-License-Identifier: Apache-2.0
"""torch modules read as networks, and networks written as torch modules."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import isoform as iso
from isoform.errors import Refused, UnsupportedModel
from isoform.formats.torch import read_torch, write_torch
from isoform.network.evaluate import evaluate
from isoform.network.linear_map import Conv, Csr, Dense, Gather
from isoform.network.model import Signature, Tensor
from isoform.network.network import Builder, Network
from isoform.network.operators import (
    BatchNormalization,
    Concat,
    LeakyRelu,
    Linear,
    MaxPool,
    Opaque,
    Product,
    Relu,
    Round,
    Scan,
    Select,
    Step,
)
from isoform.network.primitive import to_primitive
from isoform.network.rounding import rounded

torch = pytest.importorskip("torch")
nn = torch.nn
functional = torch.nn.functional


def agree(module: Any, example: Any, rows: int = 5) -> Any:
    """The network read computes what the module computes, on several rows."""
    torch.manual_seed(0)
    loaded = read_torch(module, example)
    shapes = loaded.network.inputs
    x = np.random.default_rng(0).normal(size=(rows, loaded.network.dimension)).astype(np.float32)
    sizes = [int(np.prod(shape)) for shape in shapes]
    parts = np.split(x, np.cumsum(sizes)[:-1], axis=1)
    tensors = [torch.from_numpy(part.reshape(rows, *shape))
               for part, shape in zip(parts, shapes, strict=True)]
    with torch.no_grad():
        y = module(*tensors)
    y = y if isinstance(y, tuple | list) else (y,)
    expected = np.concatenate([part.numpy().reshape(rows, -1) for part in y], axis=1)
    assert np.allclose(evaluate(loaded.network, x), expected, rtol=1e-4, atol=1e-5)
    return loaded


class Function(nn.Module):
    """A module of one function."""

    def __init__(self, function: Any, *layers: Any):
        super().__init__()
        self.function = function
        self.layers = nn.ModuleList(layers)

    def forward(self, *inputs: Any) -> Any:
        return self.function(*inputs, *self.layers)


def test_a_sequential_needs_no_example() -> None:
    module = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Dropout(), nn.Linear(5, 2)).eval()
    loaded = agree(module, None)
    assert loaded.signature.inputs == (Tensor("input", (3,), "float32"),)
    assert loaded.signature.batch == "N"
    kinds = [type(node.operator).__name__ for node in loaded.network.nodes]
    assert kinds == ["Linear", "Relu", "Linear"]
    weight = loaded.network.nodes[0].operator.maps[0].weight  # type: ignore[union-attr]
    assert np.array_equal(weight, module[0].weight.detach().numpy())


def test_a_convolutional_network() -> None:
    module = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, stride=2), nn.BatchNorm2d(4), nn.PReLU(4), nn.MaxPool2d(2),
        nn.Conv2d(4, 4, (1, 2), groups=2, dilation=(1, 2), padding="same"), nn.AvgPool2d(2, 1, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 6), nn.LayerNorm(6), nn.Softmax(-1),
    ).eval()
    with torch.no_grad():
        module[1].running_mean.copy_(torch.randn(4))
        module[1].running_var.copy_(torch.rand(4) + 0.5)
    agree(module, (2, 12, 9))


def test_convolutions_of_one_axis() -> None:
    agree(nn.Sequential(
        nn.Conv1d(2, 3, 3), nn.BatchNorm1d(3), nn.MaxPool1d(2), nn.ConvTranspose1d(3, 2, 2, 2),
        nn.AvgPool1d(2), nn.AdaptiveAvgPool1d(1),
    ).eval(), (2, 11))


def test_activations() -> None:
    def every(x: Any, slope: Any) -> Any:
        f = functional
        return torch.cat([
            f.leaky_relu(x, 0.1), f.relu6(x), f.hardtanh(x, -0.3, 0.7), f.hardsigmoid(x),
            f.hardswish(x), torch.sigmoid(x), x.tanh(), f.gelu(x), f.gelu(x, approximate="tanh"),
            f.silu(x), f.elu(x, 0.7), f.softplus(x), slope(x), x.abs(), x.clamp(min=-0.2),
            x.clamp_max(0.1), torch.exp(x), -x, x**2, f.log_softmax(x, 1), torch.rsqrt(x * x + 1),
        ], 1)

    agree(Function(every, nn.PReLU()).eval(), (4,))


def test_shapes_and_arithmetic() -> None:
    def mix(x: Any, y: Any) -> Any:
        a = x.view(-1, 3, 4).permute(0, 2, 1) @ x.reshape(x.shape[0], 3, 4)
        b = torch.bmm(a, a.transpose(1, 2)).sum(dim=2, keepdim=True)
        c = (2 * x - 1) / 4 + (1 - x) * y.expand(-1, 12)
        parts = c.chunk(3, dim=1)
        d = torch.stack([parts[0], parts[1] - parts[2]], dim=1).flatten(1)
        e = torch.where(x > 0.1, x, x * 0.5)[:, 2:9:3]
        pair = x.split([5, 7], dim=1)
        return (b.squeeze(2), d, e, torch.maximum(pair[0], pair[1][:, :5]),
                functional.pad(x[:, None, :2], (1, 2), value=0.5).mean(-1), x.amax(1),
                x.unflatten(1, (2, 6)).max(dim=2).values, x.argmax(1, keepdim=True), x[:, 3])

    loaded = agree(Function(mix).eval(), [(12,), (1,)])
    assert [t.name for t in loaded.signature.inputs] == ["input0", "input1"]
    assert loaded.signature.outputs[7].dtype == "int64"


def test_attention() -> None:
    def attend(x: Any, q: Any, k: Any, v: Any) -> Any:
        heads = [p(x).view(x.shape[0], 5, 2, 3).transpose(1, 2) for p in (q, k, v)]
        y = functional.scaled_dot_product_attention(*heads)
        return y.transpose(1, 2).reshape(x.shape[0], 5, 6)

    layers = [nn.Linear(4, 6) for _ in range(3)]
    agree(Function(attend, *layers).eval(), (5, 4))


def test_example_tensors_and_float64() -> None:
    module = nn.Linear(3, 2).double().eval()
    loaded = read_torch(module, torch.zeros(7, 3, dtype=torch.float64))
    assert loaded.signature.inputs == (Tensor("input", (3,), "float64"),)
    x = np.random.default_rng(0).normal(size=(2, 3))
    assert np.allclose(evaluate(loaded.network, x), module(torch.from_numpy(x)).detach().numpy())


def test_training_mode_is_refused() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 1))
    with pytest.raises(Refused, match=r"2 layer\(s\) .* 1 \(BatchNorm1d\), 2 \(Dropout\)"):
        read_torch(module, (3,))
    nn.Sequential(nn.Linear(3, 4)).train()
    agree(nn.Sequential(nn.Linear(3, 4)).train(), (3,))
    hidden = Function(lambda x: functional.dropout(x, 0.5, training=True))
    with pytest.raises(UnsupportedModel, match="dropout in training mode"):
        read_torch(hidden.eval(), (3,))


def test_all_obstacles_are_listed() -> None:
    module = Function(lambda x: torch.cumsum(x, 1) + torch.sort(x, 1).values + torch.floor(x))
    with pytest.raises(UnsupportedModel) as found:
        read_torch(module.eval(), (3,))
    text = str(found.value)
    assert len(found.value.reasons) == 3
    assert "cumsum" in text and "sort" in text and "floor" in text


def test_code_that_moves_the_batch_axis_is_read_for_one_row() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    loaded = read_torch(layer, (5, 8))
    assert loaded.signature.batch is None
    assert loaded.signature.inputs[0].shape == (1, 5, 8)
    assert "batch of one row" in loaded.reading[1]
    x = np.random.default_rng(0).normal(size=(1, 40)).astype(np.float32)
    with torch.no_grad():
        expected = layer(torch.from_numpy(x.reshape(1, 5, 8))).numpy().reshape(1, -1)
    assert np.allclose(evaluate(loaded.network, x), expected, rtol=1e-4, atol=1e-5)


def test_what_is_no_module_or_has_no_shape() -> None:
    with pytest.raises(Refused, match=r"no torch\.nn\.Module"):
        read_torch(lambda x: x, (3,))
    with pytest.raises(Refused, match="give example"):
        read_torch(nn.Sequential(nn.Conv2d(1, 1, 1)).eval())
    with pytest.raises(Refused, match=r"torch\.export does not take"):
        read_torch(Function(lambda x: x if x.sum() > 0 else -x).eval(), (3,))


# --- writing --------------------------------------------------------------------------------------

RNG = np.random.default_rng(1)


def random(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def image_chain() -> Network:
    b = Builder((1, 6, 6))
    conv = Conv(kernel=random(3, 1, 3, 3), space=(6, 6), strides=(1, 1), pads=((1, 1), (0, 0)),
                dilations=(1, 1))
    value = b.add(Linear((conv,), np.repeat(random(3), 24)), (0,), (3, 6, 4))
    value = b.add(LeakyRelu(0.25), (value,), (3, 6, 4))
    norm = BatchNormalization(scale=random(3), shift=random(3), mean=random(3),
                              variance=np.abs(random(3)) + 1, epsilon=float(np.float32(1e-5)))
    value = b.add(norm, (value,), (3, 6, 4))
    pool = MaxPool(size=(2, 2), strides=(2, 2), pads=((0, 0), (0, 0)), dilations=(1, 1))
    value = b.add(pool, (value,), (3, 3, 2))
    value = b.add(Linear((Dense(random(4, 18)),), random(4)), (value,), (4,))
    return b.build(b.add(Opaque("softmax", 4), (value,), (4,)))


def graph() -> Network:
    """Every primitive operator and linear map."""
    b = Builder((6,))
    conv = Conv(kernel=random(2, 1, 3), space=(3,), strides=(1,), pads=((1, 0),), dilations=(1,),
                groups=2)
    hidden = b.add(Relu(), (b.linear(conv, 0, random(4)),), 4)
    csr = Csr(starts=np.array([0, 1, 1, 3, 4]), columns=np.array([2, 0, 3, 1]), values=random(4),
              inputs=4)
    gather = Gather(indices=np.array([3, -1, 0, 5]), scale=random(4), inputs=6)
    mixed = b.linear((csr, gather, Dense(random(4, 4))), (hidden, 0, hidden))
    step = b.add(Step(), (mixed,), 4)
    gated = b.add(Product(), (step, b.add(Opaque("softplus"), (mixed,), 4)), 4)
    cell = Builder((3,))
    inner = cell.build(cell.add(Opaque("tanh"), (cell.linear(Dense(random(3, 3)), 0),), 3))
    start = b.linear((), (), random(1))
    states = b.add(Scan(inner, 1, 2), (start, gated), 5)
    joined = b.add(Concat(), (states, b.add(Select(np.array([3, 3])), (gated,), 2)), 7)
    return b.build(b.add(Opaque("softmax", 7), (joined,), 7))


def test_rounding_goes_to_even_both_ways() -> None:
    def halves(x: Any) -> Any:
        return torch.round(torch.round(x * 2) / 2)

    loaded = agree(Function(halves).eval(), (4,))
    assert [type(n.operator) for n in loaded.network.nodes].count(Round) == 2
    points = torch.linspace(-3, 3, 52).reshape(13, 4)
    assert torch.equal(write_torch(loaded.network)(points), halves(points))
    with pytest.raises(UnsupportedModel, match="decimals"):
        read_torch(Function(lambda x: torch.round(x, decimals=1)).eval(), (4,))


def test_a_chain_becomes_plain_layers() -> None:
    network = image_chain()
    module = write_torch(network)
    assert [type(layer).__name__ for layer in module] == [
        "Conv2d", "LeakyReLU", "BatchNorm2d", "MaxPool2d", "Flatten", "Linear", "Softmax"
    ]
    loaded = agree(module, (1, 6, 6))
    assert to_primitive(loaded.network) == to_primitive(network)


def test_layers_that_carry_another_shape() -> None:
    b = Builder((2, 4))
    value = b.add(Relu(), (0,), (8,))
    value = b.add(Opaque("tanh"), (value,), (4, 2))
    network = b.build(b.add(Linear((Dense(random(3, 8)),), None), (value,), (3, 1)))
    module = write_torch(network)
    assert isinstance(module, nn.Sequential)
    x = random(5, 8)
    y = module(torch.from_numpy(x.reshape(5, 2, 4))).detach().numpy()
    assert y.shape == (5, 3, 1)
    assert np.allclose(y.reshape(5, 3), evaluate(network, x), atol=1e-5)


def test_every_primitive_runs() -> None:
    network = graph()
    module = write_torch(network)
    x = random(5, 6)
    y = module(torch.from_numpy(x)).detach().numpy()
    assert np.allclose(y, evaluate(network, x), rtol=1e-4, atol=1e-5)


def test_the_signature_is_restored() -> None:
    b = Builder((7,))
    network = b.build(b.linear(Dense(random(5, 7)), 0, random(5)))
    signature = Signature(
        inputs=(Tensor("a", (2, 2)), Tensor("b", (3,))),
        outputs=(Tensor("y", (2, 2)), Tensor("z", (1,))),
    )
    x = random(3, 7)
    module = write_torch(network, signature)
    y, z = module(torch.from_numpy(x[:, :4].reshape(3, 2, 2)), torch.from_numpy(x[:, 4:]))
    expected = evaluate(network, x)
    assert np.allclose(y.reshape(3, -1).numpy(), expected[:, :4], atol=1e-5)
    assert np.allclose(z.numpy(), expected[:, 4:], atol=1e-5)
    bare = Signature(inputs=signature.inputs, outputs=signature.outputs, batch=None)
    y, _ = write_torch(network, bare)(torch.from_numpy(x[0, :4].reshape(2, 2)),
                                      torch.from_numpy(x[0, 4:]))
    assert y.shape == (2, 2)


def test_constants_must_fit() -> None:
    b = Builder((1,))
    network = b.build(b.linear(Dense(np.array([[0.1]])), 0))
    with pytest.raises(Refused, match="no float32; round"):
        write_torch(network)
    assert write_torch(rounded(network, np.float32)) is not None
    with pytest.raises(Refused, match="signature"):
        write_torch(network, Signature(inputs=(Tensor("x", (2,)),), outputs=(Tensor("y", (1,)),)))


def test_conversions_become_modules() -> None:
    """From a module through a converter to a module: the same function, proved."""
    torch.manual_seed(0)
    source = torch.nn.Sequential(
        torch.nn.Linear(4, 6), torch.nn.LeakyReLU(0.125), torch.nn.Linear(6, 3)
    ).eval()
    made = iso.convert(iso.read(source), to="feed-forward")
    module = iso.to_torch(made, like=source)
    assert any(isinstance(part, torch.nn.ReLU) for part in module.modules())
    assert isinstance(iso.prove(module, equal_to=source), iso.Proved)
    x = torch.randn(5, 4)
    assert torch.allclose(module(x), source(x), atol=1e-6)
    with torch.no_grad():
        source[0].weight[0, 0] += 2.0**-10
    assert not isinstance(iso.prove(module, equal_to=source), iso.Proved)
