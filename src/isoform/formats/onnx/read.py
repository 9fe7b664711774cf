# SPDX-License-Identifier: Apache-2.0
"""ONNX files to networks.

A symbolic leading axis of all inputs is the batch and is dropped; so is a fixed one where every
node acts row by row, else all axes are part of the function.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from isoform.assemble.assembler import ROWS, Assembler, Known, NotRowByRow, NotTaken, Value
from isoform.errors import FormatError, IsoformError, TooLarge, UnsupportedModel
from isoform.formats.onnx.node import OnnxNode, Rule, attributes_of, check_against_schema
from isoform.formats.onnx.rules_elementwise import ELEMENTWISE
from isoform.formats.onnx.rules_linear import LINEAR
from isoform.formats.onnx.rules_quantised import CONTRIBUTED, QUANTISED
from isoform.formats.onnx.rules_shape import SHAPES
from isoform.formats.onnx.vet import DOMAINS, Border, Graph, label, load_graph
from isoform.network.model import Loaded, Signature, Tensor
from isoform.network.network import Shape

RULES: dict[str, Rule] = {**ELEMENTWISE, **SHAPES, **LINEAR, **QUANTISED}
RUNTIME = "com.microsoft"  # onnxruntime's own domain
RECURRENT = ("LSTM", "GRU", "RNN")
LENGTHS_TRIED, ENTRIES_TRIED = 16, 1 << 22
CONTROL = ("If", "Loop", "Scan", "SequenceMap")


@dataclass(slots=True)
class Reading:
    """One pass over a graph: values by name (None after an obstacle), all obstacles, and whether
    one of them is that rows are mixed."""

    asm: Assembler
    values: dict[str, Value | None]
    obstacles: list[str] = field(default_factory=list)
    mixes: bool = False


def read_onnx(path: str | Path, *, batch: Literal["drop", "keep"] = "drop") -> Loaded:
    """The network of an ONNX file (opset 7 to the newest that the installed onnx knows).

    batch: "keep" makes a fixed leading axis part of the function. Raises FormatError on files
    that are damaged or contradict themselves, UnsupportedModel with all parts that isoform does
    not take, TooLarge where a size is beyond the limits.
    """
    path = Path(path)
    if batch not in ("drop", "keep"):
        raise ValueError(f"batch is 'drop' or 'keep', not {batch!r}")
    try:
        return read_graph(load_graph(path), path, batch == "keep")
    except IsoformError:
        raise
    except MemoryError as error:
        raise TooLarge(f"{path.name} does not fit into memory") from error
    except Exception as error:
        raise FormatError(f"{path.name} cannot be read: {error!r}") from error


def read_graph(graph: Graph, path: Path, keep: bool) -> Loaded:
    """Drop the batch if all inputs share a leading axis; keep a fixed one where that fails."""
    try:
        lead, symbolic = leading_axis(graph.inputs, keep)
    except NotTaken as obstacle:
        raise UnsupportedModel(path.name, [*obstacle.args, *without_rule(graph)]) from None
    if lead is None or (keep and not symbolic):
        return finished(graph, path, run(graph, None), None, ())
    if symbolic:
        name = lead if isinstance(lead, str) else "N"
        reading = run(graph, name)
        if reading.mixes and only_one_row(graph):
            note = f"axis {name!r} has length 1: the shapes in the graph fit no other"
            return finished(graph, path, run(with_rows(graph, 1), None), None, (note,))
        return finished(graph, path, reading, name, (f"batch axis {name!r} dropped",))
    try:
        reading = run(graph, lead)
        note = f"fixed leading axis (length {lead}) dropped: every node acts row by row"
        return finished(graph, path, reading, lead, (note,))
    except NotRowByRow as obstacle:
        note = f"all axes are part of the function: {obstacle}"
    return finished(graph, path, run(graph, None), None, (note,))


def with_rows(graph: Graph, rows: int) -> Graph:
    """The graph with its symbolic leading axis fixed."""
    inputs = tuple(replace(entry, sizes=(rows, *entry.sizes[1:])) for entry in graph.inputs)
    return replace(graph, inputs=inputs)


def only_one_row(graph: Graph) -> bool:
    """Whether the shapes in a graph fit together for one row and for no other number.

    Tried are all lengths that occur in the graph's constants and one that hardly does; where one
    of them fits, or there are too many to try, the answer is no.
    """
    lengths = {ROWS, *(n for array in graph.constants.values() for n in array.shape if n > 1)}
    row = sum(
        math.prod(size for size in entry.sizes[1:] if isinstance(size, int))
        for entry in graph.inputs
    )
    if len(lengths) > LENGTHS_TRIED or max(lengths) * row > ENTRIES_TRIED:
        return False
    try:
        run(with_rows(graph, 1), None)
    except IsoformError:
        return False
    return not any(fits(graph, rows) for rows in sorted(lengths))


def fits(graph: Graph, rows: int) -> bool:
    """Whether the shapes in a graph agree for this many rows."""
    try:
        run(with_rows(graph, rows), None)
    except FormatError:
        return False
    return True


def without_rule(graph: Graph) -> list[str]:
    """All nodes whose operator has no rule, with the reason."""
    return [
        f"{label(node)}: {why_not(node)}" for node in graph.nodes
        if rule_of(node) is None
    ]


def leading_axis(inputs: Sequence[Border], keep: bool) -> tuple[int | str | None, bool]:
    """(the leading axis that all inputs share, whether it is symbolic); None where there is none.

    Raises NotTaken (all reasons) where a symbolic axis is not that one. Axes without a name, or
    with a generated one ("unk__7"), are taken as one.
    """
    inner = [
        f"input {entry.name!r}: axis {axis} has no fixed length ({size or 'unnamed'})"
        for entry in inputs for axis, size in enumerate(entry.sizes)
        if axis > 0 and not isinstance(size, int)
    ]
    if inner:
        raise NotTaken(*inner)
    leads = [entry.sizes[0] if entry.sizes else 0 for entry in inputs]
    if all(isinstance(lead, int) for lead in leads):
        return (leads[0] if len(set(leads)) == 1 and leads[0] else None), False
    named = {lead for lead in leads if isinstance(lead, str) and not lead.startswith("unk__")}
    if any(isinstance(lead, int) for lead in leads) or len(named) > 1:
        raise NotTaken(f"the inputs have different leading axes {leads}: fix their lengths")
    if keep:
        raise NotTaken(
            f"the leading axis {leads[0] or 'N'!r} has no fixed length, so it cannot be kept"
        )
    first = next((lead for lead in leads if isinstance(lead, str)), "N")
    return (named.pop() if named else first), True


def run(graph: Graph, batch: int | str | None) -> Reading:
    """Read every node; NotRowByRow is an obstacle only where the batch is symbolic."""
    batched = batch is not None
    shapes: list[Shape] = [
        tuple(size for size in entry.sizes[1 if batched else 0:] if isinstance(size, int))
        for entry in graph.inputs
    ]
    asm = Assembler(shapes, batched=batched, rows=batch if isinstance(batch, int) else None)
    for note in graph.notes:
        asm.note(note)
    values: dict[str, Value | None] = {
        name: Known(array) for name, array in graph.constants.items()
    }
    for number, entry in enumerate(graph.inputs):
        values[entry.name] = asm.wrap(number, entry.dtype)
        if entry.dtype.kind != "f":
            asm.note(f"input {entry.name!r} of {entry.dtype} is read as real numbers")
    reading = Reading(asm, values)
    used = {name for node in graph.nodes for name in node.input} | set(graph.outputs)
    for node in graph.nodes:
        try:
            results = apply(reading, node, graph.opset, used)
        except NotTaken as obstacle:
            reading.obstacles.append(f"{label(node)}: {obstacle}")
            results = None
        except NotRowByRow as obstacle:
            if not isinstance(batch, str):
                raise NotRowByRow(f"{label(node)}: {obstacle}") from None
            reading.obstacles.append(f"{label(node)}: not row by row: {obstacle}")
            reading.mixes = True
            results = None
        for position, name in enumerate(node.output):
            held = results is not None and position < len(results)
            values[name] = results[position] if held else None  # type: ignore[index]
    return reading


def apply(
    reading: Reading, proto: Any, opset: int, used: set[str]
) -> Sequence[Value] | None:
    """The results of one node; None where an operand already has an obstacle.

    Raises FormatError naming the node for whatever is wrong with it.
    """
    rule = rule_of(proto)
    if rule is None:
        raise NotTaken(why_not(proto))
    try:
        attributes = attributes_of(proto)
        operands = [reading.values[name] if name else None for name in proto.input]
        if any(name and value is None
               for name, value in zip(proto.input, operands, strict=True)):
            return None
        if proto.domain in DOMAINS:
            check_against_schema(schema_of(proto, opset), proto, operands, attributes)
        node = OnnxNode(
            kind=proto.op_type, name=proto.name, opset=opset, inputs=tuple(operands),
            attributes=attributes,
            outputs=tuple(name if name in used else "" for name in proto.output),
        )
        results = rule(reading.asm, node)
        return list(results) if isinstance(results, list | tuple) else [results]  # type: ignore
    except (NotTaken, NotRowByRow, UnsupportedModel):
        raise
    except TooLarge as error:
        raise TooLarge(f"{label(proto)}: {error}") from error
    except MemoryError as error:
        raise TooLarge(f"{label(proto)} does not fit into memory") from error
    except FormatError as error:
        raise FormatError(f"{label(proto)}: {error}") from error
    except Exception as error:
        raise FormatError(f"{label(proto)} cannot be read: {error!r}") from error


def schema_of(proto: Any, opset: int) -> Any:
    """The definition of a standard operator in an opset."""
    import onnx

    try:
        schema = onnx.defs.get_schema(proto.op_type, max_inclusive_version=opset)
    except onnx.defs.SchemaError:
        raise NotTaken(f"no such operator in opset {opset}") from None
    if schema.deprecated:
        raise NotTaken(f"the operator is deprecated in opset {opset}")
    return schema


def rule_of(proto: Any) -> Rule | None:
    """The rule of a node's operator, in its domain."""
    if proto.domain == RUNTIME:
        return CONTRIBUTED.get(proto.op_type)
    return RULES.get(proto.op_type) if proto.domain in DOMAINS else None


