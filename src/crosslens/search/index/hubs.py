"""What an index learned of hubs, so that one can ask it for the very thing: a bank of queries, a number an item.

    I/hubs.safetensors    bank (R, d); potentials (D, R), a row for each domain of the items, -inf where a query of
                          the bank does not count for them

``index.json`` says how they were learned. The bank is the unlabelled queries that the index keeps, else for the
items of each domain those of all others. An item's number is a closed formula of its own scores against the bank
(``crosslens.ops.hubs``), so an item that is added costs R inner products and changes no other. The bank and its
potentials are learned anew by ``learn_hubs`` alone.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from crosslens.nn.similarity import Similarity
from crosslens.ops.calibration import LEAST
from crosslens.ops.hubs import MOST_ITEMS, MOST_QUERIES, TEMPERATURE, bank_potentials, softmax_numbers
from crosslens.ops.sampling import drawn_rows
from crosslens.support.errors import StoreError
from crosslens.support.files import atomic_path

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

HUBS = "hubs.safetensors"
NO_BANK = (
    "Hubs are told from how pictures of another look see the items, at least 10 of each; give some of those,"
    " unlabelled, with 'index build --queries' or 'index add --queries'"
)
_AT_ONCE = 2048


@dataclass(frozen=True, eq=False)
class Hubs:
    """A bank of R queries and what it says of the items of each domain.

    Attributes:
        bank: unit rows ``(R, d)``.
        potentials: ``(R,)`` by the domain of the items; see ``crosslens.ops.hubs.bank_potentials``.
        source: ``queries`` that the index keeps, or items of other ``domains``.
        similarity: how vectors are compared.
    """

    bank: Array
    potentials: dict[str, NDArray[np.float64]]
    source: Literal["queries", "domains"]
    similarity: Similarity

    def numbers(self, domains: Sequence[str], vectors: Array) -> Array:
        """What is taken from the scores of items ``(n,)``; 0 for those of a domain that nothing was learned of.

        Args:
            domains: of n items.
            vectors: of the items ``(n, d)``.
        """
        numbers = np.zeros(len(vectors), np.float32)
        for domain, potentials in self.potentials.items():
            counted = np.isfinite(potentials)
            bank = self.similarity.as_queries(self.bank[counted])
            rows = np.flatnonzero([name == domain for name in domains])
            for start in range(0, len(rows), _AT_ONCE):
                part = rows[start : start + _AT_ONCE]
                scores = bank @ vectors[part].T
                numbers[part] = softmax_numbers(scores, TEMPERATURE, potentials[counted])
        return numbers

    def equals(self, other: Hubs) -> bool:
        """Whether both number all items alike."""
        return (
            self.potentials.keys() == other.potentials.keys()
            and np.array_equal(self.bank, other.bank)
            and all(np.allclose(row, other.potentials[name], atol=1e-6) for name, row in self.potentials.items())
        )


def learn_hubs(
    domains: Sequence[str], vectors: Array, similarity: Similarity, queries: Array | None = None, seed: int = 0
) -> Hubs | None:
    """Learn from the items of an index, and the queries that it keeps where there are some; without labels.

    Args:
        domains: of N items, in the order of their ids.
        vectors: of the items ``(N, d)``, unit rows.
        similarity: how they are compared.
        queries: unlabelled ones ``(R, d)``, unit rows of the same encoder.
        seed: of the draws.

    Returns:
        None where there is no bank of at least 10 pictures, or no domain of as many items: one domain without
        queries has none, since its own items are no queries of another look.
    """
    names = np.asarray(domains, dtype=object)
    counts = {str(name): int((names == name).sum()) for name in sorted(set(domains))}
    if queries is not None:
        bank, of = queries[drawn_rows(len(queries), MOST_QUERIES, seed)], None
    else:
        each = MOST_QUERIES // max(len(counts), 1)
        drawn = [np.flatnonzero(names == name)[drawn_rows(count, each, seed)] for name, count in counts.items()]
        rows = np.concatenate([np.empty(0, np.int64), *drawn])
        bank, of = vectors[rows], names[rows]
    potentials = {}
    for name, count in counts.items():
        counted = np.ones(len(bank), dtype=bool) if of is None else of != name
        if counted.sum() < LEAST or count < LEAST:
            continue
        learned = np.flatnonzero(names == name)[drawn_rows(count, MOST_ITEMS, seed)]
        scores = similarity.as_queries(bank[counted]) @ vectors[learned].T
        potentials[name] = np.full(len(bank), -np.inf)
        potentials[name][counted] = bank_potentials(scores, TEMPERATURE)
    source: Literal["queries", "domains"] = "domains" if queries is None else "queries"
    return Hubs(np.ascontiguousarray(bank), potentials, source, similarity) if potentials else None


def describe_hubs(hubs: Hubs, items: int) -> dict[str, Any]:
    """What ``index.json`` says of what was learned of so many items."""
    return {
        "bank": hubs.source,
        "size": len(hubs.bank),
        "domains": sorted(hubs.potentials),
        "items": items,
        "key": secrets.token_hex(4),
    }


def write_hubs(folder: Path, hubs: Hubs, fingerprint: str) -> None:
    """Keep what was learned in the folder of an index.

    Raises:
        CrosslensError: when it cannot be written.
    """
    from safetensors.numpy import save_file

    names = list(hubs.potentials)
    potentials = np.stack([hubs.potentials[name] for name in names])
    tensors: dict[str, NDArray[Any]] = {"bank": hubs.bank, "potentials": potentials}
    about = {"fingerprint": fingerprint, "source": hubs.source, "domains": json.dumps(names)}
    with atomic_path(folder / HUBS) as temporary:
        save_file(tensors, temporary, about)


def read_hubs(folder: Path, fingerprint: str, similarity: Similarity) -> Hubs:
    """What was learned.

    Raises:
        StoreError: when it is missing, damaged, or was made by another encoder.
    """
    from safetensors import SafetensorError, safe_open

    file, again = folder / HUBS, f"learn it again with 'crosslens index optimize {folder}'"
    try:
        with safe_open(file, "numpy") as held:
            about = held.metadata() or {}
            bank, potentials = held.get_tensor("bank"), held.get_tensor("potentials")
        names = json.loads(about["domains"])
        hubs = Hubs(bank, dict(zip(names, potentials, strict=True)), about["source"], similarity)
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise StoreError(f"{file} is missing or damaged ({error}); {again}") from error
    if about.get("fingerprint") != fingerprint:
        raise StoreError(f"{file} was made by another encoder; {again}")
    return hubs
