# SPDX-License-Identifier: Apache-2.0
"""Attacks on the checker and the prover: forged meanings, hostile files, random forgeries judged
by exact enumeration. Every case named here was once accepted, or once ended in a crash."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from isoform.certificate.certificate import Certificate, load, save
from isoform.certificate.check import check
from isoform.certificate.codes import Codes
from isoform.certificate.evidence import Counterexample, Evidence, Rounding, Sweep
from isoform.certificate.verdict import Proved, Refuted
from isoform.errors import CertificateRejected, DomainError, IsoformError, Refused
from isoform.network.claim import Claim, Equal, SameDecision, Within
from isoform.network.domain import (
    Box,
    Everywhere,
    FiniteSet,
    Polytope,
    Sequences,
    Union,
)
from isoform.network.evaluate import evaluate_exact
from isoform.network.linear_map import Dense, Gather
from isoform.network.network import Builder, Network, Node
from isoform.network.operators import Concat, Linear, Opaque, Product, Relu, Select
from isoform.numerics.exact import Exact
from isoform.verify.goal import rounded_up
from isoform.verify.prove import prove, prove_best

EQUAL = Claim(Equal())


def chosen(inputs: int, input_number: int, rectified: bool = False) -> Network:
    """x_i, or max(x_i, 0)."""
    build = Builder((inputs,))
    value = build.add(Select(np.array([input_number])), (0,), 1)
    return build.build(build.add(Relu(), (value,), 1) if rectified else value)


def dense(weight, bias=None) -> Network:
    weight = np.array(weight, dtype=np.float64)
    build = Builder((weight.shape[1],))
    return build.build(build.linear(Dense(weight), 0, bias))


def certificate(source: Network, target: Network, claim: Claim, *codes: Codes) -> Certificate:
    return Certificate(
        source=source, target=target, claim=claim,
        evidence=(Evidence("e1", Sweep(codes)),), conclusion="e1",
    )


# --- meanings that did not fit ----------------------------------------------------------------


def test_a_polytope_whose_box_has_another_dimension_is_refused() -> None:
    """Its box gave the basis one input only, so that the column of x_2 was also the first unit:
    x_2 = relu(x_1) was accepted."""
    matrix, limit = Exact.zeros((1, 2)), Exact.zeros(1)
    with pytest.raises(DomainError, match="dimension"):
        Polytope(matrix, limit, Box([-1], [1]))
    for bad in (Exact.zeros((1, 1)), Exact.zeros(2)):
        with pytest.raises(DomainError):
            Polytope(matrix, bad, Box(-1, 1))
    on = Polytope(matrix, limit, Box(-1, 1))
    forged = certificate(chosen(2, 1), chosen(2, 0, True), Claim(Equal(), on), Codes.all_new(1))
    with pytest.raises(CertificateRejected):
        check(forged)
    assert isinstance(prove(chosen(2, 1), chosen(2, 0, True), Claim(Equal(), on)), Refuted)


def test_a_network_that_is_not_primitive_is_refused() -> None:
    """A sweep reads flat values only: Concat along another axis was taken for Concat along the
    first, and two inputs for one."""
    flat = Network(((4,),), (Node(Concat(0), (0, 0), (8,)),), (1,))
    shaped = Network(((2, 2),), (Node(Concat(1), (0, 0), (2, 4)),), (1,))
    point = Exact.of(np.arange(4))
    assert evaluate_exact(flat, point) != evaluate_exact(shaped, point)
    with pytest.raises(CertificateRejected, match="primitive"):
        check(certificate(flat, shaped, EQUAL))
    assert isinstance(prove(flat, shaped, EQUAL, timeout=0.2), Refuted)


@pytest.mark.parametrize("operator", [
    Select(np.array([5])), Select(np.array([-1])), Linear((Dense(np.ones((1, 3))),)),
    Linear((Gather(indices=np.array([2]), scale=None, inputs=2),)), Linear(()),
    Linear((Dense(np.ones((1, 2), dtype=np.int64)),)), Opaque("relu"), Opaque("softmax"),
    Opaque("tanh", 1), Linear((Dense(np.ones((1, 2), dtype=np.float16)),)),
], ids=repr)
def test_a_network_whose_parts_do_not_fit_is_refused(operator) -> None:
    net = Network(((2,),), (Node(operator, (0,), (1,)),), (1,))
    with pytest.raises(CertificateRejected):
        check(certificate(net, net, EQUAL, Codes.all_new(1), Codes.all_new(1)))
    with pytest.raises(Refused):
        prove(net, net, EQUAL)


def test_relations_that_mean_nothing_here_are_refused() -> None:
    first, second = dense([[0.0], [1.0]]), dense([[1.0], [0.0]])
    unit = Box([0], [1])
    for relation in (
        Within(float("nan")), SameDecision(float("nan")), Within(Fraction(9), "sum"),  # type: ignore
        Within(Fraction(-1)),
    ):
        with pytest.raises(CertificateRejected, match="claim"):
            check(certificate(first, second, Claim(relation, unit)))
        with pytest.raises(Refused):
            prove(first, second, Claim(relation, unit))


def test_sets_of_no_points_are_refused() -> None:
    none = FiniteSet(Exact.zeros((0, 2)))
    net = chosen(2, 0)
    for domain in (none, Union((Box(-1, 1), none)), Sequences(1, none)):
        with pytest.raises(DomainError):
            prove(net, net, Claim(Equal(), domain))
        with pytest.raises(CertificateRejected, match="domain"):
            check(certificate(net, net, Claim(Equal(), domain)))
    for make in (
        lambda: Union(()), lambda: Sequences(0, Box(0, 1)), lambda: Sequences(-2, Box(0, 1)),
        lambda: FiniteSet(Exact.zeros(2)), lambda: FiniteSet(Exact.zeros((1, 2, 2))),
    ):
        with pytest.raises(DomainError):
            make()


def test_a_domain_of_another_dimension_is_a_rejection() -> None:
    net = chosen(2, 0)
    with pytest.raises(CertificateRejected, match="domain"):
        check(certificate(net, net, Claim(Equal(), Box([0], [1]))))


def test_rounding_to_integers_is_no_rounding() -> None:
    precise = dense([[1.0]], np.array([3.4]))
    whole = dense([[1.0]], np.array([3]))
    forged = Certificate(
        source=precise, target=whole, rounds=precise, claim=EQUAL, conclusion="e2",
        evidence=(Evidence("e1", Sweep(())), Evidence("e2", Rounding(), ("e1",))),
    )
    with pytest.raises(CertificateRejected, match="int64"):
        check(forged)


def test_nearest_floats_around_the_least_normal_double() -> None:
    """Rounded twice, (1 - 2^-53 - 2^-100) 2^-1022 became 2^-1022; the float below it is nearer."""
    value = (1 - Fraction(1, 2**53) - Fraction(1, 2**100)) * Fraction(1, 2**1022)
    below = float(np.nextafter(2.0**-1022, 0))
    assert Exact.of([value, -value]).to_float().tolist() == [below, -below]


def test_a_lower_value_needs_exact_outputs() -> None:
    """Of enclosures the upper value is not attained."""
    build = Builder((1,))
    smooth = build.build(build.add(Opaque("tanh"), (0,), 1))
    build = Builder((1,))
    other = build.build(
        build.linear([Dense(np.ones((1, 1)))], [build.add(Opaque("tanh"), (0,), 1)], np.ones(1))
    )
    points = FiniteSet(Exact.of([[1], [2]]))
    verdict = prove(smooth, other, Claim(Within(Fraction(2)), points))
    assert isinstance(verdict, Proved) and verdict.lower <= 1 <= verdict.upper


# --- ends of the number line ------------------------------------------------------------------


@pytest.mark.parametrize("size", [2**900, 10**305, 10**308, 2**2000, 2**20_000], ids=int.bit_length)
def test_huge_domains_do_not_crash(size: int) -> None:
    net, other = chosen(2, 1), chosen(2, 0, True)
    for low in (0, -size):
        domain = Box(low, size)
        assert check(certificate(net, net, Claim(Equal(), domain))).statement
        for relation in (Equal(), Within(Fraction(1, 3)), Within(Fraction(3 * size))):
            prove(net, other, Claim(relation, domain), timeout=0.02)
        prove_best(net, other, domain, timeout=0.02)


def test_huge_weights_survive_the_file(tmp_path: Path) -> None:
    """Python writes no integer of more than 4,300 digits as a decimal."""
    for weight in (Fraction(2**20_000), Fraction(1, 3**12_000)):
        build = Builder((1,))
        net = build.build(build.linear(Dense(Exact.of([[weight]])), 0))
        verdict = prove(net, net, EQUAL)
        assert isinstance(verdict, Proved)
        save(verdict.certificate, tmp_path / "c.json")
        again = load(tmp_path / "c.json")
        assert again.source == net and check(again).holds


def test_rounded_up_of_extreme_numbers() -> None:
    for value in (Fraction(10**400), Fraction(1, 10**400), Fraction(10**305 + 1, 3), Fraction(0)):
        assert rounded_up(value) >= value


def iterated(name: str, times: int) -> Network:
    build = Builder((1,))
    value = 0
    for _ in range(times):
        operator = Product() if name == "square" else Opaque(name)
        value = build.add(operator, (value, value) if name == "square" else (value,), 1)
    return build.build(value)


@pytest.mark.parametrize("name, times", [("square", 60), ("exp", 4)])
def test_numbers_without_end_are_refused_in_no_time(name: str, times: int) -> None:
    """60 squarings would need 2^60 bits, exp(exp(exp(99))) more than there are atoms."""
    began = time.monotonic()
    net, nearly = iterated(name, times), iterated(name, times - 1)
    with pytest.raises(Refused):
        evaluate_exact(net, Exact.of([99]))
    point = Evidence("e1", Counterexample(Exact.of([99])))
    with pytest.raises(CertificateRejected):
        check(replace(certificate(net, nearly, EQUAL), evidence=(point,)))
    for domain in (Everywhere(), Box(-99, 99)):
        assert isinstance(prove(net, net, Claim(Equal(), domain)), Proved)
        assert not isinstance(prove(net, nearly, Claim(Equal(), domain), timeout=0.1), Proved)
    assert time.monotonic() - began < 5


def test_ends_of_enclosures_beyond_reach_are_rounded_outward() -> None:
    found = evaluate_exact(iterated("exp", 1), Exact.of([-(10**30), -(10**6)])[:1])
    assert found.low.item() >= 0 and 0 < found.high.item() < Fraction(1, 2**1000)
    build = Builder((1,))
    odd = build.build(build.linear(Dense(-np.ones((1, 1))), build.add(Opaque("exp"), (0,), 1)))
    below = evaluate_exact(odd, Exact.of([-(10**30)]))
    assert below.low.item() < 0 and below.high.item() <= 0


def test_constant_squares_in_a_sweep_are_bounded() -> None:
    """Products of constant rows are constants again: 2^2^60 must not be written out."""
    build = Builder((1,))
    value = build.linear((), (), np.array([3.5]))
    for _ in range(60):
        value = build.add(Product(), (value, value), 1)
    net = build.build(value)
    began = time.monotonic()
    with contextlib.suppress(IsoformError):
        prove(net, net, EQUAL, timeout=0.1)
    assert time.monotonic() - began < 5
