# SPDX-License-Identifier: Apache-2.0
"""Sums in floats, in several orders, written with numpy: what float claims are judged by."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np

from isoform.certificate.float_error import float_error
from isoform.network.claim import Arithmetic
from isoform.network.domain import Box, bound_to
from isoform.network.evaluate import evaluate_exact
from isoform.network.linear_map import Dense
from isoform.network.network import Builder, Network
from isoform.network.operators import Linear, Relu
from isoform.numerics.exact import Exact

F32, F64 = Arithmetic.FLOAT32, Arithmetic.FLOAT64
TYPES = {F32: np.float32, F64: np.float64}
Sum = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def dense(*layers: tuple[np.ndarray, np.ndarray | None]) -> Network:
    """Affine maps with a relu between each two."""
    build = Builder((layers[0][0].shape[1],))
    value = 0
    for number, (weight, bias) in enumerate(layers):
        if number:
            value = build.add(Relu(), (value,), build.size_of(value))
        value = build.linear(Dense(weight), value, bias)
    return build.build(value)


def random_net(seed: int, widths: tuple[int, ...], dtype: type = np.float32) -> Network:
    random = np.random.default_rng(seed)
    return dense(*(
        (random.standard_normal((m, n)).astype(dtype) * dtype(random.choice([0.1, 1, 30])),
         random.standard_normal(m).astype(dtype))
        for n, m in zip(widths, widths[1:], strict=False)
    ))


# --- ways to add -------------------------------------------------------------------------------


def forwards(w: np.ndarray, x: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Product by product, from the bias on; all in the type of x."""
    for j in range(w.shape[1]):
        start = start + w[:, j] * x[j]
    return start


def backwards(w: np.ndarray, x: np.ndarray, start: np.ndarray) -> np.ndarray:
    return forwards(w[:, ::-1], x[::-1], np.zeros_like(start)) + start


def pairwise(w: np.ndarray, x: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Neighbours first, the bias last."""
    terms = w * x
    while terms.shape[1] > 1:
        rest = terms[:, terms.shape[1] // 2 * 2 :]
        terms = np.concatenate([terms[:, 0:-1:2] + terms[:, 1::2], rest], axis=1)
    return terms[:, 0] + start


def fused(w: np.ndarray, x: np.ndarray, start: np.ndarray) -> np.ndarray:
    """One rounding a multiply-add: products of float32 numbers are exact in float64, whose sums
    round far below float32. Only for float32."""
    for j in range(w.shape[1]):
        wide = w[:, j].astype(np.float64) * np.float64(x[j]) + start.astype(np.float64)
        start = wide.astype(np.float32)
    return start


def flushed(w: np.ndarray, x: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Subnormal operands, products and sums count as zero."""
    tiny = np.finfo(w.dtype).tiny

    def flush(a: np.ndarray) -> np.ndarray:
        return np.where(np.abs(a) < tiny, a.dtype.type(0), a)

    w, x, start = flush(w), flush(x), flush(start)
    for j in range(w.shape[1]):
        start = flush(start + flush(w[:, j] * x[j]))
    return start


WAYS = [forwards, backwards, pairwise, fused, flushed]


def computed(network: Network, x: np.ndarray, way: Sum) -> np.ndarray:
    """A network of Linear and Relu nodes at one point, in the type of x."""
    values = [x]
    for node in network.nodes:
        operands = [values[operand] for operand in node.operands]
        if isinstance(node.operator, Relu):
            values.append(np.maximum(operands[0], 0))
            continue
        assert isinstance(node.operator, Linear)
        weights = [part.sparse().dense().to_float(x.dtype) for part in node.operator.maps]
        bias = node.operator.bias
        start = np.zeros(node.shape, dtype=x.dtype) if bias is None else np.asarray(bias)
        values.append(way(np.hstack(weights), np.hstack(operands), start.astype(x.dtype)))
    return values[network.outputs[0]]


def worst_ratio(network: Network, box: Box, arithmetic: Arithmetic, ways: list[Sum],
                points: int, seed: int = 0) -> float:
    """The largest |computed - exact| / E over points of the box; the bound fails above 1."""
    domain = bound_to(box, network.dimension)
    assert isinstance(domain, Box)
    error = float_error(network, domain, arithmetic)
    low, high = domain.low.to_float(), domain.high.to_float()
    random = np.random.default_rng(seed)
    worst = Fraction(0)
    for number in range(points):
        share = random.random(len(low)) if number % 2 else random.integers(0, 2, len(low))
        x = (low + share * (high - low)).astype(TYPES[arithmetic])
        true = Exact.of(evaluate_exact(network, Exact.of(x)))
        for way in ways:
            off = (Exact.of(computed(network, x, way)) - true).abs()
            assert np.all((error - off).sign() >= 0), way.__name__
            ratios = zip(off.fractions(), error.fractions(), strict=True)
            worst = max(worst, *(a / b for a, b in ratios))
    return float(worst)
