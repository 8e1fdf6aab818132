"""``crosslens search``: what is asked, what is answered, what is refused."""

import json
from pathlib import Path

import pytest
from PIL import Image

from crosslens.data.catalog import Catalog
from crosslens.encoder import Encoder
from crosslens.search.index.index import Index
from testing.tiny_backbone import TinyBackbone

A, B = "photo/circle/00.png", "sketch/cross/00.png"


@pytest.fixture
def index(pictures, tmp_path):
    Index.build(Catalog.open(pictures), Encoder(TinyBackbone()), tmp_path / "i", store="exact")
    return tmp_path / "i"


@pytest.fixture
def ask(cli, index):
    """Search and give the JSON answer."""

    def call(*arguments):
        status, text, err = cli("search", index, *arguments, "--json", "-")
        assert status == 0, err
        return json.loads(text)

    return call


def ids(answer):
    return [hit["id"] for hit in answer["hits"]]


def test_a_mix_of_everything(ask, pictures):
    picture = pictures / "photo" / "square" / "01.png"
    answer = ask("--image", picture, "--like", A, "--like", B, "-w", 1, "-w", 0.5, "--weight", -0.3, "--top", 5)
    assert len(answer["hits"]) == 5
    assert not {A, B} & set(ids(answer))
    assert set(answer["hits"][0]) == {
        "id", "score", "path", "domain", "label", "root", "size", "modified", "columns", "duplicates",
    }  # fmt: skip
    assert {"embed", "search", "sort"} <= set(answer["seconds"])
    assert "match_probability" not in answer


def test_filter_sort_fold_and_rerank(ask):
    photos = ask(
        "--like", B, "--where", "domain = 'photo' and not label in ('circle')", "--sort", "-id", "-k", 100
    )
    assert len(photos["hits"]) == 36
    assert ids(photos) == sorted(ids(photos), reverse=True)
    folded = ask("--like", A, "--fold", 0.2, "--top", 3)
    assert sum(len(hit["duplicates"]) for hit in folded["hits"]) > 3
    for name in ("aqe", "dba", "k-reciprocal", "diffusion"):
        assert len(ask("--like", A, "--rerank", name, "-k", 7)["hits"]) == 7
    plain = ask("--like", A, "-k", 50)
    cut = ask("--like", A, "-k", 50, "--min-score", plain["hits"][4]["score"] - 1e-6)
    assert ids(cut) == ids(plain)[:5]


def test_a_goal(ask, cli, index, pictures, tmp_path):
    kind, thing = (ask("--like", A, "-k", 95, "--goal", goal) for goal in ("kind", "thing"))
    assert ids(ask("--like", A, "-k", 95)) == ids(kind) != ids(thing)
    status, _, err = cli("search", index, "--like", A, "--goal", "thin")
    assert (status, "did you mean 'thing'" in err) == (2, True)
    status, _, err = cli("search", index, "--like", A, "--goal", "thing", "--rerank", "dba")
    assert (status, "leave one of the two out" in " ".join(err.split())) == (2, True)
    aimed, alone = tmp_path / "aimed", tmp_path / "alone"
    build = ("index", "build", pictures, "--domains", "photo", "--goal", "thing")
    status, _, err = cli(*build, "--out", alone)
    assert (status, "--queries" in err, alone.exists()) == (2, True, False)
    assert cli(*build, "--out", aimed, "--queries", pictures / "sketch")[0] == 0
    told = json.loads(cli("index", "info", aimed, "--json", "-")[1])
    assert (told["goal"], told["hubs"]["bank"], told["format"]) == ("thing", "queries", 5)
    assert "thing learned of 48 kept queries and 48 items" in " ".join(cli("index", "info", aimed)[1].split())


def test_a_region_of_a_picture_and_different_ones(ask, cli, index, pictures, tmp_path):
    picture = pictures / "sketch" / "cross" / "01.png"
    Image.open(picture).crop((10, 0, 40, 32)).save(tmp_path / "cut.png")
    side = Image.open(picture).width
    region = f"{10 / side},0,{30 / side},{32 / Image.open(picture).height}"
    asked = ("--image", picture, "--region", region, "--top", 5, "--grid", tmp_path / "grid.png")
    assert ids(ask(*asked)) == ids(ask("--image", tmp_path / "cut.png", "--top", 5))
    assert (tmp_path / "grid.png").is_file()
    assert ids(ask("--like", A, "--rerank", "mmr")) != ids(ask("--like", A))
    for wrong, told in (("0,0,1", "four numbers"), ("0,0,2,1", "does not lie inside")):
        status, _, err = cli("search", index, "--image", picture, "--region", wrong)
        assert (status, told in err) == (2, True)
    status, _, err = cli("search", index, "--like", A, "--region", "0,0,1,1")
    assert (status, "0 pictures need 0 regions" in err) == (2, True)


