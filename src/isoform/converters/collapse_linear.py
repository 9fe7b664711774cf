# SPDX-License-Identifier: Apache-2.0
"""Affine maps with nothing between them equal one affine map, where that stores fewer numbers.

    W2 (W1 x + b1) + b2 = (W2 W1) x + (W2 b1 + b2)

Case 1 (chain n -> k -> m): collapsed iff n m + m <= k (n + m) + k + m by stored numbers; chains of
more than two by a dynamic programme over the split points. Bottlenecks (1024-8-1024) stay.
Case 2 (parallel branches of one value): W x + V x = (W + V) x; low-rank pairs W + s B A.
Case 3 (affine residual): W x + x = (W + I) x.
Case 4 (batch normalisation, scale a channel): into the neighbouring convolution or matrix.
Case 5 (parallel convolutions of one stride): 1x1 and identity are centre taps of the 3x3 kernel.
Case 6 (convolution after convolution): kernels convolve, where nothing is padded between or the
inner one is 1x1.
Case 7: selections, concatenations, identities and zero biases vanish into their neighbours.

A bias before a zero-padded convolution is left alone: the border would need a bias of its own (with
`force` it gets one). `force` collapses also where the product is larger.

Reference: Ding et al., "RepVGG" (2021), section 3.3; Hu et al., "LoRA" (2021), section 4.1; matrix
chain order: Cormen et al., "Introduction to Algorithms", section 14.2.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from isoform.algebra.linear_graph import LinearGraph, from_network, nodes_left, to_network
from isoform.algebra.linear_rules import collapse
from isoform.converters.converter import Converter, Promise, Rewritten, always
from isoform.forms.layered import Layered
from isoform.network.domain import Domain
from isoform.network.size import AtMost, Prediction, Size


@dataclass(frozen=True, slots=True)
class CollapseOptions:
    """force: collapse also where the product stores more numbers than its factors."""

    force: bool = False


def collapsed(form: Layered, options: CollapseOptions) -> tuple[LinearGraph, list[str]]:
    """The graph after all rules, its products only sketched, and what was left alone."""
    graph = from_network(form.network)
    left = collapse(graph, options.force)
    return graph, left


def weight(graph: LinearGraph) -> tuple[int, int]:
    """Nodes, then stored numbers: what every rule makes smaller."""
    return len(graph.nodes), graph.stored()[0]


def predict(form: Layered, on: Domain, options: CollapseOptions) -> Prediction:
    """The cost rule on sketches: the same decisions as the rewriting, nothing multiplied."""
    graph, _ = collapsed(form, options)
    parameters, flops = graph.stored()
    before: Size = form.size
    return AtMost(replace(before, parameters=parameters, nonzeros=parameters, flops=flops,
                          bytes=8 * parameters))


def rewrite(form: Layered, on: Domain, options: CollapseOptions) -> Rewritten:
    """Apply the rules, then multiply out what is left; again where the products, now that their
    zeros are known, are cheaper than their sketches and more of them pay."""
    graph, left = collapsed(form, options)
    result = Layered(to_network(graph))
    while True:
        graph, left = collapsed(result, options)
        if weight(graph) >= weight(from_network(result.network)):
            break
        result = Layered(to_network(graph))
    before, after = form.size, result.size
    gone = nodes_left(form.network) - nodes_left(result.network)
    notes = [f"{gone} affine nodes vanished, {before.parameters:,} parameters became "
             f"{after.parameters:,}"] if gone else ["there is nothing to collapse"]
    return Rewritten(result, (*notes, *left))


CONVERTER = Converter(
    name="collapse_linear",
    source=Layered,
    target=Layered,
    promise=Promise.EVERYWHERE,
    summary="Affine maps in a row or side by side equal one affine map, used where it is smaller.",
    reference="Ding et al., arXiv 2101.03697, section 3.3; Hu et al., arXiv 2106.09685",
    predict=predict,
    requires=always,
    rewrite=rewrite,
    options=CollapseOptions,
)
