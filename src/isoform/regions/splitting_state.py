# SPDX-License-Identifier: Apache-2.0
"""What the splitting search holds, and the affine forms of a layer on the current cell."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from isoform.regions.compiled import UNIT, Tables

TOL = 1e-9  # on rows with unit normals, in a box of half width 1
PIVOT = 1e-11
SPLIT_MINUS_FIRST, SPLIT_PLUS_FIRST, MINUS_BOX, PLUS_BOX = 0, 1, 2, 3
MINUS_BASIS, PLUS_BASIS, MINUS_FOLLOW, PLUS_FOLLOW = 4, 5, 6, 7
BOX, EMPTY, HOLE = 8, 9, 10
# What a run ends with.
DONE, FULL, UNDECIDED, DOUBTFUL_LEAF, DEEP = 0, 1, 2, 3, 4
# Numbers of a run: position and what is left to say.
U, ROWS, STACK, CODES, IDS, REGIONS, SIDE, HINTED, PROGRAMS = range(9)


class State(NamedTuple):
    """The open path and the stack of its open siblings; everything is changed in place.

    at: see U to PROGRAMS. sign (N,): prefix codes (bit 0: active, bit 1: split).
    forms (k + 3, N): constant, gradient, size and error bound of each pre-activation; norm (N,).
    A (k, most), b, drift (most,): half-spaces of the path, by columns; ids (most,): their row ids.
    Vertex of the node: x (k,), basis (k,) (places in A), inverse (k, k), gap (most,).
    low, high (k,): box around the cell.
    """

    at: np.ndarray
    sign: np.ndarray
    forms: np.ndarray
    norm: np.ndarray
    A: np.ndarray
    b: np.ndarray
    drift: np.ndarray
    ids: np.ndarray
    x: np.ndarray
    basis: np.ndarray
    inverse: np.ndarray
    low: np.ndarray
    high: np.ndarray
    stack_at: np.ndarray  # (depth, 3): unit, rows, sign
    stack_x: np.ndarray
    stack_basis: np.ndarray
    stack_inverse: np.ndarray
    stack_box: np.ndarray
    try_x: np.ndarray
    try_basis: np.ndarray
    try_inverse: np.ndarray
    gap: np.ndarray
    rate: np.ndarray
    objective: np.ndarray
    multiplier: np.ndarray
    hint: np.ndarray


class Output(NamedTuple):
    """What a run has found since the caller last took it."""

    patterns: np.ndarray
    points: np.ndarray
    codes: np.ndarray
    ids: np.ndarray


@njit(cache=True)
def layer_forms(T: Tables, S: State, layer: int) -> None:
    """Affine forms of a layer's pre-activations on the cells with the current prefix."""
    start, end = T.starts[layer], T.starts[layer + 1]
    n, k = end - start, T.rows.shape[1]
    G, base, sign, source, tails = S.forms, T.base, S.sign, T.source, T.tails
    places, weights = T.entry_row, T.entry_weight
    for c in range(k + 2):
        for j in range(start, end):
            G[c, j] = base[c, j]
    for j in range(start, end):
        G[k + 2, j] = 0.0
    terms = 1
    for s in range(T.heads[layer], T.heads[layer + 1]):
        v = source[s]
        if sign[v] & 1 == 0:
            continue
        terms += 1
        first, last = tails[s], tails[s + 1]
        size, error = G[k + 1, v], G[k + 2, v]
        if T.step[v]:
            for q in range(first, last):
                j = start + places[q]
                G[0, j] += weights[q]
                G[k + 1, j] += abs(weights[q])
        elif T.dense[s]:
            for c in range(k + 1):
                h = G[c, v]
                for j in range(n):
                    G[c, start + j] += h * weights[first + j]
            for j in range(n):
                w = abs(weights[first + j])
                G[k + 1, start + j] += size * w
                G[k + 2, start + j] += error * w
        else:
            for q in range(first, last):
                j, w = start + places[q], weights[q]
                for c in range(k + 1):
                    G[c, j] += G[c, v] * w
                G[k + 1, j] += size * abs(w)
                G[k + 2, j] += error * abs(w)
    finish_forms(G, S.norm, start, end, (terms + 4) * UNIT * 1.01)


@njit(cache=True)
def finish_forms(G: np.ndarray, norm: np.ndarray, start: int, end: int, gamma: float) -> None:
    """Size and error of each form on the box [-1, 1]^k, evaluation at a point included."""
    k = G.shape[0] - 3
    for j in range(start, end):
        total = G[k + 1, j]
        size, square = abs(G[0, j]), 0.0
        for c in range(1, k + 1):
            size += abs(G[c, j])
            square += G[c, j] * G[c, j]
        error = (G[k + 2, j] + gamma * total) * (1 + 1e-9)
        if total > 0:
            error += (k + 4) * UNIT * size * 1.01 + 1e-290
        G[k + 1, j] = size * (1 + 1e-12)
        G[k + 2, j] = error
        norm[j] = np.sqrt(square)
