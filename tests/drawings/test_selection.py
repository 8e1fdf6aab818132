from __future__ import annotations

import json
from pathlib import Path

import pytest

from drawings.selection import Icon, plain_name, read_nouns, select_icons, usable_sets

# Offset and lexicographer file of each noun, as WordNet writes them: 5 animal, 6 artifact, 9 feeling.
NOUNS = {"cat": "05", "polar bear": "05", "hammer": "06", "joy": "12"}


@pytest.fixture
def wordnet(tmp_path: Path) -> Path:
    folder = tmp_path / "dict"
    folder.mkdir()
    data, index = ["  1 licence"], ["  1 licence"]
    for at, (noun, file) in enumerate(NOUNS.items()):
        data.append(f"{at:08d} {file} n 01 {noun.replace(' ', '_')} 0 000 | what it is")
        index.append(f"{noun.replace(' ', '_')} n 2 1 @ 2 1 {at:08d} 99999999")
    data.append("99999999 10 n 01 other 0 000 | another sense")
    (folder / "data.noun").write_text("\n".join(data), "latin1")
    (folder / "index.noun").write_text("\n".join(index), "latin1")
    return folder


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "icons"
    (folder / "json").mkdir(parents=True)
    sets = {
        "noto": ("Apache-2.0", "Emoji", ["cat-face", "polar-bear", "polar-bear-dark-skin-tone", "joy"]),
        "mdi": ("Apache-2.0", "UI", ["cat", "cat-outline", "cat-bold", "hammer", "joy", "arrow-cat"]),
        "openmoji": ("CC-BY-SA-4.0", "Emoji", ["cat"]),
        "twemoji": ("CC-BY-4.0", "Emoji", ["cat"]),
        "brands": ("MIT", "Logos", ["cat"]),
        "nc": ("CC-BY-NC-4.0", "UI", ["cat"]),
    }
    facts = {}
    for name, (licence, category, icons) in sets.items():
        facts[name] = {"license": {"spdx": licence}, "category": category}
        content = {"suffixes": {"outline": "Outline"}, "icons": {icon: {"body": "<path/>"} for icon in icons}}
        (folder / "json" / f"{name}.json").write_text(json.dumps(content))
    (folder / "collections.json").write_text(json.dumps(facts))
    return folder


def test_the_first_sense_says_what_a_noun_is(wordnet: Path) -> None:
    assert read_nouns(wordnet) == {noun: int(file) for noun, file in NOUNS.items()}


def test_sets_that_bind_or_are_measured_on_stay_out(package: Path) -> None:
    facts = json.loads((package / "collections.json").read_text())
    assert usable_sets(facts) == ["noto", "mdi"]


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("cat", "cat"),
        ("dog-side-outline", "dog side"),
        ("arrow-up-bold-2", "arrow up"),
        ("light", "light"),
        ("cat-24px", "cat"),
        ("ice-cream", "ice cream"),
    ],
)
def test_a_name_loses_its_style(name: str, plain: str) -> None:
    assert plain_name(name, ["outline"]) == plain


def test_things_are_taken_and_signs_and_feelings_are_not(package: Path, wordnet: Path) -> None:
    chosen = select_icons(package, wordnet)
    assert {icon.says for icon in chosen} == {"cat", "cat face", "polar bear", "hammer"}
    assert Icon("noto", "polar-bear", "polar bear") in chosen
    # Of one set a name has two icons at most, and a skin tone is no other picture.
    assert sum(icon.says == "cat" for icon in chosen) == 2
    assert all("tone" not in icon.name for icon in chosen)


def test_a_name_has_no_more_icons_than_asked_for(package: Path, wordnet: Path) -> None:
    assert sum(icon.says == "cat" for icon in select_icons(package, wordnet, most=1)) == 1
