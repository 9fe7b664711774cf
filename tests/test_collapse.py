# SPDX-License-Identifier: Apache-2.0
"""Collapsing affine maps: known sizes, structure kept, what is left alone, negative controls."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isoform.algebra.affine_rows import identity_map
from isoform.algebra.conv_algebra import apply_exact, conv_after_conv, conv_sum, outline
from isoform.converters.collapse_linear import CONVERTER, CollapseOptions
from isoform.forms.layered import Layered, eighths, normalised_conv, repvgg_block
from isoform.network.domain import Everywhere
from isoform.network.evaluate import evaluate_exact
from isoform.network.linear_map import Conv, Dense, Gather
from isoform.network.network import Builder, Network
from isoform.network.operators import BatchNormalization, Concat, Linear, MaxPool, Relu
from isoform.numerics.exact import Exact
from random_networks import graphs


def collapsed(network: Network, force: bool = False) -> Network:
    """The rewriting, with its prediction and its law checked on the way."""
    form, options = Layered(network), CollapseOptions(force)
    size = CONVERTER.predict(form, Everywhere(), options).size  # type: ignore[union-attr]
    result = CONVERTER.rewrite(form, Everywhere(), options).form
    actual = result.size
    assert all(v <= size.as_dict()[k] for k, v in actual.as_dict().items())
    x = points(network.dimension)
    assert evaluate_exact(result.network, x) == evaluate_exact(network, x)
    return result.network


def points(n: int) -> Exact:
    random = np.random.default_rng(n)
    return Exact(random.integers(-42, 43, (n, 3)).astype(object), 21)


def dense_chain(*widths: int) -> Network:
    build = Builder((widths[0],))
    value = 0
    for i, (n, m) in enumerate(itertools.pairwise(widths)):
        value = build.linear(Dense(eighths((m, n), i)), value, eighths((m,), 50 + i))
    return build.build(value)


def parameters(network: Network) -> int:
    return Layered(network).size.parameters


@pytest.mark.parametrize(("widths", "before", "after"), [
    ((784, 100, 10), 79_510, 7_850), ((64, 64, 64), 8_320, 4_160), ((10, 100, 10), 2_110, 110),
    ((128, 4, 128), 1_156, 1_156), ((30, 3, 30, 10), 523, 133), ((40, 2, 40, 3), 325, 91),
    ((5, 100, 5, 100, 5), 2_210, 30),
])
def test_known_sizes(widths: tuple[int, ...], before: int, after: int) -> None:
    network = dense_chain(*widths)
    assert parameters(network) == before
    assert parameters(collapsed(network)) == after


def test_the_best_grouping_is_found() -> None:
    """60-2-60-2-60: in the middle 2-60-2 collapses to 2-2, the ends stay low in rank."""
    network = dense_chain(60, 2, 60, 2, 60)
    result = collapsed(network)
    assert [node.shape for node in result.nodes] in ([(2,), (60,)],)
    assert parameters(result) == 2 * 60 + 2 + 60 * 2 + 60


def test_force_collapses_a_bottleneck_and_says_nothing_otherwise() -> None:
    network = dense_chain(12, 1, 12)
    kept = CONVERTER.rewrite(Layered(network), Everywhere(), CollapseOptions())
    assert kept.form.network == network
    assert any("stay two maps" in note for note in kept.notes)
    forced = collapsed(network, force=True)
    assert len(forced.nodes) == 1 and parameters(forced) == 12 * 12 + 12


def test_repvgg_becomes_one_convolution() -> None:
    result = collapsed(repvgg_block())
    (linear, relu) = result.nodes
    (part,) = linear.operator.maps  # type: ignore[union-attr]
    assert isinstance(part, Conv) and part.kernel.shape == (2, 2, 3, 3)
    assert isinstance(relu.operator, Relu)


def test_normalisation_goes_into_the_convolution() -> None:
    result = collapsed(normalised_conv())
    assert not any(isinstance(node.operator, BatchNormalization) for node in result.nodes)
    assert isinstance(result.nodes[0].operator.maps[0], Conv)  # type: ignore[union-attr]


def padded_after_bias(force: bool) -> Network:
    build = Builder((2, 4))
    first = Conv(kernel=eighths((2, 2, 1), 3), space=(4,), strides=(1,), pads=((0, 0),),
                 dilations=(1,))
    second = Conv(kernel=eighths((1, 2, 3), 4), space=(4,), strides=(1,), pads=((1, 1),),
                  dilations=(1,))
    x = build.add(Linear((first,), np.repeat(eighths((2,), 5), 4)), (0,), (2, 4))
    x = build.add(Linear((second,),), (x,), (1, 4))
    return collapsed(build.build(x), force)


def test_a_bias_before_a_padded_convolution_stays() -> None:
    assert len(padded_after_bias(False).nodes) == 2
    assert len(padded_after_bias(True).nodes) == 1


def test_concatenation_splits_the_next_matrix() -> None:
    build = Builder((3,))
    a = build.add(Relu(), (build.linear(Dense(eighths((2, 3), 1)), 0),), 2)
    b = build.add(Relu(), (build.linear(Dense(eighths((4, 3), 2)), 0),), 4)
    joined = build.add(Concat(), (a, b), 6)
    network = build.build(build.linear(Dense(eighths((2, 6), 3)), joined, eighths((2,), 4)))
    result = collapsed(network)
    assert not any(isinstance(node.operator, Concat) for node in result.nodes)
    assert parameters(result) == parameters(network)


def test_shapes_survive_for_a_pool_after_an_identity() -> None:
    build = Builder((16,))
    x = build.add(Linear((identity_map(16),)), (0,), (1, 4, 4))
    pool = MaxPool(size=(2, 2), strides=(2, 2), pads=((0, 0),) * 2, dilations=(1, 1))
    collapsed(build.build(build.add(pool, (x,), (1, 2, 2))))


def test_shared_weights_are_not_doubled() -> None:
    """One stored 6x6 matrix applied to four branches: nothing is gained by multiplying it out."""
    build = Builder((6,))
    tied, ends = Dense(eighths((6, 6), 1)), []
    for i in range(4):
        scale = Gather(indices=np.arange(6), scale=eighths((6,), 10 + i), inputs=6)
        x = build.linear(tied, build.linear(scale, 0))
        ends.append(build.add(Relu(), (x,), 6))
    network = build.build(build.linear((identity_map(6),) * 4, ends))
    assert parameters(collapsed(network)) <= parameters(network)


def random_conv(
    random: np.random.Generator, channels: int, space: int, out: int, axes: int
) -> Conv:
    size = tuple(int(k) for k in random.integers(1, 4, axes))
    return Conv(
        kernel=(random.integers(-8, 9, (out, channels, *size)) / 8), space=(space,) * axes,
        strides=tuple(int(s) for s in random.integers(1, 3, axes)),
        pads=tuple((int(a), int(b)) for a, b in random.integers(0, 2, (axes, 2))),
        dilations=tuple(int(d) for d in random.integers(1, 3, axes)),
    )


@pytest.mark.parametrize("seed", range(60))
def test_products_of_convolutions_are_products_of_matrices(seed: int) -> None:
    random = np.random.default_rng(seed)
    axes = 1 + seed % 2
    inner = random_conv(random, 2, 7, 3, axes)
    if len(set(inner.space_out)) > 1 or min(inner.space_out) < 5:
        inner = Conv(kernel=eighths((3, 2) + (1,) * axes, seed), space=(7,) * axes,
                     strides=(1,) * axes, pads=((0, 0),) * axes, dilations=(1,) * axes)
    outer = random_conv(random, 3, inner.space_out[0], 2, axes)
    if seed % 3:
        outer = Conv(kernel=outer.kernel, space=outer.space, strides=outer.strides,
                     pads=((0, 0),) * axes, dilations=outer.dilations)
    if min(outer.space_out) < 1:
        pytest.skip("the kernel is larger than the image")
    both = conv_after_conv(outer, inner, values=True)
    if both is None:
        assert any(map(any, outer.pads))
        return
    assert both.sparse() == outer.sparse() @ inner.sparse()
    frame = conv_after_conv(outline(outer), outline(inner), values=False)
    assert frame is not None and frame.kernel.shape == both.kernel.shape


@pytest.mark.parametrize("seed", range(40))
def test_sums_of_convolutions_are_sums_of_matrices(seed: int) -> None:
    random = np.random.default_rng(seed)
    a, b = (random_conv(random, 2, 6, 2, 2) for _ in range(2))
    if seed % 2:  # aligned by construction
        b = Conv(kernel=eighths((2, 1, 1, 1), seed), space=a.space, strides=(1, 1),
                 pads=((0, 0),) * 2, dilations=(1, 1), groups=2)
        a = Conv(kernel=eighths((2, 2, 3, 5), seed), space=a.space, strides=(1, 1),
                 pads=((1, 1), (2, 2)), dilations=(1, 1))
    total = conv_sum(a, b, values=True)
    assert total is not None or not seed % 2
    if total is not None:
        assert total.sparse() == a.sparse() + b.sparse()


@pytest.mark.parametrize("seed", range(20))
def test_a_convolution_applied_by_patches_is_its_matrix(seed: int) -> None:
    random = np.random.default_rng(seed)
    part = random_conv(random, 4, 6, 4, 1 + seed % 2)
    if seed % 3 == 0:
        part = Conv(kernel=part.kernel[:, :2], space=part.space, strides=part.strides,
                    pads=part.pads, dilations=part.dilations, groups=2)
    x = points(part.inputs)[:, 2]
    assert apply_exact(part, x) == part.sparse().times(x)


@settings(max_examples=150, deadline=None)
@given(graphs(), st.booleans())
def test_random_graphs_collapse(network: Network, force: bool) -> None:
    result = collapsed(network, force)
    if not force:
        assert parameters(result) <= parameters(network)
        assert collapsed(result) == result


def test_a_changed_bit_is_seen() -> None:
    """The negative control of the contract: one last bit in one weight changes the product."""
    network = dense_chain(6, 20, 3)
    first = network.nodes[0].operator.maps[0].weight.copy()  # type: ignore[union-attr]
    first[0, 0] = np.nextafter(first[0, 0], np.float32(np.inf))
    build = Builder((6,))
    x = build.linear(Dense(first), 0, network.nodes[0].operator.bias)  # type: ignore[union-attr]
    second = network.nodes[1].operator
    other = build.build(build.linear(second.maps[0], x, second.bias))  # type: ignore[union-attr]
    assert collapsed(network) != collapsed(other)
