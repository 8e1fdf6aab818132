"""What a backbone is: a network with its preprocessing."""

from __future__ import annotations

import copy
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crosslens.backbones.fingerprint import Fingerprint
from crosslens.backbones.reading import Reading, has_letters
from crosslens.images.preprocess import Preprocess
from crosslens.support.errors import BackboneError


class Backbone(ABC):
    """A frozen network that turns images, and with a text tower also words, into vectors.

    Attributes:
        name: how ``load_backbone`` was asked for it, such as ``lite`` or ``clip:openai/clip-vit-base-patch32``.
        preprocess: what is done to an image first.
        settings: see ``Fingerprint``.
        dim: D, the length of an image feature.
        joint_dim: J, the length of a vector in the space shared with text; None without a text tower.
        joint_kind: which of several such spaces behind the same features; empty for the usual one.
        holds_text: whether the features themselves hold the space shared with text, as their last J numbers.
        tower: the image network, ``(N, 3, H, W)`` preprocessed float32 to ``(N, D)``, in evaluation mode.
        text_reader: what turns texts into the rows that ``place_texts`` takes, a name in ``TEXT_READERS``; empty
            where PyTorch reads them.
        pretrained_head: a projection head that came with the weights (MoCo v2), ``(N, D)`` to ``(N, d)``; features
            do not pass through it.
    """

    name: str
    preprocess: Preprocess
    settings: str = ""
    dim: int
    joint_dim: int | None = None
    joint_kind: str = ""
    text_reader: str = ""
    holds_text: bool = False
    tower: nn.Module
    pretrained_head: nn.Module | None = None
    _fingerprint: Fingerprint | None = None

    @property
    def has_text(self) -> bool:
        """Whether ``embed_texts`` and ``to_joint`` work."""
        return self.joint_dim is not None

    @property
    def title(self) -> str:
        """What it is called today, for people."""
        return self.fingerprint.asked_for_as

    @property
    def taught(self) -> frozenset[str]:
        """Class names that the backbone is known to have learned from pictures that are like drawings."""
        return frozenset()

    @property
    def fingerprint(self) -> Fingerprint:
        """The identity of this backbone's image features."""
        known = self._fingerprint
        parts: dict[str, Any] = {
            "weights": self._weights_hash,
            "settings": self.settings,
            "preprocess": self.preprocess,
        }
        # A server asks with every request; a copy with other preprocessing or another tower is another one.
        if known is None or any(getattr(known, name) != part for name, part in parts.items()):
            known = self._fingerprint = Fingerprint(model=self.name, dim=self.dim, **parts)
        return known

    @cached_property
    def _weights_hash(self) -> str:
        return hash_weights(self.tower.state_dict())

    def with_tower(self, tower: nn.Module) -> Self:
        """The same backbone with another image network of the same shape (one that was trained further)."""
        twin = copy.copy(self)
        twin.tower = tower
        twin.__dict__.pop("_weights_hash", None)
        return twin

    @torch.inference_mode()
    def embed_images(self, images: Tensor) -> Tensor:
        """Preprocessed images ``(N, 3, H, W)`` to features ``(N, D)``, float32, not normalised.

        Raises:
            BackboneError: when the shape is another one.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise BackboneError(f"images must be (N, 3, H, W), not {tuple(images.shape)}")
        # An engine may have moved the tower to a GPU; a tower without weights is at home anywhere.
        home = next(self.tower.parameters(), images).device
        features: Tensor = self.tower(images.to(home))
        return features.float().to(images.device)

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Texts to unit rows ``(T, J)`` of the space shared with images.

        Raises:
            BackboneError: when this backbone has no text tower.
        """
        raise self._no_text()

    def place_texts(self, sentences: Tensor) -> Tensor:
        """What ``text_reader`` gives ``(T, S)`` to unit rows ``(T, J)`` of the space shared with images.

        Raises:
            BackboneError: when this backbone has no such reader.
        """
        raise self._no_text()

    def reading(self, text: str) -> Reading:
        """How the text tower's tokenizer reads ``text``; a tower that does not tell reads all that can be seen.

        Raises:
            BackboneError: when this backbone has no text tower.
        """
        if not self.has_text:
            raise self._no_text()
        return Reading(has_letters(text))

    def reads(self, text: str) -> bool:
        """Whether the text tower's tokenizer finds anything in ``text`` that it knows.

        Raises:
            BackboneError: when this backbone has no text tower.
        """
        return self.reading(text).words

    def to_joint(self, features: Tensor) -> Tensor:
        """Image features ``(N, D)`` to unit rows ``(N, J)`` of the space shared with text.

        Raises:
            BackboneError: when this backbone has no text tower.
        """
        raise self._no_text()

    def among_features(self, texts: Tensor) -> Tensor:
        """Unit rows of the shared space ``(T, J)`` to where features hold it ``(T, D)``; zeros elsewhere."""
        return F.pad(texts, (self.dim - texts.shape[1], 0))

    def _no_text(self) -> BackboneError:
        return BackboneError(
            f"{self.name} has no text tower; use one that has: lite, clip:PATH, siglip:PATH, openai-clip:FILE"
        )


