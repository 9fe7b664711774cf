# SPDX-License-Identifier: Apache-2.0
"""Hostile certificate files: values, arrays and bytes changed and sealed again, small files that
ask for much. Nothing but CertificateRejected may come out, and nothing false may be accepted."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import random
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from isoform.certificate.arrays import check_amount, decode_array
from isoform.certificate.certificate import Certificate, load, save, seal
from isoform.certificate.check import check
from isoform.certificate.encoding import decode_operator
from isoform.certificate.evidence import Enumerate, Evidence
from isoform.certificate.points import violated
from isoform.certificate.verdict import Proved, Refuted
from isoform.errors import CertificateRejected, Refused
from isoform.network.claim import Claim, Equal, SameDecision, Within
from isoform.network.domain import (
    Binary,
    Box,
    Everywhere,
    FiniteSet,
    Polytope,
    Sequences,
    Union,
    bound_to,
    contains,
)
from isoform.network.evaluate import evaluate_exact
from isoform.network.linear_map import Dense, Gather
from isoform.network.network import Builder, Network, Node
from isoform.network.operators import Concat, Opaque, Product, Relu, Scan, Select, Step
from isoform.numerics.enclosure import Enclosure
from isoform.numerics.exact import Exact
from isoform.verify.prove import prove
from test_attack_checker import EQUAL, certificate


def small_certificates() -> list[Certificate]:
    """Sweeps with merges and with radii, a witness, an enumeration, every operator."""
    box = Box([Fraction(-1)] * 2, [Fraction(1), Fraction(1, 3)])
    build = Builder((2,))
    z = build.linear(Dense(np.array([[1.0, -2.0], [0.5, 1.0], [-2.0, 4.0]])), 0, np.ones(3))
    h = build.add(Relu(), (z,), 3)
    first = build.build(build.linear(Dense(np.array([[1.0, -1.0, 0.25], [1, 1, 1]])), h))
    build = Builder((2,))
    z = build.linear(Dense(np.array([[2.0, -4.0], [1.0, 2.0], [-1.0, 2.0]])), 0,
                     np.array([2.0, 2.0, 0.5]))
    h = build.add(Relu(), (z,), 3)
    second = build.build(build.linear(Dense(np.array([[0.5, -0.5, 0.5], [0.5, 0.5, 2]])), h))
    certificates = []
    for target, relation, domain in (
        (first, Equal(), Everywhere()), (second, Equal(), box),
        (second, Within(Fraction(9)), Polytope(Exact.of([[1, 1]]), Exact.of([1]), box)),
        (second, SameDecision(Fraction(1, 2)), Union((Sequences(2, Box(0, 1)), box))),
        (first, Within(Fraction(2)), Binary(2)), (second, Equal(), FiniteSet(Exact.zeros((2, 2)))),
    ):
        verdict = prove(first, target, Claim(relation, domain), timeout=0.2)
        if isinstance(verdict, Proved | Refuted):
            certificates.append(verdict.certificate)
    codes = Evidence("e1", Enumerate())
    certificates.append(replace(certificate(first, first, Claim(Equal(), Binary(2))),
                                evidence=(codes,)))
    every = every_operator()
    verdict = prove(every, every, EQUAL)
    assert isinstance(verdict, Proved)
    return [*certificates, verdict.certificate]


def every_operator() -> Network:
    build = Builder((4,))
    cut = build.add(Select(np.array([3, 1, 1])), (0,), 3)
    third = Exact.of([Fraction(1, 3), Fraction(-2, 7), Fraction(5)])
    z = build.linear(Gather(indices=np.array([0, -1, 2]), scale=third, inputs=3), cut)
    parts = [build.add(Step(), (z,), 3), build.add(Opaque("softmax", 3), (z,), 3),
             build.add(Product(), (z, cut), 3)]
    cell = Builder((2,))
    y = cell.add(Relu(), (cell.linear(Dense(np.array([[1.0, 2.0], [0.5, -1.0]])), 0),), 2)
    start = build.linear([], [], np.array([0.5]))
    parts.append(build.add(Scan(cell.build(y), 1, 3), (start, z), 4))
    return build.build(build.add(Concat(), tuple(parts), 13))


INTERESTING = (
    0, 1, 2, -1, 7, 2**26, 2**31, 2**32 + 1, 2**62, 2**63, 2**64, 2**70, True, None, "", "0", "1",
    "1/0", "-1/2", "1e9999999999", "0x10", "١", "relu", "softmax", "everywhere", "within", "rounds",
    [], {}, [[]], [0], [1, 2], {"kind": "binary", "dimension": 2}, "\ud800",
)


def places(value, path=()):
    """Paths of everything in a JSON value."""
    yield path
    inner = value.items() if isinstance(value, dict) else (
        enumerate(value) if isinstance(value, list) else ()
    )
    for key, part in inner:
        yield from places(part, (*path, key))


def mutate(record: dict, rng: random.Random) -> None:
    """One change at a random place of a JSON object: another value, a copy from elsewhere, a
    deletion, a repetition."""
    paths = [path for path in places(record) if path and path[0] not in ("seal", "tool")]
    path = rng.choice(paths)
    place = record
    for key in path[:-1]:
        place = place[key]
    old = place[path[-1]]
    match rng.randrange(6):
        case 0 if isinstance(place, list):
            place.append(old)
        case 1:
            del place[path[-1]]
        case 2:
            other = record
            for key in rng.choice(paths):
                other = other[key]
            place[path[-1]] = json.loads(json.dumps(other))
        case 3 if isinstance(old, int):
            place[path[-1]] = old + rng.choice([-1, 1, 2])
        case _:
            place[path[-1]] = copy.deepcopy(rng.choice(INTERESTING))  # lists must not be shared


def scramble_array(record: dict, rng: random.Random) -> None:
    """Other bytes in one array, with the right hash."""
    entry = rng.choice(record["arrays"])
    data = bytearray(base64.b64decode(entry["data"]))
    for _ in range(rng.randrange(1, 4)):
        if data:
            data[rng.randrange(len(data))] = rng.choice([0, 1, 127, 128, 255, rng.randrange(256)])
    entry["data"] = base64.b64encode(bytes(data)).decode()
    entry["sha256"] = hashlib.sha256(bytes(data)).hexdigest()


def renamed(record: dict) -> None:
    """Let every network have the hash that it has, where it can be read at all."""
    try:
        check_amount(record["arrays"])
        arrays = [decode_array(e, base64.b64decode(e["data"])) for e in record["arrays"]]
        for name in ("source", "target", "rounds"):
            if name in record["networks"]:
                rehash(record["networks"][name], arrays)
    except (CertificateRejected, LookupError, TypeError, ValueError, AttributeError,
            ArithmeticError):
        return  # `load` will find it, too


def rehash(record: dict, arrays: list) -> None:
    """The right hash for a network, its cells first."""
    for item in record["nodes"]:
        if "cell" in item:
            rehash(item["cell"], arrays)
    nodes = tuple(
        Node(decode_operator(item, arrays), tuple(item["of"]), (item["size"],))
        for item in record["nodes"]
    )
    record["sha256"] = Network(((record["inputs"],),), nodes, (record["output"],)).digest


def fuzz(folder: Path, rounds: int, seed: int) -> tuple[int, int]:
    """Mutants of small certificates, sealed again. Nothing but CertificateRejected may come out,
    and what is accepted must hold at random points. Returns how many were read and accepted."""
    rng, path, read, accepted = random.Random(seed), folder / "c.json", 0, 0
    records = []
    for number, item in enumerate(small_certificates()):
        save(item, folder / f"{number}.json")
        records.append(json.loads((folder / f"{number}.json").read_text()))
    for _ in range(rounds):
        record = json.loads(json.dumps(rng.choice(records)))
        for _ in range(rng.choice([1, 1, 1, 2, 3])):
            try:
                (scramble_array if rng.random() < 0.3 else mutate)(record, rng)
            except (KeyError, IndexError, TypeError, ValueError):
                continue
        if rng.random() < 0.8:
            renamed(record)
        record["seal"] = seal(record)
        path.write_text(json.dumps(record))
        try:
            found = load(path)
            read += 1
            verdict = check(found)
        except CertificateRejected:
            continue
        accepted += 1
        if verdict.holds:
            assert holds_at_points(found, rng)
    return read, accepted


def holds_at_points(found: Certificate, rng: random.Random) -> bool:
    """Whether the claim holds at random points of the domain, by exact evaluation."""
    n = found.source.dimension
    domain = bound_to(found.claim.domain, n)
    target = found.target if found.rounds is None else found.rounds
    for _ in range(20):
        point = Exact.of([Fraction(rng.choice([-2, -1, 0, 1, 2, rng.randint(-9, 9)]),
                                   rng.choice([1, 2, 3])) for _ in range(n)])
        if not contains(domain, point):
            continue
        try:
            pair = [Enclosure.of(evaluate_exact(net, point)) for net in (found.source, target)]
        except Refused:
            continue
        if violated(point, pair[0], pair[1], found.claim.relation):
            return False
    return True


def test_fuzzed_files_are_rejected_or_true(tmp_path: Path) -> None:
    read, accepted = fuzz(tmp_path, 400, 1)
    assert read > 40 and accepted > 10


@pytest.mark.slow
def test_fuzzed_files_are_rejected_or_true_at_length(tmp_path: Path) -> None:
    fuzz(tmp_path, 6000, 2)


def test_fuzzed_bytes_are_rejected(tmp_path: Path) -> None:
    rng = random.Random(3)
    save(small_certificates()[-1], tmp_path / "c.json")
    data = (tmp_path / "c.json").read_bytes()
    for _ in range(200):
        edited = bytearray(data)
        for _ in range(rng.randrange(1, 5)):
            edited[rng.randrange(len(edited))] = rng.randrange(256)
        if rng.random() < 0.2:
            edited = edited[: rng.randrange(len(edited))]
        (tmp_path / "c.json").write_bytes(bytes(edited))
        try:
            check(load(tmp_path / "c.json"))
        except CertificateRejected:
            continue


def resealed(path: Path, change) -> None:
    """Edit a certificate's JSON and seal it again."""
    record = json.loads(path.read_text())
    change(record)
    renamed(record)
    record["seal"] = seal(record)
    path.write_text(json.dumps(record))


