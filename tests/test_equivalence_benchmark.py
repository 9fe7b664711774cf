# SPDX-License-Identifier: Apache-2.0
"""The equivalence benchmark asks what it says: its variants keep or change the function exactly."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import isoform as iso
import networks
from equivalence import families, run, variants

CHAIN = networks.random_chain((3, 6, 5, 2), 4)
HALF = Fraction(1, 2)
FLAT = networks.random_chain((3, 6, 2), 4)


def points(n: int, count: int = 20) -> iso.Exact:
    return iso.Exact.of(np.random.default_rng(n).integers(-64, 65, (n, count)) / 32)


def same(first: networks.Chain, second: networks.Chain, x: iso.Exact) -> bool:
    pair = [iso.evaluate_exact(networks.network(chain), x) for chain in (first, second)]
    return pair[0] == pair[1]


@pytest.mark.parametrize("change", [
    lambda chain: variants.reordered(chain, 1), lambda chain: variants.padded(chain, 2),
])
def test_rewritings_keep_the_function(change) -> None:
    made = change(CHAIN)
    assert same(CHAIN, made, points(3))
    assert networks.network(made).digest != networks.network(CHAIN).digest
    assert all(layer.weight.dtype == np.float32 for layer in made)


def test_the_deep_and_narrow_form_is_the_same_function() -> None:
    made = variants.deepened(FLAT)
    assert len(made) == 6 + 1 and {len(layer.bias) for layer in made[:-1]} == {2 * 3 + 1 + 2 * 2}
    assert same(FLAT, made, points(3))
    positive = variants.deepened(FLAT, positive=True)
    assert {len(layer.bias) for layer in positive[:-1]} == {3 + 1 + 2 * 2}
    above = iso.Exact.of(np.random.default_rng(0).integers(0, 65, (3, 20)) / 32)
    assert same(FLAT, positive, above) and not same(FLAT, positive, points(3))


@pytest.mark.parametrize("change", [
    variants.halved, variants.pruned, lambda chain: variants.perturbed(chain, 3),
    lambda chain: variants.moved(chain, np.ones((4, 3))),
])
def test_changes_change_a_little(change) -> None:
    made = change(CHAIN)
    assert not same(CHAIN, made, points(3))
    seen = variants.largest_seen(CHAIN, made, np.random.default_rng(0).uniform(-1, 1, (100, 3)))
    assert 0 < seen < 1


def test_a_tenth_of_the_weights_is_pruned() -> None:
    before, after = ([np.count_nonzero(layer.weight) for layer in chain]
                     for chain in (CHAIN, variants.pruned(CHAIN)))
    assert sum(after) == sum(before) - int(0.1 * sum(before))


def test_float_values_are_those_of_the_network() -> None:
    x = np.random.default_rng(1).uniform(-1, 1, (50, 3))
    assert np.allclose(variants.values(CHAIN, x), iso.evaluate(networks.network(CHAIN), x))
    corners = variants.sampled(np.zeros(3), np.ones(3))
    assert len(corners) == variants.POINTS + 8 and {0.0, 1.0} == set(np.unique(corners[-8:]))


@pytest.mark.parametrize("family", "ABCD")
def test_queries_are_the_same_again(family: str) -> None:
    """And what is expected is true of samples: equal pairs agree, known refutations are seen."""
    first, second = (list(families.FAMILIES[family](Path("absent"))) for _ in range(2))
    for one, again in zip(first, second, strict=True):
        assert (one.name, one.claim, one.asked) == (again.name, again.claim, again.asked)
        assert all(np.array_equal(a.weight, b.weight)
                   for a, b in zip(one.target, again.target, strict=True))
        low, high = (np.array(end.fractions(), dtype=float) for end in (one.box.low, one.box.high))
        seen = variants.largest_seen(one.source, one.target, variants.sampled(low, high))
        if one.claim == "equal" and one.expected == "proved":
            ends = (one.box.low, one.box.high, (one.box.low + one.box.high) * HALF)
            assert all(same(one.source, one.target, x.reshape(-1, 1)) for x in ends), one.name
        elif one.expected == "refuted":
            assert seen > max(float(one.asked.get("within", 0)), 1e-9), one.name
        else:
            assert seen <= float(next(iter(one.asked.values()))), one.name


def test_the_digits_are_read(tmp_path: Path) -> None:
    model = iso.read(families.HERE / "digits.npz")
    assert (model.network.dimension, model.network.output_dimension) == (64, 10)
    query = next(families.family_c(tmp_path))
    image = np.load(families.HERE / "digits_image.npy")
    assert np.all(np.array(query.box.low.fractions(), dtype=float) <= image)
    assert np.allclose(iso.evaluate(model, image), variants.values(query.source, image[None])[0])
    assert same(query.source, query.target, points(64))


def test_real_networks_are_read_as_chains(models: Path) -> None:
    query = next(families.family_e(models))
    network = iso.read(models / families.ACAS.format("1_1")).network
    assert same_values(network, networks.network(query.source))


def same_values(first: iso.Network, second: iso.Network) -> bool:
    x = np.random.default_rng(0).uniform(-0.5, 0.5, (20, 5))
    return np.allclose(iso.evaluate(first, x), iso.evaluate(second, x), atol=1e-9)


# --- the table --------------------------------------------------------------------------------


def test_a_query_is_measured(tmp_path: Path) -> None:
    chosen = list(run.queries("A", tmp_path, "2-16-16-1: equal"))
    assert len(chosen) == 4
    found = [run.measured(query, 2.0, "exact", tmp_path) for query in chosen]
    assert not any(one.wrong for one in found) and all(one.reached for one in found)
    assert all(one.bytes and one.check_seconds is not None for one in found)
    assert "0 WRONG; 4 of 4 known" in run.summary(found)
    assert len({len(str(one)) for one in found}) == 1


def test_a_wrong_verdict_is_marked(tmp_path: Path) -> None:
    query = next(run.queries("A", tmp_path, "permuted"))
    forged = run.measured(replace(query, expected="refuted"), 2.0, "exact", tmp_path)
    assert forged.wrong and "WRONG" in str(forged)
    unsure = replace(forged, sure=False)
    assert not unsure.wrong
    assert replace(unsure, note="the checker rejects").wrong


def test_a_crash_is_marked(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(iso, "prove", lambda *_, **__: 1 / 0)
    query = next(run.queries("A", tmp_path, ""))
    assert run.measured(query, 1.0, "exact", tmp_path).wrong
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_eps_is_written_with_two_digits() -> None:
    assert families.short(Fraction(123456, 10**8)) == Fraction(12, 10**4)


def test_without_real_networks_the_last_family_is_left_out(tmp_path: Path, capsys) -> None:
    assert list(run.queries("E", tmp_path, "")) == []
    assert "left out" in capsys.readouterr().err
