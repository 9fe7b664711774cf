# SPDX-License-Identifier: Apache-2.0
"""What is left after specialising equals the source on the domain, exactly, and is smaller."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import networks
from isoform.algebra.affine_rows import AffineRows
from isoform.algebra.carriers import by_basis, candidates, composed, short_below
from isoform.bounds import stable
from isoform.bounds.stable import DEAD, ON, stable_units
from isoform.certificate.verdict import Proved, Refuted
from isoform.converters.specialise_to_domain import CONVERTER, SpecialiseOptions, rewrite
from isoform.errors import Refused
from isoform.formats.onnx.read import read_onnx
from isoform.forms.feed_forward import FeedForward
from isoform.network.claim import Claim, Equal
from isoform.network.domain import (
    Binary,
    Box,
    Domain,
    Everywhere,
    FiniteSet,
    Polytope,
    Union,
    bound_to,
    contains,
    hull,
)
from isoform.network.evaluate import evaluate_exact
from isoform.network.linear_map import Csr, Dense
from isoform.network.operators import LeakyRelu, Relu
from isoform.network.primitive import to_primitive
from isoform.network.size import AtMost, measure
from isoform.numerics.enclosure import Enclosure
from isoform.numerics.exact import Exact, concatenate, exact_fractions
from isoform.numerics.row_basis import full_rank, row_basis
from isoform.numerics.sparse import ExactSparse
from isoform.verify.prove import prove

BACKWARD = SpecialiseOptions()
ALWAYS = SpecialiseOptions(absorb="always")
SMALL = Polytope(Exact.of([[1, 1]]), Exact.of([Fraction(-1, 2)]), Box([-1, -1], [1, 1]))


def network_of(parts: list[tuple[np.ndarray, np.ndarray]]) -> FeedForward:
    layers = tuple((Dense(weight), bias) for weight, bias in parts)
    return FeedForward(layers, (Relu(),) * (len(layers) - 1))


def random_form(rng: np.random.Generator, shift: float) -> FeedForward:
    """Layers with dead, constant, unread and always-on units, some rows combinations of others."""
    widths = [int(rng.integers(1, 5)), *rng.integers(1, 9, int(rng.integers(1, 4))).tolist(), 2]
    layers = []
    for i, (n, m) in enumerate(zip(widths, widths[1:], strict=False)):
        weight = (rng.integers(-8, 9, (m, n)) / 4).astype(np.float32)
        bias = (rng.integers(-8, 9, m) / 8 + shift * rng.choice([-1, 1], m)).astype(np.float32)
        if m > 2 and i < len(widths) - 2:
            weight[0] = 0
            weight[1] = 2 * weight[2]
        if i and n > 3:
            weight[:, 3] = 0
        part = Csr.of(ExactSparse.of(Exact.of(weight))) if rng.integers(4) == 0 else Dense(weight)
        layers.append((part, None if rng.integers(6) == 0 else bias))
    return FeedForward(tuple(layers), (Relu(),) * (len(layers) - 1))


def points_in(domain: Domain, n: int, rng: np.random.Generator) -> Exact:
    """(n, count) exact points of a bound domain: corners of the hull and rationals."""
    box = hull(domain)
    assert box is not None
    share = rng.integers(0, 7, (60, n)) * rng.integers(0, 2, (60, 1)) + 6 * rng.integers(
        0, 2, (60, n)
    )
    rows = [
        box.low + exact_fractions([Fraction(min(6, int(s)), 6) for s in row], (n,))
        * (box.high - box.low)
        for row in share
    ]
    if isinstance(domain, FiniteSet):
        rows = [domain.points[i] for i in range(len(domain.points))]
    inside = [row.reshape(n, 1) for row in rows if contains(domain, row)]
    return concatenate(inside, axis=1)


def assert_contract(form: FeedForward, domain: Domain, options: SpecialiseOptions) -> FeedForward:
    n = form.widths[0]
    assert CONVERTER.requires(form, domain, options) is None
    result = rewrite(form, domain, options)
    x = points_in(domain, n, np.random.default_rng(0))
    assert evaluate_exact(form.lower(), x) == evaluate_exact(result.form.lower(), x)
    prediction = CONVERTER.predict(form, domain, options)
    assert isinstance(prediction, AtMost)
    allowed, actual = prediction.size.as_dict(), measure(result.form.lower()).as_dict()
    assert all(actual[name] <= allowed[name] for name in actual), (actual, allowed)
    assert FeedForward.lift(result.form.lower()) == result.form
    assert result.notes == rewrite(form, domain, options).notes
    return result.form


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 10**9), st.sampled_from([0.0, 1.0, 4.0, 20.0]),
    st.sampled_from(["interval", "auto", "programme"]),
    st.sampled_from(["short", "always", "never"]), st.integers(0, 4),
)
def test_equal_on_the_domain_and_never_larger(
    seed: int, shift: float, effort: str, absorb: str, kind: int
) -> None:
    rng = np.random.default_rng(seed)
    form = random_form(rng, shift)
    n = form.widths[0]
    low = [Fraction(int(a), 3) for a in rng.integers(-6, 4, n)]
    high = [a + Fraction(int(w), 5) for a, w in zip(low, rng.integers(0, 9, n), strict=True)]
    box = Box(low, high)
    domain: Domain = [
        box, Binary(n), Union((box, Box([2] * n, [3] * n))),
        FiniteSet(Exact.of(rng.integers(-2, 3, (7, n)))),
        Polytope(Exact.of([[1] * n]), Exact.of([sum(high)]), box),
    ][kind]
    assert_contract(form, domain, SpecialiseOptions(effort, absorb))


@pytest.mark.parametrize("form", FeedForward.examples(), ids=str)
def test_examples(form: FeedForward) -> None:
    for box in (Box(-2, 2), Box(1, 2), Box(3, 3)):
        domain = bound_to(box, form.widths[0])
        if form.is_relu:
            assert_contract(form, domain, BACKWARD)
        else:
            refusal = CONVERTER.requires(form, domain, BACKWARD)
            assert refusal is not None and "not ReLU" in refusal.reason and refusal.remedy


def test_refusals() -> None:
    form = network_of([(np.eye(2), np.zeros(2)), (np.eye(2), np.zeros(2))])
    refusal = CONVERTER.requires(form, Everywhere(2), BACKWARD)
    assert refusal is not None and "box" in refusal.remedy
    unknown = CONVERTER.requires(form, Box([0, 0], [1, 1]), SpecialiseOptions("guess"))
    assert unknown is not None and "interval" in unknown.remedy
    other = CONVERTER.requires(form, Box([0, 0], [1, 1]), SpecialiseOptions(absorb="yes"))
    assert other is not None and "never" in other.remedy
    leaky = FeedForward(form.layers, (LeakyRelu(0.5),))
    assert CONVERTER.requires(leaky, Box([0, 0], [1, 1]), BACKWARD) is not None
    with pytest.raises(Refused, match="guess"):
        stable_units(form.lower(), Box([0, 0], [1, 1]), effort="guess")


def test_six_always_on_units_on_three_inputs_become_three() -> None:
    """The worked example of the rank rule."""
    rng = np.random.default_rng(3)
    first = rng.integers(-4, 5, (6, 3)).astype(np.float32)
    form = network_of([(first, np.full(6, 20, dtype=np.float32)),
                       (rng.integers(-3, 4, (4, 6)).astype(np.float32), np.zeros(4)),
                       (np.ones((1, 4)), np.zeros(1))])
    options = SpecialiseOptions("interval")
    result = assert_contract(form, Box([-1] * 3, [1] * 3), options)
    # The first layer is all on: with three inputs it stores fewer numbers when it disappears.
    assert result.widths[0] == 3 and len(result.widths) < len(form.widths)
    bent = np.vstack([first, [[1, 0, 0]]]).astype(np.float32)  # and one open unit
    mixed = network_of([(bent, np.append(np.full(6, 20), 0).astype(np.float32)),
                        (rng.integers(-3, 4, (4, 7)).astype(np.float32), np.full(4, 0.5)),
                        (np.ones((1, 4)), np.zeros(1))])
    assert assert_contract(mixed, Box([-1] * 3, [1] * 3), options).widths[1] == 4


def test_dead_and_fixed_and_constant() -> None:
    first = np.array([[1, 0], [0, 1], [0, 0], [1, 1]], dtype=np.float32)
    bias = np.array([-3, 0, 2, 0], dtype=np.float32)
    second = np.array([[1, 1, 1, 0]], dtype=np.float32)  # nobody reads the last unit
    form = network_of([(first, bias), (second, np.zeros(1, dtype=np.float32))])
    made = rewrite(form, Box([-1, -1], [1, 1]), BACKWARD)
    assert made.form.widths == (2, 1, 1)
    assert made.notes[0].startswith("4 units became 1")
    assert any("unit 0 of hidden layer 1: dead, by interval, upper value -2" in line
               for line in made.details)
    assert made.notes[1] == "hidden layer 1: 1 never fire, 1 always do (2 by interval)"
    fixed = rewrite(form, Box([Fraction(1, 3), -1], [Fraction(1, 3), 1]), BACKWARD)
    assert fixed.form.widths == (2, 1, 1) and "1 fixed input went" in fixed.notes[1]
    point = rewrite(form, Box(["0.1", "0.2"], ["0.1", "0.2"]), BACKWARD)
    assert point.form.widths == (2, 1) and point.form.layers[0][0].nonzeros == 0
    assert evaluate_exact(point.form.lower(), Exact.of([9, 9])).item() == Fraction(22, 10)


def test_kept_weights_stay_float32_unless_asked() -> None:
    rng = np.random.default_rng(5)
    bias = np.where(np.arange(20) < 8, 9, rng.standard_normal(20)).astype(np.float32)
    parts = [
        (rng.standard_normal((20, 4)).astype(np.float32), bias),
        (rng.standard_normal((3, 20)).astype(np.float32), np.zeros(3, dtype=np.float32)),
    ]
    form, box = network_of(parts), Box([-1] * 4, ["0.5"] * 4)
    kept = assert_contract(form, box, BACKWARD)
    assert 8 <= kept.widths[1] < 20
    assert all(part.constants["weight"].dtype == np.float32 for part, _ in kept.layers)
    never = assert_contract(form, box, SpecialiseOptions(absorb="never"))
    assert never == kept
    absorbed = assert_contract(form, box, ALWAYS)
    assert absorbed.widths[1] < kept.widths[1]


def test_a_polytope_and_programmes_decide_more() -> None:
    """x + y <= -1/2 kills relu(x + y); the box alone does not."""
    parts = [(np.array([[1.0, 1.0], [1.0, -1.0]]), np.zeros(2)), (np.ones((1, 2)), np.zeros(1))]
    form = network_of(parts)
    assert rewrite(form, SMALL, BACKWARD).form.widths[1] == 2
    tight = Polytope(SMALL.A, SMALL.b, Box([-4, -4], ["0.75", "0.75"]))
    made = assert_contract(form, tight, SpecialiseOptions("programme"))
    assert made.widths[1] == 1
    notes = rewrite(form, tight, SpecialiseOptions("programme")).details
    assert any("by programme" in note for note in notes)


def test_the_margin_is_kept() -> None:
    """A unit that only just reaches above zero stays; one clearly below goes."""
    for shift, left in ((-1.0 + 2**-22, 1), (-1.0 - 2**-10, 0)):
        form = network_of([(np.array([[1.0], [3.0]]), np.array([shift, 0.0])),
                           (np.ones((1, 2)), np.zeros(1))])
        made = assert_contract(form, Box([-1], [1]), BACKWARD)
        assert made.widths[1] == 1 + left


def test_planted_bounds_break_equality(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a bound lies, the contract test sees it."""
    def lying(low: np.ndarray, high: np.ndarray) -> np.ndarray:
        return np.where(high < 1, DEAD, np.where(low > -1, ON, 0)).astype(np.int8)

    monkeypatch.setattr(stable, "states", lying)
    rng, seen = np.random.default_rng(0), 0
    for _ in range(10):
        form = random_form(rng, 0.0)
        n = form.widths[0]
        made = rewrite(form, Box([-1] * n, [1] * n), BACKWARD).form
        x = points_in(Box([-1] * n, [1] * n), n, rng)
        seen += evaluate_exact(form.lower(), x) != evaluate_exact(made.lower(), x)
    assert seen > 0


