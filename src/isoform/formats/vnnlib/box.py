# SPDX-License-Identifier: Apache-2.0
"""Input boxes of VNN-LIB 1.0 properties; decimals are exact.

A file is evaluated command by command, innermost parentheses first: a term becomes a `Term`, a
formula the list of its alternatives, each a mapping from input to bounds.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from isoform.errors import DomainError, FormatError, Refused, TooLarge
from isoform.formats.vnnlib.syntax import (
    LIMIT_BYTES,
    MOST_DIGITS,
    Group,
    commands,
    fold,
    number,
    read_text,
)
from isoform.network.domain import Box, Domain, Union
from isoform.numerics.exact import exact_fractions

MOST_BOXES = 20_000
VARIABLE = re.compile(r"([XY])_(0|[1-9]\d{0,8})")
IGNORED = ("set-logic", "set-info", "set-option", "check-sat", "get-model", "exit")
RELATIONS = ("<=", ">=", "=", "<", ">")

Bounds = dict[int, tuple[Fraction | None, Fraction | None]]
Formula = list[Bounds]  # alternatives; an output condition is one alternative without bounds


@dataclass(frozen=True, slots=True)
class Term:
    """A number, an input, or something else (an output, or arithmetic on variables)."""

    number: Fraction | None = None
    input: int | None = None
    inputs: bool = False
    outputs: bool = False


@dataclass(slots=True)
class Property:
    """What was read so far."""

    declared: dict[str, Term] = field(default_factory=dict)
    alternatives: Formula = field(default_factory=lambda: [{}])


def read_box(path: str | os.PathLike[str], limit_bytes: int = LIMIT_BYTES) -> Domain:
    """The inputs that a VNN-LIB 1.0 property speaks of: a Box, or a Union of boxes.

    `assert`, `and`, `or` of comparisons between an input X_i and a decimal; conditions on outputs
    (Y_j) are parsed and left out. Where alternatives constrain inputs and outputs together, the
    result is every box that occurs. FormatError for bad syntax, Refused for what is no box (by
    name), TooLarge for huge files, DomainError where a bound is missing or all boxes are empty.
    """
    return domain_of(evaluated(read_text(path, limit_bytes)))


# --- commands -------------------------------------------------------------------------------------


def evaluated(text: str) -> Property:
    """All commands of a property file."""
    found = Property()

    def value(group: Group, items: list[Any], command: bool) -> Any:
        try:
            return reduced(found, items, command)
        except (FormatError, Refused, TooLarge) as error:
            raise type(error)(f"line {group.line}: {error}") from None

    for tree in commands(text):
        fold(tree, str, value)
    return found


def reduced(found: Property, items: list[Any], command: bool) -> Any:
    """The value of one pair of parentheses whose insides are values already."""
    if not items:
        if command:
            raise FormatError("an empty command")
        return ()  # the empty argument list of declare-fun
    head, rest = items[0], items[1:]
    if not isinstance(head, str):
        raise FormatError("parentheses that begin with parentheses")
    if command:
        return run(found, head, rest)
    if head in RELATIONS:
        return comparison(head, [term(found, item) for item in rest])
    if head in ("and", "or"):
        return combined(head, [formula(item) for item in rest])
    if head in ("+", "-", "*", "/"):
        return arithmetic(head, [term(found, item) for item in rest])
    if head == "not":
        raise Refused("'not' is no part of the boxes that are read here")
    if head == "Real":
        raise FormatError("'Real' where a term or a formula belongs")
    raise Refused(f"{head!r} is no part of VNN-LIB 1.0 as read here")


def run(found: Property, head: str, rest: list[Any]) -> None:
    """One command of the file."""
    if head in IGNORED:
        return
    if head == "declare-const" and len(rest) == 2:
        declare(found, rest[0], rest[1])
    elif head == "declare-fun" and len(rest) == 3 and rest[1] == ():
        declare(found, rest[0], rest[2])
    elif head == "assert" and len(rest) == 1:
        conjoin(found, formula(rest[0]))
    elif head in ("declare-const", "declare-fun", "assert"):
        raise FormatError(f"{head} with {len(rest)} parts")
    else:
        raise Refused(f"the command {head!r} is none of VNN-LIB 1.0 as read here")


def conjoin(found: Property, part: Formula) -> None:
    """Assert a formula; a single alternative narrows in place, for files of many bounds."""
    if len(part) > 1:
        found.alternatives = combined("and", [found.alternatives, part])
        return
    for bounds in found.alternatives:
        narrow(bounds, part[0])


def declare(found: Property, name: Any, kind: Any) -> None:
    match = VARIABLE.fullmatch(name) if isinstance(name, str) else None
    if match is None:
        raise Refused(f"the variable {name!r}; inputs are X_0, X_1, ..., outputs Y_0, Y_1, ...")
    if kind != "Real":
        raise Refused(f"{name} has type {kind!r}; only Real is read")
    if name in found.declared:
        raise FormatError(f"{name} is declared twice")
    inward = match[1] == "X"
    found.declared[name] = (
        Term(input=int(match[2]), inputs=True) if inward else Term(outputs=True)
    )


# --- terms and formulas ---------------------------------------------------------------------------


def term(found: Property, item: Any) -> Term:
    """A term from a word or from a value inside."""
    if isinstance(item, Term):
        return item
    if not isinstance(item, str):
        raise FormatError("a formula where a number or a variable belongs")
    if item in found.declared:
        return found.declared[item]
    decimal = number(item)
    if decimal is not None:
        return Term(number=decimal)
    if VARIABLE.fullmatch(item):
        raise FormatError(f"{item} is not declared")
    raise FormatError(f"{item[:40]!r} is neither a decimal nor a variable")


def formula(item: Any) -> Formula:
    if isinstance(item, list):
        return item
    raise FormatError(f"{item!r} where a comparison, 'and' or 'or' belongs")


def arithmetic(head: str, terms: list[Term]) -> Term:
    """Numbers are computed; anything with a variable only remembers which kind it has."""
    if not terms:
        raise FormatError(f"{head!r} of nothing")
    if any(part.number is None for part in terms):
        return Term(
            inputs=any(part.inputs for part in terms), outputs=any(part.outputs for part in terms)
        )
    first, *others = [part.number or Fraction(0) for part in terms]
    if head == "-" and not others:
        return Term(number=-first)
    for other in others:
        match head:
            case "+":
                first += other
            case "-":
                first -= other
            case "*":
                first *= other
            case _ if other == 0:
                raise FormatError("a division by zero")
            case _:
                first /= other
    if max(first.numerator.bit_length(), first.denominator.bit_length()) > 8 * MOST_DIGITS:
        raise TooLarge(f"a number of more than {8 * MOST_DIGITS} bits")
    return Term(number=first)


def comparison(head: str, terms: list[Term]) -> Formula:
    """The bounds of one input, or nothing for a condition on outputs."""
    if len(terms) != 2:
        raise FormatError(f"{head!r} compares two terms, not {len(terms)}")
    left, right = terms
    if left.outputs or right.outputs:
        return [{}]
    if left.number is not None and right.input is not None:
        flipped = {"<=": ">=", ">=": "<=", "<": ">", ">": "<", "=": "="}
        left, right, head = right, left, flipped[head]
    if left.input is None or right.number is None:
        raise Refused(
            f"a {head!r} that is no bound of one input by a number; boxes are read, not polytopes"
        )
    if head in ("<", ">"):
        raise Refused(f"X_{left.input} {head} a number: strict bounds make no closed box")
    low = right.number if head != "<=" else None
    high = right.number if head != ">=" else None
    return [{left.input: (low, high)}]


def combined(head: str, parts: list[Formula]) -> Formula:
    """The alternatives of a conjunction or a disjunction."""
    if not parts:
        raise FormatError(f"{head!r} of nothing")
    if head == "or":
        return limited([bounds for part in parts for bounds in part])
    result: Formula = [dict(bounds) for bounds in parts[0]]
    for part in parts[1:]:
        if len(part) > 1:
            limited([], len(result) * len(part))
            result = [dict(bounds) for bounds in result for _ in part]
        for i, bounds in enumerate(result):
            narrow(bounds, part[i % len(part)])
    return result


def limited(alternatives: Formula, count: int | None = None) -> Formula:
    count = len(alternatives) if count is None else count
    if count > MOST_BOXES:
        raise TooLarge(f"{count:,} alternatives where the limit is {MOST_BOXES:,}; split the file")
    return alternatives


def narrow(bounds: Bounds, other: Bounds) -> None:
    """Intersect in place."""
    for place, (low, high) in other.items():
        below, above = bounds.get(place, (None, None))
        lows = [b for b in (below, low) if b is not None]
        highs = [b for b in (above, high) if b is not None]
        bounds[place] = (max(lows, default=None), min(highs, default=None))


# --- the domain -----------------------------------------------------------------------------------


def domain_of(found: Property) -> Domain:
    """The boxes of a property, equal ones once."""
    places = sorted(v.input for v in found.declared.values() if v.input is not None)
    if not places or places != list(range(len(places))):
        raise FormatError(
            f"the inputs are not X_0 to X_{max(places, default=0)} without a gap: "
            f"{len(places)} are declared"
        )
    boxes: dict[tuple[Any, ...], Box] = {}
    for bounds in found.alternatives:
        rows = [bounds.get(place, (None, None)) for place in places]
        missing = [f"X_{i}" for i, row in enumerate(rows) if None in row]
        if missing:
            raise DomainError(
                f"{len(missing)} inputs have no lower or no upper bound: {', '.join(missing[:5])}"
            )
        if all(low <= high for low, high in rows):  # type: ignore[operator]
            boxes.setdefault(tuple(rows), box_of(rows))
    if not boxes:
        raise DomainError("the property is empty: a lower bound lies above an upper bound")
    listed = tuple(boxes.values())
    return listed[0] if len(listed) == 1 else Union(listed)


def box_of(rows: list[Any]) -> Box:
    ends = [exact_fractions([row[side] for row in rows], (len(rows),)) for side in (0, 1)]
    return Box(*ends)
