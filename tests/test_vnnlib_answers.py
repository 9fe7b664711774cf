# SPDX-License-Identifier: Apache-2.0
"""Answers in VNN-LIB's words from the command line, exports that other verifiers read, and the
counterexamples that they send back."""

from __future__ import annotations

import contextlib
import gzip
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import isoform as iso
from isoform import api
from isoform.errors import FormatError, IsoformError, Refused, TooLarge
from isoform.formats.replay import run_onnx
from isoform.formats.vnnlib.assignment import assignment_of
from isoform.formats.vnnlib.claims import network_query
from isoform.formats.vnnlib.reader import read_query
from isoform.network.claim import Claim, Equal, SameDecision, Within
from isoform.network.joint import copied, difference, flattened, joint
from isoform.network.linear_map import Dense
from isoform.network.network import Builder, Network
from isoform.network.operators import Relu
from isoform.numerics.exact import Exact
from vnnlib_texts import acas, box, declared, monotone, same, two

# a.npz is x -> relu(x0 - 2 x1) + relu(x0/2 + x1 + 1), b.npz has 1.25 before the second relu


def property_of_a(bound: str, version: str = "2.0") -> str:
    """Does a.npz exceed a bound on [0, 1]^2? Its largest value is 2.5."""
    if version == "1.0":
        return "".join(f"(declare-const {v} Real)" for v in ("X_0", "X_1", "Y_0")) + (
            "(assert (and (>= X_0 0) (<= X_0 1) (>= X_1 0) (<= X_1 1)))"
            f"(assert (>= Y_0 {bound}))")
    return ("(vnnlib-version <2.0>)" + declared("f", "XY", (1, 2), (1, 1)) + box("X", 2, 0, 1)
            + f"(assert (>= Y[0,0] {bound}))")


@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_a_property_of_one_network(run: Any, version: str) -> None:
    Path("p.vnnlib").write_text(property_of_a("2.6", version))
    ran = run("prove a.npz --property p.vnnlib --json --certificate c.json")
    assert (ran.code, ran.json["answer"], ran.json["verdict"]) == (0, "unsat", "proved")
    assert ran.json["source"] == ran.json["target"] and ran.json["property"] == "p.vnnlib"
    checked = run("check c.json --source a.npz --json")
    assert checked.code == 0 and checked.json["compared"]
    assert run("check c.json --source b.npz").code == 1
    assert "the network satisfies: the property p.vnnlib" in run("check c.json").out
    Path("p.vnnlib").write_text(property_of_a("2.25", version))
    ran = run("prove a.npz --property p.vnnlib --counterexample ce.txt")
    assert ran.code == 1 and "answer          sat" in ran.out and "meets" in ran.out
    assert "largest difference" not in ran.out
    held = Path("ce.txt").read_text()
    assert held.startswith("sat\n((X_0 " if version == "1.0" else "sat\nX float32 [1,2]\n")
    again = run("prove a.npz --property p.vnnlib --replay ce.txt --json").json
    assert again["replay"] == "accepted: replayed exactly" and again["answer"] == "sat"


def test_a_closed_bound_that_is_just_met(run: Any) -> None:
    Path("p.vnnlib").write_text(property_of_a("2.5"))
    ran = run("prove a.npz --property p.vnnlib --json").json
    assert ran["answer"] == "sat" and ran["witness"]["point"] == [0.0, 1.0] or ran[
        "witness"]["source"] == [2.5]
    Path("p.vnnlib").write_text(property_of_a("2.5").replace("(>= Y", "(> Y"))
    assert run("prove a.npz --property p.vnnlib --json").json["answer"] != "sat"


def test_packed_files(run: Any) -> None:
    with gzip.open("p.vnnlib.gz", "wt") as file:
        file.write(property_of_a("2.6"))
    assert run("prove a.npz --property p.vnnlib.gz --json").json["answer"] == "unsat"
    Path("broken.vnnlib.gz").write_bytes(Path("p.vnnlib.gz").read_bytes()[:40])
    assert run("prove a.npz --property broken.vnnlib.gz").code == 3
    with gzip.open("bomb.vnnlib.gz", "wb") as file:
        file.write(b" " * 2_000_000)
    with pytest.raises(TooLarge, match="unpacked"):
        read_query("bomb.vnnlib.gz", limit_bytes=1_000_000)


