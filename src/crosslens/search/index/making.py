"""Making an index: all it holds is in place before ``index.json``, without which there is no index.

A process killed meanwhile leaves a folder that a second one may take over, and never an index of less than was
asked for.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from crosslens.data.catalog import Catalog
from crosslens.data.names import name_or
from crosslens.data.source import open_catalog
from crosslens.search.index.contents import ENCODER, Contents
from crosslens.search.index.description import describe_index, list_root, make_context
from crosslens.search.index.hubs import HUBS, NO_BANK, describe_hubs, learn_hubs, write_hubs
from crosslens.search.index.index_request import BuildRequest
from crosslens.search.index.items import check_items, make_items, resolve_root, select_gallery, take_items
from crosslens.search.index.kept_queries import QUERIES, KeptQueries, embed_queries, write_queries
from crosslens.search.index.own_columns import declare, merge_all, read_given, types_of_facts, with_own
from crosslens.search.index.pictures import fit_for_index, look_at
from crosslens.search.index.ready_vectors import read_ready_vectors
from crosslens.search.index.unit_rows import find_faults
from crosslens.search.index.writer_lock import hold_for_writing
from crosslens.search.stores import parse_store, store_class, store_entries
from crosslens.support.addresses import Place
from crosslens.support.errors import ConfigError, FeatureError, NothingEmbeddedError, StoreError
from crosslens.support.files import atomic_path, read_json, remove, upload, write_json
from crosslens.support.remote import ExistingError, PlaceError, Remote

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from crosslens.encoder import Encoder
    from crosslens.features.store import Skipped

UPLOADS = "uploads"
"""Folder in an index of the images that came by the server; their ids start with it where none was given."""
_UPLOAD = re.compile(rf"{UPLOADS}/[0-9a-f]{{2}}/[0-9a-f]{{40}}\.[a-z0-9]{{3,4}}")
CLAIM = "being-made.json"
"""Object that says who is making an index at a place in object storage."""
_DRAFT = ".unfinished.json"
"""The description of an index that is being made."""


def is_upload(file: str) -> bool:
    """Whether a path has the form of an upload's, which starts from the index folder wherever that lies."""
    return _UPLOAD.fullmatch(file) is not None


def upload_of(path: str) -> str | None:
    """The path of an upload from its index folder, of an item's absolute path; None of any other item's."""
    file = "/".join(Path(path).parts[-3:])
    return file if is_upload(file) else None


def require_free(folder: Path) -> None:
    """Check that an index may be made in a folder: it is missing, empty, or holds what an interruption left.

    Raises:
        StoreError: when there is an index already, or the folder holds something else.
    """
    if (folder / "index.json").exists():
        raise StoreError(f"{folder} holds an index already; choose another folder or delete it first")
    taken_over = {ENCODER, HUBS, QUERIES, *store_entries()} | ({UPLOADS} if (folder / _DRAFT).exists() else set())
    if folder.exists() and not folder.is_dir():
        raise StoreError(f"{folder} is a file; choose another folder")
    if folder.is_dir() and any(
        entry.name not in taken_over and entry.name[0] != "." for entry in folder.iterdir()
    ):
        raise StoreError(f"{folder} is not empty and holds no index; choose another folder")


