# SPDX-License-Identifier: Apache-2.0
"""Float passes through primitive networks: values, reverse-mode gradients, and the affine piece.

Nothing here is evidence: these numbers only choose points, which are then replayed exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from isoform.bounds.matrices import Matrix, flat_primitive, matrices_of
from isoform.network.evaluate import FLOAT
from isoform.network.linear_map import floats
from isoform.network.network import Network, Node
from isoform.network.operators import Concat, Linear, Opaque, Product, Relu, Round, Select


@dataclass(frozen=True, slots=True)
class FloatNetwork:
    """A primitive network with its linear maps as float64 matrices and vectors."""

    network: Network
    matrices: dict[int, tuple[Matrix, ...]]
    biases: dict[int, np.ndarray]

    @staticmethod
    def of(network: Network) -> FloatNetwork:
        """Prepared once; recurrences are unrolled."""
        network = flat_primitive(network)
        biases = {
            value: floats(node.operator.bias)
            for value, node in network.items()
            if isinstance(node.operator, Linear) and node.operator.bias is not None
        }
        return FloatNetwork(network, matrices_of(network), biases)

    @property
    def piecewise_linear(self) -> bool:
        """Whether the function is affine on every activation pattern of its ReLUs."""
        kinds = Linear | Relu | Concat | Select
        return all(isinstance(node.operator, kinds) for node in self.network.nodes)

    def values(self, x: np.ndarray) -> list[np.ndarray]:
        """Every value at the points x (batch, n), by value number, each (batch, size)."""
        values = [x]
        with np.errstate(all="ignore"):
            for value, node in self.network.items():
                operands = [values[operand] for operand in node.operands]
                if isinstance(node.operator, Linear):
                    y = np.zeros((len(x), node.shape[0]))
                    for matrix, operand in zip(self.matrices[value], operands, strict=True):
                        y = y + (matrix @ operand.T).T
                    values.append(y + self.biases[value] if value in self.biases else y)
                else:
                    values.append(FLOAT[type(node.operator)](node, operands))
        return values

    def output(self, x: np.ndarray) -> np.ndarray:
        """f at the points x (batch, n): (batch, m)."""
        return self.values(x)[self.network.outputs[0]]

    def pullback(self, values: list[np.ndarray], cotangent: np.ndarray) -> np.ndarray:
        """Reverse mode: for each point of `values` the gradient of cotangent . f, (batch, n).

        cotangent: (batch, m). A ReLU at 0 passes nothing, a step never passes anything; a
        rounding passes all, as its mean slope is 1.
        """
        network = self.network
        back: list[np.ndarray | None] = [None] * len(values)
        back[network.outputs[0]] = cotangent
        with np.errstate(all="ignore"):
            for value in range(len(values) - 1, 0, -1):
                upper = back[value]
                if upper is None:
                    continue
                node = network.nodes[value - 1]
                for operand, term in self.shares(value, node, values, upper):
                    sofar = back[operand]
                    back[operand] = term if sofar is None else sofar + term
                back[value] = None  # its memory is no longer needed
        found = back[0]
        return np.zeros_like(values[0]) if found is None else np.nan_to_num(found)

    def shares(
        self, value: int, node: Node, values: list[np.ndarray], upper: np.ndarray
    ) -> list[tuple[int, np.ndarray]]:
        """What each operand of a node receives from the node's cotangent."""
        operands = node.operands
        match node.operator:
            case Linear():
                pairs = zip(operands, self.matrices[value], strict=True)
                return [(operand, (matrix.T @ upper.T).T) for operand, matrix in pairs]
            case Relu():
                return [(operands[0], upper * (values[operands[0]] > 0))]
            case Round():
                return [(operands[0], upper)]
            case Product():
                left, right = operands
                return [(left, upper * values[right]), (right, upper * values[left])]
            case Opaque():
                z, y = values[operands[0]], values[value]
                return [(operands[0], opaque_share(node.operator, z, y, upper))]
            case Concat():
                ends = np.cumsum([values[operand].shape[1] for operand in operands])
                parts = np.split(upper, ends[:-1], axis=1)
                return list(zip(operands, parts, strict=True))
            case Select():
                share = np.zeros_like(values[operands[0]])
                np.add.at(share.T, node.operator.indices, upper.T)
                return [(operands[0], share)]
            case _:
                return []


def opaque_share(
    operator: Opaque, z: np.ndarray, y: np.ndarray, upper: np.ndarray
) -> np.ndarray:
    """The cotangent behind an opaque function with argument z and value y."""
    if operator.name == "softmax":
        shape = (len(z), -1, operator.group)
        share, part = upper.reshape(shape), y.reshape(shape)
        return (part * (share - (part * share).sum(axis=2, keepdims=True))).reshape(z.shape)
    return upper * SLOPES[operator.name](z, y)


SLOPES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "exp": lambda z, y: y,
    "log": lambda z, y: 1 / z,
    "sqrt": lambda z, y: 0.5 / y,
    "reciprocal": lambda z, y: -y * y,
    "tanh": lambda z, y: 1 - y * y,
    "sigmoid": lambda z, y: y * (1 - y),
    "erf": lambda z, y: 2 / np.sqrt(np.pi) * np.exp(-z * z),
    "softplus": lambda z, y: 1 / (1 + np.exp(-z)),
    "sin": lambda z, y: np.cos(z),
    "cos": lambda z, y: -np.sin(z),
}


@dataclass(frozen=True, slots=True)
class Piece:
    """The affine piece of a piecewise linear network around a point x.

    output: (m, n + 1), rows [J | c] of f = J x + c; cell: (units, n + 1), rows [a | b] of the
    pre-activations, signed so that the cell is a x + b >= 0.
    """

    output: np.ndarray
    cell: np.ndarray


def affine_piece(net: FloatNetwork, x: np.ndarray) -> Piece:
    """The piece at x (n,); a pre-activation of 0 counts as off."""
    points = net.values(x[None, :])
    forms = [np.eye(len(x), len(x) + 1)]
    cell = []
    for value, node in net.network.items():
        operands = [forms[operand] for operand in node.operands]
        match node.operator:
            case Linear():
                form = np.zeros((node.shape[0], len(x) + 1))
                for matrix, operand in zip(net.matrices[value], operands, strict=True):
                    form = form + matrix @ operand
                form[:, -1] += net.biases.get(value, 0.0)
            case Relu():
                on = points[node.operands[0]][0] > 0
                cell.append(np.where(on, 1.0, -1.0)[:, None] * operands[0])
                form = on[:, None] * operands[0]
            case Select():
                form = operands[0][node.operator.indices]
            case _:
                form = np.concatenate(operands)
        forms.append(form)
    rows = np.concatenate(cell) if cell else np.zeros((0, len(x) + 1))
    return Piece(forms[net.network.outputs[0]], rows)
