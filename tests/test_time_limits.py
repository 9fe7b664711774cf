# SPDX-License-Identifier: Apache-2.0
"""A timeout is for everything: sweeps, programmes, the search and the check of what it found. What
runs out of time is undecided, says so, and goes on from a state. No clock is measured here: what
would take long is made to."""

from __future__ import annotations

import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import networks
from isoform.certificate.check import check
from isoform.certificate.verdict import Proved, Refuted, Undecided
from isoform.network.claim import Claim, Equal, SameDecision, Within
from isoform.network.domain import Box
from isoform.network.network import Network
from isoform.verify import compared_layers, ladder, programs, structure, trees
from isoform.verify.branch import Search
from isoform.verify.check_pace import CheckPace, check_pace
from isoform.verify.checking import Checking
from isoform.verify.clock import FOREVER, OutOfTime, check_time
from isoform.verify.identity import sweep
from isoform.verify.prove import prove
from isoform.verify.question import Context, Question, asked
from isoform.verify.trees import Branching, branching
from long_search import claim, pair

LONG_AGO = -1.0


def halves(widths: tuple[int, ...] = (16, 10, 6, 3)) -> tuple[Network, Network]:
    """A network with inputs enough that units are cut, and its copy in half precision."""
    chain = networks.random_chain(widths, 1)
    copy = tuple(
        networks.replace(layer, weight=layer.weight.astype(np.float16).astype(np.float32))
        for layer in chain
    )
    return networks.network(chain), networks.network(copy)


def question(timeout: float | None = None, relation: Any = None) -> Question:
    asked_for = Claim(relation or Within(Fraction("0.0045")), Box([-1] * 16, [1] * 16))
    return asked(*halves(), asked_for, Context(timeout=timeout))


def search_of(of: Question) -> Branching:
    found = branching(of)
    assert found is not None
    return found


def test_a_clock() -> None:
    check_time(FOREVER)
    check_time(time.perf_counter() + 60)
    with pytest.raises(OutOfTime):
        check_time(LONG_AGO)


def test_a_question_without_a_timeout_ends_never() -> None:
    assert question().end() == question().half_time() == FOREVER


@pytest.mark.parametrize("timeout", [0.0, 1.0, 100.0])
def test_half_of_the_time_is_for_a_sweep(timeout: float) -> None:
    of = question(timeout)
    now = time.perf_counter()
    assert of.end() == of.started + timeout
    assert now < of.half_time() <= max(of.started + 0.5, (now + of.end()) / 2 + 0.01)


# --- sweeps -------------------------------------------------------------------------------------


def test_a_sweep_gives_up() -> None:
    source, target = halves()
    box = Box([-1] * 16, [1] * 16)
    assert sweep(source, target, box, until=time.perf_counter() + 60).codes
    with pytest.raises(OutOfTime):
        sweep(source, target, box, until=LONG_AGO)


def test_no_rung_of_sweeps_outlives_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    of = question(60.0, Equal())
    same = asked(of.source, of.source, of.claim, of.context)
    assert isinstance(structure.equal_by_structure(same), Proved)
    monkeypatch.setattr(Question, "half_time", lambda self: LONG_AGO)
    assert structure.equal_by_structure(same) is None
    assert structure.equal_by_programme(same) is structure.equal_by_relations(same) is None
    assert structure.tightest(of) == (None, None)


def test_backward_ranges_are_for_those_who_have_time() -> None:
    now = time.perf_counter()
    assert structure.time_for_backward(question(), now - 1000)
    assert structure.time_for_backward(question(10.0), now - 0.01)
    assert not structure.time_for_backward(question(10.0), now - 3)


def test_backward_ranges_are_for_those_who_do_not_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    of = question(None, Equal())
    nearly = asked(of.source, of.source, of.claim, of.context)
    tried: list[bool] = []

    def sweep_of(question: Question, *, backward: bool = False) -> None:
        tried.append(backward)

    monkeypatch.setattr(structure, "equal_by_sweep", sweep_of)
    assert structure.equal_by_structure(of) is None and tried == [False]
    assert structure.equal_by_structure(nearly) is None and tried == [False, False, True]


def test_layers_stay_as_they_are_without_time_to_sweep_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    of = question()
    assert of.box is not None
    monkeypatch.setattr(compared_layers, "worth_a_sweep", lambda written: True)
    monkeypatch.setattr(compared_layers, "layers_of", lambda value, basis: pytest.fail("swept"))
    assert compared_layers.compared(of.source, of.target, of.box, LONG_AGO).codes is None


# --- programmes ---------------------------------------------------------------------------------


def nodes(search: Search) -> list[tuple[Any, ...]]:
    return [(node.kind, node.place, node.children, node.hint) for node in search.nodes]


