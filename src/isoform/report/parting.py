# SPDX-License-Identifier: Apache-2.0
"""Where two networks part, as text and as a record for --json."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from isoform.network.parting import Change, Differing, Parting, Weight
from isoform.numerics.exact import approximately
from isoform.text import columns, decimal, plural

SHOWN = 8  # sides of a box, and outputs, that are printed
LISTED = 6  # changes that are printed


def parting_text(parting: Parting) -> str:
    """Layer by layer, the first difference, and where on the domain the claim fails."""
    lines = ["", "where they part"]
    if not parting.aligned:
        lines.append(f"  no alignment of units: {parting.why}")
    elif parting.layers:
        lines.append(columns(layer_rows(parting), HEADER))
    if parting.aligned:
        if parting.alone:
            lines.append(f"  {plural(parting.alone, 'source unit')} without a partner")
        if parting.first is None:
            lines.append("  all rows are equal: the same function, unit by unit")
        else:
            lines += [f"  first: {change_text(parting.first)}"]
            lines += [f"  then:  {change_text(change, 1)}" for change in parting.changes[1:LISTED]]
            more = parting.changed - min(LISTED, len(parting.changes))
            lines += [f"  and {more} more"] if more > 0 else []
    if parting.differing is not None:
        lines += [f"  {line}" for line in differing_lines(parting.differing)]
    return "\n".join(lines)


HEADER = ("target layer", "source layer", "equal", "changed", "alone", "largest difference", "unit")


def layer_rows(parting: Parting) -> list[tuple[str, ...]]:
    """One row a target layer."""
    return [
        (str(layer.target), "-" if layer.source is None else str(layer.source), str(layer.equal),
         str(layer.changed), str(layer.alone), f"{layer.difference:.2g}",
         "-" if layer.unit is None else str(layer.unit))
        for layer in parting.layers
    ]


def change_text(change: Change, most: int = 3) -> str:
    """A line: which unit, its partner, at most `most` numbers of its row that differ."""
    text = str(change.target)
    if change.source is None:
        return f"{text} has no partner in the source"
    if change.source != change.target:
        text += f" (source: {change.source})"
    parts = [weight_text(weight) for weight in change.weights[:most]]
    if change.count > len(parts):
        parts.append(f"so do {plural(change.count - len(parts), 'number')} more")
    if change.others:
        parts.append(f"it uses {plural(change.others, 'unit')} without a partner")
    if change.values is not None:
        parts.append(f"at x {two_numbers(*change.values)}")
    return f"{text}: {'; '.join(parts)}"


def weight_text(weight: Weight) -> str:
    """Which number differs, and by how much."""
    what = "bias" if weight.name == "bias" else f"weight from {weight.name}"
    gap = weight.target - weight.source
    return f"{what} differs by {power(gap)} ({two_numbers(weight.source, weight.target)})"


def two_numbers(source: Fraction, target: Fraction) -> str:
    """Both with as many digits as it takes to tell them apart."""
    for digits in (4, 7, 10, 17):
        texts = decimal(source, digits), decimal(target, digits)
        if texts[0] != texts[1] or source == target:
            break
    return f"{texts[0]} and {texts[1]}"


def power(gap: Fraction) -> str:
    """A difference as a power of two where it is one."""
    parts = abs(gap.numerator), gap.denominator
    if all(part & (part - 1) == 0 for part in parts):
        sign = "-" if gap < 0 else ""
        return f"{sign}2^{parts[0].bit_length() - parts[1].bit_length()}"
    return decimal(gap)


def differing_lines(found: Differing) -> list[str]:
    """What was measured of the domain."""
    lines = [
        f"measured: the claim fails at {found.share:.2%} of {found.points:,} points of the domain",
        "measured: largest |target - source| by output "
        + ", ".join(f"{size:.3g}" for size in found.largest[:SHOWN])
        + (", ..." if len(found.largest) > SHOWN else ""),
    ]
    if found.low is not None and found.high is not None:
        sides = [f"[{a:.6g}, {b:.6g}]" for a, b in zip(found.low, found.high, strict=True)]
        more = f" x ... ({len(sides)} sides)" if len(sides) > SHOWN else ""
        lines.append(
            f"measured: it fails at all {found.inside} points tried in the box around x "
            + " x ".join(sides[:SHOWN]) + more
        )
    return lines


def parting_record(parting: Parting) -> dict[str, Any]:
    """The key `parting` of --json."""
    found = parting.differing
    return {
        "aligned": parting.aligned,
        "why": parting.why or None,
        "layers": [
            {"target": layer.target, "source": layer.source, "equal": layer.equal,
             "changed": layer.changed, "alone": layer.alone,
             "difference": layer.difference, "unit": layer.unit}
            for layer in parting.layers
        ],
        "first": None if parting.first is None else change_record(parting.first),
        "changes": [change_record(change) for change in parting.changes],
        "changed": parting.changed,
        "alone": parting.alone,
        "differing": None if found is None else {
            "points": found.points, "share": found.share, "largest": list(found.largest),
            "box": None if found.low is None or found.high is None
            else [list(side) for side in zip(found.low, found.high, strict=True)],
        },
    }


def change_record(change: Change) -> dict[str, Any]:
    """A unit or output whose row differs."""
    return {
        "target": {"layer": change.target.layer, "unit": change.target.unit},
        "source": None if change.source is None
        else {"layer": change.source.layer, "unit": change.source.unit},
        "weights": [
            {"name": weight.name, "source": approximately(weight.source),
             "target": approximately(weight.target),
             "difference": approximately(weight.target - weight.source)}
            for weight in change.weights
        ],
        "count": change.count,
        "others": change.others,
        "values": None if change.values is None else [approximately(v) for v in change.values],
    }
