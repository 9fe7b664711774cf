# SPDX-License-Identifier: Apache-2.0
"""Options by name, as text or as values, to the frozen dataclass that a converter takes."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from fractions import Fraction
from typing import Any

from isoform.converters.converter import Converter
from isoform.errors import Refused
from isoform.numerics.exact import rational

WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def options_for(converter: Converter, given: Mapping[str, Any]) -> Any:
    """The converter's options with those of `given` that it knows; Refused on a bad value."""
    hints = typing.get_type_hints(converter.options)
    values = {
        name: parsed(value, hints[name], f"--option {name}")
        for name, value in given.items() if name in hints
    }
    missing = [
        field.name for field in fields(converter.options)
        if field.name not in values
        and field.default is MISSING and field.default_factory is MISSING
    ]
    if missing:
        raise Refused(f"{converter.name} needs --option {missing[0]}=...")
    try:
        return converter.options(**values)
    except (ValueError, TypeError) as error:
        raise Refused(f"{converter.name} does not take these options: {error}") from None


def check_known(given: Mapping[str, Any], converters: Sequence[Converter]) -> None:
    """Refused where no converter of a plan has an option of that name."""
    known = {field.name for converter in converters for field in fields(converter.options)}
    unknown = [name for name in given if name not in known]
    if not unknown:
        return
    steps = ", ".join(converter.name for converter in converters) or "no converter is needed"
    offered = ", ".join(sorted(known)) or "none"
    raise Refused(
        f"unknown option {', '.join(map(repr, unknown))} for this route ({steps}); "
        f"its options: {offered}"
    )


def parsed(value: Any, hint: Any, what: str) -> Any:
    """A value of the hinted type; text is read, everything else passes through."""
    if not isinstance(value, str):
        return value
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        choices = typing.get_args(hint)
        for choice in choices:
            if str(choice) == value:
                return choice
        raise Refused(f"{what}={value}: choose one of {', '.join(map(str, choices))}")
    if origin in (typing.Union, types.UnionType):
        kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
        if value.lower() == "none" and len(kinds) < len(typing.get_args(hint)):
            return None
        return parsed(value, kinds[0], what)
    try:
        return simple(value, hint)
    except (ValueError, ZeroDivisionError, KeyError):
        name = getattr(hint, "__name__", str(hint))
        raise Refused(f"{what}={value} is no {name}") from None


def simple(value: str, hint: Any) -> Any:
    """Text as a bool, int, Fraction or float; other types stay text."""
    if hint is bool:
        return WORDS[value.lower()]
    if hint is int:
        number = rational(value)
        if number.denominator != 1:
            raise ValueError(value)
        return number.numerator
    if hint is Fraction:
        return rational(value)
    if hint is float:
        return float(value)
    return value
