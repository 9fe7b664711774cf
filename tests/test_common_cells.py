# SPDX-License-Identifier: Apache-2.0
"""Claims decided by common regions: against exact enumeration, on rewritings that move hinges, on
all of space, on thin domains, within a budget, and on real networks."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import isoform as iso
from attack_claims import net
from equivalence import judge
from equivalence.tiny_pairs import TinyQuestion, question
from isoform.bounds.matrices import flat_primitive
from isoform.certificate.cell_evidence import CommonCells
from isoform.certificate.cells import forbidden_rows
from isoform.certificate.certificate import load, save
from isoform.certificate.check import check
from isoform.certificate.verdict import Proved, Refuted, Undecided, Verdict
from isoform.network.claim import (
    Avoids,
    Claim,
    Comparison,
    Equal,
    Forbidden,
    RegionCount,
    SameDecision,
    Within,
)
from isoform.network.domain import Binary, Box, Domain, Everywhere, Polytope, Union, bound_to
from isoform.network.evaluate import evaluate_exact
from isoform.network.linear_map import Conv, Dense, floats
from isoform.network.network import Builder, Network, Node
from isoform.network.operators import Linear, Opaque, Relu, Step
from isoform.network.side_by_side import pieces, side_by_side
from isoform.network.slices import sliced, through
from isoform.network.unit_layers import unit_layers
from isoform.numerics.exact import Exact, concatenate
from isoform.regions.counting import tent
from isoform.regions.tasks import Budget
from isoform.verify import common_regions
from isoform.verify.cells import by_cells, proved
from isoform.verify.question import Context, asked
from region_claims import mlp

HALF = Fraction(1, 2)


def decided(
    f: Network, g: Network, relation: Comparison, domain: Domain, budget: Budget | None = None
) -> Verdict | None:
    return by_cells(asked(f, g, Claim(relation, domain), Context()), budget)


def chain(weights: list[np.ndarray], biases: list[np.ndarray]) -> Network:
    build, value = Builder((weights[0].shape[1],)), 0
    for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        value = build.linear(Dense(weight), value, bias)
        if i < len(weights) - 1:
            value = build.add(Relu(), (value,), len(bias))
    return build.build(value)


def random_chain(seed: int, widths: tuple[int, ...], rounded: bool = False) -> Network:
    random = np.random.default_rng(seed)
    pairs = list(zip(widths, widths[1:], strict=False))
    weights = [random.standard_normal((m, n)) * np.sqrt(2 / n) for n, m in pairs]
    biases = [random.uniform(-1, 1, m) for _, m in pairs]
    if rounded:
        weights = [weight.astype(np.float16).astype(np.float64) for weight in weights]
    return chain(weights, biases)


def reread(proof: Proved | Refuted, folder: Path) -> None:
    """The checker agrees after a way through the file."""
    save(proof.certificate, folder / "c.json")
    assert check(load(folder / "c.json")).holds is isinstance(proof, Proved)


# --- against exact enumeration --------------------------------------------------------------------


def relation_of(asking: TinyQuestion) -> Comparison:
    kind, eps = asking.asking.kind, asking.asking.eps
    match kind:
        case "equal":
            return Equal()
        case "decision":
            return SameDecision(eps[0])
        case _:
            return Within(eps if kind == "each" else eps[0])


def differs_there(verdict: Proved, f: Network, g: Network) -> Fraction:
    """The difference at the point and output that the verdict names."""
    if verdict.lower_at is None:
        return Fraction(0)
    point = verdict.lower_at.point
    gap = evaluate_exact(g, point) - evaluate_exact(f, point)
    return abs(gap.fractions()[verdict.lower_at.output])


@pytest.mark.parametrize("seed", range(4))
def test_verdicts_and_values_are_those_of_enumeration(seed: int) -> None:
    """Nothing stays open but finite and flat domains; forged claims are rejected; the largest
    difference is the true one, exactly."""
    answers = []
    for number in range(80):
        one = question(100 + seed, number)
        f, g = judge.network(one.source), judge.network(one.target)
        verdict = decided(f, g, relation_of(one), judge.domain(one.place))
        answers.append(type(verdict))
        if verdict is None:
            assert one.place.points or one.place.rows or len(one.place.boxes) > 1 or any(
                np.array(low) == np.array(high) for low, high in one.place.boxes
            )
            continue
        assert list(judge.faults(one, verdict)) == []
        if one.asking.kind == "decision":
            continue
        if isinstance(verdict, Proved):
            assert verdict.lower == verdict.upper == one.largest
            assert differs_there(verdict, f, g) == one.largest
        else:
            assert len(set(one.asking.eps)) > 1 or verdict.lower == one.largest
    assert Undecided not in answers
    assert answers.count(Proved) > 35 and answers.count(Refuted) > 10


def test_a_forbidden_set_between_both() -> None:
    """x in [-1, 1], f = relu(x), g = relu(-x): f + g >= 1 holds at the ends only; f + g > 1 and
    {f >= 1/2, g >= 1/2} nowhere."""
    f, g = net([[1]], [0], Relu()), net([[-1]], [0], Relu())

    def avoids(rows: list[list[int]], bounds: list[Fraction], strict: bool) -> Comparison:
        matrix = Exact.of(np.array(rows, dtype=object))
        edge = Exact.of(np.array(bounds, dtype=object))
        return Avoids((Forbidden(matrix, edge, (strict,) * len(bounds)),))

    both = avoids([[0, -1, 0], [0, 0, -1]], [-HALF, -HALF], False)
    assert isinstance(decided(f, g, both, Box(-1, 1)), Proved)
    assert isinstance(decided(f, g, both, Everywhere()), Proved)
    for strict, kind in ((True, Proved), (False, Refuted)):
        verdict = decided(f, g, avoids([[0, -1, -1]], [Fraction(-1)], strict), Box(-1, 1))
        assert isinstance(verdict, kind)
    assert isinstance(verdict, Refuted)
    assert abs(verdict.witness.point.item()) == 1
    inputs = avoids([[-1, 0, 0], [0, 1, 0]], [Fraction(0), Fraction(0)], True)  # x > 0, f < 0
    assert isinstance(decided(f, g, inputs, Everywhere()), Proved)
    without = Avoids((Forbidden(Exact.zeros((0, 3)), Exact.zeros(0), ()),))
    assert decided(f, g, without, Box(-1, 1)) is None


# --- rewritings that move hinges ------------------------------------------------------------------


def largest(order: tuple[int, int, int]) -> Network:
    """max(max(a, b), c) of three inputs in some order: max(p, q) = q + relu(p - q), q = relu(q) -
    relu(-q)."""
    a, b, c = np.eye(3)[list(order)]
    first = np.stack([a - b, b, -b, c, -c])  # max(a, b) = r0 + r1 - r2
    second = np.array([[1, 1, -1, -1, 1], [0, 0, 0, 1, 0], [0, 0, 0, 0, 1.0]])
    return chain([first, second, np.array([[1, 1, -1.0]])], [np.zeros(5), np.zeros(3), np.zeros(1)])


@pytest.mark.parametrize("domain", [Box(-1, 1), Everywhere()])
def test_maxima_in_another_order_are_equal(domain: Domain, tmp_path: Path) -> None:
    f, g = largest((0, 1, 2)), largest((1, 2, 0))
    verdict = decided(f, g, Equal(), domain)
    assert isinstance(verdict, Proved)
    reread(verdict, tmp_path)
    (data,) = (item.data for item in verdict.certificate.evidence)
    assert isinstance(data, CommonCells) and data.eps is None
    zero = decided(f, g, Within(Fraction(0)), domain)
    assert isinstance(zero, Proved) and zero.upper == 0
    less = decided(f, net([[1, 0, 0]], [0]), Equal(), domain)
    assert isinstance(less, Refuted)
    reread(less, tmp_path)


def test_a_deep_and_a_shallow_zigzag() -> None:
    """The tent map three times over against its eight bends side by side; one bend moved a little
    gives the exact height at which it is missed."""
    weights, biases = (list(part) for part in zip(*tent(3), strict=True))
    deep = chain(weights, biases)
    bends = np.arange(8) / 8
    slopes = np.array([8.0] + [16.0 * (-1) ** i for i in range(1, 8)])

    def shallow(bends: np.ndarray) -> Network:
        return chain([np.ones((8, 1)), slopes[None]], [-bends, np.zeros(1)])

    verdict = decided(deep, shallow(bends), Equal(), Box(0, 1))
    assert isinstance(verdict, Proved)
    assert isinstance(decided(deep, shallow(bends), Equal(), Box(0, 2)), Refuted)
    moved = bends.copy()
    moved[3] += 2.0**-20
    verdict = decided(deep, shallow(moved), Within(Fraction(1)), Box(0, 1))
    assert isinstance(verdict, Proved) and verdict.upper == verdict.lower == Fraction(16, 1 << 20)
    below = Within(verdict.upper - Fraction(1, 1 << 60))
    assert isinstance(decided(deep, shallow(moved), below, Box(0, 1)), Refuted)


# --- domains --------------------------------------------------------------------------------------


def test_all_of_space() -> None:
    """One output gets relu(x_0 + 1) - 2 relu(x_0) + relu(x_0 - 1) more, a hat of height 1."""
    random = np.random.default_rng(3)
    inner, outer = random.integers(-4, 5, (4, 2)) / 4, random.integers(-4, 5, (2, 4)) / 4
    hat, heights = np.array([[1.0, 0]] * 3), np.array([[1.0, -2, 1], [0, 0, 0]])
    f = chain([inner, outer], [np.ones(4), np.zeros(2)])
    g = chain([np.vstack([hat, inner]), np.hstack([heights, outer])],
              [np.array([1.0, 0, -1, 1, 1, 1, 1]), np.zeros(2)])
    assert isinstance(decided(f, g, Within(Fraction(1)), Everywhere()), Proved)
    assert isinstance(decided(f, g, Within((Fraction(1), Fraction(0))), Everywhere()), Proved)
    assert isinstance(decided(f, g, Within(Fraction(99, 100)), Everywhere()), Refuted)
    assert isinstance(decided(f, g, Equal(), Everywhere()), Refuted)
    assert isinstance(decided(f, f, SameDecision(), Everywhere()), Proved)


def test_growing_differences_are_refuted_far_out() -> None:
    f, g = net([[1.0]], [0]), net([[1 + 2.0**-30]], [0])
    verdict = decided(f, g, Within(Fraction(1)), Everywhere())
    assert isinstance(verdict, Refuted)
    assert abs(verdict.witness.point.item()) > 1 << 30


def test_fixed_inputs_and_unions() -> None:
    f, g = random_chain(0, (4, 6, 2)), random_chain(0, (4, 6, 2), rounded=True)
    thin = Box([-1, Fraction(1, 3), 0, 0], [1, Fraction(1, 3), 0, 1])
    on_thin = decided(f, g, Within(Fraction(1)), thin)
    other = Polytope(np.array([[1.0, 0, 0, 1]]), np.array([0.5]), Box([0, 2, 0, 0], [1, 2, 0, 1]))
    both = decided(f, g, Within(Fraction(1)), Union((thin, other)))
    single = decided(f, g, Within(Fraction(1)), other)
    assert isinstance(on_thin, Proved) and isinstance(both, Proved) and isinstance(single, Proved)
    assert both.upper == max(on_thin.upper, single.upper)
    refuted = decided(f, g, Within(on_thin.upper / 2), thin)
    assert isinstance(refuted, Refuted) and refuted.lower == on_thin.upper
    assert refuted.witness.point[1].item() == Fraction(1, 3)


def test_the_charts_of_thin_domains_are_the_domain() -> None:
    layers = unit_layers(random_chain(1, (3, 4, 1)))
    thin = Box([0, 5, -2], [1, 5, 2])
    (chart,) = pieces(layers, Polytope(np.array([[1.0, 1, 1]]), np.array([6.0]), thin))
    assert chart.dimension == 2
    corner = chart.homogeneous(Exact.of([-1, 1]))
    assert corner.fractions() == [1, 0, 5, 2]
    A, b = chart.rows
    slack = (b - A @ Exact.of([-1, 1])).fractions()[-1]
    assert slack == 6 - 0 - 5 - 2
    assert len(pieces(layers, Union((thin, bound_to(Box(-1, 1), 3))))) == 2
    with pytest.raises(iso.Refused, match="one point"):
        pieces(layers, Box([0, 0, 0], [0, 0, 0]))


def test_side_by_side_is_both() -> None:
    f, g = mlp(1, (2, 3, 2)), mlp(2, (2, 4, 1), step=True)
    points = Exact.of(np.random.default_rng(0).integers(-8, 9, (2, 40)) / 4)
    both = evaluate_exact(side_by_side(f, g), points)
    assert both == concatenate([evaluate_exact(f, points), evaluate_exact(g, points)])
    with pytest.raises(ValueError, match="as many inputs"):
        side_by_side(f, mlp(1, (3, 3, 2)))


# --- where the rung ends --------------------------------------------------------------------------


def test_what_it_is_not_for() -> None:
    f = net([[1.0]], [0], Relu())
    assert decided(f, net([[1.0]], [0], Step()), Equal(), Box(-1, 1)) is None
    assert decided(f, net([[1.0]], [0], Opaque("tanh")), Equal(), Box(-1, 1)) is None
    assert decided(f, f, Equal(), Binary()) is None
    assert decided(f, f, Equal(), Box(1, 1)) is None
    flat = Polytope(np.array([[1.0], [-1.0]]), np.zeros(2), Box(-1, 1))
    assert decided(f, f, Equal(), flat) is None
    counted = asked(f, f, Claim(Equal(), Box(-1, 1)), Context())
    object.__setattr__(counted.claim, "relation", RegionCount(1))
    assert by_cells(counted) is None


def test_a_spent_budget_says_what_was_seen() -> None:
    f, g = random_chain(2, (2, 12, 12, 1)), random_chain(2, (2, 12, 12, 1), rounded=True)
    whole = decided(f, g, Within(Fraction(1)), Box(-1, 1))
    part = decided(f, g, Within(Fraction(1)), Box(-1, 1), Budget(regions=20))
    assert isinstance(whole, Proved) and isinstance(part, Undecided)
    assert 0 < part.lower <= whole.upper and "20 regions" in part.reason
    early = decided(f, g, Equal(), Box(-1, 1), Budget(regions=20))
    assert isinstance(early, Refuted)
    two = random_chain(2, (2, 12, 12, 2)), random_chain(2, (2, 12, 12, 2), rounded=True)
    margin = decided(*two, SameDecision(Fraction(1)), Box(-1, 1), Budget(regions=20))
    assert isinstance(margin, Undecided)


def test_an_interrupt_passes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    true = common_regions.enumerate_regions

    def interrupted(*args: object, **named: object) -> object:
        found = true(*args, **named)  # type: ignore[arg-type]
        object.__setattr__(found, "stopped", "interrupted")
        return found

    monkeypatch.setattr(common_regions, "enumerate_regions", interrupted)
    with pytest.raises(KeyboardInterrupt):
        decided(net([[1.0]], [0]), net([[1.0]], [0]), Equal(), Box(-1, 1))


def test_all_programmes_exactly_give_the_same(tmp_path: Path) -> None:
    """What is closed exactly, where floats were rejected, is closed; and no limit on exact ones."""
    f, g = random_chain(4, (2, 5, 5, 2)), random_chain(4, (2, 5, 5, 2), rounded=True)
    asked_for = asked(f, g, Claim(Within(Fraction(1)), Box(-1, 1)), Context())
    rows = concatenate([Exact.zeros((2, 3)), -Exact.eye(2), Exact.eye(2)], axis=1)
    domain = asked_for.claim.domain
    regions = common_regions.common_regions(f, g, domain, rows, Budget())
    assert regions is not None
    few, _ = common_regions.largest_differences(regions)
    every, _ = common_regions.largest_differences(regions, None)
    assert [top.value for top in few] == [top.value for top in every]
    rows, sets = forbidden_rows(SameDecision(Fraction(1)), f, g)
    regions = common_regions.common_regions(f, g, domain, rows, Budget())
    assert regions is not None
    closed = common_regions.closed_sets(regions, sets, exactly=True)
    assert not isinstance(closed, common_regions.Met)
    decision = asked(f, g, Claim(SameDecision(Fraction(1)), Box(-1, 1)), Context())
    verdict = proved(decision, regions, *closed)
    assert isinstance(verdict, Proved)
    reread(verdict, tmp_path)


# --- real networks --------------------------------------------------------------------------------


def rounded(network: Network) -> Network:
    """Weights of dense maps and convolutions in half precision."""
    def half(values: object) -> np.ndarray:
        return floats(values).astype(np.float16).astype(np.float64)  # type: ignore[arg-type]

    nodes = []
    for node in network.nodes:
        if isinstance(node.operator, Linear):
            maps = tuple(
                Dense(half(part.weight)) if isinstance(part, Dense)
                else replace(part, kernel=half(part.kernel)) if isinstance(part, Conv) else part
                for part in node.operator.maps
            )
            node = Node(Linear(maps, node.operator.bias), node.operands, node.shape)
        nodes.append(node)
    return replace(network, nodes=tuple(nodes))


@pytest.mark.parametrize("name", ["fc1", "fc_2-2-3"])
def test_small_real_networks_in_half_precision(name: str, models: Path, tmp_path: Path) -> None:
    f = flat_primitive(iso.read(models / "feedforward" / f"{name}.onnx").network)
    verdict = decided(f, rounded(f), Within(Fraction(1)), Box(-1, 1))
    assert isinstance(verdict, Proved) and verdict.lower == verdict.upper < Fraction(1, 100)
    reread(verdict, tmp_path)


def test_a_slice_of_a_real_network(models: Path) -> None:
    f = flat_primitive(iso.read(models / "feedforward" / "KJ_TinyTaxiNet.onnx").network)
    points = Exact.of(np.random.default_rng(0).integers(0, 256, (3, f.dimension)) / 256)
    pair = [sliced(network, *through(points)) for network in (f, rounded(f))]
    verdict = decided(pair[0], pair[1], Within(Fraction(1)), Box(0, 1))
    assert isinstance(verdict, Proved) and 0 < verdict.upper < 1
    low, high = np.full(f.dimension, 0.5), np.full(f.dimension, 0.5)
    low[40], high[71] = 0, 1
    verdict = decided(f, rounded(f), Within(Fraction(1)), Box(low, high))
    assert isinstance(verdict, Proved) and 0 < verdict.upper < 1


@pytest.mark.slow
def test_a_space_of_three_inputs_of_a_collision_network(models: Path) -> None:
    name = "ACASXU_run2a_1_1_batch_2000.onnx"
    f = flat_primitive(iso.read(models / "acasxu" / name).network)
    box = Box(["-0.2", "-0.01", "0", "0.5", "0"], ["0.2", "0.01", "0", "0.5", "0"])
    verdict = decided(f, rounded(f), Within(Fraction(1, 20)), box)
    assert isinstance(verdict, Proved) and 0 < verdict.lower == verdict.upper < Fraction(1, 1000)


@pytest.mark.parametrize("name", ["degIdent_s0", "degNobias_s0", "degQuant_s0"])
def test_degenerate_benchmark_networks(name: str, bench: Path) -> None:
    held = np.load(bench / "regions" / f"{name}.npz")
    count = len(held.files) // 2
    weights = [held[f"W{i}"] for i in range(count)]
    biases = [held[f"b{i}"] for i in range(count)]
    f = chain(weights, biases)
    order = np.random.default_rng(0).permutation(len(biases[0]))
    scale = 2.0 ** np.random.default_rng(1).integers(-2, 3, len(order))
    moved = [weights[0][order] * scale[:, None], weights[1][:, order] / scale, *weights[2:]]
    g = chain(moved, [biases[0][order] * scale, *biases[1:]])
    assert isinstance(decided(f, g, Equal(), Box(-1, 1)), Proved)
    near = chain([w.astype(np.float16).astype(np.float64) for w in weights], biases)
    verdict = decided(f, near, Within(Fraction(1)), Box(-1, 1))
    assert isinstance(verdict, Proved) and verdict.lower == verdict.upper < Fraction(1, 100)
