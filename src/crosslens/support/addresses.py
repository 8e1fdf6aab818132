"""Addresses of other machines where a path is asked for."""

from __future__ import annotations

import os
import re
from pathlib import Path

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
NOT_READ = "remote addresses are not read; copy it to this machine first"


def is_remote(source: str | Path) -> bool:
    """Whether a path is an address (``s3://bucket``, ``https://host``), also where it lost a slash."""
    return bool(_ADDRESS.match(str(source))) and not os.path.lexists(source)
