# SPDX-License-Identifier: Apache-2.0
"""Surface operators mean what they say: each rule against plain numpy, in floats and exactly."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isoform.errors import FormatError, UnsupportedModel
from isoform.network.constants import inverse, number_vector, reciprocal_root, tidy
from isoform.network.evaluate import evaluate, evaluate_exact
from isoform.network.linear_map import Dense, Gather, exact
from isoform.network.network import Builder, Network, Shape
from isoform.network.operators import (
    Abs,
    ArgExtreme,
    BatchNormalization,
    Clip,
    Compare,
    Concat,
    Divide,
    Gelu,
    HardSigmoid,
    HardSwish,
    LayerNormalization,
    LeakyRelu,
    Linear,
    MatMul,
    Maximum,
    MaxPool,
    Minimum,
    Opaque,
    Operator,
    Power,
    PRelu,
    Quantize,
    ReduceMax,
    Relu,
    Round,
    Select,
    Softmax,
    Where,
)
from isoform.network.primitive import to_primitive
from isoform.numerics.enclosure import Enclosure
from isoform.numerics.exact import Exact


def one(operator: Operator, result: Shape, *shapes: Shape) -> Network:
    builder = Builder(*shapes)
    return builder.build(builder.add(operator, range(len(shapes)), result))


def by_channel(z: np.ndarray, channel: np.ndarray) -> np.ndarray:
    return channel.reshape(1, -1, *[1] * (z.ndim - 2))


def softmax(z: np.ndarray, axis: int) -> np.ndarray:
    powers = np.exp(z - z.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


def layer_norm(z: np.ndarray, epsilon: float) -> np.ndarray:
    centred = z - z.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + epsilon)


def pool(z: np.ndarray) -> np.ndarray:
    """3x3 windows, stride 2, one ring of padding, of a (batch, channels, 5, 4) array."""
    padded = np.pad(z, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    views = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    return views[:, :, ::2, ::2].max(axis=(4, 5))


def quantised(z: np.ndarray, scale: np.ndarray, point: np.ndarray) -> np.ndarray:
    """As unsigned bytes."""
    return np.clip(np.rint(z / scale) + point, 0, 255)


erf = np.vectorize(math.erf)
CHANNELS = np.array([0.5, 2.0, 3.0])
CASES = [
    (LeakyRelu(0.25), [(2, 3)], lambda z: np.where(z >= 0, z, 0.25 * z)),
    (LeakyRelu(float(np.float32(0.01))), [(6,)],
     lambda z: np.where(z >= 0, z, np.float32(0.01) * z)),
    (PRelu(np.array([[0.5], [-2.0]])), [(2, 3)],
     lambda z: np.where(z >= 0, z, np.array([[0.5], [-2.0]]) * z)),
    (Clip(-0.5, 1.0), [(7,)], lambda z: np.minimum(np.maximum(z, -0.5), 1.0)),
    (Clip(None, 1.0), [(7,)], lambda z: np.minimum(z, 1.0)),
    (Clip(0.25, None), [(7,)], lambda z: np.maximum(z, 0.25)),
    (Clip(-1e30, 1.0), [(7,)], lambda z: np.minimum(z, 1.0)),
    (Clip(-1e30, None), [(7,)], lambda z: z),
    (Clip(2.0, 1.0), [(7,)], lambda z: np.full_like(z, 1.0)),
    (Clip(None, None), [(7,)], lambda z: z),
    (Round(), [(2, 3)], np.rint),
    (Quantize(scale=np.float32(0.25), zero_point=np.float32(3), low=0, high=255), [(7,)],
     lambda z: quantised(z, 0.25, 3)),
    (Quantize(scale=np.float32([[0.1], [0.5]]), zero_point=np.float32([[1], [254]]), low=0,
              high=255), [(2, 5)],
     lambda z: quantised(z, np.float32([[0.1], [0.5]]).astype(float), np.array([[1], [254]]))),
    (HardSigmoid(0.2, 0.5), [(5,)], lambda z: np.clip(0.2 * z + 0.5, 0, 1)),
    (HardSwish(), [(5,)], lambda z: z * np.clip(z / 6 + 0.5, 0, 1)),
    (Abs(), [(2, 2)], np.abs),
    (Gelu(), [(4,)], lambda z: z * (1 + erf(z / np.sqrt(2))) / 2),
    (Gelu(True), [(4,)],
     lambda z: z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3))) / 2),
    (Power(3.0), [(4,)], lambda z: z**3),
    (Power(7.0), [(4,)], lambda z: z**7),
    (Power(0.0), [(4,)], lambda z: np.ones_like(z)),
    (Power(-2.0), [(4,)], lambda z: 1 / z**2),
    (Maximum(), [(2, 3)] * 3, lambda a, b, c: np.maximum(np.maximum(a, b), c)),
    (Minimum(), [(2, 3)] * 5, lambda *z: np.minimum.reduce(z)),
    (ReduceMax((0, 2), False), [(2, 3, 4)], lambda z: z.max(axis=(1, 3))),
    (ReduceMax((1,), True), [(2, 3)], lambda z: z.max(axis=2, keepdims=True)),
    (MaxPool(size=(3, 3), strides=(2, 2), pads=((1, 1), (1, 1)), dilations=(1, 1)),
     [(2, 5, 4)], pool),
    (Compare(">"), [(5,)] * 2, lambda a, b: a > b),
    (Compare(">="), [(5,)] * 2, lambda a, b: a >= b),
    (Compare("<"), [(5,)] * 2, lambda a, b: a < b),
    (Compare("<="), [(5,)] * 2, lambda a, b: a <= b),
    (Compare("=="), [(5,)] * 2, lambda a, b: a == b),
    (ArgExtreme(0, True, False), [(4, 2)], lambda z: z.argmax(axis=1)),
    (ArgExtreme(1, False, True), [(2, 4)], lambda z: z.argmin(axis=2, keepdims=True)),
    (ArgExtreme(1, True, True, last=True), [(2, 4)],
     lambda z: 3 - z[:, :, ::-1].argmax(axis=2, keepdims=True)),
    (ArgExtreme(0, False, False, last=True), [(5,)], lambda z: 4 - z[:, ::-1].argmin(axis=1)),
    (ArgExtreme(0, True, False), [(1, 3)], lambda z: np.zeros((len(z), 3))),
    (MatMul(), [(2, 3), (3, 4)], np.matmul),
    (MatMul(), [(3,), (3, 4)], lambda a, b: np.einsum("ni,nij->nj", a, b)),
    (MatMul(), [(2, 2, 3), (3,)], lambda a, b: np.einsum("ngij,nj->ngi", a, b)),
    (MatMul(), [(1, 2, 3), (3, 3, 1)], np.matmul),
    (Divide(), [(4,)] * 2, np.divide),
    (Softmax(0), [(3, 2)], lambda z: softmax(z, 1)),
    (Softmax(1), [(3, 2)], lambda z: softmax(z, 2)),
    (Softmax(1), [(2, 3, 2)], lambda z: softmax(z, 2)),
    (LayerNormalization(axis=1, scale=None, shift=None, epsilon=1e-3), [(2, 5)],
     lambda z: layer_norm(z, 1e-3)),
    (LayerNormalization(axis=0, scale=CHANNELS, shift=CHANNELS, epsilon=1e-3), [(3,)],
     lambda z: layer_norm(z, 1e-3) * CHANNELS + CHANNELS),
    (BatchNormalization(scale=CHANNELS, shift=CHANNELS, mean=CHANNELS, variance=CHANNELS,
                        epsilon=1e-5), [(3, 2)],
     lambda z: CHANNELS[:, None] * (z - CHANNELS[:, None])
     / np.sqrt(CHANNELS[:, None] + 1e-5) + CHANNELS[:, None]),
    (Concat(1), [(2, 3), (2, 1), (2, 2)], lambda *z: np.concatenate(z, axis=2)),
    (Select(np.array([3, 3, 0])), [(2, 2)], lambda z: z.reshape(len(z), -1)[:, [3, 3, 0]]),
    (Where(), [(4,)] * 3, lambda c, a, b: c * a + (1 - c) * b),
]


@pytest.mark.parametrize(("operator", "shapes", "meaning"), CASES,
                         ids=[f"{i}-{type(case[0]).__name__}" for i, case in enumerate(CASES)])
def test_rule_means_what_numpy_means(operator, shapes, meaning):
    rng = np.random.default_rng(7)
    x = np.round(rng.normal(size=(9, sum(math.prod(s) for s in shapes))) * 8) / 4
    x[x == 0] = 0.5
    cuts = np.cumsum([math.prod(shape) for shape in shapes])[:-1]
    parts = [
        part.reshape(9, *shape) for part, shape in zip(np.split(x, cuts, 1), shapes, strict=True)
    ]
    expected = np.asarray(meaning(*parts), dtype=np.float64)
    network = one(operator, expected.shape[1:], *shapes)
    primitive = to_primitive(network)
    assert primitive.is_primitive and to_primitive(primitive) is primitive
    assert primitive.dimension == network.dimension
    assert primitive.output_dimension == network.output_dimension
    np.testing.assert_allclose(evaluate(network, x), expected.reshape(9, -1), rtol=1e-9, atol=1e-9)
    value = evaluate_exact(network, Exact.of(x.T.copy()))
    middle = value.low if isinstance(value, Enclosure) else value
    np.testing.assert_allclose(middle.to_float().T, expected.reshape(9, -1), rtol=1e-9, atol=1e-9)


@given(st.lists(st.fractions(max_denominator=12), min_size=1, max_size=5))
@settings(deadline=None)
def test_rounding_takes_ties_to_even(values):
    made = evaluate_exact(one(Round(), (len(values),), (len(values),)), Exact.of(values))
    assert made.fractions() == [Fraction(round(value)) for value in values]


def test_an_odd_zero_point_keeps_the_ties_of_the_quotient():
    """round(1/2) + 1 is 1, round(1/2 + 1) is 2."""
    byte = Quantize(scale=np.float32(1), zero_point=np.float32(1), low=0, high=255)
    made = evaluate_exact(one(byte, (3,), (3,)), Exact.of([Fraction(1, 2), Fraction(3, 2), -9]))
    assert made.fractions() == [1, 3, 0]


def test_values_of_one_network_are_flattened_in_order():
    builder = Builder((2, 2), (3,))
    weight = np.arange(6, dtype=np.float32).reshape(2, 3)
    dense = builder.add(Linear((Dense(weight),), None), (1,), (2, 1))
    same = builder.add(Select(np.arange(4)), (0,), (4,))
    network = builder.build(dense, same, 1)
    x = np.arange(7.0)
    np.testing.assert_array_equal(
        evaluate(network, x), np.concatenate((weight @ x[4:], x[:4], x[4:]))
    )


def test_identities_leave_no_node():
    builder = Builder((2, 3))
    flat = builder.add(Select(np.arange(6)), (0,), (6,))
    turned = builder.add(Select(np.arange(6)[::-1].copy()), (flat,), (3, 2))
    back = builder.add(Select(np.arange(6)[::-1].copy()), (turned,), (6,))
    unit = builder.add(Relu(), (back,), (6,))
    kept = builder.add(Clip(None, None), (unit,), (6,))
    primitive = to_primitive(builder.build(kept))
    assert [type(node.operator) for node in primitive.nodes] == [Relu]


def test_sums_absorb_selections_and_constants():
    builder = Builder((4,))
    ones = builder.add(Linear((), np.ones(4)), (), 4)
    turned = builder.add(Select(np.array([3, 2, 1, 0])), (0,), 4)
    same = Gather(indices=np.arange(4), scale=None, inputs=4)
    total = builder.add(Linear((same, same, same), None), (0, turned, ones), 4)
    largest = builder.add(Maximum(), (total, ones), 4)
    primitive = to_primitive(builder.build(largest))
    assert [type(node.operator) for node in primitive.nodes] == [Linear, Linear, Relu, Linear]
    np.testing.assert_array_equal(evaluate(primitive, np.array([1.0, -9, 2, 3])), [5, 1, 1, 5])


def test_scaled_softmax_keeps_its_group():
    primitive = to_primitive(one(Softmax(1), (2, 3), (2, 3)))
    assert [node.operator for node in primitive.nodes] == [Opaque("softmax", 3)]


def test_powers_without_a_rule_are_refused():
    with pytest.raises(UnsupportedModel, match="0.3"):
        to_primitive(one(Power(0.3), (2,), (2,)))


def test_negative_variances_are_refused():
    operator = BatchNormalization(scale=CHANNELS, shift=CHANNELS, mean=CHANNELS,
                                  variance=-CHANNELS, epsilon=1e-5)
    with pytest.raises(FormatError, match="reciprocal square root"):
        to_primitive(one(operator, (3,), (3,)))


@settings(deadline=None)
@given(st.integers(1, 10**30), st.integers(1, 10**30))
def test_reciprocal_roots_are_the_nearest_dyadic(p, q):
    value = Fraction(p, q)
    root = reciprocal_root(value)
    assert root.denominator & (root.denominator - 1) == 0
    ulp = Fraction(2) ** (math.floor(math.log2(root)) - 80)
    for bits in (ulp, 2 * ulp):
        if root / bits == int(root / bits):  # the grid of 81 bits, whichever side of a power of two
            assert (root - bits / 2) ** 2 * value <= 1 <= (root + bits / 2) ** 2 * value
            break


@settings(deadline=None)
@given(st.lists(st.integers(-9, 9).filter(bool), min_size=1, max_size=5))
def test_inverses_are_exact(numbers):
    constant = np.array(numbers, dtype=np.float32)
    assert exact(inverse(constant)) * Exact.of(constant) == Exact.of(np.ones(len(numbers)))


def test_constants_take_the_narrowest_array():
    assert number_vector(0.5, 2).dtype == np.float32
    assert number_vector(2.0**-40 + 1, 2).dtype == np.float64
    assert isinstance(number_vector(Fraction(1, 3), 2), Exact)
    assert tidy(Exact.of(np.array([0.1]))).dtype == np.float64
