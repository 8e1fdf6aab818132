"""What results show of themselves in a notebook and when they are printed."""

from __future__ import annotations

import re
import sys
from types import SimpleNamespace

import pytest

import crosslens
from crosslens.support import progress
from crosslens.support.curves import draw_curves

A = "photo/circle/00.png"


@pytest.fixture
def index(pictures, tmp_path):
    return crosslens.index(pictures, out=tmp_path / "<b>.index", encoder="tiny", store="exact")


def test_an_answer_shows_its_pictures(index):
    answer = crosslens.search(index, like=A, top=30)
    page = answer._repr_html_()
    assert page.count("data:image/jpeg;base64,") == 24
    assert "30 hits, the best 24 of them shown" in page
    lines = repr(answer).splitlines()
    assert lines[0] == "30 hits"
    assert lines[1].split() == [f"{answer.hits[0].hit.score:.3f}", answer.hits[0].hit.id]
    assert lines[-1].strip() == "and 6 more"
    frame = answer.to_pandas()
    assert frame["id"].tolist() == [one.hit.id for one in answer.hits]
    assert frame["score"].tolist() == [one.hit.score for one in answer.hits]


def test_an_index_and_a_searcher_say_what_they_hold(index):
    assert repr(index) == f"<Index {index.folder}: 96 items of tiny>"
    searcher = crosslens.Searcher(index)
    assert repr(index) in repr(searcher)
    page = searcher._repr_html_()
    assert page.count("<img") == 12
    assert "<b>" not in page
    assert "photo 48, sketch 48" in page
    assert repr(index.encoder) == "<Encoder tiny: vectors of 64 numbers>"


def test_measurements_are_tables_and_curves(tiny_world, pictures):
    catalog = crosslens.Catalog.open(pictures)
    assert repr(catalog) == f"<Catalog of 96 images below {pictures}: photo 48, sketch 48; 4 classes>"
    compared = crosslens.compare(["tiny", "tiny:1"], on=catalog, k=(1,))
    one = compared.evaluations[0]
    assert re.search(r"^mean\s+\d\.\d+", repr(one), re.M)
    page = one._repr_html_()
    assert page.count("<polyline") == 2
    assert "photo -&gt; sketch" in page
    assert f"{one.metrics['map@all']:.3f}" in page
    assert repr(compared).splitlines()[1].split()[0] == "encoder"
    assert "tiny:1" in compared._repr_html_()


def test_a_run_shows_its_course(tiny_world, pictures, tmp_path):
    run = crosslens.fit(
        "instance", pictures, out=tmp_path / "run", backbone="tiny", set={"epochs": 2, "batch_size": 16}
    )
    crosslens.evaluate(run)
    assert repr(run) == f"<Run {tmp_path / 'run'}: instance on photo, sketch, finished>"
    page = run._repr_html_()
    assert "<polyline" in page
    assert "map@all" in page
    assert "epochs" in page


def test_curves_lie_inside_and_names_are_text():
    drawn = draw_curves({"<i>": [0.0, float("nan"), 1.0]}, x="x", y="y")
    (points,) = re.findall(r'points="([^"]+)"', drawn)
    assert points == "44.0,172.0 352.0,8.0"
    assert "&lt;i&gt;" in drawn
    assert draw_curves({"none": [float("nan")]}, x="x", y="y") == ""


def test_a_bar_in_a_notebook_moves(monkeypatch):
    shown = []
    place = SimpleNamespace(update=shown.append)
    display = SimpleNamespace(HTML=str, display=lambda first, display_id: (shown.append(first), place)[1])
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(display=display))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.setattr(progress, "console", SimpleNamespace(is_jupyter=True, is_terminal=False))
    with progress.progress(3, "fit <x>") as advance:
        for _ in range(3):
            advance(note="loss 1")
    assert "fit &lt;x&gt; 0 of 3" in shown[0]
    assert 'value="3"' in shown[-1]
    assert "3 of 3 loss 1" in shown[-1]
