# SPDX-License-Identifier: Apache-2.0
"""Linear arithmetic of VNN-LIB: affine terms, rows, and formulas in disjunctive normal form.

A formula is the list of its alternatives, each a list of rows that hold together. Numbers are exact
rationals. Entries of tensors are numbered through a whole query.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

from isoform.errors import FormatError, Refused, TooLarge

MOST_ALTERNATIVES = 20_000
MOST_ROWS = 2_000_000  # of all alternatives together
MOST_BITS = 16_000  # of a computed number
COMPARISONS = ("<=", ">=", "<", ">", "==", "!=", "=")


@dataclass(frozen=True, slots=True)
class Row:
    """sum of factor * entry over `terms` <= bound, or < where strict. terms: (number of the entry,
    factor that is not 0), by rising numbers."""

    terms: tuple[tuple[int, Fraction], ...]
    bound: Fraction
    strict: bool = False

    @property
    def false(self) -> bool:
        """Whether it is without entries, and wrong."""
        return not self.terms and not (self.bound > 0 or self.bound == 0 and not self.strict)


@dataclass(slots=True)
class Affine:
    """constant + sum of factor * entry."""

    terms: dict[int, Fraction] = field(default_factory=dict)
    constant: Fraction = Fraction(0)


Formula = list[list[Row]]


def arithmetic(head: str, parts: list[Affine], name: Callable[[int], str]) -> Affine:
    """The value of +, -, * or / of terms; it may take over the first. name: of an entry.

    Refused for a product of entries or a division by one.
    """
    if not parts:
        raise FormatError(f"{head!r} of nothing")
    match head:
        case "-" if len(parts) == 1:
            return scaled(parts[0], Fraction(-1))
        case "+" | "-":
            result = parts[0]
            sign = 1 if head == "+" else -1
            for part in parts[1:]:
                add(result, part, sign)
            return result
        case "*":
            result = parts[0]
            for part in parts[1:]:
                if result.terms and part.terms:
                    pair = [name(min(side.terms)) for side in (result, part)]
                    raise Refused(
                        f"a product of {pair[0]} and {pair[1]} is not linear; only linear "
                        "arithmetic is decided"
                    )
                result = scaled(result, part.constant) if result.terms or not part.terms else (
                    scaled(part, result.constant))
            return result
    return quotient(parts, name)


def quotient(parts: list[Affine], name: Callable[[int], str]) -> Affine:
    """The first term divided by all others, which are numbers."""
    result = parts[0]
    for part in parts[1:]:
        if part.terms:
            raise Refused(f"a division by {name(min(part.terms))} is not linear")
        if part.constant == 0:
            raise FormatError("a division by zero")
        result = scaled(result, 1 / part.constant)
    return result


def add(into: Affine, part: Affine, sign: int) -> None:
    """into += sign * part; entries whose factors cancel go."""
    for entry, factor in part.terms.items():
        total = into.terms.get(entry, 0) + sign * factor
        if total:
            into.terms[entry] = fitting(total)
        else:
            into.terms.pop(entry, None)
    into.constant = fitting(into.constant + sign * part.constant)


def scaled(part: Affine, factor: Fraction) -> Affine:
    if not factor:
        return Affine()
    terms = {entry: fitting(value * factor) for entry, value in part.terms.items()}
    return Affine(terms, fitting(part.constant * factor))


def fitting(value: Fraction) -> Fraction:
    """The number itself, unless it has grown too long."""
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MOST_BITS:
        raise TooLarge(f"a number of more than {MOST_BITS:,} bits")
    return value


def comparison(head: str, parts: list[Affine]) -> Formula:
    """The rows of a comparison between two terms; `!=` has two alternatives."""
    if len(parts) != 2:
        raise FormatError(f"{head!r} compares two terms, not {len(parts)}")
    gap = Affine(dict(parts[0].terms), parts[0].constant)
    add(gap, parts[1], -1)
    terms = tuple(sorted(gap.terms.items()))
    opposite = tuple((entry, -factor) for entry, factor in terms)
    strict = head in ("<", ">", "!=")
    below, above = Row(terms, -gap.constant, strict), Row(opposite, gap.constant, strict)
    match head:
        case "<=" | "<":
            return [[below]]
        case ">=" | ">":
            return [[above]]
        case "!=":
            return [[below], [above]]
        case _:
            return [[below, above]]


def conjunction(parts: list[Formula]) -> Formula:
    """All of them; it may take over the parts. TooLarge where the alternatives multiply too far."""
    if not parts:
        raise FormatError("'and' of nothing")
    result = parts[0]
    for part in parts[1:]:
        if len(part) == 1 and len(result) == 1:
            result[0].extend(part[0])
            continue
        rows = len(part) * sum(map(len, result)) + len(result) * sum(map(len, part))
        check_size(len(result) * len(part), rows)
        result = [[*first, *second] for first in result for second in part]
    return result


def disjunction(parts: list[Formula]) -> Formula:
    """One of them."""
    if not parts:
        raise FormatError("'or' of nothing")
    result = parts[0]
    for part in parts[1:]:
        result.extend(part)
    check_size(len(result), 0)
    return result


def check_size(alternatives: int, rows: int) -> None:
    if alternatives > MOST_ALTERNATIVES or rows > MOST_ROWS:
        raise TooLarge(
            f"{alternatives:,} alternatives with {rows:,} rows where the limits are "
            f"{MOST_ALTERNATIVES:,} and {MOST_ROWS:,}; split the file"
        )
