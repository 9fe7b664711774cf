# SPDX-License-Identifier: Apache-2.0
"""Activation regions by the plainest loop: an independent check, and the peer to be faster than.

Depth-first splitting over one persistent HiGHS model: a row is added where a cell is split, the
objective is changed for every unit, every solve starts warm from the basis before, and the last
solution decides on which side a unit needs no solve. It shares no code with the searches of
isoform; floats and tolerances only, so it is right for networks whose regions are all wider than
about 1e-7 and says nothing about others: `python benchmarks/regions_oracle.py FILE.npz`.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import highspy
import numpy as np

from isoform.formats.npz.layers import read_npz
from isoform.network.unit_layers import UnitLayers, unit_layers

TOL = 1e-7  # of distances to walls
FEASIBLE = 1e-9  # tolerance of the solver


@dataclass(slots=True)
class Search:
    """One cell at a time: `bits` of the units before `unit`, the rows of its walls in `model`."""

    layers: UnitLayers
    weights: list[np.ndarray]  # (n, 1 + d + earlier units) of every layer
    model: Any
    bits: np.ndarray
    forms: np.ndarray  # (units, 1 + d): what each unit hands on, on this cell
    rows: int = 0
    programs: int = 0
    found: list[np.ndarray] = field(default_factory=list)


def patterns(
    layers: UnitLayers, low: float | np.ndarray = -1.0, high: float | np.ndarray = 1.0,
    seconds: float = float("inf"),
) -> tuple[np.ndarray, int, bool]:
    """Patterns of the regions in a box, packed bits in the order found, the number of linear
    programmes, and whether the search came to its end in the given seconds of the processor."""
    d = layers.dimension
    search = Search(
        layers, [layer.rows.dense().to_float() for layer in layers.layers],
        box_model(np.broadcast_to(low, d), np.broadcast_to(high, d)),
        np.zeros(layers.units, dtype=np.uint8), np.zeros((layers.units, 1 + d)),
    )
    until = time.process_time() + seconds
    complete = True
    layer_of = np.repeat(np.arange(len(layers.layers)), np.diff(layers.starts))
    stack: list[tuple[int, int, int, np.ndarray]] = []
    unit, point = 0, (np.broadcast_to(low, d) + np.broadcast_to(high, d)) / 2
    while complete:
        while unit < layers.units:
            form = form_of(search, int(layer_of[unit]), unit)
            other, opposite = side_of(search, form, point)
            if opposite is not None:  # a split: the other child waits
                stack.append((unit, search.rows, 1 - other, opposite))
                add_wall(search, form, other)
            hand_on(search, int(layer_of[unit]), unit, form, other)
            unit += 1
        search.found.append(np.packbits(search.bits))
        complete = time.process_time() < until
        if not stack:
            break
        unit, rows, bit, point = stack.pop()
        cut_back(search, rows)
        form = form_of(search, int(layer_of[unit]), unit)
        add_wall(search, form, bit)
        hand_on(search, int(layer_of[unit]), unit, form, bit)
        unit += 1
    return np.array(search.found), search.programs, complete


def box_model(low: np.ndarray, high: np.ndarray) -> Any:
    model = highspy.Highs()
    for option, value in (
        ("output_flag", False), ("presolve", "off"), ("solver", "simplex"), ("threads", 1),
        ("primal_feasibility_tolerance", FEASIBLE), ("dual_feasibility_tolerance", FEASIBLE),
    ):
        model.setOptionValue(option, value)
    nothing = np.array([], dtype=np.int32), np.array([])
    for a, b in zip(low, high, strict=True):
        model.addCol(0.0, float(a), float(b), 0, *nothing)
    model.changeObjectiveSense(highspy.ObjSense.kMaximize)
    return model


def form_of(search: Search, layer: int, unit: int) -> np.ndarray:
    """(1 + d): the pre-activation on the current cell."""
    start = search.layers.starts[layer]
    row = search.weights[layer][unit - start]
    d = search.forms.shape[1] - 1
    return row[: 1 + d] + row[1 + d :] @ search.forms[:start]


def hand_on(search: Search, layer: int, unit: int, form: np.ndarray, bit: int) -> None:
    """Store the bit and the unit's output on the cell."""
    search.bits[unit] = bit
    if search.layers.layers[layer].step:
        search.forms[unit] = 0.0
        search.forms[unit, 0] = bit
    else:
        search.forms[unit] = form if bit else 0.0


def side_of(search: Search, form: np.ndarray, point: np.ndarray) -> tuple[int, np.ndarray | None]:
    """The bit at the point (0 for a pre-activation that vanishes throughout), and a point of the
    cell on the other side, if there is one."""
    length = float(np.linalg.norm(form[1:]))
    if length <= 1e-12 * max(1.0, abs(float(form[0]))):
        return int(form[0] > TOL), None
    scaled = form / length
    value = scaled[0] + scaled[1:] @ point
    if abs(value) <= TOL:  # the point decides nothing: look on both sides
        above = farthest(search, scaled)
        below = farthest(search, -scaled)
        if above is None:
            return 0, None
        return 1, below
    bit = int(value > 0)
    return bit, farthest(search, -scaled if bit else scaled)


def farthest(search: Search, form: np.ndarray) -> np.ndarray | None:
    """The point of the cell where the form is largest, if it is positive there."""
    d = len(form) - 1
    search.model.changeColsCost(d, np.arange(d, dtype=np.int32), form[1:])
    search.model.run()
    search.programs += 1
    if search.model.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        raise ArithmeticError(f"HiGHS ended with {search.model.getModelStatus()}")
    point = np.array(search.model.getSolution().col_value)
    return point if form[0] + form[1:] @ point > TOL else None


def add_wall(search: Search, form: np.ndarray, bit: int) -> None:
    d = len(form) - 1
    row = (form if bit else -form) / np.linalg.norm(form[1:])
    columns = np.arange(d, dtype=np.int32)
    search.model.addRow(-float(row[0]), highspy.kHighsInf, d, columns, row[1:])
    search.rows += 1


def cut_back(search: Search, rows: int) -> None:
    gone = np.arange(rows, search.rows, dtype=np.int32)
    if len(gone):
        search.model.deleteRows(len(gone), gone)
    search.rows = rows


def read_layers(path: Path) -> UnitLayers:
    return unit_layers(read_npz(path).network)


def main() -> None:
    for name in sys.argv[1:]:
        layers = read_layers(Path(name))
        started = time.perf_counter()
        found, programs, _ = patterns(layers)
        taken = time.perf_counter() - started
        print(f"{Path(name).stem:<20}{len(found):>10,} regions{programs:>12,} programmes"
              f"{taken:>10.2f} s{len(found) / taken:>12,.0f} regions/s")


if __name__ == "__main__":
    main()
