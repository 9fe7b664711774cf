# SPDX-License-Identifier: Apache-2.0
"""Trees that ask for too much, and trees of claims that are false by a little: none is accepted."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from attack_claims import net
from equivalence.judge import domain as domain_of
from equivalence.judge import network
from equivalence.tiny_pairs import TinyQuestion, question
from isoform.certificate.certificate import Certificate
from isoform.certificate.check import check
from isoform.certificate.tree_evidence import Split, Trees
from isoform.errors import CertificateRejected
from isoform.network.claim import Claim, SameDecision, Within
from isoform.network.domain import (
    Box,
    FiniteSet,
    Union,
)
from isoform.network.linear_map import Dense
from isoform.network.network import Builder, Network
from isoform.network.operators import Relu
from isoform.network.paired import Slots
from isoform.network.primitive import to_primitive
from tree_claims import (
    BESIDE,
    BOX,
    ONE,
    WITHIN,
    F,
    G,
    accepted,
    certificate,
    data_of,
    evidence,
    leaf,
    mutated,
    proof_of,
    tree_with,
    true_claims,
    two_outputs,
    with_data,
)


def rejected(proof: Certificate, why: str) -> None:
    with pytest.raises(CertificateRejected, match=why):
        check(proof)


# --- work -----------------------------------------------------------------------------------------


def test_small_files_that_ask_for_much() -> None:
    deep = [int(Split.SOURCE)] * 5000 + [0] * 5001
    wide = Union((BOX,) * (1 << 16))
    for claim, data, why in (
        (WITHIN, Trees(BESIDE, 40, (tree_with(deep, [0] * 5000, leaf(0, 1)),)), "deeper"),
        (replace(WITHIN, domain=wide), Trees(BESIDE, 40, (leaf(0, 1),)), "too many"),
    ):
        rejected(certificate(F, G, claim, data), why)
    huge = Trees(BESIDE, 40, (leaf(0, 1),) * ((1 << 17) + 1))
    rejected(certificate(F, F, WITHIN, huge), "too many")


def test_networks_that_ask_for_much() -> None:
    """A matrix of rank 1 between two narrow ends, and slots one behind the other."""
    build = Builder((9_000,))
    narrow = build.linear(Dense(np.ones((1, 9_000))), 0)
    unit = build.add(Relu(), (narrow,), 1)
    flat = build.build(unit)
    claim = Claim(Within(Fraction(1)), Box(-1, 1))
    rejected(certificate(flat, flat, claim, Trees(BESIDE, 40, (leaf(0, 1),))), "weights")
    build = Builder((2_000,))
    narrow = build.linear(Dense(np.ones((1, 2_000))), 0)
    wide = build.linear(Dense(np.ones((40_000, 1))), narrow)
    last = build.linear(Dense(np.ones((1, 40_000))), wide)
    grown = build.build(build.add(Relu(), (last,), 1))
    rejected(certificate(grown, grown, claim, Trees(BESIDE, 40, (leaf(0, 1),))), "weights")
    n = 12_000
    build = Builder((1,))
    value = build.add(Relu(), (build.linear(Dense(np.ones((n, 1))), 0),), n)
    broad = build.build(build.linear(Dense(np.ones((1, n))), value))
    numbers = np.arange(n)
    rows = tuple(Slots(numbers[i : i + 1], numbers[i : i + 1], ONE) for i in range(n))
    rejected(certificate(broad, broad, claim, Trees(rows, 40, (leaf(0, 1),))), "weights")


def test_decisions_between_many_outputs_are_too_many() -> None:
    many = net(np.ones((600, 1)))
    data = Trees((), 40, (leaf(0),))
    rejected(certificate(many, many, Claim(SameDecision(Fraction(1)), BOX), data), "too many")


def test_bounds_beyond_the_largest_number_are_no_contradiction() -> None:
    """With 44 bits numbers end at 256; a unit that stays below -256 is not one that cannot be."""
    def far(weight: float) -> Network:
        build = Builder((1,))
        value = build.linear(Dense(np.array([[1.0]])), 0, np.array([200.0]))
        value = build.add(Relu(), (value,), 1)
        value = build.linear(Dense(np.array([[-1.0]])), value, np.array([-200.0]))
        value = build.add(Relu(), (value,), 1)
        maps = [Dense(np.array([[1.0]])), Dense(np.array([[weight]]))]
        return build.build(build.linear(maps, (value, 0)))

    numbers = [np.array([0]), np.array([1])]
    slots = tuple(Slots(unit, unit, ONE) for unit in numbers)
    for weight in (0.5, 1.0):
        claim = Claim(Within(Fraction(1, 1000)), BOX)
        forged = certificate(far(1.0), far(weight), claim, Trees(slots, 44, (leaf(0, 1),)))
        rejected(forged, "too large")


# --- false by a little ----------------------------------------------------------------------------


def near_miss(asked: TinyQuestion, random: np.random.Generator) -> tuple[Claim, Claim] | None:
    """A claim that holds with room, and one that is false by a little, about the same pair."""
    place = domain_of(asked.place)
    if isinstance(place, FiniteSet) or not asked.largest:
        return None
    room = asked.largest * Fraction(int(random.integers(1, 9)), 8)
    below = asked.largest * (1 - Fraction(1, 1 << int(random.choice([4, 12, 24, 34]))))
    kind = SameDecision if asked.asking.kind == "decision" else Within
    return Claim(kind(asked.largest + room), place), Claim(kind(below), place)


def campaign(seed: int, pairs: int, changes: int) -> tuple[int, int]:
    """Trees of true claims, as they are and with one to three changes, for claims that are false
    by a little: none is accepted. Returns how many trees and how many changed ones there were."""
    proofs = tried = 0
    for number in range(pairs):
        random = np.random.default_rng((seed, number))
        asked = question(seed, number)
        made = near_miss(asked, random)
        if made is None:
            continue
        source, target = (to_primitive(network(net)) for net in (asked.source, asked.target))
        data = evidence(random, source, target, made[0], int(random.choice([16, 28, 40])),
                        faces=number % 2 == 1)
        if data is None:
            continue
        proof = certificate(source, target, made[0], data)
        assert accepted(proof), f"{seed}:{number} is true"
        proofs += 1
        false = replace(proof, claim=made[1])
        assert not accepted(false), f"{seed}:{number}"
        assert not accepted(with_data(false, replace(data, faces=not data.faces)))
        for _ in range(changes):
            bent = data
            for _ in range(int(random.integers(1, 4))):
                bent = mutated(random, bent)
            assert not accepted(with_data(false, bent)), f"{seed}:{number}: {bent}"
            tried += 1
    return proofs, tried


def test_false_claims_are_never_accepted() -> None:
    proofs, tried = campaign(0, 90, 16)
    assert proofs > 20 and tried >= 400


@pytest.mark.slow
def test_false_claims_are_never_accepted_in_ten_thousand() -> None:
    proofs, tried = campaign(1, 1500, 25)
    assert proofs > 200 and tried >= 9_000


def test_changes_of_true_claims_are_accepted_or_rejected() -> None:
    """Nothing else can happen to a certificate of a true claim: no crash, no other verdict."""
    answers = set()
    for seed, (_, source, target, claim) in enumerate(true_claims()):
        random = np.random.default_rng(seed)
        proof = proof_of(seed, source, target, claim)
        for _ in range(60):
            answers.add(accepted(with_data(proof, mutated(random, data_of(proof)))))
    assert answers == {True, False}


def test_two_outputs_decide_by_the_margin() -> None:
    claim = Claim(SameDecision(Fraction(1, 8) - Fraction(1, 1 << 30)), BOX)
    f, g = two_outputs(0.0), two_outputs(0.125)
    proof = proof_of(0, f, g, replace(claim, relation=SameDecision(Fraction(1, 7))))
    assert not accepted(replace(proof, claim=claim))
    assert not accepted(replace(proof, claim=replace(claim, relation=SameDecision())))