def test_hits_are_saved_for_other_programs(ask, cli, index, tmp_path):
    files = [tmp_path / name for name in ("h.md", "h.fiftyone.json", "h.labelstudio.json")]
    asked = [part for file in files for part in ("--save", file)]
    found = ids(ask("--like", A, "--top", 3, *asked))
    assert [row.split("|")[1].strip() for row in files[0].read_text().splitlines()[2:]] == found
    samples = json.loads(files[1].read_text())["samples"]
    assert [sample["crosslens_id"] for sample in samples] == found
    assert [task["data"]["id"] for task in json.loads(files[2].read_text())] == found
    status, _, err = cli("search", index, "--like", A, "--save", tmp_path / "h.json")
    assert (status, ".fiftyone.json" in err) == (2, True)


def test_match_probability_on_queries(ask, pictures):
    answer = ask("--image", pictures / "sketch" / "cross" / "01.png", "--queries", pictures / "sketch")
    assert 0 < answer["match_probability"] < 1
    assert len(answer["hits"]) == 10
    assert ask("--like", A, "--min-match", 1.0)["no_match"]


def test_grids_and_tables(cli, index, pictures, tmp_path):
    drawn = tmp_path / "drawn.png"
    Image.new("RGBA", (64, 64), (0, 0, 0, 0)).save(drawn)
    for name in ("g.png", "g.html"):
        status, text, err = cli(
            "search", index, "--image", drawn, "--like", A, "--top", 4, "--grid", tmp_path / name, "--fold", 0.5
        )
        assert status == 0, err
        assert f"drawn in {tmp_path / name}" in text
        assert (tmp_path / name).stat().st_size > 2000
    status, text, err = cli("search", index, "--like", A, "--top", 4, "--quiet")
    assert (status, len(text.splitlines()), err) == (0, 5, "")
    status, text, _ = cli("search", index, "--like", A, "--top", 2)
    assert len(text.splitlines()) == 3


def test_a_domain_nobody_knows_is_said(cli, pictures, centred_index):
    picture = pictures / "sketch" / "cross" / "01.png"
    status, text, err = cli("search", centred_index, "--image", picture, "--domain", "auto", "-k", 1)
    assert status == 0, err
    assert "detected domain: sketch" in text
    status, _, err = cli("search", centred_index, "--image", picture, "--domain", "skech", "-k", 1)
    assert status == 0
    assert "no domain 'skech'" in " ".join(err.split())


@pytest.fixture
def centred_index(pictures, tmp_path):
    from crosslens.api import fit

    run = fit("centred", pictures, out=tmp_path / "run", domains=["photo", "sketch"], backbone="tiny")
    Index.build(Catalog.open(pictures), Encoder.load(run.folder / "encoder"), tmp_path / "c", store="exact")
    return tmp_path / "c"


