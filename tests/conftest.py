# SPDX-License-Identifier: Apache-2.0
"""Where the tests find the real networks: `--models=DIR`, which must then exist."""

from __future__ import annotations

from pathlib import Path

import pytest

import command_line

run = command_line.run  # a fixture
SHARED = Path(__file__).resolve().parents[2] / "shared"
DEFAULT = SHARED / "models"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--models", help=f"folder of real trained networks; without it {DEFAULT}, where it exists"
    )


def pytest_configure(config: pytest.Config) -> None:
    asked = config.getoption("--models")
    if asked and not Path(asked).is_dir():
        raise pytest.UsageError(f"--models={asked} is no folder")


@pytest.fixture(scope="session")
def models(request: pytest.FixtureRequest) -> Path:
    """The folder of real networks; tests that need it are skipped where it is absent."""
    folder = Path(request.config.getoption("--models") or DEFAULT)
    if not folder.is_dir():
        pytest.skip(f"no real networks in {folder}; give --models=DIR")
    return folder


@pytest.fixture(scope="session")
def bench() -> Path:
    """The folder of benchmark networks; tests that need it are skipped where it is absent."""
    folder = SHARED / "bench"
    if not folder.is_dir():
        pytest.skip(f"no benchmark networks in {folder}")
    return folder
