# SPDX-License-Identifier: Apache-2.0
"""Lines around smooth and rounding functions, beside those of ReLU in `relaxation.py`.

Smooth. phi is convex on [a, c] and concave on [c, b], [a, b] around the range. For every slope s,
psi(y) = phi(y) - s y is convex on [a, c], so it lies below its values at a and c there; and it
is concave on [c, b], so it lies below its tangent psi(t) + (phi'(t) - s)(y - t) at any t of [c, b].
The larger of these is an intercept above; one below is the mirror image. For a pair with one phi,
rho = phi(y') - phi(y) = phi'(xi) delta, and on a range that holds both, phi' rises until c and
falls from there: m delta and M delta enclose rho with m <= phi' <= M. Slopes and touching points
are free choices, made in doubles; values and derivatives are enclosed by ball arithmetic.

Rounding. z - 1/2 <= round(z) <= z + 1/2, so delta - 1 <= rho <= delta + 1 for a pair. round is
monotone: its values at the ends of a range bound it, rho has the sign of delta or is 0, and
|rho| <= floor(|delta|) + 1, for a closed interval of length |delta| holds no more ties.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np

from isoform.certificate.phases import STRAIGHT
from isoform.certificate.relaxation import Bounds, Layer, Lines, Ops, relaxed
from isoform.errors import CertificateRejected
from isoform.numerics.smooth import SMOOTH, Smooth

CURVES = frozenset({"relu", "round", *SMOOTH})  # what lies between lines
STEPS = 8  # halvings in search of a tangent
Ends = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, slots=True, eq=False)
class Around:
    """Lines around a function, and the ends of its values, (B, n) each."""

    lines: Lines
    ends: Ends


def lines_of(ops: Ops, bounds: Bounds, curves: tuple[tuple[str, ...], tuple[str, ...]]) -> Layer:
    """The lines of a layer of slots whose units apply these functions."""
    names = [np.array(side, dtype=object) for side in curves]
    bent = [~np.isin(side.astype(str), STRAIGHT) for side in names]
    either = bent[0] | bent[1]
    if not either.any():
        return relaxed(ops, bounds)
    layer = relaxed(ops, Bounds(
        without(bounds.y, bent[0]), without(bounds.z, bent[1]), without(bounds.delta, either),
    ))
    values = []
    for side, lines, (low, high), curved in (
        (names[0], layer.source, bounds.y, bent[0]), (names[1], layer.target, bounds.z, bent[1])
    ):
        ends = np.maximum(low, 0), np.maximum(high, 0)
        for name in sorted(set(side[curved])):
            at = np.flatnonzero(side == name)
            found = around(ops, name, low[:, at], high[:, at])
            put(lines, at, found.lines)
            ends[0][:, at], ends[1][:, at] = found.ends
        values.append(ends)
    least, most = values[1][0] - values[0][1], values[1][1] - values[0][0]
    rho = np.maximum(most, -least)
    layer.apart[:, either] = True
    for name in sorted(set(names[0][bent[0] & (names[0] == names[1])])):
        at = np.flatnonzero((names[0] == name) & (names[1] == name))
        part = Bounds(*((a[:, at], b[:, at]) for a, b in (bounds.y, bounds.z, bounds.delta)))
        found = around_difference(ops, name, part, least[:, at], most[:, at])
        put(layer.difference, at, found.lines)
        rho[:, at] = np.minimum(rho[:, at], np.maximum(found.ends[1], -found.ends[0]))
        apart = gap(ops, layer.source, part.y, at) + gap(ops, layer.target, part.z, at)
        layer.apart[:, at] = gap(ops, layer.difference, part.delta, at) > apart
    sizes = [size(ops, part, either) for part in (bounds.y, bounds.z, bounds.delta)]
    off = np.full(len(rho), 2 * ops.times_off)
    return replace(
        layer, h_size=layer.h_size + size(ops, values[0], bent[0]),
        rho_size=layer.rho_size + ops.total(np.maximum(rho, 0)[:, either]),
        cost=layer.cost + sum(ops.slack(off, each) for each in sizes),
    )


def without(ends: Ends, slots: np.ndarray) -> Ends:
    """Ends with zeros in some slots."""
    return np.where(slots, 0, ends[0]), np.where(slots, 0, ends[1])


def put(lines: Lines, at: np.ndarray, part: Lines) -> None:
    for field in fields(Lines):
        getattr(lines, field.name)[:, at] = getattr(part, field.name)


def size(ops: Ops, ends: Ends, slots: np.ndarray) -> np.ndarray:
    """Sums of the largest absolute values in some slots, (B,)."""
    return np.asarray(ops.total(np.maximum(np.abs(ends[0]), np.abs(ends[1]))[:, slots]))


def gap(ops: Ops, lines: Lines, ends: Ends, at: np.ndarray) -> np.ndarray:
    """How far the lines are apart in the middle of the range, nearly."""
    middle = (ops.number(ends[0]) + ops.number(ends[1])) / 2
    slope = ops.number_of_slope(lines.high_slope[:, at] - lines.low_slope[:, at])
    return slope * middle + ops.number(lines.high[:, at]) - ops.number(lines.low[:, at])


def around(ops: Ops, name: str, low: np.ndarray, high: np.ndarray) -> Around:
    """A function of t for t in [low, high], (B, n)."""
    return rounding(ops, low, high) if name == "round" else smooth(ops, name, low, high)


def around_difference(
    ops: Ops, name: str, bounds: Bounds, least: np.ndarray, most: np.ndarray
) -> Around:
    """The same function of y' less that of y, over delta; [least, most] holds it anyhow."""
    if name == "round":
        return rounding_difference(ops, bounds.delta, least, most)
    return smooth_difference(ops, name, bounds)


