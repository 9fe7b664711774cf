# SPDX-License-Identifier: Apache-2.0
"""Any network in a `.npz` file, without loss: the graph as JSON, the constants as arrays."""

from __future__ import annotations

import json
import os
from dataclasses import fields, is_dataclass
from typing import Any, get_args

import numpy as np

from isoform.errors import FormatError
from isoform.formats.npz.archive import write_npz
from isoform.formats.npz.consistent import check_network
from isoform.network.linear_map import Constant, LinearMap
from isoform.network.model import Signature, Tensor
from isoform.network.network import Network, Node
from isoform.network.operators import Operator
from isoform.numerics.exact import Exact

RECORDS = {kind.__name__: kind for kind in (*get_args(Operator), *get_args(LinearMap))}
DAMAGE = (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError)


def write_network(
    network: Network, path: str | os.PathLike[str], signature: Signature | None = None
) -> None:
    """Write a network to a `.npz` file, whole or not at all.

    `read_npz(path).network == network` for every network: exact constants, surface operators and
    recurrences included. An array that several operators hold is stored once.
    """
    constants: dict[str, Constant] = {}
    described = network_text(network, constants, {})
    arrays: dict[str, Constant | str] = {"form": "network", "network": json.dumps(described)}
    if signature is not None:
        arrays["signature"] = json.dumps(signature_text(signature))
    write_npz(arrays | constants, path)


def network_of(arrays: dict[str, Constant]) -> Network:
    """The network of such arrays; FormatError where they mean none."""
    try:
        described = json.loads(str(arrays["network"]))
        network = network_from(described, arrays)
        check_network(network)
    except DAMAGE as error:
        what = f"{type(error).__name__}: {error}"
        raise FormatError(f"the entry 'network' means no network ({what})") from error
    return network


def signature_of(arrays: dict[str, Constant]) -> Signature | None:
    """The signature that was stored with a network, if any; FormatError where it is damaged."""
    if "signature" not in arrays:
        return None
    try:
        stored = json.loads(str(arrays["signature"]))
        parts = [
            tuple(Tensor(str(t["name"]), shape_from(t["shape"]), str(t["dtype"]))
                  for t in stored[key])
            for key in ("inputs", "outputs")
        ]
        batch = stored["batch"]
    except DAMAGE as error:
        raise FormatError(f"the entry 'signature' is damaged: {error}") from error
    if not isinstance(batch, str | int | None):
        raise FormatError(f"the entry 'signature' has the batch axis {batch!r}")
    return Signature(inputs=parts[0], outputs=parts[1], batch=batch)


def signature_text(signature: Signature) -> dict[str, Any]:
    def tensors(part: tuple[Tensor, ...]) -> list[dict[str, Any]]:
        return [{"name": t.name, "shape": list(t.shape), "dtype": t.dtype} for t in part]

    return {
        "inputs": tensors(signature.inputs),
        "outputs": tensors(signature.outputs),
        "batch": signature.batch,
    }


# --- writing ------------------------------------------------------------------------------------

Names = dict[int, str]


def network_text(network: Network, constants: dict[str, Constant], names: Names) -> Any:
    nodes = [
        {
            "operator": value_text(node.operator, constants, names),
            "operands": list(node.operands),
            "shape": list(node.shape),
        }
        for node in network.nodes
    ]
    return {
        "inputs": [list(shape) for shape in network.inputs],
        "nodes": nodes,
        "outputs": list(network.outputs),
    }


def value_text(value: Any, constants: dict[str, Constant], names: Names) -> Any:
    """An attribute as JSON: plain values as they are, the others as a pair of tag and content."""
    match value:
        case np.ndarray() | Exact():
            if id(value) not in names:
                names[id(value)] = f"constant{len(names)}"
                constants[names[id(value)]] = value
            return ["constant", names[id(value)]]
        case Network():
            return ["network", network_text(value, constants, names)]
        case tuple():
            return ["tuple", [value_text(item, constants, names) for item in value]]
        case bool() | int() | str() | None:
            return value
        case float():
            return ["float", value.hex()]
        case _ if is_dataclass(value) and type(value).__name__ in RECORDS:
            content = {
                field.name: value_text(getattr(value, field.name), constants, names)
                for field in fields(value)
            }
            return [type(value).__name__, content]
        case _:
            raise TypeError(f"a network does not hold a {type(value).__name__}")


# --- reading ------------------------------------------------------------------------------------


def network_from(described: Any, arrays: dict[str, Constant]) -> Network:
    nodes = tuple(
        Node(
            value_from(node["operator"], arrays),
            tuple(whole(operand) for operand in node["operands"]),
            shape_from(node["shape"]),
        )
        for node in described["nodes"]
    )
    return Network(
        tuple(shape_from(shape) for shape in described["inputs"]), nodes,
        tuple(whole(value) for value in described["outputs"]),
    )


def value_from(described: Any, arrays: dict[str, Constant]) -> Any:
    """The inverse of `value_text`; records are looked up in the closed set only."""
    if not isinstance(described, list):
        if isinstance(described, bool | int | str | None):
            return described
        raise ValueError(f"a bare {type(described).__name__}")
    tag, content = described
    if tag == "constant":
        return arrays[content]
    if tag == "network":
        return network_from(content, arrays)
    if tag == "tuple":
        return tuple(value_from(item, arrays) for item in content)
    if tag == "float":
        return float.fromhex(content)
    kind = RECORDS[tag]
    if set(content) != {field.name for field in fields(kind)}:
        raise ValueError(f"the fields of {tag} are not {sorted(content)}")
    return kind(**{name: value_from(item, arrays) for name, item in content.items()})


def whole(number: Any) -> int:
    if type(number) is not int:
        raise ValueError(f"{number!r} is no whole number")
    return number


def shape_from(listed: Any) -> tuple[int, ...]:
    shape = tuple(whole(length) for length in listed)
    if any(length < 0 for length in shape):
        raise ValueError(f"a shape {shape}")
    return shape
