# SPDX-License-Identifier: Apache-2.0
"""How far evaluation in floating point can be from the reals, for one network on a bounded domain.

The graph as written is the network's own nodes. Every row of a Linear node, Sigma_j w_j x_j + b, is
evaluated with one rounded product a stored weight and rounded additions in any order and grouping,
with or without fused multiply-add; Relu, Select and Concat copy numbers. All results are rounded to
nearest in the type of the claim (or in a wider one, if they are not narrowed again); results and
operands below the smallest normal number may keep their digits (gradual underflow) or count as zero
(flushing), each one as it likes.

Sums, products: fl(a o b) = (a o b)(1 + d) + t with |d| <= u, |t| <= tiny (Higham, Accuracy and
Stability of Numerical Algorithms, section 2.2 and lemma 3.1). Each of n products and the bias goes
through at most r roundings, so the factors stay within 1 +- gamma_r, gamma_r = r u / (1 - r u).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from isoform.certificate.basis import GRID, Basis, Range, backward_range, grid_down, grid_up
from isoform.certificate.codes import Asked, Code, Codes
from isoform.certificate.float_paths import DEAD, OPEN, PASSED, Fresh, carried_to_outputs
from isoform.certificate.sweep import run
from isoform.certificate.wellformed import work
from isoform.errors import CertificateRejected, Refused
from isoform.network.claim import Arithmetic
from isoform.network.domain import Box, Domain, FiniteSet, Union, hull
from isoform.network.linear_map import Constant, exact
from isoform.network.network import Network, Node
from isoform.network.operators import Concat, Linear, Opaque, Relu, Select
from isoform.numerics.exact import Exact, as_array, integers
from isoform.numerics.sparse import ExactSparse

MOST_BACKWARD = 40_000  # weights and entries up to which ranges are refined


@dataclass(frozen=True, slots=True)
class FloatType:
    """precision p: u = 2^-p. smallest: exponent of the smallest normal number, `tiny`. largest: no
    result may reach 2^largest."""

    name: str
    dtype: Any
    precision: int
    smallest: int
    largest: int

    def tiny_steps(self, count: int) -> int:
        """`count` times the smallest normal number in units of 2^-GRID, rounded up."""
        return -((-count) >> (-self.smallest - GRID))


TYPES = {
    Arithmetic.FLOAT32: FloatType("float32", np.float32, 24, -126, 127),
    Arithmetic.FLOAT64: FloatType("float64", np.float64, 53, -1022, 1023),
}


@dataclass(frozen=True, slots=True, eq=False)
class Bounds:
    """Of one value: low <= h <= high over the reals, and |computed - h| <= error, of which `fresh`
    is what the value's own node adds; integers in units of 2^-GRID. slope: of a relu, how it
    passes errors on."""

    low: np.ndarray
    high: np.ndarray
    error: np.ndarray
    fresh: Fresh

    def take(self, which: np.ndarray) -> Bounds:
        error = self.error[which]
        return Bounds(self.low[which], self.high[which], error, Fresh(full(len(which), 0)))

    def within(self, known: Range | None) -> Bounds:
        """The same value, in another range of the real values too."""
        if known is None:
            return self
        low = np.where(known.open_low, self.low, np.maximum(self.low, known.low))
        high = np.where(known.open_high, self.high, np.minimum(self.high, known.high))
        return Bounds(as_array(low), as_array(high), self.error, self.fresh)


def float_error(network: Network, domain: Domain, arithmetic: Arithmetic) -> Exact:
    """E, (m,): at every point of the (bound) domain whose inputs are numbers of the type, every
    evaluation described above gives |computed_i - f_i(x)| <= E_i.

    network: primitive, of Linear, Relu, Select and Concat nodes with constants of the type. Where a
    file chooses the largest of numbers exactly (Max, MaxPool, Clip, Abs), its primitive form is
    b + relu(a - b) or the like; the bound of that form is at least the larger error of a and b, so
    it holds for the exact choice too.
    Raises Refused for other operators or constants, a domain without bounds, and where a sum
    could overflow.
    """
    kind = TYPES[arithmetic]
    box = hull(domain)
    if box is None:
        raise Refused("float errors have no bound on a domain without bounds; give a box")
    if not has_number_of(domain, kind):
        raise Refused(f"no point of the domain is made of {kind.name} numbers")
    check_operators(network, kind)
    return error_on(network, box, kind)


def error_on(network: Network, box: Box, kind: FloatType) -> Exact:
    """E on a box of dimension n, for a network whose operators were checked."""
    known = ranges_before_relu(network, box)
    tiny = full(network.dimension, kind.tiny_steps(1))
    values = [Bounds(grid_down(box.low), grid_up(box.high), tiny, Fresh(tiny))]
    check_overflow(magnitude(values[0]), kind, "an input")
    for number, node in network.items():
        operands = [values[operand] for operand in node.operands]
        try:
            values.append(after(node, operands, kind).within(known.get(number)))
        except Refused as refusal:
            raise Refused(f"value {number}: {refusal}") from None
    error = values[network.outputs[0]].error
    sharper = carried_to_outputs(network, [value.fresh for value in values])
    if sharper is not None:
        error = as_array(np.minimum(error, sharper))
    return Exact(error, 1 << GRID)


def check_operators(network: Network, kind: FloatType) -> None:
    """Refused where the network holds an operator or a constant that no bound is known of."""
    for number, node in network.items():
        operator = node.operator
        if not isinstance(operator, Linear | Relu | Select | Concat):
            raise Refused(
                f"value {number}: no rounding error is known of {type(operator).__name__}"
                + (f" {operator.name}" if isinstance(operator, Opaque) else "")
                + "; float claims take sums of products, relu, and choices of entries"
            )
        if isinstance(operator, Linear):
            constants = [c for part in operator.maps for c in part.constants.values()]
            if not all(fits(c, kind) for c in (*constants, operator.bias) if c is not None):
                raise Refused(
                    f"value {number}: a constant is no {kind.name} number, so no evaluation in "
                    f"{kind.name} uses it as it is"
                )


def fits(constant: Constant, kind: FloatType) -> bool:
    """Whether all numbers are of the type (index arrays hold none)."""
    if isinstance(constant, Exact):
        return constant.is_representable(kind.dtype)
    if constant.dtype.kind in "iu":
        return True
    with np.errstate(over="ignore"):
        return np.array_equal(constant.astype(kind.dtype).astype(np.float64), constant)


def ranges_before_relu(network: Network, box: Box) -> dict[int, Range]:
    """Ranges of the operands of relu nodes over the reals by backward substitution, by value
    number; none for large networks, where that takes too long."""
    if work(network) > MOST_BACKWARD:
        return {}
    basis = Basis.on(box, network.dimension)
    operands = iter([node.operands[0] for node in network.nodes if isinstance(node.operator, Relu)])
    found: dict[int, Range] = {}

    def decide(asked: Asked) -> Codes:
        known = backward_range(asked.value.rows.widened(basis.width), basis)
        found[next(operands)] = known
        code = np.zeros(len(known.low), dtype=np.uint8)
        code[(known.low >= 0).astype(bool) & ~known.open_low] = Code.LINEAR
        code[(known.high <= 0).astype(bool) & ~known.open_high] = Code.DEAD
        return replace(Codes.all_new(0, backward=True), code=code)

    with suppress(CertificateRejected):  # rows that become too long: the ranges so far still hold
        run(network, basis, decide)
    return found


def has_number_of(domain: Domain, kind: FloatType) -> bool:
    """Whether the type has a point of a box or finite set; of other domains it is taken to be so
    (without such a point a claim says nothing)."""
    match domain:
        case Box():
            near = domain.low.to_float(kind.dtype)
            below = (Exact.of(np.nan_to_num(near)) - domain.low).sign() < 0
            near = np.where(below, np.nextafter(near, kind.dtype(np.inf)), near)
            if not np.all(np.isfinite(near)):
                return False
            return bool(np.all((domain.high - Exact.of(near)).sign() >= 0))
        case FiniteSet(points):
            return any(points[i].is_representable(kind.dtype) for i in range(len(points)))
        case Union(parts):
            return any(has_number_of(part, kind) for part in parts)
        case _:
            return True


def after(node: Node, operands: list[Bounds], kind: FloatType) -> Bounds:
    """Bounds of a node's value from those of its operands."""
    match node.operator:
        case Linear():
            inputs = [operand == 0 for operand in node.operands]
            return linear(node.operator, operands, inputs, node.shape[0], kind)
        case Select(indices):
            return operands[0].take(indices)
        case Concat():
            error = np.concatenate([part.error for part in operands])
            return Bounds(
                np.concatenate([part.low for part in operands]),
                np.concatenate([part.high for part in operands]),
                error, Fresh(full(len(error), 0)),
            )
        case _:
            return rectified(operands[0], kind)


