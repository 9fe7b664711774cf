# SPDX-License-Identifier: Apache-2.0
"""The attack finds what differs, and never says so without an exact replay."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isoform.errors import DomainError, Refused
from isoform.network.domain import (
    Binary,
    Box,
    Domain,
    Everywhere,
    FiniteSet,
    Polytope,
    Sequences,
    Union,
    bound_to,
    contains,
)
from isoform.network.evaluate import evaluate, evaluate_exact
from isoform.network.linear_map import Csr, Dense
from isoform.network.network import Builder, Network
from isoform.network.operators import Concat, Opaque, Product, Relu, Scan, Select, Step
from isoform.numerics.enclosure import Enclosure
from isoform.numerics.exact import Exact
from isoform.numerics.sparse import ExactSparse
from isoform.verify.falsify import differ, falsify, falsify_decision
from isoform.verify.gradient import FloatNetwork, affine_piece
from isoform.verify.sample import Place, pull, sample, snap

Layers = list[tuple[np.ndarray, np.ndarray]]
SIMPLEX = Polytope(
    Exact.of([[1, 1, 1], [-1, 0, 1]]), Exact.of([Fraction(1, 3), 0]), Box([0] * 3, [1] * 3)
)
DOMAINS: list[Domain] = [
    Box(-1, 1),
    Box(["0.6", "-0.5", "0.1"], ["0.679857769", "0.5", "0.1"]),
    SIMPLEX,
    Binary(3),
    FiniteSet(Exact.of([[Fraction(1, 3), 0, 1], [2, 5, -1]])),
    Union((Box([0, 0, 0], [1, 1, 1]), Box([5, 5, 5], ["5.3", "5.3", "5.3"]))),
    Sequences(3, Box("0.1", "0.7")),
    Everywhere(),
]


def layers(widths: list[int], seed: int) -> Layers:
    rng = np.random.default_rng(seed)
    return [
        (rng.standard_normal((m, n)).astype(np.float32), rng.standard_normal(m).astype(np.float32))
        for n, m in zip(widths, widths[1:], strict=False)
    ]


def chain(parts: Layers, activation: object = None) -> Network:
    builder = Builder((parts[0][0].shape[1],))
    value = 0
    for i, (weight, bias) in enumerate(parts):
        value = builder.linear(Dense(weight), value, bias)
        if i < len(parts) - 1:
            value = builder.add(activation or Relu(), (value,), len(bias))
    return builder.build(value)


def nudged(parts: Layers, layer: int = 0) -> Layers:
    """One weight moved to the next float (last layer: a row, as some of its units may be dead)."""
    copied = [(weight.copy(), bias.copy()) for weight, bias in parts]
    weight = copied[layer][0]
    moved = (0, 0) if layer == 0 else (0, slice(None))
    weight[moved] = np.nextafter(weight[moved], np.float32(9))
    return copied


@pytest.mark.parametrize("domain", DOMAINS, ids=lambda d: type(d).__name__)
@pytest.mark.parametrize("layer", [0, 2])
def test_one_ulp_of_one_weight_is_found_on_every_domain(domain: Domain, layer: int) -> None:
    parts = layers([3, 12, 12, 2], seed=4)
    source, target = chain(parts), chain(nudged(parts, layer))
    attack = falsify(source, target, domain, None, seconds=2)
    witness = attack.witness
    assert witness is not None and attack.lower > 0
    assert contains(bound_to(domain, 3), witness.point)
    f, g = evaluate_exact(source, witness.point), evaluate_exact(target, witness.point)
    assert f == witness.source and g == witness.target
    assert (g - f).abs().fractions()[witness.output] == witness.difference > 0


@pytest.mark.parametrize("domain", DOMAINS, ids=lambda d: type(d).__name__)
def test_equal_networks_are_never_refuted(domain: Domain) -> None:
    parts = layers([3, 8, 2], seed=1)
    (first, shift), (second, end) = parts
    order = np.random.default_rng(0).permutation(8)
    other = [(4 * first[order], 4 * shift[order]), (second[:, order] / 4, end)]
    attack = falsify(chain(parts), chain(other), domain, None, seconds=0.3)
    assert attack.witness is None and attack.lower == 0 and attack.tries > 0


@pytest.mark.parametrize("domain", DOMAINS, ids=lambda d: type(d).__name__)
def test_a_glance_sees_what_differs_and_nothing_else(domain: Domain) -> None:
    parts = layers([3, 12, 12, 2], seed=4)
    other = [parts[0], parts[1], (parts[2][0], np.nextafter(parts[2][1], np.float32(9)))]
    assert differ(chain(parts), chain(other), domain)
    (first, shift), *rest = parts
    order = np.random.default_rng(0).permutation(12)
    same = [(first[order], shift[order]), (rest[0][0][:, order], rest[0][1]), rest[1]]
    assert not differ(chain(parts), chain(same), domain)


def test_what_differs_outside_of_the_box_only_is_nothing_to_a_glance() -> None:
    """relu(x - 1) is 0 on [-1, 1]."""
    hinge = chain([(Exact.of([[1]]), Exact.of([-1])), (Exact.of([[1]]), Exact.of([0]))])  # type: ignore[list-item]
    flat = chain([(Exact.of([[0]]), Exact.of([0]))])  # type: ignore[list-item]
    assert not differ(hinge, flat, Box(-1, 1)) and differ(hinge, flat, Box(-1, 2))


def test_lower_is_a_true_lower_value_and_eps_is_strict() -> None:
    parts = layers([2, 6, 1], seed=3)
    moved = [parts[0], (parts[1][0], parts[1][1] + np.float32(0.5))]
    source, target = chain(parts), chain(moved)
    offset = Fraction(float(moved[1][1][0])) - Fraction(float(parts[1][1][0]))
    at_eps = falsify(source, target, Box(-1, 1), offset, seconds=0.3)
    assert at_eps.witness is None and at_eps.lower == offset
    below = falsify(source, target, Box(-1, 1), offset - Fraction(1, 10**9), seconds=0.3)
    assert below.witness is not None and below.witness.difference == offset
    assert below.witness.point == Exact.zeros(2)  # shrunk as far as possible


def test_the_attack_reaches_the_exact_maximum_of_a_small_difference() -> None:
    """relu(x) against relu(x) + relu(x - 0.9): the largest difference on [-1, 1] is 0.1."""
    builder = Builder((1,))
    source = builder.build(builder.add(Relu(), (0,), 1))
    weight, bias = Exact.of([[1], [1]]), Exact.of([0, Fraction(-9, 10)])
    target = chain([(weight, bias), (Exact.of([[1, 1]]), Exact.of([0]))])  # type: ignore[list-item]
    attack = falsify(source, target, Box(-1, 1), Fraction(1, 5), seconds=1)
    assert attack.lower == Fraction(1, 10) and attack.witness is None


def test_given_points_are_tried() -> None:
    """A spike of width 2^-30 that no sample hits."""
    at = Fraction(1, 3)
    width = 2**30
    hinges = Exact.of([[width], [width], [width]])
    shifts = Exact.of([1 - at * width, -at * width, -1 - at * width])
    spike = chain([(hinges, shifts), (Exact.of([[1, -2, 1]]), Exact.of([0]))])  # type: ignore
    flat = chain([(Exact.of([[0]]), Exact.of([0]))])  # type: ignore[list-item]
    missed = falsify(flat, spike, Box(0, 1), None, seconds=0.2, seed=1)
    assert missed.witness is None
    found = falsify(flat, spike, Box(0, 1), None, seconds=0.2, points=[Exact.of([at])])
    assert found.witness is not None and found.lower == 1


def test_points_outside_the_domain_are_left_out() -> None:
    parts = layers([2, 4, 1], seed=0)
    source = chain(parts)
    target = chain([*parts[:-1], (parts[1][0], parts[1][1] + 1)])
    place = Polytope(Exact.of([[1, 0], [-1, 0]]), Exact.of([0, -1]), Box([-1, -1], [1, 1]))  # empty
    attack = falsify(source, target, place, None, seconds=0.2, points=[Exact.of([0, 0])])
    assert attack.witness is None and attack.tries == 0


def test_a_thin_polytope_gets_points_inside() -> None:
    """0 <= x + y - 1/3 <= 10^-6."""
    rows = Exact.of([[1, 1], [-1, -1]])
    limits = Exact.of([Fraction(1, 3) + Fraction(1, 10**6), Fraction(-1, 3)])
    domain = Polytope(rows, limits, Box([0, 0], [1, 1]))
    parts = layers([2, 5, 1], seed=2)
    attack = falsify(chain(parts), chain(nudged(parts)), domain, None, seconds=1)
    assert attack.witness is not None and contains(domain, attack.witness.point)


def test_a_polytope_with_a_fixed_input() -> None:
    box = Box([0, Fraction(1, 3), 0], [1, Fraction(1, 3), 1])
    domain = Polytope(Exact.of([[1, 1, 1]]), Exact.of([Fraction(2, 5)]), box)
    parts = layers([3, 5, 1], seed=2)
    attack = falsify(chain(parts), chain(nudged(parts, 1)), domain, None, seconds=1)
    assert attack.witness is not None and contains(domain, attack.witness.point)


def test_networks_with_sigmoid_are_replayed_in_enclosures() -> None:
    parts = layers([3, 6, 2], seed=5)
    source, target = chain(parts, Opaque("sigmoid")), chain(nudged(parts), Opaque("sigmoid"))
    attack = falsify(source, target, Box(-1, 1), None, seconds=1)
    assert attack.witness is not None
    source_end, target_end = attack.witness.source, attack.witness.target
    assert isinstance(source_end, Enclosure) and isinstance(target_end, Enclosure)
    output = attack.witness.output
    apart = max(
        (target_end.low - source_end.high).fractions()[output],
        (source_end.low - target_end.high).fractions()[output],
    )
    assert apart == attack.witness.difference > 0
    same = falsify(source, source, Box(-1, 1), None, seconds=0.2)
    assert same.witness is None  # the enclosures overlap


def test_points_without_a_value_are_left_out() -> None:
    builder = Builder((1,))
    source = builder.build(builder.add(Opaque("log"), (0,), 1))
    other = Builder((1,))
    value = other.add(Opaque("log"), (0,), 1)
    target = other.build(other.linear((Dense(np.eye(1)),), (value,), np.array([0.25])))
    attack = falsify(source, target, Box(-1, 1), Fraction(1, 8), seconds=0.5)
    assert attack.witness is not None and attack.witness.point.item() > 0


def test_decisions() -> None:
    parts = layers([4, 16, 3], seed=7)
    rng = np.random.default_rng(1)
    moved = [
        (weight + (0.05 * rng.standard_normal(weight.shape)).astype(np.float32), bias)
        for weight, bias in parts
    ]
    source, target = chain(parts), chain(moved)
    attack = falsify_decision(source, target, Box(-1, 1), seconds=1)
    assert attack.witness is not None
    f, g = attack.witness.source.fractions(), attack.witness.target.fractions()
    assert f.index(max(f)) != g.index(max(g)) == attack.witness.output
    far = falsify_decision(source, target, Box(-1, 1), Fraction(100), seconds=0.5)
    assert far.witness is None
    scaled = [parts[0], (parts[1][0] * 2, parts[1][1] * 2)]
    same = falsify_decision(source, chain(scaled), Box(-1, 1), seconds=0.5)
    assert same.witness is None and same.lower == 0
    near = falsify_decision(source, target, Box(-1, 1), attack.lower, seconds=1,
                            points=[attack.point] if attack.point is not None else [])
    assert near.witness is not None and near.witness.difference >= attack.lower
    with pytest.raises(ValueError, match="negative"):
        falsify_decision(source, target, Box(-1, 1), Fraction(-1))


def test_finite_domains_are_exhausted() -> None:
    parts = layers([3, 6, 1], seed=8)
    points = FiniteSet(Exact.of(np.random.default_rng(0).integers(-5, 5, (150, 3))))
    attack = falsify(chain(parts), chain(parts), points, None, seconds=2)
    assert attack.exhausted and attack.tries == 150
    binary = falsify(chain(parts), chain(parts), Binary(), None, seconds=2)
    assert binary.exhausted and binary.tries == 8


def test_other_shapes_are_refused() -> None:
    one, two = chain(layers([3, 4, 2], 0)), chain(layers([3, 4, 1], 0))
    with pytest.raises(Refused, match="2 and 1 outputs"):
        falsify(one, two, Everywhere(), None)
    with pytest.raises(DomainError):
        falsify(one, one, Box([0, 0], [1, 1]), None)


def test_the_same_seed_gives_the_same_witness() -> None:
    parts = layers([4, 8, 2], seed=9)
    pair = chain(parts), chain(nudged(parts))
    first, second = (falsify(*pair, Box(-1, 1), None, seed=3) for _ in range(2))
    assert first.witness is not None and second.witness is not None
    assert first.witness.point == second.witness.point


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(DOMAINS), st.integers(0, 40), st.booleans(), st.integers(0, 10**6))
def test_snapped_points_lie_in_the_domain(
    domain: Domain, bits: int, sharp: bool, seed: int
) -> None:
    bound = bound_to(domain, 3)
    place = Place.of(bound)
    rng = np.random.default_rng(seed)
    drawn = np.concatenate([sample(place, rng, 4), pull(place, rng.standard_normal((3, 3)) * 9)])
    for row in drawn:
        point = snap(place, row, bits, sharp)
        assert point is not None and contains(bound, point)


def mixed_network(rng: np.random.Generator) -> Network:
    """Every operator that the gradient passes through."""
    builder = Builder((3,))
    z = builder.linear(Dense(rng.standard_normal((4, 3))), 0, rng.standard_normal(4))
    on = builder.add(Relu(), (z,), 4)
    soft = builder.add(Opaque("softmax", 2), (z,), 4)
    curve = builder.add(Opaque("tanh"), (on,), 4)
    joined = builder.add(Concat(), (soft, curve, 0), 11)
    picked = builder.add(Select(np.array([0, 0, 5, 10])), (joined,), 4)
    squared = builder.add(Product(), (picked, on), 4)
    sparse = Csr.of(ExactSparse.of(Exact.of(rng.integers(-2, 3, (2, 4)))))
    return builder.build(builder.linear((sparse, Dense(rng.standard_normal((2, 4)))), (squared, z)))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_gradients_are_difference_quotients(seed: int) -> None:
    rng = np.random.default_rng(seed)
    net = FloatNetwork.of(mixed_network(rng))
    x = rng.standard_normal((5, 3))
    weight = rng.standard_normal((5, 2))
    gradient = net.pullback(net.values(x), weight)
    step = 1e-6
    for i in range(3):
        ahead, behind = x.copy(), x.copy()
        ahead[:, i] += step
        behind[:, i] -= step
        quotient = (weight * (net.output(ahead) - net.output(behind))).sum(axis=1) / (2 * step)
        assert np.allclose(quotient, gradient[:, i], rtol=1e-3, atol=1e-5)


def test_the_affine_piece_is_the_network_in_its_cell() -> None:
    network = chain(layers([3, 7, 5, 2], seed=11))
    net = FloatNetwork.of(network)
    x = np.random.default_rng(0).standard_normal(3)
    piece = affine_piece(net, x)
    assert np.allclose(piece.output @ np.append(x, 1), evaluate(network, x))
    assert piece.cell.shape == (12, 4) and np.all(piece.cell @ np.append(x, 1) >= 0)


def test_recurrences_are_attacked_unrolled() -> None:
    def recurrence(weight: float) -> Network:
        cell = Builder((3,))
        z = cell.linear(Dense(np.array([[weight, 1.0, -0.5]])), 0, np.array([0.125]))
        state = cell.add(Relu(), (z,), 1)
        cell_network = cell.build(cell.add(Concat(), (state, state), 2))
        builder = Builder((6,))
        zero = builder.linear((), (), np.zeros(1))
        last = builder.add(Scan(cell_network, 1, 3), (zero, 0), 4)
        return builder.build(last)

    source, target = recurrence(0.5), recurrence(0.5 + 2**-30)
    attack = falsify(source, target, Box(-1, 1), None, seconds=1)
    assert attack.witness is not None
    same = falsify(source, source, Box(-1, 1), None, seconds=0.2)
    assert same.witness is None


def test_steps_are_replayed() -> None:
    builder = Builder((1,))
    source = builder.build(builder.add(Step(), (0,), 1))
    moved = Builder((1,))
    shifted = moved.linear(Dense(np.eye(1)), 0, np.array([0.25]))
    attack = falsify(source, moved.build(moved.add(Step(), (shifted,), 1)), Box(-1, 1), None)
    assert attack.witness is not None and attack.lower == 1
