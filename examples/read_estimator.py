# SPDX-License-Identifier: Apache-2.0
"""A fitted scikit-learn network as exact function: half precision costs a certified eps."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import make_moons
from sklearn.neural_network import MLPRegressor

import isoform as iso


def main() -> None:
    x, y = make_moons(400, noise=0.2, random_state=0)
    fitted = MLPRegressor(hidden_layer_sizes=(12, 12), max_iter=300, random_state=0).fit(x, y)
    model = iso.read(fitted)
    print(model.form)

    halved = {}
    for i, (weight, bias) in enumerate(zip(fitted.coefs_, fitted.intercepts_, strict=True)):
        halved[f"W{i}"] = weight.T.astype(np.float16).astype(np.float32)
        halved[f"b{i}"] = bias.astype(np.float16).astype(np.float32)
    np.savez("half.npz", **halved)

    verdict = iso.prove("half.npz", equal_to=model, on=iso.Box(-2, 2), within="0.05")
    print(type(verdict).__name__, verdict.claim)
    assert isinstance(verdict, iso.Proved)
    print(f"no output differs by more than {float(verdict.upper):.3g} on the box")


if __name__ == "__main__":
    main()
