"""What is done with a batch of images: decode, draw views, run the backbone."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from crosslens.backbones.graphs import Engine
from crosslens.data.catalog import Catalog
from crosslens.features.store import FeatureConfig, Skipped
from crosslens.images.decode import read_encoded
from crosslens.images.preprocess import Preprocess
from crosslens.support.addresses import Place
from crosslens.support.errors import ImageError
from crosslens.support.file_stamp import FileStamp, content_digest, stamps_of
from crosslens.support.reading import read_ahead
from crosslens.support.remote import Remote

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Item:
    """An image as it is now; ``state`` is None where there is no file."""

    id: str
    path: Place
    relative: str
    state: FileStamp | None

    @property
    def stamp(self) -> str:
        """Path and state of the file, by which its features are found again."""
        # The job itself reports why a file cannot be read.
        return f"{self.relative}|{'missing' if self.state is None else self.state}"

    @cached_property
    def content(self) -> str:
        """The digest of the file's bytes; empty where they cannot be read."""
        try:
            return content_digest(self.path)
        except OSError:
            return ""

    def read(self) -> bytes:
        """The file's bytes, whose digest is ``content`` from then on.

        Raises:
            ImageError: when they cannot be read.
            UnreachableError: see ``read_encoded``.
        """
        content = read_encoded(self.path)
        self.__dict__["content"] = content_digest(content)
        return content

    def has(self, stamp: str | None) -> bool:
        """Whether a stamp is of this very image: the same file, or one of the same content."""
        if stamp is None or not stamp.startswith(f"{self.relative}|"):
            return False
        known = stamp.removeprefix(f"{self.relative}|").split("|")
        if self.state is None:
            return known == ["missing"]
        now = [str(part) for part in self.state]
        # A stamp of size and time alone is an older version's.
        if known in (now[:2], now) or known[:-1] == now:
            return True
        # A copy is another file, but embedding it again would give what is there.
        return len(known) == len(now) + 1 and known[0] == now[0] and known[-1] == self.content


@dataclass
class Decoded:
    """Some images, decoded.

    Attributes:
        items: those that could be.
        squares: their pixels ``(n (1 + V), H, W, 3)`` uint8; an image's views behind one another.
        skipped: those that could not, and why.
    """

    items: list[Item]
    squares: NDArray[np.uint8]
    skipped: list[Skipped]


@dataclass
class Batch:
    """What became of some images.

    Attributes:
        items: those that have features.
        features: ``(n, 1 + V, D)``, theirs.
        skipped: those that have none, and why.
    """

    items: list[Item]
    features: NDArray[np.float32]
    skipped: list[Skipped]

    def __len__(self) -> int:
        return len(self.items) + len(self.skipped)


class Stages:
    """Seconds spent in each stage, summed over threads."""

    def __init__(self) -> None:
        self.seconds = {"read": 0.0, "decode": 0.0, "augment": 0.0, "infer": 0.0, "write": 0.0}
        self._lock = threading.Lock()

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Count the time inside ``with`` to a stage."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add({stage: time.perf_counter() - started})

    def add(self, seconds: Mapping[str, float]) -> None:
        """Count seconds to their stages."""
        with self._lock:
            for stage, spent in seconds.items():
                self.seconds[stage] += spent


class Decoder:
    """The first half: from files to squares of pixels."""

    def __init__(self, preprocess: Preprocess, config: FeatureConfig, stages: Stages) -> None:
        self._preprocess = preprocess
        self._config = config
        self._stages = stages

    def __call__(self, items: list[Item], contents: Sequence[Future[bytes] | None] | None = None) -> Decoded:
        """Decode and draw views; what fails is skipped with its reason.

        Args:
            items: some images.
            contents: the bytes of those that are on their way already.
        """
        squares: list[NDArray[np.uint8]] = []
        kept: list[Item] = []
        skipped: list[Skipped] = []
        for item, content in zip(items, contents or [None] * len(items), strict=True):
            try:
                squares.extend(self._squares(item, content))
                kept.append(item)
            except ImageError as error:
                skipped.append(Skipped(item.id, str(item.path), str(error), item.stamp))
        side = self._preprocess.crop
        return Decoded(kept, np.stack(squares) if squares else np.empty((0, side, side, 3), np.uint8), skipped)

    def _squares(self, item: Item, content: Future[bytes] | None) -> list[NDArray[np.uint8]]:
        with self._stages.timed("read"):
            encoded = item.read() if content is None else content.result()
        with self._stages.timed("decode"):
            image = self._preprocess.load(encoded, str(item.path))
            squares = [np.asarray(self._preprocess.square(image), np.uint8)]
        if self._config.augmentation is not None:
            with self._stages.timed("augment"):
                for view in range(self._config.views):
                    rng = view_generator(self._config.seed, item.id, view)
                    drawn = self._config.augmentation.view(image, self._preprocess.crop, rng)
                    squares.append(np.asarray(drawn, np.uint8))
        return squares


class Tower:
    """The second half: from squares of pixels to features."""

    def __init__(self, engine: Engine, config: FeatureConfig, stages: Stages) -> None:
        self._engine = engine
        self._config = config
        self._stages = stages

    def __call__(self, decoded: Decoded) -> Batch:
        """Run the backbone; images whose features are not finite are skipped."""
        kept, skipped = decoded.items, decoded.skipped
        per_image, dim = 1 + self._config.views, self._config.fingerprint.dim
        if not kept:
            return Batch([], np.empty((0, per_image, dim), np.float32), skipped)
        with self._stages.timed("infer"):
            rows = self._engine.run(decoded.squares)
        values = rows.reshape(len(kept), per_image, dim)
        sound = np.array([np.isfinite(own).all() for own in values], bool)
        if not sound.all():
            reason = f"the backbone {self._config.fingerprint.model} gave NaN or infinity"
            skipped = skipped + [
                Skipped(item.id, str(item.path), reason, item.stamp)
                for item, fine in zip(kept, sound, strict=True)
                if not fine
            ]
            kept = [item for item, fine in zip(kept, sound, strict=True) if fine]
        return Batch(kept, values[sound], skipped)


def view_generator(seed: int, image: str, view: int) -> np.random.Generator:
    """The random generator of one view of one image: the same wherever and whenever it is drawn."""
    digest = hashlib.blake2b(f"{seed}|{view}|{image}".encode(), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(digest, "little"))


def items_of(catalog: Catalog) -> Iterator[Item]:
    """The images of a catalog as they are now, in its order."""
    paths = catalog.paths
    for image, relative, path, state in zip(
        catalog.ids, catalog.column("path"), paths, stamps_of(paths), strict=True
    ):
        yield Item(image, path, relative, state)


def sent_for(batches: Sequence[list[Item]]) -> Iterator[tuple[list[Item], list[Future[bytes] | None]]]:
    """Each batch, with the bytes of its images on their way where they lie in object storage.

    Those of the batches behind it are on their way too, within bounds.
    """
    items = (item for batch in batches for item in batch if isinstance(item.path, Remote))
    coming = read_ahead(Item.read, items)
    for batch in batches:
        yield batch, [next(coming)[1] if isinstance(item.path, Remote) else None for item in batch]
