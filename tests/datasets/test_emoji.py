import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from crosslens.datasets import emoji
from crosslens.datasets.emoji import concept_of, concepts, emoji_catalog, shared_codes
from crosslens.support.errors import CatalogError

FEW = ("Animals & Nature",)


@pytest.fixture
def few(monkeypatch):
    """Only 12 animals, so that drawing takes no time; returns their codes."""
    codes = [concept.code for concept in concepts() if concept.group == FEW[0]][:12]
    named = {code: concept for code, concept in emoji._named().items() if code in codes}
    monkeypatch.setattr(emoji, "_named", lambda: named)
    return codes


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def test_the_two_figures():
    assert len(shared_codes()) == 1944
    assert len(concepts()) == 1629
    assert len(shared_codes(skin_tones=True)) > len(concepts(flags=True, skin_tones=True)) > 3700


def test_names():
    found = concepts(flags=True)
    assert len({concept.name for concept in found}) == len(found)
    by_code = {concept.code: concept for concept in found}
    assert by_code["1F408"] == emoji.Concept("1F408", "cat", "animal-mammal", "Animals & Nature")
    assert by_code["23-20E3"].name == "hash key"
    assert by_code["1F935"].name == "person in tuxedo"
    assert by_code["1F935-200D-2642"].name == "man in tuxedo"
    assert [concept.code for concept in found] == sorted(by_code)


def test_subgroups_large_enough_to_retrieve_in():
    sizes = {}
    for concept in concepts():
        sizes[concept.subgroup] = sizes.get(concept.subgroup, 0) + 1
    assert len(sizes) == 96
    large = [size for size in sizes.values() if size >= 10]
    assert (len(large), sum(large)) == (57, 1386)


def test_concept_of():
    assert concept_of("line/1F408") == concept_of("flat/1F408") == "cat"
    assert concept_of("flat/1F44B-1F3FB") == concept_of("flat/1F44B")
    for wrong in ("line/0000", "", "cat"):
        with pytest.raises(CatalogError, match="is no id of the emoji data"):
            concept_of(wrong)


def test_a_catalog(few, tmp_path):
    catalog = emoji_catalog("concept", ("flat", "line"), cache=tmp_path)
    assert catalog.ids == [f"flat/{code}" for code in few] + [f"line/{code}" for code in few]
    assert catalog.labels[0] == catalog.labels[12] == concept_of(catalog.ids[0])
    assert all(path.is_file() for path in catalog.paths)
    assert catalog.root.parent == tmp_path
    assert emoji_catalog("group", cache=tmp_path).classes == list(FEW)
    about = json.loads((catalog.root / "ABOUT.json").read_text())
    assert "CC BY-SA 4.0" in about["attribution"]["line"]
    assert "CC BY 4.0" in about["attribution"]["flat"]


def test_the_default_cache_is_the_packages_own(few, tmp_path, monkeypatch):
    monkeypatch.setenv("CROSSLENS_CACHE", str(tmp_path / "mine"))
    assert emoji_catalog().root.parent == tmp_path / "mine"


def test_looks(few, tmp_path):
    catalog = emoji_catalog("concept", emoji.DOMAINS, cache=tmp_path)
    for path, domain in zip(catalog.paths, catalog.column("domain"), strict=True):
        image = pixels(path)
        assert image.shape == (256, 256, 3)
        assert (image[0, 0] == 255).all()
        colourful = (image.max(2) - image.min(2)).max() > 60
        assert colourful == (domain != "line"), path
        assert image.min() < 200, path


def test_blank_pictures_are_left_out_of_every_domain(monkeypatch, tmp_path):
    named = {code: concept for code, concept in emoji._named().items() if code in ("1F90D", "1F9E1")}
    monkeypatch.setattr(emoji, "_named", lambda: named)
    catalog = emoji_catalog(domains=("line", "color"), cache=tmp_path)
    assert catalog.ids == ["line/1F9E1", "color/1F9E1"]
    assert catalog.notes == ("1 emoji are blank in one of the domains and were left out: white heart",)
    assert len(emoji_catalog(domains=("line", "flat"), cache=tmp_path)) == 4


