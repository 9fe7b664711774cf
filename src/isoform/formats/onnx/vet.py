# SPDX-License-Identifier: Apache-2.0
"""What an ONNX file must be before its nodes are read: parsed, named, wired and bounded."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import numpy as np

from isoform.errors import FormatError, TooLarge, UnsupportedModel
from isoform.formats.onnx.tensors import numpy_type, tensor_array

FILE_LIMIT = 1 << 31  # the format cannot hold more in one file
OLDEST_OPSET = 7
DOMAINS = ("", "ai.onnx")


@dataclass(frozen=True, slots=True)
class Border:
    """One declared input: its sizes are numbers, names of symbolic axes, or None."""

    name: str
    dtype: np.dtype
    sizes: tuple[int | str | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """A graph that is wired: nodes in topological order, only those that an output needs."""

    inputs: tuple[Border, ...]
    outputs: tuple[str, ...]
    constants: dict[str, np.ndarray]
    nodes: tuple[Any, ...]
    opset: int
    digest: str
    notes: tuple[str, ...]


def load_graph(path: Path) -> Graph:
    """The graph of a file. Raises FormatError, UnsupportedModel or TooLarge."""
    content = file_bytes(path)
    model = parsed(content, path)
    opset = opset_of(model, path)
    graph = model.graph
    constants, notes = initialisers(graph, path)
    inputs = [entry for entry in graph.input if entry.name not in constants]
    outputs = tuple(entry.name for entry in graph.output)
    if not outputs:
        raise FormatError(f"{path.name} has no outputs: it is empty or no ONNX model")
    if not inputs:
        raise FormatError(f"{path.name} has no inputs: it is a constant, not a function")
    nodes = sorted_nodes(graph, [entry.name for entry in inputs], constants, outputs)
    return Graph(
        inputs=tuple(border(entry) for entry in inputs), outputs=outputs, constants=constants,
        nodes=nodes, opset=opset, digest=hashlib.sha256(content).hexdigest(), notes=notes,
    )


def file_bytes(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > FILE_LIMIT:
            raise TooLarge(f"{path.name} has {size:,} bytes, more than {FILE_LIMIT:,}")
        return path.read_bytes()
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror or error}") from error


def parsed(content: bytes, path: Path) -> Any:
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    if not content:
        raise FormatError(f"{path.name} is empty")
    try:
        model = onnx.ModelProto.FromString(content)
    except (DecodeError, RuntimeError, ValueError) as error:
        raise FormatError(f"{path.name} is no ONNX model, or damaged: {error}") from error
    if not model.HasField("graph"):
        raise FormatError(f"{path.name} holds no graph: it is no ONNX model, or damaged")
    return model


def opset_of(model: Any, path: Path) -> int:
    """The version of the standard operators, within what the installed onnx knows."""
    import onnx

    newest = onnx.defs.onnx_opset_version()
    versions = {entry.version for entry in model.opset_import if entry.domain in DOMAINS}
    if len(versions) != 1:
        raise FormatError(f"{path.name} imports {len(versions)} versions of the standard operators")
    version = versions.pop()
    if not OLDEST_OPSET <= version <= newest:
        raise UnsupportedModel(path.name, [
            f"opset {version}: isoform reads {OLDEST_OPSET} to {newest}; "
            "onnx.version_converter can convert the file"
        ])
    if any(function.domain in DOMAINS for function in model.functions):
        raise UnsupportedModel(path.name, ["functions that replace standard operators"])
    if model.graph.sparse_initializer:
        raise UnsupportedModel(path.name, ["sparse initialisers: store them dense"])
    return version


def initialisers(graph: Any, path: Path) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """The constants of a graph by name, and notes on files beside it."""
    import onnx

    constants: dict[str, np.ndarray] = {}
    beside: list[str] = []
    for tensor in graph.initializer:
        if not tensor.name or tensor.name in constants:
            raise FormatError(f"initialiser {tensor.name!r} is unnamed or given twice")
        constants[tensor.name] = tensor_array(tensor, path.parent)
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            beside.append(tensor.name)
    if not beside:
        return constants, ()
    combined = hashlib.sha256()
    for name in beside:
        combined.update(constants[name].tobytes())
    note = f"{len(beside)} tensor(s) lie in files beside the model, sha256 {combined.hexdigest()}"
    return constants, (note,)


def border(entry: Any) -> Border:
    """A declared input with its type and sizes."""
    if not entry.type.HasField("tensor_type"):
        raise UnsupportedModel("this model", [f"input {entry.name!r} is no tensor"])
    tensor = entry.type.tensor_type
    if not tensor.HasField("shape"):
        raise UnsupportedModel("this model", [f"input {entry.name!r} has no declared shape"])
    sizes: list[int | str | None] = []
    for axis in tensor.shape.dim:
        if axis.HasField("dim_value"):
            if axis.dim_value <= 0:
                raise FormatError(f"input {entry.name!r} has an axis of length {axis.dim_value}")
            sizes.append(int(axis.dim_value))
        else:
            sizes.append(axis.dim_param or None)
    return Border(entry.name, numpy_type(tensor.elem_type), tuple(sizes))


def sorted_nodes(
    graph: Any, inputs: Sequence[str], constants: dict[str, np.ndarray], outputs: Sequence[str]
) -> tuple[Any, ...]:
    """The nodes that the outputs need, in topological order.

    Raises FormatError on names that are given twice or by nobody, and on cycles.
    """
    if len(set(inputs)) < len(inputs) or "" in inputs:
        raise FormatError("an input is unnamed or given twice")
    makers: dict[str, int] = {}
    for number, node in enumerate(graph.node):
        for name in node.output:
            if name and (name in makers or name in constants or name in inputs):
                raise FormatError(f"value {name!r} is made twice")
            if name:
                makers[name] = number
    given = {*inputs, *constants}
    for output in outputs:
        if output not in makers and output not in given:
            raise FormatError(f"output {output!r} is made by no node")
    before = {number: sources(node, makers, given) for number, node in enumerate(graph.node)}
    needed: set[int] = set()
    waiting = [makers[output] for output in outputs if output in makers]
    while waiting:
        number = waiting.pop()
        if number not in needed:
            needed.add(number)
            waiting.extend(before[number])
    try:
        order = TopologicalSorter({number: before[number] for number in sorted(needed)})
        return tuple(graph.node[number] for number in order.static_order())
    except CycleError as error:
        raise FormatError(
            f"the graph has a cycle through {label(graph.node[error.args[1][0]])}"
        ) from None


def sources(node: Any, makers: dict[str, int], given: set[str]) -> list[int]:
    """The nodes whose results this one needs."""
    unknown = [name for name in node.input if name and name not in given and name not in makers]
    if unknown and not any(attribute.HasField("g") for attribute in node.attribute):
        raise FormatError(f"{label(node)} uses {unknown[0]!r}, which nobody makes")
    return sorted({makers[name] for name in node.input if name in makers})


def label(node: Any) -> str:
    """How messages call a node."""
    name = node.name or next((output for output in node.output if output), "?")
    return f"node {name!r} ({node.op_type})"
