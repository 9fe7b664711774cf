# SPDX-License-Identifier: Apache-2.0
"""Decisions before a last function that keeps the order of the outputs.

phi strictly increasing: phi(a) > phi(b) iff a > b. So where every output is the same phi of an
entry of one value z, outputs compare as those entries of z do. Softmax over one group is such a
function on the group: exp(a) / S > exp(b) / S iff a > b. So is c z + b for one c > 0 and one b.
"""

from __future__ import annotations

import numpy as np

from isoform.network.network import Builder, Network, Node, prune
from isoform.network.operators import Linear, Opaque, Round, Select

INCREASING = ("exp", "tanh", "sigmoid", "erf", "softplus")
INCREASING_ABOVE_ZERO = ("log", "sqrt")  # defined, and strictly increasing, on numbers > 0
POSITIVE = ("exp", "sigmoid", "softplus", "softmax")  # functions whose values are > 0


def before_monotone_end(network: Network) -> Network:
    """A network with as many outputs, of which y_i > y_j iff that holds of the given one's, at
    every input; the given network where no end is found.

    network: primitive. Taken away, last node first: softmax where all outputs come from one of its
    groups; an elementwise strictly increasing function (a logarithm or root only of numbers that
    are positive by their form); a linear map that gives every output the same positive multiple of
    one entry and the same bias, unless that entry is a rounding. Selections of outputs are kept.
    """
    value = network.outputs[0]
    chosen = np.arange(network.output_dimension, dtype=np.int64)
    found: tuple[int, np.ndarray] | None = None
    curved = found
    while value != 0:
        node = network.nodes[value - 1]
        entries = entries_before(network, node, chosen)
        if entries is None:
            break
        value, chosen = node.operands[0], entries
        if not isinstance(node.operator, Select):
            found = value, chosen
        if isinstance(node.operator, Opaque):
            curved = found
    if value != 0 and isinstance(network.nodes[value - 1].operator, Round):
        found = curved  # integers with their scale compare with floats, bare integers do not
    if found is None:
        return network
    value, chosen = found
    builder = Builder(network.inputs[0])
    builder.nodes = list(network.nodes)
    if not np.array_equal(chosen, np.arange(network.size_of(value))):
        value = builder.add(Select(chosen), (value,), len(chosen))
    return prune(Network(network.inputs, tuple(builder.nodes), (value,)))


def entries_before(network: Network, node: Node, chosen: np.ndarray) -> np.ndarray | None:
    """Entries of the node's operand that compare as the chosen entries of its value do; None where
    the node is no such end."""
    match node.operator:
        case Select(indices):
            return indices[chosen]
        case Opaque("softmax", group):
            return chosen if len(np.unique(chosen // group)) == 1 else None
        case Opaque(name) if name in INCREASING:
            return chosen
        case Opaque(name) if name in INCREASING_ABOVE_ZERO:
            return chosen if is_positive(network, node.operands[0]) else None
        case Linear():
            return uniform_entries(node.operator, chosen)
    return None


def is_positive(network: Network, value: int) -> bool:
    """Whether all entries of a value are > 0 by the form of its node, selections looked through."""
    while value != 0:
        node = network.nodes[value - 1]
        if isinstance(node.operator, Opaque):
            return node.operator.name in POSITIVE
        if not isinstance(node.operator, Select):
            return False
        value = node.operands[0]
    return False


def uniform_entries(operator: Linear, chosen: np.ndarray) -> np.ndarray | None:
    """Columns k_i where row i of the chosen ones is c x[k_i] + b with one c > 0 and one b."""
    if len(operator.maps) != 1:
        return None
    matrix = operator.maps[0].sparse()
    rows = matrix.take(chosen)
    if not np.all(np.diff(rows.starts) == 1):
        return None
    if rows.data[0] <= 0 or not np.all(rows.data == rows.data[0]):
        return None
    if operator.bias is not None:
        bias = operator.bias[chosen]
        held = bias if isinstance(bias, np.ndarray) else bias.numerator
        if not np.all(held == held[0]):
            return None
    return rows.columns
