# SPDX-License-Identifier: Apache-2.0
"""Sound enclosures of all values of a primitive network on a box, in outward-rounded floats."""

from isoform.bounds.backward import backward_bounds
from isoform.bounds.interval import interval_bounds
from isoform.bounds.linear_program import linear_program_bounds
from isoform.bounds.zonotope import zonotope_bounds

__all__ = ["backward_bounds", "interval_bounds", "linear_program_bounds", "zonotope_bounds"]
