# SPDX-License-Identifier: Apache-2.0
"""torch modules to networks, through torch.export."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from isoform.assemble.assembler import (
    Assembler,
    Computed,
    Known,
    NotRowByRow,
    NotTaken,
    Value,
    fold,
)
from isoform.errors import FormatError, Refused, TooLarge, UnsupportedModel
from isoform.formats.torch.call import Call
from isoform.formats.torch.rules import RULES
from isoform.formats.torch.rules_shape import SHAPES
from isoform.network.model import Loaded, Signature, Tensor
from isoform.network.network import Shape

ALL_RULES = {**RULES, **SHAPES}
ROWS = 2  # of the example that the module is traced with
TRAINED = ("BatchNorm", "Dropout", "RReLU", "InstanceNorm")
SCALARS = {
    operator.add: np.add, operator.sub: np.subtract, operator.mul: np.multiply,
    operator.floordiv: np.floor_divide, operator.neg: np.negative,
}
READING = (
    "numbers in the module's code mean the nearest float of the tensor beside them",
    "leading batch axis dropped",
)
READING_ONE = (READING[0], "read for a batch of one row: the code moves or mixes the batch axis")


def read_torch(module: Any, example: Any = None) -> Loaded:
    """The function of a torch module in evaluation mode.

    example: shape of one sample without its batch axis ((1, 28, 28); a list of shapes for several
    inputs), or a tensor (a tuple of them) with the batch axis in front. May be left out where the
    module begins with a Linear layer. The module must take a batch in front of every input; where
    its code moves the batch axis about, the function is that of a batch of one, axis kept.
    UnsupportedModel with every operator that is not taken; Refused where layers are in training
    mode, or where torch.export fails.
    """
    check_mode(module)
    inputs = example_tensors(module, example)
    batch: str | int | None
    program, batch = exported(module, inputs)
    run = Run(Assembler([tuple(x.shape[1:]) for x in inputs], batched=True,
                        rows=None if isinstance(batch, str) else batch))
    outputs, reading = run.graph(program), READING
    name = f"torch {type(module).__name__}"
    if run.mixes:
        alone = one_row(module, inputs)
        if alone is not None:
            (run, outputs), batch, reading = alone, None, READING_ONE
    if run.obstacles:
        raise UnsupportedModel(name, run.obstacles)
    try:
        network = run.asm.finish(outputs)
    except NotRowByRow as obstacle:
        raise UnsupportedModel(name, [f"not row by row: {obstacle}"]) from None
    dtypes = [str(x.dtype).removeprefix("torch.") for x in inputs]
    shapes = [network.shape_of(value) for value in network.outputs]
    return Loaded(
        network=network,
        signature=Signature(
            inputs=named("input", network.inputs, dtypes),
            outputs=named("output", shapes, [value.dtype.name for value in outputs]),
            batch=batch,
        ),
        origin=name, reading=(*reading, *run.asm.notes),
    )


def one_row(module: Any, inputs: tuple[Any, ...]) -> tuple[Run, list[Value]] | None:
    """The module on a batch of one, whose axis stays part of the function: for code that moves the
    batch axis about, as torch's attention does. None where that does not work either."""
    try:
        program = export(module, tuple(x[:1] for x in inputs), None)
    except Exception:  # torch.export raises anything; the caller lists the first obstacles
        return None
    run = Run(Assembler([(1, *x.shape[1:]) for x in inputs], batched=False))
    outputs = run.graph(program)
    return None if run.obstacles else (run, outputs)


def named(what: str, shapes: Sequence[Shape], dtypes: Sequence[str]) -> tuple[Tensor, ...]:
    numbered = len(shapes) > 1
    return tuple(
        Tensor(f"{what}{i}" if numbered else what, shape, dtype)
        for i, (shape, dtype) in enumerate(zip(shapes, dtypes, strict=True))
    )


# --- the module -----------------------------------------------------------------------------------


