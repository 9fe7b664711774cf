# SPDX-License-Identifier: Apache-2.0
"""Counterexamples of verifiers as text, read and written.

1.0: `((X_0 v) (X_1 v) ... (Y_0 v) ...)`, behind the word `sat`. 2.0: for each tensor a line
`name type [shape]` and one value a line, row-major. Values are exact decimals; those of outputs are
remarks, for a replay computes them again.
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction

import numpy as np

from isoform.errors import FormatError
from isoform.formats.vnnlib.claims import Asked
from isoform.formats.vnnlib.export import network_declarations
from isoform.formats.vnnlib.query import Query
from isoform.formats.vnnlib.syntax import (
    Brackets,
    Group,
    Word,
    commands,
    decimal_text,
    number,
    of_file,
    read_text,
)
from isoform.network.claim import Claim
from isoform.network.model import Loaded
from isoform.numerics.exact import Exact, approximately, exact_fractions
from isoform.text import decimal

LIMIT_BYTES = 64_000_000
ANSWER = re.compile(r"\s*(sat|violated|SAT)\b")
FLAT = re.compile(r"([XY])_(0|[1-9]\d{0,8})")
HEADER = re.compile(r"([A-Za-z]\w*)\s+([A-Za-z]\w*)\s*\[([\d,\s]*)\]")
DIGITS = 40  # of numbers whose decimals do not end


@dataclass(frozen=True, slots=True)
class Assignment:
    """flat: values of X_i by i (1.0); tensors: shape and values by name (2.0). One of them is
    empty."""

    flat: dict[int, Fraction] = field(default_factory=dict)
    tensors: dict[str, tuple[tuple[int, ...], tuple[Fraction, ...]]] = field(default_factory=dict)


def read_assignment(path: str | os.PathLike[str]) -> Assignment:
    """The assignment in a file, in either format. FormatError, with the line, for what is neither,
    TooLarge for huge files."""
    with of_file(path):
        return assignment_of(read_text(path, LIMIT_BYTES))


def assignment_of(text: str) -> Assignment:
    """The assignment that a text means."""
    answer = ANSWER.match(text)
    lines = 0 if answer is None else text.count("\n", 0, answer.end())
    body = text if answer is None else "\n" * lines + text[answer.end():]
    if body.lstrip().startswith("("):
        return flat_assignment(body)
    return tensor_assignment(body)


def flat_assignment(text: str) -> Assignment:
    """1.0: pairs of names and values, within one more pair of parentheses or without."""
    found: dict[int, Fraction] = {}
    for tree in commands(text):
        inner = all(isinstance(item, Group) for item in tree.items)
        for pair in tree.items if inner else (tree,):
            name, value = named_value(pair)
            match = FLAT.fullmatch(name)
            if match is None:
                raise FormatError(f"line {pair.line}: {name[:40]!r} is none of X_0, Y_0, ...")
            if match[1] == "Y":
                continue
            if int(match[2]) in found:
                raise FormatError(f"line {pair.line}: {name} has two values")
            found[int(match[2])] = value
    if not found:
        raise FormatError("no value of an input; a counterexample of 1.0 is ((X_0 0.5) ...)")
    return Assignment(flat=found)


def named_value(pair: object) -> tuple[str, Fraction]:
    """The name and value of `(X_0 0.5)`; SMT-LIB writes negative numbers as (- 0.5)."""
    if isinstance(pair, Group) and len(pair.items) == 2:
        name, value = pair.items
        sign = 1
        if isinstance(value, Group) and len(value.items) == 2 and value.items[0] == Word("-"):
            sign, value = -1, value.items[1]
        found = number(value.text) if isinstance(value, Word) else None
        if isinstance(name, Word) and found is not None:
            return name.text, sign * found
    line = pair.line if isinstance(pair, Word | Brackets | Group) else 0
    raise FormatError(f"line {line}: no pair of a name and a decimal")


def tensor_assignment(text: str) -> Assignment:
    """2.0: a line with name, type and shape, then the values."""
    found: dict[str, tuple[tuple[int, ...], tuple[Fraction, ...]]] = {}
    lines = [(i, line.strip()) for i, line in enumerate(text.splitlines(), start=1)]
    lines = [(i, line) for i, line in lines if line and not line.startswith(";")]
    place = 0
    while place < len(lines):
        at, line = lines[place]
        match = HEADER.fullmatch(line)
        if match is None:
            raise FormatError(f"line {at}: {line[:60]!r} is no name, type and [shape] of a tensor")
        sizes = [part.strip() for part in match[3].split(",")] if match[3].strip() else []
        if not all(size.isdecimal() and len(size) < 10 for size in sizes) or match[1] in found:
            raise FormatError(f"line {at}: {line[:60]!r} has no shape, or comes twice")
        shape = tuple(map(int, sizes))
        count = math.prod(shape)
        values = [number(value) for _, value in lines[place + 1 : place + 1 + count]]
        if len(values) < count or None in values:
            bad = values.index(None) if None in values else len(values)
            raise FormatError(f"line {at}: value {bad} of the {count:,} of {match[1]} is missing "
                              "or no decimal")
        found[match[1]] = shape, tuple(value for value in values if value is not None)
        place += 1 + count
    if not found:
        raise FormatError("no assignment; it begins with a line such as X float32 [1,5]")
    return Assignment(tensors=found)


# --- points ---------------------------------------------------------------------------------------


def claim_layout(claim: Claim, source: Loaded, target: Loaded) -> Asked:
    """The tensors that assignments for a claim about two models name, as its query in 2.0 does: X
    and Y of f, U and V of g; those of f alone where `target` is `source`."""
    n, m = source.network.dimension, source.network.output_dimension
    nets = network_declarations(source, target)
    columns = [np.arange(n + m)]
    if target is not source:
        columns += [np.arange(n), np.arange(n + m, n + m + target.network.output_dimension)]
    query = Query(version="2.0", networks=nets, common=(), branches=((),))
    return Asked(
        query=query, source=source.network, target=target.network, claim=claim,
        columns=np.concatenate(columns), files=("f", "f" if target is source else "g"),
    )


def point_of(assignment: Assignment, asked: Asked) -> Exact:
    """The point (n,) of a claim's domain that an assignment means.

    FormatError where an input has no value, a tensor another shape, or two inputs that the query
    identifies have different values.
    """
    n = asked.source.dimension
    found: dict[int, Fraction] = {}
    if assignment.flat:
        found = {i: value for i, value in assignment.flat.items() if i < n}
        missing = [f"X_{i}" for i in range(n) if i not in found]
        if len(found) < len(assignment.flat):
            raise FormatError(f"X_{max(assignment.flat)} has a value, the claim has {n} inputs")
    else:
        missing = inputs_into(found, assignment, asked)
    if missing:
        raise FormatError(f"the counterexample has no value of {', '.join(missing[:5])}")
    return exact_fractions([found[i] for i in range(n)], (n,))


def inputs_into(found: dict[int, Fraction], assignment: Assignment, asked: Asked) -> list[str]:
    """Fill in the inputs by name; the tensors without a value."""
    missing = []
    seen: dict[int, str] = {}
    for net in asked.query.networks:
        for variable in net.inputs:
            if variable.name not in assignment.tensors:
                missing.append(variable.name)
                continue
            shape, values = assignment.tensors[variable.name]
            if len(values) != variable.size:
                raise FormatError(f"{variable.name} has the shape {list(shape)} in the "
                                  f"counterexample and {list(variable.shape)} in the query")
            for at, value in enumerate(values, start=variable.first):
                column = int(asked.columns[at])
                if found.setdefault(column, value) != value:
                    raise FormatError(
                        f"{asked.query.entry(at)} is {decimal(value, 9)}, but the query identifies "
                        f"it with {seen[column]}, which is {decimal(found[column], 9)}"
                    )
                seen.setdefault(column, asked.query.entry(at))
    return missing


def assignment_text(asked: Asked, values: np.ndarray, answer: str = "sat") -> str:
    """The assignment of a point as text, in the format of the query's version, behind the answer.

    values: (x, f(x), g(x)) as Fractions, an object array. Inputs are exact where their decimals
    end, else forty digits; outputs are the nearest doubles.
    """
    query = asked.query
    inputs = {
        variable.first + at for net in query.networks for variable in net.inputs
        for at in range(variable.size)
    }
    entries = [
        input_text(values[column]) if entry in inputs else output_text(values[column])
        for entry, column in enumerate(asked.columns.tolist())
    ]
    if query.flat:
        pairs = [f"({query.entry(entry)} {text})" for entry, text in enumerate(entries)]
        return f"{answer}\n(" + "\n".join(pairs) + ")\n"
    return f"{answer}\n" + "\n".join(tensor_lines(query, entries)) + "\n"


def tensor_lines(query: Query, entries: list[str]) -> list[str]:
    lines = []
    for variable in query.variables:
        lines.append(f"{variable.name} {variable.dtype} {Brackets(variable.shape)}")
        lines += entries[variable.first : variable.first + variable.size]
    return lines


def input_text(value: Fraction) -> str:
    """All digits, or forty of them where they do not end."""
    found = decimal_text(value)
    return format(Decimal(decimal(value, DIGITS)), "f") if found is None else found


def output_text(value: Fraction) -> str:
    """The nearest double without an exponent."""
    near = approximately(value)
    return format(Decimal(repr(near)), "f") if math.isfinite(near) else decimal(value, 17)
