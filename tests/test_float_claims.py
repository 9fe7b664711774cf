# SPDX-License-Identifier: Apache-2.0
"""Claims about float evaluation: the bound holds for every order of the sums, and is not believed.

What evaluates here is written again with numpy's floats, in several orders; onnxruntime too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isoform.certificate.as_written import check_as_written
from isoform.certificate.certificate import Certificate
from isoform.certificate.check import check
from isoform.certificate.evidence import Counterexample, Enumerate, Evidence
from isoform.certificate.float_error import float_error
from isoform.certificate.reduction import reduced
from isoform.certificate.verdict import Proved, Refuted, Undecided
from isoform.errors import CertificateRejected, Refused
from isoform.network.claim import Arithmetic, Claim, Equal, SameDecision, Within
from isoform.network.domain import Box, Everywhere, FiniteSet, bound_to
from isoform.network.evaluate import evaluate_exact
from isoform.network.linear_map import Conv, Csr, Dense, Gather, LinearMap
from isoform.network.network import Builder, Network
from isoform.network.operators import (
    LeakyRelu,
    Linear,
    Maximum,
    MaxPool,
    Opaque,
    Product,
    Relu,
    Step,
)
from isoform.network.primitive import to_primitive
from isoform.numerics.exact import Exact
from isoform.verify.float_claims import prove_in_floats
from random_networks import graphs

F32, F64 = Arithmetic.FLOAT32, Arithmetic.FLOAT64
TYPES = {F32: np.float32, F64: np.float64}
Sum = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def dense(*layers: tuple[np.ndarray, np.ndarray | None]) -> Network:
    """Affine maps with a relu between each two."""
    build = Builder((layers[0][0].shape[1],))
    value = 0
    for number, (weight, bias) in enumerate(layers):
        if number:
            value = build.add(Relu(), (value,), build.size_of(value))
        value = build.linear(Dense(weight), value, bias)
    return build.build(value)


def random_net(seed: int, widths: tuple[int, ...], dtype: type = np.float32) -> Network:
    random = np.random.default_rng(seed)
    return dense(*(
        (random.standard_normal((m, n)).astype(dtype) * dtype(random.choice([0.1, 1, 30])),
         random.standard_normal(m).astype(dtype))
        for n, m in zip(widths, widths[1:], strict=False)
    ))


# --- ways to add -------------------------------------------------------------------------------


def forwards(w: np.ndarray, x: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Product by product, from the bias on; all in the type of x."""
    for j in range(w.shape[1]):
        start = start + w[:, j] * x[j]
    return start


def backwards(w: np.ndarray, x: np.ndarray, start: np.ndarray) -> np.ndarray:
    return forwards(w[:, ::-1], x[::-1], np.zeros_like(start)) + start


