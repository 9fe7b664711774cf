# SPDX-License-Identifier: Apache-2.0
"""Decisions do not see a last softmax or increasing function, and nothing else is taken away."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isoform.certificate.certificate import Certificate
from isoform.certificate.check import check
from isoform.certificate.decision import before_monotone_end
from isoform.certificate.evidence import Counterexample, Evidence
from isoform.certificate.reduction import reduced
from isoform.certificate.verdict import Proved, Refuted
from isoform.errors import CertificateRejected
from isoform.network.claim import Claim, SameDecision
from isoform.network.domain import Box, bound_to
from isoform.network.evaluate import evaluate
from isoform.network.linear_map import Dense, Gather
from isoform.network.network import Builder, Network
from isoform.network.operators import (
    Concat,
    Linear,
    Opaque,
    Operator,
    Relu,
    Round,
    Select,
    Softmax,
)
from isoform.network.primitive import to_primitive
from isoform.numerics.exact import Exact
from isoform.verify.prove import prove

BOX = Box(-1, 1)


def logits(seed: int = 0, inputs: int = 3, outputs: int = 4) -> Builder:
    """A small network whose last value are its outputs."""
    random = np.random.default_rng(seed)
    build = Builder((inputs,))
    hidden = build.linear(Dense(random.standard_normal((6, inputs))), 0, random.standard_normal(6))
    fired = build.add(Relu(), (hidden,), 6)
    build.linear(Dense(random.standard_normal((outputs, 6))), fired)
    return build


def with_ends(*ends: Operator, seed: int = 0) -> Network:
    """The network with operators after it, one after the other."""
    build = logits(seed)
    for end in ends:
        last = len(build.nodes)
        build.add(end, (last,), len(end.indices) if isinstance(end, Select) else 4)
    return build.build(len(build.nodes))


PLAIN = with_ends()
SOFTMAX = Opaque("softmax", 4)


def scale(factors: list[float], bias: list[float] | None = None) -> Linear:
    part = Gather(indices=np.arange(4), scale=np.array(factors, float), inputs=4)
    return Linear((part,), None if bias is None else np.array(bias, float))


# --- what is taken away -------------------------------------------------------------------------


@pytest.mark.parametrize("ends", [
    (SOFTMAX,), (SOFTMAX, Opaque("log")), *((Opaque(name),) for name in
                                            ("exp", "tanh", "sigmoid", "erf", "softplus")),
    (scale([2] * 4, [1] * 4),), (scale([0.5] * 4), SOFTMAX), (Opaque("exp"), Opaque("sqrt")),
    (Opaque("sigmoid"), scale([3] * 4), Opaque("tanh")),
])
def test_ends_that_keep_the_order_are_taken_away(ends: tuple[Operator, ...]) -> None:
    assert before_monotone_end(with_ends(*ends)) == PLAIN


@pytest.mark.parametrize("ends", [
    (Opaque("log"),), (Opaque("sqrt"),),  # not defined everywhere
    (Opaque("reciprocal"),), (Opaque("sin"),), (Relu(),),
    (Opaque("softmax", 2),),  # two groups
    (scale([-1] * 4),), (scale([0] * 4),), (scale([1, 1, 1, 2]),), (scale([1] * 4, [0, 0, 0, 1]),),
    (SOFTMAX, scale([-1] * 4)), (SOFTMAX, Opaque("reciprocal")),
    (SOFTMAX, Relu()), (Round(), scale([0.5] * 4, [1] * 4)),
    (Opaque("tanh"), Opaque("log")), (Opaque("erf"), Opaque("sqrt")),
])
def test_other_ends_stay(ends: tuple[Operator, ...]) -> None:
    network = with_ends(*ends)
    assert before_monotone_end(network) == network


def test_a_sum_of_two_choices_stays() -> None:
    build = logits()
    last = len(build.nodes)
    parts = [Gather(indices=np.array(order), scale=None, inputs=4)
             for order in ([0, 1, 2, 3], [1, 0, 3, 2])]
    network = build.build(build.linear(parts, (last, last)))
    assert before_monotone_end(network) == network


def test_a_scaled_choice_is_a_choice() -> None:
    order = np.array([3, 1, 0, 2])
    scaled = Linear((Gather(indices=order, scale=np.full(4, 2.0), inputs=4),), np.full(4, 0.5))
    assert before_monotone_end(with_ends(scaled)) == with_ends(Select(order))
    some = with_ends(SOFTMAX, Select(np.array([2, 2, 1, 0])), scaled, Opaque("tanh"))
    assert before_monotone_end(some) == with_ends(Select(np.array([0, 2, 2, 1])))


def test_an_inner_softmax_stays() -> None:
    build = logits()
    soft = build.add(SOFTMAX, (len(build.nodes),), 4)
    build.linear(Dense(np.random.default_rng(1).standard_normal((4, 4))), soft)
    network = build.build(len(build.nodes))
    assert before_monotone_end(network) == network


def test_integers_keep_their_scale() -> None:
    """Quantised outputs are compared with floats as what they stand for."""
    scaled = (Round(), scale([1] * 4, [3] * 4), scale([0.5] * 4, [1] * 4))
    assert before_monotone_end(with_ends(*scaled, SOFTMAX)) == with_ends(*scaled)


def test_part_of_the_outputs_stays_as_it_is() -> None:
    """Softmax of some outputs beside others is no common function."""
    build = logits()
    last = len(build.nodes)
    soft = build.add(SOFTMAX, (last,), 4)
    network = build.build(build.add(Concat(), (soft, last), 8))
    assert before_monotone_end(network) == network


def test_selections_of_one_group_are_kept() -> None:
    picked = Select(np.array([3, 1, 1, 0]))
    assert before_monotone_end(with_ends(SOFTMAX, picked)) == with_ends(picked)
    half = with_ends(Opaque("softmax", 2), Select(np.array([3, 2, 2, 3])))
    assert before_monotone_end(half) == with_ends(Select(np.array([3, 2, 2, 3])))


def test_a_softmax_layer_as_files_have_it_is_taken_away() -> None:
    surface = with_ends(Softmax(0))
    assert before_monotone_end(to_primitive(surface)) == PLAIN


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sampled_from([
    SOFTMAX, Opaque("tanh"), Opaque("softplus"), Opaque("exp"), Opaque("log"), Relu(),
    Opaque("softmax", 2), scale([2] * 4, [-1] * 4), scale([-1] * 4), scale([1, 2, 1, 1]),
    Select(np.array([2, 0, 3, 1])), Select(np.array([2, 2, 3, 2])),
]), max_size=4))
def test_comparisons_stay_the_same(ends: list[Operator]) -> None:
    """In floats, with points where two outputs are clearly apart."""
    network = with_ends(*ends)
    shorter = before_monotone_end(network)
    assert before_monotone_end(shorter) == shorter
    x = np.random.default_rng(0).uniform(-1, 1, (50, 3))
    full, short = evaluate(network, x), evaluate(shorter, x)
    known = np.isfinite(full).all(axis=1) & np.isfinite(short).all(axis=1)
    full, short = full[known], short[known]
    for i in range(4):
        for j in range(4):
            gaps = full[:, i] - full[:, j], short[:, i] - short[:, j]
            apart = np.abs(gaps[0]) > 1e-9
            assert np.array_equal(np.sign(gaps[0])[apart], np.sign(gaps[1])[apart])


# --- claims -------------------------------------------------------------------------------------


def decided(first: Network, second: Network, margin: Fraction = Fraction(0)):
    return prove(first, second, Claim(SameDecision(margin), BOX), timeout=2)


@pytest.mark.parametrize("pair", [
    (with_ends(SOFTMAX), PLAIN), (PLAIN, with_ends(SOFTMAX)),
    (with_ends(SOFTMAX), with_ends(Opaque("sigmoid"))),
])
def test_the_same_decision_with_and_without_an_end(pair: tuple[Network, Network]) -> None:
    found = decided(*pair)
    assert isinstance(found, Proved)
    assert (found.certificate.source, found.certificate.target) == pair  # as written
    assert check(found.certificate).holds


def test_two_outputs_swapped_are_refuted_before_the_softmax() -> None:
    other = with_ends(SOFTMAX, Select(np.array([0, 1, 3, 2])))
    found = decided(with_ends(SOFTMAX), other)
    assert isinstance(found, Refuted) and not check(found.certificate).holds


def test_a_margin_is_about_the_values_as_given() -> None:
    """The source keeps its softmax; the target loses its own only where the source has none."""
    soft, box = with_ends(SOFTMAX), bound_to(BOX, 3)
    margin = Claim(SameDecision(Fraction(1, 10)), box)
    found = reduced(soft, soft, margin)
    assert found.source is soft and found.target is soft
    found = reduced(PLAIN, soft, margin)
    assert found.source is PLAIN and found.target == PLAIN
    found = reduced(soft, PLAIN, margin)
    assert found.source is soft and found.target is PLAIN


def test_a_margin_of_other_values_is_another_claim() -> None:
    """Where logits lead by 1/2 the decision holds; four times the logits lead by 1/2 much sooner.
    Both ends keep the order, and the evidence for the one proves nothing of the other."""
    build = logits()
    nodes = list(build.nodes)
    last = nodes[-1].operator
    assert isinstance(last, Linear)
    nodes[-1] = replace(nodes[-1], operator=Linear(last.maps, np.array([0, 0, 0.2, 0])))
    near = Network(PLAIN.inputs, tuple(nodes), PLAIN.outputs)
    plain = decided(PLAIN, near, Fraction(1, 2))
    assert isinstance(plain, Proved)
    larger = with_ends(scale([4] * 4))
    assert before_monotone_end(larger) == PLAIN
    assert isinstance(decided(larger, near, Fraction(1, 2)), Refuted)
    with pytest.raises(CertificateRejected):
        check(replace(plain.certificate, source=larger))


def test_a_point_where_only_the_end_differs_is_no_refutation() -> None:
    """Decreasing ends turn decisions around and are not taken away."""
    turned = with_ends(scale([-1] * 4))
    found = decided(PLAIN, turned)
    assert isinstance(found, Refuted) and not check(found.certificate).holds
    point = found.witness.point
    same = Certificate(
        source=with_ends(SOFTMAX), target=PLAIN, claim=Claim(SameDecision(), BOX),
        evidence=(Evidence("e1", Counterexample(point)),), conclusion="e1",
    )
    with pytest.raises(CertificateRejected, match="holds at this point"):
        check(same)


def test_the_point_of_a_refutation_is_evaluated_before_the_end() -> None:
    """Exactly: a softmax has only enclosures, the logits have numbers."""
    found = decided(with_ends(SOFTMAX), with_ends(SOFTMAX, seed=1))
    assert isinstance(found, Refuted) and isinstance(found.witness.source, Exact)


def test_a_real_network_with_a_softmax_added(models: Path) -> None:
    from isoform.api import read

    network = to_primitive(read(models / "feedforward/mnist2x10.onnx").network)
    build = Builder(network.inputs[0])
    build.nodes = list(network.nodes)
    m = network.output_dimension
    soft = build.build(build.add(Opaque("softmax", m), (network.outputs[0],), m))
    for pair in ((soft, network), (network, soft), (soft, soft)):
        assert isinstance(decided(*pair), Proved)
