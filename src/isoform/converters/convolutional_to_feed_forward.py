# SPDX-License-Identifier: Apache-2.0
"""A convolutional ReLU network equals a chain of sparse affine maps and ReLUs on the domain.

    conv(x) = T x + b,   T the (block) Toeplitz matrix of the kernel

Case 1 (convolution): compressed rows, one a position and output channel, zero padding left out.
Case 2 (batch normalisation): a scale and a shift a channel, multiplied into its neighbour.
Case 3 (max pool): a tree of max(a, b) = b + relu(a - b), whose second terms are carried by
relu(b - lo) + lo with lo a certified lower bound (0 after a ReLU).
Case 4 (leaky ReLU and other piecewise-linear activations): sums of ReLUs, as in
`layered_to_feed_forward`.

Reference: Goodfellow, Bengio and Courville, "Deep Learning" (2016), section 9.1 (convolution as a
Toeplitz matrix); Arora et al., arXiv 1611.01491, lemma D.3 (maximum by ReLUs).
"""

from __future__ import annotations

from isoform.algebra.pieces import CarryPlan, carry_plan, obstacles, pieces_of
from isoform.algebra.relu_layers import predicted_size, relu_layers
from isoform.converters.converter import Converter, NoOptions, Promise, Refusal, Rewritten
from isoform.forms.convolutional import Convolutional
from isoform.forms.feed_forward import FeedForward
from isoform.network.domain import Domain, hull
from isoform.network.operators import Relu
from isoform.network.primitive import to_primitive
from isoform.network.size import AtMost, Prediction


def requires(form: Convolutional, on: Domain, options: NoOptions) -> Refusal | None:
    """Activations that are sums of ReLUs."""
    names = obstacles(to_primitive(form.lower()))
    if not names:
        return None
    return Refusal(f"no ReLU chain equals a network with {', '.join(names)}",
                   "approximate the activation within eps")


def planned(form: Convolutional, on: Domain) -> CarryPlan:
    """Levels, and what each layer carries (the second terms of maxima)."""
    box = hull(on)
    bounds = None if box is None else (box.low, box.high)
    return carry_plan(pieces_of(to_primitive(form.lower())), bounds)


def predict(form: Convolutional, on: Domain, options: NoOptions) -> Prediction:
    """Positions times taps for each convolution, a tree for each pool."""
    return AtMost(predicted_size(planned(form, on)))


def rewrite(form: Convolutional, on: Domain, options: NoOptions) -> Rewritten:
    """Write every map out as a sparse matrix."""
    layers = relu_layers(planned(form, on))
    result = FeedForward(tuple(layers), (Relu(),) * (len(layers) - 1))
    return Rewritten(result, (f"{form.size.parameters:,} shared weights were written out as "
                              f"{result.size.nonzeros:,} non-zeros",))


CONVERTER = Converter(
    name="convolutional_to_feed_forward",
    source=Convolutional,
    target=FeedForward,
    promise=Promise.ON_DOMAIN,
    summary="A convolutional network equals a chain of sparse affine maps and ReLUs.",
    reference="Goodfellow, Bengio and Courville (2016), section 9.1; arXiv 1611.01491, lemma D.3",
    predict=predict,
    requires=requires,
    rewrite=rewrite,
)
