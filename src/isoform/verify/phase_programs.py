# SPDX-License-Identifier: Apache-2.0
"""Linear programmes that follow the inputs through both phases of the units that read them.

For such a unit a is its phase and p_i stands for a (u_i - low_i), between the four lines that hold
for a in {0, 1}: 0 <= p_i <= w_i a, u_i - low_i - w_i (1 - a) <= p_i <= u_i - low_i. h and h' are
then sums of these, with one phase for both. That the two change phase a little apart is forgotten
here and remembered by the rule of `certificate.phases`, for which the dual solution gives hints.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy.sparse import coo_array, csc_array, vstack

from isoform.certificate.differential import Boxes, Carried, Y, Z
from isoform.certificate.phases import SHARES, Direct
from isoform.certificate.relaxation import Layer
from isoform.certificate.tree import Rows
from isoform.certificate.tree_evidence import Split
from isoform.verify.programs import INF, ROWS, VH, VZ, Found, Programme, Programs, Solution
from isoform.verify.traced import Traced

MOST_PRODUCTS = 1 << 13  # of phases and inputs, in one programme
TINY = 1e-12


def phase_programs(bounds: Traced) -> PhasePrograms | None:
    """The programmes, where some slots read inputs only and not too many of these are open on the
    whole box."""
    ends = np.ones((1, bounds.d))
    boxes, _, _ = bounds.settle(bounds.whole(-ends, ends))
    slots = []
    for j, start in enumerate(bounds.starts[:-1]):
        direct = bounds.direct.setdefault(
            j, Direct.of(bounds.pair.layers[j], bounds.d, bounds.ops)
        )
        here = boxes.bounds[0, start : bounds.starts[j + 1], :2]
        is_open = ((here[..., 0] < 0) & (here[..., 1] > 0)).any(axis=1)
        slots += [(j, slot) for slot in np.flatnonzero(is_open & direct.fits).tolist()]
    if not 0 < len(slots) * (1 + bounds.d) <= MOST_PRODUCTS:
        return None
    return PhasePrograms(bounds, slots)


class PhasePrograms(Programs):
    """Programmes with phases. slots: layer and place in it of every slot that has one."""

    def __init__(self, bounds: Traced, slots: list[tuple[int, int]]):
        self.count = len(slots)
        super().__init__(bounds, self.count * (1 + bounds.d))
        self.slots = np.array([bounds.starts[j] + slot for j, slot in slots])
        self.own_rows = np.stack([bounds.direct[j].own[slot] for j, slot in slots])
        gap = np.stack([bounds.direct[j].gap[slot] for j, slot in slots])
        self.other_rows = self.own_rows + gap
        self.has_source, self.has_target = (
            np.array([getattr(bounds.direct[j], name)[slot] for j, slot in slots])
            for name in ("has_source", "has_target")
        )
        self.later = np.zeros(self.count, dtype=bool)
        self.phase = self.own + np.arange(self.count)
        self.product = self.own + self.count + np.arange(self.count * self.d)

    def hinted(
        self, boxes: Boxes, layers: list[Layer], box: int, form: int, rows: Rows, basis: Any
    ) -> Found:
        """As in `Programs`; which of y and y' is the pivot is guessed from the pass before."""
        rho = np.zeros(self.n)
        for k, trace in self.bounds.traces.items():
            here = slice(self.bounds.starts[k], self.bounds.starts[k + 1])
            rho[here] = (trace.z + trace.rho + trace.both[1])[0]
        both = self.has_source & self.has_target
        self.later = np.where(both, rho[self.slots] > 0, self.has_target)
        return super().hinted(boxes, layers, box, form, rows, basis)

    def worst_slot(
        self, boxes: Boxes, box: int, point: np.ndarray, carried: Carried
    ) -> tuple[int, int]:
        """As in `Programs`; a slot with phases is split at its pivot, which settles its phase."""
        loss = self.losses(point)
        low, high = self.pivot_ends(boxes, box)
        at = int(np.where((low < 0) & (high > 0), loss[self.slots], -np.inf).argmax())
        if low[at] < 0 < high[at] and loss[self.slots[at]] > loss.max() / 2:
            return (Split.TARGET if self.later[at] else Split.SOURCE), int(self.slots[at])
        return super().worst_slot(boxes, box, point, carried)

    def nearly(
        self, boxes: Boxes, box: int, p: np.ndarray, q: np.ndarray, programme: Programme
    ) -> Solution | None:
        return None

    @property
    def pivots(self) -> np.ndarray:
        """The variable of h or h'."""
        return np.where(self.later, self.places(VZ)[self.slots], self.places(VH)[self.slots])

    def ends(self, boxes: Boxes, box: int) -> tuple[np.ndarray, np.ndarray]:
        least, most = super().ends(boxes, box)
        for part in (VH, VZ):
            least[self.places(part)[self.slots]] = -INF
        least[self.pivots] = 0
        low, high = self.pivot_ends(boxes, box)
        least[self.phase], most[self.phase] = low >= 0, high > 0
        least[self.product] = 0
        return least, most

    def pivot_ends(self, boxes: Boxes, box: int) -> tuple[np.ndarray, np.ndarray]:
        ends = boxes.bounds[box, self.slots]
        low, high = (np.where(self.later, ends[:, Z, side], ends[:, Y, side]) for side in (0, 1))
        return low, np.where(low >= 0, 1, high)

    def lines(
        self, boxes: Boxes, layers: list[Layer], box: int
    ) -> tuple[csc_array, np.ndarray, np.ndarray]:
        """The rows of `Programs`, with the lines of phased slots taken out but for those of the
        pivot; then h and h' as sums, and three lines around every product."""
        matrix, low, high = super().lines(boxes, layers, box)
        for row in (0, 1, 2, 3, 4, 5):
            free = {1: self.later, 3: ~self.later}.get(row, np.ones(self.count, dtype=bool))
            at = (2 + row) * self.n + self.slots[free]
            low[at], high[at] = -INF, INF
        k, d = self.count, self.d
        ends = boxes.low[box], boxes.high[box]
        width = np.tile(ends[1] - ends[0], k)
        entries = []
        for number, (part, table) in enumerate(((VH, self.own_rows), (VZ, self.other_rows))):
            at = number * k + np.arange(k)
            entries += [
                (at, self.places(part)[self.slots], np.ones(k)),
                (at, self.phase, -table[:, 0] - table[:, 1:] @ ends[0]),
                (np.repeat(at, d), self.product, -table[:, 1:].ravel()),
            ]
        at, one = np.arange(k * d), np.ones(k * d)
        phase, u = np.repeat(self.phase, d), np.tile(np.arange(d), k)
        first = [2 * k + number * k * d + at for number in range(3)]
        entries += [
            (first[0], self.product, one), (first[0], phase, -width),
            (first[1], self.product, one), (first[1], u, -one),
            (first[2], u, one), (first[2], self.product, -one), (first[2], phase, width),
        ]
        rows, columns, values = (np.concatenate(part) for part in zip(*entries, strict=True))
        added = coo_array((values, (rows, columns)), shape=(2 * k + 3 * k * d, self.columns))
        zero, none = np.zeros(2 * k), np.full(3 * k * d, -INF)
        tops = np.concatenate((np.zeros(k * d), np.tile(-ends[0], k), np.tile(ends[1], k)))
        return (
            csc_array(vstack([matrix, csc_array(added)], format="csc")),
            np.concatenate((low, zero, none)), np.concatenate((high, zero, tops)),
        )

    def read(self, boxes: Boxes, box: int, constant: float, basis: Any) -> Solution:
        found = self.solver.getSolution()
        dual, reduced = np.array(found.row_dual), np.maximum(np.array(found.col_dual), 0)
        held = super().read(boxes, box, constant, basis)
        k, d = self.count, self.d
        held.low[self.slots], held.beside[self.slots] = 0, 0
        row = (2 + np.where(self.later, 3, 1)) * self.n + self.slots
        prices = np.stack((np.maximum(dual[row], 0), reduced[self.pivots]), axis=1)
        first = (2 + ROWS) * self.n + self.bounds.faces + 2 * k
        phase, top, bottom = np.maximum(-dual[first:], 0).reshape(3, k, d)
        along = top - bottom
        whole = along + phase - reduced[self.product].reshape(k, d)
        share = np.where(np.abs(whole) > TINY, along / np.where(whole == 0, 1, whole), 0)
        low, high = self.pivot_ends(boxes, box)
        settled = (low >= 0) | (high <= 0)  # one phase is left, and its coefficients are taken
        prices[settled], share[settled] = 0, (low >= 0)[settled, None]
        ends = boxes.bounds[box, self.slots, :2]
        at = np.flatnonzero(((ends[..., 0] < 0) & (ends[..., 1] > 0)).any(axis=1))
        at = at[np.argsort(self.slots[at])]
        return replace(held, phases=(
            self.slots[at].astype(np.int32), prices[at].astype(np.float32),
            np.round(np.clip(share[at], 0, 1) * SHARES).astype(np.uint16),
        ))
