# SPDX-License-Identifier: Apache-2.0
"""Networks as torch modules."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from isoform.errors import Refused
from isoform.network.linear_map import Constant, Conv, Dense
from isoform.network.model import Signature
from isoform.network.network import Network, Node, Shape
from isoform.network.operators import (
    BatchNormalization,
    Clip,
    LeakyRelu,
    Linear,
    MaxPool,
    Opaque,
    Relu,
    Select,
)
from isoform.network.primitive import to_primitive
from isoform.numerics.exact import Exact


def write_torch(network: Network, signature: Signature | None = None) -> Any:
    """The network as a torch.nn.Module in evaluation mode.

    A chain of plain layers becomes an nn.Sequential of torch's own layers (Linear, Conv2d, ReLU,
    BatchNorm, MaxPool, ...); every other network a module that runs the primitive operators. The
    inputs and outputs are those of the signature, the batch axis in front. Constants must be floats
    of its dtype already: Refused otherwise (`network.rounding` rounds and splits).
    """
    signature = Signature.of(network) if signature is None else signature
    tensors = (*signature.inputs, *signature.outputs)
    sizes = [sum(math.prod(t.shape) for t in part)
             for part in (signature.inputs, signature.outputs)]
    if sizes != [network.dimension, network.output_dimension]:
        raise Refused(f"the signature has {sizes[0]} inputs and {sizes[1]} outputs, {network!r}")
    double = any(tensor.dtype == "float64" for tensor in tensors)
    to_floats = Floats(np.dtype(np.float64 if double else np.float32))
    layers = plain_layers(network, signature, to_floats)
    if layers is not None:
        from torch import nn

        return nn.Sequential(*layers).eval()
    from isoform.formats.torch.module import Bordered, PrimitiveModule

    inner = PrimitiveModule(to_primitive(network), to_floats)
    return Bordered(inner, signature).eval()


class Floats:
    """Constants as floats of one dtype; Refused where that would change a number."""

    def __init__(self, dtype: np.dtype):
        self.dtype = dtype

    def __call__(self, name: str, constant: Constant) -> np.ndarray:
        if isinstance(constant, Exact):
            fits = constant.is_representable(self.dtype)
            floats = constant.to_float(self.dtype)
        else:
            with np.errstate(over="ignore"):
                floats = constant.astype(self.dtype)
            fits = bool(np.array_equal(floats.astype(np.float64), constant.astype(np.float64)))
        if not fits:
            raise Refused(
                f"{name} holds numbers that are no {self.dtype}; round or split the network (or "
                "its primitive form) first (network.rounding: rounded, split)"
            )
        return floats


# --- chains of plain layers -----------------------------------------------------------------------


def plain_layers(network: Network, signature: Signature, floats: Floats) -> list[Any] | None:
    """The layers of a chain, or None where the network is none that torch has layers for."""
    bordered = (
        tuple(t.shape for t in signature.inputs) == network.inputs and len(network.inputs) == 1
        and len(network.outputs) == 1 and len(signature.outputs) == 1
        and signature.batch is not None and len(network.nodes) > 0
        and network.outputs[0] == len(network.nodes)
    )
    if not bordered:
        return None
    layers: list[Any] = []
    shape = network.inputs[0]
    for value, node in network.items():
        if node.operands != (value - 1,):
            return None
        made = layer_of(node, shape, floats)
        if made is None:
            return None
        layers += made
        shape = node.shape
    return layers + reshaping(shape, signature.outputs[0].shape)


def reshaping(given: Shape, wanted: Shape) -> list[Any]:
    from torch import nn

    if given == wanted or not wanted:
        return []
    flat = [] if len(given) == 1 else [nn.Flatten(1)]
    return flat if len(wanted) == 1 else [*flat, nn.Unflatten(1, wanted)]


def layer_of(node: Node, shape: Shape, floats: Floats) -> list[Any] | None:
    """torch's layers for one node, reshapes included; None where there are none."""
    if not shape or not node.shape:
        return None
    match node.operator:
        case Select(indices=indices) if np.array_equal(indices, np.arange(math.prod(shape))):
            return reshaping(shape, node.shape)
        case MaxPool() as pool:
            return max_pool(pool, shape)
        case BatchNormalization() as norm:
            return batch_norm(norm, shape, floats)
        case Linear(maps=(Dense(weight=weight),), bias=bias):
            return dense(weight, bias, shape, node.shape, floats)
        case Linear(maps=(Conv() as part,), bias=bias):
            return convolution(part, bias, shape, node.shape, floats)
    activation = activation_of(node, shape, floats)
    return None if activation is None else [*reshaping(shape, node.shape), activation]


