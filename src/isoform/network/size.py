# SPDX-License-Identifier: Apache-2.0
"""Sizes, counted on networks and predicted for converters."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from isoform.network.linear_map import Constant, Conv, count_nonzero
from isoform.network.network import Network
from isoform.network.operators import BatchNormalization, Concat, Linear, Scan, Select
from isoform.numerics.exact import Exact


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """depth: hidden layers on the longest path; width: units of the widest hidden layer (units at
    one depth); units: hidden units; parameters: stored weights and biases; nonzeros: those that
    are not zero; flops: multiply-adds twice, at batch 1; bytes: of the stored constants."""

    depth: int
    width: int
    units: int
    parameters: int
    nonzeros: int
    flops: int
    bytes: int

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Exactly:
    """The size will be this."""

    size: Size


@dataclass(frozen=True, slots=True)
class AtMost:
    """No figure of the size will be larger."""

    size: Size


@dataclass(frozen=True, slots=True)
class Estimate:
    """An estimate with its method and an interval of units."""

    size: Size
    method: str
    interval: tuple[int, int]


Prediction = Exactly | AtMost | Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """Largest admissible result; None is no limit. The default is 512 MB of constants."""

    units: int | None = None
    parameters: int | None = None
    nonzeros: int | None = None
    bytes: int | None = 512_000_000

    def broken_by(self, size: Size) -> str | None:
        """The first figure beyond the limit, in words; None if all fit."""
        for name in ("units", "parameters", "nonzeros", "bytes"):
            bound = getattr(self, name)
            if bound is not None and getattr(size, name) > bound:
                return f"{getattr(size, name):,} {name} where the limit is {bound:,}"
        return None


def stored_bytes(constant: Constant) -> int:
    """Bytes of a constant as written: floats by dtype, exact numbers as float64."""
    if isinstance(constant, Exact):
        return constant.size * 8
    return constant.nbytes


def constants_of(operator: Any) -> Iterable[Constant]:
    """All weight arrays that an operator stores (index arrays left out)."""
    if isinstance(operator, Linear):
        for part in operator.maps:
            for name, constant in part.constants.items():
                if name not in ("starts", "columns", "indices"):
                    yield constant
        if operator.bias is not None:
            yield operator.bias
        return
    if isinstance(operator, Scan):
        for node in operator.cell.nodes:
            yield from constants_of(node.operator)
        return
    for name in ("scale", "shift", "mean", "variance", "slope"):
        found = getattr(operator, name, None)
        if isinstance(found, np.ndarray | Exact):
            yield found


def multiply_adds(operator: Any) -> int:
    """Floating-point operations of one evaluation of a linear operator."""
    if not isinstance(operator, Linear):
        return 0
    count = 0
    for part in operator.maps:
        uses = part.outputs // part.channels_out if isinstance(part, Conv) else 1
        count += 2 * part.parameters * uses
    return count


def measure(network: Network) -> Size:
    """The size of a network. A shared array (the same object) is stored once."""
    depth = {value: 0 for value in range(len(network.inputs))}
    units_at: dict[int, int] = {}
    stored: dict[int, Constant] = {}
    flops = 0
    for value, node in network.items():
        level = max((depth[operand] for operand in node.operands), default=0)
        if is_unit(node.operator):
            level += 1
            entries = int(np.prod(node.shape, dtype=np.int64))
            units_at[level] = units_at.get(level, 0) + entries
        depth[value] = level
        flops += multiply_adds(node.operator)
        for constant in constants_of(node.operator):
            stored[id(constant)] = constant
    return Size(
        depth=max((depth[value] for value in network.outputs), default=0),
        width=max(units_at.values(), default=0),
        units=sum(units_at.values()),
        parameters=sum(constant.size for constant in stored.values()),
        nonzeros=sum(count_nonzero(constant) for constant in stored.values()),
        flops=flops,
        bytes=sum(stored_bytes(constant) for constant in stored.values()),
    )


def is_unit(operator: Any) -> bool:
    """Whether an operator is non-linear: its results are hidden units."""
    return not isinstance(operator, Linear | Concat | Select | BatchNormalization)

