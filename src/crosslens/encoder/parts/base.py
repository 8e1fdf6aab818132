"""What a part of an encoder is, and what it says about itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, ClassVar, Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict
from torch import Tensor

from crosslens.backbones.base import Backbone
from crosslens.nn.similarity import Similarity


class PartSettings(BaseModel):
    """The keys of ``config.json`` that belong to a part; their defaults say that the encoder lacks it."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Space(Enum):
    """Where vectors lie on their way through an encoder.

    Attributes:
        OWN: where no text is: the backbone's features, or what a head makes of them.
        HELD: features that hold the space shared with text beside others; a network that follows mixes them up.
        SHARED: in the space shared with text.
        SHIFTED: there too, but moved away from the texts; a network that follows would serve only images.
    """

    OWN = "own"
    HELD = "held"
    SHARED = "shared"
    SHIFTED = "shifted"

    @property
    def has_text(self) -> bool:
        """Whether texts can be compared with these vectors."""
        return self is not Space.OWN


S = TypeVar("S", bound=PartSettings)


class Part(Generic[S]):
    """One step between a backbone's features and an encoder's vectors.

    A part overrides what it changes; as it stands, this class changes nothing.

    Attributes:
        Settings: its keys in ``config.json``; the names in ``model.safetensors`` are its own as well.
        suffix: what it adds to the backbone's name in tables.
        takes_unit_rows: whether the rows that it is given must have unit length.
        gives_unit_rows: whether its own rows have unit length.
        leaves_features: whether texts are to be given as rows of the shared space, not placed among the features.
        changes_backbone: whether ``backbone_for`` gives another backbone.
    """

    Settings: ClassVar[type[PartSettings]]
    suffix: ClassVar[str] = ""
    takes_unit_rows: ClassVar[bool] = False
    gives_unit_rows: ClassVar[bool] = False
    leaves_features: ClassVar[bool] = False
    changes_backbone: ClassVar[bool] = False

    @classmethod
    def load(cls, settings: S, tensors: Mapping[str, Tensor], backbone: Backbone) -> Self | None:
        """The part as an encoder's folder describes it, or None when the encoder has no such part.

        Args:
            settings: from ``config.json``.
            tensors: all of ``model.safetensors``, by name.
            backbone: freshly loaded; the parts before have changed it already.

        Raises:
            KeyError, RuntimeError: when the tensors are not those of these settings.
        """
        raise NotImplementedError

    @property
    def settings(self) -> S:
        """What ``config.json`` says about it."""
        raise NotImplementedError

    def tensors(self) -> dict[str, Tensor]:
        """What ``model.safetensors`` holds of it, by name."""
        return {}

    def identity(self) -> dict[str, Tensor]:
        """What the encoder's fingerprint covers of it, by name: all that decides a vector."""
        return self.tensors()

    @classmethod
    def card(cls, settings: S) -> dict[str, str]:
        """Rows of the model card's table, also where ``settings`` say that the encoder lacks the part."""
        return {}

    @property
    def is_empty(self) -> bool:
        """Whether it would change nothing; an encoder leaves such a part out."""
        return False

    @property
    def domains(self) -> tuple[str, ...]:
        """Domains whose images it treats in a way of their own."""
        return ()

    @property
    def domain_means(self) -> Mapping[str, Tensor]:
        """Means by which pictures of these domains are told apart, each of one domain's ``domain_rows``."""
        return {}

    def domain_rows(self, rows: Tensor, features: Tensor) -> Tensor:
        """What ``domain_means`` are means of: the rows that come in ``(N, d)``, or the features ``(N, D)``."""
        return rows

    @property
    def similarity(self) -> Similarity | None:
        """How vectors are compared; None where the part leaves that to others."""
        return None

    def backbone_for(self, backbone: Backbone, domain: str | None) -> Backbone:
        """The backbone that embeds the images of a domain, or those of an unknown one."""
        return backbone

    def __call__(self, rows: Tensor, names: Sequence[str | None]) -> Tensor:
        """Images' rows ``(N, d)`` to rows ``(N, dim_after(d))``.

        Args:
            rows: float32, as the parts before left them.
            names: the domain of every row ``(N,)``, or one name for all of them ``(1,)``.
        """
        return rows

    def apply(self, rows: Tensor, features: Tensor, names: Sequence[str | None]) -> Tensor:
        """``__call__``; a part beside those before it starts from the backbone's ``features (N, D)`` instead."""
        return self(rows, names)

    def on_texts(self, rows: Tensor) -> Tensor:
        """Rows of texts ``(T, d)`` to the rows ``(T, dim_after(d))`` that images' rows are compared with."""
        return rows

    def apply_to_texts(self, rows: Tensor, texts: Tensor) -> Tensor:
        """``on_texts``; a part beside those before it starts from the unit ``texts (T, J)`` instead."""
        return self.on_texts(rows)

    def dim_after(self, dim: int) -> int:
        """The length of its rows when those that come in have length ``dim``."""
        return dim

    @classmethod
    def space_after(cls, settings: S, space: Space, features: Space) -> Space:
        """Where the rows of a part of these settings lie, which an encoder's ``config.json`` thus tells.

        Args:
            settings: of a part that is there.
            space: where the rows that come in lie.
            features: where the backbone's features lie.
        """
        return space


AnyPart = Part[Any]
"""A part, whatever its settings."""
