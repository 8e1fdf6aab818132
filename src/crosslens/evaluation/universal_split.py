"""Which classes and domains of one's own images are unseen, as a file tells the universal protocols."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from crosslens.support.errors import ConfigError
from crosslens.support.files import read_yaml
from crosslens.support.near_names import did_you_mean


class UniversalSplit(BaseModel):
    """Seen and unseen classes and domains of images that are no published benchmark.

    A name stands for what the images call it, in any spelling; see ``crosslens.data.names``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    gallery: str
    """The domain that answers; a seen one."""

    unseen_classes: tuple[str, ...]
    """Classes whose names and images training must not have had: those that ask in UCDR and UcCDR."""

    unseen_domains: tuple[str, ...] = ()
    """Domains whose images training must not have had: those that ask in UCDR and UdCDR."""

    seen_classes: tuple[str, ...] | None = None
    """Classes that ask in UdCDR and answer beside the unseen ones in a mixed gallery; all others by default."""

    seen_domains: tuple[str, ...] | None = None
    """Domains that ask in UcCDR; all others but the gallery by default."""

    @property
    def usual_protocol(self) -> str:
        """What is measured where no protocol is asked for."""
        return "ucdr" if self.unseen_domains else "uccdr"

    @classmethod
    def of(cls, value: Any) -> Self:
        """A split by itself, by the path of its file, or as a mapping.

        A file is YAML or JSON. Every value in it is a name as it is written: ``007`` and ``no`` are classes, not
        a number and a truth value.

        Raises:
            ConfigError: when the file cannot be read, or for a key that is unknown, missing or has a wrong value.
        """
        if isinstance(value, cls):
            return value
        where = "the universal split"
        if isinstance(value, str | Path):
            where = f"the universal split {value}"
            value = read_yaml(Path(value), ConfigError, as_text=True)
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            raise ConfigError(f"{where} is wrong: {_told(error)}") from error


def _told(error: ValidationError) -> str:
    """The first thing that is wrong, with the keys there are where one is unknown."""
    # A key that is unknown may be the one that is missing, mistyped.
    first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
    keys = UniversalSplit.model_fields
    name = str(first["loc"][0]) if first["loc"] else ""
    if first["type"] == "extra_forbidden":
        return f"there is no key {name!r}; there are {', '.join(keys)}{did_you_mean(name, keys)}"
    if first["type"] == "missing":
        return f"it lacks the key {name}"
    if not name:
        return f"it must hold keys and values: {', '.join(keys)}"
    kind = "one name" if name == "gallery" else "a list of names, such as [cat, dog]"
    return f"{name} is {kind}"
