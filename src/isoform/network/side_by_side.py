# SPDX-License-Identifier: Apache-2.0
"""Two networks on the same input, as one network; and the pieces of a domain that it is cut on."""

from __future__ import annotations

import numpy as np

from isoform.errors import Refused
from isoform.network.charts import Chart, charts, placed
from isoform.network.domain import Box, Domain, Polytope, Union, bound_to
from isoform.network.network import Builder, Network
from isoform.network.operators import Concat
from isoform.network.unit_layers import UnitLayers
from isoform.numerics.exact import Exact, concatenate

HALF = Exact.of(np.array(0.5))


def side_by_side(f: Network, g: Network) -> Network:
    """x -> (f(x), g(x)) for primitive networks f: R^n -> R^m and g: R^n -> R^m', exactly. The units
    of f come first. ValueError where the numbers of inputs differ."""
    if not f.is_primitive or not g.is_primitive or f.dimension != g.dimension:
        raise ValueError("two primitive networks with as many inputs are put side by side")
    build = Builder((f.dimension,))
    outputs = []
    for network in (f, g):
        number = {0: 0}
        for value, node in network.items():
            operands = tuple(number[operand] for operand in node.operands)
            number[value] = build.add(node.operator, operands, node.shape)
        outputs.append(number[network.outputs[0]])
    size = f.output_dimension + g.output_dimension
    return build.build(build.add(Concat(), outputs, size))


def pieces(layers: UnitLayers, domain: Domain) -> tuple[Chart, ...]:
    """The charts of a domain, as `charts` makes them; here parts of a union have their own, and
    inputs that a box fixes are put in, so that only the others are coordinates.

    Refused for finite domains and for single points. That a polytope has an interior (within the
    inputs that its box leaves free) is for the search to find out.
    """
    domain = bound_to(domain, layers.dimension)
    match domain:
        case Union(parts):
            return tuple(chart for part in parts for chart in pieces(layers, part))
        case Box() if is_thin(domain):
            return (thin(layers, domain, None),)
        case Polytope(A, b, box) if is_thin(box):
            return (thin(layers, box, (A, b)),)
        case _:
            return charts(layers, domain)


def is_thin(box: Box) -> bool:
    return bool(np.any((box.high - box.low).sign() == 0))


def thin(layers: UnitLayers, box: Box, more: tuple[Exact, Exact] | None) -> Chart:
    """The chart x = middle + half (.) u over the coordinates whose bounds differ."""
    free = np.flatnonzero((box.high - box.low).sign() != 0)
    if not len(free):
        raise Refused("the domain is one point; evaluate both networks there")
    middle, half = (box.low + box.high) * HALF, (box.high - box.low) * HALF
    stretch = (Exact.eye(len(half)) * half)[:, free]
    constant = concatenate([Exact.of([1]), middle]).reduced()
    matrix = concatenate([Exact.zeros((1, len(free))), stretch]).reduced()
    if more is not None:
        A, b = more
        more = ((A @ stretch).reduced(), (b - A @ middle).reduced())
    return placed(layers, constant, matrix, more)
