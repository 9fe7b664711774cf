# SPDX-License-Identifier: Apache-2.0
"""What every architecture class offers."""

from __future__ import annotations

from typing import Protocol, Self, runtime_checkable

from isoform.network.linear_map import Constant
from isoform.network.network import Network


@runtime_checkable
class Form(Protocol):
    """A frozen dataclass of an architecture class.

    Laws: `lift(form.lower())` is a form whose `lower()` is the same function;
    `from_arrays(form.arrays()) == form`.
    """

    def lower(self) -> Network:
        """The network that this form means (flat input and output)."""

    @classmethod
    def lift(cls, network: Network) -> Self:
        """The form of a network in this class. NotInClass with the first obstacle otherwise."""

    def arrays(self) -> dict[str, Constant]:
        """Everything that the native file stores, without loss."""

    @classmethod
    def from_arrays(cls, arrays: dict[str, Constant]) -> Self:
        """The inverse of `arrays`. FormatError on missing or misshapen entries."""

    @staticmethod
    def examples() -> list[Form]:
        """Small instances that cover the class's cases, for contract tests and documentation."""
