# SPDX-License-Identifier: Apache-2.0
"""A test that guards an export: the file that ships is proved to be the model that was trained.

`pytest guard_an_export.py` runs it in a pipeline; as a script it runs the same tests and prints.
"""

from __future__ import annotations

import numpy as np
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

import isoform as iso

LOW, HIGH = [0, 10, -20], [1, 50, 40]  # what the sensors can deliver: load, speed, temperature
RANGE = iso.Box(LOW, HIGH)


def trained() -> Pipeline:
    """A scaler and a small perceptron, as the training job leaves them."""
    x = np.random.default_rng(0).uniform(LOW, HIGH, size=(400, 3))
    y = np.stack([x[:, 0] * x[:, 1], np.abs(x[:, 2])], axis=1) / 20
    model = MLPRegressor(hidden_layer_sizes=(8, 8), max_iter=300, tol=1e-2, random_state=0)
    return make_pipeline(StandardScaler(), model).fit(x, y)


def export(model: Pipeline, path: str, scale: float = 1.0) -> None:
    """What ships: the scaler folded into the first layer, everything in float32. A `scale` other
    than 1 is the mistake that the test is there for."""
    scaler, network = model[0], model[-1]
    weights = [matrix.T for matrix in network.coefs_]
    biases = list(network.intercepts_)
    weights[0] = weights[0] / (scaler.scale_ * scale)
    biases[0] = biases[0] - weights[0] @ scaler.mean_
    layers = {f"W{i}": weight for i, weight in enumerate(weights)}
    layers |= {f"b{i}": bias for i, bias in enumerate(biases)}
    np.savez(path, **{name: array.astype(np.float32) for name, array in layers.items()})


def test_the_export_is_the_trained_model() -> None:
    model = trained()
    export(model, "shipped.npz")
    iso.assert_equal(model, "shipped.npz", on=RANGE, within="1e-4")


def test_a_wrong_scale_does_not_ship() -> None:
    model = trained()
    export(model, "wrong.npz", scale=1.001)
    try:
        iso.assert_equal(model, "wrong.npz", on=RANGE, within="1e-4")
    except AssertionError as refused:
        print(refused)
    else:
        raise RuntimeError("the wrong file passed")


def main() -> None:
    test_the_export_is_the_trained_model()
    print("shipped.npz is proved to be within 1e-4 of the trained model\n")
    test_a_wrong_scale_does_not_ship()


if __name__ == "__main__":
    main()
