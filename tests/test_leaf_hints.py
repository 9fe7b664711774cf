# SPDX-License-Identifier: Apache-2.0
"""Cuts at units with hints from linear programmes: found, re-derived, and never believed."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

import networks
from isoform.certificate.certificate import Certificate, load, save
from isoform.certificate.check import check
from isoform.certificate.leaf_hints import Hints
from isoform.certificate.tree import Rows, parts_of
from isoform.certificate.tree_evidence import Split, Tree, Trees
from isoform.certificate.verdict import Proved
from isoform.errors import CertificateRejected
from isoform.network.claim import Claim, Within, forbidden_sets
from isoform.network.domain import Box, bound_to
from isoform.network.evaluate import evaluate
from isoform.network.network import Network
from isoform.network.unit_layers import unit_layers
from isoform.verify.alignment import aligned
from isoform.verify.hints import gathered, scattered
from isoform.verify.programs import Programs
from isoform.verify.prove import prove
from isoform.verify.traced import Traced

D, M = 16, 3
DOMAIN = bound_to(Box(-1, 1), D)


def pair(widths: tuple[int, ...] = (D, 10, M), seed: int = 1) -> tuple[Network, Network]:
    """A network and its copy in half precision."""
    chain = networks.random_chain(widths, seed)
    halved = tuple(
        networks.replace(layer, weight=layer.weight.astype(np.float16).astype(np.float32),
                         bias=layer.bias.astype(np.float16).astype(np.float32))
        for layer in chain
    )
    return networks.network(chain), networks.network(halved)


def sampled(first: Network, second: Network) -> float:
    points = np.random.default_rng(0).choice([-1.0, 1.0], (D, 20_000))
    return float(np.abs(evaluate(first, points.T) - evaluate(second, points.T)).max())


@pytest.fixture(scope="module")
def proof() -> Certificate:
    first, second = pair()
    eps = Fraction(sampled(first, second) * 1.15).limit_denominator(10**6)
    verdict = prove(first, second, Claim(Within(eps), DOMAIN), timeout=60)
    assert isinstance(verdict, Proved)
    return verdict.certificate


def trees_of(certificate: Certificate) -> Trees:
    data = certificate.evidence[0].data
    assert isinstance(data, Trees)
    return data


def changed(certificate: Certificate, **parts: np.ndarray) -> Certificate:
    """The certificate with other arrays in the hints of its first tree that has any."""
    data = trees_of(certificate)
    trees = list(data.trees)
    at = max(range(len(trees)), key=lambda i: multiples(trees[i]))
    hints = trees[at].hints
    assert hints is not None
    trees[at] = replace(trees[at], hints=replace(hints, **parts))
    item = replace(certificate.evidence[0], data=replace(data, trees=tuple(trees)))
    return replace(certificate, evidence=(item,))


def multiples(tree: Tree) -> int:
    return -1 if tree.hints is None else len(tree.hints.added)


def first_hints(certificate: Certificate) -> Hints:
    hints = max(trees_of(certificate).trees, key=multiples).hints
    assert hints is not None and len(hints.added)
    return hints


def test_cuts_at_units_are_proved_and_re_derived(proof: Certificate, tmp_path) -> None:
    trees = trees_of(proof).trees
    assert any(Split.SOURCE in tree.tokens for tree in trees)
    assert any(tree.hints is not None for tree in trees)
    save(proof, tmp_path / "c.json")
    accepted = check(load(tmp_path / "c.json"))
    assert accepted.holds and accepted.grade == "fixed"


def test_hints_are_not_believed(proof: Certificate) -> None:
    """Other hints may only fail to close a leaf; an eps below the truth is never accepted."""
    hints = first_hints(proof)
    rng = np.random.default_rng(3)
    small = sampled(proof.source, proof.target) * 0.999
    claim = replace(proof.claim, relation=Within(Fraction(small)))
    outcomes = set()
    for _ in range(30):
        other = changed(
            proof, added=hints.added * rng.normal(1, 2, hints.added.shape).astype(np.float32),
            low=rng.integers(0, 256, hints.low.shape).astype(np.uint8),
            beside=(hints.beside * rng.normal(1, 3, hints.beside.shape)).astype(np.float32),
        )
        with pytest.raises(CertificateRejected):
            check(replace(other, claim=claim))
        try:
            outcomes.add(check(other).holds)
        except CertificateRejected:
            outcomes.add(False)
    assert False in outcomes


@pytest.mark.parametrize("name", ["leaves", "forms", "ends", "places", "added", "low", "beside"])
def test_malformed_hints_are_rejected(proof: Certificate, name: str) -> None:
    part = getattr(first_hints(proof), name)
    for bad in (part[:-1], part.astype(np.float64), np.concatenate((part, part))):
        with pytest.raises(CertificateRejected):
            check(changed(proof, **{name: bad}))


def test_hints_that_are_no_numbers_or_point_nowhere_are_rejected(proof: Certificate) -> None:
    hints = first_hints(proof)
    for name, value in (("beside", np.nan), ("added", np.inf), ("beside", 1e30),
                        ("forms", 10_000), ("forms", -1), ("leaves", 10_000)):
        part = getattr(hints, name).copy()
        if part.size:
            part[0] = value
            with pytest.raises(CertificateRejected):
                check(changed(proof, **{name: part}))
    without = {"leaves": hints.leaves[:0], "forms": hints.forms[:0], "ends": hints.ends[:0],
               "places": hints.places[:0], "added": hints.added[:0], "low": hints.low[:0],
               "beside": hints.beside[:0], "faces": hints.faces[:0]}
    with pytest.raises(CertificateRejected, match="not closed"):
        check(changed(proof, **without))


@pytest.mark.parametrize("widths", [(D, 8, M), (D, 7, 6, M)])
def test_passes_with_hints_reach_the_value_of_the_programme(widths: tuple[int, ...]) -> None:
    first, second = pair(widths, 5)
    sets = forbidden_sets(Within(Fraction(1, 10**6)), D, M)
    layers = unit_layers(first), unit_layers(second)
    part = next(iter(parts_of(first, second, DOMAIN, sets, aligned(*layers, DOMAIN, 0))))
    bounds = Traced(part.pair)
    rows, programs = Rows(bounds, part.forms), Programs(bounds)
    rng = np.random.default_rng(0)
    ends = np.ones((1, D))
    for trial in range(6):
        boxes = bounds.whole(-ends, ends)
        for unit in rng.choice(bounds.units, trial // 2, replace=False):
            boxes.signs[0, unit, 0] = rng.choice([-1, 1])
        boxes, lines, empty = bounds.settle(boxes)
        if empty[0]:
            continue
        found = programs.hinted(boxes, lines, 0, trial % len(sets), rows, None)
        plain = rows.upper(boxes, lines, np.array([0]), np.array([trial % len(sets)]))[0]
        solved = programs.solve(boxes, lines, 0, rows.p[trial % len(sets)],
                                rows.q[trial % len(sets)])
        assert solved is not None and found.value <= plain + 1e-9
        assert found.value == pytest.approx(solved.value, rel=1e-3, abs=1e-7)


def test_hints_are_gathered_and_scattered(proof: Certificate) -> None:
    hints = first_hints(proof)
    again = gathered(scattered(hints))
    for name in ("leaves", "forms", "ends", "places", "added", "low", "beside"):
        assert np.array_equal(getattr(again, name), getattr(hints, name))
