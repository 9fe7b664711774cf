# SPDX-License-Identifier: Apache-2.0
"""Claims about float evaluation: proved, refuted and left open, and forgeries of all three."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from float_sums import F32, F64, WAYS, computed, random_net
from isoform.certificate.certificate import Certificate
from isoform.certificate.check import check
from isoform.certificate.evidence import Counterexample, Enumerate, Evidence
from isoform.certificate.reduction import reduced
from isoform.certificate.verdict import Proved, Refuted, Undecided
from isoform.errors import CertificateRejected, Refused
from isoform.network.claim import Arithmetic, Claim, Equal, SameDecision, Within
from isoform.network.domain import Box, FiniteSet, bound_to
from isoform.network.network import Network
from isoform.network.operators import Linear
from isoform.numerics.exact import Exact
from isoform.verify.float_claims import prove_in_floats

PAIR = random_net(3, (3, 8, 2)), random_net(3, (3, 8, 2))
BOX = Box(-1, 1)


def slack(first: Network, second: Network) -> Fraction:
    """The least eps that can be proved: E_f + E_g, as sharp as they become."""
    claim = Claim(Within(Fraction(0)), bound_to(BOX, first.dimension), F32)
    return reduced(first, second, claim).slack


def test_equal_networks_are_within_their_errors_in_floats_and_no_closer() -> None:
    eps = slack(*PAIR)
    found = prove_in_floats(*PAIR, Claim(Within(eps), BOX, F32))
    assert isinstance(found, Proved) and found.claim.arithmetic is F32
    assert found.upper == eps and check(found.certificate).holds
    assert check(found.certificate).upper == eps
    short = prove_in_floats(*PAIR, Claim(Within(eps - Fraction(1, 2**90)), BOX, F32), timeout=0.2)
    assert isinstance(short, Undecided) and "rounding errors" in short.reason
    forged = replace(found.certificate,
                     claim=replace(found.certificate.claim, relation=Within(eps * Fraction(9, 10))))
    with pytest.raises(CertificateRejected, match="rounding errors"):
        check(forged)


def test_another_arithmetic_in_the_certificate_is_another_claim() -> None:
    """Doubles have smaller errors; a proof over the reals with eps 0 is none in floats."""
    found = prove_in_floats(*PAIR, Claim(Within(slack(*PAIR)), BOX, F32))
    assert isinstance(found, Proved)
    doubled = replace(found.certificate, claim=replace(found.certificate.claim, arithmetic=F64))
    assert check(doubled).holds  # float32 weights are float64 numbers
    small = replace(found.certificate, claim=Claim(Within(Fraction(1, 10**12)), BOX, F64))
    assert check(small).holds
    with pytest.raises(CertificateRejected):
        check(replace(small, claim=replace(small.claim, arithmetic=F32)))
    for relation in (Equal(), SameDecision()):
        with pytest.raises(CertificateRejected, match="decided"):
            check(replace(small, claim=Claim(relation, BOX, F32)))


def shifted(by: float) -> Network:
    """The second of the pair with another bias at the end."""
    network = PAIR[1]
    last = network.nodes[-1]
    assert isinstance(last.operator, Linear) and isinstance(last.operator.bias, np.ndarray)
    bias = last.operator.bias + np.array([by, 0], dtype=np.float32)
    node = replace(last, operator=Linear(last.operator.maps, bias))
    return Network(network.inputs, (*network.nodes[:-1], node), network.outputs)


def test_a_difference_beyond_eps_and_the_errors_refutes_for_every_order() -> None:
    other = shifted(0.5)
    found = prove_in_floats(PAIR[0], other, Claim(Within(Fraction(1, 4)), BOX, F32), timeout=2)
    assert isinstance(found, Refuted)
    point = found.witness.point
    assert point.is_representable(np.float32) and not check(found.certificate).holds
    x = point.to_float(np.float32)
    for way in WAYS:
        gap = computed(other, x, way) - computed(PAIR[0], x, way)
        assert np.abs(gap).max() > 0.25


def test_a_difference_between_eps_and_the_errors_stays_open() -> None:
    other = shifted(0.5)
    within = Claim(Within(Fraction(1, 2)), BOX, F32)
    found = prove_in_floats(PAIR[0], other, within, timeout=0.5)
    assert isinstance(found, Undecided)
    assert found.upper is not None and found.lower < Fraction(1, 2) < found.upper
    pointed = Certificate(
        source=PAIR[0], target=other, claim=within, conclusion="e1",
        evidence=(Evidence("e1", Counterexample(Exact.zeros(3))),),
    )
    with pytest.raises(CertificateRejected, match="holds at this point"):
        check(pointed)


def test_witnesses_in_floats_are_made_of_floats() -> None:
    point = Exact.of(np.array([Fraction(1, 3)] * 3, dtype=object))
    certificate = Certificate(
        source=PAIR[0], target=shifted(2.0), conclusion="e1",
        claim=Claim(Within(Fraction(1, 4)), BOX, F32),
        evidence=(Evidence("e1", Counterexample(point)),),
    )
    with pytest.raises(CertificateRejected, match="numbers of the type"):
        check(certificate)
    assert not check(replace(certificate, claim=replace(
        certificate.claim, arithmetic=Arithmetic.REALS))).holds


def test_finite_domains_are_enumerated_with_the_smaller_eps() -> None:
    points = FiniteSet(Exact.of(np.eye(3, dtype=np.float32)))
    claim = Claim(Within(Fraction(2, 3)), points, F32)
    certificate = Certificate(
        source=PAIR[0], target=shifted(0.5), claim=claim, conclusion="e1",
        evidence=(Evidence("e1", Enumerate()),),
    )
    assert check(certificate).holds
    with pytest.raises(CertificateRejected):
        check(replace(certificate, claim=replace(claim, relation=Within(Fraction(1, 2)))))


def test_the_file_is_asked_whether_it_means_the_same_in_floats(models: Path) -> None:
    from isoform.api import read

    fine = read(models / "feedforward/fc1.onnx")
    leaky = read(models / "feedforward/mnist5x20_leaky_relu.onnx")
    found = prove_in_floats(fine.network, fine.network, Claim(Within(Fraction(1)), BOX, F32))
    assert isinstance(found, Proved)
    assert check(found.certificate, source=fine.loaded, target=fine.loaded).compared
    with pytest.raises(Refused, match="LeakyRelu"):
        prove_in_floats(leaky.network, leaky.network, Claim(Within(Fraction(1)), BOX, F32))


def gemm_file(path: Path, alpha: float) -> Path:
    """A Gemm of two inputs with a factor."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.array([[1, 2], [3, 4]], dtype=np.float32), "W")
    node = helper.make_node("Gemm", ["x", "W"], ["y"], alpha=alpha)
    graph = helper.make_graph(
        [node], "gemm", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2])], [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def test_a_factor_that_the_reader_folds_is_no_sum_as_written(tmp_path: Path) -> None:
    """The runtime multiplies once more than the network that was read."""
    import isoform.api as iso

    plain = gemm_file(tmp_path / "one.onnx", 1.0)
    claim = {"on": "box:-1,1", "within": "1e-3", "arithmetic": "float32"}
    proof = iso.prove(plain, equal_to=plain, **claim)
    assert isinstance(proof, Proved) and iso.check(proof, source=plain, target=plain).compared
    folded = gemm_file(tmp_path / "three.onnx", 3.0)
    with pytest.raises(Refused, match="Gemm"):
        iso.prove(folded, equal_to=folded, **claim)
    reals = iso.prove(folded, equal_to=folded, on="box:-1,1", within="1e-3")
    assert isinstance(reals, Proved)
    forged = replace(reals.certificate, claim=replace(reals.certificate.claim, arithmetic=F32))
    assert check(forged).holds  # of the embedded network
    with pytest.raises(CertificateRejected, match="Gemm"):
        iso.check(forged, source=folded, target=folded)


def test_an_arithmetic_that_the_file_does_not_compute_in_is_refused(tmp_path: Path) -> None:
    import isoform.api as iso

    plain = gemm_file(tmp_path / "one.onnx", 1.0)
    with pytest.raises(Refused, match="float32"):
        iso.prove(plain, equal_to=plain, on="box:-1,1", within="1e-3", arithmetic="float64")
    with pytest.raises(Refused, match="float16"):
        iso.prove(plain, equal_to=plain, on="box:-1,1", within="1e-3", arithmetic="float16")


def test_a_certificate_in_floats_survives_its_file(tmp_path: Path) -> None:
    from isoform.certificate.certificate import load, save

    found = prove_in_floats(*PAIR, Claim(Within(slack(*PAIR)), BOX, F32))
    assert isinstance(found, Proved)
    save(found.certificate, tmp_path / "floats.json")
    again = load(tmp_path / "floats.json")
    assert again.claim.arithmetic is F32 and check(again).holds
