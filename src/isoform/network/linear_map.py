# SPDX-License-Identifier: Apache-2.0
"""Linear maps R^n -> R^m that keep their structure: dense, compressed rows, convolution, gather.

Each has `inputs` (n), `outputs` (m), `nonzeros` (stored weights, the parameters), `constants` (its
arrays), `apply` (floats, batched, an array (batch, n) to (batch, m)) and `sparse` (the exact
matrix). A weight is a float32 or float64 array, meaning exactly those numbers, or an `Exact`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from isoform.numerics.exact import Exact, integers
from isoform.numerics.sparse import ExactSparse

Constant = np.ndarray | Exact


def exact(constant: Constant) -> Exact:
    """The exact tensor that a constant means."""
    return constant if isinstance(constant, Exact) else Exact.of(constant)


def floats(constant: Constant) -> np.ndarray:
    """The nearest float64 array."""
    return constant.to_float() if isinstance(constant, Exact) else constant.astype(np.float64)


def count_nonzero(constant: Constant) -> int:
    array = constant.numerator if isinstance(constant, Exact) else constant
    return int(np.count_nonzero(array))


@dataclass(frozen=True, slots=True, eq=False)
class Dense:
    """y = W x, weight W of shape (outputs, inputs)."""

    weight: Constant

    @property
    def inputs(self) -> int:
        return self.weight.shape[1]

    @property
    def outputs(self) -> int:
        return self.weight.shape[0]

    @property
    def parameters(self) -> int:
        return self.weight.size

    @property
    def nonzeros(self) -> int:
        return count_nonzero(self.weight)

    @property
    def constants(self) -> dict[str, Constant]:
        return {"weight": self.weight}

    def apply(self, x: np.ndarray) -> np.ndarray:
        return x @ floats(self.weight).T.astype(x.dtype)

    def sparse(self) -> ExactSparse:
        if isinstance(self.weight, Exact):
            return ExactSparse.of(self.weight)
        rows, columns = np.nonzero(self.weight)  # a matrix written dense is often mostly zeros
        values = Exact.of(self.weight[rows, columns])
        return ExactSparse.of_triplets(
            (self.outputs, self.inputs), rows, columns, values.numerator, values.denominator
        )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Csr:
    """A sparse matrix in compressed rows; columns of a row strictly increasing.

    starts: int64 (outputs + 1); columns: int64 (k); values: constant (k).
    """

    starts: np.ndarray
    columns: np.ndarray
    values: Constant
    inputs: int

    @staticmethod
    def of(matrix: ExactSparse) -> Csr:
        values = Exact(matrix.data, matrix.denominator)
        return Csr(
            starts=matrix.starts, columns=matrix.columns, values=values, inputs=matrix.shape[1]
        )

    @property
    def outputs(self) -> int:
        return len(self.starts) - 1

    @property
    def parameters(self) -> int:
        return self.values.size

    @property
    def nonzeros(self) -> int:
        return count_nonzero(self.values)

    @property
    def constants(self) -> dict[str, Constant]:
        return {"starts": self.starts, "columns": self.columns, "values": self.values}

    def apply(self, x: np.ndarray) -> np.ndarray:
        from scipy.sparse import csr_array

        values = floats(self.values).astype(x.dtype)
        matrix = csr_array(
            (values, self.columns, self.starts), shape=(self.outputs, self.inputs)
        )
        return (matrix @ x.T).T

    def sparse(self) -> ExactSparse:
        values = exact(self.values)
        rows = np.repeat(np.arange(self.outputs), np.diff(self.starts))
        return ExactSparse.of_triplets(
            (self.outputs, self.inputs), rows, self.columns, values.numerator, values.denominator
        )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Gather:
    """y_i = scale_i * x[indices_i]; an index of -1 gives 0; scale None means ones."""

    indices: np.ndarray
    scale: Constant | None
    inputs: int

    @property
    def outputs(self) -> int:
        return len(self.indices)

    @property
    def parameters(self) -> int:
        return 0 if self.scale is None else self.scale.size

    @property
    def nonzeros(self) -> int:
        if self.scale is None:
            return int(np.count_nonzero(self.indices >= 0))
        return count_nonzero(self.scale[self.indices >= 0])

    @property
    def constants(self) -> dict[str, Constant]:
        scale = {} if self.scale is None else {"scale": self.scale}
        return {"indices": self.indices, **scale}

    def apply(self, x: np.ndarray) -> np.ndarray:
        held = self.indices >= 0
        y = np.where(held, x[:, np.where(held, self.indices, 0)], x.dtype.type(0))
        return y if self.scale is None else y * floats(self.scale).astype(x.dtype)

    def sparse(self) -> ExactSparse:
        held = np.flatnonzero(self.indices >= 0)
        ones = Exact(integers([1] * self.outputs, (self.outputs,)))
        scale = ones if self.scale is None else exact(self.scale)
        return ExactSparse.of_triplets(
            (self.outputs, self.inputs), held, self.indices[held],
            scale.numerator[held], scale.denominator,
        )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Conv:
    """A convolution (correlation, as in ONNX) on a (channels, *space) tensor, zero padding.

    kernel: constant (out channels, in channels / groups, *size); pads: (before, after) a spatial
    axis; strides, dilations: one a spatial axis.
    """

    kernel: Constant
    space: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    dilations: tuple[int, ...]
    groups: int = 1

    @property
    def channels_in(self) -> int:
        return self.kernel.shape[1] * self.groups

    @property
    def channels_out(self) -> int:
        return self.kernel.shape[0]

    @property
    def space_out(self) -> tuple[int, ...]:
        sizes = zip(
            self.space, self.kernel.shape[2:], self.strides, self.pads, self.dilations, strict=True
        )
        return tuple(
            (n + before + after - dilation * (k - 1) - 1) // stride + 1
            for n, k, stride, (before, after), dilation in sizes
        )

    @property
    def inputs(self) -> int:
        return self.channels_in * math.prod(self.space)

    @property
    def outputs(self) -> int:
        return self.channels_out * math.prod(self.space_out)

    @property
    def parameters(self) -> int:
        return self.kernel.size

    @property
    def nonzeros(self) -> int:
        return count_nonzero(self.kernel)

    @property
    def constants(self) -> dict[str, Constant]:
        return {"kernel": self.kernel}

    def taps(self) -> tuple[np.ndarray, np.ndarray]:
        """Input position (flat in space, -1 in the padding) of each (output position, tap)."""
        size, out = self.kernel.shape[2:], self.space_out
        flat = np.zeros((*out, *size), dtype=np.int64)
        inside = np.ones((*out, *size), dtype=bool)
        axes = len(out)
        for axis in range(axes):
            begin = np.arange(out[axis]) * self.strides[axis] - self.pads[axis][0]
            place = begin[:, None] + np.arange(size[axis]) * self.dilations[axis]
            shape = [1] * (2 * axes)
            shape[axis], shape[axes + axis] = out[axis], size[axis]
            place = place.reshape(shape)
            inside &= (place >= 0) & (place < self.space[axis])
            flat = flat * self.space[axis] + place
        count = (math.prod(out), math.prod(size))
        return flat.reshape(count), inside.reshape(count)

    def apply(self, x: np.ndarray) -> np.ndarray:
        flat, inside = self.taps()
        per_group_in = self.kernel.shape[1]
        per_group_out = self.channels_out // self.groups
        image = x.reshape(len(x), self.groups, per_group_in, -1)
        kernel = floats(self.kernel).astype(x.dtype)
        kernel = kernel.reshape(self.groups, per_group_out, per_group_in, -1)
        patches = np.where(inside, image[..., np.where(inside, flat, 0)], x.dtype.type(0))
        patches = patches.transpose(1, 0, 3, 2, 4)  # group, batch, position, channel, tap
        count = flat.shape[0]
        patches = patches.reshape(self.groups, len(x) * count, -1)
        y = patches @ kernel.reshape(self.groups, per_group_out, -1).transpose(0, 2, 1)
        y = y.reshape(self.groups, len(x), count, per_group_out)
        return y.transpose(1, 0, 3, 2).reshape(len(x), -1)

    def sparse(self) -> ExactSparse:
        flat, inside = self.taps()
        positions, taps = np.nonzero(inside)
        kernel = exact(self.kernel).reshape(self.channels_out, self.kernel.shape[1], -1)
        out, channel = np.meshgrid(
            np.arange(self.channels_out), np.arange(self.kernel.shape[1]), indexing="ij"
        )
        out, channel = out.ravel()[:, None], channel.ravel()[:, None]
        group = out // (self.channels_out // self.groups)
        rows = out * flat.shape[0] + positions
        columns = (group * self.kernel.shape[1] + channel) * math.prod(self.space)
        columns = columns + flat[positions, taps]
        data = kernel.numerator[out, channel, taps]
        return ExactSparse.of_triplets(
            (self.outputs, self.inputs), rows.ravel(), columns.ravel(), data.ravel(),
            kernel.denominator,
        )


LinearMap = Dense | Csr | Gather | Conv
