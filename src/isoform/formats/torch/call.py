# SPDX-License-Identifier: Apache-2.0
"""One call of an operator in an exported torch graph, with its arguments by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from isoform.assemble.assembler import Assembler, Computed, Known, NotTaken, Value, fold


@dataclass(frozen=True, slots=True)
class Call:
    """Arguments by the names of torch's schema, defaults filled in; tensors are values."""

    name: str
    overload: str
    arguments: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def get(self, name: str, default: Any = None) -> Any:
        return self.arguments.get(name, default)

    @property
    def value(self) -> Value:
        """The first tensor, `self` or `input`."""
        found = self.arguments.get("self", self.arguments.get("input"))
        if not isinstance(found, Known | Computed):
            raise NotTaken("the operand is no tensor")
        return found

    def tensor(self, name: str) -> Value:
        """A tensor, or a Python number as a constant of the first tensor's dtype."""
        found = self.arguments[name]
        return found if isinstance(found, Known | Computed) else number(found, self.value.dtype)

    def optional(self, name: str) -> Value | None:
        found = self.arguments.get(name)
        return found if found is None or isinstance(found, Known | Computed) else self.tensor(name)

    def real(self, name: str) -> float:
        """A Python number as the nearest float of the first tensor's dtype, as torch computes."""
        return rounded(self.arguments[name], self.value.dtype)

    def integer(self, name: str) -> int:
        found = self.arguments[name]
        if isinstance(found, Known) and found.other is None and found.array.size == 1:
            found = found.array.item()
        if type(found) is not int:
            raise NotTaken(f"the argument {name} is no fixed integer")
        return found

    def integers(self, name: str, count: int | None = None) -> list[int]:
        """A list of integers; a single one (or one entry) is repeated `count` times."""
        found = self.arguments[name]
        listed = [found] if type(found) is int else list(found or ())
        if any(type(n) is not int for n in listed):
            raise NotTaken(f"the argument {name} depends on the input's shape")
        return listed * count if count is not None and len(listed) == 1 else listed


Rule = Callable[[Assembler, Call], Value | Sequence[Value]]


def rounded(found: Any, dtype: np.dtype) -> float:
    """A Python number in the precision of a tensor."""
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise NotTaken(f"{type(found).__name__} where a number belongs")
    return float(np.asarray(found, dtype=dtype if dtype.kind == "f" else np.float64))


def number(found: Any, dtype: np.dtype) -> Known:
    """A Python number as a constant, in the precision of the tensor beside it."""
    if isinstance(found, int) and not isinstance(found, bool) and dtype.kind in "iu":
        return Known(np.asarray(found, dtype=dtype))
    kind = dtype if dtype.kind == "f" else np.dtype(np.float32)
    return Known(np.asarray(rounded(found, kind), dtype=kind))


def sizes(listed: Sequence[Any]) -> Known:
    """A shape whose entries are integers or constants that depend on the batch."""
    parts = [entry if isinstance(entry, Known) else Known(np.asarray(entry)) for entry in listed]
    if any(isinstance(entry, Computed) for entry in listed):
        raise NotTaken("a shape that is computed from the input")
    return fold(lambda *entries: np.array([int(e) for e in entries], dtype=np.int64), *parts)
