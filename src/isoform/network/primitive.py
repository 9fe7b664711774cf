# SPDX-License-Identifier: Apache-2.0
"""Surface operators to primitive ones: one rule for each."""

from __future__ import annotations

from isoform.network.network import Network


def to_primitive(network: Network) -> Network:
    """The same function with one flat input, one flat output and primitive operators only."""
    if network.is_primitive:
        return network
    raise ValueError("not yet")
