"""Every door that reads a folder reads the same formats and says what it leaves out."""

import json
from pathlib import Path

import pytest
from PIL import Image

from testing.picture_files import encoded
from testing.tiny_pictures import make_pictures

ONE = Image.new("RGB", (40, 40), (200, 30, 30))
READ = {
    **{f"a.{suffix}": "JPEG" for suffix in ("JPG", "jpe", "pjpeg", "jfif")},
    "b.mpo": "MPO",
    **{f"c.{suffix}": "PNG" for suffix in ("png", "apng")},
    **{f"d.{suffix}": "PPM" for suffix in ("pnm", "ppm")},
    **{f"e.{suffix}": "HEIF" for suffix in ("HEIC", "heif")},
    **{f"f.{suffix}": "BMP" for suffix in ("bmp", "dib")},
    "g.avif": "AVIF",
    "h.jp2": "JPEG2000",
    "i.ico": "ICO",
    "j.tif": "TIFF",
    "k.webp": "WEBP",
    "l.gif": "GIF",
}
LEFT_OUT = {".psd": 2, ".pdf": 1, ".jxl": 1, ".mov": 1, ".jpg_large": 1, ".part": 1, "no suffix": 1}


@pytest.fixture
def mixed(tmp_path):
    """Labelled PNG of two looks, one picture of every format, and files that are left out."""
    root = make_pictures(tmp_path / "mixed", count=2)
    folder = root / "photo" / "circle"
    for name, form in READ.items():
        (folder / name).write_bytes(encoded(ONE, form))
    (folder / "m.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>')
    jpeg = encoded(ONE, "JPEG")
    for name in ("x.psd", "Y.PSD", "x.pdf", "x.jxl", "x.mov"):
        (folder / name).write_bytes(b"whatever")
    for name in ("x.jpg_large", "x.jpg.part", "nameless"):
        (folder / name).write_bytes(jpeg)
    (folder / "notes.txt").write_text("no picture")
    (folder / "Thumbs.db").write_bytes(bytes(100))
    return root


def commands(root, out):
    return {
        "build": ("index", "build", root, "--encoder", "tiny", "--out", out / "i"),
        "add": ("index", "add", out / "made", root),
        "embed": ("embed", root, "--backbone", "tiny", "--out", out / "f"),
        "fit": ("fit", "frozen", root, "--backbone", "tiny", "--out", out / "r"),
        "evaluate": ("evaluate", "tiny", root, "--domains", "sketch,photo"),
        "compare": ("compare", "tiny", "tiny:1", "--on", root, "--domains", "sketch,photo"),
        "check": ("data", "check", root),
        "list": ("data", "list", root, "--out", out / "m.csv"),
    }


@pytest.mark.parametrize("door", commands(Path(), Path()))
def test_every_door_says_what_it_leaves_out(cli, mixed, tmp_path, door):
    if door == "add":
        other = make_pictures(tmp_path / "other", count=1, looks=("clipart",))
        cli("index", "build", other, "--encoder", "tiny", "--out", tmp_path / "made", "--quiet")
    status, _, err = cli(*commands(mixed, tmp_path)[door], "--json", tmp_path / "told.json")
    assert status == 0, err
    told = json.loads((tmp_path / "told.json").read_text())
    assert told["left_out"] == LEFT_OUT
    if door == "fit":
        # Other files that nothing is learned from do not keep a run from going on.
        (mixed / "photo" / "circle" / "y.psd").write_bytes(b"whatever")
        assert cli(*commands(mixed, tmp_path)[door], "--resume")[0] == 0
    if door != "check":
        said = " ".join(err.split())
        assert "4 pictures of formats that are not read: .psd 2, .jxl 1, .pdf 1" in said
        assert "1 film beside the pictures: .mov 1" in said
        assert "3 pictures left out for the ends of their names: .jpg_large 1, .part 1, no suffix 1" in said
        assert "Thumbs.db" not in said


YEARS = "2019,2020-05"
LOOKED = [
    ("build", [], True),
    ("build", ["--plain"], False),
    ("build", ["--domains", YEARS], False),
    ("fit", [], True),
    ("fit", ["--domains", YEARS], False),
    ("evaluate", [], True),
    ("evaluate", ["--domains", YEARS], False),
    ("check", [], True),
]


@pytest.mark.parametrize(("door", "options", "told"), LOOKED)
def test_folders_of_years_are_no_looks_in_silence(cli, tiny_world, tmp_path, door, options, told):
    root = make_pictures(tmp_path / "pictures", count=1, looks=YEARS.split(","))

    def said(made):
        # The domains that a command names there are of other pictures.
        asked = [part for part in commands(root, made)[door] if part not in ("--domains", "sketch,photo")]
        status, out, err = cli(*asked, *options)
        assert status == 0, err
        return " ".join((out + err).split())

    first = said(tmp_path)
    assert first.count("named like dates or cameras (2019, 2020-05), so they may be no looks") == told
    assert ("index build --plain" in first) == told
    # Whoever writes a manifest means its domains.
    cli("data", "list", root, "--out", root / "manifest.csv")
    assert "may be no looks" not in said(tmp_path / "again") or door == "check"


def test_every_format_is_indexed(cli, mixed, tmp_path):
    status, out, err = cli("index", "build", mixed, "--encoder", "tiny", "--out", tmp_path / "i", "--json", "-")
    assert status == 0, err
    told = json.loads(out)
    assert (told["items"], told["skipped"]) == (16 + len(READ) + 1, [])


def test_a_folder_of_nothing_that_is_read_says_so(cli, tmp_path):
    folder = tmp_path / "films"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.psd").write_bytes(b"8BPS")
    status, _, err = cli("index", "build", folder, "--encoder", "tiny", "--out", tmp_path / "i")
    assert status != 0
    assert "3 pictures of formats that are not read: .psd 3" in " ".join(err.split())
