# SPDX-License-Identifier: Apache-2.0
"""Where two networks part: a planted change is named, whatever was rearranged around it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isoform.network.claim import Claim, Equal, SameDecision, Within
from isoform.network.domain import Box
from isoform.network.evaluate import evaluate
from isoform.network.linear_map import Dense
from isoform.network.network import Builder, Network
from isoform.network.operators import Linear, Opaque, Operator, Relu
from isoform.network.parting import Unit
from isoform.network.primitive import to_primitive
from isoform.numerics.exact import Exact
from isoform.report.parting import change_text, parting_record, parting_text
from isoform.verify.explain import explain

BOX = Box(-1, 1)
EQUAL = Claim(Equal(), BOX)
RELU = Relu()


@dataclass(frozen=True)
class Chain:
    """Weights and biases of affine maps with units between them."""

    weights: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]
    unit: Operator = RELU

    @staticmethod
    def of(network: Network) -> Chain:
        maps = [node.operator for node in to_primitive(network).nodes
                if isinstance(node.operator, Linear)]
        weights = tuple(part.maps[0].sparse().dense().to_float() for part in maps)
        return Chain(weights, tuple(
            np.zeros(len(w)) if part.bias is None else np.asarray(part.bias, dtype=float)
            for part, w in zip(maps, weights, strict=True)
        ))

    @staticmethod
    def random(widths: tuple[int, ...], unit: Operator = RELU) -> Chain:
        random = np.random.default_rng(0)
        pairs = list(zip(widths, widths[1:], strict=False))
        return Chain(
            tuple(random.integers(-64, 65, (m, n)) / 64 for n, m in pairs),
            tuple(random.integers(-64, 65, m) / 64 for _, m in pairs), unit,
        )

    def network(self) -> Network:
        build = Builder((self.weights[0].shape[1],))
        value = 0
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if number:
                value = build.add(self.unit, (value,), build.size_of(value))
            value = build.linear(Dense(weight), value, bias)
        return build.build(value)

    def plus(self, layer: int, unit: int, source: int | None, gap: float) -> Chain:
        """With one weight (source None: the bias) changed."""
        weights = [weight.copy() for weight in self.weights]
        biases = [bias.copy() for bias in self.biases]
        if source is None:
            biases[layer][unit] += gap
        else:
            weights[layer][unit, source] += gap
        return Chain(tuple(weights), tuple(biases), self.unit)

    def scrambled(self, seed: int = 1) -> tuple[Chain, list[np.ndarray]]:
        """Units in another order, each times a power of two (of rectifiers); the orders."""
        random = np.random.default_rng(seed)
        weights, biases, orders = list(self.weights), list(self.biases), []
        for k in range(len(weights) - 1):
            order = random.permutation(len(biases[k]))
            scale = 2.0 ** random.integers(-3, 4, len(order))
            scale = scale if isinstance(self.unit, Relu) else np.ones(len(order))
            weights[k], biases[k] = (weights[k] * scale[:, None])[order], (biases[k] * scale)[order]
            weights[k + 1] = (weights[k + 1] / scale)[:, order]
            orders.append(order)
        return Chain(tuple(weights), tuple(biases), self.unit), orders


def place(orders: list[np.ndarray], layer: int, unit: int) -> int:
    return int(np.flatnonzero(orders[layer] == unit)[0])


@pytest.mark.parametrize(("file", "side", "layer", "unit", "source"), [
    ("acasxu/ACASXU_run2a_1_1_batch_2000.onnx", 0.3, 2, 17, 5),
    ("acasxu/ACASXU_run2a_1_1_batch_2000.onnx", 0.3, 5, 31, None),
    ("acasxu/ACASXU_run2a_3_3_batch_2000.onnx", 0.3, 0, 44, 2),
    ("feedforward/fc1.onnx", 1, 1, 3, 4),
    ("feedforward/fc1.onnx", 1, 2, 11, None),
    ("feedforward/mnist2x10.onnx", 1, 0, 6, 300),
    ("feedforward/mnist2x10.onnx", 1, 1, 7, 2),
])
def test_a_planted_change_in_a_scrambled_real_network_is_named(
    models: Path, file: str, side: float, layer: int, unit: int, source: int | None
) -> None:
    from isoform.api import read

    network = to_primitive(read(models / file).network)
    other, orders = Chain.of(network).plus(layer, unit, source, 2.0**-12).scrambled()
    found = explain(network, other.network(), Claim(Equal(), Box(-side, side)))
    assert found.aligned and found.changed == 1 and found.alone == 0
    change = found.first
    assert change is not None and change.source == Unit(layer + 1, unit)
    assert change.target == Unit(layer + 1, place(orders, layer, unit))
    assert change.count == 1 and change.weights[0].target - change.weights[0].source == Fraction(
        1, 2**12)
    expected = {None: "bias"}.get(source, f"layer {layer}, unit {source}" if layer
                                  else f"input {source}")
    assert change.weights[0].name == expected
    assert "2^-12" in change_text(change)
    assert [match.equal for match in found.layers] == [
        len(order) - (k == layer) for k, order in enumerate(orders)
    ]


def test_changed_outputs_are_named() -> None:
    chain = Chain.random((3, 6, 4, 2))
    other, _ = chain.plus(2, 1, 3, 0.25).scrambled()
    found = explain(chain.network(), other.network(), EQUAL)
    assert found.changed == 1 and found.first is not None
    assert found.first.target == Unit(None, 1)
    assert change_text(found.first).startswith("output 1: weight from layer 2, unit 3 differs by")


def test_equal_networks_do_not_part() -> None:
    chain = Chain.random((3, 6, 4, 2))
    found = explain(chain.network(), chain.scrambled()[0].network(), EQUAL)
    assert found.aligned and found.first is None and found.changed == 0
    assert "all rows are equal" in parting_text(found)


def test_units_that_are_no_rectifiers_are_aligned_too() -> None:
    chain = Chain.random((3, 6, 2), Opaque("tanh"))
    other, orders = chain.plus(0, 2, 1, 0.5).scrambled()
    found = explain(chain.network(), other.network(), EQUAL)
    assert found.first is not None and found.first.target == Unit(1, place(orders, 0, 2))
    assert found.changed == 1


def test_two_changes_of_one_layer_find_their_partners_by_resemblance() -> None:
    chain = Chain.random((3, 8, 4, 2))
    other, orders = chain.plus(0, 2, 1, 2.0**-8).plus(0, 5, 0, 2.0**-8).scrambled()
    found = explain(chain.network(), other.network(), EQUAL)
    assert found.changed == 2
    assert {(c.source, c.target) for c in found.changes} == {
        (Unit(1, u), Unit(1, place(orders, 0, u))) for u in (2, 5)
    }


def test_a_removed_unit_is_missed_in_the_source() -> None:
    chain = Chain.random((3, 8, 4, 2))
    fewer = Chain(
        (np.delete(chain.weights[0], 3, axis=0), np.delete(chain.weights[1], 3, axis=1),
         chain.weights[2]), (np.delete(chain.biases[0], 3), *chain.biases[1:]),
    )
    found = explain(chain.network(), fewer.network(), EQUAL)
    assert found.aligned and found.alone == 1
    assert {change.target.layer for change in found.changes} == {2}  # rows without that unit
    assert all(change.weights[0].name == "layer 1, unit 3" for change in found.changes)


def test_another_depth_is_aligned_where_rows_are_the_same() -> None:
    """The target passes its first layer through another, stable one."""
    chain = Chain.random((3, 8, 4, 2))
    other = chain.plus(1, 2, 6, 0.125)
    eye = np.eye(8)
    deeper = Chain(
        (other.weights[0], eye, other.weights[1], other.weights[2]),
        (other.biases[0], np.full(8, 64.0), other.biases[1] - 64 * other.weights[1].sum(axis=1),
         other.biases[2]),
    )
    found = explain(chain.network(), deeper.network(), EQUAL)
    assert found.aligned and found.first is not None and found.changed == 1
    assert found.first.source == Unit(2, 2) and found.first.target == Unit(3, 2)


def test_unrelated_networks_have_no_alignment() -> None:
    first = Chain.random((3, 8, 8, 2)).network()
    random = np.random.default_rng(7)
    build = Builder((3,))
    wide = build.add(Opaque("tanh"), (build.linear(Dense(random.standard_normal((5, 3))), 0),), 5)
    second = build.build(build.linear(Dense(random.standard_normal((2, 5))), wide))
    found = explain(first, second, EQUAL)
    assert not found.aligned and found.layers == () and "partners" in found.why
    assert "no alignment" in parting_text(found)
    assert found.differing is not None and found.differing.share > 0.9


def test_outputs_of_another_number_have_no_alignment() -> None:
    found = explain(
        Chain.random((3, 4, 2)).network(), Chain.random((3, 4, 1)).network(), EQUAL
    )
    assert not found.aligned and "outputs" in found.why and found.differing is None


# --- where the claim fails ----------------------------------------------------------------------


def ramp(at: float) -> Network:
    """relu(x - at) of the first of two inputs."""
    build = Builder((2,))
    value = build.linear(Dense(np.array([[1.0, 0]])), 0, np.array([-at]))
    return build.build(build.add(Relu(), (value,), 1))


def test_the_box_around_a_witness_holds_only_differences() -> None:
    """|g - f| = relu(x) - relu(x - 1) > 1/4 iff x > 1/4, on [-1, 1]^2."""
    claim = Claim(Within(Fraction(1, 4)), BOX)
    point = Exact.of(np.array([0.75, 0.0]))
    found = explain(ramp(0), ramp(1), claim, point).differing
    assert found is not None and found.low is not None and found.high is not None
    assert abs(found.share - 0.375) < 0.05 and 0.9 < found.largest[0] <= 1
    assert 0.25 < found.low[0] <= 0.75 <= found.high[0]
    assert found.high[1] - found.low[1] > 1  # the other input does not matter
    x = np.random.default_rng(3).uniform(found.low, found.high, (200, 2))
    assert np.mean(np.abs(evaluate(ramp(1), x) - evaluate(ramp(0), x)) > 0.25) > 0.95


def test_the_box_of_a_lost_decision() -> None:
    chain = Chain.random((2, 6, 3))
    swapped = Chain((chain.weights[0], chain.weights[1][[1, 0, 2]]),
                    (chain.biases[0], chain.biases[1][[1, 0, 2]]))
    x = np.random.default_rng(0).uniform(-1, 1, (500, 2))
    winners = evaluate(chain.network(), x).argmax(axis=1)
    point = Exact.of(x[np.flatnonzero(winners < 2)[0]])
    found = explain(chain.network(), swapped.network(), Claim(SameDecision(), BOX), point)
    assert found.differing is not None and found.differing.low is not None
    assert abs(found.differing.share - np.mean(winners < 2)) < 0.1


def test_the_values_at_the_witness_are_exact() -> None:
    chain = Chain.random((3, 8, 4, 2))
    other, _ = chain.plus(1, 2, 6, 0.125).scrambled()
    point = Exact.of(np.array([Fraction(1, 3), Fraction(-1, 7), Fraction(1, 2)], dtype=object))
    found = explain(chain.network(), other.network(), EQUAL, point)
    assert found.first is not None and found.first.values is not None
    h = np.maximum(chain.weights[0] @ point.to_float() + chain.biases[0], 0)
    z = chain.weights[1][2] @ h + chain.biases[1][2]
    assert float(found.first.values[0]) == pytest.approx(z)
    assert float(found.first.values[1]) == pytest.approx(z + 0.125 * h[6])


def test_everything_fits_a_json_record() -> None:
    chain = Chain.random((3, 8, 4, 2))
    other, _ = chain.plus(1, 2, 6, 0.125).scrambled()
    for second in (other.network(), Chain.random((3, 2)).network()):
        for point in (None, Exact.zeros(3)):
            record = parting_record(explain(chain.network(), second, EQUAL, point))
            assert json.loads(json.dumps(record)) == record


def test_the_command_says_where(run: Any, tmp_path: Path) -> None:
    chain = Chain.random((3, 8, 4, 2))
    other, _ = chain.plus(1, 2, 6, 0.125).scrambled()
    for name, net in (("one.npz", chain), ("two.npz", other)):
        arrays = {f"W{k}": weight for k, weight in enumerate(net.weights)}
        arrays |= {f"b{k}": bias for k, bias in enumerate(net.biases)}
        np.savez(tmp_path / name, **arrays)
    line = "prove one.npz two.npz --on box:-1,1 --explain"
    found = run(line)
    assert found.code == 1 and "weight from layer 1, unit 6 differs by 2^-3" in found.out
    record = run(f"{line} --json").json
    assert record["parting"]["first"]["source"] == {"layer": 2, "unit": 2}
    assert run("prove one.npz one.npz --on box:-1,1 --explain --json").json["parting"] is None
    assert run("prove one.npz two.npz --on box:-1,1 --json").json["parting"] is None


def test_the_command_asks_in_floats(run: Any, tmp_path: Path) -> None:
    weights = {"W0": np.array([[1, -2], [0.5, 1]], dtype=np.float32)}
    np.savez(tmp_path / "one.npz", **weights)
    found = run("prove one.npz one.npz --on box:-1,1 --within 1e-6 --arithmetic float32")
    assert found.code == 0 and "rounding errors" in found.out and "in float32" in found.out
    record = run(
        "prove one.npz one.npz --on box:-1,1 --within 1e-9 --arithmetic float32 --json"
    ).json
    assert record["verdict"] == "undecided" and record["arithmetic"] == "float32"
    assert len(record["rounding_errors"]) == 2
    assert run("prove one.npz one.npz --on box:-1,1 --arithmetic float32").code == 3
