# SPDX-License-Identifier: Apache-2.0
"""The documentation says what is: generated pages, code that runs, commands that exist."""

from __future__ import annotations

import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

import generate
import sessions
from isoform.converters.catalogue import CATALOGUE
from isoform.errors import IsoformError
from isoform.forms import FORMS, form_name
from isoform.version import VERSION

ROOT = Path(__file__).resolve().parents[1]
WRITTEN = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.M | re.S)


@cache
def generated() -> dict[str, str]:
    return generate.pages()


def blocks(language: str) -> Iterator[tuple[Path, str]]:
    for path in WRITTEN:
        for found, body in BLOCK.findall(path.read_text()):
            if found == language:
                yield path, body


# --- generated pages --------------------------------------------------------------------------


def test_every_form_has_a_page() -> None:
    for form in FORMS:
        page = generated()[f"reference/forms/{form_name(form)}.md"]
        assert page.startswith(f"# {form_name(form)}\n")
        assert f"[{form_name(form)}]" in generated()["reference/forms/index.md"]


@pytest.mark.parametrize("converter", CATALOGUE, ids=lambda converter: converter.name)
def test_every_converter_has_a_page_with_its_law(converter) -> None:
    page = generated()[f"reference/converters/{converter.name}.md"]
    assert generate.cell(converter.summary) in page
    assert generate.cell(converter.reference) in page
    assert converter.promise.value in page
    assert generate.doc(converter.requires) and generate.doc(converter.predict)
    assert "refused" in page or "| before |" in page


def test_every_public_name_is_explained() -> None:
    import isoform

    page = generated()["reference/api.md"]
    for name in isoform.__all__:
        assert f"### `{name}`" in page, name
        value = getattr(isoform, name)
        if callable(value):
            assert generate.doc(value), f"{name} has no docstring"


def test_pages_link_to_pages() -> None:
    """mkdocs checks this too, strictly; here it costs nothing."""
    pages = {path.name: path.read_text() for path in WRITTEN if path.parent.name == "docs"}
    pages |= generated()
    known = set(pages)
    for name, text in pages.items():
        for link in re.findall(r"\]\(([^)#:]+\.md)(?:#[\w-]+)?\)", text):
            target = (ROOT / "docs" / name).parent / link
            there = target.resolve().relative_to(ROOT / "docs").as_posix()
            assert there in known, f"{name} links to {link}"


# --- what is written by hand ------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", sorted({path for path, _ in blocks("python")}), ids=lambda path: path.stem
)
def test_code_in_the_pages_runs(path: Path, tmp_path: Path, monkeypatch) -> None:
    """All blocks of a page, in order, in one folder."""
    monkeypatch.chdir(tmp_path)
    for place, body in blocks("python"):
        if place == path:
            page = ModuleType("page")
            monkeypatch.setitem(sys.modules, "page", page)  # dataclasses look their module up
            exec(compile(body, str(path), "exec"), vars(page))


def commands() -> list[tuple[str, list[str]]]:
    """Every `isoform ...` of the console blocks: the page and the words."""
    found = []
    for path, body in blocks("console"):
        for line in re.findall(r"^\$ (isoform .*(?:\\\n.*)*)", body, re.M):
            found.append((path.name, shlex.split(line.replace("\\\n", " "))))
    return found


def test_commands_in_the_pages_exist() -> None:
    from isoform.cli.main import program

    assert len(commands()) >= 5
    for page, words in commands():
        if words[1].startswith("-"):
            continue
        assert words[1] in program.commands, f"{page}: {' '.join(words)}"
        known = {name for option in program.commands[words[1]].params for name in option.opts}
        known |= {"--help", "-h"}
        used = {word.split("=")[0] for word in words[2:] if re.match(r"--?[a-z]", word)}
        assert used <= known, f"{page}: {used - known} of {' '.join(words)}"


def test_the_table_of_errors_is_complete() -> None:
    listed = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "errors.md").read_text(), re.M))
    assert listed == {error.__name__ for error in IsoformError.__subclasses__()}


def test_every_domain_of_the_grammar_is_documented() -> None:
    from isoform.api.domains import GRAMMAR

    text = (ROOT / "docs" / "files.md").read_text()
    for kind in re.findall(r"\b(\w+):|, (binary|everywhere)", GRAMMAR):
        assert f"| `{kind[0] or kind[1]}" in text, kind


