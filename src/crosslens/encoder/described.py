"""What an encoder folder says of its encoder, without a network that is loaded, compiled or even there."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from crosslens.backbones.fingerprint import Fingerprint
from crosslens.encoder.compiled import FOLDER, cached_place, read_facts, source_digest
from crosslens.support.errors import RunError
from crosslens.support.files import read_json


class EncoderDescription(NamedTuple):
    """What is told of an encoder.

    Attributes:
        backbone_title: see ``Encoder``.
        has_text: see ``Encoder``; None where only PyTorch, which is not installed, could tell.
    """

    backbone_title: str
    has_text: bool | None


def describe_encoder(folder: Path) -> EncoderDescription:
    """What an encoder folder says of itself: what was compiled of it, or else its ``config.json``.

    Raises:
        RunError: when it is no encoder folder, or is damaged.
    """
    made_of = source_digest(folder)
    for place in (folder / FOLDER, cached_place(made_of)):
        facts = read_facts(place, made_of)
        if facts is not None and not facts.refused:
            return EncoderDescription(facts.backbone_title, facts.has_text)
    return _by_config(folder)


def _by_config(folder: Path) -> EncoderDescription:
    config = read_json(folder / "config.json", RunError)
    try:
        fingerprint = Fingerprint.model_validate(config.get("fingerprint"))
        title = fingerprint.model_copy(update={"model": str(config["backbone"])}).asked_for_as
        if importlib.util.find_spec("torch") is None:
            return EncoderDescription(title, None)
        from crosslens.backbones.lite import LiteBackbone
        from crosslens.encoder.header import from_json, vectors_have_text

        return EncoderDescription(title, vectors_have_text(title == LiteBackbone.name, from_json(config)[1]))
    except (KeyError, ValidationError) as error:
        raise RunError(f"{folder}/config.json is damaged: {error}") from error
