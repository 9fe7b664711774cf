# SPDX-License-Identifier: Apache-2.0
"""Questions about single regions, for networks too large to enumerate as well.

`there` are the `places` of a domain. Points are inputs, exactly: arrays of floats mean their dyadic
values, strings and Fractions what they say.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from isoform.errors import ContractBroken, DomainError
from isoform.network.charts import Chart, bounded, charts
from isoform.network.domain import Box, DomainNumber, as_bound, exact_number
from isoform.network.unit_layers import substituted
from isoform.numerics.exact import Exact, concatenate
from isoform.regions.exact_cell import half_spaces, value_at, way_out
from isoform.regions.exact_forms import ExactForms, Row, exact_forms, layer_forms
from isoform.regions.facets import (
    Facets,
    Place,
    behind,
    classified,
    facets_of,
    places,
    unit_row,
)
from isoform.regions.listing import Regions
from isoform.regions.local_cells import cells_around, signs_at
from isoform.regions.region import (
    Region,
    chart_point,
    packed_bits,
    region_of,
    stretch,
    vector,
)
from isoform.text import columns, plural

HALVINGS = 1 << 20  # a step from a wall that is halved more often is none
FLOAT_HALVINGS = 40  # the same from a point that is near the wall only


def given_point(there: tuple[Place, ...], point: DomainNumber) -> Exact:
    """The point in the coordinates of the first chart. DomainError outside the domain."""
    x = exact_number(point).reshape(-1)
    chart = there[0].compiled.chart
    if len(x) != chart.dimension:
        raise DomainError(
            f"a point of {plural(len(x), 'number')}; the network takes {chart.dimension} inputs"
        )
    u = chart_point(chart, x)
    if not there[0].whole:
        A, b = chart.rows
        outside = np.flatnonzero((A @ u - b).sign() > 0)
        if len(outside):
            row = int(outside[0])
            what = (f"input {row // 2} is {as_bound(x[row // 2].item())}"
                    if row < 2 * len(x) else f"row {row - 2 * len(x)} does not hold there")
            raise DomainError(f"the point is outside the domain: {what}; give a point inside")
    return u


def inside(
    place: Place, pattern: bytes, point: Exact, way: Exact, most: int = HALVINGS
) -> Exact | None:
    """point + s way for the largest s = 2^-m, m < most, that lies strictly inside a region, its
    bits rounded where the region allows; None where there is none."""
    prefix = np.unpackbits(
        np.frombuffer(pattern, dtype=np.uint8), count=place.compiled.units
    ).tobytes()
    rows = [] if place.whole else [row for row in place.forms.chart_rows if any(row[1:])]
    rows += half_spaces(place.forms, prefix, range(len(prefix)), place.horizon)

    def strict(p: Exact) -> bool:
        whole = [p.denominator, *p.numerator.tolist()]
        return all(value_at(row, whole) > 0 for row in rows)

    halvings = steps_inside(rows, point, way)
    if halvings is None or halvings >= most:
        return None
    moved = (point + way * Exact.of(Fraction(1, 1 << halvings))).reduced()
    floats = moved.to_float()
    for digits in (10, 20, 40, 52):
        near = np.round(floats * 2.0**digits) / 2.0**digits
        if np.isfinite(near).all() and strict(Exact.of(near)):
            return Exact.of(near)
    return moved


def steps_inside(rows: list[Row], point: Exact, way: Exact) -> int | None:
    """The least m with row . (1, point + 2^-m way) > 0 for all rows, None where there is none."""
    start = [point.denominator, *point.numerator.tolist()]
    onward = [0, *way.numerator.tolist()]
    least, most = Fraction(0), Fraction(2)  # both ends excluded
    for row in rows:
        value = Fraction(value_at(row, start), point.denominator)
        rate = Fraction(value_at(row, onward), way.denominator)
        if rate < 0:
            most = min(most, value / -rate)
        elif rate > 0:
            least = max(least, -value / rate)
        elif value <= 0:
            return None
    if most <= 0:
        return None
    room = 1 / most
    halvings = max(0, room.numerator.bit_length() - room.denominator.bit_length() - 1)
    while Fraction(1, 1 << halvings) >= most:
        halvings += 1
    return halvings if Fraction(1, 1 << halvings) > least else None


def region_at(
    there: tuple[Place, ...], point: DomainNumber, with_facets: bool = True
) -> Region:
    """The region that contains a point. Facets cost a linear programme a unit: in some hundred
    dimensions that takes minutes, and they can be left out.

    Where the point lies on walls, several closed regions contain it: the one whose pattern comes
    first is chosen (units are inactive where there is a choice, the first units first), `touching`
    has the patterns of the others, and the region's own `point` is moved inside. Raises DomainError
    outside the domain, Refused for a point on several walls in more than 12 dimensions and on the
    wall of a step unit.
    """
    place = there[0]
    u = given_point(there, point)
    bits, zeros = signs_at(place.compiled.chart.layers, u)
    cells = cells_around(place.compiled.chart, u, bits, zeros, place.whole)
    first, way = cells[0]
    pattern = packed_bits(first)
    others = tuple(packed_bits(cell) for cell, _ in cells[1:])
    if way.any():
        moved = inside(place, pattern, u, way)
        if moved is None:
            raise ContractBroken("the region queries", "a direction into a region misses it")
        u = moved
    return region_of(place, pattern, u, others, with_facets)


def neighbours(region: Region) -> tuple[Region, ...]:
    """The regions behind the facets of a region, in the order of its facets; there is none behind
    the boundary of the domain. Refused for networks with step units."""
    place = region.place
    chart = place.compiled.chart
    here = chart_point(chart, region.point)
    one = Regions(np.frombuffer(region.pattern, dtype=np.uint8)[None],
                  np.zeros(1, dtype=np.int64), here.to_float()[None], ())
    facets = facets_of((place,), one)
    patterns = behind((place,), one, facets)
    rows = facet_rows(place, region, facets)
    contacts = np.full((1, place.own_rows + place.compiled.units, len(here)), np.nan)
    classified(place, one.patterns, one.points, contacts)
    found = []
    for number in np.flatnonzero(~facets.on_boundary()).tolist():
        pattern = patterns[number].tobytes()
        point = None
        contact = contacts[0, facets.rows[number]]
        if np.isfinite(contact).all():
            outward = -np.array([float(v) for v in unit_row(rows[number])[1:]])
            point = inside(place, pattern, Exact.of(contact), Exact.of(outward), FLOAT_HALVINGS)
        if point is None:
            point = beyond(place, pattern, rows, number, here)
        found.append(region_of(place, pattern, point))
    return tuple(found)


def beyond(place: Place, pattern: bytes, rows: list[Row], number: int, start: Exact) -> Exact:
    """A point strictly inside the region with a pattern behind a facet, by exact arithmetic."""
    way = way_out(rows, number, place.horizon)
    if way is not None:
        contact, onward = crossing(rows[number], start, way)
        point = inside(place, pattern, contact, onward)
        if point is not None:
            return point
    raise ContractBroken("the region queries", f"nothing lies behind facet {number}")


def facet_rows(place: Place, region: Region, facets: Facets) -> list[Row]:
    """The rows of all facets over (1, u)."""
    prefix = region.bits.tobytes()
    rows: list[Row] = []
    for number in range(len(facets.rows)):
        lowest = int(facets.rows[number])
        if lowest < place.own_rows:
            rows.append(place.forms.chart_rows[lowest])
        else:
            wall = [lowest - place.own_rows]
            rows += half_spaces(place.forms, prefix, wall, place.horizon)
    return rows


def crossing(row: Row, start: Exact, way: list[int]) -> tuple[Exact, Exact]:
    """Where the path from (1, start) along a direction over (1, u) meets the wall of a row, in the
    coordinates u, and the direction in which it goes on."""
    begin = [Fraction(1), *start.fractions()]
    depth = sum((a * b for a, b in zip(row, begin, strict=True)), Fraction(0))
    speed = -value_at(row, way)
    met = [b + depth / speed * w for b, w in zip(begin, way, strict=True)]
    t, *x = met
    contact = [value / t for value in x]
    onward = [(w - c * way[0]) / t for w, c in zip(way[1:], contact, strict=True)]
    return vector(contact), vector(onward)


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a segment a + t (b - a), start <= t <= end, in the closure of one region.

    walls: units whose wall contains the whole piece; then several regions do, and the first in the
    order of patterns is named.
    """

    start: Fraction
    end: Fraction
    pattern: bytes
    walls: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """The regions along a segment from a to b, in order; breakpoints are exact."""

    a: Exact
    b: Exact
    pieces: tuple[Piece, ...]
    place: Place = field(repr=False, kw_only=True)

    def __len__(self) -> int:
        return len(self.pieces)

    def breakpoints(self) -> tuple[Fraction, ...]:
        """The parameters t strictly between 0 and 1 at which the region changes."""
        return tuple(piece.start for piece in self.pieces[1:])

    def __str__(self) -> str:
        rows = [
            (f"{float(p.start):.6f}", f"{float(p.end):.6f}", p.pattern.hex(),
             f"on {plural(len(p.walls), 'wall')}" if p.walls else "")
            for p in self.pieces
        ]
        return columns(rows, header=("from", "to", "activation region", ""))


