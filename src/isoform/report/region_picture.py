# SPDX-License-Identifier: Apache-2.0
"""A picture of the linear regions of the plane: two inputs, or a plane slice of many."""

from __future__ import annotations

import colorsys
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from isoform.errors import Refused
from isoform.network.whole_file import write_whole
from isoform.regions.facets import Place
from isoform.regions.kinds import output_maps
from isoform.regions.listing import Regions
from isoform.regions.volume import polygons

INCHES, DOTS = 6.0, 200
THIN = 0.4  # points, the widest line between regions


def draw(
    there: Sequence[Place], regions: Regions, path: str | os.PathLike[str]
) -> None:
    """Write a PNG: every activation region a polygon, coloured by its affine map.

    One output: the hue is the direction of the gradient, darker where it is steep. Several: the hue
    is the largest output at the region's witness, lighter where it leads by little. Refused for
    another dimension than 2, for all of space and without matplotlib.
    """
    if there[0].compiled.dimension != 2 or len(there) > 1:
        raise Refused(
            f"a picture shows a bounded domain of the plane, this one has "
            f"{there[0].compiled.dimension} dimensions{' and no bound' if len(there) > 1 else ''}; "
            "take --slice through three points, or a box"
        )
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.collections import PolyCollection
        from matplotlib.figure import Figure
    except ImportError:
        raise Refused("pictures need matplotlib: pip install 'isoform[plot]'") from None
    shapes = polygons(tuple(there), regions)
    colours = colours_of(there[0], regions)
    figure = Figure(figsize=(INCHES, INCHES), dpi=DOTS)
    axes = figure.add_axes((0.08, 0.06, 0.9, 0.9))
    width = min(THIN, 40 / (1 + len(regions) ** 0.5))
    axes.add_collection(PolyCollection(
        [shapes[i] for i in range(len(shapes))], facecolors=colours, edgecolors="#212529",
        linewidths=width,
    ))
    low, high = shapes.corners.min(axis=0), shapes.corners.max(axis=0)
    axes.set_xlim(low[0], high[0])
    axes.set_ylim(low[1], high[1])
    axes.set_title(f"{len(regions):,} activation regions", fontsize=10)
    axes.tick_params(labelsize=8)
    write_whole(Path(path), lambda file: save(FigureCanvasAgg(figure), file))


def save(canvas: Any, file: Any) -> None:
    canvas.print_png(file)


def colours_of(place: Place, regions: Regions) -> np.ndarray:
    """(R, 3) colours by the affine maps, in the coordinates of the chart."""
    maps, _ = output_maps(place, regions.patterns)  # (R, m, 1 + k), constants first
    if maps.shape[1] == 1:
        slopes = maps[:, 0, 1:]
        hue = np.arctan2(slopes[:, 1], slopes[:, 0]) / (2 * np.pi) % 1.0
        size = np.hypot(slopes[:, 0], slopes[:, 1])
    else:
        values = maps[:, :, 0] + np.einsum("rmk,rk->rm", maps[:, :, 1:], regions.points)
        ordered = np.sort(values, axis=1)
        hue = values.argmax(axis=1) / maps.shape[1]
        size = ordered[:, -1] - ordered[:, -2]
    strength = np.clip(size / max(float(np.quantile(size, 0.98)), 1e-300), 0, 1)
    return np.array([
        colorsys.hsv_to_rgb(h, 0.18 + 0.55 * s, 0.97 - 0.22 * s)
        for h, s in zip(hue.tolist(), strength.tolist(), strict=True)
    ])
