# SPDX-License-Identifier: Apache-2.0
"""Hidden units that repeat others, never matter, or never change are not needed.

    relu(c z) = c relu(z) (c > 0),   relu(-c z) = c relu(z) - c z,   relu(0 x + b) = max(b, 0)

Case 1 (parallel rows): the columns of the next layer add up, a_j + c a_i. So for leaky ReLU and
absolute value; for steps with c = 1; for tanh, erf and sine where r_i = +-r_j; for the sigmoid with
s(-z) = 1 - s(z); for any other activation where the rows are equal.
Case 2 (zero row of a ReLU): max(b, 0) goes into the next bias; b <= 0 is a dead unit.
Case 3 (never on): above a ReLU layer inputs are >= 0, so weights and bias <= 0 give relu = 0.
Case 4 (nobody reads it): a zero column of the next layer.
Case 5 (antiparallel ReLU rows): relu(-c z) = c relu(z) - c z where z is a combination of 1, of
units that are always on (weights and bias >= 0 above a ReLU layer) and of other pairs z_j, -z_j
that stay (z_j = relu(z_j) - relu(-z_j)); only if no more entries are stored. Otherwise the pair
stays.

Repeated from layer to layer until nothing changes; each step drops units, so it ends.

Reference: Sussmann, "Uniqueness of the weights for minimal feedforward nets" (1992), lemma 1;
Serra, Kumar and Ramalingam, "Lossless compression of deep neural networks" (2020).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from isoform.algebra.affine_rows import AffineRows
from isoform.algebra.antiparallel import combinations
from isoform.algebra.primitive_rows import (
    Key,
    bounded_size,
    layers_of_rows,
    negated,
    primitive_rows,
    rows_of_layers,
    through,
)
from isoform.algebra.unit_rows import UnitRows, is_uniform, unit_rows
from isoform.converters.converter import Converter, NoOptions, Promise, Refusal, Rewritten
from isoform.forms.feed_forward import FeedForward
from isoform.network.domain import Domain
from isoform.network.operators import Operator, Relu
from isoform.network.size import AtMost, Prediction
from isoform.numerics.exact import Exact, exact_fractions, integers
from isoform.numerics.sparse import ExactSparse


@dataclass(slots=True)
class Counts:
    """Units that went, by case, and antiparallel pairs that stay."""

    gone: dict[str, int] = field(default_factory=dict)
    pairs: int = 0

    def add(self, case: str | None) -> None:
        if case is not None:
            self.gone[case] = self.gone.get(case, 0) + 1


def requires(form: FeedForward, on: Domain, options: NoOptions) -> Refusal | None:
    """One activation for all units of a layer."""
    if all(is_uniform(operator) for operator in form.activations):
        return None
    return Refusal("units with a slope each (PRelu) have no common rule",
                   "write the network as a ReLU chain first (layered_to_feed_forward)")


def predict(form: FeedForward, on: Domain, options: NoOptions) -> Prediction:
    """No unit and no entry is added."""
    return AtMost(bounded_size(form.lower()))


def rewrite(form: FeedForward, on: Domain, options: NoOptions) -> Rewritten:
    """All cases, to a fixed point."""
    chain = rows_of_layers(form.layers)
    relu = [isinstance(operator, Relu) for operator in form.activations]
    counts = Counts()
    changed = True
    while changed:
        changed = False
        counts.pairs = 0
        for i, operator in enumerate(form.activations):
            above = i > 0 and relu[i - 1]  # what the layer reads is >= 0
            changed |= merge_layer(chain, i, operator, above, counts)
            changed |= relu[i] and merge_pairs(chain, i, above, counts)
    notes = tuple(f"{count} {case} units went" for case, count in sorted(counts.gone.items()))
    result = FeedForward(layers_of_rows(chain), form.activations) if notes else form
    if counts.pairs:
        notes += (f"{counts.pairs} antiparallel pairs stay: the linear term that would replace one "
                  "of each is not available, or not shorter",)
    return Rewritten(result, notes or ("no unit repeats another",))


def constant_case(key: Key, above: bool) -> str | None:
    """Why a ReLU with this row is constant; None where it is not."""
    if not key[0]:
        return "constant"
    if above and key[2] <= 0 and max(key[1]) <= 0:
        return "dead"
    return None


def merge_layer(
    chain: list[AffineRows], i: int, operator: Operator, above: bool, counts: Counts
) -> bool:
    """Cases 1 to 4 on hidden layer i."""
    rows, outer = chain[i], chain[i + 1]
    found = unit_rows(rows, operator)
    read = np.zeros(rows.rows, dtype=bool)
    read[outer.matrix.columns] = True
    first: dict[Key, int] = {}
    source = np.full(rows.rows, -1, dtype=np.int64)  # the unit that stands for this one
    constant = [0] * rows.rows
    cases: list[str | None] = []
    for unit, key in enumerate(found.keys):
        case = constant_case(key, above) if isinstance(operator, Relu) else None
        if not read[unit]:
            case = "unread"
        elif case == "constant":
            constant[unit] = max(rows.bias.numerator[unit], 0)
        elif case is None:
            source[unit] = first.setdefault(key, unit)
            case = "parallel" if source[unit] != unit else None
        cases.append(case)
    kept = sorted(first.values())
    if len(kept) == rows.rows:
        return False
    if not kept:  # a layer keeps one unit, which nobody reads
        cases[0] = None
        if rows.rows == 1:
            return fold_last(chain, i, constant)
        kept = [0]
    for name in cases:
        counts.add(name)
    back = old_from_new(source, kept, found)
    fixed = Exact(integers(constant, (rows.rows,)), rows.bias.denominator)
    chain[i] = rows.take(kept)
    chain[i + 1] = through(outer, AffineRows(back.matrix, back.bias + fixed))
    return True


def fold_last(chain: list[AffineRows], i: int, constant: list[int]) -> bool:
    """The only unit of a layer is constant: the next bias takes it, the column becomes zero."""
    rows, outer = chain[i], chain[i + 1]
    if not outer.matrix.nonzeros:
        return False
    value = Exact(integers(constant, (1,)), rows.bias.denominator)
    chain[i + 1] = AffineRows(ExactSparse.zeros(outer.matrix.shape),
                              (outer.bias + outer.matrix.times(value)).reduced())
    return True


def old_from_new(source: np.ndarray, kept: list[int], found: UnitRows) -> AffineRows:
    """Old units from kept ones. With u_i = f_i s + o_i: u_i = (f_i / f_j) u_j + o_i - (f_i / f_j)
    o_j for the unit j that stands for i; nothing for the units without one."""
    place = np.full(len(source), -1, dtype=np.int64)
    place[kept] = np.arange(len(kept))
    held = np.flatnonzero(source >= 0)
    factors, offsets = found.factors.fractions(), found.offsets.fractions()
    ratios, shifts = [], [Fraction(0)] * len(source)
    for i, j in zip(held.tolist(), source[held].tolist(), strict=True):
        ratios.append(Fraction(1) if i == j else factors[i] / factors[j])
        shifts[i] = Fraction(0) if i == j else offsets[i] - ratios[-1] * offsets[j]
    quotients = exact_fractions(ratios, (len(ratios),))
    matrix = ExactSparse.of_triplets(
        (len(source), len(kept)), held, place[source[held]], quotients.numerator,
        quotients.denominator,
    )
    return AffineRows(matrix, exact_fractions(shifts, (len(source),)))


def merge_pairs(chain: list[AffineRows], i: int, above: bool, counts: Counts) -> bool:
    """Case 5 on hidden layer i: one pair at a time, in order."""
    rows = chain[i]
    found = primitive_rows(rows)
    where = {key: unit for unit, key in enumerate(found.keys)}
    pairs = [(unit, where[negated(key)]) for unit, key in enumerate(found.keys)
             if key[0] and where.get(negated(key), -1) > unit]
    if not pairs:
        return False
    always = [unit for unit, key in enumerate(found.keys)
              if above and key[0] and key[2] >= 0 and min(key[1]) >= 0]
    for pair, combination in combinations(rows, found, always, pairs):
        kept = [unit for unit in range(rows.rows) if unit != pair[1]]
        before = rows.matrix.nonzeros + chain[i + 1].matrix.nonzeros
        trial = list(chain)
        trial[i] = rows.take(kept)
        trial[i + 1] = through(chain[i + 1], with_expression(kept, pair[1], combination))
        if trial[i].matrix.nonzeros + trial[i + 1].matrix.nonzeros <= before:
            chain[:] = trial
            counts.add("antiparallel")
            return True
    counts.pairs += len(pairs)
    return False


def with_expression(kept: list[int], dropped: int, expression: AffineRows) -> AffineRows:
    """Kept units as they are, the dropped one as an affine form of all units."""
    count = len(kept) + 1
    place = np.zeros(count, dtype=np.int64)
    place[kept] = np.arange(len(kept))
    columns, data = expression.matrix.row(0)
    ones = integers([expression.matrix.denominator] * len(kept), (len(kept),))
    back = ExactSparse.of_triplets(
        (count, len(kept)),
        np.concatenate([np.array(kept, dtype=np.int64), np.full(len(columns), dropped)]),
        np.concatenate([place[kept], place[columns]]), np.concatenate([ones, data]),
        expression.matrix.denominator,
    )
    constant = integers([0] * count, (count,))
    constant[dropped] = expression.bias.numerator[0]
    return AffineRows(back, Exact(constant, expression.bias.denominator))


CONVERTER = Converter(
    name="merge_units",
    source=FeedForward,
    target=FeedForward,
    promise=Promise.EVERYWHERE,
    summary="Parallel, constant and unread units can be merged without changing the function.",
    reference="Sussmann, Neural Networks 5 (1992), lemma 1; Serra et al., arXiv 2001.00218",
    predict=predict,
    requires=requires,
    rewrite=rewrite,
)
