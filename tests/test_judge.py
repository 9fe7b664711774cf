# SPDX-License-Identifier: Apache-2.0
"""The prover against exact enumeration on random tiny pairs; and the judge, judged itself."""

from __future__ import annotations

import random
from dataclasses import replace
from fractions import Fraction
from itertools import product
from types import SimpleNamespace

import pytest

import isoform as iso
from equivalence import judge
from equivalence.exact_truth import (
    TinyLayer,
    TinyNet,
    at,
    box,
    cells,
    clipped,
    decision_kept,
    largest_differences,
    lost_margin,
    value_at,
)
from equivalence.tiny_pairs import Asking, Place, TinyQuestion, question, violated

HALF = Fraction(1, 2)


def numbers(rows: list[list[str]]) -> list[list[Fraction]]:
    return [[Fraction(x) for x in row] for row in rows]


def net(*layers: tuple[list[list[str]], list[str]]) -> TinyNet:
    """ReLU between, the last layer linear."""
    return [TinyLayer(numbers(weight), numbers([bias])[0], i < len(layers) - 1)
            for i, (weight, bias) in enumerate(layers)]


# --- the prover -----------------------------------------------------------------------------------


def test_no_verdict_is_wrong_on_random_pairs() -> None:
    found = list(judge.judgements(range(300), seed=20, timeout=0.2))
    assert [(one.number, one.wrong) for one in found if one.wrong] == []
    assert len({one.kind for one in found}) == 4
    assert sum(one.answer == "Proved" for one in found) > 100
    assert sum(one.answer == "Refuted" for one in found) > 30
    assert len(judge.table(found).splitlines()) == 9


def test_a_question_is_the_same_again() -> None:
    assert question(3, 5) == question(3, 5) != question(3, 6)
    first, second = (judge.network(question(3, 5).source) for _ in range(2))
    assert first.digest == second.digest


# --- what the judge says of wrong verdicts --------------------------------------------------------


def verdict_of(asked: TinyQuestion) -> iso.Proved | iso.Refuted | iso.Undecided:
    return iso.prove(judge.network(asked.target), equal_to=judge.network(asked.source),
                     on=judge.domain(asked.place), timeout=0.2, **judge.relation(asked.asking))


@pytest.fixture(scope="module")
def different() -> TinyQuestion:
    """|x| and 1 on [-1, 2]: they differ by 1 at most."""
    bent = net(([["1"], ["-1"]], ["0", "0"]), ([["1", "1"]], ["0"]))
    flat = net(([["0"]], ["1"]), ([["1"]], ["0"]))
    place = Place(boxes=(([Fraction(-1)], [Fraction(2)]),))
    return TinyQuestion("", bent, flat, place, Asking("within", (HALF,)), False, Fraction(1))


def test_the_truth_of_the_example(different: TinyQuestion) -> None:
    found = [cell for part in different.place.parts()
             for cell in cells(part, different.source, different.target)]
    assert largest_differences(found) == [Fraction(1)]
    assert len(found) == 2


def test_false_verdicts_are_called_wrong(different: TinyQuestion) -> None:
    refuted = verdict_of(different)
    assert isinstance(refuted, iso.Refuted)
    assert list(judge.faults(different, refuted)) == []
    assert any("WRONG" in what for what in judge.faults(replace(different, true=True), refuted))
    wider = replace(different, asking=Asking("within", (Fraction(1),)))
    assert any("contradicts nothing" in what for what in judge.faults(wider, refuted))
    proved = verdict_of(replace(different, asking=Asking("within", (Fraction(4),))))
    assert isinstance(proved, iso.Proved)
    assert any("WRONG" in what for what in judge.faults(different, proved))
    assert any("below the truth" in what for what in judge.faults(
        replace(different, true=True, largest=Fraction(100)), proved))
    assert any("above the truth" in what for what in judge.faults(
        replace(different, largest=Fraction(0)), refuted))


