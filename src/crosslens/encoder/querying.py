"""What queries need of an encoder, whether PyTorch computes it or a form that does without."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from crosslens.backbones.devices import cpu_workers
from crosslens.backbones.fingerprint import Fingerprint
from crosslens.backbones.graphs import Engine
from crosslens.images.decode import ImageSource
from crosslens.images.preprocess import Preprocess
from crosslens.nn.similarity import Similarity

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]


class QueryEncoder(Protocol):
    """Turns pictures, and where the space allows it texts, into unit vectors; see ``Encoder``.

    What an image's features are made with is a network: one for all, or one for each domain where prompts change
    the backbone. ``frozen`` asks for the one without prompts.
    """

    @property
    def name(self) -> str:
        """Backbone and method, for tables."""
        ...

    @property
    def backbone_title(self) -> str:
        """What the backbone is called today."""
        ...

    @property
    def dim(self) -> int:
        """d, the length of a vector."""
        ...

    @property
    def has_text(self) -> bool:
        """Whether texts can be encoded too."""
        ...

    @property
    def embeds_by_domain(self) -> bool:
        """Whether each domain's images pass a network of their own."""
        ...

    @property
    def fingerprint(self) -> Fingerprint:
        """Identity of the vectors."""
        ...

    @property
    def similarity(self) -> Similarity:
        """How vectors are compared."""
        ...

    @property
    def preprocess(self) -> Preprocess:
        """What is done to a picture first."""
        ...

    @property
    def domains(self) -> list[str]:
        """Domains that are treated in a way of their own."""
        ...

    @property
    def detectable(self) -> tuple[str, ...]:
        """Domains that ``detect_domains`` tells apart: none, or at least two."""
        ...

    def domain_named(self, name: str | None) -> str | None:
        """The domain that is meant; see ``Encoder.domain_named``."""
        ...

    def detect_domains(self, features: Array) -> list[str | None]:
        """Each picture's domain by the frozen network's features ``(N, D)``, None where none is detectable."""
        ...

    def encode_features(self, features: Array, domains: Sequence[str | None] | str | None = None) -> Array:
        """Features ``(N, D)`` to unit vectors ``(N, d)``; see ``Encoder.encode_features``."""
        ...

    def image_features(
        self,
        images: Sequence[ImageSource],
        domain: str | None = None,
        *,
        frozen: bool = False,
        device: str | None = None,
    ) -> Array:
        """Images to features ``(N, D)``; see ``Encoder.image_features``."""
        ...

    def encode_texts(self, texts: Sequence[str] | str) -> Array:
        """Texts to unit vectors ``(T, d)``; see ``Encoder.encode_texts``."""
        ...

    def unread(self, text: str) -> list[str]:
        """What is left unread of a text that is encoded, in sentences."""
        ...

    def network_of(self, domain: str | None, *, frozen: bool = False) -> str:
        """What tells a domain's network from others, those of other encoders too."""
        ...

    def engine_of(self, domain: str | None, *, frozen: bool = False, device: str | None = None) -> Engine:
        """What runs a domain's network."""
        ...


def without_text(encoder: QueryEncoder) -> str:
    """What is said where an encoder is asked with words and its space is not shared with them.

    One of an earlier version may be called like one that reads: its backbone's title of today tells them apart.
    """
    named = encoder.name.partition("+")[0] == encoder.backbone_title
    own = encoder.name if named else f"{encoder.name} (its backbone is {encoder.backbone_title})"
    return f"{own} does not understand text; use one that does, such as lite, lite:joint or clip:PATH"


def run_on_images(engine: Engine, preprocess: Preprocess, images: Sequence[ImageSource]) -> list[Array]:
    """The features of images, batch by batch; decoding of one runs beside the network on another.

    Raises:
        ImageError: naming the first image that cannot be decoded.
    """
    opened = [Path(source) if isinstance(source, str) else source for source in images]

    def run(batch: Sequence[ImageSource]) -> Array:
        return engine.run(np.stack([preprocess.pixels(source) for source in batch]))

    with ThreadPoolExecutor(cpu_workers()) as pool:
        return list(pool.map(run, _batches(iter(opened), engine.batch_size)))


def find_nearest_domain(rows: Array, means: Mapping[str, NDArray[np.floating[Any]]]) -> list[str]:
    """The domain of each row ``(N, D)``: the name of the mean ``(D,)`` with the largest cosine."""
    names = list(means)
    table = np.stack([np.asarray(means[name], np.float32) for name in names])
    # The length of a row changes nothing about which mean is the nearest.
    directions = table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-12)
    return [names[row] for row in (np.asarray(rows, np.float32) @ directions.T).argmax(1).tolist()]


def encode_by_chunks(
    encoder: QueryEncoder,
    rows: Array,
    domains: Sequence[str | None] | str | None,
    encode: Callable[[Array, Sequence[str | None]], Array],
) -> Array:
    """Rows ``(N, D)`` to vectors ``(N, d)``, a few thousand at a time.

    Args:
        encoder: knows the domains.
        rows: features.
        domains: see ``Encoder.encode_features``.
        encode: some rows with their domains, one a row or one for all, to vectors.
    """
    asked = [domains] if domains is None or isinstance(domains, str) else list(domains)
    known = {name: encoder.domain_named(name) for name in set(asked)}
    names = [known[name] for name in asked]
    slices = [slice(start, start + _ROWS) for start in range(0, len(rows), _ROWS)]
    encoded = [encode(rows[some], names if len(names) == 1 else names[some]) for some in slices]
    return np.concatenate(encoded) if encoded else np.empty((0, encoder.dim), np.float32)


_ROWS = 8192


def _batches(sources: Iterator[ImageSource], size: int) -> Iterator[list[ImageSource]]:
    while batch := list(islice(sources, size)):
        yield batch
