# SPDX-License-Identifier: Apache-2.0
"""Models in `.npz` files: plain layer lists, and networks as isoform writes them."""

from __future__ import annotations

import os
import re

import numpy as np

from isoform.errors import FormatError, UnsupportedModel
from isoform.formats.npz.archive import LIMIT_BYTES, file_digest, read_npz_arrays
from isoform.formats.npz.network import network_of, signature_of
from isoform.network.constants import real_array
from isoform.network.linear_map import Constant, Dense
from isoform.network.model import Loaded, Signature, Tensor
from isoform.network.network import Builder, Network
from isoform.network.operators import Relu
from isoform.numerics.exact import Exact

READING = "a list of layers: ReLU between them, the last one linear"


def read_npz(path: str | os.PathLike[str], limit_bytes: int = LIMIT_BYTES) -> Loaded:
    """The network of a `.npz` file.

    Either a plain layer list (`W0` of shape (out, in), `b0`, `W1`, ...; ReLU between, the last
    layer linear, a missing bias is none), or a network written by `write_network`. A native file
    of another form is refused with its name: its arrays come from `read_npz_arrays`.
    """
    arrays = read_npz_arrays(path, limit_bytes)
    origin = os.fspath(path)
    reading: tuple[str, ...] = ()
    if "form" not in arrays:
        network, dtype = layer_list(arrays, origin)
        default = Signature.of(network)
        signature = Signature(
            inputs=tuple(Tensor(t.name, t.shape, dtype) for t in default.inputs),
            outputs=tuple(Tensor(t.name, t.shape, dtype) for t in default.outputs),
        )
        reading = (READING,)
    else:
        form = str(arrays["form"])
        if form != "network":
            raise UnsupportedModel(
                origin, [f"it holds the form {form!r}, not a network; read it as that form"]
            )
        network = network_of(arrays)
        signature = signature_of(arrays) or Signature.of(network)
    return Loaded(
        network=network, signature=signature, origin=origin, digest=file_digest(path),
        reading=reading,
    )


def layer_list(arrays: dict[str, Constant], origin: str) -> tuple[Network, str]:
    """The chain of layers, and the dtype of its numbers."""
    strange = [name for name in arrays if not re.fullmatch(r"[Wb](0|[1-9][0-9]{0,5})", name)]
    if strange:
        raise FormatError(
            f"{origin} is no layer list: entries {', '.join(map(repr, strange[:5]))} are neither "
            "W0, W1, ... nor b0, b1, ... , and there is no entry 'form'"
        )
    count = sum(name.startswith("W") for name in arrays)
    if count == 0 or any(f"W{i}" not in arrays for i in range(count)):
        held = ", ".join(name for name in arrays if name.startswith("W"))
        raise FormatError(
            f"{origin} is no layer list: its weights are {held or 'missing'}, not W0, W1, ... "
            "without a gap"
        )
    if any(name.startswith("b") and int(name[1:]) >= count for name in arrays):
        raise FormatError(f"{origin} has a bias without a weight")
    b, value = None, 0
    for i in range(count):
        weight, bias = layer(arrays, i, origin)
        b = Builder((weight.shape[1],)) if b is None else b
        if weight.shape[1] != b.size_of(value):
            raise FormatError(
                f"{origin}: W{i} takes {weight.shape[1]} inputs, the layer before it gives "
                f"{b.size_of(value)}"
            )
        value = b.linear(Dense(weight), value, bias)
        if i + 1 < count:
            value = b.add(Relu(), (value,), b.shape_of(value))
    assert b is not None
    wide = any(isinstance(c, np.ndarray) and c.dtype == np.float64 for c in arrays.values())
    return b.build(value), "float64" if wide else "float32"


def layer(arrays: dict[str, Constant], i: int, origin: str) -> tuple[Constant, Constant | None]:
    """Weight and bias of one layer, checked."""
    weight = numbers(arrays[f"W{i}"], f"{origin}: W{i}")
    if weight.ndim != 2 or 0 in weight.shape:
        raise FormatError(f"{origin}: W{i} has shape {weight.shape}, not (outputs, inputs)")
    if f"b{i}" not in arrays:
        return weight, None
    bias = numbers(arrays[f"b{i}"], f"{origin}: b{i}")
    if bias.shape != weight.shape[:1]:
        raise FormatError(
            f"{origin}: b{i} has shape {bias.shape} where W{i} gives {weight.shape[:1]}"
        )
    return weight, bias


def numbers(constant: Constant, what: str) -> Constant:
    return constant if isinstance(constant, Exact) else real_array(constant, what)
