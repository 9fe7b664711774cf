# SPDX-License-Identifier: Apache-2.0
"""The bound of rounding errors holds for every order of the sums.

What evaluates here is written again with numpy's floats, in several orders; onnxruntime too.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from float_sums import (
    F32,
    F64,
    WAYS,
    backwards,
    computed,
    dense,
    flushed,
    forwards,
    pairwise,
    random_net,
    worst_ratio,
)
from isoform.certificate.as_written import check_as_written
from isoform.certificate.float_error import float_error
from isoform.certificate.float_parts import float_error_within, halves
from isoform.errors import Refused
from isoform.network.claim import Arithmetic
from isoform.network.domain import Box, Everywhere, FiniteSet, bound_to
from isoform.network.evaluate import evaluate_exact
from isoform.network.linear_map import Conv, Csr, Dense, Gather, LinearMap
from isoform.network.network import Builder, Network
from isoform.network.operators import (
    LeakyRelu,
    Linear,
    Maximum,
    MaxPool,
    Opaque,
    Product,
    Relu,
    Step,
)
from isoform.network.primitive import to_primitive
from isoform.numerics.exact import Exact
from random_networks import graphs

# --- the bound ----------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), hidden=st.integers(1, 12), depth=st.integers(0, 3))
def test_no_order_of_sums_exceeds_the_bound(seed: int, hidden: int, depth: int) -> None:
    network = random_net(seed, (3, *[hidden] * depth, 2))
    assert worst_ratio(network, Box(-2, 2), F32, WAYS, 4, seed) <= 1


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 10**6))
def test_no_order_of_sums_exceeds_the_bound_in_doubles(seed: int) -> None:
    network = random_net(seed, (3, 6, 2), np.float64)
    ways = [forwards, backwards, pairwise, flushed]
    assert worst_ratio(network, Box(-2, 2), F64, ways, 4, seed) <= 1


def test_single_sums_come_within_a_small_factor_of_the_bound() -> None:
    """Not a loose bound: few terms, many points."""
    network = dense((np.array([[0.1, 0.7, 1.3]], dtype=np.float32), None))
    assert 0.2 < worst_ratio(network, Box("0.9", "1.1"), F32, WAYS, 400) <= 1


def test_a_copy_has_next_to_no_error_and_a_sum_of_two_one_rounding() -> None:
    unit = bound_to(Box(0, 1), 2)
    copy = dense((np.array([[0, -1]], dtype=np.float32), None))
    assert float_error(copy, unit, F32).max_abs() < Fraction(1, 2**80)
    both = dense((np.array([[1, -1]], dtype=np.float32), None))
    assert float_error(both, unit, F32).max_abs() <= Fraction(2, 2**24 - 1) + Fraction(1, 2**80)


def test_units_that_never_fire_pass_no_error_on() -> None:
    weight = np.array([[1e6]], dtype=np.float32)
    network = dense((weight, np.array([-2e6], np.float32)), (weight, None))
    error = float_error(network, bound_to(Box(0, 1), 1), F32)
    assert error.max_abs() < Fraction(1, 2**60)


def test_errors_of_stable_units_cancel_with_their_signs() -> None:
    """x - x by way of two units: the error of x itself does not count twice."""
    first = np.array([[1], [1]], dtype=np.float32)
    network = dense(
        (np.full((1, 8), 0.3, np.float32), np.array([4], np.float32)), (first, None),
        (np.array([[1, -1]], dtype=np.float32), None),
    )
    one = float_error(dense((np.full((1, 8), 0.3, np.float32), np.array([4], np.float32))),
                      bound_to(Box(0, 1), 8), F32).max_abs()
    assert float_error(network, bound_to(Box(0, 1), 8), F32).max_abs() < one


@pytest.mark.parametrize("scale", [2.0**-140, 2.0**-126, 2.0**-100])
def test_subnormal_weights_and_results_are_within_the_bound(scale: float) -> None:
    weight = (np.array([[1, 2, 3], [4, -5, 6]]) * scale).astype(np.float32)
    network = dense((weight, None))
    assert worst_ratio(network, Box(-1, 1), F32, WAYS, 20) <= 1
    assert worst_ratio(network, Box(0, Fraction(1, 2**120)), F32, WAYS, 20) <= 1


@pytest.fixture
def plain_recursion(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the errors carried back from the outputs, as for large networks."""
    monkeypatch.setattr("isoform.certificate.float_paths.MOST_PRODUCTS", 0)