def rectified(value: Bounds, kind: FloatType) -> Bounds:
    """max(z, 0) is exact, |relu(a) - relu(b)| <= |a - b|. Where z <= high, both relu(z) and the
    computed one lie in [0, max(0, high + error)], so they are no farther apart than that."""
    ceiling = np.maximum(value.high + value.error, 0)
    tiny = full(len(ceiling), kind.tiny_steps(1))
    slope = np.where(
        ceiling == 0, DEAD, np.where(value.low - value.error >= 0, PASSED, OPEN)
    ).astype(np.int8)
    return Bounds(
        as_array(np.maximum(value.low, 0)), as_array(np.maximum(value.high, 0)),
        as_array(np.minimum(value.error + tiny, ceiling)), Fresh(tiny, slope),
    )


def linear(
    operator: Linear, operands: list[Bounds], inputs: list[bool], size: int, kind: FloatType
) -> Bounds:
    """E_z = |W| E_h + gamma_r (|W| (H + E_h) + |b|) + (1 + gamma_r) k tiny, H >= |h| on the domain.

    n stored weights and a bias are t terms, with at most t - 1 additions; r = t, or t - 1 where all
    weights are +-1, whose products are exact. k = 2 t counts every product and every addition that
    may flush. A weight below the smallest normal number may count as zero: it is less than tiny,
    so that costs at most tiny (H + E_h). gamma_r <= 1 as r u <= 1/2 is asked for.
    """
    bias = Exact.zeros((size,)) if operator.bias is None else exact(operator.bias)
    low, high = grid_down(bias), grid_up(bias)
    carried, own, sizes, largest = full(size, 0), full(size, 0), grid_up(bias.abs()), 0
    terms = (bias.numerator != 0).astype(np.int64)
    rounded = np.zeros(size, dtype=np.int64)
    for part, value, is_input in zip(operator.maps, operands, inputs, strict=True):
        matrix, reach = part.sparse(), magnitude(value)
        middle, width = value.low + value.high, value.high - value.low
        centre = matrix.times(Exact(as_array(middle))).numerator
        sums = absolute(matrix).times(Exact(np.stack([value.error, reach, width], axis=1)))
        spread, twice = sums.numerator[:, 2], matrix.denominator * 2
        low = low + (centre - spread) // twice
        high = high - (-(centre + spread)) // twice
        sums_up = -((-sums.numerator[:, :2]) // matrix.denominator)
        carried, sizes = carried + sums_up[:, 0], sizes + sums_up[:, 1]
        own = own + sums_up[:, 0] if is_input else own
        largest = max(largest, int(reach.max()))
        terms = terms + np.diff(matrix.starts)
        unit = np.abs(matrix.data) == matrix.denominator
        np.add.at(rounded, matrix.row_numbers()[~unit.astype(bool)], 1)
    count = int(terms.max())
    if 2 * count > 1 << kind.precision:
        raise Refused(f"sums of {count:,} terms are too long for {kind.name}")
    # A mean may be summed before it is divided: no sum of the operands themselves overflows either.
    check_overflow(sizes + largest * (count + 1), kind, "a sum")
    roundings = (np.maximum(terms - 1, 0) + (rounded > 0)).astype(object)
    relative = -((-sizes * roundings) // ((1 << kind.precision) - roundings))
    tiny = kind.tiny_steps(4 * count + 1 + count * (1 + (largest >> GRID)))
    fresh = Fresh(as_array(own + relative + tiny))
    return Bounds(as_array(low), as_array(high), as_array(carried + relative + tiny), fresh)


def absolute(matrix: ExactSparse) -> ExactSparse:
    return ExactSparse(
        matrix.shape, matrix.starts, matrix.columns, np.abs(matrix.data), matrix.denominator
    )


def magnitude(value: Bounds) -> np.ndarray:
    """Bounds of |computed|: H + E."""
    return as_array(np.maximum(np.abs(value.low), np.abs(value.high)) + value.error)


def full(n: int, number: int) -> np.ndarray:
    return integers([number] * n, (n,))


def check_overflow(sizes: np.ndarray, kind: FloatType, what: str) -> None:
    """With |W| (H + E) + |b| < 2^(largest - 1), all partial sums stay below 2^largest, as
    1 + gamma <= 2."""
    if int(sizes.max()) >= 1 << (GRID + kind.largest - 1):
        raise Refused(f"{what} may overflow in {kind.name}; give a smaller domain")
