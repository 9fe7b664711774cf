# SPDX-License-Identifier: Apache-2.0
"""`isoform.assert_equal`: passes only what is proved, and says in words what is not."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import isoform as iso
from isoform.api.assertions import message, pasted

BOX = "box:-1,1"


def save(path: Path, last: float = 1.0, bias: float = 0.0) -> Path:
    np.savez(path, W0=np.array([[1, -2], [0.5, 1]], dtype=np.float32),
             b0=np.array([0, 1], dtype=np.float32), W1=np.array([[1, last], [0, 1]], np.float32),
             b1=np.array([bias, 0], dtype=np.float32))
    return path


@pytest.fixture
def a(tmp_path: Path) -> Path:
    return save(tmp_path / "a.npz")


@pytest.fixture
def b(tmp_path: Path) -> Path:
    """Differs from a by at most 2.5 / 4."""
    return save(tmp_path / "b.npz", last=1.25)


def refused(*models: object, **asked: object) -> AssertionError:
    with pytest.raises(AssertionError) as caught:
        iso.assert_equal(*models, **asked)
    return caught.value


def test_what_is_proved_passes_and_comes_back(a: Path, b: Path) -> None:
    assert isinstance(iso.assert_equal(a, a), iso.Proved)
    verdict = iso.assert_equal(a, b, on=BOX, within="0.7")
    assert verdict.claim.relation == iso.Within(Fraction(7, 10))
    assert iso.check(verdict).holds
    assert iso.check(verdict, source=a, target=b).compared
    assert isinstance(iso.assert_equal(a, a, on=BOX, same_decision=True), iso.Proved)


def test_a_refuted_claim_fails_with_its_witness(a: Path, b: Path) -> None:
    error = refused(a, b, on=BOX)
    assert isinstance(error.verdict, iso.Refuted)
    text = str(error)
    assert text.startswith("b is not proved to be the same function as a: refuted\n")
    for words in ("equal, over the reals", "a.npz", "b.npz", "at x ", "a(x) ", "b(x) ", "output 0",
                  "largest difference ", "what to do "):
        assert words in text, words
    assert "x to paste" in text and max(map(len, text.splitlines())) < 120
    point = [row.partition("paste")[2] for row in text.splitlines() if "x to paste" in row]
    pair = [iso.evaluate_exact(path, eval(point[0])) for path in (a, b)]
    assert pair[0] != pair[1]


def test_an_undecided_claim_fails_too(a: Path, b: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No proof, no pass; the text names the argument that would help."""
    within = iso.Claim(iso.Within(Fraction(1, 2)), iso.Box(-1, 1))
    for claim, upper, words in (
        (within, Fraction(2, 3), "within=0.67 is certified"),
        (within, None, "smaller domain"),
        (iso.Claim(iso.Equal()), None, "bounded domain"),
        (iso.Claim(iso.SameDecision(), iso.Box(-1, 1)), Fraction(1, 3), "same_decision=0.34"),
    ):
        verdict = iso.Undecided(claim=claim, lower=Fraction(1, 4), upper=upper, reason="no time")
        monkeypatch.setattr("isoform.api.assertions.prove", lambda *_, v=verdict, **__: v)
        error = refused(a, b, on=BOX)
        assert error.verdict is verdict
        assert "undecided" in str(error) and "no time" in str(error) and words in str(error)


def test_what_is_certified_then_passes(a: Path, b: Path) -> None:
    text = str(refused(a, b, on=BOX, within="0.1"))
    certified = text.partition("within=")[2].split()[0]
    iso.assert_equal(a, b, on=BOX, within=certified)


def test_a_large_witness_is_not_printed_in_full(tmp_path: Path) -> None:
    for name, last in (("a", 1), ("b", 2)):
        np.savez(tmp_path / f"{name}.npz", W0=np.full((1, 40), last, dtype=np.float32))
    text = str(refused(tmp_path / "a.npz", tmp_path / "b.npz", on=BOX))
    assert "(40 in all)" in text and "x to paste" not in text


def test_numbers_are_pasted_exactly() -> None:
    for value in (Fraction(1, 3), Fraction(-7, 8), Fraction(10) ** 400, Fraction(0)):
        assert eval(pasted(value), {"Fraction": Fraction}) == value


def test_misuse_passes_through_as_it_is(a: Path, tmp_path: Path) -> None:
    with pytest.raises(iso.Refused, match="not both"):
        iso.assert_equal(a, a, within=1, same_decision=True)
    with pytest.raises(FileNotFoundError):
        iso.assert_equal(a, tmp_path / "absent.onnx")
    with pytest.raises(iso.DomainError):
        iso.assert_equal(a, a, on="circle:1")


def test_modules_and_networks_are_taken(a: Path) -> None:
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU(), torch.nn.Linear(2, 2))
    module = module.eval()
    iso.assert_equal(module, iso.read(module).network)
    assert "at x" in str(refused(module, iso.read(a), on=BOX))


def test_pytest_shows_the_line_of_the_test_only(a: Path, b: Path, tmp_path: Path) -> None:
    test = tmp_path / "test_export.py"
    test.write_text("import isoform\n\ndef test_export():\n"
                    "    isoform.assert_equal('a.npz', 'b.npz', on='box:-1,1')\n")
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
                           "--rootdir", str(tmp_path), test.name], cwd=tmp_path,
                          env={k: v for k, v in os.environ.items() if k != "CI"},  # prints more
                          capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "at x" in done.stdout and "test_export.py:4" in done.stdout
    assert "assertions.py" not in done.stdout and "raise" not in done.stdout
    assert len(done.stdout.splitlines()) < 30


def test_a_message_fits_any_verdict(a: Path, b: Path) -> None:
    verdict = iso.prove(b, equal_to=a, on=BOX, within=[Fraction(1, 100)] * 2)
    assert "what to do" in message(verdict, "a", "b")
