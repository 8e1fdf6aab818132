"""``match``: which picture of one folder is which of another."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

import crosslens
from crosslens.api.matches import Matches, check_place
from crosslens.support.errors import ConfigError, CrosslensError, NothingEmbeddedError


@pytest.fixture
def sides(tiny_world, tmp_path):
    """Twenty patterns, and the same a little darker under other names; three of B have none in A."""
    rng = np.random.default_rng(0)
    for number in range(23):
        pattern = np.kron(rng.integers(0, 255, (4, 4, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
        for side, factor in (("a", 1.0), ("b", 0.8)):
            if side == "a" and number >= 20:
                continue
            folder = tmp_path / side / ("even" if number % 2 else "odd")
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray((pattern * factor).astype(np.uint8)).save(folder / f"{side}{number:02d}.png")
    return tmp_path / "a", tmp_path / "b"


def number(picture):
    return picture.id[-6:-4]


def test_each_picture_finds_its_own(sides):
    found = crosslens.match(*sides, encoder="tiny", min_match=0)
    assert len(found.pairs) == 20
    assert sum(number(pair.a) == number(pair.b) for pair in found.pairs) >= 18
    assert not found.alone_a
    assert len(found.alone_b) == 3
    chances = [pair.probability for pair in found.pairs]
    assert chances == sorted(chances, reverse=True)
    assert all(0 <= chance <= 1 for chance in chances)
    assert not found.rough


def test_what_is_not_sure_is_a_guess(sides):
    every = crosslens.match(*sides, encoder="tiny", min_match=0)
    cut = sorted(pair.probability for pair in every.pairs)[5]
    found = crosslens.match(*sides, encoder="tiny", min_match=cut)
    assert found.pairs == tuple(pair for pair in every.pairs if pair.probability >= cut)
    guesses = [one.guess for one in found.alone_a]
    assert guesses == [pair for pair in every.pairs if pair.probability < cut]
    assert {one.guess for one in found.alone_b} == {*guesses, None}
    everyone = {pair.a.id for pair in found.pairs} | {one.picture.id for one in found.alone_a}
    assert len(everyone) == len(found.pairs) + len(found.alone_a) == 20


def test_many_may_share_one(sides):
    a, b = sides
    for file in [*a.rglob("*.png")]:
        shutil.copy(file, file.with_name(f"again-{file.name}"))
    found = crosslens.match(a, b, encoder="tiny", many=True, min_match=0)
    assert len(found.pairs) == 40
    assert sum(number(pair.a) == number(pair.b) for pair in found.pairs) >= 34
    once = crosslens.match(a, b, encoder="tiny", min_match=0)
    assert len(once.pairs) == len({pair.b.id for pair in once.pairs}) == 23


def test_two_domains_of_one_folder(pictures):
    found = crosslens.match(pictures, domains=("sketch", "photo"), encoder="tiny", min_match=0)
    assert {pair.a.id.split("/")[0] for pair in found.pairs} == {"sketch"}
    assert {pair.b.id.split("/")[0] for pair in found.pairs} == {"photo"}
    turned = crosslens.match(pictures, encoder="tiny", min_match=0)
    assert {pair.a.id.split("/")[0] for pair in turned.pairs} == {"photo"}


def test_a_trained_encoder_is_told_its_domains(pictures, tmp_path, capsys):
    run = crosslens.fit("centred", pictures, out=tmp_path / "run", backbone="tiny")
    whole = crosslens.match(pictures, encoder=run, min_match=0)
    named = crosslens.match(
        pictures / "photo", pictures / "sketch", domains=("photo", "sketch"), encoder=run, min_match=0
    )
    assert [pair.probability for pair in named.pairs] == pytest.approx([p.probability for p in whole.pairs])
    assert [f"photo/{pair.a.id}" for pair in named.pairs] == [pair.a.id for pair in whole.pairs]
    capsys.readouterr()
    crosslens.match(pictures / "photo", pictures / "sketch", domains=("x", "sketch"), encoder=run)
    assert "x is none of them" in capsys.readouterr().err


def test_features_are_taken_from_a_folder(pictures, tmp_path):
    crosslens.embed(pictures, out=tmp_path / "features", backbone="tiny")
    plain = crosslens.match(pictures, encoder="tiny")
    assert crosslens.match(pictures, encoder="tiny", features=tmp_path / "features") == plain
    with pytest.raises(ConfigError, match="folder above both"):
        crosslens.match(pictures / "photo", pictures / "sketch", encoder="tiny", features=tmp_path / "features")


def test_labels_take_no_part(pictures):
    catalog = crosslens.Catalog.open(pictures)
    wrong = catalog.relabel(lambda name: "circle")
    assert crosslens.match(catalog, encoder="tiny") == crosslens.match(wrong, encoder="tiny")


def test_what_cannot_be_read_is_skipped(sides):
    a, b = sides
    (a / "odd" / "broken.png").write_bytes(b"no picture")
    found = crosslens.match(a, b, encoder="tiny", min_match=0)
    assert len(found.pairs) == 20
    assert len(found.skipped) == 1
    assert found.skipped[0].count("broken.png") == 1
    for file in a.rglob("*.png"):
        file.write_bytes(b"no picture")
    with pytest.raises(NothingEmbeddedError, match="side A"):
        crosslens.match(a, b, encoder="tiny")


def test_one_picture_is_rough(sides, tmp_path):
    a, b = sides
    one = tmp_path / "one"
    one.mkdir()
    shutil.copy(a / "odd" / "a00.png", one)
    found = crosslens.match(one, b, encoder="tiny", min_match=0)
    assert found.rough
    assert found.notes
    assert [number(pair.b) for pair in found.pairs] == ["00"]
    assert len(found.alone_b) == 22


def test_wrong_sides_are_refused(sides, pictures, tmp_path):
    a, b = sides
    with pytest.raises(ConfigError, match="both sides are the same pictures"):
        crosslens.match(a, a, encoder="tiny")
    with pytest.raises(ConfigError, match="10 pictures are on both sides"):
        crosslens.match(a, a / "odd", encoder="tiny")
    with pytest.raises(ConfigError, match="two domains of this one"):
        crosslens.match(pictures, domains=("photo",), encoder="tiny")
    with pytest.raises(CrosslensError, match="ketch"):
        crosslens.match(pictures, domains=("photo", "sketsh"), encoder="tiny")
    with pytest.raises(ConfigError, match="two sides have two domains"):
        crosslens.match(a, b, domains=("photo",), encoder="tiny")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(CrosslensError, match="empty"):
        crosslens.match(empty, b, encoder="tiny")
    with pytest.raises(ConfigError, match="min_match"):
        crosslens.match(a, b, min_match=2)


def test_tables_and_files_hold_it_all(sides, tmp_path):
    found = crosslens.match(*sides, encoder="tiny")
    folder = found.write(tmp_path / "pairs")
    assert sorted(file.name for file in folder.iterdir()) == ["pairs.csv", "pairs.html", "pairs.json"]
    with open(folder / "pairs.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    counts = [len(found.pairs), len(found.alone_a), len(found.alone_b)]
    assert [sum(row["status"] == kind for row in rows) for kind in ("pair", "only a", "only b")] == counts
    first = found.pairs[0]
    assert rows[0]["a"] == first.a.id
    assert rows[0]["path_b"] == first.b.path
    assert float(rows[0]["probability"]) == first.probability
    value = json.loads((folder / "pairs.json").read_text())
    assert value == json.loads(json.dumps(found.to_json()))
    assert value["pairs"][0]["b"]["id"] == first.b.id
    page = (folder / "pairs.html").read_text()
    guesses = sum(one.guess is not None for one in (*found.alone_a, *found.alone_b))
    assert page.count("data:image/jpeg") == 2 * counts[0] + counts[1] + counts[2] + guesses
    assert found.to_pandas()["a"].notna().sum() >= 20
    found.write(tmp_path / "sheet.png")
    assert Image.open(tmp_path / "sheet.png").width > 6 * 160
    # Its own files are written anew.
    found.write(folder)


def test_nothing_else_is_written_over(sides, tmp_path):
    found = Matches((), (), ())
    others = {"own.csv": "id,path\n1,2\n", "own.json": '{"mine": 1}'}
    for name, text in others.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(ConfigError, match="something else"):
            found.write(tmp_path / name)
        assert (tmp_path / name).read_text() == text
    with pytest.raises(ConfigError, match="other files"):
        found.write(sides[0])
    with pytest.raises(ConfigError, match="ends in"):
        check_place(tmp_path / "pairs.xlsx")
    for name in ("pairs.csv", "pairs.json"):
        found.write(tmp_path / name)
        found.write(tmp_path / name)


def test_it_shows_itself_in_a_notebook(sides):
    found = crosslens.match(*sides, encoder="tiny", min_match=0)
    page = found._repr_html_()
    assert page.count("data:image/jpeg") == 24
    assert "20 pairs, 0 only in a, 3 only in b, the first 12 pairs shown" in page
    lines = repr(found).splitlines()
    assert lines[0] == "20 pairs, 0 only in a, 3 only in b"
    assert lines[-1].strip() == "and 8 more"
