# SPDX-License-Identifier: Apache-2.0
"""Networks, domains and relations as JSON, decoded strictly: a decoded network is well-formed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from isoform.certificate.arrays import (
    Arrays,
    fetch,
    fetch_exact,
    fetch_index,
    listed,
    malformed,
    rational,
    text,
    whole,
)
from isoform.certificate.wellformed import check_network
from isoform.errors import DomainError
from isoform.network.claim import (
    Avoids,
    Equal,
    Forbidden,
    RegionCount,
    Relation,
    SameDecision,
    Within,
)
from isoform.network.domain import (
    Binary,
    Box,
    Domain,
    Everywhere,
    FiniteSet,
    Polytope,
    Sequences,
    Union,
)
from isoform.network.linear_map import Constant, Conv, Csr, Dense, Gather, LinearMap
from isoform.network.network import Network, Node
from isoform.network.operators import (
    Concat,
    Linear,
    Opaque,
    Operator,
    Product,
    Relu,
    Round,
    Scan,
    Select,
    Step,
)
from isoform.numerics.exact import Exact

# --- networks -------------------------------------------------------------------------------------


def encode_network(network: Network, arrays: Arrays) -> dict[str, Any]:
    """A primitive network without names."""
    return {
        "inputs": network.dimension,
        "nodes": [encode_node(node, arrays) for node in network.nodes],
        "output": network.outputs[0],
        "sha256": network.digest,
    }


def encode_node(node: Node, arrays: Arrays) -> dict[str, Any]:
    record: dict[str, Any] = {"of": list(node.operands), "size": node.shape[0]}
    match node.operator:
        case Linear(maps, bias):
            record |= {"op": "linear", "maps": [encode_map(part, arrays) for part in maps]}
            if bias is not None:
                record["bias"] = arrays.add(bias)
        case Select(indices):
            record |= {"op": "select", "indices": arrays.add(indices)}
        case Opaque(name, group):
            record |= {"op": "opaque", "name": name, "group": group}
        case Scan(cell, state, horizon):
            record |= {
                "op": "scan", "cell": encode_network(cell, arrays), "state": state,
                "horizon": horizon,
            }
        case Relu() | Step() | Round() | Product() | Concat():
            record["op"] = type(node.operator).__name__.lower()
        case _:
            raise TypeError(f"{type(node.operator).__name__} is not primitive")
    return record


def encode_map(part: LinearMap, arrays: Arrays) -> dict[str, Any]:
    record: dict[str, Any] = {"map": type(part).__name__.lower()}
    record |= {name: arrays.add(constant) for name, constant in part.constants.items()}
    match part:
        case Csr() | Gather():
            record["inputs"] = part.inputs
        case Conv():
            record |= {
                "space": list(part.space), "strides": list(part.strides),
                "pads": [list(pair) for pair in part.pads],
                "dilations": list(part.dilations), "groups": part.groups,
            }
    return record


def decode_network(record: Any, arrays: list[Constant]) -> Network:
    """A well-formed primitive network with the hash that it should have."""
    n = whole(record.get("inputs") if isinstance(record, dict) else None)
    sizes, nodes = [n], []
    for item in listed(record, "nodes"):
        operands = tuple(whole(operand) for operand in listed(item, "of"))
        if any(operand >= len(sizes) for operand in operands):
            raise malformed("a node uses a value that does not come before it")
        size = whole(item["size"])
        nodes.append(Node(decode_operator(item, arrays), operands, (size,)))
        sizes.append(size)
    output = whole(record.get("output"))
    if output >= len(sizes):
        raise malformed("the output is no value")
    network = Network(((n,),), tuple(nodes), (output,))
    check_network(network)
    if network.digest != record.get("sha256"):
        raise malformed("a network does not have its hash")
    return network


def decode_operator(item: dict[str, Any], arrays: list[Constant]) -> Operator:
    match text(item, "op"):
        case "linear":
            bias = fetch(arrays, item["bias"]) if "bias" in item else None
            return Linear(tuple(decode_map(part, arrays) for part in listed(item, "maps")), bias)
        case "select":
            return Select(fetch_index(arrays, item.get("indices")))
        case "opaque":
            return Opaque(text(item, "name"), whole(item.get("group")))
        case "scan":
            cell = decode_network(item.get("cell"), arrays)
            return Scan(cell, whole(item.get("state")), whole(item.get("horizon")))
        case "relu":
            return Relu()
        case "step":
            return Step()
        case "round":
            return Round()
        case "product":
            return Product()
        case "concat":
            return Concat()
        case name:
            raise malformed(f"unknown operator {name!r}")


def decode_map(item: Any, arrays: list[Constant]) -> LinearMap:
    match text(item, "map"):
        case "dense":
            return Dense(fetch(arrays, item.get("weight")))
        case "csr":
            return Csr(
                starts=fetch_index(arrays, item.get("starts")),
                columns=fetch_index(arrays, item.get("columns")),
                values=fetch(arrays, item.get("values")), inputs=whole(item.get("inputs")),
            )
        case "gather":
            indices = fetch_index(arrays, item.get("indices"))
            scale = fetch(arrays, item["scale"]) if "scale" in item else None
            return Gather(indices=indices, scale=scale, inputs=whole(item.get("inputs")))
        case "conv":
            return decode_conv(item, arrays)
        case name:
            raise malformed(f"unknown linear map {name!r}")


def decode_conv(item: dict[str, Any], arrays: list[Constant]) -> Conv:
    kernel = fetch(arrays, item.get("kernel"))

    def numbers(key: str) -> tuple[int, ...]:
        return tuple(whole(n) for n in listed(item, key))

    pads = tuple((whole(a), whole(b)) for a, b in listed(item, "pads"))
    return Conv(
        kernel=kernel, space=numbers("space"), strides=numbers("strides"), pads=pads,
        dilations=numbers("dilations"), groups=whole(item.get("groups")),
    )


# --- domains --------------------------------------------------------------------------------------


def encode_domain(domain: Domain, arrays: Arrays) -> dict[str, Any]:
    match domain:
        case Box(low, high):
            return {"kind": "box", "low": arrays.add(low), "high": arrays.add(high)}
        case Polytope(A, b, box):
            return {
                "kind": "polytope", "rows": arrays.add(A), "bounds": arrays.add(b),
                "box": encode_domain(box, arrays),
            }
        case Binary(n):
            return {"kind": "binary", "dimension": n}
        case FiniteSet(points):
            return {"kind": "points", "points": arrays.add(points)}
        case Union(parts):
            return {"kind": "union", "parts": [encode_domain(part, arrays) for part in parts]}
        case Sequences(length, element):
            return {
                "kind": "sequences", "length": length, "element": encode_domain(element, arrays)
            }
        case Everywhere(n):
            return {"kind": "everywhere", "dimension": n}


def decode_domain(record: Any, arrays: list[Constant]) -> Domain:
    get: Callable[[str], Exact] = lambda key: fetch_exact(arrays, record.get(key))  # noqa: E731
    try:
        match text(record, "kind"):
            case "box":
                return Box(get("low"), get("high"))
            case "polytope":
                box = decode_domain(record.get("box"), arrays)
                if not isinstance(box, Box):
                    raise malformed("a polytope without a box")
                return Polytope(get("rows"), get("bounds"), box)
            case "binary":
                return Binary(whole(record.get("dimension")))
            case "points":
                return FiniteSet(get("points"))
            case "union":
                return Union(tuple(decode_domain(p, arrays) for p in listed(record, "parts")))
            case "sequences":
                return Sequences(
                    whole(record.get("length")), decode_domain(record.get("element"), arrays)
                )
            case "everywhere":
                return Everywhere(whole(record.get("dimension")))
            case name:
                raise malformed(f"unknown domain {name!r}")
    except DomainError as error:
        raise malformed(f"a bad domain: {error}") from None


# --- relations ------------------------------------------------------------------------------------


def encode_relation(relation: Relation, arrays: Arrays) -> dict[str, Any]:
    match relation:
        case Equal():
            return {"relation": "equal"}
        case Within(eps, norm):
            said = list(map(str, eps)) if isinstance(eps, tuple) else str(eps)
            return {"relation": "within", "eps": said, "norm": norm}
        case SameDecision(margin):
            return {"relation": "same-decision", "margin": str(margin)}
        case RegionCount(count, kind, complete):
            return {"relation": "regions", "count": count, "kind": kind, "complete": complete}
        case Avoids(forbidden, name):
            sets = [
                {"rows": arrays.add(part.rows), "bounds": arrays.add(part.bounds),
                 "strict": list(part.strict)}
                for part in forbidden
            ]
            return {"relation": "avoids", "sets": sets, "name": name}


def decode_relation(record: dict[str, Any], arrays: list[Constant]) -> Relation:
    match text(record, "relation"):
        case "equal":
            return Equal()
        case "within":
            if record.get("norm") != "max":
                raise malformed("a norm other than max")
            eps = record.get("eps")
            if isinstance(eps, list):
                return Within(tuple(map(rational, eps)))
            return Within(rational(eps))
        case "same-decision":
            return SameDecision(rational(record.get("margin")))
        case "regions":
            if not isinstance(record.get("complete"), bool):
                raise malformed("a count that does not say whether it is complete")
            return RegionCount(whole(record["count"]), text(record, "kind"), record["complete"])
        case "avoids":
            sets = tuple(decode_set(part, arrays) for part in listed(record, "sets"))
            return Avoids(sets, text(record, "name"))
        case name:
            raise malformed(f"unknown relation {name!r}")


def decode_set(record: Any, arrays: list[Constant]) -> Forbidden:
    flags = listed(record, "strict")
    if not all(isinstance(flag, bool) for flag in flags):
        raise malformed("a forbidden set with flags that are none")
    rows = fetch_exact(arrays, record.get("rows"))
    return Forbidden(rows, fetch_exact(arrays, record.get("bounds")), tuple(flags))