def test_nothing_is_written_for_an_unsat_answer(run: Any) -> None:
    Path("p.vnnlib").write_text(property_of_a("3"))
    ran = run("prove a.npz --property p.vnnlib --counterexample ce.txt --json")
    assert ran.json["counterexample"] is None and not Path("ce.txt").exists()
    assert "ce.txt was not written: the claim is proved" in ran.err
    answer = iso.prove_property("a.npz", "p.vnnlib")
    with pytest.raises(Refused, match="no counterexample"):
        answer.save_assignment("ce.txt")


def test_two_networks_in_order_and_by_name(run: Any) -> None:
    text = two() + box("X", 2, 0, 1) + same(2)
    Path("q.vnnlib").write_text(text + "(assert (> (- V[0,0] Y[0,0]) 0.375))")
    ran = run("prove a.npz b.npz --property q.vnnlib --json").json
    assert ran["answer"] == "sat" and ran["source"]["path"] == "a.npz"
    assert set(ran["networks"]) == {"f", "g"}
    named = run("prove --property q.vnnlib --network g=b.npz --network f=a.npz --json").json
    assert named["answer"] == "sat" and named["source"]["path"] == "a.npz"
    turned = run("prove --property q.vnnlib --network g=a.npz --network f=b.npz --json").json
    assert turned["answer"] == "unsat"
    Path("q.vnnlib").write_text(
        text + "(assert (or (> (- V[0,0] Y[0,0]) 0.7) (< (- V[0,0] Y[0,0]) (- 0.7))))")
    ran = run("prove a.npz b.npz --property q.vnnlib --json").json
    assert ran["answer"] == "unsat" and ran["claim"].startswith("within 0.7")


def test_monotonicity_with_one_file(run: Any) -> None:
    Path("q.vnnlib").write_text(monotone(2))
    ran = run("prove a.npz --property q.vnnlib --counterexample ce.txt --json").json
    assert ran["answer"] == "unsat" and ran["source"] is None
    Path("q.vnnlib").write_text(monotone(2, at=1))  # a falls in x1 where the first unit is on
    ran = run("prove a.npz --property q.vnnlib --counterexample ce.txt --json").json
    assert ran["answer"] == "sat"
    again = run("prove a.npz --property q.vnnlib --replay ce.txt --json").json
    assert again["replay"].startswith("accepted")


def test_a_network_equals_itself(run: Any) -> None:
    text = two("(equal-to f)") + box("X", 2, 0, 1) + same(2)
    for row, answer in (("(!= V[0,0] Y[0,0])", "unsat"), ("(> (+ V[0,0] Y[0,0]) 4)", "sat")):
        Path("q.vnnlib").write_text(text + f"(assert {row})")
        ran = run("prove a.npz --property q.vnnlib --json --counterexample ce.txt").json
        assert ran["answer"] == answer and ran["source"] == ran["target"]
    assert run("prove a.npz --property q.vnnlib --replay ce.txt --json").json["answer"] == "sat"


@pytest.mark.parametrize(("line", "said"), [
    ("prove a.npz --property p.vnnlib --on box:0,1", "--property says domain and claim itself"),
    ("prove a.npz --property p.vnnlib --within 1", "--property says domain and claim itself"),
    ("prove a.npz --property p.vnnlib --network f=a.npz", "not both"),
    ("prove --property p.vnnlib --network f", "write NAME=FILE"),
    ("prove --property p.vnnlib --network h=a.npz", "no file for f; h is not declared"),
    ("prove a.npz b.npz --property p.vnnlib", "declares 1 network"),
    ("prove a.npz b.npz --network f=a.npz", "--network belongs to --property"),
    ("prove a.npz", "Missing argument 'B'"),
    ("prove", "Missing argument 'A'"),
    ("prove a.npz --property absent.vnnlib", "no such file"),
    ("prove wide.npz --property p.vnnlib", "X has the shape [1, 2]"),
    ("prove a.npz b.npz --export out", "kind Everywhere has no query"),
    ("prove a.npz b.npz --on box:0,1 --export a.npz", "--export takes a folder"),
    ("prove a.npz b.npz --on box:0,1 --export no/where", "does not exist"),
    ("prove a.npz b.npz --on box:0,1 --replay absent.txt", "no such file"),
    ("prove a.npz b.npz --on box:0,1 --replay p.vnnlib", "p.vnnlib: line 1: no pair of a name"),
])
def test_calls_that_make_no_sense(run: Any, line: str, said: str) -> None:
    Path("p.vnnlib").write_text(property_of_a("3"))
    ran = run(line)
    assert ran.code == 3 and said in ran.err