def make_index(
    folder: Path,
    encoder: Encoder,
    description: dict[str, Any],
    items: pa.Table | None = None,
    vectors: NDArray[np.float32] | None = None,
    uploads: Path | None = None,
    queries: KeptQueries | None = None,
) -> Contents:
    """Make an index with its first items, all or nothing.

    Args:
        folder: made when missing; see ``require_free``.
        encoder: copied into it.
        description: what the index will say of itself.
        items: N rows of ``ITEM_SCHEMA``, checked; none makes an empty index.
        vectors: of the items ``(N, d)``.
        uploads: a folder of images to copy into the index.
        queries: unlabelled ones that the index keeps.

    Raises:
        StoreError: when the folder is in use or cannot be written, or no store can be made.
        CrosslensError: when the disk is full.
    """
    require_free(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{folder} cannot be written: {error.strerror or error}") from error
    with hold_for_writing(folder):
        # Again under the lock: another process may have made one meanwhile.
        require_free(folder)
        description = _taken_over(folder, description)
        write_json(folder / _DRAFT, description)
        encoder.save(folder / ENCODER)
        if uploads is not None and uploads.is_dir():
            _copy_files(uploads, folder / UPLOADS)
        if queries is not None:
            write_queries(folder, queries, encoder.fingerprint)
        if items is not None and vectors is not None and items.num_rows:
            description = _with_hubs(folder, encoder, description, items, vectors, queries)
        store = store_class(description["store"]["kind"]).create(make_context(folder, description))
        contents = Contents(folder, description, store)
        if items is not None and vectors is not None and items.num_rows:
            contents.store.upsert(items, vectors)
        write_json(folder / "index.json", description)
        remove(folder / _DRAFT)
    return contents


def _with_hubs(
    folder: Path,
    encoder: Encoder,
    description: dict[str, Any],
    items: pa.Table,
    vectors: NDArray[np.float32],
    queries: KeptQueries | None,
) -> dict[str, Any]:
    """A description that says what was learned of hubs of the first items, which is kept in the folder."""
    order = pc.sort_indices(items, sort_keys=[("id", "ascending")])
    learned = learn_hubs(
        items.column("domain").take(order).to_pylist(),
        vectors[order.to_numpy()],
        encoder.similarity,
        None if queries is None else queries.vectors,
    )
    if learned is None:
        return description
    write_hubs(folder, learned, encoder.fingerprint.digest)
    return {**description, "hubs": describe_hubs(learned, items.num_rows)}


def make_at(place: Place, make: Callable[[Path], Contents]) -> Contents:
    """Make an index at a place; one in object storage is made on this machine and copied, ``index.json`` last.

    Args:
        place: of the new index.
        make: makes it in a folder.

    Raises:
        StoreError: when there is something at the place already, or another job is making an index there.
        CrosslensError: when it cannot be written; then there is no index.
    """
    if isinstance(place, Path):
        return make(place)
    with _claimed(place), tempfile.TemporaryDirectory(prefix="crosslens-") as above:
        made = make(Path(above) / place.name)
        made.store.close()
        upload(made.folder, place)
    return Contents.open(place)


@contextmanager
def _claimed(place: Remote) -> Iterator[None]:
    """Keep a place for this job alone, which also shows before all work that it may be written.

    Raises:
        StoreError: when there is something, or another job keeps it.
        PlaceError: when it cannot be written.
    """
    claim = place / CLAIM
    try:
        told = {"host": socket.gethostname(), "process": os.getpid(), "since": int(time.time())}
        claim.write(json.dumps(told).encode(), new=True)
    except ExistingError:
        raise StoreError(
            f"another job is making an index at {place}: {' '.join(claim.read_text().split())}. Wait for it; if it"
            f" is dead, delete {claim}"
        ) from None
    try:
        if place.is_file() or any(one != claim for one, _ in islice(place.walk(), 2)):
            raise StoreError(f"{place} is not empty; choose another place or delete it first")
        yield
    finally:
        with suppress(PlaceError):
            claim.unlink()


def build_index(request: BuildRequest) -> tuple[Contents, list[str]]:
    """Embed images and make an index of them, all or nothing; see ``Index.build``."""
    left_out: list[str] = []

    def make(folder: Path) -> Contents:
        made, told = _build_here(request, folder)
        left_out.extend(told)
        return made

    return make_at(request.folder, make), left_out


def _build_here(request: BuildRequest, folder: Path) -> tuple[Contents, list[str]]:
    from crosslens.encoder import load_encoder
    from crosslens.encoder.compiling import compile_folder

    source = request.images()
    encoder = load_encoder(request.encoder, decode=request.decode)
    domains = None if request.domains is None else source.domains_named(request.domains)
    plain = name_or(source.root.resolve().name, "pictures") if request.plain else None
    described = describe_index(encoder, *parse_store(request.store), plain, request.goal)
    description = list_root(described, resolve_root(source), domains)
    # Before the hours that embedding may take.
    require_free(folder)
    chosen = select_gallery(source if domains is None else source.select(domains=domains))
    chosen = chosen if plain is None else chosen.of_one_domain(plain)
    if request.goal == "thing" and request.queries is None and len(chosen.domains) < 2:
        raise ConfigError(f"goal = 'thing' for {', '.join(chosen.domains)} alone. {NO_BANK}")
    queries = None
    if request.queries is not None:
        queries = embed_queries(open_catalog(request.queries), encoder, request.device)
    types, given = read_given(chosen.own, description)
    looked = look_at(chosen, gps=request.gps)
    items = with_own(make_items(chosen), merge_all(chosen.ids, looked, given, types))
    fit = fit_for_index(chosen, looked)
    skipped: tuple[Skipped, ...] = ()
    if request.vectors is None:
        embedded, vectors, skipped = embed_items(fit, items, encoder, request.device, request.features)
    else:
        embedded = take_items(items, fit.ids)
        vectors = read_ready_vectors(request.vectors, fit, encoder, request.device)
    kept, rows = check_items(embedded, vectors, encoder.dim)
    description = declare(
        declare(description, types, given=True), types_of_facts(looked.facts.values()), given=False
    )
    description |= {"gps": True} if request.gps else {}
    left_out = [*looked.unfit.values(), *(entry.reason for entry in skipped)]
    made = make_index(folder, encoder, description, kept, rows, queries=queries)
    # Here, where PyTorch is: who searches may have none.
    compile_folder(encoder, folder / ENCODER)
    return made, left_out


def embed_items(
    catalog: Catalog,
    items: pa.Table,
    encoder: Encoder,
    device: str | None = None,
    folder: Place | None = None,
) -> tuple[pa.Table, NDArray[np.float32], tuple[Skipped, ...]]:
    """The images of a catalog as items with their vectors ``(N, d)``.

    Args:
        catalog: the images.
        items: what the index will hold of them, with sizes and times from before the images are read, so that the
            next ``Index.add`` sees a file as changed that changes meanwhile.
        encoder: makes the vectors.
        device: see ``crosslens.backbones.engine.make_engine``.
        folder: of features that its backbone made; the cache by default.

    Returns:
        Items, vectors, and the images that were left out: they cannot be read, or have no vector of length 1.

    Raises:
        NothingEmbeddedError: when no image can be embedded.
        FeatureError: when ``folder`` holds no features, or the encoder looks at pictures by their domains.
        FingerprintError: when another backbone made them.
    """
    from crosslens.features.of_encoder import features_of_encoder
    from crosslens.features.store import FeatureStore, Skipped

    if folder is not None:
        if encoder.embeds_by_domain:
            raise FeatureError(
                f"{encoder.name} looks at pictures by their domains, so the features in {folder} are none of its"
                " own; leave --features out"
            )
        made_by = FeatureStore.open(folder).config.fingerprint
        made_by.require(encoder.backbone.fingerprint, f"the feature folder {folder}")
    features = features_of_encoder(catalog, encoder, folder=folder, device=device, tell=False)
    vectors = encoder.encode_features(features.centre, features.catalog.column("domain"))
    faults = find_faults(vectors)
    if not faults:
        return take_items(items, features.catalog.ids), vectors, features.skipped
    ids, paths = features.catalog.ids, features.catalog.paths
    unfit = [
        Skipped(ids[row], str(paths[row]), f"{paths[row]}: its vector {fault}", "")
        for row, fault in faults.items()
    ]
    skipped = (*features.skipped, *unfit)
    if len(faults) == len(vectors):
        raise NothingEmbeddedError(
            f"none of the {len(catalog)} images could be embedded; the first: {skipped[0].reason}",
            {entry.id: entry.reason for entry in skipped},
        )
    kept = [row for row in range(len(vectors)) if row not in faults]
    return take_items(items, [ids[row] for row in kept]), vectors[kept], skipped


def _copy_files(source: Path, target: Path) -> None:
    """Copy the files below a folder, links left out, to a new folder, all or nothing.

    Raises:
        CrosslensError: when the disk is full or the folder cannot be written.
    """
    with atomic_path(target) as temporary:
        temporary.mkdir(parents=True)
        for file in sorted(source.rglob("*")):
            if file.is_file() and not file.is_symlink():
                copy = temporary / file.relative_to(source)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copy)


def _taken_over(folder: Path, description: dict[str, Any]) -> dict[str, Any]:
    """The description with the collection's name of an interrupted start, so that a server's is made anew."""
    if not (folder / _DRAFT).exists():
        return description
    remove(folder / UPLOADS)
    try:
        before = read_json(folder / _DRAFT, StoreError)
    except StoreError:
        return description
    same = before.get("store") == description["store"] and isinstance(before.get("collection"), str)
    return {**description, "collection": before["collection"]} if same else description
