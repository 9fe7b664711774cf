# SPDX-License-Identifier: Apache-2.0
"""ReLU sweeping, the search for codes: which unit is which earlier one.

Exact search: one dictionary look-up a unit, keyed by the primitive integer row. Approximate search:
candidates by simulation signatures (pre-activations at sample points, normalised), each accepted
only if its certified radius is small. Whatever is found is only a hint for `certificate.sweep`,
which computes every radius itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from isoform.certificate.basis import GRID, ONE, Basis, Range, backward_range, interval_range
from isoform.certificate.codes import Asked, Code, Codes, Value
from isoform.certificate.relations import Relation
from isoform.certificate.sweep import run
from isoform.network.domain import Box
from isoform.network.network import Network
from isoform.numerics.enclosure import nearest_integers
from isoform.numerics.exact import Exact, as_array, exact_fractions, integers
from isoform.numerics.sparse import ExactSparse
from isoform.verify.clock import FOREVER, check_time
from isoform.verify.relations import by_relations
from isoform.verify.signatures import SAMPLES, common_ratio, nearest, phi, sample, short
from isoform.verify.stable_units import Simulation, by_peeling, by_programme

LOOSE = Fraction(1, 5)  # largest radius that a merge may bring, against the range of the unit
MIRRORED = (  # phi(-z) follows from phi(z)
    "relu", "tanh", "erf", "sin", "reciprocal", "sigmoid", "round",
)


@dataclass(frozen=True, slots=True, eq=False)
class Swept:
    """Both networks as rows over one basis, with the codes that led there."""

    basis: Basis
    source: Value
    target: Value
    codes: tuple[Codes, ...]

    @property
    def difference(self) -> Value:
        """target - source: rows and radii."""
        rows = self.target.rows.widened(self.basis.width)
        rows = rows - self.source.rows.widened(self.basis.width)
        return Value(rows, self.target.radius + self.source.radius)


def sweep(
    source: Network, target: Network, box: Box | None, *, near: bool = False,
    backward: bool = False, programme: bool = False, relations: bool = False, seed: int = 0,
    until: float = FOREVER,
) -> Swept:
    """Sweep two primitive networks on a box (None: everywhere).

    near: also try merges of rows that are not equal (needs a box); backward: refine ranges by
    backward substitution; programme: for units that are nearly stable, with slopes from a linear
    programme; relations: look for units that are rows over several earlier ones. until: when to
    give up, by OutOfTime. Raises CertificateRejected where a step or an unbounded row leaves no
    admissible code.
    """
    basis = Basis.on(box, source.dimension)
    decide = Search(
        basis, backward=backward, programme=programme and box is not None, until=until,
        relate=(lambda rows, units: by_relations(rows, basis, units, box, seed))
        if relations else None,
    )
    if near and box is not None:
        decide.signatures = np.concatenate([np.ones((SAMPLES, 1)), sample(box, seed)], axis=1)
    first = run(source, basis, decide)
    second = run(target, basis, decide)
    return Swept(basis, first, second, tuple(decide.made))


@dataclass(slots=True)
class Choice:
    """Codes under construction: a code, partner column and factor for each unit of a node."""

    code: np.ndarray
    partner: np.ndarray
    factor: list[Fraction]

    @staticmethod
    def of(n: int) -> Choice:
        return Choice(
            np.full(n, Code.NEW, dtype=np.uint8), np.zeros(n, dtype=np.int64), [Fraction(1)] * n
        )

    def merge(self, i: int, column: int, ratio: Fraction) -> None:
        """Unit i is `ratio` times the unit at `column`; a negative ratio is a mirror image."""
        self.code[i] = Code.MERGE if ratio > 0 else Code.NEGATIVE
        self.partner[i], self.factor[i] = column, abs(ratio)


    def follow(self, i: int, leader: int, ratio: Fraction) -> None:
        """Unit i is `ratio` times unit `leader` of the same node."""
        self.code[i] = Code.FOLLOW if ratio > 0 else Code.MIRROR
        self.partner[i], self.factor[i] = leader, abs(ratio)


@dataclass(slots=True)
class Search:
    """Chooses codes, and remembers every unit by its key and its signature."""

    basis: Basis
    backward: bool = False
    programme: bool = False
    until: float = FOREVER
    made: list[Codes] = field(default_factory=list)
    known: dict[tuple, tuple[int, Fraction]] = field(default_factory=dict)
    signatures: np.ndarray | None = None  # (SAMPLES, columns of the basis)
    seen: Simulation | None = None
    relate: Callable[[ExactSparse, np.ndarray], dict[int, Relation]] | None = None

    def __call__(self, asked: Asked) -> Codes:
        check_time(self.until)
        rows = asked.value.rows.widened(self.basis.width)
        self.forget_errors()
        if asked.kind == "product":
            codes = self.products(asked, rows)
        elif asked.kind == "round":
            codes = self.roundings(asked, rows)
        elif " " in asked.kind:
            codes = self.groups(asked, rows, int(asked.kind.split()[1]))
        else:
            codes = self.units(asked, rows)
        self.made.append(codes)
        return codes

    def units(self, asked: Asked, rows: ExactSparse) -> Codes:
        """Elementwise units: settled by range, else exact match, else near match, else new."""
        made = Choice.of(rows.shape[0])
        slopes: dict[int, np.ndarray] = {}
        if asked.kind in ("relu", "step"):
            known = self.settle(asked, rows, made)
            if asked.kind == "relu":
                slopes = self.settle_by_slopes(rows, known, made)
        leaders: dict[tuple, int] = {}
        followers: list[tuple[int, int, Fraction]] = []
        scales: dict[int, tuple[tuple, Fraction]] = {}
        for i in np.flatnonzero(made.code == Code.NEW).tolist():
            key, scale = row_key(rows, i, asked.kind)
            if key in self.known:
                column, other = self.known[key]
                made.merge(i, column, scale / other)
            elif key in leaders:
                leader = leaders[key]
                followers.append((i, leader, scale / scales[leader][1]))
            else:
                leaders[key], scales[i] = i, (key, scale)
        if self.signatures is not None and asked.kind != "step":
            self.match_near(asked.kind, rows, np.array(list(scales), dtype=np.int64), made)
        alone = set(scales) - {leader for _, leader, _ in followers}
        relations = self.settle_by_relations(asked.kind, rows, made, alone)
        column = self.basis.width
        for i, (key, scale) in scales.items():
            if made.code[i] == Code.NEW:
                self.known[key] = (column, scale)
                made.partner[i] = column
                column += 1
        for i, leader, ratio in followers:
            if made.code[leader] == Code.NEW:
                made.merge(i, int(made.partner[leader]), ratio)
            elif asked.kind == "relu":
                made.follow(i, leader, ratio)
            else:
                sign = -1 if made.code[leader] == Code.NEGATIVE else 1
                made.merge(i, int(made.partner[leader]), sign * ratio)
        self.extend(phi, asked.kind, rows, made.code)
        merged = np.flatnonzero(made.code >= Code.MERGE)
        return Codes(
            code=made.code, partner=made.partner[merged],
            factor=exact_fractions([made.factor[i] for i in merged], (len(merged),)),
            backward=self.backward,
            refined=np.array(list(slopes), dtype=np.int64) if slopes else None,
            slopes=np.array(list(slopes.values())) if slopes else None,
            relations=relations,
        )

    def settle(self, asked: Asked, rows: ExactSparse, made: Choice) -> Range:
        """Units that are stable on the domain; the radius is added by the rules of the sweep."""
        known, e = self.range_of(rows), asked.value.radius
        if asked.kind == "relu":
            dead, linear = known.high <= 0, known.low >= 0
        else:  # a step does not forgive
            dead, linear = known.high + e < 0, known.low - e >= 0
        made.code[linear.astype(bool) & ~known.open_low] = Code.LINEAR
        made.code[dead.astype(bool) & ~known.open_high] = Code.DEAD
        return known

    def settle_by_slopes(
        self, rows: ExactSparse, known: Range, made: Choice
    ) -> dict[int, np.ndarray]:
        """Units that slopes of their own show to be stable, and these slopes."""
        if self.seen is None:
            self.seen = Simulation(self.basis)
        found = by_peeling(rows, self.basis, np.flatnonzero(made.code == Code.NEW), self.seen)
        if self.programme:
            left = np.flatnonzero(made.code == Code.NEW)
            left = left[~np.isin(left, list(found))]
            found |= by_programme(rows, known, self.basis, left)
        for i, (dead, _) in found.items():
            made.code[i] = Code.DEAD if dead else Code.LINEAR
        return {i: slopes for i, (_, slopes) in found.items()}

    def settle_by_relations(
        self, kind: str, rows: ExactSparse, made: Choice, free: set[int]
    ) -> tuple[Relation, ...]:
        """New units, of these, that are rows over several earlier ones."""
        if self.relate is None or kind != "relu":
            return ()
        units = [i for i in sorted(free) if made.code[i] == Code.NEW]
        found = self.relate(rows, np.array(units, dtype=np.int64))
        for number, i in enumerate(found):
            made.code[i], made.partner[i] = Code.RELATION, number
        return tuple(found.values())

    def range_of(self, rows: ExactSparse) -> Range:
        return backward_range(rows, self.basis) if self.backward else interval_range(
            rows, self.basis
        )

    def match_near(self, kind: str, rows: ExactSparse, new: np.ndarray, made: Choice) -> None:
        """Merges of rows that differ a little, taken only if the certified radius is small against
        the unit's own range, which is what a unit without a partner costs."""
        blocks = [block for block in self.basis.blocks if block.kind == kind]
        if not len(new) or not blocks:
            return
        mine = self.evaluated(rows.take(new))
        columns = np.concatenate([np.arange(block.start, block.stop) for block in blocks])
        theirs = np.concatenate([self.evaluated(block.arguments) for block in blocks], axis=1)
        match, ratio = nearest(mine, theirs, scaled=kind == "relu")
        if kind not in MIRRORED:
            match = np.where(ratio > 0, match, -1)
        tried = np.flatnonzero(match >= 0)
        if not len(tried):
            return
        partner = columns[match[tried]]
        arguments = self.basis.arguments(partner, kind)
        factor = [Fraction(1 if ratio[place] > 0 else -1) for place in tried]
        if kind == "relu":
            largest = Exact(self.basis.range.magnitude()[0], 1 << GRID).to_float()
            fits = [
                common_ratio(rows, int(new[place]), arguments, at, largest, ratio[place])
                for at, place in enumerate(tried)
            ]
            factor = [short(fit) for fit in fits]
        gap = rows.take(new[tried]) - arguments.scaled_rows(
            exact_fractions(factor, (len(tried),))
        )
        size, unbounded = self.range_of(gap).magnitude()
        own, open_ended = self.range_of(rows.take(new[tried])).magnitude()
        for place, i in enumerate(new[tried].tolist()):
            tight = open_ended[place] or size[place] <= LOOSE * own[place]
            if not unbounded[place] and tight:
                made.merge(i, int(partner[place]), factor[place])

    def forget_errors(self) -> None:
        """Columns that the sweep added for what merges leave over count as 0 in signatures."""
        if self.signatures is not None and self.signatures.shape[1] < self.basis.width:
            missing = self.basis.width - self.signatures.shape[1]
            self.signatures = np.pad(self.signatures, ((0, 0), (0, missing)))

    def evaluated(self, rows: ExactSparse) -> np.ndarray:
        """Rows at the sample points, in floating point: (SAMPLES, rows)."""
        assert self.signatures is not None
        from scipy.sparse import csr_array

        data = Exact(rows.data, rows.denominator).to_float()
        width = min(rows.shape[1], self.signatures.shape[1])
        matrix = csr_array((data, rows.columns, rows.starts), shape=(rows.shape[0], width))
        return (matrix @ self.signatures[:, :width].T).T

    def extend(
        self, function: Callable[[str, np.ndarray], np.ndarray], kind: str, rows: ExactSparse,
        code: np.ndarray,
    ) -> None:
        """Signatures of the new units."""
        if self.signatures is None:
            return
        values = function(kind, self.evaluated(rows.take(np.flatnonzero(code == Code.NEW))))
        self.signatures = np.concatenate([self.signatures, values], axis=1)

    def roundings(self, asked: Asked, rows: ExactSparse) -> Codes:
        """Roundings: one integer on the whole domain, or an earlier rounding of the same or the
        opposite row, or new. Rows that are not exact give units that nobody merges with."""
        made, known, e = Choice.of(rows.shape[0]), self.range_of(rows), asked.value.radius
        low, high = (
            nearest_integers(Exact(as_array(end), ONE)).numerator
            for end in (known.low - e, known.high + e)
        )
        made.code[~known.open_low & ~known.open_high & (low == high)] = Code.DEAD
        fresh = 0
        code = made.code.copy()
        for i in np.flatnonzero(made.code == Code.NEW).tolist():
            if e[i]:
                code[i] = Code.DEAD  # its unit is an error column
                continue
            key, sign = row_key(rows, i, asked.kind)
            if key in self.known:
                column, other = self.known[key]
                made.merge(i, column, sign / other)
                code[i] = made.code[i]
            else:
                self.known[key] = (self.basis.width + fresh, sign)
                fresh += 1
        self.extend(phi, asked.kind, rows, code)
        merged = np.flatnonzero(made.code >= Code.MERGE)
        return Codes(
            code=made.code, partner=made.partner[merged],
            factor=exact_fractions([made.factor[i] for i in merged], (len(merged),)),
            backward=self.backward,
        )

    def groups(self, asked: Asked, rows: ExactSparse, group: int) -> Codes:
        """Softmax: whole groups with equal rows."""
        n = rows.shape[0]
        code = np.full(n, Code.NEW, dtype=np.uint8)
        partner: list[int] = []
        fresh = 0
        for first in range(0, n, group):
            key = (asked.kind, *(row_key(rows, i, "plain")[0] for i in range(first, first + group)))
            if key in self.known:
                code[first : first + group] = Code.MERGE
                start = self.known[key][0]
                partner.extend(range(start, start + group))
            else:
                self.known[key] = (self.basis.width + fresh, Fraction(1))
                fresh += group
        self.extend(phi, asked.kind, rows, code)
        return self.plain(code, partner)

    def products(self, asked: Asked, rows: ExactSparse) -> Codes:
        """Products: constant factors scale, pairs of equal rows merge."""
        assert asked.other is not None
        n, others = rows.shape[0], asked.other.rows.widened(self.basis.width)
        code = np.full(n, Code.NEW, dtype=np.uint8)
        partner: list[int] = []
        fresh = 0
        for i in range(n):
            if any(
                constant_row(value.rows, i) and not value.radius[i]
                for value in (asked.value, asked.other)
            ):
                code[i] = Code.LINEAR
                continue
            key = ("product", row_key(rows, i, "plain")[0], row_key(others, i, "plain")[0])
            mirror = ("product", key[2], key[1])
            if key in self.known or mirror in self.known:
                code[i] = Code.MERGE if key in self.known else Code.NEGATIVE  # factors swapped
                partner.append(self.known[key if key in self.known else mirror][0])
            else:
                self.known[key] = (self.basis.width + fresh, Fraction(1))
                fresh += 1
        if self.signatures is not None:
            right = self.evaluated(others.take(np.flatnonzero(code == Code.NEW)))
            with np.errstate(over="ignore", invalid="ignore"):
                self.extend(lambda kind, left: left * right, asked.kind, rows, code)
        return self.plain(code, partner)

    def plain(self, code: np.ndarray, partner: list[int]) -> Codes:
        return Codes(
            code=code, partner=np.array(partner, dtype=np.int64),
            factor=Exact(integers([1] * len(partner), (len(partner),))), backward=self.backward,
        )


def constant_row(rows: ExactSparse, i: int) -> bool:
    columns, _ = rows.row(i)
    return len(columns) == 0 or (len(columns) == 1 and columns[0] == 0)


def row_key(rows: ExactSparse, i: int, kind: str) -> tuple[tuple, Fraction]:
    """A key that equal units share, and the factor of row i over the key's row.

    Rectifiers: the primitive integer row, first non-constant entry positive, so that parallel and
    opposite rows meet. Steps: the primitive row. Odd functions and the sigmoid: the row with that
    sign. Others: the row.
    """
    columns, data = rows.row(i)
    entries = data.tolist()
    if not entries:
        return (kind, b"", ()), Fraction(1)
    at = 1 if columns[0] == 0 and len(entries) > 1 else 0
    sign = -1 if kind in MIRRORED and entries[at] < 0 else 1
    divisor = math.gcd(*entries)
    primitive = tuple(entry // (sign * divisor) for entry in entries)
    scale = Fraction(divisor, rows.denominator)
    if kind in ("relu", "step"):
        return (kind, columns.tobytes(), primitive), sign * scale
    return (kind, columns.tobytes(), primitive, scale), Fraction(sign)
