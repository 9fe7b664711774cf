# SPDX-License-Identifier: Apache-2.0
"""Units of a ReLU chain may be scaled and sorted: relu(c z) = c relu(z) for c > 0.

    A relu(W x + b) = (A S P^T) relu(P S^-1 (W x + b)),   S = diag(s), s > 0, P a permutation

Layer by layer from the input: the row [w | b] of a unit is divided by the positive rational that
makes it a primitive integer row (greatest common divisor 1), and written as that row over the power
of two that brings its largest entry into [1/2, 1). The factor goes to the next layer's columns; the
rows are sorted. Case 1: two rows that are now equal are one unit, their columns add up (otherwise
the order would not be unique). Case 2: a zero row stays as it is.

Two chains that differ by a permutation and positive scales of their hidden units get the same form,
bit for bit; equal forms prove equal functions, unequal ones prove nothing.

Reference: Phuong and Lampert, "Functional vs. parametric equivalence of ReLU networks" (2020).
"""

from __future__ import annotations

import numpy as np

from isoform.converters.converter import Converter, NoOptions, Promise, Refusal, Rewritten
from isoform.forms.feed_forward import FeedForward
from isoform.network.affine_rows import AffineRows, product
from isoform.network.domain import Domain
from isoform.network.primitive_rows import (
    Key,
    bounded_size,
    layers_of_rows,
    primitive_rows,
    rows_of_keys,
    rows_of_layers,
)
from isoform.network.size import AtMost, Prediction
from isoform.numerics.exact import integers
from isoform.numerics.sparse import ExactSparse


def requires(form: FeedForward, on: Domain, options: NoOptions) -> Refusal | None:
    """ReLU only."""
    if form.is_relu:
        return None
    return Refusal("positive scales move across a ReLU, and the network has another activation",
                   "write it as a ReLU chain first (layered_to_feed_forward)")


def predict(form: FeedForward, on: Domain, options: NoOptions) -> Prediction:
    """No unit and no entry is added."""
    return AtMost(bounded_size(form.layers, form.widths[1:-1]))


def exponent(key: Key) -> int:
    """The power of two that brings the largest entry of a primitive row into [1/2, 1)."""
    return max(abs(value) for value in (*key[1], key[2])).bit_length()


def canonical_layer(rows: AffineRows) -> tuple[AffineRows, ExactSparse]:
    """Sorted canonical rows, and the matrix that gives the old units from the new ones."""
    found = primitive_rows(rows)
    order = sorted(set(found.keys))
    place = {key: i for i, key in enumerate(order)}
    exponents = [exponent(key) for key in order]
    factors = [
        factor << exponents[place[key]]
        for key, factor in zip(found.keys, found.factors.numerator.tolist(), strict=True)
    ]
    columns = np.array([place[key] for key in found.keys], dtype=np.int64)
    back = ExactSparse(
        (len(factors), len(order)), np.arange(len(factors) + 1), columns,
        integers(factors, (len(factors),)), found.factors.denominator,
    )
    return rows_of_keys(order, exponents, rows.matrix.shape[1]), back


def rewrite(form: FeedForward, on: Domain, options: NoOptions) -> Rewritten:
    """From the input to the output."""
    chain = rows_of_layers(form.layers)
    for i in range(len(chain) - 1):
        chain[i], back = canonical_layer(chain[i])
        outer = chain[i + 1]
        chain[i + 1] = AffineRows(product(outer.matrix, back).reduced(), outer.bias)
    result = FeedForward(layers_of_rows(chain), form.activations)
    joined = sum(form.widths[1:-1]) - sum(result.widths[1:-1])
    return Rewritten(result, (f"{joined} units were parallel to others",) if joined else ())


CONVERTER = Converter(
    name="canonicalise",
    source=FeedForward,
    target=FeedForward,
    promise=Promise.EVERYWHERE,
    summary="Hidden units scaled to primitive rows and sorted give the same function everywhere.",
    reference="Phuong and Lampert, ICLR 2020",
    predict=predict,
    requires=requires,
    rewrite=rewrite,
)
