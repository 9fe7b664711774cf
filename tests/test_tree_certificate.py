# SPDX-License-Identifier: Apache-2.0
"""Trees as evidence: what is so is accepted, what is not so is rejected."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from attack_claims import net
from isoform.certificate.certificate import Certificate, load, save
from isoform.certificate.check import check
from isoform.certificate.closing import Forms, Targets
from isoform.certificate.tree_evidence import Trees
from isoform.errors import CertificateRejected
from isoform.network.claim import (
    Arithmetic,
    Avoids,
    Claim,
    Equal,
    Forbidden,
    SameDecision,
    Within,
)
from isoform.network.domain import (
    Binary,
    Box,
    Domain,
    Everywhere,
    FiniteSet,
    Polytope,
    Sequences,
    Union,
)
from isoform.network.linear_map import Dense
from isoform.network.network import Builder, Network
from isoform.network.operators import Opaque, Relu, Step
from isoform.network.paired import Slots
from isoform.numerics.exact import Exact
from isoform.numerics.sparse import ExactSparse
from tree_claims import (
    ALONE,
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
    one_unit,
    place_union,
    proof_of,
    side,
    tree_with,
    true_claims,
    with_data,
)


def rejected(proof: Certificate, why: str) -> None:
    with pytest.raises(CertificateRejected, match=why):
        check(proof)


@pytest.mark.parametrize("which", range(5))
def test_true_claims_are_accepted(which: int, tmp_path: Path) -> None:
    _, source, target, claim = list(true_claims())[which]
    for seed in range(4):
        proof = proof_of(seed, source, target, claim)
        found = check(proof)
        assert found.holds and found.grade == "fixed"
        save(proof, tmp_path / "c.json")
        assert check(load(tmp_path / "c.json")).upper == found.upper


def test_the_upper_value_is_one() -> None:
    for seed in range(5):
        upper = check(proof_of(seed, F, G, WITHIN)).upper
        assert upper is not None and Fraction(1, 8) <= upper <= Fraction(1, 7)


@pytest.mark.parametrize("slots", [ALONE, ALONE[::-1], BESIDE])
def test_all_slots_prove_the_same(slots: tuple[Slots, ...]) -> None:
    assert accepted(proof_of(0, F, G, WITHIN, slots=slots))


# --- tampering ------------------------------------------------------------------------------------


def test_trees_that_are_none() -> None:
    proof = proof_of(1, F, G, WITHIN, slots=ALONE)
    data = data_of(proof)
    tree = data.trees[0]
    tokens, places = tree.tokens.tolist(), tree.places.tolist()
    assert len(tokens) > 1
    for bad, at in (
        ([], []), (tokens[:-1], places), (tokens[:1], places[:1]), ([*tokens, 0], places),
        ([*tokens, 4, 0, 0], [*places, 0]), (tokens, places[:-1]), (tokens, [*places, 0]),
        ([0, *tokens[1:]], places), ([9, *tokens[1:]], places), ([4, 0], [0]), ([0, 4, 0], [0]),
        ([0, 0, 4], [0]), ([4, 0, 0], [1]), ([4, 0, 0], [-1]), ([1, 0, 0], [2]), ([3, 0, 0], [-1]),
    ):
        rejected(with_data(proof, replace(data, trees=(tree_with(bad, at, tree),))), "tree|tokens|"
                 "split")


def test_places_that_are_not_there_though_nothing_is_needed_of_them() -> None:
    for tokens, place in (([1, 0, 0], -1), ([1, 0, 0], 1), ([4, 0, 0], -1), ([4, 0, 0], 1)):
        tree = tree_with(tokens, [place], leaf(0, 1))
        rejected(certificate(F, F, WITHIN, Trees(BESIDE, 40, (tree,))), "not there")
    good = tree_with([1, 0, 0], [0], leaf(0, 1))
    assert accepted(certificate(F, F, WITHIN, Trees(BESIDE, 40, (good,))))


def test_a_child_that_is_dropped() -> None:
    """[-1, 1] in halves: the sides below and above need different things, neither will do alone."""
    claim = Claim(Within(Fraction(3, 5)), BOX)
    f, g = one_unit(1, 0, 1), one_unit(-1, 0, 1)
    halves = Trees(ALONE, 40, (tree_with([4, 0, 0], [0], leaf(0, 1)),))
    rejected(certificate(f, g, claim, halves), "token 1 is not closed")
    for constant, token in ((-0.5, 2), (0.5, 1)):
        shifted = one_unit(-1, 0, 1, constant)
        one = Claim(Within((Fraction(1),)), BOX)
        wrong = Trees(ALONE, 40, (tree_with([4, 0, 0], [0], leaf(0, 1)),))
        assert not accepted(certificate(f, shifted, one, wrong)), token


def test_sets_and_parts_all_need_a_tree() -> None:
    assert accepted(certificate(F, F, WITHIN, Trees(BESIDE, 40, (leaf(0, 1),))))
    assert accepted(certificate(F, F, WITHIN, Trees(BESIDE, 40, (leaf(1), leaf(0)))))
    for trees in ((), (leaf(0),), (leaf(1),), (leaf(),), (leaf(0), leaf(0))):
        rejected(certificate(F, F, WITHIN, Trees(BESIDE, 40, trees)), "no tree closes")
    for bad in (leaf(2), leaf(-1), leaf(0, 1, part=1), leaf(0, 1, part=-1)):
        rejected(certificate(F, F, WITHIN, Trees(BESIDE, 40, (leaf(0, 1), bad))), "not there")
    wide = replace(WITHIN, domain=place_union())
    both = (leaf(0, 1), leaf(0, 1, part=1))
    assert accepted(certificate(F, F, wide, Trees(BESIDE, 40, both)))
    for trees in (both[:1], both[1:]):
        rejected(certificate(F, F, wide, Trees(BESIDE, 40, trees)), "no tree closes")


def test_arrays_of_other_types_are_no_trees() -> None:
    good = leaf(0, 1)
    for bad in (
        replace(good, sets=np.array([True, False])), replace(good, sets=np.array([0.0, 1.0])),
        replace(good, sets=np.array([[0, 1]])), replace(good, tokens=np.zeros(1, np.int8)),
        replace(good, places=np.zeros(0)), replace(good, part=False), replace(good, part=0.0),
    ):
        rejected(certificate(F, F, WITHIN, Trees(BESIDE, 40, (bad,))), "types|not there")


def test_slots_that_are_none() -> None:
    nobody, first = np.array([-1]), np.array([0])
    half = Exact.of(np.array([Fraction(1, 2)], dtype=object))
    for slots in (
        (), ALONE[:1], ALONE[1:], (*BESIDE, *BESIDE), (*BESIDE, *ALONE),
        (Slots(nobody, nobody, ONE), *BESIDE),
        (Slots(first, np.array([1]), ONE),), (Slots(np.array([-2]), first, ONE), ALONE[0]),
        (Slots(first, first, Exact.of([0])),), (Slots(first, first, -ONE),),
        (Slots(first, nobody, half), ALONE[1]), (Slots(first, first, Exact.of([1, 1])),),
        (Slots(np.array([0, 0]), np.array([0, -1]), Exact.of([1, 1])),),
        (Slots(np.zeros(0, np.int64), np.zeros(0, np.int64), Exact.zeros(0)), *BESIDE),
        (Slots(first.astype(float), first, ONE),), (Slots(first[None], first[None], ONE),),
    ):
        assert not accepted(certificate(F, F, WITHIN, Trees(slots, 40, (leaf(0, 1),))))


def test_units_stay_behind_what_they_read() -> None:
    twice = two_layers(1.0)
    swapped = (Slots(np.array([1]), np.array([1]), ONE), Slots(np.array([0]), np.array([0]), ONE))
    claim = Claim(Within(Fraction(1, 10)), BOX)
    rejected(certificate(twice, twice, claim, Trees(swapped, 40, (leaf(0, 1),))), "earlier layer")
    assert accepted(certificate(twice, twice, claim, Trees(swapped[::-1], 40, (leaf(0, 1),))))


def two_layers(weight: float) -> Network:
    build = Builder((1,))
    value = build.add(Relu(), (0,), 1)
    value = build.linear(Dense(np.array([[weight]])), value, np.array([-0.5]))
    value = build.add(Relu(), (value,), 1)
    return build.build(build.linear(Dense(np.array([[1.0]])), value))


@pytest.mark.parametrize("bits", [-1, 0, 7, 45, 64, 1 << 70])
def test_numbers_of_bits(bits: int) -> None:
    rejected(certificate(F, F, WITHIN, Trees(BESIDE, bits, (leaf(0, 1),))), "8 to 44")


def test_claims_that_became_false() -> None:
    for seed in range(6):
        proof = proof_of(seed, F, G, WITHIN)
        claim, least = proof.claim, Fraction(1, 8) - Fraction(1, 1 << 44)
        for forged in (
            replace(proof, claim=replace(claim, relation=Within(least))),
            replace(proof, claim=replace(claim, relation=Within(Fraction(1, 14)))),
            replace(proof, claim=replace(claim, relation=Equal())),
            replace(proof, claim=replace(claim, domain=Box([-1], [2]))),
            replace(proof, claim=replace(claim, domain=Everywhere())),
            replace(proof, claim=replace(claim, domain=Union((BOX, Box([5], [6]))))),
            replace(proof, claim=replace(claim, arithmetic=Arithmetic.FLOAT32,
                                         relation=Within(Fraction(1, 8)))),
            replace(proof, target=one_unit(1.25, 0.25, 1)),
            replace(proof, source=one_unit(1, 0.125, 1)),
            replace(proof, target=one_unit(1.125, 0.25, 1, 0.125)),
        ):
            assert not accepted(forged)


def test_the_domain_widened_by_a_little() -> None:
    """Within 1/8 + 2^-30 holds on [-1, 1] and fails a little beyond."""
    claim = Claim(Within(Fraction(1, 8) + Fraction(1, 1 << 30)), BOX)
    proof = proof_of(0, F, G, claim, bits=40, slots=BESIDE)
    assert accepted(proof)
    wider = replace(claim, domain=Box([-1], [1 + Fraction(1, 1 << 26)]))
    assert not accepted(replace(proof, claim=wider))


def test_source_and_target_swapped() -> None:
    """g - f >= 1/7 never happens, f - g <= -1/16 does."""
    claim = Claim(Avoids((side(1, 1, [0, -1, 1], Fraction(-1, 16), False),)), BOX)  # g <= f - 1/16
    proof = proof_of(0, F, G, claim)
    assert accepted(proof)
    swapped = replace(proof, source=G, target=F)
    data = data_of(proof)
    turned = tuple(Slots(s.target, s.source, Exact.of([1] * s.size)) for s in data.slots)
    assert not accepted(swapped)
    assert not accepted(with_data(swapped, replace(data, slots=turned)))


def test_strict_and_closed_rows_at_the_edge() -> None:
    """f = 0 everywhere: f <= 0 is met, f < 0 is not, f <= -2^-30 is not."""
    flat = one_unit(0, -1, 1)
    for bound, strict, holds in ((0, False, False), (Fraction(-1, 1 << 30), False, True),
                                 (Fraction(-1, 1 << 30), True, True), (1, True, False)):
        claim = Claim(Avoids((side(1, 1, [0, 1, 0], Fraction(bound), strict),)), BOX)
        data = Trees(BESIDE, 40, (leaf(0),))
        assert accepted(certificate(flat, flat, claim, data)) == holds


def test_sets_of_no_rows_are_never_closed() -> None:
    whole = Forbidden(Exact.zeros((0, 3)), Exact.zeros(0), ())
    claim = Claim(Avoids((whole,)), BOX)
    assert not accepted(certificate(F, F, claim, Trees(BESIDE, 40, (leaf(0),))))


@pytest.mark.parametrize("operator", [Step(), Opaque("cos")])
def test_functions_without_lines_are_refused(operator: object) -> None:
    odd = net([[1.0]], None, operator, after=[[1.0]])
    for source, target in ((odd, odd), (F, odd), (odd, F)):
        for slots in (BESIDE, ALONE):
            assert not accepted(
                certificate(source, target, Claim(Within(Fraction(100)), BOX),
                            Trees(slots, 40, (leaf(0, 1),)))
            )


@pytest.mark.parametrize("place", [
    Everywhere(), Union((BOX, Everywhere())), Sequences(1, Everywhere())
])
def test_domains_without_bounds_are_refused(place: Domain) -> None:
    data = Trees(BESIDE, 40, (leaf(0, 1), leaf(0, 1, part=1)))
    assert not accepted(certificate(F, F, Claim(Within(Fraction(1)), place), data))


@pytest.mark.parametrize("place", [
    Binary(1), FiniteSet([[-1], [1]]), Box([1], [1]), Box([Fraction(1, 3)], [Fraction(1, 3)]),
    Polytope([[1]], [Fraction(1, 2)], BOX), Sequences(1, BOX),
    Union((Box([0], [0]), Union((BOX, Binary(1))))),
])
def test_domains_of_all_kinds(place: Domain) -> None:
    """Within 1/7 holds on [-1, 1]; 1/16 fails at 1, and at no point of some of these."""
    assert accepted(proof_of(0, F, G, Claim(Within(Fraction(1, 7)), place)))
    far = replace(WITHIN, relation=Within(Fraction(1, 7)), domain=Union((place, Box([2], [2]))))
    assert evidence(np.random.default_rng(0), F, G, far) is None


def test_networks_without_hidden_layers_and_without_inputs_that_matter() -> None:
    place = Box([-1, -1], [1, 1])
    f, g = net([[1.0, 0.5], [0.0, 1.0]]), net([[1.0, 0.5], [0.125, 1.0]])
    for relation, holds in (
        (Within(Fraction(1, 7)), True), (Within((Fraction(1, 1000), Fraction(1, 7))), True),
        (Within(Fraction(1, 9)), False), (SameDecision(Fraction(1, 13)), True),
        (SameDecision(Fraction(1, 15)), False),
    ):
        data = evidence(np.random.default_rng(0), f, g, Claim(relation, place))
        assert (data is not None and accepted(certificate(f, g, Claim(relation, place), data))
                ) == holds
    flat, other = one_unit(0, -1, 1, 3.0), one_unit(0, 2, 0.5, 2.0)
    assert accepted(proof_of(0, flat, other, Claim(Within(Fraction(1, 1000)), BOX)))


def test_factors_that_change_the_function() -> None:
    """relu(x) and -relu(-x) would be one function if -1 could be taken out; 2 sigmoid(x) and
    sigmoid(2 x) if 2 could be taken out of a sigmoid."""
    claim = Claim(Within(Fraction(1, 100)), BOX)
    turned = one_unit(-1, 0, -1)
    for factor in (-ONE, Exact.of([-2])):
        slots = (Slots(np.array([0]), np.array([0]), factor),)
        data = Trees(slots, 40, (leaf(0, 1),))
        rejected(certificate(one_unit(1, 0, 1), turned, claim, data), "factor")
    curved = [net([[weight]], None, Opaque("sigmoid"), after=[[out]])
              for weight, out in ((1.0, 2.0), (2.0, 1.0))]
    slots = (Slots(np.array([0]), np.array([0]), Exact.of([2])),)
    rejected(certificate(*curved, claim, Trees(slots, 40, (leaf(0, 1),))), "factor")


def test_zero_closes_strict_rows_only() -> None:
    forms = Forms(Targets(ExactSparse.eye(2), ExactSparse.zeros((2, 0))), np.eye(2, dtype=bool),
                  np.array([True, False]))
    upper = np.array([-1, 0, 1])
    assert forms.closed(upper, np.zeros(3, dtype=np.int64)).tolist() == [True, True, False]
    assert forms.closed(upper, np.ones(3, dtype=np.int64)).tolist() == [True, False, False]


def test_negative_margins_stay_behind_a_softmax() -> None:
    """p = (0.05, 0.95) prefers 0 by -0.92, and so may g not prefer 1; a = (0, 3) prefers 0 by -3
    only, and 2 * -0.92 is more than that."""
    f, g = (net([[0.0], [0.0]], [0.0, last], Opaque("softmax", 2)) for last in (3.0, 1.0))
    data = Trees((), 40, (leaf(0, 1),))
    assert not accepted(certificate(f, g, Claim(SameDecision(Fraction(-92, 100)), BOX), data))
    same = Trees((), 40, (leaf(0, 1),))
    assert accepted(certificate(f, f, Claim(SameDecision(Fraction(1, 2)), BOX), same))
