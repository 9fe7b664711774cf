# SPDX-License-Identifier: Apache-2.0
"""The hidden units of one network as exact rows over its inputs and earlier units, by name."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isoform.certificate.basis import Basis
from isoform.certificate.codes import Code
from isoform.certificate.sweep import run
from isoform.network.domain import Box
from isoform.network.network import Network
from isoform.network.parting import Unit
from isoform.numerics.exact import Exact, concatenate
from isoform.numerics.sparse import ExactSparse
from isoform.verify.identity import Search
from isoform.verify.signatures import phi


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """Units of one non-linear node: rows (k, earlier columns), `units` their positions in the node,
    `number` of the node from 1; `others`: the second factors of products."""

    number: int
    kind: str
    start: int
    rows: ExactSparse
    units: np.ndarray
    others: ExactSparse | None

    @property
    def columns(self) -> range:
        return range(self.start, self.start + self.rows.shape[0])


@dataclass(frozen=True, slots=True, eq=False)
class HiddenUnits:
    """Columns: 0 the constant, 1 .. inputs the inputs, then the units; outputs as rows over them.
    Units that are multiples of earlier ones, and on a box those that are stable, have no column."""

    inputs: int
    layers: tuple[Layer, ...]
    outputs: ExactSparse

    @property
    def width(self) -> int:
        return self.layers[-1].columns.stop if self.layers else 1 + self.inputs

    @property
    def count(self) -> int:
        return self.width - 1 - self.inputs

    def unit(self, column: int) -> Unit:
        for layer in self.layers:
            if column in layer.columns:
                return Unit(layer.number, int(layer.units[column - layer.start]))
        raise IndexError(f"column {column} is no unit")

    def column(self, unit: Unit) -> int:
        """The column of a hidden unit."""
        layer = next(layer for layer in self.layers if layer.number == unit.layer)
        return layer.start + int(np.flatnonzero(layer.units == unit.unit)[0])

    def row_of(self, unit: Unit) -> tuple[ExactSparse, int]:
        """The rows among which a unit's or output's own one is, and its place."""
        if unit.layer is None:
            return self.outputs, unit.unit
        layer = next(layer for layer in self.layers if layer.number == unit.layer)
        return layer.rows, int(np.flatnonzero(layer.units == unit.unit)[0])

    def exactly(self, point: Exact, width: int) -> Exact | None:
        """The first `width` columns at an exact point (n,); None where one of them has no exact
        value."""
        values = concatenate([Exact.of(np.array([1])), point])
        for layer in self.layers:
            if len(values) >= width:
                break
            if layer.kind not in ("relu", "step"):
                return None
            before = layer.rows.times(values)
            after = before.relu() if layer.kind == "relu" else Exact.of(
                (before.sign() >= 0).astype(np.int64)
            )
            values = concatenate([values, after]).reduced()
        return values[:width]

    def name(self, column: int) -> str:
        if column == 0:
            return "bias"
        return f"input {column - 1}" if column <= self.inputs else str(self.unit(column))

    def before(self, points: np.ndarray) -> np.ndarray:
        """What the units are functions of, in floats: (points, width); 1 and the inputs first."""
        before = np.zeros((len(points), self.width))
        before[:, 0] = 1
        before[:, 1 : 1 + self.inputs] = points
        after = before.copy()
        with np.errstate(all="ignore"):
            for layer in self.layers:
                here = slice(layer.start, layer.columns.stop)
                before[:, here] = floats(layer.rows, after)
                if layer.others is not None:
                    after[:, here] = before[:, here] * floats(layer.others, after)
                else:
                    after[:, here] = phi(layer.kind, before[:, here])
        return before


def floats(rows: ExactSparse, values: np.ndarray) -> np.ndarray:
    """The rows at the points, (points, rows)."""
    from scipy.sparse import csr_array

    data = Exact(rows.data, rows.denominator).to_float()
    matrix = csr_array((data, rows.columns, rows.starts), shape=(rows.shape[0], values.shape[1]))
    found: np.ndarray = (matrix @ values.T).T
    return found


def hidden_units(network: Network, box: Box | None) -> HiddenUnits:
    """The units of a primitive network; box None: of all of space, where no unit is stable.
    Raises CertificateRejected where rows become too long."""
    basis = Basis.on(box, network.dimension)
    search = Search(basis)
    result = run(network, basis, search)
    blocks, layers = iter(basis.blocks), []
    for number, codes in enumerate(search.made, start=1):
        units = np.flatnonzero(codes.code == Code.NEW)
        if len(units):
            block = next(blocks)
            layers.append(Layer(
                number, block.kind, block.start, block.arguments, units, block.others
            ))
    return HiddenUnits(network.dimension, tuple(layers), result.rows.widened(basis.width))
