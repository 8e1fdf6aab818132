"""What a command refuses before it imports what computes, which takes seconds; the same words as later."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crosslens.support.errors import BackboneError, CatalogError, ConfigError, RunError

_PATTERN = "*?[{"


def require_sources(*sources: str | Path | None) -> None:
    """Check that each folder, manifest or list on this machine is there.

    Raises:
        CatalogError: naming the first that is not.
    """
    from crosslens.support.addresses import is_address, place_of
    from crosslens.support.members import container_of

    for source in sources:
        if source is None or is_address(source) or any(letter in str(source) for letter in _PATTERN):
            continue
        if not Path(source).exists() and container_of(place_of(source)) is None:
            raise CatalogError(f"{source} does not exist; give a folder of images, a manifest or a list file")


def require_name(kind: str, name: str | None, known: Sequence[str]) -> None:
    """Check a name that was typed, where one was.

    Raises:
        ConfigError: listing what is known.
    """
    if name is not None and name not in known:
        from crosslens.support.near_names import did_you_mean

        listed = ", ".join(known)
        raise ConfigError(f"there is no {kind} {name!r}; known: {listed}{did_you_mean(name, known)}")


def require_run(folder: str) -> None:
    """Check that a folder of this machine is a run's.

    Raises:
        RunError: where it has no settings.
    """
    from crosslens.support.addresses import place_of
    from crosslens.support.remote import Remote

    place = place_of(folder)
    if not isinstance(place, Remote) and not (place / "config.yaml").is_file():
        raise RunError(f"{folder} is no run folder (no config.yaml)")


def require_encoders(*names: str) -> None:
    """Check that what can only be a path is there; names of backbones are left to who loads them.

    Raises:
        BackboneError: naming the first that is not.
    """
    for name in names:
        if name.startswith(("/", "./", "../", "~")) and not Path(name).expanduser().exists():
            raise BackboneError(f"{name} is no run, no encoder folder and no backbone: there is no such place")
