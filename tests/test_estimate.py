# SPDX-License-Identifier: Apache-2.0
"""Estimates of the number of regions: right on average, with intervals that cover as they say."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import networks
from isoform.errors import DomainError
from isoform.network.charts import charts
from isoform.network.domain import Box, Domain, Polytope
from isoform.network.unit_layers import UnitLayers, unit_layers
from isoform.regions import estimate as module
from isoform.regions.compiled import Compiled, compiled
from isoform.regions.estimate import (
    RegionEstimate,
    Stages,
    descent,
    estimate_regions,
    exponential,
    next_step,
    summary,
)
from isoform.regions.leaf_prefixes import leaf_prefixes
from isoform.regions.splitting import Node, explore
from regions_oracle import read_layers


def prepared(layers: UnitLayers, domain: Domain | None = None) -> Compiled:
    (chart,) = charts(layers, domain or Box(-1, 1))
    return compiled(chart)


def random_network(*widths: int, seed: int = 0) -> Compiled:
    return prepared(unit_layers(networks.network(networks.random_chain(widths, seed, np.float64))))


def test_small_networks_are_counted(bench: Path) -> None:
    for name, count in (("degIdent_s0", 173), ("degNobias_s0", 52), ("degQuant_s0", 91)):
        found = estimate_regions(prepared(read_layers(bench / "regions" / f"{name}.npz")))
        assert found.exact and (found.low, found.regions, found.high) == (count,) * 3
        assert found.trusted and "nothing is estimated" in found.method


def test_descents_are_right_on_average(bench: Path) -> None:
    """The error of the mean is known from the spread; a bias of a tenth would show."""
    for name, count, runs in (("degQuant_s0", 91, 100), ("2-32-32-1_s0", 1254, 40)):
        stages = Stages(prepared(read_layers(bench / "regions" / f"{name}.npz")))
        found = np.array([
            float(descent(stages, 24, np.random.default_rng([0, seed]))) for seed in range(runs)
        ])
        error = found.std() / math.sqrt(len(found))
        assert 0 < error < 0.05 * count and abs(found.mean() - count) < 3.5 * error


def test_a_large_population_counts() -> None:
    network = random_network(2, 8, 6, 1)
    count = len(explore(network, Node()).patterns)
    assert descent(Stages(network), count, np.random.default_rng(0)) == count
    assert descent(Stages(network), count // 4, np.random.default_rng(0)) != count


def test_nodes_that_grow_too_much_are_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node left half grown goes on with all its open parts: nothing is lost or counted twice."""
    monkeypatch.setattr(module, "CROWD", 3)
    network = random_network(3, 9, 5, 1)
    count = len(explore(network, Node()).patterns)
    assert descent(Stages(network), count, np.random.default_rng(0)) == count


