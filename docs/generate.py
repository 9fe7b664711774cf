# SPDX-License-Identifier: Apache-2.0
"""Pages that are written from the code: one a form, one a converter, the public names, the changes.

mkdocs calls `on_config` and `on_files`; `pages()` is the whole content, for the tests too. Promise,
options, refusals and references stand in the code only, so they are never written twice.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import isoform
from isoform.converters.catalogue import CATALOGUE
from isoform.converters.converter import Converter, NoOptions, Promise, always
from isoform.errors import IsoformError
from isoform.forms import FORMS, form_name
from isoform.network.domain import Domain, Everywhere, bound_to
from isoform.network.size import measure

ROOT = Path(__file__).resolve().parents[1]
PROMISES = {
    Promise.EVERYWHERE: "equal everywhere: the two functions agree on all inputs, over the reals",
    Promise.ON_DOMAIN: "equal on the domain: the two functions agree on every input of the domain, "
                       "over the reals",
    Promise.WITHIN: "within eps on the domain: no output differs by more than a certified eps",
}


# --- what mkdocs calls ------------------------------------------------------------------------


def on_config(config: Any) -> Any:
    """Put the generated pages into the navigation."""
    config["nav"] = [*config["nav"], {"Reference": [
        {"Public names": "reference/api.md"},
        {"Forms": ["reference/forms/index.md", *[
            {form_name(form): form_path(form)} for form in FORMS
        ]]},
        {"Converters": ["reference/converters/index.md", *[
            {converter.name: converter_path(converter)} for converter in CATALOGUE
        ]]},
    ]}]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages as if they lay in the folder."""
    from mkdocs.structure.files import File

    for path, content in pages().items():
        files.append(File.generated(config, path, content=content))
    return files


def pages() -> dict[str, str]:
    """Every generated page: its path under docs/ and its text."""
    made = {
        "changelog.md": (ROOT / "CHANGELOG.md").read_text(),
        "reference/api.md": api_page(),
        "reference/forms/index.md": form_index(),
        "reference/converters/index.md": converter_index(),
    }
    made |= {form_path(form): form_page(form) for form in FORMS}
    made |= {converter_path(converter): converter_page(converter) for converter in CATALOGUE}
    return made


def form_path(form: type) -> str:
    return f"reference/forms/{form_name(form)}.md"


def converter_path(converter: Converter) -> str:
    return f"reference/converters/{converter.name}.md"


# --- forms ------------------------------------------------------------------------------------


def form_index() -> str:
    rows = [
        (f"[{form_name(form)}]({form_name(form)}.md)", f"`{form.__name__}`", first_sentence(form))
        for form in FORMS
    ]
    return "\n".join([
        "# Forms", "",
        "A form is an architecture class: a frozen dataclass with `lower()` (the network that it "
        "means) and `lift(network)` (recognise, or say why not). A model is shown as the first "
        "form of this list that takes it.", "",
        *table(("name", "class", "what"), rows), "",
    ])


def form_page(form: Any) -> str:
    """One form: what it is, its fields, examples, its native file, the converters at its door."""
    fields = [f"- `{field.name}`: `{annotation(field.type)}`" for field in dataclasses.fields(form)]
    examples = [
        (f"`{str(example)[:80]}`", *figures(example)) for example in form.examples()
    ]
    entries = sorted({re.sub(r"\d+", "i", key) for e in form.examples() for key in e.arrays()})
    parts = [
        f"# {form_name(form)}", "", prose(module_doc(form)), "", "## Fields", "",
        f"`isoform.{form.__name__}`" if hasattr(isoform, form.__name__) else f"`{form.__name__}`",
        "", prose(doc(form)), "", *fields, "",
        "## Recognised when", "", prose(doc(form.lift)), "",
        "## Examples", "",
        "Small instances that the contract tests run over.", "",
        *table(("form", "inputs", "outputs", "depth", "units", "parameters"), examples), "",
        "## Native file", "",
        "An `.npz` file with the entry `form` and, without loss: "
        + ", ".join(f"`{entry}`" for entry in entries) + ".", "",
        "## Converters", "",
        *converter_list("from this form", [c for c in CATALOGUE if c.source is form]),
        *converter_list("to this form", [c for c in CATALOGUE if c.target is form]),
    ]
    return "\n".join(parts) + "\n"


def figures(form: Any) -> tuple[str, ...]:
    network = form.lower()
    size = measure(network)
    numbers = (network.dimension, network.output_dimension, size.depth, size.units, size.parameters)
    return tuple(f"{number:,}" for number in numbers)


