# SPDX-License-Identifier: Apache-2.0
"""Which input of a box to halve: the one that the bound hangs on most.

A bound is a linear function of the inputs and the cost of the lines between which the units were
put. The one falls with the sides of the box by its coefficients, the other by how much each input
moves the values of the units. Nothing here is evidence: every split is as valid as another.
"""

from __future__ import annotations

import numpy as np

from isoform.certificate.differential import DELTA, Boxes, Carried, Y, Z
from isoform.certificate.relaxation import Layer, Lines
from isoform.verify.traced import Traced


def influence(bounds: Traced) -> np.ndarray:
    """(N, d): how far every slot moves at most with an input of width one, units as if open."""
    d = bounds.d
    found = np.zeros((0, d))
    for source, target in zip(bounds.source_rows, bounds.target_rows, strict=True):
        rows = np.maximum(np.abs(source), np.abs(target))
        before = rows[:, 1 + d :] @ found
        found = np.concatenate((found, rows[:, 1 : 1 + d] + before))
    return found


def input_scores(
    bounds: Traced, rows: Carried, layers: list[Layer], boxes: Boxes, moved: np.ndarray
) -> np.ndarray:
    """(R, d): what a bound may lose by each input of its box. rows: after `watch`; moved: what
    `influence` has found."""
    width = (boxes.high - boxes.low)[rows.boxes]
    score = np.abs(rows.inputs) * width
    for j, trace in bounds.traces.items():
        here = slice(bounds.starts[j], bounds.starts[j + 1])
        layer, b = layers[j], rows.boxes
        known = boxes.bounds[b, here]
        cost = (
            np.abs(trace.h) * apart(layer.source, known[..., Y, :], b)
            + np.abs(trace.z) * apart(layer.target, known[..., Z, :], b)
            + np.abs(trace.rho) * apart(layer.difference, known[..., DELTA, :], b)
        )
        total = width @ moved[here].T
        score += width * ((cost / np.where(total > 0, total, 1)) @ moved[here])
    return score


def apart(lines: Lines, ends: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How far the line above is over the line below in the middle of a range."""
    middle = np.clip(ends, -1e30, 1e30).sum(axis=-1) / 2
    return (lines.high_slope - lines.low_slope)[b] * middle + (lines.high - lines.low)[b]
