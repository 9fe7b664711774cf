# SPDX-License-Identifier: Apache-2.0
"""Networks and questions that once got wrong answers, against exact oracles."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import isoform as iso
from exact_oracles import true_patterns
from isoform.api.linear_regions import piecewise, region_at
from isoform.certificate.region_farkas import nearest
from isoform.errors import DomainError, Refused
from isoform.network.charts import Chart, charts
from isoform.network.domain import Box, Polytope
from isoform.network.linear_map import Dense
from isoform.network.network import Builder, Network
from isoform.network.operators import Relu, Step
from isoform.network.unit_layers import unit_layers
from isoform.numerics.exact import Exact
from isoform.regions.compiled import compiled
from isoform.regions.exact_volume import polygon, volume
from isoform.regions.facet_kernel import FACET, REDUNDANT, SHARED
from isoform.regions.facets import Doubt, facets_of, settled
from isoform.regions.kinds import output_maps
from isoform.regions.listing import Regions, Stopped
from isoform.regions.queries import neighbours, steps_inside
from isoform.regions.splitting import explore, root
from isoform.regions.store_file import DiskFull, plain_errors
from isoform.regions.volume import volumes


def chain(*layers: tuple[list[list[float]], list[float]]) -> Network:
    """Affine layers with ReLU between; the last layer is linear."""
    build, value = Builder((len(layers[0][0][0]),)), 0
    for number, (weight, bias) in enumerate(layers):
        value = build.linear(Dense(np.array(weight, float)), value, np.array(bias, float))
        if number + 1 < len(layers):
            value = build.add(Relu(), (value,), len(bias))
    return build.build(value)


def listed(chart: Chart) -> set[bytes]:
    piece = compiled(chart)
    return {row.tobytes() for row in explore(piece, root(piece)).patterns}


# --- forms that vanish in floats, though they are not zero ----------------------------------------


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_a_form_that_cancels_in_floats_only(sign: float) -> None:
    """0.1 + 0.2 as doubles is 0.3 (rounded) less 2.7e-17; their difference is 0 in floats."""
    network = chain(
        ([[1], [1]], [0, 0]), ([[0.1, 0.2], [0.1 + 0.2, 0]], [0, 0]), ([[-sign, sign]], [0]),
        ([[1]], [0]),
    )
    chart = charts(unit_layers(network), Box(-1, 1))[0]
    assert listed(chart) == true_patterns(chart)


@pytest.mark.parametrize("sizes", [
    [1.0, 2.0**-600, 2.0**-600], [1.0, *[2.0**-400] * 4], [1.0, 2.0**-1074, 1.0, 2.0**-1074],
    [2.0**-1074, 1.0], [2.0**-1074, 2.0**-1000, 2.0**500, -1.0],
])
@pytest.mark.parametrize("end", [Fraction(1), Fraction(1, 10**12)])
def test_products_below_the_least_double(sizes: list[float], end: Fraction) -> None:
    network = chain(*[([[size]], [0]) for size in sizes], ([[1]], [0]))
    chart = charts(unit_layers(network), Box(-end, end))[0]
    assert listed(chart) == true_patterns(chart)


# --- domains --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("A", "b"), [
    ([[1, 1], [-1, -1]], [0, 0]), ([[1, 0]], [-1]), ([[1, 1]], [-2]), ([[1, 0], [-1, 0]], [0, -1]),
    ([[0, 0]], [-1]),
])
@pytest.mark.parametrize("listed", [True, False])
def test_a_polytope_without_interior_is_no_domain(
    A: list[list[int]], b: list[int], listed: bool
) -> None:
    network = chain(([[1, 1], [1, -1]], [0, 0.5]), ([[1, 1]], [0]))
    domain = Polytope(Exact.of(A), Exact.of(b), Box(-1, 1))
    with pytest.raises(DomainError, match="no interior"):
        iso.regions(network, on=domain, listed=listed, workers=1)


def test_a_row_that_says_nothing_hides_no_region() -> None:
    """0 x <= 0 is a row of the domain, and no half-space that a point could be strictly inside."""
    network = chain(([[1.0], [1.0]], [0, 0.5]), ([[1, 1]], [0]))
    domain = Polytope(Exact.of([[0], [1]]), Exact.of(np.array([0, 0.25])), Box(-1, 1))
    of = piecewise(network, domain)
    for point, count in ((Fraction(1, 4), 1), (0, 2), (-1, 1), (Fraction(-1, 2), 2)):
        region = region_at(of, [point])
        assert 1 + len(region.touching) == count
        assert -1 < region.point.fractions()[0] < Fraction(1, 4)
    assert len(neighbours(region_at(of, [0]))) == 2


# --- facts of single regions ----------------------------------------------------------------------


def test_walls_below_the_least_double_are_facets() -> None:
    tiny = 2.0**-600
    network = chain(
        ([[1.0]], [tiny]), ([[tiny], [tiny]], [0, -tiny * tiny]),
        ([[tiny, -2 * tiny]], [0]), ([[1]], [0]),
    )
    of = piecewise(network, Box(-1, 1))
    found = iso.regions(network, on=of.domain, workers=1)
    facets = facets_of(of.places, found.listed())
    assert found.count == len(true_patterns(of.pieces[0]))
    assert np.diff(facets.starts).tolist() == [2] * found.count  # intervals have two ends


def test_maps_behind_a_step_unit_that_vanishes_in_floats() -> None:
    """step(relu(x) - x) is 1 everywhere, for relu(x) - x is 0 where x > 0."""
    build = Builder((1,))
    unit = build.add(Relu(), (build.linear(Dense(np.ones((1, 1))), 0),), 1)
    one = np.ones((1, 1))
    step = build.add(Step(), (build.linear((Dense(one), Dense(-one)), (unit, 0)),), 1)
    last = build.add(Relu(), (build.linear(Dense(one), step, np.array([-0.5])),), 1)
    network = build.build(last)
    for kind, count in (("activation", 2), ("affine", 1)):
        assert iso.regions(network, on=Box(-1, 1), kind=kind, workers=1).count == count
    _, errors = output_maps(piecewise(network, Box(-1, 1)).places[0], np.array([[160]], np.uint8))
    assert errors[0, 0] > 0.9  # floats cannot tell whether the step unit gives 0 or 1


# --- volumes of thin regions ----------------------------------------------------------------------


@pytest.mark.parametrize("gap", [1e-6, 1e-10, 1e-15, 2.0**-60])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_volumes_of_nearly_equal_walls(gap: float, d: int) -> None:
    """Walls at an angle or a distance of `gap`: wedges, and layers thinner than doubles tell."""
    weight = [[1.0] * d, [1.0 + gap] * d, [1.0] * (d - 1) + [1 - gap]]
    network = chain((weight, [0, 0, gap]), ([[1, 1, 1]], [0]))
    of = piecewise(network, Box(0, 1) if d == 1 else Box(-1, 1))
    regions = iso.regions(network, on=of.domain, workers=1).listed()
    found = volumes(of.places, regions)
    assert found.sum() == pytest.approx(1 if d == 1 else 2**d, rel=1e-12)
    assert (found > 0).all()


def test_the_area_of_a_small_box_far_from_the_origin() -> None:
    network = chain(([[1, 0], [0, 1]], [-1 / 3, -1 / 3]), ([[1, 1]], [0]))
    end = Fraction(1, 3) + Fraction(1, 10**12)
    of = piecewise(network, Box(Fraction(1, 3), end))
    regions = iso.regions(network, on=of.domain, workers=1).listed()
    assert volumes(of.places, regions).sum() == pytest.approx(1e-24, rel=1e-9)


def test_exact_polygons_agree_with_exact_areas() -> None:
    rows = [(1, 1, 0), (1, -1, 0), (1, 0, 1), (1, 0, -1), (3, -2, -2), (5, 3, -3), (3, 2, 2)]
    order, corners = polygon(rows)
    assert sorted(order) == list(range(7))
    pairs = list(zip(corners, corners[1:] + corners[:1], strict=True))
    turns = [a[0] * b[1] - a[1] * b[0] for a, b in pairs]
    assert all(turn > 0 for turn in turns)  # counter-clockwise around 0
    assert sum(turns) / 2 == volume(rows)
    for i, (a, b) in zip(order, pairs, strict=True):
        assert rows[i][0] + rows[i][1] * a[0] + rows[i][2] * a[1] == 0
        assert rows[i][0] + rows[i][1] * b[0] + rows[i][2] * b[1] == 0


def test_the_exact_volume_of_cut_cubes() -> None:
    cube = [(0, *row) for row in np.eye(4, dtype=int).tolist()]
    assert volume([*cube, (1, -1, -1, -1, -1)]) == Fraction(1, 24)
    assert volume([*cube, (1, -1, -1, -1, -1), (2, -2, -2, -2, -2), (1, 0, 0, 0, 0)]) == Fraction(
        1, 24
    )
    assert volume([*cube, (-1, -1, -1, -1, -1)]) == 0


# --- processes ------------------------------------------------------------------------------------

WAITING = """
from isoform.regions.workers import Job, Processes, splitting
there = Processes(Job(splitting(), (), 1, False), 2)
print(len(there.children), flush=True)
input()
"""


def test_workers_end_with_a_killed_process() -> None:
    """They hold its standard output open: that it ends says that all of them have."""
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None and process.stdout.readline() == b"2\n"
    process.kill()
    assert process.communicate(timeout=20)[0] == b""


# --- recorded trees -------------------------------------------------------------------------------


def nearly_equal_units(seed: int, d: int) -> Network:
    """Two layers of four units, the last two nearly equal to the first two: cells thinner than
    floats tell, and vertices far from where floats see them."""
    random = np.random.default_rng(seed)
    build, value, n = Builder((d,)), 0, d
    for _ in range(2):
        weight, bias = random.normal(size=(4, n)), random.normal(size=4)
        near = 1 + 10.0 ** -random.integers(9, 14) * random.normal(size=(2, n))
        weight[2:], bias[2:] = weight[:2] * near, bias[:2]
        value = build.add(Relu(), (build.linear(Dense(weight), value, bias),), 4)
        n = 4
    return build.build(build.linear(Dense(random.normal(size=(1, n))), value))


@pytest.mark.parametrize(("seed", "d"), [(5, 3), (14, 2), (16, 2), (71, 2), (230, 3)])
def test_an_empty_cell_after_leaves_without_tokens(seed: int, d: int) -> None:
    """Each leaf since the last token needs one of its own, or the checker reads another tree."""
    network = nearly_equal_units(seed, d)
    assert iso.regions(network, on=iso.Everywhere(), workers=1).verdict == "proved"


def test_the_checker_proves_a_sign_by_nearly_dependent_rows() -> None:
    """The multipliers of such a basis are of both signs, where one of its rows does as well."""
    network = nearly_equal_units(696, 3)
    assert iso.regions(network, on=iso.Everywhere(), workers=1).verdict == "proved"
    A = np.array([[1.0, 1.0, 0.0], [1.0, 1.0 + 1e-9, 0.0], [0.0, 0.0, 1.0]]).T
    b = A @ [1.5, -0.5, 2.0]
    y = nearest(A[None], b[None])[0]
    assert (y >= 0).all() and np.abs(A @ y - b).max() < 1e-8
    assert (nearest(A[None], -b[None]) == 0).all()


@pytest.mark.parametrize("scale", [Fraction(1), Fraction(1, 10**250), Fraction(10**250)])
def test_rows_of_any_size_cut_a_polytope(scale: Fraction) -> None:
    network = chain(([[1, 0], [1, 1], [1, -2]], [0, 0.25, 0]), ([[1, 1, 1]], [0]))
    A = Exact.of(np.array([[scale, scale], [0, 0], [-scale, scale]], dtype=object))
    b = Exact.of(np.array([scale / 2, 0, 10**300], dtype=object))
    chart = charts(unit_layers(network), Polytope(A, b, Box(-1, 1)))[0]
    piece = compiled(chart)
    found = explore(piece, root(piece))
    assert {row.tobytes() for row in found.patterns} == true_patterns(chart)
    assert found.decided == 0  # floats do


def test_of_two_walls_that_floats_mistake_for_each_other_one_is_a_facet() -> None:
    """x >= 0 hides behind x >= 1e-5, which floats have found already; also at some distance."""
    network = chain(([[1], [1]], [0, -1e-5]), ([[1, 1]], [0]))
    of = piecewise(network, Box(-1, 1))
    one = Regions(np.array([[192]], np.uint8), np.zeros(1, int), np.array([[0.5]]), ())
    status = np.array([REDUNDANT, FACET, SHARED, FACET], dtype=np.uint8)
    assert settled(of.places[0], one, 0, Doubt(status, {}, None)) == [(1,), (3,)]
    status[3] = SHARED
    assert settled(of.places[0], one, 0, Doubt(status, {}, None)) == [(1,), (3,)]


# --- stopping -------------------------------------------------------------------------------------


def test_pauses_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    sizes = [(10, 3), (10, 10), (1, 10)]
    network = chain(*((random.normal(size=s).tolist(), random.normal(size=s[0]).tolist())
                      for s in sizes))
    piece = compiled(charts(unit_layers(network), Box(-1, 1))[0])
    whole = explore(piece, root(piece))
    monkeypatch.setattr(sys.modules[explore.__module__], "PAUSE", 1)
    asked: list[bool] = []
    paused = explore(piece, root(piece), stop=lambda: bool(asked.append(True)))
    assert len(asked) > whole.programs / 4 > 100
    for name in ("patterns", "points", "codes", "ids"):
        assert np.array_equal(getattr(whole, name), getattr(paused, name))
    with pytest.raises(Stopped):
        explore(piece, root(piece), stop=lambda: True)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_budget_of_seconds_holds_where_one_cell_takes_minutes(workers: int) -> None:
    random = np.random.default_rng(0)
    network = chain(
        (random.normal(size=(60, 500)).tolist(), random.normal(size=60).tolist()),
        (random.normal(size=(60, 60)).tolist(), random.normal(size=60).tolist()),
        (random.normal(size=(1, 60)).tolist(), [0]),
    )
    began = time.monotonic()
    for kind in ("activation", "affine"):
        found = iso.regions(
            network, on=Box(-1, 1), workers=workers, budget={"seconds": 0.5}, kind=kind
        )
        assert not found.complete and "0.5 seconds" in str(found.found.stopped)
        assert len(found.listed()) == found.count
    assert time.monotonic() - began < 20


def test_weights_beyond_the_doubles_are_refused_in_words() -> None:
    network = chain(([[1.0]], [0.5]), ([[1]], [0]))
    assert iso.regions(network, on=Box(-(10**300), 10**300), workers=1).count == 2
    with pytest.raises(Refused, match="largest double"):
        iso.regions(network, on=Box(-(10**400), 10**400), workers=1)


@pytest.mark.parametrize(("free", "kind"), [(0, DiskFull), (10**9, Refused)])
def test_a_full_disk_is_told_whatever_fails_first(
    free: int, kind: type[Refused], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=free))
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE
    with pytest.raises(Refused) as raised, plain_errors(Path("store")):
        raise error
    assert raised.type is kind


def test_steps_into_a_region_of_any_thinness() -> None:
    rows = [(0, 3), (1, -(2**6000))]  # 0 < u < 2^-6000
    zero, one = Exact.of([0]), Exact.of([1])
    assert steps_inside(rows, zero, one) == 6001
    assert steps_inside(rows, zero, -one) is None
    assert steps_inside([(0, 3)], zero, one) == 0
    assert steps_inside([(-1, 4), (2, -4)], zero, one) is None  # between 1/4 and 1/2, excluded
    assert steps_inside([(-1, 5), (2, -4)], zero, one) == 2
    assert steps_inside([(0, 0, 1)], Exact.of([0, 0]), Exact.of([1, 0])) is None
