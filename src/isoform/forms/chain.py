# SPDX-License-Identifier: Apache-2.0
"""Reading a network as a chain: affine map, activation, affine map, ...

Nothing is computed on weights: selections move entries, a bias joins a map that has none. Whatever
would need arithmetic is NotInClass, with the rewriting that does it.
"""

from __future__ import annotations

import numpy as np

from isoform.algebra.affine_rows import identity_map, is_identity, is_zero
from isoform.errors import NotInClass
from isoform.network.linear_map import Constant, Conv, Csr, Dense, Gather, LinearMap
from isoform.network.network import Network, Node
from isoform.network.operators import (
    Abs,
    BatchNormalization,
    Clip,
    Concat,
    Gelu,
    HardSigmoid,
    HardSwish,
    LeakyRelu,
    Linear,
    Maximum,
    MaxPool,
    Minimum,
    Opaque,
    Operator,
    Power,
    PRelu,
    ReduceMax,
    Relu,
    Select,
    Step,
)
from isoform.network.primitive import to_primitive
from isoform.numerics.exact import Exact

Layer = tuple[LinearMap, Constant | None]
ELEMENTWISE = (
    Relu, LeakyRelu, PRelu, Clip, HardSigmoid, HardSwish, Abs, Gelu, Step, Power, Opaque,
)
PIECEWISE_LINEAR = (Maximum, Minimum, MaxPool, ReduceMax, PRelu)
COLLAPSE = "collapse it first: --by collapse_linear"


def is_activation(operator: Operator) -> bool:
    """Whether an operator acts on every entry by itself, as y_i = f(z_i)."""
    if isinstance(operator, Opaque):
        return operator.name != "softmax"
    if isinstance(operator, PRelu):
        return operator.slope.size == 1 or operator.slope.ndim == 1
    return isinstance(operator, ELEMENTWISE)


def affine_chain(network: Network) -> tuple[list[Layer], list[Operator]]:
    """Affine layers and the activations between them (one fewer).

    Raises NotInClass with the first obstacle from the input on. A network of several inputs or
    outputs is read in its primitive form, where they are one vector.
    """
    if len(network.inputs) != 1 or len(network.outputs) != 1:
        network = to_primitive(network)
    layers: list[Layer] = []
    activations: list[Operator] = []
    pending: Layer = (identity_map(network.size_of(0)), None)
    for value, node in straight_line(network):
        operator = node.operator
        match operator:
            case Concat():
                continue
            case Select():
                pending = selected(pending, operator.indices)
            case Linear():
                pending = joined(pending, operator, value)
            case _:
                layers.append(pending)
                activations.append(operator)
                pending = (identity_map(node_size(node)), None)
    return [*layers, pending], activations


def node_size(node: Node) -> int:
    return int(np.prod(node.shape, dtype=np.int64))


def straight_line(
    network: Network, also: tuple[type, ...] = ()
) -> list[tuple[int, Node]]:
    """The nodes from the input to the output, each with one operand; NotInClass otherwise.

    also: operators that are links beside affine maps, selections and elementwise activations.
    """
    first = len(network.inputs)
    line: list[tuple[int, Node]] = []
    value = network.outputs[0]
    while value >= first:
        node = network.nodes[value - first]
        line.append((value, node))
        if not node.operands:
            raise NotInClass(f"value {value} is a constant, the output does not follow a chain "
                             f"from the input; {COLLAPSE}")
        value = node.operands[0]
    for value, node in reversed(line):
        check_link(value, node, also)
    return line[::-1]


def check_link(value: int, node: Node, also: tuple[type, ...]) -> None:
    """Whether one node can be a link of a chain."""
    kind = type(node.operator).__name__
    name = f"{kind} ({node.operator.name})" if isinstance(node.operator, Opaque) else kind
    if isinstance(node.operator, Linear | Concat) and len(set(node.operands)) > 1:
        raise NotInClass(
            f"not a chain: value {value} ({name}) joins {len(set(node.operands))} branches; "
            "--by layered_to_feed_forward carries them along"
        )
    if isinstance(node.operator, Linear | Concat) and len(node.operands) > 1:
        raise NotInClass(f"not a chain as written: value {value} ({name}) uses one operand "
                         f"{len(node.operands)} times; {COLLAPSE}")
    if isinstance(node.operator, (Linear, Select, Concat, *also)):
        return
    if isinstance(node.operator, BatchNormalization):
        raise NotInClass(f"not a chain as written: value {value} is a {name}; {COLLAPSE}")
    if not is_activation(node.operator):
        hint = "; --by layered_to_feed_forward rewrites it" \
            if isinstance(node.operator, PIECEWISE_LINEAR) else ""
        raise NotInClass(f"value {value} is a {name}, which is neither an affine map nor an "
                         f"elementwise activation{hint}")