# --- export ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("options", "relation", "both"), [
    ("--within 0.6", Within(Fraction(3, 5)), False), ("", Equal(), None),
])
def test_an_export_says_the_same(run: Any, options: str, relation: object, both: object) -> None:
    ran = run(f"prove a.npz b.npz --on box:-1,0.1 {options} --export out --json").json
    files = ran["export"]["files"]
    assert files[:3] == ["f.onnx", "g.onnx", "query.vnnlib"]
    asked = network_query(
        read_query("out/query.vnnlib"),
        {name: iso.read(f"out/{name}.onnx").loaded for name in "fg"},
    )
    assert asked.claim.relation == relation
    assert asked.claim.domain.high.fractions() == [Fraction(1, 10)] * 2
    other = run("prove out/f.onnx out/g.onnx --property out/query.vnnlib --json").json
    assert {"proved": "unsat", "refuted": "sat"}[ran["verdict"]] == other["answer"]
    if both is None:
        assert "an equality has no query" in ran["export"]["left_out"][0]
        assert not Path("out/joint.onnx").exists()
        return
    x = np.random.default_rng(0).uniform(-1, 0.1, (200, 2)).astype(np.float32)
    d = run_onnx("out/joint.onnx", x)
    assert np.allclose(d, iso.evaluate("b.npz", x) - iso.evaluate("a.npz", x), atol=1e-6)
    closed = run("prove out/joint.onnx --property out/joint.vnnlib --json").json
    assert closed["answer"] == other["answer"]


def layers(folder: Path, name: str, seed: int, m: int = 3) -> Path:
    random = np.random.default_rng(seed)
    path = folder / name
    arrays = {"W0": random.normal(size=(4, 2)), "b0": random.normal(size=4),
              "W1": random.normal(size=(m, 4)), "b1": random.normal(size=m)}
    np.savez(path, **{key: array.astype(np.float32) for key, array in arrays.items()})
    return path


def test_decisions_are_exported_with_both_outputs(tmp_path: Path) -> None:
    f, g = (iso.read(layers(tmp_path, f"{name}.npz", seed)) for name, seed in (("f", 1), ("g", 5)))
    claim = Claim(SameDecision(Fraction(1, 8)), iso.Box(-1, 1))
    made = api.export_claim(f, g, claim, tmp_path / "out")
    assert made.left_out == () and made.files[-1] == "joint.vnnlib"
    x = np.random.default_rng(0).uniform(-1, 1, (50, 2)).astype(np.float32)
    both = run_onnx(tmp_path / "out" / "joint.onnx", x)
    f_x, g_x = iso.evaluate(f, x), iso.evaluate(g, x)
    assert np.allclose(both, np.concatenate([f_x, g_x - f_x], axis=1), atol=1e-5)
    first = iso.prove_property([f, g], tmp_path / "out" / "query.vnnlib")
    second = iso.prove_property(tmp_path / "out" / "joint.onnx", tmp_path / "out" / "joint.vnnlib")
    assert first.asked.claim.relation == SameDecision(Fraction(1, 8))
    assert first.word == second.word == "sat"


@pytest.mark.parametrize("name", [
    "convolutional/conv_mp1.onnx", "feedforward/oneInput_twoBranches.onnx",
    "feedforward/linear2-3_bn1-linear3-1.onnx", "feedforward/KJ_TinyTaxiNet.onnx",
])
def test_real_networks_are_exported(name: str, models: Path, tmp_path: Path) -> None:
    """Convolutions, a fixed batch of two rows, batch normalisation; against a nudged copy."""
    f = iso.read(models / name)
    build = Builder(*f.network.inputs)
    m = f.network.output_dimension
    last = flattened(build, copied(build, f.network, range(len(f.network.inputs))))
    g = iso.read(build.build(build.linear(Dense(np.eye(m, dtype=np.float32)), last,
                                          np.full(m, 0.25, dtype=np.float32))))
    made = api.export_claim(f, g, Claim(Within(Fraction(1, 2)), iso.Box(0, 1)), tmp_path / "out")
    assert made.left_out == ()
    x = np.random.default_rng(0).uniform(0, 1, (8, f.network.dimension)).astype(np.float32)
    assert np.allclose(run_onnx(tmp_path / "out" / "joint.onnx", x), 0.25, atol=1e-4)
    again = api.property_query([tmp_path / "out" / "f.onnx", tmp_path / "out" / "g.onnx"],
                               tmp_path / "out" / "query.vnnlib")
    assert again.asked.claim.relation == Within(Fraction(1, 2))
    assert again.asked.claim.domain.high.fractions() == [1] * f.network.dimension


