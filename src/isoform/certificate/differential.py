# SPDX-License-Identifier: Apache-2.0
"""Backward bounds of two networks and their difference, over batches of boxes.

A linear form p h + q rho + c over the slots of all layers is carried back to the inputs: in each
layer h, h' and rho are replaced by lines over y, y' = y + delta and delta (`relaxation.py`), and
these by rows over earlier layers: y = F (1, x, h), delta = (G - F) (1, x, h) + G rho. At the inputs
delta is 0, and a box gives the largest value by signs. The same passes give the bounds of y and
delta that the lines need, layer by layer. Inputs are coordinates in [-1, 1]^d.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from isoform.certificate.curves import CURVES, STRAIGHT, lines_of
from isoform.certificate.faces import Cuts, Faces, at_ends
from isoform.certificate.phases import Direct, Phased, taken
from isoform.certificate.relaxation import Bounds, Layer, Lines, Ops
from isoform.errors import CertificateRejected
from isoform.network.paired import Paired
from isoform.numerics.sparse import ExactSparse, stack

CHUNK = 1 << 21  # coefficients that are carried back together
Y, Z, DELTA = 0, 1, 2  # whose bounds, and which value a split is about


@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """B boxes. low, high (B, d); bounds (B, N, 3, 2): ends of y, y', delta of every slot, valid on
    the box; signs (B, N, 3): +1 where the value is known to be >= 0 by a split, -1 where <= 0."""

    low: np.ndarray
    high: np.ndarray
    bounds: np.ndarray
    signs: np.ndarray

    def __len__(self) -> int:
        return len(self.low)

    def take(self, index: np.ndarray) -> Boxes:
        return Boxes(self.low[index], self.high[index], self.bounds[index], self.signs[index])


@dataclass(slots=True, eq=False)
class Carried:
    """R rows on their way back: coefficients of h and rho for each layer (None: all zero), of the
    inputs, and the constant. boxes: the box of each row. added (R, N, 3): multiples of y, y' and
    delta of every slot that are added on the way; the constant has to pay for them before.
    low (R, N, 2): slopes in [0, 1] of the lower lines of h and h', in place of what the bounds
    suggest; beside (R, N): how much of rho is taken as h' - h, any multiple; phased: slots that are
    bounded in both phases at once, in place of lines."""

    boxes: np.ndarray
    p: list[np.ndarray | None]
    q: list[np.ndarray | None]
    inputs: np.ndarray
    constant: np.ndarray
    added: np.ndarray | None = None
    low: np.ndarray | None = None
    beside: np.ndarray | None = None
    phased: Phased | None = None


class Differential:
    """The two networks in one arithmetic, ready for passes."""

    def __init__(self, pair: Paired, ops: Ops, faces: Faces | None = None):
        curves = {name for layer in pair.layers for side in layer.curves for name in side}
        unknown = curves - CURVES - {"none"}
        if unknown:
            raise CertificateRejected("tree", f"no bounds of {', '.join(sorted(unknown))}")
        self.pair, self.ops = pair, ops
        self.faces = 0 if faces is None else len(faces)
        self.cuts = Cuts(faces, ops) if faces is not None and self.faces else None
        self.starts, self.d = pair.starts, pair.dimension
        self.count = len(pair.layers)
        self.units = self.starts[-1]
        self.plain = [
            np.array([[name in STRAIGHT for name in side] for side in layer.curves], dtype=bool)
            for layer in pair.layers
        ]
        self.direct: dict[int, Direct] = {}
        self.source_rows, self.gap_rows, self.target_rows = [], [], []
        self.back_source, self.back_both, self.back_target = [], [], []
        for layer in pair.layers:
            width = layer.source.shape[1]
            gap = layer.target - layer.source
            self.source_rows.append(ops.rows(layer.source))
            self.gap_rows.append(ops.rows(gap))
            self.target_rows.append(ops.rows(layer.target))
            self.back_source.append(self.blocks(layer.source, width))
            self.back_both.append(self.blocks(stack([layer.source, gap]), width))
            self.back_target.append(self.blocks(layer.target, width))

    def blocks(self, rows: ExactSparse, width: int) -> list[tuple[int, object]]:
        """Prepared column blocks: (-1: constant and inputs), then every earlier layer that the rows
        read."""
        edges = [(-1, 0, 1 + self.d)] + [
            (j, 1 + self.d + self.starts[j], 1 + self.d + self.starts[j + 1])
            for j in range(self.count) if 1 + self.d + self.starts[j + 1] <= width
        ]
        found = []
        for j, start, end in edges:
            inside = (rows.columns >= start) & (rows.columns < end)
            if j < 0 or inside.any():
                part = ExactSparse.of_triplets(
                    (rows.shape[0], end - start), rows.row_numbers()[inside],
                    rows.columns[inside] - start, rows.data[inside], rows.denominator,
                )
                found.append((j, self.ops.weights(part)))
        return found

    def whole(self, low: np.ndarray, high: np.ndarray) -> Boxes:
        """Boxes of which nothing is known yet."""
        shape = (len(low), self.units, 3)
        bounds = np.empty((*shape, 2), dtype=self.ops.dtype)
        bounds[..., 0], bounds[..., 1] = -self.ops.infinity, self.ops.infinity
        for layer, start in zip(self.pair.layers, self.starts, strict=False):
            end = start + layer.size
            bounds[:, start:end, Y][:, ~layer.has_source] = 0
            bounds[:, start:end, Z][:, ~layer.has_target] = 0
        return Boxes(low, high, bounds, np.zeros(shape, dtype=np.int8))

    def settle(self, boxes: Boxes) -> tuple[Boxes, list[Layer], np.ndarray]:
        """Bounds of all slots, tightened, in what the faces leave of the boxes; the lines; which
        boxes are empty by contradiction."""
        bounds = boxes.bounds.copy()
        layers: list[Layer] = []
        empty = np.zeros(len(boxes), dtype=bool)
        if self.cuts is not None:
            low, high, empty = self.cuts.tightened(boxes.low, boxes.high)
            boxes = replace(boxes, low=low, high=high)
        for k, start in enumerate(self.starts[:-1]):
            end = self.starts[k + 1]
            here = bounds[:, start:end]
            for value in (Y, Z, DELTA):
                sign = boxes.signs[:, start:end, value]
                here[..., value, 0] = np.where(sign > 0, np.maximum(here[..., value, 0], 0),
                                               here[..., value, 0])
                here[..., value, 1] = np.where(sign < 0, np.minimum(here[..., value, 1], 0),
                                               here[..., value, 1])
            self.tighten(k, boxes, here, layers)
            empty |= (here[..., 0] > here[..., 1]).any(axis=(1, 2))
            here[..., 1] = np.maximum(here[..., 1], here[..., 0])
            layers.append(lines_of(self.ops, Bounds(*(
                (here[..., value, 0], here[..., value, 1]) for value in (Y, Z, DELTA)
            )), self.pair.layers[k].curves))
        return replace(boxes, bounds=bounds), layers, empty

    def tighten(self, k: int, boxes: Boxes, here: np.ndarray, layers: list[Layer]) -> None:
        """Passes for the slots of layer k that are not settled: bounds of y, then of delta, then
        what they say of y'. `here` (B, n, 3, 2) is changed in place."""
        layer = self.pair.layers[k]
        shut = (here[..., 0] >= 0) | (here[..., 1] <= 0)
        shut[:, ~self.plain[k].all(axis=0)] = False
        wanted = ~(shut[..., Y] & shut[..., Z])
        for value, has in ((Y, layer.has_source), (DELTA, layer.has_target)):
            box, slot = np.nonzero(wanted & has)
            for sign in (1, -1):
                for piece in self.pieces(k, len(box)):
                    b, i = box[piece], slot[piece]
                    upper = self.concluded(self.row(k, value, b, i, sign, layers), boxes, layers, k)
                    if sign > 0:
                        here[b, i, value, 1] = np.minimum(here[b, i, value, 1], upper)
                    else:
                        here[b, i, value, 0] = np.maximum(here[b, i, value, 0], -upper)
        y, z, delta = here[..., Y, :], here[..., Z, :], here[..., DELTA, :]
        z[..., 0] = np.maximum(z[..., 0], y[..., 0] + delta[..., 0])
        z[..., 1] = np.minimum(z[..., 1], y[..., 1] + delta[..., 1])
        y[..., 0] = np.maximum(y[..., 0], z[..., 0] - delta[..., 1])
        y[..., 1] = np.minimum(y[..., 1], z[..., 1] - delta[..., 0])
        delta[..., 0] = np.maximum(delta[..., 0], z[..., 0] - y[..., 1])
        delta[..., 1] = np.minimum(delta[..., 1], z[..., 1] - y[..., 0])
        self.ops.bounded(here)

    def pieces(self, k: int, rows: int) -> list[slice]:
        own = self.pair.layers[k].size if k < self.count else 0
        width = 1 + self.d + 2 * self.starts[k] + 2 * own
        step = max(1, CHUNK // width)
        return [slice(first, first + step) for first in range(0, rows, step)]

    def row(
        self, k: int, value: int, boxes: np.ndarray, slots: np.ndarray, sign: int,
        layers: Sequence[Layer],
    ) -> Carried:
        """sign * y or sign * delta of slots of layer k, over earlier layers."""
        p = (self.source_rows if value == Y else self.gap_rows)[k][slots] * sign
        q = None if value == Y else self.target_rows[k][slots, 1 + self.d :] * sign
        return self.carried(boxes, p, q, k, layers)

    def carried(
        self, boxes: np.ndarray, p: np.ndarray, q: np.ndarray | None, k: int,
        layers: Sequence[Layer],
    ) -> Carried:
        """Rows p (R, 1 + d + slots), q (R, slots), each entry off by less than a unit."""
        ops, d, edges = self.ops, self.d, self.starts
        constant = p[:, 0] + ops.least() * (2 + d)
        off = np.full(len(boxes), ops.least())
        for layer in layers[:k]:
            constant = ops.kept(constant + ops.slack(off, layer.h_size[boxes]))
            if q is not None:
                constant = ops.kept(constant + ops.slack(off, layer.rho_size[boxes]))
        after = [p[:, 1 + d + edges[j] : 1 + d + edges[j + 1]] for j in range(k)]
        beside = [None if q is None else q[:, edges[j] : edges[j + 1]] for j in range(k)]
        return Carried(boxes, list(after), list(beside), p[:, 1 : 1 + d], constant)

    def concluded(
        self, rows: Carried, boxes: Boxes, layers: Sequence[Layer], k: int
    ) -> np.ndarray:
        """Upper bounds (R,) of rows over layers below k."""
        self.carry(rows, layers, k)
        return self.largest(rows, boxes)

    def carry(self, rows: Carried, layers: Sequence[Layer], k: int) -> None:
        """All the way back to the inputs."""
        for j in range(k - 1, -1, -1):
            p, q, added = rows.p[j], rows.q[j], None
            if rows.added is not None:
                added = rows.added[:, self.starts[j] : self.starts[j + 1]]
            if not any(part is not None and part.any() for part in (p, q, added)):
                continue
            none = np.zeros((len(rows.boxes), self.pair.layers[j].size), dtype=self.ops.dtype)
            p, q = none if p is None else p, none if q is None and added is not None else q
            if rows.phased is not None:
                p, q = self.in_phases(rows, j, p, none if q is None else q)
            alpha, omega = self.through(rows, j, layers[j], p, q)
            if added is not None and omega is not None:
                alpha = self.ops.kept(alpha + added[..., Y] + added[..., Z])
                omega = self.ops.kept(omega + added[..., Z] + added[..., DELTA])
            self.spread(rows, j, alpha, omega, layers)

    def in_phases(
        self, rows: Carried, j: int, p: np.ndarray, q: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients of h and rho that are left to lines; those of slots that are bounded in both
        phases at once have become coefficients of inputs and a constant."""
        assert rows.phased is not None
        at = rows.phased.within(self.starts[j], self.starts[j + 1])
        if len(at.row):
            if j not in self.direct:
                self.direct[j] = Direct.of(self.pair.layers[j], self.d, self.ops)
            p, q = taken(self.ops, at, self.direct[j], p, q, rows)
        return p, q

    def through(
        self, rows: Carried, j: int, layer: Layer, p: np.ndarray, q: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Coefficients of y and delta in place of those of h and rho; the constant grows."""
        b = rows.boxes
        rows.constant = self.ops.kept(rows.constant + layer.cost[b])
        if q is None:
            return self.line(rows, layer.source, p), None
        exact, apart = layer.exact[b], layer.apart[b]
        beside, low = np.where(apart, q, 0), [layer.source.low_slope[b], layer.target.low_slope[b]]
        plain, here = self.plain[j], slice(self.starts[j], self.starts[j + 1])
        if rows.low is not None:
            for side, lines in enumerate((layer.source, layer.target)):
                free = plain[side] & (lines.high[b] > 0)
                low[side] = np.where(free, rows.low[:, here, side], low[side])
        if rows.beside is not None:
            beside = np.where(plain.all(axis=0) & ~exact, rows.beside[:, here], beside)
        rest = self.ops.kept(np.where(exact, 0, q - beside))
        alpha = self.line(rows, layer.source, self.ops.kept(p - beside), low[0])
        omega = np.where(exact, q, 0) + self.line(rows, layer.difference, rest)
        zeta = self.line(rows, layer.target, beside, low[1])
        return alpha + zeta, omega + zeta

    def line(
        self, rows: Carried, lines: Lines, coefficient: np.ndarray, low: np.ndarray | None = None
    ) -> np.ndarray:
        """Coefficients of t in an upper bound of coefficients of f(t). low: slopes (R, n) of the
        lower lines where they are chosen."""
        ops, b = self.ops, rows.boxes
        rising = coefficient > 0
        ends = np.where(rising, lines.high[b], lines.low[b])
        rows.constant = ops.kept(rows.constant + ops.dot(coefficient, ends))
        below = lines.low_slope[b] if low is None else low
        return ops.times(coefficient, np.where(rising, lines.high_slope[b], below))

    def spread(
        self, rows: Carried, j: int, alpha: np.ndarray, omega: np.ndarray | None,
        layers: Sequence[Layer],
    ) -> None:
        """Coefficients of y and delta of layer j, as coefficients of what comes before."""
        ops, b = self.ops, rows.boxes
        if omega is None:
            left, blocks = alpha, self.back_source[j]
        else:
            left, blocks = np.concatenate((alpha, omega), axis=1), self.back_both[j]
        for i, weights in blocks:
            found, off = ops.product(left, weights)
            if i < 0:
                rows.constant = ops.kept(rows.constant + found[:, 0] + off * (1 + self.d))
                rows.inputs = ops.kept(rows.inputs + found[:, 1:])
            else:
                rows.p[i] = found if rows.p[i] is None else ops.kept(rows.p[i] + found)
                rows.constant = ops.kept(rows.constant + ops.slack(off, layers[i].h_size[b]))
        if omega is None:
            return
        for i, weights in self.back_target[j]:
            if i >= 0:
                found, off = ops.product(omega, weights)
                rows.q[i] = found if rows.q[i] is None else ops.kept(rows.q[i] + found)
                rows.constant = ops.kept(rows.constant + ops.slack(off, layers[i].rho_size[b]))

    def largest(self, rows: Carried, boxes: Boxes) -> np.ndarray:
        """The largest value over each row's box, or what multiples of the faces leave of it."""
        ends = boxes.low[rows.boxes], boxes.high[rows.boxes]
        upper = at_ends(self.ops, rows.inputs, rows.constant, ends)
        if self.cuts is not None:
            both = boxes.low, boxes.high
            self.cuts.lower(upper, rows.inputs, rows.constant, both, rows.boxes)
        return upper
