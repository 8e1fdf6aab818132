"""Bringing an index up to date with a catalog: embed what is new or changed, delete what is gone or unreadable."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crosslens.data.catalog import Catalog
from crosslens.data.names import Spelling
from crosslens.search.filters.conditions import Eq
from crosslens.search.index.contents import Contents
from crosslens.search.index.gone import find_gone, find_renamed, refuse_loss, restore_names
from crosslens.search.index.index_request import AddRequest
from crosslens.search.index.items import make_items, resolve_root, select_gallery
from crosslens.search.index.making import embed_items
from crosslens.search.index.numbering import is_numbering_due, number_items
from crosslens.search.index.own_columns import with_own
from crosslens.search.index.own_values import OwnValues
from crosslens.search.index.unit_rows import find_faults
from crosslens.search.stores.base import ITEM_SCHEMA
from crosslens.support.errors import FeatureError, NothingEmbeddedError, StoreError
from crosslens.support.presence import can_be_read
from crosslens.support.progress import note

_REWRITTEN = 50_000
_LOOKED_AT = 1 << 17


@dataclass
class AddReport:
    """What an addition did.

    Attributes:
        added: new items.
        changed: items made anew because their image or what is known of it changed.
        unchanged: items left as they were.
        removed: items deleted because their image is gone, or is another one now that cannot be read.
        skipped: one sentence for each image that could not be embedded; says so where its item was deleted.
    """

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0
    skipped: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def add_images(
    contents: Contents, request: AddRequest, on_progress: Callable[[int, int], None] | None = None
) -> AddReport:
    """Add the images that an index lacks; see ``Index.add``."""
    catalog, batch = request.images(), request.batch
    contents.refresh()
    contents.recall_domains()
    root = resolve_root(catalog)
    domains = None if request.domains is None else catalog.domains_named(request.domains)
    catalog = select_gallery(_chosen(catalog, contents.domains_of(root), domains))
    if contents.plain is not None:
        catalog = catalog.of_one_domain(contents.plain)
    prefix = _prefix(contents, root, request.prefix)
    catalog = catalog if prefix is None else catalog.with_prefix(prefix)
    items = make_items(catalog)
    indexed = _items_of_root(contents, root)
    own = OwnValues(contents, catalog, indexed, gps=request.gps)
    _refuse_collisions(contents, items, indexed, root)
    named = restore_names(indexed) if catalog.ids == catalog.column("path") else indexed
    gone = find_gone(named, items) if request.remove_gone else []
    if not request.force:
        refuse_loss(indexed, gone, items, root)
    contents.add_root(root, domains, prefix)
    own.declare_given()
    report = AddReport()
    is_new, is_moved, is_relabelled, is_unstamped = _compare(items, indexed)
    todo = np.flatnonzero(is_new | is_moved)
    kept, unfit = own.of_indexed(np.flatnonzero(~(is_new | is_moved)))
    items = with_own(items, kept)
    is_described = own.differs(items) & ~(is_new | is_moved)
    report.changed = int((is_relabelled | is_described if own.are_given else is_relabelled).sum())
    report.unchanged = len(items) - len(todo) - report.changed
    is_relabelled |= is_described
    if contents.store.keeps("stamp"):
        is_relabelled |= is_unstamped
    rewrite(contents, items.filter(pa.array(is_relabelled)))
    if unfit:
        report.unchanged -= len(unfit)
        _settle(contents, catalog, unfit, set(unfit), report)
    if on_progress is not None:
        on_progress(0, len(todo))
    for start in range(0, len(todo), batch):
        rows = todo[start : start + batch]
        chosen = catalog.take(rows.tolist())
        told, unfit = own.of_new(rows)
        described = with_own(items.take(pa.array(rows)), told)
        done, failures = _embed(contents, chosen, described, unfit, request.device, report)
        stale = set(items.column("id").take(pa.array(rows[is_moved[rows]])).to_pylist())
        _settle(contents, chosen, failures, stale, report)
        report.added += int((is_new[rows] & done).sum())
        report.changed += int((is_moved[rows] & done).sum())
        if on_progress is not None:
            on_progress(start + len(rows), len(todo))
    # Once more: a disk may have come back, or a file, in the hours that embedding may take.
    still = find_gone(named, items, gone) if gone else []
    renamed = find_renamed(named, items) if request.remove_gone else []
    if still or renamed:
        report.removed += contents.delete(list(dict.fromkeys([*still, *renamed])))
    if is_numbering_due(contents):
        number_items(contents)
    return report


def _chosen(catalog: Catalog, before: Sequence[str] | None, domains: Sequence[str] | None) -> Catalog:
    """The images of the domains that are asked for and of those that were chosen before."""
    if domains is None and before is None:
        return catalog
    wanted = {*map(Spelling(catalog.domains), before or ()), *(domains or ())}
    left = [name for name in catalog.domains if name not in wanted]
    if left and domains is None:
        note(f"left out, as when the index was made: {', '.join(left)}; name them with --domains to add them")
    # A domain that was chosen before may be gone; its items are removed like any others.
    return catalog.take([row for row, name in enumerate(catalog.column("domain")) if name in wanted])


def _prefix(contents: Contents, root: str, asked: str | None) -> str | None:
    """What the ids of a root's images start with: what was asked for, now or when it was added first."""
    before = contents.prefix_of(root)
    if asked is not None and asked != before and root in contents.roots:
        told = "without a prefix" if before is None else f"with the prefix {before!r}"
        raise StoreError(f"{root} was added {told}, and ids stay; leave --prefix out")
    return asked if asked is not None else before


