# SPDX-License-Identifier: Apache-2.0
"""One ReLU chain from any graph: known widths, carries, bounds, negative controls."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isoform.algebra.affine_rows import identity_map
from isoform.converters import (
    convolutional_to_feed_forward,
    feed_forward_to_convolutional,
    layered_to_affine,
    layered_to_feed_forward,
)
from isoform.forms.convolutional import Convolutional
from isoform.forms.feed_forward import FeedForward, dense_chain
from isoform.forms.layered import Layered, affine_chain_net, multiplicative, residual
from isoform.network.domain import Binary, Box, Domain, Everywhere, bound_to
from isoform.network.evaluate import evaluate_exact
from isoform.network.linear_map import Csr, Dense, Gather
from isoform.network.network import Builder, Network
from isoform.network.operators import Concat, LeakyRelu, MaxPool, Relu, Select
from isoform.numerics.exact import Exact
from random_networks import graphs

OPTIONS = layered_to_feed_forward.ChainOptions()


def chain_of(network: Network, on: Domain) -> FeedForward:
    converter = layered_to_feed_forward.CONVERTER
    domain = bound_to(on, network.dimension)
    size = converter.predict(Layered(network), domain, OPTIONS).size  # type: ignore[union-attr]
    form = converter.rewrite(Layered(network), domain, OPTIONS).form
    too_large = {k: v for k, v in form.size.as_dict().items() if v > size.as_dict()[k]}
    assert not too_large
    return form


def differ(a: Network, b: Network, x: list[int]) -> bool:
    at = Exact.of(np.array(x))
    return evaluate_exact(a, at) != evaluate_exact(b, at)


def skip_net() -> Network:
    """y = x + relu(x): the input is read after a ReLU layer."""
    build = Builder((1,))
    r = build.add(Relu(), (0,), 1)
    return build.build(build.linear((identity_map(1), identity_map(1)), (0, r)))


def bent_skip_net() -> Network:
    """y = x + relu(2 x + 1): the layer that carries x holds no relu(x)."""
    build = Builder((1,))
    z = build.linear(Dense(np.array([[2.0]])), 0, np.array([1.0]))
    r = build.add(Relu(), (z,), 1)
    return build.build(build.linear((identity_map(1), identity_map(1)), (0, r)))


def test_a_chain_keeps_its_constants_bit_for_bit() -> None:
    form = FeedForward(dense_chain((3, 8, 5, 2), 3), (Relu(), Relu()))
    again = chain_of(form.lower(), Everywhere())
    assert again == form


def test_an_affine_value_is_carried_by_one_unit_on_a_box_and_by_two_elsewhere() -> None:
    network = skip_net()
    on_box, anywhere = chain_of(network, Box(-3, 2)), chain_of(network, Everywhere())
    assert on_box.widths == (1, 2, 1)
    assert anywhere.widths == (1, 2, 1)  # relu(x) is there already: x = relu(x) - relu(-x)
    for x in range(-3, 3):
        assert not differ(network, on_box.lower(), [x])
        assert not differ(network, anywhere.lower(), [x])


def test_outside_the_domain_a_carried_value_is_clipped() -> None:
    """The negative control: the promise is for the domain, and it is tight about that."""
    network = bent_skip_net()
    form = chain_of(network, Box(-3, 2))
    assert differ(network, form.lower(), [-100])
    assert not differ(network, chain_of(network, Everywhere()).lower(), [-100])


def test_a_nonnegative_value_needs_no_shift() -> None:
    form = chain_of(skip_net(), Binary())
    assert form.widths == (1, 1, 1)  # x >= 0 there: carrying x is the unit relu(x) itself


def test_relu_outputs_are_carried_by_one_unit_everywhere() -> None:
    build = Builder((2,))
    a = build.add(Relu(), (build.linear(Dense(np.array([[1.0, 2], [3, -4], [1, 1]])), 0),), 3)
    b = build.add(Relu(), (build.linear(Dense(np.array([[1.0, -1, 1]])), a),), 1)
    joined = build.add(Concat(), (a, b), 4)
    network = build.build(build.linear(Dense(np.array([[1.0, 1, -1, 2]])), joined))
    assert chain_of(network, Everywhere()).widths == (2, 3, 4, 1)


def test_the_smaller_of_a_value_and_its_operand_is_carried() -> None:
    """A sum of 40 units is carried past two layers by its one value, not by 40."""
    build = Builder((2,))
    wide = dense_chain((2, 40, 1), 5)
    r = build.add(Relu(), (build.linear(wide[0][0], 0, wide[0][1]),), 40)
    total = build.linear(Dense(np.ones((1, 40))), r)
    z = build.add(Relu(), (build.linear(wide[1][0], r),), 1)
    z = build.add(Relu(), (build.linear(Dense(np.array([[-1.0]])), z, np.array([9.0])),), 1)
    network = build.build(build.linear((identity_map(1), identity_map(1)), (total, z)))
    assert chain_of(network, Box(-1, 1)).widths == (2, 40, 2, 2, 1)


def test_a_residual_stream_is_carried_by_itself() -> None:
    assert chain_of(residual(), Box(-1, 1)).widths == (3, 7, 7, 3)
    assert chain_of(residual(), Everywhere()).widths == (3, 10, 10, 3)


def test_two_sided_carries_hold_everywhere() -> None:
    options = layered_to_feed_forward.ChainOptions(two_sided=True)
    converter = layered_to_feed_forward.CONVERTER
    made = converter.rewrite(Layered(skip_net()), bound_to(Box(-3, 2), 1), options)
    assert not differ(skip_net(), made.form.lower(), [-100])
    mirrored = converter.rewrite(Layered(skip_net()), bound_to(Box(-3, 2), 1), OPTIONS)
    assert not differ(skip_net(), mirrored.form.lower(), [-100])  # relu(x) is there anyway
    assert not any("shifted" in note for note in mirrored.notes)
    shifted = converter.rewrite(Layered(bent_skip_net()), bound_to(Box(-3, 2), 1), OPTIONS)
    assert any("shifted by up to 3" in note for note in shifted.notes)


def test_leaky_relu_costs_two_units() -> None:
    form = FeedForward(dense_chain((3, 4, 2), 1), (LeakyRelu(0.125),))
    assert chain_of(form.lower(), Everywhere()).widths == (3, 8, 2)


def test_a_max_pool_is_a_tree_of_sparse_layers() -> None:
    build = Builder((1, 4, 4))
    pool = MaxPool(size=(2, 2), strides=(2, 2), pads=((0, 0),) * 2, dilations=(1, 1))
    network = build.build(build.add(pool, (0,), (1, 2, 2)))
    form = chain_of(network, Box(-1, 1))
    assert len(form.activations) == 2
    assert all(isinstance(part, Csr | Gather) for part, _ in form.layers)


def test_unread_and_constant_units_are_not_made() -> None:
    build = Builder((2,))
    weight = np.array([[1.0, 2], [0, 0], [3, 4], [1, 2]])
    bias = np.array([0.0, 5, 1, 0])
    r = build.add(Relu(), (build.linear(Dense(weight), 0, bias),), 4)
    picked = build.add(Select(np.array([0, 1, 3])), (r,), 3)
    network = build.build(build.linear(Dense(np.array([[1.0, 1, 1]])), picked))
    form = chain_of(network, Everywhere())
    assert form.widths == (2, 1, 1)
    assert not differ(network, form.lower(), [3, -1])


def test_refusals_name_every_obstacle() -> None:
    form = Layered(multiplicative())
    refusal = layered_to_feed_forward.CONVERTER.requires(form, Everywhere(2), OPTIONS)
    assert refusal is not None
    assert all(name in refusal.reason for name in ("sigmoid", "Step", "Product"))
    assert refusal.remedy
    affine = layered_to_affine.CONVERTER.requires(Layered(residual()), Everywhere(3), None)
    assert affine is not None and "Relu" in affine.reason


def test_an_affine_network_is_one_matrix() -> None:
    source = Layered(affine_chain_net())
    form = layered_to_affine.CONVERTER.rewrite(source, Everywhere(3), None).form
    assert form.map.outputs == 2 and isinstance(form.map.weight, Exact)  # thirds stay exact


@pytest.mark.parametrize("form", Convolutional.examples()[:4])
def test_convolution_to_chain_and_back_to_pixels(form: Convolutional) -> None:
    n = form.lower().dimension
    box = bound_to(Box(-2, 2), n)
    chain = convolutional_to_feed_forward.CONVERTER.rewrite(form, box, None).form
    pixels = feed_forward_to_convolutional.CONVERTER.rewrite(chain, Everywhere(n), None).form
    x = Exact(np.random.default_rng(n).integers(-40, 41, (n, 3)).astype(object), 20)
    y = evaluate_exact(form.lower(), x)
    assert evaluate_exact(chain.lower(), x) == y == evaluate_exact(pixels.lower(), x)


@settings(max_examples=150, deadline=None)
@given(graphs(), st.booleans())
def test_random_graphs_become_chains(network: Network, everywhere: bool) -> None:
    form = chain_of(network, Everywhere() if everywhere else Box(-2, 3))
    random = np.random.default_rng(0)
    x = Exact(random.integers(-14, 22, (network.dimension, 12)).astype(object), 7)
    assert evaluate_exact(form.lower(), x) == evaluate_exact(network, x)
