# SPDX-License-Identifier: Apache-2.0
"""Evidence by common regions: the splitting tree of two networks side by side, and for each of its
leaves what closes every set that the claim forbids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from isoform.certificate.arrays import Arrays, fetch_exact, listed, malformed
from isoform.certificate.region_evidence import (
    Stream,
    decode_streams,
    encode_streams,
    fetch,
    typed,
)
from isoform.network.linear_map import Constant
from isoform.numerics.exact import Exact


@dataclass(frozen=True, slots=True, eq=False)
class ClosedChart:
    """The streams of a chart in R^k, that of the whole chart first, and what closes S sets on each
    of their R leaves, in order.

    targets (R, S) uint8: the number, in its set, of the row that fails on the leaf. ids (R, S, k)
    int32: k rows whose multipliers show it, by the ids of the streams (the chart's rows, then the
    walls); after these come the rows of the set, by their number in it.
    """

    streams: tuple[Stream, ...]
    targets: np.ndarray
    ids: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class CommonCells:
    """For every chart of the domain its leaves. eps: for a claim within some eps the bound (m,) of
    the difference of each output that is proved, which may be smaller; else None."""

    charts: tuple[ClosedChart, ...]
    eps: Exact | None = None


def encode_cells(data: CommonCells, arrays: Arrays) -> dict[str, Any]:
    charts = [
        encode_streams(chart.streams, arrays)
        | {"targets": arrays.add(chart.targets), "closing": arrays.add(chart.ids)}
        for chart in data.charts
    ]
    return {"charts": charts, "eps": None if data.eps is None else arrays.add(data.eps)}


def decode_cells(data: dict[str, Any], arrays: list[Constant]) -> CommonCells:
    charts = tuple(decode_chart(record, arrays) for record in listed(data, "charts"))
    eps = data.get("eps")
    return CommonCells(charts, None if eps is None else fetch_exact(arrays, eps))


def decode_chart(record: Any, arrays: list[Constant]) -> ClosedChart:
    if not isinstance(record, dict) or not {"targets", "closing"} <= set(record):
        raise malformed("a chart without what closes its leaves")
    own = {name: number for name, number in record.items() if name not in ("targets", "closing")}
    return ClosedChart(
        decode_streams(own, arrays),
        typed(fetch(arrays, record["targets"]), np.uint8, 2),
        typed(fetch(arrays, record["closing"]), np.int32, 3),
    )
