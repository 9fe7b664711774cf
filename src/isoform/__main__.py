# SPDX-License-Identifier: Apache-2.0
"""`python -m isoform`."""

from __future__ import annotations

from isoform.cli.main import main

main()
