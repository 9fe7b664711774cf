# SPDX-License-Identifier: Apache-2.0
"""A network of affine maps and ReLUs equals one ReLU chain on the domain.

    f(x) = A_T relu(A_{T-1} relu( ... relu(A_0 x))),   T = most ReLUs on any path

The level of a value is the number of ReLUs before it. Hidden layer t holds the ReLUs of level t
and, carried along, the values of lower level that later levels read. With z affine in the layer
below:

Case 1 (a ReLU output r): relu(r) = r, one unit, everywhere.
Case 2 (z >= lo on the domain): z = relu(z - lo) + lo, one unit.
Case 3 (z <= hi on the domain): z = hi - relu(hi - z), one unit.
Case 4 (no bound): z = relu(z) - relu(-z), two units, everywhere.

lo and hi come from exact interval arithmetic on the box around the domain, rounded outward to short
dyadic numbers. Equal rows become one unit; rows without weights become a bias. Leaky ReLU, absolute
value, maximum, clipping and max pooling are sums of ReLUs and need no case of their own:
leaky(z) = relu(z) - a relu(-z), max(a, b) = b + relu(a - b). Of a value and what it is a linear map
of, the smaller is carried.

Reference: Arora, Basu, Mianjy and Mukherjee, "Understanding deep neural networks with rectified
linear units" (2018), appendix D (identity by two ReLUs).
"""

from __future__ import annotations

from dataclasses import dataclass

from isoform.algebra.pieces import CarryPlan, carry_plan, obstacles, pieces_of
from isoform.algebra.relu_layers import largest_shift, predicted_size, relu_layers
from isoform.converters.converter import Converter, Promise, Refusal, Rewritten
from isoform.forms.feed_forward import FeedForward
from isoform.forms.layered import Layered
from isoform.network.domain import Domain, hull
from isoform.network.operators import Relu
from isoform.network.primitive import to_primitive
from isoform.network.size import AtMost, Prediction

REMEDIES = {
    "Product": "bound the error instead: multiplicative networks become ReLU networks within eps",
    "Step": "a step is not continuous; choose a threshold form",
    "Scan": "unroll the recurrence over a fixed horizon first (--horizon T)",
}
OPAQUE_REMEDY = "keep the activation (--option activation=keep) or approximate within eps"


@dataclass(frozen=True, slots=True)
class ChainOptions:
    """two_sided: carry affine values by relu(z) - relu(-z) only (case 4): wider, but equal
    everywhere and without large shifts that cost accuracy when weights are rounded."""

    two_sided: bool = False


def requires(form: Layered, on: Domain, options: ChainOptions) -> Refusal | None:
    """Only affine maps and ReLUs."""
    names = obstacles(to_primitive(form.network))
    if not names:
        return None
    remedies = dict.fromkeys(REMEDIES.get(name, OPAQUE_REMEDY) for name in names)
    return Refusal(f"no ReLU chain equals a network with {', '.join(names)}", "; ".join(remedies))


def planned(form: Layered, on: Domain, options: ChainOptions) -> CarryPlan:
    """Levels, and what each layer carries."""
    box = None if options.two_sided else hull(on)
    bounds = None if box is None else (box.low, box.high)
    return carry_plan(pieces_of(to_primitive(form.network)), bounds)


def predict(form: Layered, on: Domain, options: ChainOptions) -> Prediction:
    """Units of each level and of what is carried; weights from the structure of the maps."""
    return AtMost(predicted_size(planned(form, on, options)))


def rewrite(form: Layered, on: Domain, options: ChainOptions) -> Rewritten:
    """Multiply out the affine pieces between the ReLUs, carrying what is read later."""
    plan = planned(form, on, options)
    layers = relu_layers(plan)
    result = FeedForward(tuple(layers), (Relu(),) * (len(layers) - 1))
    carried = sum(plan.costs[value] for values in plan.carried.values() for value in values)
    planned_units = sum(plan.width(t) for t in plan.units)
    saved = planned_units - sum(result.widths[1:-1])
    notes = [f"{carried} units carry values past a layer"] if carried else []
    shift = largest_shift(plan)
    if shift:
        notes.append(f"carried values are shifted by up to {float(shift):.3g}; two_sided avoids it")
    if saved:
        notes.append(f"{saved} units were equal to others, constant, or never read")
    return Rewritten(result, tuple(notes))


CONVERTER = Converter(
    name="layered_to_feed_forward",
    source=Layered,
    target=FeedForward,
    promise=Promise.ON_DOMAIN,
    summary="A network of affine maps and ReLUs equals one ReLU chain that carries values along.",
    reference="Arora, Basu, Mianjy and Mukherjee, arXiv 1611.01491, appendix D",
    predict=predict,
    requires=requires,
    rewrite=rewrite,
    options=ChainOptions,
)
