# SPDX-License-Identifier: Apache-2.0
"""Trains the 64-32-10 classifier of scikit-learn's digits: in `benchmarks`,

    python -m equivalence.train_digits

writes `digits.npz` (float32 layers W0, b0, W1, b1; pixels divided by 16) and `digits_image.npy`
(one image that was kept from training) beside this file. The same versions give the same bytes
again.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

FOLDER = Path(__file__).resolve().parent
LAYERS, IMAGE = FOLDER / "digits.npz", FOLDER / "digits_image.npy"
KEPT = 297  # images that are not trained on
SMALLEST = 1e-6  # weight decay leaves subnormal numbers, which no power of two scales exactly


def main() -> None:
    digits = load_digits()
    images, labels = digits.data / 16, digits.target
    network = MLPClassifier(hidden_layer_sizes=(32,), max_iter=400, random_state=0)
    network.fit(images[KEPT:], labels[KEPT:])
    arrays = {}
    for i, (weight, bias) in enumerate(zip(network.coefs_, network.intercepts_, strict=True)):
        kept = np.where(np.abs(weight.T) < SMALLEST, 0, weight.T)  # pixels that are always dark
        arrays |= {f"W{i}": kept.astype(np.float32), f"b{i}": bias.astype(np.float32)}
    np.savez(LAYERS, **arrays)
    np.save(IMAGE, images[0].astype(np.float32))
    print(f"{network.score(images[:KEPT], labels[:KEPT]):.1%} of {KEPT} kept images right")


if __name__ == "__main__":
    main()
