# SPDX-License-Identifier: Apache-2.0
"""How long the checker will take for trees that are not made yet.

Measured on some boxes of the part itself, and on the search: the checker's integers take longer
than the doubles of a search, but a search has more to do. Programmes cost it far more than their
hints cost the checker.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from isoform.certificate.differential import Boxes
from isoform.certificate.tree import Part
from isoform.certificate.tree_check import rows_of
from isoform.errors import CertificateRejected

SAMPLE = 16  # boxes
AGAINST = 3.0  # seconds of the checker for one of the search, without programmes
AGAIN = 2.0  # a part is made, and its rows are, in about twice the time of the rows alone


@dataclass(frozen=True, slots=True)
class CheckPace:
    """Seconds for what comes before the boxes, and for each box."""

    before: float
    each: float

    def seconds(self, boxes: int, searched: float) -> float:
        """For trees of so many boxes, which were found in so many seconds of one process. Deep
        boxes take less time than those measured, in the search and in the checker."""
        return self.before + min(self.each * boxes, AGAINST * searched)


def check_pace(parts: list[Part], bits: int) -> CheckPace:
    """The pace for trees on these parts, measured on copies of the first one's whole box. bits:
    few, so that there is room for the numbers; where there is not, nothing takes any time."""
    try:
        return paced(parts, bits)
    except CertificateRejected:
        return CheckPace(0.0, 0.0)


def paced(parts: list[Part], bits: int) -> CheckPace:
    """The same, or CertificateRejected where numbers become too large."""
    began = time.perf_counter()
    rows = rows_of(parts[0], bits)
    made = time.perf_counter()
    ends = np.full((SAMPLE, rows.bounds.d), 1 << bits, dtype=np.int64)
    boxes: Boxes = rows.bounds.whole(-ends, ends)
    boxes, layers, _ = rows.bounds.settle(boxes)
    left = np.zeros((SAMPLE, len(rows.forms.closes)), dtype=bool)
    left[:, 0] = True  # few sets are open on most boxes
    rows.closed(boxes, layers, left)
    done = time.perf_counter()
    return CheckPace(AGAIN * (made - began) * len(parts), (done - made) / SAMPLE)
