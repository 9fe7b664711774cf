# SPDX-License-Identifier: Apache-2.0
"""Canonical form and merging of units: laws on random chains, known counts, negative controls."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isoform.converters import canonicalise, merge_units
from isoform.forms.feed_forward import FeedForward, dense_chain, redundant_layers
from isoform.network.domain import Everywhere
from isoform.network.evaluate import evaluate, evaluate_exact
from isoform.network.linear_map import Dense, exact
from isoform.network.operators import (
    Abs,
    Clip,
    Gelu,
    LeakyRelu,
    Opaque,
    Operator,
    PRelu,
    Relu,
    Step,
)
from isoform.numerics.exact import Exact, exact_fractions

HERE = Everywhere()
NONE = canonicalise.CONVERTER.options()
WIDTHS = st.lists(st.integers(1, 4), min_size=2, max_size=4)


def canonical(form: FeedForward) -> FeedForward:
    return canonicalise.CONVERTER.rewrite(form, HERE, NONE).form


def merged(form: FeedForward) -> FeedForward:
    return merge_units.CONVERTER.rewrite(form, HERE, NONE).form


def notes(form: FeedForward) -> str:
    return "; ".join(merge_units.CONVERTER.rewrite(form, HERE, NONE).notes)


def relu_chain(*layers: tuple[list, list]) -> FeedForward:
    made = tuple((Dense(np.array(w, dtype=np.float64)), np.array(b, dtype=np.float64))
                 for w, b in layers)
    return FeedForward(made, (Relu(),) * (len(made) - 1))


def assert_same_function(a: FeedForward, b: FeedForward, seed: int = 0) -> None:
    random = np.random.default_rng(seed)
    n = a.widths[0]
    x = Exact(random.integers(-50, 51, (n, 8)).astype(object), 17)
    assert evaluate_exact(a.lower(), x) == evaluate_exact(b.lower(), x)


@st.composite
def chains(draw: st.DrawFn) -> FeedForward:
    """Random ReLU chains with small eighths."""
    widths = tuple(draw(WIDTHS))
    layers = dense_chain(widths, draw(st.integers(0, 10**6)))
    return FeedForward(layers, (Relu(),) * (len(layers) - 1))


@st.composite
def disguised(draw: st.DrawFn) -> tuple[FeedForward, FeedForward]:
    """A chain, and the same with hidden units permuted and scaled by positive rationals."""
    form = draw(chains())
    layers = [(exact(part.weight), exact(bias)) for part, bias in form.layers]  # type: ignore
    for i, width in enumerate(form.widths[1:-1]):
        order = draw(st.permutations(range(width)))
        positive = st.fractions(Fraction(1, 9), 9, max_denominator=9)
        scale = exact_fractions([draw(positive) for _ in range(width)], (width,))
        inverse = exact_fractions([1 / s for s in scale.fractions()], (width,))
        (w, b), (w2, b2) = layers[i], layers[i + 1]
        layers[i] = ((w * scale.reshape(-1, 1))[order], (b * scale)[order])
        layers[i + 1] = ((w2 * inverse)[:, order], b2)
    made = tuple((Dense(w), b) for w, b in layers)
    return form, FeedForward(made, form.activations)


@settings(max_examples=60, deadline=None)
@given(disguised())
def test_canonical_form_ignores_permutation_and_scale(
    pair: tuple[FeedForward, FeedForward]
) -> None:
    form, other = pair
    assert canonical(form) == canonical(other)
    assert_same_function(form, canonical(other))


@settings(max_examples=40, deadline=None)
@given(chains())
def test_canonical_form_is_idempotent(form: FeedForward) -> None:
    once = canonical(form)
    assert canonical(once) == once


@settings(max_examples=60, deadline=None)
@given(chains(), st.integers(0, 3))
def test_merging_keeps_the_function(form: FeedForward, seed: int) -> None:
    less = merged(form)
    assert_same_function(form, less, seed)
    assert less.size.units <= form.size.units
    assert merged(less) == less


def test_canonical_rows_are_in_the_half_open_interval() -> None:
    form = canonical(FeedForward(dense_chain((3, 5, 4, 2), 9), (Relu(), Relu())))
    for part, bias in form.layers[:-1]:
        rows = np.abs(exact(part.weight).to_float())  # type: ignore[union-attr]
        largest = np.maximum(rows.max(axis=1), np.abs(exact(bias).to_float()))  # type: ignore
        assert np.all((largest >= 0.5) & (largest < 1))


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_one_last_bit_changes_the_canonical_form(layer: int) -> None:
    form = FeedForward(dense_chain((3, 4, 4, 2), 5), (Relu(), Relu()))
    layers = list(form.layers)
    weight = layers[layer][0].weight.copy()  # type: ignore[union-attr]
    at = tuple(np.argwhere(weight != 0)[0])
    weight[at] = np.nextafter(weight[at], np.float32(np.inf))
    layers[layer] = (Dense(weight), layers[layer][1])
    assert canonical(FeedForward(tuple(layers), form.activations)) != canonical(form)


def test_parallel_units_merge() -> None:
    less = merged(FeedForward(redundant_layers(), (Relu(),)))
    assert less.widths == (2, 3, 2)
    assert "1 parallel units went" in notes(FeedForward(redundant_layers(), (Relu(),)))


def test_nearly_parallel_units_do_not_merge() -> None:
    row = [1.0, -2.0]
    near = [2.0, np.nextafter(-4.0, 0)]
    assert merged(relu_chain(([row, near], [0, 0]), ([[1, 1]], [0]))).widths == (2, 2, 1)
    assert merged(relu_chain(([row, [-1, 3]], [0, 0]), ([[1, 1]], [0]))).widths == (2, 2, 1)


def test_constant_and_unread_units_go() -> None:
    form = relu_chain(([[0, 0], [1, 2], [0, 0], [3, 1]], [2, 1, -1, 0]), ([[5, 1, 7, 0]], [1]))
    less = merged(form)
    assert less.widths == (2, 1, 1)
    assert exact(less.layers[1][1]).fractions() == [11]  # type: ignore[arg-type]


def test_units_that_are_never_on_go_above_the_first_layer_only() -> None:
    rows = [[-1, -2], [1, -1]]
    low = relu_chain((rows, [0, 0]), ([[1, 1]], [0]))
    assert merged(low).widths == (2, 2, 1)
    high = relu_chain(([[1, 2], [2, 1]], [0, 0]), (rows, [0, 0]), ([[1, 1]], [0]))
    assert merged(high).widths == (2, 2, 1, 1)


def test_a_layer_of_constants_keeps_one_unit() -> None:
    form = relu_chain(([[0], [0]], [1, 2]), ([[1, 1]], [0]))
    less = merged(form)
    assert less.widths == (1, 1, 1)
    assert_same_function(form, less)
    assert merged(less) == less


def test_an_antiparallel_pair_merges_where_the_linear_term_is_at_hand() -> None:
    """Layer two reads u >= 0: the units u0 and u1 are always on and span z = u0 - u1."""
    first = ([[1, 2], [3, -1]], [0, 0])
    second = ([[1, 0], [0, 1], [1, -1], [-2, 2]], [0, 0, 0, 0])
    form = relu_chain(first, second, ([[1, 1, 1, 1]], [0]))
    less = merged(form)
    assert less.widths == (2, 2, 3, 1)
    assert_same_function(form, less)


def test_dependent_pairs_merge_and_independent_ones_stay() -> None:
    pairs = [[1, 0], [-1, 0], [0, 1], [0, -1], [1, 1], [-1, -1]]
    form = relu_chain((pairs, [0] * 6), ([[1, 2, 3, 4, 5, 6], [1, 1, 1, 1, 1, 1]], [0, 0]))
    less = merged(form)
    assert less.widths == (2, 5, 2)
    assert_same_function(form, less)
    assert "2 antiparallel pairs stay" in notes(form)


ALIKE = [  # activation, the factor that it lets through, whether the next bias changes
    (LeakyRelu(0.125), 3, 0), (Abs(), 3, 0), (Opaque("tanh"), -1, 0), (Opaque("sigmoid"), -1, 1),
    (Gelu(), 1, 0), (Clip(0.0, 6.0), 1, 0), (PRelu(np.array([0.25])), 5, 0),
]


@pytest.mark.parametrize(("operator", "factor", "shift"), ALIKE, ids=lambda v: str(v)[:12])
def test_other_activations_by_their_symmetries(operator: Operator, factor: int, shift: int) -> None:
    """A hidden unit replaced by its image under the symmetry gives the same canonical form."""
    first, second = dense_chain((2, 3, 2), 7)
    w, b = exact(first[0].weight), exact(first[1])  # type: ignore[union-attr, arg-type]
    scale = exact_fractions([1, factor, 1], (3,))
    order = [2, 1, 0]
    w2, b2 = exact(second[0].weight), exact(second[1])  # type: ignore[union-attr, arg-type]
    inverse = exact_fractions([1, Fraction(1, factor), 1], (3,))
    offset = Exact.of(np.array([0, shift, 0]))  # s(z) = shift + s(factor z) / factor
    other = FeedForward(
        ((Dense((w * scale.reshape(-1, 1))[order]), (b * scale)[order]),
         (Dense((w2 * inverse)[:, order]), b2 + w2 @ offset)), (operator,),
    )
    form = FeedForward((first, second), (operator,))
    assert canonical(form) == canonical(other)


@pytest.mark.parametrize(("operator", "factor", "shift"), ALIKE, ids=lambda v: str(v)[:12])
def test_equivalent_units_merge(operator: Operator, factor: int, shift: int) -> None:
    rows = [[1.0, -2.0], [factor * 1.0, factor * -2.0], [0.5, 1.0]]
    form = FeedForward(
        ((Dense(np.array(rows)), np.array([0.5, factor * 0.5, 1.0])),
         (Dense(np.array([[1.0, 3.0, -1.0]])), np.array([0.25]))), (operator,),
    )
    less = merged(form)
    assert less.widths == (2, 2, 1)
    x = np.random.default_rng(0).normal(size=(20, 2))
    assert np.allclose(evaluate(less.lower(), x), evaluate(form.lower(), x), atol=1e-12)


def test_a_step_ignores_the_scale() -> None:
    form = FeedForward(
        ((Dense(np.array([[1.0, 2], [4, 8]])), np.array([1.0, 4])),
         (Dense(np.array([[1.0, 3]])), None)), (Step(),),
    )
    less = merged(form)
    assert less.widths == (2, 1, 1) and canonical(form) == canonical(less)
    assert_same_function(form, canonical(form))


@pytest.mark.parametrize("operator", [Gelu(), Clip(0.0, 6.0), Opaque("sigmoid")])
def test_scaled_units_of_other_activations_stay(operator: Operator) -> None:
    form = FeedForward(
        ((Dense(np.array([[1.0, 2], [2, 4]])), None), (Dense(np.array([[1.0, 3]])), None)),
        (operator,),
    )
    assert merged(form).widths == (2, 2, 1)


def test_a_slope_for_each_unit_is_refused() -> None:
    form = FeedForward(dense_chain((2, 3, 1), 0), (PRelu(np.array([0.5, 0.25, 0.125])),))
    for module in (canonicalise, merge_units):
        refusal = module.CONVERTER.requires(form, HERE, NONE)
        assert refusal is not None and "slope" in refusal.reason
