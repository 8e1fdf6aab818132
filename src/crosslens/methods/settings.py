"""The settings of a method as text: what there is to set, with default, type and meaning."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from crosslens.methods.base import MethodConfig


class Setting(NamedTuple):
    """One setting.

    Attributes:
        name: of the key.
        kind: its type, in words.
        default: as it is written after ``--set name=``.
        meaning: one or more sentences.
    """

    name: str
    kind: str
    default: str
    meaning: str


def settings_of(config: type[MethodConfig]) -> Iterator[Setting]:
    """Every setting of a configuration, in the order they are declared in."""
    for name, field in config.model_fields.items():
        default = field.get_default(call_default_factory=True)
        shown = "needed" if default is PydanticUndefined else _written(default)
        yield Setting(name, _kind(field.annotation), shown, _meaning(config, name))


def _meaning(config: type[MethodConfig], name: str) -> str:
    """What a setting means; where a method only gives it another default, the sentences of the class below it."""
    for base in config.__mro__:
        field = getattr(base, "model_fields", {}).get(name)
        if field is not None and field.description:
            plain = re.sub(r"\bNone\b", "null", field.description.replace("``", ""))
            return re.sub(r"\s+", " ", plain).strip()
    return ""


def _written(value: Any) -> str:
    """A value as YAML has it, on one line."""
    if isinstance(value, BaseModel):
        return "{" + ", ".join(f"{key}: {_written(part)}" for key, part in value) + "}"
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_written, value))}]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def _kind(annotation: Any) -> str:
    """A type in words: ``number``, ``auto or whole numbers``, ``mean or cumulative``."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _kind(parts[0])
    if origin is Literal:
        return " or ".join(map(str, parts))
    if origin in (typing.Union, UnionType):
        return " or ".join(_kind(part) for part in parts)
    if origin is tuple:
        return f"list of {_kind(parts[0])}s"
    words = {bool: "true or false", int: "whole number", float: "number", str: "text", NoneType: "null"}
    return words.get(annotation, "keys and values")
