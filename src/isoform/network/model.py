# SPDX-License-Identifier: Apache-2.0
"""What a file or object says beside its function: names, shapes, batch axis, hash, origin."""

from __future__ import annotations

from dataclasses import dataclass

from isoform.network.network import Network, Shape

FACTOR_TAKEN = "a factor of a Gemm is taken into its numbers"  # starts a note of a reader


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input or output: its name, its shape without the batch axis, its dtype ("float32")."""

    name: str
    shape: Shape
    dtype: str = "float32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """Names and shapes at the border of a network.

    batch: name of a symbolic leading axis (str), size of a fixed one that was dropped (int), or
    None where no axis was dropped (all axes are part of the function).
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    batch: str | int | None = "N"

    @staticmethod
    def of(network: Network) -> Signature:
        """Default names for a network that came from no file."""
        ins = tuple(
            Tensor("input" if len(network.inputs) == 1 else f"input{i}", shape)
            for i, shape in enumerate(network.inputs)
        )
        outs = tuple(
            Tensor("output" if len(network.outputs) == 1 else f"output{i}", network.shape_of(v))
            for i, v in enumerate(network.outputs)
        )
        return Signature(inputs=ins, outputs=outs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A network as it came from a file or object.

    digest: sha256 of the file's bytes (None for an object in memory). reading: the conventions
    that gave the file its exact meaning ("dropped batch axis N", "dyadic root in
    BatchNormalization", ...), for the certificate and the report. opset: of an ONNX file.
    """

    network: Network
    signature: Signature
    origin: str
    digest: str | None = None
    reading: tuple[str, ...] = ()
    opset: int | None = None
