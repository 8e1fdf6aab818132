"""A request is checked when it is made, and shows its options wherever they are taken as keywords."""

from inspect import signature

import pytest
from pydantic import Field, ValidationError

from crosslens.support.errors import ConfigError
from crosslens.support.request import Request, takes


class Asking(Request):
    place: str
    """Where to look."""

    count: int = Field(3, ge=1)
    """How many."""


@takes(Asking)
def ask(place, **options):
    """Ask.

    Args:
        place: where.
    """
    return Asking.of(place=place, **options)


def test_it_is_frozen_and_checked():
    made = ask("here", count=4)
    assert made == Asking(place="here", count=4)
    with pytest.raises(ValidationError, match="frozen"):
        made.count = 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"place": "here", "counts": 4}, "there is no option 'counts'; there are place, count"),
        ({"place": "here", "count": 0}, "count = 0: Input should be greater than or equal to 1"),
        ({}, "place: Field required"),
    ],
)
def test_what_is_wrong_is_named(options, message):
    with pytest.raises(ConfigError, match=message):
        Asking.of(**options)


def test_options_are_shown_where_they_are_taken():
    assert str(signature(ask)) == "(place, *, count: int = 3)"
    assert ask.__doc__.endswith("Options:\n    count: How many.")
    assert "Where to look" not in ask.__doc__

    @takes(Asking, without=("place",))
    def at(somewhere, **options):
        """Ask somewhere."""

    assert list(signature(at).parameters) == ["somewhere", "count"]
