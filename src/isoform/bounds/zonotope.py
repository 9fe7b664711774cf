# SPDX-License-Identifier: Apache-2.0
"""Zonotope bounds: affine forms over shared symbols in [-1, 1].

Every value is centre + G e + r with symbols e in [-1, 1] shared by all values, and a remainder
|r_i| <= rest_i that also takes all rounding. A ReLU on [l, u] with l < 0 < u becomes
s z + t/2 + (t/2) e' with a fresh symbol, s = u / (u - l) and t = max(-s l, (1 - s) u). A rounding
becomes z + e' / 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isoform.bounds.backward import lines
from isoform.bounds.interval import (
    TINY,
    UNIT,
    Bounds,
    box_bounds,
    gamma,
    meet,
    node_bounds,
)
from isoform.bounds.matrices import Matrix, float_matrix
from isoform.network.domain import Box
from isoform.network.linear_map import floats
from isoform.network.network import Network, Node
from isoform.network.operators import Concat, Linear, Product, Relu, Round, Select

KEPT = 3  # newest symbols kept by the reduction, in multiples of the width


@dataclass(frozen=True, slots=True)
class Form:
    """centre (n), generators (n, k) of the symbols with the numbers `symbols` (k, increasing), and
    the remainder `rest` (n)."""

    centre: np.ndarray
    generators: np.ndarray
    symbols: np.ndarray
    rest: np.ndarray

    def bounds(self) -> Bounds:
        """The range, outward."""
        radius = np.abs(self.generators).sum(axis=1) + self.rest
        slack = gamma(len(self.symbols) + 8) * (radius + np.abs(self.centre)) + TINY
        return self.centre - radius - slack, self.centre + radius + slack


@dataclass(slots=True)
class Symbols:
    """Numbers of symbols handed out so far, the inputs' first."""

    inputs: int
    count: int

    def fresh(self, size: int) -> np.ndarray:
        self.count += size
        return np.arange(self.count - size, self.count)


def zonotope_bounds(network: Network, box: Box, *, limit: int | None = None) -> list[Bounds]:
    """Bounds of every value of a primitive network on a box, by value number, met with intervals.

    limit: symbols of a form above which the older ones are merged into one a coordinate (default:
    input symbols and three times the widest value). Values without finite bounds are infinite.
    Errors as in `interval_bounds`.
    """
    found = [box_bounds(network, box)]
    width = max((node.shape[0] for node in network.nodes), default=1)
    limit = network.dimension + KEPT * width if limit is None else limit
    symbols = Symbols(network.dimension, 0)
    forms = [interval_form(found[0], symbols)]
    for _, node in network.items():
        operands = [found[operand] for operand in node.operands]
        here = node_bounds(node, operands)
        form = None
        with np.errstate(over="ignore", invalid="ignore"):
            if all(np.isfinite(end).all() for pair in operands for end in pair):
                form = node_form(node, [forms[o] for o in node.operands], operands, symbols)
            if form is not None:
                here = meet(here, finite(form.bounds()))
        forms.append(reduced(form or interval_form(here, symbols), symbols, limit))
        found.append(here)
    return found


def finite(bounds: Bounds) -> Bounds:
    return (
        np.where(np.isfinite(bounds[0]), bounds[0], -np.inf),
        np.where(np.isfinite(bounds[1]), bounds[1], np.inf),
    )


def interval_form(bounds: Bounds, symbols: Symbols) -> Form:
    """A fresh symbol a coordinate; unbounded coordinates are not used by anybody."""
    low, high = (np.where(np.isfinite(end), end, 0.0) for end in bounds)
    centre = low / 2 + high / 2
    radius = np.maximum(high - centre, centre - low)
    radius = np.nextafter(radius + UNIT * np.abs(centre), np.inf)
    return Form(centre, np.diag(radius), symbols.fresh(len(low)), np.zeros(len(low)))


def node_form(
    node: Node, forms: list[Form], bounds: list[Bounds], symbols: Symbols
) -> Form | None:
    """The affine form of one operator's result; None where only the interval is used."""
    match node.operator:
        case Linear():
            matrices = [float_matrix(part) for part in node.operator.maps]
            bias = None if node.operator.bias is None else floats(node.operator.bias)
            return linear_form(matrices, forms, bias, node.shape[0])
        case Relu():
            return relu_form(forms[0], bounds[0], symbols)
        case Round():
            return round_form(forms[0], bounds[0], symbols)
        case Product():
            left, right = aligned(forms)
            return product_form(left, right, symbols)
        case Concat():
            parts = aligned(forms)
            return Form(
                np.concatenate([part.centre for part in parts]),
                np.concatenate([part.generators for part in parts]),
                parts[0].symbols,
                np.concatenate([part.rest for part in parts]),
            )
        case Select():
            form, at = forms[0], node.operator.indices
            return Form(form.centre[at], form.generators[at], form.symbols, form.rest[at])
        case _:
            return None