class VisionLanguageBackbone(Backbone):
    """A backbone whose image features already lie in the space shared with text (CLIP, SigLIP): J = D."""

    @abstractmethod
    def encode_text_batch(self, texts: Sequence[str]) -> Tensor:
        """At most a few hundred texts to ``(T, D)``, float32, not normalised."""

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Texts to unit rows ``(T, D)``."""
        rows = [self.encode_text_batch(texts[start : start + 256]) for start in range(0, len(texts), 256)]
        return F.normalize(torch.cat(rows).float(), dim=1) if rows else torch.zeros(0, self.dim)

    def to_joint(self, features: Tensor) -> Tensor:
        """Unit rows of the features themselves."""
        return F.normalize(features.float(), dim=1)


def hash_settings(settings: Mapping[str, Any]) -> str:
    """16 hexadecimal characters from plain values by name, in sorted order; empty where there are none."""
    text = json.dumps(settings, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16] if settings else ""


def hash_weights(state: Mapping[str, Tensor]) -> str:
    """16 hexadecimal characters from the names, shapes and bytes of a state dict, in sorted order."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()[:16]


def load_weights(module: nn.Module, state: Mapping[str, Tensor], source: str, ignore: Sequence[str] = ()) -> None:
    """Copy ``state`` into ``module``; every weight must be there, with the same shape.

    Args:
        module: the network to fill.
        state: names to tensors, already mapped to the module's own names.
        source: the file or folder, for messages.
        ignore: beginnings of names in ``state`` that this network does not use.

    Raises:
        BackboneError: listing the names that are missing, unexpected or of another shape. Nothing is left at
            its random initial value silently.
    """
    own = module.state_dict()
    given = (
        {key: value for key, value in state.items() if not key.startswith(tuple(ignore))}
        if ignore
        else dict(state)
    )
    # Counters of BatchNorm are not weights: old checkpoints lack them and nothing reads them.
    missing = [key for key in own if key not in given and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in given if key not in own]
    shapes = [
        f"{key}: {tuple(given[key].shape)} in the file, {tuple(own[key].shape)} in the network"
        for key in own
        if key in given and given[key].shape != own[key].shape
    ]
    if faults := describe_faults({"missing": missing, "unexpected": unexpected, "of another shape": shapes}):
        raise BackboneError(f"{source} does not fit this network: {faults}")
    module.load_state_dict(given, strict=False)


def describe_faults(faults: Mapping[str, Sequence[str]]) -> str:
    """Counts and names of weights by what is wrong with them; empty when nothing is."""
    parts = [f"{len(names)} {what} ({list_names(names)})" for what, names in faults.items() if names]
    return "; ".join(parts)


def list_names(names: Sequence[str], most: int = 8) -> str:
    """The first ``most`` names, comma-separated, and how many more there are."""
    more = f", and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
