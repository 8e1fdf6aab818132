"""Shared inputs: the golden numbers and the synthetic ranking they were computed on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from testing.golden import read_golden


@pytest.fixture(scope="session")
def golden() -> dict[str, Any]:
    return read_golden("metrics")


@pytest.fixture(scope="session")
def recipe() -> tuple[np.ndarray, ...]:
    """Queries, gallery (unit rows) and their class names: 500 against 4,320 items of 25 classes of 23 to 442."""
    rng = np.random.default_rng(0)
    classes, width = 25, 64
    sizes = np.maximum(20, rng.lognormal(5.0, 0.8, classes).astype(int))
    gallery_labels = np.repeat(np.arange(classes), sizes)
    query_labels = rng.integers(0, classes, 500)
    centres = rng.normal(size=(classes, width))
    shift = rng.normal(size=width) * 0.8
    gallery = centres[gallery_labels] + 1.9 * rng.normal(size=(len(gallery_labels), width))
    queries = centres[query_labels] + shift + 1.9 * rng.normal(size=(500, width))
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    names = [np.char.add("class ", labels.astype(str)) for labels in (query_labels, gallery_labels)]
    return queries.astype(np.float32), gallery.astype(np.float32), *names