def along(there: tuple[Place, ...], a: DomainNumber, b: DomainNumber) -> Segment:
    """The activation regions met by the segment from a to b.

    Exact: the network is restricted to the segment and searched there in rationals, so that pieces
    of any length are found. Where the segment runs inside a wall, see `Piece`. Raises DomainError
    where an end lies outside the domain or the ends are equal.
    """
    place = there[0]
    start, end = given_point(there, a), given_point(there, b)
    way = end - start
    if not way.any():
        raise DomainError("the ends of the segment are equal; give two points")
    one = Exact.of([1])
    restricted = substituted(
        place.compiled.chart.layers, concatenate([one, start]),
        concatenate([Exact.zeros((1, 1)), way.reshape(-1, 1)]),
    )
    forms = exact_forms(charts(restricted, Box(0, 1))[0])  # t = 1/2 + u/2

    from isoform.regions.exact_search import search

    found = search(forms)
    pieces = []
    for number in range(len(found)):
        prefix = np.unpackbits(found.patterns[number], count=restricted.units).tobytes()
        low, high = Fraction(-1), Fraction(1)
        for row in half_spaces(forms, prefix, range(restricted.units), (1, 0)):
            at = Fraction(-row[0], row[1])
            low, high = (max(low, at), high) if row[1] > 0 else (low, min(high, at))
        walls = flat_units(place, prefix, forms)
        pattern = packed_bits(np.frombuffer(prefix, dtype=np.uint8))
        if walls:
            t = (2 + low + high) / 4
            pattern = first_around(place, start + way * Exact.of(t))
        pieces.append(Piece((1 + low) / 2, (1 + high) / 2, pattern, walls))
    pieces.sort(key=lambda piece: piece.start)
    return Segment(exact_number(a).reshape(-1), exact_number(b).reshape(-1), tuple(pieces),
                   place=place)


