# SPDX-License-Identifier: Apache-2.0
"""The splitting tree of a chart, read token by token: it covers the chart, and every leaf is there.

A split needs no proof, {z >= 0} and {z <= 0} cover; a unit that does not split the cell is proved
to have one sign on it, an empty cell to be empty, a leaf to have an interior by its point. So the
leaves are the activation regions of the chart, each with another pattern. Tokens are collected in
windows, whose exact arithmetic is done together (`region_rows.py`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from isoform.certificate.arrays import malformed
from isoform.certificate.region_evidence import Stream, Token
from isoform.certificate.region_farkas import whole_points
from isoform.certificate.region_rows import Cells
from isoform.errors import CertificateRejected
from isoform.network.charts import Chart

WINDOW = 1 << 17  # integers in the arithmetic that is done together, about
PLUS_FIRST, PLUS_BOX, PLUS_BASIS, PLUS_FOLLOW, BOX, EMPTY, HOLE, LEAF = map(int, (
    Token.SPLIT_PLUS_FIRST, Token.PLUS_BOX, Token.PLUS_BASIS, Token.PLUS_FOLLOW, Token.BOX,
    Token.EMPTY, Token.HOLE, Token.LEAF,
))
MASK = 15  # coordinates in a word of the mask of a BOX


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What streams prove, each below its node: regions (leaves) with their patterns as packed bits,
    holes: the prefixes of nodes that they leave to others. Nothing is said here of whether the
    holes are filled, nor of the signs that a prefix only asserts."""

    streams: int
    tokens: int
    regions: int
    patterns: np.ndarray
    holes: tuple[bytes, ...]
    seconds: float


