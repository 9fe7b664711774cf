# SPDX-License-Identifier: Apache-2.0
"""Forged evidence of common regions, and errors planted in its checker: each must be found out."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import cell_claims as claims
import test_checker_mutants
from equivalence.tiny_pairs import question, violated
from isoform.certificate.cell_evidence import ClosedChart, CommonCells
from isoform.certificate.certificate import Certificate, load, save
from isoform.certificate.check import check
from isoform.certificate.evidence import Evidence
from isoform.errors import CertificateRejected
from region_claims import resealed
from test_common_cells import decided, judge, relation_of

plant = test_checker_mutants.plant  # a fixture


def cells_of(certificate: Certificate) -> CommonCells:
    data = certificate.evidence[0].data
    assert isinstance(data, CommonCells)
    return data


def with_charts(certificate: Certificate, charts: tuple[ClosedChart, ...]) -> Certificate:
    data = replace(cells_of(certificate), charts=charts)
    return replace(certificate, evidence=(Evidence("cells", data),), conclusion="cells")


@pytest.mark.parametrize("number", range(len(claims.honest())))
def test_true_claims_at_the_edge_are_accepted(number: int, tmp_path: Path) -> None:
    certificate = claims.honest()[number]
    assert check(certificate).holds
    save(certificate, tmp_path / "c.json")
    assert check(load(tmp_path / "c.json")).holds


@pytest.mark.parametrize("case", claims.false(), ids=lambda case: case[0])
def test_false_claims_are_rejected_for_their_reason(case: tuple[str, Certificate, str]) -> None:
    with pytest.raises(CertificateRejected) as caught:
        check(case[1])
    assert re.search(case[2], str(caught.value)), str(caught.value)


# --- random edits ---------------------------------------------------------------------------------


def edited(certificate: Certificate, chance: random.Random) -> Certificate:
    """One entry of a stream, a target or a closing row changed or left out, or the eps."""
    data = cells_of(certificate)
    if data.eps is not None and chance.random() < 0.2:
        step = 1 - Fraction(1, 1 << chance.choice((3, 20, 60)))
        return replace(certificate, evidence=(
            Evidence("cells", replace(data, eps=data.eps * step)),), conclusion="cells")
    charts = list(data.charts)
    place = chance.randrange(len(charts))
    chart = charts[place]
    name = chance.choice(("codes", "ids", "points", "prefix", "targets", "closing", "streams"))
    if name in ("targets", "closing"):
        field = "ids" if name == "closing" else name
        array = getattr(chart, field).copy()
        if array.size:
            at = tuple(chance.randrange(n) for n in array.shape)
            array[at] = chance.randrange(3 if name == "targets" else 16)
        charts[place] = replace(chart, **{field: array})
        return with_charts(certificate, tuple(charts))
    streams = list(chart.streams)
    at = chance.randrange(len(streams))
    if name == "streams":
        del streams[at]
    elif name == "prefix":
        prefix = streams[at].prefix
        streams[at] = replace(streams[at], prefix=prefix[:-1] if prefix else b"\x02")
    else:
        array = getattr(streams[at], name).copy()
        if len(array):
            where = chance.randrange(len(array))
            if name == "points":
                array[where] += chance.choice((-1, 1)) * 2.0 ** -chance.randrange(6)
            elif chance.random() < 0.4:
                array = np.delete(array, where)
            else:
                array[where] = chance.randrange(12)
        streams[at] = replace(streams[at], **{name: array})
    charts[place] = replace(chart, streams=tuple(streams))
    return with_charts(certificate, tuple(charts))


def judged(numbers: range, edits: int) -> tuple[int, int]:
    """Edited evidence, with the true claim and with the claims just below the truth: only a true
    claim may be accepted."""
    accepted, rejected = 0, 0
    for number in numbers:
        one = question(55, number)
        verdict = decided(judge.network(one.source), judge.network(one.target), relation_of(one),
                          judge.domain(one.place))
        if verdict is None or not verdict_holds(verdict):
            continue
        chance = random.Random(number)
        assert one.true
        forged = [forgery for _, forgery in judge.forgeries(one, verdict.certificate)]
        for _ in range(edits):
            for base in (verdict.certificate, *forged):
                try:
                    check(edited(base, chance))
                    accepted += 1
                    assert base is verdict.certificate, f"accepted a false claim of {number}"
                except CertificateRejected:
                    rejected += 1
    return accepted, rejected


def verdict_holds(verdict: object) -> bool:
    return type(verdict).__name__ == "Proved"


@pytest.mark.parametrize("part", range(3))
def test_edited_evidence_proves_nothing_false(part: int) -> None:
    accepted, rejected = judged(range(12 * part, 12 * part + 12), 6)
    assert accepted > 10  # an edit may be harmless
    assert rejected > 60


def test_refutations_are_of_false_claims() -> None:
    for number in range(40):
        one = question(56, number)
        verdict = decided(judge.network(one.source), judge.network(one.target), relation_of(one),
                          judge.domain(one.place))
        if type(verdict).__name__ == "Refuted":
            point = verdict.witness.point.fractions()  # type: ignore[union-attr]
            assert violated(one.asking, one.source, one.target, point)


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("forge", [
    lambda record: record["evidence"][0]["data"]["charts"][0].pop("targets"),
    lambda record: record["evidence"][0]["data"]["charts"][0].update(more=0),
    lambda record: record["evidence"][0]["data"]["charts"][0].update(
        targets=record["evidence"][0]["data"]["charts"][0]["codes"]),
    lambda record: record["evidence"][0]["data"]["charts"][0].update(
        closing=record["evidence"][0]["data"]["charts"][0]["ids"]),
    lambda record: record["evidence"][0]["data"]["charts"][0].update(closing=10**6),
    lambda record: record["evidence"][0]["data"].update(charts=[]),
    lambda record: record["evidence"][0]["data"].update(charts=7),
    lambda record: record["evidence"][0]["data"].update(eps=0),
    lambda record: record["evidence"][0]["data"].update(eps="1/2"),
    lambda record: record["claim"].update(relation="equal"),
])
def test_hostile_files_are_rejected(forge: Callable, tmp_path: Path) -> None:
    resealed(claims.honest()[0], tmp_path / "c.json", forge)
    with pytest.raises(CertificateRejected):
        check(load(tmp_path / "c.json"))


# --- errors in the checker ------------------------------------------------------------------------

CELLS, ROWS, BESIDE, EVIDENCE = (
    "isoform.certificate.cells", "isoform.certificate.region_rows",
    "isoform.network.side_by_side", "isoform.certificate.cell_evidence",
)
MUTANTS = [
    (CELLS, "common_cells", "not source.continuous or not target.continuous", "False"),
    (CELLS, "common_cells", "hull(domain) is None", "False"),
    (CELLS, "common_cells", "check_chart(chart, closed, sets)", "pass"),
    (CELLS, "common_cells", "zip(parts, data.charts, strict=True)",
     "[(parts[0], data.charts[0])]"),
    (CELLS, "proved_relation", "if data.eps is not None", "if False"),
    (CELLS, "proved_relation", "if excess.any()", "if False"),
    (CELLS, "proved_relation", "(eps - allowed).sign() > 0", "(eps - allowed).sign() > 1"),
    (CELLS, "proved_relation", "or np.any(eps.sign() < 0)", ""),
    (CELLS, "proved_relation", "tuple(eps.fractions())", "tuple(allowed.fractions())"),
    (CELLS, "proved_relation", "if upper else Equal()", ""),
    (CELLS, "proved_relation", "Within(tuple(eps.fractions())) if upper else Equal()", "Equal()"),
    (CELLS, "forbidden_rows", "[left, -Exact.eye(m), Exact.eye(m)]",
     "[left, Exact.eye(m), Exact.eye(m)]"),
    (CELLS, "forbidden_rows", "-part.rows[i]", "part.rows[i]"),
    (CELLS, "forbidden_rows", "part.bounds[i : i + 1]", "part.bounds[i : i + 1] - 1"),
    (CELLS, "forbidden_rows", "part.strict + (True,) * unbounded",
     "(True,) * (len(part.strict) + unbounded)"),
    (CELLS, "forbidden_rows", "mine.append(number)", "mine.append(len(found) - 1)"),
    (CELLS, "with_goals", "ExactSparse.eye(1 + d, width)",
     "ExactSparse.zeros((1 + d, width))"),
    (CELLS, "check_chart", "holes += walk.holes", "pass"),
    (CELLS, "check_chart", "check_joined(closed.streams, tuple(holes), True)", "pass"),
    (CELLS, "check_chart", "check_joined(closed.streams, tuple(holes), True)",
     "check_joined(closed.streams, tuple(holes), False)"),
    (CELLS, "check_chart", "or count == 0", ""),
    (CELLS, "check_chart", "first != count or", ""),
    (CELLS, "check_chart", "cells.start()", "pass"),
    (CELLS, "check_chart", "walk.run()", "pass"),
    (CELLS, "check_chart", "first = part.stop", "pass"),
    (CELLS, "Leaves.settle", "if failed is not None or not leaves", "if not leaves"),
    (CELLS, "Leaves.settle", "failed is not None or not leaves", "True"),
    (CELLS, "Leaves.settle", "np.any(forms != 0)", "False"),
    (CELLS, "Leaves.settle", "np.any(forms != 0)", "np.any(forms[:, 0] != 0)"),
    (CELLS, "Leaves.settle", "np.any(forms != 0)", "np.any(forms[:, 1:] != 0)"),
    (CELLS, "Leaves.settle", "self.close(forms)", "pass"),
    (CELLS, "Leaves.settle", "self.pending, self.pending_rows = [], []", "pass"),
    (CELLS, "Leaves.close", "if not holds.all()", "if not holds.any()"),
    (CELLS, "Leaves.close", "fails[strict == 0, 0] -= 1", "pass"),
    (CELLS, "Leaves.close", "strict == 0", "strict == 1"),
    (CELLS, "Leaves.close", "np.negative(forms[row])", "forms[row]"),
    (CELLS, "Leaves.close", "first + ~which", "first - which"),
    (CELLS, "Leaves.close", "np.concatenate((self.rows, forms))",
     "np.concatenate((self.rows, -forms))"),
    (CELLS, "LeafWalk.leaf", "super().leaf()", "self.leaves += 1"),
    (CELLS, "LeafWalk.leaf", "len(self.asked.prefixes[-1]) * cells.goals", "0"),
    (CELLS, "LeafWalk.leaf", "part.rows[target], part.strict[target]",
     "part.rows[target], True"),
    (CELLS, "LeafWalk.leaf", "place + part.rows[target]", "place + part.rows[0]"),
    (CELLS, "LeafWalk.leaf", "bytes(self.signs)", "bytes(len(self.signs))"),
    (CELLS, "LeafWalk.closing_row", "~(place + part.rows[own])", "~place"),
    (CELLS, "LeafWalk.closing_row", "0 <= own < len(part.rows)", "0 <= own"),
    (CELLS, "LeafWalk.closing_row", "or row_id < 0", ""),
    (CELLS, "LeafWalk.closing_row", "or self.rows[row_id] < 0", ""),
    (ROWS, "Cells.implied_by", "return holds", "return holds | True"),
    (ROWS, "Cells.implied_by", "on_box(rest, self.low, self.high)\n    for",
     "on_box(rest, self.low, self.low)\n    for"),
    (BESIDE, "side_by_side", "number[operand] for operand in node.operands",
     "operand for operand in node.operands"),
    (BESIDE, "side_by_side", "for network in (f, g)", "for network in (f, f)"),
    (BESIDE, "pieces", "for part in parts for chart", "for part in parts[:1] for chart"),
    (BESIDE, "thin", "b - A @ middle", "b + A @ middle"),
    (BESIDE, "thin", "concatenate([Exact.of([1]), middle])",
     "concatenate([Exact.of([1]), middle - middle])"),
    (BESIDE, "thin", "[:, free]", "[:, free - 1]"),
]


def battery() -> None:
    """Fails, one way or another, on a checker with an error."""
    for _, forged, why in claims.false():
        with pytest.raises(CertificateRejected, match=why):
            check(forged)
    for made in claims.honest():
        assert check(made).holds
    judged(range(20), 4)


def test_the_true_checker_passes_the_battery() -> None:
    battery()


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: f"{m[1]}: {m[3]}"[:70])
def test_mutants_are_found_out(mutant: tuple[str, str, str, str], plant: Callable) -> None:
    plant(*mutant)
    with pytest.raises((Exception, pytest.fail.Exception)):
        battery()
