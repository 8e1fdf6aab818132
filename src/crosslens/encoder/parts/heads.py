"""Trained heads: one, or several side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

from torch import Tensor

from crosslens.backbones.base import Backbone
from crosslens.encoder.parts.base import Part, PartSettings, Space
from crosslens.encoder.parts.tensors import add_prefix, take_prefix
from crosslens.nn.heads import Head, HeadGroup


class HeadsSettings(PartSettings):
    """See ``Part.Settings``.

    Attributes:
        head: widths of each head, or None.
        members: heads side by side.
        unit_inputs: see ``crosslens.nn.heads.Head``.
        text: whether the vectors lie in the space shared with text.
    """

    head: tuple[int, ...] | None = None
    members: int = 1
    unit_inputs: bool = True
    text: bool = False


class Heads(Part[HeadsSettings]):
    """Multi-layer perceptrons whose unit vectors are joined; the cosine is then the mean over the heads.

    Args:
        heads: at least one, all of the same widths.
        text: whether they were trained to end in the space shared with text.
    """

    Settings = HeadsSettings
    gives_unit_rows = True
    leaves_features = True

    def __init__(self, heads: Sequence[Head], *, text: bool = False) -> None:
        self.group = HeadGroup(heads).cpu().eval().requires_grad_(False)
        self.text = text

    @classmethod
    def load(cls, settings: HeadsSettings, tensors: Mapping[str, Tensor], backbone: Backbone) -> Self | None:
        """Heads of the widths that are given."""
        if settings.head is None:
            return None
        heads = [Head(settings.head, unit_inputs=settings.unit_inputs) for _ in range(settings.members)]
        HeadGroup(heads).load_state_dict(take_prefix("head.", tensors))
        return cls(heads, text=settings.text)

    @property
    def settings(self) -> HeadsSettings:
        """Number, widths and what they were trained for."""
        return HeadsSettings(
            head=self.group.sizes,
            members=len(self.group.members),
            unit_inputs=self.group.unit_inputs,
            text=self.text,
        )

    def tensors(self) -> dict[str, Tensor]:
        """All weights."""
        return add_prefix("head.", self.group.state_dict())

    def __call__(self, rows: Tensor, names: Sequence[str | None]) -> Tensor:
        """Rows ``(N, D)`` to unit rows ``(N, members x d)``."""
        unit: Tensor = self.group(rows)
        return unit

    def on_texts(self, rows: Tensor) -> Tensor:
        """A text stands once for each head."""
        members = len(self.group.members)
        return rows.repeat(1, members) / members**0.5

    def dim_after(self, dim: int) -> int:
        """The length of a joined vector."""
        return self.group.dim

    @classmethod
    def space_after(cls, settings: HeadsSettings, space: Space, features: Space) -> Space:
        """Only training can say that texts are still at home there."""
        return Space.SHARED if settings.text else Space.OWN
