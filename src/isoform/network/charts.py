# SPDX-License-Identifier: Apache-2.0
"""Domains as charts: polytopes inside the box [-1, 1]^k, in coordinates of their own.

A box or polytope is one chart, moved and stretched exactly, so that tolerances of a search in
floats mean the same for a ball of radius 1e-6 as for a box of metres. All of R^d is 2d + 1 charts:
with biases times a new coordinate t, the regions become cones in the half-space t >= 0, and every
full-dimensional cone meets the surface of the box [-1, 1]^d x [0, 1] in a piece of full dimension;
the chart t = 1 is the box [-1, 1]^d itself, the charts x_i = +-1 hold the directions that go to
infinity. An activation region, being convex, is one region however many charts it meets, so
patterns are counted once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from isoform.errors import DomainError, Refused
from isoform.network.domain import Box, Domain, Everywhere, Polytope, as_bound, bound_to
from isoform.network.unit_layers import UnitLayers, substituted
from isoform.numerics.exact import Exact, concatenate

HALF = Exact.of(np.array(0.5))
MOST_STORED = 1 << 26  # weights of all charts together


@dataclass(frozen=True, eq=False)
class Chart:
    """{u : A u <= b} inside the box low <= u <= high of R^k, with the network in u.

    low, high: (k,), always -1 and 1. more: the polytope's own rows (A, b), None for a box.
    constant (1 + d,), matrix (1 + d, k): the homogeneous input (t, x) = constant + matrix u; the
    point is x / t, at infinity where t = 0.
    """

    layers: UnitLayers
    low: Exact
    high: Exact
    more: tuple[Exact, Exact] | None
    constant: Exact
    matrix: Exact

    @property
    def dimension(self) -> int:
        return len(self.low)

    @cached_property
    def rows(self) -> tuple[Exact, Exact]:
        """(A, b): row 2i is -u_i <= -low_i, row 2i + 1 is u_i <= high_i, then the polytope's."""
        k = self.dimension
        eye = Exact.eye(k).numerator
        faces = np.zeros((2 * k, k), dtype=object)
        faces[0::2], faces[1::2] = -eye, eye
        ends = concatenate([(-self.low).reshape(k, 1), self.high.reshape(k, 1)], axis=1)
        bounds = ends.reshape(2 * k)
        if self.more is None:
            return Exact(faces), bounds
        return concatenate([Exact(faces), self.more[0]]), concatenate([bounds, self.more[1]])

    def homogeneous(self, points: Exact) -> Exact:
        """(t, x) of points (k,) or of the columns of (k, count)."""
        moved = self.matrix @ points
        origin = self.constant if points.ndim == 1 else self.constant.reshape(-1, 1)
        return moved + origin


def charts(layers: UnitLayers, domain: Domain) -> tuple[Chart, ...]:
    """The charts of a domain.

    Raises DomainError where the domain is flat (an input whose bounds are equal), Refused for a
    domain that is no box, polytope or all of space. That a polytope has an interior is for the
    search to find out.
    """
    domain = bound_to(domain, layers.dimension)
    match domain:
        case Box():
            return (bounded(layers, domain, None),)
        case Polytope(A, b, box):
            return (bounded(layers, box, (A, b)),)
        case Everywhere():
            return everywhere(layers)
        case _:
            raise Refused(
                f"linear regions are of full-dimensional sets, {domain!r} is none; "
                "give a box, a ball, a polytope or everywhere"
            )


def bounded(layers: UnitLayers, box: Box, more: tuple[Exact, Exact] | None) -> Chart:
    """The chart x = middle + half (.) u of a box with an interior."""
    flat = np.flatnonzero((box.high - box.low).sign() == 0)
    if len(flat):
        at = int(flat[0])
        raise DomainError(
            f"the domain is flat: input {at} is {as_bound(box.low[at].item())} throughout "
            f"({len(flat)} of {len(box.low)} inputs are fixed); take a slice through the others"
        )
    one = Exact.of([1])
    middle, half = (box.low + box.high) * HALF, (box.high - box.low) * HALF
    constant = concatenate([one, middle]).reduced()
    stretch = Exact.eye(len(half)) * half
    matrix = concatenate([Exact.zeros((1, len(half))), stretch]).reduced()
    if more is not None:
        A, b = more
        more = ((A @ stretch).reduced(), (b - A @ middle).reduced())
    return placed(layers, constant, matrix, more)


def placed(
    layers: UnitLayers, constant: Exact, matrix: Exact, more: tuple[Exact, Exact] | None
) -> Chart:
    """The chart with these coordinates."""
    k = matrix.shape[1]
    unmoved = constant == Exact.eye(1 + k)[0] and matrix[1:] == Exact.eye(k)
    moved = layers if unmoved else substituted(layers, constant, matrix)
    return Chart(moved, Exact.of([-1] * k), Exact.of([1] * k), more, constant, matrix)


def everywhere(layers: UnitLayers) -> tuple[Chart, ...]:
    """The box [-1, 1]^d, then for every input the two charts x_i = 1 and x_i = -1 with the
    coordinates (t, the other inputs), t in [0, 1] stretched to [-1, 1]. In those charts the network
    is its homogeneous version, whose biases are multiplied by t."""
    if not layers.continuous:
        raise Refused(
            "all of space is not offered for networks with step units; give a bounded domain"
        )
    d = layers.dimension
    stored = sum(layer.rows.nonzeros for layer in layers.layers)
    if (2 * d + 1) * stored > MOST_STORED:
        raise Refused(
            f"all of space is {2 * d + 1:,} charts of a network with {stored:,} weights, too many "
            "to write out; give a bounded domain, or a slice"
        )
    made = [bounded(layers, Box([-1] * d, [1] * d), None)]
    for i in range(d):
        for side in (1, -1):
            others = [j for j in range(1 + d) if j != 1 + i]
            matrix = Exact.eye(1 + d)[:, others]
            scale = Exact.of(np.array([0.5] + [1.0] * (d - 1)))
            constant = Exact.eye(1 + d)[1 + i] * side + Exact.eye(1 + d)[0] * HALF
            made.append(placed(layers, constant, matrix * scale, None))
    return tuple(made)
