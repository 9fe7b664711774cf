# SPDX-License-Identifier: Apache-2.0
"""Running an ONNX file as its user would: onnxruntime on the CPU. A measurement, never a claim."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np

from isoform.errors import FormatError, Refused

DTYPES = {
    "tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16,
    "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8, "tensor(bool)": np.bool_,
}


def runtime_version() -> str:
    """The runtime and its version, for reports ("onnxruntime 1.18.0")."""
    import onnxruntime

    return f"onnxruntime {onnxruntime.__version__}"


def run_onnx(path: str | os.PathLike[str], x: np.ndarray) -> np.ndarray:
    """The outputs of an ONNX file, computed by onnxruntime without graph optimisations.

    x: (batch, n), the entries of all the file's inputs in order, row-major. Where n is the size of
    the inputs with all their axes, the file runs once a row; where it is that without the leading
    axis, this counts as batch, be it symbolic or fixed (a file whose inside knows batches of one
    only runs row by row). Returns (batch, m) float64, all outputs in order, flat. FormatError
    where onnxruntime does not take the file, Refused where n does not fit or a kernel is missing.
    """
    session = opened(path)
    points = np.asarray(x)
    if points.ndim != 2:
        raise Refused(f"replay takes points as rows, an array (batch, n), not {points.shape}")
    if not len(points):
        return run_onnx(path, np.zeros((1, points.shape[1])))[:0]
    shapes = [given.shape for given in session.get_inputs()]
    if None not in map(size_of, shapes) and total(shapes) == points.shape[1]:
        return np.concatenate([run_whole(session, point) for point in points])
    per_row = [size_of(shape[1:]) for shape in shapes]
    if None not in per_row and sum(size or 0 for size in per_row) == points.shape[1]:
        return run_blocks(session, points, rows_at_once(shapes))
    described = ", ".join(f"{given.name} {given.shape}" for given in session.get_inputs())
    raise Refused(f"the file takes {described}; the points have {points.shape[1]} entries")


def opened(path: str | os.PathLike[str]) -> Any:
    """A session with one thread and without graph optimisations."""
    import onnxruntime

    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        raise Refused("onnxruntime opens no file whose name is not UTF-8") from None
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(
            os.fspath(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's errors have no common root
        if type(error).__name__ == "NotImplemented":
            raise Refused(
                f"onnxruntime has no CPU kernel for a node of {os.fspath(path)} ({error}); the "
                "file may be valid all the same, most missing kernels are of float64"
            ) from error
        raise FormatError(f"onnxruntime does not run {os.fspath(path)}: {error}") from error


def size_of(shape: list[Any]) -> int | None:
    """Number of entries, None where an axis is symbolic."""
    if any(not isinstance(length, int) for length in shape):
        return None
    return math.prod(shape)


def total(shapes: list[list[Any]]) -> int:
    return sum(size_of(shape) or 0 for shape in shapes)


def rows_at_once(shapes: list[list[Any]]) -> int | None:
    """The fixed batch of a file, None where it is symbolic."""
    leads = [shape[0] for shape in shapes if shape and isinstance(shape[0], int)]
    return leads[0] if leads else None


def run_blocks(session: Any, points: np.ndarray, rows: int | None) -> np.ndarray:
    """Blocks of `rows` points (None: all at once); the last one is filled with its last row."""
    count = len(points)
    if rows is None and count > 1:
        try:
            return run_batch(session, points)
        except (FormatError, Refused):
            rows = 1  # a reshape to one row, say; a real failure shows itself again
    rows = rows or 1
    results = []
    for start in range(0, count, rows):
        block = points[start : start + rows]
        filled = np.concatenate([block, np.repeat(block[-1:], rows - len(block), axis=0)])
        results.append(run_batch(session, filled)[: len(block)])
    return np.concatenate(results)


def run_batch(session: Any, points: np.ndarray) -> np.ndarray:
    """One run with the batch axis in front of every input and output."""
    feed, start = {}, 0
    for given in session.get_inputs():
        size = size_of(given.shape[1:]) or 0
        part = points[:, start : start + size]
        feed[given.name] = typed(part.reshape(len(points), *given.shape[1:]), given)
        start += size
    outputs = computed(session, feed)
    return np.concatenate([flat_rows(y, len(points)) for y in outputs], axis=1)


def flat_rows(y: np.ndarray, rows: int) -> np.ndarray:
    if y.ndim == 0 or y.shape[0] != rows:
        raise Refused(
            f"an output has shape {y.shape} for a batch of {rows}: its first axis is no batch axis"
        )
    return y.reshape(rows, -1).astype(np.float64)


def run_whole(session: Any, point: np.ndarray) -> np.ndarray:
    """One run in which no axis is a batch; a row with all outputs."""
    feed, start = {}, 0
    for given in session.get_inputs():
        size = math.prod(given.shape)
        feed[given.name] = typed(point[start : start + size].reshape(given.shape), given)
        start += size
    outputs = [np.asarray(y, dtype=np.float64).ravel() for y in computed(session, feed)]
    return np.concatenate(outputs)[None, :]


def computed(session: Any, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
    try:
        return session.run(None, feed)
    except Exception as error:  # onnxruntime's errors have no common root
        raise FormatError(f"onnxruntime fails on the file: {error}") from error


def typed(array: np.ndarray, given: Any) -> np.ndarray:
    """The entries in the dtype that the file asks for."""
    if given.type not in DTYPES:
        raise Refused(f"input {given.name} is a {given.type}; replay feeds numbers only")
    return np.ascontiguousarray(array, dtype=DTYPES[given.type])