def _items_of_root(contents: Contents, root: str) -> pa.Table:
    parts = [table for table, _ in contents.store.scan(Eq(field="root", value=root))]
    return pa.concat_tables([ITEM_SCHEMA.empty_table(), *parts]).combine_chunks()


def _refuse_collisions(contents: Contents, items: pa.Table, indexed: pa.Table, root: str) -> None:
    """An id stands for one image: those that another folder has already are refused, before anything changes."""
    ids = items.column("id").filter(pc.invert(pc.is_in(items.column("id"), value_set=indexed.column("id"))))
    # Where all that is indexed is of this folder, there is nothing that an id could stand for beside it.
    others = contents.store.count() > indexed.num_rows
    for table, _ in contents.store.scan(batch=_LOOKED_AT) if len(ids) and others else ():
        taken = pc.is_in(table.column("id"), value_set=ids).combine_chunks()
        if taken.true_count:
            first = table.filter(taken).slice(0, 1).to_pylist()[0]
            raise StoreError(
                f"the index has an item {first['id']!r} of another folder, {first['root'] or first['path']},"
                f" so {root} cannot be added. Were the pictures moved? Then 'crosslens index relocate INDEX"
                f" {first['root']} {root}'. Are they others? Add them with --prefix {Path(root).name or 'more'},"
                " which goes before their ids; or add the folder above both"
            )


def _compare(items: pa.Table, indexed: pa.Table) -> tuple[np.ndarray, ...]:
    """Which items are new, must be embedded again, have another label alone, lack a stamp alone; each ``(N,)``."""
    position = pc.index_in(items.column("id"), value_set=indexed.column("id")).combine_chunks()
    is_new = position.is_null().to_numpy(zero_copy_only=False)
    if not indexed.num_rows:
        nothing = np.zeros(len(items), dtype=bool)
        return is_new, nothing, nothing.copy(), nothing
    before = indexed.take(position.fill_null(0))

    def differs(name: str) -> np.ndarray:
        old, now = before.column(name), items.column(name)
        same = pc.or_(pc.equal(old, now).fill_null(False), pc.and_(old.is_null(), now.is_null()))
        return ~np.asarray(same.to_numpy(), dtype=bool) & ~is_new

    is_unstamped = before.column("stamp").is_null().to_numpy() & ~is_new
    elsewhere = differs("path")
    for row in np.flatnonzero(elsewhere & is_unstamped):
        # Format 2 held what a link led to, not its name.
        elsewhere[row] = os.path.realpath(items.column("path")[row].as_py()) != before.column("path")[row].as_py()
    overwritten = np.where(is_unstamped, differs("size") | differs("modified"), differs("stamp"))
    is_moved = (elsewhere | differs("domain") | overwritten) & ~is_new
    is_relabelled = differs("label") & ~is_moved
    has_stamp = items.column("stamp").is_valid().to_numpy()
    return is_new, is_moved, is_relabelled, is_unstamped & has_stamp & ~is_moved & ~is_relabelled


