# SPDX-License-Identifier: Apache-2.0
"""Claims before a last softmax, which follow from ones about its arguments.

p = softmax(a) over one group. Its derivative has the rows p_i (e_i - p), with the sum of absolute
values p_i (1 - p_i) + p_i (1 - p_i) = 2 p_i (1 - p_i) <= 1/2. So |p_i(b) - p_i(a)| <= max_j |b_j -
a_j| / 2 by the mean value theorem along the segment from a to b, and 1/2 is the best constant (two
equal entries). Hence Within(2 eps) of the arguments, with the least eps of each group, proves
Within(eps), and equal arguments give equal results.

Decisions: let p_c >= p_j + m, m >= 0. Then p_j <= (1 - m) / 2, and a_c - a_j = log(p_c / p_j) >=
log(1 + m / p_j) >= log((1 + m) / (1 - m)) >= 2 m. The order of outputs of one group is that of its
arguments. Hence the same decision of the arguments with margin 2 m proves it with margin m.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from isoform.network.claim import Comparison, Equal, SameDecision, Within, tolerances
from isoform.network.network import Network, prune
from isoform.network.operators import Opaque, Select

HALF = Fraction(1, 2)


@dataclass(frozen=True, slots=True)
class Before:
    """The relation of source and target proves the claim; `share` of a bound of their difference
    bounds the difference that the claim is about."""

    source: Network
    target: Network
    relation: Comparison
    share: Fraction


def before_softmax(source: Network, target: Network, relation: Comparison) -> Before:
    """The claim before a last softmax, where both networks end in one over the same groups (for a
    decision: over all outputs; a target without one stays as it is); else the claim as it is."""
    whole = Before(source, target, relation, Fraction(1))
    first, second = arguments(source), arguments(target)
    m = source.output_dimension
    if first is None:
        return whole
    (f, group), (g, other) = first, second or (target, 0)
    match relation:
        case SameDecision(margin) if margin >= 0 and group == m and other in (0, m):
            return Before(f, g, SameDecision(2 * margin), HALF)
        case Equal() if group == other:
            return Before(f, g, relation, HALF)
        case Within() if group == other:
            eps = tolerances(relation, m).fractions()
            least = [2 * min(eps[i - i % group : i - i % group + group]) for i in range(m)]
            return Before(f, g, Within(tuple(least)), HALF)
    return whole


def arguments(network: Network) -> tuple[Network, int] | None:
    """A primitive network without its last softmax, and the size of its groups; None where its
    outputs are not all entries of a softmax, in order."""
    value = network.outputs[0]
    while value != 0:
        node = network.nodes[value - 1]
        match node.operator:
            case Opaque("softmax", group):
                return prune(Network(network.inputs, network.nodes, node.operands)), group
            case Select(indices) if np.array_equal(
                indices, np.arange(network.size_of(node.operands[0]))
            ):
                value = node.operands[0]
            case _:
                return None
    return None
