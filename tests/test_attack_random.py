# SPDX-License-Identifier: Apache-2.0
"""Random forgeries against the truth: networks of one input enumerated exactly, others at many
points. No verdict may be wrong, no bound below the truth, whatever the codes say."""

from __future__ import annotations

import random
from fractions import Fraction

import numpy as np
import pytest

import attack_networks as attack
from isoform.certificate.basis import GRID, Basis
from isoform.certificate.certificate import Certificate
from isoform.certificate.check import concluded
from isoform.certificate.codes import Value
from isoform.certificate.conclusion import conclude
from isoform.certificate.evidence import Evidence, Sweep
from isoform.certificate.sweep import run
from isoform.certificate.tree_pieces import ALONE
from isoform.certificate.verdict import Proved, Refuted
from isoform.errors import CertificateRejected, Refused
from isoform.network.claim import Claim, Equal, Relation, SameDecision, Within
from isoform.network.domain import Box, bound_to
from isoform.network.evaluate import evaluate_exact
from isoform.network.network import Network
from isoform.numerics.enclosure import Enclosure
from isoform.numerics.exact import Exact
from isoform.numerics.sparse import ExactSparse
from isoform.verify.identity import phi
from isoform.verify.prove import prove, prove_best


class Truth:
    """Two piecewise affine networks of one input on [low, high], enumerated."""

    def __init__(self, source: Network, target: Network, low: Fraction, high: Fraction):
        points = attack.pieces([source, target], low, high)
        columns = Exact.of([points])
        self.at = [list(zip(*(out[i].fractions() for i in range(len(out))), strict=True))
                   for out in (evaluate_exact(source, columns), evaluate_exact(target, columns))]
        self.between = [
            (left, right, *(attack.lines(net, left, right)[0] for net in (source, target)))
            for left, right in zip(points, points[1:], strict=False)
        ]

    def largest(self) -> Fraction:
        """The supremum of |g - f|."""
        gaps = [abs(a - b) for f, g in zip(*self.at, strict=True)
                for a, b in zip(f, g, strict=True)]
        gaps += [
            abs((a - c) * x + b - d) for left, right, f, g in self.between
            for (a, b), (c, d) in zip(f, g, strict=True) for x in (left, right)
        ]
        return max(gaps)

    def decides_alike(self, margin: Fraction) -> bool:
        for f, g in zip(*self.at, strict=True):
            if any(f[c] - f[1 - c] >= margin and g[1 - c] > g[c] for c in (0, 1)):
                return False
        return not any(
            lost(left, right, f, g, c, margin) for left, right, f, g in self.between
            for c in (0, 1)
        )

    def holds(self, relation: Relation) -> bool:
        match relation:
            case Equal():
                return self.largest() == 0
            case Within(eps):
                return self.largest() <= eps
            case SameDecision(margin):
                return self.decides_alike(margin)


def lost(left: Fraction, right: Fraction, f, g, c: int, margin: Fraction) -> bool:
    """Whether somewhere in the open interval f_c >= f_j + margin and g_j > g_c."""
    u = f[c][0] - f[1 - c][0], f[c][1] - f[1 - c][1] - margin
    v = g[1 - c][0] - g[c][0], g[1 - c][1] - g[c][1]
    cuts = sorted({left, right, *(-b / a for a, b in (u, v) if a and left < -b / a < right)})
    inner = [*cuts[1:-1], *((p + q) / 2 for p, q in zip(cuts, cuts[1:], strict=False))]
    return any(u[0] * x + u[1] >= 0 and v[0] * x + v[1] > 0 for x in inner)


def random_pair(rng: random.Random) -> tuple[Network, Network, Fraction, Fraction]:
    """Two networks of one input and two outputs, equal, nearly equal or not, and an interval."""
    widths = [1, *(rng.randrange(1, 5) for _ in range(rng.choice([1, 1, 2]))), 2]
    kinds = [rng.choice(["relu"] * 5 + ["step"]) for _ in widths[1:-1]]
    layers = attack.random_layers(rng, widths)
    other = attack.disguised(rng, layers, kinds) if rng.random() < 0.8 else layers
    if rng.random() < 0.6:
        other = attack.nudged(rng, other)
    low = Fraction(rng.choice([-2, -1, 0, Fraction(-1, 3)]))
    high = low + rng.choice([Fraction(0), Fraction(1, 2), 1, 3])
    return attack.chain(layers, kinds), attack.chain(other, kinds), low, high


