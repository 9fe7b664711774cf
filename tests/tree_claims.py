# SPDX-License-Identifier: Apache-2.0
"""Trees for claims about tiny pairs, grown by the checker's own arithmetic, and changes to them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import numpy as np

from attack_claims import net
from differential_pairs import random_slots
from isoform.certificate.certificate import Certificate
from isoform.certificate.check import check
from isoform.certificate.differential import Differential
from isoform.certificate.evidence import Evidence
from isoform.certificate.fixed import Fixed
from isoform.certificate.tree import Part, Rows, parts_of, split
from isoform.certificate.tree_evidence import Split, Tree, Trees
from isoform.errors import CertificateRejected
from isoform.network.claim import Avoids, Claim, Forbidden, SameDecision, Within, forbidden_sets
from isoform.network.domain import Box, Domain, Union, bound_to
from isoform.network.linear_map import Dense
from isoform.network.network import Builder, Network
from isoform.network.operators import Relu
from isoform.network.paired import Slots
from isoform.network.unit_layers import unit_layers
from isoform.numerics.exact import Exact

MOST_NODES = 200
ONE = Exact.of([1])
ALONE = (Slots(np.array([0]), np.array([-1]), ONE), Slots(np.array([-1]), np.array([0]), ONE))
BESIDE = (Slots(np.array([0]), np.array([0]), ONE),)


def grown(
    random: np.random.Generator, part: Part, number: int, sets: list[int], ops: Fixed,
    share: float, faces: bool = False,
) -> Tree | None:
    """A tree that closes these sets, by random splits, this share of them at units; None where it
    becomes too large."""
    bounds = Differential(part.pair, ops, part.faces if faces else None)
    rows = Rows(bounds, part.forms)
    ends = np.full((1, bounds.d), 1 << ops.bits)
    left = np.zeros((1, len(part.forms.closes)), dtype=bool)
    left[0, sets] = True
    tokens: list[int] = []
    places: list[int] = []
    stack = [bounds.whole(-ends, ends)]
    while stack:
        boxes, layers, empty = bounds.settle(stack.pop())
        closed, _ = rows.closed(boxes, layers, left & ~empty[:, None])
        if empty[0] or not (left & ~closed).any():
            tokens.append(Split.LEAF)
            continue
        kind, place = Split.INPUT, int((boxes.high - boxes.low)[0].argmax())
        opened = np.argwhere((boxes.bounds[0, ..., 0] < 0) & (boxes.bounds[0, ..., 1] > 0))
        if len(opened) and random.random() < share:
            place, value = opened[int(random.integers(len(opened)))].tolist()
            kind = Split(int(Split.SOURCE) + value)
        tokens.append(kind)
        places.append(place)
        if len(tokens) + len(stack) > MOST_NODES:
            return None
        halves = split(bounds, boxes, np.array([kind], dtype=np.uint8), np.array([place]))
        stack += [halves.take(np.array([1])), halves.take(np.array([0]))]
    return Tree(number, np.array(sets, dtype=np.int64), np.array(tokens, dtype=np.uint8),
                np.array(places, dtype=np.int32))


def evidence(
    random: np.random.Generator, source: Network, target: Network, claim: Claim, bits: int = 40,
    slots: tuple[Slots, ...] | None = None, faces: bool = False,
) -> Trees | None:
    """Trees for a claim, one or more for every part; None where they become too large. faces:
    whether the rows of the domain take part."""
    if slots is None:
        slots = random_slots(random, unit_layers(source), unit_layers(target))
    sets = forbidden_sets(claim.relation, source.dimension, source.output_dimension)
    domain = bound_to(claim.domain, source.dimension)
    trees = []
    for number, part in enumerate(parts_of(source, target, domain, sets, slots)):
        every = list(range(len(sets)))
        cut = int(random.integers(0, len(every))) if random.random() < 0.3 else 0
        for group in (every[:cut], every[cut:]):
            if not group:
                continue
            tree = None
            for share in (0.5, 0.0):  # units at which nothing contradicts leave boxes open
                tree = tree or grown(random, part, number, group, Fixed(bits), share, faces)
            if tree is None:
                return None
            trees.append(tree)
    return Trees(slots, bits, tuple(trees), faces)


def certificate(source: Network, target: Network, claim: Claim, data: Trees) -> Certificate:
    return Certificate(source=source, target=target, claim=claim, conclusion="e1",
                       evidence=(Evidence("e1", data),))


def with_data(proof: Certificate, data: Trees) -> Certificate:
    return replace(proof, evidence=(Evidence("e1", data),))


def data_of(proof: Certificate) -> Trees:
    data = proof.evidence[0].data
    assert isinstance(data, Trees)
    return data


def accepted(proof: Certificate) -> bool:
    """Whether the checker takes it; anything but a verdict or a rejection is a fault."""
    try:
        return check(proof).holds
    except CertificateRejected:
        return False


def proof_of(
    seed: int, source: Network, target: Network, claim: Claim, bits: int = 40,
    slots: tuple[Slots, ...] | None = None, faces: bool = False,
) -> Certificate:
    data = evidence(np.random.default_rng(seed), source, target, claim, bits, slots, faces)
    assert data is not None
    return certificate(source, target, claim, data)


# --- one change -----------------------------------------------------------------------------------


def mutated(random: np.random.Generator, data: Trees) -> Trees:
    """One random change somewhere."""
    kind = random.choice(["token", "token", "place", "tree", "slots", "bits", "sets", "part"])
    trees = list(data.trees)
    which = int(random.integers(len(trees))) if trees else 0
    if kind == "bits":
        return replace(data, bits=int(random.choice([7, 8, 9, 12, 30, 44, 45, 64])))
    if kind == "slots" and data.slots:
        return replace(data, slots=mutated_slots(random, data.slots))
    if kind == "tree" and trees:
        if random.random() < 0.5:
            return replace(data, trees=tuple(trees[:which] + trees[which + 1 :]))
        return replace(data, trees=(*trees, trees[which]))
    if not trees or not len(trees[which].tokens):
        return data
    tree = trees[which]
    if kind == "part":
        trees[which] = replace(tree, part=int(random.integers(0, 3)))
    elif kind == "sets":
        trees[which] = replace(tree, sets=tree.sets + int(random.choice([-1, 1])))
    elif kind == "place" and len(tree.places):
        places = tree.places.copy()
        places[int(random.integers(len(places)))] = int(random.integers(-1, 6))
        trees[which] = replace(tree, places=places)
    else:
        trees[which] = replace(tree, **mutated_tokens(random, tree))
    return replace(data, trees=tuple(trees))


def mutated_tokens(random: np.random.Generator, tree: Tree) -> dict[str, np.ndarray]:
    tokens, places = tree.tokens.tolist(), tree.places.tolist()
    at = int(random.integers(len(tokens)))
    match int(random.integers(5)):
        case 0:  # another token
            tokens[at] = int(random.integers(0, 6))
        case 1:  # a leaf instead of a split: its subtree stays behind
            tokens[at] = 0
        case 2:  # cut off
            tokens = tokens[:at]
            places = places[: sum(t != 0 for t in tokens)]
        case 3:  # more behind the end
            tokens, places = tokens + [4, 0, 0], [*places, 0]
        case _:  # the tree is its first child
            if tokens[0] and len(tokens) > 2:
                tokens, places = subtree(tokens, places, 1)
    return {"tokens": np.array(tokens, dtype=np.uint8), "places": np.array(places, dtype=np.int32)}


def subtree(tokens: list[int], places: list[int], start: int) -> tuple[list[int], list[int]]:
    """Tokens and places of the subtree at a token."""
    need, end = 1, start
    while need and end < len(tokens):  # a bent tree may end before
        need += 1 if tokens[end] else -1
        end += 1
    first = sum(t != 0 for t in tokens[:start])
    part = tokens[start:end]
    return part, places[first : first + sum(t != 0 for t in part)]


def mutated_slots(random: np.random.Generator, slots: tuple[Slots, ...]) -> tuple[Slots, ...]:
    made = list(slots)
    which = int(random.integers(len(made)))
    layer = made[which]
    match int(random.integers(5)):
        case 0:
            at = random.permutation(layer.size)
            made[which] = replace(layer, source=layer.source[at])
        case 1:
            factors = layer.factor.fractions()
            factors[int(random.integers(layer.size))] = Fraction(
                int(random.integers(-2, 5)), int(random.integers(1, 4))
            )
            made[which] = replace(layer, factor=Exact.of(np.array(factors, dtype=object)))
        case 2:
            target = layer.target.copy()
            target[int(random.integers(layer.size))] = int(random.integers(-2, 6))
            made[which] = replace(layer, target=target)
        case 3:
            made = made[:which] + made[which + 1 :]
        case _:
            made = made[::-1]
    return tuple(made)


# --- known pairs ----------------------------------------------------------------------------------


def one_unit(weight: float, bias: float, out: float, constant: float = 0.0) -> Network:
    """out * relu(weight x + bias) + constant."""
    build = Builder((1,))
    value = build.linear(Dense(np.array([[float(weight)]])), 0, np.array([float(bias)]))
    value = build.add(Relu(), (value,), 1)
    last = Dense(np.array([[float(out)]]))
    return build.build(build.linear(last, value, np.array([float(constant)])))


def two_outputs(gap: float) -> Network:
    """(relu(x), relu(-x) + gap)."""
    build = Builder((1,))
    value = build.add(Relu(), (build.linear(Dense(np.array([[1.0], [-1.0]])), 0),), 2)
    return build.build(build.linear(Dense(np.eye(2)), value, np.array([0.0, gap])))


def side(n: int, m: int, row: list[int], bound: Fraction, strict: bool) -> Forbidden:
    """{row (x, f, g) <= bound} (< where strict)."""
    assert len(row) == n + 2 * m
    return Forbidden(Exact.of([row]), Exact.of([bound]), (strict,))


def leaf(*sets: int, part: int = 0) -> Tree:
    """The tree of no split."""
    return Tree(part, np.array(sets, dtype=np.int64), np.zeros(1, np.uint8), np.zeros(0, np.int32))


def tree_with(tokens: list[int], places: list[int], tree: Tree) -> Tree:
    return replace(tree, tokens=np.array(tokens, dtype=np.uint8),
                   places=np.array(places, dtype=np.int32))


BOX = Box([-1], [1])
F, G = one_unit(1, 0.25, 1), one_unit(1.125, 0.25, 1)  # apart by 1/8 at x = 1
WITHIN = Claim(Within(Fraction(1, 7)), BOX)


def true_claims() -> Iterator[tuple[str, Network, Network, Claim]]:
    """Claims of every relation that hold, with a little room."""
    yield "within", F, G, WITHIN
    yield "each", two_outputs(0.0), two_outputs(0.5), Claim(
        Within((Fraction(1, 100), Fraction(51, 100))), BOX
    )
    yield "decision", two_outputs(0.0), two_outputs(0.125), Claim(
        SameDecision(Fraction(1, 7)), BOX
    )
    yield "avoids", F, G, Claim(Avoids((side(1, 1, [0, 1, -1], Fraction(-1, 7), False),)), BOX)
    yield "linear", net([[1.0, 2.0]]), net([[1.0, 2.125]]), Claim(
        Within(Fraction(1, 7)), Box([-1, -1], [1, 1])
    )


def place_union() -> Domain:
    return Union((Box([-1], [0]), Box([2], [3])))
