# SPDX-License-Identifier: Apache-2.0
"""Times of the whole way from two files to a checked proof: `python benchmarks/river.py`.

Every row is one statement with its target. Whole-process times are of the command as a user types
it, start of the interpreter included; the others are of one stage in a process of its own. All
processes run on one thread. Networks are generated from fixed seeds, the ACAS Xu network is read
from `--models DIR`. Each figure is the median of the repetitions. isoform only: no other program is
run or compared with.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import networks
from isoform.formats.onnx.read import read_onnx
from isoform.formats.onnx.write import write_onnx
from isoform.forms.feed_forward import FeedForward
from isoform.network.linear_map import Dense
from isoform.network.network import Network

HERE = Path(__file__).resolve().parent
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
ENVIRONMENT = os.environ | {name: "1" for name in THREADS}
COMMAND = str(Path(sys.executable).with_name("isoform"))
MODELS = HERE.parents[1] / "shared" / "models"
ACAS = "acasxu/ACASXU_run2a_1_1_batch_2000.onnx"
ACAS_BOX = "box:-0.328422877,0.679857769" + "/-0.5,0.5" * 4


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; target: the largest value that is good, or None."""

    what: str
    value: float
    unit: str
    target: float | None = None

    def __str__(self) -> str:
        goal = "" if self.target is None else f"< {self.target:g}"
        good = "" if self.target is None else "ok" if self.value < self.target else "MISSED"
        return f"{self.what:<66}{self.value:>10.3f} {self.unit:<8}{goal:>8}  {good}"


def seconds_of(command: list[str], repetitions: int, status: int = 0) -> float:
    """Median wall-clock seconds of a whole process, which must exit with `status`."""
    taken = []
    for _ in range(repetitions):
        started = time.perf_counter()
        done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        taken.append(time.perf_counter() - started)
        if done.returncode != status:
            raise SystemExit(f"{' '.join(command)}\nexit {done.returncode}\n{done.stderr}")
    return statistics.median(taken)


# --- rows -------------------------------------------------------------------------------------


def start_up(repetitions: int, folder: Path) -> list[Row]:
    bare = seconds_of([sys.executable, "-c", "pass"], repetitions)
    imported = seconds_of([sys.executable, "-c", "import isoform"], repetitions)
    return [
        Row("python -c pass, whole process", bare, "s"),
        Row("python -c 'import isoform', whole process", imported, "s"),
        Row("import isoform (difference of the two)", imported - bare, "s", 0.3),
        Row("python -c 'from isoform import *', all public names", seconds_of(
            [sys.executable, "-c", "from isoform import *"], repetitions), "s"),
        Row("isoform --help, whole process", seconds_of([COMMAND, "--help"], repetitions), "s", .5),
    ]


def scrambled_copies(repetitions: int, folder: Path) -> list[Row]:
    """A network 64-u-u-u-10 in ONNX against its permuted and rescaled copy, everywhere."""
    rows = []
    for units in (16, 64, 256):
        widths = (64, units, units, units, 10)
        chain = networks.random_chain(widths, seed=units)
        a, b = folder / f"{units}.onnx", folder / f"{units}-copy.onnx"
        c = folder / f"{units}.certificate.json"
        write_onnx(networks.network(chain), a)
        write_onnx(networks.network(networks.scrambled(chain, seed=1)), b)
        command = [COMMAND, "prove", str(a), str(b), "--certificate", str(c)]
        label = f"isoform prove, {'-'.join(map(str, widths))}, scrambled copy, everywhere"
        rows.append(Row(label, seconds_of(command, repetitions), "s", 3))
        rows += certificate_rows(c, 3 * units)
    nudge(chain, folder, "64-256-256-256-10", rows, repetitions)
    return rows


def nudge(chain: networks.Chain, folder: Path, name: str, rows: list[Row],
          repetitions: int) -> None:
    """The negative control: one weight moved to the next float must be refuted (exit status 1)."""
    a, b = folder / "control.onnx", folder / "control-nudged.onnx"
    write_onnx(networks.network(chain), a)
    write_onnx(networks.network(networks.nudged(networks.scrambled(chain, seed=1))), b)
    command = [COMMAND, "prove", str(a), str(b), "--on", "box:-1,1"]
    taken = seconds_of(command, repetitions, status=1)
    rows.append(Row(f"isoform prove, {name}, one weight nudged, refuted", taken, "s"))


