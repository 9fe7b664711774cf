# SPDX-License-Identifier: Apache-2.0
"""Rounding units in a sweep: the rule holds for random rows, radii and codes; false codes and
errors planted in the rule are found out; float bounds hold."""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

from attack_claims import EQUAL, NEW, UNIT, merge, net, swept
from isoform.bounds.backward import backward_bounds
from isoform.bounds.interval import interval_bounds
from isoform.bounds.linear_program import linear_program_bounds
from isoform.bounds.zonotope import zonotope_bounds
from isoform.certificate import staircase
from isoform.certificate.basis import GRID, Basis
from isoform.certificate.check import check
from isoform.certificate.codes import Code, Codes, Value
from isoform.certificate.units import rectified
from isoform.certificate.verdict import Proved, Refuted
from isoform.errors import CertificateRejected, UnsupportedModel
from isoform.network.claim import Claim, Equal, Within
from isoform.network.domain import Box
from isoform.network.evaluate import evaluate_exact, trace
from isoform.network.linear_map import Dense
from isoform.network.network import Builder, Network
from isoform.network.operators import Relu, Round
from isoform.network.unit_layers import unit_layers
from isoform.numerics.exact import Exact, exact_fractions, integers
from isoform.verify.prove import prove
from test_attack_random import row_ends
from test_attack_rules import plus, random_rows, sparse
from test_checker_mutants import plant  # noqa: F401

HALF = Fraction(1, 2)
CONSTANT = merge(code=Code.DEAD)


def ends_of(basis: Basis, point: list[Fraction]) -> list[tuple[Fraction, Fraction]]:
    """Every column at a point; error columns by their range."""
    columns = [(v, v) for v in (Fraction(1), *point)]
    for block in basis.blocks:
        made = []
        for i in range(block.stop - block.start):
            low, high = row_ends(block.arguments, i, columns)
            at = block.start + i
            if block.kind == "relu":
                made.append((max(low, Fraction(0)), max(high, Fraction(0))))
            elif block.kind == "round" and low == high:
                made.append((Fraction(round(low)) - low,) * 2)
            elif block.kind == "round":
                made.append((-HALF, HALF))
            else:
                made.append((Fraction(int(basis.range.low[at]), 1 << GRID),
                             Fraction(int(basis.range.high[at]), 1 << GRID)))
        columns += made
    return columns


def judge_roundings(seed: int, count: int) -> int:
    """At points of the domain, and for every v within the radius, round(v) is within the result's
    radius of its row. Returns how often the rule was applied."""
    rng, done = random.Random(seed), 0
    for _ in range(count):
        low = Fraction(rng.choice([-1, 0, Fraction(-2, 3), Fraction(1, 2), Fraction(7, 10)]))
        high = low + rng.choice([0, 1, Fraction(1, 4), Fraction(4, 3)])
        basis = Basis.on(Box([low], [high]), 1)
        for rule in rng.sample([rectified, staircase.rounded, staircase.rounded], 2):
            start = Value(sparse(random_rows(rng, basis, 2), basis.width), integers([0, 0], (2,)))
            rule(start, basis, lambda asked: Codes.all_new(2))
        rows, codes = likely(rng, basis, 3)
        exact = rng.random() < 0.5
        radius = [0 if exact else rng.choice([0, 3, 1 << 94, 1 << 95, 1 << 97]) for _ in rows]
        value = Value(sparse(rows, basis.width), integers(radius, (3,)))
        try:
            result = staircase.rounded(value, basis, lambda asked, codes=codes: codes)
        except CertificateRejected:
            continue
        done += 1
        for share in (0, 1, HALF, Fraction(1, 3)):
            judge_point(rng, basis, value, result, low + share * (high - low))
    return done


def judge_point(
    rng: random.Random, basis: Basis, value: Value, result: Value, x: Fraction
) -> None:
    columns = ends_of(basis, [x])
    for i in range(len(value.radius)):
        v, most = row_ends(value.rows, i, columns)
        if v != most:
            continue  # an error column: known by its range only
        v += Fraction(int(value.radius[i]) * rng.choice([-2, 0, 1, 2]), 2 << GRID)
        least, most = row_ends(result.rows.widened(basis.width), i, columns)
        radius = Fraction(int(result.radius[i]), 1 << GRID)
        assert least - radius <= round(v) <= most + radius


