# SPDX-License-Identifier: Apache-2.0
"""Items of evidence: what they store. What they prove is re-derived in `check.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from isoform.certificate.arrays import Arrays, fetch_exact, listed, malformed, text, whole
from isoform.certificate.cell_evidence import CommonCells, decode_cells, encode_cells
from isoform.certificate.code_evidence import decode_codes, encode_codes
from isoform.certificate.codes import Codes
from isoform.certificate.region_evidence import Regions, decode_regions, encode_regions
from isoform.certificate.tree_evidence import Trees, decode_trees, encode_trees
from isoform.network.linear_map import Constant
from isoform.numerics.exact import Exact

MOST_UNITS = 1 << 26


@dataclass(frozen=True, slots=True)
class Sweep:
    """Codes for every non-linear node, source first; whether the final rows are refined."""

    codes: tuple[Codes, ...]
    backward: bool = False


@dataclass(frozen=True, slots=True)
class Counterexample:
    """A point of the domain at which the claim fails."""

    point: Exact


@dataclass(frozen=True, slots=True)
class Enumerate:
    """All points of a finite domain are evaluated; no data."""


@dataclass(frozen=True, slots=True)
class Rounding:
    """The target's constants are the nearest floats of `rounds`'s; `uses` is the proof that source
    and `rounds` satisfy the claim."""


Data = Sweep | Counterexample | Enumerate | Rounding | Regions | CommonCells | Trees


@dataclass(frozen=True, slots=True)
class Evidence:
    """One item; `uses` names earlier items only."""

    id: str
    data: Data
    uses: tuple[str, ...] = ()


def encode_evidence(item: Evidence, arrays: Arrays) -> dict[str, Any]:
    record: dict[str, Any] = {"id": item.id, "uses": list(item.uses)}
    match item.data:
        case Sweep(codes, backward):
            data = {
                "codes": [encode_codes(entry, arrays) for entry in codes], "backward": backward
            }
            return record | {"kind": "sweep", "data": data}
        case Counterexample(point):
            return record | {"kind": "witness", "data": {"point": arrays.add(point)}}
        case Enumerate():
            return record | {"kind": "enumerate", "data": {}}
        case Rounding():
            return record | {"kind": "rounding", "data": {}}
        case Trees():
            return record | {"kind": "tree", "data": encode_trees(item.data, arrays)}
        case Regions():
            return record | {"kind": "regions", "data": encode_regions(item.data, arrays)}
        case CommonCells():
            return record | {"kind": "cells", "data": encode_cells(item.data, arrays)}


def decode_items(records: list[Any], arrays: list[Constant]) -> tuple[Evidence, ...]:
    """All items; the units that their runs speak of are counted before any array is made."""
    units = sum(
        whole(length) for record in records for entry in record["data"].get("codes", [])
        for _, length in listed(entry, "runs")
    )
    if units > MOST_UNITS:
        raise malformed(f"codes of {units:,} units")
    return tuple(decode_evidence(record, arrays) for record in records)


def decode_evidence(record: Any, arrays: list[Constant]) -> Evidence:
    data = record.get("data")
    if not isinstance(data, dict):
        raise malformed("an item without data")
    found: Data
    match text(record, "kind"):
        case "sweep":
            codes = tuple(decode_codes(entry, arrays) for entry in listed(data, "codes"))
            found = Sweep(codes, data.get("backward") is True)
        case "witness":
            found = Counterexample(fetch_exact(arrays, data.get("point")))
        case "enumerate":
            found = Enumerate()
        case "rounding":
            found = Rounding()
        case "tree":
            found = decode_trees(data, arrays)
        case "regions":
            found = decode_regions(data, arrays)
        case "cells":
            found = decode_cells(data, arrays)
        case name:
            raise malformed(f"unknown kind of evidence {name!r:.40}")
    return Evidence(text(record, "id"), found, tuple(map(str, listed(record, "uses"))))
