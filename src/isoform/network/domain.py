# SPDX-License-Identifier: Apache-2.0
"""Where a claim holds: exact sets of inputs.

A domain may be made before the dimension is known (`Box(-1, 1)` is one pair for every input);
`bound_to(domain, n)` fixes the dimension and checks it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from isoform.errors import DomainError
from isoform.numerics.exact import Exact, concatenate, integers, rational, shown
from isoform.text import decimal, plural

DomainNumber = Any  # int, Fraction, decimal string, float (its dyadic value), array of them, Exact


def exact_number(value: DomainNumber) -> Exact:
    """The exact tensor of a bound; strings are exact decimals ("0.6" is 3/5).

    Raises DomainError on NaN, infinity, and what is not a number.
    """
    try:
        if isinstance(value, str):
            return Exact.of(rational(value))
        if isinstance(value, list | tuple) and any(isinstance(v, str) for v in value):
            return concatenate([exact_number(v).reshape(1) for v in value])
        if isinstance(value, list | tuple) and any(isinstance(v, Fraction) for v in value):
            return Exact.of(np.array(list(value), dtype=object))
        return Exact.of(value)
    except (ValueError, TypeError, ZeroDivisionError) as error:
        what = repr(value) if isinstance(value, str | float) else type(value).__name__
        raise DomainError(f"{what} is no exact bound: {error}; give finite numbers") from None


def as_bound(value: Fraction) -> str:
    """A bound as people write it: 0.6 for 3/5; a fraction where no short decimal is exact."""
    near = decimal(value, 15)
    if rational(near) == value:
        return near
    exact = shown(value)
    return exact if len(exact) <= 40 else f"about {decimal(value, 6)}"


@dataclass(frozen=True, slots=True, eq=False)
class Box:
    """low <= x <= high, each a vector of n numbers, or one number for every input.

    Raises DomainError where low > high or a bound is not finite.
    """

    low: Exact
    high: Exact

    def __init__(self, low: DomainNumber, high: DomainNumber):
        low, high = exact_number(low), exact_number(high)
        low, high = flat_bound(low), flat_bound(high)
        if low.ndim == 1 and high.ndim == 1 and len(low) != len(high):
            raise DomainError(f"a box with {len(low)} lower and {len(high)} upper bounds")
        if low.ndim != high.ndim:
            n = max(low.size, high.size)
            low, high = spread(low, n), spread(high, n)
        gap = (high - low).sign()
        if np.any(gap < 0):
            at = int(np.flatnonzero(gap.ravel() < 0)[0])
            ends = (low.reshape(-1)[at].item(), high.reshape(-1)[at].item())
            below, above = map(as_bound, ends)
            raise DomainError(
                f"the box is empty: low {below} > high {above} at input {at}; swap the bounds"
            )
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)

    @property
    def dimension(self) -> int | None:
        return len(self.low) if self.low.ndim == 1 else None

    def __repr__(self) -> str:
        if self.dimension is None:
            return f"Box({as_bound(self.low.item())}, {as_bound(self.high.item())})"
        if self.dimension > 1 and all(
            bool(np.all(end.numerator == end.numerator[0])) for end in (self.low, self.high)
        ):
            sides = f"[{as_bound(self.low[0].item())}, {as_bound(self.high[0].item())}]"
            return f"Box({sides}^{self.dimension})"
        if self.dimension > 8:
            return f"Box in {self.dimension} dimensions"
        pairs = zip(self.low.fractions(), self.high.fractions(), strict=True)
        return "Box(" + " x ".join(f"[{as_bound(a)}, {as_bound(b)}]" for a, b in pairs) + ")"


@dataclass(frozen=True, slots=True, eq=False)
class Polytope:
    """{x : A x <= b} inside a box that contains it. A: (k, n), b: (k,), exact or what has an exact
    value (floats mean their dyadic value)."""

    A: Exact
    b: Exact
    box: Box

    def __post_init__(self) -> None:
        """DomainError where A, b and the box do not fit: a box of another dimension would give
        ranges to the wrong inputs."""
        object.__setattr__(self, "A", exact_number(self.A))
        object.__setattr__(self, "b", exact_number(self.b))
        fits = self.A.ndim == 2 and self.b.shape == (self.A.shape[0],)
        if not fits or self.box.dimension not in (None, self.A.shape[1]):
            raise DomainError(
                f"a polytope with A of shape {self.A.shape}, b of shape {self.b.shape} and a box "
                f"of dimension {self.box.dimension}; give (k, n), (k,) and n"
            )

    @property
    def dimension(self) -> int | None:
        return self.A.shape[1]

    def __repr__(self) -> str:
        return f"Polytope(A x <= b with {plural(self.A.shape[0], 'row')}, in {self.box!r})"


@dataclass(frozen=True, slots=True)
class Binary:
    """{0, 1}^n."""

    dimension: int | None = None

    def __repr__(self) -> str:
        return "Binary()" if self.dimension is None else f"Binary({{0, 1}}^{self.dimension})"


@dataclass(frozen=True, slots=True, eq=False)
class FiniteSet:
    """Finitely many points, the rows of a (count, n) matrix of numbers with an exact value."""

    points: Exact

    def __post_init__(self) -> None:
        object.__setattr__(self, "points", exact_number(self.points))
        if self.points.ndim != 2:
            raise DomainError(f"points of shape {self.points.shape}; give a (count, n) matrix")

    @property
    def dimension(self) -> int | None:
        return self.points.shape[1]

    def __repr__(self) -> str:
        count, n = self.points.shape
        return f"FiniteSet({plural(count, 'point')} in dimension {n})"


@dataclass(frozen=True, slots=True)
class Union:
    """The union of its parts (at least one, all of one dimension)."""

    parts: tuple[Domain, ...]

    def __post_init__(self) -> None:
        if not self.parts:
            raise DomainError("a union without parts is empty; nothing can be said on it")

    @property
    def dimension(self) -> int | None:
        return self.parts[0].dimension

    def __repr__(self) -> str:
        if len(self.parts) > 4:
            return f"Union({len(self.parts)} parts: {self.parts[0]!r}, ...)"
        return f"Union({', '.join(map(repr, self.parts))})"


@dataclass(frozen=True, slots=True)
class Sequences:
    """Sequences of `length` elements, each in the domain `element`."""

    length: int
    element: Domain

    def __post_init__(self) -> None:
        if self.length < 1:
            raise DomainError(f"sequences of {self.length} elements; give a length of 1 or more")

    @property
    def dimension(self) -> int | None:
        inner = self.element.dimension
        return None if inner is None else self.length * inner


@dataclass(frozen=True, slots=True)
class Everywhere:
    """All of R^n."""

    dimension: int | None = None


Domain = Box | Polytope | Binary | FiniteSet | Union | Sequences | Everywhere


def flat_bound(value: Exact) -> Exact:
    """A scalar stays one, everything else becomes a vector."""
    return value if value.ndim == 0 else value.reshape(-1)


def spread(value: Exact, n: int) -> Exact:
    """One number repeated n times; a vector of n stays."""
    if value.ndim == 0:
        return Exact(integers([value.numerator.item()] * n, (n,)), value.denominator)
    return value


def bound_to(domain: Domain, n: int) -> Domain:
    """The same domain as a set in R^n. DomainError if its dimension is another, or if it is a set
    of no points."""
    if domain.dimension not in (None, n):
        raise DomainError(
            f"the domain has dimension {domain.dimension}, the network takes {n} inputs; "
            "give one bound for every input or one pair each"
        )
    match domain:
        case Box():
            return Box(spread(domain.low, n), spread(domain.high, n))
        case Polytope():
            box = domain.box
            return Polytope(domain.A, domain.b, Box(spread(box.low, n), spread(box.high, n)))
        case FiniteSet() if len(domain.points) == 0:
            raise DomainError("the set of points is empty; nothing can be said on it")
        case Binary():
            return Binary(n)
        case Everywhere():
            return Everywhere(n)
        case Union():
            return Union(tuple(bound_to(part, n) for part in domain.parts))
        case Sequences():
            if n % domain.length:
                raise DomainError(f"{n} inputs are no {domain.length} elements of equal size")
            return Sequences(domain.length, bound_to(domain.element, n // domain.length))
        case _:
            return domain


def hull(domain: Domain) -> Box | None:
    """A box that contains the (bound) domain; None where there is none."""
    match domain:
        case Box():
            return domain
        case Polytope():
            return domain.box
        case Binary():
            n = domain.dimension or 0
            return Box(integers([0] * n, (n,)), integers([1] * n, (n,)))
        case FiniteSet():
            numbers, unit = domain.points.numerator, domain.points.denominator
            return Box(Exact(numbers.min(axis=0), unit), Exact(numbers.max(axis=0), unit))
        case Union():
            return joined_hull([hull(part) for part in domain.parts])
        case Sequences():
            inner = hull(domain.element)
            if inner is None:
                return None
            repeat = [inner] * domain.length
            return Box(
                concatenate([box.low for box in repeat]), concatenate([box.high for box in repeat])
            )
        case _:
            return None


def joined_hull(boxes: Sequence[Box | None]) -> Box | None:
    """The smallest box around boxes of one dimension."""
    if any(box is None for box in boxes):
        return None
    low = concatenate([box.low.reshape(1, -1) for box in boxes if box is not None])
    high = concatenate([box.high.reshape(1, -1) for box in boxes if box is not None])
    return Box(
        Exact(low.numerator.min(axis=0), low.denominator),
        Exact(high.numerator.max(axis=0), high.denominator),
    )


def contains(domain: Domain, point: Exact) -> bool:
    """Whether an exact point (n,) lies in the (bound) domain."""
    match domain:
        case Box():
            above = (point - domain.low).sign() >= 0
            return bool(np.all(above) and np.all((domain.high - point).sign() >= 0))
        case Polytope():
            inside = np.all((domain.b - domain.A @ point).sign() >= 0)
            return bool(inside) and contains(domain.box, point)
        case Binary():
            return all(value in (0, 1) for value in point.fractions())
        case FiniteSet():
            return any(domain.points[i] == point for i in range(len(domain.points)))
        case Union():
            return any(contains(part, point) for part in domain.parts)
        case Sequences():
            step = point.size // domain.length
            pieces = (point[i * step : (i + 1) * step] for i in range(domain.length))
            return all(contains(domain.element, piece) for piece in pieces)
        case Everywhere():
            return True
