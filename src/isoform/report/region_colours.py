# SPDX-License-Identifier: Apache-2.0
"""Colours of linear regions: the direction of a gradient, or the largest of several outputs.

Colours are chosen by lightness, chroma and hue in the OKLCH space (B. Ottosson, 2020), where equal
steps look equal, so that no direction stands out and a grey print still shows what is steep.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FLAT, STEEP = (0.97, 0.0), (0.70, 0.135)  # lightness and chroma
TURN = 0.7  # hue of the direction of the first input, in radians
CLASSES = ("#5b8ff9", "#f6a04d", "#5ad8a6", "#e8684a", "#9270ca", "#c9a227", "#6dc8ec", "#ff99c3",
           "#8c8c8c", "#269a99")
FAINT, FULL = 0.28, 0.92  # how much of its colour an output shows that leads by little, by much
USUAL = 0.95  # the share of the regions that the scale is made for; the others are cut


def from_oklch(lightness: np.ndarray, chroma: np.ndarray, hue: np.ndarray) -> np.ndarray:
    """(..., 3) sRGB in 0..1, cut to the gamut. hue: radians."""
    a, b = chroma * np.cos(hue), chroma * np.sin(hue)
    cones = np.stack([
        lightness + 0.3963377774 * a + 0.2158037573 * b,
        lightness - 0.1055613458 * a - 0.0638541728 * b,
        lightness - 0.0894841775 * a - 1.2914855480 * b,
    ], axis=-1) ** 3
    linear = cones @ np.array([
        [4.0767416621, -1.2684380046, -0.0041960863],
        [-3.3077115913, 2.6097574011, -0.7034186147],
        [0.2309699292, -0.3413193965, 1.7076147010],
    ])
    linear = np.clip(linear, 0, 1)
    bright = 1.055 * np.maximum(linear, 1e-12) ** (1 / 2.4) - 0.055
    return np.where(linear <= 0.0031308, 12.92 * linear, bright)


def of_direction(angle: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """(..., 3) colours of slopes: the hue is the direction, deeper is steeper. strength: 0..1."""
    lightness = FLAT[0] + (STEEP[0] - FLAT[0]) * strength
    chroma = FLAT[1] + (STEEP[1] - FLAT[1]) * strength
    return from_oklch(lightness, chroma, angle + TURN)


def of_gradients(slopes: np.ndarray) -> np.ndarray:
    """(R, 3) colours of gradients (R, 2)."""
    return of_direction(np.arctan2(slopes[:, 1], slopes[:, 0]), scaled(np.hypot(*slopes.T)))


def scaled(sizes: np.ndarray) -> np.ndarray:
    """Sizes as 0..1, spread by a root so that small ones can be told apart."""
    top = float(np.quantile(sizes, USUAL)) if len(sizes) else 0.0
    return np.sqrt(np.clip(sizes / top, 0, 1)) if top > 0 else np.zeros(len(sizes))


def of_output(output: int) -> np.ndarray:
    """(3,) the full colour of an output; from the eleventh on, hues that are far apart."""
    if output < len(CLASSES):
        text = CLASSES[output]
        return np.array([int(text[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    golden = np.array(output * 2.39996322972865)
    return from_oklch(np.array(0.74), np.array(0.12), golden)


@dataclass(frozen=True, slots=True, eq=False)
class Decisions:
    """The parts of regions on which one output is the largest.

    shapes: polygons (n, 2). outputs: the largest output of each. regions: whose part it is.
    lead: by how much that output leads, at most on the part. borders: segments (B, 2, 2) on which
    two outputs are equal.
    """

    shapes: list[np.ndarray]
    outputs: np.ndarray
    regions: np.ndarray
    lead: np.ndarray
    borders: np.ndarray

    def colours(self) -> np.ndarray:
        """(P, 3): the colour of the output, paler where it leads by little."""
        full = np.array([of_output(output) for output in self.outputs.tolist()]).reshape(-1, 3)
        depth = (FAINT + (FULL - FAINT) * scaled(self.lead))[:, None]
        return 1 - depth * (1 - full)


def decisions(shapes: list[np.ndarray], values: list[np.ndarray]) -> Decisions:
    """Cut polygons where another output becomes the largest.

    values: of all outputs at the corners of each polygon, (n, m); affine on it. A tie belongs to
    the first output.
    """
    parts: list[np.ndarray] = []
    outputs: list[int] = []
    regions: list[int] = []
    lead: list[float] = []
    borders: list[np.ndarray] = []
    for region, (corners, at) in enumerate(zip(shapes, values, strict=True)):
        whole = largest_throughout(at)
        for output in range(at.shape[1]) if whole is None else (whole,):
            part, of_part, edges = where_largest(corners, at, output, cut=whole is None)
            if len(part) < 3:
                continue
            others = np.delete(of_part, output, axis=1)
            parts.append(part)
            outputs.append(output)
            regions.append(region)
            lead.append(float((of_part[:, output] - others.max(axis=1)).max()))
            borders += edges
    return Decisions(parts, np.array(outputs, dtype=int), np.array(regions, dtype=int),
                     np.array(lead), np.array(borders).reshape(-1, 2, 2))


def largest_throughout(values: np.ndarray) -> int | None:
    """The output that is the largest at all corners, if there is one; then it is in between too."""
    first = int(values[0].argmax())
    for output in (first, int(values.sum(axis=0).argmax())):
        if (values[:, output] >= values.max(axis=1)).all():
            return output
    return None


def where_largest(
    corners: np.ndarray, values: np.ndarray, output: int, cut: bool
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """The part of a polygon on which an output is the largest, its values, and the sides on which
    it equals a later output. cut: false where that is known to be everything."""
    if not cut:
        return corners, values, []
    rival = np.full(len(corners), -1)  # of the side that begins at the corner
    for other in range(values.shape[1]):
        if other == output or len(corners) < 3:
            continue
        corners, values, rival = clipped(corners, values, rival, output, other)
    edges = [
        np.stack([corners[i], corners[(i + 1) % len(corners)]])
        for i in range(len(corners)) if rival[i] > output
    ] if len(corners) >= 3 else []
    return corners, values, edges


def clipped(
    corners: np.ndarray, values: np.ndarray, rival: np.ndarray, output: int, other: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A polygon without the points where `other` is larger than `output`."""
    ahead = values[:, output] - values[:, other]
    if (ahead >= 0).all():
        return corners, values, rival
    points: list[np.ndarray] = []
    kept: list[np.ndarray] = []
    sides: list[int] = []
    for i in range(len(corners)):
        j = (i + 1) % len(corners)
        if ahead[i] >= 0:
            points.append(corners[i])
            kept.append(values[i])
            sides.append(int(rival[i]))
        if (ahead[i] > 0 > ahead[j]) or (ahead[i] < 0 < ahead[j]):
            t = ahead[i] / (ahead[i] - ahead[j])
            points.append(corners[i] + t * (corners[j] - corners[i]))
            kept.append(values[i] + t * (values[j] - values[i]))
            sides.append(other if ahead[i] > 0 else int(rival[i]))
        elif ahead[i] == 0 and ahead[j] < 0:
            sides[-1] = other
    d, m = corners.shape[1], values.shape[1]
    return (np.array(points).reshape(-1, d), np.array(kept).reshape(-1, m),
            np.array(sides, dtype=int))
