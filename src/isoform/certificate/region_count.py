# SPDX-License-Identifier: Apache-2.0
"""Whether a network has as many activation regions as a claim says.

A chart's streams are joined at their holes: then its tree covers it, and its leaves are its
activation regions. Over several charts a pattern counts once.
"""

from __future__ import annotations

import numpy as np

from isoform.certificate.arrays import malformed
from isoform.certificate.region_evidence import Regions, Stream
from isoform.certificate.region_tree import check_streams
from isoform.errors import CertificateRejected
from isoform.network.charts import charts
from isoform.network.claim import RegionCount
from isoform.network.domain import Domain, Everywhere
from isoform.network.network import Network
from isoform.network.operators import Linear, Relu, Step
from isoform.network.unit_layers import unit_layers

MOST_WEIGHTS = 1 << 24  # of all values as rows over inputs and units, in all charts
MOST_PRODUCTS = 1 << 34  # to write the network as layers of units


def count_regions(
    data: Regions, source: Network, target: Network, domain: Domain, relation: RegionCount
) -> None:
    """The count follows from the streams, or CertificateRejected."""
    if source.digest != target.digest:
        raise CertificateRejected("regions", "a count is about one network, here are two")
    if relation.kind != "activation":
        raise CertificateRejected("regions", f"no evidence counts {relation.kind!r:.40} regions")
    check_amount(source, 2 * source.dimension + 1 if isinstance(domain, Everywhere) else 1)
    parts = charts(unit_layers(source), domain)
    if len(parts) != len(data.charts):
        raise malformed(f"{len(data.charts)} charts, the domain has {len(parts)}")
    found = []
    for chart, streams in zip(parts, data.charts, strict=True):
        checked = check_streams(chart, streams)
        check_joined(streams, checked.holes, relation.complete)
        found.append(checked.patterns)
    patterns = np.concatenate(found)
    count = len(patterns) if len(found) == 1 else len({row.tobytes() for row in patterns})
    if count != relation.count if relation.complete else count < relation.count:
        said = ("exactly" if relation.complete else "at least") + f" {relation.count:,}"
        raise CertificateRejected("regions", f"{count:,} regions were found, the claim is {said}")


def check_joined(streams: tuple[Stream, ...], holes: tuple[bytes, ...], complete: bool) -> None:
    """Every stream but the first fills one hole; where the count is complete, no hole is open."""
    prefixes = [stream.prefix for stream in streams]
    if prefixes[:1] != [b""]:
        raise malformed("the first stream is not that of the whole chart")
    if len(set(prefixes)) < len(prefixes) or len(set(holes)) < len(holes):
        raise malformed("a node occurs twice")
    if not set(prefixes[1:]) <= set(holes):
        raise malformed("a stream that fills no hole")
    if complete and len(holes) >= len(prefixes):
        raise CertificateRejected("regions", f"{len(holes) - len(prefixes) + 1} holes are open")


def check_amount(network: Network, count: int) -> None:
    """Rows over inputs and units stay within reach, in so many charts, before they are written."""
    sizes = [network.dimension, *(node.shape[0] for node in network.nodes)]
    units = sum(n.shape[0] for n in network.nodes if isinstance(n.operator, Relu | Step))
    width = 1 + network.dimension + units
    products = sum(
        node.shape[0] * sizes[operand] * width
        for node in network.nodes if isinstance(node.operator, Linear) for operand in node.operands
    )
    if count * sum(sizes) * width > MOST_WEIGHTS or count * products > MOST_PRODUCTS:
        raise malformed(f"{units:,} units of {network.dimension:,} inputs are too many to count")
