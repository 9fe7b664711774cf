# SPDX-License-Identifier: Apache-2.0
"""Bounds hold for exact values at exact points, and a planted error is seen."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isoform.bounds import backward as backward_room
from isoform.bounds import (
    backward_bounds,
    interval_bounds,
    linear_program_bounds,
    zonotope_bounds,
)
from isoform.bounds import linear_program as programme_room
from isoform.bounds.interval import Bounds, outward
from isoform.bounds.matrices import flat_primitive, float_matrix
from isoform.errors import DomainError, Refused
from isoform.formats.onnx.read import read_onnx
from isoform.network.domain import Box, Polytope, contains
from isoform.network.evaluate import EXACT, run_all
from isoform.network.linear_map import Conv, Csr, Dense, Gather
from isoform.network.network import Builder, Network
from isoform.network.operators import Concat, Opaque, Product, Relu, Scan, Select, Step
from isoform.network.primitive import to_primitive
from isoform.numerics.enclosure import Enclosure
from isoform.numerics.exact import Exact, concatenate, exact_fractions
from isoform.numerics.sparse import ExactSparse

METHODS = [interval_bounds, zonotope_bounds, backward_bounds]


def rational_matrix(rng: np.random.Generator, shape: tuple[int, ...]) -> Exact:
    """Thirds, sevenths and dyadics, some zero."""
    count = int(np.prod(shape))
    values = [
        Fraction(int(a), int(b))
        for a, b in zip(rng.integers(-9, 10, count), rng.choice([1, 3, 7, 8], count), strict=True)
    ]
    return exact_fractions(values, shape)


def random_network(rng: np.random.Generator, *, curved: bool) -> Network:
    """Layers with skips, concatenations, sparse and gathering maps, exact and float weights."""
    n = int(rng.integers(1, 5))
    builder = Builder((n,))
    values = [0]
    for _ in range(int(rng.integers(2, 9))):
        a, b = (int(v) for v in rng.choice(values, 2))
        width = builder.size_of(a)
        kinds = ["linear", "relu", "relu", "join", "pick", "sum"]
        kind = rng.choice([*kinds, "product", "step", "sigmoid"] if curved else kinds)
        match kind:
            case "linear" | "sum":
                values.append(linear_node(builder, rng, a, b if kind == "sum" else None))
            case "relu":
                z = linear_node(builder, rng, a, None)
                values.append(builder.add(Relu(), (z,), builder.size_of(z)))
            case "join":
                values.append(builder.add(Concat(), (a, b), width + builder.size_of(b)))
            case "pick":
                at = rng.integers(0, width, int(rng.integers(1, 5)))
                values.append(builder.add(Select(at), (a,), len(at)))
            case "product":
                values.append(builder.add(Product(), (a, a), width))
            case "step":
                values.append(builder.add(Step(), (a,), width))
            case "sigmoid":
                values.append(builder.add(Opaque("sigmoid"), (a,), width))
    return builder.build(linear_node(builder, rng, values[-1], int(rng.choice(values))))


def linear_node(builder: Builder, rng: np.random.Generator, a: int, b: int | None) -> int:
    width, out = builder.size_of(a), int(rng.integers(1, 6))
    weight = rational_matrix(rng, (out, width))
    match rng.integers(4):
        case 0:
            first: object = Dense(weight)
        case 1:
            first = Dense(rng.standard_normal((out, width)).astype(np.float32))
        case 2:
            first = Csr.of(ExactSparse.of(weight))
        case _:
            at = rng.integers(-1, width, out)
            first = Gather(indices=at, scale=rational_matrix(rng, (out,)), inputs=width)
    maps, operands = [first], [a]
    if b is not None:
        maps.append(Dense(rng.standard_normal((out, builder.size_of(b)))))
        operands.append(b)
    bias = rational_matrix(rng, (out,)) if rng.integers(2) else rng.standard_normal(out)
    return builder.linear(maps, operands, bias)


def random_box(rng: np.random.Generator, n: int) -> Box:
    centre, radius = rational_matrix(rng, (n,)), rational_matrix(rng, (n,)).abs()
    return Box(centre - radius, centre + radius)


def exact_points(rng: np.random.Generator, box: Box, count: int) -> Exact:
    """(n, count): corners and rational points of a box."""
    n = box.low.size
    share = exact_fractions(
        [Fraction(int(v), 16) for v in np.where(
            rng.random((n, count)) < 0.5, 16 * rng.integers(0, 2, (n, count)),
            rng.integers(0, 17, (n, count)),
        ).ravel()], (n, count),
    )
    low = box.low.reshape(-1, 1)
    return low + share * (box.high - box.low).reshape(-1, 1)


def outside(network: Network, points: Exact, bounds: list[Bounds]) -> int:
    """How many exact values lie outside their bounds (enclosures: entirely outside)."""
    wrong = 0
    for value, (low, high) in zip(run_all(network, points, EXACT), bounds, strict=False):
        ends = Enclosure.of(value)
        for i in range(len(low)):
            if np.isfinite(low[i]):
                wrong += int(np.sum((ends.high[i] - Exact.of(low[i : i + 1])).sign() < 0))
            if np.isfinite(high[i]):
                wrong += int(np.sum((Exact.of(high[i : i + 1]) - ends.low[i]).sign() < 0))
    return wrong


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**9), st.booleans())
def test_exact_values_lie_within_their_bounds(seed: int, curved: bool) -> None:
    rng = np.random.default_rng(seed)
    network = random_network(rng, curved=curved)
    box = random_box(rng, network.dimension)
    points = exact_points(rng, box, 12)
    for method in METHODS:
        bounds = method(network, box)
        assert len(bounds) == len(network.nodes) + 1
        assert outside(network, points, bounds) == 0, method.__name__


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**9))
def test_programme_bounds_hold_and_are_no_looser(seed: int) -> None:
    rng = np.random.default_rng(seed)
    network = random_network(rng, curved=False)
    box = random_box(rng, network.dimension)
    known = backward_bounds(network, box)
    value = network.outputs[0]
    indices = range(network.output_dimension)
    found = linear_program_bounds(network, box, value, indices, known)
    refined = list(known)
    refined[value] = (np.array([f.low for f in found]), np.array([f.high for f in found]))
    assert outside(network, exact_points(rng, box, 12), refined) == 0
    assert np.all(refined[value][0] >= known[value][0])
    assert np.all(refined[value][1] <= known[value][1])


def deep(widths: list[int], seed: int, spread: float = 1.0) -> Network:
    rng = np.random.default_rng(seed)
    builder, value = Builder((widths[0],)), 0
    for i, (n, m) in enumerate(zip(widths, widths[1:], strict=False)):
        weight = (spread * rng.standard_normal((m, n)) / np.sqrt(n)).astype(np.float32)
        value = builder.linear(Dense(weight), value, 0.1 * rng.standard_normal(m))
        if i < len(widths) - 2:
            value = builder.add(Relu(), (value,), m)
    return builder.build(value)


def width(bounds: Bounds) -> float:
    return float((bounds[1] - bounds[0]).sum())


def test_each_method_is_tighter_than_the_one_before() -> None:
    network, box = deep([5, 30, 30, 30, 4], 0), Box([0] * 5, ["0.2"] * 5)
    ends = [method(network, box)[-1] for method in METHODS]
    known = backward_bounds(network, box)
    found = linear_program_bounds(network, box, len(network.nodes), range(4), known)
    ends.append((np.array([f.low for f in found]), np.array([f.high for f in found])))
    widths = [width(end) for end in ends]
    assert widths == sorted(widths, reverse=True) and widths[2] < 0.5 * widths[0]


def test_linear_networks_are_bounded_tightly() -> None:
    """Backward and zonotope see through x - x; intervals do not."""
    builder = Builder((2,))
    first = builder.linear(Dense(np.array([[1.0, 1.0], [1.0, -1.0]])), 0)
    network = builder.build(builder.linear(Dense(np.array([[1.0, 1.0]])), first))  # 2 x_0
    box = Box(-1, 1).low, Box([-1, -1], [1, 1])
    assert interval_bounds(network, box[1])[-1][1][0] >= 4
    for method in (zonotope_bounds, backward_bounds):
        low, high = method(network, box[1])[-1]
        assert -2 - 1e-12 < low[0] <= -2 and 2 <= high[0] < 2 + 1e-12


def test_box_ends_are_rounded_outward() -> None:
    third = Exact.of([Fraction(1, 3), Fraction(1, 4)])
    low, high = outward(third, third)
    assert Fraction(low[0]) < Fraction(1, 3) < Fraction(high[0])
    assert low[1] == high[1] == 0.25
    large = Exact.of([10**400])
    assert outward(large, large) == (np.array([np.finfo(float).max]), np.array([np.inf]))


def test_tiny_and_huge_weights() -> None:
    weights = Exact.of([[Fraction(1, 2**1100), 1], [2**900, Fraction(1, 3)]])
    builder = Builder((2,))
    z = builder.linear(Dense(weights), 0)
    network = builder.build(builder.linear(Dense(weights), builder.add(Relu(), (z,), 2)))
    box = Box([-1, -1], [1, 1])
    points = exact_points(np.random.default_rng(0), box, 8)
    for method in METHODS:
        assert outside(network, points, method(network, box)) == 0


@pytest.mark.parametrize("planted", ["slope", "lift", "sides"])
def test_planted_errors_are_seen(planted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong line in the backward pass leaves exact values outside."""
    right = backward_room.lines

    def wrong(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        slope, lift, below = right(low, high)
        match planted:
            case "slope":
                return slope * 0.75, lift, below
            case "lift":
                return slope, lift / 3, below
            case _:
                return below, 0 * lift, slope

    monkeypatch.setattr(backward_room, "lines", wrong)
    wrongs = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        network = deep([3, 10, 10, 2], seed)
        box = Box([-1] * 3, [1] * 3)
        wrongs += outside(network, exact_points(rng, box, 60), backward_bounds(network, box))
    assert wrongs > 0


def test_wrong_multipliers_give_a_valid_bound() -> None:
    network, box = deep([3, 8, 8, 1], 4), Box([-1] * 3, [1] * 3)
    known = backward_bounds(network, box)
    relaxation = programme_room.relax(network, box, len(network.nodes), known)
    rng = np.random.default_rng(0)
    values = run_all(network, exact_points(rng, box, 30), EXACT)
    least = min(values[-1].fractions())
    column = int(relaxation.offsets[len(network.nodes)])
    for scale in (0.0, 1e-3, 1.0, 1e6):
        duals = scale * rng.standard_normal(relaxation.matrix.shape[0])
        assert programme_room.certified(relaxation, column, 1.0, duals) <= least
    for duals in linear_program_bounds(network, box, len(network.nodes), [0], known)[0].duals:
        assert np.any(duals != 0)


def test_a_polytope_tightens_a_programme() -> None:
    network, box = deep([2, 6, 1], 1), Box([-1, -1], [1, 1])
    known = backward_bounds(network, box)
    simplex = Polytope(Exact.of([[1, 1], [-2, 1]]), Exact.of([Fraction(-1, 3), 1]), box)
    (wide,) = linear_program_bounds(network, box, len(network.nodes), [0], known)
    (narrow,) = linear_program_bounds(network, simplex, len(network.nodes), [0], known)
    assert narrow.high - narrow.low < wide.high - wide.low
    points = exact_points(np.random.default_rng(1), box, 80)
    inside = [i for i in range(80) if contains(simplex, points[:, i])]
    columns = concatenate([points[:, i].reshape(2, 1) for i in inside], axis=1)
    values = run_all(network, columns, EXACT)[-1].fractions()
    assert inside and all(narrow.low <= value <= narrow.high for value in values)


def test_recurrences() -> None:
    cell = Builder((2,))
    z = cell.linear(Dense(np.array([[0.5, 1.0]])), 0, np.array([0.1]))
    state = cell.add(Relu(), (z,), 1)
    network = Builder((3,))
    zero = network.linear((), (), np.zeros(1))
    scan = Scan(cell.build(cell.add(Concat(), (state, z), 2)), 1, 3)
    rolled = network.build(network.add(scan, (zero, 0), 4))
    box = Box([-1] * 3, [1] * 3)
    points = exact_points(np.random.default_rng(0), box, 10)
    flat = flat_primitive(rolled)
    for method in METHODS:
        assert outside(rolled, points, method(rolled, box)) == 0
        assert outside(flat, points, method(flat, box)) == 0
    assert width(backward_bounds(flat, box)[-1]) <= width(backward_bounds(rolled, box)[-1])
    endless = Builder((3,))
    start = endless.linear((), (), np.zeros(1))
    last = endless.add(Scan(scan.cell, 1, None), (start, 0), 4)
    with pytest.raises(Refused, match="horizon"):
        interval_bounds(endless.build(last), box)


def test_functions_without_a_value_have_no_bounds() -> None:
    builder = Builder((2,))
    network = builder.build(builder.add(Opaque("log"), (0,), 2))
    low, high = interval_bounds(network, Box([-1, 1], [1, 2]))[-1]
    assert np.isinf(low[0]) and np.isinf(high[0])
    assert low[1] <= 0 and np.log(2) <= high[1] < 0.7


def test_softmax_lies_between_zero_and_one() -> None:
    builder = Builder((4,))
    network = builder.build(builder.add(Opaque("softmax", 2), (0,), 4))
    low, high = interval_bounds(network, Box([-1] * 4, [1] * 4))[-1]
    assert np.all((low > 0.1) & (high < 0.9))


def test_convolutions_as_matrices() -> None:
    rng = np.random.default_rng(3)
    conv = Conv(
        kernel=rng.standard_normal((4, 2, 2, 3)), space=(4, 5), strides=(1, 2),
        pads=((1, 0), (1, 1)), dilations=(1, 1), groups=1,
    )
    x = rng.standard_normal((3, conv.inputs))
    assert np.allclose((float_matrix(conv) @ x.T).T, conv.apply(x))
    gather = Gather(indices=np.array([2, -1, 0]), scale=np.array([2.0, 5.0, -1.0]), inputs=4)
    assert np.allclose(float_matrix(gather) @ x[0, :4], gather.apply(x[:1, :4])[0])


def test_wrong_dimensions_are_errors() -> None:
    with pytest.raises(DomainError, match="dimension 2"):
        interval_bounds(deep([3, 2], 0), Box([0, 0], [1, 1]))


def test_known_bounds_are_used() -> None:
    network, box = deep([3, 8, 8, 2], 2), Box([-1] * 3, [1] * 3)
    known = backward_bounds(network, box)
    again = backward_bounds(network, box, known=known)
    assert all(np.all(a[0] >= k[0]) and np.all(a[1] <= k[1])
               for a, k in zip(again, known, strict=True))
    part = backward_bounds(network, box, until=1)
    assert len(part) == 2


def test_a_real_network_is_bounded_by_its_samples(models: Path) -> None:
    loaded = read_onnx(models / "acasxu" / "ACASXU_run2a_1_1_batch_2000.onnx")
    network = to_primitive(loaded.network)
    low = ["0.6", "-0.5", "-0.5", "0.45", "-0.5"]
    box = Box(low, ["0.679857769", "0.5", "0.5", "0.5", "-0.45"])
    points = exact_points(np.random.default_rng(0), box, 6)
    for method in METHODS:
        assert outside(network, points, method(network, box)) == 0
