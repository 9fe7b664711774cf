# SPDX-License-Identifier: Apache-2.0
"""Codes of a sweep as evidence stores them."""

from __future__ import annotations

from typing import Any

import numpy as np

from isoform.certificate.arrays import (
    Arrays,
    fetch,
    fetch_exact,
    fetch_index,
    listed,
    malformed,
    whole,
)
from isoform.certificate.codes import Code, Codes
from isoform.certificate.relations import Relation
from isoform.network.linear_map import Constant


def encode_codes(codes: Codes, arrays: Arrays) -> dict[str, Any]:
    """Codes in runs; partners and factors as arrays where there are any."""
    edges = np.flatnonzero(np.diff(codes.code)) + 1
    starts = np.concatenate(([0], edges)) if len(codes.code) else edges
    lengths = np.diff(np.concatenate((starts, [len(codes.code)])))
    runs = [[int(codes.code[s]), int(n)] for s, n in zip(starts, lengths, strict=True)]
    record: dict[str, Any] = {"runs": runs}
    if codes.backward:
        record["backward"] = True
    if len(codes.partner):
        record["partner"] = arrays.add(codes.partner.astype(np.int64))
        record["factor"] = arrays.add(codes.factor.reduced())
    if codes.refined is not None and codes.slopes is not None:
        record["refined"] = arrays.add(codes.refined.astype(np.int64))
        record["slopes"] = arrays.add(codes.slopes.astype(np.uint16))
    if codes.relations:
        record["relations"] = [
            {"columns": arrays.add(relation.columns.astype(np.int64)),
             "values": arrays.add(relation.values.reduced()),
             "hinges": arrays.add(relation.hinges.astype(np.int64)),
             "above": arrays.add(relation.above.astype(np.uint8)),
             "multipliers": arrays.add(relation.multipliers.reduced())}
            for relation in codes.relations
        ]
    return record


def decode_relation(record: Any, arrays: list[Constant]) -> Relation:
    above = fetch(arrays, record.get("above"))
    if not isinstance(above, np.ndarray) or above.dtype != np.uint8:
        raise malformed("sides of a relation that are no bytes")
    return Relation(
        columns=fetch_index(arrays, record.get("columns")),
        values=fetch_exact(arrays, record.get("values")),
        hinges=fetch_index(arrays, record.get("hinges")), above=above,
        multipliers=fetch_exact(arrays, record.get("multipliers")),
    )


def decode_codes(record: Any, arrays: list[Constant]) -> Codes:
    runs = [(whole(code), whole(length)) for code, length in listed(record, "runs")]
    if any(code > max(Code) for code, _ in runs):
        raise malformed("codes of units that cannot be")
    code = np.concatenate(
        [np.zeros(0, np.uint8), *(np.full(n, c, dtype=np.uint8) for c, n in runs)]
    )
    empty = Codes.all_new(0)
    merges, slopes = "partner" in record, None
    if "slopes" in record:
        held = fetch(arrays, record["slopes"])
        if not isinstance(held, np.ndarray) or held.dtype != np.uint16 or held.ndim != 2:
            raise malformed("slopes that are no matrix of 16-bit numbers")
        slopes = held
    return Codes(
        code=code,
        partner=fetch_index(arrays, record["partner"]) if merges else empty.partner,
        factor=fetch_exact(arrays, record.get("factor")) if merges else empty.factor,
        backward=record.get("backward") is True,
        refined=None if slopes is None else fetch_index(arrays, record.get("refined")),
        slopes=slopes,
        relations=tuple(
            decode_relation(entry, arrays)
            for entry in (listed(record, "relations") if "relations" in record else ())
        ),
    )
