# SPDX-License-Identifier: Apache-2.0
"""Rewrite a network, write it with its certificate, and check the certificate from the files."""

from __future__ import annotations

import numpy as np

import isoform as iso


def main() -> None:
    random = np.random.default_rng(0)
    arrays = {}
    for i, (m, n) in enumerate(((6, 4), (6, 6), (3, 6))):
        arrays[f"W{i}"] = random.standard_normal((m, n)).astype(np.float32)
        arrays[f"b{i}"] = random.standard_normal(m).astype(np.float32)
    for name in ("W0", "b0"):  # three units are multiples of three others
        arrays[name][3:] = 4 * arrays[name][:3]
    np.savez("given.npz", **arrays)

    model = iso.read("given.npz")
    print(f"given: {model.form}, {model.size.parameters} parameters")
    made = iso.convert(model, by="merge_units")
    print(f"made:  {made.form}, {made.size.parameters} parameters")

    proof = iso.prove(made, equal_to=model)
    assert isinstance(proof, iso.Proved)
    print(f"proved: {proof.claim}")
    iso.write(made, "made.npz", certificate=proof.certificate)
    accepted = iso.check("made.npz.certificate.json")
    print(f"checked: {accepted.statement} ({accepted.grade} arithmetic)")


if __name__ == "__main__":
    main()
