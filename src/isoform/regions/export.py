# SPDX-License-Identifier: Apache-2.0
"""Regions as files for other programs: NumPy's npz and Parquet, written in chunks.

The points are in the coordinates of the inputs, as the nearest doubles that a product in floats
gives; in a thin region such a point can lie outside. The exact witnesses are the enumeration's.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from isoform.errors import Refused
from isoform.network.charts import Chart
from isoform.network.unit_layers import UnitLayers
from isoform.network.whole_file import write_whole
from isoform.numerics.exact import Exact, shown
from isoform.numerics.sparse import ExactSparse
from isoform.regions.enumeration import Enumeration
from isoform.regions.listing import Regions

Maps = Callable[[np.ndarray], np.ndarray]
ENTRIES = 4_000_000  # floats of the affine maps of one chunk


def export(
    found: Enumeration, path: str | os.PathLike[str], layers: UnitLayers | None = None
) -> None:
    """Write the regions in the order of their patterns; the ending .npz or .parquet chooses.

    layers: the network in its inputs (not in a chart); with it the affine maps are written as well.
    npz: `patterns` (count, ceil(N / 8)) packed bits (numpy.unpackbits(..., axis=1, count=units)),
    `points` (count, d), `maps` (count, m, 1 + d) with the constants first, `units`, `complete`, and
    of the witnesses that need more than a double `fine` (their places) and `fine_points` (rationals
    as text). Parquet: the columns pattern, point, map, fine of the same; `units`, `dimension`,
    `outputs` and `complete` in the metadata of the schema. Raises Refused for another ending and
    without pyarrow.
    """
    ending = Path(path).suffix.lower()
    if ending not in (".npz", ".parquet"):
        raise Refused(f"regions are written as .npz or .parquet, not as {str(path)!r}")
    outputs = 0 if layers is None else layers.outputs.shape[0]
    maps = None if layers is None else affine_maps(layers)
    if ending == ".npz":
        write_whole(path, lambda file: write_npz(found, file, maps, outputs))
    else:
        write_parquet(found, path, maps, outputs)


def pieces(found: Enumeration, outputs: int) -> Iterator[Regions]:
    """Chunks whose affine maps fit in memory."""
    each = (1 + outputs + (found.units if outputs else 0)) * (1 + found.dimension)
    return found.chunks(max(1, min(65_536, ENTRIES // each)))


# --- npz --------------------------------------------------------------------------------------


def write_npz(found: Enumeration, file: IO[bytes], maps: Maps | None, outputs: int) -> None:
    """One pass over the regions an array, so that memory is that of a chunk."""
    d, count = found.dimension, found.count
    arrays: dict[str, tuple[tuple[int, ...], Any, Callable[[Regions], np.ndarray]]] = {
        "patterns": ((count, -(-found.units // 8)), "|u1", lambda part: part.patterns),
        "points": ((count, d), "<f8", lambda part: inputs(found.charts, part)),
    }
    if maps is not None:
        arrays["maps"] = ((count, outputs, 1 + d), "<f8", lambda part: maps(part.patterns))
    places, texts, start = [], [], 0
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as folder:
        for name, (shape, dtype, values) in arrays.items():
            with folder.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array_header_1_0(
                    entry, {"descr": dtype, "fortran_order": False, "shape": shape}
                )
                for part in pieces(found, outputs):
                    entry.write(np.ascontiguousarray(values(part), dtype=dtype).tobytes())
        for part in found.chunks():
            for row, text in fine_inputs(found.charts, part):
                places.append(start + row)
                texts.append(text)
            start += len(part)
        extra = {
            "units": np.array(found.units), "complete": np.array(found.complete),
            "fine": np.array(places, dtype=np.int64),
            "fine_points": np.array(texts, dtype=str).reshape(-1, d),
        }
        for name, array in extra.items():
            with folder.open(f"{name}.npy", "w") as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)


# --- Parquet ----------------------------------------------------------------------------------


def write_parquet(
    found: Enumeration, path: str | os.PathLike[str], maps: Maps | None, outputs: int
) -> None:
    """A row group a chunk."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise Refused(
            "Parquet needs the package pyarrow: pip install 'isoform[parquet]'; or write .npz"
        ) from None
    d, width = found.dimension, -(-found.units // 8)
    columns = [
        ("pattern", pyarrow.binary(width) if width else pyarrow.binary()),
        ("point", pyarrow.list_(pyarrow.float64(), d)),
        ("fine", pyarrow.list_(pyarrow.string())),
    ]
    if maps is not None:
        columns.append(("map", pyarrow.list_(pyarrow.float64(), outputs * (1 + d))))
    facts = {"units": found.units, "dimension": d, "outputs": outputs,
             "complete": str(found.complete).lower()}
    schema = pyarrow.schema(columns, metadata={f"isoform.{n}": str(v) for n, v in facts.items()})

    def write(file: IO[bytes]) -> None:
        with pyarrow.parquet.ParquetWriter(file, schema, compression="zstd") as writer:
            for part in pieces(found, outputs):
                writer.write_table(table(part))

    def table(part: Regions) -> Any:
        n = len(part)
        whole = part.patterns.tobytes()
        fine: list[list[str] | None] = [None] * n
        for row, text in fine_inputs(found.charts, part):
            fine[row] = text
        values = [
            pyarrow.array([whole[i * width : (i + 1) * width] for i in range(n)], columns[0][1]),
            fixed(inputs(found.charts, part)), pyarrow.array(fine, columns[2][1]),
        ]
        if maps is not None:
            values.append(fixed(maps(part.patterns).reshape(n, -1)))
        return pyarrow.Table.from_arrays(values, schema=schema)

    def fixed(rows: np.ndarray) -> Any:
        return pyarrow.FixedSizeListArray.from_arrays(rows.ravel(), rows.shape[1])

    write_whole(path, write)


# --- points and maps --------------------------------------------------------------------------


def inputs(charts: tuple[Chart, ...], part: Regions) -> np.ndarray:
    """The witnesses as inputs of the network, (n, d), rounded."""
    made = np.zeros((len(part), charts[0].matrix.shape[0] - 1))
    for number in np.unique(part.charts):
        rows = part.charts == number
        chart = charts[number]
        moved = chart.constant.to_float() + part.points[rows] @ chart.matrix.to_float().T
        made[rows] = moved[:, 1:] / moved[:, :1]
    for row, point in part.fine:
        made[row] = exact_input(charts[part.charts[row]], point).to_float()
    return made


def exact_input(chart: Chart, point: Exact) -> Exact:
    """A witness as an input of the network, (d,)."""
    moved = chart.homogeneous(point)
    return Exact(moved.numerator[1:], int(moved.numerator[0]))


def fine_inputs(charts: tuple[Chart, ...], part: Regions) -> Iterator[tuple[int, list[str]]]:
    """The places of the witnesses that need more than a double, and their rationals as text."""
    for row, point in part.fine:
        exact = exact_input(charts[part.charts[row]], point)
        yield row, [shown(value) for value in exact.fractions()]


def affine_maps(layers: UnitLayers) -> Maps:
    """A function from packed patterns (n, ceil(N / 8)) to the maps of those regions: (n, m, 1 + d)
    float64, constants first, computed in floats."""
    d = layers.dimension
    rows = [dense(layer.rows) for layer in layers.layers]
    last = dense(layers.outputs)

    def maps(patterns: np.ndarray) -> np.ndarray:
        n = len(patterns)
        active = np.unpackbits(patterns, axis=1, count=layers.units)
        forms = np.zeros((n, layers.units, 1 + d))
        for start, layer, weights in zip(layers.starts, layers.layers, rows, strict=False):
            part = slice(start, start + layer.size)
            if layer.step:
                forms[:, part, 0] = active[:, part]
            else:
                before = weights[:, : 1 + d] + weights[:, 1 + d :] @ forms[:, :start]
                forms[:, part] = before * active[:, part, None]
        return np.asarray(last[:, : 1 + d] + last[:, 1 + d :] @ forms)

    return maps


def dense(rows: ExactSparse) -> np.ndarray:
    """Rows as floats."""
    made = np.zeros(rows.shape)
    made[rows.row_numbers(), rows.columns] = Exact(rows.data, rows.denominator).to_float()
    return made
