"""From a search request to its answer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from crosslens.errors import ConfigError, StoreError
from crosslens.server.collection import Collection
from crosslens.server.problems import Problem
from crosslens.server.schemas import (
    FoundItem,
    ImagePart,
    LikePart,
    SearchAnswer,
    SearchRequest,
    TextPart,
)
from crosslens.server.service import Service

if TYPE_CHECKING:
    from numpy.typing import NDArray


async def answer(
    service: Service,
    collection: Collection,
    asked: SearchRequest,
    images: Sequence[bytes],
    seconds: dict[str, float],
) -> SearchAnswer:
    """Answer a search.

    Args:
        service: what the process holds.
        collection: to search.
        asked: the request.
        images: the uploaded files, in order.
        seconds: gets the time of each stage.

    Raises:
        Problem: for images that no part names, values that are not allowed, and when the server is busy.
    """
    used = sorted(part.image for part in asked.parts if isinstance(part, ImagePart))
    if used != list(range(len(images))):
        raise Problem(422, f"the parts name the images {used}, but {len(images)} were uploaded; name each once")
    if any(isinstance(part, TextPart) for part in asked.parts) and not collection.encoder.has_text:
        raise Problem(422, f"{collection.name} does not understand text: its encoder {collection.encoder.name}")
    features = None
    if images:
        features = await service.embedding.features(collection.encoder, images, asked.domain, seconds)
    return await service.thread(_found, service, collection, asked, features, seconds)


def _found(
    service: Service,
    collection: Collection,
    asked: SearchRequest,
    features: NDArray[np.float32] | None,
    seconds: dict[str, float],
) -> SearchAnswer:
    started = time.perf_counter()
    collection.refresh()
    index, encoder = collection.index, collection.encoder
    rows: list[NDArray[np.float32]] = []
    encoded = None if features is None else encoder.encode_features(features, asked.domain)
    for part in asked.parts:
        if isinstance(part, ImagePart):
            assert encoded is not None
            rows.append(encoded[part.image])
        elif isinstance(part, TextPart):
            rows.append(encoder.encode_texts([part.text])[0])
        else:
            try:
                rows.append(index.get(part.like)[1])
            except StoreError:
                raise Problem(422, f"there is no item {part.like!r} in {collection.name}") from None
    mixed = np.tensordot(np.asarray([part.weight for part in asked.parts], np.float32), np.stack(rows), axes=1)
    length = float(np.linalg.norm(mixed))
    if length < 1e-6:
        raise ConfigError("these queries and weights cancel each other out")
    likes = {part.like for part in asked.parts if isinstance(part, LikePart)}
    hits = index.search((mixed / length)[None].astype(np.float32), asked.top + len(likes), asked.where)[0]
    hits = [hit for hit in hits if hit.id not in likes and hit.score >= asked.min_score][: asked.top]
    service.meter.took("search", time.perf_counter() - started, seconds)
    return SearchAnswer(
        hits=[
            FoundItem(**collection.shown(hit).model_dump(), score=min(hit.score, 1.0), duplicates=[])
            for hit in hits
        ],
        match_probability=None,
        no_match=False,
        domain=asked.domain,
        items=len(index),
        version=index.version,
        seconds=seconds,
    )
