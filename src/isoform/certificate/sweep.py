# SPDX-License-Identifier: Apache-2.0
"""ReLU sweeping: run two networks symbolically over one shared basis of units.

For every non-linear unit, source first, a code says what it is: a new basis unit, dead, linear, or
a positive or negative multiple of an earlier unit. The prover runs this file with codes that it
searches for, the checker with the recorded ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from isoform.certificate.basis import Basis, row_sums
from isoform.certificate.codes import Asked, Codes, Decide, Value, failed, short_enough
from isoform.certificate.staircase import rounded
from isoform.certificate.units import multiplied, opaque, rectified, stepped
from isoform.network.linear_map import exact
from isoform.network.network import Network, Node
from isoform.network.operators import (
    Concat,
    Linear,
    Opaque,
    Product,
    Relu,
    Round,
    Scan,
    Select,
    Step,
)
from isoform.numerics.exact import as_array, integers
from isoform.numerics.sparse import ExactSparse, stack, total


def run(network: Network, basis: Basis, decide: Decide) -> Value:
    """The outputs of a primitive network as rows over the basis (which grows).

    Invariant, by induction over the nodes: |value_i(x) - row_i(x)| <= radius_i for all x of the
    basis's domain, over the reals. Raises CertificateRejected where a code is not admissible.
    """
    n = network.dimension
    start = Value(basis.start.widened(basis.width), integers([0] * n, (n,)))
    return run_from(network, start, basis, decide)


def replayed(
    codes: Sequence[Codes], source: Network, target: Network, basis: Basis
) -> tuple[Value, Value]:
    """Both networks over one basis with recorded codes, no fewer and no more than it takes."""
    recorded = iter(codes)

    def decide(asked: Asked) -> Codes:
        found = next(recorded, None)
        if found is None:
            raise failed("fewer codes than non-linear nodes")
        return found

    first = run(source, basis, decide)
    second = run(target, basis, decide)
    if next(recorded, None) is not None:
        raise failed("more codes than non-linear nodes")
    return first, second


def run_from(network: Network, start: Value, basis: Basis, decide: Decide) -> Value:
    values = [start]
    last_use = {operand: i for i, node in enumerate(network.nodes) for operand in node.operands}
    for i, node in enumerate(network.nodes):
        values.append(applied(node, [values[o] for o in node.operands], basis, decide))
        for operand in node.operands:
            if last_use[operand] == i and operand not in network.outputs:
                values[operand] = values[-1]  # drop what nobody reads any more
    return values[network.outputs[0]]


def applied(node: Node, operands: list[Value], basis: Basis, decide: Decide) -> Value:
    operator = node.operator
    match operator:
        case Linear():
            return linear(operator, operands, node.shape[0], basis)
        case Select():
            value = operands[0]
            return Value(value.rows.take(operator.indices), value.radius[operator.indices])
        case Concat():
            return joined(operands, basis)
        case Relu():
            return rectified(operands[0], basis, decide)
        case Step():
            return stepped(operands[0], basis, decide)
        case Round():
            return rounded(operands[0], basis, decide)
        case Opaque():
            return opaque(operator, operands[0], basis, decide)
        case Product():
            return multiplied(operands[0], operands[1], basis, decide)
        case Scan():
            return unrolled(operator, operands, basis, decide)
        case _:
            raise failed(f"{type(operator).__name__} is not a primitive operator")


def linear(operator: Linear, operands: list[Value], n: int, basis: Basis) -> Value:
    """Rows combine linearly; a radius e of an operand adds sum |w| e, rounded up."""
    parts, radius = [], integers([0] * n, (n,))
    for part, operand in zip(operator.maps, operands, strict=True):
        matrix = part.sparse()
        parts.append((matrix @ operand.rows).widened(basis.width))
        if not operand.is_exact:
            spread = row_sums(matrix, np.abs(matrix.data) * operand.radius[matrix.columns])
            radius = as_array(radius - (-spread) // matrix.denominator)
    if operator.bias is not None:
        bias = exact(operator.bias)
        parts.append(
            ExactSparse.of_triplets(
                (n, basis.width), np.arange(n), np.zeros(n, dtype=np.int64), bias.numerator,
                bias.denominator,
            )
        )
    rows = parts[0] if len(parts) == 1 else total(parts)
    rows = rows.reduced() if rows.denominator.bit_length() > 512 else rows
    return short_enough(Value(rows, radius))


def joined(operands: list[Value], basis: Basis) -> Value:
    rows = stack([operand.rows.widened(basis.width) for operand in operands])
    return Value(rows, np.concatenate([operand.radius for operand in operands]))


def unrolled(operator: Scan, operands: list[Value], basis: Basis, decide: Decide) -> Value:
    """The cell applied `horizon` times."""
    if operator.horizon is None:
        raise failed("a recurrence without a horizon")
    state, sequence = operands
    width = operator.cell.dimension - operator.state
    results = []
    for t in range(operator.horizon):
        at = np.arange(t * width, (t + 1) * width)
        element = Value(sequence.rows.take(at), sequence.radius[at])
        y = run_from(operator.cell, joined([state, element], basis), basis, decide)
        head, tail = np.arange(operator.state), np.arange(operator.state, len(y.radius))
        state = Value(y.rows.take(head), y.radius[head])
        results.append(Value(y.rows.take(tail), y.radius[tail]))
    return joined([state, *results], basis)
