# SPDX-License-Identifier: Apache-2.0
"""Hidden units may be scaled, flipped and sorted: relu(c z) = c relu(z), tanh(-z) = -tanh(z).

    A s(W x + b) = (A S P^T) s(P S^-1 (W x + b)),   S = diag(s_i), P a permutation

Layer by layer from the input, by the symmetries of the layer's activation:

Case 1 (ReLU, leaky ReLU, absolute value; s_i > 0): the row [w | b] of a unit is divided by the
positive rational that makes it a primitive integer row (greatest common divisor 1), and written as
that row over the power of two that brings its largest entry into [1/2, 1). The factor goes to the
next layer's columns. Case 2 (step): the same, and nothing to pass on. Case 3 (tanh, erf, sine;
s_i = +-1): the first entry that is not zero is made positive. Case 4 (sigmoid): the same with
s(-z) = 1 - s(z), the constant into the next bias. Case 5 (any other): the rows stay.
Then the rows are sorted. Two rows that are now equal are one unit, their columns add up (otherwise
the order would not be unique).

Two chains that differ by a permutation and by these symmetries of their hidden units get the same
form, bit for bit; equal forms prove equal functions, unequal ones prove nothing.

Reference: Phuong and Lampert, "Functional vs. parametric equivalence of ReLU networks" (2020);
Sussmann, "Uniqueness of the weights for minimal feedforward nets" (1992).
"""

from __future__ import annotations

import numpy as np

from isoform.algebra.affine_rows import AffineRows
from isoform.algebra.primitive_rows import (
    Key,
    bounded_size,
    layers_of_rows,
    rows_of_keys,
    rows_of_layers,
    through,
)
from isoform.algebra.unit_rows import is_uniform, unit_rows
from isoform.converters.converter import Converter, NoOptions, Promise, Refusal, Rewritten
from isoform.forms.feed_forward import FeedForward
from isoform.network.domain import Domain
from isoform.network.operators import Operator, Step
from isoform.network.size import AtMost, Prediction
from isoform.numerics.exact import integers
from isoform.numerics.sparse import ExactSparse


def requires(form: FeedForward, on: Domain, options: NoOptions) -> Refusal | None:
    """One activation for all units of a layer."""
    if all(is_uniform(operator) for operator in form.activations):
        return None
    return Refusal("units with a slope each (PRelu) may not change places",
                   "write the network as a ReLU chain first (layered_to_feed_forward)")


def predict(form: FeedForward, on: Domain, options: NoOptions) -> Prediction:
    """No unit and no entry is added."""
    return AtMost(bounded_size(form.lower()))


def exponent(key: Key) -> int:
    """The power of two that brings the largest entry of a primitive row into [1/2, 1)."""
    return max(abs(value) for value in (*key[1], key[2])).bit_length()


def canonical_layer(rows: AffineRows, operator: Operator) -> tuple[AffineRows, AffineRows]:
    """Sorted canonical rows, and the old units as an affine form of the new ones."""
    found = unit_rows(rows, operator)
    order = sorted(set(found.keys))
    place = {key: i for i, key in enumerate(order)}
    columns = np.array([place[key] for key in found.keys], dtype=np.int64)
    exponents = [exponent(key) if found.scaled else 0 for key in order]
    made = rows_of_keys(order, exponents, rows.matrix.shape[1], found.denominator)
    passed = found.factors.numerator
    if not isinstance(operator, Step):  # a step does not feel the scale
        passed = passed * integers((1 << exponents[i] for i in columns.tolist()), passed.shape)
    back = ExactSparse(
        (rows.rows, len(order)), np.arange(rows.rows + 1), columns, passed,
        found.factors.denominator,
    )
    return made, AffineRows(back, found.offsets)


def rewrite(form: FeedForward, on: Domain, options: NoOptions) -> Rewritten:
    """From the input to the output."""
    chain = rows_of_layers(form.layers)
    for i, operator in enumerate(form.activations):
        chain[i], back = canonical_layer(chain[i], operator)
        chain[i + 1] = through(chain[i + 1], back)
    result = FeedForward(layers_of_rows(chain), form.activations)
    joined = sum(form.widths[1:-1]) - sum(result.widths[1:-1])
    return Rewritten(result, (f"{joined} units were equal to others",) if joined else ())


CONVERTER = Converter(
    name="canonicalise",
    source=FeedForward,
    target=FeedForward,
    promise=Promise.EVERYWHERE,
    summary="Hidden units scaled or flipped to canonical rows and sorted give the same function.",
    reference="Phuong and Lampert, ICLR 2020",
    predict=predict,
    requires=requires,
    rewrite=rewrite,
)
