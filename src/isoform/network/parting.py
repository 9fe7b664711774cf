# SPDX-License-Identifier: Apache-2.0
"""Where two networks part: finished values, for reports. Nothing here is a proof.

Layers are counted from 1, in the order of the network's non-linear nodes; units, inputs and outputs
from 0. Target units are measured in the units of their partners: a target unit that is c > 0 times
its partner counts divided by c.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from isoform.numerics.exact import Exact


@dataclass(frozen=True, slots=True)
class Unit:
    """A hidden unit, or, where layer is None, an output."""

    layer: int | None
    unit: int

    def __str__(self) -> str:
        if self.layer is None:
            return f"output {self.unit}"
        return f"layer {self.layer}, unit {self.unit}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """A number of a unit's row that differs. name: "bias", "input 3" or "layer 2, unit 5" (of the
    source); source, target: its values, the target's in the source's units."""

    name: str
    source: Fraction
    target: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A target unit whose row is not its partner's (partner None: it has none). weights: what
    differs, largest difference first, at most a few of `count`; others: units without a partner
    that its row uses. values: both rows at the witness, exactly, where that was worked out."""

    target: Unit
    source: Unit | None
    weights: tuple[Weight, ...] = ()
    count: int = 0
    others: int = 0
    values: tuple[Fraction, Fraction] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerMatch:
    """A target layer beside the source layer of most of its partners (None: of none): how many
    units have equal rows, changed rows, no partner; the largest difference of a unit's
    pre-activation from its partner's at the points looked at, relative to the partner's largest
    value there, and which unit it is (None where no unit has a partner)."""

    target: int
    source: int | None
    equal: int
    changed: int
    alone: int
    difference: float
    unit: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Differing:
    """Measured: points of the domain at which the claim fails in floats.

    share: of `points` random points. largest: of |g_i - f_i| at these and at the witness, for each
    output. low, high: a box around the witness, inside the domain's, at whose `inside` random
    points the claim failed each time (None where there is no witness).
    """

    points: int
    share: float
    largest: tuple[float, ...]
    inside: int = 0
    low: tuple[float, ...] | None = None
    high: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parting:
    """Where two networks part.

    aligned: whether half of the units or more have partners; else `why` says what is in the way.
    first: the first target unit or output whose row differs, None where none does. changes: more of
    them, in order, at most a few; changed: how many there are. alone: source units without a
    partner. point: where the networks were compared besides random points.
    """

    aligned: bool
    why: str
    layers: tuple[LayerMatch, ...]
    first: Change | None
    changes: tuple[Change, ...]
    changed: int
    alone: int
    differing: Differing | None
    point: Exact | None = None
