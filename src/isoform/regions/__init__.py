# SPDX-License-Identifier: Apache-2.0
"""Linear regions: found, counted, bounded, stored."""
