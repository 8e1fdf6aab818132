import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosslens.data.catalog import Catalog
from crosslens.data.names import nfc
from crosslens.data.readers import read_class_numbers, read_list
from crosslens.support.errors import CatalogError


def as_catalog(path, **options):
    return Catalog.from_listing(read_list(path, **options))


def test_the_domain_layout(tree):
    root = tree("photo/cat/2.jpg", "photo/cat/10.jpg", "photo/dog/deep/er/1.PNG", "sketch/cat/1.png")
    catalog = Catalog.open(root)
    assert catalog.ids == ["photo/cat/10.jpg", "photo/cat/2.jpg", "photo/dog/deep/er/1.PNG", "sketch/cat/1.png"]
    assert catalog.labels == ["cat", "cat", "dog", "cat"]
    assert catalog.domains == ["photo", "sketch"]
    assert catalog.root == root


def test_domains_without_classes_and_one_flat_folder(tree):
    assert Catalog.open(tree("photo/1.jpg", "sketch/2.jpg")).labels == [None, None]
    flat = Catalog.open(tree("1.jpg", "2.jpg", root="holiday"))
    assert flat.domains == ["holiday"]
    assert flat.labels == [None, None]


def test_one_image(tree):
    catalog = Catalog.open(tree("photo/cat/1.jpg") / "photo" / "cat" / "1.jpg")
    assert (catalog.ids, catalog.domains) == (["1.jpg"], ["cat"])


def test_unicode_names(tree):
    catalog = Catalog.open(tree("画/猫 と/é\u2028.jpg"))
    assert (catalog.domains, catalog.classes) == (["画"], ["猫 と"])
    assert catalog.paths[0].is_file()


def test_stray_and_hidden_files_are_noted_not_read(tree):
    root = tree("photo/cat/1.jpg", texts={"photo/cat/Thumbs.db": "", "photo/cat/.DS_Store": "", "notes.txt": ""})
    catalog = Catalog.open(root)
    assert catalog.ids == ["photo/cat/1.jpg"]
    assert len(catalog.notes) == 2
    assert any("Thumbs.db" in note for note in catalog.notes)
    assert not any(".DS_Store" in note for note in catalog.notes)


def test_no_image_at_all(tmp_path, tree):
    with pytest.raises(CatalogError, match="no image below"):
        Catalog.open(tmp_path)
    with pytest.raises(CatalogError, match=r"no image below .* \(1 file\(s\) in .*: readme.md"):
        Catalog.open(tree(texts={"readme.md": "nothing here"}))


def test_what_cannot_be_read_is_said(tmp_path):
    with pytest.raises(CatalogError, match="does not exist; give a folder"):
        Catalog.open(tmp_path / "nowhere")
    (tmp_path / "a.pdf").write_text("")
    with pytest.raises(CatalogError, match="neither an image, a manifest"):
        Catalog.open(tmp_path / "a.pdf")


def test_an_unreadable_folder_is_named(tree, monkeypatch):
    root = tree("photo/cat/1.jpg", "photo/dog/1.jpg")
    scandir = os.scandir

    def refuse(folder):
        if Path(folder).name == "dog":
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(CatalogError, match=r"the folder .*photo/dog cannot be read: Permission denied"):
        Catalog.open(root)


def test_links(tree):
    root = tree("photo/cat/1.jpg")
    (root / "photo" / "loop").symlink_to(root)
    (root / "photo" / "self").symlink_to("self")
    (root / "photo" / "cat" / "gone.jpg").symlink_to("nowhere.jpg")
    (root / "art").symlink_to(root / "photo" / "cat")
    catalog = Catalog.open(root)
    assert catalog.ids == ["art/1.jpg", "photo/cat/1.jpg"]
    notes = " ".join(catalog.notes)
    assert "loop was left out: it is a link to a folder that holds it" in notes
    assert "gone.jpg" in notes
    assert "self" in notes


def test_pipes_and_names_in_other_encodings_are_left_out(tree):
    root = tree("photo/cat/1.jpg")
    os.mkfifo(root / "photo" / "cat" / "pipe.jpg")
    try:
        (Path(os.fsdecode(os.fsencode(root / "photo" / "cat") + b"/caf\xe9.jpg"))).write_bytes(b"")
    except OSError:
        pytest.skip("this file system refuses such names")
    catalog = Catalog.open(root)
    assert catalog.ids == ["photo/cat/1.jpg"]
    assert any("no regular files: pipe.jpg" in note for note in catalog.notes)
    assert any("other than UTF-8" in note for note in catalog.notes)


def write_list(folder, text):
    path = folder / "list.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_lists(tmp_path):
    path = write_list(tmp_path, "\ufeffphoto/hot dog/a b.jpg 3\r\n\n./sketch/cat/1.png 0\n")
    catalog = Catalog.open(path)
    assert catalog.column("path") == ["photo/hot dog/a b.jpg", "sketch/cat/1.png"]
    assert catalog.domains == ["photo", "sketch"]
    assert catalog.labels == ["hot dog", "cat"]
    named = as_catalog(
        path, root=tmp_path / "images", domain="all", class_names={0: "feline", 3: "wurst"}, split="x"
    )
    assert (named.labels, named.domains) == (["wurst", "feline"], ["all"])
    assert named.column("split") == ["x", "x"]
    assert named.root == tmp_path / "images"


