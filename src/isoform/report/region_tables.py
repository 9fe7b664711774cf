# SPDX-License-Identifier: Apache-2.0
"""Linear regions in words and as records. Every number comes with its kind and its domain."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from isoform.text import columns

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
SHORT = 40  # digits of a number that is printed in full


def regions_text(found: Any, more: Iterable[tuple[str, str]] = ()) -> str:
    """A `LinearRegions` row by row, then the rows of `more`."""
    search = found.found
    least = "" if found.complete else "at least "
    rows = [
        ("network", network_text(found.of)),
        ("domain", repr(found.of.domain)),
        ("regions", f"{least}{found.count:,} {NAMES[found.kind]}"),
    ]
    if found.kind != "activation":
        rows.append(("of", f"{least}{found.activation:,} {NAMES['activation']}"))
    rows += bound_rows(found.bounds)
    rows.append(("search", search_text(search)))
    rows.append(("verdict", verdict_text(found)))
    return columns([*rows, *more], indent=0)


def network_text(of: Any) -> str:
    whole = of.network.dimension == of.model.network.dimension
    cut = "" if whole else f" on a slice of {of.network.dimension} dimensions"
    return f"{of.model.form}{cut}, {of.layers.units:,} units in {len(of.layers.layers)} layers"


def search_text(search: Any) -> str:
    """What the search cost."""
    each = search.programs / max(1, search.count)
    return (
        f"{search.seconds:.2f} s, {each:.1f} linear programmes a region, "
        f"{search.decided:,} exact decisions"
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
        return "none: the count was not re-derived; --certificate FILE does that"
    about = str(found.certificate.claim.relation)
    word = "proved" if found.complete else "proved, as a lower bound"
    return f"{word}: {about}; {found.steps:,} steps re-derived exactly in {checked.seconds:.2f} s"


def bound_rows(bounds: Iterable[Bound]) -> list[tuple[str, str]]:
    """The best bound on either side."""
    upper = min((b for b in bounds if b.upper), key=lambda b: b.value, default=None)
    lower = max((b for b in bounds if not b.upper), key=lambda b: b.value, default=None)
    rows = []
    if upper is not None:
        rows.append(("at most", f"{number(upper.value)} activation regions ({upper.name})"))
    if lower is not None:
        rows.append(
            ("these widths", f"can have {number(lower.value)} or more everywhere ({lower.name})")
        )
    return rows


def number(value: int) -> str:
    """In full where it is short, else its magnitude."""
    text = f"{value:,}" if value.bit_length() < 3 * SHORT else ""
    if text and len(text) <= SHORT:
        return text
    exponent = value.bit_length() * 30103 // 100000
    return f"about 10^{exponent}"


def regions_record(found: Any) -> dict[str, Any]:
    """The keys of `isoform regions --json`."""
    search = found.found
    return {
        "regions": found.count, "kind": found.kind, "complete": found.complete,
        "activation": found.activation, "stopped": search.stopped,
        "domain": repr(found.of.domain), "dimension": found.of.network.dimension,
        "units": found.of.layers.units, "bounds": bound_records(found.bounds),
        "verdict": found.verdict,
        "claim": None if found.certificate is None else str(found.certificate.claim),
        "arithmetic": "reals", "grade": None if found.checked is None else found.checked.grade,
        "steps": found.steps, "programs": search.programs, "decided": search.decided,
        "seconds": round(search.seconds, 3),
        "checking_seconds": None if found.checked is None else round(found.checked.seconds, 3),
        "audited": audit_record(found),
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
    about = "" if found.exact else "about "
    rows = [
        ("network", network_text(of)),
        ("domain", repr(of.domain)),
        ("estimate", f"{about}{number(found.regions)} activation regions"),
        ("interval", f"{number(found.low)} to {number(found.high)} (95 %)"),
        ("found", f"{found.found:,} for certain"),
        ("method", found.method),
        ("seconds", f"{found.seconds:.1f}"),
    ]
    return columns(rows if not found.exact else [*rows[:3], *rows[5:]], indent=0)


def estimate_record(of: Any, found: RegionEstimate) -> dict[str, Any]:
    return {
        "estimate": found.regions, "low": found.low, "high": found.high, "exact": found.exact,
        "kind": "activation", "found": found.found, "trusted": found.trusted,
        "method": found.method, "domain": repr(of.domain), "seconds": round(found.seconds, 3),
    }


def region_record(region: Region) -> dict[str, Any]:
    """One region; numbers as floats, the exact ones stay in the Python value."""
    facets = []
    for facet in region.facets:
        normal, offset = facet.half_space()
        facets.append({
            "normal": normal.tolist(), "offset": offset, "units": list(facet.units),
            "boundary": facet.boundary,
        })
    return {
        "kind": "activation", "pattern": region.pattern.hex(),
        "active": int(region.bits.sum()), "units": region.units,
        "point": region.point.to_float().tolist(), "affine": region.affine.to_float().tolist(),
        "facets": facets, "touching": [pattern.hex() for pattern in region.touching],
    }


def segment_record(segment: Segment) -> dict[str, Any]:
    return {
        "kind": "activation",
        "pieces": [
            {
                "from": float(piece.start), "to": float(piece.end),
                "pattern": piece.pattern.hex(), "walls": list(piece.walls),
            }
            for piece in segment.pieces
        ],
    }