def check_open(search: Search) -> None:
    """Whatever was not closed is held, with the value that its box allows."""
    worst = [node.worst for node in search.nodes]
    left = [number for number, value in enumerate(worst) if value > 0]
    assert left and max(worst) == search.worst < np.inf
    assert sorted(search.held) == left == sorted(number for _, number in search.waiting)


def test_boxes_without_time_for_a_programme_stay_open() -> None:
    made = search_of(question())
    made.begin(1e-9)
    search = made.searches[0]
    assert search.units
    before = nodes(search)
    search.until = LONG_AGO
    search.step()
    assert nodes(search) == before
    check_open(search)
    search.until = FOREVER
    while not search.done:
        search.step()
    made.searches = [search]
    assert structure.proved(question(), made.evidence(40), upper=None).upper <= Fraction("0.0045")


def test_a_programme_that_is_cut_off_splits_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made = search_of(question())
    made.begin(1e-9)
    search = made.searches[0]

    def late(self: Any, *rest: Any) -> None:
        search.until = LONG_AGO  # time runs out in it, and it has nothing to say

    monkeypatch.setattr(programs.Programs, "solve", late)
    before = nodes(search)
    search.step()
    assert nodes(search) == before
    check_open(search)


def test_a_programme_without_time_ends_at_once() -> None:
    """What HiGHS is told; and that the value is then no value."""
    made = search_of(question())
    made.begin(1e-9)
    search = made.searches[0]
    search.step(1)
    assert search.programs is not None
    told: list[float] = []

    class Ear:
        def __getattr__(self, name: str) -> Any:
            return getattr(silent, name)

        def setOptionValue(self, name: str, value: Any) -> None:
            told.append(value - silent.getRunTime() if name == "time_limit" else 0)
            silent.setOptionValue(name, value)

    silent, search.programs.solver = search.programs.solver, Ear()
    search.step(1)
    search.until = time.perf_counter() + 0.5
    search.step(1)
    assert 9 < told[0] <= 10.001 and told[-1] <= 0.5


# --- the check ----------------------------------------------------------------------------------


def test_the_pace_of_the_checker() -> None:
    for relation in (Within(Fraction("0.0045")), SameDecision(Fraction(1, 100))):
        pace = check_pace(search_of(question(relation=relation)).parts, 26)
        assert pace.before > 0 and 0 < pace.each < 1
    assert CheckPace(1.0, 0.5).seconds(10, 100.0) == 6.0  # by the boxes
    assert CheckPace(1.0, 0.5).seconds(1000, 2.0) == 7.0  # by the search
    assert check_pace(search_of(question()).parts, 61) == CheckPace(0.0, 0.0)  # no room


def test_a_search_stops_where_the_checker_could_not_follow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trees, "UNASKED", -1.0)
    monkeypatch.setattr(trees, "check_pace", lambda parts, bits: CheckPace(1000.0, 0.0))
    found = prove(*pair(), claim("0.15"), timeout=30.0)
    assert isinstance(found, Undecided) and found.upper is not None
    assert found.upper > Fraction("0.15")
    monkeypatch.setattr(trees, "check_pace", lambda parts, bits: CheckPace(0.0, 0.0))
    assert isinstance(prove(*pair(), claim("0.15"), timeout=30.0), Proved)


@pytest.fixture
def slow_check(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """No check of trees is done in time."""
    real = ladder.checking

    def late(of: Question, search: Branching) -> Checking:
        found = real(of, search)
        return Checking(workers=found.workers, pieces=found.pieces, until=LONG_AGO)

    monkeypatch.setattr(ladder, "checking", late)
    yield monkeypatch
    monkeypatch.undo()


def test_what_is_not_checked_in_time_is_not_proved(
    slow_check: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "search.state"
    found = prove(*pair(), claim("0.15"), timeout=30.0, state=path)
    assert isinstance(found, Undecided)
    assert "closed in floats" in found.reason and "not checked in time" in found.reason
    assert found.lower <= Fraction("0.15")
    slow_check.undo()
    again = prove(*pair(), claim("0.15"), timeout=30.0, state=path)
    assert isinstance(again, Proved) and check(again.certificate).holds


def test_a_difference_is_found_all_the_same(slow_check: pytest.MonkeyPatch) -> None:
    assert isinstance(prove(*pair(), claim("0.05"), timeout=30.0), Refuted)


def test_no_time_at_all() -> None:
    """Structure gets a moment, an attack a glance; nothing is claimed."""
    source, target = pair()
    assert isinstance(prove(source, source, claim("0"), timeout=0.0), Proved)
    found = prove(source, target, claim("0.15"), timeout=0.0)
    assert isinstance(found, Undecided) and 0 < found.lower <= Fraction("0.15")
