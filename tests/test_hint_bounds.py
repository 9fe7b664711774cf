# SPDX-License-Identifier: Apache-2.0
"""Hints of leaves are free: with any multiples, slopes and shares a pass gives an upper bound."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

import test_tree_mutants as mutants
from differential_pairs import (
    fixed_or_none,
    inside,
    numbers,
    random_paired,
    random_points,
    random_tree,
    values_at,
)
from isoform.certificate import differential, phases
from isoform.certificate.differential import Boxes
from isoform.certificate.leaf_hints import Hints
from isoform.certificate.phases import SHARES
from isoform.certificate.tree import Rows
from isoform.errors import CertificateRejected
from test_differential import BITS, form_values, random_forms

HINTS, DIFFERENTIAL = "isoform.certificate.leaf_hints", "isoform.certificate.differential"
PHASES = "isoform.certificate.phases"
MUTANTS = [
    (HINTS, "Hints.put", "ops.dot(positive, low) + ops.dot(negative, high)",
     "ops.dot(positive, low)"),
    (HINTS, "Hints.put", "ops.dot(positive, low) + ops.dot(negative, high)",
     "ops.dot(positive, high) + ops.dot(negative, low)"),
    (HINTS, "Hints.put", "(-boxes.bounds[rows.boxes", "(0 * boxes.bounds[rows.boxes"),
    (DIFFERENTIAL, "Differential.carry", "omega + added[..., Z] + added[..., DELTA]",
     "omega + added[..., DELTA]"),
    (DIFFERENTIAL, "Differential.carry", "alpha + added[..., Y] + added[..., Z]",
     "alpha + added[..., Y]"),
    (DIFFERENTIAL, "Differential.through", "p - beside", "p"),
    (PHASES, "taken", "np.add.at(constant, at.row, more)", "pass"),
    (PHASES, "taken", "np.add.at(inputs, at.row, alpha)", "pass"),
    (PHASES, "taken", "fits & direct.fits[at.slot]", "fits"),
    (PHASES, "Phased.within", "found.slot - first", "found.slot[::-1] - first"),
    (HINTS, "Hints.phased", "boxes.low[b], boxes.high[b]", "boxes.high[b], boxes.high[b]"),
    (HINTS, "Hints.phased", "boxes.bounds[b, slot, :2]", "boxes.bounds[b[::-1], slot, :2]"),
    (PHASES, "bound", "spread(q, gap) +", "0 * spread(q, gap) +"),
    (PHASES, "bound", "off = -spread", "off = spread"),
    (PHASES, "bound", "spread(at.prices[:, 1], pivot)", "0 - spread(at.prices[:, 1], pivot)"),
    (PHASES, "bound", "ends[:, 1] > 0, ends[:, 0] < 0", "ends[:, 0] > 0, ends[:, 0] < 0"),
    (PHASES, "bound", "ends[:, 1] > 0, ends[:, 0] < 0", "ends[:, 1] > 0, ends[:, 1] < 0"),
    (PHASES, "bound", "at.ends[:, 1], at.ends[:, 0]", "at.ends[:, 0], at.ends[:, 1]"),
    (PHASES, "bound", "np.maximum(*tops)", "np.minimum(*tops)"),
    (PHASES, "bound", "phase[:, 0] * whole", "phase[:, 0] * 0"),
    (PHASES, "bound", "np.minimum(left, 0) * at.low", "np.minimum(left, 0) * at.high"),
    (PHASES, "bound", "- alpha.astype(own.dtype) * unit", "- 0 * alpha.astype(own.dtype) * unit"),
    (PHASES, "Direct.of", "fits[rows.row_numbers()[rows.columns > d]] = False", "pass"),
]


def random_hints(random: np.random.Generator, boxes: Boxes, box: np.ndarray,
                 forms: np.ndarray) -> Hints:
    """One hint for each of these boxes and forms."""
    count, slots = len(box), boxes.signs.shape[1]
    places, added, ends = [], [], []
    for _ in range(count):
        chosen = random.permutation(3 * slots)[: int(random.integers(0, 4))]
        places += np.sort(chosen).tolist()
        added += (random.normal(size=len(chosen)) * random.choice([0.1, 1, 4])).tolist()
        ends.append(len(added))
    kind = random.choice([np.uint8, np.uint16])  # both are read
    low = random.integers(0, np.iinfo(kind).max, (count, 2 * slots), dtype=kind, endpoint=True)
    low[random.random(low.shape) < 0.5] *= 0
    beside = random.normal(size=(count, slots)) * random.choice([0, 0.5, 3], (count, slots))
    return Hints(
        np.arange(count, dtype=np.int32), forms.astype(np.int32), np.array(ends, dtype=np.int64),
        np.array(places, dtype=np.int32), np.array(added, dtype=np.float32),
        low, beside.astype(np.float32), np.zeros((count, 0), dtype=np.float32),
        *random_phases(random, count, slots, boxes.low.shape[1]),
    )


def random_phases(
    random: np.random.Generator, count: int, slots: int, inputs: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Slots in both phases for so many hints, with any prices and shares."""
    chosen = [
        np.sort(random.permutation(slots)[: int(random.integers(0, slots + 1))])
        if random.random() < 0.7 else np.zeros(0, dtype=np.int64) for _ in range(count)
    ]
    total = sum(map(len, chosen))
    prices = random.exponential(size=(total, 2)) * random.choice([0, 0.3, 2], (total, 2))
    shares = random.choice([0, SHARES, SHARES, SHARES // 2, 9], (total, inputs))
    return (
        np.cumsum([len(part) for part in chosen]).astype(np.int64),
        np.concatenate([np.zeros(0, np.int64), *chosen]).astype(np.int32),
        prices.astype(np.float32), shares.astype(np.uint16),
    )


def judge(seeds: range) -> Counter[str]:
    met: Counter[str] = Counter()
    for seed in seeds:
        random = np.random.default_rng(seed)
        pair, _, _ = random_paired(random)
        points = [values_at(pair, u) for u in random_points(random, pair.dimension, 9)]
        forms = random_forms(random, pair)
        truth = [form_values(forms, values) for values in points]
        bounds = fixed_or_none(pair, int(random.choice(BITS)))
        if bounds is None or not bounds.units:
            continue
        try:
            rows = Rows(bounds, forms)
            for boxes, layers, _ in random_tree(random, bounds, 4):
                box, form = np.nonzero(np.ones((len(boxes), len(forms.strict)), dtype=bool))
                hints = random_hints(random, boxes, box, form)
                carried = bounds.carried(box, rows.p[form], rows.q[form], bounds.count, layers)
                hints.put(carried, boxes, np.arange(len(box)), bounds)
                upper = numbers(bounds.concluded(carried, boxes, layers, bounds.count), bounds.ops)
                for i in range(len(boxes)):
                    for values, true in zip(points, truth, strict=True):
                        if inside(boxes, i, values, bounds.ops):
                            met["points"] += 1
                            first = i * len(true)
                            assert all(v <= upper[first + t] for t, v in enumerate(true))
        except CertificateRejected:
            met["too large"] += 1
    return met


def test_hints_are_free() -> None:
    met = judge(range(70))
    assert met["points"] > 400 > met["too large"] * 5


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: f"{m[1]}: {m[3]}"[:70])
def test_errors_in_hints_are_found_out(
    mutant: tuple[str, str, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, name, wrong = mutants.planted(*mutant)
    monkeypatch.setattr(owner, name, wrong)
    if owner is phases and hasattr(differential, name):  # imported by name
        monkeypatch.setattr(differential, name, wrong)
    with pytest.raises(AssertionError):
        judge(range(120))
