# SPDX-License-Identifier: Apache-2.0
"""torch modules: `read_torch` and `write_torch`. torch is imported when one of them is called."""

from isoform.formats.torch.read import read_torch
from isoform.formats.torch.write import write_torch

__all__ = ["read_torch", "write_torch"]