def check_mode(module: Any) -> None:
    """Refused where a layer behaves otherwise in training than in use."""
    import torch

    if not isinstance(module, torch.nn.Module):
        raise Refused(f"a {type(module).__name__} is no torch.nn.Module")
    training = [
        f"{name or 'the module'} ({type(part).__name__})"
        for name, part in module.named_modules()
        if part.training and any(word in type(part).__name__ for word in TRAINED)
    ]
    if training:
        raise Refused(
            f"{len(training)} layer(s) are in training mode, whose function is random or depends "
            f"on the batch: {', '.join(training[:8])}; call module.eval() first"
        )


def example_tensors(module: Any, example: Any) -> tuple[Any, ...]:
    """Example inputs of two rows each."""
    import torch

    if example is None:
        first = next((p for p in module.modules() if not any(True for _ in p.children())), None)
        if not isinstance(first, torch.nn.Linear):
            raise Refused(
                "the module's input shape is not known; give example=(1, 28, 28), the shape of "
                "one sample without its batch axis"
            )
        example = (first.in_features,)
    if isinstance(example, torch.Tensor):
        example = (example,)
    listed = list(example)
    if listed and all(isinstance(part, torch.Tensor) for part in listed):
        if any(part.ndim == 0 for part in listed):
            raise Refused("an example tensor without a batch axis")
        return tuple(part[:1].repeat(ROWS, *[1] * (part.ndim - 1)).detach() for part in listed)
    shapes = [listed] if all(isinstance(n, int) for n in listed) else listed
    if any(n < 1 for shape in shapes for n in shape):
        raise Refused(f"example shapes {shapes} have an empty axis")
    parameter = next((p for p in module.parameters() if p.is_floating_point()), None)
    dtype = torch.float32 if parameter is None else parameter.dtype
    return tuple(torch.zeros(ROWS, *shape, dtype=dtype) for shape in shapes)


def exported(module: Any, inputs: tuple[Any, ...]) -> tuple[Any, str | int]:
    """The exported program and the batch axis: symbolic, or fixed where the code bakes it in."""
    import torch

    device = next((p.device for p in module.parameters()), None)
    inputs = inputs if device is None else tuple(x.to(device) for x in inputs)
    symbolic = tuple({0: torch.export.Dim("N", min=1)} for _ in inputs)
    try:
        return export(module, inputs, symbolic), "N"
    except Exception as first:  # torch.export raises anything; a fixed batch is the second try
        try:
            return export(module, tuple(x[:1] for x in inputs), None), 1
        except Exception:
            short = str(first).strip().split("\n")[0][:300]
            raise Refused(
                f"torch.export does not take {type(module).__name__}: {type(first).__name__}: "
                f"{short}"
            ) from first


def export(module: Any, inputs: tuple[Any, ...], shapes: Any) -> Any:
    import torch

    specification = None if shapes is None else by_parameter(module, shapes)
    with torch.no_grad():
        return torch.export.export(module, inputs, dynamic_shapes=specification, strict=False)


def by_parameter(module: Any, shapes: tuple[Any, ...]) -> Any:
    """One entry an argument, as torch.export wants them; forward(*xs) takes one more level."""
    import inspect

    kinds = [p.kind for p in inspect.signature(module.forward).parameters.values()]
    return (shapes,) if kinds[:1] == [inspect.Parameter.VAR_POSITIONAL] else shapes


# --- the graph ------------------------------------------------------------------------------------


