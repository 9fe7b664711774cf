# SPDX-License-Identifier: Apache-2.0
"""Hints of single leaves, on their way to the evidence and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isoform.certificate.leaf_hints import Hints


@dataclass(frozen=True, slots=True, eq=False)
class Hint:
    """What a leaf says of one form: the arrays of `Hints`, for one leaf."""

    form: int
    places: np.ndarray
    added: np.ndarray
    low: np.ndarray
    beside: np.ndarray
    faces: np.ndarray
    slots: np.ndarray
    prices: np.ndarray
    shares: np.ndarray


def gathered(leaves: list[tuple[int, Hint]]) -> Hints:
    """The hints of leaves (token, hint) as evidence."""
    hints = [hint for _, hint in leaves]

    def all_of(name: str) -> list[np.ndarray]:
        return [getattr(hint, name) for hint in hints]

    return Hints(
        leaves=np.array([at for at, _ in leaves], dtype=np.int32),
        forms=np.array([hint.form for hint in hints], dtype=np.int32),
        ends=np.cumsum([len(hint.added) for hint in hints]).astype(np.int64),
        places=np.concatenate(all_of("places")), added=np.concatenate(all_of("added")),
        low=np.stack(all_of("low")), beside=np.stack(all_of("beside")),
        faces=np.stack(all_of("faces")),
        phase_ends=np.cumsum([len(hint.slots) for hint in hints]).astype(np.int64),
        phase_slots=np.concatenate(all_of("slots")), prices=np.concatenate(all_of("prices")),
        shares=np.concatenate(all_of("shares")),
    )


def scattered(hints: Hints) -> list[tuple[int, Hint]]:
    """The leaves and hints that `gathered` put together."""
    places, added = (np.split(part, hints.ends[:-1]) for part in (hints.places, hints.added))
    phases = (np.split(part, hints.phase_ends[:-1])
              for part in (hints.phase_slots, hints.prices, hints.shares))
    rows = zip(hints.leaves.tolist(), hints.forms.tolist(), places, added, hints.low,
               hints.beside, hints.faces, *phases, strict=True)
    return [(at, Hint(*parts)) for at, *parts in rows]
