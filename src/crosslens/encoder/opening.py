"""An encoder folder opened for queries: without PyTorch where that is possible."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from crosslens.encoder.compiled import (
    FOLDER,
    CompiledEncoder,
    CompiledFacts,
    cached_place,
    read_facts,
    source_digest,
)
from crosslens.encoder.querying import QueryEncoder
from crosslens.support.errors import CrosslensError, RunError
from crosslens.support.progress import note

if TYPE_CHECKING:
    from crosslens.encoder.encoder import Encoder

log = logging.getLogger(__name__)


def open_query_encoder(folder: Path) -> QueryEncoder:
    """The encoder in a folder, as queries need it.

    One that was not compiled yet, or whose files are damaged, is compiled once, into the cache; one that cannot be
    compiled answers by PyTorch.

    Raises:
        RunError: when the folder is none or is damaged, or when PyTorch is needed and not installed.
        FingerprintError: see ``Encoder.load``.
    """
    made_of = source_digest(folder)
    cached = cached_place(made_of)
    refused = False
    for place in (folder / FOLDER, cached):
        facts = read_facts(place, made_of)
        if facts is None:
            continue
        if facts.refused:
            refused = True
            break
        if (found := _opened(place, facts, folder)) is not None:
            return found
    _require_torch(f"the encoder {folder} was not compiled yet")
    from crosslens.encoder.encoder import Encoder

    encoder = Encoder.load(folder)
    if not refused:
        _compile(encoder, cached, made_of)
    return encoder


def compile_in_place(folder: Path) -> None:
    """Give an encoder folder what answers queries without PyTorch, where it lacks that and PyTorch is here.

    Raises:
        RunError, FingerprintError: see ``Encoder.load``.
        CrosslensError: when the folder cannot be written.
    """
    if read_facts(folder / FOLDER, source_digest(folder)) is None and importlib.util.find_spec("torch"):
        from crosslens.encoder.compiling import compile_folder
        from crosslens.encoder.encoder import Encoder

        compile_folder(Encoder.load(folder), folder)


def _require_torch(reason: str) -> None:
    """Check that PyTorch is installed.

    Raises:
        RunError: with the reason why it is needed, and what to do.
    """
    if importlib.util.find_spec("torch") is None:
        raise RunError(
            f"{reason}, which takes PyTorch: pip install 'crosslens[train]', or run 'crosslens index optimize' on"
            " an index where that is installed"
        )


def _opened(place: Path, facts: CompiledFacts, folder: Path) -> CompiledEncoder | None:
    def original() -> Encoder:
        _require_torch(f"this query of {folder} asks for more than its encoder was compiled for")
        from crosslens.encoder.encoder import Encoder

        return Encoder.load(folder)

    try:
        return CompiledEncoder(place, facts, original)
    except Exception as error:
        # onnxruntime raises its own kinds for a damaged file.
        log.warning("%s is damaged, and left out: %s", place, error)
        return None


def _compile(encoder: Encoder, target: Path, made_of: str) -> None:
    from crosslens.encoder.compiling import compile_encoder

    note("preparing the encoder to answer at once, the first time only")
    try:
        compile_encoder(encoder, target, made_of)
    except CrosslensError as error:
        log.warning("the encoder starts as slowly the next time: %s", error)
