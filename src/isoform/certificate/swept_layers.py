# SPDX-License-Identifier: Apache-2.0
"""Two networks as layers of the units that an exact sweep leaves.

After a sweep without radii every output is, on the domain, an affine row over the inputs and the
units of the basis, and so is the argument of every unit, over earlier ones. These rows are networks
of their own: carried values, dead and linear units and copies have gone, and a unit's layer is the
length of the longest path to it. On the domain they compute what the networks compute.
"""

from __future__ import annotations

import numpy as np

from isoform.certificate.basis import Basis
from isoform.certificate.codes import Codes, Value, failed
from isoform.certificate.sweep import replayed
from isoform.network.domain import Domain, hull
from isoform.network.network import Network
from isoform.network.unit_layers import UnitLayer, UnitLayers
from isoform.numerics.sparse import ExactSparse


def swept_layers(
    source: Network, target: Network, domain: Domain, codes: tuple[Codes, ...]
) -> tuple[UnitLayers, UnitLayers]:
    """Both networks on the domain, after a sweep with these codes. CertificateRejected where the
    sweep has radii, or units other than rectifiers are left."""
    basis = Basis.on(hull(domain), source.dimension)
    first, second = replayed(codes, source, target, basis)
    return layers_of(first, basis), layers_of(second, basis)


def layers_of(value: Value, basis: Basis) -> UnitLayers:
    """The network of exact rows and of the units that they read."""
    if not value.is_exact:
        raise failed("a sweep with radii leaves no layers")
    d = basis.inputs
    depth = depths(value.rows, basis)
    place = np.arange(basis.width)
    units = np.flatnonzero(depth)
    units = units[np.argsort(depth[units], kind="stable")]
    place[units] = np.arange(1 + d, 1 + d + len(units))
    layers, width = [], 1 + d
    for level in range(1, int(depth.max()) + 1):
        here = units[depth[units] == level]
        rows = basis.arguments(here, "relu")
        layers.append(UnitLayer(moved(rows, place, width)))
        width += len(here)
    return UnitLayers(d, tuple(layers), moved(value.rows, place, width))


def depths(rows: ExactSparse, basis: Basis) -> np.ndarray:
    """For every column the layer of its unit; 0 for the constant, the inputs and what the rows do
    not read, however indirectly."""
    used = np.zeros(basis.width, dtype=bool)
    used[rows.columns] = True
    for block in reversed(basis.blocks):
        wanted = np.flatnonzero(used[block.start : block.stop])
        if len(wanted) and block.kind != "relu":
            raise failed(f"units of kind {block.kind} are left")
        used[block.arguments.take(wanted).columns] = True
    depth = np.zeros(basis.width, dtype=np.int64)
    for block in basis.blocks:
        for i in np.flatnonzero(used[block.start : block.stop]).tolist():
            depth[block.start + i] = 1 + depth[block.arguments.row(i)[0]].max(initial=0)
    return depth


def moved(rows: ExactSparse, place: np.ndarray, width: int) -> ExactSparse:
    """The rows with their columns elsewhere, `width` columns in all."""
    columns = place[rows.columns]
    if len(columns) and columns.max() >= width:
        raise failed("a row that reads a later unit")
    return ExactSparse.of_triplets(
        (rows.shape[0], width), rows.row_numbers(), columns, rows.data, rows.denominator
    ).reduced()
