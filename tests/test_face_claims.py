# SPDX-License-Identifier: Apache-2.0
"""Claims on polytopes by splitting: what holds there and not on the box; what is bent fails."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from equivalence import exact_truth
from isoform.certificate.certificate import Certificate, load, save
from isoform.certificate.check import check
from isoform.certificate.evidence import Counterexample, Evidence
from isoform.certificate.leaf_hints import Hints
from isoform.certificate.tree_evidence import Trees
from isoform.certificate.verdict import Proved, Refuted
from isoform.errors import CertificateRejected
from isoform.network.claim import Avoids, Claim, Forbidden, SameDecision, Within
from isoform.network.domain import Box, Domain, Polytope, Sequences, Union
from isoform.network.linear_map import Dense
from isoform.network.network import Builder, Network
from isoform.network.operators import Relu
from isoform.numerics.exact import Exact
from isoform.verify import ladder
from isoform.verify.prove import prove
from test_vnnlib_claims import FLAT, asked_of, forbidden_at, satisfied, small
from tree_claims import BESIDE, accepted, data_of, leaf, one_unit, proof_of, two_outputs, with_data


def chain(random: np.random.Generator, widths: tuple[int, ...]) -> list[tuple[np.ndarray, ...]]:
    """Layers of weights and biases in 64ths."""
    return [
        (random.integers(-64, 65, (b, a)) / 64, random.integers(-16, 17, b) / 64)
        for a, b in zip(widths, widths[1:], strict=False)
    ]


def network(layers: list[tuple[np.ndarray, ...]]) -> Network:
    build = Builder((layers[0][0].shape[1],))
    value = 0
    for number, (weight, bias) in enumerate(layers):
        value = build.linear(Dense(weight), value, bias)
        if number < len(layers) - 1:
            value = build.add(Relu(), (value,), len(weight))
    return build.build(value)


def near(random: np.random.Generator, layers: list[tuple[np.ndarray, ...]]) -> list:
    return [(w + random.integers(-4, 5, w.shape) / 512, b) for w, b in layers]


def tiny(layers: list[tuple[np.ndarray, ...]]) -> exact_truth.TinyNet:
    return [
        exact_truth.TinyLayer([[Fraction(v) for v in row] for row in w.tolist()],
                              [Fraction(v) for v in b.tolist()], number < len(layers) - 1)
        for number, (w, b) in enumerate(layers)
    ]


def simplex(d: int, total: float = 1.0, high: float = 1.0) -> Polytope:
    return Polytope(np.ones((1, d)), np.array([total]), Box([0] * d, [high] * d))


def truth(first: list, second: list, place: Polytope) -> Fraction:
    """The largest difference on a polytope, by its regions."""
    part = exact_truth.box(place.box.low.fractions(), place.box.high.fractions())
    d, A, b = place.A.shape[1], place.A.fractions(), place.b.fractions()
    for i, bound in enumerate(b):
        form = [bound, *(-v for v in A[i * d : i * d + d])]
        part = exact_truth.clipped(part, form, 2 * d + i)
    found = list(exact_truth.cells(part, tiny(first), tiny(second)))
    return max(exact_truth.largest_differences(found))


@pytest.fixture
def splitting_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other way to a proof than trees."""
    monkeypatch.setattr(ladder, "by_regions", lambda *_: None)


def trees_of(proof: Certificate) -> Trees:
    data = proof.evidence[0].data
    assert isinstance(data, Trees)
    return data


# --- what is so -----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 2, 4])
def test_the_exact_maximum_on_a_simplex(seed: int, splitting_alone: None) -> None:
    """Within a little more than the largest difference on the polytope: proved there, refuted on
    its box; within a little less: refuted on it too."""
    random = np.random.default_rng(seed)
    first = chain(random, (2, 6, 5, 1))
    second = near(random, first)
    place = simplex(2) if seed % 2 else Polytope(
        np.array([[1.0, 1.0], [-1.0, 0.5]]), np.array([1.0, 0.25]), Box([0, 0], [1, 1]))
    top = truth(first, second, place)
    whole = truth(first, second, Polytope(np.zeros((0, 2)), np.zeros(0), place.box))
    assert top < whole
    eps = top + (whole - top) / 20
    f, g = network(first), network(second)
    found = prove(f, g, Claim(Within(eps), place), timeout=60)
    assert isinstance(found, Proved) and top <= found.upper <= eps
    assert trees_of(found.certificate).faces and found.lower <= top
    assert isinstance(prove(f, g, Claim(Within(eps), place.box), timeout=60), Refuted)
    below = prove(f, g, Claim(Within(top * Fraction(999, 1000)), place), timeout=60)
    assert isinstance(below, Refuted)
    on_box = replace(found.certificate, claim=replace(found.claim, domain=place.box))
    assert not accepted(on_box)


