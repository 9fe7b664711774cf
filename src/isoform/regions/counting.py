# SPDX-License-Identifier: Apache-2.0
"""How many regions a network can have at most, and at least the best one: published formulas.

Everything is in exact integers. A chain has `inputs` inputs, hidden ReLU layers of the given
`widths` (each reads the layer before it alone, with all weights and biases free), and linear
outputs. Upper bounds count activation regions with interior in all of R^inputs, so they hold for
every kind of region, for every set of weights, and on every convex domain. Lower bounds say that
*some* weights reach the number, on all of space; they say nothing about a given network.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from math import comb, prod

import numpy as np

Layers = tuple[tuple[np.ndarray, np.ndarray], ...]  # (weight (out, in), bias (out,)) of each map


def zaslavsky(units: int, dimension: int) -> int:
    """Sum of C(units, j) for j <= dimension: the most cells that so many hyperplanes cut out of
    R^dimension, reached in general position (Zaslavsky 1975). With one hidden layer it is the
    maximal number of regions exactly."""
    check(dimension, [units])
    term = total = 1
    for j in range(1, min(units, dimension) + 1):
        term = term * (units - j + 1) // j
        total += term
    return total


def montufar_lower(inputs: int, widths: Sequence[int]) -> int | None:
    """Lower bound of the maximum over all weights: the product of floor(n_l / n_0)^n_0 over all
    layers but the last, times Zaslavsky's number of the last.

    Montufar, Pascanu, Cho and Bengio 2014 (arXiv 1402.1869), the theorem on rectifiers, whose
    condition is n_l >= n_0 >= 1 for every layer. None where it does not hold.
    """
    check(inputs, widths)
    if min(widths) < inputs or inputs == 0:
        return None
    folds = prod((n // inputs) ** inputs for n in widths[:-1])
    return folds * zaslavsky(widths[-1], inputs)


def serra_lower(inputs: int, widths: Sequence[int]) -> int | None:
    """Lower bound of the maximum over all weights: as `montufar_lower`, with floor(n_l / n_0) + 1
    folds a layer and input.

    Serra, Tjandraatmadja and Ramalingam 2018 (arXiv 1711.02114), the theorem of section 3.3, whose
    condition is n_l >= 3 n_0 for every layer. None where it does not hold. (The folds are in all
    layers but the last, which could be of any width; the condition here is the published one.)
    """
    check(inputs, widths)
    if min(widths) < 3 * inputs or inputs == 0:
        return None
    folds = prod((n // inputs + 1) ** inputs for n in widths[:-1])
    return folds * zaslavsky(widths[-1], inputs)


def montufar_upper(inputs: int, widths: Sequence[int]) -> int:
    """Upper bound: the product of Zaslavsky's numbers of the layers, each in the least dimension
    that any layer up to it (the inputs included) leaves.

    Montufar 2017, Notes on the number of linear regions of deep neural networks. Any widths.
    """
    check(inputs, widths)
    dimensions = accumulate(widths, min, initial=inputs)
    return prod(zaslavsky(n, d) for n, d in zip(widths, dimensions, strict=False))


def serra_upper(inputs: int, widths: Sequence[int], ranks: Sequence[int] | None = None) -> int:
    """Upper bound: the sum, over all j with 0 <= j_l <= min(n_0, n_1 - j_1, ..., n_l), of the
    products of C(n_l, j_l).

    Serra, Tjandraatmadja and Ramalingam 2018 (arXiv 1711.02114), Theorem 1: a region in which j of
    n units are inactive hands on at most n - j dimensions. Any widths; never above
    `montufar_upper`; exact for one hidden layer, and for one input where all widths are at least 3
    (there it is the product of n_l + 1). ranks: upper bounds of the ranks of the weight matrices,
    which take the place of n_l in j_l <= n_l (remark after the proof).

    One pass over the layers from the last, with about min(n_0, max n_l) large additions each.
    """
    check(inputs, widths)
    ranks = widths if ranks is None else ranks
    if len(ranks) != len(widths) or min(ranks) < 0:
        raise ValueError(f"{len(widths)} layers need as many ranks, none negative: {list(ranks)}")
    after = [1] * (inputs + 1)  # after[d]: regions that the later layers make in d dimensions
    for n, rank in zip(reversed(widths), reversed(ranks), strict=True):
        after = serra_step(n, min(n, rank), after)
    return after[inputs]


def serra_step(n: int, rank: int, after: list[int]) -> list[int]:
    """For every d: the sum over j <= min(rank, d) of C(n, j) after[min(d, n - j)]."""
    largest = len(after) - 1
    terms = [comb(n, j) for j in range(min(rank, largest) + 1)]
    plain = list(accumulate(terms, initial=0))
    narrowed = list(accumulate(
        (term * after[min(largest, n - j)] for j, term in enumerate(terms)), initial=0
    ))
    made = []
    for d in range(largest + 1):
        end = min(rank, d) + 1
        turn = max(0, min(end, n - d + 1))  # from here on n - j < d
        made.append(after[d] * plain[turn] + narrowed[end] - narrowed[turn])
    return made


def chain_parameters(inputs: int, widths: Sequence[int], outputs: int = 1) -> int:
    """Weights and biases of a fully connected chain, the linear output layer included."""
    check(inputs, widths)
    return sum(n * m + m for n, m in pairwise([inputs, *widths, outputs]))


def widest_chain(inputs: int, depth: int, parameters: int, outputs: int = 1) -> int:
    """The largest n for which `depth` hidden layers of n units have at most so many parameters
    (0 if one unit a layer is too much): what depth costs in width at equal size."""
    if inputs < 0 or depth < 1 or outputs < 0:
        raise ValueError(f"{inputs} inputs, {depth} hidden layers and {outputs} outputs")

    def fits(n: int) -> bool:
        return chain_parameters(inputs, [n] * depth, outputs) <= parameters

    below, above = 0, 1
    while fits(above):
        below, above = above, 2 * above
    while above - below > 1:
        middle = (below + above) // 2
        below, above = (middle, above) if fits(middle) else (below, middle)
    return below


def check(inputs: int, widths: Sequence[int]) -> None:
    if inputs < 0 or not widths or min(widths) < 0:
        raise ValueError(f"no chain has {inputs} inputs and layers of {list(widths)} units")


# --- depth against width: Telgarsky's tent ------------------------------------------------------


def tent(times: int) -> Layers:
    """Weights of tent(tent(... (x))), tent(x) = 2 relu(x) - 4 relu(x - 1/2), `times` >= 1 of them:
    as many hidden layers of two units, and a linear output.

    Telgarsky 2016 (arXiv 1602.04485). On [0, 1] it is a zigzag between 0 and 1 with exactly
    2^times pieces, which are also its activation regions there. All weights are floats exactly.
    """
    if times < 1:
        raise ValueError(f"the tent map is composed at least once, not {times} times")
    biases = np.array([0.0, -0.5])
    first = (np.ones((2, 1)), biases)
    middle = (np.array([[2.0, -4.0], [2.0, -4.0]]), biases)
    return (first, *[middle] * (times - 1), (np.array([[2.0, -4.0]]), np.zeros(1)))


def tent_pieces(times: int) -> int:
    """Pieces of the composed tent map on [0, 1]."""
    return 2**times


def tent_parameters(times: int) -> int:
    """Weights and biases of `tent(times)`: 6 times + 1."""
    return chain_parameters(1, [2] * times)


def shallow_tent_parameters(times: int) -> int:
    """Weights and biases that one hidden layer needs for the same function on [0, 1]: each of the
    2^times - 1 bends is a unit of its own, and one more unit, active throughout, brings the slope
    at 0 right (units that face left change it by multiples of twice its value): 3 * 2^times + 1."""
    return chain_parameters(1, [2**times])
