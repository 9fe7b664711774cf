# SPDX-License-Identifier: Apache-2.0
"""The equivalence benchmark: in `benchmarks`,

    python -m equivalence.run --families A,B,C,D,E --timeout 60

asks every query of `families` through `isoform.prove`, in this process, on one thread, after a
first proof that loads and compiles what is loaded and compiled once. For each it prints the
verdict, lower and upper value, the seconds of `prove`, the bytes of the certificate's file and the
seconds in which `isoform.check` reads and accepts that file. `proved ?` is expected and not known:
eps is twice a sampled maximum. A verdict that contradicts what is known is marked WRONG and the
exit status is 1. isoform only: no other program is run or compared with.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
os.environ |= {name: "1" for name in THREADS}  # before numpy is loaded

import isoform as iso  # noqa: E402
import networks  # noqa: E402
from equivalence import families  # noqa: E402
from equivalence.families import FAMILIES, MODELS, Query  # noqa: E402
from equivalence.warm_up import warm_up  # noqa: E402
from isoform import api  # noqa: E402


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the table. bytes, check_seconds: None without a certificate."""

    family: str
    query: str
    claim: str
    expected: str
    sure: bool
    verdict: str
    lower: float | None
    upper: float | None
    seconds: float
    bytes: int | None
    check_seconds: float | None
    note: str = ""

    @property
    def wrong(self) -> bool:
        """Against what is known; a crash is wrong too."""
        if self.verdict == "crash" or self.note:
            return True
        return self.sure and self.verdict in ("proved", "refuted") and self.verdict != self.expected

    @property
    def reached(self) -> bool:
        return self.verdict == self.expected

    def __str__(self) -> str:
        def number(value: float | None, form: str) -> str:
            return "-" if value is None else format(value, form)

        expected = self.expected + ("" if self.sure else " ?")
        flag = " WRONG" if self.wrong else ""
        return (f"{self.family} {self.query:<46.46} {self.claim:<16.16} {expected:<9} "
                f"{self.verdict:<9} {number(self.lower, '.3e'):>9} {number(self.upper, '.3e'):>9} "
                f"{self.seconds:>8.3f} {number(self.bytes, ','):>11} "
                f"{number(self.check_seconds, '.3f'):>8}{flag}")


HEADER = (f"{'query':<48} {'claim':<16} {'expected':<9} {'verdict':<9} {'lower':>9} {'upper':>9} "
          f"{'seconds':>8} {'bytes':>11} {'check s':>8}")


def timed(action: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    result = action()
    return result, time.perf_counter() - started


def measured(query: Query, timeout: float, grade: str, folder: Path) -> Result:
    """Ask one query, save the certificate and check its file."""
    source, target = networks.network(query.source), networks.network(query.target)
    asked = {"family": query.family, "query": query.name, "claim": query.claim,
             "expected": query.expected, "sure": query.sure}
    started = time.perf_counter()
    try:
        verdict = iso.prove(target, equal_to=source, on=query.box, timeout=timeout, **query.asked)
        seconds = time.perf_counter() - started
    except Exception:
        traceback.print_exc()
        return Result(**asked, verdict="crash", lower=None, upper=None, check_seconds=None,
                      seconds=time.perf_counter() - started, bytes=None)
    size = check_seconds = None
    note = ""
    held = api.certificate_of(verdict)
    if held is not None:
        path = folder / "certificate.json"
        api.save(held, path)
        size = path.stat().st_size
        try:
            accepted, check_seconds = timed(lambda: iso.check(path, grade=grade))
            if accepted.holds != isinstance(verdict, iso.Proved):
                note = "the certificate says otherwise"
        except iso.CertificateRejected as error:
            note = f"the checker rejects: {error}"
    upper = verdict.upper
    return Result(**asked, verdict=type(verdict).__name__.lower(), lower=float(verdict.lower),
                  upper=None if upper is None else float(upper), seconds=seconds, bytes=size,
                  check_seconds=check_seconds, note=note)


def machine() -> str:
    model = next((line.partition(":")[2].strip() for line in cpu_lines() if "model name" in line),
                 platform.processor() or platform.machine())
    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "python-flint", "numba"))
    return (f"isoform {iso.__version__} on {model}, {os.cpu_count()} cores seen, 1 thread used; "
            f"Python {platform.python_version()}, {packages}")


def cpu_lines() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def queries(names: str, models: Path, words: str) -> Iterator[Query]:
    """Of the families, those whose name has all the words; without the real networks, no E."""
    for name in names.split(","):
        if name == "E" and not (models / families.ACAS.format("1_1")).is_file():
            print(f"family E is left out: no real networks in {models}", file=sys.stderr)
            continue
        for query in FAMILIES[name](models):
            if all(word in f"{query.name} {query.claim}" for word in words.split()):
                yield query


def summary(found: list[Result]) -> str:
    """Counts, and the whole time."""
    sure = [one for one in found if one.sure]
    likely = [one for one in found if not one.sure]
    counts = Counter(one.verdict for one in found)
    return (
        f"{len(found)} queries: " + ", ".join(f"{n} {name}" for name, n in sorted(counts.items()))
        + f"; {sum(one.wrong for one in found)} WRONG; "
        f"{sum(one.reached for one in sure)} of {len(sure)} known and "
        f"{sum(one.reached for one in likely)} of {len(likely)} likely answers reached; "
        f"{sum(one.seconds for one in found):.1f} s proving, "
        f"{sum(one.check_seconds or 0 for one in found):.1f} s checking"
    )


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--families", default="A,B,C,D,E")
    options.add_argument("--only", default="", help="words that the name of a query has")
    options.add_argument("--timeout", type=float, default=60.0, help="seconds a query")
    options.add_argument("--grade", default="exact", help="the least grade that the check accepts")
    options.add_argument("--models", type=Path, default=MODELS, help="folder of real networks")
    options.add_argument("--json", action="store_true", help="one object on standard output")
    given = options.parse_args()
    warm_up()
    if not given.json:
        print(f"{machine()}\ntimeout {given.timeout:g} s a query, grade {given.grade}\n\n{HEADER}")
    found: list[Result] = []
    with tempfile.TemporaryDirectory() as folder:
        for query in queries(given.families, given.models, given.only):
            found.append(measured(query, given.timeout, given.grade, Path(folder)))
            if not given.json:
                print(found[-1], flush=True)
                if found[-1].note:
                    print(f"  {found[-1].note}", flush=True)
    if given.json:
        print(json.dumps({"machine": machine(), "timeout": given.timeout, "grade": given.grade,
                          "results": [asdict(one) | {"wrong": one.wrong} for one in found]},
                         indent=2))
    else:
        print(f"\n{summary(found)}")
    return int(any(one.wrong for one in found))


if __name__ == "__main__":
    sys.exit(main())
