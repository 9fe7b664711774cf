# SPDX-License-Identifier: Apache-2.0
"""Plain doubles behind the methods of `certificate/fixed.py`: fast, and never evidence."""

from __future__ import annotations

import numpy as np

from isoform.certificate.fixed import GRID, NODE, SLOPE, TIE
from isoform.errors import CertificateRejected
from isoform.numerics.exact import Exact
from isoform.numerics.smooth import SMOOTH
from isoform.numerics.sparse import ExactSparse

LARGEST = 1e30  # of a value of a smooth function that is worth computing with


class Floats:
    """The arithmetic in which the prover searches. Nothing is rounded outward."""

    dtype = np.dtype(np.float64)
    infinity = 1e100
    times_off = 0

    def rounded(self, value: Exact, *, up: bool) -> np.ndarray:
        return value.to_float()

    def weights(self, matrix: ExactSparse) -> np.ndarray:
        return matrix.dense().to_float()

    def rows(self, matrix: ExactSparse) -> np.ndarray:
        return matrix.dense().to_float()

    def product(self, left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return left @ right, np.zeros(len(left))

    def times(self, left: np.ndarray, slope: np.ndarray) -> np.ndarray:
        return left * slope

    def dot(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return np.einsum("rn,rn->r", left, right)

    def slack(self, off: np.ndarray, size: np.ndarray) -> np.ndarray:
        return np.zeros(len(size))

    def slope(self, above: np.ndarray, below: np.ndarray) -> np.ndarray:
        return above / np.where(below > 0, below, 1)

    def one(self) -> float:
        return 1.0

    def steep(self, slope: np.ndarray, value: np.ndarray) -> np.ndarray:
        return slope * value

    def scaled(self, value: np.ndarray) -> np.ndarray:
        return value

    def slopes(self, whole: np.ndarray) -> np.ndarray:
        return whole / float(1 << SLOPE)

    def quotient(self, above: np.ndarray, slope: np.ndarray) -> np.ndarray:
        return above / slope

    def coarse(self, value: np.ndarray) -> np.ndarray:
        cells = float(1 << GRID)
        return (np.floor(value * cells + TIE) + 1) / cells

    def share(self, value: np.ndarray) -> np.ndarray:
        return value / np.iinfo(value.dtype).max

    def middle(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        return (low + high) / 2

    def least(self) -> float:
        return 0.0

    def integral(self, parts: list[ExactSparse]) -> tuple[list[np.ndarray], int]:
        return [part.dense().to_float() for part in parts], 1

    def floored(self, above: np.ndarray, below: float) -> np.ndarray:
        return above / below

    # --- curves -----------------------------------------------------------------------------------

    def kept(self, value: np.ndarray) -> np.ndarray:
        return value

    def bounded(self, bounds: np.ndarray) -> None:
        pass

    def total(self, sizes: np.ndarray) -> np.ndarray:
        return np.asarray(sizes.sum(axis=1))

    def whole(self) -> float:
        return 1.0

    def floor(self, value: np.ndarray) -> np.ndarray:
        return np.floor(value)

    def number(self, value: np.ndarray) -> np.ndarray:
        return value

    def number_of_slope(self, slope: np.ndarray) -> np.ndarray:
        return slope

    def near(self, number: np.ndarray) -> np.ndarray:
        return self.nodes(number, number)[0]

    def inclined(self, number: np.ndarray) -> np.ndarray:
        return number

    def nodes(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        cells = float(1 << NODE)
        return np.floor(low * cells) / cells, np.ceil(high * cells) / cells

    def curve(self, name: str, node: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return (self.sized(name, SMOOTH[name].value(node)),) * 2

    def rate(self, name: str, node: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return (self.sized(name, SMOOTH[name].rate(node)),) * 2

    def sized(self, name: str, value: np.ndarray) -> np.ndarray:
        if not np.all(np.abs(value) < LARGEST):
            raise CertificateRejected("doubles", f"values of {name} are too large")
        return value