def test_a_list_without_class_folders_has_no_labels(tmp_path):
    assert as_catalog(write_list(tmp_path, "photo/1.jpg 3\n")).labels == [None]
    assert as_catalog(write_list(tmp_path, "1.jpg 3\n"), domain="photo").labels == [None]
    assert as_catalog(write_list(tmp_path, "/data/photo/cat/1.jpg 3\n"), domain="photo").labels == ["cat"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("photo/cat/1.jpg 0\nphoto/cat/2.jpg\n", "line 2: expected 'path label'"),
        ("photo/cat/1.jpg zero\n", "line 1: expected 'path label'"),
        ("photo/cat/1.jpg ²\n", "line 1: expected 'path label'"),
        ("1.jpg 0\n", "line 1: '1.jpg' does not start with a domain's folder"),
        ("/photo/cat/1.jpg 0\n", "does not start with a domain's folder"),
        ("\n \n", "lists no image"),
        ("a/b/1.jpg 0\na/b/1.jpg 1\n", "list.txt: row 2: the id 'a/b/1.jpg' was already used in row 1"),
    ],
)
def test_bad_lists(tmp_path, text, message):
    with pytest.raises(CatalogError, match=message):
        as_catalog(write_list(tmp_path, text))


def test_a_number_without_a_class_name(tmp_path):
    path = write_list(tmp_path, "photo/cat/1.jpg 1\nphoto/dog/1.jpg 2\n")
    with pytest.raises(CatalogError, match=r"line 2: label 2 has no class name \(known: 0 to 1\)"):
        as_catalog(path, class_names={0: "cat", 1: "dog"})
    with pytest.raises(CatalogError, match=r"line 1: label 1 has no class name \(known: none\)"):
        as_catalog(path, class_names={})


def test_a_list_that_is_no_text(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CatalogError, match="cannot be read"):
        as_catalog(tmp_path / "list.txt")


NAME = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/"), min_size=1, max_size=8)


@given(st.lists(st.tuples(NAME, NAME, st.integers(0, 10**6)), min_size=1, max_size=5, unique_by=lambda t: t[:2]))
def test_any_name_survives_a_list(tmp_path_factory, entries):
    folder = tmp_path_factory.mktemp("lists")
    paths = [f"photo/x{name}x/y{file}.jpg" for name, file, _ in entries]
    text = "".join(f"{path} {label}\n" for path, (_, _, label) in zip(paths, entries, strict=True))
    catalog = as_catalog(write_list(folder, text))
    assert catalog.column("path") == paths
    assert catalog.labels == [nfc(f"x{name}x") for name, _, _ in entries]


def test_class_numbers(tmp_path):
    assert read_class_numbers(write_list(tmp_path, "hot dog 1\ncat 0\n")) == {1: "hot dog", 0: "cat"}
    for text, message in (
        ("", "names no class"),
        ("cat\n", "line 1: expected 'class number'"),
        ("cat 1\ndog 1\n", "line 2: the number 1 already stands for cat"),
    ):
        with pytest.raises(CatalogError, match=message):
            read_class_numbers(write_list(tmp_path, text))


@pytest.mark.parametrize(
    "name",
    [
        *(
            "@eaDir",
            "#recycle",
            "$RECYCLE.BIN",
            "lost+found",
            "__MACOSX",
            ".thumbnails",
            "System Volume Information",
        ),
        *("@__thumb", "@SynoResource", "Recycled", "FOUND.001"),
    ],
)
def test_folders_of_systems_are_no_domains_classes_or_images(tree, name):
    root = tree(
        f"{name}/1.jpg", f"photo/{name}/2.jpg", f"photo/cat/{name}/3.jpg/SYNOPHOTO_THUMB_M.jpg", "photo/cat/4.jpg"
    )
    catalog = Catalog.open(root)
    assert catalog.ids == ["photo/cat/4.jpg"]
    said = [note for note in catalog.notes if "a system's own" in note]
    assert len(said) == (0 if name.startswith(".") else 1)


def test_one_class_in_two_forms_is_one_and_its_paths_stay(tree):
    nfd = "cafe\u0301"
    catalog = Catalog.open(tree("photo/café/1.jpg", f"sketch/{nfd}/1.jpg", f"peinture_{nfd}/{nfd} /1.jpg"))
    assert catalog.classes == ["café"]
    assert catalog.domains == ["peinture_café", "photo", "sketch"]
    assert catalog.ids == [f"peinture_{nfd}/{nfd} /1.jpg", "photo/café/1.jpg", f"sketch/{nfd}/1.jpg"]
    assert all(path.is_file() for path in catalog.paths)


def test_folders_that_can_name_nothing_are_left_out_with_a_note(tree):
    catalog = Catalog.open(tree("photo/cat/1.jpg", "photo/a\nb/2.jpg", " /cat/3.jpg"))
    assert catalog.ids == ["photo/cat/1.jpg"]
    assert len([note for note in catalog.notes if "the name of the domain or class" in note]) == 2


@pytest.mark.parametrize("stored", ["caf\u00e9", "cafe\u0301"])
@pytest.mark.parametrize("listed", ["caf\u00e9", "cafe\u0301"])
def test_listed_paths_are_found_in_the_form_that_the_disk_has(tree, stored, listed):
    root = tree(f"photo/{stored}/1.jpg")
    manifest = root / "listed.csv"
    manifest.write_text(f"path,domain\nphoto/{listed}/1.jpg,photo\nphoto/{listed}/gone.jpg,photo\n", "utf-8")
    assert Catalog.open(manifest).column("path") == [f"photo/{stored}/1.jpg", f"photo/{listed}/gone.jpg"]
    (root / "list.txt").write_text(f"photo/{listed}/1.jpg 0\n", encoding="utf-8")
    assert Catalog.open(root / "list.txt").paths == [root / "photo" / stored / "1.jpg"]