def pairwise(w: np.ndarray, x: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Neighbours first, the bias last."""
    terms = w * x
    while terms.shape[1] > 1:
        rest = terms[:, terms.shape[1] // 2 * 2 :]
        terms = np.concatenate([terms[:, 0:-1:2] + terms[:, 1::2], rest], axis=1)
    return terms[:, 0] + start


def fused(w: np.ndarray, x: np.ndarray, start: np.ndarray) -> np.ndarray:
    """One rounding a multiply-add: products of float32 numbers are exact in float64, whose sums
    round far below float32. Only for float32."""
    for j in range(w.shape[1]):
        wide = w[:, j].astype(np.float64) * np.float64(x[j]) + start.astype(np.float64)
        start = wide.astype(np.float32)
    return start


def flushed(w: np.ndarray, x: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Subnormal operands, products and sums count as zero."""
    tiny = np.finfo(w.dtype).tiny

    def flush(a: np.ndarray) -> np.ndarray:
        return np.where(np.abs(a) < tiny, a.dtype.type(0), a)

    w, x, start = flush(w), flush(x), flush(start)
    for j in range(w.shape[1]):
        start = flush(start + flush(w[:, j] * x[j]))
    return start


WAYS = [forwards, backwards, pairwise, fused, flushed]


def computed(network: Network, x: np.ndarray, way: Sum) -> np.ndarray:
    """A dense network with one map a node, one point, in the type of x."""
    values = [x]
    for node in network.nodes:
        operand = values[node.operands[0]]
        if isinstance(node.operator, Relu):
            values.append(np.maximum(operand, 0))
            continue
        assert isinstance(node.operator, Linear)
        part = node.operator.maps[0]
        assert isinstance(part, Dense) and isinstance(part.weight, np.ndarray)
        bias = node.operator.bias
        start = np.zeros(node.shape, dtype=x.dtype) if bias is None else np.asarray(bias)
        values.append(way(part.weight, operand, start.astype(x.dtype)))
    return values[-1]


def worst_ratio(network: Network, box: Box, arithmetic: Arithmetic, ways: list[Sum],
                points: int, seed: int = 0) -> float:
    """The largest |computed - exact| / E over points of the box; the bound fails above 1."""
    domain = bound_to(box, network.dimension)
    assert isinstance(domain, Box)
    error = float_error(network, domain, arithmetic)
    low, high = domain.low.to_float(), domain.high.to_float()
    random = np.random.default_rng(seed)
    worst = Fraction(0)
    for number in range(points):
        share = random.random(len(low)) if number % 2 else random.integers(0, 2, len(low))
        x = (low + share * (high - low)).astype(TYPES[arithmetic])
        true = Exact.of(evaluate_exact(network, Exact.of(x)))
        for way in ways:
            off = (Exact.of(computed(network, x, way)) - true).abs()
            assert np.all((error - off).sign() >= 0), way.__name__
            ratios = zip(off.fractions(), error.fractions(), strict=True)
            worst = max(worst, *(a / b for a, b in ratios))
    return float(worst)


# --- the bound ----------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), hidden=st.integers(1, 12), depth=st.integers(0, 3))
def test_no_order_of_sums_exceeds_the_bound(seed: int, hidden: int, depth: int) -> None:
    network = random_net(seed, (3, *[hidden] * depth, 2))
    assert worst_ratio(network, Box(-2, 2), F32, WAYS, 4, seed) <= 1


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 10**6))
def test_no_order_of_sums_exceeds_the_bound_in_doubles(seed: int) -> None:
    network = random_net(seed, (3, 6, 2), np.float64)
    ways = [forwards, backwards, pairwise, flushed]
    assert worst_ratio(network, Box(-2, 2), F64, ways, 4, seed) <= 1


def test_single_sums_come_within_a_small_factor_of_the_bound() -> None:
    """Not a loose bound: few terms, many points."""
    network = dense((np.array([[0.1, 0.7, 1.3]], dtype=np.float32), None))
    assert 0.2 < worst_ratio(network, Box("0.9", "1.1"), F32, WAYS, 400) <= 1


def test_a_copy_has_next_to_no_error_and_a_sum_of_two_one_rounding() -> None:
    unit = bound_to(Box(0, 1), 2)
    copy = dense((np.array([[0, -1]], dtype=np.float32), None))
    assert float_error(copy, unit, F32).max_abs() < Fraction(1, 2**80)
    both = dense((np.array([[1, -1]], dtype=np.float32), None))
    assert float_error(both, unit, F32).max_abs() <= Fraction(2, 2**24 - 1) + Fraction(1, 2**80)


def test_units_that_never_fire_pass_no_error_on() -> None:
    weight = np.array([[1e6]], dtype=np.float32)
    network = dense((weight, np.array([-2e6], np.float32)), (weight, None))
    error = float_error(network, bound_to(Box(0, 1), 1), F32)
    assert error.max_abs() < Fraction(1, 2**60)


