"""``crosslens index`` end to end on tiny pictures."""

import json

import pytest
from PIL import Image

from crosslens.encoder import Encoder
from crosslens.encoder.compiled import FOLDER
from crosslens.search.index.index import Index
from testing.tiny_backbone import TinyBackbone
from testing.tiny_pictures import make_pictures


@pytest.fixture
def index(cli, pictures, tmp_path):
    status, _, err = cli("index", "build", pictures, "--encoder", "tiny", "--out", tmp_path / "i", "--quiet")
    assert status == 0, err
    return tmp_path / "i"


def answer(cli, *arguments):
    status, out, err = cli(*arguments, "--json", "-")
    assert status == 0, err
    return json.loads(out)


def test_add_delete_optimize_info(cli, index, pictures, tmp_path):
    more = make_pictures(tmp_path / "more", count=2, looks=("clipart",), seed=3)
    found = answer(cli, "index", "add", index, more)
    assert (found["added"], found["items"], found["skipped"]) == (8, 104, [])
    assert answer(cli, "index", "add", index, pictures)["unchanged"] == 96
    assert answer(cli, "index", "delete", index, "clipart/circle/00.png")["deleted"] == 1
    assert answer(cli, "index", "delete", index, "--where", "domain = 'clipart'")["deleted"] == 7
    assert answer(cli, "index", "optimize", index)["structure"] == "exact"
    found = answer(cli, "index", "info", index)
    assert (found["items"], found["store"]["kind"]) == (96, "lance")
    assert found["roots"] == [str(pictures.resolve()), str(more.resolve())]
    for command in ("info", "optimize"):
        status, text, _ = cli("index", command, index)
        assert status == 0
        assert "lance" in text


def test_info_compiles_and_loads_no_network(cli, tiny_world, tmp_path, monkeypatch):
    monkeypatch.setenv("CROSSLENS_CACHE", str(tmp_path / "cache"))
    Index.create(tmp_path / "bare", Encoder(TinyBackbone())).close()
    monkeypatch.delattr(Encoder, "load")
    status, out, err = cli("index", "info", tmp_path / "bare")
    assert status == 0, err
    assert "backbone\ttiny\nanswers words\tno\n" in out
    assert not (tmp_path / "bare" / "encoder" / FOLDER).exists()
    assert not (tmp_path / "cache" / "encoders").exists()


def test_an_item_that_is_deleted_for_its_image_is_named(cli, index, pictures):
    (pictures / "photo" / "circle" / "00.png").write_bytes(b"broken")
    status, out, err = cli("index", "add", index, pictures)
    assert status == 0
    assert "0 changed, 95 unchanged, 1 removed, 1 skipped; 95 items" in out
    assert "00.png is not an image" in " ".join(err.split())
    assert "its item was deleted" in " ".join(err.split())


def test_delete_wants_ids_or_a_condition(cli, index):
    for arguments in ([], ["x", "--where", "size > 1"]):
        status, _, err = cli("index", "delete", index, *arguments)
        assert status == 2
        assert "one of the two" in err
    status, _, err = cli("index", "delete", index, "--where", "colour = 'red'")
    assert status == 2
    assert "the fields are id, path" in err


def test_search_with_a_filter(cli, index, pictures):
    sketch = pictures / "sketch" / "circle" / "00.png"
    found = answer(cli, "search", index, "--image", sketch, "--where", "domain = 'photo' and label = 'cross'")
    assert len(found["hits"]) == 10
    assert {(hit["domain"], hit["label"]) for hit in found["hits"]} == {("photo", "cross")}


