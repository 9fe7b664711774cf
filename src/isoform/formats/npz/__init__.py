# SPDX-License-Identifier: Apache-2.0
"""`.npz` files: plain layer lists, the native files of forms, whole networks."""

from isoform.formats.npz.archive import read_npz_arrays, write_npz
from isoform.formats.npz.layers import read_npz
from isoform.formats.npz.network import write_network

__all__ = ["read_npz", "read_npz_arrays", "write_network", "write_npz"]