def test_errors_of_stable_units_cancel_with_their_signs() -> None:
    """x - x by way of two units: the error of x itself does not count twice."""
    first = np.array([[1], [1]], dtype=np.float32)
    network = dense(
        (np.full((1, 8), 0.3, np.float32), np.array([4], np.float32)), (first, None),
        (np.array([[1, -1]], dtype=np.float32), None),
    )
    one = float_error(dense((np.full((1, 8), 0.3, np.float32), np.array([4], np.float32))),
                      bound_to(Box(0, 1), 8), F32).max_abs()
    assert float_error(network, bound_to(Box(0, 1), 8), F32).max_abs() < one


@pytest.mark.parametrize("scale", [2.0**-140, 2.0**-126, 2.0**-100])
def test_subnormal_weights_and_results_are_within_the_bound(scale: float) -> None:
    weight = (np.array([[1, 2, 3], [4, -5, 6]]) * scale).astype(np.float32)
    network = dense((weight, None))
    assert worst_ratio(network, Box(-1, 1), F32, WAYS, 20) <= 1
    assert worst_ratio(network, Box(0, Fraction(1, 2**120)), F32, WAYS, 20) <= 1


def test_convolutions_gathers_and_sparse_rows_are_the_matrices_that_they_mean() -> None:
    kernel = np.array([[[0.3, -0.7, 0.2]]], dtype=np.float32)
    maps: list[LinearMap] = [
        Conv(kernel=kernel, space=(4,), strides=(1,), pads=((1, 1),), dilations=(1,)),
        Gather(indices=np.array([3, -1, 0, 0]), scale=np.array([2, 1, 0.1, 3], np.float32),
               inputs=4),
    ]
    maps.append(Csr.of(maps[0].sparse()))
    for part in maps:
        build = Builder((4,))
        network = build.build(build.linear(part, 0))
        plain = dense((part.sparse().dense().to_float(np.float32), None))
        box = bound_to(Box(-1, 1), 4)
        assert float_error(network, box, F32) == float_error(plain, box, F32)


@settings(deadline=None, max_examples=30)
@given(network=graphs())
def test_numpy_stays_within_the_bound_on_random_graphs(network: Network) -> None:
    from isoform.network.evaluate import evaluate

    box = bound_to(Box(-3, 3), network.dimension)
    error = float_error(network, box, F32)
    x = np.random.default_rng(0).uniform(-3, 3, (20, network.dimension)).astype(np.float32)
    near = Exact.of(evaluate(network, x)).T
    true = Exact.of(evaluate_exact(network, Exact.of(x).T))
    assert np.all((error.reshape(-1, 1) - (near - true).abs()).sign() >= 0)


def test_onnxruntime_stays_within_the_bound(models: Path) -> None:
    from isoform.api import read
    from isoform.formats.replay import run_onnx

    for name, side in (("feedforward/fc1.onnx", 1.0), ("feedforward/mnist2x10.onnx", 1.0),
                       ("feedforward/oneInput_twoBranches.onnx", 3.0),
                       ("acasxu/ACASXU_run2a_3_3_batch_2000.onnx", 0.3)):
        network = to_primitive(read(models / name).network)
        n = network.dimension
        error = float_error(network, bound_to(Box(-side, side), n), F32)
        x = np.random.default_rng(1).uniform(-side, side, (12, n)).astype(np.float32)
        near = Exact.of(run_onnx(models / name, x)).T
        true = Exact.of(evaluate_exact(network, Exact.of(x).T))
        assert np.all((error.reshape(-1, 1) - (near - true).abs()).sign() >= 0), name


# --- refusals -----------------------------------------------------------------------------------


def refusal(network: Network, box: Box | Everywhere | FiniteSet, arithmetic: Arithmetic = F32
            ) -> str:
    with pytest.raises(Refused) as caught:
        float_error(network, bound_to(box, network.dimension), arithmetic)
    return str(caught.value)


