# SPDX-License-Identifier: Apache-2.0
"""`isoform regions`: the linear regions of a model on a domain."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import rich_click as click

from isoform.cli.output import (
    DOMAINS,
    DONE,
    INTERRUPTED,
    UNDECIDED,
    Batch,
    batch_option,
    common,
    emit,
    note,
)
from isoform.errors import Refused

if TYPE_CHECKING:
    from isoform.api import LinearRegions, Model, Piecewise
    from isoform.network.domain import Domain

EXAMPLE = "Example: isoform regions policy.onnx --on box:-1,1 -o regions.png"
QUESTIONS = {  # and the options that each goes with
    "--count": {"--budget", "--workers", "--cluster", "--audit", "--no-prove"},
    "--estimate": {"--budget"}, "--at": set(), "--along": set(),
}


@click.command(epilog=f"{DOMAINS} {EXAMPLE}")
@click.argument("model")
@click.option("--on", metavar="DOMAIN", required=True,
              help="Where; with --slice, a domain of the slice's coordinates.")
@click.option("--slice", "slice_through", metavar="A.npy,B.npy,...",
              help="The slice through these points: 0 at the first, unit vectors at the others.")
@click.option("--kind", type=click.Choice(["activation", "connected", "affine"]),
              default="activation", show_default=True, help="Which regions are counted.")
@click.option("--count", is_flag=True, help="The number alone: no list, little memory.")
@click.option("--audit", type=click.FloatRange(0, 1), default=0.0, metavar="SHARE",
              help="With --count: re-derive this share of the search's subtrees exactly.")
@click.option("--estimate", is_flag=True, help="Predict the number by sampling, with an interval.")
@click.option("--at", metavar="X,Y,...|FILE.npy",
              help="Describe the region of one point; nothing is enumerated.")
@click.option("--along", metavar="A.npy,B.npy|X,.../X,...",
              help="The regions that a segment meets; nothing is enumerated.")
@click.option("--store", metavar="FILE", help="Keep the regions there, and go on from there.")
@click.option("--budget", "budgets", metavar="K=V", multiple=True,
              help="Stop after regions=N, seconds=S or bytes=N; may be given several times.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N",
              help="Processes; all cores by default, where the search takes over a second.")
@click.option("--cluster", metavar="ADDRESS", help="A Dask scheduler that lends its workers.")
@click.option("--certificate", metavar="FILE", help="Where to write the certificate of the count.")
@click.option("--no-prove", is_flag=True, help="Do not let the checker re-derive the count.")
@click.option("-o", "output", metavar="FILE",
              help=".png: a picture (two inputs or a plane slice); .npz, .parquet: the list.")
@click.option("--seed", type=int, default=0, show_default=True,
              help="Of what --estimate and --audit choose.")
@batch_option
@common
def regions(
    model: str, on: str, slice_through: str | None, kind: str, count: bool, audit: float,
    estimate: bool, at: str | None, along: str | None, store: str | None,
    budgets: tuple[str, ...], workers: int | None, cluster: str | None, certificate: str | None,
    no_prove: bool, output: str | None, seed: int, batch: Batch, as_json: bool, debug: bool,
) -> int:
    """Count, list and certify the linear regions of MODEL on DOMAIN.

    Exit status 0: all regions were found; 2: a budget ran out, and the number is a lower bound;
    130: interrupted by Ctrl-C, likewise.
    """
    from isoform import api

    check_options(
        {"--count": count, "--estimate": estimate, "--at": at, "--along": along},
        {"--kind": kind != "activation", "--audit": audit, "--store": store, "--budget": budgets,
         "--workers": workers, "--cluster": cluster, "--certificate": certificate,
         "--no-prove": no_prove, "-o": output},
    )
    limits = budget(budgets)
    if estimate and limits.keys() - {"seconds"}:
        raise click.UsageError("--estimate takes --budget seconds=S and no other")
    if certificate is not None:
        api.check_certificate_path(certificate)
    domain = api.domain(on)
    through = None if slice_through is None else api.points_of(slice_through.split(","))
    held = api.read(model, batch=batch)
    if estimate:
        return predict(held, domain, through, limits.get("seconds", 10.0), seed, as_json)
    if at is not None or along is not None:
        return describe(api.piecewise(held, domain, through), at, along, as_json)
    if output is not None:
        api.check_region_output(output, api.piecewise(held, domain, through))
    from isoform.cli.progress import Progress

    with Progress() as progress:
        found = api.regions(
            held, on=domain, slice_through=through, kind=kind, listed=not count, audit=audit,
            seed=seed, store=store, budget=limits, workers=workers, cluster=cluster,
            prove=False if no_prove else True if certificate is not None else None,
            progress=progress.regions,
        )
    deliver(found, certificate, output, store, as_json)
    if found.complete:
        return DONE
    more = "the same command goes on" if store else "with --store FILE it could go on"
    more = "a bare count begins anew" if count else more
    note(f"stopped: {found.found.stopped}; what was found is a lower bound; {more}")
    return INTERRUPTED if found.found.stopped == "interrupted" else UNDECIDED


@contextmanager
def patience() -> Iterator[None]:
    """Says on a terminal where everything has to be compiled first."""
    from isoform import api
    from isoform.cli.progress import Progress

    with Progress() as progress:
        if not api.kernels_are_kept():
            progress.say("compiling the search (once)", long=True)
        yield


def check_options(questions: dict[str, object], options: dict[str, object]) -> None:
    """UsageError for what does not go together."""
    asked = [name for name, given in questions.items() if given not in (None, False)]
    given = [name for name, value in options.items() if value not in (None, False, (), 0.0)]
    if len(asked) > 1:
        raise click.UsageError(f"{asked[0]} and {asked[1]} exclude each other")
    for name in given if asked else ():
        if name not in QUESTIONS[asked[0]]:
            raise click.UsageError(f"{asked[0]} and {name} exclude each other")
    if "--audit" in given and not asked:
        raise click.UsageError("--audit goes with --count")
    for one, other in (("--certificate", "--no-prove"), ("--workers", "--cluster")):
        if one in given and other in given:
            raise click.UsageError(f"{one} and {other} exclude each other")


def describe(of: Piecewise, at: str | None, along: str | None, as_json: bool) -> int:
    """One region, or those that a segment meets."""
    from isoform import api
    from isoform.report import region_tables

    if at is not None:
        with patience():
            region = api.region_at(of, api.point_of(at))
        text = region_tables.region_text(of, at, region)
        emit(region_tables.region_record(of, region), text, as_json)
        return DONE
    if along is not None:
        with patience():
            segment = api.regions_along(of, *api.ends_of(along))
        text = region_tables.segment_text(of, along, segment)
        emit(region_tables.segment_record(of, segment), text, as_json)
    return DONE


def predict(
    held: Model, on: Domain, through: Any, seconds: float, seed: int, as_json: bool
) -> int:
    """The estimate."""
    from isoform import api
    from isoform.report.region_tables import estimate_record, estimate_text

    with patience():
        of, found = api.estimate_regions(
            held, on=on, slice_through=through, seconds=seconds, seed=seed
        )
    emit(estimate_record(of, found), estimate_text(of, found), as_json)
    return DONE


def deliver(
    found: LinearRegions, certificate: str | None, output: str | None, store: str | None,
    as_json: bool,
) -> None:
    """What is to be written of the regions, and what is printed."""
    from isoform import api
    from isoform.report.region_tables import regions_record, regions_text

    written = []
    if output is not None:
        found.save(output)
        written.append(("written", output))
    if certificate is not None and found.certificate is not None:
        api.save(found.certificate, certificate)
        written.append(("certificate", certificate))
    record = regions_record(found) | {
        "certificate": certificate, "output": output, "store": store,
    }
    emit(record, regions_text(found, written), as_json)


def budget(given: tuple[str, ...]) -> dict[str, float]:
    """`regions=1e6` and the like."""
    limits: dict[str, float] = {}
    for entry in given:
        name, _, value = entry.partition("=")
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        least = 0 if name == "seconds" else 1
        if name not in ("regions", "seconds", "bytes") or not least <= number < 1e18 or not number:
            raise Refused(
                f"--budget {entry}: give regions=N, seconds=S or bytes=N with a positive number"
            )
        limits[name] = number if name == "seconds" else int(number)
    return limits
