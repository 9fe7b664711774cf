# SPDX-License-Identifier: Apache-2.0
"""One eps an output, polytopes as text, and the sets that `isoform prove` takes."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import isoform as iso
from isoform.api.proving import relation_of

HALF, THIRD = Fraction(1, 2), Fraction(1, 3)


@pytest.mark.parametrize("given, eps", [
    ("1e-3,1e-2", (Fraction(1, 1000), Fraction(1, 100))),
    ("0.1 , 1/3", (Fraction(1, 10), THIRD)),
    ([1, 0.5], (Fraction(1), HALF)),
    (["0.1", THIRD], (Fraction(1, 10), THIRD)),
    ((HALF,), (HALF,)),
    (np.array([0.5, 0.0], dtype=np.float32), (HALF, Fraction(0))),
    (iso.Exact.of([HALF, THIRD]), (HALF, THIRD)),
    (np.float32(0.5), HALF), (0.5, HALF), ("0.1", Fraction(1, 10)), (THIRD, THIRD),
])
def test_an_eps_is_one_number_or_one_an_output(given: object, eps: object) -> None:
    assert relation_of(given, False) == iso.Within(eps)


def test_an_eps_comes_from_a_file(tmp_path: Path) -> None:
    np.save(tmp_path / "eps.npy", np.array([0.5, 0.25]))
    assert relation_of(str(tmp_path / "eps.npy"), False).eps == (HALF, Fraction(1, 4))
    np.save(tmp_path / "text.npy", np.array(["a"]))
    with pytest.raises(iso.Refused, match="not numbers"):
        relation_of(str(tmp_path / "text.npy"), False)
    with pytest.raises(FileNotFoundError):
        relation_of("absent.npy", False)


@pytest.mark.parametrize("given", [
    [], (), "1,", "1,x", [0.5, -1], [None], np.ones((2, 2)), np.array([np.nan]), {"a": 1}, [np.inf],
])
def test_a_bad_eps_is_refused(given: object) -> None:
    with pytest.raises(iso.Refused, match="eps"):
        relation_of(given, False)


def test_another_number_of_eps_than_outputs_is_refused(run) -> None:
    with pytest.raises(iso.Refused, match="2 numbers for eps, but 1 output"):
        iso.prove("b.npz", equal_to="a.npz", on="box:-1,1", within=[1, 2])
    ran = run("prove a.npz b.npz --on box:-1,1 --within 1,2 --json")
    assert ran.code == 3 and "2 numbers for eps" in ran.json["error"]["message"]


def test_a_polytope_is_read_from_its_arrays(tmp_path: Path) -> None:
    path = tmp_path / "p.npz"
    np.savez(path, A=np.array([[1, 0.5]]), b=np.array([0.25]), low=np.zeros(2), high=np.ones(2))
    found = iso.domain(f"polytope:{path}")
    assert isinstance(found, iso.Polytope)
    assert found.A.fractions() == [Fraction(1), HALF] and found.b.fractions() == [Fraction(1, 4)]
    assert found.box.high.fractions() == [Fraction(1)] * 2
    np.savez(path, A=np.ones((1, 3)), b=np.ones(1), low=-1, high=1)
    assert iso.domain(f"polytope:{path}").dimension == 3


@pytest.mark.parametrize("arrays, words", [
    ({"A": np.ones((1, 2))}, "no array b and low and high"),
    ({"A": np.ones((1, 2)), "b": np.ones(2), "low": 0, "high": 1}, "polytope with A of shape"),
    ({"A": np.full((1, 2), np.nan), "b": np.ones(1), "low": 0, "high": 1}, "nan|NaN|finite"),
    ({"A": np.ones((1, 2)), "b": np.ones(1), "low": 1, "high": 0}, "empty"),
    ({"A": np.ones((1, 2)), "b": np.array(["x"]), "low": 0, "high": 1}, "not numbers"),
])
def test_a_bad_polytope_says_why(arrays: dict, words: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", **arrays)
    with pytest.raises((iso.DomainError, iso.FormatError), match=words):
        iso.domain(f"polytope:{tmp_path / 'p.npz'}")


def test_prove_takes_every_kind_of_set(run, tmp_path: Path) -> None:
    """a and b differ by a quarter of the second unit, which is at most 2.5 where |x| <= 1."""
    np.save("points.npy", np.array([[0.0, 0.0], [1.0, 1.0], [-1.0, 0.5]]))
    np.save("centre.npy", np.zeros(2))
    np.savez("p.npz", A=np.array([[0.5, 1.0]]), b=np.array([0.0]), low=-1, high=1)
    (tmp_path / "box.vnnlib").write_text(
        "(declare-const X_0 Real)(declare-const X_1 Real)(declare-const Y_0 Real)"
        "(assert (and (>= X_0 -1) (<= X_0 1) (>= X_1 -1) (<= X_1 1)))"
    )
    for on in ("box:-1,1", "ball:centre.npy,1", "vnnlib:box.vnnlib", "points:points.npy",
               "polytope:p.npz", "binary"):
        line = f"prove a.npz b.npz --on {on} --timeout 2 --certificate c.json --json --within"
        assert run(f"{line} 0.7").code == 0, on
        assert run("check c.json --source a.npz --target b.npz").code == 0, on
        assert run(f"{line} 0.1").code == 1, on


def test_every_output_has_its_own_eps(run) -> None:
    """The outputs differ by up to 0.5 and 0.25 on [0, 1]^2, attained at corners."""
    layers = {"W0": np.eye(2), "b0": np.zeros(2), "W1": np.eye(2), "b1": np.zeros(2)}
    np.savez("f.npz", **{name: array.astype(np.float32) for name, array in layers.items()})
    layers["W1"] = np.diag([1.5, 0.75])
    np.savez("g.npz", **{name: array.astype(np.float32) for name, array in layers.items()})
    np.save("eps.npy", np.array([0.625, 0.3125]))
    line = "prove f.npz g.npz --on box:0,1 --timeout 5 --certificate c.json --json --within"
    for eps, code in (("0.51,0.26", 0), ("eps.npy", 0), ("0.75,0.3", 0), ("0.51,0.24", 1),
                      ("0.49,0.26", 1), ("0.3,0.6", 1), ("0.51", 0), ("0.26", 1)):
        ran = run(f"{line} {eps}")
        assert ran.code == code, eps
        assert run("check c.json --source f.npz --target g.npz").code == 0, eps
    assert "within 0.51, 0.26" in run(f"{line} 0.51,0.26").json["claim"]
