# SPDX-License-Identifier: Apache-2.0
"""Lines around smooth and rounding functions: valid at every point, in both arithmetics."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isoform.certificate.curves import CURVES, lines_of
from isoform.certificate.fixed import SLOPE, Fixed
from isoform.certificate.relaxation import Bounds
from isoform.numerics.smooth import SMOOTH
from isoform.verify.floats import Floats

NAMES = sorted(CURVES - {"relu"})
BITS = 34
POINTS = 300
TINY = 1e-12  # what values in doubles may be off, relative to 1 or more; a unit is 50 times that
FLAT = {"none": np.zeros_like, "relu": lambda t: np.maximum(t, 0), "round": np.round}
Pairs = tuple[np.ndarray, np.ndarray]


def function(name: str) -> Callable[[np.ndarray], np.ndarray]:
    return FLAT[name] if name in FLAT else SMOOTH[name].value


def ranges(rng: np.random.Generator, name: str, count: int) -> Pairs:
    """Ranges of all widths, where the function is defined; integers over 2^BITS."""
    if name == "none":
        return np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    middle = rng.normal(size=count) * rng.choice([0.1, 1, 4], size=count)
    width = 10.0 ** rng.uniform(-6, 0.8, size=count)
    if name in SMOOTH and SMOOTH[name].positive:
        middle = np.abs(middle) + width + 0.3
    if name == "exp":  # steeper than 32 is refused
        middle, width = np.minimum(middle, 0), np.minimum(width, 3)
    middle, width = (np.round(part * (1 << BITS)).astype(np.int64) for part in (middle, width))
    return middle - width, middle + width


def sampled(
    rng: np.random.Generator, names: tuple[str, str], count: int, near: bool
) -> tuple[Bounds, np.ndarray, np.ndarray]:
    """Bounds of `count` slots (1, count) in fixed point; many pairs y, y' (points, count), those
    that do not fit the bounds replaced by one that does."""
    y = ranges(rng, names[0], count)
    z = ranges(rng, names[1], count)
    if near:
        moved = [end + rng.integers(0, 1 << BITS - 4, size=count) for end in y]
        z = np.minimum(*moved), np.maximum(*moved)
    a, b = (
        np.concatenate([ends[0][None], ends[1][None], rng.integers(
            ends[0], ends[1] + 1, size=(POINTS, count))]) for ends in (y, z)
    )
    b = b[rng.permutation(len(b))]
    first = b[0] - a[0]
    low, high = (
        first + (rng.uniform(0, 1, size=count) * (end - first)).astype(np.int64)
        for end in (z[0] - y[1], z[1] - y[0])
    )
    fits = (b - a >= low) & (b - a <= high)
    a, b = np.where(fits, a, a[0]), np.where(fits, b, b[0])
    return Bounds(*((x[0][None], x[1][None]) for x in (y, z, (low, high)))), a, b


def in_doubles(bounds: Bounds) -> Bounds:
    return Bounds(*((low / (1 << BITS), high / (1 << BITS))
                    for low, high in (bounds.y, bounds.z, bounds.delta)))


def violations(
    names: tuple[str, str], seed: int, near: bool, exact: bool, count: int = 24
) -> int:
    """How many points lie outside of the lines, or of the sizes."""
    bounds, a, b = sampled(np.random.default_rng(seed), names, count, near)
    ops = Fixed(BITS) if exact else Floats()
    layer = lines_of(ops, bounds if exact else in_doubles(bounds),
                     ((names[0],) * count, (names[1],) * count))
    unit, slope = (1 << BITS, 1 << SLOPE) if exact else (1, 1)
    y, z = a / (1 << BITS), b / (1 << BITS)
    f, g = function(names[0])(y), function(names[1])(z)
    wrong = 0
    for lines, t, v, used in (
        (layer.source, y, f, np.array(True)), (layer.target, z, g, np.array(True)),
        (layer.difference, (b - a) / (1 << BITS), g - f, ~layer.apart),
    ):
        slack = TINY * (1 + np.abs(v) + np.abs(t))
        above = lines.high_slope / slope * t + lines.high / unit
        below = lines.low_slope / slope * t + lines.low / unit
        wrong += ((above + slack < v) & used).sum() + ((below - slack > v) & used).sum()
    for size, v in ((layer.h_size, f), (layer.rho_size, g - f)):
        most = np.abs(v).max(axis=0).sum()
        wrong += size[0] / unit + TINY * count * (1 + most) < most
    return int(wrong)


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6), near=st.booleans())
def test_lines_hold_at_every_point(name, exact, seed, near):
    assert violations((name, name), seed, near, exact) == 0


@pytest.mark.parametrize("names", [
    ("relu", "round"), ("round", "none"), ("none", "tanh"), ("sigmoid", "tanh"), ("erf", "relu"),
], ids=" ".join)
@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6), exact=st.booleans())
def test_slots_with_two_functions_or_one(names, seed, exact):
    assert violations(names, seed, False, exact) == 0
