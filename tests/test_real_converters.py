# SPDX-License-Identifier: Apache-2.0
"""Converters on real trained networks: exact equality at points, known widths, predicted sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isoform.converters.catalogue import CATALOGUE
from isoform.converters.converter import Converter
from isoform.errors import NotInClass
from isoform.formats.onnx.read import read_onnx
from isoform.forms import FORMS
from isoform.network.domain import Box, bound_to
from isoform.network.evaluate import evaluate_exact
from isoform.numerics.exact import Exact

FILES = {
    "feedforward/fc_2-2-3.onnx": "FeedForward 2-2-3, relu",
    "feedforward/mnist5x20_leaky_relu.onnx":
        "FeedForward 784-20-20-20-20-20-20-10, leaky ReLU",
    "feedforward/mnist2x5_sigmoid.onnx": "FeedForward 784-5-5-10, sigmoid",
    "feedforward/oneInput_twoBranches.onnx": "Layered 6 to 12, 8 nodes (3 Relu)",
    "feedforward/linear2-3_bn1-linear3-1.onnx": "Layered 2 to 1, 3 nodes",
    "feedforward/KJ_TinyTaxiNet.onnx": "Convolutional 1x8x16: conv 8x1x2, affine 8, affine 8, "
                                       "affine 2",
    "convolutional/conv_mp1.onnx": "Convolutional 3x8x8: conv 8x8x8, max pool 8x4x4, affine 32, "
                                   "affine 5",
    "convolutional/cnn_max_mninst2.onnx": "Convolutional 1x28x28: conv 8x25x25, conv 4x22x22, "
                                          "max pool 4x11x11, affine 32, affine 10",
    "acasxu/ACASXU_run2a_1_1_batch_2000.onnx": "FeedForward 5-50-50-50-50-50-50-5, relu",
}
CHAINS = {
    "feedforward/mnist5x20_leaky_relu.onnx": (784, 40, 40, 40, 40, 40, 40, 10),
    "feedforward/oneInput_twoBranches.onnx": (6, 6, 12, 12),
    "feedforward/linear2-3_bn1-linear3-1.onnx": (2, 1),
    "feedforward/KJ_TinyTaxiNet.onnx": (128, 16, 8, 8, 2),
    "convolutional/conv_mp1.onnx": (192, 512, 512, 256, 32, 5),
    "convolutional/cnn_max_mninst2.onnx": (784, 5000, 1936, 1936, 968, 32, 10),
}


def forms_of(network: Any) -> list[Any]:
    """All forms that take the network, the narrowest first."""
    found = []
    for cls in FORMS:
        try:
            found.append(cls.lift(network))  # type: ignore[attr-defined]
        except NotInClass as obstacle:
            assert str(obstacle)
    return found


def check(converter: Converter, form: Any, network: Any) -> Any:
    """The law and the prediction of one conversion; None where it refuses."""
    domain, options = bound_to(Box(0, 1), network.dimension), converter.options()
    if converter.requires(form, domain, options) is not None:
        return None
    size = converter.predict(form, domain, options).size.as_dict()  # type: ignore[union-attr]
    result = converter.rewrite(form, domain, options).form
    assert all(v <= size[k] for k, v in result.size.as_dict().items())
    random = np.random.default_rng(0)
    x = Exact(random.integers(0, 257, (network.dimension, 1)).astype(object), 256)
    assert evaluate_exact(result.lower(), x) == evaluate_exact(network, x)
    return result


@pytest.mark.parametrize("name", FILES)
def test_every_converter_on_every_network(name: str, models: Path) -> None:
    network = read_onnx(models / name).network
    forms = forms_of(network)
    assert str(forms[0]) == FILES[name]
    if "sigmoid" in name:
        return  # enclosures of equal expressions need not be equal
    for form in forms:
        for converter in CATALOGUE:
            if converter.source is type(form):
                result = check(converter, form, network)
                if converter.name == "layered_to_feed_forward" and name in CHAINS:
                    assert result.widths == CHAINS[name]
