# SPDX-License-Identifier: Apache-2.0
"""Operators, linear maps and networks as flat dictionaries of arrays, and back, without loss.

A record `r` under the name `p` gives `p`: a 0-d string array (JSON: the type and its plain
fields), and `p.field` for each array field; nested records and networks continue the name.
"""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from typing import Any, get_args

import numpy as np

from isoform.errors import FormatError
from isoform.network.linear_map import Constant, LinearMap
from isoform.network.network import Network, Node
from isoform.network.operators import Operator
from isoform.numerics.exact import Exact

Arrays = dict[str, Constant]
TYPES = {cls.__name__: cls for cls in (*get_args(Operator), *get_args(LinearMap))}


def text(value: Any) -> np.ndarray:
    """A plain value (numbers, strings, None, nested tuples) as a 0-d string array."""
    return np.array(json.dumps(value))


def plain(arrays: Arrays, name: str) -> Any:
    """The inverse of `text`, lists as tuples. FormatError if it is missing or damaged."""
    if name not in arrays:
        raise FormatError(f"the entry {name!r} is missing")
    try:
        return frozen(json.loads(str(np.asarray(arrays[name]))))
    except (ValueError, TypeError) as error:
        raise FormatError(f"the entry {name!r} is damaged: {error}") from None


def frozen(value: Any) -> Any:
    """Lists as tuples, at any depth (dictionaries keep their keys)."""
    if isinstance(value, list):
        return tuple(frozen(item) for item in value)
    if isinstance(value, dict):
        return {key: frozen(item) for key, item in value.items()}
    return value


def record_arrays(name: str, record: Any) -> Arrays:
    """The flat arrays of an operator or a linear map."""
    arrays: Arrays = {}
    described: dict[str, Any] = {"type": type(record).__name__}
    for field in fields(record):
        value = getattr(record, field.name)
        here = f"{name}.{field.name}"
        if isinstance(value, np.ndarray | Exact):
            arrays[here] = value
            described[field.name] = {"array": True}
        elif isinstance(value, Network):
            arrays |= network_arrays(here, value)
            described[field.name] = {"network": True}
        elif isinstance(value, tuple) and value and is_dataclass(value[0]):
            for i, item in enumerate(value):
                arrays |= record_arrays(f"{here}.{i}", item)
            described[field.name] = {"records": len(value)}
        else:
            described[field.name] = value
    return {name: text(described)} | arrays


def record_of(arrays: Arrays, name: str) -> Any:
    """The inverse of `record_arrays`."""
    described = plain(arrays, name)
    if not isinstance(described, dict) or described.get("type") not in TYPES:
        raise FormatError(f"the entry {name!r} describes no operator or linear map of isoform")
    cls = TYPES[described["type"]]
    values = {}
    for field in fields(cls):
        if field.name not in described:
            raise FormatError(f"the entry {name!r} lacks the field {field.name!r}")
        values[field.name] = field_of(arrays, f"{name}.{field.name}", described[field.name])
    try:
        return cls(**values)
    except (TypeError, ValueError) as error:
        raise FormatError(f"the entry {name!r} makes no {cls.__name__}: {error}") from None


def field_of(arrays: Arrays, name: str, described: Any) -> Any:
    """One field of a record."""
    match described:
        case {"array": True}:
            if name not in arrays:
                raise FormatError(f"the array {name!r} is missing")
            return arrays[name]
        case {"network": True}:
            return network_of(arrays, name)
        case {"records": int(count)}:
            return tuple(record_of(arrays, f"{name}.{i}") for i in range(count))
        case dict():
            raise FormatError(f"the field {name!r} is damaged")
        case _:
            return described


def network_arrays(name: str, network: Network) -> Arrays:
    """The flat arrays of a network."""
    wiring = [(node.operands, node.shape) for node in network.nodes]
    arrays: Arrays = {name: text([network.inputs, network.outputs, wiring])}
    for i, node in enumerate(network.nodes):
        arrays |= record_arrays(f"{name}.{i}", node.operator)
    return arrays


def network_of(arrays: Arrays, name: str) -> Network:
    """The inverse of `network_arrays`."""
    try:
        inputs, outputs, wiring = plain(arrays, name)
        nodes = tuple(
            Node(record_of(arrays, f"{name}.{i}"), operands, shape)
            for i, (operands, shape) in enumerate(wiring)
        )
        return Network(inputs, nodes, outputs)
    except (TypeError, ValueError) as error:
        raise FormatError(f"the entry {name!r} describes no network: {error}") from None
