# SPDX-License-Identifier: Apache-2.0
"""Reading VNN-LIB 1.0 and 2.0: from the syntax to a `Query`.

A file is evaluated command by command, innermost parentheses first: a term becomes an `Affine`, a
formula the list of its alternatives.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from isoform.errors import FormatError, Refused, TooLarge
from isoform.formats.vnnlib.linear import (
    COMPARISONS,
    Affine,
    Formula,
    Row,
    arithmetic,
    check_size,
    comparison,
    conjunction,
    disjunction,
)
from isoform.formats.vnnlib.query import FLAT, Declared, Query, Variable, entry_name
from isoform.formats.vnnlib.syntax import (
    LIMIT_BYTES,
    NAME,
    Brackets,
    Group,
    Quoted,
    Word,
    commands,
    fold,
    number,
    of_file,
    read_text,
)

VARIABLE = re.compile(r"([XY])_(0|[1-9]\d{0,8})")
VERSION = re.compile(r"<(\d{1,4}\.\d{1,4})>")
IGNORED = ("set-logic", "set-info", "set-option", "check-sat", "get-model", "exit")
REAL_TYPES = (
    "real", "float16", "float32", "float64", "bfloat16",
    "float8e4m3fn", "float8e5m2", "float8e4m3fnuz", "float8e5m2fnuz", "float4e2m1",
)
EQUIVALENCES = ("equal-to", "isomorphic-to")
DECLARED = {"declare-input": "input", "declare-output": "output"}
MOST_ENTRIES = 100_000_000
ONE = Fraction(1)
WRONG = (FormatError, Refused, TooLarge)


def read_query(path: str | os.PathLike[str], limit_bytes: int = LIMIT_BYTES) -> Query:
    """The query of a VNN-LIB file, 1.0 or 2.0.

    Raises FormatError for bad syntax, undeclared names and indices, Refused by name for what is not
    decided here (non-linear arithmetic, hidden tensors, types that are no real numbers, other
    commands), TooLarge for huge files and for formulas whose alternatives multiply too far; each
    with the line.
    """
    with of_file(path):
        return query_of(read_text(path, limit_bytes))


def query_of(text: str) -> Query:
    """The query that a text means."""
    reader = Reader()
    for tree in commands(text):
        fold(tree, lambda node: node, reader.value)
    return reader.query()


@dataclass(frozen=True, slots=True)
class Part:
    """A declaration inside of declare-network."""

    head: str
    name: str
    dtype: str = ""
    shape: tuple[int, ...] = ()
    onnx: str | None = None


@dataclass(slots=True)
class Reader:
    """What was read so far. flat: the inputs and outputs of 1.0 by name, numbered 2 i and 2 j + 1
    until their numbers are known."""

    version: str | None = None
    networks: list[Declared] = field(default_factory=list)
    tensors: dict[str, Variable] = field(default_factory=dict)
    flat: dict[str, int] = field(default_factory=dict)
    common: list[Row] = field(default_factory=list)
    branches: Formula = field(default_factory=lambda: [[]])
    entries: int = 0

    def value(self, group: Group, items: list[Any], command: bool) -> Any:
        """The value of one pair of parentheses whose insides are values already."""
        try:
            return self.run(items) if command else self.inside(items)
        except WRONG as error:
            raise type(error)(f"line {group.line}: {error}") from None

    # --- commands -----------------------------------------------------------------------------

    def run(self, items: list[Any]) -> None:
        """One command of the file."""
        if not items:
            raise FormatError("an empty command")
        head, rest = text_of(items[0]), items[1:]
        match head:
            case "vnnlib-version":
                self.declare_version(rest)
            case "declare-network":
                self.declare_network(rest)
                self.version = self.version or "2.0"
            case "declare-const" if len(rest) == 2:
                self.declare_flat(*map(text_of, rest))
            case "declare-fun" if len(rest) == 3 and rest[1] == ():
                self.declare_flat(text_of(rest[0]), text_of(rest[2]))
            case "assert" if len(rest) == 1:
                self.assert_formula(formula(rest[0]))
            case "declare-const" | "declare-fun" | "assert":
                raise FormatError(f"{head} with {len(rest)} parts")
            case _ if head in IGNORED:
                pass
            case _:
                raise Refused(f"the command {head!r} is no part of VNN-LIB as read here")

    def declare_version(self, rest: list[Any]) -> None:
        if self.version is not None or self.flat or self.networks:
            raise FormatError("the version belongs at the beginning, once")
        match = VERSION.fullmatch(text_of(rest[0])) if len(rest) == 1 else None
        if match is None:
            raise FormatError("the version is written (vnnlib-version <2.0>)")
        if not match[1].startswith(("1.", "2.")):
            raise Refused(f"VNN-LIB {match[1]}; versions 1 and 2 are read")
        self.version = match[1]

    def declare_flat(self, name: str, kind: str) -> None:
        """A variable of 1.0."""
        match = VARIABLE.fullmatch(name)
        if (self.version or "1.").startswith("2."):
            raise FormatError(f"{name} is declared as in 1.0 in a file of 2.0")
        if match is None:
            raise Refused(f"the variable {name!r}; inputs are X_0, X_1, ..., outputs Y_0, Y_1, ...")
        if kind != "Real":
            raise Refused(f"{name} has type {kind!r}; only Real is read")
        if name in self.flat:
            raise FormatError(f"{name} is declared twice")
        self.flat[name] = 2 * int(match[2]) + (match[1] == "Y")

    def declare_network(self, rest: list[Any]) -> None:
        """A network of 2.0 with its tensors."""
        if self.flat or (self.version or "2.").startswith("1."):
            raise FormatError("a network as in 2.0 in a file of 1.0")
        if not rest or not isinstance(rest[0], Word):
            raise FormatError("declare-network without a name")
        name = named(rest[0].text)
        if any(name == net.name for net in self.networks):
            raise FormatError(f"the network {name} is declared twice")
        relations, tensors = [], []
        for part in rest[1:]:
            if not isinstance(part, Part):
                raise FormatError(f"{shown(part)} inside of declare-network {name}")
            if part.head in EQUIVALENCES:
                relations.append((part.head, part.name))
            else:
                tensors.append(self.declare_tensor(part))
        kinds = [tensor.kind for tensor in tensors]
        if kinds != sorted(kinds) or set(kinds) != {"input", "output"}:
            raise FormatError(f"network {name}: inputs come first, then outputs, one of each kind "
                              "at least")
        net = Declared(
            name=name, inputs=tuple(t for t in tensors if t.kind == "input"),
            outputs=tuple(t for t in tensors if t.kind == "output"),
            relation=self.related(name, relations),
        )
        self.check_equal_shapes(net)
        self.networks.append(net)

    def related(
        self, name: str, relations: list[tuple[str, str]]
    ) -> tuple[str, str] | None:
        """The one relation of a network to an earlier one that has none itself."""
        if len(relations) > 1:
            raise FormatError(f"network {name} carries more than one of equal-to, isomorphic-to")
        for kind, other in relations:
            earlier = [net for net in self.networks if net.name == other]
            if not earlier:
                raise FormatError(f"network {name} is {kind} {other}, which is not declared before")
            if earlier[0].relation is not None:
                raise FormatError(f"network {name} is {kind} {other}, which carries "
                                  f"{earlier[0].relation[0]} itself; name the first of them")
        return relations[0] if relations else None

    def check_equal_shapes(self, net: Declared) -> None:
        """Networks that share a file or a graph have the same tensors."""
        if net.relation is None:
            return
        first = next(other for other in self.networks if other.name == net.relation[1])
        for mine, theirs in ((net.inputs, first.inputs), (net.outputs, first.outputs)):
            if [t.shape for t in mine] != [t.shape for t in theirs]:
                raise FormatError(f"network {net.name} is {' '.join(net.relation)} but has tensors "
                                  "of other shapes")

    def declare_tensor(self, part: Part) -> Variable:
        if part.name in self.tensors:
            raise FormatError(f"{part.name} is declared twice")
        found = Variable(
            name=part.name, kind=DECLARED[part.head], dtype=part.dtype, shape=part.shape,
            first=self.entries, onnx=part.onnx,
        )
        self.entries += found.size
        if self.entries > MOST_ENTRIES:
            raise TooLarge(f"{self.entries:,} tensor entries; the limit is {MOST_ENTRIES:,}")
        self.tensors[part.name] = found
        return found

    def assert_formula(self, part: Formula) -> None:
        if len(part) == 1:
            self.common.extend(part[0])
        else:
            self.branches = conjunction([self.branches, part])
        check_size(len(self.branches), len(self.common))

    # --- inside of a command ------------------------------------------------------------------

    def inside(self, items: list[Any]) -> Any:
        """A declaration, a term or a formula."""
        if not items:
            return ()  # the empty argument list of declare-fun
        if not isinstance(items[0], Word):
            raise FormatError("parentheses that begin with parentheses")
        head, rest = items[0].text, items[1:]
        if head in COMPARISONS:
            return comparison(head, self.terms(rest))
        if head in ("and", "or"):
            parts = [formula(item) for item in rest]
            return conjunction(parts) if head == "and" else disjunction(parts)
        if head in ("+", "-", "*", "/"):
            return arithmetic(head, self.terms(rest), self.entry)
        if head in DECLARED:
            return tensor_part(head, rest)
        if head in EQUIVALENCES:
            if len(rest) != 1:
                raise FormatError(f"{head} names one network")
            return Part(head, named(text_of(rest[0])))
        if head == "declare-hidden":
            name = text_of(rest[0]) if rest else "?"
            raise Refused(f"{name} is a hidden tensor; only inputs and outputs are read")
        if head == "not":
            raise Refused("'not' is no part of VNN-LIB as read here; turn the comparison around")
        raise Refused(f"{head!r} is no part of VNN-LIB as read here")

    def terms(self, items: list[Any]) -> list[Affine]:
        """The terms among the values of a group: a name and the brackets behind it are one."""
        found: list[Affine] = []
        for place, item in enumerate(items):
            after: Any = items[place + 1] if place + 1 < len(items) else None
            indexed = isinstance(after, Brackets)
            if isinstance(item, Brackets):
                if place == 0 or not isinstance(items[place - 1], Word):
                    raise FormatError(f"{item} without a tensor before it")
            elif isinstance(item, Word) and (indexed or item.text in self.tensors):
                found.append(self.element(item.text, after.numbers if indexed else ()))
            else:
                found.append(self.term(item))
        return found

    def term(self, item: Any) -> Affine:
        """A term from a word or from a value inside."""
        if isinstance(item, Affine):
            return item
        if not isinstance(item, Word):
            raise FormatError(f"{shown(item)} where a number or a variable belongs")
        decimal = number(item.text)
        if decimal is not None:
            return Affine({}, decimal)
        if item.text in self.flat:
            return Affine({self.flat[item.text]: ONE})
        if NAME.fullmatch(item.text):
            raise FormatError(f"{item.text} is not declared")
        raise FormatError(f"{item.text[:40]!r} is neither a decimal nor a variable")

    def element(self, name: str, indices: tuple[int, ...]) -> Affine:
        """One entry of a tensor."""
        tensor = self.tensors.get(name)
        if tensor is None:
            raise FormatError(f"{name[:40]} is not declared")
        if len(indices) != len(tensor.shape):
            raise FormatError(f"{name}{list(indices)} names {len(indices)} of the "
                              f"{len(tensor.shape)} axes of {name} {list(tensor.shape)}")
        at = 0
        for index, length in zip(indices, tensor.shape, strict=True):
            if index >= length:
                raise FormatError(f"{name}{list(indices)} is outside of its shape "
                                  f"{list(tensor.shape)}")
            at = at * length + index
        return Affine({tensor.first + at: ONE})

    def entry(self, number: int) -> str:
        """The name of an entry, while reading."""
        if self.flat:
            return f"{'XY'[number % 2]}_{number // 2}"
        holder = next(t for t in self.tensors.values() if t.first <= number < t.first + t.size)
        return entry_name(holder, number - holder.first, flat=False)

    # --- the end ------------------------------------------------------------------------------

    def query(self) -> Query:
        """The query, entries in their final order. FormatError where nothing is declared."""
        if self.networks:
            return Query(
                version=self.version or "2.0", networks=tuple(self.networks),
                common=tuple(self.common), branches=tuple(map(tuple, self.branches)),
            )
        if not self.flat:
            raise FormatError("no network and no variable is declared")
        counts = [0, 0]
        for entry in self.flat.values():
            counts[entry % 2] += 1
        for side, letter in enumerate("XY"):
            largest = max((n // 2 for n in self.flat.values() if n % 2 == side), default=-1)
            if not counts[side] or largest != counts[side] - 1:
                raise FormatError(f"the variables are not {letter}_0 to {letter}_{max(largest, 0)} "
                                  f"without a gap: {counts[side]} are declared")
        n, m = counts

        def moved(row: Row) -> Row:
            terms = sorted((v // 2 + n * (v % 2), factor) for v, factor in row.terms)
            return replace(row, terms=tuple(terms))

        net = Declared(
            name=FLAT,
            inputs=(Variable(name="X", kind="input", dtype="Real", shape=(n,), first=0),),
            outputs=(Variable(name="Y", kind="output", dtype="Real", shape=(m,), first=n),),
        )
        return Query(
            version=self.version or "1.0", networks=(net,), common=tuple(map(moved, self.common)),
            branches=tuple(tuple(map(moved, branch)) for branch in self.branches),
        )


def text_of(item: Any) -> str:
    if isinstance(item, Word):
        return item.text
    raise FormatError(f"{shown(item)} where a word belongs")


def named(text: str) -> str:
    """A name of a network or tensor."""
    if NAME.fullmatch(text):
        return text
    raise FormatError(f"{text[:40]!r} is no name: letters, digits and underscores, a letter first")


def formula(item: Any) -> Formula:
    if isinstance(item, list):
        return item
    raise FormatError(f"{shown(item)} where a comparison, 'and' or 'or' belongs")


def shown(item: Any) -> str:
    """What stands in the wrong place, for messages."""
    match item:
        case Word() | Quoted() | Brackets():
            return repr(str(item)[:40])
        case Affine():
            return "a term"
        case list():
            return "a formula"
        case Part(head):
            return head
    return "a pair of parentheses"


def tensor_part(head: str, rest: list[Any]) -> Part:
    """declare-input or declare-output: name, type, shape and perhaps the name in the ONNX file."""
    if len(rest) not in (3, 4) or not isinstance(rest[2], Brackets):
        raise FormatError(f"{head} is written ({head} NAME TYPE [SHAPE])")
    if len(rest) == 4 and not (isinstance(rest[3], Quoted) and rest[3].text[0] == '"'):
        raise FormatError(f"{shown(rest[3])} where the name of an ONNX tensor in quotes belongs")
    name, dtype = named(text_of(rest[0])), text_of(rest[1])
    if dtype.lower() not in REAL_TYPES:
        raise Refused(f"{name} has type {dtype!r}; only tensors of real numbers are read "
                      f"({', '.join(REAL_TYPES[:4])}, ...)")
    if 0 in rest[2].numbers:
        raise FormatError(f"{name} has the shape {rest[2]}, without any entry")
    onnx = rest[3].text[1:-1] if len(rest) == 4 else None
    return Part(head, name, dtype, rest[2].numbers, onnx)
