# SPDX-License-Identifier: Apache-2.0
"""`isoform convert`: plan, run, write, prove, replay."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import rich_click as click

from isoform.cli.output import (
    DOMAINS,
    DONE,
    STATUS,
    Batch,
    batch_option,
    common,
    delivery_record,
    emit,
    model_record,
    note,
    verdict_record,
)

if TYPE_CHECKING:
    from isoform.api import Conversion, Delivery, Plan

UNPROVED = """
  ************************************************************
  *  NOT PROVED. The file was written without a certificate. *
  ************************************************************"""


@click.command(epilog=f"{DOMAINS} `isoform atlas` lists every FORM and CONVERTER. "
               "Example: isoform convert policy.onnx --to feed-forward --on box:-1,1 -o out.onnx")
@click.argument("model")
@click.option("--to", metavar="FORM", help="The architecture class that is wanted.")
@click.option("--by", metavar="CONVERTER", help="One rewriting, by its name.")
@click.option("--on", metavar="DOMAIN", default="everywhere", show_default=True,
              help="Where the function has to stay the same.")
@click.option("--horizon", type=click.IntRange(min=1), metavar="T",
              help="Number of steps of a recurrence.")
@click.option("--within", metavar="EPS", help="The difference that is allowed, and claimed.")
@click.option("--exact", is_flag=True, default=False,
              help="Write numbers that fit no float as sums of floats: the file itself is equal.")
@click.option("--dtype", type=click.Choice(["float32", "float64"]),
              help="Floats of the file; by default those of the source.")
@click.option("--limit", "limits", multiple=True, metavar="FIGURE=N",
              help="Largest result: units, parameters, nonzeros, bytes (default bytes=512e6).")
@click.option("--option", "options", multiple=True, metavar="KEY=VALUE",
              help="An option of a converter.")
@click.option("-o", "output", metavar="OUT", help="The file to write: .onnx, or .npz (lossless).")
@click.option("--certificate", metavar="FILE", help="Where to; by default beside the file.")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="S",
              help="Seconds for the search of a counterexample.")
@click.option("--no-prove", is_flag=True, help="Write the file without a proof.")
@click.option("--dry-run", is_flag=True, help="Print the plan and stop.")
@batch_option
@common
def convert(
    model: str, to: str | None, by: str | None, on: str, horizon: int | None, within: str | None,
    exact: bool, dtype: str | None, limits: tuple[str, ...], options: tuple[str, ...],
    output: str | None, certificate: str | None, timeout: float | None, no_prove: bool,
    dry_run: bool, batch: Batch, as_json: bool, debug: bool,
) -> int:
    """Rewrite MODEL into another form, and prove the function unchanged."""
    from isoform import api
    from isoform.cli.progress import Progress

    if (to is None) == (by is None):
        raise click.UsageError("say where to go: either --to FORM or --by CONVERTER")
    eps = None if within is None else api.epsilon(within)
    given: dict[str, Any] = pairs(options, "--option")
    if horizon is not None:
        given["horizon"] = horizon
    source = api.read(model, batch=batch)
    if output is not None:
        api.check_destination(output, source)
    if certificate is not None:
        api.check_certificate_path(certificate)
    with Progress() as progress:
        plan = api.plan(source, to=to, by=by, on=on, limit=limit_of(limits), options=given,
                        within=eps, reporter=progress)
        if not as_json:
            print(f"{plan}\n")
        if dry_run:
            emit(plan_record(plan), "nothing was computed (--dry-run)", as_json)
            return DONE
        made = api.convert(source, plan, reporter=progress)
        if output is None:
            return unwritten(made, eps, certificate, timeout, no_prove, as_json, progress)
        delivery = api.deliver(
            made, output, exact=exact or None, dtype=dtype, within=eps, proving=not no_prove,
            timeout=timeout, certificate=certificate, reporter=progress,
        )
    return written(delivery, as_json)


def pairs(texts: tuple[str, ...], what: str) -> dict[str, Any]:
    """KEY=VALUE texts, also several in one with commas."""
    found = {}
    for text in (part for each in texts for part in each.split(",")):
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise click.UsageError(f"{what} {text}: write KEY=VALUE")
        found[key.strip()] = value.strip()
    return found


def limit_of(texts: tuple[str, ...]) -> Any:
    """A Limit; `none` takes a bound away."""
    from isoform.network.size import Limit

    bounds: dict[str, int | None] = {}
    for key, value in pairs(texts, "--limit").items():
        if key not in ("units", "parameters", "nonzeros", "bytes"):
            raise click.UsageError(
                f"--limit {key}: choose units, parameters, nonzeros or bytes"
            )
        try:
            bounds[key] = None if value == "none" else int(float(value))
        except (ValueError, OverflowError):
            raise click.UsageError(
                f"--limit {key}={value}: no number; `none` takes the bound away"
            ) from None
        if (bounds[key] or 0) < 0:
            raise click.UsageError(f"--limit {key}={value}: give 0 or more")
    return Limit(**bounds)


def plan_record(plan: Plan) -> dict[str, Any]:
    """The plan as JSON."""
    steps = [
        {"converter": step.converter.name, "promise": step.converter.promise.value,
         "prediction": None if step.prediction is None else {
             "kind": type(step.prediction).__name__, **step.prediction.size.as_dict()}}
        for step in plan.steps
    ]
    return {"to": plan.name, "domain": repr(plan.domain), "promise": plan.promise.value,
            "source": model_record(plan.model), "plan": steps,
            "rejected": dict(plan.rejected)}


def conversion_record(made: Conversion) -> dict[str, Any]:
    """What was run."""
    trace = [
        {"converter": done.step.converter.name, "seconds": round(done.seconds, 3),
         "spot_points": done.spot.points, "notes": list(done.notes), "details": list(done.details),
         **done.size.as_dict()}
        for done in made.trace
    ]
    return plan_record(made.plan) | {"trace": trace}


def unwritten(
    made: Conversion, eps: Fraction | None, certificate: str | None, timeout: float | None,
    no_prove: bool, as_json: bool, progress: Any,
) -> int:
    """Prove the exact result; nothing is written without -o."""
    from isoform import api
    from isoform.report.tables import size_table, verdict_name, verdict_rows
    from isoform.text import columns

    target = api.read(made)
    verdict = None
    if not no_prove:
        verdict = api.prove_exact(made, within=eps, timeout=timeout, reporter=progress)
    held = None if verdict is None else api.certificate_of(verdict)
    if certificate is not None and held is not None:
        api.save(held, certificate)
    record = conversion_record(made) | verdict_record(verdict) | {
        "target": model_record(target), "output": None, "deviation": None,
        "certificate": certificate if held is not None else None,
    }
    text = size_table((made.model.form_name or "network", made.model.size),
                      (api.name_of(made.form), made.size))
    rows = api.step_rows(made) + ([] if verdict is None else verdict_rows(verdict))
    if held is not None and certificate is not None:
        rows.append(("certificate", certificate))
    if rows:
        text += "\n\n" + columns(rows, indent=0)
    emit(record, text, as_json)
    note("no file was written; give -o OUT.onnx")
    return DONE if verdict is None else STATUS[verdict_name(verdict)]


def written(delivery: Delivery, as_json: bool) -> int:
    """Print what was written and what is known of it."""
    from isoform.report.tables import verdict_name

    made = delivery.conversion
    record = (
        conversion_record(made) | verdict_record(delivery.verdict) | delivery_record(delivery)
        | {"target": model_record(delivery.written) | {"path": str(delivery.path)}}
    )
    emit(record, str(delivery), as_json)
    if delivery.verdict is None:
        return DONE
    code = STATUS[verdict_name(delivery.verdict)]
    if code:
        note(UNPROVED)
    return code
