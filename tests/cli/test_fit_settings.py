"""What ``crosslens fit`` says of methods and their settings."""

import pytest

from crosslens.methods import METHODS, method_class


@pytest.mark.parametrize("order", [("uem", "--settings"), ("--settings", "uem")])
def test_settings_are_printed_with_default_type_and_meaning(cli, order):
    status, text, _ = cli("fit", *order)
    assert status == 0
    assert "epochs=20  (whole number)\n    Of stage 1 (E); 100 or 200 in the paper.\n" in text
    assert "ladder=[0.25, 0.5, 1, 2]  (list of numbers)\n" in text
    assert "clusters=auto  (auto or list of whole numbers)\n" in text
    # A method that only has another default takes the words of the settings below it.
    assert "members=3  (whole number)\n    Heads trained one after the other" in text
    assert len([line for line in text.splitlines() if line[0] != " "]) == len(
        method_class("uem").Config.model_fields
    )


def test_settings_of_no_method(cli):
    status, _, error = cli("fit", "nothing", "--settings")
    assert status == 2
    assert "there is no method 'nothing'" in error


def test_help_tells_what_each_method_is(cli):
    status, text, _ = cli("fit", "--help")
    assert status == 0
    for name in METHODS:
        assert f"{name}: {method_class(name).summary.split()[0]}" in text
