"""What the ``config.json`` of an encoder folder says: a header, and the settings of each part."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from crosslens.backbones.fingerprint import Fingerprint
from crosslens.encoder.parts import PARTS
from crosslens.encoder.parts.base import AnyPart, PartSettings, Space

FORMAT = 1

PartsSettings = Mapping[type[AnyPart], PartSettings]
"""The settings of every known part, also of those that an encoder lacks."""


class Header(BaseModel):
    """What is true of a whole encoder.

    Attributes:
        format: version of the layout.
        method: how the encoder was obtained, such as ``ucdir`` or ``frozen``.
        backbone: name for ``load_backbone``.
        fingerprint: of the backbone's own features, checked on loading.
        trained: facts for the model card (root, domains, settings, marks such as ``oracle``).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = FORMAT
    method: str
    backbone: str
    fingerprint: Fingerprint
    trained: dict[str, Any] = {}


def collect_settings(parts: Iterable[AnyPart]) -> PartsSettings:
    """The settings of all known parts; the defaults for those that are not among ``parts``."""
    present = {type(part): part.settings for part in parts}
    return {kind: present.get(kind, kind.Settings()) for kind in PARTS}


def is_there(settings: PartSettings) -> bool:
    """Whether an encoder has the part that these are the settings of."""
    return settings != type(settings)()


def vectors_have_text(holds_text: bool, settings: PartsSettings) -> bool:
    """Whether the vectors of an encoder lie in a space that texts share.

    Args:
        holds_text: see ``Backbone``.
        settings: of all known parts.
    """
    space = features = Space.HELD if holds_text else Space.OWN
    for kind, own in settings.items():
        if is_there(own):
            space = kind.space_after(own, space, features)
    return space.has_text


def to_json(header: Header, settings: PartsSettings) -> dict[str, Any]:
    """What is written: the keys of the header and of the parts that there are, side by side."""
    value = header.model_dump(mode="json", exclude={"trained"})
    for part in settings.values():
        # Left out, what is not there: an older crosslens reads an encoder without the parts it does not know.
        value |= part.model_dump(mode="json") if is_there(part) else {}
    return value | header.model_dump(mode="json", include={"trained"})


def from_json(value: Mapping[str, Any]) -> tuple[Header, PartsSettings]:
    """What ``to_json`` gave; keys that are missing have their defaults.

    Raises:
        ValidationError: for keys that nobody knows, and values that are none of theirs.
    """
    settings = {}
    rest = dict(value)
    for kind in PARTS:
        keys = kind.Settings.model_fields
        settings[kind] = kind.Settings.model_validate({key: rest.pop(key) for key in keys if key in rest})
    return Header.model_validate(rest), settings
