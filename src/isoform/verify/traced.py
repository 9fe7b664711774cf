# SPDX-License-Identifier: Apache-2.0
"""Passes in doubles that remember their coefficients, for whoever chooses splits and slopes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isoform.certificate.differential import Boxes, Carried, Differential
from isoform.certificate.faces import Faces
from isoform.certificate.relaxation import Layer, Lines
from isoform.network.paired import Paired
from isoform.verify.floats import Floats


@dataclass(slots=True, eq=False)
class Trace:
    """What a pass did in one layer: coefficients of h, h' and of rho over delta, each (R, n); both:
    coefficients of h and rho of slots that were bounded in both phases at once."""

    h: np.ndarray
    z: np.ndarray
    rho: np.ndarray
    both: tuple[np.ndarray, np.ndarray]


class Traced(Differential):
    """Passes in doubles that remember their coefficients."""

    def __init__(self, pair: Paired, faces: Faces | None = None):
        super().__init__(pair, Floats(), faces)
        self.traces: dict[int, Trace] = {}
        self.watched = False
        self.open: list[np.ndarray] | None = None
        self.both: tuple[np.ndarray, np.ndarray] | None = None

    def in_phases(
        self, rows: Carried, j: int, p: np.ndarray, q: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        left = super().in_phases(rows, j, p, q)
        self.both = p - left[0], q - left[1]
        return left

    def through(
        self, rows: Carried, j: int, layer: Layer, p: np.ndarray, q: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        self.open = [] if self.watched and q is not None else None
        found = super().through(rows, j, layer, p, q)
        if self.open:
            h, rho, z = self.open
            self.traces[j] = Trace(h, z, rho, self.both or (np.zeros_like(h), np.zeros_like(h)))
        self.open, self.both = None, None
        return found

    def line(
        self, rows: Carried, lines: Lines, coefficient: np.ndarray, low: np.ndarray | None = None
    ) -> np.ndarray:
        if self.open is not None:
            self.open.append(coefficient)
        return super().line(rows, lines, coefficient, low)

    def watch(self, rows: Carried, boxes: Boxes, layers: list[Layer]) -> np.ndarray:
        """Upper bounds (R,) of rows over all layers; `traces` holds their coefficients."""
        self.traces, self.watched = {}, True
        self.carry(rows, layers, self.count)
        self.watched = False
        return self.largest(rows, boxes)
