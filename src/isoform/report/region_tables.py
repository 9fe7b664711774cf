# SPDX-License-Identifier: Apache-2.0
"""Linear regions in words and as records. Every number comes with its kind and its domain."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from isoform.text import columns, plural

if TYPE_CHECKING:
    from isoform.regions.estimate import RegionEstimate
    from isoform.regions.layer_bounds import Bound
    from isoform.regions.queries import Segment
    from isoform.regions.region import Region

NAMES = {
    "activation": "activation regions",
    "connected": "connected linear regions",
    "affine": "distinct affine pieces",
}
DIGITS = 3  # of an estimate
SHORT = 40  # digits of a number that is printed in full


def regions_text(found: Any, more: Iterable[tuple[str, str]] = ()) -> str:
    """A `LinearRegions` row by row, then the rows of `more`."""
    rows = [*about(found.of), ("regions", count_text(found))]
    if found.kind != "activation":
        rows.append(("made up of", f"{least(found)}{found.activation:,} {NAMES['activation']}"))
    rows += bound_rows(found.bounds)
    rows.append(("search", search_text(found.found)))
    rows.append(("verdict", verdict_text(found)))
    if found.kind != "activation" and found.checked is not None:
        rows.append(
            ("", f"that they make up {found.count:,} was found exactly, but not re-derived")
        )
    return columns([*rows, *more], indent=0)


def about(of: Any) -> list[tuple[str, str]]:
    """Which network, and where: the first rows of every answer."""
    return [
        ("network", f"{form_text(of)}: {plural(of.layers.units, 'unit')} in "
                    f"{plural(len(of.layers.layers), 'layer')}"),
        ("domain", domain_text(of)),
    ]


def form_text(of: Any) -> str:
    """The form of a `Piecewise`."""
    return str(of.model.form)


def domain_text(of: Any) -> str:
    """The domain of a `Piecewise`; of a slice, in its coordinates."""
    if of.through is None:
        return repr(of.domain)
    points = of.through.shape[0]
    what = {1: "line", 2: "plane"}.get(points - 1, f"{points - 1}-dimensional slice")
    return f"{of.domain!r} of the {what} through {points} points"


def least(found: Any) -> str:
    return "" if found.complete else "at least "


def count_text(found: Any) -> str:
    """The number with its kind."""
    return f"{least(found)}{plural(found.count, NAMES[found.kind][:-1])}"


def search_text(search: Any) -> str:
    """What the search cost."""
    each = search.programs / max(1, search.count)
    return (
        f"{search.seconds:.2f} s, {each:.1f} linear programmes a region, "
        f"{plural(search.decided, 'exact decision')}"
    )


def verdict_text(found: Any) -> str:
    """What the checker says of the count of activation regions."""
    checked, audited = found.checked, found.audited
    if audited is not None:
        return (
            f"none; audited: {audited.streams:,} of {found.found.listing.tasks:,} subtrees with "
            f"{audited.regions:,} regions, {audited.tokens:,} steps re-derived exactly in "
            f"{audited.seconds:.2f} s"
        )
    if checked is None:
        if found.steps:
            return (
                f"none: {plural(found.steps, 'recorded step')} not re-derived; --certificate FILE "
                "does that"
            )
        return "none: no steps were recorded; --certificate FILE, with a new store, does that"
    word = "proved" if found.complete else "proved, as a lower bound"
    return (
        f"{word}: {found.certificate.claim.relation}; {plural(found.steps, 'step')} re-derived "
        f"exactly in {checked.seconds:.2f} s"
    )


def bound_rows(bounds: Iterable[Bound]) -> list[tuple[str, str]]:
    """The best bound on either side."""
    upper = min((b for b in bounds if b.upper), key=lambda b: b.value, default=None)
    lower = max((b for b in bounds if not b.upper), key=lambda b: b.value, default=None)
    rows = []
    if upper is not None:
        rows.append(
            ("at most", f"{number(upper.value)} activation regions on any domain ({upper.name})")
        )
    if lower is not None:
        rows.append(
            ("these widths", f"some weights give {number(lower.value)} or more activation regions "
                             f"everywhere ({lower.name})")
        )
    return rows


def number(value: int) -> str:
    """In full where it is short, else its magnitude."""
    text = f"{value:,}" if value.bit_length() < 3 * SHORT else ""
    if text and len(text) <= SHORT:
        return text
    exponent = value.bit_length() * 30103 // 100000
    return f"about 10^{exponent}"


def few_digits(value: int) -> str:
    """Three digits that mean something, the others zero."""
    return number(round(value, min(0, DIGITS - len(str(value)))))


def regions_record(found: Any) -> dict[str, Any]:
    """The keys of `isoform regions --json`."""
    search = found.found
    return {
        "regions": found.count, "kind": found.kind, "complete": found.complete,
        "activation": found.activation, "stopped": search.stopped,
        **about_record(found.of), "bounds": bound_records(found.bounds),
        "verdict": found.verdict,
        "claim": None if found.certificate is None else str(found.certificate.claim),
        "arithmetic": "reals", "grade": None if found.checked is None else found.checked.grade,
        "steps": found.steps, "programs": search.programs, "decided": search.decided,
        "seconds": round(search.seconds, 3),
        "checking_seconds": None if found.checked is None else round(found.checked.seconds, 3),
        "audited": audit_record(found),
    }


def about_record(of: Any) -> dict[str, Any]:
    """Which network, and where. slice: the points that it goes through, null without one."""
    return {
        "form": form_text(of), "units": of.layers.units, "domain": repr(of.domain),
        "dimension": of.network.dimension,
        "slice": None if of.through is None else of.through.to_float().tolist(),
    }


def audit_record(found: Any) -> dict[str, Any] | None:
    """How much of a bare count the checker re-derived."""
    if found.audited is None:
        return None
    return {
        "subtrees": found.audited.streams, "of": found.found.listing.tasks,
        "regions": found.audited.regions, "steps": found.audited.tokens,
        "seconds": round(found.audited.seconds, 3),
    }


def bound_records(bounds: Iterable[Bound]) -> list[dict[str, Any]]:
    """Integers beyond 2^53 as text."""
    return [
        {
            "name": b.name, "side": "upper" if b.upper else "lower",
            "value": b.value if b.value < 1 << 53 else str(b.value), "source": b.source,
            "why": b.why,
        }
        for b in bounds
    ]


def estimate_text(of: Any, found: RegionEstimate) -> str:
    """A prediction, its interval and its method."""
    estimate = number(found.regions) if found.exact else f"about {few_digits(found.regions)}"
    rows = [
        *about(of),
        ("estimate", f"{estimate} activation regions"),
        ("interval", f"{few_digits(found.low)} to {few_digits(found.high)} (95 %)"),
        ("for certain", f"{found.found:,} activation regions or more were met"),
        ("method", found.method),
        ("search", f"{found.seconds:.2f} s"),
    ]
    return columns(rows if not found.exact else [*rows[:3], *rows[5:]], indent=0)


def estimate_record(of: Any, found: RegionEstimate) -> dict[str, Any]:
    return {
        "estimate": found.regions, "low": found.low, "high": found.high, "exact": found.exact,
        "kind": "activation", "found": found.found, "trusted": found.trusted,
        "method": found.method, **about_record(of), "seconds": round(found.seconds, 3),
    }


def region_text(of: Any, asked: str, region: Region) -> str:
    """One region: where, then what it is."""
    return columns([*about(of), ("point", asked)], indent=0) + f"\n{region}"


def segment_text(of: Any, asked: str, segment: Segment) -> str:
    """The regions along a segment."""
    rows = [*about(of), ("segment", asked),
            ("regions", f"{plural(len(segment), 'piece')} in activation regions")]
    return columns(rows, indent=0) + f"\n{segment}"


def region_record(of: Any, region: Region) -> dict[str, Any]:
    """One region; numbers as floats, the exact ones stay in the Python value."""
    facets = []
    for facet in region.facets or ():
        normal, offset = facet.half_space()
        facets.append({
            "normal": normal.tolist(), "offset": offset, "units": list(facet.units),
            "boundary": facet.boundary,
        })
    return {
        "kind": "activation", **about_record(of), "pattern": region.pattern.hex(),
        "active": int(region.bits.sum()),
        "point": region.point.to_float().tolist(), "affine": region.affine.to_float().tolist(),
        "facets": None if region.facets is None else facets,
        "touching": [pattern.hex() for pattern in region.touching],
    }


def segment_record(of: Any, segment: Segment) -> dict[str, Any]:
    return {
        "kind": "activation", **about_record(of),
        "pieces": [
            {
                "from": float(piece.start), "to": float(piece.end),
                "pattern": piece.pattern.hex(), "walls": list(piece.walls),
            }
            for piece in segment.pieces
        ],
    }
