# SPDX-License-Identifier: Apache-2.0
"""A ReLU network equals, on a bounded domain, the network without what the domain never uses.

    z <= 0 on D:  relu(z) = 0            z >= 0 on D:  relu(z) = z            z = c:  relu(c)

Case 1 (fixed inputs, low = high): their columns fold into the first bias; the number of inputs
stays. Case 2 (dead units): dropped. Case 3 (constant units): folded into the next bias. Case 4
(units that nothing reads): dropped. Case 5 (always-on units S of a layer, n inputs): the next layer
receives U_S (W_S h + b_S), which is linear; a smaller number r < |S| of *carriers* that always fire
brings the same:
  a. r units of S from which all rows of W_S follow with dyadic coefficients;
  b. the r entries h_j that S reads: relu(h_j - lo_j), lo_j = 0 in deeper layers;
  c. the r rows that arrive at the next layer: relu(U_S W_S h - lo).
The smallest r wins, in this order at a tie, if no more numbers are stored than before, and none
that needs a wider float (unless asked for).
Case 6 (S is the whole layer): the layer disappears, on the same condition.
Repeated until nothing changes. Equal on the domain only; outside nothing is said.

Reference: Serra, Kumar and Ramalingam, "Lossless compression of deep neural networks" (2020).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from isoform.algebra.affine_rows import AffineRows, as_bias, as_constant, as_map
from isoform.algebra.carriers import beside, candidates, columns_at, composed, stored
from isoform.bounds.stable import DEAD, EFFORTS, ON, Stability, stable_units
from isoform.converters.converter import Converter, Promise, Refusal, Rewritten
from isoform.forms.feed_forward import FeedForward, activation_name
from isoform.network.domain import Box, Domain, Polytope, hull
from isoform.network.linear_map import Csr, exact
from isoform.network.operators import Relu
from isoform.network.size import AtMost, Prediction
from isoform.numerics.enclosure import Enclosure
from isoform.numerics.exact import Exact, concatenate
from isoform.numerics.sparse import ExactSparse, stack

ABSORB = ("short", "always", "never")
ROUNDS = 8  # more have not been seen to change anything
PROVABLE = 30_000  # weights up to which the prover takes backward bounds by itself
CARRIER = -1


@dataclass(frozen=True, slots=True)
class SpecialiseOptions:
    """effort: "interval", "backward" or "programme" (which also uses zonotopes and linear
    programmes; a proof may fail where they decide); "auto" is backward for networks of up to
    30,000 weights, whose backward bounds the prover derives again by itself, else interval.
    absorb: whether units that always fire are replaced by fewer, whose weights are products:
    "short" where the new constants need no wider float than the old ones, so that the written file
    stays equal; "always" (a float file rounds the products); "never"."""

    effort: str = "auto"
    absorb: str = "short"


@dataclass(frozen=True, slots=True)
class Layer:
    """One affine map of the chain: its rows, and for hidden layers the number of the layer in the
    source and of each unit there (CARRIER for new ones)."""

    rows: AffineRows
    number: int
    units: np.ndarray

    def only(self, kept: np.ndarray) -> Layer:
        return Layer(self.rows.take(kept), self.number, self.units[kept])


@dataclass(frozen=True, slots=True)
class Decision:
    """A unit of the source that never fires (dead) or always does, by which bounds, and the bound:
    the upper one of a dead unit, the lower one of another."""

    layer: int
    unit: int
    dead: bool
    method: str
    bound: float

    def __str__(self) -> str:
        what, side = ("dead", "upper") if self.dead else ("always on", "lower")
        return (f"unit {self.unit} of hidden layer {self.layer}: {what}, by {self.method}, {side} "
                f"value {self.bound:.6g}")


def bounded(on: Domain) -> Box | Polytope | None:
    """The box or polytope in which bounds are taken: a polytope itself, else the hull."""
    return on if isinstance(on, Polytope) else hull(on)


def requires(form: FeedForward, on: Domain, options: SpecialiseOptions) -> Refusal | None:
    """Only ReLU activations, a bounded domain, and an effort that exists."""
    if hull(on) is None:
        return Refusal("the domain has no bounds, so every unit may fire on it",
                       "give a bounded one, as in --on box:-1,1")
    for i, operator in enumerate(form.activations):
        if not isinstance(operator, Relu):
            return Refusal(f"hidden layer {i + 1} is {activation_name(operator)}, not ReLU",
                           "--to feed-forward rewrites piecewise linear activations first")
    if options.effort not in ("auto", *EFFORTS):
        return Refusal(f"effort {options.effort!r} is unknown", f"use auto, {', '.join(EFFORTS)}")
    if options.absorb not in ABSORB:
        return Refusal(f"absorb {options.absorb!r} is unknown", f"use {', '.join(ABSORB)}")
    return None


def predict(form: FeedForward, on: Domain, options: SpecialiseOptions) -> Prediction:
    """No layer gains a unit; biases may appear where there were none, and what is left of
    compressed rows may be stored dense where at least half of it is there."""
    weights = sum(
        min(part.outputs * part.inputs, 2 * part.parameters) if isinstance(part, Csr)
        else part.parameters
        for part, _ in form.layers
    )
    biases = sum(part.outputs for part, _ in form.layers)
    return AtMost(replace(
        form.size, parameters=weights + biases, nonzeros=weights + biases, flops=2 * weights,
        bytes=8 * (weights + biases),
    ))


def rewrite(form: FeedForward, on: Domain, options: SpecialiseOptions) -> Rewritten:
    """All cases, until nothing changes."""
    domain = bounded(on)
    assert domain is not None  # `requires`
    box = domain.box if isinstance(domain, Polytope) else domain
    layers = [
        Layer(
            AffineRows(part.sparse(), Exact.zeros(part.outputs) if bias is None else exact(bias)),
            i + 1, np.arange(part.outputs),
        )
        for i, (part, bias) in enumerate(form.layers)
    ]
    layers, notes = fixed_inputs(layers, box)
    effort = options.effort
    if effort == "auto":
        effort = "backward" if form.size.nonzeros <= PROVABLE else "interval"
    decided: dict[tuple[int, int], Decision] = {}
    for _ in range(ROUNDS):
        before = layers
        network = chain_of(layers).lower()
        found = stable_units(network, domain, effort=effort)
        decided = decisions(layers, found) | decided
        layers = one_round(layers, found, box, options)
        if same(before, layers):
            break
    result = chain_of(layers)
    units = sum(form.widths[1:-1]), sum(result.widths[1:-1])
    carriers = sum(int((layer.units == CARRIER).sum()) for layer in layers[:-1])
    dead = sum(each.dead for each in decided.values())
    carried = f" ({carriers:,} new units carry some)" if carriers else ""
    summary = (f"{units[0]:,} units became {units[1]:,}: {dead:,} never fire on the domain, "
               f"{len(decided) - dead:,} always do{carried}")
    listed = [decided[key] for key in sorted(decided)]
    return Rewritten(result, (summary, *notes, *counts(listed)), tuple(map(str, listed)))


def same(first: list[Layer], second: list[Layer]) -> bool:
    """Whether a round changed nothing: every change makes the chain or a layer smaller."""
    sizes = [[(layer.rows.rows, layer.rows.matrix.nonzeros) for layer in chain]
             for chain in (first, second)]
    return sizes[0] == sizes[1]


def chain_of(layers: list[Layer]) -> FeedForward:
    """The form, constants as short as they are."""
    made = tuple((as_map(layer.rows.matrix), as_bias(layer.rows.bias)) for layer in layers)
    return FeedForward(made, (Relu(),) * (len(layers) - 1))


def decisions(layers: list[Layer], found: list[Stability]) -> dict[tuple[int, int], Decision]:
    """The units of the source that are stable, by layer and unit."""
    decided = {}
    for layer, stability in zip(layers, found, strict=False):
        for i in np.flatnonzero(stability.state).tolist():
            if layer.units[i] == CARRIER:
                continue
            dead = bool(stability.state[i] == DEAD)
            unit = int(layer.units[i])
            decided[layer.number, unit] = Decision(
                layer.number, unit, dead, str(stability.method[i]),
                float(stability.high[i] if dead else stability.low[i]),
            )
    return decided


def counts(decided: list[Decision]) -> list[str]:
    """One line a hidden layer: how many units were decided which way, by which bounds."""
    lines = []
    for number in sorted({each.layer for each in decided}):
        here = [each for each in decided if each.layer == number]
        dead = sum(each.dead for each in here)
        methods = Counter(each.method for each in here)
        how = ", ".join(f"{many:,} by {method}" for method, many in sorted(methods.items()))
        lines.append(f"hidden layer {number}: {dead:,} never fire, {len(here) - dead:,} always do "
                     f"({how})")
    return lines


# --- case 1 -----------------------------------------------------------------------------------


def fixed_inputs(layers: list[Layer], box: Box) -> tuple[list[Layer], list[str]]:
    """Columns of inputs with low = high go into the first bias."""
    fixed = (box.high - box.low).sign() == 0
    rows = layers[0].rows
    if not (fixed[rows.matrix.columns]).any():
        return layers, []
    masked = Exact(np.where(fixed, box.low.numerator, 0), box.low.denominator)
    bias = (rows.bias + rows.matrix.times(masked)).reduced()
    matrix = columns_where(rows.matrix, ~fixed)
    first = replace(layers[0], rows=AffineRows(matrix, bias))
    count = int(fixed.sum())
    plural = "s" if count > 1 else ""
    return [first, *layers[1:]], [f"{count} fixed input{plural} went into the first bias"]


def columns_where(matrix: ExactSparse, kept: np.ndarray) -> ExactSparse:
    """The same matrix with zeros in the other columns."""
    hold = kept[matrix.columns]
    return ExactSparse.of_triplets(
        matrix.shape, matrix.row_numbers()[hold], matrix.columns[hold], matrix.data[hold],
        matrix.denominator,
    )


# --- one round ----------------------------------------------------------------------------------


def one_round(
    layers: list[Layer], found: list[Stability], box: Box, options: SpecialiseOptions
) -> list[Layer]:
    """Cases 2 to 6 in every hidden layer, the last one first."""
    layers = list(layers)
    for i in range(len(found) - 1, -1, -1):
        layers[i], layers[i + 1], state = drop(layers[i], layers[i + 1], found[i])
        if options.absorb != "never":
            read = fired(found[i - 1]) if i else Enclosure(box.low, box.high)
            layers[i : i + 2] = absorb(
                layers[i], layers[i + 1], state, read, options.absorb == "short"
            )
    return without_empty(layers)


def fired(found: Stability) -> Enclosure | None:
    """What a hidden layer gives to the next; its least value is taken as zero, a short number."""
    if not np.isfinite(found.high).all():
        return None
    return Enclosure(Exact.zeros(len(found.high)), Exact.of(np.maximum(found.high, 0)))


def drop(layer: Layer, after: Layer, found: Stability) -> tuple[Layer, Layer, np.ndarray]:
    """Cases 2 to 4; also the states of the units that stay."""
    rows, following = layer.rows, after.rows
    used = np.zeros(rows.rows, dtype=bool)
    used[following.matrix.columns] = True
    dead = found.state == DEAD
    constant = np.diff(rows.matrix.starts) == 0
    bias = following.bias
    if (constant & used).any():
        values = rows.bias.relu()
        masked = Exact(np.where(constant, values.numerator, 0), values.denominator)
        bias = (bias + following.matrix.times(masked)).reduced()
    kept = np.flatnonzero(used & ~dead & ~constant)
    shorter = AffineRows(columns_at(following.matrix, kept), bias)
    return layer.only(kept), replace(after, rows=shorter), found.state[kept]


def without_empty(layers: list[Layer]) -> list[Layer]:
    """A hidden layer without units leaves a constant: everything before it goes."""
    empty = [i for i, layer in enumerate(layers[:-1]) if layer.rows.rows == 0]
    if not empty:
        return layers
    after = layers[empty[-1] + 1]
    nothing = ExactSparse.zeros((after.rows.rows, layers[0].rows.matrix.shape[1]))
    constant = replace(after, rows=AffineRows(nothing, after.rows.bias))
    return [constant, *layers[empty[-1] + 2 :]]

# --- cases 5 and 6 --------------------------------------------------------------------------------


def absorb(
    layer: Layer, after: Layer, state: np.ndarray, before: Enclosure | None, short: bool
) -> list[Layer]:
    """The two layers, with fewer units for those that always fire; one layer where all do.

    before: enclosure of what the layer reads, None where it has no bound. short: no constant may
    need a wider float than there was.
    """
    on = np.flatnonzero(state == ON)
    if len(on) == 0 or before is None:
        return [layer, after]
    if len(on) == layer.rows.rows:
        joined = composed(layer.rows, after.rows)
        if no_larger([joined], [layer.rows, after.rows], short):
            return [replace(after, rows=joined)]
    rest = np.flatnonzero(state != ON)
    outer = columns_at(after.rows.matrix, on)
    best, count = [layer, after], len(on)
    for carriers in candidates(layer.rows.take(on), outer, before):
        if carriers.rows.rows >= count:
            continue
        matrix = stack([layer.rows.matrix.take(rest), carriers.rows.matrix])
        bias = concatenate([layer.rows.bias[rest], carriers.rows.bias])
        wide = beside(columns_at(after.rows.matrix, rest), carriers.weight)
        made = AffineRows(matrix, bias)
        following = AffineRows(wide, (after.rows.bias + carriers.bias).reduced())
        if no_larger([made, following], [layer.rows, after.rows], short):
            count = carriers.rows.rows
            new = np.full(count, CARRIER)
            if carriers.kept is not None:
                new = layer.units[on[carriers.kept]]
            units = np.concatenate([layer.units[rest], new])
            best = [Layer(made, layer.number, units), replace(after, rows=following)]
    return best


def no_larger(new: list[AffineRows], old: list[AffineRows], short: bool) -> bool:
    """Whether the new layers store no more weights and no more non-zeros; with `short`, in floats
    no wider than the old ones (exact numbers count as the widest)."""
    fewer = all(a <= b for a, b in zip(stored(new), stored(old), strict=True))
    return fewer and (not short or widest(new) <= widest(old))


def widest(parts: list[AffineRows]) -> int:
    """Bytes of the widest float among the constants, 16 where an exact number fits none."""
    constants = [as_constant(part.bias) for part in parts]
    for part in parts:
        constants += as_map(part.matrix).constants.values()
    kinds = [c for c in constants if isinstance(c, Exact) or c.dtype.kind == "f"]
    return max((16 if isinstance(c, Exact) else c.dtype.itemsize for c in kinds), default=0)


CONVERTER = Converter(
    name="specialise_to_domain",
    source=FeedForward,
    target=FeedForward,
    promise=Promise.ON_DOMAIN,
    summary="A ReLU network equals, on a bounded domain, the network without what it never uses.",
    reference="Serra, Kumar and Ramalingam, arXiv 2001.00218",
    predict=predict,
    requires=requires,
    rewrite=rewrite,
    options=SpecialiseOptions,
)
