"""The identity of an embedding: which vectors may be compared."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

from crosslens.images.preprocess import Preprocess
from crosslens.support.errors import FingerprintError


class Fingerprint(BaseModel):
    """Identity of an embedding: model, weights and their settings, preprocessing (with decode mode), dimension.

    Two sets of vectors may be compared only when their fingerprints are equal. Where the weights were read from
    is kept in ``model`` so that they can be found again, but is not compared: a model folder may be moved.

    Attributes:
        model: how ``load_backbone`` is asked for it.
        weights: hash of the weights.
        settings: hash of what computes with them and is not told by their shapes (activation, attention heads,
            epsilons, strides); empty where the weights tell all, and in what version 0.1 wrote, which is compared
            by the other fields alone.
        preprocess: what is done to an image first.
        dim: length of a vector.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    weights: str
    settings: str = ""
    preprocess: Preprocess
    dim: int

    @model_serializer(mode="wrap")
    def _without_defaults(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # A fingerprint made before there were settings stays what it was.
        return {key: value for key, value in dump(self).items() if key != "settings" or value}

    @property
    def identity(self) -> dict[str, Any]:
        """The fields that are compared; of ``model`` only its kind and option (``open-clip?act=quick_gelu``)."""
        kind, _, source = self.model.partition(":")
        _, mark, option = source.partition("?act=")
        return {**self.model_dump(mode="json"), "model": kind + mark + option}

    @property
    def without_settings(self) -> Fingerprint:
        """As version 0.1 would have written it."""
        return Fingerprint(model=self.model, weights=self.weights, preprocess=self.preprocess, dim=self.dim)

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal characters that stand for all that is compared."""
        return hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()[:16]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fingerprint) and not self._differences(other)

    def __hash__(self) -> int:
        # Equal fingerprints must have equal hashes, with and without settings.
        return hash(self.without_settings.digest)

    def _differences(self, other: Fingerprint) -> list[str]:
        mine, theirs = self.identity, other.identity
        shared = [key for key in mine if key in theirs]
        return [f"{key}: {mine[key]} here, {theirs[key]} there" for key in shared if mine[key] != theirs[key]]

    @property
    def asked_for_as(self) -> str:
        """What ``load_backbone`` calls this model today: ``lite`` was the photo network alone (D = 1280) before it
        learned to read drawings.
        """
        return "lite:photo" if (self.model, self.dim) == ("lite", 1280) else self.model

    def require(self, other: Fingerprint, what: str) -> None:
        """Check that ``other`` is this very embedding.

        Raises:
            FingerprintError: naming the fields that differ and how to make ``what`` anew.
        """
        if differing := self._differences(other):
            raise FingerprintError(
                f"{what} was made with another embedding ({'; '.join(differing)}). Make it again with"
                f" --backbone {self.model}, or use the backbone it was made with: {other.asked_for_as}"
            )
