# SPDX-License-Identifier: Apache-2.0
"""Differential bounds of random pairs against exact values: no bound is ever violated.

In doubles up to their rounding; in fixed point without any allowance, with so few bits too that
every rounding that is not counted shows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

from differential_pairs import (
    Values,
    fixed_or_none,
    inside,
    numbers,
    random_paired,
    random_points,
    random_tree,
    values_at,
)
from isoform.certificate.closing import Forms, forms_of
from isoform.certificate.differential import Boxes, Differential
from isoform.certificate.fixed import Fixed
from isoform.certificate.relaxation import Layer, Lines
from isoform.certificate.tree import Rows, split
from isoform.certificate.tree_evidence import Split
from isoform.errors import CertificateRejected
from isoform.network.claim import Avoids, Forbidden, SameDecision, Within, forbidden_sets
from isoform.network.evaluate import evaluate_exact
from isoform.network.linear_map import Dense
from isoform.network.network import Builder
from isoform.network.operators import Relu
from isoform.network.paired import Paired, Slots, paired
from isoform.network.unit_layers import unit_layers
from isoform.numerics.exact import Exact, concatenate
from isoform.verify.floats import Floats

CLASSES = ("dead", "live", "open", "none")
BITS = (9, 12, 16, 24, 33, 40, 44)


def identity(d: int) -> tuple[Exact, Exact]:
    """Coordinates u = x."""
    constant = Exact.of([1] + [0] * d)
    return constant, concatenate([Exact.zeros((1, d)), Exact.eye(d)])


def random_forms(random: np.random.Generator, pair: Paired) -> Forms:
    d, m = pair.dimension, pair.source_outputs.shape[0]
    rows = random.integers(-8, 9, (3, d + 2 * m)) / 8
    part = Forbidden(Exact.of(rows), Exact.of(random.integers(-8, 9, 3) / 8), (True, False, False))
    sets = (
        *forbidden_sets(Within(Fraction(1, 8)), d, m),
        *forbidden_sets(SameDecision(Fraction(1, 8)), d, m),
        *forbidden_sets(Avoids((part,)), d, m),
    )
    return forms_of(sets, pair, *identity(d))


def form_values(forms: Forms, values: Values) -> list[Fraction]:
    """The forms at a point, from their rows over h and rho."""
    h = [max(v, Fraction(0)) for v in values.y]
    rho = [max(v, Fraction(0)) - w for v, w in zip(values.z, h, strict=True)]
    places = [Fraction(1), *values.point, *h]
    return [
        sum((w * places[at] for at, w in forms.targets.p.row_fractions(t).items()), Fraction(0))
        + sum((w * rho[at] for at, w in forms.targets.q.row_fractions(t).items()), Fraction(0))
        for t in range(len(forms.strict))
    ]


def class_of(low: int | float, high: int | float, has: bool) -> str:
    if not has:
        return "none"
    return "dead" if high <= 0 else "live" if low >= 0 else "open"


def within(lines: Lines, i: int, ops: object, t: list[Fraction], f: list[Fraction],
           slack: Fraction) -> bool:
    """low_slope t + low <= f <= high_slope t + high in every slot of box i."""
    one = Fraction(ops.one())
    slopes = [[Fraction(s) / one for s in part[i].tolist()]
              for part in (lines.low_slope, lines.high_slope)]
    ends = numbers(lines.low[i], ops), numbers(lines.high[i], ops)
    return all(
        a * x + b - slack <= v <= c * x + e + slack
        for a, b, c, e, x, v in zip(slopes[0], ends[0], slopes[1], ends[1], t, f, strict=True)
    )


def judge_box(
    bounds: Differential, boxes: Boxes, layers: list[Layer], empty: np.ndarray, i: int,
    values: Values, slack: Fraction,
) -> None:
    """Everything said of box i is so at a point of it."""
    assert not empty[i], "a box with a point in it is no empty one"
    for value in range(3):
        low = numbers(boxes.bounds[i, :, value, 0], bounds.ops)
        high = numbers(boxes.bounds[i, :, value, 1], bounds.ops)
        for a, v, b in zip(low, values.of(value), high, strict=True):
            assert a - slack <= v <= b + slack, "a bound is violated"
    for layer, start, end in zip(layers, bounds.starts, bounds.starts[1:], strict=False):
        y, z = values.y[start:end], values.z[start:end]
        h, k = ([max(v, Fraction(0)) for v in part] for part in (y, z))
        rho = [b - a for a, b in zip(h, k, strict=True)]
        delta = [b - a for a, b in zip(y, z, strict=True)]
        for lines, t, f in (
            (layer.source, y, h), (layer.target, z, k), (layer.difference, delta, rho)
        ):
            assert within(lines, i, bounds.ops, t, f, slack), "a line is violated"
        assert all(r == t for r, t, e in zip(rho, delta, layer.exact[i], strict=True) if e)
        sizes = [numbers(part[i : i + 1], bounds.ops)[0] + slack
                 for part in (layer.h_size, layer.rho_size)]
        assert sum(h) <= sizes[0] and sum(map(abs, rho)) <= sizes[1], "a size is too small"


def judge(
    seeds: range, make: Callable[[Paired, np.random.Generator], Differential | None],
    slack: Fraction, depth: int = 4,
) -> Counter[str]:
    """Random pairs in this arithmetic; what was met."""
    met: Counter[str] = Counter()
    for seed in seeds:
        random = np.random.default_rng(seed)
        pair, _, _ = random_paired(random)
        points = [values_at(pair, u) for u in random_points(random, pair.dimension, 9)]
        forms = random_forms(random, pair)
        truth = [form_values(forms, values) for values in points]
        try:
            bounds = make(pair, random)
            if bounds is None:
                continue
            rows = Rows(bounds, forms)
            for boxes, layers, empty in random_tree(random, bounds, depth):
                box, form = np.nonzero(np.ones((len(boxes), len(forms.strict)), dtype=bool))
                upper = numbers(rows.upper(boxes, layers, box, form), bounds.ops)
                for i in range(len(boxes)):
                    met["empty"] += int(empty[i])
                    for number, values in enumerate(points):
                        if not inside(boxes, i, values, bounds.ops):
                            continue
                        judge_box(bounds, boxes, layers, empty, i, values, slack)
                        first = i * len(forms.strict)
                        for t, v in enumerate(truth[number]):
                            assert v <= upper[first + t] + slack, "a form is larger"
                        met["points"] += 1
                count_classes(met, bounds, boxes, layers)
        except CertificateRejected:
            met["too large"] += 1
    return met


def count_classes(
    met: Counter[str], bounds: Differential, boxes: Boxes, layers: list[Layer]
) -> None:
    for number, layer in enumerate(bounds.pair.layers):
        for slot in range(layer.size):
            at = bounds.starts[number] + slot
            for i in range(len(boxes)):
                pair = [
                    class_of(*boxes.bounds[i, at, value].tolist(), has[slot])
                    for value, has in ((0, layer.has_source), (1, layer.has_target))
                ]
                met[",".join(pair)] += 1
                lines = layers[number]
                how = "exact" if lines.exact[i, slot] else (
                    "apart" if lines.apart[i, slot] else "together"
                )
                met[how] += 1


def fixed(pair: Paired, random: np.random.Generator) -> Differential | None:
    return fixed_or_none(pair, int(random.choice(BITS)))


def test_slots_give_the_same_functions() -> None:
    for seed in range(60):
        random = np.random.default_rng(seed)
        pair, first, second = random_paired(random)
        for u in random_points(random, pair.dimension, 3):
            found = values_at(pair, u).outputs
            point = Exact.of(np.array(u, dtype=object))
            for outputs, network in zip(found, (first, second), strict=True):
                assert evaluate_exact(network, point) == Exact.of(np.array(outputs, dtype=object))


def test_doubles_hold_up_to_their_rounding() -> None:
    met = judge(range(40), lambda pair, _: Differential(pair, Floats()), Fraction(1, 2**30))
    assert met["points"] > 700


def test_fixed_point_holds_and_every_case_is_met() -> None:
    met = judge(range(1000, 1090), fixed, Fraction(0))
    assert met["points"] > 1000 and met["empty"] > 10
    pairs = {f"{a},{b}" for a in CLASSES for b in CLASSES} - {"none,none"}
    assert not {name for name in (*pairs, "exact", "apart", "together") if met[name] < 3}


def test_slopes_are_free(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(7)

    def anything(self: Fixed, above: np.ndarray, below: np.ndarray) -> np.ndarray:
        found = random.integers(0, (1 << 30) + 1, np.shape(above))
        return np.where(random.random(np.shape(above)) < 0.2, 1 << 30, found)

    monkeypatch.setattr(Fixed, "slope", anything)
    met = judge(range(2000, 2050), fixed, Fraction(0))
    assert met["points"] > 500


def test_fixed_point_is_above_doubles_and_near_them() -> None:
    """But where a choice of lines is a tie, which doubles and integers may break differently."""
    apart = every_one = 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        pair, _, _ = random_paired(random)
        exact = fixed_or_none(pair, 40)
        assert exact is not None
        ends = np.ones((1, pair.dimension))
        forms = random_forms(random, pair)
        found = []
        for bounds in (exact, Differential(pair, Floats())):
            one = 1 << 40 if bounds is exact else 1
            low = (-ends * one).astype(bounds.ops.dtype)
            boxes, layers, _ = bounds.settle(bounds.whole(low, -low))
            every = np.arange(len(forms.strict))
            upper = Rows(bounds, forms).upper(boxes, layers, 0 * every, every)
            found.append(np.concatenate((
                -boxes.bounds[0, ..., 0].ravel(), boxes.bounds[0, ..., 1].ravel(), upper,
            )) / one)
        outer, inner = found
        tiny = 1e-9 * (1 + np.abs(inner))
        apart += int(np.sum((outer < inner - tiny) | (outer > inner + 1000 * tiny)))
        every_one += len(inner)
    assert apart < every_one / 50


def test_nothing_is_bounded_beyond_the_largest_number() -> None:
    """Bounds begin at the largest number; one beyond it must not be clipped to it."""
    for sign, start in ((1, 200.0), (-1, 200.0), (1, 100.0)):
        build = Builder((1,))
        value = build.linear(Dense(np.array([[1.0]])), 0, np.array([start]))
        value = build.add(Relu(), (value,), 1)
        value = build.linear(Dense(np.array([[float(sign)]])), value, np.array([sign * start]))
        network = build.build(build.add(Relu(), (value,), 1))
        layers = unit_layers(network)
        one = Exact.of([1])
        slots = tuple(Slots(np.array([i]), np.array([i]), one) for i in range(2))
        pair = paired(layers, layers, slots)
        ends = np.full((1, 1), 1 << 44)
        bounds = Differential(pair, Fixed(44))
        if start < 128:
            assert not bounds.settle(bounds.whole(-ends, ends))[2].any()
            continue
        with pytest.raises(CertificateRejected, match="too large"):
            bounds.settle(bounds.whole(-ends, ends))


def test_a_bound_that_only_begins_to_be_too_large_is_refused() -> None:
    """relu(200) + 60 x reaches 260, where 44 bits end at 256; nothing else is as large."""
    build = Builder((1,))
    value = build.linear(Dense(np.array([[0.0]])), 0, np.array([200.0]))
    value = build.add(Relu(), (value,), 1)
    value = build.linear([Dense(np.array([[1.0]])), Dense(np.array([[60.0]]))], (value, 0))
    layers = unit_layers(build.build(build.add(Relu(), (value,), 1)))
    ends = np.full((1, 1), 1 << 44)
    for beside in (True, False):
        slots = [Slots(np.array([i]), np.array([i]), Exact.of([1])) for i in range(2)]
        if not beside:
            nobody = np.array([-1])
            slots = [Slots(np.array([i]), nobody, Exact.of([1])) for i in range(2)] + [
                Slots(nobody, np.array([i]), Exact.of([1])) for i in range(2)
            ]
        bounds = Differential(paired(layers, layers, slots), Fixed(44))
        with pytest.raises(CertificateRejected, match="too large"):
            bounds.settle(bounds.whole(-ends, ends))


def test_halves_cover_the_box() -> None:
    """The side below ends where the side above begins, at ends of any parity; a split of a unit
    keeps both sides of zero."""
    pair, _, _ = random_paired(np.random.default_rng(49))
    bounds = Differential(pair, Fixed(20))
    for low, high in ((-7, 8), (-8, 7), (3, 4), (5, 5), (-6, -5)):
        ends = [np.full((1, bounds.d), end, dtype=np.int64) for end in (low, high)]
        boxes = bounds.whole(*ends)
        halves = split(bounds, boxes, np.array([int(Split.INPUT)], np.uint8), np.array([0]))
        assert halves.low[0, 0] == low and halves.high[1, 0] == high
        assert halves.high[0, 0] == halves.low[1, 0] and low <= halves.high[0, 0] <= high
        for kind in (Split.SOURCE, Split.TARGET, Split.DIFFERENCE):
            sides = split(bounds, boxes, np.array([int(kind)], np.uint8), np.array([0]))
            assert sides.signs[:, 0, int(kind) - 1].tolist() == [-1, 1]
            assert np.all(sides.low == low) and np.all(sides.high == high)