@pytest.mark.usefixtures("plain_recursion")
@pytest.mark.parametrize("seed", range(12))
def test_the_plain_recursion_is_a_bound_too(seed: int) -> None:
    network = random_net(seed, (3, 5, 5, 2))
    assert worst_ratio(network, Box(-2, 2), F32, WAYS, 4, seed) <= 1


HALF_UNIT = 2.0**-25  # what the sum below is off zero by, on the other side than in floats


def nearly_zero(sign: int) -> np.ndarray:
    """A row whose sum is -sign HALF_UNIT, but from left to right in float32 sign HALF_UNIT."""
    unit = 2.0**-24
    return np.array([[1, 1.5 * unit, 1.5 * unit, -1, -3.5 * unit]], dtype=np.float32) * sign


def at_ones(network: Network) -> None:
    """The network on (1, .., 1) alone: its error from left to right is large, and bounded."""
    n = network.dimension
    true = evaluate_exact(network, Exact.of(np.ones(n)))
    near = Exact.of(computed(network, np.ones(n, np.float32), forwards))
    assert (near - Exact.of(true)).max_abs() >= Fraction(1, 4)
    assert worst_ratio(network, Box(1, 1), F32, WAYS, 1) <= 1


def test_a_unit_that_is_dead_over_the_reals_may_fire_in_floats() -> None:
    scale = np.array([[2.0**25]], dtype=np.float32)
    at_ones(dense((nearly_zero(1), None), (scale, None)))


def test_a_unit_that_always_fires_over_the_reals_may_be_dead_in_floats() -> None:
    """relu(y) - relu(y + 64) + 64 is 0 for y >= 0, not for y = -1/2."""
    build = Builder((5,))
    y = build.linear(Dense(nearly_zero(-1) * np.float32(2.0**24)), 0)
    both = build.linear(Dense(np.ones((2, 1), np.float32)), y, np.array([0, 64], np.float32))
    fired = build.add(Relu(), (both,), 2)
    at_ones(build.build(build.linear(
        Dense(np.array([[1, -1]], np.float32)), fired, np.array([64], np.float32)
    )))


def test_the_errors_of_all_paths_add_up() -> None:
    """y doubled 26 times, each time by a sum of two paths."""
    build = Builder((5,))
    y = build.linear(Dense(nearly_zero(1)), 0)
    same = Gather(indices=np.array([0]), scale=None, inputs=1)
    for _ in range(26):
        y = build.linear((same, same), (y, y))
    at_ones(build.build(y))


def test_an_open_unit_passes_the_whole_error_on() -> None:
    """One product, (1 + 500 unit) 1.001, rounded by nearly half a unit."""
    one = np.array([[1]], dtype=np.float32)
    network = dense((np.array([[1 + 500 * 2.0**-23]], dtype=np.float32), None), (one, None))
    assert 0.6 < worst_ratio(network, Box(-1, "1.001"), F32, [forwards], 4) <= 1


def test_a_large_bias_costs_a_rounding_of_its_size() -> None:
    network = dense((np.array([[1e-3]], np.float32), np.array([1000], np.float32)))
    assert 0.2 < worst_ratio(network, Box(0, 1), F32, WAYS, 50) <= 1


