# SPDX-License-Identifier: Apache-2.0
"""Draws docs/images/one-function.png (`python benchmarks/picture.py`).

A small network is trained on a function of two inputs and then written in a clumsy way: units in
another order and scale, dead units, units twice, a linear layer that could be multiplied out.
isoform rewrites it for the square and proves the result equal there; the picture shows both
networks and the linear pieces of the one function.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from PIL import Image

import isoform as iso
import networks
from isoform.network.evaluate import evaluate, trace
from isoform.network.network import Network
from isoform.network.operators import Linear, Relu
from isoform.network.size import measure

OUT = Path(__file__).resolve().parents[1] / "docs" / "images" / "one-function.png"
STEPS = ("collapse_linear", "layered_to_feed_forward", "specialise_to_domain")
DOMAIN = "box:-1,1"
POSITIVE, NEGATIVE, INK = "#3b5bdb", "#e8590c", "#212529"


def trained() -> networks.Chain:
    """A 2-10-10-1 network fitted to sin(3 x) cos(3 y) on the square."""
    from sklearn.neural_network import MLPRegressor

    random = np.random.default_rng(0)
    x = random.uniform(-1, 1, (4000, 2))
    y = np.sin(3 * x[:, 0]) * np.cos(3 * x[:, 1])
    fitted = MLPRegressor(hidden_layer_sizes=(10, 10), max_iter=800, random_state=2, alpha=1e-5)
    fitted.fit(x, y)
    pairs = list(zip(fitted.coefs_, fitted.intercepts_, strict=True))
    return tuple(
        networks.Layer(w.T.astype(np.float32), b.astype(np.float32), i < len(pairs) - 1)
        for i, (w, b) in enumerate(pairs)
    )


def clumsy(chain: networks.Chain) -> networks.Chain:
    """The same function, written badly."""
    chain = networks.scrambled(chain, seed=3)
    chain = networks.with_dead_units(networks.with_split_units(chain), seed=4, count=2)
    return networks.with_linear_layer(chain, seed=5, before=1)


def columns(network: Network) -> list[np.ndarray]:
    """The weight matrices between drawn columns of a chain."""
    return [
        node.operator.maps[0].sparse().dense().to_float()
        for node in network.nodes if isinstance(node.operator, Linear)
    ]


def draw_network(axes: Any, network: Network, title: str) -> None:
    """Columns of units with lines for the weights."""
    matrices = columns(network)
    counts = [matrices[0].shape[1], *(len(matrix) for matrix in matrices)]
    after = {node.operands[0] for node in network.nodes if isinstance(node.operator, Relu)}
    linear = [value for value, node in network.items() if isinstance(node.operator, Linear)]
    hidden = [False, *(value in after for value in linear)]
    high = max(counts)

    def place(column: int, unit: int) -> tuple[float, float]:
        return float(column), (unit + 0.5) / counts[column] * high

    for at, matrix in enumerate(matrices):
        rows, cells = np.nonzero(matrix)
        strength = np.abs(matrix[rows, cells])
        strength = np.sqrt(strength / strength.max())
        lines = [(place(at, c), place(at + 1, r)) for r, c in zip(rows, cells, strict=True)]
        shades = np.where(matrix[rows, cells] > 0, POSITIVE, NEGATIVE)
        axes.add_collection(LineCollection(
            lines, colors=shades, linewidths=0.3 + 1.1 * strength, alpha=0.45, zorder=1,
        ))
    for column, count in enumerate(counts):
        spots = np.array([place(column, unit) for unit in range(count)])
        axes.scatter(
            spots[:, 0], spots[:, 1], s=34, zorder=2, linewidths=1.0, edgecolors=INK,
            facecolors=INK if hidden[column] else "white",
        )
    axes.set_title(title, fontsize=10, color=INK)
    axes.set_xlim(-0.4, len(counts) - 0.6)
    axes.set_ylim(-0.2, high + 0.2)
    axes.axis("off")


def levels(network: Network, points: np.ndarray) -> list[np.ndarray]:
    """Pre-activations of all ReLU units at points (batch, n), one array (batch,) a unit."""
    values = trace(network, points)
    relus = [node.operands[0] for node in network.nodes if isinstance(node.operator, Relu)]
    return [unit for value in relus for unit in values[value].T if unit.min() < 0 < unit.max()]


def draw_function(axes: Any, source: Network, target: Network, title: str) -> None:
    """The value as colour; borders of the linear pieces, the source's light, the target's dark."""
    n = 400
    line = np.linspace(-1, 1, n)
    points = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    value = evaluate(target, points).reshape(n, n)
    largest = np.abs(value).max()
    axes.imshow(value, extent=(-1, 1, -1, 1), origin="lower", cmap="RdBu", vmin=-largest,
                vmax=largest, interpolation="bilinear")
    for network, colour, width in ((source, "white", 3.2), (target, INK, 0.8)):
        for unit in levels(network, points):
            axes.contour(line, line, unit.reshape(n, n), levels=[0], colors=colour,
                         linewidths=width)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(title, fontsize=10, color=INK)


def label(network: Network) -> str:
    size = measure(network)
    return f"depth {size.depth}, {size.units} units, {size.parameters} parameters"


def main() -> None:
    source = networks.network(clumsy(trained()))
    model: Any = source
    for name in STEPS:
        model = iso.convert(model, by=name, on=DOMAIN).form
    target = model.lower()
    verdict = iso.prove(target, equal_to=source, on=DOMAIN)
    if not isinstance(verdict, iso.Proved):
        raise SystemExit(f"not proved: {verdict}")
    iso.check(verdict.certificate)
    figure = Figure(figsize=(11, 3.7))
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 3, width_ratios=(1.35, 1, 1.05))
    draw_network(axes[0], source, f"as given\n{label(source)}")
    draw_function(axes[1], source, target, "one function, proved equal on the square\n"
                  "piece borders: given white, rewritten black")
    draw_network(axes[2], target, f"rewritten\n{label(target)}")
    figure.tight_layout()
    drawn = BytesIO()
    figure.savefig(drawn, dpi=110)
    Image.open(drawn).convert("RGB").quantize(200).save(OUT, optimize=True)


if __name__ == "__main__":
    main()
