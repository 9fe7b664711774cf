# SPDX-License-Identifier: Apache-2.0
"""Simulation signatures: which unit another one resembles at sample points. Hints only."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from isoform.network.domain import Box
from isoform.numerics.sparse import ExactSparse

SAMPLES = 96
ALIKE = 0.05  # largest relative distance of signatures that is worth a look
FAR = 2.0**500  # samples stay within it, so that norms of signatures are finite
SNAP = 2e-6  # ratios this near to a power of two are taken for it


def sample(box: Box, seed: int) -> np.ndarray:
    """Points of a box for signatures, (SAMPLES, n): half inside, half with many faces active."""
    rng = np.random.default_rng(seed)
    low, high = (np.clip(end.to_float(), -FAR, FAR) for end in (box.low, box.high))
    share = rng.uniform(size=(SAMPLES, len(low)))
    faces = rng.uniform(size=share.shape) < 0.5
    faces[: SAMPLES // 2] = False
    share = np.where(faces, np.round(share), share)
    return low + share * (high - low)


def nearest(
    mine: np.ndarray, theirs: np.ndarray, *, scaled: bool
) -> tuple[np.ndarray, np.ndarray]:
    """For each column of `mine` the column of `theirs` that is nearest up to sign (and scale):
    its number, -1 where none is near, and the signed ratio."""
    norms = np.linalg.norm(mine, axis=0), np.linalg.norm(theirs, axis=0)
    mine_norm, their_norm = (np.where(norm > 0, norm, 1) for norm in norms)
    likeness = (mine / mine_norm).T @ (theirs / their_norm)
    match = np.abs(likeness).argmax(axis=1)
    chosen = theirs[:, match]
    ratio = (mine * chosen).sum(axis=0) / their_norm[match] ** 2
    if not scaled:
        ratio = np.where(ratio >= 0, 1.0, -1.0)
    distance = np.linalg.norm(mine - ratio * chosen, axis=0) / mine_norm
    near = (distance < ALIKE) & (ratio != 0) & np.isfinite(ratio)
    return np.where(near, match, -1), ratio


def common_ratio(
    rows: ExactSparse, i: int, others: ExactSparse, j: int, size: np.ndarray, near: float
) -> float:
    """The factor c for which row i - c * other row j is bounded best: the median of the ratios of
    coefficients, weighted by what each contributes. size: largest absolute value of each column.
    `near` where the rows share too little."""
    at, mine = rows.row(i)
    where, theirs = others.row(j)
    _, left, right = np.intersect1d(at, where, assume_unique=True, return_indices=True)
    if 2 * len(left) < max(len(at), len(where)):
        return near
    d, k = rows.denominator, others.denominator
    pairs = zip(mine[left].tolist(), theirs[right].tolist(), strict=True)
    try:
        ratios = np.array([(m * k) / (t * d) for m, t in pairs])
        weights = np.array([abs(t) / k for t in theirs[right].tolist()]) * size[at[left]]
    except OverflowError:
        return near
    order = np.argsort(ratios)
    half = np.searchsorted(np.cumsum(weights[order]), weights.sum() / 2)
    found = float(ratios[order[min(half, len(order) - 1)]])
    return found if found * near > 0 and math.isfinite(found) else near


def short(ratio: float) -> Fraction:
    """A dyadic of at most 40 bits near a ratio; powers of two are hit exactly."""
    mantissa, exponent = math.frexp(abs(ratio))
    if abs(mantissa - 0.5) < SNAP:
        mantissa = 0.5
    elif abs(mantissa - 1.0) < SNAP:
        mantissa, exponent = 0.5, exponent + 1
    size = Fraction(max(1, round(mantissa * 2**40))) * Fraction(2) ** (exponent - 40)
    return size if ratio > 0 else -size


def phi(kind: str, z: np.ndarray) -> np.ndarray:
    """The units' values at the sample points, for signatures only."""
    from isoform.network.evaluate import FUNCTIONS

    name = kind.split()[0]
    with np.errstate(all="ignore"):
        match name:
            case "relu":
                return np.maximum(z, 0)
            case "step":
                return (z >= 0).astype(z.dtype)
            case "round":
                return np.rint(z) - z
            case "softmax":
                group = int(kind.split()[1])
                grouped = z.reshape(len(z), -1, group)
                powers = np.exp(grouped - grouped.max(axis=2, keepdims=True))
                return (powers / powers.sum(axis=2, keepdims=True)).reshape(z.shape)
            case _:
                return FUNCTIONS[name](z)
