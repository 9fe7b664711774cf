# SPDX-License-Identifier: Apache-2.0
"""ReLU sweeping: rewritings are proved, changed functions are not, bounds dominate the truth."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import networks
from isoform.certificate.basis import Basis, backward_range, interval_range
from isoform.certificate.codes import Codes
from isoform.certificate.evidence import Sweep
from isoform.certificate.sweep import run
from isoform.certificate.verdict import Proved, Refuted
from isoform.network.claim import Claim, Equal, SameDecision, Within
from isoform.network.domain import Binary, Box, Everywhere, FiniteSet, Union, bound_to
from isoform.network.evaluate import evaluate_exact
from isoform.network.linear_map import Dense, Gather
from isoform.network.network import Builder, Network
from isoform.network.operators import Opaque, Product, Relu, Step
from isoform.numerics.exact import Exact
from isoform.verify.goal import rounded_up
from isoform.verify.identity import sweep
from isoform.verify.prove import prove, prove_best

EQUAL = Claim(Equal())
CHAIN = networks.random_chain((5, 24, 24, 3), 0)

REWRITINGS = {
    "permuted": lambda c: networks.permuted(c, 1),
    "rescaled by powers of two": lambda c: networks.rescaled(c, 2),
    "rescaled by rationals": lambda c: networks.rescaled(c, 3, powers_of_two=False),
    "dead units": lambda c: networks.with_dead_units(c, 4),
    "split units": networks.with_split_units,
    "identity layer": networks.with_identity_layer,
    "linear layer": lambda c: networks.with_linear_layer(c, 5),
    "all of them": lambda c: networks.with_identity_layer(
        networks.with_dead_units(
            networks.with_split_units(
                networks.with_linear_layer(networks.scrambled(c, 6), 7)
            ), 8,
        )
    ),
}


def units(found) -> int:
    return sum(block.stop - block.start for block in found.basis.blocks)


@pytest.mark.parametrize("name", REWRITINGS)
def test_rewriting_is_proved_equal_everywhere(name: str) -> None:
    source = networks.network(CHAIN)
    target = networks.network(REWRITINGS[name](CHAIN))
    verdict = prove(source, target, EQUAL)
    assert isinstance(verdict, Proved) and verdict.upper == 0
    assert units(sweep(source, target, None)) <= 48 + 24  # an identity layer adds none that count


def mirrored(chain: networks.Chain) -> Network:
    """relu(z) written as relu(-z) + z, with a skip."""
    first, second = chain[0], chain[1]
    build = Builder((first.weight.shape[1],))
    z = build.linear(Dense(first.weight), 0, first.bias)
    down = build.linear(Dense(-first.weight), 0, -first.bias)
    folded = build.add(Relu(), (down,), len(first.bias))
    y = build.linear([Dense(second.weight), Dense(second.weight)], (folded, z), second.bias)
    return build.build(y)


def test_mirrored_units_are_proved() -> None:
    chain = networks.random_chain((5, 24, 3), 3)
    assert isinstance(prove(networks.network(chain), mirrored(chain), EQUAL), Proved)


@given(st.integers(0, 10**6), st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_random_rewritings_are_proved_and_changed_ones_are_not(seed: int, depth: int) -> None:
    rng = np.random.default_rng(seed)
    widths = [int(n) for n in rng.integers(1, 7, depth + 2)]
    chain = networks.random_chain(widths, seed)
    source = networks.network(chain)
    copy = networks.with_dead_units(networks.scrambled(chain, seed), seed)
    assert isinstance(prove(source, networks.network(copy), EQUAL), Proved)
    changed = networks.network(networks.scrambled(networks.nudged(chain, depth), seed))
    verdict = prove(source, changed, Claim(Equal(), Box(-1, 1)), timeout=1)
    if isinstance(verdict, Proved):  # the changed weight may read a unit that never fires
        points = Exact.of(rng.uniform(-1, 1, (widths[0], 200)))
        assert evaluate_exact(source, points) == evaluate_exact(changed, points)


@pytest.mark.parametrize("change", ["first weight", "last weight", "bias"])
def test_small_change_is_refuted_and_bounded(change: str) -> None:
    layers = list(CHAIN)
    at = {"first weight": 0, "last weight": 2, "bias": 0}[change]
    layer = layers[at]
    if change == "bias":
        moved = networks.replace(layer, bias=layer.bias.astype(np.float64) + 2.0**-30)
    else:
        weight = layer.weight.astype(np.float64)
        weight[0, 0] += 2.0**-40 if change == "last weight" else 1e-3
        moved = networks.replace(layer, weight=weight)
    layers[at] = moved
    source, target = networks.network(CHAIN), networks.network(tuple(layers))
    verdict = prove(source, target, Claim(Equal(), Box(-1, 1)))
    assert isinstance(verdict, Refuted)
    assert verdict.lower > 0
    within = prove(source, target, Claim(Within(Fraction(3)), Box(-1, 1)))
    assert isinstance(within, Proved) and within.upper >= verdict.lower
    too_tight = prove(source, target, Claim(Within(verdict.lower / 2), Box(-1, 1)))
    assert isinstance(too_tight, Refuted)


def test_bounds_dominate_exact_evaluations() -> None:
    rng = np.random.default_rng(0)
    for seed in range(8):
        chain = networks.random_chain((3, 6, 6, 4), seed)
        net, box = networks.network(chain), bound_to(Box("-0.7", "0.9"), 3)
        basis = Basis.on(box, 3)
        value = run(
            net, basis, lambda asked: Codes.all_new(asked.value.rows.shape[0], backward=True)
        )
        plain = interval_range(value.rows, basis)
        fine = backward_range(value.rows, basis)
        assert np.all(fine.low >= plain.low) and np.all(fine.high <= plain.high)
        points = Exact.of(rng.integers(-716, 921, (3, 200))) * Fraction(1, 1024)
        seen = evaluate_exact(net, points)
        for i in range(4):
            values = [v * 2**96 for v in seen[i].fractions()]
            assert fine.low[i] <= min(values) and max(values) <= fine.high[i]


def test_stable_only_on_the_domain() -> None:
    weight = np.array([[1.0, 1.0]])
    build = Builder((2,))
    z = build.linear(Dense(weight), 0, np.array([1.0]))
    source = build.build(build.add(Relu(), (z,), 1))
    build = Builder((2,))
    target = build.build(build.linear(Dense(weight), 0, np.array([1.0])))
    assert isinstance(prove(source, target, Claim(Equal(), Box("-0.5", "1"))), Proved)
    beyond = prove(source, target, Claim(Equal(), Box("-0.51", "1")))
    assert isinstance(beyond, Refuted)
    assert isinstance(prove(source, target, EQUAL), Refuted)


def smooth(name: str, sign: float, shift: float = 0.0) -> Network:
    """phi(sign (W x + b)) put back by oddness, or 1 - sigmoid."""
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(4, 3)), rng.normal(size=4)
    build = Builder((3,))
    z = build.linear(Dense(sign * weight), 0, sign * bias + shift)
    y = build.add(Opaque(name), (z,), 4)
    constant = np.ones(4) if name == "sigmoid" and sign < 0 else np.zeros(4)
    scale = np.full(4, sign)
    return build.build(
        build.linear(Gather(indices=np.arange(4), scale=scale, inputs=4), y, constant)
    )


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "erf", "sin"])
def test_smooth_units_merge_by_congruence(name: str) -> None:
    assert isinstance(prove(smooth(name, 1.0), smooth(name, -1.0), EQUAL), Proved)
    near = prove_best(smooth(name, 1.0), smooth(name, 1.0, 2.0**-20), Box(-1, 1))
    assert isinstance(near, Proved) and near.upper < 2e-6
    far = prove(smooth(name, 1.0), smooth(name, 1.0, 0.5), Claim(Equal(), Box(-1, 1)))
    assert isinstance(far, Refuted)


def squares(order: tuple[int, int]) -> Network:
    build = Builder((2,))
    left = build.linear(Dense(np.array([[1.0, 2.0]])), 0)
    right = build.linear(Dense(np.array([[3.0, -1.0]])), 0, np.array([0.5]))
    pair = (left, right)
    return build.build(build.add(Product(), (pair[order[0]], pair[order[1]]), 1))


def test_products_commute() -> None:
    assert isinstance(prove(squares((0, 1)), squares((0, 1)), EQUAL), Proved)
    assert isinstance(prove(squares((0, 1)), squares((1, 0)), EQUAL), Proved)
    assert isinstance(prove(squares((0, 1)), squares((1, 1)), EQUAL), Refuted)


def test_steps_merge_only_exactly() -> None:
    def net(scale: float, shift: float) -> Network:
        build = Builder((2,))
        z = build.linear(
            Dense(scale * np.array([[1.0, -2.0]])), 0, scale * np.array([0.25 + shift])
        )
        return build.build(build.add(Step(), (z,), 1))

    assert isinstance(prove(net(1.0, 0.0), net(4.0, 0.0), EQUAL), Proved)
    shifted = prove(net(1.0, 0.0), net(1.0, 2.0**-20), Claim(Equal(), Box(-1, 1)))
    assert not isinstance(shifted, Proved)
    opposite = prove(net(1.0, 0.0), net(-1.0, 0.0), Claim(Equal(), Box(-1, 1)))
    assert isinstance(opposite, Refuted)


def test_finite_domains_are_enumerated() -> None:
    chain = networks.random_chain((4, 6, 2), 1)
    source = networks.network(chain)
    target = networks.network(networks.nudged(chain, 1))
    points = FiniteSet(Exact.of(np.eye(4)))
    assert isinstance(prove(source, source, Claim(Equal(), points)), Proved)
    assert isinstance(prove(source, target, Claim(Within(Fraction(1, 1000)), points)), Proved)
    verdict = prove(source, target, Claim(Equal(), Union((Binary(4), points))))
    assert isinstance(verdict, Refuted)


def test_same_decision() -> None:
    chain = networks.random_chain((4, 8, 3), 2)
    source = networks.network(chain)
    target = networks.network(networks.nudged(chain, 1))
    asked = Claim(SameDecision(Fraction(1, 1000)), Box(-1, 1))
    assert isinstance(prove(source, target, asked), Proved)
    last = chain[-1]
    turned = (*chain[:-1], networks.replace(last, weight=last.weight[::-1], bias=last.bias[::-1]))
    assert isinstance(prove(source, networks.network(turned), asked), Refuted)


def test_undecided_says_why() -> None:
    """relu(x) - relu(-x) against relu(x + 1) - relu(-x - 1) - 1: equal, with different hinges."""

    def net(shift: float) -> Network:
        build = Builder((1,))
        z = build.linear(Dense(np.array([[1.0], [-1.0]])), 0, np.array([shift, -shift]))
        h = build.add(Relu(), (z,), 2)
        return build.build(build.linear(Dense(np.array([[1.0, -1.0]])), h, np.array([-shift])))

    verdict = prove(net(0.0), net(1.0), Claim(Equal(), Box(-2, 2)), timeout=0.5)
    # Mirror images collapse to the affine map in both, so the sweep sees through this one.
    assert isinstance(verdict, Proved)
    first, second = networks.random_chain((2, 3, 1), 5), networks.random_chain((2, 3, 1), 6)
    bent = (*first[:-1], networks.replace(first[-1], weight=0 * first[-1].weight))
    flat = (*second[:-1], networks.replace(second[-1], weight=0 * second[-1].weight,
                                           bias=bent[-1].bias))
    assert isinstance(prove(networks.network(bent), networks.network(flat), EQUAL), Proved)


def test_maximum_in_two_orders_is_proved_by_a_relation() -> None:
    """max(max(a, b), c) against max(a, max(b, c)): equal, but the set of hinges differs."""

    def maximum(order: tuple[int, int, int]) -> Network:
        build = Builder((3,))

        def pick(i: int, sign: float = 1.0) -> Gather:
            return Gather(indices=np.array([i]), scale=np.array([sign]), inputs=3)

        one = Dense(np.array([[1.0]]))
        a, b, c = order
        gap = build.linear(
            [pick(a), pick(b, -1.0)], (0, 0)
        )
        top = build.linear(
            [one, pick(b)], (build.add(Relu(), (gap,), 1), 0)
        )
        gap = build.linear([one, pick(c, -1.0)], (top, 0))
        return build.build(build.linear([one, pick(c)], (build.add(Relu(), (gap,), 1), 0)))

    for domain in (Box(-1, 1), Everywhere()):
        verdict = prove(maximum((0, 1, 2)), maximum((2, 1, 0)), Claim(Equal(), domain), timeout=0)
        assert isinstance(verdict, Proved)
        data = verdict.certificate.evidence[0].data
        assert isinstance(data, Sweep) and any(codes.relations for codes in data.codes)


def test_rounded_up_never_goes_down() -> None:
    for value in (Fraction(1, 3), Fraction(1), Fraction(123456, 10**9), Fraction(99, 10**7)):
        up = rounded_up(value)
        assert value <= up <= value * Fraction(11, 10)


def test_verdicts_show_themselves_in_a_line() -> None:
    source, target = networks.network(CHAIN), networks.network(networks.nudged(CHAIN, 2))
    for verdict in (
        prove(source, source, EQUAL), prove(source, target, Claim(Equal(), Box(-1, 1))),
    ):
        assert len(repr(verdict)) < 400 and "\n" not in repr(verdict)
        assert repr(verdict).startswith(type(verdict).__name__) and "equal" in repr(verdict)
        assert len(repr(verdict.certificate)) < 400
        assert verdict._repr_html_().startswith("<code>")
