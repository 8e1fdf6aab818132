"""An encoder that answers queries without PyTorch: its networks as ONNX files, beside what it says of itself.

    ENCODER/onnx/compiled.json       what it is, and of which encoder folder it was made
    ENCODER/onnx/features*.onnx      squares (N, H, W, 3) uint8 to features (N, D): one for all, or one a domain
    ENCODER/onnx/vectors.onnx        features (N, D) and the numbers of their domains (N,) to unit vectors (N, d)
    ENCODER/onnx/looks.onnx          features (N, D) to what the means in looks.safetensors are means of
    ENCODER/onnx/texts.onnx          what a text reader gives (T, S) to unit vectors (T, d)

An encoder folder that lacks them has them in the cache, under the digest of what they were made of. They are never
changed, and one that is missing or damaged is no more than slow: ``open_query_encoder`` then asks PyTorch.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from crosslens.backbones import TEXT_READERS
from crosslens.backbones.devices import gpu_is_here
from crosslens.backbones.fingerprint import Fingerprint
from crosslens.backbones.graphs import Engine, OnnxEngine, open_graph, run_graph
from crosslens.backbones.reading import Reading, require_readable, unread
from crosslens.data.names import Spelling
from crosslens.encoder.querying import encode_by_chunks, find_nearest_domain, run_on_images, without_text
from crosslens.images.decode import ImageSource
from crosslens.images.preprocess import Preprocess
from crosslens.nn.similarity import Similarity
from crosslens.support.errors import BackboneError, RunError
from crosslens.support.files import read_json
from crosslens.support.places import cache_folder
from crosslens.support.utf8 import require_utf8

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crosslens.encoder.encoder import Encoder

    Array = NDArray[np.float32]

FOLDER = "onnx"
FACTS = "compiled.json"
FROZEN = "features.onnx"
VECTORS, LOOKS, TEXTS = "vectors.onnx", "looks.onnx", "texts.onnx"
MEANS = "looks.safetensors"


class CompiledFacts(BaseModel):
    """What a compiled encoder says of itself.

    Attributes:
        format: of these files.
        made_of: ``source_digest`` of the encoder folder.
        refused: why there is nothing but this file: the encoder cannot be compiled. Empty where it was.
        name, backbone_title, dim, domains, detectable, has_text, similarity, fingerprint, preprocess: see
            ``QueryEncoder``.
        backbone: name of the backbone.
        width: D, the length of its features.
        networks: file and identity of each network, the frozen one under ``""`` first; with prompts one a domain,
            and one under ``*`` for all others.
        reader: what reads texts, a name in ``TEXT_READERS``; empty where PyTorch must.
        looks: whether rows for domains to be told by are made of features first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    made_of: str
    refused: str = ""
    name: str = ""
    backbone: str = ""
    backbone_title: str = ""
    dim: int = 0
    width: int = 0
    domains: tuple[str, ...] = ()
    detectable: tuple[str, ...] = ()
    has_text: bool = False
    similarity: Similarity = Similarity()
    fingerprint: Fingerprint | None = None
    preprocess: Preprocess = Preprocess()
    networks: dict[str, tuple[str, str]] = {}
    reader: str = ""
    looks: bool = False


OTHERS = "*"
"""In place of a domain: all that have no network of their own."""


def source_digest(folder: Path) -> str:
    """16 hexadecimal characters that stand for all that decides what an encoder folder computes.

    Raises:
        RunError: when it is no encoder folder.
    """
    config = read_json(folder / "config.json", RunError)
    # Where and when it was trained changes nothing.
    config.pop("trained", None)
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    try:
        with open(folder / "model.safetensors", "rb") as handle:
            digest.update(hashlib.file_digest(handle, "sha256").digest())
    except OSError as error:
        raise RunError(f"{folder}/model.safetensors cannot be read: {error}") from error
    return digest.hexdigest()[:16]


def cached_place(made_of: str) -> Path:
    """Where the cache has the compiled encoder of a ``source_digest``."""
    return cache_folder() / "encoders" / made_of


def read_facts(place: Path, made_of: str) -> CompiledFacts | None:
    """What a folder says of the compiled encoder in it; None where there is none of this source that is whole."""
    try:
        facts = CompiledFacts.model_validate(read_json(place / FACTS, RunError))
    except (RunError, ValidationError):
        return None
    return facts if facts.made_of == made_of else None


