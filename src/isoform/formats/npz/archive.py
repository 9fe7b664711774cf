# SPDX-License-Identifier: Apache-2.0
"""Named arrays and exact tensors in one `.npz` file, without loss and without trust.

An `Exact` named `a` becomes `a.numerator` (int64, or bytes of each integer, least significant
first, in two's complement, along a last axis) and `a.denominator` (bytes of one integer). Sizes are
checked from the headers before anything is read; objects (pickles) are never read.
"""

from __future__ import annotations

import hashlib
import math
import os
import zipfile
import zlib
from collections.abc import Mapping
from typing import IO, Any

import numpy as np

from isoform.errors import FormatError, TooLarge
from isoform.network.linear_map import Constant
from isoform.network.whole_file import write_whole
from isoform.numerics.exact import Exact, integers

LIMIT_BYTES = 4_000_000_000
KINDS = "fiubU"  # floats, integers, unsigned integers, Booleans, text
ENDINGS = (".numerator", ".denominator")
EPOCH = (1980, 1, 1, 0, 0, 0)  # the same arrays give the same bytes
DAMAGE = (
    zipfile.BadZipFile, zlib.error, ValueError, EOFError, RuntimeError, NotImplementedError,
    OverflowError,
)


def write_npz(arrays: Mapping[str, Constant | str], path: str | os.PathLike[str]) -> None:
    """Write named arrays, exact tensors and texts to a `.npz` file, whole or not at all.

    `read_npz_arrays` gives back the same (texts as string arrays of shape ()). Arrays keep their
    dtype. ValueError on names that clash and on arrays of objects.
    """
    members: dict[str, np.ndarray] = {}
    for name, value in arrays.items():
        for key, array in stored(name, value).items():
            if key in members or (not isinstance(value, Exact) and key.endswith(ENDINGS)):
                raise ValueError(f"the name {name!r} clashes with another one, or with {ENDINGS}")
            members[key] = array

    def write(file: IO[bytes]) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for key, array in members.items():
                info = zipfile.ZipInfo(f"{key}.npy", EPOCH)
                info.compress_type = zipfile.ZIP_DEFLATED
                with archive.open(info, "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)

    write_whole(path, write)


def read_npz_arrays(
    path: str | os.PathLike[str], limit_bytes: int = LIMIT_BYTES
) -> dict[str, Constant]:
    """The named arrays and exact tensors of a `.npz` file.

    FormatError where the file is damaged or holds objects, TooLarge where its members would take
    more than `limit_bytes`; both before the contents are read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            check_sizes(archive, path, limit_bytes)
            members = {info.filename[:-4]: member(archive, info) for info in archive.infolist()}
    except DAMAGE as error:
        raise FormatError(f"{os.fspath(path)} is no readable .npz file: {error}") from error
    return paired(members)


def file_digest(path: str | os.PathLike[str]) -> str:
    """sha256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- writing ------------------------------------------------------------------------------------


def stored(name: str, value: Constant | str) -> dict[str, np.ndarray]:
    """The members for one value."""
    if isinstance(value, Exact):
        return {
            f"{name}.numerator": integer_bytes(value.numerator),
            f"{name}.denominator": bytes_of(value.denominator),
        }
    array = np.asarray(value)
    if array.dtype.kind not in KINDS:
        raise ValueError(f"{name!r} has dtype {array.dtype}, which is not written")
    return {name: array.astype(array.dtype.newbyteorder("<"), copy=False)}


def bytes_of(number: int) -> np.ndarray:
    raw = number.to_bytes((number.bit_length() + 7) // 8, "little")
    return np.frombuffer(raw, dtype=np.uint8)


def integer_bytes(numerator: np.ndarray) -> np.ndarray:
    """int64 where every integer fits, else uint8 with one more axis."""
    listed = numerator.ravel().tolist()
    width = max((number.bit_length() // 8 + 1 for number in listed), default=1)
    if width <= 8:
        return np.array(listed, dtype="<i8").reshape(numerator.shape)
    raw = b"".join(number.to_bytes(width, "little", signed=True) for number in listed)
    return np.frombuffer(raw, dtype=np.uint8).reshape(*numerator.shape, width)


# --- reading ------------------------------------------------------------------------------------


def check_sizes(archive: zipfile.ZipFile, path: Any, limit_bytes: int) -> None:
    """Refuse too much, and what is no plain archive of arrays."""
    names = [info.filename for info in archive.infolist()]
    if len(set(names)) < len(names) or not all(name.endswith(".npy") for name in names):
        raise ValueError("its members are not arrays with different names")
    total = sum(info.file_size for info in archive.infolist())
    if total > limit_bytes:
        raise TooLarge(
            f"{os.fspath(path)} unpacks to {total:,} bytes where the limit is {limit_bytes:,}"
        )


def member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """One array; its size by the header must be that of the member, which is below the limit."""
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if header is None:
            raise ValueError(f"{info.filename} has the array format {version}")
        shape, by_columns, dtype = header(file)
        if dtype.kind not in KINDS or dtype.hasobject:
            raise ValueError(f"{info.filename} holds {dtype}, not plain numbers or text")
        size = math.prod(shape) * dtype.itemsize
        if min(shape, default=0) < 0 or size != info.file_size - file.tell():
            raise ValueError(
                f"{info.filename} has {info.file_size:,} bytes, its header promises {size:,}"
            )
        raw = file.read(size + 1)
    if len(raw) != size:
        raise ValueError(f"{info.filename} ends early")
    if dtype.itemsize == 0:
        return np.zeros(shape, dtype=dtype)
    flat = np.frombuffer(raw, dtype=dtype).astype(dtype.newbyteorder("="))
    return flat.reshape(shape, order="F" if by_columns else "C")


def paired(members: dict[str, np.ndarray]) -> dict[str, Constant]:
    """The members with the exact tensors put together, in the order of the file."""
    arrays: dict[str, Constant] = {}
    for key, array in members.items():
        name = key.rsplit(".", 1)[0]
        if key.endswith(".numerator"):
            if f"{name}.denominator" not in members:
                raise FormatError(f"{key} has no denominator")
            arrays[name] = exact_of(name, array, members[f"{name}.denominator"])
        elif not key.endswith(".denominator"):
            arrays[key] = array
        elif f"{name}.numerator" not in members:
            raise FormatError(f"{key} has no numerator")
    return arrays


def exact_of(name: str, numerator: np.ndarray, denominator: np.ndarray) -> Exact:
    """An exact tensor from its two members."""
    if denominator.dtype != np.uint8 or denominator.ndim != 1:
        raise FormatError(f"{name}.denominator holds no bytes of an integer")
    below = int.from_bytes(denominator.tobytes(), "little")
    if below == 0:
        raise FormatError(f"{name} has the denominator 0")
    if numerator.dtype == np.int64:
        return Exact(integers(numerator.ravel().tolist(), numerator.shape), below)
    if numerator.dtype != np.uint8 or numerator.ndim == 0 or numerator.shape[-1] == 0:
        raise FormatError(f"{name}.numerator holds no integers")
    raw, width = numerator.tobytes(), numerator.shape[-1]
    listed = (
        int.from_bytes(raw[at : at + width], "little", signed=True)
        for at in range(0, len(raw), width)
    )
    return Exact(integers(listed, numerator.shape[:-1]), below)