def activation_of(node: Node, shape: Shape, floats: Floats) -> Any:
    """torch's layer for an activation, or None."""
    from torch import nn

    match node.operator:
        case Relu():
            return nn.ReLU()
        case LeakyRelu(alpha=alpha) if float(floats.dtype.type(alpha)) == alpha:
            return nn.LeakyReLU(alpha)
        case Clip(low=float(low), high=float(high)):
            return nn.Hardtanh(low, high)
        case Opaque(name="tanh"):
            return nn.Tanh()
        case Opaque(name="sigmoid"):
            return nn.Sigmoid()
        case Opaque(name="softmax", group=group) if shape == node.shape == (group,):
            return nn.Softmax(1)
    return None


def filled(layer: Any, arrays: dict[str, np.ndarray | None]) -> Any:
    """The layer with these numbers in its parameters and buffers."""
    import torch

    state = {name: torch.from_numpy(np.array(a)) for name, a in arrays.items() if a is not None}
    layer.load_state_dict(state, strict=False)
    return layer


def torch_dtype(floats: Floats) -> Any:
    import torch

    return torch.float64 if floats.dtype == np.float64 else torch.float32


def dense(
    weight: Constant, bias: Constant | None, shape: Shape, out: Shape, floats: Floats
) -> list[Any]:
    from torch import nn

    layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, dtype=torch_dtype(floats))
    shift = None if bias is None else floats("a bias", bias).reshape(-1)
    filled(layer, {"weight": floats("a weight", weight), "bias": shift})
    return [*reshaping(shape, (weight.shape[1],)), layer, *reshaping((weight.shape[0],), out)]


def convolution(
    part: Conv, bias: Constant | None, shape: Shape, out: Shape, floats: Floats
) -> list[Any] | None:
    from torch import nn

    axes = len(part.space)
    shift = None if bias is None else floats("a bias", bias).reshape(part.channels_out, -1)
    uneven = shift is not None and bool(np.any(shift != shift[:, :1]))
    if axes > 3 or uneven or any(before != after for before, after in part.pads):
        return None
    kind: Any = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1]
    layer = kind(
        part.channels_in, part.channels_out, tuple(part.kernel.shape[2:]), stride=part.strides,
        padding=tuple(before for before, _ in part.pads), dilation=part.dilations,
        groups=part.groups, bias=bias is not None, dtype=torch_dtype(floats),
    )
    filled(layer, {
        "weight": floats("a kernel", part.kernel),
        "bias": None if shift is None else shift[:, 0],
    })
    image = (part.channels_in, *part.space)
    made = (part.channels_out, *part.space_out)
    return [*reshaping(shape, image), layer, *reshaping(made, out)]


def max_pool(pool: MaxPool, shape: Shape) -> list[Any] | None:
    from torch import nn

    axes = len(pool.size)
    symmetric = all(before == after and 2 * before <= size
                    for (before, after), size in zip(pool.pads, pool.size, strict=True))
    if pool.ceil or axes > 3 or not symmetric or len(shape) != axes + 1:
        return None
    kind: Any = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)[axes - 1]
    pads = tuple(before for before, _ in pool.pads)
    return [kind(pool.size, pool.strides, pads, pool.dilations)]


def batch_norm(norm: BatchNormalization, shape: Shape, floats: Floats) -> list[Any] | None:
    from torch import nn

    if len(shape) > 4 or float(floats.dtype.type(norm.epsilon)) != norm.epsilon:
        return None
    kind: Any = (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[len(shape) - 1]
    layer = kind(shape[0], eps=norm.epsilon, dtype=torch_dtype(floats))
    return [filled(layer, {
        "weight": floats("a scale", norm.scale), "bias": floats("a shift", norm.shift),
        "running_mean": floats("a mean", norm.mean),
        "running_var": floats("a variance", norm.variance),
    })]