@pytest.mark.filterwarnings("ignore:Image size")
def test_bad_queries(cli, index, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0" + b"x" * 50)
    Image.new("1", (10_000, 9_000)).save(tmp_path / "huge.png")
    for arguments, message in (
        ((), "at least one query"),
        (("--image", tmp_path / "none.png"), "does not exist"),
        (("--image", tmp_path / "broken.jpg"), "broken.jpg"),
        (("--image", tmp_path / "huge.png"), "more than the limit"),
        (("--text", "a cat"), "does not understand text"),
        (("--like", "nobody"), "nobody"),
        (("--like", A.replace("circle", "cirle")), f"did you mean '{A}'"),
        (("--like", A, "-w", 1, "-w", 2), "1 queries need 1 weights, not 2"),
        (("--like", A, "--like", A, "-w", 1, "-w", -1), "cancel"),
        (("--like", A, "--where", "domain ="), "at character 9"),
        (("--like", A, "--where", "colour = 'red'"), "colour"),
        (("--like", A, "--sort", "beauty"), "sort = 'beauty'"),
        (("--like", A, "--rerank", "magic"), "rerank = 'magic'"),
        (("--like", A, "--fold", 2), "fold = 2.0"),
        (("--like", A, "--top", 5000), "top = 5000"),
        (("--like", A, "--grid", tmp_path / "a.gif"), ".png or .html"),
        (("--image", A, "--queries", tmp_path / "nowhere"), "nowhere"),
    ):
        status, text, err = cli("search", index, *arguments)
        assert status in (1, 2), arguments
        assert message in " ".join(err.split()), err
        assert "Traceback" not in err
        assert text == ""
    assert cli("search", index, "--min-match", 1.5)[0] == 2


def test_hits_as_csv_copies_and_a_page(cli, index, pictures, tmp_path, monkeypatch):
    import csv
    import io

    from crosslens.cli import browser

    opened = []
    monkeypatch.setattr(browser, "show_in_browser", lambda address: opened.append(address) or True)
    status, text, err = cli(
        "search", index, "--like", A, "-k", 3, "--csv", "-", "--copy-to", tmp_path / "c", "--open"
    )
    assert status == 0, err
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["rank"] for row in rows] == ["1", "2", "3"]
    assert {"id", "score", "path", "domain", "label"} <= set(rows[0])
    copied = sorted((tmp_path / "c").iterdir())
    assert [file.name for file in copied] == [
        f"{n}-{row['path'].rpartition('/')[2]}" for n, row in enumerate(rows, 1)
    ]
    assert all(file.read_bytes() == Path(row["path"]).read_bytes() for file, row in zip(copied, rows, strict=True))
    # A second time nothing is written over.
    cli("search", index, "--like", A, "-k", 3, "--copy-to", tmp_path / "c")
    assert len(list((tmp_path / "c").iterdir())) == 6
    assert len(opened) == 1
    assert opened[0].startswith("file://")
    status, _, err = cli("search", index, "--like", A, "--json", tmp_path / "hits.csv")
    assert status == 2
    assert "hits.csv" in err
    assert not (tmp_path / "hits.csv").exists()


def test_a_copy_of_what_is_gone_is_said(cli, index, pictures, tmp_path):
    (pictures / "photo" / "circle" / "01.png").unlink()
    status, _, err = cli(
        "search", index, "--like", A, "--where", "id = 'photo/circle/01.png'", "--copy-to", tmp_path / "c"
    )
    assert status == 0
    assert "not copied, being gone" in " ".join(err.split())


def test_the_nearest_are_shown_under_no_match(cli, index, pictures):
    drawing = pictures / "sketch" / "cross" / "01.png"
    status, text, err = cli(
        "search", index, "--image", drawing, "--queries", pictures / "sketch", "--min-match", 1.0, "-k", 3
    )
    assert status == 0, err
    assert "no match, the nearest are" in text
    assert "probability of a counterpart 0." in text
    assert len(text.splitlines()) == 5
    # Nothing here is like a drawing of unknown look, so a number would pretend.
    status, text, err = cli("search", index, "--image", drawing, "--min-match", 1.0, "-k", 3)
    assert status == 0
    assert "a rough guess" in text
    assert "probability" not in text


def test_a_name_and_a_filter_that_find_nothing_are_said(cli, index, pictures):
    drawing = pictures / "sketch" / "cross" / "01.png"
    status, text, err = cli("search", index, "--image", drawing, "--domain", "skech", "--where", "domain = 'phto'")
    err = " ".join(err.split())
    assert status == 0
    assert len(text.splitlines()) == 1
    assert "no domain 'skech', only photo, sketch" in err
    assert "did you mean 'sketch'?" in err
    assert "none of the 96 items matches the filter; the domains are photo, sketch; did you mean 'photo'?" in err
    assert cli("search", index, "--image", drawing, "--domain", "sketch", "-k", 1)[2] == ""


def test_a_line_end_in_a_name_stays_in_its_row(cli, pictures, tmp_path):
    picture = pictures / "photo" / "circle" / "00.png"
    picture.rename(picture.with_name("two\nlines.png"))
    Index.build(Catalog.open(pictures), Encoder(TinyBackbone()), tmp_path / "n", store="exact")
    status, text, _ = cli("search", tmp_path / "n", "--where", "id starts with 'photo/circle/two'", "--like", B)
    assert status == 0
    assert len(text.splitlines()) == 2
    assert "two\\nlines.png" in text
