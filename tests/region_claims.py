# SPDX-License-Identifier: Apache-2.0
"""Claims of numbers of regions, written by hand: true ones at the edge, and false ones.

On the line with the box [-1, 1] the rows are 0: -u <= 1, 1: u <= 1, and 2 + j: the wall of unit j.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from attack_claims import net
from isoform.certificate.arrays import array_bytes
from isoform.certificate.certificate import Certificate, save, seal
from isoform.certificate.evidence import Counterexample, Data, Enumerate, Evidence, Sweep
from isoform.certificate.region_evidence import Regions, Stream
from isoform.network.claim import Claim, RegionCount
from isoform.network.domain import Box, Domain, Polytope, bound_to
from isoform.network.linear_map import Dense
from isoform.network.network import Builder, Network
from isoform.network.operators import Relu, Step
from isoform.numerics.exact import Exact, integers

BOX = Box(-1, 1)
SM, SP, MBOX, PBOX, MBASIS, PBASIS, MFOLLOW, PFOLLOW, TIGHTER, EMPTY, HOLE, LEAF = range(12)


def mlp(seed: int, widths: tuple[int, ...], scale: int = 4, step: bool = False) -> Network:
    """Small weights, multiples of 1 / scale: parallel and vanishing units are common."""
    rng = np.random.default_rng(seed)
    build, value = Builder((widths[0],)), 0
    for i, (n, m) in enumerate(zip(widths, widths[1:], strict=False)):
        weight = rng.integers(-2 * scale, 2 * scale + 1, (m, n)) / scale
        value = build.linear(Dense(weight), value, rng.integers(-scale, scale + 1, m) / scale)
        if i < len(widths) - 2:
            value = build.add(Step() if step and i == 0 else Relu(), (value,), m)
    return build.build(value)


def stream(codes: list[int], ids: list[int], points: list[Any], prefix: bytes = b"",
           fine: tuple[tuple[int, Exact], ...] = ()) -> Stream:
    listed = np.array(points, dtype=np.float64)
    return Stream(
        prefix=prefix, codes=np.array(codes, dtype=np.uint8), ids=np.array(ids, dtype=np.int32),
        points=listed.reshape(len(points), -1 if listed.size else 1), fine=fine,
    )


def joined(network: Network, count: int, streams: list[Stream], domain: Domain = BOX,
           complete: bool = True) -> Certificate:
    return Certificate(
        source=network, target=network,
        claim=Claim(RegionCount(count, complete=complete), bound_to(domain, network.dimension)),
        evidence=(Evidence("regions", Regions((tuple(streams),))),), conclusion="regions",
    )


def claimed(network: Network, count: int, codes: list[int], ids: list[int], points: list[Any],
            domain: Domain = BOX) -> Certificate:
    return joined(network, count, [stream(codes, ids, points)], domain)


def streams_of(certificate: Certificate) -> list[Stream]:
    data = certificate.evidence[0].data
    assert isinstance(data, Regions)
    return list(data.charts[0])


def with_streams(certificate: Certificate, streams: list[Stream]) -> Certificate:
    return replace(certificate, evidence=(Evidence("regions", Regions((tuple(streams),))),))


# --- networks on the line -------------------------------------------------------------------------

ONE = net([[1]], [0], Relu())
ZERO = net([[0]], [0], Relu())
TWO = net([[1], [1]], [0, -0.5], Relu())  # walls at 0 and 1/2
OPPOSITE = net([[1], [-2]], [0, 0], Relu())
HALVES = [-0.5, 0.5]


def two(points: Sequence[float] = (-0.5, 0.25, 0.75), **changes: Any) -> Certificate:
    return joined(TWO, 3, [stream([SM, MBASIS, SM], [2], list(points), **changes)])


def thin() -> Network:
    """Walls at 0 and 2^-1075, half the least double."""
    return net([[1], [2]], [0, -(2.0**-1074)], Relu())


def touching(weight: float) -> Network:
    """The second unit is 0 at the end of the box, and positive before it where weight > 1."""
    return net([[1], [weight]], [0, -1], Relu())


def near() -> Network:
    """Walls at 2^-60 / 3 and 2^-110 / 3 below, closer than the grid of boxes."""
    return net([[3], [3]], [-(2.0**-60), -(2.0**-60) * (1 - 2.0**-50)], Relu())


def far() -> Network:
    """The same on the other side of 0."""
    return net([[-3], [-3]], [-(2.0**-60), -(2.0**-60) * (1 - 2.0**-50)], Relu())


def stepped() -> Network:
    """A step unit that is 0 everywhere, so that it gives 1; then a unit of 1 - 1/2."""
    build = Builder((1,))
    value = build.linear(Dense(np.zeros((1, 1))), 0, np.zeros(1))
    value = build.add(Step(), (value,), 1)
    value = build.linear(Dense(np.ones((1, 1))), value, np.array([-0.5]))
    return build.build(build.add(Relu(), (value,), 1))


def rows(A: list[list[float]], b: list[float], low: int = -1) -> Polytope:
    return Polytope(np.array(A, dtype=np.float64), np.array(b, dtype=np.float64), Box(low, 1))


def only_a_hole(prefix: bytes, k: int = 1) -> Stream:
    return replace(stream([HOLE], [], [], prefix), points=np.zeros((0, k)))


ANY = rows([[0]], [0])  # a row that says nothing
FLAT = rows([[1]], [-1])  # the point -1
SPLIT = [stream([SM, HOLE, SM], [], [0.25, 0.75]), stream([MBASIS], [2], [-0.5], b"\x02")]


def honest() -> list[Certificate]:
    return [
        two(), claimed(ONE, 2, [SP], [], [0.5, -0.5]), joined(TWO, 3, SPLIT),
        claimed(net([[1]], [0]), 1, [], [], [0.5]),
        claimed(ZERO, 1, [MBOX], [], [0.5]), claimed(ZERO, 1, [MBASIS], [0], [0.5]),
        claimed(net([[0]], [1], Relu()), 1, [PBOX], [], [0.5]),
        claimed(net([[1], [0]], [0, 0], Relu()), 2, [SM, MBOX, MBOX], [], HALVES),
        claimed(OPPOSITE, 2, [SM, PFOLLOW, MFOLLOW], [0, 0], HALVES),
        claimed(OPPOSITE, 2, [SM, PBASIS, MBASIS], [2, 2], HALVES),
        claimed(TWO, 3, [SM, SM, LEAF, EMPTY, SM], [2, 3], [-0.5, 0.25, 0.75]),
        claimed(TWO, 3, [SM, TIGHTER, MBOX, SM], [3, 2, 2], [-0.5, 0.25, 0.75]),
        claimed(TWO, 3, [SM, TIGHTER, MBOX, SM], [3, 0, 2], [-0.5, 0.25, 0.75]),
        claimed(stepped(), 1, [MBOX, PBOX], [], [0.5]),
        claimed(ONE, 2, [SM], [], HALVES, ANY), claimed(ONE, 0, [EMPTY], [0, 2], [], FLAT),
        claimed(ONE, 0, [EMPTY], [0, 2], [], rows([[1]], [-2])),
        claimed(touching(1), 2, [SM, MBASIS, MBASIS], [1, 1], HALVES),
    ]


def false() -> list[tuple[str, Certificate, str]]:
    """Name, certificate, part of the reason."""
    return [*false_units(), *false_boxes(), *false_leaves(), *false_streams()]


def false_units() -> list[tuple[str, Certificate, str]]:
    """Units with a sign that they do not have, cells that are not empty."""
    return [
        ("zero unit active, box", claimed(ZERO, 1, [PBOX], [], [0.5]), "PLUS_BOX"),
        ("zero unit active, basis", claimed(ZERO, 1, [PBASIS], [0], [0.5]), "PLUS_BASIS"),
        ("zero unit active, follows", claimed(
            net([[0], [0]], [0, 0], Relu()), 1, [MBOX, PFOLLOW], [0], [0.5]), "PLUS_FOLLOW"),
        ("zero unit follows", claimed(
            net([[1], [0]], [0, 0], Relu()), 2, [SM, MFOLLOW, PFOLLOW], [0, 0], HALVES), "FOLLOW"),
        ("follows no multiple", claimed(TWO, 2, [SM, MFOLLOW, PFOLLOW], [0, 0], HALVES), "FOLLOW"),
        ("follows a zero unit", claimed(
            net([[0], [1]], [0, 0], Relu()), 1, [MBOX, MFOLLOW], [0], [0.5]), "MINUS_FOLLOW"),
        ("follows with the other sign", claimed(
            OPPOSITE, 2, [SM, MFOLLOW, PFOLLOW], [0, 0], HALVES), "MINUS_FOLLOW"),
        ("follows itself", claimed(TWO, 2, [SM, MFOLLOW, MFOLLOW], [1, 1], HALVES), "before"),
        ("one child empty that is not", claimed(ONE, 1, [SM, EMPTY], [0, 2], [0.5]), "EMPTY"),
        ("empty by one row twice", claimed(ONE, 1, [SM, EMPTY], [2, 2], [0.5]), "EMPTY"),
        ("empty by a difference", claimed(ONE, 1, [SM, EMPTY], [1, 2], [0.5]), "EMPTY"),
        ("empty by a row 0 <= 0", claimed(ONE, 0, [EMPTY], [2, 0], [], ANY), "EMPTY"),
        ("empty by two rows 0 <= 0", claimed(
            ONE, 0, [EMPTY], [2, 3], [], rows([[0], [0]], [0, 0])), "EMPTY"),
        ("a zero unit splits", claimed(ZERO, 0, [SM, EMPTY, EMPTY], [2, 0, 2, 0], []), "EMPTY"),
        ("a zero unit splits into regions", claimed(ZERO, 2, [SM], [], HALVES), "point 0"),
        ("the leaf, not its neighbour, is empty", claimed(
            TWO, 3, [SM, SM, EMPTY, SM], [2, 3], [-0.5, 0.25, 0.75]), "EMPTY"),
        ("a multiplier below 0", claimed(ONE, 1, [MBASIS], [0], [-0.5]), "MINUS_BASIS"),
        ("a row that is too far", claimed(ONE, 1, [MBASIS], [1], [-0.5]), "MINUS_BASIS"),
        ("a row that is nearly too far", claimed(
            touching(1 + 2.0**-40), 2, [SM, MBASIS, MBASIS], [1, 1], HALVES), "MINUS_BASIS"),
        ("a zero row as basis", claimed(ONE, 1, [MBASIS], [2], [-0.5], ANY), "MINUS_BASIS"),
    ]


def false_boxes() -> list[tuple[str, Certificate, str]]:
    third = net([[3], [3]], [-1, -1], Relu())
    return [
        ("active by the box", claimed(ONE, 1, [PBOX], [], [0.5]), "PLUS_BOX"),
        ("inactive by the box", claimed(ONE, 1, [MBOX], [], [-0.5]), "MINUS_BOX"),
        ("inactive by the box of a child", claimed(
            TWO, 2, [SM, MBOX, MBOX], [], HALVES), "MINUS_BOX"),
        ("a box finer than the grid", claimed(
            near(), 2, [SP, PBASIS, MBOX], [2], HALVES[::-1]), "MINUS_BOX"),
        ("a box finer than the grid, from below", claimed(
            far(), 2, [SP, PBASIS, MBOX], [2], HALVES), "MINUS_BOX"),
        ("a bound finer than the grid", claimed(
            near(), 2, [SP, PBASIS, TIGHTER, MBOX], [2, 2, 2], HALVES[::-1]), "MINUS_BOX"),
        ("a bound finer than the grid, from below", claimed(
            far(), 2, [SP, PBASIS, TIGHTER, MBOX], [2, 1, 2], HALVES), "MINUS_BOX"),
        ("a bound by a row of the other side", claimed(
            TWO, 2, [SM, TIGHTER, MBOX, TIGHTER, PBOX], [2, 2, 1, 1], HALVES), "PLUS_BOX"),
        ("a mask of a second input", claimed(
            ONE, 2, [TIGHTER, SM], [4], HALVES), "mask"),
        ("a duplicate on a wall off the grid", claimed(
            third, 2, [SM, MBOX, PBOX], [], HALVES), "MINUS_BOX"),
    ]


def false_leaves() -> list[tuple[str, Certificate, str]]:
    """Points that are not inside, tokens and ids that do not fit."""
    return [
        ("a zero step gives 0", claimed(stepped(), 1, [MBOX, MBOX], [], [0.5]), "MINUS_BOX"),
        ("a point on a row", claimed(ONE, 2, [SM], [], [-0.5, 0.5], rows([[1]], [0.5])), "point 1"),
        ("a point in the other child", claimed(ONE, 2, [SM], [], [0.5, -0.5]), "point 0"),
        ("a point of a flat domain", claimed(ONE, 1, [MBASIS], [2], [-1.0], FLAT), "point 0"),
        ("an empty domain by 0 <= -1", claimed(
            ONE, 2, [SM], [], HALVES, rows([[0]], [-1])), "point 0"),
        ("a code of no token", claimed(ONE, 2, [12], [], HALVES), "code 12"),
        ("a leaf too early", claimed(ONE, 1, [LEAF], [], [0.5]), "code 11"),
        ("a row of a closed branch", claimed(
            TWO, 2, [SM, SM, LEAF, EMPTY, PBASIS], [2, 3, 3], [-0.5, 0.75]), "not on the path"),
        ("a row of a branch to come", claimed(
            TWO, 2, [SP, PBASIS, SM, LEAF, EMPTY], [3, 2, 3], [0.75, -0.5]), "not on the path"),
        ("a wall inside the box of a cell", claimed(
            net([[1], [1], [1]], [-0.25, -0.75, -0.6], Relu()), 3,
            [SM, MBASIS, MBASIS, SM, MBOX, PBASIS], [2, 2, 3], [-0.5, 0.5, 0.875]), "MINUS_BOX"),
        ("a token too many", claimed(ONE, 2, [SM, SM], [], HALVES), "the tree ends"),
        ("an id too many", claimed(ONE, 2, [SM], [0], HALVES), "the tree ends"),
        ("a point too many", claimed(ONE, 2, [SM], [], [*HALVES, 0.75]), "the tree ends"),
        ("another number of inputs", claimed(ONE, 2, [SM], [], [[-0.5, 0], [0.5, 0]]), "fit"),
    ]


def false_streams() -> list[tuple[str, Certificate, str]]:
    """Trees of several streams that do not fit together."""
    root, below = SPLIT
    whole = stream([SM, MBASIS, SM], [2], [-0.5, 0.25, 0.75])
    made: list[tuple[str, Certificate, str]] = []
    for complete in (True, False):
        made += [
            (f"{name}, {complete}", joined(TWO, count, streams, complete=complete), why)
            for name, count, streams, why in (
                ("a stream that fills no hole", 4, [whole, below], "fills no hole"),
                ("a stream twice", 4, [root, below, below], "twice"),
                ("two roots", 6, [whole, whole], "twice"),
                ("a prefix without its split", 3, [root, replace(below, prefix=b"\0")], "is no"),
                ("a hole in itself", 3, [whole, only_a_hole(b"\x02")], "only a hole"),
                ("a prefix too long", 3, [root, replace(below, prefix=b"\2\2\2")], "prefix"),
                ("a prefix of other codes", 3, [root, replace(below, prefix=b"\6")], "prefix"),
                ("no root", 1, [below], "whole chart"),
            )
        ]
    made.append(("an open hole", joined(TWO, 2, [root]), "open"))
    return made


def other_evidence() -> list[Data]:
    half = Exact(integers([1], (1,)), 2)
    return [Sweep(()), Enumerate(), Counterexample(half)]


# --- files ----------------------------------------------------------------------------------------


def resealed(certificate: Certificate, path: Path, forge: Callable[[dict[str, Any]], None]) -> None:
    """The certificate's file with its record changed, and sealed again."""
    save(certificate, path)
    record = json.loads(path.read_text())
    forge(record)
    record["seal"] = seal(record)
    path.write_text(json.dumps(record))


