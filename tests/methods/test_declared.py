"""What the source of a method says of its settings is what its class says."""

import pytest

from crosslens.methods import METHODS, method_class
from crosslens.methods.declared import declared_settings, require_settings
from crosslens.support.errors import ConfigError


@pytest.mark.parametrize("name", METHODS)
def test_declared_is_what_the_class_has(name):
    config = method_class(name).Config
    removed = {key for base in config.__mro__ for key in vars(base).get("removed", {})}
    declared = declared_settings(name)
    assert {key for key, is_there in declared.items() if is_there} == set(config.model_fields)
    assert {key for key, is_there in declared.items() if not is_there} == removed - set(config.model_fields)


def test_settings_that_are_no_more_are_left_to_who_knows_their_values():
    require_settings("uem", ["votes"])
    with pytest.raises(ConfigError, match="has no setting 'vote'; it has"):
        require_settings("uem", ["vote"])
    require_settings("of-another-package", ["anything"])
    with pytest.raises(ConfigError, match="it has space"):
        require_settings("frozen", ["epochs"])