def test_snapshot(cli, index, tmp_path):
    target = tmp_path / "copy"
    assert answer(cli, "index", "snapshot", index, target)["items"] == 96
    names = {file.name for file in target.iterdir()}
    assert names == {"items.parquet", "vectors.safetensors", "snapshot.json", "encoder"}
    status, _, err = cli("index", "snapshot", index, target)
    assert status == 1
    assert "exists already" in err
    status, _, err = cli("search", target, "--like", "photo/circle/00.png")
    assert status == 1
    assert f"crosslens index restore {target}" in " ".join(err.split())
    found = answer(cli, "index", "restore", target, "--out", tmp_path / "back", "--store", "exact")
    assert (found["items"], found["store"]["kind"]) == (96, "exact")
    assert answer(cli, "search", tmp_path / "back", "--like", "photo/circle/00.png")["hits"]
    status, _, err = cli("index", "restore", index, "--out", tmp_path / "again")
    assert status == 1
    assert "is no snapshot" in err


def test_bench_measures_each_structure(cli, pictures, tmp_path):
    more = make_pictures(tmp_path / "many", count=20)
    cli("index", "build", more, "--encoder", "tiny", "--out", tmp_path / "i", "--store", "exact")
    found = answer(cli, "index", "bench", tmp_path / "i", "--queries", "20")
    assert found["items"] == found["measured"] == 160
    assert [kind["name"].split(",")[0] for kind in found["kinds"]] == ["exact", "ivf"]
    exact = found["kinds"][0]
    assert exact["recall@10"] == exact["recall@10 of 1 %"] == 1
    for kind in found["kinds"]:
        assert set(found["columns"]) < set(kind)
        assert all(kind[key] > 0 for key in found["columns"])
    assert cli("index", "bench", tmp_path / "i", "--queries", "20")[0] == 0
    assert len(Index.open(tmp_path / "i")) == 160


def test_stores_by_name(cli, pictures, tmp_path):
    status, _, err = cli("index", "build", pictures, "--encoder", "tiny", "--out", tmp_path / "j", "--store", "x")
    assert status == 2
    assert "no store 'x'" in err


def test_a_domain_that_is_away_is_refused_unless_forced(cli, index, pictures, tmp_path):
    (pictures / "sketch").rename(tmp_path / "unmounted")
    status, _, err = cli("index", "add", index, pictures)
    assert status == 1
    assert "48 of the 48 items of 'sketch' are gone" in " ".join(err.split())
    assert len(Index.open(index)) == 96
    assert answer(cli, "index", "add", index, pictures, "--keep-gone")["removed"] == 0
    assert answer(cli, "index", "add", index, pictures, "--force")["removed"] == 48


def test_a_moved_library_is_relocated(cli, index, pictures, tmp_path):
    new = tmp_path / "new"
    pictures.rename(new)
    status, _, err = cli("index", "add", index, new)
    assert status == 1
    assert f"crosslens index relocate INDEX {pictures} {new}" in " ".join(err.split())
    status, out, _ = cli("index", "relocate", index, pictures, new)
    assert status == 0
    assert "96 items moved, 0 of them with another size or time, 0 without their image" in out
    assert answer(cli, "index", "add", index, new)["unchanged"] == 96
    assert answer(cli, "index", "info", index)["roots"] == [str(new)]
    (new / "photo" / "cross" / "00.png").unlink()
    new.rename(pictures)
    status, _, err = cli("index", "relocate", index, new, pictures)
    assert status == 1
    assert "1 of 96 images are not in" in " ".join(err.split())
    found = answer(cli, "index", "relocate", index, new, pictures, "--force")
    assert (found["moved"], found["missing"], found["items"]) == (96, ["photo/cross/00.png"], 96)


def test_nothing_to_delete(cli, index):
    assert answer(cli, "index", "delete", index, "--where", "domain = 'nobody'") == {
        "deleted": 0, "missing": [], "items": 96,
    }  # fmt: skip


