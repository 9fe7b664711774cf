# SPDX-License-Identifier: Apache-2.0
"""Writing a network as an ONNX file."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import IO, Any

import numpy as np

from isoform.errors import ContractBroken, Refused
from isoform.formats.onnx.emit import cast, emit_network, least_opset
from isoform.formats.onnx.emit_linear import emit_select
from isoform.formats.onnx.graph import Graph, Held, renamed
from isoform.network.model import Signature, Tensor
from isoform.network.network import Network, Shape
from isoform.network.whole_file import write_whole

FLOATS = ("float32", "float64")
OTHERS = ("int64", "int32", "bool")
OLDEST_OPSET = 13
SMALL = 1024  # initializers below this many bytes stay in the model file


def write_onnx(
    network: Network,
    path: str | os.PathLike[str],
    *,
    signature: Signature | None = None,
    opset: int = 17,
    comment: str = "",
    limit_bytes: int = 512_000_000,
    external_above: int = 1_000_000_000,
) -> None:
    """Write `network` to `path`, whole or not at all.

    signature: names, shapes and batch axis of the file's inputs and outputs; their entries, in
    order and row-major, are those of the network. Its dtype (float32, or float64 where one tensor
    says so) is that of all constants, which must be such floats already: Refused otherwise, with
    the name of the first that is not (`network.rounding` rounds and splits). opset: raised where
    an operator needs a newer one. comment: goes into the model's description.
    TooLarge beyond `limit_bytes` of constants (compressed rows are written densely). Beyond
    `external_above` bytes the constants go to a file `<name>.data` beside the model.
    """
    path = Path(path)
    signature = Signature.of(network) if signature is None else signature
    check_signature(network, signature)
    check_opset(opset)
    tensors = (*signature.inputs, *signature.outputs)
    double = any(tensor.dtype == "float64" for tensor in tensors)
    graph = Graph(
        np.dtype(np.float64 if double else np.float32),
        opset=max(opset, least_opset(network)),
        limit_bytes=limit_bytes,
        names=[tensor.name for tensor in tensors],
    )
    held = enter(graph, network, signature)
    leave(graph, emit_network(graph, network, held), signature)
    external = graph.bytes > external_above
    model = model_of(graph, signature, comment, path.name + ".data" if external else None)
    if external:
        write_whole(path.with_name(path.name + ".data"), lambda file: write_data(graph, file))
    write_whole(path, lambda file: file.write(model.SerializeToString()))


def check_opset(opset: int) -> None:
    from onnx import defs

    if not OLDEST_OPSET <= opset <= defs.onnx_opset_version():
        raise Refused(
            f"opset {opset} cannot be written; the installed onnx knows {OLDEST_OPSET} to "
            f"{defs.onnx_opset_version()}"
        )


def check_signature(network: Network, signature: Signature) -> None:
    """Refused where the signature is none of this network."""
    tensors = (*signature.inputs, *signature.outputs)
    names = [tensor.name for tensor in tensors]
    if len(set(names)) < len(names) or not all(names):
        raise Refused(f"inputs and outputs need different names, not {names}")
    for tensor in tensors:
        if tensor.dtype not in FLOATS + OTHERS:
            raise Refused(
                f"{tensor.name} has dtype {tensor.dtype}; ONNX files are written with "
                f"{', '.join(FLOATS + OTHERS)}"
            )
    sizes = [sum(math.prod(tensor.shape) for tensor in part)
             for part in (signature.inputs, signature.outputs)]
    if sizes != [network.dimension, network.output_dimension]:
        raise Refused(
            f"the signature describes {sizes[0]} inputs and {sizes[1]} outputs, the network has "
            f"{network.dimension} and {network.output_dimension}"
        )


# --- the border ---------------------------------------------------------------------------------


def enter(graph: Graph, network: Network, signature: Signature) -> list[Held]:
    """The file's inputs as the network's inputs."""
    given = []
    for tensor in signature.inputs:
        name = tensor.name
        if tensor.dtype != graph.dtype.name:
            name = cast(graph, name)
        if signature.batch is None:
            shape = graph.integers("shape", [1, *tensor.shape])
            name = graph.op("Reshape", [name, shape], None, "input")
        given.append(Held(name, tensor.shape))
    graph.anchor = given[0] if given else None
    return regrouped(graph, given, network.inputs, "input")


def leave(graph: Graph, results: list[Held], signature: Signature) -> None:
    """The network's outputs as the file's outputs, under their names."""
    shapes = tuple(tensor.shape for tensor in signature.outputs)
    produced = {name for node in graph.nodes for name in node.output}
    names: dict[str, str] = {}
    for tensor, held in zip(
        signature.outputs, regrouped(graph, results, shapes, "output"), strict=True
    ):
        name = held.name
        if signature.batch is None:
            shape = graph.integers("shape", tensor.shape)
            name = graph.op("Reshape", [name, shape], None, "output")
        if tensor.dtype != graph.dtype.name:
            name = converted(graph, name, tensor)
        produced.update(graph.nodes[-1].output if graph.nodes else ())
        if name not in produced or name in names:
            name = graph.op("Identity", [name], None, "output")
        names[name] = tensor.name
    renamed(graph.nodes, names)


def converted(graph: Graph, name: str, tensor: Tensor) -> str:
    from onnx import helper

    kind = helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype))
    return graph.op("Cast", [name], {"to": kind}, "output")


def regrouped(
    graph: Graph, given: list[Held], wanted: tuple[Shape, ...], scope: str
) -> list[Held]:
    """The entries of `given`, in order, cut into tensors of the wanted shapes."""
    sizes = [math.prod(shape) for shape in wanted]
    if [held.size for held in given] == sizes:
        pairs = zip(given, wanted, strict=True)
        return [graph.shaped(held, shape, scope) for held, shape in pairs]
    flat = [graph.shaped(held, (held.size,), scope) for held in given]
    joined = flat[0]
    if len(flat) > 1:
        name = graph.op("Concat", [held.name for held in flat], {"axis": 1}, scope)
        joined = Held(name, (sum(held.size for held in flat),))
    results, start = [], 0
    for size, shape in zip(sizes, wanted, strict=True):
        results.append(emit_select(graph, np.arange(start, start + size), joined, shape))
        start += size
    return results


# --- the file -----------------------------------------------------------------------------------


def model_of(graph: Graph, signature: Signature, comment: str, data: str | None) -> Any:
    """The ModelProto; constants go to the file `data` if there is one."""
    from onnx import checker, helper

    lead = [] if signature.batch is None else [signature.batch]
    inputs, outputs = (
        [helper.make_tensor_value_info(
            tensor.name, helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype)),
            [*lead, *tensor.shape],
        ) for tensor in part]
        for part in (signature.inputs, signature.outputs)
    )
    opsets = [helper.make_opsetid("", graph.opset)]
    body = helper.make_graph(graph.nodes, "isoform", inputs, outputs, tensors_of(graph, data))
    model = helper.make_model(
        body, opset_imports=opsets, producer_name="isoform",
        ir_version=helper.find_min_ir_version_for(opsets),
        doc_string=comment.encode(errors="backslashreplace").decode(),  # file names are bytes
    )
    if data is None:
        try:
            checker.check_model(model)
        except checker.ValidationError as error:
            raise ContractBroken("write_onnx", str(error)) from error
    return model


def little(array: np.ndarray) -> np.ndarray:
    return array.astype(array.dtype.newbyteorder("<"), copy=False)


def is_outside(array: np.ndarray, data: str | None) -> bool:
    return data is not None and array.nbytes >= SMALL


def tensors_of(graph: Graph, data: str | None) -> list[Any]:
    """The initializers as TensorProtos, large ones by their place in the data file."""
    from onnx import TensorProto, helper

    tensors, offset = [], 0
    for name, array in graph.initializers.items():
        tensor = TensorProto()
        tensor.name = name
        tensor.dims.extend(array.shape)
        tensor.data_type = helper.np_dtype_to_tensor_dtype(array.dtype)
        if is_outside(array, data):
            tensor.data_location = TensorProto.EXTERNAL
            place = {"location": data, "offset": str(offset), "length": str(array.nbytes)}
            for key, value in place.items():
                entry = tensor.external_data.add()
                entry.key, entry.value = key, value
            offset += array.nbytes
        else:
            tensor.raw_data = little(array).tobytes()
        tensors.append(tensor)
    return tensors


def write_data(graph: Graph, file: IO[bytes]) -> None:
    """The large initializers, one after the other, as `tensors_of` places them."""
    for array in graph.initializers.values():
        if is_outside(array, "data"):
            file.write(little(array).tobytes())
