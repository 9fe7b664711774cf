# SPDX-License-Identifier: Apache-2.0
"""When a rung has to end, on the clock of `time.perf_counter`."""

from __future__ import annotations

import math
import time

FOREVER = math.inf


class OutOfTime(Exception):
    """A rung has found nothing within its time."""


def check_time(until: float) -> None:
    """OutOfTime from then on."""
    if time.perf_counter() > until:
        raise OutOfTime
