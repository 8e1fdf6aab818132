import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crosslens.datasets import emoji, emoji_drawing
from crosslens.datasets.emoji import concepts
from crosslens.datasets.emoji_drawing import draw, draw_all, is_whole
from crosslens.support.errors import CatalogError


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def test_strokes_that_fillings_cover_belong_to_the_line_drawing(tmp_path):
    """The letter of a squared A is in the group line-supplement, under the red square."""
    source = emoji._openmoji()["1F170"]
    line, color = (tmp_path / "line.png", tmp_path / "color.png")
    sizes = draw_all([("line", source, str(line)), ("color", source, str(color))])
    assert sizes == [line.stat().st_size, color.stat().st_size]
    assert (pixels(line)[110:150, 110:150] < 100).any()
    assert not (pixels(color).sum(2) < 100).any()


def test_blank_pictures_are_none():
    white_heart = Path(emoji._openmoji()["1F90D"])
    assert draw("color", white_heart) is None
    assert draw("line", white_heart) is not None


def test_whole_pictures(tmp_path):
    picture = draw("line", Path(emoji._openmoji()["1F408"]))
    for name, content in (("whole", picture), ("cut", picture[:-1]), ("tiny", b"PNG"), ("empty", b"")):
        (tmp_path / name).write_bytes(content)
    found = {name: is_whole(tmp_path / name) for name in ("whole", "cut", "tiny", "empty", "missing")}
    assert found == {"whole": True, "cut": False, "tiny": False, "empty": False, "missing": False}


def jobs_for(folder, number=80):
    codes = [concept.code for concept in concepts()][:number]
    return [("line", emoji._openmoji()[code], str(folder / f"{code}.png")) for code in codes]


def test_workers_draw_the_same_as_this_process(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    seen = []
    sizes = draw_all(jobs_for(tmp_path / "a"), lambda done, total: seen.append((done, total)))
    assert seen == [(number, 80) for number in range(1, 81)]
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    assert draw_all(jobs_for(tmp_path / "b")) == sizes
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


@pytest.mark.parametrize("cores", [1, 2])
def test_drawing_that_fails(tmp_path, monkeypatch, cores):
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    with pytest.raises(CatalogError, match=r"could not write .*: No such file or directory"):
        draw_all(jobs_for(tmp_path / "missing"))
    jobs = [*jobs_for(tmp_path)[:70], ("line", str(tmp_path / "none.svg"), str(tmp_path / "none.png"))]
    with pytest.raises(CatalogError, match=r"the emoji .*none.svg cannot be drawn"):
        draw_all(jobs)


def test_no_process_outlives_an_interruption(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    started = []

    class Recorded(subprocess.Popen):
        def __init__(self, *args, **settings):
            super().__init__(*args, **settings)
            started.append(self)

    monkeypatch.setattr(emoji_drawing.subprocess, "Popen", Recorded)

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw_all(jobs_for(tmp_path), stop)
    assert len(started) == 2
    assert all(process.poll() is not None for process in started)
