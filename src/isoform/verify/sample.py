# SPDX-License-Identifier: Apache-2.0
"""Points of a domain: drawn in floats, pulled back into it, and made exact short numbers of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

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
    hull,
)
from isoform.numerics.exact import Exact, concatenate, exact_fractions

SCALES = (1.0, 10.0, 1000.0, 1e-3, 0.1, 1e5)  # of samples where the domain has no bounds
FAR = 2.0**1000  # bounds beyond it are searched up to it, so that widths stay finite
SMALLEST = 2.0**-24  # unbounded inputs below it count as this size when rounded


@dataclass(frozen=True, slots=True)
class Place:
    """A bound domain with what sampling needs of it.

    low, high: float hull, infinite where there is none; centre: an exact inner point of a
    polytope, None where none was found; parts: of a union, or the element of sequences.
    """

    domain: Domain
    low: np.ndarray
    high: np.ndarray
    centre: Exact | None = None
    parts: tuple[Place, ...] = ()

    @staticmethod
    def of(domain: Domain) -> Place:
        """Prepare a domain that is bound to its dimension."""
        box = hull(domain)
        n = domain.dimension or 0
        low = np.full(n, -np.inf) if box is None else np.clip(box.low.to_float(), -FAR, FAR)
        high = np.full(n, np.inf) if box is None else np.clip(box.high.to_float(), -FAR, FAR)
        match domain:
            case Polytope():
                return Place(domain, low, high, inner_point(domain, low, high))
            case Union():
                return Place(domain, low, high, None, tuple(Place.of(p) for p in domain.parts))
            case Sequences():
                return Place(domain, low, high, None, (Place.of(domain.element),))
            case _:
                return Place(domain, low, high)


def inner_point(domain: Polytope, low: np.ndarray, high: np.ndarray) -> Exact | None:
    """An exact point inside all faces of a polytope, if floats find one: the centre of the largest
    ball among the inputs that are not fixed."""
    from scipy.optimize import linprog

    matrix, limit = domain.A.to_float(), domain.b.to_float()
    fixed = (domain.box.high - domain.box.low).sign() == 0
    free = (~fixed).astype(np.float64)
    n = matrix.shape[1]
    faces = np.vstack([
        np.column_stack([matrix, np.linalg.norm(matrix * free, axis=1)]),
        np.column_stack([np.eye(n), free]),
        np.column_stack([-np.eye(n), free]),
    ])
    found = linprog(
        np.append(np.zeros(n), -1.0), A_ub=faces, b_ub=np.concatenate([limit, high, -low]),
        bounds=[(None, None)] * n + [(0, None)], method="highs",
    )
    if found.x is None:
        return None
    radius = max(float(found.x[-1]), 2.0**-40)
    bits = 2 + math.ceil(math.log2(max(1.0, math.sqrt(n)) / radius))
    for extra in (0, 10, 30):
        near = rounded(found.x[:-1], max(0, bits + extra))
        point = near * Exact.of(1 - fixed.astype(np.int64)) + domain.box.low * Exact.of(
            fixed.astype(np.int64)
        )
        if contains(domain, point):
            return point
    return None


def rounded(x: np.ndarray, bits: int) -> Exact:
    """The nearest multiples of 2^-bits."""
    return exact_fractions(
        [Fraction(round(Fraction(float(v)) * 2**bits), 2**bits) for v in x], x.shape
    )


# --- floats -----------------------------------------------------------------------------------


def sample(place: Place, rng: np.random.Generator, count: int) -> np.ndarray:
    """(count, n) floats in (up to rounding) or, for relaxed kinds, near the domain."""
    n = len(place.low)
    match place.domain:
        case Box():
            return box_sample(place.low, place.high, rng, count)
        case Polytope():
            return pull(place, box_sample(place.low, place.high, rng, count))
        case Binary():
            density = rng.random((count, 1))
            x = (rng.random((count, n)) < density).astype(np.float64)
            x[:1] = 0
            return x
        case FiniteSet():
            rows = rng.permutation(len(place.domain.points))[:count]
            return place.domain.points[rows].to_float()
        case Union():
            share = -(-count // len(place.parts))
            drawn = np.concatenate([sample(part, rng, share) for part in place.parts])
            return drawn[rng.permutation(len(drawn))[:count]]
        case Sequences():
            steps = [sample(place.parts[0], rng, count) for _ in range(place.domain.length)]
            common = min(len(step) for step in steps)
            return np.concatenate([step[:common] for step in steps], axis=1)
        case Everywhere():
            x = rng.standard_normal((count, n)) * np.resize(SCALES, count)[:, None]
            sparse = rng.random((count, n)) < 2.0 / max(2, n)
            x = np.where((np.arange(count) % 4 == 3)[:, None] & ~sparse, 0.0, x)
            x[:1] = 0
            return x


def box_sample(
    low: np.ndarray, high: np.ndarray, rng: np.random.Generator, count: int
) -> np.ndarray:
    """The centre, then uniform points, vertices, and points of random faces in turn."""
    n = len(low)
    share = rng.random((count, n))
    corner = (rng.random((count, n)) < 0.5).astype(np.float64)
    face = np.where(rng.random((count, n)) < rng.random((count, 1)), corner, share)
    kind = (np.arange(count) % 4)[:, None]
    share = np.where(kind % 2 == 1, corner, np.where(kind == 2, face, share))
    share[:1] = 0.5
    return low + share * (high - low)


def pull(place: Place, x: np.ndarray) -> np.ndarray:
    """The points (batch, n) moved into the domain, up to rounding."""
    match place.domain:
        case Box():
            return np.clip(x, place.low, place.high)
        case Polytope():
            return pull_inside(place, np.clip(x, place.low, place.high))
        case Binary():
            return (x >= 0.5).astype(np.float64)
        case FiniteSet():
            points = place.domain.points.to_float()
            return np.array([points[np.abs(points - row).sum(axis=1).argmin()] for row in x])
        case Union():
            moved = np.array([pull(part, x) for part in place.parts])
            nearest = np.abs(moved - x).max(axis=2).argmin(axis=0)
            return moved[nearest, np.arange(len(x))]
        case Sequences():
            pieces = np.split(x, place.domain.length, axis=1)
            return np.concatenate([pull(place.parts[0], piece) for piece in pieces], axis=1)
        case Everywhere():
            return np.clip(x, -1e8, 1e8)


def pull_inside(place: Place, x: np.ndarray) -> np.ndarray:
    """Along the line to the centre of a polytope, as far as its faces ask."""
    domain = place.domain
    if place.centre is None or not isinstance(domain, Polytope):
        return x
    centre = place.centre.to_float()
    matrix = domain.A.to_float()
    room = np.maximum(domain.b.to_float() - matrix @ centre, 0)
    growth = (x - centre) @ matrix.T
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = np.where(growth > 0, room / growth, np.inf).min(axis=1, initial=1.0)
    return centre + reach[:, None] * (x - centre)


def widths(place: Place, x: np.ndarray) -> np.ndarray:
    """The size of a full step of each input at the points (batch, n)."""
    size = place.high - place.low
    return np.where(np.isfinite(size), size, np.maximum(np.abs(x), 1.0))


# --- exact --------------------------------------------------------------------------------------


def snap(place: Place, x: np.ndarray, bits: int, sharp: bool = False) -> Exact | None:
    """An exact point of the domain near the floats x (n,), each coordinate a dyadic of about
    `bits` bits relative to the width of its range; `sharp` allows the bounds themselves, which
    may be no dyadics. None where no point of the domain was found near x, or x is no number."""
    if not np.all(np.isfinite(x)):
        return None
    match place.domain:
        case Box():
            return snap_box(place.domain, x, bits, sharp)
        case Polytope():
            return snap_polytope(place, x, bits, sharp)
        case Binary():
            return Exact.of((x >= 0.5).astype(np.int64))
        case FiniteSet():
            points = place.domain.points
            return points[int(np.abs(points.to_float() - x).sum(axis=1).argmin())].reduced()
        case Union():
            gaps = [float(np.abs(pull(part, x[None]) - x).max()) for part in place.parts]
            nearest = np.argsort(gaps, kind="stable").tolist()
            tried = (snap(place.parts[i], x, bits, sharp) for i in nearest)
            return next((point for point in tried if point is not None), None)
        case Sequences():
            pieces = np.split(x, place.domain.length)
            found = [snap(place.parts[0], piece, bits, sharp) for piece in pieces]
            held = [point for point in found if point is not None]
            return concatenate(held) if len(held) == len(found) else None
        case Everywhere():
            exponents = np.floor(np.log2(np.maximum(np.abs(x), SMALLEST))).astype(int) - bits
            near = [
                round(Fraction(float(v)) / power(int(e))) * power(int(e))
                for v, e in zip(x, exponents, strict=True)
            ]
            return exact_fractions(near, x.shape)


def power(exponent: int) -> Fraction:
    return Fraction(2) ** exponent


@dataclass(frozen=True, slots=True)
class Ranges:
    """What snapping needs of a box: bounds as rationals and as floats, and for each input e with
    2^e <= width, None where the width is 0."""

    low: list[Fraction]
    high: list[Fraction]
    low_floats: list[float]
    high_floats: list[float]
    exponents: list[int | None]


@lru_cache(maxsize=16)  # boxes are compared by identity
def ranges_of(box: Box) -> Ranges:
    low, high = box.low.fractions(), box.high.fractions()
    widths = [b - a for a, b in zip(low, high, strict=True)]
    exponents = [
        width.numerator.bit_length() - width.denominator.bit_length() - 1 if width else None
        for width in widths
    ]
    return Ranges(low, high, box.low.to_float().tolist(), box.high.to_float().tolist(), exponents)


def snap_box(box: Box, x: np.ndarray, bits: int, sharp: bool) -> Exact:
    """The nearest grid points inside the box, the grid fine enough to meet every range."""
    ranges = ranges_of(box)
    near = []
    for i, value in enumerate(x.tolist()):
        exponent = ranges.exponents[i]
        if exponent is None or sharp and value <= ranges.low_floats[i]:
            near.append(ranges.low[i])
        elif sharp and value >= ranges.high_floats[i]:
            near.append(ranges.high[i])
        else:
            shift = bits - exponent
            first, last = -scaled(-ranges.low[i], shift), scaled(ranges.high[i], shift)
            steps = min(max(rounded_steps(value, shift), first), last)
            near.append(Fraction(steps, 1 << shift) if shift > 0 else Fraction(steps << -shift))
    return exact_fractions(near, x.shape)


def scaled(value: Fraction, shift: int) -> int:
    """The integer below value * 2^shift."""
    if shift >= 0:
        return (value.numerator << shift) // value.denominator
    return value.numerator // (value.denominator << -shift)


def rounded_steps(value: float, shift: int) -> int:
    """The integer nearest to value * 2^shift, ties to even."""
    if abs(shift) < 1000 and abs(steps := math.ldexp(value, shift)) < 2.0**52:
        return round(steps)
    return round(Fraction(value) * power(shift))


def snap_polytope(place: Place, x: np.ndarray, bits: int, sharp: bool) -> Exact | None:
    """As in the box; where a face cuts the point off, back on the line to the centre."""
    domain = place.domain
    assert isinstance(domain, Polytope)
    point = snap_box(domain.box, x, bits, sharp)
    if contains(domain, point):
        return point
    if place.centre is None:
        return None
    room, growth = domain.b - domain.A @ place.centre, domain.A @ (point - place.centre)
    pairs = zip(room.fractions(), growth.fractions(), strict=True)
    reach = min((a / b for a, b in pairs if b > 0), default=Fraction(1))
    grid = 2 ** max(4, bits)
    short = reach if sharp else Fraction(math.floor(reach * grid), grid)
    point = place.centre + (point - place.centre) * min(short, Fraction(1))
    return point.reduced() if contains(domain, point) else None