def chart_of(record: dict[str, Any]) -> dict[str, Any]:
    return record["evidence"][0]["data"]["charts"][0]


def put(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Another array in place of one of the streams' parts."""
    def forge(record: dict[str, Any]) -> None:
        entry, blob = array_bytes(value)
        chart_of(record)[name] = len(record["arrays"])
        record["arrays"].append(entry | {"data": base64.b64encode(blob).decode()})
    return forge


def claim_with(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda record: record["claim"].update(changes)


def hostile() -> list[tuple[Callable[[dict[str, Any]], None], str]]:
    """Changes of the record of `two()`, and part of the reason."""
    one = Exact(integers([1, 1], (1, 2)))
    return [
        (put("lengths", np.array([0, 3, 1, 3, -1])), "impossible lengths"),
        (put("lengths", np.array([0, 1 << 62, 1, 3, 0])), "impossible lengths"),
        (put("lengths", np.array([0, 3, 1, 3])), "impossible lengths"),
        (put("lengths", np.array([0, 2, 1, 3, 0])), "longer or shorter"),
        (put("lengths", np.zeros(0, dtype=np.int64)), "longer or shorter"),
        (put("codes", np.array([0, 4, 0])), "no uint8"),
        (put("ids", np.array([2])), "no int32"),
        (put("ids", np.array([-2], dtype=np.int32)), "fit the chart"),
        (put("points", np.zeros(3)), "no float64 of 2 axes"),
        (put("points", np.zeros((3, 2))), "exact points of another shape"),
        (put("fine", one), "exact points of another shape"),
        (put("fine", np.zeros((0, 2))), "not exact"),
        (put("places", np.zeros(1, dtype=np.int64)), "exact points of another shape"),
        (fine(0, 1, -1), "fit the chart"), (fine(3, 1, -1), "fit the chart"),
        (fine(0, 0, 1), "positive denominator"), (fine(0, -2, 1), "positive denominator"),
        (lambda record: chart_of(record).pop("ids"), "other parts"),
        (lambda record: chart_of(record).update(more=0), "other parts"),
        (lambda record: record["evidence"][0]["data"].update(charts=7), "no list"),
        (lambda record: record["evidence"][0]["data"]["charts"].append([]), "other parts"),
        (claim_with(complete=1), "complete"), (claim_with(complete=None), "complete"),
        (claim_with(count=-3), "no natural number"), (claim_with(count="3"), "no natural number"),
        (claim_with(count=True), "no natural number"), (claim_with(kind=3), "kind"),
        (claim_with(kind="affine"), "affine"), (claim_with(count=1 << 70), "regions were found"),
        (claim_with(relation="equal"), "only their number"),
    ]


def fine(place: int, denominator: int, numerator: int) -> Callable[[dict[str, Any]], None]:
    """An exact point for one leaf; for the first one twice, where it is a point."""
    places = [place] if denominator < 1 or place else [0, 0]

    def forge(record: dict[str, Any]) -> None:
        n = len(places)
        put("places", np.array(places, dtype=np.int64))(record)
        put("fine", Exact(integers([denominator, numerator] * n, (n, 2))))(record)
        put("lengths", np.array([0, 3, 1, 3, n]))(record)
    return forge