class CompiledEncoder:
    """Answers as the ``Encoder`` does that it was made of, up to rounding, without PyTorch.

    Args:
        place: where its files lie.
        facts: what it says of itself.
        original: loads the encoder that it was made of, for what only that can do.
    """

    def __init__(self, place: Path, facts: CompiledFacts, original: Callable[[], Encoder]) -> None:
        assert facts.fingerprint is not None
        self._place, self._facts, self._load = place, facts, original
        self.name, self.dim, self.has_text = facts.name, facts.dim, facts.has_text
        self.backbone_title = facts.backbone_title
        self.domains, self.detectable = list(facts.domains), facts.detectable
        self.similarity, self.preprocess = facts.similarity, facts.preprocess
        self.fingerprint = facts.fingerprint
        self.embeds_by_domain = len(facts.networks) > 1
        self._engines: dict[str, Engine] = {}
        self._making = threading.RLock()
        # Loaded at once: a file that is damaged must be known before it is relied on.
        self._vectors = open_graph(place / VECTORS)
        self._numbers = {name: number for number, name in enumerate([None, *self.domains])}

    def domain_named(self, name: str | None) -> str | None:
        """See ``Encoder.domain_named``."""
        return None if name is None else Spelling(self.domains)(name)

    def detect_domains(self, features: Array) -> list[str | None]:
        """See ``QueryEncoder.detect_domains``."""
        if not self.detectable or not len(features):
            return [None] * len(features)
        rows, means = features, self._means
        if self._facts.looks:
            rows = run_graph(self._graph(LOOKS), np.asarray(features, np.float32))
        return [*find_nearest_domain(rows, dict(zip(self.detectable, means, strict=True)))]

    def encode_features(
        self, features: NDArray[np.floating[Any]], domains: Sequence[str | None] | str | None = None
    ) -> Array:
        """See ``Encoder.encode_features``."""
        return encode_by_chunks(self, np.asarray(features, np.float32), domains, self._encode)

    def image_features(
        self,
        images: Sequence[ImageSource],
        domain: str | None = None,
        *,
        frozen: bool = False,
        device: str | None = None,
    ) -> Array:
        """See ``Encoder.image_features``; without a device on this processor: a few pictures are done before a
        GPU has woken."""
        engine = self.engine_of(domain, frozen=frozen, device=device or "cpu")
        rows = run_on_images(engine, self.preprocess, images)
        return np.concatenate(rows) if rows else np.empty((0, self._facts.width), np.float32)

    def encode_texts(self, texts: Sequence[str] | str) -> Array:
        """See ``Encoder.encode_texts``."""
        if self.has_text and not self._facts.reader:
            return self._original.encode_texts(texts)
        if not self.has_text:
            raise BackboneError(without_text(self))
        given = [texts] if isinstance(texts, str) else list(texts)
        require_utf8(given, "text")
        require_readable(self._reader, given, "text")
        if not given:
            return np.empty((0, self.dim), np.float32)
        return run_graph(self._graph(TEXTS), self._reader.read(given))

    def unread(self, text: str) -> list[str]:
        """See ``QueryEncoder.unread``."""
        return unread(self._reader, text) if self._facts.reader else self._original.unread(text)

    def network_of(self, domain: str | None, *, frozen: bool = False) -> str:
        """See ``QueryEncoder.network_of``."""
        return self._network(domain, frozen)[1]

    def engine_of(self, domain: str | None, *, frozen: bool = False, device: str | None = None) -> Engine:
        """See ``QueryEncoder.engine_of``: ONNX Runtime, but on a GPU PyTorch, where there is one and none other is
        asked for."""
        if device not in (None, "cpu") or (device is None and gpu_is_here()):
            return self._original.engine_of(domain, frozen=frozen, device=device)
        file, _ = self._network(domain, frozen)
        with self._making:
            if file not in self._engines:
                self._engines[file] = OnnxEngine(self._place / file)
            return self._engines[file]

    @cached_property
    def _original(self) -> Encoder:
        return self._load()

    @cached_property
    def _means(self) -> NDArray[np.float32]:
        from safetensors.numpy import load_file

        means: NDArray[np.float32] = load_file(self._place / MEANS)["means"]
        return means

    @cached_property
    def _reader(self) -> _Reader:
        return _Reader(self._facts.backbone, self._facts.reader)

    @cached_property
    def _graphs(self) -> dict[str, Any]:
        return {}

    def _graph(self, name: str) -> Any:
        with self._making:
            if name not in self._graphs:
                self._graphs[name] = open_graph(self._place / name)
            return self._graphs[name]

    def _network(self, domain: str | None, frozen: bool) -> tuple[str, str]:
        networks = self._facts.networks
        if frozen or not self.embeds_by_domain:
            return networks[""]
        return networks.get(self.domain_named(domain) or OTHERS, networks[OTHERS])

    def _encode(self, rows: Array, names: Sequence[str | None]) -> Array:
        if not self.domains:
            return run_graph(self._vectors, rows)
        numbers = np.array([self._numbers.get(name, 0) for name in names], np.int64)
        return run_graph(self._vectors, rows, np.broadcast_to(numbers, (len(rows),)).copy())


class _Reader:
    """A text reader under the name of its backbone."""

    def __init__(self, backbone: str, reader: str) -> None:
        self.name = backbone
        self.read = TEXT_READERS[reader]()

    def reading(self, text: str) -> Reading:
        return self.read.reading(text)

    def reads(self, text: str) -> bool:
        return self.reading(text).words
