# SPDX-License-Identifier: Apache-2.0
"""One measurement in a process of its own: `python benchmarks/stages.py STAGES WIDTHS`.

Prints one line of JSON: seconds of each stage and the largest memory of the process. Stages
`rewrite`: collapse a linear layer, canonicalise; `prove`: sweep two copies, check the certificate.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import networks
from isoform.certificate.certificate import Certificate
from isoform.certificate.check import check
from isoform.certificate.evidence import Evidence, Sweep
from isoform.converters import canonicalise, collapse_linear
from isoform.forms.feed_forward import FeedForward
from isoform.forms.layered import Layered
from isoform.network.claim import Claim, Equal
from isoform.network.domain import Everywhere, bound_to
from isoform.verify.identity import sweep


def timed(action: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    result = action()
    return result, time.perf_counter() - started


def rewriting(widths: tuple[int, ...]) -> dict[str, float]:
    """Seconds to collapse a dense linear layer (inputs x inputs) into the first layer, and to
    canonicalise a scrambled copy."""
    everywhere = bound_to(Everywhere(), widths[0])
    head, *rest = networks.random_chain((widths[0], *widths), seed=2)
    longer = Layered.lift(networks.network((replace(head, relu=False), *rest)))
    chain = networks.random_chain(widths, seed=1)
    collapse, order = collapse_linear.CONVERTER, canonicalise.CONVERTER
    made, first = timed(lambda: collapse.rewrite(longer, everywhere, collapse.options()))
    if made.form.size.parameters >= longer.size.parameters:
        raise SystemExit("nothing was collapsed")
    copy = FeedForward.lift(networks.network(networks.scrambled(chain, seed=3)))
    _, second = timed(lambda: order.rewrite(copy, everywhere, order.options()))
    return {"collapse": first, "canonicalise": second}


def proving(widths: tuple[int, ...]) -> dict[str, float]:
    """Seconds to sweep a network and its scrambled copy exactly, and to check the certificate."""
    chain = networks.random_chain(widths, seed=1)
    source, target = networks.network(chain), networks.network(networks.scrambled(chain, seed=3))
    found, first = timed(lambda: sweep(source, target, None))
    if found.difference.rows.nonzeros or not found.difference.is_exact:
        raise SystemExit("the sweep did not prove equality")
    certificate = Certificate(
        source=source, target=target, claim=Claim(Equal()),
        evidence=(Evidence("e1", Sweep(found.codes)),), conclusion="e1",
    )
    _, second = timed(lambda: check(certificate))
    return {"sweep": first, "check": second}


STAGES = {"rewrite": rewriting, "prove": proving}


def main() -> None:
    stages, widths = sys.argv[1], tuple(int(n) for n in sys.argv[2].split("-"))
    seconds = STAGES[stages](widths)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kilobytes on Linux
    print(json.dumps(seconds | {"megabytes": peak / 1024}))


if __name__ == "__main__":
    main()