def test_cuts_at_units_in_many_inputs(tmp_path: Path) -> None:
    """13 inputs that sum up to 1 at most: multiples of the row stand in the hints."""
    random = np.random.default_rng(2)
    first = chain(random, (13, 10, 2))
    second = near(random, first)
    f, g = network(first), network(second)
    found = prove(f, g, Claim(Within(Fraction(1, 35)), simplex(13)), timeout=120)
    assert isinstance(found, Proved)
    save(found.certificate, tmp_path / "c.json")
    proof = load(tmp_path / "c.json")
    assert check(proof).holds and trees_of(proof).faces
    hints = [tree.hints for tree in trees_of(proof).trees if tree.hints is not None]
    assert any(part.faces.any() for part in hints)


def test_decisions_and_properties_that_hold_on_the_polytope_only(splitting_alone: None) -> None:
    f, g = two_outputs(0.0), two_outputs(0.125)
    place = Polytope(np.array([[1.0]]), np.array([-0.25]), Box([-1], [1]))
    near_zero = Polytope(np.array([[1.0]]), np.array([-0.125]), Box([-1], [1]))
    assert isinstance(prove(f, g, Claim(SameDecision(), place), timeout=20), Proved)
    wide = prove(two_outputs(0.0), two_outputs(-0.5), Claim(SameDecision(), near_zero), timeout=20)
    assert isinstance(wide, Refuted)
    bad = Avoids((Forbidden(Exact.of([[0, 1, 0, 0, 0]]), Exact.of([Fraction(-1, 8)]), (False,)),))
    assert isinstance(prove(f, g, Claim(bad, place), timeout=20), Proved)


def test_unions_and_sequences_of_polytopes() -> None:
    random = np.random.default_rng(7)
    first = chain(random, (4, 6, 1))
    f, g = network(first), network(near(random, first))
    for place in (
        Union((simplex(4), Box([-1] * 4, [0] * 4), simplex(4, 0.5, 2.0))),
        Sequences(2, simplex(2)),
    ):
        found = prove(f, g, Claim(Within(Fraction(1, 10)), place), timeout=20)
        assert isinstance(found, Proved) and trees_of(found.certificate).faces


# --- queries --------------------------------------------------------------------------------------


def test_rows_about_inputs_that_all_branches_share_are_of_the_domain() -> None:
    """As rows of a polytope; strict ones stay with the forbidden outputs too."""
    rows = "(assert (and (<= X_0 1) (>= X_0 0) (<= X_1 1) (>= X_1 0)))"
    either = "(assert (or (>= Y_0 1) (and (<= (- X_0 X_1) 0.5) (<= Y_0 -1))))"
    for sign, left in (("<=", [1, 2]), ("<", [2, 3])):
        text = FLAT + rows + f"(assert ({sign} (+ X_0 X_1) 1))" + either
        asked = asked_of(text, small(2, 1, 0))
        place = asked.claim.domain
        assert isinstance(place, Polytope)
        assert place.A.fractions() == [1, 1] and place.b.fractions() == [1]
        assert [part.rows.shape[0] for part in asked.claim.relation.forbidden] == left
        random = np.random.default_rng(0)
        for _ in range(60):
            point = Exact.of(random.integers(0, 5, 2) / 4)
            inside, values = forbidden_at(asked, point)
            assert inside == satisfied(asked, values)
    one = asked_of(FLAT + rows + "(assert (or (and (<= (+ X_0 X_1) 1) (>= Y_0 1)) (<= Y_0 -1)))",
                   small(2, 1, 0))
    assert isinstance(one.claim.domain, Box)


# --- what is bent ---------------------------------------------------------------------------------

ROW = Polytope(np.array([[2.0]]), np.array([1.0]), Box([-1], [1]))  # x <= 1/2
F, G = one_unit(1, 0.25, 1), one_unit(1.125, 0.25, 1)  # apart by 1/16 at x = 1/2
CLAIM = Claim(Within(Fraction(1, 15)), ROW)


def test_rows_that_are_dropped_or_moved_are_missed() -> None:
    proof = proof_of(0, F, G, CLAIM, faces=True)
    assert accepted(proof)
    assert not accepted(with_data(proof, replace(data_of(proof), faces=False)))
    other: list[Domain] = [
        ROW.box, Polytope(np.zeros((0, 1)), np.zeros(0), ROW.box),
        Polytope(ROW.A, ROW.b + ROW.b, ROW.box), Polytope(-ROW.A, ROW.b, ROW.box),
        Polytope(ROW.A, Exact.of([Fraction(9, 8)]), ROW.box), Union((ROW, ROW.box)),
    ]
    for domain in other:
        assert not accepted(replace(proof, claim=replace(CLAIM, domain=domain)))
    tight = replace(CLAIM, relation=Within(Fraction(1, 16) - Fraction(1, 1 << 20)))
    assert not accepted(replace(proof, claim=tight))


