# SPDX-License-Identifier: Apache-2.0
"""HiGHS that prints nothing: the one place where a solver is made.

From 1.16 on highspy's constructor already turns callbacks on, and HiGHS prints its banner to
standard output before its first answer unless `output_flag` is off by then.
"""

from __future__ import annotations

from functools import cache
from typing import Any


def silent_solver(presolve: str = "choose") -> Any:
    """A HiGHS solver of one thread, which prints nothing at any time."""
    solver = silent_class()()
    for name, value in (("output_flag", False), ("threads", 1), ("presolve", presolve)):
        solver.setOptionValue(name, value)
    return solver


@cache
def silent_class() -> Any:
    """Highs, silenced within its constructor; highspy is imported when first needed."""
    import highspy

    class Silent(highspy.Highs):
        """What the constructor calls first of all, where it calls anything, silences it."""

        def enableCallbacks(self) -> None:
            self.setOptionValue("output_flag", False)
            super().enableCallbacks()

    return Silent
