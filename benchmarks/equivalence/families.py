# SPDX-License-Identifier: Apache-2.0
"""The queries of the equivalence benchmark, from fixed seeds.

A 2-16-16-1; B 5-32-32-5, local and global; C 64-32-10 on scikit-learn's digits, local and global;
D 784-100-100-10-10, local; E ACAS Xu 1_1 and 3_3 on the boxes of properties 1 and 3. Each has
equal, nearly equal and different pairs (`variants`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

import isoform as iso
import networks
from equivalence import variants
from isoform.forms.feed_forward import FeedForward
from isoform.network.linear_map import exact
from isoform.network.primitive import to_primitive
from networks import Chain

HERE = Path(__file__).resolve().parent
MODELS = HERE.parents[2] / "shared" / "models"
ACAS = "acasxu/ACASXU_run2a_{}_batch_2000.onnx"
PROPERTIES = {
    "prop 1": (["0.6", "-0.5", "-0.5", "0.45", "-0.5"],
               ["0.679857769", "0.5", "0.5", "0.5", "-0.45"]),
    "prop 3": (["-0.303529646", "-0.009549297", "0.493380324", "0.3", "0.3"],
               ["-0.298552812", "0.009549297", "0.5", "0.5", "0.5"]),
}
ACAS_EPS = Fraction(1, 20)


@dataclass(frozen=True, slots=True)
class Query:
    """One question. expected: the verdict; `sure` where no other one can be right."""

    family: str
    name: str
    source: Chain
    target: Chain
    box: iso.Box
    expected: str
    sure: bool = True
    asked: dict[str, Any] = field(default_factory=dict)  # within or same_decision

    @property
    def claim(self) -> str:
        if "within" in self.asked:
            return f"within {float(self.asked['within']):.2g}"
        if "same_decision" in self.asked:
            return f"decision {float(self.asked['same_decision']):.2g}"
        return "equal"


@dataclass(frozen=True, slots=True)
class Setting:
    """A network on a box, from which queries are made."""

    family: str
    name: str
    chain: Chain
    box: iso.Box
    points: np.ndarray

    @staticmethod
    def of(family: str, name: str, chain: Chain, box: iso.Box) -> Setting:
        low, high = (np.array([float(x) for x in end.fractions()]) for end in (box.low, box.high))
        return Setting(family, name, chain, box, variants.sampled(low, high))

    def query(
        self, name: str, target: Chain, expected: str, *, sure: bool = True, **asked: Any
    ) -> Query:
        return Query(self.family, f"{self.name}: {name}", self.chain, target, self.box, expected,
                     sure, asked)

    def seen(self, target: Chain) -> float:
        return variants.largest_seen(self.chain, target, self.points)


def equal_pairs(setting: Setting) -> Iterator[Query]:
    chain = setting.chain
    yield setting.query("permuted, rescaled", variants.reordered(chain, 1), "proved")
    yield setting.query("dead units, linear chain", variants.padded(chain, 4), "proved")


def different_pairs(setting: Setting) -> Iterator[Query]:
    other = variants.moved(setting.chain, setting.points)
    scrambled = variants.reordered(other, 7)
    yield setting.query("one weight + 1e-3", scrambled, "refuted")
    half = Fraction(setting.seen(other)) / 2
    yield setting.query("one weight + 1e-3, half", scrambled, "refuted", within=half)


def near_pairs(setting: Setting, eps: Fraction | None = None) -> Iterator[Query]:
    """Rounded, pruned and perturbed copies: within twice the largest difference that was seen (or
    eps), not within half of it; decisions at four times it."""
    chain = setting.chain
    changes: list[tuple[str, Callable[[Chain], Chain]]] = [
        ("float16", variants.halved), ("pruned 10 %", variants.pruned),
    ]
    if eps is not None:
        changes.append(("perturbed 1e-3", lambda chain: variants.perturbed(chain, 11)))
    for name, change in changes:
        target = change(chain)
        seen = Fraction(setting.seen(target))
        asked = short(2 * seen) if eps is None else eps
        if eps is not None and seen > eps:
            yield setting.query(name, target, "refuted", within=eps)
        else:
            yield setting.query(name, target, "proved", sure=False, within=asked)
        yield setting.query(f"{name}, half", target, "refuted", within=short(seen / 2))
        if len(chain[-1].bias) > 1 and name == "float16":
            yield setting.query(name, target, "proved", sure=False, same_decision=short(4 * seen))


def short(value: Fraction) -> Fraction:
    """About the same number with few digits: eps as people write it."""
    return Fraction(f"{float(value):.2g}")


# --- families -------------------------------------------------------------------------------------


def family_a(models: Path) -> Iterator[Query]:
    setting = Setting.of("A", "2-16-16-1", networks.random_chain((2, 16, 16, 1), 1),
                         iso.Box([-1, -1], [1, 1]))
    yield from (*equal_pairs(setting), *different_pairs(setting), *near_pairs(setting))
    half = variants.halved(setting.chain)
    eps = short(Fraction(setting.seen(half)) * Fraction(11, 10))
    yield setting.query("float16, 1.1 x seen", half, "proved", sure=False, within=eps)
    yield setting.query("another network", networks.random_chain((2, 16, 16, 1), 2), "refuted")
    shallow = Setting.of("A", "2-16-1", networks.random_chain((2, 16, 1), 3),
                         iso.Box([-1, -1], [1, 1]))
    yield from deep_pairs(shallow)


def deep_pairs(setting: Setting, positive: bool = False) -> Iterator[Query]:
    """A network with one hidden layer against its deep and narrow form, and a wrong one."""
    deep = variants.deepened(setting.chain, positive)
    yield setting.query("deep and narrow", variants.reordered(deep, 5), "proved")
    wrong = variants.moved(deep, setting.points)
    yield setting.query("deep and narrow, weight + 1e-3", wrong, "refuted")
    half = variants.halved(deep)
    eps = short(2 * Fraction(setting.seen(half)))
    yield setting.query("deep and narrow, float16", half, "proved", sure=False, within=eps)


def family_b(models: Path) -> Iterator[Query]:
    chain = networks.random_chain((5, 32, 32, 5), 1)
    centre = np.random.default_rng(5).uniform(-0.8, 0.8, 5).round(3)
    local = iso.Box([f"{x - 0.2:.3f}" for x in centre], [f"{x + 0.2:.3f}" for x in centre])
    for name, box in (("local", local), ("global", iso.Box([-1] * 5, [1] * 5))):
        setting = Setting.of("B", f"5-32-32-5 {name}", chain, box)
        yield from (*equal_pairs(setting), *different_pairs(setting), *near_pairs(setting))
    shallow = Setting.of("B", "5-32-5 global", networks.random_chain((5, 32, 5), 2),
                         iso.Box([-1] * 5, [1] * 5))
    yield from deep_pairs(shallow)


def family_c(models: Path) -> Iterator[Query]:
    with np.load(HERE / "digits.npz", allow_pickle=False) as arrays:
        chain = tuple(networks.Layer(arrays[f"W{i}"], arrays[f"b{i}"], i == 0) for i in range(2))
    image = np.load(HERE / "digits_image.npy", allow_pickle=False).astype(float)
    radius = 0.05
    local = iso.Box(np.maximum(image - radius, 0), np.minimum(image + radius, 1))
    for name, box in (("local", local), ("global", iso.Box([0] * 64, [1] * 64))):
        setting = Setting.of("C", f"digits {name}", chain, box)
        yield from (*equal_pairs(setting), *different_pairs(setting), *near_pairs(setting))
        yield from deep_pairs(setting, positive=True)


def family_d(models: Path) -> Iterator[Query]:
    chain = networks.random_chain((784, 100, 100, 10, 10), 1)
    image = np.random.default_rng(9).integers(0, 101, 784)
    box = iso.Box([Fraction(max(int(x) - 1, 0), 100) for x in image],
                  [Fraction(min(int(x) + 1, 100), 100) for x in image])
    setting = Setting.of("D", "784-100-100-10-10 local", chain, box)
    yield from (*equal_pairs(setting), *different_pairs(setting), *near_pairs(setting))


def family_e(models: Path) -> Iterator[Query]:
    for name in ("1_1", "3_3"):
        chain = chain_of(models / ACAS.format(name))
        for place, (low, high) in PROPERTIES.items():
            setting = Setting.of("E", f"ACAS {name} {place}", chain, iso.Box(low, high))
            yield from (*equal_pairs(setting), *different_pairs(setting))
            yield from near_pairs(setting, ACAS_EPS)


def chain_of(path: Path) -> Chain:
    """The layers of a dense ReLU network, with float32 weights."""
    form = FeedForward.lift(to_primitive(iso.read(path).network))
    layers = []
    for i, (part, bias) in enumerate(form.layers):
        weight = part.sparse().dense().to_float(np.float32)
        shift = np.zeros(part.outputs) if bias is None else exact(bias).to_float(np.float32)
        layers.append(networks.Layer(weight, shift.astype(np.float32), i < len(form.layers) - 1))
    return tuple(layers)


FAMILIES = {"A": family_a, "B": family_b, "C": family_c, "D": family_d, "E": family_e}
