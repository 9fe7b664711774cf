# SPDX-License-Identifier: Apache-2.0
"""Long searches: workers, a state to go on from, interrupts and time limits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isoform.certificate.check import check
from isoform.certificate.tree_evidence import Split
from isoform.certificate.verdict import Proved, Refuted, Undecided
from isoform.errors import FormatError, Refused
from isoform.network.evaluate import evaluate_exact
from isoform.numerics.exact import Exact
from isoform.verify.branch import Search
from isoform.verify.branch_state import State
from isoform.verify.branch_trees import shortened
from isoform.verify.branch_workers import Grown, graft, grown
from isoform.verify.prove import prove
from isoform.verify.question import Context, Question, asked
from isoform.verify.trees import Branching, branching
from long_search import claim, hard, pair

SCRIPT = Path(__file__).with_name("long_search.py")


def question(eps: str = "0.15", **context: Any) -> Question:
    return asked(*pair(), claim(eps), Context(**context))


def begun(of: Question, boxes: int) -> Branching:
    """A search that has bounded so many boxes."""
    search = branching(of)
    assert search is not None
    search.resume(State.of(of))
    search.begin(1e-9)
    search.run(time.perf_counter() + 60, boxes, lambda line: None)
    return search


def shape(search: Search) -> list[tuple[Any, ...]]:
    return [(n.kind, n.place, n.children, n.worst, n.parent, n.side) for n in search.nodes]


# --- state --------------------------------------------------------------------------------------


def test_a_state_gives_back_the_same_trees_and_open_boxes(tmp_path: Path) -> None:
    of = question(state=tmp_path / "search.state")
    first = begun(of, 100)
    again = branching(of)
    assert again is not None
    again.resume(State.of(of))
    assert again.begun and again.margin == first.margin
    assert again.searched == first.searched > 0
    for old, new in zip(first.searches, again.searches, strict=True):
        assert shape(old) == shape(new)
        assert sorted(old.held) == sorted(new.held)
        assert sorted(old.waiting) == sorted(new.waiting)
        for number, (box, left) in old.held.items():
            other, flags = new.held[number]
            assert np.array_equal(box.low, other.low) and np.array_equal(box.high, other.high)
            assert np.array_equal(box.signs, other.signs) and np.array_equal(left, flags)
            assert np.allclose(box.bounds, other.bounds, rtol=1e-9, atol=1e-12)


def test_a_search_that_goes_on_is_proved_and_what_was_closed_stays_closed(tmp_path: Path) -> None:
    path = tmp_path / "search.state"
    of = question(state=path)
    first = begun(of, 400).searches[0]
    closed = {
        number for number, node in enumerate(first.nodes)
        if node.kind == Split.LEAF and number not in first.held
    }
    assert closed
    found = prove(*pair(), claim("0.15"), timeout=60, state=path)
    assert isinstance(found, Proved)
    again = branching(of)
    assert again is not None
    again.resume(State.of(of))
    assert again.done
    after = again.searches[0]
    assert all(after.nodes[number].kind == Split.LEAF for number in closed)
    assert len(after.nodes) > len(first.nodes)
    assert check(found.certificate).holds


def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "search.state"
    process = subprocess.Popen(
        [sys.executable, SCRIPT, path, "hard", "120", "1"], stdout=subprocess.PIPE, text=True,
    )
    try:
        wait_for(process, "boxes")
        until = time.monotonic() + 60
        while not path.exists() and time.monotonic() < until:
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    of = asked(*hard(), Context(state=path))
    search = branching(of)
    assert search is not None
    search.resume(State.of(of))
    before = search.leaves
    assert search.begun
    search.run(time.perf_counter() + 0.2, None, lambda line: None)
    assert search.leaves > before
    later = branching(of)
    assert later is not None
    later.resume(State.of(of))
    assert later.leaves == search.leaves


def wait_for(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if word in line:
            return
    pytest.fail("the process ended early")


@pytest.mark.parametrize("what", ["claim", "source", "domain"])
def test_a_state_of_another_question_is_refused_by_name(what: str, tmp_path: Path) -> None:
    path = tmp_path / "search.state"
    begun(question(state=path), 20)
    before = path.read_bytes()
    source, target = pair()
    asks = claim("0.15")
    if what == "claim":
        asks = claim("0.16")
    elif what == "source":
        source = pair(0.03)[1]
    else:
        wide = replace(asks.domain, high=asks.domain.high * Fraction(1, 2))
        asks = replace(asks, domain=wide)
    with pytest.raises(Refused, match=f"another {what}"):
        prove(source, target, asks, timeout=1, state=path)
    assert path.read_bytes() == before


def test_what_is_no_state_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a search")
    with pytest.raises(FormatError, match="no state of a search"):
        prove(*pair(), claim("0.15"), timeout=1, state=path)
    assert path.read_text() == "not a search"
    with pytest.raises(Refused, match="no folder"):
        prove(*pair(), claim("0.15"), timeout=1, state=tmp_path / "nowhere" / "search.state")


def test_damaged_states_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "search.state"
    of = question(state=path)
    begun(of, 40)
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    for name, change in (
        ("0.below", lambda a: a[::-1].copy()), ("0.open", lambda a: a + 1000),
        ("0.kind", lambda a: a[:-1]), ("0.left", lambda a: a[:-1]),
    ):
        with path.open("wb") as file:
            np.savez(file, **{**arrays, name: change(arrays[name])})
        search = branching(of)
        assert search is not None
        with pytest.raises(FormatError, match="damaged"):
            search.resume(State.of(of))


def test_a_forged_state_proves_nothing(tmp_path: Path) -> None:
    """A file that calls every box closed: the checker finds out, and the search begins anew."""
    path = tmp_path / "search.state"
    begun(question(state=path), 40)
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    forged = {**arrays, "0.open": arrays["0.open"][:0], "0.left": arrays["0.left"][:0]}
    with path.open("wb") as file:
        np.savez(file, **forged)
    found = prove(*pair(), claim("0.15"), timeout=60, state=path)
    assert isinstance(found, Proved) and check(found.certificate).holds


# --- workers ------------------------------------------------------------------------------------


def test_trees_grown_elsewhere_are_taken_over() -> None:
    """What a worker does, in this process: the certificate holds all that it closed."""
    of = question("0.2")
    whole = begun(of, 30)
    search = whole.searches[0]
    away = Search(search.part, 0, search.margin)
    while search.waiting:
        picked = [number for _, number in search.waiting[:5]]
        del search.waiting[:5]
        boxes = [(search.nodes[number].worst, search.held[number]) for number in picked]
        made = grown(away, boxes, 0.05)
        assert isinstance(made, Grown)
        graft(search, picked, made)
    from isoform.certificate.tree_check import check_trees

    upper = check_trees(
        whole.evidence(40), of.source, of.target, of.claim.domain, of.claim.relation
    )
    assert upper is not None and upper <= Fraction("0.2")


@pytest.mark.slow
def test_workers_do_not_change_the_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    import isoform.verify.trees as trees

    monkeypatch.setattr(trees, "ALONE", 0.05)
    found = prove(*pair(), claim("0.15"), timeout=120, workers=2)
    assert isinstance(found, Proved) and check(found.certificate).holds
    alone = prove(*pair(), claim("0.15"), timeout=120)
    assert isinstance(alone, Proved)
    for verdict in (found, alone):
        assert verdict.lower <= verdict.upper <= Fraction("0.15")


def test_a_number_of_workers_below_one_is_refused() -> None:
    with pytest.raises(Refused, match="0 workers"):
        prove(*pair(), claim("0.15"), workers=0)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_the_process_that_started_them(how: int, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, SCRIPT, tmp_path / "s", "hard", "120", "2"], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )
    children: list[int] = []
    until = time.monotonic() + 60
    while len(children) < 3 and time.monotonic() < until:  # two workers, and what counts semaphores
        time.sleep(0.2)
        children = children_of(process.pid)
    assert len(children) >= 3
    if how == signal.SIGINT:
        os.killpg(process.pid, how)  # as a terminal does
    else:
        process.send_signal(how)
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    assert how == signal.SIGKILL or out.splitlines()[-1] == "Undecided"
    until = time.monotonic() + 30
    while any(runs(child) for child in children) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(runs(child) for child in children)


def children_of(process: int) -> list[int]:
    text = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(number) for number in text.split()]


def runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


# --- interrupts and time ------------------------------------------------------------------------


def interrupted_at(*words: str) -> Any:
    """A reporter that is interrupted when the first of these is said, then at the next."""
    left = list(words)

    def report(line: str) -> None:
        if left and left[0] in line:
            del left[0]
            raise KeyboardInterrupt

    return report


@pytest.mark.parametrize("word", ["sweeping exactly", "bounding the difference",
                                  "looking for a counterexample", "boxes, "])
def test_an_interrupt_ends_with_what_is_known(word: str) -> None:
    found = prove(*hard(), timeout=60, report=interrupted_at(word))
    assert isinstance(found, Undecided) and found.interrupted and "interrupted" in found.reason
    if word == "boxes, ":
        assert found.upper is not None and found.lower <= found.upper < 10


def test_a_second_interrupt_passes_on() -> None:
    with pytest.raises(KeyboardInterrupt):
        prove(*hard(), timeout=60, report=interrupted_at("boxes, ", "upper value"))


def test_an_interrupted_attack_keeps_its_lower_value(monkeypatch: pytest.MonkeyPatch) -> None:
    import isoform.verify.falsify as falsify

    plain, calls = falsify.ascend, []

    def ascend(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return plain(*arguments)

    monkeypatch.setattr(falsify, "ascend", ascend)
    found = prove(*pair(), claim("0.10392"), timeout=60)
    assert isinstance(found, Undecided) and found.interrupted and found.lower > 0


def test_an_interrupted_step_leaves_the_search_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    search = begun(question("0.10392"), 60)
    one = search.searches[0]
    before = shape(one), sorted(one.held), sorted(one.waiting)
    plain = Search.hold
    calls = []

    def hold(self: Search, *arguments: Any) -> int:
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return plain(self, *arguments)

    monkeypatch.setattr(Search, "hold", hold)
    with pytest.raises(KeyboardInterrupt):
        search.run(time.perf_counter() + 10, None, lambda line: None)
    assert (shape(one), sorted(one.held), sorted(one.waiting)) == before


@pytest.mark.parametrize("timeout", [0, 0.1])
def test_short_times_give_values_too(timeout: float) -> None:
    found = prove(*pair(), claim("0.10392"), timeout=timeout)
    assert isinstance(found, Undecided) and found.upper is not None
    assert found.lower <= found.upper < 100


# --- where --------------------------------------------------------------------------------------


def test_both_values_say_where_they_are() -> None:
    source, target, made = hard()
    found = prove(source, target, made, timeout=5)
    assert isinstance(found, Undecided)
    at, top = found.lower_at, found.upper_at
    assert at is not None and top is not None and top.box is not None
    values = [Exact.of(evaluate_exact(net, at.point)) for net in (source, target)]
    assert (values[0] - values[1]).abs()[at.output].item() == found.lower
    assert top.output in (0, 1)
    box = made.domain
    assert not ((top.box.low - box.low).sign() < 0).any()
    assert not ((box.high - top.box.high).sign() < 0).any()


def test_a_refutation_says_where_its_lower_value_is() -> None:
    source, target = pair()
    found = prove(source, target, claim("0.05"), timeout=5)
    assert isinstance(found, Refuted) and found.lower_at is not None and found.upper is not None
    at = found.lower_at
    values = [Exact.of(evaluate_exact(net, at.point)) for net in (source, target)]
    assert (values[0] - values[1]).abs()[at.output].item() == found.lower <= found.upper


def test_a_shortened_search_allows_no_more_than_the_whole() -> None:
    search = begun(question("0.10392"), 200).searches[0]
    values = [shortened(search, most).worst for most in (1, 4, 16, 64, 10_000)]
    assert values == sorted(values, reverse=True)
    assert values[-1] == search.worst


def test_the_command_line_takes_workers_and_state(run: Any, tmp_path: Path) -> None:
    ran = run("prove a.npz b.npz --on box:-1,1 --within 2 --workers 2 --state s --json")
    assert ran.code == 0 and ran.json["lower_at"]["output"] == 0
    assert ran.json["upper_at"] is None and Path("s").exists()
    other = run("prove a.npz b.npz --on box:-1,1 --within 3 --state s")
    assert other.code == 3 and "another claim" in other.err
