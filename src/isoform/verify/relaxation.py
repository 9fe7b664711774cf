# SPDX-License-Identifier: Apache-2.0
"""The linear programme over a basis of rectifier units, for slopes that prove a unit stable.

Variables are the inputs and the units r_k, with r_k >= 0, r_k >= rho_k and r_k below the chord.
An optimal dual solution mixes the two lower lines of each unit in some proportion: that proportion
is the slope which `certificate.basis.backward_range` takes as a hint. Nothing here is trusted.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from isoform.bounds.solver import silent_solver
from isoform.certificate.basis import GRID, HINT_BITS, Basis, Range
from isoform.numerics.exact import Exact, integers
from isoform.numerics.sparse import ExactSparse

FAR = 2.0**900  # of a bound, so that chords stay finite


class Relaxation:
    """The triangle relaxation of all bounded rectifier units of a basis, as a HiGHS model."""

    def __init__(self, basis: Basis):
        self.width = basis.width
        model = silent_solver()
        known = basis.range
        low = np.where(known.open_low, -np.inf, Exact(known.low, 1 << GRID).to_float())
        high = np.where(known.open_high, np.inf, Exact(known.high, 1 << GRID).to_float())
        for a, b in zip(low, high, strict=True):
            model.addVar(a, b)
        self.lower_rows = np.full(basis.width, -1, dtype=np.int64)
        count = 0
        for block in basis.blocks:
            if block.kind != "relu":
                continue
            for i in range(block.arguments.shape[0]):
                if block.before.open_low[i] or block.before.open_high[i]:
                    continue
                self.lower_rows[block.start + i] = count
                self.add_unit(model, block.arguments, i, block.start + i, block.before)
                count += 2
        self.model = model

    def add_unit(
        self, model: Any, arguments: ExactSparse, i: int, column: int, before: Range
    ) -> None:
        """r - rho >= 0, and r <= s rho + t on the chord."""
        at, data = arguments.row(i)
        weights = Exact(data, arguments.denominator).to_float()
        ends = integers([before.low[i], before.high[i]], (2,))
        low, high = np.clip(Exact(ends, 1 << GRID).to_float(), -FAR, FAR).tolist()
        slope = min(max(max(high, 0.0) / (high - low), 0.0), 1.0) if high > low else 0.0
        lift = max(-slope * low, (1 - slope) * high)
        places = np.append(at, column).astype(np.int32)
        model.addRow(0.0, np.inf, len(places), places, np.append(-weights, 1.0))
        model.addRow(-np.inf, lift, len(places), places, np.append(-slope * weights, 1.0))

    def slopes(self, row: ExactSparse, upper: bool) -> tuple[float, np.ndarray]:
        """Bound of one row (upper or lower) and the slopes, one a column of the basis."""
        import highspy

        columns, data = row.row(0)
        cost = np.zeros(self.width)
        cost[columns] = Exact(data, row.denominator).to_float()
        cost = -cost if upper else cost
        self.model.changeColsCost(self.width, np.arange(self.width, dtype=np.int32), cost)
        self.model.changeObjectiveSense(highspy.ObjSense.kMinimize)
        self.model.run()
        found = self.model.getSolution()
        value = self.model.getInfo().objective_function_value
        rows, columns_dual = np.array(found.row_dual), np.array(found.col_dual)
        slopes = np.zeros(self.width)
        held = np.flatnonzero(self.lower_rows >= 0)
        above = np.maximum(rows[self.lower_rows[held]], 0)
        floor = np.maximum(columns_dual[held], 0)
        total = above + floor
        slopes[held] = np.where(total > 0, above / np.where(total > 0, total, 1), 0)
        bits = np.round(slopes * (1 << HINT_BITS)).astype(np.uint16)
        return (-value if upper else value), bits
