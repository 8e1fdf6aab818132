"""A small world: pictures of two domains, vectors that know the classes more or less well, and evaluations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crosslens.data.catalog import Catalog
from crosslens.evaluation.conventions import CONVENTIONS
from crosslens.evaluation.measured import Evaluation
from crosslens.evaluation.results import evaluate_retrieval
from crosslens.report import Embeddings

DOMAINS = ("photo", "sketch")


@dataclass
class World:
    """Images with their labels by level, and vectors of any quality for them."""

    catalog: Catalog
    labels: Mapping[str, list[str | None]]

    def vectors(self, signal: float, seed: int = 0) -> np.ndarray:
        """``(N, 16)`` unit rows: ``signal`` times the class plus noise."""
        rng = np.random.default_rng(seed)
        names = [label or "" for label in self.labels["class"]]
        centres = {name: rng.normal(size=16) for name in sorted(set(names))}
        rows = np.stack([centres[name] for name in names]) * signal + rng.normal(size=(len(names), 16))
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    def evaluation(
        self,
        vectors: np.ndarray,
        *,
        name: str = "tiny",
        marks: tuple[str, ...] = (),
        level: str = "class",
        convention: str = "standard",
        depth: int = 20,
    ) -> Evaluation:
        """The ``pairs`` protocol between the two domains."""
        ids, labels = np.array(self.catalog.ids), np.array(self.labels[level], dtype=object)
        domain = np.array(self.catalog.column("domain"))
        metrics = CONVENTIONS[convention].metrics((1, 5))
        results = []
        for query, gallery in (DOMAINS, DOMAINS[::-1]):
            q, g = domain == query, domain == gallery
            results.append(
                evaluate_retrieval(
                    vectors[q],
                    vectors[g],
                    labels[q].tolist(),
                    labels[g].tolist(),
                    query_ids=ids[q],
                    gallery_ids=ids[g],
                    metrics=metrics,
                    convention=convention,
                    depth=depth,
                    query_domain=query,
                    gallery_domain=gallery,
                )
            )
        return Evaluation("pairs", convention, name, tuple(results), marks)

    def embeddings(self, **vectors: np.ndarray) -> Embeddings:
        return Embeddings(self.catalog.ids, self.catalog.column("domain"), vectors)


@pytest.fixture
def make_world(tmp_path: Path):
    """``make_world(classes, count)``: pictures on disk, ``count`` of each class and domain."""

    def make(classes: tuple[str, ...] = ("cat", "dog", "owl"), count: int = 4) -> World:
        rng = np.random.default_rng(0)
        rows, concepts = [], []
        for domain in DOMAINS:
            for label in classes:
                for number in range(count):
                    place = f"{domain}-{classes.index(label)}-{number}.png"
                    pixels = rng.integers(0, 256, (40, 30, 3), dtype=np.uint8)
                    Image.fromarray(pixels).save(tmp_path / place)
                    rows.append({"path": place, "domain": domain, "label": label})
                    concepts.append(f"{label} {number}")
        catalog = Catalog.from_rows(rows, tmp_path)
        return World(catalog, {"class": catalog.labels, "concept": concepts})

    return make


@pytest.fixture
def world(make_world) -> World:
    return make_world()
