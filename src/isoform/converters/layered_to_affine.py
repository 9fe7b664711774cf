# SPDX-License-Identifier: Apache-2.0
"""A network without non-linear units is one affine map: f(x) = W x + b for all x.

    W = sum over paths of the products of the maps on the path,   b = f(0)

Case 1: a chain of maps is their product. Case 2: branches that add up are the sum of their
products. Case 3: selections and concatenations stack rows. The matrix is stored as a gather, in
compressed rows or dense, whichever is smallest.

Reference: linearity; Baldi and Hornik, "Neural networks and principal component analysis" (1989),
section 2 (a linear chain computes one matrix).
"""

from __future__ import annotations

from isoform.algebra.pieces import carry_plan, obstacles, pieces_of
from isoform.algebra.relu_layers import predicted_size, relu_layers
from isoform.converters.converter import Converter, NoOptions, Promise, Refusal, Rewritten
from isoform.forms.affine import Affine
from isoform.forms.layered import Layered
from isoform.network.domain import Domain
from isoform.network.network import Network
from isoform.network.primitive import to_primitive
from isoform.network.size import AtMost, Prediction


def non_linear(network: Network) -> list[str]:
    """Names of the non-linear operators of a primitive network."""
    names = obstacles(network)
    relus = any(type(node.operator).__name__ == "Relu" for node in network.nodes)
    return [*names, "Relu"] if relus else names


def requires(form: Layered, on: Domain, options: NoOptions) -> Refusal | None:
    """Only linear nodes."""
    names = non_linear(to_primitive(form.network))
    if not names:
        return None
    return Refusal(f"the network is not affine as written: it holds {', '.join(names)}",
                   "choose feed-forward, or specialise to a domain where its units are stable")


def predict(form: Layered, on: Domain, options: NoOptions) -> Prediction:
    """From the structure of the maps."""
    return AtMost(predicted_size(carry_plan(pieces_of(to_primitive(form.network)), None)))


def rewrite(form: Layered, on: Domain, options: NoOptions) -> Rewritten:
    """Multiply out."""
    network = to_primitive(form.network)
    (layer,) = relu_layers(carry_plan(pieces_of(network), None))
    result = Affine(*layer)
    return Rewritten(result, (f"{form.size.parameters:,} stored numbers became "
                              f"{result.size.parameters:,}",))


CONVERTER = Converter(
    name="layered_to_affine",
    source=Layered,
    target=Affine,
    promise=Promise.EVERYWHERE,
    summary="A network without non-linear units equals one affine map everywhere.",
    reference="Baldi and Hornik, Neural Networks 2 (1989), section 2",
    predict=predict,
    requires=requires,
    rewrite=rewrite,
)
