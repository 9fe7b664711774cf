# SPDX-License-Identifier: Apache-2.0
"""A piecewise-linear network as layers of units over the inputs and the units before them.

Every ReLU or step node is one layer; its pre-activations are exact affine rows over the constant,
the inputs and the outputs of earlier units, so that convolutions, skips and branches all look
alike. Units are numbered through all layers, in order; `regions/` and the checker share this
numbering.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from isoform.errors import UnsupportedModel
from isoform.network.linear_map import exact
from isoform.network.network import Network
from isoform.network.operators import (
    Concat,
    Linear,
    Opaque,
    Operator,
    Relu,
    Round,
    Select,
    Step,
)
from isoform.numerics.exact import Exact
from isoform.numerics.sparse import ExactSparse, stack, total


@dataclass(frozen=True, slots=True, eq=False)
class UnitLayer:
    """n units: rows (n, 1 + d + number of earlier units) of their pre-activations, columns in the
    order constant, inputs, outputs of earlier units. name: what each unit does with its
    pre-activation z: "relu" gives max(z, 0), "step" 1 where z >= 0, else 0; otherwise the name of a
    function applied to each entry (a network with one is no piecewise-linear graph)."""

    rows: ExactSparse
    name: str = "relu"

    @property
    def size(self) -> int:
        return self.rows.shape[0]

    @property
    def step(self) -> bool:
        return self.name == "step"


@dataclass(frozen=True, eq=False)
class UnitLayers:
    """The network: layers in order, and the outputs as rows (m, 1 + d + N) over all units."""

    dimension: int
    layers: tuple[UnitLayer, ...]
    outputs: ExactSparse

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """Number of the first unit of each layer, and at the end the number of all units."""
        return tuple(int(n) for n in np.cumsum([0, *(layer.size for layer in self.layers)]))

    @property
    def units(self) -> int:
        return self.starts[-1]

    @property
    def continuous(self) -> bool:
        return not any(layer.step for layer in self.layers)


def unit_layers(network: Network, *, curved: bool = False) -> UnitLayers:
    """The layers of a primitive network. curved: smooth and rounding functions of single entries
    are units too.

    Raises UnsupportedModel with every node that makes it no piecewise-linear graph (products,
    smooth functions, recurrences that are not unrolled).
    """
    allowed = (Linear, Relu, Step, Concat, Select)
    foreign = [
        f"value {value}: {getattr(node.operator, 'name', type(node.operator).__name__)} "
        "is not piecewise linear"
        for value, node in network.items()
        if not isinstance(node.operator, allowed)
        and not (curved and (
            isinstance(node.operator, Round)
            or isinstance(node.operator, Opaque) and not node.operator.group
        ))
    ]
    if foreign:
        raise UnsupportedModel("linear regions of this network", foreign)
    d = network.dimension
    values = [ExactSparse.eye(d, 1 + d, at=1)]
    layers: list[UnitLayer] = []
    width = 1 + d
    for _, node in network.items():
        operands = [values[o] for o in node.operands]
        match node.operator:
            case Linear():
                values.append(affine(node.operator, operands, node.shape[0], width))
            case Select(indices):
                values.append(operands[0].take(indices))
            case Concat():
                values.append(stack([operand.widened(width) for operand in operands]))
            case _:
                rows = operands[0].widened(width).reduced()
                layers.append(UnitLayer(rows, unit_name(node.operator)))
                values.append(ExactSparse.eye(rows.shape[0], width + rows.shape[0], at=width))
                width += rows.shape[0]
    outputs = values[network.outputs[0]].widened(width).reduced()
    return UnitLayers(d, tuple(layers), outputs)


def unit_name(operator: Operator) -> str:
    """What `UnitLayer` calls it."""
    return operator.name if isinstance(operator, Opaque) else type(operator).__name__.lower()


def affine(operator: Linear, operands: list[ExactSparse], n: int, width: int) -> ExactSparse:
    """sum of maps(operands) + bias, as rows."""
    parts = [
        (part.sparse() @ operand).widened(width)
        for part, operand in zip(operator.maps, operands, strict=True)
    ]
    if operator.bias is not None:
        parts.append(constant_rows(exact(operator.bias).reshape(-1), n, width))
    return total(parts)


def constant_rows(values: Exact, n: int, width: int) -> ExactSparse:
    """Rows with `values` in column 0."""
    return ExactSparse.of_triplets(
        (n, width), np.arange(n), np.zeros(n, dtype=np.int64), values.numerator, values.denominator
    )


def substituted(layers: UnitLayers, constant: Exact, matrix: Exact) -> UnitLayers:
    """The network in new coordinates u in R^k: column 0 and the inputs of every row become
    (1, x) = constant + matrix u. constant: (1 + d,), matrix: (1 + d, k). With constant
    (1, x0) and matrix [0; T] this restricts the network to the slice x = x0 + T u."""
    d, k = layers.dimension, matrix.shape[1]
    if constant.shape != (1 + d,) or matrix.shape[0] != 1 + d:
        raise ValueError("coordinates of another network")
    columns = np.concatenate((constant.reshape(-1, 1).numerator * matrix.denominator,
                              matrix.numerator * constant.denominator), axis=1)
    top = ExactSparse.of(Exact(columns, constant.denominator * matrix.denominator))

    def moved(rows: ExactSparse) -> ExactSparse:
        units = rows.shape[1] - 1 - d
        old = top.widened(1 + k + units)
        if units:
            old = stack([old, ExactSparse.eye(units, 1 + k + units, at=1 + k)])
        return (rows @ old).reduced()

    made = tuple(UnitLayer(moved(layer.rows), layer.name) for layer in layers.layers)
    return UnitLayers(k, made, moved(layers.outputs))

