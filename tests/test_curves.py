# SPDX-License-Identifier: Apache-2.0
"""Lines around smooth and rounding functions: valid at every point, in both arithmetics."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isoform.certificate import curves, fixed
from isoform.certificate.curves import CURVES, lines_of
from isoform.certificate.fixed import SLOPE, Fixed
from isoform.certificate.relaxation import Bounds
from isoform.errors import CertificateRejected
from isoform.numerics import smooth
from isoform.numerics.enclosure import enclose
from isoform.numerics.smooth import SMOOTH, enclosed
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
    names: tuple[str, str], seed: int, near: bool, exact: bool, count: int = 24,
    rules: Any = curves, arithmetic: Any = Fixed,
) -> int:
    """How many points lie outside of the lines, or of the sizes."""
    bounds, a, b = sampled(np.random.default_rng(seed), names, count, near)
    ops = arithmetic(BITS) if exact else Floats()
    layer = rules.lines_of(ops, bounds if exact else in_doubles(bounds),
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


def test_what_rounded_coefficients_cost_is_counted():
    """Four units for each of y, y' and delta, times the largest value."""
    bounds, _, _ = sampled(np.random.default_rng(2), ("tanh", "tanh"), 7, False)
    layer = lines_of(Fixed(BITS), bounds, (("tanh",) * 7,) * 2)
    sizes = sum(int(np.maximum(np.abs(low), np.abs(high)).sum())
                for low, high in (bounds.y, bounds.z, bounds.delta))
    assert int(layer.cost[0]) << BITS >= 4 * sizes


@pytest.mark.parametrize("name", sorted(SMOOTH))
def test_enclosures_of_values_and_derivatives(name):
    """Against exact enclosures at 128 bits, and difference quotients."""
    rng = np.random.default_rng(3)
    low = 1 << 17 if SMOOTH[name].positive else -4 << 20
    step = Fraction(1, 1 << 40)
    for point in rng.integers(low, 3 << 20, size=60).tolist():
        t = Fraction(point, 1 << 20)
        below, above = enclosed(SMOOTH[name].ball, point, 20, 48)
        a, b = enclose(name, t, t)
        assert below <= a * (1 << 48) and b * (1 << 48) <= above
        assert above - below <= 2
        quotient = (enclose(name, t + step, t + step)[0] - a) / step
        rate = Fraction(enclosed(SMOOTH[name].ball_rate, point, 20, 48)[0], 1 << 48)
        assert abs(quotient - rate) < Fraction(1, 1 << 25)


def test_what_cannot_be_bounded_is_rejected():
    """Outside of where a function is defined, too large, too steep."""
    ops = Fixed(40)
    def ends(low: float, high: float) -> Any:
        pair = (np.array([[int(low * 2**40)]]), np.array([[int(high * 2**40)]]))
        return lines_of(ops, Bounds(pair, pair, pair), (("log",), ("exp",)))
    for low, high, why in ((-1, 1, "log of"), (0, 1, "log of"), (1, 30, "exp is too large"),
                           (0.001, 1, "slope of log"), (1, 5, "slope of exp")):
        with pytest.raises(CertificateRejected, match=why):
            ends(low, high)
    with pytest.raises(ValueError, match="too large"):
        enclosed(SMOOTH["exp"].ball, 100, 0, 40)


# --- errors planted in the rules -----------------------------------------------------------------

