# SPDX-License-Identifier: Apache-2.0
"""Times of finding all activation regions: `python benchmarks/regions.py`.

Every network is searched in three ways on [-1, 1]^d: by splitting (exact, any network), by
subdivision (generic networks, up to five inputs), and by the plain loop over a persistent HiGHS
model in `regions_oracle.py`, the peer. The first two give the whole list of patterns, splitting
with a certified point in each region; all lists must be the same. A measurement is a process of its
own on one thread; compiling is left out, by a run on a small network beforehand. Seconds are those
of the processor, which other work on the machine disturbs less, the median of the repetitions
(fewer where one takes long). The peer is stopped after some seconds, and then compared by its
regions a second so far. Networks lie in `--bench DIR` or are random with the same distribution of
weights. No other program is run or compared with.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import networks
import river
from isoform.network.charts import Chart, charts
from isoform.network.domain import Box
from isoform.network.unit_layers import UnitLayers, unit_layers

HERE = Path(__file__).resolve()
BENCH = HERE.parents[2] / "shared" / "bench" / "regions"
KNOWN = {  # true counts, also by rational arithmetic for the smaller ones
    "degIdent_s0": 173, "degNobias_s0": 52, "degQuant_s0": 91, "2-32-32-1_s0": 1_254,
    "2-64-64-64-1_s0": 9_974, "3-32-32-1_s0": 21_980, "4-16-16-1_s0": 21_182,
    "6-12-12-1_s0": 55_992,
}
SCALED = ("2-128-128-128-1", "3-64-64-1", "4-32-32-1", "4-44-44-1")
LONG = {"10-16-16-1_s0": 30_062_351}  # by this search alone
PATIENCE = 40.0  # seconds of repetitions
RATIO, RATE = 20, 100_000  # targets: times the peer; regions a second for d <= 10, N <= 64

# --- in a process of its own --------------------------------------------------------------------


def layers_of(name: str, bench: Path) -> UnitLayers:
    """A network of the folder, or a random one of these widths."""
    if (bench / f"{name}.npz").is_file():
        from regions_oracle import read_layers

        return read_layers(bench / f"{name}.npz")
    widths = [int(n) for n in name.split("-")]
    return unit_layers(networks.network(networks.random_chain(widths, 0, np.float64)))


def splitting(chart: Chart, seconds: float) -> dict[str, Any]:
    from isoform.regions.compiled import compiled
    from isoform.regions.splitting import Node, explore

    return listed(explore(compiled(chart), Node(), record=False).patterns)


def recorded(chart: Chart, seconds: float) -> dict[str, Any]:
    """With the token stream that a certificate needs."""
    from isoform.regions.compiled import compiled
    from isoform.regions.splitting import Node, explore

    return listed(explore(compiled(chart), Node()).patterns)


def counting(chart: Chart, seconds: float) -> dict[str, Any]:
    """Splitting without keeping the list."""
    from isoform.regions.compiled import compiled
    from isoform.regions.splitting import Node, explore

    prepared, waiting, count = compiled(chart), [Node()], 0
    while waiting:
        part = explore(prepared, waiting.pop(), most=4096, record=False)
        count += len(part.patterns)
        waiting += reversed(part.children)
    return {"count": count}


def subdivision(chart: Chart, seconds: float) -> dict[str, Any]:
    from isoform.regions.subdivision import NotGeneric, subdivide
    from isoform.regions.subdivision_cells import cells

    if chart.dimension > 5:
        return {"why": f"{chart.dimension} inputs"}
    found = subdivide(chart)
    if isinstance(found, NotGeneric):
        return {"why": "not generic"}
    return listed(cells(found).patterns)


def oracle(chart: Chart, seconds: float) -> dict[str, Any]:
    from regions_oracle import patterns

    found, programs, complete = patterns(chart.layers, seconds=seconds)
    made = listed(found) if complete else {"count": len(found)}
    return {**made, "programs": programs}


def estimating(chart: Chart, seconds: float) -> dict[str, Any]:
    from isoform.regions.compiled import compiled
    from isoform.regions.estimate import estimate_regions

    found = estimate_regions(compiled(chart), seconds=seconds)
    return {"count": found.regions, "low": found.low, "high": found.high, "exact": found.exact}


METHODS: dict[str, Callable[[Chart, float], dict[str, Any]]] = {
    method.__name__: method
    for method in (splitting, recorded, counting, subdivision, oracle, estimating)
}


def listed(patterns: np.ndarray) -> dict[str, Any]:
    """What tells a list of regions from another: compared outside the measured time."""
    return {"count": len(patterns), "patterns": patterns}


def digest(patterns: np.ndarray) -> str:
    rows = np.ascontiguousarray(patterns)
    order = np.unique(rows.view(f"V{rows.shape[1]}").ravel())
    return hashlib.sha256(order.tobytes()).hexdigest() + f" {len(order)}"


def measured(method: str, name: str, bench: Path, repetitions: int, seconds: float) -> None:
    """Print the measurement as JSON: median seconds, memory that the run added, what was found."""
    run = METHODS[method]
    (small,) = charts(layers_of("2-12-9-1", bench), Box(-1, 1))
    run(small, 0.5)
    (chart,) = charts(layers_of(name, bench), Box(-1, 1))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    taken: list[float] = []
    while len(taken) < repetitions and (not taken or sum(taken) + taken[-1] < PATIENCE):
        started = time.process_time()
        found = run(chart, seconds)
        taken.append(time.process_time() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if "patterns" in found:
        found["digest"] = digest(found.pop("patterns"))
    found |= {"seconds": statistics.median(taken), "repetitions": len(taken)}
    found |= {"megabytes": (peak - before) / 1024}
    print(json.dumps(found))


# --- the table ----------------------------------------------------------------------------------


def measure(method: str, name: str, given: argparse.Namespace) -> dict[str, Any]:
    command = [
        sys.executable, str(HERE), "--one", method, name, "--bench", str(given.bench),
        "--repetitions", str(given.repetitions), "--peer-seconds", str(given.peer_seconds),
    ]
    done = subprocess.run(
        command, env=river.ENVIRONMENT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\nexit {done.returncode}\n{done.stderr}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def row(name: str, given: argparse.Namespace) -> tuple[str, list[str]]:
    """A line of the table, and what is wrong with it."""
    found = {m: measure(m, name, given) for m in ("splitting", "recorded", "subdivision", "oracle")}
    main, peer = found["splitting"], found["oracle"]
    count, rate = main["count"], main["count"] / main["seconds"]
    ratio = rate / (peer["count"] / peer["seconds"])
    wrong = []
    if KNOWN.get(name, count) != count:
        wrong.append(f"{name}: {count:,} regions, not {KNOWN[name]:,}")
    lists = {m: f["digest"] for m, f in found.items() if "digest" in f}
    if len(set(lists.values())) > 1:
        wrong.append(f"{name}: the lists differ: {lists}")
    if ratio < RATIO and count > 1000:  # the smallest are over before they have begun
        wrong.append(f"{name}: {ratio:.0f} times the peer, target {RATIO}")
    sizes = [int(n) for n in name.removesuffix("_s0").split("-") if n.isdigit()]
    if sizes and sizes[0] <= 10 and sum(sizes[1:-1]) <= 64 and rate < RATE and count > 1000:
        wrong.append(f"{name}: {rate:,.0f} regions a second, target {RATE:,}")
    other = found["subdivision"]
    cut = other.get("why") or f"{other['seconds']:.3f}"
    capped = "" if "digest" in peer else "+"
    line = (
        f"{name:<17}{count:>10,}{main['seconds']:>10.3f}{rate:>11,.0f}"
        f"{found['recorded']['seconds']:>10.3f}{main['megabytes']:>7.0f}{cut:>13}"
        f"{other['megabytes']:>7.0f}{peer['seconds']:>9.2f}{capped:<1}{ratio:>7.0f}x"
    )
    return line, wrong


def estimates(names: list[str], given: argparse.Namespace) -> None:
    """Predictions of the larger counts, in the default time."""
    print("\nestimates, one each: network, estimate, 95 % interval, seconds")
    quick = argparse.Namespace(bench=given.bench, repetitions=1, peer_seconds=10.0)
    for name in names:
        found = measure("estimating", name, quick)
        print(f"{name:<17}{found['count']:>12,}{found['low']:>14,} to {found['high']:>12,}"
              f"{found['seconds']:>8.1f}{'  counted' if found['exact'] else ''}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bench", type=Path, default=BENCH, help="folder of the networks")
    parser.add_argument("--repetitions", type=int, default=5, help="runs a figure")
    parser.add_argument("--peer-seconds", type=float, default=20.0, help="time for the peer")
    parser.add_argument("--only", nargs="*", help="names of networks")
    parser.add_argument("--long", action="store_true", help="count the networks of minutes too")
    parser.add_argument("--one", nargs=2, metavar=("METHOD", "NETWORK"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        measured(*given.one, given.bench, given.repetitions, given.peer_seconds)
        return
    print(f"isoform {version('isoform')} on {river.machine()}, highspy {version('highspy')}; "
          f"load {os.getloadavg()[0]:.1f} at the start")
    present = [name for name in KNOWN if (given.bench / f"{name}.npz").is_file()]
    if len(present) < len(KNOWN):
        print(f"(left out: {', '.join(KNOWN.keys() - set(present))}, not in {given.bench})")
    print(f"median of {given.repetitions}; list: with a point in each region; tokens: with the "
          "stream for a certificate;\n+: stopped, ratio by regions a second\n")
    print(f"{'network':<17}{'regions':>10}{'list, s':>10}{'regions/s':>11}{'tokens, s':>10}"
          f"{'MB':>7}{'subdivide, s':>13}{'MB':>7}{'peer, s':>9} {'ratio':>8}")
    wrong = []
    names = given.only or [*present, *SCALED]
    for name in names:
        line, found = row(name, given)
        print(line, flush=True)
        wrong += found
    if not given.only:
        estimates([*SCALED[1:], *LONG], given)
    if given.long:
        for name in LONG:
            found_long = measure("counting", name, given)
            print(f"{name:<17}{found_long['count']:>12,} counted in {found_long['seconds']:.0f} s")
            if found_long["count"] != LONG[name]:
                wrong.append(f"{name}: {found_long['count']:,} regions, not {LONG[name]:,}")
    print("\n" + ("\n".join(wrong) if wrong else "all counts agree, all targets met"))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
