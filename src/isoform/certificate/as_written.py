# SPDX-License-Identifier: Apache-2.0
"""Whether a file means, in floating point too, the sums and choices of its primitive network.

Lowering keeps the function over the reals. In floats a leaky ReLU, a normalisation or a folded
factor is computed by another formula than the one that it is lowered to, so float claims are made
only of files whose operators stay what they are.
"""

from __future__ import annotations

from collections.abc import Iterator

from isoform.errors import Refused
from isoform.network.model import FACTOR_TAKEN
from isoform.network.network import Network
from isoform.network.operators import (
    Abs,
    Clip,
    Concat,
    Linear,
    Maximum,
    MaxPool,
    Minimum,
    ReduceMax,
    Relu,
    Select,
)

# Choices among their operands (Abs: and their negatives; Clip: and its bounds): exact in floats.
CHOICES = (Abs, Clip, Maximum, MaxPool, Minimum, ReduceMax)
KEPT = (Linear, Relu, Select, Concat, *CHOICES)


def check_as_written(network: Network, reading: tuple[str, ...] = ()) -> None:
    """Refused, with all reasons, where floats would evaluate a surface network otherwise than the
    primitive network that it is lowered to. reading: the conventions of its reader."""
    reasons = list(changed(network))
    reasons += [note for note in reading if note.startswith(FACTOR_TAKEN)]
    if reasons:
        raise Refused(
            "no claim about float evaluation: "
            + "; ".join(dict.fromkeys(reasons)) + "; ask over the reals"
        )


def changed(network: Network) -> Iterator[str]:
    """Nodes whose meaning in floats is not that of their primitive form."""
    constants = {
        number for number, node in network.items()
        if isinstance(node.operator, Linear) and not node.operator.maps
    }
    for number, node in network.items():
        operator = node.operator
        if not isinstance(operator, KEPT):
            name = getattr(operator, "name", None) or type(operator).__name__
            yield f"{name} (value {number}) has no bound of its rounding errors"
        elif isinstance(operator, Linear | Relu) and constants & set(node.operands):
            yield f"value {number} is computed from constants, which are folded exactly"