def test_forged_claims_are_false_and_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checker that accepts everything is found out by them."""
    tried = 0
    for number in range(60):
        asked = question(11, number)
        verdict = verdict_of(asked)
        if isinstance(verdict, iso.Proved):
            tried += len(list(judge.forgeries(asked, verdict.certificate)))
            assert list(judge.accepted_forgeries(asked, verdict.certificate)) == []
            with monkeypatch.context() as planted:
                planted.setattr(iso, "check", lambda _: verdict_like(holds=True))
                found = list(judge.accepted_forgeries(asked, verdict.certificate))
                assert len(found) == len(list(judge.forgeries(asked, verdict.certificate)))
    assert tried > 30


def verdict_like(holds: bool) -> SimpleNamespace:
    return SimpleNamespace(holds=holds)


def test_a_crash_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(iso, "prove", broken)
    (one,) = judge.judgements([0], seed=0, timeout=1)
    assert one.answer == "crash" and "planted" in one.wrong[0]


# --- the enumeration ------------------------------------------------------------------------------


def test_a_cube_is_cut_to_a_simplex_and_to_a_face() -> None:
    cube = box([Fraction(0)] * 3, [Fraction(1)] * 3)
    assert len(cube) == 8
    corner = clipped(cube, [Fraction(1), *[Fraction(-1)] * 3], 6)  # x + y + z <= 1
    assert {vertex for vertex, _ in corner} == {
        (1, 0, 0, 0), (1, 1, 0, 0), (1, 0, 1, 0), (1, 0, 0, 1)
    }
    hexagon = clipped(clipped(cube, [-3 * HALF, *[Fraction(1)] * 3], 6),
                      [3 * HALF, *[Fraction(-1)] * 3], 7)
    assert len(hexagon) == 6
    face = clipped(cube, [Fraction(-1), Fraction(1), Fraction(0), Fraction(0)], 6)  # x >= 1
    assert len(face) == 4
    assert len(clipped(face, [-HALF, Fraction(0), Fraction(1), Fraction(0)], 7)) == 4
    assert clipped(cube, [Fraction(-4), *[Fraction(1)] * 3], 6) == []


@pytest.mark.parametrize("number", range(40))
def test_the_largest_difference_is_that_of_many_points(number: int) -> None:
    """No point of a grid differs by more, and a vertex differs by just as much."""
    asked = question(7, number)
    rng = random.Random(number)
    for part in asked.place.parts():
        found = list(cells(part, asked.source, asked.target))
        sizes, seen = largest_differences(found), [Fraction(0)] * len(found[0].source)
        vertices = [vertex for cell in found for vertex, _ in cell.polytope]
        mixed = [[Fraction(x, vertex[0]) for x in vertex[1:]] for vertex in vertices]
        for _ in range(50):
            weights = [Fraction(rng.randint(1, 5)) for _ in part]
            mixed.append([sum((w * Fraction(vertex[i], vertex[0]) for w, (vertex, _)
                               in zip(weights, part, strict=True)), Fraction(0)) / sum(weights)
                          for i in range(1, len(part[0][0]))])
        for point in mixed:
            f, g = value_at(asked.source, point), value_at(asked.target, point)
            seen = [max(s, abs(a - b)) for s, a, b in zip(seen, f, g, strict=True)]
        assert seen == sizes
        for cell in found:  # the forms are the networks, at every vertex of their cell
            for vertex, _ in cell.polytope:
                point = [Fraction(x, vertex[0]) for x in vertex[1:]]
                assert [at(form, vertex) for form in cell.source] == value_at(asked.source, point)
                assert [at(form, vertex) for form in cell.target] == value_at(asked.target, point)


def test_a_lost_decision_has_its_margin() -> None:
    """f = (x, 0) prefers output 0 where x > 0; g = (x - 1/2, 0) only where x > 1/2."""
    f = net(([["1"], ["-1"]], ["0", "0"]), ([["1", "-1"], ["0", "0"]], ["0", "0"]))
    g = net(([["1"], ["-1"]], ["0", "0"]), ([["1", "-1"], ["0", "0"]], ["-1/2", "0"]))
    found = list(cells(box([Fraction(-1)], [Fraction(1)]), f, g))
    assert lost_margin(found) == HALF
    assert decision_kept(found, HALF)  # at x = 1/2 both outputs of g are 0
    assert not decision_kept(found, HALF - Fraction(1, 1000))
    assert lost_margin(list(cells(box([Fraction(-1)], [Fraction(1)]), f, f))) is None


def test_decisions_agree_with_a_grid() -> None:
    grid = [Fraction(i, 8) for i in range(9)]
    right = {True: 0, False: 0}  # how often a grid sees what is true
    for number in range(400):
        asked = question(9, number)
        if asked.asking.kind != "decision" or not asked.place.boxes or asked.place.rows:
            continue
        low, high = asked.place.boxes[0]
        points = product(*([a + t * (b - a) for t in grid] for a, b in zip(low, high, strict=True)))
        lost = any(violated(asked.asking, asked.source, asked.target, list(x)) for x in points)
        assert not (lost and asked.true), number
        right[asked.true] += lost != asked.true
    assert min(right.values()) > 3, right