def test_the_interval_holds_a_known_count(bench: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COUNTED", 500)
    network = prepared(read_layers(bench / "regions" / "2-32-32-1_s0.npz"))
    rounds: list[RegionEstimate] = []
    found = estimate_regions(network, precision=0.25, seed=3, progress=rounds.append)
    assert not found.exact and found.low <= 1254 <= found.high and found.found >= 500
    assert found.high - found.low <= 0.5 * found.regions and rounds[-1] == found
    assert [r.population for r in rounds] == [32 * 2**i for i in range(len(rounds))]
    again = estimate_regions(network, precision=0.25, seed=3)
    assert again.replicas == found.replicas and len(found.replicas) == 8
    assert estimate_regions(network, precision=0.25, seed=4).replicas != found.replicas


def test_the_first_round_is_finished_in_any_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COUNTED", 10)
    found = estimate_regions(random_network(2, 16, 16, 1), seconds=0, precision=0)
    assert not found.exact and found.population == 32


def test_intervals_of_log_normal_samples_cover() -> None:
    random = np.random.default_rng(0)
    hits, runs, spread = 0, 400, 0.5
    for _ in range(runs):
        samples = [Fraction(v) for v in np.exp(random.normal(12 - spread**2 / 2, spread, 8))]
        found = summary(samples, 32, 1, 10**30, 0.0)
        hits += found.low <= math.exp(12) <= found.high
    assert 0.92 * runs <= hits <= 0.98 * runs


def test_an_interval_stays_within_what_is_certain() -> None:
    samples = [Fraction(v) for v in (10, 1000, 20, 3000, 50, 600, 7, 90)]
    free = summary(samples, 32, 1, 10**9, 0.0)
    held = summary(samples, 32, 300, 2000, 0.0)
    assert free.low < 300 and free.high > 2000
    assert held.low == 300 and held.high == 2000 and 300 <= held.regions <= 2000
    assert not free.trusted and "far apart" in free.method
    equal = summary([Fraction(64)] * 8, 32, 1, 10**9, 0.0)
    assert (equal.low, equal.regions, equal.high) == (64, 64, 64) and equal.trusted


def test_numbers_beyond_floats() -> None:
    assert exponential(0.0) == 1 and exponential(math.log(1e9)) in range(10**9 - 9, 10**9 + 9)
    assert abs(math.log(exponential(5000.0)) - 5000) < 1e-9


def test_the_step_follows_the_growth() -> None:
    assert next_step(4, 16.0) == 5  # doubling with every unit
    assert next_step(4, 1.0) == 16 and next_step(4, 0.0) == 16
    assert next_step(1, 1000.0) == 1


def test_prefixes_of_leaves() -> None:
    network = random_network(2, 8, 5, 1)
    whole = explore(network, Node())
    found = leaf_prefixes(whole.codes, b"", network.units)
    bits = np.array([list(prefix) for prefix in found], dtype=np.uint8)
    assert np.array_equal(np.packbits(bits & 1, axis=1), whole.patterns)
    for prefix in found[::7]:  # each is one region, and so is what remains below a part of it
        part = explore(network, Node(prefix))
        assert len(part.patterns) == 1 and part.patterns[0].tolist() == whole.patterns[
            found.index(prefix)].tolist()
    head = found[0][:6]
    below = leaf_prefixes(explore(network, Node(head)).codes, head, network.units)
    assert below == [prefix for prefix in found if prefix.startswith(head)]
    assert len(below) < len(found)
    for most in range(1, len(found)):
        part = explore(network, Node(), most=most)
        listed = leaf_prefixes(part.codes, b"", network.units)
        assert listed == found[: len(part.patterns)]


def test_leaves_that_are_empty_or_elsewhere() -> None:
    codes = np.array([0, 9, 1, 8, 4, 10], dtype=np.uint8)
    # split; the first child is empty; the other splits: its plus side by basis, its minus elsewhere
    assert leaf_prefixes(codes, b"", 3) == [bytes([3, 3, 0])]
    assert leaf_prefixes(np.array([0, 9], np.uint8), b"", 1) == [bytes([3])]
    assert leaf_prefixes(np.array([0, 11, 9], np.uint8), b"", 1) == [bytes([2])]


def test_the_first_units_alone(bench: Path) -> None:
    """Stopping within a layer gives the regions of the first units."""
    network = prepared(read_layers(bench / "regions" / "degQuant_s0.npz"))
    whole = np.unpackbits(explore(network, Node()).patterns, axis=1)
    for units in (1, 7, 16, 20):
        part = explore(Stages(network).until(units), Node()).patterns
        seen = np.unpackbits(part, axis=1)[:, :units]
        assert np.array_equal(np.unique(seen, axis=0), np.unique(whole[:, :units], axis=0))
        assert len(np.unique(seen, axis=0)) == len(seen)


def test_a_domain_without_interior_has_no_estimate() -> None:
    flat = Polytope(np.array([[1.0, 0.0], [-1.0, 0.0]]), np.zeros(2), Box([-1, -1], [1, 1]))
    network = unit_layers(networks.network(networks.random_chain((2, 4, 1), 0)))
    with pytest.raises(DomainError, match="no interior"):
        estimate_regions(prepared(network, flat))