@dataclass(slots=True)
class Run:
    """One pass over an exported graph: values by node name (None after an obstacle)."""

    asm: Assembler
    values: dict[str, Any] = field(default_factory=dict)
    obstacles: list[str] = field(default_factory=list)
    mixes: bool = False

    def graph(self, program: Any) -> list[Value]:
        """The values of the module's outputs."""
        signature = program.graph_signature
        held = {**signature.inputs_to_parameters, **signature.inputs_to_buffers,
                **signature.inputs_to_lifted_tensor_constants}
        tensors = {**program.state_dict, **program.constants}
        inputs = 0
        for node in program.graph.nodes:
            if node.op == "placeholder":
                if node.name in held:
                    self.values[node.name] = Known(array_of(tensors[held[node.name]]))
                    continue
                meta = node.meta["val"]
                dtype = str(meta.dtype).removeprefix("torch.")
                self.values[node.name] = self.asm.wrap(inputs, np.dtype(dtype))
                inputs += 1
            elif node.op == "call_function":
                self.values[node.name] = self.call(node)
            elif node.op == "get_attr":
                self.obstacles.append(f"{node.name}: a subgraph ({node.target})")
        changed = getattr(signature, "buffers_to_mutate", {})
        if changed:
            self.obstacles.append(f"the module changes its buffers {sorted(changed.values())}")
        found = [self.values.get(name) for name in signature.user_outputs]
        if not self.obstacles and any(not isinstance(v, Known | Computed) for v in found):
            self.obstacles.append("an output is no tensor")
        return found  # type: ignore[return-value]

    def call(self, node: Any) -> Any:
        """The result of one call; None, with a note, where it is not taken."""
        try:
            if not hasattr(node.target, "_schema"):
                return self.builtin(node)
            schema = node.target._schema
            name = schema.name.split("::")[1].removesuffix("_")
            given = {argument.name: argument.default_value for argument in schema.arguments}
            names = [argument.name for argument in schema.arguments]
            given |= dict(zip(names, map(self.resolved, node.args), strict=False))
            given |= {key: self.resolved(value) for key, value in node.kwargs.items()}
            rule = ALL_RULES.get(name) if schema.name.startswith("aten::") else None
            if rule is None and not node.users:
                return None  # a check of sizes that torch.export put in
            if rule is None:
                raise NotTaken("no rule for this operator")
            return rule(self.asm, Call(name, schema.overload_name, given))
        except BehindAnObstacle:
            return None
        except (NotTaken, NotRowByRow) as obstacle:
            mixed = "not row by row: " if isinstance(obstacle, NotRowByRow) else ""
            self.mixes = self.mixes or bool(mixed)
            self.obstacles.append(f"{node.name} ({node.target}): {mixed}{obstacle}")
            return None
        except (FormatError, TooLarge) as error:
            raise type(error)(f"{node.name} ({node.target}): {error}") from error

    def builtin(self, node: Any) -> Any:
        """Python's own operators: parts of a result, arithmetic on sizes, assertions."""
        if node.target is operator.getitem:
            parts, place = map(self.resolved, node.args)
            return parts[place]
        if node.target in SCALARS:
            operands = [self.resolved(argument) for argument in node.args]
            known = [o if isinstance(o, Known) else Known(np.asarray(o)) for o in operands]
            return fold(SCALARS[node.target], *known)
        if not node.users:
            return None  # a check of sizes that torch.export put in
        raise NotTaken("no rule for this function")

    def resolved(self, argument: Any) -> Any:
        """An argument with values in place of nodes."""
        if isinstance(argument, list | tuple):
            return [self.resolved(part) for part in argument]
        if hasattr(argument, "op") and hasattr(argument, "name"):
            if self.values.get(argument.name) is None:
                raise BehindAnObstacle
            return self.values[argument.name]
        return argument


class BehindAnObstacle(Exception):
    """An operand is missing because something before it was not taken."""


def array_of(tensor: Any) -> np.ndarray:
    """A parameter or buffer as an array of its numbers; half precision becomes float32."""
    import torch

    tensor = tensor.detach().cpu()
    if tensor.dtype in (torch.float16, torch.bfloat16):
        tensor = tensor.float()
    if tensor.is_complex() or tensor.is_sparse or tensor.is_quantized:
        raise FormatError(f"a parameter of type {tensor.dtype}, {tensor.layout}")
    return tensor.numpy().copy()
