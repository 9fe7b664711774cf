# SPDX-License-Identifier: Apache-2.0
"""Claims about networks with smooth and rounding functions, proved by differential bounds."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

import isoform as iso
from isoform.certificate.certificate import Certificate
from isoform.certificate.differential import Differential
from isoform.certificate.evidence import Evidence
from isoform.certificate.fixed import Fixed
from isoform.certificate.softmax_end import before_softmax
from isoform.certificate.tree import parts_of, split
from isoform.certificate.tree_check import check_trees
from isoform.certificate.tree_evidence import Split, Trees
from isoform.certificate.verdict import Proved, Refuted, Undecided
from isoform.errors import CertificateRejected
from isoform.network.claim import Equal, SameDecision, Within, forbidden_sets
from isoform.network.evaluate import evaluate
from isoform.network.linear_map import Dense
from isoform.network.network import Builder, Network
from isoform.network.operators import Opaque, Operator, Relu, Round, Select
from isoform.network.paired import Paired
from isoform.network.unit_layers import unit_layers
from isoform.verify.alignment import aligned, applied

CURVES = ["sigmoid", "tanh", "erf", "softplus", "exp", "round"]
POSITIVE = ["log", "sqrt", "reciprocal"]
BOX = iso.Box([Fraction(-1, 2)] * 3, [Fraction(1, 2)] * 3)
Weights = list[tuple[np.ndarray, np.ndarray]]


def weights(seed: int, sizes: tuple[int, ...] = (3, 6, 5, 2), size: float = 0.8) -> Weights:
    rng = np.random.default_rng(seed)
    return [(size * rng.normal(size=(m, n)).astype(np.float32),
             (0.3 * rng.normal(size=m)).astype(np.float32))
            for n, m in zip(sizes, sizes[1:], strict=False)]


def moved(layers: Weights, seed: int, by: float) -> Weights:
    rng = np.random.default_rng(seed)
    return [(w + (by * rng.normal(size=w.shape)).astype(np.float32),
             b + (by * rng.normal(size=b.shape)).astype(np.float32)) for w, b in layers]


def network(layers: Weights, name: str, end: str = "", shift: float = 0.0) -> Network:
    """Affine layers with a function between, and a last one."""
    builder = Builder((layers[0][0].shape[1],))
    value = 0
    for k, (w, b) in enumerate(layers):
        last = k + 1 == len(layers)
        bias = b if last else b + np.float32(shift)
        value = builder.linear(Dense(w), value, bias)
        function = end if last else name
        if function:
            value = builder.add(operator_of(function, len(b)), (value,), len(b))
    return builder.build(value)


def operator_of(name: str, size: int) -> Operator:
    known: dict[str, Operator] = {"relu": Relu(), "round": Round()}
    return known.get(name) or Opaque(name, size if name == "softmax" else 0)


def largest(first: Network, second: Network, seed: int = 0) -> float:
    """The largest difference at random points of the box."""
    x = np.random.default_rng(seed).uniform(-0.5, 0.5, size=(4000, 3))
    return float(np.abs(evaluate(first, x) - evaluate(second, x)).max())


def trees_of(certificate: Certificate) -> Trees:
    data = certificate.evidence[0].data
    assert isinstance(data, Trees)
    return data


@pytest.mark.parametrize("name", CURVES)
@settings(deadline=None, max_examples=3)
@given(seed=st.integers(0, 1000), by=st.sampled_from([0.001, 0.1]))
def test_upper_values_are_above_every_difference(name, seed, by):
    layers = weights(seed, size=0.3 if name == "exp" else 0.8)
    first, second = network(layers, name), network(moved(layers, seed + 1, by), name)
    seen = largest(first, second)
    verdict = iso.prove(first, equal_to=second, within=5 * seen + 2, on=BOX, timeout=5)
    assert isinstance(verdict, Proved)
    assert verdict.upper is not None
    assert seen <= float(verdict.upper)
    iso.check(verdict.certificate)
    wrong = iso.prove(first, equal_to=second, within=0.9 * seen, on=BOX, timeout=0.5)
    assert not isinstance(wrong, Proved)


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "erf", "softplus"])
def test_nearly_equal_networks_have_tight_bounds(name):
    """The lines follow the difference, not the two networks."""
    layers = weights(3)
    first, second = network(layers, name), network(moved(layers, 4, 1e-4), name)
    seen = largest(first, second)
    verdict = iso.prove(first, equal_to=second, within=3 * seen, on=BOX, timeout=5)
    assert isinstance(verdict, Proved)
    assert len(trees_of(verdict.certificate).trees[0].tokens) == 1  # without a split
    assert seen <= float(verdict.upper) < 3 * seen


@pytest.mark.parametrize("name", POSITIVE)
def test_functions_of_positive_numbers(name):
    layers = weights(5, sizes=(3, 6, 2), size=0.3)
    first = network(layers, name, shift=3.0)
    second = network(moved(layers, 6, 1e-4), name, shift=3.0)
    seen = largest(first, second)
    verdict = iso.prove(first, equal_to=second, within=4 * seen, on=BOX, timeout=5)
    assert isinstance(verdict, Proved)
    assert seen <= float(verdict.upper)


def test_a_function_outside_of_its_range_is_no_proof():
    """The logarithm of what may be negative: no bound, no verdict, no crash."""
    layers = weights(5, sizes=(3, 6, 2))
    first, second = network(layers, "log"), network(moved(layers, 6, 1e-4), "log")
    verdict = iso.prove(first, equal_to=second, within=10, on=BOX, timeout=0.5)
    assert not isinstance(verdict, Proved)


@pytest.mark.parametrize("names", [("sigmoid", "relu"), ("tanh", "round"), ("tanh", "sigmoid")],
                         ids=" ".join)
def test_different_functions(names):
    """Nothing pairs the units; the two networks are bounded apart."""
    layers = weights(8)
    first, second = (network(layers, name) for name in names)
    seen = largest(first, second)
    verdict = iso.prove(first, equal_to=second, within=20, on=BOX, timeout=5)
    assert isinstance(verdict, Proved)
    assert seen <= float(verdict.upper)
    assert isinstance(iso.prove(first, equal_to=second, within=seen / 2, on=BOX), Refuted)


@pytest.mark.parametrize("name", ["sigmoid", "round"])
def test_evidence_of_one_pair_proves_nothing_of_another(name):
    """A weight of the certificate's target is changed; or its claim; or its trees are cut."""
    layers = weights(11)
    first, second = network(layers, name), network(moved(layers, 12, 1e-3), name)
    seen = largest(first, second)
    eps = Fraction(2 * seen + (3 if name == "round" else 0))
    verdict = iso.prove(first, equal_to=second, within=eps, on=BOX, timeout=5)
    assert isinstance(verdict, Proved)
    held = verdict.certificate
    other = [(w.copy(), b.copy()) for w, b in moved(layers, 12, 1e-3)]
    other[2][0][0, 0] += 30
    forged = [
        replace(held, target=network(other, name)),
        replace(held, claim=replace(held.claim, relation=Within(Fraction(seen) / 2))),
        tampered(held, replace(trees_of(held), trees=())),
        tampered(held, replace(trees_of(held), slots=trees_of(held).slots[1:])),
        tampered(held, replace(trees_of(held), slots=trees_of(held).slots[::-1])),
    ]
    for each in forged:
        with pytest.raises(CertificateRejected):
            iso.check(each)


