# SPDX-License-Identifier: Apache-2.0
"""Cuts at units with hints from linear programmes: found, re-derived, and never believed."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

import networks
from isoform.certificate.arrays import Arrays
from isoform.certificate.certificate import Certificate, load, save
from isoform.certificate.check import check
from isoform.certificate.leaf_hints import KINDS, LATER, Hints, encode_hints
from isoform.certificate.tree import Rows, parts_of
from isoform.certificate.tree_evidence import Split, Tree, Trees
from isoform.certificate.verdict import Proved, Refuted
from isoform.errors import CertificateRejected
from isoform.network.claim import Claim, Within, forbidden_sets
from isoform.network.domain import Box, bound_to
from isoform.network.evaluate import evaluate
from isoform.network.network import Network
from isoform.network.unit_layers import unit_layers
from isoform.verify.alignment import aligned
from isoform.verify.hints import gathered, scattered
from isoform.verify.phase_programs import phase_programs
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
    first, second = pair(seed=2)
    eps = Fraction(sampled(first, second) * 1.12).limit_denominator(10**6)
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
    assert hints is not None and len(hints.added) and len(hints.phase_slots)
    return hints


def test_cuts_at_units_are_proved_and_re_derived(proof: Certificate, tmp_path) -> None:
    trees = trees_of(proof).trees
    assert any(np.isin(tree.tokens, (Split.SOURCE, Split.TARGET)).any() for tree in trees)
    assert any(tree.hints is not None and len(tree.hints.phase_slots) for tree in trees)
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
            low=rng.integers(0, 1 << 16, hints.low.shape).astype(np.uint16),
            prices=(hints.prices * rng.exponential(1, hints.prices.shape)).astype(np.float32),
            shares=rng.integers(0, 1 << 16, hints.shares.shape).astype(np.uint16),
            beside=(hints.beside * rng.normal(1, 3, hints.beside.shape)).astype(np.float32),
        )
        with pytest.raises(CertificateRejected):
            check(replace(other, claim=claim))
        try:
            outcomes.add(check(other).holds)
        except CertificateRejected:
            outcomes.add(False)
    assert False in outcomes


@pytest.mark.parametrize("name", [name for name, _, _ in KINDS])
def test_malformed_hints_are_rejected(proof: Certificate, name: str) -> None:
    part = getattr(first_hints(proof), name)
    for bad in (part[:-1], part.astype(np.float64), np.concatenate((part, part))):
        with pytest.raises(CertificateRejected):
            check(changed(proof, **{name: bad}))


def test_hints_that_are_no_numbers_or_point_nowhere_are_rejected(proof: Certificate) -> None:
    hints = first_hints(proof)
    for name, value in (("beside", np.nan), ("added", np.inf), ("beside", 1e30),
                        ("forms", 10_000), ("forms", -1), ("leaves", 10_000),
                        ("prices", -1e-9), ("prices", np.nan), ("prices", np.inf),
                        ("phase_slots", -1), ("phase_slots", 10_000), ("phase_ends", -1)):
        part = getattr(hints, name).copy()
        if part.size:
            part.reshape(-1)[0] = value
            with pytest.raises(CertificateRejected):
                check(changed(proof, **{name: part}))
    without = {name: getattr(hints, name)[:0] for name, _, _ in KINDS}
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


def test_a_slot_in_both_phases_twice_is_rejected(proof: Certificate) -> None:
    """Counted twice, a negative bound would be half of it too low."""
    hints = first_hints(proof)
    slots = hints.phase_slots.copy()
    leaf = np.repeat(np.arange(len(hints.phase_ends)), np.diff([0, *hints.phase_ends]))
    at = int(np.flatnonzero(np.diff(leaf) == 0)[0])
    for pair_of_slots in ((slots[at], slots[at]), (slots[at + 1], slots[at])):
        bad = slots.copy()
        bad[at : at + 2] = pair_of_slots
        with pytest.raises(CertificateRejected, match="twice"):
            check(changed(proof, phase_slots=bad))


def test_hints_without_phases_are_read_as_before(proof: Certificate, tmp_path) -> None:
    """Certificates that know nothing of phases stay readable; these ones close less."""
    hints = first_hints(proof)
    none = {"phase_ends": hints.phase_ends * 0, "phase_slots": hints.phase_slots[:0],
            "prices": hints.prices[:0], "shares": hints.shares[:0]}
    record = encode_hints(replace(hints, **none), Arrays())
    assert record is not None and not set(record) & set(LATER)
    save(changed(proof, **none), tmp_path / "old.json")
    assert "not closed" in rejection(load(tmp_path / "old.json"))


def rejection(certificate: Certificate) -> str:
    with pytest.raises(CertificateRejected) as caught:
        check(certificate)
    return str(caught.value)


def test_boxes_without_points_are_found_empty_by_their_passes() -> None:
    """Where no point fits, the duals use both lines of a unit at once; the pass still reaches what
    they promise, and slopes are fine enough for large multiples."""
    first, second = pair((D, 10, 6, M), 1)
    sets = forbidden_sets(Within(Fraction(1, 100)), D, M)
    layers = unit_layers(first), unit_layers(second)
    part = next(iter(parts_of(first, second, DOMAIN, sets, aligned(*layers, DOMAIN, 0))))
    bounds = Traced(part.pair)
    rows, programs = Rows(bounds, part.forms), Programs(bounds)
    rng, ends, emptied = np.random.default_rng(1), np.ones((1, D)), 0
    for _ in range(60):
        boxes = bounds.whole(-ends, ends)
        units = rng.choice(bounds.units, 9, replace=False)
        boxes.signs[0, units, 0] = rng.choice([-1, 1], 9)
        boxes, lines, empty = bounds.settle(boxes)
        solved = programs.solve(boxes, lines, 0, rows.p[0], rows.q[0])
        if empty[0] or solved is None or solved.value > -1:
            continue
        emptied += 1
        assert programs.hinted(boxes, lines, 0, 0, rows, None).value < 0
    assert emptied > 2


@pytest.mark.slow
def test_two_hidden_layers_are_decided() -> None:
    first, second = pair((D, 10, 6, M), 1)
    near = sampled(first, second)
    verdict = prove(first, second, Claim(Within(Fraction(near * 1.4)), DOMAIN), timeout=120)
    assert isinstance(verdict, Proved) and check(verdict.certificate).holds
    half = prove(first, second, Claim(Within(Fraction(near / 2)), DOMAIN), timeout=60)
    assert isinstance(half, Refuted)


@pytest.mark.parametrize("widths", [(D, 8, M), (D, 7, 6, M)])
def test_programmes_with_phases_say_more(widths: tuple[int, ...]) -> None:
    """The pass reaches nearly the value of the programme, and lies below that of plain lines."""
    first, second = pair(widths, 5)
    sets = forbidden_sets(Within(Fraction(1, 10**6)), D, M)
    layers = unit_layers(first), unit_layers(second)
    part = next(iter(parts_of(first, second, DOMAIN, sets, aligned(*layers, DOMAIN, 0))))
    bounds = Traced(part.pair)
    rows, programs, phased = Rows(bounds, part.forms), Programs(bounds), phase_programs(bounds)
    assert phased is not None
    ends = np.ones((1, D))
    boxes, lines, _ = bounds.settle(bounds.whole(-ends, ends))
    better = []
    for form in range(len(sets)):
        plain = programs.hinted(boxes, lines, 0, form, rows, None)
        found = phased.hinted(boxes, lines, 0, form, rows, None)
        solved = phased.solve(boxes, lines, 0, rows.p[form], rows.q[form])
        assert solved is not None
        assert found.value == pytest.approx(solved.value, rel=0.05, abs=1e-5)
        better.append(found.value / plain.value)
    assert max(better) < 1 and np.median(better) < 0.9


def test_hints_are_gathered_and_scattered(proof: Certificate) -> None:
    hints = first_hints(proof)
    again = gathered(scattered(hints))
    for name, _, _ in KINDS:
        assert np.array_equal(getattr(again, name), getattr(hints, name))