def test_a_picture_alone_in_its_domain_has_no_centre(cli, pictures, tmp_path):
    lonely = tmp_path / "lonely"
    for name in ("one/a/00.png", "one/b/00.png"):
        (lonely / name).parent.mkdir(parents=True)
        (lonely / name).write_bytes((pictures / "photo" / "circle" / "00.png").read_bytes())
    make_pictures(lonely, count=1, looks=("sketch",))
    run = tmp_path / "run"
    status, _, err = cli("fit", "centred", lonely, "--backbone", "tiny", "--out", run)
    assert status == 1
    assert "'one' has one picture alone, or copies of one (2)" in " ".join(err.split())
    assert "--domains" in err
    assert not (run / "encoder").exists()


def test_columns_from_a_table_to_the_hits(cli, pictures, tmp_path):
    table = tmp_path / "prices.csv"
    table.write_text("path,price\nphoto/circle/00.png,19.5\nphoto/circle/01.png,25\n")
    out = tmp_path / "i"
    status, _, err = cli("index", "build", pictures, "--encoder", "tiny", "--columns", table, "--out", out)
    assert status == 0, err
    status, text, err = cli("search", out, "--like", "photo/circle/02.png", "--where", "price < 20")
    assert status == 0, err
    assert "price 19.5" in text
    found = answer(cli, "search", out, "--like", "photo/circle/02.png", "--where", "price > 1", "--sort=-price")
    assert [hit["columns"]["price"] for hit in found["hits"]] == [25, 19.5]
    status, text, _ = cli("index", "info", out)
    assert "price (number)" in text
    assert "{" not in text
    status, _, err = cli("search", out, "--like", "photo/circle/02.png", "--where", "prize < 20")
    assert (status, "did you mean 'price'" in " ".join(err.split())) == (2, True)


def test_build_names_what_it_skips_and_what_it_does_not_read(cli, pictures, tmp_path):
    (pictures / "photo" / "broken.png").write_bytes(b"broken")
    (pictures / "photo" / "layers.psd").write_bytes(b"8BPS")
    Image.new("RGB", (1, 1)).save(pictures / "photo" / "dot.png")
    status, out, err = cli("index", "build", pictures, "--encoder", "tiny", "--out", tmp_path / "i")
    assert status == 0, err
    said = " ".join((out + err).split())
    assert "96 images indexed" in said
    assert "2 skipped, 1 file left out, being of formats that are not read (.psd 1)" in said
    for reason in ("dot.png is 1 x 1 pixels", "broken.png is not an image"):
        assert f"skipped: {pictures}/photo/{reason}" in said
        assert said.count(reason) == 1


def test_ids_that_no_item_has_are_named(cli, index):
    status, _, err = cli("index", "delete", index, "nosuch.jpg")
    assert status != 0
    assert "has no item 'nosuch.jpg'; nothing was deleted" in " ".join(err.split())
    status, out, err = cli("index", "delete", index, "nosuch.jpg", "photo/circle/00.png")
    assert (status, "1 deleted, 95 left" in out, "not there: nosuch.jpg" in err) == (0, True, True)


def test_an_id_that_is_mistyped_is_told_its_near_ones(cli, index):
    status, _, err = cli("index", "delete", index, "photo/circle/00.pgn")
    assert status == 1
    assert "nothing was deleted; did you mean 'photo/circle/00.png'" in " ".join(err.split())
    status, _, err = cli("index", "delete", index, "photos/circle/00.png", "sketch/circle/00.png")
    assert status == 0
    assert "not there: photos/circle/00.png; did you mean 'photo/circle/00.png'" in " ".join(err.split())


def test_a_prefix_and_remote_addresses(cli, index, pictures, tmp_path):
    again = make_pictures(tmp_path / "phone", count=1, looks=("photo",), seed=4)
    status, _, err = cli("index", "add", index, again)
    assert (status, "--prefix phone" in " ".join(err.split())) == (1, True)
    assert answer(cli, "index", "add", index, again, "--prefix", "phone")["added"] == 4
    status, _, err = cli("index", "add", index, "https://host/pictures")
    assert (status, "such addresses are not read" in " ".join(err.split())) == (1, True)
