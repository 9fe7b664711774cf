# SPDX-License-Identifier: Apache-2.0
"""Certificates of a number of activation regions: what holds is accepted, what does not is not."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import region_claims as claims
from isoform.api import read
from isoform.certificate.certificate import Certificate, load, save
from isoform.certificate.check import check
from isoform.certificate.evidence import Evidence
from isoform.certificate.region_evidence import Stream, Token
from isoform.certificate.region_tree import check_streams
from isoform.errors import CertificateRejected
from isoform.network.charts import charts
from isoform.network.claim import Claim, Equal, RegionCount
from isoform.network.domain import Box, Everywhere, Polytope
from isoform.network.operators import Opaque, Relu
from isoform.network.primitive import to_primitive
from isoform.network.unit_layers import unit_layers
from isoform.numerics.exact import exact_fractions
from region_claims import BOX, TWO, claimed, mlp, net, streams_of, two, with_streams
from region_streams import certified, polygons

TINY = Fraction(1, 1 << 60)
PLANE = mlp(1, (2, 4, 3, 1))
TRIANGLE = Polytope(np.array([[1.0, 1.0]]), np.array([0.5]), Box(-1, 1))


def rejected(certificate: Certificate, why: str | None = None) -> None:
    with pytest.raises(CertificateRejected, match=why):
        check(certificate)


def edited(stream: Stream, **changes: Any) -> Stream:
    """The stream with some entries of its arrays changed: codes={3: 4}."""
    made = {}
    for name, entries in changes.items():
        array = getattr(stream, name).copy()
        for at, value in entries.items():
            array[at] = value
        made[name] = array
    return replace(stream, **made)


# --- accepted -------------------------------------------------------------------------------------


DEGENERATE = [("degIdent", 173), ("degNobias", 52), ("degQuant", 91)]


@pytest.mark.parametrize(("name", "count"), DEGENERATE)
def test_degenerate_networks_have_their_count(bench: Path, name: str, count: int) -> None:
    network = to_primitive(read(bench / "regions" / f"{name}_s0.npz").network)
    accepted = check(certified(network, BOX))
    assert accepted.holds
    assert accepted.statement == (
        f"the network has exactly {count} activation regions on Box([-1, 1]^2), over the reals"
    )


@pytest.mark.parametrize("seed", range(12))
def test_random_networks_in_the_plane(seed: int) -> None:
    network = mlp(seed, (2, 4, 4, 1), step=seed % 3 == 2)
    domain = (BOX, Box(Fraction(-1, 3), 2), TRIANGLE)[seed % 3]
    made = certified(network, domain, boxes=seed % 2 == 1, hole=(0, 3, 5)[seed % 3],
                     exact=seed % 4 == 0)
    assert made.claim.relation == RegionCount(polygons(network, domain))
    assert check(made).holds


@pytest.mark.parametrize("widths", [(1, 5, 3, 1), (3, 4, 2), (4, 3, 2, 1), (2, 1), (16, 2, 1)])
def test_other_dimensions(widths: tuple[int, ...]) -> None:
    boxes = widths[0] > 2  # sixteen inputs: the mask of a box takes two words
    made = certified(mlp(3, widths), BOX, boxes=boxes)
    assert check(made).holds


def test_all_of_space_counts_a_pattern_once() -> None:
    """Four lines of the plane in general position: eleven parts, however many charts they meet."""
    network = net([[1, 0], [0, 1], [1, 1], [1, -2]], [0, 0.5, -3, 40], Relu())
    made = certified(network, Everywhere(), count=11)
    assert len(made.evidence[0].data.charts) == 5  # type: ignore[union-attr]
    assert check(made).statement == (
        "the network has exactly 11 activation regions everywhere, over the reals"
    )
    for wrong in (10, 12):
        rejected(replace(made, claim=Claim(RegionCount(wrong), Everywhere())), "11 regions were")


def test_honest_claims_at_the_edge() -> None:
    for made in claims.honest():
        check(made)


def test_at_least_leaves_holes_open() -> None:
    whole = certified(PLANE, BOX, hole=4)
    total = whole.claim.relation.count  # type: ignore[union-attr]
    streams = streams_of(whole)
    assert len(streams) > 2
    fewer = with_streams(whole, streams[:-1])
    found = total - len(streams[-1].points)
    rejected(replace(fewer, claim=Claim(RegionCount(found), BOX)), "1 holes are open")
    for said, holds in ((found, True), (found - 1, True), (found + 1, False)):
        partial = replace(fewer, claim=Claim(RegionCount(said, complete=False), BOX))
        if holds:
            assert "at least" in check(partial).statement
        else:
            rejected(partial, "regions were found")


def test_a_sample_of_streams_can_be_checked() -> None:
    whole = certified(PLANE, BOX, hole=4)
    streams = streams_of(whole)
    (chart,) = charts(unit_layers(PLANE), BOX)
    checked = check_streams(chart, streams, [1, 2])
    assert checked.streams == 2
    assert checked.tokens == sum(len(stream.codes) for stream in streams[1:3])
    assert checked.regions == sum(len(stream.points) for stream in streams[1:3])
    spoilt = [*streams[:2], edited(streams[2], points={0: 2.0}), *streams[3:]]
    check_streams(chart, spoilt, [0, 1])
    with pytest.raises(CertificateRejected, match="stream 2"):
        check_streams(chart, spoilt, [1, 2])


def test_a_long_stream_is_settled_in_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = certified(PLANE, BOX, boxes=True)
    monkeypatch.setattr("isoform.certificate.region_tree.WINDOW", 1)
    check(whole)
    stream = streams_of(whole)[0]
    last = len(stream.points) - 1
    rejected(with_streams(whole, [edited(stream, points={last: 2.0})]), f"point {last} is not")


def test_many_regions_on_the_line() -> None:
    """Every wall has the others on one side: a path of 200 splits, 20,000 tokens."""
    n = 200
    network = net(np.ones((n, 1)), -np.arange(n) / n, Relu())
    codes, ids, points = [], [], [(j - 0.5) / n for j in range(n + 1)]
    for j in range(n):
        codes += [Token.SPLIT_MINUS_FIRST] + [Token.MINUS_BASIS] * (n - j - 1)
        ids += [2 + j] * (n - j - 1)
    check(claimed(network, n + 1, codes, ids, points))
    rejected(claimed(network, n + 1, codes, ids, [*points[:-1], points[-2]]), "point 200 is not")
    ids[-1] -= 1
    rejected(claimed(network, n + 1, codes, ids, points), "not on the path|does not prove")


def test_cells_that_no_double_is_in() -> None:
    """Two walls 2^-1075 apart: one region between them, its point exact."""
    network = claims.thin()
    made = certified(network, BOX, exact=True)
    assert check(made).holds
    assert made.claim.relation == RegionCount(3)
    rejected(certified(network, BOX), "is not strictly inside")


# --- edits of a true certificate ------------------------------------------------------------------


def test_leaves_and_counts() -> None:
    whole = certified(PLANE, BOX)
    stream = streams_of(whole)[0]
    total = len(stream.points)
    for wrong in (total - 1, total + 1, 0):
        rejected(replace(whole, claim=Claim(RegionCount(wrong), BOX)), f"{total} regions were")
    fewer = with_streams(whole, [replace(stream, points=stream.points[:-1])])
    rejected(replace(fewer, claim=Claim(RegionCount(total - 1), BOX)), "more leaves than points")
    more = np.concatenate((stream.points, stream.points[:1]))
    rejected(with_streams(whole, [replace(stream, points=more)]), "the tree ends before")
    rejected(with_streams(whole, [edited(stream, points={0: stream.points[1]})]), "point 0 is not")


def test_every_token_counts() -> None:
    """Another code in any place is rejected; also one token less, or more."""
    whole = certified(PLANE, BOX, boxes=True)
    stream = streams_of(whole)[0]
    for at, code in enumerate(stream.codes.tolist()):
        for other in range(13):
            if other != code:
                rejected(with_streams(whole, [edited(stream, codes={at: other})]))
        rejected(with_streams(whole, [replace(stream, codes=np.delete(stream.codes, at))]))
    for codes in (stream.codes[:-1], np.append(stream.codes, np.uint8(0)), stream.codes[:0]):
        rejected(with_streams(whole, [replace(stream, codes=codes)]))
    for ids in (stream.ids[:-1], np.append(stream.ids, np.int32(0)), stream.ids[:0]):
        rejected(with_streams(whole, [replace(stream, ids=ids)]))


def test_ids_are_rows_of_the_path() -> None:
    whole = certified(PLANE, BOX)
    stream = streams_of(whole)[0]
    units = unit_layers(PLANE).units
    basis = np.flatnonzero(np.isin(stream.codes, (Token.MINUS_BASIS, Token.PLUS_BASIS)))
    assert len(basis)
    lying = 0
    for at in range(len(stream.ids)):
        rejected(with_streams(whole, [edited(stream, ids={at: 4 + units})]), "beyond all|before")
        rejected(with_streams(whole, [edited(stream, ids={at: -1})]))
        for other in range(4):
            try:
                check(with_streams(whole, [edited(stream, ids={at: other})]))
            except CertificateRejected:
                lying += 1
    assert lying > len(stream.ids)


def test_streams_are_joined_one_to_one() -> None:
    whole = certified(PLANE, BOX, hole=4)
    streams = streams_of(whole)
    flagged = replace(streams[1], prefix=bytes([streams[1].prefix[0] ^ 2]) + streams[1].prefix[1:])
    for wrong, why in (
        (streams[1:], "not that of the whole chart"), (streams[:-1], "holes are open"),
        ([*streams, streams[-1]], "a node occurs twice"),
        ([streams[0], flagged, *streams[2:]], None), ([], "not that of the whole chart"),
        ([*streams, claims.only_a_hole(streams[1].prefix, 2)], "only a hole"),
    ):
        rejected(with_streams(whole, wrong), why)
    rejected(
        replace(whole, evidence=(Evidence("regions", replace(whole.evidence[0].data, charts=())),)),
        "0 charts, the domain has 1",
    )


def test_points_stay_strictly_inside() -> None:
    """Points of the cells -1 < x < 0, 0 < x < 1/2 and 1/2 < x < 1."""
    check(two(points=[-0.5, 0.25, 0.75]))
    for points in ([0.0, 0.25, 0.75], [-0.5, 0.0, 0.75], [-0.5, 0.5, 0.75], [-0.5, 0.25, 0.5],
                   [-1.0, 0.25, 0.75], [-0.5, 0.25, 1.0]):
        rejected(two(points=points), "is not strictly inside")
    for at, wall, out in ((0, 0, TINY), (1, 0, -TINY), (1, Fraction(1, 2), TINY), (2, 1, TINY)):
        for off, inside in ((out, False), (Fraction(0), False), (-out, True)):
            made = two(fine=((at, exact_fractions([wall + off], (1,))),))
            if inside:
                check(made)
            else:
                rejected(made, f"point {at} is not strictly inside")


def test_a_wider_domain_where_the_list_misses_a_region() -> None:
    """x - 1 is negative on [-1, 1], and not on [-1, 1 + 2^-20]."""
    network = net([[1], [1]], [0, -1], Relu())
    made = certified(network, BOX)
    assert made.claim.relation == RegionCount(2)
    check(made)
    wider = Box(-1, Fraction((1 << 20) + 1, 1 << 20))
    rejected(replace(made, claim=Claim(RegionCount(2), wider)), "does not prove MINUS_BASIS")
    assert certified(network, wider).claim.relation == RegionCount(3)


def test_a_perturbed_weight() -> None:
    """x - 1 is not positive on [-1, 1]; (1 + 2^-40) x - 1 is."""
    made = certified(claims.touching(1), BOX)
    check(made)
    other = claims.touching(1 + 2.0**-40)
    rejected(replace(made, source=other, target=other), "does not prove MINUS_BASIS")
    assert certified(other, BOX).claim.relation == RegionCount(3)


@pytest.mark.parametrize("forged", claims.false(), ids=lambda made: made[0])
def test_false_claims_are_rejected(forged: tuple[str, Certificate, str]) -> None:
    _, certificate, why = forged
    rejected(certificate, why)


# --- what is no count -----------------------------------------------------------------------------


def test_other_evidence_and_other_claims() -> None:
    made = two()
    rejected(replace(made, claim=Claim(Equal(), BOX)), "only their number")
    for relation, why in (
        (RegionCount(3, kind="connected"), "connected"), (RegionCount(-1), "is none"),
        (RegionCount(True), "is none"),
    ):
        rejected(replace(made, claim=Claim(relation, BOX)), why)
    for data in claims.other_evidence():
        rejected(replace(made, evidence=(Evidence("regions", data),)), "only a list of the regions")
    other = net([[1], [1]], [0, -0.25], Relu())
    rejected(replace(made, target=other), "two")
    rejected(replace(made, rounds=TWO), "nothing about the target")
    flat = replace(made, claim=Claim(RegionCount(3), Box([0], [0])))
    rejected(flat, "flat")


def test_networks_that_have_no_regions_to_count() -> None:
    smooth = net([[1], [1]], [0, 0], Opaque("tanh"))
    rejected(claimed(smooth, 1, [0], [], [[0.5]]), "not piecewise linear")
    for wide, domain in ((np.ones((1 << 13, 1)), BOX), (np.ones((1, 300)), Everywhere())):
        network = net(wide, None, Relu())
        rejected(claimed(network, 1, [0], [], [[0.5]], domain), "too many to count")


# --- files ----------------------------------------------------------------------------------------


def test_save_and_load(tmp_path: Path, run: Any) -> None:
    for number, made in enumerate((
        certified(PLANE, TRIANGLE, hole=4, exact=True), certified(PLANE, BOX, boxes=True), two(),
        certified(TWO, Everywhere(), count=3),
    )):
        path = tmp_path / f"{number}.certificate.json"
        save(made, path)
        again = load(path)
        assert again.claim.relation == made.claim.relation
        assert check(again).statement == check(made).statement
        assert streams_of(again)[0].codes.tolist() == streams_of(made)[0].codes.tolist()
    ran = run(f"check {path}")
    assert ran.code == 0
    assert "exactly 3 activation regions everywhere" in ran.out


def test_one_file_is_compared(tmp_path: Path, run: Any) -> None:
    path, made = tmp_path / "a.certificate.json", certified(read("b.npz").network, BOX)
    save(made, path)
    assert "files compared  yes" in run(f"check {path} --source b.npz").out
    assert run(f"check {path} --source a.npz").code == 1
    assert run(f"check {path} --target a.npz").code == 1


def test_hostile_parts_of_a_file(tmp_path: Path) -> None:
    for number, (forge, why) in enumerate(claims.hostile()):
        path = tmp_path / f"{number}.certificate.json"
        claims.resealed(two(), path, forge)
        with pytest.raises(CertificateRejected, match=why):
            check(load(path))