def likely(
    rng: random.Random, basis: Basis, n: int
) -> tuple[list[dict[int, Fraction]], Codes]:
    """Rows and codes that have a chance: rows of earlier roundings, or nearly so."""
    rows, code, partner, factor = random_rows(rng, basis, n), [], [], []
    spots = [(block, i) for block in basis.blocks if block.kind == "round"
             for i in range(block.stop - block.start)]
    for i in range(n):
        chosen = rng.choice([0, 0, 1, 3, 3, 4]) if spots else rng.choice([0, 1])
        code.append(chosen)
        if chosen == Code.DEAD and rng.random() < 0.6:
            rows[i] = {0: rng.choice([HALF, Fraction(3, 2), Fraction(1, 3), Fraction(2)]),
                       1: Fraction(1, rng.choice([1, 8, -64]))}
        if chosen < Code.MERGE:
            continue
        block, unit = rng.choice(spots)
        sign = Fraction(-1 if chosen == Code.NEGATIVE else 1) * rng.choice([1] * 6 + [-1])
        extra = rng.choice([{}] * 4 + [{0: Fraction(1, 1 << GRID)}, {0: Fraction(1)}])
        factor.append(rng.choice([Fraction(1)] * 9 + [Fraction(2)]))
        rows[i] = plus(extra, block.arguments.row_fractions(unit), sign * factor[-1])
        partner.append(block.start + unit)
    return rows, Codes(
        code=np.array(code, dtype=np.uint8), partner=np.array(partner, dtype=np.int64),
        factor=exact_fractions(factor, (len(factor),)),
        backward=rng.random() < 0.3,
    )


def with_input(operator: object) -> Network:
    """x + operator(x)."""
    build = Builder((1,))
    unit = build.add(operator, (0,), 1)
    return build.build(build.linear([Dense(np.ones((1, 1)))] * 2, (0, unit)))


FALSE = [
    swept(with_input(Round()), net([[2]], None, Round()), EQUAL, NEW,
          merge(partner=[2], factor=[2])),
    # round(x) on [-1, 1] is no constant; round(2 x) is not round(x); nor round(x + 1) that plus 1
    swept(net([[1]], None, Round()), net([[0]]), UNIT, CONSTANT),
    swept(net([[1]], None, Round()), net([[2]], None, Round()), EQUAL, NEW,
          merge(partner=[2], factor=[1])),
    swept(net([[1]], None, Round()), net([[2]], None, Round(), after=[[0.5]]), EQUAL, NEW,
          merge(partner=[2], factor=[2])),
    swept(net([[1]], None, Round()), net([[1]], [1], Round()), EQUAL, NEW,
          merge(partner=[2], factor=[1])),
    swept(net([[1]], None, Round()), net([[-1]], None, Round()), EQUAL, NEW,
          merge(code=Code.NEGATIVE, partner=[2], factor=[1])),
    swept(net([[1]], None, Round()), net([[1]]), EQUAL, merge(code=Code.LINEAR)),
    swept(net([[1]], None, Round()), net([[1]]), EQUAL, NEW),
    swept(net([[1]], None, Round()), net([[1]]), Claim(Within(Fraction(49, 100)), Box([0], [9])),
          NEW),
    swept(net([[1]], None, Round()), net([[0]], [1]), Claim(Equal(), Box([Fraction(1, 2)], [1])),
          CONSTANT),
    swept(net([[1]], None, Round()), net([[1]], None, Relu()), UNIT, NEW,
          merge(partner=[2], factor=[1])),
]
TRUE = [
    swept(net([[1]], None, Round()), net([[-1]], None, Round(), after=[[-1]]), EQUAL, NEW,
          merge(code=Code.NEGATIVE, partner=[2], factor=[1])),
    swept(net([[1]], None, Round()), net([[1]]), Claim(Within(HALF), Box([0], [9])), NEW),
    swept(net([[1]], None, Round()), net([[0]]), Claim(Equal(), Box([-HALF], [HALF])), CONSTANT),
    swept(net([[1]], None, Round()), net([[0]], [2]),
          Claim(Equal(), Box([Fraction(3, 2)], [Fraction(5, 2)])), CONSTANT),
]


def battery() -> None:
    for forged in FALSE:
        try:
            accepted = check(forged)
        except CertificateRejected:
            continue
        pytest.fail(f"accepted: {accepted.statement}")
    for honest in TRUE:
        check(honest)
    assert judge_roundings(1, 600) > 100


def test_true_codes_pass_and_false_ones_do_not() -> None:
    battery()