def test_row_basis() -> None:
    rng = np.random.default_rng(2)
    for rank in range(1, 5):
        left, right = rng.integers(-3, 4, (7, rank)), rng.integers(-9, 10, (rank, 5))
        matrix = Exact.of(left @ right) * Fraction(1, 12)
        rows, coefficients = row_basis(matrix)
        assert len(rows) <= rank and coefficients @ matrix[rows] == matrix
        assert full_rank(matrix[rows])
    assert not full_rank(Exact.of([[1, 2], [2, 4]]))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**9))
def test_every_kind_of_carriers_brings_the_same(seed: int) -> None:
    rng = np.random.default_rng(seed)
    k, n, m = (int(v) for v in rng.integers(1, 8, 3))
    matrix = rng.integers(-2, 3, (k, n))
    if k > 2:
        matrix[0] = matrix[1] - 2 * matrix[2]
    low = Exact.of(rng.integers(-9, 3, n)) * Fraction(1, 7)
    before = Enclosure(low, low + Exact.of(rng.integers(0, 5, n)) * Fraction(1, 3))
    bias = Exact.of(np.abs(matrix).sum(axis=1) * 9)
    group = AffineRows(ExactSparse.of(Exact.of(matrix)), bias)
    outer = ExactSparse.of(Exact.of(rng.integers(-2, 3, (m, k))))
    share = Exact.of(rng.integers(0, 5, (n, 9))) * Fraction(1, 4)
    h = before.low.reshape(-1, 1) + share * before.width.reshape(-1, 1)
    z = group.matrix.times(h) + group.bias.reshape(-1, 1)
    expected = outer.times(z)
    for carriers in candidates(group, outer, before):
        c = carriers.rows.matrix.times(h) + carriers.rows.bias.reshape(-1, 1)
        assert np.all(c.sign() >= 0)
        assert carriers.weight.times(c) + carriers.bias.reshape(-1, 1) == expected