def aligned(forms: list[Form]) -> list[Form]:
    """The same forms over all symbols that one of them uses."""
    union = np.unique(np.concatenate([form.symbols for form in forms]))
    spread = []
    for form in forms:
        wide = np.zeros((len(form.centre), len(union)))
        wide[:, np.searchsorted(union, form.symbols)] = form.generators
        spread.append(Form(form.centre, wide, union, form.rest))
    return spread


def linear_form(
    matrices: list[Matrix], forms: list[Form], bias: np.ndarray | None, size: int
) -> Form:
    """The image; every rounding error goes into the remainder."""
    parts = aligned(forms) if forms else []
    count = parts[0].symbols if parts else np.zeros(0, dtype=np.int64)
    centre, generators = np.zeros(size), np.zeros((size, len(count)))
    rest, weight, terms = np.zeros(size), np.zeros(size), 8 + len(count)
    for matrix, part in zip(matrices, parts, strict=True):
        centre = centre + matrix @ part.centre
        generators = generators + matrix @ part.generators
        large = abs(matrix)
        rest = rest + large @ part.rest
        total = np.abs(part.centre) + np.abs(part.generators).sum(axis=1) + part.rest
        weight = weight + large @ total
        terms += 2 * matrix.shape[1] + 4
    if bias is not None:
        centre, weight = centre + bias, weight + np.abs(bias)
    return Form(centre, generators, count, rest + 2 * gamma(terms) * weight + TINY)


def relu_form(form: Form, bounds: Bounds, symbols: Symbols) -> Form:
    """Dead: 0; always on: itself; else the band around the upper slope, with a fresh symbol."""
    low, high = meet(bounds, form.bounds())
    slope, lift, _ = lines(low, high)
    bent = np.flatnonzero((low < 0) & (high > 0))
    centre = slope * form.centre + lift / 2
    generators = slope[:, None] * form.generators
    fresh = np.zeros((len(centre), len(bent)))
    fresh[bent, np.arange(len(bent))] = lift[bent] / 2
    error = 4 * UNIT * (np.abs(centre) + np.abs(generators).sum(axis=1) + lift)
    rest = np.where(slope == 0, 0.0, slope * form.rest * (1 + 2 * UNIT) + error)
    rest = np.where(high <= 0, 0.0, rest + np.where(lift > 0, error, 0.0))
    numbers = symbols.fresh(len(bent))
    return Form(
        centre, np.hstack([generators, fresh]), np.concatenate([form.symbols, numbers]), rest
    )


def round_form(form: Form, bounds: Bounds, symbols: Symbols) -> Form:
    """z + e' / 2 with a fresh symbol; one integer where both ends of z round to it."""
    low, high = (np.rint(end) for end in meet(bounds, form.bounds()))
    fixed = low == high
    free = np.flatnonzero(~fixed)
    fresh = np.zeros((len(fixed), len(free)))
    fresh[free, np.arange(len(free))] = 0.5
    numbers = symbols.fresh(len(free))
    return Form(
        np.where(fixed, low, form.centre),
        np.hstack([np.where(fixed[:, None], 0.0, form.generators), fresh]),
        np.concatenate([form.symbols, numbers]), np.where(fixed, 0.0, form.rest),
    )


def product_form(left: Form, right: Form, symbols: Symbols) -> Form:
    """a b = a0 b0 + a0 (b - b0) + b0 (a - a0) + (a - a0)(b - b0), the last as a fresh symbol."""
    spread = [np.abs(form.generators).sum(axis=1) + form.rest for form in (left, right)]
    centre = left.centre * right.centre
    generators = left.centre[:, None] * right.generators + right.centre[:, None] * left.generators
    cross = spread[0] * spread[1]
    rest = np.abs(left.centre) * right.rest + np.abs(right.centre) * left.rest
    sizes = (np.abs(left.centre) + spread[0]) * (np.abs(right.centre) + spread[1])
    rest = rest + gamma(len(left.symbols) + 16) * 4 * sizes + TINY
    numbers = symbols.fresh(len(centre))
    return Form(
        centre, np.hstack([generators, np.diag(cross)]),
        np.concatenate([left.symbols, numbers]), rest,
    )


def reduced(form: Form, symbols: Symbols, limit: int) -> Form:
    """Keep the input symbols and the newest ones; the others become one a coordinate."""
    if len(form.symbols) <= limit:
        return form
    inputs = form.symbols < symbols.inputs
    newest = np.zeros(len(inputs), dtype=bool)
    room = limit - int(inputs.sum()) - len(form.centre)
    if room > 0:
        newest[-room:] = True
    kept = inputs | newest
    if not kept.any() or int((~kept).sum()) <= len(form.centre):
        return form
    size = np.abs(form.generators[:, ~kept]).sum(axis=1)
    size = size * (1 + gamma(len(form.symbols) + 4))
    return Form(
        form.centre, np.hstack([form.generators[:, kept], np.diag(size)]),
        np.concatenate([form.symbols[kept], symbols.fresh(len(size))]), form.rest,
    )
