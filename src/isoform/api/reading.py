# SPDX-License-Identifier: Apache-2.0
"""Anything that holds a network, as a `Model`: files by suffix, objects by what they are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from isoform.errors import FormatError, TooLarge, UnsupportedModel
from isoform.forms import FORMS, form_name
from isoform.forms.model import Model
from isoform.network.model import Loaded, Signature
from isoform.network.network import Network

Batch = Literal["drop", "keep"]
SUFFIXES = (".onnx", ".npz", ".nnet")
REMEDIES = {
    ".pt": "a checkpoint holds no architecture that may be read safely; build the torch.nn.Module "
    "in Python and pass it to isoform.read, or export it with torch.onnx.export",
    ".pkl": "a pickle runs code when it is opened; load it yourself and pass the estimator or "
    "module to isoform.read",
    ".h5": "export it to ONNX first (tf2onnx)",
}
ALIASES = {".pth": ".pt", ".ckpt": ".pt", ".joblib": ".pkl", ".pickle": ".pkl", ".keras": ".h5"}


def read(source: Any, *, batch: Batch = "drop", example: Any = None) -> Model:
    """The model behind `source`.

    source: a path (.onnx, .npz, .nnet), a torch.nn.Module, a fitted scikit-learn estimator, a
    Network, a form, or a Model (which passes through). batch: "drop" takes a leading axis that
    provably acts row by row as batch, "keep" makes it part of the function. example: shape of one
    sample, for a module that does not begin with a Linear layer.
    Raises FormatError, UnsupportedModel (with all reasons), OSError for a file that is not there.
    """
    match source:
        case Model():
            return source
        case str() | os.PathLike():
            return read_file(Path(source), batch)
        case Network() | Loaded():
            return Model.of(source)
        case _ if isinstance(source, FORMS):
            return Model.of(source)
    origins = {kind.__module__.partition(".")[0] for kind in type(source).__mro__}
    if "torch" in origins:
        from isoform.formats.torch import read_torch

        return Model.of(read_torch(source, example))
    if "sklearn" in origins:
        from isoform.formats.sklearn import read_sklearn

        return Model.of(read_sklearn(source))
    network = getattr(source, "network", None)
    if isinstance(network, Network):  # a Conversion, a Loaded of somebody else
        return Model.of(network, f"the network of a {type(source).__name__}")
    raise UnsupportedModel(
        f"an object of type {type(source).__name__}",
        ["it is no path, torch.nn.Module, scikit-learn estimator, Network or form"],
    )


def read_file(path: Path, batch: Batch) -> Model:
    """The model in a file, by its suffix; whatever is wrong with it, the error names the file."""
    try:
        return read_by_suffix(path, batch)
    except (FormatError, TooLarge) as error:
        if path.name in str(error):
            raise
        raise type(error)(f"{path}: {error}") from error


def read_by_suffix(path: Path, batch: Batch) -> Model:
    """The model in a file that is there."""
    suffix = path.suffix.lower()
    suffix = ALIASES.get(suffix, suffix)
    if suffix not in SUFFIXES:
        hint = REMEDIES.get(suffix, f"isoform reads {', '.join(SUFFIXES)}")
        raise FormatError(f"{path}: cannot read a file of type {path.suffix or '(none)'}: {hint}")
    if not path.exists():
        raise FileNotFoundError(2, "no such file", str(path))
    if path.is_dir():
        raise IsADirectoryError(21, "a folder, not a model file", str(path))
    if not path.is_file():
        raise FormatError(f"{path} is no regular file (a pipe or a device); copy it to one")
    if suffix == ".onnx":
        from isoform.formats.onnx.read import read_onnx

        return Model.of(read_onnx(path, batch=batch))
    if suffix == ".nnet":
        from isoform.formats.nnet import read_nnet

        return Model.of(read_nnet(path))
    return read_arrays(path)


def read_arrays(path: Path) -> Model:
    """A `.npz` file: a layer list, a network, or the native file of a form."""
    from isoform.formats.npz import read_npz, read_npz_arrays
    from isoform.formats.npz.archive import file_digest

    arrays = read_npz_arrays(path)
    name = str(arrays.get("form", "network"))
    if name == "network":
        return Model.of(read_npz(path))
    for target in FORMS:
        if form_name(target) == name:
            kind: Any = target
            form = kind.from_arrays({k: v for k, v in arrays.items() if k != "form"})
            network = form.lower()
            loaded = Loaded(
                network=network, signature=Signature.of(network), origin=str(path),
                digest=file_digest(path), reading=(f"the native file of the form {name}",),
            )
            return Model(loaded, form)
    known = ", ".join(form_name(target) for target in FORMS)
    raise UnsupportedModel(str(path), [f"it holds the form {name!r}, which is none of {known}"])
