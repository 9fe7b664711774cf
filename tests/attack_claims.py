# SPDX-License-Identifier: Apache-2.0
"""Certificates of false claims, each one step away from a rule that would let it pass."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np

from isoform.certificate.certificate import Certificate
from isoform.certificate.codes import Code, Codes
from isoform.certificate.evidence import Counterexample, Enumerate, Evidence, Rounding, Sweep
from isoform.network.claim import Arithmetic, Claim, Equal, SameDecision, Within
from isoform.network.domain import Binary, Box, FiniteSet, Polytope, Union
from isoform.network.linear_map import Dense
from isoform.network.network import Builder, Network, Node
from isoform.network.operators import Opaque, Product, Relu, Select, Step
from isoform.numerics.exact import Exact, exact_fractions


def net(weight, bias=None, *operators, after=None) -> Network:
    """An affine map, units, and perhaps another affine map."""
    weight = np.array(weight, dtype=np.float64)
    build = Builder((weight.shape[1],))
    value = build.linear(Dense(weight), 0, None if bias is None else np.array(bias, np.float64))
    for operator in operators:
        value = build.add(operator, (value,), len(weight))
    if after is not None:
        value = build.linear(Dense(np.array(after, dtype=np.float64)), value)
    return build.build(value)


def merge(*, code: int = Code.MERGE, partner=(), factor=(), n: int = 1) -> Codes:
    return Codes(
        code=np.full(n, code, dtype=np.uint8), partner=np.array(partner, dtype=np.int64),
        factor=exact_fractions([Fraction(f) for f in factor], (len(factor),)),
    )


def swept(source: Network, target: Network, claim: Claim, *codes: Codes, **more) -> Certificate:
    return Certificate(
        source=source, target=target, claim=claim, conclusion="e1",
        evidence=(Evidence("e1", Sweep(codes)), *more.pop("then", ())), **more,
    )


def pointed(source: Network, target: Network, claim: Claim, point) -> Certificate:
    return replace(swept(source, target, claim),
                   evidence=(Evidence("e1", Counterexample(Exact.of(point))),))


def listed(source: Network, target: Network, claim: Claim) -> Certificate:
    return replace(swept(source, target, claim), evidence=(Evidence("e1", Enumerate()),))


NEW, DEAD, LINEAR = Codes.all_new(1), merge(code=Code.DEAD), merge(code=Code.LINEAR)
EQUAL, ONE, TWO = Claim(Equal()), net([[1]]), net([[1], [2]])
UNIT = Claim(Equal(), Box([-1], [1]))


def false_codes() -> list[Certificate]:
    """Codes that would prove what is not so."""
    return [*false_units(), *false_groups_and_graphs()]


def false_units() -> list[Certificate]:
    """Single units with codes that are not theirs."""
    relu, step, tanh = Relu(), Step(), Opaque("tanh")
    within = Claim(Within(Fraction(1, 2)))
    return [
        swept(net([[1]], None, relu), net([[-1]], None, relu, after=[[-1]]), EQUAL, NEW,
              merge(partner=[2], factor=[-1])),
        swept(net([[1]], None, step), net([[0]], None, step), EQUAL, NEW,
              merge(partner=[2], factor=[0])),
        swept(net([[1]], None, step), net([[1]], [1], step), UNIT, NEW,
              merge(partner=[2], factor=[1])),
        swept(net([[1]], [-1], step), net([[0]]), UNIT, DEAD),
        swept(net([[1]], None, step), net([[0]]), EQUAL, DEAD),
        swept(net([[1]], None, step), net([[0]], [1.0]), EQUAL, LINEAR),
        swept(late(-1.0), net([[0]], [1.0]), UNIT, DEAD, LINEAR),
        swept(late(1.0), net([[0]]), UNIT, DEAD, DEAD),
        swept(net([[0]], [0.5], step), late(-1.0), UNIT, NEW, DEAD,
              merge(partner=[2], factor=[1])),
        swept(late(-1.0), net([[0]], [1.0]), UNIT, DEAD, NEW),
        swept(times(0, 1), times(0, 0), EQUAL, NEW, merge(partner=[3], factor=[1])),
        swept(times(0, 1), times(1, 1), EQUAL, NEW,
              merge(code=Code.NEGATIVE, partner=[3], factor=[1])),
        swept(net([[1]], None, relu), net([[0]]), EQUAL, DEAD),
        swept(net([[1]], None, relu), ONE, EQUAL, LINEAR),
        swept(net([[1]], None, relu), net([[0]]), within, NEW),
        swept(net([[-1]], None, relu), ONE, within, LINEAR),
        swept(net([[1]], None, relu), net([[2]], None, relu), within, NEW,
              merge(partner=[2], factor=[1])),
        swept(net([[1]], None, relu), net([[1]], None, relu), EQUAL, NEW, NEW, NEW),
        swept(ONE, ONE, EQUAL, NEW),
        swept(net([[1]], None, tanh), net([[2]], None, tanh), EQUAL, NEW,
              merge(partner=[2], factor=[2])),
        swept(net([[1]], None, Opaque("cos")), net([[-1]], None, Opaque("cos"), after=[[-1]]),
              EQUAL, NEW, merge(code=Code.NEGATIVE, partner=[2], factor=[1])),
        swept(net([[1]], None, Opaque("exp")), net([[1]], [2.0**-9], Opaque("exp")),
              Claim(Within(Fraction(1, 100)), Box([0], [9])), NEW, merge(partner=[2], factor=[1])),
    ]


def false_groups_and_graphs() -> list[Certificate]:
    """Softmax groups cut apart, units of units, products, claims about another place."""
    relu = Relu()
    bound = 1 << 60
    within = Claim(Within(Fraction(1, 2)))
    soft = Opaque("softmax", 2)
    double = net([[1], [2], [3], [5]], None, soft)
    build = Builder((1,))
    square = build.build(build.add(Product(), (0, 0), 1))
    build = Builder((1,))
    first = build.add(relu, (0,), 1)
    both = build.linear([Dense(np.ones((1, 1)))] * 2, (0, first))
    grown = build.build(build.add(relu, (both,), 1))  # relu(x + relu(x))
    build = Builder((1,))
    first = build.add(relu, (0,), 1)
    side = build.build(build.linear(Dense(np.array([[1.0], [0.0]])), first, np.array([0, 0.5])))
    return [
        swept(cut(double, [1, 2]), net([[2], [3]], None, soft), EQUAL, Codes.all_new(4),
              merge(n=2, partner=[3, 4], factor=[1, 1])),
        swept(cut(double, [0, 3]), net([[1], [5]], None, soft), EQUAL, Codes.all_new(4),
              merge(n=2, partner=[2, 5], factor=[1, 1])),
        swept(net([[1]], None, relu), net([[0]]), UNIT, DEAD),
        swept(net([[0]]), net([[1]], None, relu), within, NEW),
        swept(net([[0], [0]], [0, 1.5]), side, Claim(SameDecision(Fraction(3, 2)),
                                                     Box([-1], [1])), DEAD),
        swept(grown, net([[1]], None, relu, after=[[1.5]]), within, NEW,
              merge(partner=[2], factor=[1]), merge(partner=[2], factor=[1])),
        swept(square, net([[2]]), UNIT, LINEAR),
        swept(square, ONE, Claim(Within(Fraction(1)), Box([-bound], [bound])), NEW),
        swept(ONE, net([[1]], None, relu), Claim(Within(Fraction(1, 2)), Box([-1], [1])), LINEAR),
        swept(ONE, net([[1]], [1], relu), Claim(Equal(), Box([-2], [-1])), LINEAR),
        swept(ONE, net([[1]], [3.0]), Claim(Within(Fraction(2)), Box([-1], [1]))),
        swept(ONE, net([[1]], [1.0]), EQUAL),
        swept(ONE, ONE, Claim(Equal(), Box([-1], [1]), Arithmetic.FLOAT32)),
        swept(net([[1]], None, relu), net([[0]]), Claim(Within(Fraction(1, 3)), judge_union()),
              NEW),
    ]


def judge_union():
    """A union whose parts are far from each other."""
    return Union((Box([-1], [0]), Box([5], [6])))


def late(sign: float) -> Network:
    """step(sign (relu(x) - 1/2)); called dead, its relu leaves a radius behind."""
    build = Builder((1,))
    first = build.add(Relu(), (0,), 1)
    z = build.linear(Dense(np.array([[sign]])), first, np.array([-sign / 2]))
    return build.build(build.add(Step(), (z,), 1))


def times(i: int, j: int) -> Network:
    """x_i x_j of two inputs."""
    build = Builder((2,))
    parts = tuple(build.add(Select(np.array([k])), (0,), 1) for k in (i, j))
    return build.build(build.add(Product(), parts, 1))


def cut(network: Network, indices: list[int]) -> Network:
    """Some of the outputs."""
    select = Node(Select(np.array(indices)), network.outputs, (len(indices),))
    return Network(network.inputs, (*network.nodes, select), (len(network.nodes) + 1,))


def false_points() -> list[Certificate]:
    """Witnesses and lists of points that show nothing, and roundings that are none."""
    tall = net([[1.0]], None, Opaque("tanh"))
    build = Builder((1,))
    smooth = build.add(Opaque("tanh"), (0,), 1)
    none = build.linear([Dense(np.ones((1, 1))), Dense(-np.ones((1, 1)))], (smooth, smooth))
    always = build.build(build.add(Step(), (none,), 1))  # tanh x - tanh x >= 0
    corner = Builder((10,))
    last = corner.linear(Dense(np.ones((1, 10))), 0, np.array([-9.0]))
    spike = corner.build(corner.add(Relu(), (last,), 1))  # not 0 at (1, ..., 1) only
    nothing = net(np.zeros((1, 10)))
    many = FiniteSet(Exact.of([[0]] * 600 + [[1]]))
    some = Union((FiniteSet(Exact.of([[0]])), FiniteSet(Exact.of([[1]]))))
    half = Polytope(Exact.of([[1]]), Exact.of([1]), Box([0], [1]))
    precise = net([[1.0]], [3.0])
    e2 = (Evidence("e2", Rounding(), ("e1",)),)
    third = Builder((1,))
    thirds = third.build(third.linear(Dense(Exact.of([[Fraction(1, 3)]])), 0))
    off = float(np.nextafter(1 / 3, 1))
    three = net([[1], [1], [1]])
    sides = net([[1], [1], [1]], [0, 1, -1])
    return [
        pointed(ONE, net([[1]], [1.0]), Claim(Equal(), Box([0], [1])), [2]),
        pointed(ONE, net([[1]], [1.0]), Claim(Equal(), half), [-1]),
        pointed(ONE, net([[1]], [1.0]), Claim(Within(Fraction(1))), [0]),
        pointed(ONE, ONE, EQUAL, [1]),
        pointed(tall, tall, EQUAL, [1]),
        pointed(always, net([[0]], [1.0]), EQUAL, [1]),
        pointed(net([[1], [0]]), net([[0], [1]]), Claim(SameDecision(Fraction(2))), [1]),
        pointed(net([[1], [0]]), net([[1], [1]]), Claim(SameDecision()), [1]),
        listed(spike, nothing, Claim(Equal(), Binary(10))),
        listed(ONE, net([[0]]), Claim(Equal(), many)),
        listed(ONE, net([[0]]), Claim(Equal(), some)),
        listed(net([[1], [0]]), net([[0], [1]]), Claim(SameDecision(), Binary(1))),
        listed(three, sides, Claim(SameDecision(), Binary(1))),
        listed(net([[0]] * 3, [2, 0, 0]), net([[0]] * 3, [1, 2, 0]),
               Claim(SameDecision(), Binary(1))),
        swept(precise, net([[1]], [4.0]), EQUAL, rounds=precise),
        listed(net([[0], [0]], [2, 1]), net([[0], [0]], [1, 2]), Claim(SameDecision(), Binary(1))),
        swept(precise, net([[1]], [4.0]), EQUAL, then=e2, rounds=precise),
        replace(swept(precise, net([[1]], [4.0]), EQUAL, then=e2, rounds=precise),
                conclusion="e2"),
        replace(swept(thirds, net([[off]]), EQUAL, then=e2, rounds=thirds), conclusion="e2"),
        replace(swept(precise, net([[1]]), EQUAL, then=e2, rounds=precise), conclusion="e2"),
        replace(swept(precise, precise, EQUAL, rounds=precise), conclusion="e2",
                evidence=(Evidence("e2", Rounding()),)),
        replace(swept(precise, precise, Claim(Within(Fraction(-1))))),
    ]
