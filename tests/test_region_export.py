# SPDX-License-Identifier: Apache-2.0
"""Regions as files: what is read back is what was found."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isoform.errors import Refused
from isoform.network.charts import charts
from isoform.network.domain import Box, Everywhere
from isoform.network.evaluate import evaluate
from isoform.network.linear_map import Dense
from isoform.network.network import Builder, Network
from isoform.network.operators import Relu, Step
from isoform.network.unit_layers import unit_layers
from isoform.numerics.exact import Exact
from isoform.regions import export as exporting
from isoform.regions.enumeration import Enumeration, enumerate_regions
from isoform.regions.export import export
from isoform.regions.listing import Part, Task
from isoform.regions.memory import Memory


def small(step: bool = False) -> Network:
    """2 inputs, hidden layers of 5 and 4, a skip from the inputs, 2 outputs."""
    random = np.random.default_rng(8)
    build = Builder((2,))
    first = build.linear(Dense(random.standard_normal((5, 2))), 0, random.standard_normal(5) / 2)
    active = build.add(Step() if step else Relu(), (first,), 5)
    maps = [Dense(random.standard_normal((4, n))) for n in (2, 5)]
    second = build.linear(maps, (0, active), random.standard_normal(4) / 2)
    late = build.add(Relu(), (second,), 4)
    maps = [Dense(random.standard_normal((2, n))) for n in (2, 4)]
    return build.build(build.linear(maps, (0, late), random.standard_normal(2)))


def regions_of(network: Network, domain: Any) -> Enumeration:
    return enumerate_regions(charts(unit_layers(network), domain), workers=1)


def from_parquet(path: Path) -> dict[str, Any]:
    """The arrays that an npz holds, read from Parquet."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra `parquet` is not installed")
    table = parquet.read_table(path)
    facts = {key.decode().removeprefix("isoform."): value.decode()
             for key, value in table.schema.metadata.items() if key.startswith(b"isoform.")}
    d, m, n = int(facts["dimension"]), int(facts["outputs"]), len(table)
    patterns = np.frombuffer(b"".join(table["pattern"].to_pylist()), np.uint8).reshape(n, -1)
    fine = table["fine"].to_pylist()
    made = {
        "patterns": patterns, "points": np.array(table["point"].to_pylist()).reshape(n, d),
        "units": int(facts["units"]), "complete": facts["complete"] == "true",
        "fine": [i for i, texts in enumerate(fine) if texts is not None],
        "fine_points": [texts for texts in fine if texts is not None],
    }
    if m:
        made["maps"] = np.array(table["map"].to_pylist()).reshape(n, m, 1 + d)
    return made


def from_npz(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as folder:
        made = {name: folder[name] for name in folder.files}
    return made | {"fine": made["fine"].tolist(), "fine_points": made["fine_points"].tolist()}


READERS = {"npz": from_npz, "parquet": from_parquet}


@pytest.mark.parametrize("ending", READERS)
@pytest.mark.parametrize("step", [False, True])
def test_the_file_holds_patterns_points_and_maps(
    tmp_path: Path, ending: str, step: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several chunks; the maps give the network's values at the points."""
    if ending == "parquet":
        pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    monkeypatch.setattr(exporting, "ENTRIES", 200)
    network = small(step)
    domain = Box([-1, 0], [3, 2])
    found = regions_of(network, domain)
    path = tmp_path / f"regions.{ending}"
    export(found, path, unit_layers(network))
    read = READERS[ending](path)
    assert found.count > 10 and read["units"] == 9 and read["complete"] and read["fine"] == []
    assert np.array_equal(read["patterns"], found.patterns())
    points, maps = read["points"], read["maps"]
    assert np.array_equal(points, found.points() * [2, 1] + [1, 1])
    values = np.einsum("nij,nj->ni", maps, np.insert(points, 0, 1.0, axis=1))
    assert values == pytest.approx(np.asarray(evaluate(network, points)), abs=1e-12)
    assert maps.std(axis=0).max() > 0.1
    export(found, path)
    assert "maps" not in READERS[ending](path)


@pytest.mark.parametrize("ending", READERS)
def test_points_at_any_distance_and_exact_ones(tmp_path: Path, ending: str) -> None:
    """All of space: the witness of a chart is moved back to the inputs."""
    if ending == "parquet":
        pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    network = small()
    layers = unit_layers(network)
    parts = charts(layers, Everywhere())
    listing = Memory(9, 2, [Task(0, b""), Task(3, b"")])
    third = Exact.of([Fraction(-1, 3), Fraction(1, 7)])
    for chart, row in ((0, 6), (3, 9)):
        patterns = np.array([[row, 0], [row + 1, 0]], dtype=np.uint8)
        listing.enter([Part(Task(chart, b""), patterns, np.array([[-0.5, 0.5], [0.0, 0.0]]),
                            ((1, third),), (), None, None, 0, 0)], 0.0)
    found = Enumeration(4, True, None, 0.0, 0, 0, 0, 9, 2, parts, listing)
    path = tmp_path / f"regions.{ending}"
    export(found, path)
    read = READERS[ending](path)
    moved = [parts[chart].homogeneous(point).fractions()
             for chart in (0, 3) for point in (Exact.of(np.array([-0.5, 0.5])), third)]
    inputs = [[x / t for x in rest] for t, *rest in moved]
    assert read["points"].tolist() == [[float(x) for x in row] for row in inputs]
    assert max(abs(x) for row in inputs for x in row) > 1
    assert read["fine"] == [1, 3]
    assert [[Fraction(x) for x in row] for row in read["fine_points"]] == [inputs[1], inputs[3]]


def test_whole_space_points_have_their_patterns(tmp_path: Path) -> None:
    network = small()
    found = regions_of(network, Everywhere())
    export(found, tmp_path / "regions.npz")
    read = from_npz(tmp_path / "regions.npz")
    from isoform.regions.progress import float_patterns

    [box] = charts(unit_layers(network), Box([-1, -1], [1, 1]))
    assert np.array_equal(float_patterns(box, read["points"]), read["patterns"])
    assert np.abs(read["points"]).max() > 1.5


def test_other_endings_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    found = regions_of(small(), Box(-1, 1))
    with pytest.raises(Refused, match="npz or .parquet"):
        export(found, tmp_path / "regions.csv")
    assert list(tmp_path.iterdir()) == []
