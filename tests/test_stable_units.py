# SPDX-License-Identifier: Apache-2.0
"""Units that only slopes of their own show to be stable: found, proved, and not where they are not.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import networks
from equivalence import variants
from isoform.certificate.basis import Basis, Range, interval_range
from isoform.certificate.check import check
from isoform.certificate.evidence import Sweep
from isoform.certificate.verdict import Proved
from isoform.errors import CertificateRejected
from isoform.network.claim import Claim, Equal
from isoform.network.domain import Box, Everywhere
from isoform.numerics.exact import Exact
from isoform.numerics.sparse import ExactSparse
from isoform.verify.prove import prove
from isoform.verify.stable_units import Simulation, by_peeling

SHALLOW = networks.random_chain((3, 7, 2), 4)
DOMAINS = {"everywhere": Everywhere(), "symmetric": Box(-1, 1), "shifted": Box("-0.3", "1.7")}


def pair(target: networks.Chain):
    return networks.network(SHALLOW), networks.network(target)


@pytest.mark.parametrize("name", DOMAINS)
def test_deep_and_narrow_is_proved_by_structure(name: str) -> None:
    deep = variants.reordered(variants.deepened(SHALLOW), 3)
    verdict = prove(*pair(deep), Claim(Equal(), DOMAINS[name]), timeout=0)
    assert isinstance(verdict, Proved) and verdict.upper == 0
    data = verdict.certificate.evidence[0].data
    assert isinstance(data, Sweep) and any(codes.slopes is not None for codes in data.codes)
    assert check(verdict.certificate).holds


@pytest.mark.parametrize("layer", [2, 3, 5])
@pytest.mark.parametrize("row", [0, 4, 6, 8])
def test_one_bit_in_a_carry_is_not_proved(layer: int, row: int) -> None:
    """Rows: 0 to 2 carry positive parts, 3 to 5 negative parts, 6 is the unit, then the sums."""
    deep = list(variants.deepened(SHALLOW))
    weight = deep[layer].weight.copy()
    weight[row, row] = np.nextafter(weight[row, row], np.float32(2)) or 2**-20
    deep[layer] = replace(deep[layer], weight=weight)
    verdict = prove(*pair(tuple(deep)), Claim(Equal(), Box(-1, 1)), timeout=0)
    assert not isinstance(verdict, Proved)


def test_other_slopes_are_rejected() -> None:
    deep = variants.deepened(SHALLOW)
    made = prove(*pair(deep), Claim(Equal(), Box(-1, 1)), timeout=0)
    assert isinstance(made, Proved)
    item = made.certificate.evidence[0]
    at = next(i for i, codes in enumerate(item.data.codes) if codes.slopes is not None)
    codes = item.data.codes[at]
    for slopes in (codes.slopes * 0, codes.slopes - (codes.slopes > 0), codes.slopes // 2):
        forged = (*item.data.codes[:at], replace(codes, slopes=slopes.astype(np.uint16)),
                  *item.data.codes[at + 1 :])
        evidence = replace(item, data=replace(item.data, codes=forged))
        with pytest.raises(CertificateRejected):
            check(replace(made.certificate, evidence=(evidence,)))


def units(rng: np.random.Generator, n: int, layers: int, box: Box | None) -> tuple[Basis, list]:
    """A basis with layers of random units, and their rows as mappings."""
    basis, rows = Basis.on(box, n), []
    for _ in range(layers):
        width = basis.width
        entries = rng.integers(-4, 5, (int(rng.integers(1, 4)), width))
        entries[rng.uniform(size=entries.shape) < 0.3] = 0
        arguments = ExactSparse.of(Exact.of(entries) * Fraction(1, 4))
        before = interval_range(arguments, basis)
        basis.append("relu", arguments, before, before.relu())
        rows += [arguments.row_fractions(i) for i in range(len(entries))]
    return basis, rows


def values(rows: list, point: list[Fraction]) -> list[Fraction]:
    """All columns of the basis at a point."""
    seen = [Fraction(1), *point]
    for row in rows:
        seen.append(max(Fraction(0), sum((v * seen[k] for k, v in row.items()), Fraction(0))))
    return seen


@given(st.integers(0, 10**6), st.booleans(), st.integers(0, 2))
@settings(max_examples=60, deadline=None)
def test_sums_of_units_and_of_their_mirror_images_are_settled(
    seed: int, bounded: bool, less: int
) -> None:
    """sum of a_k r_k or a_k (r_k - rho_k), a_k > 0, over units that read different inputs, is
    linear, its opposite dead; with a last bit less of an input or a constant it is neither."""
    rng = np.random.default_rng(seed)
    basis = Basis.on(Box([-1] * 6, [1] * 6) if bounded else None, 6)
    entries = np.zeros((3, 7), dtype=np.int64)
    for k in range(3):
        entries[k, 1 + 2 * k : 3 + 2 * k] = rng.integers(1, 6, 2) * rng.choice([-1, 1], 2)
    arguments = ExactSparse.of(Exact.of(entries))
    before = interval_range(arguments, basis)
    columns = basis.append("relu", arguments, before, before.relu())
    total = np.array([Fraction(0)] * basis.width, dtype=object)
    mirrored = [True, *(rng.uniform(size=2) < 0.5)]
    for k, column in enumerate(columns):
        weight = Fraction(int(rng.integers(1, 5)), 2)
        total[column] += weight
        if mirrored[k]:
            total[:7] -= weight * entries[k]
    if less:
        total[1 if less == 1 else 0] -= Fraction(1, 1 << 20)
    both = ExactSparse.of(Exact.of(np.array([total, -total], dtype=object)))
    settled = by_peeling(both, basis, np.arange(2), Simulation(basis))
    found = {i: dead for i, (dead, _) in settled.items()}
    assert found == ({} if less else {0: False, 1: True})


@given(st.integers(0, 10**6))
@settings(max_examples=120, deadline=None)
def test_what_is_settled_is_so_at_points(seed: int) -> None:
    rng = np.random.default_rng(seed)
    basis, rows = units(rng, 2, 2, Box([-1, -1], [1, 1]))
    entries = rng.integers(-3, 4, (6, basis.width))
    entries[rng.uniform(size=entries.shape) < 0.4] = 0
    asked = ExactSparse.of(Exact.of(entries))
    found = by_peeling(asked, basis, np.arange(6), Simulation(basis))
    grid = [[Fraction(int(a), 8), Fraction(int(b), 8)] for a, b in rng.integers(-8, 9, (60, 2))]
    for point in grid:
        seen = values(rows, point)
        for i, (dead, _) in found.items():
            value = sum((v * seen[k] for k, v in asked.row_fractions(i).items()), Fraction(0))
            assert value <= 0 if dead else value >= 0


def test_a_missing_bound_is_no_obstacle_and_no_licence() -> None:
    """Everywhere: r - x is never negative for r = relu(x); r - 2 x is."""
    basis = Basis.on(None, 1)
    row = ExactSparse.eye(1, 2, at=1)
    basis.append("relu", row, Range.all_reals(1), Range.all_reals(1).relu())
    asked = ExactSparse.of(Exact.of(np.array([[0, -1, 1], [0, -2, 1], [0, 1, -1], [0, 1, 1]])))
    found = by_peeling(asked, basis, np.arange(4), Simulation(basis))
    assert {i: dead for i, (dead, _) in found.items()} == {0: False, 2: True}