HOME = "isoform.certificate.staircase"
MUTANTS = [
    ("rounded", "if gap.nonzeros or e[which].any()", "if gap.nonzeros"),
    ("rounded", "if gap.nonzeros or e[which].any()", "if e[which].any()"),
    ("rounded", "mine + unit if sign > 0 else mine - unit", "mine + unit"),
    ("rounded", "mine + unit if sign > 0 else mine - unit", "mine"),
    ("rounded", "argument.widened(basis.width) + unit, e[which]",
     "argument.widened(basis.width) + unit, 0 * e[which]"),
    ("rounded", "argument.widened(basis.width) + unit", "argument.widened(basis.width)"),
    ("rounded", "np.any(codes.factor.numerator != codes.factor.denominator)", "False"),
    ("rounded", '"error")', '"round")'),
    ("put_constants", "known.low - e[which]", "known.low"),
    ("put_constants", "known.high + e[which]", "known.high"),
    ("put_constants", "np.any(low != high)", "False"),
    ("halves", "1 << (GRID - 1)", "1 << (GRID - 2)"),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: f"{m[0]}: {m[2]}"[:70])
def test_mutants_are_found_out(
    mutant: tuple[str, str, str], plant: Callable  # noqa: F811
) -> None:
    plant(HOME, *mutant)
    with pytest.raises((Exception, pytest.fail.Exception)):
        battery()


@pytest.mark.parametrize("mutant", [
    ("doubled % unit == 0", "False"), ("above % 2 == 1", "above % 2 == 0"),
    ("above - lowered.astype(int)", "above"),
], ids=str)
def test_mutants_of_the_tie_are_found_out(
    mutant: tuple[str, str], plant: Callable  # noqa: F811
) -> None:
    plant("isoform.numerics.enclosure", "nearest_integers", *mutant)
    with pytest.raises((Exception, pytest.fail.Exception)):
        battery()


# --- the prover, on one input, against the truth --------------------------------------------------


def staircase_net(rng: random.Random) -> Network:
    """x to one output through ReLUs and roundings, with small rational numbers."""
    build, value, width = Builder((1,)), 0, 1
    for operator in rng.choice([(Round(),), (Relu(), Round()), (Round(), Relu(), Round())]):
        n = rng.randrange(1, 3)
        weight = [[Fraction(rng.randrange(-6, 7), rng.choice([1, 2, 3])) for _ in range(width)]
                  for _ in range(n)]
        bias = Exact.of([Fraction(rng.randrange(-3, 4), 2) for _ in range(n)])
        value, width = build.linear(Dense(Exact.of(weight)), value, bias), n
        value = build.add(operator, (value,), n)
    ones = Exact.of([[Fraction(1)] * width])
    return build.build(build.linear(Dense(ones), value))


@pytest.mark.parametrize("seed", range(12))
def test_no_verdict_contradicts_the_values(seed: int) -> None:
    rng = random.Random(seed)
    source = staircase_net(rng)
    target = source if rng.random() < 0.3 else staircase_net(rng)
    box = Box([Fraction(-1)], [Fraction(3, 2)])
    points = exact_fractions([Fraction(k, 24) - 1 for k in range(61)], (1, 61))
    gaps = (evaluate_exact(target, points) - evaluate_exact(source, points)).abs().fractions()
    for relation in (Equal(), Within(Fraction(1)), Within(Fraction(4))):
        verdict = prove(source, target, Claim(relation, box), timeout=0.05)
        eps = relation.eps if isinstance(relation, Within) else 0
        assert not isinstance(verdict, Proved) or max(gaps) <= eps
        assert not isinstance(verdict, Refuted) or target is not source
        assert verdict.upper is None or verdict.upper >= max(gaps)
        if target is source:
            assert isinstance(verdict, Proved)


@pytest.mark.parametrize("seed", range(20))
def test_float_bounds_hold_the_values(seed: int) -> None:
    rng = random.Random(seed)
    network = staircase_net(rng)
    box = Box([Fraction(-1)], [Fraction(3, 2)])
    values = trace(network, np.linspace(-1, 1.5, 101)[:, None])
    for method in (interval_bounds, zonotope_bounds, backward_bounds):
        for value, (low, high) in zip(values, method(network, box), strict=True):
            assert (value >= low - 1e-9).all() and (value <= high + 1e-9).all()
    last = network.outputs[0]
    (found,) = linear_program_bounds(network, box, last, [0], interval_bounds(network, box))
    assert (values[last] >= found.low - 1e-9).all() and (values[last] <= found.high + 1e-9).all()


def test_regions_of_roundings_are_refused_by_name() -> None:
    with pytest.raises(UnsupportedModel, match="Round"):
        unit_layers(net([[1]], None, Round()))
