# SPDX-License-Identifier: Apache-2.0
"""Numbers and tables as plain text, the same in a terminal, a message and a golden test."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction

SMALL = 1_000_000  # counts below it are written out in full


def columns(rows: Sequence[Sequence[str]], header: Sequence[str] = (), indent: int = 2) -> str:
    """Rows as aligned columns. A column whose cells are all numbers is set to the right."""
    table = [list(header), *map(list, rows)] if header else [list(row) for row in rows]
    if not table:
        return ""
    count = max(len(row) for row in table)
    table = [row + [""] * (count - len(row)) for row in table]
    widths = [max(len(row[i]) for row in table) for i in range(count)]
    body = table[1:] if header else table
    right = [bool(body) and all(is_numeral(row[i]) for row in body) for i in range(count)]
    lines = []
    for row in table:
        cells = [
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ]
        lines.append((" " * indent + "  ".join(cells)).rstrip())
    return "\n".join(lines)


def is_numeral(cell: str) -> bool:
    """Whether a table cell holds a number (or nothing)."""
    bare = cell.lstrip("<=~+-x ").replace(",", "").replace(".", "")
    return not cell or bare[:1].isdigit()


def html_table(rows: Sequence[Sequence[str]], header: Sequence[str] = ()) -> str:
    """The same rows as an HTML table; every cell is escaped."""
    def line(row: Sequence[str], tag: str) -> str:
        cells = "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row)
        return f"<tr>{cells}</tr>"

    head = f"<thead>{line(header, 'th')}</thead>" if header else ""
    body = "".join(line(row, "td") for row in rows)
    return f"<table>{head}<tbody>{body}</tbody></table>"


def count(number: int) -> str:
    """12,345 in full, large counts as 1.23e+12, however large."""
    return f"{number:,}" if number < SMALL**2 else decimal(Fraction(number))


def plural(number: int, noun: str) -> str:
    """"1 point", "2 points"."""
    return f"{count(number)} {noun}" if number == 1 else f"{count(number)} {noun}s"


def decimal(value: Fraction, digits: int = 3, up: bool | None = None) -> str:
    """A rational in a few significant digits, rounded up, down, or (None) to the nearest."""
    if value.denominator == 1 and abs(value) < SMALL:
        return str(value.numerator)
    rounding = ROUND_HALF_EVEN if up is None else ROUND_CEILING if up else ROUND_FLOOR
    context = Context(prec=digits, rounding=rounding, Emin=-(10**6), Emax=10**6)
    quotient = context.divide(Decimal(value.numerator), Decimal(value.denominator)).normalize()
    far = quotient.adjusted() < -4 or quotient.adjusted() >= 6
    return format(quotient, "e" if far else "f")


def outward_float(value: Fraction | None, up: bool) -> float | None:
    """The nearest float on the safe side of a bound: at least the value if `up`, else at most. None
    where that would be beyond the largest float, for JSON has no infinity."""
    if value is None:
        return None
    try:
        near = value.numerator / value.denominator
    except OverflowError:
        return None
    wrong = Fraction(near) < value if up else Fraction(near) > value
    safe = math.nextafter(near, math.inf if up else -math.inf) if wrong else near
    return safe if math.isfinite(safe) else None
