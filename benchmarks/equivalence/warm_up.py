# SPDX-License-Identifier: Apache-2.0
"""What is loaded and compiled once, before anything is measured or judged."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import isoform as iso
import networks
from equivalence import variants
from isoform import api
from isoform.verify.cells import by_cells
from isoform.verify.question import Context, asked

BOX = iso.Box([-1, -1], [1, 1])


def warm_up() -> None:
    """Some proofs and refutations of each kind, on small networks, and their checks."""
    compile_kernels()
    chain = networks.random_chain((2, 8, 8, 2), 0)
    source, asking = networks.network(chain), dict[str, Any]
    for copy, more in (
        (variants.padded(chain, 1), asking()), (variants.halved(chain), asking(within="0.01")),
        (variants.halved(chain), asking()), (variants.halved(chain), asking(same_decision=True)),
        (variants.pruned(chain), asking(within="0.1")),
    ):
        verdict = iso.prove(networks.network(copy), equal_to=source, on=BOX, timeout=2, **more)
        held = api.certificate_of(verdict)
        if held is not None:
            iso.check(held)


def compile_kernels() -> None:
    """The search for common regions, which the prover leaves out in short questions until it has
    been compiled on the machine (some 20 s)."""
    chain = networks.random_chain((2, 4, 4, 2), 0)
    pair = networks.network(chain), networks.network(variants.halved(chain))
    quarter = Fraction(1, 4)
    for relation in (iso.Equal(), iso.Within(quarter), iso.SameDecision(quarter)):
        by_cells(asked(*pair, iso.Claim(relation, BOX), Context()))