def test_skin_tones_and_flags(monkeypatch, tmp_path):
    codes = ("1F44B", "1F44B-1F3FB", "1F44B-1F3FF", "1F1F3-1F1F1")
    named = {code: concept for code, concept in emoji._named().items() if code in codes}
    monkeypatch.setattr(emoji, "_named", lambda: named)
    assert emoji_catalog(domains=["flat"], cache=tmp_path).ids == ["flat/1F44B"]
    toned = emoji_catalog("concept", ["flat"], cache=tmp_path, skin_tones=True)
    assert toned.labels == ["waving hand sign"] * 3
    assert emoji_catalog(domains=["line"], cache=tmp_path, flags=True).ids == ["line/1F1F3-1F1F1", "line/1F44B"]
    assert emoji_catalog(domains=["line"], cache=tmp_path, groups=["Flags"]).ids == ["line/1F1F3-1F1F1"]
    assert len(emoji_catalog("concept", ["flat"], cache=tmp_path, skin_tones=True, min_members=3)) == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"level": "species"},
            "there is no level 'species' in the emoji data; choose from concept, subgroup, group",
        ),
        (
            {"domains": ("line", "photo")},
            "there is no domain 'photo' in the emoji data; choose from line, color, flat",
        ),
        ({"domains": ("line", "line")}, "a domain is named twice"),
        ({"domains": ()}, "no emoji is left; name a domain"),
        ({"groups": ["Plants"]}, "there is no group 'Plants' .* choose from Activities, Animals & Nature"),
        ({"min_members": 10_000}, "no emoji is left"),
    ],
)
def test_wrong_choices(tmp_path, settings, message):
    with pytest.raises(CatalogError, match=message):
        emoji_catalog(cache=tmp_path, **settings)


def test_drawn_once_and_repaired(few, tmp_path):
    drawn = []

    def draw():
        drawn.clear()
        return emoji_catalog(
            domains=["line"], cache=tmp_path, on_progress=lambda done, total: drawn.append((done, total))
        )

    catalog = draw()
    assert drawn[-1] == (12, 12)
    original = catalog.paths[0].read_bytes()
    assert draw() == catalog
    assert drawn == []
    catalog.paths[0].unlink()
    catalog.paths[1].write_bytes(catalog.paths[1].read_bytes()[:50])
    draw()
    assert drawn[-1] == (2, 2)
    assert catalog.paths[0].read_bytes() == original


def test_a_killed_drawing_is_resumed(few, tmp_path):
    catalog = emoji_catalog(domains=["line"], cache=tmp_path)
    (catalog.root / "line-animals-nature.json").unlink()
    catalog.paths[3].write_bytes(catalog.paths[3].read_bytes()[:-20])
    drawn = []
    emoji_catalog(domains=["line"], cache=tmp_path, on_progress=lambda done, total: drawn.append(total))
    assert drawn == [1]
    (catalog.root / "line-animals-nature.json").write_text("{half a led")
    assert emoji_catalog(domains=["line"], cache=tmp_path) == catalog


def test_a_cache_that_cannot_be_written(few, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(
        CatalogError, match=r"cannot be drawn into .*: Not a directory; give another folder as cache"
    ):
        emoji_catalog(cache=tmp_path / "file")


def test_killed_from_outside_and_two_at_once(tmp_path):
    """A process killed while it draws, and two that draw the same at once, leave whole pictures only."""
    script = (
        "from crosslens.datasets.emoji import emoji_catalog;"
        f"emoji_catalog('concept', ['line'], cache={str(tmp_path)!r}, groups=['Activities'])"
    )
    victim, *others = (subprocess.Popen([sys.executable, "-c", script]) for _ in range(3))
    while not list(tmp_path.glob("*/line/*.png")):
        time.sleep(0.02)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    assert [process.wait(timeout=120) for process in others] == [0, 0]
    catalog = emoji_catalog("concept", ["line"], cache=tmp_path, groups=["Activities"])
    assert len(catalog) == 85
    for path in catalog.paths:
        Image.open(path).load()
