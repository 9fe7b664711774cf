# SPDX-License-Identifier: Apache-2.0
"""Queries of VNN-LIB 1.0 and 2.0 as values: declared networks, assertions as exact linear rows.

1.0: one network without a name, inputs X_0, X_1, ..., outputs Y_0, Y_1, .... 2.0: networks with
named tensors, elements X[0,3] in row-major order. A query asks for an assignment that meets all
assertions (`sat`); where none exists it is `unsat`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from isoform.formats.vnnlib.linear import Row

FLAT = "N"  # the name of the network of 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A declared tensor. kind: "input" or "output"; first: number of its first entry among all
    entries of the query; onnx: the name that it has in the model file, where one is given."""

    name: str
    kind: str
    dtype: str
    shape: tuple[int, ...]
    first: int
    onnx: str | None = None

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """A declared network. relation: None, or ("equal-to" or "isomorphic-to", another network):
    the same file, or the same graph with other weights."""

    name: str
    inputs: tuple[Variable, ...]
    outputs: tuple[Variable, ...]
    relation: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What a file asks: is there an assignment that meets all rows of `common` and all rows of one
    of `branches` (disjunctive normal form)?"""

    version: str
    networks: tuple[Declared, ...]
    common: tuple[Row, ...]
    branches: tuple[tuple[Row, ...], ...]

    @property
    def variables(self) -> tuple[Variable, ...]:
        """All tensors in the order of their entries: network by network, inputs first."""
        return tuple(v for net in self.networks for v in (*net.inputs, *net.outputs))

    @property
    def flat(self) -> bool:
        """Whether this is 1.0, with one network and vectors."""
        return self.version.startswith("1.")

    @property
    def size(self) -> int:
        """Number of all entries."""
        return sum(variable.size for variable in self.variables)

    def entry(self, number: int) -> str:
        """How the file calls an entry: X_3, X[0,3]."""
        for variable in self.variables:
            at = number - variable.first
            if 0 <= at < variable.size:
                return entry_name(variable, at, flat=self.flat)
        raise IndexError(number)


def entry_name(variable: Variable, at: int, *, flat: bool) -> str:
    """The name of entry `at` (row-major) of a tensor; flat: as in 1.0."""
    if flat:
        return f"{variable.name}_{at}"
    place = []
    for length in reversed(variable.shape):
        at, rest = divmod(at, length)
        place.append(rest)
    return f"{variable.name}[{','.join(map(str, reversed(place)))}]" if place else variable.name
