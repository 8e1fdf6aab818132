"""The Encoder: a backbone and an ordered list of parts, in one folder; what search and evaluation use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional as F

from crosslens.backbones import load_backbone
from crosslens.backbones.base import Backbone, hash_weights
from crosslens.backbones.engine import make_engine
from crosslens.backbones.fingerprint import Fingerprint
from crosslens.backbones.graphs import Engine
from crosslens.backbones.reading import require_readable, unread
from crosslens.data.names import Spelling
from crosslens.encoder.header import FORMAT, Header, collect_settings, from_json, to_json, vectors_have_text
from crosslens.encoder.model_card import model_card
from crosslens.encoder.parts import PARTS
from crosslens.encoder.parts.base import AnyPart
from crosslens.encoder.parts.tensors import text_bytes
from crosslens.encoder.querying import encode_by_chunks, find_nearest_domain, run_on_images, without_text
from crosslens.images.decode import ImageSource
from crosslens.images.preprocess import Preprocess
from crosslens.nn.similarity import Similarity
from crosslens.support.errors import BackboneError, RunError
from crosslens.support.files import atomic_path, read_json, require_known_format, write_json
from crosslens.support.utf8 import require_utf8

if TYPE_CHECKING:
    from numpy.typing import NDArray

P = TypeVar("P", bound=AnyPart)
_MAKING = Lock()


class Encoder:
    """Turns images, and where the space allows it texts, into unit vectors that ignore the domain.

    An encoder is not changed once it is made, but for ``trained``; ``with_part`` makes another one.

    Args:
        backbone: the network with its preprocessing.
        parts: at most one of each kind, in any order: pictures pass them in the order of ``PARTS``. None and
            parts that are empty are left out.
        method: how the encoder was obtained.
        trained: facts for the model card.

    Raises:
        ValueError: for two parts of one kind.
    """

    def __init__(
        self,
        backbone: Backbone,
        parts: Iterable[AnyPart | None] = (),
        *,
        method: str = "frozen",
        trained: Mapping[str, Any] | None = None,
    ) -> None:
        self.backbone = backbone
        present = [part for part in parts if part is not None and not part.is_empty]
        self.parts = tuple(sorted(present, key=lambda part: PARTS.index(type(part))))
        kinds = [type(part).__name__ for part in self.parts]
        if len(set(kinds)) < len(kinds):
            raise ValueError(f"an encoder has at most one part of each kind, not {', '.join(kinds)}")
        self.method = method
        self.trained = dict(trained or {})
        self._engines: dict[Any, Engine] = {}

    def __repr__(self) -> str:
        domains = f", domains {', '.join(self.domains)}" if self.domains else ""
        return f"<Encoder {self.name}: vectors of {self.dim} numbers{domains}{', text' if self.has_text else ''}>"

    def part(self, kind: type[P]) -> P | None:
        """The part of one kind, or None."""
        return next((part for part in self.parts if isinstance(part, kind)), None)

    def with_part(self, part: AnyPart) -> Encoder:
        """The same encoder with ``part`` in place of the one of its kind, or without that where it is empty."""
        others = [other for other in self.parts if type(other) is not type(part)]
        return Encoder(self.backbone, [*others, part], method=self.method, trained=self.trained)

    @property
    def dim(self) -> int:
        """d, the length of an encoded vector."""
        dim = self.backbone.dim
        for part in self.parts:
            dim = part.dim_after(dim)
        return dim

    @property
    def name(self) -> str:
        """Backbone and method, for tables."""
        network = self.backbone.name + "".join(part.suffix for part in self.parts)
        return network + ("" if self.method == "frozen" else f"+{self.method}")

    @property
    def has_text(self) -> bool:
        """Whether texts can be encoded too: where the vectors lie in a space that texts share."""
        return vectors_have_text(self.backbone.holds_text, collect_settings(self.parts))

    @property
    def embeds_by_domain(self) -> bool:
        """Whether the images of each domain pass a backbone of their own, so that it must be known first."""
        return any(part.changes_backbone for part in self.parts)

    def backbone_of(self, domain: str | None) -> Backbone:
        """The backbone that embeds a domain's images."""
        backbone, known = self.backbone, self.domain_named(domain)
        for part in self.parts:
            backbone = part.backbone_for(backbone, known)
        return backbone

    @property
    def backbone_title(self) -> str:
        """What the backbone is called today."""
        return self.backbone.title

    @property
    def preprocess(self) -> Preprocess:
        """What is done to an image first."""
        return self.backbone.preprocess

    @property
    def similarity(self) -> Similarity:
        """How vectors are compared; queries take ``similarity.as_queries`` before an inner product."""
        ways = [part.similarity for part in self.parts if part.similarity is not None]
        return ways[-1] if ways else Similarity()

    @property
    def domains(self) -> list[str]:
        """Domains that are treated in a way of their own: with a centre, a map or prompts."""
        return sorted({domain for part in self.parts for domain in part.domains})

    def domain_named(self, name: str | None) -> str | None:
        """The domain that is meant, as it is written here; a name that none of ``domains`` has stays as it is.

        Raises:
            AmbiguousNameError: when two of them could be meant.
        """
        return None if name is None else Spelling(self.domains)(name)

    @property
    def domain_means(self) -> Mapping[str, Tensor]:
        """What the encoder tells domains by: the first part's means of at least two domains, or nothing."""
        return next((part.domain_means for part in self.parts if len(part.domain_means) >= 2), {})

    @property
    def detectable(self) -> tuple[str, ...]:
        """Domains that ``detect_domains`` tells apart: none, or at least two."""
        return tuple(self.domain_means)

    @torch.inference_mode()
    def detect_domains(self, features: NDArray[np.float32]) -> list[str | None]:
        """The domain of each picture among those whose means are kept.

        Args:
            features: of the frozen backbone ``(N, D)``.

        Returns:
            A name for each; None for all where fewer than two means are kept.
        """
        if not self.domain_means:
            return [None] * len(features)
        rows = self.domain_rows(torch.from_numpy(features))
        means = {name: mean.numpy() for name, mean in self.domain_means.items()}
        return [*find_nearest_domain(rows.numpy(), means)]

    def domain_rows(self, features: Tensor) -> Tensor:
        """The frozen backbone's features ``(N, D)`` to the rows that ``domain_means`` are means of."""
        rows = features
        for part in self.parts:
            if len(part.domain_means) >= 2:
                return part.domain_rows(rows, features)
            rows = part.apply(rows, features, [None])
        return features

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """Identity of the encoded vectors; an index refuses those of another."""
        base = self.backbone.fingerprint
        # The settings have a field of their own, so that the weights' hash is what version 0.1 wrote.
        covered = {"backbone": text_bytes(base.without_settings.digest)}
        for part in self.parts:
            covered |= part.identity()
        weights = hash_weights(covered)
        return Fingerprint(
            model=self.name, weights=weights, settings=base.settings, preprocess=base.preprocess, dim=self.dim
        )

    @torch.inference_mode()
    def encode_features(
        self, features: NDArray[np.floating[Any]] | Tensor, domains: Sequence[str | None] | str | None = None
    ) -> NDArray[np.float32]:
        """Backbone features to unit vectors.

        Args:
            features: ``(N, D)``.
            domains: the domain of all rows, or one a row, in any spelling; rows of an unknown domain (None, or one
                without a centre) get the mean of the known centres.

        Returns:
            ``(N, d)`` float32.
        """
        rows = np.asarray(features.detach() if isinstance(features, Tensor) else features, dtype=np.float32)
        return encode_by_chunks(
            self, rows, domains, lambda part, of: self.encode_rows(torch.from_numpy(part), of).numpy()
        )

    def encode_rows(self, features: Tensor, names: Sequence[str | None]) -> Tensor:
        """``encode_features`` on tensors, all at once: features ``(N, D)`` to unit rows ``(N, d)``.

        Args:
            features: float32, on the CPU.
            names: the domain of every row ``(N,)``, or one name for all of them ``(1,)``.
        """
        rows, has_unit_length = features, False
        for part in self.parts:
            if part.takes_unit_rows and not has_unit_length:
                rows = F.normalize(rows, dim=1)
            rows, has_unit_length = part.apply(rows, features, names), part.gives_unit_rows
        return rows if has_unit_length else F.normalize(rows, dim=1)

    def encode_images(
        self,
        images: Sequence[ImageSource] | ImageSource | Tensor,
        domain: str | None = None,
        *,
        device: str | None = None,
    ) -> NDArray[np.float32]:
        """Images to unit vectors ``(N, d)``.

        Args:
            images: pictures, one or many (see ``ImageSource``), also as one array ``(N, H, W, 3)``; or a
                preprocessed tensor ``(N, 3, H, W)``.
            domain: the images' domain, where it is known.
            device: see ``crosslens.backbones.engine.make_engine``.

        Raises:
            ImageError: naming the first image that cannot be decoded.
        """
        if isinstance(images, Tensor):
            return self.encode_features(self.backbone_of(domain).embed_images(images), domain)
        is_one = isinstance(images, ImageSource) and not (isinstance(images, np.ndarray) and images.ndim == 4)
        sources: Sequence[ImageSource] = [images] if is_one else list(images)  # type: ignore[list-item, arg-type]
        return self.encode_features(self.image_features(sources, domain, device=device), domain)

    def image_features(
        self,
        images: Sequence[ImageSource],
        domain: str | None = None,
        *,
        frozen: bool = False,
        device: str | None = None,
    ) -> NDArray[np.float32]:
        """Images to backbone features ``(N, D)``, what ``encode_features`` takes.

        Args:
            images: see ``encode_images``.
            domain: the images' domain, where it is known.
            device: see ``crosslens.backbones.engine.make_engine``.
            frozen: without the prompts that the encoder may have.

        Raises:
            ImageError: naming the first image that cannot be decoded.
        """
        rows = run_on_images(self.engine_of(domain, frozen=frozen, device=device), self.preprocess, images)
        return np.concatenate(rows) if rows else np.empty((0, self.backbone.dim), np.float32)

    def network_of(self, domain: str | None, *, frozen: bool = False) -> str:
        """What tells the network of a domain's images from others: the digest of its backbone's fingerprint."""
        return (self.backbone if frozen else self.backbone_of(domain)).fingerprint.digest

    def engine_of(self, domain: str | None, *, frozen: bool = False, device: str | None = None) -> Engine:
        """What runs the backbone of a domain's images, made once; see ``image_features``."""
        backbone = self.backbone if frozen else self.backbone_of(domain)
        key = (device, backbone.fingerprint.digest)
        with _MAKING:
            if key not in self._engines:
                self._engines[key] = make_engine(backbone, device)
        return self._engines[key]

    def encode_texts(self, texts: Sequence[str] | str) -> NDArray[np.float32]:
        """Texts to unit vectors ``(T, d)``.

        Raises:
            BackboneError: when this encoder's space is not shared with text.
            ConfigError: naming the first text in which the text tower knows no word: all of these would be one.
        """
        if not self.has_text:
            raise BackboneError(without_text(self))
        given = [texts] if isinstance(texts, str) else list(texts)
        require_utf8(given, "text")
        require_readable(self.backbone, given, "text")
        with torch.inference_mode():
            return self._on_texts(self.backbone.embed_texts(given)).numpy()

    def place_texts(self, sentences: Tensor) -> Tensor:
        """What the backbone's text reader gives ``(T, S)`` to unit vectors ``(T, d)``, on tensors."""
        return self._on_texts(self.backbone.place_texts(sentences))

    def unread(self, text: str) -> list[str]:
        """What is left unread of a text that is encoded, in sentences."""
        return unread(self.backbone, text)

    def save(self, folder: Path) -> None:
        """Write ``config.json``, ``model.safetensors`` and the model card ``README.md``, all or nothing."""
        from safetensors.torch import save_file

        tensors = {name: value.contiguous() for part in self.parts for name, value in part.tensors().items()}
        with atomic_path(folder) as temporary:
            temporary.mkdir(parents=True)
            save_file(tensors, temporary / "model.safetensors")
            (temporary / "README.md").write_text(self.model_card(), encoding="utf-8")
            write_json(temporary / "config.json", to_json(self._header(), collect_settings(self.parts)))

    @classmethod
    def load(cls, folder: Path) -> Encoder:
        """Read an encoder folder.

        Raises:
            RunError: when it is none, is damaged, or of a newer crosslens.
            FingerprintError: when the backbone found here is not the one it was trained behind.
        """
        from safetensors.torch import load_file

        description = read_json(folder / "config.json", RunError)
        require_known_format(description, folder, FORMAT, RunError)
        try:
            header, settings = from_json(description)
            tensors = load_file(folder / "model.safetensors")
        except ValidationError as error:
            raise RunError(f"{folder}/config.json is damaged: {error}") from error
        except Exception as error:
            # safetensors raises its own kinds on a damaged file.
            raise RunError(f"{folder}/model.safetensors cannot be read: {error}") from error
        told = header.fingerprint.preprocess
        name = header.fingerprint.model_copy(update={"model": header.backbone}).asked_for_as
        backbone = load_backbone(name, decode=told.decode)
        # Its fingerprints hold the name that it had then.
        backbone.name = header.backbone
        # An encoder goes on cropping as it did when it was trained.
        backbone.preprocess = backbone.preprocess.model_copy(update={"margin": told.margin})
        try:
            parts = [kind.load(settings[kind], tensors, backbone) for kind in PARTS]
        except (RuntimeError, KeyError) as error:
            raise RunError(f"{folder}/model.safetensors does not fit its config.json: {error}") from error
        header.fingerprint.require(backbone.fingerprint, f"the encoder {folder}")
        return cls(backbone, parts, method=header.method, trained=header.trained)

    def model_card(self) -> str:
        """Markdown that says what the encoder is, what it was trained on and how to use it."""
        return model_card(self._header(), collect_settings(self.parts), self.dim, self.domains, self.similarity)

    def _header(self) -> Header:
        return Header(
            method=self.method,
            backbone=self.backbone.name,
            fingerprint=self.backbone.fingerprint,
            trained=self.trained,
        )

    def _on_texts(self, texts: Tensor) -> Tensor:
        rows = texts
        if self.backbone.holds_text and not any(part.leaves_features for part in self.parts):
            rows = self.backbone.among_features(rows)
        for part in self.parts:
            rows = part.apply_to_texts(rows, texts)
        return rows
