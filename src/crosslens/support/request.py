"""What is asked of a verb: one frozen value, made by the command line, the server and Python alike."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from inspect import Parameter, cleandoc, get_annotations, signature
from textwrap import fill, indent
from typing import Any, ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from crosslens.support.errors import ConfigError
from crosslens.support.near_names import did_you_mean

Function = TypeVar("Function", bound=Callable[..., Any])


class Request(BaseModel):
    """Base of every verb's request: frozen and checked. An option's name, default and meaning stand here alone."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", arbitrary_types_allowed=True, use_attribute_docstrings=True, defer_build=True
    )

    earlier: ClassVar[Mapping[str, str]] = {}
    """Names that options had before, and the names they have; ``of`` still takes the former."""

    @classmethod
    def of(cls, **options: Any) -> Self:
        """A request of options that nobody has checked yet.

        Raises:
            ConfigError: naming the option that is unknown, missing or has a wrong value.
        """
        named = dict(options)
        for before, now in cls.earlier.items():
            if before not in named:
                continue
            if named.get(now) is not None:
                raise ConfigError(f"{before} is what {now} was called before; give {now} alone")
            named[now] = named.pop(before)
        try:
            return cls(**named)
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0]) if first["loc"] else "options"
            if first["type"] == "extra_forbidden":
                known = ", ".join(cls.model_fields)
                near = did_you_mean(name, cls.model_fields)
                raise ConfigError(f"there is no option {name!r}; there are {known}{near}") from error
            given = "" if first["type"] == "missing" else f" = {first['input']!r}"
            # Pydantic tells the choices in one text: 'a', 'b' or 'c'.
            choices = re.findall(r"'([^']*)'", first.get("ctx", {}).get("expected", ""))
            near = did_you_mean(str(first["input"]), choices)
            raise ConfigError(f"{name}{given}: {first['msg']}{near}") from error


def takes(request: type[Request], *, without: Collection[str] = ()) -> Callable[[Function], Function]:
    """Show a request's options in the signature and the docstring of a function that takes them as keywords.

    Args:
        request: whose options the function takes beside its own arguments.
        without: options that one of its arguments of another name stands for.
    """

    def shown(function: Function) -> Function:
        own = signature(function)
        named = [one for one in own.parameters.values() if one.kind is not Parameter.VAR_KEYWORD]
        hidden = {*own.parameters, *without}
        fields = {name: field for name, field in request.model_fields.items() if name not in hidden}
        # As they are written in the class, without what checks them.
        bases = reversed(request.__mro__)
        written = {name: kind for base in bases for name, kind in get_annotations(base).items()}
        more = [
            Parameter(
                name,
                Parameter.KEYWORD_ONLY,
                default=Parameter.empty if field.is_required() else field.get_default(call_default_factory=True),
                annotation=written[name],
            )
            for name, field in fields.items()
        ]
        told = [
            indent(fill(f"{name}: {field.description or ''}", 107, subsequent_indent="    "), "    ")
            for name, field in fields.items()
        ]
        function.__signature__ = own.replace(parameters=[*named, *more])  # type: ignore[attr-defined]
        function.__doc__ = "\n".join([cleandoc(function.__doc__ or ""), "", "Options:", *told])
        return function

    return shown
