# SPDX-License-Identifier: Apache-2.0
"""The prover's verdicts on random tiny pairs, judged by exact enumeration: in `benchmarks`,

    python -m equivalence.judge --pairs 10000 --seed 0 --timeout 2 --workers 2

counts what was proved, refuted and left open, by what is true. A verdict against the truth, a lower
or upper value on the wrong side of it, a certificate or witness that does not hold, a checker that
takes the same evidence for a false claim, and a crash are printed with the words that ask the same
question again. Exit status 1 where there is any.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import isoform as iso
from equivalence.exact_truth import TinyNet
from equivalence.tiny_pairs import Asking, Place, TinyQuestion, copied, question, violated
from equivalence.warm_up import compile_kernels
from isoform.certificate.certificate import Certificate, load, save
from isoform.network.linear_map import Dense
from isoform.network.network import Builder, Network
from isoform.network.operators import Relu
from isoform.network.primitive import to_primitive

ANSWERS = ("Proved", "Refuted", "Undecided", "refusal", "crash")


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was answered to a question, how long it took, and what is wrong with it."""

    number: int
    kind: str
    true: bool
    answer: str
    seconds: float
    wrong: tuple[str, ...] = field(default=())
    reason: str = ""  # of an open question, or of a refusal


def network(net: TinyNet) -> Network:
    """The same network as isoform holds it, with exact weights."""
    build = Builder((len(net[0].weight[0]),))
    value = 0
    for layer in net:
        value = build.linear(Dense(iso.Exact.of(layer.weight)), value, iso.Exact.of(layer.bias))
        if layer.relu:
            value = build.add(Relu(), (value,), len(layer.bias))
    return build.build(value)


def domain(place: Place) -> iso.Box | iso.Polytope | iso.Union | iso.FiniteSet:
    if place.points:
        return iso.FiniteSet([list(point) for point in place.points])
    boxes = [iso.Box(iso.Exact.of(low), iso.Exact.of(high)) for low, high in place.boxes]
    if len(boxes) > 1:
        return iso.Union(tuple(boxes))
    if not place.rows:
        return boxes[0]
    return iso.Polytope(iso.Exact.of([a for a, _ in place.rows]),
                        iso.Exact.of([b for _, b in place.rows]), boxes[0])


def relation(asking: Asking) -> dict[str, object]:
    """The arguments of `isoform.prove`."""
    if asking.kind == "equal":
        return {}
    if asking.kind == "decision":
        return {"same_decision": asking.eps[0] or True}
    return {"within": asking.eps if asking.kind == "each" else asking.eps[0]}


def judged(number: int, seed: int, timeout: float) -> Judgement:
    """One question, put to the prover and compared with the truth."""
    asked, reason = question(seed, number), ""
    started = time.perf_counter()
    try:
        verdict = iso.prove(
            network(asked.target), equal_to=network(asked.source), on=domain(asked.place),
            timeout=timeout, **relation(asked.asking),
        )
        seconds = time.perf_counter() - started
        answer, wrong = type(verdict).__name__, tuple(faults(asked, verdict))
        reason = getattr(verdict, "reason", "")
    except iso.IsoformError as error:
        seconds, answer, wrong = time.perf_counter() - started, "refusal", ()
        reason = str(error)
        if not isinstance(error, iso.Refused | iso.TooLarge):
            wrong = (f"{type(error).__name__}: {error}",)
    except Exception:
        seconds, answer = time.perf_counter() - started, "crash"
        wrong = (traceback.format_exc(limit=-3),)
    return Judgement(number, asked.asking.kind, asked.true, answer, seconds, wrong, reason)


def faults(asked: TinyQuestion, verdict: iso.Proved | iso.Refuted | iso.Undecided) -> Iterator[str]:
    """Everything that a verdict says and that is not so."""
    if isinstance(verdict, iso.Proved):
        if not asked.true:
            yield "WRONG: proved, and false"
        if not iso.check(reread(verdict.certificate)).holds:
            yield "the certificate does not say that the claim holds"
        yield from accepted_forgeries(asked, verdict.certificate)
    if isinstance(verdict, iso.Refuted):
        if asked.true:
            yield "WRONG: refuted, and true"
        point = verdict.witness.point.fractions()
        if not violated(asked.asking, asked.source, asked.target, point):
            yield f"the witness {list(map(str, point))} contradicts nothing"
        if iso.check(reread(verdict.certificate)).holds:
            yield "the certificate of a refutation says that the claim holds"
    if isinstance(verdict, iso.Proved) and asked.asking.kind == "decision":
        return  # its numbers are about differences, not about margins
    if verdict.lower > asked.largest:
        yield f"lower value {verdict.lower} above the truth {asked.largest}"
    if verdict.upper is not None and verdict.upper < asked.largest:
        yield f"upper value {verdict.upper} below the truth {asked.largest}"