# --- rounding -------------------------------------------------------------------------------------


def rounding(ops: Ops, low: np.ndarray, high: np.ndarray) -> Around:
    """round(t): one integer, or t give or take a half."""
    half = ops.middle(0, ops.whole())
    bottom, top = -ops.floor(half - low), ops.floor(high + half)
    fixed = bottom >= top
    slope = np.where(fixed, 0, ops.one()).astype(ops.dtype)
    lines = Lines(slope, np.where(fixed, top, half), slope.copy(), np.where(fixed, bottom, -half))
    return Around(lines, (bottom, top))


def rounding_difference(ops: Ops, delta: Ends, least: np.ndarray, most: np.ndarray) -> Around:
    """round(y') - round(y): between two integers, or delta give or take 1."""
    one = ops.whole()
    most = np.minimum(most, np.where(delta[1] > 0, ops.floor(np.maximum(delta[1], 0)) + one, 0))
    least = np.maximum(
        least, np.where(delta[0] < 0, -ops.floor(np.maximum(-delta[0], 0)) - one, 0)
    )
    flat = most - least <= 2 * one
    slope = np.where(flat, 0, ops.one()).astype(ops.dtype)
    lines = Lines(slope, np.where(flat, most, one), slope.copy(), np.where(flat, least, -one))
    return Around(lines, (least, most))


# --- smooth functions -----------------------------------------------------------------------------


def smooth(ops: Ops, name: str, low: np.ndarray, high: np.ndarray) -> Around:
    """phi(t)."""
    curve = SMOOTH[name]
    a, b, c = places(ops, name, low, high)
    ends = [ops.curve(name, place) for place in (a, b, c)]
    ranges = np.minimum(ends[0][0], ends[1][0]), np.maximum(ends[0][1], ends[1][1])
    x = [ops.number(place) for place in (a, b, c)]
    above, chord = touching(curve.value, curve.rate, *x)
    below, other = touching(lambda t: -curve.value(-t), lambda t: curve.rate(-t), -x[1], -x[0],
                            -x[2])
    t, slope, value, rate = tangent(ops, name, np.clip(ops.near(above), c, b), chord)
    top = value[1] - ops.times(t, slope) + np.maximum(
        ops.steep(np.maximum(rate[1] - slope, 0), b - t),
        ops.steep(np.maximum(slope - rate[0], 0), t - c),
    )
    for place, end in ((a, ends[0]), (c, ends[2])):
        top = np.maximum(top, end[1] - ops.times(place, slope))
    t, incline, value, rate = tangent(ops, name, np.clip(ops.near(-below), a, c), other)
    bottom = value[0] - ops.steep(incline, t) - np.maximum(
        ops.steep(np.maximum(rate[1] - incline, 0), t - a),
        ops.steep(np.maximum(incline - rate[0], 0), c - t),
    )
    for place, end in ((b, ends[1]), (c, ends[2])):
        bottom = np.minimum(bottom, end[0] - ops.steep(incline, place))
    return Around(Lines(slope, ops.kept(top), incline, ops.kept(bottom)), ranges)


