"""From a catalog and a backbone to features in memory, through the cache."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crosslens.backbones.base import Backbone
from crosslens.backbones.fingerprint import Fingerprint
from crosslens.data.catalog import Catalog
from crosslens.features.embed import embed_and_open
from crosslens.features.runner import OnThreads
from crosslens.features.store import FeatureConfig, FeatureStore, Skipped
from crosslens.features.stored import StoredRows
from crosslens.images.augment import Augmentation
from crosslens.images.decode import REVISION
from crosslens.support.addresses import Place, place_of
from crosslens.support.errors import FeatureError, NothingEmbeddedError
from crosslens.support.places import cache_folder
from crosslens.support.progress import note

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Features:
    """Features of the images of a catalog.

    Attributes:
        catalog: the N images that have features; skipped ones are left out.
        values: ``(N, 1 + V, D)`` fp16; ``[:, 0]`` is the centre view.
        fingerprint: of the backbone.
        skipped: images of the catalog asked for that have none as they are now.
    """

    catalog: Catalog
    values: NDArray[np.float16]
    fingerprint: Fingerprint
    skipped: tuple[Skipped, ...] = ()

    @property
    def centre(self) -> NDArray[np.float32]:
        """The centre views ``(N, D)`` float32."""
        return self.values[:, 0].astype(np.float32)

    @property
    def views(self) -> int:
        """V, random views beside the centre view."""
        return self.values.shape[1] - 1

    def where(self, mask: NDArray[np.bool_]) -> Features:
        """The rows where ``mask (N,)`` is True."""
        return Features(self.catalog.where(mask), self.values[mask], self.fingerprint, self.skipped)

    def of_domain(self, domain: str) -> Features:
        """The rows of one domain.

        Raises:
            FeatureError: when no image of that domain has features.
        """
        return self.where(_of_domain(self.catalog, domain))


@dataclass(frozen=True)
class StoredFeatures:
    """Features of the images of a catalog that stay on disk.

    Attributes:
        catalog: the N images that have features; skipped ones are left out.
        rows: of each image.
        fingerprint: of the backbone.
        skipped: images of the catalog asked for that have none as they are now.
    """

    catalog: Catalog
    rows: StoredRows
    fingerprint: Fingerprint
    skipped: tuple[Skipped, ...] = ()

    def of_domain(self, domain: str) -> StoredFeatures:
        """The rows of one domain.

        Raises:
            FeatureError: when no image of that domain has features.
        """
        mask = _of_domain(self.catalog, domain)
        return StoredFeatures(self.catalog.where(mask), self.rows.where(mask), self.fingerprint, self.skipped)

    def load(self) -> Features:
        """The same in memory."""
        return Features(self.catalog, self.rows.load(), self.fingerprint, self.skipped)


def features_of(
    catalog: Catalog,
    backbone: Backbone,
    *,
    views: int = 0,
    augmentation: Augmentation | None = None,
    seed: int | None = 0,
    folder: Place | None = None,
    workers: int | None = None,
    device: str | None = None,
    tell: bool = True,
) -> Features:
    """Features of every image of ``catalog``: read from the cache, embedded first where they are missing.

    Args:
        catalog: N images.
        backbone: gives D-dimensional features.
        views: V random views beside the centre view.
        augmentation: how views are drawn; MoCo v2's recipe by default.
        seed: of the random views; None takes those of ``folder``, whatever their seed.
        folder: a feature folder made by ``crosslens embed``; by default one in the cache, kept per root folder,
            fingerprint and revision of the decoder.
        workers, device: see ``embed_catalog``.
        tell: note how many images were skipped; not for who names each of them.

    Raises:
        NothingEmbeddedError: when no image could be embedded.
        FingerprintError: when ``folder`` holds another backbone's vectors.
        FeatureError: when ``folder`` holds views that were drawn in another way or from another seed.
    """
    store, kept, skipped = _embedded(catalog, backbone, views, augmentation, seed, folder, workers, device)
    if tell:
        _tell(skipped)
    return Features(kept, store.gather(kept.table.column("id"), views), backbone.fingerprint, skipped)


def stored_features_of(
    catalog: Catalog,
    backbone: Backbone,
    *,
    views: int = 0,
    augmentation: Augmentation | None = None,
    seed: int | None = 0,
    folder: Place | None = None,
    workers: int | None = None,
    device: str | None = None,
) -> StoredFeatures:
    """What ``features_of`` gives, with vectors that stay on disk; arguments and errors are the same."""
    store, kept, skipped = _embedded(catalog, backbone, views, augmentation, seed, folder, workers, device)
    _tell(skipped)
    return StoredFeatures(kept, store.stored(kept.table.column("id"), views), backbone.fingerprint, skipped)


def _embedded(
    catalog: Catalog,
    backbone: Backbone,
    views: int,
    augmentation: Augmentation | None,
    seed: int | None,
    folder: Place | None,
    workers: int | None,
    device: str | None,
) -> tuple[FeatureStore, Catalog, tuple[Skipped, ...]]:
    """A folder with the features of all images that can be embedded, these images, and the others."""
    wanted = FeatureConfig.of(backbone, views, augmentation, seed or 0)
    place = _cache_place(catalog, wanted) if folder is None else place_of(folder)
    config = FeatureStore.open(place).config if (place / "features.json").exists() else wanted
    # More views than needed are fine, other ones are not.
    others = config.augmentation != wanted.augmentation or seed not in (None, config.seed)
    if views and config.views and others:
        raise FeatureError(
            f"the views in {place} were drawn by {_drawn_by(config)}, not by {_drawn_by(wanted)}; leave --features"
            " out, or set the same"
        )
    made = FeatureConfig.of(backbone, config.views, config.augmentation, config.seed)
    report, store = embed_and_open(
        catalog, backbone, place, made, retry=False, wait=True, runner=OnThreads(workers, device)
    )
    # A file that changed and can no longer be read still has the row of what it was: that is not asked for.
    if len(report.skipped) == len(catalog):
        reason = f"; the first: {report.skipped[0].reason}" if report.skipped else ""
        raise NothingEmbeddedError(
            f"none of the {len(catalog)} images could be embedded{reason}",
            {entry.id: entry.reason for entry in report.skipped},
        )
    kept = catalog.where(~catalog.is_in("id", [entry.id for entry in report.skipped]))
    return store, kept, tuple(report.skipped)


def _tell(skipped: Sequence[Skipped]) -> None:
    if skipped:
        note(f"{len(skipped)} image(s) skipped, the first: {skipped[0].reason}", "yellow")


def _of_domain(catalog: Catalog, domain: str) -> NDArray[np.bool_]:
    mask = catalog.is_in("domain", [domain])
    if not mask.any():
        raise FeatureError(f"no image of the domain {domain!r} could be embedded")
    return mask


def _drawn_by(config: FeatureConfig) -> str:
    settings = config.augmentation.model_dump(mode="json", exclude_defaults=True) if config.augmentation else {}
    shown = ", ".join(f"{name}={value}" for name, value in settings.items()) or "the usual ones"
    return f"seed {config.seed} and augmentation {shown}"


def _cache_place(catalog: Catalog, wanted: FeatureConfig) -> Path:
    """The folder in the cache; without views, one with views serves too if it has every image already."""
    root = catalog.root.resolve()
    base = cache_folder() / "features" / f"{root.name or 'root'}-{_short_hash(str(root))}"
    # Not part of the fingerprint: what an earlier decoder made is right for all files but a few.
    digest = f"{wanted.fingerprint.digest}-d{REVISION}"
    if wanted.views:
        return base / f"{digest}-v{wanted.views}-{_short_hash(wanted.model_dump_json())}"
    for place in sorted(base.glob(f"{digest}-v*")):
        if (place / "features.json").exists():
            store = FeatureStore.open(place)
            if (store.locate(catalog.table.column("id")) >= 0).all():
                return place
    return base / f"{digest}-v0"


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
