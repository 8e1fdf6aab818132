"""The readme in the package's metadata: that of the repository, without what only a checkout of it has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_HERE = r"\((?!https?:)[^)]*\)"
_PICTURE = re.compile(rf"!\[[^\]]*\]{_HERE}\n\n(\*[^*]*\*\n\n)?")
"""A picture of the repository, and its caption."""
_LINK = re.compile(rf"\[([^\]]*)\]{_HERE}")


def elsewhere(text: str) -> str:
    """Markdown that can be read without the files beside it: no pictures of them, and their links are words."""
    return _LINK.sub(r"\1", _PICTURE.sub("", text))


class CustomMetadataHook(MetadataHookInterface):
    """Hatchling asks it for what ``pyproject.toml`` calls dynamic."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add the readme to the metadata of the project."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": elsewhere(text)}
