# SPDX-License-Identifier: Apache-2.0
"""A page on a conversion: plan, sizes, verdict. One HTML file without scripts or links."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path

from isoform.certificate.verdict import Verdict
from isoform.network.size import Size
from isoform.network.whole_file import write_whole
from isoform.report.tables import size_rows, size_table, verdict_rows, verdict_text
from isoform.text import html_table

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;"
    "color:#1b1f24}table{border-collapse:collapse;margin:1rem 0}td,th{padding:.2rem .8rem .2rem 0;"
    "text-align:left;border-bottom:1px solid #d8dee4}pre{background:#f6f8fa;padding:1rem;"
    "overflow-x:auto}h2{margin-top:2rem}"
)


@dataclass(frozen=True, slots=True)
class Report:
    """The same content as plain text and as HTML."""

    title: str
    text: str
    body: str

    def save(self, path: str | Path) -> Path:
        """Write the page, whole or not at all."""
        write_whole(path, lambda file: file.write(self.html().encode()) and None)
        return Path(path)

    def html(self) -> str:
        """The whole page."""
        title = html.escape(self.title)
        return (f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}'
                f"</title><style>{STYLE}</style></head><body>{self.body}</body></html>\n")

    def __str__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return self.body


def page(
    *, title: str, before: tuple[str, Size], after: tuple[str, Size], plan: str, trace: str,
    verdict: Verdict | None,
) -> Report:
    """Put a report together from finished values. before, after: name of the form and size."""
    sections = [
        f"<h1>{html.escape(title)}</h1>",
        "<h2>Size</h2>", html_table(size_rows(before, after), ("", "before", "after", "ratio")),
        "<h2>Plan</h2>", f"<pre>{html.escape(plan)}</pre>",
        "<h2>Steps as run</h2>", f"<pre>{html.escape(trace)}</pre>",
    ]
    text = [title, "", size_table(before, after), "", plan, "", trace]
    if verdict is not None:
        sections += ["<h2>Verdict</h2>", html_table(verdict_rows(verdict))]
        text += ["", verdict_text(verdict)]
    return Report(title, "\n".join(text), "".join(sections))
