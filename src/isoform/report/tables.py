# SPDX-License-Identifier: Apache-2.0
"""Sizes side by side, and verdicts in words."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from isoform.certificate.verdict import (
    LowerAt,
    Proved,
    Refuted,
    Undecided,
    UpperAt,
    Verdict,
    Witness,
)
from isoform.network.claim import Avoids
from isoform.network.domain import Box
from isoform.network.size import Size
from isoform.numerics.enclosure import Enclosure
from isoform.numerics.exact import Exact
from isoform.text import columns, count, decimal

MOST_DIGITS = 40
SHOWN = 8  # entries of a point that are printed


def size_rows(before: tuple[str, Size], after: tuple[str, Size]) -> list[tuple[str, ...]]:
    """One row a figure: name, before, after, ratio."""
    old, new = before[1].as_dict(), after[1].as_dict()
    rows: list[tuple[str, ...]] = [("form", before[0], after[0], "")]
    for name, value in old.items():
        ratio = f"x {new[name] / value:.3g}" if value else ""
        rows.append((name, count(value), count(new[name]), ratio))
    return rows


def size_table(before: tuple[str, Size], after: tuple[str, Size]) -> str:
    """The same as text."""
    return columns(size_rows(before, after), ("", "before", "after", "ratio"))


def verdict_name(verdict: Verdict) -> str:
    """proved, refuted or undecided."""
    return type(verdict).__name__.lower()


def verdict_rows(verdict: Verdict) -> list[tuple[str, str]]:
    """What a verdict says, row by row."""
    if isinstance(verdict.claim.relation, Avoids):
        return [*property_rows(verdict, verdict.claim.relation),
                ("seconds", f"{verdict.seconds:.2f}")]
    rows = [("verdict", verdict_name(verdict)), ("claim", str(verdict.claim))]
    match verdict:
        case Proved():
            rows += [("largest difference", interval(verdict.lower, verdict.upper)),
                     *place_rows(verdict.lower_at, None), ("grade", verdict.grade)]
        case Refuted():
            rows += [("largest difference", interval(verdict.lower, verdict.upper)),
                     *place_rows(beside(verdict), verdict.upper_at),
                     *witness_rows(verdict.witness, verdict.lower)]
        case Undecided():
            rows += [("largest difference", interval(verdict.lower, verdict.upper)),
                     *place_rows(verdict.lower_at, verdict.upper_at), ("why", verdict.reason)]
    return [*rows, ("seconds", f"{verdict.seconds:.2f}")]


def place_rows(lower: LowerAt | None, upper: UpperAt | None) -> list[tuple[str, str]]:
    """Where lower and upper value come from."""
    rows = []
    if lower is not None:
        rows.append(("lower value", f"output {lower.output}, at x = {vector(lower.point)}"))
    if upper is not None:
        where = "" if upper.box is None else f", worst on {box_text(upper.box)}"
        rows.append(("upper value", f"output {upper.output}{where}"))
    return rows


def beside(verdict: Refuted) -> LowerAt | None:
    """Where the lower value is, unless that is the witness, which is printed in full."""
    at = verdict.lower_at
    return None if at is None or at.point == verdict.witness.point else at


def box_text(box: Box) -> str:
    """The first sides of a box, ends rounded outward."""
    ends = zip(box.low.fractions(), box.high.fractions(), strict=True)
    sides = [f"[{decimal(low, 6, up=False)}, {decimal(high, 6, up=True)}]"
             for low, high in list(ends)[:SHOWN]]
    more = f" x ... ({box.low.size} in all)" if box.low.size > SHOWN else ""
    return " x ".join(sides) + more


def property_rows(verdict: Verdict, relation: Avoids) -> list[tuple[str, str]]:
    """What a verdict on forbidden sets says: no difference, but the set that a point lies in."""
    rows = [("verdict", verdict_name(verdict)), ("claim", str(verdict.claim))]
    match verdict:
        case Proved():
            rows.append(("grade", verdict.grade))
        case Refuted():
            witness = verdict.witness
            rows.append(("at x", vector(witness.point)))
            one = verdict.certificate.source.digest == verdict.certificate.target.digest
            rows += [("output", vector(witness.source))] if one else [
                ("source", vector(witness.source)), ("target", vector(witness.target))]
            depth = decimal(witness.difference, up=False)
            rows.append(("meets", f"forbidden set {witness.output} of "
                         f"{count(len(relation.forbidden))}, every row by {depth} or more"))
        case Undecided():
            rows.append(("why", verdict.reason))
    return rows


def verdict_text(
    verdict: Verdict, before: Sequence[tuple[str, str]] = (),
    after: Sequence[tuple[str, str]] = (),
) -> str:
    """The same as text, with other rows around it."""
    return columns([*before, *verdict_rows(verdict), *after], indent=0)


def interval(lower: Fraction, upper: Fraction | None) -> str:
    """Lower and upper value of the largest difference, rounded outward."""
    if upper is None:
        return f"at least {decimal(lower, up=False)}, no upper value"
    if lower == upper:
        return decimal(lower, up=True)
    return f"between {decimal(lower, up=False)} and {decimal(upper, up=True)}"


def witness_rows(witness: Witness, lower: Fraction) -> list[tuple[str, str]]:
    """Where a claim fails, with both outputs. A point that is short to write down may differ by
    less than the largest difference that was seen, `lower`."""
    rows = [
        ("at x", vector(witness.point)),
        ("source", vector(witness.source)),
        ("target", vector(witness.target)),
        ("differ", f"output {witness.output}, by {decimal(witness.difference, up=False)}: "
                   f"{apart(witness)}"),
    ]
    if witness.difference < lower:
        rows.append(("", "(the shortest such point found; others differ by more)"))
    return rows


def apart(witness: Witness) -> str:
    """The two values of the output that differs, with as many digits as it takes to see it."""
    ends = [Enclosure.of(side).low.reshape(-1)[witness.output].item()
            for side in (witness.source, witness.target)]
    for digits in (6, 9, 12, MOST_DIGITS):
        texts = [decimal(end, digits) for end in ends]
        if texts[0] != texts[1]:
            break
    return f"{texts[0]} and {texts[1]}"


def vector(value: Exact | Enclosure) -> str:
    """The first entries of a vector as decimals, six digits each."""
    ends = Enclosure.of(value)
    middle = (ends.low + ends.high) * Fraction(1, 2)
    entries = [decimal(entry, 6) for entry in middle.reshape(-1)[:SHOWN].fractions()]
    more = f", ... ({middle.size} in all)" if middle.size > SHOWN else ""
    return f"({', '.join(entries)}{more})"
