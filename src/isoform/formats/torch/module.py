# SPDX-License-Identifier: Apache-2.0
"""Any primitive network as one torch module. Imports torch: import this module lazily."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from isoform.network.linear_map import Constant, Conv, Csr, Dense, Gather, LinearMap
from isoform.network.model import Signature
from isoform.network.network import Network, Node
from isoform.network.operators import (
    Concat,
    Linear,
    Opaque,
    Product,
    Relu,
    Round,
    Scan,
    Select,
    Step,
)

Floats = Callable[[str, Constant], np.ndarray]
FUNCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "exp": torch.exp, "log": torch.log, "sqrt": torch.sqrt, "reciprocal": torch.reciprocal,
    "tanh": torch.tanh, "sigmoid": torch.sigmoid, "erf": torch.erf, "sin": torch.sin,
    "cos": torch.cos, "softplus": lambda z: torch.logaddexp(z, torch.zeros_like(z)),
}


class PrimitiveModule(nn.Module):
    """Runs the nodes of a primitive network on vectors (batch, n); weights are buffers."""

    def __init__(self, network: Network, floats: Floats):
        super().__init__()
        self.network = network
        self.cells = nn.ModuleDict()
        for value, node in network.items():
            operator = node.operator
            if isinstance(operator, Linear):
                for i, part in enumerate(operator.maps):
                    self.register(f"node{value}_map{i}", part, floats)
                if operator.bias is not None:
                    self.keep(f"node{value}_bias", floats(f"node {value} bias", operator.bias))
            elif isinstance(operator, Select):
                self.keep(f"node{value}_indices", operator.indices.astype(np.int64))
            elif isinstance(operator, Scan):
                self.cells[f"node{value}"] = PrimitiveModule(operator.cell, floats)

    def keep(self, name: str, array: np.ndarray) -> None:
        self.register_buffer(name, torch.from_numpy(np.array(array)))

    def register(self, name: str, part: LinearMap, floats: Floats) -> None:
        """The arrays of one linear map; a Gather's gaps become zeros of its scale."""
        match part:
            case Dense():
                self.keep(name, floats(name, part.weight))
            case Csr():
                rows = np.repeat(np.arange(part.outputs), np.diff(part.starts))
                self.keep(name, floats(name, part.values))
                self.keep(f"{name}_places", np.stack([rows, part.columns]).astype(np.int64))
            case Conv():
                self.keep(name, floats(name, part.kernel))
                flat, inside = part.taps()
                # one more entry, a zero, stands for the padding
                self.keep(f"{name}_taps", np.where(inside, flat, math.prod(part.space)))
            case Gather():
                self.keep(f"{name}_indices", np.maximum(part.indices, 0).astype(np.int64))
                ones = np.ones(part.outputs, dtype=np.float32)
                scale = ones if part.scale is None else floats(name, part.scale)
                self.keep(name, np.where(part.indices < 0, np.zeros_like(scale), scale))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values = [x]
        for value, node in self.network.items():
            operands = [values[operand] for operand in node.operands] or [x]
            values.append(self.node(value, node, operands))
        return values[self.network.outputs[0]]

    def node(self, value: int, node: Node, operands: list[torch.Tensor]) -> torch.Tensor:
        match node.operator:
            case Linear() as operator:
                return self.linear(f"node{value}", operator, node.shape[0], operands)
            case Relu():
                return torch.relu(operands[0])
            case Step():
                return (operands[0] >= 0).to(operands[0].dtype)
            case Round():
                return torch.round(operands[0])  # ties go to even
            case Product():
                return operands[0] * operands[1]
            case Opaque(name="softmax", group=group):
                grouped = operands[0].reshape(len(operands[0]), -1, group)
                return torch.softmax(grouped, 2).reshape(operands[0].shape)
            case Opaque(name=name):
                return FUNCTIONS[name](operands[0])
            case Concat():
                return torch.cat(operands, 1)
            case Select():
                return operands[0][:, getattr(self, f"node{value}_indices")]
            case Scan() as operator:
                return self.scan(f"node{value}", operator, operands)
        raise TypeError(f"{type(node.operator).__name__} is not primitive")

    def linear(
        self, name: str, operator: Linear, size: int, operands: list[torch.Tensor]
    ) -> torch.Tensor:
        y = operands[0].new_zeros(len(operands[0]), size)
        for i, (part, operand) in enumerate(zip(operator.maps, operands, strict=False)):
            y = y + self.mapped(f"{name}_map{i}", part, operand)
        return y if operator.bias is None else y + getattr(self, f"{name}_bias").reshape(-1)

    def mapped(self, name: str, part: LinearMap, x: torch.Tensor) -> torch.Tensor:
        if isinstance(part, Gather):
            return x[:, getattr(self, f"{name}_indices")] * getattr(self, name)
        weight = getattr(self, name)
        match part:
            case Csr():
                rows, columns = getattr(self, f"{name}_places")
                zeros = x.new_zeros(len(x), part.outputs)
                return zeros.index_add(1, rows, x[:, columns] * weight)
            case Conv():
                image = nn.functional.pad(x.reshape(len(x), part.channels_in, -1), (0, 1))
                patches = image[:, :, getattr(self, f"{name}_taps")]
                patches = patches.reshape(len(x), part.groups, -1, *patches.shape[2:])
                kernel = weight.reshape(
                    part.groups, part.channels_out // part.groups, part.kernel.shape[1], -1
                )
                return torch.einsum("ngcpt,goct->ngop", patches, kernel).reshape(len(x), -1)
            case _:
                return x @ weight.T

    def scan(self, name: str, operator: Scan, operands: list[torch.Tensor]) -> torch.Tensor:
        state, steps = operands
        width = operator.cell.dimension - operator.state
        results = []
        for t in range(operator.horizon or 0):
            element = steps[:, t * width : (t + 1) * width]
            y = self.cells[name](torch.cat([state, element], 1))
            state = y[:, : operator.state]
            results.append(y[:, operator.state :])
        return torch.cat([state, *results], 1)


class Bordered(nn.Module):
    """A module on vectors with the inputs and outputs of a signature around it."""

    def __init__(self, inner: PrimitiveModule, signature: Signature):
        super().__init__()
        self.inner = inner
        self.signature = signature

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        rows = 1 if self.signature.batch is None else inputs[0].shape[0]
        y = self.inner(torch.cat([x.reshape(rows, -1) for x in inputs], 1))
        sizes = [math.prod(tensor.shape) for tensor in self.signature.outputs]
        lead = () if self.signature.batch is None else (rows,)
        outputs = tuple(
            part.reshape(*lead, *tensor.shape)
            for part, tensor in zip(y.split(sizes, 1), self.signature.outputs, strict=True)
        )
        return outputs[0] if len(outputs) == 1 else outputs
