# SPDX-License-Identifier: Apache-2.0
"""A picture of the linear regions of the plane: two inputs, or a plane slice of many."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from isoform.errors import Refused
from isoform.network.whole_file import write_whole
from isoform.regions.facets import Facets, Place, behind, facets_of, numbers_of
from isoform.regions.kinds import affine_kind, connected_kind, output_maps
from isoform.regions.listing import Regions
from isoform.regions.volume import Polygons, following, polygons
from isoform.report.region_colours import (
    Decisions,
    decisions,
    of_direction,
    of_gradients,
    of_output,
)
from isoform.report.region_tables import count_text, domain_text, form_text
from isoform.text import plural

WIDE, HIGH, DOTS = 6.0, 6.56, 200  # inches, dots an inch; the axes are square
FRAME = (0.1, 0.115, 0.875, 0.8)  # of the axes: left, bottom, width, height
INK, GREY, SEAM = "#16181d", "#5c6370", "#a7adb8"
WIDEST, TOTAL = 0.5, 32.0  # points: of a line between regions; divided by the root of their number
NAMED = 12  # outputs in the legend
LINE = 640.0  # points times letters that fit in a line


def check_plane(of: Any) -> None:
    """Refused where there can be no picture of the regions of a `Piecewise`: another dimension than
    2, all of space, no matplotlib."""
    k, bounded = of.network.dimension, len(of.pieces) == 1
    if k != 2 or not bounded:
        what = f"this one has {k} dimensions" if k != 2 else "this one has no bound"
        what += "" if k == 2 or bounded else " and no bound"
        todo = "take --slice through three points" if k > 2 else "give a box"
        raise Refused(f"a picture shows a bounded domain of the plane, {what}; "
                      f"{'there is none of a line' if k < 2 else todo}")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise Refused("pictures need matplotlib: pip install 'isoform[plot]'") from None


def draw(found: Any, path: str | Path, output: int | None = None) -> None:
    """Write a `LinearRegions` as PNG: every region a polygon, coloured by its affine map.

    One output, or `output` of several: the hue is the direction of the gradient on the paper,
    deeper where it is steeper. Several: the colour of the largest output, paler where it leads by
    little, with lines where two are equal. Lines run between regions of the kind that was counted.
    A slice shows the points that it goes through. Refused as `check_plane` says, and for an output
    that there is not.
    """
    check_plane(found.of)
    outputs = found.of.layers.outputs.shape[0]
    if output is not None and not 0 <= output < outputs:
        raise Refused(f"there is no output {output}; the network has {plural(outputs, 'output')}")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDE, HIGH), dpi=DOTS, facecolor="white")
    canvas: Any = FigureCanvasAgg(figure)
    axes = figure.add_axes(FRAME)
    paint(axes, found, output)
    left, top = FRAME[0], FRAME[1] + FRAME[3]
    figure.text(left, top + 0.043, count_text(found), fontsize=11, color=INK, weight="bold")
    where = f"{form_text(found.of)}, on {domain_text(found.of)}"
    figure.text(left, top + 0.017, where, fontsize=min(7.5, LINE / len(where)), color=GREY)
    legend(figure, outputs, output)
    write_whole(Path(path), lambda file: canvas.print_png(file))


def paint(axes: Any, found: Any, output: int | None = None) -> None:
    """The regions of a `LinearRegions` into the axes of a figure of matplotlib."""
    from matplotlib.collections import LineCollection, PolyCollection

    there, regions = found.of.places, found.listed()
    facets = facets_of(there, regions)
    shapes = polygons(there, regions, facets)
    each = [shapes[i] for i in range(len(shapes))]
    maps, _ = output_maps(there[0], regions.patterns)  # (R, m, 1 + 2), constants first
    parts, borders = each, np.empty((0, 2, 2))
    if maps.shape[1] == 1 or output is not None:
        colours = of_gradients(maps[:, output or 0, 1:])
    else:
        cut = decided(there[0], each, maps)
        parts, colours, borders = cut.shapes, cut.colours(), cut.borders
    width = min(WIDEST, TOTAL / (1 + len(regions)) ** 0.5)
    axes.add_collection(PolyCollection(
        parts, facecolors=colours, edgecolors=colours, linewidths=0.3, zorder=1,
    ))
    inner, outer = sides(found, regions, facets, shapes)
    for lines, colour, thick, order in (
        (inner, SEAM, 0.8 * width, 2), (outer, INK, width, 3), (borders, INK, 2.6 * width, 4),
    ):
        axes.add_collection(LineCollection(
            list(lines), colors=colour, linewidths=thick, zorder=order, capstyle="round",
        ))
    frame(axes, found.of)


def decided(place: Place, each: list[np.ndarray], maps: np.ndarray) -> Decisions:
    """The regions cut where the largest output changes."""
    chart = place.compiled.chart
    middle, half = chart.constant[1:].to_float(), np.diag(chart.matrix[1:].to_float())
    values = []
    for corners, rows in zip(each, maps, strict=True):
        inside = (corners - middle) / half
        values.append(rows[:, 0] + inside @ rows[:, 1:].T)
    return decisions(each, values)


def sides(
    found: Any, regions: Regions, facets: Facets, shapes: Polygons
) -> tuple[np.ndarray, np.ndarray]:
    """The sides (n, 2, 2) within a region of the kind that was counted, and those between two; none
    on the boundary of the domain."""
    there = found.of.places
    ends = np.stack([shapes.corners, shapes.corners[following(shapes.starts)]], axis=1)
    owner = facets.regions()  # of the sides too: both are in the order of the regions
    inner = shapes.rows >= facets.own_rows
    if found.kind == "activation" or not there[0].compiled.chart.layers.continuous:
        return ends[:0], once_each(ends[inner])
    other = np.empty(len(owner), dtype=np.int64)
    other[np.lexsort((shapes.rows, owner))] = numbers_of(
        regions.patterns, behind(there, regions, facets)
    )[np.lexsort((facets.rows, owner))]
    once = inner & ((other < 0) | (owner < other))
    kind = affine_kind if found.kind == "affine" else connected_kind
    labels = kind(there, regions).labels
    same = (other >= 0) & (labels[owner] == labels[other])
    return ends[once & same], ends[once & ~same]


def once_each(ends: np.ndarray) -> np.ndarray:
    """Segments (n, 2, 2) without those that are there a second time, up to rounding."""
    if len(ends) == 0:
        return ends
    middles = ends.mean(axis=1)
    size = float(np.abs(middles).max()) or 1.0
    _, first = np.unique(np.round(middles / size, 9), axis=0, return_index=True)
    return ends[first]


def frame(axes: Any, of: Any) -> None:
    """Limits, names of the axes, and the points of a slice."""
    chart = of.pieces[0]
    middle, half = chart.constant[1:].to_float(), np.diag(chart.matrix[1:].to_float())
    axes.set_xlim(middle[0] - half[0], middle[0] + half[0])
    axes.set_ylim(middle[1] - half[1], middle[1] + half[1])
    names = ("input 0", "input 1") if of.through is None else ("from A to B", "from A to C")
    axes.set_xlabel(names[0], fontsize=8, color=GREY, labelpad=1)
    axes.set_ylabel(names[1], fontsize=8, color=GREY, labelpad=1)
    axes.locator_params(nbins=6)
    axes.tick_params(labelsize=7, colors=GREY, length=2.5, width=0.5)
    for spine in axes.spines.values():
        spine.set_linewidth(0.5)
        spine.set_color(GREY)
    if of.through is None:
        return
    for name, x, y in (("A", 0.0, 0.0), ("B", 1.0, 0.0), ("C", 0.0, 1.0)):
        if abs(x - middle[0]) <= half[0] and abs(y - middle[1]) <= half[1]:
            axes.plot([x], [y], marker="o", markersize=9, markerfacecolor="white",
                      markeredgecolor=INK, markeredgewidth=0.8, zorder=6, clip_on=False)
            axes.annotate(name, (x, y), ha="center", va="center_baseline", fontsize=6.5,
                          color=INK, weight="bold", zorder=7)


def legend(figure: Any, outputs: int, output: int | None) -> None:
    """What the colours mean, under the picture."""
    text: dict[str, Any] = {"fontsize": 7.5, "color": GREY, "va": "center"}
    row, left = 0.03, FRAME[0]
    if outputs == 1 or output is not None:
        of = "" if output is None else f" of output {output}"
        wheel(figure, (left, row - 0.022, 0.05, 0.044))
        figure.text(left + 0.06, row, f"hue: direction of the gradient{of}; deeper: steeper",
                    **text)
        return
    figure.text(left, row, "largest output:", **text)
    at = left + 0.135
    for number in range(min(outputs, NAMED)):
        figure.text(at, row, f" {number} ", fontsize=7.5, color=INK, va="center",
                    bbox={"boxstyle": "square,pad=0.25", "linewidth": 0,
                          "facecolor": tuple(of_output(number))})
        at += 0.036
    more = "...; " if outputs > NAMED else ""
    figure.text(at + 0.005, row, f"{more}pale: by little; thick lines: two are equal", **text)


def wheel(figure: Any, place: tuple[float, float, float, float]) -> None:
    """A disc of all directions, flat in the middle."""
    axes = figure.add_axes(place)
    line = np.linspace(-1, 1, 121)
    x, y = np.meshgrid(line, line)
    size = np.hypot(x, y)
    colours = np.ones((*x.shape, 4))
    colours[..., :3] = of_direction(np.arctan2(y, x), np.sqrt(np.clip(size, 0, 1)))
    colours[..., 3] = np.clip((1 - size) * 60, 0, 1)
    axes.imshow(colours, extent=(-1, 1, -1, 1), origin="lower", interpolation="bilinear")
    axes.axis("off")
