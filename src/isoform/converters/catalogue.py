# SPDX-License-Identifier: Apache-2.0
"""The only list of converters: tests, planner, command line and documentation read it."""

from __future__ import annotations

from isoform.converters import (
    canonicalise,
    collapse_linear,
    convolutional_to_feed_forward,
    feed_forward_to_convolutional,
    layered_to_affine,
    layered_to_feed_forward,
    merge_units,
    specialise_to_domain,
)
from isoform.converters.converter import Converter

CATALOGUE: tuple[Converter, ...] = (
    collapse_linear.CONVERTER,
    merge_units.CONVERTER,
    canonicalise.CONVERTER,
    layered_to_affine.CONVERTER,
    layered_to_feed_forward.CONVERTER,
    convolutional_to_feed_forward.CONVERTER,
    feed_forward_to_convolutional.CONVERTER,
    specialise_to_domain.CONVERTER,
)