def test_convolutions_gathers_and_sparse_rows_are_the_matrices_that_they_mean() -> None:
    kernel = np.array([[[0.3, -0.7, 0.2]]], dtype=np.float32)
    maps: list[LinearMap] = [
        Conv(kernel=kernel, space=(4,), strides=(1,), pads=((1, 1),), dilations=(1,)),
        Gather(indices=np.array([3, -1, 0, 0]), scale=np.array([2, 1, 0.1, 3], np.float32),
               inputs=4),
    ]
    maps.append(Csr.of(maps[0].sparse()))
    for part in maps:
        build = Builder((4,))
        network = build.build(build.linear(part, 0))
        plain = dense((part.sparse().dense().to_float(np.float32), None))
        box = bound_to(Box(-1, 1), 4)
        assert float_error(network, box, F32) == float_error(plain, box, F32)


@settings(deadline=None, max_examples=30)
@given(network=graphs())
def test_numpy_stays_within_the_bound_on_random_graphs(network: Network) -> None:
    from isoform.network.evaluate import evaluate

    box = bound_to(Box(-3, 3), network.dimension)
    error = float_error(network, box, F32)
    x = np.random.default_rng(0).uniform(-3, 3, (20, network.dimension)).astype(np.float32)
    near = Exact.of(evaluate(network, x)).T
    true = Exact.of(evaluate_exact(network, Exact.of(x).T))
    assert np.all((error.reshape(-1, 1) - (near - true).abs()).sign() >= 0)


def test_onnxruntime_stays_within_the_bound(models: Path) -> None:
    from isoform.api import read
    from isoform.formats.replay import run_onnx

    for name, side in (("feedforward/fc1.onnx", 1.0), ("feedforward/mnist2x10.onnx", 1.0),
                       ("feedforward/oneInput_twoBranches.onnx", 3.0),
                       ("acasxu/ACASXU_run2a_3_3_batch_2000.onnx", 0.3)):
        network = to_primitive(read(models / name).network)
        n = network.dimension
        error = float_error(network, bound_to(Box(-side, side), n), F32)
        x = np.random.default_rng(1).uniform(-side, side, (12, n)).astype(np.float32)
        near = Exact.of(run_onnx(models / name, x)).T
        true = Exact.of(evaluate_exact(network, Exact.of(x).T))
        assert np.all((error.reshape(-1, 1) - (near - true).abs()).sign() >= 0), name


# --- refusals -----------------------------------------------------------------------------------


def refusal(network: Network, box: Box | Everywhere | FiniteSet, arithmetic: Arithmetic = F32
            ) -> str:
    with pytest.raises(Refused) as caught:
        float_error(network, bound_to(box, network.dimension), arithmetic)
    return str(caught.value)


def test_overflow_is_refused() -> None:
    large = dense((np.full((1, 4), 1e38, np.float32), None))
    assert "overflow" in refusal(large, Box(-1, 1))
    assert "overflow" in refusal(dense((np.ones((1, 1), np.float32), None)), Box(0, 10**38))
    deep = dense(*[(np.full((1, 1), 1e20, np.float32), None)] * 3)
    assert "overflow" in refusal(deep, Box(0, 1))
    float_error(dense((np.full((1, 4), 1e36, np.float32), None)), bound_to(Box(-1, 1), 4), F32)


def test_constants_that_are_not_of_the_type_are_refused() -> None:
    doubles = dense((np.array([[0.1]]), None))
    assert "float32" in refusal(doubles, Box(0, 1))
    float_error(doubles, bound_to(Box(0, 1), 1), F64)
    third = Exact.of(np.array([[Fraction(1, 3)]], dtype=object))
    build = Builder((1,))
    assert "float64" in refusal(build.build(build.linear(Dense(third), 0)), Box(0, 1), F64)


def test_domains_without_bounds_or_numbers_of_the_type_are_refused() -> None:
    network = dense((np.ones((1, 1), np.float32), None))
    assert "bounds" in refusal(network, Everywhere())
    tenth = Fraction(1, 10)
    assert "no point" in refusal(network, Box(tenth, tenth))
    assert "no point" in refusal(network, FiniteSet(Exact.of(np.array([[tenth]], dtype=object))))
    float_error(network, bound_to(Box(tenth, tenth + Fraction(1, 10**7)), 1), F32)


