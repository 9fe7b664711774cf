# SPDX-License-Identifier: Apache-2.0
"""Pictures of regions: what is cut, coloured and drawn, apart from the look."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import isoform as iso
from isoform.errors import Refused
from isoform.report.region_colours import decisions, of_gradients, of_output
from isoform.report.region_picture import draw, once_each, sides

SQUARE = np.array([[0.0, 0.0], [1, 0], [1, 1], [0, 1]])


def area(shape: np.ndarray) -> float:
    x, y = shape.T
    return float(0.5 * (x @ np.roll(y, -1) - y @ np.roll(x, -1)))


def at(rows: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Values of affine forms (m, 3) at points (n, 2)."""
    return rows[:, 0] + points @ rows[:, 1:].T


@pytest.mark.parametrize("seed", range(20))
def test_regions_are_cut_where_the_largest_output_changes(seed: int) -> None:
    """The parts fill the square, and each output is the largest in the middle of its parts."""
    rows = np.random.default_rng(seed).integers(-3, 4, (5, 3)) / 2.0
    cut = decisions([SQUARE], [at(rows, SQUARE)])
    assert sum(map(area, cut.shapes)) == pytest.approx(1)
    for shape, output, lead in zip(cut.shapes, cut.outputs, cut.lead, strict=True):
        values = at(rows, shape.mean(axis=0)[None])[0]
        assert values[output] >= values.max() - 1e-12
        corners = at(rows, shape)
        others = np.delete(corners, output, axis=1).max(axis=1)
        assert lead == pytest.approx((corners[:, output] - others).max())
    for ends in cut.borders:
        first, second = np.sort(at(rows, ends), axis=1)[:, -2:].T
        assert first == pytest.approx(second)


def test_a_border_is_drawn_once_and_between_the_right_points() -> None:
    rows = np.array([[0.0, 1, 0], [0.5, 0, 0], [-9, 0, 0]])  # x against one half
    cut = decisions([SQUARE], [at(rows, SQUARE)])
    assert sorted(cut.outputs.tolist()) == [0, 1]
    assert len(cut.borders) == 1
    assert sorted(map(tuple, cut.borders[0])) == [(0.5, 0.0), (0.5, 1.0)]
    whole = decisions([SQUARE], [at(rows[1:], SQUARE)])
    assert whole.outputs.tolist() == [0] and len(whole.borders) == 0


def test_opposite_slopes_differ_and_flat_is_grey() -> None:
    colours = of_gradients(np.array([[1.0, 0], [-1, 0], [0, 0], [1e-6, 0]]))
    assert ((colours >= 0) & (colours <= 1)).all()
    assert np.abs(colours[0] - colours[1]).max() > 0.3
    assert np.ptp(colours[2]) < 0.01 and np.abs(colours[3] - colours[2]).max() < 0.05
    assert not np.isnan(of_gradients(np.zeros((3, 2)))).any()


def test_colours_of_many_outputs_differ() -> None:
    colours = np.array([of_output(number) for number in range(24)])
    assert ((colours >= 0) & (colours <= 1)).all()
    assert len(np.unique(np.round(colours, 3), axis=0)) == 24


@pytest.fixture
def halves() -> iso.Network:
    """|x| - |y| with every unit twice and a wall that the outputs do not see."""
    from networks import Layer, network

    walls = np.array([[1, 0], [-1, 0], [0, 1], [0, -1], [1, 0], [1, 1]], dtype=np.float64)
    return network((Layer(walls, np.zeros(6)),
                    Layer(np.array([[1.0, 1, -1, -1, 0, 0]]), np.zeros(1), relu=False)))


def lengths(ends: np.ndarray) -> float:
    return float(np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1).sum())


def test_lines_run_between_regions_of_the_counted_kind(halves: iso.Network) -> None:
    """Six activation regions around the origin; the diagonal is no wall of the function."""
    from isoform.regions.facets import facets_of
    from isoform.regions.volume import polygons

    drawn = {}
    for kind in ("activation", "connected", "affine"):
        found = iso.regions(halves, on="box:-1,1", kind=kind)
        regions, there = found.listed(), found.of.places
        facets = facets_of(there, regions)
        inner, outer = sides(found, regions, facets, polygons(there, regions, facets))
        drawn[kind] = (found.count, lengths(inner), lengths(outer))
    diagonal = 2 * 2**0.5
    assert drawn["activation"] == (6, 0.0, pytest.approx(4 + diagonal))
    for kind in ("connected", "affine"):
        assert drawn[kind] == (4, pytest.approx(diagonal), pytest.approx(4))


def test_sides_that_are_there_twice_are_drawn_once() -> None:
    ends = np.array([[[0.0, 0], [1, 0]], [[1, 1e-13], [0, 0]], [[0, 0], [0, 1]]])
    assert len(once_each(ends)) == 2
    assert len(once_each(ends[:0])) == 0


def test_the_gradient_of_one_output(halves: iso.Network, tmp_path: Path) -> None:
    found = iso.regions(halves, on="box:-1,1")
    found.save(tmp_path / "plane.png", output=0)
    assert (tmp_path / "plane.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(Refused, match="there is no output 1; the network has 1 output"):
        draw(found, tmp_path / "other.png", output=1)
    assert not (tmp_path / "other.png").exists()
