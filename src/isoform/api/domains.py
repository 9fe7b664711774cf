# SPDX-License-Identifier: Apache-2.0
"""Domains as text: `box:-1,1`, `ball:CENTRE.npy,RADIUS`, `vnnlib:FILE`, `binary`, ..."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from isoform.errors import DomainError, FormatError, Refused, TooLarge
from isoform.network.domain import (
    Binary,
    Box,
    Domain,
    Everywhere,
    FiniteSet,
    Polytope,
    exact_number,
)
from isoform.numerics.exact import Exact

GRAMMAR = (
    "box:LOW,HIGH (every input), box:L,H/L,H/... (one pair an input), ball:CENTRE.npy,RADIUS, "
    "vnnlib:FILE, npz:FILE (arrays low, high), polytope:FILE.npz (A, b, low, high), "
    "points:FILE.npy, binary, everywhere"
)


def domain(text: str) -> Domain:
    """The domain that a text means; decimals are exact (0.6 is 3/5), arrays their dyadic values.

    Raises DomainError on bad grammar, empty or not finite sets, OSError for a missing file.
    """
    try:
        return parsed(text)
    except (DomainError, FormatError, Refused, TooLarge) as error:
        if text in str(error):
            raise
        raise type(error)(f"{text}: {error}") from error


def parsed(text: str) -> Domain:
    """The domain of a text, errors without that text."""
    kind, colon, rest = text.strip().partition(":")
    match kind, bool(colon):
        case "everywhere", False:
            return Everywhere()
        case "binary", False:
            return Binary()
        case "box", True:
            return box(rest)
        case "ball", True:
            return ball(rest)
        case "vnnlib", True:
            from isoform.formats.vnnlib import read_box

            return read_box(present(rest))
        case "npz", True:
            return box_file(present(rest))
        case "polytope", True:
            return polytope_file(present(rest))
        case "points", True:
            return points(present(rest))
    raise DomainError(f"{text!r} is no domain; write one of {GRAMMAR}")


def present(name: str) -> Path:
    path = Path(name)
    if not name:
        raise DomainError("the name of a file is missing after the colon")
    if not path.is_file():
        raise FileNotFoundError(2, "no such file", name)
    return path


def box(text: str) -> Box:
    """`-1,1` or `0,1/-2,2/...`."""
    pairs = [pair.split(",") for pair in text.split("/")]
    for number, pair in enumerate(pairs):
        if len(pair) != 2:
            raise DomainError(
                f"box:{text}: part {number + 1} is {','.join(pair)!r}, not LOW,HIGH; "
                "write box:-1,1 or box:0,1/-2,2"
            )
    if len(pairs) == 1:
        return Box(pairs[0][0].strip(), pairs[0][1].strip())
    return Box([low.strip() for low, _ in pairs], [high.strip() for _, high in pairs])


def ball(text: str) -> Box:
    """`CENTRE.npy,RADIUS`: all points within RADIUS in every coordinate."""
    name, comma, radius_text = text.rpartition(",")
    if not comma:
        raise DomainError(f"ball:{text}: write ball:CENTRE.npy,RADIUS")
    radius = exact_number(radius_text.strip())
    if radius.sign() < 0:
        raise DomainError(f"the ball is empty: its radius is {radius_text}; give 0 or more")
    centre = numbers(array_file(present(name)), name).reshape(-1)
    return Box(centre - radius, centre + radius)


def box_file(path: Path) -> Box:
    """The arrays `low` and `high` of a `.npz` file."""
    low, high = named_arrays(path, "low", "high")
    return Box(low, high)


def polytope_file(path: Path) -> Polytope:
    """{x : A x <= b, low <= x <= high}, from the arrays A (k, n), b (k,), low and high (n,) of a
    `.npz` file; floats mean their dyadic values. low and high may be one number for every input."""
    A, b, low, high = named_arrays(path, "A", "b", "low", "high")
    return Polytope(A, b, Box(low, high))


def named_arrays(path: Path, *names: str) -> list[Exact]:
    """Arrays of numbers of a `.npz` file. DomainError where one is missing."""
    from isoform.formats.npz import read_npz_arrays

    arrays = read_npz_arrays(path)
    missing = [name for name in names if name not in arrays]
    if missing:
        raise DomainError(
            f"{path} has no array {' and '.join(missing)}; it holds {', '.join(arrays) or 'none'}"
        )
    return [numbers(arrays[name], name) for name in names]


def points(path: Path) -> FiniteSet:
    """The rows of an array (points, inputs); all axes but the first are flattened."""
    array = array_file(path)
    if array.ndim == 0 or array.size == 0:
        raise DomainError(f"{path} holds no points: its shape is {array.shape}; give (points, n)")
    rows = array.reshape(1, -1) if array.ndim == 1 else array.reshape(len(array), -1)
    return FiniteSet(numbers(rows, str(path)))


def array_file(path: Path) -> np.ndarray:
    """An `.npy` file. Mapped, so that a header that promises more than the file holds fails before
    anything is allocated; pickled objects are refused."""
    try:
        return np.array(np.load(path, mmap_mode="r", allow_pickle=False))
    except (ValueError, EOFError, AttributeError, TypeError) as error:
        why = "it is no .npy file" if "pickle" in str(error) else error
        raise DomainError(f"{path} is no readable .npy array of numbers: {why}") from None


def numbers(array: np.ndarray | Exact, what: str) -> Exact:
    """The exact values of an array; DomainError on NaN, infinity and what is no number."""
    if isinstance(array, np.ndarray) and array.dtype.kind not in "fiub":
        raise DomainError(f"{what} holds {array.dtype}, not numbers")
    return exact_number(array)