def test_bases_with_long_coefficients_are_left_alone() -> None:
    """Thirds are no dyadics: the third row stays."""
    matrix = Exact.of([[3, 0, 1], [0, 3, 1], [1, 1, Fraction(2, 3)]])
    group = AffineRows(ExactSparse.of(matrix), Exact.of([9, 9, 9]))
    outer = ExactSparse.of(Exact.of([[1, 1, 1]]))
    assert by_basis(group, outer, np.arange(3)) is None
    assert composed(group, AffineRows(outer, Exact.zeros(1))).rows == 1


def test_short_numbers_below() -> None:
    low, width = Exact.of([Fraction(3, 5), -7, 0]), Exact.of([Fraction(1, 100), 3, 5])
    short = short_below(low, width)
    for value, exact, size in zip(short.fractions(), low.fractions(), width.fractions(),
                                  strict=True):
        assert 0 <= exact - value <= size / 16
    assert short.is_dyadic() and short.fractions()[2] == 0


def test_aircraft_collision_avoidance(models: Path) -> None:
    loaded = read_onnx(models / "acasxu" / "ACASXU_run2a_1_1_batch_2000.onnx")
    form = FeedForward.lift(to_primitive(loaded.network))
    low = ["0.6", "-0.5", "-0.5", "0.45", "-0.5"]
    box = Box(low, ["0.679857769", "0.5", "0.5", "0.5", "-0.45"])
    made = assert_contract(form, box, BACKWARD)
    assert sum(made.widths[1:-1]) == 258
    absorbed = assert_contract(form, box, ALWAYS)
    assert sum(absorbed.widths[1:-1]) == 253


