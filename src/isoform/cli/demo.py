# SPDX-License-Identifier: Apache-2.0
"""`isoform demo`: trained networks, rewritten and proved unchanged, and one false claim refuted."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rich_click as click

from isoform.cli.output import DONE, REJECTED, common, emit, verdict_record

MODELS = Path(__file__).parent / "demo_models"


@dataclass(frozen=True, slots=True)
class Scene:
    """One conversion of the demonstration."""

    model: str
    story: str
    to: str
    on: str
    exact: bool = False


SCENES = (
    Scene("controller.onnx",
          "a trained controller: batch normalisation and a second matrix product fold away",
          "feed-forward", "box:-1,1"),
    Scene("camera.onnx",
          "a small camera network: convolution and leaky ReLU as one chain of ReLU layers",
          "feed-forward", "box:0,1"),
    Scene("adapter.onnx",
          "a linear layer with a low-rank adapter: one matrix, and the file itself is equal",
          "affine", "everywhere", exact=True),
)
FORGED = ("controller.onnx", "pruned.onnx")


@click.command()
@click.option("-o", "folder", metavar="DIR", help="Keep the files here.")
@common
def demo(folder: str | None, as_json: bool, debug: bool) -> int:
    """Three conversions with proof, and a pruned file that is caught."""
    if folder is not None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        return play(Path(folder), as_json)
    with tempfile.TemporaryDirectory(prefix="isoform-demo-") as made:
        return play(Path(made), as_json)


def play(folder: Path, as_json: bool) -> int:
    """All scenes; status 0 where everything came out as announced."""
    records, good = [], True
    for number, scene in enumerate(SCENES, start=1):
        record, text, proved = conversion(scene, folder)
        records.append(record)
        good = good and proved
        if not as_json:
            print(f"{number}. {scene.story[0].upper()}{scene.story[1:]}.\n"
                  f"   isoform convert {scene.model} --to {scene.to} --on {scene.on}"
                  f"{' --exact' if scene.exact else ''}\n\n{text}\n")
    record, text, caught = forgery()
    records.append(record)
    if not as_json:
        print(f"{len(SCENES) + 1}. A pruned copy that passes for the same within 0.001: refuted, "
              "with a point to try.\n"
              f"   isoform prove {' '.join(FORGED)} --on box:-1,1 --within 0.001\n\n{text}\n")
    emit({"scenes": records}, "Everything came out as announced." if good and caught else
         "Something did not come out as announced.", as_json)
    return DONE if good and caught else REJECTED


def conversion(scene: Scene, folder: Path) -> tuple[dict[str, Any], str, bool]:
    """One conversion: plan, file, proof, and the certificate checked against both files."""
    from isoform import api

    source = api.read(MODELS / scene.model)
    made = api.convert(source, to=scene.to, on=scene.on)
    delivery = api.deliver(made, folder / f"{Path(scene.model).stem}-{scene.to}.onnx",
                           exact=scene.exact or None)
    text = f"{made.plan}\n\n{delivery}"
    if delivery.certificate is None:
        return verdict_record(delivery.verdict) | {"accepted": False}, text, False
    accepted = api.check(delivery.certificate, source=MODELS / scene.model, target=delivery.path)
    text += f"\nchecked             accepted, both files compared ({accepted.grade} arithmetic)"
    record = verdict_record(delivery.verdict) | {
        "model": scene.model, "to": scene.to, "on": scene.on, "output": str(delivery.path),
        "certificate": str(delivery.certificate), "accepted": accepted.compared,
    }
    return record, text, accepted.compared


def forgery() -> tuple[dict[str, Any], str, bool]:
    """A file that is said to be the same within 0.001, and is not."""
    from isoform import api
    from isoform.report.tables import verdict_name, verdict_text

    source, target = (api.read(MODELS / name) for name in FORGED)
    verdict = api.prove(target, equal_to=source, on="box:-1,1", within="0.001")
    record = verdict_record(verdict) | {"model": FORGED[0], "output": FORGED[1]}
    return record, verdict_text(verdict), verdict_name(verdict) == "refuted"
