# SPDX-License-Identifier: Apache-2.0
"""Random questions about pairs of tiny networks: equal, nearly equal and different ones.

Weights are small integers, dyadic numbers and now and then thirds, so that hinges coincide, units
die and ties are common. `question(seed, number)` is always the same question.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from fractions import Fraction

from equivalence.exact_truth import (
    Cell,
    Polytope,
    TinyLayer,
    TinyNet,
    box,
    cells,
    clipped,
    decision_kept,
    largest_differences,
    lost_margin,
    value_at,
)

NUMBERS = [Fraction(x) for x in ("0", "0", "1", "1", "-1", "-1", "2", "-2", "1/2", "-1/2", "3",
                                 "-3/4", "5/8", "-1/4", "1/3")]
FACTORS = [Fraction(x) for x in ("1", "2", "1/2", "4", "1/8", "3", "1/3", "3/2")]
Row = tuple[list[Fraction], Fraction]  # a x <= b


@dataclass(frozen=True, slots=True)
class Place:
    """A union of polytopes (boxes with rows), or points."""

    boxes: tuple[tuple[list[Fraction], list[Fraction]], ...] = ()
    rows: tuple[Row, ...] = ()
    points: tuple[tuple[Fraction, ...], ...] = ()

    def parts(self) -> list[Polytope]:
        if self.points:
            return [box(point, point) for point in self.points]
        found = []
        for low, high in self.boxes:
            part = box(low, high)
            for i, (a, b) in enumerate(self.rows):
                if part:
                    part = clipped(part, [b, *(-x for x in a)], 2 * len(low) + i)
            found.append(part)
        return found


@dataclass(frozen=True, slots=True)
class Asking:
    """A relation: equal; within (eps: one number or one an output); decision (margin)."""

    kind: str
    eps: tuple[Fraction, ...] = ()

    def __str__(self) -> str:
        return f"{self.kind} {', '.join(map(str, self.eps))}".strip()


@dataclass(frozen=True, slots=True)
class TinyQuestion:
    """Two networks, where, what is asked, and the truth."""

    pair: str
    source: TinyNet
    target: TinyNet
    place: Place
    asking: Asking
    true: bool
    largest: Fraction  # the largest difference, or of a decision the margin that is lost (or 0)


def question(seed: int, number: int) -> TinyQuestion:
    """Question `number` of a seed."""
    rng = random.Random(f"{seed}:{number}")
    d, m = rng.choice([1, 1, 2, 2, 2, 3]), rng.choice([1, 1, 2, 3])
    most = 4 if d < 3 else 3
    widths = [d, *(rng.randint(1, most) for _ in range(rng.choice([1, 1, 2]))), m]
    source = random_net(rng, widths)
    place = random_place(rng, d)
    while not all(place.parts()):
        place = random_place(rng, d)
    pair, change = rng.choice(PAIRS)
    target = change(rng, source)
    kind = rng.choice(["equal", "within", "within", "within", "each", "decision"])
    if m > 1 and pair in ("different", "shifted"):  # elsewhere few decisions are lost
        kind = rng.choice([kind, "decision"])
    if rng.random() < 0.5:
        target = disguised(rng, target)
    if rng.random() < 0.2:
        source, target = target, source
    found = [cell for part in place.parts() for cell in cells(part, source, target)]
    asking, true, largest = asked(rng, kind, found)
    return TinyQuestion(pair, source, target, place, asking, true, largest)


def asked(rng: random.Random, kind: str, found: list[Cell]) -> tuple[Asking, bool, Fraction]:
    """A relation near the truth, whether it holds, and the largest difference or lost margin."""
    sizes = largest_differences(found)
    if kind == "decision" and len(sizes) > 1:
        lost = lost_margin(found)
        near = lost if lost is not None else Fraction(rng.choice([0, 0, 1]))
        margin = max(Fraction(0), nearly(rng, near) if rng.random() < 0.7 else Fraction(0))
        return Asking(kind, (margin,)), decision_kept(found, margin), max(lost or 0, Fraction(0))
    largest = max(sizes)
    if kind == "equal" or kind == "decision":
        return Asking("equal"), largest == 0, largest
    if kind == "within":
        eps = nearly(rng, largest)
        return Asking(kind, (eps,)), largest <= eps, largest
    each = tuple(size if rng.random() < 0.5 else nearly(rng, size) for size in sizes)
    kept = all(size <= eps for size, eps in zip(sizes, each, strict=True))
    return Asking(kind, each), kept, largest


def nearly(rng: random.Random, size: Fraction) -> Fraction:
    """The number itself, a little less or more, half or double; never below 0."""
    step = size * Fraction(1, 2 ** rng.choice([3, 8, 20, 40])) or Fraction(1, 2**20)
    moved = rng.choice([size, size, size - step, size - step, size + step, size + step, size / 2,
                        2 * size])
    return max(moved, Fraction(0))


def random_place(rng: random.Random, d: int) -> Place:
    """A box, at times flat in one input; a box with rows; two boxes; a few points."""
    def pair() -> tuple[Fraction, Fraction]:
        a, b = (Fraction(rng.randint(-8, 8), rng.choice([1, 2, 4, 10])) for _ in range(2))
        return (min(a, b), max(a, b) if rng.random() < 0.1 else max(a, b) + Fraction(1, 2))

    def one() -> tuple[list[Fraction], list[Fraction]]:
        pairs = [pair() for _ in range(d)]
        return [a for a, _ in pairs], [b for _, b in pairs]

    kind = rng.choice(["box"] * 6 + ["rows"] * 3 + ["boxes", "points"])
    if kind == "points":
        return Place(points=tuple(
            tuple(Fraction(rng.randint(-8, 8), 4) for _ in range(d))
            for _ in range(rng.randint(1, 4))
        ))
    rows = [([rng.choice(NUMBERS) for _ in range(d)], Fraction(rng.randint(-2, 6), 2))
            for _ in range(rng.randint(1, 3) if kind == "rows" else 0)]
    return Place(boxes=tuple(one() for _ in range(2 if kind == "boxes" else 1)), rows=tuple(rows))


# --- networks and their changes -------------------------------------------------------------------


def random_net(rng: random.Random, widths: list[int]) -> TinyNet:
    return [
        TinyLayer([[rng.choice(NUMBERS) for _ in range(n)] for _ in range(m)],
                  [rng.choice(NUMBERS) for _ in range(m)], i < len(widths) - 2)
        for i, (n, m) in enumerate(zip(widths, widths[1:], strict=False))
    ]


def copied(net: TinyNet) -> TinyNet:
    return [TinyLayer([list(row) for row in layer.weight], list(layer.bias), layer.relu)
            for layer in net]


def disguised(rng: random.Random, net: TinyNet) -> TinyNet:
    """The same function: units scaled, permuted, split in two, dead ones added, and a layer more
    that changes nothing."""
    net = copied(net)
    for layer, after in zip(net, net[1:], strict=False):
        for unit in range(len(layer.bias)):
            scale = rng.choice(FACTORS)
            layer.weight[unit] = [w * scale for w in layer.weight[unit]]
            layer.bias[unit] *= scale
            for row in after.weight:
                row[unit] /= scale
        if rng.random() < 0.3:  # the first unit twice, each read with half the weight
            layer.weight.append(list(layer.weight[0]))
            layer.bias.append(layer.bias[0])
            for row in after.weight:
                row[0] /= 2
                row.append(row[0])
        if rng.random() < 0.2 and layer.relu:
            layer.weight.append([Fraction(0)] * len(layer.weight[0]))
            layer.bias.append(Fraction(-1))
            for row in after.weight:
                row.append(rng.choice(NUMBERS))
        order = rng.sample(range(len(layer.bias)), len(layer.bias))
        layer.weight[:] = [layer.weight[j] for j in order]
        layer.bias[:] = [layer.bias[j] for j in order]
        for row in after.weight:
            row[:] = [row[j] for j in order]
    return lengthened(rng, net) if rng.random() < 0.3 else net


def lengthened(rng: random.Random, net: TinyNet) -> TinyNet:
    """One layer more: relu(h) = h after a ReLU, or the inputs as relu(x) - relu(-x)."""
    if rng.random() < 0.5:
        n = len(net[0].bias)
        same = TinyLayer(identity(n), [Fraction(0)] * n, rng.random() < 0.7)
        return [net[0], same, *net[1:]]
    n = len(net[0].weight[0])
    both = identity(n) + [[-w for w in row] for row in identity(n)]
    first = replace(net[0], weight=[[*row, *(-w for w in row)] for row in net[0].weight])
    return [TinyLayer(both, [Fraction(0)] * 2 * n), first, *net[1:]]


def identity(n: int) -> list[list[Fraction]]:
    return [[Fraction(int(i == j)) for j in range(n)] for i in range(n)]


def same(rng: random.Random, net: TinyNet) -> TinyNet:
    return disguised(rng, net)


def turned(rng: random.Random, net: TinyNet) -> TinyNet:
    """The same function with other hinges: relu(z) = z + relu(-z) for one unit, with z carried by a
    second unit of the form relu(z + c) - c where that is legal: two units more, c large."""
    net = copied(net)
    layer, after = net[0], net[1]
    unit = rng.randrange(len(layer.bias))
    row, bias = layer.weight[unit], layer.bias[unit]
    layer.weight[unit], layer.bias[unit] = [-w for w in row], -bias
    carried = Fraction(64)  # above every -z on the boxes that are asked about
    layer.weight.append(list(row))
    layer.bias.append(bias + carried)
    for out, target in enumerate(after.weight):
        target.append(target[unit])
        after.bias[out] -= carried * target[unit]
    return net


def moved(rng: random.Random, net: TinyNet) -> TinyNet:
    """One number moved, often by very little."""
    net = copied(net)
    layer = rng.choice(net)
    unit = rng.randrange(len(layer.bias))
    step = rng.choice([-1, 1]) * Fraction(1, 2 ** rng.choice([2, 4, 10, 20, 40]))
    if rng.random() < 0.3:
        layer.bias[unit] += step
    else:
        layer.weight[unit][rng.randrange(len(layer.weight[0]))] += step
    return net


def rounded(rng: random.Random, net: TinyNet) -> TinyNet:
    """All numbers to a multiple of 1/2, 1/16 or 1/1024 after a perturbation."""
    unit = rng.choice([2, 16, 1024])

    def near(x: Fraction) -> Fraction:
        return Fraction(round((x * (1 + Fraction(rng.randint(-8, 8), 8 * unit))) * unit), unit)

    return [TinyLayer([[near(w) for w in row] for row in layer.weight],
                      [near(b) for b in layer.bias], layer.relu) for layer in net]


def pruned(rng: random.Random, net: TinyNet) -> TinyNet:
    """The smallest weights, or a whole unit, set to 0."""
    net = copied(net)
    if rng.random() < 0.3:
        layer = net[0]
        unit = rng.randrange(len(layer.bias))
        layer.weight[unit] = [Fraction(0)] * len(layer.weight[unit])
        layer.bias[unit] = Fraction(0)
        return net
    sizes = sorted({abs(w) for layer in net for row in layer.weight for w in row if w} or {0})
    bound = sizes[min(len(sizes) - 1, rng.choice([0, 0, 1]))]
    return [replace(layer, weight=[[w if abs(w) > bound else Fraction(0) for w in row]
                                   for row in layer.weight]) for layer in net]


def shifted(rng: random.Random, net: TinyNet) -> TinyNet:
    """The biases of the outputs moved, each by another number: decisions change near ties."""
    net = copied(net)
    net[-1].bias[:] = [b + Fraction(rng.randint(-8, 8), rng.choice([4, 32])) for b in net[-1].bias]
    return net


def other(rng: random.Random, net: TinyNet) -> TinyNet:
    """Another random network of the same widths."""
    return random_net(rng, [len(net[0].weight[0]), *(len(layer.bias) for layer in net)])


PAIRS = [("equal", same), ("equal", same), ("turned", turned), ("moved", moved), ("moved", moved),
         ("rounded", rounded), ("pruned", pruned), ("shifted", shifted), ("different", other)]


def violated(asking: Asking, source: TinyNet, target: TinyNet, point: list[Fraction]) -> bool:
    """Whether a point contradicts the relation."""
    f, g = value_at(source, point), value_at(target, point)
    if asking.kind == "decision":
        (margin,) = asking.eps
        return any(
            all(f[c] - f[k] >= margin for k in range(len(f)) if k != c) and max(g) > g[c]
            for c in range(len(f))
        )
    each = asking.eps or (Fraction(0),)
    limits = each if len(each) == len(f) else each * len(f)
    return any(abs(a - b) > eps for a, b, eps in zip(f, g, limits, strict=True))
