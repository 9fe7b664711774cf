# SPDX-License-Identifier: Apache-2.0
"""The syntax of VNN-LIB files: tokens, trees of parentheses, and their text.

Both versions are lists of commands in parentheses; 2.0 adds tensor indices in brackets and names of
ONNX tensors in quotes. Nothing here recurses: a file may nest as deep as it likes.

Source: the grammar of the VNN-LIB standard (https://www.vnnlib.org), which is the input language of
SMT-LIB with few commands.
"""

from __future__ import annotations

import gzip
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from isoform.errors import FormatError, Refused, TooLarge

LIMIT_BYTES = 256_000_000
MOST_DIGITS = 2_000
TOKEN = re.compile(r'[()\[\],]|"[^"]*"|\|[^|]*\||;[^\n]*|[^\s();\[\],"|]+|["|]')
DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")
INDEX = re.compile(r"0|[1-9]\d{0,8}")
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")  # of tensors and networks in 2.0


@dataclass(frozen=True, slots=True)
class Word:
    """A keyword, name, operator or number."""

    text: str
    line: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Quoted:
    """A text in double quotes (ONNX names) or bars (remarks of SMT-LIB), with them."""

    text: str
    line: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Brackets:
    """Indices or a shape: `[0,3]`; `[]` of a scalar."""

    numbers: tuple[int, ...]
    line: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return f"[{','.join(map(str, self.numbers))}]"


@dataclass(frozen=True, slots=True)
class Group:
    """What stands between two parentheses. Lines are those of the opening one, for messages; they
    do not count in comparisons."""

    items: tuple[Node, ...]
    line: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return written(self)


Node = Word | Quoted | Brackets | Group


def read_text(path: str | os.PathLike[str], limit_bytes: int = LIMIT_BYTES) -> str:
    """The text of a file, unpacked where its name ends in .gz. TooLarge beyond the limit,
    FormatError for what is no UTF-8 or no gzip file."""
    name = os.fspath(path)
    size = os.path.getsize(path)
    if size > limit_bytes:
        raise TooLarge(f"{name} has {size:,} bytes, the limit is {limit_bytes:,}")
    packed = name.lower().endswith(".gz")
    try:
        with gzip.open(path) if packed else open(path, "rb") as file:
            held = file.read(limit_bytes + 1)
        if len(held) > limit_bytes:
            raise TooLarge(f"{name} has more than {limit_bytes:,} bytes unpacked, the limit")
        return held.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(f"{name} is no text: {error}") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FormatError(f"{name} is no gzip file: {error}") from None


@contextmanager
def of_file(path: str | os.PathLike[str]) -> Iterator[None]:
    """Whatever is wrong with a file, the error names it."""
    try:
        yield
    except (FormatError, Refused, TooLarge) as error:
        if os.fspath(path) in str(error):
            raise
        raise type(error)(f"{os.fspath(path)}: {error}") from error


def tokens(text: str) -> Iterator[tuple[str, int]]:
    """Parentheses, brackets, commas, quoted texts and words with their lines; comments left out."""
    line, seen = 1, 0
    for match in TOKEN.finditer(text):
        place = match.start()
        line += text.count("\n", seen, place)
        seen = place
        if match[0] in ('"', "|"):
            raise FormatError(f"line {line}: a text that begins with {match[0]} does not end")
        if match[0][0] != ";":
            yield match[0], line


def commands(text: str) -> Iterator[Group]:
    """The commands of a file one after the other.

    Raises FormatError, with the line, for unbalanced parentheses and brackets and for anything
    outside of them.
    """
    stack: list[tuple[list[Node], int]] = []
    stream = tokens(text)
    for token, line in stream:
        if token == "(":
            stack.append(([], line))
        elif not stack:
            raise FormatError(f"line {line}: {token[:40]!r} outside of parentheses")
        elif token == ")":
            items, begin = stack.pop()
            group = Group(tuple(items), begin)
            if stack:
                stack[-1][0].append(group)
            else:
                yield group
        elif token == "[":
            stack[-1][0].append(brackets(stream, line))
        elif token in ("]", ","):
            raise FormatError(f"line {line}: {token!r} outside of brackets")
        else:
            kind = Quoted if token[0] in '"|' else Word
            stack[-1][0].append(kind(token, line))
    if stack:
        raise FormatError(
            f"the file ends inside of {len(stack)} open parentheses, the last of line "
            f"{stack[-1][1]}"
        )


