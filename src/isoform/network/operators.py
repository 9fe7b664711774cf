# SPDX-License-Identifier: Apache-2.0
"""The closed set of operators, as frozen dataclasses with their attributes.

Primitive operators are all that bounds, regions, verification and certificates see; they work on
flat vectors. Surface operators keep what a file said (a leaky ReLU, a max pool), work on shaped
tensors without batch axis, and mean what `primitive.py` turns them into.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from isoform.network.linear_map import Constant, LinearMap

if TYPE_CHECKING:
    from isoform.network.network import Network

# --- primitive ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """y = sum of maps_i(x_i) + bias, one operand a map; with no maps, the constant `bias`."""

    maps: tuple[LinearMap, ...]
    bias: Constant | None = None


@dataclass(frozen=True, slots=True)
class Relu:
    """max(z, 0), elementwise."""


@dataclass(frozen=True, slots=True)
class Step:
    """1 where z >= 0, else 0, elementwise. With `Round` the only discontinuous primitive."""


@dataclass(frozen=True, slots=True)
class Round:
    """The nearest integer, ties to the even one, elementwise."""


@dataclass(frozen=True, slots=True)
class Product:
    """Elementwise product of two operands of equal size."""


@dataclass(frozen=True, slots=True)
class Opaque:
    """A named real function that exact arithmetic cannot evaluate.

    Elementwise: exp, log, sqrt, reciprocal, tanh, sigmoid, erf, softplus, sin, cos.
    `softmax`: over consecutive groups of `group` entries; `group` is 0 for the others.
    """

    name: str
    group: int = 0


@dataclass(frozen=True, slots=True)
class Concat:
    """The operands one after the other (primitive: flat; surface: along `axis`)."""

    axis: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Select:
    """y_i = x[indices_i]: slice, gather, reshape and transpose as one index map (int64, flat)."""

    indices: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """`horizon` steps of a cell on a carried state; its meaning is the unrolled cell.

    cell: primitive network (state ++ x_t) -> (state ++ y_t); operands: initial state, then the
    sequence x_1..x_T flat (step major). Result: final state, then y_1..y_T. A horizon of None is
    symbolic: such a network means nothing until `bind_horizon`.
    """

    cell: Network
    state: int
    horizon: int | None


Primitive = Linear | Relu | Step | Round | Product | Opaque | Concat | Select | Scan

# --- surface --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LeakyRelu:
    """z for z >= 0, alpha z below."""

    alpha: float


@dataclass(frozen=True, slots=True, eq=False)
class PRelu:
    """z for z >= 0, slope_i z below; the slope broadcasts to the operand's shape."""

    slope: Constant


@dataclass(frozen=True, slots=True)
class Clip:
    """min(max(z, low), high); None is no bound."""

    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Quantize:
    """min(max(round(z / scale) + zero_point, low), high), round to the nearest integer, ties even.

    scale (positive or negative, not zero) and zero_point (integers, as floats) broadcast to the
    operand's shape; low <= high are integers. The quotient is exact over the reals.
    """

    scale: Constant
    zero_point: Constant
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class HardSigmoid:
    """max(0, min(1, alpha z + beta))."""

    alpha: float
    beta: float


@dataclass(frozen=True, slots=True)
class HardSwish:
    """z * max(0, min(1, z / 6 + 1/2)), with one sixth the rational."""


@dataclass(frozen=True, slots=True)
class Abs:
    """|z|."""


@dataclass(frozen=True, slots=True)
class Maximum:
    """Elementwise largest of the operands (equal shapes)."""


@dataclass(frozen=True, slots=True)
class Minimum:
    """Elementwise smallest of the operands (equal shapes)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxPool:
    """Largest entry of each window of a (channels, *space) tensor; padding never wins."""

    size: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    dilations: tuple[int, ...]
    ceil: bool = False


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class BatchNormalization:
    """scale (x - mean) / sqrt(variance + epsilon) + shift, a channel (axis 0 of the sample) each.

    The reciprocal square root means the nearest dyadic at relative precision 2^-80.
    """

    scale: Constant
    shift: Constant
    mean: Constant
    variance: Constant
    epsilon: float


@dataclass(frozen=True, slots=True)
class ReduceMax:
    """Largest entry along the axes (sample axes, sorted); `keep` keeps them with length 1."""

    axes: tuple[int, ...]
    keep: bool


@dataclass(frozen=True, slots=True)
class Compare:
    """relation in ('>', '>=', '<', '<=', '=='); 1 where it holds, else 0."""

    relation: str


@dataclass(frozen=True, slots=True)
class Where:
    """First operand (0 or 1) chooses the second (1) or the third (0)."""


@dataclass(frozen=True, slots=True)
class ArgExtreme:
    """Index of the largest (or smallest) entry along one axis; ties to the first or last."""

    axis: int
    largest: bool
    keep: bool
    last: bool = False


@dataclass(frozen=True, slots=True)
class MatMul:
    """Matrix product of two computed operands, numpy's broadcasting over leading axes."""


@dataclass(frozen=True, slots=True)
class Divide:
    """Elementwise quotient of two computed operands (equal shapes)."""


@dataclass(frozen=True, slots=True)
class Power:
    """z ** exponent with a constant exponent (elementwise)."""

    exponent: float


@dataclass(frozen=True, slots=True)
class Softmax:
    """exp(z) normalised along one axis of the sample."""

    axis: int


@dataclass(frozen=True, slots=True)
class Gelu:
    """z Phi(z); `tanh` picks the published tanh approximation instead of the error function."""

    tanh: bool = False


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LayerNormalization:
    """Normalise over the trailing axes from `axis`, then scale and shift (constants or None)."""

    axis: int
    scale: Constant | None
    shift: Constant | None
    epsilon: float


Surface = (
    LeakyRelu | PRelu | Clip | Quantize | HardSigmoid | HardSwish | Abs | Maximum | Minimum
    | MaxPool | BatchNormalization | ReduceMax | Compare | Where | ArgExtreme | MatMul | Divide
    | Power | Softmax | Gelu | LayerNormalization
)
Operator = Primitive | Surface
PRIMITIVES = (Linear, Relu, Step, Round, Product, Opaque, Concat, Select, Scan)
OPAQUE_NAMES = (
    "exp", "log", "sqrt", "reciprocal", "tanh", "sigmoid", "erf", "softplus", "sin", "cos",
    "softmax",
)
