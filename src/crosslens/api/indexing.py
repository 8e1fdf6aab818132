"""``index``: from images to an index that can be searched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from crosslens.data.source import Source
from crosslens.encoder import Encoder
from crosslens.search.index.index import Index
from crosslens.search.index.index_request import BuildRequest
from crosslens.support.progress import note
from crosslens.support.request import takes
from crosslens.training.run import Run


@takes(BuildRequest, without=("folder",))
def index(
    source: Source, *, out: str | Path, encoder: Encoder | Run | str | Path = "lite", **options: Any
) -> Index:
    """Embed images and index them, all or nothing; what is left out is noted on standard error.

    ``Index.open`` opens the index again, and its ``add`` brings it up to date.

    Args:
        source: the images: a folder, a manifest or a Catalog.
        out: the index folder to make.
        encoder: makes the vectors: an Encoder, a run or its folder, an encoder folder or a backbone's name.
        options: of a ``BuildRequest``.

    Raises:
        StoreError: when the folder is in use.
        FeatureError: when no image can be embedded.
    """
    place = encoder.folder if isinstance(encoder, Run) else encoder
    request = BuildRequest.of(source=source, folder=out, encoder=place, **options)
    made, left_out = Index.from_request(request)
    for sentence in left_out:
        note(f"left out: {sentence}")
    return made
