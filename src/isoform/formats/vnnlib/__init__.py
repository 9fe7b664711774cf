# SPDX-License-Identifier: Apache-2.0
"""VNN-LIB 1.0 and 2.0: input boxes, queries about one or more networks, assignments."""

from isoform.formats.vnnlib.box import read_box

__all__ = ["read_box"]