def tampered(certificate: Certificate, data: Trees) -> Certificate:
    return replace(certificate, evidence=(Evidence("e1", data),))


def test_a_function_without_lines_is_refused_by_name():
    layers = weights(2)
    first = network(layers, "sin")
    held = iso.prove(network(layers, "tanh"), equal_to=network(moved(layers, 1, 1e-4), "tanh"),
                     within=1, on=BOX)
    with pytest.raises(CertificateRejected, match="sin"):
        check_trees(trees_of(held.certificate), first, first, BOX, Within(Fraction(100)))


def test_an_undecided_claim_names_what_is_not_bounded():
    layers = weights(2)
    verdict = iso.prove(network(layers, "sin"), equal_to=network(moved(layers, 1, 1e-4), "sin"),
                        within=Fraction(1, 10**9), on=BOX, timeout=0.2)
    assert not isinstance(verdict, Proved)
    if isinstance(verdict, Undecided) and verdict.upper is None:
        assert "no lines around sin" in verdict.reason


def mixed(seed: int) -> tuple[Network, Network]:
    """Two networks whose layers apply functions of their own, the second near the first or not."""
    rng = np.random.default_rng(seed)
    layers = weights(seed, sizes=(2, 4, 4, 3, 2))
    names = rng.choice([*CURVES[:4], "relu", "round"], size=(2, 3))
    if rng.random() < 0.6:
        names[1] = names[0]
    made = []
    for side, part in enumerate((layers, moved(layers, seed + 1, rng.choice([1e-3, 0.1, 1])))):
        builder, value = Builder((2,)), 0
        for k, (w, b) in enumerate(part):
            value = builder.linear(Dense(w), value, b)
            if k < 3:
                name = str(names[side][k])
                value = builder.add(operator_of(name, len(b)), (value,), len(b))
        made.append(builder.build(value))
    return made[0], made[1]


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6))
def test_bounds_of_every_slot_hold(seed):
    """y, y' and delta of all slots at many points, on the whole box and on parts of it that are
    split at inputs and at slots."""
    first, second = mixed(seed)
    rng = np.random.default_rng(seed)
    box = iso.Box([Fraction(-1, 2)] * 2, [Fraction(1, 2)] * 2)
    layers = unit_layers(first, curved=True), unit_layers(second, curved=True)
    slots = aligned(*layers, box, seed)
    (part,) = parts_of(first, second, box, forbidden_sets(Within(Fraction(1)), 2, 2), slots)
    bounds = Differential(part.pair, Fixed(36))
    one = np.full((1, 2), 1 << 36, dtype=np.int64)
    boxes = bounds.whole(-one, one)
    u = rng.uniform(-1, 1, size=(1500, 2))
    values = slot_values(part.pair, u)
    inside = np.ones(len(u), dtype=bool)
    for _ in range(3):
        boxes, _, empty = bounds.settle(boxes)
        inside &= np.all((u * 2**36 >= boxes.low[0]) & (u * 2**36 <= boxes.high[0]), axis=1)
        inside &= np.all(values * boxes.signs[0] >= 0, axis=(1, 2))
        assert not (empty[0] and inside.any())
        low, high = boxes.bounds[0, ..., 0] / 2**36, boxes.bounds[0, ..., 1] / 2**36
        assert np.all(values[inside] >= low - 1e-12) and np.all(values[inside] <= high + 1e-12)
        kind = int(rng.choice([Split.INPUT, Split.SOURCE, Split.TARGET, Split.DIFFERENCE]))
        place = int(rng.integers(2 if kind == Split.INPUT else bounds.units))
        boxes = split(bounds, boxes, np.array([kind]), np.array([place]))
        boxes = boxes.take(np.array([int(rng.integers(2))]))


