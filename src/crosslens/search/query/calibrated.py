"""How the queries of one index become probabilities of a match, for one of its versions; kept on disk beside it.

    I/calibration/features.safetensors    on the backbone's features, where unlabelled queries are kept
    I/calibration/vectors.safetensors     on the index's own vectors
    I/calibration/vectors-thing.safetensors    the same for the goal ``thing``

A file that is missing, damaged or of another version costs time and never changes an answer.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from crosslens.ops.calibration import Logistic, MatchCalibration
from crosslens.search.index.index import Index
from crosslens.support.errors import CrosslensError
from crosslens.support.files import atomic_path

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

FOLDER = "calibration"
_FORMAT = 1
_ARRAYS = ("gallery", "prototypes", "reference", "drawn", "numbers")


@dataclass(frozen=True, eq=False)
class Calibrated:
    """A calibration for one version of the index.

    Attributes:
        version: of the index.
        calibration: how a query becomes a probability.
        mean: of the unlabelled queries' backbone features ``(D,)``, subtracted from a query's; None where the
            query's vector serves.
        items: of ``ITEM_SCHEMA``, those whose vectors are the calibration's gallery ``(G, d)``, in its order.
        ids: of the indexed items that the largest cosine is taken over; none where more than that counts.
    """

    version: str
    calibration: MatchCalibration
    mean: Array | None
    items: pa.Table
    ids: frozenset[str] = frozenset()

    @cached_property
    def domains(self) -> list[str]:
        """Of the items."""
        return self.items.column("domain").unique().to_pylist()


def write_calibrated(index: Index, made: Calibrated, **made_from: Any) -> None:
    """Keep a calibration; where the folder cannot be written, nothing is kept.

    Args:
        index: whose.
        made: what is kept.
        made_from: what it rests on beside the index, as plain values; see ``read_calibrated``.
    """
    from safetensors.numpy import save_file

    how = made.calibration
    arrays = {name: getattr(how, name) for name in _ARRAYS if getattr(how, name) is not None}
    if made.mean is not None:
        arrays["mean"] = made.mean
    about = {
        "of": _state(index, made.version, made_from),
        "score": how.score,
        "curve": [how.curve.slope, how.curve.offset],
        "source": how.source,
        "smooth": how.smooth,
        "given": how.given,
        "ids": made.items.column("id").to_pylist(),
        "among_ids": bool(made.ids),
    }
    file = _file(index, made_from)
    with suppress(CrosslensError, OSError):
        # Not the folder of the index too, which may have been moved away meanwhile.
        file.parent.mkdir(exist_ok=True)
        with atomic_path(file) as temporary:
            save_file(arrays, temporary, {"calibration": json.dumps(about)})


def read_calibrated(index: Index, version: str, **made_from: Any) -> Calibrated | None:
    """What was kept for this version of the index and made from the same; None where there is nothing like it."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(_file(index, made_from), "numpy") as held:
            about = json.loads((held.metadata() or {})["calibration"])
            arrays = {name: held.get_tensor(name) for name in held.keys()}  # noqa: SIM118
        if about["of"] != _state(index, version, made_from):
            return None
        how = MatchCalibration(
            about["score"],
            Logistic(*about["curve"]),
            about["source"],
            arrays["gallery"],
            arrays["prototypes"],
            arrays.get("reference"),
            about["smooth"],
            arrays.get("drawn"),
            about["given"],
            arrays.get("numbers"),
        )
        items = index.store.get(about["ids"])[0]
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, CrosslensError):
        return None
    return Calibrated(
        version, how, arrays.get("mean"), items, frozenset(about["ids"] if about["among_ids"] else ())
    )


def _file(index: Index, made_from: dict[str, Any]) -> Path:
    return index.folder / FOLDER / f"{made_from['basis']}.safetensors"


def _state(index: Index, version: str, made_from: dict[str, Any]) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "collection": index.collection,
        "version": version,
        "items": len(index),
        **made_from,
    }
