"""``index.json``: what an index says of itself."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crosslens.backbones.fingerprint import Fingerprint
from crosslens.nn.similarity import Similarity
from crosslens.ops.hubs import DEFAULT_GOAL, Goal
from crosslens.search.stores.base import StoreContext
from crosslens.support.addresses import NOT_READ, is_unread
from crosslens.support.errors import FingerprintError, StoreError
from crosslens.support.files import read_json
from crosslens.support.near_names import near_folder

if TYPE_CHECKING:
    from crosslens.encoder import Encoder

FORMAT = 5
_UNNUMBERED = 4
"""The newest format of an index whose rows have no hub numbers: a store keeps the rows that it was made for."""
_OLDEST = 2
"""Format 2 kept no stamps of files, format 3 no columns of people's own; the first change of such an index makes
it one of ``_UNNUMBERED``."""
SNAPSHOT = "snapshot.json"
"""What a snapshot says of itself; it is the description of its index and more."""


def describe_index(
    encoder: Encoder, store: str, settings: dict[str, Any], plain: str | None = None, goal: Goal = DEFAULT_GOAL
) -> dict[str, Any]:
    """What an index for vectors of ``encoder`` says of itself, in a store of this kind with these settings.

    ``plain`` is the one domain of all its items, where their folders are no looks, and ``goal`` what is asked for
    where a query says nothing; see ``BuildRequest``.
    """
    return {
        "format": FORMAT,
        "collection": f"crosslens_{secrets.token_hex(8)}",
        "fingerprint": encoder.fingerprint.model_dump(mode="json"),
        "encoder": encoder.name,
        "similarity": encoder.similarity.model_dump(mode="json"),
        "store": {"kind": store, "settings": settings},
        "roots": [],
        "domains": {},
        "columns": {},
        "numbered": True,
        "goal": goal,
        **({} if plain is None else {"plain": plain}),
    }


def read_description(folder: Path, name: str = "index.json") -> dict[str, Any]:
    """What an index, or a snapshot of one, says of itself in its file ``name``.

    Raises:
        StoreError: when the file is damaged or of another version of crosslens.
    """
    description = read_json(folder / name, StoreError)
    try:
        form = int(description.get("format", 0))
    except (TypeError, ValueError):
        form = 0
    if form > FORMAT:
        raise StoreError(f"{folder} was written by a newer crosslens; upgrade to read it")
    if form < _OLDEST:
        raise StoreError(
            f"{folder} was written by an older crosslens; delete it and build it again with"
            f" 'crosslens index build ROOT --out {folder}'"
        )
    if not isinstance(description.get("roots"), list) or not isinstance(description.get("domains", {}), dict):
        raise StoreError(f"{folder}/{name} is damaged: it lists no roots, or no domains of them")
    return description


def open_description(folder: Path) -> tuple[dict[str, Any], StoreContext, str]:
    """What an index says of itself, the context of its store, and the store's kind.

    Raises:
        StoreError: when there is no index, or ``index.json`` is damaged or of another version of crosslens.
    """
    if is_unread(folder):
        raise StoreError(f"{folder}: {NOT_READ}")
    if not (folder / "index.json").is_file():
        if (folder / SNAPSHOT).is_file():
            raise StoreError(
                f"{folder} is a snapshot; make an index of it with 'crosslens index restore {folder} --out INDEX'"
            )
        near = near_folder(folder)
        raise StoreError(
            f"{folder} holds no index; make one with 'crosslens index build ROOT --out {folder}'{near}"
        )
    description = read_description(folder)
    try:
        return description, make_context(folder, description), str(description["store"]["kind"])
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{folder}/index.json is damaged: {error}") from error


def domains_of(description: dict[str, Any], root: str) -> list[str] | None:
    """The domains chosen of a folder that was added; None where all are wanted."""
    domains: list[str] | None = description.get("domains", {}).get(root)
    return domains


def prefix_of(description: dict[str, Any], root: str) -> str | None:
    """What the ids of the images of a folder that was added start with; None where with its own names."""
    prefix: str | None = description.get("prefixes", {}).get(root)
    return prefix


def list_root(
    description: dict[str, Any], root: str, domains: Sequence[str] | None, prefix: str | None = None
) -> dict[str, Any]:
    """A description that lists a folder whose images were added, and the domains chosen of it.

    Args:
        description: is not changed.
        root: absolute.
        domains: besides those chosen before; None keeps what was chosen, which at first is all there will be.
        prefix: what the ids of its images start with.
    """
    is_listed, before = root in description["roots"], domains_of(description, root)
    roots = description["roots"] if is_listed else [*description["roots"], root]
    chosen = dict(description.get("domains", {}))
    if domains is not None and (not is_listed or before is not None):
        chosen[root] = sorted({*(before or ()), *domains})
    listed = {**description, "roots": roots, "domains": chosen}
    return listed if prefix is None else {**listed, "prefixes": {**description.get("prefixes", {}), root: prefix}}


def relist_roots(description: dict[str, Any], moves: Mapping[str, str]) -> dict[str, Any]:
    """A description whose folders lie elsewhere, old path to new; two that become one keep both their choices."""
    roots = list(dict.fromkeys(moves.get(root, root) for root in description["roots"]))
    chosen: dict[str, list[str]] = {}
    everything = set()
    for root in description["roots"]:
        path, domains = moves.get(root, root), domains_of(description, root)
        if domains is None:
            everything.add(path)
        else:
            chosen[path] = sorted({*chosen.get(path, ()), *domains})
    domains_left = {path: domains for path, domains in chosen.items() if path not in everything}
    moved = {**description, "roots": roots, "domains": domains_left}
    if "prefixes" in description:
        prefixes = description["prefixes"].items()
        moved["prefixes"] = {moves.get(root, root): prefix for root, prefix in prefixes}
    return moved


def upgrade_format(description: dict[str, Any]) -> dict[str, Any]:
    """A description of an index that is about to be written as this version writes it."""
    return {**description, "format": FORMAT if is_numbered(description) else _UNNUMBERED}


def is_numbered(description: dict[str, Any]) -> bool:
    """Whether the rows of the store end with hub numbers; indexes before format 5 have none."""
    return bool(description.get("numbered"))


def make_context(folder: Path, description: dict[str, Any]) -> StoreContext:
    """The context that its store is made or opened with."""
    fingerprint = Fingerprint.model_validate(description["fingerprint"])
    return StoreContext(
        folder=folder,
        name=str(description["collection"]),
        dim=fingerprint.dim + is_numbered(description),
        similarity=Similarity.model_validate(description["similarity"]),
        fingerprint=fingerprint.digest,
        settings=dict(description["store"]["settings"]),
        numbered=is_numbered(description),
    )


def require_same(indexed: Fingerprint, other: Fingerprint, what: str) -> None:
    """Check that ``what`` was made with an index's own embedding.

    Raises:
        FingerprintError: saying how to make the one fit the other.
    """
    try:
        indexed.require(other, what)
    except FingerprintError as error:
        raise FingerprintError(
            f"{error}. To index with the other one instead, build another index:"
            " 'crosslens index build ROOT --encoder ENCODER --out FOLDER'"
        ) from error
