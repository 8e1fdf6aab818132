"""``index.json``: what an index says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from crosslens.backbones.base import Fingerprint
from crosslens.errors import FingerprintError, StoreError
from crosslens.files import read_json
from crosslens.search.stores.base import StoreContext
from crosslens.similarity import Similarity

FORMAT = 2


def read_description(folder: Path) -> dict[str, Any]:
    """What an index says of itself.

    Raises:
        StoreError: when ``index.json`` is damaged or of another version of crosslens.
    """
    description = read_json(folder / "index.json", StoreError)
    try:
        form = int(description.get("format", 0))
    except (TypeError, ValueError):
        form = 0
    if form > FORMAT:
        raise StoreError(f"{folder} was written by a newer crosslens; upgrade to read it")
    if form < FORMAT:
        raise StoreError(
            f"{folder} was written by an older crosslens; delete it and build it again with"
            f" 'crosslens index build ROOT --out {folder}'"
        )
    if not isinstance(description.get("roots"), list):
        raise StoreError(f"{folder}/index.json is damaged: it lists no roots")
    return description


def context_of(folder: Path, description: dict[str, Any]) -> StoreContext:
    """What its store is told."""
    fingerprint = Fingerprint.model_validate(description["fingerprint"])
    return StoreContext(
        folder=folder,
        name=str(description["collection"]),
        dim=fingerprint.dim,
        similarity=Similarity.model_validate(description["similarity"]),
        fingerprint=fingerprint.digest,
        settings=dict(description["store"]["settings"]),
    )


def require_same(own: Fingerprint, other: Fingerprint, what: str) -> None:
    """Check that ``what`` was made with an index's own embedding.

    Raises:
        FingerprintError: saying how to make the one fit the other.
    """
    try:
        own.require(other, what)
    except FingerprintError as error:
        raise FingerprintError(
            f"{error}. To index with the other one instead, build another index:"
            " 'crosslens index build ROOT --encoder ENCODER --out FOLDER'"
        ) from error