def converter_list(title: str, found: list[Converter]) -> list[str]:
    if not found:
        return [f"None {title}.", ""]
    return [f"{title[0].upper()}{title[1:]}:", "", *[
        f"- [{c.name}](../converters/{c.name}.md): {c.summary}" for c in found
    ], ""]


# --- converters -------------------------------------------------------------------------------


def converter_index() -> str:
    rows = [
        (f"[{c.name}]({c.name}.md)", form_link(c.source), form_link(c.target), c.promise.value)
        for c in CATALOGUE
    ]
    return "\n".join([
        "# Converters", "",
        "A converter is a pure function from form to form. It computes in exact arithmetic; what "
        "is rounded when a file is written is said there. The planner finds routes over them; "
        "`--by NAME` asks for one by name.", "",
        *table(("name", "from", "to", "promise"), rows), "",
    ])


def readme_table() -> str:
    """The catalogue as the README shows it."""
    rows = [
        (f"`{c.name}`", form_name(c.source), form_name(c.target), c.promise.value, c.summary)
        for c in CATALOGUE
    ]
    return "\n".join(table(("name", "from", "to", "promise", "law"), rows))


def form_link(form: type) -> str:
    return f"[{form_name(form)}](../forms/{form_name(form)}.md)"


def converter_page(converter: Converter) -> str:
    """One converter: the law, its promise, options, refusals, size, what it did to the examples."""
    module = sys.modules[converter.rewrite.__module__]
    summary = converter.summary
    return "\n".join([
        f"# {converter.name}", "", f"**{summary}**", "", prose(inspect.getdoc(module) or ""), "",
        "| | |", "|---|---|",
        f"| from | {form_link(converter.source)} |", f"| to | {form_link(converter.target)} |",
        f"| promise | {PROMISES[converter.promise]} |",
        f"| size beforehand | {cell(doc(converter.predict))} |",
        f"| admissible | {admissible(converter)} |",
        f"| reference | {cell(converter.reference)} |", "",
        "## Options", "", *options(converter), "",
        "## On the command line", "", "```console",
        f"$ isoform convert MODEL --by {converter.name}{domain_flag(converter)} -o OUT.onnx",
        "```", "",
        *example_table(converter),
    ])


def admissible(converter: Converter) -> str:
    return "always" if converter.requires is always else cell(doc(converter.requires))


def domain_flag(converter: Converter) -> str:
    return "" if converter.promise is Promise.EVERYWHERE else " --on box:-1,1"


def options(converter: Converter) -> list[str]:
    if converter.options is NoOptions or not dataclasses.fields(converter.options):
        return ["None."]
    rows = [
        (f"`{field.name}`", f"`{annotation(field.type)}`", f"`{default(field)}`")
        for field in dataclasses.fields(converter.options)
    ]
    return [prose(doc(converter.options)), "", *table(("--option", "type", "default"), rows)]


def default(field: dataclasses.Field[Any]) -> str:
    return "required" if field.default is dataclasses.MISSING else str(field.default)


def example_table(converter: Converter) -> list[str]:
    """What the converter makes of the examples of its source form."""
    rows = []
    for example in converter.source.examples():  # type: ignore[attr-defined]
        rows.append((f"`{str(example)[:70]}`", *outcome(converter, example)))
    return [
        "## What it makes of the examples", "",
        f"The examples of the form {form_name(converter.source)}, "
        + ("on all of space." if converter.promise is Promise.EVERYWHERE else "on [-1, 1]^n."), "",
        *table(("before", "units", "parameters", "after", "units", "parameters"), rows), "",
    ]


def outcome(converter: Converter, example: Any) -> tuple[str, ...]:
    before = measure(example.lower())
    shown = (f"{before.units:,}", f"{before.parameters:,}")
    try:
        defaults = converter.options()
    except TypeError:
        return (*shown, "an option is required", "", "")
    on = example_domain(converter, example.lower().dimension)
    try:
        refusal = converter.requires(example, on, defaults)
        if refusal is not None:
            return (*shown, f"refused: {cell(str(refusal))}", "", "")
        made = converter.rewrite(example, on, defaults).form
    except IsoformError as error:
        return (*shown, f"refused: {cell(str(error).splitlines()[0])}", "", "")
    after = measure(made.lower())
    return (*shown, f"`{str(made)[:70]}`", f"{after.units:,}", f"{after.parameters:,}")


def example_domain(converter: Converter, n: int) -> Domain:
    if converter.promise is Promise.EVERYWHERE:
        return bound_to(Everywhere(), n)
    return bound_to(isoform.Box(-1, 1), n)


# --- public names -----------------------------------------------------------------------------


