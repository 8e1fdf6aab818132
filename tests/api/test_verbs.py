"""The verbs in Python: by the names of the command line, and giving what it gives."""

from __future__ import annotations

import inspect
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import crosslens
from crosslens.support.errors import ConfigError

A = "photo/circle/00.png"
VERBS = ("fit", "evaluate", "compare", "report", "embed", "index", "search", "match", "export", "benchmark")


@pytest.fixture
def made(tiny_world, pictures, tmp_path):
    return crosslens.index(pictures, out=tmp_path / "i", encoder="tiny", store="exact", domains=["photo"])


def ids(answer):
    return [found.hit.id for found in answer.hits]


def test_every_verb_of_the_command_line_is_there_whatever_was_imported():
    script = f"""
import crosslens
assert all(callable(getattr(crosslens, verb)) for verb in {VERBS})
import crosslens.search.index.index, crosslens.report.page
assert all(callable(getattr(crosslens, verb)) for verb in {VERBS})
assert crosslens.search.index.index.Index is crosslens.Index
assert set({VERBS}) <= set(dir(crosslens))
"""
    subprocess.run([sys.executable, "-c", script], check=True)
    for verb in ("search", "report"):
        assert inspect.signature(getattr(crosslens, verb)) == inspect.signature(getattr(crosslens.api, verb))


def test_every_exported_name_exists():
    assert all(getattr(crosslens, name) is not None for name in crosslens.__all__)


def test_search_takes_pictures_of_any_kind(made, pictures):
    picture = pictures / "photo" / "square" / "01.png"
    pixels = np.asarray(Image.open(picture).convert("RGB"))
    found = [crosslens.search(made, image, top=5) for image in (picture, str(picture), picture.read_bytes())]
    found += [crosslens.search(made, Image.open(picture), top=5), crosslens.search(made, [pixels], top=5)]
    found += [crosslens.search(place, pixels, top=5) for place in (made.folder, crosslens.Searcher(made))]
    assert len(ids(found[0])) == 5
    assert all(ids(answer) == ids(found[0]) for answer in found)
    assert {one.hit.domain for one in found[0].hits} == {"photo"}


def test_search_mixes_and_cuts_as_it_is_told(made, pictures):
    picture = pictures / "sketch" / "cross" / "01.png"
    found = crosslens.search(
        made, picture, like=A, weight=[1, -0.5], region=(0, 0, 0.5, 1), where="label in ('circle', 'cross')", top=4
    )
    cut = Image.open(picture).convert("RGB")
    vectors = made.encoder.encode_images(cut.crop((0, 0, cut.width // 2, cut.height))), made.get(A)[1]
    asked = vectors[0][0] - 0.5 * vectors[1]
    expected = crosslens.Searcher(made).answer_vector(
        asked / np.linalg.norm(asked),
        crosslens.search.query.query.make_options(top=4, where="label in ('circle', 'cross')"),
        exclude=[A],
    )
    assert ids(found) == ids(expected)
    assert len(ids(found)) == 4


def test_a_wrong_option_is_named(made):
    with pytest.raises(ConfigError, match="topp"):
        crosslens.search(made, like=A, topp=3)
    with pytest.raises(ConfigError, match="at least one query"):
        crosslens.search(made)


def test_compare_and_evaluate_take_on_and_k(tiny_world, pictures):
    one = crosslens.evaluate("tiny", on=pictures, k=(3,))
    assert "p@3" in one.metrics
    assert crosslens.evaluate("tiny", pictures, ks=(3,)).metrics == one.metrics
    compared = crosslens.compare(["tiny", crosslens.load_encoder("tiny:1")], on=pictures, k=(3,))
    assert compared.evaluations[0].metrics == one.metrics
    assert compared.names == ["tiny", "tiny:1"]
    with pytest.raises(ConfigError, match="source is what on was called before"):
        crosslens.evaluate("tiny", pictures, source=pictures)


def test_export_writes_the_folder(tiny_world, tmp_path):
    folder = crosslens.export("tiny", out=tmp_path / "e", format="safetensors")
    assert crosslens.load_encoder(folder).fingerprint == crosslens.load_encoder("tiny").fingerprint