def why_not(proto: Any) -> str:
    if proto.domain == RUNTIME:
        return (f"operator of onnxruntime's own domain {RUNTIME!r} without a rule here; of these "
                f"are read {', '.join(sorted(CONTRIBUTED))}")
    if proto.domain not in DOMAINS:
        return (f"operator of the domain {proto.domain!r}, not of the standard; "
                "onnx.inliner inlines functions of the file")
    if proto.op_type in RECURRENT:
        return "recurrent operator: this reader takes feed-forward graphs only"
    if proto.op_type in CONTROL:
        return "control flow with subgraphs: only plain graphs are read"
    return "no rule for this operator"


def finished(
    graph: Graph, path: Path, reading: Reading, batch: int | str | None, notes: Sequence[str]
) -> Loaded:
    """The network behind the outputs; UnsupportedModel with all obstacles, where there are any.

    NotRowByRow where an output has no batch axis though the axis is fixed and was dropped.
    """
    asm = reading.asm
    outputs = [reading.values[name] for name in graph.outputs]
    if reading.obstacles or any(value is None for value in outputs):
        missing = [f"output {name!r} is an output of a node that it does not have"
                   for name, value in zip(graph.outputs, outputs, strict=True) if value is None]
        what = path.name
        if reading.mixes:
            what += " (the same file with its leading axis fixed to 1 reads as one row's function)"
        raise UnsupportedModel(what, reading.obstacles or missing)
    try:
        network = asm.finish(outputs)  # type: ignore[arg-type]
    except NotRowByRow as obstacle:
        if not isinstance(batch, str):
            raise
        raise UnsupportedModel(path.name, [f"not row by row: {obstacle}"]) from None
    shapes = [network.shape_of(value) for value in network.outputs]
    return Loaded(
        network=network,
        signature=Signature(
            inputs=tuple(
                Tensor(entry.name, shape, entry.dtype.name)
                for entry, shape in zip(graph.inputs, network.inputs, strict=True)
            ),
            outputs=tuple(
                Tensor(name, shape, value.dtype.name)  # type: ignore[union-attr]
                for name, shape, value in zip(graph.outputs, shapes, outputs, strict=True)
            ),
            batch=batch,
        ),
        origin=str(path),
        digest=graph.digest,
        reading=(*notes, *asm.notes),
        opset=graph.opset,
    )
