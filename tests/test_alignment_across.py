# SPDX-License-Identifier: Apache-2.0
"""Partners at other depths: found, in an order that both networks allow, and never at a loss."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import networks
from equivalence import variants
from exact_oracles import unit_layers_of
from isoform.certificate.verdict import Proved
from isoform.network.claim import Claim, Within
from isoform.network.domain import Box
from isoform.network.paired import paired
from isoform.network.unit_layers import UnitLayers
from isoform.verify.alignment import aligned, pairs, signatures
from isoform.verify.alignment_across import across, small_enough
from isoform.verify.prove import prove
from isoform.verify.signatures import sample

SQUARE = Box([-1, -1], [1, 1])


def random_layers(rng: np.random.Generator, depth: int) -> UnitLayers:
    """Layers that read anything before them."""
    width, layers = 3, []
    for _ in range(depth):
        rows = rng.integers(-4, 5, (int(rng.integers(1, 4)), width))
        layers.append(rows.tolist())
        width += len(rows)
    return unit_layers_of(2, layers, rng.integers(-4, 5, (2, width)).tolist())


def delayed(rng: np.random.Generator, layers: UnitLayers) -> UnitLayers:
    """The same units in layers of one each, in an order that they allow."""
    order = [(k, i) for k, layer in enumerate(layers.layers)
             for i in rng.permutation(layer.size).tolist()]
    place = {0: 0, 1: 1, 2: 2}
    place |= {3 + layers.starts[k] + i: 3 + number for number, (k, i) in enumerate(order)}
    rows, width = [], 3
    for k, i in order:
        row = [Fraction(0)] * width
        for column, v in layers.layers[k].rows.row_fractions(i).items():
            row[place[column]] = v
        rows.append([row])
        width += 1
    outputs = [[Fraction(0)] * width for _ in range(2)]
    for i in range(2):
        for column, v in layers.outputs.row_fractions(i).items():
            outputs[i][place[column]] = v
    return unit_layers_of(2, rows, outputs)


@given(st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_slots_are_slots_whatever_the_networks(seed: int) -> None:
    """`paired` refuses units in no slot, in two, or before what they read."""
    rng = np.random.default_rng(seed)
    first, second = (random_layers(rng, int(rng.integers(0, 5))) for _ in range(2))
    paired(first, second, aligned(first, second, SQUARE, seed))
    later = delayed(rng, first)
    for pair in ((first, later), (later, first)):
        slots = aligned(*pair, SQUARE, seed)
        paired(*pair, slots)
        assert pairs(slots) <= first.units


def test_units_one_after_the_other_lie_beside_those_of_one_layer() -> None:
    """All of a layer finds partners, though every one is in a layer of its own; gaps are then 0."""
    rng = np.random.default_rng(3)
    rows = [[5, 1, 3], [-2, 7, 1], [1, -3, 5], [4, 4, -9]]
    first = unit_layers_of(2, [rows, [[1, 0, 0, 2, -3, 1, 5]]], [[0, 1, 0, 0, 1, 0, 2, 1]] * 2)
    second = delayed(rng, first)
    slots = aligned(first, second, SQUARE, 0)
    assert pairs(slots) == 5 and [part.size for part in slots] == [4, 1]
    made = paired(first, second, slots)
    for layer in made.layers:
        assert (layer.target - layer.source).nonzeros == 0


def test_pairs_that_wait_for_each_other_are_given_up() -> None:
    """a before b in one network, b before a in the other: only one of the two pairs can stand."""
    little, outputs = Fraction(1, 16), [[0, 0, 0, 1, 1]]
    first = unit_layers_of(2, [[[0, 1, 0]], [[0, 0, 1, little]]], outputs)
    second = unit_layers_of(2, [[[0, 0, 1]], [[0, 1, 0, little]]], outputs)
    values = tuple(signatures(net, sample(SQUARE, 0)) for net in (first, second))
    slots = across(first, second, values)
    paired(first, second, slots)
    assert pairs(slots) == 1 and sum(part.size for part in slots) == 3
    paired(first, second, aligned(first, second, SQUARE, 0))


def test_large_networks_are_paired_in_order() -> None:
    wide = unit_layers_of(2, [[[0, 1, k + 1] for k in range(700)]], [[0] * 703])
    assert not small_enough(wide, wide)


@pytest.mark.parametrize("widths", [(2, 9, 1), (3, 12, 2)])
def test_a_deep_copy_with_every_weight_changed_is_within_little(widths: tuple[int, ...]) -> None:
    """Carries are not quite carries then: units of the first layer and of later ones match."""
    chain = networks.random_chain(widths, 5)
    deep = variants.perturbed(variants.deepened(chain), 11)
    box = Box([-1] * widths[0], [1] * widths[0])
    points = variants.sampled(-np.ones(widths[0]), np.ones(widths[0]))
    seen = Fraction(variants.largest_seen(chain, deep, points))
    source, target = networks.network(chain), networks.network(deep)
    found = prove(source, target, Claim(Within(2 * seen), box), timeout=10)
    assert isinstance(found, Proved) and found.upper >= seen
    last = replace(deep[-1], bias=deep[-1].bias + np.float32(4 * seen))
    moved = networks.network((*deep[:-1], last))
    assert not isinstance(prove(source, moved, Claim(Within(2 * seen), box), timeout=1), Proved)
