# SPDX-License-Identifier: Apache-2.0
"""What every verb prints: results on standard output, prose and progress on standard error.

With --json, standard output is exactly one JSON object, for errors too.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal

import rich_click as click

if TYPE_CHECKING:
    from isoform.api import Delivery, Model, Verdict

DOMAINS = ("DOMAIN: box:-1,1 | box:0,1/-2,2/... | ball:CENTRE.npy,RADIUS | vnnlib:FILE | npz:FILE "
           "| polytope:FILE.npz | points:FILE.npy | binary | everywhere.")
Batch = Literal["drop", "keep"]
DONE, REJECTED, UNDECIDED, ERROR, INTERRUPTED = 0, 1, 2, 3, 130
STATUS = {"proved": DONE, "refuted": REJECTED, "undecided": UNDECIDED}


def common(function: Callable[..., int]) -> Callable[..., int]:
    """The options that every verb has."""
    function = click.option("--debug", is_flag=True, help="Print a traceback for a bug.")(function)
    return click.option("--json", "as_json", is_flag=True,
                        help="One JSON object on standard output.")(function)


def batch_option(function: Callable[..., int]) -> Callable[..., int]:
    """--batch, of the verbs that read models."""
    return click.option(
        "--batch", type=click.Choice(["drop", "keep"]), default="drop", show_default=True,
        help="keep: a fixed leading axis is part of the function.",
    )(function)


def emit(record: dict[str, Any], text: str, as_json: bool) -> None:
    """The result of a verb, as one object or as text."""
    print(json.dumps(record, indent=2) if as_json else text)


def note(text: str) -> None:
    """Prose beside the result."""
    print(text, file=sys.stderr)


def complain(kind: str, message: str, as_json: bool, code: int) -> int:
    """An error in words on standard error (and as the one object of --json); its exit status."""
    note(f"isoform: {message}")
    if as_json:
        print(json.dumps({"error": {"kind": kind, "message": message}}, indent=2))
    return code


def model_record(model: Model) -> dict[str, Any]:
    """The keys of `source` and `target`."""
    return {"path": model.origin, "sha256": model.digest, "form": model.form_name,
            **model.size.as_dict()}


def verdict_record(verdict: Verdict | None) -> dict[str, Any]:
    """The keys of a verdict; all null where nothing was asked."""
    from isoform.report.tables import verdict_name
    from isoform.text import outward_float

    if verdict is None:
        keys = ("verdict", "claim", "arithmetic", "grade", "lower", "upper", "lower_at", "upper_at",
                "reason", "witness", "seconds")
        return dict.fromkeys(keys)
    witness = getattr(verdict, "witness", None)
    return {
        "verdict": verdict_name(verdict),
        "claim": str(verdict.claim),
        "arithmetic": verdict.claim.arithmetic.value,
        "grade": getattr(verdict, "grade", None),
        "lower": outward_float(verdict.lower, up=False),
        "upper": outward_float(verdict.upper, up=True),
        "lower_at": lower_record(getattr(verdict, "lower_at", None)),
        "upper_at": upper_record(getattr(verdict, "upper_at", None)),
        "reason": getattr(verdict, "reason", None),
        "witness": None if witness is None else witness_record(witness),
        "seconds": round(verdict.seconds, 3),
    }


def lower_record(at: Any) -> dict[str, Any] | None:
    """Where a lower value was found; null where nothing was."""
    if at is None:
        return None
    entries = at.point.fractions()
    return {"output": at.output, "point": [near(x) for x in entries],
            "exact": [str(x) for x in entries]}


def upper_record(at: Any) -> dict[str, Any] | None:
    """Where an upper value comes from: an output, and the box with the worst bound, its ends
    rounded outward; null where that was not followed."""
    from isoform.text import outward_float

    if at is None:
        return None
    box = None if at.box is None else {
        "low": [outward_float(x, up=False) for x in at.box.low.fractions()],
        "high": [outward_float(x, up=True) for x in at.box.high.fractions()],
    }
    return {"output": at.output, "box": box}


def witness_record(witness: Any) -> dict[str, Any]:
    """A point with both outputs, as floats, and the point as exact rationals too."""
    return {
        "point": [near(x) for x in witness.point.fractions()],
        "exact": [str(x) for x in witness.point.fractions()],
        "source": values(witness.source),
        "target": values(witness.target),
        "output": witness.output,
        "difference": near(witness.difference),
    }


def near(value: Fraction) -> float | None:
    """The nearest double; null beyond the largest, for JSON has no infinity."""
    try:
        return float(value)
    except OverflowError:
        return None


def values(value: Any) -> list[float | None] | dict[str, list[float | None]]:
    """An exact vector as floats, an enclosure as its two ends."""
    if hasattr(value, "low"):
        return {"low": values(value.low), "high": values(value.high)}  # type: ignore[dict-item]
    return [near(x) for x in value.fractions()]


def delivery_record(delivery: Delivery) -> dict[str, Any]:
    """What `convert` says of a written file."""
    return {
        "output": str(delivery.path),
        "bytes": delivery.bytes,
        "dtype": delivery.prepared.dtype,
        "rounded": delivery.prepared.rounded,
        "exact": delivery.prepared.split,
        "about": "rounding" if delivery.about_rounding else "file",
        "deviation": delivery.deviation.largest,
        "deviation_points": delivery.deviation.points,
        "certificate": None if delivery.certificate is None else str(delivery.certificate),
    }