def places(
    ops: Ops, name: str, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nodes a <= low, b >= high, and c where convex turns into concave between them."""
    a, b = ops.nodes(low, high)
    if SMOOTH[name].positive and (a <= 0).any():
        raise CertificateRejected("tree", f"{name} of numbers that may be 0 or negative")
    return a, b, bend(SMOOTH[name], a, b)


def bend(curve: Smooth, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if curve.bend == 0:
        return np.clip(0, a, b)
    return (b if curve.bend > 0 else a).copy()


def tangent(
    ops: Ops, name: str, t: np.ndarray, chord: np.ndarray
) -> tuple[np.ndarray, np.ndarray, Ends, Ends]:
    """Where to touch, the slope there (or the chord's, where that is a number), and the ends of phi
    and phi' there."""
    value, rate = ops.curve(name, t), ops.rate(name, t)
    slope = np.where(np.isnan(chord), rate[0], ops.inclined(chord)).astype(ops.dtype)
    return t, slope, value, rate


def touching(
    value: Callable[[np.ndarray], np.ndarray], rate: Callable[[np.ndarray], np.ndarray],
    a: np.ndarray, b: np.ndarray, c: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """For a low line above phi on [a, b]: where it touches phi in [c, b], and its slope if it is
    the chord, else NaN. A tangent from a's value touches at the root of phi(t) - phi(a) -
    phi'(t)(t - a), which rises on [c, b]; beyond it, the middle is the best place. In doubles."""
    first, last = value(a), value(b)
    low, high = c, b
    for _ in range(STEPS if (c > a).any() and (c < b).any() else 0):
        t = (low + high) / 2
        beyond = value(t) - first - rate(t) * (t - a) >= 0
        low, high = np.where(beyond, low, t), np.where(beyond, t, high)
    t = np.maximum(np.where(c > a, high, a), (a + b) / 2)
    chord = (last - first) / np.where(b > a, b - a, 1)
    whole = rate(b) >= chord
    return np.where(whole, b, t), np.where(whole, chord, np.nan)


def smooth_difference(ops: Ops, name: str, bounds: Bounds) -> Around:
    """phi(y') - phi(y), by the mean value theorem."""
    a, b, c = places(
        ops, name, np.minimum(bounds.y[0], bounds.z[0]), np.maximum(bounds.y[1], bounds.z[1])
    )
    least = np.minimum(ops.rate(name, a)[0], ops.rate(name, b)[0])
    most = ops.rate(name, c)[1]
    tops = [np.maximum(ops.steep(least, end), ops.steep(most, end)) for end in bounds.delta]
    bottoms = [np.minimum(ops.times(end, least), ops.times(end, most)) for end in bounds.delta]
    width = ops.number(bounds.delta[1]) - ops.number(bounds.delta[0])
    width = np.where(width > 0, width, 1)
    rising, falling = (
        ops.inclined((ops.number(right) - ops.number(left)) / width)
        for left, right in (tops, bottoms)
    )
    above = np.maximum(*(
        top - ops.times(end, rising) for top, end in zip(tops, bounds.delta, strict=True)
    ))
    below = np.minimum(*(
        bottom - ops.steep(falling, end) for bottom, end in zip(bottoms, bounds.delta, strict=True)
    ))
    lines = Lines(rising, ops.kept(above), falling, ops.kept(below))
    return Around(lines, (np.minimum(*bottoms), np.maximum(*tops)))