@pytest.mark.parametrize("absorb", ["short", "always"])
def test_results_are_proved_equal(absorb: str) -> None:
    """The prover derives the decisions again, fixed inputs included; and sees a wrong one."""
    rng = np.random.default_rng(6)
    widths = [5, 16, 16, 3]
    parts = [
        ((rng.standard_normal((m, n)) / 2).astype(np.float32), rng.standard_normal(m).astype("f4"))
        for n, m in zip(widths, widths[1:], strict=False)
    ]
    form = network_of(parts)
    box = Box(["-0.3"] * 3 + ["0.1", "0.7"], ["0.3"] * 3 + ["0.1", "1"])
    made = assert_contract(form, box, SpecialiseOptions(absorb=absorb))
    assert sum(made.widths[1:-1]) < 24
    claim = Claim(Equal(), box)
    assert isinstance(prove(form.lower(), made.lower(), claim), Proved)
    (part, bias), *rest = made.layers
    fewer = np.array(part.constants["weight"], dtype=np.float64)
    fewer[0] *= 1 + 2.0**-30
    wrong = FeedForward(((Dense(fewer), bias), *rest), made.activations)
    assert isinstance(prove(form.lower(), wrong.lower(), claim), Refuted)


def test_large_networks_use_intervals_by_default() -> None:
    rng = np.random.default_rng(0)
    parts = [(rng.standard_normal((200, 160)).astype(np.float32), np.zeros(200)),
             (np.ones((1, 200)), np.zeros(1))]
    notes = rewrite(network_of(parts), Box([0] * 160, ["0.01"] + ["1"] * 159), BACKWARD).details
    assert not any("backward" in note for note in notes)


def test_an_identity_layer_after_a_relu_vanishes() -> None:
    """relu(I h) = h by the signs of the terms, with no margin to spare."""
    chain = networks.random_chain((4, 8, 8, 2), 0)
    plain, longer = (
        FeedForward.lift(networks.network(c)) for c in (chain, networks.with_identity_layer(chain))
    )
    box = bound_to(Box(-1, 1), 4)
    options = CONVERTER.options()
    assert len(longer.widths) == len(plain.widths) + 1
    made = CONVERTER.rewrite(longer, box, options).form
    assert made.widths == CONVERTER.rewrite(plain, box, options).form.widths
    verdict = prove(longer.lower(), made.lower(), Claim(Equal(), box))
    assert isinstance(verdict, Proved)
