# SPDX-License-Identifier: Apache-2.0
"""One activation region and its facets as values, in the coordinates of the inputs, exactly."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from isoform.network.charts import Chart
from isoform.numerics.exact import Exact, integers
from isoform.regions.exact_cell import half_spaces
from isoform.regions.exact_forms import Row, output_forms, primitive
from isoform.regions.facets import Place, facets_of, packed
from isoform.regions.listing import Regions
from isoform.text import columns, plural

SHOWN = 8  # facets, outputs and coefficients that are printed


@dataclass(frozen=True, slots=True)
class Facet:
    """A facet of a region.

    row: integers; row . (1, x) >= 0 is the side of the region. units: all units whose wall contains
    the facet; domain_rows: all rows of the domain that do. row_ids: both, as row ids.
    """

    row: Row
    units: tuple[int, ...]
    domain_rows: tuple[int, ...]

    @property
    def boundary(self) -> bool:
        """Whether the facet lies on the boundary of the domain."""
        return bool(self.domain_rows)

    def half_space(self) -> tuple[np.ndarray, float]:
        """(normal, offset) in floats: normal . x <= offset on the region, |normal| = 1."""
        largest = max(map(abs, self.row))
        floats = np.array([value / largest for value in self.row])
        length = np.sqrt((floats[1:] * floats[1:]).sum())
        return -floats[1:] / length, float(floats[0] / length)

    def __str__(self) -> str:
        normal, offset = self.half_space()
        return f"{linear(normal)} <= {offset:.6g}"


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """An activation region: a full-dimensional polytope with one activation pattern.

    pattern: packed bits, unit 0 the highest of byte 0. point (d,): strictly inside. facets: exactly
    the half-spaces that are not redundant (None: not asked for). affine (m, 1 + d): the outputs are
    affine @ (1, x) on the region. touching: patterns of the other regions whose closure contains
    the point that was asked for (none, where it is not on a wall).
    """

    pattern: bytes
    units: int
    point: Exact
    facets: tuple[Facet, ...] | None
    affine: Exact
    touching: tuple[bytes, ...] = ()
    place: Place = field(repr=False, kw_only=True)

    @property
    def bits(self) -> np.ndarray:
        """(N,) uint8, 1 where a unit is active."""
        return np.unpackbits(np.frombuffer(self.pattern, dtype=np.uint8), count=self.units)

    @property
    def dimension(self) -> int:
        return len(self.point)

    def __repr__(self) -> str:
        return f"Region({self.pattern.hex()}, {self.counted()})"

    def counted(self) -> str:
        """How many units are active, how many facets there are."""
        text = f"{int(self.bits.sum())} of {plural(self.units, 'unit')} active"
        if self.facets is None:
            return text
        cut = sum(facet.boundary for facet in self.facets)
        on = f", {cut} of them on the boundary of the domain" if cut else ""
        return f"{text}, {plural(len(self.facets), 'facet')}{on}"

    def __str__(self) -> str:
        lines = [f"activation region {self.pattern.hex()}: {self.counted()}"]
        if self.touching:
            lines.append(
                f"  the point lies on the boundary of {plural(len(self.touching), 'more region')}"
            )
        for i, row in enumerate(self.affine.to_float()[:SHOWN]):
            lines.append(f"  y{i} = {linear(row[1:], row[0])}")
        facets = self.facets or ()
        if facets:
            lines.append(columns([
                (str(facet), "domain" if facet.boundary else "", numbers(facet.units))
                for facet in facets[:SHOWN]
            ]))
        if len(facets) > SHOWN:
            lines.append(f"  and {plural(len(facets) - SHOWN, 'more facet')}")
        return "\n".join(lines)


def numbers(units: tuple[int, ...]) -> str:
    return ("units " if len(units) > 1 else "unit ") + ", ".join(map(str, units)) if units else ""


def linear(coefficients: np.ndarray, constant: float | None = None) -> str:
    """An affine form as text."""
    terms = [] if constant is None else [f"{constant:.6g}"]
    terms += [
        f"{'' if c == 1 else '-' if c == -1 else f'{c:.6g} '}x{i}"
        for i, c in enumerate(coefficients.tolist()) if c
    ]
    if len(terms) > SHOWN:
        terms = [*terms[:SHOWN], "..."]
    return " + ".join(terms or ["0"]).replace("+ -", "- ")


def region_of(
    place: Place, pattern: bytes, point: Exact, touching: tuple[bytes, ...] = (),
    with_facets: bool = True,
) -> Region:
    """The facts of one region.

    place: the chart (the first one, for all of space). pattern: packed bits. point: strictly inside
    the region, in the chart's coordinates. with_facets: whether to find the facets.
    """
    units = place.compiled.units
    prefix = np.unpackbits(np.frombuffer(pattern, dtype=np.uint8), count=units).tobytes()
    facets = facets_at(place, pattern, prefix, point) if with_facets else None
    affine = input_rows(place.compiled.chart, output_forms(place.forms, prefix))
    x = inputs_of(place.compiled.chart, point)
    return Region(pattern, units, x, facets, affine, touching, place=place)


def facets_at(place: Place, pattern: bytes, prefix: bytes, point: Exact) -> tuple[Facet, ...]:
    bits = np.frombuffer(pattern, dtype=np.uint8)[None]
    one = Regions(bits, np.zeros(1, dtype=np.int64), point.to_float()[None], ())
    found = facets_of((place,), one)
    m0, forms, chart = place.own_rows, place.forms, place.compiled.chart
    facets = []
    for number in range(len(found.rows)):
        ids = found.ids(number)
        walls = tuple(i - m0 for i in ids if i >= m0)
        own = tuple(i for i in ids if i < m0)
        row = forms.chart_rows[own[0]] if own else next(
            iter(half_spaces(forms, prefix, walls[:1], place.horizon))
        )
        facets.append(Facet(input_row(chart, row), walls, own))
    return tuple(facets)


def stretch(chart: Chart) -> tuple[list[Fraction], list[Fraction]]:
    """Middle and half width of every input: x_i = middle_i + half_i u_i in a chart that is a box
    or polytope."""
    d = chart.dimension
    half = [chart.matrix[1 + i, i].item() for i in range(d)]
    return chart.constant[1:].fractions(), half


def inputs_of(chart: Chart, point: Exact) -> Exact:
    """The inputs at a point of the chart; a chart at infinity has t > 0 at such a point."""
    t, *x = chart.homogeneous(point).fractions()
    return vector([value / t for value in x])


def chart_point(chart: Chart, inputs: Exact) -> Exact:
    """The point of a bounded chart (or the first of all of space) with these inputs."""
    middle, half = stretch(chart)
    return vector(
        [(x - m) / h for x, m, h in zip(inputs.fractions(), middle, half, strict=True)]
    )


def vector(values: list[Fraction]) -> Exact:
    return Exact.of(np.array(values, dtype=object)) if values else Exact.zeros(0)


def input_rows(chart: Chart, rows: Exact) -> Exact:
    """Affine forms over (1, u) as forms over (1, x)."""
    middle, half = stretch(chart)
    table = [
        input_form(rows[i].fractions(), middle, half) for i in range(rows.shape[0])
    ]
    entries = np.empty((len(table), rows.shape[1]), dtype=object)
    for i, form in enumerate(table):
        entries[i] = form
    return Exact.of(entries) if entries.size else Exact.zeros(entries.shape)


def input_form(
    form: list[Fraction], middle: list[Fraction], half: list[Fraction]
) -> list[Fraction]:
    slopes = [g / h for g, h in zip(form[1:], half, strict=True)]
    shift = sum((s * m for s, m in zip(slopes, middle, strict=True)), Fraction(0))
    return [form[0] - shift, *slopes]


def input_row(chart: Chart, row: Row) -> Row:
    """A half-space over (1, u) as a primitive row over (1, x)."""
    moved = input_rows(chart, Exact(integers(row, (1, len(row)))))
    return primitive(tuple(moved.numerator[0].tolist()))


def packed_bits(bits: np.ndarray) -> bytes:
    """Bits (N,) as packed bytes."""
    return packed(bits.astype(np.uint8)).tobytes()
