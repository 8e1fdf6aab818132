"""Runs, encoders and indexes that earlier versions wrote are read, and mean what they meant.

``tests/golden/saved`` was written by the commands ``fit centred``, ``fit ucdir`` and ``index build`` on eighteen
drawn pictures; ``numbered.index`` later, on twenty-four, with the same encoder, ``--columns`` and
``--goal thing``. ``expected.json`` holds what those versions answered.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import crosslens
from crosslens.encoder.header import from_json
from crosslens.search.filters.text import parse_filter
from crosslens.search.index.description import FORMAT
from crosslens.search.index.index import Index
from crosslens.support.errors import ConfigError
from testing.golden import FOLDER, read_golden

SAVED = FOLDER / "saved"
EXPECTED = read_golden("saved/expected")


def seeded_features(count: int = 4, dim: int = 1280) -> np.ndarray:
    """Non-negative rows ``(count, dim)`` that do not depend on a library's random numbers."""
    grid = np.arange(count * dim, dtype=np.float64).reshape(count, dim)
    return (6 * np.abs(np.sin(grid * 0.7310585))).astype(np.float32)


@pytest.mark.parametrize("run", ["centred", "ucdir"])
def test_a_run_encodes_as_it_did(run: str) -> None:
    encoder = crosslens.load_encoder(SAVED / run)
    expected = EXPECTED["encoders"][run]
    assert encoder.fingerprint.digest == expected["digest"]
    assert encoder.backbone.fingerprint.digest == EXPECTED["lite"]
    for domain, rows in expected["vectors"].items():
        found = encoder.encode_features(seeded_features(), domain or None)[:, :8]
        np.testing.assert_allclose(found, rows, atol=1e-5)


def test_saving_again_writes_the_same_description(tmp_path: Path) -> None:
    for run in ("centred", "ucdir"):
        crosslens.load_encoder(SAVED / run).save(tmp_path / run)
        again, before = (
            json.loads((folder / "config.json").read_text())
            for folder in (tmp_path / run, SAVED / run / "encoder")
        )
        assert from_json(again) == from_json(before)
        cards = ((folder / "README.md").read_text() for folder in (tmp_path / run, SAVED / run / "encoder"))
        assert len({tuple(sorted(card.splitlines())) for card in cards}) == 1


@pytest.mark.parametrize("store", ["exact", "lance"])
def test_an_index_answers_as_it_did(store: str, tmp_path: Path) -> None:
    folder = tmp_path / "saved.index"
    shutil.copytree(SAVED / f"{store}.index", folder)
    index = Index.open(folder)
    expected = EXPECTED["index"]
    assert len(index) == 18
    vectors = crosslens.load_encoder(SAVED / "ucdir").encode_features(seeded_features(2), "line")
    hits = index.search(vectors, k=5)
    for found, wanted in zip(hits, expected["hits"], strict=True):
        assert {hit.id for hit in found} == {name for name, _ in wanted}
        np.testing.assert_allclose([hit.score for hit in found], [score for _, score in wanted], atol=1e-4)
    assert index.fingerprint.digest == EXPECTED["encoders"]["ucdir"]["digest"]
    assert {hit.label for found in hits for hit in found} <= {"circle", "cross", "square"}


@pytest.mark.parametrize("store", ["exact", "lance"])
def test_an_index_takes_columns_with_its_first_change(store: str, tmp_path: Path) -> None:
    folder = tmp_path / "saved.index"
    shutil.copytree(SAVED / f"{store}.index", folder)
    index = Index.open(folder)
    form = json.loads((folder / "index.json").read_text())["format"]
    vectors = crosslens.load_encoder(SAVED / "ucdir").encode_features(seeded_features(2), "line")
    before = index.search(vectors, k=18)
    # Reading alone writes nothing.
    assert json.loads((folder / "index.json").read_text())["format"] == form < FORMAT
    more = pa.table({"id": ["new"], "path": ["/new.png"], "domain": ["line"], "price": [19.5]})
    index.upsert(more, vectors[:1], index.fingerprint)
    again = Index.open(folder)
    # The newest without hub numbers, which a store that is there gets none of.
    assert json.loads((folder / "index.json").read_text())["format"] == 4
    with pytest.raises(ConfigError, match="index restore COPY"):
        index.search(vectors, goal="thing")
    assert [hit.id for hits in again.search(vectors, 1, parse_filter("price < 20")) for hit in hits] == ["new"] * 2
    for found, wanted in zip(again.search(vectors, k=19), before, strict=True):
        assert [hit for hit in found if hit.id != "new"] == wanted
    again.snapshot(tmp_path / "copy")
    restored = Index.restore(tmp_path / "copy", tmp_path / "restored", store="exact")
    assert (len(restored), restored.columns) == (19, {"price": "number"})


@pytest.fixture
def numbered(tmp_path: Path) -> Path:
    """An index of format 5, with hub numbers, a goal and own columns."""
    shutil.copytree(SAVED / "numbered.index", tmp_path / "numbered.index")
    return tmp_path / "numbered.index"


def test_a_numbered_index_answers_both_goals_as_it_did(numbered: Path) -> None:
    index = Index.open(numbered)
    assert (len(index), index.goal) == (24, "thing")
    assert index.columns == {"price": "number", "orientation": "text"}
    vectors = crosslens.load_encoder(SAVED / "ucdir").encode_features(seeded_features(2), "line")
    assert index.search(vectors, k=5) == index.search(vectors, k=5, goal="thing")
    for goal, expected in EXPECTED["numbered"].items():
        for found, wanted in zip(index.search(vectors, k=5, goal=goal), expected, strict=True):
            assert [hit.id for hit in found] == [name for name, _ in wanted]
            np.testing.assert_allclose([hit.score for hit in found], [score for _, score in wanted], atol=1e-4)
    cheap = index.search(vectors, 24, parse_filter("price < 3"))
    assert {hit.id for hit in cheap[0]} == {f"flat/circle/{number}.png" for number in range(3)}


def test_a_numbered_index_is_changed_and_keeps_its_numbers(numbered: Path) -> None:
    index = Index.open(numbered)
    vectors = crosslens.load_encoder(SAVED / "ucdir").encode_features(seeded_features(2), "line")
    before = {goal: index.search(vectors, 24, goal=goal) for goal in ("kind", "thing")}
    new = pa.table({"id": ["new"], "path": ["/new.png"], "domain": ["line"]})
    index.upsert(new, vectors[:1], index.fingerprint)
    again = Index.open(numbered)
    assert json.loads((numbered / "index.json").read_text())["format"] == 5
    for goal, hits in before.items():
        for found, wanted in zip(again.search(vectors, 25, goal=goal), hits, strict=True):
            assert [hit for hit in found if hit.id != "new"] == wanted
