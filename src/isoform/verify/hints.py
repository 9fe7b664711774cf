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


def gathered(leaves: list[tuple[int, Hint]]) -> Hints:
    """The hints of leaves (token, hint) as evidence."""
    hints = [hint for _, hint in leaves]
    return Hints(
        np.array([at for at, _ in leaves], dtype=np.int32),
        np.array([hint.form for hint in hints], dtype=np.int32),
        np.cumsum([len(hint.added) for hint in hints]).astype(np.int64),
        np.concatenate([hint.places for hint in hints]),
        np.concatenate([hint.added for hint in hints]),
        *(np.stack([getattr(hint, name) for hint in hints]) for name in ("low", "beside", "faces")),
    )


def scattered(hints: Hints) -> list[tuple[int, Hint]]:
    """The leaves and hints that `gathered` put together."""
    places, added = (np.split(part, hints.ends[:-1]) for part in (hints.places, hints.added))
    rows = zip(hints.leaves.tolist(), hints.forms.tolist(), places, added, hints.low,
               hints.beside, hints.faces, strict=True)
    return [(at, Hint(*parts)) for at, *parts in rows]
