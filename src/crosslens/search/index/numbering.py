"""Numbering the items of an index by how much of a hub each is; see ``hubs``."""

from __future__ import annotations

import pyarrow.compute as pc

from crosslens.ops.calibration import LEAST
from crosslens.search.index.contents import Contents
from crosslens.search.index.description import is_numbered
from crosslens.search.index.hubs import learn_hubs
from crosslens.search.index.items import count_domains
from crosslens.search.index.kept_queries import KeptQueries, keeps_queries, read_queries
from crosslens.search.stores.snapshot import gather
from crosslens.support.errors import StoreError
from crosslens.support.progress import note

_GROWN = 2
"""Times as many items as were learned of make it due to learn again."""
_MANY = 20_000
"""Items whose numbering takes long enough to be said."""


def number_items(contents: Contents) -> bool:
    """Learn of hubs anew, of all items as they are, and number them, in one step of the store.

    It takes the memory of all vectors once. Where nothing can be learned, or comes out as before, nothing is
    changed.

    Returns:
        Whether the items were numbered anew.

    Raises:
        StoreError: for a second writer.
    """
    if not is_numbered(contents.description):
        return False
    with contents.writing():
        items, vectors = gather(contents.store.scan(vectors=True), contents.fingerprint.dim)
        order = pc.sort_indices(items, sort_keys=[("id", "ascending")])
        items, vectors = items.take(order).combine_chunks(), vectors[order.to_numpy()]
        queries = _queries_of(contents)
        learned = learn_hubs(
            items.column("domain").to_pylist(),
            vectors,
            contents.similarity,
            None if queries is None else queries.vectors,
        )
        try:
            before = contents.hubs
        except StoreError:
            # Damaged; made again now.
            before = None
        if learned is None or (before is not None and learned.equals(before)):
            return False
        if items.num_rows >= _MANY:
            note(f"numbering {items.num_rows:,} items by how near they are to every query")
        contents.take_hubs(learned, items, vectors)
        return True


def is_numbering_due(contents: Contents) -> bool:
    """Whether items came of a domain that nothing was learned of, or as many again as were learned of."""
    if not is_numbered(contents.description):
        return False
    counts = count_domains(contents.store)
    total = sum(counts.values())
    has_queries = keeps_queries(contents.folder)
    learnable = {name for name, n in counts.items() if n >= LEAST and (has_queries or total - n >= LEAST)}
    told = contents.description.get("hubs", {"domains": (), "items": total})
    return bool(learnable - set(told["domains"])) or (bool(learnable) and total >= _GROWN * int(told["items"]))


def _queries_of(contents: Contents) -> KeptQueries | None:
    try:
        return read_queries(contents.folder, contents.fingerprint)
    except StoreError as error:
        note(f"the kept queries are not learned of: {error}", "yellow")
        return None
