# SPDX-License-Identifier: Apache-2.0
"""Random exact points of a domain, for spot checks and measurements (never for a claim)."""

from __future__ import annotations

import random

import numpy as np

from isoform.network.domain import (
    Binary,
    Box,
    Domain,
    Everywhere,
    FiniteSet,
    Polytope,
    Sequences,
    Union,
    contains,
)
from isoform.numerics.exact import Exact, concatenate, integers

GRID = 16  # a coordinate is low + k / GRID (high - low): small denominators keep evaluation quick
TRIES = 200  # draws for one point of a polytope before giving up


def sample(domain: Domain, count: int, seed: int = 0) -> Exact:
    """Up to `count` points of a bound domain, as columns (n, points).

    Fewer where a polytope is so thin that drawing from its box finds no more. Everywhere is drawn
    at several scales, from one to a thousand.
    """
    source = random.Random(seed)
    points = [point for _ in range(count) if (point := draw(domain, source)) is not None]
    n = domain.dimension or 0
    if not points:
        return Exact.zeros((n, 0))
    return concatenate([point.reshape(n, 1) for point in points], axis=1)


def draw(domain: Domain, source: random.Random) -> Exact | None:
    """One point (n,), or None where none was found."""
    match domain:
        case Box():
            return draw_box(domain, source)
        case Polytope():
            drawn = (draw_box(domain.box, source) for _ in range(TRIES))
            return next((point for point in drawn if contains(domain, point)), None)
        case Binary():
            n = domain.dimension or 0
            return Exact(integers([source.randrange(2) for _ in range(n)], (n,)))
        case FiniteSet():
            return domain.points[source.randrange(len(domain.points))]
        case Union():
            return draw(source.choice(domain.parts), source)
        case Sequences():
            parts = [draw(domain.element, source) for _ in range(domain.length)]
            held = [part for part in parts if part is not None]
            return concatenate(held) if len(held) == len(parts) else None
        case Everywhere():
            n = domain.dimension or 0
            reach = 10 ** source.randrange(4)
            numbers = [source.randint(-reach * GRID, reach * GRID) for _ in range(n)]
            return Exact(integers(numbers, (n,)), GRID)


def draw_box(box: Box, source: random.Random) -> Exact:
    """A point of the grid that the box spans, ends included."""
    n = len(box.low)
    steps = Exact(integers([source.randint(0, GRID) for _ in range(n)], (n,)), GRID)
    return box.low + steps * (box.high - box.low)


def sample_floats(domain: Domain, count: int, dtype: str, seed: int = 0) -> np.ndarray:
    """The same points rounded to floats, as rows (points, n); rounding may leave the domain."""
    return np.ascontiguousarray(sample(domain, count, seed).to_float(np.dtype(dtype)).T)