def test_files_that_say_nothing_of_faces_are_about_the_box(tmp_path: Path) -> None:
    """What was written before rows took part is checked as it was."""
    claim = replace(CLAIM, relation=Within(Fraction(1, 7)))
    proof = proof_of(0, F, G, claim)
    save(proof, tmp_path / "c.json")
    assert '"faces"' not in (tmp_path / "c.json").read_text()
    again = load(tmp_path / "c.json")
    assert check(again).holds and not trees_of(again).faces
    save(proof_of(0, F, G, CLAIM, faces=True), tmp_path / "d.json")
    assert check(load(tmp_path / "d.json")).holds


def hinted(faces: list[float]) -> Certificate:
    """One leaf with a hint for its form g - f - eps."""
    table = np.array([faces], dtype=np.float32)
    hints = Hints(
        np.zeros(1, np.int32), np.zeros(1, np.int32), np.zeros(1, np.int64),
        np.zeros(0, np.int32), np.zeros(0, np.float32), np.full((1, 2), 255, np.uint8),
        np.zeros((1, 1), np.float32), table, np.zeros(1, np.int64), np.zeros(0, np.int32),
        np.zeros((0, 2), np.float32), np.zeros((0, 0), np.uint16),
    )
    base = proof_of(0, F, G, CLAIM, slots=BESIDE, faces=True)
    tree = replace(leaf(0, 1), hints=hints)
    return replace(base, evidence=(Evidence("e1", Trees(data_of(base).slots, 40, (tree,), True)),))


def test_bent_multiples_prove_nothing_false() -> None:
    """Negative, huge and wrong multiples: for a claim that is false none is accepted."""
    false = replace(CLAIM, relation=Within(Fraction(1, 17)))
    for value in (0.0, 0.1, 1.0, -1.0, -100.0, 1e3, 1e30, -1e30, np.inf, np.nan):
        assert not accepted(replace(hinted([value]), claim=false))
    for value in (np.inf, np.nan, -np.inf):
        with pytest.raises(CertificateRejected, match="no numbers"):
            check(hinted([value]))
    room = replace(CLAIM, relation=Within(Fraction(1, 4)))
    assert all(accepted(replace(hinted([v]), claim=room)) for v in (0.0, 1.0, -1.0))
    for table in ([], [0.0, 0.0]):
        with pytest.raises(CertificateRejected, match="another size"):
            check(hinted(table))
    wrong = hinted([0.0])
    hints = data_of(wrong).trees[0].hints
    assert hints is not None
    bad = replace(hints, faces=hints.faces.astype(np.float64))
    tree = replace(data_of(wrong).trees[0], hints=bad)
    with pytest.raises(CertificateRejected, match="float32"):
        check(with_data(wrong, replace(data_of(wrong), trees=(tree,))))


def test_whether_faces_take_part_is_yes_or_no() -> None:
    proof = proof_of(0, F, G, CLAIM, faces=True)
    with pytest.raises(CertificateRejected, match="faces"):
        check(with_data(proof, replace(data_of(proof), faces=1)))  # type: ignore[arg-type]


def test_a_polytope_without_points_makes_every_claim_true() -> None:
    """Two rows that contradict each other, and one that misses the box; but not one that touches
    it."""
    far = one_unit(-3, 0.25, 1)
    for A, b, empty in (
        ([[1.0], [-1.0]], [-0.5, 0.25], True), ([[1.0]], [-2.0], True), ([[0.0]], [-1.0], True),
        ([[1.0]], [-1.0], False), ([[1.0], [-1.0]], [0.25, -0.25], False), ([[0.0]], [0.0], False),
    ):
        place = Polytope(np.array(A), np.array(b), Box([-1], [1]))
        claim = Claim(Within(Fraction(1, 100)), place)
        base = proof_of(0, F, F, claim, faces=True)
        forged = replace(base, target=far)
        assert accepted(forged) == empty, (A, b)


def test_witnesses_outside_of_the_polytope_are_refused() -> None:
    claim = replace(CLAIM, relation=Within(Fraction(1, 17)))
    for point, holds in ((Fraction(1, 2), False), (Fraction(1, 2) + Fraction(1, 1 << 60), None)):
        witness = Counterexample(Exact.of([point]))
        proof = replace(proof_of(0, F, F, claim), target=G, evidence=(Evidence("e1", witness),))
        if holds is None:
            with pytest.raises(CertificateRejected):
                check(proof)
        else:
            assert check(proof).holds is holds
    found = prove(F, G, claim, timeout=10)
    assert isinstance(found, Refuted) and found.witness.point.item() <= Fraction(1, 2)
