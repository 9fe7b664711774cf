# SPDX-License-Identifier: Apache-2.0
"""Tensors of an ONNX file as numpy arrays; sizes and paths are checked before loading."""

from __future__ import annotations

import math
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from isoform.assemble.assembler import ENTRIES_LIMIT
from isoform.errors import FormatError, TooLarge

# Names of element types (as in the format's enumeration) and bytes of one entry in raw data.
ENTRY_BYTES = {
    "FLOAT": 4, "DOUBLE": 8, "FLOAT16": 2, "BFLOAT16": 2, "BOOL": 1,
    "INT8": 1, "INT16": 2, "INT32": 4, "INT64": 8,
    "UINT8": 1, "UINT16": 2, "UINT32": 4, "UINT64": 8,
}
TYPED_FIELDS = {"FLOAT": "float_data", "DOUBLE": "double_data", "INT64": "int64_data",
                "UINT32": "uint64_data", "UINT64": "uint64_data"}


def type_name(element: int) -> str:
    """The name of an element type; FormatError on one that isoform does not read."""
    import onnx

    try:
        name = onnx.TensorProto.DataType.Name(element)
    except ValueError:
        raise FormatError(f"element type {element} does not exist") from None
    if name not in ENTRY_BYTES:
        raise FormatError(f"element type {name} holds no real numbers that isoform reads")
    return name


def numpy_type(element: int) -> np.dtype:
    """The numpy dtype of an element type."""
    import onnx

    type_name(element)
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(element))


def element_type(dtype: np.dtype) -> str:
    """How a schema writes the type of a tensor ("tensor(float)")."""
    names = {"float32": "float", "float64": "double"}
    return f"tensor({names.get(dtype.name, dtype.name)})"


def tensor_array(tensor: Any, folder: Path | None) -> np.ndarray:
    """The array of a TensorProto.

    folder: where external data may lie; None forbids it. Raises FormatError where the data does
    not have the size that the dimensions say, TooLarge beyond the limit of entries.
    """
    import onnx

    dims = tuple(int(n) for n in tensor.dims)
    if any(n < 0 for n in dims):
        raise FormatError(f"tensor {tensor.name!r} has the negative shape {dims}")
    count = math.prod(dims)
    if count > ENTRIES_LIMIT:
        raise TooLarge(f"tensor {tensor.name!r} of shape {dims} has more than {ENTRIES_LIMIT:,} "
                       "entries")
    name = type_name(tensor.data_type)
    if tensor.HasField("segment"):
        raise FormatError(f"tensor {tensor.name!r} is a segment of another")
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raw = external_bytes(tensor, count * ENTRY_BYTES[name], folder)
        local = onnx.TensorProto(dims=dims, data_type=tensor.data_type, raw_data=raw)
        return onnx.numpy_helper.to_array(local)
    if tensor.HasField("raw_data"):
        held, needed = len(tensor.raw_data), count * ENTRY_BYTES[name]
        unit = "bytes"
    else:
        held, needed = len(getattr(tensor, TYPED_FIELDS.get(name, "int32_data"))), count
        unit = "entries"
    if held != needed:
        raise FormatError(
            f"tensor {tensor.name!r} of shape {dims} holds {held} {unit}, not {needed}"
        )
    return np.array(onnx.numpy_helper.to_array(tensor))


def external_bytes(tensor: Any, needed: int, folder: Path | None) -> bytes:
    """The bytes of a tensor that lie in another file of the model's folder."""
    said = {entry.key: entry.value for entry in tensor.external_data}
    if folder is None:
        raise FormatError(f"tensor {tensor.name!r} may not lie outside the file")
    path = external_path(tensor.name, said.get("location", ""), folder)
    try:
        offset, length = int(said.get("offset", "0")), int(said.get("length", str(needed)))
    except ValueError:
        raise FormatError(f"tensor {tensor.name!r}: offset and length are no integers") from None
    if length != needed or offset < 0 or offset + length > path.stat().st_size:
        raise FormatError(
            f"tensor {tensor.name!r} needs {needed} bytes; its external data says {length} at "
            f"{offset} of {path.name}, which has {path.stat().st_size}"
        )
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(length)


def external_path(name: str, location: str, folder: Path) -> Path:
    """The file of external data, inside the model's folder."""
    parts = PurePosixPath(location).parts
    leaves = (
        not location or "\\" in location or "\0" in location or ".." in parts
        or PurePosixPath(location).is_absolute() or bool(PureWindowsPath(location).drive)
    )
    home = folder.resolve()
    path = home if leaves else (home / location).resolve()
    if leaves or not path.is_relative_to(home):
        raise FormatError(f"tensor {name!r}: external data {location!r} leaves the model's folder")
    if not path.is_file():
        raise FormatError(f"tensor {name!r}: external data {location!r} is missing")
    return path