def brackets(stream: Iterator[tuple[str, int]], line: int) -> Brackets:
    """The indices after an opening bracket, up to the closing one."""
    inside: list[str] = []
    for token, at in stream:
        if token == "]":
            break
        if token in ("(", ")", "["):
            raise FormatError(f"line {at}: {token!r} inside of brackets")
        inside.append(token)
    else:
        raise FormatError(f"the file ends inside of the brackets of line {line}")
    numbers, commas = inside[::2], inside[1::2]
    good = all(INDEX.fullmatch(number) for number in numbers) and set(commas) <= {","}
    if not good or inside and len(numbers) != len(commas) + 1:
        shown = " ".join(inside)[:60]
        raise FormatError(f"line {line}: [{shown}] is no list of whole numbers with commas between")
    return Brackets(tuple(map(int, numbers)), line)


def parse(text: str) -> tuple[Group, ...]:
    """All commands of a file."""
    return tuple(commands(text))


def fold(
    tree: Group, leaf: Callable[[Word | Quoted | Brackets], Any],
    group: Callable[[Group, list[Any], bool], Any],
) -> Any:
    """The value of a tree, innermost parentheses first: `leaf` of what is no group, and `group` of
    a group, the values of its items, and whether it is the whole tree."""
    stack: list[tuple[Group, Iterator[Node], list[Any]]] = [(tree, iter(tree.items), [])]
    while True:
        current, rest, values = stack[-1]
        item = next(rest, None)
        if isinstance(item, Group):
            stack.append((item, iter(item.items), []))
        elif item is not None:
            values.append(leaf(item))
        else:
            stack.pop()
            value = group(current, values, not stack)
            if not stack:
                return value
            stack[-1][2].append(value)


def written(tree: Group) -> str:
    """A tree as text, in one line: what `parse` reads as the same tree."""
    parts: list[str] = []
    declares: list[bool] = []  # of the open groups: shapes stand apart, indices at their tensor
    stack: list[Node | str] = [tree]
    while stack:
        item = stack.pop()
        if isinstance(item, Group):
            text = "("
            stack += [")", *reversed(item.items)]
        else:
            text = str(item)
        first = not parts or parts[-1] == "("
        indices = isinstance(item, Brackets) and not declares[-1]
        if not (first or text == ")" or indices):
            parts.append(" ")
        parts.append(text)
        if isinstance(item, Group):
            head = item.items[0] if item.items else None
            declares.append(isinstance(head, Word) and head.text.startswith("declare"))
        elif text == ")":
            declares.pop()
    return "".join(parts)


def write(trees: Iterable[Group]) -> str:
    """A file, one command a line."""
    return "".join(f"{written(tree)}\n" for tree in trees)


# --- numbers ----------------------------------------------------------------------------------


def number(text: str) -> Fraction | None:
    """The exact value of a decimal; None for what is none (or too long to be read)."""
    if len(text) <= MOST_DIGITS and DECIMAL.fullmatch(text):
        return Fraction(text)
    return None


def decimal_text(value: Fraction) -> str | None:
    """All digits of a rational, without exponent; None where the decimal does not end or has more
    digits than are read."""
    below = value.denominator
    twos = (below & -below).bit_length() - 1
    fives = 0
    below >>= twos
    while below % 5 == 0:
        below //= 5
        fives += 1
    digits = max(twos, fives)
    if below != 1 or max(digits, value.numerator.bit_length() * 3 // 10) > MOST_DIGITS // 2:
        return None
    whole = abs(value.numerator) * (10**digits // value.denominator)
    text = str(whole).rjust(digits + 1, "0")
    sign = "-" if value < 0 else ""
    point = len(text) - digits
    return f"{sign}{text[:point]}.{text[point:] or '0'}"
