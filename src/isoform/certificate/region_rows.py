# SPDX-License-Identifier: Apache-2.0
"""Exact half-spaces on the cells of a splitting tree, and what a token may conclude from them.

A row (b, a_1..a_k) of integers is the half-space {a.u <= b} and, at the same time, the affine form
b - a.u. The pre-activation z of a unit is stored as such a row times a positive number: its own
half-space is z >= 0, that of its negative z <= 0. Floats only propose multipliers; every conclusion
is an inequality of integers (Farkas: a non-negative combination of rows that hold, holds).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from isoform.certificate.region_farkas import (
    GRID,
    beyond,
    implied,
    nearest,
    no_interior,
    on_box,
    scaled_floats,
    scaled_whole,
    solved,
    tightened,
)
from isoform.network.charts import Chart
from isoform.network.unit_layers import UnitLayers
from isoform.numerics.exact import as_array, integer_product, integers

BITS = 64  # to which proposed multipliers are rounded


@dataclass(frozen=True, slots=True, eq=False)
class LayerWeights:
    """Weights (n, 1 + k + units of the layers `sources`) of a layer as integers; scales: what turns
    the integer rows of each source into the common denominator; unit: that denominator."""

    weights: np.ndarray
    sources: tuple[int, ...]
    scales: tuple[int, ...]
    unit: int
    step: bool


def layer_weights(layers: UnitLayers) -> list[LayerWeights]:
    """The layers with integer weights, over the columns that they use."""
    first = 1 + layers.dimension
    found: list[LayerWeights] = []
    denominators: list[int] = []
    for layer in layers.layers:
        used = np.unique(layer.rows.columns[layer.rows.columns >= first] - first)
        homes = np.searchsorted(layers.starts, used, side="right") - 1
        sources = tuple(int(m) for m in np.unique(homes))
        unit = math.lcm(1, *(denominators[m] for m in sources))
        blocks = [np.arange(first)]
        blocks += [np.arange(layers.starts[m], layers.starts[m + 1]) + first for m in sources]
        weights = layer.rows.dense().numerator[:, np.concatenate(blocks)]
        scales = tuple(unit // denominators[m] for m in sources)
        found.append(LayerWeights(weights, sources, scales, unit, layer.step))
        denominators.append(unit * layer.rows.denominator)
    return found


@dataclass(slots=True)
class Asked:
    """What the tokens of a window ask for; numbers of forms, rows and boxes are those of `Cells`.

    prefixes: per layer (places of the earlier layers' first forms, signs so far). forms: how many
    there are with them. walls: (form, sign). boxes: (box before, row), or (box before, ~bound).
    bounds: (coordinate, sign, rows). The others are flat: by_box (form, box, sign, token); by_basis
    (form, sign, token), its rows aside; follows (form, sign, form, sign, token); empties: token,
    rows. path_lengths, path_rows: for every leaf the rows that its point must satisfy strictly.
    """

    forms: int
    prefixes: list[list[tuple[tuple[int, ...], bytes]]]
    walls: list[tuple[int, int]] = field(default_factory=list)
    boxes: list[tuple[int, int]] = field(default_factory=list)
    bounds: list[tuple[int, int, list[int]]] = field(default_factory=list)
    by_box: list[int] = field(default_factory=list)
    by_basis: list[int] = field(default_factory=list)
    basis_rows: list[int] = field(default_factory=list)
    follows: list[int] = field(default_factory=list)
    empties: list[tuple[int, list[int]]] = field(default_factory=list)
    path_rows: list[int] = field(default_factory=list)
    path_lengths: list[int] = field(default_factory=list)


Sides = tuple[list[int], list[int]]  # lower and upper ends of a box, on the grid


class Cells:
    """Exact forms, rows and boxes of the open cells of a chart."""

    def __init__(self, chart: Chart):
        A, b = chart.rows
        self.k = chart.dimension
        self.layers = chart.layers
        self.weights = layer_weights(chart.layers)
        both = np.concatenate((b.numerator[:, None] * A.denominator, A.numerator * b.denominator),
                              axis=1)
        self.faces = np.array([row // math.gcd(*row) if any(row) else row for row in both],
                              dtype=object).reshape(both.shape)
        self.proper = np.asarray((self.faces[:, 1:] != 0).any(axis=1), dtype=bool)
        low = as_array((chart.low.numerator << GRID) // chart.low.denominator)
        high = as_array(-((-chart.high.numerator << GRID) // chart.high.denominator))
        self.low, self.high = low, high
        self.start()

    def start(self) -> None:
        """The chart alone: no forms, its faces, its box."""
        self.forms = np.zeros((0, 1 + self.k), dtype=object)
        self.rows = self.faces
        self.near, self.exponents = scaled_floats(self.faces)
        self.boxes: list[Sides] = [(self.low.tolist(), self.high.tolist())]

    def asked(self) -> Asked:
        return Asked(len(self.forms), [[] for _ in self.weights])

    def settle(self, asked: Asked, points: np.ndarray, open_boxes: list[int]) -> int | None:
        """Compute what was asked for and test every conclusion; points: (leaves, 1 + k) integers
        (denominator, -numerators). The first token (or ~leaf) that proves nothing, None if all
        prove what they say."""
        self.add_forms(asked)
        self.add_rows(asked)
        self.add_boxes(asked, {*open_boxes, *asked.by_box[1::4]})
        failed = [self.by_box(asked), self.by_basis(asked), self.follows(asked),
                  self.empties(asked), self.outside(asked, points)]
        found = [token for token in failed if token is not None]
        return min(found, default=None, key=lambda token: (token < 0, abs(token)))

    def keep(self, forms: list[int], rows: list[int], boxes: list[int]) -> None:
        """Forget all but these, which are numbered anew in this order (faces stay)."""
        kept = list(range(len(self.faces))) + rows
        self.forms = self.forms[forms]
        self.rows, self.near = self.rows[kept], self.near[kept]
        self.exponents = self.exponents[kept]
        self.boxes = [self.boxes[box] for box in boxes]

    # --- tables ----------------------------------------------------------------------------------

    def add_forms(self, asked: Asked) -> None:
        """The forms of every layer that a cell of the window enters, a layer at a time."""
        k, starts = self.k, self.layers.starts
        forms = np.zeros((asked.forms, 1 + k), dtype=object)
        forms[: len(self.forms)] = self.forms
        for layer, prefixes in enumerate(asked.prefixes):
            if not prefixes:
                continue
            part, count = self.weights[layer], len(prefixes)
            places = np.array([slots for slots, _ in prefixes], dtype=np.int64)
            signs = np.frombuffer(b"".join(s for _, s in prefixes), dtype=np.uint8)
            active = (signs.reshape(count, starts[layer]) & 1).astype(bool)
            inputs = np.diag(integers([part.unit] + [-part.unit] * k, (1 + k,)))
            blocks = [np.broadcast_to(inputs, (count, 1 + k, 1 + k))]
            for m, scale in zip(part.sources, part.scales, strict=True):
                size = starts[m + 1] - starts[m]
                before = forms[places[:, m, None] + np.arange(size)]
                on = active[:, starts[m] : starts[m + 1], None]
                if self.weights[m].step:  # 1 where z >= 0, so also where z vanishes
                    on = on | ~np.asarray((before != 0).any(axis=2), dtype=bool)[:, :, None]
                    unit = integers([part.unit] + [0] * k, (1 + k,))
                    blocks.append(np.where(on, unit, 0))
                else:
                    blocks.append(np.where(on, before, 0) * scale)
            values = np.concatenate(blocks, axis=1).transpose(1, 0, 2)
            made = integer_product(part.weights, values.reshape(len(values), -1))
            made = made.reshape(len(made), count, 1 + k).transpose(1, 0, 2)
            slots = places[:, layer, None] + np.arange(made.shape[1])
            forms[slots] = made
        self.forms = forms

    def add_rows(self, asked: Asked) -> None:
        """The half-spaces of the units that split cells."""
        if not asked.walls:
            return
        made = self.signed(np.array(asked.walls, dtype=np.int64))
        near, exponents = scaled_floats(made)
        self.rows = np.concatenate((self.rows, made))
        self.near = np.concatenate((self.near, near))
        self.exponents = np.concatenate((self.exponents, exponents))

    def signed(self, which: np.ndarray) -> np.ndarray:
        """Forms (T, 1 + k) times their signs: rows of {sign z >= 0}; which: (T, 2)."""
        rows = self.forms[which[:, 0]]
        minus = which[:, 1] < 0
        rows[minus] = np.negative(rows[minus])
        return rows

    def add_boxes(self, asked: Asked, wanted: set[int]) -> None:
        """Boxes in the order in which they were asked for, each from one before; only those wanted
        and what they come from (many a split is followed by no question to its boxes)."""
        count = len(self.boxes)
        for number in range(count + len(asked.boxes) - 1, count - 1, -1):
            if number in wanted:
                wanted.add(asked.boxes[number - count][0])
        totals, shifts = self.bounds(asked)
        for number, (before, by) in enumerate(asked.boxes, count):
            if number not in wanted:
                self.boxes.append(([], []))
                continue
            low, high = self.boxes[before]
            if by >= 0:
                self.boxes.append(tightened(low, high, self.rows[by].tolist()))
                continue
            i, sign, _ = asked.bounds[~by]
            most = beyond(totals[~by], low, high, shifts[~by])
            low, high = low.copy(), high.copy()
            if sign > 0:
                high[i] = min(high[i], most)
            else:
                low[i] = max(low[i], -most)
            self.boxes.append((low, high))

    def bounds(self, asked: Asked) -> tuple[list[list[int]], list[int]]:
        """For every bound of a coordinate the row (b, r) and S with 2^S (+-u_i) <= b + r.u."""
        if not asked.bounds:
            return [], []
        target = np.zeros((len(asked.bounds), 1 + self.k), dtype=object)
        for n, (i, sign, _) in enumerate(asked.bounds):
            target[n, 1 + i] = sign
        rest, shifts = self.remainders(np.array([rows for *_, rows in asked.bounds]), target)
        rest[:, 0] = np.negative(rest[:, 0])
        return rest.tolist(), shifts.tolist()

    # --- conclusions -----------------------------------------------------------------------------

    def remainders(
        self, which: np.ndarray, target: np.ndarray, fewer: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """2^S target - sum y_i rows_i with proposed integers y >= 0, and S (T,), for rows `which`
        (T, k) and targets (T, 1 + k). fewer: with some of the rows, where all are nearly dependent
        and their multipliers, though they exist, are not to be had in floats."""
        near, exponent = scaled_floats(target)
        propose = nearest if fewer else solved
        y = propose(self.near[which][:, :, 1:].transpose(0, 2, 1), near[:, 1:])
        apart = exponent[:, None] - self.exponents[which]
        shift = BITS + np.maximum(0, (-apart).max(axis=1))
        weights = scaled_whole(np.maximum(y, 0), shift[:, None] + apart)
        total = (self.rows[which] * weights[:, :, None]).sum(axis=1)
        return (target << shift.astype(object)[:, None]) - total, shift.astype(object)

    def by_box(self, asked: Asked) -> int | None:
        """Signs by the box around the node."""
        if not asked.by_box:
            return None
        form, box, sign, token = np.array(asked.by_box, dtype=np.int64).reshape(-1, 4).T
        used, place = np.unique(box, return_inverse=True)
        sides = [self.boxes[number] for number in used.tolist()]
        low = integers((n for side, _ in sides for n in side), (len(used), self.k))[place]
        high = integers((n for _, side in sides for n in side), (len(used), self.k))[place]
        rows = self.signed(np.stack((form, sign), axis=1))
        return first_failure(on_box(rows, low, high) & self.not_zero(form, sign), token)

    def by_basis(self, asked: Asked) -> int | None:
        """Signs by multipliers of k rows: proposed ones where they suffice, else the exact ones."""
        if not asked.by_basis:
            return None
        form, sign, token = np.array(asked.by_basis, dtype=np.int64).reshape(-1, 3).T
        target = self.signed(np.stack((form, sign), axis=1))
        which = np.array(asked.basis_rows, dtype=np.int64).reshape(-1, self.k)
        holds = self.implied_by(which, target)
        return first_failure(holds & self.not_zero(form, sign), token)

    def implied_by(self, which: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Which targets (T, 1 + k) are rows >= 0 where the rows `which` (T, k) are."""
        rest, _ = self.remainders(which, target)
        holds = on_box(rest, self.low, self.high)
        for t in np.flatnonzero(~holds).tolist():
            rest, _ = self.remainders(which[t : t + 1], target[t : t + 1], fewer=True)
            holds[t] = (
                bool(on_box(rest, self.low, self.high)[0])
                or implied(self.rows[which[t]], target[t])
            )
        return holds

    def not_zero(self, form: np.ndarray, sign: np.ndarray) -> np.ndarray:
        """A unit called active does not vanish on the cell."""
        return np.asarray((self.forms[form] != 0).any(axis=1), dtype=bool) | (sign < 0)

    def follows(self, asked: Asked) -> int | None:
        """z_u = c z_v with c != 0: the sign is that of v times that of c."""
        if not asked.follows:
            return None
        columns = np.array(asked.follows, dtype=np.int64).reshape(-1, 5).T
        form, sign, leader, leading, token = columns
        u, v = self.forms[form], self.forms[leader]
        at = np.argmax(np.asarray(v != 0, dtype=bool), axis=1)
        every = np.arange(len(at))
        p, q = u[every, at], v[every, at]
        parallel = np.asarray((u * q[:, None] == v * p[:, None]).all(axis=1), dtype=bool)
        agree = np.asarray(p * q * (sign * leading).astype(object) > 0, dtype=bool)
        return first_failure(parallel & agree, token)

    def empties(self, asked: Asked) -> int | None:
        return next((t for t, rows in asked.empties if not no_interior(self.rows[rows])), None)

    def outside(self, asked: Asked, points: np.ndarray) -> int | None:
        """~n of a leaf n whose point is not strictly inside its cell."""
        if not len(points):
            return None
        gaps = integer_product(points, self.faces.T)
        inside = np.asarray((gaps >= self.proper.astype(int)).all(axis=1), dtype=bool)
        leaf = np.repeat(np.arange(len(points)), asked.path_lengths)
        rows = self.rows[np.array(asked.path_rows, dtype=np.int64)]
        beyond_wall = np.asarray((rows * points[leaf]).sum(axis=1) <= 0, dtype=bool)
        inside[leaf[beyond_wall]] = False
        return first_failure(inside, ~np.arange(len(points)))


def first_failure(holds: np.ndarray, token: np.ndarray) -> int | None:
    failed = np.flatnonzero(~holds)
    return int(token[failed[0]]) if len(failed) else None
