"""One embedding job in parts: processes that know nothing of each other, as of a Slurm array, fill one folder.

    F/parts/plan.json       how many parts, and the listing that they were cut from
    F/parts/3-of-16/        a feature folder; ``part.json`` in it is its done-mark

Part k of n is the k-th of n ranges of equal length of the listing in order of ids, so every process cuts alike,
whatever the order of its own listing. ``join_parts`` makes one folder of them, as one process would have.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from filelock import Timeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from crosslens.backbones.base import Backbone
from crosslens.data.catalog import Catalog
from crosslens.features.embed import EmbedReport, embed_catalog, lacking
from crosslens.features.store import PLAN, FeatureConfig, FeatureStore, Skipped
from crosslens.support.addresses import Place, place_of
from crosslens.support.errors import ConfigError, FeatureError
from crosslens.support.files import read_json, remove, require_known_format, write_json
from crosslens.support.local_copy import lock_of

FORMAT = 1
_MARK = "part.json"
_SHOWN = 12
"""Parts that a message names."""
_AT_ONCE = 1 << 16
"""Rows of a listing that are held as Python's own."""


class Part(BaseModel):
    """One of the equal ranges that a listing is cut into.

    Attributes:
        number: which one, from 1.
        of: how many there are.
    """

    model_config = ConfigDict(frozen=True)

    number: int = Field(ge=1)
    of: int = Field(ge=1)

    @model_validator(mode="after")
    def _is_one_of_them(self) -> Part:
        if self.number > self.of:
            raise ValueError(f"there is no part {self.number} of {self.of}")
        return self

    @classmethod
    def parse(cls, text: str) -> Part:
        """``3/16`` to the third of sixteen.

        Raises:
            ConfigError: for anything else, or a part that there is none of.
        """
        found = re.fullmatch(r"(\d+)/(\d+)", text.strip())
        try:
            return cls(number=int(found[1]), of=int(found[2])) if found else cls(number=0, of=0)
        except ValidationError:
            raise ConfigError(f"a part is written 1/16 to 16/16, not {text!r}") from None

    def place(self, folder: Place) -> Place:
        """Where in the folder of the whole it lies."""
        return (folder / PLAN).parent / f"{self.number}-of-{self.of}"

    def rows(self, catalog: Catalog) -> pa.Array:
        """The rows of a catalog that are this part's, in order of their ids."""
        start, end = ((number * len(catalog)) // self.of for number in (self.number - 1, self.number))
        return pc.sort_indices(catalog.table.column("id"))[start:end]


class _Plan(BaseModel):
    """What all parts of a folder have in common.

    Attributes:
        of: how many parts there are.
        images: of the whole listing.
        listing: a digest of its ids and paths.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    of: int
    images: int
    listing: str

    @classmethod
    def read(cls, folder: Place) -> _Plan:
        description = read_json(folder / PLAN, FeatureError)
        require_known_format(description, folder / PLAN, FORMAT, FeatureError)
        try:
            return cls.model_validate(description)
        except ValidationError as error:
            raise FeatureError(f"{folder / PLAN} is damaged: {error}") from error

    @property
    def parts(self) -> list[Part]:
        """All parts, in their order."""
        return [Part(number=number, of=self.of) for number in range(1, self.of + 1)]

    def require(self, wanted: _Plan, folder: Place) -> None:
        """Refuse parts that were cut in another way.

        Raises:
            FeatureError: saying what differs.
        """
        if self == wanted:
            return
        how = (
            f"{self.of} parts, not {wanted.of}"
            if self.of != wanted.of
            else f"another listing ({self.images} images; there are {wanted.images} now)"
            if self.images != wanted.images
            else f"another listing of {self.images} images, with other ids or paths"
        )
        raise FeatureError(
            f"{folder} is being made of {how}: go on with those, or remove {(folder / PLAN).parent} to begin anew"
        )


@dataclass(frozen=True)
class JoinReport:
    """What became of the parts of a folder.

    Attributes:
        folder: the feature folder.
        parts: how many there were.
        images: that have features.
        skipped: images that have none, and why.
    """

    folder: Place
    parts: int
    images: int
    skipped: tuple[Skipped, ...]


def embed_part(
    catalog: Catalog, backbone: Backbone, folder: Place, part: Part, *, views: int = 0, **options: Any
) -> EmbedReport:
    """Embed one part of a catalog; run again, it goes on where it stopped.

    Args:
        catalog: the whole listing, which every part is cut from.
        backbone: gives D-dimensional features.
        folder: the folder of the whole; what it has already is not embedded again.
        part: which of how many.
        views, options: see ``embed_catalog``.

    Raises:
        FeatureError: when the folder's parts are of another listing or number, or another process embeds this one.
        FingerprintError: when the folder holds another backbone's vectors.
    """
    plan = _Plan(of=part.of, images=len(catalog), listing=_digest(catalog))
    config = FeatureConfig.of(backbone, views)
    parts = (folder / PLAN).parent
    parts.mkdir(parents=True, exist_ok=True)
    # All processes of an array begin at once; each holds this for a moment.
    with lock_of(parts):
        whole = FeatureStore.create(folder, config)
        if (folder / PLAN).exists():
            _Plan.read(folder).require(plan, folder)
        else:
            # What a join that was killed at its very end left behind.
            for left in parts.glob("*-of-*"):
                remove(left)
            write_json(folder / PLAN, plan.model_dump())
    own = catalog.take(part.rows(catalog))
    if len(whole):
        own = lacking(own, whole)
    place = part.place(folder)
    report = embed_catalog(own, backbone, place, views=views, **options)
    write_json(place / _MARK, {"format": FORMAT, "listing": plan.listing, "images": len(own)})
    return report


def finished_parts(folder: Place) -> tuple[int, int]:
    """How many parts of a folder are finished, and how many there are.

    Raises:
        FeatureError: when it holds none, or their plan cannot be read.
    """
    folder = place_of(folder)
    plan = _Plan.read(folder)
    return sum(_is_finished(folder, part, plan) for part in plan.parts), plan.of


def join_parts(folder: Place) -> JoinReport:
    """Make one feature folder of its parts; killed in the middle, it goes on when it is run again.

    Vectors stay as they were written, in order of the parts. Only when all are in are the parts removed.

    Raises:
        FeatureError: when a part is missing, not finished, being written or damaged, naming each; nothing is
            changed then.
    """
    folder = place_of(folder)
    if not (folder / PLAN).exists():
        raise FeatureError(
            f"{folder} holds no parts to join; 'crosslens embed ROOT --out {folder} --part 1/16' makes one"
        )
    plan = _Plan.read(folder)
    lacking = [part.number for part in plan.parts if not _is_finished(folder, part, plan)]
    if lacking:
        raise FeatureError(
            f"{len(lacking)} of the {plan.of} parts of {folder} are not there or not finished: {_listed(lacking)};"
            f" run 'crosslens embed ROOT --out {folder} --part {lacking[0]}/{plan.of}' for each"
        )
    places = [part.place(folder) for part in plan.parts]
    with ExitStack() as held:
        for place in (folder, *places):
            try:
                held.enter_context(lock_of(place).acquire(timeout=0))
            except Timeout:
                raise FeatureError(f"another process is writing to {place}; join when it is done") from None
        whole = FeatureStore.open(folder)
        whole.join(places)
        # Without a plan what is left of the parts counts for nothing, should this be the moment of a kill.
        remove(folder / PLAN)
    remove((folder / PLAN).parent)
    return JoinReport(folder, plan.of, len(whole), tuple(whole.skipped))


def _is_finished(folder: Place, part: Part, plan: _Plan) -> bool:
    mark = part.place(folder) / _MARK
    return mark.is_file() and read_json(mark, FeatureError).get("listing") == plan.listing


def _digest(catalog: Catalog) -> str:
    """32 hexadecimal characters that stand for ids and paths, whatever their order."""
    table = catalog.table.select(["id", "path"])
    order = pc.sort_indices(table.column("id"))
    digest = hashlib.blake2b(digest_size=16)
    for start in range(0, len(order), _AT_ONCE):
        some = table.take(order[start : start + _AT_ONCE])
        for row in zip(*(column.to_pylist() for column in some.columns), strict=True):
            digest.update("\0".join(row).encode() + b"\n")
    return digest.hexdigest()


def _listed(numbers: Sequence[int]) -> str:
    """``3, 7 and 9`` as ``3, 7, 9``, and how many more there are."""
    more = f" and {len(numbers) - _SHOWN} more" if len(numbers) > _SHOWN else ""
    return ", ".join(map(str, numbers[:_SHOWN])) + more
