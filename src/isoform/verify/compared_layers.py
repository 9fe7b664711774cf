# SPDX-License-Identifier: Apache-2.0
"""The layers that differential bounds compare: as written, or what an exact sweep leaves of them.

A deep and narrow copy carries inputs and sums through its layers. An exact sweep sees through
carries, so that units come to lie at their own depth, beside those of a shallow source.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isoform.certificate.codes import Codes
from isoform.certificate.swept_layers import layers_of
from isoform.errors import CertificateRejected
from isoform.network.domain import Box
from isoform.network.network import Network
from isoform.network.unit_layers import UnitLayers, unit_layers
from isoform.verify.clock import FOREVER, OutOfTime
from isoform.verify.identity import sweep

MOST_NUMBERS = 1 << 19  # in the rows of both networks, beyond which no sweep is tried


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """Layers of source and target; codes of the sweep that they went through, if any."""

    source: UnitLayers
    target: UnitLayers
    codes: tuple[Codes, ...] | None = None

    @property
    def depth(self) -> int:
        return len(self.source.layers) + len(self.target.layers)


def compared(
    source: Network, target: Network, box: Box, until: float = FOREVER
) -> Compared:
    """The layers after an exact sweep where that makes them fewer, and is done in time, else as
    they are.

    Raises UnsupportedModel where a network has no layers of units.
    """
    written = Compared(unit_layers(source, curved=True), unit_layers(target, curved=True))
    if not worth_a_sweep(written):
        return written
    try:
        found = sweep(source, target, box, until=until)
        layers = layers_of(found.source, found.basis), layers_of(found.target, found.basis)
    except (CertificateRejected, OutOfTime):
        return written
    left = Compared(*layers, found.codes)
    return left if left.depth < written.depth else written


def worth_a_sweep(written: Compared) -> bool:
    """Networks of rectifiers, one deeper than the other or with values that are only carried."""
    networks = written.source, written.target
    if any(layer.name != "relu" for net in networks for layer in net.layers):
        return False
    if sum(layer.rows.nonzeros for net in networks for layer in net.layers) > MOST_NUMBERS:
        return False
    depths = [len(net.layers) for net in networks]
    return depths[0] != depths[1] or any(carries(net) for net in networks)


def carries(net: UnitLayers) -> bool:
    """Whether some unit is a sum of units before it, none of them taken away."""
    for layer in net.layers:
        rows = layer.rows
        other = (rows.columns > 0) & (rows.columns <= net.dimension)
        against = np.asarray(rows.data < 0, dtype=bool) | other
        plain = np.diff(rows.starts) > 0
        plain[rows.row_numbers()[against]] = False
        if plain.any():
            return True
    return False
