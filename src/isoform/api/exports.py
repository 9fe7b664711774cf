# SPDX-License-Identifier: Apache-2.0
"""Claims written for other verifiers: queries in VNN-LIB with the networks as ONNX files."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from isoform.api.delivery import prepare, source_dtype
from isoform.api.properties import PropertyQuery
from isoform.api.reading import read
from isoform.errors import IsoformError, Refused
from isoform.formats.vnnlib.export import claim_query, joint_query, query_text
from isoform.forms.model import Model
from isoform.network.claim import Claim
from isoform.network.domain import bound_to
from isoform.network.joint import difference
from isoform.network.model import Signature, Tensor
from isoform.network.whole_file import write_whole

QUERY, JOINT_QUERY = "query.vnnlib", "joint.vnnlib"


@dataclass(frozen=True, slots=True)
class Exported:
    """The files of an export, and what was left out with the reason."""

    folder: Path
    files: tuple[str, ...]
    left_out: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join([f"{self.folder}: {', '.join(self.files)}", *self.left_out])


def export_claim(
    source: Any, target: Any, claim: Claim, folder: str | os.PathLike[str]
) -> Exported:
    """Write a claim about two models (or one: the same object twice) into a folder.

    f.onnx and g.onnx are the networks, `query.vnnlib` the query about them in VNN-LIB 2.0.
    `joint.onnx` is the one network d = g - f, or (f, d), and `joint.vnnlib` its query in 1.0 with
    closed inequalities, for tools that take no more; with one network joint.vnnlib is about f.onnx.
    A `sat` assignment of either is replayed by `prove --replay`. Raises Refused for domains without
    a query and for weights that no file holds exactly.
    """
    first = read(source)
    second = first if target is source else read(target)
    alone = second is first
    claim = Claim(claim.relation, bound_to(claim.domain, first.network.dimension))
    query = claim_query(claim, first.loaded, second.loaded)
    folder = prepared_folder(folder)
    files = [write_model(model, folder / f"{name}.onnx")
             for model, name in ((first, "f"), (second, "g"))[: 1 if alone else 2]]
    networks = " ".join(f"--network {name[0]}={name}" for name in files)
    said = [f"{claim}", "sat: a point where this fails; unsat: it holds", networks]
    files.append(write_text(folder / QUERY, query_text(query, said)))
    left_out = []
    try:
        files += write_joint(claim, first, second, folder)
    except IsoformError as error:
        left_out.append(f"without {JOINT_QUERY}: {error}")
    return Exported(folder, tuple(files), tuple(left_out))


def export_query(query: PropertyQuery, folder: str | os.PathLike[str]) -> Exported:
    """The same for the claim of a query that was read; a joint network is written as one."""
    asked, models = query.asked, query.models
    if asked.files is None:
        made = Model.of(asked.source, "the joint network of the query")
        return export_claim(made, made, asked.claim, folder)
    first, second = (models[name] for name in asked.files)
    return export_claim(first, second, asked.claim, folder)


def write_joint(claim: Claim, first: Model, second: Model, folder: Path) -> list[str]:
    """joint.onnx and joint.vnnlib; with one network only the query, about f.onnx."""
    alone = second is first
    n, m = first.network.dimension, first.network.output_dimension
    query, both = joint_query(claim, n, m, second.network.output_dimension, alone=alone)
    what = "f.onnx" if alone else f"joint.onnx, Y = {'(f, g - f)' if both else 'g - f'}"
    said = [f"{claim}", f"about {what}; inequalities are closed: unsat proves the claim, "
            "and a sat point on the boundary does not refute it"]
    if alone:
        return [write_text(folder / JOINT_QUERY, query_text(query, said))]
    from isoform.formats.onnx.write import write_onnx

    dtype = "float64" if "float64" in map(source_dtype, (first, second)) else "float32"
    network = prepare(difference(first.network, second.network, both=both), dtype, True).network
    name = "f_and_difference" if both else "difference"
    kept = one_row(first.signature)
    inputs = tuple(replace(t, dtype=dtype) if t.dtype.startswith("float") else t
                   for t in kept.inputs)
    signature = Signature(
        inputs=inputs, outputs=(Tensor(name, (network.output_dimension,), dtype),),
        batch=kept.batch,
    )
    write_onnx(network, folder / "joint.onnx", signature=signature, comment=f"isoform: {claim}")
    return ["joint.onnx", write_text(folder / JOINT_QUERY, query_text(query, said))]


def write_model(model: Model, path: Path) -> str:
    """The model as it is: its own file where that is one ONNX file, else written without rounding.
    Refused where it cannot be."""
    from isoform.formats.onnx.write import write_onnx

    origin, signature = Path(model.origin), one_row(model.signature)
    if origin.suffix.lower() == ".onnx" and origin.is_file() and signature is model.signature:
        shutil.copyfile(origin, path)
        try:
            if read(path).network == model.network:
                return path.name
        except IsoformError:
            pass  # its constants lie in another file
    dtype = source_dtype(model)
    prepared = prepare(model.network, dtype, True)
    write_onnx(prepared.network, path, signature=signature)
    return path.name


def one_row(signature: Signature) -> Signature:
    """The signature with a batch of one row where it has a fixed one of more: a query is about one
    row, and its shapes are those of the file."""
    fixed = isinstance(signature.batch, int) and signature.batch != 1
    return replace(signature, batch=1) if fixed else signature


def write_text(path: Path, text: str) -> str:
    write_whole(path, lambda file: file.write(text.encode()))
    return path.name


def prepared_folder(folder: str | os.PathLike[str]) -> Path:
    """The folder, made where it is not there. Refused where it is a file."""
    path = Path(folder)
    if path.exists() and not path.is_dir():
        raise Refused(f"{path} is a file; --export takes a folder")
    if not path.parent.is_dir():
        raise Refused(f"the folder {path.parent} does not exist; create it first")
    path.mkdir(exist_ok=True)
    return path