def test_figures_in_the_pages_are_those_of_the_code() -> None:
    from isoform.certificate import (
        arrays,
        codes,
        conclusion,
        evidence,
        points,
        region_count,
        wellformed,
    )
    from isoform.verify.structure import BACKWARD_WEIGHTS

    assert f"{BACKWARD_WEIGHTS:,}" in (ROOT / "docs" / "faq.md").read_text()
    limits = (ROOT / "docs" / "certificate-format.md").read_text().partition("## Limits")[2]
    for figure in (arrays.MOST_ENTRIES, arrays.MOST_WIDTH, evidence.MOST_UNITS, codes.LONGEST,
                   wellformed.MOST_WORK, points.MOST_EVALUATIONS, points.MOST_PRODUCTS,
                   conclusion.MOST_PAIRS, region_count.MOST_WEIGHTS, region_count.MOST_PRODUCTS):
        assert f"| 2^{figure.bit_length() - 1} |" in limits, figure
    for code in codes.Code:
        text = (ROOT / "docs" / "certificate-format.md").read_text()
        assert re.search(rf"\b{int(code)} {code.name.lower()}", " ".join(text.split())), code


def test_the_exit_statuses_are_documented() -> None:
    from isoform.cli import output

    text = (ROOT / "docs" / "errors.md").read_text()
    listed = {int(number) for number in re.findall(r"^\| (\d+) \|", text, re.M)}
    statuses = (output.DONE, output.REJECTED, output.UNDECIDED, output.ERROR, output.INTERRUPTED)
    assert listed == set(statuses)


def test_the_readme_lists_every_converter_and_form() -> None:
    text = (ROOT / "README.md").read_text()
    assert sessions.with_table(text) == text, "run docs/sessions.py"


@pytest.mark.parametrize("path", sessions.PAGES, ids=lambda path: path.stem)
def test_sessions_are_real(path: Path, tmp_path: Path) -> None:
    """The output in the pages is what the commands print now; docs/sessions.py rewrites it."""
    text = path.read_text()
    now = sessions.replayed(text, sessions.PAGES[path].read_text(), tmp_path)
    assert sessions.masked(now) == sessions.masked(text)


def test_the_version_is_the_same_everywhere() -> None:
    assert f"\nversion: {VERSION}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## {VERSION}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_pages_need_no_network() -> None:
    settings = (ROOT / "mkdocs.yml").read_text()
    assert "font: false" in settings
    assert not re.search(r"extra_(css|javascript)", settings)


def test_pictures_are_small() -> None:
    for path in (ROOT / "docs" / "images").glob("*"):
        assert path.stat().st_size < 200_000, path.name


def test_measured_counts_of_regions_are_true(models: Path) -> None:
    """Those of the table that take no time, again."""
    import isoform

    text = (ROOT / "docs" / "measurements.md").read_text().partition("{#regions}")[2]
    rows = re.findall(r"^\| ((?:1\.5 \* )?2\^-\d+) \| (.*) \|$", text, re.M)
    names = re.findall(r"\b\d_\d\b", text)[:3]
    assert len(rows) >= 10 and names == ["1_1", "3_3", "5_9"]
    for number, name in enumerate(names):
        model = isoform.read(models / "acasxu" / f"ACASXU_run2a_{name}_batch_2000.onnx")
        for size, cells in rows:
            stretch, power = re.findall(r"(?:(1\.5) \* )?2\^-(\d+)", size)[0]
            radius = float(stretch or 1) * 2.0 ** -int(power)
            count = int(cells.split(" | ")[2 * number].replace(",", ""))
            if count < 2000:
                found = isoform.regions(model, on=isoform.Box(-radius, radius), prove=False,
                                        workers=1)
                assert found.count == count, (name, size)


def test_counts_in_the_pictures_of_regions_are_true(models: Path) -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("PIL")
    import numpy as np

    import isoform
    import region_pictures as pictures

    points = np.stack([pictures.digit(number).ravel() for number in pictures.DIGITS])
    counts = []
    for file, _, window in pictures.MNIST:
        on = "box:-0.5,1.5" if window is None else f"box:-{window},{window}"
        found = isoform.regions(models / file, on=on, slice_through=points, prove=False, workers=1)
        counts.append(found.count)
    assert counts == [66, 1421, 301]
    plane = isoform.regions(models / "feedforward" / "fc1.onnx", on="box:-1,1", workers=1)
    page = (ROOT / "docs" / "regions.md").read_text()
    assert "301\nregions" in page and f"{plane.count} activation regions](images" in page


# --- examples ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[pytest.mark.slow] if "train" in path.stem else [], id=path.stem)
     for path in EXAMPLES],
)
def test_examples_run(path: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    needs = re.findall(r"^from (sklearn|torch)|^import (torch)", path.read_text(), re.M)
    for framework in {name for pair in needs for name in pair if name}:
        pytest.importorskip(framework)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [str(path), str(tmp_path / "made")])
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out