def test_overflow_is_refused() -> None:
    large = dense((np.full((1, 4), 1e38, np.float32), None))
    assert "overflow" in refusal(large, Box(-1, 1))
    assert "overflow" in refusal(dense((np.ones((1, 1), np.float32), None)), Box(0, 10**38))
    deep = dense(*[(np.full((1, 1), 1e20, np.float32), None)] * 3)
    assert "overflow" in refusal(deep, Box(0, 1))
    float_error(dense((np.full((1, 4), 1e36, np.float32), None)), bound_to(Box(-1, 1), 4), F32)


def test_constants_that_are_not_of_the_type_are_refused() -> None:
    doubles = dense((np.array([[0.1]]), None))
    assert "float32" in refusal(doubles, Box(0, 1))
    float_error(doubles, bound_to(Box(0, 1), 1), F64)
    third = Exact.of(np.array([[Fraction(1, 3)]], dtype=object))
    build = Builder((1,))
    assert "float64" in refusal(build.build(build.linear(Dense(third), 0)), Box(0, 1), F64)


def test_domains_without_bounds_or_numbers_of_the_type_are_refused() -> None:
    network = dense((np.ones((1, 1), np.float32), None))
    assert "bounds" in refusal(network, Everywhere())
    tenth = Fraction(1, 10)
    assert "no point" in refusal(network, Box(tenth, tenth))
    assert "no point" in refusal(network, FiniteSet(Exact.of(np.array([[tenth]], dtype=object))))
    float_error(network, bound_to(Box(tenth, tenth + Fraction(1, 10**7)), 1), F32)


@pytest.mark.parametrize("operator", [Step(), Opaque("tanh")])
def test_operators_without_a_bound_are_refused_by_name(operator) -> None:
    build = Builder((2,))
    name = getattr(operator, "name", "Step")
    assert name in refusal(build.build(build.add(operator, (0,), 2)), Box(0, 1))
    build = Builder((2,))
    assert "Product" in refusal(build.build(build.add(Product(), (0, 0), 2)), Box(0, 1))


def test_only_files_that_mean_their_primitive_network_are_taken() -> None:
    build = Builder((2,))
    with pytest.raises(Refused, match="LeakyRelu"):
        check_as_written(build.build(build.add(LeakyRelu(0.5), (0,), (2,))))
    build = Builder((2,))
    with pytest.raises(Refused, match="tanh"):
        check_as_written(build.build(build.add(Opaque("tanh"), (0,), (2,))))
    build = Builder((2,))
    check_as_written(build.build(build.add(Maximum(), (0, 0), (2,))))
    with pytest.raises(Refused, match="Gemm"):
        check_as_written(dense((np.ones((1, 1)), None)),
                         ("a factor of a Gemm is taken into its numbers (alpha 2, beta 1)",))


def test_a_maximum_chosen_exactly_is_within_the_bound_of_its_lowered_form() -> None:
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((8, 3)).astype(np.float32)
    build = Builder((3,))
    sums = build.add(Linear((Dense(weight),), None), (0,), (1, 8))
    pool = build.add(MaxPool(size=(2,), strides=(2,), pads=((0, 0),), dilations=(1,)), (sums,),
                     (1, 4))
    network = build.build(pool)
    check_as_written(network)
    error = float_error(to_primitive(network), bound_to(Box(-1, 1), 3), F32)
    x = rng.uniform(-1, 1, (50, 3)).astype(np.float32)
    for row in x:
        chosen = Exact.of(forwards(weight, row, np.zeros(8, np.float32)).reshape(4, 2).max(axis=1))
        true = Exact.of(evaluate_exact(to_primitive(network), Exact.of(row)))
        assert np.all((error - (chosen - true).abs()).sign() >= 0)


# --- claims -------------------------------------------------------------------------------------


PAIR = random_net(3, (3, 8, 2)), random_net(3, (3, 8, 2))
BOX = Box(-1, 1)


def slack(first: Network, second: Network) -> Fraction:
    claim = Claim(Within(Fraction(1)), bound_to(BOX, first.dimension), F32)
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