def test_a_property_is_exported_beside_its_network(run: Any) -> None:
    Path("p.vnnlib").write_text(property_of_a("2.25"))
    ran = run("prove a.npz --property p.vnnlib --export out --json").json
    assert ran["export"]["files"] == ["f.onnx", "query.vnnlib", "joint.vnnlib"]
    for name in ("query", "joint"):
        again = run(f"prove out/f.onnx --property out/{name}.vnnlib --json").json
        assert again["answer"] == "sat"
    Path("q.vnnlib").write_text(monotone(2, at=1))
    run("prove a.npz --property q.vnnlib --export two")
    assert run("prove two/f.onnx --property two/joint.vnnlib --json").json["answer"] == "sat"


def test_differences_of_networks_with_other_shapes() -> None:
    build = Builder((1, 2), (1,))
    image = build.linear((Dense(np.array([[1.0, 2.0]])), Dense(np.array([[4.0]]))), (0, 1))
    f = build.build(image, image)
    flat = Builder((3,))
    g = flat.build(flat.linear(Dense(np.array([[1.0, 1.0, 1.0], [0.0, 0.0, 1.0]])), 0))
    gap = difference(f, g)
    x = np.array([[3.0, 5.0, 7.0]])
    assert gap.inputs == f.inputs
    assert iso.evaluate(gap, x).tolist() == [[15.0 - 41.0, 7.0 - 41.0]]
    assert iso.evaluate(difference(f, g, both=True), x).tolist() == [[41.0, 41.0, -26.0, -34.0]]
    side = joint([g, g], [np.array([0, 1, 2]), np.array([2, 0, 3])], 4)
    assert iso.evaluate(side, np.array([[1.0, 2.0, 4.0, 8.0]])).tolist() == [[7.0, 4.0, 13.0, 8.0]]
    with pytest.raises(ValueError, match="for a network of 3"):
        joint([g], [np.array([0, 1])], 2)
    with pytest.raises(ValueError, match="networks of shapes"):
        difference(f, Builder((2,)).build(0))


# --- foreign counterexamples ----------------------------------------------------------------------

INSIDE = "((X_0 0.0)\n(X_1 1.0)\n(Y_0 0.6))"


@pytest.mark.parametrize(("text", "code", "said"), [
    (INSIDE, 1, "accepted"), ("sat\n" + INSIDE, 1, "accepted"),
    ("sat\n(X_0 0)(X_1 1e0)", 1, "accepted"),
    ("sat\nX float32 [1,2]\n0.0\n1.0\nY float32 [1,1]\n9\nU float32 [1,2]\n0.0\n1.0\n", 1,
     "accepted"),
    ("((X_0 0.0) (X_1 1.0000001))", 1, "discarded: the point is outside of the domain"),
    ("((X_0 (- 0.5)) (X_1 0))", 1, "discarded: the point is outside"),
    ("((X_0 0.0) (X_1 0.0))", 1, "discarded: the claim holds at the point, exactly computed: the "
     "difference there is 0.25"),
    ("((X_0 0.0))", 1, "discarded: the counterexample has no value of X_1"),
    ("((X_0 0.0) (X_1 1) (X_2 1))", 1, "discarded: X_2 has a value"),
    ("X float32 [1,2]\n0.0\n1.0\nU float32 [1,2]\n0.0\n0.5\n", 1,
     "discarded: U[0,1] is 0.5, but the query identifies it with X[0,1], which is 1"),
    ("X float32 [1,2]\n0.0\n1.0\n", 1, "discarded: the counterexample has no value of U"),
    ("X float32 [3]\n0.0\n1.0\n1\nU float32 [1,2]\n0.0\n1.0\n", 1,
     "discarded: X has the shape [3]"),
    ("garbage", 3, "line 1: 'garbage' is no name"),
    ("sat\n((X_0 zero))", 3, "line 2: no pair of a name and a decimal"),
    ("((X_0 1) (X_0 2))", 3, "X_0 has two values"),
    ("((Z_0 1))", 3, "none of X_0"),
    ("((Y_0 1))", 3, "no value of an input"),
    ("X float32 [1,2]\n0.0\nnan\n", 3, "value 1 of the 2 of X is missing"),
    ("X float32 [1,2]\n0.0", 3, "value 1 of the 2"),
    ("", 3, "no assignment"),
])
def test_foreign_counterexamples(run: Any, text: str, code: int, said: str) -> None:
    Path("foreign.txt").write_text(text)
    line = "prove a.npz b.npz --on box:0,1 --within 0.4375 --replay foreign.txt"
    ran = run(line)
    assert ran.code == code and said in ran.out + ran.err
    if code == 1:
        assert run(line + " --json").json["verdict"] == "refuted"


