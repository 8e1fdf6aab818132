"""Places by name: a path on this machine, or an address in object storage.

``s3://bucket/key``, ``gs://bucket/key`` and ``az://container/key`` are read through ``crosslens.support.remote``;
``file:///folder`` is a path. Anything else that looks like an address is refused by name.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

from pydantic import BeforeValidator

from crosslens.support.errors import ConfigError
from crosslens.support.remote import SCHEMES, Remote

Place = Path | Remote
"""A file or folder, wherever it lies."""

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")
NOT_READ = f"such addresses are not read; {', '.join(f'{s}://' for s in SCHEMES)} and file:// are"


def is_address(source: object) -> bool:
    """Whether a path is an address (``s3://bucket``, ``https://host``), also where it lost a slash."""
    return bool(_ADDRESS.match(str(source))) and not os.path.lexists(str(source))


def is_unread(source: object) -> bool:
    """Whether a path is an address that nothing here reads, such as ``https://host``."""
    return is_address(source) and _scheme(source) not in (*SCHEMES, "file")


def place_of(source: str | Path | Remote) -> Place:
    """The place that is named; a path that lost a slash of its address, as ``Path`` takes it, is understood.

    An address that nothing here reads stays a path, which is not there: whoever reads it says so.

    Raises:
        PlaceError: for an address without a bucket.
    """
    if isinstance(source, Remote) or not is_address(source):
        return Path(source) if isinstance(source, str) else source
    scheme, rest = _scheme(source), str(source).partition(":")[2].lstrip("/")
    if scheme in SCHEMES:
        return Remote.at(scheme, rest)
    if scheme == "file":
        # The part of the machine is empty, or names this one.
        return Path(unquote(urlsplit(f"file:///{rest.removeprefix('localhost/')}").path))
    return Path(source)


PlaceOption = Annotated[Place, BeforeValidator(place_of)]
"""A place as an option of a request."""


def path_here(source: str | Path) -> Path:
    """A path of this machine, for what is made step by step and locked meanwhile: a run, a suite, a file of keys.

    Raises:
        ConfigError: for an address.
    """
    place = place_of(source)
    if isinstance(place, Remote) or is_unread(source):
        raise ConfigError(
            f"{place} is an address, and this is made on a disk: name a path of this machine, and copy it there"
            " when it is done; runs and encoders are read from addresses"
        )
    return place


PathHere = Annotated[Path, BeforeValidator(path_here)]
"""A path of this machine as an option of a request."""


def joined(root: Place, path: str) -> Place:
    """The place of a path that starts from ``root``, or that is absolute or an address of its own."""
    if is_address(path):
        return place_of(path)
    return Path(path) if isinstance(root, Remote) and os.path.isabs(path) else root / path


def whole_name(place: Place) -> str:
    """The absolute path of a place, links not followed, or its address."""
    return str(place) if isinstance(place, Remote) else os.path.abspath(place)


def _scheme(source: object) -> str:
    return str(source).partition(":")[0].lower()
