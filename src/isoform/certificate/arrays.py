# SPDX-License-Identifier: Apache-2.0
"""Arrays of a certificate as bytes, and strict access to its JSON.

Numbers are integers, "p/q" strings, or arrays: little-endian floats and integers, and exact tensors
as fixed-width two's complement integers over one denominator. Everything is checked for size and
shape before it is allocated; whatever does not fit is a CertificateRejected.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
import re
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from isoform.errors import CertificateRejected
from isoform.network.linear_map import Constant
from isoform.network.network import numeral
from isoform.numerics.exact import Exact, integers

MOST_ENTRIES = 1 << 26  # of one tensor
MOST_WIDTH = 1 << 16  # bytes of one integer
POSITIVE = re.compile(r"[1-9][0-9]{0,4000}|0x[1-9a-f][0-9a-f]{0,131071}")
RATIONAL = re.compile(r"-?[0-9]{1,4000}(/[1-9][0-9]{0,3999})?")
DTYPES = {
    "float32": "<f4", "float64": "<f8", "int64": "<i8", "int32": "<i4", "uint16": "<u2",
    "uint8": "|u1",
}


def malformed(why: str) -> CertificateRejected:
    return CertificateRejected("syntax", why)


@dataclass(slots=True)
class Arrays:
    """The table of arrays of one certificate; equal arrays are stored once."""

    records: list[dict[str, Any]] = field(default_factory=list)
    blobs: list[bytes] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)

    def add(self, value: Constant) -> int:
        """Store an array; returns its number."""
        record, blob = array_bytes(value)
        key = f"{sorted(record.items())}"
        if key not in self.places:
            self.places[key] = len(self.records)
            self.records.append(record)
            self.blobs.append(blob)
        return self.places[key]


def array_bytes(value: Constant) -> tuple[dict[str, Any], bytes]:
    """Record (without place) and bytes of an array; zeros are left out where most entries are."""
    if isinstance(value, Exact):
        flat, kind = value.numerator.ravel(), "exact"
    else:
        kind = value.dtype.name
        if kind not in DTYPES:
            raise TypeError(f"a certificate stores no {kind} arrays")
        flat = np.ascontiguousarray(value).ravel()
    record: dict[str, Any] = {"kind": kind, "shape": list(value.shape)}
    stored = np.flatnonzero(flat != 0) if kind != "int64" else np.arange(flat.size)
    if kind in ("float32", "float64"):
        stored = np.flatnonzero((flat != 0) | np.signbit(flat))
    if 2 * len(stored) < flat.size:
        record["stored"] = len(stored)
        flat = flat[stored]
        places = stored.astype("<i8").tobytes()
    else:
        places = b""
    if isinstance(value, Exact):
        entries = flat.tolist()
        width = max((entry.bit_length() // 8 + 1 for entry in entries), default=1)
        record |= {"denominator": numeral(value.denominator), "width": width}
        body = b"".join(entry.to_bytes(width, "little", signed=True) for entry in entries)
    else:
        body = flat.astype(DTYPES[kind]).tobytes()
    blob = places + body
    record["sha256"] = hashlib.sha256(blob).hexdigest()
    return record, blob


def check_amount(records: list[dict[str, Any]]) -> None:
    """Arrays may leave out zeros, but not so many in all that a small file fills the memory."""
    shapes = [[whole(n) for n in listed(record, "shape")] for record in records]
    left_out = sum(
        math.prod(shape) - whole(record["stored"])
        for shape, record in zip(shapes, records, strict=True) if "stored" in record
    )
    if left_out > MOST_ENTRIES:
        raise malformed(f"arrays that leave out {left_out:,} zeros")


def decode_array(record: dict[str, Any], blob: bytes) -> Constant:
    """The inverse of `array_bytes`."""
    shape = tuple(whole(n) for n in listed(record, "shape"))
    count = math.prod(shape)
    if len(shape) > 8 or count > MOST_ENTRIES:
        raise malformed(f"an array of shape {shape}")
    kind = text(record, "kind")
    stored = whole(record["stored"]) if "stored" in record else count
    width = whole(record.get("width", 0)) if kind == "exact" else 0
    if kind != "exact" and kind not in DTYPES:
        raise malformed(f"an array of kind {kind!r}")
    if kind == "exact" and not 0 < width <= MOST_WIDTH:
        raise malformed(f"integers of {width} bytes")
    size = width if kind == "exact" else np.dtype(DTYPES[kind]).itemsize
    sparse = "stored" in record
    if stored > count or len(blob) != stored * (size + 8 * sparse):
        raise malformed(f"an array of shape {shape} with {len(blob)} bytes")
    if hashlib.sha256(blob).hexdigest() != record.get("sha256"):
        raise malformed("an array does not have its hash")
    cut = 8 * stored * sparse
    places = np.frombuffer(blob[:cut], dtype="<i8").astype(np.int64)
    if sparse and (np.any(np.diff(places) <= 0) or np.any(places < 0) or np.any(places >= count)):
        raise malformed("places of a sparse array out of order")
    body = blob[cut:]
    if kind == "exact":
        parts = (body[i : i + width] for i in range(0, len(body), width))
        flat = integers((int.from_bytes(p, "little", signed=True) for p in parts), (stored,))
    else:
        flat = np.frombuffer(body, dtype=DTYPES[kind]).astype(kind)
    if sparse:
        whole_array = np.zeros(count, dtype=flat.dtype)
        whole_array[places] = flat
        flat = whole_array
    flat = flat.reshape(shape)
    if kind != "exact":
        if flat.dtype.kind == "f" and not np.all(np.isfinite(flat)):
            raise malformed("NaN or infinity in an array")
        return flat
    return Exact(flat, positive(record["denominator"]))


def blob_of(record: dict[str, Any], sections: bytes) -> bytes:
    """Bytes of an array: embedded, or a section of the sibling file."""
    if "data" in record:
        try:
            return base64.b64decode(text(record, "data"), validate=True)
        except (binascii.Error, ValueError):
            raise malformed("an array that is no base64") from None
    at, length = (whole(n) for n in listed(record, "at"))
    if at + length > len(sections):
        raise malformed("an array section beyond the end of the .bin file")
    return sections[at : at + length]


# --- strict access to JSON ------------------------------------------------------------------------


def whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise malformed(f"{value!r:.60} is no natural number")
    return value


def positive(value: Any) -> int:
    if not isinstance(value, str) or not POSITIVE.fullmatch(value):
        raise malformed(f"{value!r:.60} is no positive integer")
    return int(value, 0)


def rational(value: Any) -> Fraction:
    """"p/q" only: `Fraction` would also take "1e999999999", and write out that power of ten."""
    if not isinstance(value, str) or not RATIONAL.fullmatch(value):
        raise malformed(f"{value!r:.60} is no rational")
    return Fraction(value)


def text(record: Any, key: str) -> str:
    value = record.get(key) if isinstance(record, dict) else None
    if not isinstance(value, str):
        raise malformed(f"{key!r} is missing or no text")
    return value


def listed(record: Any, key: str) -> list[Any]:
    value = record.get(key) if isinstance(record, dict) else None
    if not isinstance(value, list):
        raise malformed(f"{key!r} is missing or no list")
    return value


def fetch(arrays: list[Constant], number: Any) -> Constant:
    if whole(number) >= len(arrays):
        raise malformed(f"array {number} is not in the file")
    return arrays[number]


def fetch_exact(arrays: list[Constant], number: Any) -> Exact:
    value = fetch(arrays, number)
    if not isinstance(value, Exact):
        raise malformed(f"array {number} is not exact")
    return value


def fetch_index(arrays: list[Constant], number: Any) -> np.ndarray:
    value = fetch(arrays, number)
    if not isinstance(value, np.ndarray) or value.dtype != np.int64 or value.ndim != 1:
        raise malformed(f"array {number} is no list of indices")
    return value
