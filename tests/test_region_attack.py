# SPDX-License-Identifier: Apache-2.0
"""Networks and questions that once got wrong answers, against exact oracles."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

import isoform as iso
from exact_oracles import true_patterns
from isoform.errors import DomainError
from isoform.network.charts import Chart, charts
from isoform.network.domain import Box, Polytope
from isoform.network.linear_map import Dense
from isoform.network.network import Builder, Network
from isoform.network.operators import Relu
from isoform.network.unit_layers import unit_layers
from isoform.regions.compiled import compiled
from isoform.regions.splitting import explore, root


def chain(*layers: tuple[list[list[float]], list[float]]) -> Network:
    """Affine layers with ReLU between; the last layer is linear."""
    build, value = Builder((len(layers[0][0][0]),)), 0
    for number, (weight, bias) in enumerate(layers):
        value = build.linear(Dense(np.array(weight, dtype=float)), value, np.array(bias))
        if number + 1 < len(layers):
            value = build.add(Relu(), (value,), len(bias))
    return build.build(value)


def listed(chart: Chart) -> set[bytes]:
    piece = compiled(chart)
    return {row.tobytes() for row in explore(piece, root(piece)).patterns}


# --- forms that vanish in floats, though they are not zero ----------------------------------------


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_a_form_that_cancels_in_floats_only(sign: float) -> None:
    """0.1 + 0.2 as doubles is 0.3 (rounded) less 2.7e-17; their difference is 0 in floats."""
    network = chain(
        ([[1], [1]], [0, 0]), ([[0.1, 0.2], [0.1 + 0.2, 0]], [0, 0]), ([[-sign, sign]], [0]),
        ([[1]], [0]),
    )
    chart = charts(unit_layers(network), Box(-1, 1))[0]
    assert listed(chart) == true_patterns(chart)


@pytest.mark.parametrize("sizes", [
    [1.0, 2.0**-600, 2.0**-600], [1.0, *[2.0**-400] * 4], [1.0, 2.0**-1074, 1.0, 2.0**-1074],
    [2.0**-1074, 1.0], [2.0**-1074, 2.0**-1000, 2.0**500, -1.0],
])
@pytest.mark.parametrize("end", [Fraction(1), Fraction(1, 10**12)])
def test_products_below_the_least_double(sizes: list[float], end: Fraction) -> None:
    network = chain(*[([[size]], [0]) for size in sizes], ([[1]], [0]))
    chart = charts(unit_layers(network), Box(-end, end))[0]
    assert listed(chart) == true_patterns(chart)


# --- domains --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("A", "b"), [
    ([[1, 1], [-1, -1]], [0, 0]), ([[1, 0]], [-1]), ([[1, 1]], [-2]), ([[1, 0], [-1, 0]], [0, -1]),
    ([[0, 0]], [-1]),
])
@pytest.mark.parametrize("listed", [True, False])
def test_a_polytope_without_interior_is_no_domain(
    A: list[list[int]], b: list[int], listed: bool
) -> None:
    network = chain(([[1, 1], [1, -1]], [0, 0.5]), ([[1, 1]], [0]))
    domain = Polytope(np.array(A), np.array(b), Box(-1, 1))
    with pytest.raises(DomainError, match="no interior"):
        iso.regions(network, on=domain, listed=listed, workers=1)