def asked_of(truth: Truth, rng: random.Random) -> list[Relation]:
    """Claims on the edge of the truth."""
    top = truth.largest()
    tiny = Fraction(1, rng.choice([2**10, 2**90, 2**97, 2**150]))
    return [Equal(), Within(top), Within(max(Fraction(0), top - tiny)), Within(top / 2),
            Within(top + tiny), SameDecision(Fraction(0)), SameDecision(top), SameDecision(tiny)]


def judge_verdicts(seed: int, pairs: int) -> dict[str, int]:
    """Ask the prover and compare with the truth."""
    rng, seen = random.Random(seed), {"proved": 0, "refuted": 0, "undecided": 0}
    for _ in range(pairs):
        source, target, low, high = random_pair(rng)
        truth, box = Truth(source, target, low, high), Box([low], [high])
        relation = rng.choice(asked_of(truth, rng))
        verdict = prove(source, target, Claim(relation, box), timeout=0.01)
        holds, top = truth.holds(relation), truth.largest()
        match verdict:
            case Proved():
                assert holds, (seed, relation)
                seen["proved"] += 1
            case Refuted():
                assert not holds, (seed, relation)
                seen["refuted"] += 1
            case _:
                seen["undecided"] += 1
        if not isinstance(relation, SameDecision):
            assert verdict.lower <= top and (verdict.upper is None or top <= verdict.upper)
        if rng.random() < 0.1:
            best = prove_best(source, target, box, timeout=0.01)
            assert isinstance(best, Proved) and truth.holds(best.claim.relation)
    return seen


def judge_forgeries(seed: int, pairs: int, tries: int = 4) -> int:
    """Forge codes; whatever they lead to must bound the truth. Returns how many were accepted."""
    rng, accepted = random.Random(seed), 0
    for _ in range(pairs):
        source, target, low, high = random_pair(rng)
        truth, box = Truth(source, target, low, high), Box([low], [high])
        for _ in range(tries):
            basis = Basis.on(box, 1)
            forger = attack.Forger(basis, rng, rng.choice([0.3, 0.7, 1.0]))
            try:
                first, second = run(source, basis, forger), run(target, basis, forger)
            except CertificateRejected:
                continue
            backward = rng.random() < 0.5
            top = truth.largest()
            upper = conclude(first, second, basis, Within(top + 10**9), backward)
            assert upper >= top, seed
            margin = conclude(first, second, basis, SameDecision(top + 10**9), backward)
            assert truth.decides_alike(margin), seed
            for relation in asked_of(truth, rng):
                forged = Certificate(
                    source=source, target=target, claim=Claim(relation, box), conclusion="e1",
                    evidence=(Evidence("e1", Sweep(tuple(forger.made), backward)),),
                )
                try:
                    concluded(forged, ALONE)
                except CertificateRejected:
                    continue
                accepted += 1
                assert truth.holds(relation), (seed, relation)
    return accepted


# --- any operator, at many points -------------------------------------------------------------


Ends = tuple[Fraction, Fraction]


def row_ends(rows: ExactSparse, i: int, columns: list[Ends]) -> Ends:
    """Interval of row i, given intervals of the columns."""
    low = high = Fraction(0)
    for j, w in rows.row_fractions(i).items():
        ends = w * columns[j][0], w * columns[j][1]
        low, high = low + min(ends), high + max(ends)
    return low, high


def unit_ends(basis: Basis, point: list[Fraction]) -> list[Ends]:
    """Every column at a point: a number as long as nothing is only known up to an error column;
    opaque units in floating point."""
    columns = [(v, v) for v in (Fraction(1), *point)]
    for block in basis.blocks:
        name, new = block.kind.split()[0], []
        rho = [row_ends(block.arguments, i, columns) for i in range(block.stop - block.start)]
        for i, (low, high) in enumerate(rho):
            match name:
                case "relu":
                    new.append((max(low, Fraction(0)), max(high, Fraction(0))))
                case "step":
                    new.append((Fraction(low >= 0), Fraction(high >= 0)))
                case "product":
                    ends = [a * b for a in (low, high) for b in row_ends(block.others, i, columns)]
                    new.append((min(ends), max(ends)))
                case "error":
                    at = block.start + i
                    new.append((Fraction(int(basis.range.low[at]), 1 << GRID),
                                Fraction(int(basis.range.high[at]), 1 << GRID)))
        if name not in ("relu", "step", "product", "error"):
            new = smooth_ends(block.kind, rho)
        columns += new
    return columns