def all_zeros(shape: list[int], kind: str = "float32") -> dict:
    """The record of an array that stores nothing."""
    return {"kind": kind, "shape": shape, "stored": 0, "data": "",
            "sha256": hashlib.sha256(b"").hexdigest()}


def bombs() -> dict:
    """Small files that ask for much: memory, or time."""
    def zeros(record: dict) -> None:
        record["arrays"] += [all_zeros([1 << 26]) for _ in range(64)]

    def runs(record: dict) -> None:
        record["evidence"][0]["data"]["codes"] += [{"runs": [[0, 1 << 26]]}] * 1000

    def inputs(record: dict) -> None:
        for name in ("source", "target"):
            record["networks"][name] |= {"inputs": 1 << 40, "nodes": [], "output": 0}

    def power(record: dict) -> None:
        record["claim"] = {"relation": "within", "eps": "1e9999999999", "norm": "max",
                           "arithmetic": "reals"}

    def outputs(record: dict) -> None:
        number = len(record["arrays"])
        record["arrays"].append(all_zeros([100_000], "int64"))
        node = {"of": [0], "size": 100_000, "op": "select", "indices": number}
        for name in ("source", "target"):
            record["networks"][name] |= {"nodes": [node], "output": 1}
        record["evidence"][0]["data"]["codes"] = []
        record["claim"] = {"relation": "same-decision", "margin": "1", "arithmetic": "reals"}

    def kernel(record: dict) -> None:
        number = len(record["arrays"])
        record["arrays"].append(all_zeros([1, 1, 1 << 20]))
        conv = {"map": "conv", "kernel": number, "space": [2], "strides": [1], "groups": 1,
                "pads": [[1 << 20, 1 << 20]], "dilations": [1]}
        node = {"of": [0], "size": (1 << 20) + 3, "op": "linear", "maps": [conv]}
        for name in ("source", "target"):
            record["networks"][name] |= {"nodes": [node], "output": 1}

    def recurrence(record: dict) -> None:
        for name in ("source", "target"):
            record["networks"][name] |= nested(12)
        record["evidence"][0]["data"]["codes"] = []

    return {bomb.__name__: bomb for bomb in (
        zeros, runs, inputs, power, outputs, kernel, recurrence
    )}