def slot_values(pair: Paired, u: np.ndarray) -> np.ndarray:
    """(points, slots, 3): y, y' and delta, in doubles."""
    sides = [np.concatenate((np.ones((len(u), 1)), u), axis=1)] * 2
    found = []
    for layer in pair.layers:
        both = []
        for side, rows in enumerate((layer.source, layer.target)):
            z = sides[side] @ rows.dense().to_float().T
            h = np.stack([applied(name, z[:, i]) if name != "none" else 0 * z[:, i]
                          for i, name in enumerate(layer.curves[side])], axis=1)
            sides[side] = np.concatenate((sides[side], h), axis=1)
            both.append(z)
        found.append(np.stack((both[0], both[1], both[1] - both[0]), axis=2))
    return np.concatenate(found, axis=1)


# --- softmax at the end ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["relu", "tanh"])
def test_a_last_softmax(name):
    """Within, equal decisions at a margin, and what must not be proved."""
    layers = weights(21)
    first = network(layers, name, end="softmax")
    second = network(moved(layers, 22, 1e-3), name, end="softmax")
    seen = largest(first, second)
    verdict = iso.prove(first, equal_to=second, within=4 * seen, on=BOX, timeout=5)
    assert isinstance(verdict, Proved)
    assert seen <= float(verdict.upper) <= 4 * seen
    iso.check(verdict.certificate)
    assert isinstance(iso.prove(first, equal_to=second, within=seen / 2, on=BOX), Refuted)
    decided = iso.prove(first, equal_to=second, same_decision=Fraction(8 * seen), on=BOX)
    assert isinstance(decided, Proved)
    for relation in (Within(Fraction(seen) / 2), SameDecision(Fraction(seen) / 100)):
        forged = replace(verdict.certificate, claim=replace(
            verdict.certificate.claim, relation=relation))
        with pytest.raises(CertificateRejected):
            iso.check(forged)