def smooth_ends(kind: str, rho: list[Ends]) -> list[Ends]:
    """Values of opaque units; far ends where their arguments are intervals."""
    if any(low != high for low, high in rho):
        return [(Fraction(-100), Fraction(100))] * len(rho)
    values = np.nan_to_num(phi(kind, np.array([[float(low) for low, _ in rho]]))[0], posinf=1e9)
    return [(Fraction(float(v)), Fraction(float(v))) for v in values]


def invariant_holds(value: Value, net: Network, basis: Basis, point: list[Fraction]) -> bool:
    """|value - row| <= radius at a point, and every column within its range (up to the error of
    the floats that stand for opaque units)."""
    columns = unit_ends(basis, point)
    exact = ("relu", "step", "product", "error")
    smooth = any(b.kind.split()[0] not in exact for b in basis.blocks)
    slack = Fraction(1, 10**5) if smooth else Fraction(0)
    try:
        out = Enclosure.of(evaluate_exact(net, Exact.of(point)))
    except Refused:
        return True
    rows = value.rows.widened(basis.width)
    for i in range(len(value.radius)):
        low, high = row_ends(rows, i, columns)
        radius = Fraction(int(value.radius[i]), 1 << GRID) + slack * (1 + abs(low) + abs(high))
        if out.low[i].item() - high > radius or low - out.high[i].item() > radius:
            return False
    known = basis.range
    for j, (low, high) in enumerate(columns):
        room = slack * 2**GRID * (1 + abs(low) + abs(high))
        if not known.open_low[j] and high * 2**GRID < known.low[j] - room:
            return False
        if not known.open_high[j] and low * 2**GRID > known.high[j] + room:
            return False
    return True


def judge_invariants(seed: int, networks: int, smooth: bool) -> int:
    """Forged codes on graphs over all operators: rows, radii and ranges at many points."""
    rng, done = random.Random(seed), 0
    for _ in range(networks):
        n = rng.choice([1, 2, 3])
        net = attack.any_network(rng, n, smooth)
        low = [Fraction(rng.choice([-1, 0, Fraction(-2, 3), -2])) for _ in range(n)]
        high = [a + Fraction(rng.choice([0, 1, Fraction(1, 2), 3])) for a in low]
        box = bound_to(Box(low, high), n) if rng.random() < 0.85 else None
        basis = Basis.on(box, n)
        forger = attack.Forger(basis, rng, rng.choice([0.0, 0.3, 1.0]))
        try:
            found = [run(net, basis, forger), run(net, basis, forger)]
        except CertificateRejected:
            continue
        done += 1
        for _ in range(6):
            point = [rng.choice([a, b, a + (b - a) * Fraction(rng.randrange(13), 12)])
                     for a, b in zip(low, high, strict=True)]
            for value in found:
                assert invariant_holds(value, net, basis, point), seed
    return done


def test_verdicts_are_never_wrong() -> None:
    seen = judge_verdicts(1, 150)
    assert seen["proved"] > 30 and seen["refuted"] > 15


def test_forged_codes_never_prove_what_is_false() -> None:
    assert judge_forgeries(2, 40, 2) > 30


def test_rows_radii_and_ranges_hold_whatever_the_codes() -> None:
    assert judge_invariants(3, 150, smooth=False) > 60


def test_rows_radii_and_ranges_hold_for_smooth_units() -> None:
    assert judge_invariants(4, 100, smooth=True) > 30


@pytest.mark.slow
def test_verdicts_are_never_wrong_at_length() -> None:
    judge_verdicts(11, 1200)


@pytest.mark.slow
def test_forged_codes_never_prove_what_is_false_at_length() -> None:
    judge_forgeries(12, 600, 3)


@pytest.mark.slow
def test_rows_radii_and_ranges_hold_at_length() -> None:
    judge_invariants(13, 2000, smooth=False)
    judge_invariants(14, 1000, smooth=True)
