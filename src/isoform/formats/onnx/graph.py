# SPDX-License-Identifier: Apache-2.0
"""An ONNX graph while it is written: nodes, initializers, names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from isoform.errors import Refused, TooLarge
from isoform.network.linear_map import Constant
from isoform.network.network import Shape
from isoform.numerics.exact import Exact


@dataclass(frozen=True, slots=True)
class Held:
    """A tensor of the graph: its name and its shape behind the batch axis.

    truth: the boolean tensor that it was cast from, if any.
    """

    name: str
    shape: Shape
    truth: str | None = None

    @property
    def size(self) -> int:
        return math.prod(self.shape)


class Graph:
    """Collects ONNX nodes and initializers; every tensor carries the batch axis in front."""

    def __init__(self, dtype: np.dtype, *, opset: int, limit_bytes: int, names: Sequence[str]):
        self.dtype = dtype
        self.opset = opset
        self.limit_bytes = limit_bytes
        self.taken = set(names)
        self.nodes: list[Any] = []
        self.initializers: dict[str, np.ndarray] = {}
        self.bytes = 0
        self.layer = 0
        self.shared: dict[tuple[int, Shape], tuple[Any, str]] = {}
        self.anchor: Held | None = None

    @property
    def scope(self) -> str:
        """Prefix of the names of the present layer."""
        return f"layer{self.layer}"

    def free(self, name: str) -> str:
        """The name, with a number behind it where it is taken."""
        candidate, number = name, 1
        while candidate in self.taken:
            candidate, number = f"{name}_{number}", number + 1
        self.taken.add(candidate)
        return candidate

    def op(
        self, kind: str, inputs: Sequence[str], attributes: dict[str, Any] | None = None,
        scope: str | None = None,
    ) -> str:
        """Append a node with one output; returns the name of that output."""
        from onnx import helper

        name = self.free(f"{self.scope if scope is None else scope}/{kind}")
        output = self.free(f"{name}_output")
        self.nodes.append(
            helper.make_node(kind, list(inputs), [output], name=name, **(attributes or {}))
        )
        return output

    def reserve(self, count: int, what: str, itemsize: int | None = None) -> None:
        """Account for `count` numbers before they are made; TooLarge beyond the limit."""
        self.bytes += count * (itemsize or self.dtype.itemsize)
        if self.bytes > self.limit_bytes:
            raise TooLarge(
                f"the file would hold at least {self.bytes:,} bytes of constants where the limit "
                f"is {self.limit_bytes:,}; {what} ({count:,} numbers) goes beyond it; "
                "raise the limit, or write the native .npz, which keeps sparse matrices sparse"
            )

    def constant(self, name: str, value: Constant, shape: Shape | None = None) -> str:
        """An initializer with the floats of a constant; one for each array and shape."""
        wanted = tuple(value.shape) if shape is None else shape
        key = (id(value), wanted)
        if key in self.shared:
            return self.shared[key][1]
        self.reserve(math.prod(wanted), name)
        array = self.floats(name, value).reshape(wanted)
        made = self.initializer(name, array)
        self.shared[key] = (value, made)  # the value is held, so that its id stays its own
        return made

    def floats(self, name: str, value: Constant) -> np.ndarray:
        """The constant as floats of the graph's dtype; Refused where it does not fit."""
        return as_floats(f"{self.scope}.{name}", value, self.dtype)

    def initializer(self, name: str, array: np.ndarray) -> str:
        """An initializer with exactly this array."""
        made = self.free(f"{self.scope}.{name}")
        self.initializers[made] = np.ascontiguousarray(array)
        return made

    def integers(self, name: str, values: Sequence[int] | np.ndarray) -> str:
        listed = np.asarray(values, dtype=np.int64)
        self.reserve(listed.size, name, itemsize=8)
        return self.initializer(name, listed)

    def number(self, name: str, value: float) -> str:
        """A scalar initializer of the graph's dtype; Refused where the value does not fit."""
        return self.initializer(name, self.floats(name, np.array(value)))

    def shaped(self, held: Held, shape: Shape, scope: str | None = None) -> Held:
        """The same entries, row-major, in another shape."""
        if held.shape == shape:
            return held
        if len(shape) == 1:
            return Held(self.op("Flatten", [held.name], {"axis": 1}, scope), shape)
        target = self.integers("shape", [0, *shape])  # 0 copies the batch axis, whatever it is
        return Held(self.op("Reshape", [held.name, target], None, scope), shape)

    def flat(self, held: Held) -> Held:
        return self.shaped(held, (held.size,))

    def constant_value(self, bias: Constant, shape: Shape) -> Held:
        """A constant as a tensor with the batch axis: zero times an input, plus the constant."""
        if self.anchor is None:
            raise Refused("a network without inputs has no batch axis, so no ONNX file")
        first = self.op("Gather", [self.flat(self.anchor).name, self.integers("first", [0])],
                        {"axis": 1})
        zeros = self.op("Mul", [first, self.number("zero", 0.0)])
        size = math.prod(shape)
        value = self.op("Add", [zeros, self.constant("value", bias, (size,))])
        return self.shaped(Held(value, (size,)), shape)


def as_floats(name: str, constant: Constant, dtype: np.dtype) -> np.ndarray:
    """The constant as floats of `dtype`; Refused unless that changes no number."""
    if isinstance(constant, Exact):
        fits = constant.is_representable(dtype)
        floats = constant.to_float(dtype) if fits else np.zeros(0)
    else:
        with np.errstate(over="ignore", under="ignore"):
            floats = constant.astype(dtype)
        fits = bool(np.array_equal(floats.astype(np.float64), constant.astype(np.float64)))
    if not fits:
        raise Refused(
            f"{name} holds numbers that are no {dtype}; round or split the network first "
            "(network.rounding: rounded, split)"
        )
    return floats


def renamed(nodes: list[Any], names: dict[str, str]) -> None:
    """Rename tensors in place, in all inputs and outputs of the nodes."""
    for node in nodes:
        for row in (node.input, node.output):
            for i, name in enumerate(row):
                row[i] = names.get(name, name)
