"""What is asked of ``index build`` and ``index add``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from crosslens.backbones.devices import Device
from crosslens.data.catalog import Catalog
from crosslens.data.joining import join_columns
from crosslens.data.source import Source, open_catalog
from crosslens.data.splits import mixed_splits, select_splits
from crosslens.images.decode import DecodeMode
from crosslens.ops.hubs import DEFAULT_GOAL, Goal
from crosslens.search.stores import DEFAULT
from crosslens.support.addresses import PlaceOption
from crosslens.support.progress import note
from crosslens.support.request import Request


def _names_an_encoder(value: Any) -> Any:
    if not isinstance(value, str | Path):
        # Whoever has an Encoder has imported PyTorch; a name costs nothing yet.
        from crosslens.encoder import Encoder

        if not isinstance(value, Encoder):
            raise ValueError("give an Encoder, a run, an encoder folder or a backbone's name")
    return value


EncoderSource = Annotated[Any, AfterValidator(_names_an_encoder)]
"""An Encoder, or a text or path that names one."""


class IndexRequest(Request):
    """Which images an index is to hold. Those whose role is ``query`` stay out."""

    source: Source
    """The images."""

    domains: tuple[str, ...] | None = None
    """The domains to take, and later too where some were chosen before; by default those chosen for their folder,
    and all where none were."""

    split: str | tuple[str, ...] | None = None
    """The splits to take, of images that are marked with some; all by default, which is noted."""

    columns: PlaceOption | None = None
    """A table with columns of your own for these images, ``.csv``, ``.tsv``, ``.parquet`` or ``.jsonl``, which
    names them by ``path`` or ``id``; those of a manifest are taken without."""

    gps: bool = False
    """Keep where pictures were taken (``latitude``, ``longitude``), and later too."""

    device: Device | None = None
    """Where to embed; None chooses. See ``crosslens.backbones.engine.make_engine``."""

    def images(self) -> Catalog:
        """The images of the splits asked for."""
        catalog = select_splits(open_catalog(self.source), self.split)
        if self.split is None and (told := mixed_splits(catalog)):
            note(told)
        return catalog if self.columns is None else join_columns(catalog, self.columns)


class BuildRequest(IndexRequest):
    """What a new index is to hold, where it lies and how it is kept."""

    encoder: EncoderSource = "lite"
    """Makes the vectors: an Encoder, a run, an encoder folder or a backbone's name."""

    folder: PlaceOption
    """Of the new index; in object storage it can be read, but not added to."""

    store: str = DEFAULT
    """Where the items are kept: ``lance``, ``exact``, ``milvus:FILE.db`` or ``milvus:http://HOST:19530``."""

    queries: Source | None = None
    """Unlabelled images like those that will be asked with; the index keeps them, to tell whether a query has a
    match and which items are near every query."""

    goal: Goal = DEFAULT_GOAL
    """What its searches are for where they do not say: ``thing``, this very thing in another look, or ``kind``,
    more of its kind."""

    plain: bool = False
    """Folders are just folders, such as years or places: all images count as of one domain, named after the root,
    and without labels. The index remembers it for what is added later."""

    features: PlaceOption | None = None
    """A feature folder that ``crosslens embed`` made with the encoder's backbone; the cache by default."""

    vectors: Path | None = None
    """Vectors that the encoder made elsewhere, which are indexed as they are; see ``ready_vectors``."""

    decode: DecodeMode | None = None
    """``exact`` or ``fast`` JPEG decoding, of a backbone given by name; an encoder that is there has its own."""


class AddRequest(IndexRequest):
    """What an index is to be brought up to date with."""

    remove_gone: bool = True
    """Delete the items of this root whose file is gone (``crosslens.support.presence``)."""

    prefix: Annotated[str, Field(pattern=r"^[^/\s](.*[^/\s])?$")] | None = None
    """What the ids of these images start with, before a slash: for a folder whose file names another one has too.
    It is remembered for the folder."""

    force: bool = False
    """Delete them also where they are more than half of a domain's."""

    batch: int = Field(2048, ge=1)
    """Images a step."""
