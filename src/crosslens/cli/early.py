"""What a command refuses before it imports what computes, which takes seconds; the same words as later."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crosslens.support.addresses import is_address
from crosslens.support.errors import BackboneError, CatalogError, ConfigError, RunError

_PATTERN = "*?[{"


def require_sources(*sources: str | Path | None) -> None:
    """Check that each folder, manifest or list on this machine is there.

    Raises:
        CatalogError: naming the first that is not.
    """
    from crosslens.support.addresses import place_of
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


def require_backbones(*names: str) -> None:
    """Check the names of backbones; see ``crosslens.backbones.require_kind``."""
    from crosslens.backbones import require_kind

    for name in names:
        require_kind(name)


def require_encoders(*names: str) -> None:
    """Check that each is a place that is there, or may be a backbone's name.

    Raises:
        BackboneError: naming the first that is not.
    """
    from crosslens.backbones import is_place, require_kind
    from crosslens.methods import METHODS
    from crosslens.support.near_names import near_folder

    for name in names:
        if is_address(name) or Path(name).expanduser().exists():
            continue
        told = f"{name} is no run, no encoder folder and no backbone"
        if is_place(name) or ("/" in name and ":" not in name):
            raise BackboneError(f"{told}: there is no such place{near_folder(name)}")
        if name in METHODS:
            fitted = f"'crosslens fit {name} PICTURES --out RUN'"
            raise BackboneError(f"{told}: it is a method; make a run with {fitted} and name that")
        try:
            require_kind(name)
        except BackboneError as error:
            raise BackboneError(f"{told}{near_folder(name)}: {error}") from error
