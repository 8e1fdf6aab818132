"""Snapshots: one version of an index as plain files, written and read back all or nothing.

    S/snapshot.json        the index's description and the number of items
    S/items.parquet        the items
    S/vectors.safetensors  their vectors (N, d), in the same order
    S/encoder/             the encoder
    S/queries.safetensors  the unlabelled queries it keeps, where it keeps some
    S/uploads/             images that came by the server, where there are some

Nothing in a snapshot is code, and nothing is unpickled.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pa_parquet

from crosslens.nn.similarity import Similarity
from crosslens.ops.hubs import DEFAULT_GOAL
from crosslens.search.index.contents import Contents
from crosslens.search.index.description import SNAPSHOT, describe_index, read_description
from crosslens.search.index.items import check_items
from crosslens.search.index.kept_queries import QUERIES, keeps_queries, read_queries
from crosslens.search.index.making import UPLOADS, make_index, require_free, upload_of
from crosslens.search.index.unit_rows import find_faults
from crosslens.search.stores import parse_store
from crosslens.search.stores.snapshot import ITEMS, VECTORS, damaged, read_pair
from crosslens.support.addresses import Place
from crosslens.support.errors import StoreError
from crosslens.support.files import atomic_path, write_json
from crosslens.support.local_copy import mirror
from crosslens.support.progress import note
from crosslens.support.remote import Remote

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from crosslens.encoder import Encoder


def write_snapshot(contents: Contents, target: Place) -> None:
    """Write the version of an index that is held to a new folder.

    Args:
        contents: of the index.
        target: the folder to make.

    Raises:
        StoreError: when ``target`` exists.
        CrosslensError: when it cannot be written; then nothing is left of it.
    """
    if target.exists():
        raise StoreError(f"{target} exists already; name a new folder")
    folder = contents.folder.resolve()
    with atomic_path(target) as temporary:
        contents.store.snapshot(temporary)
        contents.encoder.save(temporary / "encoder")
        items = pa_parquet.read_table(temporary / ITEMS, columns=["path"])
        for upload in filter(None, map(upload_of, items.column("path").to_pylist())):
            file = (folder / upload).resolve()
            if file.is_relative_to(folder / UPLOADS):
                (temporary / upload).parent.mkdir(parents=True, exist_ok=True)
                # A job may delete one meanwhile.
                with suppress(FileNotFoundError):
                    shutil.copyfile(file, temporary / upload)
        if keeps_queries(folder):
            shutil.copyfile(folder / QUERIES, temporary / QUERIES)
        write_json(temporary / SNAPSHOT, contents.description | {"items": items.num_rows})


def restore_snapshot(snapshot: Place, folder: Path, store: str) -> Contents:
    """Make an index of a snapshot; one in object storage is fetched first.

    Args:
        snapshot: a folder that ``write_snapshot`` made.
        folder: of the new index.
        store: see ``Index.create``.

    Raises:
        StoreError: when it is no snapshot, is damaged or of another version, or ``folder`` is in use.
        FingerprintError: when its encoder did not make its vectors.
        RunError: when its encoder cannot be read.
    """
    from crosslens.encoder import Encoder

    if not (snapshot / SNAPSHOT).is_file():
        raise StoreError(f"{snapshot} is no snapshot; make one with 'crosslens index snapshot INDEX {snapshot}'")
    require_free(folder)
    if isinstance(snapshot, Remote):
        snapshot = mirror(snapshot, lambda names: names)
    kind, settings = parse_store(store)
    manifest = read_description(snapshot, SNAPSHOT)
    encoder = Encoder.load(snapshot / "encoder")
    description = describe_index(
        encoder, kind, settings, manifest.get("plain"), manifest.get("goal", DEFAULT_GOAL)
    )
    items, vectors = _read_items(snapshot, manifest, encoder)
    # One of format 2 does not say which domains were chosen, and neither must the index of it; see recall_domains.
    del description["domains"]
    for key in ("encoder", "roots", "domains", "columns", "prefixes", "gps"):
        if key in manifest:
            description[key] = manifest[key]
    # The images that came by the server lie in the index, and so move with it.
    items = _move_uploads(items, folder.resolve())
    try:
        queries = read_queries(snapshot, encoder.fingerprint)
    except StoreError as error:
        queries = None
        note(f"the kept queries are left out: {error}", "yellow")
    return make_index(folder, encoder, description, items, vectors, snapshot / UPLOADS, queries)


def _read_items(
    snapshot: Path, manifest: dict[str, Any], encoder: Encoder
) -> tuple[pa.Table, NDArray[np.float32]]:
    """The items and vectors of a snapshot, checked against what it says of itself and its encoder."""
    fingerprint = encoder.fingerprint
    try:
        expected = type(fingerprint).model_validate(manifest["fingerprint"])
        similarity = Similarity.model_validate(manifest["similarity"])
    except (KeyError, ValueError) as error:
        raise damaged(snapshot / SNAPSHOT, error) from error
    expected.require(fingerprint, f"the encoder in the snapshot {snapshot}")
    if similarity != encoder.similarity:
        raise damaged(snapshot / SNAPSHOT, "its vectors are compared in another way than its encoder's are")
    for name in (ITEMS, VECTORS):
        if not (snapshot / name).is_file():
            raise damaged(snapshot / name, "it is missing")
    items, vectors = read_pair(snapshot, fingerprint.dim)
    if items.num_rows != manifest.get("items", items.num_rows):
        raise damaged(snapshot / ITEMS, f"{items.num_rows} items, not {manifest['items']}")
    faults = find_faults(vectors)
    if faults and vectors[list(faults)].any():
        raise damaged(snapshot, "not all vectors have length 1")
    if faults:
        # Indexes of format 2 took them in, though nothing ever finds them.
        ids = items.column("id").to_pylist()
        note(f"{len(faults)} item(s) left out, the first {ids[next(iter(faults))]}: a vector of length 0")
        kept = [row for row in range(len(ids)) if row not in faults]
        items, vectors = items.take(pa.array(kept, pa.int64())), vectors[kept]
    return check_items(items, vectors, fingerprint.dim)


def _move_uploads(items: pa.Table, folder: Path) -> pa.Table:
    """The items, with the images that came by the server placed in another index folder."""
    uploads = [upload_of(path) for path in items.column("path").to_pylist()]
    mask = pa.array([upload is not None for upload in uploads], pa.bool_())
    paths = pa.array([None if upload is None else str(folder / upload) for upload in uploads], pa.string())
    for name, values in (("path", paths), ("root", pa.scalar(str(folder)))):
        column = items.schema.get_field_index(name)
        items = items.set_column(column, items.schema.field(name), pc.if_else(mask, values, items.column(name)))
    return items
