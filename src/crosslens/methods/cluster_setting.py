"""The setting of UCDIR and UEM that says how many clusters a domain has."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator


def _one_or_several(value: Any) -> Any:
    return (value,) if isinstance(value, int) and not isinstance(value, bool) else value


def _at_least_one(value: Literal["auto"] | tuple[int, ...]) -> Literal["auto"] | tuple[int, ...]:
    if value != "auto" and min(value, default=0) < 1:
        raise ValueError("give auto, or one or more numbers of at least 1")
    return value


ClusterSetting = Annotated[
    Literal["auto"] | tuple[int, ...], BeforeValidator(_one_or_several), AfterValidator(_at_least_one)
]
"""``auto``, one number, or several."""
