# SPDX-License-Identifier: Apache-2.0
"""Trained networks that nobody here wrote: copies are proved, changed ones are not."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import isoform as iso
import networks
from isoform.certificate.verdict import Proved, Refuted
from isoform.errors import CertificateRejected
from isoform.formats.onnx.read import read_onnx
from isoform.formats.onnx.write import write_onnx
from isoform.forms import FeedForward
from isoform.network.claim import Claim, Equal, Within
from isoform.network.domain import Box, Domain
from isoform.network.linear_map import exact
from isoform.network.network import Network
from isoform.network.primitive import to_primitive
from isoform.verify.prove import prove, prove_best

ACAS = Box(
    ["-0.328422877", "-0.5", "-0.5", "-0.5", "-0.5"], ["0.679857769", "0.5", "0.5", "0.5", "0.5"]
)
DENSE: dict[str, Domain] = {
    "feedforward/fc1.onnx": Box(-1, 1),
    "feedforward/fc_2-2-3.onnx": Box(-1, 1),
    "feedforward/mnist2x10.onnx": Box(0, 1),
    "acasxu/ACASXU_run2a_1_1_batch_2000.onnx": ACAS,
    "acasxu/ACASXU_run2a_3_3_batch_2000.onnx": ACAS,
    "acasxu/ACASXU_run2a_5_9_batch_2000.onnx": ACAS,
}


def chain_of(path: Path) -> tuple[Network, networks.Chain]:
    """A dense ReLU network, and its layers with float32 weights."""
    network = to_primitive(read_onnx(path).network)
    form = FeedForward.lift(network)
    layers = []
    for i, (part, bias) in enumerate(form.layers):
        weight = part.sparse().dense().to_float(np.float32)
        shift = np.zeros(part.outputs) if bias is None else exact(bias).to_float(np.float32)
        layers.append(networks.Layer(weight, shift.astype(np.float32), i < len(form.layers) - 1))
    return network, tuple(layers)


@pytest.mark.parametrize("name", DENSE)
def test_scrambled_and_padded_copies_are_equal_everywhere(name: str, models: Path) -> None:
    source, chain = chain_of(models / name)
    copy = networks.with_dead_units(networks.scrambled(chain, 1), 2)
    copy = networks.with_identity_layer(networks.with_linear_layer(copy, 3))
    verdict = prove(source, networks.network(copy), Claim(Equal()))
    assert isinstance(verdict, Proved) and verdict.upper == 0


@pytest.mark.parametrize("name", DENSE)
def test_arbitrary_factors_are_within_a_bound_near_the_rounding(name: str, models: Path) -> None:
    source, chain = chain_of(models / name)
    rescaled = networks.rescaled(networks.permuted(chain, 1), 2, powers_of_two=False)
    copy = networks.network(networks.rounded(rescaled))
    verdict = prove_best(source, copy, DENSE[name])
    assert isinstance(verdict, Proved) and isinstance(verdict.claim.relation, Within)
    assert verdict.upper < Fraction(1, 5)  # ACAS Xu, the worst, on its whole box; see the docs


@pytest.mark.parametrize("name", DENSE)
def test_one_last_bit_is_not_equal(name: str, models: Path) -> None:
    source, chain = chain_of(models / name)
    last = len(chain) - 1
    live = int(np.abs(chain[last].weight[0]).argmax())
    copy = networks.network(networks.scrambled(networks.nudged(chain, last, 0, live), 1))
    verdict = prove(source, copy, Claim(Equal(), DENSE[name]))
    assert not isinstance(verdict, Proved)
    assert isinstance(verdict, Refuted) and verdict.lower > 0


def test_files_of_copies(models: Path, tmp_path: Path) -> None:
    path = models / "acasxu/ACASXU_run2a_1_1_batch_2000.onnx"
    _, chain = chain_of(path)
    copy = tmp_path / "copy.onnx"
    write_onnx(networks.network(networks.scrambled(chain, 1)), copy)
    verdict = iso.prove(copy, equal_to=path)
    assert isinstance(verdict, Proved)
    assert iso.check(verdict.certificate, source=path, target=copy).compared
    with pytest.raises(CertificateRejected, match="not the network|sha256"):
        iso.check(verdict.certificate, source=copy, target=path)
