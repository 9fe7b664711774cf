# SPDX-License-Identifier: Apache-2.0
"""The .nnet text format of the ACAS Xu networks: dense ReLU chains with scaled inputs."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from isoform.errors import FormatError, NotInClass, TooLarge
from isoform.network.constants import inverse, real_array
from isoform.network.linear_map import Constant, Dense, Gather, exact
from isoform.network.model import Loaded, Signature, Tensor
from isoform.network.network import Builder, Network
from isoform.network.operators import Clip, Linear, Relu
from isoform.network.whole_file import write_whole

LIMIT_BYTES = 512_000_000
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
Arrays = tuple[np.ndarray, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalisation:
    """What the header says of inputs and outputs.

    low, high: (n,) the range inputs are clipped to; mean, spread: (n + 1,) of each input, the last
    entry is that of all outputs: a network computes spread y + mean from (x - mean) / spread.
    """

    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray
    spread: np.ndarray


def read_nnet(
    path: str | os.PathLike[str], *, normalise: bool = False, limit_bytes: int = LIMIT_BYTES
) -> Loaded:
    """The network of a .nnet file over float64 (each decimal means the nearest double).

    normalise: the function in the file's own units: inputs clipped to the given range, then
    (x - mean) / range, and outputs times range plus mean, over the reals. Otherwise the layers.
    FormatError with the line where the file is damaged.
    """
    size = os.path.getsize(path)
    if size > limit_bytes:
        raise TooLarge(f"{os.fspath(path)} has {size:,} bytes, the limit is {limit_bytes:,}")
    raw = Path(path).read_bytes()
    layers, header = parsed(raw, os.fspath(path))
    b = Builder((layers[0][0].shape[1],))
    value = enter(b, header) if normalise else 0
    for i, (weight, bias) in enumerate(layers):
        value = b.linear(Dense(weight), value, bias)
        if i + 1 < len(layers):
            value = b.add(Relu(), (value,), b.shape_of(value))
    network = b.build(leave(b, value, header) if normalise else value)
    default = Signature.of(network)
    units = "in the file's units" if normalise else "without the file's normalisation"
    return Loaded(
        network=network,
        signature=Signature(
            inputs=tuple(Tensor(t.name, t.shape, "float64") for t in default.inputs),
            outputs=tuple(Tensor(t.name, t.shape, "float64") for t in default.outputs),
        ),
        origin=os.fspath(path), digest=hashlib.sha256(raw).hexdigest(),
        reading=(f"inputs and outputs {units}", "decimals as the nearest float64"),
    )


def enter(b: Builder, header: Normalisation) -> int:
    """(clip(x) - mean) / range; clipping as two ReLUs, exact for every pair of bounds."""
    n = len(header.low)
    same = Gather(indices=np.arange(n), scale=None, inputs=n)
    back = Gather(indices=np.arange(n), scale=-np.ones(n), inputs=n)
    if len(set(header.low)) == 1 and len(set(header.high)) == 1:
        value = b.add(Clip(float(header.low[0]), float(header.high[0])), (0,), n)
    else:
        above = b.add(Relu(), (b.linear(same, 0, -header.low),), n)  # max(x, low) - low
        span = exact(header.high) - exact(header.low)
        room = b.add(Relu(), (b.linear(back, above, span),), n)  # high - min(max(x, low), high)
        value = b.linear(back, room, header.high)
    moved = b.linear(same, value, -header.mean[:n])
    return b.linear(
        Gather(indices=np.arange(n), scale=inverse(header.spread[:n]), inputs=n), moved
    )


def leave(b: Builder, value: int, header: Normalisation) -> int:
    """y range + mean, with the last entry of each."""
    m = b.size_of(value)
    scale, shift = np.full(m, header.spread[-1]), np.full(m, header.mean[-1])
    return b.linear(Gather(indices=np.arange(m), scale=scale, inputs=m), value, shift)


# --- reading --------------------------------------------------------------------------------------


@dataclass(slots=True)
class Lines:
    """The lines that hold numbers, one after the other."""

    rows: list[tuple[int, str]]
    origin: str
    at: int = 0

    def numbers(self, count: int, what: str) -> np.ndarray:
        """The next line as exactly `count` numbers."""
        if self.at >= len(self.rows):
            raise FormatError(f"{self.origin} ends before {what}")
        line, text = self.rows[self.at]
        self.at += 1
        words = [word for word in re.split(r"[,\s]+", text.strip()) if word]
        if len(words) != count:
            raise FormatError(
                f"{self.origin}, line {line}: {what} has {len(words)} numbers, not {count}"
            )
        wrong = next((word for word in words if not NUMBER.fullmatch(word)), None)
        if wrong is not None:
            raise FormatError(f"{self.origin}, line {line}: {wrong[:40]!r} is no number")
        values = np.array([float(word) for word in words], dtype=np.float64)
        real_array(values, f"{self.origin}, line {line}")
        return values

    def wholes(self, count: int, what: str) -> list[int]:
        values = self.numbers(count, what)
        if np.any(values != np.floor(values)) or np.any(values < 0) or np.any(values > 2**31):
            raise FormatError(f"{self.origin}: {what} must be whole numbers")
        return [int(value) for value in values]


def parsed(
    raw: bytes, origin: str
) -> tuple[list[tuple[np.ndarray, np.ndarray]], Normalisation]:
    """Weights and biases, and the header."""
    try:
        text = raw.decode("ascii")
    except UnicodeDecodeError as error:
        raise FormatError(f"{origin} is no .nnet file: {error}") from None
    rows = [
        (i, line) for i, line in enumerate(text.splitlines(), start=1)
        if line.strip() and not line.lstrip().startswith("//")
    ]
    lines = Lines(rows, origin)
    depth, n, m, _ = lines.wholes(4, "the first line")
    if depth == 0 or depth > len(rows):
        raise FormatError(f"{origin} has {depth} layers")
    sizes = lines.wholes(depth + 1, "the line of layer sizes")
    if sizes[0] != n or sizes[-1] != m or 0 in sizes:
        raise FormatError(f"{origin}: layer sizes {sizes} for {n} inputs and {m} outputs")
    lines.at += 1  # a flag that nothing uses
    header = Normalisation(
        low=lines.numbers(n, "the minima"), high=lines.numbers(n, "the maxima"),
        mean=lines.numbers(n + 1, "the means"), spread=lines.numbers(n + 1, "the ranges"),
    )
    if np.any(header.low > header.high) or np.any(header.spread == 0):
        raise FormatError(f"{origin}: a minimum above its maximum, or a range of zero")
    layers = []
    for i, (width, height) in enumerate(zip(sizes, sizes[1:], strict=False)):
        weight = [lines.numbers(width, f"a row of layer {i}") for _ in range(height)]
        bias = [lines.numbers(1, f"a bias of layer {i}") for _ in range(height)]
        layers.append((np.array(weight), np.concatenate(bias)))
    if lines.at != len(rows):
        raise FormatError(f"{origin} goes on after its last layer, at line {rows[lines.at][0]}")
    return layers, header


# --- writing --------------------------------------------------------------------------------------


def write_nnet(
    network: Network, path: str | os.PathLike[str], normalisation: Normalisation | None = None
) -> None:
    """Write a chain of dense layers with ReLU between, whole or not at all.

    Every float64 is written with as many digits as it takes to come back, so that
    `read_nnet(path).network` has the same numbers. normalisation: written into the header (default:
    ranges of -1e30 to 1e30, means 0, ranges 1). NotInClass where the network is no such chain or a
    weight is no float64.
    """
    layers = chain(network)
    sizes = [layers[0][0].shape[1], *(len(weight) for weight, _ in layers)]
    n = sizes[0]
    header = normalisation or Normalisation(
        low=np.full(n, -1e30), high=np.full(n, 1e30), mean=np.zeros(n + 1), spread=np.ones(n + 1)
    )
    rows = [
        "// a dense ReLU network", row([len(layers), n, sizes[-1], max(sizes)]), row(sizes), "0,",
        row(header.low), row(header.high), row(header.mean), row(header.spread),
    ]
    for weight, bias in layers:
        rows += [row(line) for line in weight]
        rows += [row([number]) for number in bias]
    text = "\n".join(rows) + "\n"
    write_whole(path, lambda file: file.write(text.encode("ascii")))


def row(numbers: Sequence[float] | np.ndarray) -> str:
    """Numbers with commas behind them, each as short as comes back the same."""
    return "".join(f"{number!r}," for number in np.asarray(numbers).tolist())


def chain(network: Network) -> list[Arrays]:
    """Weights and biases of a dense ReLU chain as float64; NotInClass with the first obstacle."""
    layers: list[Arrays] = []
    for place, (value, node) in enumerate(network.items()):
        if place % 2 == 1:
            if not isinstance(node.operator, Relu) or node.operands != (value - 1,):
                raise NotInClass(f"node {value} is no ReLU of the layer before it")
            continue
        match node.operator:
            case Linear(maps=(Dense(weight=weight),), bias=bias):
                pass
            case _:
                raise NotInClass(f"node {value} is no dense layer")
        if node.operands != (value - 1,):
            raise NotInClass(f"node {value} does not take the value before it")
        bias = np.zeros(weight.shape[0]) if bias is None else bias
        layers.append((doubles(weight, value), doubles(bias, value).reshape(-1)))
    last = len(network.inputs) + len(network.nodes) - 1
    if len(network.inputs) != 1 or network.outputs != (last,) or len(network.nodes) % 2 == 0:
        raise NotInClass("the network is no chain of dense layers that ends in one")
    return layers


def doubles(constant: Constant, value: int) -> np.ndarray:
    whole = exact(constant)
    if not whole.is_representable(np.float64):
        raise NotInClass(f"node {value} has numbers that are no float64; round it first")
    return whole.to_float()
