# SPDX-License-Identifier: Apache-2.0
"""Rounded and split constants: laws, sizes, refusals."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isoform.errors import Refused
from isoform.network.evaluate import evaluate_exact
from isoform.network.linear_map import Conv, Csr, Dense, Gather
from isoform.network.network import Builder, Network
from isoform.network.operators import BatchNormalization, Clip, LeakyRelu, Linear, PRelu, Relu, Scan
from isoform.network.rounding import needs_rounding, rounded, split
from isoform.network.size import measure
from isoform.numerics.exact import Exact
from isoform.numerics.sparse import ExactSparse


def exact_matrix(rng: np.random.Generator, shape: tuple[int, ...], bits: int) -> Exact:
    """Random dyadic numbers with up to `bits` bits below one."""
    count = int(np.prod(shape))
    numerators = [int(rng.integers(-(2**31), 2**31)) << 32 | int(rng.integers(0, 2**32))
                  for _ in range(count)]
    numerator = np.empty(count, dtype=object)
    numerator[:] = [n >> max(0, 64 - bits) for n in numerators]
    return Exact(numerator.reshape(shape), 1 << bits)


def every_map(seed: int, bits: int) -> Network:
    """A primitive network with each kind of linear map, biases, several maps and a scan."""
    rng = np.random.default_rng(seed)
    b = Builder((6,))
    conv = Conv(kernel=exact_matrix(rng, (2, 1, 3), bits), space=(6,), strides=(1,),
                pads=((1, 1),), dilations=(1,))
    one = b.linear(conv, 0, exact_matrix(rng, (12,), bits))
    one = b.add(Relu(), (one,), 12)
    pattern = exact_matrix(rng, (4, 12), bits)
    pattern.numerator[rng.random((4, 12)) < 0.7] = 0
    two = b.linear(
        (Csr.of(ExactSparse.of(pattern)), Dense(exact_matrix(rng, (4, 6), bits))), (one, 0),
        exact_matrix(rng, (4,), bits),
    )
    gather = Gather(indices=np.array([3, -1, 0, 0, 2]), scale=exact_matrix(rng, (5,), bits),
                    inputs=4)
    three = b.linear(gather, two)
    cell = Builder((3,))
    state = cell.linear(Dense(exact_matrix(rng, (3, 3), bits)), 0)
    scan = Scan(cell.build(state), state=1, horizon=2)
    start = b.linear((), (), exact_matrix(rng, (1,), bits))
    select = b.linear(Gather(indices=np.arange(4), scale=None, inputs=5), three)
    four = b.add(scan, (start, select), 5)
    return b.build(four)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([20, 40, 60]))
def test_split_is_equal_over_the_reals(seed: int, bits: int) -> None:
    network = every_map(seed, bits)
    for dtype in (np.float32, np.float64):
        parts = split(network, dtype)
        assert needs_rounding(parts, dtype) == 0
        assert rounded(parts, dtype) == parts
        point = exact_matrix(np.random.default_rng(seed + 1), (6,), 20)
        assert evaluate_exact(parts, point) == evaluate_exact(network, point)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_rounded_is_idempotent_and_counts(seed: int) -> None:
    network = every_map(seed, 60)
    assert needs_rounding(network, np.float32) > 0
    once = rounded(network, np.float32)
    assert once != network
    assert needs_rounding(once, np.float32) == 0
    assert rounded(once, np.float32) == once
    assert needs_rounding(once, np.float64) == 0


def test_constants_that_fit_stay_the_same_numbers() -> None:
    weight = np.array([[0.1, 2.0]], dtype=np.float32)
    b = Builder((2,))
    network = b.build(b.linear(Dense(weight), 0, Exact.of([Fraction(1, 4)])))
    assert needs_rounding(network, np.float32) == 0
    assert split(network, np.float32) == rounded(network, np.float32)
    linear = rounded(network, np.float64).nodes[0].operator
    assert isinstance(linear, Linear)
    assert linear.maps[0].weight.dtype == np.float64
    assert np.array_equal(linear.maps[0].weight, weight.astype(np.float64))
    assert linear.bias is not None and linear.bias.tolist() == [0.25]


def test_one_number_is_counted() -> None:
    b = Builder((2,))
    network = b.build(b.linear(Dense(np.array([[0.1, 0.5]])), 0))
    assert needs_rounding(network, np.float32) == 1
    assert needs_rounding(network, np.float64) == 0


def test_numbers_inside_operators_are_rounded() -> None:
    b = Builder((2,))
    value = b.add(LeakyRelu(0.1), (0,), 2)
    value = b.add(Clip(None, 0.3), (value,), 2)
    network = b.build(b.add(PRelu(np.array([0.7, 0.5])), (value,), 2))
    assert needs_rounding(network, np.float32) == 3
    leaky, clip, prelu = (node.operator for node in rounded(network, np.float32).nodes)
    assert leaky == LeakyRelu(float(np.float32(0.1)))
    assert clip == Clip(None, float(np.float32(0.3)))
    assert prelu.slope.dtype == np.float32  # type: ignore[union-attr]


def test_surface_constants_are_lowered_before_they_are_split() -> None:
    rng = np.random.default_rng(0)
    b = Builder((4, 3))
    norm = BatchNormalization(
        scale=rng.normal(size=4).astype(np.float32), shift=rng.normal(size=4).astype(np.float32),
        mean=rng.normal(size=4).astype(np.float32), variance=np.ones(4, np.float32), epsilon=1e-5,
    )
    value = b.add(norm, (0,), (4, 3))
    network = b.build(b.add(LeakyRelu(0.1), (value,), (4, 3)))
    assert needs_rounding(network, np.float32) == 2
    parts = split(network, np.float64)
    assert parts.is_primitive and needs_rounding(parts, np.float64) == 0
    point = Exact.of(rng.integers(-5, 6, 12))
    assert evaluate_exact(parts, point) == evaluate_exact(network, point)
    fitting = rounded(network, np.float32)
    assert split(fitting, np.float32) == fitting


def test_overflow_names_the_constant() -> None:
    b = Builder((2,))
    network = b.build(b.linear(Dense(np.array([[1.0, 1e300]])), 0))
    with pytest.raises(Refused, match=r"node 1 \(Linear\) map 0 weight .* entry \(0, 1\)"):
        rounded(network, np.float32)
    with pytest.raises(Refused, match="weight"):
        split(network, np.float32)
    assert needs_rounding(network, np.float32) == 1


def test_a_third_is_no_sum_of_floats() -> None:
    b = Builder((1,))
    network = b.build(b.linear(Dense(Exact.of([[Fraction(1, 3)]])), 0))
    with pytest.raises(Refused, match=r"map 0 weight is no sum of floats: its denominator 3"):
        split(network, np.float64)
    assert needs_rounding(rounded(network, np.float64), np.float64) == 0


def test_too_many_bits_are_refused() -> None:
    b = Builder((1,))
    network = b.build(b.linear(Dense(Exact.of([[Fraction(2**300 + 1, 2**300)]])), 0))
    assert len(split(network, np.float64).nodes[0].operator.maps) == 2  # 1 + 2^-300
    wide = Exact.of([[Fraction(sum(1 << 80 * i for i in range(5)), 2**320)]])
    b = Builder((1,))
    with pytest.raises(Refused, match="more than 4 floats"):
        split(b.build(b.linear(Dense(wide), 0)), np.float64)


def test_sparse_remainders_are_compressed_and_counted() -> None:
    weight = np.ones((20, 20))
    weight[3, 4] = 1 + 2.0**-40
    b = Builder((20,))
    network = b.build(b.linear(Dense(weight), 0))
    parts = split(network, np.float32)
    first, second = parts.nodes[0].operator.maps  # type: ignore[union-attr]
    assert isinstance(first, Dense) and isinstance(second, Csr)
    assert second.nonzeros == 1
    assert measure(parts).parameters == 401


def test_shared_arrays_stay_shared() -> None:
    weight = np.full((2, 2), 0.1)
    b = Builder((2,))
    one = b.linear(Dense(weight), 0)
    network = b.build(b.linear(Dense(weight), one))
    assert measure(network).parameters == 4
    assert measure(rounded(network, np.float32)).parameters == 4
    assert measure(split(network, np.float32)).parameters <= 16
    first, second = (node.operator for node in split(network, np.float32).nodes)
    assert first.maps[0].weight is second.maps[0].weight  # type: ignore[union-attr]


def test_an_operator_inside_a_scan_is_named() -> None:
    cell = Builder((2,))
    inner = cell.build(cell.linear(Dense(np.array([[1e300, 0.0], [0.0, 1.0]])), 0))
    b = Builder((2,))
    start = b.linear((), (), np.zeros(1))
    network = b.build(b.add(Scan(inner, 1, 2), (start, 0), 3))
    assert replace(network) == network
    with pytest.raises(Refused, match="weight"):
        rounded(network, np.float32)