def check_streams(
    chart: Chart, streams: Sequence[Stream], sample: Sequence[int] | None = None
) -> Checked:
    """Check streams of a chart, or those with the numbers in `sample`: a share of a huge tree.

    Raises CertificateRejected with the stream and token that proves nothing. What is returned is no
    proof of a count: `count_regions` also joins the streams.
    """
    started = time.perf_counter()
    cells = Cells(chart)
    tokens, holes, patterns = 0, [], [np.zeros((0, (chart.layers.units + 7) // 8), dtype=np.uint8)]
    for number in range(len(streams)) if sample is None else sample:
        try:
            cells.start()
            walk = Walk(chart, cells, streams[number])
            walk.run()
        except CertificateRejected as error:
            raise CertificateRejected(f"stream {number}", error.why) from None
        tokens += len(walk.codes)
        holes += walk.holes
        patterns += walk.patterns
    found = np.concatenate(patterns)
    return Checked(
        streams=len(streams) if sample is None else len(sample), tokens=tokens,
        regions=len(found), patterns=found, holes=tuple(holes),
        seconds=time.perf_counter() - started,
    )


class Walk:
    """One stream. signs: one prefix code for every decided unit of the open path; rows: the row of
    every id (-1: not on the path); path: the units that split it."""

    def __init__(self, chart: Chart, cells: Cells, stream: Stream):
        self.stream, self.cells = stream, cells
        self.units, self.k = chart.layers.units, chart.dimension
        for part, kind, axes in (
            (stream.codes, np.uint8, 1), (stream.ids, np.int32, 1), (stream.points, np.float64, 2)
        ):
            if not isinstance(part, np.ndarray) or part.dtype != kind or part.ndim != axes:
                raise malformed("arrays of another type")
        numbers = [number for number, _ in stream.fine]
        rising = all(a < b for a, b in zip([-1, *numbers], [*numbers, len(stream.points)],
                                           strict=True))
        if stream.points.shape[1] != self.k or not rising or np.any(stream.ids < 0):
            raise malformed("points or ids that do not fit the chart")
        if len(stream.prefix) > self.units or any(code > 3 for code in stream.prefix):
            raise malformed("a prefix that is none")
        self.starts = chart.layers.starts
        sizes = np.diff(self.starts)
        self.home = np.repeat(np.arange(len(sizes)), sizes).tolist()
        self.codes, self.ids = stream.codes.tobytes(), stream.ids.tolist()
        self.signs = bytearray(self.units)
        self.m = len(self.cells.faces)
        self.rows = list(range(self.m)) + [-1] * self.units
        self.path: list[int] = []
        self.first = [0] * len(sizes)  # place of the first form of each layer on the path
        self.stack: list[tuple[int, int, int, int]] = []  # unit, sign, box, length of the path
        self.asked = self.cells.asked()
        self.row_count, self.box_count = self.m, 1
        self.layer, self.base, self.end = -1, 0, 0
        self.unit = self.box = self.at = self.id_at = self.leaves = self.load = 0
        self.fine = dict(stream.fine)
        self.holes: list[bytes] = []
        self.ended: list[bytes] = []  # signs of the leaves of the window
        self.patterns: list[np.ndarray] = []

    def fail(self, why: str) -> CertificateRejected:
        return malformed(f"token {self.at - 1:,}: {why}")

    def run(self) -> None:
        """Read the whole stream."""
        for unit, code in enumerate(self.stream.prefix):
            if self.load > WINDOW:
                self.settle()
            if unit == self.end:
                self.enter()
            if code & 2:
                self.split(unit, self.box, code & 1)
            else:
                self.signs[unit] = code
        self.unit = len(self.stream.prefix)
        while self.node():
            pass
        self.settle()
        ends = (len(self.codes), len(self.ids), len(self.stream.points))
        if (self.at, self.id_at, self.leaves) != ends:
            raise self.fail("the tree ends before its tokens, ids or points do")

    def node(self) -> bool:
        """From a node to the end of its path, then to the next open node; False: there is none."""
        codes, total, count = self.codes, len(self.codes), self.units
        while True:
            if self.load > WINDOW:
                self.settle()
            unit = self.unit
            if unit == count:
                if self.at < total and codes[self.at] == EMPTY:
                    self.at += 1
                    self.empty()
                else:
                    self.leaf()
                return self.back()
            if unit == self.end:
                self.enter()
            if self.at >= total:
                raise self.fail("the stream is cut short")
            code = codes[self.at]
            self.at += 1
            if code <= PLUS_FIRST:
                self.stack.append((unit, 1 - code, self.box, len(self.path)))
                self.split(unit, self.box, code)
            elif code <= PLUS_FOLLOW:
                self.stable(unit, code)
            elif code == BOX:
                self.tighten()
                continue
            elif code == EMPTY:
                self.empty()
                return self.back()
            elif code == HOLE:
                self.hole(unit)
                return self.back()
            else:
                raise self.fail(f"code {code} is none here")
            self.unit = unit + 1

    def stable(self, unit: int, code: int) -> None:
        """The unit has one sign on the cell."""
        active = code & 1
        sign = 2 * active - 1
        self.signs[unit] = active
        self.load += 1 + self.k
        if code <= PLUS_BOX:
            self.asked.by_box += (self.base + unit, self.box, sign, self.at - 1)
        elif code <= PLUS_BASIS:
            self.asked.by_basis += (self.base + unit, sign, self.at - 1)
            self.asked.basis_rows += self.take(self.k)
        else:
            leader = self.number()
            if leader >= unit:
                raise self.fail("it follows a unit that does not come before")
            home = self.home[leader]
            place = self.first[home] + leader - self.starts[home]
            leading = 2 * (self.signs[leader] & 1) - 1
            self.asked.follows += (self.base + unit, sign, place, leading, self.at - 1)

    def split(self, unit: int, box: int, active: int) -> None:
        """Go to the side of the unit's wall: one row more, and the box that it tightens."""
        self.signs[unit] = 2 + active
        self.load += 1 + self.k
        self.path.append(unit)
        self.rows[self.m + unit] = self.row_count
        self.asked.walls.append((self.base + unit, 2 * active - 1))
        self.asked.boxes.append((box, self.row_count))
        self.row_count += 1
        self.box = self.box_count
        self.box_count += 1

    def enter(self) -> None:
        """The first unit of a layer: its forms on the cell."""
        self.layer += 1
        start, self.end = self.starts[self.layer], self.starts[self.layer + 1]
        self.first[self.layer] = self.asked.forms
        slots = tuple(self.first[: self.layer + 1])
        self.asked.prefixes[self.layer].append((slots, bytes(self.signs[:start])))
        self.base = self.asked.forms - start
        self.asked.forms += self.end - start
        self.load += sum(self.cells.weights[self.layer].weights.shape) * (1 + self.k)

    def back(self) -> bool:
        """The last open node: the second side of its split."""
        if not self.stack:
            return False
        unit, active, box, length = self.stack.pop()
        for left in self.path[length:]:
            self.rows[self.m + left] = -1
        del self.path[length:]
        self.layer = self.home[unit]
        self.end = self.starts[self.layer + 1]
        self.base = self.first[self.layer] - self.starts[self.layer]
        self.split(unit, box, active)
        self.unit = unit + 1
        return True

    def leaf(self) -> None:
        """All units are decided: the next region, with the next point."""
        if self.at < len(self.codes) and self.codes[self.at] == LEAF:
            self.at += 1
        if self.leaves == len(self.stream.points):
            raise self.fail("more leaves than points")
        self.leaves += 1
        self.load += (self.m + len(self.path)) * (1 + self.k)
        self.ended.append(bytes(self.signs))
        self.asked.path_rows += [self.rows[self.m + unit] for unit in self.path]
        self.asked.path_lengths.append(len(self.path))

    def empty(self) -> None:
        self.asked.empties.append((self.at - 1, self.take(self.k + 1)))

    def hole(self, unit: int) -> None:
        if self.at == 1:
            raise self.fail("a stream that is only a hole")
        self.holes.append(bytes(self.signs[:unit]))

    def tighten(self) -> None:
        """Bounds of coordinates, each by k rows."""
        words = [self.number() for _ in range(-(-self.k // MASK))]
        for end in range(2 * self.k):
            if words[end // (2 * MASK)] >> end % (2 * MASK) & 1:
                if self.load > WINDOW:
                    self.settle()
                self.asked.boxes.append((self.box, ~len(self.asked.bounds)))
                self.asked.bounds.append((end // 2, 2 * (end % 2) - 1, self.take(self.k)))
                self.box = self.box_count
                self.box_count += 1
        if any(word >> (2 * min(MASK, self.k - MASK * w)) for w, word in enumerate(words)):
            raise self.fail("a mask of coordinates that are not there")

    def number(self) -> int:
        if self.id_at >= len(self.ids):
            raise self.fail("ids are cut short")
        self.id_at += 1
        return int(self.ids[self.id_at - 1])

    def take(self, count: int) -> list[int]:
        """The rows with the next ids."""
        ids = self.ids[self.id_at : self.id_at + count]
        self.id_at += count
        self.load += count * (1 + self.k)
        try:
            found = [self.rows[i] for i in ids]
        except IndexError:
            raise self.fail("a row id beyond all rows") from None
        if len(found) < count or min(found) < 0:
            raise self.fail("ids cut short, or of a row that is not on the path")
        return found

    def settle(self) -> None:
        """Do the arithmetic of the window; keep what the open path and the stack need."""
        first = self.leaves - len(self.ended)
        fine = [(n - first, self.fine[n]) for n in range(first, self.leaves) if n in self.fine]
        points = whole_points(self.stream.points[first : self.leaves], fine)
        boxes = [self.box, *(box for _, _, box, _ in self.stack)]
        failed = self.cells.settle(self.asked, points, boxes)
        if failed is not None and failed >= 0:
            raise malformed(f"token {failed:,} does not prove {Token(self.codes[failed]).name}")
        if failed is not None:
            raise malformed(f"point {first + ~failed:,} is not strictly inside its cell")
        if self.ended:
            signs = np.frombuffer(b"".join(self.ended), dtype=np.uint8) & 1
            shape = (len(self.ended), self.units)
            self.patterns.append(np.packbits(signs.reshape(shape), axis=1))
        self.ended = []
        self.load = 0
        self.renumber(boxes)

    def renumber(self, boxes: list[int]) -> None:
        """Forms, rows and boxes that are still needed, numbered from the start."""
        forms: list[int] = []
        for layer in range(self.layer + 1):
            size = self.starts[layer + 1] - self.starts[layer]
            here = self.first[layer]
            self.first[layer] = len(forms)
            forms += range(here, here + size)
        if self.layer >= 0:
            self.base = self.first[self.layer] - self.starts[self.layer]
        rows = [self.rows[self.m + unit] for unit in self.path]
        for number, unit in enumerate(self.path):
            self.rows[self.m + unit] = self.m + number
        self.stack = [(u, s, 1 + n, length) for n, (u, s, _, length) in enumerate(self.stack)]
        self.cells.keep(forms, rows, boxes)
        self.box, self.row_count, self.box_count = 0, self.m + len(rows), len(boxes)
        self.asked = self.cells.asked()
