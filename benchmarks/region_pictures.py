# SPDX-License-Identifier: Apache-2.0
"""Draws the linear regions of trained networks: `python benchmarks/region_pictures.py [NAME ...]`.

trained: a small network of two inputs, fitted here with scikit-learn. kinds: the network of
docs/regions.md. plane: a network of two inputs that others trained, as the command draws it.
mnist: the plane through three images in three classifiers of handwritten digits; no image of MNIST
is at hand, so the images are scikit-learn's 8x8 digits, scaled up to 20x20 and framed to 28x28.
taxi: the plane through three made-up pictures of a taxiway in KJ_TinyTaxiNet. acas: all regions of
the ACAS Xu networks in growing boxes around the centre of their inputs, counted on one core.
Pictures go to docs/images/; acas prints the table of docs/measurements.md too. Networks lie in
`--models DIR`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

import isoform as iso
import networks
import river
from isoform.report.region_colours import CLASSES
from isoform.report.region_picture import GREY, INK, paint
from isoform.report.region_tables import count_text

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
MODELS = Path(__file__).resolve().parents[2] / "shared" / "models"
MNIST = (  # file, words, half width of the window around A or None for all three points
    ("feedforward/mnist2x10.onnx", "two layers of 10 units", None),
    ("feedforward/mnist5x20_leaky_relu.onnx", "six layers of 20 units, leaky", None),
    ("convolutional/cnn_max_mninst2.onnx", "convolutions and max pooling", 0.005),
)
DIGITS = (0, 3, 6)  # numbers of images whose digit all three networks name rightly: 0, 3 and 6
ACAS = ("1_1", "3_3", "5_9")
PATIENCE = 60.0  # seconds of one count


def write(figure: Figure, name: str, smooth: bool = False) -> None:
    """A PNG of few colours, so that it stays small; those of small things are kept unless the
    picture is smooth."""
    FigureCanvasAgg(figure)
    drawn = BytesIO()
    figure.savefig(drawn, dpi=130, facecolor="white")
    keep(Image.open(drawn).convert("RGB"), name, smooth)


def keep(image: Image.Image, name: str, smooth: bool = False) -> None:
    """Save with a palette."""
    path = IMAGES / f"{name}.png"
    way = Image.Quantize.MEDIANCUT if smooth else Image.Quantize.MAXCOVERAGE
    image.quantize(256, way).save(path, optimize=True)
    print(f"{path.name}: {path.stat().st_size:,} bytes")


def panel(axes: Any, found: Any, title: str, output: int | None = None) -> None:
    """One picture with its number as title."""
    paint(axes, found, output)
    axes.set_title(f"{title}\n{count_text(found)}", fontsize=8.5, color=INK)


# --- a small trained network ----------------------------------------------------------------------


def wave(points: np.ndarray) -> np.ndarray:
    """(n,) what the network is fitted to, at points (n, 2)."""
    x, y = points.T
    return np.sin(6 * np.hypot(x, y)) * np.cos(2 * np.arctan2(y, x))


def trained(models: Path) -> None:
    """A 2-24-24-1 network fitted to a wave: its values, and its regions."""
    from sklearn.neural_network import MLPRegressor

    random = np.random.default_rng(1)
    x = random.uniform(-1, 1, (6000, 2))
    fitted = MLPRegressor(hidden_layer_sizes=(24, 24), max_iter=600, random_state=3, alpha=1e-4)
    fitted.fit(x, wave(x))
    found = iso.regions(fitted, on="box:-1,1")
    print(found, found.verdict)
    line = np.linspace(-1, 1, 300)
    points = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    values = fitted.predict(points).reshape(300, 300)
    most = np.abs(values).max()
    figure = Figure(figsize=(9.2, 4.75))
    left, right = figure.subplots(1, 2)
    panel(right, found, "its linear regions on [-1, 1]^2")
    left.imshow(values, extent=(-1, 1, -1, 1), origin="lower", cmap="RdBu", vmin=-most, vmax=most,
                interpolation="bilinear", aspect="auto")
    left.set_title("a 2-24-24-1 network fitted to a wave\nits values", fontsize=8.5, color=INK)
    left.axis("off")
    figure.tight_layout()
    write(figure, "regions-trained", smooth=True)


def kinds(models: Path) -> None:
    """The network of docs/regions.md, by activation and by connected linear regions."""
    random = np.random.default_rng(23)
    layers: list[networks.Layer] = []
    for m, n in ((8, 2), (6, 8), (1, 6)):
        weight = np.round(2 * random.standard_normal((m, n))) / 2
        layers.append(networks.Layer(weight, np.round(2 * random.standard_normal(m)) / 2, m > 1))
    figure = Figure(figsize=(9.2, 4.75))
    for axes, kind in zip(figure.subplots(1, 2), ("activation", "connected"), strict=True):
        found = iso.regions(networks.network(tuple(layers)), on="box:-1,1", kind=kind)
        panel(axes, found, "a 2-8-6-1 network of halves, on [-1, 1]^2")
    figure.tight_layout()
    write(figure, "regions-kinds")


def plane(models: Path) -> None:
    """What `isoform regions fc1.onnx --on box:-1,1 -o plane.png` writes, smaller."""
    found = iso.regions(models / "feedforward" / "fc1.onnx", on="box:-1,1")
    print(found, found.verdict)
    with TemporaryDirectory() as folder:
        found.save(Path(folder) / "plane.png")
        image = Image.open(Path(folder) / "plane.png").convert("RGB")
    image = image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)
    keep(image, "regions-plane")


# --- digits ---------------------------------------------------------------------------------------


def digit(number: int) -> np.ndarray:
    """An image of scikit-learn's as one of MNIST's: (28, 28) in 0..1."""
    from sklearn.datasets import load_digits

    small = (load_digits().images[number] * (255 / 16)).astype(np.uint8)
    large = Image.fromarray(small).resize((20, 20), Image.Resampling.BICUBIC)
    return np.pad(np.asarray(large), 4) / 255.0


def mnist(models: Path) -> None:
    """Planes through three digits, thumbnails in front."""
    points = np.stack([digit(number) for number in DIGITS])
    figure = Figure(figsize=(11.6, 4.3))
    grid = figure.add_gridspec(3, 4, width_ratios=(0.55, 2, 2, 2), left=0.01, right=0.985,
                               bottom=0.17, top=0.87, wspace=0.22, hspace=0.25)
    for row, (name, image) in enumerate(zip("ABC", points, strict=True)):
        axes = figure.add_subplot(grid[row, 0])
        axes.imshow(image, cmap="gray_r")
        axes.set_title(name, fontsize=8, color=INK, pad=2)
        axes.axis("off")
    for column, (file, words, window) in enumerate(MNIST, start=1):
        on = "box:-0.5,1.5" if window is None else f"box:-{window},{window}"
        found = iso.regions(models / file, on=on, slice_through=points.reshape(3, -1), prove=False)
        print(file, found, f"{found.found.seconds:.1f} s")
        axes = figure.add_subplot(grid[:, column])
        panel(axes, found, words)
        axes.set_ylabel("from A to C" if column == 1 else "")
    for output in range(10):
        figure.text(0.36 + 0.03 * output, 0.035, f" {output} ", fontsize=8,
                    bbox={"boxstyle": "square,pad=0.3", "linewidth": 0,
                          "facecolor": CLASSES[output]})
    figure.text(0.35, 0.035, "the network reads", fontsize=8, color=GREY, ha="right")
    write(figure, "regions-mnist")


# --- a taxiway ------------------------------------------------------------------------------------


def taxiway(random: np.random.Generator, shift: float, turn: float) -> np.ndarray:
    """(8, 16) in 0..1: dark ground with a bright line that runs into the distance, and noise."""
    depth = (np.arange(8)[:, None] + 0.5) / 8  # 0 far, 1 near
    across = (np.arange(16)[None, :] + 0.5) / 16 - 0.5
    line = turn * (1 - depth) + shift * depth
    width = 0.02 + 0.08 * depth
    bright = np.exp(-(((across - line) / width) ** 2))
    ground = 0.35 - 0.15 * depth
    return np.clip(ground + 0.5 * bright + 0.02 * random.standard_normal((8, 16)), 0, 1)


def taxi(models: Path) -> None:
    """The plane through a taxiway seen straight, shifted and turned; one picture an output."""
    random = np.random.default_rng(0)
    views = [taxiway(random, *view) for view in ((0.0, 0.0), (0.3, 0.0), (0.0, 0.3))]
    figure = Figure(figsize=(10.4, 4.6))
    grid = figure.add_gridspec(3, 3, width_ratios=(0.8, 2, 2), left=0.01, right=0.985,
                               bottom=0.1, top=0.88, wspace=0.2, hspace=0.35)
    for row, (name, image) in enumerate(zip("ABC", views, strict=True)):
        axes = figure.add_subplot(grid[row, 0])
        axes.imshow(image, cmap="gray", vmin=0, vmax=1)
        axes.set_title(name, fontsize=8, color=INK, pad=2)
        axes.axis("off")
    found = iso.regions(models / "feedforward" / "KJ_TinyTaxiNet.onnx", on="box:-1,2",
                        slice_through=np.stack(views).reshape(3, -1))
    print(found, found.verdict)
    for column, words in enumerate(("cross-track position", "heading")):
        axes = figure.add_subplot(grid[:, column + 1])
        panel(axes, found, f"output {column}, {words}", output=column)
    write(figure, "regions-taxi")


# --- boxes that grow ------------------------------------------------------------------------------


def acas(models: Path) -> None:
    """Counts against the radius, for each network until a count takes a minute."""
    figure = Figure(figsize=(6.2, 4.2))
    axes = figure.subplots()
    print(f"isoform {version('isoform')} on {river.machine()}")
    print(f"{'network':8}  {'radius':>8}  {'activation regions':>18}  {'seconds':>8}")
    radii = sorted(k * 2.0**-e for e in range(3, 11) for k in (1, 1.5))
    for number, name in enumerate(ACAS):
        model = iso.read(models / "acasxu" / f"ACASXU_run2a_{name}_batch_2000.onnx")
        iso.regions(model, on=iso.Box(-(2.0**-12), 2.0**-12), workers=1)  # compiles the kernels
        counts: list[int] = []
        for radius in radii:
            found = iso.regions(model, on=iso.Box(-radius, radius), listed=False, workers=1,
                                budget={"seconds": PATIENCE})
            if not found.complete:
                break
            counts.append(found.count)
            print(f"{name:8}  {radius:8.5f}  {found.count:18,}  {found.found.seconds:8.2f}",
                  flush=True)
        axes.loglog(radii[: len(counts)], counts, marker="o", markersize=3.5, linewidth=1.2,
                    color=(CLASSES[0], CLASSES[3], CLASSES[9])[number], label=f"ACAS Xu {name}")
    guide = np.array([2.0**-5, 2.0**-3])
    axes.loglog(guide, 4e2 * (guide / guide[0]) ** 5, color=GREY, linewidth=0.8, linestyle=":",
                label="fifth power of the radius")
    axes.set_xscale("log", base=2)
    axes.set_xlabel("radius of the box, in normalised inputs", fontsize=8.5, color=INK)
    axes.set_ylabel("activation regions", fontsize=8.5, color=INK)
    axes.tick_params(labelsize=8, colors=GREY)
    axes.grid(which="major", linewidth=0.4, color="#dde1e6")
    axes.legend(frameon=False, fontsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.tight_layout()
    write(figure, "regions-acas")


PICTURES: dict[str, Callable[[Path], None]] = {
    "trained": trained, "kinds": kinds, "plane": plane, "mnist": mnist, "taxi": taxi, "acas": acas,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PICTURES))
    parser.add_argument("--models", type=Path, default=MODELS)
    asked = parser.parse_args()
    for name in asked.names or PICTURES:
        PICTURES[name](asked.models)


if __name__ == "__main__":
    main()
