# SPDX-License-Identifier: Apache-2.0
"""One affine map."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from isoform.errors import FormatError, NotInClass
from isoform.forms.chain import affine_chain
from isoform.forms.records import Arrays, record_arrays, record_of
from isoform.network.linear_map import Constant, Conv, Csr, Dense, Gather, LinearMap
from isoform.network.network import Builder, Network
from isoform.network.operators import Linear
from isoform.network.size import Size, measure
from isoform.numerics.exact import Exact


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """y = map(x) + bias. bias: (outputs,), or None for zero."""

    map: LinearMap
    bias: Constant | None = None

    def __post_init__(self) -> None:
        if self.bias is not None and self.bias.size != self.map.outputs:
            raise ValueError(f"{self.map.outputs} outputs with {self.bias.size} biases")

    def lower(self) -> Network:
        """The network of one Linear node."""
        build = Builder((self.map.inputs,))
        return build.build(build.linear(self.map, 0, self.bias))

    @classmethod
    def lift(cls, network: Network) -> Affine:
        """The form of a network that is written as one affine map, selections absorbed.

        Two maps in a row are not multiplied here: a product changes the stored numbers, which is a
        rewriting with a proof of its own (`collapse_linear`, `layered_to_affine`).
        Raises NotInClass with the first obstacle.
        """
        layers, activations = affine_chain(network)
        if activations:
            name = type(activations[0]).__name__
            raise NotInClass(f"not affine: the network has {len(activations)} activation(s), "
                             f"the first is {name}")
        return cls(*layers[0])

    @property
    def size(self) -> Size:
        return measure(self.lower())

    def arrays(self) -> Arrays:
        """The entry `affine` and what belongs to it."""
        return record_arrays("affine", Linear((self.map,), self.bias))

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Affine:
        """The inverse of `arrays`; FormatError where an entry is missing or does not fit."""
        record = record_of(arrays, "affine")
        if not isinstance(record, Linear) or len(record.maps) != 1:
            raise FormatError("the entry 'affine' is not one affine map")
        try:
            return cls(record.maps[0], record.bias)
        except (ValueError, AttributeError) as error:
            raise FormatError(f"the entry 'affine' does not fit together: {error}") from None

    @staticmethod
    def examples() -> list[Affine]:
        """Dense in floats and in exact thirds, compressed rows, a gather, a convolution."""
        half = np.array([[0.5, -1.25, 0.0], [2.0, 0.0, -0.75]], dtype=np.float32)
        thirds = Exact.of(np.array([[Fraction(1, 3), Fraction(-2, 7)]], dtype=object))
        sparse = Csr(
            starts=np.array([0, 1, 1, 3]), columns=np.array([2, 0, 3]),
            values=np.array([1.5, -0.5, 0.25]), inputs=4,
        )
        picked = Gather(indices=np.array([1, -1, 0]), scale=np.array([2.0, 1.0, -3.0]), inputs=2)
        kernel = np.arange(8, dtype=np.float32).reshape(2, 1, 2, 2) - 3
        conv = Conv(
            kernel=kernel, space=(3, 3), strides=(1, 1), pads=((1, 0), (0, 1)),
            dilations=(1, 1),
        )
        return [
            Affine(Dense(half), np.array([1.0, -2.0], dtype=np.float32)),
            Affine(Dense(half)),
            Affine(Dense(thirds), Exact.of(np.array([Fraction(1, 5)], dtype=object))),
            Affine(sparse, np.array([0.0, 4.0, -1.0])),
            Affine(picked),
            Affine(conv),
        ]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Affine) and self.lower() == other.lower()

    def __hash__(self) -> int:
        return hash(self.lower())

    def __str__(self) -> str:
        return f"Affine {self.map.inputs}-{self.map.outputs}"

    def __repr__(self) -> str:
        return f"<{self}>"
