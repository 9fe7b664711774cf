# SPDX-License-Identifier: Apache-2.0
"""What the splitting search holds, and the affine forms of a layer on the current cell."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from isoform.regions.compiled import TINY, UNIT, Tables
from isoform.regions.kernel import kernel

TOL = 1e-9  # on rows with unit normals, in a box of half width 1
BLURRED = 1e-6  # rounding may move a wall so far and no further: else exact arithmetic is asked
PIVOT = 1e-11
UNDERFLOW = 1e-290  # more than what products below the normal doubles can lose
SPLIT_MINUS_FIRST, SPLIT_PLUS_FIRST, MINUS_BOX, PLUS_BOX = 0, 1, 2, 3
MINUS_BASIS, PLUS_BASIS, MINUS_FOLLOW, PLUS_FOLLOW = 4, 5, 6, 7
BOX, EMPTY, HOLE, LEAF = 8, 9, 10, 11
MASK = 15  # coordinates in a word of the mask of a BOX
# What a run ends with.
DONE, FULL, UNDECIDED, DOUBTFUL_LEAF, DEEP, PAUSED = 0, 1, 2, 3, 4, 5
NODE, TRIAL, SIBLINGS = 0, 1, 2  # in vertices and bases
LEAD = 2  # in span
# Numbers of a run: position and what is left to say.
U, ROWS, STACK, CODES, IDS, REGIONS, SIDE, HINTED, PROGRAMS, QUIET = range(10)


class State(NamedTuple):
    """The open path and the stack of its open siblings, in few arrays (each one more costs time at
    every call); everything is changed in place.

    at: see U to QUIET (leaves since the last token). sign (N,): prefix codes (bit 0: active, bit
    1: split).
    forms (k + 4, N): constant, gradient, size, error bound and length of the gradient of each
    pre-activation. walls (k + 4, most): the path's half-spaces by columns: normal, bound, drift
    (what rounding may move it), and work space; ids (most,): their row ids.
    vertices (2 + depth, k + 1, k): inverse of the basis, then the point: of the node, of a trial,
    then of the siblings. bases (2 + depth, k + 3): places in walls, then a sibling's unit, number
    of rows and side. boxes (1 + depth, 2, k): around the cell, then the siblings'.
    work (3, k): objective, multipliers, scratch. span (3, N) and boxed (N,): the range of each unit
    of the current layer on the node's box, and the sign which that proves (0: none); in row LEAD
    1 + the unit of which a unit is a multiple on the cell, having no other active input, with the
    sign of the multiple (0: none).
    """

    at: np.ndarray
    sign: np.ndarray
    forms: np.ndarray
    walls: np.ndarray
    ids: np.ndarray
    vertices: np.ndarray
    bases: np.ndarray
    boxes: np.ndarray
    work: np.ndarray
    span: np.ndarray
    boxed: np.ndarray


class Output(NamedTuple):
    """What a run has found since the caller last took it."""

    patterns: np.ndarray
    points: np.ndarray
    codes: np.ndarray
    ids: np.ndarray


@kernel(inner=True)
def layer_forms(T: Tables, S: State, layer: int) -> None:
    """Affine forms of a layer's pre-activations on the cells with the current prefix."""
    start, end = T.starts[layer], T.starts[layer + 1]
    k, forms = T.rows.shape[1], S.forms
    G = forms[:, start:end]
    for c in range(k + 1):  # no slices: numba compiles long for them
        for j in range(end - start):
            G[c, j] = T.base[c, start + j]
    # Rounding of a sum of up to so many terms; with it one number a source bounds all its errors.
    gamma = (T.heads[layer + 1] - T.heads[layer] + 5) * UNIT * 1.01
    for j in range(end - start):
        G[k + 2, j] = gamma * T.base[k + 1, start + j]
    for s in range(T.heads[layer], T.heads[layer + 1]):
        v = T.source[s]
        if S.sign[v] & 1 == 0 and not (T.step[v] and forms[k + 2, v] == 0.0):
            continue  # a step unit gives 1 where z = 0, though its pattern says inactive
        first, last = T.tails[s], T.tails[s + 1]
        weights, places = T.entry_weight[first:last], T.entry_row[first:last]
        if T.step[v]:
            add_source(G, places, weights, 1.0, 0)
            add_error(G, places, weights, gamma)
            continue
        for c in range(k + 1):
            if T.dense[s]:
                add_dense(G[c], weights, forms[c, v])
            else:
                add_source(G, places, weights, forms[c, v], c)
        error = forms[k + 2, v] + gamma * forms[k + 1, v]
        if T.dense[s]:
            add_dense_error(G[k + 2], weights, error)
        else:
            add_error(G, places, weights, error)
    finish_forms(G)