def certificate_rows(path: Path, units: int) -> list[Row]:
    """Bytes of the whole certificate, and of its evidence alone, a hidden unit of both networks."""
    record = json.loads(path.read_text())
    arrays = record["arrays"]
    used = [codes[key] for item in record["evidence"] for codes in item["data"].get("codes", [])
            for key in ("partner", "factor") if key in codes]
    evidence = len(json.dumps(record["evidence"]))
    evidence += sum(array_bytes(arrays[number]) for number in set(used))
    sections = path.with_suffix(".bin")
    whole = path.stat().st_size + (sections.stat().st_size if sections.exists() else 0)
    return [
        Row("  certificate, bytes a hidden unit", whole / (2 * units), "bytes"),
        Row("  of these evidence, bytes a hidden unit", evidence / (2 * units), "bytes", 64),
    ]


def array_bytes(array: dict[str, Any]) -> int:
    return array["at"][1] if "at" in array else len(array["data"]) * 3 // 4


def collision_avoidance(models: Path) -> Callable[[int, Path], list[Row]]:
    """ACAS Xu 1_1 against its permuted and rescaled copy, on the whole input box."""

    def rows(repetitions: int, folder: Path) -> list[Row]:
        if not (models / ACAS).is_file():
            print(f"(left out: no {ACAS} in {models})")
            return []
        source, b = models / ACAS, folder / "acas-copy.onnx"
        form = FeedForward.lift(flat(read_onnx(source).network))
        chain = tuple(
            networks.Layer(dense(part), bias, i < len(form.layers) - 1)
            for i, (part, bias) in enumerate(form.layers)
        )
        write_onnx(networks.network(networks.scrambled(chain, seed=1)), b)
        command = [COMMAND, "prove", str(source), str(b), "--on", ACAS_BOX]
        return [Row("isoform prove, ACAS Xu 1_1, scrambled copy, on the input box",
                    seconds_of(command, repetitions), "s", 5)]

    return rows


def flat(network: Network) -> Network:
    """The network of the form that takes it, on flat vectors."""
    from isoform.forms.model import Model

    return Model.of(network).as_form(FeedForward).lower()


def dense(part: Any) -> np.ndarray:
    """The float32 matrix of a map whose constants are float32 numbers."""
    if isinstance(part, Dense) and isinstance(part.weight, np.ndarray):
        return part.weight
    return part.sparse().dense().to_float(np.float32)


def stages(repetitions: int, folder: Path) -> list[Row]:
    """Stages on networks of the size of a digit classifier."""
    rows = []
    for widths in ("784-256-256-10", "784-1024-256-10"):
        found: dict[str, list[float]] = {}
        for name in ("rewrite", "prove"):
            for _ in range(repetitions):
                command = [sys.executable, str(HERE / "stages.py"), name, widths]
                done = subprocess.run(
                    command, env=ENVIRONMENT, capture_output=True, text=True, check=True
                )
                for key, value in json.loads(done.stdout).items():
                    found.setdefault(key, []).append(value)
        peak = max(found.pop("megabytes"))
        middle = {key: statistics.median(values) for key, values in found.items()}
        rows += [Row(f"{key}, {widths}", value, "s", 10) for key, value in middle.items()]
        rows.append(Row(f"check / sweep, {widths}", middle["check"] / middle["sweep"], "", 3))
        rows.append(Row(f"peak memory, {widths}", peak, "MB", 1000))
    return rows


# --- table ------------------------------------------------------------------------------------


def machine() -> str:
    """What the figures were measured on."""
    cpu = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    libraries = ", ".join(f"{name} {version(name)}" for name in ("numpy", "python-flint", "onnx"))
    return (f"{cpu}, {os.cpu_count()} cores seen, 1 thread used; Python "
            f"{platform.python_version()}, {libraries}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=MODELS, help="folder of the real networks")
    parser.add_argument("--repetitions", type=int, default=5, help="runs a figure")
    given = parser.parse_args()
    print(f"isoform {version('isoform')} on {machine()}")
    print(f"median of {given.repetitions}; 'scrambled': units permuted, scaled by powers of two\n")
    missed = 0
    for part in (start_up, scrambled_copies, collision_avoidance(given.models), stages):
        with tempfile.TemporaryDirectory() as folder:
            for row in part(given.repetitions, Path(folder)):
                print(row, flush=True)
                missed += row.target is not None and row.value >= row.target
    print(f"\n{missed} target(s) missed" if missed else "\nall targets met")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
