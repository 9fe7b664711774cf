# SPDX-License-Identifier: Apache-2.0
"""Hidden ReLU units that repeat others, never matter, or never change are not needed.

    relu(c z) = c relu(z) (c > 0),   relu(-c z) = c relu(z) - c z,   relu(0 x + b) = max(b, 0)

Case 1 (parallel rows): the columns of the next layer add up, a_j + c a_i.
Case 2 (zero row): the constant max(b, 0) goes into the next bias; b <= 0 is a dead unit.
Case 3 (never on): above the first hidden layer inputs are >= 0, so weights and bias <= 0 give 0.
Case 4 (nobody reads it): a zero column of the next layer.
Case 5 (antiparallel rows): relu(-c z) = c relu(z) - c z where z is a combination of 1, of units
that are always on (weights and bias >= 0 above the first hidden layer) and of other pairs z_j, -z_j
that stay (z_j = relu(z_j) - relu(-z_j)); only if no more entries are stored. Otherwise the pair
stays.

Repeated from layer to layer until nothing changes; each step drops units, so it ends.

Reference: Sussmann, "Uniqueness of the weights for minimal feedforward nets" (1992), lemma 1;
Serra, Kumar and Ramalingam, "Lossless compression of deep neural networks" (2020).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from isoform.converters.converter import Converter, NoOptions, Promise, Refusal, Rewritten
from isoform.forms.feed_forward import FeedForward
from isoform.network.affine_rows import AffineRows, product
from isoform.network.antiparallel import combinations
from isoform.network.domain import Domain
from isoform.network.primitive_rows import (
    Key,
    bounded_size,
    layers_of_rows,
    negated,
    primitive_rows,
    rows_of_layers,
)
from isoform.network.size import AtMost, Prediction
from isoform.numerics.exact import Exact, exact_fractions, integers
from isoform.numerics.sparse import ExactSparse


@dataclass(slots=True)
class Counts:
    """Units that went, by case, and antiparallel pairs that stay."""

    gone: dict[str, int] = field(default_factory=dict)
    pairs: int = 0

    def add(self, case: str, count: int) -> None:
        if count:
            self.gone[case] = self.gone.get(case, 0) + count


def requires(form: FeedForward, on: Domain, options: NoOptions) -> Refusal | None:
    """ReLU only."""
    if form.is_relu:
        return None
    return Refusal("the rules are those of ReLU units, and the network has another activation",
                   "write it as a ReLU chain first (layered_to_feed_forward)")


def predict(form: FeedForward, on: Domain, options: NoOptions) -> Prediction:
    """No unit and no entry is added."""
    return AtMost(bounded_size(form.layers, form.widths[1:-1]))


def rewrite(form: FeedForward, on: Domain, options: NoOptions) -> Rewritten:
    """All cases, to a fixed point."""
    chain = rows_of_layers(form.layers)
    counts = Counts()
    changed = True
    while changed:
        changed = False
        counts.pairs = 0
        for i in range(len(chain) - 1):
            changed |= merge_layer(chain, i, counts)
            changed |= merge_pairs(chain, i, counts)
    gone = tuple(f"{count} {case} units went" for case, count in sorted(counts.gone.items()))
    if not gone:
        notes: tuple[str, ...] = ("no unit repeats another",)
        result = form
    else:
        notes, result = gone, FeedForward(layers_of_rows(chain), form.activations)
    if counts.pairs:
        notes += (f"{counts.pairs} antiparallel pairs stay: the linear term that would replace one "
                  "of each is not available, or not shorter",)
    return Rewritten(result, notes)


def merge_layer(chain: list[AffineRows], i: int, counts: Counts) -> bool:
    """Cases 1 to 4 on hidden layer i."""
    rows, outer = chain[i], chain[i + 1]
    found = primitive_rows(rows)
    read = np.zeros(rows.rows, dtype=bool)
    read[outer.matrix.columns] = True
    first: dict[Key, int] = {}
    source = np.full(rows.rows, -1, dtype=np.int64)  # the unit that stands for this one
    constant = [0] * rows.rows
    for unit, key in enumerate(found.keys):
        if not read[unit]:
            counts.add("unread", 1)
        elif not key[0]:
            constant[unit] = max(rows.bias.numerator[unit], 0)
            counts.add("constant", 1)
        elif i > 0 and key[2] <= 0 and max(key[1]) <= 0:
            counts.add("dead", 1)
        else:
            source[unit] = first.setdefault(key, unit)
            counts.add("parallel", int(source[unit] != unit))
    kept = sorted(first.values())
    if len(kept) == rows.rows:
        return False
    if not kept:  # a layer keeps one unit, which nobody reads
        uncount(counts, found.keys[0], bool(read[0]))
        if rows.rows == 1:
            return fold_last(chain, i, constant)
        kept = [0]
    replace_units(chain, i, kept, old_from_new(source, kept, found.factors),
                  Exact(integers(constant, (rows.rows,)), rows.bias.denominator))
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


def uncount(counts: Counts, key: Key, read: bool) -> None:
    """The last unit of a layer does not go, so it is not counted."""
    case = "unread" if not read else "constant" if not key[0] else "dead"
    counts.gone[case] -= 1
    if not counts.gone[case]:
        del counts.gone[case]


def old_from_new(source: np.ndarray, kept: list[int], factors: Exact) -> ExactSparse:
    """Old units from kept ones: row i has factors[i] / factors[source[i]] where there is one."""
    place = np.full(len(source), -1, dtype=np.int64)
    place[kept] = np.arange(len(kept))
    held = np.flatnonzero(source >= 0)
    quotients = factor_quotients(factors, held, source[held])
    return ExactSparse.of_triplets(
        (len(source), len(kept)), held, place[source[held]], quotients.numerator,
        quotients.denominator,
    )


def factor_quotients(factors: Exact, above: np.ndarray, below: np.ndarray) -> Exact:
    """factors[above] / factors[below]; ones where both are the same unit."""
    values = factors.fractions()
    listed = [
        values[a] / values[b] if a != b else 1
        for a, b in zip(above.tolist(), below.tolist(), strict=True)
    ]
    return exact_fractions(listed, (len(listed),))


def replace_units(
    chain: list[AffineRows], i: int, kept: list[int], back: ExactSparse, constant: Exact
) -> None:
    """Hidden layer i keeps some units; old = back @ new + constant."""
    outer = chain[i + 1]
    bias = outer.bias
    if constant.any():
        bias = (bias + outer.matrix.times(constant)).reduced()
    chain[i] = chain[i].take(kept)
    chain[i + 1] = AffineRows(product(outer.matrix, back).reduced(), bias)


def merge_pairs(chain: list[AffineRows], i: int, counts: Counts) -> bool:
    """Case 5 on hidden layer i: one pair at a time, in order."""
    rows = chain[i]
    found = primitive_rows(rows)
    where = {key: unit for unit, key in enumerate(found.keys)}
    pairs = [(unit, where[negated(key)]) for unit, key in enumerate(found.keys)
             if key[0] and where.get(negated(key), -1) > unit]
    if not pairs:
        return False
    always = [unit for unit, key in enumerate(found.keys)
              if i > 0 and key[0] and key[2] >= 0 and min(key[1]) >= 0]
    for pair, combination in combinations(rows, found, always, pairs):
        expression = AffineRows(combination.matrix, combination.bias)
        kept = [unit for unit in range(rows.rows) if unit != pair[1]]
        before = rows.matrix.nonzeros + chain[i + 1].matrix.nonzeros
        trial = list(chain)
        replace_units(trial, i, kept, *with_expression(kept, pair[1], expression))
        if trial[i].matrix.nonzeros + trial[i + 1].matrix.nonzeros <= before:
            chain[:] = trial
            counts.add("antiparallel", 1)
            return True
    counts.pairs += len(pairs)
    return False


def with_expression(
    kept: list[int], dropped: int, expression: AffineRows
) -> tuple[ExactSparse, Exact]:
    """(back, constant): kept units as they are, the dropped one as an affine form of all units."""
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
    return back, Exact(constant, expression.bias.denominator)


CONVERTER = Converter(
    name="merge_units",
    source=FeedForward,
    target=FeedForward,
    promise=Promise.EVERYWHERE,
    summary="Parallel, constant and unread ReLU units can be merged without changing the function.",
    reference="Sussmann, Neural Networks 5 (1992), lemma 1; Serra et al., arXiv 2001.00218",
    predict=predict,
    requires=requires,
    rewrite=rewrite,
)
