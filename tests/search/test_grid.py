import base64
import io
import re

import numpy as np
import pytest
import resvg_py
from PIL import Image

from crosslens.search.grid import SIDE, Tile, draw_grid, make_tile, picture_tile, write_grid
from crosslens.search.index.items import Hit
from crosslens.search.query.query import FoldedHit
from crosslens.support.errors import ConfigError, CrosslensError

COLOURS = [(200, 30, 30), (30, 160, 30), (30, 30, 200)]


def found(tmp_path):
    hits = []
    for number, colour in enumerate(COLOURS):
        file = tmp_path / f"{number}.png"
        Image.new("RGB", (60 + 40 * number, 80), colour).save(file)
        hits.append(
            FoldedHit(Hit(f"d/<{number}>", 0.9 - number / 10, str(file), "photo", "a & b"), ("x",) * number)
        )
    gone = FoldedHit(Hit("d/gone", 0.1, str(tmp_path / "gone.png"), "photo", None))
    return [make_tile(hit) for hit in [*hits, gone]]


def test_a_png_shows_every_picture_in_order(tmp_path):
    query = Image.new("RGBA", (300, 300), (0, 0, 0, 0))
    query.paste((250, 200, 0, 255), (100, 100, 200, 200))
    file = tmp_path / "out" / "grid.png"
    write_grid(file, [Tile(query), Tile(None, "a red\nsquare")], found(tmp_path), "4 of 9")
    pixels = np.asarray(Image.open(file).convert("RGB")).astype(int)
    places = []
    for colour in [(250, 200, 0), *COLOURS]:
        near = np.abs(pixels - colour).sum(2) < 30
        assert near.sum() > 1500, colour
        rows, columns = np.nonzero(near)
        places.append((rows.mean(), columns.mean()))
    # The query lies above; the hits lie beside each other, best first.
    assert places[0][0] < min(row for row, _ in places[1:])
    assert [c for _, c in places[1:]] == sorted(c for _, c in places[1:])
    # Nothing is drawn around the transparent sketch but white.
    assert (pixels[60, 20:60] == 255).all()


def test_a_page_holds_its_pictures_and_escapes_names(tmp_path):
    file = tmp_path / "grid.html"
    write_grid(file, [Tile(None, "<script>alert(1)</script>")], found(tmp_path), "a < b")
    page = file.read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "a &amp; b" in page
    assert "+2 alike" in page
    assert "image is gone" in page
    sources = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    shown = [np.asarray(Image.open(io.BytesIO(base64.b64decode(s)))).mean((0, 1)) for s in sources]
    assert np.allclose(shown, COLOURS, atol=6)
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_letters_are_those_of_the_system_where_it_has_fonts(monkeypatch):
    fonts = pytest.importorskip("matplotlib.font_manager")
    draw, names = resvg_py.svg_to_bytes, ("Σκύλος", "άλογοι", "<Щ>&" + "Щ" * 40)

    def pictures(**given):
        monkeypatch.setattr(resvg_py, "svg_to_bytes", lambda svg: draw(svg, skip_system_fonts=True, **given))
        return [draw_grid([], [Tile(None, name, (name, "photo")), Tile(None)]) for name in names]

    boxes = pictures()
    assert boxes[0] == boxes[1]
    letters = pictures(font_files=[fonts.findfont("DejaVu Sans")], sans_serif_family="DejaVu Sans")
    assert len({*letters, *boxes}) == 5
    # What is too long ends before the next tile.
    wide = np.asarray(Image.open(io.BytesIO(letters[2])))
    assert (wide[SIDE + 26 : SIDE + 56, SIDE + 24 :] == 255).all()


def test_nothing_found_is_said(tmp_path):
    for name in ("a.png", "a.HTML"):
        write_grid(tmp_path / name, [Tile(None, "words")], [])
    assert "nothing was found" in (tmp_path / "a.HTML").read_text()
    assert Image.open(tmp_path / "a.png").width > 400


def test_files_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(ConfigError, match=r"\.png or \.html"):
        write_grid(tmp_path / "a.gif", [], [])
    with pytest.raises(CrosslensError, match="could not write"):
        write_grid(tmp_path / "file" / "a.png", [], [])
    assert (tmp_path / "file").read_text() == "precious"


def test_a_picture_may_lie_anywhere(tmp_path):
    there = tmp_path / "a.png"
    assert picture_tile(str(there), ("", ""), linked=True).link == there.as_uri()
    away = picture_tile("s3://bucket/a.png", ("", ""), linked=True)
    assert (str(away.picture), away.link) == ("s3://bucket/a.png", "")
    # Of a picture in an archive, the file that there is.
    archive = tmp_path / "shard.tar"
    archive.write_bytes(b"")
    assert picture_tile(str(archive / "b.png"), ("", ""), linked=True).link.startswith(tmp_path.as_uri())
