import json
from importlib import resources

import pytest
import torch

from crosslens.labels.wording import (
    class_texts,
    clean_name,
    look_of,
    same_class,
    templates_of,
    with_article,
)
from crosslens.support.errors import BackboneError, ConfigError
from testing.reading_backbone import TalkerBackbone
from testing.tiny_backbone import TinyBackbone


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dog", "a dog"),
        ("hot-air_balloon", "a hot air balloon"),
        ("mouse (animal)", "a mouse, the animal"),
        ("computer-mouse", "a computer mouse"),
        ("crane (machine)", "a construction crane"),
        ("car_(sedan)", "a sedan car"),
        ("wine-bottle", "a wine bottle"),
        ("suv", "an SUV car"),
        ("elephant", "an elephant"),
        ("umbrella", "an umbrella"),
        ("hourglass", "an hourglass"),
        ("unicorn", "a unicorn"),
        ("scissors", "scissors"),
        ("The_Eiffel_Tower", "The Eiffel Tower"),
        ("thing (made up)", "a thing, made up"),
    ],
)
def test_names_become_english(name, expected):
    assert with_article(clean_name(name)) == expected


def test_the_published_names_stay_apart_and_plain():
    folder = resources.files("crosslens.datasets").joinpath("splits")
    for stem in ("tu_berlin_seen", "sketchy_split1_seen", "quickdraw_seen", "domainnet_train"):
        names = folder.joinpath(f"{stem}.txt").read_text("utf-8").split("\n")
        cleaned = [clean_name(name) for name in names if name]
        assert len(set(cleaned)) == len(cleaned)
        assert not [name for name in cleaned if "_" in name or "(" in name]


def test_every_look_has_as_many_templates_each_with_one_place():
    looks = json.loads(resources.files("crosslens.labels").joinpath("wording.json").read_text("utf-8"))[
        "templates"
    ]
    assert len({len(templates_of(look)) for look in looks}) == 1
    assert all(template.count("{}") == 1 for look in looks for template in templates_of(look))


def test_domains_find_their_look():
    assert look_of("sketch") == "sketch"
    assert look_of("art_painting") == "painting"
    assert look_of("Real World") == "photo"
    assert look_of("infograph") == "infograph"
    assert look_of("anything else") == "any"
    assert look_of("mine", {"mine": "clipart"}) == "clipart"
    with pytest.raises(ConfigError, match=r"no look 'cubist'.*known: sketch"):
        look_of("mine", {"mine": "cubist"})


def test_spellings_of_one_class():
    assert same_class("hot-air_balloon", "Hot air balloon")
    assert same_class("jack-o-lantern", "jack_o_lantern")
    assert not same_class("bear", "teddy-bear")


def test_texts_are_unit_rows_in_order():
    backbone = TalkerBackbone()
    rows = class_texts(backbone, ["circle", "square"], "photo")
    assert rows.shape == (2, 64)
    assert torch.allclose(rows.norm(dim=1), torch.ones(2), atol=1e-6)
    assert torch.allclose(rows[[1, 0]], class_texts(backbone, ["square", "circle"], "photo"))
    assert float((rows - class_texts(backbone, ["circle", "square"], "sketch")).abs().max()) > 0.01


def test_a_backbone_without_text_lists_those_with():
    with pytest.raises(BackboneError, match=r"tiny has no text tower.*lite, clip:PATH"):
        class_texts(TinyBackbone(), ["circle", "square"], "photo")


def test_names_beyond_the_text_context_are_refused():
    long = "circle " + "of the kind that goes on and on " * 6
    with pytest.raises(ConfigError, match="longer than talker can read"):
        class_texts(TalkerBackbone(), [long, "square"], "photo")


def test_names_that_read_the_same_are_refused():
    with pytest.raises(ConfigError, match="'red-circle' and 'red_circle' as the same text"):
        class_texts(TalkerBackbone(), ["red-circle", "square", "red_circle"], "photo")