def rewrite(contents: Contents, items: pa.Table) -> None:
    """Write items that are there anew, with the vectors that they have; in steps, so that memory is bounded.

    Format 2 took in vectors of any length. Those of length 0, which nothing finds, are deleted and named.
    """
    for start in range(0, items.num_rows, _REWRITTEN):
        part = items.slice(start, _REWRITTEN)
        ids = part.column("id").to_pylist()
        vectors = contents.store.get(ids)[1]
        lengths = np.linalg.norm(vectors, axis=1)
        kept = lengths > 1e-6
        if not kept.all():
            lost = [ids[row] for row in np.flatnonzero(~kept)]
            note(f"{len(lost)} item(s) deleted, the first {lost[0]}: a vector of length 0 is like no other")
            contents.delete(lost)
        faulty = list(find_faults(vectors))
        vectors[faulty] /= np.maximum(lengths[faulty, None], 1e-6)
        contents.upsert(part.filter(pa.array(kept)), vectors[kept], contents.fingerprint)


def _embed(
    contents: Contents,
    catalog: Catalog,
    items: pa.Table,
    unfit: dict[str, str],
    device: str | None,
    report: AddReport,
) -> tuple[np.ndarray, dict[str, str]]:
    """Embed and commit some images but the unfit, with their sizes and times as they were before.

    Returns:
        Which of them are in the index as they are now ``(n,)``, and why others cannot be read, by id.
    """
    fit = catalog.with_ids(set(catalog.ids) - unfit.keys()) if unfit else catalog
    if not len(fit):
        return np.zeros(len(catalog), dtype=bool), unfit
    try:
        embedded, vectors, skipped = embed_items(fit, items, contents.encoder, device)
    except NothingEmbeddedError as error:
        return np.zeros(len(catalog), dtype=bool), unfit | error.reasons
    except FeatureError as error:
        # It says nothing of the single images, so what the index has of them stays.
        report.skipped.append(str(error))
        return np.zeros(len(catalog), dtype=bool), unfit
    contents.upsert(embedded, vectors, contents.encoder.fingerprint)
    kept = set(embedded.column("id").to_pylist())
    failures = unfit | {entry.id: entry.reason for entry in skipped}
    return np.array([image in kept for image in catalog.ids], dtype=bool), failures


def _settle(
    contents: Contents, catalog: Catalog, failures: dict[str, str], stale: set[str], report: AddReport
) -> None:
    """Report images that cannot be embedded, and delete those that are there, but are not what was indexed.

    One whose bytes cannot be had (no rights, a disk that fails) keeps its item: nobody knows what it shows now.

    Args:
        contents: to delete from.
        catalog: the images that were tried.
        failures: why some cannot be read, by id.
        stale: ids of the changed ones, which the index holds as they were.
        report: gets a sentence for each failure, and the number of deletions.
    """
    tried = zip(catalog.ids, catalog.paths, strict=True)
    wrong = [image for image, path in tried if image in failures and image in stale and can_be_read(path)]
    if wrong:
        report.removed += contents.delete(wrong)
    deleted = set(wrong)
    report.skipped.extend(
        reason + ("; its item was deleted" if image in deleted else "") for image, reason in failures.items()
    )
