# SPDX-License-Identifier: Apache-2.0
"""Networks put together from shaped values: what the readers of graph formats share."""