MUTANTS = [
    (curves, "half = ops.middle(0, ops.whole())", "half = ops.middle(0, ops.whole()) // 2"),
    (curves, "ops.floor(high + half)", "ops.floor(high)"),
    (curves, "-ops.floor(half - low)", "-ops.floor(-low)"),
    (curves, "np.where(flat, most, one)", "np.where(flat, most, one // 2)"),
    (curves, "np.where(flat, least, -one)", "np.where(flat, least, -one // 2)"),
    (curves, "ops.floor(np.maximum(delta[1], 0)) + one", "ops.floor(np.maximum(delta[1], 0))"),
    (curves, "-ops.floor(np.maximum(-delta[0], 0)) - one", "-ops.floor(np.maximum(-delta[0], 0))"),
    (curves, "for place, end in ((a, ends[0]), (c, ends[2])):", "for place, end in ():"),
    (curves, "for place, end in ((b, ends[1]), (c, ends[2])):", "for place, end in ():"),
    (curves, "ops.steep(np.maximum(slope - rate[0], 0), t - c)", "0"),
    (curves, "ops.steep(np.maximum(rate[1] - incline, 0), t - a)", "0"),
    (curves, "top = value[1] - ops.times(t, slope)", "top = value[0] - ops.steep(slope, t) - 4"),
    (curves, "bottom = value[0] - ops.steep(incline, t)",
     "bottom = value[1] - ops.times(t, incline) + 4"),
    (curves, "return np.clip(0, a, b)", "return a.copy()"),
    (curves, "return np.clip(0, a, b)", "return b.copy()"),
    (curves, "(b if curve.bend > 0 else a)", "(a if curve.bend > 0 else b)"),
    (curves, "most = ops.rate(name, c)[1]", "most = ops.rate(name, a)[1]"),
    (curves, "np.minimum(ops.rate(name, a)[0], ops.rate(name, b)[0])", "ops.rate(name, b)[0]"),
    (curves, "np.minimum(ops.rate(name, a)[0], ops.rate(name, b)[0])", "ops.rate(name, a)[0]"),
    (curves, "np.minimum(bounds.y[0], bounds.z[0])", "bounds.y[0]"),
    (curves, "np.maximum(bounds.y[1], bounds.z[1])", "bounds.z[1]"),
    (curves, "above = np.maximum(*(", "above = np.minimum(*("),
    (curves, "below = np.minimum(*(", "below = np.maximum(*("),
    (curves, "h_size=layer.h_size + size(ops, values[0], bent[0])", "h_size=layer.h_size"),
    (curves, "rho_size=layer.rho_size + ops.total(np.maximum(rho, 0)[:, either])",
     "rho_size=layer.rho_size"),
    (curves, "np.maximum(most, -least)\n", "np.minimum(most, -least)\n"),
    (curves, "ends = np.maximum(low, 0), np.maximum(high, 0)", "ends = 0 * low, 0 * high"),
    (fixed, "return (low >> shift) << shift, -((-high >> shift) << shift)",
     "return -((-low >> shift) << shift), (high >> shift) << shift"),
    (fixed, "return (value >> self.bits) << self.bits",
     "return ((value >> self.bits) - 1) << self.bits"),
    (fixed, "ball, bits = (smooth.ball_rate, SLOPE) if rate else (smooth.ball, self.bits)",
     "ball, bits = smooth.ball, SLOPE if rate else self.bits"),
    (smooth, "y.lower().floor().unique_fmpz(), y.upper().ceil().unique_fmpz()",
     "y.upper().floor().unique_fmpz(), y.lower().floor().unique_fmpz()"),
]


def mutant(module: types.ModuleType, old: str, new: str, **known: Any) -> types.ModuleType:
    """The module with one change, and with other names of its own where they are given."""
    text = inspect.getsource(module)
    assert text.count(old) >= 1, f"{old!r} is not in {module.__name__}"
    made = types.ModuleType(module.__name__)
    exec(compile(text.replace(old, new), module.__file__ or "", "exec"), vars(made))
    vars(made).update(known)
    return made


def wild(
    value: Any, rate: Any, a: np.ndarray, b: np.ndarray, c: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Touching points and slopes that have nothing to do with the function."""
    rng = np.random.default_rng(int(np.abs(a).sum() * 1000) % 1000)
    chord = np.where(rng.random(a.shape) < 0.3, np.nan, rng.normal(size=a.shape))
    return c + (b - c) * rng.random(a.shape), chord


def found_out(rules: Any, arithmetic: Any) -> bool:
    """Whether a battery of samples sees a point outside."""
    for names in [(name, name) for name in NAMES] + [("relu", "round"), ("none", "tanh")]:
        for seed in range(4):
            for near in (False, True):
                try:
                    if violations(names, seed, near, True, 24, rules, arithmetic):
                        return True
                except (CertificateRejected, TypeError):
                    continue
    return False


def test_the_rules_themselves_pass_the_battery():
    """With their own choices of slopes, and with any."""
    assert not found_out(curves, Fixed)
    assert not found_out(mutant(curves, "", "", touching=wild), Fixed)


@pytest.mark.parametrize("case", range(len(MUTANTS)))
def test_planted_errors_are_found_out(case):
    module, old, new = MUTANTS[case]
    rules, arithmetic = curves, Fixed
    if module is curves:
        rules = mutant(module, old, new)
    elif module is fixed:
        arithmetic = mutant(module, old, new).Fixed
    else:
        arithmetic = mutant(fixed, "", "", enclosed=mutant(module, old, new).enclosed).Fixed
    free = mutant(module, old, new, touching=wild) if module is curves else rules
    assert found_out(rules, arithmetic) or found_out(free, arithmetic)
