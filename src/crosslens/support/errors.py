"""Every failure crosslens can explain. The command line prints the message and exits with status 1."""

from __future__ import annotations

from typing import TypeVar

Made = TypeVar("Made")


class CrosslensError(Exception):
    """Base class: the message says what is wrong and what to do about it."""


class CatalogError(CrosslensError):
    """A folder, manifest or list that cannot be read as a collection of images."""


class LabelsHiddenError(CatalogError):
    """A method that must not see labels asked for them."""


class ImageError(CrosslensError):
    """One image that cannot be decoded (truncated, too large, not an image)."""


class BackboneError(CrosslensError):
    """A backbone that does not exist, or whose weights do not fit."""


class FingerprintError(CrosslensError):
    """Vectors of one model met another model; the message says how to re-embed."""


class FeatureError(CrosslensError):
    """A feature folder that is missing, incomplete or damaged."""


class NothingEmbeddedError(FeatureError):
    """None of the images asked for could be embedded.

    Attributes:
        reasons: one sentence for each image, by its id.
    """

    def __init__(self, message: str, reasons: dict[str, str]) -> None:
        super().__init__(message)
        self.reasons = reasons


class ConfigError(CrosslensError):
    """A configuration key or value that is not allowed."""


class TrainingError(CrosslensError):
    """Training that cannot start or had to stop."""


class RunError(CrosslensError):
    """A run or encoder folder that cannot be read."""


class EvaluationError(CrosslensError):
    """A protocol that cannot be applied to these images."""


class StoreError(CrosslensError):
    """An index that cannot be opened, read or written."""


class UnknownItemError(StoreError):
    """An id that no item of an index has.

    Args:
        image: the id.
        index: its folder or name.
        near: ids that may have been meant, as a question; empty where none is near.
    """

    def __init__(self, image: str, index: object, near: str) -> None:
        super().__init__(f"there is no item {image!r} in {index}{near}")
        self.image, self.near = image, near


class ReplacedIndexError(StoreError):
    """An open index whose folder holds another index now; open it again."""


class TooManyGoneError(StoreError):
    """So many pictures of an index are gone that somebody is asked before their items go too."""


class AnotherWriterError(StoreError):
    """An index that another process is writing to; try again when it is done."""


def unless_error(made: Made | Exception) -> Made:
    """What was made; where an error stands in its place, that is raised."""
    if isinstance(made, Exception):
        raise made
    return made