def first_around(place: Place, point: Exact) -> bytes:
    """The first pattern of the regions around a point of the chart."""
    layers = place.compiled.chart.layers
    bits, zeros = signs_at(layers, point)
    return packed_bits(cells_around(place.compiled.chart, point, bits, zeros, place.whole)[0][0])


def flat_units(place: Place, prefix: bytes, line: ExactForms) -> tuple[int, ...]:
    """Units that are zero on a piece of the line, though their form in all coordinates is not."""
    found = []
    for layer, first in enumerate(place.forms.starts[:-1]):
        zero = [i for i, row in enumerate(layer_forms(line, layer, prefix).rows) if not any(row)]
        if zero:
            rows = layer_forms(place.forms, layer, prefix).rows
            found += [first + i for i in zero if any(rows[i])]
    return tuple(found)


def within(
    there: tuple[Place, ...], centre: DomainNumber, radius: DomainNumber
) -> tuple[tuple[Place, ...], Regions]:
    """The activation regions that meet the interior of a max-norm ball and of the domain.

    Lists them by the splitting search on the ball as a domain of its own; facets, volumes and
    neighbours of the result are those of the regions cut by the ball. DomainError where ball and
    domain have no interior in common.
    """
    from isoform.regions.enumeration import enumerate_regions

    place = there[0]
    chart = place.compiled.chart
    middle, half = stretch(chart)
    size = exact_number(radius).item()
    low, high = [], []
    x = exact_number(centre).reshape(-1)
    if len(x) != chart.dimension or size <= 0:
        raise DomainError(
            f"a ball with a centre of {plural(len(x), 'number')} and radius {as_bound(size)}; the "
            f"network takes {chart.dimension} inputs, and a radius is positive"
        )
    for c, m, h in zip(x.fractions(), middle, half, strict=True):
        low.append((c - size - m) / h)
        high.append((c + size - m) / h)
    if not place.whole:
        low = [max(Fraction(-1), v) for v in low]
        high = [min(Fraction(1), v) for v in high]
    if any(a >= b for a, b in zip(low, high, strict=True)):
        raise DomainError("the ball and the domain have no interior in common")
    ball = nested(chart, Box(vector(low), vector(high)))
    found = enumerate_regions((ball,), workers=1)
    chunks = list(found.chunks(max(1, found.count)))
    empty = Regions(np.zeros((0, -(-found.units // 8)), np.uint8), np.zeros(0, np.int64),
                    np.zeros((0, chart.dimension)), ())
    return places((ball,)), chunks[0] if chunks else empty


def nested(chart: Chart, box: Box) -> Chart:
    """The chart of a box inside another chart, with the inputs as its homogeneous coordinates."""
    inner = bounded(chart.layers, box, chart.more)
    constant = chart.homogeneous(inner.constant[1:])
    return Chart(inner.layers, inner.low, inner.high, inner.more, constant,
                 chart.matrix @ inner.matrix[1:])