def api_page() -> str:
    """Every public name with its signature and docstring."""
    functions, types, others = [], [], []
    for name in isoform.__all__:
        value = getattr(isoform, name)
        if inspect.isclass(value):
            types.append(entry(name, value))
        elif callable(value):
            functions.append(entry(name, value))
        else:
            others.append(f"### `{name}`\n\n`{value!r}`\n" if len(repr(value)) < 80
                          else f"### `{name}`\n")
    return "\n".join([
        "# Public names", "",
        "What `import isoform` offers; everything else may change between versions.", "",
        "## Functions", "", *functions, "## Types", "", *types,
        *(["## Values", "", *others] if others else []),
    ])


def entry(name: str, value: Any) -> str:
    shown = signature_lines(name, value)
    methods = "".join(method_entry(key, item) for key, item in own_methods(value))
    return f"### `{name}`\n\n```python\n{shown}\n```\n\n{prose(doc(value))}\n{methods}"


def own_methods(value: Any) -> Iterator[tuple[str, Any]]:
    """Documented public methods and properties that a class defines itself."""
    if not inspect.isclass(value) or issubclass(value, IsoformError):
        return
    for key, item in vars(value).items():
        inner = item.__func__ if isinstance(item, classmethod | staticmethod) else item
        inner = inner.fget if isinstance(inner, property) else inner
        if not key.startswith("_") and inspect.isfunction(inner) and inner.__doc__:
            yield key, inner


def method_entry(key: str, item: Any) -> str:
    first = " ".join((inspect.getdoc(item) or "").split("\n\n")[0].split())
    return f"\n- `{key}`: {escaped(first)}"


def signature_lines(name: str, value: Any) -> str:
    """A call that fits the page, one parameter a line where it is long."""
    if inspect.isclass(value) and issubclass(value, BaseException):
        return name
    try:
        signature = inspect.signature(value)
    except (ValueError, TypeError):
        return name
    shown, starred = [], False
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            shown.append("*")
            starred = True
        shown.append(parameter_text(parameter))
    result = signature.return_annotation
    tail = "" if inspect.isclass(value) or result is signature.empty else f" -> {type_text(result)}"
    line = f"{name}({', '.join(shown)}){tail}"
    if len(line) <= 88:
        return line
    return f"{name}(\n" + "".join(f"    {part},\n" for part in shown) + f"){tail}"


def parameter_text(parameter: inspect.Parameter) -> str:
    """`name: type = default`; a default that has no short text is an ellipsis."""
    text = parameter.name
    if parameter.annotation is not parameter.empty:
        text += f": {type_text(parameter.annotation)}"
    if parameter.default is not parameter.empty:
        shown = repr(parameter.default)
        text += f" = {'...' if shown.startswith('<') or len(shown) > 40 else shown}"
    return text


def type_text(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else getattr(
        annotation, "__name__", str(annotation)
    )


# --- text -------------------------------------------------------------------------------------


def doc(value: Any) -> str:
    return inspect.getdoc(value) or ""


def module_doc(form: type) -> str:
    return inspect.getdoc(sys.modules[form.__module__]) or ""


def first_sentence(form: type) -> str:
    return cell(module_doc(form).split("\n\n")[0].split(". ")[0].rstrip("."))


def annotation(value: Any) -> str:
    shown = value if isinstance(value, str) else getattr(value, "__name__", str(value))
    return shown.replace("|", "or")


def prose(text: str) -> str:
    """A docstring as Markdown: indented formulas become blocks, the rest is escaped."""
    parts = []
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        if all(line.startswith("    ") for line in block.splitlines() if line.strip()):
            formula = "\n".join(line[4:] for line in block.splitlines())
            parts.append(f"```text\n{formula}\n```")
        else:
            parts.append(listed_cases(escaped(block)))
    return "\n\n".join(parts)


def listed_cases(block: str) -> str:
    """What begins with "Case 1" and so on as a list."""
    found = re.split(r"(?:^|(?<=\. ))(?=Case \d)", block, flags=re.M)
    if len(found) == 1:
        return block
    return "\n".join([found[0], *("- " + case.strip().replace("\n", "\n  ") for case in found[1:])])


def escaped(text: str) -> str:
    """Markdown's own signs outside of backticks are meant as written, but for *emphasis*."""
    pieces = text.split("`")
    for i in range(0, len(pieces), 2):
        piece = re.sub(r"([*_>\[\]|])", r"\\\1", pieces[i]).replace("<", "&lt;")
        pieces[i] = re.sub(r"\\\*(\w+)\\\*", r"*\1*", piece)
    return "`".join(pieces)


def cell(text: str) -> str:
    """Text for one cell of a table."""
    return escaped(" ".join(text.split()))


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    lines = [" | ".join(head), " | ".join(["---"] * len(head)), *[" | ".join(r) for r in rows]]
    return [f"| {line} |" for line in lines]
