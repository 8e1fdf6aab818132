"""Recipes: one YAML file a paper experiment, found by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from crosslens.support.errors import ConfigError
from crosslens.support.files import read_yaml
from crosslens.support.near_names import did_you_mean

_FOLDER = Path(__file__).parent
_KEYS = {"method", "tune", "settings"}


def recipe_names() -> list[str]:
    """The names of the recipes in the package."""
    return sorted(file.stem for file in _FOLDER.glob("*.yaml"))


def read_recipe(name: str | Path) -> dict[str, Any]:
    """Read a recipe of the package by name, or a YAML file with the keys ``method``, ``tune``, ``settings``.

    Raises:
        ConfigError: when there is no such recipe, or the file holds anything else.
    """
    file = Path(name)
    if not file.is_file():
        file = _FOLDER / f"{name}.yaml"
    if not file.is_file():
        raise ConfigError(
            f"there is no recipe {str(name)!r}; known: {', '.join(recipe_names())}, or give a YAML file"
            f"{did_you_mean(str(name), recipe_names())}"
        )
    content = read_yaml(file, ConfigError)
    if not set(content) <= _KEYS or "method" not in content:
        raise ConfigError(f"the recipe {file} must hold the keys method, tune and settings, and no others")
    return content