def reread(certificate: Certificate) -> Certificate:
    """The certificate after a way through its file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c.json"
        save(certificate, path)
        return load(path)


def accepted_forgeries(asked: TinyQuestion, certificate: Certificate) -> Iterator[str]:
    """False claims that the checker accepts with the evidence of a true one: there must be none."""
    for what, forged in forgeries(asked, certificate):
        try:
            if iso.check(forged).holds:
                yield f"WRONG: the checker accepts {what}"
        except iso.CertificateRejected:
            continue


def forgeries(asked: TinyQuestion, certificate: Certificate) -> Iterator[tuple[str, Certificate]]:
    """The evidence with a claim just below the truth, and with another target."""
    claim, largest = certificate.claim, asked.largest
    step = 1 - Fraction(1, 2 ** random.Random(str(asked.asking)).choice([2, 10, 30]))
    if largest > 0:
        below = iso.SameDecision if asked.asking.kind == "decision" else iso.Within
        relation = below(largest * step)
        yield f"{relation}", replace(certificate, claim=replace(claim, relation=relation))
        if below is iso.Within:
            yield "equal", replace(certificate, claim=replace(claim, relation=iso.Equal()))
    if asked.asking.kind != "decision":
        allowed = max(asked.asking.eps, default=Fraction(0))
        moved = copied(asked.target)
        moved[-1].bias[0] += (largest + allowed) * Fraction(17, 16) + Fraction(1, 2**20)
        other = to_primitive(network(moved))
        yield "another target", replace(certificate, target=other)


def judgements(
    numbers: Iterable[int], seed: int, timeout: float, workers: int = 1
) -> Iterator[Judgement]:
    ask = partial(judged, seed=seed, timeout=timeout)
    if workers == 1:
        yield from map(ask, numbers)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(ask, numbers, chunksize=8)


def table(found: list[Judgement]) -> str:
    """Answers by relation and truth."""
    counts = Counter((one.kind, one.true, one.answer) for one in found)
    lines = [f"{'relation':<10}{'truth':<8}" + "".join(f"{name.lower():>11}" for name in ANSWERS)]
    for kind, true in sorted({(one.kind, one.true) for one in found}):
        numbers = "".join(f"{counts[kind, true, name]:>11,}" for name in ANSWERS)
        lines.append(f"{kind:<10}{'holds' if true else 'fails':<8}{numbers}")
    return "\n".join(lines)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--pairs", type=int, default=10_000)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--timeout", type=float, default=2.0, help="seconds a question")
    options.add_argument("--only", type=int, help="the number of one question")
    options.add_argument("--workers", type=int, default=1)
    options.add_argument("--open", action="store_true", help="list what was left open, and why")
    given = options.parse_args()
    compile_kernels()
    numbers = range(given.pairs) if given.only is None else [given.only]
    if given.only is not None:
        print(question(given.seed, given.only))
    found: list[Judgement] = []
    for one in judgements(numbers, given.seed, given.timeout, given.workers):
        found.append(one)
        for what in one.wrong:
            print(f"question {one.number} ({one.kind}, {'holds' if one.true else 'fails'}): {what}"
                  f"\n  python -m equivalence.judge --seed {given.seed} --only {one.number} "
                  f"--timeout {given.timeout:g}", flush=True)
        if given.open and one.answer in ("Undecided", "refusal"):
            print(f"question {one.number} ({one.kind}, {'holds' if one.true else 'fails'}) is open "
                  f"after {one.seconds:.2f} s: {one.reason}", flush=True)
        if len(found) % 500 == 0:
            print(f"{len(found):,} questions", file=sys.stderr, flush=True)
    times = sorted(one.seconds for one in found)
    wrong = sum(bool(one.wrong) for one in found)
    print(table(found))
    print(f"{len(found):,} questions, {wrong} wrong; median {times[len(times) // 2]:.3f} s, "
          f"largest {times[-1]:.2f} s, sum {sum(times):.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    sys.exit(main())