@settings(deadline=None, max_examples=200)
@given(seed=st.integers(0, 10**6), size=st.floats(0.01, 20))
def test_softmax_moves_by_half_and_margins_double(seed, size):
    rng = np.random.default_rng(seed)
    a = size * rng.normal(size=(50, 3))
    b = a + rng.choice([1e-3, 0.1, 2]) * rng.uniform(-1, 1, size=a.shape)
    p, q = (np.exp(x - x.max(axis=1, keepdims=True)) for x in (a, b))
    p, q = p / p.sum(axis=1, keepdims=True), q / q.sum(axis=1, keepdims=True)
    assert np.all(np.abs(p - q).max(axis=1) <= np.abs(a - b).max(axis=1) / 2 + 1e-12)
    order = np.sort(a, axis=1)
    lead = np.sort(p, axis=1)
    assert np.all(order[:, -1] - order[:, -2] >= 2 * (lead[:, -1] - lead[:, -2]) - 1e-12)


def test_which_claims_go_before_softmax():
    layers = weights(21)
    first, plain = network(layers, "relu", end="softmax"), network(layers, "relu")
    found = before_softmax(first, first, Within((Fraction(1, 10), Fraction(1, 5))))
    assert found.relation == Within((Fraction(1, 5), Fraction(1, 5)))
    assert found.share == Fraction(1, 2)
    assert found.source.digest == plain.digest
    assert before_softmax(first, plain, Within(Fraction(1))).source is first
    assert before_softmax(plain, first, Equal()).target is first
    assert before_softmax(first, first, Equal()).relation == Equal()
    decided = before_softmax(first, plain, SameDecision(Fraction(1, 10)))
    assert decided.relation == SameDecision(Fraction(1, 5))
    assert decided.target is plain
    grouped = grouped_softmax(layers)
    assert before_softmax(grouped, first, Within(Fraction(1))).source is grouped
    assert before_softmax(grouped, grouped, SameDecision(Fraction(1))).source is grouped


def grouped_softmax(layers: Weights) -> Network:
    """A softmax over pairs, of which the first and the last output are taken."""
    builder = Builder((3,))
    value = builder.linear(Dense(layers[0][0][:4]), 0)
    value = builder.add(Opaque("softmax", 2), (value,), 4)
    return builder.build(builder.add(Select(np.array([0, 3])), (value,), 2))


def test_networks_without_units():
    """Two affine maps of many inputs: the first bound is exact, and no unit can be split."""
    layers = weights(4, sizes=(30, 3))
    first, second = network(layers, ""), network(moved(layers, 5, 0.1), "")
    box = iso.Box([Fraction(-1)] * 30, [Fraction(1)] * 30)
    wide = iso.prove(first, equal_to=second, within=100, on=box)
    assert isinstance(wide, Proved)
    narrow = iso.prove(first, equal_to=second, within=Fraction(wide.upper) / 2, on=box, timeout=1)
    assert not isinstance(narrow, Proved)


# --- a real network -------------------------------------------------------------------------------


def test_a_real_sigmoid_network_and_its_half_precision_copy(models, tmp_path):
    path = models / "feedforward" / "mnist2x5_sigmoid.onnx"
    model, broken = onnx.load(path), onnx.load(path)
    for part in (model, broken):
        for tensor in part.graph.initializer:
            array = numpy_helper.to_array(tensor)
            if array.dtype == np.float32:
                array = array.astype(np.float16).astype(np.float32)
                if part is broken:
                    array = array + np.float32(0.125)
                tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    onnx.save(model, tmp_path / "half.onnx")
    onnx.save(broken, tmp_path / "broken.onnx")
    n = iso.read(path).network.dimension
    box = iso.Box([Fraction(12, 25)] * n, [Fraction(13, 25)] * n)
    verdict = iso.prove(path, equal_to=tmp_path / "half.onnx", within="0.01", on=box)
    assert isinstance(verdict, Proved)
    iso.check(verdict.certificate, source=iso.read(tmp_path / "half.onnx"), target=iso.read(path))
    wrong = iso.prove(path, equal_to=tmp_path / "broken.onnx", within="0.01", on=box, timeout=5)
    assert isinstance(wrong, Refuted)
    with pytest.raises(CertificateRejected):
        iso.check(replace(verdict.certificate, source=wrong.certificate.source))
