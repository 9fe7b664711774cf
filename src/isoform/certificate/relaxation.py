# SPDX-License-Identifier: Apache-2.0
"""One layer of slots between lines: what h, h' and rho = h' - h are, given bounds of y, y', delta.

For a unit with y in [l, u], and for every slope s in [0, 1]: 0 <= relu(y) - s y <= max(-s l,
(1 - s) u). For a pair with delta = y' - y in [lambda, upsilon], and for every s in [0, 1]:
min(-s p, (1 - s) A) <= rho - s delta <= max(-s q, (1 - s) B), where p = max(upsilon, 0), q =
min(lambda, 0), B = min(p, relu(u')), A = max(q, -relu(u)), because rho lies between 0 and delta and
in [-relu(u), relu(u')]. So slopes are free choices, and only intercepts carry the proof.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Ops = Any  # Fixed, or the prover's Floats


@dataclass(frozen=True, slots=True, eq=False)
class Bounds:
    """Lower and upper ends, (B, n) each, of y, y' and delta = y' - y of one layer of slots."""

    y: tuple[np.ndarray, np.ndarray]
    z: tuple[np.ndarray, np.ndarray]
    delta: tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    """low <= f(t) <= high: the lines high_slope t + high, low_slope t + low, each (B, n)."""

    high_slope: np.ndarray
    high: np.ndarray
    low_slope: np.ndarray
    low: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """Lines of h over y, of h' over y', of rho over delta; exact: where rho = delta for certain;
    apart: where rho is taken as h' - h. Sizes, (B,): sums of the largest |h| and |rho|; cost: what
    rounded coefficients of y, y' and delta may cost."""

    source: Lines
    target: Lines
    difference: Lines
    exact: np.ndarray
    apart: np.ndarray
    h_size: np.ndarray
    rho_size: np.ndarray
    cost: np.ndarray


def relaxed(ops: Ops, bounds: Bounds) -> Layer:
    """The lines of a layer of ReLU pairs, with slopes that depend on the bounds alone."""
    (below, above), (low, high), (least, most) = bounds.y, bounds.z, bounds.delta
    source, target = rectified(ops, below, above), rectified(ops, low, high)
    difference = rectified_difference(ops, bounds)
    exact = (below >= 0) & (above > 0) & (low >= 0) & (high > 0)
    own = gap(ops, source, (below, above)) + gap(ops, target, (low, high))
    # where one of both is dead the gaps are equal, and rounding is not to choose
    nearly = ops.slope(np.full(1, 255), np.full(1, 256))
    closer = ops.steep(nearly, gap(ops, difference, (least, most))) < own
    rho = np.maximum(np.maximum(most, -least), 0)
    sizes = [ops.total(np.maximum(np.abs(a), np.abs(b))) for a, b in
             ((below, above), (low, high), (least, most))]
    off = np.full(len(below), 2 * ops.times_off)
    cost = sum(ops.slack(off, size) for size in sizes)
    return Layer(
        source, target, difference, exact, ~exact & ~closer,
        ops.total(np.maximum(above, 0)), ops.total(rho), cost,
    )


def gap(ops: Ops, lines: Lines, ends: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """How far apart the lines are in the middle of a range, about."""
    slope = lines.high_slope - lines.low_slope
    return lines.high - lines.low + ops.steep(slope, ops.middle(*ends))


def rectified(ops: Ops, low: np.ndarray, high: np.ndarray) -> Lines:
    """relu(t) for t in [low, high]."""
    live = (low >= 0) & (high > 0)
    is_open = (low < 0) & (high > 0)
    chord = ops.slope(np.maximum(high, 0), high - low)
    slope = np.where(is_open, chord, np.where(live, ops.one(), 0))
    below = np.where(live | (is_open & (high > -low)), ops.one(), 0).astype(ops.dtype)
    above = np.maximum(ops.steep(slope, -low), ops.steep(ops.one() - slope, high))
    none = np.zeros_like(low)
    return Lines(slope.astype(ops.dtype), np.where(is_open, above, 0), below, none)


def rectified_difference(ops: Ops, bounds: Bounds) -> Lines:
    """relu(y') - relu(y) over delta = y' - y."""
    p, q = np.maximum(bounds.delta[1], 0), np.minimum(bounds.delta[0], 0)
    top = np.minimum(p, np.maximum(bounds.z[1], 0))
    bottom = np.maximum(q, -np.maximum(bounds.y[1], 0))
    rising = ops.slope(top, top - q)
    above = np.maximum(ops.steep(rising, -q), ops.steep(ops.one() - rising, top))
    falling = ops.slope(-bottom, p - bottom)
    below = -np.maximum(ops.steep(falling, p), ops.steep(ops.one() - falling, -bottom))
    return Lines(rising, above, falling, below)
