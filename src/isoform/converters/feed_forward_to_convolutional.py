# SPDX-License-Identifier: Apache-2.0
"""A feed-forward network is a convolutional one on an image of one pixel.

    (W x + b)_o = sum over c of K[o, c, 0, 0] x[c, 0, 0] + b_o,   K[o, c, 0, 0] = W[o, c]

Case 1 (dense map): the weights are the 1x1 kernel, untouched. Case 2 (compressed rows, gather): the
matrix is written out, zeros included. Elementwise activations act on channels as they did on units.

Reference: Lin, Chen and Yan, "Network in network" (2014), section 3.1.
"""

from __future__ import annotations

from dataclasses import replace

from isoform.algebra.affine_rows import as_constant
from isoform.converters.converter import Converter, NoOptions, Promise, Rewritten, always
from isoform.forms.convolutional import Convolutional
from isoform.forms.feed_forward import FeedForward
from isoform.network.domain import Domain
from isoform.network.linear_map import Conv, Dense, LinearMap
from isoform.network.operators import Linear, Operator, PRelu
from isoform.network.size import AtMost, Prediction, constants_of


def predict(form: FeedForward, on: Domain, options: NoOptions) -> Prediction:
    """Dense kernels of the same shapes."""
    weights = sum(part.inputs * part.outputs for part, _ in form.layers)
    other = sum(bias.size for _, bias in form.layers if bias is not None)
    other += sum(c.size for operator in form.activations for c in constants_of(operator))
    total = weights + other
    return AtMost(replace(form.size, parameters=total, nonzeros=total, flops=2 * weights,
                          bytes=8 * total))


def pixel_conv(part: LinearMap) -> Conv:
    """The matrix as a 1x1 convolution on one pixel."""
    weight = part.weight if isinstance(part, Dense) else as_constant(part.sparse().dense())
    return Conv(
        kernel=weight.reshape(part.outputs, part.inputs, 1, 1), space=(1, 1), strides=(1, 1),
        pads=((0, 0), (0, 0)), dilations=(1, 1),
    )


def on_channels(operator: Operator) -> Operator:
    """The same activation on (channels, 1, 1)."""
    if isinstance(operator, PRelu) and operator.slope.size > 1:
        return PRelu(operator.slope.reshape(-1, 1, 1))
    return operator


def rewrite(form: FeedForward, on: Domain, options: NoOptions) -> Rewritten:
    """One convolution a layer."""
    layers: list[tuple[Operator, tuple[int, ...]]] = []
    for i, (part, bias) in enumerate(form.layers):
        shape = (part.outputs, 1, 1)
        layers.append((Linear((pixel_conv(part),), bias), shape))
        if i < len(form.activations):
            layers.append((on_channels(form.activations[i]), shape))
    return Rewritten(Convolutional((form.widths[0], 1, 1), tuple(layers)))


CONVERTER = Converter(
    name="feed_forward_to_convolutional",
    source=FeedForward,
    target=Convolutional,
    promise=Promise.EVERYWHERE,
    summary="A feed-forward network equals 1x1 convolutions on an image of one pixel everywhere.",
    reference="Lin, Chen and Yan, arXiv 1312.4400, section 3.1",
    predict=predict,
    requires=always,
    rewrite=rewrite,
)
