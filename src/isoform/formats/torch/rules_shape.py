# SPDX-License-Identifier: Apache-2.0
"""torch operators that move entries: views, slices, joins."""

from __future__ import annotations

import numpy as np

from isoform.assemble import axes
from isoform.assemble.assembler import Assembler, Known, NotTaken, Value, fold
from isoform.assemble.joins import concat, pad, split
from isoform.assemble.order import cast
from isoform.formats.torch.call import Call, Rule, number, sizes

END = 2**63 - 1


def view(asm: Assembler, call: Call) -> Value:
    listed = call.get("size")
    target = sizes(call["shape"] if listed is None else listed)
    return axes.reshape(asm, call.value, target, allow_zero=True)


def flatten(asm: Assembler, call: Call) -> Value:
    """The axes from start to end as one."""
    value, rank = call.value, call.value.rank
    if rank == 0:
        return axes.unsqueeze(asm, value, [0])
    start, end = call.integer("start_dim") % rank, call.integer("end_dim") % rank
    shape = axes.shape_of(asm, value)
    target = fold(
        lambda s: np.concatenate([s[:start], [np.prod(s[start : end + 1])], s[end + 1 :]]), shape
    )
    return axes.reshape(asm, value, fold(lambda t: t.astype(np.int64), target), allow_zero=True)


def unflatten(asm: Assembler, call: Call) -> Value:
    value = call.value
    place = call.integer("dim") % value.rank
    inner = [entry if isinstance(entry, Known) else int(entry) for entry in call["sizes"]]
    shape = axes.shape_of(asm, value)
    target = fold(lambda s, i: np.concatenate([s[:place], i, s[place + 1 :]]), shape, sizes(inner))
    return axes.reshape(asm, value, target, allow_zero=True)


def transposed(asm: Assembler, call: Call) -> Value:
    rank = call.value.rank
    order = list(range(rank))
    left, right = call.integer("dim0") % rank, call.integer("dim1") % rank
    order[left], order[right] = order[right], order[left]
    return axes.transpose(asm, call.value, order)


def matrix_transposed(asm: Assembler, call: Call) -> Value:
    return axes.transpose(asm, call.value) if call.value.rank == 2 else call.value


def squeezed(asm: Assembler, call: Call) -> Value:
    """Axes of another length than 1 stay, as torch has it."""
    value, given = call.value, call.get("dim")
    shape = axes.shape_of(asm, value)
    lengths = shape.array if shape.other is None else shape.other
    places = range(value.rank) if given is None else call.integers("dim")
    ones = [place % value.rank for place in places if lengths[place % value.rank] == 1]
    return axes.squeeze(asm, value, ones) if ones else value


def unsqueezed(asm: Assembler, call: Call) -> Value:
    return axes.unsqueeze(asm, call.value, [call.integer("dim")])


def sliced(asm: Assembler, call: Call) -> Value:
    start = 0 if call["start"] is None else call.integer("start")
    end = END if call["end"] is None else call.integer("end")
    return axes.cut(asm, call.value, [start], [end], [call.integer("dim")], [call.integer("step")])


def selected(asm: Assembler, call: Call) -> Value:
    place = Known(np.asarray(call.integer("index"), dtype=np.int64))
    return axes.take(asm, call.value, place, call.integer("dim"))


def index_selected(asm: Assembler, call: Call) -> Value:
    return axes.take(asm, call.value, call.tensor("index"), call.integer("dim"))


def joined(asm: Assembler, call: Call) -> Value:
    return concat(asm, call["tensors"], call.integer("dim"))


def stacked(asm: Assembler, call: Call) -> Value:
    values = call["tensors"]
    place = call.integer("dim") % (values[0].rank + 1)
    return concat(asm, [axes.unsqueeze(asm, value, [place]) for value in values], place)


def parts(asm: Assembler, call: Call) -> list[Value]:
    """split and chunk."""
    place = call.integer("dim")
    length = call.value.shape[axes.axis_of(call.value, place)]
    if "chunks" in call.arguments:
        size = max(1, -(-length // call.integer("chunks")))
    elif call.overload == "sizes" or "split_sizes" in call.arguments:
        return split(asm, call.value, call.integers("split_sizes"), place)
    else:
        size = call.integers("split_size")[0]
    count = max(1, -(-length // size))
    return split(asm, call.value, [size] * (count - 1) + [length - size * (count - 1)], place)


def unbound(asm: Assembler, call: Call) -> list[Value]:
    place = call.integer("dim")
    length = call.value.shape[axes.axis_of(call.value, place)]
    pieces = split(asm, call.value, [1] * length, place)
    return [axes.squeeze(asm, piece, [place]) for piece in pieces]


def expanded(asm: Assembler, call: Call) -> Value:
    """-1 keeps an axis."""
    listed = call["size"]
    shape = axes.shape_of(asm, call.value)
    lead = len(listed) - call.value.rank
    target = fold(
        lambda wanted, s: np.where(wanted == -1, np.concatenate([[1] * lead, s]), wanted),
        sizes(listed), shape,
    )
    return axes.expand(asm, call.value, fold(lambda t: t.astype(np.int64), target))


def padded(asm: Assembler, call: Call) -> Value:
    """Pairs from the last axis backwards."""
    pairs, rank = call.integers("pad"), call.value.rank
    before, after = [0] * rank, [0] * rank
    for i in range(len(pairs) // 2):
        before[rank - 1 - i], after[rank - 1 - i] = pairs[2 * i], pairs[2 * i + 1]
    mode = {"constant": "constant", "reflect": "reflect", "replicate": "edge",
            "circular": "wrap"}.get(call.get("mode", "constant"))
    if mode is None:
        raise NotTaken(f"padding mode {call['mode']!r}")
    fill = call.get("value")
    given = None if fill is None else number(fill, call.value.dtype)
    return pad(asm, call.value, before, after, mode=mode, fill=given)


def to_dtype(asm: Assembler, call: Call) -> Value:
    """A cast: between float types nothing changes over the reals."""
    wanted = call.get("dtype")
    if wanted is None:
        return call.value
    name = str(wanted).removeprefix("torch.")
    kind = {"float32": "f4", "float64": "f8", "int64": "i8", "int32": "i4", "bool": "?"}.get(name)
    if kind is None:
        raise NotTaken(f"a cast to {name}")
    return cast(asm, call.value, np.dtype(kind))


def size_of(asm: Assembler, call: Call) -> Value:
    place = call.integer("dim") % call.value.rank
    return fold(lambda s: s[place], axes.shape_of(asm, call.value))


SHAPES: dict[str, Rule] = {
    "view": view, "reshape": view, "_unsafe_view": view, "flatten": flatten,
    "unflatten": unflatten, "transpose": transposed, "t": matrix_transposed,
    "numpy_T": lambda asm, call: axes.transpose(asm, call.value),
    "squeeze": squeezed, "unsqueeze": unsqueezed, "slice": sliced, "select": selected,
    "index_select": index_selected, "cat": joined, "concat": joined, "stack": stacked,
    "split": parts, "split_with_sizes": parts, "chunk": parts, "unbind": unbound,
    "expand": expanded, "pad": padded, "constant_pad_nd": padded, "to": to_dtype,
    "_to_copy": to_dtype, "type_as": lambda asm, call: call.value, "sym_size": size_of,
}
