# SPDX-License-Identifier: Apache-2.0
"""Sharper bounds of rounding errors: the largest of those on boxes that cover the domain.

On a smaller box fewer units are open and values are smaller. Every point of the domain lies in one
of the closed boxes, so the largest of their bounds holds on all of it.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from isoform.certificate.float_error import TYPES, error_on, float_error
from isoform.certificate.wellformed import work
from isoform.network.claim import Arithmetic
from isoform.network.domain import Box, Domain, hull
from isoform.network.network import Network
from isoform.network.operators import Linear
from isoform.numerics.exact import Exact, as_array

MOST_PARTS = 64
MOST_WORK = 1 << 21  # parts times weights and entries


def float_error_within(
    network: Network, domain: Domain, arithmetic: Arithmetic, enough: Fraction
) -> Exact:
    """E as `float_error` gives it, (m,); where it is larger than `enough`, on parts of the domain:
    the part with the largest bound is cut in two, until all are small enough, or there are
    `MOST_PARTS`. Raises Refused as `float_error` does."""
    first = float_error(network, domain, arithmetic)
    box = hull(domain)
    assert box is not None, "refused without bounds"
    weight = influence(network)
    parts = [(first, box)]
    for _ in range(1, min(MOST_PARTS, MOST_WORK // max(1, work(network)))):
        sizes = [error.max_abs() for error, _ in parts]
        at = max(range(len(parts)), key=sizes.__getitem__)
        if sizes[at] <= enough:
            break
        _, place = parts.pop(at)
        parts += [(error_on(network, half, TYPES[arithmetic]), half)
                  for half in halves(place, weight)]
    largest = parts[0][0].numerator
    for error, _ in parts[1:]:
        largest = np.maximum(largest, error.numerator)
    return Exact(as_array(largest), first.denominator)


def influence(network: Network) -> Exact:
    """Sum of the absolute weights of each input, (n,): what decides which side is cut."""
    total = Exact.zeros(network.dimension)
    for node in network.nodes:
        if isinstance(node.operator, Linear):
            for part, operand in zip(node.operator.maps, node.operands, strict=True):
                if operand == 0:
                    matrix = part.sparse()
                    sums = np.zeros(network.dimension, dtype=object)
                    np.add.at(sums, matrix.columns, np.abs(matrix.data))
                    total = total + Exact(sums, matrix.denominator)
    return total


def halves(box: Box, weight: Exact) -> tuple[Box, Box]:
    """Both closed halves of a box, cut in the middle of the input whose width counts most."""
    width = box.high - box.low
    axis = int(np.argmax((width * weight).numerator))
    middle = (box.low + box.high) * Fraction(1, 2)
    inside = np.arange(len(box.low)) == axis
    below, above = pick(inside, middle, box.high), pick(inside, middle, box.low)
    return Box(box.low, below), Box(above, box.high)


def pick(which: np.ndarray, left: Exact, right: Exact) -> Exact:
    """Entries of the left where asked, else of the right."""
    common = left.denominator * right.denominator
    return Exact(
        np.where(which, left.numerator * right.denominator, right.numerator * left.denominator),
        common,
    ).reduced()