def test_a_point_on_the_boundary_of_a_closed_query_refutes_nothing(run: Any) -> None:
    Path("foreign.txt").write_text(INSIDE)  # the difference there is 1/2
    ran = run("prove a.npz b.npz --on box:0,1 --within 0.5 --replay foreign.txt --json").json
    assert ran["replay"].startswith("discarded: the claim holds at the point")
    Path("p.vnnlib").write_text(property_of_a("2.5"))
    ran = run("prove a.npz --property p.vnnlib --replay foreign.txt --json").json
    assert "misses the nearest forbidden set by" in ran["replay"]


def test_our_own_counterexamples_come_back(run: Any) -> None:
    run("prove a.npz b.npz --on box:0,1 --within 0.4 --counterexample ce.txt")
    ran = run("prove a.npz b.npz --on box:0,1 --within 0.4 --replay ce.txt --json").json
    assert ran["replay"] == "accepted: replayed exactly"
    other = run("prove a.npz b.npz --on box:0,1 --within 10 --replay ce.txt --json").json
    assert other["verdict"] == "proved" and other["replay"].startswith("discarded")


def test_a_refutation_by_a_foreign_point_has_a_certificate(run: Any) -> None:
    Path("foreign.txt").write_text(INSIDE)
    run("prove a.npz b.npz --on box:0,1 --within 0.4 --replay foreign.txt --certificate c.json")
    ran = run("check c.json --source a.npz --target b.npz --json")
    assert ran.json["verdict"] == "refuted"
    record = json.loads(Path("c.json").read_text())
    assert record["evidence"][0]["kind"] == "witness"


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="()XYU_01.- \nsatfloat32[],;\"|", max_size=60))
def test_arbitrary_assignments_raise_our_errors_only(text: str) -> None:
    for head in ("", "sat\n((X_0 ", "X float32 [1,2]\n"):
        with contextlib.suppress(IsoformError):
            assignment_of(head + text)


def test_points_keep_all_their_digits(tmp_path: Path) -> None:
    path = tmp_path / "p.vnnlib"
    path.write_text("(declare-const X_0 Real)(declare-const Y_0 Real)(assert (= X_0 0.1))"
                    "(assert (>= Y_0 0))")
    build = Builder((1,))
    net = build.build(build.add(Relu(), (0,), 1))
    answer = iso.prove_property(net, path)
    assert answer.word == "sat" and "(X_0 0.1)" in (answer.assignment or "")
    assert assignment_of(answer.assignment or "").flat == {0: Fraction(1, 10)}


def test_an_attack_of_a_network_that_was_nudged(models: Path, tmp_path: Path) -> None:
    """Negative control: property 3 holds of 3_3; its bias of the first output is lowered."""
    path = tmp_path / "p3.vnnlib"
    path.write_text(acas(3, "1.0"))
    model = iso.read(models / "acasxu" / "ACASXU_run2a_3_3_batch_2000.onnx")
    build = Builder(*model.network.inputs)
    nudged = lowered_first_output(build, model.network)
    assert iso.prove_property(nudged, path, timeout=20).word == "sat"


def lowered_first_output(build: Builder, network: Network) -> Network:
    shift = np.array([-1.0, 0, 0, 0, 0])
    last = flattened(build, copied(build, network, range(len(network.inputs))))
    return build.build(build.linear(Dense(np.eye(5)), last, shift))


def test_format_errors_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "broken.vnnlib"
    path.write_text("(assert")
    with pytest.raises(FormatError, match=r"broken\.vnnlib"):
        iso.prove_property(Exact, path)