@pytest.mark.parametrize("operator", [Step(), Opaque("tanh")])
def test_operators_without_a_bound_are_refused_by_name(operator) -> None:
    build = Builder((2,))
    name = getattr(operator, "name", "Step")
    assert name in refusal(build.build(build.add(operator, (0,), 2)), Box(0, 1))
    build = Builder((2,))
    assert "Product" in refusal(build.build(build.add(Product(), (0, 0), 2)), Box(0, 1))


def test_only_files_that_mean_their_primitive_network_are_taken() -> None:
    build = Builder((2,))
    with pytest.raises(Refused, match="LeakyRelu"):
        check_as_written(build.build(build.add(LeakyRelu(0.5), (0,), (2,))))
    build = Builder((2,))
    with pytest.raises(Refused, match="tanh"):
        check_as_written(build.build(build.add(Opaque("tanh"), (0,), (2,))))
    build = Builder((2,))
    fixed = build.linear((), (), np.ones(2))
    with pytest.raises(Refused, match="constants"):
        check_as_written(build.build(build.add(Relu(), (fixed,), (2,))))
    build = Builder((2,))
    check_as_written(build.build(build.add(Maximum(), (0, 0), (2,))))
    with pytest.raises(Refused, match="Gemm"):
        check_as_written(dense((np.ones((1, 1)), None)),
                         ("a factor of a Gemm is taken into its numbers (alpha 2, beta 1)",))


def test_a_maximum_chosen_exactly_is_within_the_bound_of_its_lowered_form() -> None:
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((8, 3)).astype(np.float32)
    build = Builder((3,))
    sums = build.add(Linear((Dense(weight),), None), (0,), (1, 8))
    pool = build.add(MaxPool(size=(2,), strides=(2,), pads=((0, 0),), dilations=(1,)), (sums,),
                     (1, 4))
    network = build.build(pool)
    check_as_written(network)
    error = float_error(to_primitive(network), bound_to(Box(-1, 1), 3), F32)
    x = rng.uniform(-1, 1, (50, 3)).astype(np.float32)
    for row in x:
        chosen = Exact.of(forwards(weight, row, np.zeros(8, np.float32)).reshape(4, 2).max(axis=1))
        true = Exact.of(evaluate_exact(to_primitive(network), Exact.of(row)))
        assert np.all((error - (chosen - true).abs()).sign() >= 0)


# --- parts of the domain ------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_parts_of_the_domain_sharpen_the_bound_and_cover_it(seed: int) -> None:
    network, box = random_net(seed, (3, 6, 6, 2)), bound_to(Box(-2, 2), 3)
    whole = float_error(network, box, F32)
    parts = float_error_within(network, box, F32, Fraction(0))
    assert np.all((whole - parts).sign() >= 0) and parts.max_abs() < whole.max_abs()
    assert float_error_within(network, box, F32, whole.max_abs()) == whole
    x = np.random.default_rng(seed).uniform(-2, 2, (40, 3)).astype(np.float32)
    for row in x:
        true = Exact.of(evaluate_exact(network, Exact.of(row)))
        for way in WAYS:
            off = (Exact.of(computed(network, row, way)) - true).abs()
            assert np.all((parts - off).sign() >= 0)


def test_halves_meet_and_cover() -> None:
    box = bound_to(Box([0, Fraction(1, 3)], [1, 5]), 2)
    assert isinstance(box, Box)
    weight = Exact.of(np.array([1, 1]))
    for weights, axis in ((weight, 1), (Exact.of(np.array([100, 1])), 0)):
        low, high = halves(box, weights)
        assert low.low == box.low and high.high == box.high
        assert low.high[axis].item() == high.low[axis].item()
        assert low.high[1 - axis].item() == box.high[1 - axis].item()
        assert high.low[1 - axis].item() == box.low[1 - axis].item()