@kernel(inner=True)
def single_sources(T: Tables, S: State, layer: int) -> None:
    """Set LEAD for the units of a layer."""
    start, end = T.starts[layer], T.starts[layer + 1]
    lead = S.span[LEAD, start:end]
    for j in range(end - start):
        lead[j] = 0.0
    if not T.unmixed[layer]:
        return
    several = 1 + len(S.sign)
    full = 0  # active sources of all units
    for s in range(T.heads[layer], T.heads[layer + 1]):
        v = T.source[s]
        if S.sign[v] & 1 == 0 and not T.step[v]:
            continue
        full += T.dense[s]
        if full > 1:
            for j in range(end - start):
                lead[j] = 0.0
            return
        for q in range(T.tails[s], T.tails[s + 1]):
            j = T.entry_row[q]
            if lead[j] != 0 or T.step[v]:
                lead[j] = several
            else:
                lead[j] = 1 + v if T.entry_weight[q] > 0 else -1 - v
    k = T.rows.shape[1]
    for j in range(end - start):
        if lead[j] == several or T.base[k + 1, start + j] != 0.0:
            lead[j] = 0


@kernel(inner=True)
def add_dense(target: np.ndarray, weights: np.ndarray, factor: float) -> None:
    for j in range(len(weights)):
        target[j] += factor * weights[j]


@kernel(inner=True)
def add_dense_error(target: np.ndarray, weights: np.ndarray, error: float) -> None:
    for j in range(len(weights)):
        target[j] += error * (abs(weights[j]) + TINY) + UNDERFLOW


@kernel(inner=True)
def add_source(
    G: np.ndarray, places: np.ndarray, weights: np.ndarray, factor: float, row: int
) -> None:
    for q in range(len(weights)):
        G[row, places[q]] += factor * weights[q]


@kernel(inner=True)
def add_error(G: np.ndarray, places: np.ndarray, weights: np.ndarray, error: float) -> None:
    for q in range(len(weights)):
        G[-2, places[q]] += error * (abs(weights[q]) + TINY) + UNDERFLOW


@kernel(inner=True)
def finish_forms(G: np.ndarray) -> None:
    """Size, error and length of each form on the box [-1, 1]^k, evaluation at a point included. The
    error is 0 only where nothing was added up: a form that vanishes in floats need not be zero."""
    k = G.shape[0] - 4
    for j in range(G.shape[1]):
        size, square = abs(G[0, j]), 0.0
        for c in range(1, k + 1):
            size += abs(G[c, j])
            square += G[c, j] * G[c, j]
        error = G[k + 2, j] * (1 + 1e-9)
        if error > 0:
            error += (k + 4) * UNIT * size * 1.01 + UNDERFLOW
        G[k + 1, j] = size * (1 + 1e-12)
        G[k + 2, j] = error
        G[k + 3, j] = np.sqrt(square)


@kernel(inner=True)
def box_signs(G: np.ndarray, box: np.ndarray, span: np.ndarray, boxed: np.ndarray) -> None:
    """For units with forms G: 1 or -1 where the box proves the sign (-1 also for z = 0), else 0."""
    k, n = box.shape[1], G.shape[1]
    least, most, constant = span[0], span[1], G[0]
    for j in range(n):
        least[j] = constant[j]
        most[j] = constant[j]
    for c in range(k):
        low, high, slope = box[0, c], box[1, c], G[1 + c]
        for j in range(n):
            a, b = slope[j] * low, slope[j] * high
            least[j] += min(a, b)
            most[j] += max(a, b)
    size, error = G[k + 1], G[k + 2]
    for j in range(n):
        slack = 2 * error[j] + 1e-12 * size[j]
        plus = least[j] > slack
        minus = (most[j] < -slack) | (error[j] == 0.0)
        boxed[j] = np.int8(plus) - np.int8(minus)
