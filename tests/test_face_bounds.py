# SPDX-License-Identifier: Apache-2.0
"""Bounds on polytopes against exact values: nothing said of the points of one is ever violated."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

import test_tree_mutants as mutants
from differential_pairs import inside, numbers, one_of, random_paired, values_at
from face_places import in_cube, polytope, random_place
from isoform.certificate import faces as rows_and_cuts
from isoform.certificate.differential import Boxes, Differential
from isoform.certificate.faces import Cuts, Faces, at_ends
from isoform.certificate.fixed import GRID, SLOPE, Fixed
from isoform.certificate.leaf_hints import Hints
from isoform.certificate.tree import Rows, split
from isoform.certificate.tree_evidence import Split
from isoform.errors import CertificateRejected
from isoform.network.domain import Box, Domain, Polytope, Sequences, bound_to, hull
from isoform.numerics.exact import Exact
from isoform.verify.floats import Floats
from test_differential import BITS, form_values, judge_box, random_forms

FACES, HINTS, FIXED, DIFFERENTIAL = (
    f"isoform.certificate.{name}" for name in ("faces", "leaf_hints", "fixed", "differential")
)
HALF = Exact.of(np.array(0.5))


def faces_in(place: Domain) -> Faces:
    box = hull(place)
    assert box is not None
    return rows_and_cuts.faces_of(place, (box.low + box.high) * HALF, (box.high - box.low) * HALF)


def judge(seeds: range, slack: Fraction = Fraction(0), depth: int = 4) -> Counter[str]:
    """Random pairs on random polytopes; in doubles where a slack is given."""
    met: Counter[str] = Counter()
    for seed in seeds:
        random = np.random.default_rng(seed)
        pair, _, _ = random_paired(random)
        place, points = random_place(random, pair.dimension)
        faces = faces_in(place)
        ops = Floats() if slack else Fixed(int(random.choice(BITS)))
        try:
            bounds = Differential(pair, ops, faces)
            judge_tree(random, bounds, in_cube(place, points), slack, depth, met)
        except CertificateRejected:
            met["too large"] += 1
    return met


def judge_tree(
    random: np.random.Generator, bounds: Differential, points: list[list[Fraction]],
    slack: Fraction, depth: int, met: Counter[str],
) -> None:
    """Halves of halves; a point that was in a box is in what is left of it."""
    ops, values = bounds.ops, [values_at(bounds.pair, u) for u in points]
    forms = random_forms(random, bounds.pair)
    truth = [form_values(forms, each) for each in values]
    rows = Rows(bounds, forms)
    ends = np.full((1, bounds.d), one_of(ops), dtype=ops.dtype)
    boxes = bounds.whole(-ends, ends)
    for _ in range(depth):
        before = boxes
        boxes, layers, empty = bounds.settle(boxes)
        met["smaller"] += int(np.any(boxes.high - boxes.low < before.high - before.low))
        met["empty"] += int(empty.sum())
        box, form = np.nonzero(np.ones((len(boxes), len(forms.strict)), dtype=bool))
        upper = numbers(rows.upper(boxes, layers, box, form), ops)
        hinted = hinted_upper(random, rows, boxes, layers, box, form)
        for i in range(len(boxes)):
            for number, point in enumerate(values):
                if not inside(before, i, point, ops):
                    continue
                met["points"] += 1
                assert slack or inside(boxes, i, point, ops), "a point of the polytope is cut off"
                judge_box(bounds, boxes, layers, empty, i, point, slack)
                for t, v in enumerate(truth[number]):
                    at = i * len(forms.strict) + t
                    assert v <= upper[at] + slack, "a form is larger"
                    assert v <= hinted[at] + slack, "a form is larger than its hints say"
        boxes = random_halves(random, bounds, boxes)


def random_halves(random: np.random.Generator, bounds: Differential, boxes: Boxes) -> Boxes:
    inputs = random.random(len(boxes)) < (0.6 if bounds.units else 2.0)
    value, slots = random.integers(0, 3, len(boxes)), np.zeros(len(boxes), dtype=np.int64)
    if bounds.units:
        slots = random.integers(0, bounds.units, len(boxes))
        inputs |= boxes.signs[np.arange(len(boxes)), slots, value] != 0
    kinds = np.where(inputs, int(Split.INPUT), int(Split.SOURCE) + value)
    places = np.where(inputs, random.integers(0, bounds.d, len(boxes)), slots)
    return split(bounds, boxes, kinds.astype(np.uint8), places)


def hinted_upper(
    random: np.random.Generator, rows: Rows, boxes: Boxes, layers: list, box: np.ndarray,
    form: np.ndarray,
) -> list[Fraction]:
    """Upper bounds with any multiples at all, half of them negative."""
    bounds, count = rows.bounds, len(box)
    size = random.choice([0, 0.1, 1, 20], (count, bounds.faces))
    hints = Hints(
        np.arange(count, dtype=np.int32), form.astype(np.int32), np.zeros(count, dtype=np.int64),
        np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.float32),
        random.choice([0, 255, 128], (count, 2 * bounds.units)).astype(np.uint8),
        np.zeros((count, bounds.units), dtype=np.float32),
        (random.normal(size=size.shape) * size).astype(np.float32),
        np.zeros(count, dtype=np.int64), np.zeros(0, dtype=np.int32),
        np.zeros((0, 2), dtype=np.float32), np.zeros((0, 0), dtype=np.uint16),
    )
    carried = bounds.carried(box, rows.p[form], rows.q[form], bounds.count, layers)
    hints.put(carried, boxes, np.arange(count), bounds)
    return numbers(bounds.concluded(carried, boxes, layers, bounds.count), bounds.ops)


def test_bounds_hold_on_polytopes() -> None:
    met = judge(range(120))
    assert met["points"] > 1500 and met["smaller"] > 100 and met["empty"] > 100
    assert met["too large"] < 60


def test_doubles_hold_up_to_their_rounding() -> None:
    assert judge(range(200, 230), Fraction(1, 1 << 30))["points"] > 300


# --- rows -----------------------------------------------------------------------------------------


def test_rows_are_rounded_outward() -> None:
    """At every point where a row holds, the face holds; it is no more than about 2^-27 weaker."""
    for seed in range(200):
        random = np.random.default_rng(seed)
        d = int(random.integers(1, 6))
        place, points = random_place(random, d)
        faces = faces_in(place)
        assert not (faces.void and points)
        whole = [Fraction(1 << SLOPE), *[Fraction(0)] * d]
        assert np.abs(faces.rows[:, 1:]).max(initial=0) <= 1 << SLOPE
        for u in in_cube(place, points):
            for row in faces.rows.tolist():
                assert row[0] + sum(a * x for a, x in zip(row[1:], u, strict=True)) >= 0
        for row in faces.rows.tolist():
            assert abs(row[0]) <= d * whole[0] + d


def test_the_scale_of_a_row_does_not_matter() -> None:
    random = np.random.default_rng(5)
    box = Box([-1, -1, 0], [1, 2, 5])
    rows = [([Fraction(1, 3), Fraction(-5, 7), Fraction(2)], Fraction(11, 13))]
    first = faces_in(polytope(rows, box, [Fraction(1)]))
    for _ in range(20):
        scale = Fraction(2) ** int(random.integers(-900, 900))
        assert np.array_equal(faces_in(polytope(rows, box, [scale])).rows, first.rows)


def test_dyadic_rows_are_exact() -> None:
    place = Polytope(np.array([[1.0, 1.0]]), np.array([1.0]), Box([0, 0], [1, 1]))
    assert faces_in(place).rows.tolist() == [[0, -(1 << SLOPE - 1), -(1 << SLOPE - 1)]]


def test_rows_that_hold_everywhere_or_nowhere() -> None:
    box = Box([-1, -1], [1, 1])
    always = Polytope(np.array([[1.0, 1.0], [0.0, 0.0]]), np.array([2.0, 0.0]), box)
    assert not faces_in(always).rows.any() and not faces_in(always).void
    for row, bound in (([1.0, 1.0], -2.5), ([0.0, 0.0], -1e-30), ([1e300, 0.0], -2e300)):
        never = faces_in(Polytope(np.array([row]), np.array([bound]), box))
        assert never.void and not never.rows.any()
    edge = faces_in(Polytope(np.array([[1.0, 1.0]]), np.array([-2.0]), box))
    assert not edge.void and edge.rows.any()


def test_sequences_repeat_the_rows_of_their_elements() -> None:
    element = Polytope(np.array([[1.0, 2.0]]), np.array([0.5]), Box([0, 0], [1, 1]))
    place = bound_to(Sequences(3, element), 6)
    found = faces_in(place).rows
    single = faces_in(element).rows[0]
    for k in range(3):
        expected = [single[0], *[0] * 6]
        expected[1 + 2 * k : 3 + 2 * k] = single[1:]
        assert found[k].tolist() == expected


def test_rows_of_endless_numbers_are_left_out() -> None:
    """A common denominator of a million bits would fill the memory, whatever the rows are."""
    small = Exact.of(np.array([[Fraction(1, 2), Fraction(1)]] * 2000, dtype=object))
    wide = Exact.of(np.array([Fraction(1, (1 << 600_000) + 1)] * 2000, dtype=object))
    assert not len(faces_in(Polytope(small, wide, Box([0, 0], [1, 1]))))
    assert len(faces_in(Polytope(small[:20], wide[:20], Box([0, 0], [1, 1])))) == 20


def test_too_many_rows_are_left_out() -> None:
    rows = np.ones((rows_and_cuts.MOST_FACES + 1, 1))
    assert not len(faces_in(Polytope(rows, np.zeros(len(rows)), Box([-1], [1]))))
    assert len(faces_in(Polytope(rows[1:], np.zeros(len(rows) - 1), Box([-1], [1])))) > 4000


def test_multiples_are_numbers_whatever_the_boxes_are() -> None:
    """Flat boxes, forms that are 0, boxes outside of the polytope, numbers near the largest one."""
    for bits in (16, 40, 44):
        ops, one = Fixed(bits), 1 << bits
        place = Polytope(np.array([[1.0, 1.0, 0.0], [-1.0, 0.5, 2.0**-20], [1.0, 0.0, 0.0]]),
                         np.array([0.5, -0.25, -0.5]), Box([-1] * 3, [1, 1, 1]))
        cuts = Cuts(faces_in(place), ops)
        ends = np.array([-one, -one // 2, 0, one // 3, one])
        low = np.stack(np.meshgrid(ends, ends, ends), axis=-1).reshape(-1, 3)
        for high in (low, np.full_like(low, one)):
            for size in (0, 1, one, *(ops.infinity >> n for n in range(12))):
                forms = np.array([[size, 0, -size], [0, size, size], [-size, -size, 0]])
                box = np.arange(3 * len(low)) % len(low)
                every = np.repeat(forms, len(low), axis=0)
                chosen = cuts.choice(every, low, high, box)
                assert np.isfinite(chosen).all() and np.all(chosen >= 0)
                assert np.all(chosen.sum(axis=1) <= rows_and_cuts.LARGEST)
                constant = np.zeros(len(every), np.int64)
                try:
                    plain = at_ends(ops, every, constant, (low[box], high[box]))
                except CertificateRejected:
                    continue  # beyond the fixed point without any multiples
                cuts.lower(plain.copy(), every.copy(), constant, (low, high), box)


# --- ends -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [8, 12, 17, 30, 40, 44])
def test_quotients_and_grids_are_above(bits: int) -> None:
    ops, random = Fixed(bits), np.random.default_rng(bits)
    one = 1 << bits
    above = random.integers(-4 * one, 4 * one, 5000) >> random.integers(0, bits, 5000)
    slope = np.maximum(random.integers(1, (1 << SLOPE) + 1, 5000) >> random.integers(0, 30, 5000),
                       1)
    found = ops.quotient(above, slope)
    for a, s, q in zip(above.tolist(), slope.tolist(), found.tolist(), strict=True):
        true = Fraction(a << SLOPE, s)
        assert q >= min(true, one)
        if abs(true) <= one:
            assert q < true + 1
    grid = ops.coarse(above)
    step = 1 << max(0, bits - GRID)
    assert np.all(grid > above) and np.all(grid <= above + 2 * step) and not np.any(grid % step)


def test_doubles_and_fixed_point_find_the_same_boxes() -> None:
    """But where an end comes to lie as near to the grid as they differ."""
    apart = every_one = 0
    for seed in range(120):
        random = np.random.default_rng(seed)
        d = int(random.integers(1, 6))
        faces = faces_in(random_place(random, d)[0])
        if not len(faces):
            continue
        corners = np.sort(random.integers(-16, 17, (2, 20, d)), axis=0)
        found = []
        for ops, one in ((Fixed(40), 1 << 36), (Floats(), 1 / 16)):
            low, high, empty = Cuts(faces, ops).tightened(*(part * one for part in corners))
            found.append(np.concatenate((low, high), axis=1)[~empty] / (16 * one))
        apart += int(np.sum(found[0] != found[1]))
        every_one += found[0].size
    assert apart <= every_one / 1000 and every_one > 4000


def test_a_simplex_cuts_corners() -> None:
    place = Polytope(np.ones((1, 3)), np.array([1.0]), Box([0, 0, 0], [1, 1, 1]))
    cuts = Cuts(faces_in(place), Fixed(40))
    one = 1 << 40
    low = np.array([[0, 0, -one], [one // 2, 0, 0]])
    low, high, empty = cuts.tightened(low, np.full((2, 3), one))
    assert empty.tolist() == [False, True]
    assert low[0].tolist() == [0, 0, -one]
    grid = one >> GRID
    assert np.all(np.abs(high[0] - [0, 0, -one]) <= 2 * grid) and np.all(high[0] > [0, 0, -one])


def test_ends_keep_every_point() -> None:
    kept = cut = 0
    for seed in range(150):
        random = np.random.default_rng(seed)
        d, ops = int(random.integers(1, 5)), Fixed(int(random.choice(BITS)))
        place, points = random_place(random, d)
        faces, one = faces_in(place), one_of(ops)
        corners = np.sort(random.integers(-8, 9, (2, 30, d)), axis=0)
        corners[0, :, :1] = -8
        before = [part * one // 8 for part in corners]
        low, high, empty = Cuts(faces, ops).tightened(*before)
        assert np.all(low >= before[0]) and np.all((high <= before[1]) | empty[:, None])
        cut += int(np.sum(low > before[0]) + np.sum(high < before[1]))
        for u in in_cube(place, points):
            at = np.array([x * one for x in u], dtype=object)
            there = np.all((before[0] <= at) & (at <= before[1]), axis=1)
            left = np.all((low <= at) & (at <= high), axis=1) & ~empty
            assert not np.any(there & ~left), "a point is cut off"
            kept += int(there.sum())
    assert kept > 2000 and cut > 2000


def test_multiples_add_what_the_faces_are() -> None:
    """Forms with any multiples of faces, at corners, in rationals: never below what they mean."""
    for seed in range(120):
        random = np.random.default_rng(seed)
        d, ops = int(random.integers(1, 6)), Fixed(int(random.choice(BITS)))
        faces = faces_in(random_place(random, d)[0])
        unit, count = Fraction(1, 1 << ops.bits), 8
        forms = random.integers(-one_of(ops), one_of(ops), (count, d + 1))
        size = random.choice([1, 1, 2.0**-6], (count, len(faces)))
        multiples = random.normal(size=size.shape) * size
        inputs, constant = Cuts(faces, ops).added(multiples, forms[:, 1:], forms[:, 0])
        rows = [[Fraction(v, 1 << SLOPE) for v in row] for row in faces.rows.tolist()]
        for i in range(count):
            taken = [max(Fraction(0), Fraction(m)) for m in multiples[i].tolist()]
            taken = [m // unit * unit for m in taken]
            for u in random.choice([-1, 1], (12, d)).tolist():
                asked = [Fraction(1), *map(Fraction, u)]
                true = sum(int(v) * unit * x for v, x in zip(forms[i], asked, strict=True))
                true += sum(m * sum(v * x for v, x in zip(row, asked, strict=True))
                            for m, row in zip(taken, rows, strict=True))
                made = [constant[i], *inputs[i]]
                found = sum(int(v) * unit * x for v, x in zip(made, asked, strict=True))
                assert true <= found <= true + unit * 16 * (d + 1) * (1 + len(rows))


# --- errors planted -------------------------------------------------------------------------------

MUTANTS = [
    (FACES, "outward", "found = -(-wide >> shift)", "found = wide >> shift"),
    (FACES, "outward", "+ ((found[1:] << shift) - wide[1:]).sum()", ""),
    (FACES, "outward", "found[0] = -(-(wide[0]", "found[0] = ((wide[0]"),
    (FACES, "faces_of", "row[0] < -size", "row[0] < 0"),
    (FACES, "faces_of", "-size <= row[0]", "True"),
    (FACES, "faces_of", "A @ middle", "0 * (A @ middle)"),
    (FACES, "faces_of", "A * half", "A"),
    (FACES, "Cuts.tightened", "low[:, at], high[:, at]", "high[:, at], low[:, at]"),
    (FACES, "Cuts.tightened", "np.where(slope > 0, low[:, at], high[:, at])",
     "low[:, at]"),
    (FACES, "Cuts.tightened", "+ least - least.sum", "- least.sum"),
    (FACES, "Cuts.tightened", "end[:, up]", "end[:, up] - 2 * ops.least()"),
    (FACES, "Cuts.tightened", "-end[:, ~up]", "end[:, ~up]"),
    (FACES, "Cuts.tightened", "low > high", "low >= high"),
    (FACES, "Cuts.tightened", "(low > high, axis=1)", "(low > low.max(), axis=1)"),
    (FACES, "Cuts.added", "np.maximum(multiples, 0)", "multiples"),
    (FACES, "Cuts.added", "+ off * (1 + inputs.shape[1])", ""),
    (FACES, "Cuts.added", "+ found[:, 0]", ""),
    (FACES, "at_ends", "(inputs - positive, ends[0])", "(inputs - positive, ends[1])"),
    (FIXED, "Fixed.quotient", "-(rest << SLOPE)", "(rest << SLOPE)"),
    (FIXED, "Fixed.quotient", "np.clip(above // slope, -most, most)", "above // slope"),
    (FIXED, "Fixed.coarse", "+ 1) << shift", ") << shift"),
]


def battery() -> None:
    test_rows_are_rounded_outward()
    test_rows_that_hold_everywhere_or_nowhere()
    for bits in (8, 30, 44):
        test_quotients_and_grids_are_above(bits)
    test_ends_keep_every_point()
    test_multiples_add_what_the_faces_are()
    judge(range(12))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: f"{m[1]}: {m[3]}"[:70])
def test_errors_in_faces_are_found_out(
    mutant: tuple[str, str, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, name, wrong = mutants.planted(*mutant)
    monkeypatch.setattr(owner, name, wrong)
    with pytest.raises((AssertionError, ValueError, IndexError, OverflowError)):
        battery()
