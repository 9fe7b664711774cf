# SPDX-License-Identifier: Apache-2.0
"""Exact algebra on affine maps and ReLU chains: what forms and converters share."""
