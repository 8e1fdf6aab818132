"""The file that says which classes and domains are unseen."""

import json

import pytest

from crosslens.evaluation.universal_split import UniversalSplit
from crosslens.support.errors import ConfigError


def test_names_are_what_is_written(tmp_path):
    """A class called 007, no or 1.0 is a name, in YAML and in JSON alike."""
    names = ["007", "no", "1.0", "null", "café"]
    value = {"gallery": "2024", "unseen_classes": names}
    as_yaml, as_json = tmp_path / "split.yaml", tmp_path / "split.json"
    as_yaml.write_text("gallery: 2024\nunseen_classes:\n" + "".join(f"- {name}\n" for name in names), "utf-8")
    as_json.write_text(json.dumps(value), "utf-8")
    expected = UniversalSplit(gallery="2024", unseen_classes=tuple(names))
    assert UniversalSplit.of(as_yaml) == UniversalSplit.of(str(as_json)) == UniversalSplit.of(value) == expected
    assert UniversalSplit.of(expected) is expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("galery: photo\nunseen_classes: [a, b]", "no key 'galery'; there are gallery.*did you mean 'gallery'"),
        ("unseen_classes: [a, b]", "it lacks the key gallery"),
        ("gallery: photo", "it lacks the key unseen_classes"),
        ("gallery: photo\nunseen_classes: a", r"unseen_classes is a list of names, such as \[cat, dog\]"),
        ("gallery: [photo]\nunseen_classes: [a, b]", "gallery is one name"),
        ("- photo", "must hold key: value pairs"),
        ("", "must hold key: value pairs"),
        ("gallery: [", "cannot be read as YAML: .* in line 1"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, text, told):
    file = tmp_path / "split.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=f"split.yaml .*{told}"):
        UniversalSplit.of(file)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml is missing"):
        UniversalSplit.of(tmp_path / "none.yaml")