def joined(pending: Layer, operator: Linear, value: int) -> Layer:
    """The affine map so far followed by one more, where no weight has to be touched."""
    (part,) = operator.maps
    sofar, bias = pending
    if is_identity(part):
        if is_zero(operator.bias):
            return pending
        if is_zero(bias):
            return sofar, operator.bias
        raise NotInClass(f"two biases in a row at value {value}; {COLLAPSE}")
    if not is_zero(bias):
        what = "a bias" if is_identity(sofar) else "an affine map"
        raise NotInClass(f"not a chain as written: {what} stands before the affine map of value "
                         f"{value} with no activation between; {COLLAPSE}")
    if is_identity(sofar):
        return part, operator.bias
    if isinstance(sofar, Gather) and sofar.scale is None:
        composed = on_selection(part, sofar)
        if composed is not None:
            return composed, operator.bias
    raise NotInClass(f"not a chain as written: two affine maps in a row at value {value}, their "
                     f"product is another set of weights; {COLLAPSE}")


def on_selection(part: LinearMap, inner: Gather) -> LinearMap | None:
    """part(inner(x)) with the weights of `part` moved; None where entries would add up."""
    held = inner.indices >= 0
    used = inner.indices[held]
    if len(np.unique(used)) != len(used):
        return None
    match part:
        case Gather():
            indices = np.where(part.indices >= 0, inner.indices[part.indices], -1)
            return Gather(indices=indices, scale=part.scale, inputs=inner.inputs)
        case Dense():
            return Dense(scattered(part.weight, held, used, inner.inputs))
        case Csr():
            return moved_columns(part, inner)
        case Conv():
            return None


def scattered(weight: Constant, held: np.ndarray, used: np.ndarray, width: int) -> Constant:
    """The columns that are held, at their new places among `width` columns."""
    source = weight.numerator if isinstance(weight, Exact) else weight
    wide = np.zeros((source.shape[0], width), dtype=source.dtype)
    wide[:, used] = source[:, held]
    return Exact(wide, weight.denominator) if isinstance(weight, Exact) else wide


def moved_columns(part: Csr, inner: Gather) -> Csr:
    """Compressed rows with renamed columns, sorted again."""
    columns = inner.indices[part.columns]
    rows = np.repeat(np.arange(part.outputs), np.diff(part.starts))
    keep = np.flatnonzero(columns >= 0)
    order = keep[np.lexsort((columns[keep], rows[keep]))]
    counts = np.bincount(rows[order], minlength=part.outputs)
    return Csr(
        starts=np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
        columns=columns[order], values=part.values[order], inputs=inner.inputs,
    )


def selected(pending: Layer, indices: np.ndarray) -> Layer:
    """Some rows of an affine map."""
    part, bias = pending
    if len(indices) == part.outputs and np.array_equal(indices, np.arange(len(indices))):
        return pending
    chosen = None if bias is None else bias.reshape(-1)[indices]
    return selected_rows(part, indices), chosen


def selected_rows(part: LinearMap, indices: np.ndarray) -> LinearMap:
    """The rows with these numbers."""
    match part:
        case Dense():
            return Dense(part.weight[indices])
        case Gather():
            scale = None if part.scale is None else part.scale[indices]
            return Gather(indices=part.indices[indices], scale=scale, inputs=part.inputs)
        case Csr():
            counts = np.diff(part.starts)[indices]
            starts = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
            source = np.arange(starts[-1]) - np.repeat(starts[:-1] - part.starts[indices], counts)
            return Csr(
                starts=starts, columns=part.columns[source], values=part.values[source],
                inputs=part.inputs,
            )
        case Conv():
            raise NotInClass("the outputs of a convolution are reordered before the next layer; "
                             "--by layered_to_feed_forward writes the convolution as a matrix")
