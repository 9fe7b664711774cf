# SPDX-License-Identifier: Apache-2.0
"""Plain doubles behind the methods of `certificate/fixed.py`: fast, and never evidence."""

from __future__ import annotations

import numpy as np

from isoform.numerics.exact import Exact
from isoform.numerics.sparse import ExactSparse


class Floats:
    """The arithmetic in which the prover searches. Nothing is rounded outward."""

    dtype = np.dtype(np.float64)
    infinity = 1e100
    times_off = 0

    def rounded(self, value: Exact, *, up: bool) -> np.ndarray:
        return value.to_float()

    def kept(self, value: np.ndarray) -> np.ndarray:
        return value

    def bounded(self, bounds: np.ndarray) -> None:
        pass

    def total(self, sizes: np.ndarray) -> np.ndarray:
        return np.asarray(sizes.sum(axis=1))

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

    def middle(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        return (low + high) / 2

    def least(self) -> float:
        return 0.0
