# SPDX-License-Identifier: Apache-2.0
"""Terminal sessions in the pages are real: `python docs/sessions.py [PAGE.md ...]` runs them again
and rewrites their output, and the README's table of converters; tests compare.

In a page, ```python blocks run first, in order, then every line `$ isoform ...` of the ```console
blocks that show output. All of it happens in an empty folder; the README uses the files that the
quick start makes.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import generate
from isoform.cli.main import status

ROOT = Path(__file__).resolve().parents[1]
QUICK_START, REGIONS = ROOT / "docs" / "quick-start.md", ROOT / "docs" / "regions.md"
VNNLIB = ROOT / "docs" / "vnnlib.md"
README = ROOT / "README.md"
PAGES = {  # and the page whose Python blocks make the files
    QUICK_START: QUICK_START, README: QUICK_START, REGIONS: REGIONS, VNNLIB: VNNLIB,
}
BLOCK = re.compile(r"(^```console\n)(.*?)(^```)", re.M | re.S)
NUMBER = re.compile(r"[-+]?\d[\d,]*(\.\d+)?([eE][-+]?\d+)?")
MEASURED = ("seconds", "step", "measured", "at x", "source  ", "target  ", "differ", "largest",
            "search", "estimate", "interval", "for certain", "method")
COSTS = re.compile(
    r"; the replicas are far.*|\d+\.\d\d s\b|[\d,]+ bytes|[\d,]+ steps"
    r"|[\d,]+ of [\d,]+ subtrees with [\d,]+ regions"
)


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def replayed(page: str, makes: str, folder: Path) -> str:
    """The page with the output that its sessions have now. makes: the page whose Python blocks run
    first; folder: where the files go."""
    with inside(folder):
        for body in re.findall(r"^```python\n(.*?)^```", makes, re.M | re.S):
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(body, "session", "exec"), {"__name__": "session"})
        return BLOCK.sub(lambda found: found[1] + session(found[2]) + found[3], page)


def session(body: str) -> str:
    """One block again; blocks that show commands only stay as they are."""
    lines = body.splitlines()
    typed = [line for line in lines if line.startswith("$ ")]
    ours = all(line.startswith(("$ isoform", "$ echo")) for line in typed)
    if len(typed) == len(lines) or not ours:
        return body
    shown, code = [], 0
    for line in typed:
        shown.append(line)
        words = shlex.split(line[2:])
        if words[0] == "echo":
            shown.append(str(code))
            continue
        output = io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            code = status(words[1:])
        shown += output.getvalue().rstrip().splitlines()
    return "\n".join(line.rstrip() for line in shown) + "\n"


def masked(page: str) -> str:
    """The page without the numbers that another run or machine may change."""
    lines = [
        COSTS.sub("#", NUMBER.sub("#", line) if line.startswith(MEASURED) else line)
        for line in page.splitlines()
    ]
    return "\n".join(re.sub(r"\s+", " ", line) for line in lines)


def with_table(page: str) -> str:
    """The README with the table of the catalogue."""
    head, mark, rest = page.partition("<!-- converters -->\n")
    return head + mark + generate.readme_table() + "\n" + rest[rest.index("<!-- end -->"):]


def main(names: Sequence[str]) -> None:
    README.write_text(with_table(README.read_text()))
    for path, makes in PAGES.items():
        if names and path.name not in names:
            continue
        with tempfile.TemporaryDirectory() as folder:
            path.write_text(replayed(path.read_text(), makes.read_text(), Path(folder)))


if __name__ == "__main__":
    main(sys.argv[1:])
