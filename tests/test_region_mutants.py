# SPDX-License-Identifier: Apache-2.0
"""Forged lists of regions against the truth, and errors planted in the checker of such lists.

A forgery is an edit of a true certificate, or the tree of a search that denies a split; its count
is what it lists. A mutant is one rule with a line changed: the true checker passes the battery,
every mutant fails it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

import region_claims as claims
import test_checker_mutants
from isoform.certificate.certificate import Certificate
from isoform.certificate.check import check
from isoform.certificate.region_evidence import Stream, Token
from isoform.errors import CertificateRejected
from isoform.network.charts import charts
from isoform.network.claim import Claim, RegionCount
from isoform.network.domain import Box, Domain, Everywhere, Polytope, bound_to
from isoform.network.linear_map import Dense
from isoform.network.network import Network, Node
from isoform.network.operators import Linear, Relu
from isoform.network.unit_layers import unit_layers
from region_claims import joined, mlp, net, streams_of
from region_streams import Found, Search, certified, polygons
from region_streams import Node as Cell

plant = test_checker_mutants.plant  # a fixture
DOMAINS: tuple[Domain, ...] = (
    Box(-1, 1), Box(Fraction(-1, 3), 1),
    Polytope(np.array([[1.0, 1.0], [0.0, 0.0]]), np.array([0.5, 0.0]), Box(-1, 1)),
)

# --- forgeries ------------------------------------------------------------------------------------


class Liar(Search):
    """Denies one split in three: in words of any kind, with rows that come to hand."""

    chance: random.Random

    def denied(self, found: Found, node: Cell, sides: list[tuple[list[int], Fraction]]) -> bool:
        if self.chance.random() < 0.7:
            return False
        active = self.chance.randrange(2)
        match self.chance.randrange(4):
            case 0:
                found.say(Token.MINUS_BOX + active)
            case 1 if node.signs:
                found.say(Token.MINUS_FOLLOW + active, self.chance.randrange(len(node.signs)))
            case 2:  # two children, the first one empty
                found.say(1 - active)
                rows = self.chance.sample(sorted(node.rows), self.k)
                found.say(Token.EMPTY, self.m + len(node.signs), *rows)
                node.signs = [*node.signs, 2 + active]
                return True
            case _:
                found.say(Token.MINUS_BASIS + active, *sides[1 - active][0])
        node.signs = [*node.signs, active]
        return True


def lying(network: Network, domain: Domain, chance: random.Random) -> Certificate:
    """The tree of a liar, with points of the cells where it has some."""
    (chart,) = charts(unit_layers(network), domain)
    search = Liar(chart)
    search.chance = chance
    found = search.run()
    streams = [part.stream(chart.dimension, exact=True) for part in found]
    return joined(network, sum(len(s.points) for s in streams), streams, domain)


def edited(stream: Stream, chance: random.Random, rows: int) -> Stream:
    """One or two entries changed, left out or repeated."""
    for _ in range(chance.randrange(1, 3)):
        name = chance.choice(("codes", "codes", "ids", "points", "prefix"))
        array = getattr(stream, name)
        if name == "prefix":
            if array:
                at = chance.randrange(len(array))
                array = array[:at] + bytes([chance.randrange(4)]) + array[at + 1 :]
        elif len(array):
            at, array = chance.randrange(len(array)), array.copy()
            if name == "points":
                array[at] += 2.0 ** -chance.randrange(12) * chance.choice((-1, 1))
            elif chance.random() < 0.3:
                array = np.delete(array, at)
            else:
                array[at] = chance.randrange(12 if name == "codes" else rows)
        stream = replace(stream, **{name: array})
    return stream


def nudged(network: Network, chance: random.Random) -> Network:
    """One weight of a layer changed."""
    nodes = list(network.nodes)
    inner = nodes[:-1]  # not the outputs
    at = chance.choice([n for n, node in enumerate(inner) if isinstance(node.operator, Linear)])
    operator = nodes[at].operator
    assert isinstance(operator, Linear)
    assert isinstance(operator.maps[0], Dense)
    weight = np.array(operator.maps[0].weight)
    place = tuple(chance.randrange(n) for n in weight.shape)
    weight[place] += chance.choice((-1, 1)) * 2.0 ** -chance.randrange(30)
    nodes[at] = Node(Linear((Dense(weight),), operator.bias), nodes[at].operands, nodes[at].shape)
    return replace(network, nodes=tuple(nodes))


def forgeries(seed: int, networks: int, edits: int) -> Iterator[tuple[Certificate, bool]]:
    """Certificates of lists that are probably wrong, each of as many regions as it lists; and, with
    True, those that they are made of."""
    chance = random.Random(seed)
    for _ in range(networks):
        network = mlp(chance.randrange(10**6), (2, 3, 2, 1), step=chance.random() < 0.3)
        domain = bound_to(chance.choice(DOMAINS), 2)
        honest = certified(network, domain, boxes=chance.random() < 0.5,
                           hole=chance.choice((0, 2, 4)))
        yield honest, True
        for _ in range(edits):
            kind = chance.randrange(4)
            forged = honest
            if kind == 0:
                streams = streams_of(honest)
                at = chance.randrange(len(streams))
                streams[at] = edited(streams[at], chance, 12)
                forged = joined(network, sum(len(s.points) for s in streams), streams, domain)
            elif kind == 1:
                other = nudged(network, chance)
                forged = replace(honest, source=other, target=other)
            elif kind == 2:
                wider = bound_to(Box(-1, 1 + 2.0 ** -chance.randrange(20)), 2)
                forged = replace(honest, claim=Claim(honest.claim.relation, wider))
            else:
                forged = lying(network, domain, chance)
            yield forged, False


def judge(seed: int, networks: int, edits: int) -> tuple[int, int]:
    """How many forgeries were accepted, their counts being true, and how many rejected."""
    accepted, rejected = 0, 0
    for forged, honest in forgeries(seed, networks, edits):
        try:
            check(forged)
        except CertificateRejected:
            assert not honest
            rejected += 1
            continue
        accepted += 1
        relation = forged.claim.relation
        assert isinstance(relation, RegionCount)
        assert relation.count == polygons(forged.source, forged.claim.domain)
    return accepted, rejected


@pytest.mark.parametrize("seed", range(4))
def test_forgeries_are_accepted_only_where_their_count_is_true(seed: int) -> None:
    accepted, rejected = judge(seed, 12, 12)
    assert accepted >= 12  # the honest ones at least
    assert rejected > 60


# --- errors in the checker ------------------------------------------------------------------------

COUNT, FARKAS, ROWS, TREE, CHARTS = (
    "isoform.certificate.region_count", "isoform.certificate.region_farkas",
    "isoform.certificate.region_rows", "isoform.certificate.region_tree",
    "isoform.network.charts",
)
MUTANTS = [
    (COUNT, "count_regions", "len({row.tobytes() for row in patterns})", "len(patterns)"),
    (COUNT, "count_regions", "count != relation.count", "count < relation.count"),
    (COUNT, "count_regions", "else count < relation.count", "else False"),
    (COUNT, "count_regions", "check_joined(streams, checked.holes, relation.complete)", "pass"),
    (COUNT, "count_regions", "source.digest != target.digest", "False"),
    (COUNT, "check_joined", 'prefixes[:1] != [b""]', "False"),
    (COUNT, "check_joined", "len(set(prefixes)) < len(prefixes) or", ""),
    (COUNT, "check_joined", "not set(prefixes[1:]) <= set(holes)", "False"),
    (COUNT, "check_joined", "if complete and", "if False and"),
    (FARKAS, "on_box", ">= most", ">= most - (1 << GRID)"),
    (FARKAS, "on_box", "np.maximum(a * low, a * high)", "a * low"),
    (FARKAS, "on_box", "np.maximum(a * low, a * high)", "a * high"),
    (FARKAS, "on_box", "np.maximum", "np.minimum"),
    (FARKAS, "tightened", "-(-(gap + least[i]) // c)", "(gap + least[i]) // c"),
    (FARKAS, "tightened", "max(low[i], (gap + least[i]) // c)",
     "max(low[i], -(-(gap + least[i]) // c))"),
    (FARKAS, "tightened", "c * (x if c > 0 else y)", "c * (y if c > 0 else x)"),
    (FARKAS, "tightened", "-(-(gap + least[i]) // c))\n        elif",
     "-(-gap // c))\n        elif"),
    (FARKAS, "beyond", "-(-most >> shift)", "most >> shift"),
    (FARKAS, "beyond", "y if r > 0 else x", "x if r > 0 else y"),
    (FARKAS, "implied", "all(v >= 0 for v in y)", "True"),
    (FARKAS, "implied", "bool(bound <= target[0])", "True"),
    (FARKAS, "no_interior", "return min(y) >= 0 and", "return"),
    (FARKAS, "no_interior", "(bound < 0 or (bound == 0 and strict))", "bound <= 0"),
    (FARKAS, "no_interior", "(bound < 0 or (bound == 0 and strict))", "True"),
    (FARKAS, "no_interior", "v and any(row)", "any(row)"),
    (FARKAS, "whole_points", "made[number] = ", "made[0] = "),
    (ROWS, "Cells.__init__", "-((-chart.high.numerator << GRID) // chart.high.denominator)",
     "-((-chart.high.numerator << GRID) // chart.high.denominator) // 2"),
    (ROWS, "Cells.settle", "self.by_box(asked)", "None"),
    (ROWS, "Cells.settle", "self.by_basis(asked)", "None"),
    (ROWS, "Cells.settle", "self.follows(asked)", "None"),
    (ROWS, "Cells.settle", "self.empties(asked)", "None"),
    (ROWS, "Cells.settle", "self.outside(asked, points)", "None"),
    (ROWS, "Cells.add_forms", "on = on | ~", "on = on & ~"),
    (ROWS, "Cells.add_forms", "np.where(on, before, 0)", "before"),
    (ROWS, "Cells.add_forms", "on = on | ~np.asarray((before != 0).any(axis=2), dtype=bool)"
     "[:, :, None]", "pass"),
    (ROWS, "Cells.signed", "which[:, 1] < 0", "which[:, 1] > 0"),
    (ROWS, "Cells.add_boxes", "low[i] = max(low[i], -most)", "low[i] = max(low[i], most)"),
    (ROWS, "Cells.remainders", "np.maximum(y, 0)", "y"),
    (ROWS, "Cells.by_box", "& self.not_zero(form, sign)", ""),
    (ROWS, "Cells.by_basis", "holds & self.not_zero(form, sign)", "holds"),
    (ROWS, "Cells.not_zero", "| (sign < 0)", "| (sign > 0)"),
    (ROWS, "Cells.follows", "parallel & agree", "agree"),
    (ROWS, "Cells.follows", "parallel & agree", "parallel"),
    (ROWS, "Cells.follows", "> 0, dtype=bool)", ">= 0, dtype=bool)"),
    (ROWS, "Cells.follows", "p * q * (sign * leading).astype(object)",
     "(sign * leading).astype(object)"),
    (ROWS, "Cells.outside", "<= 0, dtype=bool", "< 0, dtype=bool"),
    (ROWS, "Cells.outside", "gaps >= self.proper.astype(int)", "gaps >= 0"),
    (ROWS, "Cells.outside", "gaps >= self.proper.astype(int)", "gaps > -10**400"),
    (ROWS, "Cells.outside", "gaps >= self.proper.astype(int)", "gaps > 0"),
    (ROWS, "first_failure", "len(failed)", "len(failed) > 1"),
    (TREE, "Walk.run", "(self.at, self.id_at, self.leaves) != ends", "False"),
    (TREE, "Walk.run", "self.settle()\n    ends", "ends"),
    (TREE, "Walk.split", "2 + active", "3 - active"),
    (TREE, "Walk.split", "2 * active - 1", "1 - 2 * active"),
    (TREE, "Walk.back", "self.rows[self.m + left] = -1", "pass"),
    (TREE, "Walk.back", "self.split(unit, box, active)", "self.split(unit, box, 1 - active)"),
    (TREE, "Walk.node", "self.stack.append((unit, 1 - code, self.box, len(self.path)))", "pass"),
    (TREE, "Walk.hole", "if self.at == 1", "if False"),
    (TREE, "Walk.take", "or min(found) < 0", ""),
    (TREE, "Walk.stable", "if leader >= unit", "if False"),
    (TREE, "Walk.stable", "2 * (self.signs[leader] & 1) - 1", "1"),
    (TREE, "Walk.stable", "self.signs[unit] = active", "self.signs[unit] = 1"),
    (TREE, "Walk.tighten", "2 * (end % 2) - 1", "1 - 2 * (end % 2)"),
    (CHARTS, "everywhere", "for side in (1, -1)", "for side in (1, 1)"),
]


def test_false_claims_are_rejected() -> None:
    for name, forged, _ in claims.false():
        try:
            check(forged)
        except CertificateRejected:
            continue
        pytest.fail(f"accepted: {name}")


def battery() -> None:
    """Fails, one way or another, on a checker with an error."""
    test_false_claims_are_rejected()
    for made in claims.honest():
        check(made)
    lines = net([[1, 0], [0, 1], [1, 1], [1, -2]], [0, 0.5, -3, 40], Relu())
    everywhere = certified(lines, Everywhere(), count=11, boxes=True, exact=True)
    check(everywhere)
    for wrong, complete in ((10, True), (12, True), (12, False)):
        relation = RegionCount(wrong, complete=complete)
        with pytest.raises(CertificateRejected):
            check(replace(everywhere, claim=Claim(relation, Everywhere())))
    with pytest.raises(CertificateRejected):
        check(replace(claims.two(), target=claims.OPPOSITE))
    for seed in range(4):
        judge(seed, 12, 12)


def test_the_true_checker_passes_the_battery() -> None:
    battery()


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: f"{m[1]}: {m[3]}"[:70])
def test_mutants_are_found_out(mutant: tuple[str, str, str, str], plant: Callable) -> None:
    plant(*mutant)
    with pytest.raises((Exception, pytest.fail.Exception)):
        battery()
