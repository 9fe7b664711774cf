# SPDX-License-Identifier: Apache-2.0
"""Are these two files the same function? Proved, refuted with a point, and within an eps."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

import isoform as iso


def layers(seed: int) -> dict[str, np.ndarray]:
    """A random 3-8-8-2 network as a plain layer list."""
    random = np.random.default_rng(seed)
    shapes = ((8, 3), (8, 8), (2, 8))
    weights = {f"W{i}": random.standard_normal(s).astype(np.float32) for i, s in enumerate(shapes)}
    return weights | {f"b{i}": random.standard_normal(s[0]).astype(np.float32)
                      for i, s in enumerate(shapes)}


def reordered(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The units of the first hidden layer backwards, each of them doubled and read by half."""
    changed = dict(arrays)
    changed["W0"], changed["b0"] = 2 * arrays["W0"][::-1], 2 * arrays["b0"][::-1]
    changed["W1"] = arrays["W1"][:, ::-1] / 2
    return changed


def main() -> None:
    arrays = layers(seed=0)
    np.savez("a.npz", **arrays)
    np.savez("b.npz", **reordered(arrays))
    same = iso.prove("b.npz", equal_to="a.npz")
    print(f"{type(same).__name__}: {same.claim}")
    assert isinstance(same, iso.Proved)

    arrays["W2"][0, 0] = np.nextafter(arrays["W2"][0, 0], np.float32(9))
    np.savez("c.npz", **reordered(arrays))
    other = iso.prove("c.npz", equal_to="a.npz", on=iso.Box(-1, 1))
    assert isinstance(other, iso.Refuted)
    print(f"{type(other).__name__}: at {[str(x) for x in other.witness.point.fractions()]} "
          f"the outputs differ by {float(other.witness.difference):.3g}")

    near = iso.prove("c.npz", equal_to="a.npz", on=iso.Box(-1, 1), within=Fraction(1, 100_000))
    assert isinstance(near, iso.Proved)
    print(f"{type(near).__name__}: {near.claim}; the difference is at most {float(near.upper):.3g}")


if __name__ == "__main__":
    main()
