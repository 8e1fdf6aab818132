"""The nouns of the consistency term, and what leaves them."""

import pytest

from crosslens.labels.vocabulary import nouns_without
from crosslens.labels.wording import clean_name


def test_every_bundled_class_is_there_once_and_cleaned():
    nouns = nouns_without([])
    assert len(nouns) > 400
    assert list(nouns) == sorted(set(nouns))
    assert {"giraffe", "hot air balloon", "t-shirt"} <= set(nouns)
    assert not any("_" in noun for noun in nouns)


@pytest.mark.parametrize(
    ("name", "gone", "stays"),
    [
        ("guitar", {"guitar", "violin"}, {"piano", "saxophone"}),
        ("hot-air_balloon", {"hot air balloon", "blimp", "hot dog"}, {"helicopter"}),
        ("Houses", {"house", "house plant", "cabin"}, {"bridge"}),
        ("person", {"person", "person sitting", "face"}, {"dog"}),
        ("mouse (animal)", {"mouse", "mouse, the animal", "computer mouse"}, {"bat, the animal"}),
    ],
)
def test_names_kept_back_leave_with_their_kin(name, gone, stays):
    everything, found = set(nouns_without([])), set(nouns_without([name]))
    assert gone <= everything
    assert not gone & found
    assert stays <= found
    assert clean_name(name).casefold() not in found