def nested(depth: int) -> dict:
    """A recurrence of 1000 steps in a recurrence of 1000 steps, and so on: 1000^depth steps.
    Weights are array 0 (1 x 2) and array 1 (2 x 1001)."""
    if depth == 0:
        return {"inputs": 2, "nodes": [], "output": 0, "sha256": ""}
    repeat = {"op": "concat", "of": [0] * 500, "size": 1000}
    cell = nested(depth - 1)
    return {
        "inputs": 2, "output": 4, "sha256": "",
        "nodes": [
            repeat, {"op": "linear", "of": [0], "size": 1, "maps": [{"map": "dense", "weight": 0}]},
            {"op": "scan", "of": [2, 1], "size": 1001, "cell": cell, "state": 1, "horizon": 1000},
            {"op": "linear", "of": [3], "size": 2, "maps": [{"map": "dense", "weight": 1}]},
        ],
    }


@pytest.mark.parametrize("name", bombs())
def test_small_files_that_ask_for_much_are_rejected(name: str, tmp_path: Path) -> None:
    build = Builder((2,))
    narrow = build.linear(Dense(np.ones((1, 2), dtype=np.float32)), 0)
    net = build.build(build.linear(Dense(np.ones((2, 1), dtype=np.float32)), narrow))
    path = tmp_path / "c.json"
    save(certificate(net, net, EQUAL), path)
    if name == "recurrence":
        resealed(path, lambda record: record["arrays"].__setitem__(
            slice(None), [all_zeros([1, 2]), all_zeros([2, 1001])]
        ))
    began = time.monotonic()
    resealed(path, bombs()[name])
    with pytest.raises(CertificateRejected) as caught:
        check(load(path))
    assert not any(part in str(caught.value) for part in ("hash", "Error", "from sizes"))
    assert time.monotonic() - began < 5
