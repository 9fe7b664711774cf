# SPDX-License-Identifier: Apache-2.0
"""Puts surface networks together from shaped values: the ground that every reader stands on.

A value is `Known` (numpy arrays; what hangs on them alone is folded with numpy's semantics) or
`Computed`: entries of a node of the network, picked by an index array. Reshapes, transpositions,
slices and the like only change that index array; a node is added when an operation needs it.

Where the leading axis is the batch it is dropped: a computed value is then `batched`, its `shape`
is that of one row, and axes are counted as the file counts them (`rank` includes the batch).
Whatever mixes rows raises NotRowByRow. The functions on values: assemble_axes.py and
assemble_joins.py (moving entries), assemble_pointwise.py and assemble_order.py (entry by entry),
assemble_matrix.py, assemble_windows.py (convolutions, pools), assemble_groups.py (along axes).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from isoform.errors import FormatError, TooLarge
from isoform.network.constants import broadcast, is_one, is_zero, real_array
from isoform.network.linear_map import Constant, Gather, LinearMap
from isoform.network.lowering import is_identity
from isoform.network.network import Builder, Network, Shape
from isoform.network.operators import Linear, Operator, Select

ENTRIES_LIMIT = 1 << 26  # entries of one value; beyond it, index arrays take more than half a GB
ROWS = 8  # a batch size, beside 1, at which shapes that depend on the batch are worked out


class NotRowByRow(Exception):
    """An operation mixes the rows of the batch; the message says how. Readers catch it."""


class NotTaken(Exception):
    """An operation has no meaning in a network, and why. Readers catch it and list them all."""


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """A constant. Where it depends on the size of a symbolic batch, `array` is its value for one
    row and `other` that for `ROWS` rows; else `other` is None."""

    array: np.ndarray
    other: np.ndarray | None = None

    @property
    def shape(self) -> Shape:
        return self.array.shape

    @property
    def rank(self) -> int:
        return self.array.ndim

    @property
    def dtype(self) -> np.dtype:
        return self.array.dtype


@dataclass(frozen=True, slots=True, eq=False)
class Computed:
    """Entries `index` of the flattened value `source` (-1: zero), in the shape of `index`."""

    source: int
    index: np.ndarray
    batched: bool
    dtype: np.dtype

    @property
    def shape(self) -> Shape:
        return self.index.shape

    @property
    def size(self) -> int:
        return self.index.size

    @property
    def rank(self) -> int:
        """Number of axes in the file, the batch included."""
        return self.index.ndim + self.batched


Value = Known | Computed


def check_entries(shape: Sequence[int], what: str) -> None:
    """TooLarge where a value of this shape would not fit, before anything is allocated."""
    if any(n < 0 for n in shape):
        raise FormatError(f"{what} has the negative shape {tuple(shape)}")
    if math.prod(int(n) for n in shape) > ENTRIES_LIMIT:
        raise TooLarge(f"{what} of shape {tuple(shape)} has more than {ENTRIES_LIMIT:,} entries")


def fold(function: Callable[..., Any], *operands: Known) -> Known:
    """A numpy function of constants, worked out at both batch sizes where they differ."""
    with np.errstate(all="ignore"):
        first = np.asarray(function(*(operand.array for operand in operands)))
        if all(operand.other is None for operand in operands):
            return Known(first)
        second = np.asarray(function(*(
            operand.array if operand.other is None else operand.other for operand in operands
        )))
    same = first.shape == second.shape and np.array_equal(first, second)
    return Known(first, None if same else second)


class Assembler:
    """Collects the nodes of one surface network.

    inputs: shapes, without the batch where it is dropped. batched: whether it is. rows: its size
    where it is fixed. notes: conventions that gave the file its meaning, in plain words.
    """

    def __init__(self, inputs: Sequence[Shape], *, batched: bool, rows: int | None = None):
        for shape in inputs:
            check_entries(shape, "an input")
        self.builder = Builder(*inputs)
        self.batched = batched
        self.rows = rows
        self.notes: list[str] = []
        self.selected: dict[tuple[int, Shape, bytes], int] = {}  # nodes that pick, for reuse

    def note(self, convention: str) -> None:
        if convention not in self.notes:
            self.notes.append(convention)

    # --- values and nodes -----------------------------------------------------------------------

    def wrap(self, source: int, dtype: Any, batched: bool | None = None) -> Computed:
        """The whole of a node's value."""
        shape = self.builder.shape_of(source)
        index = np.arange(math.prod(shape), dtype=np.int64).reshape(shape)
        return Computed(source, index, self.batched if batched is None else batched,
                        np.dtype(dtype))

    def place(
        self, operator: Operator, operands: Sequence[int], shape: Shape, like: Computed
    ) -> Computed:
        """Append a node; `like` gives dtype and batch of its value."""
        check_entries(shape, "a computed value")
        return self.wrap(self.builder.add(operator, operands, shape), like.dtype, like.batched)

    def order(self, value: Computed) -> int:
        """A node whose flattened value is `value`; its own shape may be another."""
        if is_identity(value.index.reshape(-1), self.builder.size_of(value.source)):
            return value.source
        return self.picked(value)

    def shaped(self, value: Computed) -> int:
        """A node whose value is `value`, shape included."""
        source = self.order(value)
        if self.builder.shape_of(source) == value.shape:
            return source
        return self.picked(value)

    def picked(self, value: Computed) -> int:
        """A node that picks the entries; the same entries are picked by one node."""
        key = (value.source, value.shape, value.index.tobytes())
        if key not in self.selected:
            self.selected[key] = self.picking(value)
        return self.selected[key]

    def picking(self, value: Computed) -> int:
        indices = value.index.reshape(-1)
        if indices.size == 0 or indices.min() >= 0:
            return self.builder.add(Select(indices), (value.source,), value.shape)
        size = self.builder.size_of(value.source)
        part = Gather(indices=indices, scale=None, inputs=size)
        return self.builder.add(Linear((part,), None), (value.source,), value.shape)

    def constant(self, numbers: Constant, shape: Shape) -> int:
        """A node that returns these numbers whatever the inputs."""
        check_entries(shape, "a constant")
        return self.builder.add(Linear((), broadcast(numbers, shape).reshape(-1)), (), shape)

    def linear(
        self, parts: Sequence[tuple[LinearMap, int]], bias: Constant | None, shape: Shape,
        like: Computed,
    ) -> Computed:
        """sum of maps of nodes, plus a flat bias; no bias is added where it is zero."""
        if bias is not None and is_zero(bias):
            bias = None
        maps = tuple(part for part, _ in parts)
        return self.place(Linear(maps, bias), [node for _, node in parts], shape, like)

    # --- batch ----------------------------------------------------------------------------------

    def row_of(self, known: Known, what: str) -> np.ndarray:
        """One row of a constant with a leading batch axis whose rows are all the same."""
        rows = known.array if known.other is None else known.other
        count = self.rows if known.other is None else ROWS
        if rows.ndim == 0 or rows.shape[0] != count or not np.array_equal(
            rows, np.broadcast_to(rows[:1], rows.shape), equal_nan=rows.dtype.kind == "f"
        ):
            raise NotRowByRow(f"{what} of shape {known.shape} has no equal rows along the batch")
        return rows[0]

    def plain(self, known: Known, what: str) -> np.ndarray:
        """The array of a constant that may not depend on the batch."""
        if known.other is not None:
            raise NotRowByRow(f"{what} depends on the number of rows")
        return known.array

    def spread_array(self, known: Known, rank: int, batched: bool, what: str) -> np.ndarray:
        """A constant as it meets a computed operand of `rank` axes: without the batch axis."""
        if not batched:
            return self.plain(known, what)
        if known.rank > rank:
            raise NotRowByRow(f"{what} of shape {known.shape} has more axes than the other operand")
        if known.rank < rank:
            return self.plain(known, what)
        if known.other is None and known.shape[0] == 1:
            return known.array[0]
        return self.row_of(known, what)

    def numbers(self, known: Known, value: Computed, what: str = "a constant") -> Constant:
        """Exact numbers of a constant operand, to be broadcast with one row of `value`."""
        return real_array(self.spread_array(known, value.rank, value.batched, what), what)

    def meet(self, left: Computed, right: Computed) -> tuple[Computed, Computed]:
        """Both operands of an entrywise operation, broadcast to one shape."""
        if left.batched and right.batched and left.rank != right.rank:
            raise NotRowByRow(f"operands of {left.rank} and {right.rank} axes share no batch axis")
        if left.batched != right.batched:
            raise NotRowByRow("one operand has a batch axis and the other has none")
        shape = joint_shape(left.shape, right.shape)
        return stretched(left, shape), stretched(right, shape)

    # --- entrywise affine maps ------------------------------------------------------------------

    def affine(
        self, value: Computed, scale: Constant | None, bias: Constant | None
    ) -> Computed:
        """scale * value + bias; both broadcast with the value (which may grow)."""
        shape = joint_shape(value.shape, *(c.shape for c in (scale, bias) if c is not None))
        value = stretched(value, shape)
        scale = None if scale is None or is_one(scale) else broadcast(scale, shape).reshape(-1)
        bias = None if bias is None or is_zero(bias) else broadcast(bias, shape).reshape(-1)
        if scale is None and bias is None:
            return value
        size = self.builder.size_of(value.source)
        flat = value.index.reshape(-1)
        if not is_permutation(flat, size):
            part = Gather(indices=flat, scale=scale, inputs=size)
            return self.linear([(part, value.source)], bias, shape, value)
        if is_identity(flat, size):
            own, index = shape, value.index
        else:  # computed in the order of the source, so that transpositions meet and cancel
            own, index = self.builder.shape_of(value.source), value.index
            back = np.empty_like(flat)
            back[flat] = np.arange(size)
            scale, bias = (None if c is None else c[back] for c in (scale, bias))
        made = self.affine_in_order(value.source, scale, bias, own)
        return Computed(made, index, value.batched, value.dtype)

    def affine_in_order(
        self, source: int, scale: Constant | None, bias: Constant | None, shape: Shape
    ) -> int:
        """scale * source + bias; a bias goes into a linear node that has none yet."""
        node = None
        if source >= len(self.builder.inputs):
            node = self.builder.nodes[source - len(self.builder.inputs)]
        if scale is None and node is not None and isinstance(node.operator, Linear) \
                and node.operator.maps and node.operator.bias is None:
            return self.builder.add(Linear(node.operator.maps, bias), node.operands, shape)
        size = self.builder.size_of(source)
        part = Gather(indices=np.arange(size, dtype=np.int64), scale=scale, inputs=size)
        return self.builder.add(Linear((part,), bias), (source,), shape)

    def entrywise(self, operator: Operator, value: Computed) -> Computed:
        """An operator that acts on every entry alike, in the order of the source where it can."""
        shape = self.builder.shape_of(value.source)
        size = self.builder.size_of(value.source)
        flat = value.index.reshape(-1)
        if is_identity(flat, size):
            made = self.builder.add(operator, (value.source,), value.shape)
        elif covers(flat, size):
            made = self.builder.add(operator, (value.source,), shape)
        else:
            return self.place(operator, (self.picked(value),), value.shape, value)
        return Computed(made, value.index, value.batched, value.dtype)

    def finish(self, outputs: Sequence[Value]) -> Network:
        """The network that returns these values."""
        return self.builder.build(*(self.output(value) for value in outputs))

    def output(self, value: Value) -> int:
        if isinstance(value, Computed):
            if value.batched != self.batched:
                raise NotRowByRow("an output has no batch axis")
            return self.shaped(value)
        array = self.row_of(value, "an output") if self.batched else value.array
        return self.constant(real_array(array, "an output"), array.shape)


def joint_shape(*shapes: Shape) -> Shape:
    """The shape that the operands broadcast to; FormatError where there is none."""
    try:
        shape = np.broadcast_shapes(*shapes)
    except ValueError:
        listed = " and ".join(map(str, shapes))
        raise FormatError(f"shapes {listed} do not broadcast") from None
    check_entries(shape, "a broadcast value")
    return shape


def stretched(value: Computed, shape: Shape) -> Computed:
    """The value broadcast to a shape."""
    if value.shape == shape:
        return value
    check_entries(shape, "a broadcast value")
    index = np.asarray(np.broadcast_to(value.index, shape), order="C")
    return Computed(value.source, index, value.batched, value.dtype)


def is_permutation(indices: np.ndarray, size: int) -> bool:
    return len(indices) == size and covers(indices, size)


def covers(indices: np.ndarray, size: int) -> bool:
    """Whether every entry of the source is picked, and nothing else."""
    if len(indices) < size or (len(indices) and indices.min() < 0):
        return False
    return bool(np.all(np.bincount(indices, minlength=size) > 0))


def as_typed(value: Computed, dtype: Any) -> Computed:
    return Computed(value.source, value.index, value.batched, np.dtype(dtype))


