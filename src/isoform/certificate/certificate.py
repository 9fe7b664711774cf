# SPDX-License-Identifier: Apache-2.0
"""The certificate: two networks, a claim, evidence; and its file, read strictly.

Promise: a file with schema `isoform.certificate/1` stays readable by every later version.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isoform.certificate.arrays import (
    Arrays,
    blob_of,
    check_amount,
    decode_array,
    listed,
    malformed,
    text,
)
from isoform.certificate.encoding import (
    decode_domain,
    decode_network,
    decode_relation,
    encode_domain,
    encode_network,
    encode_relation,
)
from isoform.certificate.evidence import Evidence, decode_items, encode_evidence
from isoform.errors import CertificateRejected, FormatError
from isoform.network.claim import Arithmetic, Claim
from isoform.network.domain import Everywhere, bound_to
from isoform.network.network import Network
from isoform.network.whole_file import write_whole

SCHEMA = "isoform.certificate/1"
EMBEDDED = 1 << 20  # bytes of arrays above which they go to the sibling file
LARGEST = 1 << 28  # bytes of the JSON file
DEEPEST = 64
FIELDS = {
    "schema", "tool", "networks", "domain", "claim", "arrays", "evidence", "conclusion", "trace",
    "seal",
}


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Certificate:
    """A claim about two primitive networks with the evidence for (or, by a witness, against) it.

    files: sha256 of the two model files, where they came from files. reading: the conventions that
    gave each file its exact meaning. rounds: for claims about the exact network whose constants the
    target file rounds, that exact network; the claim is then between source and `rounds`.
    conclusion: id of the evidence item that settles the claim. trace: information only.
    """

    source: Network
    target: Network
    claim: Claim
    evidence: tuple[Evidence, ...]
    conclusion: str
    files: tuple[str | None, str | None] = (None, None)
    reading: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    rounds: Network | None = None
    trace: tuple[str, ...] = ()
    tool: str = "isoform"

    def __repr__(self) -> str:
        kinds = ", ".join(type(item.data).__name__.lower() for item in self.evidence)
        return f"Certificate({self.claim}; evidence {kinds}; {self.source!r}, {self.target!r})"


def save(certificate: Certificate, path: str | Path) -> None:
    """Write the certificate (atomically); arrays above 1 MB in all go to `<stem>.bin` beside it,
    where the file name ends in `.json`."""
    path = Path(path)
    if sibling(path) == path:
        raise FormatError(f"{path}: .bin is for the arrays beside a certificate; name it .json")
    arrays = Arrays()
    record = encode(certificate, arrays)
    sections = b""
    if sum(map(len, arrays.blobs)) > EMBEDDED:
        offset = 0
        for entry, blob in zip(arrays.records, arrays.blobs, strict=True):
            entry["at"] = [offset, len(blob)]
            offset += len(blob)
        sections = b"".join(arrays.blobs)
    else:
        for entry, blob in zip(arrays.records, arrays.blobs, strict=True):
            entry["data"] = base64.b64encode(blob).decode()
    record["arrays"] = arrays.records
    record["seal"] = seal(record)
    text_of = (json.dumps(record, sort_keys=True, indent=1) + "\n").encode()
    try:
        if sections:
            write_whole(sibling(path), lambda file: file.write(sections))
        write_whole(path, lambda file: file.write(text_of))
    except OSError as error:
        raise FormatError(f"cannot write {path}: {error.strerror}") from None


def load(path: str | Path) -> Certificate:
    """Read a certificate. FormatError where there is no file; CertificateRejected where it is
    malformed or was edited (its seal does not fit)."""
    path = Path(path)
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size <= LARGEST else b""
    except OSError as error:
        raise FormatError(f"cannot read certificate {path}: {error.strerror}") from None
    if size > LARGEST:
        raise malformed(f"{size:,} bytes of JSON")
    record = parse(data)
    if record.get("schema") != SCHEMA:
        raise malformed(f"schema {record.get('schema')!r:.60}; this program reads {SCHEMA}")
    if record.get("seal") != seal(record):
        raise CertificateRejected("seal", "the file was changed after it was written")
    if set(record) != FIELDS:
        raise malformed(f"unknown or missing fields {sorted(set(record) ^ FIELDS)}")
    try:
        sections = b""
        if any("at" in entry for entry in listed(record, "arrays")):
            sections = sibling(path).read_bytes()
        return decode(record, sections)
    except OSError:
        raise malformed(f"the arrays in {sibling(path).name} are missing") from None
    except (
        ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError
    ) as error:
        raise malformed(f"{type(error).__name__}: {error}") from None


def sibling(path: Path) -> Path:
    return path.with_suffix(".bin")


def seal(record: dict[str, Any]) -> str:
    """sha256 of the canonical JSON without the seal; arrays are covered by their hashes."""
    body = {key: value for key, value in record.items() if key != "seal"}
    packed = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(packed.encode()).hexdigest()


def parse(data: bytes) -> dict[str, Any]:
    """JSON without floats, duplicate keys or deep nesting."""
    try:
        record = json.loads(
            data, object_pairs_hook=unique, parse_float=no_float, parse_constant=no_float
        )
    except (ValueError, RecursionError) as error:
        raise malformed(f"no JSON: {error}") from None
    if not isinstance(record, dict):
        raise malformed("no JSON object")
    level: list[dict[str, Any] | list[Any]] = [record]
    depth = 0
    while level:
        depth += 1
        if depth > DEEPEST:
            raise malformed(f"nesting deeper than {DEEPEST}")
        inner = (item.values() if isinstance(item, dict) else item for item in level)
        level = [value for part in inner for value in part if isinstance(value, dict | list)]
    return record


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise malformed("a key occurs twice")
    return record


def no_float(value: str) -> None:
    raise malformed(f"the number {value:.20} is no integer")


def encode(certificate: Certificate, arrays: Arrays) -> dict[str, Any]:
    networks: dict[str, Any] = {}
    for name, network, digest, reading in zip(
        ("source", "target"), (certificate.source, certificate.target), certificate.files,
        certificate.reading, strict=True,
    ):
        networks[name] = encode_network(network, arrays) | {
            "file": digest, "reading": list(reading)
        }
    if certificate.rounds is not None:
        networks["rounds"] = encode_network(certificate.rounds, arrays)
    return {
        "schema": SCHEMA,
        "tool": certificate.tool,
        "networks": networks,
        "domain": encode_domain(
            bound_to(certificate.claim.domain, certificate.source.dimension), arrays
        ),
        "claim": encode_relation(certificate.claim.relation, arrays)
        | {"arithmetic": certificate.claim.arithmetic.value},
        "evidence": [encode_evidence(item, arrays) for item in certificate.evidence],
        "conclusion": certificate.conclusion,
        "trace": list(certificate.trace),
    }


def decode(record: dict[str, Any], sections: bytes) -> Certificate:
    check_amount(record["arrays"])
    arrays = [decode_array(entry, blob_of(entry, sections)) for entry in record["arrays"]]
    networks = record["networks"]
    source = decode_network(networks["source"], arrays)
    target = decode_network(networks["target"], arrays)
    rounds = decode_network(networks["rounds"], arrays) if "rounds" in networks else None
    domain = decode_domain(record["domain"], arrays)
    claim = Claim(
        decode_relation(record["claim"], arrays),
        Everywhere() if isinstance(domain, Everywhere) else domain,
        Arithmetic(text(record["claim"], "arithmetic")),
    )
    return Certificate(
        source=source, target=target, claim=claim,
        evidence=decode_items(listed(record, "evidence"), arrays),
        conclusion=text(record, "conclusion"),
        files=(file_hash(networks["source"]), file_hash(networks["target"])),
        reading=(
            tuple(map(str, listed(networks["source"], "reading"))),
            tuple(map(str, listed(networks["target"], "reading"))),
        ),
        rounds=rounds, trace=tuple(map(str, listed(record, "trace"))), tool=text(record, "tool"),
    )


def file_hash(record: dict[str, Any]) -> str | None:
    value = record.get("file")
    if value is not None and (not isinstance(value, str) or len(value) != 64):
        raise malformed("a file hash that is none")
    return value
