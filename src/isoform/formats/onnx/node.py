# SPDX-License-Identifier: Apache-2.0
"""One node of an ONNX graph with its operands, and typed access to its attributes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from isoform.assemble.assembler import Assembler, Computed, NotTaken, Value
from isoform.assemble.axes import integer_list
from isoform.errors import FormatError
from isoform.formats.onnx.tensors import element_type, tensor_array


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxNode:
    """inputs: values, None where an optional one is left out. attributes: Python numbers, lists,
    strings and arrays. outputs: names, empty or unused ones as ''."""

    kind: str
    name: str
    opset: int
    inputs: tuple[Value | None, ...]
    attributes: dict[str, Any]
    outputs: tuple[str, ...]

    def value(self, position: int) -> Value:
        """A required operand."""
        value = self.optional(position)
        if value is None:
            raise FormatError(f"operand {position} is missing")
        return value

    def optional(self, position: int) -> Value | None:
        return self.inputs[position] if position < len(self.inputs) else None

    def values(self) -> list[Value]:
        """All operands, none of them left out."""
        return [self.value(position) for position in range(len(self.inputs))]

    def integer(self, name: str, default: int | None = None) -> int:
        value = self.attributes.get(name, default)
        if value is None:
            raise FormatError(f"attribute {name!r} is missing")
        return int(value)

    def number(self, name: str, default: float) -> float:
        """A float attribute: the value of its float32. The default is rounded to one, too."""
        number = float(self.attributes.get(name, np.float32(default)))
        if not np.isfinite(number):
            raise FormatError(f"attribute {name!r} is {number}")
        return number

    def flag(self, name: str, default: int = 0) -> bool:
        """An integer attribute that says yes (1) or no (0)."""
        number = self.integer(name, default)
        if number not in (0, 1):
            raise FormatError(f"attribute {name!r} is {number}, neither 0 nor 1")
        return number == 1

    def integers(self, name: str) -> list[int] | None:
        """A list of integers; None where it is left out."""
        value = self.attributes.get(name)
        return None if value is None else [int(n) for n in value]

    def text(self, name: str, default: str) -> str:
        return str(self.attributes.get(name, default))

    def integer_operand(self, asm: Assembler, position: int, what: str) -> list[int] | None:
        """The integers of a constant operand; None where it is left out."""
        value = self.optional(position)
        return None if value is None else integer_list(asm, value, what)

    def integers_since(
        self, asm: Assembler, since: int, name: str, position: int
    ) -> list[int] | None:
        """Integers that were an attribute before opset `since` and are an operand from then on."""
        if self.opset < since:
            return self.integers(name)
        return self.integer_operand(asm, position, name)

    def only_first_output(self, what: str) -> None:
        """NotTaken where a further output is used."""
        if any(self.outputs[1:]):
            raise NotTaken(f"its further output ({what}) is used")


Rule = Callable[[Assembler, OnnxNode], Value | Sequence[Value]]


def attributes_of(node: Any) -> dict[str, Any]:
    """The attributes of a NodeProto. Raises FormatError on repeats and on unknown types,
    NotTaken on graphs."""
    import onnx

    kinds = onnx.AttributeProto
    result: dict[str, Any] = {}
    for attribute in node.attribute:
        if attribute.name in result:
            raise FormatError(f"attribute {attribute.name!r} is given twice")
        match attribute.type:
            case kinds.FLOAT:
                value: Any = attribute.f
            case kinds.INT:
                value = attribute.i
            case kinds.STRING:
                value = attribute.s.decode("utf-8", "replace")
            case kinds.TENSOR:
                value = tensor_array(attribute.t, None)
            case kinds.FLOATS:
                value = list(attribute.floats)
            case kinds.INTS:
                value = list(attribute.ints)
            case kinds.STRINGS:
                value = [text.decode("utf-8", "replace") for text in attribute.strings]
            case kinds.GRAPH | kinds.GRAPHS:
                raise NotTaken("it holds a subgraph (control flow): only plain graphs are read")
            case _:
                raise FormatError(f"attribute {attribute.name!r} has an unknown type")
        result[attribute.name] = value
    return result


def check_against_schema(
    schema: Any, node: Any, inputs: Sequence[Value | None], attributes: dict[str, Any]
) -> None:
    """FormatError where a node does not follow its operator's definition: numbers of operands
    and results, names and types of attributes, types of operands."""
    if not schema.min_input <= len(inputs) <= schema.max_input:
        raise FormatError(f"{len(inputs)} operands, where it takes {schema.min_input} to "
                          f"{schema.max_input}")
    if not schema.min_output <= len(node.output) <= schema.max_output:
        raise FormatError(f"{len(node.output)} results, where it gives {schema.min_output} to "
                          f"{schema.max_output}")
    for attribute in node.attribute:
        known = schema.attributes.get(attribute.name)
        if known is None:
            raise FormatError(f"attribute {attribute.name!r} does not exist in this opset")
        if int(attribute.type) != int(known.type.value):
            raise FormatError(f"attribute {attribute.name!r} has the wrong type")
    for name, known in schema.attributes.items():
        if known.required and name not in attributes:
            raise FormatError(f"attribute {name!r} is missing")
    check_types(schema, inputs)


def check_types(schema: Any, inputs: Sequence[Value | None]) -> None:
    import onnx

    optional = onnx.defs.OpSchema.FormalParameterOption.Optional
    variadic = onnx.defs.OpSchema.FormalParameterOption.Variadic
    bound: dict[str, str] = {}
    for position, value in enumerate(inputs):
        formal = schema.inputs[min(position, len(schema.inputs) - 1)]
        if value is None:
            if formal.option != optional:
                raise FormatError(f"operand {position} ({formal.name}) is left out")
            continue
        given = element_type(value.dtype)
        if given not in formal.types:
            raise FormatError(f"operand {position} ({formal.name}) is a {given}")
        if formal.option == variadic and not formal.is_homogeneous:
            continue
        if bound.setdefault(formal.type_str, given) != given:
            raise FormatError(
                f"operand {position} ({formal.name}) is a {given} beside a {bound[formal.type_str]}"
            )


def is_computed(value: Value | None) -> bool:
    return isinstance(value, Computed)
