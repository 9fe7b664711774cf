# SPDX-License-Identifier: Apache-2.0
"""Where the tests find the real networks: `--models DIR`."""

from __future__ import annotations

from pathlib import Path

import pytest

DEFAULT = Path(__file__).resolve().parents[2] / "shared" / "models"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--models", default=str(DEFAULT), help="folder of real trained networks (skipped if absent)"
    )


@pytest.fixture(scope="session")
def models(request: pytest.FixtureRequest) -> Path:
    """The folder of real networks; tests that need it are skipped where it is absent."""
    folder = Path(request.config.getoption("--models"))
    if not folder.is_dir():
        pytest.skip(f"no real networks in {folder}; give --models DIR")
    return folder
