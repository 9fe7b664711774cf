# SPDX-License-Identifier: Apache-2.0
"""Evidence of kind `rounding`: one network's constants are the nearest floats of another's."""

from __future__ import annotations

import numpy as np

from isoform.errors import CertificateRejected
from isoform.network.linear_map import Constant, exact
from isoform.network.network import Network
from isoform.network.operators import Linear, Operator, Select
from isoform.numerics.exact import Exact
from isoform.numerics.sparse import ExactSparse


def check_rounding(precise: Network, rounded: Network) -> None:
    """The same wiring, and every constant of `rounded` is the float nearest (ties to even) to that
    of `precise`. The structure in which a matrix is stored may differ."""
    same = [(node.operands, node.shape) for node in precise.nodes] == [
        (node.operands, node.shape) for node in rounded.nodes
    ]
    if not same or precise.outputs != rounded.outputs or precise.inputs != rounded.inputs:
        raise CertificateRejected("rounding", "the two networks are wired differently")
    for number, (mine, theirs) in enumerate(zip(precise.nodes, rounded.nodes, strict=True)):
        if not operator_rounds(mine.operator, theirs.operator):
            raise CertificateRejected("rounding", f"node {number} is not the nearest rounding")


def operator_rounds(precise: Operator, rounded: Operator) -> bool:
    if type(precise) is not type(rounded):
        return False
    if isinstance(precise, Select) and isinstance(rounded, Select):
        return np.array_equal(precise.indices, rounded.indices)
    if not isinstance(precise, Linear) or not isinstance(rounded, Linear):
        return precise == rounded
    if len(precise.maps) != len(rounded.maps):
        return False
    for mine, theirs in zip(precise.maps, rounded.maps, strict=True):
        dtype = float_type([c for c in theirs.constants.values() if is_weight(c)])
        if not matrix_rounds(mine.sparse(), theirs.sparse(), dtype):
            return False
    return bias_rounds(precise.bias, rounded.bias)


def is_weight(constant: Constant) -> bool:
    return isinstance(constant, Exact) or constant.dtype.kind == "f"


def float_type(constants: list[Constant]) -> np.dtype | None:
    """The dtype of a map's weights; None where there are none or they are exact."""
    dtypes = {c.dtype for c in constants if isinstance(c, np.ndarray)}
    return dtypes.pop() if len(dtypes) == 1 else None


def matrix_rounds(precise: ExactSparse, rounded: ExactSparse, dtype: np.dtype | None) -> bool:
    if precise.shape != rounded.shape:
        return False
    if dtype is None:
        return precise == rounded
    near = Exact.of(Exact(precise.data, precise.denominator).to_float(dtype))
    expected = ExactSparse.of_triplets(
        precise.shape, precise.row_numbers(), precise.columns, near.numerator, near.denominator
    )
    return expected == rounded


def bias_rounds(precise: Constant | None, rounded: Constant | None) -> bool:
    if precise is None or rounded is None:
        some = precise if precise is not None else rounded
        return some is None or not exact(some).any()
    if isinstance(rounded, Exact):
        return exact(precise) == rounded
    return Exact.of(exact(precise).to_float(rounded.dtype)) == Exact.of(rounded)
