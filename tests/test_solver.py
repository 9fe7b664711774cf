# SPDX-License-Identifier: Apache-2.0
"""Solvers print nothing, so that standard output is what the command line writes there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

import networks
from isoform import api
from source_tree import FILES, relative

USERS = """
from isoform.certificate.basis import Basis
from isoform.network.domain import Box
from isoform.verify.relaxation import Relaxation
from isoform.numerics.exact import Exact
from isoform.numerics.sparse import ExactSparse
from isoform.bounds.solver import silent_solver
"""
RELAXATION = """
basis = Basis.on(Box([-1], [1]), 1)
row = ExactSparse.of(Exact.of([[0, 1]]))
print(Relaxation(basis).slopes(row, upper=True)[0])
"""
ONE = """
solver = silent_solver()
solver.addVar(0.5, 1.0)
solver.changeColCost(0, 1.0)
solver.run()
print(solver.getInfo().objective_function_value)
"""


def printed(script: str) -> list[str]:
    """Lines that a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_a_solver_prints_nothing() -> None:
    assert printed(f"{USERS}{ONE}{RELAXATION}") == ["0.5", "1.0"]


def test_what_a_solver_prints_would_be_seen() -> None:
    loud = ONE.replace("solver.addVar", "solver.setOptionValue('output_flag', True)\nsolver.addVar")
    assert "Running HiGHS" in "\n".join(printed(f"{USERS}{loud}"))


def test_solvers_are_made_in_one_place() -> None:
    maker = re.compile(r"\bHighs\(")
    users = [relative(path) for path in FILES if maker.search(path.read_text())]
    assert users == []
    assert [relative(path) for path in FILES if "highspy.Highs)" in path.read_text()] == [
        "src/isoform/bounds/solver.py"
    ]


def test_json_is_the_only_thing_on_standard_output(tmp_path: Path) -> None:
    """A pair whose boxes are bounded by linear programmes, and whose units are cut."""
    chain = networks.random_chain((16, 10, 6, 3), 1)
    half = tuple(
        networks.replace(layer, weight=layer.weight.astype(np.float16).astype(np.float32))
        for layer in chain
    )
    for name, layers in (("a", chain), ("b", half)):
        api.write(networks.network(layers), tmp_path / f"{name}.onnx")
    line = "prove a.onnx b.onnx --on box:-1,1 --within 0.004 --timeout 4 --json"
    script = (
        "import sys; from isoform.bounds import solver; from isoform.cli.main import status; "
        f"code = status({line.split()!r}); made = solver.silent_class.cache_info().currsize; "
        "print('solvers', made, file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode in (0, 2), done.stderr
    assert "solvers 1" in done.stderr
    assert json.loads(done.stdout)["verdict"] in ("proved", "undecided")
