# SPDX-License-Identifier: Apache-2.0
"""Facts about a model: operators, border, exactness of its constants, stable units on a domain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from isoform.forms.model import Model
from isoform.network.domain import Domain, bound_to, hull
from isoform.network.linear_map import Constant
from isoform.network.model import Tensor
from isoform.network.network import Network
from isoform.network.operators import Linear, Relu
from isoform.network.primitive import to_primitive
from isoform.network.size import constants_of
from isoform.numerics.exact import Exact
from isoform.text import columns, count, plural

BACKWARD_WEIGHTS = 200_000  # stored weights up to which bounds are made by backward substitution


@dataclass(frozen=True, slots=True, kw_only=True)
class Constants:
    """The stored numbers by dtype; how many are subnormal; the smallest and largest size."""

    counts: dict[str, int]
    subnormal: int
    smallest: float
    largest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stable:
    """ReLU units on a domain: never negative (active), never positive (dead), both (mixed)."""

    domain: str
    active: int
    dead: int
    mixed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What `inspect` shows."""

    model: Model
    operators: dict[str, int]
    constants: Constants
    stable: Stable | None

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        signature = self.model.signature
        return {
            "inputs": [tensor_record(tensor) for tensor in signature.inputs],
            "outputs": [tensor_record(tensor) for tensor in signature.outputs],
            "batch": signature.batch,
            "opset": self.model.opset,
            "reading": list(self.model.reading),
            "why_not": dict(self.model.why_not),
            "operators": dict(self.operators),
            "continuous": self.model.network.continuous,
            "constants": {
                "counts": self.constants.counts, "subnormal": self.constants.subnormal,
                "smallest": self.constants.smallest, "largest": self.constants.largest,
            },
            "stable": None if self.stable is None else {
                "domain": self.stable.domain, "active": self.stable.active,
                "dead": self.stable.dead, "mixed": self.stable.mixed,
            },
        }

    def __str__(self) -> str:
        model, size = self.model, self.model.size
        rows = [*model.facts]
        rows += [
            ("nonzeros", count(size.nonzeros)), ("flops", count(size.flops)),
            ("bytes", count(size.bytes)),
        ]
        rows += [("input", tensor_text(tensor)) for tensor in model.signature.inputs]
        rows += [("output", tensor_text(tensor)) for tensor in model.signature.outputs]
        rows.append(("operators", ", ".join(f"{n} {name}" for name, n in self.operators.items())
                     or "none"))
        rows.append(("constants", constants_text(self.constants)))
        rows += [("reading", line) for line in model.reading]
        if self.stable is not None:
            rows.append(("units", stable_text(self.stable)))
        rows += [(f"not {name}", why) for name, why in model.why_not.items()]
        return columns(rows, indent=0)


def inspection(model: Model, on: Domain | None = None) -> Inspection:
    """The facts; with a bounded domain also how many ReLU units are stable on it."""
    kinds = Counter(type(node.operator).__name__ for node in model.network.nodes)
    return Inspection(
        model=model, operators=dict(sorted(kinds.items())),
        constants=constant_facts(model.network),
        stable=None if on is None else stable_units(model.network, on),
    )


def constant_facts(network: Network) -> Constants:
    """Counts and extremes; an array that several nodes share is counted once."""
    counts: Counter[str] = Counter()
    subnormal, smallest, largest = 0, float("inf"), 0.0
    for constant in distinct(network):
        if isinstance(constant, Exact):
            counts["exact"] += constant.size
            sizes = np.abs(constant.to_float())
        else:
            counts[str(constant.dtype)] += constant.size
            sizes = np.abs(constant)
            if constant.dtype.kind == "f":
                tiny = np.finfo(constant.dtype).tiny
                subnormal += int(np.count_nonzero((sizes > 0) & (sizes < tiny)))
        positive = sizes[sizes > 0]
        if positive.size:
            smallest = min(smallest, float(positive.min()))
            largest = max(largest, float(positive.max()))
    return Constants(counts=dict(counts), subnormal=subnormal,
                     smallest=smallest if largest else 0.0, largest=largest)


def distinct(network: Network) -> Iterator[Constant]:
    """All constants, shared ones once."""
    seen: dict[int, Constant] = {}
    for node in network.nodes:
        for constant in constants_of(node.operator):
            seen.setdefault(id(constant), constant)
    yield from seen.values()


def stable_units(network: Network, on: Domain) -> Stable:
    """Certified bounds of all pre-activations on the box around the domain."""
    primitive = to_primitive(network)
    box = hull(bound_to(on, network.dimension))
    relus = [node for node in primitive.nodes if isinstance(node.operator, Relu)]
    units = sum(node.shape[0] for node in relus)
    if box is None:
        return Stable(domain=repr(on), active=0, dead=0, mixed=units)
    weights = sum(
        part.parameters for node in primitive.nodes if isinstance(node.operator, Linear)
        for part in node.operator.maps
    )
    from isoform.bounds import backward_bounds, interval_bounds

    bounds = (backward_bounds if weights <= BACKWARD_WEIGHTS else interval_bounds)(primitive, box)
    active = sum(int(np.sum(bounds[node.operands[0]][0] >= 0)) for node in relus)
    dead = sum(
        int(np.sum((bounds[node.operands[0]][1] <= 0) & (bounds[node.operands[0]][0] < 0)))
        for node in relus
    )
    return Stable(domain=repr(on), active=active, dead=dead, mixed=units - active - dead)


def tensor_record(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "shape": list(tensor.shape), "dtype": tensor.dtype}


def tensor_text(tensor: Tensor) -> str:
    return f"{tensor.name} {list(tensor.shape)} {tensor.dtype}"


def constants_text(constants: Constants) -> str:
    """One line on the stored numbers."""
    if not constants.counts:
        return "none"
    kinds = ", ".join(f"{count(n)} {name}" for name, n in constants.counts.items())
    below = f", {plural(constants.subnormal, 'subnormal number')}" if constants.subnormal else ""
    return f"{kinds}; sizes {constants.smallest:.3g} to {constants.largest:.3g}{below}"


def stable_text(stable: Stable) -> str:
    """One line on the units of a domain."""
    return (f"on {stable.domain}: {count(stable.active)} always active, {count(stable.dead)} never "
            f"active, {count(stable.mixed)} undecided or both")
