# SPDX-License-Identifier: Apache-2.0
"""Linear programmes over a box: the best multipliers, slopes and shares for a backward pass.

The programme has what `relaxation.py` offers for every slot at once: both lower lines and the upper
one of h and of h', both lines of rho, rho = h' - h, and the signs that splits have given. Its dual
solution says how a pass has to be taken to reach the same value: which lower slope, how much of rho
as h' - h, which multiple of a split value. All of these are hints, any value is sound.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import highspy
import numpy as np
from scipy.sparse import coo_array, csc_array, hstack, vstack

from isoform.bounds.solver import silent_solver
from isoform.certificate.differential import DELTA, Boxes, Carried, Y, Z
from isoform.certificate.phases import SHARES
from isoform.certificate.relaxation import Layer
from isoform.certificate.tree import Rows
from isoform.certificate.tree_evidence import Split
from isoform.verify.clock import FOREVER
from isoform.verify.hints import Hint, gathered
from isoform.verify.traced import Traced

ROWS, PARTS = 10, 5  # rows and variables of a slot
SIGNS = 7  # the first of the rows for the bounds of y, y', delta
VY, VD, VH, VZ, VR = range(PARTS)  # y, delta, h, h', rho
INF = highspy.kHighsInf
SECONDS, LEAST = 10.0, 0.01  # for one programme: the most, and where time is over
Ends = tuple[np.ndarray, np.ndarray]
Programme = tuple[csc_array, np.ndarray, Ends, Ends]  # rows, costs, bounds of columns and of rows
PRICES = (64.0, 2048.0)  # of what is missed in empty boxes, against the largest coefficient


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """The value of a programme; how to take a pass, as in `Carried`: added (N, 3), low (N, 2),
    beside (N,); the point: y, delta, h, h', rho of every slot (N, 5); multiples of the faces."""

    value: float
    added: np.ndarray
    low: np.ndarray
    beside: np.ndarray
    point: np.ndarray
    basis: Any
    faces: np.ndarray
    phases: tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The value of a pass with hints (-inf: the box is empty), the hint, and where to split."""

    value: float
    hint: Hint | None
    kind: int
    place: int
    basis: Any


class Programs:
    """Programmes of one pair of networks, one after the other in one solver. more: variables that a
    subclass has besides."""

    def __init__(self, bounds: Traced, more: int = 0):
        self.bounds, self.d, self.n = bounds, bounds.d, bounds.units
        self.own = self.d + PARTS * self.n
        self.columns = self.own + more
        self.solver = silent_solver(presolve="off")
        self.until = FOREVER  # no programme goes on for longer
        self.equations, self.right = self.definitions()
        self.plain = np.concatenate(
            [np.zeros((2, 0), dtype=bool), *bounds.plain], axis=1
        )

    def places(self, part: int) -> np.ndarray:
        """The variables of this part, in the order of slots."""
        return self.d + PARTS * np.arange(self.n) + part

    def definitions(self) -> tuple[csc_array, np.ndarray]:
        """Rows y - F (x, h) = F_0 and delta - (G - F) (x, h) - G rho = (G - F)_0 of all slots."""
        b, starts = self.bounds, self.bounds.starts
        own = np.concatenate((np.arange(self.d), self.places(VH)))
        parts, right = [], []
        for k in range(b.count):
            size, here = len(b.source_rows[k]), np.arange(starts[k], starts[k + 1])
            for which, table in ((VY, b.source_rows[k]), (VD, b.gap_rows[k])):
                matrix = np.zeros((size, self.columns))
                matrix[:, own[: table.shape[1] - 1]] = -table[:, 1:]
                matrix[np.arange(size), self.places(which)[here]] = 1
                if which == VD and starts[k]:
                    matrix[:, self.places(VR)[: starts[k]]] = -b.target_rows[k][:, 1 + self.d :]
                parts.append(csc_array(matrix))
                right.append(table[:, 0])
        return csc_array(vstack(parts)), np.concatenate(right)

    def hinted(
        self, boxes: Boxes, layers: list[Layer], box: int, form: int, rows: Rows, basis: Any
    ) -> Found:
        """A programme for one form on one box, the pass that its hints give, and the split of the
        slot whose lines lose most at the programme's point."""
        p, q = rows.p[form], rows.q[form]
        found = self.solve(boxes, layers, box, p, q, basis)
        if found is None:
            reach = (boxes.high - boxes.low)[box]
            return Found(np.inf, None, Split.INPUT, int(np.argmax(reach)), None)
        places = np.flatnonzero(found.added)
        hint = Hint(
            form, places.astype(np.int32), found.added.reshape(-1)[places].astype(np.float32),
            np.round(found.low * SHARES).astype(np.uint16).reshape(-1),
            found.beside.astype(np.float32), found.faces.astype(np.float32), *found.phases,
        )
        carried = self.bounds.carried(
            np.array([box]), p[None], q[None], self.bounds.count, layers
        )
        gathered([(0, hint)]).put(carried, boxes, np.zeros(1, dtype=np.int64), self.bounds)
        value = float(self.bounds.watch(carried, boxes, layers)[0])
        kind, place = self.worst_slot(boxes, box, found.point, carried)
        return Found(value, hint, kind, place, found.basis)

    def worst_slot(
        self, boxes: Boxes, box: int, point: np.ndarray, carried: Carried
    ) -> tuple[int, int]:
        """Where the lines of the last pass lose most against the functions at a point (N, 5)."""
        loss = self.losses(point)
        ends, signs = boxes.bounds[box], boxes.signs[box]
        is_open = (ends[..., 0] < 0) & (ends[..., 1] > 0) & (signs == 0)
        for value, kind in ((Y, Split.SOURCE), (Z, Split.TARGET)):
            best = int(np.where(is_open[:, value], loss, -np.inf).argmax())
            if is_open[best, value] and loss[best] > loss.max() / 2:
                return kind, best
        for value, kind in ((Y, Split.SOURCE), (Z, Split.TARGET)):
            best = int(np.where(is_open[:, value], loss, -np.inf).argmax())
            if is_open[best, value]:
                return kind, best
        reach = np.abs(carried.inputs[0]) * (boxes.high - boxes.low)[box]
        return Split.INPUT, int(reach.argmax())

    def losses(self, point: np.ndarray) -> np.ndarray:
        """What the lines of the last pass lose at each slot (N,) at a point."""
        y, z = point[:, VY], point[:, VY] + point[:, VD]
        h, h2 = np.maximum(y, 0), np.maximum(z, 0)
        loss = np.zeros(self.n)
        for k, trace in self.bounds.traces.items():
            here = slice(self.bounds.starts[k], self.bounds.starts[k + 1])
            loss[here] = (
                trace.h[0] * (point[here, VH] - h[here])
                + trace.z[0] * (point[here, VZ] - h2[here])
                + trace.rho[0] * (point[here, VR] - (h2 - h)[here])
                + trace.both[0][0] * (point[here, VH] - h[here])
                + trace.both[1][0] * (point[here, VR] - (h2 - h)[here])
            )
        return loss

    def solve(
        self, boxes: Boxes, layers: list[Layer], box: int, p: np.ndarray, q: np.ndarray,
        basis: Any = None,
    ) -> Solution | None:
        """The largest value of the form p (1 + d + N), q (N) on one box; None where the solver
        gives up. Where the box is empty multiples are bounded, and the value is what they give."""
        matrix, low, high = self.lines(boxes, layers, box)
        cost = np.zeros(self.columns)
        cost[: self.d], cost[self.places(VH)] = -p[1 : 1 + self.d], -p[1 + self.d :]
        cost[self.places(VR)] = -q
        least, most = self.ends(boxes, box)
        self.run(matrix, cost, (least, most), (low, high), basis)
        if self.solver.getModelStatus() == highspy.HighsModelStatus.kOptimal:
            return self.read(boxes, box, p[0], self.solver.getBasis())
        return self.nearly(boxes, box, p, q, (matrix, cost, (least, most), (low, high)))

    def nearly(
        self, boxes: Boxes, box: int, p: np.ndarray, q: np.ndarray, programme: Programme
    ) -> Solution | None:
        """The same where no point fits: with lines and bounds that may be missed at a price."""
        matrix, cost, (least, most), (low, high) = programme
        upper, lower = (0, 2, 4, 7, 8, 9), (1, 3, 5, 7, 8, 9)  # lines and bounds may be missed
        faces = np.arange(matrix.shape[0] - self.bounds.faces, matrix.shape[0])
        inward = np.concatenate((
            np.repeat([-1.0] * len(upper) + [1.0] * len(lower), self.n), -np.ones(len(faces))
        ))
        at = np.concatenate([
            *((2 + row) * self.n + np.arange(self.n) for row in upper + lower), faces
        ])
        count = len(at)
        slack = csc_array((inward, (at, np.arange(count))), shape=(matrix.shape[0], count))
        wide = csc_array(hstack([matrix, slack], format="csc"))
        columns = (np.concatenate((least, np.zeros(count))),
                   np.concatenate((most, np.full(count, INF))))
        found = None
        for price in PRICES:
            scale = price * max(np.abs(p).max(), np.abs(q).max(initial=0))
            self.run(wide, np.concatenate((cost, np.full(count, scale))), columns, (low, high))
            if self.solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
                return found
            found = self.read(boxes, box, p[0], None)
            if found.value < 0:
                return found
        return found

    def run(
        self, matrix: csc_array, cost: np.ndarray, columns: tuple[np.ndarray, np.ndarray],
        rows: tuple[np.ndarray, np.ndarray], basis: Any = None,
    ) -> None:
        lp = highspy.HighsLp()
        lp.num_row_, lp.num_col_ = matrix.shape
        lp.col_cost_, lp.col_lower_, lp.col_upper_ = cost, *columns
        lp.row_lower_, lp.row_upper_ = rows
        lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        lp.a_matrix_.start_, lp.a_matrix_.index_ = matrix.indptr, matrix.indices
        lp.a_matrix_.value_ = matrix.data
        self.solver.passModel(lp)
        seconds = min(SECONDS, max(self.until - time.perf_counter(), LEAST))
        self.solver.setOptionValue("time_limit", self.solver.getRunTime() + seconds)
        if basis is not None:
            self.solver.setBasis(basis)
        self.solver.run()

    def read(self, boxes: Boxes, box: int, constant: float, basis: Any) -> Solution:
        """Hints from the dual solution."""
        found = self.solver.getSolution()
        x, reduced = np.array(found.col_value), np.array(found.col_dual)
        edges = np.cumsum([2 * self.n, ROWS * self.n, self.bounds.faces])
        _, dual, faces, _ = np.split(np.array(found.row_dual), edges)
        dual = dual.reshape(ROWS, self.n)
        added, low = dual[SIGNS:].T.copy(), np.zeros((self.n, 2))
        for side, (row, part) in enumerate(((1, VH), (3, VZ))):
            rising, flat = np.maximum(dual[row], 0), np.maximum(reduced[self.places(part)], 0)
            low[:, side] = rising / np.where(rising + flat > 0, rising + flat, 1)
            both = np.minimum(np.maximum(-dual[row - 1], 0), rising + flat)
            added[:, side] += both * self.between(boxes, box, side, low[:, side])
        value = constant - self.solver.getInfo().objective_function_value
        return Solution(value, added, low, dual[6],
                        x[self.d : self.own].reshape(self.n, PARTS), basis,
                        np.maximum(-faces, 0), self.no_phases())

    def between(self, boxes: Boxes, box: int, side: int, low: np.ndarray) -> np.ndarray:
        """The multiple of y (or y') that the chord less a mixture of both lower lines is, counted
        from its bounds: s (y - l) or (1 - s)(u - y). A pass takes one line of a unit, not two."""
        ends = boxes.bounds[box, :, side]
        is_open = self.plain[side] & (ends[:, 0] < 0) & (ends[:, 1] > 0)
        chord = ends[:, 1] / np.where(is_open, ends[:, 1] - ends[:, 0], 1)
        return np.where(is_open, chord - low, 0)

    def no_phases(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of no slot."""
        return (np.zeros(0, dtype=np.int32), np.zeros((0, 2), dtype=np.float32),
                np.zeros((0, self.d), dtype=np.uint16))

    def ends(self, boxes: Boxes, box: int) -> tuple[np.ndarray, np.ndarray]:
        """Bounds of the variables: the box, h and h' at least 0 unless live."""
        least, most = np.full(self.columns, -INF), np.full(self.columns, INF)
        least[: self.d], most[: self.d] = boxes.low[box], boxes.high[box]
        for side, part in ((0, VH), (1, VZ)):
            bent = self.plain[side] & (boxes.bounds[box, :, side, 0] < 0)
            least[self.places(part)] = np.where(bent, 0, -INF)
        return least, most

    def lines(
        self, boxes: Boxes, layers: list[Layer], box: int
    ) -> tuple[csc_array, np.ndarray, np.ndarray]:
        """All rows with their bounds."""
        def whole(name: str, field: str) -> np.ndarray:
            parts = [getattr(getattr(layer, name), field)[box] for layer in layers]
            return np.concatenate([np.zeros(0), *parts])

        n, count = self.n, 2 * self.n
        y, d, h, z, r = (self.places(part) for part in range(PARTS))
        entries, low, high = [], np.full((ROWS, n), -INF), np.full((ROWS, n), INF)

        def put(row: int, column: np.ndarray, value: np.ndarray | float) -> None:
            entries.append((count + row * n + np.arange(n), column, np.broadcast_to(value, n)))

        for first, name, out, side in ((0, "source", h, 0), (2, "target", z, 1)):
            steep, top = whole(name, "high_slope"), whole(name, "high")
            dead = boxes.bounds[box, :, side, 1] <= 0
            plain = self.plain[side]
            flat = np.where(plain, 1.0, whole(name, "low_slope"))
            for row, slope in ((first, steep), (first + 1, flat)):
                put(row, out, 1.0)
                put(row, y, -slope)
                if side:
                    put(row, d, -slope)
            high[first] = top
            low[first + 1] = np.where(plain, np.where(dead, -INF, 0), whole(name, "low"))
        for row, field in ((4, "high_slope"), (5, "low_slope")):
            put(row, r, 1.0)
            put(row, d, -whole("difference", field))
        high[4], low[5] = whole("difference", "high"), whole("difference", "low")
        for column, sign in ((z, 1.0), (h, -1.0), (r, -1.0)):
            put(6, column, sign)
        low[6] = high[6] = 0
        for value, summands in ((Y, (y,)), (Z, (y, d)), (DELTA, (d,))):
            for column in summands:
                put(SIGNS + value, column, 1.0)
            low[SIGNS + value] = boxes.bounds[box, :, value, 0]
            high[SIGNS + value] = boxes.bounds[box, :, value, 1]
        rows, columns, values = (np.concatenate(part) for part in zip(*entries, strict=True))
        own = coo_array(
            (values, (rows - count, columns)), shape=(ROWS * n, self.columns)
        )
        normals, limits = np.zeros((0, self.columns)), np.zeros(0)
        if (cuts := self.bounds.cuts) is not None:
            normals, limits = np.zeros((len(cuts.limits), self.columns)), cuts.limits
            normals[:, : self.d] = cuts.normals
        matrix = csc_array(vstack(
            [self.equations, csc_array(own), csc_array(normals)], format="csc"
        ))
        return (
            matrix, np.concatenate((self.right, low.reshape(-1), np.full(len(limits), -INF))),
            np.concatenate((self.right, high.reshape(-1), limits)),
        )
